//! `kchaos status`: one look at the cluster, or one a second.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context;
use kchaos_cluster::inventory::Inventory;
use kchaos_cluster::view;

use crate::cli::{Format, StatusArgs};
use crate::exit::{self, Failure};

const WATCH_EVERY: Duration = Duration::from_secs(1);

pub(super) fn run(args: &StatusArgs) -> Result<u8, Failure> {
    let inventory = super::require_inventory(&args.inventory)?;
    super::within_network(&inventory, async {
        loop {
            crate::say!("{}", look(&inventory, args.format, args.watch).await?);
            if !args.watch {
                return Ok(exit::VALID);
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    })?
}

async fn look(inventory: &Inventory, format: Format, is_watching: bool) -> Result<String, Failure> {
    let view = view::look(inventory, None).await.context("look at the cluster")?;
    Ok(match format {
        // One object a line while watching, so that a pipe can read it.
        Format::Json if is_watching => serde_json::to_string(&view).map_err(anyhow::Error::from)?,
        Format::Json => serde_json::to_string_pretty(&view).map_err(anyhow::Error::from)?,
        Format::Text => {
            let clear = if is_watching && std::io::stdout().is_terminal() { "\x1b[2J\x1b[H" } else { "" };
            format!("{clear}{}", view::render_text(&view))
        }
    })
}
