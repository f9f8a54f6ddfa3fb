//! What `slow-disk` and `io-error` share: an order to a FUSE disk, which has an end of its own unless it is renewed.
//!
//! So nothing need be alive for the disk to be well again: neither kchaos nor the watchdog.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kchaos_cluster::inventory::{DiskFault, DiskKind};
use kchaos_core::{Chosen, Effect, Interval, Proof};

use crate::error::FaultError;
use crate::fault::{HostFault, Injected, Undo};
use crate::faults::bring_up;
use crate::faults::disk::{OnDisk, counts};
use crate::ground::Ground;
use crate::host::{Answers, DISK, PROCESS};

const WRITE_DELAY_MS: u64 = 100;
const FSYNC_DELAY_MS: u64 = 500;
/// A daemon whose write has failed is on its way out when the disk is mended, and runs for another moment.
const SETTLES_S: u64 = 3;
/// A probe on a busy machine may be late by itself.
const QUICK_TRIES: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Slow,
    Fails,
}

struct FuseDisk {
    on: OnDisk,
    trouble: Trouble,
    before: Mutex<Option<Answers>>,
}

pub(crate) async fn plan(ground: Arc<Ground>, chosen: Chosen, trouble: Trouble) -> Result<Box<dyn HostFault>, FaultError> {
    let fault = if trouble == Trouble::Slow { DiskFault::SlowDisk } else { DiskFault::IoError };
    let on = OnDisk::find(ground, chosen, fault).await?;
    debug_assert_eq!(on.disk.kind, DiskKind::Fuse, "no other disk is allowed it");
    let answers = on.look("_k_why=$(k_fuse_is_ours) && echo ours || echo \"refused $_k_why\"").await?;
    if !answers.has("ours") {
        return Err(on.refused(&answers));
    }
    Ok(Box::new(FuseDisk { on, trouble, before: Mutex::default() }))
}

#[async_trait]
impl HostFault for FuseDisk {
    fn host(&self) -> &str {
        self.on.host()
    }

    fn undo(&self) -> Undo {
        let daemon = &self.on.daemon.chosen.daemon;
        let nemesis = &self.on.ground().nemesis;
        let off = "k_fuse_is_healthy || k_fuse_order off";
        match self.trouble {
            Trouble::Slow => Undo {
                about: format!("{nemesis}: the disk of {daemon} slow"),
                parts: &[PROCESS, DISK],
                setup: self.on.setup(),
                mend: off.to_owned(),
                verify: "k_fuse_is_healthy".to_owned(),
            },
            Trouble::Fails => Undo {
                about: format!("{nemesis}: the disk of {daemon} fails"),
                parts: &[PROCESS, DISK],
                setup: self.on.setup(),
                mend: format!("{off}\nsleep {SETTLES_S}\nk_nurse"),
                verify: "k_fuse_is_healthy && [ -n \"$(k_find_daemon)\" ]".to_owned(),
            },
        }
    }

    fn holds(&self) -> String {
        format!("{}_k_why=$(k_fuse_order 'renew {}') && return 0\necho \"early $_k_why\"\nreturn 1", self.on.settings(), self.lease_ms())
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        let what = match self.trouble {
            Trouble::Slow => format!("write={WRITE_DELAY_MS}ms fsync={FSYNC_DELAY_MS}ms"),
            Trouble::Fails => "write=EIO fsync=EIO".to_owned(),
        };
        let (when, answer) = self.on.inject(&format!("k_fuse_begin 'fault {} {what}'", self.lease_ms()), "the order to the disk").await?;
        if let Ok(answers) = answer {
            if !answers.has("begun") {
                return Err(self.on.refused(&answers));
            }
            *self.before.lock().unwrap_or_else(PoisonError::into_inner) = Some(answers);
        }
        let files = vec![format!("{} on FUSE", self.on.disk.data_dir.display())];
        Ok(Injected { when, effect: Effect { files, ..Effect::default() } })
    }

    async fn proof(&self) -> Result<Proof, FaultError> {
        let answers = self.on.look("k_fuse_probe").await?;
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
        Ok(bit(&self.on.daemon.name(), self.trouble, &before, &answers))
    }

    async fn mend(&self) -> Result<Interval, String> {
        let after_ns = self.on.ground().now();
        let call = "_k_why=$(k_fuse_is_healthy || k_fuse_order off) && echo off || echo \"refused $_k_why\"";
        let answers = self.on.mend(call, "the order to the disk").await?;
        if !answers.has("off") {
            return Err(format!("the disk of {}: {}", self.on.daemon.name(), answers.text()));
        }
        let ended = Interval { after_ns, before_ns: self.on.ground().now() };
        if self.trouble == Trouble::Slow {
            return Ok(ended);
        }
        let was_up = self.stays_up().await;
        let up = bring_up::bring_up(&self.on.daemon).await?;
        if !was_up {
            self.on.ground().note(format!("{} had stopped for its disk's errors; it was started again", self.on.daemon.name()));
        }
        Ok(if was_up { ended } else { up })
    }

    async fn mended(&self) -> Proof {
        let mut said = Proof { proved: false, text: String::new() };
        for _ in 0..QUICK_TRIES {
            said = match self.on.mend("k_fuse_probe", "the look at the disk").await {
                Ok(answers) => well(&self.on.daemon.name(), &answers),
                Err(error) => {
                    Proof { proved: false, text: format!("the disk of {} could not be looked at: {error}", self.on.daemon.name()) }
                }
            };
            if said.proved {
                break;
            }
        }
        if self.trouble == Trouble::Slow || !said.proved {
            return said;
        }
        let up = bring_up::is_up(&self.on.daemon).await;
        Proof { text: format!("{}; {}", said.text, up.text), ..up }
    }
}

