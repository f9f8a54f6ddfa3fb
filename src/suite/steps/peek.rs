//! Shows records of a partition.

use async_trait::async_trait;
use serde::Deserialize;
use serde::de::Error;

use super::super::scene::{Outcome, Scene};
use super::{Kind, Role, Step, own};
use crate::cli::{From, peek_from};
use crate::exit::{self, Failure};
use crate::peek::{self, Wish};

pub(super) const KIND: Kind = Kind { name: "peek", about: "Records of a partition are shown", role: Role::Looks, read: own::<Peek> };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Peek {
    topic: String,
    #[serde(default)]
    partition: i32,
    #[serde(default = "earliest", deserialize_with = "place")]
    from: From,
    #[serde(default = "ten")]
    count: usize,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "an offset, \"earliest\", or \"-5\"")]
enum Place {
    Offset(i64),
    Text(String),
}

fn earliest() -> From {
    From::Earliest
}

fn ten() -> usize {
    10
}

fn place<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<From, D::Error> {
    match Place::deserialize(deserializer)? {
        Place::Offset(offset) => peek_from(&offset.to_string()),
        Place::Text(text) => peek_from(&text),
    }
    .map_err(Error::custom)
}

#[async_trait]
impl Step for Peek {
    fn command(&self, _scene: &Scene) -> String {
        let from = match self.from {
            From::Earliest => "earliest".to_owned(),
            From::Offset(offset) => offset.to_string(),
            From::BeforeEnd(count) => format!("-{count}"),
        };
        format!("kchaos peek {}:{} --from {from} --count {}", self.topic, self.partition, self.count)
    }

    async fn run(&self, scene: &mut Scene) -> Result<Outcome, Failure> {
        let wish = Wish { topic: self.topic.clone(), partition: self.partition, from: self.from, count: self.count, width: 60 };
        let peeked = peek::peek(&scene.inventory, &wish).await?;
        scene.transcript.say(&peek::text(&peeked));
        if peeked.records.is_empty() {
            return Ok(Outcome::of(exit::UNKNOWN, "no records are there"));
        }
        Ok(Outcome::valid(format!("{} records shown, of offsets {} to {}", peeked.records.len(), peeked.log_start, peeked.high_watermark)))
    }
}
