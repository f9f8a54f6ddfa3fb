//! `kchaos plan` and `kchaos test --dry-run`: the schedule that the seed draws, whom it would hit as the cluster is now, the commands for each host
//! and what undoes them, and when all of it is over at the latest. Looks, and writes nothing anywhere.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use kchaos_cluster::inventory::Inventory;
use kchaos_core::{NemesisName, Plan, PlannedFault};
use kchaos_nemeses::{Doors, EngineOptions, HostPaths, RehearsedLeg};
use serde::Serialize;

use crate::cli::{Format, PlanArgs, TestArgs};
use crate::doctor::{self, Examined, Level, Line};
use crate::exit::{self, Failure};
use crate::run::{QUIET, Setup, holder, schedule_of};

/// One fault of the schedule, and what it would do.
#[derive(Debug, Serialize)]
struct Rehearsed {
    #[serde(flatten)]
    fault: PlannedFault,
    /// As the cluster is now; found again at the moment of the fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    legs: Vec<RehearsedLeg>,
    /// Why that cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    untold: Option<String>,
}

/// When it is all over, in milliseconds from the beginning of the trouble.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Ends {
    /// Every fault was held for its time, and the cluster took no time to recover.
    at_best_ms: u64,
    /// It took all the time that the inventory gives it, each time.
    at_worst_ms: u64,
    /// When kchaos is gone, a host mends itself so long after the last word from it.
    lease_ms: u64,
}

#[derive(Debug, Serialize)]
struct Told {
    seed: u64,
    cluster: String,
    command: Vec<String>,
    ends: Ends,
    /// Where clients would run, if not here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    client_hosts: Vec<String>,
    faults: Vec<Rehearsed>,
    /// What an operator does meanwhile, one after another, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<String>,
    not_ready: Vec<Line>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Line>,
}

pub(super) fn of_test(test: TestArgs) -> Result<u8, Failure> {
    run(PlanArgs { show: 5, format: Format::Text, test })
}

pub(super) fn run(args: PlanArgs) -> Result<u8, Failure> {
    let PlanArgs { show, format, test } = args;
    let inventory = super::require_inventory(&test.inventory)?;
    let setup = Setup::resolve(test, Arc::clone(&inventory))?;
    let told = super::within_network(&inventory, tell(&setup, show))??;
    match format {
        Format::Json => super::say_json(&told)?,
        Format::Text => crate::say_raw!("{}", text(&told, show)),
    }
    Ok(if told.not_ready.is_empty() { exit::VALID } else { exit::ENVIRONMENT })
}

