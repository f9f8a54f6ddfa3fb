//! What a cut drops and what it spares, as data, and its text for nftables and for iptables.
//!
//! What is dropped stands in sets whose elements time out with the lease; what is spared stands in the rules.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

/// Which packets, seen from the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Way {
    #[default]
    Both,
    In,
    Out,
}

/// How steadily.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    #[default]
    Always,
    /// Cut for so many seconds of so many. The kernel itself keeps the beat, from packet to packet: nothing has to be alive for it, and the lease
    /// ends it like any cut.
    Flapping { cut_s: u32, cycle_s: u32 },
    /// So many packets in a hundred.
    Chance(u8),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    /// Everything from and to them.
    pub(crate) peers: BTreeSet<IpAddr>,
    /// Their address and their port: what this host asks of them.
    pub(crate) asked: BTreeSet<(IpAddr, u16)>,
    /// Their address and a port of our daemons': what they ask of this host.
    pub(crate) asking: BTreeSet<(IpAddr, u16)>,
    /// The daemons' own ports: whoever asks them is a client.
    pub(crate) ports: BTreeSet<u16>,
    /// These may ask `ports` all the same.
    pub(crate) welcome: BTreeSet<IpAddr>,
    /// Ports that the host's own daemons ask of one another by loopback.
    pub(crate) local: BTreeSet<u16>,
    /// Single connections: their address, their port, our port.
    pub(crate) connections: BTreeSet<(IpAddr, u16, u16)>,
    /// Whence commands come, and sshd's port.
    pub(crate) controller: Option<(IpAddr, u16)>,
    pub(crate) way: Way,
    pub(crate) manner: Manner,
}

/// What is dropped: its set, the fields that it matches on the way in and on the way out, and in whose name it is counted.
struct Set {
    name: &'static str,
    kind: &'static str,
    matched_in: &'static str,
    matched_out: &'static str,
    counted: &'static str,
    elements: Vec<String>,
}

impl Lines {
    pub(crate) fn is_empty(&self) -> bool {
        self.sets().is_empty()
    }

    pub(crate) fn has_ipv6(&self) -> bool {
        let pairs = self.asked.iter().chain(&self.asking).map(|(address, _)| address);
        let triples = self.connections.iter().map(|(address, ..)| address);
        self.peers.iter().chain(pairs).chain(triples).any(IpAddr::is_ipv6)
    }

    fn cuts(&self, side: Way) -> bool {
        self.way == Way::Both || self.way == side
    }

    /// Only those that have elements.
    fn sets(&self) -> Vec<Set> {
        let mut sets = Vec::new();
        let mut set = |name, kind, matched_in, matched_out, counted, elements: Vec<String>| {
            if !elements.is_empty() {
                sets.push(Set { name, kind, matched_in, matched_out, counted, elements });
            }
        };
        let of = |all: &BTreeSet<IpAddr>, ipv6: bool| all.iter().filter(|one| one.is_ipv6() == ipv6).map(IpAddr::to_string).collect();
        let pairs = |all: &BTreeSet<(IpAddr, u16)>, ipv6: bool| {
            all.iter().filter(|(address, _)| address.is_ipv6() == ipv6).map(|(address, port)| format!("{address} . {port}")).collect()
        };
        let triples = |ipv6: bool| {
            let ours = self.connections.iter().filter(|(address, ..)| address.is_ipv6() == ipv6);
            ours.map(|(address, theirs, own)| format!("{address} . {theirs} . {own}")).collect()
        };
        let (two4, two6) = ("ipv4_addr . inet_service", "ipv6_addr . inet_service");
        set("peers4", "ipv4_addr", "ip saddr", "ip daddr", "peers", of(&self.peers, false));
        set("peers6", "ipv6_addr", "ip6 saddr", "ip6 daddr", "peers", of(&self.peers, true));
        set("asked4", two4, "ip saddr . tcp sport", "ip daddr . tcp dport", "peers", pairs(&self.asked, false));
        set("asked6", two6, "ip6 saddr . tcp sport", "ip6 daddr . tcp dport", "peers", pairs(&self.asked, true));
        set("asking4", two4, "ip saddr . tcp dport", "ip daddr . tcp sport", "peers", pairs(&self.asking, false));
        set("asking6", two6, "ip6 saddr . tcp dport", "ip6 daddr . tcp sport", "peers", pairs(&self.asking, true));
        set(
            "connections4",
            "ipv4_addr . inet_service . inet_service",
            "ip saddr . tcp sport . tcp dport",
            "ip daddr . tcp dport . tcp sport",
            "connection",
            triples(false),
        );
        set(
            "connections6",
            "ipv6_addr . inet_service . inet_service",
            "ip6 saddr . tcp sport . tcp dport",
            "ip6 daddr . tcp dport . tcp sport",
            "connection",
            triples(true),
        );
        let ports = |all: &BTreeSet<u16>| all.iter().map(u16::to_string).collect();
        set("ports", "inet_service", "tcp dport", "tcp sport", "clients", ports(&self.ports));
        set("local", "inet_service", "", "", "peers", ports(&self.local));
        sets
    }

