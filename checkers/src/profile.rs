//! What counts: a table from rule to violation or allowed.
//!
//! Why a table and not one list: Kafka never promised some things (order between the sends of different producers inside one batch of
//! sends), and a configuration gives others away (duplicates, once idempotence is off). A finding that the profile allows is shown as
//! *ignored*, never hidden.
//!
//! A rule's name is its anomaly's, or ANOMALY/CASE where one case of an anomaly is promised by other settings than the rest.
//!
//! Limits: `acks=1` and `acks=0` allow only what their documentation gives away of *order*. That an acknowledged value is kept is what a
//! run asks of the cluster, whatever its acks: a cluster that loses it is reported.

use kchaos_core::{Plan, mutant};

use crate::log::Isolation;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    Violation,
    Allowed,
}

/// A profile that has a name of its own.
pub struct NamedProfile {
    pub name: &'static str,
    pub about: &'static str,
    /// Rules that are no violation here, by what gives them away.
    pub allowed: &'static [&'static [&'static str]],
}

/// Never promised: values of others may stand between the sends of one op, groups deliver at least once, the writes of
/// transactions are not isolated from each other, and a deposed leader may acknowledge until it learns of its successor.
const NEVER_PROMISED: &[&str] = &[
    "int-send-skip",
    "redelivered",
    "G0",
    "G0-process",
    "G0-realtime",
    "G1c/with-ww",
    "G1c-process/with-ww",
    "G1c-realtime/with-ww",
    "stale-leader-ack",
];
/// Given away without idempotence, by retries and by several requests in flight: the order of one client's sends.
const WITHOUT_IDEMPOTENCE: &[&str] = &["reordered/by-client", "int-nonmonotonic-send", "nonmonotonic-send/after-info"];
/// Given away without acks=all: a deposed leader may acknowledge at offsets that its successor uses as well.
const WITHOUT_ACKS_ALL: &[&str] = &["reordered/in-real-time"];
/// Given away by reading uncommitted.
const READ_UNCOMMITTED: &[&str] = &["G1a/uncommitted", "precommitted-read/uncommitted"];

pub const PROFILES: &[NamedProfile] = &[
    NamedProfile {
        name: "kafka",
        about: "Kafka's own promise for idempotent producers with acks=all and read_committed consumers",
        allowed: &[NEVER_PROMISED, READ_UNCOMMITTED],
    },
    NamedProfile {
        name: "kafka-non-idempotent",
        about: "the same without idempotence: retries may duplicate values and change the order of one client's sends",
        allowed: &[NEVER_PROMISED, READ_UNCOMMITTED, WITHOUT_IDEMPOTENCE, &["duplicate"]],
    },
    NamedProfile {
        name: "linearizable",
        about: "as kafka for logs; all register ops linearizable, reads of ZooKeeper included",
        allowed: &[NEVER_PROMISED, READ_UNCOMMITTED],
    },
];

/// Every rule that some profile allows.
#[cfg(feature = "mutants")]
pub(crate) const ALLOWED_SOMEWHERE: &[&[&str]] = &[NEVER_PROMISED, WITHOUT_IDEMPOTENCE, WITHOUT_ACKS_ALL, READ_UNCOMMITTED, &["duplicate"]];

/// What counts in one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub name: String,
    allowed: Vec<&'static str>,
    pub(crate) default_isolation: Isolation,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown profile \"{name}\": one of {}", profile_names())]
pub struct UnknownProfile {
    pub name: String,
}

fn profile_names() -> String {
    PROFILES.iter().map(|profile| profile.name).collect::<Vec<_>>().join(", ")
}

impl Default for Profile {
    /// `kafka`.
    fn default() -> Self {
        Self::from(&PROFILES[0])
    }
}

impl From<&NamedProfile> for Profile {
    fn from(named: &NamedProfile) -> Self {
        Self { name: named.name.to_owned(), allowed: named.allowed.concat(), default_isolation: Isolation::Committed }
    }
}

impl Profile {
    pub fn named(name: &str) -> Result<Self, UnknownProfile> {
        let named = PROFILES.iter().find(|profile| profile.name == name);
        named.map(Self::from).ok_or_else(|| UnknownProfile { name: name.to_owned() })
    }

