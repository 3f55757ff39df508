//! What is kept, and who is who.
//!
//! ```text
//!            serve                 created               pager closed
//!   (none) --------> Making ---------------> Kept <----------------------> Kept
//!                      | pager closed       with pager      serve         without
//!                      +----> (none)
//! ```
//!
//! A client's record stays until its process has ended or it said that it has unmapped: as long as a
//! thread can wait in its mapping, its userfaultfd is open here.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};

use super::Notice;
use crate::mach::linux::{address_space_ended, is_userfaultfd};
use crate::takeover::link::{Link, Packet};
use crate::takeover::wire::{Message, Placement, Refusal, Shape};

/// A connection, by the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Connection(pub(super) u64);

type Links = BTreeMap<Connection, Link>;

/// What a connection is for.
#[derive(Debug)]
enum Role {
    /// Waits until it is the pager.
    Standby(String),
    /// Makes the object.
    Maker(String),
    Pager(String),
    /// Waits until the object is made.
    Waiting(String),
    /// Has the memory and maps it.
    Mapping(String),
    Client(String, u64),
}

#[derive(Debug)]
struct ClientRecord {
    faults: OwnedFd,
    placement: Placement,
    /// Its connection ended; its process may not have.
    departed: bool,
}

#[derive(Debug)]
struct Stock {
    memory: OwnedFd,
    journal: OwnedFd,
}

#[derive(Debug)]
struct Object {
    shape: Shape,
    /// Nothing while its first pager makes it.
    stock: Option<Stock>,
    pager: Option<Connection>,
    standbys: VecDeque<Connection>,
    clients: BTreeMap<u64, ClientRecord>,
    generation: u64,
}

/// All objects and all roles.
#[derive(Debug, Default)]
pub(super) struct Registry {
    objects: BTreeMap<String, Object>,
    roles: BTreeMap<Connection, Role>,
    next_client: u64,
    notices: Vec<Notice>,
}

/// Says something; whoever does not listen will be found closed.
fn say(links: &Links, to: Connection, message: &Message, descriptors: &[&OwnedFd]) {
    let Some(link) = links.get(&to) else { return };
    let descriptors: Vec<_> = descriptors.iter().map(|fd| fd.as_fd()).collect();
    if let Err(error) = link.send(message, &descriptors) {
        tracing::warn!(?to, %error, "cannot send");
    }
}

impl Registry {
    pub(super) fn take_notices(&mut self) -> impl Iterator<Item = Notice> + use<> {
        std::mem::take(&mut self.notices).into_iter()
    }

    /// Does what a message asks for.
    pub(super) fn hear(&mut self, from: Connection, packet: Packet, links: &Links) {
        let done = match packet.message.clone() {
            Message::Attach { object } => self.attach(from, object, links),
            Message::Mapped(placement) => self.mapped(from, placement, packet, links),
            Message::Detach => self.detach(from, links),
            Message::Serve {
                object,
                shape,
                standby,
            } => self.serve(from, object, shape, standby, links),
            Message::Created => self.created(from, packet, links),
            Message::Memory(_)
            | Message::Registered
            | Message::Begin
            | Message::TakeOver { .. }
            | Message::Kept
            | Message::Came { .. }
            | Message::Gone { .. }
            | Message::Refused(_) => Err(Refusal::OutOfTurn),
        };
        if let Err(refusal) = done {
            say(links, from, &Message::Refused(refusal), &[]);
        }
    }

    fn attach(&mut self, from: Connection, object: String, links: &Links) -> Result<(), Refusal> {
        if self.roles.contains_key(&from) {
            return Err(Refusal::OutOfTurn);
        }
        match self.objects.get(&object) {
            Some(Object {
                shape,
                stock: Some(stock),
                ..
            }) => {
                say(links, from, &Message::Memory(*shape), &[&stock.memory]);
                self.roles.insert(from, Role::Mapping(object));
            }
            Some(_) | None => {
                self.roles.insert(from, Role::Waiting(object));
            }
        }
        Ok(())
    }

    fn mapped(
        &mut self,
        from: Connection,
        placement: Placement,
        packet: Packet,
        links: &Links,
    ) -> Result<(), Refusal> {
        let Some(Role::Mapping(name)) = self.roles.get(&from) else {
            return Err(Refusal::OutOfTurn);
        };
        let [faults] = packet.take::<1>().ok_or(Refusal::BadDescriptor)?;
        if !is_userfaultfd(faults.as_fd()) {
            return Err(Refusal::BadDescriptor);
        }
        let name = name.clone();
        let object = self.objects.get_mut(&name).ok_or(Refusal::OutOfTurn)?;
        let id = self.next_client;
        self.next_client += 1;
        if let Some(pager) = object.pager {
            say(links, pager, &Message::Came { id, placement }, &[&faults]);
        }
        let record = ClientRecord {
            faults,
            placement,
            departed: false,
        };
        object.clients.insert(id, record);
        self.roles.insert(from, Role::Client(name.clone(), id));
        say(links, from, &Message::Registered, &[]);
        self.notices.push(Notice::ClientCame { object: name, id });
        Ok(())
    }

    fn detach(&mut self, from: Connection, links: &Links) -> Result<(), Refusal> {
        match self.roles.remove(&from) {
            Some(Role::Client(object, id)) => {
                self.forget_client(&object, id, links);
                Ok(())
            }
            Some(other) => {
                self.roles.insert(from, other);
                Err(Refusal::OutOfTurn)
            }
            None => Err(Refusal::OutOfTurn),
        }
    }

