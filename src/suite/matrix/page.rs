//! `index.html` of a matrix: one page for a night. A grid of combinations by rounds, then every run with its sentence and its report. Offline, and
//! written after each run, so that it can be looked at while the suite goes on.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::report::{Done, MatrixResult};
use crate::exit;
use crate::report::Esc;

const STYLE: &str = include_str!("page.css");
/// While the suite goes on; who reads slowly stops it by a link.
const RENEW: &str = "setInterval(()=>location.hash===\"#still\"||location.reload(),1e4)";
/// Of those bytes and no others, so that no script of anybody else runs: `printf %s '…' | openssl dgst -sha256 -binary | base64`.
const RENEW_HASH: &str = "sha256-TU14OMc2vyrmQxptk0Yez+kSPyIUX8dQvDyU98QRt+w=";

/// `directory`: whose runs have a report that can be linked to.
pub(super) fn render(result: &MatrixResult, directory: &Path) -> String {
    let mut page = String::new();
    let class = class(result.exit_code);
    let state = if result.is_going_on { "going on" } else { result.verdict };
    let (allowed, renewal, script) = renewal(result.is_going_on);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'{allowed}\">\
         <title>{state}: suite {suite}</title><style>{STYLE}</style></head><body><main>\
         <p class=\"top\"><b>kchaos</b> suite {suite} · {started} · {seconds} s · seed {seed} · kchaos {version}</p>{renewal}\
         <section class=\"verdict {class}\"><h1>{sign} {state}</h1><p>{sentence}</p></section>",
        suite = Esc(&result.suite),
        started = Esc(&result.started_at),
        seconds = result.took_ms / 1_000,
        seed = result.seed,
        version = result.kchaos_version,
        sign = sign(result.exit_code),
        sentence = Esc(&result.sentence),
    );
    grid(&mut page, &result.runs);
    table(&mut page, &result.runs, directory);
    let _ = writeln!(
        page,
        "<p class=\"note\">{} · the same seeds again: <code>seed = {}</code> in <code>[matrix]</code></p></main>{script}</body></html>",
        Esc(&result.file),
        result.seed
    );
    page
}

/// What the policy allows besides, the line that says so, and the script.
fn renewal(is_going_on: bool) -> (String, &'static str, String) {
    if !is_going_on {
        return Default::default();
    }
    let line = "<p class=\"top\" id=\"renewal\">Renewed every 10 s, where scripts run: <a href=\"#still\" id=\"still\">stop renewing</a> · \
                <a href=\"#renewal\">go on renewing</a></p>";
    (format!("; script-src '{RENEW_HASH}'"), line, format!("<script>{RENEW}</script>"))
}

