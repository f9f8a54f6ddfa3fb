//! Hosts with a systemd of their own: a Debian booted by systemd-nspawn in the host's network namespace.
//!
//! The root is an overlay: below, for all hosts, the tree that debootstrap made once ([`crate::base_root`]); above, the host's own changes, in
//! the lab's directory. `/var/log` and the daemons' data are directories of the lab's too, so that logs are read from the machine as on other
//! hosts. All mounts are made in the mount namespace of the host's PID 1 and vanish with it.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::process::Command;

use kchaos_cluster::inventory::DaemonKind;

use crate::LabError;
use crate::base_root;
use crate::cgroups;
use crate::layout::{DaemonPlan, HostPlan};
use crate::rootfs::{HostSpec, Outcome, SystemdSpec, add_login, at, copy_tree, make_dir, mount};
use crate::state::State;

/// Program and Debian package, beside what every lab needs.
pub(crate) const TOOLS: &[(&str, &str)] =
    &[("debootstrap", "debootstrap"), ("systemd-nspawn", "systemd-container"), ("chroot", "coreutils"), ("apt-get", "apt")];

const UNITS_DIR: &str = "etc/systemd/system";

pub(crate) fn spec(state: &State, host: &HostPlan) -> SystemdSpec {
    SystemdSpec {
        base_root: base_root::directory(),
        cgroup: format!("{}/{}", cgroups::name(&state.lab_id), host.name),
        units: host.daemons.iter().map(DaemonPlan::unit).collect(),
    }
}

/// The units, and the daemons' directories as their users need them. Below the host's directory on the machine.
pub(crate) fn write_units(host: &HostPlan, directory: &Path) -> Result<(), LabError> {
    let units = directory.join(UNITS_DIR);
    fs::create_dir_all(&units).map_err(LabError::io("cannot make", &units))?;
    for daemon in &host.daemons {
        let path = units.join(daemon.unit());
        fs::write(&path, unit(daemon)).map_err(LabError::io("cannot write", &path))?;
        for owned in [daemon.data_dir(), daemon.log_dir()] {
            give(&DaemonPlan::on_machine(directory, &owned), daemon.user_id())?;
        }
        // What nobody else may read: settings with passwords, and keys.
        let keys = if daemon.kind == DaemonKind::Zookeeper { "etc/zookeeper/tls" } else { "etc/kafka/tls" };
        let jaas = format!("etc/{}/jaas.conf", daemon.kind.name());
        for secret in [daemon.settings_file().trim_start_matches('/'), keys, &jaas] {
            let path = directory.join(secret);
            if path.exists() {
                give(&path, daemon.user_id())?;
            }
        }
    }
    Ok(())
}

fn give(path: &Path, user: u32) -> Result<(), LabError> {
    let failed = LabError::io("cannot give away", path);
    chown(path, Some(user), Some(user)).map_err(failed)?;
    let Ok(entries) = fs::read_dir(path) else { return Ok(()) };
    entries.flatten().try_for_each(|entry| give(&entry.path(), user))
}

fn unit(daemon: &DaemonPlan) -> String {
    let after = if daemon.kind == DaemonKind::Kafka { "network.target zookeeper.service" } else { "network.target" };
    let [start, _, settings] = &daemon.start_command()[..] else { return String::new() };
    format!(
        "# Written by kchaos.\n\
         [Unit]\nDescription={spoken} of the lab\nAfter={after}\n\n\
         [Service]\nType=simple\nUser={user}\nExecStart={start} {settings}\nExecStop={stop}\n\
         StandardOutput=append:{log_dir}/{console}\nStandardError=inherit\n\
         # As Kafka's packages have it: a crash is mended at once, an exit with an error code is not.\n\
         Restart=on-abnormal\nSuccessExitStatus=143\n\n\
         [Install]\nWantedBy=multi-user.target\n",
        spoken = daemon.spoken(),
        user = daemon.script(),
        stop = daemon.stop_command().join(" "),
        log_dir = daemon.log_dir(),
        console = daemon.console_log(),
    )
}