    fn forget_client(&mut self, name: &str, id: u64, links: &Links) {
        let Some(object) = self.objects.get_mut(name) else {
            return;
        };
        if object.clients.remove(&id).is_some() {
            if let Some(pager) = object.pager {
                say(links, pager, &Message::Gone { id }, &[]);
            }
            let object = name.to_owned();
            self.notices.push(Notice::ClientGone { object, id });
        }
    }

    fn serve(
        &mut self,
        from: Connection,
        name: String,
        shape: Shape,
        standby: bool,
        links: &Links,
    ) -> Result<(), Refusal> {
        if self.roles.contains_key(&from) {
            return Err(Refusal::OutOfTurn);
        }
        let object = self.objects.entry(name.clone()).or_insert_with(|| Object {
            shape,
            stock: None,
            pager: None,
            standbys: VecDeque::new(),
            clients: BTreeMap::new(),
            generation: 0,
        });
        if object.shape != shape {
            return Err(Refusal::OtherShape);
        }
        match object.pager {
            None => self.install(from, &name, links),
            Some(_) if standby => {
                object.standbys.push_back(from);
                self.roles.insert(from, Role::Standby(name));
            }
            Some(_) => return Err(Refusal::Busy),
        }
        Ok(())
    }

    /// `from` is the object's pager from now on.
    fn install(&mut self, from: Connection, name: &str, links: &Links) {
        let Some(object) = self.objects.get_mut(name) else {
            return;
        };
        object.pager = Some(from);
        let Some(Stock { memory, journal }) = &object.stock else {
            self.roles.insert(from, Role::Maker(name.to_owned()));
            return say(links, from, &Message::Begin, &[]);
        };
        object.generation += 1;
        let (clients, generation) = (object.clients.len() as u64, object.generation);
        let message = Message::TakeOver { clients, generation };
        say(links, from, &message, &[memory, journal]);
        for (&id, client) in &object.clients {
            let placement = client.placement;
            say(links, from, &Message::Came { id, placement }, &[&client.faults]);
        }
        self.serves(from, name, generation);
    }

    fn serves(&mut self, from: Connection, name: &str, generation: u64) {
        self.roles.insert(from, Role::Pager(name.to_owned()));
        let object = name.to_owned();
        self.notices.push(Notice::Served { object, generation });
    }

    fn created(&mut self, from: Connection, packet: Packet, links: &Links) -> Result<(), Refusal> {
        let Some(Role::Maker(name)) = self.roles.get(&from) else {
            return Err(Refusal::OutOfTurn);
        };
        let name = name.clone();
        let [memory, journal] = packet.take::<2>().ok_or(Refusal::BadDescriptor)?;
        let object = self.objects.get_mut(&name).ok_or(Refusal::OutOfTurn)?;
        object.stock = Some(Stock { memory, journal });
        object.generation = 1;
        self.serves(from, &name, 1);
        say(links, from, &Message::Kept, &[]);
        self.admit_waiting(&name, links);
        Ok(())
    }

    /// Those who waited for the object to be made get it.
    fn admit_waiting(&mut self, name: &str, links: &Links) {
        let waiting = |role: &Role| matches!(role, Role::Waiting(object) if object == name);
        let connections: Vec<_> = self
            .roles
            .iter()
            .filter(|(_, role)| waiting(role))
            .map(|(&at, _)| at)
            .collect();
        for connection in connections {
            self.roles.remove(&connection);
            // It has no role now, so that this cannot be refused.
            let _ = self.attach(connection, name.to_owned(), links);
        }
    }

    /// A connection ended.
    pub(super) fn closed(&mut self, from: Connection, links: &Links) {
        match self.roles.remove(&from) {
            Some(Role::Pager(name) | Role::Maker(name)) => self.pager_gone(&name, links),
            Some(Role::Standby(name)) => {
                if let Some(object) = self.objects.get_mut(&name) {
                    object.standbys.retain(|&standby| standby != from);
                }
            }
            Some(Role::Client(name, id)) => {
                let object = self.objects.get_mut(&name);
                if let Some(client) = object.and_then(|object| object.clients.get_mut(&id)) {
                    client.departed = true;
                }
            }
            Some(Role::Waiting(_) | Role::Mapping(_)) | None => {}
        }
    }

    fn pager_gone(&mut self, name: &str, links: &Links) {
        let Some(object) = self.objects.get_mut(name) else {
            return;
        };
        object.pager = None;
        if let Some(next) = object.standbys.pop_front() {
            return self.install(next, name, links);
        }
        if object.stock.is_none() {
            self.objects.remove(name);
        }
        let object = name.to_owned();
        self.notices.push(Notice::Orphaned { object });
    }

    /// Clients whose connection ended are forgotten when their process has.
    pub(super) fn look_for_the_dead(&mut self, links: &Links) {
        let mut dead = Vec::new();
        for (name, object) in &self.objects {
            let ended = |client: &ClientRecord| client.departed && address_space_ended(client.faults.as_fd());
            let ended = object.clients.iter().filter(|(_, client)| ended(client));
            dead.extend(ended.map(|(&id, _)| (name.clone(), id)));
        }
        for (name, id) in dead {
            self.forget_client(&name, id, links);
        }
    }
}
