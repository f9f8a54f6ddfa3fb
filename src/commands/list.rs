//! `kchaos list`: the registries, as they are.

use std::sync::Arc;

use anyhow::Context;
use kchaos_cluster::cluster::Cluster;
use kchaos_cluster::inventory::Inventory;
use kchaos_core::Target;
use kchaos_synth::Injectable;

use crate::cli::{ListArgs, ListWhat};
use crate::exit::{self, Failure};

pub(super) fn run(args: &ListArgs) -> Result<u8, Failure> {
    if let Some(file) = &args.proved {
        return super::proved::run(file, &args.from, args.door.as_deref());
    }
    crate::say_raw!("{}", render(args.what));
    if args.what == Some(ListWhat::Nemeses)
        && let Some(inventory) = super::find_inventory(&args.inventory)?
    {
        match borne(&inventory) {
            Ok(text) => crate::say_raw!("\n{text}"),
            // The list is what was asked for, unless a cluster was named.
            Err(failure) if args.inventory.inventory.is_none() => {
                eprintln!("what the cluster \"{}\" can bear could not be looked at: {:#}", inventory.cluster.name, failure.error);
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(exit::VALID)
}

/// What the hosts were found to have. Nothing is changed on them.
fn borne(inventory: &Arc<Inventory>) -> Result<String, Failure> {
    let unbearable = super::within_network(inventory, async {
        let cluster = Cluster::new(Arc::clone(inventory)).context("use the inventory")?;
        Ok::<_, Failure>(kchaos_nemeses::unbearable(kchaos_nemeses::doors(Arc::new(cluster)).as_ref()).await)
    })??;
    let ruled_out = kchaos_nemeses::names().filter(|name| unbearable.iter().any(|one| one.rules_out(name))).count();
    let mut text = format!(
        "The cluster \"{}\" can bear {} of these {}\n",
        inventory.cluster.name,
        kchaos_nemeses::names().count() - ruled_out,
        kchaos_nemeses::names().count()
    );
    for one in &unbearable {
        text.push_str(&format!("  not {one}\n"));
    }
    Ok(text)
}

fn render(what: Option<ListWhat>) -> String {
    // Only when asked for: a list of everything is the same in every build.
    #[cfg(feature = "mutants")]
    if what == Some(ListWhat::Mutants) {
        return section(ListWhat::Mutants);
    }
    let all = [ListWhat::Workloads, ListWhat::Nemeses, ListWhat::Checkers, ListWhat::Anomalies, ListWhat::Profiles];
    let sections = all.into_iter().filter(|section| what.is_none_or(|what| what == *section));
    sections.map(section).collect::<Vec<_>>().join("\n")
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
