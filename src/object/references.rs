//! Who keeps a pager: users, weak references, send rights, and work in progress.
//!
//! ```text
//!   Alive --(last strong goes, weak left)--> Fading --(last weak goes)--> Gone
//!     |  ^                                     |
//!     |  +------(a weak one is upgraded)-------+
//!     +--------(last strong goes, none weak)-----------------------------> Gone
//! ```

/// What keeps an object alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// A user holds it (`ports_port_ref`).
    User,
    /// Send rights to its port exist; however many, they count once.
    SendRights,
    /// A message or an operation of it is being worked on.
    Work,
}

/// What is to be done when a reference was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consequence {
    /// Nothing: the object lives.
    None,
    /// Only weak references are left: ask the user to drop them (`pager_dropweak`).
    DropWeak,
    /// Nothing is left: clear the user's data (`pager_clear_user_data`) and free the object.
    Clear,
}

/// A reference was dropped that was never made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a reference was dropped that does not exist")]
pub struct NoSuchReference;

/// The references to one object: a pure state machine.
///
/// Whatever the order of calls, [`Consequence::Clear`] is returned at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct References {
    users: u32,
    works: u32,
    send_rights: bool,
    weak: u32,
    cleared: bool,
}

impl Default for References {
    fn default() -> Self {
        Self::new()
    }
}

impl References {
    /// A new object: its creator holds one reference (`pager_create`).
    pub const fn new() -> Self {
        Self {
            users: 1,
            works: 0,
            send_rights: false,
            weak: 0,
            cleared: false,
        }
    }

    /// Adds a reference; false if the object is gone, or if send rights were counted already.
    pub fn add(&mut self, reference: Reference) -> bool {
        if self.cleared {
            return false;
        }
        match reference {
            Reference::User => self.users += 1,
            Reference::Work => self.works += 1,
            Reference::SendRights => return !std::mem::replace(&mut self.send_rights, true),
        }
        true
    }

    /// Adds a weak reference (`ports_port_ref_weak`); false if the object is gone.
    pub fn add_weak(&mut self) -> bool {
        self.weak += u32::from(!self.cleared);
        !self.cleared
    }

    /// Drops a reference.
    pub fn drop_one(&mut self, reference: Reference) -> Result<Consequence, NoSuchReference> {
        match reference {
            Reference::User => decrement(&mut self.users)?,
            Reference::Work => decrement(&mut self.works)?,
            Reference::SendRights => {
                if !std::mem::take(&mut self.send_rights) {
                    return Err(NoSuchReference);
                }
            }
        }
        Ok(match self.weak {
            _ if self.is_held() => Consequence::None,
            0 => self.clear(),
            _ => Consequence::DropWeak,
        })
    }

    /// Drops a weak reference (`ports_port_deref_weak`).
    pub fn drop_weak(&mut self) -> Result<Consequence, NoSuchReference> {
        decrement(&mut self.weak)?;
        Ok(if self.weak == 0 && !self.is_held() {
            self.clear()
        } else {
            Consequence::None
        })
    }

    /// True while something other than a weak reference keeps the object.
    pub fn is_held(&self) -> bool {
        self.users > 0 || self.works > 0 || self.send_rights
    }

    /// True once [`Consequence::Clear`] was returned.
    pub fn is_gone(&self) -> bool {
        self.cleared
    }

    /// True while send rights to the port exist.
    pub fn has_send_rights(&self) -> bool {
        self.send_rights
    }

    fn clear(&mut self) -> Consequence {
        self.cleared = true;
        Consequence::Clear
    }
}

fn decrement(count: &mut u32) -> Result<(), NoSuchReference> {
    *count = count.checked_sub(1).ok_or(NoSuchReference)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reference_clears_whatever_the_order() {
        let mut references = References::new();
        assert!(references.add(Reference::SendRights));
        assert!(!references.add(Reference::SendRights), "send rights count once");
        assert!(references.add(Reference::Work));
        assert_eq!(references.drop_one(Reference::User), Ok(Consequence::None));
        assert_eq!(references.drop_one(Reference::SendRights), Ok(Consequence::None));
        assert_eq!(references.drop_one(Reference::Work), Ok(Consequence::Clear));
        assert!(references.is_gone());
        assert!(!references.add(Reference::User));
        assert!(!references.add_weak());
        assert_eq!(references.drop_one(Reference::User), Err(NoSuchReference));
    }

    #[test]
    fn weak_references_are_asked_for_and_keep_the_data_until_they_go() {
        let mut references = References::default();
        assert!(references.add_weak());
        assert_eq!(references.drop_one(Reference::User), Ok(Consequence::DropWeak));
        assert!(!references.is_held());
        // A weak reference may still become a strong one.
        assert!(references.add(Reference::User));
        assert_eq!(references.drop_one(Reference::User), Ok(Consequence::DropWeak));
        assert_eq!(references.drop_weak(), Ok(Consequence::Clear));
        assert_eq!(references.drop_weak(), Err(NoSuchReference));
    }

    #[test]
    fn a_strong_reference_outlives_the_weak_ones() {
        let mut references = References::new();
        assert!(references.add(Reference::SendRights) && references.has_send_rights());
        assert!(references.add_weak());
        assert_eq!(references.drop_weak(), Ok(Consequence::None));
        assert_eq!(references.drop_one(Reference::SendRights), Ok(Consequence::None));
        assert_eq!(references.drop_one(Reference::SendRights), Err(NoSuchReference));
        assert_eq!(references.drop_one(Reference::User), Ok(Consequence::Clear));
    }
}
