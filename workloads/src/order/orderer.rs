//! One orderer: what it hears from the channels, what it sends to them, and its restarts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kchaos_core::{Clock, Key, Offset};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::cutter::{Cutter, Message, Rules};
use super::ledger::Ledger;
use crate::payload::{HEADER_BYTES, Record, TIME_TO_CUT};
use crate::reader::Listener;
use crate::writer::{Drawn, Shape, Source};

/// A restarted orderer begins anew up to so many blocks back.
const BLOCKS_BACK_MAX: u64 = 20;
/// And so often at the beginning.
const FROM_THE_BEGINNING: f64 = 0.25;

/// What all orderers have in common.
pub(super) struct Service {
    pub(super) rules: Rules,
    pub(super) ledger: Ledger,
    pub(super) keys: Vec<Key>,
    /// Of the orderers; who has a higher number is the final reader.
    pub(super) names: Vec<String>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) restart_every: Duration,
    /// Nobody is restarted any more.
    pub(super) is_calm: AtomicBool,
    pub(super) restarts: AtomicU64,
    pub(super) times_to_cut: AtomicU64,
}

pub(super) struct Orderer {
    pub(super) service: Arc<Service>,
    pub(super) number: usize,
    /// By channel.
    cutters: Vec<Mutex<Cutter>>,
    trouble: Mutex<Trouble>,
    /// Its producer is to go too.
    is_producer_to_go: AtomicBool,
}

struct Trouble {
    random: ChaCha8Rng,
    at_ns: Option<u64>,
}

impl Orderer {
    pub(super) fn new(service: &Arc<Service>, number: usize, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            service: Arc::clone(service),
            number,
            cutters: service.keys.iter().map(|_| Mutex::default()).collect(),
            trouble: Mutex::new(Trouble { random: ChaCha8Rng::seed_from_u64(seed ^ (number as u64 + 0x6f72_6400)), at_ns: None }),
            is_producer_to_go: AtomicBool::new(false),
        })
    }

    pub(super) fn cutter(&self, channel: usize) -> MutexGuard<'_, Cutter> {
        self.cutters[channel].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it begins anew after a restart, by channel.
    fn places(&self, random: &mut ChaCha8Rng) -> Vec<Offset> {
        if random.random::<f64>() < FROM_THE_BEGINNING {
            return vec![0; self.cutters.len()];
        }
        let mut place = |channel: usize| {
            let height = self.cutter(channel).height();
            self.service.ledger.behind(channel, height.saturating_sub(random.random_range(1..=BLOCKS_BACK_MAX)))
        };
        (0..self.cutters.len()).map(&mut place).collect()
    }
}

impl Listener for Orderer {
    fn assigned(&self, channel: usize, next: Offset) {
        let mut cutter = self.cutter(channel);
        if cutter.next() != next || cutter.is_lost() {
            cutter.begin(next, self.service.ledger.height_at(channel, next));
        }
    }

    fn read(&self, channel: usize, offset: Offset, record: &Result<Record, String>, payload: &[u8]) {
        let message = match record {
            Ok(record) if record.record_key >= TIME_TO_CUT => Message::TimeToCut(u64::from(record.record_key - TIME_TO_CUT)),
            Ok(record) => Message::Envelope { value: record.value, bytes: payload.len() as u64 },
            // A finding of its own; who reads it whole cuts otherwise.
            Err(_) => Message::Envelope { value: -1, bytes: payload.len() as u64 },
        };
        let service = &self.service;
        let (blocks, wrong) = self.cutter(channel).hear(&service.rules, offset, message, service.clock.now_ns());
        let key = service.keys[channel];
        for block in blocks {
            service.ledger.cut((channel, key), (self.number, &service.names), block);
        }
        if let Some(text) = wrong {
            let name = service.names.get(self.number).map_or("the final reader", String::as_str);
            service.ledger.wrong(None, format!("{name} read in key {key}: {text}: all orderers should read what they were sent"));
        }
    }

    fn restarts_at(&self) -> Option<Vec<Offset>> {
        let every_ns = u64::try_from(self.service.restart_every.as_nanos()).unwrap_or(u64::MAX);
        if every_ns == 0 || self.number >= self.service.names.len() || self.service.is_calm.load(Relaxed) {
            return None;
        }
        // One of them on average in that time.
        let mean_ns = every_ns.saturating_mul(self.service.names.len() as u64);
        let now_ns = self.service.clock.now_ns();
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let Trouble { random, at_ns } = &mut *trouble;
        let draw = |random: &mut ChaCha8Rng, from: f64, to: f64| now_ns + (mean_ns as f64 * random.random_range(from..to)) as u64;
        let due_ns = *at_ns.get_or_insert_with(|| draw(random, 0.1, 1.0));
        if now_ns < due_ns {
            return None;
        }
        *at_ns = Some(draw(random, 0.3, 1.7));
        let places = self.places(random);
        self.is_producer_to_go.store(true, Relaxed);
        self.service.restarts.fetch_add(1, Relaxed);
        Some(places)
    }
}

/// What an orderer sends.
pub(super) struct Envelopes {
    pub(super) orderer: Arc<Orderer>,
    pub(super) drawn: Drawn,
}

impl Source for Envelopes {
    fn next(&mut self, key: usize) -> Shape {
        self.drawn.next(key)
    }

    fn due(&mut self, now_ns: u64, has_room: &dyn Fn(usize) -> bool) -> Option<(usize, Shape)> {
        let service = &self.orderer.service;
        let ready = (0..service.keys.len()).filter(|channel| has_room(*channel));
        let (channel, number) =
            ready.filter_map(|channel| Some((channel, self.orderer.cutter(channel).due(&service.rules, now_ns)?))).next()?;
        let record_key = TIME_TO_CUT | u32::try_from(number).unwrap_or(0);
        service.times_to_cut.fetch_add(1, Relaxed);
        Some((channel, Shape { record_key, value_bytes: HEADER_BYTES, is_oversize: false }))
    }

    fn is_replaced(&mut self) -> Option<String> {
        self.orderer.is_producer_to_go.swap(false, Relaxed).then(|| "restarted on purpose".to_owned())
    }
}
