//! The file system of a host, made inside its own mount namespace, so that it vanishes with the host's last process.
//!
//! The root is a small tmpfs. The machine's `/usr` is shown read-only; `/etc` and `/usr/local/lib` are overlays over the machine's, whose changes live in memory;
//! `/var` and `/root` are directories of the host's own; `/opt/kafka` holds scripts, and jars of all
//! versions that were fetched, one of which `libs` leads to. After `pivot_root` nothing else of the machine is
//! mounted in it: a namespace that kept copies of the machine's mounts would pin them (an unmounted disk would live on in it).

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disks::{self, DiskSpec};
use crate::fuse_disks::{self, FuseDisk};

/// What a host's PID 1 must know to become it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HostSpec {
    pub(crate) name: String,
    /// `/run/netns/…`.
    pub(crate) network_namespace: PathBuf,
    /// Holds `etc/` and `bin/` (copied), `var/` and `root/` (bound), `rootfs/` (an empty place to mount).
    pub(crate) host_dir: PathBuf,
    pub(crate) libs_dir: PathBuf,
    /// Other versions' jars by version, that of `libs_dir` among them.
    pub(crate) versions: Vec<(String, PathBuf)>,
    /// A Java outside `/usr`, shown at `/opt/java`.
    pub(crate) java_home: Option<PathBuf>,
    pub(crate) sshd: PathBuf,
    /// Daemons' disks, where they have disks of their own.
    pub(crate) disks: Vec<DiskSpec>,
    pub(crate) fuse_disks: Vec<FuseDisk>,
    /// Commands that start the daemons, in order.
    pub(crate) boot: Vec<Vec<String>>,
    /// A host with a systemd of its own.
    pub(crate) systemd: Option<SystemdSpec>,
    /// A host with an engine: it needs the machine's control groups.
    pub(crate) has_engine: bool,
}

/// What such a host has beside: the rest of its file system is a Debian's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SystemdSpec {
    pub(crate) base_root: PathBuf,
    /// Its path below the mount point of each hierarchy.
    pub(crate) cgroup: String,
    /// The names of its units.
    pub(crate) units: Vec<String>,
}

