//! A tiny pager over the Linux kernel: one thread that polls upcalls and answers from memory.
#![cfg(target_os = "linux")]
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside of the functions that clippy knows as tests"
)]

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actor_pager::mach::eviction::Share;
use actor_pager::mach::linux::{LinuxHost, LinuxOptions};
use actor_pager::mach::{
    Call, KernelError, KernelHost, ObjectKernel, ObjectSpec, PageData, PageSlice, RawMapping, Touch, Upcall,
};
use actor_pager::object::{
    CopyStrategy, PageError, PageIndex, PageRange, PageSize, PortName, Prot, ShouldReturn,
};

pub(crate) const PAGE: usize = 4096;

type Command = Box<dyn FnOnce(&mut Server) + Send>;

/// What the pager's store and answers are; shared with the test.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) bytes: Vec<u8>,
    /// Reads of these pages fail.
    pub(crate) bad: HashSet<u64>,
    /// These pages are supplied write-locked.
    pub(crate) locked: HashSet<u64>,
    /// Unlock requests are refused.
    pub(crate) refuse_unlock: bool,
    /// Returned pages are supplied again instead of released, if they are asked for meanwhile.
    pub(crate) hold_returns: bool,
    pub(crate) log: Vec<String>,
}

/// The pager's thread.
pub(crate) struct Server {
    pub(crate) kernel: Box<dyn ObjectKernel>,
    pub(crate) control: PortName,
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) size: PageSize,
    /// Returns that were not released yet, where the test wants so.
    pub(crate) held: Vec<PageData>,
    pub(crate) completed: u64,
    /// Requests are counted, not answered.
    pub(crate) deaf: bool,
    pub(crate) unheard: u64,
}

/// A running pager.
pub(crate) struct Pager {
    commands: tokio::sync::mpsc::UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) size: PageSize,
}

