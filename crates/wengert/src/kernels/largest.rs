//! The largest elements of windows.

use std::array::from_fn;

use super::isa::dispatched;
use super::windows::Windows;
use crate::scalar::Scalar;

/// What stands for the position of an element which is not there.
pub(crate) const NOWHERE: u32 = u32::MAX;

dispatched! {
    /// The largest element of each of some windows in row-major order, the
    /// `first` one and those which follow, and its position in the image: the
    /// first if tied; NaN counts as the largest. `-∞` and [`NOWHERE`] for a
    /// window which lies outside.
    ///
    /// # Safety
    /// `image` is one image, of fewer than 2^32 elements; `best` and `chosen`
    /// are equally long, and there are as many windows.
    pub(crate) unsafe fn largest<T: Scalar>(
        windows: &Windows, image: *const T, first: usize, best: &mut [T], chosen: &mut [u32],
    ) {
        let (size, stride) = (windows.size, windows.stride[1]);
        let (columns, whole) = (windows.places[1], [windows.whole(0), windows.whole(1)]);
        let steps = windows.steps();
        // The usual windows are known as such to the compiler.
        let usual = size == [2, 2] && steps[1] == 1 && stride == 2;
        let (mut i, mut j, mut done) = (first / columns, first % columns, 0);
        while done < best.len() {
            let n = (columns - j).min(best.len() - done);
            let (best, chosen) = (&mut best[done..done + n], &mut chosen[done..done + n]);
            let (from, to) = match whole[0].contains(&i) {
                true => (whole[1].start.clamp(j, j + n) - j, whole[1].end.clamp(j, j + n) - j),
                false => (n, n),
            };
            // SAFETY: the caller's contract; the windows between `from` and
            // `to` lie within the image.
            unsafe {
                if from > 0 || to < n {
                    at_the_edge(windows, image, [i, j], &mut best[..from], &mut chosen[..from]);
                    at_the_edge(windows, image, [i, j + to], &mut best[to..], &mut chosen[to..]);
                }
                if from < to {
                    let row = windows.position(0, i, 0) as usize * windows.image[1];
                    let part = Part { at: row + windows.position(1, j + from, 0) as usize, size, steps, stride };
                    let (best, chosen) = (&mut best[from..to], &mut chosen[from..to]);
                    if usual {
                        let part = Part { size: [2, 2], steps: [steps[0], 1], stride: 2, ..part };
                        part.look_at_all(image, best, chosen);
                    } else {
                        part.look_at_all(image, best, chosen);
                    }
                }
            }
            (i, j, done) = (i + 1, 0, done + n);
        }
    }
}

/// [`largest`] of windows side by side of which no more than a part need lie
/// within the image: there are few, so they are looked at one by one, and not
/// in the way of the others.
///
/// # Safety
/// As there.
#[cold]
unsafe fn at_the_edge<T: Scalar>(
    windows: &Windows,
    image: *const T,
    [i, j]: [usize; 2],
    best: &mut [T],
    chosen: &mut [u32],
) {
    for (k, (best, chosen)) in best.iter_mut().zip(chosen).enumerate() {
        let (y, x) = (windows.elements(0, i), windows.elements(1, j + k));
        (*best, *chosen) = (T::NEG_INFINITY, NOWHERE);
        if !y.is_empty() && !x.is_empty() {
            let (top, left) = (windows.position(0, i, y.start), windows.position(1, j + k, x.start));
            let part = Part {
                at: top as usize * windows.image[1] + left as usize,
                size: [y.len(), x.len()],
                steps: windows.steps(),
                stride: windows.stride[1],
            };
            // SAFETY: the caller's contract.
            ([*best], [*chosen]) = unsafe { part.largest(image) };
        }
    }
}

/// The part within the image of windows side by side.
#[derive(Clone, Copy)]
struct Part {
    /// The position of the first element of the first window.
    at: usize,
    size: [usize; 2],
    /// From one element to the next, along both axes.
    steps: [usize; 2],
    /// From a window to the next of the row.
    stride: usize,
}

impl Part {
    /// The largest elements of the windows and their positions.
    ///
    /// # Safety
    /// All their elements lie within the image.
    #[inline(always)]
    unsafe fn look_at_all<T: Scalar>(&self, image: *const T, best: &mut [T], chosen: &mut [u32]) {
        // SAFETY: the caller's contract.
        unsafe {
            match best.len() {
                8.. => self.look::<T, 8>(image, best, chosen),
                4.. => self.look::<T, 4>(image, best, chosen),
                _ => self.look::<T, 1>(image, best, chosen),
            }
        }
    }

