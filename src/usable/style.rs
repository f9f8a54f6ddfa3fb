//! Style sheets by their custom properties: whether what is drawn can be told from what it is drawn on, in light, in dark and on paper, as WCAG 2.2 counts it
//! (1.4.3: text 4.5 to 1; 1.4.11: whatever else tells something 3 to 1).

use std::collections::BTreeMap;

pub(crate) const TEXT: f64 = 4.5;
pub(crate) const SHAPE: f64 = 3.0;

/// What is drawn, on what, and how far they must be apart. Layers are parted by `/`, the uppermost first; `band*share` is a colour as opaque as the
/// property says: `("muted", "band*band-share / ground", TEXT)`.
pub(crate) type Pair<'a> = (&'a str, &'a str, f64);

type Theme = BTreeMap<String, String>;
type Rgb = [f64; 3];

pub(crate) struct Sheet {
    name: &'static str,
    css: String,
    /// Light, dark, and paper.
    themes: Vec<(&'static str, Theme)>,
}

impl Sheet {
    pub(crate) fn of(name: &'static str, css: &str) -> Self {
        let css = compact(css);
        let light = properties(css.split("@media").next().unwrap_or_default());
        let of = |media: &str| {
            let block = css.split_once(media).map(|(_, rest)| rest.split("@media").next().unwrap_or_default());
            let mut theme = light.clone();
            theme.extend(properties(block.unwrap_or_default()));
            theme
        };
        let dark = of("@media screen and (prefers-color-scheme:dark)");
        let paper = of("@media print");
        Self { name, themes: vec![("light", light), ("dark", dark), ("paper", paper)], css }
    }

