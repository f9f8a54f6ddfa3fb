//! librdkafka's properties: our defaults, the inventory's, the user's, and what of them may be shown.
//!
//! Later layers win: defaults below, the inventory's `[kafka.properties]`, `-X`. What the history's meaning rests on (acknowledgement,
//! offsets, identity) is set last and may be set nowhere else.
//!
//! Where our defaults differ from librdkafka's, it is so that an outage lasts as long as the election and no longer: with the default
//! `socket.timeout.ms` of 60 s a client whose leader was paused noticed after 61 s what was elected after 15 s.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use crate::options::{Acks, Options, OptionsError};

/// For every client.
const COMMON: &[(&str, &str)] = &[
    ("socket.timeout.ms", "4000"),
    ("socket.connection.setup.timeout.ms", "3000"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.ms", "100"),
    ("reconnect.backoff.max.ms", "1000"),
    ("retry.backoff.ms", "100"),
    ("retry.backoff.max.ms", "1000"),
    ("topic.metadata.refresh.interval.ms", "5000"),
];

const PRODUCER: &[(&str, &str)] = &[
    // How long a broker may wait for its replicas, below `socket.timeout.ms` so that its answer arrives.
    ("request.timeout.ms", "3000"),
    // Until a send is given up: longer than any election, the ZooKeeper session (18 s) included.
    ("message.timeout.ms", "60000"),
    // librdkafka's own: 0 costs a request for nearly every record.
    ("linger.ms", "5"),
];

const CONSUMER: &[(&str, &str)] = &[
    ("allow.auto.create.topics", "false"),
    // Answered when 64 KiB are there, or after 50 ms: an answer to every record would cost more CPU than all else together.
    ("fetch.min.bytes", "65536"),
    ("fetch.wait.max.ms", "50"),
    ("fetch.error.backoff.ms", "100"),
    ("fetch.queue.backoff.ms", "100"),
    ("queued.max.messages.kbytes", "16384"),
];

/// What a batch may hold beside its one value, generously.
const BESIDE_THE_VALUE_BYTES: u64 = 65_536;
/// A line that moves no more is given up: 20 MB a second.
const BYTES_A_MS: u64 = 20_000;
/// Of the orderers' readers, whose memory is bounded by it: a broker returns one batch at least, however large (KIP-74).
const ORDER_FETCH_BYTES: u64 = 4 << 20;

/// Producers with acks=1 or 0 hear of no error from a deposed leader and stay with it until their metadata grows old. This is the behaviour
/// under test, so they keep librdkafka's (and the Java client's) five minutes.
const METADATA_REFRESH_WITHOUT_ACKS_ALL_MS: &str = "300000";

/// What nobody else may set, and what to do instead.
const RESERVED: &[(&str, &str)] = &[
    ("bootstrap.servers", "brokers stand in the inventory, as kafka.bootstrap"),
    ("metadata.broker.list", "brokers stand in the inventory, as kafka.bootstrap"),
    ("acks", "use --acks"),
    ("request.required.acks", "use --acks"),
    ("enable.idempotence", "use --idempotence"),
    ("isolation.level", "use --isolation"),
    ("transactional.id", "the workload transactions names its own; others have none"),
    ("transaction.timeout.ms", "use --txn-timeout"),
    ("client.id", "it names the run and the client"),
    ("client.rack", "use --client-rack; final reads are from leaders"),
    ("group.id", "it names the run, or its group"),
    ("group.protocol", "use --group-protocol"),
    ("group.instance.id", "use --group-static"),
    ("group.remote.assignor", "use --group-assignor"),
    ("partition.assignment.strategy", "use --group-assignor"),
    ("enable.auto.commit", "use --group-commit; other consumers keep their own positions"),
    ("enable.auto.offset.store", "consumers keep their own positions"),
    ("auto.offset.reset", "a lost position is an error, never a silent skip; of groups, use --group-offset-reset"),
    ("enable.partition.eof", "ends are known from the leaders"),
    ("delivery.report.only.error", "acknowledgements are what is judged"),
    ("log.queue", "log lines are kept with the run"),
];

/// Properties whose values may be shown: these, and those that begin so (with a dot). Everything else is hidden; a list of secrets would
/// miss some.
const SHOWN: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "api.",
    "auto.commit.",
    "auto.offset.reset",
    "batch.",
    "bootstrap.servers",
    "broker.",
    "check.crcs",
    "client.id",
    "client.rack",
    "compression.",
    "connections.",
    "debug",
    "delivery.",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "fetch.",
    "group.",
    "heartbeat.",
    "isolation.level",
    "linger.ms",
    "max.",
    "message.",
    "metadata.",
    "partition.assignment.strategy",
    "partitioner",
    "queue.",
    "queued.",
    "receive.",
    "reconnect.",
    "request.",
    "retries",
    "retry.",
    "sasl.mechanism",
    "sasl.mechanisms",
    "security.protocol",
    "session.timeout.ms",
    "socket.",
    "statistics.",
    "sticky.",
    "topic.",
];
const HIDDEN: &str = "<hidden>";

