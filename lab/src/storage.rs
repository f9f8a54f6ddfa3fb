//! The storage of KRaft's nodes: formatted by Kafka's own tool, with the cluster's id and each node's.
//!
//! On the machine and before a host is made, so that it is the same whatever the daemon's disk and its manager are. A daemon that finds its storage
//! empty later (a disk that forgot) is not helped: that it refuses to start is what an experiment is to show.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;

use kchaos_cluster::inventory::DaemonKind;

use crate::LabError;
use crate::commands;
use crate::jars;
use crate::layout::DaemonPlan;
use crate::options::LabOptions;
use crate::secrets::{self, Passwords};
use crate::security::{ADMIN, STRANGER, SaslKind, USER};
use crate::settings;
use crate::state::{Lock, State};

const TOOL: &str = "kafka.tools.StorageTool";
const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// As Kafka writes a random UUID: 22 characters of base64, never beginning with a dash.
pub(crate) fn random_cluster_id() -> Result<String, LabError> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 16];
    File::open(source).and_then(|mut file| file.read_exact(&mut bytes)).map_err(LabError::io("cannot read", source))?;
    // Version and variant of a random UUID; the first byte below 62 << 2 keeps dash and underscore from its head.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes[0] %= 248;
    Ok(base64_url(&bytes))
}

fn base64_url(bytes: &[u8]) -> String {
    let digit = |value: u32, place: u32| char::from(BASE64_URL[(value >> (18 - 6 * place) & 63) as usize]);
    let of_three = |three: &[u8]| {
        let at = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let value = at(0) << 16 | at(1) << 8 | at(2);
        (0..=three.len() as u32).map(|place| digit(value, place)).collect::<String>()
    };
    bytes.chunks(3).map(of_three).collect()
}

/// Formats every node's data directory on the machine. Each is a JVM of its own, two at a time.
pub(crate) fn format(options: &LabOptions, state: &State, lock: &Lock) -> Result<(), LabError> {
    let Some(cluster_id) = state.cluster_id.as_deref() else { return Ok(()) };
    let users = scram_users(state)?;
    let mut calls = Vec::new();
    for host in &state.layout.hosts {
        let directory = state.host_dir(&host.name);
        for node in host.daemons.iter().filter(|node| options.kraft.is_some() || node.kind == DaemonKind::Controller) {
            let on_machine = DaemonPlan::on_machine(&directory, &node.data_dir()).display().to_string();
            let mut settings = settings::broker_settings(options, state, host, node)?;
            settings.iter_mut().filter(|(key, _)| key == "log.dirs").for_each(|(_, value)| value.clone_from(&on_machine));
            let file = directory.join(format!("format-{}.properties", node.file_name()));
            secrets::write_secret(&file, settings::render("for the storage tool alone", &settings).as_bytes())?;
            // Java takes its arguments from a file too, and the command line of a process is everybody's to read.
            let arguments = directory.join(format!("format-{}.arguments", node.file_name()));
            let words = format!("{TOOL} format --cluster-id {cluster_id} --config \"{}\"{users}\n", file.display());
            secrets::write_secret(&arguments, words.as_bytes())?;
            calls.push((file, arguments));
        }
    }
    let libs = format!("{}/*", jars::directory(&options.kafka_version).display());
    let format_one = |(file, arguments): &(PathBuf, PathBuf)| -> Result<(), LabError> {
        let words = format!("@{}", arguments.display());
        commands::run("java", &["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx128m", "-cp", &libs, &words], "", lock.file())?;
        [file, arguments].into_iter().try_for_each(|path| fs::remove_file(path).map_err(LabError::io("cannot remove", path)))
    };
    for pair in calls.chunks(2) {
        let results: Vec<Result<(), LabError>> = thread::scope(|scope| {
            let running: Vec<_> = pair.iter().map(|call| scope.spawn(|| format_one(call))).collect();
            let lost = |_| LabError::State { path: state.base_dir.clone(), reason: "a thread that formatted storage panicked".to_owned() };
            running.into_iter().map(|one| one.join().map_err(lost).and_then(|result| result)).collect()
        });
        results.into_iter().collect::<Result<(), _>>()?;
    }
    Ok(())
}

/// Users of SCRAM stand in the metadata before any broker serves (KIP-900).
fn scram_users(state: &State) -> Result<String, LabError> {
    let mechanism = match state.security.sasl {
        Some(kind @ (SaslKind::ScramSha256 | SaslKind::ScramSha512)) => kind.mechanism(),
        Some(SaslKind::Plain) | None => return Ok(String::new()),
    };
    let Passwords { admin, user, stranger } = Passwords::read(state)?;
    let users = [(ADMIN, admin), (USER, user), (STRANGER, stranger)];
    Ok(users.iter().map(|(name, password)| format!(" --add-scram {mechanism}=[name={name},password={password}]")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_id_is_a_uuid_as_kafka_writes_it() {
        assert_eq!(base64_url(&[0; 16]), "A".repeat(22));
        assert_eq!(base64_url(&[0xff; 16]), format!("{}w", "_".repeat(21)));
        assert_eq!(base64_url(b"kchaos"), "a2NoYW9z");
        let id = random_cluster_id().unwrap();
        assert!(id.len() == 22 && !id.starts_with('-') && id != random_cluster_id().unwrap(), "{id}");
    }
}
