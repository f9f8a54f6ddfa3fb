//! A run as an archive: `kchaos runs export`, and the download of `kchaos serve`.
//!
//! What stands in the directory is written as it comes, so that a run of many gigabytes needs no memory and no second copy. A file that grows meanwhile is
//! taken at the size that it had, one that shrinks is filled up with zeros; links are left out, since what they point at may be anybody's.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, anyhow};
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use crate::exit::Failure;

const ZSTD_LEVEL: i32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    /// By the archive's name.
    pub(crate) fn of(output: &Path) -> Result<Self, Failure> {
        let name = output.to_string_lossy();
        if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
            Ok(Self::Gzip)
        } else if name.ends_with(".tar.zst") {
            Ok(Self::Zstd)
        } else {
            Err(Failure::usage(anyhow!("{name}: the name of an archive ends in .tar.zst or .tar.gz")))
        }
    }
}

/// What went into an archive.
#[derive(Debug, Default)]
pub(crate) struct Archived {
    pub(crate) files: usize,
    pub(crate) bytes: u64,
    /// What did not, and why.
    pub(crate) left_out: Vec<String>,
}

/// Into a file, whole or not at all.
pub(crate) fn write(run: &Path, name: &str, output: &Path, is_replaced: bool) -> Result<Archived, Failure> {
    let packing = Packing::of(output)?;
    if output.exists() && !is_replaced {
        return Err(Failure::usage(anyhow!("{} is there already (--force replaces it)", output.display())));
    }
    let mut beside = output.as_os_str().to_owned();
    beside.push(".partial");
    let beside = PathBuf::from(beside);
    let written = || -> anyhow::Result<Archived> {
        let mut file = File::create(&beside)?;
        let archived = pack(run, name, packing, io::BufWriter::new(&mut file))?;
        file.sync_all()?;
        fs::rename(&beside, output)?;
        Ok(archived)
    };
    written().with_context(|| format!("write {}", output.display())).map_err(|error| {
        let _ = fs::remove_file(&beside);
        Failure::environment(error)
    })
}

/// Everything in the run's directory, below its name.
pub(crate) fn pack(run: &Path, name: &str, packing: Packing, output: impl Write) -> io::Result<Archived> {
    match packing {
        Packing::Gzip => {
            let mut encoder = GzEncoder::new(output, flate2::Compression::new(6));
            let archived = tar(run, name, &mut encoder)?;
            encoder.finish()?.flush()?;
            Ok(archived)
        }
        Packing::Zstd => {
            let mut encoder = zstd::Encoder::new(output, ZSTD_LEVEL)?;
            let archived = tar(run, name, &mut encoder)?;
            encoder.finish()?.flush()?;
            Ok(archived)
        }
    }
}

fn tar(run: &Path, name: &str, output: impl Write) -> io::Result<Archived> {
    let mut archived = Archived::default();
    let mut builder = Builder::new(output);
    folder(run, Path::new(name), &mut builder, &mut archived)?;
    builder.into_inner()?.flush()?;
    Ok(archived)
}

fn folder(from: &Path, name: &Path, builder: &mut Builder<impl Write>, archived: &mut Archived) -> io::Result<()> {
    builder.append_data(&mut header(EntryType::Directory, 0, modified_s(from)), name, io::empty())?;
    let mut entries: Vec<_> = fs::read_dir(from)?.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, inner) = (entry.path(), name.join(entry.file_name()));
        match entry.file_type() {
            Ok(of) if of.is_dir() => folder(&path, &inner, builder, archived)?,
            Ok(of) if of.is_file() => match File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file))) {
                Ok((bytes, file)) => {
                    let exactly = file.take(bytes).chain(io::repeat(0)).take(bytes);
                    builder.append_data(&mut header(EntryType::Regular, bytes, modified_s(&path)), &inner, exactly)?;
                    archived.files += 1;
                    archived.bytes += bytes;
                }
                Err(error) => archived.left_out.push(format!("{}: {error}", inner.display())),
            },
            Ok(_) => archived.left_out.push(format!("{}: neither a file nor a directory", inner.display())),
            Err(error) => archived.left_out.push(format!("{}: {error}", inner.display())),
        }
    }
    Ok(())
}

/// Nobody's in particular: who made it matters to nobody who unpacks it.
fn header(of: EntryType, bytes: u64, modified_s: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(of);
    header.set_mode(if of == EntryType::Directory { 0o755 } else { 0o644 });
    header.set_size(bytes);
    header.set_mtime(modified_s);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn modified_s(path: &Path) -> u64 {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_comes_out_of_its_archive_as_it_went_in_and_links_stay_out() {
        let place = tempfile::tempdir().unwrap();
        let run = place.path().join("20261101T020000Z-append-none");
        let logs = run.join("logs").join("b".repeat(120));
        fs::create_dir_all(&logs).unwrap();
        fs::write(run.join("plan.json"), "{}").unwrap();
        fs::write(logs.join("server.log"), vec![7; 300_000]).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", run.join("elsewhere")).unwrap();
        for name in ["a.tar.gz", "a.tar.zst"] {
            let output = place.path().join(name);
            let archived = write(&run, "named", &output, false).unwrap();
            assert_eq!((archived.files, archived.bytes, archived.left_out.len()), (2, 300_002, 1));
            assert!(write(&run, "named", &output, false).unwrap_err().to_string().contains("--force"));
            write(&run, "named", &output, true).unwrap();
            let file = File::open(&output).unwrap();
            let unpacked: Box<dyn Read> = match Packing::of(&output).unwrap() {
                Packing::Gzip => Box::new(flate2::read::GzDecoder::new(file)),
                Packing::Zstd => Box::new(zstd::Decoder::new(file).unwrap()),
            };
            let mut inside: Vec<(PathBuf, u64)> = Vec::new();
            for entry in tar::Archive::new(unpacked).entries().unwrap() {
                let entry = entry.unwrap();
                if entry.header().entry_type().is_file() {
                    inside.push((entry.path().unwrap().into_owned(), entry.size()));
                }
            }
            let log = Path::new("named").join("logs").join("b".repeat(120)).join("server.log");
            assert_eq!(inside, [(log, 300_000), (PathBuf::from("named/plan.json"), 2)]);
        }
    }

    #[test]
    fn an_archive_says_by_its_name_how_it_is_packed() {
        let error = write(Path::new("."), "x", Path::new("run.zip"), false).unwrap_err();
        assert!(error.to_string().contains(".tar.zst or .tar.gz"), "{error}");
        let error = write(Path::new("."), "x", Path::new("/nowhere/run.tgz"), false).unwrap_err();
        assert!(error.to_string().contains("/nowhere/run.tgz"), "{error}");
    }
}
