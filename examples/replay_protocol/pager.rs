//! What the pager called.

use actor_pager::mach::{Call, KernelError};
use actor_pager::object::{CopyStrategy, PageError, PageIndex, PageRange, Prot, ShouldReturn};

use crate::record::{Args, Event, field};
use crate::world::{PAGE, World};

/// The worlds in which the pager made the call of event `at`, with the recorded result.
///
/// The recording does not say on which object: on each.
pub(crate) fn calls(world: &World, events: &[Event], at: usize) -> Vec<World> {
    let Event::Pager { msg, args } = &events[at] else {
        return Vec::new();
    };
    let mut worlds = Vec::new();
    for object in 0..world.objects.len() {
        for order in orders(world, object, (msg, args), events, at) {
            let mut world = world.clone();
            if carry_out(&mut world, object, &order, (events, at))
                == args.number("rc").is_none_or(|rc| rc == 0)
            {
                worlds.push(world);
            }
        }
    }
    worlds
}

/// A call, as far as it is known.
enum Order {
    Ready(bool, CopyStrategy),
    Supply {
        range: PageRange,
        lock: Prot,
        precious: bool,
        reply: bool,
    },
    /// A supply of pages that are there: without effect.
    Nothing,
    Unavailable(PageRange),
    Error(PageRange),
    Lock {
        offset: u64,
        length: u64,
        should_return: ShouldReturn,
        flush: bool,
        lock: Prot,
        reply: bool,
    },
    Change(bool, CopyStrategy, bool),
    Destroy,
}

/// Makes the call; true if the kernel took it (also where it then refused what it carried).
fn carry_out(world: &mut World, object: usize, order: &Order, (events, at): (&[Event], usize)) -> bool {
    let control = world.objects[object].control;
    let result = match *order {
        Order::Ready(may_cache, copy_strategy) => world.call(
            object,
            Call::Ready {
                control,
                may_cache,
                copy_strategy,
            },
        ),
        Order::Supply {
            range,
            lock,
            precious,
            reply,
        } => world.supply(object, range, lock, precious, reply),
        Order::Nothing => Ok(()),
        Order::Unavailable(range) => {
            let (offset, length) = (range.start().0 * PAGE, range.len() * PAGE);
            world.call(
                object,
                Call::DataUnavailable {
                    control,
                    offset,
                    length,
                },
            )
        }
        Order::Error(range) => {
            let (offset, length) = (range.start().0 * PAGE, range.len() * PAGE);
            world.call(
                object,
                Call::DataError {
                    control,
                    offset,
                    length,
                    error: PageError::Io,
                },
            )
        }
        Order::Lock { .. } => {
            world.discover_returned(object, events, at);
            request_lock(world, object, order)
        }
        Order::Change(may_cache, copy_strategy, reply) => {
            world.discover_returned(object, events, at);
            world.call(
                object,
                Call::ChangeAttributes {
                    control,
                    may_cache,
                    copy_strategy,
                    reply,
                },
            )
        }
        Order::Destroy => world.call(object, Call::Destroy { control }),
    };
    !matches!(result, Err(KernelError::UnknownControl(_) | KernelError::Gone))
}

fn request_lock(world: &mut World, object: usize, order: &Order) -> Result<(), KernelError> {
    let control = world.objects[object].control;
    let Order::Lock {
        offset,
        length,
        should_return,
        flush: should_flush,
        lock,
        reply,
    } = *order
    else {
        return Ok(());
    };

    let call = Call::LockRequest {
        control,
        offset,
        length,
        should_return,
        should_flush,
        lock,
        reply,
    };
    let result = world.call(object, call);
    if matches!(result, Err(KernelError::BadArgument { .. })) {
        world.refused_lock = true;
        world.notified.extend(reply.then_some("send_once"));
    }
    result
}

fn orders(
    world: &World,
    object: usize,
    (msg, args): (&str, &Args),
    events: &[Event],
    at: usize,
) -> Vec<Order> {
    let range = || {
        let (offset, length) = (args.number("off")?, args.number("len")?);
        Some(PageRange::new(
            PageIndex(offset / PAGE),
            PageIndex((offset + length).div_ceil(PAGE)),
        ))
    };
    let reply = args.text("reply").is_some_and(|reply| reply != "NULL");
    let awaited = world.objects[object].client.awaited();
    match msg {
        "ready" => attributes(args, events, at)
            .map(|(cache, copy)| Order::Ready(cache, copy))
            .collect(),
        // The recorder's own server answers requests; what it supplies besides is called `supply`.
        "data_supply" if range().is_some_and(|range| !range.iter().all(|page| awaited.contains(&page))) => {
            Vec::new()
        }
        "data_supply" | "supply" => match range() {
            Some(range) => {
                let lock = Prot::from_bits(args.number("lock").unwrap_or(0) as u32);
                let precious = args.number("precious") == Some(1);
                vec![Order::Supply {
                    range,
                    lock,
                    precious,
                    reply,
                }]
            }
            None => unrecorded_supplies(world, object, &awaited, events, at),
        },
        "data_unavailable" => range().map_or_else(
            || {
                awaited
                    .iter()
                    .map(|page| Order::Unavailable(PageRange::single(*page)))
                    .collect()
            },
            |range| vec![Order::Unavailable(range)],
        ),
        "data_error" => range().map_or_else(
            || {
                awaited
                    .iter()
                    .map(|page| Order::Error(PageRange::single(*page)))
                    .collect()
            },
            |range| vec![Order::Error(range)],
        ),
        "lock_request" => lock(args, reply).into_iter().collect(),
        "change" | "change_attributes" => {
            let completes = reply || next_message(events, at, "change_completed").is_some();
            attributes(args, events, at)
                .map(|(cache, copy)| Order::Change(cache, copy, completes))
                .collect()
        }
        "destroy" => vec![Order::Destroy],
        _ => Vec::new(),
    }
}

