//! The list and its arena.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::panic::{Location, RefUnwindSafe};
use std::ptr::NonNull;

use crate::arena::Arena;
use crate::entries::{Entries, Entry, Origin};
use crate::gradients::Gradients;
use crate::kernels::gemm::GemmBackend;
use crate::kernels::{Machine, Value};
use crate::layouts::Layouts;
use crate::ops::leaf::Leaf;
use crate::ops::{Id, Op, Values};
use crate::params::{Parameter, new_identity};
use crate::plain::Sweep;
use crate::recorded::Recording;
use crate::scalar::Scalar;
use crate::shape::Layout;
use crate::threads::Threads;

mod record;
mod replay;

use record::erase;
pub use replay::{Replay, Slot};

/// The leaves which stand for the parameters of one store, by index.
struct StoreTable {
    store: (u64, u64),
    /// Elements in the whole store.
    total: usize,
    epoch: u64,
    /// Set anew whenever the table starts to stand for something else.
    stamp: u64,
    leaves: Vec<ParameterLeaf>,
}

/// The leaf which stands for a parameter, if the stamp is that of its table.
#[derive(Clone, Copy)]
struct ParameterLeaf {
    stamp: u64,
    id: Id,
    /// That of the parameter, once it is known: as long as the tape keeps its
    /// layouts, since the shape of a parameter never changes.
    layout: Option<NonNull<Layout<'static>>>,
}

#[derive(Default)]
struct Tables {
    tables: Vec<StoreTable>,
    stamps: u64,
    /// Some store has grown in this turn, after it was used: its values moved.
    grown: bool,
}

/// What a tape holds; see [`Tape::stats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Entries on the list.
    pub entries: usize,
    /// The most entries there ever were.
    pub high_water_entries: usize,
    /// Bytes of values since the last rewind.
    pub live_bytes: usize,
    /// The most there ever were.
    pub high_water_bytes: usize,
    /// Bytes taken from the system for them.
    pub reserved_bytes: usize,
    /// Bytes taken from the system for the list itself: its entries, what
    /// sweeps note down for each, and the shapes which have come up.
    pub list_bytes: usize,
    /// Bytes taken from the system for adjoints by plain sweeps: the peak of
    /// those alive at one time.
    pub sweep_bytes: usize,
    /// Bytes taken from the system by the tape on which [`Tape::evaluate`]
    /// and [`Tape::checkpoint`] work.
    pub scope_bytes: usize,
}

/// A Wengert list: the operations of one step, in order, and their values.
///
/// Operations on [`Tensor`](crate::Tensor)s append entries; [`backward`](crate::Tensor::backward) sweeps them
/// in reverse; [`Tape::rewind`] forgets them and keeps the memory, so that from
/// the third turn on a loop which repeats its shapes allocates nothing.
///
/// A tape is `Send` and not `Sync`: one per thread, any number over one shared
/// [`Params`](crate::Params).
///
/// ```
/// use wengert::Tape;
/// let mut tape = Tape::new();
/// for step in 0..3 {
///     tape.rewind();
///     let x = tape.scalar(step as f32).require_grad();
///     let grads = (x * x).backward();
///     assert_eq!(grads.get(x).unwrap().item(), 2.0 * step as f32);
/// }
/// ```
pub struct Tape<T: Scalar = f32> {
    id: u64,
    epoch: u64,
    arena: Arena,
    layouts: Layouts,
    entries: Entries<T>,
    high_water: usize,
    tables: RefCell<Tables>,
    recording: Cell<bool>,
    check_finite: Cell<bool>,
    pub(crate) machine: Machine<T>,
    pub(crate) sweep: Cell<Option<Box<Sweep<T>>>>,
    pub(crate) marks: Cell<Option<Box<Recording>>>,
    /// What on the list cannot be run again: the first of it, and its line.
    obstacle: Cell<Option<(&'static str, &'static Location<'static>)>>,
    child: Cell<Option<Box<Tape<T>>>>,
    block_gradients: Cell<Option<Box<Gradients<T>>>>,
}

// SAFETY: entries point into the tape's own arena, or into parameters, which
// are `Sync`; the latter are read only on behalf of a live handle.
unsafe impl<T: Scalar> Send for Tape<T> {}

// A panic leaves at worst entries which nobody refers to; a sweep starts by
// discarding what an unfinished one left.
impl<T: Scalar> RefUnwindSafe for Tape<T> {}

impl Tape<f32> {
    /// An empty tape of `f32`.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Tape<f64> {
    /// An empty tape of `f64`, as gradient checks want it.
    ///
    /// ```
    /// let tape = wengert::Tape::new_f64();
    /// assert_eq!(tape.scalar(0.1).item(), 0.1_f64);
    /// ```
    pub fn new_f64() -> Self {
        Self::default()
    }
}

impl<T: Scalar> Default for Tape<T> {
    fn default() -> Self {
        Self::with_capacity(0, 0)
    }
}

impl<T: Scalar> Tape<T> {
    /// A tape with room for this many entries, and bytes of values.
    ///
    /// ```
    /// let mut tape = wengert::Tape::<f32>::with_capacity(1000, 1 << 20);
    /// tape.touch_pages();
    /// assert!(tape.stats().reserved_bytes >= 1 << 20);
    /// ```
    pub fn with_capacity(entries: usize, bytes: usize) -> Self {
        Tape {
            id: new_identity(),
            epoch: 0,
            arena: if bytes == 0 { Arena::default() } else { Arena::with_capacity(bytes) },
            layouts: Layouts::default(),
            entries: Entries::with_capacity(entries),
            high_water: 0,
            tables: RefCell::default(),
            recording: Cell::new(true),
            check_finite: Cell::new(false),
            machine: Machine::new(),
            sweep: Cell::new(None),
            marks: Cell::new(None),
            obstacle: Cell::new(None),
            child: Cell::new(None),
            block_gradients: Cell::new(None),
        }
    }