async fn tell(setup: &Setup, show: usize) -> Result<Told, Failure> {
    let Examined { lines, ways, unbearable } = doctor::examine(setup, true).await;
    setup.leave_out(&unbearable);
    let plan = schedule_of(setup).await?;
    let mut faults = Vec::new();
    for (number, fault) in (1_u32..).zip(&plan.schedule) {
        let rehearsed = match &ways {
            Some((_, doors)) if faults.len() < show => rehearse(setup, doors, number, fault).await,
            Some(_) => Ok(Vec::new()),
            None => Err("the hosts cannot be reached".to_owned()),
        };
        let (legs, untold) = match rehearsed {
            Ok(legs) => (legs, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        faults.push(Rehearsed { fault: fault.clone(), legs, untold });
    }
    Ok(Told {
        seed: setup.seed,
        cluster: setup.inventory.cluster.name.clone(),
        ends: ends(&plan, &setup.inventory, setup.args.lease, setup.args.faults.is_none().then_some(setup.args.time_limit())),
        client_hosts: setup.options.client_hosts.clone(),
        command: plan.command,
        faults,
        warnings: lines.iter().filter(|line| line.level == Level::Warning).cloned().collect(),
        steps: setup.steps_in_words(),
        not_ready: lines.into_iter().filter(|line| line.level == Level::Fails).collect(),
    })
}

async fn rehearse(setup: &Setup, doors: &Arc<dyn Doors>, number: u32, fault: &PlannedFault) -> Result<Vec<RehearsedLeg>, String> {
    let name: NemesisName = fault.nemesis.parse()?;
    let options = EngineOptions {
        run_id: setup.run_id.clone(),
        holder: holder(),
        lease: setup.args.lease,
        journal_dir: "/nonexistent".into(),
        clock: setup.clock.clone(),
        sink: Arc::new(drop),
        // The run's own are not there yet.
        topics: Vec::new(),
        groups: setup.workload.groups(&setup.run_id),
        transactional_ids: setup.workload.transactional_ids(&setup.run_id),
        kill: setup.kill(),
        paths: HostPaths::default(),
    };
    let rehearsed = kchaos_nemeses::rehearse(Arc::clone(doors), options, &name, number, fault.seed).await;
    rehearsed.map_err(|error| format!("{:#}", anyhow::Error::from(error)))
}

/// Injecting and mending take some seconds of their own, which nobody knows before.
fn ends(plan: &Plan, inventory: &Inventory, lease: Duration, time_limit: Option<Duration>) -> Ends {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let recovery_ms = inventory.limits.recovery_timeout_s.saturating_mul(1_000);
    let lease_ms = millis(lease);
    if plan.schedule.iter().any(|fault| fault.at_ms.is_some()) {
        let last = plan.schedule.iter().map(|fault| fault.at_ms.unwrap_or(0).saturating_add(fault.duration_ms)).max().unwrap_or(0);
        return Ends { at_best_ms: last, at_worst_ms: last.saturating_add(recovery_ms), lease_ms };
    }
    let (mut at_best_ms, mut at_worst_ms) = (0_u64, 0_u64);
    for round in plan.schedule.chunk_by(|_, next| next.beside) {
        let longest = round.iter().map(|fault| fault.duration_ms).max().unwrap_or(0);
        let begins = |ends: u64| ends.saturating_add(round[0].wait_ms);
        // No fault begins after the time limit, and the one that has begun comes to its end.
        let is_late = |ends: u64| time_limit.is_some_and(|limit| begins(ends) >= millis(limit));
        if !is_late(at_best_ms) {
            at_best_ms = begins(at_best_ms).saturating_add(longest);
        }
        if !is_late(at_worst_ms) {
            at_worst_ms = begins(at_worst_ms).saturating_add(longest).saturating_add(recovery_ms);
        }
    }
    let least = if plan.schedule.is_empty() { time_limit.map_or(0, millis) } else { 0 };
    Ends { at_best_ms: at_best_ms.max(least), at_worst_ms: at_worst_ms.max(least), lease_ms }
}

fn text(told: &Told, show: usize) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = said(&mut text, told, show);
    text
}

fn said(out: &mut String, told: &Told, show: usize) -> std::fmt::Result {
    let seconds = |ms: u64| format!("{:.1} s", ms as f64 / 1_000.0);
    if !told.not_ready.is_empty() {
        writeln!(out, "A run would be refused (kchaos doctor):")?;
        doctor::groups(&told.not_ready).iter().try_for_each(|group| writeln!(out, "  {group}"))?;
        writeln!(out)?;
    }
    doctor::groups(&told.warnings).iter().try_for_each(|group| writeln!(out, "Warning: {group}"))?;
    writeln!(out, "{} faults for the cluster \"{}\", seed {}", told.faults.len(), told.cluster, told.seed)?;
    writeln!(out, "The same: {}", told.command.join(" "))?;
    writeln!(out, "Whom a fault hits is found again at its moment, from the cluster as it is then; shown is who it would be now.")?;
    if !told.client_hosts.is_empty() {
        writeln!(
            out,
            "Clients run on {}: this program is put below /var/lib/kchaos/host/worker there, and taken away at the end.",
            told.client_hosts.join(", ")
        )?;
    }
    for (number, one) in (1..).zip(&told.faults) {
        let fault = &one.fault;
        let when = match fault.at_ms {
            Some(at_ms) => format!("{} after the trouble began", seconds(at_ms)),
            None if fault.beside => "together with the one before".to_owned(),
            None => format!("{} after the cluster was whole", seconds(fault.wait_ms)),
        };
        writeln!(out, "\n{number:>3}  {}: {when}, held for {} (its seed {})", fault.nemesis, seconds(fault.duration_ms), fault.seed)?;
        if let Some(why) = &one.untold {
            writeln!(out, "     whom it would hit cannot be told now: {why}")?;
        } else if number > show {
            writeln!(out, "     (--show {number} shows its commands)")?;
        }
        one.legs.iter().try_for_each(|leg| leg_said(out, leg, told.ends.lease_ms))?;
    }
    if !told.steps.is_empty() {
        writeln!(out, "\nSteps, one after another, each daemon in sync before the next; what they change is not undone:")?;
        (1..).zip(&told.steps).try_for_each(|(number, step)| writeln!(out, "{number:>3}  {step}"))?;
        return writeln!(
            out,
            "\nThe trouble ends when the last of them is done. A host that hears nothing from kchaos for {} starts its daemon.",
            seconds(told.ends.lease_ms)
        );
    }
    let ends = &told.ends;
    writeln!(
        out,
        "\nThe trouble begins {} after the first acknowledged writes, and takes {} if the cluster is back at once,",
        seconds(u64::try_from(QUIET.as_millis()).unwrap_or(0)),
        seconds(ends.at_best_ms)
    )?;
    writeln!(
        out,
        "{} at worst (limits.recovery_timeout_s after each fault); injecting and mending add some seconds each.",
        seconds(ends.at_worst_ms)
    )?;
    writeln!(out, "A host that hears nothing from kchaos for {} mends itself. kchaos halt ends everything at once.", seconds(ends.lease_ms))
}

fn leg_said(out: &mut String, leg: &RehearsedLeg, lease_ms: u64) -> std::fmt::Result {
    writeln!(out, "     now {} on {}: {}", leg.chosen.daemon, leg.chosen.host, leg.chosen.evidence)?;
    writeln!(out, "     on {} would run (k_… are functions of kchaos' library, sent with it):", leg.chosen.host)?;
    for command in &leg.commands {
        indented(out, command)?;
    }
    writeln!(
        out,
        "     and before, to be kept there, what undoes it; its watchdog does so {} s after the last word from kchaos:",
        lease_ms / 1_000
    )?;
    indented(out, &leg.undo)
}

fn indented(out: &mut String, script: &str) -> std::fmt::Result {
    script.lines().filter(|line| !line.trim().is_empty()).try_for_each(|line| writeln!(out, "       | {line}"))
}

#[cfg(test)]
mod tests {
    use kchaos_core::Chosen;
    use serde_json::json;

    use super::*;
    use crate::schema::conform::assert_conforms;

    fn fault(wait_ms: u64, duration_ms: u64, beside: bool) -> PlannedFault {
        PlannedFault { nemesis: "kill-leader".into(), wait_ms, duration_ms, beside, ..PlannedFault::default() }
    }

    fn check(schedule: Vec<PlannedFault>, time_limit_s: Option<u64>, best_and_worst_ms: (u64, u64)) {
        let inventory = Inventory::parse(
            std::path::Path::new("kchaos.toml"),
            "[cluster]\nname = \"a\"\nenvironment = \"lab\"\nexpect_cluster_id = \"x\"\n[limits]\nrecovery_timeout_s = 100\n[ssh]\nuser = \"root\"\n\
             key_file = \"k\"\nknown_hosts_file = \"h\"\n[kafka]\nbootstrap = [\"b1:9092\"]\n[zookeeper]\nconnect = [\"b1:2181\"]\n[[host]]\n\
             name = \"b1\"\naddress = \"b1\"\n[[host.daemon]]\nkind = \"kafka\"\nid = 1\nport = 9092\nstart = \"a\"\nstop = \"b\"\n\
             find = { port = 9092 }\nlog_dir = \"/l\"\n[[host.daemon]]\nkind = \"zookeeper\"\nid = 1\nport = 2181\nstart = \"a\"\nstop = \"b\"\n\
             find = { port = 2181 }\nlog_dir = \"/l\"\n",
        )
        .unwrap();
        let plan = Plan { schedule, ..Plan::default() };
        let ends = ends(&plan, &inventory, Duration::from_secs(30), time_limit_s.map(Duration::from_secs));
        assert_eq!((ends.at_best_ms, ends.at_worst_ms), best_and_worst_ms);
    }

    #[test]
    fn the_end_counts_what_begins_together_once_and_stops_at_the_time_limit() {
        let two = || vec![fault(5_000, 10_000, false), fault(0, 12_000, true), fault(5_000, 10_000, false)];
        check(two(), None, (32_000, 232_000));
        check(two(), Some(60), (32_000, 117_000));
        check(two(), Some(4), (0, 0));
        check(Vec::new(), Some(60), (60_000, 60_000));
        let exact = PlannedFault { at_ms: Some(7_000), ..fault(0, 3_000, false) };
        check(vec![exact], Some(60), (10_000, 110_000));
    }

    #[test]
    fn what_would_be_done_conforms() {
        let ends = Ends { at_best_ms: 1, at_worst_ms: 2, lease_ms: 30_000 };
        let mut told = Told {
            seed: 7,
            cluster: "a".to_owned(),
            command: vec!["kchaos".to_owned(), "test".to_owned()],
            ends,
            client_hosts: Vec::new(),
            faults: Vec::new(),
            steps: Vec::new(),
            not_ready: Vec::new(),
            warnings: Vec::new(),
        };
        assert_conforms("dry-run", &json!(told));
        let chosen = Chosen { host: "b1".to_owned(), daemon: "kafka:1".to_owned(), evidence: "leads".to_owned(), keys_led: vec![0] };
        let leg = RehearsedLeg { chosen, about: "start it".to_owned(), commands: vec!["k_kill 7".to_owned()], undo: "k_start".to_owned() };
        let exact = PlannedFault { at_ms: Some(7_000), ..fault(0, 3_000, true) };
        told.faults = vec![
            Rehearsed { fault: fault(5_000, 10_000, false), legs: vec![leg], untold: None },
            Rehearsed { fault: exact, legs: Vec::new(), untold: Some("the hosts cannot be reached".to_owned()) },
        ];
        told.client_hosts.push("c1".to_owned());
        told.steps.push("restart kafka".to_owned());
        told.not_ready.push(Line::fails("lease", "b1", "no setsid", "install util-linux"));
        told.warnings.push(Line::warning("disk", "b1", "1 GiB free", ""));
        assert_conforms("dry-run", &json!(told));
    }
}
