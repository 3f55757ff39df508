//! The line of jobs that workers pull from, and which of them are awake for it.
//!
//! Whoever waits for a read waits for the store as well, so that a worker is woken for it at once. So it is
//! for writes, unless they take less time than waking a thread: writers of one file would then only wait
//! for each other. Such writes are left to a worker that is awake, while another one watches. Should none
//! of them be taken for a while, the watcher joins in and lets the next one watch; when the line moves again,
//! all go but one.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the line may stand still before one more worker joins: at first, and when it has moved for long.
const PATIENCE: Duration = Duration::from_micros(200);
const MOST_PATIENCE: Duration = Duration::from_micros(1600);
/// Writes that take less are not worth waking a worker for each.
pub(crate) const QUICK: Duration = Duration::from_micros(25);

/// Jobs in the order in which they came.
pub(crate) struct Line<T> {
    state: Mutex<State<T>>,
    /// A sleeping worker may go on.
    arrived: Condvar,
    /// Something came that the watcher must not leave to others.
    hurry: Condvar,
}

struct State<T> {
    waiting: VecDeque<(T, bool)>,
    /// How many of those who wait are urgent.
    urgent: usize,
    /// How many jobs were taken so far.
    taken: u64,
    at_work: usize,
    asleep: usize,
    /// Workers that were called and have not come yet.
    called: usize,
    /// What a job that is not urgent takes, as long as nothing comes between.
    pace: Duration,
    watched: bool,
    closed: bool,
    stand_ins: usize,
    /// How many workers are to go when they come back.
    surplus: usize,
}

/// A job, and what its worker comes back with.
pub(crate) type Taken<T> = (T, Done);

/// A job that was taken: how to say that it is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    urgent: bool,
    since: Instant,
    /// How many were taken by then.
    taken: u64,
}

impl Done {
    /// When it was taken.
    pub(crate) fn since(self) -> Instant {
        self.since
    }
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                urgent: 0,
                taken: 0,
                at_work: 0,
                asleep: 0,
                called: 0,
                pace: Duration::ZERO,
                watched: false,
                closed: false,
                stand_ins: 0,
                surplus: 0,
            }),
            arrived: Condvar::new(),
            hurry: Condvar::new(),
        }
    }
}

