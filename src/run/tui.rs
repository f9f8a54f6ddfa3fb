//! `--tui`: the run on the whole terminal.
//!
//! A thread of its own draws and listens to keys, so that neither waits for the run nor the run for a slow terminal. The terminal is given back on
//! every way out: the run's end, an error, and a panic, whose words would otherwise be lost with the screen.

mod draw;

use std::collections::VecDeque;
use std::io::{self, Stderr, Write};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{self, EnterAlternateScreen, LeaveAlternateScreen};

use super::abort::{Abort, AbortReason};
use super::lock;
use super::pulse::Pulse;

const DRAWN_EVERY: Duration = Duration::from_millis(200);
/// Of the sparklines: what fits on a wide terminal.
const SECONDS_KEPT: usize = 400;
const EVENTS_KEPT: usize = 500;

/// Whether the terminal is ours. One for the process: a panic anywhere must give it back.
static IS_OURS: AtomicBool = AtomicBool::new(false);

pub(super) struct Tui {
    screen: Arc<Mutex<Screen>>,
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// All that is drawn.
#[derive(Clone, Debug, Default)]
pub(super) struct Screen {
    title: String,
    pulse: Pulse,
    /// The last seconds, the newest last: acknowledged, and the p99 in ms.
    acked_per_s: VecDeque<u64>,
    p99_ms: VecDeque<u64>,
    events: VecDeque<String>,
    /// Why it ends, once it does.
    ending: Option<String>,
}

impl Tui {
    pub(super) fn new() -> Self {
        Self { screen: Arc::default(), stop: Arc::default(), thread: Mutex::default() }
    }

    pub(super) fn begin(&self, title: &str, abort: &Abort) -> io::Result<()> {
        title.clone_into(&mut lock(&self.screen).title);
        give_back_on_panic();
        terminal::enable_raw_mode()?;
        IS_OURS.store(true, SeqCst);
        execute!(io::stderr(), EnterAlternateScreen).inspect_err(|_| _ = give_back())?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stderr())).inspect_err(|_| _ = give_back())?;
        let (screen, stop, abort) = (Arc::clone(&self.screen), Arc::clone(&self.stop), abort.clone());
        let thread = std::thread::Builder::new().name("tui".into()).spawn(move || keep_drawing(terminal, &screen, &stop, &abort));
        *lock(&self.thread) = Some(thread.inspect_err(|_| _ = give_back())?);
        Ok(())
    }

    /// The events stay on the terminal, as they would without all this.
    pub(super) fn end(&self) {
        let Some(thread) = lock(&self.thread).take() else { return };
        // First the thread, or it would draw on what is given back.
        self.stop.store(true, SeqCst);
        let _ = thread.join();
        if give_back() {
            let mut out = io::stderr().lock();
            for event in &lock(&self.screen).events {
                let _ = writeln!(out, "{event}");
            }
        }
    }

    pub(super) fn pulse(&self, pulse: &Pulse) {
        lock(&self.screen).add(pulse);
    }

    /// `false` if the terminal is not ours (yet, or any more): then it is to be told as elsewhere.
    pub(super) fn event(&self, line: &str) -> bool {
        let is_ours = IS_OURS.load(SeqCst);
        if is_ours {
            let mut screen = lock(&self.screen);
            screen.events.push_back(line.to_owned());
            if screen.events.len() > EVENTS_KEPT {
                screen.events.pop_front();
            }
        }
        is_ours
    }
}

impl Drop for Tui {
    fn drop(&mut self) {
        self.end();
    }
}

impl Screen {
    fn add(&mut self, pulse: &Pulse) {
        self.acked_per_s.push_back(pulse.acked_per_s);
        self.p99_ms.push_back(pulse.p99_ms.unwrap_or(0.0).ceil() as u64);
        for series in [&mut self.acked_per_s, &mut self.p99_ms] {
            while series.len() > SECONDS_KEPT {
                series.pop_front();
            }
        }
        self.pulse = pulse.clone();
    }
}

/// Columns of the terminal, if standard error is one.
pub(super) fn width() -> Option<usize> {
    terminal::size().ok().map(|(columns, _)| usize::from(columns)).filter(|columns| *columns > 0)
}