    /// Forgets every entry and value, in constant time; capacity is kept.
    ///
    /// Takes `&mut self`, so a tensor of the turn before does not compile:
    ///
    /// ```compile_fail
    /// let mut tape = wengert::Tape::new();
    /// let x = tape.scalar(1.0);
    /// tape.rewind();
    /// x.item();
    /// ```
    pub fn rewind(&mut self) {
        self.high_water = self.high_water.max(self.entries.len());
        self.entries.clear();
        self.epoch += 1;
        self.arena.reset();
        if self.layouts.trim() {
            self.tables.get_mut().tables.iter_mut().for_each(|table| table.leaves.clear());
        }
        self.tables.get_mut().grown = false;
        self.obstacle.set(None);
        // A panic may have passed through a `no_grad`.
        self.recording.set(true);
    }

    /// [`Tape::rewind`], and a write to every page which is reserved: the
    /// operating system then hands them over now and not at first use.
    pub fn touch_pages(&mut self) {
        self.rewind();
        self.arena.touch();
    }

    /// Entries and memory, now and at most.
    pub fn stats(&self) -> Stats {
        let (sweep, marks, child) = (self.sweep.take(), self.marks.take(), self.child.take());
        let sweep_bytes = sweep.as_ref().map_or(0, |s| s.reserved_bytes());
        let of_sweeps = sweep.as_ref().map_or(0, |s| s.list_bytes()) + marks.as_ref().map_or(0, |m| m.list_bytes());
        let scope = |s: Stats| s.list_bytes + s.reserved_bytes + s.sweep_bytes + s.scope_bytes;
        let scope_bytes = child.as_ref().map_or(0, |c| scope(c.stats()));
        self.sweep.set(sweep);
        self.marks.set(marks);
        self.child.set(child);
        Stats {
            entries: self.entries.len(),
            high_water_entries: self.high_water.max(self.entries.len()),
            live_bytes: self.arena.live_bytes(),
            high_water_bytes: self.arena.high_water_bytes(),
            reserved_bytes: self.arena.reserved_bytes(),
            list_bytes: self.entries.reserved_bytes() + self.layouts.reserved_bytes() + of_sweeps,
            sweep_bytes,
            scope_bytes,
        }
    }

    /// Which kernels multiply matrices from now on; see [`GemmBackend`].
    pub fn set_gemm_backend(&self, backend: GemmBackend) {
        self.machine.gemm.set(backend);
    }

    /// Who computes large matrix products from now on, forward and backward;
    /// smaller ones, and everything else, are left to the tape's own thread.
    ///
    /// Which products are cut, and how, depends on their shapes alone: with
    /// any number of threads but 1 the result is the same to the last bit, and
    /// with 1 the same but for rounding. Products with batch axes are not cut.
    /// For many small ones there are [`Workers`](crate::Workers).
    ///
    /// ```
    /// use wengert::{Tape, Threads};
    /// let tape = Tape::new();
    /// tape.set_threads(&Threads::new(2));
    /// let x = tape.ones([256, 512]);
    /// assert_eq!(x.matmul(x.t()).to_vec(), vec![512.0; 256 * 256]);
    /// ```
    pub fn set_threads(&self, threads: &Threads) {
        self.machine.threads.borrow_mut().clone_from(threads);
    }