/// Makes the host's root in the mount namespace of this process.
pub(crate) fn enter(spec: &HostSpec, own: &SystemdSpec) -> Outcome {
    cgroups::enter(&own.cgroup)?;
    if [&spec.host_dir, &own.base_root, &spec.libs_dir].iter().any(|path| path.starts_with("/run")) {
        return Err(
            "a host with systemd cannot have its files below /run: name other directories by KCHAOS_LAB_DIR and KCHAOS_CACHE".to_owned()
        );
    }
    mount(None, Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE, "")?;
    mount(Some(Path::new("proc")), Path::new("/proc"), Some("proc"), libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC, "")?;
    // What systemd-nspawn keeps for itself there goes with the host.
    mount(Some(Path::new("tmpfs")), Path::new("/run"), Some("tmpfs"), libc::MS_NOSUID | libc::MS_NODEV, "size=16m,mode=755")?;
    let root = spec.host_dir.join("rootfs");
    let (upper, work) = (spec.host_dir.join("overlay/upper"), spec.host_dir.join("overlay/work"));
    make_dir(&upper)?;
    make_dir(&work)?;
    // Relative, since a comma or a colon in a path would be read as syntax.
    let overlay = spec.host_dir.join("overlay");
    let base = overlay.join("base");
    symlink(&own.base_root, &base).map_err(at(&base))?;
    std::env::set_current_dir(&overlay).map_err(at(&overlay))?;
    mount(Some(Path::new("overlay")), &root, Some("overlay"), 0, "lowerdir=base,upperdir=upper,workdir=work")?;
    std::env::set_current_dir("/").map_err(at(Path::new("/")))?;
    copy_tree(&spec.host_dir.join("etc"), &root.join("etc"))?;
    add_login(&root.join("etc"))?;
    let bin = root.join("opt/kafka/bin");
    make_dir(&bin)?;
    copy_tree(&spec.host_dir.join("bin"), &bin)?;
    let wants = root.join(UNITS_DIR).join("multi-user.target.wants");
    make_dir(&wants)?;
    own.units.iter().try_for_each(|unit| {
        let link = wants.join(unit);
        symlink(Path::new("..").join(unit), &link).map_err(at(&link))
    })
}

/// Boots it. Its PID 1 gets every capability, as that of a real host has: cuts need the network's.
pub(crate) fn boot(spec: &HostSpec) -> std::io::Result<Command> {
    let mut command = Command::new("systemd-nspawn");
    let path = |path: &Path| path.display().to_string();
    command.stdout(fs::File::create(spec.host_dir.join("console.log"))?).stderr(fs::File::create(spec.host_dir.join("nspawn.log"))?);
    command.args(["--quiet", "--register=no", "--keep-unit", "--capability=all", "--console=pipe", "--link-journal=no", "--timezone=off"]);
    command.args(["--resolv-conf=off", "--boot", "--directory"]).arg(spec.host_dir.join("rootfs"));
    command.arg(format!("--machine={}", spec.name)).arg(format!("--hostname={}", spec.name));
    // This process is in it, and its name under /run is not to be seen here.
    command.arg("--network-namespace-path=/proc/1/ns/net");
    let data = fs::read_dir(spec.host_dir.join("var/lib"))?.flatten().map(|entry| Path::new("var/lib").join(entry.file_name()));
    for own in data.chain([Path::new("var/log").to_owned()]) {
        command.arg(format!("--bind={}:/{}", escaped(&path(&spec.host_dir.join(&own))), escaped(&path(&own))));
    }
    command.arg(format!("--bind-ro={}:/opt/kafka/libs", escaped(&path(&spec.libs_dir))));
    Ok(command)
}

/// Colons separate the parts of a bind.
fn escaped(path: &str) -> String {
    path.replace('\\', "\\\\").replace(':', "\\:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;

    #[test]
    fn a_unit_runs_its_daemon_in_the_foreground_as_a_user_of_its_own() {
        let layout = Layout::new(3, 1, Some(2));
        let text = unit(&layout.hosts[0].daemons[1]);
        for line in [
            "ExecStart=/opt/kafka/bin/kafka-server-start.sh /etc/kafka/server-3.properties",
            "User=kafka",
            "Restart=on-abnormal",
            "StandardOutput=append:/var/log/kafka-3/kafkaServer.out",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
        assert_eq!(layout.hosts[0].daemons[1].unit(), "kafka-3.service");
    }
}
