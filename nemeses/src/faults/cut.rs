//! What `isolate` and `depose` share: cutting a host off, in a table or chains of our own, and proving it from the cut side.
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
use kchaos_cluster::inventory::Firewall;
use kchaos_core::{Chosen, Effect, Interval, Proof};

use crate::error::{Because, FaultError};
use crate::fault::{HostFault, Injected, Undo};
use crate::ground::Ground;
use crate::host::{self, Answers, CUT, feed};

/// From whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// All other hosts of the inventory.
    Peers,
    /// And everybody else who asks the daemons' ports.
    PeersAndClients,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backend {
    Nftables,
    Iptables,
}

/// What is cut and what is spared, as data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lines {
    peers: BTreeSet<IpAddr>,
    /// The daemons' own ports: whoever asks them is a client.
    ports: BTreeSet<u16>,
    /// Whence commands come, and sshd's port.
    controller: Option<(IpAddr, u16)>,
}

struct Cut {
    ground: Arc<Ground>,
    chosen: Chosen,
    backend: Backend,
    lines: Lines,
    /// Where peers listen.
    probes: Vec<(IpAddr, u16)>,
    /// How many of them answered before.
    answered_before: usize,
    from: From,
    /// The chosen daemon as this machine, where the run's clients are, reaches it; `None` if it did not answer before the cut.
    client: Option<(String, u16)>,
}

const MENDED_TRIES: u32 = 5;

pub(crate) async fn plan(ground: Arc<Ground>, chosen: Chosen, from: From) -> Result<Box<dyn HostFault>, FaultError> {
    let on = &chosen.host;
    let facts = ground.ask(on, &[CUT], "k_facts", "the facts of the host").await;
    let facts = facts.map_err(|error| FaultError::environment(&ground.nemesis, format!("{on} could not be asked for its facts"), error))?;
    let backend = backend(ground.shared.doors.inventory().cluster.firewall, &facts)
        .map_err(|why| FaultError::environment(&ground.nemesis, format!("{on} cannot be cut"), Because(why)))?;
    let own: BTreeSet<IpAddr> = addresses(&facts).collect();
    let mut lines = Lines { controller: controller(&facts), ..Lines::default() };
    let mut probes = Vec::new();
    for host in &ground.shared.doors.inventory().hosts {
        if host.name == *on {
            if from == From::PeersAndClients {
                let ports = host.daemons.iter().flat_map(|daemon| daemon.peer_ports.iter().chain([&daemon.port]));
                lines.ports.extend(ports);
            }
            continue;
        }
        let known = ground.shared.addresses.get(&host.name);
        let theirs: Vec<IpAddr> = known.into_iter().flatten().copied().filter(|address| !own.contains(address)).collect();
        if let Some(first) = theirs.first() {
            probes.extend(host.daemons.iter().map(|daemon| (*first, daemon.port)));
        }
        lines.peers.extend(theirs);
    }
    if lines.peers.is_empty() && lines.ports.is_empty() {
        return Err(FaultError::refused(&ground.nemesis, format!("{on} has no peer to be cut from")));
    }
    let mut cut =
        Cut { ground: Arc::clone(&ground), chosen: chosen.clone(), backend, lines, probes, answered_before: 0, from, client: None };
    let before = ground.ask(on, &[CUT], &cut.probe_call(), "the connections before the cut").await;
    let before = before.map_err(|error| FaultError::environment(&ground.nemesis, format!("{on} could not be looked at"), error))?;
    cut.answered_before = Probed::read(&before).reached;
    cut.client = client(&cut).await;
    Ok(Box::new(cut))
}

/// Whom clients on this machine ask, if they get an answer now. A machine that is itself a peer is cut as a peer.
async fn client(cut: &Cut) -> Option<(String, u16)> {
    let is_peer = cut.lines.controller.is_some_and(|(address, _)| cut.lines.peers.contains(&address));
    let port = cut.ground.daemon(&cut.chosen.host, &cut.chosen.daemon)?.port;
    let hosts = &cut.ground.shared.doors.inventory().hosts;
    let address = hosts.iter().find(|host| host.name == cut.chosen.host)?.address.clone();
    (!is_peer && cut.ground.shared.doors.reaches(&address, port).await).then_some((address, port))
}

