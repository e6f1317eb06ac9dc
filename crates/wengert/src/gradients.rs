//! The index-keyed adjoints of leaves and parameters.

use std::ops::Range;

use smallvec::SmallVec;

use crate::arena::Arena;
use crate::array::ArrayView;
use crate::ops::Id;
use crate::params::{Parameter, Params};
use crate::scalar::Scalar;
use crate::slab::Slab;
use crate::tensor::{Sealed, Tensor};
use crate::threads::Threads;

/// Elements which one thread adds at a time: enough to be worth taking.
const CHUNK: usize = 1 << 14;

/// Gradients, as a backward sweep leaves them.
///
/// Those of parameters lie in one slab per store, laid out exactly like
/// [`Params::values`]; they accumulate over sweeps and rewinds until
/// [`Gradients::zero`]. Those of leaves (and of intermediates which were asked
/// for) belong to one turn of one tape, and are forgotten when the gradients
/// are used with another.
///
/// ```
/// use wengert::{Gradients, Params, Tape};
/// let mut params = Params::new();
/// let w = params.full("w", [], 3.0);
/// let unused = params.full("unused", [], 1.0);
/// let (mut tape, mut grads) = (Tape::new(), Gradients::new());
/// for _ in 0..2 {
///     tape.rewind();
///     (tape.scalar(2.0) * &params[w]).backward_into(&mut grads);
/// }
/// assert_eq!(grads.get(&params[w]).unwrap().item(), 4.0);
/// assert!(grads.get(&params[unused]).is_none());
/// ```
pub struct Gradients<T: Scalar = f32> {
    stores: SmallVec<[Store<T>; 2]>,
    leaves: Leaves<T>,
    /// A sweep is under way, or was when it panicked.
    sweeping: bool,
}

/// The gradients of one store of parameters.
struct Store<T> {
    id: u64,
    slab: Slab<T>,
    cells: Vec<Cell>,
    /// Some cell's memory holds an old gradient which counts as zero.
    stale: bool,
}

#[derive(Clone, Copy, Default)]
struct Cell {
    offset: usize,
    len: usize,
    /// Something flowed here since the last zeroing.
    live: bool,
    /// The memory is not zero.
    dirty: bool,
}

struct Leaves<T> {
    /// The tape and its epoch, once there was one.
    key: Option<(u64, u64)>,
    arena: Arena,
    /// By entry: where its gradient is, if the stamp is the current one.
    table: Vec<(u64, *mut T)>,
    stamp: u64,
    all: Vec<(*mut T, usize)>,
}

// SAFETY: the pointers of `Leaves` point into its own arena.
unsafe impl<T: Scalar> Send for Gradients<T> {}

impl<T: Scalar> Default for Gradients<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Scalar> Gradients<T> {
    /// No gradients.
    pub fn new() -> Self {
        let leaves = Leaves { key: None, arena: Arena::default(), table: Vec::new(), stamp: 1, all: Vec::new() };
        Gradients { stores: SmallVec::new(), leaves, sweeping: false }
    }

