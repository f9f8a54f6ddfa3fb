//! What `bump`, `skew` and `strobe` share: one daemon's wall clock is wrong, by libfaketime, while the host's and everybody else's is right.
//!
//! The machine's clock is never set by this; where the inventory lets that of a whole host be set, it is `wall`'s. What a daemon's clock says is read from the stamps of its own daemon log, held against the time at which
//! the host's kernel saw that log change; a broker is made to log a line by a request that it must refuse, a ZooKeeper by `srvr`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kchaos_cluster::inventory::{ClockFault, DaemonClock, DaemonKind};
use kchaos_core::{Chosen, Effect, Interval, Proof, Target};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::error::FaultError;
use crate::fault::{HostFault, Injected, Undo};
use crate::faults::bring_up;
use crate::faults::daemon::Daemon;
use crate::faults::wall;
use crate::ground::Ground;
use crate::host::{self, Answers, CLOCK, quote};

pub(crate) const TARGETS: &[Target] = &[
    Target::Leader,
    Target::Controller,
    Target::ZooKeeperLeader,
    Target::ZooKeeperFollower,
    Target::Follower,
    Target::Random,
    Target::Minority,
    Target::Majority,
    Target::All,
];

/// libfaketime looks at its file once a second.
const SEEN_WITHIN: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(700);
/// Stamps are cut to whole seconds, and so are file times.
const TOLERANCE_S: i64 = 2;
const POKE_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) struct Wrong {
    pub(crate) daemon: Daemon,
    pub(crate) clock: DaemonClock,
    offset_s: i64,
}

pub(crate) async fn plan(ground: Arc<Ground>, chosen: Chosen, fault: ClockFault, offset_s: i64) -> Result<Box<dyn HostFault>, FaultError> {
    if is_of_host(&ground, &chosen) {
        return wall::plan(ground, chosen, fault).await;
    }
    Ok(Box::new(Wrong::plan(ground, chosen, fault, offset_s).await?))
}

/// Whether it has no clock of its own, and the inventory says of its host's what may be done to it.
pub(crate) fn is_of_host(ground: &Ground, chosen: &Chosen) -> bool {
    let host = ground.shared.doors.inventory().host(&chosen.host);
    let is_own = ground.daemon(&chosen.host, &chosen.daemon).is_some_and(|entry| entry.clock.is_some());
    !is_own && host.is_some_and(|host| host.clock.is_some())
}

#[async_trait]
impl HostFault for Wrong {
    fn host(&self) -> &str {
        &self.daemon.chosen.host
    }

    fn undo(&self) -> Undo {
        Undo {
            about: format!("{}: the clock of {} {:+} s", self.daemon.ground.nemesis, self.daemon.chosen.daemon, self.offset_s),
            parts: &[CLOCK],
            setup: self.settings(),
            mend: "k_clock_set +0".to_owned(),
            verify: "k_clock_is +0".to_owned(),
        }
    }

    fn holds(&self) -> String {
        format!(
            "{}{CLOCK}\nk_clock_is {:+} || {{ echo 'early the clock was set by somebody else'; return 1; }}",
            self.settings(),
            self.offset_s
        )
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        let when = self.order(&format!("{}k_clock_set {:+}", self.settings(), self.offset_s)).await?;
        Ok(Injected { when, effect: Effect { files: vec![self.clock.file.display().to_string()], ..Effect::default() } })
    }

    async fn proof(&self) -> Result<Proof, FaultError> {
        Ok(self.wait_for(self.offset_s).await)
    }

    async fn mend(&self) -> Result<Interval, String> {
        self.set_right("").await
    }

    async fn mended(&self) -> Proof {
        let right = self.wait_for(0).await;
        if !right.proved {
            return right;
        }
        right.and(&bring_up::is_up(&self.daemon).await)
    }
}

impl Wrong {
    pub(crate) async fn plan(ground: Arc<Ground>, chosen: Chosen, fault: ClockFault, offset_s: i64) -> Result<Self, FaultError> {
        let entry = ground.daemon(&chosen.host, &chosen.daemon);
        let Some(clock) = entry.and_then(|entry| entry.clock.clone()) else {
            let (daemon, host) = (&chosen.daemon, &chosen.host);
            return Err(FaultError::refused(&ground.nemesis, format!("{daemon} on {host} has no clock of its own; {}", no_clock(fault))));
        };
        Ok(Self { daemon: Daemon::find(ground, chosen).await?, clock, offset_s })
    }

    pub(crate) fn settings(&self) -> String {
        let logs = self.daemon.entry.log_dir.to_string_lossy();
        format!("C_FILE={}\nC_LOGS={}\n", quote(&self.clock.file.to_string_lossy()), quote(&logs))
    }

