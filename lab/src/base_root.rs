//! The Debian that systemd hosts share: `/var/cache/kchaos/systemd-host-1/` (or below `KCHAOS_CACHE`), made once by debootstrap.
//!
//! A directory under that name is whole: it is made beside it and renamed at the end. The mirror is the one that the machine's own apt uses, asked
//! when it is needed and never written down.

use std::fs;
use std::path::{Path, PathBuf};

use kchaos_cluster::inventory::DaemonKind;

use crate::LabError;
use crate::commands;
use crate::layout::user_id;
use crate::state::Lock;

const DEFAULT_CACHE: &str = "/var/cache/kchaos";
/// The number grows with what follows.
const NAME: &str = "systemd-host-1";
const PACKAGES: &str = "systemd,systemd-sysv,dbus,openssh-server,iproute2,nftables,iptables,sudo,procps,default-jre-headless";
/// What a host that lives for minutes does not need.
const MASKED: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "getty@.service",
    "systemd-firstboot.service",
];

pub(crate) fn directory() -> PathBuf {
    let cache = std::env::var_os("KCHAOS_CACHE").map_or_else(|| PathBuf::from(DEFAULT_CACHE), PathBuf::from);
    cache.join(NAME)
}

/// The directory of the base, made if it is not there yet.
pub(crate) fn ensure(lock: &Lock, progress: &mut dyn FnMut(&str)) -> Result<PathBuf, LabError> {
    let directory = directory();
    if directory.join("lib/systemd/systemd").exists() {
        return Ok(directory);
    }
    let missing = |reason: String| LabError::BaseMissing { directory: directory.clone(), reason };
    if directory.exists() {
        return Err(missing("what is there is no Debian with systemd; delete it".to_owned()));
    }
    let mirror = mirror(lock).map_err(missing)?;
    progress("making the base of systemd hosts with debootstrap (once, about a minute)");
    // Under the lab's lock, so what is there under such a name is of somebody who was killed.
    let scratch = directory.with_file_name(format!(".{NAME}.half"));
    let _ = fs::remove_dir_all(&scratch);
    let made = make(&mirror, &scratch, lock).map_err(|error| missing(error.to_string())).and_then(|()| {
        // Somebody else may have been faster; theirs is as good.
        fs::rename(&scratch, &directory).or_else(|error| if directory.is_dir() { Ok(()) } else { Err(missing(error.to_string())) })
    });
    let _ = fs::remove_dir_all(&scratch);
    made.map(|()| directory)
}

fn make(mirror: &Mirror, scratch: &Path, lock: &Lock) -> Result<(), LabError> {
    let root = scratch.display().to_string();
    if let Some(cache) = scratch.parent() {
        fs::create_dir_all(cache).map_err(LabError::io("cannot make", cache))?;
    }
    let include = format!("--include={PACKAGES}");
    // In a mount namespace of its own: what it mounts in the tree on its way is gone whatever happens to it.
    let debootstrap = ["--mount", "debootstrap", "--variant=minbase", &include, &mirror.suite, &root, &mirror.uri];
    commands::run("unshare", &debootstrap, "", lock.file())?;
    for kind in [DaemonKind::Kafka, DaemonKind::Zookeeper] {
        let (name, id) = (kind.name(), user_id(kind).to_string());
        let home = format!("/var/lib/{name}");
        let shell = "/usr/sbin/nologin";
        commands::run("chroot", &[&root, "groupadd", "--gid", &id, name], "", lock.file())?;
        let user = ["useradd", "--uid", &id, "--gid", &id, "--no-create-home", "--home-dir", &home, "--shell", shell, name];
        commands::run("chroot", &[&[root.as_str()], &user[..]].concat(), "", lock.file())?;
    }
    commands::run("systemctl", &[&["--root", &root, "--quiet", "mask"], MASKED].concat(), "", lock.file())?;
    // Each host has its own; what apt fetched is not needed again.
    for left in ["etc/machine-id", "var/lib/dbus/machine-id", "etc/hostname"] {
        let _ = fs::remove_file(scratch.join(left));
    }
    fs::write(scratch.join("etc/machine-id"), "").map_err(LabError::io("cannot write", scratch))?;
    let archives = scratch.join("var/cache/apt/archives");
    fs::remove_dir_all(&archives).map_err(LabError::io("cannot empty", &archives))?;
    ["ssh_host_ecdsa_key", "ssh_host_ed25519_key", "ssh_host_rsa_key"].iter().for_each(|key| {
        let path = scratch.join("etc/ssh").join(key);
        let _ = fs::remove_file(path.with_extension("pub"));
        let _ = fs::remove_file(path);
    });
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Mirror {
    uri: String,
    suite: String,
}

/// Debian's main archive of the machine's own release, among those that its apt uses.
fn mirror(lock: &Lock) -> Result<Mirror, String> {
    let format = "$(ORIGIN)\t$(COMPONENT)\t$(CODENAME)\t$(REPO_URI)";
    let arguments = ["indextargets", "--format", format, "Created-By: Packages"];
    let targets = commands::run("apt-get", &arguments, "", lock.file()).map_err(|error| error.to_string())?;
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let own = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or_default();
    choose(&targets, own.trim_matches('"'))
        .ok_or_else(|| format!("this machine's apt has no main archive of Debian {own} (apt-get update, or another sources.list)"))
}

fn choose(targets: &str, own: &str) -> Option<Mirror> {
    let of_line = |line: &str| {
        let mut words = line.split('\t');
        let (origin, component, suite, uri) = (words.next()?, words.next()?, words.next()?, words.next()?);
        (origin == "Debian" && component == "main" && suite == own && !uri.is_empty())
            .then(|| Mirror { uri: uri.to_owned(), suite: suite.to_owned() })
    };
    targets.lines().find_map(of_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_of_the_machines_own_release() {
        let targets = "Other\tmain\tbookworm\thttp://mirror.invalid/other/\nDebian\tmain\tbookworm-security\thttp://mirror.invalid/security/\n\
                       Debian\tmain\tbookworm\thttp://mirror.invalid/debian/\n";
        let expect = Mirror { uri: "http://mirror.invalid/debian/".to_owned(), suite: "bookworm".to_owned() };
        assert_eq!(choose(targets, "bookworm"), Some(expect));
        assert_eq!(choose(targets, "trixie"), None);
        assert_eq!(choose("nonsense\n\t\t\n", "bookworm"), None);
    }
}
