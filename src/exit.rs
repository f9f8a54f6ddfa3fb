//! Exit codes (FORMATS.md): stable, and an API for scripts and CI.

use std::fmt;

pub(crate) const VALID: u8 = 0;
pub(crate) const INVALID: u8 = 1;
pub(crate) const UNKNOWN: u8 = 2;
pub(crate) const ENVIRONMENT: u8 = 3;
pub(crate) const ABORTED: u8 = 4;
pub(crate) const UNHEALED: u8 = 5;
pub(crate) const THRESHOLD: u8 = 6;
pub(crate) const USAGE: u8 = 254;
pub(crate) const INTERNAL: u8 = 255;

/// Which of several wins: something left broken first, then a broken promise, then the rest.
pub(crate) const PRIORITY: [u8; 8] = [UNHEALED, INVALID, INTERNAL, ABORTED, ENVIRONMENT, UNKNOWN, THRESHOLD, VALID];

/// The code that stands for all that hold.
pub(crate) fn strongest(codes: &[u8]) -> u8 {
    PRIORITY.into_iter().find(|code| codes.contains(code)).unwrap_or(VALID)
}

pub(crate) fn name(code: u8) -> &'static str {
    match code {
        VALID => "valid",
        INVALID => "invalid",
        UNKNOWN => "unknown",
        ENVIRONMENT => "environment",
        ABORTED => "aborted",
        UNHEALED => "unhealed",
        THRESHOLD => "threshold",
        USAGE => "usage",
        _ => "internal",
    }
}

/// The code that is called that.
pub(crate) fn code(name: &str) -> Result<u8, String> {
    let names = PRIORITY.map(self::name);
    let known = PRIORITY.into_iter().find(|code| self::name(*code) == name);
    known.ok_or_else(|| format!("no run ends \"{name}\"{}", crate::run::nearest(name, names.into_iter())))
}

/// An error that knows its exit code. `main` prints the chain once.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) error: anyhow::Error,
}

impl Failure {
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { code: USAGE, error: error.into() }
    }

    pub(crate) fn environment(error: impl Into<anyhow::Error>) -> Self {
        Self { code: ENVIRONMENT, error: error.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

/// What is not said to be otherwise is about our surroundings: a file, a host, a disk.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::environment(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_code_wins() {
        for (codes, expect) in [
            (vec![], VALID),
            (vec![VALID, THRESHOLD], THRESHOLD),
            (vec![UNKNOWN, THRESHOLD], UNKNOWN),
            (vec![ABORTED, INVALID], INVALID),
            (vec![INVALID, UNHEALED], UNHEALED),
            (vec![INTERNAL, ABORTED], INTERNAL),
        ] {
            assert_eq!(strongest(&codes), expect, "{codes:?}");
        }
    }
}
