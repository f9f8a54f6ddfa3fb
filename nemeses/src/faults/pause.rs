//! `pause`: SIGSTOP to exactly one process. Its sockets stay open and its kernel goes on acknowledging: nobody is told anything.
//!
//! A broker paused for longer than its session comes back believing that it still leads; it registers anew after its first failed request.

use std::sync::Arc;

use async_trait::async_trait;
use kchaos_cluster::remote::Means;
use kchaos_core::{Chosen, Effect, Interval, Proof};

use crate::error::FaultError;
use crate::fault::{HostFault, Injected, Need, Scope, Undo};
use crate::faults::daemon::Daemon;
use crate::faults::{WIDE, bring_up};
use crate::ground::Ground;
use crate::helper::{self, InWords};
use crate::host::{Answers, PROCESS};
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "pause",
    about: "SIGSTOP, by pid and start time; SIGCONT mends",
    targets: WIDE,
    needs: &[Need::Signals],
    scope: Scope::Daemon,
    plan: |ground, chosen| Box::pin(plan(ground, chosen)),
};

struct Pause {
    daemon: Daemon,
}

async fn plan(ground: Arc<Ground>, chosen: Chosen) -> Result<Box<dyn HostFault>, FaultError> {
    Ok(Box::new(Pause { daemon: Daemon::find(ground, chosen).await? }))
}

#[async_trait]
impl HostFault for Pause {
    fn host(&self) -> &str {
        &self.daemon.chosen.host
    }

    fn undo(&self) -> Undo {
        let process = self.daemon.arguments();
        Undo {
            about: format!("{}: {} paused", self.daemon.ground.nemesis, self.daemon.name()),
            parts: &[PROCESS],
            setup: String::new(),
            mend: format!("k_signal {process} CONT"),
            // A process that has gone is not paused.
            verify: format!("! k_same_process {process} || [ \"$P_STATE\" != T ]"),
        }
    }

    fn holds(&self) -> String {
        let process = self.daemon.arguments();
        format!(
            "k_same_process {process} || {{ echo 'early the paused process has gone'; return 1; }}\n\
             [ \"$P_STATE\" = T ] || {{ echo 'early the paused process runs again, and not by our doing'; return 1; }}"
        )
    }

    fn in_words(&self) -> Option<InWords> {
        let (daemon, before) = (&self.daemon.chosen.daemon, self.daemon.before);
        Some(InWords::new(helper::strings(&[&"pause", daemon, &before.pid, &before.start_time])))
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        let when = self.daemon.signal("STOP").await?;
        let effect = Effect { pids: vec![(self.daemon.before.pid, self.daemon.before.start_time)], ..Effect::default() };
        Ok(Injected { when, effect })
    }

    async fn proof(&self) -> Result<Proof, FaultError> {
        let call = format!("k_threads {} T", self.daemon.arguments());
        let answers = self.daemon.ground.ask_as(self.host(), &[PROCESS], &call, &self.look("T"), "the look at the process").await;
        let answers = answers.map_err(|error| {
            FaultError::environment(&self.daemon.ground.nemesis, format!("{} could not be looked at", self.daemon.name()), error)
        })?;
        Ok(match threads(&answers) {
            Some((state, stopped, all)) => Proof {
                proved: state == "T" && stopped == all && all > 0,
                text: format!("{} is in state {state}, {stopped} of its {all} threads stopped", self.daemon.name()),
            },
            None => Proof { proved: false, text: format!("{}: {}", self.daemon.name(), answers.text()) },
        })
    }

    async fn mend(&self) -> Result<Interval, String> {
        let after_ns = self.daemon.ground.now();
        let call = format!("k_signal {} CONT", self.daemon.arguments());
        let before = self.daemon.before;
        let means = helper::words(&[&"continue", &self.daemon.chosen.daemon, &before.pid, &before.start_time]);
        let answers = self.daemon.ground.ask_mending_as(self.host(), &[PROCESS], &call, &means, "SIGCONT").await;
        let answers = answers.map_err(|error| error.to_string())?;
        let continued = Interval { after_ns, before_ns: self.daemon.ground.now() };
        if answers.has("gone") {
            self.daemon.ground.note(format!("{} ended while it was paused, and not by our doing; it is started again", self.daemon.name()));
        }
        let up = bring_up::bring_up(&self.daemon).await?;
        Ok(if answers.has("gone") { up } else { continued })
    }

    async fn mended(&self) -> Proof {
        let up = bring_up::is_up(&self.daemon).await;
        if !up.proved {
            return up;
        }
        let call = format!("k_threads {} R", self.daemon.arguments());
        match self.daemon.ground.ask_mending_as(self.host(), &[PROCESS], &call, &self.look("R"), "the look at the process").await {
            Ok(answers) => match threads(&answers) {
                Some((_, 0, _)) => Proof { proved: true, text: format!("none of its threads is stopped; {}", up.text) },
                Some((state, stopped, _)) => {
                    Proof { proved: false, text: format!("{} is in state {state}, {stopped} threads stopped", self.daemon.name()) }
                }
                None => up,
            },
            Err(error) => Proof { proved: false, text: format!("{} could not be looked at: {error}", self.daemon.name()) },
        }
    }
}

impl Pause {
    /// At its threads, in the helper's words.
    fn look(&self, wanted: &str) -> Means {
        helper::words(&[&"threads", &self.daemon.before.pid, &self.daemon.before.start_time, &wanted])
    }
}

/// State, threads stopped, threads in all.
fn threads(answers: &Answers) -> Option<(&str, u32, u32)> {
    let mut words = answers.get("state")?.split(' ');
    Some((words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_look_at_threads_is_read_as_it_was_printed() {
        assert_eq!(threads(&Answers::parse("state T 41 41\n")), Some(("T", 41, 41)));
        assert_eq!(threads(&Answers::parse("gone\n")), None);
    }

    proptest! {
        #[test]
        fn no_answer_of_a_host_makes_it_panic(text in "(state )?\\PC{0,40}") {
            let _ = threads(&Answers::parse(&text));
        }
    }
}
