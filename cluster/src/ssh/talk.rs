//! A command that goes on, with its standard input and output open both ways.
//!
//! It has a connection of its own: what clogs it, a host that was cut off in the middle of a write, delays neither looking nor mending. All that comes is
//! taken at once and queued, since a channel that is not read stops its connection, keepalives and all.

use std::sync::Arc;
use std::time::Duration;

use russh::{ChannelMsg, ChannelReadHalf};
use tokio::sync::mpsc::{self, UnboundedSender};

use super::connection::Connection;
use super::pump::Open;

/// Pieces of input that may wait; who has more waits.
const INPUT_PIECES: usize = 64;
/// The `ext` of standard error (RFC 4254, 5.2).
const STDERR: u32 = 1;
/// How long the status may take to come once the output has ended.
const LINGER: Duration = Duration::from_secs(2);

/// Dropping `says` ends the command's standard input; dropping `hears` ends the connection.
pub struct Talk {
    pub says: mpsc::Sender<Vec<u8>>,
    pub hears: mpsc::UnboundedReceiver<Heard>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Output(Vec<u8>),
    Errors(Vec<u8>),
    /// The last thing that is heard: how it ended, in words, and its status if it had one.
    Ended {
        status: Option<u32>,
        how: String,
    },
}

pub(super) async fn start(connection: Arc<Connection>, open: Open, command: String) -> Result<Talk, String> {
    let (mut read, write) = open.channel.split();
    write.exec(true, command).await.map_err(|error| error.to_string())?;
    let (says, mut to_say) = mpsc::channel::<Vec<u8>>(INPUT_PIECES);
    let (tell, hears) = mpsc::unbounded_channel();
    let permit = open.permit;
    let writing = tokio::spawn(async move {
        while let Some(bytes) = to_say.recv().await {
            // The connection's end is heard by whoever reads.
            if write.data_bytes(bytes).await.is_err() {
                return;
            }
        }
        let _ = write.eof().await;
        // Dropped, it would close the channel before the answer has come.
        std::future::pending::<()>().await;
    });
    tokio::spawn(async move {
        let ended = tokio::select! {
            ended = listen(&mut read, &tell, &connection) => ended,
            () = tell.closed() => Heard::Ended { status: None, how: "nobody listens any more".to_owned() },
        };
        // Nobody may be listening.
        let _ = tell.send(ended);
        writing.abort();
        connection.disconnect().await;
        drop(permit);
    });
    Ok(Talk { says, hears })
}

async fn listen(read: &mut ChannelReadHalf, tell: &UnboundedSender<Heard>, connection: &Connection) -> Heard {
    let mut status = None;
    let mut how = None;
    let mut is_eof = false;
    loop {
        let message = if is_eof && how.is_some() {
            break;
        } else if is_eof || how.is_some() {
            tokio::time::timeout(LINGER, read.wait()).await.unwrap_or(Some(ChannelMsg::Close))
        } else {
            read.wait().await
        };
        match message {
            Some(ChannelMsg::Data { data }) => drop(tell.send(Heard::Output(data.to_vec()))),
            Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => drop(tell.send(Heard::Errors(data.to_vec()))),
            Some(ChannelMsg::ExitStatus { exit_status }) => (status, how) = (Some(exit_status), Some(format!("status {exit_status}"))),
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => how = Some(format!("signal {signal_name:?}")),
            Some(ChannelMsg::Failure) => how = Some("sshd does not let this user run commands".to_owned()),
            Some(ChannelMsg::Eof) => is_eof = true,
            Some(ChannelMsg::Close) => break,
            Some(_) => {}
            None => {
                how.get_or_insert_with(|| format!("the connection was lost: {}", connection.end()));
                break;
            }
        }
    }
    Heard::Ended { status, how: how.unwrap_or_else(|| "sshd closed the channel".to_owned()) }
}
