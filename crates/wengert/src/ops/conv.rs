//! Convolutions and pooling: sliding windows are views, and the rest is
//! products and reductions.

use smallvec::SmallVec;

use super::arrange::Padding;
use super::slice::{Step, straight};
use crate::scalar::Scalar;
use crate::shape::Dims;
use crate::tensor::{Operand, Tensor};

/// How a window of `N` axes slides.
///
/// ```
/// # use wengert::Conv;
/// let conv = Conv::<2> { stride: [2, 2], padding: [1, 1], ..Conv::default() };
/// # let tape = wengert::Tape::new();
/// let y = tape.ones([1, 3, 8, 8]).conv2d(tape.ones([4, 3, 3, 3]), None, conv);
/// assert_eq!(y.shape(), [1, 4, 4, 4]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv<const N: usize> {
    /// From one window to the next.
    pub stride: [usize; N],
    /// Zeros on either side.
    pub padding: [usize; N],
    /// From one element of a window to the next.
    pub dilation: [usize; N],
    /// Channels are cut into so many groups, which do not see each other.
    pub groups: usize,
    /// Of transposed convolutions: so much more at the end.
    pub output_padding: [usize; N],
}

impl<const N: usize> Default for Conv<N> {
    fn default() -> Self {
        Conv { stride: [1; N], padding: [0; N], dilation: [1; N], groups: 1, output_padding: [0; N] }
    }
}

/// How a pool of `N` axes slides.
///
/// ```
/// # use wengert::Pool;
/// # let tape = wengert::Tape::new();
/// let x = tape.arange(0.0, 16.0, 1.0).reshape([1, 4, 4]);
/// assert_eq!(x.max_pool2d(Pool::new([2, 2])).to_vec(), [5.0, 7.0, 13.0, 15.0]);
/// assert_eq!(x.avg_pool2d(Pool::new([2, 2])).to_vec(), [2.5, 4.5, 10.5, 12.5]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool<const N: usize> {
    /// The size of a window.
    pub size: [usize; N],
    /// From one window to the next.
    pub stride: [usize; N],
    /// What is added on either side: -∞ for a maximum, zeros for a mean.
    pub padding: [usize; N],
    /// From one element of a window to the next (maxima alone).
    pub dilation: [usize; N],
    /// Whether padding counts as elements of a mean.
    pub count_padding: bool,
    /// Whether a last window may reach past the end, if it starts before it.
    /// What lies there never counts as elements of a mean.
    #[doc(alias = "ceil_mode")]
    pub partial: bool,
}

impl<const N: usize> Pool<N> {
    /// Windows side by side.
    pub fn new(size: [usize; N]) -> Self {
        Pool { size, stride: size, padding: [0; N], dilation: [1; N], count_padding: true, partial: false }
    }
}

/// How many windows there are along every axis.
#[track_caller]
fn windows<const N: usize>(op: &str, of: &[usize], size: [usize; N], stride: [usize; N], by: [usize; N]) -> [usize; N] {
    let mut counts = [0; N];
    for i in 0..N {
        assert!(stride[i] > 0 && by[i] > 0 && size[i] > 0, "{op}: a stride, dilation or size is 0");
        let span = by[i] * (size[i] - 1) + 1;
        assert!(span <= of[i], "{op}: a window over {span} positions does not fit {of:?} (padding included)");
        counts[i] = (of[i] - span) / stride[i] + 1;
    }
    counts
}

/// The steps of windows over the last `N` axes: `first` axes go straight, then
/// the part has `N` axes along the windows' elements and `N` that count them.
fn sliding<const N: usize>(first: usize, stride: [usize; N], dilation: [usize; N]) -> SmallVec<[Step; 8]> {
    let mut steps = straight(first);
    for i in 0..N {
        steps.push(Step { part: first + i, whole: first + i, by: dilation[i] as isize });
        steps.push(Step { part: first + N + i, whole: first + i, by: stride[i] as isize });
    }
    steps
}

impl<'t, T: Scalar> Tensor<'t, T> {
    #[track_caller]
    fn padded<const N: usize>(self, padding: [usize; N], value: T) -> Self {
        let amounts = padding.map(|p| (p as isize, p as isize));
        self.pad(&amounts, Padding::Constant(value))
    }

    #[track_caller]
    fn with_bias(self, op: &str, bias: Option<Self>, spatial: usize) -> Self {
        let Some(bias) = bias else { return self };
        let channels = self.shape()[1];
        assert!(bias.shape() == [channels], "{op}: a bias of shape {:?} for {channels} channels", bias.shape());
        let mut dims = Dims::from_elem(1, spatial + 1);
        dims[0] = channels;
        self + bias.reshape(dims)
    }

