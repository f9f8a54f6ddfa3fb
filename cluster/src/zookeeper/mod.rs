//! ZooKeeper as seen from outside: each server by itself, and the nodes that Kafka keeps there.
//!
//! Why each server by itself: a connect string with several hosts is shuffled by the client, so nobody could say whose data was read, and
//! one server that hangs would hide what the others know. So there is one session per server here, and `srvr` is asked over raw TCP.
//!
//! What is not trusted: `Expired` and `Disconnected` are this client's own words (it gives up at 7/5 of the session timeout, before any
//! server said so), so neither is ever read as "the ephemeral node is gone". Only a read of a server says that.

mod access;
pub mod nodes;
mod session;
mod srvr;
mod tls;

pub use access::Access;
pub use session::{Session, ZooKeeperError, first_session};
pub use srvr::{Srvr, SrvrError, srvr};

use crate::inventory::{DaemonKind, Inventory};

/// One server of the ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The inventory's name of its host (with the port where a host has several), or its address when no host of the inventory has it.
    pub label: String,
    /// `myid`; 0 when the inventory does not say.
    pub id: i32,
    /// `host:port`.
    pub address: String,
}

/// The servers of `[zookeeper] connect`, in its order.
pub fn servers(inventory: &Inventory) -> Vec<Server> {
    inventory.zookeeper.connect.iter().map(|entry| server(inventory, entry)).collect()
}

fn server(inventory: &Inventory, entry: &str) -> Server {
    let (name, port) = split_address(entry);
    for host in &inventory.hosts {
        let mut daemons = host.daemons.iter().filter(|daemon| daemon.kind == DaemonKind::Zookeeper);
        if host.address != name && host.name != name {
            continue;
        }
        let several = daemons.clone().count() > 1;
        if let Some(daemon) = daemons.find(|daemon| daemon.port == port) {
            let label = if several { format!("{}:{port}", host.name) } else { host.name.clone() };
            return Server { label, id: daemon.id, address: format!("{}:{port}", bracketed(name)) };
        }
    }
    let address = format!("{}:{port}", bracketed(name));
    Server { label: address.clone(), id: 0, address }
}

/// Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_address(entry: &str) -> (&str, u16) {
    const DEFAULT_PORT: u16 = 2181;
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().unwrap_or(DEFAULT_PORT)),
        _ => (entry, DEFAULT_PORT),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_with_and_without_ports_and_brackets() {
        let check = |entry, expect| assert_eq!(split_address(entry), expect);
        check("zk1", ("zk1", 2181));
        check("zk1:2182", ("zk1", 2182));
        check("10.0.0.1:2181", ("10.0.0.1", 2181));
        check("[fe80::1]:2182", ("fe80::1", 2182));
        check("[fe80::1]", ("fe80::1", 2181));
    }
}
