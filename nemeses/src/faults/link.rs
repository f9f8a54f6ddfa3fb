//! The quality of a line: `latency`, `jitter`, `corrupt-packets`, `reorder`, `duplicate` (and `loss`) by netem, `slow` by a token bucket.
//!
//! On every device that leads to a peer we put a root queue of our own (htb, handle `4b43:`), under which one class is delayed, and filters
//! that lead to that class what goes to the cluster's hosts and what the host's daemons answer their clients. Everything else (SSH of the
//! machine that commands above all) goes by as before. It is what the host says that is delayed; what it hears is not.
//!
//! A device whose root queue somebody chose is refused, not changed. tc knows no timeouts: the host's watchdog holds the lease.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use kchaos_core::{Chosen, Effect, Interval, Proof, Target};

use crate::error::{Because, FaultError};
use crate::fault::{HostFault, Injected, Need, Scope, Undo};
use crate::faults::ROLES;
use crate::faults::cut::{Facts, addresses_of};
use crate::ground::Ground;
use crate::host::{self, Answers, LINK, feed};
use crate::registry::Spec;

/// What is done to packets, and how it is seen.
pub(crate) struct Quality {
    /// The queue under our class.
    queue: &'static str,
    seen: Seen,
}

/// Times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Every connection takes that much longer to come about.
    Later(u32),
    /// Connections take longer, and by more than that differently long.
    Uneven(u32),
    /// Some connections take that much longer, and some do not: they overtake.
    Overtaken(u32),
    /// The queue says that it dropped some.
    Dropped,
    /// A peer counts wrong checksums.
    Corrupt,
    /// A peer hears more than was said.
    Twice,
    /// The queue takes no more than so many bits a second.
    Slow(u64),
}

const LATENCY_QUALITY: Quality = Quality { queue: "netem delay 100ms limit 100000", seen: Seen::Later(100) };
const JITTER_QUALITY: Quality = Quality { queue: "netem delay 50ms 40ms limit 100000", seen: Seen::Uneven(10) };
pub(crate) const NETEM_LOSS: Quality = Quality { queue: "netem loss 20% limit 100000", seen: Seen::Dropped };
const CORRUPT_QUALITY: Quality = Quality { queue: "netem corrupt 10% limit 100000", seen: Seen::Corrupt };
const REORDER_QUALITY: Quality = Quality { queue: "netem delay 50ms reorder 50% limit 100000", seen: Seen::Overtaken(50) };
const DUPLICATE_QUALITY: Quality = Quality { queue: "netem duplicate 20% limit 100000", seen: Seen::Twice };
const SLOW_QUALITY: Quality = Quality { queue: "tbf rate 1mbit burst 16kb latency 400ms", seen: Seen::Slow(1_000_000) };

const NETEM: &[Need] = &[Need::Netem];

const fn spec(name: &'static str, about: &'static str, needs: &'static [Need], plan: crate::fault::Plan) -> Spec {
    const TARGETS: &[Target] = ROLES;
    Spec { name, about, targets: TARGETS, needs, scope: Scope::Link, plan }
}

pub(crate) const LATENCY: Spec =
    spec("latency", "what the host says comes 100 ms later", NETEM, |ground, chosen| Box::pin(plan(ground, chosen, &LATENCY_QUALITY)));
pub(crate) const JITTER: Spec =
    spec("jitter", "what the host says comes 10 to 90 ms later", NETEM, |ground, chosen| Box::pin(plan(ground, chosen, &JITTER_QUALITY)));
pub(crate) const CORRUPT: Spec =
    spec("corrupt-packets", "one bit is wrong in 10 of 100 packets that the host sends", NETEM, |ground, chosen| {
        Box::pin(plan(ground, chosen, &CORRUPT_QUALITY))
    });
pub(crate) const REORDER: Spec =
    spec("reorder", "half of what the host says is overtaken by the other half, by 50 ms", NETEM, |ground, chosen| {
        Box::pin(plan(ground, chosen, &REORDER_QUALITY))
    });
