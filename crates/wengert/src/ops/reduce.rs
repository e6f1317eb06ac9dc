//! Reductions over any set of axes.

use super::{Id, Inferred, Interpreter, Op, Values, binary, unary, view};
use crate::kernels::fold::{Max, Min, Sum};
use crate::kernels::reduce::reduce;
use crate::kernels::softmax::log_sum_exp;
use crate::kernels::{Machine, Out};
use crate::scalar::Scalar;
use crate::shape::{self, Axes};
use crate::tensor::Tensor;

/// `f` over the axes of `mask`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reduce {
    f: Function,
    x: Id,
    keepdim: bool,
    mask: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Sum,
    Mean,
    Amax,
    Amin,
    LogSumExp,
}

pub(crate) fn sum(x: Id, mask: u64, keepdim: bool) -> Op {
    Op::Reduce(Reduce { f: Function::Sum, x, keepdim, mask })
}

pub(crate) fn mean(x: Id, mask: u64, keepdim: bool) -> Op {
    Op::Reduce(Reduce { f: Function::Mean, x, keepdim, mask })
}

impl Reduce {
    pub(crate) fn name(&self) -> &'static str {
        match self.f {
            Function::Sum => "sum",
            Function::Mean => "mean",
            Function::Amax => "amax",
            Function::Amin => "amin",
            Function::LogSumExp => "logsumexp",
        }
    }

    pub(crate) fn operands(&self) -> [Id; 1] {
        [self.x]
    }

    pub(crate) fn accumulates(&self) -> bool {
        self.f == Function::Sum
    }

    #[track_caller]
    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        let dims = v.value(self.x).layout.dims;
        if matches!(self.f, Function::Amax | Function::Amin) {
            let some = shape::reduced_count(dims, self.mask) > 0;
            assert!(some, "{}: nothing to choose from in {dims:?}", self.name());
        }
        Inferred::fresh(v, &shape::reduced(dims, self.mask, self.keepdim))
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        let x = v.value(self.x);
        // SAFETY: the caller's contract; in the second step of a mean the
        // output alone is read and written, element by element.
        unsafe {
            match self.f {
                Function::Sum => reduce::<T, Sum>(m.isa, x, self.mask, out),
                Function::Mean => {
                    reduce::<T, Sum>(m.isa, x, self.mask, out);
                    let n = T::from_f64(shape::reduced_count(x.layout.dims, self.mask) as f64);
                    (0..out.len).for_each(|i| *out.data.add(i) = *out.data.add(i) / n);
                }
                Function::Amax => reduce::<T, Max>(m.isa, x, self.mask, out),
                Function::Amin => reduce::<T, Min>(m.isa, x, self.mask, out),
                Function::LogSumExp => log_sum_exp(m, x, self.mask, out),
            }
        }
    }

    pub(crate) fn rule<E: Interpreter>(self, e: &mut E, y: Id, g: Id) {
        let Reduce { f, x, mask, .. } = self;
        if !e.wants(x) {
            return;
        }
        let dims = e.dims(x);
        let spread = |e: &mut E, id| e.op(view::unreduce(id, mask, dims));
        match f {
            Function::Sum => e.give(x, view::unreduce(g, mask, dims)),
            Function::Mean => {
                // SAFETY: the shape of an operand of an op under differentiation.
                let n = shape::reduced_count(unsafe { dims.get() }, mask);
                let share = e.op(unary::divide(g, n as f64));
                e.give(x, view::unreduce(share, mask, dims));
            }
            // Shared evenly among the elements which reach the extreme.
            Function::Amax | Function::Amin => {
                let y = spread(e, y);
                let hit = e.op(binary::op(binary::Function::Equal, x, y));
                let count = e.op(sum(hit, mask, true));
                let g = spread(e, g);
                let share = e.op(binary::div(g, count));
                e.give(x, binary::mul(hit, share));
            }
            Function::LogSumExp => {
                let y = spread(e, y);
                let softmax = e.op(binary::op(binary::Function::ExpSub, x, y));
                let g = spread(e, g);
                e.give(x, binary::mul(g, softmax));
            }
        }
    }
}

macro_rules! methods {
    ($($f:ident: $all:ident $axes:ident $keepdim:ident, $(#[$doc:meta])* ;)*) => {
        /// Reductions: over everything, over some axes (see [`Axes`]), and over
        /// some axes which stay with length 1.
        impl<'t, T: Scalar> Tensor<'t, T> {
            $($(#[$doc])*
            #[track_caller]
            pub fn $all(self) -> Self {
                self.$axes(..)
            }

            #[doc = concat!("[`Tensor::", stringify!($all), "`] over some axes, which are dropped.")]
            ///
            /// # Panics
            /// If an axis is out of range or named twice.
            #[track_caller]
            pub fn $axes(self, axes: impl Axes) -> Self {
                self.reduce(Function::$f, axes, false)
            }

            #[doc = concat!("[`Tensor::", stringify!($all), "`] over some axes, which stay with length 1.")]
            ///
            /// # Panics
            /// If an axis is out of range or named twice.
            #[track_caller]
            pub fn $keepdim(self, axes: impl Axes) -> Self {
                self.reduce(Function::$f, axes, true)
            })*

            #[track_caller]
            fn reduce(self, f: Function, axes: impl Axes, keepdim: bool) -> Self {
                let op = Reduce { f, x: self.id(), keepdim, mask: 0 };
                let mask = axes.mask(op.name(), self.rank());
                self.record(Op::Reduce(Reduce { mask, ..op }))
            }
        }
    };
}

methods! {
    Sum: sum sum_axes sum_keepdim,
    /// The sum; 0 over nothing.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([[1.0, 2.0], [3.0, 4.0]]);
    /// assert_eq!(x.sum().item(), 10.0);
    /// assert_eq!(x.sum_axes(0).to_vec(), [4.0, 6.0]);
    /// assert_eq!(x.sum_keepdim([1]).shape(), &[2, 1]);
    /// ```
    ;
    Mean: mean mean_axes mean_keepdim,
    /// The arithmetic mean; NaN over nothing.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([[1.0, 2.0], [3.0, 4.0]]).mean_axes(-1).to_vec(), [1.5, 3.5]);
    /// ```
    ;
    Amax: amax amax_axes amax_keepdim,
    /// The largest element. Elements which are tied share the cotangent
    /// evenly. NaN wins. Panics over nothing.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([2.0, 5.0, 5.0]).require_grad();
    /// let grads = x.amax().backward();
    /// assert_eq!(grads.get(x).unwrap().as_slice(), &[0.0, 0.5, 0.5]);
    /// ```
    ;
    Amin: amin amin_axes amin_keepdim,
    /// The smallest element; see [`Tensor::amax`].
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([[1.0, 2.0], [3.0, 0.0]]).amin_axes(0).to_vec(), [1.0, 0.0]);
    /// ```
    ;
    LogSumExp: logsumexp logsumexp_axes logsumexp_keepdim,
    /// `ln Σ e^x`, shifted by the largest element so that nothing overflows;
    /// negative infinity over nothing. Its derivative is the softmax (so NaN
    /// where all elements are negative infinity).
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1e4, 1e4]).logsumexp().item(), 1e4 + 2f32.ln());
    /// ```
    ;
}
