//! Reductions made of others: products, variances, norms, extremes with their
//! positions.

use std::panic::Location;

use super::{functions, reduce, unary};
use crate::kernels::nest::Nest;
use crate::scalar::Scalar;
use crate::shape::{self, Axes, Dims, reduced, reduced_count};
use crate::tensor::Tensor;

/// Positions of elements along an axis, as [`Tensor::argmax`] gives them: host
/// values in the tape's memory, not differentiable.
///
/// ```
/// let tape = wengert::Tape::new();
/// let x = tape.tensor([[1.0, 5.0], [7.0, 2.0]]);
/// let best = x.argmax(1);
/// assert_eq!((best.shape(), best.as_slice()), (&[2][..], &[1, 0][..]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indices<'t> {
    shape: &'t [usize],
    index: &'t [usize],
}

impl<'t> Indices<'t> {
    /// The shape.
    pub fn shape(self) -> &'t [usize] {
        self.shape
    }

    /// The positions, in row-major order.
    pub fn as_slice(self) -> &'t [usize] {
        self.index
    }
}

macro_rules! reductions {
    ($($(#[$doc:meta])* $all:ident $axes:ident $keepdim:ident ($($p:ident: $P:ty),*) = $f:ident;)*) => {
        /// Reductions made of others.
        impl<'t, T: Scalar> Tensor<'t, T> {
            $($(#[$doc])*
            #[track_caller]
            pub fn $all(self $(, $p: $P)*) -> Self {
                self.$f($($p,)* (..).mask(stringify!($all), self.rank()), false)
            }

            #[doc = concat!("[`Tensor::", stringify!($all), "`] over some axes, which are dropped.")]
            ///
            /// # Panics
            /// If an axis is out of range or named twice.
            #[track_caller]
            pub fn $axes(self $(, $p: $P)*, axes: impl Axes) -> Self {
                self.$f($($p,)* axes.mask(stringify!($all), self.rank()), false)
            }

            #[doc = concat!("[`Tensor::", stringify!($all), "`] over some axes, which stay with length 1.")]
            ///
            /// # Panics
            /// If an axis is out of range or named twice.
            #[track_caller]
            pub fn $keepdim(self $(, $p: $P)*, axes: impl Axes) -> Self {
                self.$f($($p,)* axes.mask(stringify!($all), self.rank()), true)
            })*
        }
    };
}

reductions! {
    /// The product; 1 over nothing. Its derivatives are right where elements
    /// are 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([2.0, 0.0, 3.0]).require_grad();
    /// let grads = x.prod().backward();
    /// assert_eq!(grads.get(x).unwrap().as_slice(), &[0.0, 6.0, 0.0]);
    /// ```
    prod prod_axes prod_keepdim() = product;
    /// The variance `Σ (x - mean)² / (n - correction)`: a correction of 1 for
    /// that of a sample, 0 for that of a whole population. More than n counts
    /// as n. NaN where both sum and divisor are 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1.0, 3.0]).var(1.0).item(), 2.0);
    /// assert_eq!(tape.tensor([1.0, 3.0]).var(0.0).item(), 1.0);
    /// ```
    var var_axes var_keepdim(correction: f64) = variance;
    /// The standard deviation, the root of [`Tensor::var`]; its gradient is 0
    /// where it is 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1.0, 3.0]).std(0.0).item(), 1.0);
    /// ```
    std std_axes std_keepdim(correction: f64) = deviation;
    /// The p-norm `(Σ |x|^p)^(1/p)`; for p = 0 the number of elements which
    /// are not 0, for ∞ and -∞ the largest and the smallest |x|. The gradient
    /// at the zero vector is 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([3.0, -4.0]);
    /// assert_eq!(x.norm(2.0).item(), 5.0);
    /// assert_eq!(x.norm(1.0).item(), 7.0);
    /// assert_eq!(x.norm(f64::INFINITY).item(), 4.0);
    /// ```
    #[doc(alias = "vector_norm")]
    norm norm_axes norm_keepdim(p: f64) = p_norm;
}

impl<'t, T: Scalar> Tensor<'t, T> {
    #[track_caller]
    fn sum_mask(self, mask: u64, keepdim: bool) -> Self {
        self.record(reduce::sum(self.id(), mask, keepdim))
    }

    /// The root whose slope at 0 is 0.
    #[track_caller]
    fn root(self) -> Self {
        self.record(unary::with(functions::Function::Root, self.id(), 0.0))
    }

    #[track_caller]
    fn product(self, mask: u64, keepdim: bool) -> Self {
        let kept = reduced(self.shape(), mask, keepdim);
        let count = reduced_count(self.shape(), mask);
        if self.is_empty() {
            // Over nothing, or nothing at all.
            return self.sum_mask(mask, keepdim) + T::ONE;
        }
        let rank = self.rank();
        let of = |set: u64| (0..rank).filter(move |axis| mask >> axis & 1 == set);
        let order: shape::Strides = of(0).chain(of(1)).map(|axis| axis as isize).collect();
        let rows = self.len() / count;
        self.permute(order).reshape([rows, count]).cumprod(1).select(1, -1).reshape(kept)
    }

    #[track_caller]
    fn variance(self, correction: f64, mask: u64, keepdim: bool) -> Self {
        let n = reduced_count(self.shape(), mask) as f64;
        let mean = self.sum_mask(mask, true) / T::from_f64(n);
        let squares = (self - mean).square().sum_mask(mask, keepdim);
        squares / T::from_f64((n - correction).max(0.0))
    }

    #[track_caller]
    fn deviation(self, correction: f64, mask: u64, keepdim: bool) -> Self {
        self.variance(correction, mask, keepdim).root()
    }

    #[track_caller]
    fn p_norm(self, p: f64, mask: u64, keepdim: bool) -> Self {
        if p == 2.0 {
            return self.square().sum_mask(mask, keepdim).root();
        }
        if p == 0.0 {
            return self.ne(T::ZERO).sum_mask(mask, keepdim);
        }
        let size = self.abs();
        if p == 1.0 {
            return size.sum_mask(mask, keepdim);
        }
        if p.is_infinite() {
            return size.extreme(p > 0.0, mask, keepdim);
        }
        size.power(p).sum_mask(mask, keepdim).power(1.0 / p)
    }

    /// `x^p`; where the base is 0 it has no slope to pass on.
    #[track_caller]
    fn power(self, p: f64) -> Self {
        let some = self.ne(T::ZERO);
        let power = self.where_mask(some, T::ONE).powf(T::from_f64(p));
        power.where_mask(some, T::from_f64(0f64.powf(p)))
    }

    #[track_caller]
    fn extreme(self, max: bool, mask: u64, keepdim: bool) -> Self {
        let axes: shape::Strides = (0..self.rank()).filter(|axis| mask >> axis & 1 == 1).map(|a| a as isize).collect();
        match (max, keepdim) {
            (true, false) => self.amax_axes(&axes[..]),
            (true, true) => self.amax_keepdim(&axes[..]),
            (false, false) => self.amin_axes(&axes[..]),
            (false, true) => self.amin_keepdim(&axes[..]),
        }
    }

    /// The position of the first extreme element of every line.
    #[track_caller]
    fn positions_of(self, op: &str, axis: isize, max: bool) -> Indices<'t> {
        let axis = shape::axis(op, axis, self.rank());
        let n = self.shape()[axis];
        let mut kept = Dims::from_slice(self.shape());
        kept.remove(axis);
        let count = shape::element_count(&kept);
        assert!(n > 0 || count == 0, "{op}: nothing to choose from along axis {axis} of {:?}", self.shape());
        let mut others = Dims::from_slice(self.shape());
        others[axis] = 1;
        let value = self.value();
        let step = value.layout.strides[axis];
        let nest = Nest::new(&others, [value.layout.strides]);
        let (len, [along]) = nest.inner();
        let arena = self.tape().arena();
        let index = arena.alloc::<usize>(count).as_ptr();
        let mut at = 0;
        nest.for_each(|[offset]| {
            for i in 0..len as isize {
                // SAFETY: positions of the layout; the list has room for one
                // index for every line.
                unsafe {
                    let line = value.data.offset(offset + i * along);
                    let (mut best, mut chosen) = (*line, 0);
                    for k in 1..n {
                        let x = *line.offset(k as isize * step);
                        let better = if max { x > best } else { x < best };
                        if better && !best.is_nan() || x.is_nan() && !best.is_nan() {
                            (best, chosen) = (x, k);
                        }
                    }
                    index.add(at).write(chosen);
                    at += 1;
                }
            }
        });
        // SAFETY: `count` lines have been visited, one index each.
        let index = unsafe { std::slice::from_raw_parts(index, count) };
        Indices { shape: arena.copy(&kept), index }
    }

    /// The position of the largest element along an axis, the first if tied;
    /// NaN counts as the largest.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1.0, 3.0, 3.0]).argmax(0).as_slice(), &[1]);
    /// ```
    ///
    /// # Panics
    /// If the axis is out of range or of length 0.
    #[track_caller]
    pub fn argmax(self, axis: isize) -> Indices<'t> {
        self.positions_of("argmax", axis, true)
    }

    /// The position of the smallest element along an axis; see
    /// [`Tensor::argmax`].
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([[1.0, 0.0], [0.0, 0.0]]).argmin(1).as_slice(), &[1, 0]);
    /// ```
    #[track_caller]
    pub fn argmin(self, axis: isize) -> Indices<'t> {
        self.positions_of("argmin", axis, false)
    }

    /// The position of the largest element of all, in row-major order: see
    /// [`Tensor::argmax`].
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([[1.0, 0.0], [3.0, 3.0]]).argmax_all(), 2);
    /// ```
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn argmax_all(self) -> usize {
        self.position_of_all("argmax_all", true)
    }

    /// The position of the smallest element of all; see [`Tensor::argmax_all`].
    #[track_caller]
    pub fn argmin_all(self) -> usize {
        self.position_of_all("argmin_all", false)
    }

    #[track_caller]
    fn position_of_all(self, op: &str, max: bool) -> usize {
        assert!(!self.is_empty(), "{op}: nothing to choose from in {:?}", self.shape());
        self.tape().no_grad(|| self.flatten(0, -1).positions_of(op, 0, max)).as_slice()[0]
    }

    /// The largest elements along an axis and their positions. The gradient
    /// goes to the first of those which are tied ([`Tensor::amax`] shares it).
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([2.0, 5.0, 5.0]).require_grad();
    /// let (max, at) = x.max_axis(0);
    /// assert_eq!((max.item(), at.as_slice()), (5.0, &[1][..]));
    /// assert_eq!(max.backward().get(x).unwrap().as_slice(), &[0.0, 1.0, 0.0]);
    /// ```
    ///
    /// # Panics
    /// If the axis is out of range or of length 0.
    #[doc(alias = "max")]
    #[track_caller]
    pub fn max_axis(self, axis: isize) -> (Self, Indices<'t>) {
        let at = self.positions_of("max_axis", axis, true);
        (self.at_positions(axis, at), at)
    }

    /// The smallest elements along an axis and their positions; see
    /// [`Tensor::max_axis`].
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([[2.0, 5.0], [4.0, 3.0]]).min_axis(0).0.to_vec(), [2.0, 3.0]);
    /// ```
    #[doc(alias = "min")]
    #[track_caller]
    pub fn min_axis(self, axis: isize) -> (Self, Indices<'t>) {
        let at = self.positions_of("min_axis", axis, false);
        (self.at_positions(axis, at), at)
    }

    #[track_caller]
    fn at_positions(self, axis: isize, at: Indices<'t>) -> Self {
        self.tape().obstruct("a choice of positions by their values", Location::caller());
        let axis = shape::axis("max_axis", axis, self.rank());
        let mut kept = Dims::from_slice(self.shape());
        kept[axis] = 1;
        self.gather(axis as isize, kept, at.index).reshape(at.shape)
    }
}
