//! The storage of KRaft's nodes: formatted by Kafka's own tool, with the cluster's id and each node's.
//!
//! On the machine and before a host is made, so that it is the same whatever the daemon's disk and its manager are. A daemon that finds its storage
//! empty later (a disk that forgot) is not helped: that it refuses to start is what an experiment is to show.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::thread;

use crate::LabError;
use crate::commands;
use crate::jars;
use crate::layout::DaemonPlan;
use crate::options::LabOptions;
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
    let Some(cluster_id) = state.cluster_id.as_deref().filter(|_| options.kraft.is_some()) else { return Ok(()) };
    let mut calls = Vec::new();
    for host in &state.layout.hosts {
        let directory = state.host_dir(&host.name);
        for node in &host.daemons {
            let on_machine = DaemonPlan::on_machine(&directory, &node.data_dir()).display().to_string();
            let mut settings = settings::broker_settings(options, state, host, node)?;
            settings.iter_mut().filter(|(key, _)| key == "log.dirs").for_each(|(_, value)| value.clone_from(&on_machine));
            let file = directory.join(format!("format-{}.properties", node.file_name()));
            fs::write(&file, settings::render("for the storage tool alone", &settings)).map_err(LabError::io("cannot write", &file))?;
            calls.push(file);
        }
    }
    let libs = format!("{}/*", jars::directory(&options.kafka_version).display());
    let format_one = |file: &Path| -> Result<(), LabError> {
        let file_name = file.display().to_string();
        let of_jvm = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx128m", "-cp", &libs, TOOL];
        let arguments = [&of_jvm[..], &["format", "--cluster-id", cluster_id, "--config", &file_name]].concat();
        commands::run("java", &arguments, "", lock.file())?;
        fs::remove_file(file).map_err(LabError::io("cannot remove", file))
    };
    for pair in calls.chunks(2) {
        let results: Vec<Result<(), LabError>> = thread::scope(|scope| {
            let running: Vec<_> = pair.iter().map(|file| scope.spawn(|| format_one(file))).collect();
            let lost = |_| LabError::State { path: state.base_dir.clone(), reason: "a thread that formatted storage panicked".to_owned() };
            running.into_iter().map(|one| one.join().map_err(lost).and_then(|result| result)).collect()
        });
        results.into_iter().collect::<Result<(), _>>()?;
    }
    Ok(())
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
