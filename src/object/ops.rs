//! Backend operations in flight, by name.

use super::{DataId, OpId, PageRange, PortName};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OpKind {
    Read,
    Write {
        data: DataId,
        kernel_copy: bool,
        seq: u64,
    },
    Unlock,
}

/// One operation in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) kind: OpKind,
    /// Where the answer for the kernel goes.
    pub(crate) control: PortName,
    /// The pages not yet answered: the first run, and others if parts in the middle were answered.
    pub(crate) left: PageRange,
    pub(crate) more: Vec<PageRange>,
}

impl Op {
    /// The runs of pages not yet answered.
    pub(crate) fn runs(&self) -> impl Iterator<Item = PageRange> + '_ {
        std::iter::once(self.left).chain(self.more.iter().copied())
    }

    /// Takes `part` out of what is not yet answered; false if it is not wholly in there.
    pub(crate) fn take(&mut self, part: PageRange) -> bool {
        if covers(self.left, part) {
            let (before, after) = cut(self.left, part);
            self.left = before;
            self.keep(after);
            return true;
        }
        let Some(at) = self.more.iter().position(|&run| covers(run, part)) else {
            return false;
        };
        let (before, after) = cut(self.more.swap_remove(at), part);
        self.keep(before);
        self.keep(after);
        true
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.left.is_empty() && self.more.is_empty()
    }

    fn keep(&mut self, run: PageRange) {
        if run.is_empty() {
            return;
        }
        if self.left.is_empty() {
            self.left = run;
        } else {
            self.more.push(run);
        }
    }
}

fn covers(whole: PageRange, part: PageRange) -> bool {
    !part.is_empty() && whole.start() <= part.start() && part.end() <= whole.end()
}

fn cut(whole: PageRange, part: PageRange) -> (PageRange, PageRange) {
    let before = PageRange::new(whole.start(), part.start());
    (before, PageRange::new(part.end(), whole.end()))
}

/// The operations in flight. A name is never used again within 2³² operations, so that a late
/// answer is told from the answer to a newer operation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ops {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Slot {
    uses: u32,
    op: Option<Op>,
}

impl Ops {
    pub(crate) fn begin(&mut self, op: Op) -> OpId {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { uses: 0, op: None });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[at as usize];
        slot.uses = slot.uses.wrapping_add(1);
        slot.op = Some(op);
        OpId(u64::from(slot.uses) << 32 | u64::from(at))
    }

    pub(crate) fn get_mut(&mut self, id: OpId) -> Option<&mut Op> {
        let slot = self.slots.get_mut(id.0 as u32 as usize)?;
        slot.op.as_mut().filter(|_| u64::from(slot.uses) == id.0 >> 32)
    }

    pub(crate) fn end(&mut self, id: OpId) -> Option<Op> {
        self.get_mut(id)?;
        let at = id.0 as u32;
        self.free.push(at);
        self.slots[at as usize].op.take()
    }

    /// The operations in flight with their names.
    #[cfg(test)]
    pub(crate) fn ids(&self) -> impl Iterator<Item = (OpId, &Op)> + '_ {
        self.slots.iter().zip(0_u64..).filter_map(|(slot, at)| {
            let name = OpId(u64::from(slot.uses) << 32 | at);
            Some((name, slot.op.as_ref()?))
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Op> + '_ {
        self.slots.iter().filter_map(|slot| slot.op.as_ref())
    }

    /// How many pages of `range` are being written.
    pub(crate) fn writes_in(&self, range: PageRange) -> u64 {
        self.iter()
            .filter(|op| matches!(op.kind, OpKind::Write { .. }))
            .flat_map(Op::runs)
            .map(|run| run.intersection(range).len())
            .sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.free.capacity() * size_of::<u32>()
    }
}
