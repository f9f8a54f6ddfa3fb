//! Whose clients a run has: librdkafka's, which are linked, or Java's, which must be found.

use std::path::{Path, PathBuf};

use kchaos_workloads::{ClientLibrary, Java, Options, librdkafka_version};

use crate::exit::Failure;

const CACHE: &str = "/var/cache/kchaos";

/// Looked for before anything is touched; what is lacking is said with what to do.
pub(super) fn java(options: &Options, jars: Option<&Path>) -> Result<Option<Java>, Failure> {
    if options.client != ClientLibrary::Java {
        return Ok(None);
    }
    let jars = jars.map_or_else(newest_in_cache, Path::to_owned);
    Java::find(&jars).map(Some).map_err(Failure::environment)
}

pub(super) fn told(java: Option<&Java>) -> String {
    let librdkafka = librdkafka_version();
    java.map_or_else(
        || librdkafka.clone(),
        |java| format!("kafka-clients {} (Java {}); final reads by {librdkafka}", java.kafka_version, java.java_version),
    )
}

/// Where `make setup` and labs keep the jars of each version of Kafka.
fn newest_in_cache() -> PathBuf {
    let cache = std::env::var_os("KCHAOS_CACHE").map_or_else(|| PathBuf::from(CACHE), PathBuf::from);
    let entries = std::fs::read_dir(&cache).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    newest(entries).map_or_else(|| cache.clone(), |name| cache.join(name))
}

fn newest(names: impl Iterator<Item = String>) -> Option<String> {
    let version = |name: &str| {
        name.strip_prefix("kafka-").map(|version| version.split('.').map(|part| part.parse().ok()).collect::<Vec<Option<u32>>>())
    };
    names.filter(|name| version(name).is_some()).max_by_key(|name| version(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kafka_of_the_cache_is_by_number_and_not_by_letter() {
        let names = ["kafka-3.9.1", "kafka-3.10.0", "kafka-2.8.2", ".kafka-9.9.9.Xy", "other"].map(str::to_owned);
        assert_eq!(newest(names.into_iter()).as_deref(), Some("kafka-3.10.0"));
        assert_eq!(newest(std::iter::empty()), None);
    }
}