fn backend(wanted: Firewall, facts: &Answers) -> Result<Backend, String> {
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

    async fn inject(&self) -> Result<Injected, FaultError> {
        let call = self.inject_call();
        let after_ns = self.ground.now();
        let answer = self.ground.ask_armed(self.host(), &[CUT], &call, "the cut").await;
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
        let call = format!("{{ {counters}; echo mark; {}\n{counters}; }}", self.probe_call(), counters = self.counters_call());
        let asked = self.ground.ask(self.host(), &[CUT], &call, "the proof of the cut");
        let (answers, client_reaches) = tokio::join!(asked, self.client_reaches());
        let answers = answers.map_err(|error| {
            FaultError::environment(&self.ground.nemesis, format!("whether {} is cut could not be looked at", self.chosen.host), error)
        })?;
        let (before, after) = Counted::read(&answers);
        let probed = Probed::read(&answers);
        let grew = after.peers > before.peers || (self.probes.is_empty() && after.clients > before.clients);
        let (clients_as_meant, clients) = match (self.from, client_reaches) {
            (_, None) => (true, "; clients were not tried, since the daemon did not answer this machine before"),
            (From::PeersAndClients, Some(false)) => (true, "; a client's connection failed"),
            (From::PeersAndClients, Some(true)) => (false, "; a client's connection still comes about"),
            (From::Peers, Some(true)) => (true, "; a client still reaches it"),
            (From::Peers, Some(false)) => (false, "; a client does not reach it any more"),
        };
        Ok(Proof {
            proved: grew && probed.reached == 0 && (probed.silent > 0 || self.probes.is_empty()) && clients_as_meant,
            text: format!(
                "from {}: {} of {} connections to peers failed ({} of them answered before); packets dropped: {} then {} from and to peers{clients}",
                self.chosen.host,
                probed.silent,
                self.probes.len(),
                self.answered_before,
                before.peers,
                after.peers,
            ),
        })
    }

    async fn mend(&self) -> Result<Interval, String> {
        let after_ns = self.ground.now();
        let answer = self.ground.ask_mending(self.host(), &[CUT], &self.undo().mend, "the mending of the cut").await;
        answer.map(|_| Interval { after_ns, before_ns: self.ground.now() }).map_err(|error| error.to_string())
    }

    async fn mended(&self) -> Proof {
        let is_cut = if self.backend == Backend::Nftables { "k_nft_is_cut" } else { "k_ipt_is_cut" };
        let call = format!("if {is_cut} {}; then echo cut; else echo uncut; fi\n{}", self.name(), self.probe_call());
        let mut text = String::new();
        for turn in 0..MENDED_TRIES {
            if turn > 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let asked = self.ground.ask_mending(self.host(), &[CUT], &call, "the proof of mending");
            let (answers, client_reaches) = tokio::join!(asked, self.client_reaches());
            let answers = match answers {
                Ok(answers) => answers,
                Err(error) => return Proof { proved: false, text: format!("{} could not be looked at: {error}", self.chosen.host) },
            };
            let probed = Probed::read(&answers);
            let gone = answers.has("uncut");
            let rules = if gone { "no rule of ours is left" } else { "our rules are still there" };
            let clients = match client_reaches {
                None => "",
                Some(true) => "; a client's connection reaches it",
                Some(false) => "; a client's connection does not come about",
            };
            text = format!(
                "on {}: {rules}; {} of {} connections to peers reach them{clients}",
                self.chosen.host,
                probed.reached,
                self.probes.len()
            );
            // Nobody could be reached before: then nobody need be reached now.
            if gone && (probed.reached > 0 || self.answered_before == 0) && client_reaches != Some(false) {
                return Proof { proved: true, text };
            }
        }
        Proof { proved: false, text }
    }
}

impl Cut {
    /// `None` if there is nothing to compare with.
    async fn client_reaches(&self) -> Option<bool> {
        let (address, port) = self.client.as_ref()?;
        Some(self.ground.shared.doors.reaches(address, *port).await)
    }

    fn name(&self) -> String {
        match self.backend {
            Backend::Nftables => format!("kchaos_{}", self.ground.tag()),
            Backend::Iptables => format!("KCHAOS-{}", self.ground.tag()),
        }
    }

    fn probe_call(&self) -> String {
        let lines: String = self.probes.iter().fold(String::new(), |mut lines, (address, port)| {
            let _ = writeln!(lines, "{address} {port}");
            lines
        });
        feed("k_probes", &lines)
    }

    fn counters_call(&self) -> String {
        let verb = if self.backend == Backend::Nftables { "k_nft_counters" } else { "k_ipt_counters" };
        format!("{verb} {}", self.name())
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
                let must = if self.lines.peers.iter().any(IpAddr::is_ipv6) { "return 1" } else { "return 0" };
                format!("{undo}\n{v4}\n[ $? -eq 0 ] || return 1\n{v6}\n[ $? -eq 0 ] || {must}\necho both")
            }
        }
    }
}

impl Lines {
    fn peers_of(&self, ipv6: bool) -> Vec<String> {
        self.peers.iter().filter(|address| address.is_ipv6() == ipv6).map(IpAddr::to_string).collect()
    }