fn keep_drawing(mut terminal: Terminal<CrosstermBackend<Stderr>>, screen: &Mutex<Screen>, stop: &AtomicBool, abort: &Abort) {
    while IS_OURS.load(SeqCst) && !stop.load(SeqCst) {
        let now = {
            let mut screen = lock(screen);
            screen.ending = abort.reason().map(|reason| ended_by(&reason));
            screen.clone()
        };
        // A terminal that is gone comes with SIGHUP, which ends the run by its own way.
        if terminal.draw(|frame| draw::screen(frame, &now)).is_err() {
            std::thread::sleep(DRAWN_EVERY);
            continue;
        }
        match event::poll(DRAWN_EVERY) {
            Ok(true) => {
                if let Ok(Event::Key(key)) = event::read()
                    && ends(key)
                {
                    abort.raise(AbortReason::Signal("a key in --tui"));
                }
            }
            Ok(false) => {}
            Err(_) => std::thread::sleep(DRAWN_EVERY),
        }
    }
}

/// Ctrl-C is a key here: the terminal sends no signal meanwhile.
fn ends(key: KeyEvent) -> bool {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press
        && match key.code {
            KeyCode::Char('q' | 'h' | 'Q' | 'H') => !is_control,
            KeyCode::Char('c') => is_control,
            _ => false,
        }
}

fn ended_by(reason: &AbortReason) -> String {
    match reason {
        AbortReason::Signal(name) => (*name).to_owned(),
        AbortReason::Halted(text) | AbortReason::Condition(text) | AbortReason::Violation(text) | AbortReason::Environment(text) => {
            text.clone()
        }
    }
}

/// Twice does no harm. `false` if it was not ours.
fn give_back() -> bool {
    let was_ours = IS_OURS.swap(false, SeqCst);
    if was_ours {
        let _ = execute!(io::stderr(), LeaveAlternateScreen, Show);
        let _ = terminal::disable_raw_mode();
    }
    was_ours
}

fn give_back_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        give_back();
        before(panic);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_h_and_ctrl_c_end_the_run_and_nothing_else_does() {
        let key = |code, modifiers| KeyEvent::new(code, modifiers);
        for code in [KeyCode::Char('q'), KeyCode::Char('h'), KeyCode::Char('Q')] {
            assert!(ends(key(code, KeyModifiers::NONE)), "{code:?}");
        }
        assert!(ends(key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        for (code, modifiers) in [
            (KeyCode::Char('c'), KeyModifiers::NONE),
            (KeyCode::Char('h'), KeyModifiers::CONTROL),
            (KeyCode::Enter, KeyModifiers::NONE),
            (KeyCode::Esc, KeyModifiers::NONE),
        ] {
            assert!(!ends(key(code, modifiers)), "{code:?}");
        }
        let released = KeyEvent { kind: KeyEventKind::Release, ..key(KeyCode::Char('q'), KeyModifiers::NONE) };
        assert!(!ends(released));
    }

    #[test]
    #[ignore = "takes the terminal until q is pressed: `kchaos-… --ignored --exact run::tui::tests::on_a_terminal`, in tmux say"]
    fn on_a_terminal() {
        let (tui, abort) = (Tui::new(), Abort::new());
        assert!(!tui.event("before it is taken, events are told elsewhere"));
        tui.begin("lab · append · seed 7 · results/latest", &abort).unwrap();
        for second in 0_u32..60 {
            let pulse = super::super::progress::tests::pulse();
            tui.pulse(&Pulse { time_s: f64::from(second), acked_per_s: 4_000 + u64::from(second * 37 % 900), ..pulse });
            assert!(tui.event(&format!("{second:>5}.0 s  something happened")));
            std::thread::sleep(DRAWN_EVERY);
            if second > 5 && abort.reason().is_some() {
                break;
            }
        }
        tui.end();
        assert_eq!(abort.reason(), Some(AbortReason::Signal("a key in --tui")));
        assert!(!tui.event("after it was given back, too"));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut screen = Screen::default();
        for second in 0..1_000 {
            screen.add(&Pulse { acked_per_s: second, p99_ms: Some(0.5), ..Pulse::default() });
        }
        assert_eq!((screen.acked_per_s.len(), screen.acked_per_s.back(), screen.p99_ms.back()), (SECONDS_KEPT, Some(&999), Some(&1)));
    }
}
