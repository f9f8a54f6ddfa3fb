//! The four-letter word `srvr`: what a server says of itself. Allowed by default on every version (`4lw.commands.whitelist`).

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Access;
use super::tls::{self as secure, SPEAKS_TLS, WORDS};
use crate::tls::{self, TlsError};

/// Far more than any answer to `srvr`.
const ANSWER_BYTES_MAX: u64 = 16 << 10;
/// A record of TLS 1.x that holds an alert.
const TLS_ALERT: &[u8] = &[0x15, 3];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srvr {
    /// `leader`, `follower`, `observer`, `standalone`, `read-only`.
    pub mode: String,
    /// Of the last transaction this server applied; the upper half is the leader's epoch.
    pub zxid: i64,
    pub version: String,
}

/// Why a server's mode is `none`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrvrError {
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    #[error("no answer within {0} ms")]
    Timeout(u64),
    /// Up, but without a quorum: in an election, or cut off from its peers.
    #[error("not serving requests")]
    NotServing,
    #[error("srvr is not in its 4lw.commands.whitelist")]
    NotAllowed,
    #[error("an answer that is not srvr's: {0}")]
    Malformed(String),
    /// It is there, and we do not come in: what is the matter, and where it is mended.
    #[error("{what} ({mend})")]
    Unwelcome { what: String, mend: String },
}

/// Asks one server by the door of its sessions; connection and answer together within `limit`.
pub async fn srvr(address: &str, access: &Access, limit: Duration) -> Result<Srvr, SrvrError> {
    let answer = tokio::time::timeout(limit, ask(address, access, limit / 2)).await;
    answer.unwrap_or(Err(SrvrError::Timeout(limit.as_millis() as u64)))
}

async fn ask(address: &str, access: &Access, patience: Duration) -> Result<Srvr, SrvrError> {
    let unreachable = |error: std::io::Error| SrvrError::Unreachable(error.to_string());
    let stream = TcpStream::connect(address).await.map_err(unreachable)?;
    let Some(door) = &access.door else {
        // A port of TLS hangs up at what is none, says so in a record of its own, or waits for the rest of a header: of its five bytes `srvr` has four.
        let answer = tokio::time::timeout(patience, talk(stream)).await;
        return match answer.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
            Ok(answer) if !(answer.is_empty() || answer.starts_with(TLS_ALERT)) => parse(&String::from_utf8_lossy(&answer)),
            _ if secure::speaks_tls(address).await => {
                let (what, mend) = SPEAKS_TLS;
                Err(SrvrError::Unwelcome { what: what.to_owned(), mend: mend.to_owned() })
            }
            Ok(answer) => parse(&String::from_utf8_lossy(&answer)),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(SrvrError::Timeout(patience.as_millis() as u64)),
            Err(error) => Err(unreachable(error)),
        };
    };
    let stream = door.tls.handshake(stream, address).await.map_err(|error| match error {
        TlsError::OpenSsl(reason) => SrvrError::Malformed(reason),
        TlsError::Unwelcome { what, mend } => SrvrError::Unwelcome { what, mend },
    })?;
    match talk(stream).await {
        Ok(answer) => parse(&String::from_utf8_lossy(&answer)),
        // Of TLS 1.3: what it has against our certificate comes after the handshake.
        Err(error) => Err(match tls::alert_of(&error, WORDS) {
            Some((what, mend)) => SrvrError::Unwelcome { what, mend },
            None => unreachable(error),
        }),
    }
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<Vec<u8>> {
    stream.write_all(b"srvr").await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    match stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await {
        // Not every server ends TLS before it hangs up.
        Err(_) if !answer.is_empty() => Ok(answer),
        read => read.map(|_| answer),
    }
}

fn parse(answer: &str) -> Result<Srvr, SrvrError> {
    if answer.contains("not currently serving requests") {
        return Err(SrvrError::NotServing);
    }
    if answer.contains("not in the whitelist") {
        return Err(SrvrError::NotAllowed);
    }
    let field = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let zxid = field("Zxid:").and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok());
    match (field("Mode:"), zxid) {
        (Some(mode), Some(zxid)) => {
            let version = field("Zookeeper version:").and_then(|text| text.split(['-', ',']).next()).unwrap_or_default();
            Ok(Srvr { mode: mode.to_owned(), zxid: zxid as i64, version: version.to_owned() })
        }
        _ => Err(SrvrError::Malformed(answer.chars().take(80).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, expect: Result<(&str, i64, &str), SrvrError>) {
        let expect = expect.map(|(mode, zxid, version)| Srvr { mode: mode.to_owned(), zxid, version: version.to_owned() });
        assert_eq!(parse(answer), expect, "{answer}");
    }

    #[test]
    fn a_leader_says_mode_zxid_and_version() {
        check(
            "Zookeeper version: 3.8.4-9316c2a7a97e1666d8f4593f34dd6fc36ecc436c, built on 2024-02-12 22:16 UTC\n\
             Latency min/avg/max: 0/2.0076/12\nReceived: 133\nSent: 140\nConnections: 2\nOutstanding: 0\nZxid: 0x100000031\nMode: leader\n\
             Node count: 28\nProposal sizes last/min/max: 93/36/348\n",
            Ok(("leader", 0x1_0000_0031, "3.8.4")),
        );
        check("Zookeeper version: 3.5.7\nZxid: 0x2e\nMode: standalone\n", Ok(("standalone", 0x2e, "3.5.7")));
    }

    #[test]
    fn a_server_without_quorum_or_permission_says_so() {
        check("This ZooKeeper instance is not currently serving requests\n", Err(SrvrError::NotServing));
        check("srvr is not executed because it is not in the whitelist.\n", Err(SrvrError::NotAllowed));
        check("", Err(SrvrError::Malformed(String::new())));
        check("HTTP/1.1 400 Bad Request", Err(SrvrError::Malformed("HTTP/1.1 400 Bad Request".to_owned())));
    }
}
