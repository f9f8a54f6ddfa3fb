//! Daemons that are containers of a Docker engine, driven by the `docker` command on the engine's host.
//!
//! A container's first process is the daemon. Only its pid is the engine's word; that it lives, and since when, is the kernel's, as the
//! engine's host counts pids. A first process that is a shell waiting for its child is refused: a signal to it would miss the daemon.
//!
//! **Reviving.** `docker kill` is an order, after which the engine leaves a container down whatever its restart policy says; a process that
//! is killed behind the engine's back is a crash, and the policy holds. So a daemon that is to stay down is killed by the engine; and its
//! policy is set to `no` until it is mended, because an engine that is itself restarted looks at nothing else.
//!
//! A container of `--rm` is refused: killed, it would be gone with its data, and nobody could start it again.

use std::time::Duration;

use async_trait::async_trait;

use super::evidence::{Evidence, Hold, pairs};
use super::scripts::parse_state;
use super::{DaemonState, Manager, Pid, find};
use crate::inventory::DaemonEntry;
use crate::remote::{Remote, RemoteError, quote};

const POLICY: &str = "{{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}";
const LOOK: &str = "Status={{.State.Status}}\nPid={{.State.Pid}}\nExitCode={{.State.ExitCode}}\nOOMKilled={{.State.OOMKilled}}\n\
                    StartedAt={{.State.StartedAt}}\nRestartCount={{.RestartCount}}\nAutoRemove={{.HostConfig.AutoRemove}}";

/// `manager = "docker"`.
#[derive(Clone, Debug)]
pub struct DockerManager {
    entry: DaemonEntry,
    container: String,
    timeout: Duration,
}

impl DockerManager {
    /// `timeout` is for each command on the engine's host.
    pub fn new(entry: &DaemonEntry, timeout: Duration) -> Self {
        let container = entry.container.clone().unwrap_or_else(|| entry.label().replace(':', ""));
        Self { entry: entry.clone(), container, timeout }
    }

    async fn ask(&self, remote: &dyn Remote, verb: &str, script: &str) -> Result<String, RemoteError> {
        remote.run(script, self.timeout).await?.success(remote.host(), &self.what(verb))
    }

    fn what(&self, verb: &str) -> String {
        format!("{verb} {} (container {})", self.entry.label(), self.container)
    }

    fn inspect(&self, format: &str) -> String {
        format!("docker inspect --type container -f {} -- {}", quote(format), quote(&self.container))
    }

