//! What can go wrong, told apart by what it means for the verdict.

use kchaos_cluster::remote::RemoteError;

use crate::halt::Halt;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A fault that is not in force. Whatever of it was begun has been mended; where that failed too, it stays in the engine's list and the
/// journal until [`crate::Engine::heal_all`].
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// A guard said no, or there is nobody to aim at. Nothing was done.
    #[error("{nemesis} refused: {reason}")]
    Refused { nemesis: String, reason: String },
    /// A command failed or could not be given: not Kafka's fault (exit 3).
    #[error("{nemesis}: {what}")]
    Environment {
        nemesis: String,
        what: String,
        #[source]
        source: Source,
    },
    /// Given, and not seen to bite: the run proves nothing about it (unknown, exit 2).
    #[error("{nemesis} was issued and not proved in force: {text}")]
    NotProved { nemesis: String, text: String },
}

/// Something of ours may still be on a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{nemesis} (fault {fault_id}) on {host} is not mended: {text}")]
pub struct HealError {
    pub fault_id: u32,
    pub nemesis: String,
    pub host: String,
    pub text: String,
}

/// The hosts could not be locked for this run. Those already locked have been unlocked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("host {host} is locked by run {run} ({holder}) for another {seconds} s: wait, end that run, or see to it with `kchaos heal`")]
    Held { host: String, run: String, holder: String, seconds: u64 },
    #[error("kchaos is halted on {host}, {halt}: nothing is broken on this cluster until somebody lifts that: kchaos halt --release")]
    Halted { host: String, halt: Halt },
    #[error("host {host} could not be locked: {text}")]
    Refused { host: String, text: String },
    #[error("host {host} could not be locked")]
    Remote {
        host: String,
        #[source]
        source: RemoteError,
    },
}

/// A reason in words, where an error source is asked for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Because(pub(crate) String);

impl FaultError {
    pub(crate) fn environment(nemesis: &str, what: impl Into<String>, source: impl Into<Source>) -> Self {
        FaultError::Environment { nemesis: nemesis.to_owned(), what: what.into(), source: source.into() }
    }

    pub(crate) fn refused(nemesis: &str, reason: impl Into<String>) -> Self {
        FaultError::Refused { nemesis: nemesis.to_owned(), reason: reason.into() }
    }
}
