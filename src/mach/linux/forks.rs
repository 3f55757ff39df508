//! Forks: somebody must read the fork event who needs no memory.
//!
//! A thread that forks holds the locks of the C library's allocator until the kernel has copied the
//! address space, and the kernel goes on only when the fork event of each userfaultfd was read. A pager
//! that allocates just then waits for the forking thread, which waits for the pager. So for the time of
//! a fork a thread of its own, which never allocates, reads the messages of every userfaultfd and keeps
//! them until the pagers take them.
//!
//! Order is kept: whoever reads a userfaultfd holds its lock until the messages are where they belong.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, Timespec, eventfd};

use super::descriptors::{self, Change};
use super::message::{BATCH, Batch, Message};
use super::share::ObjectShare;
use super::uffd::{Open, Uffd, close_child};

/// Messages that can be kept during a fork: more than threads will wait in a fault at that time.
const KEPT: usize = 16 * 1024;
/// Between two looks at the userfaultfds during a fork.
const PAUSE: Duration = Duration::from_micros(30);

/// Forks under way in this process.
static FORKS: AtomicUsize = AtomicUsize::new(0);
/// Where the watching thread waits for a fork; -1 where there is none.
static BELL: AtomicI32 = AtomicI32::new(-1);
static WATCHER: OnceLock<Option<Watcher>> = OnceLock::new();

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A userfaultfd that is watched during forks.
#[derive(Debug)]
struct Watched {
    open: Arc<Open>,
    share: Arc<ObjectShare>,
}

#[derive(Debug)]
struct Watcher {
    watched: Mutex<Vec<Watched>>,
    /// By the address of what is open, in the order in which they were read.
    kept: Mutex<VecDeque<(usize, Message)>>,
    /// How many are kept.
    count: AtomicUsize,
}

fn key(open: &Open) -> usize {
    std::ptr::from_ref(open).addr()
}

fn start() -> io::Result<Watcher> {
    let bell = eventfd(0, EventfdFlags::CLOEXEC)?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&bell);
    let (ready, begun) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name("actor-pager-forks".to_owned())
        .spawn(move || {
            // Nobody listens any more where the hooks cannot be installed.
            let _ = ready.send(());
            drop(ready);
            watch(&bell);
        })?;
    // A thread that begins allocates: it must have done so before it is needed.
    begun.recv().map_err(|_| io::ErrorKind::Other)?;
    BELL.store(number, SeqCst);
    hooks::install()?;
    Ok(Watcher {
        watched: Mutex::default(),
        kept: Mutex::new(VecDeque::with_capacity(KEPT)),
        count: AtomicUsize::new(0),
    })
}

/// Begins to watch for forks; true if that can be done here: then children may keep their mappings.
pub(super) fn can_watch() -> bool {
    WATCHER.get_or_init(|| start().ok()).is_some()
}

/// A userfaultfd that is watched during forks, until it is closed.
#[derive(Debug)]
pub(super) struct Watch {
    uffd: Arc<Uffd>,
}

impl Watch {
    pub(super) fn new(uffd: Arc<Uffd>, share: &Arc<ObjectShare>) -> Self {
        if let Some(watcher) = WATCHER.get().and_then(Option::as_ref) {
            let (open, share) = (uffd.open_file().clone(), share.clone());
            watcher.add(Watched { open, share });
        }
        Self { uffd }
    }

    pub(super) fn uffd(&self) -> &Arc<Uffd> {
        &self.uffd
    }
}

/// A userfaultfd is about to be closed, and not watched any more: not before, as a fork that began in
/// between would wait for a reader for ever. No fork begins until the value is dropped.
pub(super) fn close(open: &Arc<Open>) -> Change {
    let change = change();
    if let Some(watcher) = WATCHER.get().and_then(Option::as_ref) {
        watcher.remove(open);
    }
    change
}