    /// Sets `status` and `main_pid`, or ends the shell: what the engine does not know is not gone.
    fn look(&self) -> String {
        format!(
            r#"inspected=$({}) || exit
status=${{inspected%% *}} main_pid=${{inspected##* }} id=${{inspected#* }}
id=${{id%% *}}
if [ "$main_pid" != 0 ] && [ -e "/proc/$main_pid" ] && ! grep -qF "$id" "/proc/$main_pid/cgroup"; then
    echo "process $main_pid is not in container "{}": this engine counts pids in a namespace or a machine of its own, out of kchaos' reach" >&2
    exit {}
fi
"#,
            self.inspect("{{.State.Status}} {{.Id}} {{.State.Pid}}"),
            quote(&self.container),
            find::DOUBTFUL,
        )
    }
}

#[async_trait]
impl Manager for DockerManager {
    async fn start(&self, remote: &dyn Remote) -> Result<(), RemoteError> {
        self.ask(remote, "starting", &self.start_script()).await.map(drop)
    }

    /// With the container's own patience before it is killed (`stop_grace_period`).
    async fn stop(&self, remote: &dyn Remote) -> Result<(), RemoteError> {
        self.ask(remote, "stopping", &format!("docker stop -- {} >/dev/null\n", quote(&self.container))).await.map(drop)
    }

    async fn state(&self, remote: &dyn Remote) -> Result<DaemonState, RemoteError> {
        let text = self.ask(remote, "finding", &self.find_script()).await?;
        let unreadable = || RemoteError::Unreadable { host: remote.host().to_owned(), what: self.what("finding"), text: text.clone() };
        parse_state(&text).ok_or_else(unreadable)
    }

    fn start_script(&self) -> String {
        let name = quote(&self.container);
        format!(
            "{}case $status in\nrunning) ;;\npaused) docker unpause -- {name} >/dev/null || exit ;;\n\
             *) docker start -- {name} >/dev/null || exit ;;\nesac\n",
            self.look()
        )
    }

    /// A container whose processes are frozen is stopped, whatever the kernel's letter for that is.
    fn find_script(&self) -> String {
        format!(
            "{}if [ \"$status\" = paused ]; then\n    frozen=$(\n{found}) || exit\n    [ -z \"$frozen\" ] || echo \"${{frozen% *}} T\"\nelse\n(\n{found})\nfi\n",
            self.look(),
            found = find::by_main_pid(&format!("container {}", self.container)),
        )
    }

    fn kill_script(&self, pid: Pid) -> Option<String> {
        let name = quote(&self.container);
        let found = self.look();
        Some(format!(
            "(\n{found}[ \"$main_pid\" = {} ] || {{ echo gone; exit; }}\ndocker kill --signal KILL -- {name} >/dev/null && echo signalled\n)",
            pid.pid
        ))
    }

    fn hold(&self, before: &Evidence) -> Option<Hold> {
        let policy = before.policy.strip_prefix("restart=")?;
        if policy == "no" {
            return None;
        }
        let (name, policy_word) = (quote(&self.container), quote(policy));
        // As `docker update` wants it; the engine itself says `no:0`, `always:0`, `on-failure:3`.
        let now = format!("now=$({}) && now=${{now%:0}} && [ \"${{now:-no}}\"", self.inspect(POLICY));
        Some(Hold {
            about: format!("container {} held down: restart=no until mended", self.container),
            changes: format!("container {}: restart={policy}", self.container),
            apply: format!("docker update --restart=no -- {name} >/dev/null || exit\n{now} = no ]\n"),
            holds: format!("{now} = no ]"),
            undo: format!("( {now} = {policy_word} ] ) || docker update --restart={policy_word} -- {name} >/dev/null\n"),
            undone: format!("{now} = {policy_word} ]"),
        })
    }

    async fn evidence(&self, remote: &dyn Remote) -> Result<Option<Evidence>, RemoteError> {
        let script = format!("{}\n", self.inspect(&format!("{LOOK}\nPolicy={POLICY}")));
        let evidence = read(&self.ask(remote, "looking at", &script).await?);
        match evidence {
            Some(evidence) => Ok(Some(evidence)),
            None => Err(RemoteError::Failed {
                host: remote.host().to_owned(),
                what: self.what("looking at"),
                status: 1,
                stderr: "its container is removed when it ends (--rm), so it could not be started again: run it without --rm".to_owned(),
            }),
        }
    }
}

/// `None` for a container that goes away when it ends.
fn read(text: &str) -> Option<Evidence> {
    let told = pairs(text);
    let get = |key: &str| told.get(key).copied().unwrap_or_default();
    if get("AutoRemove") == "true" {
        return None;
    }
    let status = get("Status");
    let is_over = matches!(status, "exited" | "dead" | "created");
    let policy = match get("Policy").trim_end_matches(":0") {
        "" => "no",
        policy => policy,
    };
    let out_of_memory = if get("OOMKilled") == "true" { " (out of memory)" } else { "" };
    Some(Evidence {
        state: status.to_owned(),
        is_down_for_good: is_over,
        restarts: get("RestartCount").parse().ok(),
        life: get("StartedAt").to_owned(),
        result: if is_over || status == "restarting" { format!("exit code {}{out_of_memory}", get("ExitCode")) } else { String::new() },
        lived_ms: None,
        policy: format!("restart={policy}"),
        overrides: String::new(),
        text: format!("{status}, exit code {}{out_of_memory}, {} restarts, restart={policy}", get("ExitCode"), get("RestartCount")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inventory::{DaemonKind, Find, ManagerKind};
    use crate::remote::{Local, Output};

    fn manager() -> DockerManager {
        let entry = DaemonEntry {
            kind: DaemonKind::Kafka,
            id: 1,
            port: 32001,
            peer_ports: Vec::new(),
            controller_port: None,
            manager: ManagerKind::Docker,
            start: String::new(),
            stop: String::new(),
            unit: None,
            container: Some("kafka1".to_owned()),
            find: Find::default(),
            log_dir: "/var/log/kafka".into(),
            disk: None,
            clock: None,
        };
        DockerManager::new(&entry, Duration::from_secs(20))
    }

    /// A `docker` that answers every `inspect` like this and tells what else it was asked, in front of a script.
    async fn with_docker(says: &str, script: &str) -> Output {
        let fake = format!("docker() {{ if [ \"$1\" = inspect ]; then echo {}; else echo \"asked: $*\" >&2; fi; }}\n", quote(says));
        Local.run(&format!("{fake}{script}"), Duration::from_secs(20)).await.unwrap()
    }

    #[tokio::test]
    async fn a_container_is_found_by_its_first_process_and_one_that_is_frozen_is_stopped() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        for (status, is_stopped) in [("running", false), ("paused", true)] {
            let output = with_docker(&format!("{status} / {pid}"), &manager().find_script()).await;
            let state = parse_state(&output.stdout_text()).unwrap_or_else(|| panic!("{output:?}"));
            assert_eq!(matches!(state, DaemonState::Stopped(found) if found.pid == pid), is_stopped, "{output:?}");
            assert_eq!(state.pid().map(|found| found.pid), Some(pid));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let output = with_docker("exited / 0", &manager().find_script()).await;
        assert_eq!((output.status, output.stdout_text().as_str()), (0, ""), "{output:?}");
    }

    #[tokio::test]
    async fn what_is_down_is_started_what_is_frozen_goes_on_and_what_runs_is_left() {
        for (says, asked) in [("exited / 0", "asked: start -- kafka1\n"), ("paused / 1", "asked: unpause -- kafka1\n"), ("running / 1", "")]
        {
            let output = with_docker(says, &manager().start_script()).await;
            assert_eq!((output.status, output.stderr_text().as_str()), (0, asked), "{says}");
        }
    }

    #[tokio::test]
    async fn a_kill_hits_the_process_that_was_meant_or_nobody() {
        // Every control group has a slash in its path, and no process of this machine is in one of that other name.
        let own = std::process::id();
        let output = with_docker(&format!("running c0ffee00c0ffee {own}"), &manager().find_script()).await;
        assert_eq!((output.status, output.stdout_text().as_str()), (find::DOUBTFUL, ""), "a pid of another namespace: {output:?}");
        let pid = Pid { pid: i32::try_from(own).unwrap(), start_time: 1 };
        let kill = manager().kill_script(pid).unwrap();
        let output = with_docker(&format!("running / {own}"), &kill).await;
        assert_eq!(
            (output.stdout_text().as_str(), output.stderr_text().as_str()),
            ("signalled\n", "asked: kill --signal KILL -- kafka1\n")
        );
        let output = with_docker("running / 1", &kill).await;
        assert_eq!((output.stdout_text().as_str(), output.stderr_text().as_str()), ("gone\n", ""));
    }

    #[tokio::test]
    async fn a_restart_policy_is_held_and_given_back() {
        let before = read("Status=running\nRestartCount=0\nPolicy=on-failure:3\nAutoRemove=false\n").unwrap();
        assert_eq!(before.policy, "restart=on-failure:3");
        let hold = manager().hold(&before).unwrap();
        for (says, undone) in [("on-failure:3", true), ("no:0", false), (":0", false)] {
            assert_eq!(with_docker(says, &hold.undone).await.status == 0, undone, "{says}");
            let asked = if undone { "" } else { "asked: update --restart=on-failure:3 -- kafka1\n" };
            assert_eq!(with_docker(says, &hold.undo).await.stderr_text(), asked, "{says}");
            assert_eq!(with_docker(says, &hold.holds).await.status == 0, !undone, "{says}");
        }
        assert_eq!(with_docker("no:0", &hold.apply).await.stderr_text(), "asked: update --restart=no -- kafka1\n");
        assert_ne!(with_docker("always:0", &hold.apply).await.status, 0);
        let unmanaged = read("Status=running\nPolicy=no:0\n").unwrap();
        assert_eq!(manager().hold(&unmanaged), None, "nobody revives it");
    }

    #[test]
    fn a_container_that_goes_away_when_it_ends_is_refused() {
        assert_eq!(read("Status=running\nAutoRemove=true\n"), None);
    }

    proptest! {
        #[test]
        fn whatever_docker_says_is_no_panic(text in "((Status|RestartCount|Policy|ExitCode)=[a-z0-9:]{0,20}\n|\\PC{0,20}\n){0,6}") {
            let _ = read(&text).map(|evidence| manager().hold(&evidence));
        }
    }
}
