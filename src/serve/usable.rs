//! The pages by the rules of `crate::usable`.

use super::tests::{HOST, INVALID, OF_SUITE, get, site};
use super::*;
use crate::report::fixture::Variant;
use crate::runs::tests::{made_up, results, save};
use crate::usable::style::{Pair, SHAPE, Sheet, TEXT};

/// What is drawn on what.
pub(crate) const PAIRS: &[Pair<'_>] = &[
    ("ink", "ground", TEXT),
    ("ink", "card", TEXT),
    ("ink", "valid-ground", TEXT),
    ("ink", "invalid-ground", TEXT),
    ("ink", "unknown-ground", TEXT),
    ("ink", "running-ground", TEXT),
    ("muted", "ground", TEXT),
    ("muted", "card", TEXT),
    ("muted", "valid-ground", TEXT),
    ("muted", "invalid-ground", TEXT),
    ("muted", "unknown-ground", TEXT),
    ("muted", "running-ground", TEXT),
    ("link", "ground", TEXT),
    ("link", "card", TEXT),
    ("link", "valid-ground", TEXT),
    ("link", "invalid-ground", TEXT),
    ("link", "unknown-ground", TEXT),
    ("link", "running-ground", TEXT),
    ("valid", "ground", TEXT),
    ("valid", "card", TEXT),
    ("valid", "valid-ground", TEXT),
    ("invalid", "ground", TEXT),
    ("invalid", "card", TEXT),
    ("invalid", "invalid-ground", TEXT),
    ("unknown", "ground", TEXT),
    ("unknown", "card", TEXT),
    ("unknown", "unknown-ground", TEXT),
    ("running", "ground", TEXT),
    ("running", "card", TEXT),
    ("running", "running-ground", TEXT),
    // Lines of charts, which bear their names in the same colour.
    ("a", "card", TEXT),
    ("b", "card", TEXT),
    ("c", "card", TEXT),
    ("muted", "ground", SHAPE),
];

#[test]
fn what_is_drawn_can_be_told_from_what_it_is_drawn_on() {
    // Hairlines between rows and within charts.
    Sheet::of("serve/style.css", STYLE).hold(PAIRS, &["line", "grid"]);
}

/// A run that goes on, by this process.
fn going_on(results: &tempfile::TempDir) -> String {
    let name = "20261124T064012Z-append-3-nemeses";
    let path = results.path().join(name);
    let mut data = made_up(Variant::Valid);
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    data.plan.facts.insert("started_by".into(), format!("somebody@{}, pid {}", machine.trim(), std::process::id()));
    data.faults.truncate(data.faults.len() - 1);
    save(&path, data);
    std::fs::remove_file(path.join("verdict.json")).unwrap();
    // Its clock began a moment ago: whoever lives longer than a run is not the one that began it.
    let plan = std::fs::read_to_string(path.join("plan.json")).unwrap();
    let mut plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    plan["started_at_unix_ns"] = chrono::Utc::now().timestamp_nanos_opt().into();
    std::fs::write(path.join("plan.json"), plan.to_string()).unwrap();
    name.to_owned()
}

#[test]
fn every_page_is_usable_without_eyes_colours_or_a_mouse() {
    let results = results();
    let running = going_on(&results);
    let logs = results.path().join(INVALID).join("logs/b1");
    std::fs::create_dir_all(&logs).unwrap();
    std::fs::write(logs.join("server.log"), "[2026-11-22 06:40:24,500] ERROR late\n").unwrap();
    let site = site(&results);
    for url in [
        "/".to_owned(),
        "/?verdict=internal".to_owned(),
        "/?verdict=nonsense".to_owned(),
        "/trend".to_owned(),
        "/trend?nemesis=no-such".to_owned(),
        format!("/runs/{INVALID}/"),
        format!("/runs/{OF_SUITE}/"),
        format!("/runs/{INVALID}/logs"),
        format!("/runs/{INVALID}/live"),
        format!("/runs/{running}/live"),
        format!("/runs/{running}/live?renew=no"),
        format!("/runs/{running}/about"),
        "/runs/20261123T020000Z-queue-none/".to_owned(),
        "/runs/20261123T030000Z-append-none/".to_owned(),
        format!("/compare?run={INVALID}&run=20261121T064012Z-append-3-nemeses"),
        "/nowhere".to_owned(),
        "/compare".to_owned(),
    ] {
        crate::usable::page(&url, &get(&site, &url).1);
    }
}

#[test]
fn a_page_that_renews_itself_can_be_stopped_and_its_title_says_how_it_goes() {
    let results = results();
    let running = going_on(&results);
    let site = site(&results);
    let (_, live) = get(&site, &format!("/runs/{running}/live"));
    assert!(live.contains("http-equiv=\"refresh\"") && live.contains("<a href=\"live?renew=no\">Stop renewing</a>"), "{live}");
    assert!(live.contains(", in force: "), "{live}");
    let (_, still) = get(&site, &format!("/runs/{running}/live?renew=no"));
    assert!(!still.contains("http-equiv=\"refresh\"") && still.contains("go on renewing"), "{still}");
}

#[test]
fn what_is_left_out_of_the_logs_is_said_and_can_be_had() {
    let results = results();
    let logs = results.path().join(INVALID).join("logs/z1");
    std::fs::create_dir_all(&logs).unwrap();
    let looks = "2026-11-22 06:40:24,500 [myid:1] - INFO  [x] - Processing srvr command from /10.0.0.1:40312\n".repeat(3);
    std::fs::write(logs.join("zookeeper.log"), format!("{looks}2026-11-22 06:40:24,600 [myid:1] - WARN  [x] - told\n")).unwrap();
    let site = site(&results);
    let (_, page) = get(&site, &format!("/runs/{INVALID}/logs?at=12.5&zone=%2B00:00"));
    assert!(page.contains("3 lines of kchaos' own looks are hidden"), "{page}");
    assert!(page.contains("href=\"logs?at=12.5&amp;zone=%2B00%3A00&amp;looks=shown\"") && page.contains("told</code>"), "{page}");
    assert!(!page.contains("Processing srvr"), "{page}");
    let (_, page) = get(&site, &format!("/runs/{INVALID}/logs?at=12.5&looks=shown"));
    assert_eq!(page.matches("Processing srvr").count(), 3);
    assert!(page.contains("are shown") && page.contains("href=\"logs?at=12.5\"") && page.contains(" checked>"), "{page}");
    assert_eq!(site.answer("GET", "/", HOST).status, 200);
}
