//! What stands on each host before it is started: settings, scripts, sshd's files, keys. All of it below the lab's directory on the machine.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use kchaos_cluster::inventory::DaemonKind;

use crate::LabError;
use crate::clock;
use crate::commands;
use crate::disks;
use crate::docker;
use crate::fuse_disks;
use crate::layout::{DaemonPlan, HostPlan, Layout};
use crate::options::{Clock, Disks, LabManager, LabOptions};
use crate::secrets;
use crate::settings;
use crate::state::{Lock, State};
use crate::storage;
use crate::systemd;

const SCRIPTS: &[(&str, &str)] = &[
    ("kafka-server-start.sh", include_str!("../files/kafka-server-start.sh")),
    ("kafka-server-stop.sh", include_str!("../files/kafka-server-stop.sh")),
    ("zookeeper-server-start.sh", include_str!("../files/zookeeper-server-start.sh")),
    ("zookeeper-server-stop.sh", include_str!("../files/zookeeper-server-stop.sh")),
    ("replace-version.sh", include_str!("../files/replace-version.sh")),
];
/// As a host sees it.
pub(crate) const REPLACE_VERSION: &str = "/opt/kafka/bin/replace-version.sh";
const KAFKA_LOG4J: &str = include_str!("../files/kafka-log4j.properties");
const ZOOKEEPER_LOG4J: &str = include_str!("../files/zookeeper-log4j.properties");

/// Below the lab's directory.
pub(crate) const CLIENT_KEY: &str = "keys/id_ed25519";
pub(crate) const KNOWN_HOSTS: &str = "keys/known_hosts";

/// Writes everything. The directory is the lab's own and was emptied before.
pub(crate) fn write_all(options: &LabOptions, state: &State, lock: &Lock) -> Result<(), LabError> {
    let keys = state.base_dir.join("keys");
    make_dir(&keys, 0o700)?;
    if state.security.has_secrets() {
        secrets::make(state, lock)?;
    }
    let client_key = state.base_dir.join(CLIENT_KEY);
    make_key(&client_key, &format!("kchaos-lab-{}", state.name), lock)?;
    let authorized = read(&client_key.with_extension("pub"))?;
    let mut known_hosts = String::new();
    for host in &state.layout.hosts {
        let directory = state.host_dir(&host.name);
        make_skeleton(&directory)?;
        let host_key = directory.join("etc/ssh/ssh_host_ed25519_key");
        make_key(&host_key, &host.name, lock)?;
        let public = read(&host_key.with_extension("pub"))?;
        let _ = writeln!(known_hosts, "{} {}", host.address, public.split_whitespace().take(2).collect::<Vec<_>>().join(" "));
        // Of root and of the user who is not: sshd reads it as the one who logs in.
        write(&directory.join("etc/ssh/authorized_keys"), &authorized, 0o644)?;
        write(&directory.join("etc/ssh/sshd_config"), &sshd_config(host), 0o644)?;
        write(&directory.join("etc/hosts"), &hosts_file(&state.layout), 0o644)?;
        write(&directory.join("etc/hostname"), &format!("{}\n", host.name), 0o644)?;
        // There is no way out, so there is nobody to ask.
        write(&directory.join("etc/resolv.conf"), "", 0o644)?;
        write(&directory.join("etc/kchaos/allow"), &format!("{}\n", state.name), 0o644)?;
        write(&directory.join("etc/kafka/log4j.properties"), KAFKA_LOG4J, 0o644)?;
        write(&directory.join("etc/zookeeper/log4j.properties"), ZOOKEEPER_LOG4J, 0o644)?;
        for (name, text) in SCRIPTS {
            write(&directory.join("bin").join(name), text, 0o755)?;
        }
        if options.clock == Clock::Faketime {
            clock::write_files(host, &directory)?;
        }
        secrets::write_host(state, host, &directory)?;
        for daemon in &host.daemons {
            write_daemon(options, state, host, daemon, &directory)?;
        }
    }
    storage::format(options, state, lock)?;
    for host in &state.layout.hosts {
        let directory = state.host_dir(&host.name);
        for daemon in &host.daemons {
            match options.disks {
                Disks::Directory => {}
                Disks::Loop => disks::format(state, host, daemon, &DaemonPlan::on_machine(&directory, &daemon.data_dir()), lock)?,
                Disks::Fuse => fuse_disks::fill(state, daemon, &directory)?,
            }
        }
        match options.manager {
            LabManager::Scripts => {}
            LabManager::Systemd => systemd::write_units(host, &directory)?,
            LabManager::Docker => write(&directory.join("bin").join(docker::BOOT), &docker::boot_script(&state.lab_id, host), 0o755)?,
        }
    }
    write(&state.base_dir.join(KNOWN_HOSTS), &known_hosts, 0o600)
}

