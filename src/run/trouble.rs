//! Trouble: faults one round after another, each held, mended, and waited out; or each at its exact time.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use kchaos_core::{NemesisName, PlannedFault};
use kchaos_nemeses::{Engine, FaultError};

use super::abort::Abort;
use super::whole::{self, Whole};
use super::{Live, Troubles, steps};

/// A fault that a guard refuses is tried so many times more, with so much time between.
pub(super) const REFUSALS_MAX: u32 = 3;
pub(super) const AFTER_REFUSAL: Duration = Duration::from_secs(3);

/// Runs the schedule until it ends, the time is over, or something forbids to go on.
pub(super) async fn run(live: &Live, engine: &Engine, schedule: &[PlannedFault]) -> Troubles {
    if !live.setup.steps.is_empty() {
        return with_steps(live, engine, schedule).await;
    }
    if schedule.iter().any(|fault| fault.at_ms.is_some()) {
        return at_their_times(live, engine, schedule).await;
    }
    let mut troubles = Troubles::default();
    let time_limit = live.setup.args.time_limit();
    let is_counted = live.setup.args.faults.is_some();
    let began = Instant::now();
    for round in schedule.chunk_by(|_, next| next.beside) {
        let wait = Duration::from_millis(round[0].wait_ms);
        if !is_counted && began.elapsed() + wait >= time_limit {
            break;
        }
        if !live.abort.sleep(wait).await {
            break;
        }
        troubles.tried.extend_from_slice(round);
        let outcomes = match round {
            [only] if !live.setup.leaves_out() => vec![patiently(live, engine, only).await],
            several => join_all(several.iter().map(|fault| joining(live, engine, fault))).await,
        };
        if !troubles.count(live, round, outcomes) {
            break;
        }
        if !troubles.wait_until_whole(live).await {
            break;
        }
    }
    if schedule.is_empty() || (!is_counted && troubles.may_go_on(&live.abort)) {
        live.abort.sleep(time_limit.saturating_sub(began.elapsed())).await;
    }
    troubles
}

/// The steps of a plan, and its faults at their times meanwhile; then the cluster is waited for.
async fn with_steps(live: &Live, engine: &Engine, schedule: &[PlannedFault]) -> Troubles {
    let faults = async { if schedule.is_empty() { Troubles::default() } else { at_their_times(live, engine, schedule).await } };
    let (mut troubles, stepped) = tokio::join!(faults, steps::run(live, engine, &live.setup.steps));
    troubles.steps = stepped.outcomes;
    troubles.steps_tried = stepped.tried;
    troubles.in_force += stepped.in_force;
    troubles.mended += stepped.mended;
    troubles.not_proved.extend(stepped.not_proved);
    troubles.environment.extend(stepped.environment);
    troubles.never_recovered = troubles.never_recovered.or(stepped.never_recovered);
    if troubles.may_go_on(&live.abort) {
        troubles.wait_until_whole(live).await;
    }
    troubles
}

/// Each fault when it is due, counted from now, whatever the others do; then the cluster is waited for.
async fn at_their_times(live: &Live, engine: &Engine, schedule: &[PlannedFault]) -> Troubles {
    let mut troubles = Troubles { tried: schedule.to_vec(), ..Troubles::default() };
    let began = tokio::time::Instant::now();
    let faults = schedule.iter().map(async |fault| {
        let due = began + Duration::from_millis(fault.at_ms.unwrap_or(0));
        if live.abort.sleep(due.saturating_duration_since(tokio::time::Instant::now())).await {
            one(live, engine, fault).await
        } else {
            Ok(None)
        }
    });
    for (fault, outcome) in schedule.iter().zip(join_all(faults).await) {
        troubles.count(live, std::slice::from_ref(fault), vec![outcome]);
    }
    troubles.wait_until_whole(live).await;
    troubles
}

/// A guard may refuse a fault because the last one still has its effects: sessions that expire late shrink in-sync sets that were whole a moment
/// ago. Then the cluster is waited for again; a refusal that stays is a refusal.
async fn patiently(live: &Live, engine: &Engine, fault: &PlannedFault) -> Outcome {
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

/// `None`: the run was to end before the fault was in force.
type Outcome = Result<Option<Held>, FaultError>;

/// One of several: what is beside the first comes when it is due, counted from the first.
async fn joining(live: &Live, engine: &Engine, fault: &PlannedFault) -> Outcome {
    if fault.beside && !live.abort.sleep(Duration::from_millis(fault.wait_ms)).await {
        return Ok(None);
    }
    one(live, engine, fault).await
}

/// One fault: in force, held, mended. Mending is tried whatever happened before it.
async fn one(live: &Live, engine: &Engine, fault: &PlannedFault) -> Outcome {
    let refused = |reason| FaultError::Refused { nemesis: fault.nemesis.clone(), reason };
    let name: NemesisName = fault.nemesis.parse().map_err(refused)?;
    let id = tokio::select! {
        injected = engine.inject(&name, fault.seed) => injected?,
        // What of it is there already is mended with everything else.
        () = live.abort.raised() => return Ok(None),
    };
    let hold = Duration::from_millis(fault.duration_ms);
    live.vitals.holds(id, (live.elapsed() + hold).as_secs_f64());
    live.abort.sleep(hold).await;
    let healed = engine.heal(id).await;
    let has_lapsed = engine.has_lapsed(id);
    if let Err(error) = &healed {
        live.note(&error.to_string());
    }
    Ok(Some(Held { is_mended: healed.is_ok(), has_lapsed }))
}

impl Troubles {
    /// Takes down what became of faults that began together; `false` if that forbids to go on. Beside another one, or where all there is is
    /// tried, a fault may be refused: it is left out.
    fn count(&mut self, live: &Live, faults: &[PlannedFault], outcomes: Vec<Outcome>) -> bool {
        let is_lenient = live.setup.leaves_out() || (outcomes.len() > 1 && outcomes.iter().any(Result::is_ok));
        for (fault, outcome) in faults.iter().zip(outcomes) {
            match outcome {
                Ok(Some(Held { is_mended, has_lapsed })) => {
                    self.in_force += u32::from(!has_lapsed);
                    self.mended += u32::from(is_mended && !has_lapsed);
                    if has_lapsed {
                        self.not_proved.push(format!("{}: it ended before it was mended by us", fault.nemesis));
                    }
                }
                Ok(None) => {}
                Err(error @ FaultError::NotProved { .. }) => self.not_proved.push(error.to_string()),
                Err(FaultError::Refused { reason, .. }) if is_lenient => live.note(&format!("{} is left out: {reason}", fault.nemesis)),
                Err(error) => self.environment.push(format!("{:#}", anyhow::Error::from(error))),
            }
        }
        self.environment.is_empty()
    }

    /// `false` if the cluster did not come back, or the run is to end.
    async fn wait_until_whole(&mut self, live: &Live) -> bool {
        match whole::wait(live, live.recovery_timeout(), &live.abort).await {
            Whole::Yes => true,
            Whole::No(missing) => {
                self.never_recovered = Some(missing);
                false
            }
            Whole::Aborted => false,
        }
    }

    fn may_go_on(&self, abort: &Abort) -> bool {
        abort.reason().is_none() && self.environment.is_empty() && self.never_recovered.is_none()
    }
}
