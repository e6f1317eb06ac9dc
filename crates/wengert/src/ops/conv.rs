//! Convolutions and pooling: the methods.

use super::arrange::Padding;
use super::convolve::{Convolution, Convolve};
use super::maxpool::{MaxPool, Pooling};
use super::part::{Step, straight};
use super::{Op, Ref};
use crate::kernels::windows::Windows;
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

/// The length of an axis with padding on either side; what is beyond all
/// memory stays there, to be refused.
fn padded_length(length: usize, padding: usize) -> usize {
    padding.saturating_mul(2).saturating_add(length)
}

/// How many windows there are along every axis.
#[track_caller]
fn windows<const N: usize>(op: &str, of: &[usize], size: [usize; N], stride: [usize; N], by: [usize; N]) -> [usize; N] {
    let mut counts = [0; N];
    for i in 0..N {
        assert!(stride[i] > 0 && by[i] > 0 && size[i] > 0, "{op}: a stride, dilation or size is 0");
        let span = by[i].saturating_mul(size[i] - 1).saturating_add(1);
        assert!(span <= of[i], "{op}: a window over {span} positions does not fit {of:?} (padding included)");
        counts[i] = (of[i] - span) / stride[i] + 1;
    }
    counts
}

/// Windows along `N` axes, the last ones of two: a first axis which is not
/// there has length 1.
fn on_two_axes<const N: usize>(
    image: &[usize],
    size: &[usize],
    places: &[usize],
    [stride, padding, dilation]: [[usize; N]; 3],
) -> Windows {
    let of = |list: &[usize], missing: usize| {
        let mut both = [missing; 2];
        both[2 - N..].copy_from_slice(list);
        both
    };
    Windows {
        image: of(image, 1),
        size: of(size, 1),
        places: of(places, 1),
        stride: of(&stride, 1),
        padding: of(&padding, 0),
        dilation: of(&dilation, 1),
    }
}

impl<const N: usize> Conv<N> {
    fn windows(&self, image: &[usize], size: &[usize], places: &[usize]) -> Windows {
        on_two_axes(image, size, places, [self.stride, self.padding, self.dilation])
    }
}

impl<'t, T: Scalar> Tensor<'t, T> {
    #[track_caller]
    fn padded<const N: usize>(self, padding: [usize; N], value: T) -> Self {
        let amounts = padding.map(|p| isize::try_from(p).unwrap_or(isize::MAX)).map(|p| (p, p));
        self.pad(&amounts, Padding::Constant(value))
    }

    #[track_caller]
    fn check_bias(self, op: &str, bias: Option<Self>, channels: usize) {
        if let Some(bias) = bias {
            assert!(bias.shape() == [channels], "{op}: a bias of shape {:?} for {channels} channels", bias.shape());
        }
    }

    #[track_caller]
    fn with_bias(self, op: &str, bias: Option<Self>, spatial: usize) -> Self {
        let Some(bias) = bias else { return self };
        let channels = self.shape()[1];
        self.check_bias(op, Some(bias), channels);
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
        let (batch, outer, inner) = (from[0], kernel[0] / groups, kernel[1]);
        let padded: [usize; N] = std::array::from_fn(|i| padded_length(from[2 + i], conv.padding[i]));
        let size = std::array::from_fn(|i| kernel[2 + i]);
        let counts = windows(op, &padded, size, conv.stride, conv.dilation);
        let windows = conv.windows(&from[2..], &kernel[2..], &counts);
        self.check_bias(op, bias, outer * groups);
        let how = self.tape().arena().store(Convolution { batch, groups, inner, outer, windows, axes: N });
        let b = bias.map(|b| self.operand(b).id());
        self.record(Op::Convolve(Convolve::Forward { x: self.id(), w: weight.id(), b, how: Ref::new(how) }))
    }

