//! Checks the house: who imports whom, where `unsafe` stands, how long functions and files are,
//! and that nothing outside tests can panic for want of a value.

mod functions;
mod imports;
mod lexer;
mod source;
mod words;

use source::Source;

/// The only files that may say `unsafe`.
const UNSAFE_FILES: &[&str] = &[
    "examples/chaos/word.rs",
    "examples/hello_page.rs",
    "src/cli/bench/sys/map.rs",
    "src/cli/bench/sys/target.rs",
    "src/cli/bench/sys/uffd.rs",
    "src/capi/callbacks.rs",
    "src/capi/lent.rs",
    "src/capi/mach_h.rs",
    "src/capi/mappings.rs",
    "src/capi/pager_h.rs",
    "src/capi/ports_h.rs",
    "src/capi/raw.rs",
    "src/cli/keeper/words.rs",
    "src/cli/memory.rs",
    "src/cli/sigbus.rs",
    "src/mach/linux/forks.rs",
    "src/mach/linux/journal.rs",
    "src/mach/linux/memory.rs",
    "src/mach/linux/message.rs",
    "src/mach/linux/pagemap.rs",
    "src/mach/linux/uffd.rs",
    "src/mach/linux/view.rs",
];

/// The longest function, in lines from `fn` to the closing brace.
const LONGEST_FUNCTION: usize = 70;

/// The longest file, in lines without its tests.
const LONGEST_FILE: usize = 400;

/// What would panic.
const PANICS: &[&str] = &[".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!("];

fn ours() -> Vec<Source> {
    let sources = source::all(&["src", "xtask/src", "examples", "benches"]);
    assert!(sources.len() > 10, "the sources were not found");
    sources
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn imports_follow_the_layers() {
    let sources = source::all(&["src"]);
    let complaints: Vec<String> = sources.iter().flat_map(imports::complaints).collect();
    assert_none(&complaints);
}

#[test]
fn unsafe_stands_in_the_named_files_only() {
    let complaints: Vec<String> = ours()
        .iter()
        .filter(|source| !UNSAFE_FILES.contains(&source.path.as_str()))
        .flat_map(|source| source.lines_with_word("unsafe"))
        .map(|line| format!("{line}: `unsafe` in a file that tests/house/main.rs does not name"))
        .collect();
    assert_none(&complaints);
}

#[test]
fn the_files_named_for_unsafe_need_it() {
    let sources = ours();
    let needs = |path: &str| {
        let source = sources.iter().find(|source| source.path == path);
        source.is_some_and(|source| !source.lines_with_word("unsafe").is_empty())
    };
    let complaints: Vec<String> = UNSAFE_FILES
        .iter()
        .filter(|path| !needs(path))
        .map(|path| format!("{path}: named in tests/house/main.rs, but says no `unsafe`"))
        .collect();
    assert_none(&complaints);
}

#[test]
fn functions_are_short() {
    let sources = ours();
    let mut lengths = Vec::new();
    let mut complaints = Vec::new();
    for source in &sources {
        for function in functions::of(source) {
            if function.lines > LONGEST_FUNCTION {
                complaints.push(format!("{function}, more than {LONGEST_FUNCTION}"));
            }
            lengths.push(function.lines);
        }
    }
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    let longest = lengths[lengths.len() - 1];
    println!(
        "{} functions: median {median} lines (aim: under 10), longest {longest}",
        lengths.len()
    );
    assert_none(&complaints);
}

#[test]
fn files_are_short() {
    let complaints: Vec<String> = ours()
        .iter()
        .filter(|source| source.lines_without_tests > LONGEST_FILE)
        .map(|source| {
            let lines = source.lines_without_tests;
            format!(
                "{}: {lines} lines without tests, more than {LONGEST_FILE}",
                source.path
            )
        })
        .collect();
    assert_none(&complaints);
}

#[test]
fn nothing_outside_tests_panics_on_purpose() {
    let complaints: Vec<String> = source::all(&["src", "xtask/src", "examples"])
        .iter()
        .flat_map(|source| {
            PANICS.iter().flat_map(move |panic| {
                let lines = source.lines_with(panic);
                lines.into_iter().map(move |line| format!("{line}: `{panic}`"))
            })
        })
        .collect();
    assert_none(&complaints);
}

#[test]
fn the_documents_name_tests_that_exist() {
    assert_none(&words::missing_tests());
}

#[test]
fn the_documents_name_every_public_error() {
    assert_none(&words::missing_errors(&source::all(&["src"])));
}
