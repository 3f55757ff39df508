//! The program `actor-pager`: shows the library at work on real memory, and measures it.

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
