//! Makes a topic; the suite takes away at its end what it made.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use kchaos_cluster::protocol::{Ask, Client, Timeouts, error_name};
use kchaos_cluster::view;
use serde::Deserialize;

use super::super::scene::{Outcome, Scene};
use super::{Kind, Role, Step, own};
use crate::exit::Failure;

pub(super) const KIND: Kind = Kind { name: "create-topic", about: "A topic is made", role: Role::Looks, read: own::<CreateTopic> };

const WHOLE_WITHIN: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct CreateTopic {
    topic: String,
    #[serde(default = "one")]
    partitions: i32,
    #[serde(default = "three")]
    replication_factor: i16,
    #[serde(default)]
    settings: BTreeMap<String, Setting>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a text, a number, true or false")]
enum Setting {
    Text(String),
    Number(i64),
    Word(bool),
}

fn one() -> i32 {
    1
}

fn three() -> i16 {
    3
}

#[async_trait]
impl Step for CreateTopic {
    fn command(&self, _scene: &Scene) -> String {
        format!("CreateTopics {}: {} partitions, {} replicas", self.topic, self.partitions, self.replication_factor)
    }

    async fn run(&self, scene: &mut Scene) -> Result<Outcome, Failure> {
        let client = Client::new(&scene.inventory, Timeouts::default()).map_err(Failure::usage)?;
        let settings: Vec<(String, String)> = self.settings.iter().map(|(name, value)| (name.clone(), value.text())).collect();
        let ask = Ask::Create {
            topic: &self.topic,
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            settings: &settings,
        };
        let code = client.ask_once(ask).await.with_context(|| format!("make the topic {}", self.topic))?;
        if code != 0 {
            return Err(Failure::environment(anyhow!("the topic {} cannot be made: {} ({code})", self.topic, error_name(code))));
        }
        scene.past.topics.push(self.topic.clone());
        let topics = [self.topic.clone()];
        let seen = scene.viewer.wait_for(Some(&topics), WHOLE_WITHIN, |view| view::isr_lacking(view, &topics)).await;
        let seen = seen.with_context(|| format!("the topic {} was made, and is not whole", self.topic))?;
        scene.transcript.say(&view::render_text(&seen));
        Ok(Outcome::valid(format!("{} is there: {} partitions with a leader and a full ISR", self.topic, seen.partitions.len())))
    }
}

impl Setting {
    fn text(&self) -> String {
        match self {
            Setting::Text(text) => text.clone(),
            Setting::Number(number) => number.to_string(),
            Setting::Word(word) => word.to_string(),
        }
    }
}