    #[track_caller]
    fn convolve<const N: usize>(self, op: &str, weight: Self, bias: Option<Self>, conv: Conv<N>) -> Self {
        let (from, kernel, groups) = (self.shape(), weight.shape(), conv.groups);
        let fits = from.len() == N + 2
            && kernel.len() == N + 2
            && groups > 0
            && kernel[1] * groups == from[1]
            && kernel[0].is_multiple_of(groups);
        assert!(fits, "{op}: the weight {kernel:?} does not fit an input of {from:?} in {groups} groups");
        let (batch, outputs, inner) = (from[0], kernel[0], kernel[1]);
        let mut size = [0; N];
        size.copy_from_slice(&kernel[2..]);
        let x = self.padded(conv.padding, T::ZERO);
        let counts = windows(op, &x.shape()[2..], size, conv.stride, conv.dilation);
        // [batch, group, channel, element of the window.., window..]
        let mut whole = Dims::from_slice(&[batch, groups, inner]);
        whole.extend_from_slice(&x.shape()[2..]);
        let mut part = Dims::from_slice(&[batch, groups, inner]);
        part.extend_from_slice(&size);
        part.extend_from_slice(&counts);
        let starts = Dims::from_elem(0, 3 + N);
        let columns = x.reshape(whole).part(&starts, &part, &sliding(3, conv.stride, conv.dilation));
        let (taps, places) = (inner * size.iter().product::<usize>(), counts.iter().product::<usize>());
        let columns = columns.reshape([batch, groups, taps, places]);
        let product = weight.reshape([groups, outputs / groups, taps]).matmul(columns);
        let mut dims = Dims::from_slice(&[batch, outputs]);
        dims.extend_from_slice(&counts);
        product.reshape(dims).with_bias(op, bias, N)
    }

    #[track_caller]
    fn convolve_transposed<const N: usize>(self, op: &str, weight: Self, bias: Option<Self>, conv: Conv<N>) -> Self {
        let (from, kernel, groups) = (self.shape(), weight.shape(), conv.groups);
        let fits = from.len() == N + 2 && kernel.len() == N + 2 && groups > 0;
        let fits = fits && kernel[0] == from[1] && from[1].is_multiple_of(groups);
        assert!(fits, "{op}: the weight {kernel:?} does not fit an input of {from:?} in {groups} groups");
        let (batch, inner, outputs) = (from[0], from[1] / groups, kernel[1]);
        let places: usize = from[2..].iter().product();
        let taps: usize = kernel[2..].iter().product();
        let x = self.reshape([batch, groups, inner, places]);
        let columns = weight.reshape([groups, inner, outputs * taps]).t().matmul(x);
        let mut part = Dims::from_slice(&[batch, groups, outputs]);
        part.extend_from_slice(&kernel[2..]);
        part.extend_from_slice(&from[2..]);
        let mut whole = Dims::from_slice(&[batch, groups, outputs]);
        for i in 0..N {
            let (n, k) = (from[2 + i], kernel[2 + i]);
            let some = n > 0 && k > 0 && conv.stride[i] > 0 && conv.dilation[i] > 0;
            assert!(some, "{op}: a size, stride or dilation is 0");
            whole.push((n - 1) * conv.stride[i] + conv.dilation[i] * (k - 1) + 1 + conv.output_padding[i]);
        }
        let starts = Dims::from_elem(0, 3 + N);
        let steps = sliding(3, conv.stride, conv.dilation);
        let mut y = columns.reshape(part).part_of(&whole, &starts, &steps);
        for i in 0..N {
            let (n, p) = (whole[3 + i], conv.padding[i]);
            assert!(2 * p <= n, "{op}: a padding of {p} cuts off more than {n} positions");
            y = y.narrow(3 + i as isize, p, n - 2 * p);
        }
        let mut dims = Dims::from_slice(&[batch, groups * outputs]);
        dims.extend_from_slice(&y.shape()[3..]);
        y.reshape(dims).with_bias(op, bias, N)
    }

    /// Padded for a pool: by its padding with `padding`, and with `beyond`
    /// where a partial last window reaches past that.
    #[track_caller]
    fn padded_for<const N: usize>(self, pool: &Pool<N>, padding: T, beyond: T) -> Self {
        let x = self.padded(pool.padding, padding);
        let mut amounts = [(0, 0); N];
        for (i, amount) in amounts.iter_mut().enumerate().filter(|_| pool.partial) {
            let (whole, stride) = (x.shape()[x.rank() - N + i], pool.stride[i].max(1));
            let span = pool.dilation[i] * pool.size[i].saturating_sub(1) + 1;
            let mut steps = whole.saturating_sub(span).div_ceil(stride);
            // A window within the padding at the end is none.
            if steps * stride >= whole - pool.padding[i] {
                steps = steps.saturating_sub(1);
            }
            *amount = (0, (steps * stride + span).saturating_sub(whole) as isize);
        }
        x.pad(&amounts, Padding::Constant(beyond))
    }

    /// The windows over the last `N` axes, their elements along a new last axis.
    #[track_caller]
    fn windows_of<const N: usize>(self, op: &str, pool: &Pool<N>) -> Self {
        let lead = self.rank() - N;
        let (from, stride, dilation) = (self.shape(), pool.stride, pool.dilation);
        let counts = windows(op, &from[lead..], pool.size, stride, dilation);
        let mut part = Dims::from_slice(&from[..lead]);
        part.extend_from_slice(&counts);
        part.extend_from_slice(&pool.size);
        let mut steps = straight(lead);
        for i in 0..N {
            steps.push(Step { part: lead + i, whole: lead + i, by: stride[i] as isize });
            steps.push(Step { part: lead + N + i, whole: lead + i, by: dilation[i] as isize });
        }
        let view = self.part(&Dims::from_elem(0, from.len()), &part, &steps);
        part.truncate(lead + N);
        part.push(pool.size.iter().product());
        view.reshape(part)
    }

