//! `set-config` in a daemon's settings file: lines are changed, the old file is kept beside it, and the daemon reads it at its next start. Nothing is
//! undone: what stands there is what its owner wants.

use std::sync::Arc;

use async_trait::async_trait;
use kchaos_cluster::inventory::{DaemonKind, is_secret_property};
use kchaos_cluster::remote::{Means, quote};
use kchaos_core::{Chosen, Effect, Interval, Proof};

use super::{Settings, properties};
use crate::error::{Because, FaultError};
use crate::fault::{HostFault, Injected, Undo};
use crate::faults::daemon::Daemon;
use crate::ground::{COMMAND_TIMEOUT, Ground};
use crate::helper;
use crate::host::{PROCESS, feed};

struct SetFile {
    daemon: Daemon,
    settings: Settings,
    /// As the daemon's process sees it.
    file: String,
    before: Settings,
    after: String,
}

pub(super) async fn plan(
    ground: Arc<Ground>,
    chosen: Chosen,
    file: Option<&str>,
    settings: &Settings,
) -> Result<Box<dyn HostFault>, FaultError> {
    if helper::is_used(ground.shared.doors.inventory()) {
        let reason = "the helper has no verb for it; it needs ssh.privilege = \"root\" (docs/least-privilege.md)";
        return Err(FaultError::refused(&ground.nemesis, reason));
    }
    let failed = |why| FaultError::environment(&ground.nemesis, "the settings file could not be read", Because(why));
    let daemon = Daemon::find(Arc::clone(&ground), chosen).await?;
    let file = match file {
        Some(file) => file.to_owned(),
        None => file_of(&daemon).await.map_err(failed)?,
    };
    let text = read(&daemon, &file).await.map_err(failed)?;
    let before = properties::values(&text, settings.keys());
    let after = properties::with(&text, settings);
    Ok(Box::new(SetFile { daemon, settings: settings.clone(), file, before, after }))
}

#[async_trait]
impl HostFault for SetFile {
    fn host(&self) -> &str {
        &self.daemon.chosen.host
    }

    fn undo(&self) -> Undo {
        Undo {
            about: format!(
                "{}: settings in {} of {}, which stay as they are by then",
                self.daemon.ground.nemesis, self.file, self.daemon.chosen.daemon
            ),
            parts: &[],
            setup: String::new(),
            mend: "return 0".to_owned(),
            verify: "return 0".to_owned(),
        }
    }

    fn holds(&self) -> String {
        "return 0".to_owned()
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        let failed = |error| FaultError::environment(&self.daemon.ground.nemesis, format!("{} could not be written", self.file), error);
        let kept = self.kept();
        let write = format!(
            "{}k_write_settings() {{ cp -p \"$file\" \"$file.kchaos-new\" && cat >\"$file.kchaos-new\"; }}\n\
             k_same_process {} || {{ echo gone; return 1; }}\n\
             cp -p \"$file\" \"$dir\"{kept} || return 1\n{} || return 1\n\
             mv -f \"$file.kchaos-new\" \"$file\" && sync && echo written",
            self.place(),
            self.daemon.arguments(),
            feed_or_fail(&self.after),
            kept = quote(&kept),
        );
        let after_ns = self.daemon.ground.now();
        let answers = self.daemon.ground.ask_armed(self.host(), &[PROCESS], &write, "writing the settings").await.map_err(failed)?;
        if !answers.has("written") {
            let why = Because(format!("the host answered \"{}\"", answers.text()));
            return Err(FaultError::environment(&self.daemon.ground.nemesis, format!("{} could not be written", self.file), why));
        }
        let when = Interval { after_ns, before_ns: self.daemon.ground.now() };
        let effect = Effect { files: vec![self.file.clone(), self.kept_path()], settings: self.words(), ..Effect::default() };
        Ok(Injected { when, effect })
    }

