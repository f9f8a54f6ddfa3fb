//! What librdkafka says while it works: kept with the run instead of printed, since timeouts and leader changes are evidence.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use kchaos_core::Clock;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

use crate::racks::Watch;

/// One line of a client's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub time_ns: u64,
    /// `producer-1`, `consumer-2`, `final-1`, `admin`.
    pub client: String,
    /// `error`, `warning`, `notice`, `info`, `debug`.
    pub level: &'static str,
    pub facility: String,
    pub text: String,
}

/// Where a client's log lines go. Called on client threads: it must not block for long.
pub trait LogSink: Send + Sync {
    fn line(&self, line: LogLine);
}

/// The last lines, in memory.
pub struct LogRing {
    capacity: usize,
    state: Mutex<(VecDeque<LogLine>, u64)>,
}

impl LogRing {
    pub fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::default() }
    }

    /// The lines kept, which are kept on.
    pub(crate) fn lines(&self) -> Vec<LogLine> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0.iter().cloned().collect()
    }

    /// The lines kept, and how many older ones were dropped.
    pub fn take(&self) -> (Vec<LogLine>, u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut state.0).into(), std::mem::take(&mut state.1))
    }
}

impl LogSink for LogRing {
    fn line(&self, line: LogLine) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0.len() >= self.capacity {
            state.0.pop_front();
            state.1 += 1;
        }
        state.0.push_back(line);
    }
}

/// A client's way to the sink; the context of clients that need no other.
#[derive(Clone)]
pub(crate) struct ClientLog {
    pub(crate) sink: Arc<dyn LogSink>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) client: String,
    /// Who serves it, of a reader in a rack.
    pub(crate) watch: Option<Arc<Watch>>,
}

impl ClientLog {
    pub(crate) fn say(&self, level: &'static str, facility: &str, text: &str) {
        let (client, facility, text) = (self.client.clone(), facility.to_owned(), text.to_owned());
        self.sink.line(LogLine { time_ns: self.clock.now_ns(), client, level, facility, text });
    }
}

impl ClientContext for ClientLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.say(level_name(level), facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.say("error", "ERROR", &format!("{error}: {reason}"));
    }

    fn stats_raw(&self, json: &[u8]) {
        if let Some(watch) = &self.watch {
            watch.hears(json);
        }
    }
}

impl ConsumerContext for ClientLog {}

/// Contexts that are told more than this log all the same: by the field of this name.
macro_rules! log_by {
    ($context:ty, $($log:tt)+) => {
        impl rdkafka::ClientContext for $context {
            fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, text: &str) {
                self.$($log)+.log(level, facility, text);
            }

            fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
                self.$($log)+.error(error, reason);
            }

            fn stats_raw(&self, _: &[u8]) {}
        }
    };
}
pub(crate) use log_by;

fn level_name(level: RDKafkaLogLevel) -> &'static str {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => "error",
        RDKafkaLogLevel::Warning => "warning",
        RDKafkaLogLevel::Notice => "notice",
        RDKafkaLogLevel::Info => "info",
        RDKafkaLogLevel::Debug => "debug",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_newest_lines_and_counts_the_others() {
        let ring = LogRing::new(2);
        for number in 0..5 {
            let text = number.to_string();
            ring.line(LogLine { time_ns: 0, client: String::new(), level: "info", facility: String::new(), text });
        }
        let (lines, dropped) = ring.take();
        assert_eq!((lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), dropped), (vec!["3", "4"], 3));
        assert_eq!(ring.take(), (vec![], 0));
    }
}
