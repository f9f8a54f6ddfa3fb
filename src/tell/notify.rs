//! `--notify`: a web hook is told when things are not as they were the last time (docs/notify.md has the shape of what is sent).
//!
//! Whoever knows the address may write to whatever stands behind it, so it is a secret: it comes by reference, and no message says any of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use kchaos_cluster::secret::{self, Secret};
use kchaos_core::Plan;
use serde::Serialize;
use serde_json::Value;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use crate::exit::{self, Failure};
use crate::judged::RunVerdict;
use crate::report::RunData;

const PATIENCE: Duration = Duration::from_secs(10);
/// Pauses before it is tried again: what answers slowly at night often answers a little later.
const AGAIN_AFTER: &[Duration] = &[Duration::from_secs(1), Duration::from_secs(4)];

pub(super) struct Notice {
    address: Secret,
    /// As it was given, which may be said.
    reference: String,
    is_always: bool,
}

/// What is sent. `text` is what Slack and its like show; the rest is for programs.
#[derive(Debug, Serialize)]
struct Payload<'a> {
    text: String,
    source: &'static str,
    kchaos_version: &'a str,
    /// The name of the exit code: `valid`, `invalid`, `unknown`, …
    state: &'static str,
    /// That of the last run of its kind; null: there was none.
    before: Option<String>,
    exit_code: u8,
    sentence: &'a str,
    run_id: &'a str,
    cluster: Option<&'a String>,
    workload: &'a str,
    nemeses: &'a [String],
    seed: u64,
    started_at: &'a str,
    anomalies: Vec<&'a String>,
    /// On the machine that ran it.
    directory: String,
}

impl Notice {
    pub(super) fn to(reference: &str, is_always: bool) -> Result<Self, Failure> {
        if !secret::is_reference(reference) {
            // What was typed may be the secret itself.
            return Err(Failure::usage(anyhow!(
                "--notify takes a reference, since a web hook's address is a secret: env:NAME or file:PATH"
            )));
        }
        let address = secret::resolve(reference).map_err(|error| Failure::usage(anyhow!("--notify {reference}: {error}")))?;
        let is_http = ["https://", "http://"].iter().any(|scheme| address.reveal().starts_with(scheme));
        if !is_http {
            return Err(Failure::usage(anyhow!("--notify {reference}: what stands there is no http(s) address")));
        }
        Ok(Self { address, reference: reference.to_owned(), is_always })
    }

    /// Tells it of a run if there is something to tell, and says that it did.
    pub(super) fn end(&self, data: &RunData) -> Result<Option<String>, String> {
        let (state, before) = (exit::name(data.verdict.exit_code), last_state(data));
        self.tell(state, before.as_deref(), &payload(data, state, before.clone()))
    }

    /// The same of a thing of any kind.
    pub(super) fn tell(&self, state: &str, before: Option<&str>, payload: &impl Serialize) -> Result<Option<String>, String> {
        if !(self.is_always || is_news(state, before)) {
            return Ok(None);
        }
        let body = serde_json::to_vec(payload).map_err(|error| error.to_string())?;
        let mut tried = self.send(&body);
        for pause in AGAIN_AFTER {
            if tried.is_ok() {
                break;
            }
            std::thread::sleep(*pause);
            tried = self.send(&body);
        }
        let was = before.map_or_else(String::new, |before| format!(", after {before}"));
        tried
            .map(|()| Some(format!("the web hook of {} was told: {state}{was}", self.reference)))
            .map_err(|why| format!("{why} ({})", self.reference))
    }

    /// Errors are in our own words: a library's may name the host, or the path.
    fn send(&self, body: &[u8]) -> Result<(), String> {
        // The system's certificates, by the system's OpenSSL, as everything else here.
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(RootCerts::PlatformVerifier).build();
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(tls)
            .build()
            .into();
        let sent = agent.post(self.address.reveal()).header("Content-Type", "application/json").send(body);
        match sent {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("it answered with HTTP status {}", answer.status().as_u16())),
            Err(ureq::Error::StatusCode(status)) => Err(format!("it answered with HTTP status {status}")),
            Err(ureq::Error::Timeout(_)) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
            Err(ureq::Error::HostNotFound) => Err("its host's name is not known".to_owned()),
            Err(ureq::Error::ConnectionFailed) => Err("no connection".to_owned()),
            Err(ureq::Error::Io(error)) => Err(format!("no connection: {}", error.kind())),
            Err(ureq::Error::BadUri(_) | ureq::Error::Http(_)) => Err("its address is malformed".to_owned()),
            Err(_) => Err("it could not be sent".to_owned()),
        }
    }
}