    /// The sets' elements with the lease as their timeout; `again`: instead of those that must still be there.
    fn nft_elements(&self, table: &str, lease: Duration, again: bool) -> String {
        let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
        let mut text = String::new();
        for (set, elements) in [("peers4", self.peers_of(false)), ("peers6", self.peers_of(true)), ("ports", ports)] {
            if elements.is_empty() {
                continue;
            }
            if again {
                let _ = writeln!(text, "delete element inet {table} {set} {{ {} }}", elements.join(", "));
            }
            let timed: Vec<String> = elements.iter().map(|element| format!("{element} timeout {}ms", lease.as_millis())).collect();
            let _ = writeln!(text, "add element inet {table} {set} {{ {} }}", timed.join(", "));
        }
        text
    }

    /// The whole table in one transaction, instead of one that may be there half.
    fn nft_table(&self, table: &str, lease: Duration) -> String {
        let chain = |hook: &str, side: &str, address: &str, port: &str, device: &str| {
            let spared = self.controller.map_or_else(String::new, |(controller, ssh)| {
                let family = if controller.is_ipv6() { "ip6" } else { "ip" };
                format!("  {family} {address} {controller} tcp {port} {ssh} accept\n")
            });
            format!(
                " chain {hook} {{\n  type filter hook {hook} priority -300; policy accept;\n  {device} \"lo\" accept\n{spared}\
                 \x20 ip {address} @peers4 counter name peers_{side} drop\n  ip6 {address} @peers6 counter name peers_{side} drop\n\
                 \x20 tcp {port} @ports counter name clients_{side} drop\n }}\n"
            )
        };
        format!(
            "add table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n set peers4 {{ type ipv4_addr; flags timeout; }}\n \
             set peers6 {{ type ipv6_addr; flags timeout; }}\n set ports {{ type inet_service; flags timeout; }}\n counter peers_in {{ }}\n \
             counter peers_out {{ }}\n counter clients_in {{ }}\n counter clients_out {{ }}\n{}{}}}\n{}",
            chain("input", "in", "saddr", "dport", "iifname"),
            chain("output", "out", "daddr", "sport", "oifname"),
            self.nft_elements(table, lease, false),
        )
    }

    fn iptables(&self, chain: &str, comment: &str, ipv6: bool) -> String {
        let mut text = format!("*filter\n:{chain}-I - [0:0]\n:{chain}-O - [0:0]\n");
        for (hook, side, device, address, port) in [("INPUT", "I", "-i", "-s", "--dport"), ("OUTPUT", "O", "-o", "-d", "--sport")] {
            let _ = writeln!(text, "-I {hook} 1 -m comment --comment \"{comment}\" -j {chain}-{side}");
            let _ = writeln!(text, "-A {chain}-{side} {device} lo -j RETURN");
            if let Some((controller, ssh)) = self.controller.filter(|(controller, _)| controller.is_ipv6() == ipv6) {
                let _ = writeln!(text, "-A {chain}-{side} {address} {controller} -p tcp {port} {ssh} -j RETURN");
            }
            for peer in self.peers_of(ipv6) {
                let _ = writeln!(text, "-A {chain}-{side} {address} {peer} -j DROP");
            }
            for number in &self.ports {
                let _ = writeln!(text, "-A {chain}-{side} -p tcp {port} {number} -j DROP");
            }
        }
        text.push_str("COMMIT\n");
        text
    }
}

/// Packets that our rules dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    peers: u64,
    clients: u64,
}

impl Counted {
    /// Before and after the line `mark`.
    fn read(answers: &Answers) -> (Self, Self) {
        let (mut before, mut after, mut marked) = (Self::default(), Self::default(), false);
        for (word, rest) in answers.iter() {
            marked |= word == "mark";
            let counted = if marked { &mut after } else { &mut before };
            if let (true, Some((name, Ok(packets)))) =
                (word == "counter", rest.split_once(' ').map(|(name, text)| (name, text.parse::<u64>())))
            {
                let sum = if name.starts_with("peers") { &mut counted.peers } else { &mut counted.clients };
                *sum = sum.saturating_add(packets);
            }
        }
        (before, after)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Probed {
    /// A refused connection reached the host all the same.
    reached: usize,
    silent: usize,
}

impl Probed {
    fn read(answers: &Answers) -> Self {
        let ends = |ends: &[&str]| answers.all("probe").filter(|rest| ends.iter().any(|end| rest.ends_with(end))).count();
        Self { reached: ends(&[" open", " refused"]), silent: ends(&[" silent"]) }
    }
}

#[cfg(test)]
#[path = "cut_tests.rs"]
mod tests;
