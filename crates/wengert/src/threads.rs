//! A team of threads which waits for work and shares it out.
//!
//! One caller at a time has a job: a function and a number of tasks. Whoever
//! lowers the count of tasks which are left has taken one, the caller like the
//! others, so nobody waits for a thread which has not woken up yet; the caller
//! waits for the tasks which were taken. That is all of the protocol, and what
//! the `unsafe` in here rests on: a job is read only by who has taken a task of
//! it, and changed only when no task is left and none is under way.

use std::any::Any;
use std::cell::UnsafeCell;
use std::fmt;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

/// How often somebody looks before going to sleep: some tenths of a
/// millisecond, which is more than what a step does by one thread between two
/// jobs. To be woken up can take as long as a matrix product.
const SPINS: usize = 20_000;

/// Threads which wait for work, the caller's among them.
///
/// They serve whoever is given them: [`Workers`](crate::Workers) share out the
/// shards of a batch, a tape large matrix products
/// ([`Tape::set_threads`](crate::Tape::set_threads)), and a program its own
/// tasks. Results do not depend on their number: what is shared out does not,
/// only who does it.
///
/// Between jobs the threads look out for the next one for some tenths of a
/// millisecond and then sleep; they sleep at once where there are more of
/// them than cores. A job allocates nothing. Work which is given out from
/// within a task, or while another thread's job is under way, is done by the
/// thread which asks.
///
/// A clone is another handle of the same threads. With the last one they end.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use wengert::Threads;
///
/// let threads = Threads::new(2);
/// let sum = AtomicUsize::new(0);
/// threads.for_each(10, |task| {
///     sum.fetch_add(task, Ordering::Relaxed);
/// });
/// assert_eq!(sum.into_inner(), 45);
/// ```
#[derive(Clone, Default)]
pub struct Threads(Option<Arc<Team>>);

/// The threads beside the caller's. They end when this is dropped.
struct Team {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
}

/// What the threads of a team have in common.
struct Shared {
    /// Somebody's job is under way.
    busy: AtomicBool,
    /// Written by the thread which has set `busy`, while `running` is 0.
    job: UnsafeCell<Job>,
    /// Tasks of the job which nobody has taken yet.
    left: AtomicUsize,
    /// Tasks of the job which have not ended.
    running: AtomicUsize,
    /// The tasks which panicked, and what with.
    panics: Mutex<Vec<(usize, Box<dyn Any + Send>)>>,
    stop: AtomicBool,
    /// Where threads wait for a job.
    idle: Gate,
    /// Where the caller waits for the job's end.
    end: Gate,
}

#[derive(Clone, Copy)]
struct Job {
    /// Takes the number of the thread and of the task.
    run: *const (dyn Fn(usize, usize) + Sync),
    tasks: usize,
}

// SAFETY: all but `job` is `Sync` by itself; `job` points to a `Sync` function,
// and is read and written as the module's protocol has it.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

// A task which panics is an ended task.
impl UnwindSafe for Threads {}
impl RefUnwindSafe for Threads {}

impl Threads {
    /// As many threads as this, with the caller's: 1 is nobody else.
    ///
    /// # Panics
    /// For 0, and if the system refuses a thread.
    #[track_caller]
    pub fn new(threads: usize) -> Self {
        assert!(threads > 0, "Threads: there must be one at least");
        if threads == 1 {
            return Threads::default();
        }
        let enough = thread::available_parallelism().is_ok_and(|cores| threads <= cores.get());
        let gate = || Gate { spins: if enough { SPINS } else { 0 }, ..Gate::default() };
        let shared = Arc::new(Shared {
            busy: AtomicBool::new(false),
            job: UnsafeCell::new(Job { run: &|_, _| (), tasks: 0 }),
            left: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            panics: Mutex::default(),
            stop: AtomicBool::new(false),
            idle: gate(),
            end: gate(),
        });
        let mut team = Team { shared, handles: Vec::new() };
        for number in 1..threads {
            let shared = Arc::clone(&team.shared);
            let thread = thread::Builder::new().name(format!("wengert-{number}"));
            let handle = thread.spawn(move || shared.serve(number));
            team.handles.push(handle.unwrap_or_else(|e| panic!("Threads: no thread to be had: {e}")));
        }
        Threads(Some(Arc::new(team)))
    }

    /// How many threads there are, with the caller's.
    pub fn count(&self) -> usize {
        self.0.as_ref().map_or(1, |team| team.handles.len() + 1)
    }

    /// Calls `f` once with every number below `tasks`, on any of the threads,
    /// and returns when all are done.
    ///
    /// The caller's thread does task 0; the others are taken in order.
    ///
    /// # Panics
    /// If tasks panic: with what the first of them, by number, panicked with,
    /// and once no task is under way any more.
    pub fn for_each(&self, tasks: usize, f: impl Fn(usize) + Sync) {
        self.run(tasks, &|_, task| f(task));
    }

    /// [`Threads::for_each`], where `f` also gets a number below
    /// [`Threads::count`] which no other task has at the same time.
    pub(crate) fn run(&self, tasks: usize, f: &(dyn Fn(usize, usize) + Sync)) {
        match &self.0 {
            Some(team) if tasks > 1 && !team.shared.busy.swap(true, Ordering::Acquire) => team.shared.run(tasks, f),
            _ => (0..tasks).for_each(|task| f(0, task)),
        }
    }

