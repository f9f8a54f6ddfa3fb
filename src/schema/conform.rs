//! Does a value conform? For tests: of JSON Schema what the schemas here use, and a keyword beyond that is an error, so that nothing is passed
//! over in silence.

use serde_json::{Map, Value};

/// What the schemas may be made of.
const KEYWORDS: &[&str] = &[
    "$schema",
    "$id",
    "$defs",
    "$ref",
    "title",
    "description",
    "type",
    "enum",
    "minimum",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "prefixItems",
    "anyOf",
];

/// Panics with the first thing that is wrong, and where.
#[track_caller]
pub(crate) fn assert_conforms(name: &str, value: &Value) {
    if let Err(why) = conforms(name, value) {
        panic!("it is no {name}: {why}\n{value:#}");
    }
}

pub(crate) fn conforms(name: &str, value: &Value) -> Result<(), String> {
    let schema = super::named(name).ok_or_else(|| format!("there is no schema {name}"))?;
    let root: Value = serde_json::from_str(schema.text).map_err(|error| format!("schema {name}: {error}"))?;
    check(&root, &root, value, "$")
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Some(schema) = schema.as_object() else { return Err(format!("{at}: a schema is an object here")) };
    if let Some(unknown) = schema.keys().find(|key| !KEYWORDS.contains(&key.as_str())) {
        return Err(format!("{at}: the keyword {unknown} is not known"));
    }
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let name = name.strip_prefix("#/$defs/").ok_or_else(|| format!("{at}: {name} is no reference within the schema"))?;
        let meant = root["$defs"].get(name).ok_or_else(|| format!("{at}: nothing is called {name}"))?;
        check(root, meant, value, at)?;
    }
    if let Some(all) = schema.get("anyOf").and_then(Value::as_array) {
        let tried: Vec<String> = all.iter().map_while(|one| check(root, one, value, at).err()).collect();
        if tried.len() == all.len() {
            return Err(format!("{at}: none of {}: {}", all.len(), tried.join("; ")));
        }
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array)
        && !values.contains(value)
    {
        return Err(format!("{at}: {value} is not one of {values:?}"));
    }
    if let Some(types) = schema.get("type")
        && !types.as_array().map_or_else(|| vec![types], |all| all.iter().collect()).into_iter().any(|one| is_a(one, value))
    {
        return Err(format!("{at}: {value} is no {types}"));
    }
    if let (Some(least), Some(number)) = (schema.get("minimum").and_then(Value::as_f64), value.as_f64())
        && number < least
    {
        return Err(format!("{at}: {number} is below {least}"));
    }
    match value {
        Value::Object(object) => check_object(root, schema, object, at),
        Value::Array(array) => check_array(root, schema, array, at),
        _ => Ok(()),
    }
}

fn is_a(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        _ => false,
    }
}

