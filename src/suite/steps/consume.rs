//! Reads a topic from its beginning, and holds it against what was acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use kchaos_workloads::{Consumed, ConsumedTopic, consume};
use serde::Deserialize;

use super::super::scene::{Acknowledged, Outcome, Scene};
use super::{Kind, Role, Step, own, seconds};
use crate::cli::Time;
use crate::exit::{self, Failure};

pub(super) const KIND: Kind = Kind {
    name: "consume",
    about: "The topic is read from its beginning; nothing that was acknowledged may lack",
    role: Role::Looks,
    read: own::<Consume>,
};

/// So many of the newest are shown.
const SHOWN: usize = 5;
const EXAMPLES: usize = 3;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Consume {
    topic: String,
    #[serde(default = "thirty_seconds")]
    within: Time,
}

fn thirty_seconds() -> Time {
    Time(Duration::from_secs(30))
}

#[async_trait]
impl Step for Consume {
    fn command(&self, _scene: &Scene) -> String {
        format!("librdkafka consumer: {} from its beginning", self.topic)
    }

    async fn run(&self, scene: &mut Scene) -> Result<Outcome, Failure> {
        let (access, topic, Time(within)) = (scene.access()?, self.topic.clone(), self.within);
        let read = tokio::task::spawn_blocking(move || consume(&access, &topic, within)).await.context("consume")?;
        let read = read.with_context(|| format!("consume {}", self.topic))?;
        for record in read.records.iter().skip(read.records.len().saturating_sub(SHOWN)) {
            let [key, value] = [&record.key, &record.value].map(|part| part.as_deref().map_or("-".to_owned(), short));
            scene.transcript.say(&format!("{}:{} offset {}  {key}  {value}", self.topic, record.partition, record.offset));
        }
        let acknowledged = scene.past.acknowledged.get(&self.topic).map(Vec::as_slice).unwrap_or_default();
        Ok(judge(&read, acknowledged, within))
    }
}

fn short(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(bytes).chars().take(60).collect::<String>())
}

/// Everything acknowledged must stand where it was said to stand, once.
fn judge(read: &ConsumedTopic, acknowledged: &[Acknowledged], within: Duration) -> Outcome {
    let by_place: BTreeMap<(i32, i64), &Consumed> = read.records.iter().map(|record| ((record.partition, record.offset), record)).collect();
    // What is behind the place that was read to is not lost: it was not read.
    let was_read = |one: &&Acknowledged| read.behind.get(&one.partition).is_none_or(|next| one.offset < *next);
    let mut wrong = Vec::new();
    for one in acknowledged.iter().filter(was_read) {
        let place = format!("partition {} offset {}", one.partition, one.offset);
        match by_place.get(&(one.partition, one.offset)) {
            None => wrong.push(format!("{} was acknowledged at {place}, and nothing is there", short(&one.value))),
            Some(found) if found.value.as_deref() != Some(&one.value) || found.key != one.key => {
                let is = found.value.as_deref().map_or("nothing".to_owned(), short);
                wrong.push(format!("{} was acknowledged at {place}, where {is} stands", short(&one.value)));
            }
            Some(_) => {}
        }
    }
    let outcome = if !wrong.is_empty() {
        Outcome::of(
            exit::INVALID,
            format!("{} acknowledged records are lost or changed: {}", wrong.len(), wrong[..wrong.len().min(EXAMPLES)].join("; ")),
        )
    } else if let Some((partition, next)) = read.behind.iter().next() {
        let end = read.bounds.get(partition).map_or(0, |(_, end)| *end);
        let text = format!("partition {partition} was read to {next} of {end} within {}: nothing is proved of the rest", seconds(within));
        Outcome::of(exit::UNKNOWN, text)
    } else if acknowledged.is_empty() && read.records.is_empty() {
        Outcome::of(exit::UNKNOWN, "nothing was published and nothing is there: nothing is proved")
    } else {
        Outcome::valid(format!(
            "{} records read; all {} that were acknowledged stand where they were put",
            read.records.len(),
            acknowledged.len()
        ))
    };
    outcome.with("read", read.records.len()).with("acknowledged", acknowledged.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledged(offset: i64, value: &str) -> Acknowledged {
        Acknowledged { partition: 0, offset, key: Some(b"k".to_vec()), value: value.as_bytes().to_vec() }
    }

    fn check(values: &[(i64, &str)], behind: Option<i64>, expect: u8, part: &str) {
        let record = |(offset, value): &(i64, &str)| Consumed {
            partition: 0,
            offset: *offset,
            key: Some(b"k".to_vec()),
            value: Some(value.as_bytes().to_vec()),
        };
        let read = ConsumedTopic {
            records: values.iter().map(record).collect(),
            bounds: BTreeMap::from([(0, (0, 9))]),
            behind: behind.map(|next| (0, next)).into_iter().collect(),
        };
        let outcome = judge(&read, &[acknowledged(3, "a"), acknowledged(5, "b")], Duration::from_secs(1));
        assert_eq!(outcome.code, expect, "{}", outcome.text);
        assert!(outcome.text.contains(part), "{}", outcome.text);
    }

    #[test]
    fn everything_acknowledged_must_stand_where_it_was_said_to_stand() {
        check(&[(3, "a"), (4, "x"), (5, "b")], None, exit::VALID, "all 2");
        check(&[(3, "a")], None, exit::INVALID, "\"b\" was acknowledged at partition 0 offset 5, and nothing is there");
        check(&[(3, "a"), (5, "c")], None, exit::INVALID, "where \"c\" stands");
    }

    #[test]
    fn what_was_not_read_in_time_proves_nothing_and_what_was_read_still_counts() {
        check(&[(3, "a")], Some(5), exit::UNKNOWN, "read to 5 of 9");
        check(&[], Some(5), exit::INVALID, "\"a\" was acknowledged");
        assert_eq!(judge(&ConsumedTopic::default(), &[], Duration::ZERO).code, exit::UNKNOWN);
    }
}
