//! Clients on a host of the cluster (`--client-hosts`): the place of their program there, and the commands that put it there, start it and take it away.
//!
//! No undo script and no lease: a worker ends by itself when its connection does, and what is left is files. `kchaos heal`, and the sweep at every start, take
//! away what a killed run left, and end by pid and start time what should still run of it.

use kchaos_cluster::remote::Means;

use crate::doors::Doors;
use crate::ground::COMMAND_TIMEOUT;
use crate::host::{self, Answers, Caller, GUARD, HostPaths, plain, quote};

/// On whose behalf.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    pub run_id: String,
    /// For people, in the audit of the host.
    pub holder: String,
    pub paths: HostPaths,
}

/// Where the program of a run's clients lies on a host, or is to lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerPlace {
    /// As `uname -m` says it.
    pub machine: String,
    directory: String,
}

impl WorkerPlace {
    /// Takes the program, compressed by gzip, on standard input, holds it against its SHA-256, and sees whether it runs there.
    pub fn put_command(&self, sha256: &str) -> String {
        let script = format!(
            "d={}\numask 077\n{{ gzip -dc >\"$d/part\" && s=$(sha256sum <\"$d/part\"); }} || exit 8\n\
             [ \"${{s%% *}}\" = {sha256} ] || {{ echo 'what arrived is not what was sent' >&2; exit 8; }}\n\
             chmod 700 \"$d/part\" && mv -f \"$d/part\" \"$d/kchaos\" && exec \"$d/kchaos\" --version </dev/null\n",
            quote(&self.directory)
        );
        format!("sh -c {}", quote(&script))
    }

    /// Starts it. Its pid and start time are written down before it is; where that fails, since all is being taken away, it is not started.
    pub fn start_command(&self) -> String {
        let script = format!(
            "d={}\numask 077\nread -r l </proc/$$/stat || exit 8\nset -- ${{l##*) }}\n\
             echo \"$$ ${{20}}\" >\"$d/$$.pid\" && exec \"$d/kchaos\" worker\n",
            quote(&self.directory)
        );
        format!("sh -c {}", quote(&script))
    }
}

/// Makes the place. The host must have been locked for this run; why not, in a sentence.
pub async fn make_worker_place(doors: &dyn Doors, options: &WorkerOptions, host: &str) -> Result<WorkerPlace, String> {
    let answers = ask(doors, options, host, "k_worker_begin").await?;
    if let Some(why) = answers.get("refused") {
        return Err(why.to_owned());
    }
    let place = answers.get("place").and_then(|place| place.split_once(' '));
    let (machine, directory) = place.ok_or_else(|| format!("it answered with {:?}", answers.text()))?;
    Ok(WorkerPlace { machine: machine.to_owned(), directory: directory.to_owned() })
}

/// Ends what runs of this run's workers on a host, and takes their place away; why not, in a sentence.
pub async fn remove_worker_place(doors: &dyn Doors, options: &WorkerOptions, host: &str) -> Result<(), String> {
    let answers = ask(doors, options, host, "k_worker_remove").await?;
    match answers.has("removed") {
        true => Ok(()),
        false => Err(format!("clients of the run are still there: {}", answers.text())),
    }
}

async fn ask(doors: &dyn Doors, options: &WorkerOptions, host: &str, call: &str) -> Result<Answers, String> {
    let run = plain(&options.run_id);
    let script = Caller { paths: &options.paths, run: &run, key: "", owner: &options.holder }.script(&[GUARD], call);
    let remote = doors.mending(host);
    host::ask_as(remote.as_ref(), &script, &Means::Root, COMMAND_TIMEOUT, "the clients' place").await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn sh(command: &str, input: &[u8]) -> std::process::Output {
        let mut child = spawn(command);
        // One that refuses early does not read it.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    fn spawn(command: &str) -> Child {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn place(directory: &Path) -> WorkerPlace {
        WorkerPlace { machine: "x86_64".into(), directory: directory.display().to_string() }
    }

    fn on_host(state: &Path, run: &str, call: &str) -> String {
        let paths = HostPaths { state: state.display().to_string(), volatile: state.join("run").display().to_string() };
        let script = Caller { paths: &paths, run, key: "", owner: "me" }.script(&[GUARD], call);
        String::from_utf8(sh("sh -s", script.as_bytes()).stdout).unwrap()
    }

    /// A program that says its version, or waits until its input ends.
    const PROGRAM: &str = "#!/bin/sh\n[ \"$1\" = --version ] && { echo 'kchaos 1'; exit; }\ncat >/dev/null\n";

    fn packed(text: &str) -> Vec<u8> {
        sh("gzip -c", text.as_bytes()).stdout
    }

    #[test]
    fn what_arrives_is_held_against_its_sum_and_tried() {
        let directory = tempfile::tempdir().unwrap();
        let place = place(directory.path());
        let sum = kchaos_cluster::helper::checksum(PROGRAM);
        let good = sh(&place.put_command(&sum), &packed(PROGRAM));
        assert_eq!(String::from_utf8_lossy(&good.stdout), "kchaos 1\n", "{good:?}");
        let other = sh(&place.put_command(&sum), &packed("#!/bin/sh\necho other\n"));
        assert!(!other.status.success() && String::from_utf8_lossy(&other.stderr).contains("not what was sent"), "{other:?}");
        let cut_off = sh(&place.put_command(&sum), &packed(PROGRAM)[..20]);
        assert!(!cut_off.status.success(), "{cut_off:?}");
    }

    #[test]
    fn what_runs_is_ended_by_its_pid_and_the_place_is_gone_and_a_sweep_leaves_its_own_run_alone() {
        let state = tempfile::tempdir().unwrap();
        assert!(on_host(state.path(), "r1", "k_worker_begin").starts_with("place "));
        let directory = state.path().join("worker/r1");
        let place = place(&directory);
        assert!(sh(&place.put_command(&kchaos_cluster::helper::checksum(PROGRAM)), &packed(PROGRAM)).status.success());
        let mut worker = spawn(&place.start_command());
        let pids = || {
            std::fs::read_dir(&directory)
                .into_iter()
                .flatten()
                .flatten()
                .filter(|file| file.path().extension().is_some_and(|e| e == "pid"))
                .count()
        };
        while pids() == 0 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let sweep = "k_sweep_workers; echo end";
        assert_eq!(on_host(state.path(), "r1", sweep), "end\n");
        assert!(worker.try_wait().unwrap().is_none());
        assert_eq!(on_host(state.path(), "r2", sweep), "healed r1 clients of a run\nend\n");
        assert!(!worker.wait().unwrap().success() && !directory.exists());
        // One that is started when the place is gone does not run.
        assert!(!sh(&place.start_command(), b"").status.success());
        assert_eq!(on_host(state.path(), "r1", "k_worker_remove"), "removed\n");
    }
}