/// May these be set by a user or an inventory, and does librdkafka take them?
pub(crate) fn check(properties: &[(String, String)]) -> Result<(), OptionsError> {
    for (name, value) in properties {
        check_one(name, value)?;
    }
    Ok(())
}

pub(crate) fn check_one(name: &str, value: &str) -> Result<(), OptionsError> {
    if let Some((_, instead)) = RESERVED.iter().find(|(reserved, _)| *reserved == name) {
        return Err(OptionsError::PropertyReserved { name: name.to_owned(), instead });
    }
    let mut config = ClientConfig::new();
    config.set(name, value);
    match config.create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(_, reason, _, _)) => Err(refused(name, value, &reason)),
        Err(other) => Err(refused(name, value, &other.to_string())),
    }
}

/// librdkafka's reason repeats the value, which may be a secret.
fn refused(name: &str, value: &str, reason: &str) -> OptionsError {
    let reason = if is_shown(name) || value.is_empty() { reason.to_owned() } else { reason.replace(value, HIDDEN) };
    OptionsError::PropertyRefused { name: name.to_owned(), reason }
}

fn is_shown(name: &str) -> bool {
    SHOWN.iter().any(|shown| name == *shown || (shown.ends_with('.') && name.starts_with(shown)))
}

/// Whose properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Producer,
    /// Of values so large that time and memory must be thought of.
    Large,
    Consumer,
    /// Of a consumer group.
    Member,
    Admin,
}

/// All properties of a client, in one map. It may hold secrets.
pub(crate) fn resolve(
    role: Role,
    options: &Options,
    bootstrap: &str,
    inventory: &BTreeMap<String, String>,
    client_id: &str,
) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        all.insert(name.to_owned(), value.to_owned());
    };
    for (name, value) in COMMON {
        set(name, value);
    }
    let own = match role {
        Role::Producer | Role::Large => PRODUCER,
        Role::Consumer | Role::Member => CONSUMER,
        Role::Admin => &[],
    };
    for (name, value) in own {
        set(name, value);
    }
    let value_bytes = u64::from(options.value_bytes);
    match role {
        Role::Producer | Role::Large => {
            // Beyond what the topic takes where that is to be found out: the broker is to refuse it, not the client.
            let beyond = if role == Role::Large { BESIDE_THE_VALUE_BYTES } else { 0 };
            set("message.max.bytes", &(message_max_bytes(options) + beyond).to_string());
            if role == Role::Large {
                // Sent to the leader, and from it to its followers, before it answers.
                set("request.timeout.ms", &(3_000 + 2 * large_ms(options)).to_string());
                set("socket.timeout.ms", &(4_000 + 2 * large_ms(options)).to_string());
                set("queue.buffering.max.kbytes", &((message_max_bytes(options) + beyond) / 1_024 + 1_024).to_string());
            }
            if options.acks != Acks::All {
                set("topic.metadata.refresh.interval.ms", METADATA_REFRESH_WITHOUT_ACKS_ALL_MS);
            }
        }
        Role::Consumer | Role::Member => {
            set("fetch.message.max.bytes", &(value_bytes * 2).max(1_048_576).to_string());
            if options.order.is_some() {
                set("fetch.max.bytes", &ORDER_FETCH_BYTES.to_string());
                set("queued.max.messages.kbytes", &(ORDER_FETCH_BYTES / 1_024).to_string());
                set("receive.message.max.bytes", &(message_max_bytes(options) + ORDER_FETCH_BYTES).to_string());
                set("socket.timeout.ms", &(4_000 + large_ms(options)).to_string());
            }
        }
        Role::Admin => (),
    }
    if role == Role::Member {
        options.group.defaults(&mut set);
    }
    for (name, value) in inventory.iter().chain(options.properties.iter().map(|(name, value)| (name, value))) {
        set(name, value);
    }
    set("bootstrap.servers", bootstrap);
    set("client.id", client_id);
    match role {
        Role::Producer | Role::Large => {
            set("acks", options.acks.name());
            set("enable.idempotence", if options.idempotence { "true" } else { "false" });
        }
        Role::Consumer => {
            // Without a group rust-rdkafka does not read the consumer's queue; it is never joined and nothing is committed to it.
            set("group.id", client_id);
            set("enable.auto.commit", "false");
            set("enable.auto.offset.store", "false");
            set("auto.offset.reset", "error");
            set("isolation.level", options.isolation.name());
        }
        Role::Member => {
            options.group.fixed(client_id, client_id, &mut set);
            set("isolation.level", options.isolation.name());
        }
        Role::Admin => (),
    }
    all
}

