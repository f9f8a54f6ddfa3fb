//! `replace-version`: stopped, given another version by the inventory's command, started.

use async_trait::async_trait;
use kchaos_cluster::inventory::{DaemonKind, Inventory, Privilege};
use kchaos_nemeses::DaemonStep;
use serde::Deserialize;

use super::stage::Stage;
use super::{Kind, NotDone, Step, own, rolling, whom::Whom};

pub(super) const KIND: Kind = Kind { name: "replace-version", read: own::<ReplaceVersion> };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplaceVersion {
    target: Whom,
    version: String,
}

#[async_trait]
impl Step for ReplaceVersion {
    fn words(&self) -> String {
        format!("replace-version {} by {}", self.target, self.version)
    }

    fn refuse(&self, inventory: &Inventory) -> Result<(), String> {
        self.target.refuse(inventory)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
        if self.version.is_empty() || !self.version.chars().all(is_plain) {
            return Err(format!("version \"{}\" is none: letters, digits and .-_+ alone", self.version));
        }
        if self.target == Whom::ZooKeepers || matches!(self.target, Whom::Daemon(DaemonKind::Zookeeper, _)) {
            return Err("a ZooKeeper's version is not Kafka's: brokers and controllers only".to_owned());
        }
        if inventory.ssh.privilege() == Privilege::Helper {
            return Err(
                "the helper on the hosts has no verb for it; it needs ssh.privilege = \"root\" (docs/least-privilege.md)".to_owned()
            );
        }
        match inventory.kafka.replace_version {
            Some(_) => Ok(()),
            None => Err("how a host gets another version is not known: write replace_version = \"COMMAND {version}\" under [kafka] in the inventory; \
                         each host runs it while its daemon is stopped (docs/plans.md)"
                .to_owned()),
        }
    }

    async fn carry_out(&self, stage: &Stage<'_>) -> Result<String, NotDone> {
        rolling::each(stage, &self.target, &DaemonStep::ReplaceVersion { version: self.version.clone() }).await
    }
}
