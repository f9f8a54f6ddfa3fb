//! Secrets: words that must never be printed, logged, stored or handed over as an argument of a program.
//!
//! They stand in the inventory by reference only, `env:NAME` or `file:PATH`, and are fetched when they are needed. [`Secret`] has no
//! `Display`, no `Serialize` and no way to be compared; its `Debug` says nothing. Whoever calls [`Secret::reveal`] must hand the text on to
//! the library that needs it, and to nothing else.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

/// A text that is wiped from memory when it goes.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

/// Why a reference could not be followed. The reference is named, never the content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("environment variable {name} is not set; export it, or refer to a file by file:PATH")]
    NoVariable { name: String },
    #[error("environment variable {name} is not UTF-8")]
    NotText { name: String },
    #[error("file of a secret {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
}

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the library that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// `true` for what [`resolve`] would follow.
pub fn is_reference(text: &str) -> bool {
    text.starts_with("env:") || text.starts_with("file:")
}

/// Follows `env:NAME` or `file:PATH`; any other text is itself, since most settings are no secrets (an inventory refuses those that are).
/// One line break at the end of a file is not part of the secret.
pub fn resolve(text: &str) -> Result<Secret, SecretError> {
    if let Some(name) = text.strip_prefix("env:") {
        return match std::env::var(name) {
            Ok(text) => Ok(Secret::new(text)),
            Err(std::env::VarError::NotPresent) => Err(SecretError::NoVariable { name: name.to_owned() }),
            Err(std::env::VarError::NotUnicode(_)) => Err(SecretError::NotText { name: name.to_owned() }),
        };
    }
    if let Some(path) = text.strip_prefix("file:") {
        let content =
            std::fs::read_to_string(path).map(Zeroizing::new).map_err(|source| SecretError::File { path: PathBuf::from(path), source })?;
        let line = content.strip_suffix('\n').unwrap_or(&content);
        return Ok(Secret::new(line.strip_suffix('\r').unwrap_or(line)));
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_a_file_loses_one_line_break_and_never_shows() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, "canary-7f3a\n").unwrap();
        let secret = resolve(&format!("file:{}", path.display())).unwrap();
        assert_eq!(secret.reveal(), "canary-7f3a");
        assert!(!format!("{secret:?}").contains("canary"));
    }

    #[test]
    fn a_reference_that_leads_nowhere_says_where_it_led() {
        assert!(resolve("env:KCHAOS_TEST_SURELY_UNSET").unwrap_err().to_string().contains("KCHAOS_TEST_SURELY_UNSET"));
        assert!(resolve("file:/nonexistent/secret").unwrap_err().to_string().contains("/nonexistent/secret"));
        assert!(resolve("env:PATH").is_ok());
    }

    #[test]
    fn what_is_no_reference_is_itself() {
        assert_eq!(resolve("SASL_SSL").unwrap().reveal(), "SASL_SSL");
    }
}
