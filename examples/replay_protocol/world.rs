//! One way in which a recording may be understood so far: a simulated kernel, what the client
//! thread is doing in it, and the messages that the recording has not mentioned yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::task::Poll;

use actor_pager::mach::eviction::Share;
use actor_pager::mach::sim::{AccessError, SimClient, SimHost, SimMapping, SimObject, SimOptions};
use actor_pager::mach::{Call, Kernel, KernelError, ObjectSpec, PageSlice, Upcall};
use actor_pager::object::{PageIndex, PageRange, PageSize, PortName, Prot};

pub(crate) const PAGE: u64 = 4096;

/// A memory object of the recorder's.
pub(crate) struct Object {
    /// Its letter in the recording; unknown for those whose making was not recorded.
    pub(crate) label: Option<String>,
    pub(crate) pager: SimObject,
    pub(crate) client: SimClient,
    /// The control port, also after the object's end.
    pub(crate) control: PortName,
    /// The recorder printed the message that brought the control port.
    pub(crate) control_shown: bool,
    /// Pages may be there that the recording did not show, but for those named.
    pub(crate) known: Option<BTreeSet<PageIndex>>,
}

/// A mapping.
#[derive(Clone, Copy)]
pub(crate) struct Map {
    pub(crate) object: usize,
    pub(crate) mapping: SimMapping,
    pub(crate) pages: PageRange,
    pub(crate) length_known: bool,
    pub(crate) copy: bool,
}

/// What the client thread does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Task {
    Idle,
    /// Loads the pages from the first to before the last.
    Read {
        map: usize,
        next: PageIndex,
        end: PageIndex,
        last: u64,
    },
    /// Stores `value` to the same.
    Write {
        map: usize,
        next: PageIndex,
        end: PageIndex,
        value: u64,
    },
    /// Waits for a copy.
    Copy {
        map: usize,
    },
    /// Something that the kernel is not asked about: memory of another kind, or an unknown action.
    Elsewhere,
    /// Over: what it got. No value: any.
    Over {
        code: u64,
        value: Option<u64>,
    },
}

/// See the head of this file.
pub(crate) struct World {
    pub(crate) host: SimHost,
    pub(crate) objects: Vec<Object>,
    pub(crate) maps: Vec<Map>,
    pub(crate) task: Task,
    /// Messages to the pager that the recording has not mentioned yet.
    pub(crate) said: VecDeque<(usize, Upcall)>,
    /// Exceptions likewise.
    pub(crate) exceptions: VecDeque<u64>,
    /// Notifications likewise.
    pub(crate) notified: VecDeque<&'static str>,
    /// What the first byte of each supplied page turned out to be.
    pub(crate) values: BTreeMap<u64, u64>,
    /// Calls of the pager's that were carried out before the recording mentions them.
    pub(crate) early: BTreeSet<usize>,
    /// Memory was short: clean pages may have gone silently.
    pub(crate) pressed: bool,
    /// A no-senders notification was asked for.
    pub(crate) watches_senders: bool,
    /// Rows of the table of differences that were needed.
    pub(crate) rows: BTreeSet<&'static str>,
    /// The recorder did something that its notes tell in words only.
    pub(crate) free_text: bool,
    /// A lock request was refused for its lock value.
    pub(crate) refused_lock: bool,
    /// How many pages a mapping is taken to have whose size was not recorded.
    pub(crate) unknown_length: u64,
    next_tag: u64,
}

impl Clone for World {
    fn clone(&self) -> Self {
        let host = self.host.fork();
        let objects = self.objects.iter().filter_map(|object| {
            let pager = host.attach(object.pager.port())?;
            Some(Object {
                label: object.label.clone(),
                client: pager.client(),
                pager,
                known: object.known.clone(),
                ..*object
            })
        });
        Self {
            objects: objects.collect(),
            maps: self.maps.clone(),
            task: self.task.clone(),
            said: self.said.clone(),
            exceptions: self.exceptions.clone(),
            notified: self.notified.clone(),
            values: self.values.clone(),
            early: self.early.clone(),
            rows: self.rows.clone(),
            host,
            ..*self
        }
    }
}

