//! Which runs are asked for.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::Run;
use crate::run::nearest;

/// All of them, unless it says otherwise. Of several words of one kind any will do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Filter {
    /// As [`Run::verdict`] has them, or `failed`: whatever did not end well.
    pub(crate) verdicts: Vec<String>,
    pub(crate) workloads: Vec<String>,
    pub(crate) nemeses: Vec<String>,
    pub(crate) since: Option<DateTime<Utc>>,
}

/// What may be asked for.
pub(crate) const VERDICTS: [&str; 12] = [
    "valid",
    "invalid",
    "unknown",
    "environment",
    "aborted",
    "unhealed",
    "threshold",
    "internal",
    "running",
    "cut-off",
    "broken",
    "failed",
];

impl Filter {
    pub(crate) fn takes(&self, run: &Run) -> bool {
        let verdict = run.verdict().replace(' ', "-");
        let is_verdict = |wanted: &String| *wanted == verdict || (wanted == "failed" && !run.ended_well() && verdict != "running");
        let is_nemesis = |wanted: &String| match wanted.as_str() {
            "none" => run.plan.nemeses.is_empty(),
            wanted => run.plan.nemeses.iter().any(|name| name == wanted),
        };
        any(&self.verdicts, is_verdict)
            && any(&self.workloads, |wanted| *wanted == run.plan.workload)
            && any(&self.nemeses, is_nemesis)
            && self.since.is_none_or(|since| run.started.is_some_and(|started| started >= since))
    }
}

fn any(wanted: &[String], is: impl Fn(&String) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(is)
}

/// A verdict that may be asked for.
pub(crate) fn verdict(text: &str) -> Result<String, String> {
    let text = text.trim().replace([' ', '_'], "-").to_lowercase();
    if VERDICTS.contains(&text.as_str()) {
        return Ok(text);
    }
    Err(format!("no run is \"{text}\"{}", nearest(&text, VERDICTS.into_iter())))
}

/// `30d`, `12h`, `2w`.
pub(crate) fn age(text: &str) -> Result<TimeDelta, String> {
    let wrong = || format!("\"{text}\" is no age: write 90m, 12h, 30d or 2w");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let number: f64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit_s = match &text[digits..] {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        "w" => 604_800.0,
        _ => return Err(wrong()),
    };
    let seconds = number * unit_s;
    // A hundred years.
    if !(0.0..=3.2e9).contains(&seconds) {
        return Err(wrong());
    }
    TimeDelta::try_milliseconds((seconds * 1e3) as i64).ok_or_else(wrong)
}

/// A day, a moment, or how long ago.
pub(crate) fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(age) = age(text) {
        return Ok(Utc::now() - age);
    }
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|day| day.and_hms_opt(0, 0, 0)).map(|at| at.and_utc());
    let at = || DateTime::parse_from_rfc3339(text).ok().map(|at| at.with_timezone(&Utc));
    day.or_else(at).ok_or_else(|| format!("\"{text}\" is no moment: write 7d (ago), 2026-11-23, or 2026-11-23T02:00:00Z (UTC)"))
}

/// A sentence for people who asked for what is not there.
pub(crate) fn nothing_matches(runs: &[Run]) -> String {
    let list = |of: &dyn Fn(&Run) -> String| {
        let mut all: Vec<String> = runs.iter().map(of).collect();
        all.sort();
        all.dedup();
        all.join(", ")
    };
    format!(
        "none of {} runs is asked for; there are verdicts {}; workloads {}",
        runs.len(),
        list(&|run| run.verdict().replace(' ', "-")),
        list(&|run| run.workload().to_owned())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_moments_are_read_and_what_is_neither_is_told() {
        for (text, seconds) in [("90m", 5_400), ("12h", 43_200), ("30d", 2_592_000), ("1.5d", 129_600), ("2w", 1_209_600)] {
            assert_eq!(age(text).unwrap().num_seconds(), seconds, "{text}");
        }
        for text in ["30", "d", "3y", "-1d", "1e9d", "", "NaNd", "30 d", "99999999w"] {
            assert!(age(text).unwrap_err().contains("is no age"), "{text}");
        }
        assert_eq!(moment("2026-11-23").unwrap().to_rfc3339(), "2026-11-23T00:00:00+00:00");
        assert_eq!(moment("2026-11-23T02:00:00+02:00").unwrap().to_rfc3339(), "2026-11-23T00:00:00+00:00");
        assert!(moment("7d").unwrap() < Utc::now());
        assert!(moment("yesterday").unwrap_err().contains("2026-11-23"));
        assert_eq!(verdict("Cut off").unwrap(), "cut-off");
        assert!(verdict("invlid").unwrap_err().contains("did you mean"));
    }
}