    async fn proof(&self) -> Result<Proof, FaultError> {
        let text = match read(&self.daemon, &self.file).await {
            Ok(text) => text,
            Err(why) => return Ok(Proof { proved: false, text: format!("{} could not be read again: {why}", self.file) }),
        };
        let now = properties::values(&text, self.settings.keys());
        let said = format!("{} on {}: {}; what it was is in {}", self.file, self.host(), self.words().join(", "), self.kept_path());
        if now == self.settings {
            return Ok(Proof { proved: true, text: said });
        }
        Ok(Proof { proved: false, text: format!("{} on {} does not say so when it is read again", self.file, self.host()) })
    }

    async fn mend(&self) -> Result<Interval, String> {
        Ok(Interval::at(self.daemon.ground.now()))
    }

    async fn mended(&self) -> Proof {
        Proof { proved: true, text: "nothing is to be mended: what was set stays".to_owned() }
    }
}

impl SetFile {
    /// The name of the old file, beside the new one.
    fn kept(&self) -> String {
        let name = self.file.rsplit('/').next().unwrap_or(&self.file);
        format!("{name}.before-{}", self.daemon.ground.key())
    }

    fn kept_path(&self) -> String {
        let directory = self.file.rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{directory}/{}", self.kept())
    }

    /// Sets `file` and `dir` to where the daemon's process sees them, which may be a container's.
    fn place(&self) -> String {
        format!("file={}\ndir=${{file%/*}}/\n", self.daemon_root(&self.file))
    }

    fn daemon_root(&self, file: &str) -> String {
        seen_by(&self.daemon, file)
    }

    fn words(&self) -> Vec<String> {
        let shown = |key: &str, value: &Option<String>| match value {
            None => "none".to_owned(),
            Some(_) if is_secret_property(key) => "(hidden)".to_owned(),
            Some(value) => value.clone(),
        };
        let word = |(key, after): (&String, &Option<String>)| {
            let before = self.before.get(key).cloned().flatten();
            format!("{key} {} to {}", shown(key, &before), shown(key, after))
        };
        self.settings.iter().map(word).collect()
    }
}

fn feed_or_fail(text: &str) -> String {
    // The function's own status is that of the last command that wrote.
    let fed = feed("k_write_settings", text);
    format!("{{ {fed}\n}}")
}

/// A path of the process, as a word of `sh` on its host.
fn seen_by(daemon: &Daemon, file: &str) -> String {
    quote(&format!("/proc/{}/root{file}", daemon.before.pid))
}

/// The argument behind the main class of its process.
async fn file_of(daemon: &Daemon) -> Result<String, String> {
    let main_class = match daemon.entry.kind {
        DaemonKind::Kafka | DaemonKind::Controller => r"kafka\.Kafka",
        DaemonKind::Zookeeper => r"org\.apache\.zookeeper\.server\.quorum\.QuorumPeerMain",
    };
    let pid = daemon.before.pid;
    let call = format!(
        "k_same_process {} || return 0\nfile=$(tr '\\0' '\\n' </proc/{pid}/cmdline | sed -n '/^{main_class}$/{{n;p;q;}}')\n\
         case $file in '') return 0 ;; /*) ;; *) file=$(readlink /proc/{pid}/cwd)/$file ;; esac\necho \"file $file\"",
        daemon.arguments()
    );
    let answers = daemon.ground.ask(&daemon.chosen.host, &[PROCESS], &call, "the look for its settings file").await;
    let answers = answers.map_err(|error| error.to_string())?;
    answers
        .get("file")
        .map(str::to_owned)
        .ok_or_else(|| format!("{} has no settings file behind its main class: name it in the step, file = \"/etc/…\"", daemon.name()))
}

async fn read(daemon: &Daemon, file: &str) -> Result<String, String> {
    let remote = daemon.ground.shared.doors.remote(&daemon.chosen.host);
    let script = format!("cat {}", seen_by(daemon, file));
    let output = remote.run_as(&script, &Means::Root, COMMAND_TIMEOUT).await.map_err(|error| error.to_string())?;
    output.success(&daemon.chosen.host, &format!("reading {file}")).map_err(|error| error.to_string())
}
