//! `kchaos serve`: the results in a browser.

use anyhow::anyhow;

use crate::cli::ServeArgs;
use crate::exit::Failure;
use crate::serve::{Site, serve};

pub(super) fn run(args: &ServeArgs) -> Result<u8, Failure> {
    let results = &args.results.results;
    if !results.is_dir() {
        return Err(Failure::usage(anyhow!("{} is no directory (--results says where runs are kept)", results.display())));
    }
    if !args.listen.ip().is_loopback() {
        if !args.to_anybody {
            return Err(Failure::usage(anyhow!(
                "{} can be reached from other machines, and there is no password: say --to-anybody if that is meant, or reach it through SSH \
                 (ssh -L 8089:127.0.0.1:8089 HOST)",
                args.listen
            )));
        }
        eprintln!("kchaos: warning: whoever reaches {} reads every run in {}, with its daemon logs", args.listen, results.display());
    }
    serve(Site::new(results.clone(), args.host_name.clone()), args.listen, |at| {
        crate::say!("http://{at}/ shows {}; Ctrl-C ends it", results.display());
    })
}