pub(crate) const DUPLICATE: Spec = spec("duplicate", "20 of 100 packets that the host sends come twice", NETEM, |ground, chosen| {
    Box::pin(plan(ground, chosen, &DUPLICATE_QUALITY))
});
pub(crate) const SLOW: Spec = spec("slow", "the host sends 1 Mbit a second, by a token bucket", &[Need::Rate], |ground, chosen| {
    Box::pin(plan(ground, chosen, &SLOW_QUALITY))
});

/// Connections are measured so many times.
const CONNECTS: u32 = 20;
/// Datagrams are sent so many.
const DATAGRAMS: u32 = 200;
const TURNS: u32 = 3;

struct Link {
    ground: Arc<Ground>,
    chosen: Chosen,
    quality: &'static Quality,
    devices: BTreeSet<String>,
    peers: BTreeSet<IpAddr>,
    ports: BTreeSet<u16>,
    controller: Option<(IpAddr, u16)>,
    /// The peer that is asked: its host, address and port.
    asked: (String, IpAddr, u16),
    /// How long connections to it took before, in microseconds.
    before: Vec<u64>,
}

/// Whether the host's kernel has netem.
pub(crate) async fn has_netem(ground: &Ground, on: &str) -> Result<bool, FaultError> {
    let answers = ground.ask(on, &[LINK], "k_link_queues", "the queues of the host").await;
    let answers = answers.map_err(|error| FaultError::environment(&ground.nemesis, format!("{on} could not be looked at"), error))?;
    Ok(lacks(&answers, Need::Netem).is_none())
}

/// What the host lacks for it, in words.
pub(crate) fn lacks(answers: &Answers, need: Need) -> Option<String> {
    if let Some(tool) = answers.get("missing") {
        let package = match tool {
            "tc" => "iproute2",
            "unshare" => "util-linux",
            tool => tool,
        };
        return Some(format!("{tool} is not there (Debian's {package})"));
    }
    let queue = if need == Need::Netem { "netem" } else { "tbf" };
    let has = |name: &str| answers.all("queue").any(|known| known == name);
    if !has(queue) {
        let module = if queue == "netem" { " (the module sch_netem; \"loss\" and \"slow\" do without)" } else { "" };
        return Some(format!("its kernel has no {queue}{module}"));
    }
    (!has("htb")).then(|| "its kernel has no htb with u32 filters (the modules sch_htb and cls_u32)".to_owned())
}

pub(crate) async fn plan(ground: Arc<Ground>, chosen: Chosen, quality: &'static Quality) -> Result<Box<dyn HostFault>, FaultError> {
    let on = chosen.host.clone();
    let facts = Facts::of(&ground, &on).await?;
    let inventory = ground.shared.doors.inventory();
    let (mut peers, mut ports, mut asked) = (BTreeSet::new(), BTreeSet::new(), None);
    for host in &inventory.hosts {
        if host.name == on {
            ports.extend(host.daemons.iter().map(|daemon| daemon.port));
            continue;
        }
        let theirs = addresses_of(&ground, host, &facts.own);
        if let (None, Some(address), Some(daemon)) = (&asked, theirs.first(), host.daemons.first()) {
            asked = Some((host.name.clone(), *address, daemon.port));
        }
        peers.extend(theirs);
    }
    let asked = asked.ok_or_else(|| FaultError::refused(&ground.nemesis, format!("{on} has no peer")))?;
    let list: String = peers.iter().map(|peer| format!("{peer}\n")).collect();
    let connects = format!("k_link_connects {} {} 5", asked.1, asked.2);
    let call = format!("k_link_queues\n{}\n{connects}", feed("k_link_devices", &list));
    let answers = ground.ask(&on, &[LINK], &call, "the devices of the host").await;
    let answers = answers.map_err(|error| FaultError::environment(&ground.nemesis, format!("{on} could not be looked at"), error))?;
    let need = if quality.queue.starts_with("netem") { Need::Netem } else { Need::Rate };
    if let Some(why) = lacks(&answers, need) {
        return Err(FaultError::environment(&ground.nemesis, format!("{on} cannot bear it"), Because(why)));
    }
    let devices = devices(&answers).map_err(|why| FaultError::refused(&ground.nemesis, format!("{on}: {why}")))?;
    let before = connects_of(&answers);
    if before.is_empty() {
        return Err(FaultError::refused(
            &ground.nemesis,
            format!("{on} does not reach {} port {}: nothing could be measured", asked.1, asked.2),
        ));
    }
    let controller = facts.controller;
    Ok(Box::new(Link { ground, chosen, quality, devices, peers, ports, controller, asked, before }))
}

