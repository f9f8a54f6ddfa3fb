//! Pages of the book that are made from the registries: what is listed there is what there is, and stays so.
//!
//! Each is a test: with KCHAOS_WRITE_DOCS=1 it writes its page, otherwise it compares. What a registry does not know (what it takes to prove something, where
//! one may read of it) stands here, by name; a name that the registry has and the page has not makes the test fail.

mod anomalies;
mod nemeses;
mod workloads;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Writes the page, or holds it against what is generated.
fn hold(page: &str, generated: &str, test: &str) {
    let path = root().join("docs").join(page);
    let write = format!("KCHAOS_WRITE_DOCS=1 cargo test --workspace --locked --bin kchaos {test}");
    let generated = generated.replacen("\n\n", &format!("\n\n<!-- Made from the registries by {write} -->\n\n"), 1);
    if std::env::var_os("KCHAOS_WRITE_DOCS").is_some() {
        std::fs::write(&path, generated).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    } else {
        assert!(
            std::fs::read_to_string(&path).is_ok_and(|stands| stands == generated),
            "docs/{page} is not what the registries say: {write}"
        );
    }
}

/// Text that may stand in a cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
