//! Losses which are a function of the difference from a target, folded in one
//! pass: no tensor of differences is made.

use super::functions::rows;
use super::losses::Reduction;
use super::rows::Row;
use super::unary::{self, Curvature, Function, UnaryGrad, divide, neg};
use super::{Emit, Id, Inferred, Interpreter, Op, Values, binary, elementwise, reduce, view};
use crate::kernels::map::map;
use crate::kernels::reduce::sum_of;
use crate::kernels::{Machine, Out, with_runs};
use crate::scalar::Scalar;
use crate::shape::Axes;
use crate::tensor::{Operand, Tensor};
use Function::{Abs, Huber, Square};

/// `Σ f(x - t)` over all elements, or their mean; `p` is the constant of `f`,
/// which is even.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deviation {
    x: Id,
    t: Id,
    f: Function,
    mean: bool,
    p: f64,
}

/// The cotangent `g` of a [`Deviation`] taken to `x`: `g f'(x - t)`, over the
/// number of elements if it is their mean. To `t` it goes with both exchanged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeviationGrad {
    g: Id,
    x: Id,
    t: Id,
    f: Function,
    mean: bool,
    p: f64,
}

impl Deviation {
    pub(crate) fn name(&self) -> &'static str {
        match self.f {
            Square => "mse_loss",
            Abs => "l1_loss",
            _ => "huber_loss",
        }
    }

    pub(crate) fn operands(&self) -> [Id; 2] {
        [self.x, self.t]
    }

    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        Inferred::fresh(v, &[])
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        let operands = self.operands().map(|x| v.value(x));
        let (n, p) = (operands[0].layout.len, T::from_f64(self.p));
        // SAFETY: the caller's contract; both have `n` elements.
        unsafe {
            with_runs(m, operands, 0, |runs, _| {
                let sum = match self.f {
                    Square => sum_of(m.isa, runs, n, |[x, t]: [T; 2]| rows::Square::value(x - t, p)),
                    Abs => sum_of(m.isa, runs, n, |[x, t]: [T; 2]| rows::Abs::value(x - t, p)),
                    _ => sum_of(m.isa, runs, n, |[x, t]: [T; 2]| rows::Huber::value(x - t, p)),
                };
                out.data.write(if self.mean { sum / T::from_f64(n as f64) } else { sum });
            });
        }
    }

    pub(crate) fn rule<E: Emit>(self, e: &mut E, _: Id, g: Id) {
        let Deviation { x, t, f, mean, p } = self;
        e.give_alike(x, Op::DeviationGrad(DeviationGrad { g, x, t, f, mean, p }));
        e.give_alike(t, Op::DeviationGrad(DeviationGrad { g, x: t, t: x, f, mean, p }));
    }
}

impl DeviationGrad {
    pub(crate) fn name(&self) -> &'static str {
        match self.f {
            Square => "mse_loss_grad",
            Abs => "l1_loss_grad",
            _ => "huber_loss_grad",
        }
    }

    pub(crate) fn operands(&self) -> [Id; 3] {
        [self.g, self.x, self.t]
    }

    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        elementwise(v, self.name(), [self.x])
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        // SAFETY: the cotangent has one element.
        let mut g = unsafe { *v.value(self.g).data };
        if self.mean {
            g = g / T::from_f64(out.len as f64);
        }
        let (operands, p) = ([self.x, self.t].map(|x| v.value(x)), T::from_f64(self.p));
        // SAFETY: the caller's contract.
        unsafe {
            match self.f {
                Square => map(m.isa, operands, out, |[x, t]: [T; 2]| rows::Square::through(g, x - t, p)),
                Abs => map(m.isa, operands, out, |[x, t]: [T; 2]| rows::Abs::through(g, x - t, p)),
                _ => map(m.isa, operands, out, |[x, t]: [T; 2]| rows::Huber::through(g, x - t, p)),
            }
        }
    }

    /// The adjoint `c` of `g f'(d)`, `d = x - t`: `Σ c f'(d)` to `g`, `c g f''(d)`
    /// to `x` and its negative to `t`.
    pub(crate) fn rule<E: Interpreter>(self, e: &mut E, _: Id, c: Id) {
        let DeviationGrad { g, x, t, f, mean, p } = self;
        let dims = e.dims(x);
        // SAFETY: the shape of an operand of an op under differentiation.
        let shape = unsafe { dims.get() };
        let all = (..).mask(self.name(), shape.len());
        let d = e.op(binary::op(binary::Function::Sub, x, t));
        if e.wants(g) {
            let through = e.op(Op::UnaryGrad(UnaryGrad { f, g: c, t: d, p }));
            e.give(g, if mean { reduce::mean(through, all, false) } else { reduce::sum(through, all, false) });
        }
        if !(e.wants(x) || e.wants(t)) {
            return;
        }
        let curvature = f.curvature(e, d, p);
        if let Curvature::Constant(0.0) = curvature {
            return;
        }
        let share = if mean { e.op(divide(g, shape.iter().product::<usize>() as f64)) } else { g };
        let share = e.op(view::unreduce(share, all, dims));
        let cg = e.mul(c, share);
        let to_x = match curvature {
            Curvature::Constant(k) => e.scale(cg, k),
            Curvature::Tensor(k) => e.mul(cg, k),
        };
        e.give(x, view::same(to_x));
        e.give(t, neg(to_x));
    }
}

