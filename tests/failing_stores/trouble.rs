//! A kernel around another that panics, refuses memory, or stops its pager's thread, when told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll};

use actor_pager::mach::{
    Call, Client, CopyClient, Kernel, KernelError, KernelHost, KernelNews, ObjectKernel, ObjectSpec,
    PageData, RawMapping, Residency, Touch, Upcall,
};
use actor_pager::object::{PageIndex, PageRange, Prot};

/// How many times each thing is to go wrong from now on.
#[derive(Default)]
pub(crate) struct Trouble {
    pub(crate) panic_in_poll: AtomicU64,
    pub(crate) panic_in_supply: AtomicU64,
    pub(crate) panic_in_lock_request: AtomicU64,
    pub(crate) panic_in_map: AtomicU64,
    pub(crate) refuse_supply: AtomicU64,
    pub(crate) stop_thread: AtomicU64,
}

impl Trouble {
    /// Nothing more is to go wrong.
    #[allow(dead_code, reason = "not every program that uses this module ends it")]
    pub(crate) fn end(&self) {
        let all = [
            &self.panic_in_poll,
            &self.panic_in_supply,
            &self.panic_in_lock_request,
            &self.panic_in_map,
            &self.refuse_supply,
            &self.stop_thread,
        ];
        all.into_iter().for_each(|times| times.store(0, SeqCst));
    }
}

/// Whether it is to happen now.
fn strikes(times: &AtomicU64) -> bool {
    times
        .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
        .is_ok()
}

fn may_panic(times: &AtomicU64) {
    if strikes(times) {
        std::panic::panic_any("injected panic of the pager");
    }
}

pub(crate) struct TroubledHost {
    inner: Arc<dyn KernelHost>,
    trouble: Arc<Trouble>,
}

impl TroubledHost {
    pub(crate) fn new(inner: Arc<dyn KernelHost>, trouble: Arc<Trouble>) -> Self {
        Self { inner, trouble }
    }
}

impl KernelHost for TroubledHost {
    fn create_object(&self, spec: ObjectSpec) -> Result<Box<dyn ObjectKernel>, KernelError> {
        Ok(Box::new(Troubled {
            inner: self.inner.create_object(spec)?,
            trouble: self.trouble.clone(),
        }))
    }

    fn unmap_orphan(&self, mapping: &RawMapping) {
        self.inner.unmap_orphan(mapping);
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

struct Troubled {
    inner: Box<dyn ObjectKernel>,
    trouble: Arc<Trouble>,
}

impl CopyClient for Troubled {}

impl Kernel for Troubled {
    fn call(&mut self, call: Call<'_>) -> Result<(), KernelError> {
        match call {
            Call::DataSupply { .. } => {
                may_panic(&self.trouble.panic_in_supply);
                if strikes(&self.trouble.refuse_supply) {
                    return Err(KernelError::System {
                        call: "UFFDIO_COPY",
                        source: std::io::Error::from(std::io::ErrorKind::OutOfMemory),
                    });
                }
            }
            Call::LockRequest { .. } => may_panic(&self.trouble.panic_in_lock_request),
            Call::Ready { .. }
            | Call::DataUnavailable { .. }
            | Call::DataError { .. }
            | Call::ChangeAttributes { .. }
            | Call::Destroy { .. } => {}
        }
        self.inner.call(call)
    }

    fn poll_upcalls(&mut self, cx: &mut Context<'_>, out: &mut Vec<Upcall>) -> Poll<()> {
        let polled = self.inner.poll_upcalls(cx, out);
        if !out.is_empty() {
            may_panic(&self.trouble.panic_in_poll);
        }
        if strikes(&self.trouble.stop_thread) {
            actix::Arbiter::current().stop();
        }
        polled
    }

    fn write_begins(&mut self, data: &PageData, range: PageRange) {
        self.inner.write_begins(data, range);
    }

    fn write_ended(&mut self, data: &PageData, range: PageRange) {
        self.inner.write_ended(data, range);
    }

    fn release(&mut self, data: &PageData, range: PageRange) {
        self.inner.release(data, range);
    }

    fn pin(&mut self, range: PageRange) {
        self.inner.pin(range);
    }

    fn unpin(&mut self, range: PageRange) {
        self.inner.unpin(range);
    }

    fn settle(&mut self) {
        self.inner.settle();
    }

    fn take_news(&mut self) -> Option<KernelNews> {
        self.inner.take_news()
    }

    fn reissue(&mut self) -> bool {
        self.inner.reissue()
    }
}

impl Client for Troubled {
    fn map(&mut self, range: PageRange, prot: Prot) -> Result<RawMapping, KernelError> {
        may_panic(&self.trouble.panic_in_map);
        self.inner.map(range, prot)
    }

    fn unmap(&mut self, mapping: &RawMapping) -> Result<(), KernelError> {
        self.inner.unmap(mapping)
    }

    fn touch(&mut self, range: PageRange, access: Prot) -> Touch {
        self.inner.touch(range, access)
    }

    fn copy_out(&mut self, offset: u64, into: &mut [u8]) -> Result<(), KernelError> {
        self.inner.copy_out(offset, into)
    }

    fn copy_in(&mut self, offset: u64, from: &[u8]) -> Result<(), KernelError> {
        self.inner.copy_in(offset, from)
    }

    fn heal(&mut self, page: PageIndex) {
        self.inner.heal(page);
    }

    fn residency(&self) -> Residency {
        self.inner.residency()
    }
}
