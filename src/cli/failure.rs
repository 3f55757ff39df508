//! Why the program gave up: one sentence that says what to do, and an exit code.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use actor_pager::backend::OpenError;
use actor_pager::error::{CreateError, MapError, ShutdownError, StartError, SyncError};

use super::size::Size;

/// Why a job could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{path}: {doing} failed; see that the disk is well and the file stays as long as it is", path = path.display())]
    File {
        path: PathBuf,
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{path}: no file can be made there; give a --folder that exists and can be written to", path = path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path}: {size} do not fit there; free some space, or choose another place or size with --folder or --size", path = path.display())]
    NoRoom { path: PathBuf, size: Size },
    #[error("a file of {size} is too small for this; make --size at least {least}")]
    TooSmall { size: Size, least: Size },
    #[error("a bound of {given} is too small to page under; make --resident at least {least}")]
    Bound { given: Size, least: Size },
    #[error("the bucket cannot start")]
    Start(#[from] StartError),
    #[error("the pager cannot be made")]
    Create(#[from] CreateError),
    #[error("the file cannot be mapped")]
    Map(#[from] MapError),
    #[error("a thread cannot be started; use fewer --threads, or raise the limits on threads and memory")]
    Threads(#[source] io::Error),
    #[error("sync failed")]
    Sync(#[from] SyncError),
    #[error("shutdown failed")]
    Shutdown(#[from] ShutdownError),
    #[error("the store failed on purpose, but {0}")]
    Drill(String),
    #[error("data could not be had: {0}")]
    Lost(String),
}

impl Failure {
    /// The program's exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Sync(_) | Self::Shutdown(_) | Self::Drill(_) | Self::Lost(_) => 1,
            Self::TooSmall { .. } | Self::Bound { .. } => 2,
            Self::Open(_) | Self::File { .. } | Self::Folder { .. } | Self::NoRoom { .. } => 3,
            Self::Start(_) | Self::Create(_) | Self::Map(_) | Self::Threads(_) => 4,
        }
    }

    /// The whole sentence, with what lies behind it.
    pub(crate) fn sentence(&self) -> String {
        let mut sentence = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            sentence = format!("{sentence}: {error}");
            cause = error.source();
        }
        sentence
    }
}
