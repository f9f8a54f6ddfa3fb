//! `kchaos inventory install-helper`: one script of fixed verbs on each host, and a rule of sudo for it alone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use futures_util::future::join_all;
use kchaos_cluster::cluster::Cluster;
use kchaos_cluster::helper::{DAEMONS, HELPER, SUDOERS, daemons_file};
use kchaos_cluster::inventory::{Host, Inventory, Privilege};
use kchaos_nemeses::helper;

use crate::cli::InventoryArg;
use crate::exit::{self, Failure};

const TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(crate) struct InstallHelperArgs {
    #[command(flatten)]
    pub(crate) inventory: InventoryArg,
    /// Only this host; may be given several times [default: all]
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Vec<String>,
    /// Who may run the helper by sudo [default: the inventory's ssh.user, or kchaos where that is root]
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Who logs in to install it [default: root, or the inventory's user where ssh.privilege is sudo-sh]
    #[arg(long, value_name = "USER")]
    pub(crate) login: Option<String>,
    /// The one who logs in is not root and becomes it by `sudo -n sh`
    #[arg(long, requires = "login")]
    pub(crate) sudo: bool,
    /// Print what would be installed, for people with tools of their own, and touch nothing
    #[arg(long, conflicts_with_all = ["remove", "login"])]
    pub(crate) print: bool,
    /// Take helper and rule away again
    #[arg(long)]
    pub(crate) remove: bool,
}

pub(super) fn run(args: &InstallHelperArgs) -> Result<u8, Failure> {
    let inventory = super::require_inventory(&args.inventory)?;
    let hosts = chosen(args, &inventory)?;
    let user = user(args, &inventory)?;
    if args.print {
        print(&inventory, &hosts, &user);
        return Ok(exit::VALID);
    }
    let scripts: Vec<(String, String)> = hosts
        .iter()
        .map(|host| {
            let script = if args.remove { helper::remove_script(&user) } else { helper::install_script(&inventory, host, &user) };
            (host.name.clone(), script)
        })
        .collect();
    let installer = Arc::new(as_installer(args, &inventory));
    let said = super::within_network(&inventory, async {
        let cluster = Cluster::new(installer).context("use the inventory")?;
        let each = scripts.iter().map(async |(host, script)| (host.clone(), cluster.remote(host).run(script, TIMEOUT).await));
        Ok::<_, Failure>(join_all(each).await)
    })??;
    let mut all_done = true;
    for (host, answer) in said {
        let said = answer.map_err(|error| error.to_string()).map(|output| (output.stdout_text(), output.stderr_text()));
        all_done &= tell(&host, &said);
    }
    if all_done && !args.remove && inventory.ssh.privilege() != Privilege::Helper {
        crate::say!("to use it, write into [ssh] of the inventory: user = \"{user}\" and privilege = \"helper\"");
    }
    Ok(if all_done { exit::VALID } else { exit::ENVIRONMENT })
}

/// Prints what a host said; `true` if it came to its end.
fn tell(host: &str, said: &Result<(String, String), String>) -> bool {
    let (text, complaint) = match said {
        Ok((text, complaint)) => (text.as_str(), complaint.trim()),
        Err(error) => ("", error.as_str()),
    };
    let is_done = text.lines().any(|line| line == "done") && !text.lines().any(|line| line.starts_with("failed "));
    crate::say!("{host}: {}", if is_done { "good" } else { "FAILED" });
    for line in text.lines().filter_map(|line| line.strip_prefix("did ").or_else(|| line.strip_prefix("failed ")).or_else(|| note(line))) {
        crate::say!("    {line}");
    }
    if !is_done && !complaint.is_empty() {
        crate::say!("    {complaint}");
    }
    is_done
}

fn note(line: &str) -> Option<&str> {
    line.starts_with("note ").then_some(line)
}

fn chosen<'a>(args: &InstallHelperArgs, inventory: &'a Inventory) -> Result<Vec<&'a Host>, Failure> {
    let hosts: Vec<&Host> = match args.host.as_slice() {
        [] => inventory.hosts.iter().collect(),
        named => {
            let find = |name: &String| {
                let known = inventory.hosts.iter().map(|host| host.name.as_str());
                let unknown = || Failure::usage(anyhow!("the inventory has no host \"{name}\"{}", crate::run::nearest(name, known)));
                inventory.host(name).ok_or_else(unknown)
            };
            named.iter().map(find).collect::<Result<_, _>>()?
        }
    };
    match hosts.iter().find(|host| host.container().is_some()) {
        Some(host) => {
            Err(Failure::usage(anyhow!("{} is a container: the helper is for hosts, and who drives an engine is root there", host.name)))
        }
        None => Ok(hosts),
    }
}

/// A name that needs no quoting in a rule of sudo.
fn user(args: &InstallHelperArgs, inventory: &Inventory) -> Result<String, Failure> {
    let of_inventory = Some(inventory.ssh.user.as_str()).filter(|user| *user != "root");
    let user = args.user.as_deref().or(of_inventory).unwrap_or("kchaos");
    let is_plain = user.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_plain && user != "root" && user.len() <= 32 && user != "ALL" {
        Ok(user.to_owned())
    } else {
        Err(Failure::usage(anyhow!("--user {user:?}: a user other than root, by a plain name (letters, digits, _ and -)")))
    }
}

/// The same hosts, by the login of one who may install.
fn as_installer(args: &InstallHelperArgs, inventory: &Inventory) -> Inventory {
    let mut installer = inventory.clone();
    let is_sudo_sh = inventory.ssh.privilege() == Privilege::SudoSh;
    installer.ssh.sudo = false;
    installer.ssh.privilege = Some(if args.sudo || (is_sudo_sh && args.login.is_none()) { Privilege::SudoSh } else { Privilege::Root });
    if !is_sudo_sh || args.login.is_some() {
        let login = args.login.as_deref().unwrap_or("root");
        login.clone_into(&mut installer.ssh.user);
        installer.hosts.iter_mut().for_each(|host| host.ssh.user = None);
    }
    installer
}

fn print(inventory: &Inventory, hosts: &[&Host], user: &str) {
    // Without a line more: helper and daemons are known by their sums.
    crate::say_raw!("# {SUDOERS}: root's, mode 0440; visudo -cf before it is put in place\n{}", helper::sudoers(user));
    for host in hosts {
        crate::say_raw!("# {DAEMONS} on {}: root's, mode 0600\n{}", host.name, daemons_file(inventory, host));
    }
    crate::say_raw!("# {HELPER}: root's, mode 0755; its directory and all above are root's alone to write\n{}", helper::text());
}
