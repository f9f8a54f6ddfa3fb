use proptest::prelude::*;

use super::*;
use crate::target::tests::{WHOLE, inventory, view};

/// The grudge of `seed` on hosts with a broker and a ZooKeeper each.
fn drawn(target: &Target, hosts: i32, down_max: usize, seed: u64) -> Result<Grudge, String> {
    let (inventory, view) = (inventory(hosts, down_max), view(hosts, &[(1, WHOLE), (2, WHOLE)]));
    draw(&Scene { inventory: &inventory, view: &view, topics: &[], taken: &[], coordinator: None }, target, seed)
}

fn refused(target: &Target, hosts: i32, down_max: usize, why: &str) {
    let said = drawn(target, hosts, down_max, 1).unwrap_err();
    assert!(said.contains(why), "{said}");
}

#[test]
fn halves_cut_the_smaller_side_from_all_others() {
    let grudge = drawn(&Target::Halves, 5, 2, 1).unwrap();
    assert_eq!(grudge.len(), 2);
    assert!(grudge.values().all(|from| from.len() == 3 && from.iter().all(|host| !grudge.contains_key(host))));
}

#[test]
fn a_bridge_is_cut_from_nobody() {
    let grudge = drawn(&Target::Bridge, 5, 2, 1).unwrap();
    assert_eq!((grudge.len(), grudge.values().map(BTreeSet::len).collect::<Vec<_>>()), (2, vec![2, 2]));
}

#[test]
fn in_a_ring_each_sees_a_majority_and_grudges_are_mutual() {
    for hosts in 4..=9 {
        let grudge = drawn(&Target::Ring, hosts, 1, 1).unwrap();
        let hosts = usize::try_from(hosts).unwrap();
        let mut views = BTreeSet::new();
        for (host, from) in &grudge {
            assert!(hosts - from.len() > hosts / 2, "{grudge:?}");
            assert!(from.iter().all(|other| grudge[other].contains(host)));
            views.insert(from.clone());
        }
        assert_eq!((grudge.len(), views.len()), (hosts, hosts), "no two see the same");
    }
}

#[test]
fn what_cannot_be_divided_is_refused() {
    refused(&Target::Ring, 3, 1, "needs four hosts");
    refused(&Target::Halves, 1, 1, "cannot be divided");
    refused(&Target::Bridge, 2, 1, "cannot be divided");
    refused(&Target::Halves, 5, 1, "hosts_down_max is 1");
}

#[test]
fn hosts_with_one_address_are_not_told_apart() {
    let (mut inventory, view) = (inventory(6, 2), view(6, &[(1, WHOLE)]));
    for host in &mut inventory.hosts {
        host.address = "192.0.2.1".to_owned();
    }
    let scene = Scene { inventory: &inventory, view: &view, topics: &[], taken: &[], coordinator: None };
    for target in [Target::Halves, Target::Ring, Target::Bridge] {
        let said = draw(&scene, &target, 1).unwrap_err();
        assert!(said.contains("both are reached at 192.0.2.1"), "{said}");
    }
}

#[test]
fn the_side_with_the_last_in_sync_replica_is_not_cut_off() {
    let (inventory, view) = (inventory(3, 1), view(3, &[(2, &[2])]));
    let scene = Scene { inventory: &inventory, view: &view, topics: &[], taken: &[], coordinator: None };
    for seed in 0..40 {
        assert!(!draw(&scene, &Target::Halves, seed).unwrap().contains_key("h2"));
    }
}

proptest! {
    #[test]
    fn one_seed_draws_one_partition_and_the_guards_agree(hosts in 1..9i32, seed: u64) {
        for target in [Target::Halves, Target::Ring, Target::Bridge] {
            let grudge = drawn(&target, hosts, 4, seed);
            prop_assert_eq!(&grudge, &drawn(&target, hosts, 4, seed));
            for (host, from) in grudge.iter().flatten() {
                prop_assert!(!from.is_empty() && !from.contains(host));
            }
        }
    }
}
