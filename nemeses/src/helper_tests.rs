use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::faults::cut_lines::{Lines, Manner, Way};

const REFUSED: Option<i32> = Some(64);

/// A helper of its own, with a host's places below a directory.
struct Desk {
    place: tempfile::TempDir,
    own: PathBuf,
}

impl Desk {
    /// Its one daemon, kafka:1, is the process that has this argument.
    fn new(argument: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::write(at("allow"), "a\n").unwrap();
        let toml = format!(
            "[cluster]\nname = \"a\"\nenvironment = \"lab\"\nexpect_cluster_id = \"x\"\n[ssh]\nuser = \"kchaos\"\nprivilege = \"helper\"\nkey_file = \"k\"\n\
             known_hosts_file = \"h\"\n[kafka]\nbootstrap = [\"b1:9092\"]\n[zookeeper]\nconnect = [\"b1:2181\"]\n[[host]]\nname = \"b1\"\naddress = \"b1\"\n\
             opt_in_file = {:?}\n[[host.daemon]]\nkind = \"kafka\"\nid = 1\nport = 9092\nstart = \"touch {started}\"\nstop = \"touch {stopped}\"\n\
             find = {{ argv = [{argument:?}] }}\nlog_dir = {:?}\n[[host.daemon]]\nkind = \"zookeeper\"\nid = 1\nport = 2181\nstart = \"a\"\n\
             stop = \"b\"\nfind = {{ port = 2181 }}\nlog_dir = \"/nonexistent\"\n",
            at("allow"),
            place.path(),
            started = at("started").display(),
            stopped = at("stopped").display(),
        );
        let inventory = Inventory::parse(Path::new("kchaos.toml"), &toml).unwrap();
        let paths = HostPaths { state: at("state").display().to_string(), volatile: at("volatile").display().to_string() };
        let own = at("kchaos-helper");
        std::fs::write(at("daemons"), daemons_file(&inventory, &inventory.hosts[0])).unwrap();
        std::fs::write(&own, text_at(&paths, &own.display().to_string(), &at("daemons").display().to_string())).unwrap();
        Self { place, own }
    }

    fn asks(&self, words: &[impl AsRef<OsStr>], input: &[u8]) -> Output {
        run(Command::new("sh").arg(&self.own).args(words).current_dir(self.place.path()), input)
    }

    fn says(&self, words: &[&str]) -> String {
        let output = self.asks(words, b"");
        assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().replace(&format!("{MARK}\n"), "")
    }

    fn refuses(&self, words: &[&str], input: &str, why: &str) {
        let output = self.asks(words, input.as_bytes());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == REFUSED && said.contains(why), "{words:?}: {output:?} lacks {why:?}");
    }

    /// All that is there but what was put there first.
    fn traces(&self) -> BTreeSet<PathBuf> {
        let entries = std::fs::read_dir(self.place.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| !["allow", "daemons", "kchaos-helper"].iter().any(|name| path.ends_with(name))).collect()
    }

    /// Locks, keeps and arms: what comes before anything is done.
    fn arms(&self, lease_cs: &str, kind: &[&str]) {
        assert_eq!(self.says(&["lock", "r", "6000", "me"]), "locked\n");
        assert_eq!(self.says(&[&["keep", "r", "r-1", "a line (for people)"], kind].concat()), "kept\n");
        assert!(self.says(&["arm", "r", "r-1", lease_cs]).starts_with("armed "));
    }
}

fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Who refuses before reading has closed its end.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// The functions of the helper, without the call at its end, and then this.
fn with_functions(then: &str, input: &str) -> Output {
    let text = text_at(&HostPaths::default(), "/nonexistent", "/nonexistent");
    let functions = text.rsplit_once("\numask 022\n").unwrap().0;
    run(Command::new("sh").arg("-c").arg(format!("{functions}\n{then}")), input.as_bytes())
}

/// A process that nobody else has: its argument is the place of its desk.
struct Sleeper(Child);

