//! Normalisation over the last axes, with what it is scaled and shifted by.

use super::{Id, Inferred, Interpreter, Op, Ref, Values, binary, elementwise, reduce, unary, view};
use crate::kernels::norm::{self as kernel, Rows};
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
    fn how(&self) -> &How {
        let (Forward { how, .. } | ToInput { how, .. } | ToWeight { how, .. }) = self;
        // SAFETY: what an op of this tape refers to.
        unsafe { how.get() }
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
        let [w, b] = self.affine();
        [g, Some(self.x()), w, b].into_iter().flatten()
    }

    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        let x = self.x();
        match self {
            Forward { .. } | ToInput { .. } => elementwise(v, self.name(), [x]),
            ToWeight { .. } => Inferred::fresh(v, last(v.value(x).layout.dims, self.how().axes)),
        }
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        let How { axes, centred, eps, .. } = *self.how();
        let x = v.value(self.x());
        let len = last(x.layout.dims, axes).iter().product();
        if len == 0 {
            return;
        }
        let rows = Rows { x: x.data, rows: x.layout.len / len, len, centred, eps: T::from_f64(eps) };
        let or_null = |x: Option<Id>| x.map_or(Value::none(), |x| v.value(x));
        let [w, b] = self.affine().map(or_null);
        // SAFETY: the caller's contract; rows, weights and biases without gaps.
        unsafe {
            match *self {
                Forward { .. } => with_runs(m, [x, w, b], 0, |[x, w, b], _| {
                    kernel::normalize(m.isa, Rows { x, ..rows }, w, b, out.data);
                }),
                ToInput { g, .. } => cotangents(v.value(g), axes, |g, step| {
                    with_runs(m, [g, x, w], 0, |[g, x, w], _| {
                        kernel::to_input(m.isa, Rows { x, ..rows }, g, step, w, out.data);
                    });
                }),
                ToWeight { g, .. } => cotangents(v.value(g), axes, |g, step| {
                    with_runs(m, [g, x], 0, |[g, x], _| {
                        kernel::to_weight(m.isa, Rows { x, ..rows }, g, step, out.data);
                    });
                }),
            }
        }
    }

    pub(crate) fn rule<E: Interpreter>(self, e: &mut E, y: Id, g: Id) {
        match self {
            Forward { x, how, .. } => {
                let [w, b] = self.affine();
                e.give(x, Op::Norm(ToInput { g, x, w, how }));
                if let Some(w) = w {
                    e.give(w, Op::Norm(ToWeight { g, x, how }));
                }
                if let Some(b) = b {
                    e.give(b, view::same(g));
                }
            }
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
        let mask = ((1u64 << axes) - 1) << (rank - axes);
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
