//! Clean runs: the safe settings under whatever Kafka promises to survive, drawn at random, none of which may be accused.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::judge::Came;
use super::life::{Named, SPOILS, in_a_directory};
use crate::cli::SelftestArgs;
use crate::exit::{self, Failure};
use crate::selftest::case::Form;

/// A lab, and what of [`NEMESES`] it has nobody for.
struct Ground {
    /// Three of each and short sessions, so that many runs fit into an hour.
    lab: &'static [&'static str],
    lacks: &'static [&'static str],
}

/// In turn.
const GROUNDS: &[Ground] = &[
    Ground { lab: &["--zookeeper-session-timeout=6s"], lacks: &["quorum"] },
    Ground { lab: &["--kraft=separate"], lacks: &["zk", "zookeeper", "session"] },
];
/// As many runs as this share a lab: what one leaves behind the next may stumble over, and that is wanted, but not for ever.
const RUNS_A_LAB: u32 = 25;
const WORKLOADS: &[&str] = &["append", "append", "transactions", "queue", "order", "bank", "elections"];
/// One fault at a time, of a host or of the network between some: three replicas, min.insync.replicas=2 and acks=all lose nothing by it.
const NEMESES: &[&str] = &[
    "kill-leader",
    "kill-controller",
    "kill-follower",
    "kill-zk-leader",
    "stop-leader",
    "restart-random",
    "pause-leader",
    "pause-controller",
    "pause-zk-leader",
    "isolate-leader",
    "isolate-zk-leader",
    "deposed-leader",
    "partition-halves",
    "partition-ring",
    "bridge",
    "one-way-in-leader",
    "one-way-out-leader",
    "cut-zookeeper-leader",
    "expire-session-leader",
    "cut-peers-leader",
    "cut-clients-leader",
    "flap-leader",
    "move-leader",
    "kill-quorum-leader",
    "kill-quorum-follower",
    "pause-quorum-leader",
    "isolate-quorum-leader",
    "cut-peers-quorum-leader",
    "restart-quorum-leader",
];

/// So many runs.
pub(crate) fn live(runs: u32, args: &SelftestArgs) -> Result<u8, Failure> {
    let seed = args.seed.unwrap_or_else(|| rand::rng().random());
    in_a_directory(args, "selftest-clean", |bench| {
        bench.shown.say(&format!("{runs} runs of the safe settings; the same again: kchaos selftest --clean {runs} --seed {seed}"));
        let mut random = StdRng::seed_from_u64(seed);
        let mut done = Vec::new();
        let mut lab = None;
        for number in 1..=runs {
            let ground = ground(number);
            let words = drawn(&mut random, ground);
            if bench.is_aborted {
                break;
            }
            let mut own = match lab.take() {
                Some(own) => own,
                None => bench.up(&ground.lab.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())?,
            };
            if own.code != exit::VALID {
                bench.down(&mut own)?;
                break;
            }
            let (said, run, took) = bench.test(&format!("{number:03}"), &words)?;
            let form = Form::clean(&words);
            let case = format!("{number:03} {}", words[1].trim_start_matches("--nemesis="));
            let one = bench.told(Named { case, form: "clean", round: number, attempt: 1 }, &form, said, &run, took);
            let is_spoiled = SPOILS.contains(&one.exit_code) || one.came == Came::Accused;
            done.push(one);
            if is_spoiled || number % RUNS_A_LAB == 0 {
                bench.down(&mut own)?;
            } else {
                lab = Some(own);
            }
        }
        if let Some(mut own) = lab {
            bench.down(&mut own)?;
        }
        Ok((done, usize::try_from(runs).unwrap_or(usize::MAX)))
    })
}

/// Where a run is done, by its number from 1.
fn ground(number: u32) -> &'static Ground {
    let turn = (number.saturating_sub(1) / RUNS_A_LAB) as usize;
    &GROUNDS[turn % GROUNDS.len()]
}

/// One run: a workload, one to three nemeses, a seed.
fn drawn(random: &mut StdRng, ground: &Ground) -> Vec<String> {
    let workload = WORKLOADS.choose(random).copied().unwrap_or("append");
    let count = random.random_range(1..=3);
    // Who moves leaders itself cannot have them put back.
    let is_left_out = |name: &str| {
        let moves_twice = workload == "elections" && name == "move-leader";
        moves_twice || ground.lacks.iter().any(|lacked| name.contains(lacked))
    };
    let fit: Vec<&str> = NEMESES.iter().copied().filter(|name| !is_left_out(name)).collect();
    let nemeses: Vec<&str> = fit.choose_multiple(random, count).copied().collect();
    let seed: u32 = random.random();
    let fixed = ["--faults=2", "--nemesis-interval=2s", "--time-limit=3m"].map(str::to_owned);
    let drawn = [format!("--workload={workload}"), format!("--nemesis={}", nemeses.join(",")), format!("--seed={seed}")];
    drawn.into_iter().chain(fixed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_drawn_is_a_run_that_can_be_asked_for() {
        let mut random = StdRng::seed_from_u64(7);
        for number in 0..300 {
            let words = drawn(&mut random, ground(number));
            crate::commands::test_args(&words).unwrap_or_else(|why| panic!("{words:?}: {why}"));
        }
    }

    #[test]
    fn twenty_five_runs_share_a_lab_and_the_next_is_of_the_other_kind() {
        let turns = [1, 25, 26, 50, 51].map(|number| ground(number).lab[0]);
        let (zookeeper, kraft) = (GROUNDS[0].lab[0], GROUNDS[1].lab[0]);
        assert_eq!(turns, [zookeeper, zookeeper, kraft, kraft, zookeeper]);
        let mut random = StdRng::seed_from_u64(7);
        for _ in 0..200 {
            let words = drawn(&mut random, &GROUNDS[1]).join(" ");
            assert!(!words.contains("zk") && !words.contains("session"), "{words}");
        }
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let of = |seed| drawn(&mut StdRng::seed_from_u64(seed), &GROUNDS[0]);
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
    }
}
