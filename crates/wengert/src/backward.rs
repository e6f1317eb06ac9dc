//! The reverse sweep: one rule per op, two interpreters. Here: the plain one,
//! and the methods which start either; `recorded.rs` has the other.

use std::ptr::NonNull;

use crate::gradients::Gradients;
use crate::kernels::map::copy;
use crate::kernels::{Out, Value};
use crate::ops::leaf::Leaf;
use crate::ops::{Emit, Id, Inferred, List, Op, Values, reduce, view};
use crate::pool::{Buffer, Pool, Temporary};
use crate::recorded;
use crate::scalar::Scalar;
use crate::shape::Layout;
use crate::tape::{Entry, Tape};
use crate::tensor::{Operand, Sealed, Tensor};

/// What a plain sweep works with. It belongs to the tape and is lent to one
/// sweep at a time; a sweep which unwinds drops it.
pub(crate) struct Sweep<T> {
    pool: Pool,
    /// Adjoints by entry, alive where the stamp is that of this sweep.
    adjoints: Vec<(u64, Temporary<T>)>,
    stamp: u64,
    /// How many are alive.
    pending: usize,
    /// Temporaries of the rule under way; the first is the cotangent.
    temporaries: Vec<Temporary<T>>,
}

impl<T> Default for Sweep<T> {
    fn default() -> Self {
        Sweep { pool: Pool::default(), adjoints: Vec::new(), stamp: 0, pending: 0, temporaries: Vec::new() }
    }
}

impl<T> Sweep<T> {
    pub(crate) fn reserved_bytes(&self) -> usize {
        self.pool.reserved_bytes()
    }
}

/// The plain interpreter: an emitted op runs at once, straight into the
/// adjoint of its target, and is not recorded.
pub(crate) struct Plain<'a, T: Scalar> {
    tape: &'a Tape<T>,
    sweep: Box<Sweep<T>>,
    grads: &'a mut Gradients<T>,
}

/// Where a contribution goes.
enum Target<T> {
    /// Memory of [`Gradients`]; `true` where something is there already.
    Gradient(*mut T, bool),
    /// The adjoint of an entry between leaves and root.
    Adjoint,
}

impl<T: Scalar> Values<T> for Plain<'_, T> {
    #[inline(always)]
    fn value(&self, id: Id) -> Value<'_, T> {
        if !id.is_temporary() {
            return self.tape.value(id);
        }
        let t = self.sweep.temporaries[id.index()];
        // SAFETY: the layout of a temporary lives as long as it does: in the
        // tape's arena, or in a buffer which it holds.
        Value { data: t.data, layout: unsafe { t.layout.as_ref() } }
    }
}

impl<T: Scalar> Emit for Plain<'_, T> {
    #[inline(always)]
    fn wants(&self, x: Id) -> bool {
        self.tape.entry(x).tracked
    }

    fn op(&mut self, op: Op) -> Id {
        let t = self.temporary(&op);
        self.sweep.temporaries.push(t);
        Id::temporary(self.sweep.temporaries.len() - 1)
    }

    #[inline]
    fn give(&mut self, x: Id, op: Op) {
        let entry = self.tape.entry(x);
        if !entry.tracked {
            return;
        }
        let tape = self.tape;
        let layout = tape.layout(&entry);
        if let Op::View(view::View::Same { x: g }) = op {
            let g = self.sweep.temporaries[g.index()];
            let g = self.sweep.pool.share(g);
            return self.pass(x, &entry, g);
        }
        let same = match op.infer(self) {
            Inferred::Like(l) => std::ptr::eq(l, layout) || l.dims == layout.dims,
            Inferred::Fresh(dims) => dims.as_slice() == layout.dims,
            Inferred::View { .. } => {
                let t = self.temporary(&op);
                return self.pass(x, &entry, t);
            }
        };
        let direct = op.accumulates() || !matches!(entry.op, Op::Leaf(_)) && !self.is_pending(x);
        if !(same && direct) {
            let t = self.temporary(&op);
            return self.pass(x, &entry, t);
        }
        match self.target(x, &entry) {
            Target::Gradient(data, add) => {
                let out = Out { data, dims: layout.dims, len: layout.len, add };
                // SAFETY: the gradient of a leaf of this shape, which no
                // operand of the op shares.
                unsafe { op.run(self, out, &tape.machine) }
            }
            Target::Adjoint => {
                let (t, add) = self.writable(x, layout);
                let out = Out { data: t.data, dims: layout.dims, len: layout.len, add };
                // SAFETY: a buffer of this shape with one user, so no operand
                // of the op shares it.
                unsafe { op.run(self, out, &tape.machine) }
            }
        }
    }

    fn dims(&self, x: Id) -> List<usize> {
        List::new(self.value(x).layout.dims)
    }
}

