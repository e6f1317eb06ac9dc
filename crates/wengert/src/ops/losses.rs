//! Losses with a choice of reduction and weights.

use super::binary;
use super::loss::check_labels;
use crate::error::{Error, raise};
use crate::scalar::Scalar;
use crate::shape::{self, Dims, Strides};
use crate::tensor::{Operand, Tensor};

/// What becomes of the losses of single elements.
///
/// ```
/// # use wengert::Reduction;
/// # let tape = wengert::Tape::new();
/// let x = tape.tensor([1.0, -3.0]);
/// let zero = tape.zeros([2]);
/// assert_eq!(x.l1_loss(zero, Reduction::Mean).item(), 2.0);
/// assert_eq!(x.l1_loss(zero, Reduction::Sum).item(), 4.0);
/// assert_eq!(x.l1_loss(zero, Reduction::None).to_vec(), [1.0, 3.0]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean; for weighted classes the weighted mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Their sum, divided by the length of their first axis: PyTorch's
    /// `batchmean`.
    BatchMean,
    /// They stay as they are.
    None,
}

/// What [`Tensor::cross_entropy_with`] and [`Tensor::nll_loss`] take beside
/// the labels.
///
/// ```
/// # use wengert::{CrossEntropy, Reduction};
/// # let tape = wengert::Tape::new();
/// let logits = tape.zeros([3, 2]);
/// let options = CrossEntropy { ignore: Some(9), reduction: Reduction::None, ..CrossEntropy::default() };
/// let losses = logits.cross_entropy_with(&[0, 9, 1], options);
/// assert_eq!(losses.to_vec(), [2f32.ln(), 0.0, 2f32.ln()]);
/// ```
#[derive(Clone, Copy)]
pub struct CrossEntropy<'t, T: Scalar = f32> {
    /// A weight for every class, `[classes]`.
    pub weight: Option<Tensor<'t, T>>,
    /// Rows with this label count for nothing; it need not be a class.
    pub ignore: Option<usize>,
    /// How much of the target is spread over all classes evenly.
    pub label_smoothing: T,
    /// The axis of the classes, the last one (-1) by default. PyTorch's
    /// `[batch, classes, d1, ..]` has them along axis 1.
    pub axis: isize,
    /// What becomes of the losses of the rows.
    pub reduction: Reduction,
}

impl<T: Scalar> Default for CrossEntropy<'_, T> {
    fn default() -> Self {
        CrossEntropy { weight: None, ignore: None, label_smoothing: T::ZERO, axis: -1, reduction: Reduction::Mean }
    }
}

/// Losses.
impl<'t, T: Scalar> Tensor<'t, T> {
    #[track_caller]
    fn reduced(self, reduction: Reduction) -> Self {
        match reduction {
            Reduction::Mean => self.mean(),
            Reduction::Sum => self.sum(),
            Reduction::BatchMean => self.sum() / self.batch(),
            Reduction::None => self,
        }
    }

    /// The length of the first axis.
    pub(super) fn batch(self) -> T {
        T::from_f64(self.shape().first().map_or(1.0, |&n| n as f64))
    }

    #[track_caller]
    fn same_shape(self, op: &str, target: Self) {
        let (a, b) = (self.shape(), target.shape());
        assert!(a == b, "{op}: input and target differ in shape: {a:?} and {b:?}");
    }

    #[track_caller]
    pub(super) fn target(self, op: &str, target: impl Operand<'t, T>) -> Self {
        let target = self.operand(target);
        self.same_shape(op, target);
        target
    }

    /// Binary cross-entropy of probabilities, `-(t ln x + (1 - t) ln(1 - x))`,
    /// the logarithms no less than -100. Better: logits and
    /// [`Tensor::binary_cross_entropy_with_logits`].
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([0.0, 0.5]);
    /// let loss = x.binary_cross_entropy(tape.tensor([1.0, 1.0]), wengert::Reduction::None);
    /// assert_eq!(loss.to_vec(), [100.0, 2f32.ln()]);
    /// ```
    ///
    /// # Panics
    /// If the shapes differ.
    #[doc(alias = "bce_loss")]
    #[track_caller]
    pub fn binary_cross_entropy(self, target: impl Operand<'t, T>, reduction: Reduction) -> Self {
        let target = self.target("binary_cross_entropy", target);
        self.binary(binary::Function::Bce, target).reduced(reduction)
    }

    /// [`Tensor::binary_cross_entropy_with_logits`] with a weight for the
    /// losses, one for positive targets, and a choice of reduction; weights
    /// broadcast.
    ///
    /// # Panics
    /// If the shapes differ or a weight does not broadcast.
    #[track_caller]
    pub fn binary_cross_entropy_with_logits_with(
        self,
        target: impl Operand<'t, T>,
        weight: Option<Self>,
        positive: Option<Self>,
        reduction: Reduction,
    ) -> Self {
        let t = self.target("binary_cross_entropy_with_logits", target);
        let mut losses = match positive {
            None => self.binary(binary::Function::BceWithLogits, t),
            // (1 - t) x + (1 + (p - 1) t) ln(1 + e^-x)
            Some(p) => {
                let factor = (p - T::ONE) * t + T::ONE;
                (T::ONE.minus(t)) * self - factor * self.log_sigmoid()
            }
        };
        if let Some(weight) = weight {
            losses = losses * weight;
        }
        losses.reduced(reduction)
    }

