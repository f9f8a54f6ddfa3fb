//! What librdkafka's properties are called by the Java client. A user says them in librdkafka's words whichever client it is, so that a run can be
//! repeated with the other one by `--client` alone.
//!
//! What has no twin here is the Java client's own default; a property that the user or the inventory sets and that has none is refused.

use std::collections::BTreeMap;

use super::security;
use crate::options::{Isolation, OptionsError};

/// librdkafka's name (an alias of it has a line of its own) and the Java client's.
struct Twin {
    librdkafka: &'static str,
    java: &'static str,
}

const fn twin(librdkafka: &'static str, java: &'static str) -> Twin {
    Twin { librdkafka, java }
}

const COMMON: &[Twin] = &[
    twin("bootstrap.servers", "bootstrap.servers"),
    twin("client.id", "client.id"),
    // How long an answer is waited for. The Java client also tells it the broker, as the time that replicas have.
    twin("socket.timeout.ms", "request.timeout.ms"),
    twin("socket.connection.setup.timeout.ms", "socket.connection.setup.timeout.ms"),
    twin("reconnect.backoff.ms", "reconnect.backoff.ms"),
    twin("reconnect.backoff.max.ms", "reconnect.backoff.max.ms"),
    twin("retry.backoff.ms", "retry.backoff.ms"),
    twin("retry.backoff.max.ms", "retry.backoff.max.ms"),
    twin("topic.metadata.refresh.interval.ms", "metadata.max.age.ms"),
    twin("connections.max.idle.ms", "connections.max.idle.ms"),
    twin("client.rack", "client.rack"),
];

const PRODUCER: &[Twin] = &[
    twin("acks", "acks"),
    twin("enable.idempotence", "enable.idempotence"),
    twin("message.timeout.ms", "delivery.timeout.ms"),
    twin("delivery.timeout.ms", "delivery.timeout.ms"),
    twin("linger.ms", "linger.ms"),
    twin("queue.buffering.max.ms", "linger.ms"),
    twin("message.max.bytes", "max.request.size"),
    twin("max.in.flight.requests.per.connection", "max.in.flight.requests.per.connection"),
    twin("max.in.flight", "max.in.flight.requests.per.connection"),
    twin("batch.size", "batch.size"),
    twin("compression.type", "compression.type"),
    twin("compression.codec", "compression.type"),
    twin("message.send.max.retries", "retries"),
    twin("retries", "retries"),
];

const CONSUMER: &[Twin] = &[
    twin("allow.auto.create.topics", "allow.auto.create.topics"),
    twin("fetch.min.bytes", "fetch.min.bytes"),
    twin("fetch.wait.max.ms", "fetch.max.wait.ms"),
    twin("fetch.max.bytes", "fetch.max.bytes"),
    twin("fetch.message.max.bytes", "max.partition.fetch.bytes"),
    twin("max.partition.fetch.bytes", "max.partition.fetch.bytes"),
    twin("check.crcs", "check.crcs"),
];

/// Records of one poll, as many as a poll op takes.
const POLL_RECORDS_MAX: &str = "500";

/// Are there twins of these?
pub(crate) fn check(names: impl Iterator<Item = String>) -> Result<(), OptionsError> {
    let has_twin = |name: &str| {
        security::KNOWN.contains(&name) || [COMMON, PRODUCER, CONSUMER].iter().any(|twins| twins.iter().any(|twin| twin.librdkafka == name))
    };
    match names.into_iter().find(|name| !has_twin(name)) {
        Some(name) => Err(OptionsError::PropertyWithoutTwin { name }),
        None => Ok(()),
    }
}

/// Of a producer, from all of librdkafka's.
pub(super) fn producer(all: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    let mut properties = translated(all, PRODUCER)?;
    // `send()` blocks its worker for so long at most, without metadata or room: no longer than a send may take.
    if let Some(delivery) = properties.get("delivery.timeout.ms").cloned() {
        properties.insert("max.block.ms".to_owned(), delivery);
    }
    Ok(properties)
}

/// Of a consumer, which belongs to no group and commits nothing.
pub(super) fn consumer(all: &BTreeMap<String, String>, isolation: Isolation) -> Result<BTreeMap<String, String>, String> {
    let mut properties = translated(all, CONSUMER)?;
    for (name, value) in [
        ("isolation.level", isolation.name()),
        ("enable.auto.commit", "false"),
        // A lost position is an error, never a silent skip.
        ("auto.offset.reset", "none"),
        ("max.poll.records", POLL_RECORDS_MAX),
    ] {
        properties.insert(name.to_owned(), value.to_owned());
    }
    Ok(properties)
}

fn translated(all: &BTreeMap<String, String>, own: &[Twin]) -> Result<BTreeMap<String, String>, String> {
    let mut properties = security::properties(all)?;
    let twins = COMMON.iter().chain(own);
    properties.extend(twins.filter_map(|twin| Some((twin.java.to_owned(), all.get(twin.librdkafka)?.clone()))));
    Ok(properties)
}

/// For `docs/clients.md`.
#[cfg(test)]
fn document() -> String {
    let mut text = String::from("| librdkafka (`-X`, the inventory) | the Java client | of |\n|---|---|---|\n");
    for (twins, whose) in [(COMMON, "both"), (PRODUCER, "producers"), (CONSUMER, "consumers")] {
        twins.iter().for_each(|twin| text.push_str(&format!("| `{}` | `{}` | {whose} |\n", twin.librdkafka, twin.java)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::properties::{Role, resolve};

    #[test]
    fn a_java_producer_is_given_what_librdkafka_s_is() {
        let options = Options { properties: vec![("linger.ms".into(), "7".into())], ..Options::default() };
        let java = producer(&resolve(Role::Producer, &options, "b1:1", &BTreeMap::new(), "me")).unwrap();
        for (name, value) in [
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("linger.ms", "7"),
            ("delivery.timeout.ms", "60000"),
            ("max.block.ms", "60000"),
            ("request.timeout.ms", "4000"),
            ("metadata.max.age.ms", "5000"),
            ("bootstrap.servers", "b1:1"),
            ("client.id", "me"),
        ] {
            assert_eq!(java.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(java.keys().all(|name| !name.starts_with("queue") && !name.starts_with("socket.keepalive")), "{java:?}");
    }

    #[test]
    fn a_java_consumer_belongs_to_no_group_and_skips_nothing_in_silence() {
        let java =
            consumer(&resolve(Role::Consumer, &Options::default(), "b1:1", &BTreeMap::new(), "me"), Isolation::ReadUncommitted).unwrap();
        assert_eq!((java["isolation.level"].as_str(), java["auto.offset.reset"].as_str()), ("read_uncommitted", "none"));
        assert!(!java.contains_key("group.id"));
    }

    #[test]
    fn what_has_no_twin_is_refused_and_not_left_out() {
        assert!(check(["linger.ms".to_owned()].into_iter()).is_ok());
        let error = check(["linger.ms".to_owned(), "sasl.oauthbearer.config".to_owned()].into_iter()).unwrap_err();
        assert!(error.to_string().contains("sasl.oauthbearer.config"), "{error}");
    }

    #[test]
    fn the_document_lists_the_twins() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/clients.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written.contains(&document()), "docs/clients.md is to contain:\n{}", document());
    }
}
