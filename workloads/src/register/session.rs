//! One session: what it does, what it is told, and what it owns.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;
use kchaos_core::{Body, Draft, Extra, OpType, Process, Value};
use rand::Rng;
use serde_json::json;
use std::sync::atomic::Ordering::Relaxed;
use tokio::time::timeout;
use zookeeper_client::{Acls, Client, CreateMode, Error, EventType, SaslOptions, Stat, WatchedEvent};

use super::lane::{Board, OP_TIMEOUT};
use super::{outcome, sequence};

/// A value that nobody wrote: what stands in for bytes that are no number.
const NOBODYS: Value = -1;
/// Between looks of one session at the ephemerals, and between its signs of life.
const LOOK_NS: u64 = 2_000_000_000;
const ALIVE_NS: u64 = 500_000_000;

/// A node that a session made.
#[derive(Clone, Copy)]
pub(super) struct Ephemeral {
    client: u32,
    created: i64,
    /// Its lane has let the session go, and its last sign of life.
    ended: Option<i64>,
}

struct Watch {
    id: i64,
    event: Pin<Box<dyn Future<Output = WatchedEvent> + Send>>,
}

pub(super) struct Session<'a> {
    board: &'a Board,
    client: Client,
    number: u32,
    process: u32,
    is_lost: bool,
    watches: Vec<Watch>,
    /// What it last saw of each register.
    seen: HashMap<i64, (Option<Value>, i32)>,
    alive_zxid: i64,
    alive_told_ns: u64,
    looked_ns: u64,
}

pub(super) async fn connect(board: &Board) -> Result<Client, Error> {
    let session_timeout = Duration::from_millis(board.options().session_timeout_ms);
    let connector = Client::connector().with_session_timeout(session_timeout).with_connection_timeout(session_timeout / 3);
    let connector = match board.zookeeper.login.clone() {
        Some(login) => connector.with_sasl(SaslOptions::digest_md5(login.user, login.password)),
        None => connector,
    };
    let (connector, servers) = (connector.with_fail_eagerly(), &board.zookeeper.connect);
    let connecting = async {
        match board.zookeeper.tls.clone() {
            Some(tls) => connector.with_tls(tls).secure_connect(servers).await,
            None => connector.connect(servers).await,
        }
    };
    timeout(OP_TIMEOUT, connecting).await.unwrap_or(Err(Error::Timeout))
}

/// What an answer leaves to be recorded.
struct Answer {
    op_type: OpType,
    body: Body,
    stat: Option<Stat>,
    error: Option<String>,
}

impl<'a> Session<'a> {
    pub(super) fn new(board: &'a Board, client: Client, process: u32) -> Self {
        let number = board.shared.new_client();
        let (watches, seen) = (Vec::new(), HashMap::new());
        let looked_ns = board.now_ns();
        Self { board, client, number, process, is_lost: false, watches, seen, alive_zxid: -1, alive_told_ns: 0, looked_ns }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.is_lost || self.client.state().is_terminated()
    }

    /// Makes its ephemeral nodes.
    pub(super) async fn begin(&mut self) {
        let options = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
        for parent in ["a", "b"] {
            let (name, board) = (format!("{parent}/{}", self.number), self.board);
            let path = board.below(&format!("e/{name}"));
            let made = within(self.client.create(&path, b"", &options)).await;
            match made {
                Ok((stat, _)) => {
                    let ephemeral = Ephemeral { client: self.number, created: stat.czxid, ended: None };
                    board.ephemerals().insert(name.clone(), ephemeral);
                    board.tell("ephemeral", json!({"node": name, "event": "created", "client": self.number, "zxid": stat.czxid}));
                    self.alive_zxid = self.alive_zxid.max(stat.czxid);
                }
                Err(error) => {
                    // Perhaps it is there, and nobody knows since when: it is not judged.
                    board.tell("ephemeral", json!({"node": name, "event": "created", "client": self.number}));
                    self.note_loss(&error);
                }
            }
        }
    }

    /// Lets the session go; gives the process that its lane goes on as.
    pub(super) fn end(self) -> u32 {
        for ephemeral in self.board.ephemerals().values_mut().filter(|ephemeral| ephemeral.client == self.number) {
            ephemeral.ended = Some(self.alive_zxid);
        }
        self.process
    }

