//! The page tables of this process, asked which pages were written to (`PAGEMAP_SCAN`).

use std::fs::File;
use std::io;

use linux_raw_sys::general::{page_region, pm_scan_arg};
use rustix::ioctl::{self, Opcode, opcode};

const SCAN: Opcode = opcode::read_write::<pm_scan_arg>(b'f', 16);
/// Write-protect what is reported, in the same step.
const WP_MATCHING: u64 = 1;
/// Refuse mappings whose write protection is not lifted by the kernel itself.
const CHECK_WPASYNC: u64 = 2;
const IS_WRITTEN: u64 = 1 << 1;
const IS_PRESENT: u64 = 1 << 3;
/// Swapped out, or the mark of a protection without a page.
const IS_SWAPPED: u64 = 1 << 4;
/// Regions that one call reports at most.
const REGIONS: usize = 256;

/// Addresses that the kernel knows something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Written to since it was last protected; otherwise it is protected now.
    pub(super) written: bool,
}

/// `/proc/self/pagemap`.
#[derive(Debug)]
pub(super) struct Pagemap {
    file: File,
}

impl Pagemap {
    /// Opens it; an error where this kernel has none.
    pub(super) fn open() -> io::Result<Self> {
        let file = File::open("/proc/self/pagemap")?;
        let pagemap = Self { file };
        // An older kernel does not know the call.
        pagemap.scan_part(0, 0, 0, &mut Vec::new())?;
        Ok(pagemap)
    }

    /// Reports what was written to since the last time, and what was not, and protects the former.
    ///
    /// What `out` leaves open is not mapped: nothing is known of it.
    pub(super) fn scan(&self, start: usize, length: usize, out: &mut Vec<Region>) -> io::Result<()> {
        let end = start + length;
        let mut from = start;
        while from < end {
            from = self.scan_part(from, end, WP_MATCHING | CHECK_WPASYNC, out)?;
        }
        Ok(())
    }

    /// Gives the address up to which it came.
    fn scan_part(&self, start: usize, end: usize, flags: u64, out: &mut Vec<Region>) -> io::Result<usize> {
        let mut found = [page_region {
            start: 0,
            end: 0,
            categories: 0,
        }; REGIONS];
        let mut arg = pm_scan_arg {
            size: size_of::<pm_scan_arg>() as u64,
            flags,
            start: start as u64,
            end: end as u64,
            walk_end: 0,
            vec: found.as_mut_ptr().expose_provenance() as u64,
            vec_len: REGIONS as u64,
            max_pages: 0,
            category_inverted: 0,
            category_mask: 0,
            category_anyof_mask: IS_PRESENT | IS_SWAPPED,
            return_mask: IS_WRITTEN,
        };
        // SAFETY: the opcode was made from this structure; `found` has as many places as it says and
        // outlives the call. Protecting pages changes no contents.
        let count = unsafe { ioctl::ioctl(&self.file, Scan(&mut arg)) }?;
        out.extend(found.iter().take(count).map(|region| Region {
            start: region.start as usize,
            end: region.end as usize,
            written: region.categories & IS_WRITTEN != 0,
        }));
        Ok(arg.walk_end as usize)
    }
}

/// The call; its result is the number of regions.
struct Scan<'a>(&'a mut pm_scan_arg);

// SAFETY: the opcode reads and writes the structure that the pointer leads to, for the length of the call.
unsafe impl ioctl::Ioctl for Scan<'_> {
    type Output = usize;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        SCAN
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::from_mut(self.0).cast()
    }

    unsafe fn output_from_ptr(
        output: ioctl::IoctlOutput,
        _: *mut std::ffi::c_void,
    ) -> rustix::io::Result<Self::Output> {
        Ok(usize::try_from(output).unwrap_or(0))
    }
}
