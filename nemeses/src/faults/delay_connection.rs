//! `delay-connection`: what one client says on one connection is dropped on its way in, and delivered late, when the cut ends.
//!
//! The client's kernel goes on sending it again, and still does when the client has given the connection up and made another: then an old
//! request arrives after newer ones. Every other connection goes on. It is what breaks Kafka's transactions (KAFKA-17754).
//!
//! The connection is the one, of those from outside the cluster, on which most is being said; but for those by which kchaos itself looks at the
//! brokers, which outdo a client that says little. Of a coordinator of transactions it is the one on which least is being said, but something
//! in each of three looks: librdkafka asks a coordinator on a connection of its own, beside which reading and writing say much more. What the broker says is not dropped: an answer
//! that came after the client had gone would be refused (RST), and that would end the connection before what is late could arrive.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kchaos_cluster::remote::Means;
use kchaos_core::{Chosen, Interval, Proof, Target};
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use tokio::time::Instant;

use crate::error::{Because, FaultError};
use crate::fault::{HostFault, Injected, Need, Scope, Undo};
use crate::faults::cut::{Cut, Facts, addresses_of};
use crate::faults::cut_lines::Way;
use crate::faults::cut_seen::Counted;
use crate::ground::Ground;
use crate::helper::{self, InWords};
use crate::host::{Answers, CONNECTION, CUT};
use crate::registry::{self, Spec};

pub(crate) const SPEC: Spec = Spec {
    name: "delay-connection",
    about: "one client's connection: what it says is dropped, and delivered late after the heal",
    targets: &[Target::Leader, Target::Controller, Target::TxnCoordinator, Target::Follower, Target::Random],
    needs: &[Need::Firewall, Need::Sockets],
    scope: Scope::Link,
    plan: |ground, chosen| Box::pin(plan(ground, chosen)),
};

/// A client sends again after 0.2 s, and then after twice as long each time.
const PROOF_TIMEOUT: Duration = Duration::from_secs(6);
/// The longer it was cut, the longer the client's kernel waits before it sends again.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(15);
const QUIET_LOOKS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(400);

/// Their address and port.
type End = (IpAddr, u16);

struct Delay {
    cut: Cut,
    end: End,
    port: u16,
    why: String,
    /// Bytes that had come on it when it was seen to be cut.
    received: AtomicU64,
}

async fn plan(ground: Arc<Ground>, chosen: Chosen) -> Result<Box<dyn HostFault>, FaultError> {
    let refused = |reason: String| FaultError::refused(&ground.nemesis, reason);
    let on = chosen.host.clone();
    let daemon = ground.daemon(&on, &chosen.daemon).ok_or_else(|| refused(format!("{} on {on} is not in the inventory", chosen.daemon)))?;
    let port = daemon.port;
    let facts = Facts::of(&ground, &on).await?;
    let is_quiet = registry::parse(&ground.nemesis).is_ok_and(|name| name.target == Target::TxnCoordinator);
    let mut grown = grown(&ground, &chosen, port, &facts).await?;
    if is_quiet {
        for _ in 1..QUIET_LOOKS {
            let again = self::grown(&ground, &chosen, port, &facts).await?;
            grown.retain(|end, bytes| *bytes > 0 && again.get(end).is_some_and(|more| *more > 0));
            grown.iter_mut().for_each(|(end, bytes)| *bytes += again[end]);
        }
    }
    // A light load has its pauses.
    for _ in 1..QUIET_LOOKS {
        if grown.is_empty() || grown.values().any(|bytes| *bytes > 0) {
            break;
        }
        grown = self::grown(&ground, &chosen, port, &facts).await?;
    }
    // What is cut on a connection on which nobody speaks would be seen by nobody.
    grown.retain(|_, bytes| *bytes > 0);
    let best = if is_quiet { grown.values().min() } else { grown.values().max() };
    let Some(best) = best.copied() else {
        return Err(refused(format!(
            "no client from outside the cluster {} {} on {on}",
            if is_quiet { "goes on saying something to" } else { "says anything to" },
            chosen.daemon
        )));
    };
    let candidates: Vec<End> = grown.iter().filter(|(_, bytes)| **bytes == best).map(|(end, _)| *end).collect();
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(ground.seed);
    let Some(end) = candidates.choose(&mut random).copied() else {
        return Err(refused(format!("no client is connected to {} on {on}", chosen.daemon)));
    };
    let why = if is_quiet {
        format!(
            "{best} bytes came on it within three looks of 0.7 s, the least of {} clients' connections that were used in each",
            grown.len()
        )
    } else {
        format!("{best} bytes came on it within 0.7 s, the most of {} clients' connections", grown.len())
    };
    let mut cut = Cut::bare(ground, chosen, &facts);
    cut.lines.way = Way::In;
    cut.lines.connections.insert((end.0, end.1, port));
    cut.client = cut.find_client().await;
    Ok(Box::new(Delay { cut, end, port, why, received: AtomicU64::new(0) }))
}

