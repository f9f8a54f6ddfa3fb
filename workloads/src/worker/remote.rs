//! Our side of librdkafka's clients on other hosts (`--client-hosts`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kchaos_core::{KeyEntry, Offset};

use super::book::Book;
use super::consumer::WorkerConsumer;
use super::door::{self, ClientHost, Mouth, Worker, WorkerEnd};
use super::protocol::{self, Start};
use super::tickets::Tickets;
use crate::Lost;
use crate::client_log::ClientLog;
use crate::instance::Instance;
use crate::library::{Incoming, Library, Outgoing, ReadError, Reading, Sending};
use crate::librdkafka::{ASSIGNED, Report};
use crate::options::Isolation;
use crate::producer::first_attempt_ns;
use crate::properties::{Role, without_files};
use crate::racks;
use crate::run::Clients;
use crate::shared::Shared;
use crate::writer::Writer;

const PING_EVERY: Duration = Duration::from_millis(500);

/// The clients of a run, spread over hosts in turn: readers first, then those who write.
pub(crate) struct HostClients {
    books: Vec<Arc<Book>>,
    next: AtomicUsize,
}

impl HostClients {
    pub(crate) fn new(hosts: &[Arc<dyn ClientHost>]) -> Self {
        let books = hosts.iter().map(|host| Arc::new(Book::new(Arc::clone(host)))).collect();
        Self { books, next: AtomicUsize::new(0) }
    }
}

impl Clients for HostClients {
    /// Asked once for each client; one that is replaced stays where it was.
    fn library(&self) -> Arc<dyn Library> {
        let turn = self.next.fetch_add(1, Relaxed);
        Arc::new(OnHost(Arc::clone(&self.books[turn % self.books.len()])))
    }

    fn told(&self, shared: &Shared) -> Vec<String> {
        self.books.iter().for_each(|book| book.tell_latency(shared));
        self.books.iter().map(|book| book.told()).collect()
    }

    fn lost(&self) -> Vec<Lost> {
        self.books.iter().flat_map(|book| book.what_was_lost()).collect()
    }
}

/// The library, on one host.
struct OnHost(Arc<Book>);

impl Library for OnHost {
    fn has_gate(&self) -> bool {
        true
    }

    fn producer(&self, writer: &Writer, instance: &Arc<Instance>) -> Result<Box<dyn Sending>, String> {
        let shared = &instance.shared;
        let properties = without_files(shared.properties(writer.role, &writer.name))?;
        let first_attempt = Duration::from_nanos(first_attempt_ns(&properties));
        let start = Start { role: "producer", properties, keys: &shared.keys };
        let pipes = self.0.host.start()?;
        let ears = Ears::new(&self.0, shared, &instance.log, &pipes.end);
        let tickets = Arc::new(Tickets::new(instance));
        let listener = {
            let (ears, tickets) = (Arc::clone(&ears), Arc::clone(&tickets));
            move |line: Option<&str>| hears(&ears, &tickets, line, first_attempt)
        };
        let worker = Worker::start(pipes, self.place(), &start, &instance.log, Box::new(listener))?;
        self.0.started();
        keep_looking(&instance.log, shared, worker.mouth())?;
        Ok(Box::new(RemoteProducer { worker, ears, tickets }))
    }

    fn consumer(&self, shared: &Arc<Shared>, name: &str, isolation: Isolation, rack: Option<&str>) -> Result<Box<dyn Reading>, String> {
        let log = shared.log(name);
        let mut properties = without_files(shared.properties(Role::Consumer, name))?;
        properties.insert("isolation.level".to_owned(), isolation.name().to_owned());
        if let Some(rack) = rack {
            properties.insert(racks::PROPERTY.to_owned(), rack.to_owned());
            shared.served.meets(name, rack);
        }
        let start = Start { role: "consumer", properties, keys: &shared.keys };
        let pipes = self.0.host.start()?;
        let ears = Ears::new(&self.0, shared, &log, &pipes.end);
        let passes = {
            let ears = Arc::clone(&ears);
            move |line: Option<&str>| !ears.take(line)
        };
        let consumer = WorkerConsumer::start(pipes, self.place(), shared, (&start, &log), ASSIGNED, passes)?;
        self.0.started();
        keep_looking(&log, shared, consumer.worker().mouth())?;
        Ok(Box::new(RemoteConsumer { consumer, ears }))
    }
}

impl OnHost {
    fn place(&self) -> String {
        format!("on {}", self.0.name())
    }
}

/// What every worker says beside its answers.
struct Ears {
    book: Arc<Book>,
    shared: Arc<Shared>,
    log: ClientLog,
    end: Arc<dyn WorkerEnd>,
    /// It ends because we want it to.
    is_ending: AtomicBool,
}

