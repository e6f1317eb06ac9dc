//! Normalisation over the last axes, with what it is scaled and shifted by.

use super::{Emit, Id, Inferred, Interpreter, Op, Ref, Values, binary, elementwise, reduce, unary, view};
use crate::kernels::fold::Sum;
use crate::kernels::norm::{self as kernel, Rows, Targets};
use crate::kernels::reduce::begin;
use crate::kernels::{Machine, Out, Value, with_runs};
use crate::scalar::Scalar;
use crate::shape::Layout;
use crate::tensor::Tensor;

/// With `m` the mean over the last axes (0 if not centred), `r = 1 /
/// √(mean((x - m)²) + eps)` and `z = r (x - m)`:
#[derive(Clone, Copy, Debug)]
pub(crate) enum Norm {
    /// `z w + b`, or `z` alone if `bare`.
    Forward { x: Id, bare: bool, how: Ref<How> },
    /// The cotangent `g` of `z w` taken to `x`.
    ToInput { g: Id, x: Id, w: Option<Id>, how: Ref<How> },
    /// The cotangent `g` of `z w` taken to `w`.
    ToWeight { g: Id, x: Id, how: Ref<How> },
}

/// What all of them share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    w: Option<Id>,
    b: Option<Id>,
    /// So many of the last axes.
    axes: usize,
    centred: bool,
    eps: f64,
}

use Norm::*;

impl Norm {
    fn kept(&self) -> Ref<How> {
        let (Forward { how, .. } | ToInput { how, .. } | ToWeight { how, .. }) = *self;
        how
    }

    fn how(&self) -> &How {
        // SAFETY: what an op of this tape refers to.
        unsafe { self.kept().get() }
    }

    fn x(&self) -> Id {
        let (Forward { x, .. } | ToInput { x, .. } | ToWeight { x, .. }) = *self;
        x
    }

    /// Weight and bias.
    fn affine(&self) -> [Option<Id>; 2] {
        match *self {
            Forward { bare: false, .. } => [self.how().w, self.how().b],
            Forward { .. } | ToWeight { .. } => [None; 2],
            ToInput { w, .. } => [w, None],
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match (self, self.how().centred) {
            (Forward { .. }, true) => "layer_norm",
            (Forward { .. }, false) => "rms_norm",
            (ToInput { .. }, true) => "layer_norm_grad",
            (ToInput { .. }, false) => "rms_norm_grad",
            (ToWeight { .. }, true) => "layer_norm_weight_grad",
            (ToWeight { .. }, false) => "rms_norm_weight_grad",
        }
    }

    pub(crate) fn operands(&self) -> impl Iterator<Item = Id> + use<> {
        let g = match *self {
            Forward { .. } => None,
            ToInput { g, .. } | ToWeight { g, .. } => Some(g),
        };
        [g].into_iter().chain(self.inputs()).flatten()
    }

    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        let x = self.x();
        match self {
            Forward { .. } | ToInput { .. } => elementwise(v, self.name(), [x]),
            ToWeight { .. } => Inferred::fresh(v, last(v.value(x).layout.dims, self.how().axes)),
        }
    }

    /// [`Op::is_by_rows`]
    pub(crate) fn is_by_rows(&self, rank: usize) -> bool {
        matches!(self, Forward { .. }) && self.how().axes < rank
    }

    /// What is normalised, if `x` has no gaps.
    fn rows<T: Scalar>(&self, x: Value<'_, T>) -> Rows<T> {
        let How { axes, centred, eps, .. } = *self.how();
        let len: usize = last(x.layout.dims, axes).iter().product();
        let rows = x.layout.len.checked_div(len).unwrap_or(0);
        Rows { x: x.data, rows, len, centred, eps: T::from_f64(eps) }
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        // SAFETY: the caller's contract; rows, weights and biases without gaps.
        unsafe {
            match *self {
                Forward { x, .. } => {
                    let (x, [w, b]) = (v.value(x), self.affine().map(|x| value_or_null(v, x)));
                    let rows = self.rows(x);
                    with_runs(m, [x, w, b], 0, |[x, w, b], _| {
                        kernel::normalize(m.isa, Rows { x, ..rows }, w, b, out.data);
                    });
                }
                ToInput { g, .. } => self.backward(v, v.value(g), [Some(out), None, None], m),
                ToWeight { g, .. } => self.backward(v, v.value(g), [None, Some(out), None], m),
            }
        }
    }

