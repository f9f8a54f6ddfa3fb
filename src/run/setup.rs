//! What a run was asked to do, resolved: flags against registries, inventory and seed. Nothing here touches the cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use anyhow::anyhow;
use chrono::{DateTime, SecondsFormat, Utc};
use kchaos_cluster::inventory::{Environment, Inventory, Privilege};
use kchaos_core::{NemesisName, Plan, PlannedFault, Recorder, Target};
use kchaos_nemeses::{KillSemantics, Unbearable};
use kchaos_workloads::{CutOff, Java, LogSink, Options, Workload};
use rand::Rng;
use rand::distr::{Distribution, StandardUniform};
use serde_json::{Value, json};

use super::admin::ProtocolAdmin;
use super::clients;
use super::cut_off::Left;
use super::exact;
use super::schedule::{Schedule, millis};
use super::{hosts, load, steps};
use crate::cli::{KillArg, TestArgs};
use crate::clock::RunClock;
use crate::exit::Failure;
use crate::slo::Slo;

/// A fault is held for the brokers' session timeout and this, so that an election happens within it.
const BEYOND_SESSION_MS: u64 = 7_000;

pub(crate) struct Setup {
    pub(crate) args: TestArgs,
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) nemeses: Vec<NemesisName>,
    /// Faults whose times are told (`--plan`, `--replay`); empty: they are drawn.
    exact: Vec<PlannedFault>,
    /// What an operator does meanwhile (`--plan`).
    pub(super) steps: Vec<steps::Planned>,
    pub(crate) workload: Box<dyn Workload>,
    pub(crate) options: Options,
    pub(crate) slos: Vec<Slo>,
    pub(crate) seed: u64,
    pub(crate) run_id: String,
    pub(crate) clock: Arc<RunClock>,
    /// Of a run that was cut off and is taken up again.
    cut_off: Option<CutOff>,
    java: Option<Java>,
    left_out: OnceLock<Vec<String>>,
}

impl Setup {
    /// Everything that can be wrong with what was typed is found here, before anything is touched.
    pub(crate) fn resolve(mut args: TestArgs, inventory: Arc<Inventory>) -> Result<Self, Failure> {
        let clock = Arc::new(RunClock::start());
        let Names { nemeses, exact, steps, options, workload, slos } = Names::resolve(&mut args)?;
        refuse_unknown_hosts(&nemeses, &inventory)?;
        steps::refuse(&steps, &inventory).map_err(|why| Failure::usage(anyhow!("{why}")))?;
        refuse_without_zookeeper(workload.as_ref(), &args.workload, &inventory)?;
        refuse_sudo_sh(&args, &inventory)?;
        hosts::refuse_unknown(&options.client_hosts, &inventory)?;
        hosts::refuse_key_store(&options, &inventory)?;
        let java = clients::java(&options, args.load.client_jars.as_deref())?;
        let limit = inventory.limits.fault_duration_max_s;
        let longest = exact.iter().map(|fault| fault.duration_ms).max().map(std::time::Duration::from_millis);
        if longest.or(args.nemesis_duration).is_some_and(|duration| duration.as_secs() > limit) {
            return Err(Failure::usage(anyhow!(
                "a fault's duration (--nemesis-duration, or in the plan) is over the inventory's limit of {limit} s (limits.fault_duration_max_s)"
            )));
        }
        let seed = args.seed.unwrap_or_else(|| u64::from(draw::<u32>()));
        let started: DateTime<Utc> = Utc::now();
        let run_id = format!("{}-{:04x}", started.format("%Y%m%d%H%M%S"), draw::<u16>());
        Ok(Self {
            args,
            inventory,
            nemeses,
            exact,
            steps,
            workload,
            options,
            slos,
            seed,
            run_id,
            clock,
            cut_off: None,
            java,
            left_out: OnceLock::new(),
        })
    }

    /// The same run once more, after it was cut off: what it was told to do, under its own name, from where its history ends.
    pub(crate) fn take_up(mut args: TestArgs, inventory: Arc<Inventory>, plan: &Plan, left: &Left) -> Result<Self, Failure> {
        args.typed.command.clone_from(&plan.command);
        let setup = Self::resolve(args, inventory)?;
        if !setup.workload.can_be_concluded() {
            return Err(Failure::usage(anyhow!(
                "runs of the workload {} cannot be read to their end by other clients: what was recorded is judged by `kchaos check`",
                plan.workload
            )));
        }
        let cut_off = CutOff { first_process: left.processes, first_client: left.clients };
        let clock = Arc::new(RunClock::take_up(plan.started_at_unix_ns, left.last_ns));
        Ok(Self { run_id: plan.run_id.clone(), seed: plan.seed, clock, cut_off: Some(cut_off), ..setup })
    }

