//! What a transactional client writes down of its transactions.

use std::sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed};

use kchaos_core::{Body, Draft, MicroOp, Offset, OpType, Process, Send};

use crate::producer::GIVEN_UP;
use crate::shared::Shared;

/// The offsets of what did not fail; what failed was promised no place.
pub(crate) fn fill_in(mut parts: Vec<MicroOp>, op_type: OpType, offsets: &[Option<Offset>]) -> Vec<MicroOp> {
    let mut offsets = offsets.iter();
    for part in &mut parts {
        match part {
            MicroOp::Send(send) if op_type != OpType::Fail => send.offset = offsets.next().copied().flatten(),
            MicroOp::Send(_) => {}
            MicroOp::Poll(polled) => _ = polled.get_or_insert_default(),
        }
    }
    parts
}

/// The transactions of one client that are invoked and not completed, so that each is completed once, by whomever.
pub(crate) struct Book {
    shared: Arc<Shared>,
    /// Else they are sends that only belong together.
    is_transactional: bool,
    open: Mutex<Vec<Draft>>,
}

impl Book {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), is_transactional: true, open: Mutex::default() }
    }

    /// Of a client that sends what belongs together without a transaction.
    pub(crate) fn of_sends(shared: &Arc<Shared>) -> Self {
        Self { is_transactional: false, ..Self::new(shared) }
    }

    pub(crate) fn draft(&self, process: u32, client: u32, intended_ns: u64, op_type: OpType, parts: Vec<MicroOp>) -> Draft {
        let body = if self.is_transactional { Body::Txn(parts) } else { Body::Send(parts.iter().filter_map(sent).collect()) };
        let mut draft = Draft::new(Process::Client(process), op_type, body);
        draft.client = Some(client);
        draft.extra.intended_ns = Some(intended_ns);
        draft.extra.isolation = Some(self.shared.options.isolation.name().to_owned());
        draft
    }

    pub(crate) fn invoke(&self, process: u32, client: u32, intended_ns: u64, parts: &[MicroOp]) {
        self.shared.counters.invoked.fetch_add(1, Relaxed);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.record(self.draft(process, client, intended_ns, OpType::Invoke, parts.to_vec()));
        let mut given_up = self.draft(process, client, intended_ns, OpType::Info, fill_in(parts.to_vec(), OpType::Info, &[]));
        given_up.error = Some(GIVEN_UP.to_owned());
        open.push(given_up);
    }

    /// A second completion, if there ever is one, is nobody's.
    pub(crate) fn complete(&self, process: u32, draft: Draft) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = open.iter().position(|given_up| given_up.process == Process::Client(process)) else { return };
        open.swap_remove(place);
        self.record(draft);
    }

    pub(crate) fn give_up(&self) -> u64 {
        let open = std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
        let count = open.len() as u64;
        open.into_iter().for_each(|draft| self.record(draft));
        count
    }

    fn record(&self, draft: Draft) {
        let op_type = draft.op_type;
        let sends: Vec<_> = match &draft.body {
            Body::Txn(parts) => parts.iter().filter_map(sent).filter_map(|send| self.placed(send)).collect(),
            Body::Send(sends) => sends.iter().filter_map(|send| self.placed(*send)).collect(),
            _ => Vec::new(),
        };
        self.shared.record(draft);
        self.shared.counters.txn_completed(op_type, sends.into_iter());
    }

    fn placed(&self, send: Send) -> Option<(usize, Option<Offset>)> {
        Some((self.shared.keys.iter().position(|entry| entry.key == send.key)?, send.offset))
    }
}

fn sent(part: &MicroOp) -> Option<Send> {
    match part {
        MicroOp::Send(send) => Some(*send),
        MicroOp::Poll(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kchaos_core::{Clock, KeyEntry, Polled, Recorder, Stamp};

    use super::*;
    use crate::{Context, LogRing, Options};

    #[derive(Default)]
    struct Memory(Mutex<Vec<Draft>>);

    impl Recorder for Memory {
        fn record(&self, draft: Draft) -> Stamp {
            let mut drafts = self.0.lock().unwrap();
            drafts.push(draft);
            Stamp { index: drafts.len() as u64 - 1, time_ns: 0 }
        }
    }

    impl Clock for Memory {
        fn now_ns(&self) -> u64 {
            0
        }
    }

    fn send(value: i64, offset: Option<Offset>) -> MicroOp {
        MicroOp::Send(Send { key: 7, value, offset })
    }

    fn book() -> (Book, Arc<Memory>) {
        let memory = Arc::new(Memory::default());
        let context = Context {
            run_id: "r".into(),
            seed: 0,
            bootstrap: String::new(),
            zookeeper: None,
            properties: BTreeMap::new(),
            recorder: memory.clone(),
            clock: memory.clone(),
            log: Arc::new(LogRing::new(1)),
            admin: None,
            cut_off: None,
            client_hosts: Vec::new(),
            java: None,
        };
        let keys = vec![KeyEntry { key: 7, topic: "t".into(), partition: 0 }];
        (Book::new(&Arc::new(Shared::new(Options::default(), keys, context).unwrap())), memory)
    }

    #[test]
    fn offsets_are_told_of_what_did_not_fail_as_far_as_they_are_known() {
        let parts = || vec![send(1, None), MicroOp::Poll(None), send(2, None), send(3, None)];
        let polled = || MicroOp::Poll(Some(Polled::default()));
        let offsets = [Some(10), None];
        for op_type in [OpType::Ok, OpType::Info] {
            assert_eq!(fill_in(parts(), op_type, &offsets), [send(1, Some(10)), polled(), send(2, None), send(3, None)]);
        }
        assert_eq!(fill_in(parts(), OpType::Fail, &offsets), [send(1, None), polled(), send(2, None), send(3, None)]);
    }

    #[test]
    fn a_transaction_is_completed_once_by_whoever_comes_first() {
        let (book, memory) = book();
        for process in [1, 2] {
            book.invoke(process, 9, 5, &[send(i64::from(process), None)]);
        }
        let done = |process| book.draft(process, 9, 5, OpType::Ok, vec![send(i64::from(process), Some(3))]);
        book.complete(1, done(1));
        book.complete(1, done(1));
        assert_eq!(book.give_up(), 1);
        book.complete(2, done(2));
        let told: Vec<_> = memory.0.lock().unwrap().iter().map(|draft| (draft.process, draft.op_type)).collect();
        let expected = [(1, OpType::Invoke), (2, OpType::Invoke), (1, OpType::Ok), (2, OpType::Info)];
        assert_eq!(told, expected.map(|(process, op_type)| (Process::Client(process), op_type)));
        let counts = book.shared.counters.snapshot();
        assert_eq!((counts.invoked, counts.ok, counts.info, counts.outstanding()), (2, 1, 1, 0));
        assert_eq!((counts.keys[0].acked, counts.keys[0].acked_offset_max), (1, Some(3)));
    }
}
