//! Clusters that do not let everybody in. `scripts/test-security.sh` brings up the lab for `secured`: Kafka 2.5.0, brokers 0, 1 and 2, TLS, SCRAM, ACLs,
//! ZooKeeper with SASL. `plaintext` is for any lab.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kchaos_core::OpType;

use crate::lab::Lab;
use crate::run::{Answer, Scratch, a_run_with, kchaos};

const ENVIRONMENT: i32 = 3;
/// No mistake about who may come in takes longer to be named.
const NAMED_WITHIN: Duration = Duration::from_secs(15);

mod plaintext {
    use super::*;

    #[test]
    #[ignore = "needs root and the lab"]
    fn who_comes_by_the_wrong_door_of_a_plaintext_cluster_is_told_within_15_s() {
        let lab = Lab::that_is_whole();
        let scratch = Scratch::new();
        let ca = scratch.path().join("ca.pem");
        fs::write(&ca, a_ca("Somebody Else").0).expect("write a CA");
        let ca = format!("\"ssl.ca.location\" = \"{}\"", ca.display());
        let password = scratch.path().join("password");
        fs::write(&password, "word\n").expect("write a password");
        let sasl =
            format!("\"sasl.mechanism\" = \"PLAIN\"\n\"sasl.username\" = \"u\"\n\"sasl.password\" = \"file:{}\"", password.display());
        for (properties, phrases) in [
            (format!("\"security.protocol\" = \"SSL\"\n{ca}"), ["closed the connection in the TLS handshake", "security.protocol"]),
            (format!("\"security.protocol\" = \"SASL_PLAINTEXT\"\n{sasl}"), ["listener without SASL", "security.protocol"]),
        ] {
            let inventory = lab.inventory_where(scratch.path(), "[kafka.properties]\n", &format!("[kafka.properties]\n{properties}\n"));
            refused_in_time(&inventory, &phrases);
        }
        let tls = format!("\n[zookeeper.tls]\nca_file = \"{}\"\n\n[[host]]", scratch.path().join("ca.pem").display());
        let inventory = lab.inventory_where(scratch.path(), "\n[[host]]", &tls);
        refused_in_time(&inventory, &["closed the connection in the TLS handshake", "secureClientPort"]);
    }
}

mod secured {
    use super::*;

    /// What is changed in the inventory, and what is said of it. `@` stands for a file of this test's.
    const CASES: &[(&str, &str, &str, &[&str])] = &[
        ("a wrong CA", "ca.pem\"", "@other-ca.pem", &["signed by CN=CA of lab", "ssl.ca.location"]),
        ("in the clear to a port of TLS", "\"SASL_SSL\"", "\"PLAINTEXT\"", &["speaks TLS, and we do not", "security.protocol"]),
        ("SASL without TLS", "\"SASL_SSL\"", "\"SASL_PLAINTEXT\"", &["speaks TLS, and we do not", "security.protocol"]),
        ("TLS without SASL", "\"SASL_SSL\"", "\"SSL\"", &["as a listener of SASL does", "security.protocol"]),
        ("a wrong password", "kchaos.password\"\n\"sasl.username", "@word", &["does not let user kchaos in", "sasl.password"]),
        ("a user whom nobody knows", "\"kchaos\"\n\"security", "\"nobody\"\n\"security", &["does not let user nobody in", "sasl.username"]),
        ("a wrong mechanism", "\"SCRAM-SHA-512\"", "\"PLAIN\"", &["takes SCRAM-SHA-512, and not PLAIN", "sasl.mechanism"]),
        ("a mechanism that nobody speaks", "\"SCRAM-SHA-512\"", "\"GSSAPI\"", &["sasl.mechanism is \"GSSAPI\"", "know PLAIN"]),
        ("a user without ACLs", "@stranger", "@stranger", &["may not DescribeConfigs the cluster", "docs/security.md"]),
        ("a wrong password for ZooKeeper", "@zookeeper", "@word", &["does not let user kchaos in", "zookeeper.password"]),
    ];

