//! `kchaos serve`: the runs of a results directory in a browser. It reads, and nothing else.
//!
//! Every page is made anew from the files, on the server, and works without a script. What is answered is decided by [`Site::answer`], which knows no
//! socket: GET and HEAD, for a host that is ours, from files that are a run's. Reports are pages of their own, shown in a frame that may do nothing but draw.

mod address;
mod answer;
mod chart;
mod live;
mod logs;
mod pages;
mod store;
mod table;

use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::anyhow;
use tiny_http::{Header, Method, Request, Response, Server, StatusCode};

use crate::exit::{self, Failure};
use crate::report::Esc;
use crate::runs::{self, Packing, Run};
use answer::Body;
use store::Store;
pub(crate) use table::{TABLE_END, table_head};

pub(crate) const STYLE: &str = include_str!("style.css");
/// A download holds one of them as long as it takes.
const WORKERS: usize = 8;

/// What is served, and to whom.
pub(crate) struct Site {
    store: Store,
    /// Names beside `localhost` under which we may be asked.
    hosts: Vec<String>,
}

impl Site {
    pub(crate) fn new(results: PathBuf, hosts: Vec<String>) -> Self {
        Self { store: Store::new(results), hosts }
    }
}

/// Answers until it is killed.
pub(crate) fn serve(site: Site, listen: SocketAddr, told: impl FnOnce(SocketAddr)) -> Result<u8, Failure> {
    let server = Server::http(listen)
        .map_err(|error| Failure::environment(anyhow!("cannot listen on {listen}: {error} (--listen names another address)")))?;
    told(server.server_addr().to_ip().unwrap_or(listen));
    let (server, site) = (Arc::new(server), Arc::new(site));
    let workers = (0..WORKERS).map(|_| {
        let (server, site) = (Arc::clone(&server), Arc::clone(&site));
        std::thread::spawn(move || {
            while let Ok(request) = server.recv() {
                // One page that cannot be made must not end the others.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| respond(&site, request)));
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        let _ = worker.join();
    }
    Ok(exit::VALID)
}

fn respond(site: &Site, request: Request) {
    let method = match request.method() {
        Method::Get => "GET",
        Method::Head => "HEAD",
        _ => "another",
    };
    let host = request.headers().iter().find(|header| header.field.equiv("Host")).map(|header| header.value.as_str().to_owned());
    let answer = site.answer(method, request.url(), host.as_deref());
    let headers = answer.headers.iter().filter_map(|(name, value)| Header::from_bytes(name.as_bytes(), value.as_bytes()).ok()).collect();
    let (body, length): (Box<dyn Read + Send>, Option<usize>) = match answer.body {
        Body::Bytes(bytes) => {
            let length = bytes.len();
            (Box::new(io::Cursor::new(bytes)), Some(length))
        }
        Body::File(file, length) => (Box::new(file.take(length)), usize::try_from(length).ok()),
        Body::Archive { .. } if method == "HEAD" => (Box::new(io::empty()), None),
        Body::Archive { path, name } => match packed(path, name) {
            Ok(reader) => (Box::new(reader), None),
            Err(_) => (Box::new(io::empty()), None),
        },
    };
    // A browser that went away is no matter.
    let _ = request.respond(Response::new(StatusCode(answer.status), headers, body, length, None));
}

/// An archive that is made while it is read.
fn packed(path: PathBuf, name: String) -> io::Result<impl Read + Send> {
    let (reader, writer) = io::pipe()?;
    std::thread::Builder::new().name("archive".into()).spawn(move || {
        // Who stopped reading has ended it.
        let _ = runs::pack(&path, &name, Packing::Zstd, io::BufWriter::new(writer));
    })?;
    Ok(reader)
}

/// A verdict as a mark: a sign, a word, and a colour beside them.
pub(crate) fn verdict_mark(run: &Run) -> String {
    format!("<span class=\"mark {}\">{} {}</span>", tone(run), runs::sign(run), Esc(run.verdict()))
}

/// Of its class of colours.
pub(crate) fn tone(run: &Run) -> &'static str {
    match run.verdict() {
        "valid" => "valid",
        "invalid" | "unhealed" | "internal" => "invalid",
        "running" => "running",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod usable;
