//! Trying again and again what does not always pay.

/// After so many vain attempts in a row the pauses between them grow no more.
const MOST_VAIN: u32 = 6;

/// Says whether to try after a turn.
#[derive(Debug, Default)]
pub(super) struct Thrift {
    /// Attempts in a row that were in vain.
    vain: u32,
    /// Turns to let pass before the next.
    pass: u32,
}

impl Thrift {
    pub(super) fn may_try(&mut self) -> bool {
        let may = self.pass == 0;
        self.pass = self.pass.saturating_sub(1);
        may
    }

    pub(super) fn paid(&mut self) {
        self.vain = 0;
    }

    pub(super) fn in_vain(&mut self) {
        self.vain = (self.vain + 1).min(MOST_VAIN);
        self.pass = (1 << self.vain) - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns until the next attempt.
    fn pause(thrift: &mut Thrift) -> u32 {
        (0..).find(|_| thrift.may_try()).unwrap()
    }

    #[test]
    fn pauses_grow_while_attempts_are_in_vain_and_one_that_paid_ends_them() {
        let mut thrift = Thrift::default();
        assert_eq!(pause(&mut thrift), 0);
        for turns in [1, 3, 7, 15, 31, 63, 63] {
            thrift.in_vain();
            assert_eq!(pause(&mut thrift), turns);
        }
        thrift.paid();
        thrift.in_vain();
        assert_eq!(pause(&mut thrift), 1);
    }
}
