//! The program where the system gives no userfaultfd, or not all of it: what it says, and its exit code.
//!
//! The program runs as a user without rights, behind a filter that refuses the system call; it knows
//! nothing of that.

use std::ffi::c_ulong;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use crate::support::Folder;

/// Who has no rights on any system.
const NOBODY: u32 = 65534;

/// Makes the system call fail for this process and all that it becomes.
fn forbid(errno: i32) -> io::Result<()> {
    let step = |code: u32, on_match: u8, operand: u32| libc::sock_filter {
        code: code as u16,
        jt: on_match,
        jf: 0,
        k: operand,
    };
    let refuse = libc::SECCOMP_RET_ERRNO | errno as u32;
    let mut steps = [
        // The number of the call; where it is this one, the next step is skipped.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            1,
            libc::SYS_userfaultfd as u32,
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
        step(libc::BPF_RET | libc::BPF_K, 0, refuse),
    ];
    let program = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    let (yes, none): (c_ulong, c_ulong) = (1, 0);
    // SAFETY: plain numbers.
    let bound = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, none, none, none) };
    let mode = libc::SECCOMP_MODE_FILTER as c_ulong;
    // SAFETY: the program and its steps live until the call returns; the kernel copies them.
    let filtered = bound == 0 && unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) } == 0;
    filtered.then_some(()).ok_or_else(io::Error::last_os_error)
}

/// Runs the program; where `errno` is given, behind a filter. None, with a word why, where that cannot be
/// done.
fn program(words: &[&str], unprivileged: bool, errno: Option<i32>) -> Option<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_actor-pager"));
    command.args(words).stdin(Stdio::null());
    if unprivileged && rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    if let Some(errno) = errno {
        // SAFETY: the closure only makes system calls.
        unsafe { command.pre_exec(move || forbid(errno)) };
    }
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            println!("skipped: the program cannot be run like that here: {error}");
            None
        }
    }
}

/// A folder that everybody may use.
fn open_folder(name: &str) -> Folder {
    let folder = Folder::new(name);
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).expect("a folder of ours");
    folder
}

/// One sentence with these words, nothing else, exit code 4.
fn says(words: &[&str], errno: i32, parts: &[&str]) {
    let Some(output) = program(words, true, Some(errno)) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{words:?}: {said}");
    assert!(
        said.starts_with("error: ") && said.lines().count() == 1,
        "{words:?}: {said}"
    );
    for part in parts {
        assert!(said.contains(part), "{words:?}: `{part}` is not in: {said}");
    }
}

#[test]
fn a_kernel_without_userfaultfd_is_named_with_what_to_do() {
    let folder = open_folder("without");
    let place = folder.path().to_str().unwrap();
    let file = folder.file(&[1; 8192]);
    let file = file.to_str().unwrap();
    for words in [
        &["demo", "--size", "4M", "--resident", "1M", "--folder", place][..],
        &["page", file],
        &["bench", "--quick", "--folder", place],
        &["serve", file, "--socket", "/nowhere"],
    ] {
        says(
            words,
            libc::ENOSYS,
            &["built without userfaultfd", "CONFIG_USERFAULTFD"],
        );
        says(
            words,
            libc::EPERM,
            &[
                "userfaultfd is forbidden here",
                "seccomp profile",
                "/dev/userfaultfd",
            ],
        );
    }
}

#[test]
fn without_rights_pages_are_served_all_the_same() {
    let folder = open_folder("unprivileged");
    let place = folder.path().to_str().unwrap();
    let words = ["demo", "--size", "2M", "--resident", "1M", "--folder", place];
    let Some(output) = program(&words, true, None) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(4) {
        return println!("skipped: {}", said.trim());
    }
    assert_eq!(output.status.code(), Some(0), "{said}");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("every byte is right"), "{told}");
}

#[test]
fn the_device_does_where_the_system_call_is_forbidden() {
    if std::fs::File::open("/dev/userfaultfd").is_err() {
        return println!("skipped: /dev/userfaultfd cannot be opened here");
    }
    let folder = open_folder("device");
    let place = folder.path().to_str().unwrap();
    let words = ["demo", "--size", "2M", "--resident", "1M", "--folder", place];
    for errno in [libc::ENOSYS, libc::EPERM] {
        let Some(output) = program(&words, false, Some(errno)) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
    }
}
