//! The program, as its users meet it: output, exit codes, files.

mod demo;
mod errors;
mod page;
mod support;
