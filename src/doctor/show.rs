//! The lines for people: what several hosts share is said once.

use super::{Level, Line, groups};

/// A line for each check, level and text, with the hosts of which it is true.
pub(crate) fn text(lines: &[Line]) -> String {
    let groups = groups(lines);
    let width = groups.iter().map(|group| group.line.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for group in groups {
        let line = group.line;
        let level = match line.level {
            Level::Ok => "ok     ",
            Level::Warning => "warning",
            Level::Fails => "FAILS  ",
        };
        text.push_str(&format!("{level}  {:width$}  {}: {}\n", line.check, group.on.join(", "), line.text));
        if let Some(mend) = &line.mend {
            text.push_str(&format!("{:9}{:width$}  → {mend}\n", "", ""));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hosts_share_is_said_once_and_every_failure_has_its_mend_below_it() {
        let lines = [
            Line::ok("ssh", "b1", "reached"),
            Line::fails("lease", "b1", "no setsid", "install util-linux"),
            Line::ok("ssh", "b2", "reached"),
        ];
        let expect = "ok       ssh    b1, b2: reached\nFAILS    lease  b1: no setsid\n                → install util-linux\n";
        assert_eq!(text(&lines), expect);
        assert_eq!(groups(&lines)[1].to_string(), "b1: no setsid: install util-linux");
    }

    #[test]
    fn what_is_told_to_programs_conforms() {
        let lines =
            [Line::ok("ssh", "b1", "reached"), Line::warning("disk", "b1", "1 GiB free", ""), Line::fails("lease", "b1", "no setsid", "x")];
        crate::schema::conform::assert_conforms("doctor", &serde_json::json!(lines));
        crate::schema::conform::assert_conforms("doctor", &serde_json::json!([]));
    }
}
