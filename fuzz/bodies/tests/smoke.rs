//! The bodies of the fuzz targets as ordinary property tests: a few hundred inputs each, no fuzzer needed.

use kchaos_fuzz_bodies::{BODIES, Limits, columns, edn, history, hostile_history, jsonl, sound_history, structured};
use proptest::prelude::*;

/// What histories are written with, so that noise gets past the first byte.
fn texts() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "{\"index\":0,\"time\":1,\"process\":0,\"type\":\"ok\",\"f\":\"send\",\"value\":[[\"send\",0,[17,4]]]}",
        "{\"index\":1,\"time\":1,\"process\":1,\"type\":\"ok\",\"f\":\"poll\",\"value\":[[\"poll\",{\"0\":[[17,4],[18,5]]}]]}",
        "{:index 0, :time 1, :process 0, :type :ok, :f :send, :value [[:send 0 [17 4]]]}",
        "{:type :invoke, :f :poll, :process 1, :value [[:poll]]}",
        "\n",
        "\n\n",
        ",",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\u0000",
        "1152921504606846976",
        "-9223372036854775808",
        "null",
        "nil",
        "#_",
        "#{",
        ";",
        ":f",
        "\"f\":",
        "\"index\":0",
        "\u{fe}",
        "\u{1f8b}",
        "(",
        ")",
        "1e9",
        "0.5",
        " ",
    ]);
    prop::collection::vec(words, 0..12).prop_map(|words| words.concat().into_bytes())
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..600)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_are_taken_by_every_target(bytes in bytes()) {
        BODIES.iter().for_each(|(_, body)| body(&bytes));
    }

    #[test]
    fn texts_that_are_nearly_histories_are_taken_by_every_reader(text in texts()) {
        [jsonl, history, edn].iter().for_each(|body| body(&text));
    }

    #[test]
    fn histories_made_of_bytes_are_judged_alike_however_they_are_kept(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        structured(&bytes);
    }

    #[test]
    fn columns_of_histories_made_of_bytes_come_back_and_stand_damage(bytes in bytes()) {
        for how in 0..3 {
            columns(&[&[how], &bytes[..]].concat());
        }
    }
}

#[test]
fn histories_made_of_bytes_are_long_enough_to_be_packed() {
    let longest = |history: fn(&mut arbitrary::Unstructured, Limits) -> Vec<kchaos_core::Op>| {
        let bytes = (0..200_u64).map(|seed| (0..400_u64).map(|at| (((seed + 1) * (at + 7) * 0x9E37_79B9) >> 16) as u8).collect::<Vec<_>>());
        bytes.map(|bytes| history(&mut arbitrary::Unstructured::new(&bytes), Limits::LONG).len()).max()
    };
    assert!(longest(sound_history) > Some(2000));
    assert!(longest(hostile_history) > Some(2000));
}

/// Inputs that failed once.
#[test]
fn what_failed_once_does_not_fail_again() {
    let failed: [(&str, &[u8]); 2] = [
        // Eight searches of four million steps each.
        ("structured", include_bytes!("failed/structured-long-search")),
        // A group's polls lost its name on their way through columns.
        ("structured", include_bytes!("failed/structured-group-in-columns")),
    ];
    for (target, bytes) in failed {
        let (_, body) = BODIES.iter().find(|(name, _)| *name == target).unwrap();
        body(bytes);
    }
}