/// What came on each client's connection within 0.7 s.
async fn grown(ground: &Ground, chosen: &Chosen, port: u16, facts: &Facts) -> Result<BTreeMap<End, u64>, FaultError> {
    let on = &chosen.host;
    let call = format!("k_connections {port}\nk_nap 0.7\necho mark\nk_connections {port}");
    let answers = ground.ask_as(on, &[CONNECTION], &call, &connections_of(port), "the connections of its clients").await;
    let answers = answers.map_err(|error| FaultError::environment(&ground.nemesis, format!("{on} could not be looked at"), error))?;
    if answers.has("missing") {
        let why = Because("ss is not there (Debian's iproute2)".to_owned());
        return Err(FaultError::environment(&ground.nemesis, format!("the connections of {on} cannot be told apart"), why));
    }
    let hosts = ground.shared.doors.inventory().hosts.iter();
    let peers: Vec<IpAddr> = hosts.flat_map(|host| addresses_of(ground, host, &Default::default())).collect();
    let looks = kchaos_cluster::protocol::own_ports();
    let is_client = |(address, port): &End| {
        let is_ours = facts.controller.is_some_and(|(own, _)| own == *address);
        if is_ours { !looks.contains(port) } else { !peers.contains(address) }
    };
    let (before, after) = connections(&answers);
    let grown = after.iter().filter(|(end, _)| is_client(end));
    Ok(grown.filter_map(|(end, bytes)| Some((*end, bytes.saturating_sub(*before.get(end)?)))).collect())
}

/// In the helper's words: a look, and another behind a mark.
fn connections_of(port: u16) -> Means {
    helper::words(&[&"connections", &port])
}

/// Bytes received by connection, before and after the mark.
fn connections(answers: &Answers) -> (BTreeMap<End, u64>, BTreeMap<End, u64>) {
    let (mut before, mut after, mut is_after) = (BTreeMap::new(), BTreeMap::new(), false);
    for (word, rest) in answers.iter() {
        is_after |= word == "mark";
        let mut words = rest.split(' ');
        if let ("connection", Some(end), Some(Ok(bytes))) = (word, words.next().and_then(end), words.next().map(str::parse::<u64>)) {
            if is_after { &mut after } else { &mut before }.insert(end, bytes);
        }
    }
    (before, after)
}

/// `192.0.2.1:4000`, `[::ffff:192.0.2.1]:4000`, `[fe80::1%eth0]:4000`.
fn end(text: &str) -> Option<End> {
    let (address, port) = text.rsplit_once(':')?;
    let address = address.trim_start_matches('[').trim_end_matches(']').split('%').next()?;
    let address: IpAddr = address.parse().ok()?;
    Some((address.to_canonical(), port.parse().ok()?))
}

impl Delay {
    fn named(&self) -> String {
        format!("{} port {} to port {} of {}", self.end.0, self.end.1, self.port, self.host())
    }

    /// Bytes received on every connection to the port.
    async fn look(&self) -> Result<BTreeMap<End, u64>, String> {
        let call = format!("k_connections {}", self.port);
        let means = connections_of(self.port);
        let answers = self.cut.ground.ask_mending_as(self.host(), &[CONNECTION], &call, &means, "the look at the connection").await;
        answers.map(|answers| connections(&answers).0).map_err(|error| error.to_string())
    }