    /// The Kullback-Leibler divergence of log-probabilities `x` from a
    /// target: `t (ln t - x)`, or `e^t (t - x)` of a target which is
    /// logarithms too. Targets of 0 count for nothing. The divergence itself
    /// comes from [`Reduction::BatchMean`].
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let p = tape.tensor([0.25, 0.75]);
    /// assert_eq!(p.ln().kl_div(p, false, wengert::Reduction::Sum).item(), 0.0);
    /// ```
    ///
    /// # Panics
    /// If the shapes differ.
    #[track_caller]
    pub fn kl_div(self, target: impl Operand<'t, T>, log_target: bool, reduction: Reduction) -> Self {
        let t = self.target("kl_div", target);
        let losses = match log_target {
            true => t.exp() * (t - self),
            false => {
                let some = t.gt(T::ZERO);
                let ln = t.where_mask(some, T::ONE).ln();
                // A negative target is a mistake, which PyTorch shows as NaN.
                let entropy = (t * ln).where_mask(t.ge(T::ZERO), T::NAN);
                entropy - t * self
            }
        };
        losses.reduced(reduction)
    }

    /// `x` where the target is 1, `max(0, margin - x)` where it is -1.
    ///
    /// # Panics
    /// If the shapes differ.
    #[track_caller]
    pub fn hinge_embedding_loss(self, target: impl Operand<'t, T>, margin: T, reduction: Reduction) -> Self {
        let t = self.target("hinge_embedding_loss", target);
        let negative = (-self + margin).relu().where_mask(t.ne(T::ONE), T::ZERO);
        let positive = self.where_mask(t.ne(-T::ONE), T::ZERO);
        (negative + positive).reduced(reduction)
    }

    /// The cosine of the angle between vectors along an axis:
    /// `x·y / (max(|x|, eps) max(|y|, eps))`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let (x, y) = (tape.tensor([3.0, 4.0]), tape.tensor([4.0, 3.0]));
    /// assert!((x.cosine_similarity(y, 0, 1e-8).item() - 0.96).abs() < 1e-6);
    /// ```
    ///
    /// # Panics
    /// If the shapes do not broadcast or the axis is out of range.
    #[track_caller]
    pub fn cosine_similarity(self, other: impl Operand<'t, T>, axis: isize, eps: T) -> Self {
        let other = self.operand(other);
        let Some(dims) = shape::try_broadcast(self.shape(), other.shape()) else {
            panic!("cosine_similarity: shapes do not broadcast: {:?} and {:?}", self.shape(), other.shape());
        };
        let axis = shape::axis("cosine_similarity", axis, dims.len()) as isize;
        (self.broadcast_to(&dims).unit(axis, eps) * other.broadcast_to(&dims).unit(axis, eps)).sum_axes(axis)
    }

    /// Vectors of length 1, or less where the length is below `eps`.
    #[track_caller]
    fn unit(self, axis: isize, eps: T) -> Self {
        self / self.norm_keepdim(2.0, axis).clamp_min(eps)
    }

