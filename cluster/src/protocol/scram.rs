//! SCRAM (RFC 5802, RFC 7677): a password proved without being said. Pure: what is said is made here, and sent elsewhere.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use zeroize::Zeroizing;

/// Bytes that are wiped when they go.
pub type Wiped = Zeroizing<Vec<u8>>;

/// `n`: no channel binding, no other user to act for.
const HEADER: &str = "n,,";
const NONCE_BYTES: usize = 24;
/// RFC 5802 wants 4096 at least; a server that wants millions would hold us up.
const ITERATIONS_MAX: usize = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn digest(self) -> MessageDigest {
        match self {
            Hash::Sha256 => MessageDigest::sha256(),
            Hash::Sha512 => MessageDigest::sha512(),
        }
    }

    /// As Kafka's credentials name it.
    pub fn mechanism(self) -> &'static str {
        match self {
            Hash::Sha256 => "SCRAM-SHA-256",
            Hash::Sha512 => "SCRAM-SHA-512",
        }
    }
}

/// What a server keeps in place of a password.
pub struct Credential {
    pub salt: Vec<u8>,
    pub stored_key: Vec<u8>,
    pub server_key: Vec<u8>,
    pub iterations: usize,
}

impl Credential {
    pub fn new(hash: Hash, password: &str, iterations: usize) -> Result<Self, String> {
        let salt = random()?;
        let keys = Keys::new(hash, password, &salt, iterations).map_err(|error| error.to_string())?;
        Ok(Self { salt, stored_key: keys.stored_key, server_key: keys.server_key.to_vec(), iterations })
    }

    /// As Kafka keeps it in ZooKeeper (`ScramCredentialUtils`).
    pub fn text(&self) -> String {
        format!(
            "salt={},stored_key={},server_key={},iterations={}",
            STANDARD.encode(&self.salt),
            STANDARD.encode(&self.stored_key),
            STANDARD.encode(&self.server_key),
            self.iterations
        )
    }
}

struct Keys {
    client_key: Wiped,
    stored_key: Vec<u8>,
    server_key: Wiped,
}

impl Keys {
    fn new(hash_of: Hash, password: &str, salt: &[u8], iterations: usize) -> Result<Self, ErrorStack> {
        let digest = hash_of.digest();
        let mut salted = Wiped::new(vec![0; digest.size()]);
        pbkdf2_hmac(password.as_bytes(), salt, iterations, digest, &mut salted)?;
        let client_key = Wiped::new(hmac(digest, &salted, b"Client Key")?);
        let stored_key = hash(digest, &client_key)?.to_vec();
        Ok(Self { stored_key, server_key: Wiped::new(hmac(digest, &salted, b"Server Key")?), client_key })
    }
}

/// One conversation.
pub(super) struct Scram {
    hash: Hash,
    nonce: String,
    first_bare: String,
}

/// What is said last, and what the server must answer.
#[derive(Debug)]
pub(super) struct Last {
    pub(super) message: String,
    server_signature: Vec<u8>,
}

fn random() -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; NONCE_BYTES];
    openssl::rand::rand_bytes(&mut bytes).map_err(|error| format!("no random bytes: {error}"))?;
    Ok(bytes)
}

pub(super) fn nonce() -> Result<String, String> {
    Ok(STANDARD.encode(random()?))
}

fn hmac(digest: MessageDigest, key: &[u8], text: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    let key = PKey::hmac(key)?;
    let mut signer = Signer::new(digest, &key)?;
    signer.update(text)?;
    signer.sign_to_vec()
}

