//! Picking elements by index.

use super::{Emit, Id, Inferred, List, Op, Ref, Values};
use crate::kernels::nest::Nest;
use crate::kernels::{Machine, Out};
use crate::scalar::Scalar;
use crate::shape::{self, Dims, contiguous_strides};
use crate::tensor::{Operand, Tensor};

/// Which positions along an axis of length `of`: the same for every line, or
/// (`each`) one for every element of the result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Positions {
    axis: usize,
    of: usize,
    index: List<usize>,
    /// The shape of the result.
    dims: List<usize>,
    each: bool,
}

/// The elements of `x` at some positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Take {
    x: Id,
    at: Ref<Positions>,
}

/// The adjoint of [`Take`]: zeros, with `g` added at the positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Untake {
    g: Id,
    at: Ref<Positions>,
}

impl Positions {
    /// Calls `f` with the offset of every element of the whole (with these
    /// strides) and of the part.
    fn for_each(&self, whole: &[isize], part: &[isize], mut f: impl FnMut(isize, isize)) {
        // SAFETY: lists of an op of this tape.
        let (index, dims) = unsafe { (self.index.get(), self.dims.get()) };
        let along = whole[self.axis];
        let mut others = shape::Strides::from_slice(whole);
        others[self.axis] = 0;
        if self.each {
            let nest = Nest::new(dims, [&others, part]);
            let (len, [step, part_step]) = nest.inner();
            let mut index = index.iter();
            nest.for_each(|[to, from]| {
                for i in 0..len as isize {
                    if let Some(&at) = index.next() {
                        f(to + i * step + at as isize * along, from + i * part_step);
                    }
                }
            });
            return;
        }
        let mut lines = Dims::from_slice(dims);
        lines[self.axis] = 1;
        let nest = Nest::new(&lines, [&others, part]);
        let (len, [step, part_step]) = nest.inner();
        for (k, &at) in index.iter().enumerate() {
            let (to_line, from_line) = (at as isize * along, k as isize * part[self.axis]);
            nest.for_each(|[to, from]| {
                for i in 0..len as isize {
                    f(to_line + to + i * step, from_line + from + i * part_step);
                }
            });
        }
    }
}

impl Take {
    pub(crate) fn name(&self) -> &'static str {
        "take"
    }

    pub(crate) fn operands(&self) -> [Id; 1] {
        [self.x]
    }

    #[track_caller]
    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        // SAFETY: a list of an op of this tape.
        Inferred::fresh(v, unsafe { self.at.get().dims.get() })
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, _: &Machine<T>) {
        let x = v.value(self.x);
        // SAFETY: the positions have been checked against the axis, so every
        // offset is one of the layout; the output is visited once each.
        unsafe {
            self.at.get().for_each(x.layout.strides, &contiguous_strides(out.dims), |from, to| {
                out.data.offset(to).write(*x.data.offset(from));
            });
        }
    }

    pub(crate) fn rule<E: Emit>(self, e: &mut E, _: Id, g: Id) {
        e.give(self.x, Op::Untake(Untake { g, at: self.at }));
    }
}

impl Untake {
    pub(crate) fn name(&self) -> &'static str {
        "untake"
    }

    pub(crate) fn operands(&self) -> [Id; 1] {
        [self.g]
    }

    #[track_caller]
    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        // SAFETY: a list of an op of this tape.
        let at = unsafe { self.at.get() };
        // SAFETY: as above.
        let mut dims = Dims::from_slice(unsafe { at.dims.get() });
        dims[at.axis] = at.of;
        Inferred::fresh(v, &dims)
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, _: &Machine<T>) {
        let g = v.value(self.g);
        // SAFETY: as for `Take`, from the other side; positions may repeat.
        unsafe {
            if !out.add {
                (0..out.len).for_each(|i| out.data.add(i).write(T::ZERO));
            }
            self.at.get().for_each(&contiguous_strides(out.dims), g.layout.strides, |to, from| {
                *out.data.offset(to) += *g.data.offset(from);
            });
        }
    }

    pub(crate) fn rule<E: Emit>(self, e: &mut E, _: Id, c: Id) {
        e.give(self.g, Op::Take(Take { x: c, at: self.at }));
    }
}

/// Positions given by indices, which may repeat: gradients add up.
impl<'t, T: Scalar> Tensor<'t, T> {
    #[track_caller]
    fn positions(self, op: &str, axis: isize, index: &[usize], dims: &[usize], each: bool) -> Ref<Positions> {
        let axis = shape::axis(op, axis, dims.len());
        let of = self.shape()[axis];
        if let Some(i) = index.iter().position(|&i| i >= of) {
            panic!("{op}: index {} at position {i} is out of range for axis {axis} of {:?}", index[i], self.shape());
        }
        let arena = self.tape().arena();
        let (index, dims) = (List::new(arena.copy(index)), List::new(arena.copy(dims)));
        Ref::new(arena.store(Positions { axis, of, index, dims, each }))
    }

