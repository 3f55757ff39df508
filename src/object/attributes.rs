//! The object's attributes and the changes that the kernel has not confirmed.

use std::collections::VecDeque;

use super::{CopyStrategy, RequestToken};

/// What the kernel is told of an object as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// Keep pages when the last mapping goes.
    pub may_cache: bool,
    /// How copies are made.
    pub copy_strategy: CopyStrategy,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct AttributeState {
    pub(crate) current: Attributes,
    pending: VecDeque<(RequestToken, Attributes)>,
}

impl AttributeState {
    pub(crate) fn new(current: Attributes) -> Self {
        Self {
            current,
            pending: VecDeque::new(),
        }
    }

    /// True if a change to `to` need not be sent: nothing changes, and there is nothing to wait for.
    pub(crate) fn is_idle(&self, to: Attributes, wait: bool) -> bool {
        self.current == to && (!wait || self.pending.is_empty())
    }

    pub(crate) fn wait(&mut self, token: RequestToken, for_what: Attributes) {
        self.pending.push_back((token, for_what));
    }

    /// The kernel confirms: the first who waits for these values is told.
    pub(crate) fn confirm(&mut self, confirmed: Attributes) -> Option<RequestToken> {
        let at = self
            .pending
            .iter()
            .position(|(_, waits_for)| *waits_for == confirmed)?;
        self.pending.remove(at).map(|(token, _)| token)
    }

    /// Takes the first who waits, whatever for.
    pub(crate) fn take_first(&mut self) -> Option<RequestToken> {
        self.pending.pop_front().map(|(token, _)| token)
    }

    /// What is waited for, in order.
    #[cfg(test)]
    pub(crate) fn pending_values(&self) -> impl Iterator<Item = Attributes> + '_ {
        self.pending.iter().map(|(_, values)| *values)
    }

    /// Everybody who waits.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = RequestToken> + '_ {
        self.pending.iter().map(|(token, _)| *token)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.pending.capacity() * size_of::<(RequestToken, Attributes)>()
    }
}
