//! The C program's own functions, found when it starts: the `pager_*` callbacks of `hurd/pager.h`.
//!
//! They are weak references, which the linker resolves in a program whether it is linked with the
//! shared or the static library, and which have it export them to the shared one. What it does not
//! resolve, because it lies in a library that was loaded later, is asked of the dynamic loader.

use std::arch::global_asm;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem;
use std::ptr;
use std::sync::OnceLock;

use super::codes::{EOPNOTSUPP, Errno};

global_asm!(
    ".pushsection .data.rel.ro.actor_pager_callbacks, \"aw\", %progbits",
    ".balign 8",
    ".hidden actor_pager_callbacks",
    ".globl actor_pager_callbacks",
    "actor_pager_callbacks:",
    ".weak pager_read_page",
    ".weak pager_write_page",
    ".weak pager_unlock_page",
    ".weak pager_notify_evict",
    ".weak pager_report_extent",
    ".weak pager_clear_user_data",
    ".weak pager_dropweak",
    ".weak pager_write_pages",
    ".quad pager_read_page",
    ".quad pager_write_page",
    ".quad pager_unlock_page",
    ".quad pager_notify_evict",
    ".quad pager_report_extent",
    ".quad pager_clear_user_data",
    ".quad pager_dropweak",
    ".quad pager_write_pages",
    ".popsection",
);

/// In the order of the table above; the last may be missing.
const NAMES: [&CStr; 8] = [
    c"pager_read_page",
    c"pager_write_page",
    c"pager_unlock_page",
    c"pager_notify_evict",
    c"pager_report_extent",
    c"pager_clear_user_data",
    c"pager_dropweak",
    c"pager_write_pages",
];

