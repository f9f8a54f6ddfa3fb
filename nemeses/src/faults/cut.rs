//! What all cuts share: dropping packets in a table or chains of our own, and proving it from the cut side. What is dropped is in `cut_lines`.
//!
//! With **nftables** a table `inet kchaos_RUN_FAULT` is hooked before the host's firewall (priority -300), and the addresses and ports it
//! drops stand in sets whose elements time out with the lease: the kernel itself ends the cut. Renewal is delete and add in one
//! transaction, and the deletion of an element that has lapsed fails it: a renewal never puts a cut back. With **iptables** two chains
//! `KCHAOS-RUN_FAULT-I` and `-O` are jumped to from position 1 of INPUT and OUTPUT (a DROP behind `ESTABLISHED -j ACCEPT` does nothing to
//! live connections), IPv4 and IPv6, and the host's watchdog alone ends them.
//!
//! What is spared: loopback, so a host's own daemons go on talking to one another, by whatever address; and the SSH connection of the
//! machine that gives the commands, even if that machine is a peer. `accept` and `RETURN` only end our own rules, so what the host's
//! firewall refuses stays refused.
//!
//! Limits: forwarded packets are not cut (containers behind a bridge of the host); legacy iptables' empty tables stay loaded.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kchaos_cluster::inventory::{DaemonEntry, DaemonKind, Firewall, Host, ManagerKind};
use kchaos_cluster::remote::Means;
use kchaos_core::{Chosen, Effect, Interval, Proof};

use crate::error::{Because, FaultError};
use crate::fault::{HostFault, Injected, Undo};
use crate::faults::cut_lines::{Lines, Manner, Way};
use crate::faults::cut_seen::{Counted, Probed};
use crate::ground::Ground;
use crate::helper::{self, InWords};
use crate::host::{self, Answers, CUT, feed};

/// Who is cut from whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// The host from all other hosts of the inventory.
    Peers,
    /// And from everybody else who asks its daemons' ports.
    PeersAndClients,
    /// The host from those on the other side of a partition.
    OtherSide,
    /// The broker from ZooKeeper.
    ZooKeeper,
    /// The daemon from those of its own kind.
    OwnKind,
    /// The daemon from all who are no peers of its own kind.
    Clients,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Nftables,
    Iptables,
}

pub(crate) struct Cut {
    pub(crate) ground: Arc<Ground>,
    pub(crate) chosen: Chosen,
    backend: Backend,
    pub(crate) lines: Lines,
    /// Where those listen from whom it is cut; first those who answered before.
    pub(crate) probes: Vec<(IpAddr, u16)>,
    /// How many of them answered before.
    answered_before: usize,
    /// Where others listen who answered before and must go on answering.
    others: Vec<(IpAddr, u16)>,
    /// Whether clients are to be cut off.
    cuts_clients: bool,
    /// The chosen daemon as this machine, where the run's clients are, reaches it; `None` if it did not answer before the cut.
    pub(crate) client: Option<(String, u16)>,
}

const MENDED_TRIES: u32 = 5;

pub(crate) async fn plan(ground: Arc<Ground>, chosen: Chosen, from: From, way: Way) -> Result<Box<dyn HostFault>, FaultError> {
    Ok(Box::new(Cut::plan(ground, chosen, from, way, Manner::Always).await?))
}

/// What a plan finds out about a host.
pub(crate) struct Facts {
    pub(crate) backend: Backend,
    pub(crate) own: BTreeSet<IpAddr>,
    pub(crate) controller: Option<(IpAddr, u16)>,
}

impl Facts {
    pub(crate) async fn of(ground: &Ground, on: &str) -> Result<Self, FaultError> {
        let facts = ground.ask_as(on, &[CUT], "k_facts", &helper::words(&[&"facts"]), "the facts of the host").await;
        let facts =
            facts.map_err(|error| FaultError::environment(&ground.nemesis, format!("{on} could not be asked for its facts"), error))?;
        let backend = backend(ground.shared.doors.inventory().cluster.firewall, &facts)
            .map_err(|why| FaultError::environment(&ground.nemesis, format!("{on} cannot be cut"), Because(why)))?;
        Ok(Self { backend, own: addresses(&facts).collect(), controller: controller(&facts) })
    }
}

