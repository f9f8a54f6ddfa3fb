//! Trouble: one fault after another, each held, mended, and waited out.

use std::time::{Duration, Instant};

use kchaos_core::{NemesisName, PlannedFault};
use kchaos_nemeses::{Engine, FaultError};

use super::abort::Abort;
use super::whole::{self, Whole};
use super::{Live, Troubles};

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
        match one(live, engine, fault).await {
            Ok(is_mended) => {
                troubles.in_force += 1;
                troubles.mended += u32::from(is_mended);
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

/// One fault: in force, held, mended. Mending is tried whatever happened before it.
/// `true` if it is proved to be mended.
async fn one(live: &Live, engine: &Engine, fault: &PlannedFault) -> Result<bool, FaultError> {
    let refused = |reason| FaultError::Refused { nemesis: fault.nemesis.clone(), reason };
    let name: NemesisName = fault.nemesis.parse().map_err(refused)?;
    let id = engine.inject(&name, fault.seed).await?;
    live.abort.sleep(Duration::from_millis(fault.duration_ms)).await;
    let healed = engine.heal(id).await;
    if let Err(error) = &healed {
        live.note(&error.to_string());
    }
    Ok(healed.is_ok())
}

impl Troubles {
    fn may_go_on(&self, abort: &Abort) -> bool {
        abort.reason().is_none() && self.environment.is_empty() && self.never_recovered.is_none()
    }
}