    /// The slices at some positions along an axis: an embedding, with axis 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([[1.0, 2.0], [3.0, 4.0]]).require_grad();
    /// let y = x.index_select(0, &[1, 1]);
    /// assert_eq!(y.to_vec(), [3.0, 4.0, 3.0, 4.0]);
    /// assert_eq!(y.sum().backward().get(x).unwrap().as_slice(), &[0.0, 0.0, 2.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// If a position or the axis is out of range.
    #[doc(alias = "embedding")]
    #[doc(alias = "take")]
    #[track_caller]
    pub fn index_select(self, axis: isize, index: &[usize]) -> Self {
        let at = shape::axis("index_select", axis, self.rank());
        let mut dims = Dims::from_slice(self.shape());
        dims[at] = index.len();
        let at = self.positions("index_select", axis, index, &dims, false);
        self.record(Op::Take(Take { x: self.id(), at }))
    }

    /// One position along an axis for every element of the result, which has
    /// the shape of the index: `y[i, j] = x[i, index[i, j]]` for axis 1.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([[1.0, 2.0], [3.0, 4.0]]);
    /// assert_eq!(x.gather(1, [2, 1], &[1, 0]).to_vec(), [2.0, 3.0]);
    /// ```
    ///
    /// # Panics
    /// If the shape of the index has another rank or is longer than `self`
    /// along another axis, or a position or the axis is out of range.
    #[doc(alias = "take_along_axis")]
    #[track_caller]
    pub fn gather(self, axis: isize, shape: impl AsRef<[usize]>, index: &[usize]) -> Self {
        let dims = shape.as_ref();
        let at = shape::axis("gather", axis, self.rank());
        let from = self.shape();
        let fits = dims.len() == from.len() && (0..dims.len()).all(|i| i == at || dims[i] <= from[i]);
        assert!(fits, "gather: an index of shape {dims:?} does not fit {from:?} along axis {at}");
        let count = shape::element_count(dims);
        assert!(count == index.len(), "gather: shape {dims:?} holds {count} indices, got {}", index.len());
        let positions = self.positions("gather", axis, index, dims, true);
        let mut x = self;
        for axis in (0..dims.len()).filter(|&i| i != at && dims[i] < from[i]) {
            x = x.narrow(axis as isize, 0, dims[axis]);
        }
        x.record(Op::Take(Take { x: x.id(), at: positions }))
    }

    /// `self` with the slices of `source` added at some positions along an
    /// axis.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.zeros([3]).index_add(0, &[2, 2], tape.tensor([1.0, 5.0]));
    /// assert_eq!(x.to_vec(), [0.0, 0.0, 6.0]);
    /// ```
    ///
    /// # Panics
    /// If `source` has another shape than the slices, or a position or the
    /// axis is out of range.
    #[track_caller]
    pub fn index_add(self, axis: isize, index: &[usize], source: Self) -> Self {
        let source = Operand::tensor(source, self.tape());
        let at = shape::axis("index_add", axis, self.rank());
        let mut dims = Dims::from_slice(self.shape());
        dims[at] = index.len();
        let (got, dims) = (source.shape(), &*dims);
        assert!(got == dims, "index_add: the source has shape {got:?}, the slices {dims:?}");
        let at = self.positions("index_add", axis, index, dims, false);
        self + source.record(Op::Untake(Untake { g: source.id(), at }))
    }

    /// `self` with every element of `source` added at one position along an
    /// axis: `y[index[i, j], j] += source[i, j]` for axis 0. Positions may
    /// repeat.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.zeros([3]).scatter_add(0, &[2, 0, 2], tape.tensor([1.0, 5.0, 7.0]));
    /// assert_eq!(x.to_vec(), [5.0, 0.0, 8.0]);
    /// ```
    ///
    /// # Panics
    /// If there is not one index for each element of `source`, if `source` has
    /// another rank or is longer than `self` along another axis, or a position
    /// or the axis is out of range.
    #[track_caller]
    pub fn scatter_add(self, axis: isize, index: &[usize], source: Self) -> Self {
        let source = Operand::tensor(source, self.tape());
        let at = shape::axis("scatter_add", axis, self.rank());
        let (dims, to) = (source.shape(), self.shape());
        let fits = dims.len() == to.len() && (0..dims.len()).all(|i| i == at || dims[i] <= to[i]);
        assert!(fits, "scatter_add: a source of shape {dims:?} does not fit {to:?} along axis {at}");
        assert!(source.len() == index.len(), "scatter_add: a source of {dims:?}, but {} indices", index.len());
        let at = self.positions("scatter_add", axis, index, dims, true);
        // Where the source is shorter along another axis, so is what it is added to.
        let sum = source.record(Op::Untake(Untake { g: source.id(), at }));
        let short = sum.shape();
        let zeros = Dims::from_elem(0, to.len());
        let sum = match short == to {
            true => sum,
            false => sum.part_of(to, &zeros, &super::part::straight(to.len())),
        };
        self + sum
    }
}
