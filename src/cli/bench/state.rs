//! How much memory the state of pages takes.

use std::time::Duration;

use actor_pager::object::{
    DataId, Effect, Event, MemoryObject, ObjectOptions, PageSize, PagesSupplied, PortName, Prot,
};

use super::error::BenchError;
use super::rows::Contest;
use super::side::Side;

const CONTROL: PortName = PortName(1);
/// The length of the object: 1 TiB.
const EXTENT: u64 = 1 << 40;
/// What is touched: so many stretches, far from each other, of so many bytes: 1 GiB in all.
const STRETCHES: u64 = 16;
const STRETCH: u64 = 64 << 20;
/// What one request is for: 64 pages.
const REQUEST: u64 = 64 * 4096;
/// The bytes of state for each page that there are to be.
const BYTES_PER_PAGE: f64 = 2.0;

/// A number of bytes a page, dressed up as a time in microseconds.
struct Bytes(f64);

impl Side for Bytes {
    fn reset(&mut self) -> Result<(), BenchError> {
        Ok(())
    }

    fn run(&mut self) -> Result<Duration, BenchError> {
        Ok(Duration::from_secs_f64(self.0))
    }
}

/// The bytes of state after 1 GiB of 1 TiB was touched, for each touched page.
pub(crate) fn contest() -> Result<Contest, BenchError> {
    let size = PageSize::KIB_4;
    let mut object = MemoryObject::new(ObjectOptions {
        extent: Some(EXTENT),
        ..ObjectOptions::new(size)
    });
    let mut effects = Vec::new();
    object.handle(
        Event::Init {
            control: CONTROL,
            name: PortName(2),
            page_size: size.bytes(),
        },
        &mut effects,
    );
    for stretch in 0..STRETCHES {
        let start = stretch * (EXTENT / STRETCHES);
        for offset in (start..start + STRETCH).step_by(REQUEST as usize) {
            touch(&mut object, offset, &mut effects)?;
        }
    }
    let pages = (STRETCHES * STRETCH / size.bytes()) as f64;
    let bytes = object.state_bytes() as f64 / pages;
    // One access of one second is a million microseconds.
    Ok(Contest {
        accesses: 1_000_000,
        raw: Box::new(Bytes(BYTES_PER_PAGE)),
        ours: Box::new(Bytes(bytes)),
        mmap: None,
    })
}

/// One fault, from the request to the supply.
fn touch(object: &mut MemoryObject, offset: u64, effects: &mut Vec<Effect>) -> Result<(), BenchError> {
    effects.clear();
    let request = Event::DataRequest {
        control: CONTROL,
        offset,
        length: REQUEST,
        access: Prot::READ,
    };
    object.handle(request, effects);
    let Some(&Effect::Read { op, range, .. }) = effects.first() else {
        return Err(BenchError::State(format!(
            "{:?} instead of a read",
            effects.first()
        )));
    };
    effects.clear();
    let supplied = PagesSupplied {
        data: DataId(0),
        write_lock: false,
    };
    object.handle(
        Event::PagesRead {
            op,
            range,
            result: Ok(supplied),
        },
        effects,
    );
    match effects.first() {
        Some(Effect::DataSupply { .. }) => Ok(()),
        other => Err(BenchError::State(format!("{other:?} instead of a supply"))),
    }
}
