//! Says what happened when the store fails under a thread that touches memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::memory::Memory;

/// The program's exit code when a page could not be had by a thread that touched it.
const CODE: i32 = 5;

const BEFORE: &[u8] = b"error: the store could not provide page ";
const AFTER: &[u8] = b" to a thread that touched its memory; run again with --copies to have such \
errors retried and counted instead\n";

static START: AtomicUsize = AtomicUsize::new(0);
static LENGTH: AtomicUsize = AtomicUsize::new(0);
static PAGE_SIZE: AtomicUsize = AtomicUsize::new(1);

/// From now on, a `SIGBUS` within this memory ends the program with a sentence and exit code 5.
pub(crate) fn explain(memory: &Memory<'_>, page_size: usize) {
    let (start, length) = memory.addresses();
    START.store(start, Ordering::SeqCst);
    LENGTH.store(length, Ordering::SeqCst);
    PAGE_SIZE.store(page_size.max(1), Ordering::SeqCst);
    install();
}

#[cfg(unix)]
fn install() {
    // SAFETY: all zero is a valid `sigaction`: no flags, an empty mask, the default handler.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: `action` is initialised above and names a handler of the type that `SA_SIGINFO`
    // asks for; the handler itself calls only what may be called in a signal handler.
    unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) };
}

#[cfg(not(unix))]
fn install() {}

/// Runs on the faulting thread: writes one line and ends the process, without allocating.
#[cfg(unix)]
extern "C" fn handler(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the system passes a valid `siginfo_t`, which for SIGBUS carries an address.
    let address = unsafe { (*info).si_addr() } as usize;
    let offset = address.wrapping_sub(START.load(Ordering::SeqCst));
    if offset >= LENGTH.load(Ordering::SeqCst) {
        // SAFETY: restoring the default handler is allowed in a handler; the access is repeated
        // on return and then ends the process as it would have without us.
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
        return;
    }
    let mut digits = [0; 20];
    say(BEFORE);
    say(decimal(offset / PAGE_SIZE.load(Ordering::SeqCst), &mut digits));
    say(AFTER);
    // SAFETY: `_exit` may be called in a handler and does not return.
    unsafe { libc::_exit(CODE) };
}

#[cfg(unix)]
fn say(bytes: &[u8]) {
    // SAFETY: the bytes are valid for their length; `write` may be called in a handler. Whether it
    // could be written does not matter any more.
    unsafe { libc::write(libc::STDERR_FILENO, bytes.as_ptr().cast(), bytes.len()) };
}

/// The number in decimal digits, written to the end of the buffer.
fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 || at == 0 {
            return &digits[at..];
        }
    }
}

#[test]
fn numbers_are_written_in_decimal() {
    for number in [0, 7, 4096, usize::MAX] {
        assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
    }
}
