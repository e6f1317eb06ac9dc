//! Views: other shapes of the same memory, and copies of them.

use smallvec::SmallVec;

use super::{Id, Inferred, Interpreter, List, Op, Values, reduce};
use crate::kernels::map::copy;
use crate::kernels::{Machine, Out};
use crate::scalar::Scalar;
use crate::shape::{self, Dims, Strides, broadcast_strides, contiguous_strides, element_count, zeros};
use crate::tensor::Tensor;

/// A view of `x`, or a contiguous copy of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum View {
    /// `x` as it is.
    Same { x: Id },
    /// A row-major copy.
    Contiguous { x: Id },
    /// The same elements in row-major order, in another shape.
    Reshape { x: Id, dims: List<usize> },
    /// Two axes exchanged.
    Transpose { x: Id, i: u8, j: u8 },
    /// Axis `k` of the result is axis `axes[k]` of `x`; or, inverted, axis
    /// `axes[k]` of the result is axis `k` of `x`.
    Permute { x: Id, axes: List<u8>, inverse: bool },
    /// Broadcast to a larger shape.
    Broadcast { x: Id, dims: List<usize> },
    /// A reduced tensor repeated along the axes of `mask` to the shape `dims`.
    Unreduce { x: Id, mask: u64, dims: List<usize> },
}

use View::*;

pub(crate) fn same(x: Id) -> Op {
    Op::View(Same { x })
}

/// The last two axes exchanged.
pub(crate) fn matrix_transpose(x: Id, rank: usize) -> Op {
    Op::View(Transpose { x, i: rank as u8 - 2, j: rank as u8 - 1 })
}

pub(crate) fn unreduce(x: Id, mask: u64, dims: List<usize>) -> Op {
    Op::View(Unreduce { x, mask, dims })
}

pub(crate) fn reshape(x: Id, dims: List<usize>) -> Op {
    Op::View(Reshape { x, dims })
}

/// The strides under which memory laid out as `dims`/`strides` has the shape
/// `to` in row-major order, or `None` where only a copy does.
fn reshape_strides(dims: &[usize], strides: &[isize], to: &[usize]) -> Option<Strides> {
    if shape::is_contiguous(dims, strides) {
        return Some(contiguous_strides(to));
    }
    let kept = |&(&d, _): &(&usize, &isize)| d != 1;
    let from: SmallVec<[(usize, isize); 8]> = dims.iter().zip(strides).filter(kept).map(|(&d, &s)| (d, s)).collect();
    let mut out: Strides = SmallVec::from_elem(0, to.len());
    // Pair the shortest groups of axes of equal size on both sides; inside a
    // group the source must be one run of equal steps.
    let (mut i, mut j) = (0, 0);
    while i < from.len() {
        let (mut size, mut size_to) = (from[i].0, 1);
        let start = (i, j);
        i += 1;
        while size_to != size || j < to.len() && to[j] == 1 {
            if size_to <= size {
                size_to *= *to.get(j)?;
                j += 1;
            } else {
                let (&(_, outer), &(d, inner)) = (&from[i - 1], from.get(i)?);
                if outer != inner * d as isize {
                    return None;
                }
                size *= d;
                i += 1;
            }
        }
        let mut step = from[i - 1].1;
        for k in (start.1..j).rev() {
            out[k] = step;
            step *= to[k] as isize;
        }
    }
    Some(out)
}

impl View {
    fn x(&self) -> Id {
        match *self {
            Same { x } | Contiguous { x } | Reshape { x, .. } | Transpose { x, .. } => x,
            Permute { x, .. } | Broadcast { x, .. } | Unreduce { x, .. } => x,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Same { .. } => "same",
            Contiguous { .. } => "contiguous",
            Reshape { .. } => "reshape",
            Transpose { .. } => "transpose",
            Permute { .. } => "permute",
            Broadcast { .. } => "broadcast_to",
            Unreduce { .. } => "unreduce",
        }
    }

    pub(crate) fn operands(&self) -> [Id; 1] {
        [self.x()]
    }

