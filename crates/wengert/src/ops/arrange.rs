//! Padding, rolling, repeating, triangles, diagonals: made of views, their
//! adjoints and selections.

use super::part::{Step, straight};
use crate::scalar::Scalar;
use crate::shape::{self, Dims};
use crate::tensor::Tensor;

/// What [`Tensor::pad`] puts around a tensor.
///
/// ```
/// # use wengert::Padding;
/// # let tape = wengert::Tape::new();
/// let x = tape.tensor([1.0, 2.0, 3.0]);
/// assert_eq!(x.pad(&[(1, 2)], Padding::Constant(0.0)).to_vec(), [0.0, 1.0, 2.0, 3.0, 0.0, 0.0]);
/// assert_eq!(x.pad(&[(1, 2)], Padding::Reflect).to_vec(), [2.0, 1.0, 2.0, 3.0, 2.0, 1.0]);
/// assert_eq!(x.pad(&[(1, 2)], Padding::Replicate).to_vec(), [1.0, 1.0, 2.0, 3.0, 3.0, 3.0]);
/// assert_eq!(x.pad(&[(1, 2)], Padding::Circular).to_vec(), [3.0, 1.0, 2.0, 3.0, 1.0, 2.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Padding<T> {
    /// One value.
    Constant(T),
    /// The tensor mirrored at its first and last element, which are not
    /// repeated.
    Reflect,
    /// The first and the last element.
    Replicate,
    /// The tensor over again.
    Circular,
}

/// Padding, rolling, repeating, triangles, diagonals.
impl<'t, T: Scalar> Tensor<'t, T> {
    /// Elements added before and after, for each of the last axes in order:
    /// `&[(1, 1), (2, 2)]` adds a row on either side and two columns. Negative
    /// amounts cut off. See [`Padding`].
    ///
    /// # Panics
    /// If there are more amounts than axes, if more is cut off than is there,
    /// or if a mirrored or repeated tensor is shorter than what is added.
    #[track_caller]
    pub fn pad(self, amounts: &[(isize, isize)], padding: Padding<T>) -> Self {
        let (rank, from) = (self.rank(), self.shape());
        let fits = amounts.len() <= rank;
        assert!(fits, "pad: {} amounts for a tensor of shape {from:?}", amounts.len());
        let first = rank - amounts.len();
        let mut x = self;
        for (k, &(before, after)) in amounts.iter().enumerate() {
            let n = from[first + k] as isize;
            let Some(whole) = n.checked_add(before).and_then(|n| n.checked_add(after)) else {
                panic!("pad: {amounts:?} around {from:?} is more than memory can hold")
            };
            assert!(
                whole >= 0 && n + before.min(0) + after.min(0) >= 0,
                "pad: {amounts:?} cuts off more than {from:?}"
            );
            let axis = (first + k) as isize;
            let nothing_added = before <= 0 && after <= 0 || matches!(padding, Padding::Constant(_));
            // A mirror and the ends which are repeated are those of the whole;
            // what is over again is what has been cut.
            if (before < 0 || after < 0) && (nothing_added || padding == Padding::Circular) {
                let (start, len) = ((-before).max(0), n + before.min(0) + after.min(0));
                x = x.narrow(axis, start as usize, len as usize);
            }
            if nothing_added {
                continue;
            }
            let len = x.shape()[first + k] as isize;
            let most = match padding {
                Padding::Reflect => len - 1,
                Padding::Circular => len,
                _ if len > 0 => isize::MAX,
                _ => 0,
            };
            assert!(before <= most && after <= most, "pad: {amounts:?} is more than {from:?} has to repeat");
            let at = |i: isize| match padding {
                Padding::Reflect => (len - 1) - ((i - before).rem_euclid(2 * (len - 1).max(1)) - (len - 1)).abs(),
                Padding::Circular => (i - before.max(0)).rem_euclid(len),
                _ => (i - before).clamp(0, len - 1),
            };
            let index = self.tape().arena().fill(whole as usize, |i| at(i as isize) as usize);
            x = x.index_select(axis, index);
        }
        match padding {
            Padding::Constant(value) => x.surround(first, amounts, value),
            _ => x,
        }
    }

