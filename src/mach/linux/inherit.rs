//! Objects that outlive the process of their pager, and their clients in other processes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use super::evict::LONGEST_RUN;
use super::host::LinuxHost;
use super::journal::{Journal, present};
use super::kill_point;
use super::memory::Memory;
use super::object::{LinuxObject, Phase};
use super::page_table::flag::{DIRTY, LENT, MARKED, PRECIOUS, RESIDENT, UNSAVED, WRITE_LOCKED, WRITING};
use super::share::ObjectShare;
use super::space::{Mapping, Space};
use super::spaces::Spaces;
use super::uffd::Uffd;
use super::view::ClientView;
use crate::mach::kernel::{KernelError, KernelNews, ObjectKernel, ObjectSpec};
use crate::object::{PageIndex, PageRange, PageSize};

fn failed(call: &'static str) -> impl Fn(io::Error) -> KernelError {
    move |source| KernelError::System { call, source }
}

/// What is left of an object when its pager's process dies: its pages, and what was known of them.
///
/// Whoever holds these two descriptors can let a successor take over.
#[derive(Debug)]
pub struct Lasting {
    memory: OwnedFd,
    journal: OwnedFd,
}

impl Lasting {
    /// An object of `length` bytes with no page in it yet.
    pub fn create(length: u64, page_size: PageSize) -> Result<Self, KernelError> {
        let make = || {
            let bytes = length.max(1).next_multiple_of(page_size.bytes());
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let memory = memfd_create("actor-pager:lasting", flags)?;
            ftruncate(&memory, bytes)?;
            // No client can cut the memory short and so have the pager die of SIGBUS.
            fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
            let journal = Journal::create(bytes >> page_size.shift(), page_size)?;
            Ok(Self { memory, journal })
        };
        make().map_err(failed("memfd_create"))
    }

    /// The object behind two descriptors that were kept.
    pub fn from_parts(memory: OwnedFd, journal: OwnedFd) -> Self {
        Self { memory, journal }
    }

    /// The memfd of the pages; clients map it.
    pub fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// The memfd of the journal; for pagers only.
    pub fn journal(&self) -> BorrowedFd<'_> {
        self.journal.as_fd()
    }
}

/// A client in another process, which has mapped the object and registered the mapping.
#[derive(Debug)]
pub struct RemoteClient {
    /// Which; never used twice.
    pub id: u64,
    /// Its userfaultfd.
    pub faults: OwnedFd,
    /// Where its mapping begins.
    pub address: u64,
    /// Bytes mapped.
    pub length: u64,
    /// The byte of the object that is mapped first.
    pub offset: u64,
}

#[derive(Debug)]
enum News {
    Came(RemoteClient),
    Gone(u64),
    Keeper(KernelNews),
}

#[derive(Debug, Default)]
struct Inbox {
    news: Mutex<Vec<News>>,
}

/// Tells an object which clients in other processes come and go; a clone is the same.
#[derive(Clone, Debug)]
pub struct RemoteClients {
    inbox: Arc<Inbox>,
    share: Arc<ObjectShare>,
}

impl RemoteClients {
    fn new(share: Arc<ObjectShare>) -> Self {
        let inbox = Arc::default();
        Self { inbox, share }
    }

    /// A client came: its faults are served from now on.
    pub fn came(&self, client: RemoteClient) {
        self.tell(News::Came(client));
    }

    /// A client is gone, its mapping with it.
    pub fn gone(&self, id: u64) {
        self.tell(News::Gone(id));
    }

    /// Whoever keeps the object for a successor is gone: the object goes on, and people are told.
    pub fn keeper_gone(&self) {
        self.tell(News::Keeper(KernelNews::KeeperGone));
    }

    fn tell(&self, news: News) {
        let inbox = self.inbox.news.lock();
        inbox.unwrap_or_else(PoisonError::into_inner).push(news);
        self.share.wake();
    }

    fn take(&self) -> Vec<News> {
        let inbox = self.inbox.news.lock();
        std::mem::take(&mut *inbox.unwrap_or_else(PoisonError::into_inner))
    }
}

impl LinuxHost {
    /// Makes the kernel's side of an object out of what is left of it; a new one has nothing in it.
    ///
    /// The object goes on where it was: what may be dirty is dirty, what was on its way to the store is
    /// returned again, and threads of `clients` that wait are asked for again. The process that was its
    /// pager before must have ended.
    pub fn inherit_object(
        &self,
        spec: &ObjectSpec,
        lasting: Lasting,
        clients: Vec<RemoteClient>,
    ) -> Result<(Box<dyn ObjectKernel>, RemoteClients), KernelError> {
        let length = self.check(spec)?;
        let uffd = self.shared.capabilities.open()?;
        let Lasting { memory, journal } = lasting;
        let memory = Memory::of(memory, length, true).map_err(failed("mmap of the object's memory"))?;
        let share = Arc::new(ObjectShare::new(spec));
        let spaces = Spaces::new(uffd, spec.page_size, length as u64, share.clone());
        let mut object = LinuxObject::new(self.shared.clone(), share.clone(), memory, spaces, spec);
        for client in clients {
            object.take_client(client);
        }
        self.shared.budget.join(&share);
        object.resume(&journal).map_err(failed("reading the journal"))?;
        let clients = RemoteClients::new(share);
        object.clients = Some(clients.clone());
        Ok((Box::new(object), clients))
    }
}

