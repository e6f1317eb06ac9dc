//! Products, variances, norms, extremes with positions, scans, arrangements.

use wengert::{Indices, Padding, Scalar, Tensor};

use crate::table::*;

const TIES: &[&[usize]] = &[&[2, 3]];

fn add_position<'t, T: Scalar>(x: Tensor<'t, T>, at: Indices<'_>) -> Tensor<'t, T> {
    x + T::from_f64(at.as_slice()[0] as f64)
}

fn add_extremes<T: Scalar>(x: Tensor<'_, T>) -> Tensor<'_, T> {
    x + T::from_f64(x.argmax_all() as f64 - x.argmin_all() as f64)
}

pub(crate) const OPS: &[Entry] = &[
    op!(&["prod"], One, All, |_, x| x[0].prod()),
    op!(&["prod_axes"], Axis, All, |_, x| x[0].prod_axes(0)),
    op!(&["prod_axes"], Matrix, NonZero, |_, x| (x[0] * x[0].ge(0.0)).prod_axes([-1, 0])),
    op!(&["prod_keepdim"], Axis, All, |_, x| x[0].prod_keepdim(-1) * x[0]),
    op!(&["var"], Shapes(TIES), All, |_, x| x[0].var(1.0)),
    op!(&["var_axes"], Matrix, All, |_, x| x[0].var_axes(0.0, -1)),
    op!(&["var_keepdim"], Matrix, All, |_, x| x[0] - x[0].var_keepdim(0.0, [0, 1])),
    op!(&["std"], Shapes(TIES), Distinct, |_, x| x[0].std(1.0)),
    op!(&["std_axes"], Shapes(TIES), Distinct, |_, x| x[0].std_axes(0.0, 0)),
    op!(&["std_keepdim"], Shapes(TIES), Distinct, |_, x| x[0] / x[0].std_keepdim(1.0, -1)),
    op!(&["norm"], NonEmpty, NonZero, |_, x| x[0].norm(2.0) + x[0].norm(1.0) * x[0].norm(3.0)),
    op!(&["norm"], Shapes(TIES), Distinct, |_, x| {
        -x[0].exp().norm(f64::INFINITY) * x[0].exp().norm(f64::NEG_INFINITY) + x[0].norm(0.0)
    }),
    op!(&["norm_axes"], Axis, NonZero, |_, x| x[0].norm_axes(1.5, 0)),
    op!(&["norm_keepdim"], Axis, NonZero, |_, x| x[0] / x[0].norm_keepdim(2.0, -1)),
    op!(&["max_axis", "argmax"], Axis, Distinct, |_, x| { add_position(x[0].max_axis(0).0.square(), x[0].argmax(0)) }),
    op!(&["min_axis", "argmin"], Axis, Distinct, |_, x| { add_position(x[0].min_axis(-1).0.exp(), x[0].argmin(-1)) }),
    op!(&["argmax_all", "argmin_all"], NonEmpty, Distinct, |_, x| add_extremes(x[0].exp())),
    op!(&["cumsum"], Axis, All, |_, x| x[0].cumsum(0).square()),
    op!(&["cumsum"], Axis, All, |_, x| x[0].square().cumsum(-1) * x[0]),
    op!(&["cumprod"], Axis, All, |_, x| x[0].cumprod(0)),
    op!(&["cumprod"], Matrix, NonZero, |_, x| (x[0] * x[0].ge(0.0)).cumprod(-1).cumprod(0)),
    op!(&["logcumsumexp"], Axis, All, |_, x| x[0].logcumsumexp(0)),
    op!(&["logcumsumexp"], Matrix, All, |_, x| x[0].t().logcumsumexp(-1) * x[0].t()),
    op!(&["pad"], Matrix, All, |_, x| x[0].square().pad(&[(1, 2), (0, 1)], Padding::Constant(0.5)).exp()),
    op!(&["pad"], Shapes(&[&[4, 3]]), All, |_, x| x[0].pad(&[(2, 1), (-1, 3)], Padding::Constant(0.0)).square()),
    op!(&["pad"], Shapes(&[&[2, 4]]), All, |_, x| x[0].pad(&[(3, 2)], Padding::Reflect).square()),
    op!(&["pad"], Shapes(&[&[2, 4]]), All, |_, x| x[0].pad(&[(1, 2), (3, 0)], Padding::Replicate).exp()),
    op!(&["pad"], Shapes(&[&[2, 4]]), All, |_, x| x[0].pad(&[(1, 2), (4, 3)], Padding::Circular).exp()),
    op!(&["roll"], Axis, All, |_, x| x[0].roll(-2, 0) * x[0].square()),
    op!(&["repeat"], Axis, All, |_, x| x[0].repeat(&[2, 1, 1, 1, 1, 1, 2][..x[0].rank() + 1]).square()),
    op!(&["repeat_interleave"], Axis, All, |_, x| x[0].repeat_interleave(3, -1).square()),
    op!(&["tril", "triu"], Matrix, All, |_, x| x[0].square().tril(0) + x[0].exp().triu(1) + x[0].triu(-1)),
    op!(&["diagonal"], Matrix, All, |_, x| x[0].square().diagonal(0, -2, -1).exp()),
    op!(&["diagonal"], Matrix, All, |_, x| x[0].square().diagonal(-1, -1, 0)),
    op!(&["diag_embed"], Axis, All, |_, x| x[0].square().diag_embed(-1, 0, -1).exp()),
    op!(&["scatter_add"], Shapes(&[&[3, 4], &[5, 2]]), All, |_, x| {
        x[0].square().scatter_add(0, &[0, 2, 2, 2, 1, 0, 0, 0, 2, 1], x[1].exp()).square()
    }),
    op!(&["gather"], Shapes(&[&[3, 4]]), All, |_, x| x[0].square().gather(0, [2, 3], &[0, 2, 2, 2, 1, 0]).exp()),
];
