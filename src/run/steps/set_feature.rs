//! `set-feature`: a higher level of a feature of a KRaft cluster, such as `metadata.version`, which is how an upgrade there ends.

use async_trait::async_trait;
use kchaos_cluster::inventory::Inventory;
use kchaos_cluster::protocol::Client;
use serde::Deserialize;

use super::stage::{IN_FORCE_TIMEOUT, Stage};
use super::{Kind, NotDone, Step, own};

pub(super) const KIND: Kind = Kind { name: "set-feature", read: own::<SetFeature> };

const METADATA_VERSION: &str = "metadata.version";
/// What `kafka-features.sh upgrade --release-version` means by a release (MetadataVersion of Kafka 4.1).
const RELEASES: &[(&str, i16)] =
    &[("3.3", 7), ("3.4", 8), ("3.5", 11), ("3.6", 14), ("3.7", 19), ("3.8", 20), ("3.9", 21), ("4.0", 25), ("4.1", 27)];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetFeature {
    feature: String,
    level: Option<i16>,
    release: Option<String>,
}

impl SetFeature {
    fn level(&self) -> Result<i16, String> {
        match (self.level, self.release.as_deref()) {
            (Some(level), None) if level > 0 => Ok(level),
            (Some(level), None) => Err(format!("level = {level}: a level is 1 or more")),
            (None, Some(release)) if self.feature == METADATA_VERSION => {
                let known = RELEASES.iter().find(|(name, _)| *name == release);
                let names: Vec<&str> = RELEASES.iter().map(|(name, _)| *name).collect();
                known
                    .map(|(_, level)| *level)
                    .ok_or_else(|| format!("release \"{release}\" is not known here: one of {}, or level = N", names.join(", ")))
            }
            (None, Some(_)) => Err(format!("release is for {METADATA_VERSION}: say level = N")),
            _ => Err("either level = N or release = \"4.1\"".to_owned()),
        }
    }
}

#[async_trait]
impl Step for SetFeature {
    fn words(&self) -> String {
        let release = self.release.as_ref().map_or_else(String::new, |release| format!(" ({release})"));
        format!("set-feature {} to {}{release}", self.feature, self.level().unwrap_or_default())
    }

    fn refuse(&self, inventory: &Inventory) -> Result<(), String> {
        self.level()?;
        if inventory.controllers().next().is_some() {
            return Ok(());
        }
        Err("a cluster with ZooKeeper has no features to set: inter.broker.protocol.version by set-config".to_owned())
    }

    fn touches_daemons(&self) -> bool {
        false
    }

    async fn carry_out(&self, stage: &Stage<'_>) -> Result<String, NotDone> {
        let level = self.level().map_err(NotDone::Environment)?;
        let (client, brokers) = (stage.client()?, stage.brokers());
        let Some(first) = brokers.first().copied() else { return Err(NotDone::Environment("there is no broker".to_owned())) };
        let failed = |error: kchaos_cluster::protocol::ProtocolError| NotDone::Environment(error.to_string());
        let before = client.features(first).await.map_err(failed)?;
        let was = before.finalized.get(&self.feature).copied();
        if was == Some(level) {
            return Err(NotDone::NotProved(format!("{} is at level {level} already, so nothing was changed", self.feature)));
        }
        client.raise_feature(first, &self.feature, level).await.map_err(failed)?;
        let was = was.map_or_else(|| "none".to_owned(), |level| level.to_string());
        stage.until(IN_FORCE_TIMEOUT, NotDone::NotProved, || self.look(&client, &brokers, level)).await?;
        Ok(format!("{} from {was} to {level}, by the word of every broker (ApiVersions)", self.feature))
    }
}

impl SetFeature {
    async fn look(&self, client: &Client, brokers: &[i32], level: i16) -> Result<(), String> {
        for id in brokers {
            let features = client.features(*id).await.map_err(|error| format!("broker {id} does not tell its features: {error}"))?;
            let is = features.finalized.get(&self.feature).copied();
            if is != Some(level) {
                return Err(format!("broker {id} says that {} is at {is:?}, not at {level}", self.feature));
            }
        }
        Ok(())
    }
}
