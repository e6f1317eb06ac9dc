//! The handle.

use std::fmt;
use std::panic::Location;

use crate::array::Array;
use crate::display::fmt_array;
use crate::kernels::Value;
use crate::ops::leaf::Leaf;
use crate::ops::{Id, Op, Values};
use crate::params::Parameter;
use crate::real::Real;
use crate::scalar::Scalar;
use crate::tape::Tape;

/// A tensor on a tape: an index and a reference, `Copy`.
///
/// It borrows its tape, so it cannot outlive a [`Tape::rewind`]. Its values
/// are written once, when it is made, and never change.
///
/// ```
/// use wengert::Tape;
/// let tape = Tape::new();
/// let x = tape.tensor([1.0, 2.0, 3.0]).require_grad();
/// let y = (2.0 * x + 1.0).square().sum();
/// assert_eq!(y.item(), 9.0 + 25.0 + 49.0);
/// let grads = y.backward();
/// assert_eq!(grads.get(x).unwrap().as_slice(), &[12.0, 20.0, 28.0]);
/// ```
pub struct Tensor<'t, T: Scalar = f32> {
    tape: &'t Tape<T>,
    id: Id,
}

impl<T: Scalar> Clone for Tensor<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Scalar> Copy for Tensor<'_, T> {}

/// Traits of this crate which `unsafe` code relies on: what they give belongs
/// to the tape they were asked for.
pub trait Sealed {}

impl<T: Scalar> Sealed for Tensor<'_, T> {}
impl<T: Scalar> Sealed for &Parameter<T> {}
impl<T: Real> Sealed for T {}

/// What stands on the other side of an operator: a tensor, a parameter
/// (`&params[w]`) or a number.
pub trait Operand<'t, T: Scalar>: Sealed {
    /// The number, if it is one.
    #[doc(hidden)]
    fn scalar(&self) -> Option<T>;
    /// The operand on the tape.
    #[doc(hidden)]
    fn tensor(self, tape: &'t Tape<T>) -> Tensor<'t, T>;
}

impl<'t, T: Scalar> Operand<'t, T> for Tensor<'t, T> {
    #[inline(always)]
    fn scalar(&self) -> Option<T> {
        None
    }

    #[track_caller]
    #[inline(always)]
    fn tensor(self, tape: &'t Tape<T>) -> Tensor<'t, T> {
        assert!(std::ptr::eq(self.tape, tape), "the operands are tensors of two tapes");
        self
    }
}

impl<'t, T: Scalar> Operand<'t, T> for &'t Parameter<T> {
    #[inline(always)]
    fn scalar(&self) -> Option<T> {
        None
    }

    #[track_caller]
    #[inline(always)]
    fn tensor(self, tape: &'t Tape<T>) -> Tensor<'t, T> {
        tape.param(self)
    }
}

impl<'t, T: Scalar> Operand<'t, T> for T {
    #[inline(always)]
    fn scalar(&self) -> Option<T> {
        Some(*self)
    }

    #[track_caller]
    #[inline(always)]
    fn tensor(self, tape: &'t Tape<T>) -> Tensor<'t, T> {
        tape.scalar(self)
    }
}

impl<'t, T: Scalar> Tensor<'t, T> {
    pub(crate) fn new(tape: &'t Tape<T>, id: Id) -> Self {
        Tensor { tape, id }
    }

    #[inline(always)]
    pub(crate) fn id(self) -> Id {
        self.id
    }

    /// The tape it is on.
    #[inline(always)]
    pub fn tape(self) -> &'t Tape<T> {
        self.tape
    }

