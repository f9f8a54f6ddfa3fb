//! Daemons that are units of the host's systemd.
//!
//! The unit's main process is the daemon. Only its pid is systemd's word; that it lives, and since when, is the kernel's. A main process
//! that is a shell waiting for its child is refused: a signal to it would miss the daemon. (`find` in the inventory says better then.)
//!
//! **Reviving.** `Restart=` is looked at when the daemon ends, so it is overruled before: by a drop-in below `/run`, which no reboot
//! survives, whose name sorts last and which is ours alone. `systemctl mask` would do for a start by hand too, but it stops nobody from
//! reviving a unit that is loaded.
//!
//! `NRestarts` is there since systemd 235; older ones leave it out, and the rest of the evidence stands without it.

use std::time::Duration;

use async_trait::async_trait;

use super::evidence::{Evidence, Hold, pairs};
use super::scripts::parse_state;
use super::{DaemonState, Manager, by_helper, find};
use crate::inventory::DaemonEntry;
use crate::remote::{Remote, RemoteError, quote};

/// Sorts behind what people write (`override.conf`, `10-….conf`).
const DROP_IN: &str = "zz-kchaos.conf";

const PROPERTIES: &[&str] = &[
    "ActiveState",
    "SubState",
    "Result",
    "MainPID",
    "NRestarts",
    "InvocationID",
    "ExecMainCode",
    "ExecMainStatus",
    "ExecMainStartTimestampMonotonic",
    "ExecMainExitTimestampMonotonic",
    "Restart",
    "DropInPaths",
];

/// `manager = "systemd"`.
#[derive(Clone, Debug)]
pub struct SystemdManager {
    entry: DaemonEntry,
    unit: String,
    timeout: Duration,
}

impl SystemdManager {
    /// `timeout` is for each command on the host.
    pub fn new(entry: &DaemonEntry, timeout: Duration) -> Self {
        let unit = entry.unit.clone().unwrap_or_else(|| format!("{}.service", entry.kind.name()));
        Self { entry: entry.clone(), unit, timeout }
    }

    /// `word`: the helper's for the same.
    async fn ask(&self, remote: &dyn Remote, verb: &str, word: &str, script: &str) -> Result<String, RemoteError> {
        let means = by_helper(word, self.entry.label());
        remote.run_as(script, &means, self.timeout).await?.success(remote.host(), &self.what(verb))
    }

    fn what(&self, verb: &str) -> String {
        format!("{verb} {} ({})", self.entry.label(), self.unit)
    }

    /// Sets `main_pid`, or ends the shell: what systemd does not know is not gone.
    fn main_pid(&self) -> String {
        let unit = quote(&self.unit);
        format!(
            r#"load_state= main_pid=
properties=$(systemctl show -p LoadState -p MainPID -- {unit}) || exit
while IFS='=' read -r key value; do
    case $key in LoadState) load_state=$value ;; MainPID) main_pid=$value ;; esac
done <<END_OF_PROPERTIES
$properties
END_OF_PROPERTIES
if [ "$load_state" != loaded ]; then
    echo "systemd has no usable unit "{unit}": LoadState=$load_state" >&2
    exit {doubtful}
fi
"#,
            doubtful = find::DOUBTFUL,
        )
    }

    fn drop_in(&self) -> String {
        format!("/run/systemd/system/{}.d/{DROP_IN}", self.unit)
    }
}

#[async_trait]
impl Manager for SystemdManager {
    async fn start(&self, remote: &dyn Remote) -> Result<(), RemoteError> {
        self.ask(remote, "starting", "start", &self.start_script()).await.map(drop)
    }

    /// Does not wait for its end: who asked looks for it.
    async fn stop(&self, remote: &dyn Remote) -> Result<(), RemoteError> {
        self.ask(remote, "stopping", "stop", &self.stop_script()).await.map(drop)
    }

    async fn state(&self, remote: &dyn Remote) -> Result<DaemonState, RemoteError> {
        let text = self.ask(remote, "finding", "find", &self.find_script()).await?;
        let unreadable = || RemoteError::Unreadable { host: remote.host().to_owned(), what: self.what("finding"), text: text.clone() };
        parse_state(&text).ok_or_else(unreadable)
    }

