//! What a browser asks for, taken apart: nothing of it is trusted.

use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Between the first slash and the question mark, decoded piece by piece: a slash that was encoded is part of its piece.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Address {
    pub(super) pieces: Vec<String>,
    pub(super) query: Vec<(String, String)>,
    /// Words and the query, as they came: for links that lead back.
    pub(super) raw_query: String,
}

impl Address {
    /// `None`: it is not as an address should be.
    pub(super) fn of(url: &str) -> Option<Self> {
        let url = url.split('#').next().unwrap_or_default();
        let (path, raw_query) = url.split_once('?').unwrap_or((url, ""));
        let path = path.strip_prefix('/')?;
        let pieces = path.split('/').map(decoded).collect::<Option<Vec<String>>>()?;
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(&name.replace('+', " "))?, decoded(&value.replace('+', " "))?))
        };
        let query = raw_query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect::<Option<Vec<_>>>()?;
        Some(Self { pieces, query, raw_query: raw_query.to_owned() })
    }

    pub(super) fn pieces(&self) -> Vec<&str> {
        self.pieces.iter().map(String::as_str).collect()
    }

    /// The first that is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// The same query, in which some is said anew; what is said to be nothing is left out.
    pub(super) fn again(&self, anew: &[(&str, &str)]) -> String {
        let kept = self.query.iter().filter(|(name, _)| anew.iter().all(|(other, _)| other != name));
        let pairs =
            kept.map(|(name, value)| (name.as_str(), value.as_str())).chain(anew.iter().copied()).filter(|(_, value)| !value.is_empty());
        let pairs: Vec<String> = pairs.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
    }

    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let values = self.query.iter().filter(|(key, value)| key == name && !value.is_empty());
        values.flat_map(|(_, value)| value.split(',')).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()).collect()
    }
}

/// `%2F` and its like; `None` if it is no text, or holds what no name has.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// As one piece of an address.
pub(super) fn encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    // A piece of two dots is somebody's way up.
    if matches!(out.as_str(), "." | "..") { out.replace('.', "%2E") } else { out }
}

/// A file of a run, opened: its pieces are names and nothing else, and none of them is a link.
pub(super) fn file_of(run: &Path, pieces: &[&str]) -> Option<(File, PathBuf)> {
    if pieces.is_empty() || pieces.iter().any(|piece| !is_name(piece)) {
        return None;
    }
    let mut path = run.to_owned();
    for (nth, piece) in pieces.iter().enumerate() {
        path.push(piece);
        let found = fs::symlink_metadata(&path).ok()?;
        let is_last = nth + 1 == pieces.len();
        if !(if is_last { found.is_file() } else { found.is_dir() }) {
            return None;
        }
    }
    // And still within, if somebody was quicker with a link.
    let (within, whole) = (fs::canonicalize(run).ok()?, fs::canonicalize(&path).ok()?);
    if !whole.starts_with(&within) {
        return None;
    }
    let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path).ok()?;
    Some((file, path))
}

fn is_name(piece: &str) -> bool {
    !piece.is_empty() && piece != "." && piece != ".." && !piece.contains(['/', '\\', '\0'])
}

/// A page of somebody else's cannot read ours by giving its own name our address (DNS rebinding): only addresses in figures, `localhost`, and
/// names that were allowed are asked for by us.
pub(super) fn is_our_host(host: Option<&str>, allowed: &[String]) -> bool {
    let Some(host) = host else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if is_port(port) => return address.parse::<IpAddr>().is_ok(),
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => name,
            Some(_) => return false,
            None => host,
        },
    };
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
}

fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.chars().all(|c| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_what_is_none_is_refused() {
        let address = Address::of("/runs/a%2Fruns%2Fb/files/logs/b1/x.log?at=41.2&verdict=valid,unknown&verdict=&q=a+b%26").unwrap();
        assert_eq!(address.pieces(), ["runs", "a/runs/b", "files", "logs", "b1", "x.log"]);
        assert_eq!((address.get("at"), address.get("none"), address.get("q")), (Some("41.2"), None, Some("a b&")));
        assert_eq!(address.all("verdict"), ["valid", "unknown"]);
        assert_eq!(address.again(&[("at", ""), ("verdict", "x y")]), "?q=a%20b%26&verdict=x%20y");
        assert_eq!(Address::default().again(&[("at", "")]), "");
        for url in ["", "runs", "http://elsewhere/", "/runs/%", "/runs/%2", "/runs/%zz", "/runs/%00", "/runs/%ff%fe", "/?a=%00"] {
            assert_eq!(Address::of(url), None, "{url}");
        }
        for text in ["a/b", "ü %", "..", ".", "a..b", "<x>"] {
            let url = format!("/{}", encoded(text));
            assert_eq!(Address::of(&url).unwrap().pieces(), [text], "{url}");
        }
    }

    #[test]
    fn a_file_is_of_its_run_or_it_is_none() {
        let place = tempfile::tempdir().unwrap();
        let run = place.path().join("run");
        fs::create_dir_all(run.join("logs/b1")).unwrap();
        for name in ["run/plan.json", "run/logs/b1/server.log", "secret"] {
            fs::write(place.path().join(name), name).unwrap();
        }
        std::os::unix::fs::symlink(place.path().join("secret"), run.join("link")).unwrap();
        std::os::unix::fs::symlink(place.path(), run.join("up")).unwrap();
        std::os::unix::fs::symlink("plan.json", run.join("within")).unwrap();
        let is_given = |path: &str| {
            let address = Address::of(&format!("/{path}"));
            address.is_some_and(|address| file_of(&run, &address.pieces()).is_some())
        };
        for path in ["plan.json", "logs/b1/server.log", "%70lan.json"] {
            assert!(is_given(path), "{path}");
        }
        for path in [
            "",
            ".",
            "..",
            "../secret",
            "%2e%2e/secret",
            "..%2fsecret",
            "%2e%2e%2fsecret",
            "logs/../plan.json",
            "logs/b1/../../../secret",
            "./plan.json",
            "/plan.json",
            "//etc/passwd",
            "/etc/passwd",
            "%2fetc%2fpasswd",
            "..%5csecret",
            "logs",
            "logs/b1",
            "logs/",
            "plan.json/",
            "plan.json%00.html",
            "plan.json%00",
            "%252e%252e/secret",
            "link",
            "up/secret",
            "up/run/plan.json",
            "within",
            "nowhere",
        ] {
            assert!(!is_given(path), "{path}");
        }
    }

    #[test]
    fn only_our_own_names_are_answered() {
        let allowed = ["lab.example".to_owned()];
        for host in ["127.0.0.1:8089", "127.0.0.1", "localhost", "LocalHost:80", "[::1]:8089", "[::1]", "10.0.0.7:8089", "lab.example:8089"]
        {
            assert!(is_our_host(Some(host), &allowed), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8089",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "[::1].evil.example",
            "",
            "[",
            "[]",
            "a:b:c",
            "127.0.0.1:80@evil",
        ] {
            assert!(!is_our_host(Some(host), &allowed), "{host}");
        }
        assert!(!is_our_host(None, &allowed));
    }
}
