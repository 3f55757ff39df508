//! The functions of `mach.h` that deal with memory.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::codes::{Kern, of_map};
use super::mappings::{deallocate, keep};
use super::pager::CPager;
use super::ports::{self, NULL, Name};
use super::ports_h::{THIS_TASK, in_task};
use super::raw::{allow_execution, bytes_mut, do_not_inherit, map_zeros, page_size_of_system};
use crate::mapping::Protection;

const READ: c_int = 1;
const WRITE: c_int = 2;
const EXECUTE: c_int = 4;
/// `VM_INHERIT_NONE`.
const INHERIT_NONE: u32 = 2;

/// Bytes in a page; set before the program begins.
#[unsafe(export_name = "vm_page_size")]
pub(super) static VM_PAGE_SIZE: AtomicUsize = AtomicUsize::new(4096);

/// This process.
#[unsafe(no_mangle)]
pub(super) extern "C" fn mach_task_self() -> Name {
    THIS_TASK
}

/// Maps a pager, or zeros.
#[unsafe(no_mangle)]
pub(super) extern "C" fn vm_map(
    target_task: Name,
    address: Option<&mut usize>,
    size: usize,
    mask: usize,
    anywhere: c_int,
    memory_object: Name,
    offset: usize,
    copy: c_int,
    cur_protection: c_int,
    _max_protection: c_int,
    inheritance: u32,
) -> Kern {
    in_task(target_task, || {
        let Some(address) = address else {
            return Kern::InvalidArgument;
        };
        let request = Request {
            size: round(size),
            offset,
            cur_protection,
        };
        let mapped = match (memory_object, anywhere != 0) {
            (NULL, true) => zeros(None, request.size),
            (NULL, false) => zeros(Some(*address), request.size),
            (_, false) => Err(Kern::NoSpace),
            (name, true) => object(name, &request, copy != 0),
        };
        finish(mapped, address, &request, mask, inheritance)
    })
}

/// Maps zeros.
#[unsafe(no_mangle)]
pub(super) extern "C" fn vm_allocate(
    target_task: Name,
    address: Option<&mut usize>,
    size: usize,
    anywhere: c_int,
) -> Kern {
    vm_map(
        target_task,
        address,
        size,
        0,
        anywhere,
        NULL,
        0,
        0,
        READ | WRITE,
        READ | WRITE,
        1,
    )
}

/// Unmaps whatever is there.
#[unsafe(no_mangle)]
pub(super) extern "C" fn vm_deallocate(target_task: Name, address: usize, size: usize) -> Kern {
    in_task(target_task, || {
        let start = address & !(page_size_of_system() - 1);
        match size {
            0 => Kern::Success,
            _ => deallocate(start, round(address - start + size)),
        }
    })
}

struct Request {
    size: usize,
    offset: usize,
    cur_protection: c_int,
}

impl Request {
    fn writes(&self) -> bool {
        self.cur_protection & WRITE != 0
    }
}

fn zeros(place: Option<usize>, size: usize) -> Result<usize, Kern> {
    map_zeros(place, size).map_err(|_| Kern::NoSpace)
}

fn object(name: Name, request: &Request, copy: bool) -> Result<usize, Kern> {
    let (pager, read_only) = ports::look_up(name).ok_or(Kern::InvalidArgument)?;
    if request.cur_protection & (READ | WRITE) == 0 {
        return Err(Kern::ProtectionFailure);
    }
    if copy {
        return copy_of(&pager, request);
    }
    if read_only && request.writes() {
        return Err(Kern::ProtectionFailure);
    }
    let protection = if request.writes() {
        Protection::ReadWrite
    } else {
        Protection::Read
    };
    let behind = pager.pager().map_err(|_| Kern::Failure)?;
    let mapping = behind.map_blocking(request.offset as u64, request.size as u64, protection);
    let mapping = mapping.map_err(|error| of_map(&error))?;
    let address = keep(mapping, request.size, pager);
    ports::mapped(name);
    Ok(address)
}

/// Memory of the program's own that holds what the object holds now.
fn copy_of(pager: &Arc<CPager>, request: &Request) -> Result<usize, Kern> {
    let behind = pager.pager().map_err(|_| Kern::Failure)?;
    let address = zeros(None, request.size)?;
    let left = behind.extent().saturating_sub(request.offset as u64);
    let length = left.min(request.size as u64) as usize;
    // SAFETY: the memory was mapped just now, and nobody else knows where.
    let into = unsafe { bytes_mut(address, length) };
    match behind.read_at_blocking(request.offset as u64, into) {
        Ok(()) => Ok(address),
        Err(_) => {
            deallocate(address, request.size);
            Err(Kern::MemoryError)
        }
    }
}

fn finish(
    mapped: Result<usize, Kern>,
    address: &mut usize,
    request: &Request,
    mask: usize,
    inheritance: u32,
) -> Kern {
    let place = match mapped {
        Ok(place) => place,
        Err(kern) => return kern,
    };
    let executes = request.cur_protection & EXECUTE != 0;
    let refused = if place & mask != 0 {
        Some(Kern::NoSpace)
    } else if executes && allow_execution(place, request.size, request.writes()).is_err() {
        Some(Kern::ProtectionFailure)
    } else if inheritance == INHERIT_NONE && do_not_inherit(place, request.size).is_err() {
        Some(Kern::Failure)
    } else {
        None
    };
    match refused {
        Some(kern) => {
            deallocate(place, request.size);
            kern
        }
        None => {
            *address = place;
            Kern::Success
        }
    }
}

fn round(size: usize) -> usize {
    size.next_multiple_of(page_size_of_system())
}
