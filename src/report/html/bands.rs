//! Faults as bands of time, through the whole picture: from the first moment a fault may have been in force to its proved mend.

use std::fmt::Write;

use kchaos_core::{FaultEvent, FaultMoment};

use super::svg::{self, Anchor};
use super::text::{Esc, Px};
use super::timeline::{PLOT, plot};
use crate::report::words;

/// A fault as a band of time.
pub(super) struct Band {
    fault_id: u32,
    nemesis: String,
    hosts: Vec<String>,
    from_ns: u64,
    to_ns: u64,
    /// It lasted to the end of the run.
    is_open: bool,
    proved: bool,
}

/// Every fault that was in effect, in order.
pub(super) fn bands(faults: &[FaultEvent], end_ns: u64) -> Vec<Band> {
    let mut bands: Vec<Band> = Vec::new();
    for event in faults.iter().filter(|event| event.moment == FaultMoment::InEffect) {
        if bands.iter().any(|band| band.fault_id == event.fault_id) {
            continue;
        }
        let same = || faults.iter().filter(|other| other.fault_id == event.fault_id);
        let is_end = |other: &&FaultEvent| matches!(other.moment, FaultMoment::Healed | FaultMoment::LeaseLapsed);
        let ended = same().filter(is_end).map(|other| other.when.before_ns).min();
        let chosen = same().find(|other| !other.chosen.is_empty()).map(|other| other.chosen.as_slice()).unwrap_or_default();
        let mut hosts: Vec<String> = Vec::new();
        for chosen in chosen {
            if !hosts.contains(&chosen.host) {
                hosts.push(chosen.host.clone());
            }
        }
        bands.push(Band {
            fault_id: event.fault_id,
            nemesis: event.nemesis.clone(),
            hosts,
            from_ns: event.when.after_ns,
            to_ns: ended.unwrap_or(end_ns),
            is_open: ended.is_none(),
            proved: event.proof.as_ref().is_some_and(|proof| proof.proved),
        });
    }
    bands.sort_by_key(|band| band.from_ns);
    bands
}

/// The height that the labels need above the first panel.
pub(super) fn labels_height(bands: &[Band]) -> f64 {
    if bands.is_empty() { 6.0 } else { 34.0 }
}

pub(super) fn layer(bands: &[Band], end_ns: u64, bottom: f64) -> String {
    let x = |ns: u64| PLOT * ns as f64 / end_ns as f64;
    let mut content = String::new();
    for (index, band) in bands.iter().enumerate() {
        let (from, to) = (x(band.from_ns), x(band.to_ns));
        let _ = write!(content, "<g><title>{}</title>", Esc(band.tip()));
        svg::area(&mut content, if band.proved { "band" } else { "band unproved" }, (from, 0.0), ((to - from).max(1.0), bottom), "");
        let _ = write!(content, "<path class=\"band-edge\" d=\"M{} 0V{bottom}M{} 0V{bottom}\"/>", Px(from), Px(to), bottom = Px(bottom));
        // A label has room until the next band begins.
        let room = bands.get(index + 1).map_or(PLOT, |next| x(next.from_ns)) - from;
        let doubt = if band.proved { "" } else { " (not proved)" };
        let (name, host) = (format!("{} {}{doubt}", band.fault_id, band.nemesis), format!("on {}", band.hosts.join("+")));
        if room >= 6.6 * name.chars().count().max(host.chars().count()) as f64 {
            svg::text(&mut content, "zt band-name", Anchor::Start, from + 5.0, 13.0, &name);
            svg::text(&mut content, "zt band-host", Anchor::Start, from + 5.0, 26.0, &host);
        } else if room >= 14.0 {
            svg::text(&mut content, "zt band-name", Anchor::Start, from + 3.0, 13.0, &band.fault_id.to_string());
        }
        content.push_str("</g>");
    }
    plot(0.0, bottom, &content)
}

/// Every host that a fault hit.
pub(super) fn hosts(bands: &[Band]) -> Vec<&str> {
    let mut hosts: Vec<&str> = bands.iter().flat_map(|band| &band.hosts).map(String::as_str).collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

/// The faults of one host, as a strip of the timeline.
pub(super) fn strip(bands: &[Band], host: &str, end_ns: u64) -> String {
    let x = |ns: u64| PLOT * ns as f64 / end_ns as f64;
    let mut content = String::new();
    for band in bands.iter().filter(|band| band.hosts.iter().any(|other| other == host)) {
        let (from, to) = (x(band.from_ns), x(band.to_ns));
        let width = (to - from).max(1.5);
        svg::area(&mut content, if band.proved { "hit" } else { "hit unproved" }, (from, 0.0), (width, 16.0), &band.tip());
        let names = [format!("{} {}", band.fault_id, band.nemesis), band.fault_id.to_string()];
        if let Some(name) = names.iter().find(|name| width >= 6.4 * name.chars().count() as f64 + 8.0) {
            svg::text(&mut content, "zt cell-name", Anchor::Start, from + 5.0, 12.0, name);
        }
    }
    content
}

impl Band {
    /// When it began, when it ended, and what of it is said at either end.
    pub(super) fn ends(&self) -> [(u64, String); 2] {
        let whose = format!("fault {} {} on {}", self.fault_id, self.nemesis, self.hosts.join(" and "));
        let began = if self.proved { "in force" } else { "may be in force: not proved" };
        [
            (self.from_ns, format!("{whose} {began}")),
            (self.to_ns, format!("{whose} {}", if self.is_open { "not mended" } else { "mended" })),
        ]
    }

    fn tip(&self) -> String {
        let proof = if self.proved { "" } else { ", not proved in force" };
        let (from, to) = (words::moment(self.from_ns), words::moment(self.to_ns));
        format!("fault {} {} on {}: {from} to {to}{proof}", self.fault_id, self.nemesis, self.hosts.join(" and "))
    }
}
