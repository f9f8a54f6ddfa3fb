//! kill, stop and pause on real processes, with real watchdogs, without a cluster.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Fake, nemesis, wait_until};
use kchaos_cluster::inventory::Firewall;
use kchaos_core::FaultMoment as M;
use kchaos_nemeses::{
    Engine, FaultError, HealOptions, HostReport, HostState, KillSemantics, LockError, heal_cluster, lock_hosts, lock_lease, unlock_hosts,
};

/// A machine that has much to do takes seconds.
const PATIENCE: Duration = Duration::from_secs(20);
const LEASE: Duration = Duration::from_secs(2);
const WHOLE_LIFE: [M; 7] = [M::Asked, M::Journalled, M::Armed, M::InEffect, M::Healing, M::Healed, M::Done];

async fn cluster(name: &str) -> Arc<Fake> {
    let fake = Fake::new(name, Firewall::Auto, &["192.0.2.1", "192.0.2.2", "192.0.2.3"], None);
    fake.start_all().await;
    fake
}

fn sweep(run: Option<&str>) -> HealOptions {
    HealOptions { paths: Fake::paths(), run_id: run.map(str::to_owned), ..HealOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_daemon_stays_paused_for_longer_than_the_lease_and_runs_again_after_the_heal() {
    let fake = cluster("pause").await;
    let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
    let id = engine.inject(&nemesis("pause-leader"), 1).await.unwrap();
    let daemon = fake.sleeper("b1", "kafka:1");
    tokio::time::sleep(LEASE * 2).await;
    assert_eq!(daemon.state_letter().as_deref(), Some("T"));
    assert_eq!(engine.in_force().len(), 1);
    engine.heal(id).await.unwrap();
    assert_eq!(daemon.state_letter().as_deref(), Some("S"));
    engine.heal(id).await.unwrap();
    assert_eq!(fake.moments(), WHOLE_LIFE);
    let effect = fake.event(M::InEffect).unwrap();
    assert!(effect.proof.unwrap().text.contains("state T, 1 of its 1 threads"));
    assert_eq!((effect.chosen[0].keys_led.as_slice(), effect.effect.unwrap().pids.len()), ([0, 1].as_slice(), 1));
    assert_eq!(fake.left("b1"), Vec::<std::path::PathBuf>::new());
    let journal = fake.journal();
    assert_eq!(journal.iter().map(|line| line["state"].as_str().unwrap()).collect::<Vec<_>>(), ["open", "done"]);
    assert!(engine.heal_all().await.iter().all(|report| report.state == HostState::Clean));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_controller_dies_the_watchdog_continues_the_paused_daemon_and_heal_says_so() {
    let fake = cluster("lapse").await;
    let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
    engine.inject(&nemesis("pause-zk-leader"), 1).await.unwrap();
    drop(engine);
    let daemon = fake.sleeper("b2", "zookeeper:2");
    let took = wait_until(LEASE + Duration::from_secs(2), || daemon.state_letter().as_deref() == Some("S")).await;
    assert!(took.is_some_and(|took| took > Duration::from_millis(500)), "{took:?}");
    let reports = heal_cluster(fake.clone(), sweep(None)).await;
    let HostState::Healed(what) = &reports[1].state else { panic!("{reports:?}") };
    assert!(what[0].contains("pause-zk-leader") && what[0].contains("mended before by its own lease"), "{what:?}");
    assert_eq!(reports[0].state, HostState::Clean);
    assert!(reports[0].notes[0].contains("locked by run r"), "{reports:?}");
    assert!(heal_cluster(fake.clone(), sweep(Some("r"))).await.iter().all(|report| report.state == HostState::Clean));
    assert_eq!(fake.left("b2"), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_comes_too_late_puts_nothing_back_and_says_when_it_ended() {
    let fake = cluster("late").await;
    let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
    let id = engine.inject(&nemesis("pause-leader"), 1).await.unwrap();
    // As if the controller had been stopped: the host hears nothing.
    *fake.hosts["b1"].unreachable.lock().unwrap() = true;
    let daemon = fake.sleeper("b1", "kafka:1");
    assert!(wait_until(LEASE * 2, || daemon.state_letter().as_deref() == Some("S")).await.is_some());
    *fake.hosts["b1"].unreachable.lock().unwrap() = false;
    assert!(wait_until(LEASE * 2, || fake.event(M::LeaseLapsed).is_some()).await.is_some());
    tokio::time::sleep(LEASE).await;
    assert_eq!(daemon.state_letter().as_deref(), Some("S"));
    let lapsed = fake.event(M::LeaseLapsed).unwrap();
    assert!(lapsed.when.width_ns() < 4_000_000_000, "{lapsed:?}");
    assert!(engine.in_force()[0].lapsed);
    engine.heal(id).await.unwrap();
    assert!(engine.has_lapsed(id));
    assert_eq!(fake.left("b1"), Vec::<std::path::PathBuf>::new());
}

/// As when kchaos stood still until the fault was to be mended anyway.
#[tokio::test(flavor = "multi_thread")]
async fn a_lapse_that_no_renewal_saw_is_found_by_the_last_look_before_mending() {
    let fake = cluster("unseen").await;
    let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
    let id = engine.inject(&nemesis("pause-leader"), 1).await.unwrap();
    assert!(!engine.has_lapsed(id));
    *fake.hosts["b1"].unreachable.lock().unwrap() = true;
    let daemon = fake.sleeper("b1", "kafka:1");
    assert!(wait_until(LEASE * 2, || daemon.state_letter().as_deref() == Some("S")).await.is_some());
    *fake.hosts["b1"].unreachable.lock().unwrap() = false;
    engine.heal(id).await.unwrap();
    assert!(engine.has_lapsed(id) && fake.event(M::LeaseLapsed).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_is_gone_and_is_started_again_even_if_its_first_start_fails() {
    let fake = cluster("kill").await;
    let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
    let daemon = fake.sleeper("b1", "kafka:1");
    let before = daemon.pid().unwrap();
    let id = engine.inject(&nemesis("kill-leader"), 1).await.unwrap();
    assert_eq!(daemon.pid(), None);
    daemon.doom();
    // The fake's registration goes with the process: the doomed start is seen to end because it is registered for too short a time.
    tokio::time::sleep(Duration::from_millis(100)).await;
    engine.heal(id).await.unwrap();
    assert_ne!(daemon.pid(), Some(before));
    let when = fake.event(M::InEffect).unwrap().when;
    assert!(when.width_ns() < 1_000_000_000);
    assert_eq!(fake.moments(), WHOLE_LIFE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_daemon_is_started_by_its_host_when_nobody_comes() {
    let fake = cluster("stop").await;
    let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
    engine.inject(&nemesis("stop-controller"), 1).await.unwrap();
    let daemon = fake.sleeper("b3", "kafka:3");
    assert_eq!(daemon.pid(), None);
    // Its first start fails, as it does inside the old session.
    daemon.doom();
    drop(engine);
    assert!(wait_until(LEASE + Duration::from_secs(2), || daemon.pid().is_some()).await.is_some());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(daemon.pid().is_some(), "not started again");
    // The sweep lets the watchdog finish its nursing.
    let reports = heal_cluster(fake.clone(), sweep(Some("r"))).await;
    assert!(matches!(reports[2].state, HostState::Healed(_)), "{reports:?}");
    assert!(daemon.pid().is_some());
    assert_eq!(fake.left("b3"), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revival_means_not_proved_when_held_down_was_meant_and_a_note_when_a_crash_was() {
    for (kill, expect_ok) in [(KillSemantics::HeldDown, false), (KillSemantics::RevivalAllowed, true)] {
        let fake = cluster("revival").await;
        let engine = fake.engine("r", LEASE, kill).await;
        let (daemon, fake_too) = (fake.sleeper("b1", "kafka:1"), fake.clone());
        let reviver = tokio::spawn(async move {
            while daemon.pid().is_some() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            kchaos_cluster::daemon::Manager::start(&daemon, &fake_too.hosts["b1"]).await.unwrap();
        });
        // The look for a successor comes after the look for the process: give the reviver its moment by a kill that takes one.
        let result = engine.inject(&nemesis("kill-host:b1"), 1).await;
        reviver.await.unwrap();
        let revived_in_time = fake.notes().contains("revived");
        if revived_in_time {
            assert_eq!(result.is_ok(), expect_ok, "{result:?}");
            assert!(expect_ok || matches!(result, Err(FaultError::NotProved { .. })));
        }
        engine.heal_all().await;
        assert!(engine.in_force().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guards_refuse_before_anything_is_done() {
    let fake = cluster("guards").await;
    let engine = fake.engine("r", Duration::from_secs(30), KillSemantics::HeldDown).await;
    let id = engine.inject(&nemesis("pause-leader"), 1).await.unwrap();
    let error = engine.inject(&nemesis("kill-controller"), 1).await.unwrap_err();
    assert!(matches!(&error, FaultError::Refused { reason, .. } if reason.contains("hosts_down_max")), "{error}");
    assert!(fake.sleeper("b3", "kafka:3").pid().is_some());
    engine.heal(id).await.unwrap();
    fake.view.lock().unwrap().zookeepers.get_mut("b1").unwrap().mode = "none".into();
    let error = engine.inject(&nemesis("kill-zk-leader"), 1).await.unwrap_err();
    assert!(matches!(&error, FaultError::Refused { reason, .. } if reason.contains("quorum")), "{error}");
    assert_eq!(fake.journal().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_daemons_of_one_fault_go_at_once_and_come_back_and_one_lease_each_brings_them_back() {
    let fake = cluster("several").await;
    let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
    let id = engine.inject(&nemesis("kill-all"), 1).await.unwrap();
    assert!(["b1", "b2", "b3"].iter().enumerate().all(|(n, host)| fake.sleeper(host, &format!("kafka:{}", n + 1)).pid().is_none()));
    let chosen = fake.event(M::InEffect).unwrap().chosen;
    assert_eq!(chosen.len(), 3);
    assert!(chosen[0].evidence.contains("all: 3 of the 3 registered brokers"), "{chosen:?}");
    engine.heal(id).await.unwrap();
    assert!(fake.sleeper("b2", "kafka:2").pid().is_some());
    assert_eq!(fake.moments(), WHOLE_LIFE);
    engine.inject(&nemesis("pause-zk-majority"), 1).await.unwrap();
    drop(engine);
    let stopped = || ["b1", "b2", "b3"].iter().filter(|host| zookeeper(&fake, host) == Some("T".to_owned())).count();
    assert_eq!(stopped(), 2);
    assert!(wait_until(LEASE + Duration::from_secs(2), || stopped() == 0).await.is_some());
    assert!(heal_cluster(fake.clone(), sweep(Some("r"))).await.iter().all(HostReport::is_whole));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_daemon_is_another_process_at_once() {
    let fake = cluster("restart").await;
    let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
    let daemon = fake.sleeper("b1", "kafka:1");
    let before = daemon.pid().unwrap();
    let id = engine.inject(&nemesis("restart-leader"), 1).await.unwrap();
    let now = daemon.pid().expect("it runs while the fault is held");
    assert_ne!(now, before);
    engine.heal(id).await.unwrap();
    assert_eq!((daemon.pid(), fake.moments().as_slice()), (Some(now), &WHOLE_LIFE[..]));
    let proof = fake.event(M::InEffect).unwrap().proof.unwrap();
    assert!(proof.text.contains(&format!("kafka:1 runs as pid {} now", now.pid)), "{proof:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_goes_on_only_when_the_one_before_is_back() {
    let fake = cluster("rolling").await;
    let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
    let pids = || ["b1", "b2", "b3"].map(|host| fake.sleeper(host, &format!("kafka:{}", &host[1..])).pid());
    let before = pids();
    let most_down = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let watching = tokio::spawn({
        let (fake, most_down) = (fake.clone(), Arc::clone(&most_down));
        async move {
            loop {
                let down = (1..=3).filter(|n| fake.sleeper(&format!("b{n}"), &format!("kafka:{n}")).pid().is_none()).count();
                most_down.fetch_max(down, std::sync::atomic::Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    });
    let id = engine.inject(&nemesis("rolling-restart"), 1).await.unwrap();
    watching.abort();
    assert_eq!(most_down.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert!(before.iter().zip(pids()).all(|(before, now)| now.is_some() && *before != now));
    engine.heal(id).await.unwrap();
    assert_eq!(fake.moments(), WHOLE_LIFE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_stops_at_one_that_does_not_come_back_in_sync() {
    let fake = cluster("rolling-lag").await;
    let engine = Arc::new(fake.engine("r", LEASE, KillSemantics::HeldDown).await);
    for seen in &mut fake.view.lock().unwrap().partitions {
        seen.isr = vec![2, 3];
    }
    let (second, injecting) = (fake.sleeper("b2", "kafka:2"), Arc::clone(&engine));
    let before = second.pid();
    let injecting = tokio::spawn(async move { injecting.inject(&nemesis("rolling-restart"), 1).await });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(second.pid(), before, "the first lags, so the second is left alone");
    injecting.abort();
    assert!(engine.heal_all().await.iter().all(HostReport::is_whole));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_kills_again_what_is_back_until_it_is_mended() {
    let fake = cluster("loop").await;
    let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
    let daemon = fake.sleeper("b1", "kafka:1");
    let id = engine.inject(&nemesis("crash-loop-leader"), 1).await.unwrap();
    assert!(wait_until(Duration::from_secs(20), || fake.notes().contains("killed for the 3rd time")).await.is_some(), "{}", fake.notes());
    engine.heal(id).await.unwrap();
    let healed = daemon.pid().expect("it runs");
    assert!(fake.notes().contains("times in all"), "{}", fake.notes());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(daemon.pid(), Some(healed), "nobody kills it any more");
    assert_eq!(fake.left("b1"), Vec::<std::path::PathBuf>::new());
}

fn zookeeper(fake: &Fake, host: &str) -> Option<String> {
    fake.sleeper(host, &format!("zookeeper:{}", &host[1..])).state_letter()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_injected_where_the_lease_cannot_be_armed() {
    let fake = cluster("unarmed").await;
    let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
    // The place of the leases is taken by a file.
    let run = fake.hosts["b1"].directory.join("run");
    std::fs::write(run.join("lease"), "").unwrap();
    let error = engine.inject(&nemesis("kill-leader"), 1).await.unwrap_err();
    assert!(matches!(error, FaultError::Environment { .. }), "{error}");
    assert!(fake.sleeper("b1", "kafka:1").pid().is_some());
    assert_eq!(fake.moments(), [M::Asked, M::Journalled, M::Failed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_injection_that_arrives_after_its_run_has_given_it_up_does_nothing() {
    for nemesis_name in ["kill-leader", "pause-leader", "stop-leader"] {
        let fake = cluster("late-inject").await;
        let engine = Arc::new(fake.engine("r", LEASE, KillSemantics::HeldDown).await);
        // The command is held up on its way; meanwhile the caller gives up and everything is healed.
        fake.hosts["b1"].hold_up.lock().unwrap().push(("armed".into(), Duration::from_secs(2)));
        let injecting = tokio::spawn({
            let engine = Arc::clone(&engine);
            async move { engine.inject(&nemesis(nemesis_name), 1).await }
        });
        assert!(wait_until(PATIENCE, || fake.event(M::Armed).is_some()).await.is_some());
        injecting.abort();
        assert!(engine.heal_all().await.iter().all(HostReport::is_whole));
        tokio::time::sleep(Duration::from_secs(3)).await;
        let daemon = fake.sleeper("b1", "kafka:1");
        assert_eq!(daemon.state_letter().as_deref(), Some("S"), "{nemesis_name}");
        assert_eq!(fake.left("b1"), Vec::<std::path::PathBuf>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_locked_by_one_run_until_that_lets_go_or_lapses() {
    let fake = cluster("lock").await;
    let (one, two) = (Fake::lock_options("one", Duration::from_secs(2)), Fake::lock_options("two", Duration::from_secs(60)));
    lock_hosts(fake.as_ref(), &one).await.unwrap();
    lock_hosts(fake.as_ref(), &one).await.unwrap();
    let held = lock_hosts(fake.as_ref(), &two).await.unwrap_err();
    assert!(matches!(&held, LockError::Held { run, holder, .. } if run == "one" && holder == "the test"), "{held}");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let said = lock_hosts(fake.as_ref(), &two).await.unwrap();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(unlock_hosts(fake.as_ref(), &one).await.is_empty());
    assert!(lock_hosts(fake.as_ref(), &one).await.is_err(), "another run's lock was dropped");
    unlock_hosts(fake.as_ref(), &two).await;
    lock_hosts(fake.as_ref(), &one).await.unwrap();
    // A person who knows that a run is dead need not wait.
    let reports = heal_cluster(fake.clone(), HealOptions { break_locks: true, ..sweep(None) }).await;
    assert!(reports.iter().all(|report| matches!(&report.state, HostState::Healed(what) if what[0].contains("run one"))), "{reports:?}");
    lock_hosts(fake.as_ref(), &two).await.unwrap();
}

/// The first renewal by the calendar of a long lease would come too late.
#[tokio::test(flavor = "multi_thread")]
async fn a_living_run_keeps_its_hosts_however_long_the_lease_of_its_faults_is() {
    let fake = cluster("kept").await;
    lock_hosts(fake.as_ref(), &Fake::lock_options("one", Duration::from_secs(2))).await.unwrap();
    let lease = Duration::from_secs(120);
    let engine = Engine::new(fake.clone(), fake.engine_options("one", lease, KillSemantics::HeldDown)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let two = Fake::lock_options("two", Duration::from_secs(60));
    let held = lock_hosts(fake.as_ref(), &two).await.unwrap_err();
    assert!(matches!(&held, LockError::Held { run, seconds, .. } if run == "one" && *seconds > 60), "{held}");
    for lease in [1, 5, 30, 600].map(Duration::from_secs) {
        assert!(lock_lease(lease) >= 3 * lease && lock_lease(lease) >= Duration::from_secs(60));
    }
    drop(engine);
}

/// What is its own is not what somebody left.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_lagged_finds_its_hosts_clean_though_its_lock_has_lapsed() {
    let fake = cluster("lagged").await;
    lock_hosts(fake.as_ref(), &Fake::lock_options("one", Duration::from_millis(100))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let own = heal_cluster(fake.clone(), sweep(Some("one"))).await;
    assert!(own.iter().all(|report| report.state == HostState::Clean), "{own:?}");
    let other = heal_cluster(fake.clone(), sweep(None)).await;
    assert!(other.iter().all(|report| matches!(&report.state, HostState::Healed(what) if what[0].contains("run one"))), "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_host_that_cannot_be_reached_does_not_keep_the_others_from_being_healed() {
    let fake = cluster("unreachable").await;
    let engine = fake.engine("r", Duration::from_secs(30), KillSemantics::HeldDown).await;
    engine.inject(&nemesis("pause-leader"), 1).await.unwrap();
    *fake.hosts["b3"].unreachable.lock().unwrap() = true;
    let reports = engine.heal_all().await;
    assert!(matches!(reports[2].state, HostState::Unreachable(_)), "{reports:?}");
    assert_eq!((reports[0].is_whole(), reports[1].is_whole()), (true, true));
    assert_eq!(fake.sleeper("b1", "kafka:1").state_letter().as_deref(), Some("S"));
}
