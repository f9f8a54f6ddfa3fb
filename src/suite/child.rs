//! Children of this very executable: the lab, and runs.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;

use super::transcript::Transcript;
use crate::run::Abort;

/// For what a child that has ended said last.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Runs `kchaos WORDS` to its end; its exit code, or none if a signal ended it. If the suite is to end, the child is told so once, and waited for all
/// the same: it may have hosts to mend.
pub(crate) async fn kchaos(words: &[String], transcript: &Transcript, abort: &Abort) -> anyhow::Result<Option<i32>> {
    let program = std::env::current_exe().context("find this executable")?;
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // In a process group of its own: the terminal's Ctrl-C comes to us alone, and goes on to it once.
    command.process_group(0);
    let mut child = command.spawn().with_context(|| format!("start kchaos {}", words.join(" ")))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let told = async { tokio::join!(pass_on(stdout, transcript), pass_on(stderr, transcript)) };
    let ended = async {
        tokio::select! {
            status = child.wait() => return status,
            () = abort.raised() => {}
        }
        if let Some(pid) = pid {
            // SAFETY: a child of our own, which has not been waited for, so the pid is still its.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        child.wait().await
    };
    tokio::pin!(told, ended);
    let status = tokio::select! {
        status = &mut ended => {
            // What it left behind (a lab's hosts) may hold the other ends of its pipes.
            let _ = tokio::time::timeout(LAST_WORDS, &mut told).await;
            status
        }
        _ = &mut told => ended.await,
    };
    Ok(status.with_context(|| format!("wait for kchaos {}", words.join(" ")))?.code())
}

async fn pass_on(stream: Option<impl AsyncRead + Unpin>, transcript: &Transcript) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    // A stream that breaks is a child that ends; its status says how.
    while reader.read_until(b'\n', &mut line).await.is_ok_and(|bytes| bytes > 0) {
        transcript.say(&String::from_utf8_lossy(&line));
        line.clear();
    }
}
