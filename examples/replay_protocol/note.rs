//! What the recorder did besides, and what it measured.

use actor_pager::mach::Upcall;
use actor_pager::object::{CopyStrategy, PageIndex, PageRange, Prot};

use crate::pager::number_of;
use crate::record::{Event, field};
use crate::world::{PAGE, Task, World};

/// The worlds that agree with a note.
pub(crate) fn notes(world: &World, text: &str, _events: &[Event], _at: usize) -> Vec<World> {
    let mut world = world.clone();
    let agrees = match text.split(['(', ' ', ':']).next().unwrap_or_default() {
        "vm_map" if text.contains("rc=") || text.contains("pages") => mapped(&mut world, text),
        "vm_wire" => wired(&mut world),
        "get_attributes" => attributes_are(&world, text),
        "region" => field(text, "prot=").is_none_or(|prot| last_prot(&world) == Some(prot)),
        "bits=0x80001700" => raw_message(&mut world),
        "request" if text.contains("no_senders") => {
            world.watches_senders = true;
            true
        }
        "destroy" => return for_each_object(&world, |world, object| world.kill_pager(object)),
        "drop" if text.contains("send right") => {
            return for_each_object(&world, |world, object| {
                world.objects[object].client.drop_send();
                world.advance();
            });
        }
        "client" => field(text, "busy=").is_none_or(|busy| (busy == 1) == world.is_busy()),
        "" if text.starts_with("(no message") => world.said.is_empty() && world.is_busy(),
        "port" | "inits=1" | "ctl" | "name" | "source" | "create_proxy" => true,
        _ => {
            world.free_text = true;
            true
        }
    };
    if agrees { vec![world] } else { Vec::new() }
}

fn for_each_object(world: &World, act: impl Fn(&mut World, usize)) -> Vec<World> {
    let acted = (0..world.objects.len()).rev().map(|object| {
        let mut world = world.clone();
        act(&mut world, object);
        world
    });
    acted.collect()
}

/// `vm_map(A,8 pages,off 0x0,copy=0,prot=3) = 0x0`, or `vm_map(proxy,RW) rc=0x0`, or `vm_map rc=0x0`.
fn mapped(world: &mut World, text: &str) -> bool {
    if field(text, ") = ").or(field(text, "rc=")) != Some(0) {
        return true;
    }
    let inside = text
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'))
        .map(|(inside, _)| inside);
    let label = inside
        .and_then(|inside| inside.split(',').next())
        .map(str::to_owned);
    let object = world.object_called(label);
    let Some(inside) = inside.filter(|inside| inside.contains("pages")) else {
        let writes =
            inside.is_none_or(|inside| inside.split(',').nth(1).is_some_and(|how| how.starts_with("RW")));
        let proxy = inside.is_some_and(|inside| inside.starts_with("proxy"));
        let prot = if writes && !proxy {
            Prot::READ_WRITE
        } else {
            Prot::READ
        };
        world.map_unknown(object, prot);
        return true;
    };
    let pages = inside
        .split(',')
        .nth(1)
        .and_then(|pages| pages.split(' ').next()?.parse().ok());
    let start = PageIndex(field(inside, "off ").unwrap_or(0) / PAGE);
    let prot = Prot::from_bits(field(inside, "prot=").unwrap_or(3) as u32);
    let range = PageRange::with_len(start, pages.unwrap_or(1));
    world.map(object, range, prot, field(inside, "copy=") == Some(1));
    true
}

fn wired(world: &mut World) -> bool {
    let Some(map) = world.maps.last() else {
        return false;
    };
    let client = &world.objects[map.object].client;
    map.pages.iter().for_each(|page| {
        client.wire(page, true);
    });
    true
}

fn attributes_are(world: &World, text: &str) -> bool {
    let label = text
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'))
        .map(|(label, _)| label);
    let object = world
        .objects
        .iter()
        .find(|object| object.label.as_deref() == label);
    let Some(attributes) = object.and_then(|object| object.client.attributes()) else {
        return object.is_none();
    };
    field(text, "ready=") == Some(u64::from(attributes.ready))
        && field(text, "cache=") == Some(u64::from(attributes.may_cache))
        && field(text, "copy=") == Some(number_of(attributes.copy_strategy))
}

fn last_prot(world: &World) -> Option<u64> {
    let map = world.maps.last()?;
    let (_, prot) = world.objects[map.object].client.mapping(map.mapping)?;
    Some(u64::from(prot.bits()))
}

/// A message that the recorder took as it was: what it said, and the answer, were not printed.
fn raw_message(world: &mut World) -> bool {
    let Some((object, upcall)) = world.said.pop_front() else {
        return false;
    };
    world.objects[object].control_shown = false;
    if let Upcall::Init { control, .. } = upcall {
        let (may_cache, copy_strategy) = (false, CopyStrategy::None);
        let ready = actor_pager::mach::Call::Ready {
            control,
            may_cache,
            copy_strategy,
        };
        return world.call(object, ready).is_ok();
    }
    if let Upcall::DataRequest { offset, length, .. } = upcall {
        let pages = PageRange::with_len(PageIndex(offset / PAGE), length / PAGE);
        return world.supply(object, pages, Prot::NONE, false, false).is_ok();
    }
    true
}

impl World {
    fn is_busy(&self) -> bool {
        !matches!(self.task, Task::Idle | Task::Over { .. })
    }

    /// The object with this label; a new one if there is none.
    fn object_called(&mut self, label: Option<String>) -> usize {
        let same = |object: &crate::world::Object| label.is_some() && object.label == label;
        if let Some(object) = self.objects.iter().position(same) {
            return object;
        }
        let unknown = |object: &crate::world::Object| object.label.is_none() && object.known.is_some();
        if let Some(object) = self.objects.iter().position(unknown).filter(|_| label.is_some()) {
            self.objects[object].label = label;
            return object;
        }
        self.make_object(label)
    }
}
