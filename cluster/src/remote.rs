//! Running commands on a host, whatever the way there.

use std::time::Duration;

use async_trait::async_trait;

mod files;
mod local;

pub use files::{Fetched, RemoteFile, fetch_file, list_files};
pub use local::Local;

/// A way to run commands on one host.
///
/// Scripts are POSIX `sh`, handed over on standard input (`sh -s`), so nothing of them stands in a remote argv and no quoting is needed.
/// They run with `LC_ALL=C` and as root (or through `sudo -n`). Dropping the future does not stop the remote script.
#[async_trait]
pub trait Remote: Send + Sync {
    /// The host's name in the inventory.
    fn host(&self) -> &str;

    /// Runs a script to its end. A status other than 0 is no error of this call: look at [`Output::status`].
    async fn run(&self, script: &str, timeout: Duration) -> Result<Output, RemoteError>;

    /// The same command, with how it is given on a host where kchaos is not root.
    async fn run_as(&self, script: &str, _means: &Means, timeout: Duration) -> Result<Output, RemoteError> {
        self.run(script, timeout).await
    }
}

/// What a command needs of a host where kchaos may not do all that root may. Elsewhere its script is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Means {
    /// Root, and nobody less: refused where there is only the helper.
    #[default]
    Root,
    /// Whoever logs in: the script is run without privilege.
    Anybody,
    /// The host's helper does the same by a verb and its arguments, and this on its standard input.
    Helper { words: Vec<String>, input: String },
}

impl Means {
    pub fn helper(words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::fed(words, String::new())
    }

    pub fn fed(words: impl IntoIterator<Item = impl Into<String>>, input: impl Into<String>) -> Self {
        Self::Helper { words: words.into_iter().map(Into::into).collect(), input: input.into() }
    }

    /// The same behind other words; for whom there are none, none.
    #[must_use]
    pub fn behind(&self, first: &[&str]) -> Self {
        match self {
            Self::Helper { words, input } => {
                Self::fed(first.iter().map(|word| (*word).to_owned()).chain(words.iter().cloned()), input.clone())
            }
            other => other.clone(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// The command certainly did not run.
    #[error("host {host} ({address}) cannot be reached: {reason}")]
    Unreachable { host: String, address: String, reason: String },
    /// Unknown, changed or revoked: refused, always. `hint` says what to do.
    #[error("host key of {host} ({address}) refused: {reason}; {hint}")]
    HostKey { host: String, address: String, reason: String, hint: String },
    #[error("user {user} was not let in on {host}: {reason}")]
    Authentication { host: String, user: String, reason: String },
    #[error("private key {path}: {reason}")]
    PrivateKey { path: String, reason: String },
    #[error("no answer from {host} within {timeout_ms} ms; whether the command ran is unknown")]
    Timeout { host: String, timeout_ms: u64 },
    /// The channel closed and no exit status came: the outcome is unknown, not a failure.
    #[error("the connection to {host} ended before the command's exit status came; whether it ran is unknown: {reason}")]
    Unknown { host: String, reason: String },
    /// Cut off, since nothing that kchaos asks for is that long. Whether the command came to its end is unknown.
    #[error("a command on {host} printed more than {limit_bytes} bytes and was cut off")]
    TooMuchOutput { host: String, limit_bytes: usize },
    /// Nothing was run.
    #[error(
        "the helper on {host} has no verb for this, and nothing else may be run there: log in as root (ssh.privilege = \"root\" in the inventory), \
         or leave out what needs it (docs/least-privilege.md)"
    )]
    NotForHelper { host: String },
    /// Made by [`Output::success`].
    #[error("{what} on {host} failed with status {status}: {stderr}")]
    Failed { host: String, what: String, status: i32, stderr: String },
    /// The script ended well, and what it printed is not what was agreed.
    #[error("{what} on {host} printed something unexpected: {text:?}")]
    Unreadable { host: String, what: String, text: String },
}

impl RemoteError {
    /// `true` if the command may have run although no answer came. Nothing is known then, and doing it again may be doing it twice.
    pub fn may_have_run(&self) -> bool {
        matches!(self, RemoteError::Timeout { .. } | RemoteError::Unknown { .. } | RemoteError::TooMuchOutput { .. })
    }
}

impl Output {
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The standard output of a script that must succeed; `what` says in a few words what it was to do.
    pub fn success(self, host: &str, what: &str) -> Result<String, RemoteError> {
        self.success_bytes(host, what).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// As [`Output::success`], for what is no text.
    pub fn success_bytes(self, host: &str, what: &str) -> Result<Vec<u8>, RemoteError> {
        if self.status == 0 {
            return Ok(self.stdout);
        }
        let stderr = self.stderr_text();
        Err(RemoteError::Failed {
            host: host.to_owned(),
            what: what.to_owned(),
            status: self.status,
            stderr: stderr.trim().chars().take(2_000).collect(),
        })
    }
}

/// A text as one word of `sh`, whatever stands in it. A NUL cannot stand in a word of `sh`, and is left out.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\'', "'\\''"))
}

/// What is put on the standard input of `sh -s` for a script.
///
/// The braces make the shell read all of it before it runs any of it: a connection that is cut while the script is on its way leaves
/// nothing half done, and a command of the script that reads its standard input does not eat the rest of the script. A mark is printed
/// first, since a login's own start files may talk before. Root's `sbin` directories are missing from the PATH of some logins.
pub(crate) fn framed(script: &str) -> String {
    format!("LC_ALL=C PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin\nexport LC_ALL PATH\n{{ echo {MARK}\n{script}\n}} </dev/null\n")
}

/// A script's own standard output: what stands behind the mark. All of it where there is no mark, for then it is the reason.
pub(crate) fn unframed(mut stdout: Vec<u8>) -> Vec<u8> {
    let mark = [MARK.as_bytes(), b"\n"].concat();
    if stdout.starts_with(&mark) {
        stdout.drain(..mark.len());
    } else if let Some(at) = stdout.windows(mark.len()).position(|window| window == mark) {
        stdout.drain(..at + mark.len());
    }
    stdout
}

/// What nobody else prints.
pub const MARK: &str = "kchaos-output-6e2c41d09b57";

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_quoted_text_is_one_word_of_sh(text in "[ -~\n\tü'\"$`\\\\!*]{0,20}") {
            let output = Command::new("sh").arg("-c").arg(format!("printf %s {}", quote(&text))).output().unwrap();
            prop_assert_eq!(output.stdout, text.as_bytes());
        }
    }
}
