//! The kernel that uses the object, and those that are gone but still have answers to come.

use super::{Effect, PortName};

/// One use of the object by a kernel, from init to terminate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) control: PortName,
    pub(crate) name: PortName,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions {
    current: Option<Session>,
    dying: Vec<Session>,
}

impl Sessions {
    pub(crate) fn control(&self) -> Option<PortName> {
        self.current.map(|session| session.control)
    }

    pub(crate) fn begin(&mut self, session: Session) {
        self.current = Some(session);
    }

    /// The kernel is gone; its ports are given back when nothing is left to be sent to them.
    pub(crate) fn end(&mut self) -> bool {
        let session = self.current.take();
        self.dying.extend(session);
        session.is_some()
    }

    /// The control ports of kernels that are gone and still have answers to come.
    #[cfg(test)]
    pub(crate) fn dying(&self) -> impl Iterator<Item = PortName> + '_ {
        self.dying.iter().map(|session| session.control)
    }

    pub(crate) fn any_dying(&self) -> bool {
        !self.dying.is_empty()
    }

    /// Gives back the ports of kernels that are gone and that `in_use` says nothing of.
    pub(crate) fn bury(&mut self, in_use: impl Fn(PortName) -> bool, effects: &mut Vec<Effect>) {
        self.dying.retain(|session| {
            let keep = in_use(session.control);
            if !keep {
                effects.push(Effect::ReleasePorts {
                    control: session.control,
                    name: session.name,
                });
            }
            keep
        });
    }
}
