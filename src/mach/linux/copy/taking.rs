//! Taking pages into a private copy, and what becomes of them while there is no memory for that.

use std::io;
use std::time::{Duration, Instant};

use super::super::memory::Memory;
use super::super::shortage::is_shortage;
use super::{LOST, PrivateCopy, TAKEN};
use crate::object::PageIndex;

/// Why a page was not taken.
enum Untaken {
    /// There is no memory for these bytes of it.
    Short(Option<Vec<u8>>),
    /// It cannot be had.
    Lost(io::Error),
}

impl PrivateCopy {
    /// Takes a page of the object, which is resident there and does not change meanwhile; nothing happens
    /// if the copy has it already. Whoever waits for it goes on. False if there is no memory for it now.
    pub(in super::super) fn take(&mut self, object: &Memory, page: PageIndex) -> bool {
        if !self.shares(page) {
            return true;
        }
        match self.copy_page(object, page) {
            Ok(()) => self.taken(page, TAKEN),
            Err(Untaken::Lost(error)) => self.lost(page, &error),
            Err(Untaken::Short(_)) => {
                self.wait_for_memory(page);
                return false;
            }
        }
        true
    }

    /// The same of a page that cannot wait: where there is no memory for it in the copy, it is set aside
    /// until there is.
    pub(in super::super) fn take_now(&mut self, object: &Memory, page: PageIndex) {
        if !self.shares(page) {
            return;
        }
        match self.copy_page(object, page) {
            Ok(()) => self.taken(page, TAKEN),
            Err(Untaken::Lost(error)) => self.lost(page, &error),
            Err(Untaken::Short(None)) => self.lost(page, &io::ErrorKind::OutOfMemory.into()),
            Err(Untaken::Short(Some(bytes))) => {
                self.aside.insert(page, bytes);
                self.taken(page, TAKEN);
            }
        }
    }

    fn copy_page(&self, object: &Memory, page: PageIndex) -> Result<(), Untaken> {
        let offset = page.offset(self.size);
        let mut bytes = vec![0; self.size.bytes() as usize];
        match object.read(offset, &mut bytes) {
            Ok(()) => {}
            Err(error) if is_shortage(&error) => return Err(Untaken::Short(None)),
            Err(error) => return Err(Untaken::Lost(error)),
        }
        self.put(page, &bytes).map_err(|error| match is_shortage(&error) {
            true => Untaken::Short(Some(bytes)),
            false => Untaken::Lost(error),
        })
    }

    /// Fills a page of the copy's memory.
    fn put(&self, page: PageIndex, bytes: &[u8]) -> io::Result<()> {
        let at = self.local_offset(page.offset(self.size));
        self.memory.write(at, bytes).inspect_err(|_| {
            // What came of a large page must not be seen without the rest.
            let _ = self.memory.punch(at, self.size.bytes());
        })
    }

    fn lost(&mut self, page: PageIndex, error: &io::Error) {
        tracing::error!(object = %self.spaces.share.name, ?page, %error, "a copy loses a page");
        self.taken(page, TAKEN | LOST);
    }

    fn taken(&mut self, page: PageIndex, how: u8) {
        self.pages.put(page, how);
        self.short.remove(&page);
        self.heal_page(page);
        self.settle(page);
    }

    /// Notes that there is no memory for a page now.
    pub(in super::super) fn wait_for_memory(&mut self, page: PageIndex) {
        self.short.entry(page).or_insert_with(Instant::now);
    }

    /// True if there was no memory for some page.
    pub(in super::super) fn is_short(&self) -> bool {
        !self.short.is_empty() || !self.aside.is_empty()
    }

    /// The pages for which there was no memory; appended to `out`.
    pub(in super::super) fn short_of(&self, out: &mut Vec<PageIndex>) {
        out.extend(self.short.keys());
    }

    /// Whether a page has waited for memory for so long; if it has, it is forgotten that it does.
    pub(in super::super) fn gives_up(&mut self, page: PageIndex, patience: Duration) -> bool {
        let over = self
            .short
            .get(&page)
            .is_some_and(|since| since.elapsed() >= patience);
        if over {
            self.short.remove(&page);
        }
        over
    }

    /// Nobody needs the page any more, or it has to be asked for first.
    pub(in super::super) fn forget_short(&mut self, page: PageIndex) {
        self.short.remove(&page);
    }

    /// Gives pages that were set aside their memory. False if there is none yet.
    pub(in super::super) fn put_back(&mut self) -> bool {
        let pages: Vec<_> = self.aside.keys().copied().collect();
        for page in pages {
            let Some(bytes) = self.aside.get(&page) else {
                continue;
            };
            let how = match self.put(page, bytes) {
                Ok(()) => TAKEN,
                Err(error) if is_shortage(&error) => return false,
                Err(_) => TAKEN | LOST,
            };
            self.aside.remove(&page);
            self.taken(page, how);
        }
        true
    }

    /// Reads bytes of a page that was taken.
    pub(in super::super) fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let page = self.size.page_of(offset);
        match self.aside.get(&page) {
            None => self.memory.read(self.local_offset(offset), into),
            Some(bytes) => {
                let within = (offset - page.offset(self.size)) as usize;
                let part = bytes.get(within..within + into.len());
                into.copy_from_slice(part.ok_or(io::ErrorKind::InvalidInput)?);
                Ok(())
            }
        }
    }

    /// Changes bytes of a page that was taken.
    pub(in super::super) fn write(&mut self, offset: u64, from: &[u8]) -> io::Result<()> {
        let page = self.size.page_of(offset);
        match self.aside.get_mut(&page) {
            None => self.memory.write(self.local_offset(offset), from),
            Some(bytes) => {
                let within = (offset - page.offset(self.size)) as usize;
                let part = bytes.get_mut(within..within + from.len());
                part.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(from);
                Ok(())
            }
        }
    }
}
