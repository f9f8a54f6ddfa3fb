//! What is said to a secured cluster itself: SCRAM credentials before its brokers need them, and ACLs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kchaos_cluster::inventory::{DaemonKind, Inventory};
use kchaos_cluster::protocol::scram::{Credential, Hash};
use kchaos_cluster::protocol::{Acl, AclPattern, AclResource, Client, ProtocolError, Timeouts, controller_addresses};
use kchaos_cluster::zookeeper::Access;
use zookeeper_client::{Acls, Client as ZooKeeper, CreateMode, Error};

use crate::LabError;
use crate::layout::NETWORK_NAMESPACE;
use crate::network;
use crate::secrets::Passwords;
use crate::security::{ADMIN, STRANGER, SaslKind, USER};
use crate::state::State;

/// ZooKeepers that were just started elect a leader first.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);
const SESSION: Duration = Duration::from_secs(6);
/// RFC 7677's least, and Kafka's own.
const ITERATIONS: usize = 4096;

/// Runs something asynchronous inside the lab's network, on a thread of its own.
pub(crate) fn inside<T: Send>(future: impl Future<Output = T> + Send) -> Result<T, LabError> {
    network::inside(NETWORK_NAMESPACE, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map(|runtime| runtime.block_on(future)).map_err(LabError::io("cannot start", "a runtime".as_ref()))
    })?
}

pub(crate) fn refused(reason: String) -> LabError {
    LabError::Host { host: "the lab's users".to_owned(), reason }
}

