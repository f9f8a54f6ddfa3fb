//! The report as who cannot see it, cannot see colours, has no mouse, or has it on paper finds it: by the rules of `crate::usable`.

use super::tests::every_anomaly;
use super::*;
use crate::report::fixture::{self, Variant};
use crate::usable::style::{Pair, SHAPE, Sheet, TEXT};

const BAND: &str = "band*band-share / ground";

/// What is drawn on what.
const PAIRS: &[Pair<'_>] = &[
    // Text of the page, of the banner, of findings and of the timeline, through which the bands of the faults go.
    ("ink", "ground", TEXT),
    ("ink", "card", TEXT),
    ("ink", BAND, TEXT),
    ("ink", "valid-ground", TEXT),
    ("ink", "invalid-ground", TEXT),
    ("ink", "unknown-ground", TEXT),
    ("muted", "ground", TEXT),
    ("muted", "card", TEXT),
    ("muted", BAND, TEXT),
    ("muted", "valid-ground", TEXT),
    ("muted", "invalid-ground", TEXT),
    ("muted", "unknown-ground", TEXT),
    ("valid", "ground", TEXT),
    ("valid", "valid-ground", TEXT),
    ("invalid", "ground", TEXT),
    ("invalid", "card", TEXT),
    ("invalid", "invalid-ground", TEXT),
    ("invalid", "unknown-ground", TEXT),
    ("invalid", BAND, TEXT),
    ("unknown", "ground", TEXT),
    ("unknown", "card", TEXT),
    ("unknown", "invalid-ground", TEXT),
    ("unknown", "unknown-ground", TEXT),
    // Text within shapes.
    ("ink", "whole*whole-share / ground", TEXT),
    ("ink", "whole*whole-share / invalid-ground", TEXT),
    ("ink", "band*hit-share / band*band-share / ground", TEXT),
    ("on-short", "short", TEXT),
    ("muted", "fail*pale-share / card", TEXT),
    ("ink", "detection", TEXT),
    ("ink", "election", TEXT),
    ("ink", "propagation", TEXT),
    ("ink", "client", TEXT),
    ("ink", "c0*cell / band*band-share / ground", TEXT),
    ("ink", "c1*cell / band*band-share / ground", TEXT),
    ("ink", "c2*cell / band*band-share / ground", TEXT),
    ("ink", "c3*cell / band*band-share / ground", TEXT),
    ("ink", "c4*cell / band*band-share / ground", TEXT),
    ("ink", "c5*cell / band*band-share / ground", TEXT),
    ("ink", "c6*cell / band*band-share / ground", TEXT),
    ("ink", "c7*cell / band*band-share / ground", TEXT),
    // Shapes and their edges.
    ("ok", BAND, SHAPE),
    ("ok", "card", SHAPE),
    ("ok", "invalid-ground", SHAPE),
    ("info", BAND, SHAPE),
    ("fail", BAND, SHAPE),
    ("fail", "card", SHAPE),
    ("band", BAND, SHAPE),
    ("band*edge-share", BAND, SHAPE),
    ("p50", BAND, SHAPE),
    ("p99", BAND, SHAPE),
    ("max", BAND, SHAPE),
    ("lag", BAND, SHAPE),
    ("unknown", BAND, SHAPE),
    ("muted", BAND, SHAPE),
    ("c0", BAND, SHAPE),
    ("c1", BAND, SHAPE),
    ("c2", BAND, SHAPE),
    ("c3", BAND, SHAPE),
    ("c4", BAND, SHAPE),
    ("c5", BAND, SHAPE),
    ("c6", BAND, SHAPE),
    ("c7", BAND, SHAPE),
    ("before", "ground", SHAPE),
    ("trouble", "ground", SHAPE),
    ("after", "ground", SHAPE),
    ("detection", "ground", SHAPE),
    ("election", "ground", SHAPE),
    ("propagation", "ground", SHAPE),
    ("client", "ground", SHAPE),
    ("ink*mark-share", "ground", SHAPE),
    // Where the focus is.
    ("p50", "ground", SHAPE),
    ("p50", "card", SHAPE),
    ("p50", "valid-ground", SHAPE),
    ("p50", "invalid-ground", SHAPE),
    ("p50", "unknown-ground", SHAPE),
];

#[test]
fn what_is_drawn_can_be_told_from_what_it_is_drawn_on() {
    // Hairlines between rows and figures: the rows are there without them.
    Sheet::of("report/html/style.css", STYLE).hold(PAIRS, &["line", "grid"]);
}

#[test]
fn a_report_is_usable_without_eyes_colours_or_a_mouse() {
    for (name, variant) in [("valid", Variant::Valid), ("invalid", Variant::Invalid), ("unknown", Variant::Unknown)] {
        crate::usable::page(name, &render(&fixture::run(variant)));
    }
    crate::usable::page("every anomaly", &render(&every_anomaly()));
    crate::usable::page("a run that never was", &render(&RunData::default()));
}

#[test]
fn what_only_a_picture_or_a_pointer_told_is_told_in_words_too() {
    let html = render(&fixture::run(Variant::Invalid));
    for expected in [
        "The same in words and figures",
        "<td>partition 0: broker ",
        " replicas in sync",
        "<td>fault 1 kill-leader on b1 in force</td>",
        "<td>fault 1 kill-leader on b1 mended</td>",
        "no write is acknowledged for ",
        "How exact each of them is",
    ] {
        assert!(html.contains(expected), "{expected}");
    }
    // By key as well as by pointer; and unfolded on paper where the style sheet alone cannot.
    for expected in ["Shift", "beforeprint", "aria-live"] {
        assert!(html.contains(expected), "{expected}");
    }
}
