//! What is wrong with the disk by order, for how long, and what has come of it.
//!
//! An order is one line, written to the control file. A fault has an end: if nobody renews it in time, it is over, whoever is dead by then.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::volume::{Loss, Lost};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    Fsync,
    /// Whatever makes, removes, renames.
    Names,
}

pub(crate) const KINDS: [(Kind, &str); 4] = [(Kind::Read, "read"), (Kind::Write, "write"), (Kind::Fsync, "fsync"), (Kind::Names, "names")];

const ERRORS: [(&str, i32); 3] = [("EIO", libc::EIO), ("ENOSPC", libc::ENOSPC), ("EROFS", libc::EROFS)];

const DELAY_MAX: Duration = Duration::from_secs(60);
const LASTS_MAX: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Delay(Duration),
    Error(i32),
}

/// By kind.
type Effects = [Option<Effect>; KINDS.len()];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// `fault MS write=200ms fsync=EIO`
    Fault { lasts: Duration, effects: Effects },
    /// `renew MS`
    Renew(Duration),
    /// `off`
    Off,
    /// `sync`: all that is there lasts, as if it had been written back long ago.
    Sync,
    /// `lose all`, `lose files *.log`, `lose torn *.log`
    Lose(Loss),
}

impl Order {
    pub(crate) fn parse(text: &str) -> Option<Order> {
        let mut words = text.split_ascii_whitespace();
        let order = match words.next()? {
            "fault" => {
                let lasts = milliseconds(words.next()?, LASTS_MAX)?;
                let mut effects = Effects::default();
                for word in words.by_ref() {
                    let (kind, effect) = word.split_once('=')?;
                    let (kind, _) = KINDS.iter().find(|(_, name)| *name == kind)?;
                    let effect = match effect.strip_suffix("ms") {
                        Some(_) if *kind == Kind::Names => return None,
                        Some(number) => Effect::Delay(milliseconds(number, DELAY_MAX)?),
                        None => Effect::Error(ERRORS.iter().find(|(name, _)| *name == effect)?.1),
                    };
                    effects[*kind as usize] = Some(effect);
                }
                if effects.iter().all(Option::is_none) {
                    return None;
                }
                Order::Fault { lasts, effects }
            }
            "renew" => Order::Renew(milliseconds(words.next()?, LASTS_MAX)?),
            "off" => Order::Off,
            "sync" => Order::Sync,
            "lose" => match (words.next()?, words.next()) {
                ("all", None) => Order::Lose(Loss::All),
                ("files", Some(pattern)) => Order::Lose(Loss::Named(pattern.to_owned())),
                ("torn", Some(pattern)) => Order::Lose(Loss::Torn(pattern.to_owned())),
                _ => return None,
            },
            _ => return None,
        };
        words.next().is_none().then_some(order)
    }
}

fn milliseconds(text: &str, max: Duration) -> Option<Duration> {
    let duration = Duration::from_millis(text.parse().ok()?);
    (!duration.is_zero() && duration <= max).then_some(duration)
}

/// What becomes of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Now,
    At(Instant),
    Fails(i32),
}

/// Since the disk was mounted.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    asked: [u64; KINDS.len()],
    delayed: [u64; KINDS.len()],
    failed: [u64; KINDS.len()],
    losses: u64,
    lost: Lost,
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    in_force: Option<(Instant, Effects)>,
    counts: Counts,
}

impl Faults {
    fn now_in_force(&self, now: Instant) -> Option<(Instant, Effects)> {
        self.in_force.filter(|(until, _)| now < *until)
    }

    /// Counts it, too.
    pub(crate) fn fate(&mut self, kind: Kind, now: Instant) -> Fate {
        let at = kind as usize;
        self.counts.asked[at] += 1;
        match self.now_in_force(now).and_then(|(until, effects)| Some((until, effects[at]?))) {
            None => Fate::Now,
            Some((until, Effect::Delay(delay))) => {
                self.counts.delayed[at] += 1;
                Fate::At((now + delay).min(until))
            }
            Some((_, Effect::Error(error))) => {
                self.counts.failed[at] += 1;
                Fate::Fails(error)
            }
        }
    }

    /// `false`: another is in force already.
    pub(crate) fn set(&mut self, lasts: Duration, effects: Effects, now: Instant) -> bool {
        if self.now_in_force(now).is_some() {
            return false;
        }
        self.in_force = Some((now + lasts, effects));
        true
    }

    /// `false`: there is nothing to renew, or not any more.
    pub(crate) fn renew(&mut self, lasts: Duration, now: Instant) -> bool {
        let Some((_, effects)) = self.now_in_force(now) else { return false };
        self.in_force = Some((now + lasts, effects));
        true
    }

    pub(crate) fn end(&mut self) {
        self.in_force = None;
    }

