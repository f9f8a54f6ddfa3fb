//! The flags of the load as a workload's options.

use anyhow::anyhow;
use kchaos_workloads::{Options, Rotation, Spec};

use super::hosts;
use super::schedule::millis;
use crate::cli::{TestArgs, named};
use crate::exit::Failure;

pub(super) fn options(spec: &Spec, args: &TestArgs) -> Result<Options, Failure> {
    let (load, workload) = (&args.load, spec.name);
    let client = format!("--client {}", load.client);
    for (flag, is_given, of) in [
        ("--value-bytes-max", load.value_bytes_max.is_some(), &["append", "queue"][..]),
        ("--hot-share", load.hot_share.is_some(), &["append", "queue"]),
        ("--rotate-keys", load.rotate_keys.is_some(), &["append"]),
        (&client, load.client != "librdkafka", &["append"]),
    ] {
        if is_given && !of.contains(&workload) {
            let whose = format!("the workload{} {}", if of.len() > 1 { "s" } else { "" }, of.join(" and "));
            return Err(Failure::usage(anyhow!("{flag} is of {whose}, not of {workload}: leave it out")));
        }
    }
    hosts::refuse(load, workload)?;
    let soak = load.soak.options(&load.order);
    let rate = if workload == "soak" { soak.default_rate() } else { spec.load.rate };
    Ok(Options {
        rate: load.rate.unwrap_or(rate),
        isolation: named("--isolation", &load.isolation)?,
        txn_size: load.transactions.txn_size,
        txn_aborts: load.transactions.txn_aborts,
        txn_zombies: load.transactions.txn_zombies,
        txn_timeout_ms: u32::try_from(millis(load.transactions.txn_timeout)).unwrap_or(u32::MAX),
        txn_pause_ms: u32::try_from(millis(load.transactions.txn_pause)).unwrap_or(u32::MAX),
        producers: load.producers.unwrap_or(spec.load.producers),
        consumers: load.consumers.unwrap_or(spec.load.consumers),
        partitions: load.partitions,
        acks: named("--acks", &load.acks)?,
        idempotence: load.idempotence,
        in_flight: load.in_flight,
        key_count: load.key_count,
        value_bytes: load.value_bytes,
        value_bytes_max: load.value_bytes_max,
        hot_share: load.hot_share,
        rotation: load.rotate_keys.map(|every| Rotation::over(every, args.time_limit())),
        client: named("--client", &load.client)?,
        client_hosts: load.client_hosts.clone(),
        client_racks: load.client_racks.clone(),
        properties: load.properties.clone(),
        topic: load.topic.clone(),
        replication_factor: load.replication_factor,
        min_insync_replicas: load.min_insync_replicas,
        group: load.group.options()?,
        order: (workload == "order").then(|| load.order.options()),
        bank: load.bank.options(),
        register: load.register.options(),
        soak,
        elections: load.elections.options(),
        offsets: load.offsets.options(),
        ..Options::default()
    })
}
