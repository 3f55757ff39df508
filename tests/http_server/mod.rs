//! A web server on the loopback interface with one file, for as long as the value lives.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

/// What the server has, and how it answers.
#[derive(Default)]
pub(crate) struct Site {
    pub(crate) bytes: Mutex<Vec<u8>>,
    /// Grows with every change.
    version: AtomicU64,
    /// Answers this status and nothing else, if it is not 0.
    pub(crate) status: AtomicU64,
    /// Gives all of it, whatever range is asked for.
    pub(crate) whole: AtomicBool,
    /// Requests that were answered.
    pub(crate) answered: AtomicU64,
}

impl Site {
    /// Other contents from now on.
    pub(crate) fn replace(&self, bytes: &[u8]) {
        *self.bytes.lock().unwrap() = bytes.to_vec();
        self.version.fetch_add(1, SeqCst);
    }
}

pub(crate) struct Server {
    pub(crate) site: Arc<Site>,
    address: SocketAddr,
    ending: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(bytes: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (site, ending) = (Arc::new(Site::default()), Arc::new(AtomicBool::new(false)));
        site.replace(bytes);
        let (served, over) = (site.clone(), ending.clone());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if over.load(SeqCst) {
                    return;
                }
                let site = served.clone();
                // A client that goes ends its connection, and with it the error.
                thread::spawn(move || serve(&client, &site));
            }
        });
        Self {
            site,
            address,
            ending,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/file", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ending.store(true, SeqCst);
        // The one that waits for clients looks again.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(client: &TcpStream, site: &Site) -> std::io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    loop {
        let (mut range, mut condition) = (None, None);
        loop {
            let Some(line) = lines.next() else { return Ok(()) };
            let line = line?.to_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(wanted) = line.strip_prefix("range: bytes=") {
                let (first, last) = wanted.split_once('-').unwrap();
                range = Some((first.parse::<usize>().unwrap(), last.parse::<usize>().unwrap()));
            }
            condition = line.strip_prefix("if-range: ").map(str::to_owned).or(condition);
        }
        let (head, body) = answer(site, range, condition.as_deref());
        let mut out = client;
        out.write_all(format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes())?;
        out.write_all(&body)?;
        site.answered.fetch_add(1, SeqCst);
    }
}

fn answer(site: &Site, range: Option<(usize, usize)>, condition: Option<&str>) -> (String, Vec<u8>) {
    let status = site.status.load(SeqCst);
    if status != 0 {
        return (format!("{status} No"), Vec::new());
    }
    let bytes = site.bytes.lock().unwrap().clone();
    let tag = format!("\"v{}\"", site.version.load(SeqCst));
    let same = condition.is_none_or(|condition| condition == tag);
    match range.filter(|_| same && !site.whole.load(SeqCst)) {
        Some((first, _)) if first >= bytes.len() => (
            format!("416 No\r\nContent-Range: bytes */{}", bytes.len()),
            Vec::new(),
        ),
        Some((first, last)) => {
            let last = last.min(bytes.len() - 1);
            let head = format!(
                "206 Part\r\nETag: {tag}\r\nContent-Range: bytes {first}-{last}/{}",
                bytes.len()
            );
            (head, bytes[first..=last].to_vec())
        }
        None => (format!("200 OK\r\nETag: {tag}"), bytes),
    }
}