    /// What can be wrong with the flags alone, found before a lab is brought up for them.
    pub(crate) fn refuse_wrong_names(args: &TestArgs) -> Result<(), Failure> {
        Names::resolve(&mut args.clone()).map(|_| ())
    }

    /// Whether a fault that is refused is left out: of all there is, and of several at once, some may not be possible.
    pub(crate) fn leaves_out(&self) -> bool {
        self.args.nemesis == ["all"] || self.is_guided()
    }

    /// Of all there is, what was exercised least in the results comes first.
    fn is_guided(&self) -> bool {
        self.args.nemesis == ["guided"]
    }

    /// What its plan's steps do.
    pub(crate) fn steps_in_words(&self) -> Vec<String> {
        self.steps.iter().map(|planned| planned.step.words()).collect()
    }

    /// What it is, for whoever looks on.
    pub(crate) fn title(&self, directory: &std::path::Path) -> String {
        format!("{} · {} · seed {} · {}", self.inventory.cluster.name, self.args.workload, self.seed, directory.display())
    }

    /// `<start time>-<workload>-<nemesis>`.
    pub(crate) fn directory_name(&self) -> String {
        let nemesis = match self.nemeses.as_slice() {
            [] if !self.steps.is_empty() => "steps".to_owned(),
            [] => "none".to_owned(),
            [one] => one.to_string(),
            several => format!("{}-nemeses", several.len()),
        };
        let name = format!("{}-{}-{nemesis}", self.started().format("%Y%m%dT%H%M%SZ"), self.args.workload);
        name.replace([':', '/'], "_")
    }

    pub(crate) fn plan(&self) -> Plan {
        Plan {
            run_id: self.run_id.clone(),
            started_at: self.started().to_rfc3339_opts(SecondsFormat::Millis, true),
            started_at_unix_ns: self.clock.started_at_unix_ns,
            kchaos_version: env!("CARGO_PKG_VERSION").to_owned(),
            command: self.repeat_command(),
            seed: self.seed,
            workload: self.args.workload.clone(),
            options: self.option_values(),
            nemeses: self.nemeses.iter().map(ToString::to_string).collect(),
            faults_required: u32::from(!self.nemeses.is_empty() || self.steps.iter().any(|planned| planned.step.touches_daemons())),
            steps: self.steps.iter().map(|planned| planned.as_written.clone()).collect(),
            keys: self.workload.keys(&self.run_id),
            acks: self.options.acks.name().to_owned(),
            idempotence: self.options.idempotence,
            isolation: self.options.isolation.name().to_owned(),
            consumers_via: if self.workload.groups("").is_empty() { "assign" } else { "assign, subscribe" }.into(),
            profile: self.args.profile.clone(),
            inventory: self.inventory.without_secrets(),
            slo: self.args.slo.clone(),
            facts: self.facts(),
            ..Plan::default()
        }
    }

    /// What the workload's clients are given.
    pub(crate) fn context(&self, recorder: Arc<dyn Recorder>, log: Arc<dyn LogSink>) -> Result<kchaos_workloads::Context, Failure> {
        Ok(kchaos_workloads::Context {
            run_id: self.run_id.clone(),
            seed: self.seed,
            bootstrap: self.inventory.kafka.bootstrap.join(","),
            zookeeper: if self.inventory.is_kraft() { None } else { Some(self.zookeeper()?) },
            properties: self.client_properties()?,
            recorder,
            clock: self.clock.clone(),
            log,
            cut_off: self.cut_off,
            java: self.java.clone(),
            client_hosts: Vec::new(),
            admin: ProtocolAdmin::new(&self.inventory).map(|admin| Arc::new(admin) as Arc<dyn kchaos_workloads::Admin>),
        })
    }

    fn zookeeper(&self) -> Result<kchaos_workloads::ZooKeeper, Failure> {
        let servers = kchaos_cluster::zookeeper::servers(&self.inventory).into_iter().map(|server| server.address);
        let connect = servers.collect::<Vec<_>>().join(",");
        let section = &self.inventory.zookeeper;
        let login = match (section.user.clone(), self.inventory.zookeeper_password().map_err(Failure::usage)?) {
            (Some(user), Some(password)) => Some(kchaos_workloads::ZooKeeperLogin { user, password: password.reveal().to_owned() }),
            _ => None,
        };
        let tls = kchaos_cluster::zookeeper::Access::of(section).map_err(Failure::usage)?.tls_options();
        Ok(kchaos_workloads::ZooKeeper { connect, chroot: section.chroot.clone(), login, tls })
    }

