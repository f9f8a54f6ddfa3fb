use proptest::prelude::*;

use super::*;

fn lines() -> Lines {
    Lines {
        peers: ["10.0.0.2", "10.0.0.3", "fd00::2"].iter().map(|text| text.parse().unwrap()).collect(),
        ports: [9092, 2181].into(),
        controller: Some(("10.0.0.9".parse().unwrap(), 22)),
        ..Lines::default()
    }
}

#[test]
fn a_renewal_deletes_before_it_adds_and_says_the_lease_in_milliseconds() {
    assert_eq!(
        lines().nft_elements("kchaos_x_1", Duration::from_millis(1500), true),
        "delete element inet kchaos_x_1 peers4 { 10.0.0.2, 10.0.0.3 }\n\
         add element inet kchaos_x_1 peers4 { 10.0.0.2 timeout 1500ms, 10.0.0.3 timeout 1500ms }\n\
         delete element inet kchaos_x_1 peers6 { fd00::2 }\n\
         add element inet kchaos_x_1 peers6 { fd00::2 timeout 1500ms }\n\
         delete element inet kchaos_x_1 ports { 2181, 9092 }\n\
         add element inet kchaos_x_1 ports { 2181 timeout 1500ms, 9092 timeout 1500ms }\n"
    );
}

#[test]
fn loopback_and_the_commanding_machine_are_spared_before_anything_is_dropped() {
    let nft = lines().nft_table("kchaos_x_1", Duration::from_secs(5));
    for (hook, first, second) in [
        ("chain input", "iifname \"lo\" accept", "ip saddr 10.0.0.9 tcp dport 22 accept"),
        ("chain output", "oifname \"lo\" accept", "ip daddr 10.0.0.9 tcp sport 22 accept"),
    ] {
        let chain = nft.split(hook).nth(1).unwrap();
        let (a, b, drop) = (chain.find(first).unwrap(), chain.find(second).unwrap(), chain.find("drop").unwrap());
        assert!(a < b && b < drop, "{nft}");
    }
    let iptables = lines().iptables("KCHAOS-x_1", "kchaos:r", false);
    let rules: Vec<&str> = iptables.lines().filter(|line| line.starts_with("-A KCHAOS-x_1-I")).collect();
    assert_eq!(rules[0], "-A KCHAOS-x_1-I -i lo -j RETURN");
    assert_eq!(rules[1], "-A KCHAOS-x_1-I -s 10.0.0.9 -p tcp --dport 22 -j RETURN");
    assert!(!iptables.contains("ACCEPT"), "an ACCEPT would let through what the host's own firewall refuses");
    assert!(!iptables.contains("fd00"));
    assert!(lines().iptables("KCHAOS-x_1", "kchaos:r", true).contains("-A KCHAOS-x_1-O -d fd00::2 -m comment --comment peers -j DROP"));
}

#[test]
fn the_way_that_is_not_cut_is_counted_and_never_dropped() {
    let lines = Lines { way: Way::In, ..lines() };
    let nft = lines.nft_table("kchaos_x_1", Duration::from_secs(5));
    let output = nft.split("chain output").nth(1).unwrap();
    assert!(!output.contains("drop") && output.contains("passed_out"), "{nft}");
    let iptables = lines.iptables("KCHAOS-x_1", "kchaos:r", false);
    assert!(iptables.lines().filter(|line| line.starts_with("-A KCHAOS-x_1-O")).all(|line| !line.contains("DROP")), "{iptables}");
}

#[test]
fn one_connection_is_cut_by_both_of_its_ends() {
    let lines = Lines { connections: [("10.0.0.9".parse().unwrap(), 4000, 9092)].into(), way: Way::In, ..Lines::default() };
    assert!(
        lines
            .nft_table("t", Duration::from_secs(5))
            .contains("ip saddr . tcp sport . tcp dport @connections4 counter name connection_in drop")
    );
    let iptables = lines.iptables("KCHAOS-x_1", "kchaos:r", false);
    assert!(
        iptables.contains("-A KCHAOS-x_1-I -s 10.0.0.9 -p tcp --sport 4000 --dport 9092 -m comment --comment connection -j DROP"),
        "{iptables}"
    );
}

#[test]
fn a_chance_is_written_as_each_backend_reads_it() {
    let lines = Lines { manner: Manner::Chance(5), ..lines() };
    assert!(lines.nft_table("t", Duration::from_secs(5)).contains("numgen random mod 100 < 5 counter name peers_in drop"));
    assert!(lines.iptables("KCHAOS-x_1", "kchaos:r", false).contains("--probability 0.05 -m comment --comment peers -j DROP"));
}

#[test]
fn names_of_chains_fit_into_28_characters() {
    let name = format!("KCHAOS-{}_{}-I", host::short_hash("a run"), u32::from(u16::MAX));
    assert!(name.len() <= 28, "{name}");
}

#[test]
fn the_backend_is_the_one_that_is_wanted_and_works() {
    let facts = |text: &str| Answers::parse(text);
    let both = facts("firewall nftables\nfirewall iptables\n");
    let (only, none) = (facts("firewall iptables\n"), facts("boot x\n"));
    assert_eq!(backend(Firewall::Auto, &both), Ok(Backend::Nftables));
    assert_eq!(backend(Firewall::Iptables, &both), Ok(Backend::Iptables));
    assert_eq!(backend(Firewall::Auto, &only), Ok(Backend::Iptables));
    assert!(backend(Firewall::Nftables, &only).is_err());
    assert!(backend(Firewall::Auto, &none).is_err());
}

#[test]
fn counters_and_probes_are_read_as_they_were_printed() {
    let answers = Answers::parse(
        "counter peers_in 1\ncounter peers_out 2\ncounter clients_in 5\nmark\nprobe 10.0.0.2 9092 silent\nprobe 10.0.0.3 2181 refused\n\
         counter peers_in 1\ncounter peers_out 4\ncounter clients_in 5\n",
    );
    let (counted, probed) = (Counted::read(&answers), Probed::read(&answers));
    assert_eq!((counted.of("peers"), counted.of("clients"), counted.of("pee")), ((3, 5), (5, 5), (0, 0)));
    let probes = [("10.0.0.2".parse().unwrap(), 9092), ("10.0.0.3".parse().unwrap(), 2181)];
    assert_eq!((probed.among(&probes), probed.silent(&probes)), (1, 1));
    assert_eq!(controller(&Answers::parse("controller fe80::1%eth0 22\n")), Some(("fe80::1".parse().unwrap(), 22)));
}

proptest! {
    #[test]
    fn no_answer_of_a_host_makes_it_panic(text in "((counter|probe|mark|controller|address|firewall) \\PC{0,30}\n){0,6}") {
        let answers = Answers::parse(&text);
        let _ = (Counted::read(&answers).of("peers"), Probed::read(&answers), controller(&answers), addresses(&answers).count());
    }
}