/// Devices whose queue is the kernel's own choice: handle 0.
fn devices(answers: &Answers) -> Result<BTreeSet<String>, String> {
    let mut devices = BTreeSet::new();
    for rest in answers.all("device") {
        let words: Vec<&str> = rest.split(' ').collect();
        match words[..] {
            [device, _, "0:"] => drop(devices.insert(device.to_owned())),
            [device, kind, handle] => {
                return Err(format!("the root queue of {device} is {kind} {handle}, which somebody has put there: it is left alone"));
            }
            _ => return Err(format!("the root queue of \"{rest}\" could not be read")),
        }
    }
    if devices.is_empty() { Err("no device leads to a peer".to_owned()) } else { Ok(devices) }
}

fn connects_of(answers: &Answers) -> Vec<u64> {
    let mut times: Vec<u64> = answers.all("connect").filter_map(|text| text.parse().ok()).collect();
    times.sort_unstable();
    times
}

/// Bytes, packets, dropped, overlimits: each time that they were told.
fn counts(answers: &Answers) -> Vec<[u64; 4]> {
    let read = |text: &str| -> Option<[u64; 4]> {
        let words: Result<Vec<u64>, _> = text.split(' ').map(str::parse).collect();
        words.ok()?.try_into().ok()
    };
    answers.all("counts").filter_map(read).collect()
}

fn udp(answers: &Answers) -> Option<(u64, u64)> {
    let (ports, sums) = answers.get("udp")?.split_once(' ')?;
    Some((ports.parse().ok()?, sums.parse().ok()?))
}

impl Link {
    /// The commands that put it there, for one device after the other; the first that fails ends it.
    fn script(&self) -> String {
        let mut text = String::new();
        for device in self.devices.iter().map(|device| host::quote(device)) {
            let mut tc = |rest: String| {
                let _ = writeln!(text, "tc {rest} || return 1");
            };
            tc(format!("qdisc add dev {device} root handle 4b43: htb default 0"));
            tc(format!("class add dev {device} parent 4b43: classid 4b43:1 htb rate 100gbit quantum 60000"));
            tc(format!("qdisc add dev {device} parent 4b43:1 handle 4b44: {}", self.quality.queue));
            let mut filter = |turn: u32, ipv6: bool, matched: String, class: u32| {
                let (family, priority) = if ipv6 { ("ipv6", turn * 2) } else { ("ip", turn * 2 - 1) };
                tc(format!("filter add dev {device} parent 4b43: protocol {family} prio {priority} u32 {matched} flowid 4b43:{class}"));
            };
            let word = |ipv6: bool| if ipv6 { "ip6" } else { "ip" };
            let to = |address: &IpAddr| {
                let (word, bits) = if address.is_ipv6() { ("ip6", 128) } else { ("ip", 32) };
                format!("match {word} dst {address}/{bits}")
            };
            let tcp_from = |ipv6: bool, port: u16| {
                let word = word(ipv6);
                format!("match {word} protocol 6 0xff match {word} sport {port} 0xffff")
            };
            // Spared first.
            if let Some((address, ssh)) = &self.controller {
                filter(1, address.is_ipv6(), format!("{} {}", to(address), tcp_from(address.is_ipv6(), *ssh)), 0);
            }
            for peer in &self.peers {
                filter(2, peer.is_ipv6(), to(peer), 1);
            }
            for port in &self.ports {
                for ipv6 in [false, true] {
                    filter(3, ipv6, tcp_from(ipv6, *port), 1);
                }
            }
        }
        text
    }

    fn on_each(&self, call: &str, joined: &str) -> String {
        self.devices.iter().map(|device| format!("{call} {}", host::quote(device))).collect::<Vec<_>>().join(joined)
    }

