//! Arithmetic, functions, views, parts, reductions, products, losses.

use wengert::{Scalar, Tensor};

use crate::table::*;

/// Element by element.
pub(crate) const ELEMENTWISE: &[Entry] = &[
    // Arithmetic with tensors, scalars, and itself.
    op!(&["add"], Two, All, |_, x| x[0] + x[1]),
    op!(&["sub"], Two, All, |_, x| x[0] - x[1]),
    op!(&["mul"], Two, All, |_, x| x[0] * x[1]),
    op!(&["div"], Two, NonZero, |_, x| x[0] / x[1]),
    op!(&["neg"], One, All, |_, x| -x[0]),
    op!(&["add", "mul"], One, All, |_, x| 2.0 + x[0] * 3.0 + 1.0),
    op!(&["sub", "div"], One, NonZero, |_, x| (1.0 - x[0]) / 3.0 - 2.0 + 5.0 / x[0]),
    op!(&["add"], One, All, |_, x| x[0] + x[0]),
    op!(&["sub"], One, All, |_, x| x[0] - x[0]),
    op!(&["mul"], One, All, |_, x| x[0] * x[0]),
    op!(&["div"], One, NonZero, |_, x| x[0] / x[0]),
    op!(&["mul"], Two, All, |_, x| x[0] * x[1] * x[0] + x[1]),
    op!(&["div"], Two, NonZero, |_, x| x[0] / x[1] / x[0]),
    op!(&["maximum"], Pair, Distinct, |_, x| x[0].maximum(x[1] + 0.3)),
    op!(&["minimum"], Pair, Distinct, |_, x| x[0].minimum(x[1] + 0.3)),
    op!(&["maximum", "minimum"], One, NonZero, |_, x| x[0].maximum(0.0).minimum(10.0) * x[0]),
    // Element by element.
    op!(&["exp"], One, All, |_, x| x[0].exp()),
    op!(&["ln"], One, Positive, |_, x| x[0].ln()),
    op!(&["sqrt"], One, Positive, |_, x| x[0].sqrt()),
    op!(&["square"], One, All, |_, x| x[0].square()),
    op!(&["recip"], One, NonZero, |_, x| x[0].recip()),
    op!(&["abs"], One, NonZero, |_, x| x[0].abs() * x[0]),
    op!(&["tanh"], One, All, |_, x| x[0].tanh()),
    op!(&["sigmoid"], One, All, |_, x| x[0].sigmoid()),
    op!(&["relu"], One, NonZero, |_, x| x[0].relu() * x[0]),
    op!(&["powf"], One, Positive, |_, x| x[0].powf(2.5) + x[0].powf(-0.5) + x[0].powf(0.0)),
    op!(&["powi"], One, NonZero, |_, x| x[0].powi(3) + x[0].powi(-2) + x[0].powi(1) + x[0].powi(2) + x[0].powi(0)),
    op!(&["tanh", "exp"], One, All, |_, x| (x[0].tanh().exp() * x[0].sigmoid()).square()),
    // Functions of one tensor, away from their kinks and the ends of their domains.
    op!(&["exp_m1"], One, All, |_, x| x[0].exp_m1()),
    op!(&["exp2"], One, All, |_, x| x[0].exp2()),
    op!(&["ln_1p"], One, Positive, |_, x| x[0].ln_1p()),
    op!(&["log2", "log10"], One, Positive, |_, x| x[0].log2() * x[0].log10()),
    op!(&["rsqrt"], One, Positive, |_, x| x[0].rsqrt()),
    op!(&["sign"], One, NonZero, |_, x| x[0].sign() * x[0].square()),
    op!(&["floor", "ceil", "round", "trunc"], One, NonZero, |_, x| {
        let y = x[0].detach() * 1e-3 + 0.3;
        (y.floor() + y.ceil() + y.round() + y.trunc()) * x[0].square()
    }),
    op!(&["sin"], One, All, |_, x| x[0].sin()),
    op!(&["cos"], One, All, |_, x| x[0].cos()),
    op!(&["tan"], One, All, |_, x| (x[0] * 0.5).tan()),
    op!(&["asin"], One, All, |_, x| (x[0] * 0.4).asin()),
    op!(&["acos"], One, All, |_, x| (x[0] * 0.4).acos()),
    op!(&["atan"], One, All, |_, x| x[0].atan()),
    op!(&["sinh"], One, All, |_, x| x[0].sinh()),
    op!(&["cosh"], One, All, |_, x| x[0].cosh()),
    op!(&["asinh"], One, All, |_, x| x[0].asinh()),
    op!(&["acosh"], One, Positive, |_, x| (x[0] + 1.0).acosh()),
    op!(&["atanh"], One, All, |_, x| (x[0] * 0.4).atanh()),
    op!(&["log_sigmoid"], One, All, |_, x| x[0].log_sigmoid()),
    op!(&["relu6"], One, NonZero, |_, x| x[0].relu6() * x[0]),
    op!(&["clamp"], One, NonZero, |_, x| (x[0] * 2.0).clamp(0.0, 9.0) * x[0]),
    op!(&["leaky_relu"], One, NonZero, |_, x| x[0].leaky_relu(0.1) * x[0]),
    op!(&["elu"], One, NonZero, |_, x| x[0].elu(0.7)),
    op!(&["selu"], One, NonZero, |_, x| x[0].selu()),
    op!(&["silu"], One, All, |_, x| x[0].silu()),
    op!(&["mish"], One, All, |_, x| x[0].mish()),
    op!(&["softplus"], One, All, |_, x| x[0].softplus(1.5, 20.0)),
    op!(&["softsign"], One, NonZero, |_, x| x[0].softsign()),
    op!(&["gelu"], One, All, |_, x| x[0].gelu()),
    op!(&["gelu_tanh"], One, All, |_, x| x[0].gelu_tanh()),
    op!(&["erf", "erfc"], One, All, |_, x| x[0].erf() * 2.0 + x[0].erfc() * 0.7),
    op!(&["is_nan", "is_infinite", "is_finite"], One, All, |_, x| {
        (x[0].is_nan() + x[0].is_infinite() + x[0].is_finite()) * x[0].square()
    }),
    // Of two, comparisons, selection.
    op!(&["pow"], Two, Positive, |_, x| x[0].pow(x[1])),
    op!(&["atan2"], Two, Positive, |_, x| x[0].atan2(x[1])),
    op!(&["hypot"], Two, Positive, |_, x| x[0].hypot(x[1])),
    op!(&["eq", "ne", "lt", "le", "gt", "ge"], Pair, Distinct, |_, x| {
        let (a, b) = (x[0], x[1] + 0.3);
        (a.eq(b) + a.ne(b) * 2.0 + a.lt(b) + a.le(b) * 3.0 + a.gt(b) * 4.0 + a.ge(b)) * a * b
    }),
    op!(&["where_mask"], Pair, NonZero, |_, x| x[0].square().where_mask(x[0].gt(0.0), x[1].exp())),
    op!(&["masked_fill"], One, NonZero, |_, x| x[0].square().masked_fill(x[0].lt(0.0), 2.0) * x[0]),
];