    pub(crate) fn kill(&self) -> KillSemantics {
        match self.args.kill {
            KillArg::HeldDown => KillSemantics::HeldDown,
            KillArg::Crash => KillSemantics::RevivalAllowed,
        }
    }

    /// How commands became root's, where nobody logged in as root.
    pub(crate) fn privilege(&self) -> Option<String> {
        match self.inventory.ssh.privilege() {
            Privilege::Root => None,
            Privilege::Helper => Some(format!("{}, by the helper alone", self.inventory.ssh.user)),
            Privilege::SudoSh => Some(format!("{}, by sudo sh, which may do anything (--allow-sudo-sh)", self.inventory.ssh.user)),
        }
    }

    /// Whose clients, of which version.
    pub(crate) fn clients(&self) -> String {
        let told = clients::told(self.java.as_ref());
        match self.options.client_hosts.as_slice() {
            [] => told,
            hosts => format!("{told} on {}; final reads from here", hosts.join(", ")),
        }
    }

    /// What mends the hosts when this run could not.
    pub(crate) fn heal_command(&self) -> String {
        match &self.args.inventory.inventory {
            Some(path) => format!("kchaos heal --inventory {}", path.display()),
            None => "kchaos heal".to_owned(),
        }
    }

    /// Draws the schedule, once the brokers' session timeout is known.
    pub(crate) fn schedule(&self, plan: &mut Plan, session_timeout_ms: Option<u64>) {
        if !self.exact.is_empty() {
            plan.schedule.clone_from(&self.exact);
            return;
        }
        let left_out = self.left_out.get();
        let is_drawn = |name: &String| !left_out.is_some_and(|names| names.contains(name));
        let names = self.nemeses.iter().map(ToString::to_string).filter(is_drawn).collect();
        let at_once = self.args.at_once.unwrap_or(if self.leaves_out() { 2 } else { 1 });
        let duration = self
            .args
            .nemesis_duration
            .unwrap_or_else(|| std::time::Duration::from_millis(session_timeout_ms.unwrap_or(18_000) + BEYOND_SESSION_MS));
        let mut schedule = Schedule::new(self.seed, names, self.args.nemesis_interval, duration, at_once);
        if self.is_guided() {
            schedule = schedule.guided_by(crate::coverage::guide(&self.args.results));
        }
        plan.schedule = schedule.draw(self.args.time_limit(), self.args.faults);
        if !self.nemeses.is_empty() {
            plan.facts.insert("nemesis_duration_ms".into(), millis(duration).to_string());
        }
    }

    /// The inventory's properties, with secrets resolved, below what `-X` says.
    pub(crate) fn client_properties(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut properties = BTreeMap::new();
        for (key, secret) in self.inventory.kafka_properties().map_err(Failure::usage)? {
            properties.insert(key, secret.reveal().to_owned());
        }
        Ok(properties)
    }

    /// A cluster that people depend on is broken only by somebody who types its name: what is lacking, and what to do.
    pub(crate) fn lacks_consent(&self) -> Option<(String, String)> {
        let cluster = &self.inventory.cluster;
        if cluster.environment != Environment::Production || self.args.i_understand.as_deref() == Some(cluster.name.as_str()) {
            return None;
        }
        let text = format!("the inventory calls {} a production cluster", cluster.name);
        Some((text, format!("to go on, repeat the command with --i-understand {}", cluster.name)))
    }

    /// Of all there is, what this cluster cannot bear is not drawn.
    pub(crate) fn leave_out(&self, unbearable: &[Unbearable]) -> Vec<String> {
        if !self.leaves_out() {
            return Vec::new();
        }
        let is_refused = |name: &NemesisName| {
            kchaos_nemeses::refused_by_inventory(&self.inventory, name).is_some() || unbearable.iter().any(|one| one.rules_out(name))
        };
        let names: Vec<String> = self.nemeses.iter().filter(|name| is_refused(name)).map(ToString::to_string).collect();
        self.left_out.get_or_init(|| names).clone()
    }

