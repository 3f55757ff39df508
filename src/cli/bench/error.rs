//! Why a measurement could not be made.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use super::super::size::Size;
use actor_pager::backend::{HttpError, OpenError};
use actor_pager::error::{CallError, CreateError, MapError, StartError, SyncError};

/// Why a measurement could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("a system call of the bench failed")]
    System(#[from] io::Error),
    #[error("{}: a file for the bench cannot be made; choose another folder with --folder", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("no row is called {0}; see --help for their names")]
    NoSuchRow(String),
    #[error("a bound of {given} is too small to work under; --resident takes at least {least}")]
    Bound {
        /// What was asked for.
        given: Size,
        /// What is enough.
        least: Size,
    },
    #[error("the store cannot be opened")]
    Open(#[from] OpenError),
    #[error("the URL cannot be paged")]
    Url(#[from] HttpError),
    #[error("{url} cannot be downloaded to {}", folder.display())]
    Download {
        url: String,
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("what lies behind a URL cannot be written to; leave --write-ratio out")]
    WriteUrl,
    #[error("the bucket cannot start")]
    Start(#[from] StartError),
    #[error("the pager cannot be made")]
    Create(#[from] CreateError),
    #[error("the object cannot be mapped")]
    Map(#[from] MapError),
    #[error("sync failed")]
    Sync(#[from] SyncError),
    #[error("the pager is gone")]
    Call(#[from] CallError),
    #[error("the page tables of the pager say {0}")]
    State(String),
    #[cfg(not(target_os = "linux"))]
    #[error("the raw handlers need userfaultfd; run the bench on Linux")]
    NotLinux,
}

impl BenchError {
    /// The program's exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::NoSuchRow(_) | Self::Bound { .. } | Self::WriteUrl => 2,
            Self::File { .. } | Self::Open(_) | Self::Url(_) | Self::Download { .. } => 3,
            Self::System(_) | Self::Start(_) | Self::Create(_) | Self::Map(_) => 4,
            Self::Sync(_) | Self::Call(_) | Self::State(_) => 1,
            #[cfg(not(target_os = "linux"))]
            Self::NotLinux => 4,
        }
    }

    /// The whole sentence, with what lies behind it.
    pub(crate) fn sentence(&self) -> String {
        let mut sentence = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            sentence.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        sentence
    }
}