unsafe extern "C" {
    static actor_pager_callbacks: [Option<Address>; NAMES.len()];
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// Some function of C.
type Address = unsafe extern "C" fn();

type Upi = *mut c_void;
type ReadPage = unsafe extern "C" fn(Upi, usize, *mut usize, *mut c_int) -> Errno;
type WritePage = unsafe extern "C" fn(Upi, usize, usize) -> Errno;
type UnlockPage = unsafe extern "C" fn(Upi, usize) -> Errno;
type NotifyEvict = unsafe extern "C" fn(Upi, usize);
type ReportExtent = unsafe extern "C" fn(Upi, *mut usize, *mut usize) -> Errno;
type ClearUserData = unsafe extern "C" fn(Upi);
type Dropweak = unsafe extern "C" fn(Upi);
type WritePages = unsafe extern "C" fn(Upi, usize, usize, usize, *mut usize) -> Errno;

/// Every callback; each has the type that `hurd/pager.h` declares.
pub(super) struct Callbacks {
    read_page: ReadPage,
    write_page: WritePage,
    unlock_page: UnlockPage,
    notify_evict: NotifyEvict,
    report_extent: ReportExtent,
    clear_user_data: ClearUserData,
    dropweak: Dropweak,
    write_pages: Option<WritePages>,
}

/// A page that a callback has mapped.
pub(super) struct PageRead {
    /// Where it is; 0 if nowhere.
    pub(super) address: usize,
    pub(super) write_lock: bool,
}

impl Callbacks {
    /// The program's callbacks, or the names of those it lacks.
    pub(super) fn of_program() -> Result<&'static Self, String> {
        static FOUND: OnceLock<Callbacks> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found);
        }
        let found = Self::find()?;
        Ok(FOUND.get_or_init(|| found))
    }

    fn find() -> Result<Self, String> {
        let mut found = [None; NAMES.len()];
        for (at, name) in NAMES.iter().enumerate() {
            found[at] = look_up(at, name);
        }
        let [
            Some(read_page),
            Some(write_page),
            Some(unlock_page),
            Some(notify_evict),
            Some(report_extent),
            Some(clear_user_data),
            Some(dropweak),
            write_pages,
        ] = found
        else {
            return Err(missing(&found));
        };
        // SAFETY: a function of such a name has the type that `hurd/pager.h` declares for it, which
        // is the field's; the C compiler holds the program to that.
        unsafe {
            Ok(Self {
                read_page: mem::transmute::<Address, ReadPage>(read_page),
                write_page: mem::transmute::<Address, WritePage>(write_page),
                unlock_page: mem::transmute::<Address, UnlockPage>(unlock_page),
                notify_evict: mem::transmute::<Address, NotifyEvict>(notify_evict),
                report_extent: mem::transmute::<Address, ReportExtent>(report_extent),
                clear_user_data: mem::transmute::<Address, ClearUserData>(clear_user_data),
                dropweak: mem::transmute::<Address, Dropweak>(dropweak),
                write_pages: mem::transmute::<Option<Address>, Option<WritePages>>(write_pages),
            })
        }
    }

    /// Has the program read one page.
    pub(super) fn read_page(&self, upi: usize, offset: u64) -> Result<PageRead, Errno> {
        let mut address = 0;
        let mut lock = 0;
        // SAFETY: `upi` is what the program gave for this pager, and both results live long enough;
        // the rest is the program's own.
        let errno = unsafe { (self.read_page)(pointer(upi), offset as usize, &mut address, &mut lock) };
        let write_lock = lock != 0;
        ok_or(errno, PageRead { address, write_lock })
    }

    /// Has the program write the page at `address`.
    pub(super) fn write_page(&self, upi: usize, offset: u64, address: usize) -> Result<(), Errno> {
        // SAFETY: as for `read_page`; the page at `address` is lent by `lent::lend`, which copes with
        // its being unmapped.
        ok_or(
            unsafe { (self.write_page)(pointer(upi), offset as usize, address) },
            (),
        )
    }

    /// True if the program can write several pages at once.
    pub(super) fn writes_in_bulk(&self) -> bool {
        self.write_pages.is_some()
    }

    /// Has the program write `length` bytes at `address`; how many it wrote.
    pub(super) fn write_pages(
        &self,
        upi: usize,
        offset: u64,
        address: usize,
        length: usize,
    ) -> (Errno, usize) {
        let Some(write_pages) = self.write_pages else {
            return (EOPNOTSUPP, 0);
        };
        let mut written = 0;
        // SAFETY: as for `write_page`.
        let errno = unsafe { write_pages(pointer(upi), offset as usize, address, length, &mut written) };
        (errno, written.min(length))
    }

    /// Has the program make a page writable.
    pub(super) fn unlock_page(&self, upi: usize, offset: u64) -> Result<(), Errno> {
        // SAFETY: as for `read_page`.
        ok_or(unsafe { (self.unlock_page)(pointer(upi), offset as usize) }, ())
    }

    /// Tells the program that a page was evicted.
    pub(super) fn notify_evict(&self, upi: usize, offset: u64) {
        // SAFETY: as for `read_page`.
        unsafe { (self.notify_evict)(pointer(upi), offset as usize) }
    }

    /// Where the object begins and how many bytes it has.
    pub(super) fn report_extent(&self, upi: usize) -> Result<(u64, u64), Errno> {
        let (mut offset, mut size) = (0, 0);
        // SAFETY: as for `read_page`.
        let errno = unsafe { (self.report_extent)(pointer(upi), &mut offset, &mut size) };
        ok_or(errno, (offset as u64, size as u64))
    }

    /// Tells the program that the pager is gone.
    pub(super) fn clear_user_data(&self, upi: usize) {
        // SAFETY: as for `read_page`.
        unsafe { (self.clear_user_data)(pointer(upi)) }
    }

    /// Asks the program to drop its weak references.
    pub(super) fn dropweak(&self, upi: usize) {
        // SAFETY: as for `read_page`.
        unsafe { (self.dropweak)(pointer(upi)) }
    }
}

fn look_up(at: usize, name: &CStr) -> Option<Address> {
    // SAFETY: the table is defined above, with one address or 0 for every name; nobody writes to it.
    let linked = unsafe { actor_pager_callbacks[at] };
    // SAFETY: the name ends in 0, and a null handle means every library that is loaded.
    let loaded = || unsafe { dlsym(ptr::null_mut(), name.as_ptr()) };
    // SAFETY: an address of C is null or a function's: nothing else has such a name.
    linked.or_else(|| unsafe { mem::transmute::<*mut c_void, Option<Address>>(loaded()) })
}

fn missing(found: &[Option<Address>]) -> String {
    let required = NAMES.len() - 1;
    let pairs = NAMES.iter().zip(found).take(required);
    let missing = pairs.filter(|(_, found)| found.is_none());
    let names: Vec<_> = missing.map(|(name, _)| name.to_string_lossy()).collect();
    names.join(", ")
}

fn pointer(upi: usize) -> Upi {
    ptr::with_exposed_provenance_mut(upi)
}

fn ok_or<T>(errno: Errno, value: T) -> Result<T, Errno> {
    if errno == 0 { Ok(value) } else { Err(errno) }
}
