//! Linear algebra on matrices along the last two axes, the axes before them a
//! batch: the mechanism. The methods stand in [`solve`](super::solve) and
//! [`determinant`](super::determinant).

use super::{Emit, Id, Inferred, Interpreter, Op, Values, binary, matmul, reduce, unary, view};
use crate::kernels::linalg::{Ldu, Triangle, cholesky, lu};
use crate::kernels::map::copy;
use crate::kernels::{Machine, Out, Value};
use crate::scalar::Scalar;
use crate::shape::{Dims, Layout};

/// One of them, for every matrix of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Linalg {
    /// The lower factor L of A = L Lᵀ.
    Cholesky { a: Id },
    /// X of op(A) X = B, where A is a triangle.
    SolveTriangular { a: Id, b: Id, form: Form },
    /// X of op(A) X = B.
    Solve { a: Id, b: Id, transposed: bool },
    /// A⁻¹
    Inverse { a: Id },
    /// The determinant, `[.., 1, 1]`, or the logarithm of its size.
    Determinant { a: Id, log: bool },
    /// The cofactors, the derivative of the determinant.
    Cofactors { a: Id },
    /// How the cofactors change along `h`.
    CofactorsAlong { a: Id, h: Id },
    /// `x` with zeros above the diagonal, or below; without the diagonal if strict.
    Part { x: Id, lower: bool, strict: bool },
}

use Linalg::*;

/// How a triangle is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// The triangle of A as it is stored.
    pub(super) lower: bool,
    pub(super) transposed: bool,
    pub(super) unit: bool,
}

pub(super) fn op(op: Linalg) -> Op {
    Op::Linalg(op)
}

fn order(x: Value<'_, impl Scalar>) -> usize {
    x.layout.dims[x.layout.rank() - 1]
}

