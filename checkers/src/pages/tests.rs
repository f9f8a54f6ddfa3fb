//! Of [`super`].

use super::*;

#[test]
fn slots_are_found_at_any_offset_and_ranges_exclude_their_ends() {
    let mut pages = Pages::default();
    let offsets = [0, 1, 255, 256, 1_000_000_000_000, 1 << 60, i64::MAX];
    for (id, offset) in offsets.into_iter().enumerate() {
        let spot = pages.spot(offset).unwrap();
        assert_eq!(pages.put(spot, id as Id), id as Id);
        pages.mark_committed(spot);
    }
    let spot = pages.spot(255).unwrap();
    assert_eq!(pages.put(spot, 99), 2);
    assert_eq!((pages.get(1 << 60), pages.get(2)), (Some(Slot::Live(5)), None));
    let between = |from, to| pages.visible_between(from, to, Isolation::Committed).map(|(offset, _)| offset).collect::<Vec<_>>();
    assert_eq!(between(-1, i64::MAX), offsets[..6]);
    assert_eq!(between(0, 256), [1, 255]);
    assert!(between(1, 255).is_empty());
    assert!(between(5, 5).is_empty());
    assert!(between(i64::MAX, i64::MIN).is_empty());
    let ends = [-1, 0, 1, 2, 63, 64, 254, 255, 256, 257, 1 << 40, i64::MAX - 1, i64::MAX];
    for (from, to) in ends.iter().flat_map(|from| ends.map(|to| (*from, to))) {
        assert_eq!(pages.is_any_visible_between(from, to, Isolation::Committed), !between(from, to).is_empty(), "{from} {to}");
    }
    let mut live = Vec::new();
    pages.each_live(|offset, _| live.push(offset));
    assert_eq!(live, offsets);
    assert_eq!(pages.live.len(), 5);
}

#[test]
fn what_only_the_other_isolation_saw_is_not_visible() {
    let mut pages = Pages::default();
    let spot = pages.spot(7).unwrap();
    pages.put(spot, 1);
    pages.mark_seen(spot, Isolation::Uncommitted);
    assert_eq!(pages.visible_between(0, 9, Isolation::Committed).count(), 0);
    assert_eq!(pages.visible_between(0, 9, Isolation::Uncommitted).count(), 1);
}

#[test]
fn a_page_with_holes_is_packed_behind_the_readers() {
    let mut pages = Pages::default();
    let taken: Vec<i64> = (0..WIDTH as i64).filter(|at| at % 3 != 1 && !(60..70).contains(at)).collect();
    let put = |pages: &mut Pages, base: i64| {
        for at in &taken {
            let spot = pages.spot(base + at).unwrap();
            pages.put(spot, *at as Id);
            pages.mark_committed(spot);
            pages.mark_seen(spot, Isolation::Committed);
            pages.set_done(spot, base == 0);
        }
    };
    put(&mut pages, 0);
    put(&mut pages, 256);
    assert!(pages.done_before(511).is_empty(), "readers are too near");
    let spots = pages.done_before(512);
    assert_eq!(spots.len(), 1);
    let values: Vec<i64> = taken.iter().map(|at| 1000 + 7 * at).collect();
    assert!(!pages.pack(spots[0], &values));
    assert!(pages.done_before(i64::MAX).is_empty(), "of the other page, nothing may be packed");
    let value = |at: i64| taken.contains(&at).then_some(Slot::Packed(1000 + 7 * at));
    assert!((0..256).all(|at| pages.get(at) == value(at)));
    let packed: Vec<_> = pages.packed().map(|(offset, ..)| offset).collect();
    assert_eq!(packed, taken);
    let ends = [-1, 0, 1, 2, 3, 58, 59, 60, 64, 69, 70, 71, 254, 255, 256];
    for (from, to) in ends.iter().flat_map(|from| ends.map(|to| (*from, to))).filter(|(from, to)| from < to) {
        let between: Vec<_> = pages.visible_between(from, to, Isolation::Committed).map(|(offset, _)| offset).collect();
        let expected: Vec<_> = taken.iter().copied().filter(|at| from < *at && *at < to).collect();
        assert_eq!(between, expected, "{from} {to}");
        assert_eq!(pages.is_any_visible_between(from, to, Isolation::Committed), !expected.is_empty());
        assert_eq!(pages.is_closed_between(from, to), expected.is_empty() && to > from + 1, "{from} {to}");
    }
    assert!(!pages.is_closed_between(256, 258), "something may still turn up in a live page");
    assert_eq!(pages.find_narrow(1000 + 7 * 59), Some((0, 59)));
    assert_eq!(pages.find_narrow(1000 + 7 * 60), None);
    assert!(pages.has_holes(0) && !pages.has_holes(1));
    let mut back = Vec::new();
    pages.unpack(0, |offset, value, committed, _| {
        back.push(offset);
        assert!(committed && value == 1000 + 7 * offset);
        offset as Id
    });
    assert_eq!(back, taken);
    assert_eq!((pages.get(0), pages.get(1)), (Some(Slot::Live(0)), None));
}

#[test]
fn a_packed_page_holds_any_values_and_gives_them_back() {
    for (stretch, start) in [(0, 0), (1, 5), (3, -1000), (1 << 40, 7), (i64::MAX, i64::MIN), (-7, 1 << 50)] {
        let values: Vec<i64> = (0..WIDTH as i64).map(|at| (at ^ 5).wrapping_mul(stretch).wrapping_add(start)).collect();
        let mut pages = Pages::default();
        let first = 3 * WIDTH as i64;
        for (slot, _) in values.iter().enumerate() {
            let spot = pages.spot(first + slot as i64).unwrap();
            pages.put(spot, slot as Id);
            if slot != 9 {
                pages.mark_committed(spot);
            }
            pages.mark_seen(spot, Isolation::Uncommitted);
        }
        let spot = pages.spot(first).unwrap();
        assert!(pages.ids(spot).iter().copied().eq(0..WIDTH as Id));
        let is_wide = pages.pack(spot, &values);
        let narrow = values.iter().filter(|value| pages.find_narrow(**value).is_some()).count();
        assert_eq!(narrow, if is_wide { 0 } else { WIDTH });
        assert_eq!(pages.find_packed(0, values[0]).map(|(page, _)| page), Some(3));
        let packed: Vec<_> = pages.packed().collect();
        assert_eq!(packed.iter().map(|(_, value, _)| *value).collect::<Vec<_>>(), values);
        assert_eq!(packed.iter().filter(|(.., committed)| !committed).map(|(offset, ..)| *offset).collect::<Vec<_>>(), [first + 9]);
        assert_eq!(pages.get(first + 9), Some(Slot::Packed(values[9])));
        assert_eq!(pages.visible_between(first + 8, first + 11, Isolation::Committed).count(), 1);
        assert_eq!(pages.visible_between(first + 8, first + 11, Isolation::Uncommitted).count(), 2);
        let found = pages.find_packed(0, values[200]).unwrap();
        assert_eq!(values[(found.1 - first) as usize], values[200]);
        assert!(pages.find_packed(4, values[200]).is_none());
        let mut back = Vec::new();
        pages.unpack(3, |_, value, committed, _| {
            back.push((value, committed));
            back.len() as Id - 1
        });
        assert_eq!(back.iter().map(|(value, _)| *value).collect::<Vec<_>>(), values);
        assert!(!back[9].1 && back[8].1);
        assert!(pages.find_narrow(values[3]).is_none());
        assert_eq!(pages.get(first + 2), Some(Slot::Live(2)));
    }
}