const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];
const ROOT_LINKS: &[&str] = &["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// The error names the path, because the caller can only print it.
pub(crate) type Outcome = Result<(), String>;

/// Turns the mount namespace of this process into the host's.
pub(crate) fn enter(spec: &HostSpec) -> Outcome {
    // Nothing that happens in here may reach the machine, nor the other way round.
    mount(None, Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE, "")?;
    let root = spec.host_dir.join("rootfs");
    mount(Some(Path::new("tmpfs")), &root, Some("tmpfs"), libc::MS_NOSUID, "size=256m,mode=755")?;
    for directory in
        ["usr", "etc", "opt/kafka/bin", "opt/kafka/versions", "run/sshd", "run/lock", "tmp", "proc", "sys", "dev", "var", "root", "mnt"]
    {
        make_dir(&root.join(directory))?;
    }
    for open_to_all in ["tmp", "run/lock"] {
        set_mode(&root.join(open_to_all), 0o1777)?;
    }
    show_programs(spec, &root)?;
    overlay(&root, "/usr/local/lib")?;
    make_etc(spec, &root)?;
    bind(&spec.host_dir.join("var"), &root.join("var"), 0)?;
    bind(&spec.host_dir.join("root"), &root.join("root"), 0)?;
    copy_tree(&spec.host_dir.join("bin"), &root.join("opt/kafka/bin"))?;
    let quiet = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount(Some(Path::new("proc")), &root.join("proc"), Some("proc"), quiet, "")?;
    mount(Some(Path::new("sysfs")), &root.join("sys"), Some("sysfs"), quiet, "")?;
    if spec.has_engine {
        bind(Path::new("/sys/fs/cgroup"), &root.join("sys/fs/cgroup"), 0)?;
    }
    make_dev(&root.join("dev"))?;
    if !spec.fuse_disks.is_empty() {
        show_device(Path::new(fuse_disks::DEVICE), &root.join("dev/fuse"))?;
    }
    disks::attach(&spec.disks, &root.join("dev"))?;
    change_root(&root)?;
    disks::mount_all(&spec.disks)?;
    fuse_disks::start_all(&spec.fuse_disks)
}

/// `/usr`, what stands for it in the root directory, Java and the jars; all read-only.
fn show_programs(spec: &HostSpec, root: &Path) -> Outcome {
    bind(Path::new("/usr"), &root.join("usr"), libc::MS_RDONLY)?;
    for name in ROOT_LINKS {
        let original = Path::new("/").join(name);
        let here = root.join(name);
        if let Ok(target) = fs::read_link(&original) {
            symlink(&target, &here).map_err(at(&here))?;
        } else if original.is_dir() {
            make_dir(&here)?;
            bind(&original, &here, libc::MS_RDONLY)?;
        }
    }
    if let Some(java_home) = &spec.java_home {
        let here = root.join("opt/java");
        make_dir(&here)?;
        bind(java_home, &here, libc::MS_RDONLY)?;
    }
    for (version, jars) in &spec.versions {
        let here = root.join("opt/kafka/versions").join(version);
        make_dir(&here)?;
        bind(jars, &here, libc::MS_RDONLY)?;
        if *jars == spec.libs_dir {
            let libs = root.join("opt/kafka/libs");
            symlink(Path::new("versions").join(version), &libs).map_err(at(&libs))?;
        }
    }
    Ok(())
}

/// Shows a directory of the machine whose changes are the host's own, and live in memory.
fn overlay(root: &Path, directory: &str) -> Outcome {
    // The overlay keeps its upper layer alive by itself, so its mount point can go again.
    let layers = root.join("mnt");
    mount(Some(Path::new("tmpfs")), &layers, Some("tmpfs"), libc::MS_NOSUID | libc::MS_NODEV, "size=64m,mode=755")?;
    let (upper, work) = (layers.join("upper"), layers.join("work"));
    make_dir(&upper)?;
    make_dir(&work)?;
    // Relative, since a comma or a colon in a path would be read as syntax.
    std::env::set_current_dir(&layers).map_err(at(&layers))?;
    let here = root.join(directory.trim_start_matches('/'));
    let options = format!("lowerdir={directory},upperdir=upper,workdir=work");
    mount(Some(Path::new("overlay")), &here, Some("overlay"), 0, &options)?;
    std::env::set_current_dir("/").map_err(at(Path::new("/")))?;
    crate::network::unmount(&layers).map_err(at(&layers))
}

fn make_etc(spec: &HostSpec, root: &Path) -> Outcome {
    overlay(root, "/etc")?;
    let etc = root.join("etc");
    copy_tree(&spec.host_dir.join("etc"), &etc)?;
    // Stamps in logs are UTC, whatever the machine's own zone is.
    for zone in ["localtime", "timezone"] {
        let _ = fs::remove_file(etc.join(zone));
    }
    unlock_root(&etc.join("shadow"))?;
    add_login(&etc)
}

/// A user who logs in by the same key and may do nothing: for the helper, which `kchaos inventory install-helper` lets it run.
pub(crate) fn add_login(etc: &Path) -> Outcome {
    for (file, line) in
        [("passwd", "kchaos:x:64017:64017:kchaos:/:/bin/sh"), ("group", "kchaos:x:64017:"), ("shadow", "kchaos:*:19000:0:99999:7:::")]
    {
        let path = etc.join(file);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let others = text.lines().filter(|line| !line.starts_with("kchaos:"));
        let text = others.chain([line]).collect::<Vec<_>>().join("\n") + "\n";
        fs::write(&path, text).map_err(at(&path))?;
    }
    Ok(())
}

/// sshd without PAM lets nobody in whose password begins with `!`, not even by key.
fn unlock_root(shadow: &Path) -> Outcome {
    let Ok(text) = fs::read_to_string(shadow) else { return Ok(()) };
    let lines: Vec<&str> = text.lines().map(|line| if line.starts_with("root:") { "root:*:19000:0:99999:7:::" } else { line }).collect();
    fs::write(shadow, lines.join("\n") + "\n").map_err(at(shadow))
}

fn make_dev(dev: &Path) -> Outcome {
    mount(Some(Path::new("tmpfs")), dev, Some("tmpfs"), libc::MS_NOSUID, "size=1m,mode=755")?;
    for name in DEVICES {
        show_device(&Path::new("/dev").join(name), &dev.join(name))?;
    }
    for (name, target) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"), ("ptmx", "pts/ptmx")] {
        symlink(target, dev.join(name)).map_err(at(&dev.join(name)))?;
    }
    for directory in ["pts", "shm"] {
        make_dir(&dev.join(directory))?;
    }
    let quiet = libc::MS_NOSUID | libc::MS_NOEXEC;
    mount(Some(Path::new("devpts")), &dev.join("pts"), Some("devpts"), quiet, "newinstance,ptmxmode=0666,mode=620,gid=5")?;
    mount(Some(Path::new("tmpfs")), &dev.join("shm"), Some("tmpfs"), libc::MS_NOSUID | libc::MS_NODEV, "mode=1777,size=64m")
}

