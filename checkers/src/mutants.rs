//! Checkers that are wrong on purpose (docs/mutants.md): nothing of this is left in a build without the feature `mutants`.

use kchaos_core::{Example, Finding, Verdict, mutant};

use crate::rule::{Spec, hears};

/// What of [`Spec::hears`] has a name of its own.
const HEARD: &[(&str, u16)] = &[
    ("send-end", hears::SEND_END),
    ("poll-end", hears::POLL_END),
    ("txn-invoke", hears::TXN_INVOKE),
    ("txn-poll-end", hears::TXN_POLL_END),
    ("txn-send-end", hears::TXN_SEND_END),
    ("places", hears::PLACES),
    ("commits", hears::COMMITS),
    ("registers", hears::REGISTERS),
    ("nemesis", hears::NEMESIS),
    ("rebalances", hears::REBALANCES),
];

/// The ops that this checker is told of.
pub(crate) fn hears(spec: &Spec) -> u16 {
    let unheard = HEARD.iter().filter(|(kind, _)| mutant::is("deaf", &format_args!("{}/{kind}", spec.name)));
    unheard.fold(spec.hears, |hears, (_, bit)| hears & !bit)
}

/// What this checker says, when it is the one that is wrong.
#[inline]
pub(crate) fn wrong(spec: &Spec, mut verdict: Verdict) -> Verdict {
    if mutant::is("silent", &spec.name) {
        return Verdict::default();
    }
    for name in spec.anomalies {
        if mutant::is("blind", name) {
            verdict.anomalies.remove(*name);
            verdict.ignored.remove(*name);
            verdict.unproved.remove(*name);
        }
        if mutant::is("accuses", name) {
            let example = Example { explanation: "there is nothing (a mutant)".to_owned(), ..Example::default() };
            verdict.anomalies.entry((*name).to_owned()).or_insert_with(|| Finding { count: 1, examples: vec![example] });
        }
    }
    verdict
}

/// All that can be wrong here.
#[cfg(feature = "mutants")]
pub fn mutants() -> Vec<String> {
    let mut all = Vec::new();
    for spec in crate::ALL {
        all.push(format!("silent:{}", spec.name));
        let heard = HEARD.iter().filter(|(_, bit)| spec.hears & bit != 0);
        all.extend(heard.map(|(kind, _)| format!("deaf:{}/{kind}", spec.name)));
    }
    let anomalies = || crate::ALL.iter().flat_map(|spec| spec.anomalies);
    all.extend(anomalies().map(|name| format!("blind:{name}")));
    all.extend(anomalies().map(|name| format!("accuses:{name}")));
    all.extend(kchaos_core::REASONS.iter().map(|name| format!("sure:{name}")));
    let rules = || crate::profile::ALLOWED_SOMEWHERE.concat().into_iter();
    all.extend(rules().map(|name| format!("forbids:{name}")));
    all.extend(rules().filter(|name| name.contains('/')).map(|name| format!("forgives:{name}")));
    all
}