fn lock(args: &Args, reply: bool) -> Option<Order> {
    let should_return = match args.number("return")? {
        0 => ShouldReturn::None,
        1 => ShouldReturn::Dirty,
        _ => ShouldReturn::All,
    };
    let lock = Prot::from_bits(args.number("lock")? as u32);
    let (offset, length, flush) = (
        args.number("off")?,
        args.number("len")?,
        args.number("flush")? == 1,
    );
    Some(Order::Lock {
        offset,
        length,
        should_return,
        flush,
        lock,
        reply,
    })
}

/// Supplies of which only the result was printed: what the kernel said next tells more.
fn unrecorded_supplies(
    world: &World,
    object: usize,
    awaited: &[PageIndex],
    events: &[Event],
    at: usize,
) -> Vec<Order> {
    let supply = |range, reply| Order::Supply {
        range,
        lock: Prot::NONE,
        precious: false,
        reply,
    };
    if let Some(args) = next_message(events, at, "supply_completed") {
        let (offset, length) = (args.number("off").unwrap_or(0), args.number("len").unwrap_or(0));
        let range = PageRange::with_len(PageIndex(offset / PAGE), length / PAGE);
        return vec![supply(range, true)];
    }
    if !awaited.is_empty() {
        return awaited
            .iter()
            .map(|page| supply(PageRange::single(*page), false))
            .collect();
    }
    let client = &world.objects[object].client;
    let absent = (0..8).map(PageIndex).filter(|page| client.page(*page).is_none());
    let unsolicited = absent.map(|page| supply(PageRange::single(page), false));
    std::iter::once(Order::Nothing).chain(unsolicited).collect()
}

/// The next message of that name that the kernel sends before anybody does something else.
fn next_message<'a>(events: &'a [Event], at: usize, name: &str) -> Option<&'a Args> {
    let meanwhile = events[at + 1..]
        .iter()
        .take_while(|event| !event.starts_something());
    meanwhile
        .filter_map(|event| match event {
            Event::Kernel { msg, args } if msg == name => Some(args),
            Event::Kernel { .. } | Event::Note(_) | Event::Pager { .. } => None,
            Event::Begins { .. } | Event::Done { .. } | Event::Exception { .. } => None,
        })
        .next()
}

/// The attributes of a call: as printed, as confirmed, or as measured next.
fn attributes(
    args: &Args,
    events: &[Event],
    at: usize,
) -> impl Iterator<Item = (bool, CopyStrategy)> + use<> {
    let completed = next_message(events, at, "change_completed");
    let source = [Some(args), completed]
        .into_iter()
        .flatten()
        .find(|args| args.has("copy"));
    let (cache, copy) = match source {
        Some(args) => (
            args.number("cache").or(args.number("may_cache")),
            args.number("copy"),
        ),
        None => measured(events, at).unwrap_or_default(),
    };
    let copy = strategy(copy.unwrap_or(0));
    copy.map(|copy| (cache.unwrap_or(0) != 0, copy)).into_iter()
}

fn measured(events: &[Event], at: usize) -> Option<(Option<u64>, Option<u64>)> {
    let meanwhile = events[at + 1..]
        .iter()
        .take_while(|event| !matches!(event, Event::Pager { .. }));
    meanwhile
        .filter_map(|event| match event {
            Event::Note(text) if text.starts_with("get_attributes") => {
                Some((field(text, "cache="), field(text, "copy=")))
            }
            Event::Kernel { .. } | Event::Note(_) | Event::Pager { .. } => None,
            Event::Begins { .. } | Event::Done { .. } | Event::Exception { .. } => None,
        })
        .next()
}

/// The copy strategy with this number on the wire.
fn strategy(number: u64) -> Option<CopyStrategy> {
    let all = [
        CopyStrategy::None,
        CopyStrategy::Call,
        CopyStrategy::Delay,
        CopyStrategy::Temporary,
    ];
    all.into_iter().find(|strategy| number_of(*strategy) == number)
}

/// The number of a copy strategy on the wire.
pub(crate) fn number_of(strategy: CopyStrategy) -> u64 {
    match strategy {
        CopyStrategy::None => 0,
        CopyStrategy::Call => 1,
        CopyStrategy::Delay => 2,
        CopyStrategy::Temporary => 3,
    }
}
