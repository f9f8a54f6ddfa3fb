//! What an observer and a harness tell of a healthy cluster (docs/history.md): controllers one after the other, leader epochs that grow,
//! replicas that agree below their high watermarks, settings that change when somebody asks, watches that fire once and in time.

use std::collections::HashMap;

use kchaos_core::{Key, Offset};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value as Json, json};

use crate::draw::draw;
use crate::options::{Options, Workload};
use crate::out::Out;
use crate::registers::Registers;
use crate::scenes::Stage;

const BROKERS: i64 = 3;
/// Of a large history, what one look tells.
const KEYS_A_LOOK: u32 = 8;
const BATCHES_A_DUMP: Offset = 8;
const ACCOUNTS: [&str; 4] = ["alice", "bob", "carol", "dave"];
const BALANCE: i64 = 100;
const RETENTION_MS: u64 = 7 * 24 * 3_600_000;

/// A broker, and the controller epoch in which it is the controller.
type Controller = (i64, i64);

pub(crate) struct Observer {
    pub(crate) keys: u32,
    base_offset: Offset,
    is_transactional: bool,
    /// Choices of its own, so that the history beside it stays as it is.
    rng: ChaCha8Rng,
    controller: Controller,
    /// By key, where it ever changed: the leader epochs after 0, each with the first offset that was written in it.
    epochs: HashMap<u32, Vec<(Offset, i32)>>,
    accounts: [i64; ACCOUNTS.len()],
    min_insync: u32,
    zookeeper: ZooKeeper,
}

#[derive(Default)]
struct ZooKeeper {
    /// The session that watches, and the one that writes if nobody else does.
    sessions: Option<(u32, u32)>,
    watches: u64,
    /// The key that is watched, and its version when the watch was set.
    watch: Option<(u32, i64)>,
    /// The session of the ephemeral node.
    owner: Option<u32>,
    /// The next sequential node's number.
    sequence: u64,
}

