//! `fill`: the daemon's disk is full but for 64 KiB.
//!
//! A broker that cannot append takes its log directory for failed, and with its only one it stops. The room is taken by one file, not by
//! writing. A disk that shares its file system with the host's root is never filled.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kchaos_cluster::inventory::DiskFault;
use kchaos_core::{Chosen, Effect, Interval, Proof, Target};

use crate::error::FaultError;
use crate::fault::{HostFault, Injected, Need, Scope, Undo};
use crate::faults::bring_up;
use crate::faults::disk::OnDisk;
use crate::ground::Ground;
use crate::host::{Answers, DISK, PROCESS};
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "fill",
    about: "the daemon's disk has 64 KiB left; the file that fills it is removed when mended (needs consent, or lab up --disks loop)",
    targets: &[
        Target::Leader,
        Target::Controller,
        Target::ZooKeeperLeader,
        Target::ZooKeeperFollower,
        Target::Follower,
        Target::Random,
        Target::Minority,
        Target::Majority,
        Target::All,
    ],
    needs: &[Need::Manager, Need::Disk],
    scope: Scope::Daemon,
    plan: |ground, chosen| Box::pin(plan(ground, chosen)),
};

/// Enough for the file system's own needs, and for less than a second of writes.
const LEFT_BYTES: u64 = 64 * 1024;
/// A write that must fail.
const TOO_MUCH_BYTES: u64 = 4 * LEFT_BYTES;

/// A daemon whose write has failed is on its way out when the room comes back, and runs for another moment.
const SETTLES_S: u64 = 3;

struct Fill {
    on: OnDisk,
}

async fn plan(ground: Arc<Ground>, chosen: Chosen) -> Result<Box<dyn HostFault>, FaultError> {
    Ok(Box::new(Fill { on: OnDisk::find(ground, chosen, DiskFault::Fill).await? }))
}

#[async_trait]
impl HostFault for Fill {
    fn host(&self) -> &str {
        self.on.host()
    }

    fn undo(&self) -> Undo {
        Undo {
            about: format!("{}: the disk of {} filled", self.on.ground().nemesis, self.on.daemon.chosen.daemon),
            parts: &[PROCESS, DISK],
            setup: self.on.setup(),
            mend: format!("rm -f \"$D_DIR/.kchaos-fill\"\nsleep {SETTLES_S}\nk_nurse"),
            verify: "[ ! -e \"$D_DIR/.kchaos-fill\" ] && [ -n \"$(k_find_daemon)\" ]".to_owned(),
        }
    }

    fn holds(&self) -> String {
        format!(
            "{}[ -e \"$D_DIR/.kchaos-fill\" ] || {{ echo 'early the file that filled the disk is gone, and not by our doing'; return 1; }}",
            self.on.settings()
        )
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        let (when, answer) = self.on.inject(&format!("k_fill {LEFT_BYTES}"), "the filling of the disk").await?;
        if let Ok(answers) = answer
            && !answers.has("filled")
        {
            return Err(self.on.refused(&answers));
        }
        let file = format!("{}/.kchaos-fill", self.on.disk.data_dir.display());
        Ok(Injected { when, effect: Effect { files: vec![file], ..Effect::default() } })
    }

    async fn proof(&self) -> Result<Proof, FaultError> {
        let call = format!("echo \"free $(k_free_bytes)\"\necho \"write $(k_disk_write {TOO_MUCH_BYTES})\"");
        let answers = self.on.look(&call).await?;
        let (free, said) = free_and_write(&answers);
        Ok(Proof {
            proved: said == "full" && free.is_some_and(|free| free < TOO_MUCH_BYTES),
            text: format!(
                "df shows {} bytes free in {} of {}, and a write of {TOO_MUCH_BYTES} bytes says {said}",
                free.map_or_else(|| "no".to_owned(), |free| free.to_string()),
                self.on.disk.data_dir.display(),
                self.on.daemon.name()
            ),
        })
    }

    async fn mend(&self) -> Result<Interval, String> {
        let after_ns = self.on.ground().now();
        self.on.mend("rm -f \"$D_DIR/.kchaos-fill\" && echo removed", "the removal of what fills the disk").await?;
        let removed = Interval { after_ns, before_ns: self.on.ground().now() };
        let was_up = self.stays_up().await;
        let up = bring_up::bring_up(&self.on.daemon).await?;
        if !was_up {
            self.on.ground().note(format!("{} had stopped for want of room; it was started again", self.on.daemon.name()));
        }
        Ok(if was_up { removed } else { up })
    }

    async fn mended(&self) -> Proof {
        let call = format!("echo \"free $(k_free_bytes)\"\necho \"write $(k_disk_write {TOO_MUCH_BYTES})\"");
        match self.on.mend(&call, "the look at the disk").await {
            Ok(answers) => {
                let (free, said) = free_and_write(&answers);
                let up = bring_up::is_up(&self.on.daemon).await;
                let text = format!("{} bytes are free and a write says {said}; {}", free.unwrap_or_default(), up.text);
                Proof { proved: up.proved && said == "ok", text }
            }
            Err(error) => Proof { proved: false, text: format!("the disk of {} could not be looked at: {error}", self.on.daemon.name()) },
        }
    }
}

impl Fill {
    async fn stays_up(&self) -> bool {
        if !bring_up::is_up(&self.on.daemon).await.proved {
            return false;
        }
        tokio::time::sleep(Duration::from_secs(SETTLES_S)).await;
        bring_up::is_up(&self.on.daemon).await.proved
    }
}

fn free_and_write(answers: &Answers) -> (Option<u64>, &str) {
    (answers.get("free").and_then(|free| free.parse().ok()), answers.get("write").unwrap_or("nothing"))
}
