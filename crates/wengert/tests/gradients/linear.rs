//! Linear algebra and sums by equations.

use wengert::{Scalar, Tape, Tensor, Triangular};

use crate::table::*;

const SQUARE: &[&[usize]] = &[&[3, 3]];
const BATCH: &[&[usize]] = &[&[2, 3, 3]];

/// Well conditioned, and positive definite.
fn definite<'c, T: Scalar>(tape: &'c Tape<T>, x: Tensor<'c, T>) -> Tensor<'c, T> {
    x.matmul(x.t()) + tape.eye(3) * T::from_f64(4.0)
}

fn regular<'c, T: Scalar>(tape: &'c Tape<T>, x: Tensor<'c, T>) -> Tensor<'c, T> {
    x * T::from_f64(0.3) + tape.eye(3) * T::from_f64(2.0)
}

pub(crate) const OPS: &[Entry] = &[
    op!(&["dot"], Shapes(&[&[3], &[3]]), All, |_, x| x[0].square().dot(x[1])),
    op!(&["outer"], Shapes(&[&[3], &[2]]), All, |_, x| x[0].square().outer(x[1].exp())),
    op!(&["trace"], Matrix, All, |_, x| x[0].square().trace().exp()),
    op!(&["cholesky", "try_cholesky"], Shapes(SQUARE), All, |tape, x| definite(tape, x[0]).cholesky()),
    op!(&["cholesky"], Shapes(BATCH), All, |tape, x| definite(tape, x[0]).cholesky().square()),
    op!(&["solve_triangular"], Shapes(&[&[3, 3], &[3, 2]]), All, |tape, x| {
        regular(tape, x[0]).solve_triangular(x[1], Triangular::Lower).square()
    }),
    op!(&["solve_triangular"], Shapes(&[&[2, 3, 3], &[3]]), All, |tape, x| {
        regular(tape, x[0]).solve_triangular(x[1].square(), Triangular::Upper).exp()
    }),
    op!(&["solve_triangular"], Shapes(&[&[3, 3], &[3]]), All, |_, x| {
        x[0].solve_triangular(x[1], Triangular::UnitLower) + x[0].solve_triangular(x[1], Triangular::UnitUpper)
    }),
    op!(&["solve", "try_solve"], Shapes(&[&[3, 3], &[3]]), All, |tape, x| regular(tape, x[0]).solve(x[1])),
    op!(&["solve"], Shapes(&[&[2, 3, 3], &[3, 2]]), All, |tape, x| regular(tape, x[0]).solve(x[1].exp()).square()),
    op!(&["inverse"], Shapes(BATCH), All, |tape, x| regular(tape, x[0]).inverse()),
    op!(&["det"], Shapes(BATCH), All, |tape, x| regular(tape, x[0]).det()),
    op!(&["det"], Shapes(&[&[2, 2]]), All, |tape, x| {
        (x[0] * tape.input([2, 2], &[1.0, 0.0, 1.0, 0.0])).det() + x[0].sum()
    }),
    op!(&["logdet", "slogdet"], Shapes(SQUARE), All, |tape, x| {
        definite(tape, x[0]).logdet() + (x[0] - tape.eye(3) * 4.0).slogdet().1
    }),
    op!(&["einsum"], Shapes(&[&[2, 3], &[3, 4]]), All, |tape, x| tape.einsum("ij,jk->ki", [x[0].exp(), x[1]])),
    op!(&["einsum"], Shapes(&[&[2, 3, 2], &[2, 2, 4]]), All, |tape, x| tape.einsum("bij,bjk", [x[0], x[1].square()])),
    op!(&["try_einsum"], Shapes(&[&[2, 3], &[3]]), All, |tape, x| tape.try_einsum("ij,j", [x[0].exp(), x[1]]).unwrap()),
    op!(&["einsum"], Shapes(&[&[3, 3], &[3]]), All, |tape, x| tape.einsum("ii,i->i", [x[0].square(), x[1].exp()])),
    op!(&["einsum"], Shapes(&[&[2, 1, 3], &[4, 3, 2]]), All, |tape, x| {
        tape.einsum("...i, ...ij -> j...", [x[0].square(), x[1]])
    }),
    op!(&["einsum"], Shapes(&[&[2], &[3], &[2, 3]]), All, |tape, x| {
        tape.einsum("i,j,ij", [x[0].exp(), x[1], x[2].square()])
    }),
];
