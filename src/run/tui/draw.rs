//! What stands on the screen, from what is known; nothing else. Colour is never the only sign.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Sparkline};

use super::super::progress::milliseconds;
use super::super::pulse::{FaultState, Pulse, PulseFault, PulsePartition};
use super::Screen;

const GOOD: Style = Style::new().fg(Color::Green);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const FAINT: Style = Style::new().add_modifier(Modifier::DIM);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
/// Lines that partitions and events have at least, on a narrow terminal both together.
const EVENTS_MIN: u16 = 8;
/// Of the partitions' table: name, leader, epoch, in sync.
const PARTITION_COLUMNS: u16 = 46;

pub(super) fn screen(frame: &mut Frame<'_>, screen: &Screen) {
    let pulse = &screen.pulse;
    let faults = u16::try_from(pulse.faults.len().max(1)).unwrap_or(u16::MAX).min(6) + 2;
    let [head, plots, faulty, rest, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(7),
        Constraint::Length(faults),
        Constraint::Min(EVENTS_MIN),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(self::head(screen)), head);
    let [throughput, latency] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(plots);
    let now = format!(" {} acked/s · ok {} · info {} · fail {} ", pulse.acked_per_s, pulse.ok, pulse.info, pulse.fail);
    sparkline(frame, throughput, now, screen.acked_per_s.iter().copied(), GOOD);
    let quantile = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), milliseconds);
    let now = format!(" p50 {} · p99 {} · max {} ", quantile(pulse.p50_ms), quantile(pulse.p99_ms), quantile(pulse.max_ms));
    sparkline(frame, latency, now, screen.p99_ms.iter().copied(), Style::new().fg(Color::Yellow));
    frame.render_widget(Paragraph::new(self::faults(pulse)).block(Block::bordered().title(" faults ")), faulty);
    let [partitions, events] = if rest.width < 2 * PARTITION_COLUMNS {
        Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(rest)
    } else {
        Layout::horizontal([Constraint::Max(PARTITION_COLUMNS), Constraint::Fill(1)]).areas(rest)
    };
    draw_partitions(frame, partitions, pulse);
    let room = usize::from(events.height.saturating_sub(2));
    let lines: Vec<Line<'_>> =
        screen.events.iter().skip(screen.events.len().saturating_sub(room)).map(|event| Line::raw(event.as_str())).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" events ")), events);
    frame.render_widget(Paragraph::new(self::foot(screen)), foot);
}

fn head(screen: &Screen) -> Vec<Line<'_>> {
    let pulse = &screen.pulse;
    let phase = if pulse.phase.is_empty() { "getting ready" } else { &pulse.phase };
    let limit = pulse.phase_limit_s.map_or_else(String::new, |limit_s| format!(" of {limit_s:.0} s"));
    let how_long = if pulse.phase.is_empty() { String::new() } else { format!(" for {:.0} s{limit}", pulse.phase_s) };
    let state = Line::from(vec![
        Span::raw(format!(" {:.0} s   ", pulse.time_s)),
        Span::styled(phase.to_owned(), BOLD),
        Span::raw(format!("{how_long}   {} open, {} read ({}/s)", pulse.open, pulse.read, pulse.read_per_s)),
    ]);
    vec![Line::styled(format!(" {}", screen.title), BOLD), state]
}

/// The last seconds that fit, the newest at the right.
fn sparkline(frame: &mut Frame<'_>, area: Rect, title: String, seconds: impl DoubleEndedIterator<Item = u64>, style: Style) {
    let block = Block::bordered().title(title);
    let room = usize::from(block.inner(area).width);
    let mut shown: Vec<u64> = seconds.rev().take(room).collect();
    shown.resize(room, 0);
    shown.reverse();
    frame.render_widget(Sparkline::default().block(block).data(shown).style(style), area);
}

fn faults(pulse: &Pulse) -> Vec<Line<'_>> {
    if pulse.faults.is_empty() {
        return vec![Line::styled("none in force", FAINT)];
    }
    pulse.faults.iter().map(fault).collect()
}

fn fault(fault: &PulseFault) -> Line<'_> {
    let held = fault.held_s.map_or_else(String::new, |held_s| format!(" for {held_s:.0} s"));
    let left = fault.left_s.map_or_else(String::new, |left_s| format!(", {left_s:.0} s left"));
    let style = if fault.state == FaultState::InForce { BAD } else { BOLD };
    Line::from(vec![
        Span::styled(format!("{} {}", fault.id, fault.nemesis), style),
        Span::raw(format!("  {}  {}{held}{left}", fault.on.join(", "), fault.state.words())),
    ])
}

