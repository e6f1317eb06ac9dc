//! The plain interpreter of derivative rules: it runs them at once.

mod strips;
mod sweep;

use smallvec::SmallVec;

use crate::gradients::Gradients;
use crate::kernels::fused::MAX_INPUTS;
use crate::kernels::map::copy;
use crate::kernels::reduce::{product_with_row, sum_of_products};
use crate::kernels::{Out, Value};
use crate::layouts::Layouts;
use crate::ops::attention::Attend;
use crate::ops::binary::{Binary, Function};
use crate::ops::custom::Custom;
use crate::ops::fused::Fused;
use crate::ops::leaf::Leaf;
use crate::ops::norm::Norm;
use crate::ops::unary::{Unary, UnaryGrad};
use crate::ops::{Emit, Id, Inferred, Interpreter, List, Op, Place, Values, reduce, view};
use crate::pool::Held;
use crate::scalar::Scalar;
use crate::shape::{Layout, zeros};
use crate::tape::Tape;
use strips::Strip;
pub(crate) use sweep::{Adjoint, Sweep, sweep};

/// The plain interpreter: an emitted op runs at once, straight into the
/// adjoint of its target, and is not recorded.
///
/// With `STRIPS`, tensors which have all rows of a [`Strip`] are seen as if they
/// had only those of the strip.
pub(crate) struct Plain<'a, T: Scalar, const STRIPS: bool = false> {
    tape: &'a Tape<T>,
    sweep: &'a mut Sweep<T>,
    grads: &'a mut Gradients<T>,
    /// The table of parameters which was met last, and its store's place in
    /// the gradients.
    store: Option<(u16, usize)>,
    strip: Strip,
}

impl<T: Scalar, const STRIPS: bool> Values<T> for Plain<'_, T, STRIPS> {
    #[inline(always)]
    fn value(&self, id: Id) -> Value<'_, T> {
        // SAFETY: the adjoint and the temporaries are held until the rule ends.
        let held = |held| unsafe { self.sweep.pool.value(held) };
        self.seen(match id.place() {
            Place::Entry(_) => self.tape.value(id),
            Place::Temporary(i) => held(self.sweep.temporaries[i]),
            Place::Adjoint(i) => {
                let adjoint = &self.sweep.adjoints[i];
                match adjoint.held.get() {
                    Held::NONE => {
                        let data = adjoint.single.as_ptr();
                        Value { data, layout: self.tape.layout(&self.tape.entry(Id::entry(i))) }
                    }
                    tensor => held(tensor),
                }
            }
        })
    }

    #[inline(always)]
    fn layouts(&self) -> &Layouts {
        self.tape.layouts()
    }
}

impl<T: Scalar, const STRIPS: bool> Emit for Plain<'_, T, STRIPS> {
    #[inline(always)]
    fn wants(&self, x: Id) -> bool {
        self.tape.entry(x).tracked
    }

    fn op(&mut self, op: Op) -> Id {
        let t = self.make(&op, self.infer(&op));
        self.push(t)
    }

    #[inline(always)]
    fn give_alike(&mut self, x: Id, op: Op) {
        debug_assert!(op.accumulates());
        if self.wants(x) {
            self.give_shaped(x, &op);
        }
    }

    /// In the memory of the cotangent, if nobody else needs that.
    fn give_last(&mut self, x: Id, op: Unary) {
        if self.wants(x)
            && let Some(out) = self.handed_over(x, op.x)
        {
            // SAFETY: the output is the operand, which nobody else reads.
            return unsafe { op.run(self, out, &self.tape.machine) };
        }
        self.give(x, Op::Unary(op));
    }

    /// As [`Plain::give_last`].
    #[inline(always)]
    fn give_last_through(&mut self, x: Id, op: UnaryGrad) {
        if self.wants(x) {
            let out = self.handed_over(x, op.g).unwrap_or_else(|| self.out(x));
            // SAFETY: as in `give_shaped`; or the output is the first operand.
            unsafe { op.run(self, out, &self.tape.machine) }
        }
    }

    /// In one pass, where one is a long row and the other has many.
    fn give_product(&mut self, [a, b]: [Id; 2], g: Id) -> bool {
        const LONG: usize = 128;
        let fits = |x, row| {
            let row = self.value(row).layout;
            row.len >= LONG && row.contiguous && self.sums_products(row, g, x)
        };
        let [x, row] = match self.wants(a) && self.wants(b) {
            true if fits(a, b) => [a, b],
            true if fits(b, a) => [b, a],
            _ => return false,
        };
        let (to_x, to_row) = (self.out(x), self.out(row));
        // SAFETY: as in `give_shaped`.
        unsafe { product_with_row(self.tape.machine.isa, [g, x, row].map(|x| self.value(x)), to_x, to_row) }
        true
    }

    fn give(&mut self, x: Id, op: Op) {
        if !self.wants(x) {
            return;
        }
        let layout = self.layout(x);
        if let Op::View(view::View::Same { x: g }) = op {
            let (whole, g) = (self.is_whole(g), self.held(g));
            if g != Held::NONE && !whole {
                self.sweep.pool.retain(g);
                return self.pass(x, g);
            }
        }
        if let Op::Binary(Binary { f: Function::Mul, a, b }) = op
            && self.sums_products(layout, a, b)
        {
            let out = self.out(x);
            // SAFETY: as in `give_shaped`.
            return unsafe { sum_of_products(self.tape.machine.isa, [self.value(a), self.value(b)], out) };
        }
        let inferred = self.infer(&op);
        let same = matches!(inferred, Inferred::Fresh(l) if l.same_shape(layout));
        let first = !self.tape.entry(x).is_leaf() && !self.is_pending(x);
        // An op which cannot add runs straight into its target only if nothing
        // is there; what is one number everywhere stays one number.
        if same && (op.accumulates() || first) && !(first && self.of_constant(&op).is_some()) {
            return self.give_any(x, &op);
        }
        let t = self.make(&op, inferred);
        self.pass(x, t);
    }
}

