//! `kchaos shrink`: the smallest plan that still fails as a run did.

use crate::cli::{Format, ShrinkArgs};
use crate::exit::{self, Failure};
use crate::shrink::{self, Original};

pub(super) fn run(args: &ShrinkArgs) -> Result<u8, Failure> {
    let original = Original::read(args)?;
    if args.dry_run {
        let rehearsed = shrink::rehearse(&original, args.tries);
        match args.format {
            Format::Text => crate::say_raw!("{}", rehearsed.text()),
            Format::Json => super::say_json(&rehearsed)?,
        }
        return Ok(exit::VALID);
    }
    shrink::live(original, args)
}
