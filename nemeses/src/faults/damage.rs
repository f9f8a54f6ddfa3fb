//! What `corrupt` and `truncate` share: the newest segment of a replica is damaged while its broker is down, and Kafka is to notice.
//!
//! The broker is killed, so that it does not trust its log when it starts: it checks the newest segment, cuts it at the first batch that is not
//! whole, and fetches the rest from the leader. A replica is only damaged while another one is in sync, from which it can be rebuilt.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kchaos_cluster::inventory::{DaemonKind, DiskFault};
use kchaos_core::{Chosen, Effect, Interval, Proof, Target};
use tokio::time::Instant;

use crate::error::FaultError;
use crate::fault::{HostFault, Injected, Undo};
use crate::faults::bring_up;
use crate::faults::disk::OnDisk;
use crate::ground::Ground;
use crate::host::{DISK, GUARD, PROCESS, quote};

/// Brokers, one at a time: what is damaged is rebuilt from the others.
pub(crate) const TARGETS: &[Target] = &[Target::Leader, Target::Controller, Target::Follower, Target::Random];

/// From registration until in sync again.
const IN_SYNC_TIMEOUT: Duration = Duration::from_secs(120);

struct Damage {
    on: OnDisk,
    how: DiskFault,
    /// Directories of the replicas that may be damaged: another one of each is in sync.
    replicas: Vec<String>,
    damaged: Mutex<Option<Damaged>>,
}

/// What was done to which file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Damaged {
    from: u64,
    length: u64,
    before_bytes: u64,
    after_bytes: u64,
    before_sum: String,
    after_sum: String,
    /// `TOPIC-PARTITION/SEGMENT`.
    file: String,
}

pub(crate) async fn plan(ground: Arc<Ground>, chosen: Chosen, how: DiskFault) -> Result<Box<dyn HostFault>, FaultError> {
    let on = OnDisk::find(ground, chosen, how).await?;
    let refused = |why: String| FaultError::refused(&on.ground().nemesis, why);
    if on.daemon.entry.kind != DaemonKind::Kafka {
        return Err(refused(format!("{} is no broker: only replicas of partitions are damaged", on.daemon.chosen.daemon)));
    }
    let view = on.ground().shared.view().await;
    let view = view.map_err(|error| FaultError::environment(&on.ground().nemesis, "no replica could be chosen", error))?;
    let topics = &on.ground().shared.options.topics;
    let is_ours = |topic: &str, partition| topics.iter().any(|entry| entry.topic == topic && entry.partition == partition);
    let id = on.daemon.entry.id;
    let replicas: Vec<String> = view
        .partitions
        .iter()
        .filter(|seen| is_ours(&seen.topic, seen.partition))
        .filter(|seen| seen.isr.contains(&id) && seen.isr.iter().any(|other| *other != id))
        .map(|seen| format!("{}-{}", seen.topic, seen.partition))
        .collect();
    if replicas.is_empty() {
        return Err(refused(format!("broker {id} holds no replica of the run's topics beside which another one is in sync")));
    }
    Ok(Box::new(Damage { on, how, replicas, damaged: Mutex::default() }))
}

#[async_trait]
impl HostFault for Damage {
    fn host(&self) -> &str {
        self.on.host()
    }

    fn undo(&self) -> Undo {
        Undo {
            about: format!("{}: a replica on {} damaged, its broker killed", self.on.ground().nemesis, self.on.daemon.chosen.daemon),
            parts: &[PROCESS, DISK, GUARD],
            setup: self.on.setup(),
            mend: "k_nurse && k_await_rebuilt".to_owned(),
            verify: "[ -n \"$(k_find_daemon)\" ] && ! k_is_damaged".to_owned(),
        }
    }

    fn holds(&self) -> String {
        let daemon = &self.on.daemon;
        let said = quote(&format!("{} runs again, and not by our doing", daemon.chosen.daemon));
        format!(
            "{}\nk_same_process {} && return 0\n[ -z \"$(k_find_daemon)\" ] || echo {said}\nreturn 0",
            daemon.functions(),
            daemon.arguments()
        )
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        let daemon = &self.on.daemon;
        let replicas: Vec<String> = self.replicas.iter().map(|replica| quote(replica)).collect();
        let call = format!("k_damage {} {} {}", daemon.arguments(), self.how.name(), replicas.join(" "));
        let (when, answer) = self.on.inject(&call, "the damage to the replica").await?;
        let mut files = vec![self.on.disk.data_dir.display().to_string()];
        if let Ok(answers) = answer {
            let damaged = answers.get("damaged").and_then(damaged).ok_or_else(|| self.on.refused(&answers))?;
            files = vec![self.on.disk.data_dir.join(&damaged.file).display().to_string()];
            *self.lock() = Some(damaged);
        }
        let pids = vec![(daemon.before.pid, daemon.before.start_time)];
        Ok(Injected { when, effect: Effect { pids, files, ..Effect::default() } })
    }

