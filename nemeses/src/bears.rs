//! What the hosts of a cluster can bear: each fault's needs, looked for on each host, with what would mend what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures_util::future::join_all;
use kchaos_cluster::inventory::{DaemonEntry, DiskKind, Firewall, Inventory};
use kchaos_core::{NemesisName, Target};

use crate::consent;
use crate::doors::Doors;
use crate::fault::Need;
use crate::faults::wall::Machine;
use crate::faults::{cut, disk, link};
use crate::ground::COMMAND_TIMEOUT;
use crate::helper;
use crate::host::{self, Answers, CONNECTION, CUT, Caller, DISK, HostPaths, LINK, WALL, quote};
use crate::partition;
use crate::registry::{ALL, Spec};
use crate::target::Scene;

/// One host: what it lacks, by need; or why it could not be looked at.
pub type Lacks = Result<Vec<(Need, String)>, String>;

/// A fault that this cluster cannot bear, on some or on all of its hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unbearable {
    pub fault: &'static str,
    /// Of a partition.
    pub target: Option<Target>,
    /// Why, and where: a reason that several hosts share is said once.
    pub reasons: BTreeMap<String, Vec<String>>,
    /// No host can bear it.
    pub everywhere: bool,
}

/// Looks at every host, all at once; changes nothing.
pub async fn what_hosts_lack(doors: &dyn Doors) -> BTreeMap<String, Lacks> {
    let firewall = doors.inventory().cluster.firewall;
    let looks = doors.inventory().hosts.iter().map(async |host| (host.name.clone(), lacks(doors, &host.name, firewall).await));
    join_all(looks).await.into_iter().collect()
}

async fn lacks(doors: &dyn Doors, name: &str, firewall: Firewall) -> Lacks {
    let paths = HostPaths::default();
    let caller = Caller { paths: &paths, run: "", key: "", owner: "kchaos list" };
    let mut call =
        "k_facts\nk_link_queues\n[ \"$(id -u)\" = 0 ] || echo powerless\ncommand -v ss >/dev/null 2>&1 || echo socketless".to_owned();
    for daemon in doors.inventory().hosts.iter().filter(|host| host.name == name).flat_map(|host| &host.daemons) {
        call.push_str(&own_of(daemon));
    }
    if doors.inventory().host(name).is_some_and(|host| host.clock.is_some()) {
        call.push_str(&match Machine::this() {
            Ok(machine) => format!("\n{}k_wall_look | sed -n 's/^refused /clockless /p'", machine.settings()),
            Err(why) => format!("\necho {}", quote(&format!("clockless {why}"))),
        });
    }
    let script = caller.script(&[CUT, LINK, CONNECTION, DISK, WALL], &call);
    let remote = doors.remote(name);
    let means = helper::words(&[&"bears"]);
    let answers = host::ask_as(remote.as_ref(), &script, &means, COMMAND_TIMEOUT, "the facts of the host").await;
    let answers = answers.map_err(|error| error.to_string())?;
    Ok(read(&answers, firewall))
}

/// Whether the disk and the clock that the inventory gives a daemon are there.
fn own_of(daemon: &DaemonEntry) -> String {
    let label = daemon.label();
    let mut call = match &daemon.disk {
        Some(disk) if disk.kind != DiskKind::Directory => {
            format!("\n{}_k_why=$(k_disk_is_ours) || echo \"ownless {label}: $_k_why\"", disk::settings(disk))
        }
        Some(disk) => {
            let directory = disk.data_dir.to_string_lossy();
            let said = quote(&format!("diskless {label}: {directory} (data_dir in the inventory) is not there"));
            format!("\n[ -d {} ] || echo {said}", quote(&directory))
        }
        None => String::new(),
    };
    if let Some(clock) = &daemon.clock {
        let file = clock.file.to_string_lossy();
        let said = quote(&format!("clockless {label}: {file} is not there: was the lab brought up with --clock faketime?"));
        call.push_str(&format!("\n[ -f {} ] || echo {said}", quote(&file)));
    }
    call + "\n:"
}

fn read(answers: &Answers, firewall: Firewall) -> Vec<(Need, String)> {
    let mut lacks = Vec::new();
    if answers.has("powerless") {
        let why = "commands are not run as root: log in as root, or set ssh.privilege in the inventory";
        lacks.extend([Need::Signals, Need::Manager].map(|need| (need, why.to_owned())));
    }
    lacks.extend(cut::backend(firewall, answers).err().map(|why| (Need::Firewall, why)));
    lacks.extend([Need::Netem, Need::Rate].into_iter().filter_map(|need| Some((need, link::lacks(answers, need)?))));
    if answers.has("socketless") {
        lacks.push((Need::Sockets, "ss is not there (Debian's iproute2)".to_owned()));
    }
    for (word, needs) in [("ownless", &[Need::Disk, Need::OwnDisk][..]), ("diskless", &[Need::Disk]), ("clockless", &[Need::Clock])] {
        let first = answers.get(word);
        lacks.extend(first.into_iter().flat_map(|why| needs.iter().map(|need| (*need, why.to_owned()))));
    }
    lacks
}

