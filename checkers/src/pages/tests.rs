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

/// Packs a page of such values, whose last is certainly committed or not, with a hole or not.
fn pack_page(pages: &mut Pages, number: i64, value_of: impl Fn(i64) -> i64, hole: Option<usize>, committed: bool) -> Vec<(i64, i64, bool)> {
    let mut there = Vec::new();
    for slot in (0..WIDTH).filter(|slot| Some(*slot) != hole) {
        let offset = (number << WIDTH_BITS) + slot as i64;
        let spot = pages.spot(offset).unwrap();
        pages.put(spot, slot as Id);
        if committed || slot != WIDTH - 1 {
            pages.mark_committed(spot);
        }
        pages.mark_seen(spot, Isolation::Committed);
        there.push((offset, value_of(offset), committed || slot != WIDTH - 1));
    }
    let spot = pages.spot(there[0].0).unwrap();
    pages.pack(spot, &there.iter().map(|(_, value, _)| *value).collect::<Vec<_>>());
    there
}

#[test]
fn folded_pages_say_what_single_ones_say_and_come_apart_again() {
    use folded::FOLD;
    let first = 4 * FOLD as i64;
    let mut pages = Pages::default();
    let mut all = Vec::new();
    // In any order; with holes, uncertain values and lines of every slope.
    for at in (0..2 * FOLD as i64).map(|at| (at * 13) % (2 * FOLD as i64)) {
        let (slope, hole) = ([3, 0, -2, 40_000][at as usize % 4], (at % 5 == 0).then_some(at as usize * 3));
        let value_of = move |offset: i64| (offset >> WIDTH_BITS) * 10_000_000 + (offset % WIDTH as i64) * slope + offset % 7;
        all.extend(pack_page(&mut pages, first + at, value_of, hole, at % 3 != 0));
    }
    all.sort_unstable();
    assert_eq!((pages.index.len(), pages.ranges.len(), pages.free_packed.len()), (0, 0, pages.packed.len()), "all are folded");
    assert_eq!(pages.packed().collect::<Vec<_>>(), all);
    for (offset, value, _) in all.iter().step_by(17) {
        assert_eq!(pages.get(*offset), Some(Slot::Packed(*value)));
        let Page::Packed(page) = pages.page(*offset) else { panic!("it is packed") };
        assert_eq!(page.value(place(*offset).1), Some(*value));
        // Where a line stands still, a value stands at several offsets.
        let (_, found) = pages.find_narrow(*value).unwrap();
        assert_eq!(pages.get(found), Some(Slot::Packed(*value)));
    }
    assert_eq!((pages.find_narrow(-1), pages.find_narrow(10_000_000 * (first + 1) - 100)), (None, None));
    let (from, to) = (all[5].0, all[all.len() - 9].0);
    let visible = pages.visible_between(from, to, Isolation::Committed).map(|(offset, _)| offset);
    assert!(visible.eq(all.iter().map(|(offset, ..)| *offset).filter(|offset| from < *offset && *offset < to)));
    assert!(pages.has_holes(first) && !pages.has_holes(first + 1));
    let hole = first << WIDTH_BITS;
    assert!(pages.is_closed_between(hole - 1, hole + 1) && !pages.is_closed_between(hole, hole + 2));

    // One is wanted: its group comes apart for good, the other stays.
    pages.unpack(first + 1, |offset, _, _, _| (offset % WIDTH as i64) as Id);
    assert_eq!((pages.index.len(), pages.ranges.len()), (FOLD, FOLD - 1));
    assert!(matches!(pages.page((first + 1) << WIDTH_BITS), Page::Live(_)));
    let others = |pages: &Pages| {
        pages.packed().collect::<Vec<_>>() == all.iter().copied().filter(|(offset, ..)| place(*offset).0 != first + 1).collect::<Vec<_>>()
    };
    assert!(others(&pages));
    let spot = pages.spot((first + 1) << WIDTH_BITS).unwrap();
    let values: Vec<i64> = all.iter().filter(|(offset, ..)| place(*offset).0 == first + 1).map(|(_, value, _)| *value).collect();
    pages.pack(spot, &values);
    assert_eq!(
        (pages.index.len(), pages.packed().map(|(offset, value, _)| (offset, value)).collect::<Vec<_>>()),
        (FOLD, all.iter().map(|(offset, value, _)| (*offset, *value)).collect())
    );
}

#[test]
fn a_line_that_rises_by_parts_of_a_value_or_steeply_leaves_little_over() {
    let bits_of = |value_at: &dyn Fn(i64) -> i64| {
        let values: Vec<i64> = (0..WIDTH as i64).map(value_at).collect();
        let page = Packed::new(&values, None);
        assert!((0..WIDTH).all(|slot| page.view().value(slot) == Some(values[slot])));
        page.bits
    };
    // As many bits as one record too early or too late needs; a slope of whole numbers would take 7 more.
    assert_eq!(bits_of(&|at| at * 7 / 2), 1);
    assert_eq!(bits_of(&|at| at * 7 / 2 + (at % 4)), 3);
    assert_eq!(bits_of(&|at| at * 1_000_000_000_000 - 5), 0);
    assert_eq!(bits_of(&|at| -at * 1_000_000_000_000), 0);
    // The widest values there are: differences wrap around, and so do their sums.
    assert_eq!(bits_of(&|at| if at % 2 == 0 { i64::MIN } else { i64::MAX }), 1);
    assert_eq!(bits_of(&|at| at * (i64::MAX / 256)), 63);
}

#[test]
fn what_does_not_fit_is_not_folded() {
    let mut pages = Pages::default();
    // Each page is narrow, but they lie far from one another.
    for number in 0..folded::FOLD as i64 {
        pack_page(&mut pages, number, |offset| (offset >> WIDTH_BITS) * (1 << 40) + offset, None, true);
    }
    assert_eq!((pages.index.len(), pages.ranges.len()), (folded::FOLD, folded::FOLD));
    assert_eq!(pages.find_narrow(3 * (1 << 40) + 3 * 256 + 7), Some((3, 3 * 256 + 7)));
}