    #[test]
    #[ignore = "needs root and the lab of scripts/test-security.sh"]
    fn every_mistake_about_who_may_come_in_is_named_within_15_s_with_where_to_mend_it() {
        let lab = Lab::that_is_whole();
        let scratch = Scratch::new();
        fs::write(scratch.path().join("other-ca.pem"), a_ca("Somebody Else").0).expect("write a CA");
        fs::write(scratch.path().join("word"), "word\n").expect("write a password");
        for (what, from, to, phrases) in CASES {
            let inventory = changed(&lab, scratch.path(), from, to);
            let took = refused_in_time(&inventory, phrases);
            println!("{what}: named after {:.1} s", took.as_secs_f64());
        }
    }

    #[test]
    #[ignore = "needs root and the lab of scripts/test-security.sh"]
    fn a_run_that_lacks_rights_is_refused_and_names_them() {
        Lab::that_is_whole();
        let started = Instant::now();
        let refused = a_run_with("none", &["--topic", "not-kchaos-own", "--time-limit", "2s"]).run();
        refused.says(ENVIRONMENT, &["not-kchaos-own", "uthorization"]);
        assert!(started.elapsed() < NAMED_WITHIN, "{:?}", started.elapsed());
    }

    #[test]
    #[ignore = "needs root and the lab of scripts/test-security.sh"]
    fn certificates_that_expire_or_are_for_another_are_told_of_by_broker() {
        let lab = Lab::that_is_whole();
        // A broker does not start with a certificate that has expired: this one does so under it.
        give_certificate(&lab, "kafka3", "10.99.0.13", 60);
        give_certificate(&lab, "kafka2", "10.98.0.12", 3_600);
        let told = [
            "kafka2: broker 1 (10.99.0.12:9092) has a certificate for kafka2, 10.98.0.12, and not for 10.99.0.12",
            "kafka3: broker 2 (10.99.0.13:9092) has a certificate (CN=admin) that expired on",
        ];
        let deadline = Instant::now() + Duration::from_secs(180);
        let last = loop {
            let started = Instant::now();
            let seen = doctor(&lab.inventory);
            assert!(started.elapsed() < NAMED_WITHIN, "{:?}", started.elapsed());
            if told.iter().all(|words| seen.stdout.contains(words)) || Instant::now() > deadline {
                break seen;
            }
            std::thread::sleep(Duration::from_secs(2));
        };
        for (host, address) in [("kafka2", "10.99.0.12"), ("kafka3", "10.99.0.13")] {
            give_certificate(&lab, host, address, 86_400);
        }
        assert!(told.iter().all(|words| last.stdout.contains(words)), "{}\n{}", last.stdout, last.stderr);
        Lab::that_is_whole();
    }

    #[test]
    #[ignore = "needs root and the lab of scripts/test-security.sh"]
    fn with_the_least_of_acls_leaders_are_killed_and_cut_off_and_every_write_is_found() {
        Lab::that_is_whole();
        for nemesis in ["kill-leader", "isolate-leader"] {
            let run = a_run_with(nemesis, &["--faults", "1", "--nemesis-interval", "1s"]).finish().ends_with(0);
            println!("{nemesis} by TLS and SCRAM: {} acknowledged", run.acknowledged());
            Lab::that_is_whole();
        }
    }

    #[test]
    #[ignore = "needs root and the lab of scripts/test-security.sh"]
    fn with_the_least_of_acls_every_workload_comes_to_its_end() {
        for workload in ["queue", "transactions", "bank", "register", "elections", "offsets", "order"] {
            Lab::that_is_whole();
            let run = a_run_with("none", &["--workload", workload, "--time-limit", "10s"]).finish();
            assert!([0, 2].contains(&run.answer.code), "{workload}: {}\n{}", run.answer.stdout, run.answer.stderr);
            assert!(!run.answer.stdout.contains("uthorization"), "{workload}: {}", run.answer.stdout);
            println!("{workload} with the least of ACLs: exit {}", run.answer.code);
        }
    }

