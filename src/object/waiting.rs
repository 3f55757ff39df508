//! What waits for busy pages: one queue a page, first in, first out, whatever the kind.

use std::collections::HashMap;

use super::{DataId, PageIndex, PageRange, PortName, Prot};

/// One thing that waits its turn on one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Waiting {
    Request {
        control: PortName,
        access: Prot,
        /// It may have been answered already, by an offer; so an answer may be taken for that of a
        /// request that comes later.
        doubted: bool,
    },
    Return {
        control: PortName,
        data: DataId,
        dirty: bool,
        kernel_copy: bool,
        seq: u64,
    },
    Unlock {
        control: PortName,
    },
}

impl Waiting {
    /// The control port that the answer goes to.
    pub(crate) fn control(self) -> PortName {
        match self {
            Self::Request { control, .. } | Self::Return { control, .. } | Self::Unlock { control } => {
                control
            }
        }
    }
}

/// All queues of an object: nodes in one slab, so that nothing is allocated in the steady state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queues {
    ends: HashMap<PageIndex, Ends>,
    nodes: Vec<Node>,
    free: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    first: usize,
    last: usize,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// `None` while the node is free.
    item: Option<(PageIndex, Waiting)>,
    next: Option<usize>,
}

impl Queues {
    pub(crate) fn push(&mut self, page: PageIndex, item: Waiting) {
        let at = self.allocate(page, item);
        match self.ends.get_mut(&page) {
            Some(ends) => {
                self.nodes[ends.last].next = Some(at);
                ends.last = at;
            }
            None => {
                self.ends.insert(page, Ends { first: at, last: at });
            }
        }
    }

    /// True if a return by this kernel waits for the page.
    pub(crate) fn holds_return(&self, page: PageIndex, from: PortName) -> bool {
        let mut at = self.ends.get(&page).map(|ends| ends.first);
        while let Some(node) = at.map(|at| &self.nodes[at]) {
            if let Some((_, Waiting::Return { control, .. })) = node.item
                && control == from
            {
                return true;
            }
            at = node.next;
        }
        false
    }

    pub(crate) fn front(&self, page: PageIndex) -> Option<Waiting> {
        let ends = self.ends.get(&page)?;
        self.nodes[ends.first].item.map(|(_, item)| item)
    }

    pub(crate) fn pop(&mut self, page: PageIndex) -> Option<Waiting> {
        let ends = self.ends.get_mut(&page)?;
        let at = ends.first;
        match self.nodes[at].next {
            Some(next) => ends.first = next,
            None => {
                self.ends.remove(&page);
            }
        }
        let node = &mut self.nodes[at];
        let item = node.item.take();
        node.next = self.free.replace(at);
        item.map(|(_, item)| item)
    }

    /// Everything that waits, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PageIndex, Waiting)> + '_ {
        self.nodes.iter().filter_map(|node| node.item)
    }

    /// The pages that something waits for.
    pub(crate) fn pages(&self) -> impl Iterator<Item = PageIndex> + '_ {
        self.ends.keys().copied()
    }

    /// What waits for one page, in order.
    #[cfg(test)]
    pub(crate) fn of(&self, page: PageIndex) -> impl Iterator<Item = Waiting> + '_ {
        let mut next = self.ends.get(&page).map(|ends| ends.first);
        std::iter::from_fn(move || {
            let node = self.nodes.get(next?)?;
            next = node.next;
            node.item.map(|(_, item)| item)
        })
    }

    /// The pages and numbers of the returns that wait.
    pub(crate) fn seqs(&self) -> impl Iterator<Item = (PageIndex, u64)> + '_ {
        self.iter().filter_map(|(page, item)| match item {
            Waiting::Return { seq, .. } => Some((page, seq)),
            Waiting::Request { .. } | Waiting::Unlock { .. } => None,
        })
    }

    /// How many returns wait for pages of `range`.
    pub(crate) fn returns_in(&self, range: PageRange) -> u64 {
        self.seqs().filter(|&(page, _)| range.contains(page)).count() as u64
    }

    pub(crate) fn bytes(&self) -> usize {
        let entry = size_of::<(PageIndex, Ends)>() + 1;
        self.ends.capacity() * entry + self.nodes.capacity() * size_of::<Node>()
    }

    fn allocate(&mut self, page: PageIndex, item: Waiting) -> usize {
        let node = Node {
            item: Some((page, item)),
            next: None,
        };
        match self.free {
            Some(at) => {
                self.free = self.nodes[at].next;
                self.nodes[at] = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        }
    }
}
