//! What the faults of the cluster share: it is asked for a change by Kafka's own protocol, says itself that it is so, and is asked back.
//!
//! No host is touched but one, the controller's (or the broker's own), which keeps what to put back. It has no means to do it: when a run
//! dies, its lease mends nothing here. `kchaos heal`, and the next run's start, read what is kept, ask the cluster, and take it away when the
//! cluster says that all is as before. Where the cluster cannot be asked the host is reported as not healed, with what is to be put back.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use kchaos_cluster::change::{Change, Seen, Side};
use kchaos_cluster::protocol::{Client, MetadataPartition};
use kchaos_core::{Chosen, Effect, Interval, KeyEntry, Proof};

use crate::error::{Because, FaultError};
use crate::fault::{HostFault, Injected, Undo};
use crate::ground::Ground;
use crate::helper::{self, InWords};

/// Between what people read and what is to be put back, in the line that a host keeps.
pub(crate) const TO_PUT_BACK: &str = "; to put back: ";
/// Until a change is done; a reassignment copies data.
const MADE_TIMEOUT: Duration = Duration::from_secs(60);
pub(crate) const PUT_BACK_TIMEOUT: Duration = Duration::from_secs(120);

pub(crate) struct Asked {
    ground: Arc<Ground>,
    chosen: Chosen,
    changes: Vec<Change>,
}

/// A fault that asks for these changes. There must be some, and they must be such that a host can keep them in a line.
pub(crate) fn plan(ground: Arc<Ground>, chosen: Chosen, changes: Vec<Change>) -> Result<Box<dyn HostFault>, FaultError> {
    if changes.is_empty() {
        return Err(FaultError::refused(&ground.nemesis, "there is nothing to be changed"));
    }
    if kept(&changes).contains('\\') {
        return Err(FaultError::refused(&ground.nemesis, "what is to be put back holds a backslash, which a host cannot keep"));
    }
    if helper::is_used(ground.shared.doors.inventory()) && helper::line(&kept(&changes)) != kept(&changes) {
        return Err(FaultError::refused(&ground.nemesis, "what is to be put back holds a character that the helper does not take"));
    }
    Ok(Box::new(Asked { ground, chosen, changes }))
}

/// The client that asks.
pub(crate) fn client(ground: &Ground) -> Result<Client, FaultError> {
    let failed = |error| FaultError::environment(&ground.nemesis, "the cluster cannot be asked by its protocol", error);
    ground.shared.doors.protocol().map_err(failed)
}

/// The run's own partitions as the cluster sees them; what is not the run's own is not touched.
pub(crate) async fn own_partitions(ground: &Ground, client: &Client) -> Result<Vec<(KeyEntry, MetadataPartition)>, FaultError> {
    let entries = &ground.shared.options.topics;
    if entries.is_empty() {
        return Err(FaultError::refused(&ground.nemesis, "the run has no topic of its own, and others' are not touched"));
    }
    let mut topics: Vec<String> = entries.iter().map(|entry| entry.topic.clone()).collect();
    topics.sort_unstable();
    topics.dedup();
    let metadata = client.metadata_from_any(Some(&topics)).await;
    let metadata = metadata.map_err(|error| FaultError::environment(&ground.nemesis, "the run's topics could not be looked at", error))?;
    let mut found = Vec::new();
    for topic in metadata.topics {
        for partition in topic.partitions {
            let is_it = |entry: &&KeyEntry| entry.topic == topic.topic && entry.partition == partition.partition;
            if let Some(entry) = entries.iter().find(is_it) {
                found.push((entry.clone(), partition));
            }
        }
    }
    if found.len() < entries.len() {
        let reason = format!("{} of the run's {} partitions are in the cluster's metadata", found.len(), entries.len());
        return Err(FaultError::refused(&ground.nemesis, reason));
    }
    Ok(found)
}

/// What is to be put back, as a host keeps it.
pub(crate) fn kept(changes: &[Change]) -> String {
    // Strings and numbers alone: it cannot fail.
    serde_json::to_string(changes).unwrap_or_default()
}

/// The changes in a line that a host kept.
pub(crate) fn changes_in(about: &str) -> Option<Vec<Change>> {
    serde_json::from_str(about.split_once(TO_PUT_BACK)?.1).ok()
}

