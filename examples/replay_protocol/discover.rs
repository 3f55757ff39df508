//! What a recording shows of pages whose history it does not show.

use std::collections::BTreeSet;

use actor_pager::mach::Call;
use actor_pager::object::{CopyStrategy, PageIndex, PageRange, Prot};

use crate::record::Event;
use crate::world::{PAGE, World};

impl World {
    /// A machine with an object of which the recording shows nothing: mapped, or cached.
    pub(crate) fn with_unknown(mapped: bool, length: u64) -> Self {
        let mut world = Self::new();
        world.unknown_length = length;
        let object = world.make_object(None);
        world.map_unknown(object, Prot::READ_WRITE);
        world.said.clear();
        let control = world.objects[object].control;
        let copy_strategy = CopyStrategy::None;
        let _ = world.call(
            object,
            Call::Ready {
                control,
                may_cache: !mapped,
                copy_strategy,
            },
        );
        if !mapped {
            // Something must be cached for the object to live on.
            let _ = world.supply(
                object,
                PageRange::single(PageIndex(1 << 30)),
                Prot::NONE,
                false,
                false,
            );
            world.unmap(0);
        }
        world.objects[object].known = Some(BTreeSet::new());
        world
    }

    /// Puts a clean page into an object of which the recording does not show everything.
    pub(crate) fn discover_clean(&mut self, object: usize, page: PageIndex) {
        let new = self.objects[object]
            .known
            .as_mut()
            .is_some_and(|known| known.insert(page));
        if new {
            let _ = self.supply(object, PageRange::single(page), Prot::NONE, false, false);
        }
    }

    /// Puts pages into such an object that will be returned.
    pub(crate) fn discover(&mut self, object: usize, pages: PageRange, dirty: bool) {
        for page in pages.iter() {
            let new = self.objects[object]
                .known
                .as_mut()
                .is_some_and(|known| known.insert(page));
            if !new {
                continue;
            }
            let range = PageRange::single(page);
            let _ = self.supply(object, range, Prot::NONE, !dirty, false);
            if dirty {
                let client = &self.objects[object].client;
                let mapping = client.map(range, Prot::READ_WRITE);
                let _ = client.try_write(mapping, page.0 * PAGE + 8, &[1]);
                client.unmap(mapping);
            }
        }
    }

    /// The same for all pages that the recording shows to be returned next.
    pub(crate) fn discover_returned(&mut self, object: usize, events: &[Event], at: usize) {
        if self.objects[object].known.is_none() {
            return;
        }
        for event in events[at + 1..]
            .iter()
            .take_while(|event| !event.starts_something())
        {
            if let Event::Kernel { msg, args } = event
                && msg == "data_return"
                && let (Some(offset), Some(length)) = (args.number("off"), args.number("cnt"))
            {
                let pages = PageRange::with_len(PageIndex(offset / PAGE), length / PAGE);
                self.discover(object, pages, args.number("dirty") == Some(1));
            }
        }
    }

    /// What can be told apart about this world later on.
    pub(crate) fn signature(&self) -> String {
        let objects = self.objects.iter().map(|object| {
            let pages = object.client.pages();
            let bytes = |page: &PageIndex| object.client.peek(*page).map(|bytes| bytes[..8].to_vec());
            let bytes: Vec<_> = pages.iter().map(|(page, _)| bytes(page)).collect();
            let (awaited, attributes) = (object.client.awaited(), object.client.attributes());
            format!(
                "{:?}{pages:?}{bytes:?}{awaited:?}{attributes:?}{:?}",
                object.label, object.known
            )
        });
        let objects: Vec<_> = objects.collect();
        let maps: Vec<_> = self.maps.iter().map(|map| (map.object, map.mapping)).collect();
        let heard = (&self.said, &self.exceptions, &self.values, &self.early);
        format!("{objects:?}{maps:?}{:?}{heard:?}", self.task)
    }
}
