//! What held from when to when: leaders, in-sync replicas, the controller and ZooKeeper's leader, from single observations.

use std::collections::BTreeMap;

use kchaos_core::{Key, Observation, Observed};

/// Something that held for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment<T> {
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
    pub(super) value: T,
}

/// One partition over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PartitionStrip {
    /// Leader and leader epoch; `None` while there is no leader.
    pub(super) leaders: Vec<Segment<(Option<i32>, i32)>>,
    pub(super) isr: Vec<Segment<Vec<i32>>>,
    /// The most replicas ever seen in sync.
    pub(super) isr_max: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Strips {
    pub(super) partitions: BTreeMap<Key, PartitionStrip>,
    /// `None` while there is no controller.
    pub(super) controller: Vec<Segment<Option<i32>>>,
    /// The host of ZooKeeper's leader; `None` while nobody was seen to lead.
    pub(super) zookeeper: Vec<Segment<Option<String>>>,
    /// Every broker that was seen in any role.
    pub(super) brokers: Vec<i32>,
}

/// A change counts from the first look that showed it.
pub(super) fn strips(timeline: &[Observation], end_ns: u64) -> Strips {
    let mut ordered: Vec<&Observation> = timeline.iter().collect();
    ordered.sort_by_key(|observation| observation.when.before_ns);
    let mut strips = Strips::default();
    // Hosts that say they lead, the newest last: a deposed leader may go on saying so.
    let mut leading: Vec<&str> = Vec::new();
    for observation in ordered {
        // The first look at a thing tells how it was before.
        let at_ns = if observation.when.after_ns == 0 { 0 } else { observation.when.before_ns };
        match &observation.what {
            Observed::PartitionState { key, leader, leader_epoch, isr, .. } => {
                let strip = strips.partitions.entry(*key).or_default();
                change(&mut strip.leaders, at_ns, (*leader, *leader_epoch));
                let mut isr = isr.clone();
                isr.sort_unstable();
                strip.isr_max = strip.isr_max.max(isr.len());
                strips.brokers.extend(&isr);
                strips.brokers.extend(leader);
                change(&mut strip.isr, at_ns, isr);
            }
            Observed::Controller { broker, .. } => {
                strips.brokers.extend(broker);
                change(&mut strips.controller, at_ns, *broker);
            }
            Observed::BrokerRegistered { broker } => strips.brokers.push(*broker),
            Observed::ZooKeeperMode { host, mode, .. } => {
                leading.retain(|other| *other != host);
                if mode == "leader" {
                    leading.push(host);
                }
                let leader = leading.last().map(|host| (*host).to_owned());
                // Servers are asked one by one: until one was seen to lead, nobody knows.
                if leader.is_some() || !strips.zookeeper.is_empty() {
                    let at_ns = if strips.zookeeper.is_empty() { 0 } else { at_ns };
                    change(&mut strips.zookeeper, at_ns, leader);
                }
            }
            _ => {}
        }
    }
    strips.brokers.sort_unstable();
    strips.brokers.dedup();
    for strip in strips.partitions.values_mut() {
        end(&mut strip.leaders, end_ns);
        end(&mut strip.isr, end_ns);
    }
    end(&mut strips.controller, end_ns);
    end(&mut strips.zookeeper, end_ns);
    strips
}

fn change<T: PartialEq>(segments: &mut Vec<Segment<T>>, at_ns: u64, value: T) {
    if let Some(last) = segments.last_mut() {
        if last.value == value {
            return;
        }
        last.to_ns = at_ns;
    }
    segments.push(Segment { from_ns: at_ns, to_ns: at_ns, value });
}

fn end<T>(segments: &mut Vec<Segment<T>>, end_ns: u64) {
    if let Some(last) = segments.last_mut() {
        last.to_ns = end_ns.max(last.from_ns);
    }
    segments.retain(|segment| segment.to_ns > segment.from_ns);
}

#[cfg(test)]
mod tests {
    use kchaos_core::Interval;

    use super::*;

    fn saw(at: u64, what: Observed) -> Observation {
        Observation { when: Interval { after_ns: at.saturating_sub(1), before_ns: at.max(1) }, source: "zookeeper:z1".into(), what }
    }

    fn state(at: u64, leader: Option<i32>, leader_epoch: i32, isr: &[i32]) -> Observation {
        saw(at, Observed::PartitionState { key: 0, leader, leader_epoch, isr: isr.to_vec(), controller_epoch: 1 })
    }

    fn mode(at: u64, host: &str, mode: &str) -> Observation {
        saw(at, Observed::ZooKeeperMode { host: host.into(), mode: mode.into(), zxid: None })
    }

    #[test]
    fn a_leader_holds_until_the_next_and_the_first_from_the_beginning() {
        let strips = strips(
            &[state(0, Some(1), 4, &[2, 1]), state(50, Some(1), 4, &[1]), state(60, None, 5, &[1]), state(80, Some(2), 6, &[2])],
            100,
        );
        let leaders: Vec<_> = strips.partitions[&0].leaders.iter().map(|s| (s.from_ns, s.to_ns, s.value)).collect();
        assert_eq!(leaders, [(0, 60, (Some(1), 4)), (60, 80, (None, 5)), (80, 100, (Some(2), 6))]);
        assert_eq!(strips.partitions[&0].isr_max, 2);
        assert_eq!(strips.brokers, [1, 2]);
    }

    #[test]
    fn the_newest_that_says_it_leads_is_zookeepers_leader() {
        let timeline =
            [mode(0, "z1", "follower"), mode(0, "z2", "leader"), mode(40, "z1", "leader"), mode(50, "z2", "none"), mode(70, "z1", "none")];
        let zookeeper: Vec<_> = strips(&timeline, 100).zookeeper.into_iter().map(|s| (s.from_ns, s.to_ns, s.value)).collect();
        assert_eq!(zookeeper, [(0, 40, Some("z2".to_owned())), (40, 70, Some("z1".to_owned())), (70, 100, None)]);
    }
}
