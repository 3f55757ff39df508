//! Reads what test programs print and adds up how their tests went.

/// How the tests of all programs went so far, and what of their output to show.
///
/// A test that finds it cannot run prints a line `skipped: why` and returns; it then counts as
/// skipped, like an ignored one. Other output of tests that passed is not shown.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    in_successes: bool,
    test: String,
    skipped_here: u64,
}

impl Tally {
    /// Takes one line of output; says what to show for it.
    pub(crate) fn line(&mut self, line: &str) -> Option<String> {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.count(counts);
        } else if line == "successes:" {
            self.in_successes = true;
            return None;
        } else if line == "failures:" {
            self.in_successes = false;
        }
        if self.in_successes {
            self.success_line(line)
        } else {
            Some(line.to_owned())
        }
    }

    /// The line that everything ends with.
    pub(crate) fn summary(&self) -> String {
        format!(
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }

    fn success_line(&mut self, line: &str) -> Option<String> {
        let header = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"));
        if let Some(test) = header {
            test.clone_into(&mut self.test);
        }
        let why = line.trim_start().strip_prefix("skipped: ")?;
        // A test that gives several reasons is still one test.
        if self.test.is_empty() {
            return None;
        }
        self.skipped_here += 1;
        Some(format!("skipped {}: {why}", std::mem::take(&mut self.test)))
    }

    /// Adds `ok. 3 passed; 0 failed; 1 ignored; …`.
    fn count(&mut self, counts: &str) {
        for part in counts.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let number = words.next().and_then(|word| word.parse::<u64>().ok());
            match (number, words.next()) {
                (Some(number), Some("passed")) => self.passed += number - self.skipped_here.min(number),
                (Some(number), Some("failed")) => self.failed += number,
                (Some(number), Some("ignored")) => self.skipped += number,
                _ => {}
            }
        }
        self.skipped += std::mem::take(&mut self.skipped_here);
        self.in_successes = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(output: &str) -> (Tally, Vec<String>) {
        let mut tally = Tally::default();
        let shown = output.lines().filter_map(|line| tally.line(line)).collect();
        (tally, shown)
    }

    #[test]
    fn programs_are_summed() {
        let (tally, _) = tally(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
             test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(tally.summary(), "7 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn a_test_that_says_skipped_is_not_counted_as_passed() {
        let (tally, shown) = tally(
            "successes:\n\n---- a stdout ----\nchatter\nskipped: no privilege\nskipped: twice\n\n\
             successes:\n    a\n    b\n\n\
             test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(tally.summary(), "1 passed, 0 failed, 1 skipped");
        assert_eq!(shown[0], "skipped a: no privilege");
        assert_eq!(shown.len(), 2);
    }

    #[test]
    fn failures_are_shown() {
        let (_, shown) = tally("successes:\n---- a stdout ----\nx\nfailures:\n---- b stdout ----\nboom\n");
        assert_eq!(shown, ["failures:", "---- b stdout ----", "boom"]);
    }
}
