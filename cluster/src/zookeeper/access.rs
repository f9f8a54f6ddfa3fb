//! How a session comes in: SASL with DIGEST-MD5, TLS, or by nothing at all.

use zookeeper_client as zk;

use super::ZooKeeperError;
use crate::inventory::ZooKeeperSection;
use crate::secret;

/// A ZooKeeper that wants SASL and gets none ends the session with this (`SESSIONCLOSEDREQUIRESASLAUTH`).
const WANTS_SASL: i32 = -124;

#[derive(Clone, Default)]
pub struct Access {
    sasl: Option<zk::SaslOptions>,
    /// For people.
    user: Option<String>,
}

impl Access {
    /// Follows the reference to the password.
    pub fn of(section: &ZooKeeperSection) -> Result<Self, ZooKeeperError> {
        let (Some(user), Some(reference)) = (&section.user, &section.password) else { return Ok(Self::default()) };
        let password =
            secret::resolve(reference).map_err(|error| ZooKeeperError::Access { reason: format!("zookeeper.password: {error}") })?;
        let sasl = zk::SaslOptions::digest_md5(user.clone(), password.reveal().to_owned());
        Ok(Self { sasl: Some(sasl.into()), user: Some(user.clone()) })
    }

    pub fn let_in(&self, connector: zk::Connector) -> zk::Connector {
        match &self.sasl {
            Some(sasl) => connector.with_sasl(sasl.clone()),
            None => connector,
        }
    }

    /// Of a server with which no session comes about.
    pub(super) fn turned_away(&self, serves: bool) -> String {
        match (serves, &self.user) {
            (false, _) => zk::Error::NoHosts.to_string(),
            (true, Some(user)) => format!("it serves, and does not let user {user} in (see zookeeper.user and zookeeper.password)"),
            (true, None) => {
                "it serves, and ends our session as it begins: who comes? (see zookeeper.user and zookeeper.password)".to_owned()
            }
        }
    }

    /// What refused us, and where it is mended; other errors as they are.
    pub(super) fn told(&self, error: &zk::Error) -> String {
        match (error, &self.user) {
            (zk::Error::AuthFailed, Some(user)) => format!("it does not let user {user} in (see zookeeper.user and zookeeper.password)"),
            (zk::Error::AuthFailed, None) | (zk::Error::UnexpectedErrorCode(WANTS_SASL), _) => {
                "it wants to know who comes (see zookeeper.user and zookeeper.password)".to_owned()
            }
            (zk::Error::NoAuth, user) => {
                let who = user.as_deref().unwrap_or("who does not say who it is");
                format!("its ACLs do not let {who} do that (see zookeeper.user, and docs/security.md for what kchaos reads)")
            }
            (error, _) => error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_let_in_is_told_where_to_look() {
        let access = Access { user: Some("kchaos".to_owned()), ..Access::default() };
        assert!(access.told(&zk::Error::AuthFailed).contains("user kchaos"));
        assert!(Access::default().told(&zk::Error::UnexpectedErrorCode(WANTS_SASL)).contains("zookeeper.user"));
        assert!(Access::default().told(&zk::Error::NoAuth).contains("ACLs"));
        assert!(access.turned_away(true).contains("user kchaos in") && Access::default().turned_away(true).contains("zookeeper.user"));
        assert!(!access.turned_away(false).contains("user"));
        assert_eq!(access.told(&zk::Error::Timeout), zk::Error::Timeout.to_string());
    }
}
