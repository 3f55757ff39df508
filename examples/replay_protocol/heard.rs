//! What the kernel said, compared with the recording.

use actor_pager::mach::Upcall;
use actor_pager::object::{PageIndex, PageRange, Prot};

use crate::record::{Args, Event};
use crate::world::{PAGE, Task, World};

/// The worlds in which the kernel's next message is this one.
pub(crate) fn hears(world: &World, msg: &str, args: &Args) -> Vec<World> {
    let mut world = world.clone();
    if let Some(kind) = msg.strip_prefix("notify ").filter(|kind| *kind != "no_senders") {
        return notification(world, kind);
    }
    let Some((object, upcall)) = world.said.pop_front() else {
        return Vec::new();
    };
    let shown = world.objects[object].control_shown;
    if agrees(&upcall, shown, msg, args) {
        vec![world]
    } else {
        Vec::new()
    }
}

fn notification(mut world: World, kind: &str) -> Vec<World> {
    if world.notified.front() == Some(&kind) {
        world.notified.pop_front();
    } else {
        world.rows.insert("port-notifications");
    }
    vec![world]
}

/// True if the message is the recorded one, in all that was printed of it.
fn agrees(upcall: &Upcall, shown: bool, msg: &str, args: &Args) -> bool {
    let (name, numbers) = printed(upcall);
    let same = |(name, value): &(&str, u64)| args.number(name).is_none_or(|number| number == *value);
    let port = if shown { "PORT" } else { "NULL" };
    let ports = ["ctl", "name"]
        .iter()
        .all(|name| args.text(name).is_none_or(|text| text == port));
    name == msg && ports && numbers.iter().all(same)
}

fn printed(upcall: &Upcall) -> (&'static str, Vec<(&'static str, u64)>) {
    match upcall {
        Upcall::Init { page_size, .. } => ("init", vec![("pagesize", *page_size)]),
        Upcall::DataRequest {
            offset,
            length,
            access,
            ..
        } => {
            let access = u64::from(access.bits());
            (
                "data_request",
                vec![("off", *offset), ("len", *length), ("access", access)],
            )
        }
        Upcall::DataReturn {
            offset,
            data,
            dirty,
            kernel_copy,
            ..
        } => {
            let (dirty, copy) = (u64::from(*dirty), u64::from(*kernel_copy));
            let count = data.len() as u64;
            (
                "data_return",
                vec![
                    ("off", *offset),
                    ("cnt", count),
                    ("dirty", dirty),
                    ("kernel_copy", copy),
                ],
            )
        }
        Upcall::DataUnlock { .. } | Upcall::LockCompleted { .. } | Upcall::SupplyCompleted { .. } => {
            printed_range(upcall)
        }
        Upcall::ChangeCompleted {
            may_cache,
            copy_strategy,
        } => {
            let copy = crate::pager::number_of(*copy_strategy);
            (
                "change_completed",
                vec![("may_cache", u64::from(*may_cache)), ("copy", copy)],
            )
        }
        Upcall::Copy { offset, length, .. } => ("copy", vec![("off", *offset), ("len", *length)]),
        Upcall::Terminate { .. } => ("terminate", Vec::new()),
        Upcall::NoSenders => ("notify no_senders", Vec::new()),
    }
}

/// The rest of [`printed`]: what names a range.
fn printed_range(upcall: &Upcall) -> (&'static str, Vec<(&'static str, u64)>) {
    match upcall {
        Upcall::DataUnlock {
            offset,
            length,
            access,
            ..
        } => {
            let access = u64::from(access.bits());
            (
                "data_unlock",
                vec![("off", *offset), ("len", *length), ("access", access)],
            )
        }
        Upcall::LockCompleted { offset, length, .. } => {
            ("lock_completed", vec![("off", *offset), ("len", *length)])
        }
        Upcall::SupplyCompleted {
            offset,
            length,
            result,
            error_offset,
            ..
        } => {
            let result = [("result", u64::from(*result)), ("error_offset", *error_offset)];
            (
                "supply_completed",
                [&[("off", *offset), ("len", *length)][..], &result].concat(),
            )
        }
        Upcall::Init { .. } | Upcall::DataRequest { .. } | Upcall::DataReturn { .. } => ("", Vec::new()),
        Upcall::ChangeCompleted { .. } | Upcall::Copy { .. } => ("", Vec::new()),
        Upcall::Terminate { .. } | Upcall::NoSenders => ("", Vec::new()),
    }
}

/// The world at the end of a scenario, if all that happened in it was recorded.
pub(crate) fn nothing_left(mut world: World) -> Option<World> {
    if world.refused_lock && matches!(world.said.front(), Some((_, Upcall::Terminate { .. }))) {
        world.said.pop_front();
        world.rows.insert("invalid-lock-leaks");
    }
    let quiet = world.said.is_empty() && world.exceptions.is_empty() && world.notified.is_empty();
    let still = matches!(world.task, Task::Idle | Task::Elsewhere);
    (quiet && still).then_some(world)
}

/// What the recorder must have done without printing it, if that explains an event.
pub(crate) fn assume(world: &World, events: &[Event], at: usize) -> Vec<World> {
    let Event::Kernel { msg, args } = &events[at] else {
        return Vec::new();
    };
    if !world.said.is_empty() {
        return Vec::new();
    }
    let worlds = match msg.as_str() {
        "terminate" => unrecorded_unmaps(world),
        "init" if world.free_text || at == 0 => {
            let mut world = world.clone();
            let object = world.make_object(None);
            world.map_unknown(object, Prot::READ_WRITE);
            vec![world]
        }
        "data_return" if world.free_text => pressure(world, args),
        _ => Vec::new(),
    };
    worlds.iter().flat_map(|world| hears(world, msg, args)).collect()
}

/// A mapping that the recorder made by itself it may also have taken down by itself.
fn unrecorded_unmaps(world: &World) -> Vec<World> {
    let own = (0..world.maps.len()).filter(|map| !world.maps[*map].length_known);
    own.map(|map| {
        let mut world = world.clone();
        world.unmap(map);
        world
    })
    .collect()
}

/// Memory is short: the kernel returns a page of its choice.
fn pressure(world: &World, args: &Args) -> Vec<World> {
    let page = PageIndex(args.number("off").unwrap_or(u64::MAX) / PAGE);
    let objects = 0..world.objects.len();
    let pressed = objects.filter_map(|object| {
        let mut world = world.clone();
        world.pressed = true;
        if world.objects[object].known.is_some() {
            world.discover(object, PageRange::single(page), args.number("dirty") == Some(1));
        }
        let taken = world.objects[object].client.evict(PageRange::single(page));
        world.advance();
        (taken > 0).then_some(world)
    });
    pressed.collect()
}
