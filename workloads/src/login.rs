//! Whether a client of the run's own kind is let in: a real connection by librdkafka, with the run's own properties.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kchaos_core::Clock;
use rdkafka::admin::AdminClient;
use rdkafka::error::KafkaResult;
use rdkafka::metadata::Metadata;

use crate::client_log::{ClientLog, LogRing};
use crate::{WorkloadError, topics};

const LOG_LINES: usize = 32;
const LOOK: Duration = Duration::from_secs(1);

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
    let admin = topics::admin_client("doctor", bootstrap, properties, log.clone(), clock)?;
    match patiently(&admin, &log, timeout) {
        Ok(metadata) => {
            let cluster_id = admin.inner().fetch_cluster_id(timeout);
            Ok(Login { cluster_id, brokers: metadata.brokers().iter().map(rdkafka::metadata::MetadataBroker::id).collect() })
        }
        Err(source) => {
            let said = log.lines().into_iter().rev().find(|line| line.level == "error");
            let said = said.map_or_else(String::new, |line| format!(" ({})", line.text));
            Err(WorkloadError::Cluster { doing: format!("ask {bootstrap} who is there{said}"), source })
        }
    }
}

/// Who is refused is refused for good: librdkafka would try again for all of the time.
fn patiently(admin: &AdminClient<ClientLog>, log: &LogRing, timeout: Duration) -> KafkaResult<Metadata> {
    let until = Instant::now() + timeout;
    loop {
        let answer = admin.inner().fetch_metadata(None, LOOK.min(timeout));
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