impl<T: Scalar, const STRIPS: bool> Interpreter for Plain<'_, T, STRIPS> {
    fn custom(&mut self, op: Custom, y: Id, g: Id) {
        let tape = self.tape;
        // On the scope's tape, whose memory comes back at the end.
        tape.evaluate(|scope| {
            let lift = |x: Id| {
                let copy = scope.copy_of(tape.value(x));
                if tape.entry(x).tracked { copy.require_grad() } else { copy }
            };
            let inputs: SmallVec<[_; 8]> = op.operands().map(lift).collect();
            let (output, cotangent) = (scope.copy_of(tape.value(y)), scope.copy_of(self.value(g)));
            op.backward(&inputs, output, cotangent, |x, contribution| {
                if self.wants(x) {
                    let (t, data) = self.sweep.pool.fresh(tape.layouts().contiguous(contribution.shape()));
                    let from = contribution.value();
                    let out = Out { data, dims: from.layout.dims, len: from.layout.len, add: false };
                    // SAFETY: fresh memory of this shape.
                    unsafe { copy(tape.machine.isa, from, out) };
                    self.pass(x, t);
                }
            });
        });
    }

    fn fused(&mut self, op: Fused, g: Id) {
        let tape = self.tape;
        let mut targets: SmallVec<[Option<Out<'_, T>>; MAX_INPUTS]> = SmallVec::new();
        for x in op.operands() {
            targets.push(self.wants(x).then(|| self.out(x)));
        }
        // SAFETY: as in `give_shaped`; an input which stands twice has its
        // target twice, and the second time adds.
        unsafe { op.backward(tape.machine.isa, self, self.value(g), &targets) }
    }

    #[inline(never)]
    fn attend(&mut self, op: Attend, g: Id) {
        let to = op.operands().map(|x| self.wants(x).then(|| self.out(x)));
        // SAFETY: as in `fused`.
        unsafe { op.backward(self, self.value(g), to, &self.tape.machine) }
    }

    #[inline(never)]
    fn norm(&mut self, op: Norm, g: Id) {
        let wanted = op.inputs().map(|x| x.filter(|&x| self.wants(x)));
        if let [None, None, _] = wanted {
            return op.one_by_one(self, g);
        }
        let to = wanted.map(|x| x.map(|x| self.out(x)));
        // SAFETY: as in `fused`.
        unsafe { op.backward(self, self.value(g), to, &self.tape.machine) }
    }

    fn dims(&self, x: Id) -> List<usize> {
        List::new(self.value(x).layout.dims)
    }
}

impl<'a, T: Scalar, const STRIPS: bool> Plain<'a, T, STRIPS> {
    /// The tensor of the pool which is named, or none.
    #[inline(always)]
    fn held(&self, id: Id) -> Held {
        match id.place() {
            Place::Entry(_) => Held::NONE,
            Place::Adjoint(i) => self.sweep.adjoints[i].held.get(),
            Place::Temporary(i) => self.sweep.temporaries[i],
        }
    }

    /// Whether a product goes to an operand of this layout which was broadcast
    /// along its first axes: then it need not be stored before it is summed.
    fn sums_products(&self, to: &Layout<'_>, a: Id, b: Id) -> bool {
        let a = self.value(a).layout;
        if a.len <= to.len {
            return false;
        }
        let b = self.value(b).layout;
        let ones = to.dims.iter().take_while(|&&dim| dim == 1).count();
        a.contiguous && b.contiguous && a.same_shape(b) && a.dims.ends_with(&to.dims[ones..])
    }

