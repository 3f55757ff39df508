//! A client: maps an object whose pager is another process.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{TakeoverError, out_of_turn};
use super::link::{Link, Packet};
use super::wire::{Message, Placement, Shape};
use crate::mach::linux::Attachment;
use crate::mapping::Protection;
use crate::object::Prot;

/// How to attach; ends in [`attach`](Self::attach).
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    protection: Protection,
    patience: Option<Duration>,
}

/// A mapping of a whole object in this process. Touch it with raw pointers, as any mapping.
///
/// A page that is not there is waited for, also while no pager process is alive. Forked children do not
/// get the mapping; they may attach by themselves. It must not be moved or mapped over.
#[derive(Debug)]
pub struct RemoteMapping {
    attachment: Option<Attachment>,
    link: Link,
    shape: Shape,
    protection: Protection,
}

impl Client {
    /// A client of the keeper behind `socket`, which wants to read and write, and waits for an object to
    /// be made for a minute at most.
    pub fn new(socket: impl AsRef<Path>) -> Self {
        Self {
            socket: socket.as_ref().to_owned(),
            protection: Protection::ReadWrite,
            patience: Some(Duration::from_secs(60)),
        }
    }

    /// What the mapping allows.
    pub fn protection(mut self, protection: Protection) -> Self {
        self.protection = protection;
        self
    }

    /// How long to wait until a pager has made the object; none means for ever.
    pub fn patience(mut self, most: Option<Duration>) -> Self {
        self.patience = most;
        self
    }

    /// Maps `object`. Its faults are registered before this returns.
    pub fn attach(&self, object: &str) -> Result<RemoteMapping, TakeoverError> {
        let link = Link::connect(&self.socket)?;
        let object = object.to_owned();
        link.send(&Message::Attach { object }, &[])?;
        link.patience(self.patience)?;
        let packet = link.answer().map_err(no_object)?;
        let Packet {
            message: Message::Memory(shape),
            ..
        } = packet
        else {
            return Err(out_of_turn());
        };
        let [memory] = packet.take::<1>().ok_or(TakeoverError::Protocol {
            what: "the object's memory is missing",
        })?;
        let length = usize::try_from(shape.length).map_err(|_| TakeoverError::Protocol {
            what: "the object does not fit into the address space",
        })?;
        let prot = match self.protection {
            Protection::Read => Prot::READ,
            Protection::ReadWrite => Prot::READ_WRITE,
        };
        let attachment = Attachment::new(memory.as_fd(), 0, length, prot)?;
        register(&link, &attachment)?;
        Ok(RemoteMapping {
            attachment: Some(attachment),
            link,
            shape,
            protection: self.protection,
        })
    }
}

fn register(link: &Link, attachment: &Attachment) -> Result<(), TakeoverError> {
    let placement = Placement {
        address: attachment.address() as u64,
        length: attachment.length() as u64,
        offset: 0,
    };
    link.send(&Message::Mapped(placement), &[attachment.faults()])?;
    let answer = link.answer()?.message;
    (answer == Message::Registered)
        .then_some(())
        .ok_or_else(out_of_turn)
}

fn no_object(error: TakeoverError) -> TakeoverError {
    let timed_out = matches!(&error, TakeoverError::Io(source) if source.kind() == io::ErrorKind::WouldBlock);
    if timed_out { TakeoverError::NoObject } else { error }
}

impl RemoteMapping {
    /// The first byte.
    pub fn as_ptr(&self) -> *const u8 {
        std::ptr::with_exposed_provenance(self.address())
    }

    /// The first byte, to be written to where the mapping allows it.
    pub fn as_mut_ptr(&self) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.address())
    }

    fn address(&self) -> usize {
        self.attachment.as_ref().map_or(0, Attachment::address)
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.attachment.as_ref().map_or(0, Attachment::length)
    }

    /// True if there is no byte in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The object's length and page size.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// What the mapping allows.
    pub fn protection(&self) -> Protection {
        self.protection
    }
}

impl Drop for RemoteMapping {
    fn drop(&mut self) {
        // Unmapped first: whoever hears of it may close the descriptors.
        self.attachment = None;
        if let Err(error) = self.link.send(&Message::Detach, &[]) {
            tracing::debug!(%error, "the keeper was gone before this client");
        }
    }
}
