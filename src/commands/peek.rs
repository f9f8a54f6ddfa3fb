//! `kchaos peek`: what stands in a partition.

use crate::cli::{Format, PeekArgs};
use crate::exit::{self, Failure};
use crate::peek::{self, Wish};

pub(super) fn run(args: PeekArgs) -> Result<u8, Failure> {
    let inventory = super::require_inventory(&args.inventory)?;
    let (topic, partition) = args.place;
    let wish = Wish { topic, partition, from: args.from, count: args.count, width: args.width };
    let peeked = super::within_network(&inventory, peek::peek(&inventory, &wish))??;
    match args.format {
        Format::Json => super::say_json(&peeked)?,
        Format::Text => crate::say_raw!("{}", peek::text(&peeked)),
    }
    Ok(exit::VALID)
}
