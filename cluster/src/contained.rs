//! The way to a host that is a container: scripts run on the engine's host, in the container's network.
//!
//! Why not `docker exec`: what mends a fault must outlive the daemon, and everything in a container ends with its first process. On the
//! engine's host pids can be signalled, undo scripts and watchdogs stay, and with the container's network namespace entered, cuts and
//! queues are the container's own and vanish with it. A container that does not run has no network: its scripts then see an empty one, so
//! that nothing meant for it can ever reach the engine's host.
//!
//! What kchaos keeps on a host (locks, leases, undo scripts) it keeps for each container apart, by `KCHAOS_PLACE`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::remote::{Output, Remote, RemoteError, quote};

pub struct Contained {
    pub(crate) host: String,
    pub(crate) container: String,
    /// `unix:///…`, where it is not the engine that the `docker` command finds by itself.
    pub(crate) docker_host: Option<String>,
    /// To the engine's host.
    pub(crate) engine: Arc<dyn Remote>,
}

#[async_trait]
impl Remote for Contained {
    fn host(&self) -> &str {
        &self.host
    }

    async fn run(&self, script: &str, timeout: Duration) -> Result<Output, RemoteError> {
        let error = match self.engine.run(&self.framed(script), timeout).await {
            Ok(output) => return Ok(output),
            Err(error) => error,
        };
        Err(self.of_this_host(error))
    }
}

impl Contained {
    fn framed(&self, script: &str) -> String {
        let mut end = "KCHAOS_CONTAINED".to_owned();
        while script.contains(&end) {
            end.push('_');
        }
        let engine =
            self.docker_host.as_ref().map_or(String::new(), |address| format!("DOCKER_HOST={} && export DOCKER_HOST\n", quote(address)));
        format!(
            r#"KCHAOS_PLACE={place} && export KCHAOS_PLACE
{engine}inspected=$(docker inspect --type container -f '{{{{.Id}}}} {{{{.State.Pid}}}}' -- {container} 2>/dev/null)
main_pid=${{inspected##* }}
# The container's own process, and not whoever has that pid here.
if [ "${{main_pid:-0}}" != 0 ] && grep -qsF "${{inspected%% *}}" "/proc/$main_pid/cgroup"; then
    set -- nsenter --net="/proc/$main_pid/ns/net"
else
    set -- unshare --net
fi
"$@" sh -s <<'{end}'
{{
{script}
}} </dev/null
{end}
"#,
            place = quote(&self.host),
            container = quote(&self.container),
        )
    }

    /// An engine on this machine is no host of the inventory.
    fn of_this_host(&self, error: RemoteError) -> RemoteError {
        let name = self.host.clone();
        match error {
            RemoteError::Timeout { timeout_ms, .. } => RemoteError::Timeout { host: name, timeout_ms },
            RemoteError::Unknown { reason, .. } => RemoteError::Unknown { host: name, reason },
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::Local;

    #[tokio::test]
    async fn a_script_goes_in_whole_whatever_is_in_it_and_knows_its_place() {
        let way = Contained { host: "kafka1".into(), container: "kafka1".into(), docker_host: None, engine: Arc::new(Local) };
        let script = "echo \"$KCHAOS_PLACE\"\ncat\necho 'KCHAOS_CONTAINED $HOME'\nexit 7";
        // Neither a container nor the right to make a namespace is needed to see what would be run.
        let text = way.framed(script).replace("set -- unshare --net", "set -- env");
        let output = Local.run(&format!("docker() {{ :; }}\n{text}"), Duration::from_secs(10)).await.unwrap();
        assert_eq!((output.status, output.stdout_text().as_str()), (7, "kafka1\nKCHAOS_CONTAINED $HOME\n"), "{output:?}");
    }

    #[tokio::test]
    async fn a_script_that_is_cut_short_does_nothing() {
        let way = Contained { host: "kafka1".into(), container: "kafka1".into(), docker_host: None, engine: Arc::new(Local) };
        let text = way.framed("echo began\nif true; then").replace("set -- unshare --net", "set -- env");
        let output = Local.run(&format!("docker() {{ :; }}\n{text}"), Duration::from_secs(10)).await.unwrap();
        assert_eq!((output.status != 0, output.stdout_text().as_str()), (true, ""));
    }
}
