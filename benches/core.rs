//! `cargo bench --bench core`: how many instructions the protocol core takes for each piece of work.
//!
//! Counted by callgrind, so that a busy machine changes nothing: each work is done `FEW` and `MANY`
//! times, and the difference is divided. Results go to `target/bench/core.json`.

use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode};

use actor_pager::mach::eviction::{EvictionPolicy, S3Fifo};
use actor_pager::mach::stream::StreamDetector;
use actor_pager::object::{
    DataId, Effect, Event, MemoryObject, ObjectOptions, PageIndex, PageRange, PageSize, PagesSupplied,
    PortName, Prot,
};

const FEW: u64 = 1000;
const MANY: u64 = 5000;
const CONTROL: PortName = PortName(1);
const PAGE: u64 = 4096;

/// A name, and the work done so many times.
type Work = (&'static str, fn(u64));

const WORKS: [Work; 4] = [
    ("fault: request, read, supply", faults),
    ("write-back: return, write, release", write_backs),
    ("stream: one random fault", streams),
    ("S3-FIFO: one page in, one out", evictions),
];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--work") {
        let number = |at: usize| args.get(at).and_then(|arg| arg.parse::<usize>().ok());
        let (work, times) = number(at + 1)
            .zip(number(at + 2))
            .ok_or("--work takes two numbers")?;
        WORKS.get(work).ok_or("there is no such work")?.1(times as u64);
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = Vec::new();
    for (at, (name, _)) in WORKS.iter().enumerate() {
        let Some((few, many)) = count(at, FEW)?.zip(count(at, MANY)?) else {
            println!("skipped: valgrind, which counts the instructions, is not installed");
            return Ok(ExitCode::SUCCESS);
        };
        let each = many.saturating_sub(few) as f64 / (MANY - FEW) as f64;
        println!("{name:<40}{each:>10.0} instructions");
        lines.push(format!("  {{\"work\": \"{name}\", \"instructions\": {each:.1}}}"));
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("core.json"), format!("[\n{}\n]\n", lines.join(",\n")))?;
    Ok(ExitCode::SUCCESS)
}

/// The instructions of a run of this program; nothing without valgrind.
fn count(work: usize, times: u64) -> Result<Option<u64>, Box<dyn Error>> {
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["--work".to_owned(), work.to_string(), times.to_string()])
        .output();
    let output = match run {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    let (_, number) = collected.ok_or_else(|| format!("valgrind did not count: {said}"))?;
    Ok(Some(number.trim().parse()?))
}

fn object(effects: &mut Vec<Effect>) -> MemoryObject {
    let mut object = MemoryObject::new(ObjectOptions::new(PageSize::KIB_4));
    let (name, page_size) = (PortName(2), PAGE);
    object.handle(
        Event::Init {
            control: CONTROL,
            name,
            page_size,
        },
        effects,
    );
    object
}

fn fault(object: &mut MemoryObject, page: u64, effects: &mut Vec<Effect>) {
    effects.clear();
    let (offset, length, access) = (page * PAGE, PAGE, Prot::READ_WRITE);
    object.handle(
        Event::DataRequest {
            control: CONTROL,
            offset,
            length,
            access,
        },
        effects,
    );
    if let Some(&Effect::Read { op, range, .. }) = effects.first() {
        effects.clear();
        let supplied = PagesSupplied {
            data: DataId(0),
            write_lock: false,
        };
        object.handle(
            Event::PagesRead {
                op,
                range,
                result: Ok(supplied),
            },
            effects,
        );
    }
    assert!(
        matches!(effects.first(), Some(Effect::DataSupply { .. })),
        "{effects:?}"
    );
}

fn faults(times: u64) {
    let mut effects = Vec::new();
    let mut object = object(&mut effects);
    (0..times).for_each(|page| fault(&mut object, page, &mut effects));
}

fn write_backs(times: u64) {
    let mut effects = Vec::new();
    let mut object = object(&mut effects);
    (0..MANY).for_each(|page| fault(&mut object, page, &mut effects));
    for page in 0..times {
        effects.clear();
        let returned = Event::DataReturn {
            control: CONTROL,
            offset: page * PAGE,
            length: PAGE,
            data: DataId(1),
            dirty: true,
            kernel_copy: false,
        };
        object.handle(returned, &mut effects);
        let Some(&Effect::Write { op, .. }) = effects.first() else {
            panic!("{effects:?}");
        };
        effects.clear();
        object.handle(
            Event::PagesWritten {
                op,
                written: 1,
                error: None,
            },
            &mut effects,
        );
        assert!(
            matches!(effects.first(), Some(Effect::Release { .. })),
            "{effects:?}"
        );
    }
}

fn streams(times: u64) {
    let pages = PageRange::with_len(PageIndex(0), 1 << 28);
    let mut detector = StreamDetector::new(pages, 64);
    let mut page = 1;
    for _ in 0..times {
        page = (page * 5 + 12_345) % (1 << 28);
        std::hint::black_box(detector.on_fault(PageIndex(page)));
    }
}

fn evictions(times: u64) {
    let mut policy = S3Fifo::default();
    let mut victims = Vec::new();
    (0..MANY).for_each(|page| policy.inserted(PageIndex(page)));
    for page in (MANY..).take(times as usize) {
        policy.inserted(PageIndex(page));
        victims.clear();
        policy.victims(1, &mut |_| true, &mut victims);
    }
}
