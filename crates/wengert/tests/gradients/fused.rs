//! Expressions of users as single ops.

use wengert::fused;

use crate::table::*;

fused! {
    fn film(x, a) { (x * a + 0.5 * a).gelu_tanh() }
    fn decay(x; rate: f64) { x * (-rate * x.square()).exp() }
    fn ratio(x, y) { x / (x.square() + y.square()).sqrt() - y.ln() }
    // No two branches meet where values are drawn.
    fn chosen(x, y) { x.square().where_mask(x.lt(y), 2.0 * x - y).maximum(1.189 - x) }
}

pub(crate) const OPS: &[Entry] = &[
    op!(&["fused"], Two, All, |_, x| film(x[0], x[1])),
    op!(&["fused"], One, All, |_, x| film(x[0], x[0].exp())),
    op!(&["fused"], One, All, |_, x| decay(x[0], 0.7)),
    op!(&["fused"], Two, Positive, |_, x| ratio(x[0], x[1]) * ratio(x[1], x[0])),
    op!(&["fused"], Pair, Distinct, |_, x| chosen(x[0], x[1] + 0.07)),
    op!(&["fused"], Matrix, All, |_, x| film(x[0].transpose(-1, -2), 2.0)),
];
