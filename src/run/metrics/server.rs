//! Who answers a scraper: one thread, one path.
//!
//! The address is taken before a lab's network is entered, so that it is this machine's; the thread is started after it, since a process with
//! threads cannot enter one.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use anyhow::anyhow;
use tiny_http::{Header, Method, Request, Response};

use super::super::lock;
use super::Source;
use crate::exit::Failure;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(in super::super) struct Server {
    listener: Mutex<Option<TcpListener>>,
    source: Arc<OnceLock<Source>>,
    serving: Mutex<Option<(Arc<tiny_http::Server>, JoinHandle<()>)>>,
}

impl Server {
    pub(in super::super) fn bind(address: SocketAddr) -> Result<Self, Failure> {
        let listener = TcpListener::bind(address)
            .map_err(|error| Failure::usage(anyhow!("--metrics {address}: {error}; another address, or 127.0.0.1:0 for any port")))?;
        Ok(Self { listener: Mutex::new(Some(listener)), source: Arc::default(), serving: Mutex::default() })
    }

    /// Where it listens.
    pub(in super::super) fn address(&self) -> Option<SocketAddr> {
        lock(&self.listener).as_ref()?.local_addr().ok()
    }

    /// From now on it answers; until there is a source, that there is none yet.
    pub(in super::super) fn begin(&self) -> std::io::Result<()> {
        let Some(listener) = lock(&self.listener).take() else { return Ok(()) };
        let server = tiny_http::Server::from_listener(listener, None).map_err(std::io::Error::other)?;
        let (server, source) = (Arc::new(server), Arc::clone(&self.source));
        let answering = Arc::clone(&server);
        let thread = std::thread::Builder::new().name("metrics".into()).spawn(move || {
            for request in answering.incoming_requests() {
                answer(request, source.get());
            }
        })?;
        *lock(&self.serving) = Some((server, thread));
        Ok(())
    }

    pub(in super::super) fn scraped_from(&self, source: Source) {
        let _ = self.source.set(source);
    }

    pub(in super::super) fn end(&self) {
        if let Some((server, thread)) = lock(&self.serving).take() {
            server.unblock();
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// A scraper that went away has its answer lost, and nobody minds.
fn answer(request: Request, source: Option<&Source>) {
    let path = request.url().split('?').next().unwrap_or("");
    let is_read = matches!(request.method(), Method::Get | Method::Head);
    let (status, text) = match (is_read, path, source) {
        (false, ..) => (405, "only GET\n".to_owned()),
        (true, "/metrics", Some(source)) => (200, source.scrape().render()),
        (true, "/metrics", None) => (503, "the run has not begun\n".to_owned()),
        (true, "/", _) => (200, "kchaos: /metrics\n".to_owned()),
        _ => (404, "there is /metrics\n".to_owned()),
    };
    let mut response = Response::from_string(text).with_status_code(status);
    let content_type = if (status, path) == (200, "/metrics") { CONTENT_TYPE } else { "text/plain; charset=utf-8" };
    if let Ok(header) = Header::from_bytes(b"Content-Type", content_type.as_bytes()) {
        response = response.with_header(header);
    }
    let _ = request.respond(response);
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn ask(address: SocketAddr, what: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{what} HTTP/1.1\r\nHost: kchaos\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_scraper_is_answered_from_the_beginning_to_the_end() {
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = server.address().unwrap();
        server.begin().unwrap();
        assert!(ask(address, "GET /metrics").starts_with("HTTP/1.1 503 "));
        assert!(ask(address, "GET /secret").starts_with("HTTP/1.1 404 "));
        assert!(ask(address, "POST /metrics").starts_with("HTTP/1.1 405 "));
        assert!(ask(address, "GET /").contains("/metrics"));
        server.end();
        // The library's own thread lets go of the port a moment later.
        let is_gone = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            TcpStream::connect(address).is_err()
        });
        assert!(is_gone, "it still listens");
    }

    #[test]
    fn an_address_that_is_taken_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let why = Server::bind(address).err().unwrap().to_string();
        assert!(why.contains(&address.to_string()), "{why}");
    }
}
