//! Shapes, strides and broadcasting.

use std::ptr::NonNull;

use smallvec::SmallVec;

/// A short list of lengths, on the stack up to eight axes.
pub(crate) type Dims = SmallVec<[usize; 8]>;
/// A short list of strides in elements, on the stack up to eight axes.
pub(crate) type Strides = SmallVec<[isize; 8]>;

/// The most axes a tensor may have: sets of axes are bit masks.
pub const MAX_RANK: usize = 64;

/// Shape and strides (in elements) of one tensor; both lists live in an arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout<'a> {
    pub(crate) dims: &'a [usize],
    pub(crate) strides: &'a [isize],
    /// The number of elements, the product of `dims`.
    pub(crate) len: usize,
    /// Row-major without gaps: the elements are `data[..len]` in order.
    pub(crate) contiguous: bool,
}

impl Layout<'static> {
    /// The layout of a single number.
    pub(crate) const SCALAR: Layout<'static> = Layout { dims: &[], strides: &[], len: 1, contiguous: true };
}

impl<'a> Layout<'a> {
    /// The memory which [`Layout::place`] writes.
    #[inline]
    pub(crate) const fn bytes(rank: usize) -> usize {
        size_of::<Layout<'_>>() + 2 * rank * size_of::<usize>()
    }

    /// Writes a layout with both its lists behind it: with these strides, or
    /// row-major. `len` is the product of `dims`.
    ///
    /// # Safety
    /// `to` has [`Layout::bytes`] bytes, aligned like a `usize`, which nobody
    /// else uses as long as `'a`.
    #[inline]
    pub(crate) unsafe fn place(to: NonNull<u8>, dims: &[usize], len: usize, strides: Option<&[isize]>) -> &'a Self {
        let (rank, header) = (dims.len(), to.cast::<Layout<'a>>());
        // SAFETY: the caller's: there is room for the header and both lists,
        // all of which are written before they are read.
        unsafe {
            let to_dims = header.add(1).cast::<usize>();
            let to_strides = to_dims.add(rank).cast::<isize>();
            let mut step = 1isize;
            for i in (0..rank).rev() {
                to_dims.add(i).write(dims[i]);
                to_strides.add(i).write(strides.map_or(step, |s| s[i]));
                step = step.wrapping_mul(dims[i].max(1) as isize);
            }
            header.write(Layout {
                dims: std::slice::from_raw_parts(to_dims.as_ptr(), rank),
                strides: std::slice::from_raw_parts(to_strides.as_ptr(), rank),
                len,
                contiguous: strides.is_none_or(|s| is_contiguous(dims, s)),
            });
            header.as_ref()
        }
    }

    pub(crate) fn rank(&self) -> usize {
        self.dims.len()
    }

    /// Whether every element is the same one in memory.
    #[inline]
    pub(crate) fn repeats(&self) -> bool {
        self.dims.iter().zip(self.strides).all(|(&dim, &stride)| dim == 1 || stride == 0)
    }

    /// Whether the shapes are the same: mostly the layouts are.
    #[inline(always)]
    pub(crate) fn same_shape(&self, other: &Layout<'_>) -> bool {
        std::ptr::eq(self.dims, other.dims)
            || self.rank() == other.rank() && self.len == other.len && self.dims == other.dims
    }
}

/// The number of elements of a shape, refusing what no memory could hold.
#[track_caller]
pub(crate) fn element_count(dims: &[usize]) -> usize {
    assert!(dims.len() <= MAX_RANK, "a tensor has at most {MAX_RANK} axes, got {}", dims.len());
    let (mut count, mut fits) = (1usize, true);
    for &dim in dims {
        let (product, overflows) = count.overflowing_mul(dim);
        (count, fits) = (product, fits & !overflows);
    }
    if fits && count <= isize::MAX as usize / 16 {
        return count;
    }
    assert!(dims.contains(&0), "shape {dims:?} has more elements than memory can hold");
    0
}

/// Strides of a tensor which repeats one number.
#[inline]
pub(crate) fn zeros(rank: usize) -> Strides {
    // From an array this is a few stores; `from_elem` pushes one by one.
    if rank <= 8 { Strides::from_buf_and_len([0; 8], rank) } else { Strides::from_elem(0, rank) }
}

/// Row-major strides.
#[inline]
pub(crate) fn contiguous_strides(dims: &[usize]) -> Strides {
    let mut strides = zeros(dims.len());
    let mut step = 1isize;
    for (stride, &dim) in strides.iter_mut().zip(dims).rev() {
        *stride = step;
        step *= dim.max(1) as isize;
    }
    strides
}

/// Whether strides are row-major; axes of length 1 may have any stride.
pub(crate) fn is_contiguous(dims: &[usize], strides: &[isize]) -> bool {
    if dims.contains(&0) {
        return true;
    }
    let mut step = 1isize;
    for (&dim, &stride) in dims.iter().zip(strides).rev() {
        if dim != 1 {
            if stride != step {
                return false;
            }
            step *= dim as isize;
        }
    }
    true
}

/// The shape two operands broadcast to (NumPy's rule: align at the right, an
/// axis of length 1 stretches).
#[track_caller]
pub(crate) fn broadcast(op: &str, a: &[usize], b: &[usize]) -> Dims {
    // No closure: it would hide the caller's line.
    match try_broadcast(a, b) {
        Some(dims) => dims,
        None => panic!("{op}: shapes do not broadcast: {a:?} and {b:?}"),
    }
}