    #[track_caller]
    fn surround(self, first: usize, amounts: &[(isize, isize)], value: T) -> Self {
        let (mut whole, mut starts) = (Dims::from_slice(self.shape()), Dims::from_elem(0, self.rank()));
        for (k, &(before, after)) in amounts.iter().enumerate() {
            whole[first + k] += before.max(0) as usize + after.max(0) as usize;
            starts[first + k] = before.max(0) as usize;
        }
        if whole.as_slice() == self.shape() {
            return self;
        }
        shape::element_count(&whole);
        let steps = straight(self.rank());
        let placed = self.part_of(&whole, &starts, &steps);
        if value == T::ZERO {
            return placed;
        }
        let inside = self.tape().ones(self.shape()).part_of(&whole, &starts, &steps);
        placed.where_mask(inside, value)
    }

    /// Elements moved on along an axis; those which leave at the end come back
    /// at the start.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1.0, 2.0, 3.0]).roll(1, 0).to_vec(), [3.0, 1.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// If the axis is out of range.
    #[track_caller]
    pub fn roll(self, shift: isize, axis: isize) -> Self {
        let at = shape::axis("roll", axis, self.rank());
        let n = self.shape()[at];
        if n == 0 {
            return self;
        }
        let shift = shift.rem_euclid(n as isize) as usize;
        let axis = at as isize;
        self.tape().concat([self.narrow(axis, n - shift, shift), self.narrow(axis, 0, n - shift)], axis)
    }

    /// The whole tensor over again, so many times along each axis. More counts
    /// than axes add axes in front.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1.0, 2.0]).repeat(&[2]).to_vec(), [1.0, 2.0, 1.0, 2.0]);
    /// assert_eq!(tape.tensor([1.0, 2.0]).repeat(&[3, 1]).shape(), [3, 2]);
    /// ```
    ///
    /// # Panics
    /// If there are fewer counts than axes.
    #[doc(alias = "tile")]
    #[track_caller]
    pub fn repeat(self, counts: &[usize]) -> Self {
        let from = self.shape();
        assert!(counts.len() >= from.len(), "repeat: {counts:?} has fewer counts than {from:?} axes");
        let lead = counts.len() - from.len();
        let (mut split, mut spread, mut to) = (Dims::new(), Dims::new(), Dims::new());
        for (k, &count) in counts.iter().enumerate() {
            let n = if k < lead { 1 } else { from[k - lead] };
            // An axis beside the own one only where both are needed.
            if count != 1 && n != 1 {
                split.push(1);
                spread.push(count);
            }
            split.push(n);
            spread.push(if n == 1 { count } else { n });
            to.push(count * n);
        }
        self.reshape(split).broadcast_to(spread).reshape(to)
    }

    /// Every position along an axis so many times, one after another.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1.0, 2.0]).repeat_interleave(2, 0).to_vec(), [1.0, 1.0, 2.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// If the axis is out of range.
    #[track_caller]
    pub fn repeat_interleave(self, count: usize, axis: isize) -> Self {
        let axis = shape::axis("repeat_interleave", axis, self.rank());
        let mut to = Dims::from_slice(self.shape());
        to.insert(axis + 1, count);
        let spread = self.unsqueeze(axis as isize + 1).broadcast_to(&to);
        let count = to.remove(axis + 1);
        to[axis] *= count;
        spread.reshape(to)
    }

    #[track_caller]
    fn triangle(self, op: &str, keep: impl Fn(isize) -> bool) -> Self {
        let dims = self.shape();
        let [.., rows, columns] = *dims else { panic!("{op}: needs matrices, got {dims:?}") };
        let mask = |i: usize| if keep((i % columns) as isize - (i / columns) as isize) { T::ONE } else { T::ZERO };
        let mask = self.tape().fill([rows, columns], mask);
        self.where_mask(mask, T::ZERO)
    }

