//! The long-lived state of a model: one contiguous slab of parameters.

use std::fmt;
use std::ops::Index;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::Rng;
use rand_distr::{Distribution, StandardNormal, StandardUniform};
use smallvec::SmallVec;

use crate::array::ArrayView;
use crate::scalar::Scalar;
use crate::shape::element_count;
use crate::slab::Slab;

/// The next identity of a tape or a store: the one global of the library.
static IDENTITY: AtomicU64 = AtomicU64::new(1);

pub(crate) fn new_identity() -> u64 {
    IDENTITY.fetch_add(1, Ordering::Relaxed)
}

/// The name of one parameter of a [`Params`]: a plain index, `Copy`, good for
/// as long as the store lives and in every clone of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Param(u32);

impl Param {
    /// The position in the store, counted from 0 in order of creation.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What every parameter of a store shares. On the heap and reached by pointer
/// alone, so that `&Parameter` finds it wherever the `Params` itself moves.
struct Header<T> {
    id: u64,
    /// Bumped by everything that takes `&mut Params`.
    version: u64,
    slab: Slab<T>,
}

/// Parameters: one contiguous slab of values with names and shapes.
///
/// `&params[w]` is an operand like any tensor; its memory is used in place.
///
/// ```
/// use wengert::{Params, Tape};
/// let mut params = Params::new();
/// let w = params.add("w", [2], &[3.0, 4.0]);
/// let tape = Tape::new();
/// let x = tape.tensor([1.0, 2.0]);
/// let loss = (x * &params[w]).sum();
/// assert_eq!(loss.item(), 11.0);
/// let grads = loss.backward();
/// assert_eq!(grads.get(&params[w]).unwrap().as_slice(), &[1.0, 2.0]);
/// ```
pub struct Params<T: Scalar = f32> {
    header: NonNull<Header<T>>,
    cells: Vec<Parameter<T>>,
}

/// One parameter, as `params[w]` gives it.
pub struct Parameter<T: Scalar = f32> {
    header: NonNull<Header<T>>,
    index: u32,
    offset: usize,
    len: usize,
    shape: SmallVec<[usize; 4]>,
    frozen: bool,
    name: Box<str>,
}

// SAFETY: the header is owned by the `Params` (each cell is inside it) and is
// changed only through `&mut Params`.
unsafe impl<T: Scalar> Send for Params<T> {}
// SAFETY: as above; `&Params` only reads.
unsafe impl<T: Scalar> Sync for Params<T> {}
// SAFETY: a `&Parameter` borrows its `Params`, so the header outlives it and
// is not changed meanwhile.
unsafe impl<T: Scalar> Send for Parameter<T> {}
// SAFETY: as above.
unsafe impl<T: Scalar> Sync for Parameter<T> {}

impl Params<f32> {
    /// An empty store of `f32`.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Params<f64> {
    /// An empty store of `f64`.
    pub fn new_f64() -> Self {
        Self::default()
    }
}

impl<T: Scalar> Default for Params<T> {
    fn default() -> Self {
        let header = Box::new(Header { id: new_identity(), version: 0, slab: Slab::new() });
        Params { header: NonNull::from(Box::leak(header)), cells: Vec::new() }
    }
}

impl<T: Scalar> Drop for Params<T> {
    fn drop(&mut self) {
        // SAFETY: leaked by `default`, and freed here alone.
        drop(unsafe { Box::from_raw(self.header.as_ptr()) });
    }
}

impl<T: Scalar> Clone for Params<T> {
    /// A copy with an identity of its own; the same [`Param`]s name its parts.
    fn clone(&self) -> Self {
        let mut copy = Params::default();
        for cell in &self.cells {
            let p = copy.add(&cell.name, &cell.shape, cell.as_slice());
            copy.cells[p.index()].frozen = cell.frozen;
        }
        copy
    }
}

impl<T: Scalar> Params<T> {
    fn header(&self) -> &Header<T> {
        // SAFETY: alive until drop; changed only through `&mut self`.
        unsafe { self.header.as_ref() }
    }

    /// The header for a change: whatever was recorded of these parameters no
    /// longer stands for their values.
    fn change(&mut self) -> &mut Header<T> {
        // SAFETY: alive until drop, and borrowed mutably.
        let header = unsafe { self.header.as_mut() };
        header.version += 1;
        header
    }

    /// Adds a parameter with these values.
    ///
    /// # Panics
    /// If the number of values is not that of the shape.
    #[track_caller]
    pub fn add(&mut self, name: &str, shape: impl AsRef<[usize]>, values: &[T]) -> Param {
        let shape = shape.as_ref();
        let len = element_count(shape);
        assert!(len == values.len(), "{name}: shape {shape:?} holds {len} elements, got {}", values.len());
        self.add_with(name, shape, |to| to.copy_from_slice(values))
    }

    /// Adds a parameter whose values `init` writes; they start as zeros.
    #[track_caller]
    pub fn add_with(&mut self, name: &str, shape: impl AsRef<[usize]>, init: impl FnOnce(&mut [T])) -> Param {
        let shape = shape.as_ref();
        let len = element_count(shape);
        let offset = self.header().slab.len();
        let index = u32::try_from(self.cells.len()).expect("fewer than 2^32 parameters");
        let slab = &mut self.change().slab;
        slab.grow(offset + len);
        init(&mut slab.as_mut_slice()[offset..]);
        let shape = SmallVec::from_slice(shape);
        self.cells.push(Parameter { header: self.header, index, offset, len, shape, frozen: false, name: name.into() });
        Param(index)
    }

    /// Adds a parameter of zeros.
    #[track_caller]
    pub fn zeros(&mut self, name: &str, shape: impl AsRef<[usize]>) -> Param {
        self.add_with(name, shape, |_| ())
    }