impl<T: Scalar> Plain<'_, T> {
    /// Runs an op into a temporary, or makes a view.
    fn temporary(&mut self, op: &Op) -> Temporary<T> {
        let tape = self.tape;
        let this: *const Self = self;
        // SAFETY: what `infer` borrows lies in the tape's arena or in buffers
        // which the temporaries of this rule hold, not in `self`.
        let inferred = op.infer(unsafe { &*this });
        let pool = &mut self.sweep.pool;
        let t = match inferred {
            Inferred::Like(layout) => {
                // The layout may be in a buffer of a temporary, which may be
                // given back before this one.
                let mut owner = Buffer::NONE;
                op.operands(|x| {
                    if x.is_temporary() {
                        let t = &self.sweep.temporaries[x.index()];
                        if std::ptr::eq(t.layout.as_ptr().cast_const(), std::ptr::from_ref(layout).cast()) {
                            owner = t.buffers[1];
                        }
                    }
                });
                pool.retain(owner);
                let t = pool.like(layout);
                Temporary { buffers: [t.buffers[0], owner], ..t }
            }
            Inferred::Fresh(dims) => pool.fresh(&dims),
            Inferred::View { of, offset, dims, strides } => {
                let (data, owner) = match of.is_temporary() {
                    true => {
                        let t = self.sweep.temporaries[of.index()];
                        (t.data, t.buffers[0])
                    }
                    false => (tape.entry(of).data.cast_mut(), Buffer::NONE),
                };
                // SAFETY: the view lies within its operand's memory.
                return self.sweep.pool.view(unsafe { data.offset(offset) }, owner, &dims, &strides);
            }
        };
        // SAFETY: the layout of a temporary which is alive.
        let layout = unsafe { t.layout.as_ref() };
        let out = Out { data: t.data, dims: layout.dims, len: layout.len, add: false };
        // SAFETY: a fresh buffer of the inferred shape.
        unsafe { op.run(self, out, &tape.machine) };
        t
    }

    /// Contributes a temporary which has been computed, and drops it.
    fn pass(&mut self, x: Id, entry: &Entry<T>, t: Temporary<T>) {
        let tape = self.tape;
        let layout = tape.layout(entry);
        // SAFETY: the layout of a temporary which is alive.
        let from = Value { data: t.data.cast_const(), layout: unsafe { t.layout.as_ref() } };
        if from.layout.dims != layout.dims {
            self.sweep.temporaries.push(t);
            let id = Id::temporary(self.sweep.temporaries.len() - 1);
            return self.sum_to(x, entry, id);
        }
        match self.target(x, entry) {
            Target::Gradient(data, add) => {
                let out = Out { data, dims: layout.dims, len: layout.len, add };
                // SAFETY: the gradient of a leaf of this shape, apart from
                // every temporary.
                unsafe { copy(tape.machine.isa, from, out) }
            }
            // Only memory which is the pool's, or lasts as long as the sweep,
            // may be handed over; the values of entries do.
            Target::Adjoint if !self.is_pending(x) => return self.set(x, t),
            Target::Adjoint => {
                let (to, add) = self.writable(x, layout);
                let out = Out { data: to.data, dims: layout.dims, len: layout.len, add };
                // SAFETY: a buffer with one user.
                unsafe { copy(tape.machine.isa, from, out) }
            }
        }
        self.sweep.pool.drop(t);
    }

    /// Contributes a temporary of a shape to which `x` was broadcast.
    fn sum_to(&mut self, x: Id, entry: &Entry<T>, t: Id) {
        let layout = self.tape.layout(entry);
        let from = self.value(t).layout.dims;
        let mask = broadcast_axes(layout.dims, from);
        let op = reduce::sum(t, mask, false);
        match self.target(x, entry) {
            Target::Gradient(data, add) => {
                let out = Out { data, dims: layout.dims, len: layout.len, add };
                // SAFETY: the gradient of `x`, which has as many elements as
                // the axes which are kept.
                unsafe { op.run(self, out, &self.tape.machine) }
            }
            Target::Adjoint => {
                let (to, add) = self.writable(x, layout);
                let out = Out { data: to.data, dims: layout.dims, len: layout.len, add };
                // SAFETY: a buffer with one user, of that many elements.
                unsafe { op.run(self, out, &self.tape.machine) }
            }
        }
    }

    #[inline]
    fn target(&mut self, x: Id, entry: &Entry<T>) -> Target<T> {
        match entry.op {
            Op::Leaf(Leaf::Param { table, index, offset, .. }) => {
                let layout = self.tape.layout(entry);
                let (store, total) = self.tape.store_of(table);
                let (data, add) = self.grads.parameter(store, total, index as usize, offset, layout.len);
                Target::Gradient(data, add)
            }
            Op::Leaf(_) => {
                let (data, add) = self.grads.leaf(x, self.tape.layout(entry).len);
                Target::Gradient(data, add)
            }
            _ => Target::Adjoint,
        }
    }

    #[inline(always)]
    fn is_pending(&self, x: Id) -> bool {
        self.sweep.adjoints[x.index()].0 == self.sweep.stamp
    }

    fn set(&mut self, x: Id, t: Temporary<T>) {
        self.sweep.adjoints[x.index()] = (self.sweep.stamp, t);
        self.sweep.pending += 1;
    }

    /// The adjoint of `x` as a contiguous buffer with one user, and whether
    /// something is in it already.
    #[inline]
    fn writable(&mut self, x: Id, layout: &Layout<'_>) -> (Temporary<T>, bool) {
        let fresh = |pool: &mut Pool| match layout.contiguous {
            true => pool.like(layout),
            false => pool.fresh(&layout.dims.into()),
        };
        if !self.is_pending(x) {
            let t = fresh(&mut self.sweep.pool);
            self.set(x, t);
            return (t, false);
        }
        let old = self.sweep.adjoints[x.index()].1;
        // SAFETY: the layout of an adjoint which is alive.
        let from = Value { data: old.data.cast_const(), layout: unsafe { old.layout.as_ref() } };
        if self.sweep.pool.is_exclusive(old.buffers[0]) && from.layout.contiguous {
            return (old, true);
        }
        let t = fresh(&mut self.sweep.pool);
        let out = Out { data: t.data, dims: layout.dims, len: layout.len, add: false };
        // SAFETY: a fresh buffer.
        unsafe { copy(self.tape.machine.isa, from, out) };
        self.sweep.pool.drop(old);
        self.sweep.adjoints[x.index()].1 = t;
        (t, true)
    }
}

