use std::io::Write as _;
use std::process::Command;

use proptest::prelude::*;

use super::*;

/// A key that no one has: `ssh-ed25519` with 32 equal bytes.
fn key(byte: u8) -> HostKey {
    typed_key("ssh-ed25519", byte)
}

fn typed_key(key_type: &str, byte: u8) -> HostKey {
    let mut blob = u32::try_from(key_type.len()).unwrap().to_be_bytes().to_vec();
    blob.extend_from_slice(key_type.as_bytes());
    blob.extend_from_slice(&32_u32.to_be_bytes());
    blob.extend_from_slice(&[byte; 32]);
    HostKey { key_type: key_type.to_owned(), blob }
}

fn text_of(key: &HostKey) -> String {
    format!("{} {}", key.key_type, STANDARD.encode(&key.blob))
}

/// Replaces `K1`…`K9` by keys, `R1`… by keys of type `ssh-rsa`, `\t` by a tab.
fn file(template: &str) -> KnownHosts {
    KnownHosts::parse(Path::new("known_hosts"), &expand(template))
}

fn expand(template: &str) -> String {
    let mut text = template.replace("\\t", "\t");
    for byte in 1..=9_u8 {
        text = text.replace(&format!("K{byte}"), &text_of(&key(byte)));
        text = text.replace(&format!("R{byte}"), &text_of(&typed_key("ssh-rsa", byte)));
    }
    text
}

/// What is said of key 1, in a word: `known:LINE`, `revoked:LINE`, `changed:LINE,…`, `unknown`, `authority:LINE,…`.
fn check(template: &str, address: &str, port: u16, expect: &str) {
    let said = match file(template).judge(address, port, &key(1)) {
        Judgement::Known { line } => format!("known:{line}"),
        Judgement::Revoked { line } => format!("revoked:{line}"),
        Judgement::Changed { known } => format!("changed:{}", joined(known.iter().map(|known| known.line))),
        Judgement::Unknown { authorities } if authorities.is_empty() => "unknown".to_owned(),
        Judgement::Unknown { authorities } => format!("authority:{}", joined(authorities)),
    };
    assert_eq!(said, expect, "{address}:{port} in\n{template}");
}

fn joined(lines: impl IntoIterator<Item = usize>) -> String {
    lines.into_iter().map(|line| line.to_string()).collect::<Vec<_>>().join(",")
}

#[test]
fn a_key_is_known_by_its_plain_name() {
    check("b1 K1", "b1", 22, "known:1");
    check("b1 K1", "B1", 22, "known:1");
    check("B1 K1", "b1", 22, "known:1");
    check("b1,10.0.0.1 K1 a comment", "10.0.0.1", 22, "known:1");
    check("b1 K1", "b2", 22, "unknown");
    check("b1 K1", "b11", 22, "unknown");
    check("", "b1", 22, "unknown");
}

#[test]
fn comments_tabs_blank_lines_and_rubbish_are_passed_over() {
    check("# b1 K2\n\n  \\tb1\\tK1\\tsomebody", "b1", 22, "known:3");
    check("b1\\t \\tK1\r", "b1", 22, "known:1");
    check("b1 ssh-ed25519 not-base64\nb1\nb1 K1", "b1", 22, "known:3");
    check("b1 ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQ==\nb1 K1", "b1", 22, "known:2");
    check("b1 1024 35 1234567890\nb1 K1", "b1", 22, "known:2");
    check("@whatever b1 K1", "b1", 22, "unknown");
    check("@revoked", "b1", 22, "unknown");
}

#[test]
fn one_equal_key_among_several_is_enough() {
    check("b1 K2\nb1 K1\nb1 K3", "b1", 22, "known:2");
    check("b1 R2\nb1 K1", "b1", 22, "known:2");
}

#[test]
fn a_key_that_differs_from_all_known_ones_is_changed() {
    check("b1 K2", "b1", 22, "changed:1");
    check("b1 K2\nb2 K1\nb1 K3", "b1", 22, "changed:1,3");
    // The key to show is the one of the same type.
    check("b1 R2\nb1 K2", "b1", 22, "changed:2,1");
    check("b1 R2", "b1", 22, "changed:1");
}

