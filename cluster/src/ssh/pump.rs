//! One command on one channel, read to its end.
//!
//! The task outlives whoever waits for it: a caller that goes away must neither leave the channel unread, which would stop the whole
//! connection, nor open, which would use up sshd's `MaxSessions`. Its place in the semaphore is given back when the channel is closed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::OUTPUT_MAX_BYTES;
use super::connection::Connection;
use crate::remote::{Output, unframed};

/// How long the output may take to end once the exit status has come. What takes longer is held open by something the command left behind.
const LINGER: Duration = Duration::from_secs(5);
/// How long sshd may take to close a channel that we closed; that of a command which still runs it keeps open.
const CLOSING: Duration = Duration::from_secs(5);
/// The `ext` of standard error (RFC 4254, 5.2).
const STDERR: u32 = 1;

/// A channel, and its place among the channels of the connection.
pub(super) struct Open {
    pub(super) channel: Channel<Msg>,
    pub(super) permit: OwnedSemaphorePermit,
}

pub(super) enum Ended {
    Output(Output),
    /// sshd would not run it.
    Refused,
    TooMuch,
    Timeout,
    Unknown(String),
}

/// Runs `command` with this on its standard input, in a task of its own, and waits for its end or the deadline.
pub(super) async fn start(connection: Arc<Connection>, open: Open, command: String, stdin: Vec<u8>, deadline: Instant) -> Ended {
    let (answer, answered) = oneshot::channel();
    tokio::spawn(async move {
        let (mut read, write) = open.channel.split();
        let mut heard = Heard::default();
        let ended = tokio::select! {
            biased;
            () = heard.listen(&mut read) => heard.ended(&connection),
            () = talk(&write, &command, stdin) => Ended::Unknown("unreachable: talk never ends".to_owned()),
            () = tokio::time::sleep_until(deadline.into()) => Ended::Timeout,
        };
        let is_closed = heard.is_closed;
        // Nobody may be waiting any more.
        let _ = answer.send(ended);
        if !is_closed {
            close(&mut read, &write).await;
        }
        drop(open.permit);
        drop(connection);
    });
    answered.await.unwrap_or_else(|_| Ended::Unknown("the runtime is being shut down".to_owned()))
}

/// Sends the request and the input, and then stays silent for ever: the channel's end is heard, not said.
async fn talk(write: &ChannelWriteHalf<Msg>, command: &str, stdin: Vec<u8>) {
    // An error here means that the connection has died, which `listen` is told too.
    if write.exec(true, command).await.is_ok() && write.data_bytes(stdin).await.is_ok() {
        let _ = write.eof().await;
    }
    std::future::pending::<()>().await;
}

async fn close(read: &mut ChannelReadHalf, write: &ChannelWriteHalf<Msg>) {
    let drained = async {
        if write.close().await.is_ok() {
            while !matches!(read.wait().await, None | Some(ChannelMsg::Close)) {}
        }
    };
    let _ = tokio::time::timeout(CLOSING, drained).await;
}

/// What came over a channel so far.
#[derive(Default)]
struct Heard {
    output: Output,
    status: Option<u32>,
    signal: Option<String>,
    is_refused: bool,
    is_too_much: bool,
    is_eof: bool,
    is_closed: bool,
    is_lost: bool,
}

impl Heard {
    /// Returns when there is nothing more to hear. The exit status may come before the output, between or after it.
    async fn listen(&mut self, read: &mut ChannelReadHalf) {
        while !self.is_complete() {
            let has_exited = self.status.is_some() || self.signal.is_some();
            let message = if has_exited {
                let Ok(message) = tokio::time::timeout(LINGER, read.wait()).await else { return };
                message
            } else {
                read.wait().await
            };
            match message {
                Some(message) => self.take(message),
                None => self.is_lost = true,
            }
        }
    }

    fn is_complete(&self) -> bool {
        let has_exited = self.status.is_some() || self.signal.is_some();
        self.is_closed || self.is_lost || self.is_refused || self.is_too_much || (has_exited && self.is_eof)
    }

    fn take(&mut self, message: ChannelMsg) {
        match message {
            ChannelMsg::Data { data } => self.store(&data, false),
            ChannelMsg::ExtendedData { data, ext: STDERR } => self.store(&data, true),
            ChannelMsg::ExitStatus { exit_status } => self.status = Some(exit_status),
            ChannelMsg::ExitSignal { signal_name, .. } => self.signal = Some(format!("{signal_name:?}")),
            ChannelMsg::Failure => self.is_refused = true,
            ChannelMsg::Eof => self.is_eof = true,
            ChannelMsg::Close => self.is_closed = true,
            _ => {}
        }
    }

    fn store(&mut self, data: &[u8], is_stderr: bool) {
        if self.output.stdout.len() + self.output.stderr.len() + data.len() > OUTPUT_MAX_BYTES {
            self.is_too_much = true;
        } else if is_stderr {
            self.output.stderr.extend_from_slice(data);
        } else {
            self.output.stdout.extend_from_slice(data);
        }
    }

    fn ended(&mut self, connection: &Connection) -> Ended {
        if self.is_refused {
            return Ended::Refused;
        }
        if self.is_too_much {
            return Ended::TooMuch;
        }
        if let Some(signal) = &self.signal {
            return Ended::Unknown(format!("its shell was ended by signal {signal}"));
        }
        match self.status {
            // A status of 0 with half of the output would be taken for all of it.
            Some(status) if self.is_eof || self.is_closed => {
                let mut output = std::mem::take(&mut self.output);
                output.status = i32::try_from(status).unwrap_or(i32::MAX);
                output.stdout = unframed(output.stdout);
                Ended::Output(output)
            }
            Some(status) if self.is_lost => {
                Ended::Unknown(format!("status {status} came, and not all of the output: {}", connection.end()))
            }
            Some(status) => Ended::Unknown(format!("status {status} came, but something it left running holds its output open")),
            None if self.is_lost => Ended::Unknown(connection.end()),
            None => Ended::Unknown("sshd closed the channel".to_owned()),
        }
    }
}