    #[track_caller]
    fn max_pool<const N: usize>(self, op: &str, pool: Pool<N>) -> Self {
        assert!(self.rank() >= N, "{op}: needs {N} axes, got {:?}", self.shape());
        self.padded_for(&pool, T::NEG_INFINITY, T::NEG_INFINITY).windows_of(op, &pool).max_axis(-1).0
    }

    #[track_caller]
    fn avg_pool<const N: usize>(self, op: &str, pool: Pool<N>) -> Self {
        assert!(self.rank() >= N, "{op}: needs {N} axes, got {:?}", self.shape());
        let windows = self.padded_for(&pool, T::ZERO, T::ZERO).windows_of(op, &pool);
        if !pool.partial && (pool.count_padding || pool.padding == [0; N]) {
            return windows.mean_axes(-1);
        }
        let ones = self.tape().ones(&self.shape()[self.rank() - N..]);
        let padding = if pool.count_padding { T::ONE } else { T::ZERO };
        windows.sum_axes(-1) / ones.padded_for(&pool, padding, T::ZERO).windows_of(op, &pool).sum_axes(-1)
    }
}

/// Convolutions and pooling.
impl<'t, T: Scalar> Tensor<'t, T> {
    /// The cross-correlation of `[batch, channels, n]` with a weight
    /// `[outputs, channels / groups, k]`, plus a bias `[outputs]`:
    /// `[batch, outputs, (n + 2 padding - dilation (k - 1) - 1) / stride + 1]`.
    ///
    /// ```
    /// # use wengert::Conv;
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([1.0, 2.0, 3.0, 4.0]).reshape([1, 1, 4]);
    /// let weight = tape.tensor([1.0, -1.0]).reshape([1, 1, 2]);
    /// assert_eq!(x.conv1d(weight, None, Conv::default()).to_vec(), [-1.0, -1.0, -1.0]);
    /// ```
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn conv1d(self, weight: impl Operand<'t, T>, bias: Option<Self>, conv: Conv<1>) -> Self {
        self.convolve("conv1d", self.operand(weight), bias, conv)
    }

    /// [`Tensor::conv1d`] over two axes: `[batch, channels, h, w]` with
    /// `[outputs, channels / groups, kh, kw]`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn conv2d(self, weight: impl Operand<'t, T>, bias: Option<Self>, conv: Conv<2>) -> Self {
        self.convolve("conv2d", self.operand(weight), bias, conv)
    }

    /// The adjoint of [`Tensor::conv1d`] in its input, as a layer: `[batch,
    /// channels, n]` with a weight `[channels, outputs / groups, k]`, of length
    /// `(n - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn conv_transpose1d(self, weight: impl Operand<'t, T>, bias: Option<Self>, conv: Conv<1>) -> Self {
        self.convolve_transposed("conv_transpose1d", self.operand(weight), bias, conv)
    }

    /// [`Tensor::conv_transpose1d`] over two axes.
    ///
    /// ```
    /// # use wengert::Conv;
    /// # let tape = wengert::Tape::new();
    /// let conv = Conv { stride: [2, 2], ..Conv::default() };
    /// let y = tape.ones([1, 1, 2, 2]).conv_transpose2d(tape.ones([1, 1, 3, 3]), None, conv);
    /// assert_eq!(y.shape(), [1, 1, 5, 5]);
    /// assert_eq!(y.sum().item(), 36.0);
    /// ```
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn conv_transpose2d(self, weight: impl Operand<'t, T>, bias: Option<Self>, conv: Conv<2>) -> Self {
        self.convolve_transposed("conv_transpose2d", self.operand(weight), bias, conv)
    }

    /// The largest element of every window along the last axis; tied, the
    /// first alone gets the gradient.
    ///
    /// # Panics
    /// If a window does not fit.
    #[track_caller]
    pub fn max_pool1d(self, pool: Pool<1>) -> Self {
        self.max_pool("max_pool1d", pool)
    }

    /// [`Tensor::max_pool1d`] over the last two axes.
    ///
    /// # Panics
    /// If a window does not fit.
    #[track_caller]
    pub fn max_pool2d(self, pool: Pool<2>) -> Self {
        self.max_pool("max_pool2d", pool)
    }

    /// The mean of every window along the last axis.
    ///
    /// # Panics
    /// If a window does not fit.
    #[track_caller]
    pub fn avg_pool1d(self, pool: Pool<1>) -> Self {
        self.avg_pool("avg_pool1d", pool)
    }

    /// [`Tensor::avg_pool1d`] over the last two axes.
    ///
    /// # Panics
    /// If a window does not fit.
    #[track_caller]
    pub fn avg_pool2d(self, pool: Pool<2>) -> Self {
        self.avg_pool("avg_pool2d", pool)
    }
}
