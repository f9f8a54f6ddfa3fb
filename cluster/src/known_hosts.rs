//! Host keys, judged as `ssh` judges them with `StrictHostKeyChecking=yes`.
//!
//! Why our own: russh's check accepts a `@revoked` key, calls the second of two keys of one type changed, and understands neither
//! wildcards, tabs nor `@cert-authority`. A tool that runs commands as root must not be less strict than `ssh`, nor stricter without saying
//! so.
//!
//! The rules are those of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT", and of OpenSSH's `hostfile.c`:
//! - a line is `[@marker] names type base64 [comment]`, separated by spaces or tabs; `#` begins a comment line; what does not parse is no
//!   entry;
//! - names are patterns with `*`, `?` and `!`, separated by commas, or one hashed name (`|1|salt|hmac-sha1`); case does not matter;
//! - a port other than 22 is asked for as `[name]:port`, and only if nothing is known of that, as plain `name`;
//! - `@revoked` beats everything; one equal key is enough; a key of another type than the offered one makes the offered one *changed*;
//! - a key that stands after `@cert-authority` signs certificates and is never itself a host's key.
//!
//! Stricter than `ssh` in one place: a `@revoked` line for the plain name counts for every port. Limit: host certificates are not verified,
//! so a host known by its authority alone is refused with a hint.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A `known_hosts` file, parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownHosts {
    path: PathBuf,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    line: usize,
    marker: Marker,
    names: String,
    key: HostKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marker {
    None,
    Authority,
    Revoked,
}

/// A public key as it stands on the wire: equal bytes are equal keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostKey {
    /// `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, …
    pub key_type: String,
    pub blob: Vec<u8>,
}

/// Where a key stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKey {
    pub line: usize,
    pub key: HostKey,
}

/// What the file says of an offered key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    Known {
        line: usize,
    },
    Revoked {
        line: usize,
    },
    /// Other keys are known for this host, and not this one. The first is the one to show: of the same type, where there is one.
    Changed {
        known: Vec<KnownKey>,
    },
    /// Nothing is known; `authorities` are the lines that would accept a certificate.
    Unknown {
        authorities: Vec<usize>,
    },
}

impl KnownHosts {
    /// Reads the file. An empty one is allowed, and knows nobody.
    pub fn load(path: &Path) -> std::io::Result<Self> {
        let bytes = std::fs::read(path)?;
        Ok(Self::parse(path, &String::from_utf8_lossy(&bytes)))
    }

    pub fn parse(path: &Path, text: &str) -> Self {
        let entries = text.lines().enumerate().filter_map(|(index, line)| parse_line(index + 1, line)).collect();
        Self { path: path.to_owned(), entries }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What `ssh` would say of this key, offered by this host.
    pub fn judge(&self, address: &str, port: u16, offered: &HostKey) -> Judgement {
        let names = names_asked_for(address, port);
        let is_revoked = |entry: &&Entry| entry.marker == Marker::Revoked && entry.key == *offered;
        if let Some(entry) = names.iter().flat_map(|name| self.of(name)).find(is_revoked) {
            return Judgement::Revoked { line: entry.line };
        }
        let mut authorities = Vec::new();
        for name in &names {
            authorities.extend(self.of(name).filter(|entry| entry.marker == Marker::Authority).map(|entry| entry.line));
            let mut known: Vec<&Entry> = self.of(name).filter(|entry| entry.marker == Marker::None).collect();
            if let Some(entry) = known.iter().find(|entry| entry.key == *offered) {
                return Judgement::Known { line: entry.line };
            }
            if !known.is_empty() {
                known.sort_by_key(|entry| entry.key.key_type != offered.key_type);
                let known = known.into_iter().map(|entry| KnownKey { line: entry.line, key: entry.key.clone() }).collect();
                return Judgement::Changed { known };
            }
        }
        authorities.sort_unstable();
        authorities.dedup();
        Judgement::Unknown { authorities }
    }

    /// The types of key known for a host, in file order, each once: what the client should ask for first.
    pub fn key_types(&self, address: &str, port: u16) -> Vec<String> {
        let mut types: Vec<String> = Vec::new();
        for name in names_asked_for(address, port) {
            for entry in self.of(&name).filter(|entry| entry.marker == Marker::None) {
                if !types.contains(&entry.key.key_type) {
                    types.push(entry.key.key_type.clone());
                }
            }
            if !types.is_empty() {
                break;
            }
        }
        types
    }

    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| names_match(&entry.names, name))
    }
}

impl HostKey {
    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&self.blob)))
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key_type, self.fingerprint())
    }
}

/// How a host is written in the file, and in `ssh-keygen -R`.
pub fn written_name(address: &str, port: u16) -> String {
    let address = address.to_ascii_lowercase();
    if port == 22 { address } else { format!("[{address}]:{port}") }
}

/// The names to look for, in order.
fn names_asked_for(address: &str, port: u16) -> Vec<String> {
    let mut names = vec![written_name(address, port)];
    if port != 22 {
        names.push(written_name(address, 22));
    }
    names
}

fn parse_line(line: usize, text: &str) -> Option<Entry> {
    let is_space = |c: char| c == ' ' || c == '\t' || c == '\r';
    let mut words = text.split(is_space).filter(|word| !word.is_empty()).peekable();
    let marker = match *words.peek()? {
        comment if comment.starts_with('#') => return None,
        "@cert-authority" => Marker::Authority,
        "@revoked" => Marker::Revoked,
        other if other.starts_with('@') => return None,
        _ => Marker::None,
    };
    if marker != Marker::None {
        words.next();
    }
    let names = words.next()?.to_owned();
    let key_type = words.next()?;
    let blob = STANDARD.decode(words.next()?).ok()?;
    (blob_type(&blob)? == key_type.as_bytes()).then(|| Entry {
        line,
        marker,
        names,
        key: HostKey { key_type: key_type.to_owned(), blob: blob.clone() },
    })
}

/// The type that a key's own bytes begin with (RFC 4253, 6.6).
fn blob_type(blob: &[u8]) -> Option<&[u8]> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// `true` if an entry's names say `name` and do not exclude it.
fn names_match(names: &str, name: &str) -> bool {
    if names.starts_with('|') {
        return hashed_name_matches(names, name).unwrap_or(false);
    }
    let mut matched = false;
    for pattern in names.split(',') {
        let (excludes, pattern) = pattern.strip_prefix('!').map_or((false, pattern), |rest| (true, rest));
        if pattern_matches(pattern.to_ascii_lowercase().as_bytes(), name.as_bytes()) {
            if excludes {
                return false;
            }
            matched = true;
        }
    }
    matched
}

/// `|1|base64(salt)|base64(HMAC-SHA1(salt, name))`.
fn hashed_name_matches(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.strip_prefix("|1|")?.split_once('|')?;
    let mut mac = Hmac::<Sha1>::new_from_slice(&STANDARD.decode(salt).ok()?).ok()?;
    mac.update(name.as_bytes());
    Some(mac.verify_slice(&STANDARD.decode(hash).ok()?).is_ok())
}

/// `*` is any run of bytes, `?` any one. Linear but for the last star, which is all that ever has to be tried again.
fn pattern_matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star_p, star_t)) = star else { return false };
                star = Some((star_p, star_t + 1));
                p = star_p + 1;
                t = star_t + 1;
            }
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests;