/// The axes of `to` which broadcasting from `from` added or stretched.
pub(crate) fn broadcast_axes(from: &[usize], to: &[usize]) -> u64 {
    let lead = to.len() - from.len();
    let added = |i: &usize| *i < lead || from[*i - lead] != to[*i];
    (0..to.len()).filter(added).fold(0, |mask, i| mask | 1 << i)
}

impl<T: Scalar> Plain<'_, T> {
    /// Sweeps from the root down to the last entry which anything is pending
    /// for. Indices are the topological order.
    pub(crate) fn run(&mut self, root: Id, cotangent: Id) {
        let tape = self.tape;
        self.begin(cotangent);
        self.give(root, view::same(Id::temporary(0)));
        self.end();
        let mut index = root.index() + 1;
        while self.sweep.pending > 0 {
            index -= 1;
            let (stamp, adjoint) = self.sweep.adjoints[index];
            if stamp != self.sweep.stamp {
                continue;
            }
            self.sweep.pending -= 1;
            let y = Id::entry(index);
            let entry = tape.entry(y);
            self.sweep.temporaries.push(adjoint);
            if entry.retained {
                self.deposit(y, adjoint);
            }
            entry.op.rule(self, y, Id::temporary(0));
            self.end();
        }
    }

    /// Starts a rule whose cotangent is the value of an entry.
    fn begin(&mut self, cotangent: Id) {
        let entry = self.tape.entry(cotangent);
        let layout = NonNull::from(self.tape.layout(&entry)).cast();
        let buffers = [Buffer::NONE; 2];
        self.sweep.temporaries.push(Temporary { data: entry.data.cast_mut(), layout, buffers });
    }

    /// Gives the temporaries of a rule back, the last one first.
    #[inline]
    fn end(&mut self) {
        while let Some(t) = self.sweep.temporaries.pop() {
            self.sweep.pool.drop(t);
        }
    }

    /// Copies the adjoint of an intermediate into the gradients.
    fn deposit(&mut self, y: Id, adjoint: Temporary<T>) {
        // SAFETY: the layout of an adjoint which is alive.
        let from = Value { data: adjoint.data.cast_const(), layout: unsafe { adjoint.layout.as_ref() } };
        let (data, add) = self.grads.leaf(y, from.layout.len);
        let out = Out { data, dims: from.layout.dims, len: from.layout.len, add };
        // SAFETY: the gradient of an entry of this shape.
        unsafe { copy(self.tape.machine.isa, from, out) }
    }
}