    /// Whether every op from now on checks its result, and panics at the line
    /// of the program which made the first value that is NaN or infinite.
    ///
    /// ```should_panic
    /// let tape = wengert::Tape::new();
    /// tape.set_check_finite(true);
    /// tape.scalar(-1.0).ln(); // ln: made NaN at element 0 of [] ...
    /// ```
    pub fn set_check_finite(&self, check: bool) {
        self.check_finite.set(check);
    }

    /// Runs `f` without recording: values are computed, no op goes on the
    /// list, and what comes out is a constant.
    ///
    /// The values stay until the rewind; see [`Tape::evaluate`] for a scope
    /// which gives its memory back.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.scalar(2.0).require_grad();
    /// let y = tape.no_grad(|| x * x);
    /// assert!(!y.requires_grad());
    /// ```
    pub fn no_grad<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Restore<'a>(&'a Cell<bool>, bool);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.set(self.1);
            }
        }
        let _restore = Restore(&self.recording, self.recording.replace(false));
        f()
    }

    /// Whether ops are recorded: not inside [`Tape::no_grad`].
    pub fn is_recording(&self) -> bool {
        self.recording.get()
    }

    /// Runs `f` on a tape of its own which records nothing, and takes the
    /// memory back: evaluation in the middle of a step does not make this tape
    /// grow. What comes out is host values.
    ///
    /// The scope's tape is kept for the next call, so this allocates nothing
    /// in the steady state. A tensor of this tape is brought in by
    /// [`Tape::constant`].
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.scalar(3.0);
    /// let before = tape.stats();
    /// let y = tape.evaluate(|scope| scope.constant(x).square().item());
    /// assert_eq!(y, 9.0);
    /// assert_eq!(tape.stats().live_bytes, before.live_bytes);
    /// ```
    ///
    /// A tensor cannot leave:
    ///
    /// ```compile_fail
    /// let tape = wengert::Tape::new();
    /// let y = tape.evaluate(|scope| scope.scalar(3.0));
    /// ```
    pub fn evaluate<R>(&self, f: impl for<'c> FnOnce(&'c Tape<T>) -> R) -> R {
        let mut child = self.child.take().unwrap_or_default();
        child.rewind();
        child.recording.set(false);
        child.check_finite.set(self.check_finite.get());
        child.machine.follow(&self.machine);
        let result = f(&child);
        self.child.set(Some(child));
        result
    }

    /// Runs `f` on the scope's tape, recording, with gradients of its own: a
    /// block of a checkpoint once more.
    pub(crate) fn recompute(&self, f: impl for<'c> FnOnce(&'c Tape<T>, &mut Gradients<T>)) {
        let mut child = self.child.take().unwrap_or_default();
        let mut grads = self.block_gradients.take().unwrap_or_default();
        child.rewind();
        child.check_finite.set(self.check_finite.get());
        child.machine.follow(&self.machine);
        grads.zero();
        f(&child, &mut grads);
        self.child.set(Some(child));
        self.block_gradients.set(Some(grads));
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline(always)]
    pub(crate) fn entry(&self, id: Id) -> Entry<T> {
        self.entries.get(id)
    }

    #[inline(always)]
    pub(crate) fn layout(&self, entry: &Entry<T>) -> &Layout<'_> {
        // SAFETY: every entry's layout is one of this tape's (or static), which
        // forgets layouts after its entries alone.
        unsafe { entry.layout.as_ref() }
    }

    /// # Safety
    /// As [`Entries::as_slice`]: nothing is recorded meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn entries(&self) -> &[Entry<T>] {
        // SAFETY: the caller's.
        unsafe { self.entries.as_slice() }
    }

    pub(crate) fn retain(&self, id: Id) {
        self.entries.retain(id);
    }

    /// The leaf which stands for a parameter: one for each parameter, store
    /// and version of the store in one epoch.
    pub(crate) fn parameter(&self, p: &Parameter<T>, location: &'static Location<'static>) -> Id {
        let mut tables = self.tables.borrow_mut();
        let at = tables.find(p.store(), p.total(), self.epoch);
        let StoreTable { stamp, leaves, .. } = &mut tables.tables[at];
        let index = p.index() as usize;
        if leaves.len() <= index {
            leaves.resize(index + 1, ParameterLeaf { stamp: 0, id: Id::entry(0), layout: None });
        }
        let known = &mut leaves[index];
        if known.stamp != *stamp {
            let table = u16::try_from(at).expect("fewer than 65,536 stores of parameters in one turn");
            let leaf = Leaf::Param { table, index: p.index(), offset: p.range().start, frozen: p.is_frozen() };
            // SAFETY: `rewind` and `begin` drop it where it stands for another
            // layout, or for none.
            let layout = known.layout.map(|layout| unsafe { layout.as_ref() });
            let layout = layout.unwrap_or_else(|| self.layouts.contiguous(p.shape()));
            let id = self.leaf(leaf, p.data(), layout, location);
            *known = ParameterLeaf { stamp: *stamp, id, layout: Some(erase(layout)) };
        }
        known.id
    }

    /// Identity and number of elements of the store of a [`Leaf::Param`].
    #[inline]
    pub(crate) fn store_of(&self, table: u16) -> (u64, usize) {
        let table = &self.tables.borrow().tables[table as usize];
        (table.store.0, table.total)
    }

    /// Store, index and place in the slab, if an entry is a parameter's leaf.
    pub(crate) fn parameter_of(&self, id: Id) -> Option<(u64, usize, Range<usize>)> {
        let entry = self.entry(id);
        let Op::Leaf(Leaf::Param { table, index, offset, .. }) = entry.op else { return None };
        Some((self.store_of(table).0, index as usize, offset..offset + self.layout(&entry).len))
    }

    /// The entry which first held a NaN or an infinity, of those whose values
    /// lie in this tape's arena (parameters are not looked at).
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.tensor([1.0, -1.0]);
    /// let y = x.ln() * 2.0;
    /// let found = tape.first_non_finite().unwrap();
    /// assert_eq!((found.op, found.element), ("ln", 1));
    /// assert!(found.location.file().ends_with(".rs"));
    /// # let _ = y;
    /// ```
    pub fn first_non_finite(&self) -> Option<NonFinite> {
        (0..self.len()).find_map(|i| {
            let entry = self.entry(Id::entry(i));
            if entry.origin == Origin::Parameter {
                return None;
            }
            let (element, value) = non_finite(Value { data: entry.data, layout: self.layout(&entry) })?;
            Some(NonFinite { entry: i, op: entry.op.name(), element, value: value.to_f64(), location: entry.location })
        })
    }
}