    #[track_caller]
    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        let of = self.x();
        let from = v.value(of).layout;
        let view = |layout| Inferred::View { of, offset: 0, layout };
        let strided = |dims: &[usize], strides: &[isize]| view(v.layouts().strided(dims, strides));
        let lists = || (Dims::from_slice(from.dims), Strides::from_slice(from.strides));
        match *self {
            Same { .. } => view(from),
            Contiguous { .. } => Inferred::fresh(v, from.dims),
            Reshape { dims: to, .. } => {
                // SAFETY: a list of an op of this tape.
                let to = unsafe { to.get() };
                if from.contiguous {
                    return view(v.layouts().contiguous(to));
                }
                match reshape_strides(from.dims, from.strides, to) {
                    Some(strides) => strided(to, &strides),
                    None => Inferred::fresh(v, to),
                }
            }
            Transpose { i, j, .. } => {
                let (mut dims, mut strides) = lists();
                dims.swap(i.into(), j.into());
                strides.swap(i.into(), j.into());
                strided(&dims, &strides)
            }
            Permute { axes, inverse, .. } => {
                let (mut dims, mut strides) = lists();
                // SAFETY: a list of an op of this tape.
                for (k, &axis) in unsafe { axes.get() }.iter().enumerate() {
                    let (to, axis) = if inverse { (axis.into(), k) } else { (k, axis.into()) };
                    dims[to] = from.dims[axis];
                    strides[to] = from.strides[axis];
                }
                strided(&dims, &strides)
            }
            Broadcast { dims: to, .. } => {
                // SAFETY: a list of an op of this tape.
                let to = unsafe { to.get() };
                strided(to, &broadcast_strides(from.dims, from.strides, to))
            }
            Unreduce { mask, dims: to, .. } => {
                // SAFETY: a list of an op of this tape, or of an entry of it.
                let to = unsafe { to.get() };
                let kept = from.rank() == to.len();
                let mut steps = zeros(to.len());
                let mut next = 0;
                for k in 0..to.len() {
                    let reduced = mask >> k & 1 == 1;
                    if !reduced {
                        steps[k] = from.strides[next];
                    }
                    next += usize::from(kept || !reduced);
                }
                strided(to, &steps)
            }
        }
    }

    /// Runs for copies alone; a view has the memory of its operand.
    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        // A reshape which is not a view copies in row-major order.
        let x = v.value(self.x());
        // SAFETY: the caller's contract; the copy reads `x` in its own shape,
        // which has as many elements as the output.
        unsafe { copy(m.isa, x, Out { dims: x.layout.dims, ..out }) }
    }

    pub(crate) fn rule<E: Interpreter>(self, e: &mut E, _: Id, g: Id) {
        let x = self.x();
        if !e.wants(x) {
            return;
        }
        let op = match self {
            Same { .. } | Contiguous { .. } | Broadcast { .. } => same(g),
            Reshape { .. } => reshape(g, e.dims(x)),
            Transpose { i, j, .. } => Op::View(Transpose { x: g, i, j }),
            Permute { axes, inverse, .. } => Op::View(Permute { x: g, axes, inverse: !inverse }),
            Unreduce { mask, dims, .. } => {
                // SAFETY: a list of an op of this tape.
                let (from, to) = unsafe { (e.dims(x).get(), dims.get()) };
                reduce::sum(g, mask, from.len() == to.len())
            }
        };
        e.give(x, op);
    }
}

/// Shapes. None of these copies, except `reshape` and `contiguous` where the
/// elements are not in row-major order.
impl<'t, T: Scalar> Tensor<'t, T> {
    /// The same elements, row-major, in another shape.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.arange(0.0, 6.0, 1.0).reshape([2, 3]);
    /// assert_eq!(x.transpose(0, 1).reshape([6]).to_vec(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    /// ```
    ///
    /// # Panics
    /// If the shape has another number of elements.
    #[doc(alias = "view")]
    #[track_caller]
    pub fn reshape(self, shape: impl AsRef<[usize]>) -> Self {
        let to = shape.as_ref();
        let fits = element_count(to) == self.len();
        assert!(fits, "reshape: {:?} does not fit into {to:?}", self.shape());
        let dims = List::new(self.tape().arena().copy(to));
        self.record(reshape(self.id(), dims))
    }

    /// Two axes exchanged; negative axes count from the end.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.ones([2, 3, 4]).transpose(0, -1).shape(), &[4, 3, 2]);
    /// ```
    ///
    /// # Panics
    /// If an axis is out of range.
    #[doc(alias = "swapaxes")]
    #[track_caller]
    pub fn transpose(self, i: isize, j: isize) -> Self {
        let i = shape::axis("transpose", i, self.rank()) as u8;
        let j = shape::axis("transpose", j, self.rank()) as u8;
        self.record(Op::View(Transpose { x: self.id(), i, j }))
    }

    /// The transpose of a matrix, or of every matrix of a batch: the last two
    /// axes exchanged.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.ones([2, 3]).t().shape(), &[3, 2]);
    /// ```
    ///
    /// # Panics
    /// If the rank is below 2.
    #[doc(alias = "mT")]
    #[track_caller]
    pub fn t(self) -> Self {
        assert!(self.rank() >= 2, "t: needs at least two axes, got {:?}", self.shape());
        self.record(matrix_transpose(self.id(), self.rank()))
    }

    /// The axes in another order: axis `k` of the result is `axes[k]` of
    /// `self`; negative axes count from the end.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.ones([2, 3, 4]).permute([2, 0, 1]).shape(), &[4, 2, 3]);
    /// ```
    ///
    /// # Panics
    /// If `axes` does not name every axis once.
    #[track_caller]
    pub fn permute(self, axes: impl AsRef<[isize]>) -> Self {
        let axes = axes.as_ref();
        let mut seen = 0u64;
        let mut list: SmallVec<[u8; 8]> = SmallVec::new();
        for &a in axes {
            let a = shape::axis("permute", a, self.rank());
            seen |= 1 << a;
            list.push(a as u8);
        }
        let all = axes.len() == self.rank() && seen.count_ones() as usize == self.rank();
        assert!(all, "permute: {axes:?} does not name every axis of {:?} once", self.shape());
        let axes = List::new(self.tape().arena().copy(&list));
        self.record(Op::View(Permute { x: self.id(), axes, inverse: false }))
    }

