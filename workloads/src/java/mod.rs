//! Producers and consumers of the Java client (`kafka-clients`), each in a process of its own.
//!
//! Why: what is found with librdkafka may be librdkafka's own. The Java client is the one that most users have, is written by those who wrote the
//! broker, and shares no line with librdkafka. What both find is hardly the client's.
//!
//! A process (`Worker.java`) holds one client and decides nothing. It is told what to do and answers by lines (`worker/protocol.rs`); what an answer means is
//! said by the table in `errors.rs`. All that is recorded is recorded here, by the run's one recorder: an invoke before the worker is told, a
//! completion after its answer came, so latencies take in the way through two pipes. A worker that dies is what a dead client is: `crash`, and
//! a new one.

pub(crate) mod errors;
mod process;
mod producer;
mod properties;
mod security;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::WorkloadError;
use crate::instance::Instance;
use crate::library::{Library, Reading, Sending};
use crate::options::{Isolation, Options};
use crate::properties::Role;
use crate::racks;
use crate::run::Clients;
use crate::shared::Shared;
use crate::worker::protocol::Start;
use crate::worker::{Pipes, WorkerConsumer};
use crate::writer::Writer;

pub(crate) use properties::check as check_properties;

const SOURCE: &str = include_str!("Worker.java");
const CLASS: &str = "Worker";
const JARS: &[&str] = &["slf4j-api", "slf4j-reload4j", "reload4j", "lz4-java", "snappy-java", "zstd-jni"];
const CLIENTS: &str = "kafka-clients-";
const LOG: &str = "log4j.rootLogger=WARN, stderr\nlog4j.appender.stderr=org.apache.log4j.ConsoleAppender\nlog4j.appender.stderr.Target=System.err\n\
    log4j.appender.stderr.layout=org.apache.log4j.PatternLayout\nlog4j.appender.stderr.layout.ConversionPattern=%p %c{1}: %m%n\n";

/// A Java that can compile, and the jars of one version of the client.
#[derive(Clone, Debug)]
pub struct Java {
    program: PathBuf,
    class_path: OsString,
    pub kafka_version: String,
    pub java_version: String,
}

/// Why there is no Java client to be had. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum JavaError {
    #[error("--client java needs Java, and `{program}` cannot be run ({reason}): `make setup` installs it, or set JAVA_HOME")]
    NoJava { program: String, reason: String },
    #[error(
        "--client java needs a JDK to compile its worker, and `{program}` ({version}) is a mere JRE: install one (default-jdk-headless)"
    )]
    NoCompiler { program: String, version: String },
    #[error(
        "--client java needs the jars of kafka-clients and slf4j-api, and {directory} has {found}: run `make setup`, or give --client-jars DIR"
    )]
    Jars { directory: String, found: String },
}

impl Java {
    /// `jars`: the directory of the jars.
    pub fn find(jars: &Path) -> Result<Self, JavaError> {
        let program = std::env::var_os("JAVA_HOME").map_or_else(|| PathBuf::from("java"), |home| PathBuf::from(home).join("bin/java"));
        let name = program.display().to_string();
        let output = Command::new(&program).arg("-version").stdin(Stdio::null()).output();
        let output = output.map_err(|error| JavaError::NoJava { program: name.clone(), reason: error.to_string() })?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let version = told.lines().find_map(|line| line.split('"').nth(1)).map(str::to_owned);
        let Some(java_version) = version.filter(|_| output.status.success()) else {
            return Err(JavaError::NoJava { program: name, reason: told.lines().next().unwrap_or("it says nothing").to_owned() });
        };
        let compiler = Command::new(&program).args(["--describe-module", "jdk.compiler"]).stdin(Stdio::null()).output();
        if !compiler.is_ok_and(|output| output.status.success()) {
            return Err(JavaError::NoCompiler { program: name, version: java_version });
        }
        let (class_path, kafka_version) = class_path(jars)?;
        Ok(Self { program, class_path, kafka_version, java_version })
    }

    /// The worker's class, in a directory of its own that goes with it.
    fn compile(&self) -> Result<JavaClient, String> {
        let directory = tempfile::Builder::new().prefix("kchaos-client-").tempdir().map_err(|error| error.to_string())?;
        let source = directory.path().join("Worker.java");
        let written = std::fs::write(&source, SOURCE).and_then(|()| std::fs::write(directory.path().join("log4j.properties"), LOG));
        written.map_err(|error| format!("cannot write to {}: {error}", directory.path().display()))?;
        let output = Command::new(&self.program)
            .args(["--module", "jdk.compiler/com.sun.tools.javac.Main", "-cp"])
            .arg(&self.class_path)
            .arg("-d")
            .arg(directory.path())
            .arg(&source)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("Java {} does not compile its worker: {}", self.java_version, said.lines().next().unwrap_or("")));
        }
        let mut class_path = OsString::from(directory.path());
        class_path.push(":");
        class_path.push(&self.class_path);
        Ok(JavaClient { program: self.program.clone(), class_path, directory })
    }
}

