//! Error tables that are wrong on purpose (docs/mutants.md): nothing of this is left in a build without the feature `mutants`.

use kchaos_core::mutant;

use crate::errors::{Attempt, Status};
use crate::transactions::Answer;

/// A delivery report, of which one word is taken for another.
#[inline]
pub(crate) fn misheard(status: Status, attempt: Attempt) -> (Status, Attempt) {
    let status = match status {
        Status::PossiblyPersisted if mutant::is("class", &"sends/possibly-persisted") => Status::NotPersisted,
        Status::Persisted if mutant::is("class", &"sends/persisted") => Status::PossiblyPersisted,
        Status::NotPersisted if mutant::is("class", &"sends/not-persisted") => Status::PossiblyPersisted,
        status => status,
    };
    let attempt = match attempt {
        Attempt::Any if mutant::is("class", &"sends/any-attempt") => Attempt::First,
        Attempt::First if mutant::is("class", &"sends/first-attempt") => Attempt::Any,
        Attempt::Oversize if mutant::is("class", &"sends/oversize") => Attempt::Any,
        Attempt::Refused if mutant::is("class", &"sends/refused") => Attempt::Any,
        attempt => attempt,
    };
    (status, attempt)
}

/// What a commit was answered, of which one word is taken for another.
#[inline]
pub(crate) fn misheard_commit(mut answer: Answer) -> Answer {
    answer.is_superseded &= !mutant::is("class", &"transactions/superseded");
    answer.requires_abort |= mutant::is("class", &"transactions/requires-no-abort");
    answer.requires_abort &= !mutant::is("class", &"transactions/requires-abort");
    answer.attempt = match answer.attempt {
        Attempt::Any if mutant::is("class", &"transactions/any-attempt") => Attempt::First,
        Attempt::First if mutant::is("class", &"transactions/first-attempt") => Attempt::Any,
        attempt => attempt,
    };
    answer
}

/// All that can be wrong here.
#[cfg(feature = "mutants")]
pub fn mutants() -> Vec<String> {
    const WORDS: &[&str] = &[
        "sends/possibly-persisted",
        "sends/persisted",
        "sends/not-persisted",
        "sends/any-attempt",
        "sends/first-attempt",
        "sends/oversize",
        "sends/refused",
        "sends/silence",
        "sends/unlisted",
        "commits/unlisted",
        "transactions/superseded",
        "transactions/requires-no-abort",
        "transactions/requires-abort",
        "transactions/any-attempt",
        "transactions/first-attempt",
        "java/report",
        "java/unlisted",
        "admin/84",
        "admin/unsent",
        "admin/unlisted",
    ];
    // An enum of another crate, without a list of its own.
    const REGISTER: &[&str] = &[
        "NoNode",
        "NodeExists",
        "NoAuth",
        "BadVersion",
        "QuotaExceeded",
        "NotReadOnly",
        "ConnectionLoss",
        "SessionExpired",
        "SessionMoved",
        "Timeout",
        "ClientClosed",
        "NoHosts",
    ];
    let mut all: Vec<String> = WORDS.iter().map(|&word| word.to_owned()).collect();
    all.extend(crate::errors::TABLE.iter().map(|row| format!("sends/{:?}", row.code)));
    all.extend(crate::queue::COMMITS.iter().map(|row| format!("commits/{:?}", row.code)));
    all.extend(crate::transactions::COMMITS.iter().map(|row| format!("transactions/{:?}", row.code)));
    all.extend(crate::java::errors::names().flat_map(|class| [format!("java/{class}"), format!("java-ends/{class}")]));
    all.extend(crate::ADMIN_TABLE.iter().map(|(code, ..)| format!("admin/{code}")));
    all.extend(REGISTER.iter().map(|name| format!("register/{name}")));
    all.into_iter().map(|name| format!("class:{name}")).collect()
}
