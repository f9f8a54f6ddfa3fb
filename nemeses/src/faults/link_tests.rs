use proptest::prelude::*;

use super::*;

fn facts(text: &str) -> Answers {
    Answers::parse(text)
}

#[test]
fn a_queue_that_somebody_chose_is_left_alone() {
    assert_eq!(devices(&facts("device eth0 noqueue 0:\ndevice eth1 mq 0:\n")).unwrap().len(), 2);
    assert!(devices(&facts("device eth0 tbf 8001:\n")).unwrap_err().contains("somebody has put there"));
    assert!(devices(&facts("device eth0 htb 4b43:\n")).is_err(), "nor one of another fault of ours");
    assert!(devices(&facts("queue htb\n")).is_err());
}

#[test]
fn what_a_kernel_lacks_is_said_with_what_would_mend_it() {
    let said = lacks(&facts("queue tbf\nqueue htb\n"), Need::Netem).unwrap();
    assert!(said.contains("sch_netem") && said.contains("\"loss\" and \"slow\""), "{said}");
    assert_eq!(lacks(&facts("queue tbf\nqueue htb\n"), Need::Rate), None);
    assert!(lacks(&facts("queue tbf\n"), Need::Rate).unwrap().contains("cls_u32"));
    assert!(lacks(&facts("missing tc\n"), Need::Netem).unwrap().contains("iproute2"));
}

fn judged(seen: Seen, times: &[u64], expect: bool) {
    let proof = judge(seen, &[400, 900], times, "10.0.0.1 port 9092");
    assert_eq!(proof.proved, expect, "{}", proof.text);
}

#[test]
fn a_line_is_judged_by_how_long_connections_take() {
    judged(Seen::Later(100), &[100_300, 101_000], true);
    judged(Seen::Later(100), &[400, 101_000], false);
    judged(Seen::Uneven(10), &[12_000, 60_000], true);
    judged(Seen::Uneven(10), &[50_000, 51_000], false);
    judged(Seen::Overtaken(50), &[400, 50_300], true);
    judged(Seen::Overtaken(50), &[50_100, 50_300], false);
    judged(Seen::Later(100), &[], false);
}

#[test]
fn a_rate_is_what_passed_while_packets_waited() {
    let text = "counts 0 0 0 0\nsent 60\nat 100\ncounts 20000 20 0 5\nat 130\ncounts 57500 57 0 9\n";
    assert!(rate(&facts(text), 1_000_000).proved, "{}", rate(&facts(text), 1_000_000).text);
    assert!(!rate(&facts("at 1\n"), 1_000_000).proved);
    assert!(!rate(&facts(&text.replace("57500", "157500")), 1_000_000).proved);
}

proptest! {
    #[test]
    fn no_answer_of_a_host_makes_it_panic(text in "((device|counts|udp|connect|at|queue|missing) \\PC{0,30}\n){0,6}") {
        let answers = facts(&text);
        let _ = (devices(&answers), connects_of(&answers), counts(&answers), udp(&answers), rate(&answers, 1), lacks(&answers, Need::Netem));
    }
}