#[test]
fn a_revoked_key_is_refused_although_it_is_known() {
    check("b1 K1\n@revoked b1 K1", "b1", 22, "revoked:2");
    check("b1 K1\n@revoked * K1", "b1", 22, "revoked:2");
    check("@revoked\\t*\\tK1\nb1 K1", "b1", 22, "revoked:1");
    check("b1 K1\n@revoked b2 K1", "b1", 22, "known:1");
    check("b1 K1\n@revoked b1 K2", "b1", 22, "known:1");
    check("[b1]:2222 K1\n@revoked b1 K1", "b1", 2222, "revoked:2");
}

#[test]
fn an_authority_is_seen_and_its_plain_key_never_accepted() {
    check("@cert-authority b1 K1", "b1", 22, "authority:1");
    check("@cert-authority *.example K1\n@cert-authority b1 K2", "b1", 22, "authority:2");
    check("@cert-authority b1 K1\nb1 K2", "b1", 22, "changed:2");
    check("@cert-authority b1 K2\nb1 K1", "b1", 22, "known:2");
}

#[test]
fn wildcards_and_negations_are_patterns() {
    check("b* K1", "b17", 22, "known:1");
    check("b? K1", "b1", 22, "known:1");
    check("b? K1", "b12", 22, "unknown");
    check("*.example,!b1.example K1", "b2.example", 22, "known:1");
    check("*.example,!b1.example K1", "b1.example", 22, "unknown");
    check("!b1.example,*.example K1", "B1.EXAMPLE", 22, "unknown");
    check("!b1 K1", "b2", 22, "unknown");
    check("10.0.?.* K1", "10.0.3.14", 22, "known:1");
    check("*a*b*c K1", "xxaxxbxbxc", 22, "known:1");
    check("*a*b*c K1", "xxaxxbxbx", 22, "unknown");
    check("[*]:2222 K1", "b1", 2222, "known:1");
}

#[test]
fn another_port_has_a_name_of_its_own_and_falls_back_to_the_plain_one() {
    check("[b1]:2222 K1", "b1", 2222, "known:1");
    check("[b1]:2222 K1", "b1", 2223, "unknown");
    check("[b1]:2222 K1", "b1", 22, "unknown");
    check("[::1]:2222 K1", "::1", 2222, "known:1");
    check("::1 K1", "::1", 22, "known:1");
    // As ssh: "found matching key w/out port".
    check("b1 K1", "b1", 2222, "known:1");
    check("b1 K1\n[b1]:2222 K2", "b1", 2222, "changed:2");
    check("b1 K2", "b1", 2222, "changed:1");
}

#[test]
fn hashed_names_are_compared_by_hash() {
    let salt = [7_u8; 20];
    let hashed = |name: &str| {
        let mut mac = Hmac::<Sha1>::new_from_slice(&salt).unwrap();
        mac.update(name.as_bytes());
        format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(mac.finalize().into_bytes()))
    };
    check(&format!("{} K1", hashed("b1")), "b1", 22, "known:1");
    check(&format!("{} K1", hashed("b1")), "B1", 22, "known:1");
    check(&format!("{} K1", hashed("[b1]:2222")), "b1", 2222, "known:1");
    check(&format!("{} K1", hashed("b1")), "b2", 22, "unknown");
    check(&format!("{} K2\n@revoked {} K1", hashed("b1"), hashed("b1")), "b1", 22, "revoked:2");
    check("|1|broken K1", "b1", 22, "unknown");
    check("|2|AAAA|AAAA K1", "b1", 22, "unknown");
}

#[test]
fn key_types_are_those_of_the_name_that_decides() {
    let known = file("b1 R2\nb1 K1\nb1 R3\n[b1]:2222 K4\n@revoked b1 K5\n@cert-authority b3 K1");
    assert_eq!(known.key_types("b1", 22), ["ssh-rsa", "ssh-ed25519"]);
    assert_eq!(known.key_types("b1", 2222), ["ssh-ed25519"]);
    assert_eq!(known.key_types("b1", 2223), ["ssh-rsa", "ssh-ed25519"]);
    assert!(known.key_types("b3", 22).is_empty());
}

#[test]
fn a_fingerprint_is_that_of_ssh_keygen() {
    let Some(printed) = ssh_keygen(&["-l", "-f"], &format!("b1 {}\n", text_of(&key(1)))) else { return };
    assert!(printed.contains(&key(1).fingerprint()), "{printed}");
}

