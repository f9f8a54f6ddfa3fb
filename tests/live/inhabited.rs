//! A lab whose hosts are somebody's: rules, chains and queues of others stand on them, and must be the same to the byte after whatever happens.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::lab::Lab;
use crate::run::kchaos;

/// What an administrator may have: a firewall of each kind, a set with a timeout of its own, chains that are called almost like ours.
const USER_RULES: &str = "
nft -f - <<'END'
table inet filter_of_others {
 set s { type ipv4_addr; flags timeout; elements = { 192.0.2.1 timeout 1d } }
 chain in { type filter hook input priority 0; policy accept; tcp dport 4445 counter drop; }
}
table inet kchaosx { chain c { counter accept; } }
END
iptables -N KCHAOSX && iptables -A INPUT -p tcp --dport 4444 -j KCHAOSX && iptables -A KCHAOSX -j DROP";
/// Not on hosts of brokers: a root queue that somebody chose is refused, and then a line could be changed nowhere.
const USER_QUEUE: &str = "tc qdisc replace dev eth0 root tbf rate 900mbit burst 64kb latency 50ms";
const NO_USER_RULES: &str = "
nft delete table inet filter_of_others; nft delete table inet kchaosx
iptables -D INPUT -p tcp --dport 4444 -j KCHAOSX; iptables -F KCHAOSX; iptables -X KCHAOSX
for f in ip ip6; do for c in INPUT OUTPUT FORWARD; do nft delete chain $f filter $c 2>/dev/null; done; nft delete table $f filter 2>/dev/null; done
case $(tc qdisc show dev eth0 root) in *' tbf '*) tc qdisc del dev eth0 root ;; esac; true";

/// What a fault changes, beside daemons that are down: rules and queues, processes that stand still, disks and clocks of the daemons.
const STATE: &str = "
nft list ruleset; echo iptables; iptables-save; ip6tables-save
tc qdisc show dev eth0 | sed 's/ [0-9a-f]*: / /'
for f in /proc/[0-9]*/stat; do sed -n 's/.*) T .*/a process is stopped/p' $f; done 2>/dev/null
for d in /var/lib/kafka /var/lib/zookeeper; do
 if [ -d $d ]; then ls -d $d/.kchaos-fill 2>/dev/null; sed -n \"s|.* $d .* - \\([^ ]* \\).* |mounted \\1|p\" /proc/self/mountinfo; touch $d/.tried 2>&1 && rm $d/.tried; fi
done
cat /etc/kchaos/clock/* 2>/dev/null; true";

/// The lab with somebody's rules on every host, which are taken away however a test ends.
pub(crate) struct Inhabited {
    pub(crate) lab: Lab,
}

impl Inhabited {
    pub(crate) fn lab() -> Self {
        let inhabited = Self { lab: Lab::that_is_whole() };
        for host in &inhabited.lab.hosts {
            inhabited.lab.on(host, USER_RULES);
            if host.starts_with("zoo") {
                inhabited.lab.on(host, USER_QUEUE);
            }
        }
        inhabited
    }

    /// That and every file of ours.
    pub(crate) fn footprint(&self) -> BTreeMap<String, String> {
        let state = self.state();
        self.lab.footprint().into_iter().map(|(host, text)| (host.clone(), without_expiries(&text) + &state[&host])).collect()
    }

    /// Without files of ours, which stay until they are swept.
    pub(crate) fn state(&self) -> BTreeMap<String, String> {
        let look = |host: &String| without_expiries(&crate::rules::without_counters(&self.lab.on(host, STATE)));
        self.lab.hosts.iter().map(|host| (host.clone(), look(host))).collect()
    }
}

impl Drop for Inhabited {
    fn drop(&mut self) {
        for host in &self.lab.hosts {
            let _ = kchaos(&["lab", "shell", host, "--", "sh", "-c", NO_USER_RULES]).run();
        }
    }
}

fn without_expiries(rules: &str) -> String {
    let words = |line: &str| {
        let mut words: Vec<&str> = line.split(' ').collect();
        while let Some(place) = words.iter().position(|word| *word == "expires") {
            words.drain(place..(place + 2).min(words.len()));
        }
        words.join(" ")
    };
    rules.lines().map(words).collect::<Vec<_>>().join("\n")
}

/// How long after now the hosts were as before; later than this is a failure, and says what differs.
pub(crate) fn until_as(before: &BTreeMap<String, String>, inhabited: &Inhabited, limit: Duration, when: &str) -> Duration {
    let since = Instant::now();
    loop {
        // A look takes a moment itself: what counts is when it began.
        let looked = since.elapsed();
        let now = inhabited.state();
        if now == *before {
            return looked;
        }
        assert!(looked < limit, "{when}: not as before within {limit:?}: {}", difference(before, &now));
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn difference(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> String {
    let lines = |text: Option<&String>| text.map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).unwrap_or_default();
    let mut said = Vec::new();
    for (host, text) in before {
        let (was, is) = (lines(Some(text)), lines(now.get(host)));
        said.extend(was.iter().filter(|line| !is.contains(line)).map(|line| format!("{host} - {line}")));
        said.extend(is.iter().filter(|line| !was.contains(line)).map(|line| format!("{host} + {line}")));
    }
    said.join("\n")
}

#[test]
fn what_expires_is_compared_without_when() {
    assert_eq!(without_expiries("elements = { 192.0.2.1 timeout 1d expires 23h59m }"), "elements = { 192.0.2.1 timeout 1d }");
}

#[test]
fn a_difference_names_the_host_and_the_lines() {
    let map = |text: &str| BTreeMap::from([("b1".to_owned(), text.to_owned())]);
    assert_eq!(difference(&map("a\nb"), &map("a\nc")), "b1 - b\nb1 + c");
}
