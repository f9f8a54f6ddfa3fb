//! A fault, in force until it is mended: by the engine of a run, with all its refusals, journals, leases and proofs.

use std::time::Instant;

use async_trait::async_trait;
use serde::Deserialize;

use super::super::file::{self, Trouble};
use super::super::scene::{Outcome, Scene};
use super::{Kind, Role, Step};
use crate::cli::TestArgs;
use crate::commands::test_args;
use crate::exit::Failure;
use crate::run::HeldFault;

pub(super) const KIND: Kind = Kind { name: "fault", about: "A fault, in force until it is mended", role: Role::Begins, read };

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Keys {
    nemesis: toml::Spanned<String>,
    topic: Option<String>,
    #[serde(default)]
    kill: Option<String>,
}

struct Fault {
    nemesis: String,
    topic: Option<String>,
    args: Box<TestArgs>,
}

fn read(table: toml::de::DeTable<'_>, around: &std::ops::Range<usize>) -> Result<Box<dyn Step>, Trouble> {
    let Keys { nemesis, topic, kill } = file::read(table, around)?;
    let place = nemesis.span();
    let nemesis = nemesis.into_inner();
    let mut words = vec![format!("--nemesis={nemesis}")];
    words.extend(kill.map(|kill| format!("--kill={kill}")));
    let args = test_args(&words).map_err(|why| Trouble::at(place, why))?;
    Ok(Box::new(Fault { nemesis, topic, args }))
}

#[async_trait]
impl Step for Fault {
    fn command(&self, _scene: &Scene) -> String {
        format!("kchaos' fault {}, held until it is mended", self.nemesis)
    }

    async fn run(&self, scene: &mut Scene) -> Result<Outcome, Failure> {
        scene.past.faults += 1;
        let journal = scene.directory.join("faults").join(format!("{:02}-{}", scene.past.faults, self.nemesis.replace(':', "_")));
        std::fs::create_dir_all(&journal).map_err(anyhow::Error::from)?;
        let transcript = scene.transcript.clone();
        let say = move |text: &str| transcript.say(text);
        let topic = self.topic.clone();
        let held =
            HeldFault::begin((*self.args).clone(), &scene.inventory, topic, &journal, std::sync::Arc::new(say), &scene.abort).await?;
        scene.past.hit = held.daemons();
        let text = format!("{} in force on {}", self.nemesis, held.told());
        scene.past.since = Some((format!("{} was in force", self.nemesis), held.in_force_since().unwrap_or_else(Instant::now)));
        let outcome = Outcome::valid(text).with("daemons", scene.past.hit.clone());
        scene.past.held = Some(held);
        Ok(outcome)
    }
}