    #[track_caller]
    fn convolve_transposed<const N: usize>(self, op: &str, weight: Self, bias: Option<Self>, conv: Conv<N>) -> Self {
        let (from, kernel, groups) = (self.shape(), weight.shape(), conv.groups);
        let fits = from.len() == N + 2 && kernel.len() == N + 2 && groups > 0;
        let fits = fits && kernel[0] == from[1] && from[1].is_multiple_of(groups);
        assert!(fits, "{op}: the weight {kernel:?} does not fit an input of {from:?} in {groups} groups");
        let (batch, outer, inner) = (from[0], from[1] / groups, kernel[1]);
        let mut image = [0; N];
        for i in 0..N {
            let (n, k, p) = (from[2 + i], kernel[2 + i], conv.padding[i]);
            let some = n > 0 && k > 0 && conv.stride[i] > 0 && conv.dilation[i] > 0;
            assert!(some, "{op}: a size, stride or dilation is 0");
            // What is beyond all memory stays there, to be refused.
            let window = conv.dilation[i].saturating_mul(k - 1).saturating_add(1);
            let whole = (n - 1).saturating_mul(conv.stride[i]).saturating_add(window);
            let whole = whole.saturating_add(conv.output_padding[i]);
            assert!(p <= whole / 2, "{op}: a padding of {p} cuts off more than {whole} positions");
            image[i] = whole - 2 * p;
        }
        let windows = conv.windows(&image, &kernel[2..], &from[2..]);
        let how = self.tape().arena().store(Convolution { batch, groups, inner, outer, windows, axes: N });
        let op_of = Convolve::ToInput { g: self.id(), w: weight.id(), how: Ref::new(how) };
        self.record(Op::Convolve(op_of)).with_bias(op, bias, N)
    }

    /// How far a partial last window reaches past the padding, as amounts for
    /// [`Tensor::pad`].
    fn overhang<const N: usize>(self, pool: &Pool<N>) -> [(isize, isize); N] {
        let mut amounts = [(0, 0); N];
        for (i, amount) in amounts.iter_mut().enumerate().filter(|_| pool.partial) {
            let whole = padded_length(self.shape()[self.rank() - N + i], pool.padding[i]);
            let stride = pool.stride[i].max(1);
            let span = pool.dilation[i].saturating_mul(pool.size[i].saturating_sub(1)).saturating_add(1);
            let mut steps = whole.saturating_sub(span).div_ceil(stride);
            // A window within the padding at the end is none.
            if steps.saturating_mul(stride) >= whole - pool.padding[i] {
                steps = steps.saturating_sub(1);
            }
            let end = steps.saturating_mul(stride).saturating_add(span);
            *amount = (0, isize::try_from(end.saturating_sub(whole)).unwrap_or(isize::MAX));
        }
        amounts
    }

    /// Padded for a pool: by its padding with `padding`, beyond that by zeros.
    #[track_caller]
    fn padded_for<const N: usize>(self, pool: &Pool<N>, padding: T) -> Self {
        let beyond = self.overhang(pool);
        self.padded(pool.padding, padding).pad(&beyond, Padding::Constant(T::ZERO))
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
        if pool.partial {
            let whole = Pool { partial: false, ..pool };
            return self.pad(&self.overhang(&pool), Padding::Constant(T::NEG_INFINITY)).max_pool(op, whole);
        }
        let dims = self.shape();
        let image = &dims[dims.len() - N..];
        let padded: [usize; N] = std::array::from_fn(|i| padded_length(image[i], pool.padding[i]));
        let counts = windows(op, &padded, pool.size, pool.stride, pool.dilation);
        let windows = on_two_axes(image, &pool.size, &counts, [pool.stride, pool.padding, pool.dilation]);
        let how = Ref::new(self.tape().arena().store(Pooling { windows, axes: N }));
        self.record(Op::MaxPool(MaxPool::Choose { x: self.id(), by: self.id(), how }))
    }

    #[track_caller]
    fn avg_pool<const N: usize>(self, op: &str, pool: Pool<N>) -> Self {
        assert!(self.rank() >= N, "{op}: needs {N} axes, got {:?}", self.shape());
        let windows = self.padded_for(&pool, T::ZERO).windows_of(op, &pool);
        if !pool.partial && (pool.count_padding || pool.padding == [0; N]) {
            return windows.mean_axes(-1);
        }
        let ones = self.tape().ones(&self.shape()[self.rank() - N..]);
        let padding = if pool.count_padding { T::ONE } else { T::ZERO };
        windows.sum_axes(-1) / ones.padded_for(&pool, padding).windows_of(op, &pool).sum_axes(-1)
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