    /// The command as typed, with the seed that was drawn, and without what may be a secret: it is written down.
    fn repeat_command(&self) -> Vec<String> {
        let mut command = without_secrets(&self.args.typed.command);
        if self.args.seed.is_none() {
            command.extend(["--seed".into(), self.seed.to_string()]);
        }
        command
    }

    fn option_values(&self) -> BTreeMap<String, Value> {
        let mut values = match json!(self.options) {
            Value::Object(map) => map.into_iter().collect::<BTreeMap<_, _>>(),
            other => BTreeMap::from([("options".to_owned(), other)]),
        };
        // Steps end by themselves.
        let is_bound = self.steps.is_empty() || self.args.time_limit.is_some();
        values.insert("time_limit_ms".into(), json!(is_bound.then(|| millis(self.args.time_limit()))));
        values.insert("nemesis_interval_ms".into(), json!(millis(self.args.nemesis_interval)));
        if self.args.kill == KillArg::Crash {
            values.insert("kill".into(), json!("crash"));
        }
        values.insert("lease_ms".into(), json!(millis(self.args.lease)));
        values
    }

    fn facts(&self) -> BTreeMap<String, String> {
        let cluster = &self.inventory.cluster;
        let mut facts = BTreeMap::from([("cluster".to_owned(), cluster.name.clone()), ("started_by".to_owned(), holder())]);
        for (note, n) in cluster.notes.iter().zip(1..) {
            facts.insert(format!("note_{n}"), note.clone());
        }
        if let Some(preset) = &self.args.typed.preset {
            facts.insert("preset".into(), format!("{} of {}", preset.name, preset.file.display()));
        }
        facts.insert("clients".into(), self.clients());
        if let Some(how) = self.privilege() {
            facts.insert("privilege on the hosts".into(), how);
        }
        facts
    }

    fn started(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_nanos(i64::try_from(self.clock.started_at_unix_ns).unwrap_or(0))
    }
}

/// For people who find a lock, a halt or a line of the audit: `user@machine, pid 17`.
pub(crate) fn holder() -> String {
    let user = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| "somebody".into());
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}, pid {}", machine.trim(), std::process::id())
}

/// `-X KEY=VALUE` and `-XKEY=VALUE` are where a secret may be typed.
fn without_secrets(command: &[String]) -> Vec<String> {
    let mut is_property = false;
    let shown = command.iter().map(|word| match word.strip_prefix("-X") {
        _ if std::mem::take(&mut is_property) => kchaos_workloads::shown_property(word),
        Some("") => {
            is_property = true;
            word.clone()
        }
        Some(joined) => format!("-X{}", kchaos_workloads::shown_property(joined.strip_prefix('=').unwrap_or(joined))),
        None => word.clone(),
    });
    shown.collect()
}

/// What the flags name, found in the registries.
struct Names {
    nemeses: Vec<NemesisName>,
    exact: Vec<PlannedFault>,
    steps: Vec<steps::Planned>,
    options: Options,
    workload: Box<dyn Workload>,
    slos: Vec<Slo>,
}

impl Names {
    /// What a plan file or an earlier run says is put into `args`.
    fn resolve(args: &mut TestArgs) -> Result<Self, Failure> {
        let exact::Exact { faults: exact, steps } = exact::resolve(args)?;
        let spec = workload_spec(&args.workload)?;
        let options = load::options(spec, args)?;
        let workload = (spec.build)(&options).map_err(Failure::usage)?;
        let nemeses = match exact.as_slice() {
            [] => nemeses(&args.nemesis, workload.as_ref())?,
            told => {
                let mut names: Vec<String> = told.iter().map(|fault| fault.nemesis.clone()).collect();
                names.sort_unstable();
                names.dedup();
                nemeses(&names, workload.as_ref())?
            }
        };
        let slo = |text: &String| text.parse::<Slo>().map_err(|error| Failure::usage(anyhow!("--slo '{text}': {error}")));
        let slos = args.slo.iter().map(slo).collect::<Result<Vec<_>, _>>()?;
        if let Some(profile) = &args.profile {
            crate::commands::check::profile(profile)?;
        }
        Ok(Self { nemeses, exact, steps, options, workload, slos })
    }
}