    async fn proof(&self) -> Result<Proof, FaultError> {
        let gone = self.on.look(&format!("k_gone {} 50", self.on.daemon.arguments())).await?.has("gone");
        let Some(damaged) = self.lock().clone() else {
            return Ok(Proof { proved: false, text: format!("what was done to a replica of {} is not known", self.on.daemon.name()) });
        };
        let Damaged { from, length, before_bytes, after_bytes, before_sum, after_sum, file } = &damaged;
        let changed = before_sum != after_sum && if self.how == DiskFault::Truncate { after_bytes < before_bytes } else { true };
        let what = match self.how {
            DiskFault::Truncate => format!("cut from {before_bytes} to {after_bytes} bytes"),
            _ => format!("overwritten in {length} bytes from byte {from} of {before_bytes}"),
        };
        let is = if gone { "gone" } else { "still there" };
        let text = format!("{} is {is}; {file} was {what}: checksum {before_sum} before, {after_sum} after", self.on.daemon.name());
        Ok(Proof { proved: gone && changed, text })
    }

    async fn mend(&self) -> Result<Interval, String> {
        let up = bring_up::bring_up(&self.on.daemon).await?;
        let Some(replica) = self.replica() else { return Ok(up) };
        let deadline = Instant::now() + IN_SYNC_TIMEOUT;
        while !self.is_in_sync(&replica).await? {
            if Instant::now() >= deadline {
                return Err(format!("{replica} was not in sync again on {} within {} s", self.host(), IN_SYNC_TIMEOUT.as_secs()));
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        Ok(Interval { after_ns: up.after_ns, before_ns: self.on.ground().now() })
    }

    async fn mended(&self) -> Proof {
        let up = bring_up::is_up(&self.on.daemon).await;
        let Some(replica) = self.replica().filter(|_| up.proved) else { return up };
        match self.is_in_sync(&replica).await {
            Ok(true) => {}
            Ok(false) => return Proof { proved: false, text: format!("{replica} on {} is not in sync", self.host()) },
            Err(error) => return Proof { proved: false, text: error },
        }
        match self.on.mend("k_is_damaged && echo damaged || echo rebuilt", "the look at the replica").await {
            Ok(answers) if answers.has("rebuilt") => {
                Proof { proved: true, text: format!("{replica} on {} is rebuilt and in sync; {}", self.host(), up.text) }
            }
            Ok(_) => Proof {
                proved: false,
                text: format!(
                    "{replica} on {} still holds the damaged bytes: stop the broker, remove the directory of this replica, start it, and it is \
                     fetched anew",
                    self.host()
                ),
            },
            Err(error) => Proof { proved: false, text: format!("{replica} could not be looked at: {error}") },
        }
    }
}

impl Damage {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Damaged>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replica(&self) -> Option<String> {
        self.lock().as_ref().and_then(|damaged| Some(damaged.file.split_once('/')?.0.to_owned()))
    }

    async fn is_in_sync(&self, replica: &str) -> Result<bool, String> {
        let view = self.on.ground().shared.view().await.map_err(|error| error.to_string())?;
        let id = self.on.daemon.entry.id;
        let seen = view.partitions.iter().find(|seen| format!("{}-{}", seen.topic, seen.partition) == replica);
        Ok(seen.is_some_and(|seen| seen.isr.contains(&id)))
    }
}

fn damaged(rest: &str) -> Option<Damaged> {
    let mut words = rest.splitn(7, ' ');
    let mut number = || words.next()?.parse().ok();
    let (from, length, before_bytes, after_bytes) = (number()?, number()?, number()?, number()?);
    let mut word = || words.next().map(str::to_owned);
    Some(Damaged { from, length, before_bytes, after_bytes, before_sum: word()?, after_sum: word()?, file: word()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_host_says_of_the_damage_is_read() {
        let damaged = damaged("500 64 1000 1000 17-1000 18-1000 kchaos-a-0/00000000000000000000.log").unwrap();
        assert_eq!((damaged.from, damaged.length, damaged.after_sum.as_str()), (500, 64, "18-1000"));
        assert_eq!(damaged.file, "kchaos-a-0/00000000000000000000.log");
    }

    proptest! {
        #[test]
        fn no_answer_of_a_host_makes_it_panic(text in "[0-9 ]{0,20}\\PC{0,30}") {
            let _ = damaged(&text);
        }
    }
}
