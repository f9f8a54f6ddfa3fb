//! Is everything ready for a run? One mechanism for `kchaos doctor`, the preflight of `kchaos test` and `kchaos plan`: it looks, writes nothing
//! anywhere, and says for each thing that fails what mends it.

mod cluster;
mod hosts;
pub(crate) mod racks;
mod security;
mod show;

use std::fmt;
use std::sync::Arc;

use kchaos_cluster::cluster::Cluster;
use kchaos_cluster::inventory::Environment;
use kchaos_nemeses::{Doors, Unbearable};
use serde::Serialize;

use crate::run::Setup;

pub(crate) use show::text;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Ok,
    /// A run can go on; something of it may not.
    Warning,
    /// A run is refused.
    Fails,
}

/// One check of one host, of this machine, or of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    pub(crate) check: &'static str,
    /// A host's name, `this machine` or `the cluster`.
    pub(crate) on: String,
    pub(crate) level: Level,
    pub(crate) text: String,
    /// What mends it, in words or as a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mend: Option<String>,
}

pub(crate) const MACHINE: &str = "this machine";
pub(crate) const CLUSTER: &str = "the cluster";

impl Line {
    pub(crate) fn ok(check: &'static str, on: &str, text: impl Into<String>) -> Self {
        Self { check, on: on.to_owned(), level: Level::Ok, text: text.into(), mend: None }
    }

    pub(crate) fn warning(check: &'static str, on: &str, text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::fails(check, on, text, mend) }
    }

    pub(crate) fn fails(check: &'static str, on: &str, text: impl Into<String>, mend: impl Into<String>) -> Self {
        let mend = Some(mend.into()).filter(|mend| !mend.is_empty());
        Self { check, on: on.to_owned(), level: Level::Fails, text: text.into(), mend }
    }
}

/// As an error says it, of these hosts.
impl fmt::Display for Group<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<&str> = self.on.iter().copied().filter(|on| ![MACHINE, CLUSTER].contains(on)).collect();
        if !hosts.is_empty() {
            write!(f, "{}: ", hosts.join(", "))?;
        }
        f.write_str(&self.line.text)?;
        self.line.mend.as_ref().map_or(Ok(()), |mend| write!(f, ": {mend}"))
    }
}

/// What is true of several hosts.
pub(crate) struct Group<'a> {
    pub(crate) line: &'a Line,
    pub(crate) on: Vec<&'a str>,
}

/// What several hosts share is said once.
pub(crate) fn groups(lines: &[Line]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for line in lines {
        let is_same =
            |first: &Line| (first.check, first.level, &first.text, &first.mend) == (line.check, line.level, &line.text, &line.mend);
        match groups.iter_mut().find(|group| is_same(group.line)) {
            Some(group) => group.on.push(&line.on),
            None => groups.push(Group { line, on: vec![&line.on] }),
        }
    }
    groups
}

/// What was found, and the ways that were opened to find it.
pub(crate) struct Examined {
    pub(crate) lines: Vec<Line>,
    /// Absent where the hosts cannot even be tried to be reached.
    pub(crate) ways: Option<(Arc<Cluster>, Arc<dyn Doors>)>,
    pub(crate) unbearable: Vec<Unbearable>,
}

impl Examined {
    /// What a run can go on with, and may be ended or made useless by.
    pub(crate) fn warnings_of(&self, check: &str) -> Vec<String> {
        let is_it = |line: &Line| line.level == Level::Warning && line.check == check;
        groups(&self.lines).iter().filter(|group| is_it(group.line)).map(ToString::to_string).collect()
    }

    pub(crate) fn failing(&self) -> Vec<String> {
        groups(&self.lines).iter().filter(|group| group.line.level == Level::Fails).map(ToString::to_string).collect()
    }

    pub(crate) fn worst(&self) -> Level {
        self.lines.iter().map(|line| line.level).max().unwrap_or(Level::Ok)
    }
}

/// Looks at everything. Whether the cluster is whole is asked only if it is wanted: a run mends first what an earlier one left.
pub(crate) async fn examine(setup: &Setup, wants_whole: bool) -> Examined {
    let mut lines = vec![consent(setup)];
    lines.extend(abort_conditions(setup).await);
    let ways = match Cluster::new(Arc::clone(&setup.inventory)) {
        Ok(cluster) => {
            let cluster = Arc::new(cluster);
            Some((Arc::clone(&cluster), kchaos_nemeses::doors(cluster)))
        }
        Err(error) => {
            lines.push(Line::fails("ssh", MACHINE, format!("the inventory cannot be used: {:#}", anyhow::Error::from(error)), ""));
            None
        }
    };
    let of_hosts = async {
        match &ways {
            Some((cluster, doors)) => hosts::examine(setup, cluster, doors.as_ref()).await,
            None => hosts::Found::default(),
        }
    };
    let (of_cluster, of_hosts) = tokio::join!(cluster::examine(setup, wants_whole), of_hosts);
    lines.extend(of_cluster);
    lines.extend(of_hosts.lines);
    Examined { lines, ways, unbearable: of_hosts.unbearable }
}

/// A cluster that people depend on is broken only by somebody who types its name.
fn consent(setup: &Setup) -> Line {
    match setup.lacks_consent() {
        None => {
            let cluster = &setup.inventory.cluster;
            let environment = match cluster.environment {
                Environment::Lab => "a lab",
                Environment::Staging => "staging",
                Environment::Production => "production, and its name was typed",
            };
            Line::ok("environment", CLUSTER, format!("{} is {environment}", cluster.name))
        }
        Some((text, mend)) => Line::fails("environment", CLUSTER, text, mend),
    }
}

async fn abort_conditions(setup: &Setup) -> Option<Line> {
    let commands = &setup.args.abort_if;
    if commands.is_empty() {
        return None;
    }
    Some(match crate::run::refuse_abort_conditions(commands).await {
        Ok(()) => Line::ok("abort-if", MACHINE, "the abort conditions can be asked, and none holds"),
        Err(failure) => Line::fails("abort-if", MACHINE, failure.to_string(), "wait until it holds no more, or correct the command"),
    })
}