/// [`broadcast`], or `None` where the shapes do not fit.
pub(crate) fn try_broadcast(a: &[usize], b: &[usize]) -> Option<Dims> {
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let mut dims = Dims::from_slice(long);
    let lead = long.len() - short.len();
    for (x, &y) in dims[lead..].iter_mut().zip(short) {
        match (*x, y) {
            (x, y) if x == y => {}
            (1, y) => *x = y,
            (_, 1) => {}
            _ => return None,
        }
    }
    Some(dims)
}

/// The strides by which a tensor is read as if it had the shape `to`.
///
/// The caller has made sure that it broadcasts to `to`.
pub(crate) fn broadcast_strides(dims: &[usize], strides: &[isize], to: &[usize]) -> Strides {
    let lead = to.len() - dims.len();
    let mut out = zeros(to.len());
    for i in 0..dims.len() {
        if dims[i] == to[lead + i] {
            out[lead + i] = strides[i];
        }
    }
    out
}

/// An axis counted from the front, or from the back if negative.
#[track_caller]
pub(crate) fn axis(op: &str, axis: isize, rank: usize) -> usize {
    let at = if axis < 0 { axis + rank as isize } else { axis };
    assert!((0..rank as isize).contains(&at), "{op}: axis {axis} is out of range for rank {rank}");
    at as usize
}

/// A set of axes as a bit mask.
///
/// Given by the methods which reduce: one axis, a list of axes (negative ones
/// count from the end), or `..` for all.
///
/// ```
/// # use wengert::Tape;
/// let tape = Tape::new();
/// let x = tape.ones([2, 3, 4]);
/// assert_eq!(x.sum_axes(-1).shape(), &[2, 3]);
/// assert_eq!(x.sum_axes([0, 2]).shape(), &[3]);
/// assert_eq!(x.sum_axes(..).shape(), &[] as &[usize]);
/// ```
pub trait Axes: sealed::Sealed {
    /// The axes as bits of a mask.
    ///
    /// # Panics
    /// If an axis is out of range for `rank` or named twice.
    #[doc(hidden)]
    #[track_caller]
    fn mask(&self, op: &str, rank: usize) -> u64;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for isize {}
    impl<const N: usize> Sealed for [isize; N] {}
    impl Sealed for &[isize] {}
    impl Sealed for std::ops::RangeFull {}
}

#[track_caller]
fn mask_of(op: &str, axes: &[isize], rank: usize) -> u64 {
    let mut mask = 0;
    for &a in axes {
        let bit = 1u64 << axis(op, a, rank);
        assert!(mask & bit == 0, "{op}: axis {a} is named twice");
        mask |= bit;
    }
    mask
}

impl Axes for isize {
    #[track_caller]
    fn mask(&self, op: &str, rank: usize) -> u64 {
        mask_of(op, &[*self], rank)
    }
}

impl<const N: usize> Axes for [isize; N] {
    #[track_caller]
    fn mask(&self, op: &str, rank: usize) -> u64 {
        mask_of(op, self, rank)
    }
}

impl Axes for &[isize] {
    #[track_caller]
    fn mask(&self, op: &str, rank: usize) -> u64 {
        mask_of(op, self, rank)
    }
}

impl Axes for std::ops::RangeFull {
    fn mask(&self, _: &str, rank: usize) -> u64 {
        if rank == MAX_RANK { u64::MAX } else { (1 << rank) - 1 }
    }
}

/// The shape which is left when the axes of `mask` are reduced.
pub(crate) fn reduced(dims: &[usize], mask: u64, keepdim: bool) -> Dims {
    let mut left = Dims::from_slice(dims);
    let mut rank = 0;
    for (i, &dim) in dims.iter().enumerate() {
        let reduced = mask >> i & 1 == 1;
        if keepdim || !reduced {
            left[rank] = if reduced { 1 } else { dim };
            rank += 1;
        }
    }
    left.truncate(rank);
    left
}

/// How many elements of `dims` are reduced into one.
pub(crate) fn reduced_count(dims: &[usize], mask: u64) -> usize {
    dims.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1).map(|(_, &d)| d).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting() {
        assert_eq!(try_broadcast(&[2, 1, 4], &[3, 1]).unwrap().as_slice(), &[2, 3, 4]);
        assert_eq!(try_broadcast(&[], &[0, 2]).unwrap().as_slice(), &[0, 2]);
        assert_eq!(try_broadcast(&[1], &[0]).unwrap().as_slice(), &[0]);
        assert!(try_broadcast(&[2], &[3]).is_none());
        assert!(try_broadcast(&[0], &[2]).is_none());
        assert_eq!(broadcast_strides(&[3, 1], &[1, 1], &[2, 3, 4]).as_slice(), &[0, 1, 0]);
    }

    #[test]
    fn contiguity() {
        assert_eq!(contiguous_strides(&[2, 3, 4]).as_slice(), &[12, 4, 1]);
        assert!(is_contiguous(&[2, 1, 4], &[4, 99, 1]));
        assert!(!is_contiguous(&[2, 4], &[1, 2]));
        assert!(is_contiguous(&[0, 4], &[1, 2]));
        assert!(is_contiguous(&[], &[]));
    }

    #[test]
    fn axes() {
        assert_eq!([0isize, -1].mask("sum", 3), 0b101);
        assert_eq!((..).mask("sum", 3), 0b111);
        assert_eq!(reduced(&[2, 3, 4], 0b101, false).as_slice(), &[3]);
        assert_eq!(reduced(&[2, 3, 4], 0b101, true).as_slice(), &[1, 3, 1]);
        assert_eq!(reduced_count(&[2, 3, 4], 0b101), 8);
    }
}
