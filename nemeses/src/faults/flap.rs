//! `flap`: the host is cut from peers and clients and healed, again and again, within one fault.
//!
//! The kernel keeps the beat from packet to packet (a set whose element lasts as long as the cut, and one that lasts as long as a cycle), so
//! nothing has to be alive for it, and the lease ends it like any cut.

use std::sync::Arc;

use async_trait::async_trait;
use kchaos_cluster::remote::Means;
use kchaos_core::{Chosen, Interval, Proof};

use crate::error::FaultError;
use crate::fault::{HostFault, Injected, Need, Scope, Undo};
use crate::faults::ROLES;
use crate::faults::cut::{Cut, From};
use crate::faults::cut_lines::{Manner, Way};
use crate::faults::cut_seen::Counted;
use crate::ground::Ground;
use crate::helper::InWords;
use crate::host::CUT;
use crate::registry::Spec;

const CUT_S: u32 = 2;
const CYCLE_S: u32 = 4;

pub(crate) const SPEC: Spec = Spec {
    name: "flap",
    about: "cut from peers and clients for 2 s of every 4 s",
    targets: ROLES,
    needs: &[Need::Firewall],
    scope: Scope::Host,
    plan: |ground, chosen| Box::pin(plan(ground, chosen)),
};

struct Flap {
    cut: Cut,
}

async fn plan(ground: Arc<Ground>, chosen: Chosen) -> Result<Box<dyn HostFault>, FaultError> {
    let manner = Manner::Flapping { cut_s: CUT_S, cycle_s: CYCLE_S };
    Ok(Box::new(Flap { cut: Cut::plan(ground, chosen, From::PeersAndClients, Way::Both, manner).await? }))
}

#[async_trait]
impl HostFault for Flap {
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

    /// It is seen to be cut, and then to be open.
    async fn proof(&self) -> Result<Proof, FaultError> {
        let ground = &self.cut.ground;
        let Some((address, port)) = self.cut.probes.first() else {
            return Ok(Proof { proved: false, text: format!("{} has no peer to be asked", self.host()) });
        };
        let counters = self.cut.counters_call();
        let call = format!("{counters}\necho mark\nk_flap_probes {address} {port}\n{counters}");
        let means = Means::helper(self.cut.words("flap-proof", &[address, port]));
        let answers = ground.ask_as(self.host(), &[CUT], &call, &means, "the proof of the flapping").await;
        let answers = answers.map_err(|error| {
            FaultError::environment(&ground.nemesis, format!("whether {} flaps could not be looked at", self.host()), error)
        })?;
        let counted = Counted::read(&answers);
        let ((before, after), (_, cuts)) = (counted.of("peers"), counted.of("cuts"));
        let mut beat = answers.get("beat").unwrap_or_default().split(' ').map(|word| word.parse::<u32>().unwrap_or(0));
        let (silent, reached) = (beat.next().unwrap_or(0), beat.next().unwrap_or(0));
        Ok(Proof {
            proved: after > before && silent > 0 && reached > 0,
            text: format!(
                "from {}: of connections to {address} port {port}, one after another, {silent} failed and then {reached} came about; packets \
                 dropped: {before} then {after}; cuts begun so far: {cuts}",
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
