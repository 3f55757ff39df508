//! A pager that answers by hand.

use std::task::{Context, Waker};

use actor_pager::mach::eviction::Share;
use actor_pager::mach::{Call, KernelHost, ObjectKernel, ObjectSpec, PageSlice, Touch, Upcall};
use actor_pager::object::{
    CopyStrategy, PageError, PageIndex, PageRange, PageSize, PortName, Prot, ShouldReturn,
};

pub(crate) const PAGE: u64 = 4096;
const PAGES: u64 = 64;

/// One object, used through copies that never fault, and its pager.
pub(crate) struct Hand {
    pub(crate) kernel: Box<dyn ObjectKernel>,
    pub(crate) control: PortName,
}

pub(crate) fn pages(start: u64, count: u64) -> PageRange {
    PageRange::with_len(PageIndex(start), count)
}

impl Hand {
    /// An object that was initialised; the pager has not said that it is ready.
    pub(crate) fn initialised(host: &dyn KernelHost) -> Self {
        let spec = ObjectSpec {
            name: "contract".into(),
            length: PAGES * PAGE,
            page_size: PageSize::KIB_4,
            notify_on_evict: false,
            memory_deadline: std::time::Duration::from_secs(60),
            share: Share::default(),
        };
        let kernel = host.create_object(spec).unwrap();
        let mut hand = Self {
            kernel,
            control: PortName::NULL,
        };
        assert_eq!(
            hand.touch(0, Prot::READ),
            Touch::Pending,
            "a fault waits for the pager"
        );
        let upcalls = hand.hear();
        let [
            Upcall::Init {
                control,
                page_size: PAGE,
                ..
            },
        ] = upcalls[..]
        else {
            panic!("the first use brings one init and nothing else, not {upcalls:?}");
        };
        hand.control = control;
        hand
    }

    pub(crate) fn ready(host: &dyn KernelHost) -> Self {
        let mut hand = Self::initialised(host);
        let (control, copy_strategy) = (hand.control, CopyStrategy::None);
        hand.kernel
            .call(Call::Ready {
                control,
                may_cache: false,
                copy_strategy,
            })
            .unwrap();
        hand.hear();
        hand
    }

    pub(crate) fn touch(&mut self, page: u64, access: Prot) -> Touch {
        self.kernel.touch(pages(page, 1), access)
    }

    /// Everything that the kernel has to say.
    pub(crate) fn hear(&mut self) -> Vec<Upcall> {
        let mut upcalls = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        while self.kernel.poll_upcalls(&mut context, &mut upcalls).is_ready() {}
        upcalls
    }

    pub(crate) fn supply(&mut self, start: u64, bytes: &[u8], lock: Prot, precious: bool) {
        let range = pages(start, bytes.len() as u64 / PAGE);
        let (control, pages) = (self.control, PageSlice::Bytes(bytes));
        let call = Call::DataSupply {
            control,
            range,
            pages,
            lock,
            precious,
            reply: false,
        };
        self.kernel.call(call).unwrap();
    }

    /// Supplies a page full of `value`, asked for or not.
    pub(crate) fn fill(&mut self, page: u64, value: u8) {
        let _ = self.touch(page, Prot::READ);
        self.supply(page, &[value; PAGE as usize], Prot::NONE, false);
        self.hear();
    }

    pub(crate) fn store(&mut self, page: u64, value: u8) {
        assert_eq!(self.touch(page, Prot::READ_WRITE), Touch::Ready);
        self.kernel.copy_in(page * PAGE, &[value]).unwrap();
    }

    pub(crate) fn load(&mut self, page: u64) -> u8 {
        assert_eq!(self.touch(page, Prot::READ), Touch::Ready);
        let mut byte = [0];
        self.kernel.copy_out(page * PAGE, &mut byte).unwrap();
        byte[0]
    }

    pub(crate) fn fail(&mut self, page: u64, error: PageError) {
        let (control, offset) = (self.control, page * PAGE);
        self.kernel
            .call(Call::DataError {
                control,
                offset,
                length: PAGE,
                error,
            })
            .unwrap();
    }

    pub(crate) fn lock(
        &mut self,
        range: PageRange,
        should_return: ShouldReturn,
        should_flush: bool,
        lock: Prot,
    ) {
        let (control, offset, length) = (self.control, range.start().0 * PAGE, range.len() * PAGE);
        let call = Call::LockRequest {
            control,
            offset,
            length,
            should_return,
            should_flush,
            lock,
            reply: true,
        };
        self.kernel.call(call).unwrap();
    }
}