    async fn what_became_of_it(&self) -> String {
        let (began, received) = (Instant::now(), self.received.load(Ordering::SeqCst));
        loop {
            let so_far = match self.look().await {
                Ok(now) => match now.get(&self.end) {
                    None => return "is closed: its client had given it up, and what was late has come or was withdrawn".to_owned(),
                    Some(bytes) if *bytes > received => {
                        return format!(
                            "lives: {} bytes came late, {:.1} s after the heal",
                            bytes - received,
                            began.elapsed().as_secs_f64()
                        );
                    }
                    Some(_) => format!("lives, and nothing has come on it within {} s", DELIVERY_TIMEOUT.as_secs()),
                },
                Err(error) => format!("could not be looked at: {error}"),
            };
            if began.elapsed() > DELIVERY_TIMEOUT {
                return so_far;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[async_trait]
impl HostFault for Delay {
    fn host(&self) -> &str {
        self.cut.host()
    }

    fn undo(&self) -> Undo {
        self.cut.undo()
    }

    fn holds(&self) -> String {
        self.cut.holds()
    }

    fn in_words(&self) -> Option<InWords> {
        self.cut.in_words()
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        self.cut.inject().await
    }

    async fn proof(&self) -> Result<Proof, FaultError> {
        let ground = &self.cut.ground;
        let failed = |error| FaultError::environment(&ground.nemesis, format!("{} could not be looked at", self.named()), error);
        let counters = self.cut.counters_call();
        let call = format!("{counters}\nk_connections {port}\nk_nap 0.5\necho mark\n{counters}\nk_connections {port}", port = self.port);
        let means = Means::helper(self.cut.words("delay-proof", &[&self.port]));
        let deadline = Instant::now() + PROOF_TIMEOUT;
        loop {
            let asked = ground.ask_as(self.host(), &[CUT, CONNECTION], &call, &means, "the proof of the delay");
            let (answers, client) = tokio::join!(asked, self.cut.client_reaches());
            let answers = answers.map_err(failed)?;
            let ((before, dropped), (first, last)) = (Counted::read(&answers).of("connection"), connections(&answers));
            let (lives, stands) = (last.contains_key(&self.end), first.get(&self.end) == last.get(&self.end));
            self.received.store(last.get(&self.end).copied().unwrap_or(0), Ordering::SeqCst);
            let go_on = last.iter().filter(|(end, bytes)| first.get(end).is_some_and(|then| *bytes > then)).count();
            let proved = dropped > 0 && lives && stands && client != Some(false);
            if proved || Instant::now() > deadline {
                let client = match client {
                    Some(true) => "; a new connection of a client comes about",
                    Some(false) => "; a new connection of a client does not come about",
                    None => "",
                };
                let text = format!(
                    "{} ({}): packets dropped: {before} then {dropped}; it is there: {lives}, and nothing arrives on it: {stands}; {go_on} other \
                     connections to that port brought more in the same half second{client}",
                    self.named(),
                    self.why
                );
                return Ok(Proof { proved, text });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn mend(&self) -> Result<Interval, String> {
        self.cut.mend().await
    }

    /// Mended is what has no rule of ours; the connection is waited for, so that what came of it can be told.
    async fn mended(&self) -> Proof {
        let uncut = self.cut.mended().await;
        if !uncut.proved {
            return uncut;
        }
        let text = format!("{}; the connection {} {}", uncut.text, self.named(), self.what_became_of_it().await);
        Proof { proved: true, text }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ends_are_read_as_ss_prints_them() {
        let v4: End = ("10.0.0.1".parse().unwrap(), 4000);
        assert_eq!(end("10.0.0.1:4000"), Some(v4));
        assert_eq!(end("[::ffff:10.0.0.1]:4000"), Some(v4));
        assert_eq!(end("[fd00::1%eth0]:22"), Some(("fd00::1".parse().unwrap(), 22)));
        assert_eq!(end("*:*"), None);
    }

    #[test]
    fn connections_are_told_before_and_after() {
        let (before, after) = connections(&Answers::parse("connection 10.0.0.1:4000 17\nmark\nconnection 10.0.0.1:4000 19\n"));
        assert_eq!((before.values().sum::<u64>(), after.values().sum::<u64>()), (17, 19));
    }

    proptest! {
        #[test]
        fn no_answer_of_a_host_makes_it_panic(text in "((connection|mark) \\PC{0,30}\n){0,6}") {
            let _ = connections(&Answers::parse(&text));
        }
    }
}