    /// Adds a parameter of one value.
    #[track_caller]
    pub fn full(&mut self, name: &str, shape: impl AsRef<[usize]>, value: T) -> Param {
        self.add_with(name, shape, |to| to.fill(value))
    }

    /// Adds a parameter drawn uniformly from `[low, high)`.
    #[track_caller]
    pub fn uniform(&mut self, name: &str, shape: impl AsRef<[usize]>, low: T, high: T, rng: &mut impl Rng) -> Param {
        self.add_with(name, shape, |to| to.fill_with(|| uniform(low, high, rng)))
    }

    /// Adds a parameter drawn from the normal distribution.
    #[track_caller]
    pub fn normal(&mut self, name: &str, shape: impl AsRef<[usize]>, mean: T, std: T, rng: &mut impl Rng) -> Param {
        self.add_with(name, shape, |to| to.fill_with(|| normal(mean, std, rng)))
    }

    /// How many parameters there are.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The values of all parameters, one after another in order of creation.
    pub fn values(&self) -> &[T] {
        self.header().slab.as_slice()
    }

    /// The same, to write.
    pub fn values_mut(&mut self) -> &mut [T] {
        self.change().slab.as_mut_slice()
    }

    /// The values of one parameter, to write.
    pub fn get_mut(&mut self, param: Param) -> &mut [T] {
        let range = self[param].range();
        &mut self.values_mut()[range]
    }

    /// All parameters in order of creation.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Param, &Parameter<T>)> {
        self.cells.iter().map(|cell| (Param(cell.index), cell))
    }

    /// The parameter of this name.
    pub fn find(&self, name: &str) -> Option<Param> {
        self.iter().find(|(_, cell)| cell.name() == name).map(|(param, _)| param)
    }

    /// Keeps a parameter as it is: no gradient flows to it, and none is
    /// computed on its behalf.
    pub fn freeze(&mut self, param: Param) {
        self.set_frozen(param, true);
    }

    /// Lets gradients flow to a parameter again.
    pub fn unfreeze(&mut self, param: Param) {
        self.set_frozen(param, false);
    }

    /// Freezes every parameter.
    pub fn freeze_all(&mut self) {
        (0..self.cells.len()).for_each(|i| self.set_frozen(Param(i as u32), true));
    }

    /// Unfreezes every parameter.
    pub fn unfreeze_all(&mut self) {
        (0..self.cells.len()).for_each(|i| self.set_frozen(Param(i as u32), false));
    }

    fn set_frozen(&mut self, param: Param, frozen: bool) {
        let _ = &self[param];
        self.change();
        self.cells[param.index()].frozen = frozen;
    }

    /// What names this store among all stores of the program: what is kept
    /// beside a store (an optimizer's state) can tell it from another.
    ///
    /// A clone is another store.
    ///
    /// ```
    /// let params = wengert::Params::new();
    /// assert_ne!(params.id(), params.clone().id());
    /// ```
    pub fn id(&self) -> u64 {
        self.header().id
    }
}

impl<T: Scalar> Index<Param> for Params<T> {
    type Output = Parameter<T>;

    #[track_caller]
    fn index(&self, param: Param) -> &Parameter<T> {
        let Some(cell) = self.cells.get(param.index()) else {
            panic!("parameter {} is of another store: this one has {}", param.index(), self.cells.len());
        };
        cell
    }
}

impl<T: Scalar> Parameter<T> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its values, row-major.
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: `range` lies within the slab, which nobody changes while
        // this cell, a part of its `Params`, is borrowed.
        unsafe { std::slice::from_raw_parts(self.data(), self.len) }
    }

    /// Its values with their shape.
    pub fn view(&self) -> ArrayView<'_, T> {
        ArrayView::new(self.shape(), self.as_slice())
    }

    /// Whether gradients flow to it ([`Params::freeze`]).
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Where its values lie in [`Params::values`] (and its gradient in the
    /// slab of [`crate::Gradients::slab`]).
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    pub(crate) fn store(&self) -> (u64, u64) {
        // SAFETY: the header lives as long as the `Params` this cell is in.
        let header = unsafe { self.header.as_ref() };
        (header.id, header.version)
    }

    /// Elements in the whole store.
    pub(crate) fn total(&self) -> usize {
        // SAFETY: the header lives as long as the `Params` this cell is in.
        unsafe { self.header.as_ref() }.slab.len()
    }

    pub(crate) fn data(&self) -> *const T {
        // SAFETY: the header lives; `offset` lies within the slab.
        unsafe { self.header.as_ref().slab.data().add(self.offset) }
    }
}

impl<T: Scalar> fmt::Display for Parameter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

impl<T: Scalar> fmt::Debug for Parameter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frozen = if self.frozen { ", frozen" } else { "" };
        write!(f, "Parameter({:?}, {:?}{frozen})", self.name, self.shape())
    }
}

impl<T: Scalar> fmt::Debug for Params<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.cells).finish()
    }
}

/// One draw from the uniform distribution over `[low, high)`.
pub(crate) fn uniform<T: Scalar>(low: T, high: T, rng: &mut impl Rng) -> T {
    let u: f64 = StandardUniform.sample(rng);
    // Rounding to f32 may reach `high` itself, which is outside.
    let x = low + (high - low) * T::from_f64(u);
    if x < high || high <= low { x } else { low }
}

/// One draw from the normal distribution.
pub(crate) fn normal<T: Scalar>(mean: T, std: T, rng: &mut impl Rng) -> T {
    let z: f64 = StandardNormal.sample(rng);
    mean + std * T::from_f64(z)
}
