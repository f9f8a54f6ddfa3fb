//! Under what the run was made: versions, seed, settings as the brokers themselves told them, load, and what the client machine spent.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::svg;
use super::text::{Esc, cut};
use crate::judged::HostState;
use crate::report::{RunData, words};

pub(super) fn render(data: &RunData) -> String {
    let mut html = String::from("<div class=\"columns\">\n");
    html.push_str(&facts(data));
    html.push_str(&load(data));
    html.push_str("</div>\n");
    html.push_str(&settings(data));
    html.push_str(&hosts(data));
    html.push_str(&notes(data));
    html
}

fn facts(data: &RunData) -> String {
    let plan = &data.plan;
    let mut rows: Vec<(String, String)> = vec![
        ("run".into(), plan.run_id.clone()),
        ("started".into(), plan.started_at.clone()),
        ("kchaos".into(), plan.kchaos_version.clone()),
        ("seed".into(), plan.seed.to_string()),
        ("workload".into(), plan.workload.clone()),
        ("nemeses".into(), if plan.nemeses.is_empty() { "none".into() } else { plan.nemeses.join(", ") }),
        ("acks".into(), format!("{}, {}", plan.acks, if plan.idempotence { "idempotent" } else { "not idempotent" })),
        ("judged by profile".into(), data.verdict.profile.clone()),
    ];
    rows.extend(plan.options.iter().map(|(name, value)| (name.clone(), plain(value))));
    rows.extend(plan.facts.iter().map(|(name, value)| (name.clone(), value.clone())));
    let resources = &data.verdict.resources;
    if resources.wall_s > 0.0 {
        rows.push((
            "client CPU".into(),
            format!("{:.2} cores ({:.1} s over {:.0} s)", resources.cpu_s / resources.wall_s, resources.cpu_s, resources.wall_s),
        ));
        rows.push((
            "client memory".into(),
            format!(
                "{:.0} MiB at first, {:.0} at most, {:.0} at last",
                resources.resident_first_mib, resources.resident_max_mib, resources.resident_last_mib
            ),
        ));
    }
    let mut html = String::from("<div><h3>Run</h3>\n<dl>");
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(html, "<dt>{}</dt><dd>{}</dd>", Esc(name), Esc(cut(value, 300)));
    }
    html.push_str("</dl></div>\n");
    html
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn load(data: &RunData) -> String {
    let columns = [("phase", ""), ("from", ""), ("acked", ""), ("info", ""), ("failed", ""), ("read", ""), ("reread", "")];
    let mut html = format!("<div><h3>Load by phase</h3>\n{}", svg::table_head("numbers", "Load by phase of the run", &columns));
    for (phase, load) in &data.verdict.load {
        let from = data.latency.phases.iter().find(|(other, _)| other == phase).map_or(String::new(), |(_, ns)| words::moment(*ns));
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{from}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            phase.name(),
            words::count(load.ok),
            words::count(load.info),
            words::count(load.fail),
            words::count(load.read),
            words::count(load.read_final)
        );
    }
    html.push_str(svg::TABLE_END);
    svg::note(&mut html, "By the phase in which an op ended. The finale rereads every partition from its start.");
    html.push_str("</div>\n");
    html
}

/// Settings by name, with those that say the same of everybody said once.
fn settings(data: &RunData) -> String {
    if data.plan.effective.is_empty() {
        return String::new();
    }
    let mut by_kind: BTreeMap<&str, BTreeMap<&str, BTreeMap<&str, Vec<&str>>>> = BTreeMap::new();
    for (whose, settings) in &data.plan.effective {
        let kind = whose.split(' ').next().unwrap_or(whose);
        for (name, value) in settings {
            by_kind.entry(kind).or_default().entry(name).or_default().entry(value).or_default().push(whose);
        }
    }
    let mut html = String::from("<details open><summary>Effective settings, as the cluster told them</summary>\n<div class=\"columns\">\n");
    for (kind, names) in by_kind {
        let _ = write!(html, "<div><h4>{}</h4><dl class=\"mono\">", Esc(kind));
        for (name, values) in names {
            let _ = write!(html, "<dt>{}</dt><dd>", Esc(name));
            let differ = values.len() > 1;
            for (value, whose) in values {
                if differ {
                    let _ = write!(html, "<div>{} <span class=\"muted\">({})</span></div>", Esc(cut(value, 200)), Esc(whose.join(", ")));
                } else {
                    let _ = write!(html, "{}", Esc(cut(value, 200)));
                }
            }
            html.push_str("</dd>\n");
        }
        html.push_str("</dl></div>\n");
    }
    html.push_str("</div></details>\n");
    html
}

fn hosts(data: &RunData) -> String {
    if data.verdict.hosts.is_empty() {
        return String::new();
    }
    let mut html = String::from("<h3>Hosts, after the last sweep</h3>\n<ul class=\"plain\">");
    for host in &data.verdict.hosts {
        let state = match host.state {
            HostState::Clean => "<span class=\"good\">✓ clean</span>",
            HostState::Healed => "<span class=\"good\">✓ healed</span>",
            HostState::Unhealed => "<span class=\"bad\">✗ unhealed</span>",
            HostState::Unreachable => "<span class=\"bad\">✗ unreachable</span>",
        };
        let _ =
            write!(html, "<li><b>{}</b> {state} <span class=\"muted\">{}</span>", Esc(&host.host), Esc(cut(&host.what.join("; "), 400)));
        if let Some(command) = &host.command {
            let _ = write!(html, " <code>{}</code>", Esc(command));
        }
        html.push_str("</li>\n");
    }
    html.push_str("</ul>\n");
    html
}

/// The lab's own remarks, the run's, and what the report could not read.
fn notes(data: &RunData) -> String {
    let of_cluster = data.plan.inventory.pointer("/cluster/notes").and_then(serde_json::Value::as_array);
    let of_cluster = of_cluster.into_iter().flatten().filter_map(serde_json::Value::as_str);
    let notes: Vec<&str> =
        of_cluster.chain(data.verdict.notes.iter().map(String::as_str)).chain(data.missing.iter().map(String::as_str)).collect();
    if notes.is_empty() {
        return String::new();
    }
    let mut html = String::from("<h3>Notes</h3>\n<ul class=\"plain\">");
    for note in notes {
        let _ = writeln!(html, "<li>{}</li>", Esc(note));
    }
    html.push_str("</ul>\n");
    html
}

/// The run's files, as links relative to the report.
pub(super) fn files(data: &RunData) -> String {
    const SHOWN: usize = 80;
    let mut html = String::from("<ul class=\"files\">");
    for (path, bytes) in data.files.iter().take(SHOWN) {
        let _ = writeln!(
            html,
            "<li><a href=\"{}\">{}</a> <span class=\"muted\">{}</span></li>",
            Esc(link(path)),
            Esc(path),
            words::bytes(*bytes)
        );
    }
    html.push_str("</ul>\n");
    if data.files.len() > SHOWN {
        let _ = writeln!(html, "<p class=\"note\">and {} more.</p>", data.files.len() - SHOWN);
    }
    html
}

/// A path as a relative URL: `./` keeps a name with a colon from being a scheme.
fn link(path: &str) -> String {
    let mut url = String::from("./");
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_inside_the_directory() {
        assert_eq!(link("logs/b1/server.log"), "./logs/b1/server.log");
        assert_eq!(link("javascript:alert(1)"), "./javascript%3Aalert%281%29");
    }
}
