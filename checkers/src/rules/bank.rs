//! `balance-changed`: the sum of a bank's accounts differs at a committed snapshot.
//!
//! Transfers move money between accounts, each in one transaction, so the sum never changes. Told by ops of the process "nemesis":
//!
//! - `bank-snapshot` `{"accounts": {"alice": 60, "bob": 40}, "total": 100}`: all accounts at one moment, as committed. `total` is what they
//!   should come to; the first that is told holds for all, and where none is, the first snapshot's sum does. `"bank": "name"` tells several
//!   banks apart.
//!
//! What a snapshot must be is the harness's to see to: Kafka has no read of several partitions at one moment, so one is taken when nothing
//! is under way, or cut along whole transactions. One that says `"isolation": "read_uncommitted"`, or of which an account is no integer, is
//! passed over. Counted: snapshots.
//!
//! What this cannot see: which transfer it was (`torn-transaction`, `duplicate` and `G1b` may tell), and money that was moved wrongly and
//! adds up all the same.

use std::collections::BTreeMap;

use kchaos_core::{Op, Verdict};
use serde_json::Value as Json;

use crate::facts::Facts;
use crate::log::OpRef;
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example_of_no_key, hears};
use crate::told::{text, told};

pub(crate) const SPEC: Spec = Spec {
    name: "bank",
    about: "transfers between accounts never change their sum",
    anomalies: &["balance-changed"],
    stable: true,
    hears: hears::NEMESIS,
    build: || Box::new(Bank::default()),
};

#[derive(Default)]
struct Bank {
    /// By the bank's name.
    owed: BTreeMap<String, Owed>,
    changed: Vec<Changed>,
}

struct Owed {
    total: i128,
    /// The total was told; else it is the first snapshot's.
    is_told: bool,
    op: OpRef,
}

struct Changed {
    bank: String,
    sum: i128,
    owed: i128,
    is_told: bool,
    op: OpRef,
    /// The op that says what is owed.
    by: OpRef,
}

impl Rule for Bank {
    fn update(&mut self, op: &Op, _: &Facts) {
        let Some(snapshot) = told(op, "bank-snapshot") else { return };
        let Some(sum) = sum(snapshot).filter(|_| text(snapshot, "isolation") != Some("read_uncommitted")) else { return };
        let bank = text(snapshot, "bank").unwrap_or_default().to_owned();
        let op = OpRef::new(op.index);
        let told = snapshot.get("total").and_then(Json::as_i64).map(i128::from);
        let owed = self.owed.entry(bank.clone()).or_insert(Owed { total: told.unwrap_or(sum), is_told: told.is_some(), op });
        if let Some(total) = told.filter(|_| !owed.is_told) {
            *owed = Owed { total, is_told: true, op };
        }
        if sum != owed.total {
            self.changed.push(Changed { bank, sum, owed: owed.total, is_told: owed.is_told, op, by: owed.op });
        }
    }

    fn verdict(&self, _: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for Changed { bank, sum, owed, is_told, op, by } in &self.changed {
            findings.add("balance-changed", || {
                let name = if bank.is_empty() { String::new() } else { format!(" of bank \"{bank}\"") };
                let why = if *is_told { "as was told" } else { "as at the first snapshot" };
                let explanation = format!(
                    "the accounts{name} come to {sum} at a committed snapshot{}: they should come to {owed}, {why}{}",
                    cite(*op),
                    cite(*by)
                );
                example_of_no_key(&[*op, *by], explanation)
            });
        }
        findings.verdict()
    }
}

/// `None` unless every account is an integer. 2^64 accounts of 2^63 fit.
fn sum(snapshot: &Json) -> Option<i128> {
    let accounts = snapshot.get("accounts")?.as_object()?;
    accounts.values().map(|account| account.as_i64().map(i128::from)).sum()
}
