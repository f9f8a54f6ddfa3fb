//! `kchaos list nemeses --proved FILE`: the table of docs/faults.md, and the records it is made of, taken from runs.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context, anyhow};
use kchaos_core::{FaultEvent, Plan};
use kchaos_nemeses::proved::{Door, Record, merge, records, table};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::exit::{self, Failure};

pub(super) fn run(file: &Path, from: &[impl AsRef<Path>], door: Option<&str>) -> Result<u8, Failure> {
    let door: Option<Door> = door.map(parse_door).transpose()?;
    let mut all = read(file)?;
    for run in from {
        all.extend(of_run(run.as_ref(), door)?);
    }
    let all = merge(all);
    if !from.is_empty() {
        write(file, &all)?;
    }
    crate::say_raw!("{}", table(&all));
    Ok(exit::VALID)
}

fn parse_door(text: &str) -> Result<Door, Failure> {
    serde_json::from_value(Value::from(text))
        .map_err(|_| Failure::usage(anyhow!("--door {text}: scripts, systemd, docker or emulated-kernel")))
}

/// A run's directory says of itself what it ran on; of a file of faults the caller does.
fn of_run(run: &Path, door: Option<Door>) -> Result<Vec<Record>, Failure> {
    if run.is_file() {
        let door = door.ok_or_else(|| Failure::usage(anyhow!("{} is a file: --door says where its faults were proved", run.display())))?;
        let today = chrono::Utc::now().format("%Y-%m-%d").to_string();
        return Ok(records(&lines::<FaultEvent>(run)?, door, &today, env!("CARGO_PKG_VERSION")));
    }
    let path = run.join("plan.json");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let plan: Plan = serde_json::from_str(&text).with_context(|| format!("{} is no plan", path.display()))?;
    let events = lines::<FaultEvent>(&run.join("faults.jsonl"))?;
    let date = plan.started_at.get(..10).unwrap_or_default();
    Ok(records(&events, door.unwrap_or_else(|| door_of(&plan.inventory)), date, &plan.kchaos_version))
}

/// Who manages the daemons of that inventory.
fn door_of(inventory: &Value) -> Door {
    let hosts = inventory["host"].as_array().into_iter().flatten();
    let daemons = hosts.flat_map(|host| host["daemon"].as_array().into_iter().flatten());
    let managers: Vec<&str> = daemons.filter_map(|daemon| daemon["manager"].as_str()).collect();
    managers.first().and_then(|manager| parse_door(manager).ok()).unwrap_or(Door::Scripts)
}

/// No file is no records.
fn read(file: &Path) -> Result<Vec<Record>, Failure> {
    match fs::metadata(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        _ => lines(file),
    }
}

fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Failure> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let numbered = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parsed = numbered.map(|(number, line)| {
        serde_json::from_str(line).with_context(|| format!("{}:{}: not a line of such a file", path.display(), number + 1))
    });
    Ok(parsed.collect::<Result<Vec<T>, _>>()?)
}

/// Beside, and renamed: nobody reads half of it.
fn write(file: &Path, all: &[Record]) -> Result<(), Failure> {
    let scratch = file.with_extension("new");
    let mut text = Vec::new();
    for record in all {
        serde_json::to_writer(&mut text, record).map_err(anyhow::Error::from)?;
        text.push(b'\n');
    }
    let mut out = fs::File::create(&scratch).with_context(|| format!("write {}", scratch.display()))?;
    out.write_all(&text).with_context(|| format!("write {}", scratch.display()))?;
    fs::rename(&scratch, file).with_context(|| format!("write {}", file.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_door_is_that_of_the_inventory_s_daemons() {
        assert_eq!(door_of(&json!({"host": [{"daemon": [{"manager": "systemd"}]}]})), Door::Systemd);
        assert_eq!(door_of(&json!({"host": [{"daemon": [{"kind": "kafka"}]}]})), Door::Scripts);
        assert_eq!(door_of(&json!(null)), Door::Scripts);
        assert!(parse_door("window").is_err());
    }

    #[test]
    fn records_are_added_to_a_file_that_may_not_be_there_yet() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, faults) = (directory.path().join("proved.jsonl"), directory.path().join("faults.jsonl"));
        let event = |moment: &str, proof: &str| {
            format!("{{\"fault_id\":1,\"moment\":\"{moment}\",\"after_ns\":1,\"before_ns\":2,\"nemesis\":\"kill-leader\"{proof}}}\n")
        };
        let proof = ",\"proof\":{\"proved\":true,\"text\":\"gone\"}";
        let life = [("asked", ""), ("in-effect", proof), ("healing", ""), ("healed", proof), ("done", "")];
        fs::write(&faults, life.map(|(moment, proof)| event(moment, proof)).concat()).expect("write faults");
        assert!(run(&file, &[&faults], None).is_err(), "a file of faults says nothing of its door");
        for _twice in 0..2 {
            assert!(run(&file, &[&faults], Some("emulated-kernel")).is_ok());
            let kept = read(&file).expect("records");
            assert_eq!(kept.iter().map(|one| (one.fault.as_str(), one.door)).collect::<Vec<_>>(), [("kill", Door::EmulatedKernel)]);
        }
    }
}
