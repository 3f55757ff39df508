//! The program, as its users meet it: output, exit codes, files.

#[cfg(target_os = "linux")]
mod bench;
mod demo;
mod errors;
#[cfg(target_os = "linux")]
mod forbidden;
mod page;
mod support;
