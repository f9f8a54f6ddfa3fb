//! A fault without the fault: targets are chosen and legs are planned as ever, by looking; what would then be sent to the hosts is written down
//! and not sent. It is the very script, since the fault itself made it.
//!
//! Limits: whatever a fault sends only after a host has answered is not there (to it, every answer is late). What is asked of the cluster by
//! Kafka's own protocol is told in words.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kchaos_cluster::daemon::Manager;
use kchaos_cluster::inventory::Inventory;
use kchaos_cluster::protocol::{Client, CoordinatorKind};
use kchaos_cluster::remote::{Output, Remote, RemoteError};
use kchaos_cluster::view::View;
use kchaos_core::{Chosen, NemesisName};
use serde::Serialize;

use crate::doors::{DoorError, Doors};
use crate::engine::{EngineOptions, Inner};
use crate::error::FaultError;
use crate::ground::Ground;
use crate::journal::Journal;
use crate::registry;

const INJECT_TIMEOUT: Duration = Duration::from_secs(20);

/// What a fault would do on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RehearsedLeg {
    pub chosen: Chosen,
    pub about: String,
    /// In `sh`; functions that begin with `k_` stand in kchaos' library, which is sent with each.
    pub commands: Vec<String>,
    /// What the host keeps, and does by itself when kchaos is gone.
    pub undo: String,
}

/// Plans a fault against the cluster as it is now. Nothing is written: not on a host, not in the cluster, not in a journal.
pub async fn rehearse(
    doors: Arc<dyn Doors>,
    options: EngineOptions,
    name: &NemesisName,
    fault_id: u32,
    seed: u64,
) -> Result<Vec<RehearsedLeg>, FaultError> {
    let nemesis = name.to_string();
    let spec = registry::find(&name.fault).ok_or_else(|| FaultError::refused(&nemesis, format!("no fault is called {}", name.fault)))?;
    let journal = Journal::nowhere().map_err(|error| FaultError::environment(&nemesis, "the journal that is none", error))?;
    let tape = Arc::new(Tape::default());
    let taping = Arc::new(Taping { inner: doors, tape: Arc::clone(&tape) });
    let inner = Inner::new(taping, options, journal).await;
    let ground = Arc::new(Ground::new(Arc::clone(&inner.shared), fault_id, nemesis, seed));
    let live = inner.plan(&ground, spec, name, seed).await?;
    // From here on nothing reaches a host, and this is not taken back: a fault may leave something behind that goes on asking.
    tape.runs.store(true, Ordering::SeqCst);
    let mut legs = Vec::new();
    for leg in &live.legs {
        // That it fails is in the nature of it.
        let _ = tokio::time::timeout(INJECT_TIMEOUT, leg.fault.inject()).await;
        let undo = leg.fault.undo();
        let mut commands: Vec<String> = tape.take().iter().map(|script| body(script).to_owned()).collect();
        if commands.is_empty() {
            commands.push(format!("# asked of the cluster by Kafka's protocol: {}", undo.about));
        }
        legs.push(RehearsedLeg { chosen: leg.chosen.clone(), about: undo.about, commands, undo: format!("{}\n{}", undo.setup, undo.mend) });
    }
    Ok(legs)
}

/// A script without its library.
fn body(script: &str) -> &str {
    let call = script.rsplit_once("\nk_main() {\n").map_or(script, |(_, call)| call);
    call.trim_end().strip_suffix("\n}\nk_main </dev/null").unwrap_or(call).trim()
}

#[derive(Default)]
struct Tape {
    runs: AtomicBool,
    scripts: Mutex<Vec<String>>,
}

impl Tape {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.scripts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn runs(&self) -> bool {
        self.runs.load(Ordering::SeqCst)
    }
}

/// The doors while they are only looked through, and then the tape.
struct Taping {
    inner: Arc<dyn Doors>,
    tape: Arc<Tape>,
}

#[async_trait]
impl Doors for Taping {
    fn inventory(&self) -> &Inventory {
        self.inner.inventory()
    }

    fn remote(&self, host: &str) -> Arc<dyn Remote> {
        Arc::new(TapedRemote { inner: self.inner.remote(host), tape: Arc::clone(&self.tape) })
    }

    fn mending(&self, host: &str) -> Arc<dyn Remote> {
        Arc::new(TapedRemote { inner: self.inner.mending(host), tape: Arc::clone(&self.tape) })
    }

    fn manager(&self, host: &str, daemon: &str) -> Box<dyn Manager> {
        self.inner.manager(host, daemon)
    }

    async fn reaches(&self, address: &str, port: u16) -> bool {
        self.inner.reaches(address, port).await
    }

    async fn view(&self, topics: &[String]) -> Result<View, DoorError> {
        self.inner.view(topics).await
    }

    fn protocol(&self) -> Result<Client, DoorError> {
        if self.tape.runs() { Err(DoorError("this is a rehearsal".to_owned())) } else { self.inner.protocol() }
    }

    async fn coordinator(&self, kind: CoordinatorKind, name: &str) -> Result<i32, DoorError> {
        self.inner.coordinator(kind, name).await
    }
}

struct TapedRemote {
    inner: Arc<dyn Remote>,
    tape: Arc<Tape>,
}

#[async_trait]
impl Remote for TapedRemote {
    fn host(&self) -> &str {
        self.inner.host()
    }

    async fn run(&self, script: &str, timeout: Duration) -> Result<Output, RemoteError> {
        if !self.tape.runs() {
            return self.inner.run(script, timeout).await;
        }
        self.tape.scripts.lock().unwrap_or_else(PoisonError::into_inner).push(script.to_owned());
        // Of a command whose answer is late nobody knows whether it ran, so a fault goes on as far as it can.
        Err(RemoteError::Timeout { host: self.inner.host().to_owned(), timeout_ms: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Caller, HostPaths};

    #[test]
    fn of_a_script_its_own_words_are_shown() {
        let paths = HostPaths::default();
        let caller = Caller { paths: &paths, run: "r", key: "r-1", owner: "somebody" };
        assert_eq!(
            body(&caller.script(&[], "k_inject() {\nkill -9 7\n}\nk_when_armed k_inject")),
            "k_inject() {\nkill -9 7\n}\nk_when_armed k_inject"
        );
        assert_eq!(body("systemctl stop kafka"), "systemctl stop kafka");
    }
}
