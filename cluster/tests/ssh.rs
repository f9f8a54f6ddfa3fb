//! SSH against a real sshd on loopback. Skipped, with a word about it, on a machine that has none.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Server, keygen, public};
use kchaos_cluster::remote::{Output, Remote, RemoteError};
use kchaos_cluster::secret::Secret;
use kchaos_cluster::ssh::{Key, SshRemote};

const TIMEOUT: Duration = Duration::from_secs(20);

async fn run(remote: &SshRemote, script: &str) -> Output {
    remote.run(script, TIMEOUT).await.unwrap()
}

async fn fails(remote: &SshRemote, script: &str, timeout: Duration) -> RemoteError {
    remote.run(script, timeout).await.unwrap_err()
}

#[tokio::test]
async fn a_script_runs_and_its_output_and_status_come_back() {
    let Some(server) = Server::start("") else { return };
    let remote = server.remote();
    let output = run(&remote, "echo \"$LC_ALL\"; echo 'it'\\''s talk' >&2; cat; exit 7").await;
    assert_eq!((output.status, output.stdout_text().as_str(), output.stderr_text().as_str()), (7, "C\n", "it's talk\n"));
    let output = run(&remote, "").await;
    assert_eq!(output, Output::default());
    let error = run(&remote, "echo no >&2; exit 3").await.success("b1", "saying no").unwrap_err();
    assert_eq!(error.to_string(), "saying no on b1 failed with status 3: no");
    assert_eq!(server.sessions().len(), 1, "one connection");
}

/// The shell of a login reads its start files before our command, and some of them talk.
#[tokio::test]
async fn what_a_login_prints_is_not_taken_for_output() {
    let Some(server) = Server::start("ForceCommand echo welcome; echo to b1; sh -s") else { return };
    let remote = server.remote();
    assert_eq!(run(&remote, "printf 'a\n\nb'").await.stdout_text(), "a\n\nb");
    assert_eq!(run(&remote, "true").await.stdout_text(), "");
}

#[tokio::test]
async fn nothing_of_a_script_stands_in_an_argument() {
    let Some(server) = Server::start("") else { return };
    let output = run(&server.remote(), "canary=7f3a; tr '\\0' ' ' </proc/$$/cmdline").await;
    assert_eq!(output.stdout_text().trim(), "sh -s");
}

