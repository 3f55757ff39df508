//! `takeover`: kills pager processes under load, and checks every byte.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::children::Process;
use super::words::{PAGE, WORDS, version, word};
use super::{DrillArguments, Failure};
use crate::cli::rng::Rng;

/// A pager process lives at most this long, from its start or from its first word.
const LONGEST_LIFE_US: u64 = 80_000;

/// The folder with the file and the socket; removed at the end.
struct Scene {
    folder: PathBuf,
    file: PathBuf,
    socket: PathBuf,
    pages: usize,
}

impl Scene {
    fn new(arguments: &DrillArguments) -> Result<Self, Failure> {
        let place = arguments.folder.clone().unwrap_or_else(std::env::temp_dir);
        let folder = place.join(format!("actor-pager-takeover-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let scene = Self {
            file: folder.join("object"),
            socket: folder.join("keeper"),
            folder,
            pages: arguments.size.0 as usize / PAGE,
        };
        let mut file = BufWriter::new(File::create(&scene.file)?);
        for page in 0..scene.pages {
            for at in 0..WORDS {
                file.write_all(&word(page, at, 0).to_le_bytes())?;
            }
        }
        file.flush()?;
        Ok(scene)
    }

    /// A pager process; with `standby` it waits for the one before to end.
    fn serve(&self, arguments: &DrillArguments, standby: bool) -> Result<Process, Failure> {
        let resident = arguments.resident.0.to_string();
        let mut given: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![
            &self.file,
            &"--socket",
            &self.socket,
            &"--resident",
            &resident,
            &"--sync-every",
            &"20",
            &"--writable",
        ];
        if standby {
            given.push(&"--standby");
        }
        Process::start("serve", &given)
    }

    fn load(&self, arguments: &DrillArguments) -> Result<Process, Failure> {
        let (threads, seed) = (arguments.threads.to_string(), arguments.seed.to_string());
        let given: [&dyn AsRef<std::ffi::OsStr>; 8] = [
            &"--socket",
            &self.socket,
            &"--object",
            &"object",
            &"--threads",
            &threads,
            &"--seed",
            &seed,
        ];
        Process::start("takeover-load", &given)
    }

    /// Counts the words of the file that are not those of the versions.
    fn wrong_in_file(&self, versions: &[u32]) -> Result<u64, Failure> {
        let mut bytes = Vec::new();
        File::open(&self.file)?.read_to_end(&mut bytes)?;
        let mut wrong = 0;
        for (index, bytes) in bytes.as_chunks::<8>().0.iter().enumerate() {
            let (page, at) = (index / WORDS, index % WORDS);
            let found = version(page, at, u64::from_le_bytes(*bytes));
            wrong += u64::from(found.is_none() || found != versions.get(page).copied());
        }
        let expected = (self.pages * PAGE) as u64;
        Ok(wrong + expected.abs_diff(bytes.len() as u64))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        eprintln!("note: {} stays: {error}", folder.display());
    }
}

/// What the load said in the end.
struct Account {
    operations: u64,
    wrong: u64,
    zero: u64,
    versions: Vec<u32>,
}

fn account(load: &mut Process) -> Result<Account, Failure> {
    let counts = numbers(&load.line()?)?;
    let versions = numbers(&load.line()?)?;
    let &[operations, wrong, zero] = counts.as_slice() else {
        return Err("the load's report makes no sense".into());
    };
    Ok(Account {
        operations,
        wrong,
        zero,
        versions: versions.into_iter().map(|version| version as u32).collect(),
    })
}

fn numbers(line: &str) -> Result<Vec<u64>, Failure> {
    Ok(line
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?)
}

/// Runs the drill; ends with a line that begins with `lost:`.
pub(super) fn run(arguments: &DrillArguments) -> Result<(), Failure> {
    let scene = Scene::new(arguments)?;
    let mut keeper = Process::start("keeper", &[&"--socket", &scene.socket])?;
    keeper.wait_for("keeping")?;
    let mut pager = scene.serve(arguments, false)?;
    let mut load = scene.load(arguments)?;
    load.wait_for("ready")?;
    let mut rng = Rng::new(arguments.seed);
    for _ in 0..arguments.kills {
        pager = replace(&scene, arguments, pager, &mut rng)?;
        if !load.lives() {
            break;
        }
    }
    conclude(&scene, arguments, &mut load, pager)
}

/// Kills a pager process at a random moment; its successor may stand by already, or come later.
fn replace(
    scene: &Scene,
    arguments: &DrillArguments,
    mut pager: Process,
    rng: &mut Rng,
) -> Result<Process, Failure> {
    // One in four dies while it starts or takes over.
    let serves = rng.below(4) > 0;
    if serves {
        pager.wait_for("serving")?;
    }
    let standby = serves && rng.below(2) == 0;
    let early = standby.then(|| scene.serve(arguments, true)).transpose()?;
    std::thread::sleep(Duration::from_micros(rng.below(LONGEST_LIFE_US)));
    pager.kill()?;
    match early {
        Some(next) => Ok(next),
        None => scene.serve(arguments, false),
    }
}

fn conclude(
    scene: &Scene,
    arguments: &DrillArguments,
    load: &mut Process,
    mut pager: Process,
) -> Result<(), Failure> {
    // A client that is gone has nothing to say: that is an error of its own.
    let _ = load.tell("stop");
    let account = account(load);
    let well = account.is_ok() && load.ended_well()?;
    let Account {
        operations,
        wrong,
        zero,
        versions,
    } = account.unwrap_or(Account {
        operations: 0,
        wrong: 0,
        zero: 0,
        versions: Vec::new(),
    });
    let client_errors = u64::from(!well);
    pager.tell("stop")?;
    pager.wait_for("synced")?;
    let lost = wrong + scene.wrong_in_file(&versions)?;
    println!(
        "lost: {lost} (kills {}, operations {operations}, zero pages {zero}, client errors {client_errors})",
        arguments.kills
    );
    match lost + zero + client_errors {
        0 => Ok(()),
        _ => Err("a client noticed that a pager process died".into()),
    }
}
