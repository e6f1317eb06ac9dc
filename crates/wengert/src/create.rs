//! How tensors come to be on a tape.

use std::mem::MaybeUninit;
use std::panic::Location;

use rand::Rng;

use crate::array::Array;
use crate::error::{Error, raise};
use crate::kernels::Value;
use crate::ops::Values;
use crate::ops::leaf::Leaf;
use crate::params::{Parameter, normal, uniform};
use crate::scalar::Scalar;
use crate::shape::Layout;
use crate::tape::Tape;
use crate::tensor::Tensor;

/// Creation. Every tensor made here is a constant until
/// [`require_grad`](Tensor::require_grad).
impl<T: Scalar> Tape<T> {
    /// A tensor every element of which `fill` writes.
    #[track_caller]
    #[inline]
    fn create(&self, shape: &[usize], fill: impl FnOnce(&mut [MaybeUninit<T>])) -> Tensor<'_, T> {
        let layout = self.layouts().contiguous(shape);
        let data = self.arena().alloc::<T>(layout.len);
        // SAFETY: fresh memory of `len` elements; `MaybeUninit` asks nothing
        // of its contents.
        let to = unsafe { std::slice::from_raw_parts_mut(data.as_ptr().cast(), layout.len) };
        fill(to);
        Tensor::new(self, self.leaf(Leaf::Constant, data.as_ptr(), layout, Location::caller()))
    }

    #[track_caller]
    pub(crate) fn fill(&self, shape: impl AsRef<[usize]>, mut f: impl FnMut(usize) -> T) -> Tensor<'_, T> {
        self.create(shape.as_ref(), |to| {
            to.iter_mut().enumerate().for_each(|(i, x)| {
                x.write(f(i));
            })
        })
    }

    /// A tensor from nested arrays, a `Vec`, a number, or an [`Array`].
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).shape(), &[2, 3]);
    /// ```
    #[track_caller]
    pub fn tensor(&self, values: impl Into<Array<T>>) -> Tensor<'_, T> {
        let array = values.into();
        self.input(array.shape(), array.as_slice())
    }

    /// A tensor of this shape with a copy of these values, row-major.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.input([2, 2], &[1.0, 2.0, 3.0, 4.0]);
    /// assert_eq!(x.sum_axes(0).to_vec(), [4.0, 6.0]);
    /// ```
    ///
    /// # Panics
    /// If the number of values is not that of the shape.
    #[track_caller]
    pub fn input(&self, shape: impl AsRef<[usize]>, values: &[T]) -> Tensor<'_, T> {
        match self.try_input(shape, values) {
            Ok(x) => x,
            Err(error) => raise(error),
        }
    }

    /// [`Tape::input`] for data whose length is known only at run time.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`].
    #[track_caller]
    pub fn try_input(&self, shape: impl AsRef<[usize]>, values: &[T]) -> Result<Tensor<'_, T>, Error> {
        let shape = shape.as_ref();
        let layout = self.layouts().contiguous(shape);
        if layout.len != values.len() {
            let (expected, got) = (layout.len, values.len());
            return Err(Error::LengthMismatch { op: "input", shape: shape.to_vec(), expected, got });
        }
        let data = self.arena().place(values).as_ptr();
        Ok(Tensor::new(self, self.leaf(Leaf::Constant, data, layout, Location::caller())))
    }

    /// A tensor of rank 0.
    #[track_caller]
    pub fn scalar(&self, value: T) -> Tensor<'_, T> {
        let data = self.arena().place(&[value]).as_ptr();
        Tensor::new(self, self.leaf(Leaf::Constant, data, &Layout::SCALAR, Location::caller()))
    }

    /// Zeros.
    #[track_caller]
    pub fn zeros(&self, shape: impl AsRef<[usize]>) -> Tensor<'_, T> {
        self.full(shape, T::ZERO)
    }

    /// Ones.
    #[track_caller]
    pub fn ones(&self, shape: impl AsRef<[usize]>) -> Tensor<'_, T> {
        self.full(shape, T::ONE)
    }

    /// One value everywhere.
    #[track_caller]
    pub fn full(&self, shape: impl AsRef<[usize]>, value: T) -> Tensor<'_, T> {
        self.create(shape.as_ref(), |to| to.fill(MaybeUninit::new(value)))
    }

    /// The identity matrix `[n, n]`.
    #[track_caller]
    pub fn eye(&self, n: usize) -> Tensor<'_, T> {
        self.fill([n, n], |i| if i / n == i % n { T::ONE } else { T::ZERO })
    }

    /// `start, start + step, ...` up to but not including `end`: of length
    /// `ceil((end - start) / step)`, as NumPy's.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// assert_eq!(tape.arange(1.0, 2.0, 0.25).to_vec(), [1.0, 1.25, 1.5, 1.75]);
    /// assert_eq!(tape.arange(2.0, 1.0, 1.0).len(), 0);
    /// ```
    ///
    /// # Panics
    /// If `step` is 0 or a number is not finite.
    #[track_caller]
    pub fn arange(&self, start: T, end: T, step: T) -> Tensor<'_, T> {
        let [a, b, s] = [start, end, step].map(T::to_f64);
        let fits = s != 0.0 && (a + b + s).is_finite();
        assert!(fits, "arange: no progression from {start} to {end} in steps of {step}");
        let n = ((b - a) / s).ceil().max(0.0) as usize;
        self.fill([n], |i| T::from_f64(a + s * i as f64))
    }

    /// `n` numbers evenly spaced from `start` to `end`, both included.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// assert_eq!(tape.linspace(0.0, 1.0, 5).to_vec(), [0.0, 0.25, 0.5, 0.75, 1.0]);
    /// ```
    #[track_caller]
    pub fn linspace(&self, start: T, end: T, n: usize) -> Tensor<'_, T> {
        let (a, b) = (start.to_f64(), end.to_f64());
        let last = n.saturating_sub(1).max(1) as f64;
        // From the nearer end, so that both ends are exact.
        let at = |i: usize| match 2 * i < n {
            true => a + (b - a) * (i as f64 / last),
            false => b - (b - a) * ((last - i as f64) / last),
        };
        self.fill([n], |i| T::from_f64(if n == 1 { a } else { at(i) }))
    }

    /// Uniform over `[0, 1)`.
    #[track_caller]
    pub fn rand(&self, shape: impl AsRef<[usize]>, rng: &mut impl Rng) -> Tensor<'_, T> {
        self.uniform(shape, T::ZERO, T::ONE, rng)
    }

    /// Uniform over `[low, high)`.
    #[track_caller]
    pub fn uniform(&self, shape: impl AsRef<[usize]>, low: T, high: T, rng: &mut impl Rng) -> Tensor<'_, T> {
        self.fill(shape, |_| uniform(low, high, rng))
    }

    /// The standard normal distribution.
    ///
    /// ```
    /// use rand::{SeedableRng, rngs::StdRng};
    /// let tape = wengert::Tape::new();
    /// let x = tape.randn([1000], &mut StdRng::seed_from_u64(0));
    /// assert!(x.mean().item().abs() < 0.1);
    /// ```
    #[track_caller]
    pub fn randn(&self, shape: impl AsRef<[usize]>, rng: &mut impl Rng) -> Tensor<'_, T> {
        self.normal(shape, T::ZERO, T::ONE, rng)
    }

    /// The normal distribution.
    #[track_caller]
    pub fn normal(&self, shape: impl AsRef<[usize]>, mean: T, std: T, rng: &mut impl Rng) -> Tensor<'_, T> {
        self.fill(shape, |_| normal(mean, std, rng))
    }

    /// A parameter as a tensor, where an operator wants one on its left:
    /// `tape.param(&params[w]) * 2.0`. No copy is made.
    #[track_caller]
    pub fn param<'t>(&'t self, parameter: &'t Parameter<T>) -> Tensor<'t, T> {
        Tensor::new(self, self.parameter(parameter, Location::caller()))
    }

    /// The tensor whose elements, in row-major order, a function gives.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// assert_eq!(tape.from_fn([2, 2], |i| i as f32).to_vec(), [0.0, 1.0, 2.0, 3.0]);
    /// ```
    #[allow(clippy::wrong_self_convention, reason = "the name of arrays' and iterators' own")]
    #[track_caller]
    pub fn from_fn(&self, shape: impl AsRef<[usize]>, f: impl FnMut(usize) -> T) -> Tensor<'_, T> {
        self.fill(shape, f)
    }

    /// A copy of a tensor of another tape (the scope of [`Tape::evaluate`], or
    /// another thread's), as a constant of this one.
    #[track_caller]
    pub fn constant(&self, x: Tensor<'_, T>) -> Tensor<'_, T> {
        self.copy_of(x.value())
    }

    #[track_caller]
    pub(crate) fn copy_of(&self, x: Value<'_, T>) -> Tensor<'_, T> {
        self.create(x.layout.dims, |to| {
            let mut to = to.iter_mut();
            x.for_each(|v| {
                if let Some(slot) = to.next() {
                    slot.write(v);
                }
            });
        })
    }
}
