//! Reading back what the daemons really use.
//!
//! The source is the running broker itself: at its start it prints every effective setting ("KafkaConfig values:", with defaults and without
//! keys that it does not know), the cluster's id from `/cluster/id`, and the session timeout that ZooKeeper granted. What the settings *file*
//! says proves nothing.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use kchaos_cluster::inventory::DaemonKind;

use crate::LabError;
use crate::layout::{DaemonPlan, HostPlan, NETWORK_NAMESPACE};
use crate::network;
use crate::options::{LabOptions, TICK_TIME_MS};
use crate::ready;
use crate::settings;
use crate::state::State;

/// Compares every setting with what each running daemon uses; the cluster's id.
pub(crate) fn verify(options: &LabOptions, state: &State) -> Result<String, LabError> {
    let mut faults = Vec::new();
    let mut cluster_ids = BTreeMap::new();
    // A controller of KRaft prints no settings; those that it shares with the brokers stand in both files alike.
    let session_timeout_ms = if options.kraft.is_some() { None } else { Some(options.session_timeout_asked()?) };
    for (host, broker) in state.layout.daemons(DaemonKind::Kafka) {
        let log = read_log(state, host, broker)?;
        let said = BrokerLog::parse(&log);
        let asked = settings::broker_settings(options, state, host, broker)?;
        faults.extend(said.faults(&asked, session_timeout_ms).into_iter().map(|fault| format!("{}: {fault}", broker.spoken())));
        if let Some(id) = said.cluster_id {
            cluster_ids.insert(id.to_owned(), broker.id);
        }
    }
    faults.extend(zookeeper_faults(state)?);
    // Of KRaft it is what storage was formatted with: a node of another cluster's would not have started.
    if let (Some(_), Some(id)) = (options.kraft, &state.cluster_id) {
        cluster_ids = BTreeMap::from([(id.clone(), 0)]);
    }
    if let Some(id) = state.cluster_id.as_ref().filter(|_| options.waiting_controllers > 0) {
        // The controllers that wait were formatted with it.
        cluster_ids.insert(id.clone(), 0);
    }
    if cluster_ids.len() != 1 {
        faults.push(format!("the brokers agree on no cluster id: {cluster_ids:?}"));
    }
    match cluster_ids.into_keys().next() {
        Some(id) if faults.is_empty() => Ok(id),
        _ => Err(LabError::SettingsNotInForce(faults)),
    }
}

