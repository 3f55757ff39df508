//! The keeper: holds what must outlive a pager process, and does nothing else.
//!
//! One thread, one wait. What is held and who may have it is in [`registry`](self::registry); here is
//! the socket.

mod registry;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::net::{SocketAddrUnix, SocketFlags, accept_with, bind, listen};

use super::error::TakeoverError;
use super::link::{Link, new_socket};
use registry::{Connection, Registry};

/// Between two looks whether processes that closed their connection have ended.
const LOOK: Duration = Duration::from_millis(200);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;

/// What the keeper tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A process serves the object now; `generation` counts them from 1.
    Served {
        /// The object.
        object: String,
        /// Which pager process this is.
        generation: u64,
    },
    /// The process that served the object is gone, and nobody stands by.
    Orphaned {
        /// The object.
        object: String,
    },
    /// A client came.
    ClientCame {
        /// The object.
        object: String,
        /// Which client.
        id: u64,
    },
    /// A client is gone.
    ClientGone {
        /// The object.
        object: String,
        /// Which client.
        id: u64,
    },
}

/// The keeper's process, as a value.
#[derive(Debug)]
pub struct Keeper {
    socket: OwnedFd,
    path: PathBuf,
    links: BTreeMap<Connection, Link>,
    next: u64,
    registry: Registry,
}

impl Keeper {
    /// Makes the socket, which only this user may use; a dead keeper's is replaced.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, TakeoverError> {
        let path = path.as_ref().to_owned();
        let open = || {
            let socket = new_socket()?;
            let address = SocketAddrUnix::new(&path)?;
            if Link::connect(&path).is_err() && path.exists() {
                std::fs::remove_file(&path)?;
            }
            bind(&socket, &address)?;
            // Nobody can connect before the socket listens.
            rustix::fs::chmod(&path, Mode::RUSR | Mode::WUSR)?;
            listen(&socket, BACKLOG)?;
            Ok(socket)
        };
        let bound = open();
        let socket = bound.map_err(|source: io::Error| TakeoverError::Bind {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            socket,
            path,
            links: BTreeMap::new(),
            next: 0,
            registry: Registry::default(),
        })
    }

    /// Keeps, until `tell` says that it is enough by returning false.
    ///
    /// `tell` is called with every notice, and with none at least every 200 ms.
    pub fn run(&mut self, mut tell: impl FnMut(Option<Notice>) -> bool) -> Result<(), TakeoverError> {
        loop {
            let ready = self.wait()?;
            if ready.accept {
                self.accept()?;
            }
            for connection in ready.links {
                self.hear(connection);
            }
            self.registry.look_for_the_dead(&self.links);
            let mut notices = self.registry.take_notices().map(Some).chain([None]);
            if !notices.all(&mut tell) {
                return Ok(());
            }
        }
    }

    fn wait(&self) -> Result<Ready, TakeoverError> {
        let mut fds = vec![PollFd::new(&self.socket, PollFlags::IN)];
        fds.extend(self.links.values().map(|link| PollFd::new(link, PollFlags::IN)));
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: LOOK.as_nanos() as _,
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(TakeoverError::Io(errno.into())),
        }
        let happened = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let links = self.links.keys().zip(&fds[1..]);
        let links = links.filter(|(_, fd)| happened(fd)).map(|(&at, _)| at);
        Ok(Ready {
            accept: happened(&fds[0]),
            links: links.collect(),
        })
    }

    fn accept(&mut self) -> Result<(), TakeoverError> {
        match rustix::io::retry_on_intr(|| accept_with(&self.socket, SocketFlags::CLOEXEC)) {
            Ok(socket) => {
                self.next += 1;
                self.links.insert(Connection(self.next), Link::of(socket));
                Ok(())
            }
            Err(rustix::io::Errno::CONNABORTED | rustix::io::Errno::AGAIN) => Ok(()),
            Err(errno) => {
                // Out of descriptors: those who are served already must stay so.
                tracing::error!(%errno, "cannot accept a connection");
                Ok(())
            }
        }
    }

    fn hear(&mut self, from: Connection) {
        let Some(link) = self.links.get(&from) else { return };
        match link.receive() {
            Ok(Some(packet)) => self.registry.hear(from, packet, &self.links),
            Ok(None) => self.close(from),
            Err(error) => {
                tracing::warn!(%error, "a connection is closed");
                self.close(from);
            }
        }
    }

    fn close(&mut self, from: Connection) {
        self.links.remove(&from);
        self.registry.closed(from, &self.links);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Whoever binds next replaces it anyway.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What `wait` found.
struct Ready {
    accept: bool,
    links: Vec<Connection>,
}
