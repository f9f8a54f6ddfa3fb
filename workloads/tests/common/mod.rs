//! A run's surroundings for tests: a clock, a recorder that keeps all ops, and what must hold of any history.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kchaos_core::{Body, Clock, Draft, Key, Offset, OpType, Process, Recorder, Stamp, Value};
use kchaos_workloads::{Context, FinalTarget, FinaleOutcome, LogRing, Running};

pub(crate) struct RunClock(Instant);

impl Clock for RunClock {
    fn now_ns(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

#[derive(Default)]
pub(crate) struct Memory(pub(crate) Mutex<Vec<Draft>>);

impl Recorder for Memory {
    fn record(&self, draft: Draft) -> Stamp {
        let mut drafts = self.0.lock().unwrap();
        drafts.push(draft);
        Stamp { index: drafts.len() as u64 - 1, time_ns: 0 }
    }
}

impl Memory {
    pub(crate) fn take(&self) -> Vec<Draft> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

pub(crate) fn context(run_id: &str, bootstrap: String) -> (Context, Arc<Memory>) {
    let memory = Arc::new(Memory::default());
    let context = Context {
        run_id: run_id.to_owned(),
        seed: 7,
        bootstrap,
        zookeeper: None,
        properties: BTreeMap::new(),
        recorder: memory.clone(),
        clock: Arc::new(RunClock(Instant::now())),
        log: Arc::new(LogRing::new(100)),
        admin: None,
        cut_off: None,
        client_hosts: Vec::new(),
        java: None,
    };
    (context, memory)
}

/// Reads every key up to what was acknowledged.
#[allow(dead_code)] // Not every test file needs it.
pub(crate) fn finale(running: &mut dyn Running) -> FinaleOutcome {
    let end = |offset: Option<Offset>| offset.map_or(0, |offset| offset + 1);
    let counts = running.counts();
    let target =
        |key: &kchaos_workloads::KeyCounts| FinalTarget { key: key.key, start: 0, end: end(key.acked_offset_max), leader_epoch: 1_000 };
    running.finale(&counts.keys.iter().map(target).collect::<Vec<_>>(), Duration::from_secs(30))
}

/// Every invoke has one completion of its process, which does one thing at a time; a process whose op ended in info does no more.
pub(crate) fn check_processes(drafts: &[Draft]) {
    let mut open: BTreeMap<Process, &str> = BTreeMap::new();
    let mut retired = BTreeSet::new();
    for draft in drafts {
        assert!(!retired.contains(&draft.process), "retired: {draft:?}");
        if draft.op_type == OpType::Invoke {
            assert_eq!(open.insert(draft.process, draft.body.f()), None, "{draft:?}");
        } else {
            assert_eq!(open.remove(&draft.process), Some(draft.body.f()), "{draft:?}");
        }
        // A consumer crashes as itself and goes on as another.
        if draft.op_type == OpType::Info {
            retired.insert(draft.process);
        }
    }
    assert!(open.is_empty(), "never completed: {open:?}");
}

type Id = (Key, Value);

/// Acknowledged and finally read values with their offsets.
#[allow(dead_code)] // Not every test file needs it.
pub(crate) fn acked_and_read(drafts: &[Draft]) -> (BTreeMap<Id, Option<Offset>>, BTreeMap<Id, Offset>) {
    let (mut acked, mut read) = (BTreeMap::new(), BTreeMap::new());
    for draft in drafts.iter().filter(|draft| draft.op_type == OpType::Ok) {
        match &draft.body {
            Body::Send(sends) => acked.extend(sends.iter().map(|send| ((send.key, send.value), send.offset))),
            Body::Poll(Some(polled)) if draft.extra.is_final => {
                read.extend(polled.0.iter().flat_map(|(key, records)| records.iter().map(|(offset, value)| ((*key, *value), *offset))));
            }
            _ => (),
        }
    }
    (acked, read)
}

/// Of sends that ended so, the errors.
#[allow(dead_code)] // Not every test file needs it.
pub(crate) fn send_errors(drafts: &[Draft], op_type: OpType) -> BTreeSet<String> {
    let is_such = |draft: &&Draft| draft.op_type == op_type && matches!(draft.body, Body::Send(_));
    drafts.iter().filter(is_such).filter_map(|draft| draft.error.clone()).collect()
}