/// By what addresses a host is known, but those that are also ours.
pub(crate) fn addresses_of(ground: &Ground, host: &Host, own: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
    let known = ground.shared.addresses.get(&host.name);
    known.into_iter().flatten().copied().filter(|address| !own.contains(address)).collect()
}

impl Cut {
    pub(crate) async fn plan(ground: Arc<Ground>, chosen: Chosen, from: From, way: Way, manner: Manner) -> Result<Self, FaultError> {
        let facts = Facts::of(&ground, &chosen.host).await?;
        let mut cut = Self::bare(ground, chosen, &facts);
        (cut.lines.way, cut.lines.manner) = (way, manner);
        cut.cuts_clients = matches!(from, From::PeersAndClients | From::Clients);
        cut.aim(from, &facts).map_err(|reason| FaultError::refused(&cut.ground.nemesis, reason))?;
        cut.look_before().await?;
        Ok(cut)
    }

    /// Without a line to drop.
    pub(crate) fn bare(ground: Arc<Ground>, chosen: Chosen, facts: &Facts) -> Self {
        let lines = Lines { controller: facts.controller, ..Lines::default() };
        let (probes, others) = (Vec::new(), Vec::new());
        Self { ground, chosen, backend: facts.backend, lines, probes, answered_before: 0, others, cuts_clients: false, client: None }
    }

    /// Fills in what is dropped, and whom to ask whether it is.
    fn aim(&mut self, from: From, facts: &Facts) -> Result<(), String> {
        let ground = Arc::clone(&self.ground);
        let on = self.chosen.host.clone();
        let daemon =
            ground.daemon(&on, &self.chosen.daemon).ok_or_else(|| format!("{} on {on} is not in the inventory", self.chosen.daemon))?;
        if from == From::ZooKeeper && daemon.kind != DaemonKind::Kafka {
            return Err(format!(
                "{} is no broker: cut-peers cuts a ZooKeeper from its own, cut-clients from all who ask it",
                daemon.label()
            ));
        }
        for host in &ground.shared.doors.inventory().hosts {
            if host.name == on {
                self.aim_at_own(from, host, daemon);
                continue;
            }
            let theirs = addresses_of(&ground, host, &facts.own);
            for peer in &host.daemons {
                let ports = self.aim_at(from, host, daemon, peer, &theirs);
                if let Some(first) = theirs.first() {
                    let list = if ports.is_empty() { &mut self.others } else { &mut self.probes };
                    let asked = if ports.is_empty() { vec![peer.port] } else { ports };
                    list.extend(asked.into_iter().map(|port| (*first, port)));
                }
            }
        }
        if self.lines.is_empty() {
            return Err(format!("{} on {on} has nobody to be cut from", daemon.label()));
        }
        Ok(())
    }

    fn aim_at_own(&mut self, from: From, host: &Host, daemon: &DaemonEntry) {
        match from {
            From::PeersAndClients => {
                let ports = host.daemons.iter().flat_map(|daemon| daemon.peer_ports.iter().chain([&daemon.port]));
                self.lines.ports.extend(ports);
            }
            From::Clients => self.lines.ports.extend(inside(daemon).iter().chain([&daemon.port])),
            From::ZooKeeper => {
                let own = host.daemons.iter().filter(|daemon| daemon.kind == DaemonKind::Zookeeper);
                self.lines.local.extend(own.map(|daemon| daemon.port));
            }
            From::Peers | From::OtherSide | From::OwnKind => {}
        }
    }

