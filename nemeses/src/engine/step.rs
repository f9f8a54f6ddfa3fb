//! A step of an operator's, with the life that a fault has: chosen, guarded, journalled, leased, done, proved, and seen to be up again.

use std::sync::{Arc, Mutex};

use kchaos_core::{Chosen, Target};

use super::{Engine, Inner, Live, told};
use crate::error::FaultError;
use crate::ground::Ground;
use crate::leg::Leg;
use crate::steps::DaemonStep;
use crate::target::{self, Scene, Taken};

impl Engine {
    /// Carries a step out on one daemon (`kafka:1`) and proves it. [`Engine::heal`] then waits until the daemon is up; what the step changed stays.
    pub async fn step(&self, step: &DaemonStep, daemon: &str, seed: u64) -> Result<u32, FaultError> {
        let ground = self.asked(step.name_on(daemon), seed);
        let carried_out = async {
            let live = self.inner.plan_step(&ground, step, daemon).await?;
            self.inner.bring_about(&live).await
        };
        told(&ground, carried_out.await)
    }

    /// Whom a target means at this moment, by label; nothing is done to them.
    pub async fn whom(&self, target: &Target, seed: u64) -> Result<Vec<String>, String> {
        let inner = &self.inner;
        let view = inner.shared.view().await.map_err(|error| error.to_string())?;
        let taken = inner.taken();
        let coordinator = inner.coordinator(target).await?;
        let (inventory, topics) = (inner.shared.doors.inventory(), &inner.shared.options.topics);
        let scene = Scene { inventory, view: &view, topics, taken: &taken, coordinator };
        let chosen = target::choose(&scene, target, crate::Scope::Daemon, seed)?;
        Ok(chosen.into_iter().map(|one| one.daemon).collect())
    }
}

impl Inner {
    fn taken(&self) -> Vec<Taken> {
        self.all().iter().flat_map(|live| live.taken.clone()).collect()
    }

    async fn plan_step(&self, ground: &Arc<Ground>, step: &DaemonStep, daemon: &str) -> Result<Arc<Live>, FaultError> {
        let nemesis = &ground.nemesis;
        let refused = |reason| FaultError::refused(nemesis, reason);
        let _one_at_a_time = self.choosing.lock().await;
        let view = self.shared.view().await;
        let view = view.map_err(|error| FaultError::environment(nemesis, "the cluster could not be looked at", error))?;
        let taken = self.taken();
        let (inventory, topics) = (self.shared.doors.inventory(), &self.shared.options.topics);
        let scene = Scene { inventory, view: &view, topics, taken: &taken, coordinator: None };
        let mut chosen: Chosen = target::named(&scene, daemon).map_err(refused)?;
        if !step.scope().takes_away() {
            // Nobody is away for it: an election that comes later is another's.
            chosen.keys_led.clear();
        }
        let next = vec![Taken { host: chosen.host.clone(), daemon: chosen.daemon.clone(), scope: step.scope() }];
        target::guard(&scene, &Target::Random, &next).map_err(|reason| refused(format!("{daemon} on {}: {reason}", chosen.host)))?;
        let all: Arc<[Chosen]> = vec![chosen.clone()].into();
        let leg_ground = ground.of_leg(0, &all, Default::default());
        let fault = step.plan(Arc::clone(&leg_ground), chosen.clone()).await?;
        let legs = vec![Arc::new(Leg::new(leg_ground, chosen, fault))];
        let live =
            Arc::new(Live { ground: Arc::clone(ground), taken: next, legs, done: tokio::sync::Mutex::new(false), since: Mutex::new(None) });
        self.lock().insert(ground.fault_id, Arc::clone(&live));
        Ok(live)
    }
}