/// Combinations down, rounds across.
fn grid(page: &mut String, runs: &[Done]) {
    let mut rows: Vec<(&str, BTreeMap<u32, &Done>)> = Vec::new();
    for run in runs {
        match rows.iter_mut().find(|(name, _)| *name == run.name) {
            Some((_, rounds)) => {
                rounds.insert(run.round, run);
            }
            None => rows.push((&run.name, BTreeMap::from([(run.round, run)]))),
        }
    }
    let last = runs.iter().map(|run| run.round).max().unwrap_or(0);
    page.push_str(
        "<h2>Combinations and rounds</h2><div class=\"wide\"><table class=\"grid\"><caption>What came of each combination in each round</caption>\
         <thead><tr><th scope=\"col\">combination</th>",
    );
    (1..=last).for_each(|round| {
        let _ = write!(page, "<th scope=\"col\"><span class=\"unseen\">round </span>{round}</th>");
    });
    page.push_str("</tr></thead><tbody>");
    for (name, rounds) in rows {
        let _ = write!(page, "<tr><th scope=\"row\">{}</th>", Esc(name));
        for round in 1..=last {
            let _ = match rounds.get(&round) {
                None => write!(page, "<td class=\"none\">–</td>"),
                Some(run) => write!(
                    page,
                    "<td class=\"{}\"><a href=\"#run-{}\" title=\"{}\"><span class=\"unseen\">{}, round {round}: </span>{} {}</a></td>",
                    class(run.exit_code),
                    run.number,
                    Esc(&run.text),
                    Esc(name),
                    sign(run.exit_code),
                    run.verdict
                ),
            };
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></div>");
}

fn table(page: &mut String, runs: &[Done], directory: &Path) {
    page.push_str(
        "<h2>Runs</h2><div class=\"wide\"><table class=\"runs\"><caption>The runs, in order</caption><thead><tr><th scope=\"col\">run</th><th scope=\"col\">combination</th><th scope=\"col\">verdict</th>\
         <th scope=\"col\">what was found</th><th scope=\"col\">seed</th><th scope=\"col\">took</th><th scope=\"col\">files</th></tr></thead><tbody>",
    );
    for run in runs {
        let _ = write!(
            page,
            "<tr id=\"run-{number}\"><td>{number}</td><th scope=\"row\">{name}</th><td class=\"{class}\">{sign} {verdict}</td><td>{text}\
             <details><summary>command<span class=\"unseen\"> of run {number}</span></summary><code>{command}</code></details></td><td>{seed}</td><td>{seconds} s</td><td>",
            number = run.number,
            name = Esc(&run.name),
            class = class(run.exit_code),
            sign = sign(run.exit_code),
            verdict = run.verdict,
            text = Esc(&run.text),
            command = Esc(&run.command),
            seed = run.seed,
            seconds = run.took_ms / 1_000,
        );
        if !run.run.is_empty() && directory.join(&run.run).join("report.html").exists() {
            let _ =
                write!(page, "<a href=\"{}/report.html\">report<span class=\"unseen\"> of run {}</span></a> ", Esc(&run.run), run.number);
        }
        let _ = write!(page, "<a href=\"{}\">output<span class=\"unseen\"> of run {}</span></a></td></tr>", Esc(&run.output), run.number);
    }
    page.push_str("</tbody></table></div>");
}

/// Colour is never the only sign.
fn sign(code: u8) -> &'static str {
    match code {
        exit::VALID => "✓",
        exit::INVALID => "✗",
        exit::UNKNOWN => "?",
        _ => "!",
    }
}

fn class(code: u8) -> &'static str {
    match code {
        exit::VALID => "valid",
        exit::INVALID | exit::UNHEALED | exit::INTERNAL => "invalid",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_a_night_says_what_came_of_each_combination() {
        let done = |number: usize, name: &str, round: u32, code: u8, text: &str| {
            let mut done = Done {
                number,
                name: name.into(),
                round,
                seed: 7,
                command: "kchaos test --seed=7".into(),
                output: format!("output/{number:03}.txt"),
                ..Done::default()
            };
            done.ends(code, text);
            done
        };
        let mut result = MatrixResult {
            suite: "nightly".into(),
            file: "nightly.toml".into(),
            seed: 42,
            started_at: "2026-11-23T02:00:00Z".into(),
            kchaos_version: "0.1.0",
            took_ms: 61_000,
            runs: vec![
                done(1, "append/kill-leader", 1, exit::VALID, "All 9 acknowledged writes were read back."),
                done(2, "queue/kill-leader", 1, exit::UNKNOWN, "Nothing is proved either way."),
                done(3, "append/kill-leader", 2, exit::INVALID, "2 acknowledged writes are lost (<b>)."),
            ],
            ..MatrixResult::default()
        };
        result.conclude(2, false);
        let page = render(&result, Path::new("/nowhere"));
        crate::usable::page("a night", &page);
        insta::assert_snapshot!(page);
        result.conclude(2, true);
        let page = render(&result, Path::new("/nowhere"));
        crate::usable::page("a night that goes on", &page);
        assert!(page.contains("location.reload()") && page.contains("<a href=\"#still\""), "{page}");
    }

    #[test]
    fn what_is_drawn_can_be_told_from_what_it_is_drawn_on() {
        use crate::usable::style::{Pair, Sheet, TEXT};
        const PAIRS: &[Pair<'_>] = &[
            ("ink", "ground", TEXT),
            ("ink", "card", TEXT),
            ("muted", "ground", TEXT),
            ("muted", "card", TEXT),
            ("link", "ground", TEXT),
            ("link", "card", TEXT),
            ("valid", "card", TEXT),
            ("valid", "valid-ground", TEXT),
            ("invalid", "card", TEXT),
            ("invalid", "invalid-ground", TEXT),
            ("unknown", "card", TEXT),
            ("unknown", "unknown-ground", TEXT),
        ];
        Sheet::of("suite/matrix/page.css", STYLE).hold(PAIRS, &["line"]);
    }
}
