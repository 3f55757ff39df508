//! `keeper`, `serve` and the drill that kills them: serving pages from a process that may die.

mod children;
mod drill;
mod load;
mod serve;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use actor_pager::backend::OpenError;
use actor_pager::error::StartError;
use actor_pager::mach::KernelError;
use actor_pager::takeover::{Keeper, Notice};
use clap::{Args, Subcommand};

use super::size::Size;

/// A successor that does not live this long is not replaced at once.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// Serving pages from a process that may die.
#[derive(Debug, Subcommand)]
pub(crate) enum KeeperCommand {
    /// Hold what must outlive a pager process, so that a successor can take over
    Keeper(KeepArguments),
    /// Serve the pages of a file to other processes; killed at any moment, it loses nothing
    Serve(ServeArguments),
    /// Kill pager processes under load, again and again, and check every byte
    Takeover(DrillArguments),
    /// The load of `takeover`
    #[command(hide = true)]
    TakeoverLoad(LoadArguments),
}

/// The arguments of `keeper`.
#[derive(Clone, Debug, Args)]
pub(crate) struct KeepArguments {
    /// Where pagers and clients find the keeper
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Start this command when an object has lost its pager, for example `actor-pager serve ...`
    #[arg(long, value_name = "COMMAND", num_args = 1.., allow_hyphen_values = true)]
    respawn: Vec<OsString>,
}

/// The arguments of `serve`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArguments {
    /// The file to serve
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The keeper's socket
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// The object's name [default: the file's name]
    #[arg(long, value_name = "NAME")]
    object: Option<String>,
    /// Hard bound on resident page memory
    #[arg(long, value_name = "SIZE", default_value = "64M")]
    resident: Size,
    /// Let clients write, and write back to the file
    #[arg(long)]
    writable: bool,
    /// Wait until the object's pager is gone, if it has one
    #[arg(long)]
    standby: bool,
    /// Milliseconds between two write-backs of everything dirty; 0 means never
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    sync_every: u64,
}

/// The arguments of `takeover`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DrillArguments {
    /// How many pager processes to kill
    #[arg(long, value_name = "N", default_value_t = 200)]
    kills: u32,
    /// Where all that looks random comes from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Threads that read and write
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Size of the file
    #[arg(long, value_name = "SIZE", default_value = "16M")]
    size: Size,
    /// Hard bound on resident page memory
    #[arg(long, value_name = "SIZE", default_value = "4M")]
    resident: Size,
    /// Where to make the file and the socket [default: the system's temporary directory]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// The arguments of `takeover-load`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LoadArguments {
    #[arg(long)]
    socket: PathBuf,
    #[arg(long)]
    object: String,
    #[arg(long)]
    threads: u32,
    #[arg(long)]
    seed: u64,
}

/// Runs one of the commands.
pub(crate) fn run(command: &KeeperCommand) -> ExitCode {
    let outcome = match command {
        KeeperCommand::Keeper(arguments) => keep(arguments),
        KeeperCommand::Serve(arguments) => serve::run(arguments),
        KeeperCommand::Takeover(arguments) => drill::run(arguments),
        KeeperCommand::TakeoverLoad(arguments) => load::run(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", sentence(&*error));
            ExitCode::from(code(&*error))
        }
    }
}

/// The program's exit code, as of its other commands.
fn code(error: &(dyn std::error::Error + 'static)) -> u8 {
    if error.is::<OpenError>() {
        return 3;
    }
    let lacks = error.is::<KernelError>() || error.is::<StartError>();
    if lacks { 4 } else { 1 }
}

/// Any of the errors that end a command.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn sentence(error: &dyn std::error::Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        sentence = format!("{sentence}: {error}");
        cause = error.source();
    }
    sentence
}

fn keep(arguments: &KeepArguments) -> Result<(), Failure> {
    let mut keeper = Keeper::bind(&arguments.socket)?;
    println!("keeping at {}", arguments.socket.display());
    let mut successor = Successor::new(&arguments.respawn);
    keeper.run(|notice| {
        if let Some(notice) = notice {
            println!("{}", in_words(&notice));
            if matches!(notice, Notice::Orphaned { .. }) {
                successor.wanted = true;
            }
        }
        successor.look();
        true
    })?;
    Ok(())
}

fn in_words(notice: &Notice) -> String {
    match notice {
        Notice::Served { object, generation } => format!("{object}: served by process {generation}"),
        Notice::Orphaned { object } => format!("{object}: its pager process is gone; clients wait"),
        Notice::ClientCame { object, id } => format!("{object}: client {id} came"),
        Notice::ClientGone { object, id } => format!("{object}: client {id} is gone"),
        other => format!("{other:?}"),
    }
}

/// The command that is started when a pager is gone.
struct Successor<'a> {
    command: &'a [OsString],
    child: Option<Child>,
    started: Option<Instant>,
    wanted: bool,
}

impl<'a> Successor<'a> {
    fn new(command: &'a [OsString]) -> Self {
        Self {
            command,
            child: None,
            started: None,
            wanted: false,
        }
    }

    /// Reaps the one before, and starts the next where one is wanted.
    fn look(&mut self) {
        if let Some(child) = &mut self.child
            && !matches!(child.try_wait(), Ok(None))
        {
            self.child = None;
        }
        let too_soon = self.started.is_some_and(|started| started.elapsed() < SHORT_LIFE);
        let Some((program, arguments)) = self.command.split_first() else {
            return;
        };
        if !self.wanted || too_soon || self.child.is_some() {
            return;
        }
        self.started = Some(Instant::now());
        match Command::new(program).args(arguments).spawn() {
            Ok(child) => {
                self.child = Some(child);
                self.wanted = false;
            }
            Err(error) => eprintln!("error: no successor can be started: {error}"),
        }
    }
}