fn read_log(state: &State, host: &HostPlan, broker: &DaemonPlan) -> Result<String, LabError> {
    // The same lines as in server.log, in a file that is not rolled at the turn of the hour.
    let directory = DaemonPlan::on_machine(&state.host_dir(&host.name), &broker.log_dir());
    // A container's console is with its engine.
    let name = if broker.published.is_some() { broker.main_log() } else { broker.console_log() };
    let path = directory.join(name);
    let bytes = fs::read(&path).map_err(LabError::io("cannot read", &path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `conf` is what a running ZooKeeper says of its own settings.
fn zookeeper_faults(state: &State) -> Result<Vec<String>, LabError> {
    let mut faults = Vec::new();
    for (host, zookeeper) in state.layout.daemons(DaemonKind::Zookeeper) {
        let address = SocketAddr::from((host.address, zookeeper.port()));
        let conf = network::inside(NETWORK_NAMESPACE, || ready::four_letters(state, address, "conf"))?.unwrap_or_default();
        for (key, asked) in [("tickTime", TICK_TIME_MS), ("minSessionTimeout", 2 * TICK_TIME_MS), ("maxSessionTimeout", 20 * TICK_TIME_MS)]
        {
            let used = conf.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            if used != Some(&asked.to_string()) {
                faults.push(format!("{}: {key} is {}, not {asked}", zookeeper.spoken(), used.unwrap_or("unknown")));
            }
        }
    }
    Ok(faults)
}

/// What a broker's log tells of its start.
struct BrokerLog<'a> {
    values: BTreeMap<&'a str, &'a str>,
    cluster_id: Option<&'a str>,
    session_timeout_ms: Option<u64>,
}

impl<'a> BrokerLog<'a> {
    fn parse(log: &'a str) -> Self {
        let mut found = BrokerLog { values: BTreeMap::new(), cluster_id: None, session_timeout_ms: None };
        let mut in_values = false;
        for line in log.lines() {
            // The block's lines, and only they, begin with a tab.
            if in_values && let Some((key, value)) = line.strip_prefix('\t').and_then(|line| line.split_once(" =")) {
                found.values.insert(key, value.trim());
                continue;
            }
            in_values = line.contains("KafkaConfig values:");
            if let Some((_, rest)) = line.split_once("Cluster ID = ") {
                found.cluster_id = rest.split_whitespace().next();
            }
            if let Some((_, rest)) = line.split_once("negotiated timeout = ") {
                found.session_timeout_ms = rest.split_whitespace().next().and_then(|number| number.parse().ok());
            }
        }
        found
    }

    /// `session_timeout_ms`: of ZooKeeper, where there is one.
    fn faults(&self, asked: &[(String, String)], session_timeout_ms: Option<u64>) -> Vec<String> {
        if self.values.is_empty() {
            return vec!["its log holds no settings (KafkaConfig values)".to_owned()];
        }
        let mut faults = Vec::new();
        // Those of one listener, and of the authorizer, are no settings of the broker's own, and are not printed.
        let is_printed =
            |key: &str| !key.starts_with("listener.name.") && !["super.users", "allow.everyone.if.no.acl.found"].contains(&key);
        for (key, asked) in asked.iter().filter(|(key, _)| is_printed(key)) {
            match self.values.get(key.as_str()) {
                None => faults.push(format!("does not know the setting {key}")),
                // Secrets are not printed; that the key is known is all that can be seen.
                Some(&"[hidden]") => {}
                Some(used) if same(asked, used) => {}
                Some(used) => faults.push(format!("{key} is {used}, not {asked}")),
            }
        }
        if let Some(session_timeout_ms) = session_timeout_ms.filter(|asked| self.session_timeout_ms != Some(*asked)) {
            let granted = self.session_timeout_ms.map_or_else(|| "unknown".to_owned(), |granted| format!("{granted} ms"));
            faults.push(format!("the session timeout that ZooKeeper granted is {granted}, not {session_timeout_ms} ms"));
        }
        faults
    }
}

/// The broker prints values in its own way: lists in brackets, numbers and truth values in their usual form.
fn same(asked: &str, used: &str) -> bool {
    let plain = |text: &str| -> Vec<String> {
        let text = text.trim();
        let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        text.split(',').map(|item| item.trim().to_owned()).collect()
    };
    let (asked, used) = (plain(asked), plain(used));
    asked.len() == used.len() && asked.iter().zip(&used).all(|(asked, used)| same_item(asked, used))
}

fn same_item(asked: &str, used: &str) -> bool {
    if let (Ok(asked), Ok(used)) = (asked.parse::<i64>(), used.parse::<i64>()) {
        return asked == used;
    }
    if let (Ok(asked), Ok(used)) = (asked.parse::<f64>(), used.parse::<f64>()) {
        return asked == used;
    }
    // `class a.b.C` is how a class is printed.
    let used = used.strip_prefix("class ").unwrap_or(used);
    asked == used || (matches!(used, "true" | "false") && asked.eq_ignore_ascii_case(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
[2026-11-21 06:32:55,001] INFO starting (kafka.server.KafkaServer)
[2026-11-21 06:32:55,100] INFO Session establishment complete on server /10.99.0.14:2181, session id = 0x1, negotiated timeout = 6000 (org.apache.zookeeper.ClientCnxn)
[2026-11-21 06:32:55,200] INFO Cluster ID = mCYkxLl5QxaFYMbAcWM4Jg (kafka.server.KafkaServer)
[2026-11-21 06:32:55,300] INFO KafkaConfig values: \n\tadvertised.listeners = null
\tcontroller.listener.names = \n\tlistener.security.protocol.map = PLAINTEXT:PLAINTEXT,SSL:SSL
\tlog.cleaner.min.cleanable.ratio = 0.5
\tlog.cleanup.policy = [delete, compact]
\tmin.insync.replicas = 2
\tssl.keystore.password = [hidden]
\tunclean.leader.election.enable = false
 (kafka.server.KafkaConfig)
[2026-11-21 06:32:56,000] INFO [KafkaServer id=1] started (kafka.server.KafkaServer)
\tnot.a.setting = 1
";

    fn check(asked: &[(&str, &str)], session_timeout_ms: u64, expect: &[&str]) {
        let asked: Vec<(String, String)> = asked.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(BrokerLog::parse(LOG).faults(&asked, Some(session_timeout_ms)), expect);
    }

    #[test]
    fn values_count_as_the_same_however_they_are_written() {
        check(
            &[
                ("min.insync.replicas", "2"),
                ("log.cleaner.min.cleanable.ratio", "0.50"),
                ("log.cleanup.policy", "delete,compact"),
                ("unclean.leader.election.enable", "FALSE"),
                ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT, SSL:SSL"),
                ("controller.listener.names", ""),
                ("ssl.keystore.password", "secret"),
            ],
            6000,
            &[],
        );
    }

    #[test]
    fn what_was_ignored_or_is_unknown_is_named() {
        check(
            &[("min.insync.replicas", "1"), ("no.such.setting", "1"), ("not.a.setting", "1")],
            18000,
            &[
                "min.insync.replicas is 2, not 1",
                "does not know the setting no.such.setting",
                "does not know the setting not.a.setting",
                "the session timeout that ZooKeeper granted is 6000 ms, not 18000 ms",
            ],
        );
    }

    #[test]
    fn the_cluster_id_is_the_one_the_broker_found() {
        assert_eq!(BrokerLog::parse(LOG).cluster_id, Some("mCYkxLl5QxaFYMbAcWM4Jg"));
    }

    #[test]
    fn a_log_without_settings_proves_nothing() {
        assert_eq!(BrokerLog::parse("nothing here").faults(&[], Some(6000)), ["its log holds no settings (KafkaConfig values)"]);
    }
}
