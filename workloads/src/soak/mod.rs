//! `soak`: several workloads at once against one cluster, for hours, as a system has them.
//!
//! Why: what each workload alone survives, all together may not (a coordinator that is busy with transactions while a group rebalances). Each part has
//! topics, clients and values of its own, and is judged as it would be alone: the parts share one history, in which the keys of one part lie
//! behind those of the part before, and processes and clients are dealt out in turn.
//!
//! Limit: `register` has no part in it, since what it does is in ZooKeeper's hands and has no final read; `--topic` would name several topics at once,
//! and is refused.

mod deal;
mod run;

use kchaos_core::{Key, KeyEntry};
use serde::{Deserialize, Serialize};

use crate::options::{Options, OptionsError};
use crate::order::OrderOptions;
use crate::topics::TopicSpec;
use crate::{Context, Load, Running, Spec, Workload, WorkloadError, find};
use deal::Deal;

pub(crate) const SPEC: Spec = Spec {
    name: "soak",
    about: "several workloads at once (--soak-mix), for hours: each judged as if alone, and our own memory watched",
    load: Load::PLAIN,
    build: |options| {
        options.check()?;
        Ok(Box::new(Soak::new(options)?))
    },
};

/// What has topics, and a final read that proves what was kept.
const PARTS: &[&str] = &["append", "queue", "transactions", "order"];

/// Of the workload `soak`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SoakOptions {
    /// The workloads that run at once.
    pub mix: Vec<String>,
    /// Of the ordering service, if it is one of them.
    pub order: OrderOptions,
}

impl Default for SoakOptions {
    fn default() -> Self {
        Self { mix: PARTS.iter().map(|name| (*name).to_owned()).collect(), order: OrderOptions::default() }
    }
}

impl SoakOptions {
    /// The rate of all parts together, if none is told.
    pub fn default_rate(&self) -> f64 {
        self.mix.iter().filter_map(|name| find(name)).map(|spec| spec.load.rate).sum()
    }
}

struct Soak {
    parts: Vec<Part>,
}

struct Part {
    name: String,
    workload: Box<dyn Workload>,
}

impl Soak {
    fn new(options: &Options) -> Result<Self, OptionsError> {
        let mix = &options.soak.mix;
        let all = options.soak.default_rate();
        let mut parts: Vec<Part> = Vec::new();
        for name in mix {
            let spec = find(name).filter(|spec| PARTS.contains(&spec.name));
            let is_again = parts.iter().any(|part| part.name == *name);
            let (Some(spec), false) = (spec, is_again) else {
                return Err(OptionsError::Mix { name: name.clone(), parts: PARTS.join(", "), is_again });
            };
            let workload = (spec.build)(&of_part(options, spec, spec.load.rate / all))?;
            parts.push(Part { name: name.clone(), workload });
        }
        if parts.is_empty() {
            return Err(OptionsError::Mix { name: String::new(), parts: PARTS.join(", "), is_again: false });
        }
        if options.topic.is_some() {
            return Err(OptionsError::MixTopic);
        }
        Ok(Self { parts })
    }

    /// Each part with where its keys lie.
    fn placed<'a>(&'a self, run_id: &'a str) -> impl Iterator<Item = (&'a Part, Vec<KeyEntry>)> {
        let mut from: Key = 0;
        self.parts.iter().map(move |part| {
            let mut keys = part.workload.keys(run_id);
            let next = keys.iter().map(|entry| entry.key + 1).max().unwrap_or(0);
            for entry in &mut keys {
                entry.key += from;
            }
            from += next;
            (part, keys)
        })
    }
}

/// The options as the part has them: its share of the rate, and its own number of clients where it has one.
fn of_part(options: &Options, spec: &Spec, share: f64) -> Options {
    let mut own = Options { rate: options.rate * share, soak: SoakOptions::default(), ..options.clone() };
    if spec.name == "order" {
        (own.producers, own.consumers) = (spec.load.producers, spec.load.consumers);
        own.order = Some(options.soak.order.clone());
    }
    own
}

