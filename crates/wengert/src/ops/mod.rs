//! The operations: an enum of families, one file each.
//!
//! A family's file holds everything about its ops: the methods on
//! [`Tensor`](crate::Tensor), the layout of the result (`infer`), the values
//! (`run`) and the derivative (`rule`). The matches here only hand on; none
//! has a wildcard arm, so an op without a rule does not compile.

pub(crate) mod arrange;
pub(crate) mod attention;
pub(crate) mod binary;
pub(crate) mod concat;
pub(crate) mod conv;
pub(crate) mod convolve;
pub(crate) mod custom;
mod determinant;
pub(crate) mod deviation;
pub(crate) mod dual;
pub(crate) mod einsum;
mod elementwise;
pub(crate) mod extremes;
pub(crate) mod functions;
pub(crate) mod fused;
pub(crate) mod index;
pub(crate) mod layers;
pub(crate) mod leaf;
pub(crate) mod linalg;
pub(crate) mod loss;
pub(crate) mod losses;
pub(crate) mod matmul;
pub(crate) mod maxpool;
pub(crate) mod norm;
pub(crate) mod part;
pub(crate) mod reduce;
pub(crate) mod rows;
pub(crate) mod scan;
pub(crate) mod slice;
pub(crate) mod softmax;
pub(crate) mod solve;
pub(crate) mod statistics;
pub(crate) mod term;
pub(crate) mod unary;
pub(crate) mod view;

use crate::kernels::{Machine, Out, Value};
use crate::layouts::Layouts;
use crate::scalar::Scalar;
use crate::shape::{Dims, Layout, broadcast};

use attention::Attend;
use binary::Binary;
use concat::Concat;
use convolve::Convolve;
use custom::Custom;
use deviation::{Deviation, DeviationGrad};
use extremes::Share;
use fused::Fused;
use index::{Take, Untake};
use leaf::Leaf;
use linalg::Linalg;
use matmul::Matmul;
use maxpool::MaxPool;
use norm::Norm;
use reduce::Reduce;
use scan::Scan;
use slice::{Slice, Unslice};
use softmax::{Softmax, SoftmaxGrad};
use unary::{Unary, UnaryGrad};
use view::View;

/// The index of a tensor: an entry of the list or, marked by the high bits, a
/// tensor of the sweep under way: the adjoint of an entry, or a temporary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id(u32);

/// What an [`Id`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Entry(usize),
    Adjoint(usize),
    Temporary(usize),
}

impl Id {
    const ADJOINT: u32 = 1 << 30;
    const TEMPORARY: u32 = 1 << 31;

    #[inline(always)]
    pub(crate) fn entry(index: usize) -> Self {
        assert!(index < Self::ADJOINT as usize, "a tape holds fewer than 2^30 entries");
        Id(index as u32)
    }

    #[inline(always)]
    pub(crate) fn adjoint(entry: usize) -> Self {
        Id(entry as u32 | Self::ADJOINT)
    }

    #[inline(always)]
    pub(crate) fn temporary(index: usize) -> Self {
        Id(index as u32 | Self::TEMPORARY)
    }

    /// The same id, of which the compiler can see that it names an entry.
    #[inline(always)]
    pub(crate) fn known_entry(self) -> Self {
        Id(self.index() as u32)
    }

    /// The position in the list it belongs to.
    #[inline(always)]
    pub(crate) fn index(self) -> usize {
        (self.0 & !(Self::TEMPORARY | Self::ADJOINT)) as usize
    }

    #[inline(always)]
    pub(crate) fn place(self) -> Place {
        let index = self.index();
        // Bit by bit, so that it folds away where the id has just been made.
        if self.0 & Self::ADJOINT != 0 {
            Place::Adjoint(index)
        } else if self.0 & Self::TEMPORARY != 0 {
            Place::Temporary(index)
        } else {
            Place::Entry(index)
        }
    }
}

/// A list which an op refers to. It lies in the arena of the op's tape.
#[derive(Debug)]
pub(crate) struct List<T>(*const [T]);

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<T> {}

impl<T> List<T> {
    pub(crate) fn new(list: &[T]) -> Self {
        List(list)
    }

    /// The list.
    ///
    /// # Safety
    /// The arena has not been reset since the list was made: true of every op
    /// on the list of a tape, and of what a rule emits while it runs.
    pub(crate) unsafe fn get<'a>(self) -> &'a [T] {
        // SAFETY: the caller's.
        unsafe { &*self.0 }
    }
}

/// What an op refers to. It lies in the arena of the op's tape.
#[derive(Debug)]
pub(crate) struct Ref<T>(*const T);

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Ref<T> {}

impl<T> Ref<T> {
    pub(crate) fn new(value: &T) -> Self {
        Ref(value)
    }

    /// # Safety
    /// As [`List::get`].
    pub(crate) unsafe fn get<'a>(self) -> &'a T {
        // SAFETY: the caller's.
        unsafe { &*self.0 }
    }
}

