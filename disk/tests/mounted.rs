//! The disk as the kernel serves it: `cargo test -p kchaos-disk --test mounted -- --ignored` (root, and /dev/fuse).
//!
//! In a mount namespace of its own, so nothing of it is seen or left. Its own `main`, because it must also be what `kchaos lab-disk` is: the process
//! that serves the disk.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("whatever_is_done_a_loss_leaves_what_was_last_synced", whatever_is_done_a_loss_leaves_what_was_last_synced),
    ("what_is_written_by_a_mapping_is_lost_unless_it_is_synced", what_is_written_by_a_mapping_is_lost_unless_it_is_synced),
    ("names_go_back_together_even_under_those_who_look", names_go_back_together_even_under_those_who_look),
    ("a_slow_disk_is_slow_and_its_control_is_not", a_slow_disk_is_slow_and_its_control_is_not),
    ("a_fault_that_nobody_renews_ends_and_lets_go_what_waits", a_fault_that_nobody_renews_ends_and_lets_go_what_waits),
    ("what_waits_when_power_goes_is_never_done", what_waits_when_power_goes_is_never_done),
    ("operations_fail_by_kind", operations_fail_by_kind),
    ("the_control_is_in_no_listing_and_takes_no_nonsense", the_control_is_in_no_listing_and_takes_no_nonsense),
    ("a_disk_whose_process_is_killed_can_be_unmounted", a_disk_whose_process_is_killed_can_be_unmounted),
];

const SANDBOXED: &str = "KCHAOS_DISK_TEST_SANDBOX";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    if arguments.first().is_some_and(|first| first == "lab-disk") {
        return ExitCode::from(kchaos_disk::run(&arguments[1..]) as u8);
    }
    if has("--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if !has("--ignored") && !has("--include-ignored") {
        println!("{} tests ignored: they need root and /dev/fuse; run them with --ignored", TESTS.len());
        return ExitCode::SUCCESS;
    }
    if std::env::var_os(SANDBOXED).is_none() {
        let mut again = Command::new("unshare");
        again.args(["--mount", "--propagation", "private", "--"]).arg(std::env::current_exe().unwrap()).args(&arguments);
        let status = again.env(SANDBOXED, "1").status().expect("unshare of util-linux");
        return if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let wanted: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).filter(|word| !word.starts_with('-')).collect();
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|word| name.contains(word))) {
        let started = Instant::now();
        test();
        println!("test {name} ... ok ({:.1} s)", started.elapsed().as_secs_f64());
    }
    ExitCode::SUCCESS
}

struct Mounted {
    directory: tempfile::TempDir,
    server: Child,
}

impl Mounted {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (backing, mount_point) = (directory.path().join("backing"), directory.path().join("disk"));
        fs::create_dir(&mount_point).unwrap();
        let mut server = Command::new(std::env::current_exe().unwrap())
            .arg("lab-disk")
            .args([&backing, &mount_point])
            .arg("a mark")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n");
        Self { directory, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("disk").join(name)
    }

    fn order(&self, text: &str) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path(".kchaos-control"))?.write_all(text.as_bytes())
    }

    fn said(&self) -> String {
        fs::read_to_string(self.path(".kchaos-control")).unwrap()
    }

    /// The number behind this word on the line that begins with that one.
    fn count(&self, line: &str, word: &str) -> u64 {
        let said = self.said();
        let words: Vec<&str> = said.lines().find(|text| text.starts_with(line)).unwrap().split(' ').collect();
        words[words.iter().position(|known| *known == word).unwrap() + 1].parse().unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg(self.path("")).status().unwrap().success(), "nobody holds it any more");
        let _ = self.server.kill();
        assert!(self.server.wait().is_ok());
    }
}

/// Numbers that look drawn, the same in each run.
struct Drawn(u64);

impl Drawn {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
}

/// Which name means which file, now and when something was last synced.
#[derive(Default)]
struct Model {
    files: Vec<Content>,
    now: BTreeMap<String, usize>,
    synced: BTreeMap<String, usize>,
}

impl Model {
    fn lose(&mut self) {
        self.now = self.synced.clone();
        self.files.iter_mut().for_each(|file| file.now = file.synced.clone());
    }
}

fn overwrite(content: &mut Vec<u8>, from: usize, data: &[u8]) {
    if content.len() < from + data.len() {
        content.resize(from + data.len(), 0);
    }
    content[from..from + data.len()].copy_from_slice(data);
}

