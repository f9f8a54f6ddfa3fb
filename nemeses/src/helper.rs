//! The helper: one script of fixed verbs for hosts on which kchaos is not root (`ssh.privilege = "helper"`).
//!
//! It is made of the very library that root's scripts are made of, with a front that holds each argument against a pattern, so what a verb does is
//! what root's script does. A fault says in the helper's words what a host keeps of it ([`InWords`]); one that says nothing is refused there.
//!
//! Two things hold however the helper is called: nothing is done to a host but what it keeps the undoing of, while the lease for it is armed; and
//! no process is signalled but the one that the host's own list of daemons finds.

use std::collections::BTreeMap;
use std::fmt::Display;

use futures_util::future::join_all;
use kchaos_cluster::helper::{DAEMONS, DIRECTORY, HELPER, SUDOERS, checksum, daemons_file, sudo_rule};
use kchaos_cluster::inventory::{Host, Inventory, Privilege};
use kchaos_cluster::remote::{MARK, Means};

use crate::doors::Doors;
use crate::ground::COMMAND_TIMEOUT;
use crate::host::{self, Answers, CONNECTION, CUT, GUARD, HostPaths, LIBRARY, LINK, PROCESS, WATCHDOG, feed, quote};

const WORDS: &str = include_str!("host/helper_words.sh");
const VERBS: &str = include_str!("host/helper.sh");
const INSTALL: &str = include_str!("host/install.sh");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Faults that the helper has verbs for.
const KNOWN: &[&str] = &[
    "kill",
    "stop",
    "pause",
    "restart",
    "rolling-restart",
    "crash-loop",
    "isolate",
    "depose",
    "partition",
    "one-way-in",
    "one-way-out",
    "cut-zookeeper",
    "cut-peers",
    "cut-clients",
    "flap",
    "delay-connection",
    "loss",
    "move",
    "reassign",
    "change-config",
    "delete-records",
];

/// Why this fault is not done by the helper; `None` if it is.
pub(crate) fn refuses(fault: &str) -> Option<String> {
    let is_known = KNOWN.contains(&fault);
    (!is_known).then(|| "the helper has no verb for it; it needs ssh.privilege = \"root\" (docs/least-privilege.md)".to_owned())
}

pub(crate) fn is_used(inventory: &Inventory) -> bool {
    inventory.ssh.privilege() == Privilege::Helper
}

/// What a fault is in the helper's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InWords {
    /// Of the undo script that the host keeps: its kind and arguments.
    pub(crate) kept: Vec<String>,
    /// What a renewal looks at.
    pub(crate) holds: Vec<String>,
    /// What a renewal reads: the elements of a table.
    pub(crate) renewal: String,
}

impl InWords {
    pub(crate) fn new(kept: Vec<String>) -> Self {
        Self { holds: kept.clone(), kept, renewal: String::new() }
    }

    /// The same, where a renewal looks at something else.
    pub(crate) fn holding(self, holds: Vec<String>) -> Self {
        Self { holds, ..self }
    }
}