    async fn ask(&self, call: &str) -> Result<Answers, FaultError> {
        self.ground.ask(self.host(), &[LINK], call, "the measuring of the line").await.map_err(|error| self.unseen(error))
    }

    fn unseen(&self, error: kchaos_cluster::remote::RemoteError) -> FaultError {
        FaultError::environment(&self.ground.nemesis, format!("the line of {} could not be measured", self.chosen.host), error)
    }

    /// What a peer counts of the datagrams that it is sent: before and after, those to no port and those with wrong checksums; and how many
    /// were sent.
    async fn at_peer(&self) -> Result<((u64, u64), u64, Answers), FaultError> {
        let look = || self.ground.ask(&self.asked.0, &[LINK], "k_nap 0.2; k_link_udp", "what a peer counts");
        let before = udp(&look().await.map_err(|error| self.unseen(error))?).unwrap_or_default();
        let call = format!("k_link_datagrams {} {DATAGRAMS}\n{}", self.asked.1, self.on_each("k_link_counts", "\n"));
        let answers = self.ask(&call).await?;
        let after = udp(&look().await.map_err(|error| self.unseen(error))?).unwrap_or_default();
        let sent = answers.get("sent").and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(((after.0.saturating_sub(before.0), after.1.saturating_sub(before.1)), sent, answers))
    }

    async fn connections(&self) -> Result<Vec<u64>, FaultError> {
        Ok(connects_of(&self.ask(&format!("k_link_connects {} {} {CONNECTS}", self.asked.1, self.asked.2)).await?))
    }

    async fn measure(&self) -> Result<Proof, FaultError> {
        let peer = format!("{} port {}", self.asked.1, self.asked.2);
        Ok(match self.quality.seen {
            Seen::Later(_) | Seen::Uneven(_) | Seen::Overtaken(_) => {
                judge(self.quality.seen, &self.before, &self.connections().await?, &peer)
            }
            Seen::Dropped => {
                let (_, sent, answers) = self.at_peer().await?;
                let dropped: u64 = counts(&answers).iter().map(|counts| counts[2]).sum();
                Proof {
                    proved: dropped > 0,
                    text: format!("{sent} datagrams were sent to {}; the queue has dropped {dropped} packets", self.asked.1),
                }
            }
            Seen::Corrupt => {
                let ((_, wrong), sent, _) = self.at_peer().await?;
                Proof { proved: wrong > 0, text: format!("of {sent} datagrams {wrong} came to {} with a wrong checksum", self.asked.0) }
            }
            Seen::Twice => {
                let ((came, _), sent, _) = self.at_peer().await?;
                Proof { proved: sent > 0 && came > sent, text: format!("of {sent} datagrams {came} came to {}", self.asked.0) }
            }
            Seen::Slow(bits) => {
                // One device is enough: the one that leads to the peer that is asked.
                let device = self.devices.first().map_or("", String::as_str);
                let answers = self.ask(&format!("k_link_rate {} {}", host::quote(device), self.asked.1)).await?;
                rate(&answers, bits)
            }
        })
    }
}

/// By how long connections took, in microseconds and in order, and how long they took before.
fn judge(seen: Seen, before: &[u64], times: &[u64], peer: &str) -> Proof {
    let usual = before.first().copied().unwrap_or(0);
    let (Some(least), Some(most)) = (times.first().copied(), times.last().copied()) else {
        return Proof { proved: false, text: format!("no connection to {peer} came about") };
    };
    let ms = |micros: u64| micros as f64 / 1000.0;
    let text = format!(
        "{} connections to {peer} took {:.1} to {:.1} ms; {:.1} to {:.1} before",
        times.len(),
        ms(least),
        ms(most),
        ms(usual),
        ms(before.last().copied().unwrap_or(0))
    );
    match seen {
        Seen::Uneven(more) => Proof { proved: least > usual + 5_000 && most - least > u64::from(more) * 1000, text },
        Seen::Overtaken(later) => {
            let late = times.iter().filter(|time| **time >= usual + u64::from(later) * 800).count();
            let proved = late > 0 && late < times.len();
            Proof { proved, text: format!("{text}; {late} were delayed and {} overtook them", times.len() - late) }
        }
        Seen::Later(later) => Proof { proved: least >= usual + u64::from(later) * 800, text },
        _ => Proof { proved: false, text },
    }
}

