//! Pages that the pager supplies.

use super::machine::Machine;
use super::object::Object;
use super::page::{GRACE, Page, PageState};
use crate::mach::{KernelError, PageSlice, Upcall};
use crate::object::{PageIndex, PageRange, Prot};

/// `KERN_MEMORY_PRESENT`: a page that was supplied is there already.
const MEMORY_PRESENT: u32 = 23;

/// The pages and the terms of a supply.
pub(super) struct Supply<'a> {
    pub(super) range: PageRange,
    pub(super) pages: PageSlice<'a>,
    pub(super) lock: Prot,
    pub(super) precious: bool,
}

impl Machine {
    /// Takes pages in; those that are there already stay as they are.
    pub(super) fn supply(&mut self, id: u64, supply: &Supply<'_>, reply: bool) -> Result<(), KernelError> {
        let refused = KernelError::BadArgument { call: "data_supply" };
        let object = self.objects.get(&id).ok_or(KernelError::Gone)?;
        let (control, size) = (object.control, object.spec.page_size);
        let fits = match supply.pages {
            PageSlice::Bytes(bytes) => bytes.len() as u64 == supply.range.bytes(size),
            PageSlice::Cached => supply.range.iter().all(|page| object.is_lent(page)),
        };
        if !fits || supply.lock.bits() & !7 != 0 {
            return Err(refused);
        }
        let mut present = None;
        for page in supply.range.iter() {
            if !self.supply_page(id, page, supply)? {
                present = present.or(Some(page));
            }
        }
        if let Some(object) = self.objects.get_mut(&id).filter(|_| reply) {
            let (offset, length) = (supply.range.offset(size), supply.range.bytes(size));
            let error_offset = present.map_or(0, |page| page.offset(size) - offset);
            let result = if present.is_some() { MEMORY_PRESENT } else { 0 };
            object.send(Upcall::SupplyCompleted {
                control,
                offset,
                length,
                result,
                error_offset,
            });
        }
        Ok(())
    }

    /// Takes one page in; false if it is there already.
    fn supply_page(&mut self, id: u64, index: PageIndex, supply: &Supply<'_>) -> Result<bool, KernelError> {
        let object = self.objects.get(&id).ok_or(KernelError::Gone)?;
        let state = object.pages.get(&index).map(|page| page.state.clone());
        match supply.pages {
            PageSlice::Cached => self.give_back(id, index, supply),
            PageSlice::Bytes(_) if state == Some(PageState::Resident) => return Ok(false),
            PageSlice::Bytes(bytes) => {
                let size = object.spec.page_size.bytes() as usize;
                let at = (index.0 - supply.range.start().0) as usize * size;
                let asked = matches!(
                    state,
                    Some(PageState::Requested | PageState::Lent { asked: true })
                );
                self.take_in(id, index, &bytes[at..at + size], supply, asked)?;
            }
        }
        Ok(true)
    }

    fn take_in(
        &mut self,
        id: u64,
        index: PageIndex,
        bytes: &[u8],
        supply: &Supply<'_>,
        asked: bool,
    ) -> Result<(), KernelError> {
        if !asked && !self.reserve_frame() {
            let source = std::io::Error::from(std::io::ErrorKind::OutOfMemory);
            return Err(KernelError::System {
                call: "data_supply",
                source,
            });
        }
        let born = self.fresh();
        let object = self.objects.get_mut(&id).ok_or(KernelError::Gone)?;
        if asked {
            object.oracle.supplied(index, bytes);
        } else {
            object.oracle.learn(index, bytes);
        }
        let precious = supply.precious || object.spec.notify_on_evict;
        let before = object.pages.get(&index);
        let (loans, unsaved) = before.map_or((0, false), |page| (page.loans, page.unsaved));
        let page = Page {
            loans,
            unsaved,
            grace: if asked { GRACE } else { 0 },
            ..Page::supplied(bytes.to_vec(), supply.lock, precious, born)
        };
        object.pages.insert(index, page);
        Ok(())
    }

    /// A page of a return comes back: it never left the cache.
    fn give_back(&mut self, id: u64, index: PageIndex, supply: &Supply<'_>) {
        let born = self.fresh();
        let Some(object) = self.objects.get_mut(&id) else {
            return;
        };
        let precious = supply.precious || object.spec.notify_on_evict;
        let Some(page) = object.pages.get_mut(&index) else {
            return;
        };
        if matches!(page.state, PageState::Lent { .. }) {
            page.state = PageState::Resident;
            (page.lock, page.unlock_asked) = (supply.lock, Prot::NONE);
            (page.precious, page.born) = (precious, born);
            object.oracle.supplied(index, &page.bytes);
        }
        object.end_loan(index);
    }
}

impl Object {
    fn is_lent(&self, page: PageIndex) -> bool {
        self.pages.get(&page).is_some_and(|page| page.loans > 0)
    }
}