/// A first run is news if it is not valid.
fn is_news(state: &str, before: Option<&str>) -> bool {
    state != before.unwrap_or(exit::name(exit::VALID))
}

fn payload<'a>(data: &'a RunData, state: &'static str, before: Option<String>) -> Payload<'a> {
    let (plan, verdict) = (&data.plan, &data.verdict);
    let cluster = plan.facts.get("cluster");
    let on = cluster.map_or_else(String::new, |name| format!(" on {name}"));
    let was = before.as_ref().map_or_else(String::new, |before| format!(" (was {before})"));
    let nemeses = if plan.nemeses.is_empty() { String::new() } else { format!(" with {}", plan.nemeses.join(", ")) };
    Payload {
        text: format!("kchaos: {}{nemeses}{on} is {state}{was}: {}", plan.workload, verdict.sentence),
        source: "kchaos",
        kchaos_version: &plan.kchaos_version,
        state,
        before,
        exit_code: verdict.exit_code,
        sentence: &verdict.sentence,
        run_id: &plan.run_id,
        cluster,
        workload: &plan.workload,
        nemeses: &plan.nemeses,
        seed: plan.seed,
        started_at: &plan.started_at,
        anomalies: verdict.anomalies.keys().collect(),
        directory: std::fs::canonicalize(&data.path).unwrap_or_else(|_| data.path.clone()).display().to_string(),
    }
}

/// The state of the newest run before this one that has the same workload, nemeses and cluster.
fn last_state(data: &RunData) -> Option<String> {
    older(&data.path).iter().find_map(|run| state_of(run, &data.plan))
}

/// The directories beside this one that are older, the newest first: names begin with the time.
pub(super) fn older(path: &Path) -> Vec<PathBuf> {
    let Ok(own) = std::fs::canonicalize(path) else { return Vec::new() };
    let Some(Ok(beside)) = own.parent().map(std::fs::read_dir) else { return Vec::new() };
    let mut older: Vec<_> =
        beside.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir() && !path.is_symlink()).collect();
    older.retain(|path| path.file_name() < own.file_name());
    older.sort();
    older.reverse();
    older
}

