//! A small client for Kafka's protocol: only what looking and a few faults of the cluster need.
//!
//! Why not librdkafka: it asks whichever broker is usable and hides leader epochs, so it cannot say what *one* broker believes. A deposed
//! leader that still answers, or a broker that has not heard of an election yet, is exactly what the observer and the finale must tell apart.
//!
//! Shapes: [`Client`] keeps one connection per broker and offers calls by name; [`Connection`] is one stream, whatever carries it (TCP,
//! or TLS on it: [`security`]); [`messages`] holds what is said; [`wire`] the bytes of it. Every version used here is one
//! that every broker from 2.4 to 4.0 knows, and a non-flexible one (before KIP-482's tagged fields) where there is one; ApiVersions is asked
//! first all the same.
//!
//! Promises: a timeout on everything; one request in flight per connection, its answer matched by correlation id; a bound on every frame and
//! every array; malformed bytes are an error that names broker and address, never a panic. All calls only read or are idempotent ([`admin`]),
//! so a call that met a connection which the broker had closed while idle is made once more; but for those of [`topics`], which are asked once.

mod acls;
mod admin;
mod client;
mod connection;
mod coordinator;
mod error;
mod features;
mod fetch;
pub mod messages;
mod own_ports;
mod quorum;
mod rights;
mod sasl;
pub mod scram;
pub mod security;
#[cfg(test)]
mod tests;
mod tls;
mod topics;
pub mod wire;

pub use acls::{Acl, AclPattern, AclResource};
pub use client::controller_addresses;
pub use client::{Client, ConfigMap, LogBounds, Timeouts};
pub(crate) use client::{broker_addresses, join_address, quorum_answer};
pub use connection::{Connection, Stream};
pub use coordinator::CoordinatorKind;
pub use error::{Peer, ProtocolError, error_name};
pub use features::Features;
pub use fetch::{FetchRequest, Fetched};
pub use messages::{BrokerEndpoint, ConfigEntry, ConfigSource, Metadata, MetadataPartition, MetadataTopic};
pub use own_ports::own_ports;
pub(crate) use quorum::DescribeQuorumRequest;
pub use quorum::{Quorum, QuorumAnswer, QuorumReplica};
pub use rights::Rights;
pub use security::Security;
pub use topics::{Ask, Unanswered};
