//! This machine as a host: what tests of scripts run them on.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{Output, Remote, RemoteError, framed, unframed};

/// Runs scripts on this machine, as the user that we are, in the same frame as over SSH.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

#[async_trait]
impl Remote for Local {
    fn host(&self) -> &str {
        "local"
    }

    async fn run(&self, script: &str, timeout: Duration) -> Result<Output, RemoteError> {
        match tokio::time::timeout(timeout, run(script)).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => Err(RemoteError::Unknown { host: self.host().to_owned(), reason: error.to_string() }),
            Err(_) => {
                let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                Err(RemoteError::Timeout { host: self.host().to_owned(), timeout_ms })
            }
        }
    }
}

async fn run(script: &str) -> std::io::Result<Output> {
    let mut child = Command::new("sh").arg("-s").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A shell that ends early closes its end; its status says what was wrong.
        let _ = stdin.write_all(framed(script).as_bytes()).await;
    }
    let output = child.wait_with_output().await?;
    let status = output.status.code().ok_or_else(|| std::io::Error::other("the shell was ended by a signal"))?;
    Ok(Output { status, stdout: unframed(output.stdout), stderr: output.stderr })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_script_gives_its_output_and_status_and_reads_nothing_of_itself() {
        let output = Local.run("cat\nhead -c 5 /dev/zero | tr '\\0' x\necho talk >&2\nexit 7 # the end", TIMEOUT).await.unwrap();
        assert_eq!((output.status, output.stdout_text().as_str(), output.stderr_text().as_str()), (7, "xxxxx", "talk\n"));
    }

    #[tokio::test]
    async fn a_script_that_is_cut_short_does_nothing() {
        let output = Local.run("echo began\nif true; then", TIMEOUT).await.unwrap();
        assert_eq!((output.status != 0, output.stdout_text().as_str()), (true, ""));
    }

    #[tokio::test]
    async fn a_script_that_takes_too_long_is_a_timeout() {
        let error = Local.run("sleep 2", Duration::from_millis(50)).await.unwrap_err();
        assert!(error.may_have_run() && error.to_string().contains("50 ms"), "{error}");
    }
}