    pub(super) async fn op(&mut self, intended_ns: u64, rng: &mut impl Rng) {
        if self.board.now_ns() >= self.looked_ns + LOOK_NS {
            self.look().await;
            self.make_sequential().await;
        }
        let key = rng.random_range(0..i64::from(self.board.options().registers));
        let draw = rng.random_range(0..100);
        match self.seen.get(&key).copied() {
            Some((Some(old), version)) if draw < 25 => {
                let new = self.board.shared.new_value(key as usize);
                let version = Some(version).filter(|_| !self.board.options().unversioned_cas);
                self.write(Body::Cas { key, old, new }, key, new, version, intended_ns).await;
            }
            _ if draw < 50 => {
                let value = self.board.shared.new_value(key as usize);
                self.write(Body::Write { key, value }, key, value, None, intended_ns).await;
            }
            _ => self.read(key, draw >= 85, draw % 3 == 0, Some(intended_ns), false).await,
        }
    }

    async fn write(&mut self, body: Body, key: i64, value: Value, version: Option<i32>, intended_ns: u64) {
        self.invoke(&body, Some(intended_ns), false);
        let path = self.board.register(key);
        let written = within(self.client.set_data(&path, value.to_string().as_bytes(), version)).await;
        let answer = match written {
            Ok(stat) => {
                self.seen.insert(key, (Some(value), stat.version));
                self.lived(stat.mzxid);
                Answer { op_type: OpType::Ok, body, stat: Some(stat), error: None }
            }
            Err(error) => {
                self.seen.remove(&key);
                self.note_loss(&error);
                let op_type = if outcome::is_refused(&error) { OpType::Fail } else { OpType::Info };
                Answer { op_type, body, stat: None, error: Some(error.to_string()) }
            }
        };
        self.complete(answer, key, intended_ns, false);
    }

    async fn read(&mut self, key: i64, is_behind_sync: bool, watches: bool, intended_ns: Option<u64>, is_final: bool) {
        let body = Body::Read { key, value: None };
        self.invoke(&body, intended_ns, is_final);
        let path = self.board.register(key);
        // Sent one behind the other: requests are ordered when their futures are made.
        let synced = is_behind_sync.then(|| self.client.sync(&path));
        let asked = async {
            let (data, stat, watcher) = match watches {
                true => self.client.get_and_watch_data(&path).await.map(|(data, stat, watcher)| (data, stat, Some(watcher)))?,
                false => self.client.get_data(&path).await.map(|(data, stat)| (data, stat, None))?,
            };
            Ok((data, stat, watcher))
        };
        let answered = within(async {
            if let Some(synced) = synced {
                synced.await?;
            }
            asked.await
        })
        .await;
        let answer = match answered {
            Ok((data, stat, watcher)) => {
                // What arrived before this answer is told before it.
                self.tell_events();
                let (value, error) = value_of(&data);
                self.seen.insert(key, (value, stat.version));
                let watch = watcher.map(|watcher| Watch { id: self.board.new_watch(), event: Box::pin(watcher.changed()) });
                let told = watch.as_ref().map(|watch| (watch.id, stat.version));
                self.watches.extend(watch);
                let answer = Answer { op_type: OpType::Ok, body: Body::Read { key, value }, stat: Some(stat), error };
                (answer, told)
            }
            Err(error) => {
                self.note_loss(&error);
                (Answer { op_type: OpType::Fail, body, stat: None, error: Some(error.to_string()) }, None)
            }
        };
        let (answer, watch) = answer;
        self.board.shared.counters.polls.fetch_add(u64::from(answer.op_type == OpType::Ok), Relaxed);
        self.complete(answer, key, intended_ns.unwrap_or_default(), is_final);
        if let Some((id, version)) = watch {
            self.board.tell("watch", json!({"watch": id, "event": "set", "client": self.number, "key": key, "version": version}));
        }
    }

    fn invoke(&self, body: &Body, intended_ns: Option<u64>, is_final: bool) {
        self.board.shared.counters.invoked.fetch_add(1, Relaxed);
        let extra = Extra { intended_ns, is_final, ..Extra::default() };
        let draft = Draft::new(Process::Client(self.process), OpType::Invoke, body.clone());
        self.board.shared.record(Draft { client: Some(self.number), extra, ..draft });
    }