    /// Matrices whose elements above a diagonal are 0: the main one, or
    /// `diagonal` further up.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.ones([2, 2]).tril(0).to_vec(), [1.0, 0.0, 1.0, 1.0]);
    /// ```
    ///
    /// # Panics
    /// If there are fewer than two axes.
    #[track_caller]
    pub fn tril(self, diagonal: isize) -> Self {
        self.triangle("tril", |above| above <= diagonal)
    }

    /// Matrices whose elements below a diagonal are 0; see [`Tensor::tril`].
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.ones([2, 2]).triu(1).to_vec(), [0.0, 1.0, 0.0, 0.0]);
    /// ```
    #[track_caller]
    pub fn triu(self, diagonal: isize) -> Self {
        self.triangle("triu", |above| above >= diagonal)
    }

    /// The diagonal of the matrices along two axes, as a new last axis: the
    /// main one, or `offset` further up. A view.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([[1.0, 2.0], [3.0, 4.0]]);
    /// assert_eq!(x.diagonal(0, 0, 1).to_vec(), [1.0, 4.0]);
    /// assert_eq!(x.diagonal(1, 0, 1).to_vec(), [2.0]);
    /// ```
    ///
    /// # Panics
    /// If an axis is out of range, or they are the same.
    #[track_caller]
    pub fn diagonal(self, offset: isize, row: isize, column: isize) -> Self {
        let rank = self.rank();
        let (row, column) = (shape::axis("diagonal", row, rank), shape::axis("diagonal", column, rank));
        assert!(row != column, "diagonal: axis {row} is named twice");
        let (part, starts, steps) = on_diagonal(self.shape(), offset, row, column);
        self.part(&starts, &part, &steps)
    }

    /// Matrices with the last axis on a diagonal and 0 elsewhere, along two
    /// axes of the result: the adjoint of [`Tensor::diagonal`].
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1.0, 2.0]).diag_embed(0, -2, -1).to_vec(), [1.0, 0.0, 0.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// If `self` is a scalar, an axis is out of range, or they are the same.
    #[doc(alias = "diag")]
    #[track_caller]
    pub fn diag_embed(self, offset: isize, row: isize, column: isize) -> Self {
        let rank = self.rank() + 1;
        assert!(rank > 1, "diag_embed: a scalar has no axis");
        let (row, column) = (shape::axis("diag_embed", row, rank), shape::axis("diag_embed", column, rank));
        assert!(row != column, "diag_embed: axis {row} is named twice");
        let mut whole = Dims::from_slice(self.shape());
        let n = whole.remove(rank - 2) + offset.unsigned_abs();
        whole.insert(row.min(column), n);
        whole.insert(row.max(column), n);
        let (_, starts, steps) = on_diagonal(&whole, offset, row, column);
        self.part_of(&whole, &starts, &steps)
    }
}

/// The shape of the diagonals, where they start, and how they step.
fn on_diagonal(
    whole: &[usize],
    offset: isize,
    row: usize,
    column: usize,
) -> (Dims, Dims, smallvec::SmallVec<[Step; 8]>) {
    let (mut part, mut starts) = (Dims::new(), Dims::from_elem(0, whole.len()));
    let mut steps = smallvec::SmallVec::new();
    for axis in (0..whole.len()).filter(|&axis| axis != row && axis != column) {
        steps.push(Step { part: part.len(), whole: axis, by: 1 });
        part.push(whole[axis]);
    }
    let (down, right) = (offset.min(0).unsigned_abs(), offset.max(0) as usize);
    (starts[row], starts[column]) = (down, right);
    steps.extend([row, column].map(|axis| Step { part: part.len(), whole: axis, by: 1 }));
    part.push(whole[row].saturating_sub(down).min(whole[column].saturating_sub(right)));
    (part, starts, steps)
}