impl Workload for Soak {
    fn keys(&self, run_id: &str) -> Vec<KeyEntry> {
        self.placed(run_id).flat_map(|(_, keys)| keys).collect()
    }

    fn topics(&self, run_id: &str) -> Vec<TopicSpec> {
        self.parts.iter().flat_map(|part| part.workload.topics(run_id)).collect()
    }

    fn groups(&self, run_id: &str) -> Vec<String> {
        self.parts.iter().flat_map(|part| part.workload.groups(run_id)).collect()
    }

    fn transactional_ids(&self, run_id: &str) -> Vec<String> {
        self.parts.iter().flat_map(|part| part.workload.transactional_ids(run_id)).collect()
    }

    fn refuse_cluster(&self, context: &Context) -> Result<(), WorkloadError> {
        self.parts.iter().try_for_each(|part| part.workload.refuse_cluster(context))
    }

    fn can_be_concluded(&self) -> bool {
        self.parts.iter().all(|part| part.workload.can_be_concluded())
    }

    fn start(&self, context: Context) -> Result<Box<dyn Running>, WorkloadError> {
        let count = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        let mut parts = Vec::new();
        for ((part, keys), number) in self.placed(&context.run_id).zip(0..) {
            let from = keys.first().map_or(0, |entry| entry.key);
            let deal = Deal { keys_from: from, number, count };
            // Of one seed, and not all the same.
            let own = Context { seed: context.seed.wrapping_add(u64::from(number)), ..context.clone() };
            let recorder = deal.recorder(context.recorder.clone());
            match part.workload.start(Context { recorder, ..own }) {
                Ok(running) => parts.push(run::Part { deal, keys: keys.len(), running }),
                Err(error) => {
                    run::stop(parts, run::GIVE_UP);
                    return Err(error);
                }
            }
        }
        Ok(Box::new(run::SoakRun { parts }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soak(mix: &[&str], options: Options) -> Result<Soak, String> {
        let mix = mix.iter().map(|name| (*name).to_owned()).collect();
        Soak::new(&Options { soak: SoakOptions { mix, ..SoakOptions::default() }, ..options }).map_err(|error| error.to_string())
    }

    #[test]
    fn the_keys_of_each_part_lie_behind_those_of_the_part_before() {
        let keys = soak(&["append", "order", "queue"], Options::default()).unwrap().keys("r1");
        assert_eq!(keys.iter().map(|entry| entry.key).collect::<Vec<_>>(), (0..9).collect::<Vec<_>>());
        assert_eq!(
            [0, 3, 4, 8].map(|at: usize| (keys[at].topic.as_str(), keys[at].partition)),
            [("kchaos-append-r1", 0), ("kchaos-order-1-r1", 0), ("kchaos-order-2-r1", 0), ("kchaos-queue-r1", 2)]
        );
    }

    #[test]
    fn each_part_has_its_share_of_the_rate_and_its_own_clients() {
        let options = Options { rate: 144.0, ..Options::default() };
        let all = SoakOptions::default().default_rate();
        assert_eq!(all, 1_220.0);
        let part = |name: &str| of_part(&options, find(name).unwrap(), find(name).unwrap().load.rate / all);
        assert_eq!(part("append").rate.round(), 59.0);
        let order = part("order");
        assert_eq!((order.producers, order.consumers, order.order.is_some()), (3, 0, true));
        assert!(part("queue").order.is_none());
    }

    #[test]
    fn what_has_no_part_in_it_is_refused_with_what_has() {
        for (mix, why) in [
            (vec!["append", "register"], "\"register\" has no part in a mix: append, queue, transactions, order have"),
            (vec!["soak"], "\"soak\" has no part in a mix"),
            (vec!["append", "append"], "\"append\" twice"),
            (vec![], "\"\" has no part in a mix"),
        ] {
            let error = soak(&mix, Options::default()).err().unwrap();
            assert!(error.contains(why), "{error}");
        }
        let error = soak(&["append"], Options { topic: Some("t".into()), ..Options::default() }).err().unwrap();
        assert!(error.contains("leave --topic out"), "{error}");
    }
}
