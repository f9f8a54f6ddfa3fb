//! What is seen while it runs (docs/live.md): one line that renews itself on a terminal, a line every 10 s elsewhere, an object a second for
//! programs, or the whole terminal. Talk goes to standard error.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::anyhow;
use serde::Serialize;

use super::abort::Abort;
use super::pulse::{FaultState, Pulse};
use super::tui::{self, Tui};
use super::{lock, metrics};
use crate::cli::{Progress, ViewArgs};
use crate::exit::Failure;

const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// Where a terminal does not say how wide it is.
const WIDTH: usize = 80;

pub(crate) struct Display {
    mode: Mode,
    metrics: Option<metrics::Server>,
    state: Mutex<State>,
}

enum Mode {
    Bar,
    Plain,
    Json,
    Silent,
    Tui(Tui),
}

#[derive(Default)]
struct State {
    /// A line stands on the terminal that the next output must wipe.
    is_dirty: bool,
    plain_last_s: Option<u64>,
}

/// A line of `--progress json`.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Line<'a> {
    Pulse(&'a Pulse),
    Event {
        /// Absent before the run's clock counts.
        #[serde(skip_serializing_if = "Option::is_none")]
        time_s: Option<f64>,
        text: &'a str,
    },
}

impl Display {
    pub(crate) fn new(progress: Progress) -> Self {
        let mode = match progress {
            Progress::Auto if std::io::stderr().is_terminal() => Mode::Bar,
            Progress::Bar => Mode::Bar,
            Progress::Auto | Progress::Plain => Mode::Plain,
            Progress::Json => Mode::Json,
            Progress::None => Mode::Silent,
        };
        Self { mode, metrics: None, state: Mutex::default() }
    }

    /// As the flags have it. The terminal stays as it is until [`Display::begin`].
    pub(crate) fn of(args: &ViewArgs) -> Result<Self, Failure> {
        let metrics = args.metrics.map(metrics::Server::bind).transpose()?;
        let display = if args.tui { Self::on_the_terminal()? } else { Self::new(args.progress) };
        if let Some(address) = metrics.as_ref().and_then(metrics::Server::address) {
            display.event(&format!("metrics: http://{address}/metrics"));
        }
        Ok(Self { metrics, ..display })
    }

    fn on_the_terminal() -> Result<Self, Failure> {
        if !std::io::stderr().is_terminal() || !std::io::stdin().is_terminal() {
            return Err(Failure::usage(anyhow!(
                "--tui takes a terminal, and standard input or standard error is none: --progress plain or json is for logs and programs"
            )));
        }
        Ok(Self { mode: Mode::Tui(Tui::new()), metrics: None, state: Mutex::default() })
    }

    /// Takes the terminal and answers scrapers, if that was asked for: not before the network was entered, since threads look after it.
    pub(crate) fn begin(&self, title: &str, abort: &Abort) {
        if let Some(Err(error)) = self.metrics.as_ref().map(metrics::Server::begin) {
            self.event(&format!("metrics are told to nobody: {error}"));
        }
        if let Mode::Tui(tui) = &self.mode
            && let Err(error) = tui.begin(title, abort)
        {
            self.event(&format!("the terminal cannot be drawn on, and the run goes on without: {error}"));
        }
    }

    /// What scrapers are told from now on.
    pub(super) fn scraped_from(&self, source: metrics::Source) {
        if let Some(metrics) = &self.metrics {
            metrics.scraped_from(source);
        }
    }

    /// Gives the terminal back as it was, and answers nobody any more.
    pub(crate) fn end(&self) {
        if let Some(metrics) = &self.metrics {
            metrics.end();
        }
        if let Mode::Tui(tui) = &self.mode {
            tui.end();
        }
    }

    /// The state of things; shown or not, as the mode has it.
    pub(crate) fn pulse(&self, pulse: &Pulse) {
        let mut state = lock(&self.state);
        let mut out = std::io::stderr().lock();
        // What cannot be written to a closed terminal is lost, and the run goes on.
        let _ = match &self.mode {
            Mode::Silent => Ok(()),
            Mode::Tui(tui) => {
                tui.pulse(pulse);
                Ok(())
            }
            Mode::Json => write_json(&mut out, &Line::Pulse(pulse)),
            Mode::Bar => {
                state.is_dirty = true;
                let width = tui::width().unwrap_or(WIDTH);
                write!(out, "\r\x1b[2K{}", cut(&bar(pulse), width)).and_then(|()| out.flush())
            }
            Mode::Plain => {
                let now_s = pulse.time_s as u64;
                let due = state.plain_last_s.is_none_or(|last| now_s >= last + PLAIN_EVERY.as_secs());
                if due {
                    state.plain_last_s = Some(now_s);
                    writeln!(out, "{}", plain(pulse))
                } else {
                    Ok(())
                }
            }
        };
    }

    /// Something that happened; always shown, unless all is silent.
    pub(crate) fn event(&self, text: &str) {
        self.tell(None, text);
    }

    /// Shown even where all is silent: somebody just asked for it.
    pub(crate) fn insist(&self, text: &str) {
        if matches!(self.mode, Mode::Silent) {
            eprintln!("{text}");
        } else {
            self.event(text);
        }
    }

    /// The same as an event, and when.
    pub(crate) fn event_at(&self, elapsed: Duration, text: &str) {
        self.tell(Some(elapsed.as_secs_f64()), text);
    }