impl World {
    /// A machine on which nothing has happened.
    pub(crate) fn new() -> Self {
        Self {
            host: SimHost::new(SimOptions::default()),
            objects: Vec::new(),
            maps: Vec::new(),
            task: Task::Idle,
            said: VecDeque::new(),
            exceptions: VecDeque::new(),
            notified: VecDeque::new(),
            values: BTreeMap::new(),
            early: BTreeSet::new(),
            pressed: false,
            watches_senders: false,
            rows: BTreeSet::new(),
            free_text: false,
            refused_lock: false,
            unknown_length: 0,
            next_tag: 0,
        }
    }

    pub(crate) fn make_object(&mut self, label: Option<String>) -> usize {
        let spec = ObjectSpec {
            name: label.clone().unwrap_or_default(),
            length: u64::MAX,
            page_size: PageSize::KIB_4,
            notify_on_evict: false,
            memory_deadline: std::time::Duration::from_secs(60),
            share: Share::default(),
        };
        let pager = self.host.create(spec);
        self.adopt(pager, label)
    }

    fn adopt(&mut self, pager: SimObject, label: Option<String>) -> usize {
        let client = pager.client();
        // The recorder holds a send right of its own.
        client.make_send();
        let control = PortName::NULL;
        self.objects.push(Object {
            label,
            pager,
            client,
            control,
            control_shown: true,
            known: None,
        });
        self.objects.len() - 1
    }

    pub(crate) fn map(&mut self, object: usize, pages: PageRange, prot: Prot, copy: bool) -> usize {
        let client = &self.objects[object].client;
        let mapping = if copy {
            client.map_copy(pages, prot)
        } else {
            client.map(pages, prot)
        };
        self.maps.push(Map {
            object,
            mapping,
            pages,
            length_known: true,
            copy,
        });
        self.advance();
        self.maps.len() - 1
    }

    /// Maps an object with a length that was not recorded.
    pub(crate) fn map_unknown(&mut self, object: usize, prot: Prot) {
        let pages = PageRange::with_len(PageIndex(0), self.unknown_length);
        let map = self.map(object, pages, prot, false);
        self.maps[map].length_known = false;
    }

    /// The pager's receive right goes.
    pub(crate) fn kill_pager(&mut self, object: usize) {
        self.objects[object].client.kill_pager();
        self.advance();
    }

    pub(crate) fn unmap(&mut self, map: usize) {
        let map = self.maps.remove(map);
        self.objects[map.object].client.unmap(map.mapping);
        self.advance();
    }

    /// Makes a call in the pager's name.
    pub(crate) fn call(&mut self, object: usize, call: Call<'_>) -> Result<(), KernelError> {
        let result = self.objects[object].pager.call(call);
        self.advance();
        result
    }

    /// Supplies pages whose bytes are recognised later.
    pub(crate) fn supply(
        &mut self,
        object: usize,
        range: PageRange,
        lock: Prot,
        precious: bool,
        reply: bool,
    ) -> Result<(), KernelError> {
        let mut bytes = vec![0; (range.len() * PAGE) as usize];
        for page in bytes.chunks_mut(PAGE as usize) {
            self.next_tag += 1;
            page[..8].copy_from_slice(&(self.next_tag << 32).to_le_bytes());
        }
        let control = self.objects[object].control;
        // The recorder's store never keeps anything: what it supplies need not be what it was given.
        self.objects[object].client.forget(range);
        let pages = PageSlice::Bytes(&bytes);
        self.call(
            object,
            Call::DataSupply {
                control,
                range,
                pages,
                lock,
                precious,
                reply,
            },
        )
    }

