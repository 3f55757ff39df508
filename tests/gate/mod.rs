//! A gate between threads and the system: a test decides what becomes of chosen system calls.
//!
//! A call can be refused with any error, as a system that is short of something would, or held until the
//! test says so: then its thread is parked at exactly that point.
#![cfg(target_os = "linux")]
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside of the functions that clippy knows as tests"
)]

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::mpsc;
use std::thread;

/// `UFFDIO_WRITEPROTECT`.
pub(crate) const PROTECT: u32 = 0xc018_aa06;
/// `UFFDIO_POISON`.
pub(crate) const POISON: u32 = 0xc020_aa08;

/// A kind of system call: its number, and the second argument if that matters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    number: c_long,
    command: Option<u32>,
}

impl Kind {
    pub(crate) fn of(number: c_long) -> Self {
        let command = None;
        Self { number, command }
    }

    pub(crate) fn ioctl(command: u32) -> Self {
        let (number, command) = (libc::SYS_ioctl, Some(command));
        Self { number, command }
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    /// It fails with this errno.
    Refuse(i32),
}

/// A call that waits at the gate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) arguments: [u64; 6],
}

impl Call {
    /// A number of the structure that the third argument points to, for threads of this process.
    pub(crate) fn field(&self, index: usize) -> u64 {
        let at = self.arguments[2] as usize + index * size_of::<u64>();
        // SAFETY: the caller waits at the gate with a structure of that many numbers.
        unsafe { std::ptr::with_exposed_provenance::<u64>(at).read() }
    }
}

/// Runs `body` in a thread for which, as for all that it starts, `judge` decides about calls of these kinds;
/// a judge that waits holds the call. Returns when the body ends; false, with a word why, where there can
/// be no gate.
pub(crate) fn behind(
    kinds: &[Kind],
    judge: impl FnMut(Call) -> Verdict + Send + 'static,
    body: impl FnOnce() + Send,
) -> bool {
    let (gate, opened) = mpsc::channel();
    // It is started here, before the gate: it must not wait for itself.
    thread::spawn(move || {
        if let Ok(gate) = opened.recv() {
            watch(&gate, judge);
        }
    });
    let passed = thread::scope(|scope| {
        let inside = scope.spawn(|| {
            let built = build(kinds)?;
            gate.send(built).unwrap();
            body();
            io::Result::Ok(())
        });
        inside
            .join()
            .unwrap_or_else(|payload| std::panic::resume_unwind(payload))
    });
    if let Err(error) = &passed {
        println!("skipped: system calls cannot be held here: {error}");
    }
    passed.is_ok()
}

fn step(code: u32, on_match: u8, otherwise: u8, operand: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: on_match,
        jf: otherwise,
        k: operand,
    }
}

/// Where a filter finds the number of the call, and the lower half of its second argument.
const NUMBER: u32 = 0;
const SECOND: u32 = 16 + 8;

fn filter(kinds: &[Kind]) -> Vec<libc::sock_filter> {
    let load = |at| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at);
    let skip_unless = |value, count| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, count, value);
    let end = |how| step(libc::BPF_RET | libc::BPF_K, 0, 0, how);
    let mut steps = Vec::new();
    for kind in kinds {
        steps.push(load(NUMBER));
        match kind.command {
            None => steps.push(skip_unless(kind.number as u32, 1)),
            Some(command) => steps.extend([
                skip_unless(kind.number as u32, 3),
                load(SECOND),
                skip_unless(command, 1),
            ]),
        }
        steps.push(end(libc::SECCOMP_RET_USER_NOTIF));
    }
    steps.push(end(libc::SECCOMP_RET_ALLOW));
    steps
}

/// Puts the gate before the calling thread.
fn build(kinds: &[Kind]) -> io::Result<OwnedFd> {
    let mut steps = filter(kinds);
    let program = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: plain numbers.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the program and its steps live until the call returns; the kernel copies them.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    match fd {
        // SAFETY: a new descriptor that nobody else owns.
        0.. => Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Judges the calls that come until no thread is left behind the gate.
fn watch(gate: &OwnedFd, mut judge: impl FnMut(Call) -> Verdict) {
    loop {
        let mut ready = libc::pollfd {
            fd: gate.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one structure that lives until the call returns.
        unsafe { libc::poll(&raw mut ready, 1, -1) };
        if ready.revents & libc::POLLIN == 0 {
            if ready.revents != 0 {
                return;
            }
            continue;
        }
        // SAFETY: all zeros is a value of this plain structure, and what the call wants.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the call fills the structure.
        if unsafe { libc::ioctl(gate.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) } != 0 {
            continue; // Its thread went on for a signal.
        }
        let arguments = call.data.args;
        let (error, flags) = match judge(Call { arguments }) {
            Verdict::Pass => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            Verdict::Refuse(errno) => (-errno, 0),
        };
        let mut answer = libc::seccomp_notif_resp {
            id: call.id,
            val: 0,
            error,
            flags,
        };
        // SAFETY: the call reads the structure. It fails where nobody waits any more.
        unsafe { libc::ioctl(gate.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    }
}
