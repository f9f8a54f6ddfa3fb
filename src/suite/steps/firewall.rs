//! The rulesets of the hosts: what stood there before must stand there after.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use kchaos_cluster::cluster::Cluster;
use serde::Deserialize;

use super::super::scene::{Outcome, Scene};
use super::{Kind, Role, Step, own};
use crate::exit::{self, Failure};

pub(super) const KIND: Kind =
    Kind { name: "firewall", about: "The hosts' rulesets, which must be as they were", role: Role::Looks, read: own::<Firewall> };

const TIMEOUT: Duration = Duration::from_secs(20);
/// Without counters (`-s`), and without the lines in which iptables tells the time.
const SCRIPT: &str = "if command -v nft >/dev/null 2>&1; then nft -s list ruleset; fi\n\
                      for tool in iptables-legacy-save ip6tables-legacy-save; do\n\
                      if command -v $tool >/dev/null 2>&1; then $tool 2>/dev/null | grep -v '^#' | sed 's/ \\[[0-9]*:[0-9]*\\]$//'; fi; done; true\n";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Firewall {}

#[async_trait]
impl Step for Firewall {
    fn command(&self, _scene: &Scene) -> String {
        "nft -s list ruleset on every host".to_owned()
    }

    async fn run(&self, scene: &mut Scene) -> Result<Outcome, Failure> {
        let found = rulesets(scene).await?;
        let rules: usize = found.values().map(|text| text.lines().count()).sum();
        let Some(before) = &scene.past.rulesets else {
            if let Some((host, ruleset)) = found.iter().next() {
                scene.transcript.say(&format!("{host}:\n{ruleset}"));
            }
            let outcome = Outcome::valid(format!("{rules} lines of rules on {} hosts, to be found again", found.len()));
            scene.past.rulesets = Some(found);
            return Ok(outcome);
        };
        let changed: Vec<&String> = found.iter().filter(|(host, text)| before.get(*host) != Some(*text)).map(|(host, _)| host).collect();
        for host in &changed {
            let was = before.get(*host).map_or("", String::as_str);
            scene.transcript.say(&format!("{host} had:\n{was}\nand has:\n{}", found.get(*host).map_or("", String::as_str)));
        }
        Ok(match changed.as_slice() {
            [] => Outcome::valid(format!("the same {rules} lines of rules on {} hosts", found.len())),
            _ => Outcome::of(exit::UNHEALED, format!("the rulesets of {changed:?} are not as they were")),
        })
    }
}

async fn rulesets(scene: &Scene) -> Result<BTreeMap<String, String>, Failure> {
    let cluster = Cluster::new(scene.inventory.clone()).map_err(Failure::usage)?;
    let asked = scene.inventory.hosts.iter().map(async |host| {
        let output = cluster.remote(&host.name).run(SCRIPT, TIMEOUT).await.with_context(|| format!("list the rules of {}", host.name))?;
        let text = output.success(&host.name, "listing its rules")?;
        anyhow::Ok((host.name.clone(), text))
    });
    let found = futures_util::future::try_join_all(asked).await;
    cluster.disconnect().await;
    Ok(found?.into_iter().collect())
}