/// What of the registry this cluster cannot bear, in reading order.
pub async fn unbearable(doors: &dyn Doors) -> Vec<Unbearable> {
    let hosts = what_hosts_lack(doors).await;
    let by_helper = helper::is_used(doors.inventory());
    let unknown = |spec: &Spec| {
        let why = helper::refuses(spec.name).filter(|_| by_helper)?;
        Some(Unbearable { fault: spec.name, target: None, reasons: [(why, Vec::new())].into(), everywhere: true })
    };
    let mut all: Vec<Unbearable> = ALL.iter().filter_map(unknown).collect();
    let is_new = |all: &[Unbearable], fault: &str| !all.iter().any(|one| one.fault == fault && one.target.is_none());
    let by_inventory: Vec<Unbearable> =
        ALL.iter().filter(|spec| is_new(&all, spec.name)).flat_map(|spec| by_inventory(doors.inventory(), spec)).collect();
    all.extend(by_inventory);
    let of_hosts: Vec<Unbearable> = ALL.iter().filter(|spec| is_new(&all, spec.name)).filter_map(|spec| on_hosts(spec, &hosts)).collect();
    all.extend(of_hosts);
    if let Ok(view) = doors.view(&[]).await {
        let scene = Scene { inventory: doors.inventory(), view: &view, topics: &[], taken: &[], coordinator: None };
        for spec in ALL {
            for target in spec.targets.iter().filter(|target| target.is_partition()) {
                if let Err(why) = partition::choose(&scene, target, 0) {
                    let reasons = [(why, Vec::new())].into();
                    all.push(Unbearable { fault: spec.name, target: Some(target.clone()), reasons, everywhere: true });
                }
            }
        }
    }
    all.sort_by_key(|one| ALL.iter().position(|spec| spec.name == one.fault));
    all
}

/// What no host has to be asked about: disks and clocks that the inventory does not give, or does not let be touched.
fn by_inventory(inventory: &Inventory, spec: &'static Spec) -> Vec<Unbearable> {
    let name = |target: &Target| NemesisName { fault: spec.name.to_owned(), target: target.clone() };
    let refused = spec.targets.iter().filter_map(|target| Some((target.clone(), consent::ruled_out(inventory, &name(target))?)));
    let refused: Vec<(Target, String)> = refused.collect();
    let one = |target, reasons| Unbearable { fault: spec.name, target, reasons, everywhere: true };
    if refused.len() == spec.targets.len() {
        let reasons: BTreeMap<_, _> = refused.into_iter().map(|(_, why)| (why, Vec::new())).collect();
        return if reasons.is_empty() { Vec::new() } else { vec![one(None, reasons)] };
    }
    refused.into_iter().map(|(target, why)| one(Some(target), [(why, Vec::new())].into())).collect()
}

fn on_hosts(spec: &'static Spec, hosts: &BTreeMap<String, Lacks>) -> Option<Unbearable> {
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut hit = 0;
    for (host, lacks) in hosts {
        let why = match lacks {
            Err(why) => Some(why.clone()),
            Ok(lacks) => lacks.iter().find(|(need, _)| spec.needs.contains(need)).map(|(_, why)| why.clone()),
        };
        if let Some(why) = why {
            hit += 1;
            reasons.entry(why).or_default().push(host.clone());
        }
    }
    (hit > 0).then_some(Unbearable { fault: spec.name, target: None, reasons, everywhere: hit == hosts.len() })
}

impl Unbearable {
    /// Whether this one of the product is ruled out, wherever its target were found.
    pub fn rules_out(&self, name: &NemesisName) -> bool {
        let is_there = match &name.target {
            Target::Host(host) => self.reasons.values().any(|hosts| hosts.contains(host)),
            _ => self.everywhere,
        };
        is_there && self.fault == name.fault && self.target.as_ref().is_none_or(|target| *target == name.target)
    }

    fn name(&self) -> String {
        match &self.target {
            Some(target) => NemesisName { fault: self.fault.to_owned(), target: target.clone() }.to_string(),
            None => self.fault.to_owned(),
        }
    }

    fn told_reasons(&self) -> String {
        let mut text = String::new();
        for (number, (why, hosts)) in self.reasons.iter().enumerate() {
            text.push_str(if number == 0 { ": " } else { "; " });
            if !(hosts.is_empty() || self.everywhere && self.reasons.len() == 1) {
                text.push_str(&format!("on {}: ", hosts.join(", ")));
            }
            text.push_str(why);
        }
        text
    }
}

