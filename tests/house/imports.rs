//! Who names whom: paths from `crate`, `super` and `std`, and the layers they must keep to.

use crate::source::Source;

/// What each layer may name of ours. Modules that are not listed stand above them all.
const LAYERS: &[(&str, &[&str])] = &[
    ("object", &["object"]),
    ("mach", &["mach", "object"]),
    ("backend", &["backend", "object"]),
    (
        "actors",
        &["actors", "backend", "error", "mach", "object", "plan"],
    ),
    ("plan", &["object", "plan"]),
    ("takeover", &["mach", "mapping", "object", "takeover"]),
];

/// Kernels, none of which may name another.
const KERNELS: &[&str] = &["sim", "linux", "hurd", "xnu"];

/// What the pure core must do without: the system, the clock, threads, I/O.
const IMPURE: &[&str] = &["io", "fs", "net", "os", "process", "thread", "time", "env"];

/// What of a file breaks the rules.
pub(crate) fn complaints(source: &Source) -> Vec<String> {
    let Some(inside) = source.path.strip_prefix("src/") else {
        return Vec::new();
    };
    if inside == "main.rs" || inside.starts_with("cli/") {
        return Vec::new();
    }
    let here = module(inside);
    let mut complaints = foreign_crates(source, &here);
    for (line, path) in paths(&source.code) {
        if let Some(rule) = broken(&here, &path) {
            complaints.push(format!("{}:{line}: `{}`: {rule}", source.path, path.join("::")));
        }
    }
    complaints
}

/// The module a file holds: `object/range.rs` is object::range, `object/mod.rs` object.
fn module(inside: &str) -> Vec<&str> {
    let mut module: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
    if matches!(module.last(), Some(&("mod" | "lib"))) {
        module.pop();
    }
    module
}

fn foreign_crates(source: &Source, here: &[&str]) -> Vec<String> {
    if here.first() == Some(&"actors") {
        return Vec::new();
    }
    let lines = source.lines_with_word("actix");
    lines
        .into_iter()
        .map(|line| format!("{line}: only src/actors may name actix"))
        .collect()
}

/// The rule that a path breaks, if any.
fn broken(here: &[&str], path: &[String]) -> Option<&'static str> {
    let target = resolve(here, path);
    let target: Vec<&str> = target.iter().map(String::as_str).collect();
    let layer = *here.first()?;
    if let ["std", name, ..] = target[..] {
        let impure = layer == "object" && IMPURE.contains(&name);
        return impure.then_some("the core knows no system, clock, thread or I/O");
    }
    let ["crate", first, ..] = target[..] else {
        return None;
    };
    let layers = LAYERS.iter().find(|(name, _)| *name == layer);
    if layers.is_some_and(|(_, allowed)| !allowed.contains(&first)) {
        return Some("this layer may not name that one (see LAYERS in tests/house/imports.rs)");
    }
    other_kernel(here, &target).then_some("kernels never name each other")
}

fn other_kernel(here: &[&str], target: &[&str]) -> bool {
    match (here, target) {
        (["mach", ours, ..], ["crate", "mach", theirs, ..]) => {
            ours != theirs && KERNELS.contains(ours) && KERNELS.contains(theirs)
        }
        _ => false,
    }
}

/// The path from the crate's root.
fn resolve(here: &[&str], path: &[String]) -> Vec<String> {
    let ups = path.iter().take_while(|segment| *segment == "super").count();
    if ups == 0 {
        return path.to_vec();
    }
    let base = &here[..here.len().saturating_sub(ups)];
    let names = ["crate"].iter().chain(base).map(|name| (*name).to_owned());
    names.chain(path[ups..].iter().cloned()).collect()
}

/// Every path in the code that begins with `crate`, `super` or `std`, with its line; groups are
/// taken apart.
fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for root in ["crate::", "super::", "std::"] {
        for (at, _) in code.match_indices(root) {
            let inner = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            if !code[..at].ends_with(inner) {
                let line = code[..at].matches('\n').count() + 1;
                let mut leaves = Vec::new();
                tree(&code[at..], &[], &mut leaves);
                found.extend(leaves.into_iter().map(|path| (line, path)));
            }
        }
    }
    found
}

/// Takes one path or group at the start of `code` apart; returns how long it was.
fn tree(code: &str, prefix: &[String], leaves: &mut Vec<Vec<String>>) -> usize {
    let skipped = code.len() - code.trim_start().len();
    let rest = &code[skipped..];
    if let Some(inside) = rest.strip_prefix('{') {
        return skipped + 1 + group(inside, prefix, leaves);
    }
    let length = rest
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    let mut path = prefix.to_vec();
    if length > 0 {
        path.push(rest[..length].to_owned());
    }
    if rest[length..].starts_with("::") {
        return skipped + length + 2 + tree(&rest[length + 2..], &path, leaves);
    }
    leaves.push(path);
    skipped + length
}

fn group(inside: &str, prefix: &[String], leaves: &mut Vec<Vec<String>>) -> usize {
    let mut at = 0;
    while at < inside.len() && !inside[at..].starts_with('}') {
        at += tree(&inside[at..], prefix, leaves);
        // Commas, stars, renames: whatever stands before the next path or the end.
        at += inside[at..].find([',', '}']).unwrap_or(inside.len() - at);
        if inside[at..].starts_with(',') {
            at += 1;
            at += inside[at..].len() - inside[at..].trim_start().len();
        }
    }
    at + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Vec<String> {
        complaints(&Source::new(path.to_owned(), text))
    }

    #[test]
    fn a_layer_that_reaches_up_is_found() {
        assert_eq!(check("src/object/range.rs", "use crate::mach::Call;").len(), 1);
        assert_eq!(
            check("src/object/range.rs", "use super::super::mach::Call;").len(),
            1
        );
        assert_eq!(
            check("src/mach/kernel.rs", "use crate::{object::A, backend::{B, C}};").len(),
            2
        );
        assert_eq!(
            check("src/object/mod.rs", "use std::{fmt, time::Instant};").len(),
            1
        );
        assert_eq!(check("src/backend/mod.rs", "use actix::Addr;").len(), 1);
    }

    #[test]
    fn a_kernel_that_names_another_is_found() {
        assert_eq!(
            check("src/mach/linux/pump.rs", "use crate::mach::sim::X;").len(),
            1
        );
        assert_eq!(
            check("src/mach/linux/pump.rs", "use super::super::sim::X;").len(),
            1
        );
        assert!(check("src/mach/linux/pump.rs", "use super::super::kernel::X;").is_empty());
    }

    #[test]
    fn what_is_allowed_passes() {
        assert!(
            check(
                "src/mach/kernel.rs",
                "use crate::object::{A, b::C};\nuse super::D;"
            )
            .is_empty()
        );
        assert!(check("src/bucket.rs", "use crate::{mach::A, actors::B};").is_empty());
        assert!(check("src/backend/mod.rs", "use std::io; mod run; use run::X;").is_empty());
    }
}