fn rate(answers: &Answers, bits: u64) -> Proof {
    let times: Vec<u64> = answers.all("at").filter_map(|text| text.parse().ok()).collect();
    let (&[first, second], &[start, one, two]) = (&times[..], &counts(answers)[..]) else {
        return Proof { proved: false, text: format!("the queue could not be read: {}", answers.text()) };
    };
    let seconds = second.saturating_sub(first).max(1) as f64 / 100.0;
    let measured = (two[0].saturating_sub(one[0])) as f64 * 8.0 / seconds;
    let waited = two[3].saturating_sub(start[3]);
    Proof {
        proved: waited > 0 && measured > 0.0 && measured < bits as f64 * 1.5,
        text: format!("{measured:.0} bits a second passed, where {bits} are meant; {waited} times a packet had to wait"),
    }
}

#[async_trait]
impl HostFault for Link {
    fn host(&self) -> &str {
        &self.chosen.host
    }

    fn undo(&self) -> Undo {
        Undo {
            about: format!("{}: the line of {}", self.ground.nemesis, self.chosen.host),
            parts: &[LINK],
            setup: String::new(),
            mend: self.on_each("k_link_off", "\n"),
            verify: format!("! {{ {}; }}", self.on_each("k_link_is_on", " || ")),
        }
    }

    fn holds(&self) -> String {
        format!(
            "{} && return 0\necho 'early its queue is gone: the device was set up anew, or it was mended from elsewhere'\nreturn 1",
            self.on_each("k_link_is_on", " && ")
        )
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        let after_ns = self.ground.now();
        let answer = self.ground.ask_armed(self.host(), &[LINK], &self.script(), "the queue").await;
        let when = Interval { after_ns, before_ns: self.ground.now() };
        match answer {
            Err(error) if !host::is_unknown(&error) => {
                Err(FaultError::environment(&self.ground.nemesis, format!("the queue of {}", self.chosen.host), error))
            }
            _ => {
                let rules = self.devices.iter().map(|device| format!("queue 4b43: of {device}: {}", self.quality.queue)).collect();
                Ok(Injected { when, effect: Effect { rules, ..Effect::default() } })
            }
        }
    }

    async fn proof(&self) -> Result<Proof, FaultError> {
        let mut proof = self.measure().await?;
        for _ in 1..TURNS {
            if proof.proved {
                break;
            }
            proof = self.measure().await?;
        }
        Ok(Proof { text: format!("from {}: {}", self.chosen.host, proof.text), ..proof })
    }

    async fn mend(&self) -> Result<Interval, String> {
        let after_ns = self.ground.now();
        let answer = self.ground.ask_mending(self.host(), &[LINK], &self.undo().mend, "the mending of the line").await;
        answer.map(|_| Interval { after_ns, before_ns: self.ground.now() }).map_err(|error| error.to_string())
    }

    async fn mended(&self) -> Proof {
        let is_on = self.on_each("k_link_is_on", " || ");
        let call = format!("if {is_on}; then echo there; else echo gone; fi\nk_link_connects {} {} 5", self.asked.1, self.asked.2);
        match self.ground.ask_mending(self.host(), &[LINK], &call, "the proof of mending").await {
            Ok(answers) => {
                let gone = answers.has("gone");
                let queue = if gone { "no queue of ours is left" } else { "our queue is still there" };
                let times = connects_of(&answers);
                let measured = match (times.first(), times.last()) {
                    (Some(least), Some(most)) => {
                        format!("{} connections took {:.1} to {:.1} ms", times.len(), *least as f64 / 1000.0, *most as f64 / 1000.0)
                    }
                    _ => "no connection to the peer that was asked came about".to_owned(),
                };
                Proof { proved: gone, text: format!("on {}: {queue}; {measured}", self.chosen.host) }
            }
            Err(error) => Proof { proved: false, text: format!("{} could not be looked at: {error}", self.chosen.host) },
        }
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
