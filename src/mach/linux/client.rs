//! The clients' side of an object: mappings, and copies that never fault.

use std::io;

use super::object::{LinuxObject, Phase};
use super::page_table::flag::{DIRTY, RESIDENT, WRITE_LOCKED, WRITING};
use super::space::Mapping;
use super::view::ClientView;
use super::waits::Wait;
use crate::mach::kernel::{Client, KernelError, RawMapping, Residency, Touch};
use crate::mach::stream::Advice;
use crate::object::{PageError, PageIndex, PageRange, Prot};

fn failed(call: &'static str) -> impl Fn(io::Error) -> KernelError {
    move |source| KernelError::System { call, source }
}

impl LinuxObject {
    /// What is to be done after anything that may have read events or freed frames.
    pub(super) fn after_call(&mut self) {
        self.take_faults();
        self.serve_copies();
        self.ask_for_queued();
        if self.spaces.needs_poll() || self.copies_need_poll() {
            self.share.wake();
        }
    }

    fn view(&self, range: PageRange, prot: Prot) -> Result<ClientView, KernelError> {
        let length = usize::try_from(range.bytes(self.size));
        let length = length.map_err(|_| KernelError::BadArgument { call: "map" })?;
        // Memory that outlives its pager cannot be taken from children when the pager goes.
        let inherit = self.host.children_inherit() && !self.writes_unseen() && !self.memory.is_shared();
        let offset = range.offset(self.size);
        ClientView::new(self.memory.file(), offset, length, prot, inherit).map_err(failed("mmap"))
    }

    pub(super) fn touch_page(&mut self, page: PageIndex, write: bool) -> Touch {
        let bits = self.table.get(page);
        if bits & RESIDENT == 0 {
            self.want(page, Wait::of_touch(write));
        } else if write && bits & WRITE_LOCKED != 0 {
            self.want_unlock(page, Wait::of_touch(write));
        } else if write && bits & WRITING == 0 && !self.preserve(page) {
            self.want_memory(page, Wait::of_touch(write));
        } else if !write || bits & WRITING == 0 {
            return Touch::Ready;
        }
        Touch::Pending
    }

    pub(super) fn take_error(&mut self, page: PageIndex) -> Option<PageError> {
        if self.errors.is_empty() {
            return None;
        }
        self.errors.remove(&page)
    }

    pub(super) fn forget_errors(&mut self, range: PageRange) {
        self.errors.retain(|page, _| !range.contains(*page));
    }

    fn inside(&self, offset: u64, length: usize, call: &'static str) -> Result<PageRange, KernelError> {
        let range = self.size.pages_around(offset, length as u64);
        let range = range.map_err(|_| KernelError::BadArgument { call })?;
        let there = range.intersection(self.pages) == range
            && range.iter().all(|page| self.table.has(page, RESIDENT));
        there.then_some(range).ok_or(KernelError::BadArgument { call })
    }
}

impl Client for LinuxObject {
    fn map(&mut self, range: PageRange, prot: Prot) -> Result<RawMapping, KernelError> {
        if range.is_empty() || range.intersection(self.pages) != range {
            return Err(KernelError::BadArgument { call: "map" });
        }
        if self.phase == Phase::Destroyed {
            return Err(KernelError::Gone);
        }
        // What was forked before this mapping must not be believed to have it.
        self.spaces.refresh();
        let view = self.view(range, prot)?;
        let id = self.host.new_id();
        let streams = self.host.streams(range, self.size);
        let mapping = RawMapping {
            id,
            address: view.address(),
            length: view.length(),
            range,
        };
        let space = self.spaces.own().ok_or(KernelError::Gone)?;
        if let Err(errno) = view.register(&space.uffd) {
            let _ = view.unmap();
            return Err(failed("ioctl(UFFDIO_REGISTER)")(errno.into()));
        }
        let offset = range.offset(self.size);
        space.add(Mapping {
            id,
            view,
            offset,
            streams,
        });
        self.know_mapping(id);
        self.ensure_init();
        self.after_call();
        Ok(mapping)
    }

    fn unmap(&mut self, mapping: &RawMapping) -> Result<(), KernelError> {
        if self.unmap_copy(mapping.id)? {
            return Ok(());
        }
        self.spaces.refresh();
        self.learn_writes(mapping.range, true);
        let mut pieces = Vec::new();
        let space = self.spaces.own().ok_or(KernelError::Gone)?;
        space.remove(mapping.id, &mut pieces);
        let uffd = space.uffd.clone();
        for Mapping { view, .. } in pieces {
            // Without this the call would wait for its own event to be read.
            let ended = uffd.unregister(view.address(), view.length());
            ended.map_err(|errno| failed("ioctl(UFFDIO_UNREGISTER)")(errno.into()))?;
            view.unmap().map_err(failed("munmap"))?;
        }
        self.terminate_if_unused();
        self.after_call();
        Ok(())
    }

    fn touch(&mut self, range: PageRange, access: Prot) -> Touch {
        if self.phase == Phase::Destroyed || range.intersection(self.pages) != range {
            return Touch::Failed {
                page: range.start(),
                error: PageError::Io,
            };
        }
        self.ensure_init();
        let mut answer = Touch::Ready;
        for page in range.iter() {
            // An error is told once, and only when every page before it is there.
            if answer == Touch::Ready
                && let Some(error) = self.take_error(page)
            {
                // What follows was asked for in vain: the next touch asks again.
                self.forget_errors(range);
                return Touch::Failed { page, error };
            }
            if self.errors.contains_key(&page) {
                break;
            }
            if self.touch_page(page, access.writes()) == Touch::Pending {
                answer = Touch::Pending;
            }
        }
        self.after_call();
        answer
    }

    fn copy_out(&mut self, offset: u64, into: &mut [u8]) -> Result<(), KernelError> {
        self.inside(offset, into.len(), "copy_out")?;
        self.memory.read(offset, into).map_err(failed("pread"))
    }

    fn copy_in(&mut self, offset: u64, from: &[u8]) -> Result<(), KernelError> {
        let range = self.inside(offset, from.len(), "copy_in")?;
        let writable = |page| self.table.get(page) & (WRITE_LOCKED | WRITING) == 0;
        if !range.iter().all(writable) {
            return Err(KernelError::BadArgument { call: "copy_in" });
        }
        // Whoever touched the pages before found that there was memory for this.
        if !range.iter().all(|page| self.preserve(page)) {
            return Err(failed("pwrite")(io::ErrorKind::OutOfMemory.into()));
        }
        range.iter().for_each(|page| self.table.set(page, DIRTY));
        self.memory.write(offset, from).map_err(failed("pwrite"))
    }

    fn advise(&mut self, range: PageRange, advice: Advice) {
        let range = range.intersection(self.pages);
        match advice {
            Advice::Normal | Advice::Sequential | Advice::Random => self.spaces.advise(range, advice),
            Advice::WillNeed | Advice::Populate => self.bring_in(range),
            Advice::DontNeed => self.give_range_up(range),
        }
        self.after_call();
    }

    fn heal(&mut self, page: PageIndex) {
        self.errors.remove(&page);
        self.heal_page(page);
        self.copies.iter_mut().for_each(|copy| copy.heal_page(page));
    }

    fn residency(&self) -> Residency {
        Residency {
            resident: self.table.resident(),
            dirty: self.table.dirty(),
        }
    }
}