fn both(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

fn whatever_is_done_a_loss_leaves_what_was_last_synced() {
    const NAMES: [&str; 5] = ["p", "q", "r", "d/p", "d/q"];
    let disk = Mounted::new();
    fs::create_dir(disk.path("d")).unwrap();
    File::open(disk.path("d")).unwrap().sync_all().unwrap();
    let mut drawn = Drawn(0x9E37_79B9_7F4A_7C15);
    let mut model = Model::default();
    // Files that stay open keep their pages in the kernel.
    let mut held: Vec<File> = Vec::new();
    for turn in 0..1_500 {
        let name = NAMES[drawn.below(5) as usize];
        let path = disk.path(name);
        let file = model.now.get(name).copied();
        match (drawn.below(12), file) {
            (0..=2, None) => {
                held.push(File::create_new(&path).unwrap());
                model.files.push(Content::default());
                model.now.insert(name.to_owned(), model.files.len() - 1);
            }
            (0..=3, Some(file)) => {
                let (from, data) = (drawn.below(30_000) as usize, vec![turn as u8; drawn.below(20_000) as usize + 1]);
                both(&path).write_all_at(&data, from as u64).unwrap();
                overwrite(&mut model.files[file].now, from, &data);
            }
            (4..=5, Some(file)) if !model.files[file].now.is_empty() => {
                let from = drawn.below(model.files[file].now.len() as u64) as usize;
                let data = vec![!turn as u8; (model.files[file].now.len() - from).min(5_000)];
                let mapping = Mapping::of(&both(&path), model.files[file].now.len());
                mapping.write(from, &data);
                drop(mapping);
                overwrite(&mut model.files[file].now, from, &data);
            }
            (6, Some(file)) => {
                let size = drawn.below(40_000) as usize;
                both(&path).set_len(size as u64).unwrap();
                model.files[file].now.resize(size, 0);
            }
            (7, Some(_)) => {
                fs::remove_file(&path).unwrap();
                model.now.remove(name);
            }
            (8, Some(file)) => {
                let to = NAMES[drawn.below(5) as usize];
                fs::rename(&path, disk.path(to)).unwrap();
                model.now.remove(name);
                model.now.insert(to.to_owned(), file);
            }
            (9, Some(file)) => {
                both(&path).sync_data().unwrap();
                model.files[file].synced = model.files[file].now.clone();
                model.synced = model.now.clone();
            }
            (10, _) if turn % 3 == 0 => {
                disk.order("lose all").unwrap();
                model.lose();
            }
            (11, _) => held.clear(),
            _ => {}
        }
        if turn % 5 == 0 {
            assert_is(&disk, &model, &NAMES);
        }
    }
    held.clear();
    disk.order("lose all").unwrap();
    model.lose();
    assert_is(&disk, &model, &NAMES);
    assert_eq!(disk.count("unsynced", "files"), 0);
    assert!(disk.count("losses", "losses") > 20, "{}", disk.said());
}

fn assert_is(disk: &Mounted, model: &Model, names: &[&str]) {
    for name in names {
        let expect = model.now.get(*name).map(|file| model.files[*file].now.as_slice());
        let found = fs::read(disk.path(name)).ok();
        assert!(found.as_deref() == expect, "{name}: {:?} bytes, not {:?}", found.map(|all| all.len()), expect.map(<[u8]>::len));
        if let Some(expect) = expect {
            assert_eq!(fs::metadata(disk.path(name)).unwrap().len(), expect.len() as u64, "{name}");
        }
    }
}

/// A file mapped for all to see.
struct Mapping {
    address: *mut u8,
    length: usize,
}

impl Mapping {
    fn of(file: &File, length: usize) -> Self {
        // SAFETY: a new mapping of an open file, nowhere in particular.
        let address =
            unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(address, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        Self { address: address.cast(), length }
    }

    fn write(&self, from: usize, data: &[u8]) {
        assert!(from + data.len() <= self.length);
        // SAFETY: inside the mapping, which lives, and the file reaches so far.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.address.add(from), data.len()) };
    }

    fn sync(&self) {
        // SAFETY: the mapping lives.
        assert_eq!(unsafe { libc::msync(self.address.cast(), self.length, libc::MS_SYNC) }, 0, "{}", io::Error::last_os_error());
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping lives, and nobody has a reference into it.
        unsafe { libc::munmap(self.address.cast(), self.length) };
    }
}

/// As Kafka's index files: sized, mapped, closed, written by the mapping.
fn what_is_written_by_a_mapping_is_lost_unless_it_is_synced() {
    let disk = Mounted::new();
    let file = File::create_new(disk.path("0.index")).unwrap();
    drop(file);
    let file = both(&disk.path("0.index"));
    file.set_len(1 << 20).unwrap();
    file.sync_all().unwrap();
    let mapping = Mapping::of(&file, 1 << 20);
    drop(file);
    mapping.write(0, b"synced");
    mapping.sync();
    mapping.write(8_192, b"not synced");
    // Still mapped: the kernel alone knows of it.
    disk.order("lose all").unwrap();
    let found = fs::read(disk.path("0.index")).unwrap();
    assert!(found.starts_with(b"synced") && found[6..].iter().all(|byte| *byte == 0) && found.len() == 1 << 20);
    mapping.write(8_192, b"unmapped");
    drop(mapping);
    disk.order("lose all").unwrap();
    assert!(fs::read(disk.path("0.index")).unwrap()[6..].iter().all(|byte| *byte == 0));
}

fn names_go_back_together_even_under_those_who_look() {
    let disk = Mounted::new();
    fs::write(disk.path("kept"), "kept").unwrap();
    fs::create_dir(disk.path("a-0")).unwrap();
    fs::write(disk.path("a-0/0.log"), "0").unwrap();
    for name in ["kept", "a-0", "a-0/0.log"] {
        File::open(disk.path(name)).unwrap().sync_all().unwrap();
    }
    let here = std::env::current_dir().unwrap();
    std::env::set_current_dir(disk.path("a-0")).unwrap();
    fs::rename(disk.path("a-0"), disk.path("a-0-delete")).unwrap();
    fs::remove_file(disk.path("a-0-delete/0.log")).unwrap();
    fs::remove_dir(disk.path("a-0-delete")).unwrap();
    fs::write(disk.path("new"), "new").unwrap();
    fs::rename(disk.path("new"), disk.path("kept")).unwrap();
    fs::create_dir(disk.path("b-0")).unwrap();
    assert_eq!(fs::read_to_string(disk.path("kept")).unwrap(), "new");
    disk.order("lose all").unwrap();
    std::env::set_current_dir(here).unwrap();
    assert_eq!(fs::read_to_string(disk.path("kept")).unwrap(), "kept");
    assert_eq!(fs::read_to_string(disk.path("a-0/0.log")).unwrap(), "0");
    let mut names: Vec<_> = fs::read_dir(disk.path("")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["a-0", "kept"]);
    fs::write(disk.path("a-0/1.log"), "the directory is alive").unwrap();
    assert_eq!(disk.count("losses", "names"), 7);
}

fn a_slow_disk_is_slow_and_its_control_is_not() {
    let disk = Mounted::new();
    let file = File::create_new(disk.path("0.log")).unwrap();
    disk.order("fault 60000 write=300ms fsync=400ms").unwrap();
    let started = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            file.write_all_at(b"slow", 0).unwrap();
            file.sync_all().unwrap();
        });
        thread::sleep(Duration::from_millis(50));
        let asked = Instant::now();
        assert!(disk.said().contains("write=300ms fsync=400ms"), "{}", disk.said());
        assert!(asked.elapsed() < Duration::from_millis(200), "{:?}", asked.elapsed());
    });
    assert!(started.elapsed() >= Duration::from_millis(700), "{:?}", started.elapsed());
    assert_eq!((disk.count("write", "delayed"), disk.count("fsync", "delayed")), (1, 1));
    // What waits is let go when the disk is mended.
    disk.order("off").unwrap();
    disk.order("fault 60000 write=20000ms").unwrap();
    let started = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| file.write_all_at(b"mended", 4).unwrap());
        thread::sleep(Duration::from_millis(100));
        disk.order("off").unwrap();
    });
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(fs::read_to_string(disk.path("0.log")).unwrap(), "slowmended");
    assert!(disk.said().contains("\nhealthy\n"));
}

