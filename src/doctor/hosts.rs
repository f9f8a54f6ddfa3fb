//! Each host: reached, willing, equipped, with room and the right time, and free of other runs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use kchaos_cluster::cluster::{Cluster, HostCheck};
use kchaos_cluster::inventory::{Host, Privilege};
use kchaos_cluster::remote::{Means, Remote};
use kchaos_nemeses::{Doors, HostPaths, Leftovers, Unbearable};

use super::{CLUSTER, Line};
use crate::run::{Setup, too_full};

const CLOCK_TIMEOUT: Duration = Duration::from_secs(5);
const CLOCK_ROUNDS: usize = 3;
/// Daemon logs are held against the run's clock.
const CLOCK_OFF_MAX_S: f64 = 0.5;

#[derive(Default)]
pub(super) struct Found {
    pub(super) lines: Vec<Line>,
    pub(super) unbearable: Vec<Unbearable>,
}

pub(super) async fn examine(setup: &Setup, cluster: &Cluster, doors: &dyn Doors) -> Found {
    let checks = cluster.check_hosts().await;
    let mut lines: Vec<Line> = checks.iter().flat_map(|check| of_check(cluster, check)).collect();
    let reached: Vec<&Host> = setup.inventory.hosts.iter().filter(|host| is_reached(&checks, &host.name)).collect();
    let paths = HostPaths::default();
    let looks = join_all(reached.iter().map(async |host| {
        let left = kchaos_nemeses::leftovers(doors, host, &paths).await;
        (left, clock(doors.remote(&host.name).as_ref()).await)
    }));
    let bears = async {
        // Of a host that cannot be reached nothing is known; that is said already.
        if reached.len() == checks.len() { kchaos_nemeses::unbearable(doors).await } else { Vec::new() }
    };
    let (looks, unbearable, helpers) = tokio::join!(looks, bears, kchaos_nemeses::helper::check(doors));
    lines.extend(helpers.into_iter().filter(|(name, _)| is_reached(&checks, name)).map(|(name, helper)| match helper {
        Ok(text) => Line::ok("helper", &name, text),
        Err(text) => Line::fails("helper", &name, text, ""),
    }));
    for (host, (left, offset)) in reached.iter().zip(looks) {
        match left {
            Ok(left) => lines.extend(of_leftovers(setup, host, &left)),
            Err(error) => lines.push(Line::fails("leftovers", &host.name, error.to_string(), "kchaos heal")),
        }
        lines.extend(offset.map(|offset| of_clock(&host.name, offset)));
    }
    if reached.len() == checks.len() {
        lines.extend(of_nemeses(setup, &unbearable));
    }
    Found { lines, unbearable }
}

fn is_reached(checks: &[HostCheck], name: &str) -> bool {
    checks.iter().any(|check| check.host == name && !check.tools.is_empty())
}

/// What the inventory's own check found, in its order. The helper that runs as root, where there is one, belongs under `root`.
fn of_check(cluster: &Cluster, check: &HostCheck) -> Vec<Line> {
    let failing = |about: &str| check.problems.iter().any(|problem| problem.about == about);
    let mut lines: Vec<Line> =
        check.problems.iter().map(|problem| Line::fails(problem.about, &check.host, &problem.text, &problem.mend)).collect();
    if check.tools.is_empty() {
        return lines;
    }
    let is_there = |tool: &str| check.tools.get(tool).is_some_and(|is_there| *is_there);
    let by = match cluster.inventory.ssh.privilege() {
        Privilege::Root => "",
        Privilege::SudoSh => ", by sudo",
        Privilege::Helper => ", by the host's helper",
    };
    let firewall = if check.nftables_works { "nftables" } else { "iptables" };
    let lines_ok = [
        (
            "ssh",
            if check.host_key.is_some() { "reached, and its host key is known" } else { "its engine answers on this machine" }.to_owned(),
        ),
        ("root", format!("commands run as root{by}")),
        ("consent", "its administrator has opted it in".to_owned()),
        ("tools", "what scripts need is there".to_owned()),
        ("firewall", format!("{firewall} works")),
        ("daemons", "its daemons run".to_owned()),
    ];
    lines.extend(lines_ok.into_iter().filter(|(about, _)| !failing(about)).map(|(about, text)| Line::ok(about, &check.host, text)));
    lines.push(if is_there("setsid") {
        Line::ok("lease", &check.host, "setsid and sleep are there, by which it mends itself when kchaos is gone")
    } else {
        Line::fails("lease", &check.host, "it has no setsid, by which it would mend itself when kchaos is gone", "install util-linux")
    });
    lines
}