    /// Something done to the clock, while the lease is armed. An answer that did not come is no error: the proof decides.
    pub(crate) async fn order(&self, body: &str) -> Result<Interval, FaultError> {
        let ground = &self.daemon.ground;
        let after_ns = ground.now();
        let answer = ground.ask_armed(self.host(), &[CLOCK], body, "the setting of the clock").await;
        let when = Interval { after_ns, before_ns: ground.now() };
        match answer {
            Ok(answers) if answers.has("refused") => Err(FaultError::refused(&ground.nemesis, answers.get("refused").unwrap_or_default())),
            Err(error) if !host::is_unknown(&error) => {
                Err(FaultError::environment(&ground.nemesis, format!("the clock of {}", self.daemon.name()), error))
            }
            _ => Ok(when),
        }
    }

    /// `first` and then the offset 0; and a daemon that stopped over its clock is started: that is for the run to judge, and for us to mend.
    pub(crate) async fn set_right(&self, first: &str) -> Result<Interval, String> {
        let ground = &self.daemon.ground;
        let after_ns = ground.now();
        let call = format!("{}{first}k_clock_set +0", self.settings());
        ground.ask_mending(self.host(), &[CLOCK], &call, "the setting of the clock").await.map_err(|error| error.to_string())?;
        let set = Interval { after_ns, before_ns: ground.now() };
        bring_up::bring_up(&self.daemon).await?;
        Ok(set)
    }

    /// Until the daemon itself logs by that clock.
    pub(crate) async fn wait_for(&self, wanted_s: i64) -> Proof {
        let began = Instant::now();
        loop {
            tokio::time::sleep(PAUSE).await;
            self.poke().await;
            tokio::time::sleep(PAUSE).await;
            let call = format!("{}k_clock_offset", self.settings());
            let answer = self.daemon.ground.ask_mending(self.host(), &[CLOCK], &call, "the look at the clock").await;
            let seen = answer.as_ref().ok().and_then(offset);
            let last = match (&answer, seen) {
                (_, Some((offset_s, age_s))) => format!("its daemon log is stamped {offset_s:+} s against the host's clock, {age_s} s ago"),
                (Ok(answers), None) => answers.text(),
                (Err(error), _) => error.to_string(),
            };
            // A line from before the clock was set says nothing.
            let waited_s = i64::try_from(began.elapsed().as_secs()).unwrap_or(0);
            if seen.is_some_and(|(offset_s, age_s)| age_s <= waited_s && (offset_s - wanted_s).abs() <= TOLERANCE_S) {
                return Proof { proved: true, text: format!("{}: {last}", self.daemon.name()) };
            }
            if began.elapsed() > SEEN_WITHIN {
                return Proof { proved: false, text: format!("{}: {last}, and not {wanted_s:+} s", self.daemon.name()) };
            }
        }
    }

    /// Makes the daemon log a line. That nobody answers is no error: then nothing is seen.
    async fn poke(&self) {
        let host = &self.daemon.chosen.host;
        let Some(host) = self.daemon.ground.shared.doors.inventory().hosts.iter().find(|known| known.name == *host) else { return };
        let words: &[u8] = match self.daemon.entry.kind {
            // A request longer than any: refused, with a warning in the broker's log.
            DaemonKind::Kafka | DaemonKind::Controller => &[0x7f, 0xff, 0xff, 0xff],
            DaemonKind::Zookeeper => b"srvr",
        };
        let poke = async {
            let mut stream = TcpStream::connect((host.address.as_str(), self.daemon.entry.port)).await?;
            stream.write_all(words).await?;
            stream.flush().await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
            std::io::Result::Ok(())
        };
        let _ = tokio::time::timeout(POKE_TIMEOUT, poke).await;
    }
}

/// What gives a daemon a clock that can be wrong.
pub(crate) fn no_clock(fault: ClockFault) -> String {
    format!(
        "`kchaos lab up --clock faketime` gives the daemons of a lab one (with --manager scripts), and of a host that is no lab's and no container \
         the inventory may let the host's own be set: [host.clock] with allow = [\"{}\"]",
        fault.name()
    )
}

/// Offset and age in seconds.
fn offset(answers: &Answers) -> Option<(i64, i64)> {
    let (offset, age) = answers.get("offset")?.split_once(' ')?;
    Some((offset.parse().ok()?, age.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_offset_is_read_as_it_was_printed() {
        assert_eq!(offset(&Answers::parse("offset -90 3\n")), Some((-90, 3)));
        assert_eq!(offset(&Answers::parse("none no stamped line in /var/log\n")), None);
    }

    proptest! {
        #[test]
        fn no_answer_of_a_host_makes_it_panic(text in "(offset )?\\PC{0,20}") {
            let _ = offset(&Answers::parse(&text));
        }
    }
}
