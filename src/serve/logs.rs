//! Lines of daemon logs by their time. Kafka and ZooKeeper write the host's local time without its zone; GC logs write it with it; what librdkafka said is on
//! the run's own clock.
//!
//! ZooKeeper writes a line, and its older versions three, each time it is asked `srvr`, which our own observer does several times a second: those are counted and
//! left out unless they are asked for.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use chrono::NaiveDate;

const LINES_MAX: usize = 2_000;
const CHARS_MAX: usize = 2_000;
/// More of one file is not read.
const BYTES_MAX: u64 = 64 << 20;
/// What librdkafka said stands beside the hosts.
pub(super) const CLIENTS: &str = "clients";

pub(super) struct Around {
    pub(super) at_unix_ms: i64,
    pub(super) within_ms: i64,
    pub(super) zone_min: i64,
    pub(super) started_unix_ms: i64,
    /// What ZooKeeper writes of `srvr` as well.
    pub(super) with_looks: bool,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    /// In the order of time.
    pub(super) lines: Vec<Line>,
    /// How many were too many.
    pub(super) left_out: usize,
    /// How many are of `srvr`, whether they are among the lines or not.
    pub(super) looks: usize,
}

#[derive(Debug, PartialEq)]
pub(super) struct Line {
    pub(super) unix_ms: i64,
    pub(super) host: String,
    pub(super) file: String,
    pub(super) text: String,
}

/// Those whose logs were fetched, and the clients.
pub(super) fn hosts(run: &Path) -> Vec<String> {
    let entries = fs::read_dir(run.join("logs")).into_iter().flatten().flatten();
    let mut hosts: Vec<String> = entries
        .filter(|entry| entry.file_type().is_ok_and(|of| of.is_dir()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    hosts.sort();
    if run.join("clients.log").is_file() {
        hosts.push(CLIENTS.to_owned());
    }
    hosts
}

/// What was written around a moment. `hosts` are names that [`hosts`] gave.
pub(super) fn around(run: &Path, hosts: &[String], asked: &Around) -> Found {
    let mut lines = Vec::new();
    for host in hosts {
        if host == CLIENTS {
            read(&run.join("clients.log"), (host, "clients.log"), asked, &mut lines);
            continue;
        }
        let entries = fs::read_dir(run.join("logs").join(host)).into_iter().flatten().flatten();
        // A link may lead anywhere.
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|of| of.is_file())) {
            read(&entry.path(), (host, &entry.file_name().to_string_lossy()), asked, &mut lines);
        }
    }
    let looks = looks(&lines);
    let count = looks.iter().filter(|is_look| **is_look).count();
    if !asked.with_looks {
        let mut looks = looks.into_iter();
        lines.retain(|_| looks.next() != Some(true));
    }
    lines.sort_by_key(|line| line.unix_ms);
    let left_out = lines.len().saturating_sub(LINES_MAX);
    lines.truncate(LINES_MAX);
    Found { lines, left_out, looks: count }
}

/// Of each line whether it tells of `srvr`: that it was asked, and by older versions (3.4) that whoever asked it came and went without a session.
fn looks(lines: &[Line]) -> Vec<bool> {
    let word = |line: &Line, before: &str| {
        let (_, rest) = line.text.split_once(before)?;
        rest.split_whitespace().next().map(str::to_owned)
    };
    let asked = |line: &Line| word(line, "Processing srvr command from ");
    let askers: BTreeSet<(&str, String)> = lines.iter().filter_map(|line| Some((line.host.as_str(), asked(line)?))).collect();
    let is_askers = |line: &Line, who: Option<String>| who.is_some_and(|who| askers.contains(&(line.host.as_str(), who)));
    let is_look = |line: &Line| {
        asked(line).is_some()
            || is_askers(line, word(line, "Accepted socket connection from "))
            || (line.text.contains("(no session established for client)")
                && is_askers(line, word(line, "Closed socket connection for client ")))
    };
    lines.iter().map(is_look).collect()
}

fn read(path: &Path, (host, name): (&str, &str), asked: &Around, lines: &mut Vec<Line>) {
    let Ok(file) = File::open(path) else { return };
    let mut reader = BufReader::new(file.take(BYTES_MAX));
    let (mut bytes, mut before) = (Vec::new(), None);
    loop {
        bytes.clear();
        match reader.read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&bytes);
        // A line without a time belongs to the one above: a stack trace.
        let time = if host == CLIENTS { of_clients(&text, asked) } else { unix_ms(&text, asked.zone_min) };
        before = time.or(before);
        let Some(unix_ms) = before else { continue };
        if (unix_ms - asked.at_unix_ms).abs() <= asked.within_ms {
            let text = text.trim_end().chars().take(CHARS_MAX).collect();
            lines.push(Line { unix_ms, host: host.to_owned(), file: name.to_owned(), text });
        }
    }
}

/// Seconds on the run's clock.
fn of_clients(text: &str, asked: &Around) -> Option<i64> {
    let seconds: f64 = text.split(' ').next()?.parse().ok()?;
    Some(asked.started_unix_ms + (seconds * 1e3) as i64)
}