    fn complete(&mut self, answer: Answer, key: i64, intended_ns: u64, is_final: bool) {
        let Answer { op_type, body, stat, error } = answer;
        let (version, zxid) = (stat.map(|stat| i64::from(stat.version)), stat.map(|stat| stat.mzxid));
        let extra = Extra { intended_ns: (!is_final).then_some(intended_ns), version, zxid, is_final, ..Extra::default() };
        let draft = Draft::new(Process::Client(self.process), op_type, body);
        self.board.shared.record(Draft { client: Some(self.number), error, extra, ..draft });
        self.board.shared.counters.completed(op_type, key as usize, None);
        if op_type == OpType::Info {
            self.process = self.board.shared.new_process();
        }
    }

    /// Tells of the watches that fired so far.
    fn tell_events(&mut self) {
        let board = self.board;
        self.watches.retain_mut(|watch| match watch.event.as_mut().now_or_never() {
            None => true,
            Some(event) => {
                // The end of the session is no change of the node.
                if event.event_type != EventType::Session {
                    let zxid = Some(event.zxid).filter(|zxid| *zxid >= 0);
                    board.tell("watch", json!({"watch": watch.id, "event": "fired", "zxid": zxid}));
                }
                false
            }
        });
    }

    /// Its write was answered as of this zxid.
    fn lived(&mut self, zxid: i64) {
        self.alive_zxid = self.alive_zxid.max(zxid);
        let now_ns = self.board.now_ns();
        if now_ns >= self.alive_told_ns + ALIVE_NS {
            self.alive_told_ns = now_ns;
            self.board.tell("session", json!({"client": self.number, "event": "alive", "zxid": self.alive_zxid}));
        }
    }

    fn note_loss(&mut self, error: &Error) {
        self.is_lost |= matches!(error, Error::Timeout | Error::SessionExpired | Error::ClientClosed | Error::AuthFailed | Error::NoHosts);
    }

    async fn make_sequential(&mut self) {
        match sequence::make(self.board, &self.client).await {
            Ok(zxid) => zxid.into_iter().for_each(|zxid| self.lived(zxid)),
            Err(error) => self.note_loss(&error),
        }
    }

    /// Looks at who is there of the ephemerals.
    async fn look(&mut self) {
        self.looked_ns = self.board.now_ns();
        for parent in ["a", "b"] {
            let path = self.board.below(&format!("e/{parent}"));
            match within(self.client.get_children(&path)).await {
                Ok((children, stat)) => self.board.looked(parent, &children, stat.pzxid),
                Err(error) => return self.note_loss(&error),
            }
        }
    }
}

impl Board {
    /// The children of a parent as of a zxid, the last at which one came or went.
    fn looked(&self, parent: &str, children: &[String], zxid: i64) {
        for child in children {
            if let Ok(client) = child.parse::<u32>() {
                self.tell("ephemeral", json!({"node": format!("{parent}/{child}"), "event": "seen", "client": client, "zxid": zxid}));
            }
        }
        let is_of = |name: &str| name.strip_prefix(parent).and_then(|rest| rest.strip_prefix('/')).map(str::to_owned);
        let mut gone = Vec::new();
        self.ephemerals().retain(|name, ephemeral| {
            let is_absent = is_of(name).is_some_and(|child| !children.contains(&child)) && ephemeral.created <= zxid;
            if is_absent {
                gone.push((name.clone(), *ephemeral));
            }
            // One whose session should live is looked at again: its absence is told each time.
            !(is_absent && ephemeral.ended.is_some())
        });
        for (name, Ephemeral { client, ended, .. }) in gone {
            self.tell("ephemeral", json!({"node": name, "event": "absent", "zxid": zxid}));
            if let Some(alive) = ended {
                // Closed by then at the latest, and not before its last sign of life: where another's node came or went since, earlier.
                self.tell("session", json!({"client": client, "event": "alive", "zxid": alive}));
                self.tell("session", json!({"client": client, "event": "ended", "zxid": zxid.max(alive)}));
            }
        }
    }
}