impl<'t, T: Scalar> Tensor<'t, T> {
    /// The gradients of this scalar with respect to every tracked leaf and
    /// parameter it depends on.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.tensor([1.0, 2.0]).require_grad();
    /// let grads = x.square().sum().backward();
    /// assert_eq!(grads.get(x).unwrap().as_slice(), &[2.0, 4.0]);
    /// ```
    ///
    /// # Panics
    /// If it has more than one element (see [`Tensor::backward_with`]), or if
    /// nothing it depends on requires a gradient.
    #[track_caller]
    pub fn backward(self) -> Gradients<T> {
        let mut grads = Gradients::new();
        self.backward_into(&mut grads);
        grads
    }

    /// [`Tensor::backward`] which adds to `grads`, as PyTorch adds to `.grad`.
    /// Allocates nothing in the steady state.
    ///
    /// # Panics
    /// As [`Tensor::backward`].
    #[track_caller]
    pub fn backward_into(self, grads: &mut Gradients<T>) {
        let shape = self.shape();
        assert!(self.len() == 1, "backward: a root of shape {shape:?} needs a cotangent: see backward_with");
        self.sweep(self.tape().ones(shape), grads);
    }

    /// The vector-Jacobian product with a cotangent of this tensor's shape.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.tensor([1.0, 2.0]).require_grad();
    /// let grads = x.square().backward_with([1.0, 10.0]);
    /// assert_eq!(grads.get(x).unwrap().as_slice(), &[2.0, 40.0]);
    /// ```
    ///
    /// # Panics
    /// If the cotangent has another shape, or nothing requires a gradient.
    #[track_caller]
    pub fn backward_with(self, cotangent: impl Cotangent<'t, T>) -> Gradients<T> {
        let mut grads = Gradients::new();
        self.backward_with_into(cotangent, &mut grads);
        grads
    }

    /// [`Tensor::backward_with`] which adds to `grads`.
    ///
    /// # Panics
    /// As [`Tensor::backward_with`].
    #[track_caller]
    pub fn backward_with_into(self, cotangent: impl Cotangent<'t, T>, grads: &mut Gradients<T>) {
        let cotangent = self.operand(cotangent.on(self.tape()));
        let (shape, given) = (self.shape(), cotangent.shape());
        assert!(shape == given, "backward: a root of shape {shape:?}, but a cotangent of shape {given:?}");
        self.sweep(cotangent, grads);
    }

