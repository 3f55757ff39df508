//! Names of ports, and the send rights that the program holds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::codes::Kern;
use super::pager::{CPager, Hold};

/// `mach_port_t`.
pub(super) type Name = u32;

/// `MACH_PORT_NULL`.
pub(super) const NULL: Name = 0;

static PORTS: Mutex<Ports> = Mutex::new(Ports {
    names: BTreeMap::new(),
    last: 0x100,
});

struct Ports {
    names: BTreeMap<Name, Port>,
    last: Name,
}

struct Port {
    pager: Arc<CPager>,
    read_only: bool,
    /// The send rights under this name (`mach_port_urefs_t`).
    rights: u32,
    /// The name was given out and no right was made from it yet: one is taken to exist.
    expected: bool,
    /// This port holds its pager.
    holds: bool,
}

impl Port {
    /// Holds the pager, or lets it go, as the rights say; what the caller is then to do, unlocked.
    fn settle(&mut self) -> Option<Settle> {
        let holds = self.rights > 0 || self.expected;
        if std::mem::replace(&mut self.holds, holds) == holds {
            return None;
        }
        Some(Settle {
            pager: Arc::clone(&self.pager),
            hold: holds,
        })
    }
}

/// A hold of a port's on its pager that begins or ends.
struct Settle {
    pager: Arc<CPager>,
    hold: bool,
}

impl Settle {
    fn carry_out(self) {
        if self.hold {
            self.pager.hold(Hold::Right);
        } else {
            self.pager.release(Hold::Right);
        }
    }
}

/// The name of a pager's port; a right made from it, or a mapping, is expected to follow.
pub(super) fn right_of(pager: &Arc<CPager>) -> Name {
    with_main_port(pager, |port| port.expected |= port.rights == 0)
}

/// The same, with a send right.
pub(super) fn send_right_of(pager: &Arc<CPager>) -> Name {
    with_main_port(pager, |port| port.rights += 1)
}

/// A new read-only port, with a send right.
pub(super) fn read_only_right_of(pager: &Arc<CPager>) -> Name {
    let mut ports = lock();
    let name = ports.add(pager, true);
    finish(ports, name, |port| port.rights = 1);
    name
}

/// The pager behind a name, and whether the port is read-only.
pub(super) fn look_up(name: Name) -> Option<(Arc<CPager>, bool)> {
    let ports = lock();
    let port = ports.names.get(&name)?;
    Some((Arc::clone(&port.pager), port.read_only))
}

/// The port was mapped: the mapping holds the pager from now on.
pub(super) fn mapped(name: Name) {
    change(name, |port| {
        port.expected = false;
        Kern::Success
    });
}

/// Makes a send right (`mach_port_insert_right`).
pub(super) fn make_right(name: Name) -> Kern {
    add_rights(name, 1)
}

/// Makes send rights, or gives them up (`mach_port_mod_refs`).
pub(super) fn add_rights(name: Name, delta: i32) -> Kern {
    change(name, |port| match port.rights.checked_add_signed(delta) {
        Some(rights) => {
            port.rights = rights;
            port.expected = false;
            Kern::Success
        }
        None if delta > 0 => Kern::UrefsOverflow,
        None => Kern::InvalidValue,
    })
}

/// Gives a send right up (`mach_port_deallocate`); that which was expected, if there is no other.
pub(super) fn deallocate(name: Name) -> Kern {
    change(name, |port| {
        if port.rights == 0 && !std::mem::take(&mut port.expected) {
            return Kern::InvalidRight;
        }
        port.rights = port.rights.saturating_sub(1);
        Kern::Success
    })
}

/// The pager is gone; so are its ports.
pub(super) fn forget(pager: &Arc<CPager>) {
    let mut ports = lock();
    let all = std::mem::take(&mut ports.names);
    let (gone, left) = all
        .into_iter()
        .partition(|(_, port)| Arc::ptr_eq(&port.pager, pager));
    ports.names = left;
    drop(ports);
    // After the lock: what goes with a pager may ask for a port.
    let gone: BTreeMap<Name, Port> = gone;
    drop(gone);
}

impl Ports {
    fn add(&mut self, pager: &Arc<CPager>, read_only: bool) -> Name {
        self.last += 1;
        let pager = Arc::clone(pager);
        let port = Port {
            pager,
            read_only,
            rights: 0,
            expected: false,
            holds: false,
        };
        self.names.insert(self.last, port);
        self.last
    }
}

fn with_main_port(pager: &Arc<CPager>, change: impl FnOnce(&mut Port)) -> Name {
    let mut ports = lock();
    let mine = |port: &Port| !port.read_only && Arc::ptr_eq(&port.pager, pager);
    let found = ports.names.iter().find(|(_, port)| mine(port));
    let name = match found.map(|(name, _)| *name) {
        Some(name) => name,
        None => ports.add(pager, false),
    };
    finish(ports, name, change);
    name
}

fn change(name: Name, change: impl FnOnce(&mut Port) -> Kern) -> Kern {
    let mut result = Kern::InvalidName;
    finish(lock(), name, |port| result = change(port));
    result
}

/// Changes a port, if there is one, and then its hold.
fn finish(mut ports: MutexGuard<'_, Ports>, name: Name, change: impl FnOnce(&mut Port)) {
    let settle = ports.names.get_mut(&name).and_then(|port| {
        change(port);
        port.settle()
    });
    drop(ports);
    if let Some(settle) = settle {
        settle.carry_out();
    }
}

fn lock() -> MutexGuard<'static, Ports> {
    PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}