    /// `1 - cos` of pairs along the last axis whose target is 1, `max(0, cos -
    /// margin)` of those whose target is -1.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn cosine_embedding_loss(self, other: Self, target: Self, margin: T, reduction: Reduction) -> Self {
        let cos = self.cosine_similarity(other, -1, T::from_f64(1e-8));
        cos.same_shape("cosine_embedding_loss", target);
        let near = (T::ONE.minus(cos)).where_mask(target.eq(T::ONE), T::ZERO);
        let far = (cos - margin).relu().where_mask(target.eq(-T::ONE), T::ZERO);
        (near + far).reduced(reduction)
    }

    /// [`Tensor::cross_entropy`] with class weights, a label to ignore, label
    /// smoothing, a choice of the classes' axis and of the reduction. There is
    /// a label for each position of the other axes, row-major. The mean is
    /// that over weights; NaN if every label is ignored.
    ///
    /// ```
    /// # use wengert::CrossEntropy;
    /// # let tape = wengert::Tape::new();
    /// // Every pixel of an image of 2 x 3 is one of 4 classes.
    /// let logits = tape.zeros([1, 4, 2, 3]);
    /// let loss = logits.cross_entropy_with(&[0, 1, 2, 3, 0, 1], CrossEntropy { axis: 1, ..CrossEntropy::default() });
    /// assert_eq!(loss.item(), 4f32.ln());
    /// ```
    ///
    /// # Panics
    /// If a label is neither a class nor ignored, or the shapes do not fit.
    #[track_caller]
    pub fn cross_entropy_with(self, labels: &[usize], options: CrossEntropy<'t, T>) -> Self {
        match self.try_cross_entropy_with(labels, options) {
            Ok(loss) => loss,
            Err(error) => raise(error),
        }
    }

    /// [`Tensor::cross_entropy_with`] for labels which come from a file.
    ///
    /// # Errors
    /// [`Error::LabelOutOfRange`] and [`Error::LabelCount`].
    #[track_caller]
    pub fn try_cross_entropy_with(self, labels: &[usize], options: CrossEntropy<'t, T>) -> Result<Self, Error> {
        self.log_softmax_of_classes(options.axis).likelihood("cross_entropy", labels, options)
    }

    #[track_caller]
    fn log_softmax_of_classes(self, axis: isize) -> Self {
        assert!(self.rank() > 0, "cross_entropy: needs an axis of classes, got a scalar");
        self.log_softmax(shape::axis("cross_entropy", axis, self.rank()) as isize)
    }

    /// The negative log-likelihood of labels, from log-probabilities: what
    /// [`Tensor::cross_entropy_with`] takes of log-softmax.
    ///
    /// # Panics
    /// As [`Tensor::cross_entropy_with`].
    #[track_caller]
    pub fn nll_loss(self, labels: &[usize], options: CrossEntropy<'t, T>) -> Self {
        match self.likelihood("nll_loss", labels, options) {
            Ok(loss) => loss,
            Err(error) => raise(error),
        }
    }

    #[track_caller]
    fn likelihood(self, op: &'static str, labels: &[usize], options: CrossEntropy<'t, T>) -> Result<Self, Error> {
        let CrossEntropy { weight, ignore, label_smoothing: smooth, axis, reduction } = options;
        assert!(self.rank() > 0, "{op}: needs an axis of classes, got a scalar");
        let axis = shape::axis(op, axis, self.rank());
        let classes = self.shape()[axis];
        let mut batch = Dims::from_slice(self.shape());
        batch.remove(axis);
        let rows: usize = batch.iter().product();
        check_labels(op, [rows, classes], labels, ignore)?;
        if let Some(w) = weight {
            assert!(w.shape() == [classes], "{op}: weights of shape {:?} for {classes} classes", w.shape());
        }
        let tape = self.tape();
        let kept = |row: usize| ignore != Some(labels[row]);
        let index = tape.arena().fill(rows, |row| if kept(row) { labels[row] } else { 0 });
        let order: Strides = (0..self.rank()).filter(|&i| i != axis).chain([axis]).map(|i| i as isize).collect();
        let x = self.permute(order).reshape([rows, classes]);
        // Of every row: the weight of its label, 0 if it is ignored.
        let mask = tape.fill([rows], |row| if kept(row) { T::ONE } else { T::ZERO });
        let weights = match weight {
            Some(w) if classes > 0 => w.index_select(0, index) * mask,
            _ => mask,
        };
        let picked = if classes > 0 { x.gather(1, [rows, 1], index).reshape([rows]) } else { tape.zeros([rows]) };
        // An ignored row may hold anything.
        let hard = -(picked.where_mask(mask, T::ZERO) * weights);
        let losses = if smooth == T::ZERO {
            hard
        } else {
            let all = match weight {
                Some(w) => x * w,
                None => x,
            };
            let spread = -all.sum_axes(1).where_mask(mask, T::ZERO);
            hard * (T::ONE - smooth) + spread * (smooth / T::from_f64(classes as f64))
        };
        Ok(match reduction {
            Reduction::Mean => losses.sum() / weights.sum(),
            other => losses.reshape(batch).reduced(other),
        })
    }

    /// Cross-entropy with probabilities of classes as targets, of the same
    /// shape as the logits: `-Σ w t ln softmax(x)` over the classes. No label
    /// is ignored; the mean is not weighted.
    ///
    /// # Panics
    /// If the shapes differ.
    #[track_caller]
    pub fn cross_entropy_soft(self, target: impl Operand<'t, T>, options: CrossEntropy<'t, T>) -> Self {
        let CrossEntropy { weight, label_smoothing: smooth, axis, reduction, .. } = options;
        let mut t = self.target("cross_entropy_soft", target);
        let mut x = self.log_softmax_of_classes(axis);
        let axis = shape::axis("cross_entropy_soft", axis, self.rank());
        let classes = self.shape()[axis];
        if smooth > T::ZERO {
            t = t * (T::ONE - smooth) + smooth / T::from_f64(classes as f64);
        }
        if let Some(w) = weight {
            assert!(
                w.shape() == [classes],
                "cross_entropy_soft: weights of shape {:?} for {classes} classes",
                w.shape()
            );
            let mut dims = Dims::from_elem(1, self.rank() - axis);
            dims[0] = classes;
            x = x * w.reshape(dims);
        }
        (-(x * t).sum_axes(axis as isize)).reduced(reduction)
    }
}

/// A number minus a tensor, for types which are not known here.
trait Minus<'t>: Scalar {
    fn minus(self, x: Tensor<'t, Self>) -> Tensor<'t, Self>;
}

impl<'t, T: Scalar> Minus<'t> for T {
    #[track_caller]
    fn minus(self, x: Tensor<'t, T>) -> Tensor<'t, T> {
        -x + self
    }
}