    /// Lets the client thread run, and collects what the kernel says.
    pub(crate) fn advance(&mut self) {
        while self.run_task() {}
        self.collect();
    }

    fn collect(&mut self) {
        let mut at = 0;
        while at < self.objects.len() {
            for upcall in self.objects[at].pager.take_upcalls() {
                self.note_upcall(at, &upcall);
                if self.watches_senders || !matches!(upcall, Upcall::NoSenders) {
                    self.said.push_back((at, upcall));
                }
            }
            at += 1;
        }
    }

    fn note_upcall(&mut self, object: usize, upcall: &Upcall) {
        if let Upcall::Init { control, .. } = upcall {
            self.objects[object].control = *control;
        }
        let Upcall::Copy { new_object, .. } = upcall else {
            return;
        };
        if let Some(pager) = self.host.attach(*new_object) {
            let copy = self.adopt(pager, None);
            let client = self.objects[copy].client.clone();
            for map in self
                .maps
                .iter_mut()
                .filter(|map| client.mapping(map.mapping).is_some())
            {
                if client.owns(map.mapping) {
                    map.object = copy;
                    map.copy = false;
                }
            }
        }
    }

    /// One step of the client thread; true if it can go on.
    fn run_task(&mut self) -> bool {
        match self.task.clone() {
            Task::Read { map, next, end, last } if next < end => self.read_one(map, next, end, last),
            Task::Write {
                map,
                next,
                end,
                value,
            } if next < end => self.write_one(map, next, end, value),
            Task::Read { last, .. } => self.over(0, Some(last)),
            Task::Write { .. } => self.over(0, Some(0)),
            Task::Copy { map } => {
                let map = self.maps[map];
                match self.objects[map.object].client.poll_copy(map.mapping) {
                    Poll::Ready(Ok(())) => self.over(0, None),
                    // The call fails; the thread gets no exception.
                    Poll::Ready(Err(_)) => self.over(10, None),
                    Poll::Pending => false,
                }
            }
            Task::Idle | Task::Elsewhere | Task::Over { .. } => false,
        }
    }

    fn read_one(&mut self, map: usize, page: PageIndex, end: PageIndex, _: u64) -> bool {
        let target = self.maps[map];
        let mut tag = [0; 8];
        match self.objects[target.object]
            .client
            .try_read(target.mapping, page.0 * PAGE, &mut tag)
        {
            Poll::Ready(Ok(())) => {
                self.task = Task::Read {
                    map,
                    next: page.next(),
                    end,
                    last: u64::from_le_bytes(tag),
                };
                true
            }
            Poll::Ready(Err(error)) => self.fails(error),
            Poll::Pending => false,
        }
    }

    fn write_one(&mut self, map: usize, page: PageIndex, end: PageIndex, value: u64) -> bool {
        let target = self.maps[map];
        let client = &self.objects[target.object].client;
        match client.try_write(target.mapping, page.0 * PAGE, &value.to_le_bytes()) {
            Poll::Ready(Ok(())) => {
                self.task = Task::Write {
                    map,
                    next: page.next(),
                    end,
                    value,
                };
                true
            }
            Poll::Ready(Err(error)) => self.fails(error),
            Poll::Pending => false,
        }
    }

    fn fails(&mut self, error: AccessError) -> bool {
        let code = match error {
            AccessError::NotMapped { .. } => 1,
            AccessError::Protection { .. } => 2,
            AccessError::Memory { .. } => 10,
        };
        self.exceptions.push_back(code);
        self.over(0x1000 + code, Some(0))
    }

    fn over(&mut self, code: u64, value: Option<u64>) -> bool {
        self.task = Task::Over { code, value };
        false
    }

    /// True if bytes with this mark may read as `value`: known from a store, or from an earlier load.
    pub(crate) fn reads_as(&mut self, mark: u64, value: u64) -> bool {
        if mark >> 32 == 0 {
            return mark == value;
        }
        *self.values.entry(mark).or_insert(value) == value
    }
}
