//! What the client thread did, and what it got.

use actor_pager::object::{PageIndex, PageRange};

use crate::record::Event;
use crate::world::{PAGE, Task, World};

/// The worlds in which the client thread begins this.
pub(crate) fn begins(
    world: &World,
    (what, count, value): (&str, u64, u64),
    events: &[Event],
    at: usize,
) -> Vec<World> {
    if world.task != Task::Idle {
        return Vec::new();
    }
    match what {
        "read" | "read pages" => accesses(world, count.max(1), None, events, at),
        "write" | "write pages" => accesses(world, count.max(1), Some(value), events, at),
        "vm_deallocate" => unmaps(world, count, events, at),
        "mapcopy" => copies(world, count),
        _ if what.starts_with("vm_object_sync") || what.starts_with("vm_msync") => {
            syncs(world, count, value, events, at)
        }
        _ => vec![elsewhere(world, true)],
    }
}

/// The worlds in which the client thread is done with this result.
pub(crate) fn done(world: &World, code: u64, value: u64) -> Vec<World> {
    let mut world = world.clone();
    let agrees = match world.task {
        Task::Over {
            code: got,
            value: mark,
        } => code == got && mark.is_none_or(|mark| world.reads_as(mark, value)),
        Task::Elsewhere => true,
        Task::Idle | Task::Read { .. } | Task::Write { .. } | Task::Copy { .. } => false,
    };
    world.task = Task::Idle;
    if agrees { vec![world] } else { Vec::new() }
}

/// The worlds in which the client thread gets this exception.
pub(crate) fn exception(world: &World, code: u64) -> Vec<World> {
    let mut world = world.clone();
    let agrees = world.exceptions.pop_front() == Some(code) || world.task == Task::Elsewhere;
    if agrees { vec![world] } else { Vec::new() }
}

fn elsewhere(world: &World, free_text: bool) -> World {
    let mut world = world.clone();
    world.task = Task::Elsewhere;
    world.free_text |= free_text;
    world
}

/// The recording does not say where: in every mapping, from every page on.
fn accesses(world: &World, count: u64, store: Option<u64>, events: &[Event], at: usize) -> Vec<World> {
    let asked = asked_for(events, at);
    let dirty = dirty_later(events, at);
    let mut worlds = Vec::new();
    for (map, target) in world.maps.iter().enumerate() {
        let last = (target.pages.end().0).saturating_sub(count - 1);
        let guesses = if world.objects[target.object].known.is_some() {
            2
        } else {
            1
        };
        for (start, guess) in
            (target.pages.start().0..last).flat_map(|start| (0..guesses).map(move |n| (start, n)))
        {
            let (next, end) = (PageIndex(start), PageIndex(start + count));
            let mut world = world.clone();
            let dirty = if guess == 0 { &[][..] } else { &dirty };
            world.settle(target.object, PageRange::new(next, end), &asked, dirty);
            world.task = match store {
                Some(value) => Task::Write {
                    map,
                    next,
                    end,
                    value,
                },
                None => Task::Read {
                    map,
                    next,
                    end,
                    last: 0,
                },
            };
            world.advance();
            if world.keeps_up(&asked) {
                worlds.push(world);
            }
        }
    }
    if world.maps.is_empty() {
        vec![elsewhere(world, false)]
    } else {
        worlds
    }
}

/// The pages that are returned dirty later on.
fn dirty_later(events: &[Event], at: usize) -> Vec<PageIndex> {
    let returned = events[at + 1..].iter().filter_map(|event| match event {
        Event::Kernel { msg, args } if msg == "data_return" && args.number("dirty") == Some(1) => {
            let (start, length) = (args.number("off")? / PAGE, args.number("cnt")? / PAGE);
            Some(PageRange::with_len(PageIndex(start), length))
        }
        Event::Kernel { .. } | Event::Note(_) | Event::Pager { .. } => None,
        Event::Begins { .. } | Event::Done { .. } | Event::Exception { .. } => None,
    });
    returned.flat_map(PageRange::iter).collect()
}