    /// The sets' elements with the lease as their timeout; `again`: instead of those that must still be there.
    pub(crate) fn nft_elements(&self, table: &str, lease: Duration, again: bool) -> String {
        let mut text = String::new();
        for Set { name, elements, .. } in self.sets() {
            if again {
                let _ = writeln!(text, "delete element inet {table} {name} {{ {} }}", elements.join(", "));
            }
            let timed: Vec<String> = elements.iter().map(|element| format!("{element} timeout {}ms", lease.as_millis())).collect();
            let _ = writeln!(text, "add element inet {table} {name} {{ {} }}", timed.join(", "));
        }
        text
    }

    /// The whole table in one transaction, instead of one that may be there half.
    pub(crate) fn nft_table(&self, table: &str, lease: Duration) -> String {
        let mut text = format!("add table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n");
        for Set { name, kind, .. } in self.sets() {
            let _ = writeln!(text, " set {name} {{ type {kind}; flags timeout; }}");
        }
        for counter in ["peers", "clients", "connection", "passed"] {
            let _ = writeln!(text, " counter {counter}_in {{ }}\n counter {counter}_out {{ }}");
        }
        if let Manner::Flapping { cut_s, cycle_s } = self.manner {
            // By interface, as a link flaps. A packet that finds no cycle begins one.
            for (set, timeout) in [("cut", cut_s), ("cycle", cycle_s)] {
                let _ = writeln!(text, " set {set} {{ type iface_index; flags dynamic,timeout; timeout {timeout}s; }}");
            }
            let _ = writeln!(text, " counter cuts {{ }}");
            for (side, interface) in [("in", "iif"), ("out", "oif")] {
                let _ = writeln!(
                    text,
                    " chain flap_{side} {{\n  meta {interface} @cut counter name peers_{side} drop\n  meta {interface} @cycle counter name passed_{side} return\n\
                     \x20 add @cycle {{ meta {interface} }}\n  add @cut {{ meta {interface} }}\n  counter name cuts\n  counter name peers_{side} drop\n }}"
                );
            }
        }
        text.push_str(&self.nft_chain(Way::In));
        text.push_str(&self.nft_chain(Way::Out));
        text.push_str("}\n");
        text.push_str(&self.nft_elements(table, lease, false));
        text
    }

    fn nft_chain(&self, side: Way) -> String {
        let is_in = side == Way::In;
        let (hook, named, address, device) =
            if is_in { ("input", "in", "saddr", "iifname") } else { ("output", "out", "daddr", "oifname") };
        let mut text = format!(" chain {hook} {{\n  type filter hook {hook} priority -300; policy accept;\n");
        if !self.local.is_empty() && !is_in {
            text.push_str("  oifname \"lo\" tcp dport @local counter name peers_out drop\n  oifname \"lo\" tcp sport @local counter name peers_out drop\n");
        }
        let _ = writeln!(text, "  {device} \"lo\" accept");
        let family = |of: &IpAddr| if of.is_ipv6() { "ip6" } else { "ip" };
        if let Some((controller, ssh)) = self.controller {
            let port = if is_in { "dport" } else { "sport" };
            let _ = writeln!(text, "  {} {address} {controller} tcp {port} {ssh} accept", family(&controller));
        }
        for set in self.sets().iter().filter(|set| !set.matched_in.is_empty()) {
            if set.name == "ports" {
                for one in &self.welcome {
                    let _ = writeln!(text, "  {} {address} {one} accept", family(one));
                }
            }
            let matched = format!("{} @{}", if is_in { set.matched_in } else { set.matched_out }, set.name);
            let dropped = format!("counter name {}_{named} drop", set.counted);
            let _ = match self.manner {
                _ if !self.cuts(side) => writeln!(text, "  {matched} counter name passed_{named}"),
                Manner::Always => writeln!(text, "  {matched} {dropped}"),
                Manner::Flapping { .. } => writeln!(text, "  {matched} jump flap_{named}"),
                Manner::Chance(percent) => {
                    writeln!(text, "  {matched} numgen random mod 100 < {percent} {dropped}\n  {matched} counter name passed_{named}")
                }
            };
        }
        text.push_str(" }\n");
        text
    }

