//! Memory as C sees it: addresses, errno, results through pointers.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::slice;
use std::sync::atomic::Ordering;

use rustix::io;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};

use super::codes::Errno;
use super::mach_h::VM_PAGE_SIZE;

unsafe extern "C" {
    fn __errno_location() -> *mut Errno;
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// Run before `main`, when the program or the shared library is loaded.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = set_page_size;

/// Sets `vm_page_size` where pages are not of the usual size. A program that is not
/// position-independent has a copy of the variable, which only the dynamic loader knows.
extern "C" fn set_page_size() {
    if page_size_of_system() == VM_PAGE_SIZE.load(Ordering::Relaxed) {
        return;
    }
    VM_PAGE_SIZE.store(page_size_of_system(), Ordering::Relaxed);
    // SAFETY: the name ends in 0, and a null handle means everything that is loaded.
    let variable = unsafe { dlsym(ptr::null_mut(), c"vm_page_size".as_ptr()) };
    if !variable.is_null() {
        // SAFETY: it is the program's copy of our variable, and no thread runs yet.
        unsafe { variable.cast::<usize>().write(page_size_of_system()) }
    }
}

/// The size of the system's pages in bytes.
pub(super) fn page_size_of_system() -> usize {
    rustix::param::page_size()
}

/// Sets this thread's `errno`.
pub(super) fn set_errno(errno: Errno) {
    // SAFETY: the C library gives every thread an `errno` that lives as long as the thread.
    unsafe { __errno_location().write(errno) }
}

/// Copies the page at `address`, which a callback has mapped, into `into`.
pub(super) fn copy_page(address: usize, into: &mut [u8]) {
    let from: *const u8 = ptr::with_exposed_provenance(address);
    // SAFETY: `pager_read_page` said that a readable page is there, and hands it over: nobody else
    // writes to it. It is as long as `into`, which is one page.
    unsafe { ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) }
}

/// The bytes at `address`, for the length of a call.
///
/// # Safety
/// They must be there, and nobody may write to them meanwhile.
pub(super) unsafe fn bytes<'a>(address: usize, length: usize) -> &'a [u8] {
    // SAFETY: the caller keeps the promise above.
    unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(address), length) }
}

/// The bytes at `address`, to write to for the length of a call.
///
/// # Safety
/// They must be there, and nobody else may touch them meanwhile.
pub(super) unsafe fn bytes_mut<'a>(address: usize, length: usize) -> &'a mut [u8] {
    // SAFETY: the caller keeps the promise above.
    unsafe { slice::from_raw_parts_mut(ptr::with_exposed_provenance_mut(address), length) }
}

/// Maps `length` bytes of zeros: where the system likes, or at `place` if nothing is there.
pub(super) fn map_zeros(place: Option<usize>, length: usize) -> io::Result<usize> {
    let (hint, flags) = match place {
        None => (0, MapFlags::PRIVATE),
        Some(place) => (place, MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE),
    };
    let hint = ptr::with_exposed_provenance_mut(hint);
    // SAFETY: a new mapping that replaces nothing.
    let address = unsafe { mmap_anonymous(hint, length, ProtFlags::READ | ProtFlags::WRITE, flags) }?;
    Ok(address.expose_provenance())
}

/// Makes `length` bytes at `address` fault for whoever touches them, and keeps their place.
///
/// # Safety
/// The caller must own the memory there.
pub(super) unsafe fn reserve(address: usize, length: usize) -> io::Result<()> {
    let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
    // SAFETY: the caller owns the memory that is replaced.
    unsafe { mmap_anonymous(at(address), length, ProtFlags::empty(), flags) }?;
    Ok(())
}

/// Unmaps `length` bytes at `address`.
///
/// # Safety
/// The caller must own the memory there.
pub(super) unsafe fn unmap(address: usize, length: usize) -> io::Result<()> {
    // SAFETY: the caller owns the memory.
    unsafe { munmap(at(address), length) }
}

/// Keeps a mapping out of child processes (`VM_INHERIT_NONE`).
pub(super) fn do_not_inherit(address: usize, length: usize) -> io::Result<()> {
    // SAFETY: this changes nothing in this process.
    unsafe { madvise(at(address), length, Advice::LinuxDontFork) }
}

/// Lets code be run from a mapping, too.
pub(super) fn allow_execution(address: usize, length: usize, writable: bool) -> io::Result<()> {
    let mut access = MprotectFlags::READ | MprotectFlags::EXEC;
    access.set(MprotectFlags::WRITE, writable);
    // SAFETY: the mapping is new and nobody uses it yet; no access is taken away.
    unsafe { mprotect(at(address), length, access) }
}

fn at(address: usize) -> *mut c_void {
    ptr::with_exposed_provenance_mut(address)
}

#[cfg(test)]
pub(super) mod tests {
    /// The byte at an address that is known to be mapped.
    pub(in crate::capi) fn byte(address: usize) -> u8 {
        // SAFETY: the tests ask only for addresses that they have mapped.
        unsafe { super::bytes(address, 1)[0] }
    }
}