    /// Calls `f` with pieces of some slices of the same length, the same
    /// `chunk` elements of each (the last may be shorter), and with the index
    /// of their first element.
    ///
    /// A step of plain gradient descent, with momentum:
    ///
    /// ```
    /// # use wengert::Threads;
    /// # let threads = Threads::new(2);
    /// let (mut p, mut v, g) = (vec![1.0; 5000], vec![0.0; 5000], vec![0.5; 5000]);
    /// threads.for_each_chunk([&mut p, &mut v], 1024, |at, [p, v]| {
    ///     for ((p, v), g) in p.iter_mut().zip(v).zip(&g[at..]) {
    ///         *v = 0.9 * *v + g;
    ///         *p -= 0.1 * *v;
    ///     }
    /// });
    /// assert!(p.iter().all(|&p| p == 0.95));
    /// ```
    ///
    /// # Panics
    /// If the slices differ in length or `chunk` is 0; else as
    /// [`Threads::for_each`].
    #[track_caller]
    pub fn for_each_chunk<T: Send, const N: usize>(
        &self,
        slices: [&mut [T]; N],
        chunk: usize,
        f: impl Fn(usize, [&mut [T]; N]) + Sync,
    ) {
        let len = slices.first().map_or(0, |s| s.len());
        assert!(slices.iter().all(|s| s.len() == len), "for_each_chunk: the slices differ in length");
        assert!(chunk > 0, "for_each_chunk: a chunk needs an element");
        let slices = slices.map(|s| Pointer(s.as_mut_ptr()));
        self.for_each(len.div_ceil(chunk), |task| {
            let at = task * chunk;
            let len = chunk.min(len - at);
            // SAFETY: within the slices, which are borrowed mutably; the
            // chunks of different tasks do not overlap, and each task runs once.
            f(at, slices.each_ref().map(|s| unsafe { std::slice::from_raw_parts_mut(s.get().add(at), len) }));
        });
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Threads({})", self.count())
    }
}

/// A pointer which several threads may have.
pub(crate) struct Pointer<T>(*mut T);

// SAFETY: only the pointer is shared; what is done with it is up to the
// `unsafe` code which does it, and `T` may be sent where that happens.
unsafe impl<T: Send> Sync for Pointer<T> {}

impl<T> Pointer<T> {
    pub(crate) fn new(to: *mut T) -> Self {
        Pointer(to)
    }

    /// The pointer. (A closure which names the field captures that alone.)
    pub(crate) fn get(&self) -> *mut T {
        self.0
    }
}

impl Shared {
    /// What a thread of the team does for a living.
    fn serve(&self, thread: usize) {
        loop {
            self.idle.wait(|| self.left.load(Ordering::SeqCst) > 0 || self.stop.load(Ordering::SeqCst));
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            while self.take(thread) {}
        }
    }

    /// Has the tasks done, for a caller who has set `busy`, and unsets it.
    fn run(&self, tasks: usize, f: &(dyn Fn(usize, usize) + Sync)) {
        // SAFETY: forgets the function's lifetime. Who has taken a task calls
        // it, and this function, which cannot panic before, waits for them.
        let run: *const (dyn Fn(usize, usize) + Sync + 'static) = unsafe { std::mem::transmute(f) };
        let job = Job { run, tasks };
        // SAFETY: the last job has ended, and this is the only caller: nobody
        // has taken a task.
        unsafe { *self.job.get() = job };
        self.running.store(tasks, Ordering::SeqCst);
        self.left.store(tasks - 1, Ordering::SeqCst);
        self.idle.wake(tasks - 1);
        self.finish(job, 0, 0);
        while self.take(0) {}
        self.end.wait(|| self.running.load(Ordering::SeqCst) == 0);
        let panics = std::mem::take(&mut *self.panics.lock().expect("never held in a panic"));
        self.busy.store(false, Ordering::Release);
        if let Some((_, payload)) = panics.into_iter().min_by_key(|&(task, _)| task) {
            resume_unwind(payload);
        }
    }

    /// Takes a task and does it, if one is left.
    fn take(&self, thread: usize) -> bool {
        let taken = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        let Ok(left) = taken else { return false };
        // SAFETY: this thread has taken a task of it, which has not ended.
        let job = unsafe { *self.job.get() };
        self.finish(job, thread, job.tasks - left);
        true
    }

    /// Does a task which was taken.
    fn finish(&self, job: Job, thread: usize, task: usize) {
        // SAFETY: the caller of `run` waits for this task, and so keeps the
        // function alive until `running` is lowered below.
        let done = catch_unwind(AssertUnwindSafe(|| unsafe { (*job.run)(thread, task) }));
        if let Err(payload) = done {
            self.panics.lock().expect("never held in a panic").push((task, payload));
        }
        if self.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.end.wake(1);
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.idle.wake(self.handles.len());
        for handle in self.handles.drain(..) {
            handle.join().expect("tasks do not unwind into their thread");
        }
    }
}

/// Where threads wait for something: awake for a moment, then asleep.
#[derive(Default)]
struct Gate {
    spins: usize,
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    woken: Condvar,
}

impl Gate {
    /// Waits until `ready`, which reads by `SeqCst` what others change.
    fn wait(&self, ready: impl Fn() -> bool) {
        for _ in 0..self.spins {
            if ready() {
                return;
            }
            spin_loop();
        }
        let mut guard = self.lock.lock().expect("never held in a panic");
        // First counted, then `ready`; first changed, then counted in `wake`:
        // one of the two sees the other.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while !ready() {
            guard = self.woken.wait(guard).expect("never held in a panic");
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes up to `count` sleepers, after a change by `SeqCst`.
    fn wake(&self, count: usize) {
        let sleepers = self.sleepers.load(Ordering::SeqCst);
        if sleepers > 0 {
            // Who has found nothing before the change is asleep, once the lock
            // can be had.
            drop(self.lock.lock().expect("never held in a panic"));
            (0..count.min(sleepers)).for_each(|_| self.woken.notify_one());
        }
    }
}
