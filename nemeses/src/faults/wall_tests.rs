use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::host::LIBRARY;

const OURS: &str = "11111111-2222-3333-4444-555555555555";
const ANOTHER: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
const BOOTED: &str = "1790000000";

/// A host made of files: its own `/proc`, its own commands, `date` among them. The real one could do nothing: what runs here has not the capability to
/// set a clock.
struct Host {
    root: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self { root: tempfile::tempdir().unwrap() };
        for directory in ["proc/sys/kernel/random", "proc/self/ns", "proc/1/ns", "bin", "k/lease/r-1", "k/undo.d", "run/systemd/system"] {
            std::fs::create_dir_all(host.path(directory)).unwrap();
        }
        host.file("proc/sys/kernel/random/boot_id", ANOTHER);
        host.file("proc/stat", "cpu 1 2 3\nbtime 1790000900");
        host.file("proc/self/status", "Name:\tsh\nCapEff:\t000001ffffffffff");
        host.file("proc/self/uid_map", "         0          0 4294967295");
        host.file("proc/1/environ", "HOME=/");
        host.file("k/lease/r-1/deadline", "99999999999");
        for place in ["proc/self/ns/net", "proc/1/ns/net"] {
            std::os::unix::fs::symlink("net:[1]", host.path(place)).unwrap();
        }
        std::os::unix::fs::symlink("/proc/uptime", host.path("proc/uptime")).unwrap();
        host.command(
            "date",
            r#"case $1 in
+*) read -r off <@/off 2>/dev/null; echo "$(($(/bin/date +%s%N) + ${off:-0}))" ;;
-s) t=${2#@}; t=${t%.*}${t#*.}; echo "$((t * 10000000 - $(/bin/date +%s%N)))" >@/off; echo set >>@/sets ;;
esac"#,
        );
        host.command("systemctl", r#"case $1 in
show) case $* in *ActiveState*chrony.service) read -r s <@/chrony; echo "ActiveState=$s" ;; *"Id chrony.service") echo Id=chrony.service ;; *) echo ActiveState=inactive ;; esac ;;
stop) echo inactive >@/chrony ;;
start) echo active >@/chrony ;;
esac"#);
        host.command("systemd-detect-virt", "echo none; exit 1");
        host.file("chrony", "active");
        host
    }

    fn path(&self, what: &str) -> std::path::PathBuf {
        self.root.path().join(what)
    }

    fn file(&self, what: &str, text: &str) {
        std::fs::write(self.path(what), format!("{text}\n")).unwrap();
    }

    fn command(&self, name: &str, body: &str) {
        self.file(&format!("bin/{name}"), &format!("#!/bin/sh\n{}", body.replace("@/", &format!("{}/", self.root.path().display()))));
        let place = self.path(&format!("bin/{name}"));
        std::fs::set_permissions(place, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// What the host says to a call, as if kchaos ran on a machine whose boot has this id.
    fn says(&self, controller: &str, more: &str, call: &str) -> String {
        let root = self.root.path().to_str().unwrap();
        let wall = WALL.replace("/proc/", &format!("{root}/proc/")).replace("/run/", &format!("{root}/run/"));
        let wall = wall.replace("/.dockerenv", &format!("{root}/.dockerenv"));
        let library = LIBRARY.replace("/proc/uptime", &format!("{root}/proc/uptime"));
        let script = format!(
            "PATH={root}/bin:$PATH\n[ \"$(command -v date)\" = {root}/bin/date ] || exit 9\nK_STATE={root}/k\nK_VOLATILE={root}/k\nK_RUN=r\nK_KEY=r-1\n\
             K_OWNER=t\n{library}{GUARD}\nW_CONTROLLER={controller}\nW_BOOTED={BOOTED}\n{wall}{more}\n{call}\n"
        );
        // SAFETY: reads this process' user id.
        let is_root = unsafe { libc::geteuid() } == 0;
        let mut command = Command::new(if is_root { "setpriv" } else { "sh" });
        if is_root {
            command.args(["--bounding-set", "-sys_time", "--inh-caps", "-sys_time", "sh"]);
        }
        command.args(["-c", &script]);
        let output = command.env_remove("KCHAOS_PLACE").output().expect("setpriv (util-linux)");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    fn was_set(&self) -> bool {
        self.path("sets").exists()
    }

    fn settings(&self) -> String {
        let said = self.says(OURS, "", "k_wall_look");
        let answers = Answers::parse(&said);
        let (base, boot) = look(&answers).unwrap_or_else(|| panic!("{said}"));
        format!("W_BASE={base}\nW_BOOT={boot}\nW_UNITS='{}'\n", answers.all("unit").collect::<Vec<_>>().join(" "))
    }

    fn off(&self, settings: &str) -> Seen {
        Seen::read(&Answers::parse(&self.says(OURS, settings, "k_wall_state")))
    }
}

/// Whatever is asked of it, this host's clock is not set, and it says why.
fn check_refused(change: impl Fn(&Host), controller: &str, why: &str) {
    let host = Host::new();
    let settings = host.settings();
    // As if the fault had the clock already, so that its mend, too, would set it.
    change(&host);
    for call in ["k_wall_look", "k_wall_take", "k_wall_bump 9000", "k_wall_set 0", "echo r-1 >\"$(k_wall_mark)\"; k_wall_mend"] {
        let said = host.says(controller, &settings, call);
        let is_before = why.contains("booted in the same second") && (call.contains("set 0") || call.contains("mend"));
        assert!(is_before || said.contains(why), "{call}: {said}");
        assert!(is_before || !host.was_set(), "{call} set it");
    }
}

#[test]
fn a_host_that_shares_its_kernel_with_the_machine_that_commands_is_refused() {
    check_refused(|_| (), ANOTHER, "the host shares its kernel, and so its clock, with the machine that kchaos runs on");
}

#[test]
fn a_host_whose_kernel_cannot_be_told_is_refused() {
    check_refused(|_| (), "''", "no boot_id");
    check_refused(|_| (), "yes", "no boot_id");
    check_refused(|host| host.file("proc/sys/kernel/random/boot_id", ""), OURS, "no boot_id");
    check_refused(|host| std::fs::remove_file(host.path("proc/sys/kernel/random/boot_id")).unwrap(), OURS, "no boot_id");
}

#[test]
fn a_container_is_refused_whatever_tells_that_it_is_one() {
    check_refused(|host| host.command("systemd-detect-virt", "echo systemd-nspawn"), OURS, "a container (systemd-nspawn)");
    check_refused(|host| host.file("proc/1/environ", "HOME=/\0container=lxc"), OURS, "a container (PID 1 says lxc)");
    check_refused(|host| host.file(".dockerenv", ""), OURS, ".dockerenv");
    check_refused(|host| host.file("run/.containerenv", ""), OURS, ".containerenv");
    check_refused(|host| host.file("proc/self/uid_map", "0 100000 65536"), OURS, "its users are mapped");
    let moved = |host: &Host| {
        std::fs::remove_file(host.path("proc/self/ns/net")).unwrap();
        std::os::unix::fs::symlink("net:[2]", host.path("proc/self/ns/net")).unwrap();
    };
    check_refused(moved, OURS, "a network of its own");
}

#[test]
fn without_the_right_to_set_a_clock_it_is_refused() {
    check_refused(|host| host.file("proc/self/status", "CapEff:\t000001fffdffffff"), OURS, "CAP_SYS_TIME");
    check_refused(|host| host.file("proc/self/status", "CapEff:\t0000000000000000"), OURS, "CAP_SYS_TIME");
    check_refused(|host| host.file("proc/self/status", "Name: sh"), OURS, "CAP_SYS_TIME");
}

#[test]
fn a_kernel_that_booted_in_the_same_second_is_taken_for_the_same() {
    check_refused(|host| host.file("proc/stat", "btime 1790000001"), OURS, "booted in the same second");
    let host = Host::new();
    host.file("proc/stat", "cpu 1");
    assert!(host.says(OURS, "", "k_wall_look").contains("no btime"));
}

#[test]
fn the_machine_that_runs_this_refuses_its_own_clock() {
    let machine = Machine::this().unwrap();
    let script =
        format!("K_STATE=/nonexistent\nK_VOLATILE=/nonexistent\nK_KEY=k\n{LIBRARY}{WALL}{}k_wall_guard && echo SET\n", machine.settings());
    // The guard alone: nothing behind it sets anything.
    let output = Command::new("sh").arg("-c").arg(&script).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("shares its kernel") && !said.contains("SET"), "{said}");
}

#[test]
fn the_clock_is_set_in_one_place_and_only_behind_the_guard() {
    assert_eq!(WALL.matches("date -s").count(), 1);
    let set = WALL.split("\nk_wall_set() {\n").nth(1).unwrap();
    let guard = set.find("k_wall_guard) || {").unwrap();
    assert!(guard < set.find("date -s").unwrap() && set[..guard].lines().count() == 1, "{set}");
    assert!(
        !WALL
            .lines()
            .any(|line| !line.starts_with('#') && (line.contains("adjtimex") || line.contains("hwclock") || line.contains("timedatectl")))
    );
}

#[test]
fn a_clock_is_set_read_and_mended_by_the_time_since_boot_and_its_time_daemon_is_given_back() {
    let host = Host::new();
    let settings = host.settings();
    assert!(settings.contains("W_UNITS='chrony.service'"), "{settings}");
    assert!(host.says(OURS, &settings, "k_wall_bump 9000").contains("set "), "{}", host.says(OURS, &settings, "k_wall_bump 9000"));
    let seen = host.off(&settings);
    assert!(seen.is_off_by(9_000) && seen.units_are(false) && seen.held_by.as_deref() == Some("r-1"), "{seen:?}");
    let other = host.says(OURS, &format!("{settings}K_KEY=r-2\n"), "k_wall_look; k_wall_mend");
    assert_eq!(other, "refused the host's clock is in the hands of the fault r-1\nright\n");
    assert!(host.off(&settings).is_off_by(9_000), "another fault's mend leaves it alone");
    for _ in 0..2 {
        assert_eq!(host.says(OURS, &settings, "k_wall_mend"), "right\n");
        let seen = host.off(&settings);
        assert!(seen.is_off_by(0) && seen.units_are(true) && seen.held_by.is_none(), "{seen:?}");
    }
}

#[test]
fn a_clock_that_somebody_else_set_meanwhile_is_not_set_again() {
    let host = Host::new();
    let settings = host.settings();
    host.file("off", "5000000000");
    assert!(host.says(OURS, &settings, "k_wall_bump 9000").contains("set by somebody else"));
    assert!(!host.was_set());
}

#[test]
fn a_time_daemon_that_does_not_start_again_is_not_mended() {
    let host = Host::new();
    let settings = host.settings();
    host.says(OURS, &settings, "k_wall_bump 9000");
    let systemctl = std::fs::read_to_string(host.path("bin/systemctl")).unwrap();
    host.command("systemctl", "exit 1");
    assert!(host.says(OURS, &settings, "k_wall_mend").contains("systemctl stop chrony.service failed"));
    host.command("systemctl", "[ $1 != start ]");
    assert!(host.says(OURS, &settings, "k_wall_mend").contains("systemctl start chrony.service failed"));
    std::fs::write(host.path("bin/systemctl"), systemctl).unwrap();
    assert_eq!(host.says(OURS, &settings, "k_wall_mend"), "right\n");
}

#[test]
fn after_a_reboot_only_the_time_daemon_is_looked_to() {
    let host = Host::new();
    let settings = host.settings();
    host.says(OURS, &settings, "k_wall_bump 9000");
    std::fs::remove_file(host.path("sets")).unwrap();
    host.file("proc/sys/kernel/random/boot_id", "cccccccc-bbbb-cccc-dddd-eeeeeeeeeeee");
    assert_eq!(host.says(OURS, &settings, "k_wall_mend"), "right\n");
    assert!(!host.was_set());
}

#[test]
fn without_a_lease_nothing_is_set() {
    let host = Host::new();
    let settings = host.settings();
    std::fs::remove_dir_all(host.path("k/lease/r-1")).unwrap();
    let said = host.says(OURS, &settings, "k_wall_bump 9000");
    assert!(said.contains("the lease lapsed"), "{said}");
    assert!(host.off(&settings).is_off_by(0) && host.off(&settings).held_by.is_none());
}

#[test]
fn a_drift_is_seen_between_two_looks() {
    for (first, second, is) in
        [(Some(-100), Some(-200), true), (Some(-100), Some(-110), false), (Some(0), Some(-200), false), (None, Some(-1), false)]
    {
        assert_eq!(drifted(first, second), is, "{first:?} {second:?}");
    }
}

#[test]
fn a_unit_s_name_is_a_word_of_a_script() {
    assert!(is_unit("systemd-timesyncd.service") && !is_unit("a b.service") && !is_unit("$(x).service") && !is_unit("chrony"));
}

proptest! {
    #[test]
    fn no_answer_of_a_host_makes_it_panic(text in "((off|unit|held|beats|base|boot|refused) \\PC{0,30}\n){0,5}") {
        let answers = Answers::parse(&text);
        let seen = Seen::read(&answers);
        let _ = (seen.text("b1"), seen.is_off_by(0), seen.units_are(true), look(&answers));
    }
}
