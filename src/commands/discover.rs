//! `kchaos inventory discover`: a first inventory, from what the cluster and its hosts tell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use kchaos_cluster::discover::{Discovered, Wish, discover};
use kchaos_cluster::inventory::{Inventory, KafkaSection, Privilege, SshSection};
use serde_json::{Value, json};

use crate::cli::{Format, key_value};
use crate::exit::{self, Failure};

#[derive(Debug, Args)]
pub(crate) struct DiscoverArgs {
    /// A broker or several, HOST:PORT
    #[arg(long, value_delimiter = ',', required = true, value_name = "HOST:PORT")]
    pub(crate) bootstrap: Vec<String>,
    /// The cluster's name, which its administrator will put into /etc/kchaos/allow on every host
    #[arg(long, default_value = "staging")]
    pub(crate) name: String,
    /// A property of librdkafka, by which clients are let in (security.protocol=…); secrets as env:NAME or file:PATH
    #[arg(short = 'X', value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) properties: Vec<(String, String)>,
    /// A host that the cluster does not tell of; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) host: Vec<String>,
    /// Who logs in on the hosts
    #[arg(long, value_name = "USER", default_value = "root")]
    pub(crate) ssh_user: String,
    #[arg(long, value_name = "PORT", default_value_t = 22)]
    pub(crate) ssh_port: u16,
    /// The private key; without it hosts are not asked
    #[arg(long, value_name = "FILE", requires = "known_hosts")]
    pub(crate) ssh_key: Option<PathBuf>,
    /// The hosts' keys: `ssh-keyscan ADDRESS…` makes it, and you compare them
    #[arg(long, value_name = "FILE")]
    pub(crate) known_hosts: Option<PathBuf>,
    /// How commands become root's on the hosts
    #[arg(long, value_enum, default_value = "root")]
    pub(crate) privilege: PrivilegeArg,
    /// The network namespace to look from, as /run/netns/NAME
    #[arg(long, value_name = "FILE")]
    pub(crate) network_namespace: Option<PathBuf>,
    /// Where to write it; one that is there is not overwritten [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// With json, standard output says what was found, without secrets, and the inventory itself is written to --output alone
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrivilegeArg {
    /// The user who logs in is root
    Root,
    /// Nobody becomes root; faults will be the helper's (docs/least-privilege.md)
    Helper,
    /// By `sudo -n sh`
    SudoSh,
}

pub(super) fn run(args: &DiscoverArgs) -> Result<u8, Failure> {
    if let Some(path) = args.output.as_deref().filter(|path| path.exists()) {
        return Err(Failure::usage(anyhow!("{}: it is there, and is not overwritten (--output names another)", path.display())));
    }
    let wish = wish(args)?;
    let found = super::within_network(&wish.inventory(), discover(wish))?.map_err(Failure::environment)?;
    let text = written(&found)?;
    let lacks = Inventory::parse(args.output.as_deref().unwrap_or("kchaos.toml".as_ref()), &text).err().map(|error| error.to_string());
    if let Some(lacks) = &lacks {
        eprintln!("it is not whole yet:\n{lacks}");
    }
    match &args.output {
        None if args.format == Format::Json => {}
        None => crate::say!("{}", text.trim_end()),
        Some(path) => {
            std::fs::write(path, &text).with_context(|| format!("write {}", path.display()))?;
            eprintln!(
                "{} has {} hosts; look it over, then `kchaos inventory check --inventory {0}`",
                path.display(),
                found.inventory.hosts.len()
            );
        }
    }
    if args.format == Format::Json {
        let told = told(&found, lacks.as_deref(), args.output.as_deref());
        super::say_json(&told)?;
    }
    Ok(if lacks.is_none() { exit::VALID } else { exit::ENVIRONMENT })
}

/// For programs.
fn told(found: &Discovered, lacks: Option<&str>, output: Option<&Path>) -> Value {
    let file = output.map(|path| path.display().to_string());
    let is_whole = lacks.is_none();
    json!({"file": file, "is_whole": is_whole, "lacks": lacks, "notes": found.notes, "inventory": found.inventory.without_secrets()})
}

/// What brokers tell to anybody, of a cluster that nobody logs in to.
pub(super) fn text_from(bootstrap: &[String]) -> Result<String, Failure> {
    let kafka = KafkaSection { bootstrap: bootstrap.to_vec(), properties: BTreeMap::new(), replace_version: None };
    let wish = Wish { name: "staging".into(), kafka, ssh: None, hosts: Vec::new(), network_namespace: None };
    let found = super::within_network(&wish.inventory(), discover(wish))?.map_err(Failure::environment)?;
    written(&found)
}

fn wish(args: &DiscoverArgs) -> Result<Wish, Failure> {
    let properties: BTreeMap<String, String> = args.properties.iter().cloned().collect();
    let ssh = match (&args.ssh_key, &args.known_hosts) {
        (Some(key), Some(known_hosts)) => {
            let absolute = |path: &PathBuf| std::path::absolute(path).with_context(|| format!("{}", path.display()));
            let privilege = match args.privilege {
                PrivilegeArg::Root => None,
                PrivilegeArg::Helper => Some(Privilege::Helper),
                PrivilegeArg::SudoSh => Some(Privilege::SudoSh),
            };
            let (key_file, known_hosts_file) = (absolute(key)?, absolute(known_hosts)?);
            Some(SshSection {
                user: args.ssh_user.clone(),
                port: args.ssh_port,
                key_file,
                known_hosts_file,
                privilege,
                ..SshSection::default()
            })
        }
        _ => None,
    };
    Ok(Wish {
        name: args.name.clone(),
        kafka: KafkaSection { bootstrap: args.bootstrap.clone(), properties, replace_version: None },
        ssh,
        hosts: args.host.clone(),
        network_namespace: args.network_namespace.clone(),
    })
}

/// The file, with what is left to its owner on top.
fn written(found: &Discovered) -> Result<String, Failure> {
    let mut text = "# Found by `kchaos inventory discover`. What it could not know is yours to say:\n\
                    # - cluster.environment: it says staging; \"production\" asks for a typed consent before every run\n\
                    # - limits.hosts_down_max: how many hosts may be down at once\n\
                    # - on every host, its administrator puts the cluster's name into /etc/kchaos/allow: that is the consent, and kchaos never writes it\n"
        .to_owned();
    found.notes.iter().for_each(|note| {
        text.push_str("# - ");
        text.push_str(&note.replace('\n', " "));
        text.push('\n');
    });
    text.push('\n');
    text.push_str(&toml::to_string(&found.inventory).map_err(anyhow::Error::from)?);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::conform::assert_conforms;

    #[test]
    fn what_was_found_conforms_and_holds_no_secret() {
        let properties = BTreeMap::from([("sasl.password".to_owned(), "hunter2".to_owned())]);
        let kafka = KafkaSection { bootstrap: vec!["b1:9092".to_owned()], properties, replace_version: None };
        let wish = Wish { name: "a".into(), kafka, ssh: None, hosts: Vec::new(), network_namespace: None };
        let found = Discovered { inventory: wish.inventory(), notes: vec!["hosts were not asked".to_owned()] };
        assert_conforms("discover", &told(&found, None, Some(Path::new("kchaos.toml"))));
        let told = told(&found, Some("host: none"), None);
        assert_conforms("discover", &told);
        assert!(told["inventory"]["kafka"]["bootstrap"][0] == "b1:9092" && !told.to_string().contains("hunter2"), "{told}");
    }
}
