//! The lines for people: what several hosts share is said once.

use super::{Level, Line};

/// A line for each check, level and text, with the hosts of which it is true.
pub(crate) fn text(lines: &[Line]) -> String {
    let mut groups: Vec<(Line, Vec<&str>)> = Vec::new();
    for line in lines {
        let same = groups.iter_mut().find(|(first, _)| {
            (first.check, first.level, &first.text, &first.mend) == (line.check, line.level, &line.text, &line.mend)
        });
        match same {
            Some((_, hosts)) => hosts.push(&line.on),
            None => groups.push((line.clone(), vec![&line.on])),
        }
    }
    let width = groups.iter().map(|(line, _)| line.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (line, hosts) in groups {
        let level = match line.level {
            Level::Ok => "ok     ",
            Level::Warning => "warning",
            Level::Fails => "FAILS  ",
        };
        text.push_str(&format!("{level}  {:width$}  {}: {}\n", line.check, hosts.join(", "), line.text));
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
        assert_eq!(lines[1].to_string(), "b1: no setsid: install util-linux");
    }
}
