//! Matrix products.

use std::mem::MaybeUninit;

use super::{Emit, Id, Inferred, Op, Values, view};
use crate::kernels::gemm::split::{Blocks, Product};
use crate::kernels::gemm::{self, Mat};
use crate::kernels::map::copy;
use crate::kernels::nest::Nest;
use crate::kernels::{Machine, Out};
use crate::scalar::Scalar;
use crate::shape::{Dims, broadcast_strides, contiguous_strides, try_broadcast};
use crate::tensor::{Operand, Tensor};

/// `a @ b`: matrices along the last two axes, each read transposed if so
/// marked; the axes before them broadcast. Plus a row, if there is one: then
/// the product is added to what starts as copies of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matmul {
    a: Side,
    b: Side,
    row: Option<Id>,
}

/// A matrix operand, and whether it is read transposed.
#[derive(Clone, Copy, Debug)]
struct Side {
    x: Id,
    transposed: bool,
}

impl Side {
    fn plain(x: Id) -> Self {
        Side { x, transposed: false }
    }

    fn t(self) -> Self {
        Side { transposed: !self.transposed, ..self }
    }

    /// (batch axes, rows, columns) of an operand of this shape.
    #[inline(always)]
    fn matrix(self, dims: &[usize]) -> (&[usize], usize, usize) {
        let (batch, rows, columns) = split(dims);
        if self.transposed { (batch, columns, rows) } else { (batch, rows, columns) }
    }

    /// The strides of rows and columns.
    #[inline(always)]
    fn steps(self, strides: &[isize]) -> (isize, isize) {
        let (row, column) = (strides[strides.len() - 2], strides[strides.len() - 1]);
        if self.transposed { (column, row) } else { (row, column) }
    }
}

fn op(a: Side, b: Side) -> Op {
    Op::Matmul(Matmul { a, b, row: None })
}

fn matmul(a: Id, b: Id) -> Op {
    op(Side::plain(a), Side::plain(b))
}

/// The product of matrices, each read transposed if so marked.
pub(crate) fn transposed(a: Id, b: Id, a_t: bool, b_t: bool) -> Op {
    op(Side { x: a, transposed: a_t }, Side { x: b, transposed: b_t })
}

/// (batch axes, rows, columns)
#[inline(always)]
fn split(dims: &[usize]) -> (&[usize], usize, usize) {
    let (batch, matrix) = dims.split_at(dims.len() - 2);
    (batch, matrix[0], matrix[1])
}

