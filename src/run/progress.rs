//! What is seen while it runs: one line that renews itself on a terminal, a line every 10 s elsewhere. Talk goes to standard error.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use crate::cli::Progress;

const PLAIN_EVERY: Duration = Duration::from_secs(10);

pub(crate) struct Display {
    mode: Mode,
    state: Mutex<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Renewing,
    Plain,
    Silent,
}

#[derive(Default)]
struct State {
    /// A line stands on the terminal that the next output must wipe.
    is_dirty: bool,
    plain_last_s: Option<u64>,
}

impl Display {
    pub(crate) fn new(progress: Progress) -> Self {
        let mode = match progress {
            Progress::Auto if std::io::stderr().is_terminal() => Mode::Renewing,
            Progress::Auto | Progress::Plain => Mode::Plain,
            Progress::None => Mode::Silent,
        };
        Self { mode, state: Mutex::new(State::default()) }
    }

    /// The state of things; shown or not, as the mode has it.
    pub(crate) fn line(&self, elapsed: Duration, text: &str) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut out = std::io::stderr().lock();
        // What cannot be written to a closed terminal is lost, and the run goes on.
        let _ = match self.mode {
            Mode::Silent => Ok(()),
            Mode::Renewing => {
                state.is_dirty = true;
                write!(out, "\r\x1b[2K{text}").and_then(|()| out.flush())
            }
            Mode::Plain => {
                let due = state.plain_last_s.is_none_or(|last| elapsed.as_secs() >= last + PLAIN_EVERY.as_secs());
                if due {
                    state.plain_last_s = Some(elapsed.as_secs());
                    writeln!(out, "{text}")
                } else {
                    Ok(())
                }
            }
        };
    }

    /// Something that happened; always shown, unless all is silent.
    pub(crate) fn event(&self, text: &str) {
        if self.mode == Mode::Silent {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let wipe = if std::mem::take(&mut state.is_dirty) { "\r\x1b[2K" } else { "" };
        let _ = writeln!(std::io::stderr().lock(), "{wipe}{text}");
    }
}
