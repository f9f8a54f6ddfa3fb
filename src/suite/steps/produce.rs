//! Publishes records with keys, and remembers what was acknowledged.

use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use kchaos_workloads::{Published, ToPublish, publish};
use serde::Deserialize;

use super::super::scene::{Acknowledged, Outcome, Scene};
use super::{Kind, Role, Step, own, seconds};
use crate::cli::Time;
use crate::exit::{self, Failure};

pub(super) const KIND: Kind = Kind { name: "produce", about: "Records are published, acks=all", role: Role::Looks, read: own::<Produce> };

/// So many are told one by one.
const SHOWN: usize = 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Produce {
    topic: String,
    #[serde(default = "ten")]
    count: u32,
    /// `{n}` is the record's number, counted on through the suite.
    #[serde(default = "a_key")]
    key: String,
    #[serde(default = "a_value")]
    value: String,
    /// What is shorter is filled up to so many.
    #[serde(default)]
    value_bytes: usize,
    #[serde(default = "thirty_seconds")]
    within: Time,
}

fn ten() -> u32 {
    10
}

fn a_key() -> String {
    "key-{n}".to_owned()
}

fn a_value() -> String {
    "message {n}".to_owned()
}

fn thirty_seconds() -> Time {
    Time(Duration::from_secs(30))
}

#[async_trait]
impl Step for Produce {
    fn command(&self, _scene: &Scene) -> String {
        format!("librdkafka producer, acks=all: {} records to {}", self.count, self.topic)
    }

    async fn run(&self, scene: &mut Scene) -> Result<Outcome, Failure> {
        let first = scene.past.numbered + 1;
        let records: Vec<ToPublish> = (first..first + u64::from(self.count)).map(|number| self.record(number)).collect();
        scene.past.numbered += u64::from(self.count);
        let (access, topic, Time(within), to_send) = (scene.access()?, self.topic.clone(), self.within, records.clone());
        let published = tokio::task::spawn_blocking(move || publish(&access, &topic, &to_send, within)).await.context("publish")?;
        let published = published.with_context(|| format!("publish to {}", self.topic))?;
        self.show(scene, &records, &published);
        let acknowledged = scene.past.acknowledged.entry(self.topic.clone()).or_default();
        for (record, report) in records.into_iter().zip(&published) {
            if let Ok(offset) = report.offset {
                acknowledged.push(Acknowledged { partition: report.partition, offset, key: record.key, value: record.value });
            }
        }
        Ok(self.outcome(&published))
    }
}

impl Produce {
    fn record(&self, number: u64) -> ToPublish {
        let filled = |text: &str| text.replace("{n}", &number.to_string()).into_bytes();
        let mut value = filled(&self.value);
        value.resize(value.len().max(self.value_bytes), b'.');
        ToPublish { key: Some(filled(&self.key)).filter(|key| !key.is_empty()), value }
    }

    fn show(&self, scene: &Scene, records: &[ToPublish], published: &[Published]) {
        for (record, report) in records.iter().zip(published).take(SHOWN) {
            let key = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let value: String = String::from_utf8_lossy(&record.value).chars().take(60).collect();
            let what = match &report.offset {
                Ok(offset) => format!("{}:{} offset {offset}", self.topic, report.partition),
                Err(error) => format!("NOT ACKNOWLEDGED: {error}"),
            };
            scene.transcript.say(&format!(
                "{key}  {value:?} ({} bytes)  {what}  after {} ms",
                record.value.len(),
                report.after.as_millis()
            ));
        }
        if published.len() > SHOWN {
            scene.transcript.say(&format!("and {} more", published.len() - SHOWN));
        }
    }

    fn outcome(&self, published: &[Published]) -> Outcome {
        let acknowledged = published.iter().filter(|report| report.offset.is_ok()).count();
        let slowest = published.iter().map(|report| report.after).max().unwrap_or_default();
        let outcome = match published.iter().find_map(|report| report.offset.as_ref().err()) {
            None => {
                Outcome::valid(format!("all {acknowledged} acknowledged by the in-sync replicas, the slowest after {}", seconds(slowest)))
            }
            Some(error) => Outcome::of(
                exit::THRESHOLD,
                format!(
                    "{acknowledged} of {} acknowledged within {}; the first that was not: {error}",
                    published.len(),
                    seconds(self.within.0)
                ),
            ),
        };
        outcome.with("acknowledged", acknowledged).with("slowest_ms", crate::run::millis(slowest))
    }
}
