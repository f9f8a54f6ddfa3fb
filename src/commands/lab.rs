//! `kchaos lab`: the local cluster; and the lab that a run brings up for itself.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use anyhow::anyhow;
use kchaos_cluster::inventory::Inventory;
use kchaos_lab::{Clock, Disks, Firewall, Kraft, LabError, LabManager, LabOptions, LabSecurity, SecurityWord};

use crate::cli::{
    Format, LabClock, LabCommand, LabDisks, LabFirewall, LabKraft, LabManagerArg, LabSecurityArg, LabUpArgs, LabZooKeeperTls,
};
use crate::exit::{self, Failure};
use crate::run::millis;

const LOG_LINES: usize = 40;
const ZOOKEEPERS: usize = 3;
const CONTROLLERS: usize = 3;

pub(super) fn run(command: LabCommand) -> Result<u8, Failure> {
    match command {
        LabCommand::Up(args) => {
            let lab = kchaos_lab::up(&options(args)?, &mut say).map_err(failure)?;
            crate::say!("{}", lab.inventory.display());
        }
        LabCommand::Status { format } => status(format)?,
        LabCommand::Shell { host, command } => {
            let status = kchaos_lab::shell(&host, &command).map_err(failure)?;
            return Ok(u8::try_from(status).unwrap_or(exit::INTERNAL));
        }
        LabCommand::Logs { host } => kchaos_lab::print_logs(&host, LOG_LINES, &mut std::io::stdout()).map_err(failure)?,
        LabCommand::Down { force } => {
            if let Some(run) = kchaos_lab::run_in_progress().filter(|_| !force) {
                return Err(Failure::environment(anyhow!(
                    "{run}: the lab is not taken down under it; end the run (Ctrl-C mends and ends it), or kchaos lab down --force"
                )));
            }
            let report = kchaos_lab::down(&mut say).map_err(failure)?;
            match report.name {
                Some(name) => eprintln!("lab {name} is down: {} hosts ended", report.hosts_ended),
                None => eprintln!("no lab was up"),
            }
        }
    }
    Ok(exit::VALID)
}

/// PID 1 of a lab host. Never returns while the host lives.
pub(super) fn init(args: &[OsString]) -> u8 {
    u8::try_from(kchaos_lab::host_init::run(args)).unwrap_or(exit::INTERNAL)
}

/// The process that serves a disk of a lab host. Never returns while the host lives.
pub(super) fn disk(args: &[OsString]) -> u8 {
    u8::try_from(kchaos_lab::serve_disk(args)).unwrap_or(exit::INTERNAL)
}

/// A lab with the defaults, for one run.
pub(super) fn up_for_a_run() -> Result<Arc<Inventory>, Failure> {
    eprintln!("no cluster was named and no lab is up: bringing one up for this run");
    let lab = kchaos_lab::up(&LabOptions::default(), &mut say).map_err(failure)?;
    super::load(&lab.inventory)
}

pub(super) fn down_after_a_run() -> Result<(), Failure> {
    kchaos_lab::down(&mut say).map(|_| ()).map_err(failure)
}

/// The network namespace that this process began in: a lab is taken down from there, not from inside itself.
pub(crate) struct Home(Option<File>);

impl Home {
    pub(crate) fn remember() -> Self {
        Self(File::open("/proc/self/ns/net").ok())
    }

    pub(crate) fn go_back(&self) {
        if let Some(file) = &self.0 {
            // SAFETY: setns on an open namespace file of our own; a failure leaves us where we are.
            unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
        }
    }
}