    pub(crate) fn count_loss(&mut self, lost: Lost) {
        self.counts.losses += 1;
        self.counts.lost.files += lost.files;
        self.counts.lost.bytes += lost.bytes;
        self.counts.lost.names += lost.names;
    }

    /// What the control file says: a word and what belongs to it on each line.
    pub(crate) fn report(&self, mark: &str, unsynced: Lost, kept_bytes: u64, now: Instant) -> String {
        let mut text = format!("kchaos-disk 1\nmark {mark}\n");
        match self.now_in_force(now) {
            None => text.push_str("healthy\n"),
            Some((until, effects)) => {
                let _ = write!(text, "fault {}", until.duration_since(now).as_millis());
                for ((_, name), effect) in KINDS.iter().zip(effects) {
                    let _ = match effect {
                        None => Ok(()),
                        Some(Effect::Delay(delay)) => write!(text, " {name}={}ms", delay.as_millis()),
                        Some(Effect::Error(error)) => {
                            let error = ERRORS.iter().find(|(_, number)| *number == error).map_or("error", |(name, _)| name);
                            write!(text, " {name}={error}")
                        }
                    };
                }
                text.push('\n');
            }
        }
        let Counts { asked, delayed, failed, losses, lost } = self.counts;
        for (kind, name) in KINDS {
            let at = kind as usize;
            let _ = writeln!(text, "{name} {} delayed {} failed {}", asked[at], delayed[at], failed[at]);
        }
        let _ = writeln!(text, "losses {losses} files {} bytes {} names {}", lost.files, lost.bytes, lost.names);
        let _ = writeln!(text, "unsynced files {} bytes {} names {} kept {kept_bytes}", unsynced.files, unsynced.bytes, unsynced.names);
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn orders_are_understood_whole_or_not_at_all() {
        let lasts = Duration::from_millis(5_000);
        let delay = |ms| Some(Effect::Delay(Duration::from_millis(ms)));
        for (text, order) in [
            (
                "fault 5000 write=20ms fsync=EIO\n",
                Some(Order::Fault { lasts, effects: [None, delay(20), Some(Effect::Error(libc::EIO)), None] }),
            ),
            ("fault 5000", None),
            ("fault 5000 write=0ms", None),
            ("fault 5000 write=EPERM", None),
            ("fault 5000 names=5ms", None),
            ("fault 99999999 write=5ms", None),
            ("renew 5000", Some(Order::Renew(lasts))),
            ("off", Some(Order::Off)),
            ("off now", None),
            ("sync", Some(Order::Sync)),
            ("lose all", Some(Order::Lose(Loss::All))),
            ("lose files *.log", Some(Order::Lose(Loss::Named("*.log".to_owned())))),
            ("lose torn", None),
            ("", None),
        ] {
            assert_eq!(Order::parse(text), order, "{text}");
        }
    }

    #[test]
    fn a_fault_that_nobody_renews_is_over() {
        let (mut faults, now) = (Faults::default(), Instant::now());
        let after = |ms| now + Duration::from_millis(ms);
        let Some(Order::Fault { lasts, effects }) = Order::parse("fault 1000 write=600ms fsync=ENOSPC") else { panic!("understood") };
        assert!(faults.set(lasts, effects, now) && !faults.set(lasts, effects, after(1)));
        assert_eq!(faults.fate(Kind::Write, after(100)), Fate::At(after(700)));
        assert_eq!(faults.fate(Kind::Write, after(900)), Fate::At(after(1_000)), "no longer than the fault itself");
        assert_eq!(faults.fate(Kind::Fsync, after(900)), Fate::Fails(libc::ENOSPC));
        assert_eq!(faults.fate(Kind::Read, after(900)), Fate::Now);
        assert!(faults.renew(lasts, after(900)));
        assert_eq!(faults.fate(Kind::Fsync, after(1_800)), Fate::Fails(libc::ENOSPC));
        assert!(!faults.renew(lasts, after(1_900)), "what has lapsed is not put back");
        assert_eq!(faults.fate(Kind::Fsync, after(1_900)), Fate::Now);
        let said = faults.report("m", Lost::default(), 0, after(1_900));
        assert!(
            said.contains("healthy\n") && said.contains("\nfsync 3 delayed 0 failed 2\n") && said.contains("\nwrite 2 delayed 2 "),
            "{said}"
        );
        assert!(faults.set(lasts, effects, after(1_900)));
        assert!(faults.report("m", Lost::default(), 0, after(2_000)).contains("\nfault 900 write=600ms fsync=ENOSPC\n"));
    }

    proptest! {
        #[test]
        fn no_order_makes_it_panic(text in "((fault|renew|lose|off|all|files|torn|write=|5ms|EIO|[0-9]{1,20}|\\PC{0,5})( |=)?){0,6}") {
            let _ = Order::parse(&text);
        }
    }
}
