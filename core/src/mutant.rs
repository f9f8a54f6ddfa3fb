//! What is wrong on purpose, so that the tests can be tested (docs/mutants.md).
//!
//! Why: whoever trusts a verdict trusts each checker, each row of an error table and each look at a host; and a test that would not notice one of them
//! being wrong is none. So a build with the feature `mutants` can be told to have one wrong (`KCHAOS_MUTANT=silent:lost-write`), and
//! `make mutants` sees the tests fail of each. Without the feature this is a constant, and nothing is left of it.

#[cfg(feature = "mutants")]
pub use wrong::{VARIABLE, chosen, is};

/// Whether this is the thing that is wrong: kind and name of a mutant.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub fn is(_kind: &str, _name: &dyn std::fmt::Display) -> bool {
    false
}

#[cfg(feature = "mutants")]
mod wrong {
    use std::fmt::Display;
    use std::sync::OnceLock;

    /// KIND:NAME, several separated by commas.
    pub const VARIABLE: &str = "KCHAOS_MUTANT";

    /// What is wrong in this process: read once, so that it stays as it was.
    pub fn chosen() -> &'static [String] {
        static CHOSEN: OnceLock<Vec<String>> = OnceLock::new();
        CHOSEN.get_or_init(|| {
            let told = std::env::var(VARIABLE).unwrap_or_default();
            told.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
        })
    }

    /// Whether this is the thing that is wrong: kind and name of a mutant.
    pub fn is(kind: &str, name: &dyn Display) -> bool {
        let chosen = chosen();
        !chosen.is_empty() && {
            let asked = format!("{kind}:{name}");
            chosen.contains(&asked)
        }
    }
}