/// What [`Tape::first_non_finite`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct NonFinite {
    /// The entry's index.
    pub entry: usize,
    /// The name of the op which made it.
    pub op: &'static str,
    /// The position of the value in row-major order.
    pub element: usize,
    /// NaN or an infinity.
    pub value: f64,
    /// The line of the program which recorded it.
    pub location: &'static Location<'static>,
}

fn non_finite<T: Scalar>(value: Value<'_, T>) -> Option<(usize, T)> {
    let (mut at, mut found) = (0, None);
    value.for_each(|x| {
        if found.is_none() && !x.is_finite() {
            found = Some((at, x));
        }
        at += 1;
    });
    found
}

impl<T: Scalar> Values<T> for Tape<T> {
    #[inline(always)]
    fn value(&self, id: Id) -> Value<'_, T> {
        let entry = self.entry(id);
        Value { data: entry.data, layout: self.layout(&entry) }
    }

    #[inline(always)]
    fn layouts(&self) -> &Layouts {
        &self.layouts
    }
}

impl Tables {
    /// The table of a store at one version.
    #[inline]
    fn find(&mut self, store: (u64, u64), total: usize, epoch: u64) -> usize {
        let current = |t: &StoreTable| t.store == store && t.epoch == epoch;
        self.tables.iter().position(current).unwrap_or_else(|| self.begin(store, total, epoch))
    }

    /// Makes a table stand for a store at one version.
    #[inline(never)]
    fn begin(&mut self, store: (u64, u64), total: usize, epoch: u64) -> usize {
        let at = self.tables.iter().position(|t| t.store.0 == store.0);
        // A store which was not used in this turn may be gone: its table is
        // free for another.
        let at = at.or_else(|| self.tables.iter().position(|t| t.epoch != epoch)).unwrap_or_else(|| {
            self.tables.push(StoreTable { store, total, epoch, stamp: 0, leaves: Vec::new() });
            self.tables.len() - 1
        });
        self.stamps += 1;
        let table = &mut self.tables[at];
        if table.store.0 != store.0 {
            table.leaves.clear();
        }
        self.grown |= table.epoch == epoch && table.total != total;
        (table.store, table.epoch, table.stamp, table.total) = (store, epoch, self.stamps, total);
        at
    }
}
