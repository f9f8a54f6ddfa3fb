//! Security beyond one listener's: ZooKeeper by TLS, KRaft, each mechanism once, clients on hosts. Each on a lab of its own that `scripts/test-security.sh`
//! brings up.

use std::fs;
use std::path::Path;

use crate::lab::Lab;
use crate::run::{Scratch, a_run_with};
use crate::security::{a_ca, refused_in_time};

const USAGE: i32 = 254;
const BRIEF: &[&str] = &["--faults", "1", "--nemesis-interval", "1s"];

mod by_zookeeper_tls {
    use super::*;

    #[test]
    #[ignore = "needs root and a lab of scripts/test-security.sh"]
    fn every_mistake_about_zookeeper_s_tls_is_named_within_15_s_with_where_to_mend_it() {
        let lab = Lab::that_is_whole();
        let scratch = Scratch::new();
        let text = fs::read_to_string(&lab.inventory).expect("the lab's inventory");
        let other = scratch.path().join("other-ca.pem");
        fs::write(&other, a_ca("Somebody Else").0).expect("write a CA");
        let section = &text[text.find("[zookeeper.tls]").expect("a lab of --zookeeper-tls")..];
        let section = &section[..section[1..].find("\n[").map_or(section.len(), |end| end + 2)];
        let ca = section.lines().find(|line| line.starts_with("ca_file")).expect("ca_file");
        let identity: String =
            section.lines().filter(|line| line.contains("_file = ") && !line.starts_with("ca_")).map(|line| format!("{line}\n")).collect();
        let mut cases = vec![
            (
                "a wrong CA",
                ca.to_owned(),
                format!("ca_file = \"{}\"", other.display()),
                vec!["signed by CN=CA of lab", "zookeeper.tls.ca_file"],
            ),
            ("in the clear to a port of TLS", section.to_owned(), String::new(), vec!["speaks TLS, and we do not", "[zookeeper.tls]"]),
            (
                "another name",
                "\"10.99.0.14:2181\", \"10.99.0.15:2181\", \"10.99.0.16:2181\"".to_owned(),
                "\"[::ffff:10.99.0.14]:2181\"".to_owned(),
                vec!["has a certificate for zoo1, 10.99.0.14, and not for ::ffff:10.99.0.14", "zookeeper.connect"],
            ),
        ];
        if !identity.is_empty() {
            cases.push((
                "no certificate of ours",
                identity,
                String::new(),
                vec!["wants a certificate of ours", "zookeeper.tls.certificate_file"],
            ));
        }
        for (what, from, to, phrases) in cases {
            let inventory = lab.inventory_where(scratch.path(), &from, &to);
            println!("ZooKeeper by TLS, {what}: named after {:.1} s", refused_in_time(&inventory, &phrases).as_secs_f64());
        }
    }

    #[test]
    #[ignore = "needs root and a lab of scripts/test-security.sh"]
    fn zookeeper_s_leader_is_killed_and_sessions_expire_under_tls_and_all_is_seen_to_come_back() {
        Lab::that_is_whole();
        for nemesis in ["kill-zk-leader", "expire-session-leader", "kill-leader"] {
            let run = a_run_with(nemesis, BRIEF).finish().ends_with(0);
            run.stands_offline();
            println!("{nemesis}, ZooKeeper by TLS: {} acknowledged; {:.0} s", run.acknowledged(), run.took.as_secs_f64());
            Lab::that_is_whole();
        }
    }

    #[test]
    #[ignore = "needs root and a lab of scripts/test-security.sh"]
    fn registers_are_written_and_read_under_tls_while_zookeeper_s_leader_is_killed() {
        Lab::that_is_whole();
        let load = ["--workload", "register", "--time-limit", "15s", "--rate", "200", "--registers", "2", "--faults", "1"];
        let run = a_run_with("kill-zk-leader", &load).finish().ends_with(0);
        run.stands_offline();
        println!("registers by TLS × kill-zk-leader: valid; {:.0} s", run.took.as_secs_f64());
    }
}

mod by_kraft {
    use super::*;

