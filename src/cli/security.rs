//! Whom the brokers of a lab let in.

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LabSecurityArg {
    Plaintext,
    /// Brokers have certificates of a CA made for the lab
    Tls,
    /// Clients need one as well
    MutualTls,
    /// SASL with PLAIN
    SaslPlain,
    #[value(name = "scram-sha-256")]
    ScramSha256,
    #[value(name = "scram-sha-512")]
    ScramSha512,
}
