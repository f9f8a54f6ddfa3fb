//! Flags of what is seen of a run while it goes on.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};

#[derive(Clone, Debug, Args)]
pub(crate) struct ViewArgs {
    /// How progress is shown on standard error (docs/live.md)
    #[arg(long, default_value = "auto")]
    pub(crate) progress: Progress,
    /// Show the run on the whole terminal: throughput, latency, partitions, faults with countdowns; q mends and ends it (docs/live.md)
    #[arg(long, conflicts_with = "progress")]
    pub(crate) tui: bool,
    /// Tell Prometheus what goes on, at http://ADDRESS:PORT/metrics; a port alone is on loopback (docs/metrics.md)
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address)]
    pub(crate) metrics: Option<SocketAddr>,
}

/// Whoever may look at the metrics of a run has to be said: a port alone is for this machine.
fn address(text: &str) -> Result<SocketAddr, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let host = if ["", "localhost"].contains(&host) { "127.0.0.1" } else { host };
    format!("{host}:{port}").parse().map_err(|_| format!("\"{text}\" is no address: write 9464, 127.0.0.1:9464 or 0.0.0.0:9464"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// A bar on a terminal, else plain
    Auto,
    /// One line that renews itself: time, phase, acknowledged a second, p99, the faults in force and for how long yet
    Bar,
    /// A line every 10 s
    Plain,
    /// A JSON object on each line, every second and for each event
    Json,
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_on_loopback() {
        for (text, expect) in [
            ("9464", "127.0.0.1:9464"),
            (":9464", "127.0.0.1:9464"),
            ("localhost:0", "127.0.0.1:0"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::1]:9464", "[::1]:9464"),
        ] {
            assert_eq!(address(text).map(|address| address.to_string()), Ok(expect.to_owned()), "{text}");
        }
        for text in ["", "host", "99999", "example.org:9464"] {
            assert!(address(text).unwrap_err().contains("is no address"), "{text}");
        }
    }
}