fn check_object(root: &Value, schema: &Map<String, Value>, object: &Map<String, Value>, at: &str) -> Result<(), String> {
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for name in required {
        if !object.contains_key(name) {
            return Err(format!("{at}: {name} is missing"));
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, value) in object {
        let at = format!("{at}.{name}");
        match (properties.and_then(|properties| properties.get(name)), schema.get("additionalProperties")) {
            (Some(property), _) => check(root, property, value, &at)?,
            (None, Some(Value::Bool(true))) => {}
            (None, Some(other @ Value::Object(_))) => check(root, other, value, &at)?,
            // Stricter than the schema: what is written is to be told of.
            (None, _) if properties.is_some() => return Err(format!("{at}: the schema does not tell of it")),
            (None, _) => {}
        }
    }
    Ok(())
}

fn check_array(root: &Value, schema: &Map<String, Value>, array: &[Value], at: &str) -> Result<(), String> {
    let first = schema.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for (place, value) in array.iter().enumerate() {
        if let Some(item) = first.get(place).or_else(|| schema.get("items")) {
            check(root, item, value, &format!("{at}[{place}]"))?;
        }
    }
    Ok(())
}

/// Each schema within a schema.
fn each(schema: &Value, call: &mut impl FnMut(&Map<String, Value>)) {
    let Some(object) = schema.as_object() else { return };
    call(object);
    for (key, inner) in object {
        match (key.as_str(), inner) {
            ("properties" | "$defs", Value::Object(all)) => all.values().for_each(|one| each(one, call)),
            ("items" | "additionalProperties", one) => each(one, call),
            ("anyOf" | "prefixItems", Value::Array(all)) => all.iter().for_each(|one| each(one, call)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use kchaos_nemeses::{JournalEntry, JournalIntent, JournalState};
    use serde_json::json;

    use super::*;
    use crate::report::LatencyFile;
    use crate::report::fixture::{Variant, run};

    #[test]
    fn schemas_are_made_of_what_is_checked_and_refer_to_what_is_there() {
        for schema in super::super::ALL {
            let root: Value = serde_json::from_str(schema.text).unwrap_or_else(|error| panic!("{}: {error}", schema.name));
            assert_eq!(root["$id"], format!("urn:kchaos:{}", schema.name));
            each(&root, &mut |one| {
                for key in one.keys() {
                    assert!(KEYWORDS.contains(&key.as_str()), "{}: {key}", schema.name);
                }
                if let Some(Value::String(name)) = one.get("$ref") {
                    let name = name.strip_prefix("#/$defs/").unwrap();
                    assert!(root["$defs"].get(name).is_some(), "{}: {name}", schema.name);
                }
                let properties = one.get("properties").and_then(Value::as_object);
                for name in one.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
                    assert!(properties.is_some_and(|all| all.contains_key(name)), "{}: {name} is required and not told of", schema.name);
                }
            });
        }
    }

    #[test]
    fn every_schema_is_told_of_and_stands_in_the_documentation() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas")).unwrap().count();
        assert_eq!(super::super::ALL.len(), files, "each file of schemas/ has a line in ALL");
        let page = include_str!("../../docs/schemas.md");
        for schema in super::super::ALL {
            assert!(page.contains(&format!("`{}`", schema.name)), "docs/schemas.md lacks {}", schema.name);
        }
    }

    #[test]
    fn what_a_run_writes_conforms() {
        for variant in [Variant::Valid, Variant::Invalid, Variant::Unknown] {
            let data = run(variant);
            assert_conforms("verdict", &json!(data.verdict));
            assert_conforms("plan", &json!(data.plan));
            let recovery = data.verdict.recovery.phases.clone();
            assert_conforms("latency", &json!(LatencyFile { recovery, sizes: data.sizes, latency: data.latency }));
            data.faults.iter().for_each(|event| assert_conforms("fault", &json!(event)));
            data.timeline.iter().for_each(|seen| assert_conforms("observation", &json!(seen)));
        }
    }

    #[test]
    fn a_line_of_the_undo_journal_conforms() {
        let word = |text: &str| text.to_owned();
        let intent = JournalIntent { host: word("b1"), daemon: word("kafka:1"), evidence: word("leads"), undo: word("k_start") };
        let (run, nemesis) = (word("20261123T020000Z-1"), word("kill-leader"));
        let open = JournalEntry { time_ns: 7, run, fault_id: 1, nemesis, state: JournalState::Open, hosts: vec![intent] };
        assert_conforms("undo-journal", &json!(open));
        assert_conforms("undo-journal", &json!(JournalEntry { state: JournalState::Done, hosts: Vec::new(), ..open }));
    }

    #[test]
    fn histories_and_what_is_found_in_them_conform_whatever_the_anomaly() {
        for anomaly in kchaos_synth::INJECTABLE {
            let injections = vec![anomaly.name.parse().unwrap()];
            let options =
                kchaos_synth::Options { workload: anomaly.workloads[0], sends: 300, injections, ..kchaos_synth::Options::default() };
            let mut history = Vec::new();
            kchaos_synth::Synth::new(options).unwrap().write(&mut history).unwrap();
            for line in history.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                assert_conforms("op", &serde_json::from_slice(line).unwrap());
            }
            let open = || -> std::io::Result<kchaos_checkers::Input<'_>> { Ok(Box::new(history.as_slice())) };
            let reading = kchaos_checkers::Reading { name: "synth", threads: 1 };
            let report = kchaos_checkers::check(open, reading, kchaos_checkers::JudgeOptions::default()).unwrap();
            assert_conforms("check", &json!(report));
            assert_conforms("check", &json!({"runs": [report]}));
        }
    }

    #[test]
    fn what_does_not_conform_is_told_with_its_place() {
        let whole = json!(run(Variant::Invalid).verdict);
        for (pointer, value, words) in [
            ("/exit_code", json!(7), "$.exit_code: 7 is not one of"),
            ("/valid", json!("maybe"), "$.valid: \"maybe\" is not one of"),
            ("/ops", json!(-1), "$.ops: -1 is below 0"),
            ("/sentence", json!(null), "$.sentence: null is no \"string\""),
            ("/faults", json!({"required": 1}), "$.faults: tried is missing"),
        ] {
            let mut broken = whole.clone();
            *broken.pointer_mut(pointer).unwrap() = value;
            let why = conforms("verdict", &broken).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
        let mut more = whole;
        more["colour"] = json!("red");
        assert_eq!(conforms("verdict", &more), Err("$.colour: the schema does not tell of it".into()));
    }
}