    /// The ports of that peer which cannot be asked any more.
    fn aim_at(&mut self, from: From, host: &Host, daemon: &DaemonEntry, peer: &DaemonEntry, theirs: &[IpAddr]) -> Vec<u16> {
        let is_kin = peer.kind == daemon.kind;
        match from {
            From::Peers | From::PeersAndClients => {
                self.lines.peers.extend(theirs);
                vec![peer.port]
            }
            From::OtherSide if self.ground.cut_from.contains(&host.name) => {
                self.lines.peers.extend(theirs);
                vec![peer.port]
            }
            From::ZooKeeper if peer.kind == DaemonKind::Zookeeper => {
                let ports = || inside(peer).iter().copied().chain([peer.port]);
                self.lines.asked.extend(theirs.iter().flat_map(|address| ports().map(move |port| (*address, port))));
                // The way by which containers ask it is proved too.
                let own = theirs.iter().skip(1);
                self.probes.extend(own.flat_map(|address| inside(peer).iter().map(move |port| (*address, *port))));
                vec![peer.port]
            }
            From::OwnKind if is_kin => {
                let (their_ports, own_ports) = (between_kin(peer), between_kin(daemon));
                let pairs = |ports: &[u16]| -> Vec<(IpAddr, u16)> {
                    theirs.iter().flat_map(|address| ports.iter().map(move |port| (*address, *port))).collect()
                };
                self.lines.asked.extend(pairs(&their_ports));
                self.lines.asking.extend(pairs(&own_ports));
                their_ports
            }
            // A broker's peers ask the port that clients ask, and what is inside a container is not told apart.
            From::Clients if is_kin && (daemon.kind == DaemonKind::Kafka || !inside(daemon).is_empty()) => {
                self.lines.welcome.extend(theirs);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// What can be reached before anything is cut.
    async fn look_before(&mut self) -> Result<(), FaultError> {
        let all: Vec<(IpAddr, u16)> = self.probes.iter().chain(&self.others).copied().collect();
        let means = Means::fed(["probe"], probe_lines(&all));
        let before = self.ground.ask_as(&self.chosen.host, &[CUT], &probe_call(&all), &means, "the connections before the cut").await;
        let before = before.map_err(|error| {
            FaultError::environment(&self.ground.nemesis, format!("{} could not be looked at", self.chosen.host), error)
        })?;
        let probed = Probed::read(&before);
        self.answered_before = probed.among(&self.probes);
        self.others.retain(|one| probed.has_reached(one));
        self.probes.sort_by_key(|one| !probed.has_reached(one));
        self.client = self.find_client().await;
        Ok(())
    }

    /// Whom clients on this machine ask, if they get an answer now. A machine that is itself a peer is cut as a peer.
    pub(crate) async fn find_client(&self) -> Option<(String, u16)> {
        let is_known = |address| self.lines.peers.contains(&address) || self.lines.welcome.contains(&address);
        let is_peer = self.lines.controller.is_some_and(|(address, _)| is_known(address));
        let port = self.ground.daemon(&self.chosen.host, &self.chosen.daemon)?.port;
        let hosts = &self.ground.shared.doors.inventory().hosts;
        let address = hosts.iter().find(|host| host.name == self.chosen.host)?.address.clone();
        (!is_peer && self.ground.shared.doors.reaches(&address, port).await).then_some((address, port))
    }
}

/// The ports of a container where others beside it ask it: the one that is published may be another.
fn inside(daemon: &DaemonEntry) -> &[u16] {
    if daemon.manager == ManagerKind::Docker { &daemon.peer_ports } else { &[] }
}

/// What daemons of one kind ask of each other: ZooKeepers their quorum and election ports, brokers their listeners.
fn between_kin(daemon: &DaemonEntry) -> Vec<u16> {
    match daemon.kind {
        DaemonKind::Zookeeper => daemon.peer_ports.clone(),
        DaemonKind::Kafka | DaemonKind::Controller => daemon.peer_ports.iter().copied().chain([daemon.port]).collect(),
    }
}

pub(crate) fn backend(wanted: Firewall, facts: &Answers) -> Result<Backend, String> {
    let has = |name: &str| facts.all("firewall").any(|known| known == name);
    match wanted {
        Firewall::Auto | Firewall::Nftables if has("nftables") => Ok(Backend::Nftables),
        Firewall::Auto | Firewall::Iptables if has("iptables") => Ok(Backend::Iptables),
        Firewall::Auto => Err("neither nft nor iptables works there (are they installed, and are we root?)".to_owned()),
        Firewall::Nftables => Err("nft does not work there, and the inventory says firewall = \"nftables\"".to_owned()),
        Firewall::Iptables => Err("iptables does not work there, and the inventory says firewall = \"iptables\"".to_owned()),
    }
}

pub(crate) fn addresses(facts: &Answers) -> impl Iterator<Item = IpAddr> {
    facts.all("address").filter_map(|text| text.parse().ok())
}

fn controller(facts: &Answers) -> Option<(IpAddr, u16)> {
    let (address, port) = facts.get("controller")?.split_once(' ')?;
    // A link-local address comes with its interface.
    Some((address.split('%').next()?.parse().ok()?, port.parse().ok()?))
}

#[async_trait]
impl HostFault for Cut {
    fn host(&self) -> &str {
        &self.chosen.host
    }

    fn undo(&self) -> Undo {
        let name = self.name();
        let (mend, is_cut) = match self.backend {
            Backend::Nftables => (format!("k_nft_uncut {name}"), format!("k_nft_is_cut {name}")),
            Backend::Iptables => (format!("k_ipt_uncut {name} \"$K_STATE/undo.d/$K_KEY.base\""), format!("k_ipt_is_cut {name}")),
        };
        Undo {
            about: format!("{}: a cut of {}", self.ground.nemesis, self.chosen.host),
            parts: &[CUT],
            setup: String::new(),
            mend,
            verify: format!("! {is_cut}"),
        }
    }

    fn holds(&self) -> String {
        let name = self.name();
        match self.backend {
            Backend::Nftables => {
                let renewal = feed("nft -f - 2>/dev/null", &self.lines.nft_elements(&name, self.ground.shared.options.lease, true));
                format!(
                    "k_nft_is_cut {name} || {{ echo 'early its table is gone: the firewall was reloaded, or it was mended from elsewhere'; return 1; }}\n\
                     {renewal}\n[ $? -eq 0 ] || {{ echo 'lease the kernel has ended it'; return 1; }}"
                )
            }
            Backend::Iptables => format!(
                "k_ipt_holds {name} || {{ echo 'early its chains are gone: the firewall was reloaded, or it was mended from elsewhere'; return 1; }}"
            ),
        }
    }

    fn in_words(&self) -> Option<InWords> {
        let words = InWords::new(self.words("cut", &[]));
        Some(match self.backend {
            Backend::Nftables => {
                InWords { renewal: self.lines.nft_elements(&self.name(), self.ground.shared.options.lease, true), ..words }
            }
            Backend::Iptables => words,
        })
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        let call = self.inject_call();
        let after_ns = self.ground.now();
        let answer = self.ground.ask_armed_as(self.host(), &[CUT], &call, &self.inject_means(), "the cut").await;
        let when = Interval { after_ns, before_ns: self.ground.now() };
        let name = self.name();
        let rules = match (self.backend, &answer) {
            (Backend::Nftables, _) => vec![format!("nftables table inet {name}")],
            (Backend::Iptables, Ok(answers)) if answers.has("both") => {
                vec![format!("iptables chains {name}-I, {name}-O"), format!("ip6tables chains {name}-I, {name}-O")]
            }
            (Backend::Iptables, _) => vec![format!("iptables chains {name}-I, {name}-O")],
        };
        match answer {
            Err(error) if !host::is_unknown(&error) => {
                Err(FaultError::environment(&self.ground.nemesis, format!("the cut of {}", self.chosen.host), error))
            }
            _ => Ok(Injected { when, effect: Effect { rules, ..Effect::default() } }),
        }
    }

    async fn proof(&self) -> Result<Proof, FaultError> {
        let all: Vec<(IpAddr, u16)> = self.probes.iter().chain(&self.others).copied().collect();
        let call = format!("{{ {counters}; echo mark; {}\n{counters}; }}", probe_call(&all), counters = self.counters_call());
        let means = Means::fed(self.words("cut-proof", &[]), probe_lines(&all));
        let asked = self.ground.ask_as(self.host(), &[CUT], &call, &means, "the proof of the cut");
        // Where only clients are cut off, it is the client's packets that are counted.
        let (client_reaches, answers) =
            if self.probes.is_empty() { (self.client_reaches().await, asked.await) } else { tokio::join!(self.client_reaches(), asked) };
        let answers = answers.map_err(|error| {
            FaultError::environment(&self.ground.nemesis, format!("whether {} is cut could not be looked at", self.chosen.host), error)
        })?;
        let (counted, probed) = (Counted::read(&answers), Probed::read(&answers));
        let whose = if self.probes.is_empty() { "clients" } else { "peers" };
        let ((before, after), silent, still) = (counted.of(whose), probed.silent(&self.probes), probed.among(&self.others));
        let (clients_as_meant, clients) = match (self.cuts_clients, client_reaches) {
            // Where only clients are cut off, nothing else is there to prove it.
            (_, None) => (!self.probes.is_empty(), "; clients were not tried, since the daemon did not answer this machine before"),
            (true, Some(false)) => (true, "; a client's connection failed"),
            (true, Some(true)) => (false, "; a client's connection still comes about"),
            (false, Some(true)) => (true, "; a client still reaches it"),
            (false, Some(false)) => (false, "; a client does not reach it any more"),
        };
        let mut text = format!("from {}: ", self.chosen.host);
        if !self.probes.is_empty() {
            let _ = write!(
                text,
                "{silent} of {} connections to peers failed ({} of them answered before); ",
                self.probes.len(),
                self.answered_before
            );
        }
        if !self.others.is_empty() {
            let _ = write!(text, "{still} of {} others still answer it; ", self.others.len());
        }
        let _ = write!(text, "packets dropped: {before} then {after} from and to {whose}{clients}");
        if self.lines.way != Way::Both {
            let (_, passed) = counted.of("passed");
            let _ = write!(text, "; the other way {passed} packets passed");
        }
        let has_dropped = after > before || (self.probes.is_empty() && after > 0);
        let is_cut = probed.among(&self.probes) == 0 && (silent > 0 || self.probes.is_empty());
        Ok(Proof { proved: has_dropped && is_cut && still == self.others.len() && clients_as_meant, text })
    }

    async fn mend(&self) -> Result<Interval, String> {
        let after_ns = self.ground.now();
        let words =
            [helper::strings(&[&"uncut", &self.ground.shared.options.run_id, &self.ground.key()]), self.words("", &[])[1..].to_vec()];
        let means = Means::helper(words.concat());
        let answer = self.ground.ask_mending_as(self.host(), &[CUT], &self.undo().mend, &means, "the mending of the cut").await;
        answer.map(|_| Interval { after_ns, before_ns: self.ground.now() }).map_err(|error| error.to_string())
    }

    async fn mended(&self) -> Proof {
        let is_cut = if self.backend == Backend::Nftables { "k_nft_is_cut" } else { "k_ipt_is_cut" };
        let call = format!("if {is_cut} {}; then echo cut; else echo uncut; fi\n{}", self.name(), probe_call(&self.probes));
        let means = Means::fed(self.words("cut-mended", &[]), probe_lines(&self.probes));
        let mut text = String::new();
        for turn in 0..MENDED_TRIES {
            if turn > 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let asked = self.ground.ask_mending_as(self.host(), &[CUT], &call, &means, "the proof of mending");
            let (answers, client_reaches) = tokio::join!(asked, self.client_reaches());
            let answers = match answers {
                Ok(answers) => answers,
                Err(error) => return Proof { proved: false, text: format!("{} could not be looked at: {error}", self.chosen.host) },
            };
            let reached = Probed::read(&answers).among(&self.probes);
            let gone = answers.has("uncut");
            let rules = if gone { "no rule of ours is left" } else { "our rules are still there" };
            let clients = match client_reaches {
                None => "",
                Some(true) => "; a client's connection reaches it",
                Some(false) => "; a client's connection does not come about",
            };
            let peers = match self.probes.len() {
                0 => String::new(),
                all => format!("; {reached} of {all} connections to peers reach them"),
            };
            text = format!("on {}: {rules}{peers}{clients}", self.chosen.host);
            // Nobody could be reached before: then nobody need be reached now.
            if gone && (reached > 0 || self.answered_before == 0) && client_reaches != Some(false) {
                return Proof { proved: true, text };
            }
        }
        Proof { proved: false, text }
    }
}

impl Cut {
    /// `None` if there is nothing to compare with.
    pub(crate) async fn client_reaches(&self) -> Option<bool> {
        let (address, port) = self.client.as_ref()?;
        Some(self.ground.shared.doors.reaches(address, *port).await)
    }

    pub(crate) fn name(&self) -> String {
        match self.backend {
            Backend::Nftables => format!("kchaos_{}", self.ground.tag()),
            Backend::Iptables => format!("KCHAOS-{}", self.ground.tag()),
        }
    }

    pub(crate) fn counters_call(&self) -> String {
        let verb = if self.backend == Backend::Nftables { "k_nft_counters" } else { "k_ipt_counters" };
        format!("{verb} {}", self.name())
    }

    /// A verb of the helper about this cut.
    pub(crate) fn words(&self, verb: &str, rest: &[&dyn std::fmt::Display]) -> Vec<String> {
        let backend = if self.backend == Backend::Nftables { "nftables" } else { "iptables" };
        [helper::strings(&[&verb, &backend, &self.name()]), helper::strings(rest)].concat()
    }

    /// What `inject_call` feeds, for the helper, which holds each line against a pattern.
    fn inject_means(&self) -> Means {
        let (name, lease) = (self.name(), self.ground.shared.options.lease);
        let text = match self.backend {
            Backend::Nftables => self.lines.nft_table(&name, lease),
            Backend::Iptables => {
                let comment = format!("kchaos:{}", self.ground.shared.options.run_id);
                self.lines.iptables(&name, &comment, false) + &self.lines.iptables(&name, &comment, true)
            }
        };
        let must = if self.lines.has_ipv6() { "yes" } else { "no" };
        Means::fed(self.words("cut", &[&must]), text)
    }

    fn inject_call(&self) -> String {
        let name = self.name();
        match self.backend {
            Backend::Nftables => feed("nft -f -", &self.lines.nft_table(&name, self.ground.shared.options.lease)),
            Backend::Iptables => {
                let comment = format!("kchaos:{}", self.ground.shared.options.run_id);
                let undo = format!("k_ipt_uncut {name} /nonexistent 2>/dev/null");
                let v4 = feed("iptables-restore --noflush -w 5", &self.lines.iptables(&name, &comment, false));
                let v6 = feed("ip6tables-restore --noflush -w 5", &self.lines.iptables(&name, &comment, true));
                // Without IPv6 peers, a host without IPv6 is no less cut.
                let must = if self.lines.has_ipv6() { "return 1" } else { "return 0" };
                format!("{undo}\n{v4}\n[ $? -eq 0 ] || return 1\n{v6}\n[ $? -eq 0 ] || {must}\necho both")
            }
        }
    }
}

/// One line for each, on the standard input of `k_probes`.
pub(crate) fn probe_call(probes: &[(IpAddr, u16)]) -> String {
    feed("k_probes", &probe_lines(probes))
}

pub(crate) fn probe_lines(probes: &[(IpAddr, u16)]) -> String {
    probes.iter().fold(String::new(), |mut lines, (address, port)| {
        let _ = writeln!(lines, "{address} {port}");
        lines
    })
}

#[cfg(test)]
#[path = "cut_tests.rs"]
mod tests;
