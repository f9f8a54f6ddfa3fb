//! A daemon's disk as a fault sees it, and what `power-loss` and `dead-disk` share: a file system that is shut down, and mounted anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use kchaos_cluster::inventory::{Disk, DiskFault, DiskKind, ManagerKind};
use kchaos_cluster::remote::RemoteError;
use kchaos_core::{Chosen, Effect, Interval, Proof};

use crate::doors::chain;
use crate::error::{Because, FaultError};
use crate::fault::{HostFault, Injected, Undo};
use crate::faults::bring_up;
use crate::faults::daemon::Daemon;
use crate::ground::Ground;
use crate::host::{self, Answers, DISK, GUARD, PROCESS, quote};

/// A daemon and its disk, which the inventory lets us touch.
pub(crate) struct OnDisk {
    pub(crate) daemon: Daemon,
    pub(crate) disk: Disk,
}

impl OnDisk {
    pub(crate) async fn find(ground: Arc<Ground>, chosen: Chosen, fault: DiskFault) -> Result<Self, FaultError> {
        let entry = ground.daemon(&chosen.host, &chosen.daemon).cloned();
        let disk = entry.and_then(|entry| entry.disk).ok_or_else(|| {
            let what = format!(
                "the inventory does not say where the data of {} on {} is: add [host.daemon.disk] with kind, data_dir and allow",
                chosen.daemon, chosen.host
            );
            FaultError::refused(&ground.nemesis, what)
        })?;
        let kind = ground.daemon(&chosen.host, &chosen.daemon).map(|entry| entry.manager).unwrap_or_default();
        if fault != DiskFault::Fill && kind != ManagerKind::Scripts {
            let what = format!(
                "{} on {} is looked after by a service manager, which could start it while its disk is changed: {} is for daemons with \
                 manager = \"scripts\"",
                chosen.daemon,
                chosen.host,
                fault.name()
            );
            return Err(FaultError::refused(&ground.nemesis, what));
        }
        disk.allows(fault).map_err(|why| FaultError::refused(&ground.nemesis, format!("{} on {}: {why}", chosen.daemon, chosen.host)))?;
        Ok(Self { daemon: Daemon::find(ground, chosen).await?, disk })
    }

    pub(crate) fn ground(&self) -> &Ground {
        &self.daemon.ground
    }

    pub(crate) fn host(&self) -> &str {
        &self.daemon.chosen.host
    }

    /// Where the disk is, for scripts.
    pub(crate) fn settings(&self) -> String {
        settings(&self.disk)
    }

    /// What the daemon and the disk need in an undo script.
    pub(crate) fn setup(&self) -> String {
        format!("{}{}", self.settings(), self.daemon.functions())
    }

    pub(crate) fn environment(&self, what: &str, source: RemoteError) -> FaultError {
        FaultError::environment(&self.ground().nemesis, format!("{what} of {}", self.daemon.name()), source)
    }

    /// Looks at the disk before anything is journalled: a guard that fails here has cost nothing.
    pub(crate) async fn look(&self, call: &str) -> Result<Answers, FaultError> {
        let script = format!("{}{call}", self.settings());
        let answers = self.ground().ask(self.host(), &[PROCESS, DISK, GUARD], &script, "the look at the disk").await;
        answers.map_err(|error| self.environment("the disk", error))
    }

    pub(crate) async fn inject(&self, call: &str, what: &str) -> Result<(Interval, Result<Answers, RemoteError>), FaultError> {
        let body = format!("{}{call}", self.settings());
        let after_ns = self.ground().now();
        let answer = self.ground().ask_armed(self.host(), &[PROCESS, DISK], &body, what).await;
        let when = Interval { after_ns, before_ns: self.ground().now() };
        match answer {
            Err(error) if !host::is_unknown(&error) => Err(self.environment(what, error)),
            answer => Ok((when, answer)),
        }
    }

    pub(crate) async fn mend(&self, call: &str, what: &str) -> Result<Answers, String> {
        let script = format!("{}{call}", self.settings());
        let answers = self.ground().ask_mending(self.host(), &[PROCESS, DISK, GUARD], &script, what).await;
        answers.map_err(|error| chain(&error))
    }

