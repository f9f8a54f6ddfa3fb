//! What of the product fault × target was proved, where, and how long it took: records that runs leave, and the table that is made of them.
//!
//! A record is made only of a fault that was proved in force and proved mended. The documentation's table (docs/faults.md) is generated from the
//! registry and these, and a test holds the one against the other: what has no record is shown as not proved.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kchaos_core::{FaultEvent, FaultMoment, NemesisName, Target};
use serde::{Deserialize, Serialize};

use crate::registry;

/// Where a fault was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// Bare hosts, daemons started by scripts.
    Scripts,
    Systemd,
    Docker,
    /// An emulated machine, with a kernel and a clock of its own: hosts in its network namespaces, or all of it as one host. No Kafka runs there.
    EmulatedKernel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    Nftables,
    Iptables,
}

/// One fault that was proved in force and proved mended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub fault: String,
    /// Empty where the fault is one of the cluster.
    pub target: String,
    pub door: Door,
    /// Of a fault that is made of rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<By>,
    /// From the moment it was asked for until its command had answered, on all its hosts.
    pub inject_ms: u64,
    /// From the begin of mending until it was proved mended, and disarmed.
    pub mend_ms: u64,
    /// `2026-11-21`.
    pub date: String,
    pub version: String,
}

/// The columns of the table, and what stands in them.
const PLACES: &[(&str, Door, bool)] = &[
    ("scripts", Door::Scripts, false),
    ("scripts, iptables", Door::Scripts, true),
    ("systemd", Door::Systemd, false),
    ("Docker", Door::Docker, false),
    ("emulated kernel", Door::EmulatedKernel, false),
];

/// Of the events of one run or of several, one after another: every nemesis of the product that was proved twice.
pub fn records(events: &[FaultEvent], door: Door, date: &str, version: &str) -> Vec<Record> {
    let mut faults: Vec<Vec<&FaultEvent>> = Vec::new();
    let mut open: BTreeMap<u32, usize> = BTreeMap::new();
    for event in events {
        if event.moment == FaultMoment::Asked {
            open.insert(event.fault_id, faults.len());
            faults.push(Vec::new());
        }
        if let Some(fault) = open.get(&event.fault_id).and_then(|place| faults.get_mut(*place)) {
            fault.push(event);
        }
    }
    faults.iter().filter_map(|fault| record(fault, door, date, version)).collect()
}

fn record(events: &[&FaultEvent], door: Door, date: &str, version: &str) -> Option<Record> {
    let at = |moment| events.iter().find(|event| event.moment == moment).copied();
    let is_proved = |event: &&FaultEvent| event.proof.as_ref().is_some_and(|proof| proof.proved);
    let in_effect = at(FaultMoment::InEffect).filter(is_proved)?;
    at(FaultMoment::Healed).filter(is_proved)?;
    let (asked, healing, done) = (at(FaultMoment::Asked)?, at(FaultMoment::Healing)?, at(FaultMoment::Done)?);
    if at(FaultMoment::LeaseLapsed).is_some() || at(FaultMoment::Failed).is_some() {
        return None;
    }
    let name = registry::parse(&asked.nemesis)
        .ok()
        .filter(|name| !matches!(name.target, Target::Host(_) | Target::Rest) && !name.target.is_rack())?;
    let ms = |from: u64, to: u64| to.saturating_sub(from) / 1_000_000;
    let rules = || in_effect.effect.iter().flat_map(|effect| &effect.rules);
    let firewall = if rules().any(|rule| rule.contains("KCHAOS-")) {
        Some(By::Iptables)
    } else {
        rules().any(|rule| rule.contains("inet kchaos_")).then_some(By::Nftables)
    };
    Some(Record {
        target: target_text(&name.target),
        fault: name.fault,
        door,
        firewall,
        inject_ms: ms(asked.when.after_ns, in_effect.when.before_ns),
        mend_ms: ms(healing.when.after_ns, done.when.before_ns),
        date: date.to_owned(),
        version: version.to_owned(),
    })
}

fn target_text(target: &Target) -> String {
    if *target == Target::Cluster { String::new() } else { target.to_string() }
}

/// Of each fault, target and place the newest, in the registry's order.
pub fn merge(records: impl IntoIterator<Item = Record>) -> Vec<Record> {
    let mut kept: BTreeMap<(usize, Door, Option<By>), Record> = BTreeMap::new();
    let product: Vec<NemesisName> = registry::names().collect();
    for record in records {
        let is_it = |name: &&NemesisName| name.fault == record.fault && target_text(&name.target) == record.target;
        // What has left the registry has left the table.
        if let Some(place) = product.iter().position(|name| is_it(&name)) {
            kept.insert((place, record.door, record.firewall), record);
        }
    }
    kept.into_values().collect()
}

/// The table of the documentation, from the registry and the records.
pub fn table(records: &[Record]) -> String {
    let product: Vec<NemesisName> = registry::names().collect();
    let mut rows = String::new();
    let mut proved = Vec::new();
    for name in &product {
        let of_it: Vec<&Record> =
            records.iter().filter(|record| record.fault == name.fault && record.target == target_text(&name.target)).collect();
        if !of_it.is_empty() {
            proved.push(name.fault.as_str());
        }
        let cells = PLACES.iter().map(|(_, door, by_iptables)| cell(&of_it, *door, *by_iptables)).collect::<Vec<_>>().join(" | ");
        let _ = writeln!(rows, "| `{name}` | {cells} |");
    }
    let heads = PLACES.iter().map(|(head, ..)| *head).collect::<Vec<_>>().join(" | ");
    let mut text = format!("{} of {} are proved somewhere", proved.len(), product.len());
    let dates: Vec<&str> = records.iter().map(|record| record.date.as_str()).collect();
    if let (Some(first), Some(last)) = (dates.iter().min(), dates.iter().max()) {
        let _ = write!(text, " ({first}{})", if first == last { String::new() } else { format!(" to {last}") });
    }
    let never = registry::ALL.iter().filter(|spec| !proved.contains(&spec.name)).map(|spec| format!("`{}`", spec.name));
    let never = never.collect::<Vec<_>>().join(", ");
    let never = if never.is_empty() { "none".to_owned() } else { never };
    let _ = write!(
        text,
        "; of faults that are proved with no target: {never}.\n\n| nemesis | {heads} |\n|---{}|\n{rows}",
        "|---".repeat(PLACES.len())
    );
    text
}

/// `inject / mend` in seconds.
fn cell(records: &[&Record], door: Door, by_iptables: bool) -> String {
    let here = records.iter().find(|record| record.door == door && (record.firewall == Some(By::Iptables)) == by_iptables);
    here.map_or_else(|| "–".to_owned(), |record| format!("{} / {}", seconds(record.inject_ms), seconds(record.mend_ms)))
}

fn seconds(ms: u64) -> String {
    let seconds = ms as f64 / 1000.0;
    if seconds < 1.0 { format!("{seconds:.2}") } else { format!("{seconds:.1}") }
}

#[cfg(test)]
#[path = "proved_tests.rs"]
mod tests;