fn show_device(device: &Path, here: &Path) -> Outcome {
    fs::write(here, "").map_err(at(here))?;
    bind(device, here, 0)
}

/// The old root is stacked under the new one and then let go, with everything mounted in it.
fn change_root(root: &Path) -> Outcome {
    let path = c_string(root)?;
    let here = c".";
    // SAFETY: plain system calls with valid C strings; each result is looked at.
    unsafe {
        if libc::chdir(path.as_ptr()) != 0
            || libc::syscall(libc::SYS_pivot_root, here.as_ptr(), here.as_ptr()) != 0
            || libc::umount2(here.as_ptr(), libc::MNT_DETACH) != 0
            || libc::chdir(c"/".as_ptr()) != 0
        {
            return Err(format!("cannot change the root to {}: {}", root.display(), io::Error::last_os_error()));
        }
    }
    Ok(())
}

/// Shows a file or a directory with everything mounted in it. Flags such as read-only need a second call, and hold for its top alone.
fn bind(source: &Path, target: &Path, flags: libc::c_ulong) -> Outcome {
    mount(Some(source), target, None, libc::MS_BIND | libc::MS_REC, "")?;
    if flags == 0 {
        return Ok(());
    }
    mount(None, target, None, libc::MS_BIND | libc::MS_REMOUNT | flags, "")
}

pub(crate) fn mount(source: Option<&Path>, target: &Path, kind: Option<&str>, flags: libc::c_ulong, options: &str) -> Outcome {
    let source_text = c_string(source.unwrap_or(Path::new("none")))?;
    let target_text = c_string(target)?;
    let kind_text = CString::new(kind.unwrap_or("none")).map_err(|error| error.to_string())?;
    let options = CString::new(options).map_err(|error| error.to_string())?;
    // SAFETY: all pointers are valid C strings for the time of the call.
    let status = unsafe { libc::mount(source_text.as_ptr(), target_text.as_ptr(), kind_text.as_ptr(), flags, options.as_ptr().cast()) };
    if status == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(format!("cannot mount {} on {}: {error}", source_text.to_string_lossy(), target.display()))
}

/// With their owners: a daemon's user reads its own settings, and where these hold secrets nobody else may.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Outcome {
    for entry in fs::read_dir(from).map_err(at(from))? {
        let entry = entry.map_err(at(from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            make_dir(&target)?;
            copy_tree(&source, &target)?;
        } else {
            // Never through a link of the machine's /etc (`resolv.conf` often is one).
            if target.is_symlink() {
                fs::remove_file(&target).map_err(at(&target))?;
            }
            fs::copy(&source, &target).map_err(at(&target))?;
        }
        let owner = source.metadata().map_err(at(&source))?;
        chown(&target, Some(owner.uid()), Some(owner.gid())).map_err(at(&target))?;
    }
    Ok(())
}

pub(crate) fn make_dir(path: &Path) -> Outcome {
    fs::create_dir_all(path).map_err(at(path))
}

fn set_mode(path: &Path, mode: u32) -> Outcome {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at(path))
}

fn c_string(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_bytes()).map_err(|error| format!("{}: {error}", path.display()))
}

pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> String {
    let path: PathBuf = path.to_owned();
    move |error| format!("{}: {error}", path.display())
}
