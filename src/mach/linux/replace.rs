//! Putting the mappings of this process under another userfaultfd, or out of use, while clients use them.

use std::io;

use rustix::fs::{MemfdFlags, memfd_create};

use super::memory::Memory;
use super::space::{Mapping, Space};
use super::spaces::Spaces;
use super::uffd::Uffd;
use super::view::ClientView;
use crate::mach::kernel::KernelError;

impl Spaces {
    /// Makes every mapping of this process anew under `uffd` and moves it over the old one.
    ///
    /// Each moves in one step: a thread that touches it finds the old mapping or the new one. Nothing is
    /// mapped in the new ones, and whoever waits at the old ones touches the page again.
    pub(super) fn replace_own(&mut self, uffd: Uffd, memory: &Memory) -> Result<(), KernelError> {
        let mut fresh = Space::new(uffd, &self.share);
        let moves = self.make_anew(&mut fresh, memory)?;
        let Some(old) = self.list.first_mut().and_then(|slot| slot.replace(fresh)) else {
            return Err(KernelError::Gone);
        };
        // Its last events are read as those of any other space.
        let at = self.list.len() as u32;
        self.list.push(Some(old));
        self.unseen = false;
        let moved = self.carry_out(moves);
        self.refresh();
        self.inbox.retain(|fault| fault.place.space != at);
        self.strays.retain(|&(space, _)| space != at);
        if moved.is_ok() {
            self.list.truncate(at as usize);
        }
        self.changes += 1;
        moved.map_err(|source| KernelError::System {
            call: "mremap",
            source,
        })
    }

    /// Puts a file without a byte in it over every mapping of this process: whoever touches one gets SIGBUS
    /// from now on. For memory that others go on using, and that cannot be cut to nothing.
    pub(super) fn cover_own(&mut self) -> io::Result<()> {
        let nothing = memfd_create("actor-pager:nothing", MemfdFlags::CLOEXEC)?;
        let Some(own) = self.own() else { return Ok(()) };
        let mut moves = Vec::new();
        let mut covered = Vec::new();
        for mapping in own.mappings() {
            let view = &mapping.view;
            moves.push((view.again(&nothing, 0)?, view.address()));
            covered.push(Mapping {
                id: mapping.id,
                view: view.alias(),
                offset: mapping.offset,
                streams: mapping.streams.clone(),
            });
        }
        let moved = self.carry_out(moves);
        self.refresh();
        if let Some(own) = self.own() {
            // What was covered left the table; its owner still has to take it down.
            drop(own.take_all());
            covered.into_iter().for_each(|mapping| own.add(mapping));
        }
        moved
    }

    /// A second mapping for each that there is, elsewhere for now; gives where each is to go.
    fn make_anew(
        &mut self,
        fresh: &mut Space,
        memory: &Memory,
    ) -> Result<Vec<(ClientView, usize)>, KernelError> {
        let Some(own) = self.own() else {
            return Ok(Vec::new());
        };
        let mut moves = Vec::new();
        for mapping in own.mappings() {
            let Mapping {
                id,
                view,
                offset,
                streams,
            } = mapping;
            let again = view
                .again(memory.file(), *offset)
                .map_err(|source| KernelError::System { call: "mmap", source })?;
            if let Err(errno) = again.register(&fresh.uffd) {
                // Nobody knows of it yet.
                let _ = again.unmap();
                return Err(KernelError::System {
                    call: "ioctl(UFFDIO_REGISTER)",
                    source: errno.into(),
                });
            }
            moves.push((again.alias(), view.address()));
            fresh.add(Mapping {
                id: *id,
                view: again,
                offset: *offset,
                streams: streams.clone(),
            });
        }
        Ok(moves)
    }

    /// A move ends when its events were read: they are read here, while another thread makes it.
    fn carry_out(&mut self, moves: Vec<(ClientView, usize)>) -> io::Result<()> {
        let mover = std::thread::Builder::new()
            .name("actor-pager-mover".to_owned())
            .spawn(move || moves.into_iter().try_for_each(|(view, to)| view.move_over(to)))?;
        while !mover.is_finished() {
            self.catch_up();
        }
        mover.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    }
}
