//! The program, as its users meet it: output, exit codes, files.

#[cfg(target_os = "linux")]
mod bench;
mod demo;
mod errors;
#[cfg(target_os = "linux")]
mod forbidden;
#[cfg(target_os = "linux")]
#[path = "../http_server/mod.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod http_server;
mod page;
mod support;
