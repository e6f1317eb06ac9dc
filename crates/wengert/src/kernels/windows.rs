//! Windows which slide over images of two axes.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::isa::dispatched;
use crate::scalar::Scalar;

/// How windows lie on an image: along each axis, element `k` of the window at
/// place `i` is position `i stride + k dilation - padding`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    pub(crate) image: [usize; 2],
    pub(crate) size: [usize; 2],
    pub(crate) places: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) padding: [usize; 2],
    pub(crate) dilation: [usize; 2],
}

impl Windows {
    /// Elements of an image.
    pub(crate) fn image_len(&self) -> usize {
        self.image[0] * self.image[1]
    }

    /// Elements of a window.
    pub(crate) fn taps(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// How many windows there are.
    pub(crate) fn count(&self) -> usize {
        self.places[0] * self.places[1]
    }

    /// How far apart in the image elements of a window are along each axis.
    #[inline(always)]
    pub(super) fn steps(&self) -> [usize; 2] {
        // Windows of one element may have any dilation.
        [self.dilation[0].wrapping_mul(self.image[1]), self.dilation[1]]
    }

    /// Where element `k` of the window at place `i` lies along an axis.
    #[inline(always)]
    pub(super) fn position(&self, axis: usize, i: usize, k: usize) -> isize {
        (i * self.stride[axis] + k * self.dilation[axis]) as isize - self.padding[axis] as isize
    }

    /// The places at which element `k` lies within the image.
    #[inline(always)]
    fn inside(&self, axis: usize, k: usize) -> Range<usize> {
        self.within(axis, k * self.dilation[axis], self.stride[axis], self.places[axis])
    }

    /// The elements of the window at place `i` which lie within the image.
    #[inline(always)]
    pub(super) fn elements(&self, axis: usize, i: usize) -> Range<usize> {
        self.within(axis, i * self.stride[axis], self.dilation[axis], self.size[axis])
    }

    /// The places whose windows lie within the image as a whole.
    #[inline(always)]
    pub(super) fn whole(&self, axis: usize) -> Range<usize> {
        let (first, last) = (self.inside(axis, 0), self.inside(axis, self.size[axis] - 1));
        first.start.min(last.end)..last.end
    }

    /// Which of the positions `shift + n step - padding`, `n < count`, lie
    /// within the image.
    #[inline(always)]
    fn within(&self, axis: usize, shift: usize, step: usize, count: usize) -> Range<usize> {
        let (before, end) = (self.padding[axis], self.image[axis] + self.padding[axis]);
        let from = if shift >= before { 0 } else { (before - shift).div_ceil(step) };
        let all = count > 0 && shift + (count - 1) * step < end;
        let to = if all { count } else { end.saturating_sub(shift).div_ceil(step).min(count) };
        from.min(to)..to
    }

    /// Calls `f` for every element of windows in every row of places: with the
    /// row's part of `[taps, places]`, and the places within the image along
    /// it with the position of the first in the image.
    #[inline(always)]
    fn rows(&self, mut f: impl FnMut(usize, Option<(Range<usize>, usize)>)) {
        for ky in 0..self.size[0] {
            let rows = self.inside(0, ky);
            for kx in 0..self.size[1] {
                let inside = self.inside(1, kx);
                let tap = ky * self.size[1] + kx;
                for i in 0..self.places[0] {
                    let to = tap * self.count() + i * self.places[1];
                    let row = rows.contains(&i) && !inside.is_empty();
                    f(
                        to,
                        row.then(|| {
                            let x = self.position(1, inside.start, kx) as usize;
                            (inside.clone(), self.position(0, i, ky) as usize * self.image[1] + x)
                        }),
                    );
                }
            }
        }
    }

    /// Whether rows of places are as long as those of the image and windows
    /// follow each other closely.
    fn close(&self) -> bool {
        self.stride == [1, 1] && self.places[1] == self.image[1]
    }

    /// Calls `f` for every element of close windows. Its part of `[taps,
    /// places]` is the image, shifted, but for zeros above, below, and where
    /// rows meet. `f` gets where that part starts, what lies between above and
    /// below, the places within the image along a row, and what is the image
    /// with the position of the first in the image.
    #[inline(always)]
    fn shifted(&self, mut f: impl FnMut(usize, Range<usize>, Range<usize>, (Range<usize>, usize))) {
        let (width, image) = (self.image[1], self.image_len() as isize);
        for ky in 0..self.size[0] {
            let rows = self.inside(0, ky);
            let rows = rows.start * width..rows.end * width;
            for kx in 0..self.size[1] {
                // Place `i` has element `i + shift` of the image.
                let shift = self.position(0, 0, ky) * width as isize + self.position(1, 0, kx);
                let first = rows.start.max((-shift).max(0) as usize);
                let last = rows.end.min((image - shift).max(0) as usize).max(first);
                let from = (first as isize + shift).clamp(0, image) as usize;
                let tap = ky * self.size[1] + kx;
                f(tap * self.count(), rows.clone(), self.inside(1, kx), (first..last, from));
            }
        }
    }

    /// The windows of an image as columns, `[taps, places]`; 0 outside.
    pub(crate) fn gather<T: Scalar>(&self, image: &[T], columns: &mut [MaybeUninit<T>]) {
        let (n, step, zero) = (self.places[1], self.stride[1], MaybeUninit::new(T::ZERO));
        if self.close() {
            return self.shifted(|at, rows, inside, (part, from)| {
                let to = &mut columns[at..at + self.count()];
                to[..rows.start].fill(zero);
                to[rows.end..].fill(zero);
                write(&mut to[part.clone()], &image[from..from + part.len()]);
                clear(&mut to[rows], n, inside, zero);
            });
        }
        self.rows(|to, inside| {
            let row = &mut columns[to..to + n];
            let Some((inside, from)) = inside else { return row.fill(zero) };
            row[..inside.start].fill(zero);
            row[inside.end..].fill(zero);
            let (row, from) = (&mut row[inside], &image[from..]);
            if step == 1 {
                write(row, &from[..row.len()]);
            } else {
                for (to, &x) in row.iter_mut().zip(from.iter().step_by(step)) {
                    to.write(x);
                }
            }
        });
    }

    /// The adjoint of [`Windows::gather`]: adds columns to an image. What lies
    /// outside may be cleared in them.
    #[inline(always)]
    fn scatter<T: Scalar>(&self, columns: &mut [T], image: &mut [T]) {
        let (n, step) = (self.places[1], self.stride[1]);
        if self.close() {
            return self.shifted(|at, rows, inside, (part, to)| {
                let from = &mut columns[at..at + self.count()];
                clear(&mut from[rows], n, inside, T::ZERO);
                let to = &mut image[to..to + part.len()];
                for (to, &x) in to.iter_mut().zip(&from[part]) {
                    *to += x;
                }
            });
        }
        self.rows(|at, inside| {
            let Some((inside, to)) = inside else { return };
            let (row, to) = (&columns[at..at + n][inside], &mut image[to..]);
            if step == 1 {
                for (to, &x) in to[..row.len()].iter_mut().zip(row) {
                    *to += x;
                }
            } else {
                for (to, &x) in to.iter_mut().step_by(step).zip(row) {
                    *to += x;
                }
            }
        });
    }
}

/// Copies as many elements.
fn write<T: Copy>(to: &mut [MaybeUninit<T>], from: &[T]) {
    assert!(to.len() == from.len());
    // SAFETY: so many may be read and written, and what is borrowed to be
    // written is nobody else's.
    unsafe { to.as_mut_ptr().cast::<T>().copy_from_nonoverlapping(from.as_ptr(), from.len()) };
}

/// Clears what is not `inside` of rows.
#[inline(always)]
fn clear<T: Copy>(rows: &mut [T], width: usize, inside: Range<usize>, zero: T) {
    for outside in (0..inside.start).chain(inside.end..width) {
        for row in rows.chunks_exact_mut(width) {
            row[outside] = zero;
        }
    }
}

dispatched! {
    /// Adds the columns of some channels to their images.
    ///
    /// # Safety
    /// For each channel, `columns` has `[taps, places]` elements and `images`
    /// one image; they do not overlap. Columns may change.
    pub(crate) unsafe fn scatter<T: Scalar>(windows: &Windows, columns: *mut T, images: *mut T, channels: usize) {
        let (from, to) = (windows.taps() * windows.count(), windows.image_len());
        for c in 0..channels {
            // SAFETY: the caller's contract.
            unsafe {
                let columns = std::slice::from_raw_parts_mut(columns.add(c * from), from);
                windows.scatter(columns, std::slice::from_raw_parts_mut(images.add(c * to), to));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APART: Windows =
        Windows { image: [4, 5], size: [2, 3], places: [3, 2], stride: [2, 3], padding: [1, 1], dilation: [2, 1] };
    const CLOSE: Windows =
        Windows { image: [4, 5], size: [2, 3], places: [6, 5], stride: [1, 1], padding: [2, 2], dilation: [2, 2] };

    #[test]
    fn gathering_and_its_adjoint() {
        [APART, CLOSE].iter().for_each(check);
    }

    fn check(w: &Windows) {
        let image: Vec<f64> = (0..w.image_len()).map(|i| (i as f64 + 1.0).sqrt()).collect();
        let mut columns = vec![MaybeUninit::new(f64::NAN); w.taps() * w.count()];
        w.gather(&image, &mut columns);
        // SAFETY: filled above, with numbers.
        let columns: Vec<f64> = columns.iter().map(|x| unsafe { x.assume_init() }).collect();
        // Outside, too, where they do not count.
        let others: Vec<f64> = (0..columns.len()).map(|i| (i as f64 + 2.0).ln()).collect();
        let mut back = vec![0.0; w.image_len()];
        // SAFETY: one channel of each.
        unsafe { scatter(super::super::isa::Isa::detect(), w, others.clone().as_mut_ptr(), back.as_mut_ptr(), 1) };
        for ky in 0..2 {
            for kx in 0..3 {
                for i in 0..w.places[0] {
                    for j in 0..w.places[1] {
                        let (y, x) = (w.position(0, i, ky), w.position(1, j, kx));
                        let inside = (0..4).contains(&y) && (0..5).contains(&x);
                        let expected = if inside { image[(y * 5 + x) as usize] } else { 0.0 };
                        assert_eq!(columns[(ky * 3 + kx) * w.count() + i * w.places[1] + j], expected);
                    }
                }
            }
        }
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        assert!((dot(&columns, &others) - dot(&image, &back)).abs() < 1e-9);
    }
}
