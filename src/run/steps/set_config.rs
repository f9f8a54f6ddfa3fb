//! `set-config`: settings in the daemons' own files, in force from their next start on, or dynamic ones of the cluster, in force at once.

use async_trait::async_trait;
use kchaos_cluster::inventory::{DaemonKind, Inventory, Privilege, is_secret_property};
use kchaos_cluster::protocol::{Client, ConfigEntry, ConfigSource};
use kchaos_nemeses::{DaemonStep, Settings};
use serde::{Deserialize, Deserializer};

use super::stage::{IN_FORCE_TIMEOUT, Stage, told};
use super::{Kind, NotDone, Step, own, whom::Whom};

pub(super) const KIND: Kind = Kind { name: "set-config", read: own::<SetConfig> };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetConfig {
    #[serde(rename = "where")]
    place: Place,
    /// In the cluster: one broker, or all of them by its default.
    target: Option<Whom>,
    /// If it is not the one that the daemon's process was started with.
    file: Option<String>,
    #[serde(deserialize_with = "settings")]
    settings: Settings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Place {
    /// The daemon's settings file (`server.properties`).
    File,
    /// Dynamic settings, by IncrementalAlterConfigs.
    Cluster,
}

/// What stands in a plan: `false` and `""` take a setting away.
fn settings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Settings, D::Error> {
    let table = toml::Table::deserialize(deserializer)?;
    let one = |(name, value): (String, toml::Value)| {
        let value = match value {
            toml::Value::Boolean(false) => None,
            toml::Value::String(text) if text.is_empty() => None,
            toml::Value::String(text) if text.contains(['\n', '\r']) => return Err(format!("{name}: a setting is one line")),
            toml::Value::String(text) => Some(text),
            toml::Value::Integer(number) => Some(number.to_string()),
            toml::Value::Boolean(true) => return Err(format!("{name} = true: write \"true\" (false alone takes a setting away)")),
            other => return Err(format!("{name} is of type {}: write a text", other.type_str())),
        };
        Ok((name, value))
    };
    let settings = table.into_iter().map(one).collect::<Result<Settings, String>>().map_err(serde::de::Error::custom)?;
    if settings.is_empty() {
        return Err(serde::de::Error::custom("settings is empty: \"NAME\" = \"VALUE\", or false to take one away"));
    }
    Ok(settings)
}

#[async_trait]
impl Step for SetConfig {
    fn words(&self) -> String {
        let shown = |(name, value): (&String, &Option<String>)| match value {
            Some(_) if is_secret_property(name) => format!("{name}=(hidden)"),
            Some(value) => format!("{name}={value}"),
            None => format!("no {name}"),
        };
        let settings: Vec<String> = self.settings.iter().map(shown).collect();
        let of = self.target.as_ref().map_or_else(|| "all brokers".to_owned(), ToString::to_string);
        let place = if self.place == Place::File { "in the file of" } else { "dynamically of" };
        format!("set-config {} {place} {of}", settings.join(", "))
    }

    fn refuse(&self, inventory: &Inventory) -> Result<(), String> {
        self.target.as_ref().map_or(Ok(()), |target| target.refuse(inventory))?;
        match (self.place, &self.target) {
            (Place::File, None) => Err("target is missing: whose settings file?".to_owned()),
            (Place::File, _) if inventory.ssh.privilege() == Privilege::Helper => {
                Err("the helper on the hosts has no verb for it; it needs ssh.privilege = \"root\" (docs/least-privilege.md)".to_owned())
            }
            (Place::File, _) if self.file.as_ref().is_some_and(|file| !file.starts_with('/')) => {
                Err("file is a path on the host, which begins with /".to_owned())
            }
            (Place::Cluster, None | Some(Whom::Daemon(DaemonKind::Kafka, _))) if self.file.is_none() => Ok(()),
            (Place::Cluster, _) if self.file.is_some() => Err("file is for where = \"file\"".to_owned()),
            (Place::Cluster, _) => {
                Err("in the cluster a setting is of one broker (target = \"broker:ID\") or of all (no target)".to_owned())
            }
            (Place::File, _) => Ok(()),
        }
    }

    fn touches_daemons(&self) -> bool {
        self.place == Place::File
    }

    async fn carry_out(&self, stage: &Stage<'_>) -> Result<String, NotDone> {
        match (self.place, &self.target) {
            (Place::File, Some(target)) => self.in_files(stage, target).await,
            (_, Some(Whom::Daemon(_, id))) => self.in_cluster(stage, Some(*id)).await,
            (_, _) => self.in_cluster(stage, None).await,
        }
    }
}

impl SetConfig {
    async fn in_files(&self, stage: &Stage<'_>, target: &Whom) -> Result<String, NotDone> {
        let labels = stage.labels(target).await?;
        let step = DaemonStep::SetFile { file: self.file.clone(), settings: self.settings.clone() };
        for daemon in &labels {
            stage.on_daemon(&step, daemon).await?;
            stage.is_pending(daemon, &self.settings);
        }
        Ok(format!("written for {}; in force from their next start on", labels.join(", ")))
    }

    async fn in_cluster(&self, stage: &Stage<'_>, broker: Option<i32>) -> Result<String, NotDone> {
        let client = stage.client()?;
        for (name, value) in &self.settings {
            let asked = match broker {
                Some(id) => client.set_broker_config(id, name, value.as_deref()).await,
                None => client.set_brokers_config(name, value.as_deref()).await,
            };
            asked.map_err(|error| NotDone::Environment(error.to_string()))?;
        }
        let brokers = broker.map_or_else(|| stage.brokers(), |id| vec![id]);
        let source = if broker.is_some() { ConfigSource::DynamicBroker } else { ConfigSource::DynamicDefaultBroker };
        stage.until(IN_FORCE_TIMEOUT, NotDone::NotProved, || self.look(&client, &brokers, source)).await
    }

    /// By each broker's own word, and by where it has it from.
    async fn look(&self, client: &Client, brokers: &[i32], source: ConfigSource) -> Result<String, String> {
        let mut said = Vec::new();
        for id in brokers {
            let config = client.broker_config(*id).await.map_err(|error| format!("broker {id} does not tell its settings: {error}"))?;
            for (name, wanted) in &self.settings {
                let own = config.get(name).filter(|entry: &&ConfigEntry| entry.source == source);
                let told = match (wanted, own) {
                    (None, None) => Ok(format!("{name} is not set")),
                    (None, Some(_)) => Err(format!("{name} is still set")),
                    (Some(_), None) => Err(format!("{name} is not set")),
                    (Some(wanted), own) => told(name, Some(wanted.as_str()), own),
                };
                said.push(told.map(|text| format!("broker {id} says {text}")).map_err(|why| format!("broker {id} says {why}"))?);
            }
        }
        Ok(said.join("; "))
    }
}