pub(crate) fn strings(words: &[&dyn Display]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

pub(crate) fn words(words: &[&dyn Display]) -> Means {
    Means::helper(strings(words))
}

/// One line for people, in the characters that the helper takes.
pub(crate) fn line(text: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || " .,:;_/@=+%#(){}\"[]<>-".contains(c);
    text.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect()
}

/// The run as the helper takes it, where none is meant too.
pub(crate) fn run(run: &str) -> &str {
    if run.is_empty() { "-" } else { run }
}

/// The script as it is installed.
pub fn text() -> String {
    text_at(&HostPaths::default(), HELPER, DAEMONS)
}

fn text_at(paths: &HostPaths, own: &str, daemons: &str) -> String {
    let library = [LIBRARY, PROCESS, CUT, CONNECTION, LINK, GUARD].concat();
    format!(
        "#!/bin/sh\n# kchaos-helper {VERSION}: what kchaos may do as root on this host, and nothing else (docs/least-privilege.md).\n\
         unset KCHAOS_PLACE\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nLC_ALL=C\nexport PATH LC_ALL\n\
         H_VERSION={VERSION} H_MARK={MARK} H_SELF={own} H_DAEMONS={daemons}\nK_RUN='' K_KEY='' K_OWNER=''\n\
         #< library\nK_STATE={state}\nK_VOLATILE={volatile}\n{library}#> library\n\
         # The watchdog's text: the library and what follows it.\nh_watchdog() {{\n    printf \"K_RUN='%s'\\nK_KEY='%s'\\nK_OWNER=''\\n\" \"$K_RUN\" \"$K_KEY\"\n    \
         sed -n '/^#< library$/,/^#> library$/p' \"$H_SELF\"\n    {watchdog}\n}}\n{WORDS}{VERBS}",
        own = quote(own),
        daemons = quote(daemons),
        state = quote(&paths.state),
        volatile = quote(&paths.volatile),
        watchdog = feed("cat", WATCHDOG),
    )
}

/// The sudoers file of a user.
pub fn sudoers(user: &str) -> String {
    format!("{}\n", sudo_rule(user))
}

/// For root's `sh`: puts helper, daemons and rule in place, and says what it did. Does nothing where all is as it should be.
pub fn install_script(inventory: &Inventory, host: &Host, user: &str) -> String {
    let put = |file: &str, mode: &str, text: &str| feed(&format!("i_put {} {mode}", quote(file)), text);
    format!(
        "{}i_needs\nmkdir -p \"$I_DIR\" && chown 0:0 \"$I_DIR\" && chmod 0755 \"$I_DIR\" || i_fail \"$I_DIR could not be made\"\n\
         {}\n{}\ni_rule {}\ni_above\necho done\n",
        prelude(user),
        put(DAEMONS, "0600", &daemons_file(inventory, host)),
        put(HELPER, "0755", &text()),
        quote(&sudo_rule(user)),
    )
}

/// The opposite.
pub fn remove_script(user: &str) -> String {
    format!("{}i_remove\n", prelude(user))
}

fn prelude(user: &str) -> String {
    let state = HostPaths::default().state;
    format!(
        "I_DIR={DIRECTORY}\nI_HELPER={HELPER}\nI_DAEMONS={DAEMONS}\nI_SUDOERS={SUDOERS}\nI_STATE={}\nI_USER={}\n{INSTALL}",
        quote(&state),
        quote(user)
    )
}

/// Of each host: the helper's version, or what is wrong with it and what mends that. Nothing where no helper is used.
pub async fn check(doors: &dyn Doors) -> BTreeMap<String, Result<String, String>> {
    let inventory = doors.inventory();
    if !is_used(inventory) {
        return BTreeMap::new();
    }
    let looks = inventory.hosts.iter().map(async |host| (host.name.clone(), check_one(doors, inventory, host).await));
    join_all(looks).await.into_iter().collect()
}

async fn check_one(doors: &dyn Doors, inventory: &Inventory, host: &Host) -> Result<String, String> {
    let mend = format!("kchaos inventory install-helper --host {}", host.name);
    let remote = doors.remote(&host.name);
    let answers = host::ask_as(remote.as_ref(), "exit 1", &words(&[&"version"]), COMMAND_TIMEOUT, "the helper").await;
    let answers = answers.map_err(|error| format!("the helper did not answer: {error}; {mend}"))?;
    judge(&answers, &checksum(&text()), &checksum(&daemons_file(inventory, host))).map_err(|what| format!("{what}; {mend}"))
}

/// `helper VERSION SUM` and `daemons SUM`, against what this kchaos would install.
fn judge(answers: &Answers, helper: &str, daemons: &str) -> Result<String, String> {
    let (version, sum) = answers.get("helper").and_then(|rest| rest.split_once(' ')).unwrap_or(("?", ""));
    let is = |sum: &str, wanted: &str| sum.split(' ').next() == Some(wanted);
    if !is(sum, helper) {
        return Err(format!("its helper (version {version}) is another than that of this kchaos ({VERSION})"));
    }
    if !answers.get("daemons").is_some_and(|sum| is(sum, daemons)) {
        return Err("its list of daemons was made from another inventory".to_owned());
    }
    Ok(format!("helper {version}, sha256 {}", &helper[..12]))
}

#[cfg(test)]
#[path = "helper_tests.rs"]
mod tests;