/// The pages that are asked for until the client is done.
fn asked_for(events: &[Event], at: usize) -> Vec<PageIndex> {
    let until_done = events[at + 1..]
        .iter()
        .take_while(|event| !matches!(event, Event::Done { .. }));
    let asked = until_done.filter_map(|event| match event {
        Event::Kernel { msg, args } if msg == "data_request" => Some(PageIndex(args.number("off")? / PAGE)),
        Event::Kernel { .. } | Event::Note(_) | Event::Pager { .. } => None,
        Event::Begins { .. } | Event::Done { .. } | Event::Exception { .. } => None,
    });
    asked.collect()
}

impl World {
    /// Decides about pages of which nothing is known: those that are asked for are absent.
    fn settle(&mut self, object: usize, pages: PageRange, asked: &[PageIndex], dirty: &[PageIndex]) {
        for page in pages.iter() {
            if asked.contains(&page) {
                let clean = |page: actor_pager::mach::sim::SimPage| !page.dirty && !page.precious;
                let client = &self.objects[object].client;
                if self.pressed && client.page(page).is_some_and(clean) {
                    client.evict(PageRange::single(page));
                }
                if let Some(known) = &mut self.objects[object].known {
                    known.insert(page);
                }
            } else if dirty.contains(&page) {
                self.discover(object, PageRange::single(page), true);
            } else {
                self.discover_clean(object, page);
            }
        }
        self.advance();
    }

    /// False if the kernel asks for a page that is not asked for in the recording.
    fn keeps_up(&self, asked: &[PageIndex]) -> bool {
        use actor_pager::mach::Upcall;
        self.said.iter().all(|(object, upcall)| {
            let Upcall::DataRequest { offset, .. } = upcall else {
                return true;
            };
            let shown = self.objects[*object].control_shown;
            !shown || asked.contains(&PageIndex(offset / PAGE))
        })
    }
}

fn unmaps(world: &World, count: u64, events: &[Event], at: usize) -> Vec<World> {
    let fits = |map: &usize| {
        let map = &world.maps[*map];
        map.pages.len() == count || !map.length_known
    };
    let maps: Vec<usize> = (0..world.maps.len()).filter(fits).collect();
    let unmapped = maps.iter().map(|map| {
        let mut world = world.clone();
        world.discover_returned(world.maps[*map].object, events, at);
        world.unmap(*map);
        world.task = Task::Over {
            code: 0,
            value: Some(0),
        };
        world
    });
    if maps.is_empty() {
        vec![elsewhere(world, false)]
    } else {
        unmapped.collect()
    }
}

fn copies(world: &World, count: u64) -> Vec<World> {
    let sources = (0..world.maps.len()).filter(|map| !world.maps[*map].copy);
    sources
        .map(|source| {
            let mut world = world.clone();
            let source = world.maps[source];
            let pages = PageRange::with_len(source.pages.start(), count);
            let map = world.map(source.object, pages, actor_pager::object::Prot::READ_WRITE, true);
            world.task = Task::Copy { map };
            world.advance();
            world
        })
        .collect()
}

/// `vm_object_sync`: bit 0 asks for a flush, bit 1 for returns.
fn syncs(world: &World, count: u64, value: u64, events: &[Event], at: usize) -> Vec<World> {
    let mut worlds = Vec::new();
    for object in 0..world.objects.len() {
        let mut starts: Vec<u64> = (world.maps.iter())
            .filter(|map| map.object == object)
            .map(|map| map.pages.start().0)
            .collect();
        starts.push(0);
        starts.sort_unstable();
        starts.dedup();
        for start in starts {
            let mut world = world.clone();
            world.discover_returned(object, events, at);
            let pages = PageRange::with_len(PageIndex(start), count);
            world.objects[object]
                .client
                .sync(pages, value & 2 != 0, value & 1 != 0);
            world.task = Task::Over {
                code: 0,
                value: Some(0),
            };
            world.advance();
            worlds.push(world);
        }
    }
    worlds
}
