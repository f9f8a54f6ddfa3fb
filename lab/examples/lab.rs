//! The lab by itself, without the rest of kchaos: `cargo run -p kchaos-lab --example lab -- up|status|shell|logs|down`.
//!
//! `up` takes `--brokers N --zookeepers N --hosts N --kafka-version V --zookeeper-session-timeout MS --set KEY=VALUE`.

use std::ffi::OsString;
use std::process::ExitCode;

use kchaos_lab::{LabError, LabOptions, parse_setting};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "lab-init") {
        return ExitCode::from(kchaos_lab::host_init::run(&arguments[1..]) as u8);
    }
    let words: Vec<String> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    match run(&words) {
        Ok(status) => ExitCode::from(status as u8),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if error.is_usage() { 254 } else { 3 })
        }
    }
}

fn run(words: &[String]) -> Result<i32, LabError> {
    let mut progress = |line: &str| eprintln!("{line}");
    let print = |value: serde_json::Result<String>| println!("{}", value.unwrap_or_else(|error| error.to_string()));
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["up", rest @ ..] => print(serde_json::to_string_pretty(&kchaos_lab::up(&options(rest)?, &mut progress)?)),
        ["status"] => print(serde_json::to_string_pretty(&kchaos_lab::status()?)),
        ["down"] => print(serde_json::to_string(&kchaos_lab::down(&mut progress)?)),
        ["logs", host] => kchaos_lab::print_logs(host, 10, &mut std::io::stdout())?,
        ["shell", host, command @ ..] => {
            let command: Vec<OsString> = command.iter().map(Into::into).collect();
            return kchaos_lab::shell(host, &command);
        }
        _ => return Err(LabError::Usage("lab up|status|shell HOST|logs HOST|down".to_owned())),
    }
    Ok(0)
}

fn options(mut words: &[&str]) -> Result<LabOptions, LabError> {
    let mut options = LabOptions::default();
    while let [option, value, rest @ ..] = words {
        let number = || value.parse::<usize>().map_err(|_| LabError::Usage(format!("{option} {value}: not a number")));
        match *option {
            "--brokers" => options.brokers = number()?,
            "--zookeepers" => options.zookeepers = number()?,
            "--hosts" => options.hosts = Some(number()?),
            "--zookeeper-session-timeout" => options.zookeeper_session_timeout_ms = Some(number()? as u64),
            "--kafka-version" => options.kafka_version = (*value).to_owned(),
            "--set" => options.settings.push(parse_setting(value)?),
            _ => return Err(LabError::Usage(format!("unknown option {option}"))),
        }
        words = rest;
    }
    match words {
        [] => Ok(options),
        [rest, ..] => Err(LabError::Usage(format!("{rest}: no value"))),
    }
}
