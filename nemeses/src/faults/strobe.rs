//! `strobe`: the daemon's wall clock goes 30 s ahead and back again, every four seconds.
//!
//! Stamps that go backwards are what log rolling, retention by time and the age of transactions meet here. A loop on the host keeps the beat, since
//! libfaketime can only be told where the clock stands. It needs the fault's lease: without it, or when the watchdog has fired, it sets the clock
//! right and ends by itself.

use std::sync::Arc;

use async_trait::async_trait;
use kchaos_cluster::inventory::ClockFault;
use kchaos_core::{Chosen, Effect, Interval, Proof};

use crate::error::FaultError;
use crate::fault::{HostFault, Injected, Need, Scope, Undo};
use crate::faults::clock::{self, Wrong};
use crate::faults::wall;
use crate::ground::Ground;
use crate::host::{CLOCK, feed};
use crate::registry::Spec;

const AHEAD_S: i64 = 30;

pub(crate) const SPEC: Spec = Spec {
    name: "strobe",
    about: "the daemon's wall clock goes 30 s ahead and back again, every 4 s (lab up --clock faketime; elsewhere the host's clock, with consent)",
    targets: clock::TARGETS,
    needs: &[Need::Clock],
    scope: Scope::Daemon,
    plan: |ground, chosen| Box::pin(plan(ground, chosen)),
};

struct Strobe {
    wrong: Wrong,
}

async fn plan(ground: Arc<Ground>, chosen: Chosen) -> Result<Box<dyn HostFault>, FaultError> {
    if clock::is_of_host(&ground, &chosen) {
        return wall::plan(ground, chosen, ClockFault::Strobe).await;
    }
    Ok(Box::new(Strobe { wrong: Wrong::plan(ground, chosen, ClockFault::Strobe, AHEAD_S).await? }))
}

#[async_trait]
impl HostFault for Strobe {
    fn host(&self) -> &str {
        self.wrong.host()
    }

    fn undo(&self) -> Undo {
        let mut undo = self.wrong.undo();
        undo.mend = "k_strobe_end && k_clock_set +0".to_owned();
        undo.verify = "! k_strobe_goes && k_clock_is +0".to_owned();
        undo
    }

    fn holds(&self) -> String {
        format!(
            "{}{CLOCK}\nk_strobe_goes || {{ echo 'early nobody moves the clock any more, and not by our doing'; return 1; }}",
            self.wrong.settings()
        )
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        let ground = &self.wrong.daemon.ground;
        let beat = ground.script(&[CLOCK], &format!("{}k_strobe {AHEAD_S:+}", self.wrong.settings()));
        let body = format!("{}{}", self.wrong.settings(), feed("k_strobe_begin", &beat));
        let when = self.wrong.order(&body).await?;
        Ok(Injected { when, effect: Effect { files: vec![self.wrong.clock.file.display().to_string()], ..Effect::default() } })
    }

    /// It is seen to be ahead, and then to be right.
    async fn proof(&self) -> Result<Proof, FaultError> {
        let ahead = self.wrong.wait_for(AHEAD_S).await;
        let right = self.wrong.wait_for(0).await;
        Ok(Proof { proved: ahead.proved && right.proved, text: format!("{}; later: {}", ahead.text, right.text) })
    }

    async fn mend(&self) -> Result<Interval, String> {
        self.wrong.set_right("k_strobe_end\n").await
    }

    async fn mended(&self) -> Proof {
        let call = format!("{}if k_strobe_goes || ! k_clock_is +0; then echo wrong; else echo right; fi", self.wrong.settings());
        let answer = self.wrong.daemon.ground.ask_mending(self.host(), &[CLOCK], &call, "the look at the clock").await;
        match answer {
            Ok(answers) if answers.has("right") => self.wrong.mended().await,
            Ok(_) => Proof { proved: false, text: format!("the clock of {} is still moved", self.wrong.daemon.name()) },
            Err(error) => Proof { proved: false, text: error.to_string() },
        }
    }
}