impl Matmul {
    pub(crate) fn name(&self) -> &'static str {
        if self.row.is_some() { "linear" } else { "matmul" }
    }

    pub(crate) fn operands(&self) -> impl Iterator<Item = Id> + use<> {
        [self.a.x, self.b.x].into_iter().chain(self.row)
    }

    #[track_caller]
    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        let (a, b) = (v.value(self.a.x).layout.dims, v.value(self.b.x).layout.dims);
        let ((batch_a, m, k), (batch_b, k_b, n)) = (self.a.matrix(a), self.b.matrix(b));
        assert!(k == k_b, "matmul: inner dimensions differ: {a:?} x {b:?}");
        if batch_a.is_empty() && batch_b.is_empty() {
            return Inferred::fresh(v, &[m, n]);
        }
        let Some(mut dims) = try_broadcast(batch_a, batch_b) else {
            panic!("matmul: batches do not broadcast: {a:?} x {b:?}");
        };
        dims.extend([m, n]);
        Inferred::fresh(v, &dims)
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, machine: &Machine<T>) {
        let (a, b) = (v.value(self.a.x), v.value(self.b.x));
        let (batch, m, n) = split(out.dims);
        // What the products are added to: a row for all, or what C holds.
        let mut row = self.row.map(|row| v.value(row));
        let mut add = out.add;
        if let Some(strided) = row.take_if(|row| add || !row.layout.contiguous) {
            // SAFETY: the caller's contract: a row as long as those of the output.
            unsafe { copy(machine.isa, strided, out) };
            add = true;
        }
        let start = |c: *mut T| match row {
            Some(row) => Some(Mat { data: row.data, rs: 0, cs: 1 }),
            None => add.then_some(Mat { data: c.cast_const(), rs: n as isize, cs: 1 }),
        };
        let (batch_a, _, k) = self.a.matrix(a.layout.dims);
        let (batch_b, ..) = self.b.matrix(b.layout.dims);
        let (strides_a, strides_b) = (a.layout.strides, b.layout.strides);
        let (step_a, step_b) = (self.a.steps(strides_a), self.b.steps(strides_b));
        let backend = machine.gemm.get();
        let scratch = gemm::scratch_len::<T>(backend, machine.isa, m, n, k, step_a, step_b);
        let product = |at_a: isize, at_b: isize, at_out: isize, scratch: &mut [MaybeUninit<T>]| {
            // SAFETY: the offsets are those of the first elements of matrices
            // whose rows and columns the strides reach. An operand without
            // elements is not read, and its offsets may lie anywhere.
            unsafe {
                let a = Mat { data: a.data.wrapping_offset(at_a), rs: step_a.0, cs: step_a.1 };
                let b = Mat { data: b.data.wrapping_offset(at_b), rs: step_b.0, cs: step_b.1 };
                let c = out.data.offset(at_out);
                gemm::gemm(backend, machine.isa, m, n, k, a, b, c, n as isize, start(c), scratch);
            }
        };
        if batch.is_empty() {
            let threads = &*machine.threads.borrow();
            if threads.count() > 1
                && let Some(blocks) = Blocks::of([m, n, k])
            {
                let a = Mat { data: a.data, rs: step_a.0, cs: step_a.1 };
                let b = Mat { data: b.data, rs: step_b.0, cs: step_b.1 };
                let isa = machine.isa;
                let product = Product { backend, isa, a, b, c: out.data, rsc: n as isize, start: start(out.data) };
                let scratch = threads.count() * product.scratch_len(blocks);
                // SAFETY: as above.
                return machine.with_scratch(scratch, |scratch| unsafe { product.run(threads, blocks, scratch) });
            }
            return machine.with_scratch(scratch, |scratch| product(0, 0, 0, scratch));
        }
        let over_a = broadcast_strides(batch_a, &strides_a[..batch_a.len()], batch);
        let over_b = broadcast_strides(batch_b, &strides_b[..batch_b.len()], batch);
        let mut over_out = contiguous_strides(batch);
        over_out.iter_mut().for_each(|s| *s *= (m * n) as isize);
        let nest = Nest::new(batch, [&over_a, &over_b, &over_out]);
        let (count, [next_a, next_b, next_out]) = nest.inner();
        machine.with_scratch(scratch, |scratch| {
            nest.for_each(|[at_a, at_b, at_out]| {
                for i in 0..count as isize {
                    product(at_a + i * next_a, at_b + i * next_b, at_out + i * next_out, scratch);
                }
            });
        });
    }

    /// To the left operand `g B^T`, or its transpose `B g^T`; to the right one
    /// `A^T g`, or `g^T A`.
    pub(crate) fn rule<E: Emit>(self, e: &mut E, _: Id, g: Id) {
        let (a, b, g) = (self.a, self.b, Side::plain(g));
        e.give(a.x, if a.transposed { op(b, g.t()) } else { op(g, b.t()) });
        e.give(b.x, if b.transposed { op(g.t(), a) } else { op(a.t(), g) });
        if let Some(row) = self.row {
            e.give(row, view::same(g.x));
        }
    }
}

