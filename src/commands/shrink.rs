//! `kchaos shrink`: the smallest plan that still fails as a run did.

use crate::cli::ShrinkArgs;
use crate::exit::{self, Failure};
use crate::shrink::{self, Original};

pub(super) fn run(args: &ShrinkArgs) -> Result<u8, Failure> {
    let original = Original::read(args)?;
    if args.dry_run {
        crate::say_raw!("{}", shrink::rehearse(&original, args.tries));
        return Ok(exit::VALID);
    }
    shrink::live(original, args)
}
