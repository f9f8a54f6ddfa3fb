//! `kchaos list`: the registries, as they are.

use std::sync::Arc;

use anyhow::Context;
use kchaos_cluster::cluster::Cluster;
use kchaos_cluster::inventory::Inventory;
use kchaos_core::{NemesisName, Target};
use kchaos_nemeses::Unbearable;
use kchaos_synth::Injectable;
use serde_json::{Map, Value, json};

use crate::cli::{Format, ListArgs, ListWhat};
use crate::exit::{self, Failure};

/// What the cluster at hand can bear of the product.
struct Borne {
    cluster: String,
    unbearable: Vec<Unbearable>,
}

pub(super) fn run(args: &ListArgs) -> Result<u8, Failure> {
    if let Some(file) = &args.proved {
        return super::proved::run(file, &args.from, args.door.as_deref());
    }
    match args.format {
        Format::Text => {
            crate::say_raw!("{}", render(args.what));
            if let Some(borne) = looked(args)? {
                crate::say_raw!("\n{}", borne.text());
            }
        }
        Format::Json => {
            let told = told(args.what, looked(args)?.as_ref());
            super::say_json(&told)?;
        }
    }
    Ok(exit::VALID)
}

/// Where nemeses are asked for and a cluster is at hand.
fn looked(args: &ListArgs) -> Result<Option<Borne>, Failure> {
    if args.what != Some(ListWhat::Nemeses) {
        return Ok(None);
    }
    let Some(inventory) = super::find_inventory(&args.inventory)? else { return Ok(None) };
    match borne(&inventory) {
        Ok(borne) => Ok(Some(borne)),
        // The list is what was asked for, unless a cluster was named.
        Err(failure) if args.inventory.inventory.is_none() => {
            eprintln!("what the cluster \"{}\" can bear could not be looked at: {:#}", inventory.cluster.name, failure.error);
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// What the hosts were found to have. Nothing is changed on them.
fn borne(inventory: &Arc<Inventory>) -> Result<Borne, Failure> {
    let unbearable = super::within_network(inventory, async {
        let cluster = Cluster::new(Arc::clone(inventory)).context("use the inventory")?;
        Ok::<_, Failure>(kchaos_nemeses::unbearable(kchaos_nemeses::doors(Arc::new(cluster)).as_ref()).await)
    })??;
    Ok(Borne { cluster: inventory.cluster.name.clone(), unbearable })
}

impl Borne {
    /// The names of those that nothing rules out.
    fn bearable(&self) -> Vec<String> {
        let is_borne = |name: &NemesisName| !self.unbearable.iter().any(|one| one.rules_out(name));
        kchaos_nemeses::names().filter(is_borne).map(|name| name.to_string()).collect()
    }

    fn text(&self) -> String {
        let mut text =
            format!("The cluster \"{}\" can bear {} of these {}\n", self.cluster, self.bearable().len(), kchaos_nemeses::names().count());
        for one in &self.unbearable {
            text.push_str(&format!("  not {one}\n"));
        }
        text
    }

    fn json(&self) -> Value {
        let unbearable = self.unbearable.iter().map(|one| {
            let reasons: Value = one.reasons.iter().map(|(why, hosts)| json!({"why": why, "hosts": hosts})).collect();
            let target = one.target.as_ref().map(ToString::to_string);
            json!({"fault": one.fault, "target": target, "everywhere": one.everywhere, "reasons": reasons})
        });
        json!({"name": self.cluster, "bearable": self.bearable(), "unbearable": unbearable.collect::<Value>()})
    }
}

/// For programs.
fn told(what: Option<ListWhat>, borne: Option<&Borne>) -> Value {
    let mut told: Map<String, Value> =
        sections(what).into_iter().flat_map(registries).map(|(name, rows)| (name.to_owned(), rows)).collect();
    if let Some(borne) = borne {
        told.insert("cluster".to_owned(), borne.json());
    }
    Value::Object(told)
}

fn registries(what: ListWhat) -> Vec<(&'static str, Value)> {
    match what {
        ListWhat::Workloads => {
            let rows = kchaos_workloads::ALL.iter().map(|spec| {
                let load = spec.load;
                json!({"name": spec.name, "about": spec.about, "rate": load.rate, "producers": load.producers, "consumers": load.consumers})
            });
            vec![("workloads", rows.collect())]
        }
        ListWhat::Nemeses => {
            let targets: Value = Target::all().map(|target| target.to_string()).collect();
            let names: Value = kchaos_nemeses::names().map(|name| name.to_string()).collect();
            vec![("faults", kchaos_nemeses::ALL.iter().map(fault).collect()), ("targets", targets), ("nemeses", names)]
        }
        ListWhat::Checkers => {
            let rows = kchaos_checkers::ALL.iter();
            let rows = rows.map(|spec| json!({"name": spec.name, "about": spec.about, "anomalies": spec.anomalies}));
            vec![("checkers", rows.collect())]
        }
        ListWhat::Anomalies => {
            let rows = kchaos_synth::INJECTABLE.iter().map(|anomaly| {
                let workloads: Vec<&str> = anomaly.workloads.iter().map(|workload| workload.name()).collect();
                json!({"name": anomaly.name, "workloads": workloads, "along": anomaly.along, "keys": anomaly.keys})
            });
            vec![("anomalies", rows.collect())]
        }
        #[cfg(feature = "mutants")]
        ListWhat::Mutants => vec![("mutants", crate::mutants::all().into())],
        ListWhat::Profiles => {
            let rows = kchaos_checkers::PROFILES.iter();
            let rows = rows.map(|profile| json!({"name": profile.name, "about": profile.about, "allowed": profile.allowed.concat()}));
            vec![("profiles", rows.collect())]
        }
    }
}

fn fault(spec: &kchaos_nemeses::Spec) -> Value {
    let nemeses: Vec<String> = kchaos_nemeses::names().filter(|name| name.fault == spec.name).map(|name| name.to_string()).collect();
    let takes_hosts = kchaos_nemeses::parse(&format!("{}-host:x", spec.name)).is_ok();
    json!({"name": spec.name, "about": spec.about, "nemeses": nemeses, "takes_hosts": takes_hosts, "takes_racks": spec.takes_racks()})
}

fn sections(what: Option<ListWhat>) -> Vec<ListWhat> {
    match what {
        Some(what) => vec![what],
        // Mutants only when asked for: a list of everything is the same in every build.
        None => vec![ListWhat::Workloads, ListWhat::Nemeses, ListWhat::Checkers, ListWhat::Anomalies, ListWhat::Profiles],
    }
}

fn render(what: Option<ListWhat>) -> String {
    sections(what).into_iter().map(section).collect::<Vec<_>>().join("\n")
}

fn section(what: ListWhat) -> String {
    match what {
        ListWhat::Workloads => table("Workloads", kchaos_workloads::ALL.iter().map(|spec| (spec.name.to_owned(), spec.about))),
        ListWhat::Nemeses => {
            let faults = table("Faults", kchaos_nemeses::ALL.iter().map(|spec| (spec.name.to_owned(), spec.about)));
            let targets = Target::all().map(|target| target.to_string()).collect::<Vec<_>>().join(", ");
            let names = kchaos_nemeses::names().map(|name| name.to_string()).collect::<Vec<_>>();
            let names = names.chunks(6).map(|row| format!("  {}\n", row.join("  "))).collect::<String>();
            format!("{faults}\nTargets\n  {targets}, host:NAME, rack:NAME, random-rack\n\nNemeses (fault-target)\n{names}")
        }
        ListWhat::Checkers => table("Checkers", kchaos_checkers::ALL.iter().map(|spec| (spec.name.to_owned(), spec.about))),
        ListWhat::Anomalies => {
            let told: Vec<_> = kchaos_synth::INJECTABLE.iter().map(|anomaly| (anomaly.name.to_owned(), injectable(anomaly))).collect();
            let rows = told.iter().map(|(name, about)| (name.clone(), about.as_str()));
            table("Anomalies (that `kchaos synth --inject` writes), in which of its workloads, and what is found beside them", rows)
        }
        #[cfg(feature = "mutants")]
        ListWhat::Mutants => crate::mutants::all().into_iter().map(|name| format!("{name}\n")).collect(),
        ListWhat::Profiles => table("Profiles", kchaos_checkers::PROFILES.iter().map(|profile| (profile.name.to_owned(), profile.about))),
    }
}

fn injectable(anomaly: &Injectable) -> String {
    let workloads = anomaly.workloads.iter().map(|workload| workload.name()).collect::<Vec<_>>().join(", ");
    if anomaly.along.is_empty() { workloads } else { format!("{workloads}; with {}", anomaly.along.join(", ")) }
}

fn table<'a>(title: &str, rows: impl Iterator<Item = (String, &'a str)>) -> String {
    let rows: Vec<_> = rows.collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let body: String = rows.iter().map(|(name, about)| format!("  {name:width$}  {about}\n")).collect();
    format!("{title}\n{body}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::ValueEnum;

    use super::*;
    use crate::schema::conform::assert_conforms;

    #[test]
    fn every_list_conforms_alone_and_with_the_others() {
        let all = told(None, None);
        assert_conforms("list", &all);
        for what in ListWhat::value_variants() {
            let one = told(Some(*what), None);
            assert_conforms("list", &one);
            let one = one.as_object().unwrap();
            assert!(!one.is_empty() && one.iter().all(|(name, rows)| all.get(name).is_none_or(|same| same == rows)), "{what:?}");
        }
    }

    #[test]
    fn what_a_cluster_cannot_bear_conforms_and_is_not_among_what_it_can() {
        let reasons = |hosts: &[&str]| {
            BTreeMap::from([("tc is not there".to_owned(), hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>())])
        };
        let unbearable = vec![
            Unbearable { fault: "kill", target: None, reasons: reasons(&["b1"]), everywhere: false },
            Unbearable { fault: "pause", target: Some(Target::Leader), reasons: reasons(&[]), everywhere: true },
        ];
        let told = told(Some(ListWhat::Nemeses), Some(&Borne { cluster: "a".to_owned(), unbearable }));
        assert_conforms("list", &told);
        let bearable = told["cluster"]["bearable"].as_array().unwrap();
        let (all, has) = (told["nemeses"].as_array().unwrap().len(), |name: &str| bearable.contains(&json!(name)));
        assert!(has("kill-leader") && has("pause-controller") && !has("pause-leader"), "{bearable:?}");
        assert_eq!(bearable.len() + 1, all);
    }
}