impl Observer {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            keys: options.keys,
            base_offset: options.base_offset,
            is_transactional: options.workload == Workload::Transactions,
            rng: ChaCha8Rng::seed_from_u64(options.seed ^ 0x0B5E_44ED),
            controller: (1, 1),
            epochs: HashMap::new(),
            accounts: [BALANCE; ACCOUNTS.len()],
            min_insync: 2,
            zookeeper: ZooKeeper::default(),
        }
    }

    /// What holds from the start.
    pub(crate) fn begin(&self, workload: Workload, out: &mut Out<'_>) {
        self.tell_config("config", out);
        self.tell_controllers(None, out);
        if workload == Workload::Groups {
            out.nemesis("offsets-retention", json!({"retention_ms": RETENTION_MS}));
        }
    }

    /// The next broker is the controller. Gives who was before.
    pub(crate) fn hand_over(&mut self) -> Controller {
        let before = self.controller;
        self.controller = (before.0 % BROKERS + 1, before.1 + 1);
        before
    }

    /// What each broker says of itself; with one that does not know yet that it was replaced.
    pub(crate) fn tell_controllers(&self, deposed: Option<Controller>, out: &mut Out<'_>) {
        let active: Vec<Controller> = deposed.into_iter().chain([self.controller]).collect();
        let told = (1..=BROKERS).map(|broker| {
            let claim = active.iter().find(|(of, _)| *of == broker);
            (broker.to_string(), claim.map_or(json!({"active": false}), |(_, epoch)| json!({"active": true, "epoch": epoch})))
        });
        out.nemesis("controllers", told.collect::<Map<_, _>>().into());
    }

    pub(crate) fn epoch(&self, key: u32) -> i32 {
        self.epochs.get(&key).and_then(|epochs| epochs.last()).map_or(0, |(_, epoch)| *epoch)
    }

    /// A new leader, whose first record will stand at `end`.
    pub(crate) fn elect(&mut self, key: u32, end: Offset, out: &mut Out<'_>) {
        let epoch = self.epoch(key) + 1;
        self.epochs.entry(key).or_default().push((end, epoch));
        if let Some(known) = &mut out.leader_epochs {
            known.insert(Key::from(key), epoch);
        }
    }

    pub(crate) fn tell_epochs(&self, keys: impl IntoIterator<Item = u32>, out: &mut Out<'_>) {
        let leader = |epoch: i32| i64::from(epoch) % BROKERS + 1;
        let told = keys.into_iter().map(|key| (key.to_string(), self.epoch(key)));
        let told = told.map(|(key, epoch)| (key, json!({"leader": leader(epoch), "leader_epoch": epoch})));
        out.nemesis("leader-epochs", told.collect::<Map<_, _>>().into());
    }

    /// One batch of a replica's log; `held` tells apart what replicas may hold at one place.
    pub(crate) fn batch(&self, key: u32, offset: Offset, held: u32) -> Json {
        let epochs = self.epochs.get(&key).map(Vec::as_slice).unwrap_or_default();
        let before = epochs.partition_point(|(first, _)| *first <= offset);
        let epoch = before.checked_sub(1).map_or(0, |last| epochs[last].1);
        json!([offset, offset, epoch, format!("{key:x}-{offset:x}-{held}")])
    }

    /// Followers are a little behind, and one holds beyond its high watermark what it will truncate.
    fn tell_replicas(&mut self, key: u32, end: Offset, out: &mut Out<'_>) {
        let start = end.saturating_sub(BATCHES_A_DUMP).max(self.base_offset);
        for replica in 1..=BROKERS {
            let high_watermark = (end - draw(&mut self.rng, 3) as Offset).max(start);
            let beyond = draw(&mut self.rng, 2) as Offset;
            let batches = (start..high_watermark).map(|offset| self.batch(key, offset, 0));
            let beyond = (high_watermark..high_watermark + beyond).map(|offset| self.batch(key, offset, 1));
            let batches: Vec<Json> = batches.chain(beyond).collect();
            let dump = json!({"key": key, "replica": replica, "start": start, "high_watermark": high_watermark, "batches": batches});
            out.nemesis("replica-log", dump);
        }
    }

    fn tell_config(&self, f: &str, out: &mut Out<'_>) {
        let broker = json!({"min.insync.replicas": "2", "unclean.leader.election.enable": false});
        out.nemesis(f, json!({"broker:1": broker, "topic:t": {"min.insync.replicas": self.min_insync, "cleanup.policy": null}}));
    }

    fn transfer(&mut self, out: &mut Out<'_>) {
        let (from, to, sum) = (draw(&mut self.rng, ACCOUNTS.len()), draw(&mut self.rng, ACCOUNTS.len()), draw(&mut self.rng, 50) as i64);
        self.accounts[from] -= sum;
        self.accounts[to] += sum;
        let accounts: Map<_, _> = ACCOUNTS.iter().zip(self.accounts).map(|(name, sum)| ((*name).to_owned(), sum.into())).collect();
        out.nemesis(
            "bank-snapshot",
            json!({"accounts": accounts, "total": BALANCE * ACCOUNTS.len() as i64, "isolation": "read_committed"}),
        );
    }
}

/// One look at everything.
pub(crate) fn look(stage: &mut Stage, registers: Option<&mut Registers>, out: &mut Out<'_>) {
    let observer = &mut stage.observer;
    if draw(&mut observer.rng, 4) == 0 {
        let deposed = observer.hand_over();
        // The old one learns of it a moment later.
        observer.tell_controllers(Some(deposed), out);
    }
    observer.tell_controllers(None, out);
    if draw(&mut observer.rng, 4) == 0 {
        observer.min_insync = 3 - observer.min_insync;
        observer.tell_config("config-asked", out);
    }
    observer.tell_config("config", out);
    match registers {
        Some(registers) => look_at_zookeeper(stage, registers, out),
        None => look_at_logs(stage, out),
    }
}

