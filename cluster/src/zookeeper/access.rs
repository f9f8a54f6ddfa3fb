//! How a session comes in: SASL with DIGEST-MD5, TLS, or by nothing at all.

use zookeeper_client as zk;

use super::ZooKeeperError;
use super::srvr::{Srvr, SrvrError};
use super::tls::Door;
use crate::inventory::ZooKeeperSection;
use crate::secret;

/// A ZooKeeper that wants SASL and gets none ends the session with this (`SESSIONCLOSEDREQUIRESASLAUTH`).
const WANTS_SASL: i32 = -124;

#[derive(Clone, Default)]
pub struct Access {
    sasl: Option<zk::SaslOptions>,
    /// For people.
    user: Option<String>,
    pub(super) door: Option<Door>,
}

impl Access {
    /// Follows the reference to the password, and reads the files of TLS.
    pub fn of(section: &ZooKeeperSection) -> Result<Self, ZooKeeperError> {
        let door = section.tls.as_ref().map(Door::of).transpose().map_err(|reason| ZooKeeperError::Access { reason })?;
        let (Some(user), Some(reference)) = (&section.user, &section.password) else { return Ok(Self { door, ..Self::default() }) };
        let password =
            secret::resolve(reference).map_err(|error| ZooKeeperError::Access { reason: format!("zookeeper.password: {error}") })?;
        let sasl = zk::SaslOptions::digest_md5(user.clone(), password.reveal().to_owned());
        Ok(Self { sasl: Some(sasl.into()), user: Some(user.clone()), door })
    }

    /// A session comes about by this, in the clear or under TLS.
    pub async fn connect(&self, connector: zk::Connector, servers: &str) -> Result<zk::Client, zk::Error> {
        let connector = match &self.sasl {
            Some(sasl) => connector.with_sasl(sasl.clone()),
            None => connector,
        };
        match &self.door {
            Some(door) => connector.with_tls(door.options.clone()).secure_connect(servers).await,
            None => connector.connect(servers).await,
        }
    }

    /// For clients that connect by themselves.
    pub fn tls_options(&self) -> Option<zk::TlsOptions> {
        self.door.as_ref().map(|door| door.options.clone())
    }

    /// Of a server with which no session comes about, and what it answers to `srvr`.
    pub(super) fn turned_away(&self, answer: &Result<Srvr, SrvrError>) -> String {
        match (answer, &self.user) {
            (Err(SrvrError::Unwelcome { what, mend }), _) => format!("it {what} ({mend})"),
            (Err(_), _) => zk::Error::NoHosts.to_string(),
            (Ok(_), Some(user)) => format!("it serves, and does not let user {user} in (see zookeeper.user and zookeeper.password)"),
            (Ok(_), None) => {
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
        let serves = Ok(Srvr { mode: "leader".to_owned(), zxid: 1, version: "3.8.4".to_owned() });
        assert!(access.turned_away(&serves).contains("user kchaos in"));
        assert!(Access::default().turned_away(&serves).contains("zookeeper.user"));
        assert!(!access.turned_away(&Err(SrvrError::NotServing)).contains("user"));
        let unwelcome = Err(SrvrError::Unwelcome { what: "speaks TLS".to_owned(), mend: "write [zookeeper.tls]".to_owned() });
        assert_eq!(access.turned_away(&unwelcome), "it speaks TLS (write [zookeeper.tls])");
        assert_eq!(access.told(&zk::Error::Timeout), zk::Error::Timeout.to_string());
    }
}
