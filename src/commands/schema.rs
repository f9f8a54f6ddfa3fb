//! `kchaos schema`: the shape of what is written for programs.

use anyhow::anyhow;

use crate::cli::SchemaArgs;
use crate::exit::{self, Failure};
use crate::run::nearest;
use crate::schema;

pub(super) fn run(args: &SchemaArgs) -> Result<u8, Failure> {
    match &args.name {
        None => {
            let width = schema::ALL.iter().map(|schema| schema.name.len()).max().unwrap_or(0);
            schema::ALL.iter().for_each(|schema| crate::say!("{:width$}  {}", schema.name, schema.of));
        }
        Some(name) => {
            let schema = schema::named(name).ok_or_else(|| {
                let near = nearest(name, schema::ALL.iter().map(|schema| schema.name));
                Failure::usage(anyhow!("there is no schema \"{name}\"{near} (`kchaos schema` lists them)"))
            })?;
            crate::say_raw!("{}", schema.text);
        }
    }
    Ok(exit::VALID)
}