    #[track_caller]
    fn sweep(self, cotangent: Self, grads: &mut Gradients<T>) {
        assert!(self.requires_grad(), "backward: nothing this tensor depends on requires a gradient");
        let tape = self.tape();
        let mut sweep = tape.sweep.take().unwrap_or_default();
        sweep.pool.reset();
        sweep.stamp += 1;
        sweep.pending = 0;
        let len = self.index() + 1;
        if sweep.adjoints.len() < len {
            let none =
                Temporary { data: std::ptr::null_mut(), layout: NonNull::dangling(), buffers: [Buffer::NONE; 2] };
            sweep.adjoints.resize(len, (0, none));
        }
        grads.begin(tape.id(), tape.epoch());
        let mut plain = Plain { tape, sweep, grads };
        T::sweep(&mut plain, self.id(), cotangent.id());
        let sweep = plain.sweep;
        grads.end();
        tape.sweep.set(Some(sweep));
    }

    /// The gradients of this scalar with respect to some tensors, as tensors
    /// on the tape: they can be differentiated again. Zeros for an input which
    /// nothing reaches.
    ///
    /// ```
    /// let tape = wengert::Tape::new_f64();
    /// let x = tape.scalar(3.0).require_grad();
    /// let [dy] = x.powi(3).grad([x]);
    /// let [d2y] = dy.grad([x]);
    /// assert_eq!((dy.item(), d2y.item()), (27.0, 18.0));
    /// ```
    ///
    /// # Panics
    /// If it has more than one element (see [`Tensor::vjp`]), if it does not
    /// require a gradient, or an input does not.
    #[doc(alias = "autograd.grad")]
    #[track_caller]
    pub fn grad<const N: usize>(self, inputs: [Self; N]) -> [Self; N] {
        let shape = self.shape();
        assert!(self.len() == 1, "grad: a root of shape {shape:?} needs a cotangent: see vjp");
        self.vjp(self.tape().ones(shape), inputs)
    }

    /// The vector-Jacobian product with a cotangent, recorded as
    /// [`Tensor::grad`] is; differentiable in the cotangent too.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.tensor([1.0, 2.0]).require_grad();
    /// let [g] = x.square().vjp(tape.tensor([1.0, 10.0]), [x]);
    /// assert_eq!(g.to_vec(), [2.0, 40.0]);
    /// ```
    ///
    /// # Panics
    /// If the cotangent has another shape, if this tensor does not require a
    /// gradient, or an input does not.
    #[track_caller]
    pub fn vjp<const N: usize>(self, cotangent: impl Cotangent<'t, T>, inputs: [Self; N]) -> [Self; N] {
        let tape = self.tape();
        let cotangent = self.operand(cotangent.on(tape));
        let (shape, given) = (self.shape(), cotangent.shape());
        assert!(shape == given, "grad: a root of shape {shape:?}, but a cotangent of shape {given:?}");
        assert!(self.requires_grad(), "grad: nothing this tensor depends on requires a gradient");
        for (i, x) in inputs.iter().enumerate() {
            let x = self.operand(*x);
            assert!(x.requires_grad(), "grad: input {i} of shape {:?} does not require a gradient", x.shape());
        }
        let found = recorded::sweep(tape, self.id(), cotangent.id(), inputs.map(Tensor::id));
        std::array::from_fn(|i| match found[i] {
            Some(id) => Tensor::new(tape, id),
            None => tape.zeros(inputs[i].shape()),
        })
    }
}

/// What a sweep starts from: a tensor, or host values which become one.
pub trait Cotangent<'t, T: Scalar>: Sealed {
    /// The cotangent on the tape.
    #[doc(hidden)]
    fn on(self, tape: &'t Tape<T>) -> Tensor<'t, T>;
}

impl<T: Scalar, const N: usize> Sealed for [T; N] {}

impl<'t, T: Scalar> Cotangent<'t, T> for Tensor<'t, T> {
    #[track_caller]
    fn on(self, tape: &'t Tape<T>) -> Tensor<'t, T> {
        Operand::tensor(self, tape)
    }
}

impl<'t, T: Scalar, const N: usize> Cotangent<'t, T> for [T; N] {
    #[track_caller]
    fn on(self, tape: &'t Tape<T>) -> Tensor<'t, T> {
        tape.input([N], &self)
    }
}
