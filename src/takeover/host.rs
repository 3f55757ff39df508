//! The pager process's part: a kernel host whose objects outlive the process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::{TakeoverError, out_of_turn};
use super::link::{Link, Packet};
use super::wire::{Message, Shape};
use crate::mach::linux::{Lasting, LinuxHost, RemoteClient, RemoteClients};
use crate::mach::{KernelError, KernelHost, ObjectKernel, ObjectSpec, RawMapping, StatsSnapshot};

/// A Linux kernel host whose objects are kept by a keeper, and taken over from a process that died.
///
/// The name of an object is that of its pager ([`PagerOptions::name`](crate::PagerOptions)). Dropping the
/// host lets a successor take the objects over; their clients wait meanwhile.
#[derive(Debug)]
pub struct Host {
    linux: LinuxHost,
    socket: PathBuf,
    standby: bool,
    links: Mutex<Vec<Arc<Link>>>,
    alone: Arc<AtomicBool>,
    /// The host itself closes its connections.
    ended: Arc<AtomicBool>,
}

/// What the keeper had of an object.
struct Start {
    lasting: Lasting,
    clients: Vec<RemoteClient>,
}

impl Host {
    /// A host whose objects the keeper behind `socket` keeps.
    pub fn new(linux: LinuxHost, socket: impl AsRef<Path>) -> Self {
        Self {
            linux,
            socket: socket.as_ref().to_owned(),
            standby: false,
            links: Mutex::default(),
            alone: Arc::default(),
            ended: Arc::default(),
        }
    }

    /// Wait until the pager of an object is gone, instead of failing because there is one.
    pub fn standby(mut self, yes: bool) -> Self {
        self.standby = yes;
        self
    }

    /// True if the keeper died: if this process dies, too, nobody can take over.
    pub fn is_alone(&self) -> bool {
        self.alone.load(SeqCst)
    }

    fn start(&self, link: &Link, spec: &ObjectSpec) -> Result<Start, TakeoverError> {
        let page_size = spec.page_size.bytes();
        let shape = Shape {
            length: spec.length.max(1).next_multiple_of(page_size),
            page_size,
        };
        let (object, standby) = (spec.name.clone(), self.standby);
        let serve = Message::Serve {
            object,
            shape,
            standby,
        };
        link.send(&serve, &[])?;
        let packet = link.answer()?;
        if packet.message == Message::Begin {
            return create(link, spec);
        }
        let Message::TakeOver { clients, generation } = packet.message else {
            return Err(out_of_turn());
        };
        tracing::info!(object = %spec.name, clients, generation, "taking over");
        take_over(link, packet, clients)
    }

    fn listen(&self, object: String, link: Arc<Link>, clients: RemoteClients) -> io::Result<()> {
        let (alone, ended) = (self.alone.clone(), self.ended.clone());
        let listener = std::thread::Builder::new().name("actor-pager-keeper".to_owned());
        let kept = link.clone();
        listener.spawn(move || {
            let end = hear(&link, &clients);
            // Who closes the host by itself has said so before.
            if !ended.load(SeqCst) {
                alone.store(true, SeqCst);
                tracing::error!(%object, ?end, "the keeper is gone: nobody can take over if this process dies");
                clients.keeper_gone();
            }
        })?;
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.push(kept);
        Ok(())
    }

    fn keep(&self, spec: &ObjectSpec) -> Result<Box<dyn ObjectKernel>, TakeoverError> {
        let link = Arc::new(Link::connect(&self.socket)?);
        let Start { lasting, clients } = self.start(&link, spec)?;
        let (object, clients) = self.linux.inherit_object(spec, lasting, clients)?;
        self.listen(spec.name.clone(), link, clients)?;
        Ok(object)
    }
}

fn create(link: &Link, spec: &ObjectSpec) -> Result<Start, TakeoverError> {
    let lasting = Lasting::create(spec.length, spec.page_size)?;
    link.send(&Message::Created, &[lasting.memory(), lasting.journal()])?;
    if link.answer()?.message != Message::Kept {
        return Err(out_of_turn());
    }
    Ok(Start {
        lasting,
        clients: Vec::new(),
    })
}

fn take_over(link: &Link, packet: Packet, count: u64) -> Result<Start, TakeoverError> {
    let [memory, journal] = packet.take::<2>().ok_or(TakeoverError::Protocol {
        what: "memory and journal are missing",
    })?;
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.extend(remote_client(link.answer()?));
    }
    let lasting = Lasting::from_parts(memory, journal);
    Ok(Start { lasting, clients })
}

fn remote_client(packet: Packet) -> Option<RemoteClient> {
    let Message::Came { id, placement } = packet.message else {
        return None;
    };
    let [faults] = packet.take::<1>()?;
    Some(RemoteClient {
        id,
        faults,
        address: placement.address,
        length: placement.length,
        offset: placement.offset,
    })
}

/// Passes on who comes and goes until the connection ends; says how it ended.
fn hear(link: &Link, clients: &RemoteClients) -> Result<(), TakeoverError> {
    while let Some(packet) = link.receive()? {
        if let Message::Gone { id } = packet.message {
            clients.gone(id);
        } else if let Some(client) = remote_client(packet) {
            clients.came(client);
        }
    }
    Ok(())
}

impl From<TakeoverError> for KernelError {
    fn from(error: TakeoverError) -> Self {
        if let TakeoverError::Kernel(error) = error {
            return error;
        }
        Self::System {
            call: "talking to the keeper",
            source: io::Error::other(error),
        }
    }
}

impl KernelHost for Host {
    fn create_object(&self, spec: ObjectSpec) -> Result<Box<dyn ObjectKernel>, KernelError> {
        Ok(self.keep(&spec)?)
    }

    fn unmap_orphan(&self, mapping: &RawMapping) {
        self.linux.unmap_orphan(mapping);
    }

    fn describe(&self) -> String {
        format!("{}; kept by {}", self.linux.describe(), self.socket.display())
    }

    fn stats(&self) -> StatsSnapshot {
        self.linux.stats()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.ended.store(true, SeqCst);
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.iter().for_each(|link| link.close());
    }
}