    #[test]
    #[ignore = "needs root and a lab of scripts/test-security.sh"]
    fn leaders_of_partitions_and_of_the_quorum_are_killed_behind_closed_doors() {
        Lab::that_is_whole();
        for nemesis in ["kill-leader", "kill-quorum-leader"] {
            let run = a_run_with(nemesis, BRIEF).finish().ends_with(0);
            run.stands_offline();
            println!("{nemesis} on a secured KRaft: {} acknowledged; {:.0} s", run.acknowledged(), run.took.as_secs_f64());
            Lab::that_is_whole();
        }
    }

    #[test]
    #[ignore = "needs root and a lab of scripts/test-security.sh"]
    fn with_the_least_of_acls_workloads_of_kraft_come_to_their_end() {
        for workload in ["queue", "transactions", "elections", "offsets"] {
            Lab::that_is_whole();
            let run = a_run_with("none", &["--workload", workload, "--time-limit", "8s"]).finish();
            assert!([0, 2].contains(&run.answer.code), "{workload}: {}\n{}", run.answer.stdout, run.answer.stderr);
            assert!(!run.answer.stdout.contains("uthorization"), "{workload}: {}", run.answer.stdout);
            println!("{workload} with the least of ACLs on KRaft: exit {}", run.answer.code);
        }
    }

    #[test]
    #[ignore = "needs root and a lab of scripts/test-security.sh"]
    fn who_comes_to_brokers_and_controllers_of_kraft_with_the_wrong_ca_is_told_within_15_s() {
        let lab = Lab::that_is_whole();
        let scratch = Scratch::new();
        let other = scratch.path().join("other-ca.pem");
        fs::write(&other, a_ca("Somebody Else").0).expect("write a CA");
        let inventory = lab.inventory_where(scratch.path(), &keys_of(&lab, "ca.pem"), &other.display().to_string());
        let took = refused_in_time(&inventory, &["signed by CN=CA of lab", "ssl.ca.location"]);
        println!("a wrong CA on KRaft: named after {:.1} s", took.as_secs_f64());
    }
}

mod by_each_mechanism {
    use super::*;

    #[test]
    #[ignore = "needs root and a lab of scripts/test-security.sh"]
    fn a_leader_is_killed_and_every_write_is_found() {
        Lab::that_is_whole();
        let run = a_run_with("kill-leader", BRIEF).finish().ends_with(0);
        println!("kill-leader behind closed doors: {} acknowledged; {:.0} s", run.acknowledged(), run.took.as_secs_f64());
    }
}

mod by_mutual_tls {
    use super::*;

    #[test]
    #[ignore = "needs root and a lab of scripts/test-security.sh"]
    fn clients_on_hosts_are_given_certificates_in_pem_and_refused_with_a_key_store_before_anything_is_touched() {
        let lab = Lab::that_is_whole();
        let there = ["--client-hosts", "zoo1", "--time-limit", "5s"];
        a_run_with("none", &there).run().says(USAGE, &["ssl.keystore.location", "ssl.certificate.location"]);
        let scratch = Scratch::new();
        let text = fs::read_to_string(&lab.inventory).expect("the lab's inventory");
        let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name} is not in\n{text}"));
        let (store, password) = (line("ssl.keystore.location"), line("ssl.keystore.password"));
        let pem = |name: &str, file: &str| format!("\"{name}\" = \"{}\"", keys_of(&lab, file));
        let inventory = scratch.path().join("kchaos.toml");
        let changed =
            text.replace(store, &pem("ssl.certificate.location", "kchaos.pem")).replace(password, &pem("ssl.key.location", "kchaos.key"));
        fs::write(&inventory, changed).expect("write a copy of the inventory");
        let run = a_run_with("none", &there).in_cluster(&inventory).finish();
        assert!([0, 2].contains(&run.answer.code) && run.acknowledged() > 0, "{}\n{}", run.answer.stdout, run.answer.stderr);
        println!("clients on zoo1 by mutual TLS: {} acknowledged", run.acknowledged());
    }
}

fn keys_of(lab: &Lab, name: &str) -> String {
    let directory: &Path = lab.inventory.parent().expect("a directory");
    directory.join("keys/kafka").join(name).display().to_string()
}