impl FuseDisk {
    /// As long as the watchdog waits.
    fn lease_ms(&self) -> u128 {
        self.on.ground().shared.options.lease.as_millis()
    }

    async fn stays_up(&self) -> bool {
        if !bring_up::is_up(&self.on.daemon).await.proved {
            return false;
        }
        tokio::time::sleep(Duration::from_secs(SETTLES_S)).await;
        bring_up::is_up(&self.on.daemon).await.proved
    }
}

fn took_ms(answers: &Answers) -> Option<u64> {
    answers.get("took")?.parse::<u64>().ok()?.checked_mul(10)
}

/// By the disk's own counts since just before the order, and by a write with an fsync that felt it.
fn bit(name: &str, trouble: Trouble, before: &Answers, after: &Answers) -> Proof {
    let more = |kind: &str, what: &str| {
        let of = |answers: &Answers, line: String| counts(answers, &line).get(what).copied().unwrap_or_default();
        of(after, format!("after-{kind}")).saturating_sub(of(before, format!("before-{kind}")))
    };
    let took = took_ms(after);
    let in_force = after.has("fault");
    match trouble {
        Trouble::Slow => {
            let (writes, fsyncs) = (more("write", "delayed"), more("fsync", "delayed"));
            let proved = in_force && writes > 0 && fsyncs > 0 && took.is_some_and(|took| took >= FSYNC_DELAY_MS);
            let took = took.map_or_else(|| "unknown".to_owned(), |took| took.to_string());
            Proof {
                proved,
                text: format!(
                    "a write with an fsync to the disk of {name} took {took} ms; {writes} writes were delayed by {WRITE_DELAY_MS} ms and {fsyncs} \
                     fsyncs by {FSYNC_DELAY_MS} ms so far"
                ),
            }
        }
        Trouble::Fails => {
            let (writes, fsyncs) = (more("write", "failed"), more("fsync", "failed"));
            let said = after.get("failed").unwrap_or("no error");
            Proof {
                proved: in_force && writes > 0 && said.contains("nput/output error"),
                text: format!("a write to the disk of {name} says {said}; {writes} writes and {fsyncs} fsyncs failed so far"),
            }
        }
    }
}

fn well(name: &str, answers: &Answers) -> Proof {
    match (answers.has("healthy"), answers.get("failed"), took_ms(answers)) {
        (true, None, Some(took)) => Proof {
            proved: took < FSYNC_DELAY_MS,
            text: format!("the disk of {name} says that it is healthy, and a write with an fsync took {took} ms"),
        },
        _ => Proof { proved: false, text: format!("the disk of {name} says {}", answers.text()) },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BEFORE: &str = "before-write 100 delayed 5 failed 2\nbefore-fsync 40 delayed 5 failed 2\nbegun\n";

    fn check(trouble: Trouble, after: &str, proved: bool, part: &str) {
        let proof = bit("kafka:1 on b1 (pid 7)", trouble, &Answers::parse(BEFORE), &Answers::parse(after));
        assert_eq!(proof.proved, proved, "{proof:?}");
        assert!(proof.text.contains(part), "{proof:?}");
    }

    #[test]
    fn a_slow_disk_is_proved_by_its_counts_and_by_the_time_that_an_fsync_took() {
        let after = "took 61\nafter-write 110 delayed 8 failed 2\nafter-fsync 41 delayed 6 failed 2\nfault 4000 write=100ms fsync=500ms\n";
        check(Trouble::Slow, after, true, "took 610 ms; 3 writes were delayed by 100 ms and 1 fsyncs");
        check(Trouble::Slow, &after.replace("took 61", "took 9"), false, "took 90 ms");
        check(Trouble::Slow, &after.replace("delayed 6", "delayed 5"), false, "0 fsyncs");
        check(Trouble::Slow, &after.replace("fault 4000", "healthy"), false, "");
        check(Trouble::Slow, "", false, "took unknown ms");
    }

    #[test]
    fn a_failing_disk_is_proved_by_its_counts_and_by_the_error_of_a_write() {
        let after = "failed Input/output error\ntook 1\nafter-write 111 delayed 5 failed 4\nafter-fsync 41 delayed 5 failed 2\nfault 4000 write=EIO\n";
        check(Trouble::Fails, after, true, "says Input/output error; 2 writes and 0 fsyncs failed");
        check(Trouble::Fails, &after.replace("failed 4", "failed 2"), false, "0 writes");
        check(Trouble::Fails, &after.replace("failed Input/output error\n", ""), false, "says no error");
    }

    #[test]
    fn a_disk_is_mended_when_it_says_so_and_is_quick() {
        let quick = |text: &str| well("a", &Answers::parse(text)).proved;
        assert!(quick("took 2\nhealthy\n"));
        assert!(
            !quick("took 50\nhealthy\n") && !quick("took 2\nfault 10 write=5ms\n") && !quick("failed x\ntook 2\nhealthy\n") && !quick("")
        );
    }

    proptest! {
        #[test]
        fn no_answer_of_a_host_makes_it_panic(text in "((took|failed|fault|after-write|after-fsync) \\PC{0,30}\n){0,5}") {
            for trouble in [Trouble::Slow, Trouble::Fails] {
                let _ = bit("a", trouble, &Answers::parse(&text), &Answers::parse(&text));
                let _ = well("a", &Answers::parse(&text));
            }
        }
    }
}
