//! The volume against a plain directory to which the same is done, and against what stood there when it was last synced.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::unsynced::SECTOR;

#[derive(Clone, Debug)]
enum Act {
    Create(Vec<u8>),
    MakeDirectory(Vec<u8>),
    Write(Vec<u8>, u64, u16, u8),
    Resize(Vec<u8>, u64),
    Remove(Vec<u8>),
    RemoveDirectory(Vec<u8>),
    Rename(Vec<u8>, Vec<u8>),
    Sync(Vec<u8>),
    Lose,
}

/// One name or two, of two: few, so that things happen to the same file.
fn path() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0_u8..2, 1..=2)
}

fn act() -> impl Strategy<Value = Act> {
    let size = || prop_oneof![0_u64..600, 0_u64..14_000];
    prop_oneof![
        4 => path().prop_map(Act::Create),
        2 => path().prop_map(Act::MakeDirectory),
        8 => (path(), size(), 0_u16..9_000, any::<u8>()).prop_map(|(path, from, length, byte)| Act::Write(path, from, length, byte)),
        3 => (path(), size()).prop_map(|(path, size)| Act::Resize(path, size)),
        2 => path().prop_map(Act::Remove),
        1 => path().prop_map(Act::RemoveDirectory),
        4 => (path(), path()).prop_map(|(from, to)| Act::Rename(from, to)),
        3 => path().prop_map(Act::Sync),
        2 => Just(Act::Lose),
    ]
}

fn name(letter: u8) -> String {
    char::from(b'p' + letter).to_string()
}

fn relative(path: &[u8]) -> PathBuf {
    path.iter().map(|letter| name(*letter)).collect()
}

/// What a tree holds; `None`: a directory.
type Tree<T> = BTreeMap<PathBuf, Option<T>>;

fn walk<T>(root: &Path, of: &dyn Fn(&Path) -> T) -> Tree<T> {
    let mut found = Tree::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(at) = waiting.pop() {
        for entry in fs::read_dir(root.join(&at)).unwrap().flatten() {
            let path = at.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                waiting.push(path.clone());
                found.insert(path, None);
            } else {
                found.insert(path, Some(of(&entry.path())));
            }
        }
    }
    found
}

fn contents(root: &Path) -> Tree<Vec<u8>> {
    walk(root, &|path| fs::read(path).unwrap())
}

struct Both {
    directory: TempDir,
    volume: Volume,
    /// Of the plain directory: which file had which name when names were last synced, and what each file held when it was.
    names: Tree<u64>,
    synced: BTreeMap<u64, Vec<u8>>,
    files: usize,
}

