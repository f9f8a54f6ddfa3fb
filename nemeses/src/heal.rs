//! `kchaos heal`: from any machine with the inventory, with no run directory and no working Kafka. Also the sweep at every start.

use std::sync::Arc;
use std::time::Duration;

use kchaos_cluster::change::Change;
use serde::{Deserialize, Serialize};

use crate::doors::Doors;
use crate::faults::asked;
use crate::ground::COMMAND_TIMEOUT;
use crate::halt::Halt;
use crate::helper;
use crate::host::{self, Answers, CUT, Caller, GUARD, HostPaths, LINK, plain};
use crate::lock::Held;

/// Undo scripts nurse a daemon for two minutes at most.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(300);

#[derive(Clone, Debug, Default)]
pub struct HealOptions {
    pub paths: HostPaths,
    /// The run that sweeps, if it is one: its own lock is nothing to speak of.
    pub run_id: Option<String>,
    /// For people, in the audit of the hosts: `user@machine, pid 17`.
    pub holder: String,
    /// Takes other runs' locks away before they lapse: for a person who knows that the run is dead. A living one then has no locks, and
    /// says so.
    pub break_locks: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "what")]
pub enum HostState {
    /// Nothing of ours was there.
    Clean,
    /// What was there and is not any more.
    Healed(Vec<String>),
    /// Something of ours is still there.
    Unhealed(Vec<String>),
    /// Nobody knows.
    Unreachable(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    pub host: String,
    #[serde(flatten)]
    pub state: HostState,
    /// Worth knowing: a lock that another run holds, rules that are not as before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl HostReport {
    /// `true` if nothing of ours is on the host for certain.
    pub fn is_whole(&self) -> bool {
        matches!(self.state, HostState::Clean | HostState::Healed(_))
    }
}

/// Mends every host of the inventory, all at once; no host's failure keeps another from being mended. Idempotent.
pub async fn heal_cluster(doors: Arc<dyn Doors>, options: HealOptions) -> Vec<HostReport> {
    let hosts: Vec<String> = doors.inventory().hosts.iter().map(|host| host.name.clone()).collect();
    let options = Arc::new(options);
    let mut sweeps = Vec::new();
    for name in hosts {
        let (doors, options) = (Arc::clone(&doors), Arc::clone(&options));
        let task = tokio::spawn({
            let name = name.clone();
            async move { sweep(doors.as_ref(), &options, &name).await }
        });
        sweeps.push((name, task));
    }
    let mut reports = Vec::new();
    for (host, task) in sweeps {
        reports.push(task.await.unwrap_or_else(|error| HostReport {
            host,
            state: HostState::Unreachable(format!("the sweep itself failed: {error}")),
            notes: Vec::new(),
        }));
    }
    reports
}

pub(crate) async fn sweep(doors: &dyn Doors, options: &HealOptions, name: &str) -> HostReport {
    let run = options.run_id.as_deref().map_or_else(String::new, plain);
    let caller = Caller { paths: &options.paths, run: &run, key: "", owner: &options.holder };
    let breaks = if options.break_locks { "yes" } else { "no" };
    let script = caller.script(&[CUT, LINK, GUARD], &format!("k_sweep {breaks}"));
    let means = helper::words(&[&"sweep", &helper::run(&run), &breaks]);
    let mut tries = 0;
    loop {
        tries += 1;
        match host::ask_as(doors.mending(name).as_ref(), &script, &means, SWEEP_TIMEOUT, "the sweep").await {
            Ok(answers) => return report(name, &put_back(doors, options, name, answers).await),
            Err(error) if tries >= 2 => {
                return HostReport { host: name.to_owned(), state: HostState::Unreachable(error.to_string()), notes: Vec::new() };
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

/// What a host keeps and cannot mend itself: changes of the cluster, which is asked for what was there before.
async fn put_back(doors: &dyn Doors, options: &HealOptions, name: &str, answers: Answers) -> Answers {
    let mut lines = Vec::new();
    for (word, rest) in answers.iter() {
        let changes = (word == "unhealed").then(|| asked::changes_in(rest)).flatten();
        let Some(changes) = changes else {
            lines.push(format!("{word} {rest}"));
            continue;
        };
        let key = rest.split(' ').next().unwrap_or_default();
        let words = rest.split(asked::TO_PUT_BACK).next().unwrap_or(rest);
        lines.push(match put_back_one(doors, options, name, key, &changes).await {
            Ok(()) => format!("healed {words}, put back"),
            Err(why) => format!("unhealed {rest}: {}", why.replace(['\n', '\r'], " ")),
        });
    }
    Answers::parse(&lines.join("\n"))
}

async fn put_back_one(doors: &dyn Doors, options: &HealOptions, name: &str, key: &str, changes: &[Change]) -> Result<(), String> {
    let client = doors.protocol().map_err(|error| error.to_string())?;
    asked::put_back(&client, changes).await?;
    let run = options.run_id.as_deref().map_or_else(String::new, plain);
    let script = Caller { paths: &options.paths, run: &run, key, owner: &options.holder }.script(&[CUT, GUARD], "k_disarm");
    let means = helper::words(&[&"disarm", &"-", &key]);
    let answers = host::ask_as(doors.mending(name).as_ref(), &script, &means, COMMAND_TIMEOUT, "the disarming").await;
    answers.map(|_| ()).map_err(|error| error.to_string())
}

fn report(name: &str, answers: &Answers) -> HostReport {
    let (mut healed, mut unhealed, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for (word, rest) in answers.iter() {
        let (key, about) = rest.split_once(' ').unwrap_or((rest, ""));
        match word {
            "healed" => healed.push(format!("{about} ({key})")),
            "lapsed" => healed.push(format!("{about} ({key}), mended before by its own lease")),
            "unhealed" => unhealed.push(format!("{about} ({key})")),
            "rules" => notes.push(format!("the packet filter's rules are not what they were before {key}: somebody else changed them")),
            "held" => notes.push(held(rest)),
            _ => {}
        }
    }
    notes.extend(Halt::read(answers).map(|halt| format!("kchaos is halted here, {halt} (kchaos halt --release lifts it)")));
    let state = if !unhealed.is_empty() {
        HostState::Unhealed(unhealed)
    } else if !answers.has("swept") {
        HostState::Unreachable(format!("the sweep did not come to its end: {}", answers.text()))
    } else if healed.is_empty() {
        HostState::Clean
    } else {
        HostState::Healed(healed)
    };
    HostReport { host: name.to_owned(), state, notes }
}

fn held(rest: &str) -> String {
    let Held { run, holder, seconds } = Held::read(rest);
    format!("locked by run {run} ({holder}) for another {seconds} s")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expect: &HostState) {
        assert_eq!(&report("b1", &Answers::parse(text)).state, expect, "{text:?}");
    }

    #[test]
    fn a_host_is_clean_healed_unhealed_or_unknown_by_what_the_sweep_said() {
        check("swept\n", &HostState::Clean);
        check("healed r-1 pause-leader: kafka:1\nswept\n", &HostState::Healed(vec!["pause-leader: kafka:1 (r-1)".into()]));
        check(
            "lapsed r-1 isolate-leader: cut\nswept\n",
            &HostState::Healed(vec!["isolate-leader: cut (r-1), mended before by its own lease".into()]),
        );
        check("healed r-1 a\nunhealed r-2 b\nswept\n", &HostState::Unhealed(vec!["b (r-2)".into()]));
        check("healed r-1 a\n", &HostState::Unreachable("the sweep did not come to its end: healed r-1 a".into()));
    }

    proptest! {
        #[test]
        fn a_sweep_that_did_not_end_is_never_whole(text in "(healed|lapsed|held|rules|swep) \\PC{0,30}\n") {
            prop_assert!(!report("b1", &Answers::parse(&text)).is_whole());
        }
    }
}