    #[test]
    #[ignore = "needs root and the lab of scripts/test-security.sh"]
    fn java_s_clients_come_in_by_the_same_words() {
        Lab::that_is_whole();
        let run = a_run_with("kill-leader", &["--client", "java", "--faults", "1", "--nemesis-interval", "1s"]).finish().ends_with(0);
        println!("Java by TLS and SCRAM: {} acknowledged", run.acknowledged());
    }

    #[test]
    #[ignore = "needs root and the lab of scripts/test-security.sh"]
    fn too_few_replicas_before_the_append_is_a_definite_failure_and_after_it_is_not() {
        Lab::that_is_whole();
        // Nothing is tried twice, and a leader may wait for its followers until they are out of the in-sync set.
        let once = ["-X", "retries=0", "--idempotence", "false", "-X", "request.timeout.ms=20000", "-X", "socket.timeout.ms=25000"];
        let run = a_run_with("pause-majority", &["--faults", "1", "--nemesis-interval", "1s"]).and(&once).finish().ends_with(0);
        let (mut before, mut after) = ((0, 0), (0, 0));
        run.each_op(|op| {
            let Some(error) = op.error.as_deref() else { return };
            let counts = match error.split(' ').next() {
                Some("NOT_ENOUGH_REPLICAS") => &mut before,
                Some("NOT_ENOUGH_REPLICAS_AFTER_APPEND") => &mut after,
                _ => return,
            };
            match op.op_type {
                OpType::Fail => counts.0 += 1,
                OpType::Info => counts.1 += 1,
                OpType::Ok | OpType::Invoke => panic!("{error}: {op:?}"),
            }
        });
        println!("(fail, info): not enough replicas {before:?}, after the append {after:?}");
        assert!(before.0 > 0 && after.1 > 0 && after.0 == 0, "before {before:?}, after {after:?}");
    }

    /// A copy of the inventory with one thing changed.
    fn changed(lab: &Lab, scratch: &Path, from: &str, to: &str) -> PathBuf {
        let text = fs::read_to_string(&lab.inventory).expect("the lab's inventory");
        let at = |name: &str| scratch.join(name).display().to_string();
        let keys = keys(lab).display().to_string();
        let (from, to) = match (from, to) {
            ("@stranger", _) => {
                let text = text.replacen(&format!("file:{keys}/kchaos.password"), &format!("file:{keys}/stranger.password"), 1);
                return written(scratch, &text.replacen("\"sasl.username\" = \"kchaos\"", "\"sasl.username\" = \"stranger\"", 1));
            }
            ("@zookeeper", _) => {
                let reference = format!("\npassword = \"file:{keys}/kchaos.password\"");
                (reference, format!("\npassword = \"file:{}\"", at("word")))
            }
            ("ca.pem\"", _) => (format!("{keys}/ca.pem"), at("other-ca.pem")),
            (_, "@word") => (format!("file:{keys}/{from}"), format!("file:{}\"\n\"sasl.username", at("word"))),
            (from, to) => (from.to_owned(), to.to_owned()),
        };
        assert!(text.contains(&from), "{from:?} is not in\n{text}");
        written(scratch, &text.replacen(&from, &to, 1))
    }

    fn written(scratch: &Path, text: &str) -> PathBuf {
        let copy = scratch.join("kchaos.toml");
        fs::write(&copy, text).expect("write a copy of the inventory");
        copy
    }
}

/// `doctor` and a run are refused, and say these words.
pub(crate) fn refused_in_time(inventory: &Path, phrases: &[&str]) -> Duration {
    let started = Instant::now();
    let seen = doctor(inventory);
    let took = started.elapsed();
    for phrase in phrases {
        assert!(seen.stdout.contains(phrase), "{phrase:?} is not in:\n{}\n{}", seen.stdout, seen.stderr);
    }
    assert!(took < NAMED_WITHIN, "doctor took {took:?}");
    assert_eq!(seen.code, ENVIRONMENT, "{}", seen.stdout);
    let started = Instant::now();
    let refused = a_run_with("none", &["--time-limit", "2s"]).in_cluster(inventory).run();
    let took = took.max(started.elapsed());
    refused.says(ENVIRONMENT, phrases);
    assert!(took < NAMED_WITHIN, "a run took {took:?}");
    took
}

