//! One process of the bank: it opens its accounts, and moves money between them.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use kchaos_core::{MicroOp, Offset, OpType, Send as SendOp};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::ledger::{Ledger, tell_superseded};
use super::note::Note;
use super::restore::{Collector, read_back};
use crate::payload::{self, Record};
use crate::producer::ProducerHandle;
use crate::shared::Shared;
use crate::transactions::book::Book;
use crate::transactions::plan::Ending;
use crate::transactions::producer::TxnProducer;
use crate::transactions::seat::{self, CALL, Open, Seat};
use crate::transactions::transactional_id;

/// What each account begins with.
pub(super) const OPENING: i64 = 1_000;
const AMOUNT_MAX: i64 = 100;
/// One reading back; it begins anew, so that the end of the run is heard of.
const READ_BACK: Duration = Duration::from_secs(15);

pub(super) fn name(number: usize) -> String {
    format!("teller-{}", number + 1)
}

/// Starts the process' thread. `ready` hears whether its producer could be made.
pub(super) fn spawn(
    shared: &Arc<Shared>,
    ledger: &Arc<Ledger>,
    number: usize,
    ready: SyncSender<Result<(), String>>,
) -> std::io::Result<ProducerHandle> {
    let is_transactional = shared.options.bank.transactions;
    let book = Arc::new(if is_transactional { Book::new(shared) } else { Book::of_sends(shared) });
    let (giving_up, shared, ledger) = (Arc::clone(&book), Arc::clone(shared), Arc::clone(ledger));
    let run = move || {
        let id = is_transactional.then(|| transactional_id(shared.run_id(), number));
        let seat = match Seat::new(&book, &shared, number, &name(number), id) {
            Ok(seat) => seat,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let _ = ready.send(Ok(()));
        seat::run(&mut Teller::new(seat, ledger));
    };
    let thread = std::thread::Builder::new().name(name(number)).spawn(run)?;
    Ok(ProducerHandle { name: name(number), thread, give_up: Box::new(move || giving_up.give_up()) })
}

struct Teller {
    seat: Seat,
    ledger: Arc<Ledger>,
    random: ChaCha8Rng,
    /// As committed; `None` until they are opened.
    accounts: Vec<Option<Account>>,
    /// The number of the next transfer.
    transfer: u64,
    /// The client that knows the accounts as they are; every other one reads them back.
    known_to: Option<u32>,
    /// By key: behind all that it wrote.
    ends: Vec<Offset>,
    /// It wrote something of which the place is not known.
    has_lost_track: bool,
    buffers: Buffers,
}

#[derive(Default)]
struct Buffers {
    note: Vec<u8>,
    record_key: Vec<u8>,
    payload: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Account {
    balance: i64,
    version: u64,
}

/// What a transfer makes of an account, which counts among those of its process.
struct Change {
    account: usize,
    balance: i64,
}

impl seat::Client for Teller {
    fn seat(&mut self) -> &mut Seat {
        &mut self.seat
    }

    /// Whoever comes anew reads its accounts back.
    fn prepare(&mut self) -> bool {
        let client = self.seat.producer.as_ref().map(|producer| producer.client);
        if client.is_none() || self.known_to == client {
            return client.is_some();
        }
        if self.has_lost_track && !self.find_ends() {
            return false;
        }
        let per_process = self.accounts.len();
        let shared = Arc::clone(&self.seat.shared);
        let first = self.seat.number * per_process;
        let collector = Arc::new(Collector::new(first + per_process, per_process, 0));
        if !read_back(&shared, &format!("{}-restore", self.seat.name), &self.ends, &collector, READ_BACK) {
            return false;
        }
        let keys: Vec<usize> = (0..self.ends.len()).filter(|key| self.ends[*key] > 0).collect();
        if !keys.is_empty() {
            self.ledger.tell(&shared, &keys, first..first + per_process, &collector.found());
        }
        for (account, found) in collector.balances().into_iter().enumerate().skip(first) {
            let Some((place, note)) = found else {
                self.accounts[account - first] = None;
                continue;
            };
            self.ledger.commit(account, account % shared.keys.len(), place);
            self.accounts[account - first] = Some(Account { balance: note.balance, version: note.transfer });
        }
        (self.known_to, self.has_lost_track) = (client, false);
        true
    }

    fn transaction(&mut self, intended_ns: u64) {
        let Some(mut producer) = self.seat.producer.take() else { return };
        let options = &self.seat.shared.options;
        let is_transactional = options.bank.transactions;
        let is_aborted = is_transactional && self.random.random_bool(options.txn_aborts);
        let crashes = self.random.random_bool(options.bank.crashes);
        let changes = self.draw();
        let (shared, first) = (Arc::clone(&self.seat.shared), self.seat.number * self.accounts.len());
        let key_of = |change: &Change| (first + change.account) % shared.keys.len();
        let part = |change: &Change| {
            let key = key_of(change);
            MicroOp::Send(SendOp { key: shared.keys[key].key, value: shared.new_value(key), offset: None })
        };
        let parts: Vec<MicroOp> = changes.iter().map(part).collect();
        if !is_transactional {
            self.supersede(&changes);
        }
        let mut open = self.seat.begin(&mut producer, parts, self.seat.process, intended_ns);
        let sent = if crashes { changes.len() / 2 } else { changes.len() };
        self.send(&mut producer, &mut open, &changes, sent);
        let ended = if crashes {
            producer.flush(CALL);
            self.seat.leave("the process crashed on purpose")
        } else {
            let ending = if is_aborted { Ending::Abort { flushed: true } } else { Ending::Commit };
            if is_transactional && !is_aborted {
                self.supersede(&changes);
            }
            self.seat.end(&producer, &open, ending, false)
        };
        let (offsets, op_type) = (producer.offsets(), ended.op_type);
        let values: Vec<_> =
            open.parts.iter().filter_map(|part| if let MicroOp::Send(send) = part { Some(send.value) } else { None }).collect();
        self.seat.complete(producer, open, ended);
        for (change, offset) in changes.iter().zip(&offsets) {
            let end = &mut self.ends[key_of(change)];
            *end = (*end).max(offset.map_or(0, |offset| offset + 1));
        }
        let places: Vec<_> = offsets.iter().zip(values).filter_map(|(offset, value)| Some(((*offset)?, value))).collect();
        let all_placed = places.len() == changes.len();
        if op_type == OpType::Ok && all_placed {
            for (change, place) in changes.iter().zip(places) {
                self.ledger.commit(first + change.account, key_of(change), place);
                self.accounts[change.account] = Some(Account { balance: change.balance, version: self.transfer });
            }
        } else if op_type != OpType::Fail {
            changes.iter().for_each(|change| self.ledger.doubt(first + change.account));
            self.has_lost_track |= !all_placed;
            self.known_to = None;
        }
        self.transfer += 1;
    }
}

impl Teller {
    fn new(seat: Seat, ledger: Arc<Ledger>) -> Self {
        let shared = &seat.shared;
        Self {
            ledger,
            random: ChaCha8Rng::seed_from_u64(shared.seed ^ (seat.number as u64 + 1)),
            accounts: vec![None; shared.options.bank.accounts as usize],
            transfer: 1,
            known_to: None,
            ends: vec![0; shared.keys.len()],
            has_lost_track: false,
            buffers: Buffers::default(),
            seat,
        }
    }

    /// Opens all accounts where one is missing, and else moves money from one to another.
    fn draw(&mut self) -> Vec<Change> {
        let balances: Option<Vec<i64>> = self.accounts.iter().map(|account| account.map(|account| account.balance)).collect();
        let Some(balances) = balances else {
            return (0..self.accounts.len()).map(|account| Change { account, balance: OPENING }).collect();
        };
        let from = self.random.random_range(0..balances.len());
        let to = (from + self.random.random_range(1..balances.len())) % balances.len();
        let amount = self.random.random_range(1..=AMOUNT_MAX);
        // Accounts may be overdrawn: what is judged is the sum.
        let change = |account: usize, amount: i64| Change { account, balance: balances[account].saturating_add(amount) };
        vec![change(from, -amount), change(to, amount)]
    }

    /// What is replaced now may be taken away from now on.
    fn supersede(&self, changes: &[Change]) {
        let shared = &self.seat.shared;
        let first = self.seat.number * self.accounts.len();
        let places = changes.iter().filter_map(|change| {
            let account = first + change.account;
            Some((shared.keys[account % shared.keys.len()].key, self.ledger.last_of(account)?.0))
        });
        tell_superseded(shared, places);
    }

    /// The first `count` of the changes, unless the transaction is broken.
    fn send(&mut self, producer: &mut TxnProducer, open: &mut Open, changes: &[Change], count: usize) {
        let shared = &self.seat.shared;
        let mut versions: Vec<u64> = self.accounts.iter().map(|account| account.map_or(0, |account| account.version)).collect();
        changes.iter().for_each(|change| versions[change.account] = self.transfer);
        let Buffers { note, record_key, payload } = &mut self.buffers;
        for (change, part) in changes.iter().zip(&open.parts).take(count) {
            let MicroOp::Send(send) = part else { continue };
            let account = self.seat.number * self.accounts.len() + change.account;
            let key = account % shared.keys.len();
            Note { transfer: self.transfer, balance: change.balance, versions: versions.clone() }.encode(note);
            let record =
                Record { client: producer.client, sequence: producer.next_sequence(), value: send.value, record_key: account as u32 };
            payload::record_key_bytes(record.record_key, record_key);
            payload::encode_with(&shared.places[key], &record, record_key, note, shared.options.value_bytes as usize, payload);
            let entry = &shared.keys[key];
            let sent = producer.send((&entry.topic, entry.partition, key), record_key, payload);
            if let Err(error) = sent {
                open.broken.get_or_insert(error);
                return;
            }
        }
    }

    /// Where a write of unknown place may have landed. `false`: not all leaders told it.
    fn find_ends(&mut self) -> bool {
        let Some(producer) = &self.seat.producer else { return false };
        for (entry, end) in self.seat.shared.keys.iter().zip(&mut self.ends) {
            match producer.end_of(&entry.topic, entry.partition, CALL) {
                Ok(told) => *end = told.max(*end),
                Err(_) => return false,
            }
        }
        true
    }
}