    /// What the host refused, or what it did not say.
    pub(crate) fn refused(&self, answers: &Answers) -> FaultError {
        let nemesis = &self.ground().nemesis;
        match answers.get("refused") {
            Some(why) => FaultError::refused(nemesis, format!("{}: {why}", self.daemon.name())),
            None if answers.has("gone") => FaultError::refused(nemesis, format!("{} had ended by itself", self.daemon.name())),
            None => FaultError::environment(nemesis, format!("the disk of {}", self.daemon.name()), Because(answers.text())),
        }
    }
}

/// Where a disk is, for scripts.
pub(crate) fn settings(disk: &Disk) -> String {
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map_or_else(String::new, |path| path.display().to_string());
    format!(
        "D_KIND={}\nD_DIR={}\nD_DEVICE={}\nD_BACKING={}\nD_MARK={}\n",
        match disk.kind {
            DiskKind::Directory => "directory",
            DiskKind::Loop => "loop",
            DiskKind::Fuse => "fuse",
        },
        quote(disk.data_dir.to_string_lossy().trim_end_matches('/')),
        quote(&path(&disk.device)),
        quote(&path(&disk.backing_file)),
        quote(disk.mark.as_deref().unwrap_or_default()),
    )
}

/// Whether the daemon goes with its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    PowerLoss,
    DeadDisk,
}

struct ShutDown {
    on: OnDisk,
    way: Way,
    /// What was counted after power was back.
    counted: Mutex<Option<Answers>>,
}

pub(crate) async fn plan(ground: Arc<Ground>, chosen: Chosen, way: Way) -> Result<Box<dyn HostFault>, FaultError> {
    let fault = if way == Way::PowerLoss { DiskFault::PowerLoss } else { DiskFault::DeadDisk };
    let on = OnDisk::find(ground, chosen, fault).await?;
    let answers = on.look("_k_why=$(k_disk_is_ours) && echo ours || echo \"refused $_k_why\"").await?;
    if !answers.has("ours") {
        return Err(on.refused(&answers));
    }
    Ok(Box::new(ShutDown { on, way, counted: Mutex::default() }))
}

#[async_trait]
impl HostFault for ShutDown {
    fn host(&self) -> &str {
        self.on.host()
    }

    fn undo(&self) -> Undo {
        let daemon = &self.on.daemon;
        let verb = if self.way == Way::PowerLoss { "without power" } else { "with a dead disk" };
        Undo {
            about: format!("{}: {} {verb}", daemon.ground.nemesis, daemon.chosen.daemon),
            parts: &[PROCESS, DISK],
            setup: self.on.setup(),
            mend: format!("{}\nk_disk_revive && k_nurse", self.release()),
            verify: "k_disk_lives && [ -n \"$(k_find_daemon)\" ]".to_owned(),
        }
    }

    fn holds(&self) -> String {
        let daemon = &self.on.daemon;
        let said = quote(&format!("{} runs again, and not by our doing", daemon.chosen.daemon));
        let runs = format!("{}\n[ -z \"$(k_find_daemon)\" ] || echo {said}\nreturn 0", daemon.functions());
        match self.way {
            Way::PowerLoss => format!("k_same_process {} && return 0\n{runs}", daemon.arguments()),
            Way::DeadDisk => format!(
                "{}{DISK}\nk_disk_mounted && k_disk_is_dead || {{ echo 'early the disk lives again, and not by our doing'; return 1; }}\nreturn 0",
                self.on.settings()
            ),
        }
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        let daemon = &self.on.daemon;
        let call = match self.way {
            Way::PowerLoss => format!("_k_why=$(k_lose_power {}) || _k_why=\"refused $_k_why\"\necho \"$_k_why\"", daemon.arguments()),
            Way::DeadDisk => "_k_why=$(k_disk_shut_down) && echo dead || echo \"refused $_k_why\"".to_owned(),
        };
        let (when, answer) = self.on.inject(&call, "the shutdown of the disk").await?;
        if let Ok(answers) = answer
            && !answers.has("lost")
            && !answers.has("dead")
        {
            return Err(self.on.refused(&answers));
        }
        let device = self.on.disk.device.as_ref().map_or_else(|| "FUSE".to_owned(), |device| device.display().to_string());
        let pids = if self.way == Way::PowerLoss { vec![(daemon.before.pid, daemon.before.start_time)] } else { Vec::new() };
        let files = vec![format!("{} on {device}", self.on.disk.data_dir.display())];
        if self.way == Way::PowerLoss {
            // Power is back in the same moment; the daemon stays down.
            let counted = self.on.inject("k_count_losses", "the count of what was lost").await?.1;
            *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = counted.ok();
        }
        Ok(Injected { when, effect: Effect { pids, files, ..Effect::default() } })
    }

