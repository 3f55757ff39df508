//! Why a command failed: one sentence for the person who ran it.

use std::fmt;

/// One sentence that says what failed and what to do.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// The failure that this sentence tells.
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
