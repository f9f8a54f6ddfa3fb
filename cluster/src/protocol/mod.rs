//! A small client for Kafka's protocol: only what looking and a few faults of the cluster need.
//!
//! Why not librdkafka: it asks whichever broker is usable and hides leader epochs, so it cannot say what *one* broker believes. A deposed
//! leader that still answers, or a broker that has not heard of an election yet, is exactly what the observer and the finale must tell apart.
//!
//! Shapes: [`Client`] keeps one connection per broker and offers calls by name; [`Connection`] is one stream, whatever carries it (plain TCP
//! now; TLS and SASL come in front of the same type); [`messages`] holds what is said; [`wire`] the bytes of it. Every version used here is one
//! that every broker from 2.4 to 4.0 knows, and a non-flexible one (before KIP-482's tagged fields) where there is one; ApiVersions is asked
//! first all the same.
//!
//! Promises: a timeout on everything; one request in flight per connection, its answer matched by correlation id; a bound on every frame and
//! every array; malformed bytes are an error that names broker and address, never a panic. All calls only read or are idempotent ([`admin`]),
//! so a call that met a connection which the broker had closed while idle is made once more; but for those of [`topics`], which are asked once.
//!
//! Limit: `security.protocol` other than PLAINTEXT is refused by name.

mod admin;
mod client;
mod connection;
mod coordinator;
mod error;
pub mod messages;
mod own_ports;
mod quorum;
#[cfg(test)]
mod tests;
mod topics;
pub mod wire;

pub use client::{Client, ConfigMap, LogBounds, Timeouts};
pub(crate) use client::{broker_addresses, check_plaintext, controller_addresses, quorum_answer};
pub use connection::Connection;
pub use coordinator::CoordinatorKind;
pub use error::{Peer, ProtocolError, error_name};
pub use messages::{BrokerEndpoint, ConfigEntry, ConfigSource, Metadata, MetadataPartition, MetadataTopic};
pub use own_ports::own_ports;
pub(crate) use quorum::DescribeQuorumRequest;
pub use quorum::{Quorum, QuorumAnswer, QuorumReplica};
pub use topics::{Ask, Unanswered};
