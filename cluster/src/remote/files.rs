//! Fetching files from a host: daemon logs at the end of a run, evidence from a proof. Built on [`Remote::run`], so it needs no SFTP.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Means, Remote, RemoteError, quote};

/// A file's content, or the newest part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub bytes: Vec<u8>,
    /// The whole file's size when it was fetched: larger than `bytes` if the file was longer than the limit.
    pub size_bytes: u64,
}

/// A file in a directory of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Relative to the directory that was asked for.
    pub path: PathBuf,
    pub size_bytes: u64,
}

impl Fetched {
    /// `true` if the beginning is missing.
    pub fn is_truncated(&self) -> bool {
        self.size_bytes > self.bytes.len() as u64
    }
}

/// The last `limit_bytes` of a file: of a daemon log, the end is what matters.
pub async fn fetch_file(remote: &dyn Remote, path: &Path, limit_bytes: u64, timeout: Duration) -> Result<Fetched, RemoteError> {
    let what = format!("reading {}", path.display());
    let file = quote(&path.to_string_lossy());
    // The size comes first, in a line of its own. A log may have grown by the time it is read: tail then gives the newer end.
    let script = format!("size=$(wc -c <{file}) || exit 1\necho $size\ntail -c {limit_bytes} <{file}\n");
    let stdout = remote.run_as(&script, &Means::Anybody, timeout).await?.success_bytes(remote.host(), &what)?;
    let unreadable = || RemoteError::Unreadable {
        host: remote.host().to_owned(),
        what: what.clone(),
        text: String::from_utf8_lossy(&stdout[..stdout.len().min(80)]).into_owned(),
    };
    let line_end = stdout.iter().position(|&byte| byte == b'\n').ok_or_else(unreadable)?;
    let size_bytes: u64 = String::from_utf8_lossy(&stdout[..line_end]).trim().parse().map_err(|_| unreadable())?;
    let bytes = stdout[line_end + 1..].to_vec();
    Ok(Fetched { size_bytes: size_bytes.max(bytes.len() as u64), bytes })
}

/// The plain files in a directory and below it, in order of their paths. Paths with a line break in them are left out.
pub async fn list_files(remote: &dyn Remote, directory: &Path, timeout: Duration) -> Result<Vec<RemoteFile>, RemoteError> {
    let what = format!("listing {}", directory.display());
    // `wc` prints a line for each file and a total for several; `/dev/null` keeps it from reading standard input when there is none.
    let script = format!("cd {} || exit 1\nfind . -type f -exec wc -c /dev/null {{}} +\n", quote(&directory.to_string_lossy()));
    let stdout = remote.run_as(&script, &Means::Anybody, timeout).await?;
    // A log that was rotated away between find and wc makes the status 1, and is no reason to have none of the others.
    let text = if stdout.stdout.is_empty() { stdout.success(remote.host(), &what)? } else { stdout.stdout_text() };
    let mut files: Vec<RemoteFile> = text.lines().filter_map(parse_file).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn parse_file(line: &str) -> Option<RemoteFile> {
    let (size, path) = line.trim_start().split_once(' ')?;
    let path = path.strip_prefix("./")?;
    Some(RemoteFile { path: PathBuf::from(path), size_bytes: size.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::Local;

    const TIMEOUT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_long_file_gives_its_end_and_its_whole_size() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server log's.1");
        std::fs::write(&path, "first line\nlast line\n").unwrap();
        let whole = fetch_file(&Local, &path, 1_000, TIMEOUT).await.unwrap();
        assert_eq!((whole.bytes.as_slice(), whole.is_truncated()), (b"first line\nlast line\n".as_slice(), false));
        let end = fetch_file(&Local, &path, 10, TIMEOUT).await.unwrap();
        assert_eq!((end.bytes.as_slice(), end.size_bytes, end.is_truncated()), (b"last line\n".as_slice(), 21, true));
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_named() {
        let error = fetch_file(&Local, Path::new("/nonexistent/server.log"), 10, TIMEOUT).await.unwrap_err().to_string();
        assert!(error.starts_with("reading /nonexistent/server.log on local failed with status"), "{error}");
        assert!(list_files(&Local, Path::new("/nonexistent"), TIMEOUT).await.is_err());
    }

    #[tokio::test]
    async fn files_are_listed_with_their_sizes() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(list_files(&Local, directory.path(), TIMEOUT).await.unwrap(), []);
        std::fs::create_dir(directory.path().join("gc")).unwrap();
        std::fs::write(directory.path().join("server.log"), "12345").unwrap();
        std::fs::write(directory.path().join("gc/a b.log"), "123").unwrap();
        let files = list_files(&Local, directory.path(), TIMEOUT).await.unwrap();
        let expect = [("gc/a b.log", 3), ("server.log", 5)];
        assert_eq!(files, expect.map(|(path, size_bytes)| RemoteFile { path: path.into(), size_bytes }));
    }
}
