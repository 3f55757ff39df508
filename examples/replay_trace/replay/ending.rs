//! The end of a replay: whatever was compared, nothing may be lost, unanswered, or given away twice.

use actor_pager::object::Event;

use super::rules::Rules;
use super::trace::Trace;
use super::world::{ALL, PagerSim, World};

/// Lets everything end that is held, then checks what must hold of every trace.
pub(crate) fn finish(world: &mut World, rules: &Rules, trace: &Trace) -> Result<(), String> {
    if !trace.undefined {
        compare_stores(world, rules, trace)?;
    }
    if let Some(credit) = rules.open_credits() {
        return Err(format!("at the end: {credit} was never recorded"));
    }
    drain(world);
    if let Some(debt) = rules.open_debts().iter().find(|debt| !world.log.contains(debt)) {
        return Err(format!("at the end: {debt} never came"));
    }
    if let Some(broken) = world.broken.first() {
        return Err(format!("at the end: {broken}"));
    }
    world.pagers.iter().try_for_each(check)
}

/// What successful writes stored, as recorded.
fn compare_stores(world: &World, rules: &Rules, trace: &Trace) -> Result<(), String> {
    let (Some(recorded), [pager]) = (&trace.end_store, world.pagers.as_slice()) else {
        return Ok(());
    };
    for (page, tag) in recorded {
        let stored = pager.stored(*page);
        let compared = rules.compares(&pager.name, *page);
        // The original does not keep writes that wait in order.
        let returned = pager.returned.get(page);
        let when = |tag: &String| returned.and_then(|tags| tags.iter().rposition(|other| other == tag));
        let newer = when(&stored) > when(tag);
        if compared && !newer && stored != *tag && !pager.offered_stored(*page) {
            return Err(format!(
                "at the end: page {page} should be stored as {tag}, is {stored}"
            ));
        }
    }
    Ok(())
}

fn drain(world: &mut World) {
    world.begin_step(u64::MAX, &[]);
    world.inhibited = None;
    for (pager, step, action) in std::mem::take(&mut world.late) {
        world.pagers[pager].inbox.push_back((step, action));
    }
    for _ in 0..10_000 {
        world.run();
        if let Some(held) = (!world.held.is_empty()).then(|| world.held.remove(0)) {
            world.let_go(held);
        } else if !confirm(world) {
            return;
        }
    }
    world.broken.push("the replay does not come to an end".to_owned());
}

/// The kernel confirms what it was asked for.
fn confirm(world: &mut World) -> bool {
    for pager in 0..world.pagers.len() {
        let Some(control) = world.pagers[pager].object.control() else {
            continue;
        };
        if let Some((offset, length, _)) = world.pagers[pager].confirmations.pop() {
            let event = Event::LockCompleted {
                control,
                offset,
                length,
            };
            world.feed(pager, u64::MAX, event);
            return true;
        }
        if let Some((may_cache, copy_strategy)) = world.pagers[pager].attribute_confirmations.pop() {
            let event = Event::ChangeCompleted {
                may_cache,
                copy_strategy,
            };
            world.feed(pager, u64::MAX, event);
            return true;
        }
    }
    false
}

fn check(pager: &PagerSim) -> Result<(), String> {
    let name = &pager.name;
    if let Some(page) = pager.arrivals.iter().find(|(_, arrivals)| !arrivals.is_empty()) {
        return Err(format!(
            "at the end: {name}: something on page {} was not answered",
            page.0
        ));
    }
    if let Some((call, step)) = pager.calls.values().next() {
        return Err(format!(
            "at the end: {name}: {call} of step {step} never returned"
        ));
    }
    check_memory(pager)?;
    check_newest(pager)
}

/// Every page of memory went one way: only what is kept is still there.
fn check_memory(pager: &PagerSim) -> Result<(), String> {
    for (id, memory) in pager.memory.iter().enumerate() {
        for &page in &memory.left {
            let kept = pager
                .object
                .kept_pages(ALL)
                .any(|kept| kept.data.0 as usize == id && kept.page.0 == page);
            if !kept {
                return Err(format!(
                    "at the end: {}: page {page} of memory {id} was lost",
                    pager.name
                ));
            }
        }
    }
    Ok(())
}

/// The newest data that the kernel gave back is stored, kept, or in the caller's hands.
fn check_newest(pager: &PagerSim) -> Result<(), String> {
    for (&page, returned) in &pager.returned {
        let Some(newest) = returned.last() else { continue };
        let kept = pager
            .object
            .kept_pages(ALL)
            .any(|kept| kept.page.0 == page && pager.tag(kept.data, kept.page) == *newest);
        let back = pager.handed_back.get(&page) == Some(newest);
        let stored = pager.stored(page) == *newest || pager.offered_stored(page);
        if !(kept || back || stored || pager.flushed.contains(&page)) {
            let stored = pager.stored(page);
            return Err(format!(
                "at the end: {}: page {page}: {newest} was returned last, {stored} is stored",
                pager.name
            ));
        }
    }
    Ok(())
}
