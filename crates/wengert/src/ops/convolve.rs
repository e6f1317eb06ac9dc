//! Convolutions as products: the windows of one image at a time become columns
//! in scratch memory, which stays in cache.

use std::mem::MaybeUninit;

use super::{Emit, Id, Inferred, Op, Ref, Values, reduce};
use crate::kernels::gemm::split::Product;
use crate::kernels::gemm::{self, Mat};
use crate::kernels::windows::{Windows, scatter};
use crate::kernels::{Machine, Out, Value, with_runs};
use crate::scalar::Scalar;
use crate::shape::Dims;

/// The three contractions of the trilinear form `Σ g (w * x)` of an input `x`,
/// a weight `w` and a cotangent `g`: by all but `g`, `x` or `w`. The
/// derivatives of each are the other two.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Convolve {
    /// `w * x`, plus a bias for every channel.
    Forward { x: Id, w: Id, b: Option<Id>, how: Ref<Convolution> },
    /// The cotangent `g` taken to the input: a transposed convolution.
    ToInput { g: Id, w: Id, how: Ref<Convolution> },
    /// The cotangent `g` taken to the weight.
    ToWeight { g: Id, x: Id, how: Ref<Convolution> },
}

/// The shapes of an input `[batch, groups · inner, image..]`, a weight
/// `[groups · outer, inner, window..]` and a result `[batch, groups · outer,
/// places..]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convolution {
    pub(super) batch: usize,
    pub(super) groups: usize,
    pub(super) inner: usize,
    pub(super) outer: usize,
    pub(super) windows: Windows,
    /// One or two: with one, the first of the windows' axes has length 1.
    pub(super) axes: usize,
}

use Convolve::*;

impl Convolution {
    fn dims(&self, first: usize, second: usize, axes: &[usize; 2]) -> Dims {
        let mut dims = Dims::from_slice(&[first, second]);
        dims.extend_from_slice(&axes[2 - self.axes..]);
        dims
    }

    /// Rows of the weight of one group, its columns, and the places.
    fn product(&self) -> [usize; 3] {
        [self.outer, self.inner * self.windows.taps(), self.windows.count()]
    }
}

/// What is read and written, image by image.
struct Work<'a, T> {
    how: &'a Convolution,
    machine: &'a Machine<T>,
    columns: &'a mut [MaybeUninit<T>],
    scratch: &'a mut [MaybeUninit<T>],
}

impl<T: Scalar> Work<'_, T> {
    /// # Safety
    /// The contract of [`gemm::gemm`].
    unsafe fn gemm(&mut self, [m, n, k]: [usize; 3], a: Mat<T>, b: Mat<T>, to: *mut T, add: bool) {
        // SAFETY: the caller's contract.
        unsafe { Product::new(self.machine, [m, n, k], [a, b], to, n, add).run(self.scratch) }
    }

    /// The columns of the channels of one group, from its first image.
    ///
    /// # Safety
    /// The channels' images may be read.
    unsafe fn gather(&mut self, images: *const T) -> *const T {
        let Convolution { inner, windows, .. } = self.how;
        let (len, each) = (windows.image_len(), windows.taps() * windows.count());
        for c in 0..*inner {
            // SAFETY: the caller's contract.
            let image = unsafe { std::slice::from_raw_parts(images.add(c * len), len) };
            windows.gather(image, &mut self.columns[c * each..(c + 1) * each]);
        }
        self.columns.as_ptr().cast()
    }

    /// # Safety
    /// The contract of [`crate::kernels`], with operands without gaps.
    unsafe fn forward(&mut self, x: *const T, w: *const T, b: *const T, y: *mut T) {
        let [outer, taps, places] = self.how.product();
        self.for_each(|work, group, at_x, at_y, _| {
            // SAFETY: the parts of one image and group.
            unsafe {
                let columns = work.gather(x.add(at_x));
                let y = y.add(at_y);
                if !b.is_null() {
                    for i in 0..outer {
                        let b = *b.add(group * outer + i);
                        (0..places).for_each(|j| y.add(i * places + j).write(b));
                    }
                }
                let w = Mat::rows(w.add(group * outer * taps), taps);
                work.gemm([outer, places, taps], w, Mat::rows(columns, places), y, !b.is_null());
            }
        });
    }

    /// # Safety
    /// As `forward`; `to` has been filled.
    unsafe fn input_adjoint(&mut self, g: *const T, w: *const T, to: *mut T) {
        let [outer, taps, places] = self.how.product();
        self.for_each(|work, group, at_x, at_y, _| {
            // SAFETY: the parts of one image and group.
            unsafe {
                let w = Mat { data: w.add(group * outer * taps), rs: 1, cs: taps as isize };
                let columns: *mut T = work.columns.as_mut_ptr().cast();
                work.gemm([taps, places, outer], w, Mat::rows(g.add(at_y), places), columns, false);
                scatter(work.machine.isa, &work.how.windows, columns, to.add(at_x), work.how.inner);
            }
        });
    }

    /// # Safety
    /// As `forward`.
    unsafe fn weight_adjoint(&mut self, g: *const T, x: *const T, to: *mut T, add: bool) {
        let [outer, taps, places] = self.how.product();
        self.for_each(|work, group, at_x, at_y, image| {
            // SAFETY: the parts of one image and group.
            unsafe {
                let columns = Mat { data: work.gather(x.add(at_x)), rs: 1, cs: places as isize };
                let to = to.add(group * outer * taps);
                work.gemm([outer, taps, places], Mat::rows(g.add(at_y), places), columns, to, add || image > 0);
            }
        });
    }

    /// Calls `f` with the group, where its part of an input and of a result
    /// starts, and the number of the image.
    fn for_each(&mut self, mut f: impl FnMut(&mut Self, usize, usize, usize, usize)) {
        let Convolution { batch, groups, inner, outer, windows, .. } = *self.how;
        for image in 0..batch {
            for group in 0..groups {
                let part = image * groups + group;
                f(self, group, part * inner * windows.image_len(), part * outer * windows.count(), image);
            }
        }
    }
}

