//! What a user chooses about the group, and the properties that follow from it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::options::{Isolation, Options, OptionsError, range};

/// A member's session with its coordinator, of the classic protocol: the brokers' own minimum, so that a crash is noticed soon.
const SESSION_TIMEOUT_MS: u64 = 6_000;
/// librdkafka gives up a heartbeat of these many in a session.
const HEARTBEATS_A_SESSION: u64 = 4;

/// The consumer group of the workload `queue`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupOptions {
    pub members: u32,
    pub commit: GroupCommit,
    pub offset_reset: GroupOffsetReset,
    pub protocol: GroupProtocol,
    /// Of the group's protocol, if none is given: `range`, or what the broker chooses.
    pub assignor: Option<GroupAssignor>,
    /// Each member has a `group.instance.id`, so that one that comes back within its session gets its partitions without a rebalance.
    pub is_static: bool,
    /// With the protocol `consumer` it is the brokers'.
    pub session_timeout_ms: Option<u64>,
    /// A member that polls less often is thrown out.
    pub max_poll_interval_ms: u64,
    pub auto_commit_interval_ms: u64,
    /// What a member takes for each batch of records.
    pub processing_ms: u64,
    /// Members that join while the others are at work.
    pub late: u32,
    /// On average one member crashes (pauses, leaves) in this time; 0 for never.
    pub crash_every_ms: u64,
    pub pause_every_ms: u64,
    pub leave_every_ms: u64,
    /// Members consume, transform and produce: the outputs of a batch and its offsets are one transaction.
    pub exactly_once: bool,
    /// The offsets are committed after the transaction and not in it, which is not safe.
    pub exactly_once_unsafe: bool,
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self {
            members: 3,
            commit: GroupCommit::Sync,
            offset_reset: GroupOffsetReset::Earliest,
            protocol: GroupProtocol::Classic,
            assignor: None,
            is_static: false,
            session_timeout_ms: None,
            max_poll_interval_ms: 10_000,
            auto_commit_interval_ms: 1_000,
            processing_ms: 20,
            late: 1,
            crash_every_ms: 20_000,
            pause_every_ms: 40_000,
            leave_every_ms: 30_000,
            exactly_once: false,
            exactly_once_unsafe: false,
        }
    }
}

/// How a member commits what it has processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupCommit {
    /// After each batch, waiting for the answer.
    Sync,
    /// After each batch, going on at once.
    Async,
    /// By librdkafka's timer, up to what was handed over: its default, and not safe, since what is committed may never be processed.
    Auto,
    /// By librdkafka's timer, up to what was processed.
    Stored,
}

