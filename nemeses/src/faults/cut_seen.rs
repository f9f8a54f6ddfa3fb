//! What is seen of a cut: packets counted, connections tried.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::host::Answers;

/// Packets that our rules counted, by the counter's name, before and after the line `mark`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted([BTreeMap<String, u64>; 2]);

impl Counted {
    pub(crate) fn read(answers: &Answers) -> Self {
        let (mut counted, mut is_after) = (Self::default(), 0);
        for (word, rest) in answers.iter() {
            if word == "mark" {
                is_after = 1;
            }
            if let (true, Some((name, Ok(packets)))) =
                (word == "counter", rest.split_once(' ').map(|(name, text)| (name, text.parse::<u64>())))
            {
                let sum = counted.0[is_after].entry(name.to_owned()).or_default();
                *sum = sum.saturating_add(packets);
            }
        }
        counted
    }

    /// In and out together.
    pub(crate) fn of(&self, whose: &str) -> (u64, u64) {
        let sum = |map: &BTreeMap<String, u64>| {
            let ours = map.iter().filter(|(name, _)| name.strip_prefix(whose).is_some_and(|rest| matches!(rest, "" | "_in" | "_out")));
            ours.fold(0, |sum: u64, (_, packets)| sum.saturating_add(*packets))
        };
        (sum(&self.0[0]), sum(&self.0[1]))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Probed {
    /// A refused connection reached the host all the same.
    reached: BTreeSet<(IpAddr, u16)>,
    silent: BTreeSet<(IpAddr, u16)>,
}

impl Probed {
    pub(crate) fn read(answers: &Answers) -> Self {
        let mut probed = Self::default();
        for rest in answers.all("probe") {
            let mut words = rest.split(' ');
            let (Some(Ok(address)), Some(Ok(port)), Some(end)) = (words.next().map(str::parse), words.next().map(str::parse), words.next())
            else {
                continue;
            };
            match end {
                "open" | "refused" => drop(probed.reached.insert((address, port))),
                "silent" => drop(probed.silent.insert((address, port))),
                _ => {}
            }
        }
        probed
    }

    pub(crate) fn has_reached(&self, one: &(IpAddr, u16)) -> bool {
        self.reached.contains(one)
    }

    pub(crate) fn among(&self, probes: &[(IpAddr, u16)]) -> usize {
        probes.iter().filter(|one| self.reached.contains(one)).count()
    }

    pub(crate) fn silent(&self, probes: &[(IpAddr, u16)]) -> usize {
        probes.iter().filter(|one| self.silent.contains(one)).count()
    }
}
