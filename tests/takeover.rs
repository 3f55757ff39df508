//! Pager processes are killed, and their clients do not notice: real processes, real signals.
#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actor_pager::backend::MemoryBackend;
use actor_pager::mach::KernelHost;
use actor_pager::mach::linux::{LinuxHost, LinuxOptions};
use actor_pager::takeover::{Client, Host, RemoteMapping, TakeoverError};
use actor_pager::{Bucket, EventKind, KernelNews, PagerOptions, Wait};

const PROGRAM: &str = env!("CARGO_BIN_EXE_actor-pager");
const PAGE: usize = 4096;

/// False, with a line that says why, where this machine cannot do it.
fn possible() -> bool {
    match LinuxHost::new(LinuxOptions::default()) {
        Ok(_) => true,
        Err(error) => {
            println!("skipped: {error}");
            false
        }
    }
}

/// A process of the program; killed at the end.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Reads lines until one begins so.
    fn wait_for(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).unwrap();
            assert!(read > 0, "it ended before it said `{start}`");
            if line.starts_with(start) {
                return line;
            }
        }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A folder with a file of pages that each hold their own number; gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, pages: usize) -> Self {
        let folder = std::env::temp_dir().join(format!("takeover-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let bytes: Vec<u8> = (0..pages).flat_map(|page| [page as u8 + 1; PAGE]).collect();
        fs::write(folder.join("object"), bytes).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Such a folder, and a keeper.
struct Scene {
    folder: Folder,
    keeper: Process,
}

impl Scene {
    fn new(name: &str, pages: usize) -> Self {
        let folder = Folder::new(name, pages);
        let mut keeper = Process::start(&["keeper", "--socket", path(&folder.0.join("keeper"))]);
        keeper.wait_for("keeping");
        Self { folder, keeper }
    }

    fn serve(&self) -> Process {
        let mut pager = self.begin_to_serve(&[]);
        pager.wait_for("serving");
        pager
    }

    fn begin_to_serve(&self, more: &[&str]) -> Process {
        let (file, socket) = (self.folder.0.join("object"), self.socket());
        let mut arguments = vec!["serve", path(&file), "--socket", path(&socket)];
        arguments.extend(["--writable", "--sync-every", "0"]);
        arguments.extend(more);
        Process::start(&arguments)
    }

    fn socket(&self) -> PathBuf {
        self.folder.0.join("keeper")
    }

    fn attach(&self) -> RemoteMapping {
        Client::new(self.socket()).attach("object").unwrap()
    }

    fn stored(&self, at: usize) -> u8 {
        fs::read(self.folder.0.join("object")).unwrap()[at]
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn peek(mapping: &RemoteMapping, at: usize) -> u8 {
    assert!(at < mapping.len());
    // SAFETY: within the mapping.
    unsafe { mapping.as_ptr().add(at).read_volatile() }
}

fn poke(mapping: &RemoteMapping, at: usize, value: u8) {
    assert!(at < mapping.len());
    // SAFETY: within the mapping.
    unsafe { mapping.as_mut_ptr().add(at).write_volatile(value) }
}

#[test]
fn what_was_written_before_a_kill_is_read_and_stored_after_it() {
    if !possible() {
        return;
    }
    let scene = Scene::new("stored", 8);
    let mut first = scene.serve();
    let mapping = scene.attach();
    assert_eq!(peek(&mapping, 3 * PAGE), 4);
    poke(&mapping, 3 * PAGE, 0xaa);
    poke(&mapping, 5 * PAGE, 0xbb);
    first.kill();
    assert_eq!(peek(&mapping, 3 * PAGE), 0xaa, "resident pages need no pager");
    poke(&mapping, 3 * PAGE + 1, 0xab);
    let mut second = scene.serve();
    assert_eq!((peek(&mapping, 3 * PAGE), peek(&mapping, 7 * PAGE)), (0xaa, 8));
    second.tell("sync");
    second.wait_for("synced");
    let stored = [3 * PAGE, 3 * PAGE + 1, 5 * PAGE].map(|at| scene.stored(at));
    assert_eq!(stored, [0xaa, 0xab, 0xbb]);
    poke(&mapping, 3 * PAGE, 0xac);
    second.tell("stop");
    second.wait_for("synced");
    assert_eq!(
        scene.stored(3 * PAGE),
        0xac,
        "written to again after a write-back"
    );
}

#[test]
fn a_thread_that_faults_while_no_pager_lives_waits_for_the_successor() {
    if !possible() {
        return;
    }
    let scene = Scene::new("waits", 8);
    let mut first = scene.serve();
    let mapping = scene.attach();
    peek(&mapping, 0);
    first.kill();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| peek(&mapping, 6 * PAGE));
        let writer = scope.spawn(|| poke(&mapping, 4 * PAGE, 1));
        let second = scene.serve();
        assert_eq!(reader.join().unwrap(), 7);
        writer.join().unwrap();
        drop(second);
    });
    assert_eq!(peek(&mapping, 4 * PAGE), 1);
}

#[test]
fn a_client_may_come_before_the_pager_and_between_two() {
    if !possible() {
        return;
    }
    let scene = Scene::new("early", 4);
    let early = std::thread::scope(|scope| {
        let client = scope.spawn(|| scene.attach());
        let mut first = scene.serve();
        let early = client.join().unwrap();
        assert_eq!(peek(&early, PAGE), 2);
        first.kill();
        early
    });
    let between = scene.attach();
    let _second = scene.serve();
    poke(&early, PAGE, 9);
    assert_eq!((peek(&between, PAGE), peek(&between, 2 * PAGE)), (9, 3));
}

#[test]
fn a_standby_takes_over_at_once_and_a_second_pager_is_refused() {
    if !possible() {
        return;
    }
    let scene = Scene::new("standby", 4);
    let mut first = scene.serve();
    let mut refused = scene.begin_to_serve(&[]);
    assert!(!refused.child.wait().unwrap().success(), "one pager at a time");
    let mut standby = scene.begin_to_serve(&["--standby"]);
    let mapping = scene.attach();
    poke(&mapping, 0, 7);
    first.kill();
    standby.wait_for("serving");
    assert_eq!((peek(&mapping, 0), peek(&mapping, 3 * PAGE)), (7, 4));
}

#[test]
fn clients_that_go_are_forgotten_and_what_they_wrote_is_kept() {
    if !possible() {
        return;
    }
    let mut scene = Scene::new("go", 4);
    let mut pager = scene.serve();
    let mapping = scene.attach();
    poke(&mapping, PAGE, 0x77);
    drop(mapping);
    scene.keeper.wait_for("object: client 0 is gone");
    let socket = scene.socket();
    let load = ["takeover-load", "--socket", path(&socket), "--object", "object"];
    let mut dies = Process::start(&[&load[..], &["--threads", "0", "--seed", "1"]].concat());
    dies.wait_for("ready");
    dies.kill();
    scene.keeper.wait_for("object: client 1 is gone");
    pager.kill();
    let _successor = scene.serve();
    assert_eq!(peek(&scene.attach(), PAGE), 0x77);
}

#[test]
fn a_dead_keeper_ends_neither_pager_nor_client() {
    if !possible() {
        return;
    }
    let mut scene = Scene::new("keeper", 4);
    let mut pager = scene.serve();
    let mapping = scene.attach();
    scene.keeper.kill();
    poke(&mapping, 2 * PAGE, 5);
    assert_eq!((peek(&mapping, PAGE), peek(&mapping, 2 * PAGE)), (2, 5));
    pager.tell("sync");
    pager.wait_for("synced");
    assert_eq!(scene.stored(2 * PAGE), 5);
    let refused = Client::new(scene.socket()).attach("object");
    assert!(matches!(refused, Err(TakeoverError::NoKeeper { .. })));
}

#[test]
fn the_death_of_the_keeper_is_an_event_and_the_pager_goes_on() {
    if !possible() {
        return;
    }
    let mut scene = Scene::new("event", 1);
    let linux = LinuxHost::new(LinuxOptions::default()).unwrap();
    let host = Arc::new(Host::new(linux, scene.socket()));
    let bucket = Bucket::builder().kernel(host.clone()).start().unwrap();
    let mut events = bucket.events();
    let options = PagerOptions {
        name: Some("mine".to_owned()),
        ..PagerOptions::default()
    };
    let store = MemoryBackend::from_bytes(&[7; 4 * PAGE]);
    let pager = bucket.create_pager(store, options).unwrap();
    let mapping = Client::new(scene.socket()).attach("mine").unwrap();
    assert_eq!(peek(&mapping, 0), 7);
    assert!(!host.is_alone());
    scene.keeper.kill();
    let gone = EventKind::Kernel(KernelNews::KeeperGone);
    while events.next_blocking().unwrap().kind != gone {}
    assert!(host.is_alone());
    poke(&mapping, PAGE, 8);
    assert_eq!((peek(&mapping, PAGE), peek(&mapping, 3 * PAGE)), (8, 7));
    pager.sync_blocking(Wait::Yes).unwrap();
    assert_eq!(pager.backend().read(PAGE as u64, 1), [8]);
    assert_eq!(events.try_next(), None, "it is told once");
    // Clients that come now find no keeper.
    let refused = Client::new(scene.socket()).attach("mine");
    assert!(matches!(refused, Err(TakeoverError::NoKeeper { .. })));
}

/// The keeper's child that is not `before`.
fn successor(keeper: &Process, before: u32) -> u32 {
    let keeper = keeper.child.id();
    let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap();
    let mut children = children.split_whitespace().map(|pid| pid.parse().unwrap());
    children.find(|&pid| pid != before).expect("a successor lives")
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_keeper_starts_successors_as_often_as_pagers_die() {
    if !possible() {
        return;
    }
    let folder = Folder::new("respawn", 8);
    let (file, socket) = (folder.0.join("object"), folder.0.join("keeper"));
    let serve = [PROGRAM, "serve", path(&file), "--socket", path(&socket)];
    let how = ["--writable", "--sync-every", "10"];
    let keep = ["keeper", "--socket", path(&socket), "--respawn"];
    let mut keeper = Process::start(&[&keep[..], &serve, &how].concat());
    keeper.wait_for("keeping");
    // The first pager is started by hand, the others are not.
    let mut pager = Process::start(&[&serve[1..], &how].concat());
    keeper.wait_for("object: served by process 1");
    let mapping = Client::new(&socket).attach("object").unwrap();
    poke(&mapping, 0, 100);
    let mut victim = pager.child.id();
    pager.kill();
    for generation in 2..5_u8 {
        keeper.wait_for(&format!("object: served by process {generation}"));
        victim = successor(&keeper, victim);
        assert_eq!(peek(&mapping, 0), 98 + generation);
        assert_eq!(peek(&mapping, usize::from(generation) * PAGE), generation + 1);
        poke(&mapping, 0, 99 + generation);
        kill(victim);
    }
    keeper.wait_for("object: served by process 5");
    let last = successor(&keeper, victim);
    assert_eq!(peek(&mapping, 0), 103);
    let start = Instant::now();
    while fs::read(&file).unwrap()[0] != 103 {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "it is not written back"
        );
        std::thread::yield_now();
    }
    // The keeper goes first, so that there is no other.
    keeper.kill();
    kill(last);
}

#[test]
fn an_object_that_nobody_makes_is_waited_for_only_so_long() {
    let scene = Scene::new("nobody", 1);
    let client = Client::new(scene.socket()).patience(Some(Duration::from_millis(20)));
    assert!(matches!(client.attach("object"), Err(TakeoverError::NoObject)));
}

#[test]
fn another_length_is_refused() {
    if !possible() {
        return;
    }
    let scene = Scene::new("shape", 4);
    scene.serve().kill();
    fs::write(scene.folder.0.join("object"), vec![1; 8 * PAGE]).unwrap();
    let mut other = scene.begin_to_serve(&[]);
    assert!(!other.child.wait().unwrap().success());
}

#[test]
fn twenty_kills_under_load_lose_nothing() {
    if !possible() {
        return;
    }
    let mut drill = Process::start(&["takeover", "--kills", "20", "--seed", "20", "--size", "8M"]);
    let line = drill.wait_for("lost:");
    assert!(line.starts_with("lost: 0 (kills 20, "), "{line}");
    assert!(drill.child.wait().unwrap().success());
}

/// Reads a byte by a system call, which gives an error where a load would give `SIGBUS`.
fn try_peek(mapping: &RemoteMapping, at: usize) -> rustix::io::Result<u8> {
    assert!(at < mapping.len());
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    // SAFETY: within the mapping; nobody writes to it meanwhile.
    let bytes = unsafe { std::slice::from_raw_parts(mapping.as_ptr().add(at), 1) };
    rustix::io::write(&writer, bytes)?;
    let mut byte = [0];
    rustix::io::read(&reader, &mut byte)?;
    Ok(byte[0])
}

#[test]
fn a_page_that_failed_heals_also_when_its_pager_died() {
    if !possible() {
        return;
    }
    let described = LinuxHost::new(LinuxOptions::default()).unwrap().describe();
    if described.contains("user mode only") {
        return println!("skipped: {described}");
    }
    let scene = Scene::new("heals", 4);
    let mut first = scene.serve();
    let mapping = scene.attach();
    let file = scene.folder.0.join("object");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..PAGE]).unwrap();
    assert_eq!(try_peek(&mapping, 3 * PAGE), Err(rustix::io::Errno::FAULT));
    first.kill();
    fs::write(&file, &whole).unwrap();
    let _second = scene.serve();
    let start = Instant::now();
    while try_peek(&mapping, 3 * PAGE) != Ok(4) {
        assert!(start.elapsed() < Duration::from_secs(60), "the page stays bad");
        std::thread::yield_now();
    }
}