    /// The gradient of a parameter (`&params[w]`) or of a tensor, or `None`
    /// where nothing flowed since the last zeroing. A sweep which panicked
    /// leaves no gradients.
    ///
    /// # Panics
    /// For a tensor of another tape or of a turn before the last sweep's, for
    /// one which does not require a gradient, and for an intermediate which
    /// was not asked for by [`Tensor::retain_grad`].
    #[track_caller]
    pub fn get<'g, K: Key<'g, T>>(&'g self, key: K) -> Option<ArrayView<'g, T>> {
        if self.sweeping { None } else { key.find(self) }
    }

    /// The gradients of a whole store, laid out like [`Params::values`], zero
    /// where nothing flowed; or `None` where nothing flowed to any of it.
    pub fn slab(&self, params: &Params<T>) -> Option<&[T]> {
        let store = self.store(params.id()).filter(|_| !self.sweeping)?;
        store.cells.iter().any(|c| c.live).then(|| store.slab.as_slice())
    }

    /// The parts of the slab to which anything flowed, in order, neighbours
    /// joined: what an optimizer walks over.
    ///
    /// ```
    /// # use wengert::{Params, Tape};
    /// let mut params = Params::new();
    /// let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| params.full(name, [2], 1.0));
    /// let tape = Tape::new();
    /// let sum = tape.param(&params[a]) + &params[b] + &params[d];
    /// let grads = sum.sum().backward();
    /// assert_eq!(grads.runs(&params).collect::<Vec<_>>(), [0..4, 6..8]);
    /// # let _ = c;
    /// ```
    pub fn runs(&self, params: &Params<T>) -> impl Iterator<Item = Range<usize>> {
        let store = self.store(params.id()).filter(|_| !self.sweeping);
        let cells = store.map_or(&[][..], |s| &s.cells);
        let mut live = cells.iter().filter(|c| c.live && c.len > 0).peekable();
        std::iter::from_fn(move || {
            let first = live.next()?;
            let mut end = first.offset + first.len;
            while let Some(next) = live.next_if(|c| c.offset == end) {
                end += next.len;
            }
            Some(first.offset..end)
        })
    }

    /// Forgets everything that flowed, and keeps the memory.
    #[doc(alias = "zero_grad")]
    pub fn zero(&mut self) {
        for store in &mut self.stores {
            for cell in &mut store.cells {
                store.stale |= cell.live;
                cell.live = false;
            }
        }
        self.leaves.clear();
        self.sweeping = false;
    }

    /// Adds the gradients of parameters which another has, as those of another
    /// thread.
    ///
    /// ```
    /// # use wengert::{Params, Tape};
    /// let mut params = Params::new();
    /// let w = params.full("w", [], 3.0);
    /// let backward = |x: f32| (Tape::new().scalar(x) * &params[w]).backward();
    /// let other = std::thread::scope(|s| s.spawn(|| backward(20.0)).join().unwrap());
    /// let mut grads = backward(1.0);
    /// grads.add(&other);
    /// assert_eq!(grads.get(&params[w]).unwrap().item(), 21.0);
    /// ```
    pub fn add(&mut self, other: &Self) {
        self.add_by(other, &Threads::default());
    }

    /// [`Gradients::add`] by several threads.
    pub(crate) fn add_by(&mut self, other: &Self, threads: &Threads) {
        self.discard_unfinished();
        let stores = if other.sweeping { &[][..] } else { &other.stores };
        for store in stores {
            let live = store.cells.iter().enumerate().filter(|(_, c)| c.live);
            for (index, &Cell { offset, len, .. }) in live {
                let place = self.place_of(store.id, store.slab.len());
                let (to, add) = self.parameter(place, index, offset..offset + len);
                // SAFETY: the gradient of this parameter, which nobody else has.
                let to = unsafe { std::slice::from_raw_parts_mut(to, len) };
                let from = &store.slab.as_slice()[offset..offset + len];
                threads.for_each_chunk([to], CHUNK, |at, [to]| {
                    let from = &from[at..at + to.len()];
                    if add {
                        to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
                    } else {
                        to.copy_from_slice(from);
                    }
                });
            }
        }
        self.end();
    }

    /// Forgets the gradients of tensors.
    pub(crate) fn forget_leaves(&mut self) {
        self.leaves.clear();
        self.leaves.key = None;
    }

    /// The Euclidean norm of all gradients together, computed in `f64`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([3.0, 4.0]).require_grad();
    /// let grads = (x.square().sum() * 0.5).backward();
    /// assert_eq!(grads.norm(), 5.0);
    /// ```
    pub fn norm(&self) -> T {
        let square = |x: &T| x.to_f64() * x.to_f64();
        T::from_f64(self.parts().map(|part| part.iter().map(square).sum::<f64>()).sum::<f64>().sqrt())
    }

    /// Scales all gradients so that their norm is at most `max`; returns the
    /// norm before. As PyTorch, by `max / (norm + 1e-6)`.
    #[doc(alias = "clip_grad_norm_")]
    pub fn clip_norm(&mut self, max: T) -> T {
        let norm = self.norm();
        let by = max / (norm + T::from_f64(1e-6));
        if by < T::ONE {
            self.scale(by);
        }
        norm
    }

    /// Limits every element to `-max..=max`.
    #[doc(alias = "clip_grad_value_")]
    pub fn clip_value(&mut self, max: T) {
        self.for_each(|x| {
            if *x > max {
                *x = max;
            } else if *x < -max {
                *x = -max;
            }
        });
    }

    /// Multiplies all gradients by a factor.
    pub fn scale(&mut self, by: T) {
        self.for_each(|x| *x *= by);
    }

    /// Whether no gradient holds a NaN or an infinity.
    pub fn is_finite(&self) -> bool {
        self.parts().all(|part| part.iter().all(|x| x.is_finite()))
    }

    /// Calls `f` with every element of every gradient.
    pub fn for_each(&mut self, mut f: impl FnMut(&mut T)) {
        self.discard_unfinished();
        for store in &mut self.stores {
            let slab = store.slab.as_mut_slice();
            for c in store.cells.iter().filter(|c| c.live) {
                slab[c.offset..c.offset + c.len].iter_mut().for_each(&mut f);
            }
        }
        for &(data, len) in &self.leaves.all {
            // SAFETY: a gradient in the arena, written when it was made known.
            unsafe { std::slice::from_raw_parts_mut(data, len) }.iter_mut().for_each(&mut f);
        }
    }

    /// Forgets what a sweep left which panicked.
    fn discard_unfinished(&mut self) {
        if self.sweeping {
            self.zero();
        }
    }

    fn parts(&self) -> impl Iterator<Item = &[T]> {
        let (stores, leaves) =
            if self.sweeping { (&[][..], &[][..]) } else { (&self.stores[..], &self.leaves.all[..]) };
        let params = stores
            .iter()
            .flat_map(|s| s.cells.iter().filter(|c| c.live).map(|c| &s.slab.as_slice()[c.offset..c.offset + c.len]));
        // SAFETY: gradients in the arena, written when they were made known.
        let leaves = leaves.iter().map(|&(data, len)| unsafe { std::slice::from_raw_parts(data, len) });
        params.chain(leaves)
    }

    fn store(&self, id: u64) -> Option<&Store<T>> {
        self.stores.iter().find(|s| s.id == id)
    }

    /// A sweep begins: what is left of leaves of another turn goes.
    pub(crate) fn begin(&mut self, tape: u64, epoch: u64) {
        self.discard_unfinished();
        if self.leaves.key != Some((tape, epoch)) {
            self.leaves.clear();
            self.leaves.key = Some((tape, epoch));
        }
        self.sweeping = true;
    }

    /// A sweep has ended: what nothing flowed to becomes zero in memory too.
    pub(crate) fn end(&mut self) {
        for store in self.stores.iter_mut().filter(|s| s.stale) {
            for cell in store.cells.iter_mut().filter(|c| c.dirty && !c.live) {
                store.slab.as_mut_slice()[cell.offset..cell.offset + cell.len].fill(T::ZERO);
                cell.dirty = false;
            }
            store.stale = false;
        }
        self.sweeping = false;
    }

    /// The place of a store of parameters with so many elements.
    pub(crate) fn place_of(&mut self, store: u64, total: usize) -> usize {
        let at = self.stores.iter().position(|s| s.id == store).unwrap_or_else(|| {
            self.stores.push(Store { id: store, slab: Slab::new(), cells: Vec::new(), stale: false });
            self.stores.len() - 1
        });
        self.stores[at].slab.grow(total);
        at
    }

    /// Where the gradient of a parameter goes, and whether to add to it. The
    /// store is named by its [place](Gradients::place_of).
    #[inline]
    pub(crate) fn parameter(&mut self, place: usize, index: usize, range: Range<usize>) -> (*mut T, bool) {
        let store = &mut self.stores[place];
        assert!(range.end <= store.slab.len(), "a parameter lies within its store");
        if store.cells.len() <= index {
            store.cells.resize(index + 1, Cell::default());
        }
        let cell = &mut store.cells[index];
        let add = cell.live;
        *cell = Cell { offset: range.start, len: range.len(), live: true, dirty: true };
        // SAFETY: within the slab, as has been checked.
        (unsafe { store.slab.data().add(range.start) }, add)
    }

    /// Where the gradient of an entry goes, and whether to add to it.
    #[inline]
    pub(crate) fn leaf(&mut self, id: Id, len: usize) -> (*mut T, bool) {
        let leaves = &mut self.leaves;
        if leaves.table.len() <= id.index() {
            leaves.table.resize(id.index() + 1, (0, std::ptr::null_mut()));
        }
        let slot = &mut leaves.table[id.index()];
        if slot.0 == leaves.stamp {
            return (slot.1, true);
        }
        let data = leaves.arena.alloc::<T>(len).as_ptr();
        *slot = (leaves.stamp, data);
        leaves.all.push((data, len));
        (data, false)
    }
}

impl<T> Leaves<T> {
    fn clear(&mut self) {
        self.arena.reset();
        self.all.clear();
        self.stamp += 1;
    }
}

/// What has a gradient: a parameter or a tensor.
pub trait Key<'g, T: Scalar>: Sealed {
    /// The gradient.
    #[doc(hidden)]
    fn find(self, grads: &'g Gradients<T>) -> Option<ArrayView<'g, T>>;
}

impl<'g, T: Scalar> Key<'g, T> for &'g Parameter<T> {
    fn find(self, grads: &'g Gradients<T>) -> Option<ArrayView<'g, T>> {
        let store = grads.store(self.store().0)?;
        store.cells.get(self.index() as usize).filter(|c| c.live)?;
        Some(ArrayView::new(self.shape(), &store.slab.as_slice()[self.range()]))
    }
}

impl<'g, T: Scalar> Key<'g, T> for Tensor<'g, T> {
    #[track_caller]
    fn find(self, grads: &'g Gradients<T>) -> Option<ArrayView<'g, T>> {
        let (tape, leaves) = (self.tape(), &grads.leaves);
        let (id, epoch) = leaves.key?;
        assert!(id == tape.id(), "get: the gradients are those of another tape");
        assert!(epoch == tape.epoch(), "get: the gradients are those of a turn before the tape was rewound");
        assert!(self.requires_grad(), "get: the tensor does not require a gradient: see require_grad");
        if let Some((param_store, index, range)) = tape.parameter_of(self.id()) {
            let store = grads.store(param_store)?;
            store.cells.get(index).filter(|c| c.live)?;
            return Some(ArrayView::new(self.shape(), &store.slab.as_slice()[range]));
        }
        let retained = self.is_leaf() || tape.entry(self.id()).retained;
        assert!(retained, "get: the gradient of an intermediate is not kept: call retain_grad before backward");
        let &(stamp, data) = leaves.table.get(self.id().index())?;
        // SAFETY: the gradient of this entry of this epoch, of its length.
        (stamp == leaves.stamp)
            .then(|| ArrayView::new(self.shape(), unsafe { std::slice::from_raw_parts(data, self.len()) }))
    }
}