impl<'t, T: Scalar> Tensor<'t, T> {
    /// The matrix product, as NumPy and PyTorch define it:
    ///
    /// | `self` | `other` | result |
    /// |---|---|---|
    /// | `[k]` | `[k]` | `[]`, the dot product |
    /// | `[m, k]` | `[k]` | `[m]` |
    /// | `[k]` | `[k, n]` | `[n]` |
    /// | `[.., m, k]` | `[.., k, n]` | `[.., m, n]`, the `..` broadcast |
    ///
    /// Transposed operands are read in place.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let a = tape.tensor([[1.0, 2.0], [3.0, 4.0]]);
    /// assert_eq!(a.matmul(a.t()).to_vec(), [5.0, 11.0, 11.0, 25.0]);
    /// assert_eq!(a.matmul(tape.tensor([1.0, 1.0])).to_vec(), [3.0, 7.0]);
    /// ```
    ///
    /// # Panics
    /// If the inner dimensions differ, the batch axes do not broadcast, or an
    /// operand is a scalar.
    #[doc(alias = "mm")]
    #[doc(alias = "bmm")]
    #[track_caller]
    pub fn matmul(self, other: impl Operand<'t, T>) -> Self {
        let (a, b) = (self, self.operand(other));
        let (left, right) = (a.shape(), b.shape());
        let some = !left.is_empty() && !right.is_empty();
        assert!(some, "matmul: a scalar has no inner dimension: {left:?} x {right:?}");
        if left.len() == 2 && right.len() == 2 {
            return self.record(matmul(a.id(), b.id()));
        }
        let inner = right[right.len().saturating_sub(2)];
        let same = left[left.len() - 1] == inner;
        assert!(same, "matmul: inner dimensions differ: {left:?} x {right:?}");
        if left.len() == 1 || right.len() == 1 {
            return a.matmul_vector(b);
        }
        if right.len() == 2 && a.is_contiguous() {
            return a.by_rows(b, None);
        }
        self.record(matmul(a.id(), b.id()))
    }

    /// A product with one matrix for every batch: all rows at once.
    #[track_caller]
    fn by_rows(self, matrix: Self, row: Option<Self>) -> Self {
        let (left, right) = (self.shape(), matrix.shape());
        let rows = left[..left.len() - 1].iter().product();
        let flat = if left.len() == 2 { self } else { self.reshape([rows, right[0]]) };
        let op = Matmul { a: Side::plain(flat.id()), b: Side::plain(matrix.id()), row: row.map(Self::id) };
        let product = self.record(Op::Matmul(op));
        if left.len() == 2 {
            return product;
        }
        let mut dims = Dims::from_slice(&left[..left.len() - 1]);
        dims.push(right[1]);
        product.reshape(dims)
    }

    /// `x W + b`: `[.., in]` with a weight `[in, out]` and a bias `[out]`, the
    /// rows of the result starting as copies of the bias.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let (x, w) = (tape.tensor([[1.0, 2.0]]), tape.tensor([[1.0, 0.0, 3.0], [0.0, 1.0, 4.0]]));
    /// assert_eq!(x.linear(w, Some(tape.tensor([10.0, 20.0, 30.0]))).to_vec(), [11.0, 22.0, 41.0]);
    /// ```
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[doc(alias = "addmm")]
    #[track_caller]
    pub fn linear(self, weight: impl Operand<'t, T>, bias: Option<Self>) -> Self {
        let weight = self.operand(weight);
        let (x, w) = (self.shape(), weight.shape());
        let fits = w.len() == 2 && x.last() == Some(&w[0]);
        assert!(fits, "linear: inner dimensions differ: {x:?} x {w:?}");
        let Some(bias) = bias else { return self.matmul(weight) };
        let bias = self.operand(bias);
        let straight = *bias.shape() == [w[1]] && (x.len() == 2 || x.len() > 2 && self.is_contiguous());
        if straight { self.by_rows(weight, Some(bias)) } else { self.matmul(weight) + bias }
    }

    /// A product where an operand has one axis, which becomes a matrix of one
    /// row or one column meanwhile.
    #[track_caller]
    fn matmul_vector(self, b: Self) -> Self {
        let (left, right) = (self.shape(), b.shape());
        let row = if left.len() == 1 { self.reshape([1, left[0]]) } else { self };
        let column = if right.len() == 1 { b.reshape([right[0], 1]) } else { b };
        let product = self.record(matmul(row.id(), column.id()));
        let mut dims = Dims::from_slice(product.shape());
        if right.len() == 1 {
            dims.pop();
        }
        if left.len() == 1 {
            dims.remove(dims.len() - usize::from(right.len() > 1) - 1);
        }
        product.reshape(dims)
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
