//! Reading the messages of the kernel, and keeping the table of mappings true to them.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::unix::AsyncFd;

use super::forks;
use super::message::Message;
use super::space::{Place, Space};
use super::spaces::{Fault, Spaces};
use super::uffd::Uffd;
use crate::object::PageSize;

/// How long to wait for an event that the kernel is about to send.
const EVENT_WAIT: Duration = Duration::from_millis(1);

impl Spaces {
    /// Reads all events that wait; if there is none yet, waits for one that must come now.
    pub(super) fn catch_up(&mut self) {
        self.count(|stats| &stats.retries);
        let mut read = false;
        for at in 0..self.list.len() {
            read |= self.read(at as u32) > 0;
        }
        if !read {
            let descriptors: Vec<_> = self.descriptors().cloned().collect();
            let mut fds: Vec<_> = descriptors
                .iter()
                .map(|watch| PollFd::new(watch.uffd(), PollFlags::IN))
                .collect();
            let wait = Timespec {
                tv_sec: 0,
                tv_nsec: EVENT_WAIT.as_nanos() as _,
            };
            // Nothing hangs on the result: the ioctl is tried again in any case.
            let _ = poll(&mut fds, Some(&wait));
            // A client that unmaps several objects in one call waits for one after the other.
            forks::read_for_all();
        }
    }

    /// Reads what waits in one address space; says how many messages there were.
    fn read(&mut self, at: u32) -> usize {
        let mut messages = std::mem::take(&mut self.scratch);
        let mut count = 0;
        // No more than one fault of each thread, as none is resolved meanwhile. A read that brings fewer
        // messages than it could is the last: for what comes after it the descriptor is ready anew.
        loop {
            messages.clear();
            let Some(space) = self.space(at) else { break };
            let more = forks::read(&space.uffd, &mut messages);
            count += messages.len();
            for message in &messages {
                self.take(at, *message);
            }
            if !more {
                break;
            }
        }
        self.scratch = messages;
        count
    }

    /// Reads what waits where the last fault came from; says how many messages there were.
    pub(super) fn look(&mut self) -> usize {
        self.read(self.latest)
    }

    /// Reads every event, so that the table is that of now.
    pub(super) fn refresh(&mut self) {
        for at in 0..self.list.len() {
            self.read(at as u32);
        }
    }

    fn take(&mut self, at: u32, message: Message) {
        match message {
            Message::Fault {
                address,
                write,
                protected,
            } => self.fault(at, address, write, protected),
            Message::Fork(fd) => self.forked(at, Uffd::of_child(fd)),
            Message::Remap { from, to, length } => {
                self.changed(at, from, length, |space| space.moved(from, to, length))
            }
            Message::Unmap { start, end } => {
                self.note_lost(at, start, end);
                self.changed(at, start, end - start, |space| space.unmapped(start, end));
            }
            Message::Other => {}
        }
    }

    fn note_lost(&mut self, at: u32, start: usize, end: usize) {
        let size = self.size;
        if !self.unseen {
            return;
        }
        if let Some(Some(space)) = self.list.get(at as usize) {
            let shown = space.mappings().filter_map(|mapping| mapping.between(start, end));
            let pages = shown.filter_map(|(offset, length)| size.pages_around(offset, length).ok());
            self.lost.extend(pages);
        }
    }

    fn fault(&mut self, at: u32, address: usize, write: bool, protected: bool) {
        self.latest = at;
        let Some(space) = self.space(at) else { return };
        match space.find(address) {
            Some((mapping, offset)) => self.inbox.push(Fault {
                place: Place { space: at, mapping },
                page: self.size.page_of(offset),
                write,
                protected,
            }),
            None => self.strays.push((at, address)),
        }
    }

    fn forked(&mut self, at: u32, uffd: Uffd) {
        let Some(child) = self.space(at).map(|space| space.child(uffd, &self.share)) else {
            return;
        };
        self.sweep();
        self.count(|stats| &stats.forks);
        self.add_space(child);
    }

    fn changed(&mut self, at: u32, start: usize, length: usize, change: impl FnOnce(&mut Space)) {
        let Some(Some(space)) = self.list.get_mut(at as usize) else {
            return;
        };
        change(space);
        // Whoever still waits at the old addresses must see that they are gone.
        space.uffd.wake(start, length);
        self.changes += 1;
        self.count(|stats| &stats.remaps);
    }

    /// Faults at unknown addresses, after all events were read: the mapping grew, or it is none of ours.
    fn settle_strays(&mut self) {
        let strays = std::mem::take(&mut self.strays);
        for (at, address) in strays {
            let (size, length) = (self.size, self.length);
            let Some(Some(space)) = self.list.get_mut(at as usize) else {
                continue;
            };
            let page = address & !(PageSize::KIB_4.bytes() as usize - 1);
            let found = space.find(address).is_some() || space.find_grown(address, size, length).is_some();
            if found {
                // The thread faults again, and is then found.
                space.uffd.wake(page, PageSize::KIB_4.bytes() as usize);
            } else {
                tracing::warn!(address = page, "fault outside the object: the thread gets SIGBUS");
                let progress = space.uffd.poison(page, PageSize::KIB_4.bytes() as usize);
                if progress.stop.is_some() {
                    space.uffd.wake(page, PageSize::KIB_4.bytes() as usize);
                }
            }
        }
    }

    /// True if something was read outside of a poll that only a poll can settle: a fault at an unknown
    /// address, or a new address space to be watched.
    pub(super) fn needs_poll(&self) -> bool {
        !self.strays.is_empty() || self.list.iter().flatten().any(|space| space.watch.is_none())
    }

    /// Reads what is ready, and registers the waker for more. True if there may be more now.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let mut more = false;
        if forks::pending() {
            self.refresh();
        }
        let mut at = 0;
        // A fork makes the list longer while it is walked.
        while at < self.list.len() {
            more |= self.poll_space(at as u32, cx);
            at += 1;
        }
        self.settle_strays();
        more || (self.needs_poll() && tokio::runtime::Handle::try_current().is_ok())
    }

    fn poll_space(&mut self, at: u32, cx: &mut Context<'_>) -> bool {
        for _ in 0..2 {
            let Some(Some(space)) = self.list.get_mut(at as usize) else {
                return false;
            };
            let Some(watch) = watch(space) else { return false };
            match watch.poll_read_ready(cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(mut ready)) => {
                    // Cleared before the read: whatever comes after the read sets it again.
                    ready.clear_ready();
                    drop(ready);
                    self.read(at);
                }
                // The runtime that watched is gone; the next poll begins anew.
                Poll::Ready(Err(_)) => {
                    space.watch = None;
                    return true;
                }
            }
        }
        true
    }
}

fn watch(space: &mut Space) -> Option<&AsyncFd<Arc<Uffd>>> {
    if space.watch.is_none() {
        if tokio::runtime::Handle::try_current().is_err() {
            tracing::error!("the Linux kernel must be polled within a tokio runtime");
            return None;
        }
        match space.uffd.clone().watch() {
            Ok(watch) => space.watch = Some(watch),
            Err(error) => tracing::error!(%error, "cannot watch a userfaultfd"),
        }
    }
    space.watch.as_ref()
}