    /// From what a run was configured to do; its `--profile`, if one was given, decides alone.
    ///
    /// Duplicates stay a violation without idempotence, and reads of aborted values under read_uncommitted: who asks for such a setting wants to
    /// see them. Only the profiles `kafka-non-idempotent` and (of reads) `kafka`, when they are asked for, ignore them.
    pub fn derive(plan: &Plan) -> Result<Self, UnknownProfile> {
        if let Some(name) = &plan.profile {
            return Self::named(name);
        }
        let mut profile = Self::default();
        let mut differences = Vec::new();
        if !matches!(plan.acks.as_str(), "all" | "-1" | "") {
            profile.allowed.extend(WITHOUT_ACKS_ALL);
            differences.push(format!("acks={}", plan.acks));
        }
        if !plan.idempotence {
            profile.allowed.extend(WITHOUT_IDEMPOTENCE);
            differences.push("idempotence=false".to_owned());
        }
        if plan.isolation == "read_uncommitted" {
            profile.default_isolation = Isolation::Uncommitted;
            profile.allowed.retain(|rule| *rule != "G1a/uncommitted");
            differences.push("isolation=read_uncommitted".to_owned());
        }
        if !differences.is_empty() {
            profile.name = format!("{} ({})", profile.name, differences.join(", "));
        }
        // A group whose polls are as good as its transactions is promised that it is given nothing again.
        let is_exactly_once = plan.options.get("group").is_some_and(|group| group["exactly_once"] == true);
        Ok(if is_exactly_once { profile.exactly_once() } else { profile })
    }

    /// What was promised to be processed exactly once may not be delivered again: `redelivered` is a violation.
    #[must_use]
    pub fn exactly_once(mut self) -> Self {
        self.allowed.retain(|rule| *rule != "redelivered");
        self.name = format!("{}, exactly once", self.name);
        self
    }

    pub fn ruling(&self, rule: &str) -> Ruling {
        let is_allowed = self.allowed.contains(&rule);
        let is_misjudged = mutant::is(if is_allowed { "forbids" } else { "forgives" }, &rule);
        if is_allowed != is_misjudged { Ruling::Allowed } else { Ruling::Violation }
    }

    /// The rules that are no violation here.
    pub fn allowed(&self) -> &[&'static str] {
        &self.allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(acks: &str, idempotence: bool, profile: Option<&str>) -> Plan {
        Plan { acks: acks.to_owned(), idempotence, profile: profile.map(str::to_owned), ..Plan::default() }
    }

    #[test]
    fn a_profile_follows_from_the_plan_and_says_so_in_its_name() {
        let kafka = Profile::derive(&plan("all", true, None)).unwrap();
        assert_eq!(kafka, Profile::default());
        assert_eq!(Profile::derive(&plan("-1", true, None)).unwrap(), kafka);
        let weak = Profile::derive(&plan("1", false, None)).unwrap();
        assert_eq!(weak.name, "kafka (acks=1, idempotence=false)");
        for (rule, ruling) in [
            ("lost-write", Ruling::Violation),
            ("duplicate", Ruling::Violation),
            ("reordered/by-client", Ruling::Allowed),
            ("reordered/in-real-time", Ruling::Allowed),
            ("int-send-skip", Ruling::Allowed),
        ] {
            assert_eq!(weak.ruling(rule), ruling, "{rule}");
        }
    }

    #[test]
    fn who_runs_with_read_uncommitted_is_shown_what_it_gives_away_and_who_names_a_profile_is_not() {
        let uncommitted = Plan { isolation: "read_uncommitted".to_owned(), ..plan("all", true, None) };
        let derived = Profile::derive(&uncommitted).unwrap();
        assert_eq!(derived.name, "kafka (isolation=read_uncommitted)");
        assert_eq!(
            (derived.ruling("G1a/uncommitted"), derived.ruling("precommitted-read/uncommitted")),
            (Ruling::Violation, Ruling::Allowed)
        );
        let named = Profile::derive(&Plan { profile: Some("kafka".to_owned()), ..uncommitted }).unwrap();
        assert_eq!(named.ruling("G1a/uncommitted"), Ruling::Allowed);
    }

    #[test]
    fn exactly_once_takes_away_the_leave_to_deliver_again() {
        let (kafka, once) = (Profile::default(), Profile::default().exactly_once());
        assert_eq!((kafka.ruling("redelivered"), once.ruling("redelivered")), (Ruling::Allowed, Ruling::Violation));
        assert_eq!((once.ruling("int-send-skip"), once.name.as_str()), (Ruling::Allowed, "kafka, exactly once"));
    }

    #[test]
    fn a_given_profile_decides_alone_and_a_wrong_name_lists_the_right_ones() {
        let given = Profile::derive(&plan("1", false, Some("kafka-non-idempotent"))).unwrap();
        assert_eq!((given.name.as_str(), given.ruling("duplicate")), ("kafka-non-idempotent", Ruling::Allowed));
        let error = Profile::named("kafak").unwrap_err().to_string();
        assert!(error.contains("kafka-non-idempotent"), "{error}");
    }
}