    /// `L` windows at a time, of which there are as many at least.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn look<T: Scalar, const L: usize>(&self, image: *const T, best: &mut [T], chosen: &mut [u32]) {
        let n = best.len();
        for k in (0..n).step_by(L) {
            // The last ones end the row, so none is left over.
            let k = k.min(n - L);
            // SAFETY: the caller's contract.
            let (values, positions) = unsafe { Part { at: self.at + k * self.stride, ..*self }.largest::<T, L>(image) };
            best[k..k + L].copy_from_slice(&values);
            chosen[k..k + L].copy_from_slice(&positions);
        }
    }

    /// Of the first `L` windows.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn largest<T: Scalar, const L: usize>(&self, image: *const T) -> ([T; L], [u32; L]) {
        let Part { at, size, steps, stride } = *self;
        // SAFETY: the caller's contract.
        let element = |step: usize, n: usize| unsafe { *image.add(at + step + n * stride) };
        let (mut best, mut chosen) = (from_fn(|n| element(0, n)), [0; L]);
        for y in 0..size[0] {
            // The first element is there.
            for x in usize::from(y == 0)..size[1] {
                let step = y * steps[0] + x * steps[1];
                for n in 0..L {
                    let new = element(step, n);
                    #[expect(clippy::neg_cmp_op_on_partial_ord, reason = "a NaN is not less")]
                    let better = !(new <= best[n]) & !best[n].is_nan();
                    best[n] = if better { new } else { best[n] };
                    chosen[n] = if better { step as u32 } else { chosen[n] };
                }
            }
        }
        (best, from_fn(|n| (at + n * stride) as u32 + chosen[n]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::isa::Isa;

    /// Windows over an image of `[4, width]`.
    fn windows(
        width: usize,
        size: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        dilation: [usize; 2],
    ) -> Windows {
        let image = [4, width];
        let places = from_fn(|i| (image[i] + 2 * padding[i] - dilation[i] * (size[i] - 1) - 1) / stride[i] + 1);
        Windows { image, size, places, stride, padding, dilation }
    }

    #[test]
    fn the_largest() {
        for width in [5, 9, 14, 28, 41] {
            check(&windows(width, [2, 2], [2, 2], [0, 0], [1, 1]));
            check(&windows(width, [2, 2], [2, 2], [1, 1], [1, 1]));
            check(&windows(width, [2, 3], [2, 3], [1, 1], [2, 1]));
            check(&windows(width, [2, 3], [1, 1], [2, 2], [2, 2]));
            check(&windows(width, [1, 5], [3, 1], [0, 7], [1, 1]));
            check(&windows(width, [1, 2], [1, 2], [0, 0], [usize::MAX, 1]));
        }
    }

    /// Compares with a search, ties, infinities and NaN among the elements.
    fn check(w: &Windows) {
        let element = |i: usize| match i * 7 % 11 {
            0 if i.is_multiple_of(3) => f64::NAN,
            1 => f64::NEG_INFINITY,
            k => (k % 5) as f64,
        };
        let image: Vec<f64> = (0..w.image_len()).map(element).collect();
        let (mut best, mut chosen) = (vec![0.0; w.count()], vec![0; w.count()]);
        for first in [0, w.count() / 3] {
            let (best, chosen) = (&mut best[first..], &mut chosen[first..]);
            // SAFETY: the windows of one image.
            unsafe { largest(Isa::detect(), w, image.as_ptr(), first, best, chosen) };
        }
        for (n, (best, chosen)) in best.iter().zip(chosen).enumerate() {
            let mut expected = None;
            for (ky, kx) in (0..w.size[0]).flat_map(|ky| (0..w.size[1]).map(move |kx| (ky, kx))) {
                let y = w.position(0, n / w.places[1], ky);
                let x = w.position(1, n % w.places[1], kx);
                if (0..w.image[0] as isize).contains(&y) && (0..w.image[1] as isize).contains(&x) {
                    let at = y as usize * w.image[1] + x as usize;
                    let better = |old: usize| image[at] > image[old] || image[at].is_nan() && !image[old].is_nan();
                    expected = if expected.is_none_or(better) { Some(at) } else { expected };
                }
            }
            assert_eq!(chosen, expected.map_or(NOWHERE, |at| at as u32), "{w:?}: window {n}");
            assert_eq!(best.to_bits(), expected.map_or(f64::NEG_INFINITY, |at| image[at]).to_bits());
        }
    }
}