/// Losses which are a function of the difference from a target.
impl<'t, T: Scalar> Tensor<'t, T> {
    /// `f` of the differences, reduced.
    #[track_caller]
    fn of_difference(self, target: Self, f: Function, p: T, reduction: Reduction) -> Self {
        let (x, t, p) = (self.id(), target.id(), p.to_f64());
        let folded = |mean| Op::Deviation(Deviation { x, t, f, mean, p });
        match reduction {
            Reduction::Mean => self.record(folded(true)),
            Reduction::Sum => self.record(folded(false)),
            Reduction::BatchMean => self.record(folded(false)) / self.batch(),
            Reduction::None => {
                let d = self - target;
                self.record(unary::with(f, d.id(), p))
            }
        }
    }

    /// The mean squared error, `mean((x - target)²)`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1.0, 3.0]).mse_loss(tape.tensor([0.0, 0.0])).item(), 5.0);
    /// ```
    ///
    /// # Panics
    /// If the shapes differ: broadcasting a target is nearly always a mistake.
    #[track_caller]
    pub fn mse_loss(self, target: impl Operand<'t, T>) -> Self {
        self.mse_loss_with(target, Reduction::Mean)
    }

    /// [`Tensor::mse_loss`] with a choice of reduction: `(x - target)²`.
    ///
    /// # Panics
    /// If the shapes differ.
    #[track_caller]
    pub fn mse_loss_with(self, target: impl Operand<'t, T>, reduction: Reduction) -> Self {
        let target = self.target("mse_loss", target);
        self.of_difference(target, Square, T::ZERO, reduction)
    }

    /// `|x - target|`; derivative 0 where they are equal.
    ///
    /// # Panics
    /// If the shapes differ.
    #[track_caller]
    pub fn l1_loss(self, target: impl Operand<'t, T>, reduction: Reduction) -> Self {
        let target = self.target("l1_loss", target);
        self.of_difference(target, Abs, T::ZERO, reduction)
    }

    /// `d² / 2` where `|d| <= delta`, `delta (|d| - delta / 2)` beyond, of
    /// `d = x - target` (Huber, Ann. Math. Stat. 35, 1964).
    ///
    /// # Panics
    /// If the shapes differ or `delta` is not positive.
    #[track_caller]
    pub fn huber_loss(self, target: impl Operand<'t, T>, delta: T, reduction: Reduction) -> Self {
        assert!(delta > T::ZERO, "huber_loss: delta is {delta}");
        let target = self.target("huber_loss", target);
        self.of_difference(target, Huber, delta, reduction)
    }

    /// `d² / (2 beta)` where `|d| < beta`, `|d| - beta / 2` beyond, of
    /// `d = x - target`; `|d|` if beta is 0.
    ///
    /// # Panics
    /// If the shapes differ or `beta` is negative.
    #[track_caller]
    pub fn smooth_l1_loss(self, target: impl Operand<'t, T>, beta: T, reduction: Reduction) -> Self {
        assert!(beta >= T::ZERO, "smooth_l1_loss: beta is {beta}");
        if beta == T::ZERO {
            return self.l1_loss(target, reduction);
        }
        let target = self.target("smooth_l1_loss", target);
        self.of_difference(target, Huber, beta, reduction) / beta
    }
}
