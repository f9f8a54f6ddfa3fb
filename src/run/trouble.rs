//! Trouble: one fault after another, each held, mended, and waited out.

use std::time::{Duration, Instant};

use kchaos_core::{NemesisName, PlannedFault};
use kchaos_nemeses::{Engine, FaultError};

use super::abort::Abort;
use super::whole::{self, Whole};
use super::{Live, Troubles};

/// A fault that a guard refuses is tried so many times more, with so much time between.
const REFUSALS_MAX: u32 = 3;
const AFTER_REFUSAL: Duration = Duration::from_secs(3);

/// Runs the schedule until it ends, the time is over, or something forbids to go on.
pub(super) async fn run(live: &Live, engine: &Engine, schedule: &[PlannedFault]) -> Troubles {
    let mut troubles = Troubles::default();
    let time_limit = live.setup.args.time_limit;
    let is_counted = live.setup.args.faults.is_some();
    let began = Instant::now();
    for fault in schedule {
        let wait = Duration::from_millis(fault.wait_ms);
        if !is_counted && began.elapsed() + wait >= time_limit {
            break;
        }
        if !live.abort.sleep(wait).await {
            break;
        }
        troubles.tried.push(fault.clone());
        match patiently(live, engine, fault).await {
            Ok(Held { is_mended, has_lapsed }) => {
                troubles.in_force += u32::from(!has_lapsed);
                troubles.mended += u32::from(is_mended && !has_lapsed);
                if has_lapsed {
                    troubles.not_proved.push(format!("{}: it ended before it was mended by us", fault.nemesis));
                }
            }
            Err(error @ FaultError::NotProved { .. }) => troubles.not_proved.push(error.to_string()),
            Err(error) => {
                troubles.environment.push(format!("{:#}", anyhow::Error::from(error)));
                break;
            }
        }
        match whole::wait(live, live.recovery_timeout(), &live.abort).await {
            Whole::Yes => {}
            Whole::No(missing) => {
                troubles.never_recovered = Some(missing);
                break;
            }
            Whole::Aborted => break,
        }
    }
    if schedule.is_empty() || (!is_counted && troubles.may_go_on(&live.abort)) {
        live.abort.sleep(time_limit.saturating_sub(began.elapsed())).await;
    }
    troubles
}

/// A guard may refuse a fault because the last one still has its effects: sessions that expire late shrink in-sync sets that were whole a moment
/// ago. Then the cluster is waited for again; a refusal that stays is a refusal.
async fn patiently(live: &Live, engine: &Engine, fault: &PlannedFault) -> Result<Held, FaultError> {
    let mut refusals = 0;
    loop {
        match one(live, engine, fault).await {
            Err(FaultError::Refused { reason, .. }) if refusals < REFUSALS_MAX && live.abort.sleep(AFTER_REFUSAL).await => {
                refusals += 1;
                live.note(&format!("{} is put off: {reason}", fault.nemesis));
                whole::wait(live, live.recovery_timeout(), &live.abort).await;
            }
            other => return other,
        }
    }
}

/// What became of a fault that was in force.
struct Held {
    is_mended: bool,
    /// It ended by itself: by its lease, a firewall's reload, somebody else's mending.
    has_lapsed: bool,
}

/// One fault: in force, held, mended. Mending is tried whatever happened before it.
async fn one(live: &Live, engine: &Engine, fault: &PlannedFault) -> Result<Held, FaultError> {
    let refused = |reason| FaultError::Refused { nemesis: fault.nemesis.clone(), reason };
    let name: NemesisName = fault.nemesis.parse().map_err(refused)?;
    let id = engine.inject(&name, fault.seed).await?;
    live.abort.sleep(Duration::from_millis(fault.duration_ms)).await;
    let has_lapsed = engine.in_force().iter().any(|fault| fault.fault_id == id && fault.lapsed);
    let healed = engine.heal(id).await;
    if let Err(error) = &healed {
        live.note(&error.to_string());
    }
    Ok(Held { is_mended: healed.is_ok(), has_lapsed })
}

impl Troubles {
    fn may_go_on(&self, abort: &Abort) -> bool {
        abort.reason().is_none() && self.environment.is_empty() && self.never_recovered.is_none()
    }
}
