//! `takeover`: kills pager processes under load, and checks every byte.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::children::Process;
use super::words::{PAGE, WORDS, version, word};
use super::{DrillArguments, Failure};
use crate::cli::rng::Rng;

/// A pager process lives at most this long, from its start or from its first word.
const LONGEST_LIFE_US: u64 = 80_000;

/// Moments between two steps of the kernel's side, at which a process can be made to kill itself where it
/// was built with debug assertions.
const POINTS: [&str; 11] = [
    "copied",
    "filled",
    "stored",
    "dirtied",
    "protected",
    "lent",
    "writing",
    "released",
    "dropped",
    "loaded",
    "resumed",
];

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
    fn serve(
        &self,
        arguments: &DrillArguments,
        standby: bool,
        death: Option<String>,
    ) -> Result<Process, Failure> {
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
        Process::start_to_die("serve", &given, death)
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
    let mut pager = scene.serve(arguments, false, None)?;
    let mut load = scene.load(arguments)?;
    load.wait_for("ready")?;
    let mut kills = Kills {
        scene: &scene,
        arguments,
        rng: Rng::new(arguments.seed),
        named: 0,
    };
    for kill in 1..=arguments.kills {
        // The last successor is to live.
        pager = kills.replace(pager, kill < arguments.kills)?;
        if !load.lives() {
            break;
        }
    }
    let named = kills.named;
    conclude(&scene, arguments, named, &mut load, pager)
}

/// The killing.
struct Kills<'a> {
    scene: &'a Scene,
    arguments: &'a DrillArguments,
    rng: Rng,
    /// Processes that died at a named moment.
    named: u32,
}

impl Kills<'_> {
    /// Kills a pager process at a random moment, if it does not die at a named one before; its successor
    /// may stand by already, or come later.
    fn replace(&mut self, mut pager: Process, doomed: bool) -> Result<Process, Failure> {
        // One in four is killed while it starts or takes over.
        let serves = self.rng.below(4) > 0 && pager.wait_for("serving").is_ok();
        let standby = serves && self.rng.below(2) == 0;
        let death = (doomed && self.rng.below(2) == 0).then(|| self.death());
        let (scene, arguments) = (self.scene, self.arguments);
        let early = standby.then(|| scene.serve(arguments, true, death.clone()));
        thread::sleep(Duration::from_micros(self.rng.below(LONGEST_LIFE_US)));
        self.named += u32::from(!pager.lives());
        pager.kill()?;
        early.unwrap_or_else(|| scene.serve(arguments, false, death))
    }

    /// A named moment, and how often it is to be passed.
    fn death(&mut self) -> String {
        let point = POINTS[self.rng.below(POINTS.len() as u64) as usize];
        let times = match point {
            "loaded" | "resumed" => 1,
            _ => 1 + self.rng.below(30),
        };
        format!("{point}:{times}")
    }
}

fn conclude(
    scene: &Scene,
    arguments: &DrillArguments,
    named: u32,
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
        "lost: {lost} (kills {}, {named} of them at named moments, operations {operations}, zero pages {zero}, client errors {client_errors})",
        arguments.kills
    );
    match lost + zero + client_errors {
        0 => Ok(()),
        _ => Err("a client noticed that a pager process died".into()),
    }
}