impl Convolve {
    fn how(&self) -> &Convolution {
        let (Forward { how, .. } | ToInput { how, .. } | ToWeight { how, .. }) = self;
        // SAFETY: what an op of this tape refers to.
        unsafe { how.get() }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Forward { .. } => "conv",
            ToInput { .. } => "conv_transpose",
            ToWeight { .. } => "conv_weight_grad",
        }
    }

    pub(crate) fn operands(&self) -> impl Iterator<Item = Id> + use<> {
        let (a, b, c) = match *self {
            Forward { x, w, b, .. } => (x, w, b),
            ToInput { g, w, .. } => (g, w, None),
            ToWeight { g, x, .. } => (g, x, None),
        };
        [Some(a), Some(b), c].into_iter().flatten()
    }

    pub(crate) fn accumulates(&self) -> bool {
        !matches!(self, Forward { .. })
    }

    #[track_caller]
    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        let how = self.how();
        let Convolution { batch, groups, inner, outer, windows, .. } = how;
        let dims = match self {
            Forward { .. } => how.dims(*batch, groups * outer, &windows.places),
            ToInput { .. } => how.dims(*batch, groups * inner, &windows.image),
            ToWeight { .. } => how.dims(groups * outer, *inner, &windows.size),
        };
        Inferred::fresh(v, &dims)
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        let how = self.how();
        let [outer, taps, places] = how.product();
        let (row, column) = (|n: usize| (n as isize, 1), |n: usize| (1, n as isize));
        // The product of every image, and the strides of its operands.
        let (product, a, b) = match self {
            Forward { .. } => ([outer, places, taps], row(taps), row(places)),
            ToInput { .. } => ([taps, places, outer], column(taps), row(places)),
            ToWeight { .. } => ([outer, taps, places], row(places), column(places)),
        };
        let packing = gemm::scratch_len::<T>(m.gemm.get(), m.isa, product[0], product[1], product[2], a, b);
        let columns = taps * places;
        let [x, y, b] = match *self {
            Forward { x, w, b, .. } => [v.value(x), v.value(w), b.map_or(Value::none(), |b| v.value(b))],
            ToInput { g, w, .. } => [v.value(g), v.value(w), Value::none()],
            ToWeight { g, x, .. } => [v.value(g), v.value(x), Value::none()],
        };
        let cleared = match self {
            Forward { .. } => false,
            ToInput { .. } => !out.add,
            ToWeight { .. } => !out.add && how.batch == 0,
        };
        // SAFETY: the caller's contract; operands without gaps, of the shapes
        // which `how` gives.
        unsafe {
            if cleared {
                (0..out.len).for_each(|i| out.data.add(i).write(T::ZERO));
            }
            with_runs(m, [x, y, b], packing + columns, |[x, y, b], scratch| {
                let (scratch, columns) = scratch.split_at_mut(packing);
                let mut work = Work { how, machine: m, columns, scratch };
                match self {
                    Forward { .. } => work.forward(x, y, b, out.data),
                    ToInput { .. } => work.input_adjoint(x, y, out.data),
                    ToWeight { .. } => work.weight_adjoint(x, y, out.data, out.add),
                }
            });
        }
    }

    pub(crate) fn rule<E: Emit>(self, e: &mut E, _: Id, c: Id) {
        let forward = |x, w, how| Op::Convolve(Forward { x, w, b: None, how });
        let to_input = |g, w, how| Op::Convolve(ToInput { g, w, how });
        let to_weight = |g, x, how| Op::Convolve(ToWeight { g, x, how });
        match self {
            Forward { x, w, b, how } => {
                e.give(x, to_input(c, w, how));
                e.give(w, to_weight(c, x, how));
                if let Some(b) = b {
                    // All axes but the channels.
                    let mask = (1 << (self.how().axes + 2)) - 1 - 2;
                    e.give(b, reduce::sum(c, mask, false));
                }
            }
            ToInput { g, w, how } => {
                e.give(g, forward(c, w, how));
                e.give(w, to_weight(g, c, how));
            }
            ToWeight { g, x, how } => {
                e.give(g, forward(x, c, how));
                e.give(x, to_input(g, c, how));
            }
        }
    }
}