#[tokio::test]
async fn keys_of_every_kind_let_in() {
    let Some(server) = Server::start("") else { return };
    let mut authorized = String::new();
    for (name, key_type, passphrase) in
        [("a", "ed25519", ""), ("b", "ecdsa", ""), ("c", "rsa", ""), ("d", "ed25519", "a canary"), ("e", "rsa", "a canary")]
    {
        keygen(&server.path(name), key_type, passphrase);
        authorized += &(public(&server.path(&format!("{name}.pub"))) + "\n");
        std::fs::write(server.path("authorized_keys"), &authorized).unwrap();
        let secret = Some(Secret::new(passphrase)).filter(|_| !passphrase.is_empty());
        let key = Key::load(server.path(name), secret.as_ref()).unwrap();
        let remote = SshRemote::new(kchaos_cluster::ssh::Endpoint { key, ..server.endpoint() });
        assert_eq!(run(&remote, "echo in").await.stdout_text(), "in\n", "{key_type}");
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_used_says_why() {
    let Some(server) = Server::start("") else { return };
    keygen(&server.path("locked"), "ed25519", "a canary");
    std::fs::write(server.path("rubbish"), "no key").unwrap();
    for (name, passphrase, part) in [
        ("locked", None, "give its passphrase by ssh.key_passphrase"),
        ("locked", Some(Secret::new("wrong canary")), "cannot be read with this passphrase"),
        ("rubbish", None, "is no private key"),
        ("absent", None, "No such file"),
        ("client.pub", None, "is no private key"),
    ] {
        let Err(error) = Key::load(server.path(name), passphrase.as_ref()) else { panic!("{name} was read") };
        let error = error.to_string();
        assert!(error.contains(part) && error.contains(name) && !error.contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn a_stranger_is_not_let_in() {
    let Some(server) = Server::start("") else { return };
    keygen(&server.path("stranger"), "ed25519", "");
    let key = Key::load(server.path("stranger"), None).unwrap();
    let remote = SshRemote::new(kchaos_cluster::ssh::Endpoint { key, ..server.endpoint() });
    let error = fails(&remote, "true", TIMEOUT).await;
    assert!(matches!(error, RemoteError::Authentication { .. }), "{error}");
    assert!(error.to_string().contains("publickey") && error.to_string().contains("authorized_keys"), "{error}");
}

/// Every file is shown to `ssh` as well: where it refuses, we do, and where it accepts, so do we.
#[tokio::test]
async fn host_keys_are_judged_as_ssh_judges_them() {
    let Some(server) = Server::start_with("", &["ed25519", "ecdsa", "rsa"]) else { return };
    keygen(&server.path("other"), "ed25519", "");
    let (other, ed25519, ecdsa, rsa) =
        (public(&server.path("other.pub")), server.host_key("ed25519"), server.host_key("ecdsa"), server.host_key("rsa"));
    let host = format!("[127.0.0.1]:{}", server.port);
    let cases = [
        (format!("{host} {ed25519}"), "in"),
        (format!("{host} {ecdsa}"), "in"),
        (format!("{host} {rsa}"), "in"),
        (format!("{host}\t{ed25519}\ta comment"), "in"),
        (format!("{host} {other}\n{host} {ed25519}"), "in"),
        (format!("[127.0.0.*]:* {ed25519}"), "in"),
        (format!("127.0.0.1 {ed25519}"), "in"),
        (format!("@cert-authority {host} {other}\n{host} {ed25519}"), "in"),
        (format!("@revoked {host} {other}\n{host} {ed25519}"), "in"),
        (String::new(), "not in"),
        (format!("127.0.0.2 {ed25519}"), "not in"),
        (format!("*,!{host},!127.0.0.1 {ed25519}"), "not in"),
        (format!("# {host} {ed25519}"), "not in"),
        (format!("{host} {other}"), "changed"),
        (format!("127.0.0.1 {other}"), "changed"),
        (format!("{host} {other}\n127.0.0.1 {ed25519}"), "changed"),
        (format!("{host} {ed25519}\n@revoked * {ed25519}"), "revoked"),
        (format!("@revoked {host} {ed25519}\n{host} {ed25519}"), "revoked"),
        (format!("@cert-authority {host} {ed25519}"), "vouches for certificates"),
    ];
    for (known_hosts, expect) in cases {
        server.know(&format!("{known_hosts}\n"));
        let ours = server.remote().run("true", TIMEOUT).await;
        match &ours {
            Ok(_) => assert_eq!(expect, "in", "{known_hosts}"),
            Err(RemoteError::HostKey { reason, hint, .. }) => {
                assert!(reason.contains(expect) && reason.contains("SHA256:") && !hint.is_empty(), "{known_hosts}\n{reason}");
            }
            Err(error) => panic!("{known_hosts}\n{error}"),
        }
        if let Some((is_in, said)) = server.ssh() {
            assert_eq!(ours.is_ok(), is_in, "ssh judges otherwise:\n{known_hosts}\n{said}");
        }
    }
}

#[tokio::test]
async fn a_changed_host_key_is_shown_with_both_fingerprints_and_its_line() {
    let Some(server) = Server::start("") else { return };
    keygen(&server.path("other"), "ed25519", "");
    server.know(&format!("# first\n[127.0.0.1]:{} {}\n", server.port, public(&server.path("other.pub"))));
    let error = fails(&server.remote(), "true", TIMEOUT).await.to_string();
    let fingerprints = error.matches("ssh-ed25519 SHA256:").count();
    assert!(fingerprints == 2 && error.contains("known_hosts:2") && error.contains("ssh-keygen -R"), "{error}");
}

#[tokio::test]
async fn the_key_by_which_a_host_proved_itself_is_told() {
    let Some(server) = Server::start("") else { return };
    server.know(&server.host_keys(&["ecdsa"]));
    let proven = server.remote().prove().await.unwrap();
    assert_eq!(proven.key_type, "ecdsa-sha2-nistp256");
    assert!(proven.known_from.ends_with("known_hosts:1") && proven.fingerprint.starts_with("SHA256:"), "{proven:?}");
}

#[tokio::test]
async fn a_long_output_holds_up_nobody_else() {
    let Some(server) = Server::start("") else { return };
    let remote = Arc::new(server.remote());
    run(&remote, "true").await;
    let enough = server.path("enough");
    let long = {
        let remote = Arc::clone(&remote);
        let script = format!("head -c 50000000 /dev/zero; until [ -e {} ]; do sleep 0.05; done; echo end >&2", enough.display());
        tokio::spawn(async move { run(&remote, &script).await })
    };
    for _ in 0..5 {
        assert_eq!(run(&remote, "echo short").await.stdout_text(), "short\n");
    }
    assert!(!long.is_finished());
    std::fs::write(&enough, "").unwrap();
    let output = long.await.unwrap();
    assert_eq!((output.stdout.len(), output.stderr_text().as_str()), (50_000_000, "end\n"));
}

#[tokio::test]
async fn an_endless_output_is_cut_off_and_the_connection_lives() {
    let Some(server) = Server::start("") else { return };
    let remote = server.remote();
    let error = fails(&remote, "cat /dev/zero", TIMEOUT).await;
    assert!(matches!(error, RemoteError::TooMuchOutput { .. }) && error.may_have_run(), "{error}");
    assert_eq!(run(&remote, "echo still here").await.stdout_text(), "still here\n");
}

#[tokio::test]
async fn a_long_script_arrives_whole() {
    let Some(server) = Server::start("") else { return };
    let lines: String = (0..60_000).map(|line| format!(": this is line {line} of a long script\n")).collect();
    assert!(lines.len() > 2_000_000);
    assert_eq!(run(&server.remote(), &format!("{lines}echo done")).await.stdout_text(), "done\n");
}

#[tokio::test]
async fn a_shell_ended_by_a_signal_is_no_failure_but_unknown() {
    let Some(server) = Server::start("") else { return };
    let remote = server.remote();
    let error = fails(&remote, "kill -KILL $$", TIMEOUT).await;
    assert!(matches!(&error, RemoteError::Unknown { reason, .. } if reason.contains("KILL")), "{error}");
    assert_eq!(run(&remote, "echo next").await.stdout_text(), "next\n");
}

#[tokio::test]
async fn what_is_left_running_in_the_background_does_not_hold_the_channel_if_it_is_detached() {
    let Some(server) = Server::start("") else { return };
    let remote = server.remote();
    let begun = Instant::now();
    let output = run(&remote, "setsid sleep 8 </dev/null >/dev/null 2>&1 & echo $!").await;
    assert!(begun.elapsed() < Duration::from_secs(3) && output.status == 0);
    // Without the redirection the output never ends: that is said, and not taken for all of it.
    let error = fails(&remote, "sleep 8 & echo $!", TIMEOUT).await;
    assert!(error.to_string().contains("holds its output open") && begun.elapsed() < Duration::from_secs(8), "{error}");
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_a_timeout_and_uses_nothing_up() {
    let Some(server) = Server::start("") else { return };
    let remote = server.remote();
    run(&remote, "true").await;
    for _ in 0..12 {
        let begun = Instant::now();
        let error = fails(&remote, "sleep 3", Duration::from_millis(100)).await;
        assert!(matches!(error, RemoteError::Timeout { timeout_ms: 100, .. }) && error.may_have_run(), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
    assert_eq!(run(&remote, "echo next").await.stdout_text(), "next\n");
    tokio::time::sleep(Duration::from_millis(9_000)).await;
    assert_eq!(server.sessions().len(), 1, "the connections of commands that timed out are closed");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_channel_behind() {
    let Some(server) = Server::start("") else { return };
    let remote = Arc::new(server.remote());
    run(&remote, "true").await;
    for _ in 0..30 {
        let abandoned = Arc::clone(&remote);
        let task = tokio::spawn(async move { run(&abandoned, "head -c 3000000 /dev/zero; sleep 0.1").await });
        tokio::time::sleep(Duration::from_millis(15)).await;
        task.abort();
    }
    assert_eq!(run(&remote, "echo next").await.stdout_text(), "next\n");
    assert_eq!(server.sessions().len(), 1);
}

#[tokio::test]
async fn more_commands_than_channels_wait_for_their_turn() {
    let Some(server) = Server::start("MaxSessions 6") else { return };
    let remote = Arc::new(server.remote());
    let begun = Instant::now();
    let tasks: Vec<_> = (0..14)
        .map(|number| {
            let remote = Arc::clone(&remote);
            tokio::spawn(async move { run(&remote, &format!("sleep 0.5; echo {number}")).await.stdout_text() })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), format!("{number}\n"));
    }
    assert!(begun.elapsed() > Duration::from_millis(1_400), "three rounds of six");
    assert_eq!(server.sessions().len(), 1);
}

#[tokio::test]
async fn a_refused_channel_is_asked_for_again_and_then_said() {
    let Some(server) = Server::start("MaxSessions 1") else { return };
    let remote = Arc::new(server.remote());
    run(&remote, "true").await;
    let busy = Arc::clone(&remote);
    let long = tokio::spawn(async move { run(&busy, "sleep 4").await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let error = fails(&remote, "true", TIMEOUT).await;
    assert!(matches!(error, RemoteError::Unreachable { .. }) && error.to_string().contains("MaxSessions"), "{error}");
    assert_eq!(long.await.unwrap().status, 0);
    assert_eq!(run(&remote, "echo next").await.stdout_text(), "next\n");
}

#[tokio::test]
async fn a_connection_killed_in_the_middle_leaves_the_outcome_unknown_and_is_made_anew() {
    let Some(server) = Server::start("") else { return };
    let remote = Arc::new(server.remote());
    let marker = server.path("ran");
    let script = format!("echo x >>{}; sleep 2", marker.display());
    let task = {
        let remote = Arc::clone(&remote);
        tokio::spawn(async move { remote.run(&script, TIMEOUT).await })
    };
    while !marker.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.kill_sessions();
    let error = task.await.unwrap().unwrap_err();
    assert!(matches!(error, RemoteError::Unknown { .. }) && error.may_have_run(), "{error}");
    assert_eq!(run(&remote, "echo again").await.stdout_text(), "again\n");
    assert_eq!(std::fs::read_to_string(&marker).unwrap(), "x\n", "it was sent once");
}

#[tokio::test]
async fn an_idle_connection_that_died_is_replaced_without_a_word() {
    let Some(server) = Server::start("") else { return };
    let remote = server.remote();
    for _ in 0..3 {
        assert_eq!(run(&remote, "echo here").await.stdout_text(), "here\n");
        server.kill_sessions();
    }
}

#[tokio::test]
async fn a_host_that_falls_silent_is_given_up_before_the_command_would_time_out() {
    let Some(server) = Server::start("") else { return };
    let remote = Arc::new(server.remote());
    run(&remote, "true").await;
    let waiting = Arc::clone(&remote);
    let task = tokio::spawn(async move { fails(&waiting, "sleep 60", Duration::from_secs(60)).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.signal_sessions("STOP");
    let begun = Instant::now();
    let error = task.await.unwrap();
    assert!(matches!(&error, RemoteError::Unknown { reason, .. } if reason.contains("Keepalive")), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    server.kill_sessions();
    assert_eq!(run(&remote, "echo back").await.stdout_text(), "back\n");
}

#[tokio::test]
async fn a_command_may_go_through_sudo() {
    let Some(server) = Server::start("") else { return };
    if std::process::Command::new("sudo").args(["-n", "true"]).output().map_or(true, |output| !output.status.success()) {
        eprintln!("skipped: no sudo that asks nothing on this machine");
        return;
    }
    let remote =
        SshRemote::new(kchaos_cluster::ssh::Endpoint { privilege: kchaos_cluster::inventory::Privilege::SudoSh, ..server.endpoint() });
    assert_eq!(run(&remote, "id -u; echo $LC_ALL").await.stdout_text(), "0\nC\n");
}

#[tokio::test]
async fn logins_that_sshd_drops_are_tried_again() {
    let Some(server) = Server::start("MaxStartups 2:70:4") else { return };
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let remote = server.remote();
            tokio::spawn(async move { remote.run("true", TIMEOUT).await })
        })
        .collect();
    let mut failed = Vec::new();
    for task in tasks {
        failed.extend(task.await.unwrap().err());
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test]
async fn a_host_where_nothing_listens_is_unreachable_at_once() {
    let Some(server) = Server::start("") else { return };
    let endpoint = server.endpoint();
    drop(server);
    let begun = Instant::now();
    let error = fails(&SshRemote::new(endpoint), "true", TIMEOUT).await;
    assert!(matches!(error, RemoteError::Unreachable { .. }) && error.to_string().contains("connection refused"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_unreachable_in_time_for_all_who_wait() {
    let Some(server) = Server::start("") else { return };
    let remote =
        Arc::new(SshRemote::new(kchaos_cluster::ssh::Endpoint { connect_timeout: Duration::from_millis(700), ..server.endpoint() }));
    server.signal("STOP");
    let begun = Instant::now();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let remote = Arc::clone(&remote);
            tokio::spawn(async move { remote.run("true", TIMEOUT).await.unwrap_err() })
        })
        .collect();
    for task in tasks {
        let error = task.await.unwrap();
        assert!(error.to_string().contains("no SSH key exchange was done within 700 ms") && !error.may_have_run(), "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "one attempt for all: {:?}", begun.elapsed());
    server.signal("CONT");
    assert_eq!(run(&remote, "echo back").await.stdout_text(), "back\n");
}

#[tokio::test]
async fn a_user_who_may_not_run_commands_is_told() {
    let Some(server) = Server::start("ForceCommand /bin/false") else { return };
    let output = run(&server.remote(), "echo never").await;
    assert_eq!((output.status, output.stdout_text().as_str()), (1, ""));
}