impl Both {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("plain")).unwrap();
        fs::create_dir(directory.path().join("pins")).unwrap();
        let volume = Volume::open(&directory.path().join("backing")).unwrap();
        Self { directory, volume, names: Tree::new(), synced: BTreeMap::new(), files: 0 }
    }

    fn plain(&self, path: &[u8]) -> PathBuf {
        self.directory.path().join("plain").join(relative(path))
    }

    /// The numbers of our tree are looked up for each act, and forgotten after it.
    fn parent<T>(&mut self, path: &[u8], act: impl FnOnce(&mut Volume, u64, &OsStr) -> io::Result<T>) -> io::Result<T> {
        let last = name(path[path.len() - 1]);
        let Some(first) = path.get(..path.len() - 1).and_then(|head| head.first()) else {
            return act(&mut self.volume, ROOT, OsStr::new(&last));
        };
        let (id, _) = self.volume.enter(ROOT, OsStr::new(&name(*first)))?;
        let result = act(&mut self.volume, id, OsStr::new(&last));
        self.volume.forget(id, 1);
        result
    }

    fn file<T>(&mut self, path: &[u8], act: impl FnOnce(&mut Volume, u64) -> io::Result<T>) -> io::Result<T> {
        self.parent(path, |volume, parent, name| {
            let (id, stat) = volume.enter(parent, name)?;
            let result = if is_directory(&stat) { Err(io::Error::from_raw_os_error(libc::EISDIR)) } else { act(volume, id) };
            volume.forget(id, 1);
            result
        })
    }

    fn pin(&mut self, path: &Path) {
        self.files += 1;
        fs::hard_link(path, self.directory.path().join("pins").join(self.files.to_string())).unwrap();
    }

    fn act(&mut self, act: &Act) {
        let (ours, plain) = match act {
            Act::Create(path) => {
                let ours = self.parent(path, |volume, parent, name| {
                    let (id, _) = volume.create(parent, name, 0o600)?;
                    volume.forget(id, 1);
                    Ok(())
                });
                let plain = File::create_new(self.plain(path)).map(drop);
                if plain.is_ok() {
                    self.pin(&self.plain(path));
                }
                (ours, plain)
            }
            Act::MakeDirectory(path) => {
                let ours = self.parent(path, |volume, parent, name| {
                    let (id, _) = volume.make_directory(parent, name, 0o700)?;
                    volume.forget(id, 1);
                    Ok(())
                });
                (ours, fs::create_dir(self.plain(path)))
            }
            Act::Write(path, from, length, byte) => {
                let data = vec![*byte; usize::from(*length)];
                let ours = self.file(path, |volume, id| volume.write(id, *from, &data));
                let plain = OpenOptions::new().write(true).open(self.plain(path)).and_then(|file| file.write_all_at(&data, *from));
                (ours, plain)
            }
            Act::Resize(path, size) => {
                let ours = self.file(path, |volume, id| volume.resize(id, *size));
                (ours, OpenOptions::new().write(true).open(self.plain(path)).and_then(|file| file.set_len(*size)))
            }
            Act::Remove(path) => {
                let ours = self.parent(path, |volume, parent, name| volume.remove(parent, name, false));
                (ours, fs::remove_file(self.plain(path)))
            }
            Act::RemoveDirectory(path) => {
                let ours = self.parent(path, |volume, parent, name| volume.remove(parent, name, true));
                (ours, fs::remove_dir(self.plain(path)))
            }
            Act::Rename(from, to) => {
                let ours = self.rename(from, to);
                (ours, fs::rename(self.plain(from), self.plain(to)))
            }
            Act::Sync(path) => {
                let ours = self.file(path, |volume, id| volume.sync(id));
                if ours.is_ok() {
                    let inode = fs::metadata(self.plain(path)).unwrap().ino();
                    self.synced.insert(inode, fs::read(self.plain(path)).unwrap());
                    self.names = walk(&self.directory.path().join("plain"), &|path| fs::metadata(path).unwrap().ino());
                }
                return;
            }
            Act::Lose => {
                self.volume.lose(&Loss::All).unwrap();
                return self.lose_plain();
            }
        };
        assert_eq!(ours.is_ok(), plain.is_ok(), "{act:?}: {ours:?}, and plainly {plain:?}");
    }

    fn rename(&mut self, from: &[u8], to: &[u8]) -> io::Result<()> {
        let mut looked_up = Vec::new();
        let mut parent = |volume: &mut Volume, path: &[u8]| {
            if path.len() == 1 {
                return Ok(ROOT);
            }
            let (id, _) = volume.enter(ROOT, OsStr::new(&name(path[0])))?;
            looked_up.push(id);
            Ok::<u64, io::Error>(id)
        };
        let parents = parent(&mut self.volume, from).and_then(|old| Ok((old, parent(&mut self.volume, to)?)));
        let last = |path: &[u8]| name(path[path.len() - 1]);
        let result = parents.and_then(|(old, new)| self.volume.rename((old, OsStr::new(&last(from))), (new, OsStr::new(&last(to))), 0));
        looked_up.into_iter().for_each(|id| self.volume.forget(id, 1));
        result
    }

    /// The plain directory is made anew of what was synced; its files are pinned, so that no number is given twice.
    fn lose_plain(&mut self) {
        let plain = self.directory.path().join("plain");
        fs::remove_dir_all(&plain).unwrap();
        fs::create_dir(&plain).unwrap();
        let mut synced = BTreeMap::new();
        for (path, inode) in std::mem::take(&mut self.names) {
            let here = plain.join(&path);
            let Some(inode) = inode else {
                fs::create_dir(&here).unwrap();
                continue;
            };
            let content = self.synced.get(&inode).cloned().unwrap_or_default();
            fs::write(&here, &content).unwrap();
            self.pin(&here);
            synced.insert(fs::metadata(&here).unwrap().ino(), content);
        }
        self.synced = synced;
        self.names = walk(&plain, &|path| fs::metadata(path).unwrap().ino());
    }

    fn assert_same(&self) {
        let root = self.directory.path();
        assert_eq!(contents(&root.join("backing/data")), contents(&root.join("plain")));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_is_done_it_is_as_in_a_plain_directory_and_after_a_loss_as_it_was_last_synced(acts in proptest::collection::vec(act(), 1..100)) {
        let mut both = Both::new();
        for (turn, act) in acts.iter().enumerate() {
            both.act(act);
            if turn % 8 == 0 || matches!(act, Act::Lose) {
                both.assert_same();
            }
        }
        both.act(&Act::Lose);
        both.assert_same();
        prop_assert_eq!(both.volume.unsynced(), Lost::default());
        prop_assert_eq!(both.volume.nodes.len(), 1, "numbers that nobody knows are kept");
        prop_assert_eq!(fs::read_dir(both.directory.path().join("backing/removed")).unwrap().count(), 0);
    }

    #[test]
    fn of_a_torn_append_a_beginning_is_left_that_ends_at_a_sector(synced in 0_usize..3_000, whole in 0_usize..3_000, last in 1_usize..9_000) {
        let directory = tempfile::tempdir().unwrap();
        let mut volume = Volume::open(directory.path()).unwrap();
        let (id, _) = volume.create(ROOT, OsStr::new("00.log"), 0o600).unwrap();
        let all: Vec<u8> = (0..synced + whole + last).map(|at| at as u8 | 1).collect();
        volume.write(id, 0, &all[..synced]).unwrap();
        volume.sync(id).unwrap();
        volume.write(id, synced as u64, &all[synced..synced + whole]).unwrap();
        volume.write(id, (synced + whole) as u64, &all[synced + whole..]).unwrap();
        let (lost, changed) = volume.lose(&Loss::Torn("*.log".to_owned())).unwrap();
        let left = fs::read(directory.path().join("data/00.log")).unwrap();
        prop_assert!(all.starts_with(&left));
        prop_assert!(left.len() >= synced + whole);
        prop_assert_eq!(all.len() - left.len(), lost.bytes as usize);
        prop_assert_eq!(changed.is_empty(), left.len() == all.len());
        prop_assert!(changed.is_empty() || left.len().is_multiple_of(SECTOR as usize));
    }
}