impl LinuxObject {
    /// Hears which clients came and went.
    pub(super) fn take_news(&mut self) {
        let Some(clients) = &self.clients else { return };
        for news in clients.take() {
            match news {
                News::Came(client) => {
                    self.take_client(client);
                    self.ensure_init();
                }
                News::Gone(id) => {
                    self.spaces.remove_client(id);
                    self.terminate_if_unused();
                }
                News::Keeper(news) => self.news.push_back(news),
            }
        }
    }

    fn take_client(&mut self, client: RemoteClient) {
        let RemoteClient {
            id,
            faults,
            address,
            length,
            offset,
        } = client;
        match Uffd::of_client(faults) {
            Ok(uffd) => {
                let mut space = Space::new(uffd, &self.share);
                space.client = Some(id);
                let view = ClientView::elsewhere(address as usize, length as usize);
                let shown = self.size.pages_around(offset, length).unwrap_or_default();
                let streams = self.host.streams(shown, self.size);
                space.add(Mapping {
                    id,
                    view,
                    offset,
                    streams,
                });
                self.spaces.add_space(space);
            }
            Err(error) => tracing::error!(client = id, %error, "what a client sent is no userfaultfd"),
        }
    }

    /// Goes on where the pager before was.
    fn resume(&mut self, journal_file: &OwnedFd) -> io::Result<()> {
        let journal = Journal::open(journal_file, self.pages.len(), self.size)?;
        let noted = journal.noted(journal_file)?;
        let there = present(self.memory.file(), self.pages, self.size)?;
        self.table.keep(journal);
        self.load(&noted, &there);
        kill_point::pass("loaded");
        self.drop_unknown(&there);
        self.protect_clean();
        let held = self.table.resident() << self.size.shift();
        self.host.budget.inherit(&self.share, held);
        if !noted.is_empty() || self.spaces.any_mapping() {
            self.phase = Phase::Ready;
            self.say_again();
        }
        let limit = self.host.budget.limit();
        self.evict(self.host.budget.used().saturating_sub(limit) >> self.size.shift());
        kill_point::pass("resumed");
        for (page, _) in noted.iter().filter(|(_, bits)| bits & MARKED != 0) {
            self.inherit_markers(*page);
        }
        self.spaces.wake_all();
        Ok(())
    }

    /// Believes the journal of the pages that are there.
    fn load(&mut self, noted: &[(PageIndex, u8)], there: &[PageRange]) {
        let mut runs = there.iter().peekable();
        for &(page, bits) in noted {
            while runs.next_if(|run| run.end() <= page).is_some() {}
            let found = runs.peek().is_some_and(|run| run.contains(page));
            // What was being written out may not have reached the store.
            let unsaved = if bits & WRITING != 0 { UNSAVED } else { 0 };
            let known = bits & (RESIDENT | DIRTY | PRECIOUS | WRITE_LOCKED | LENT | UNSAVED) | unsaved;
            let kept = if found && bits & (RESIDENT | LENT) != 0 {
                known
            } else {
                0
            };
            self.table.put(page, kept);
            if bits & MARKED != 0 {
                self.table.foretell(page, MARKED);
            }
            if kept & RESIDENT != 0 {
                self.policy_inserted(page);
            }
        }
    }

    /// Frees pages that are there, but were not complete or were given up.
    fn drop_unknown(&mut self, there: &[PageRange]) {
        for page in there.iter().flat_map(|run| run.iter()) {
            if self.table.get(page) == 0 {
                // They are not counted yet, so nothing is given back for them.
                self.host.budget.inherit(&self.share, self.size.bytes());
                self.free_page(page);
            }
        }
        self.fill_holes();
    }

    /// Writers of clean pages ask first, in every process.
    fn protect_clean(&mut self) {
        let kind = |bits: u8| (bits & RESIDENT != 0 && bits & DIRTY == 0).then_some(());
        let mut rest = self.pages;
        while let Some((run, ())) = self.table.first_run(rest, LONGEST_RUN, kind) {
            rest = PageRange::new(run.end(), rest.end());
            self.spaces.protect_everywhere(run);
        }
    }
}
