//! One of those that are compared.

use std::time::Duration;

use super::error::BenchError;

/// Does the work of a row once a round.
pub(crate) trait Side {
    /// Brings everything into the state in which a round starts; not timed.
    fn reset(&mut self) -> Result<(), BenchError>;

    /// Does the work; how long it took.
    fn run(&mut self) -> Result<Duration, BenchError>;
}