#[test]
fn of_a_torn_overwrite_the_rest_is_what_was_synced() {
    let directory = tempfile::tempdir().unwrap();
    let mut volume = Volume::open(directory.path()).unwrap();
    let (id, _) = volume.create(ROOT, OsStr::new("a.index"), 0o600).unwrap();
    volume.write(id, 0, &[1; 10_000]).unwrap();
    volume.sync(id).unwrap();
    volume.write(id, 0, &[2; 600]).unwrap();
    volume.write(id, 2_000, &[3; 4_000]).unwrap();
    let (lost, _) = volume.lose(&Loss::Torn("*".to_owned())).unwrap();
    let expect = [vec![2; 600], vec![1; 1_400], vec![3; 1_584], vec![1; 6_416]].concat();
    assert_eq!(fs::read(directory.path().join("data/a.index")).unwrap(), expect);
    assert_eq!(lost, Lost { files: 1, bytes: 2_416, names: 0 });
}

#[test]
fn a_loss_by_name_takes_only_such_files() {
    let directory = tempfile::tempdir().unwrap();
    let mut volume = Volume::open(directory.path()).unwrap();
    for name in ["0.log", "0.index"] {
        let (id, _) = volume.create(ROOT, OsStr::new(name), 0o600).unwrap();
        volume.write(id, 0, b"unsynced").unwrap();
    }
    assert_eq!(volume.unsynced(), Lost { files: 2, bytes: 16, names: 2 });
    let (lost, _) = volume.lose(&Loss::Named("*.log".to_owned())).unwrap();
    assert_eq!(lost, Lost { files: 1, bytes: 8, names: 0 });
    let read = |name| fs::read(directory.path().join("data").join(name)).unwrap();
    assert_eq!((read("0.log").as_slice(), read("0.index").as_slice()), (&b""[..], &b"unsynced"[..]));
    let (lost, _) = volume.lose(&Loss::All).unwrap();
    assert_eq!(lost, Lost { files: 1, bytes: 8, names: 2 });
    assert!(contents(&directory.path().join("data")).is_empty());

    let (id, _) = volume.create(ROOT, OsStr::new("1.log"), 0o600).unwrap();
    volume.write(id, 0, b"all of it").unwrap();
    volume.sync_all();
    assert_eq!(volume.lose(&Loss::All).unwrap().0, Lost::default());
    assert_eq!(fs::read(directory.path().join("data/1.log")).unwrap(), b"all of it");
}

#[test]
fn a_pattern_stands_for_names() {
    for (pattern, name, is_one) in
        [("*", "", true), ("*.log", "0.log", true), ("*.log", "0.logs", false), ("0*x*", "0ax", true), ("a", "a", true), ("a", "b", false)]
    {
        assert_eq!(matches(pattern, name), is_one, "{pattern} {name}");
    }
}

#[test]
fn what_is_cut_off_and_not_synced_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut volume = Volume::open(directory.path()).unwrap();
    let (id, _) = volume.create(ROOT, OsStr::new("0.log"), 0o600).unwrap();
    let content: Vec<u8> = (0..=255).cycle().take(9_000).collect();
    volume.write(id, 0, &content).unwrap();
    volume.sync(id).unwrap();
    for size in [5_000, 100, 8_192, 0, 20_000] {
        volume.resize(id, size).unwrap();
    }
    volume.lose(&Loss::All).unwrap();
    assert_eq!(fs::read(directory.path().join("data/0.log")).unwrap(), content);
}