/// The jars that the client needs, and its version: by their names.
fn class_path(directory: &Path) -> Result<(OsString, String), JavaError> {
    let wrong = |found: String| JavaError::Jars { directory: directory.display().to_string(), found };
    let listed = std::fs::read_dir(directory).map_err(|error| wrong(format!("none ({error})")))?;
    let mut names: Vec<String> = listed.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    let is_of = |name: &str, jar: &str| {
        let rest = name.strip_prefix(jar).and_then(|rest| rest.strip_prefix('-'));
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && rest.ends_with(".jar"))
    };
    let clients: Vec<&String> = names.iter().filter(|name| is_of(name, CLIENTS.trim_end_matches('-'))).collect();
    let [client] = clients.as_slice() else {
        return Err(wrong(format!("{} jars of kafka-clients where one is wanted", clients.len())));
    };
    if !names.iter().any(|name| is_of(name, "slf4j-api")) {
        return Err(wrong("no slf4j-api".to_owned()));
    }
    let wanted = names.iter().filter(|name| name == client || JARS.iter().any(|jar| is_of(name, jar)));
    let paths: Vec<PathBuf> = wanted.map(|name| directory.join(name)).collect();
    let class_path = std::env::join_paths(paths).map_err(|error| wrong(format!("a name that no class path can have ({error})")))?;
    let version = client.trim_start_matches(CLIENTS).trim_end_matches(".jar").to_owned();
    Ok((class_path, version))
}

/// The library: a compiled worker.
struct JavaClient {
    program: PathBuf,
    class_path: OsString,
    directory: TempDir,
}

impl JavaClient {
    fn spawn(&self) -> Result<(Pipes, String), String> {
        process::spawn(self.command())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.arg(format!("-Dlog4j.configuration=file:{}", self.directory.path().join("log4j.properties").display()));
        command.arg("-cp").arg(&self.class_path).arg(CLASS);
        command
    }
}

impl Library for JavaClient {
    fn producer(&self, writer: &Writer, instance: &Arc<Instance>) -> Result<Box<dyn Sending>, String> {
        Ok(Box::new(producer::JavaProducer::start(self, writer, instance)?))
    }

    fn consumer(&self, shared: &Arc<Shared>, name: &str, isolation: Isolation, rack: Option<&str>) -> Result<Box<dyn Reading>, String> {
        let mut all = shared.properties(Role::Consumer, name);
        if let Some(rack) = rack {
            all.insert(racks::PROPERTY.to_owned(), rack.to_owned());
            shared.served.meets(name, rack);
        }
        let properties = properties::consumer(&all, isolation)?;
        let start = Start { role: "consumer", properties, keys: &shared.keys };
        let (pipes, place) = self.spawn()?;
        // Assignments are made on the thread that polls: nothing has to settle.
        Ok(Box::new(WorkerConsumer::start(pipes, place, shared, (&start, &shared.log(name)), Duration::ZERO, |_| true)?))
    }
}

/// The clients of a run: those of `append`, of this library.
pub(crate) struct JavaClients(Arc<JavaClient>);

impl JavaClients {
    pub(crate) fn new(java: Option<&Java>, options: &Options, inventory: impl Iterator<Item = String>) -> Result<Self, WorkloadError> {
        let java = java.ok_or_else(|| WorkloadError::Unsupported { reason: "nobody looked for Java".to_owned() })?;
        properties::check(options.properties.iter().map(|(name, _)| name.clone()).chain(inventory))?;
        let client = java.compile().map_err(|reason| WorkloadError::Client { name: "java".to_owned(), reason })?;
        Ok(Self(Arc::new(client)))
    }
}

impl Clients for JavaClients {
    fn library(&self) -> Arc<dyn Library> {
        Arc::<JavaClient>::clone(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> String {
        let directory = tempfile::tempdir().unwrap();
        names.iter().for_each(|name| std::fs::write(directory.path().join(name), "").unwrap());
        match class_path(directory.path()) {
            Ok((path, version)) => {
                let jars = std::env::split_paths(&path).map(|jar| jar.file_name().unwrap().to_string_lossy().into_owned());
                format!("{version}: {}", jars.collect::<Vec<_>>().join(" "))
            }
            Err(error) => error.to_string().replace(&directory.path().display().to_string(), "DIR"),
        }
    }

    #[test]
    fn of_a_directory_full_of_jars_the_client_gets_its_own() {
        let all =
            ["kafka-clients-3.9.1.jar", "kafka_2.13-3.9.1.jar", "slf4j-api-1.7.36.jar", "zstd-jni-1.5.6-4.jar", "kafka-server-3.9.1.jar"];
        assert_eq!(found(&all), "3.9.1: kafka-clients-3.9.1.jar slf4j-api-1.7.36.jar zstd-jni-1.5.6-4.jar");
    }

    #[test]
    fn what_is_missing_or_there_twice_is_said() {
        assert!(found(&["slf4j-api-1.7.36.jar"]).contains("DIR has 0 jars of kafka-clients where one is wanted: run `make setup`"));
        let twice = found(&["kafka-clients-3.9.1.jar", "kafka-clients-4.1.0.jar", "slf4j-api-1.7.36.jar"]);
        assert!(twice.contains("2 jars of kafka-clients"), "{twice}");
        assert!(found(&["kafka-clients-3.9.1.jar"]).contains("no slf4j-api"));
        let error = class_path(Path::new("/no/such/directory")).unwrap_err().to_string();
        assert!(error.contains("/no/such/directory has none"), "{error}");
    }
}
