//! The helper of a host on which kchaos is not root: where it lies, how it is called, and what the operator fixes beside it.
//!
//! It is one script of fixed verbs, owned by root (its text is the nemeses': `kchaos-nemeses`). How daemons are found, started and stopped are the
//! inventory's words, which must not come over the wire: they lie in a second file, written when the helper is installed.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::cluster::{check_script, manager_of};
use crate::daemon::Evidence;
use crate::inventory::{Host, Inventory};
use crate::remote::quote;

pub const DIRECTORY: &str = "/usr/local/lib/kchaos";
/// Named by the rule of sudo.
pub const HELPER: &str = "/usr/local/lib/kchaos/kchaos-helper";
/// The daemons of that host.
pub const DAEMONS: &str = "/usr/local/lib/kchaos/daemons";
pub const SUDOERS: &str = "/etc/sudoers.d/kchaos";

/// What sshd is asked to run for a verb and its arguments.
pub(crate) fn command(words: &[String]) -> String {
    let mut command = format!("sudo -n {HELPER}");
    for word in words {
        let _ = write!(command, " {}", quote(word));
    }
    command
}

/// SHA-256 in hexadecimal digits, as `sha256sum` prints it.
pub fn checksum(text: &str) -> String {
    checksum_of_bytes(text.as_bytes())
}

pub fn checksum_of_bytes(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut sum, byte| {
        let _ = write!(sum, "{byte:02x}");
        sum
    })
}

/// The one line of [`SUDOERS`] that counts.
pub fn sudo_rule(user: &str) -> String {
    format!("{user} ALL=(root) NOPASSWD: {HELPER}")
}

/// What lies at [`DAEMONS`]: functions that find, start, stop and hold each daemon of this host, and answer what a host is asked first.
pub fn daemons_file(inventory: &Inventory, host: &Host) -> String {
    let mut text = format!(
        "# The daemons of {}; written by kchaos inventory install-helper. Root's alone to change.\nH_CLUSTER={}\nH_OPT_IN={}\nh_check() (\n{}\n)\n\
         h_daemon() {{\ncase $1 in\n",
        host.name,
        quote(&inventory.cluster.name),
        quote(&host.opt_in_file.to_string_lossy()),
        check_script(host).trim_end(),
    );
    for entry in &host.daemons {
        let manager = manager_of(entry, inventory.command_timeout());
        let hold = manager.hold(&Evidence::default());
        let function = |name: &str, body: &str| format!("{name}() (\n{}\n)\n", body.trim_end());
        let _ = writeln!(text, "{})", entry.label());
        text.push_str(&function("k_find_daemon", &manager.find_script()));
        text.push_str(&function("k_start_daemon", &manager.start_script()));
        text.push_str(&function("h_stop", &manager.stop_script()));
        text.push_str(&function("h_evidence", manager.evidence_script().as_deref().unwrap_or(":")));
        let _ = writeln!(text, "H_HOLDS={}", if hold.is_some() { "yes" } else { "no" });
        if let Some(hold) = hold {
            for (name, body) in [("h_hold", &hold.apply), ("h_holds", &hold.holds), ("h_release", &hold.undo), ("h_released", &hold.undone)]
            {
                text.push_str(&function(name, body));
            }
        }
        text.push_str(";;\n");
    }
    text.push_str("*) return 1 ;;\nesac\n}\n");
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn inventory(start: &str, unit: &str) -> Inventory {
        let text = format!(
            "[cluster]\nname = \"a\"\nenvironment = \"lab\"\nexpect_cluster_id = \"x\"\n[ssh]\nuser = \"kchaos\"\nprivilege = \"helper\"\nkey_file = \"k\"\n\
             known_hosts_file = \"h\"\n[kafka]\nbootstrap = [\"b1:9092\"]\n[zookeeper]\nconnect = [\"b1:2181\"]\n[[host]]\nname = \"b1\"\naddress = \"b1\"\n\
             [[host.daemon]]\nkind = \"kafka\"\nid = 1\nport = 9092\nstart = {start:?}\nstop = \"b\"\nfind = {{ argv = [\"kafka.Kafka\"] }}\nlog_dir = \"/l\"\n\
             [[host.daemon]]\nkind = \"zookeeper\"\nid = 1\nport = 2181\nmanager = \"systemd\"\nunit = {unit:?}\nlog_dir = \"/l\"\n"
        );
        Inventory::parse(Path::new("kchaos.toml"), &text).unwrap()
    }

    fn in_sh(inventory: &Inventory, then: &str) -> String {
        let script = format!("{}{then}", daemons_file(inventory, &inventory.hosts[0]));
        let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn each_daemon_has_its_functions_and_no_other_is_known() {
        let inventory = inventory("/opt/kafka/start", "zookeeper.service");
        let say = "h_daemon kafka:1 && echo $H_HOLDS; h_daemon zookeeper:1 && echo $H_HOLDS; h_daemon kafka:2 || echo none; echo $H_CLUSTER $H_OPT_IN";
        assert_eq!(in_sh(&inventory, say), "no\nyes\nnone\na /etc/kchaos/allow\n");
    }

    #[test]
    fn a_word_of_a_call_is_one_word_of_the_login_shell() {
        let words = ["keep", "it's", "a b"].map(str::to_owned);
        assert_eq!(command(&words), "sudo -n /usr/local/lib/kchaos/kchaos-helper 'keep' 'it'\\''s' 'a b'");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn whatever_an_operators_command_is_the_file_runs_nothing_when_it_is_read(start in "[ -~]{1,30}") {
            prop_assume!(!start.trim().is_empty());
            prop_assert_eq!(in_sh(&inventory(&start, "z.service"), "h_daemon kafka:1; echo end"), "end\n");
        }
    }
}
