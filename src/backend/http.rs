//! A store behind a URL: pages are ranges of what a web server has.

use std::io::{self, Read};
use std::time::Duration;

use ureq::http::Response;
use ureq::{Agent, Body};

use super::{Backend, BackendError, ReadRun, WriteError, WriteRun};
use crate::object::{PageRange, PageSize};

/// Longest time that one answer takes.
const DEADLINE: Duration = Duration::from_secs(30);
/// Connections that are kept open for the next request.
const IDLE: usize = 32;

/// Why a URL cannot be paged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The server cannot be asked, or its answer cannot be read.
    #[error("{url} cannot be read")]
    Io {
        /// What was asked for.
        url: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server has no such thing, or does not give it.
    #[error("the server answers {status} for {url}")]
    Status {
        /// What was asked for.
        url: String,
        /// The number of the answer.
        status: u16,
    },
    /// The server gives it as a whole only, or without saying how long it is.
    #[error("the server of {url} serves no ranges; download it and use the file")]
    NoRanges {
        /// What was asked for.
        url: String,
    },
    /// There is nothing to be paged.
    #[error("{url} is empty")]
    Empty {
        /// What was asked for.
        url: String,
    },
}

/// What a web server has at a URL, read by ranges; writes are refused.
///
/// The length is that at opening. Where the server gives what it has a strong `ETag`, each range is asked for
/// on condition that it is still the same; otherwise a change shows only by its length. Pages of something
/// that has changed fail. Reads block: many may be under way at a time, each on a connection of its own.
///
/// `http` only: put a proxy in front of what takes `https`.
#[derive(Debug)]
pub struct HttpBackend {
    agent: Agent,
    url: String,
    length: u64,
    /// The strong `ETag` at opening.
    version: Option<String>,
}

impl HttpBackend {
    /// Asks the server what it has at `url`.
    pub fn open(url: &str) -> Result<Self, HttpError> {
        let config = Agent::config_builder()
            .timeout_global(Some(DEADLINE))
            .http_status_as_error(false)
            .max_idle_connections_per_host(IDLE)
            .build();
        let agent = Agent::new_with_config(config);
        let answer = agent.get(url).header("range", "bytes=0-0").call();
        let answer = answer.map_err(|error| HttpError::Io {
            url: url.to_owned(),
            source: error.into_io(),
        })?;
        let url = url.to_owned();
        let length = match answer.status().as_u16() {
            206 => match place(&answer) {
                Some((_, length)) => length,
                None => return Err(HttpError::NoRanges { url }),
            },
            // No byte of an empty thing can be given.
            416 if header(&answer, "content-range") == Some("bytes */0") => {
                return Err(HttpError::Empty { url });
            }
            200 => return Err(HttpError::NoRanges { url }),
            status => return Err(HttpError::Status { url, status }),
        };
        let version = header(&answer, "etag").filter(|tag| !tag.starts_with("W/"));
        let version = version.map(str::to_owned);
        Ok(Self {
            agent,
            url,
            length,
            version,
        })
    }

    /// Fills `into` with the bytes from `offset` on, which lie below the length.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let last = offset + into.len() as u64 - 1;
        let mut request = self
            .agent
            .get(&self.url)
            .header("range", format!("bytes={offset}-{last}"));
        if let Some(version) = &self.version {
            request = request.header("if-range", version);
        }
        let answer = request.call().map_err(ureq::Error::into_io)?;
        match answer.status().as_u16() {
            206 if place(&answer) == Some((offset, self.length)) => {}
            206 | 200 | 416 => return Err(io::Error::other("it has changed since it was opened")),
            status => return Err(io::Error::other(format!("the server answers {status}"))),
        }
        answer.into_body().into_reader().read_exact(into)
    }
}

fn header<'a>(answer: &'a Response<Body>, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

/// The first byte of a range that was given, and how long the whole is.
fn place(answer: &Response<Body>) -> Option<(u64, u64)> {
    let (range, length) = header(answer, "content-range")?
        .strip_prefix("bytes ")?
        .split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.parse().ok()?, length.parse().ok()?))
}

impl Backend for HttpBackend {
    fn extent(&self) -> u64 {
        self.length
    }

    fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
        let offset = run.offset();
        let into = run.zero_beyond(self.length);
        if into.is_empty() {
            return Ok(());
        }
        Ok(self.read_at(offset, into)?)
    }

    fn write_pages(&self, _run: &WriteRun<'_>) -> Result<(), WriteError> {
        Err(read_only().into())
    }

    fn unlock_pages(&self, _range: PageRange, _page_size: PageSize) -> Result<(), BackendError> {
        Err(read_only())
    }
}

fn read_only() -> BackendError {
    BackendError::Io(io::ErrorKind::ReadOnlyFilesystem.into())
}
