//! Missing pages that must be read from a disk: one thread reads the faults, others do the I/O.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::super::clients::Work;
use super::super::error::BenchError;
use super::super::side::Side;
use super::super::sys::{Fault, Mode, PAGE, TempFile};
use super::region::Region;
use super::server::Server;

/// Single pages read past the page cache, by as many workers as threads fault.
#[derive(Debug)]
pub(crate) struct FromDisk {
    server: Option<Server>,
    workers: Vec<JoinHandle<()>>,
    work: Arc<Work>,
}

impl FromDisk {
    pub(crate) fn new(file: &TempFile, pages: usize, workers: usize, work: Arc<Work>) -> io::Result<Self> {
        let (send, receive) = mpsc::channel();
        let hand_over = move |_: &Region, fault| send.send(fault).map_err(io::Error::other);
        let server = Server::start(Region::new(pages, Mode::Missing)?, hand_over)?;
        let receive = Arc::new(Mutex::new(receive));
        let mut pool = Self {
            server: None,
            workers: Vec::new(),
            work,
        };
        for _ in 0..workers {
            let (region, receive, file) = (server.share(), Arc::clone(&receive), file.open_direct()?);
            pool.workers
                .push(thread::spawn(move || worker(&region, &receive, &file)));
        }
        pool.server = Some(server);
        Ok(pool)
    }

    fn server(&mut self) -> io::Result<&mut Server> {
        self.server
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Side for FromDisk {
    fn reset(&mut self) -> Result<(), BenchError> {
        Ok(self.server()?.region().clear()?)
    }

    fn run(&mut self) -> Result<Duration, BenchError> {
        let work = Arc::clone(&self.work);
        let server = self.server()?;
        let time = work.run(server.region().map.target());
        server.check()?;
        Ok(time)
    }
}

impl Drop for FromDisk {
    fn drop(&mut self) {
        // The server's end of the queue goes with it; that ends the workers.
        self.server = None;
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so.
            let _ = worker.join();
        }
    }
}

fn worker(region: &Region, faults: &Mutex<Receiver<Fault>>, file: &File) {
    let mut memory = vec![0; PAGE * 2];
    let at = memory.as_ptr().align_offset(PAGE);
    let page = &mut memory[at..at + PAGE];
    loop {
        let next = faults.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(fault) = next else { return };
        let offset = region.map.page_of(fault.address) * PAGE;
        let read = file.read_exact_at(page, offset as u64);
        if read
            .and_then(|()| region.uffd.copy(fault.address, page, false))
            .is_err()
        {
            region.give_up();
        }
    }
}
