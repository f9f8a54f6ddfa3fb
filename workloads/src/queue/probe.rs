//! Does the cluster know the group's protocol? Asked before anything is made.
//!
//! A member of the protocol `consumer` (KIP-848) at brokers that do not have it asks for a coordinator for ever, and librdkafka says so in its debug log
//! alone. So a member tries to join a group of its own, and its log is listened to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;

use super::options::GroupProtocol;
use super::run::group;
use crate::client_log::{ClientLog, LogLine, LogSink};
use crate::options::Options;
use crate::raw;
use crate::shared::Shared;
use crate::{Context, WorkloadError};

const PROBE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);
const NAME: &str = "probe";

/// What librdkafka 2.12 says when a coordinator does not know the request, and when one has answered it.
const UNKNOWN: &str = "not supported by broker";
const ANSWERED: &str = "ConsumerGroupHeartbeat response received";

/// 0 until it is known.
#[derive(Default)]
struct Heard(AtomicU8);

impl Heard {
    const UNKNOWN: u8 = 1;
    const ANSWERED: u8 = 2;
}

impl LogSink for Heard {
    fn line(&self, line: LogLine) {
        if line.text.contains(UNKNOWN) {
            self.0.store(Self::UNKNOWN, Relaxed);
        } else if line.text.contains(ANSWERED) {
            self.0.store(Self::ANSWERED, Relaxed);
        }
    }
}

pub(super) fn refuse_cluster(options: &Options, context: &Context) -> Result<(), WorkloadError> {
    if options.group.protocol == GroupProtocol::Classic {
        return Ok(());
    }
    let heard = Arc::new(Heard::default());
    let shared = Shared::new(options.clone(), Vec::new(), context.clone())?;
    // Nobody makes the topic: a member may wait for one.
    let topic = format!("kchaos-probe-{}", context.run_id);
    let group = group(Arc::new(shared), topic.clone(), topic.clone());
    let unmade = |error: KafkaError| WorkloadError::Client { name: NAME.to_owned(), reason: error.to_string() };
    let log = ClientLog { sink: heard.clone(), clock: Arc::clone(&context.clock), client: NAME.to_owned(), watch: None };
    let mut config = group.config(NAME);
    config.set("debug", "cgrp").set_log_level(RDKafkaLogLevel::Debug);
    let consumer = BaseConsumer::from_config_and_context(&config, log).map_err(unmade)?;
    consumer.subscribe(&[&topic]).map_err(unmade)?;
    let until = Instant::now() + PROBE;
    while Instant::now() < until {
        let polled = consumer.poll(POLL);
        let fatal = consumer.client().fatal_error().map(|(code, reason)| format!("{}: {reason}", raw::code_name(code)));
        drop(polled);
        match (fatal, heard.0.load(Relaxed)) {
            (Some(reason), _) => return Err(unsupported(&reason)),
            (None, Heard::UNKNOWN) => return Err(unsupported("the coordinator does not know ConsumerGroupHeartbeat")),
            (None, Heard::ANSWERED) => return Ok(()),
            _ => {}
        }
    }
    Err(unsupported(&format!("no coordinator answered within {} s", PROBE.as_secs())))
}

fn unsupported(why: &str) -> WorkloadError {
    let reason = format!(
        "the cluster does not take part in the group protocol \"consumer\" (KIP-848): {why}. It needs Kafka 4.0 or later, with KRaft: take \
         --group-protocol classic"
    );
    WorkloadError::Unsupported { reason }
}
