//! One stream to one broker: frames, correlation ids, ApiVersions first, a timeout on every call.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::{Peer, ProtocolError};
use super::messages::{ApiRange, ApiVersionsRequest, Request};
use super::own_ports::OwnPort;
use super::security::Security;
use super::tls::WORDS;
use super::wire::{Decoder, Encoder, WireError};
use crate::tls::{self, TlsError};

/// Larger than the metadata of any cluster worth looking at and than one batch of 99 MiB, smaller than what a wrong port's bytes announce.
pub(super) const FRAME_BYTES_MAX: usize = 160 << 20;

const CLIENT_ID: &str = "kchaos";

/// A listener of TLS that is told something else answers with an alert: its record's type, and the version of TLS, before two bytes of length.
const TLS_ALERT: std::ops::RangeInclusive<i32> = 0x1503_0000..=0x1503_04ff;

/// Whatever carries a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// A socket, in the clear or under TLS.
pub type Stream = Box<dyn Duplex>;

/// One request in flight. A call that is dropped before its answer came leaves the connection unusable, and it says so.
pub struct Connection<S> {
    stream: S,
    peer: Peer,
    /// What the broker offers; empty until the handshake.
    apis: Vec<ApiRange>,
    correlation: i32,
    in_call: bool,
    /// It has been answered beyond the door, or was let in there: what ends it now is not that it must say who it is.
    is_let_in: bool,
    /// Where it comes from, of a socket.
    _own_port: Option<OwnPort>,
}