    async fn proof(&self) -> Result<Proof, FaultError> {
        match self.way {
            Way::PowerLoss => {
                let call = format!("k_gone {} 100", self.on.daemon.arguments());
                let gone = self.on.look(&call).await?.has("gone");
                let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner).clone();
                Ok(losses(&self.on.daemon.name(), self.on.disk.kind, gone, counted.as_ref()))
            }
            Way::DeadDisk => {
                let answers = self.on.look("echo \"write $(k_disk_write)\"").await?;
                let said = answers.get("write").unwrap_or("nothing");
                let name = self.on.daemon.name();
                Ok(Proof {
                    proved: said == "dead",
                    text: match said {
                        "dead" => format!("a write to {} of {name} fails with an I/O error", self.on.disk.data_dir.display()),
                        other => format!("a write to {} of {name} says {other}", self.on.disk.data_dir.display()),
                    },
                })
            }
        }
    }

    async fn mend(&self) -> Result<Interval, String> {
        let call = format!("{}\nk_disk_revive && echo revived", self.release());
        let answers = self.on.mend(&call, "the mount of the disk").await?;
        if !answers.has("revived") {
            return Err(format!("the disk of {}: {}", self.on.daemon.name(), answers.text()));
        }
        bring_up::bring_up(&self.on.daemon).await
    }

    async fn mended(&self) -> Proof {
        let name = self.on.daemon.name();
        let answer = self.on.mend("k_disk_mounted && echo \"write $(k_disk_write)\"", "the look at the disk").await;
        match answer.map(|answers| answers.get("write").map(str::to_owned)) {
            Ok(Some(said)) if said == "ok" => {
                let up = bring_up::is_up(&self.on.daemon).await;
                Proof { text: format!("a write to its disk succeeds; {}", up.text), ..up }
            }
            Ok(said) => {
                let said = said.unwrap_or_else(|| "that nothing is mounted".to_owned());
                Proof { proved: false, text: format!("a write to the disk of {name} says {said}") }
            }
            Err(error) => Proof { proved: false, text: format!("the disk of {name} could not be looked at: {error}") },
        }
    }
}

impl ShutDown {
    /// A daemon that still runs holds its dead files, and nothing can be unmounted.
    fn release(&self) -> String {
        let process = self.on.daemon.arguments();
        match self.way {
            Way::PowerLoss => String::new(),
            Way::DeadDisk => format!("k_disk_lives || {{ k_signal {process} KILL; k_gone {process} 100; }}"),
        }
    }
}

/// What power loss took, from what the host counted.
fn losses(name: &str, kind: DiskKind, gone: bool, counted: Option<&Answers>) -> Proof {
    let Some(answers) = counted.filter(|answers| answers.has("counted")) else {
        let said = counted.map_or_else(|| "no answer".to_owned(), Answers::text);
        return Proof { proved: false, text: format!("what {name} lost could not be counted: {said}") };
    };
    let (lost_power, how) = match kind {
        DiskKind::Fuse => {
            let (before, after) = (counts(answers, "before-losses"), counts(answers, "after-losses"));
            let took = |word: &str| after.get(word).unwrap_or(&0).saturating_sub(*before.get(word).unwrap_or(&0));
            let how = format!(
                "says that it lost {} bytes in {} files that were not synced, and {} names; it",
                took("bytes"),
                took("files"),
                took("names")
            );
            (took("losses") == 1, how)
        }
        DiskKind::Loop | DiskKind::Directory => {
            let dead = answers.get("write") == Some("dead");
            (
                dead,
                if dead { "refused a write with an I/O error, and mounted again it" } else { "took a write, and mounted again it" }
                    .to_owned(),
            )
        }
    };
    let forgot = answers.get("canary") == Some("lost");
    let shorter: Vec<(u64, u64, &str)> = answers.all("shorter").filter_map(shorter).collect();
    let bytes: u64 = shorter.iter().map(|(before, after, _)| before.saturating_sub(*after)).sum();
    let mut files: Vec<_> = shorter.iter().filter(|(.., path)| !path.starts_with("__")).collect();
    files.sort_by_key(|(before, after, _)| std::cmp::Reverse(before.saturating_sub(*after)));
    let named: Vec<String> = files.iter().take(4).map(|(before, after, path)| format!("{path} {before} to {after}")).collect();
    let more = if named.is_empty() { String::new() } else { format!(" (in bytes: {})", named.join(", ")) };
    let said = |is, yes: &'static str, no: &'static str| if is { yes } else { no };
    let text = format!(
        "{name} is {}; its disk {how} {} the file written a moment before; {bytes} bytes of {} logs are gone{more}",
        said(gone, "gone", "still there"),
        said(forgot, "does not hold", "still holds"),
        shorter.len(),
    );
    Proof { proved: gone && lost_power && forgot, text }
}