/// Asks for all to be as before, and waits until the cluster says so.
pub(crate) async fn put_back(client: &Client, changes: &[Change]) -> Result<String, String> {
    let back = changes.iter().map(|change| change.bring_about(client, Side::Before, PUT_BACK_TIMEOUT));
    Ok(join_all(back).await.into_iter().collect::<Result<Vec<_>, _>>()?.join("; "))
}

#[async_trait]
impl HostFault for Asked {
    fn host(&self) -> &str {
        &self.chosen.host
    }

    fn undo(&self) -> Undo {
        let words = self.changes.iter().map(Change::words).collect::<Vec<_>>().join(", ");
        Undo {
            about: format!("{}: {words}{TO_PUT_BACK}{}", self.ground.nemesis, kept(&self.changes)),
            parts: &[],
            setup: String::new(),
            // From a host nothing can be done about it, nor be seen.
            mend: "return 1".to_owned(),
            verify: "return 1".to_owned(),
        }
    }

    fn holds(&self) -> String {
        "return 0".to_owned()
    }

    fn in_words(&self) -> Option<InWords> {
        Some(InWords::new(helper::strings(&[&"asked"])).holding(helper::strings(&[&"any"])))
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        let client = client(&self.ground)?;
        let after_ns = self.ground.now();
        for change in &self.changes {
            let refused = |error| FaultError::environment(&self.ground.nemesis, change.words(), error);
            change.ask(&client, Side::After).await.map_err(refused)?;
        }
        let when = Interval { after_ns, before_ns: self.ground.now() };
        let settings = self.changes.iter().map(Change::words).collect();
        Ok(Injected { when, effect: Effect { settings, ..Effect::default() } })
    }

    async fn proof(&self) -> Result<Proof, FaultError> {
        let client = client(&self.ground)?;
        let made = join_all(self.changes.iter().map(|change| change.await_seen(&client, Side::After, MADE_TIMEOUT))).await;
        let proved = made.iter().all(Result::is_ok);
        let said: Vec<String> =
            made.into_iter().map(|one| one.unwrap_or_else(|why| format!("not within {MADE_TIMEOUT:?}: {why}"))).collect();
        Ok(Proof { proved, text: said.join("; ") })
    }

    async fn mend(&self) -> Result<Interval, String> {
        let client = client(&self.ground).map_err(|error| error.to_string())?;
        let after_ns = self.ground.now();
        put_back(&client, &self.changes).await?;
        Ok(Interval { after_ns, before_ns: self.ground.now() })
    }

    async fn mended(&self) -> Proof {
        let client = match client(&self.ground) {
            Ok(client) => client,
            Err(error) => return Proof { proved: false, text: error.to_string() },
        };
        let seen = join_all(self.changes.iter().map(|change| change.look(&client, Side::Before))).await;
        let (mut proved, mut said) = (true, Vec::new());
        for (change, seen) in self.changes.iter().zip(seen) {
            match seen {
                Ok(Seen::Yes(text)) => said.push(text),
                Ok(Seen::No(text)) => {
                    proved = false;
                    said.push(text);
                }
                Err(error) => {
                    proved = false;
                    said.push(format!("{}: {error}", change.words()));
                }
            }
        }
        Proof { proved, text: said.join("; ") }
    }
}

/// For a plan that finds nothing it could do.
pub(crate) fn environment(ground: &Ground, what: &str, why: impl Into<String>) -> FaultError {
    FaultError::environment(&ground.nemesis, what, Because(why.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_host_keeps_is_read_back_from_its_line() {
        let changes = vec![Change::Replicas { topic: "kchaos-t".into(), partition: 0, before: vec![1, 2, 3], after: vec![2, 3] }];
        let about = format!("reassign: {}{TO_PUT_BACK}{}", changes[0].words(), kept(&changes));
        assert_eq!(changes_in(&about), Some(changes));
        assert_eq!(changes_in("pause-leader: kafka:1 on b1 (pid 3) paused"), None);
    }

    proptest! {
        #[test]
        fn no_line_of_a_host_makes_it_panic(text in "(reassign: x; to put back: )?\\PC{0,60}") {
            let _ = changes_in(&text);
        }
    }
}
