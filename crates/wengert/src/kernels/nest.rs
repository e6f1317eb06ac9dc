//! Loop nests over several strided operands at once.

use smallvec::SmallVec;

/// The loops which visit every element of one shape in row-major order, for
/// `N` operands with strides of their own.
///
/// Axes of length 1 are dropped and neighbours which every operand passes in
/// one stride are merged, so that the innermost loop is as long as it can be.
pub(crate) struct Nest<const N: usize> {
    /// Outer axes, then the innermost one; never empty.
    axes: SmallVec<[(usize, [isize; N]); 8]>,
    empty: bool,
}

impl<const N: usize> Nest<N> {
    pub(crate) fn new(dims: &[usize], strides: [&[isize]; N]) -> Self {
        let mut axes: SmallVec<[(usize, [isize; N]); 8]> = SmallVec::new();
        for (i, &dim) in dims.iter().enumerate() {
            let step: [isize; N] = std::array::from_fn(|k| strides[k][i]);
            if dim == 1 {
                continue;
            }
            match axes.last_mut() {
                Some((outer, outer_step)) if (0..N).all(|k| outer_step[k] == step[k] * dim as isize) => {
                    *outer *= dim;
                    *outer_step = step;
                }
                _ => axes.push((dim, step)),
            }
        }
        if axes.is_empty() {
            axes.push((1, [1; N]));
        }
        Nest { axes, empty: dims.contains(&0) }
    }

    /// Length and strides of the innermost loop.
    pub(crate) fn inner(&self) -> (usize, [isize; N]) {
        self.axes[self.axes.len() - 1]
    }

    /// Length and strides of the two innermost loops, the outer one first; it
    /// has length 1 if there is one loop alone.
    pub(crate) fn plane(&self) -> [(usize, [isize; N]); 2] {
        let outer = self.axes.len().checked_sub(2).map_or((1, [0; N]), |i| self.axes[i]);
        [outer, self.inner()]
    }

    /// Calls `f` with the operands' offsets at the start of every innermost
    /// loop, in row-major order.
    #[inline(always)]
    pub(crate) fn for_each(&self, f: impl FnMut([isize; N])) {
        self.walk(1, f);
    }

    /// Calls `f` with the operands' offsets at the start of every
    /// [`plane`](Nest::plane), in row-major order.
    pub(crate) fn for_each_plane(&self, f: impl FnMut([isize; N])) {
        self.walk(2, f);
    }

    /// Walks all loops but the innermost `left`.
    #[inline(always)]
    fn walk(&self, left: usize, mut f: impl FnMut([isize; N])) {
        if self.empty {
            return;
        }
        let outer = &self.axes[..self.axes.len().saturating_sub(left)];
        let mut offsets = [0isize; N];
        if outer.is_empty() {
            return f(offsets);
        }
        let mut at: SmallVec<[usize; 8]> = SmallVec::from_elem(0, outer.len());
        loop {
            f(offsets);
            let mut axis = outer.len();
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                let (dim, step) = outer[axis];
                at[axis] += 1;
                if at[axis] < dim {
                    (0..N).for_each(|k| offsets[k] += step[k]);
                    break;
                }
                at[axis] = 0;
                (0..N).for_each(|k| offsets[k] -= step[k] * (dim as isize - 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_and_visits_in_order() {
        let n = Nest::new(&[2, 1, 3, 4], [&[12, 12, 4, 1], &[0, 0, 4, 1]]);
        assert_eq!(n.inner(), (12, [1, 1]));
        let mut seen = Vec::new();
        n.for_each(|o| seen.push(o));
        assert_eq!(seen, [[0, 0], [12, 0]]);
    }

    #[test]
    fn transposed_and_negative() {
        let n = Nest::new(&[2, 3, 2], [&[-1, 2, 6]]);
        let mut seen = Vec::new();
        n.for_each(|o| seen.push(o[0]));
        assert_eq!(n.inner(), (2, [6]));
        assert_eq!(seen, [0, 2, 4, -1, 1, 3]);
    }

    #[test]
    fn planes() {
        let n = Nest::new(&[2, 3, 4], [&[1, 2, 6]]);
        assert_eq!(n.plane(), [(6, [1]), (4, [6])]);
        let n = Nest::new(&[2, 3, 2], [&[-1, 2, 7]]);
        let mut seen = Vec::new();
        n.for_each_plane(|o| seen.push(o[0]));
        assert_eq!((n.plane(), seen), ([(3, [2]), (2, [7])], vec![0, -1]));
        assert_eq!(Nest::new(&[5], [&[3]]).plane(), [(1, [0]), (5, [3])]);
    }

    #[test]
    fn empty_and_scalar() {
        let mut count = 0;
        Nest::new(&[3, 0], [&[0, 1]]).for_each(|_| count += 1);
        assert_eq!(count, 0);
        Nest::<1>::new(&[], [&[]]).for_each(|_| count += 1);
        assert_eq!(count, 1);
    }
}