fn doctor(inventory: &Path) -> Answer {
    kchaos(&["doctor"]).in_cluster(inventory).run()
}

fn keys(lab: &Lab) -> PathBuf {
    lab.inventory.parent().expect("a directory").join("keys/kafka")
}

/// A certificate of a CA, and its key.
pub(crate) fn a_ca(name: &str) -> (Vec<u8>, Vec<u8>) {
    let scratch = Scratch::new();
    let (key, certificate) = (scratch.path().join("key"), scratch.path().join("certificate"));
    let subject = format!("/CN={name}");
    let arguments = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", &subject];
    openssl(&[&arguments[..], &["-keyout", text(&key), "-out", text(&certificate)]].concat());
    (fs::read(certificate).expect("a certificate"), fs::read(key).expect("a key"))
}

/// Gives a broker another certificate of the lab's own CA, and starts it anew.
fn give_certificate(lab: &Lab, host: &str, address: &str, valid_s: u32) {
    let (scratch, keys) = (Scratch::new(), keys(lab));
    let at = |name: &str| scratch.path().join(name);
    fs::write(at("extensions"), format!("subjectAltName=DNS:{host},IP:{address}\n")).expect("write extensions");
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", text(&at("key"))]);
    openssl(&["req", "-new", "-key", text(&at("key")), "-subj", "/CN=admin", "-out", text(&at("request"))]);
    let until = stamp(valid_s);
    let (ca, ca_key) = (keys.join("ca.pem"), keys.join("ca.key"));
    fs::write(at("index"), "").expect("an index");
    fs::write(at("serial"), "1000\n").expect("a serial");
    let settings = format!(
        "[ca]\ndefault_ca=lab\n[lab]\ndatabase={}\nserial={}\nnew_certs_dir={}\ndefault_md=sha256\npolicy=any\nunique_subject=no\n[any]\ncommonName=supplied\n",
        at("index").display(),
        at("serial").display(),
        scratch.path().display()
    );
    fs::write(at("settings"), settings).expect("write settings");
    let sign = ["ca", "-batch", "-config", text(&at("settings")), "-notext", "-enddate", &until, "-extfile", text(&at("extensions"))]
        .map(str::to_owned);
    let sign: Vec<&str> = sign.iter().map(String::as_str).collect();
    openssl(
        &[&sign[..], &["-cert", text(&ca), "-keyfile", text(&ca_key), "-in", text(&at("request")), "-out", text(&at("certificate"))]]
            .concat(),
    );
    let password = format!("file:{}", keys.join("admin.password").display());
    let store = at("store");
    openssl(&[
        "pkcs12",
        "-export",
        "-name",
        "admin",
        "-inkey",
        text(&at("key")),
        "-in",
        text(&at("certificate")),
        "-certfile",
        text(&ca),
        "-passout",
        &password,
        "-out",
        text(&store),
    ]);
    let encoded = base64(&store);
    let start = "/opt/kafka/bin/kafka-server-start.sh -daemon /etc/kafka/server.properties";
    let is_there = "for p in /proc/[0-9]*; do tr '\\0' '\\n' <$p/cmdline 2>/dev/null | grep -qxF kafka.Kafka && exit 1; done; exit 0";
    lab.on(
        host,
        &format!(
            "echo {encoded} | base64 -d >/etc/kafka/tls/keystore.p12; /opt/kafka/bin/kafka-server-stop.sh; \
             for i in $(seq 600); do ( {is_there} ) && break; sleep 0.1; done; {start}"
        ),
    );
}

fn openssl(arguments: &[&str]) {
    let output = std::process::Command::new("openssl").args(arguments).output().expect("openssl");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn base64(path: &Path) -> String {
    let output = std::process::Command::new("base64").args(["-w", "0", text(path)]).output().expect("base64");
    String::from_utf8(output.stdout).expect("text")
}

/// `YYYYMMDDHHMMSSZ`, so many seconds from now.
fn stamp(seconds: u32) -> String {
    (chrono::Utc::now() + chrono::Duration::seconds(i64::from(seconds))).format("%Y%m%d%H%M%SZ").to_string()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