    /// The contributions of the cotangent `g` of `z w + b` to those of `x`, `w`
    /// and `b` which have an output.
    ///
    /// # Safety
    /// The contract of [`crate::kernels`]; outputs may be the same memory if
    /// all but the first add.
    pub(crate) unsafe fn backward<T: Scalar>(
        &self,
        v: &impl Values<T>,
        g: Value<'_, T>,
        to: [Option<Out<'_, T>>; 3],
        m: &Machine<T>,
    ) {
        let (x, w) = (v.value(self.x()), value_or_null(v, self.affine()[0]));
        let rows = self.rows(x);
        let add = to[0].is_some_and(|out| out.add);
        // SAFETY: the caller's contract.
        to[1..].iter().flatten().for_each(|out| unsafe { begin::<T, Sum>(out) });
        let [to_x, to_w, to_b] = to.map(|out| out.map_or(std::ptr::null_mut(), |out| out.data));
        let to = Targets { x: to_x, add, w: to_w, b: to_b };
        // SAFETY: the caller's contract; rows and weights without gaps, and
        // two rows of scratch.
        cotangents(g, self.how().axes, |g, step| unsafe {
            with_runs(m, [g, x, w], 2 * rows.len, |[g, x, w], sums| {
                kernel::backward(m.isa, Rows { x, ..rows }, g, step, w, to, sums.as_mut_ptr().cast());
            });
        });
    }

    pub(crate) fn rule<E: Interpreter>(self, e: &mut E, y: Id, g: Id) {
        match self {
            Forward { .. } => e.norm(self, g),
            ToInput { g: u, x, w, how } => self.rule_of_input(e, y, g, (u, x, w), how),
            ToWeight { g: u, x, how } => {
                if e.wants(u) {
                    let z = e.op(Op::Norm(Forward { x, bare: true, how }));
                    e.give(u, binary::mul(g, z));
                }
                e.give(x, Op::Norm(ToInput { g: u, x, w: Some(g), how }));
            }
        }
    }

    /// `x`, the weight and the bias.
    pub(crate) fn inputs(&self) -> [Option<Id>; 3] {
        let [w, b] = self.affine();
        [Some(self.x()), w, b]
    }

    /// The rule of [`Forward`], an op for each input.
    pub(crate) fn one_by_one(self, e: &mut impl Emit, g: Id) {
        let ([w, b], x, how) = (self.affine(), self.x(), self.kept());
        e.give(x, Op::Norm(ToInput { g, x, w, how }));
        if let Some(w) = w {
            e.give(w, Op::Norm(ToWeight { g, x, how }));
        }
        if let Some(b) = b {
            e.give(b, view::same(g));
        }
    }

    /// The cotangent `c` of `y = P u`, with `u = g w` and `P u = r (u -
    /// mean(u) - z mean(u z))`, which is symmetric: to `u` goes `P c`. To `x`,
    /// as `r` has the derivative `-r² z / n` and `k·z` has `P k`:
    ///
    /// ```text
    /// - r² z (mean(c u) - mean(c) mean(u) - a b) - r (b y + a P c),   a = mean(u z), b = mean(c z)
    /// ```
    fn rule_of_input<E: Interpreter>(self, e: &mut E, y: Id, c: Id, (g, x, w): (Id, Id, Option<Id>), how: Ref<How>) {
        let pc = e.op(Op::Norm(ToInput { g: c, x, w: None, how }));
        let weighted = |x| w.map_or(view::same(x), |w| binary::mul(x, w));
        e.give(g, weighted(pc));
        if let Some(w) = w {
            e.give(w, binary::mul(g, pc));
        }
        if !e.wants(x) {
            return;
        }
        let How { axes, centred, eps, .. } = *self.how();
        // SAFETY: the shape of an operand of an op under differentiation.
        let rank = unsafe { e.dims(x).get() }.len();
        let mask = (rank - axes..rank).fold(0, |mask, axis| mask | 1 << axis);
        let mean = |e: &mut E, x| e.op(reduce::mean(x, mask, true));
        let mean_of = |e: &mut E, x, y| {
            let product = e.mul(x, y);
            mean(e, product)
        };
        let sub = |e: &mut E, x, y| e.op(binary::op(binary::Function::Sub, x, y));
        let u = match w {
            Some(w) => e.mul(g, w),
            None => g,
        };
        let z = e.op(Op::Norm(Forward { x, bare: true, how }));
        let (a, b) = (mean_of(e, u, z), mean_of(e, c, z));
        let ab = e.mul(a, b);
        let mut s = mean_of(e, c, u);
        s = sub(e, s, ab);
        let mut d = x;
        if centred {
            let (mean_c, mean_u) = (mean(e, c), mean(e, u));
            let product = e.mul(mean_c, mean_u);
            s = sub(e, s, product);
            let m = mean(e, x);
            d = sub(e, x, m);
        }
        let square = mean_of(e, d, d);
        let square = e.op(unary::add_scalar(square, eps));
        let r = e.op(unary::rsqrt(square));
        let s = e.op(binary::div(s, square));
        e.give(x, binary::op(binary::Function::NegMul, s, z));
        let (by, ac) = (e.mul(b, y), e.mul(a, pc));
        let sum = e.op(binary::add(by, ac));
        e.give(x, binary::op(binary::Function::NegMul, r, sum));
    }
}

/// A value, or what stands for none.
fn value_or_null<'a, T>(v: &'a impl Values<T>, x: Option<Id>) -> Value<'a, T> {
    x.map_or(Value::none(), |x| v.value(x))
}