/// Reads every register by a new session, as the end of the run.
pub(super) async fn read_all(board: &Board) -> Result<(), String> {
    let client = connect(board).await.map_err(|error| format!("no session: {error}"))?;
    let mut session = Session::new(board, client, board.shared.new_process());
    for key in 0..i64::from(board.options().registers) {
        session.read(key, true, false, None, true).await;
        if session.is_lost() {
            return Err("the session was lost".into());
        }
    }
    session.look().await;
    let listed = sequence::list(board, &session.client).await;
    session.end();
    listed.map_err(|error| format!("the sequential nodes were not listed: {error}"))
}

fn value_of(data: &[u8]) -> (Option<Value>, Option<String>) {
    if data.is_empty() {
        return (None, None);
    }
    match std::str::from_utf8(data).ok().and_then(|text| text.parse().ok()) {
        Some(value) => (Some(value), None),
        None => (Some(NOBODYS), Some(format!("the register holds {} bytes that are no number", data.len()))),
    }
}

pub(super) async fn within<T>(asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(OP_TIMEOUT, asked).await.unwrap_or(Err(Error::Timeout))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use kchaos_core::{Clock, Recorder, Stamp};
    use serde_json::Value as Json;

    use super::*;
    use crate::{Context, LogRing, Options};

    #[derive(Default)]
    struct Told(Mutex<Vec<(String, Json)>>);

    impl Recorder for Told {
        fn record(&self, draft: Draft) -> Stamp {
            if let Body::Nemesis { f, value } = draft.body {
                self.0.lock().unwrap().push((f, value));
            }
            Stamp { index: 0, time_ns: 0 }
        }
    }

    impl Clock for Told {
        fn now_ns(&self) -> u64 {
            0
        }
    }

    fn board() -> (Board, Arc<Told>) {
        let told = Arc::new(Told::default());
        let context = Context {
            run_id: "r".into(),
            seed: 0,
            bootstrap: String::new(),
            zookeeper: None,
            properties: Default::default(),
            recorder: told.clone(),
            clock: told.clone(),
            log: Arc::new(LogRing::new(1)),
            admin: None,
            cut_off: None,
            client_hosts: Vec::new(),
            java: None,
        };
        (Board::new(&Options::default(), context, crate::ZooKeeper::default(), "/x".into()).unwrap(), told)
    }

    fn told(told: &Told) -> Vec<(String, Json)> {
        std::mem::take(&mut *told.0.lock().unwrap())
    }

    fn ephemeral(value: Json) -> (String, Json) {
        ("ephemeral".to_owned(), value)
    }

    fn session(event: &str, zxid: i64) -> (String, Json) {
        ("session".to_owned(), json!({"client": 7, "event": event, "zxid": zxid}))
    }

    #[test]
    fn a_node_that_is_absent_proves_the_end_of_a_session_only_once_its_lane_has_let_it_go() {
        let (board, recorder) = board();
        let absent = |zxid: i64| ephemeral(json!({"node": "a/7", "event": "absent", "zxid": zxid}));
        board.ephemerals().insert("a/7".into(), Ephemeral { client: 7, created: 50, ended: None });
        board.looked("a", &["7".into()], 50);
        assert_eq!(told(&recorder), [ephemeral(json!({"node": "a/7", "event": "seen", "client": 7, "zxid": 50}))]);
        // A server that had not heard of it yet says nothing of it, and neither does a look at the other parent.
        board.looked("a", &[], 49);
        board.looked("b", &[], 60);
        assert!(told(&recorder).is_empty());
        // Its session should live: no excuse, and it is looked at again.
        board.looked("a", &[], 60);
        assert_eq!(told(&recorder), [absent(60)]);
        board.ephemerals().get_mut("a/7").unwrap().ended = Some(64);
        board.looked("a", &[], 60);
        assert_eq!(told(&recorder), [absent(60), session("alive", 64), session("ended", 64)]);
        assert!(board.ephemerals().is_empty());
    }

    #[test]
    fn what_is_no_number_is_a_value_that_nobody_wrote() {
        assert_eq!(value_of(b""), (None, None));
        assert_eq!(value_of(b"17"), (Some(17), None));
        assert_eq!(value_of(b"x7").0, Some(NOBODYS));
        assert!(value_of(&[0xff]).1.unwrap().contains("1 bytes"));
    }
}