impl Connection<Stream> {
    /// Connects, comes in and asks for ApiVersions; each within its own timeout.
    pub async fn open(
        peer: Peer,
        security: &Security,
        connect_timeout: Duration,
        request_timeout: Duration,
    ) -> Result<Self, ProtocolError> {
        let stream = match timeout(connect_timeout, TcpStream::connect(&peer.address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(reason)) => return Err(ProtocolError::Connect { peer, reason }),
            Err(_) => return Err(ProtocolError::Timeout { peer, what: "a connection", timeout_ms: connect_timeout.as_millis() as u64 }),
        };
        // Small requests, each waited for: Nagle could only hold them back.
        stream.set_nodelay(true).map_err(|reason| ProtocolError::Connect { peer: peer.clone(), reason })?;
        let _own_port = stream.local_addr().ok().map(|own| OwnPort::of(own.port()));
        let stream: Stream = match &security.tls {
            None => Box::new(stream),
            Some(tls) => match timeout(request_timeout, tls.handshake(stream, &peer.address)).await {
                Ok(stream) => Box::new(stream.map_err(|error| no_tls(error, &peer))?),
                Err(_) => {
                    let timeout_ms = request_timeout.as_millis() as u64;
                    return Err(ProtocolError::Timeout { peer, what: "a TLS handshake", timeout_ms });
                }
            },
        };
        let mut connection =
            Self::handshake(stream, peer, request_timeout).await.map_err(|error| at_the_door(error, security.tls.is_some()))?;
        if let Some(sasl) = &security.sasl {
            sasl.authenticate(&mut connection, request_timeout).await?;
        }
        Ok(Self { _own_port, is_let_in: security.sasl.is_some(), ..connection })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Takes a stream that is connected and asks for ApiVersions.
    pub async fn handshake(stream: S, peer: Peer, request_timeout: Duration) -> Result<Self, ProtocolError> {
        let mut connection = Self { stream, peer, apis: Vec::new(), correlation: 0, in_call: false, is_let_in: false, _own_port: None };
        let answer = connection.call(&ApiVersionsRequest, request_timeout).await?;
        if answer.error != 0 {
            return Err(connection.refused(ApiVersionsRequest::NAME.to_owned(), answer.error));
        }
        connection.apis = answer.apis;
        Ok(connection)
    }

    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whether a call was dropped before its answer came.
    pub fn is_usable(&self) -> bool {
        !self.in_call
    }

    /// Sends one request and waits for its answer.
    pub async fn call<R: Request>(&mut self, request: &R, limit: Duration) -> Result<R::Response, ProtocolError> {
        if self.in_call {
            return Err(ProtocolError::Abandoned { peer: self.peer.clone() });
        }
        self.check_version::<R>()?;
        self.in_call = true;
        let frame = match timeout(limit, self.exchange(request)).await {
            Ok(frame) => frame.map_err(|error| self.turned_away::<R>(error))?,
            Err(_) => {
                return Err(ProtocolError::Timeout { peer: self.peer.clone(), what: R::NAME, timeout_ms: limit.as_millis() as u64 });
            }
        };
        self.in_call = false;
        self.is_let_in |= R::KEY != ApiVersionsRequest::KEY;
        let mut decoder = Decoder::new(&frame);
        let malformed = |reason: WireError| ProtocolError::Malformed { peer: self.peer.clone(), what: R::NAME, reason };
        let got = decoder.i32().map_err(malformed)?;
        if got != self.correlation {
            self.in_call = true;
            return Err(ProtocolError::Correlation { peer: self.peer.clone(), what: R::NAME, want: self.correlation, got });
        }
        if R::HAS_TAGS_BEFORE_ANSWER {
            decoder.tags().map_err(malformed)?;
        }
        R::decode(&mut decoder).map_err(malformed)
    }

    pub(super) fn refused(&self, what: String, code: i16) -> ProtocolError {
        ProtocolError::Refused { peer: self.peer.clone(), what, code }
    }

    pub(super) fn unwelcome(&self, what: String, mend: String) -> ProtocolError {
        ProtocolError::Unwelcome { peer: self.peer.clone(), what, mend }
    }

    /// A listener of SASL answers ApiVersions to everybody, and hangs up at whatever comes next from who has not said who it is.
    fn turned_away<R: Request>(&self, error: ProtocolError) -> ProtocolError {
        let is_hung_up = matches!(&error, ProtocolError::Io { reason, .. } if reason.kind() == ErrorKind::UnexpectedEof || reason.kind() == ErrorKind::ConnectionReset);
        if self.is_let_in || !is_hung_up || R::KEY == ApiVersionsRequest::KEY {
            return error;
        }
        self.unwelcome(
            format!("answered ApiVersions and hung up at {}, as a listener of SASL does", R::NAME),
            "see kafka.properties.security.protocol: SASL_PLAINTEXT or SASL_SSL there?".to_owned(),
        )
    }

    fn check_version<R: Request>(&self) -> Result<(), ProtocolError> {
        if R::KEY == ApiVersionsRequest::KEY {
            return Ok(());
        }
        let range = self.apis.iter().find(|range| range.key == R::KEY);
        if range.is_some_and(|range| (range.min..=range.max).contains(&R::VERSION)) {
            return Ok(());
        }
        let offers = range.map_or_else(|| "none".to_owned(), |range| format!("{} to {}", range.min, range.max));
        Err(ProtocolError::Version { peer: self.peer.clone(), what: R::NAME, wants: R::VERSION, offers })
    }

    async fn exchange<R: Request>(&mut self, request: &R) -> Result<Vec<u8>, ProtocolError> {
        self.correlation = self.correlation.wrapping_add(1);
        let bytes = request_frame(request, self.correlation);
        let failed = |peer: &Peer, reason| ProtocolError::Io { peer: peer.clone(), what: R::NAME, reason };
        self.stream.write_all(&bytes).await.map_err(|reason| failed(&self.peer, reason))?;
        self.stream.flush().await.map_err(|reason| failed(&self.peer, reason))?;
        let announced = self.stream.read_i32().await.map_err(|reason| failed(&self.peer, reason))?;
        let length = usize::try_from(announced).ok().filter(|length| *length <= FRAME_BYTES_MAX);
        let Some(length) = length else {
            let (peer, bytes) = (self.peer.clone(), i64::from(announced));
            return Err(ProtocolError::FrameSize { peer, what: R::NAME, bytes, max_bytes: FRAME_BYTES_MAX });
        };
        // Grown as bytes arrive: an announced length alone allocates little.
        let mut frame = Vec::with_capacity(length.min(64 << 10));
        let read = (&mut self.stream).take(length as u64).read_to_end(&mut frame).await.map_err(|reason| failed(&self.peer, reason))?;
        if read < length {
            return Err(failed(&self.peer, ErrorKind::UnexpectedEof.into()));
        }
        Ok(frame)
    }
}

fn no_tls(error: TlsError, peer: &Peer) -> ProtocolError {
    match error {
        TlsError::OpenSsl(reason) => ProtocolError::Security { reason },
        TlsError::Unwelcome { what, mend } => ProtocolError::Unwelcome { peer: peer.clone(), what, mend },
    }
}

/// What ended the first exchange, in words for who came by the wrong door.
fn at_the_door(error: ProtocolError, has_tls: bool) -> ProtocolError {
    let (peer, what, mend) = match &error {
        ProtocolError::FrameSize { peer, bytes, .. } if !has_tls && i32::try_from(*bytes).is_ok_and(|bytes| TLS_ALERT.contains(&bytes)) => {
            (peer, "speaks TLS, and we do not".to_owned(), WORDS.door.to_owned())
        }
        ProtocolError::Io { peer, reason, .. } => match tls::alert_of(reason, WORDS) {
            Some((what, mend)) => (peer, what, mend),
            None => (peer, format!("hung up before it said anything ({reason})"), WORDS.door.to_owned()),
        },
        _ => return error,
    };
    ProtocolError::Unwelcome { peer: peer.clone(), what, mend }
}

/// A whole frame with its length: header version 1 (2 of a flexible request, whose client id is no compact string) and the request's body.
fn request_frame<R: Request>(request: &R, correlation: i32) -> Vec<u8> {
    let mut encoder = Encoder::default();
    encoder.i32(0);
    encoder.i16(R::KEY);
    encoder.i16(R::VERSION);
    encoder.i32(correlation);
    encoder.string(CLIENT_ID);
    if R::IS_FLEXIBLE {
        encoder.no_tags();
    }
    request.encode(&mut encoder);
    let length = (encoder.bytes.len() - 4) as i32;
    encoder.bytes[..4].copy_from_slice(&length.to_be_bytes());
    encoder.bytes
}
