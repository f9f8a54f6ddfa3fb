//! Whether a client of the run's own kind is let in: a real connection by librdkafka, with the run's own properties.
//!
//! By a producer that sends nothing: what librdkafka complains of lies in a queue until it is polled, and an admin client never polls its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kchaos_core::Clock;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::KafkaResult;
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer as _, ProducerContext};

use crate::client_log::{ClientLog, LogRing, log_by};
use crate::properties::{self, Role};
use crate::{Options, WorkloadError};

const LOG_LINES: usize = 32;
const LOOK: Duration = Duration::from_millis(500);
/// In which what was complained of until now is heard.
const LISTEN: Duration = Duration::from_millis(50);

struct Visitor(ClientLog);

log_by!(Visitor, 0);

impl ProducerContext for Visitor {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// What the cluster told a client that it let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    pub cluster_id: Option<String>,
    /// Who is registered, by what the broker that answered knows.
    pub brokers: Vec<i32>,
}

/// Connects, asks who is there, and goes; it writes nothing. The error says what librdkafka complained of last. It blocks for `timeout` at most.
pub fn log_in(
    bootstrap: &str,
    properties: &BTreeMap<String, String>,
    clock: Arc<dyn Clock>,
    timeout: Duration,
) -> Result<Login, WorkloadError> {
    let log = Arc::new(LogRing::new(LOG_LINES));
    let visitor = visitor(bootstrap, properties, log.clone(), clock)?;
    match patiently(&visitor, &log, timeout) {
        Ok(metadata) => {
            let cluster_id = visitor.client().fetch_cluster_id(timeout);
            Ok(Login { cluster_id, brokers: metadata.brokers().iter().map(rdkafka::metadata::MetadataBroker::id).collect() })
        }
        Err(source) => {
            let said = log.lines().into_iter().rev().find(|line| line.level == "error");
            let said = said.map_or_else(String::new, |line| format!(" ({})", line.text));
            Err(WorkloadError::Cluster { doing: format!("ask {bootstrap} who is there{said}"), source })
        }
    }
}

fn visitor(
    bootstrap: &str,
    properties: &BTreeMap<String, String>,
    sink: Arc<LogRing>,
    clock: Arc<dyn Clock>,
) -> Result<BaseProducer<Visitor>, WorkloadError> {
    for (name, value) in properties {
        properties::check_one(name, value)?;
    }
    let all = properties::resolve(Role::Admin, &Options::default(), bootstrap, properties, "kchaos-doctor-admin");
    let log = ClientLog { sink, clock, client: "admin".to_owned(), watch: None };
    BaseProducer::from_config_and_context(&properties::config(&all), Visitor(log))
        .map_err(|error| WorkloadError::Client { name: "admin".to_owned(), reason: error.to_string() })
}

/// Who is refused is refused for good: librdkafka would try again for all of the time.
fn patiently(visitor: &BaseProducer<Visitor>, log: &LogRing, timeout: Duration) -> KafkaResult<Metadata> {
    let until = Instant::now() + timeout;
    loop {
        let answer = visitor.client().fetch_metadata(None, LOOK.min(timeout));
        visitor.poll(LISTEN);
        if answer.is_ok() || Instant::now() >= until || log.lines().iter().any(|line| is_refusal(&line.text)) {
            return answer;
        }
    }
}

/// As librdkafka's log puts it (rdkafka_ssl.c, rdkafka_sasl.c, rdkafka_broker.c).
fn is_refusal(text: &str) -> bool {
    ["SSL handshake failed", "uthentication fail", "SASL authentication error", "Disconnected while requesting ApiVersion"]
        .iter()
        .any(|words| text.contains(words))
}
