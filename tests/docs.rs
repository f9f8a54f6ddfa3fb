//! The book: docs/README.md is its table of contents, and no link in it leads nowhere.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

#[test]
fn every_page_stands_in_the_table_of_contents() {
    let contents = read(&root().join("docs/README.md"));
    let listed: HashSet<String> = links(&contents).into_iter().map(|(_, link)| link).collect();
    for page in pages().iter().filter(|page| page.starts_with(root().join("docs"))) {
        let name = page.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(
            name == "README.md" || listed.contains(name),
            "docs/{name} is not in docs/README.md: add a line to the table where it belongs"
        );
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for page in pages() {
        for (line, link) in links(&read(&page)) {
            if let Err(why) = follow(&page, &link) {
                wrong.push(format!("{}:{line}: ({link}) {why}", page.strip_prefix(root()).expect("ours").display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn headings_become_anchors_as_github_makes_them() {
    for (heading, anchor) in [
        ("## Before: `kchaos doctor`", "before-kchaos-doctor"),
        ("### `wait-migration`", "wait-migration"),
        ("# Fault × target: where it was proved", "fault--target-where-it-was-proved"),
        ("## [Whose](clients.md) library", "whose-library"),
        ("## 2. The inventory, by asking", "2-the-inventory-by-asking"),
        ("## `G1c`, `G1c-process`", "g1c-g1c-process"),
    ] {
        assert_eq!(anchors(heading), HashSet::from([anchor.to_owned()]));
    }
    assert_eq!(anchors("# A\n## A\n```\n# no heading\n```"), HashSet::from(["a".to_owned(), "a-1".to_owned()]));
}

#[test]
fn links_in_code_are_none() {
    let text = "[a](b.md) `[c](d.md)` [e](https://f.example)\n```\n[g](h.md)\n```\n![i](j.png)\n[k](l.md#m)";
    let found: Vec<_> = links(text);
    assert_eq!(found, [(1, "b.md".to_owned()), (5, "j.png".to_owned()), (6, "l.md#m".to_owned())]);
}

/// What scripts/tutorials.sh does in full, and takes a build for: here, that what a tutorial changes still stands where it says.
#[test]
fn what_tutorials_put_in_still_fits_and_what_they_make_is_not_there_yet() {
    let mut blocks = 0;
    for page in pages().iter().filter(|page| page.to_string_lossy().contains("/write-a-")) {
        for (words, lines) in fenced(&read(page)) {
            let path = |marked: &str| words.split_once(marked).map(|(_, path)| root().join(path));
            if let Some(file) = path(" file=") {
                assert!(!file.exists(), "{}: {} is there already", page.display(), file.display());
            } else if let Some(file) = path(" in=") {
                let context: Vec<&str> =
                    lines.iter().filter(|line| !line.starts_with('+')).map(|line| line.get(1..).unwrap_or("")).collect();
                let text = read(&file);
                let stands: Vec<&str> = text.lines().collect();
                let found = stands.windows(context.len()).filter(|window| *window == context.as_slice()).count();
                assert_eq!(found, 1, "{}: {context:?} stands so often in {}", page.display(), file.display());
            } else {
                continue;
            }
            blocks += 1;
        }
    }
    assert!(blocks >= 12, "{blocks}");
}

/// Blocks of code: the words behind the fence, and the lines.
fn fenced(text: &str) -> Vec<(String, Vec<String>)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, Vec<String>)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(words), None) => open = Some((words.to_owned(), Vec::new())),
            (None, Some((_, lines))) => lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    blocks
}

/// Every page that people read: of the book, and those it is read beside.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<_> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "results/README.md"].map(|name| root().join(name)).into();
    let docs = std::fs::read_dir(root().join("docs")).expect("docs").map(|entry| entry.expect("entry").path());
    pages.extend(docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    pages.sort();
    pages
}

fn follow(page: &Path, link: &str) -> Result<(), String> {
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let target = if file.is_empty() { page.to_owned() } else { page.parent().expect("a directory").join(file) };
    if !target.exists() {
        return Err(format!("leads to {}, which is not there", target.display()));
    }
    let Some(anchor) = anchor else { return Ok(()) };
    let there = anchors(&read(&target));
    if there.contains(anchor) {
        return Ok(());
    }
    let mut there: Vec<_> = there.into_iter().collect();
    there.sort_unstable();
    Err(format!("has no heading #{anchor}, but {}", there.join(", ")))
}

/// The relative links of a page and the lines in which they stand, those in code left out.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        // What stands between an odd and an even backtick is code.
        let line: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for rest in line.split("](").skip(1) {
            let link = rest.split([')', ' ']).next().unwrap_or_default();
            if !link.contains("://") && !link.starts_with("mailto:") {
                links.push((number, link.to_owned()));
            }
        }
    }
    links
}

/// The anchors that a page's headings have, as GitHub and most others make them.
fn anchors(text: &str) -> HashSet<String> {
    let mut anchors = HashSet::new();
    for (_, line) in prose(text).filter(|(_, line)| line.trim_start_matches('#').starts_with(' ') && line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim();
        let words: String = heading
            .split("](")
            .enumerate()
            .map(|(at, part)| if at == 0 { part } else { part.split_once(')').map_or("", |(_, after)| after) })
            .collect();
        let kept = words.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
        let slug = kept.replace(' ', "-");
        let again = (1..).map(|n| format!("{slug}-{n}"));
        let free = std::iter::once(slug.clone()).chain(again).find(|slug| !anchors.contains(slug));
        anchors.extend(free);
    }
    anchors
}

/// The lines outside of fenced code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        (!fenced && !is_fence).then_some((at + 1, line))
    })
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
