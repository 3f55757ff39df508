//! Memory, its mapping, and the userfaultfd that watches it.

use std::io;

use super::super::sys::{Map, Memfd, Mode, PAGE, Uffd};

/// `pages` pages of registered memory, and one page more that stops the server when touched.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) pages: usize,
    memfd: Option<Memfd>,
    pub(super) map: Map,
    pub(super) uffd: Uffd,
    mode: Mode,
}

impl Region {
    pub(super) fn new(pages: usize, mode: Mode) -> io::Result<Self> {
        Self::over(Memfd::new(pages + 1)?, pages, mode)
    }

    /// A mapping of a memfd that has one page more than `pages`.
    pub(super) fn over(memfd: Memfd, pages: usize, mode: Mode) -> io::Result<Self> {
        let map = Map::new(&memfd, pages + 1)?;
        Self::of(Some(memfd), map, pages, mode)
    }

    /// Private memory: cheaper to evict from than a memfd, as there is no file to make holes in.
    pub(super) fn anonymous(pages: usize, mode: Mode) -> io::Result<Self> {
        Self::of(None, Map::anonymous(pages + 1)?, pages, mode)
    }

    fn of(memfd: Option<Memfd>, map: Map, pages: usize, mode: Mode) -> io::Result<Self> {
        let uffd = Uffd::new(&map, pages + 1, mode)?;
        Ok(Self {
            pages,
            memfd,
            map,
            uffd,
            mode,
        })
    }

    /// True if writes to protected pages come as faults.
    pub(super) fn tracks_writes(&self) -> bool {
        self.mode == Mode::MissingAndProtected
    }

    /// Drops all pages.
    pub(super) fn clear(&self) -> io::Result<()> {
        match &self.memfd {
            Some(memfd) => memfd.punch(0, self.pages),
            None => self.map.forget(0, self.pages),
        }
    }

    /// Ends the wait of whoever touched the last page.
    pub(super) fn resolve_stop(&self) -> io::Result<()> {
        let address = self.map.address_of(self.pages);
        match self.mode {
            Mode::Minor => self.uffd.map_present(address, 1),
            Mode::Missing | Mode::MissingAndProtected | Mode::ProtectedAsync => {
                self.uffd.copy(address, &[0; PAGE], false)
            }
        }
    }

    /// Lets the kernel resolve all faults from now on, as a handler has failed.
    pub(super) fn give_up(&self) {
        // What failed first is what gets reported.
        let _ = self.uffd.unregister(&self.map, self.pages + 1);
    }
}
