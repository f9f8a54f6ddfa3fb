//! What is sent to a host, and what comes back.
//!
//! A script is a prelude of settings, library files that hold functions only, and one last line that calls one of them: cut off on its way,
//! it does nothing. Answers are lines, `WORD REST`; a script that ends with a status other than 0 failed in a way that it did not expect.

use std::time::Duration;

use kchaos_cluster::remote::{Means, Remote, RemoteError};

use crate::fault::Undo;

pub(crate) const LIBRARY: &str = include_str!("host/library.sh");
pub(crate) const HALT: &str = include_str!("host/halt.sh");
/// Asks whether the host is halted, too, and knows what clients on a host leave.
pub(crate) const GUARD: &str = concat!(include_str!("host/halt.sh"), include_str!("host/worker.sh"), include_str!("host/guard.sh"));
pub(crate) const WATCHDOG: &str = include_str!("host/watchdog.sh");
pub(crate) const PROCESS: &str = include_str!("host/process.sh");
pub(crate) const DISK: &str = concat!(include_str!("host/disk.sh"), include_str!("host/fuse.sh"));
pub(crate) const CLOCK: &str = include_str!("host/clock.sh");
pub(crate) const WALL: &str = include_str!("host/wall.sh");
pub(crate) const CUT: &str = include_str!("host/cut.sh");
pub(crate) const CONNECTION: &str = include_str!("host/connection.sh");
pub(crate) const LINK: &str = include_str!("host/link.sh");

/// Where kchaos keeps its own on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPaths {
    /// Survives a reboot: undo scripts.
    pub state: String,
    /// Does not: the lock and the leases.
    pub volatile: String,
}

impl Default for HostPaths {
    fn default() -> Self {
        Self { state: "/var/lib/kchaos/host".to_owned(), volatile: "/run/kchaos".to_owned() }
    }
}

/// On whose behalf a script runs.
#[derive(Clone, Debug)]
pub(crate) struct Caller<'a> {
    pub(crate) paths: &'a HostPaths,
    pub(crate) run: &'a str,
    /// `RUN-FAULT`; empty where no fault is meant.
    pub(crate) key: &'a str,
    /// For people: who holds the lock.
    pub(crate) owner: &'a str,
}

impl Caller<'_> {
    pub(crate) fn prelude(&self) -> String {
        format!(
            "K_STATE={}\nK_VOLATILE={}\nK_RUN={}\nK_KEY={}\nK_OWNER={}\n",
            quote(&self.paths.state),
            quote(&self.paths.volatile),
            quote(self.run),
            quote(self.key),
            quote(&self.owner.replace(['\n', '\r'], " ")),
        )
    }

    /// The call is a function too, so that nothing runs before all of it has come, and no command reads the script as its input.
    pub(crate) fn script(&self, parts: &[&str], call: &str) -> String {
        format!("{}{}{}\nk_main() {{\n{call}\n}}\nk_main </dev/null\n", self.prelude(), LIBRARY, parts.concat())
    }

    /// The undo script as it lies on the host: `about`, `verify` or (the default) `undo`.
    pub(crate) fn undo_script(&self, undo: &Undo) -> String {
        let body = format!(
            "\n{}\nk_undo() {{\n{}\n}}\nk_verify() {{\n{}\n}}\ncase ${{1-undo}} in\nabout) echo {} ;;\nverify) k_verify ;;\n*) k_undo ;;\nesac",
            undo.setup,
            undo.mend,
            undo.verify,
            quote(&undo.about),
        );
        let head = "#!/bin/sh\n# Undoes what kchaos did. Idempotent; kept until it has been done.\n";
        format!("{head}{}{}{}{body}\n", self.prelude(), LIBRARY, undo.parts.concat())
    }

    pub(crate) fn watchdog_script(&self) -> String {
        format!("{}{}{}", self.prelude(), LIBRARY, WATCHDOG)
    }
}

/// One word for `sh`.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// `call` with `text` on its standard input.
pub(crate) fn feed(call: &str, text: &str) -> String {
    let mut end = "KCHAOS_END".to_owned();
    while text.contains(&end) {
        end.push('_');
    }
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    format!("{call} <<'{end}'\n{text}{newline}{end}")
}

/// A name of ours that may stand in file names, chains and syslog.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' }).collect()
}

/// Eight hexadecimal digits of a run's id (FNV-1a): names of tables and chains are short.
pub(crate) fn short_hash(text: &str) -> String {
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

pub(crate) fn centiseconds(duration: Duration) -> u128 {
    duration.as_millis() / 10
}

/// The lines that a script answered with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers(Vec<(String, String)>);

impl Answers {
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        Self(lines.map(|line| line.split_once(' ').unwrap_or((line, ""))).map(|(word, rest)| (word.to_owned(), rest.to_owned())).collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(word, rest)| (word.as_str(), rest.as_str()))
    }

    pub(crate) fn all<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a str> {
        self.iter().filter(move |(known, _)| *known == word).map(|(_, rest)| rest)
    }

    pub(crate) fn get(&self, word: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == word).map(|(_, rest)| rest)
    }

    pub(crate) fn has(&self, word: &str) -> bool {
        self.get(word).is_some()
    }

    /// For messages.
    pub(crate) fn text(&self) -> String {
        self.iter().map(|(word, rest)| format!("{word} {rest}").trim_end().to_owned()).collect::<Vec<_>>().join("; ")
    }
}

#[allow(dead_code, reason = "for what only root may ask")]
pub(crate) async fn ask(remote: &dyn Remote, script: &str, timeout: Duration, what: &str) -> Result<Answers, RemoteError> {
    ask_as(remote, script, &Means::Root, timeout, what).await
}

/// With the same in the words of a host's helper.
pub(crate) async fn ask_as(
    remote: &dyn Remote,
    script: &str,
    means: &Means,
    timeout: Duration,
    what: &str,
) -> Result<Answers, RemoteError> {
    let output = remote.run_as(script, means, timeout).await?;
    Ok(Answers::parse(&output.success(remote.host(), what)?))
}

/// `true` if whether the command ran is unknown.
pub(crate) fn is_unknown(error: &RemoteError) -> bool {
    matches!(error, RemoteError::Timeout { .. } | RemoteError::Unknown { .. })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_quoted_word_is_one_word_whatever_is_in_it() {
        assert_eq!(quote("it's $HOME"), r"'it'\''s $HOME'");
    }

    #[test]
    fn text_that_holds_the_end_mark_gets_another_end_mark() {
        assert_eq!(feed("cat", "a\nKCHAOS_END\nb"), "cat <<'KCHAOS_END_'\na\nKCHAOS_END\nb\nKCHAOS_END_");
    }

    #[test]
    fn the_hash_of_a_run_is_stable() {
        assert_eq!(short_hash("20261121T040213Z-append-7f3a"), short_hash("20261121T040213Z-append-7f3a"));
        assert_eq!(short_hash("a"), "e40c292c");
    }

    proptest! {
        #[test]
        fn whatever_a_host_answers_is_lines_of_words(text in "\\PC*(\n\\PC*){0,5}") {
            let answers = Answers::parse(&text);
            prop_assert!(answers.iter().count() <= text.lines().count());
            let _ = answers.text();
        }

        #[test]
        fn words_come_back_as_they_were_said(word in "[a-z]{1,8}", rest in "[a-z0-9:. ]{0,20}") {
            let answers = Answers::parse(&format!("{word} {rest}\n"));
            prop_assert_eq!(answers.get(&word), Some(rest.as_str()));
        }
    }
}

#[cfg(test)]
#[path = "host/disk_tests.rs"]
mod disk_tests;
