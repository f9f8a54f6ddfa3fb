//! The steps of a plan, one after another, until the last is done, one is not, or the run is to end.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use kchaos_core::Clock;
use kchaos_nemeses::Engine;
use serde_json::json;
use tokio::time::Instant;

use super::stage::Stage;
use super::{NotDone, Planned, Stepped};
use crate::judged::{StepOutcome, StepState};
use crate::run::{Live, lock};

pub(in crate::run) async fn run(live: &Live, engine: &Engine, steps: &[Planned]) -> Stepped {
    let (stepped, pending) = (Mutex::default(), Mutex::default());
    let deadline = live.setup.args.time_limit.map(|limit| (limit, Instant::now() + limit));
    let mut is_over = false;
    for (planned, number) in steps.iter().zip(1_u32..) {
        let words = planned.step.words();
        let mut outcome = StepOutcome { number, step: words.clone(), begin_ns: live.clock.now_ns(), ..StepOutcome::default() };
        if is_over {
            outcome.text = "not begun".to_owned();
            record(live, &stepped, outcome);
            continue;
        }
        live.note(&format!("step {number} begins: {words}"));
        live.nemesis_op("step", json!({ "number": number, "step": words, "state": "begin" }));
        let stage = Stage { live, engine, stepped: &stepped, pending: &pending, seed: live.setup.seed.wrapping_add(u64::from(number)) };
        let result = bounded(live, deadline, planned.step.carry_out(&stage)).await;
        is_over = result.is_err();
        outcome.end_ns = Some(live.clock.now_ns());
        match result {
            Ok(text) => (outcome.state, outcome.text) = (StepState::Done, text),
            Err(why) => take_down(&stepped, &mut outcome, why),
        }
        record(live, &stepped, outcome);
    }
    let mut stepped = stepped.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !is_over {
        let pending: BTreeMap<_, _> = std::mem::take(&mut *lock(&pending));
        for (daemon, settings) in pending {
            let names: Vec<&str> = settings.keys().map(String::as_str).collect();
            stepped.not_proved.push(format!("{} stands in the file of {daemon}, which no step started anew", names.join(", ")));
        }
    }
    stepped
}

/// A step that is not done when the time is over, or the run is to end, is given up; what of it is there is mended with everything else.
async fn bounded(
    live: &Live,
    deadline: Option<(Duration, Instant)>,
    step: impl Future<Output = Result<String, NotDone>>,
) -> Result<String, NotDone> {
    let over = async {
        match deadline {
            Some((limit, deadline)) => {
                tokio::time::sleep_until(deadline).await;
                format!("not done within --time-limit {} s", limit.as_secs_f64())
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        result = step => result,
        why = over => Err(NotDone::Environment(why)),
        () = live.abort.raised() => Err(NotDone::Aborted),
    }
}

fn take_down(stepped: &Mutex<Stepped>, outcome: &mut StepOutcome, why: NotDone) {
    let named = |text: &str| format!("step {} ({}): {text}", outcome.number, outcome.step);
    let mut stepped = lock(stepped);
    let (state, text) = match why {
        NotDone::Missed(text) => (StepState::Missed, text),
        NotDone::NotProved(text) => {
            stepped.not_proved.push(named(&text));
            (StepState::NotProved, text)
        }
        NotDone::Environment(text) => {
            stepped.environment.push(named(&text));
            (StepState::Failed, text)
        }
        NotDone::NeverRecovered(text) => {
            stepped.never_recovered = Some(named(&text));
            (StepState::Failed, format!("the cluster did not come back: {text}"))
        }
        NotDone::Aborted => (StepState::NotDone, "the run was ended in the middle of it".to_owned()),
    };
    (outcome.state, outcome.text) = (state, text);
}

fn record(live: &Live, stepped: &Mutex<Stepped>, outcome: StepOutcome) {
    live.note(&format!("step {} {}: {}", outcome.number, outcome.state.words(), outcome.text));
    live.nemesis_op("step", json!(outcome));
    lock(stepped).outcomes.push(outcome);
}
