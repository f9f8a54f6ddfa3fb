//! `kchaos man`: a page for each command, from its help.

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::{Cli, ManArgs};
use crate::exit::{self, Failure};

pub(super) fn run(args: &ManArgs) -> Result<u8, Failure> {
    let pages = pages()?;
    let Some(directory) = &args.dir else {
        crate::say_raw!("{}", pages.first().map_or("", |(_, page)| page));
        return Ok(exit::VALID);
    };
    std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    for (name, page) in &pages {
        let path = directory.join(format!("{name}.1"));
        std::fs::write(&path, page).with_context(|| format!("write {}", path.display()))?;
    }
    eprintln!("{} pages in {}; `man -l {1}/kchaos.1` shows the first", pages.len(), directory.display());
    Ok(exit::VALID)
}

/// By name, `kchaos` first, then `kchaos-lab`, `kchaos-lab-up`, …
fn pages() -> Result<Vec<(String, String)>, Failure> {
    let mut pages = Vec::new();
    add(Cli::command().name("kchaos"), "kchaos", &mut pages)?;
    Ok(pages)
}

fn add(command: Command, name: &str, pages: &mut Vec<(String, String)>) -> Result<(), Failure> {
    let inner: Vec<Command> = command.get_subcommands().filter(|inner| !inner.is_hide_set()).cloned().collect();
    // `kchaos lab up` in the synopsis, kchaos-lab-up as the page's name; a page says what is its own, so no command of help.
    let command = command.disable_help_subcommand(true).bin_name(name.replace('-', " "));
    let mut page = Vec::new();
    // clap wants names that live for ever, and this process ends soon.
    let man = Man::new(command.name(&*name.to_owned().leak())).title(name.to_uppercase()).manual("kchaos");
    man.render(&mut page).context("write a page")?;
    pages.push((name.to_owned(), String::from_utf8_lossy(&page).into_owned()));
    for command in inner {
        let name = format!("{name}-{}", command.get_name());
        add(command, &name, pages)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page_and_internal_ones_have_none() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["kchaos", "kchaos-test", "kchaos-lab-up", "kchaos-inventory-discover", "kchaos-man"] {
            assert!(names.contains(&name), "{names:?}");
        }
        for (name, page) in &pages {
            assert!(page.starts_with(".ie") || page.starts_with(".TH"), "{name}: {page}");
            assert!(!page.contains("lab-init") && !page.contains("lab-disk") && !page.contains("kchaos\\-worker"), "{name}");
        }
    }
}
