//! A worker's own side (`kchaos worker`): one client of librdkafka, told by standard input and answering on standard output.

use std::io::{BufRead, BufReader, Stdin, Stdout};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kchaos_core::{Clock, KeyEntry};
use rdkafka::consumer::BaseConsumer;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::door;
use super::protocol::{self, STALLED};
use crate::client_log::{ClientLog, LogLine, LogSink, log_by};
use crate::library::{Incoming, ReadError, Reading, made};
use crate::librdkafka::{RdConsumer, Report};
use crate::{properties, raw};

const POLL: Duration = Duration::from_millis(100);
const RECORDS_MAX: usize = 500;
/// A client that hangs must not keep the process: nobody tells it anything any more.
const END: Duration = Duration::from_secs(3);

/// Serves until its standard input ends. `clock` is the host's own, the same for all workers there.
pub fn serve(input: Stdin, output: Stdout, clock: Arc<dyn Clock>) -> Result<(), String> {
    let mut lines = BufReader::with_capacity(1 << 16, input).lines();
    let mut next = || lines.next().and_then(Result::ok);
    let Some(order) = Order::read(&mut next) else {
        return Err("a worker is told its client on standard input (kchaos starts it)".to_owned());
    };
    let (out, to_write) = channel();
    let (is_written, written) = channel();
    door::thread("worker", "out", move || {
        door::write(output, &to_write);
        let _ = is_written.send(());
    })?;
    let log =
        ClientLog { sink: Arc::new(Said(Mutex::new(out.clone()))), clock: Arc::clone(&clock), client: order.role.clone(), watch: None };
    let (to, told) = channel();
    let mut hears = {
        let out = out.clone();
        move || {
            while let Some(line) = next() {
                if let Some(ours) = line.strip_prefix("ping ") {
                    let _ = out.send(format!("pong {ours} {}", clock.now_ns()));
                } else if to.send(line).is_err() {
                    return;
                }
            }
        }
    };
    // What is told is heard here and the client works beside it, so that a ping never waits for the client.
    let (is_done, done) = channel();
    let work = {
        let out = out.clone();
        move || {
            if let Err(why) = order.work(&log, &out, &told) {
                let _ = out.send(format!("refused 0 ClientError {}", BASE64.encode(why)));
            }
            let _ = is_done.send(());
        }
    };
    door::thread("worker", "client", work)?;
    hears();
    drop(hears);
    let _ = done.recv_timeout(END);
    drop(out);
    let _ = written.recv_timeout(END / 3);
    Ok(())
}

/// What the worker is to be.
struct Order {
    role: String,
    properties: std::collections::BTreeMap<String, String>,
    keys: Vec<KeyEntry>,
}