/// `NAME.pem`, or else what is in the file `NAME.location`.
pub(crate) fn pem(all: &BTreeMap<String, String>, name: &str) -> Result<Option<String>, String> {
    let location = format!("{name}.location");
    match (all.get(&format!("{name}.pem")), all.get(&location)) {
        (Some(pem), _) => Ok(Some(pem.clone())),
        (None, Some(path)) => std::fs::read_to_string(path).map(Some).map_err(|error| format!("{location}: {path}: {error}")),
        (None, None) => Ok(None),
    }
}

/// The same for a client on another machine, which has not our files: what is in them is in its properties.
pub(crate) fn without_files(mut all: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    if all.contains_key("ssl.keystore.location") {
        let instead = "name the same certificate by ssl.certificate.location and ssl.key.location";
        return Err(format!("a client on another host cannot be given ssl.keystore.location: {instead}"));
    }
    for name in ["ssl.ca", "ssl.certificate", "ssl.key"] {
        if let Some(pem) = pem(&all, name)? {
            all.remove(&format!("{name}.location"));
            all.insert(format!("{name}.pem"), pem);
        }
    }
    Ok(all)
}

/// The greatest message a topic of this run must take: never below Kafka's own default.
pub(crate) fn message_max_bytes(options: &Options) -> u64 {
    (u64::from(options.greatest_value_bytes()) + BESIDE_THE_VALUE_BYTES).max(1_048_588)
}

/// What moving large values takes beyond the time of small ones, by a slow line.
fn large_ms(options: &Options) -> u64 {
    u64::from(options.greatest_value_bytes()) / BYTES_A_MS
}

pub(crate) fn config(properties: &BTreeMap<String, String>) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in properties {
        config.set(name.as_str(), value.as_str());
    }
    config.set_log_level(RDKafkaLogLevel::Info);
    config
}

/// What the clients of a run are set to, for `plan.json`: `producer.linger.ms` and so on. Values that might be secret are hidden.
pub fn effective_client_properties(options: &Options, bootstrap: &str, inventory: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    for (role, prefix) in [(Role::Producer, "producer"), (Role::Consumer, "consumer")] {
        for (name, value) in resolve(role, options, bootstrap, inventory, &format!("kchaos-<run>-{prefix}-<n>")) {
            let value = if is_shown(&name) { value } else { HIDDEN.to_owned() };
            shown.insert(format!("{prefix}.{name}"), value);
        }
    }
    shown
}

/// `KEY=VALUE` as it may be written down: the value stays away if it might be a secret. A reference says only where one is.
pub fn shown_property(text: &str) -> String {
    match text.split_once('=') {
        Some((name, value)) if !is_shown(name.trim()) && !value.starts_with("env:") && !value.starts_with("file:") => {
            format!("{name}={HIDDEN}")
        }
        _ => text.to_owned(),
    }
}