/// One operation on operands named by index: plain data.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Leaf(Leaf),
    Unary(Unary),
    UnaryGrad(UnaryGrad),
    Binary(Binary),
    Share(Share),
    View(View),
    Reduce(Reduce),
    Matmul(Matmul),
    Softmax(Softmax),
    SoftmaxGrad(SoftmaxGrad),
    Attend(Attend),
    Norm(Norm),
    Deviation(Deviation),
    DeviationGrad(DeviationGrad),
    Convolve(Convolve),
    MaxPool(MaxPool),
    Slice(Slice),
    Unslice(Unslice),
    Concat(Concat),
    Take(Take),
    Untake(Untake),
    Scan(Scan),
    Linalg(Linalg),
    Custom(Custom),
    Fused(Fused),
}

/// Where an op finds its operands.
pub(crate) trait Values<T> {
    fn value(&self, id: Id) -> Value<'_, T>;
    /// Where the layouts of results come from.
    fn layouts(&self) -> &Layouts;
}

/// The result of an op before it has run.
pub(crate) enum Inferred<'a> {
    /// Fresh memory of this layout, which is contiguous.
    Fresh(&'a Layout<'a>),
    /// The memory of `of`, from the element `offset` on.
    View { of: Id, offset: isize, layout: &'a Layout<'a> },
}

impl<'a> Inferred<'a> {
    /// Fresh memory of this shape.
    #[track_caller]
    #[inline]
    fn fresh<T>(v: &'a impl Values<T>, dims: &[usize]) -> Self {
        Inferred::Fresh(v.layouts().contiguous(dims))
    }
}

/// What the derivative rule of an elementwise op emits, and what it may ask.
///
/// In a plain sweep an emitted op runs at once, into a temporary (`op`) or
/// straight into the adjoint of an operand (`give`). In a recorded one it is
/// appended to the tape.
pub(crate) trait Emit {
    /// Whether anybody needs the adjoint of `x`.
    fn wants(&self, x: Id) -> bool;
    /// The result of an op.
    fn op(&mut self, op: Op) -> Id;
    /// Adds the result of an op to the adjoint of `x`. Axes along which `x`
    /// was broadcast are summed away.
    fn give(&mut self, x: Id, op: Op);
    /// [`Emit::give`] of an op which can add, and whose result is known to have
    /// the shape of `x`.
    #[inline(always)]
    fn give_alike(&mut self, x: Id, op: Op) {
        self.give(x, op);
    }

    /// [`Emit::give_alike`] of a function of the cotangent, which is not used
    /// again.
    #[inline(always)]
    fn give_last(&mut self, x: Id, op: Unary) {
        self.give(x, Op::Unary(op));
    }

    /// [`Emit::give_alike`] of the cotangent through a function, after which it
    /// is not used again.
    #[inline(always)]
    fn give_last_through(&mut self, x: Id, op: UnaryGrad) {
        self.give_alike(x, Op::UnaryGrad(op));
    }

    /// Gives `g b` to `a` and `g a` to `b` at once, if there is a way; says
    /// whether it did.
    #[inline(always)]
    fn give_product(&mut self, _: [Id; 2], _: Id) -> bool {
        false
    }

    fn mul(&mut self, a: Id, b: Id) -> Id {
        self.op(binary::mul(a, b))
    }

    fn scale(&mut self, a: Id, by: f64) -> Id {
        self.op(unary::scale(a, by))
    }
}

/// What the other rules need beside.
pub(crate) trait Interpreter: Emit {
    /// Calls the user's derivative of an op of theirs.
    fn custom(&mut self, op: Custom, y: Id, g: Id);
    /// Runs the derivative of a fused op.
    fn fused(&mut self, op: Fused, g: Id);
    /// Runs the derivative of attention, as that of [`norm`](Interpreter::norm).
    fn attend(&mut self, op: Attend, g: Id);
    /// Runs the derivative of a normalisation, to all inputs at once or recorded
    /// one by one.
    fn norm(&mut self, op: Norm, g: Id);
    /// The shape of `x`.
    fn dims(&self, x: Id) -> List<usize>;
}

macro_rules! families {
    ($op:expr, $f:ident => $body:expr) => {
        match $op {
            Op::Leaf($f) => $body,
            Op::Unary($f) => $body,
            Op::UnaryGrad($f) => $body,
            Op::Binary($f) => $body,
            Op::Share($f) => $body,
            Op::View($f) => $body,
            Op::Reduce($f) => $body,
            Op::Matmul($f) => $body,
            Op::Softmax($f) => $body,
            Op::SoftmaxGrad($f) => $body,
            Op::Attend($f) => $body,
            Op::Norm($f) => $body,
            Op::Deviation($f) => $body,
            Op::DeviationGrad($f) => $body,
            Op::Convolve($f) => $body,
            Op::MaxPool($f) => $body,
            Op::Slice($f) => $body,
            Op::Unslice($f) => $body,
            Op::Concat($f) => $body,
            Op::Take($f) => $body,
            Op::Untake($f) => $body,
            Op::Scan($f) => $body,
            Op::Linalg($f) => $body,
            Op::Custom($f) => $body,
            Op::Fused($f) => $body,
        }
    };
}

