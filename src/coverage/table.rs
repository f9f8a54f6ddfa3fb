//! What was exercised and what never was, for people.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::{Covered, Exercised, STATES, Seen, parts};

/// By fault, by target and altogether, and what is in none of them.
pub(crate) fn table(covered: &Covered) -> String {
    let mut text = format!("{} faults in force, in {} runs\n", covered.exercised.len(), covered.runs);
    let by = |of: fn(&Exercised) -> String| {
        let mut rows: BTreeMap<String, Vec<&Exercised>> = BTreeMap::new();
        for one in &covered.exercised {
            rows.entry(of(one)).or_default().push(one);
        }
        rows
    };
    rows(&mut text, "fault", &by(|one| parts(&one.nemesis).0));
    rows(&mut text, "target", &by(|one| parts(&one.nemesis).1));
    rows(&mut text, "", &by(|_| "altogether".to_owned()));
    missing(&mut text, covered);
    for unread in &covered.unread {
        let _ = writeln!(text, "not read: {unread}");
    }
    text
}

fn rows(text: &mut String, what: &str, rows: &BTreeMap<String, Vec<&Exercised>>) {
    let _ = write!(text, "\n{what:<24} {:>7}", "times");
    for (name, _) in STATES {
        let _ = write!(text, " {name:>12}");
    }
    let _ = writeln!(text, " {:>12}", "not known");
    for (name, all) in rows {
        let _ = write!(text, "{name:<24} {:>7}", all.len());
        for (_, is_met) in STATES {
            let _ = write!(text, " {:>12}", counted(all.iter().filter(|one| is_met(&one.states)).count()));
        }
        let _ = writeln!(text, " {:>12}", counted(all.iter().filter(|one| is_unknown(one)).count()));
    }
}

fn is_unknown(one: &Exercised) -> bool {
    let states = &one.states;
    [states.isr_shrunk, states.election, states.transaction, states.rebalance].contains(&Seen::Unknown)
}

fn counted(count: usize) -> String {
    if count == 0 { "–".to_owned() } else { count.to_string() }
}

/// Nemeses that no run had, in the order in which they are listed.
pub(crate) fn never(covered: &Covered) -> Vec<String> {
    let had: BTreeSet<&str> = covered.exercised.iter().map(|one| one.nemesis.as_str()).collect();
    kchaos_nemeses::names().map(|name| name.to_string()).filter(|name| !had.contains(name.as_str())).collect()
}

/// And the states that no fault of a kind met.
fn missing(text: &mut String, covered: &Covered) {
    let (exercised, never) = (&covered.exercised, never(covered));
    let mut by_fault: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (fault, target) in never.iter().map(|name| parts(name)) {
        by_fault.entry(fault).or_default().push(target);
    }
    let _ = writeln!(text, "\nnever exercised: {} of {} nemeses", never.len(), kchaos_nemeses::names().count());
    for (fault, targets) in &by_fault {
        let _ = writeln!(text, "  {fault:<22} {}", targets.join(", "));
    }
    for (name, is_met) in STATES {
        let met: BTreeSet<String> = exercised.iter().filter(|one| is_met(&one.states)).map(|one| parts(&one.nemesis).0).collect();
        let not: BTreeSet<String> = exercised.iter().map(|one| parts(&one.nemesis).0).filter(|fault| !met.contains(fault)).collect();
        if !not.is_empty() {
            let _ = writeln!(text, "never met \"{name}\": {}", not.into_iter().collect::<Vec<_>>().join(", "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::States;
    use super::*;

    #[test]
    fn what_was_exercised_is_counted_by_fault_target_and_state_and_the_rest_is_named() {
        let one = |nemesis: &str, isr_shrunk, transaction| Exercised {
            fault_id: 1,
            nemesis: nemesis.to_owned(),
            states: States { isr_shrunk, election: Seen::No, transaction, rebalance: Seen::No },
        };
        let exercised = vec![
            one("kill-leader", Seen::No, Seen::Yes),
            one("kill-leader", Seen::Yes, Seen::Unknown),
            one("pause-host:kafka1", Seen::No, Seen::No),
            one("reassign", Seen::No, Seen::No),
        ];
        let text = table(&Covered { runs: 2, exercised, unread: vec!["r/1: no plan.json".to_owned()] });
        let row = |name: &str| {
            let line = text.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap_or_default();
            line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(row("kill"), "2 1 1 – 1 – 1", "{text}");
        assert_eq!(row("host"), "1 1 – – – – –", "{text}");
        assert_eq!(row("altogether"), "4 3 1 – 1 – 1", "{text}");
        assert!(text.contains("4 faults in force, in 2 runs") && text.contains("not read: r/1: no plan.json"), "{text}");
        assert!(text.contains("never met \"ISR shrunk\": pause, reassign\n"), "{text}");
        assert!(
            text.lines().any(|line| line.starts_with("  kill ") && line.contains("controller") && !line.contains(" leader,")),
            "{text}"
        );
    }
}
