//! `register`: sessions of ZooKeeper read, write and compare-and-set the values of a few znodes, watch them, and own ephemeral nodes.
//!
//! Why: Kafka's controller, and any lock or configuration that people keep in ZooKeeper, stands on these promises. Writes and compare-and-set are
//! linearizable; reads are not (a server answers from what it knows), but what a session is shown never goes back, not even when it moves to
//! another server. A watch fires once, and before its session is shown the change; an ephemeral node lives as long as its session.
//! (<https://zookeeper.apache.org/doc/r3.8.4/zookeeperInternals.html#sc_consistency>, and the programmer's guide on watches.)
//!
//! Key k of the history is the znode `/kchaos-register-<run id>/r/<k>`, which starts empty. Nothing goes to Kafka.
//!
//! **Sessions.** Each of `--sessions` lanes has a session with the whole ensemble, one after another: it ends one after some 15 s and begins the next,
//! and it begins one when the last was lost. A session is a `client` of the history. It does one thing at a time; after an info its lane goes on as
//! another process of the same client. What an error means stands in `outcome`.
//!
//! **Ops.** Half are reads: some of them behind a `sync`, some with a watch. The others are writes, and compare-and-sets by the version that the session
//! saw last. `version` and `zxid` beside an op are the znode's (`version`, `mzxid`): a read tells the last change, not the moment at which it was true.
//!
//! **Watches** are told of before the answer that came behind them: an answer is recorded when every event that had arrived before it was.
//!
//! **Ephemerals.** Each session has one node under `/e/a` and one under `/e/b`. A look at a parent lists its children as of its `pzxid`, the last time
//! that a child came or went, so it says for each node whether it was there at that zxid, whatever server was asked. A session whose lane is over and
//! whose node is absent was closed at that zxid at the latest: then its other node must be gone too.
//!
//! **Sequential nodes.** Every two seconds or so each session makes one below `/s`; all are listed at the end.
//!
//! What this does not do: watches on children and on nodes that do not exist, several ops in one transaction (`multi`), ACLs.

mod lane;
mod options;
mod outcome;
mod run;
mod sequence;
mod session;

use kchaos_core::KeyEntry;

pub use options::RegisterOptions;
pub(crate) use outcome::document;

use crate::options::Options;
use crate::topics::TopicSpec;
use crate::{Context, Load, Running, Spec, Workload, WorkloadError};

pub(crate) const SPEC: Spec = Spec {
    name: "register",
    about: "sessions of ZooKeeper read, write and compare-and-set znodes, watch them, own ephemerals and make sequential nodes; nothing goes to Kafka",
    // Over all sessions.
    load: Load::at(100.0),
    build: |options| {
        options.check()?;
        options.register.check()?;
        Ok(Box::new(Register { options: options.clone() }))
    },
};

struct Register {
    options: Options,
}

/// What the run's nodes stand under.
fn root(run_id: &str) -> String {
    format!("/kchaos-register-{run_id}")
}

impl Workload for Register {
    /// None are Kafka's.
    fn keys(&self, _run_id: &str) -> Vec<KeyEntry> {
        Vec::new()
    }

    fn topics(&self, _run_id: &str) -> Vec<TopicSpec> {
        Vec::new()
    }

    fn start(&self, context: Context) -> Result<Box<dyn Running>, WorkloadError> {
        Ok(Box::new(run::RegisterRun::start(&self.options, context)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_no_topics_and_options_beyond_bounds_are_refused() {
        let workload = (SPEC.build)(&Options::default()).unwrap();
        assert!(workload.topics("r1").is_empty() && workload.keys("r1").is_empty());
        let options = Options { register: RegisterOptions { sessions: 0, ..RegisterOptions::default() }, ..Options::default() };
        let error = (SPEC.build)(&options).err().unwrap().to_string();
        assert!(error.contains("sessions must be from 1 to 200"), "{error}");
    }
}
