//! Matrix products.

use super::{Id, Inferred, Interpreter, Op, Values, reduce};
use crate::kernels::gemm::Mat;
use crate::kernels::gemm::split::{Blocks, Product};
use crate::kernels::map::copy;
use crate::kernels::nest::Nest;
use crate::kernels::{Machine, Out, Value};
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

    /// (batch axes, rows, columns) of an operand of this shape, or what stands
    /// in their place in its strides.
    #[inline(always)]
    fn matrix<N: Copy>(self, axes: &[N]) -> (&[N], N, N) {
        let (batch, rows, columns) = split(axes);
        if self.transposed { (batch, columns, rows) } else { (batch, rows, columns) }
    }

    /// The first matrix of an operand.
    #[inline(always)]
    fn first<T>(self, x: Value<'_, T>) -> Mat<T> {
        let (_, rs, cs) = self.matrix(x.layout.strides);
        Mat { data: x.data, rs, cs }
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
fn split<N: Copy>(axes: &[N]) -> (&[N], N, N) {
    let [batch @ .., rows, columns] = axes else { unreachable!("a matrix has two axes") };
    (batch, *rows, *columns)
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
            return Inferred::Fresh(v.layouts().contiguous_axes([m, n]));
        }
        let Some(mut dims) = try_broadcast(batch_a, batch_b) else {
            panic!("matmul: batches do not broadcast: {a:?} x {b:?}");
        };
        dims.extend([m, n]);
        Inferred::fresh(v, &dims)
    }

    #[inline(always)]
    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, machine: &Machine<T>) {
        let row = self.row.map(|row| v.value(row));
        // SAFETY: the caller's contract.
        unsafe { self.multiply([v.value(self.a.x), v.value(self.b.x)], row, out, machine) }
    }

    /// [`Matmul::run`], compiled once for all who run it.
    unsafe fn multiply<T: Scalar>(
        &self,
        operands: [Value<'_, T>; 2],
        mut row: Option<Value<'_, T>>,
        mut out: Out<'_, T>,
        machine: &Machine<T>,
    ) {
        if let Some(strided) = row.take_if(|row| out.add || !row.layout.contiguous) {
            // SAFETY: the caller's contract: a row as long as those of the output.
            unsafe { copy(machine.isa, strided, out) };
            out.add = true;
        }
        // SAFETY: the caller's contract.
        unsafe {
            if out.dims.len() > 2 || !self.first_product(operands, row, out, machine).run_at_once() {
                self.multiply_large(operands, row, out, machine);
            }
        }
    }

    /// The product of the first matrices of operands, added to a row or to what
    /// is there.
    #[inline(always)]
    fn first_product<T: Scalar>(
        &self,
        [a, b]: [Value<'_, T>; 2],
        row: Option<Value<'_, T>>,
        out: Out<'_, T>,
        machine: &Machine<T>,
    ) -> Product<T> {
        let ((_, m, n), (.., k)) = (split(out.dims), self.a.matrix(a.layout.dims));
        let operands = [self.a.first(a), self.b.first(b)];
        let product = Product::new(machine, [m, n, k], operands, out.data, n, out.add);
        match row {
            Some(row) => Product { start: Some(Mat::rows(row.data, 0)), ..product },
            None => product,
        }
    }

    /// Products of several matrices, and those which are cut.
    #[inline(never)]
    unsafe fn multiply_large<T: Scalar>(
        &self,
        [a, b]: [Value<'_, T>; 2],
        row: Option<Value<'_, T>>,
        out: Out<'_, T>,
        machine: &Machine<T>,
    ) {
        let product = self.first_product([a, b], row, out, machine);
        let (batch, ..) = split(out.dims);
        if batch.is_empty() {
            let threads = &*machine.threads.borrow();
            let blocks = Blocks::of(product.shape).filter(|_| threads.count() > 1);
            let scratch = blocks.map_or(product.scratch_len(), |b| threads.count() * product.scratch_len_of(b));
            return machine.with_scratch(scratch, |scratch| match blocks {
                // SAFETY: the caller's contract.
                Some(blocks) => unsafe { product.run_blocks(threads, blocks, scratch) },
                // SAFETY: as above.
                None => unsafe { product.run(scratch) },
            });
        }
        let [over_a, over_b] = [(self.a, a), (self.b, b)].map(|(side, x)| {
            let ((dims, ..), (strides, ..)) = (side.matrix(x.layout.dims), side.matrix(x.layout.strides));
            broadcast_strides(dims, strides, batch)
        });
        let [m, n, _] = product.shape;
        let mut over_c = contiguous_strides(batch);
        over_c.iter_mut().for_each(|s| *s *= (m * n) as isize);
        let nest = Nest::new(batch, [&over_a, &over_b, &over_c]);
        let (count, [next_a, next_b, next_c]) = nest.inner();
        machine.with_scratch(product.scratch_len(), |scratch| {
            nest.for_each(|[at_a, at_b, at_c]| {
                for i in 0..count as isize {
                    // SAFETY: the offsets are those of the first elements of
                    // matrices whose rows and columns the strides reach. An
                    // operand without elements is not read, and its offsets
                    // may lie anywhere.
                    unsafe {
                        let a = product.a.at(at_a + i * next_a);
                        let b = product.b.at(at_b + i * next_b);
                        let at_c = at_c + i * next_c;
                        let c = product.c.offset(at_c);
                        // A row is that of every matrix.
                        let start = product.start.map(|start| if out.add { start.at(at_c) } else { start });
                        Product { a, b, c, start, ..product }.run(scratch);
                    }
                }
            });
        });
    }

    /// To the left operand `g B^T`, or its transpose `B g^T`; to the right one
    /// `A^T g`, or `g^T A`.
    pub(crate) fn rule<E: Interpreter>(self, e: &mut E, y: Id, g: Id) {
        // SAFETY: the shape of the result of an op under differentiation.
        let one = unsafe { e.dims(y).get() }.len() == 2;
        let (a, b, g) = (self.a, self.b, Side::plain(g));
        let to_a = if a.transposed { op(b, g.t()) } else { op(g, b.t()) };
        let to_b = if b.transposed { op(g.t(), a) } else { op(a.t(), g) };
        // Batches may have been broadcast.
        if one {
            e.give_alike(a.x, to_a);
            e.give_alike(b.x, to_b);
        } else {
            e.give(a.x, to_a);
            e.give(b.x, to_b);
        }
        if let Some(row) = self.row {
            // A row belongs to one matrix, and is as long as its rows.
            e.give_alike(row, reduce::sum(g.x, 1, false));
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
        let op = Matmul { a: Side::plain(self.id()), b: Side::plain(matrix.id()), row: row.map(Self::id) };
        let [batch @ .., inner] = self.shape() else { unreachable!("a scalar has no inner dimension") };
        if batch.len() == 1 {
            return self.record(Op::Matmul(op));
        }
        let flat = self.reshape([batch.iter().product(), *inner]);
        let product = self.record(Op::Matmul(Matmul { a: Side::plain(flat.id()), ..op }));
        let mut dims = Dims::from_slice(batch);
        dims.push(matrix.shape()[1]);
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