/// The host for tests; `None` (and a line that says so) where this machine cannot do it.
pub(crate) fn host(options: LinuxOptions) -> Option<LinuxHost> {
    match LinuxHost::new(options) {
        Ok(host) => Some(host),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

/// Byte `at` of the default contents.
pub(crate) fn pattern(at: usize) -> u8 {
    (at / 8 * 31 + at % 8 * 7 + at / PAGE * 13) as u8
}

impl Pager {
    pub(crate) fn new(host: &LinuxHost, length: usize) -> Self {
        let bytes = (0..length).map(pattern).collect();
        Self::with(host, length as u64, PageSize::KIB_4, bytes)
    }

    /// Pages beyond `bytes` read as zeros.
    pub(crate) fn with(host: &LinuxHost, length: u64, size: PageSize, bytes: Vec<u8>) -> Self {
        Self::with_spec(host, spec(length, size), bytes)
    }

    pub(crate) fn with_spec(host: &LinuxHost, spec: ObjectSpec, bytes: Vec<u8>) -> Self {
        let size = spec.page_size;
        let kernel = host.create_object(spec).unwrap();
        let store = Arc::new(Mutex::new(Store {
            bytes,
            ..Store::default()
        }));
        let (commands, inbox) = tokio::sync::mpsc::unbounded_channel();
        let server = Server {
            kernel,
            control: PortName::NULL,
            store: store.clone(),
            size,
            held: Vec::new(),
            completed: 0,
            deaf: false,
            unheard: 0,
        };
        let thread = std::thread::spawn(move || serve(server, inbox));
        Self {
            commands,
            thread: Some(thread),
            store,
            size,
        }
    }

    /// Runs something on the pager's thread.
    pub(crate) fn with_server<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Server) -> T + Send + 'static,
    ) -> T {
        let (answer, receive) = mpsc::sync_channel(1);
        let command = Box::new(move |server: &mut Server| {
            answer.send(f(server)).unwrap();
        });
        self.commands.send(command).ok().unwrap();
        receive.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    pub(crate) fn map(&self, prot: Prot) -> RawMapping {
        let pages = self.with_server(|server| server.pages());
        self.map_range(pages, prot)
    }

    pub(crate) fn map_range(&self, range: PageRange, prot: Prot) -> RawMapping {
        self.with_server(move |server| server.kernel.map(range, prot).unwrap())
    }

    pub(crate) fn unmap(&self, mapping: RawMapping) {
        self.with_server(move |server| server.kernel.unmap(&mapping).unwrap());
    }

    pub(crate) fn lock_request(
        &self,
        range: PageRange,
        should_return: ShouldReturn,
        flush: bool,
        lock: Prot,
    ) {
        let size = self.size;
        let before = self.with_server(move |server| {
            let before = server.completed;
            server
                .kernel
                .call(Call::LockRequest {
                    control: server.control,
                    offset: range.offset(size),
                    length: range.bytes(size),
                    should_return,
                    should_flush: flush,
                    lock,
                    reply: true,
                })
                .unwrap();
            before
        });
        self.wait_until("lock completed", move |server| server.completed > before);
    }

    pub(crate) fn sync(&self) {
        let all = self.with_server(|server| server.pages());
        self.lock_request(all, ShouldReturn::All, false, Prot::NO_CHANGE);
    }

    /// Asks the pager's thread again and again until something is so.
    pub(crate) fn wait_until(
        &self,
        what: &str,
        mut so: impl FnMut(&mut Server) -> bool + Send + Copy + 'static,
    ) {
        let start = Instant::now();
        while !self.with_server(move |server| so(server)) {
            assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
            std::thread::yield_now();
        }
    }

    /// Copies out like `read_at`: how many bytes, and the error that stopped it.
    pub(crate) fn read_at(&self, offset: u64, length: usize) -> (Vec<u8>, Option<PageError>) {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let at = offset + bytes.len() as u64;
            let page = self.size.page_of(at);
            let part = ((page.next().offset(self.size) - at) as usize).min(length - bytes.len());
            let start = Instant::now();
            loop {
                assert!(start.elapsed() < Duration::from_secs(60), "read_at hangs");
                let answer = self.with_server(move |server| {
                    let mut into = vec![0; part];
                    match server.kernel.touch(PageRange::single(page), Prot::READ) {
                        Touch::Ready => Ok(server.kernel.copy_out(at, &mut into).map(|()| into).unwrap()),
                        other @ (Touch::Pending | Touch::Failed { .. }) => Err(other),
                    }
                });
                match answer {
                    Ok(part) => break bytes.extend(part),
                    Err(Touch::Failed { error, .. }) => return (bytes, Some(error)),
                    Err(Touch::Pending | Touch::Ready) => std::thread::yield_now(),
                }
            }
        }
        (bytes, None)
    }

    pub(crate) fn write_at(&self, offset: u64, from: &[u8]) {
        let page = self.size.page_of(offset);
        let from = from.to_vec();
        loop {
            let from = from.clone();
            let done = self.with_server(move |server| {
                match server.kernel.touch(PageRange::single(page), Prot::READ_WRITE) {
                    Touch::Ready => server.kernel.copy_in(offset, &from).is_ok(),
                    Touch::Pending | Touch::Failed { .. } => false,
                }
            });
            if done {
                return;
            }
        }
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        let (closed, _) = tokio::sync::mpsc::unbounded_channel();
        self.commands = closed;
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

pub(crate) fn spec(length: u64, page_size: PageSize) -> ObjectSpec {
    ObjectSpec {
        name: "test".into(),
        length,
        page_size,
        notify_on_evict: false,
        memory_deadline: std::time::Duration::from_secs(60),
        share: Share::default(),
    }
}

fn serve(mut server: Server, mut inbox: tokio::sync::mpsc::UnboundedReceiver<Command>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut upcalls = Vec::new();
    runtime.block_on(poll_fn(|cx| {
        loop {
            let mut idle = true;
            match inbox.poll_recv(cx) {
                Poll::Ready(Some(command)) => {
                    command(&mut server);
                    idle = false;
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            if server.kernel.poll_upcalls(cx, &mut upcalls).is_ready() {
                for upcall in upcalls.drain(..) {
                    server.answer(upcall);
                }
                idle = false;
            }
            if idle {
                return Poll::Pending;
            }
        }
    }));
}

impl Server {
    pub(crate) fn pages(&self) -> PageRange {
        let length = self.store.lock().unwrap().bytes.len() as u64;
        self.size.pages_around(0, length).unwrap()
    }

    pub(crate) fn call(&mut self, call: Call<'_>) -> Result<(), KernelError> {
        self.kernel.call(call)
    }

    pub(crate) fn unlock(&mut self, offset: u64, length: u64) {
        let call = Call::LockRequest {
            control: self.control,
            offset,
            length,
            should_return: ShouldReturn::None,
            should_flush: false,
            lock: Prot::NONE,
            reply: false,
        };
        self.kernel.call(call).unwrap();
    }

    pub(crate) fn release_held(&mut self) {
        for data in std::mem::take(&mut self.held) {
            self.write_out(data);
        }
    }

    fn answer(&mut self, upcall: Upcall) {
        match upcall {
            Upcall::Init { control, .. } => {
                self.control = control;
                let call = Call::Ready {
                    control,
                    may_cache: true,
                    copy_strategy: CopyStrategy::None,
                };
                self.kernel.call(call).unwrap();
            }
            Upcall::DataRequest { length, .. } if self.deaf => {
                self.unheard += length / self.size.bytes();
            }
            Upcall::DataRequest { offset, length, .. } => self.request(offset, length),
            Upcall::DataReturn {
                data,
                offset,
                dirty,
                kernel_copy,
                ..
            } => {
                let log = format!("return {offset} {} {dirty} {kernel_copy}", data.len());
                self.store.lock().unwrap().log.push(log);
                match dirty {
                    true if matches!(data, PageData::Owned(_)) => self.keep(offset, data.bytes()),
                    true if self.store.lock().unwrap().hold_returns => self.held.push(data),
                    true => self.write_out(data),
                    false => {
                        let range = self.range_of(&data);
                        self.kernel.release(&data, range);
                    }
                }
            }
            Upcall::DataUnlock { offset, length, .. } => {
                if self.store.lock().unwrap().refuse_unlock {
                    let control = self.control;
                    let error = PageError::NoSpace;
                    let call = Call::DataError {
                        control,
                        offset,
                        length,
                        error,
                    };
                    self.kernel.call(call).unwrap();
                } else {
                    self.unlock(offset, length);
                }
            }
            Upcall::LockCompleted { .. } => self.completed += 1,
            other @ (Upcall::SupplyCompleted { .. }
            | Upcall::ChangeCompleted { .. }
            | Upcall::Copy { .. }
            | Upcall::Terminate { .. }
            | Upcall::NoSenders) => self.store.lock().unwrap().log.push(format!("{other:?}")),
        }
    }

    pub(crate) fn log_contains(&self, line: &str) -> bool {
        self.store.lock().unwrap().log.iter().any(|have| have == line)
    }

    fn request(&mut self, offset: u64, length: u64) {
        let size = self.size.bytes();
        for at in (offset..offset + length).step_by(size as usize) {
            if self.holds(at) {
                // The data is here; the test decides what becomes of it.
                let mut store = self.store.lock().unwrap();
                store.log.push(format!("request {}", at / size));
                continue;
            }
            self.supply(PageIndex(at / size));
        }
    }

    fn holds(&self, at: u64) -> bool {
        self.held.iter().any(|data| match data {
            PageData::Cached { offset, length, .. } => (*offset..*offset + *length as u64).contains(&at),
            PageData::Owned(_) => false,
        })
    }

    fn supply(&mut self, page: PageIndex) {
        let store = self.store.clone();
        let store = store.lock().unwrap();
        let size = self.size.bytes() as usize;
        let control = self.control;
        if store.bad.contains(&page.0) {
            let call = Call::DataError {
                control,
                offset: page.offset(self.size),
                length: size as u64,
                error: PageError::NoSpace,
            };
            return self.kernel.call(call).unwrap();
        }
        let mut bytes = vec![0; size];
        let from = page.offset(self.size) as usize;
        if let Some(rest) = store.bytes.get(from..) {
            let part = rest.len().min(size);
            bytes[..part].copy_from_slice(&rest[..part]);
        }
        let lock = match store.locked.contains(&page.0) {
            true => Prot::WRITE,
            false => Prot::NONE,
        };
        let call = Call::DataSupply {
            control,
            range: PageRange::single(page),
            pages: PageSlice::Bytes(&bytes),
            lock,
            precious: false,
            reply: false,
        };
        self.kernel.call(call).unwrap();
    }

    fn range_of(&self, data: &PageData) -> PageRange {
        match data {
            PageData::Cached { offset, length, .. } => {
                self.size.pages_exact(*offset, *length as u64).unwrap()
            }
            PageData::Owned(_) => PageRange::default(),
        }
    }

    fn keep(&self, offset: u64, bytes: &[u8]) {
        let from = offset as usize;
        let mut store = self.store.lock().unwrap();
        let end = store.bytes.len().min(from + bytes.len());
        if from < end {
            store.bytes[from..end].copy_from_slice(&bytes[..end - from]);
        }
    }

    fn write_out(&mut self, data: PageData) {
        let range = self.range_of(&data);
        self.kernel.write_begins(&data, range);
        self.keep(range.offset(self.size), data.bytes());
        self.kernel.write_ended(&data, range);
        self.kernel.release(&data, range);
    }
}

/// Reads a byte of a mapping, as a client would.
pub(crate) fn peek(mapping: &RawMapping, at: usize) -> u8 {
    assert!(at < mapping.length);
    peek_at(mapping.address + at)
}

pub(crate) fn peek_at(address: usize) -> u8 {
    // SAFETY: the test passes addresses of live mappings.
    unsafe { std::ptr::with_exposed_provenance::<u8>(address).read_volatile() }
}

/// Writes a byte of a mapping, as a client would.
pub(crate) fn poke(mapping: &RawMapping, at: usize, value: u8) {
    assert!(at < mapping.length);
    poke_at(mapping.address + at, value);
}

pub(crate) fn poke_at(address: usize, value: u8) {
    // SAFETY: the test passes addresses of live mappings.
    unsafe { std::ptr::with_exposed_provenance_mut::<u8>(address).write_volatile(value) }
}

/// A small random number generator (xorshift), so that tests repeat.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Runs `f` in a forked child; its exit code is the answer. `f` must not allocate.
pub(crate) fn in_child(f: impl FnOnce() -> i32) -> libc::pid_t {
    // SAFETY: the child only touches memory and ends.
    match unsafe { libc::fork() } {
        -1 => panic!("fork failed"),
        0 => {
            let code = f();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(code) }
        }
        pid => pid,
    }
}

/// Waits for a child; its exit code, or 1000 plus the signal that killed it.
pub(crate) fn exit_code(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: waits for a child of this process.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    if libc::WIFSIGNALED(status) {
        1000 + libc::WTERMSIG(status)
    } else {
        libc::WEXITSTATUS(status)
    }
}
