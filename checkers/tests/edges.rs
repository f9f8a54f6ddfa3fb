//! Edges at which a mutated checker once said the same (docs/proof.md): each of these fails with that mutant.

mod common;

use common::{check, polled, sent};

mod committed_offsets {
    use super::*;

    fn op(process: u32, how: &str, told: &str) -> String {
        format!("{process} {how} {told} ; \"group\":\"g\"\n")
    }

    fn fetched(offset: u32) -> String {
        op(3, "invoke committed", "[0]") + &op(3, "ok committed", &format!("{{\"0\":{offset}}}"))
    }

    #[test]
    fn of_two_commits_in_flight_at_once_either_may_be_the_last() {
        let base = sent(1, 0) + &polled(1, "[0,1]");
        let [five, seven] = ["{\"0\":5}", "{\"0\":7}"];
        let begun = op(1, "invoke commit", five) + &op(2, "invoke commit", seven);
        let ended = [op(1, "ok commit", five), op(2, "ok commit", seven)];
        let less = "invalid: commit-regression 1";
        for (offset, expected) in [(4, less), (5, "valid"), (6, less), (7, "valid")] {
            check(&(base.clone() + &begun + &ended.concat() + &fetched(offset)), expected);
        }
        // The smaller one ended last: no more than that is owed.
        for (offset, expected) in [(4, less), (5, "valid"), (6, "valid"), (7, "valid")] {
            check(&(base.clone() + &begun + &ended[1] + &ended[0] + &fetched(offset)), expected);
        }
        // One after the other, the later one is.
        let apart = op(1, "invoke commit", five) + &op(1, "ok commit", five) + &op(2, "invoke commit", seven) + &op(2, "ok commit", seven);
        check(&(base + &apart + &fetched(5)), less);
    }

    #[test]
    fn what_is_lowered_while_it_is_fetched_may_be_returned_and_no_other_key() {
        let base =
            sent(1, 0) + &polled(1, "[0,1]") + &op(1, "invoke commit", "{\"0\":7,\"1\":7}") + &op(1, "ok commit", "{\"0\":7,\"1\":7}");
        let lowered = op(3, "invoke committed", "[0,1]") + &op(2, "invoke commit", "{\"0\":5}") + &op(2, "ok commit", "{\"0\":5}");
        for (found, expected) in [
            ("{\"0\":5,\"1\":7}", "valid"),
            ("{\"0\":7,\"1\":7}", "valid"),
            ("{\"0\":4,\"1\":7}", "invalid: commit-regression 1"),
            ("{\"0\":5,\"1\":5}", "invalid: commit-regression 1"),
        ] {
            check(&(base.clone() + &lowered + &op(3, "ok committed", found)), expected);
        }
    }
}