pub(super) fn options(args: LabUpArgs) -> Result<LabOptions, Failure> {
    let word = |word: &LabSecurityArg| match word {
        LabSecurityArg::Plaintext => SecurityWord::Plaintext,
        LabSecurityArg::Tls => SecurityWord::Tls,
        LabSecurityArg::MutualTls => SecurityWord::MutualTls,
        LabSecurityArg::SaslPlain => SecurityWord::SaslPlain,
        LabSecurityArg::ScramSha256 => SecurityWord::ScramSha256,
        LabSecurityArg::ScramSha512 => SecurityWord::ScramSha512,
    };
    let words: Vec<SecurityWord> = args.security.iter().map(word).collect();
    let kraft = match (args.kraft, args.controllers) {
        (None, Some(_)) if !args.migration => {
            return Err(Failure::usage(anyhow!(
                "--controllers: a cluster with ZooKeeper has none; add --kraft separate or --kraft combined"
            )));
        }
        (None, _) => None,
        (Some(LabKraft::Separate), controllers) => Some(Kraft::Separate(controllers.unwrap_or(CONTROLLERS))),
        (Some(LabKraft::Combined), controllers) => Some(Kraft::Combined(controllers.unwrap_or(CONTROLLERS.min(args.brokers)))),
    };
    Ok(LabOptions {
        security: LabSecurity::new(&words, args.acls, args.zookeeper_sasl)
            .map_err(failure)?
            .with_zookeeper_tls(args.zookeeper_tls.map(|kind| kind == LabZooKeeperTls::Mutual)),
        first_broker_id: args.first_broker_id,
        racks: args.racks,
        brokers: args.brokers,
        zookeepers: args.zookeepers.unwrap_or(if kraft.is_some() { 0 } else { ZOOKEEPERS }),
        kraft,
        waiting_controllers: if args.migration { args.controllers.unwrap_or(CONTROLLERS) } else { 0 },
        hosts: args.hosts,
        kafka_version: args.kafka_version,
        settings: args.settings,
        manager: match args.manager {
            LabManagerArg::Scripts => LabManager::Scripts,
            LabManagerArg::Systemd => LabManager::Systemd,
            LabManagerArg::Docker => LabManager::Docker,
        },
        zookeeper_session_timeout_ms: args.zookeeper_session_timeout.0.map(millis),
        disks: match args.disks {
            LabDisks::Directory => Disks::Directory,
            LabDisks::Loop => Disks::Loop,
            LabDisks::Fuse => Disks::Fuse,
        },
        clock: match args.clock {
            LabClock::Machine => Clock::Machine,
            LabClock::Faketime => Clock::Faketime,
        },
        firewall: match args.firewall {
            LabFirewall::None => Firewall::None,
            LabFirewall::AdmitOnly => Firewall::AdmitOnly,
        },
        name: args.name,
        ..LabOptions::default()
    })
}

fn status(format: Format) -> Result<(), Failure> {
    let status = kchaos_lab::status().map_err(failure)?;
    match format {
        Format::Json => super::say_json(&status)?,
        Format::Text => {
            let state = match status.kraft {
                None => format!("ZooKeeper session {} ms", status.zookeeper_session_timeout_ms),
                Some(Kraft::Separate(controllers)) => format!("KRaft, {controllers} controllers"),
                Some(Kraft::Combined(controllers)) => format!("KRaft, {controllers} brokers are controllers too"),
            };
            crate::say!("lab {} · Kafka {} · {state}", status.name, status.kafka_version);
            for host in &status.hosts {
                crate::say!("{:<10} {:<14} {}", host.name, host.address, if host.namespace_exists { "" } else { "GONE" });
                for daemon in &host.daemons {
                    let pid = daemon.pid.map_or("not running".to_owned(), |pid| format!("pid {pid}"));
                    crate::say!("    {:<14} port {:<6} {pid}", daemon.daemon, daemon.port);
                }
            }
        }
    }
    Ok(())
}

fn say(line: &str) {
    eprintln!("{line}");
}

fn failure(error: LabError) -> Failure {
    let code = if error.is_usage() { exit::USAGE } else { exit::ENVIRONMENT };
    Failure { code, error: anyhow!(error) }
}

#[cfg(test)]
mod tests {
    use kchaos_lab::{DaemonStatus, HostStatus, LabPhase, LabStatus};
    use serde_json::json;

    use super::*;
    use crate::schema::conform::assert_conforms;

    #[test]
    fn the_status_of_a_lab_conforms_in_each_phase() {
        let mut lab = LabStatus {
            name: "lab".to_owned(),
            phase: LabPhase::Making,
            kafka_version: "3.9.1".to_owned(),
            cluster_id: None,
            zookeeper_session_timeout_ms: 18_000,
            kraft: None,
            inventory: "/lab/kchaos.toml".into(),
            network_namespace: "/run/netns/kchaos-net".into(),
            made_unix_ms: 1_795_399_200_000,
            up_after_ms: None,
            hosts: Vec::new(),
            memory_kib: 0,
        };
        assert_conforms("lab-status", &json!(lab));
        let daemon = |pid: Option<i32>| DaemonStatus {
            daemon: "kafka:1".to_owned(),
            port: 9092,
            pid,
            pid_on_host: pid,
            listening: pid.is_some(),
            memory_kib: 310_000,
        };
        let host = |pid: Option<i32>| HostStatus {
            name: "kafka1".to_owned(),
            address: std::net::Ipv4Addr::new(10, 99, 0, 11),
            namespace: "kchaos-kafka1".to_owned(),
            namespace_exists: pid.is_some(),
            pid,
            processes: 3,
            sshd_listening: true,
            memory_kib: 320_000,
            daemons: vec![daemon(pid), daemon(None)],
        };
        lab.hosts = vec![host(Some(7)), host(None)];
        (lab.cluster_id, lab.up_after_ms) = (Some("x".to_owned()), Some(21_000));
        for (phase, kraft) in [(LabPhase::Up, Kraft::Separate(3)), (LabPhase::Stale, Kraft::Combined(1))] {
            (lab.phase, lab.kraft) = (phase, Some(kraft));
            assert_conforms("lab-status", &json!(lab));
        }
    }
}