fn of_leftovers(setup: &Setup, host: &Host, left: &Leftovers) -> Vec<Line> {
    let (inventory, on) = (&setup.inventory, &host.name);
    let full = too_full(host, &left.glance.room_kib, inventory.limits.disk_free_min_mib, &[]);
    let least = left.glance.room_kib.iter().map(|(_, kib)| kib / 1_024).min().unwrap_or(0);
    let mut lines: Vec<Line> =
        full.into_iter().map(|text| Line::fails("disk-room", on, text, "make room, or lower the limit in the inventory")).collect();
    if lines.is_empty() {
        let enough = inventory.limits.disk_free_min_mib;
        let told =
            if least > 10 * enough { format!("more than {} MiB are free", 10 * enough) } else { format!("{least} MiB are free at least") };
        lines.push(Line::ok("disk-room", on, told));
    }
    if left.kills_sessions && host.ssh_user(inventory) != "root" {
        let text = "its logind ends what a session leaves behind (KillUserProcesses=yes), and with it what would mend the host when kchaos is gone";
        let mend = format!("let it log in as root, or put KillExcludeUsers={} into its logind.conf", host.ssh_user(inventory));
        lines.push(Line::warning("lease", on, text, mend));
    }
    lines.push(match &left.glance.halt {
        None => Line::ok("halt", on, "nobody has halted it"),
        Some(halt) => Line::fails("halt", on, format!("kchaos is halted there {halt}"), "kchaos halt --release, if that may be lifted"),
    });
    lines.push(match &left.lock {
        // A run that was cut off is concluded under its own name.
        Some(lock) if lock.seconds > 0 && lock.run != setup.run_id => Line::fails(
            "lock",
            on,
            format!("it is locked by run {} ({}) for another {} s", lock.run, lock.holder, lock.seconds),
            "wait, end that run, or if it is dead: kchaos heal --break-locks",
        ),
        _ => Line::ok("lock", on, "no run holds it"),
    });
    lines.push(if left.what.is_empty() {
        Line::ok("leftovers", on, "nothing of an earlier run is there")
    } else {
        let text = format!("an earlier run left: {}", left.what.join("; "));
        Line::warning("leftovers", on, text, "kchaos heal (a run does it before it begins)")
    });
    lines
}

/// A host's clock against this machine's, in seconds: surely between these two.
type Offset = (f64, f64);

/// Asked some times; the round trip bounds the answer, and the shortest one bounds it best. `None` if its `date` does not say.
async fn clock(remote: &dyn Remote) -> Option<Offset> {
    let mut best: Option<Offset> = None;
    for _ in 0..CLOCK_ROUNDS {
        let before = now_s();
        let said = remote.run_as("date +%s.%N", &Means::Anybody, CLOCK_TIMEOUT).await.ok()?;
        let after = now_s();
        best = match (bounds(said.stdout_text().trim(), before, after), best) {
            (Some(new), Some(old)) if new.1 - new.0 < old.1 - old.0 => Some(new),
            (new, None) => new,
            (_, old) => old,
        };
    }
    best
}

fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// A `date` that knows no parts of a second prints `%N` as it stands, or nothing.
fn bounds(said: &str, before: f64, after: f64) -> Option<Offset> {
    let (whole, part) = said.split_once('.').unwrap_or((said, ""));
    let whole: f64 = whole.parse::<u64>().ok()? as f64;
    match part.parse::<f64>() {
        Ok(nanos) if part.len() == 9 => {
            let seen = whole + nanos / 1e9;
            Some((seen - after, seen - before))
        }
        _ => Some((whole - after, whole + 1.0 - before)),
    }
}

fn of_clock(on: &str, (least, most): Offset) -> Line {
    let surely = if least > 0.0 { least } else { (-most).max(0.0) };
    if surely > CLOCK_OFF_MAX_S {
        let text =
            format!("its clock is off by {least:+.3} to {most:+.3} s, so stamps of its daemon logs cannot be held against the run's");
        return Line::warning("clock", on, text, "let chrony or another time daemon set it");
    }
    let bound = least.abs().max(most.abs());
    let text = if bound <= CLOCK_OFF_MAX_S {
        format!("its clock is right within {CLOCK_OFF_MAX_S} s")
    } else {
        format!("its clock is right within {bound:.1} s")
    };
    Line::ok("clock", on, text)
}

/// Those that are asked for must be borne; of all there is, what is not borne is left out.
fn of_nemeses(setup: &Setup, unbearable: &[Unbearable]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mend = "kchaos list nemeses shows what this cluster can bear";
    for name in &setup.nemeses {
        let of_hosts = unbearable.iter().filter(|one| one.rules_out(name)).map(ToString::to_string);
        let why: Vec<String> = match kchaos_nemeses::refused_by_inventory(&setup.inventory, name) {
            Some(why) => vec![why],
            None => of_hosts.collect(),
        };
        let text = format!("this cluster cannot bear {name}: {}", why.join("; "));
        if why.is_empty() {
            let some: Vec<String> =
                unbearable.iter().filter(|one| one.fault == name.fault && !one.everywhere).map(ToString::to_string).collect();
            if !some.is_empty() {
                lines.push(Line::warning("nemeses", CLUSTER, format!("{name}: not everywhere: {}", some.join("; ")), mend));
            }
        } else if setup.leaves_out() {
            lines.push(Line::warning("nemeses", CLUSTER, format!("{text}; it is left out"), mend));
        } else {
            lines.push(Line::fails("nemeses", CLUSTER, format!("{text}; nothing was touched"), mend));
        }
    }
    if setup.nemeses.is_empty() {
        let told = kchaos_nemeses::unbearable_told(unbearable);
        lines.extend(told.into_iter().map(|one| Line::warning("nemeses", CLUSTER, format!("not {one}"), "")));
    }
    if lines.is_empty() {
        let what = if setup.nemeses.is_empty() {
            "every fault".to_owned()
        } else {
            setup.nemeses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        lines.push(Line::ok("nemeses", CLUSTER, format!("this cluster can bear {what}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_clock_s_offset_is_bounded_by_the_question_and_its_answer() {
        assert_eq!(bounds("100.500000000", 100.0, 101.0), Some((-0.5, 0.5)));
        assert_eq!(bounds("100.%N", 100.0, 100.25), Some((-0.25, 1.0)));
        assert_eq!(bounds("100", 99.0, 99.5), Some((0.5, 2.0)));
        assert_eq!(bounds("sh: date: not found", 99.0, 99.5), None);
    }

    #[test]
    fn a_clock_that_is_surely_wrong_is_a_warning_and_one_that_may_be_right_is_not() {
        for (offset, level) in [
            ((0.6, 0.7), Level::Warning),
            ((-91.0, -89.0), Level::Warning),
            ((-0.2, 3.0), Level::Ok),
            ((0.4, 2.0), Level::Ok),
            ((-0.001, 0.001), Level::Ok),
        ] {
            assert_eq!(of_clock("b1", offset).level, level, "{offset:?}");
        }
    }
}