    /// For `iptables-restore`, or `ip6tables-restore`. Each rule that counts bears, as its comment, in whose name.
    pub(crate) fn iptables(&self, chain: &str, comment: &str, ipv6: bool) -> String {
        let mut text = format!("*filter\n:{chain}-I - [0:0]\n:{chain}-O - [0:0]\n");
        for (hook, letter, side) in [("INPUT", "I", Way::In), ("OUTPUT", "O", Way::Out)] {
            let is_in = side == Way::In;
            let own = format!("{chain}-{letter}");
            let (device, address, theirs, ours) =
                if is_in { ("-i", "-s", "--sport", "--dport") } else { ("-o", "-d", "--dport", "--sport") };
            let _ = writeln!(text, "-I {hook} 1 -m comment --comment \"{comment}\" -j {own}");
            if !is_in {
                for port in &self.local {
                    for end in ["--dport", "--sport"] {
                        let _ = writeln!(text, "-A {own} -o lo -p tcp {end} {port} -m comment --comment peers -j DROP");
                    }
                }
            }
            let _ = writeln!(text, "-A {own} {device} lo -j RETURN");
            if let Some((controller, ssh)) = self.controller.filter(|(controller, _)| controller.is_ipv6() == ipv6) {
                let _ = writeln!(text, "-A {own} {address} {controller} -p tcp {ours} {ssh} -j RETURN");
            }
            let mut rule = |matched: &str, counted: &str| {
                for line in self.iptables_rules(matched, counted, chain, side) {
                    let _ = writeln!(text, "-A {own} {line}");
                }
            };
            let is_of = |one: &IpAddr| one.is_ipv6() == ipv6;
            for peer in self.peers.iter().filter(|one| is_of(one)) {
                rule(&format!("{address} {peer}"), "peers");
            }
            for (peer, port) in self.asked.iter().filter(|(one, _)| is_of(one)) {
                rule(&format!("{address} {peer} -p tcp {theirs} {port}"), "peers");
            }
            for (peer, port) in self.asking.iter().filter(|(one, _)| is_of(one)) {
                rule(&format!("{address} {peer} -p tcp {ours} {port}"), "peers");
            }
            for (client, port, own_port) in self.connections.iter().filter(|(one, ..)| is_of(one)) {
                rule(&format!("{address} {client} -p tcp {theirs} {port} {ours} {own_port}"), "connection");
            }
            for port in &self.ports {
                for one in self.welcome.iter().filter(|one| is_of(one)) {
                    rule(&format!("{address} {one} -p tcp {ours} {port}"), "welcome");
                }
                rule(&format!("-p tcp {ours} {port}"), "clients");
            }
        }
        text.push_str("COMMIT\n");
        text
    }

    fn iptables_rules(&self, matched: &str, counted: &str, chain: &str, side: Way) -> Vec<String> {
        let count = |matched: &str, name: &str, verdict: &str| format!("{matched} -m comment --comment {name}{verdict}");
        if counted == "welcome" {
            return vec![count(matched, counted, " -j RETURN")];
        }
        if !self.cuts(side) {
            return vec![count(matched, "passed", "")];
        }
        match self.manner {
            Manner::Always => vec![count(matched, counted, " -j DROP")],
            Manner::Chance(percent) => {
                let chance = format!("{matched} -m statistic --mode random --probability 0.{percent:02}");
                vec![count(&chance, counted, " -j DROP"), count(matched, "passed", "")]
            }
            Manner::Flapping { cut_s, cycle_s } => {
                // By the host's own address. The list lives as long as the rules.
                let own = if side == Way::In { "--rdest" } else { "--rsource" };
                let recent = format!("-m recent --name {chain} {own}");
                vec![
                    count(&format!("{matched} {recent} --rcheck --seconds {cut_s}"), "peers", " -j DROP"),
                    count(&format!("{matched} {recent} --rcheck --seconds {cycle_s}"), "passed", " -j RETURN"),
                    count(&format!("{matched} {recent} --set"), "cuts", " -j DROP"),
                ]
            }
        }
    }
}
