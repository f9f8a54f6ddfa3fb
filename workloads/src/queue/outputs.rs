//! What members make of their inputs (`--exactly-once`): the values, and how each tells its input.
//!
//! Why: two outputs of one input must be told apart, or nobody can say that there are two. So the value of an output carries its input and the number
//! of the attempt, and one op of the history says how.

use std::sync::{Mutex, PoisonError};

use kchaos_core::{Draft, KeyEntry, Value};
use serde_json::{Map, json};

/// An output is this times the attempt, plus the input. JSON readers that know only doubles are right up to attempt 9,000.
const MODULUS: Value = 1_000_000_000_000;

/// By key of the inputs and value: attempts so far.
pub(super) struct Outputs(Vec<Mutex<Vec<u16>>>);

impl Outputs {
    pub(super) fn new(inputs: usize) -> Self {
        Self((0..inputs).map(|_| Mutex::default()).collect())
    }

    /// The value of the next attempt at an input. `None` if nobody can have sent such an input: it is below 1, or beyond `greatest`.
    pub(super) fn next(&self, key: usize, input: Value, greatest: Value) -> Option<Value> {
        let place = usize::try_from(input).ok().filter(|_| (1..=greatest.min(MODULUS - 1)).contains(&input))?;
        let mut attempts = self.0.get(key)?.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.len() <= place {
            attempts.resize(place + 1, 0);
        }
        attempts[place] = attempts[place].checked_add(1)?;
        Some(MODULUS * Value::from(attempts[place]) + input)
    }
}

/// What says in the history where the outputs are, and how their inputs are had from them.
pub(super) fn told(group: &str, keys: &[KeyEntry], inputs: usize) -> Draft {
    let pairs = keys.iter().zip(keys.iter().skip(inputs));
    let pairs: Map<_, _> = pairs.map(|(input, output)| (input.key.to_string(), json!(output.key))).collect();
    Draft::told("outputs", json!({"group": group, "keys": pairs, "modulus": MODULUS}))
}

#[cfg(test)]
mod tests {
    use kchaos_core::Body;

    use super::*;

    #[test]
    fn each_attempt_has_a_value_of_its_own_which_tells_the_input() {
        let outputs = Outputs::new(2);
        let values = [(0, 7), (0, 7), (1, 7), (0, 9)].map(|(key, input)| outputs.next(key, input, 9).unwrap());
        assert_eq!(values, [1_000_000_000_007, 2_000_000_000_007, 1_000_000_000_007, 1_000_000_000_009]);
        assert!(values.iter().all(|value| [7, 9].contains(&(value % MODULUS))));
    }

    #[test]
    fn what_nobody_can_have_sent_has_no_output() {
        let outputs = Outputs::new(1);
        for input in [0, -1, 10, MODULUS, Value::MAX] {
            assert_eq!(outputs.next(0, input, 9), None, "{input}");
        }
    }

    #[test]
    fn key_k_has_its_outputs_behind_all_inputs() {
        let entry = |key| KeyEntry { key, topic: "t".into(), partition: 0 };
        let Body::Nemesis { value, .. } = told("g", &[entry(0), entry(1), entry(2), entry(3)], 2).body else { panic!("not told") };
        assert_eq!(value["keys"], json!({"0": 2, "1": 3}));
    }
}