impl Linalg {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Cholesky { .. } => "cholesky",
            SolveTriangular { .. } => "solve_triangular",
            Solve { .. } => "solve",
            Inverse { .. } => "inverse",
            Determinant { log: false, .. } => "det",
            Determinant { log: true, .. } => "log_abs_det",
            Cofactors { .. } => "cofactors",
            CofactorsAlong { .. } => "cofactors_along",
            Part { lower: true, .. } => "lower_part",
            Part { lower: false, .. } => "upper_part",
        }
    }

    /// The matrix, and the right-hand side or direction.
    pub(crate) fn operands(&self) -> impl Iterator<Item = Id> + use<> {
        let (a, b) = match *self {
            SolveTriangular { a, b, .. } | Solve { a, b, .. } | CofactorsAlong { a, h: b } => (a, Some(b)),
            Cholesky { a } | Inverse { a } | Determinant { a, .. } => (a, None),
            Cofactors { a } | Part { x: a, .. } => (a, None),
        };
        [Some(a), b].into_iter().flatten()
    }

    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        let shape = |x| v.value(x).layout.dims;
        match *self {
            SolveTriangular { b, .. } | Solve { b, .. } => Inferred::fresh(v, shape(b)),
            Cholesky { a } | Inverse { a } | Part { x: a, .. } => Inferred::fresh(v, shape(a)),
            Cofactors { a } | CofactorsAlong { a, .. } => Inferred::fresh(v, shape(a)),
            Determinant { a, .. } => {
                let mut dims = Dims::from_slice(shape(a));
                let rank = dims.len();
                dims[rank - 2..].fill(1);
                Inferred::fresh(v, &dims)
            }
        }
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        let mut ids = self.operands();
        let (a, b) = (ids.next().map(|x| v.value(x)), ids.next().map(|x| v.value(x)));
        let Some(a) = a else { return };
        let n = order(a);
        let rows = a.layout.dims[a.layout.rank() - 2];
        // The result's elements per matrix, and A's, which are worked on in
        // scratch memory; behind them the order of rows and columns.
        let size = rows * n;
        let order_len = (2 * n * size_of::<usize>()).div_ceil(size_of::<T>()) + 1;
        m.with_scratch(2 * a.layout.len + order_len, |scratch| {
            let (work, rest) = scratch.split_at_mut(a.layout.len);
            let (spare, order) = rest.split_at_mut(a.layout.len);
            // SAFETY: the scratch holds A once and again; what is read of it
            // has been written before. `order` is aligned for `usize` by
            // `align_to_mut`, which leaves at least 2 n of them.
            let (work, spare, order) = unsafe {
                copy(m.isa, a, flat(work.as_mut_ptr().cast(), a.layout));
                spare.as_mut_ptr().cast::<T>().copy_from_nonoverlapping(work.as_ptr().cast(), a.layout.len);
                (
                    std::slice::from_raw_parts_mut(work.as_mut_ptr().cast::<T>(), a.layout.len),
                    std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast::<T>(), a.layout.len),
                    whole_numbers(order, 2 * n),
                )
            };
            // SAFETY: the caller's contract: the output holds `len` elements.
            // It is written first, by the right-hand side or by zeros.
            let to = unsafe {
                match b {
                    Some(b) => copy(m.isa, b, out),
                    None => (0..out.len).for_each(|i| out.data.add(i).write(T::ZERO)),
                }
                std::slice::from_raw_parts_mut(out.data, out.len)
            };
            if size == 0 && !matches!(self, Determinant { .. }) || out.len == 0 {
                return;
            }
            let batch = a.layout.dims[..a.layout.rank() - 2].iter().product::<usize>();
            let each = out.len / batch;
            for k in 0..batch {
                let (work, spare) = (&mut work[k * size..][..size], &mut spare[k * size..][..size]);
                self.one(work, spare, order, &mut to[k * each..][..each], rows, n);
            }
        });
    }

    /// One matrix: `work` and `spare` hold A, `to` the right-hand side (or
    /// direction) or zeros.
    fn one<T: Scalar>(
        &self,
        work: &mut [T],
        spare: &mut [T],
        order: &mut [usize],
        to: &mut [T],
        rows: usize,
        n: usize,
    ) {
        let columns = to.len() / n.max(1);
        let (order, order_of_columns) = order.split_at_mut(n);
        match *self {
            Cholesky { .. } => match cholesky(work, n) {
                Ok(()) => to.copy_from_slice(work),
                Err(_) => (0..n).for_each(|i| to[i * n..=i * n + i].fill(T::NAN)),
            },
            SolveTriangular { form: Form { lower, transposed, unit }, .. } => {
                Triangle { a: work, n, lower: lower != transposed, transposed, unit }.solve(to, columns);
            }
            Solve { transposed: false, .. } | Inverse { .. } => {
                lu(work, n, order);
                if let Inverse { .. } = self {
                    order.iter().enumerate().for_each(|(i, &row)| to[i * n + row] = T::ONE);
                } else {
                    permute(to, spare, order, columns);
                }
                let below = Triangle { a: work, n, lower: true, transposed: false, unit: true };
                below.solve(to, columns);
                Triangle { lower: false, unit: false, ..below }.solve(to, columns);
            }
            Solve { transposed: true, .. } => {
                // Aᵀ = Uᵀ Lᵀ P
                lu(work, n, order);
                let first = Triangle { a: work, n, lower: true, transposed: true, unit: false };
                first.solve(to, columns);
                Triangle { lower: false, unit: true, ..first }.solve(to, columns);
                unpermute(to, spare, order, columns);
            }
            Determinant { log, .. } => {
                let sign = lu(work, n, order);
                let diagonal = (0..n).map(|i| work[i * n + i]);
                to[0] = match log {
                    false => diagonal.fold(sign, |a, b| a * b),
                    true => diagonal.map(|x| x.abs().ln()).sum(),
                };
            }
            Cofactors { .. } => Ldu::new(work, n, order, order_of_columns).cofactors(spare, to),
            CofactorsAlong { .. } => Ldu::new(work, n, order, order_of_columns).cofactors_along(spare, to),
            Part { lower, strict, .. } => {
                for i in 0..rows {
                    for j in 0..n {
                        let keep = if lower { j < i } else { j > i };
                        if keep || i == j && !strict {
                            to[i * n + j] = work[i * n + j];
                        }
                    }
                }
            }
        }
    }

    pub(crate) fn rule<E: Interpreter>(self, e: &mut E, y: Id, g: Id) {
        let rank = |e: &E, x| {
            // SAFETY: the shape of an operand of an op under differentiation.
            unsafe { e.dims(x).get().len() }
        };
        match self {
            Cholesky { a } => {
                // Murray, "Differentiation of the Cholesky decomposition",
                // arXiv:1602.07527, equation 9: with P the lower part of
                // Lᵀ L̄, its diagonal halved, Ā is the symmetric part of
                // L⁻ᵀ P L⁻¹.
                let rank = rank(e, a);
                let form = Form { lower: true, transposed: true, unit: false };
                let product = e.op(matmul::transposed(y, g, true, false));
                let whole = e.op(op(Part { x: product, lower: true, strict: false }));
                let below = e.op(op(Part { x: product, lower: true, strict: true }));
                let twice = e.op(binary::add(whole, below));
                let left = e.op(op(SolveTriangular { a: y, b: twice, form }));
                let turned = e.op(view::matrix_transpose(left, rank));
                let right = e.op(op(SolveTriangular { a: y, b: turned, form }));
                let back = e.op(view::matrix_transpose(right, rank));
                let sum = e.op(binary::add(right, back));
                e.give(a, unary::scale(sum, 0.25));
            }
            SolveTriangular { a, b, form } => {
                let form_t = Form { transposed: !form.transposed, ..form };
                let to_b = e.op(op(SolveTriangular { a, b: g, form: form_t }));
                e.give(b, view::same(to_b));
                if e.wants(a) {
                    let (left, right) = if form.transposed { (y, to_b) } else { (to_b, y) };
                    let product = e.op(matmul::transposed(left, right, false, true));
                    let part = e.op(op(Part { x: product, lower: form.lower, strict: form.unit }));
                    e.give(a, unary::neg(part));
                }
            }
            Solve { a, b, transposed } => {
                let to_b = e.op(op(Solve { a, b: g, transposed: !transposed }));
                e.give(b, view::same(to_b));
                if e.wants(a) {
                    let (left, right) = if transposed { (y, to_b) } else { (to_b, y) };
                    let product = e.op(matmul::transposed(left, right, false, true));
                    e.give(a, unary::neg(product));
                }
            }
            Inverse { a } => {
                // -Yᵀ g Yᵀ
                let left = e.op(matmul::transposed(y, g, true, false));
                let product = e.op(matmul::transposed(left, y, false, true));
                e.give(a, unary::neg(product));
            }
            Determinant { a, log: false } => {
                let cofactors = e.op(op(Cofactors { a }));
                e.give(a, binary::mul(cofactors, g));
            }
            Determinant { a, log: true } => {
                let inverse = e.op(op(Inverse { a }));
                let rank = rank(e, a);
                let turned = e.op(view::matrix_transpose(inverse, rank));
                e.give(a, binary::mul(turned, g));
            }
            // The second derivatives of the determinant are symmetric.
            Cofactors { a } => e.give(a, op(CofactorsAlong { a, h: g })),
            CofactorsAlong { a, h } => {
                e.give(h, op(CofactorsAlong { a, h: g }));
                if e.wants(a) {
                    let rank = rank(e, a);
                    let third = third_of_determinant(e, a, g, h, rank);
                    e.give(a, view::same(third));
                }
            }
            Part { x, lower, strict } => e.give(x, op(Part { x: g, lower, strict })),
        }
    }
}

