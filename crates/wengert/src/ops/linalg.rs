//! Linear algebra on matrices along the last two axes, the axes before them a
//! batch: factorisations and what is solved by them.

use super::{Emit, Id, Inferred, Op, Values, binary, matmul, unary, view};
use crate::error::{Error, raise};
use crate::kernels::linalg::{Triangle, cholesky, lu};
use crate::kernels::map::copy;
use crate::kernels::{Machine, Out, Value};
use crate::scalar::Scalar;
use crate::shape::{Dims, Layout};
use crate::tensor::{Operand, Tensor};

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
    /// `x` with zeros above the diagonal, or below; without the diagonal if strict.
    Part { x: Id, lower: bool, strict: bool },
}

use Linalg::*;

/// How a triangle is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// The triangle of A as it is stored.
    lower: bool,
    transposed: bool,
    unit: bool,
}

fn op(op: Linalg) -> Op {
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
            Part { lower: true, .. } => "lower_part",
            Part { lower: false, .. } => "upper_part",
        }
    }

    /// The matrix, and the right-hand side.
    pub(crate) fn operands(&self) -> impl Iterator<Item = Id> + use<> {
        let (a, b) = match *self {
            SolveTriangular { a, b, .. } | Solve { a, b, .. } => (a, Some(b)),
            Cholesky { a } | Inverse { a } | Determinant { a, .. } | Part { x: a, .. } => (a, None),
        };
        [Some(a), b].into_iter().flatten()
    }

    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        let shape = |x| Dims::from_slice(v.value(x).layout.dims);
        match *self {
            SolveTriangular { b, .. } | Solve { b, .. } => Inferred::Fresh(shape(b)),
            Cholesky { a } | Inverse { a } | Part { x: a, .. } => Inferred::Fresh(shape(a)),
            Determinant { a, .. } => {
                let mut dims = shape(a);
                let rank = dims.len();
                dims[rank - 2..].fill(1);
                Inferred::Fresh(dims)
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
        // scratch memory; behind them the order of the rows.
        let size = rows * n;
        let order_len = (n * size_of::<usize>()).div_ceil(size_of::<T>()) + 1;
        m.with_scratch(2 * a.layout.len + order_len, |scratch| {
            let (work, rest) = scratch.split_at_mut(a.layout.len);
            let (spare, order) = rest.split_at_mut(a.layout.len);
            // SAFETY: the scratch holds A once and again; what is read of it
            // has been written before. `order` is aligned for `usize` by
            // `align_to_mut`, which leaves at least n of them.
            let (work, spare, order) = unsafe {
                copy(m.isa, a, flat(work.as_mut_ptr().cast(), a.layout));
                spare.as_mut_ptr().cast::<T>().copy_from_nonoverlapping(work.as_ptr().cast(), a.layout.len);
                (
                    std::slice::from_raw_parts_mut(work.as_mut_ptr().cast::<T>(), a.layout.len),
                    std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast::<T>(), a.layout.len),
                    whole_numbers(order, n),
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

    /// One matrix: `work` and `spare` hold A, `to` the right-hand side or zeros.
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
        match *self {
            Cholesky { .. } => {
                let factor = cholesky(work, n);
                to.copy_from_slice(work);
                if factor.is_err() {
                    to.fill(T::NAN);
                }
            }
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

    pub(crate) fn rule<E: Emit>(self, e: &mut E, y: Id, g: Id) {
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
            Determinant { a, log } => {
                let inverse = e.op(op(Inverse { a }));
                let rank = rank(e, a);
                let turned = e.op(view::matrix_transpose(inverse, rank));
                let g = if log { g } else { e.mul(g, y) };
                e.give(a, binary::mul(turned, g));
            }
            Part { x, lower, strict } => e.give(x, op(Part { x: g, lower, strict })),
        }
    }
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

/// Linear algebra. Matrices lie along the last two axes, the axes before them
/// are a batch.
impl<'t, T: Scalar> Tensor<'t, T> {
    /// Refuses what is not square matrices.
    #[track_caller]
    fn square_matrices(self, op: &str) -> usize {
        match *self.shape() {
            [.., m, n] if m == n => n,
            _ => panic!("{op}: needs square matrices, got {:?}", self.shape()),
        }
    }

    /// The lower factor L of A = L Lᵀ, for symmetric positive definite
    /// matrices. Only the lower triangle is read; the gradient is symmetric.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let a = tape.tensor([[4.0, 2.0], [2.0, 5.0]]);
    /// assert_eq!(a.cholesky().to_vec(), [2.0, 0.0, 1.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// If a matrix is not square or not positive definite; see
    /// [`Tensor::try_cholesky`].
    #[track_caller]
    pub fn cholesky(self) -> Self {
        match self.try_cholesky() {
            Ok(factor) => factor,
            Err(error) => raise(error),
        }
    }

    /// [`Tensor::cholesky`] for matrices which come from data.
    ///
    /// # Errors
    /// [`Error::Singular`] if a matrix is not positive definite.
    #[track_caller]
    pub fn try_cholesky(self) -> Result<Self, Error> {
        self.square_matrices("cholesky");
        let factor = self.record(op(Cholesky { a: self.id() }));
        factor.refuse_singular(self, "cholesky", "is not positive definite")
    }

    /// A result which is not finite, of a matrix which is, tells that the
    /// matrix could not be factorised.
    fn refuse_singular(self, a: Self, op: &'static str, why: &'static str) -> Result<Self, Error> {
        let size = self.shape()[self.rank() - 2..].iter().product::<usize>().max(1);
        let values = self.as_slice();
        match values.chunks(size).position(|m| m.iter().any(|x| !x.is_finite())) {
            Some(matrix) if a.all_finite() => Err(Error::Singular { op, matrix, why }),
            _ => Ok(self),
        }
    }

    fn all_finite(self) -> bool {
        let mut finite = true;
        self.value().for_each(|x| finite &= x.is_finite());
        finite
    }

    /// The matrices with the batch axes of both operands, broadcast.
    #[track_caller]
    fn with_batch_of(self, name: &str, other: Self) -> Self {
        let (from, of) = (self.shape(), other.shape());
        let (lead, matrix) = from.split_at(from.len() - 2);
        let Some(mut dims) = crate::shape::try_broadcast(lead, &of[..of.len() - 2]) else {
            panic!("{name}: batches do not broadcast: {from:?} and {of:?}");
        };
        if dims.as_slice() == lead {
            return self;
        }
        dims.extend_from_slice(matrix);
        self.broadcast_to(dims)
    }

    /// The operands of a solver, batches broadcast: a right-hand side of one
    /// axis becomes a column.
    #[track_caller]
    fn system(self, name: &str, b: Self) -> (Self, Self, bool) {
        let n = self.square_matrices(name);
        let vector = b.rank() == 1 || b.shape() == &self.shape()[..self.rank() - 1];
        let column = if vector { b.unsqueeze(-1) } else { b };
        let fits = column.rank() >= 2 && column.shape()[column.rank() - 2] == n;
        assert!(fits, "{name}: a right-hand side of {:?} does not fit {:?}", b.shape(), self.shape());
        (self.with_batch_of(name, column), column.with_batch_of(name, self), vector)
    }

    /// X of A X = B, where `self` is A, a triangle; what is on its other side
    /// is not read. `b` is one vector or matrices; batches broadcast.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let a = tape.tensor([[2.0, 0.0], [1.0, 4.0]]);
    /// let lower = wengert::Triangular::Lower;
    /// assert_eq!(a.solve_triangular(tape.tensor([2.0, 9.0]), lower).to_vec(), [1.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// If the shapes do not fit. A zero on the diagonal gives infinities.
    #[track_caller]
    pub fn solve_triangular(self, b: impl Operand<'t, T>, triangle: Triangular) -> Self {
        let (a, b, vector) = self.system("solve_triangular", self.operand(b));
        let (lower, unit) = match triangle {
            Triangular::Lower => (true, false),
            Triangular::Upper => (false, false),
            Triangular::UnitLower => (true, true),
            Triangular::UnitUpper => (false, true),
        };
        let form = Form { lower, unit, transposed: false };
        let x = self.record(op(SolveTriangular { a: a.id(), b: b.id(), form }));
        if vector { x.squeeze_axis(-1) } else { x }
    }

    /// X of A X = B, where `self` is A. `b` is one vector, a batch of them of
    /// the shape of A without its last axis, or matrices; batches broadcast.
    /// By LU with partial pivoting.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let a = tape.tensor([[2.0, 1.0], [1.0, 3.0]]);
    /// assert_eq!(a.solve(tape.tensor([3.0, 4.0])).to_vec(), [1.0, 1.0]);
    /// ```
    ///
    /// # Panics
    /// If the shapes do not fit, or a matrix is singular; see
    /// [`Tensor::try_solve`].
    #[track_caller]
    pub fn solve(self, b: impl Operand<'t, T>) -> Self {
        match self.try_solve(b) {
            Ok(x) => x,
            Err(error) => raise(error),
        }
    }

    /// [`Tensor::solve`] for matrices which come from data.
    ///
    /// # Errors
    /// [`Error::Singular`] if a matrix is singular.
    #[track_caller]
    pub fn try_solve(self, b: impl Operand<'t, T>) -> Result<Self, Error> {
        let (a, b, vector) = self.system("solve", self.operand(b));
        let x = self.record(op(Solve { a: a.id(), b: b.id(), transposed: false }));
        // NaN and infinities on the right say nothing about the matrix.
        let x = if b.all_finite() { x.refuse_singular(a, "solve", "is singular")? } else { x };
        Ok(if vector { x.squeeze_axis(-1) } else { x })
    }

    /// The inverse. To solve a system, [`Tensor::solve`] is better.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([[2.0, 0.0], [0.0, 4.0]]).inverse().to_vec(), [0.5, 0.0, 0.0, 0.25]);
    /// ```
    ///
    /// # Panics
    /// If a matrix is not square, or is singular.
    #[doc(alias = "inv")]
    #[track_caller]
    pub fn inverse(self) -> Self {
        self.square_matrices("inverse");
        match self.record(op(Inverse { a: self.id() })).refuse_singular(self, "inverse", "is singular") {
            Ok(x) => x,
            Err(error) => raise(error),
        }
    }

    /// The determinant.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([[2.0, 1.0], [1.0, 3.0]]).det().item(), 5.0);
    /// ```
    ///
    /// # Panics
    /// If a matrix is not square.
    #[track_caller]
    pub fn det(self) -> Self {
        let n = self.square_matrices("det");
        let det = self.without_matrix(self.record(op(Determinant { a: self.id(), log: false })));
        if !(det.requires_grad() && self.nearly_singular(det, n)) {
            return det;
        }
        // Cofactors have no form with the inverse here. Faddeev and LeVerrier's
        // recurrence (Gantmacher, "The Theory of Matrices" I, chapter 4) has
        // products and divisions by 1..n alone, so all derivatives are right.
        let eye = self.tape().eye(n);
        let mut m = self.detach() * T::ZERO + eye;
        for k in 1..n {
            let product = self.matmul(m);
            let c = product.diagonal(0, -2, -1).sum_keepdim(-1).unsqueeze(-1) / T::from_f64(-(k as f64));
            m = product + c * eye;
        }
        let sign = if n % 2 == 1 { T::ONE } else { -T::ONE };
        let polynomial = self.matmul(m).diagonal(0, -2, -1).sum_axes(-1) * sign / T::from_f64(n as f64);
        // The value of the one, exactly, and the derivatives of the other.
        det.detach() + (polynomial - polynomial.detach())
    }

    /// Whether a determinant is 0, or so small beside the lengths of its rows
    /// that differences of products of inverses would hold few right digits.
    /// In large matrices the recurrence loses more than they do.
    fn nearly_singular(self, det: Self, n: usize) -> bool {
        let limit = match T::NAME {
            _ if n > 8 => 0.0,
            "f32" => 1e-2,
            _ => 1e-5,
        };
        let mut dets = det.as_slice().iter().map(|x| x.to_f64().abs());
        let (mut near, mut count, mut row, mut bound) = (false, 0, 0.0, 1.0);
        self.value().for_each(|x| {
            row += x.to_f64() * x.to_f64();
            count += 1;
            if count % n == 0 {
                bound *= f64::sqrt(row);
                row = 0.0;
            }
            if count == n * n {
                near |= dets.next().is_some_and(|det| det == 0.0 || det <= limit * bound);
                (count, bound) = (0, 1.0);
            }
        });
        near
    }

    /// `[.., 1, 1]` as `[..]`.
    #[track_caller]
    fn without_matrix(self, x: Self) -> Self {
        x.reshape(&self.shape()[..self.rank() - 2])
    }

    /// The sign of the determinant, a constant, and the logarithm of its size.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let (sign, log) = tape.tensor([[0.0, 1.0], [1.0, 0.0]]).slogdet();
    /// assert_eq!((sign.item(), log.item()), (-1.0, 0.0));
    /// ```
    ///
    /// # Panics
    /// If a matrix is not square.
    #[track_caller]
    pub fn slogdet(self) -> (Self, Self) {
        let n = self.square_matrices("slogdet");
        let log = self.without_matrix(self.record(op(Determinant { a: self.id(), log: true })));
        // Scaled so that the determinant is 1 or -1 and does not leave the
        // range of the numbers; a singular matrix has no such scale.
        let size = log.detach();
        let scale = (size / -T::from_f64(n.max(1) as f64)).exp().masked_fill(size.eq(T::NEG_INFINITY), T::ZERO);
        let scaled = self.detach() * scale.unsqueeze(-1).unsqueeze(-1);
        let det = self.without_matrix(self.record(op(Determinant { a: scaled.id(), log: false })));
        (det.sign(), log)
    }

    /// The logarithm of the determinant: NaN where that is negative, -∞ where
    /// it is 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([[2.0, 0.0], [0.0, 0.5]]).logdet().item(), 0.0);
    /// ```
    ///
    /// # Panics
    /// If a matrix is not square.
    #[track_caller]
    pub fn logdet(self) -> Self {
        let (sign, log) = self.slogdet();
        log.where_mask(sign.ge(T::ZERO), T::NAN)
    }

    /// The sum of the diagonal of matrices.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([[1.0, 2.0], [3.0, 4.0]]).trace().item(), 5.0);
    /// ```
    ///
    /// # Panics
    /// If there are fewer than two axes.
    #[track_caller]
    pub fn trace(self) -> Self {
        assert!(self.rank() >= 2, "trace: needs matrices, got {:?}", self.shape());
        self.diagonal(0, -2, -1).sum_axes(-1)
    }

    /// The sum of products of two vectors.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1.0, 2.0]).dot(tape.tensor([3.0, 4.0])).item(), 11.0);
    /// ```
    ///
    /// # Panics
    /// If the operands are not vectors of one length.
    #[track_caller]
    pub fn dot(self, other: impl Operand<'t, T>) -> Self {
        let other = self.operand(other);
        let fits = self.rank() == 1 && self.shape() == other.shape();
        assert!(fits, "dot: needs two vectors of one length, got {:?} and {:?}", self.shape(), other.shape());
        self.matmul(other)
    }

    /// All products of the elements of two vectors: `[m]` and `[n]` give
    /// `[m, n]`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1.0, 2.0]).outer(tape.tensor([3.0, 4.0])).to_vec(), [3.0, 4.0, 6.0, 8.0]);
    /// ```
    ///
    /// # Panics
    /// If the operands are not vectors.
    #[track_caller]
    pub fn outer(self, other: impl Operand<'t, T>) -> Self {
        let other = self.operand(other);
        let fits = self.rank() == 1 && other.rank() == 1;
        assert!(fits, "outer: needs two vectors, got {:?} and {:?}", self.shape(), other.shape());
        self.unsqueeze(1) * other
    }
}

/// Which triangle [`Tensor::solve_triangular`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Triangular {
    /// On and below the diagonal.
    Lower,
    /// On and above the diagonal.
    Upper,
    /// Below the diagonal, which counts as 1.
    UnitLower,
    /// Above the diagonal, which counts as 1.
    UnitUpper,
}
