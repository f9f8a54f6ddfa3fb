//! The rules, each of which says what is wrong and where.

use std::collections::BTreeSet;

use super::scan::{Element, Page};

/// Classes that colour text by what it says.
const TONES: [&str; 9] = ["good", "bad", "warn", "mark", "alarm", "caution", "judged", "error", "verdict"];
const SIGNS: [char; 8] = ['✓', '✗', '?', '!', '▸', '▼', '≈', '–'];

pub(super) fn broken(page: &Page) -> Vec<String> {
    let mut wrong = page.broken.clone();
    head(page, &mut wrong);
    outline(page, &mut wrong);
    landmarks(page, &mut wrong);
    tables(page, &mut wrong);
    pictures(page, &mut wrong);
    controls(page, &mut wrong);
    ways(page, &mut wrong);
    nothing_from_elsewhere(page, &mut wrong);
    tones(page, &mut wrong);
    wrong
}

fn name_of(page: &Page, nth: usize, element: &Element) -> String {
    element.get("aria-label").map_or_else(|| page.text_of(nth), str::to_owned)
}

fn head(page: &Page, wrong: &mut Vec<String>) {
    if !page.named("html").any(|(_, html)| html.get("lang").is_some_and(|lang| !lang.is_empty())) {
        wrong.push("no language".to_owned());
    }
    let is_titled = page.named("title").any(|(nth, title)| page.elements[title.parent].name == "head" && !page.text_of(nth).is_empty());
    if !is_titled {
        wrong.push("no title".to_owned());
    }
    let meta = |name: &str| page.named("meta").find(|(_, meta)| meta.get("name") == Some(name)).and_then(|(_, meta)| meta.get("content"));
    match meta("viewport") {
        None => wrong.push("no viewport: a telephone shows it small".to_owned()),
        Some(content) if content.contains("scalable") || content.contains("maximum") => wrong.push("it cannot be made larger".to_owned()),
        Some(_) => {}
    }
    if meta("color-scheme") != Some("light dark") {
        wrong.push("no color-scheme: a dark page flashes white".to_owned());
    }
}

/// One heading of all, and none that skips a level downwards.
fn outline(page: &Page, wrong: &mut Vec<String>) {
    let mut before = 0;
    for (nth, element) in page.elements.iter().enumerate() {
        let Some(level) = element.name.strip_prefix('h').and_then(|level| level.parse::<u32>().ok()) else { continue };
        if level > before + 1 {
            wrong.push(format!("h{level} after h{before}: {}", page.text_of(nth)));
        }
        if page.text_of(nth).is_empty() {
            wrong.push(format!("h{level} without a word"));
        }
        before = level;
    }
    let first = page.named("h1").count();
    if first != 1 {
        wrong.push(format!("{first} h1"));
    }
}

fn landmarks(page: &Page, wrong: &mut Vec<String>) {
    let mains = page.named("main").count();
    if mains != 1 {
        wrong.push(format!("{mains} main"));
    }
    for name in ["nav", "form", "aside"] {
        let of: Vec<_> = page.named(name).collect();
        if of.len() > 1 && of.iter().any(|(_, element)| element.get("aria-label").is_none()) {
            wrong.push(format!("several of {name} without a name"));
        }
    }
    // What comes before the content can be passed over.
    let has_nav = page.named("nav").any(|(nth, _)| page.around(nth).all(|around| around.name != "main"));
    let skips = page.elements.iter().find(|element| element.name == "a").is_some_and(|link| link.has_class("skip"));
    if has_nav && !skips {
        wrong.push("the first link does not lead past the navigation".to_owned());
    }
    // Whatever is shown is within a landmark.
    for (_, body) in page.named("body") {
        for content in &body.content {
            let super::scan::Content::Element(child) = content else { continue };
            let child = &page.elements[*child];
            if !matches!(child.name.as_str(), "header" | "nav" | "main" | "footer" | "script") && !child.has_class("skip") {
                wrong.push(format!("outside all landmarks: {}", child.told()));
            }
        }
    }
}

fn tables(page: &Page, wrong: &mut Vec<String>) {
    for (nth, table) in page.named("table") {
        match page.children(nth).next() {
            Some((caption, element)) if element.name == "caption" && !page.text_of(caption).is_empty() => {}
            _ => wrong.push(format!("no caption: {}", table.told())),
        }
    }
    for (nth, head) in page.named("th") {
        if !matches!(head.get("scope"), Some("col" | "row" | "rowgroup" | "colgroup")) {
            wrong.push(format!("no scope: <th> {}", page.text_of(nth)));
        }
        if page.text_of(nth).is_empty() {
            wrong.push(format!("a head without a word: {}", head.told()));
        }
    }
    // A row of figures without its name is read as figures.
    for (nth, row) in page.named("tr").filter(|(_, row)| page.elements[row.parent].name != "thead") {
        if !page.children(nth).any(|(_, cell)| cell.name == "th") {
            wrong.push(format!("no head of its own: {} {}", row.told(), page.text_of(nth).chars().take(60).collect::<String>()));
        }
    }
}