/// True if messages may have been read that their pagers have not seen.
pub(super) fn pending() -> bool {
    let watcher = WATCHER.get().and_then(Option::as_ref);
    watcher.is_some_and(|watcher| FORKS.load(SeqCst) > 0 || watcher.count.load(SeqCst) > 0)
}

fn fork_under_way() -> bool {
    FORKS.load(SeqCst) > 0
}

fn pause() {
    let pause = Timespec {
        tv_sec: 0,
        tv_nsec: PAUSE.as_nanos() as _,
    };
    let _ = rustix::thread::nanosleep(&pause);
}

/// No fork begins while a userfaultfd comes or goes.
pub(super) fn change() -> Change {
    Change::begin(fork_under_way, pause)
}

/// Reads the messages of every userfaultfd of the process on behalf of their pagers.
///
/// A call that unmaps parts of several objects raises an event for each of them, one after the other;
/// a pager that waits for its own would otherwise keep the thread that it shares with others from
/// reading theirs.
pub(super) fn read_for_all() {
    if let Some(watcher) = WATCHER.get().and_then(Option::as_ref) {
        watcher.keep_all(|| true);
        watcher.call_owners();
    }
}

/// Reads the messages of a userfaultfd, those kept for it first; true if there may be more.
pub(super) fn read(uffd: &Uffd, out: &mut Vec<Message>) -> bool {
    // Nothing is allocated while the lock is held: the watching thread needs it.
    out.reserve(BATCH);
    let before = out.len();
    let open = uffd.open_file();
    let held = open.reading();
    if let Some(watcher) = WATCHER.get().and_then(Option::as_ref)
        && watcher.count.load(SeqCst) > 0
    {
        watcher.take(open, out);
        if out.len() > before {
            return true;
        }
    }
    let batch = Batch::read(open);
    drop(held);
    batch.is_ok_and(|batch| {
        out.extend(batch.iter());
        batch.is_full()
    })
}

impl Watcher {
    fn add(&self, watched: Watched) {
        let mut spare = Vec::new();
        loop {
            let mut list = lock(&self.watched);
            if list.len() < list.capacity() {
                list.push(watched);
                break;
            }
            if spare.capacity() > list.len() {
                // Memory is got before and given back after the lock, which the watching thread needs.
                spare.append(&mut list);
                std::mem::swap(&mut *list, &mut spare);
                continue;
            }
            let wanted = list.len() * 2 + 16;
            drop(list);
            spare = Vec::with_capacity(wanted);
        }
    }

    fn remove(&self, open: &Arc<Open>) {
        let mut list = lock(&self.watched);
        let found = list.iter().position(|watched| Arc::ptr_eq(&watched.open, open));
        let gone = found.map(|at| list.swap_remove(at));
        drop(list);
        drop(gone);
        // Nobody asks any more for what was kept of it.
        while let Some(child) = self.orphan(key(open)) {
            close_child(child);
        }
        self.keep_where(|owner, _| owner != key(open));
    }

    /// A child's descriptor that was kept for an owner who is gone; it is taken out.
    fn orphan(&self, gone: usize) -> Option<RawFd> {
        let mut orphan = None;
        self.keep_where(|owner, message| {
            if let Message::Fork(fd) = message
                && owner == gone
                && orphan.is_none()
            {
                orphan = Some(fd);
                return false;
            }
            true
        });
        orphan
    }

    fn keep_where(&self, mut keep: impl FnMut(usize, Message) -> bool) {
        let mut kept = lock(&self.kept);
        kept.retain(|&(owner, message)| keep(owner, message));
        self.count.store(kept.len(), SeqCst);
    }

    /// Takes the messages kept for a userfaultfd, as many as fit without allocating.
    fn take(&self, open: &Open, out: &mut Vec<Message>) {
        self.keep_where(|owner, message| {
            let mine = owner == key(open) && out.len() < out.capacity();
            if mine {
                out.push(message);
            }
            !mine
        });
    }