/// Those that lack something come first; of more than there is room for, the rest is counted.
fn draw_partitions(frame: &mut Frame<'_>, area: Rect, pulse: &Pulse) {
    let mut all: Vec<&PulsePartition> = pulse.partitions.iter().collect();
    all.sort_by_key(|one| one.is_whole());
    let lacking = all.iter().filter(|one| !one.is_whole()).count();
    let controller = pulse.controller.map_or_else(|| "none".to_owned(), |broker| broker.to_string());
    let title = format!(" {} partitions, {lacking} not whole; controller {controller} ", all.len());
    let room = usize::from(area.height.saturating_sub(2));
    let shown = if all.len() > room { room.saturating_sub(1) } else { all.len() };
    let mut lines: Vec<Line<'_>> = all.iter().take(shown).map(|one| partition(one)).collect();
    if shown < all.len() {
        lines.push(Line::styled(format!("and {} more", all.len() - shown), FAINT));
    }
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(title)), area);
}

fn partition(one: &PulsePartition) -> Line<'_> {
    let isr: Vec<String> = one.isr.iter().map(ToString::to_string).collect();
    let (leader, style) = match one.leader {
        Some(leader) => (format!("leader {leader}"), if one.is_whole() { GOOD } else { Style::new().fg(Color::Yellow) }),
        None => ("NO LEADER".to_owned(), BAD),
    };
    let lacks = if one.is_whole() { "" } else { " !" };
    // The end of a long name tells partitions apart.
    let name: String = one.name.chars().rev().take(16).collect::<Vec<_>>().into_iter().rev().collect();
    Line::from(vec![
        Span::raw(format!("{name:<16} ")),
        Span::styled(format!("{leader} @{}", one.leader_epoch), style),
        Span::raw(format!(" isr {}{lacks}", isr.join(","))),
    ])
}

fn foot(screen: &Screen) -> Line<'_> {
    match &screen.ending {
        Some(why) => Line::styled(format!(" ENDING ({why}): hosts are mended, then it is judged; neither is skipped"), BAD),
        None => Line::styled(" q or h: mend the hosts, end the run, and judge what was seen", FAINT),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn drawn(what: &Screen, columns: u16, rows: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal.draw(|frame| screen(frame, what)).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |y| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..rows).map(|y| format!("{}\n", row(y).trim_end())).collect()
    }

    fn in_trouble() -> Screen {
        let mut screen = Screen { title: "append · seed 7 · results/20261123T120000Z-append-kill-leader".into(), ..Screen::default() };
        for second in 0..30_u64 {
            let is_down = (18..24).contains(&second);
            screen.add(&Pulse {
                acked_per_s: if is_down { 40 } else { 5_000 + 37 * second },
                p99_ms: Some(if is_down { 5_000.0 } else { 12.0 }),
                ..Pulse::default()
            });
        }
        let mut pulse = super::super::super::progress::tests::pulse();
        let whole = |key: i64, leader| PulsePartition {
            key,
            name: format!("kchaos-20261123-{key}"),
            leader,
            leader_epoch: 3,
            isr: vec![1, 2, 3],
            replicas: 3,
        };
        pulse.partitions.extend([whole(1, Some(3)), whole(2, None)]);
        screen.add(&pulse);
        screen.events.extend([
            "    4.2 s  phase: trouble".to_owned(),
            "   18.0 s  fault 2 kill-leader in force on kafka:1 on kafka1: pid 4711 is gone".to_owned(),
        ]);
        screen
    }

    #[test]
    fn a_run_in_trouble_is_seen_at_a_glance() {
        insta::assert_snapshot!("tui-trouble", drawn(&in_trouble(), 110, 26));
    }

    #[test]
    fn a_small_terminal_shows_what_fits() {
        insta::assert_snapshot!("tui-small", drawn(&in_trouble(), 60, 20));
        for (columns, rows) in [(1, 1), (10, 3), (200, 5), (3, 60)] {
            drawn(&in_trouble(), columns, rows);
        }
    }

    #[test]
    fn before_anything_is_known_and_while_it_ends() {
        let ending = Screen { title: "append · seed 7".into(), ending: Some("a key in --tui".into()), ..Screen::default() };
        insta::assert_snapshot!("tui-ending", drawn(&ending, 80, 18));
    }
}
