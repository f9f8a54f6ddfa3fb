//! How long sends took by the size of what they sent, where a workload's values are of many sizes.

use std::fmt::Write as _;

use kchaos_workloads::SizeClass;
use serde::{Deserialize, Serialize};

use super::words;

/// The first bucket of the histogram, which double from one to the next.
const BUCKET_NS: u64 = 1_000_000;

/// One class of sizes, in `latency.json`. From the intended start to the acknowledgement, over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SizeLatency {
    pub(crate) up_to_bytes: u64,
    /// Sends by what became of them; of those that are ok the latency is told.
    pub(crate) ok: u64,
    pub(crate) info: u64,
    pub(crate) fail: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) max_ns: u64,
    /// Upper end and count; empty ones are left out.
    pub(crate) buckets: Vec<(u64, u64)>,
}

impl SizeLatency {
    pub(crate) fn of(class: &SizeClass) -> Self {
        let SizeClass { up_to_bytes, latency, ok, fail, info } = class;
        let at = |quantile: f64| if latency.is_empty() { 0 } else { latency.value_at_quantile(quantile).min(latency.max()) };
        let buckets = latency.iter_log(BUCKET_NS, 2.0).map(|bucket| (bucket.value_iterated_to(), bucket.count_since_last_iteration()));
        Self {
            up_to_bytes: *up_to_bytes,
            ok: *ok,
            info: *info,
            fail: *fail,
            p50_ns: at(0.5),
            p99_ns: at(0.99),
            max_ns: at(1.0),
            buckets: buckets.filter(|(_, count)| *count > 0).collect(),
        }
    }

    fn name(&self) -> String {
        format!("up to {}", binary(self.up_to_bytes))
    }

    /// What was not acknowledged, in words.
    fn others(&self) -> String {
        let told = [(self.info, "unknown"), (self.fail, "refused")].into_iter().filter(|(n, _)| *n > 0);
        told.map(|(n, word)| format!("{} {word}", words::count(n))).collect::<Vec<_>>().join(", ")
    }
}

fn binary(bytes: u64) -> String {
    if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}

/// For the terminal.
pub(crate) fn lines(sizes: &[SizeLatency]) -> Vec<String> {
    if sizes.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![format!("  {:<19} {:>9} {:>9} {:>9} {:>9}", "by size of value", "n", "p50", "p99", "max")];
    lines.extend(sizes.iter().map(|size| {
        let [p50, p99, max] =
            [size.p50_ns, size.p99_ns, size.max_ns].map(|ns| if size.ok == 0 { "-".to_owned() } else { words::duration(ns) });
        let line = format!("  {:<19} {:>9} {p50:>9} {p99:>9} {max:>9}   {}", size.name(), words::count(size.ok), size.others());
        line.trim_end().to_owned()
    }));
    lines
}

/// The same as a table of the report.
pub(crate) fn html(sizes: &[SizeLatency]) -> String {
    let mut html = String::new();
    if sizes.is_empty() {
        return html;
    }
    html.push_str("<h3>By size of the value, over the whole run</h3>\n");
    html.push_str("<div class=\"scroll\"><table class=\"numbers\"><caption>Latency by size of the value</caption><thead><tr>");
    for column in ["size", "n", "p50", "p99", "max", "not acknowledged"] {
        let _ = write!(html, "<th scope=\"col\">{column}</th>");
    }
    html.push_str("</tr></thead><tbody>\n");
    for size in sizes {
        let [p50, p99, max] =
            [size.p50_ns, size.p99_ns, size.max_ns].map(|ns| if size.ok == 0 { "–".to_owned() } else { words::duration(ns) });
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{p50}</td><td>{p99}</td><td>{max}</td><td class=\"text\">{}</td></tr>",
            size.name(),
            words::count(size.ok),
            size.others()
        );
    }
    html.push_str("</tbody></table></div>\n");
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_with_what_was_refused() {
        assert!(lines(&[]).is_empty() && html(&[]).is_empty());
        let small = SizeLatency {
            up_to_bytes: 10 << 10,
            ok: 1_200,
            p50_ns: 4_000_000,
            p99_ns: 9_000_000,
            max_ns: 40_000_000,
            ..SizeLatency::default()
        };
        let large = SizeLatency { up_to_bytes: 100 << 20, fail: 3, ..SizeLatency::default() };
        let lines = lines(&[small.clone(), large]);
        assert!(lines[1].contains("up to 10 KiB") && lines[1].contains("40"), "{lines:?}");
        assert!(lines[2].contains("up to 100 MiB") && lines[2].ends_with("3 refused"), "{lines:?}");
        assert!(html(&[small]).contains("<th scope=\"row\">up to 10 KiB</th>"));
    }
}
