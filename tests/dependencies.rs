//! What is linked into kchaos, held against deny.toml in every `cargo test`: a licence that nobody looked at, a source that is no registry or a crate
//! that is banned fails here, and not only in `make audit`, which needs cargo-deny.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, LicenseReq, ParseMode};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn deny() -> toml::Table {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    text.parse().expect("deny.toml is TOML")
}

fn words(table: &toml::Table, section: &str, key: &str) -> Vec<String> {
    table[section][key].as_array().expect("a list").iter().map(|one| one.as_str().expect("a string").to_owned()).collect()
}

/// Of the one platform that there are binaries for.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .expect("cargo metadata");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let linked: Vec<&str> = metadata["resolve"]["nodes"].as_array().expect("nodes").iter().filter_map(|node| node["id"].as_str()).collect();
    let all = metadata["packages"].as_array().expect("packages");
    all.iter().filter(|package| package["id"].as_str().is_some_and(|id| linked.contains(&id))).cloned().collect()
}

fn is_allowed(allowed: &[String], requirement: &LicenseReq) -> bool {
    allowed.contains(&requirement.to_string())
}

#[test]
fn every_licence_is_one_that_was_looked_at() {
    let allowed = words(&deny(), "licenses", "allow");
    let mut refused = Vec::new();
    for package in packages().iter().filter(|package| !package["source"].is_null()) {
        let licence = package["license"].as_str().unwrap_or("none");
        let expression = Expression::parse_mode(licence, ParseMode::LAX);
        if !expression.is_ok_and(|expression| expression.evaluate(|requirement| is_allowed(&allowed, requirement))) {
            refused.push(format!("{} {}: {licence}", package["name"], package["version"]));
        }
    }
    assert!(refused.is_empty(), "not in deny.toml's [licenses]: {refused:#?}");
}

#[test]
fn everything_comes_from_the_registry_or_is_ours() {
    let registries = words(&deny(), "sources", "allow-registry");
    for package in packages() {
        let Some(source) = package["source"].as_str() else {
            assert!(package["name"].as_str().is_some_and(|name| name.starts_with("kchaos")), "{} is from a path", package["name"]);
            continue;
        };
        assert!(registries.iter().any(|registry| source == format!("registry+{registry}")), "{} comes from {source}", package["name"]);
    }
}

#[test]
fn nothing_that_is_banned_is_linked() {
    let table = deny();
    let banned: Vec<&str> = table["bans"]["deny"].as_array().expect("a list").iter().filter_map(|one| one["crate"].as_str()).collect();
    for package in packages() {
        assert!(!package["name"].as_str().is_some_and(|name| banned.contains(&name)), "{} is banned by deny.toml", package["name"]);
    }
}

#[test]
fn a_licence_of_which_one_side_is_allowed_is_allowed_and_one_of_which_both_are_asked_is_not() {
    let allowed = ["MIT".to_owned()];
    let judge = |text: &str| Expression::parse_mode(text, ParseMode::LAX).unwrap().evaluate(|one| is_allowed(&allowed, one));
    assert!(judge("MIT OR GPL-3.0-only"));
    assert!(judge("MIT/Apache-2.0"));
    assert!(!judge("MIT AND GPL-3.0-only"));
    assert!(!judge("GPL-3.0-only"));
}