/// The third derivative of the determinant, along `g` and `h`. With B = A⁻ᵀ,
/// x = tr A⁻¹G, y = tr A⁻¹H, z = tr A⁻¹G A⁻¹H it is
/// det A ((x y - z) B - y B Gᵀ B - x B Hᵀ B + B Gᵀ B Hᵀ B + B Hᵀ B Gᵀ B);
/// matrices without an inverse have none here.
fn third_of_determinant<E: Emit>(e: &mut E, a: Id, g: Id, h: Id, rank: usize) -> Id {
    let both = 0b11 << (rank - 2);
    let inverse = e.op(op(Inverse { a }));
    let b = e.op(view::matrix_transpose(inverse, rank));
    // B Gᵀ, B Hᵀ and their traces: the sums of B * G and B * H.
    let [bg, bh] = [g, h].map(|x| e.op(matmul::transposed(b, x, false, true)));
    let [x, y] = [g, h].map(|x| {
        let product = e.mul(b, x);
        e.op(reduce::sum(product, both, true))
    });
    let turned = e.op(view::matrix_transpose(bh, rank));
    let z = e.mul(bg, turned);
    let z = e.op(reduce::sum(z, both, true));
    let (xy, bghb) = (e.mul(x, y), e.op(matmul::transposed(bg, bh, false, false)));
    let bhgb = e.op(matmul::transposed(bh, bg, false, false));
    let scale = e.op(binary::op(binary::Function::Sub, xy, z));
    // Everything but the factor B on the right, and the first term.
    let (by, bx) = (e.mul(bg, y), e.mul(bh, x));
    let gained = e.op(binary::add(bghb, bhgb));
    let lost = e.op(binary::add(by, bx));
    let left = e.op(binary::op(binary::Function::Sub, gained, lost));
    let left = e.op(matmul::transposed(left, b, false, false));
    let first = e.mul(b, scale);
    let sum = e.op(binary::add(first, left));
    let det = e.op(op(Determinant { a, log: false }));
    e.mul(sum, det)
}

/// A contiguous buffer of a layout's shape, to write.
fn flat<'a, T>(data: *mut T, layout: &Layout<'a>) -> Out<'a, T> {
    Out { data, dims: layout.dims, len: layout.len, add: false }
}

/// The first `n` whole numbers in some memory, set to 0.
///
/// # Safety
/// The memory is as large as `n` of them and one element more.
unsafe fn whole_numbers<T>(memory: &mut [std::mem::MaybeUninit<T>], n: usize) -> &mut [usize] {
    // SAFETY: uninitialised memory of one type is such of another; the
    // elements are written before they are lent.
    unsafe {
        let (_, middle, _) = memory.align_to_mut::<std::mem::MaybeUninit<usize>>();
        let data = middle[..n].as_mut_ptr().cast::<usize>();
        data.write_bytes(0, n);
        std::slice::from_raw_parts_mut(data, n)
    }
}

/// Rows in another order: row `i` becomes what was row `order[i]`.
fn permute<T: Scalar>(x: &mut [T], spare: &mut [T], order: &[usize], columns: usize) {
    for j in 0..columns {
        order.iter().enumerate().for_each(|(i, &row)| spare[i] = x[row * columns + j]);
        (0..order.len()).for_each(|i| x[i * columns + j] = spare[i]);
    }
}

/// Rows back in their order: row `order[i]` becomes what was row `i`.
fn unpermute<T: Scalar>(x: &mut [T], spare: &mut [T], order: &[usize], columns: usize) {
    for j in 0..columns {
        order.iter().enumerate().for_each(|(i, &row)| spare[row] = x[i * columns + j]);
        (0..order.len()).for_each(|i| x[i * columns + j] = spare[i]);
    }
}