fn look_at_logs(stage: &mut Stage, out: &mut Out<'_>) {
    let Stage { world, observer, .. } = stage;
    let first = draw(&mut observer.rng, observer.keys as usize) as u32;
    let keys: Vec<u32> = (0..observer.keys.min(KEYS_A_LOOK)).map(|nth| (first + nth) % observer.keys).collect();
    if draw(&mut observer.rng, 4) == 0 {
        observer.elect(first, world.end(first), out);
    }
    observer.tell_epochs(keys.iter().copied(), out);
    let stable = keys.iter().map(|key| {
        let look = json!({"stable": world.stable(*key), "end": world.end(*key), "leader_epoch": observer.epoch(*key)});
        (key.to_string(), look)
    });
    out.nemesis("stable-offsets", stable.collect::<Map<_, _>>().into());
    observer.tell_replicas(first, world.end(first), out);
    if observer.is_transactional {
        observer.transfer(out);
    }
}

fn look_at_zookeeper(stage: &mut Stage, registers: &mut Registers, out: &mut Out<'_>) {
    look_at_watch(stage, registers, out);
    look_at_sequence(stage, registers, out);
    let session = stage.observer.zookeeper.owner;
    let owner = session.unwrap_or_else(|| stage.process());
    let node = format!("/brokers/ids/{owner}");
    let ephemeral = |event: &str, zxid: i64| json!({"node": node, "event": event, "client": owner, "zxid": zxid});
    if session.is_none() {
        out.nemesis("ephemeral", ephemeral("created", registers.tick()));
        stage.observer.zookeeper.owner = Some(owner);
    } else if draw(&mut stage.observer.rng, 2) == 0 {
        out.nemesis("session", json!({"client": owner, "event": "closed", "zxid": registers.tick()}));
        out.nemesis("ephemeral", ephemeral("absent", registers.zxid()));
        stage.observer.zookeeper.owner = None;
    } else {
        out.nemesis("ephemeral", ephemeral("seen", registers.zxid()));
        out.nemesis("session", json!({"client": owner, "event": "alive", "zxid": registers.zxid()}));
    }
}

/// One more sequential node, and now and then all of them.
fn look_at_sequence(stage: &mut Stage, registers: &mut Registers, out: &mut Out<'_>) {
    let number = stage.observer.zookeeper.sequence;
    stage.observer.zookeeper.sequence = number + 1;
    let sequential = |event: &str, zxid: i64| json!({"parent": "/queue", "event": event, "ask": number, "number": number, "zxid": zxid});
    out.nemesis("sequential", json!({"parent": "/queue", "event": "asked", "ask": number}));
    out.nemesis("sequential", sequential("created", registers.tick()));
    if number % 8 == 7 {
        let numbers: Vec<u64> = (0..=number).collect();
        out.nemesis("sequential", json!({"parent": "/queue", "event": "listed", "zxid": registers.zxid(), "numbers": numbers}));
    }
}

/// The watch of the look before fires, its session reads what it was told of, and sets another.
fn look_at_watch(stage: &mut Stage, registers: &mut Registers, out: &mut Out<'_>) {
    let known = stage.observer.zookeeper.sessions;
    let (session, writer) = known.unwrap_or_else(|| (stage.process(), stage.process()));
    stage.observer.zookeeper.sessions = Some((session, writer));
    let watch = stage.observer.zookeeper.watches;
    // Beyond all processes: scenes name their watches after these.
    let name = |watch: u64| (1 << 32) + watch;
    if let Some((key, version)) = stage.observer.zookeeper.watch {
        // Who changed it first is not known; where nobody did, the zxid is.
        let zxid = if registers.register(key).version == version {
            let value = stage.value();
            registers.write(key, value, version + 1, writer, out);
            Some(registers.zxid())
        } else {
            None
        };
        out.nemesis("watch", json!({"watch": name(watch), "event": "fired", "zxid": zxid}));
        registers.read(key, registers.register(key), session, out);
    }
    let key = draw(&mut stage.observer.rng, stage.observer.keys as usize) as u32;
    let held = registers.register(key);
    registers.read(key, held, session, out);
    let set = json!({"watch": name(watch + 1), "event": "set", "client": session, "key": key, "version": held.version});
    out.nemesis("watch", set);
    (stage.observer.zookeeper.watch, stage.observer.zookeeper.watches) = (Some((key, held.version)), watch + 1);
}