    /// Reads every userfaultfd as long as `wanted`. Allocates nothing.
    fn keep_all(&self, wanted: impl Fn() -> bool) {
        let list = lock(&self.watched);
        for watched in list.iter() {
            let _held = watched.open.reading();
            if !wanted() || KEPT - lock(&self.kept).len() < BATCH {
                return;
            }
            let Ok(batch) = Batch::read(&*watched.open) else {
                continue;
            };
            let mut kept = lock(&self.kept);
            kept.extend(batch.iter().map(|message| (key(&watched.open), message)));
            self.count.store(kept.len(), SeqCst);
        }
    }

    /// Calls the pagers, if messages are kept. For the thread that has forked.
    fn call_owners(&self) {
        let mut owners: Vec<Arc<ObjectShare>> = Vec::new();
        loop {
            // With the lock, the watching thread is known to be between two looks.
            let list = lock(&self.watched);
            if self.count.load(SeqCst) == 0 {
                return;
            }
            if owners.capacity() >= list.len() {
                owners.extend(list.iter().map(|watched| watched.share.clone()));
                break;
            }
            let wanted = list.len();
            drop(list);
            owners = Vec::with_capacity(wanted);
        }
        owners.iter().for_each(|share| share.wake());
    }
}

fn watch(bell: &OwnedFd) {
    let mut rings = [0; 8];
    loop {
        // An interrupted read is as good as a ring: there is nothing to do then.
        let _ = rustix::io::read(bell.as_fd(), &mut rings);
        while FORKS.load(SeqCst) > 0 {
            if let Some(watcher) = WATCHER.get().and_then(Option::as_ref) {
                watcher.keep_all(fork_under_way);
            }
            pause();
        }
    }
}

/// What the C library calls around a fork.
mod hooks {
    use std::ffi::c_int;
    use std::io;
    use std::mem::ManuallyDrop;
    use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

    use rustix::io::DupFlags;

    use super::{BELL, FORKS, SeqCst, WATCHER, descriptors, pause};

    unsafe extern "C" {
        fn pthread_atfork(
            prepare: Option<extern "C" fn()>,
            parent: Option<extern "C" fn()>,
            child: Option<extern "C" fn()>,
        ) -> c_int;
    }

    extern "C" fn prepare() {
        let bell = BELL.load(SeqCst);
        if bell < 0 {
            return;
        }
        FORKS.fetch_add(1, SeqCst);
        // SAFETY: the watching thread never ends and keeps the descriptor open for ever.
        let bell = unsafe { BorrowedFd::borrow_raw(bell) };
        let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
        while descriptors::are_changing() {
            pause();
        }
    }

    extern "C" fn parent() {
        if BELL.load(SeqCst) < 0 {
            return;
        }
        FORKS.fetch_sub(1, SeqCst);
        if let Some(watcher) = WATCHER.get().and_then(Option::as_ref) {
            watcher.call_owners();
        }
    }

    extern "C" fn child() {
        // The watching thread is not in the child, and its locks may be held for ever there. The child's
        // own forks are the business of this process, its parent.
        let bell = BELL.swap(-1, SeqCst);
        FORKS.store(0, SeqCst);
        descriptors::take_all(|fd| give_up(fd, bell));
    }

    /// Puts the bell, which nobody listens to here, in the place of a userfaultfd: the number stays taken.
    fn give_up(fd: RawFd, bell: RawFd) {
        if bell < 0 {
            return;
        }
        // SAFETY: the bell is open in the parent for ever, and so here.
        let bell = unsafe { BorrowedFd::borrow_raw(bell) };
        // SAFETY: the number is that of a descriptor of this library, which is open and which nothing in a
        // child uses; the value is not dropped, so that whoever owns the number goes on owning it.
        let mut copy = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(fd) });
        let _ = rustix::io::dup3(bell, &mut copy, DupFlags::CLOEXEC);
    }

    pub(super) fn install() -> io::Result<()> {
        // SAFETY: the functions live for ever, and only touch atomics and descriptors.
        match unsafe { pthread_atfork(Some(prepare), Some(parent), Some(child)) } {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}