impl Scram {
    pub(super) fn new(hash: Hash, user: &str, nonce: &str) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self { hash, nonce: nonce.to_owned(), first_bare: format!("n={user},r={nonce}") }
    }

    pub(super) fn first(&self) -> String {
        format!("{HEADER}{}", self.first_bare)
    }

    pub(super) fn last(&self, server_first: &[u8], password: &str) -> Result<Last, String> {
        let said = std::str::from_utf8(server_first).map_err(|_| "an answer that is no text".to_owned())?;
        let words = attributes(said);
        let word = |name: char| words.get(&name).copied().ok_or_else(|| format!("an answer without {name}="));
        let (nonce, salt, iterations) = (word('r')?, word('s')?, word('i')?);
        if !nonce.starts_with(&self.nonce) || nonce.len() <= self.nonce.len() {
            return Err("an answer to another's nonce".to_owned());
        }
        let salt = STANDARD.decode(salt).map_err(|_| "a salt that is no base64".to_owned())?;
        let iterations = iterations.parse().ok().filter(|n| (1..=ITERATIONS_MAX).contains(n));
        let iterations: usize = iterations.ok_or_else(|| format!("iterations beyond 1 to {ITERATIONS_MAX}"))?;
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(HEADER));
        let signed = format!("{},{said},{without_proof}", self.first_bare);
        let failed = |error: ErrorStack| error.to_string();
        let keys = Keys::new(self.hash, password, &salt, iterations).map_err(failed)?;
        let digest = self.hash.digest();
        let signature = hmac(digest, &keys.stored_key, signed.as_bytes()).map_err(failed)?;
        let proof: Vec<u8> = keys.client_key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
        let server_signature = hmac(digest, &keys.server_key, signed.as_bytes()).map_err(failed)?;
        Ok(Last { message: format!("{without_proof},p={}", STANDARD.encode(proof)), server_signature })
    }
}

impl Last {
    /// A server that does not know the password either is another's.
    pub(super) fn check(&self, server_last: &[u8]) -> Result<(), String> {
        let said = std::str::from_utf8(server_last).map_err(|_| "an answer that is no text".to_owned())?;
        let words = attributes(said);
        if let Some(error) = words.get(&'e') {
            return Err((*error).to_owned());
        }
        let signature = words.get(&'v').and_then(|text| STANDARD.decode(text).ok());
        match signature {
            Some(signature) if signature == self.server_signature => Ok(()),
            _ => Err("it does not prove that it knows the password".to_owned()),
        }
    }
}

/// `r=…,s=…,i=…`
fn attributes(said: &str) -> BTreeMap<char, &str> {
    let one = |word: &'_ str| -> Option<char> { word.chars().next().filter(|_| word[1..].starts_with('=')) };
    said.split(',').filter(|word| word.is_char_boundary(1)).filter_map(|word| Some((one(word)?, &word[2..]))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 7677, section 3.
    #[test]
    fn the_conversation_of_the_rfc_comes_out_word_for_word() {
        let scram = Scram::new(Hash::Sha256, "user", "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let last = scram.last(first.as_bytes(), "pencil").unwrap();
        let expect = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(last.message, expect);
        assert_eq!(last.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
        assert!(last.check(b"v=AAAA").is_err() && last.check(b"").is_err());
        assert_eq!(last.check(b"e=invalid-proof"), Err("invalid-proof".to_owned()));
    }

    #[test]
    fn a_server_that_answers_somebody_else_is_refused() {
        let scram = Scram::new(Hash::Sha512, "a=b,c", "abc");
        assert_eq!(scram.first(), "n,,n=a=3Db=2Cc,r=abc");
        for (said, part) in [
            ("r=abd1,s=AAAA,i=4096", "nonce"),
            ("r=abc,s=AAAA,i=4096", "nonce"),
            ("r=abc1,s=?,i=4096", "salt"),
            ("r=abc1,s=AAAA,i=0", "iterations"),
            ("s=AAAA,i=1", "r="),
        ] {
            let error = scram.last(said.as_bytes(), "p").unwrap_err();
            assert!(error.contains(part), "{said}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), text in "[rsiv=,a-z0-9é]{0,30}") {
            let scram = Scram::new(Hash::Sha256, "u", "");
            let _ = scram.last(&bytes, "p");
            let _ = attributes(&text);
        }
    }
}