    /// Another operand of an op on this tensor, on the same tape.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn operand(self, other: impl Operand<'t, T>) -> Self {
        other.tensor(self.tape)
    }

    #[inline(always)]
    pub(crate) fn value(self) -> Value<'t, T> {
        self.tape.value(self.id)
    }

    /// Runs and appends an op at the caller's line.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn record(self, op: Op) -> Self {
        Tensor { tape: self.tape, id: self.tape.record(op, Location::caller()) }
    }

    /// Its shape.
    pub fn shape(self) -> &'t [usize] {
        self.value().layout.dims
    }

    /// Its number of axes.
    pub fn rank(self) -> usize {
        self.shape().len()
    }

    /// Its number of elements.
    pub fn len(self) -> usize {
        self.value().layout.len
    }

    /// Whether it has no elements.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether its elements lie in row-major order without gaps.
    pub fn is_contiguous(self) -> bool {
        self.value().layout.contiguous
    }

    /// The one element.
    ///
    /// # Panics
    /// If there is not exactly one.
    #[track_caller]
    pub fn item(self) -> T {
        let value = self.value();
        assert!(value.layout.len == 1, "item: needs exactly one element, got shape {:?}", value.layout.dims);
        // SAFETY: the one element of a live tensor.
        unsafe { *value.data }
    }

    /// Its elements, row-major, where they lie so in memory.
    ///
    /// # Panics
    /// If they do not; see [`Tensor::contiguous`], [`Tensor::to_vec`].
    #[track_caller]
    pub fn as_slice(self) -> &'t [T] {
        let value = self.value();
        let shape = value.layout.dims;
        assert!(
            value.layout.contiguous,
            "as_slice: the elements of this view of shape {shape:?} are not in order: take .contiguous() first"
        );
        // SAFETY: `len` elements without gaps, alive as long as 't: memory of
        // the arena is never written again and moves nowhere, and parameters
        // are borrowed for 't.
        unsafe { std::slice::from_raw_parts(value.data, value.layout.len) }
    }

    /// A copy of its elements, row-major.
    pub fn to_vec(self) -> Vec<T> {
        let mut out = Vec::with_capacity(self.len());
        self.value().for_each(|x| out.push(x));
        out
    }

    /// Copies its elements, row-major: how state is carried over a rewind
    /// without allocating.
    ///
    /// ```
    /// let mut state = [0.0; 2];
    /// let mut tape = wengert::Tape::new();
    /// for _ in 0..3 {
    ///     tape.rewind();
    ///     (tape.input([2], &state) + 1.0).copy_to(&mut state);
    /// }
    /// assert_eq!(state, [3.0, 3.0]);
    /// ```
    ///
    /// # Panics
    /// If the lengths differ.
    #[track_caller]
    pub fn copy_to(self, to: &mut [T]) {
        let fits = self.len() == to.len();
        assert!(fits, "copy_to: {:?} holds {} elements, the slice {}", self.shape(), self.len(), to.len());
        let mut to = to.iter_mut();
        self.value().for_each(|x| {
            if let Some(slot) = to.next() {
                *slot = x;
            }
        });
    }

    /// A copy with its shape.
    pub fn to_array(self) -> Array<T> {
        Array::new(self.shape(), self.to_vec())
    }

    /// The same values as a leaf which wants its gradient.
    ///
    /// A tensor which requires a gradient already is returned as it is.
    #[doc(alias = "requires_grad_")]
    #[track_caller]
    pub fn require_grad(self) -> Self {
        if self.requires_grad() { self } else { self.alias(Leaf::Tracked) }
    }

    /// Whether gradients flow to it, or through it to a leaf.
    pub fn requires_grad(self) -> bool {
        self.tape.entry(self.id).tracked
    }

    /// The same values as a constant: no gradient flows through. No copy is
    /// made.
    #[doc(alias = "stop_gradient")]
    #[track_caller]
    pub fn detach(self) -> Self {
        self.alias(Leaf::Constant)
    }

    #[track_caller]
    fn alias(self, leaf: Leaf) -> Self {
        Tensor { tape: self.tape, id: self.tape.alias(self.id, leaf, Location::caller()) }
    }

    /// Keeps the gradient of this intermediate: [`Gradients::get`] has it
    /// after the next backward, as it has those of leaves.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.scalar(3.0).require_grad();
    /// let y = x.square().retain_grad();
    /// let grads = (2.0 * y).backward();
    /// assert_eq!(grads.get(y).unwrap().item(), 2.0);
    /// ```
    ///
    /// # Panics
    /// If no gradient flows through it.
    ///
    /// [`Gradients::get`]: crate::Gradients::get
    #[track_caller]
    pub fn retain_grad(self) -> Self {
        assert!(self.requires_grad(), "retain_grad: no gradient flows through this tensor");
        self.tape.retain(self.id);
        self
    }

    /// Whether no recorded op made it, or none through which a gradient flows
    /// (PyTorch's definition).
    pub fn is_leaf(self) -> bool {
        let entry = self.tape.entry(self.id);
        matches!(entry.op, Op::Leaf(_)) || !entry.tracked
    }

    /// The op which made it and through which its gradient flows on, or `None`
    /// for a leaf.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.tensor([1.0, 2.0]).require_grad();
    /// let y = (x * x).sum();
    /// let grad_fn = y.grad_fn().unwrap();
    /// assert_eq!(grad_fn.name(), "sum");
    /// let [product] = grad_fn.operands().collect::<Vec<_>>()[..] else { panic!() };
    /// assert_eq!(product.to_string(), "mul(#1 leaf [2], #1 leaf [2])");
    /// ```
    pub fn grad_fn(self) -> Option<GradFn<'t, T>> {
        (!self.is_leaf()).then_some(GradFn { tape: self.tape, id: self.id })
    }

    /// Its index on the list.
    pub fn index(self) -> usize {
        self.id.index()
    }
}

