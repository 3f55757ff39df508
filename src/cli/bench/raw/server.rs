//! The thread that answers faults.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::super::sys::Fault;
use super::region::Region;

/// A blocking reader of one region's faults; it ends with this value.
#[derive(Debug)]
pub(super) struct Server {
    region: Arc<Region>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Server {
    /// Starts it; `answer` gets every fault, and how to undo an error is `Region::give_up`.
    pub(super) fn start(
        region: Region,
        mut answer: impl FnMut(&Region, Fault) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let region = Arc::new(region);
        let served = Arc::clone(&region);
        let body = move || {
            let result = serve(&served, &mut answer);
            if result.is_err() {
                served.give_up();
            }
            result
        };
        let thread = thread::Builder::new().name("raw handler".into()).spawn(body)?;
        Ok(Self {
            region,
            thread: Some(thread),
        })
    }

    pub(super) fn region(&self) -> &Region {
        &self.region
    }

    /// The region, for threads that help.
    pub(super) fn share(&self) -> Arc<Region> {
        Arc::clone(&self.region)
    }

    /// The error that ended the thread, if it has ended.
    pub(super) fn check(&mut self) -> io::Result<()> {
        match self.thread.take_if(|thread| thread.is_finished()) {
            Some(thread) => thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the raw handler panicked"))),
            None => Ok(()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.region.map.target().read(self.region.pages);
            // Errors were asked for after every round.
            let _ = thread.join();
        }
    }
}

fn serve(region: &Region, answer: &mut impl FnMut(&Region, Fault) -> io::Result<()>) -> io::Result<()> {
    let mut faults = Vec::with_capacity(16);
    let stop = region.map.address_of(region.pages);
    loop {
        region.uffd.read(&mut faults)?;
        for fault in faults.drain(..) {
            if fault.address == stop {
                return region.resolve_stop();
            }
            answer(region, fault)?;
        }
    }
}