impl Op {
    /// Its name, as messages and dumps write it.
    pub(crate) fn name(&self) -> &'static str {
        families!(self, f => f.name())
    }

    /// Calls `f` with every operand, in order.
    #[inline(always)]
    pub(crate) fn operands(&self, mut f: impl FnMut(Id)) {
        families!(self, op => IntoIterator::into_iter(op.operands()).for_each(&mut f))
    }

    /// The layout of the result.
    ///
    /// # Panics
    /// If the operands' shapes do not fit.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        families!(self, f => f.infer(v))
    }

    /// Computes the result.
    ///
    /// # Safety
    /// `out` has the shape which `infer` gave, and the contract of
    /// [`crate::kernels`].
    #[inline(always)]
    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        // SAFETY: the caller's.
        families!(self, f => unsafe { f.run(v, out, m) })
    }

    /// Whether [`Op::run`] can add to its output.
    #[inline(always)]
    pub(crate) fn accumulates(&self) -> bool {
        match self {
            Op::Unary(_) | Op::UnaryGrad(_) | Op::Binary(_) | Op::Share(_) => true,
            Op::View(_) | Op::Matmul(_) | Op::Attend(_) | Op::Slice(_) | Op::Unslice(_) => true,
            Op::Concat(_) | Op::Untake(_) | Op::MaxPool(_) | Op::Fused(_) | Op::DeviationGrad(_) => true,
            Op::Reduce(f) => f.accumulates(),
            Op::Convolve(f) => f.accumulates(),
            Op::Leaf(_)
            | Op::Softmax(_)
            | Op::SoftmaxGrad(_)
            | Op::Norm(_)
            | Op::Deviation(_)
            | Op::Take(_)
            | Op::Scan(_)
            | Op::Linalg(_)
            | Op::Custom(_) => false,
        }
    }

    /// Whether each row (along the first of so many axes) of the result depends
    /// on the same rows of the operands alone.
    pub(crate) fn is_by_rows(&self, rank: usize) -> bool {
        match self {
            Op::Unary(_) | Op::Binary(_) | Op::Fused(_) => true,
            Op::Norm(f) => f.is_by_rows(rank),
            _ => false,
        }
    }

    /// [`Op::rule`] of an op by rows, for an interpreter which meets no other
    /// and need not be compiled for all.
    pub(crate) fn rule_by_rows<E: Interpreter>(self, e: &mut E, y: Id, g: Id) {
        match self {
            Op::Unary(f) => f.rule(e, y, g),
            Op::Binary(f) => f.rule(e, y, g),
            Op::Fused(f) => f.rule(e, y, g),
            Op::Norm(f) => f.rule(e, y, g),
            other => unreachable!("{} is not by rows", other.name()),
        }
    }

    /// Emits the contributions of the adjoint `g` of the result `y` to the
    /// adjoints of the operands.
    #[inline(always)]
    pub(crate) fn rule<E: Interpreter>(self, e: &mut E, y: Id, g: Id) {
        families!(self, f => f.rule(e, y, g))
    }
}

/// The layout of an elementwise op: the operands' shapes, broadcast.
#[track_caller]
#[inline(always)]
pub(crate) fn elementwise<'a, T: Scalar, const N: usize>(
    v: &'a impl Values<T>,
    name: &str,
    operands: [Id; N],
) -> Inferred<'a> {
    let values = operands.map(|x| v.value(x));
    let first = values[0].layout;
    if first.contiguous && values.iter().all(|v| std::ptr::eq(v.layout, first)) {
        return Inferred::Fresh(first);
    }
    broadcasting(v.layouts(), name, &values)
}

/// [`elementwise`], of any number of operands.
#[track_caller]
#[inline(never)]
fn broadcasting<'a, T: Scalar>(layouts: &'a Layouts, name: &str, values: &[Value<'a, T>]) -> Inferred<'a> {
    // Mostly one operand has the shape of the result.
    let mut widest = values[0].layout;
    for v in &values[1..] {
        if (v.layout.rank(), v.layout.len) > (widest.rank(), widest.len) {
            widest = v.layout;
        }
    }
    let stretches = |dims: &[usize]| {
        let to = &widest.dims[widest.rank() - dims.len()..];
        dims.iter().zip(to).all(|(&from, &to)| from == to || from == 1)
    };
    if widest.contiguous && values.iter().all(|v| stretches(v.layout.dims)) {
        return Inferred::Fresh(widest);
    }
    let mut dims = Dims::from_slice(values[0].layout.dims);
    for v in &values[1..] {
        if v.layout.dims != dims.as_slice() {
            dims = broadcast(name, &dims, v.layout.dims);
        }
    }
    Inferred::Fresh(layouts.contiguous(&dims))
}
