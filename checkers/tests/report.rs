//! What a check says, to programs and to people.

mod common;

use common::{history, judge};
use kchaos_checkers::{CheckReport, JudgeOptions, render_text};

const LOST: &str = r#"
    nemesis info phase "before"
    0 invoke send [["send",0,1],["send",0,4]]
    4 invoke send [["send",0,5]]
    0 ok send [["send",0,[0,1]],["send",0,[4,4]]]
    nemesis info phase "trouble"
    0 invoke send [["send",0,2]]
    0 ok send [["send",0,[5,2]]]
    0 invoke send [["send",0,3]]
    0 ok send [["send",0,[6,3]]]
    5 ok dance null
    1 invoke poll [["poll"]]
    1 ok poll [["poll",{"0":[[0,1]]}]]
    2 invoke poll [["poll"]]
    2 ok poll [["poll",{"0":[[6,3]]}]]
    3 ok poll [["poll",{"0":[[4,4]]}]]
    4 ok send [["send",0,[3,5]]]
"#;

#[test]
fn the_json_has_the_fields_of_the_contract() {
    let report = judge(&history(LOST), JudgeOptions::default());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["valid"], false);
    assert_eq!(json["ops"], 16);
    assert_eq!(json["profile"], "kafka");
    let lost = &json["anomalies"]["lost-write"];
    assert_eq!(lost["count"], 2);
    assert_eq!(
        lost["examples"][0],
        serde_json::json!({
            "key": 0, "values": [5], "offsets": [3], "ops": [2, 13, 15],
            "explanation": "value 5 was written to key 0 at offset 3 (op 15); a reader got as far as value 3 at offset 6 (op 13), yet no ok op \
                            ever returned value 5: it should have been read on the way",
        })
    );
    assert_eq!(json["ignored"]["int-send-skip"]["count"], 1);
    assert_eq!(json["reasons"][0]["name"], "no-final-read");
    assert_eq!(json["unknown_fs"], serde_json::json!({"dance": 1}));
    let phases: Vec<_> =
        json["load"].as_array().unwrap().iter().map(|load| (load["phase"].as_str().unwrap(), load["sends_ok"].as_u64())).collect();
    assert_eq!(phases, [("before", Some(2)), ("trouble", Some(3))]);
    let checkers = json["checkers"].as_array().unwrap();
    assert!(checkers.iter().any(|checker| checker["name"] == "lost-write" && checker["valid"] == false));
    assert!(checkers.iter().any(|checker| checker["name"] == "unseen" && checker["valid"] == "unknown"));
    assert_eq!(serde_json::from_value::<CheckReport>(json).unwrap(), report);
    // Unknown is a word.
    let unknown = serde_json::to_value(judge("", JudgeOptions::default())).unwrap();
    assert_eq!((&unknown["valid"], &unknown["anomalies"]), (&serde_json::json!("unknown"), &serde_json::json!({})));
}

#[test]
fn the_load_counts_values_by_how_they_ended() {
    let lines = "0 invoke txn [[\"send\",0,1]]\n0 info txn [[\"send\",0,[0,1]]]\n0 invoke send [[\"send\",0,2],[\"send\",0,3]]\n\
                 0 info send [[\"send\",0,[2,2]],[\"send\",0,[null,3]]]\n1 ok poll [[\"poll\",{\"0\":[[2,2]]}]]\n";
    let load = &judge(&history(lines), JudgeOptions::default()).load[0];
    assert_eq!((load.sends_invoked, load.sends_ok, load.sends_fail, load.sends_info), (3, 1, 0, 2));
    assert_eq!((load.polls_ok, load.records_read, load.phase.as_str()), (1, 1, "all"));
}

#[test]
fn examples_are_few_and_counts_of_all() {
    let lines: String = (0..30).map(|value| format!("0 ok send [[\"send\",0,[{value},{value}]]]\n")).collect();
    let lines = lines + "1 ok poll [[\"poll\",{\"0\":[[29,29]]}]]";
    let report = judge(&history(&lines), JudgeOptions { examples: 3, ..JudgeOptions::default() });
    let lost = &report.anomalies["lost-write"];
    assert_eq!((lost.count, lost.examples.len()), (29, 3));
}

#[test]
fn a_person_is_told_the_verdict_first() {
    let text = render_text(&judge(&history(LOST), JudgeOptions::default()));
    assert_eq!(
        text,
        "\
Invalid: lost-write in 16 ops, judged by the profile kafka.

lost-write: 2
  - value 5 was written to key 0 at offset 3 (op 15); a reader got as far as value 3 at offset 6 (op 13), yet no ok op ever returned value 5: it should have been read on the way
    ops 2, 13, 15
  - value 2 was written to key 0 at offset 5 (op 6); a reader got as far as value 3 at offset 6 (op 13), yet no ok op ever returned value 2: it should have been read on the way
    ops 5, 6, 13

unseen: 2, which proves nothing yet
  - value 5 of key 0 was acknowledged at offset 3 (op 15), and no ok op returned it; nothing shows that the final read reached it
    ops 2, 15
  - value 2 of key 0 was acknowledged at offset 5 (op 6), and no ok op returned it; nothing shows that the final read reached it
    ops 5, 6

Besides
  no-final-read: 2 acknowledged values were never read, and no complete final read is proved

Found, and allowed by the profile kafka
  int-send-skip: 1, such as: values of others stand between offsets 0 and 4 of key 0, where one op (op 3) sent values 1 and 4: Kafka promises no adjacency

Load
  before: 3 sends (2 ok, 0 fail, 0 info), 0 ok polls, 0 records read
  trouble: 2 sends (3 ok, 0 fail, 0 info), 3 ok polls, 3 records read

Skipped: 1 ops with the unknown f \"dance\"
"
    );
    let valid = "0 ok send [[\"send\",0,[0,1]]]\n1 ok poll [[\"poll\",{\"0\":[[0,1]]}]]";
    let text = render_text(&judge(&history(valid), JudgeOptions::default()));
    assert!(text.starts_with("Valid: 2 ops, and every promise of the profile kafka was kept.\n"), "{text}");
    let text = render_text(&judge("", JudgeOptions::default()));
    assert!(
        text.starts_with("Unknown: 0 ops prove nothing against the profile kafka, and nothing for it (nothing-acknowledged).\n"),
        "{text}"
    );
}