/// The op which made a tensor, and from what: the counterpart of PyTorch's
/// `grad_fn`, as [`Tensor::grad_fn`] gives it. It names entries and gives no
/// access to their values.
#[derive(Clone, Copy)]
pub struct GradFn<'t, T: Scalar = f32> {
    tape: &'t Tape<T>,
    id: Id,
}

impl<'t, T: Scalar> GradFn<'t, T> {
    /// The op's name, or what kind of leaf it is.
    pub fn name(&self) -> &'static str {
        self.tape.entry(self.id).op.name()
    }

    /// The index on the list.
    pub fn index(&self) -> usize {
        self.id.index()
    }

    /// The shape of the result.
    pub fn shape(&self) -> &'t [usize] {
        self.tape.value(self.id).layout.dims
    }

    /// The line of the program which recorded it.
    pub fn location(&self) -> &'static Location<'static> {
        self.tape.entry(self.id).location
    }

    /// What it was made from.
    pub fn operands(&self) -> impl Iterator<Item = GradFn<'t, T>> + use<'t, T> {
        let mut ids = smallvec::SmallVec::<[Id; 4]>::new();
        self.tape.entry(self.id).op.operands(|x| ids.push(x));
        let tape = self.tape;
        ids.into_iter().map(move |id| GradFn { tape, id })
    }
}

impl<T: Scalar> fmt::Display for GradFn<'_, T> {
    /// `mul(#0 leaf [2], #3 exp [2])`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name())?;
        for (i, x) in self.operands().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}#{} {} {:?}", x.index(), x.name(), x.shape())?;
        }
        f.write_str(")")
    }
}

impl<T: Scalar> fmt::Debug for GradFn<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {self} at {}", self.index(), self.location())
    }
}

impl<T: Scalar> fmt::Display for Tensor<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_array(f, self.shape(), &self.to_vec())
    }
}

impl<T: Scalar> fmt::Debug for Tensor<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.tape.entry(self.id).op.name();
        write!(f, "Tensor(#{} {name} {:?} {}", self.index(), self.shape(), T::NAME)?;
        f.write_str(if self.requires_grad() { ", requires_grad)" } else { ")" })
    }
}
