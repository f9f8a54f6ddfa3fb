//! kchaos: breaks a real Kafka cluster on purpose and proves what it kept.

#[macro_use]
mod stdout;

#[cfg(test)]
mod book;
mod cli;
mod clock;
mod commands;
mod compare;
mod coverage;
mod doctor;
mod edn;
mod exit;
mod history;
mod judged;
#[cfg(feature = "mutants")]
mod mutants;
#[cfg(feature = "parquet")]
mod parquet;
mod peek;
mod preset;
mod recorder;
mod report;
mod run;
mod runs;
mod schema;
mod selftest;
mod serve;
mod shrink;
mod slo;
mod spool;
mod store;
mod suite;
mod tell;
#[cfg(test)]
mod usable;

use std::process::ExitCode;

use clap::error::ErrorKind;

use preset::NotUnderstood;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match preset::parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(NotUnderstood::Preset(failure)) => {
            eprintln!("kchaos: {failure}");
            return ExitCode::from(failure.code);
        }
        Err(NotUnderstood::Words(error)) => {
            // What cannot be printed on a closed terminal is not worth a panic.
            let _ = error.print();
            // clap's own 2 would read as "unknown".
            let is_answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(if is_answer { exit::VALID } else { exit::USAGE });
        }
    };
    #[cfg(feature = "mutants")]
    if let Err(failure) = mutants::told() {
        eprintln!("kchaos: {failure}");
        return ExitCode::from(failure.code);
    }
    let ended = std::panic::catch_unwind(|| commands::run(cli.command));
    ExitCode::from(match ended {
        Ok(Ok(code)) => code,
        Ok(Err(failure)) => {
            eprintln!("kchaos: {failure}");
            failure.code
        }
        Err(_) => exit::INTERNAL,
    })
}
