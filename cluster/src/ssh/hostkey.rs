//! A host's key in the handshake: what to ask for, and what to say when it is refused.

use std::borrow::Cow;

use russh::Preferred;
use russh::keys::{Algorithm, PublicKeyOrCertificate};

use super::{Endpoint, ProvenKey};
use crate::known_hosts::{HostKey, Judgement, written_name};

/// Why a host key is refused, and what to do about it.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) hint: String,
}

/// russh's algorithms, the types of key that are known for the host first: a server with several keys then shows one that is known.
pub(super) fn preferred(endpoint: &Endpoint) -> Preferred {
    let known = endpoint.known_hosts.key_types(&endpoint.address, endpoint.port);
    let mut algorithms: Vec<Algorithm> = Preferred::DEFAULT.key.to_vec();
    // Stable: within a type the order of preference stays.
    algorithms.sort_by_key(|algorithm| known.iter().position(|known| *known == key_type(algorithm)).unwrap_or(known.len()));
    Preferred { key: Cow::Owned(algorithms), ..Preferred::DEFAULT }
}

/// The type under which a key of this algorithm stands in `known_hosts`: RSA is one type, whatever the signature's hash.
fn key_type(algorithm: &Algorithm) -> &str {
    match algorithm {
        Algorithm::Rsa { .. } => "ssh-rsa",
        other => other.as_str(),
    }
}

/// Accepts or refuses what a server showed.
pub(super) fn judge(endpoint: &Endpoint, shown: &PublicKeyOrCertificate) -> Result<ProvenKey, Refusal> {
    let PublicKeyOrCertificate::PublicKey { key, .. } = shown else {
        let reason = "the host showed a certificate, which kchaos did not ask for".to_owned();
        return Err(Refusal { reason, hint: "use plain host keys".to_owned() });
    };
    let key_type = key_type(&key.algorithm()).to_owned();
    let offered = match key.to_bytes() {
        Ok(blob) => HostKey { key_type, blob },
        Err(error) => return Err(Refusal { reason: format!("its key cannot be encoded ({error})"), hint: "report this".to_owned() }),
    };
    let file = endpoint.known_hosts.path().display();
    match endpoint.known_hosts.judge(&endpoint.address, endpoint.port, &offered) {
        Judgement::Known { line } => {
            Ok(ProvenKey { fingerprint: offered.fingerprint(), key_type: offered.key_type, known_from: format!("{file}:{line}") })
        }
        judgement => Err(refusal(endpoint, &offered, &judgement)),
    }
}

fn refusal(endpoint: &Endpoint, offered: &HostKey, judgement: &Judgement) -> Refusal {
    let file = endpoint.known_hosts.path().display();
    let Endpoint { address, port, .. } = endpoint;
    let add = format!(
        "compare this with what ssh-keygen -lf says of /etc/ssh/ssh_host_*_key.pub on the host's console; if they are the same: ssh-keyscan -p {port} {address} >> {file}"
    );
    match judgement {
        Judgement::Revoked { line } => Refusal {
            reason: format!("its key {offered} is revoked by {file}:{line}"),
            hint: "the host must get a new key; the line must stay".to_owned(),
        },
        Judgement::Changed { known } => {
            let old: Vec<String> = known.iter().map(|known| format!("{} ({file}:{})", known.key, known.line)).collect();
            Refusal {
                reason: format!("its key has changed: it is {offered}, and known is {}", old.join(", ")),
                hint: format!(
                    "if nobody gave the host a new key, somebody stands between; if somebody did: ssh-keygen -R '{}' -f {file}, and then {add}",
                    written_name(address, *port)
                ),
            }
        }
        Judgement::Unknown { authorities } if !authorities.is_empty() => {
            let lines: Vec<String> = authorities.iter().map(|line| format!("{file}:{line}")).collect();
            Refusal {
                reason: format!(
                    "its key {offered} is unknown, and {} vouches for certificates, which kchaos does not check yet",
                    lines.join(", ")
                ),
                hint: add,
            }
        }
        _ => Refusal { reason: format!("its key {offered} is not in {file}"), hint: add },
    }
}