fn a_fault_that_nobody_renews_ends_and_lets_go_what_waits() {
    let disk = Mounted::new();
    let file = File::create_new(disk.path("0.log")).unwrap();
    assert!(disk.order("renew 1000").is_err(), "there is nothing to renew");
    disk.order("fault 600 write=30000ms fsync=EIO").unwrap();
    assert!(disk.order("fault 600 write=EIO").is_err(), "one at a time");
    thread::sleep(Duration::from_millis(300));
    disk.order("renew 600").unwrap();
    thread::sleep(Duration::from_millis(400));
    assert!(file.sync_all().is_err(), "it was renewed");
    let started = Instant::now();
    file.write_all_at(b"late", 0).unwrap();
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    file.sync_all().unwrap();
    assert!(disk.order("renew 600").is_err(), "what has lapsed is not put back");
}

fn what_waits_when_power_goes_is_never_done() {
    let disk = Mounted::new();
    let file = File::create_new(disk.path("0.log")).unwrap();
    file.sync_all().unwrap();
    disk.order("fault 60000 write=20000ms").unwrap();
    thread::scope(|scope| {
        let write = scope.spawn(|| file.write_all_at(b"on its way", 0));
        thread::sleep(Duration::from_millis(100));
        disk.order("lose all").unwrap();
        assert!(write.join().unwrap().is_err());
    });
    disk.order("off").unwrap();
    assert_eq!(fs::read(disk.path("0.log")).unwrap(), b"");
}

