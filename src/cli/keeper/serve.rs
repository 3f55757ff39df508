//! `serve`: the pager process of one file.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use actor_pager::backend::{FileBackend, FileOptions};
use actor_pager::mach::linux::{LinuxHost, LinuxOptions};
use actor_pager::takeover::Host;
use actor_pager::{Bucket, EventKind, Events, KernelNews, Pager, PagerOptions, Wait};

use super::{Failure, ServeArguments};

/// How often the process looks for events.
const LOOK: Duration = Duration::from_secs(1);

/// Serves until it is told to stop, or killed.
///
/// It reads commands from standard input, a line each: `sync` writes everything dirty back and says
/// `synced`; `stop` does the same and ends the process. The end of the input means nothing.
pub(super) fn run(arguments: &ServeArguments) -> Result<(), Failure> {
    let file = FileOptions::default()
        .read_only(!arguments.writable)
        .open(&arguments.file)?;
    let options = LinuxOptions::default().resident_limit(Some(arguments.resident.0));
    let host = Host::new(LinuxHost::new(options)?, &arguments.socket).standby(arguments.standby);
    let host = Arc::new(host);
    let bucket = Bucket::builder().kernel(host).start()?;
    let events = bucket.events();
    let name = arguments.object.clone().or_else(|| {
        let name = arguments.file.file_name()?;
        Some(name.to_string_lossy().into_owned())
    });
    let options = PagerOptions {
        name,
        ..PagerOptions::default()
    };
    let pager = bucket.create_pager(file, options)?;
    println!("serving {}", arguments.file.display());
    let pause = match arguments.sync_every {
        0 => None,
        milliseconds => Some(Duration::from_millis(milliseconds)),
    };
    attend(&pager, events, &commands()?, pause);
    Ok(())
}

fn attend(
    pager: &Pager<FileBackend>,
    mut events: Events,
    commands: &Receiver<String>,
    pause: Option<Duration>,
) {
    loop {
        let command = commands.recv_timeout(pause.unwrap_or(LOOK));
        while let Some(event) = events.try_next() {
            note(&event.kind);
        }
        match command.as_deref() {
            Ok("sync") => sync(pager, true),
            // The process ends without a shutdown: clients wait for a successor.
            Ok("stop") => return sync(pager, true),
            Ok(other) => eprintln!("note: there is no command `{other}`; there are sync and stop"),
            Err(RecvTimeoutError::Timeout) if pause.is_some() => sync(pager, false),
            Err(RecvTimeoutError::Timeout) => {}
            // Nobody reads commands any more: only time passes.
            Err(RecvTimeoutError::Disconnected) => thread::sleep(pause.unwrap_or(LOOK)),
        }
    }
}

fn sync(pager: &Pager<FileBackend>, aloud: bool) {
    match pager.sync_blocking(Wait::Yes) {
        Ok(()) if aloud => println!("synced"),
        Ok(()) => {}
        Err(error) => eprintln!("error: {}", super::sentence(&error)),
    }
}

/// Tells people what they should know.
fn note(kind: &EventKind) {
    if let EventKind::Kernel(KernelNews::KeeperGone) = kind {
        eprintln!("note: the keeper is gone; nobody can take over if this process dies");
    } else if let EventKind::WritesFailed { range, error } = kind {
        eprintln!("note: {range:?} cannot be written and is kept in memory: {error}");
    } else if *kind == EventKind::WritesRecovered {
        eprintln!("note: everything that could not be written is written");
    }
}

/// The lines of standard input, as they come.
fn commands() -> Result<Receiver<String>, Failure> {
    let (send, receive) = channel();
    thread::Builder::new()
        .name("commands".to_owned())
        .spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
            // The sender lives on, so that the end of the input is not heard as the end of commands.
            loop {
                thread::park();
            }
        })?;
    Ok(receive)
}