fn make_skeleton(directory: &Path) -> Result<(), LabError> {
    for (name, mode) in [
        ("rootfs", 0o755),
        ("root", 0o700),
        ("bin", 0o755),
        ("etc/ssh", 0o755),
        ("etc/kchaos", 0o755),
        ("etc/kafka", 0o755),
        ("etc/zookeeper", 0o755),
        ("var/cache", 0o755),
        ("var/lib/kchaos", 0o755),
        ("var/log", 0o755),
        ("var/spool", 0o755),
        ("var/tmp", 0o1777),
    ] {
        make_dir(&directory.join(name), mode)?;
    }
    for (link, target) in [("var/run", "/run"), ("var/lock", "/run/lock")] {
        let path = directory.join(link);
        symlink(target, &path).map_err(LabError::io("cannot make", &path))?;
    }
    Ok(())
}

fn write_daemon(options: &LabOptions, state: &State, host: &HostPlan, daemon: &DaemonPlan, directory: &Path) -> Result<(), LabError> {
    let on_machine = |path: &str| DaemonPlan::on_machine(directory, path);
    let (data_dir, log_dir) = (on_machine(&daemon.data_dir()), on_machine(&daemon.log_dir()));
    make_dir(&data_dir, 0o755)?;
    make_dir(&log_dir, 0o755)?;
    let comment = format!("{} of the lab; written by kchaos", daemon.spoken());
    let settings = match daemon.kind {
        DaemonKind::Kafka | DaemonKind::Controller => settings::broker_settings(options, state, host, daemon)?,
        DaemonKind::Zookeeper => {
            write(&data_dir.join("myid"), &format!("{}\n", daemon.id), 0o644)?;
            settings::zookeeper_settings(state, host, daemon)?
        }
    };
    let (path, text) = (on_machine(&daemon.settings_file()), settings::render(&comment, &settings));
    if state.security.has_secrets() { secrets::write_secret(&path, text.as_bytes()) } else { write(&path, &text, 0o644) }
}

fn sshd_config(host: &HostPlan) -> String {
    format!(
        "# sshd of {}; written by kchaos\n\
         ListenAddress {}:22\n\
         HostKey /etc/ssh/ssh_host_ed25519_key\n\
         AuthorizedKeysFile /etc/ssh/authorized_keys\n\
         PidFile /run/sshd.pid\n\
         PermitRootLogin prohibit-password\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         UsePAM no\n\
         UseDNS no\n\
         PrintMotd no\n\
         Subsystem sftp internal-sftp\n",
        host.name, host.address
    )
}

fn hosts_file(layout: &Layout) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost\n");
    for host in &layout.hosts {
        let _ = writeln!(text, "{} {}", host.address, host.name);
    }
    text
}

fn make_key(path: &Path, comment: &str, lock: &Lock) -> Result<(), LabError> {
    let file = path.display().to_string();
    commands::run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", &file], "", lock.file()).map(drop)
}

fn read(path: &Path) -> Result<String, LabError> {
    fs::read_to_string(path).map_err(LabError::io("cannot read", path))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), LabError> {
    fs::write(path, text).map_err(LabError::io("cannot write", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(LabError::io("cannot set the mode of", path))
}

fn make_dir(path: &Path, mode: u32) -> Result<(), LabError> {
    fs::create_dir_all(path).map_err(LabError::io("cannot make", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(LabError::io("cannot set the mode of", path))
}