    /// A unit that failed too often is not started before its failures are forgotten. A start that takes long (`Type=notify`) goes on.
    fn start_script(&self) -> String {
        let wait_s = (self.timeout.as_secs() / 2).max(1);
        format!(
            r#"found=$(
{find}) || exit
if [ -z "$found" ]; then
    systemctl reset-failed -- {unit} 2>/dev/null
    timeout {wait_s} systemctl start -- {unit}
    status=$?
    [ $status -eq 124 ] || exit $status
fi
"#,
            find = self.find_script(),
            unit = quote(&self.unit),
        )
    }

    fn find_script(&self) -> String {
        if self.entry.find.is_unset() {
            format!("{}{}", self.main_pid(), find::by_main_pid(&self.unit))
        } else {
            find::script(&self.entry.find)
        }
    }

    fn stop_script(&self) -> String {
        format!("systemctl --no-block stop -- {}\n", quote(&self.unit))
    }

    fn evidence_script(&self) -> Option<String> {
        Some(format!("systemctl show -p {} -- {}\n", PROPERTIES.join(" -p "), quote(&self.unit)))
    }

    fn hold(&self, _before: &Evidence) -> Option<Hold> {
        let (unit, file) = (quote(&self.unit), quote(&self.drop_in()));
        let directory = quote(&format!("/run/systemd/system/{}.d", self.unit));
        let restart = format!("$(systemctl show -p Restart -- {unit})");
        let gone = format!("[ ! -e {file} ] && case \" $(systemctl show -p DropInPaths -- {unit}) \" in *{DROP_IN}*) false ;; esac");
        Some(Hold {
            about: format!("{} held down: Restart=no until mended", self.unit),
            changes: self.drop_in(),
            apply: format!(
                "mkdir -p {directory} && printf '%s\\n' '# kchaos holds this unit down; removed when it is mended.' '[Service]' 'Restart=no' >{file} &&\n\
                 systemctl daemon-reload || exit\n\
                 restart={restart}\n\
                 [ \"$restart\" = Restart=no ] || {{ echo \"systemd still says $restart for \"{unit} >&2; exit 1; }}\n"
            ),
            holds: format!("[ -e {file} ] && [ \"{restart}\" = Restart=no ]"),
            // The directory was there before if anything else is in it.
            undo: format!(
                "if ! {{ {gone}; }}; then\n    rm -f {file}\n    rmdir {directory} 2>/dev/null\n    systemctl daemon-reload\nfi\n"
            ),
            undone: gone,
        })
    }

    async fn evidence(&self, remote: &dyn Remote) -> Result<Option<Evidence>, RemoteError> {
        let script = self.evidence_script().unwrap_or_default();
        Ok(Some(read(&self.ask(remote, "looking at", "evidence", &script).await?)))
    }
}

