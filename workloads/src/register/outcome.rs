//! What an error of zookeeper-client means for a write.
//!
//! Why a table: only a server's own refusal says that nothing was done. A connection that was lost, a timeout, a session that is said to have
//! expired (zookeeper-client says so by its own clock, before any server did): all of these may have come after the leader had logged the write.
//! (zookeeper-client never sends a request twice, so a refusal is of the request that was made.)

use kchaos_core::mutant;
use zookeeper_client::Error;

/// Refusals of a server, which did nothing, and of the client, which sent nothing.
pub(super) fn is_refused(error: &Error) -> bool {
    let is_refused = matches!(
        error,
        Error::NoNode
            | Error::NodeExists
            | Error::NoAuth
            | Error::BadVersion
            | Error::QuotaExceeded
            | Error::NotReadOnly
            | Error::BadArguments(_)
    );
    is_refused != mutant::is("class", &format_args!("register/{error:?}"))
}

/// Its part of `docs/errors.md`.
pub(crate) fn document() -> String {
    let mut text = String::from(
        "\n# What an error of ZooKeeper means for a write\n\n\
         A read that got no answer is **fail**: it did nothing. For a write or a compare-and-set (`workloads/src/register/outcome.rs`):\n\n\
         | error | meaning |\n|---|---|\n",
    );
    for (error, meaning) in [
        ("`BadVersion`", "fail: somebody else wrote since the session looked"),
        ("`NoNode`, `NodeExists`, `NoAuth`, `QuotaExceeded`, `NotReadOnly`, `BadArguments`", "fail: refused, and nothing was done"),
        (
            "any other: `ConnectionLoss`, `SessionExpired`, `SessionMoved`, `Throttled`, no answer in time",
            "info: it may have been done, or may be yet",
        ),
    ] {
        text.push_str(&format!("| {error} | {meaning} |\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_servers_refusal_is_a_failure() {
        for error in [
            Error::NoNode,
            Error::NodeExists,
            Error::NoAuth,
            Error::BadVersion,
            Error::QuotaExceeded,
            Error::NotReadOnly,
            Error::BadArguments(&"what the client refuses"),
        ] {
            assert!(is_refused(&error), "{error}");
        }
        for error in
            [Error::ConnectionLoss, Error::SessionExpired, Error::SessionMoved, Error::Timeout, Error::ClientClosed, Error::NoHosts]
        {
            assert!(!is_refused(&error), "{error}");
        }
    }
}