/// The counts of a FUSE disk on a line like `losses 1 files 2 bytes 300 names 4`.
pub(crate) fn counts<'a>(answers: &'a Answers, line: &'a str) -> BTreeMap<&'a str, u64> {
    let first = line.rsplit('-').next().unwrap_or(line);
    let words: Vec<&str> = std::iter::once(first).chain(answers.get(line).unwrap_or_default().split(' ')).collect();
    words.chunks_exact(2).filter_map(|pair| Some((pair[0], pair[1].parse().ok()?))).collect()
}

fn shorter(rest: &str) -> Option<(u64, u64, &str)> {
    let mut words = rest.splitn(3, ' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(gone: bool, text: &str, proved: bool, part: &str) {
        check_of(DiskKind::Loop, gone, text, proved, part);
    }

    fn check_of(kind: DiskKind, gone: bool, text: &str, proved: bool, part: &str) {
        let proof = losses("kafka:1 on b1 (pid 7)", kind, gone, Some(&Answers::parse(text)));
        assert_eq!(proof.proved, proved, "{proof:?}");
        assert!(proof.text.contains(part), "{proof:?}");
    }

    #[test]
    fn power_loss_is_proved_by_a_dead_disk_that_forgot_what_was_not_synced() {
        let all = "write dead\ncanary lost\nshorter 500 0 kchaos-a-0/00000000000000000000.log\nshorter 70 20 __consumer_offsets-3/0.log\ncounted\n";
        check(true, all, true, "550 bytes of 2 logs are gone (in bytes: kchaos-a-0/00000000000000000000.log 500 to 0)");
        check(true, "write dead\ncanary lost\ncounted\n", true, "0 bytes of 0 logs are gone");
        check(false, all, false, "is still there");
        check(true, &all.replace("write dead", "write ok"), false, "took a write");
        check(true, &all.replace("canary lost", "canary kept"), false, "still holds");
        check(true, "write dead\ncanary lost\n", false, "could not be counted");
    }

    #[test]
    fn of_a_fuse_disk_power_loss_is_proved_by_its_own_count_and_by_what_it_forgot() {
        let all = "before-losses 1 files 2 bytes 30 names 4\nafter-losses 2 files 5 bytes 230 names 10\ncanary lost\ncounted\n";
        check_of(DiskKind::Fuse, true, all, true, "it lost 200 bytes in 3 files that were not synced, and 6 names");
        check_of(DiskKind::Fuse, true, &all.replace("after-losses 2", "after-losses 1"), false, "lost");
        check_of(DiskKind::Fuse, true, &all.replace("canary lost", "canary kept"), false, "still holds");
        check_of(DiskKind::Fuse, true, "canary lost\ncounted\n", false, "it lost 0 bytes");
    }

    proptest! {
        #[test]
        fn no_answer_of_a_host_makes_it_panic(text in "((shorter|write|canary|counted|before-losses|after-losses) \\PC{0,30}\n){0,5}") {
            for kind in [DiskKind::Loop, DiskKind::Fuse] {
                let _ = losses("a", kind, true, Some(&Answers::parse(&text)));
            }
        }
    }
}
