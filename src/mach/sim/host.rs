//! The simulated kernel as a whole, shared by the objects made in it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use super::machine::Machine;
use super::{SimClient, SimObject, SimOptions};
use crate::mach::{KernelError, KernelHost, ObjectKernel, ObjectSpec};
use crate::object::PortName;

/// How long a blocked thread waits before it looks again by itself.
const ASK_AGAIN: Duration = Duration::from_millis(2);

/// A simulated kernel; clones are the same kernel.
#[derive(Clone, Debug)]
pub struct SimHost {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    machine: Machine,
    /// Counts what happened, so that a blocked thread can tell that something did.
    events: u64,
    /// Threads that wait for something to happen.
    blocked: u32,
}

impl SimHost {
    /// A new kernel.
    pub fn new(options: SimOptions) -> Self {
        Self::around(Machine::new(options))
    }

    fn around(machine: Machine) -> Self {
        let state = Mutex::new(State {
            machine,
            events: 0,
            blocked: 0,
        });
        let changed = Condvar::new();
        Self {
            shared: Arc::new(Shared { state, changed }),
        }
    }

    /// Makes an object.
    pub fn create(&self, spec: ObjectSpec) -> SimObject {
        let id = self.with(|machine| machine.create(spec));
        SimObject::new(self.clone(), id)
    }

    /// The pager's side of the object behind `port`: of one that the kernel made itself (a copy).
    pub fn attach(&self, port: PortName) -> Option<SimObject> {
        let id = self.with(|machine| {
            let mut objects = machine.objects.iter();
            objects.find(|(_, object)| object.port == port).map(|(id, _)| *id)
        })?;
        Some(SimObject::new(self.clone(), id))
    }

    /// A client of the object behind `port`.
    pub fn client(&self, port: PortName) -> Option<SimClient> {
        let id = self.with(|machine| {
            let mut objects = machine.objects.iter();
            objects.find(|(_, object)| object.port == port).map(|(id, _)| *id)
        })?;
        Some(SimClient::new(self.clone(), id))
    }

    /// An independent kernel in the same state; it has no pagers but those that
    /// [`attach`](Self::attach).
    pub fn fork(&self) -> Self {
        let mut machine = self.with(|machine| machine.clone());
        for object in machine.objects.values_mut() {
            object.waker = None;
        }
        Self::around(machine)
    }

    /// The frames in use: pages cached, and pages asked for.
    pub fn frames_used(&self) -> u64 {
        self.with(|machine| machine.frames_used())
    }

    /// The most frames ever in use; counted only under a resident limit.
    pub fn high_water(&self) -> u64 {
        self.with(|machine| machine.high_water)
    }

    /// Memory pressure takes one page of any object; false if there is none that it may take.
    pub fn press(&self) -> bool {
        self.with(Machine::press)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the machine, then wakes whom it concerns.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut Machine) -> R) -> R {
        let mut state = self.lock();
        let result = act(&mut state.machine);
        state.events += 1;
        if state.blocked > 0 {
            self.shared.changed.notify_all();
        }
        let wakers = state.machine.take_wakers();
        drop(state);
        wakers.into_iter().for_each(std::task::Waker::wake);
        result
    }

    /// Tries until there is a result; sleeps while nothing happens.
    pub(super) fn block_on<R>(&self, mut attempt: impl FnMut(&mut Machine) -> Poll<R>) -> R {
        loop {
            let mut state = self.lock();
            if let Poll::Ready(result) = attempt(&mut state.machine) {
                drop(state);
                self.with(|_| ());
                return result;
            }
            state.blocked += 1;
            let seen = state.events;
            let wakers = state.machine.take_wakers();
            drop(state);
            wakers.into_iter().for_each(std::task::Waker::wake);
            let mut state = self.lock();
            if state.events == seen {
                // A frame may be had by asking again, though nothing happened: see `Page::grace`.
                let waited = self.shared.changed.wait_timeout(state, ASK_AGAIN);
                (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            }
            state.blocked -= 1;
        }
    }
}

impl KernelHost for SimHost {
    fn create_object(&self, spec: ObjectSpec) -> Result<Box<dyn ObjectKernel>, KernelError> {
        Ok(Box::new(self.create(spec)))
    }

    fn describe(&self) -> String {
        let SimOptions {
            seed, resident_limit, ..
        } = self.with(|machine| machine.options.clone());
        let limit = resident_limit.map_or("no limit".to_owned(), |limit| format!("{limit} pages at most"));
        format!("simulated kernel, seed {seed}, {limit}")
    }
}
