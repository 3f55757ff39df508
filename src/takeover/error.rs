//! What can go wrong between keeper, pager and client.

use std::io;
use std::path::PathBuf;

use super::wire::Refusal;
use crate::mach::KernelError;

/// The answer to another question.
pub(super) fn out_of_turn() -> TakeoverError {
    TakeoverError::Protocol {
        what: "the keeper's answer belongs to another question",
    }
}

/// Why a keeper, a pager process or a client could not do its part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeoverError {
    /// There is no keeper behind the socket.
    #[error("{path}: no keeper answers there; start one with `actor-pager keeper --socket {path}`", path = path.display())]
    NoKeeper {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The keeper's socket cannot be made.
    #[error("{path}: the socket cannot be made; choose a path in a folder of yours where no keeper runs", path = path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The other side refused.
    #[error("the keeper refuses: {0}")]
    Refused(Refusal),
    /// The other side closed the connection.
    #[error("the keeper closed the connection; see whether it still runs")]
    Closed,
    /// Nobody made the object in time.
    #[error("no pager has made the object yet; start one with `actor-pager serve`")]
    NoObject,
    /// What came makes no sense.
    #[error("a message makes no sense: {what}; both sides must be of the same version")]
    Protocol {
        /// What was wrong.
        what: &'static str,
    },
    /// Sending or receiving failed.
    #[error("talking over the keeper's socket failed")]
    Io(#[from] io::Error),
    /// The kernel could not do its part.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}