impl Order {
    fn read(next: &mut impl FnMut() -> Option<String>) -> Option<Self> {
        let mut order = Self { role: next()?, properties: std::collections::BTreeMap::new(), keys: Vec::new() };
        loop {
            let line = next()?;
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["go"] => return Some(order),
                ["set", name, value] => {
                    let value = String::from_utf8(BASE64.decode(value).ok()?).ok()?;
                    order.properties.insert((*name).to_owned(), value);
                }
                ["key", topic, partition] => {
                    let key = i64::try_from(order.keys.len()).ok()?;
                    order.keys.push(KeyEntry { key, topic: (*topic).to_owned(), partition: partition.parse().ok()? });
                }
                _ => return None,
            }
        }
    }

    fn work(&self, log: &ClientLog, out: &Sender<String>, told: &Receiver<String>) -> Result<(), String> {
        let ready = format!("ready {} -", rdkafka::util::get_rdkafka_version().1);
        let config = properties::config(&self.properties);
        let bootstrap = self.properties.get("bootstrap.servers").map_or("", String::as_str);
        if self.role == "producer" {
            let reports = Reports { log: log.clone(), out: Mutex::new(out.clone()) };
            let producer: Arc<BaseProducer<Reports>> = Arc::new(made(&config, reports)?);
            let _ = out.send(ready);
            return self.produce(&producer, out, told, bootstrap);
        }
        let consumer: BaseConsumer<ClientLog> = made(&config, log.clone())?;
        let _ = out.send(ready);
        self.consume(RdConsumer(consumer), out, told, bootstrap);
        Ok(())
    }

    fn produce(
        &self,
        producer: &Arc<BaseProducer<Reports>>,
        out: &Sender<String>,
        told: &Receiver<String>,
        bootstrap: &str,
    ) -> Result<(), String> {
        let is_over = Arc::new(AtomicBool::new(false));
        let polls = {
            let (producer, is_over, out) = (Arc::clone(producer), Arc::clone(&is_over), out.clone());
            move || {
                let mut is_fatal = false;
                while !is_over.load(Relaxed) {
                    producer.poll(POLL);
                    if let Some((code, why)) = producer.client().fatal_error().filter(|_| !is_fatal) {
                        is_fatal = true;
                        let _ = out.send(format!("fatal {}", BASE64.encode(format!("{}: {why}", raw::code_name(code)))));
                    }
                }
            }
        };
        door::thread("worker", "acks", polls)?;
        for line in told.iter() {
            if line == STALLED {
                raw::tell_brokers_again(producer.client(), bootstrap);
            } else if let Some(report) = self.send(producer, &line) {
                let _ = out.send(report);
            }
        }
        is_over.store(true, Relaxed);
        Ok(())
    }

    /// The report of a send that was refused.
    fn send(&self, producer: &BaseProducer<Reports>, line: &str) -> Option<String> {
        let (ticket, key, record_key, payload) = protocol::sent(line)?;
        let entry = self.keys.get(key)?;
        let opaque = Box::new((ticket, Instant::now()));
        let record = BaseRecord::with_opaque_to(&entry.topic, opaque)
            .partition(entry.partition)
            .key(record_key.as_slice())
            .payload(payload.as_slice());
        let Err((error, record)) = producer.send(record) else { return None };
        Some(Report::refused(raw::code(&error)).line(ticket, record.delivery_opaque.1.elapsed()))
    }

    fn consume(&self, mut consumer: impl Reading, out: &Sender<String>, told: &Receiver<String>, bootstrap: &str) {
        for line in told.iter() {
            if line == STALLED {
                consumer.is_stalled(bootstrap);
            } else if let Err(error) = self.answer(&mut consumer, &line, out) {
                let kind = match error {
                    ReadError { is_fatal: true, .. } => "fatal",
                    ReadError { is_out_of_range: true, .. } => "range",
                    ReadError { .. } => "-",
                };
                let _ = out.send(format!("error {kind} 0 {} -", error.name.replace(' ', "_")));
            }
        }
    }

    fn answer(&self, consumer: &mut impl Reading, line: &str, out: &Sender<String>) -> Result<(), ReadError> {
        let wrong = || ReadError { name: format!("the worker was told {line:?}"), is_out_of_range: false, is_fatal: true };
        let words: Vec<&str> = line.split(' ').collect();
        let millis = |word: &str| word.parse().map(Duration::from_millis).map_err(|_| wrong());
        let said = match words.as_slice() {
            ["assign", places @ ..] => {
                let places = protocol::positions(&places.join(" "));
                let places: Vec<_> = places.iter().filter_map(|(key, next)| Some((self.keys.get(*key)?, *next))).collect();
                consumer.assign(&places).map_err(|name| ReadError { name, is_out_of_range: false, is_fatal: false })?;
                "done".to_owned()
            }
            ["poll", timeout] => self.poll(consumer, millis(timeout)?, out)?,
            ["start", key, timeout] => {
                let entry = key.parse().ok().and_then(|key: usize| self.keys.get(key)).ok_or_else(wrong)?;
                match consumer.start_of(entry, millis(timeout)?) {
                    Some(start) => format!("done {start}"),
                    None => return Err(ReadError { name: "_TIMED_OUT".to_owned(), is_out_of_range: false, is_fatal: false }),
                }
            }
            _ => return Err(wrong()),
        };
        let _ = out.send(said);
        Ok(())
    }

    /// What is there, and no more is waited for once there is something.
    fn poll(&self, consumer: &mut impl Reading, timeout: Duration, out: &Sender<String>) -> Result<String, ReadError> {
        let mut count = 0;
        while count < RECORDS_MAX {
            let timeout = if count == 0 { timeout } else { Duration::ZERO };
            match consumer.poll(timeout, &mut |record| drop(out.send(self.record(record)))) {
                Ok(true) => count += 1,
                Ok(false) => break,
                // What was read comes first; an error that lasts comes again.
                Err(error) if count > 0 && !error.is_fatal && !error.is_out_of_range => break,
                Err(error) => return Err(error),
            }
        }
        if count > 0 {
            return Ok("done".to_owned());
        }
        let entries: Vec<&KeyEntry> = self.keys.iter().collect();
        let positions = consumer.positions(&entries).into_iter().enumerate();
        let told: String = positions.filter_map(|(key, position)| Some(format!(" {key}:{}", position?))).collect();
        Ok(format!("done{told}"))
    }

    fn record(&self, record: &Incoming<'_>) -> String {
        let key = self.keys.iter().position(|entry| entry.partition == record.partition && entry.topic == record.topic);
        // One that is none of the keys is passed over by whoever hears it.
        let key = key.unwrap_or(usize::MAX);
        let bytes = |bytes: Option<&[u8]>| bytes.map_or_else(|| "-".to_owned(), |bytes| BASE64.encode(bytes));
        let epoch = record.leader_epoch.unwrap_or(-1);
        format!("r {key} {} {epoch} {} {}", record.offset, bytes(record.record_key), bytes(record.payload))
    }
}

/// The library's log goes to kchaos by the same way.
struct Said(Mutex<Sender<String>>);

impl LogSink for Said {
    fn line(&self, line: LogLine) {
        let LogLine { level, facility, text, .. } = line;
        let facility = facility.replace(' ', "_");
        let _ = lock(&self.0).send(format!("log {level} {facility} {}", BASE64.encode(text)));
    }
}

struct Reports {
    log: ClientLog,
    out: Mutex<Sender<String>>,
}

log_by!(Reports, log);

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<(u64, Instant)>;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: Self::DeliveryOpaque) {
        let (ticket, sent) = *opaque;
        let _ = lock(&self.out).send(Report::of(result).line(ticket, sent.elapsed()));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
