//! What the tests need from the system, and how Debian provides it.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::cargo::succeed;
use crate::failure::Failure;

/// A program that some test runs, and the Debian package it comes in.
struct Need {
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
}

const NEEDS: &[Need] = &[
    Need {
        program: "cc",
        package: "gcc libc6-dev",
        purpose: "links programs and compiles the C examples",
    },
    Need {
        program: "c++",
        package: "g++",
        purpose: "checks that the C headers suit C++, too",
    },
    Need {
        program: "pkg-config",
        package: "pkg-config",
        purpose: "finds the C interface",
    },
];

/// Installs what is missing on Debian; says what is missing elsewhere.
///
/// Only a package that cannot be installed although the system is Debian's and we are root is a
/// failure: elsewhere the tests that need it say that they are skipped.
pub(crate) fn provide() -> Result<(), Failure> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !is_here(need.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    match installer() {
        Some(prefix) => install(prefix, &missing),
        None => {
            explain(&missing);
            Ok(())
        }
    }
}

fn is_here(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// What to put before `apt-get`; `None` where we cannot install.
fn installer() -> Option<&'static [&'static str]> {
    if !Path::new("/etc/debian_version").exists() || !is_here("apt-get") {
        return None;
    }
    if is_root() {
        return Some(&[]);
    }
    let sudo = quiet(Command::new("sudo").args(["-n", "true"]));
    sudo.then_some(&["sudo", "-n"])
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn quiet(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn packages<'a>(missing: &[&'a Need]) -> Vec<&'a str> {
    missing.iter().flat_map(|need| need.package.split(' ')).collect()
}

fn install(prefix: &[&str], missing: &[&Need]) -> Result<(), Failure> {
    let packages = packages(missing);
    // The lists of a fresh system are empty or old; an update that fails may still leave enough.
    let _ = succeed("apt-get update", &mut apt(prefix, &["update", "--quiet"]));
    let mut arguments = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    arguments.extend(&packages);
    succeed(
        &format!("apt-get install {}", packages.join(" ")),
        &mut apt(prefix, &arguments),
    )
}

fn apt(prefix: &[&str], arguments: &[&str]) -> Command {
    let words: Vec<&str> = prefix.iter().copied().chain(["apt-get"]).collect();
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    command
}

fn explain(missing: &[&Need]) {
    for need in missing {
        eprintln!(
            "note: `{}` is missing ({}); on Debian it comes in the package(s) {}; install it with \
             your system's means, or the tests that need it are skipped",
            need.program, need.purpose, need.package
        );
    }
}
