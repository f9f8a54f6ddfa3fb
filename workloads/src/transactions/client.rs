//! One transactional client of the workload `transactions`: it sends and reads in its transactions, and now and then a second producer takes its
//! transactional id over. What holds for every such client stands in `seat.rs`.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use kchaos_core::{MicroOp, OpType, Send as SendOp, Value};

use super::book::Book;
use super::plan::{Generator, Step, TxnPlan, Zombie};
use super::producer::TxnProducer;
use super::seat::{self, CALL, Ended, Open, Seat};
use super::tail::{Corrupt, Tail};
use super::transactional_id;
use crate::payload::{self, Record};
use crate::producer::ProducerHandle;
use crate::run;
use crate::shared::Shared;

/// Starts the client's thread. `ready` hears whether its producer and its consumer could be made.
fn spawn(shared: &Arc<Shared>, number: usize, ready: SyncSender<Result<(), String>>) -> std::io::Result<ProducerHandle> {
    let name = format!("txn-{}", number + 1);
    let book = Arc::new(Book::new(shared));
    let (giving_up, shared, own_name) = (Arc::clone(&book), Arc::clone(shared), name.clone());
    let run = move || {
        let tail = Tail::new(&shared, format!("{own_name}-reader"));
        let id = transactional_id(shared.run_id(), number);
        let made = tail.and_then(|tail| Ok((tail, Seat::new(&book, &shared, number, &own_name, Some(id))?)));
        let (tail, seat) = match made {
            Ok(made) => made,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let _ = ready.send(Ok(()));
        let generator = Generator::new(shared.seed, number, shared.keys.len(), &shared.options);
        seat::run(&mut Client { generator, payload: Vec::new(), record_key: Vec::new(), tail, seat });
    };
    let thread = std::thread::Builder::new().name(name.clone()).spawn(run)?;
    Ok(ProducerHandle { name, thread, give_up: Box::new(move || giving_up.give_up()) })
}

/// The producers of the run are clients like these.
pub(super) struct Clients;

impl run::Clients for Clients {
    fn writer_name(&self, number: usize) -> String {
        format!("txn-{}", number + 1)
    }

    fn spawn_writer(
        &self,
        shared: &Arc<Shared>,
        number: usize,
        _start_ns: u64,
        ready: SyncSender<Result<(), String>>,
    ) -> std::io::Result<ProducerHandle> {
        spawn(shared, number, ready)
    }
}

struct Client {
    seat: Seat,
    generator: Generator,
    tail: Tail,
    record_key: Vec<u8>,
    payload: Vec<u8>,
}

/// A transaction that is under way.
struct Txn {
    open: Open,
    plan: TxnPlan,
    /// The next step.
    at: usize,
    /// A zombie's is its successor's.
    has_reader: bool,
}

impl seat::Client for Client {
    fn seat(&mut self) -> &mut Seat {
        &mut self.seat
    }

    fn transaction(&mut self, intended_ns: u64) {
        let plan = self.generator.next();
        let Some(mut producer) = self.seat.producer.take() else { return };
        let zombie = plan.zombie;
        let process = self.seat.process;
        let mut txn = self.begin(&mut producer, plan, process, intended_ns);
        let Some(zombie) = zombie else {
            self.go_on(&mut producer, &mut txn, usize::MAX);
            self.pause(&producer);
            let ended = self.seat.end(&producer, &txn.open, txn.plan.ending, false);
            return self.complete(producer, txn, ended);
        };
        let middle = txn.plan.steps.len().div_ceil(2);
        self.go_on(&mut producer, &mut txn, middle);
        producer.flush(CALL);
        self.zombie(producer, txn, zombie);
    }
}

impl Client {
    /// A second producer takes the id over while the first is in mid-transaction.
    fn zombie(&mut self, mut first: TxnProducer, mut txn: Txn, zombie: Zombie) {
        let Some(mut second) = self.seat.second(&first) else {
            // Nobody took over, or nobody knows: the first ends its transaction as it meant to.
            self.go_on(&mut first, &mut txn, usize::MAX);
            let mut ended = self.seat.end(&first, &txn.open, txn.plan.ending, false);
            ended.dead.get_or_insert_with(|| "a second producer may have taken its transactional id over".into());
            return self.complete(first, txn, ended);
        };
        let why = "a second producer took its transactional id over";
        if zombie == Zombie::Vanishes {
            let ended = self.seat.leave(why);
            self.complete(first, txn, ended);
            (self.seat.producer, self.seat.is_ready) = (Some(second), true);
            self.seat.process = self.seat.shared.new_process();
            return;
        }
        let process = self.seat.shared.new_process();
        let (plan, intended_ns) = (self.generator.next_plain(), self.seat.shared.clock.now_ns());
        let mut successor = self.begin(&mut second, plan, process, intended_ns);
        let middle = successor.plan.steps.len().div_ceil(2);
        self.go_on(&mut second, &mut successor, middle);
        second.flush(CALL);

        txn.has_reader = false;
        self.go_on(&mut first, &mut txn, usize::MAX);
        let late = self.seat.end(&first, &txn.open, txn.plan.ending, true);
        self.complete(first, txn, Ended { dead: Some(why.to_owned()), ..late });

        self.seat.process = process;
        self.go_on(&mut second, &mut successor, usize::MAX);
        let ended = self.seat.end(&second, &successor.open, successor.plan.ending, false);
        self.seat.is_ready = true;
        self.complete(second, successor, ended);
    }

    fn begin(&mut self, producer: &mut TxnProducer, plan: TxnPlan, process: u32, intended_ns: u64) -> Txn {
        self.tail.prepare(process, producer.client);
        let shared = &self.seat.shared;
        let part = |step: &Step| match *step {
            Step::Send(key) => MicroOp::Send(SendOp { key: shared.keys[key].key, value: shared.new_value(key), offset: None }),
            Step::Poll => MicroOp::Poll(None),
        };
        let open = self.seat.begin(producer, plan.steps.iter().map(part).collect(), process, intended_ns);
        Txn { open, plan, at: 0, has_reader: true }
    }

    /// Makes its steps up to `end`, unless it is broken.
    fn go_on(&mut self, producer: &mut TxnProducer, txn: &mut Txn, end: usize) {
        while txn.open.broken.is_none() && txn.at < txn.plan.steps.len().min(end) {
            match (txn.plan.steps[txn.at], &mut txn.open.parts[txn.at]) {
                (Step::Send(key), MicroOp::Send(send)) => txn.open.broken = self.send(producer, key, send.value).err(),
                (Step::Poll, MicroOp::Poll(polled)) if txn.has_reader => {
                    let mut corrupt = Corrupt::default();
                    *polled = Some(self.tail.poll(&mut corrupt));
                    txn.open.corrupt.append(&mut corrupt.0);
                }
                (Step::Poll | Step::Send(_), _) => {}
            }
            txn.at += 1;
        }
    }

    /// What an application does before it commits: all is in the log, and nobody may see it.
    fn pause(&self, producer: &TxnProducer) {
        let pause = Duration::from_millis(u64::from(self.seat.shared.options.txn_pause_ms));
        if !pause.is_zero() {
            producer.flush(CALL);
            std::thread::sleep(pause);
        }
    }

    fn send(&mut self, producer: &mut TxnProducer, key: usize, value: Value) -> Result<(), String> {
        let shared = &self.seat.shared;
        let record_key = self.generator.record_key(shared.options.key_count);
        let record = Record { client: producer.client, sequence: producer.next_sequence(), value, record_key };
        payload::record_key_bytes(record_key, &mut self.record_key);
        payload::encode(&shared.places[key], &record, &self.record_key, shared.options.value_bytes as usize, &mut self.payload);
        let entry = &shared.keys[key];
        producer.send((&entry.topic, entry.partition, key), &self.record_key, &self.payload)
    }

    /// Records the completion, and goes back where the transaction was not ok.
    fn complete(&mut self, producer: TxnProducer, txn: Txn, ended: Ended) {
        if ended.op_type == OpType::Ok {
            self.tail.keep(txn.open.process);
        }
        self.seat.complete(producer, txn.open, ended);
    }
}
