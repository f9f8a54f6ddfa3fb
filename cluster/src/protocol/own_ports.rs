//! The local ports of this process' own looks, so that a fault that seeks a client's connection does not find kchaos' own.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

static PORTS: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

fn ports() -> MutexGuard<'static, BTreeSet<u16>> {
    PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ports of this machine from which a [`super::Connection`] is open now.
pub fn own_ports() -> BTreeSet<u16> {
    ports().clone()
}

/// A port, for as long as this lives.
pub(super) struct OwnPort(u16);

impl OwnPort {
    pub(super) fn of(port: u16) -> Self {
        ports().insert(port);
        Self(port)
    }
}

impl Drop for OwnPort {
    fn drop(&mut self) {
        ports().remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_ours_while_its_connection_lives() {
        // No other test's: a port below those that are given to whoever asks for none.
        let own = OwnPort::of(7);
        assert!(own_ports().contains(&7));
        drop(own);
        assert!(!own_ports().contains(&7));
    }
}
