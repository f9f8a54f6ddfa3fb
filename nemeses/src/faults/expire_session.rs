//! `expire-session`: the broker's ZooKeeper session ends while the broker lives.
//!
//! Nobody but its owner can close a session (that takes its password), so the broker is cut from ZooKeeper alone, and for as long as it takes:
//! in force is when its registration is gone, and mended when it has registered anew, by another transaction than before.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kchaos_core::{Chosen, Interval, Proof};
use tokio::time::Instant;

use crate::error::FaultError;
use crate::fault::{HostFault, Injected, Need, Scope, Undo};
use crate::faults::BROKERS;
use crate::faults::cut::{Cut, From};
use crate::faults::cut_lines::{Manner, Way};
use crate::ground::Ground;
use crate::registry::Spec;

/// ZooKeeper grants sessions of 20 ticks at most, 40 s by default, and rounds their expiry up to its tick.
const EXPIRES_WITHIN: Duration = Duration::from_secs(50);
/// A broker cut off for long tries again at longer and longer intervals.
const REGISTERS_WITHIN: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(300);

pub(crate) const SPEC: Spec = Spec {
    name: "expire-session",
    about: "the broker is cut from ZooKeeper alone until its session has expired; it registers anew when mended",
    targets: BROKERS,
    needs: &[Need::Firewall],
    scope: Scope::Host,
    plan: |ground, chosen| Box::pin(plan(ground, chosen)),
};

struct ExpireSession {
    cut: Cut,
    broker: i32,
    /// The transaction that made the registration which is to go.
    registered_zxid: i64,
}

async fn plan(ground: Arc<Ground>, chosen: Chosen) -> Result<Box<dyn HostFault>, FaultError> {
    let refused = |reason: String| FaultError::refused(&ground.nemesis, reason);
    let Some(broker) = ground.daemon(&chosen.host, &chosen.daemon).map(|daemon| daemon.id) else {
        return Err(refused(format!("{} on {} is not in the inventory", chosen.daemon, chosen.host)));
    };
    let Some(registered_zxid) = registration(&ground, broker).await? else {
        return Err(refused(format!("broker {broker} is not registered in ZooKeeper, so it has no session to end")));
    };
    let cut = Cut::plan(ground, chosen, From::ZooKeeper, Way::Both, Manner::Always).await?;
    Ok(Box::new(ExpireSession { cut, broker, registered_zxid }))
}

/// The transaction that made it; `None` where there is none.
async fn registration(ground: &Ground, broker: i32) -> Result<Option<i64>, FaultError> {
    let view = ground.shared.view().await;
    let view = view.map_err(|error| FaultError::environment(&ground.nemesis, "the broker's registration could not be looked at", error))?;
    Ok(view.brokers.get(&broker).and_then(|seen| seen.registered_zxid))
}

impl ExpireSession {
    /// Asks until its registration is as wanted; how long it took and what it is, or what it last was.
    async fn wait(&self, limit: Duration, is_so: impl Fn(Option<i64>) -> bool) -> Result<(Duration, Option<i64>), String> {
        let began = Instant::now();
        loop {
            let last = match registration(&self.cut.ground, self.broker).await {
                Ok(seen) if is_so(seen) => return Ok((began.elapsed(), seen)),
                Ok(seen) => seen.map_or("it is not registered".to_owned(), |zxid| format!("it is registered by transaction 0x{zxid:x}")),
                Err(error) => crate::doors::chain(&error),
            };
            if began.elapsed() > limit {
                return Err(last);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[async_trait]
impl HostFault for ExpireSession {
    fn host(&self) -> &str {
        self.cut.host()
    }

    fn undo(&self) -> Undo {
        self.cut.undo()
    }

    fn holds(&self) -> String {
        self.cut.holds()
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        self.cut.inject().await
    }

    async fn proof(&self) -> Result<Proof, FaultError> {
        let cut = self.cut.proof().await?;
        if !cut.proved {
            return Ok(cut);
        }
        let was = format!("the registration of broker {} (transaction 0x{:x})", self.broker, self.registered_zxid);
        let (proved, said) = match self.wait(EXPIRES_WITHIN, |seen| seen != Some(self.registered_zxid)).await {
            Ok((took, _)) => (true, format!("{was} went within {:.1} s: its session expired", took.as_secs_f64())),
            Err(last) => (false, format!("{was} did not go within {} s: {last}", EXPIRES_WITHIN.as_secs())),
        };
        Ok(Proof { proved, text: format!("{said}; {}", cut.text) })
    }

    async fn mend(&self) -> Result<Interval, String> {
        let ended = self.cut.mend().await?;
        // Whether it came is for the proof to say.
        let _ = self.wait(REGISTERS_WITHIN, |seen| seen.is_some()).await;
        Ok(ended)
    }

    async fn mended(&self) -> Proof {
        let cut = self.cut.mended().await;
        let (proved, said) = match self.wait(Duration::ZERO, |seen| seen.is_some()).await {
            Ok((_, Some(zxid))) if zxid == self.registered_zxid => (true, format!("broker {} kept its session", self.broker)),
            Ok((_, zxid)) => (true, format!("broker {} is registered anew, by transaction 0x{:x}", self.broker, zxid.unwrap_or(0))),
            Err(last) => (false, format!("broker {}: {last}", self.broker)),
        };
        Proof { proved: cut.proved && proved, text: format!("{said}; {}", cut.text) }
    }
}
