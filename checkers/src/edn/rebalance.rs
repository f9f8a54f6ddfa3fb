//! Jepsen's rebalance logs, which say less than ours: an event needs no type, and older clients write two lists, before and during the op.
//!
//! An event whose type is not known is taken for `lost`, which excuses most. Its keys must be there: a log without them is refused with its
//! place, since it changes what is judged and nobody can say how.

use serde_json::{Map, Value};

const TYPES: [&str; 3] = ["assigned", "revoked", "lost"];
/// As long as the name it hides, so that every place in the line stays.
const HIDDEN: &str = "\"rebalance_log\"";

/// Rewrites the log whose name stands at `name` of `json`, if it needs it: a new one is appended to the op, the old one hidden.
pub(super) fn normalise(json: &mut String, name: usize) {
    let Some(text) = json.get(name + HIDDEN.len() + 1..) else { return };
    let Some(Ok(mut log)) = serde_json::Deserializer::from_str(text).into_iter::<Value>().next() else { return };
    let was = log.clone();
    if let Value::Object(lists) = &log {
        log = Value::Array(lists.values().filter_map(Value::as_array).flatten().cloned().collect());
    }
    let events = log.as_array_mut().into_iter().flatten();
    events.filter_map(Value::as_object_mut).for_each(name_type);
    if log != was && json.ends_with('}') {
        json.pop();
        json.push_str(&format!(",\"rebalance-log\":{log}}}"));
        json.replace_range(name..name + HIDDEN.len(), HIDDEN);
    }
}

/// `:assigned`, or words that hold one of ours, such as `:partitions-revoked`.
fn name_type(event: &mut Map<String, Value>) {
    let given = event.get("type").and_then(Value::as_str).unwrap_or_default();
    let name = TYPES.into_iter().find(|name| given.contains(name)).unwrap_or("lost");
    event.insert("type".to_owned(), Value::from(name));
}