    fn tell(&self, time_s: Option<f64>, text: &str) {
        let line = time_s.map_or_else(|| text.to_owned(), |time_s| format!("{time_s:>7.1} s  {text}"));
        let mut state = lock(&self.state);
        let _ = match &self.mode {
            Mode::Silent => Ok(()),
            Mode::Tui(tui) if tui.event(&line) => Ok(()),
            Mode::Json => {
                let time_s = time_s.map(|time_s| (time_s * 10.0).round() / 10.0);
                write_json(&mut std::io::stderr().lock(), &Line::Event { time_s, text })
            }
            Mode::Bar | Mode::Plain | Mode::Tui(_) => {
                let wipe = if std::mem::take(&mut state.is_dirty) { "\r\x1b[2K" } else { "" };
                writeln!(std::io::stderr().lock(), "{wipe}{line}")
            }
        };
    }
}

fn write_json(out: &mut impl Write, line: &Line<'_>) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    out.write_all(&text)
}

/// What matters most comes first: a narrow terminal cuts off the rest.
fn bar(pulse: &Pulse) -> String {
    let phase = if pulse.phase.is_empty() { "getting ready" } else { &pulse.phase };
    let limit = pulse.phase_limit_s.map_or_else(String::new, |limit_s| format!(" {:.0}/{limit_s:.0} s", pulse.phase_s));
    let p99 = pulse.p99_ms.map_or_else(|| "-".to_owned(), milliseconds);
    format!(
        "{:>6.0} s  {phase}{limit} · {} acked/s · p99 {p99} · {} · ok {} · open {}",
        pulse.time_s,
        pulse.acked_per_s,
        faults(pulse),
        pulse.ok,
        pulse.open
    )
}

fn plain(pulse: &Pulse) -> String {
    let p99 = pulse.p99_ms.map_or_else(|| "-".to_owned(), milliseconds);
    format!(
        "{:>7.1} s  {:>6} acked/s · p99 {p99} · ok {} · info {} · fail {} · open {} · read {} · {}",
        pulse.time_s,
        pulse.acked_per_s,
        pulse.ok,
        pulse.info,
        pulse.fail,
        pulse.open,
        pulse.read,
        faults(pulse)
    )
}

fn faults(pulse: &Pulse) -> String {
    let one = |fault: &super::pulse::PulseFault| {
        let on: Vec<&str> = fault.on.iter().map(|on| on.split_once(" on ").map_or(on.as_str(), |(daemon, _)| daemon)).collect();
        let how = match (fault.state, fault.left_s) {
            (FaultState::InForce, Some(left_s)) => format!("{left_s:.0} s left"),
            (state, _) => state.words().to_owned(),
        };
        format!("{} {} {how}", fault.nemesis, on.join("+"))
    };
    if pulse.faults.is_empty() { "no fault".to_owned() } else { pulse.faults.iter().map(one).collect::<Vec<_>>().join(", ") }
}

/// As precise as it is worth.
pub(super) fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 10_000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1_000.0),
    }
}

/// No more characters than a line has: one that wraps cannot be wiped.
fn cut(line: &str, width: usize) -> String {
    if line.chars().count() < width { line.to_owned() } else { line.chars().take(width.saturating_sub(2)).chain(['…']).collect() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::pulse::{PulseFault, PulsePartition};
    use super::*;

    pub(in crate::run) fn pulse() -> Pulse {
        let fault = PulseFault {
            id: 2,
            nemesis: "kill-leader".into(),
            on: vec!["kafka:1 on kafka1".into()],
            state: FaultState::InForce,
            held_s: Some(4.2),
            left_s: Some(8.8),
        };
        let partition = PulsePartition { name: "kchaos-0".into(), leader: Some(2), leader_epoch: 3, isr: vec![2, 3], replicas: 3, key: 0 };
        Pulse {
            time_s: 31.2,
            phase: "trouble".into(),
            phase_s: 26.9,
            phase_limit_s: Some(60.0),
            acked_per_s: 5_213,
            read_per_s: 10_426,
            ok: 160_112,
            info: 12,
            fail: 3,
            open: 40,
            read: 320_100,
            p50_ms: Some(2.1),
            p99_ms: Some(812.5),
            max_ms: Some(5_012.0),
            faults: vec![fault],
            partitions: vec![partition],
            controller: Some(3),
        }
    }

    #[test]
    fn the_lines_say_what_matters_first() {
        insta::assert_snapshot!("progress-lines", format!("{}\n{}\n{}", bar(&pulse()), cut(&bar(&pulse()), 60), plain(&pulse())));
        insta::assert_snapshot!("progress-nothing-yet", format!("{}\n{}", bar(&Pulse::default()), plain(&Pulse::default())));
    }

    #[test]
    fn a_program_reads_an_object_from_each_line() {
        let mut lines = Vec::new();
        write_json(&mut lines, &Line::Pulse(&pulse())).unwrap();
        write_json(&mut lines, &Line::Event { time_s: Some(4.0), text: "phase: trouble" }).unwrap();
        write_json(&mut lines, &Line::Event { time_s: None, text: "run 1" }).unwrap();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            crate::schema::conform::assert_conforms("progress", &serde_json::from_slice(line).unwrap());
        }
        insta::assert_snapshot!("progress-json", String::from_utf8(lines).unwrap());
    }

    #[test]
    fn a_line_never_wraps() {
        assert_eq!(cut("0123456789", 10), "01234567…");
        assert_eq!(cut("012345678", 10), "012345678");
        assert_eq!(cut("01", 1), "…");
    }
}
