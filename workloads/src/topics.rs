//! Making and deleting the run's topics.
//!
//! A run writes to topics that it made itself, or not at all: somebody else's records would be taken for phantoms, and ours would be in
//! their data.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use kchaos_core::Clock;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaErrorCode;

use crate::client_log::{ClientLog, LogSink};
use crate::options::Options;
use crate::properties::{self, Role};
use crate::{Context, WorkloadError};

const REQUEST: Duration = Duration::from_secs(10);
const METADATA: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// A topic that a workload needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: String,
    pub partitions: u32,
    pub replication_factor: u32,
    /// Settings of the topic, in the order of `kafka-configs`' names.
    pub settings: Vec<(String, String)>,
}

/// Makes the topics and waits until each partition has a leader and a full ISR. A topic that exists already is an error: it is not ours.
pub fn create_topics(context: &Context, topics: &[TopicSpec], timeout: Duration) -> Result<(), WorkloadError> {
    if topics.is_empty() {
        return Ok(());
    }
    let deadline = Instant::now() + timeout;
    let admin = admin(context)?;
    // First all are only tried, so that a bad one leaves none behind. (To ask for metadata instead would make the topic, on brokers that
    // auto-create.)
    for is_trial in [true, false] {
        for topic in topics {
            create(&admin, topic, is_trial, deadline)?;
        }
    }
    for topic in topics {
        wait_until_whole(&admin, topic, deadline)?;
    }
    Ok(())
}

/// Deletes topics of this run. Names that do not carry `kchaos-` and the run's id are refused.
pub fn delete_topics(context: &Context, names: &[String], timeout: Duration) -> Result<(), WorkloadError> {
    if names.is_empty() {
        return Ok(());
    }
    if let Some(foreign) = names.iter().find(|name| !is_ours(name, &context.run_id)) {
        return Err(WorkloadError::NotOurs { topic: foreign.clone(), run_id: context.run_id.clone() });
    }
    let admin = admin(context)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let options = AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
    let results = block_on(admin.delete_topics(&names, &options))
        .map_err(|source| WorkloadError::Cluster { doing: format!("delete {}", names.join(", ")), source })?;
    let mut errors = results.into_iter().filter_map(Result::err);
    match errors.find(|(_, code)| *code != RDKafkaErrorCode::UnknownTopicOrPartition) {
        None => Ok(()),
        Some((topic, code)) => Err(WorkloadError::Cluster { doing: format!("delete {topic}"), source: KafkaError::AdminOp(code) }),
    }
}

pub(crate) fn is_ours(topic: &str, run_id: &str) -> bool {
    !run_id.is_empty() && topic.starts_with("kchaos-") && topic.ends_with(&format!("-{run_id}"))
}

fn admin(context: &Context) -> Result<AdminClient<ClientLog>, WorkloadError> {
    admin_client(&context.run_id, &context.bootstrap, &context.properties, Arc::clone(&context.log), Arc::clone(&context.clock))
}

pub(crate) fn admin_client(
    run_id: &str,
    bootstrap: &str,
    properties: &BTreeMap<String, String>,
    sink: Arc<dyn LogSink>,
    clock: Arc<dyn Clock>,
) -> Result<AdminClient<ClientLog>, WorkloadError> {
    for (name, value) in properties {
        properties::check_one(name, value)?;
    }
    let all = properties::resolve(Role::Admin, &Options::default(), bootstrap, properties, &format!("kchaos-{run_id}-admin"));
    let log = ClientLog { sink, clock, client: "admin".to_owned(), watch: None };
    AdminClient::from_config_and_context(&properties::config(&all), log)
        .map_err(|error| WorkloadError::Client { name: "admin".to_owned(), reason: error.to_string() })
}

fn create(admin: &AdminClient<ClientLog>, topic: &TopicSpec, is_trial: bool, deadline: Instant) -> Result<(), WorkloadError> {
    let replication = TopicReplication::Fixed(i32::try_from(topic.replication_factor).unwrap_or(i32::MAX));
    let mut new = NewTopic::new(&topic.name, i32::try_from(topic.partitions).unwrap_or(i32::MAX), replication);
    for (name, value) in &topic.settings {
        new = new.set(name, value);
    }
    let mut is_in_doubt = false;
    loop {
        let left = left(deadline).clamp(PAUSE, REQUEST);
        let options = AdminOptions::new().request_timeout(Some(left)).operation_timeout(Some(left)).validate_only(is_trial);
        let error = match block_on(admin.create_topics([&new], &options)) {
            Err(error) => error,
            Ok(results) => match results.into_iter().find_map(Result::err) {
                None => return Ok(()),
                // An earlier request of ours was not answered, and was done: the trial had found no such topic.
                Some((_, RDKafkaErrorCode::TopicAlreadyExists)) if is_in_doubt => return Ok(()),
                Some((topic, RDKafkaErrorCode::TopicAlreadyExists)) => return Err(WorkloadError::TopicInUse { topic }),
                Some((_, code)) => KafkaError::AdminOp(code),
            },
        };
        if Instant::now() + PAUSE >= deadline || !is_passing(&error) {
            return Err(WorkloadError::Cluster { doing: describe(topic), source: error });
        }
        is_in_doubt = !is_trial;
        std::thread::sleep(PAUSE);
    }
}

fn describe(topic: &TopicSpec) -> String {
    format!("make topic {} with {} partitions and replication factor {}", topic.name, topic.partitions, topic.replication_factor)
}

/// Errors of a cluster that is busy with an election.
fn is_passing(error: &KafkaError) -> bool {
    let code = match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    matches!(
        code,
        Some(
            RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::NotController
                | RDKafkaErrorCode::NetworkException
        )
    )
}

fn wait_until_whole(admin: &AdminClient<ClientLog>, topic: &TopicSpec, deadline: Instant) -> Result<(), WorkloadError> {
    loop {
        let metadata = topics_metadata(admin, &topic.name, deadline)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic.name);
        let whole = found.map_or(0, |found| {
            found
                .partitions()
                .iter()
                .filter(|partition| partition.leader() >= 0 && partition.isr().len() == topic.replication_factor as usize)
                .count()
        });
        if whole == topic.partitions as usize {
            return Ok(());
        }
        if left(deadline).is_zero() {
            return Err(WorkloadError::TopicNotWhole { topic: topic.name.clone(), whole, partitions: topic.partitions });
        }
        std::thread::sleep(PAUSE);
    }
}

fn topics_metadata(admin: &AdminClient<ClientLog>, topic: &str, deadline: Instant) -> Result<Metadata, WorkloadError> {
    loop {
        match admin.inner().fetch_metadata(Some(topic), left(deadline).clamp(PAUSE, METADATA)) {
            Ok(metadata) => return Ok(metadata),
            Err(source) if left(deadline).is_zero() => {
                return Err(WorkloadError::Cluster { doing: "ask the brokers for metadata".to_owned(), source });
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Waits for a future that another thread completes. librdkafka's admin calls end within their own timeouts.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_topics_that_carry_the_runs_id_are_ours() {
        for (topic, run_id, expected) in [
            ("kchaos-append-r1", "r1", true),
            ("kchaos-append-r11", "r1", false),
            ("orders-r1", "r1", false),
            ("kchaos-append-", "", false),
            ("kchaos-appendr1", "r1", false),
        ] {
            assert_eq!(is_ours(topic, run_id), expected, "{topic} {run_id}");
        }
    }
}
