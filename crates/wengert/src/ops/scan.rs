//! Running sums and products along an axis.

use super::{Emit, Id, Inferred, Op, Values, binary, elementwise};
use crate::kernels::nest::Nest;
use crate::kernels::{Machine, Out, Value};
use crate::scalar::Scalar;
use crate::shape::{self, Dims, broadcast_strides, contiguous_strides};
use crate::tensor::Tensor;

/// What runs along an axis.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scan {
    /// `h[i] = b[i] + a[i] h[i-1]`, where `a[i]` stands on the edge between
    /// `i-1` and `i` (so `a[0]` is not read); reversed, `h[i] = b[i] +
    /// a[i+1] h[i+1]`. Either is the adjoint of the other in `b`.
    Linear { a: Id, b: Id, axis: u8, reverse: bool },
    /// `ln(e^x[0] + .. + e^x[i])`
    LogSumExp { x: Id, axis: u8 },
    /// `x[i-1]`, and `first` at 0; reversed, `x[i+1]` and `first` at the end.
    Shift { x: Id, axis: u8, reverse: bool, first: f32 },
}

use Scan::*;

fn op(scan: Scan) -> Op {
    Op::Scan(scan)
}

/// Calls `f` with the offsets of every line along an axis, in the operands.
fn lines<const N: usize>(dims: &[usize], axis: usize, strides: [&[isize]; N], mut f: impl FnMut([isize; N])) {
    let mut others = Dims::from_slice(dims);
    if std::mem::replace(&mut others[axis], 1) == 0 {
        return;
    }
    let nest = Nest::new(&others, strides);
    let (count, steps) = nest.inner();
    nest.for_each(|offsets| {
        (0..count as isize).for_each(|i| f(std::array::from_fn(|k| offsets[k] + i * steps[k])));
    });
}

/// Positions along an axis, forward or backward.
fn order(n: usize, reverse: bool) -> impl Iterator<Item = isize> {
    (0..n as isize).map(move |i| if reverse { n as isize - 1 - i } else { i })
}

/// `ln(e^a + e^b)`
fn log_add_exp<T: Scalar>(a: T, b: T) -> T {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    if a.is_nan() || b.is_nan() {
        return T::NAN;
    }
    if small == T::NEG_INFINITY || large == T::INFINITY {
        return large;
    }
    large + (small - large).exp().ln_1p()
}

impl Scan {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Linear { .. } => "scan",
            LogSumExp { .. } => "logcumsumexp",
            Shift { .. } => "shift",
        }
    }

    /// The operand which has the shape of the result, and the other one.
    pub(crate) fn operands(&self) -> impl Iterator<Item = Id> + use<> {
        let (x, other) = match *self {
            Linear { a, b, .. } => (b, Some(a)),
            LogSumExp { x, .. } | Shift { x, .. } => (x, None),
        };
        [Some(x), other].into_iter().flatten()
    }

    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        match *self {
            Linear { a, b, .. } => elementwise(v, self.name(), [b, a]),
            LogSumExp { x, .. } | Shift { x, .. } => elementwise(v, self.name(), [x]),
        }
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, _: &Machine<T>) {
        let to = contiguous_strides(out.dims);
        let spread = |x: Value<'_, T>| broadcast_strides(x.layout.dims, x.layout.strides, out.dims);
        match *self {
            Linear { a, b, axis, reverse } => {
                let (a, b, axis) = (v.value(a), v.value(b), usize::from(axis));
                let (over_a, over_b) = (spread(a), spread(b));
                let (step_a, step_b, step) = (over_a[axis], over_b[axis], to[axis]);
                lines(out.dims, axis, [&over_a, &over_b, &to], |[at_a, at_b, at]| {
                    // In f64, as sums of many: there is no tree which would give
                    // those of all beginnings.
                    let mut h = None::<f64>;
                    for i in order(out.dims[axis], reverse) {
                        // SAFETY: positions of the layouts; the edge is one
                        // further on when walking backward.
                        unsafe {
                            let b = *b.data.offset(at_b + i * step_b);
                            let edge = at_a + (i + isize::from(reverse)) * step_a;
                            let value = h.map_or(b.to_f64(), |h| b.to_f64() + (*a.data.offset(edge)).to_f64() * h);
                            h = Some(value);
                            out.data.offset(at + i * step).write(T::from_f64(value));
                        }
                    }
                });
            }
            LogSumExp { x, axis } => {
                let (x, axis) = (v.value(x), usize::from(axis));
                let (from, step) = (x.layout.strides, to[axis]);
                lines(out.dims, axis, [from, &to], |[at_x, at]| {
                    let mut h = T::NEG_INFINITY;
                    for i in order(out.dims[axis], false) {
                        // SAFETY: positions of both layouts.
                        unsafe {
                            h = log_add_exp(h, *x.data.offset(at_x + i * from[axis]));
                            out.data.offset(at + i * step).write(h);
                        }
                    }
                });
            }
            Shift { x, axis, reverse, first } => {
                let (x, axis) = (v.value(x), usize::from(axis));
                let (from, step) = (x.layout.strides, to[axis]);
                lines(out.dims, axis, [from, &to], |[at_x, at]| {
                    let mut last = T::from_f64(first.into());
                    for i in order(out.dims[axis], reverse) {
                        // SAFETY: positions of both layouts.
                        unsafe {
                            out.data.offset(at + i * step).write(last);
                            last = *x.data.offset(at_x + i * from[axis]);
                        }
                    }
                });
            }
        }
    }

    pub(crate) fn rule<E: Emit>(self, e: &mut E, y: Id, g: Id) {
        let shift = |x, axis, reverse| op(Shift { x, axis, reverse, first: 0.0 });
        match self {
            Linear { a, b, axis, reverse } => {
                let adjoint = e.op(op(Linear { a, b: g, axis, reverse: !reverse }));
                e.give(b, super::view::same(adjoint));
                if e.wants(a) {
                    // Over the edge before i: from i-1 to i, or from i to i-1.
                    let (from, to) = if reverse { (y, adjoint) } else { (adjoint, y) };
                    let before = e.op(shift(to, axis, false));
                    e.give(a, binary::mul(from, before));
                }
            }
            LogSumExp { x, axis } => {
                // The share of the sum before in the sum: no factor is above 1.
                let before = e.op(op(Shift { x: y, axis, reverse: false, first: f32::NEG_INFINITY }));
                let share = e.op(binary::op(binary::Function::Share, before, y));
                let adjoint = e.op(op(Linear { a: share, b: g, axis, reverse: true }));
                let own = e.op(binary::op(binary::Function::Share, x, y));
                e.give(x, binary::mul(adjoint, own));
            }
            Shift { x, axis, reverse, .. } => e.give(x, shift(g, axis, !reverse)),
        }
    }
}