fn pictures(page: &Page, wrong: &mut Vec<String>) {
    for (nth, picture) in page.named("svg") {
        let is_inner = page.around(nth).any(|around| around.name == "svg");
        let is_named = picture.get("role") == Some("img") && picture.get("aria-label").is_some_and(|label| !label.is_empty());
        if !is_inner && !is_named && picture.get("aria-hidden") != Some("true") {
            wrong.push(format!("neither a name nor hidden: {}", picture.told()));
        }
    }
    for (nth, image) in page.named("img") {
        if image.get("alt").is_none() {
            wrong.push(format!("no alt: {} {nth}", image.told()));
        }
    }
    // A reader of screens does not go into a picture, so nothing in it may take the focus.
    for (nth, element) in page.elements.iter().enumerate() {
        let takes_focus = element.name == "a" || element.get("tabindex") == Some("0");
        if takes_focus && element.get("tabindex") != Some("-1") && page.around(nth).any(|around| around.name == "svg") {
            wrong.push(format!("can be reached within a picture: {}", element.told()));
        }
    }
    for (_, frame) in page.named("iframe") {
        if frame.get("title").is_none_or(str::is_empty) {
            wrong.push(format!("a frame without a title: {}", frame.told()));
        }
    }
}

fn controls(page: &Page, wrong: &mut Vec<String>) {
    for (nth, element) in page.elements.iter().enumerate() {
        let is_labelled = || page.around(nth).any(|around| around.name == "label") || element.get("aria-label").is_some();
        let label_of = || element.get("id").is_some_and(|id| page.named("label").any(|(_, label)| label.get("for") == Some(id)));
        match element.name.as_str() {
            "input" | "select" | "textarea" if element.get("type") != Some("hidden") && !is_labelled() && !label_of() => {
                wrong.push(format!("no label: {}", element.told()));
            }
            "button" if name_of(page, nth, element).is_empty() => wrong.push(format!("no label: {}", element.told())),
            "label" if page.text_of(nth).is_empty() => wrong.push(format!("no label: {}", element.told())),
            "details" if page.children(nth).next().is_none_or(|(of, first)| first.name != "summary" || page.text_of(of).is_empty()) => {
                wrong.push(format!("details without a summary: {}", element.told()));
            }
            _ => {}
        }
        match element.get("tabindex") {
            Some("0") if element.get("role").is_none() || element.get("aria-label").is_none_or(str::is_empty) => {
                wrong.push(format!("can be reached and has no name or role: {}", element.told()));
            }
            None | Some("0" | "-1") => {}
            Some(_) => wrong.push(format!("an order of its own: {}", element.told())),
        }
    }
}

/// Every id once, and whatever names one finds it.
fn ways(page: &Page, wrong: &mut Vec<String>) {
    let mut ids = BTreeSet::new();
    for id in page.elements.iter().filter_map(|element| element.get("id")) {
        if !ids.insert(id) {
            wrong.push(format!("id {id} twice"));
        }
    }
    let mut wanted: Vec<&str> = Vec::new();
    for (nth, element) in page.elements.iter().enumerate() {
        wanted.extend(element.get("href").and_then(|to| to.strip_prefix('#')));
        for attribute in ["for", "aria-labelledby", "aria-describedby", "aria-controls"] {
            wanted.extend(element.get(attribute).into_iter().flat_map(str::split_whitespace));
        }
        for attribute in ["fill", "stroke", "clip-path"] {
            wanted.extend(element.get(attribute).and_then(|of| of.strip_prefix("url(#")?.strip_suffix(')')));
        }
        if element.name == "a" && name_of(page, nth, element).is_empty() {
            wrong.push(format!("a link without a word: {}", element.told()));
        }
    }
    wrong.extend(wanted.into_iter().filter(|id| !ids.contains(id)).map(|id| format!("leads nowhere: #{id}")));
}

fn nothing_from_elsewhere(page: &Page, wrong: &mut Vec<String>) {
    for (nth, element) in page.elements.iter().enumerate() {
        for attribute in ["href", "src", "action", "data", "srcset"] {
            let to = element.get(attribute).unwrap_or_default();
            if to.starts_with("//") || to.starts_with("javascript:") || to.contains("://") {
                wrong.push(format!("from elsewhere: {}", element.told()));
            }
        }
        if element.get("style").is_some() {
            wrong.push(format!("a style of its own, which no theme knows: {}", element.told()));
        }
        if element.name == "style" {
            let text = page.text_of(nth);
            if text.contains("@import") || text.contains("://") || text.matches("url(").count() != text.matches("url(#").count() {
                wrong.push("a style from elsewhere".to_owned());
            }
        }
    }
}

/// A number that is red is a number to who does not see red.
fn tones(page: &Page, wrong: &mut Vec<String>) {
    for (nth, element) in page.elements.iter().enumerate() {
        let is_toned = TONES.iter().any(|tone| element.has_class(tone)) && page.around(nth).all(|around| around.name != "svg");
        let text = page.text_of(nth);
        if is_toned && !text.chars().any(|c| c.is_alphabetic() || SIGNS.contains(&c)) {
            wrong.push(format!("by colour alone: {} {text}", element.told()));
        }
    }
}
