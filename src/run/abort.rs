//! Ending early: Ctrl-C, SIGTERM, SIGHUP, an abort condition, a violation under `--fail-fast`.
//!
//! Whatever the reason, the run goes on to its own end: faults are healed, the history is closed, what was seen is judged and reported.
//! A second signal does not skip the mending.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::progress::Display;
use crate::cli::Progress;

/// Why a run ends before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AbortReason {
    Signal(&'static str),
    /// `kchaos halt`, by somebody.
    Halted(String),
    /// One of the conditions that are watched throughout.
    Condition(String),
    /// `--fail-fast`: a violation is proved.
    Violation(String),
    /// Something of ours failed: the disk, the history.
    Environment(String),
}

/// Cloned to whoever may end the run, and to whoever waits.
#[derive(Clone, Debug)]
pub(crate) struct Abort {
    sender: Arc<watch::Sender<Option<AbortReason>>>,
}

impl Abort {
    pub(crate) fn new() -> Self {
        Self { sender: Arc::new(watch::Sender::new(None)) }
    }

    /// The first reason counts.
    pub(crate) fn raise(&self, reason: AbortReason) {
        self.sender.send_if_modified(|current| {
            let is_first = current.is_none();
            if is_first {
                *current = Some(reason);
            }
            is_first
        });
    }

    pub(crate) fn reason(&self) -> Option<AbortReason> {
        self.sender.borrow().clone()
    }

    /// Sleeps, or returns at once when the run is to end; `true` if the whole time has passed.
    pub(crate) async fn sleep(&self, duration: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(duration) => true,
            () = self.raised() => false,
        }
    }

    pub(crate) async fn raised(&self) {
        let mut receiver = self.sender.subscribe();
        // The sender lives as long as self, so waiting cannot fail.
        let _ = receiver.wait_for(Option::is_some).await;
    }

    /// Listens for the signals that end a run, until the runtime ends, and says so on standard error.
    pub(crate) fn listen(&self) -> std::io::Result<()> {
        self.listen_beside(&Arc::new(Display::new(Progress::Plain)))
    }

    /// The same beside a display, which must not be written over.
    pub(crate) fn listen_beside(&self, display: &Arc<Display>) -> std::io::Result<()> {
        for (kind, name) in [(SignalKind::interrupt(), "SIGINT"), (SignalKind::terminate(), "SIGTERM"), (SignalKind::hangup(), "SIGHUP")] {
            let mut stream = signal(kind)?;
            let (abort, display) = (self.clone(), Arc::clone(display));
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    if abort.reason().is_some() {
                        display.insist(&format!("{name} again: still mending the hosts; this is not skipped"));
                    } else {
                        display.insist(&format!("{name}: mending the hosts, then judging what was seen so far"));
                    }
                    abort.raise(AbortReason::Signal(name));
                }
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_raised_abort_ends_every_sleep_and_keeps_its_first_reason() {
        let abort = Abort::new();
        assert!(abort.sleep(Duration::from_millis(1)).await);
        abort.raise(AbortReason::Signal("SIGINT"));
        abort.raise(AbortReason::Environment("disk".into()));
        assert!(!abort.sleep(Duration::from_secs(3_600)).await);
        assert_eq!(abort.reason(), Some(AbortReason::Signal("SIGINT")));
    }
}