/// Scans along an axis.
impl<'t, T: Scalar> Tensor<'t, T> {
    /// Running sums along an axis: `y[i] = x[0] + .. + x[i]`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1.0, 2.0, 3.0]).cumsum(0).to_vec(), [1.0, 3.0, 6.0]);
    /// ```
    ///
    /// # Panics
    /// If the axis is out of range.
    #[track_caller]
    pub fn cumsum(self, axis: isize) -> Self {
        let axis = shape::axis("cumsum", axis, self.rank()) as u8;
        let a = self.tape().scalar(T::ONE).id();
        self.record(op(Linear { a, b: self.id(), axis, reverse: false }))
    }

    /// Running products along an axis: `y[i] = x[0] .. x[i]`. Its derivatives
    /// are right where elements are 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([2.0, 0.0, 3.0]).require_grad();
    /// let y = x.cumprod(0);
    /// assert_eq!(y.to_vec(), [2.0, 0.0, 0.0]);
    /// assert_eq!(y.sum().backward().get(x).unwrap().as_slice(), &[1.0, 8.0, 0.0]);
    /// ```
    ///
    /// # Panics
    /// If the axis is out of range.
    #[track_caller]
    pub fn cumprod(self, axis: isize) -> Self {
        let axis = shape::axis("cumprod", axis, self.rank());
        if self.is_empty() {
            return self;
        }
        // h[0] = x[0], h[i] = x[i] h[i-1]: the additive part is the first element alone.
        let starts = Dims::from_elem(0, self.rank());
        let first = self.narrow(axis as isize, 0, 1);
        let b = first.part_of(self.shape(), &starts, &super::part::straight(self.rank()));
        self.record(op(Linear { a: self.id(), b: b.id(), axis: axis as u8, reverse: false }))
    }

    /// Running log-sum-exps along an axis: `y[i] = ln(e^x[0] + .. + e^x[i])`,
    /// without overflow; elements of -∞ count as nothing.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let y = tape.tensor([1e4, 1e4]).logcumsumexp(0).to_vec();
    /// assert_eq!(y, [1e4, 1e4 + 2f32.ln()]);
    /// ```
    ///
    /// # Panics
    /// If the axis is out of range.
    #[track_caller]
    pub fn logcumsumexp(self, axis: isize) -> Self {
        let axis = shape::axis("logcumsumexp", axis, self.rank()) as u8;
        self.record(op(LogSumExp { x: self.id(), axis }))
    }
}
