use std::path::{Path, PathBuf};

use kchaos_core::{Effect, Interval, Proof};
use proptest::prelude::*;

use super::*;

const BEGIN: &str = "<!-- proved: generated from the registry and docs/proved.jsonl -->\n";
const END: &str = "<!-- end of proved -->";

fn event(fault_id: u32, nemesis: &str, moment: FaultMoment, at_ms: u64, proved: Option<bool>) -> FaultEvent {
    FaultEvent {
        fault_id,
        moment,
        when: Interval::at(at_ms * 1_000_000),
        nemesis: nemesis.to_owned(),
        chosen: Vec::new(),
        effect: None,
        proof: proved.map(|proved| Proof { proved, text: "seen".to_owned() }),
        text: None,
    }
}

/// Asked, in effect, healing, healed, done.
fn life(id: u32, nemesis: &str, proofs: (bool, bool)) -> Vec<FaultEvent> {
    vec![
        event(id, nemesis, FaultMoment::Asked, 1_000, None),
        event(id, nemesis, FaultMoment::InEffect, 1_400, Some(proofs.0)),
        event(id, nemesis, FaultMoment::Healing, 9_000, None),
        event(id, nemesis, FaultMoment::Healed, 9_100, Some(proofs.1)),
        event(id, nemesis, FaultMoment::Done, 20_500, None),
    ]
}

fn of(events: &[FaultEvent]) -> Vec<Record> {
    records(events, Door::Scripts, "2026-11-21", "0.1.0")
}

#[test]
fn what_was_proved_twice_is_a_record_and_nothing_else_is() {
    let record = of(&life(1, "kill-leader", (true, true))).remove(0);
    assert_eq!((record.fault.as_str(), record.target.as_str()), ("kill", "leader"));
    assert_eq!((record.inject_ms, record.mend_ms, record.firewall), (400, 11_500, None));
    for (nemesis, proofs) in [("kill-leader", (true, false)), ("kill-leader", (false, true)), ("kill-host:b1", (true, true))] {
        assert_eq!(of(&life(1, nemesis, proofs)), [], "{nemesis} {proofs:?}");
    }
    let mut lapsed = life(1, "isolate-leader", (true, true));
    lapsed.insert(2, event(1, "isolate-leader", FaultMoment::LeaseLapsed, 2_000, None));
    assert_eq!(of(&lapsed), []);
    assert_eq!(of(&life(1, "kill-leader", (true, true))[..4]), [], "it was never done");
}

#[test]
fn rules_say_which_firewall_it_was_and_an_id_may_come_again() {
    let with = |rule: &str| {
        let mut events = life(1, "isolate-leader", (true, true));
        events[1].effect = Some(Effect { rules: vec![rule.to_owned()], ..Effect::default() });
        events
    };
    let both = of(&[with("table inet kchaos_1f_1"), with("iptables and ip6tables chains KCHAOS-1f_1-I and -O")].concat());
    assert_eq!(both.iter().map(|record| record.firewall).collect::<Vec<_>>(), [Some(By::Nftables), Some(By::Iptables)]);
}

#[test]
fn the_newest_record_of_a_place_is_kept_in_the_registry_s_order() {
    let mut newer = of(&life(1, "kill-leader", (true, true)));
    newer[0].mend_ms = 7;
    let unknown = Record { fault: "gone".to_owned(), ..newer[0].clone() };
    let all = [of(&life(2, "reassign", (true, true))), of(&life(1, "kill-leader", (true, true))), newer, vec![unknown]].concat();
    let kept = merge(all);
    assert_eq!(kept.iter().map(|record| (record.fault.as_str(), record.mend_ms)).collect::<Vec<_>>(), [("kill", 7), ("reassign", 11_500)]);
    let text = table(&kept);
    assert!(text.contains("| `kill-leader` | 0.40 / 0.01 | – | – | – | – |\n"), "{text}");
    let head = format!(
        "2 of {} are proved somewhere (2026-11-21); of faults that are proved with no target: `stop`, `pause`",
        registry::names().count()
    );
    assert!(text.starts_with(&head), "{text}");
}

proptest! {
    #[test]
    fn no_events_panic(ids in prop::collection::vec((0..3_u32, 0..5_usize, any::<bool>()), 0..20)) {
        let moments = [FaultMoment::Asked, FaultMoment::InEffect, FaultMoment::Healing, FaultMoment::Healed, FaultMoment::Done];
        let events: Vec<_> = ids.into_iter().map(|(id, moment, proved)| event(id, "kill-leader", moments[moment], 5, Some(proved))).collect();
        let _ = table(&merge(of(&events)));
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `KCHAOS_WRITE_DOCS=1 cargo test -p kchaos-nemeses the_table` writes it.
#[test]
fn the_table_in_the_documentation_is_what_the_registry_and_the_records_say() {
    let lines = std::fs::read_to_string(root().join("docs/proved.jsonl")).expect("docs/proved.jsonl");
    let records: Vec<Record> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    assert_eq!(
        merge(records.clone()),
        records,
        "docs/proved.jsonl is sorted, and has nothing twice: kchaos list nemeses --proved writes it so"
    );
    let path = root().join("docs/faults.md");
    let text = std::fs::read_to_string(&path).expect("docs/faults.md");
    let (before, rest) = text.split_once(BEGIN).expect("docs/faults.md has the table's first mark");
    let (stands, after) = rest.split_once(END).expect("docs/faults.md has the table's last mark");
    let generated = table(&records);
    if std::env::var_os("KCHAOS_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{generated}{END}{after}")).expect("write docs/faults.md");
    } else {
        assert!(
            stands == generated,
            "the table in docs/faults.md is not what is generated: KCHAOS_WRITE_DOCS=1 cargo test -p kchaos-nemeses the_table"
        );
    }
}