impl Ears {
    fn new(book: &Arc<Book>, shared: &Arc<Shared>, log: &ClientLog, end: &Arc<dyn WorkerEnd>) -> Arc<Self> {
        let (book, shared, end) = (Arc::clone(book), Arc::clone(shared), Arc::clone(end));
        Arc::new(Self { book, shared, log: log.clone(), end, is_ending: AtomicBool::new(false) })
    }

    /// Whether the line was no answer. Its end is everybody's.
    fn take(&self, line: Option<&str>) -> bool {
        let Some(line) = line else {
            if !self.is_ending.load(Relaxed) {
                let why = self.end.how().unwrap_or_else(|| "it said its last".to_owned());
                self.log.say("error", "KCHAOS", &format!("lost on {}: {why}", self.book.name()));
                self.book.lost(&self.log.client, self.shared.clock.now_ns(), &why);
            }
            return false;
        };
        let mut words = line.split(' ');
        match words.next() {
            Some("pong") => {
                if let (Some(ours), Some(theirs)) = (number(words.next()), number(words.next())) {
                    self.book.looked(&self.shared, ours, theirs);
                }
            }
            Some("log") => {
                let (level, facility) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
                self.log.say(level_of(level), facility, &text(words.next()));
            }
            _ => return false,
        }
        true
    }
}

fn number(word: Option<&str>) -> Option<u64> {
    word?.parse().ok()
}

fn text(word: Option<&str>) -> String {
    let bytes = word.and_then(|word| BASE64.decode(word).ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn level_of(name: &str) -> &'static str {
    ["error", "warning", "notice", "info", "debug"].into_iter().find(|level| *level == name).unwrap_or("notice")
}

/// The clock of the host is looked at as long as the worker is held.
fn keep_looking(log: &ClientLog, shared: &Arc<Shared>, mouth: Mouth) -> Result<(), String> {
    let clock = Arc::clone(&shared.clock);
    door::thread(&log.client, "clock", move || {
        while mouth.say(format!("ping {}", clock.now_ns())) {
            std::thread::sleep(PING_EVERY);
        }
    })
}

fn hears(ears: &Ears, tickets: &Tickets, line: Option<&str>, first_attempt: Duration) {
    if ears.take(line) {
        return;
    }
    let Some(line) = line else { return ears.book.gave_up(tickets.give_up()) };
    if let Some(why) = line.strip_prefix("fatal ") {
        return tickets.is_fatal(&text(Some(why)));
    }
    let Some((ticket, report, took_ns)) = Report::read(line) else {
        return ears.log.say("error", "KCHAOS", &format!("the worker says {line:?}"));
    };
    tickets.answered(ticket, |send, after| {
        // By our own clock, which can only make an attempt look later than it was: then nothing is definite.
        let told = report.told(send, after, first_attempt);
        ears.book.completed(told.op_type, took_ns);
        told
    });
}

struct RemoteProducer {
    worker: Worker,
    ears: Arc<Ears>,
    tickets: Arc<Tickets>,
}

impl Sending for RemoteProducer {
    fn send(&mut self, record: &Outgoing<'_>) -> bool {
        let is_open = self.tickets.open(record.sequence, record.lane);
        if is_open {
            self.worker.say(protocol::send(record.sequence, record.key, record.record_key, record.payload));
        }
        is_open
    }

    fn fatal(&self) -> Option<String> {
        self.tickets.fatal().or_else(|| self.worker.death())
    }

    fn is_stalled(&self, _bootstrap: &str) -> bool {
        self.worker.say(protocol::STALLED.to_owned())
    }
}

impl Drop for RemoteProducer {
    fn drop(&mut self) {
        self.ears.is_ending.store(true, Relaxed);
    }
}

struct RemoteConsumer {
    consumer: WorkerConsumer,
    ears: Arc<Ears>,
}

impl Drop for RemoteConsumer {
    fn drop(&mut self) {
        self.ears.is_ending.store(true, Relaxed);
    }
}

impl Reading for RemoteConsumer {
    fn settles_in(&self) -> Duration {
        self.consumer.settles_in()
    }

    fn assign(&mut self, places: &[(&KeyEntry, Offset)]) -> Result<(), String> {
        self.consumer.assign(places)
    }

    fn poll(&mut self, timeout: Duration, take: &mut dyn FnMut(&Incoming<'_>)) -> Result<bool, ReadError> {
        self.consumer.poll(timeout, take)
    }

    fn positions(&mut self, entries: &[&KeyEntry]) -> Vec<Option<Offset>> {
        self.consumer.positions(entries)
    }

    fn start_of(&mut self, entry: &KeyEntry, timeout: Duration) -> Option<Offset> {
        self.consumer.start_of(entry, timeout)
    }

    fn is_stalled(&self, bootstrap: &str) {
        self.consumer.is_stalled(bootstrap);
    }
}