fn operations_fail_by_kind() {
    let disk = Mounted::new();
    let file = File::create_new(disk.path("0.log")).unwrap();
    let number = |result: io::Result<()>| result.map_err(|error| error.raw_os_error().unwrap());
    for (order, write, fsync, create) in [
        ("fault 60000 write=EIO", Err(libc::EIO), Ok(()), Ok(())),
        ("fault 60000 write=ENOSPC", Err(libc::ENOSPC), Ok(()), Ok(())),
        ("fault 60000 fsync=EIO", Ok(()), Err(libc::EIO), Ok(())),
        ("fault 60000 names=EROFS", Ok(()), Ok(()), Err(libc::EROFS)),
    ] {
        disk.order(order).unwrap();
        assert_eq!(number(file.write_all_at(b"x", 0)), write, "{order}");
        assert_eq!(number(file.sync_all()), fsync, "{order}");
        assert_eq!(number(fs::create_dir(disk.path("d"))), create, "{order}");
        let _ = fs::remove_dir(disk.path("d"));
        disk.order("off").unwrap();
        file.write_all_at(b"mended", 0).unwrap();
        file.sync_all().unwrap();
    }
    assert_eq!((disk.count("write", "failed"), disk.count("fsync", "failed"), disk.count("names", "failed")), (2, 1, 1));
    disk.order("fault 60000 read=EIO").unwrap();
    // What the kernel has is the kernel's; what it must ask for fails.
    fs::write(disk.path("1.log"), "x").unwrap();
    assert!(fs::read(disk.path("1.log")).is_ok() || disk.count("read", "failed") > 0);
}

fn the_control_is_in_no_listing_and_takes_no_nonsense() {
    let disk = Mounted::new();
    assert_eq!(fs::read_dir(disk.path("")).unwrap().count(), 0);
    let said = disk.said();
    assert!(said.starts_with("kchaos-disk 1\nmark a mark\nhealthy\n"), "{said}");
    for nonsense in ["", "lose", "lose everything", "fault", "halt", "\u{0}"] {
        assert!(nonsense.is_empty() || disk.order(nonsense).is_err(), "{nonsense:?}");
    }
    let control = disk.path(".kchaos-control");
    assert!(fs::remove_file(&control).is_err() && fs::rename(&control, disk.path("x")).is_err());
    assert!(fs::create_dir(&control).is_err() && fs::write(disk.path("x"), "").is_ok() && fs::rename(disk.path("x"), &control).is_err());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let own = mounts.lines().find(|line| line.contains(disk.directory.path().to_str().unwrap())).unwrap();
    assert!(own.contains(&format!(" - {} kchaos-disk ", kchaos_disk::KIND)), "{own}");
}

fn a_disk_whose_process_is_killed_can_be_unmounted() {
    let mut disk = Mounted::new();
    fs::write(disk.path("0.log"), "x").unwrap();
    disk.server.kill().unwrap();
    disk.server.wait().unwrap();
    assert!(fs::read(disk.path("0.log")).is_err());
}