    /// Whatever is wrong with it, at once. `ornaments` are colours that tell nothing: hairlines between rows.
    #[track_caller]
    pub(crate) fn hold(&self, pairs: &[Pair<'_>], ornaments: &[&str]) {
        let mut wrong = self.rules();
        wrong.extend(self.contrasts(pairs));
        wrong.extend(self.unnamed(pairs, ornaments).map(|name| format!("--{name}: nobody says on what it is drawn")));
        assert!(wrong.is_empty(), "{}:\n  {}", self.name, wrong.join("\n  "));
    }

    fn contrasts(&self, pairs: &[Pair<'_>]) -> Vec<String> {
        let mut wrong = Vec::new();
        for (theme, properties) in &self.themes {
            for (what, on, least) in pairs {
                let (Some(ground), Some(drawn)) = (color(properties, on), color(properties, &format!("{what} / {on}"))) else {
                    wrong.push(format!("{what} on {on}: no such property"));
                    continue;
                };
                let found = contrast(drawn, ground);
                if found < *least {
                    wrong.push(format!("{theme}: {what} on {on} is {found:.2}, and should be {least}"));
                }
            }
        }
        wrong
    }

    fn rules(&self) -> Vec<String> {
        let css = &self.css;
        let mut wrong = Vec::new();
        for rule in ["@media screen and (prefers-color-scheme:dark)", "@media print", ":focus-visible{", "details::details-content"] {
            if !css.contains(rule) {
                wrong.push(format!("no {rule}"));
            }
        }
        // Nothing moves; who makes something move asks whether it may.
        let moves = ["transition", "animation", "@keyframes", "scroll-behavior"].iter().any(|word| css.contains(word));
        if moves && !css.contains("prefers-reduced-motion") {
            wrong.push("something moves, and nobody asks for prefers-reduced-motion".to_owned());
        }
        // Where the focus is stays seen, but on what only a link within the page leads to.
        for (at, _) in css.match_indices("outline:none") {
            let selector = css[..at].rsplit('}').next().unwrap_or_default();
            if !selector.starts_with("#verdict:focus{") && !selector.starts_with("main:focus{") {
                wrong.push(format!("{selector} hides the focus"));
            }
        }
        let (light, dark) = (&self.themes[0].1, &self.themes[1].1);
        let same = light.iter().filter(|(name, value)| value.starts_with('#') && dark.get(*name) == Some(value));
        wrong.extend(same.map(|(name, _)| format!("--{name} is the same in dark")));
        for used in css.split("var(--").skip(1).map(|rest| rest.split([')', ',']).next().unwrap_or_default()) {
            if !css.contains(&format!("--{used}:")) {
                wrong.push(format!("--{used} is used and not defined"));
            }
        }
        wrong.extend(loose_colors(css).into_iter().map(|color| format!("{color} stands outside of :root, where no theme changes it")));
        wrong
    }

    /// Colours that no pair names.
    fn unnamed<'a>(&'a self, pairs: &'a [Pair<'_>], ornaments: &'a [&str]) -> impl Iterator<Item = &'a str> {
        let is_named = move |name: &str| {
            let is_it = |layers: &str| layers.split('/').any(|layer| layer.trim().split('*').next() == Some(name));
            ornaments.contains(&name) || pairs.iter().any(|(what, on, _)| is_it(what) || is_it(on))
        };
        let colors = self.themes[0].1.iter().filter(|(_, value)| value.starts_with('#')).map(|(name, _)| name.as_str());
        colors.filter(move |name| !is_named(name))
    }
}

/// Without comments, and without blanks where they mean nothing.
fn compact(css: &str) -> String {
    let mut text = String::new();
    let mut rest = css;
    while let Some((before, after)) = rest.split_once("/*") {
        text.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for mark in ["{", "}", ";", ",", ":"] {
        text = text.replace(&format!(" {mark}"), mark).replace(&format!("{mark} "), mark);
    }
    text
}

/// Of all its `:root`.
fn properties(css: &str) -> Theme {
    let blocks = css.split(":root{").skip(1).map(|rest| rest.split('}').next().unwrap_or_default());
    let pairs = blocks.flat_map(|block| block.split(';')).filter_map(|pair| pair.trim().strip_prefix("--")?.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// `#abc` and `#aabbcc` that no `:root` defines.
fn loose_colors(css: &str) -> Vec<String> {
    let mut outside = String::new();
    for (nth, part) in css.split(":root{").enumerate() {
        outside.push_str(if nth == 0 { part } else { part.split_once('}').map_or("", |(_, after)| after) });
    }
    let words = outside.split('#').skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').unwrap_or(rest.len());
        &rest[..end]
    });
    words.filter(|word| matches!(word.len(), 3 | 6) && word.chars().all(|c| c.is_ascii_hexdigit())).map(|word| format!("#{word}")).collect()
}

/// Layers over one another, the lowest of which is opaque.
fn color(theme: &Theme, layers: &str) -> Option<Rgb> {
    let mut below: Option<Rgb> = None;
    for layer in layers.split('/').rev().map(str::trim) {
        let (name, share) = layer.split_once('*').unwrap_or((layer, ""));
        let share = if share.is_empty() { 1.0 } else { theme.get(share)?.parse::<f64>().ok()? };
        let top = rgb(theme.get(name)?)?;
        below = Some(match below {
            Some(below) => std::array::from_fn(|nth| top[nth] * share + below[nth] * (1.0 - share)),
            None => top,
        });
    }
    below
}

fn rgb(text: &str) -> Option<Rgb> {
    let digits: Vec<f64> = text.strip_prefix('#')?.chars().map(|c| c.to_digit(16).map(f64::from)).collect::<Option<_>>()?;
    match digits.as_slice() {
        [r, g, b] => Some([r * 17.0, g * 17.0, b * 17.0]),
        [r, r2, g, g2, b, b2] => Some([r * 16.0 + r2, g * 16.0 + g2, b * 16.0 + b2]),
        _ => None,
    }
}

fn contrast(a: Rgb, b: Rgb) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

fn luminance(rgb: Rgb) -> f64 {
    let [r, g, b] = rgb.map(|value| {
        let value = value / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSS: &str = ":root { --ground: #fff; --ink: #767676; --pale: 0.5; }\n@media screen and (prefers-color-scheme: dark) { :root { --ground: #000; --ink: #777; } }\n\
        a { color: var(--ink); } :focus-visible { outline: 1px; }\n@media print { :root { --ground: #eee; } details::details-content { height: auto; } }";

    #[test]
    fn contrasts_are_those_of_wcag() {
        // The examples that everybody knows: black on white is 21, and #767676 is the lightest grey that white bears.
        assert!((contrast([0.0; 3], [255.0; 3]) - 21.0).abs() < 1e-9);
        let sheet = Sheet::of("x", CSS);
        let found = sheet.contrasts(&[("ink", "ground", TEXT), ("ink*pale", "ground", 1.9)]);
        assert_eq!(
            found,
            [
                "dark: ink*pale on ground is 1.89, and should be 1.9",
                "paper: ink on ground is 3.91, and should be 4.5",
                "paper: ink*pale on ground is 1.83, and should be 1.9"
            ]
        );
        assert_eq!(sheet.rules(), [""; 0]);
        let unnamed: Vec<&str> = sheet.unnamed(&[("ink", "pale", TEXT)], &[]).collect();
        assert_eq!(unnamed, ["ground"]);
    }

    #[test]
    fn each_rule_of_a_sheet_sees_what_breaks_it() {
        for (more, expect) in [
            ("a { transition: all 1s; }", "prefers-reduced-motion"),
            ("a:focus { outline: none; }", "a:focus{"),
            ("a { color: #123456; }", "#123456 stands outside"),
            ("a { color: var(--none); }", "--none is used"),
        ] {
            let found = Sheet::of("x", &format!("{CSS}\n{more}")).rules();
            assert!(found.iter().any(|wrong| wrong.contains(expect)), "{more}: {found:?}");
        }
        assert!(Sheet::of("x", ":root { --a: #fff; }").rules().len() >= 5);
    }
}
