//! A connection: packets with descriptors beside them, over a Unix socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg,
    sendmsg, shutdown, socket_with, sockopt,
};

use super::error::TakeoverError;
use super::wire::{LONGEST, Message};

/// Descriptors in one packet at most.
const MOST: usize = 2;

/// What came: a message and its descriptors.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) message: Message,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Packet {
    /// The descriptors, if there are exactly as many.
    pub(super) fn take<const N: usize>(self) -> Option<[OwnedFd; N]> {
        self.descriptors.try_into().ok()
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A socket that is nobody's yet.
pub(super) fn new_socket() -> io::Result<OwnedFd> {
    let kind = SocketType::SEQPACKET;
    Ok(socket_with(
        AddressFamily::UNIX,
        kind,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

impl Link {
    /// An end that was accepted.
    pub(super) fn of(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Connects to the keeper behind `path`.
    pub(super) fn connect(path: &Path) -> Result<Self, TakeoverError> {
        let open = || {
            let socket = new_socket()?;
            connect(&socket, &SocketAddrUnix::new(path)?)?;
            Ok(Self(socket))
        };
        open().map_err(|source: io::Error| TakeoverError::NoKeeper {
            path: path.to_owned(),
            source,
        })
    }

    /// Sends a message with descriptors; never waits for the other side to make room.
    pub(super) fn send(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let packet = message.encode();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent =
            rustix::io::retry_on_intr(|| sendmsg(&self.0, &[IoSlice::new(&packet)], &mut beside, flags))?;
        match sent == packet.len() {
            true => Ok(()),
            false => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// Waits for the next message; nothing when the other side has closed.
    pub(super) fn receive(&self) -> Result<Option<Packet>, TakeoverError> {
        let mut buffer = [0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            recvmsg(&self.0, &mut slices, &mut beside, RecvFlags::CMSG_CLOEXEC)
        });
        let received = match received {
            Ok(received) => received,
            Err(Errno::CONNRESET) => return Ok(None),
            Err(errno) => return Err(TakeoverError::Io(errno.into())),
        };
        let mut descriptors = Vec::new();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            let what = "it is too long";
            return Err(TakeoverError::Protocol { what });
        }
        let what = "its kind or its fields are unknown";
        let message = Message::decode(&buffer[..received.bytes]).ok_or(TakeoverError::Protocol { what })?;
        Ok(Some(Packet { message, descriptors }))
    }

    /// As [`receive`](Self::receive), where the end of the connection is an error, and a refusal, too.
    pub(super) fn answer(&self) -> Result<Packet, TakeoverError> {
        let packet = self.receive()?.ok_or(TakeoverError::Closed)?;
        if let Message::Refused(refusal) = packet.message {
            return Err(TakeoverError::Refused(refusal));
        }
        Ok(packet)
    }

    /// How long to wait for a message; none means for ever.
    pub(super) fn patience(&self, most: Option<Duration>) -> io::Result<()> {
        Ok(sockopt::set_socket_timeout(
            &self.0,
            sockopt::Timeout::Recv,
            most,
        )?)
    }

    /// Ends the connection for everybody who holds it.
    pub(super) fn close(&self) {
        // It fails only if the other side was faster.
        let _ = shutdown(&self.0, Shutdown::Both);
    }
}
