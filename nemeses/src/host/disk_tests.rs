//! The guards of disk.sh on this machine's own directories and devices: every one of them must be refused.

use std::path::Path;
use std::process::Command;

use super::{DISK, GUARD, LIBRARY, PROCESS, quote};

/// What the script says, with a disk of which the inventory says this.
fn said(data_dir: &Path, device: &str, backing: &str, mark: &str, call: &str) -> String {
    let settings = format!(
        "D_KIND=loop\nD_DIR={}\nD_DEVICE={}\nD_BACKING={}\nD_MARK={}\n",
        quote(data_dir.to_str().unwrap()),
        quote(device),
        quote(backing),
        quote(mark)
    );
    let scratch = tempfile::tempdir().unwrap();
    let place = quote(scratch.path().to_str().unwrap());
    let script = format!("K_STATE={place}\nK_VOLATILE={place}\nK_KEY=k\nmkdir -p {place}/lease/k {place}/undo.d\n");
    let script = format!("{script}{LIBRARY}{PROCESS}{GUARD}{DISK}{settings}{call}\n");
    let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn nothing_but_a_loop_disk_of_a_lab_is_ever_shut_down() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    std::fs::write(path.join(".kchaos-disk"), "m\n").unwrap();
    let image = "/var/lib/kchaos/lab/disks/kafka1/kafka-1.img";
    let file = path.join("no device");
    std::fs::write(&file, "").unwrap();
    for (data_dir, device, backing, mark, why) in [
        (path, "", "", "", "the inventory names no loop disk"),
        (path, "/dev/null", image, "m", "no block device"),
        (path, file.to_str().unwrap(), image, "m", "no block device"),
        (Path::new("/"), "/nonexistent", image, "m", "no block device"),
    ] {
        for call in ["k_disk_is_ours", "k_disk_is_loop", "k_disk_shut_down", "k_lose_power $$ 0"] {
            let said = said(data_dir, device, backing, mark, &format!("{call} && echo DONE"));
            assert!(said.contains(why) && !said.contains("DONE"), "{call} of {}: {said}", data_dir.display());
        }
    }
    assert!(path.join(".kchaos-disk").exists());
}

#[test]
fn the_same_mark_in_a_directory_of_the_machine_proves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".kchaos-disk"), "m\n").unwrap();
    // As if the device were in order, and the directory were not what is mounted from it.
    let call = "k_disk_device() { K_WANT=7:0; }\nk_disk_shut_down && echo DONE";
    let said = said(directory.path(), "/dev/loop0", "/x/disks/a/b.img", "m", call);
    assert!(said.contains("nothing is mounted at"), "{said}");
    assert!(!said.contains("DONE"), "{said}");
}

#[test]
fn the_last_guard_refuses_a_directory_that_is_on_no_loop_device() {
    let directory = tempfile::tempdir().unwrap();
    // Every guard of the shell says yes; the one beside the call itself says no.
    let call = "k_disk_is_ours() { K_WANT=7:0; }\nk_disk_shut_down && echo DONE";
    let said = said(directory.path(), "", "", "", call);
    assert!(said.contains(" is on ") && !said.contains("DONE"), "{said}");
}

#[test]
fn nothing_but_a_fuse_disk_of_a_lab_is_ever_given_an_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    std::fs::write(path.join(".kchaos-disk"), "m\n").unwrap();
    let control = path.join(".kchaos-control");
    std::fs::write(&control, "kchaos-disk 1\nmark m\nhealthy\n").unwrap();
    let claims = "k_disk_mounted() { K_FS=fuse.kchaos; }\n";
    for (data_dir, before, mark, why) in [
        (path, "", "", "the inventory names no disk"),
        (path, "", "m", "nothing is mounted at"),
        (Path::new("/"), "", "m", "is of the kind"),
        (Path::new("/proc"), "", "m", "/proc is of the kind proc, not fuse.kchaos"),
        // As if our kind of file system were mounted there.
        (path, claims, "m", "is on the file system of the host"),
    ] {
        for call in ["k_fuse_is_ours", "k_fuse_order off", "D_KIND=fuse; k_disk_is_ours", "D_KIND=fuse; k_lose_power $$ 0"] {
            let said = said(data_dir, "", "", mark, &format!("{before}{call} && echo DONE"));
            assert!(said.contains(why) && !said.contains("DONE"), "{call} of {}: {said}", data_dir.display());
        }
    }
    assert_eq!(std::fs::read_to_string(&control).unwrap(), "kchaos-disk 1\nmark m\nhealthy\n");
}

#[test]
fn a_disk_that_is_the_roots_is_not_filled() {
    let root = Path::new("/");
    assert!(said(root, "", "", "", "k_fill 65536").contains("refused / is on the file system of the host's root"));
    assert!(!root.join(".kchaos-fill").exists());
}

fn damaged(how: &str) -> (String, Vec<u8>, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let partition = directory.path().join("a-0");
    std::fs::create_dir(&partition).unwrap();
    let content: Vec<u8> = (0..=255).cycle().take(3_000).collect();
    std::fs::write(partition.join("00000000000000000000.log"), "old").unwrap();
    std::fs::write(partition.join("00000000000000000007.log"), &content).unwrap();
    let call = format!(
        "sleep 100 </dev/null >/dev/null 2>&1 &\nk_proc_stat $!\nk_damage $! $P_START {how} 'a-0' 'b-0' 2>/dev/null\n\
         k_is_damaged && echo IS\nrm \"$(k_undo_file).damage\""
    );
    let said = said(directory.path(), "", "", "", &call);
    (said, content, std::fs::read(partition.join("00000000000000000007.log")).unwrap())
}

#[test]
fn a_corrupted_segment_differs_in_64_bytes_and_a_truncated_one_is_half_as_long() {
    let (said, before, after) = damaged("corrupt");
    assert_eq!(before.len(), after.len());
    let changed: Vec<usize> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
    assert_eq!(changed, (1_500..1_564).collect::<Vec<_>>(), "{said}");
    assert!(said.starts_with("damaged 1500 64 3000 3000 ") && said.contains("a-0/00000000000000000007.log\nIS"), "{said}");

    let (said, before, after) = damaged("truncate");
    assert_eq!(after, before[..1_500], "{said}");
    assert!(said.starts_with("damaged 1500 1500 3000 1500 ") && !said.contains("IS"), "{said}");
}
