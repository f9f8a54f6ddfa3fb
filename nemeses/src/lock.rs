//! One run at a time: a lock on each host (`mkdir` is atomic), with the run's id, its holder and a lease of its own.
//!
//! Not in ZooKeeper: that is under test. It lies in `/run`, so a reboot frees it; a run renews it while it lives; when its lease has
//! passed, the next run breaks it.

use std::time::Duration;

use kchaos_cluster::remote::{Means, RemoteError};
use serde::Serialize;

use crate::doors::Doors;
use crate::error::LockError;
use crate::ground::COMMAND_TIMEOUT;
use crate::halt::Halt;
use crate::helper;
use crate::host::{self, Answers, Caller, GUARD, HostPaths, plain};

/// Whose lock, and for how long without a renewal.
#[derive(Clone, Debug)]
pub struct LockOptions {
    pub run_id: String,
    /// For people: `user@machine, pid 17`.
    pub holder: String,
    pub lease: Duration,
    pub paths: HostPaths,
}

impl LockOptions {
    fn script(&self, call: &str) -> String {
        let run = plain(&self.run_id);
        Caller { paths: &self.paths, run: &run, key: "", owner: &self.holder }.script(&[GUARD], call)
    }

    fn words(&self, verb: &str) -> Means {
        let lease_cs = host::centiseconds(self.lease);
        helper::words(&[&verb, &plain(&self.run_id), &lease_cs, &helper::line(&self.holder)])
    }
}

/// Locks every host of the inventory, in the order of their names, or none. Returns what there is to say (locks that had lapsed and were
/// broken). Locking again as the same run renews.
pub async fn lock_hosts(doors: &dyn Doors, options: &LockOptions) -> Result<Vec<String>, LockError> {
    let mut hosts: Vec<&str> = doors.inventory().hosts.iter().map(|host| host.name.as_str()).collect();
    hosts.sort_unstable();
    let mut said = Vec::new();
    for (index, name) in hosts.iter().enumerate() {
        match lock_one(doors, options, name).await {
            Ok(notes) => said.extend(notes),
            Err(error) => {
                for locked in &hosts[..index] {
                    // It lapses by itself where this fails.
                    let _ = drop_one(doors, options, locked).await;
                }
                return Err(error);
            }
        }
    }
    Ok(said)
}

/// Gives up this run's locks, on every host that can be reached; returns what went wrong with the others (their locks lapse by themselves).
pub async fn unlock_hosts(doors: &dyn Doors, options: &LockOptions) -> Vec<(String, RemoteError)> {
    let mut failed = Vec::new();
    for host in &doors.inventory().hosts {
        if let Err(error) = drop_one(doors, options, &host.name).await {
            failed.push((host.name.clone(), error));
        }
    }
    failed
}

async fn lock_one(doors: &dyn Doors, options: &LockOptions, name: &str) -> Result<Vec<String>, LockError> {
    let call = format!("k_lock_take {}", host::centiseconds(options.lease));
    let answers = ask(doors, name, &options.script(&call), &options.words("lock"))
        .await
        .map_err(|source| LockError::Remote { host: name.to_owned(), source })?;
    if answers.has("locked") {
        return Ok(answers.all("broke").map(|run| format!("{name}: the lock of run {run} had lapsed and was broken")).collect());
    }
    if let Some(halt) = Halt::read(&answers) {
        return Err(LockError::Halted { host: name.to_owned(), halt });
    }
    let Some(held) = answers.get("held") else {
        return Err(LockError::Refused { host: name.to_owned(), text: answers.text() });
    };
    let Held { run, holder, seconds } = Held::read(held);
    Err(LockError::Held { host: name.to_owned(), run, holder, seconds })
}

/// A lock as its host tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    pub run: String,
    /// For people.
    pub holder: String,
    /// For so long, if nobody renews it; 0: it has lapsed.
    pub seconds: u64,
}

impl Held {
    pub(crate) fn read(rest: &str) -> Self {
        let mut words = rest.splitn(3, ' ');
        let seconds = words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0).div_ceil(100);
        let run = words.next().unwrap_or("?").to_owned();
        Self { run, holder: words.next().unwrap_or("?").to_owned(), seconds }
    }
}

/// Puts off the end of this run's own lock on a host; `false` if it no longer has it.
pub(crate) async fn renew_one(doors: &dyn Doors, options: &LockOptions, name: &str) -> Result<bool, RemoteError> {
    let call = format!("k_lock_renew {}", host::centiseconds(options.lease));
    Ok(ask(doors, name, &options.script(&call), &options.words("lock-renew")).await?.has("locked"))
}

async fn drop_one(doors: &dyn Doors, options: &LockOptions, name: &str) -> Result<(), RemoteError> {
    let means = helper::words(&[&"unlock", &plain(&options.run_id)]);
    ask(doors, name, &options.script("k_lock_drop"), &means).await.map(|_| ())
}

async fn ask(doors: &dyn Doors, name: &str, script: &str, means: &Means) -> Result<Answers, RemoteError> {
    let remote = doors.mending(name);
    host::ask_as(remote.as_ref(), script, means, COMMAND_TIMEOUT, "the lock").await
}