/// Options are written down with every run.
pub(crate) fn as_shown<S: serde::Serializer>(properties: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    let shown = properties.iter().map(|(name, value)| (name, if is_shown(name) { value.as_str() } else { HIDDEN }));
    serializer.collect_seq(shown)
}

/// `true` for what [`shown_property`] left in the place of a value.
pub fn is_hidden(value: &str) -> bool {
    value == HIDDEN
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::BaseConsumer;
    use rdkafka::producer::BaseProducer;

    use super::*;
    use crate::OrderOptions;

    fn shown(options: &Options, inventory: &[(&str, &str)]) -> BTreeMap<String, String> {
        let inventory = inventory.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        effective_client_properties(options, "localhost:1", &inventory)
    }

    #[test]
    fn the_users_property_wins_over_the_inventory_and_the_inventory_over_the_default() {
        let options = Options { properties: vec![("linger.ms".into(), "0".into())], ..Options::default() };
        let all = shown(&options, &[("linger.ms", "3"), ("socket.timeout.ms", "7000")]);
        assert_eq!((all["producer.linger.ms"].as_str(), all["consumer.socket.timeout.ms"].as_str()), ("0", "7000"));
        assert_eq!(all["producer.enable.idempotence"], "true");
        assert_eq!(all["consumer.auto.offset.reset"], "error");
    }

    #[test]
    fn only_properties_known_to_be_harmless_are_shown() {
        let secret = "hunter2";
        let names = ["sasl.password", "ssl.key.pem", "sasl.jaas.config", "ssl.keystore.password", "some.new.token", "sasl.username"];
        let inventory: Vec<_> = names.iter().map(|name| (*name, secret)).collect();
        let all = shown(&Options::default(), &inventory);
        assert!(!format!("{all:?}").contains(secret));
        assert!(names.iter().all(|name| all[&format!("producer.{name}")] == HIDDEN));
    }

    #[test]
    fn a_secret_that_was_typed_is_not_written_down_with_the_options() {
        let properties = vec![("sasl.password".to_owned(), "hunter2".to_owned()), ("linger.ms".to_owned(), "3".to_owned())];
        let text = serde_json::to_string(&Options { properties, ..Options::default() }).unwrap();
        assert!(!text.contains("hunter2") && text.contains("[\"linger.ms\",\"3\"]"), "{text}");
        assert_eq!(shown_property("sasl.password=hunter2"), "sasl.password=<hidden>");
        assert_eq!(
            (shown_property("sasl.password=env:P"), shown_property("linger.ms=3")),
            ("sasl.password=env:P".into(), "linger.ms=3".into())
        );
    }

    #[test]
    fn a_refused_secret_is_not_repeated() {
        let error = check_one("sasl.oauthbearer.method", "hunter2").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn producers_stay_with_a_deposed_leader_only_without_acks_all() {
        let refresh = |acks, idempotence| {
            shown(&Options { acks, idempotence, ..Options::default() }, &[])["producer.topic.metadata.refresh.interval.ms"].clone()
        };
        assert_eq!(refresh(Acks::All, true), "5000");
        assert_eq!(refresh(Acks::Leader, false), "300000");
    }

    #[test]
    fn librdkafka_takes_every_default() {
        let order = |large_bytes| Options { order: Some(OrderOptions { large_bytes, ..OrderOptions::default() }), ..Options::default() };
        for options in [Options::default(), order(0), order(103_743_488)] {
            for role in [Role::Producer, Role::Large, Role::Consumer, Role::Member, Role::Admin] {
                let all = resolve(role, &options, "localhost:1", &BTreeMap::new(), "me");
                config(&all).create_native_config().unwrap();
            }
        }
    }

    #[test]
    fn clients_are_made_for_values_of_99_mib() {
        let order = Some(OrderOptions { large_bytes: 103_743_488, ..OrderOptions::default() });
        let of =
            |role| config(&resolve(role, &Options { order: order.clone(), ..Options::default() }, "localhost:1", &BTreeMap::new(), "me"));
        // Some contradictions are found only when a client is made.
        of(Role::Large).create::<BaseProducer>().unwrap();
        of(Role::Consumer).create::<BaseConsumer>().unwrap();
    }
}