/// The names that both must judge alike.
const NAMES: &[&str] = &["b1", "B2", "b2.example", "deep.b2.example", "10.0.0.1", "[b1]:2222", "::1", "[::1]:2222"];

const FILES: &[&str] = &[
    "b1 K1",
    "b1,b2 K1",
    "b? K1\n*.example,!deep.* K2",
    "!b1,b* K1",
    "*,!b1 K1",
    "[b1]:2222 K1\n[*]:2222 K2",
    "::1 K1\n[::1]:2222 K2",
    "# b1 K1\n\n\\tb1\\tK1\\tcomment\n10.0.?.? K2",
    "@revoked b1 K1\n@cert-authority *.example K2",
    "b1 not-a-key\nb1 K3",
    "B1 K1\nB2 K2",
];

#[test]
fn names_are_found_on_the_lines_on_which_ssh_keygen_finds_them() {
    for template in FILES {
        let text = expand(template) + "\n";
        for name in NAMES {
            let Some(printed) = ssh_keygen(&["-F", name, "-f"], &text) else { return };
            let theirs: Vec<usize> = printed
                .lines()
                .filter_map(|line| line.strip_prefix("# Host ")?.split_once("found: line ")?.1.split(' ').next()?.parse().ok())
                .collect();
            let known = KnownHosts::parse(Path::new("known_hosts"), &text);
            let ours: Vec<usize> = known.of(&name.to_ascii_lowercase()).map(|entry| entry.line).collect();
            assert_eq!(ours, theirs, "{name} in\n{template}");
        }
    }
}

#[test]
fn names_hashed_by_ssh_keygen_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("known_hosts");
    std::fs::write(&path, expand("b1 K1\n[b1]:2222,10.0.0.1 K2\n")).unwrap();
    let Ok(hashed) = Command::new("ssh-keygen").arg("-H").arg("-f").arg(&path).output() else {
        eprintln!("skipped: no ssh-keygen on this machine");
        return;
    };
    assert!(hashed.status.success());
    let known = KnownHosts::load(&path).unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("|1|"));
    assert!(matches!(known.judge("b1", 22, &key(1)), Judgement::Known { .. }));
    assert!(matches!(known.judge("b1", 2222, &key(2)), Judgement::Known { .. }));
    assert!(matches!(known.judge("10.0.0.1", 22, &key(2)), Judgement::Known { .. }));
    assert!(matches!(known.judge("10.0.0.2", 22, &key(2)), Judgement::Unknown { .. }));
}

/// The standard output of `ssh-keygen ARGUMENTS FILE`, or `None` where the program is absent.
fn ssh_keygen(arguments: &[&str], text: &str) -> Option<String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    match Command::new("ssh-keygen").args(arguments).arg(file.path()).output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(_) => {
            eprintln!("skipped: no ssh-keygen on this machine");
            None
        }
    }
}

/// The obvious definition, exponential.
fn slow_match(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), None) => slow_match(rest, text),
        (Some((b'*', rest)), Some((_, tail))) => slow_match(rest, text) || slow_match(pattern, tail),
        (Some((byte, rest)), Some((head, tail))) => (*byte == b'?' || byte == head) && slow_match(rest, tail),
        _ => false,
    }
}

proptest! {
    #[test]
    fn patterns_match_as_their_definition_says(pattern in "[ab*?]{0,7}", text in "[ab]{0,9}") {
        prop_assert_eq!(pattern_matches(pattern.as_bytes(), text.as_bytes()), slow_match(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn no_file_makes_the_parser_panic(text in any::<String>(), address in "[a-z.*]{0,6}", port in any::<u16>()) {
        let known = KnownHosts::parse(Path::new("known_hosts"), &text);
        let is_known = matches!(known.judge(&address, port, &key(1)), Judgement::Known { .. });
        prop_assert!(!is_known);
    }

    #[test]
    fn damaged_lines_are_never_a_match_for_another_key(position in 0_usize..90, byte in any::<u8>()) {
        let mut line = expand("b1 K2").into_bytes();
        if position < line.len() {
            line[position] = byte;
        }
        let known = KnownHosts::parse(Path::new("known_hosts"), &String::from_utf8_lossy(&line));
        let is_known = matches!(known.judge("b1", 22, &key(1)), Judgement::Known { .. });
        prop_assert!(!is_known);
    }
}