pub(crate) const OPS: &[Entry] = &[
    // Parts.
    op!(&["squeeze", "unsqueeze"], One, All, |_, x| x[0].square().unsqueeze(0).unsqueeze(-1).squeeze()),
    op!(&["squeeze_axis", "flatten"], Axis, All, |_, x| x[0].unsqueeze(1).square().squeeze_axis(1).flatten(0, -1)),
    op!(&["narrow"], Axis, All, |_, x| x[0].square().narrow(0, 1, x[0].shape()[0] - 1).exp()),
    op!(&["slice", "slice_step"], Axis, All, |_, x| {
        x[0].square().slice(-1, 1..).sum() * x[0].slice_step(0, .., -2).exp()
    }),
    op!(&["select"], Axis, All, |_, x| x[0].select(0, -1).exp()),
    op!(&["flip"], Axis, All, |_, x| x[0].flip([0]) * x[0].square() + x[0].flip(..)),
    op!(&["unfold"], Axis, All, |_, x| {
        let n = x[0].shape()[0];
        let windows = x[0].square().unfold(0, n.div_ceil(2), 1);
        windows.exp() * windows
    }),
    op!(&["split", "chunk"], Axis, All, |_, x| {
        let n = x[0].shape()[0];
        x[0].split(0, &[1, n - 1])[0].exp() + x[0].chunk(0, 2)[0].square().sum()
    }),
    op!(&["concat"], Axis, All, |tape, x| tape.concat([x[0].square(), x[0], x[0].exp()], -1).square()),
    op!(&["stack"], One, All, |tape, x| tape.stack([x[0].square(), x[0]], -1).exp()),
    op!(&["index_select"], Axis, All, |_, x| x[0].square().index_select(0, &[0, 0, x[0].shape()[0] - 1]).exp()),
    op!(&["index_add"], Axis, All, |_, x| {
        let last = x[0].shape()[0] - 1;
        x[0].square().index_add(0, &[last, last], x[0].index_select(0, &[0, 0]).exp()).square()
    }),
    op!(&["gather"], Axis, All, |_, x| {
        let last = x[0].shape()[0] - 1;
        let index: Short<usize> = (0..x[0].len()).map(|i| i * 7 % (last + 1)).collect();
        x[0].square().gather(0, x[0].shape(), &index).exp()
    }),
    // Reductions.
    op!(&["sum"], One, All, |_, x| x[0].sum() * x[0].sum()),
    op!(&["sum_axes"], Axis, All, |_, x| x[0].square().sum_axes(-1)),
    op!(&["sum_keepdim"], Axis, All, |_, x| x[0].sum_keepdim(0) * x[0]),
    op!(&["mean"], NonEmpty, All, |_, x| x[0].mean() * x[0].mean()),
    op!(&["mean_axes"], Axis, All, |_, x| x[0].square().mean_axes(0)),
    op!(&["mean_keepdim"], Axis, All, |_, x| x[0] - x[0].square().mean_keepdim([-1])),
    op!(&["amax"], NonEmpty, Distinct, |_, x| x[0].amax().square()),
    op!(&["amax_axes"], Axis, Distinct, |_, x| x[0].amax_axes(0).square()),
    op!(&["amax_keepdim"], Axis, Distinct, |_, x| x[0].amax_keepdim(-1) * x[0]),
    op!(&["amin"], NonEmpty, Distinct, |_, x| x[0].amin().square()),
    op!(&["amin_axes"], Axis, Distinct, |_, x| x[0].amin_axes(-1).exp()),
    op!(&["amin_keepdim"], Axis, Distinct, |_, x| x[0].amin_keepdim(..) * x[0]),
    op!(&["logsumexp"], NonEmpty, All, |_, x| x[0].logsumexp()),
    op!(&["logsumexp_axes"], Axis, All, |_, x| x[0].logsumexp_axes(0)),
    op!(&["logsumexp_keepdim"], Axis, All, |_, x| x[0] * x[0].logsumexp_keepdim(-1)),
    // Views, each behind something which is not linear.
    op!(&["reshape"], One, All, |_, x| x[0].tanh().reshape([x[0].len()]) * 2.0),
    op!(&["transpose"], Matrix, All, |_, x| x[0].square().transpose(0, -1).exp()),
    op!(&["t", "reshape"], Matrix, All, |_, x| x[0].t().square().reshape([x[0].len()]).square()),
    op!(&["permute"], Matrix, All, |_, x| x[0].permute(&*reversed(x[0])).tanh() + 1.0),
    op!(&["contiguous"], Matrix, All, |_, x| x[0].square().t().contiguous() * x[0].t()),
    op!(&["broadcast_to"], One, All, |_, x| x[0].broadcast_to(before(&[2, 3], x[0])).square()),
    op!(&["broadcast_to", "reshape"], One, All, |_, x| x[0].broadcast_to(before(&[2], x[0])).reshape([2 * x[0].len()])),
    // Products.
    op!(&["matmul"], Matrix, All, |_, x| x[0].matmul(x[0].t())),
    op!(&["matmul"], Matrix, All, |_, x| x[0].t().matmul(x[0])),
    op!(&["matmul"], Matrix, All, |tape, x| x[0].matmul(tape.full([x[0].shape()[x[0].rank() - 1]], 0.5)).tanh()),
    op!(&["matmul"], Matrix, All, |tape, x| tape.full([x[0].shape()[x[0].rank() - 2]], 0.5).matmul(x[0]).square()),
    // Softmax and losses.
    op!(&["softmax"], Axis, All, |_, x| x[0].softmax(-1)),
    op!(&["softmax"], Axis, All, |_, x| x[0].softmax(0) * x[0]),
    op!(&["log_softmax"], Axis, All, |_, x| x[0].log_softmax(-1)),
    op!(&["log_softmax"], Axis, All, |_, x| x[0].log_softmax(0).square()),
    op!(&["mse_loss"], Pair, All, |_, x| x[0].mse_loss(x[1])),
    op!(&["binary_cross_entropy_with_logits"], Pair, NonZero, |_, x| {
        x[0].binary_cross_entropy_with_logits(x[1].sigmoid())
    }),
    op!(&["binary_cross_entropy_with_logits"], Pair, NonZero, |_, x| x[0].binary_cross_entropy_with_logits(x[1])),
    op!(&["cross_entropy"], Axis, All, |_, x| x[0].cross_entropy(&labels(x[0]))),
    op!(&["try_cross_entropy"], Matrix, All, |_, x| x[0].t().try_cross_entropy(&labels(x[0].t())).unwrap()),
    // Code of users in between.
    op!(&["on_backward"], One, All, |_, x| x[0].square().on_backward(|g| g * 1.0).exp()),
    op!(&["checkpoint"], Two, All, |tape, x| tape.checkpoint([x[0], x[1]], |_, x| (x[0] * x[1]).tanh() + x[1])),
    // What an input does not reach, or reaches by two ways.
    op!(&["detach"], Two, All, |_, x| x[0].square() + 0.0 * x[1]),
    op!(&[], Two, All, |tape, x| {
        let _ = x;
        tape.ones([2])
    }),
];

/// A list which is not on the heap: the checks count what the functions ask it for.
type Short<T> = smallvec::SmallVec<[T; 256]>;

fn before<T: Scalar>(lengths: &[usize], x: Tensor<'_, T>) -> Short<usize> {
    lengths.iter().chain(x.shape()).copied().collect()
}

fn reversed<T: Scalar>(x: Tensor<'_, T>) -> Short<isize> {
    (0..x.rank() as isize).rev().collect()
}

fn labels<T: Scalar>(x: Tensor<'_, T>) -> Short<usize> {
    let (&classes, batch) = x.shape().split_last().unwrap();
    (0..batch.iter().product()).map(|row| row * 7 % classes).collect()
}
