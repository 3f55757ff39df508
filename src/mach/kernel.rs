//! The seam to whatever plays the kernel: one trait for the protocol, one for the clients' side.

use std::task::{Context, Poll};
use std::time::Duration;

use super::copies::CopyClient;
use super::eviction::Share;
use super::message::{Call, PageData, Upcall};
use super::stats::StatsSnapshot;
use super::stream::Advice;
use crate::object::{CopyStrategy, PageError, PageIndex, PageRange, PageSize, PortName, Prot};

/// What a kernel is told when an object is made.
#[derive(Clone, Debug)]
pub struct ObjectSpec {
    /// For logs.
    pub name: String,
    /// The length of the object in bytes.
    pub length: u64,
    /// The size of its pages.
    pub page_size: PageSize,
    /// Give every clean page back, too, so that evictions can be told (`notify_on_evict`).
    pub notify_on_evict: bool,
    /// How long a thread waits for memory for its page, where the system has none, before it gets EIO.
    pub memory_deadline: Duration,
    /// The object's claim on bounded memory; the floor is in pages of the object.
    pub share: Share,
}

/// What a kernel has to tell people, beside the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelNews {
    /// The system has no memory for pages: some are given up, and whoever needs one waits meanwhile.
    MemoryShort,
    /// Memory was not refused for a while.
    MemoryBack,
    /// The keeper of the object is gone: nobody can take over if this process dies.
    KeeperGone,
}

/// A kernel that objects can be made in; one per bucket, shared by its threads.
pub trait KernelHost: Send + Sync + 'static {
    /// Makes the kernel's side of one object.
    fn create_object(&self, spec: ObjectSpec) -> Result<Box<dyn ObjectKernel>, KernelError>;

    /// Takes a mapping down whose object is gone already; with an object there is [`Client::unmap`].
    ///
    /// Until then accesses to it fail with SIGBUS.
    fn unmap_orphan(&self, _mapping: &RawMapping) {}

    /// Changes the bound on the resident bytes of all objects together; none means as much as there is.
    ///
    /// Returns at once. Nothing more is brought in until what is resident has come under a lower bound:
    /// clean pages go first, dirty ones when they are written.
    fn set_resident_limit(&self, _bytes: Option<u64>) -> Result<(), KernelError> {
        Err(KernelError::Unsupported {
            what: "the bound of this kernel cannot be changed".to_owned(),
            remedy: "make the kernel with the bound that it is to have".to_owned(),
        })
    }

    /// Lets only so many thousandths of the bound be used while memory is scarce; 1000 grants all of it.
    fn grant_memory(&self, _thousandths: u32) {}

    /// The bound on resident bytes that holds now; none where there is none.
    fn resident_limit(&self) -> Option<u64> {
        None
    }

    /// What this kernel can do, for messages to people.
    fn describe(&self) -> String;

    /// What this kernel has done so far, over all objects; zeros where it does not count.
    fn stats(&self) -> StatsSnapshot {
        StatsSnapshot::default()
    }
}

