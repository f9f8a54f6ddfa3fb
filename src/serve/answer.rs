//! Which page an address means, and what goes with every answer.

use std::fs::File;
use std::path::PathBuf;

use serde_json::json;

use super::address::{Address, file_of, is_our_host};
use super::pages;
use super::{STYLE, Site};
use crate::runs::{self, Run, State};

/// Nothing from elsewhere, no script, no frame but our own.
const POLICY: &str = "default-src 'none'; style-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// A report draws itself by a script of its own, and may be somebody else's: it gets a page of nobody's, from which nothing can be asked.
const REPORT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; \
                             frame-ancestors 'self'; sandbox allow-scripts";

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
}

pub(super) enum Body {
    Bytes(Vec<u8>),
    File(File, u64),
    Archive { path: PathBuf, name: String },
}

impl Answer {
    fn new(status: u16, content_type: &str, policy: &str, body: Body) -> Self {
        let headers = vec![
            ("Content-Type", content_type.to_owned()),
            ("Content-Security-Policy", policy.to_owned()),
            ("X-Content-Type-Options", "nosniff".to_owned()),
            ("Cross-Origin-Resource-Policy", "same-origin".to_owned()),
            ("Referrer-Policy", "no-referrer".to_owned()),
            ("Cache-Control", "no-store".to_owned()),
        ];
        Self { status, headers, body }
    }

    pub(super) fn html(status: u16, html: String) -> Self {
        Self::new(status, "text/html; charset=utf-8", POLICY, Body::Bytes(html.into_bytes()))
    }

    fn text(text: String) -> Self {
        Self::new(200, "text/plain; charset=utf-8", POLICY, Body::Bytes(text.into_bytes()))
    }

    fn json(status: u16, value: &serde_json::Value) -> Self {
        let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
        text.push(b'\n');
        Self::new(status, "application/json", POLICY, Body::Bytes(text))
    }

    fn refused(status: u16, title: &str, text: &str) -> Self {
        Self::html(status, pages::plain(title, text))
    }

    fn elsewhere(to: String) -> Self {
        let mut answer = Self::html(303, String::new());
        answer.headers.push(("Location", to));
        answer
    }

    /// Kept on the reader's disk, not shown.
    fn download(mut self, name: &str) -> Self {
        let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
        self.headers.push(("Content-Disposition", format!("attachment; filename=\"{name}\"")));
        self
    }
}

impl Site {
    /// What is answered to a request; `method` is "GET", "HEAD" or another.
    pub(super) fn answer(&self, method: &str, url: &str, host: Option<&str>) -> Answer {
        if !is_our_host(host, &self.hosts) {
            return Answer::refused(
                403,
                "Not under this name",
                "This browser asked for a host name that kchaos was not told of. That is how a foreign page would read what is served here. \
                 Use the address in figures, or start kchaos serve with --host-name NAME.",
            );
        }
        if !matches!(method, "GET" | "HEAD") {
            let mut answer = Answer::refused(405, "Read only", "Only GET and HEAD: nothing is changed here.");
            answer.headers.push(("Allow", "GET, HEAD".to_owned()));
            return answer;
        }
        let Some(address) = Address::of(url) else { return Answer::refused(400, "No such address", "The address cannot be read.") };
        match address.pieces().as_slice() {
            [""] => Answer::html(200, pages::list(self, &address)),
            ["style.css"] => Answer::new(200, "text/css; charset=utf-8", POLICY, Body::Bytes(STYLE.into())),
            ["runs.txt"] => Answer::text(pages::list_text(self, &address)),
            ["trend"] => Answer::html(200, pages::trend(self, &address)),
            ["compare"] => pages::compare(self, &address).unwrap_or_else(|why| Answer::refused(400, "Nothing to compare", &why)),
            ["api", "runs"] => pages::list_json(self, &address)
                .map_or_else(|why| Answer::json(400, &json!({"error": why})), |value| Answer::json(200, &value)),
            ["api", "compare"] => match pages::compared(self, &address) {
                Ok(comparison) => Answer::json(200, &comparison.json()),
                Err(why) => Answer::json(400, &json!({"error": why})),
            },
            ["api", "runs", id] => match self.store.run(id) {
                Some(run) => Answer::json(200, &pages::run_json(&run)),
                None => Answer::json(404, &json!({"error": "no such run"})),
            },
            ["runs", "latest", rest @ ..] => self.latest(rest),
            ["runs", id, rest @ ..] => match self.store.run(id) {
                Some(run) => self.of_run(&run, rest, &address),
                None => Answer::refused(404, "No such run", "It is not in this results directory, or was removed."),
            },
            _ => Answer::refused(404, "No such page", "The list of runs is where everything can be found."),
        }
    }

    fn latest(&self, rest: &[&str]) -> Answer {
        let runs = self.store.runs().unwrap_or_default();
        let Some(newest) = runs.first() else { return Answer::refused(404, "No run yet", "The results directory holds none.") };
        let rest: Vec<String> = rest.iter().map(|piece| super::address::encoded(piece)).collect();
        Answer::elsewhere(format!("{}{}", pages::link_to(newest), rest.join("/")))
    }

    fn of_run(&self, run: &Run, rest: &[&str], address: &Address) -> Answer {
        match rest {
            [] => Answer::elsewhere(pages::link_to(run)),
            [""] if run.state == State::Running => Answer::elsewhere(format!("{}live", pages::link_to(run))),
            ["" | "about"] => Answer::html(200, pages::run(run)),
            ["live"] => Answer::html(200, pages::live(run, address)),
            ["logs"] => Answer::html(200, pages::logs(run, address)),
            ["archive.tar.zst"] => {
                let name = runs::name_of(&run.path);
                Answer::new(200, "application/zstd", POLICY, Body::Archive { path: run.path.clone(), name: name.clone() })
                    .download(&format!("{name}.tar.zst"))
            }
            ["files", pieces @ ..] => file(run, pieces),
            _ => Answer::refused(404, "No such page", "This run has no such page."),
        }
    }
}

fn file(run: &Run, pieces: &[&str]) -> Answer {
    let Some((file, path)) = file_of(&run.path, pieces) else {
        return Answer::refused(404, "No such file", "The run has no such file. Links are not followed.");
    };
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let body = Body::File(file, length);
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending {
        "html" if pieces.len() == 1 => Answer::new(200, "text/html; charset=utf-8", REPORT_POLICY, body),
        "json" => Answer::new(200, "application/json", POLICY, body),
        "svg" | "html" | "xml" | "zst" | "gz" | "kch" | "cut" => Answer::new(200, "application/octet-stream", POLICY, body).download(&name),
        // Whatever else a run writes is text.
        _ => Answer::new(200, "text/plain; charset=utf-8", POLICY, body),
    }
}