fn read(text: &str) -> Evidence {
    let told = pairs(text);
    let get = |key: &str| told.get(key).copied().unwrap_or_default();
    let number = |key: &str| get(key).parse::<u64>().ok();
    // How the kernel ended it (CLD_EXITED, CLD_KILLED, CLD_DUMPED); 0 while it lives.
    let result = match get("ExecMainCode") {
        "1" => format!("exit code {}", get("ExecMainStatus")),
        "2" | "3" => format!("signal {}", get("ExecMainStatus")),
        _ => String::new(),
    };
    let lived_us = number("ExecMainExitTimestampMonotonic")
        .filter(|exit| *exit > 0)
        .and_then(|exit| exit.checked_sub(number("ExecMainStartTimestampMonotonic")?));
    let shown = ["ActiveState", "SubState", "Result", "NRestarts", "InvocationID", "Restart"];
    let text: Vec<String> = shown.iter().filter(|key| !get(key).is_empty()).map(|key| format!("{key}={}", get(key))).collect();
    Evidence {
        state: format!("{}/{}", get("ActiveState"), get("SubState")),
        is_down_for_good: matches!(get("ActiveState"), "failed" | "inactive"),
        restarts: number("NRestarts"),
        life: get("InvocationID").to_owned(),
        result,
        lived_ms: lived_us.map(|us| us / 1_000),
        policy: format!("Restart={}", get("Restart")),
        overrides: get("DropInPaths").to_owned(),
        text: text.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inventory::{DaemonKind, Find, ManagerKind};
    use crate::remote::{Local, Output};

    fn manager(unit: &str, find: Find) -> SystemdManager {
        let entry = DaemonEntry {
            kind: DaemonKind::Kafka,
            id: 1,
            port: 9092,
            peer_ports: Vec::new(),
            controller_port: None,
            manager: ManagerKind::Systemd,
            start: String::new(),
            stop: String::new(),
            unit: Some(unit.to_owned()),
            container: None,
            find,
            log_dir: "/var/log/kafka".into(),
            disk: None,
            clock: None,
        };
        SystemdManager::new(&entry, Duration::from_secs(20))
    }

    /// A `systemctl` that says this of every unit, in front of a script.
    async fn with_systemctl(says: &str, script: &str) -> Output {
        let fake = format!("systemctl() {{ printf '%s\\n' {} ; }}\n", quote(says));
        Local.run(&format!("{fake}{script}"), Duration::from_secs(20)).await.unwrap()
    }

    #[tokio::test]
    async fn the_main_process_of_a_unit_is_found_with_its_start_time() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let script = manager("kafka.service", Find::default()).find_script();
        let output = with_systemctl(&format!("LoadState=loaded\nMainPID={pid}"), &script).await;
        let state = parse_state(&output.stdout_text()).unwrap();
        assert_eq!(state.pid().map(|found| found.pid), Some(pid), "{output:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        let output = with_systemctl(&format!("LoadState=loaded\nMainPID={pid}"), &script).await;
        assert_eq!((output.status, parse_state(&output.stdout_text())), (0, Some(DaemonState::Gone)), "{output:?}");
    }

    #[tokio::test]
    async fn a_unit_without_a_process_is_gone_and_a_unit_that_is_not_there_is_an_error() {
        let script = manager("kafka@1.service", Find::default()).find_script();
        let output = with_systemctl("LoadState=loaded\nMainPID=0", &script).await;
        assert_eq!((output.status, output.stdout_text().as_str()), (0, ""), "{output:?}");
        for says in ["LoadState=not-found\nMainPID=0", "LoadState=masked\nMainPID=0", "", "nonsense"] {
            let output = with_systemctl(says, &script).await;
            assert_eq!(output.status, find::DOUBTFUL, "{says:?}: {output:?}");
            assert!(output.stderr_text().contains("kafka@1.service"), "{output:?}");
        }
    }

    #[tokio::test]
    async fn a_main_process_that_is_a_shell_is_refused() {
        let mut child = std::process::Command::new("sh").args(["-c", "sleep 60; :"]).spawn().unwrap();
        let script = manager("kafka.service", Find::default()).find_script();
        let output = with_systemctl(&format!("LoadState=loaded\nMainPID={}", child.id()), &script).await;
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(output.status, find::DOUBTFUL, "{output:?}");
        assert!(output.stderr_text().contains("is a shell"), "{output:?}");
    }

    #[test]
    fn what_the_inventory_says_of_the_process_outweighs_systemd() {
        let find = manager("kafka.service", Find::Argv(vec!["kafka.Kafka".into()])).find_script();
        assert!(!find.contains("systemctl"), "{find}");
    }

    #[test]
    fn evidence_is_read_from_what_systemctl_shows() {
        let dead = "ActiveState=failed\nSubState=failed\nResult=exit-code\nMainPID=0\nNRestarts=1\nInvocationID=ab12\nExecMainCode=1\nExecMainStatus=1\n\
                    ExecMainStartTimestampMonotonic=1000000\nExecMainExitTimestampMonotonic=3250000\nRestart=on-abnormal\nDropInPaths=\n";
        let evidence = read(dead);
        assert!(evidence.is_down_for_good);
        assert_eq!((evidence.restarts, evidence.result.as_str(), evidence.lived_ms), (Some(1), "exit code 1", Some(2_250)));
        assert_eq!(evidence.policy, "Restart=on-abnormal");
        let waiting = read("ActiveState=activating\nSubState=auto-restart\nExecMainCode=2\nExecMainStatus=9\n");
        assert!(!waiting.is_down_for_good);
        assert_eq!(waiting.result, "signal 9");
    }

    proptest! {
        #[test]
        fn whatever_systemctl_says_is_no_panic(text in "((ActiveState|NRestarts|ExecMainExitTimestampMonotonic)=[a-z0-9]{0,20}\n|\\PC{0,20}\n){0,6}") {
            let _ = read(&text);
        }
    }
}