/// `[2026-11-23 02:00:41,123]`, `2026-11-23 02:00:41,123`, `[2026-11-23T02:00:41.123+0000]`, at the beginning of a line.
fn unix_ms(text: &str, zone_min: i64) -> Option<i64> {
    let text = text.strip_prefix('[').unwrap_or(text);
    let bytes = text.as_bytes();
    let is_shaped = bytes.len() >= 19
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && matches!(bytes[10], b' ' | b'T')
        && bytes[13] == b':'
        && bytes[16] == b':';
    if !is_shaped {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u32>().ok();
    let day = NaiveDate::from_ymd_opt(i32::try_from(number(0, 4)?).ok()?, number(5, 7)?, number(8, 10)?)?;
    let (mut millis, mut rest) = (0, text.get(19..)?);
    if let Some(fraction) = rest.strip_prefix([',', '.']) {
        millis = fraction.get(..3)?.parse().ok()?;
        rest = &fraction[3..];
    }
    let at = day.and_hms_milli_opt(number(11, 13)?, number(14, 16)?, number(17, 19)?, millis)?.and_utc().timestamp_millis();
    Some(at - zone(rest).unwrap_or(zone_min) * 60_000)
}

/// `+0200` or `Z`, if a line has its zone.
fn zone(rest: &str) -> Option<i64> {
    if rest.starts_with('Z') {
        return Some(0);
    }
    let sign = match rest.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let digits: String = rest.chars().skip(1).filter(|c| *c != ':').take(4).collect();
    let (hours, minutes) = (digits.get(..2)?.parse::<i64>().ok()?, digits.get(2..4)?.parse::<i64>().ok()?);
    Some(sign * (hours * 60 + minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_placed_by_its_time_whoever_wrote_it() {
        let at = 1_795_399_241_123;
        for (line, zone_min, expect) in [
            ("[2026-11-23 02:00:41,123] INFO [Controller id=1]", 0, Some(at)),
            ("[2026-11-23 03:00:41,123] INFO", 60, Some(at)),
            ("2026-11-23 02:00:41,123 [myid:1] - INFO  [main]", 0, Some(at)),
            ("[2026-11-23T02:00:41.123+0000][gc] GC(1) Pause", 60, Some(at)),
            ("[2026-11-23T04:00:41.123+02:00][gc]", 0, Some(at)),
            ("2026-11-23T02:00:41Z", 60, Some(at - 123)),
            ("\tat java.base/java.lang.Thread.run", 0, None),
            ("[2026-99-23 02:00:41,123] INFO", 0, None),
            ("[2026-11-23 02:00:4ü,1", 0, None),
            ("", 0, None),
        ] {
            assert_eq!(unix_ms(line, zone_min), expect, "{line}");
        }
    }

    #[test]
    fn what_is_around_a_moment_is_shown_with_its_stack_traces_in_order() {
        let run = tempfile::tempdir().unwrap();
        let put = |host: &str, file: &str, text: &str| {
            let directory = run.path().join("logs").join(host);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(file), text).unwrap();
        };
        put(
            "b1",
            "server.log",
            "[2026-11-23 02:00:30,000] INFO early\n[2026-11-23 02:00:41,500] ERROR late\n\tat x\n[2026-11-23 02:01:41,000] INFO later\n",
        );
        put("b2", "server.log", "[2026-11-23 02:00:40,900] WARN \u{ff}\n");
        fs::write(run.path().join("clients.log"), "41.250000 1 5 FAIL down\n").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", run.path().join("logs/b2/other.log")).unwrap();
        let asked =
            Around { at_unix_ms: 1_795_399_241_000, within_ms: 1_000, zone_min: 0, started_unix_ms: 1_795_399_200_000, with_looks: false };
        let found = around(run.path(), &hosts(run.path()), &asked);
        let told: Vec<String> = found.lines.iter().map(|line| format!("{} {}", line.host, line.text)).collect();
        assert_eq!(
            told,
            [
                "b2 [2026-11-23 02:00:40,900] WARN \u{ff}",
                "clients 41.250000 1 5 FAIL down",
                "b1 [2026-11-23 02:00:41,500] ERROR late",
                "b1 \tat x"
            ]
        );
        assert_eq!((found.left_out, found.looks), (0, 0));
    }

    #[test]
    fn our_own_looks_at_zookeeper_are_counted_and_left_out_unless_they_are_asked_for() {
        let run = tempfile::tempdir().unwrap();
        let put = |host: &str, lines: &[&str]| {
            let directory = run.path().join("logs").join(host);
            fs::create_dir_all(&directory).unwrap();
            let lines = lines.iter().map(|line| format!("2026-11-23 02:00:41,123 [myid:1] - INFO  [main] - {line}\n"));
            fs::write(directory.join("zookeeper.log"), lines.collect::<String>()).unwrap();
        };
        // As 3.4 says it, and 3.5 and later.
        let of_others = [
            "Accepted socket connection from /10.0.0.9:50001",
            "Processing mntr command from /10.0.0.9:50001",
            "Closed socket connection for client /10.0.0.9:50001 (no session established for client)",
            "Closed socket connection for client /10.0.0.1:40312 which had sessionid 0x1",
            "LEADING - LEADER ELECTION TOOK - 31",
        ];
        let of_ours = [
            "Accepted socket connection from /10.0.0.1:40312",
            "Processing srvr command from /10.0.0.1:40312",
            "Closed socket connection for client /10.0.0.1:40312 (no session established for client)",
        ];
        put("z1", &[of_ours.as_slice(), &of_others].concat());
        // The same port of another host is another connection.
        put("z2", &["Processing srvr command from /10.0.0.1:40314", of_ours[0]]);
        let mut asked = Around { at_unix_ms: 1_795_399_241_000, within_ms: 1_000, zone_min: 0, started_unix_ms: 0, with_looks: false };
        let hosts = hosts(run.path());
        let found = around(run.path(), &hosts, &asked);
        let told: Vec<&str> = found.lines.iter().map(|line| line.text.split_once("[main] - ").unwrap().1).collect();
        assert_eq!((told, found.looks), ([of_others.as_slice(), &of_ours[..1]].concat(), 4));
        asked.with_looks = true;
        let found = around(run.path(), &hosts, &asked);
        assert_eq!((found.lines.len(), found.looks), (10, 4));
    }
}