/// As `kafka-configs --zookeeper … --add-config SCRAM-SHA-512=…` does it: the credentials, and word of them for brokers that are up already.
/// Brokers come to each other by SCRAM, so it is before they serve that they need it.
pub(crate) fn make_scram(state: &State, admin: &Inventory) -> Result<(), LabError> {
    let hash = match state.security.sasl {
        // Their storage was formatted with them.
        _ if state.kraft.is_some() => return Ok(()),
        Some(SaslKind::ScramSha256) => Hash::Sha256,
        Some(SaslKind::ScramSha512) => Hash::Sha512,
        Some(SaslKind::Plain) | None => return Ok(()),
    };
    let passwords = Passwords::read(state)?;
    let mut nodes = Vec::new();
    for (user, password) in [(ADMIN, &passwords.admin), (USER, &passwords.user), (STRANGER, &passwords.stranger)] {
        let credential = Credential::new(hash, password, ITERATIONS).map_err(refused)?;
        let config = serde_json::json!({ "version": 1, "config": { hash.mechanism(): credential.text() } });
        let change = serde_json::json!({ "version": 2, "entity_path": format!("users/{user}") });
        nodes.push((format!("/config/users/{user}"), config.to_string(), change.to_string()));
    }
    let connect = state.layout.endpoints(DaemonKind::Zookeeper).join(",");
    let access = Access::of(&admin.zookeeper).map_err(|error| refused(error.to_string()))?;
    let acls = if state.security.has_zookeeper_sasl { Acls::creator_all() } else { Acls::anyone_all() };
    inside(async move {
        let client = session(&connect, &access).await?;
        let failed = |error: Error| refused(format!("writing SCRAM credentials to ZooKeeper: {error}"));
        let persistent = CreateMode::Persistent.with_acls(acls);
        for path in ["/config", "/config/users", "/config/changes"] {
            match client.create(path, b"", &persistent).await {
                Ok(_) | Err(Error::NodeExists) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        let sequential = CreateMode::PersistentSequential.with_acls(acls);
        for (path, config, change) in &nodes {
            client.create(path, config.as_bytes(), &persistent).await.map_err(failed)?;
            client.create("/config/changes/config_change_", change.as_bytes(), &sequential).await.map_err(failed)?;
        }
        Ok(())
    })?
}

pub(crate) async fn session(connect: &str, access: &Access) -> Result<ZooKeeper, LabError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let connecting = ZooKeeper::connector().with_session_timeout(SESSION).with_connection_timeout(SESSION / 3).with_fail_eagerly();
        match access.connect(connecting, connect).await {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() > deadline => return Err(refused(format!("no session with {connect}: {error}"))),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Who lets the admin in, and answers.
#[derive(Default)]
pub(crate) struct Answering {
    /// And of which brokers each tells its clients.
    pub(crate) brokers: BTreeMap<i32, BTreeSet<i32>>,
    pub(crate) controllers: BTreeSet<i32>,
}

/// Which of these nodes answer by now.
pub(crate) fn answering(admin: &Inventory, nodes: &[i32]) -> Result<Answering, LabError> {
    inside(async {
        let mut answering = Answering::default();
        let Ok(client) = Client::new(admin, Timeouts::default()) else { return answering };
        for (_, broker) in admin.daemons_of(DaemonKind::Kafka).filter(|(_, daemon)| nodes.contains(&daemon.id)) {
            if let Ok(metadata) = client.metadata(broker.id, Some(&[])).await {
                answering.brokers.insert(broker.id, metadata.brokers.iter().map(|endpoint| endpoint.broker).collect());
            }
        }
        for (controller, address) in controller_addresses(admin).into_iter().filter(|(id, _)| nodes.contains(id)) {
            if client.quorum(controller, &address).await.is_ok() {
                answering.controllers.insert(controller);
            }
        }
        answering
    })
}

/// The least that kchaos needs (docs/security.md), and nothing for anybody else.
pub(crate) fn grant(state: &State, admin: &Inventory) -> Result<(), LabError> {
    let acls = least(&state.security.principal(USER));
    let granted: Result<(), ProtocolError> = inside(async {
        let client = Client::new(admin, Timeouts::default())?;
        client.create_acls(&acls).await
    })?;
    granted.map_err(|error| refused(error.to_string()))
}

/// By resource: what for is in docs/security.md, which a test holds against this.
const LEAST: &[(AclResource, &str, AclPattern, &[&str])] = &[
    (
        AclResource::Topic,
        "kchaos-",
        AclPattern::Prefixed,
        &["Create", "Describe", "Write", "Read", "Delete", "Alter", "DescribeConfigs", "AlterConfigs"],
    ),
    (AclResource::Topic, "__consumer_offsets", AclPattern::Literal, &["Describe"]),
    (AclResource::Topic, "__transaction_state", AclPattern::Literal, &["Describe"]),
    (AclResource::Group, "kchaos-", AclPattern::Prefixed, &["Read", "Describe", "Delete"]),
    (AclResource::TransactionalId, "kchaos-", AclPattern::Prefixed, &["Write", "Describe"]),
    (
        AclResource::Cluster,
        "kafka-cluster",
        AclPattern::Literal,
        &["DescribeConfigs", "Describe", "IdempotentWrite", "Alter", "AlterConfigs"],
    ),
];

fn least(principal: &str) -> Vec<Acl> {
    let of = |(resource, name, pattern, operations): &(AclResource, &str, AclPattern, &'static [&'static str])| {
        let (resource, name, pattern) = (*resource, (*name).to_owned(), *pattern);
        let acl = move |operation: &&'static str| Acl { resource, name: name.clone(), pattern, principal: principal.to_owned(), operation };
        operations.iter().map(acl).collect::<Vec<_>>()
    };
    LEAST.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_is_what_the_documentation_tells_people_to_grant() {
        let documented = include_str!("../../docs/security.md").replace("\\\n", "");
        let commands: Vec<&str> = documented.lines().filter(|line| line.starts_with('…')).collect();
        for (resource, name, _, operations) in LEAST {
            let named = match resource {
                AclResource::Cluster => "--cluster ".to_owned(),
                AclResource::Topic => format!("--topic {name} "),
                AclResource::Group => format!("--group {name} "),
                AclResource::TransactionalId => format!("--transactional-id {name} "),
            };
            let command = commands.iter().find(|line| line.contains(&named)).unwrap_or_else(|| panic!("nothing grants {named}"));
            let granted: Vec<&str> = command.split("--operation ").skip(1).map(str::trim).collect();
            let mut missing = operations.iter().filter(|operation| !granted.contains(operation));
            assert_eq!((granted.len(), missing.next()), (operations.len(), None), "{command}");
        }
    }
}
