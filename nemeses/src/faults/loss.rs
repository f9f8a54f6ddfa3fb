//! `loss`: so many packets in a hundred are lost. By netem where the kernel has it (what the host says), else by the firewall's statistic match
//! (what it says and what it hears).

use std::sync::Arc;

use async_trait::async_trait;
use kchaos_cluster::remote::Means;
use kchaos_core::{Chosen, Interval, Proof};

use crate::error::FaultError;
use crate::fault::{HostFault, Injected, Need, Scope, Undo};
use crate::faults::cut::{Cut, From, probe_call, probe_lines};
use crate::faults::cut_lines::{Manner, Way};
use crate::faults::cut_seen::Counted;
use crate::faults::{ROLES, link};
use crate::ground::Ground;
use crate::helper::{self, InWords};
use crate::host::CUT;
use crate::registry::Spec;

/// Of a hundred.
const LOST: u8 = 20;
const PROOF_TURNS: u32 = 5;

pub(crate) const SPEC: Spec = Spec {
    name: "loss",
    about: "20 packets of 100 are lost, by netem, or by the firewall's statistic match where the kernel has no netem",
    targets: ROLES,
    needs: &[Need::Firewall],
    scope: Scope::Link,
    plan: |ground, chosen| Box::pin(plan(ground, chosen)),
};

struct Loss {
    cut: Cut,
}

async fn plan(ground: Arc<Ground>, chosen: Chosen) -> Result<Box<dyn HostFault>, FaultError> {
    // The helper has no verb for queues.
    if !helper::is_used(ground.shared.doors.inventory()) && link::has_netem(&ground, &chosen.host).await? {
        return link::plan(ground, chosen, &link::NETEM_LOSS).await;
    }
    let manner = Manner::Chance(LOST);
    Ok(Box::new(Loss { cut: Cut::plan(ground, chosen, From::PeersAndClients, Way::Both, manner).await? }))
}

#[async_trait]
impl HostFault for Loss {
    fn host(&self) -> &str {
        self.cut.host()
    }

    fn undo(&self) -> Undo {
        self.cut.undo()
    }

    fn holds(&self) -> String {
        self.cut.holds()
    }

    fn in_words(&self) -> Option<InWords> {
        self.cut.in_words()
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        self.cut.inject().await
    }

    /// Some are dropped, and others pass.
    async fn proof(&self) -> Result<Proof, FaultError> {
        let ground = &self.cut.ground;
        let counters = self.cut.counters_call();
        let call = format!("{}\necho mark\n{counters}", probe_call(&self.cut.probes));
        let means = Means::fed(self.cut.words("cut-proof", &[]), probe_lines(&self.cut.probes));
        let (mut dropped, mut passed) = (0, 0);
        for _ in 0..PROOF_TURNS {
            let answers = ground.ask_as(self.host(), &[CUT], &call, &means, "the proof of the loss").await;
            let answers = answers.map_err(|error| {
                FaultError::environment(&ground.nemesis, format!("what {} loses could not be looked at", self.host()), error)
            })?;
            let counted = Counted::read(&answers);
            dropped = counted.of("peers").1 + counted.of("clients").1;
            passed = counted.of("passed").1;
            if dropped > 0 && passed > 0 {
                break;
            }
        }
        let share = 100.0 * dropped as f64 / (dropped + passed).max(1) as f64;
        Ok(Proof {
            proved: dropped > 0 && passed > 0,
            text: format!(
                "of {} packets from and to {}, {dropped} were dropped ({share:.0} in 100, and {LOST} are meant), by the statistic match",
                dropped + passed,
                self.host()
            ),
        })
    }

    async fn mend(&self) -> Result<Interval, String> {
        self.cut.mend().await
    }

    async fn mended(&self) -> Proof {
        self.cut.mended().await
    }
}