/// The last `axes` of a list.
fn last<X>(list: &[X], axes: usize) -> &[X] {
    &list[list.len() - axes..]
}

/// Calls `f` with the rows of a cotangent and their distance: with one row and
/// 0 where all are the same memory.
fn cotangents<T: Scalar>(g: Value<'_, T>, axes: usize, f: impl FnOnce(Value<'_, T>, usize)) {
    let Layout { dims, strides, .. } = *g.layout;
    let (row, over) = (last(dims, axes), last(strides, axes));
    let len = row.iter().product();
    let lead = dims.iter().zip(strides).take(dims.len() - axes);
    // Nothing may be read of a cotangent without elements, not even one row.
    if g.layout.len == 0 || lead.clone().any(|(&dim, &step)| dim > 1 && step != 0) {
        return f(g, len);
    }
    let layout = Layout { dims: row, strides: over, len, contiguous: crate::shape::is_contiguous(row, over) };
    f(Value { data: g.data, layout: &layout }, 0);
}

impl<'t, T: Scalar> Tensor<'t, T> {
    /// Normalised over the last `axes` axes, whose shape `w` and `b` have.
    #[track_caller]
    pub(super) fn normalized(self, axes: usize, centred: bool, eps: T, w: Option<Self>, b: Option<Self>) -> Self {
        let id = |x: Option<Self>| x.map(|x| self.operand(x).id());
        let how = How { w: id(w), b: id(b), axes, centred, eps: eps.to_f64() };
        let how = Ref::new(self.tape().arena().store(how));
        self.record(Op::Norm(Forward { x: self.id(), bare: false, how }))
    }
}