fn nemeses(names: &[String], workload: &dyn Workload) -> Result<Vec<NemesisName>, Failure> {
    match names {
        [one] if one == "none" => return Ok(Vec::new()),
        // What only a plan file can bring about, and what this workload lacks, is not among all there is.
        [one] if one == "all" || one == "guided" => {
            let known = kchaos_nemeses::names().filter(|name| name.target != Target::LastIsr);
            return Ok(known
                .filter(|name| lacks(&name.target, workload).is_none() && workload.clashes_with(&name.to_string()).is_none())
                .collect());
        }
        _ => {}
    }
    let found: Result<Vec<NemesisName>, _> = names.iter().map(|name| kchaos_nemeses::parse(name).map_err(Failure::usage)).collect();
    let found = found?;
    for nemesis in &found {
        if let Some(what) = lacks(&nemesis.target, workload) {
            return Err(Failure::usage(anyhow!("nemesis \"{nemesis}\": the workload has no {what}")));
        }
        if let Some(why) = workload.clashes_with(&nemesis.to_string()) {
            return Err(Failure::usage(anyhow!("nemesis \"{nemesis}\" cannot be had with this workload: {why}")));
        }
    }
    Ok(found)
}

/// A leader or a coordinator is broken where the workload has something to lead or to coordinate: what it lacks.
fn lacks(target: &Target, workload: &dyn Workload) -> Option<&'static str> {
    match target {
        Target::Leader | Target::Follower | Target::LastIsr => {
            workload.topics("").is_empty().then_some("topic, so nobody leads it (zk-leader is ZooKeeper's)")
        }
        Target::GroupCoordinator => workload.groups("").is_empty().then_some("consumer group, so nothing of it is coordinated"),
        Target::TxnCoordinator => workload.transactional_ids("").is_empty().then_some("transactional id, so nothing of it is coordinated"),
        _ => None,
    }
}

/// A shell by sudo is root with another name: who uses it says so.
fn refuse_sudo_sh(args: &TestArgs, inventory: &Inventory) -> Result<(), Failure> {
    if inventory.ssh.privilege() != Privilege::SudoSh || args.allow_sudo_sh {
        return Ok(());
    }
    Err(Failure::environment(anyhow!(
        "the inventory has commands run by `sudo sh`, which may do anything on a host: repeat the command with --allow-sudo-sh, or let kchaos have \
         fixed verbs alone (kchaos inventory install-helper, ssh.privilege = \"helper\"; docs/least-privilege.md)"
    )))
}

/// Registers are ZooKeeper's.
fn refuse_without_zookeeper(workload: &dyn Workload, name: &str, inventory: &Inventory) -> Result<(), Failure> {
    if !inventory.is_kraft() || !workload.topics("").is_empty() {
        return Ok(());
    }
    Err(Failure::usage(anyhow!(
        "workload \"{name}\": it asks ZooKeeper alone, and this cluster is KRaft's, without ZooKeeper: any other workload can be had (kchaos list workloads)"
    )))
}

/// A target by a host's name is known only with the inventory.
fn refuse_unknown_hosts(nemeses: &[NemesisName], inventory: &Inventory) -> Result<(), Failure> {
    for nemesis in nemeses {
        if let Target::Host(host) = &nemesis.target
            && inventory.host(host).is_none()
        {
            let known = inventory.hosts.iter().map(|host| host.name.as_str());
            return Err(Failure::usage(anyhow!("nemesis \"{nemesis}\": the inventory has no host \"{host}\"{}", nearest(host, known))));
        }
    }
    Ok(())
}

/// From the operating system: the one draw that no seed decides.
fn draw<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    rand::rng().random()
}

fn workload_spec(name: &str) -> Result<&'static kchaos_workloads::Spec, Failure> {
    kchaos_workloads::ALL.iter().find(|spec| spec.name == name).ok_or_else(|| {
        let names = kchaos_workloads::ALL.iter().map(|spec| spec.name);
        Failure::usage(anyhow!("unknown workload \"{name}\"{}", nearest(name, names)))
    })
}

/// `: did you mean "x"? There are x, y, z`.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let list = known.clone().collect::<Vec<_>>().join(", ");
    let best = known.map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate)).min();
    match best {
        Some((distance, candidate)) if distance <= 3 => format!(": did you mean \"{candidate}\"? There are: {list}"),
        _ => format!("; there are: {list}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_was_typed_is_not_written_down_with_the_command() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let command =
            words("kchaos test -X sasl.password=hunter2 -Xssl.key.password=hunter2 -X linger.ms=0 -X sasl.password=env:P -w append");
        let expect =
            words("kchaos test -X sasl.password=<hidden> -Xssl.key.password=<hidden> -X linger.ms=0 -X sasl.password=env:P -w append");
        assert_eq!(without_secrets(&command), expect);
    }
}