fn state_of(run: &Path, like: &Plan) -> Option<String> {
    let read = |name: &str| serde_json::from_slice::<Value>(&std::fs::read(run.join(name)).ok()?).ok();
    let plan = read("plan.json")?;
    let is_like = plan["workload"] == like.workload.as_str()
        && plan["nemeses"] == serde_json::json!(like.nemeses)
        && plan["facts"]["cluster"].as_str() == like.facts.get("cluster").map(String::as_str);
    if !is_like {
        return None;
    }
    let verdict: RunVerdict = serde_json::from_value(read("verdict.json")?).ok()?;
    Some(exit::name(verdict.exit_code).to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// Answers `statuses` one after another, and tells what it was sent.
    pub(in crate::tell) fn hook(statuses: &'static [u16]) -> (String, Receiver<Value>) {
        let server = tiny_http::Server::http("127.0.0.1:0").unwrap();
        let address = format!("http://{}/services/canary-7f3a", server.server_addr().to_ip().unwrap());
        let (sender, received) = channel();
        std::thread::spawn(move || {
            for status in statuses {
                let mut request = server.recv().unwrap();
                let mut body = String::new();
                request.as_reader().read_to_string(&mut body).unwrap();
                let _ = sender.send(serde_json::from_str(&body).unwrap());
                request.respond(tiny_http::Response::empty(*status)).unwrap();
            }
        });
        (address, received)
    }

    pub(in crate::tell) fn notice(address: &str, is_always: bool) -> Notice {
        Notice { address: Secret::new(address), reference: "env:HOOK".into(), is_always }
    }

    /// A run's directory as far as this needs one.
    fn run(results: &Path, name: &str, cluster: &str, exit_code: u8) -> RunData {
        let path = results.join(name);
        std::fs::create_dir(&path).unwrap();
        let plan = Plan {
            workload: "append".into(),
            nemeses: vec!["kill-leader".into()],
            facts: BTreeMap::from([("cluster".into(), cluster.into())]),
            ..Plan::default()
        };
        let verdict = RunVerdict { exit_code, sentence: "so it was".into(), ..RunVerdict::default() };
        std::fs::write(path.join("plan.json"), serde_json::to_vec(&plan).unwrap()).unwrap();
        std::fs::write(path.join("verdict.json"), serde_json::to_vec(&verdict).unwrap()).unwrap();
        RunData { plan, verdict, path, ..RunData::default() }
    }

    #[test]
    fn it_is_told_of_a_change_of_state_and_of_nothing_else() {
        let results = tempfile::tempdir().unwrap();
        let (address, received) = hook(&[200, 200, 200]);
        let notice = notice(&address, false);
        let mut told = Vec::new();
        for (name, cluster, code) in [
            ("20261101T000000Z-a", "x", exit::VALID),
            ("20261102T000000Z-a", "x", exit::VALID),
            ("20261103T000000Z-a", "x", exit::INVALID),
            ("20261104T000000Z-a", "x", exit::INVALID),
            // Another cluster's first run.
            ("20261105T000000Z-a", "y", exit::UNKNOWN),
            ("20261106T000000Z-a", "x", exit::VALID),
        ] {
            told.push(notice.end(&run(results.path(), name, cluster, code)).unwrap().is_some());
        }
        assert_eq!(told, [false, false, true, false, true, true]);
        let first = received.recv().unwrap();
        crate::schema::conform::assert_conforms("notify", &first);
        assert_eq!(first["text"], "kchaos: append with kill-leader on x is invalid (was valid): so it was");
        assert_eq!((&first["state"], &first["before"], &first["exit_code"]), (&"invalid".into(), &"valid".into(), &1.into()));
        assert_eq!((&received.recv().unwrap()["before"], &received.recv().unwrap()["before"]), (&Value::Null, &"invalid".into()));
    }

    #[test]
    fn it_is_tried_again_and_always_means_always() {
        let results = tempfile::tempdir().unwrap();
        let (address, received) = hook(&[503, 200]);
        let told = notice(&address, true).end(&run(results.path(), "20261101T000000Z-a", "x", exit::VALID)).unwrap().unwrap();
        assert_eq!(told, "the web hook of env:HOOK was told: valid");
        assert_eq!(received.iter().count(), 2);
    }

    #[test]
    fn what_fails_is_told_without_the_address() {
        for (address, words) in [("http://127.0.0.1:1/services/canary-7f3a", "no connection"), ("http://[canary-7f3a", "malformed")] {
            let why = notice(address, true).send(b"{}").unwrap_err();
            assert!(why.contains(words) && !why.contains("canary") && !why.contains("127.0.0.1"), "{why}");
        }
        let (address, _received) = hook(&[500, 302]);
        assert_eq!(notice(&address, true).send(b"{}"), Err("it answered with HTTP status 500".into()));
        assert_eq!(notice(&address, true).send(b"{}"), Err("it answered with HTTP status 302".into()));
    }

    #[test]
    fn an_address_that_is_typed_is_refused_and_not_repeated() {
        let why = Notice::to("https://hooks.example/canary-7f3a", false).err().unwrap();
        assert!(why.code == exit::USAGE && !why.to_string().contains("canary"), "{why}");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hook");
        std::fs::write(&path, "canary-7f3a\n").unwrap();
        let why = Notice::to(&format!("file:{}", path.display()), false).err().unwrap().to_string();
        assert!(why.contains("no http(s) address") && !why.contains("canary"), "{why}");
        std::fs::write(&path, "https://hooks.example/canary-7f3a\n").unwrap();
        assert!(Notice::to(&format!("file:{}", path.display()), false).is_ok());
    }
}