/// The protocol: calls go in, upcalls come out. Nothing here blocks.
pub trait Kernel: Send {
    /// Carries a call out. An error means that the kernel could not do it now or ever; the object
    /// is then in the state it was in before.
    fn call(&mut self, call: Call<'_>) -> Result<(), KernelError>;

    /// Takes what the kernel has to say since the last time, or the first part of it; appends to `out`.
    ///
    /// `Pending` if there was nothing. Whatever the result, the waker is called when there is more.
    fn poll_upcalls(&mut self, cx: &mut Context<'_>, out: &mut Vec<Upcall>) -> Poll<()>;

    /// Looks for news before the waker is called, which takes longer; says how much there is. It comes with
    /// the next `poll_upcalls`.
    fn look(&mut self) -> usize {
        0
    }

    /// Pages that were returned are about to be written to the store: hold them still.
    fn write_begins(&mut self, _data: &PageData, _range: PageRange) {}

    /// The write is over, well or not: writers may go on.
    fn write_ended(&mut self, _data: &PageData, _range: PageRange) {}

    /// A write of these pages was given up, but its call may still read them: their memory must stay what
    /// it is, or hold a newer version of the pages, until they are unpinned as often as they were pinned.
    fn pin(&mut self, _range: PageRange) {}

    /// That call has returned.
    fn unpin(&mut self, _range: PageRange) {}

    /// Returned pages are needed no more (`vm_deallocate`).
    fn release(&mut self, _data: &PageData, _range: PageRange) {}

    /// A turn of the pager is over, and those who waited are about to be told: what was put off so as to
    /// be done together is done now.
    fn settle(&mut self) {}

    /// What people should hear, if there is anything new.
    fn take_news(&mut self) -> Option<KernelNews> {
        None
    }

    /// A pager that knows nothing takes the place of the one before: says everything again.
    ///
    /// What was asked of the pager and what was returned to it is forgotten. If the object is in use,
    /// `Init` comes with a new control port (the old one is not known any more), then returns of the
    /// pages that were neither released nor given back, and after `Ready` the requests that threads
    /// still wait for. Pages of which the kernel kept a copy are dirty again instead. Errors not yet
    /// seen stay. Whatever watches descriptors is made anew by the next `poll_upcalls`, which may be in
    /// another runtime.
    ///
    /// True if `Init` comes: until then, the pager in its place must not take the object for unused.
    fn reissue(&mut self) -> bool;
}

/// The clients' side of an object: mappings, and copies that never fault.
pub trait Client {
    /// Maps pages of the object (`vm_map`); sends `Init` the first time.
    fn map(&mut self, range: PageRange, prot: Prot) -> Result<RawMapping, KernelError>;

    /// Takes a mapping down again (`vm_deallocate`); the last one may bring `Terminate`.
    fn unmap(&mut self, mapping: &RawMapping) -> Result<(), KernelError>;

    /// Asks for pages to be there for `access`, as a fault would, without stopping anybody.
    ///
    /// All of the range must be there at the same time: ask for few pages where memory is bounded.
    /// When it says `Pending`, ask again after the next calls have been carried out.
    fn touch(&mut self, range: PageRange, access: Prot) -> Touch;

    /// Copies out of pages that `touch` has just found ready. Lengths are bytes.
    fn copy_out(&mut self, offset: u64, into: &mut [u8]) -> Result<(), KernelError>;

    /// Copies into pages that `touch` has just found ready for writing, and makes them dirty.
    fn copy_in(&mut self, offset: u64, from: &[u8]) -> Result<(), KernelError>;

    /// Forgets the error of a page, so that the next thread that touches it asks the pager again.
    fn heal(&mut self, _page: PageIndex) {}

    /// Takes advice about the accesses to come (`madvise`). `WillNeed` and `Populate` ask for what fits
    /// without anybody's waiting for it, `DontNeed` gives pages up.
    fn advise(&mut self, _range: PageRange, _advice: Advice) {}

    /// How much of the object the kernel holds.
    fn residency(&self) -> Residency;
}

/// Both sides of an object's kernel.
pub trait ObjectKernel: Kernel + Client + CopyClient {}

impl<T: Kernel + Client + CopyClient> ObjectKernel for T {}

/// How far a [`Client::touch`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Every page of the range is there; copy before the next call.
    Ready,
    /// Pages are on their way.
    Pending,
    /// This page cannot be had; those before it are there.
    Failed {
        /// The first page that cannot be had.
        page: PageIndex,
        /// The reason.
        error: PageError,
    },
}

/// A mapping in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawMapping {
    /// Which, among the mappings of its object.
    pub id: u64,
    /// Address of its first byte; 0 where the kernel has no addresses (simulated).
    pub address: usize,
    /// Bytes.
    pub length: usize,
    /// The pages it shows.
    pub range: PageRange,
}

/// How much of an object the kernel holds, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residency {
    /// In the cache, whatever their state.
    pub resident: u64,
    /// Of those, written to and not yet in the store.
    pub dirty: u64,
}

/// Why a kernel could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The kernel lacks something that is needed.
    #[error("{what}; {remedy}")]
    Unsupported {
        /// What is missing.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// The control port is not that of this object's kernel.
    #[error("control port {0:?} is not known")]
    UnknownControl(PortName),
    /// An argument makes no sense to the kernel.
    #[error("the kernel refuses the arguments of {call}")]
    BadArgument {
        /// The call.
        call: &'static str,
    },
    /// A system call failed.
    #[error("{call} failed")]
    System {
        /// The system call.
        call: &'static str,
        /// Its error.
        source: std::io::Error,
    },
    /// The copy strategy leaves the copy to the pager (`memory_object_copy`), and the pager makes none.
    #[error(
        "an object with the copy strategy {0:?} is copied by its pager, and this pager makes no copies; change the strategy to Delay or None"
    )]
    CopyStrategy(CopyStrategy),
    /// The object is gone.
    #[error("the memory object is gone")]
    Gone,
}