impl<T> Line<T> {
    /// Adds a job; gives it back where the line is closed.
    pub(crate) fn add(&self, job: T, urgent: bool) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed {
            return Err(job);
        }
        state.waiting.push_back((job, urgent));
        state.urgent += usize::from(urgent);
        if urgent || state.is_slow() || state.is_unattended() {
            self.call_one(state);
        }
        Ok(())
    }

    /// Adds jobs that are not urgent, in order; leaves them where the line is closed.
    pub(crate) fn add_all(&self, jobs: &mut Vec<T>) {
        let mut state = self.lock();
        if state.closed || jobs.is_empty() {
            return;
        }
        state.waiting.extend(jobs.drain(..).map(|job| (job, false)));
        // Whoever comes calls the next.
        if state.is_slow() || state.is_unattended() {
            self.call_one(state);
        }
    }

    /// The first job of a worker; `None` when it is to go.
    pub(crate) fn first(&self) -> Option<Taken<T>> {
        self.wait(self.lock(), None)
    }

    /// The next job of a worker that was done with one at `end`, which was not long ago; `None` when it is
    /// to go.
    pub(crate) fn next(&self, done: Done, end: Instant) -> Option<Taken<T>> {
        let mut state = self.lock();
        state.at_work = state.at_work.saturating_sub(1);
        if !done.urgent {
            state.took(end.saturating_duration_since(done.since));
        }
        self.wait(state, Some((done, end)))
    }

    /// Waits for a job, for as long as the worker may go on without a pause since `done`.
    fn wait(
        &self,
        mut state: MutexGuard<'_, State<T>>,
        mut done: Option<(Done, Instant)>,
    ) -> Option<Taken<T>> {
        loop {
            if state.surplus > 0 {
                state.surplus -= 1;
                if !state.waiting.is_empty() {
                    // It may have been called for one of these.
                    self.call_one(state);
                }
                return None;
            }
            let empty = state.waiting.is_empty();
            if empty && state.closed {
                return None;
            }
            let mut stands_still = false;
            if empty || done.is_some_and(|(done, _)| state.goes_without(done)) {
                state = self.sleep(state);
                done = None;
            } else if state.may_watch() {
                (state, stands_still) = self.watch(state);
                done = None;
            } else {
                stands_still = true;
            }
            if stands_still {
                return self.take(state, done.map_or_else(Instant::now, |(_, end)| end));
            }
        }
    }

    fn take(&self, mut state: MutexGuard<'_, State<T>>, since: Instant) -> Option<Taken<T>> {
        let (job, urgent) = state.waiting.pop_front()?;
        state.urgent -= usize::from(urgent);
        state.taken += 1;
        state.at_work += 1;
        let done = Done {
            urgent,
            since,
            taken: state.taken,
        };
        let more = !state.waiting.is_empty();
        if state.urgent > 0 || more && (state.is_slow() || state.is_unattended()) {
            self.call_one(state);
        }
        Some((job, done))
    }

    fn sleep<'a>(&self, mut state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        state.asleep += 1;
        while state.called == 0 && state.surplus == 0 && !state.closed {
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match state.called.checked_sub(1) {
            Some(left) => state.called = left,
            None => state.asleep -= 1,
        }
        state
    }

    /// Waits for as long as others take jobs; true if they do not, or somebody is in a hurry.
    fn watch<'a>(&self, mut state: MutexGuard<'a, State<T>>) -> (MutexGuard<'a, State<T>>, bool) {
        state.watched = true;
        let mut patience = PATIENCE;
        let stands_still = loop {
            let taken = state.taken;
            let waited = self.hurry.wait_timeout(state, patience);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.waiting.is_empty() || state.surplus > 0 {
                break false;
            }
            if state.taken == taken || state.urgent > 0 || state.at_work == 0 {
                break true;
            }
            patience = MOST_PATIENCE.min(patience * 2);
        };
        state.watched = false;
        (state, stands_still)
    }

    /// Lets one worker come that has nothing to do.
    fn call_one(&self, mut state: MutexGuard<'_, State<T>>) {
        if state.asleep > 0 {
            state.asleep -= 1;
            state.called += 1;
            drop(state);
            self.arrived.notify_one();
        } else if state.watched {
            drop(state);
            self.hurry.notify_one();
        }
    }

    /// Lets the workers go when the line is empty.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Counts one more worker in place of a stuck one; false if there are `most` already.
    pub(crate) fn stand_in(&self, most: usize) -> bool {
        let mut state = self.lock();
        let may = !state.closed && state.stand_ins < most;
        state.stand_ins += usize::from(may);
        may
    }

    /// The one that was counted could not be started.
    pub(crate) fn no_stand_in(&self) {
        self.lock().stand_ins -= 1;
    }

    /// True if no more workers are started in place of stuck ones.
    pub(crate) fn is_exhausted(&self, most: usize) -> bool {
        let state = self.lock();
        state.closed || state.stand_ins >= most
    }

    /// A worker died at its work; true if another is to be started.
    pub(crate) fn lost_worker(&self, stood_in: bool) -> bool {
        let mut state = self.lock();
        state.at_work = state.at_work.saturating_sub(1);
        if stood_in && state.stand_ins > 0 {
            // Who stood in takes the place.
            state.stand_ins -= 1;
            return false;
        }
        !state.closed
    }

    /// A stuck worker is back: one is too many now.
    pub(crate) fn retire_worker(&self) {
        let mut state = self.lock();
        if state.stand_ins > 0 {
            state.stand_ins -= 1;
            state.surplus += 1;
            drop(state);
            self.arrived.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// A job took so long. One that took longer than the others may have been held up by anything.
    fn took(&mut self, time: Duration) {
        let most = self.pace + self.pace / 8 + Duration::from_micros(1);
        self.pace = time.min(most);
    }

    /// Jobs take so long that as many workers as there are go to them.
    fn is_slow(&self) -> bool {
        self.pace >= QUICK
    }

    /// Nobody was called, and nobody sees to it that the line goes on.
    fn is_unattended(&self) -> bool {
        !self.watched && self.called == 0
    }

    /// Others took jobs that are not urgent while one was done, so that they go on with the line; and should they
    /// not, somebody is there to see it.
    fn goes_without(&self, done: Done) -> bool {
        let others = self.taken != done.taken && self.at_work > 0;
        others && self.watched && self.urgent == 0 && !self.closed && !self.is_slow()
    }

    /// Others work on the line, and nobody watches them yet.
    fn may_watch(&self) -> bool {
        self.at_work > 0 && self.urgent == 0 && !self.watched && !self.closed && !self.is_slow()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier, mpsc};
    use std::thread;

    use super::*;

    type Job = Box<dyn FnOnce() + Send>;

    fn workers(line: &Arc<Line<Job>>, count: usize) -> Vec<thread::JoinHandle<()>> {
        let work = |line: Arc<Line<Job>>| {
            let mut next = line.first();
            while let Some((job, done)) = next {
                job();
                next = line.next(done, Instant::now());
            }
        };
        (0..count)
            .map(|_| {
                let line = line.clone();
                thread::spawn(move || work(line))
            })
            .collect()
    }

    #[test]
    fn every_job_is_done_before_the_workers_go() {
        let line = Arc::new(Line::<Job>::default());
        let threads = workers(&line, 3);
        let (done, results) = mpsc::channel();
        for number in 0..1000 {
            let done = done.clone();
            let job: Job = Box::new(move || done.send(number).unwrap());
            assert!(line.add(job, number % 7 == 0).is_ok());
        }
        line.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(done);
        let mut numbers: Vec<i32> = results.iter().collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
        assert!(line.add(Box::new(|| ()), true).is_err(), "closed");
    }

    #[test]
    fn slow_writes_get_all_workers() {
        let line = Arc::new(Line::<Job>::default());
        let threads = workers(&line, 4);
        // None of them ends before all four have begun.
        let met = Arc::new(Barrier::new(5));
        for _ in 0..4 {
            let met = met.clone();
            let job: Job = Box::new(move || {
                met.wait();
            });
            assert!(line.add(job, false).is_ok());
        }
        met.wait();
        line.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn one_slow_job_is_not_taken_for_the_pace_of_all() {
        let mut state = Line::<()>::default().state.into_inner().unwrap();
        state.took(Duration::from_millis(50));
        assert!(!state.is_slow());
        (0..100).for_each(|_| state.took(Duration::from_micros(100)));
        assert!(state.is_slow());
        state.took(Duration::from_micros(3));
        assert!(!state.is_slow());
    }

    #[test]
    fn a_worker_leaves_the_line_to_others_only_if_they_get_on() {
        let mut state = Line::<()>::default().state.into_inner().unwrap();
        let done = Done {
            urgent: false,
            since: Instant::now(),
            taken: 4,
        };
        (state.taken, state.at_work, state.watched) = (4, 1, true);
        assert!(!state.goes_without(done), "the other may be stuck");
        state.taken = 5;
        assert!(state.goes_without(done));
        state.watched = false;
        assert!(
            !state.goes_without(done),
            "nobody would see that the line stands still"
        );
        (state.watched, state.at_work) = (true, 0);
        assert!(!state.goes_without(done), "nobody is left");
    }

    #[test]
    fn a_worker_that_goes_leaves_its_call_to_another() {
        let line = Arc::new(Line::<Job>::default());
        let threads = workers(&line, 2);
        let asleep = || line.lock().asleep;
        while asleep() < 2 {
            thread::yield_now();
        }
        let (done, result) = mpsc::channel();
        {
            // One is to go, and one is called, before either has looked.
            let mut state = line.lock();
            state.surplus = 1;
            state.asleep -= 1;
            state.called += 1;
            state.urgent += 1;
            state
                .waiting
                .push_back((Box::new(move || done.send(()).unwrap()), true));
            line.arrived.notify_all();
        }
        result
            .recv_timeout(Duration::from_secs(60))
            .expect("the job was taken");
        line.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn an_urgent_job_does_not_wait_for_a_stuck_write() {
        let line = Arc::new(Line::<Job>::default());
        let threads = workers(&line, 2);
        let (release, stuck) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let write: Job = Box::new(move || {
            begun.send(()).unwrap();
            let _ = stuck.recv();
        });
        assert!(line.add(write, false).is_ok());
        begins.recv().unwrap();
        let (done, result) = mpsc::channel();
        assert!(line.add(Box::new(move || done.send(()).unwrap()), true).is_ok());
        result.recv().unwrap();
        drop(release);
        line.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