    /// Repeated to a larger shape by NumPy's rule, without copying.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([1.0, 2.0]).broadcast_to([3, 2]);
    /// assert_eq!(x.to_vec(), [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// If `self` does not broadcast to `shape`.
    #[doc(alias = "expand")]
    #[track_caller]
    pub fn broadcast_to(self, shape: impl AsRef<[usize]>) -> Self {
        let to = shape.as_ref();
        element_count(to);
        let fits = shape::try_broadcast(self.shape(), to).is_some_and(|d| d.as_slice() == to);
        assert!(fits, "broadcast_to: {:?} does not broadcast to {to:?}", self.shape());
        let dims = List::new(self.tape().arena().copy(to));
        self.record(Op::View(Broadcast { x: self.id(), dims }))
    }

    /// Every axis of length 1 dropped.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.ones([1, 3, 1]).squeeze().shape(), &[3]);
    /// ```
    #[track_caller]
    pub fn squeeze(self) -> Self {
        let dims: Dims = self.shape().iter().copied().filter(|&d| d != 1).collect();
        self.reshape(dims)
    }

    /// One axis of length 1 dropped.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.ones([1, 3, 1]).squeeze_axis(-1).shape(), &[1, 3]);
    /// ```
    ///
    /// # Panics
    /// If the axis is out of range or of another length.
    #[track_caller]
    pub fn squeeze_axis(self, axis: isize) -> Self {
        let axis = shape::axis("squeeze", axis, self.rank());
        let one = self.shape()[axis] == 1;
        assert!(one, "squeeze: axis {axis} of {:?} is not of length 1", self.shape());
        let mut dims = Dims::from_slice(self.shape());
        dims.remove(axis);
        self.reshape(dims)
    }

    /// An axis of length 1 inserted before position `axis` (of the result;
    /// negative ones count from its end).
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.ones([2, 3]).unsqueeze(1).shape(), &[2, 1, 3]);
    /// assert_eq!(tape.ones([2, 3]).unsqueeze(-1).shape(), &[2, 3, 1]);
    /// ```
    ///
    /// # Panics
    /// If the axis is out of range.
    #[track_caller]
    pub fn unsqueeze(self, axis: isize) -> Self {
        let axis = shape::axis("unsqueeze", axis, self.rank() + 1);
        let mut dims = Dims::from_slice(self.shape());
        dims.insert(axis, 1);
        self.reshape(dims)
    }

    /// The axes from `first` to `last` (both included; negative ones count
    /// from the end) joined into one.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.ones([2, 3, 4]).flatten(1, -1).shape(), &[2, 12]);
    /// ```
    ///
    /// # Panics
    /// If an axis is out of range, or the first is after the last.
    #[track_caller]
    pub fn flatten(self, first: isize, last: isize) -> Self {
        if self.rank() == 0 {
            return self.reshape([1]);
        }
        let (a, b) = (shape::axis("flatten", first, self.rank()), shape::axis("flatten", last, self.rank()));
        assert!(a <= b, "flatten: axis {first} is after axis {last} of {:?}", self.shape());
        let mut dims = Dims::from_slice(&self.shape()[..a]);
        dims.push(self.shape()[a..=b].iter().product());
        dims.extend_from_slice(&self.shape()[b + 1..]);
        self.reshape(dims)
    }

    /// A row-major copy, or `self` where it is row-major already.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([[1.0, 2.0], [3.0, 4.0]]).t().contiguous();
    /// assert_eq!(x.as_slice(), &[1.0, 3.0, 2.0, 4.0]);
    /// ```
    #[track_caller]
    pub fn contiguous(self) -> Self {
        if self.is_contiguous() { self } else { self.record(Op::View(Contiguous { x: self.id() })) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_of_reshapes() {
        let s =
            |dims: &[usize], strides: &[isize], to: &[usize]| reshape_strides(dims, strides, to).map(|s| s.to_vec());
        // A transposed matrix cannot be flattened, but its axes can be split.
        assert_eq!(s(&[3, 2], &[1, 3], &[6]), None);
        assert_eq!(s(&[4, 2], &[1, 4], &[2, 2, 2]), Some(vec![2, 1, 4]));
        assert_eq!(s(&[2, 3, 4], &[0, 4, 1], &[2, 12]), Some(vec![0, 1]));
        assert_eq!(s(&[2, 3, 4], &[0, 4, 1], &[6, 4]), None);
        assert_eq!(s(&[3, 1, 2], &[1, 7, 3], &[3, 2, 1]), Some(vec![1, 3, 3]));
        assert_eq!(s(&[5], &[0], &[1, 5, 1]), Some(vec![0, 0, 0]));
    }
}