/// Where a member begins that finds no committed offset, or one that is not in the log (`auto.offset.reset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupOffsetReset {
    /// Nothing is ever passed over in silence.
    Earliest,
    /// Kafka's default, and not safe: what lies between is never processed.
    Latest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupProtocol {
    /// JoinGroup and SyncGroup: one member assigns.
    Classic,
    /// KIP-848: the coordinator assigns.
    Consumer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupAssignor {
    Range,
    RoundRobin,
    CooperativeSticky,
    /// The broker's own, of the protocol `consumer`.
    Uniform,
}

/// A kind of value and its names on the command line.
macro_rules! named {
    ($kind:ty, $what:literal, $($name:literal => $value:expr),+ $(,)?) => {
        impl $kind {
            pub fn name(self) -> &'static str {
                [$(($name, $value)),+].into_iter().find(|(_, value)| *value == self).map_or("", |(name, _)| name)
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $kind {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let known = [$(($name, $value)),+];
                let found = known.into_iter().find(|(name, _)| *name == text);
                found.map(|(_, value)| value).ok_or_else(|| {
                    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                    format!(concat!($what, " is one of {}, not \"{}\""), names.join(", "), text)
                })
            }
        }
    };
}

named!(GroupCommit, "a way to commit", "sync" => GroupCommit::Sync, "async" => GroupCommit::Async, "auto" => GroupCommit::Auto,
    "stored" => GroupCommit::Stored);
named!(GroupOffsetReset, "where a group begins", "earliest" => GroupOffsetReset::Earliest, "latest" => GroupOffsetReset::Latest);
named!(GroupProtocol, "a group's protocol", "classic" => GroupProtocol::Classic, "consumer" => GroupProtocol::Consumer);
named!(GroupAssignor, "an assignor", "range" => GroupAssignor::Range, "roundrobin" => GroupAssignor::RoundRobin,
    "cooperative-sticky" => GroupAssignor::CooperativeSticky, "uniform" => GroupAssignor::Uniform);

impl GroupOptions {
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        if self.members == 0 || self.members > 1_000 {
            return Err(range("group-members", "from 1 to 1000", self.members));
        }
        if self.late >= self.members {
            return Err(range("group-late", "less than group-members, so that somebody is there from the start", self.late));
        }
        for (option, found) in [
            ("group-max-poll-interval", self.max_poll_interval_ms),
            ("group-auto-commit-interval", self.auto_commit_interval_ms),
            ("group-session-timeout", self.session_timeout_ms.unwrap_or(SESSION_TIMEOUT_MS)),
        ] {
            if found == 0 || found > 3_600_000 {
                return Err(range(option, "from 1 ms to 1 h", format!("{found} ms")));
            }
        }
        if self.processing_ms >= self.max_poll_interval_ms {
            let allowed = "less than group-max-poll-interval, or every member is thrown out at every batch";
            return Err(range("group-processing", allowed, format!("{} ms", self.processing_ms)));
        }
        match self.protocol {
            GroupProtocol::Classic => self.check_classic(),
            GroupProtocol::Consumer => self.check_consumer(),
        }
    }

    /// What `--exactly-once` needs of the run.
    pub(super) fn check_exactly_once(&self, options: &Options) -> Result<(), OptionsError> {
        if !self.exactly_once {
            return Ok(());
        }
        if !options.idempotence {
            return Err(OptionsError::TransactionsNeedIdempotence);
        }
        if options.isolation != Isolation::ReadCommitted {
            let allowed = "read_committed with exactly-once: members must not be told offsets of open transactions";
            return Err(range("isolation", allowed, options.isolation));
        }
        if self.commit != GroupCommit::Sync {
            return Err(range("group-commit", "left away with exactly-once: the transactions commit", self.commit));
        }
        Ok(())
    }

    fn check_classic(&self) -> Result<(), OptionsError> {
        if self.assignor == Some(GroupAssignor::Uniform) {
            return Err(range("group-assignor", "range, roundrobin or cooperative-sticky with the classic protocol", "uniform"));
        }
        let session_ms = self.session_timeout_ms.unwrap_or(SESSION_TIMEOUT_MS);
        if session_ms > self.max_poll_interval_ms {
            return Err(range("group-session-timeout", "at most group-max-poll-interval", format!("{session_ms} ms")));
        }
        Ok(())
    }

    fn check_consumer(&self) -> Result<(), OptionsError> {
        if let Some(assignor) = self.assignor.filter(|assignor| !matches!(assignor, GroupAssignor::Range | GroupAssignor::Uniform)) {
            return Err(range("group-assignor", "range or uniform with the protocol \"consumer\", whose brokers assign", assignor));
        }
        if let Some(ms) = self.session_timeout_ms {
            let allowed = "left away with the protocol \"consumer\": it is the brokers' group.consumer.session.timeout.ms";
            return Err(range("group-session-timeout", allowed, format!("{ms} ms")));
        }
        Ok(())
    }

    /// What may still be replaced by `-X`.
    pub(crate) fn defaults(&self, mut set: impl FnMut(&str, &str)) {
        set("max.poll.interval.ms", &self.max_poll_interval_ms.to_string());
        set("auto.commit.interval.ms", &self.auto_commit_interval_ms.to_string());
        if self.protocol == GroupProtocol::Classic {
            let session_ms = self.session_timeout_ms.unwrap_or(SESSION_TIMEOUT_MS);
            set("session.timeout.ms", &session_ms.to_string());
            set("heartbeat.interval.ms", &(session_ms / HEARTBEATS_A_SESSION).max(1).to_string());
        }
    }

    /// What the history's meaning rests on.
    pub(crate) fn fixed(&self, group: &str, member: &str, mut set: impl FnMut(&str, &str)) {
        let is_auto = matches!(self.commit, GroupCommit::Auto | GroupCommit::Stored);
        set("group.id", group);
        set("group.protocol", self.protocol.name());
        set("enable.auto.commit", if is_auto { "true" } else { "false" });
        // Stored by the member itself, when a batch is handed over or when it is processed.
        set("enable.auto.offset.store", "false");
        set("auto.offset.reset", self.offset_reset.name());
        if self.is_static {
            set("group.instance.id", member);
        }
        match (self.protocol, self.assignor) {
            (GroupProtocol::Classic, assignor) => {
                set("partition.assignment.strategy", assignor.unwrap_or(GroupAssignor::Range).name());
            }
            (GroupProtocol::Consumer, Some(assignor)) => set("group.remote.assignor", assignor.name()),
            (GroupProtocol::Consumer, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut GroupOptions), expected: &str) {
        let mut options = GroupOptions::default();
        change(&mut options);
        let found = options.check().map_or_else(|error| error.to_string(), |()| "ok".to_owned());
        assert!(found.contains(expected), "{found}");
    }

    #[test]
    fn the_defaults_are_legal() {
        check(|_| (), "ok");
        check(|group| group.protocol = GroupProtocol::Consumer, "ok");
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_change() {
        check(|group| group.members = 0, "group-members must be from 1 to 1000");
        check(|group| group.late = 3, "group-late must be less than group-members");
        check(|group| group.session_timeout_ms = Some(11_000), "group-session-timeout must be at most group-max-poll-interval");
        check(|group| group.processing_ms = 10_000, "group-processing must be less than group-max-poll-interval");
        check(|group| group.assignor = Some(GroupAssignor::Uniform), "range, roundrobin or cooperative-sticky");
        check(
            |group| (group.protocol, group.assignor) = (GroupProtocol::Consumer, Some(GroupAssignor::CooperativeSticky)),
            "range or uniform with the protocol \"consumer\"",
        );
        check(
            |group| (group.protocol, group.session_timeout_ms) = (GroupProtocol::Consumer, Some(6_000)),
            "group.consumer.session.timeout.ms",
        );
    }

    #[test]
    fn exactly_once_needs_what_transactions_need_and_commits_in_its_own_way() {
        let check = |change: fn(&mut Options), expected: &str| {
            let group = GroupOptions { exactly_once: true, ..GroupOptions::default() };
            let mut options = Options { group, ..Options::default() };
            change(&mut options);
            let found = options.group.check_exactly_once(&options).map_or_else(|error| error.to_string(), |()| "ok".to_owned());
            assert!(found.contains(expected), "{found}");
        };
        check(|_| (), "ok");
        check(|options| options.idempotence = false, "transactions need idempotence");
        check(|options| options.isolation = Isolation::ReadUncommitted, "isolation must be read_committed");
        check(|options| options.group.commit = GroupCommit::Stored, "group-commit must be left away");
        check(|options| (options.group.exactly_once, options.idempotence) = (false, false), "ok");
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in ["sync", "async", "auto", "stored"] {
            assert_eq!(name.parse::<GroupCommit>().unwrap().to_string(), name);
        }
        for name in ["range", "roundrobin", "cooperative-sticky", "uniform"] {
            assert_eq!(name.parse::<GroupAssignor>().unwrap().to_string(), name);
        }
        let error = "manual".parse::<GroupCommit>().unwrap_err();
        assert_eq!(error, "a way to commit is one of sync, async, auto, stored, not \"manual\"");
    }

    #[test]
    fn options_survive_plan_json() {
        let options = GroupOptions { assignor: Some(GroupAssignor::CooperativeSticky), commit: GroupCommit::Stored, ..Default::default() };
        let text = serde_json::to_string(&options).unwrap();
        assert!(text.contains("\"cooperative-sticky\"") && text.contains("\"stored\""), "{text}");
        assert_eq!(serde_json::from_str::<GroupOptions>(&text).unwrap(), options);
    }
}
