use proptest::prelude::*;

use super::*;

/// What a form is written as.
fn json(text: &str) -> Result<String, OpError> {
    let (mut at, mut out) = (0, String::new());
    let whole = Transcoder::default().value(text, &mut at, &mut out)?;
    assert!(whole && text[at..].trim().is_empty(), "{text}: read until {at}: {out}");
    Ok(out)
}

#[test]
fn every_form_has_its_json() {
    for (edn, expected) in [
        ("nil", "null"),
        ("true", "true"),
        ("false", "false"),
        ("7", "7"),
        ("-7", "-7"),
        ("+7", "7"),
        ("7N", "7"),
        ("1152921504606846976", "1152921504606846976"),
        ("1.5", "1.5"),
        ("7.", "7"),
        ("7M", "7"),
        ("-1.5e-3M", "-1.5e-3"),
        ("7e3", "7e3"),
        ("1e999", r#""1e999""#),
        ("007", r#""007""#),
        ("1/2", r#""1/2""#),
        ("0x1f", r#""0x1f""#),
        ("##Inf", r###""##Inf""###),
        (":ok", r#""ok""#),
        (":a.b/c?", r#""a.b/c?""#),
        ("ok", r#""ok""#),
        ("-", r#""-""#),
        ("clojure.core$fn__1", r#""clojure.core$fn__1""#),
        (":grün", r#""grün""#),
        (r#""""#, r#""""#),
        (r#""a\tb\"c\\d\n""#, r#""a\tb\"c\\d\n""#),
        ("\"a\tb\"", r#""a\u0009b""#),
        (r#""\u00e9\u0041\101\o7""#, r#""éAA\u0007""#),
        (r#""\ud83d\ude00\ud83d""#, "\"😀\u{fffd}\""),
        (r#"#"\d+\"x""#, r#""\\d+\\\"x""#),
        (r"\a", r#""a""#),
        (r"\newline", r#""\n""#),
        (r"\space", r#"" ""#),
        (r"\u0041", r#""A""#),
        (r"\o101", r#""A""#),
        (r"[\( \\ \é]", r#"["(","\\","é"]"#),
        ("[]", "[]"),
        ("(1, 2 3,)", "[1,2,3]"),
        ("#{:a [#{} ()]}", r#"["a",[[],[]]]"#),
        ("{}", "{}"),
        ("{0 [[17 4]], -1 []}", r#"{"0":[[17,4]],"-1":[]}"#),
        (r#"{:a 1 b 2 "c" 3 4N 5 nil 6 true 7 1.5 8 \x 9}"#, r#"{"a":1,"b":2,"c":3,"4":5,"nil":6,"true":7,"1.5":8,"x":9}"#),
        (r#"{[0 "t"] {#{1} 2}}"#, r##"{"[0 \"t\"]":{"#{1}":2}}"##),
        (r#"#inst "2026-01-01""#, r#""2026-01-01""#),
        ("#a.B #c [#d 1]", "[1]"),
        ("#:ns{:a 1}", r#"{"a":1}"#),
        ("#object[java.lang.Object 0x1f \"x\"]", r#"["java.lang.Object","0x1f","x"]"#),
        ("#'clojure.core/inc", r#""clojure.core/inc""#),
        ("[1 #_2 3 #_[4 {:a 5}]]", "[1,3]"),
        ("[#_ #_ 1 2 3]", "[3]"),
        ("{#_:a #_1 :b #_2 3 #_#_:c 4}", r#"{"b":3}"#),
        ("[1,,,2]", "[1,2]"),
    ] {
        let found = json(edn).unwrap_or_else(|error| panic!("{edn}: {error}"));
        assert_eq!(found, expected, "{edn}");
        assert!(serde_json::from_str::<serde_json::Value>(&found).is_ok(), "{edn}: {found}");
    }
}

#[test]
fn what_is_no_form_is_refused_with_its_column() {
    for (edn, column, word) in [
        ("[1", 3, "from column 1"),
        ("[1 ; two]", 10, "from column 1"),
        ("{:a {:b 1}", 11, "inside a map"),
        ("[1}", 3, "expected ']'"),
        ("{:a [1}", 7, "expected ']', for what began in column 5"),
        ("{:a}", 4, "no value"),
        ("]", 1, "expected a form"),
        ("[#_]", 4, "expected a form"),
        ("#_", 3, "#_"),
        ("[# 1]", 2, "tag"),
        (r#"[:a "b]"#, 5, "not closed"),
        (r#"["a\"#, 4, "not closed"),
        (r#"["a\q"]"#, 4, "unknown escape"),
        (r#"["a\u12"]"#, 4, "hexadecimal"),
        (r"\", 1, "character"),
        (r"\newlines", 1, "unknown character"),
    ] {
        let error = json(edn).expect_err(edn);
        assert_eq!((error.column, error.message.contains(word)), (column, true), "{edn}: {error}");
    }
    for one in ["[", "{:a ", "#_", "#{", "[#_", "{[ 1 ] ", "#a [", "{["] {
        let error = json(&one.repeat(1_000_000)).expect_err(one);
        assert!(error.message.contains("nested deeper than 128"), "{one}: {error}");
    }
}

#[test]
fn edn_is_told_from_json_by_its_first_bytes_or_its_name() {
    for line in ["{:a 1}", " , { ,:a", "[{:a", "({:a", "[ [{:a", "; a comment", "#jepsen.history.Op{", "#_{", "[#a{", "#{"] {
        assert!(is_like_edn(line.as_bytes()), "{line}");
    }
    for line in ["", "{", "{\"a\":1}", "{ \"a\" 1}", "{}", "[", "[1]", "[\"a\"]", "null", "# a comment", "\u{fffd}", "a"] {
        assert!(!is_like_edn(line.as_bytes()), "{line}");
    }
    for (name, is_edn) in
        [("a/history.edn", true), ("h.EDN.gz", true), ("h.edn.zst", true), ("h.edn.jsonl", false), ("edn", false), ("-", false)]
    {
        assert_eq!(is_named_edn(name), is_edn, "{name}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = Edn::default().next_op(&text, &mut 0);
    }

    #[test]
    fn what_is_read_is_json(text in "[\\[\\](){}#_:;\"\\\\ ,a0-9.eENuo/\u{e9}+-]{0,24}") {
        let mut out = String::new();
        if let Ok(true) = Transcoder::default().value(&text, &mut 0, &mut out) {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{text}\n{out}");
        }
    }

    #[test]
    fn every_place_in_the_json_has_one_in_the_edn(text in "[\\[\\](){}#_:\" a0-9]{0,24}", target in 0..40_usize) {
        let mut again = Transcoder::seeking(target);
        let _ = again.value(&text, &mut 0, &mut String::new());
        prop_assert!(text.is_char_boundary(again.place()) && again.place() <= text.len());
    }
}