/// More than so many of one reason are counted by their targets.
const NAMED_MAX: usize = 4;

/// For people: what one reason rules out is one line.
pub fn told(all: &[Unbearable]) -> Vec<String> {
    let mut groups: Vec<Vec<&Unbearable>> = Vec::new();
    for one in all {
        let is_alike = |group: &&mut Vec<&Unbearable>| {
            let first = group[0];
            one.everywhere && first.everywhere && first.reasons == one.reasons && first.target.is_some() == one.target.is_some()
        };
        match groups.iter_mut().find(is_alike) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups.iter().map(|group| told_together(group)).collect()
}

fn told_together(group: &[&Unbearable]) -> String {
    let first = group[0];
    let targets: BTreeSet<String> = group.iter().filter_map(|one| one.target.as_ref()).map(ToString::to_string).collect();
    let names = if group.len() > NAMED_MAX && !targets.is_empty() {
        let targets: Vec<String> = targets.into_iter().collect();
        format!("{} nemeses of {}", group.len(), targets.join(" and "))
    } else {
        group.iter().map(|one| one.name()).collect::<Vec<_>>().join(", ")
    };
    format!("{names}{}", first.told_reasons())
}

impl fmt::Display for Unbearable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name(), self.told_reasons())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{find, parse};

    #[test]
    fn what_one_reason_rules_out_is_one_line() {
        let one = |fault, target: Option<Target>| Unbearable {
            fault,
            target,
            reasons: [("no quorum".into(), Vec::new())].into(),
            everywhere: true,
        };
        let mut all: Vec<Unbearable> = vec![one("fill", None), one("corrupt", None)];
        for fault in ["kill", "stop", "pause"] {
            all.extend([Target::QuorumLeader, Target::QuorumFollower].map(|target| one(fault, Some(target))));
        }
        assert_eq!(told(&all), ["fill, corrupt: no quorum", "6 nemeses of quorum-follower and quorum-leader: no quorum"]);
        let here = Unbearable { fault: "loss", target: None, reasons: [("no netem".into(), vec!["a".into()])].into(), everywhere: false };
        assert_eq!(told(&[here]), ["loss: on a: no netem"]);
    }

    fn of(fault: &str, hosts: &[(&str, Lacks)]) -> Option<Unbearable> {
        let hosts = hosts.iter().map(|(name, lacks)| ((*name).to_owned(), lacks.clone())).collect();
        on_hosts(find(fault).unwrap(), &hosts)
    }

    #[test]
    fn a_reason_that_hosts_share_is_said_once() {
        let lacks = || Ok(vec![(Need::Netem, "its kernel has no netem".to_owned())]);
        let all = of("latency", &[("b1", lacks()), ("b2", lacks())]).unwrap();
        assert_eq!(all.to_string(), "latency: its kernel has no netem");
        assert!(all.rules_out(&parse("latency-leader").unwrap()) && !all.rules_out(&parse("kill-leader").unwrap()));
        let one = of("latency", &[("b1", lacks()), ("b2", Ok(Vec::new()))]).unwrap();
        assert_eq!(one.to_string(), "latency: on b1: its kernel has no netem");
        assert!(!one.rules_out(&parse("latency-leader").unwrap()), "on b2 it can be borne");
        assert!(one.rules_out(&parse("latency-host:b1").unwrap()) && !one.rules_out(&parse("latency-host:b2").unwrap()));
        assert_eq!(of("kill", &[("b1", lacks())]), None);
    }

    #[test]
    fn a_host_that_cannot_be_looked_at_bears_nothing() {
        assert!(of("kill", &[("b1", Err("no route".to_owned()))]).unwrap().everywhere);
    }

    #[test]
    fn what_is_missing_is_read_from_what_the_host_has() {
        let has = |text: &str| read(&Answers::parse(text), Firewall::Auto).into_iter().map(|(need, _)| need).collect::<Vec<_>>();
        assert_eq!(has("firewall nftables\nqueue tbf\nqueue htb\n"), [Need::Netem]);
        assert_eq!(has("firewall iptables\nqueue tbf\nqueue htb\nqueue netem\n"), []);
        assert_eq!(has("missing tc\nsocketless\n"), [Need::Firewall, Need::Netem, Need::Rate, Need::Sockets]);
        assert_eq!(
            has("firewall nftables\nqueue tbf\nqueue htb\nqueue netem\nownless kafka:1: nothing is mounted\nclockless kafka:1: no file\n"),
            [Need::Disk, Need::OwnDisk, Need::Clock]
        );
    }
}
