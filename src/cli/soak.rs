//! Flags of the workload `soak`: what runs at once, and what our own memory may come to.

use clap::Args;
use kchaos_workloads::SoakOptions;

use super::order::OrderArgs;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Soak (workload soak)")]
pub(crate) struct SoakArgs {
    /// The workloads that run at once, with their own flags: of append, queue, transactions and order. They share --rate as they would have it by default
    #[arg(long, value_name = "WORKLOADS", value_delimiter = ',', default_value = "append,queue,transactions,order")]
    pub(crate) soak_mix: Vec<String>,
    /// What kchaos' own memory may grow by, from the second quarter of the load to its last; more is a promise missed (exit 6). Loads of less than 10 minutes are not judged
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    pub(crate) soak_memory_growth_max: u32,
}

impl SoakArgs {
    pub(crate) fn options(&self, order: &OrderArgs) -> SoakOptions {
        SoakOptions { mix: self.soak_mix.clone(), order: order.options() }
    }
}
