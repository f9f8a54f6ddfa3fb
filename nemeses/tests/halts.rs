//! A halt holds against runs that do not look for it, and a rehearsal says what a fault would do and does nothing.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Fake, nemesis};
use kchaos_cluster::inventory::Firewall;
use kchaos_nemeses::{Halt, HaltOptions, HostState, KillSemantics, LockError, halt_hosts, lock_hosts, rehearse, release_hosts};

const LEASE: Duration = Duration::from_secs(30);

async fn cluster(name: &str) -> Arc<Fake> {
    let fake = Fake::new(name, Firewall::Auto, &["192.0.2.1", "192.0.2.2", "192.0.2.3"], None);
    fake.start_all().await;
    fake
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_halted_host_nothing_begins_until_it_is_released() {
    let fake = cluster("halt").await;
    let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
    let paused = engine.inject(&nemesis("pause-leader"), 1).await.unwrap();

    let options = HaltOptions { paths: Fake::paths(), holder: "ann@desk, pid 1".into(), reason: "it's slow\nnow".into() };
    let halted = halt_hosts(fake.as_ref(), &options).await;
    let is_ours = |halt: &Halt| halt.reason == "it's slow now" && halt.by == "ann@desk, pid 1";
    assert!(halted.iter().all(|one| one.halt.as_ref().is_ok_and(is_ours)), "{halted:?}");
    let mended = &halted[0].mended;
    assert!(matches!(&mended.state, HostState::Healed(what) if what[0].contains("pause-leader")), "{halted:?}");
    assert!(mended.notes.iter().any(|note| note.contains("ann@desk")), "{halted:?}");
    assert_eq!(fake.sleeper("b1", "kafka:1").state_letter().as_deref(), Some("S"));

    // The run that lives has its locks still, and asks nobody.
    engine.heal(paused).await.unwrap();
    let refused = engine.inject(&nemesis("pause-host:b2"), 1).await.unwrap_err();
    let source = std::error::Error::source(&refused).map(ToString::to_string).unwrap_or_default();
    assert!(source.contains("kchaos is halted on this host by ann@desk"), "{refused}: {source}");
    assert_eq!(fake.sleeper("b2", "kafka:2").state_letter().as_deref(), Some("S"));
    let refused = lock_hosts(fake.as_ref(), &Fake::lock_options("next", LEASE)).await.unwrap_err();
    assert!(matches!(&refused, LockError::Halted { halt, .. } if halt.reason == "it's slow now"), "{refused}");

    let released = release_hosts(fake.as_ref(), &options).await;
    assert!(released.iter().all(|(_, was)| matches!(was, Ok(Some(halt)) if halt.by == "ann@desk, pid 1")), "{released:?}");
    assert!(release_hosts(fake.as_ref(), &options).await.iter().all(|(_, was)| *was == Ok(None)));
    engine.heal_all().await;
    engine.inject(&nemesis("pause-host:b2"), 1).await.unwrap();
    assert!(engine.heal_all().await.iter().all(kchaos_nemeses::HostReport::is_whole));
    assert_eq!(fake.left("b1"), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_tells_the_very_command_and_writes_nothing() {
    let fake = cluster("rehearsal").await;
    let daemon = fake.sleeper("b1", "kafka:1");
    for name in ["pause-leader", "kill-leader"] {
        let options = fake.engine_options("r", LEASE, KillSemantics::HeldDown);
        let legs = rehearse(fake.clone(), options, &nemesis(name), 1, 1).await.unwrap();
        assert_eq!((legs.len(), legs[0].chosen.daemon.as_str()), (1, "kafka:1"));
        let pid = daemon.pid().unwrap().pid.to_string();
        assert!(legs[0].commands.iter().any(|command| command.contains(&pid)), "{pid}: {:?}", legs[0].commands);
        assert!(!legs[0].undo.is_empty());
        assert_eq!(daemon.state_letter().as_deref(), Some("S"), "{name} was done");
    }
    assert_eq!(fake.left("b1"), Vec::<std::path::PathBuf>::new());
    assert!(!fake.hosts["b1"].directory.join("state").exists());
}