    /// Lets go of what a rule made; the last goes first.
    #[inline(always)]
    fn release_temporaries(&mut self) {
        while let Some(t) = self.sweep.temporaries.pop() {
            self.sweep.pool.release(t);
        }
    }

    #[inline(always)]
    fn push(&mut self, t: Held) -> Id {
        self.sweep.temporaries.push(t);
        Id::temporary(self.sweep.temporaries.len() - 1)
    }

    /// Runs an op straight into the adjoint of `x`, which has as many elements
    /// as its result.
    #[inline(always)]
    fn give_shaped(&mut self, x: Id, op: &Op) {
        let out = self.out(x);
        // SAFETY: the gradient of a leaf, or memory with one user: no operand
        // of the op shares it.
        unsafe { op.run(self, out, &self.tape.machine) }
    }

    /// [`Plain::give_shaped`], of any op.
    #[inline(never)]
    fn give_any(&mut self, x: Id, op: &Op) {
        self.give_shaped(x, op);
    }

    /// [`Op::infer`]
    fn infer(&self, op: &Op) -> Inferred<'a> {
        let this: *const Self = self;
        // SAFETY: what comes out are layouts of the tape, which outlive the
        // sweep and are not in `self`.
        op.infer(unsafe { &*this })
    }

    /// The function of an op whose operand is one number everywhere, at that
    /// number: so begin the adjoints of sums and of means.
    #[inline]
    fn of_constant(&self, op: &Op) -> Option<T> {
        let Op::Unary(f) = op else { return None };
        let x = self.value(f.x);
        // SAFETY: a tensor which is not contiguous has elements.
        (!x.layout.contiguous && x.layout.repeats()).then(|| f.at(self.tape.machine.isa, unsafe { *x.data }))
    }

    /// Runs an op into a temporary, or makes a view.
    fn make(&mut self, op: &Op, inferred: Inferred<'a>) -> Held {
        match inferred {
            Inferred::Fresh(layout) => {
                if let Some(value) = self.of_constant(op) {
                    return self.constant(layout.dims, value);
                }
                let (t, data) = self.sweep.pool.fresh(layout);
                let out = Out { data, dims: layout.dims, len: layout.len, add: false };
                // SAFETY: fresh memory of the inferred shape.
                unsafe { op.run(self, out, &self.tape.machine) };
                t
            }
            Inferred::View { of, offset, layout } => {
                let owner = match self.held(of) {
                    Held::NONE => Held::NONE,
                    held => self.sweep.pool.owner(held),
                };
                // SAFETY: the view lies within its operand's memory.
                let data = unsafe { self.value(of).data.offset(offset) };
                self.sweep.pool.view(Value { data, layout }, owner)
            }
        }
    }

    /// A tensor of this shape which is one number everywhere.
    fn constant(&mut self, dims: &[usize], value: T) -> Held {
        let (t, data) = self.sweep.pool.fresh::<T>(&Layout::SCALAR);
        // SAFETY: fresh memory of one element.
        unsafe { data.write(value) };
        let layout = self.tape.layouts().strided(dims, &zeros(dims.len()));
        let view = self.sweep.pool.view(Value { data: data.cast_const(), layout }, t);
        self.sweep.pool.release(t);
        view
    }

    /// Contributes a temporary which has been computed, and lets go of it.
    fn pass(&mut self, x: Id, t: Held) {
        let layout = self.layout(x);
        // SAFETY: held until the end of this function.
        let from = unsafe { self.sweep.pool.value(t) };
        if !from.layout.same_shape(layout) {
            // `x` was broadcast to this shape.
            let mask = broadcast_axes(layout.dims, from.layout.dims);
            let t = self.push(t);
            return self.give_shaped(x, &reduce::sum(t, mask, false));
        }
        let entry = self.tape.entry(x);
        if !entry.single && !entry.is_leaf() && !self.is_pending(x) && !self.is_below(x) {
            // Only memory which is the pool's, or lasts as long as the sweep,
            // is handed over; the values of entries do.
            return self.set(x, t);
        }
        let out = self.out(x);
        // SAFETY: as in `give_shaped`; `t` has another user if it is what is
        // in its place.
        unsafe { copy(self.tape.machine.isa, from, out) }
        self.sweep.pool.release(t);
    }

    /// [`Plain::target`], with the shape of `x`.
    #[inline(always)]
    fn out(&mut self, x: Id) -> Out<'a, T> {
        let (data, add) = self.target(x);
        let (data, add) = self.rows_of(x, data, add);
        let layout = self.layout(x);
        Out { data, dims: layout.dims, len: layout.len, add }
    }

    /// The memory of the cotangent `g`, of the shape of `x`, as the adjoint of
    /// `x`: if it is the first contribution, and nobody else has the memory.
    #[inline(always)]
    fn handed_over(&mut self, x: Id, g: Id) -> Option<Out<'a, T>> {
        let (held, entry) = (self.held(g), self.tape.entry(x));
        if held == Held::NONE || entry.is_leaf() || self.is_pending(x) || self.is_below(x) || self.is_whole(g) {
            return None;
        }
        let data = self.sweep.pool.exclusive(held)?;
        // SAFETY: held by the caller.
        let Layout { dims, len, contiguous, .. } = *unsafe { self.sweep.pool.value::<T>(held) }.layout;
        contiguous.then(|| {
            self.sweep.pool.retain(held);
            self.set(x, held);
            Out { data, dims, len, add: false }
        })
    }

    /// Where a contribution to `x` goes, and whether to add to it: memory of
    /// [`Gradients`] for a leaf, else the adjoint, contiguous and with one user.
    #[inline(never)]
    fn target(&mut self, x: Id) -> (*mut T, bool) {
        let (entry, pending) = (self.tape.entry(x), self.is_pending(x));
        if entry.single {
            if !pending && entry.is_leaf() {
                self.sweep.adjoints[x.index()].set(self.sweep.stamp, Held::NONE);
                self.sweep.leaves.push(x);
            } else if !pending {
                self.set(x, Held::NONE);
            }
            return (self.sweep.adjoints[x.index()].single.as_ptr(), pending);
        }
        if entry.is_leaf() {
            return self.gradient(x);
        }
        if pending {
            return (self.own_adjoint(x), true);
        }
        let (t, data) = self.fresh_adjoint(x);
        self.set(x, t);
        (data, false)
    }

    /// The adjoint of `x`, to add to: a copy of it, if it is not its own, or
    /// not contiguous.
    #[inline(never)]
    fn own_adjoint(&mut self, x: Id) -> *mut T {
        let old = self.sweep.adjoints[x.index()].held.get();
        // SAFETY: adjoints are held.
        let from = unsafe { self.sweep.pool.value(old) };
        if let Some(data) = self.sweep.pool.exclusive(old).filter(|_| from.layout.contiguous) {
            return data;
        }
        let (t, data) = self.fresh_adjoint(x);
        let out = Out { data, dims: from.layout.dims, len: from.layout.len, add: false };
        // SAFETY: fresh memory of this shape; `old` is held.
        unsafe { copy(self.tape.machine.isa, from, out) };
        self.sweep.pool.release(old);
        self.sweep.adjoints[x.index()].held.set(t);
        data
    }

    /// Memory for the adjoint of an entry.
    #[inline(always)]
    fn fresh_adjoint(&mut self, x: Id) -> (Held, *mut T) {
        let layout = if self.is_below(x) { self.tape.value(x).layout } else { self.layout(x) };
        self.sweep.pool.fresh(match layout.contiguous {
            true => layout,
            false => self.tape.layouts().contiguous(layout.dims),
        })
    }

    /// Where the gradient of a leaf goes, and whether to add to it.
    #[inline]
    fn gradient(&mut self, x: Id) -> (*mut T, bool) {
        let len = self.tape.value(x).layout.len;
        match self.tape.entry(x).op {
            Op::Leaf(Leaf::Param { table, index, offset, .. }) => {
                let place = match self.store {
                    Some((known, place)) if known == table => place,
                    _ => {
                        let (store, total) = self.tape.store_of(table);
                        let place = self.grads.place_of(store, total);
                        self.store = Some((table, place));
                        place
                    }
                };
                self.grads.parameter(place, index as usize, offset..offset + len)
            }
            _ => self.grads.leaf(x, len),
        }
    }

    #[inline(always)]
    fn is_pending(&self, x: Id) -> bool {
        self.sweep.adjoints[x.index()].is_pending(self.sweep.stamp)
    }

    /// The first contribution to an entry which is no leaf.
    #[inline(always)]
    fn set(&mut self, x: Id, t: Held) {
        self.sweep.adjoints[x.index()].set(self.sweep.stamp, t);
        self.sweep.pending += 1;
    }
}

/// The axes of `to` which broadcasting from `from` added or stretched.
pub(crate) fn broadcast_axes(from: &[usize], to: &[usize]) -> u64 {
    let lead = to.len() - from.len();
    let added = |i: &usize| *i < lead || from[*i - lead] != to[*i];
    (0..to.len()).filter(added).fold(0, |mask, i| mask | 1 << i)
}
