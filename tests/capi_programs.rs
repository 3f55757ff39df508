//! C programs against the installed C interface, compiled with the system's compiler and run.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Where the C interface is installed for these tests, by `cargo xtask capi`.
fn installed() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capi");
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["xtask", "capi", "--debug", "--prefix"]);
        succeed(cargo.arg(&prefix));
        prefix
    })
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    output
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compiles a C program as its author would; `options` come last. What the compiler has against it
/// is an error.
fn compile(name: &str, path: &str, options: &[&str]) -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let prefix = installed();
    let mut cc = Command::new("cc");
    cc.args(["-Wall", "-Wextra", "-Werror", "-pthread", "-o"])
        .arg(&program);
    cc.arg(source(path))
        .arg("-I")
        .arg(prefix.join("include/actor-pager"));
    cc.arg("-L").arg(prefix.join("lib")).args(options);
    succeed(&mut cc);
    program
}

fn run(program: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command
        .env("LD_LIBRARY_PATH", installed().join("lib"))
        .args(arguments);
    command.output().expect("the program starts")
}

fn check(name: &str) {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| compile("checks", "tests/capi/checks.c", &["-lactor_pager"]));
    passes(&run(program, &[name]), name);
}

fn passes(output: &Output, name: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{text}", output.status);
    assert!(text.is_empty(), "{name}: {text}");
}

macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*
    };
}

checks!(
    data_arrive_and_return,
    bulk_writes_and_what_they_leave,
    a_bad_page_raises_sigbus_and_heals,
    memcpy_counts_up_to_the_bad_page,
    a_write_lock_asks_before_the_first_store,
    a_failed_write_is_told_once_and_kept,
    flush_drops_and_return_writes_back,
    an_offered_page_is_there_without_a_read,
    a_callback_may_call_its_own_pager,
    the_pager_ends_with_its_last_holder,
    weak_references_are_asked_to_go,
    an_unused_pager_ends_too,
    inhibition_lets_requests_wait,
    a_read_only_port_maps_for_reading_only,
    a_mapping_goes_piece_by_piece,
    memory_without_a_pager,
    a_copy_is_its_own,
    shutdown_writes_all_back,
    attributes_can_be_changed,
    handles_that_are_wrong_are_errors,
);

#[test]
fn a_missing_callback_is_named_when_the_pager_is_made() {
    let options = ["-DWITHOUT_UNLOCK", "-lactor_pager"];
    let program = compile("without-unlock", "tests/capi/checks.c", &options);
    let output = run(&program, &["a_missing_callback_is_named"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("the program does not define pager_unlock_page;"),
        "{text}"
    );
}

#[test]
fn bulk_writes_are_used_where_the_program_has_them() {
    let program = compile("bulk", "tests/capi/checks.c", &["-DBULK", "-lactor_pager"]);
    for name in ["bulk_writes_and_what_they_leave", "shutdown_writes_all_back"] {
        passes(&run(&program, &[name]), name);
    }
}

#[test]
fn the_static_library_will_do() {
    let libraries = [
        "-Wl,-Bstatic",
        "-lactor_pager",
        "-Wl,-Bdynamic",
        "-lgcc_s",
        "-lm",
        "-ldl",
    ];
    let program = compile("static", "tests/capi/checks.c", &libraries);
    for name in ["data_arrive_and_return", "a_bad_page_raises_sigbus_and_heals"] {
        passes(&run(&program, &[name]), name);
    }
    let needed = Command::new("ldd").arg(&program).output().expect("ldd starts");
    assert!(!String::from_utf8_lossy(&needed.stdout).contains("libactor_pager"));
}

#[test]
fn callbacks_in_a_library_of_the_programs_own_are_found() {
    let folder = env!("CARGO_TARGET_TMPDIR");
    let rpath = format!("-Wl,-rpath,{folder}");
    let shared = ["-shared", "-fPIC", "-Dmain=run_check", "-lactor_pager"];
    compile("libcallbacks.so", "tests/capi/checks.c", &shared);
    let main = Path::new(folder).join("main.c");
    let text = "int run_check (int, char **);\nint main (int argc, char **argv) { return run_check (argc, argv); }\n";
    fs::write(&main, text).expect("a source");
    let program = Path::new(folder).join("main-of-library");
    let mut cc = Command::new("cc");
    cc.arg(&main)
        .arg("-o")
        .arg(&program)
        .arg("-L")
        .arg(folder)
        .args(["-lcallbacks", &rpath]);
    cc.arg(format!("-Wl,-rpath-link,{}", installed().join("lib").display()));
    succeed(&mut cc);
    passes(
        &run(&program, &["data_arrive_and_return"]),
        "data_arrive_and_return",
    );
}

/// A header must need no other before it, in the languages that programs are written in.
#[test]
fn every_header_compiles_by_itself() {
    for header in [
        "mach.h",
        "hurd.h",
        "hurd/ports.h",
        "hurd/pager.h",
        "mach/port.h",
        "mach/mach_types.h",
    ] {
        for (language, standard) in [("c", "-std=c99"), ("c", "-std=gnu11"), ("c++", "-std=c++11")] {
            let mut cc = Command::new("cc");
            cc.args([
                "-Wall",
                "-Wextra",
                "-Werror",
                "-pedantic",
                "-fsyntax-only",
                standard,
                "-x",
                language,
            ]);
            cc.arg("-I")
                .arg(source("include"))
                .arg("-include")
                .arg(header)
                .arg("/dev/null");
            let output = cc.output().expect("cc starts");
            let text = String::from_utf8_lossy(&output.stderr);
            if language == "c++" && text.contains("cc1plus") {
                println!("skipped: there is no C++ compiler");
                continue;
            }
            assert!(output.status.success(), "{header} as {language}: {text}");
        }
    }
}

#[test]
fn pkg_config_says_how_to_build() {
    let mut pkg_config = Command::new("pkg-config");
    pkg_config.env("PKG_CONFIG_PATH", installed().join("lib/pkgconfig"));
    let Ok(output) = pkg_config.args(["--cflags", "--libs", "actor-pager"]).output() else {
        return println!("skipped: there is no pkg-config");
    };
    assert!(output.status.success(), "{output:?}");
    let options = String::from_utf8(output.stdout).expect("text");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("by-pkg-config");
    let mut cc = Command::new("cc");
    cc.arg(source("examples/c/file_pager.c"))
        .arg("-o")
        .arg(&program)
        .args(options.split_whitespace());
    succeed(&mut cc);
    let output = run(&program, &[]);
    assert_eq!(output.status.code(), Some(2), "the usage: {output:?}");
}

#[test]
fn the_file_pager_reads_writes_and_reports() {
    let program = compile("file-pager", "examples/c/file_pager.c", &["-lactor_pager"]);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("paged");
    let mut text: Vec<u8> = (0..10_001_u32).map(|byte| (byte % 251) as u8).collect();
    fs::write(&file, &text).expect("a file");
    let path = file.to_str().expect("a path");
    let output = run(&program, &[path]);
    passes(&output, "reading");
    assert!(output.stdout == text, "the file's bytes");
    passes(&run(&program, &[path, "written through memory"]), "writing");
    text[..22].copy_from_slice(b"written through memory");
    assert!(
        fs::read(&file).expect("the file") == text,
        "no other byte has changed"
    );
    let output = run(&program, &["/nonexistent"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("No such file"));
}
