//! Writes the first inputs of every fuzz target: `seeds DIRECTORY` makes DIRECTORY/TARGET/*.
//!
//! From the histories of the checkers' tests, and from histories made up here; in git stands how they are made.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use kchaos_columns::Writer;
use kchaos_core::Op;
use kchaos_synth::{Options, Synth, Workload};

fn main() -> Result<(), Box<dyn Error>> {
    let into = PathBuf::from(std::env::args().nth(1).ok_or("seeds DIRECTORY")?);
    for (name, history) in histories()? {
        let lines: Vec<_> = history.lines().collect();
        seed(&into, "jsonl", &name, history.as_bytes())?;
        seed(&into, "history", &name, history.as_bytes())?;
        seed(&into, "edn", &name, edn(&lines).as_bytes())?;
        seed(&into, "history", &format!("{name}.edn"), edn(&lines).as_bytes())?;
        seed(&into, "history", &format!("{name}.zst"), &zstd::encode_all(history.as_bytes(), 3)?)?;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(history.as_bytes())?;
        seed(&into, "history", &format!("{name}.gz"), &gzip.finish()?)?;
        let file = columns(&lines)?;
        seed(&into, "history", &format!("{name}.kcol"), &file)?;
        seed(&into, "columns", &format!("{name}.file"), &[&[0], &file[..]].concat())?;
        // Without the heads of the file and its block, and without the end.
        let body = file.get(20..file.len() - 12).unwrap_or_default();
        seed(&into, "columns", &format!("{name}.block"), &[&[1], body].concat())?;
    }
    for number in 0..64_u64 {
        // Any bytes are a history for the targets that make one of them.
        let bytes: Vec<u8> = (0..32 << (number % 6)).scan(number + 1, |state, _| Some(random(state))).collect();
        seed(&into, "structured", &format!("{number}"), &bytes)?;
        seed(&into, "columns", &format!("{number}"), &[&[2], &bytes[..]].concat())?;
    }
    for (number, inventory) in INVENTORIES.iter().enumerate() {
        seed(&into, "inventory", &number.to_string(), inventory.as_bytes())?;
    }
    Ok(())
}

fn seed(into: &Path, target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let directory = into.join(target);
    fs::create_dir_all(&directory)?;
    fs::write(directory.join(name), bytes)
}

fn random(state: &mut u64) -> u8 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 56) as u8
}

fn histories() -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../checkers/histories"))? {
        let path = entry?.path();
        if let (Some("jsonl"), Some(name)) = (path.extension().and_then(|word| word.to_str()), path.file_stem()) {
            all.push((name.to_string_lossy().into_owned(), fs::read_to_string(&path)?));
        }
    }
    for workload in Workload::ALL {
        for (sends, batch) in [(6, 1), (20, 3)] {
            let (info, fail, holes) = (0.1, 0.1, 0.1);
            let options = Options { workload, sends, batch, info, fail, holes, failed_polls: 0.1, faults: 1, ..Options::default() };
            let mut lines = Vec::new();
            Synth::new(options)?.write(&mut lines)?;
            all.push((format!("{}-{sends}", workload.name()), String::from_utf8(lines)?));
        }
    }
    Ok(all)
}

fn columns(lines: &[&str]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut writer = Writer::new(Vec::new())?;
    for (index, line) in (0..).zip(lines) {
        let (op, ..) = Op::read_json(line.as_bytes())?;
        writer.write(&Op { index, ..op })?;
    }
    Ok(writer.finish()?)
}

/// As Jepsen would write it, nearly: names are keywords, objects are maps. JSON's own commas and colons between them go.
fn edn(lines: &[&str]) -> String {
    fn form(value: &serde_json::Value) -> String {
        let name = |name: &str| if name.parse::<i64>().is_ok() { name.to_owned() } else { format!(":{name}") };
        match value {
            serde_json::Value::Null => "nil".to_owned(),
            serde_json::Value::String(text) if text.bytes().all(|byte| byte.is_ascii_lowercase()) => name(text),
            serde_json::Value::Array(elements) => format!("[{}]", elements.iter().map(form).collect::<Vec<_>>().join(" ")),
            serde_json::Value::Object(fields) => {
                let fields: Vec<_> = fields.iter().map(|(key, value)| format!("{} {}", name(key), form(value))).collect();
                format!("{{{}}}", fields.join(", "))
            }
            other => other.to_string(),
        }
    }
    lines.iter().filter_map(|line| serde_json::from_str(line).ok()).map(|op| form(&op) + "\n").collect()
}

const INVENTORIES: [&str; 2] = [include_str!("seed.toml"), "[cluster]\nname = \"x\"\n[[host]]\nname = 1\n"];