impl Sleeper {
    fn new(seconds: &str) -> Self {
        Self(Command::new("sleep").arg(seconds).spawn().unwrap())
    }

    /// State, pid and start time.
    fn stat(&self) -> (String, String, String) {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let words: Vec<&str> = text.rsplit_once(") ").unwrap().1.split(' ').collect();
        (words[0].to_owned(), self.0.id().to_string(), words[19].to_owned())
    }

    fn becomes(&self, state: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.stat().0 != state {
            assert!(Instant::now() < deadline, "{:?} does not become {state}", self.stat());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_no_verb_or_no_argument_of_it_is_refused_by_name() {
    let desk = Desk::new("nobody-has-this");
    let table: &[(&[&str], &str)] = &[
        (&[], "no such verb"),
        (&["sh"], "no such verb"),
        (&["version", "x"], "there are 1 words in all"),
        (&["release", "kafka:1"], "nobody holds"),
        (&["find", "kafka:2"], "no such daemon"),
        (&["find", "kafka:1; id"], "no such daemon"),
        (&["start", "../../bin/sh"], "no such daemon"),
        (&["gone", "17", "x", "10"], "the start time is no number"),
        (&["gone", "017", "1", "10"], "the pid is no number"),
        (&["gone", "1", "1", "10"], "first process"),
        (&["threads", "17", "1", "Z"], "the state is none of T R"),
        (&["lock", "../r", "100", "me"], "no plain name"),
        (&["lock", "r", "9999999999", "me"], "above"),
        (&["lock", "r", "100", "$(id)"], "not allowed"),
        (&["arm", "r", "s-1", "100"], "not of that run"),
        (&["arm", "r", "r-1/../../x", "100"], "no plain name"),
        (&["disarm", "r", "r-"], "no number"),
        (&["flap-proof", "nftables", "kchaos_0a_1", "10.0.0.256", "1"], "above 255"),
        (&["flap-proof", "nftables", "kchaos_0a_1", "10.0.0.1", "0"], "no port 0"),
        (&["flap-proof", "nftables", "filter", "10.0.0.1", "1"], "not one of ours"),
        (&["flap-proof", "ebtables", "kchaos_0a_1", "10.0.0.1", "1"], "neither nftables"),
        (&["uncut", "r", "r-1", "iptables", "INPUT"], "not one of ours"),
        (&["keep", "r", "r-1", "about", "shell", "x"], "nothing of that kind"),
        (&["keep", "r", "r-1", "about", "nurse", "kafka:1", "held"], "nobody holds"),
        (&["armed", "r", "r-1", "sh", "-c", "id"], "no such verb for a fault"),
        (&["armed", "r", "r-1", "signal", "kafka:1", "17", "1", "TERM"], "neither STOP nor KILL"),
        (&["armed", "r", "r-1", "signal", "kafka:1", "17", "1", "KILL"], "no undo script of that kind"),
        (&["sweep", "-", "perhaps"], "none of yes no"),
        (&["halt", "why", "$(id)"], "not allowed"),
        (&["halt", "why"], "there are 3 words in all"),
        (&["halt-release", "`id`"], "not allowed"),
        (&["glance", "var"], "no plain path"),
        (&["glance", "/var", "/var/../etc"], "no plain path"),
        (&["leftovers", "/var; id"], "no plain path"),
    ];
    for (words, why) in table {
        desk.refuses(words, "", why);
    }
    desk.refuses(&["probe"], "10.0.0.1 80; id\n", "no number");
    desk.refuses(&["probe"], "10.0.0.1 80 extra\n", "lines of an address and a port");
    desk.refuses(&["probe"], "fe80::1%$(id) 80\n", "the address is none");
    assert!(desk.traces().is_empty(), "{:?}", desk.traces());
}

/// Words that are as they should be, up to where they would do something.
const CALLS: &[&[&str]] = &[
    &["find", "kafka:1"],
    &["threads", "99999", "17", "T"],
    &["gone", "99999", "17", "1"],
    &["cut-proof", "nftables", "kchaos_0a_1"],
    &["cut-mended", "iptables", "KCHAOS-0a_1"],
    &["flap-proof", "nftables", "kchaos_0a_1", "10.0.0.1", "80"],
    &["connections", "80"],
    &["delay-proof", "nftables", "kchaos_0a_1", "80"],
    &["lock", "r", "100", "me"],
    &["unlock", "r"],
    &["keep", "r", "r-1", "about", "pause", "kafka:1", "99999", "17"],
    &["keep", "r", "r-1", "about", "cut", "nftables", "kchaos_0a_1"],
    &["arm", "r", "r-1", "100"],
    &["renew", "r", "r-1", "100", "yes", "down", "kafka:1", "plain", "99999", "17"],
    &["renew", "r", "r-1", "100", "no", "cut", "nftables", "kchaos_0a_1"],
    &["disarm", "r", "r-1"],
    &["sweep", "-", "no"],
    &["continue", "kafka:1", "99999", "17"],
    &["uncut", "r", "r-1", "nftables", "kchaos_0a_1"],
    &["start", "kafka:1"],
    &["release", "kafka:1"],
    &["armed", "r", "r-1", "signal", "kafka:1", "99999", "17", "STOP"],
    &["armed", "r", "r-1", "cut", "nftables", "kchaos_0a_1", "no"],
    &["armed", "r", "r-1", "stop", "kafka:1"],
    &["armed", "r", "r-1", "hold", "kafka:1"],
    &["glance", "/nonexistent"],
    &["leftovers", "/nonexistent"],
    &["halt-release", "me"],
];

/// Bytes of which at least one stands in no argument of any verb, and some of which sh would run.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || prop::collection::vec(1..=255_u8, 0..12);
    let sting = prop::sample::select(vec![
        "$(touch canary)",
        "`touch canary`",
        "'; touch canary; '",
        "\ntouch canary\n",
        "&touch canary&",
        "|touch canary",
        "\\",
        "*",
        "!",
        "'",
        "\n",
        "\u{e9}",
        "$IFS",
    ]);
    (bytes(), sting, bytes()).prop_map(|(before, sting, after)| [before.as_slice(), sting.as_bytes(), after.as_slice()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_bytes_in_any_argument_run_or_do_anything(call in prop::sample::select(CALLS.to_vec()), at in 0..10_usize, bytes in hostile()) {
        let desk = Desk::new("nobody-has-this");
        let mut words: Vec<OsString> = call.iter().map(OsString::from).collect();
        let at = at % words.len();
        words[at] = OsString::from_vec(bytes);
        let output = desk.asks(&words, b"");
        prop_assert_eq!(output.status.code(), REFUSED, "{:?}: {:?}", words, output);
        prop_assert!(desk.traces().is_empty(), "{:?}: {:?}", words, desk.traces());
    }

    #[test]
    fn no_bytes_on_standard_input_run_or_do_anything(bytes in hostile(), verb in prop::sample::select(vec!["probe", "cut"])) {
        let desk = Desk::new("nobody-has-this");
        let words: &[&str] = if verb == "probe" { &["probe"] } else { &["cut-proof", "nftables", "kchaos_0a_1"] };
        let output = desk.asks(words, &bytes);
        let is_blank = bytes.iter().all(|byte| b" \n".contains(byte));
        prop_assert!(output.status.code() == REFUSED || is_blank, "{:?}", output);
        prop_assert!(desk.traces().is_empty(), "{:?}", desk.traces());
    }
}

fn lines() -> impl Strategy<Value = Lines> {
    let address =
        prop_oneof![any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())), any::<u128>().prop_map(|bits| IpAddr::V6(bits.into()))];
    let pairs = || prop::collection::btree_set((address.clone(), 1..=u16::MAX), 0..3);
    let triples = prop::collection::btree_set((address.clone(), 1..=u16::MAX, 1..=u16::MAX), 0..3);
    let ports = || prop::collection::btree_set(1..=u16::MAX, 0..3);
    let manner = prop_oneof![
        Just(Manner::Always),
        (1..9_u32, 9..20_u32).prop_map(|(cut_s, cycle_s)| Manner::Flapping { cut_s, cycle_s }),
        (1..99_u8).prop_map(Manner::Chance),
    ];
    let way = prop::sample::select(vec![Way::Both, Way::In, Way::Out]);
    let addresses = || prop::collection::btree_set(address.clone(), 0..4);
    let controller = prop::option::of((address.clone(), 1..=u16::MAX));
    ((addresses(), addresses(), pairs(), pairs()), (triples, ports(), ports()), controller, way, manner).prop_map(
        |((peers, welcome, asked, asking), (connections, ports, local), controller, way, manner)| Lines {
            peers,
            welcome,
            asked,
            asking,
            connections,
            ports,
            local,
            controller,
            way,
            manner,
        },
    )
}

const LEASE: Duration = Duration::from_secs(30);
const TABLE: &str = "kchaos_0a1b2c3d_1";
const CHAIN: &str = "KCHAOS-0a1b2c3d_1";

fn accepts(call: &str, input: &str) -> bool {
    let output = with_functions(&format!("h_input\n{call}\necho accepted"), input);
    let is_accepted = output.stdout == b"accepted\n";
    assert!(is_accepted || output.status.code() == REFUSED, "{output:?}");
    is_accepted
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_cut_that_we_make_is_accepted_and_a_line_more_is_not(lines in lines(), at in any::<prop::sample::Index>(), more in "[ -~]{1,50}") {
        prop_assume!(!lines.is_empty());
        let (nft, ipt) = (lines.nft_table(TABLE, LEASE), lines.iptables(CHAIN, "kchaos:r-1", false) + &lines.iptables(CHAIN, "kchaos:r-1", true));
        for (call, text) in [(format!("h_nft {TABLE} table"), nft), (format!("h_ipt {CHAIN}"), ipt)] {
            prop_assert!(accepts(&call, &text), "{text}");
            let mut all: Vec<&str> = text.lines().collect();
            all.insert(at.index(all.len()), &more);
            prop_assert!(!accepts(&call, &all.join("\n")), "{more:?} in {text}");
        }
        let call = format!("h_nft {TABLE} elements");
        prop_assert!(accepts(&call, &lines.nft_elements(TABLE, LEASE, true)));
    }
}

#[test]
fn what_is_no_cut_of_ours_is_not_fed_to_the_firewall() {
    let lines = Lines { peers: [IpAddr::from([10, 0, 0, 2])].into(), ..Lines::default() };
    let table = lines.nft_table(TABLE, LEASE);
    assert!(accepts(&format!("h_nft {TABLE} table"), &table));
    let wrong = [
        ("of another table", table.replace(TABLE, "filter")),
        ("with a second table", format!("{table}{table}")),
        ("without a lease", table.replace(" timeout 30000ms", "")),
        ("with a long lease", table.replace("30000ms", "30000000ms")),
        ("with another table deleted", format!("delete table inet filter\n{table}")),
        ("with a file included", format!("include \"/etc/shadow\"\n{table}")),
        ("that accepts before others do", table.replace("policy accept", "policy drop")),
        ("that drops all", table.replace("  iifname \"lo\" accept", "  counter name peers_in drop")),
        ("cut short", table.split_once(" chain output").unwrap().0.to_owned()),
        ("of nothing", String::new()),
    ];
    for (what, text) in wrong {
        assert!(!accepts(&format!("h_nft {TABLE} table"), &text), "a table {what}: {text}");
    }
    assert!(!accepts(&format!("h_nft {TABLE} elements"), &table), "a renewal makes no table");
    let chains = lines.iptables(CHAIN, "kchaos:r", false) + &lines.iptables(CHAIN, "kchaos:r", true);
    assert!(accepts(&format!("h_ipt {CHAIN}"), &chains));
    for more in ["-F INPUT", "-A INPUT -j DROP", ":INPUT DROP [0:0]", "-A KCHAOS-0a1b2c3d_1-I -j LOG", "*nat"] {
        assert!(!accepts(&format!("h_ipt {CHAIN}"), &chains.replacen("COMMIT", &format!("{more}\nCOMMIT"), 1)), "{more}");
    }
}

#[test]
fn a_daemon_is_paused_under_a_lease_and_no_other_process_is() {
    let (daemon, stranger) = (Sleeper::new("86311.25"), Sleeper::new("86311.5"));
    let desk = Desk::new("86311.25");
    let (_, pid, start) = daemon.stat();
    let (_, other, other_start) = stranger.stat();
    assert_eq!(desk.says(&["find", "kafka:1"]), format!("{pid} {start} S\n"));
    let stop = ["armed", "r", "r-1", "signal", "kafka:1", &pid, &start, "STOP"];
    desk.refuses(&stop, "", "no undo script");
    desk.arms("3000", &["pause", "kafka:1", &pid, &start]);
    desk.refuses(&["armed", "r", "r-1", "signal", "kafka:1", &other, &other_start, "STOP"], "", "no undo script of that kind");
    desk.refuses(&["armed", "r", "r-1", "signal", "kafka:1", &pid, &start, "KILL"], "", "no undo script of that kind");
    desk.refuses(&["continue", "kafka:1", &other, &other_start], "", "not the daemon");
    desk.refuses(&["armed", "r", "r-1", "stop", "kafka:1"], "", "no undo script of that kind");
    assert!(desk.says(&stop).starts_with("signalled\nat "));
    daemon.becomes("T");
    assert_eq!(desk.says(&["threads", &pid, &start, "T"]), "state T 1 1\n");
    assert_eq!(desk.says(&["renew", "r", "r-1", "3000", "yes", "pause", "kafka:1", &pid, &start]), "renewed\n");
    assert_eq!(desk.says(&["disarm", "r", "r-1"]), "refused it is not mended\n", "a lease is not given up while its fault is there");
    assert_eq!(desk.says(&["continue", "kafka:1", &pid, "17"]), "gone\n", "another start time is another process");
    assert_eq!(desk.says(&["continue", "kafka:1", &pid, &start]), "signalled\n");
    daemon.becomes("S");
    assert!(desk.says(&["disarm", "r", "r-1"]).ends_with("disarmed\n"));
    assert_eq!(desk.says(&["unlock", "r"]), "unlocked\n");
    assert_eq!(stranger.stat().0, "S");
}

#[test]
fn a_process_of_another_start_time_is_nobody_s_and_one_that_is_not_the_daemon_is_refused_although_it_is_kept() {
    let (daemon, stranger) = (Sleeper::new("86312.25"), Sleeper::new("86312.5"));
    let desk = Desk::new("86312.25");
    let (_, pid, start) = daemon.stat();
    let (_, other, other_start) = stranger.stat();
    desk.arms("3000", &["pause", "kafka:1", &other, &other_start]);
    desk.refuses(&["armed", "r", "r-1", "signal", "kafka:1", &other, &other_start, "STOP"], "", "not the daemon");
    desk.arms("3000", &["nurse", "kafka:1", "plain"]);
    desk.refuses(&["armed", "r", "r-1", "signal", "kafka:1", &other, &other_start, "KILL"], "", "not the daemon");
    assert!(desk.says(&["armed", "r", "r-1", "signal", "kafka:1", &pid, "17", "KILL"]).starts_with("gone\n"));
    assert_eq!((daemon.stat().0.as_str(), stranger.stat().0.as_str()), ("S", "S"));
    assert!(desk.says(&["armed", "r", "r-1", "signal", "kafka:1", &pid, &start, "KILL"]).starts_with("signalled\n"));
    drop(daemon);
    assert!(desk.says(&["disarm", "r", "r-1"]).starts_with("refused"), "it is down");
    let _successor = Sleeper::new("86312.25");
    assert_eq!(desk.says(&["unlock", "r"]), "unlocked\n");
    assert_eq!(desk.says(&["sweep", "-", "no"]).lines().next(), Some("healed r-1 a line (for people)"));
}

#[test]
fn a_lease_that_lapses_mends_although_the_helper_has_been_taken_away() {
    let daemon = Sleeper::new("86313.25");
    let desk = Desk::new("86313.25");
    let (_, pid, start) = daemon.stat();
    desk.arms("150", &["pause", "kafka:1", &pid, &start]);
    desk.says(&["armed", "r", "r-1", "signal", "kafka:1", &pid, &start, "STOP"]);
    daemon.becomes("T");
    std::fs::remove_file(&desk.own).unwrap();
    std::fs::remove_file(desk.place.path().join("daemons")).unwrap();
    daemon.becomes("S");
}

#[test]
fn nothing_is_kept_on_a_host_that_is_not_opted_in_or_not_locked() {
    let desk = Desk::new("nobody-has-this");
    let keep = ["keep", "r", "r-1", "a line", "cut", "nftables", TABLE];
    assert!(desk.says(&keep).starts_with("refused the host is not locked"));
    std::fs::write(desk.place.path().join("allow"), "another\n").unwrap();
    assert!(desk.says(&keep).starts_with("refused the host is not opted in"));
}

#[test]
fn a_halt_stands_until_it_is_released_and_nothing_is_locked_meanwhile() {
    let desk = Desk::new("nobody-has-this");
    assert!(desk.says(&["halt", "the shop is slow", "ann@desk"]).contains("halted-by ann@desk"));
    assert!(desk.says(&["glance", "/"]).contains("halted-why the shop is slow"));
    assert!(desk.says(&["leftovers"]).contains("halted-why the shop is slow"));
    assert!(desk.says(&["lock", "r", "100", "me"]).starts_with("halted-at "));
    assert!(desk.says(&["halt-release", "ann@desk"]).ends_with("released\n"));
    assert!(desk.says(&["glance", "/"]).starts_with("room "));
    assert!(desk.says(&["lock", "r", "100", "me"]).starts_with("locked"));
}

#[test]
fn the_installed_script_is_known_by_its_sum_and_its_daemons_by_theirs() {
    let desk = Desk::new("nobody-has-this");
    let (own, daemons) = (std::fs::read_to_string(&desk.own).unwrap(), std::fs::read_to_string(desk.place.path().join("daemons")).unwrap());
    let answers = Answers::parse(&desk.says(&["version"]));
    assert!(judge(&answers, &checksum(&own), &checksum(&daemons)).unwrap().starts_with("helper "));
    assert!(judge(&answers, &checksum("another"), &checksum(&daemons)).unwrap_err().contains("another than that of this kchaos"));
    assert!(judge(&answers, &checksum(&own), &checksum("others")).unwrap_err().contains("another inventory"));
    assert!(judge(&Answers::default(), "a", "b").is_err());
}

#[test]
fn every_fault_is_known_to_the_helper_or_refused_with_what_to_do() {
    for known in KNOWN {
        assert!(crate::registry::find(known).is_some(), "{known} is no fault");
    }
    assert_eq!(refuses("kill"), None);
    assert!(refuses("power-loss").unwrap().contains("ssh.privilege"));
}

proptest! {
    #[test]
    fn a_line_for_people_is_taken_whatever_was_said(text in "\\PC{0,40}") {
        let line = line(&text);
        let output = with_functions("h_text line \"$(cat)\" 4000 && echo taken", &line);
        prop_assert_eq!(output.stdout, b"taken\n", "{:?}", line);
    }
}
