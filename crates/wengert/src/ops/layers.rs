//! What layers of networks compute: normalisation, embedding, dropout,
//! recurrent cells.

use rand::{Rng, RngExt};

use crate::scalar::Scalar;
use crate::shape::Dims;
use crate::tensor::Tensor;

/// The parameters of a recurrent cell of `hidden` units and `gates` gates:
/// weights are stored the way they multiply, `[in, gates · hidden]`.
#[derive(Clone, Copy)]
pub struct RecurrentCell<'t, T: Scalar = f32> {
    /// `[inputs, gates · hidden]`
    pub input: Tensor<'t, T>,
    /// `[hidden, gates · hidden]`
    pub hidden: Tensor<'t, T>,
    /// Two biases `[gates · hidden]`, of the input's and of the hidden part.
    pub bias: Option<[Tensor<'t, T>; 2]>,
}

impl<'t, T: Scalar> RecurrentCell<'t, T> {
    /// The gates' parts from the input and from the hidden state.
    #[track_caller]
    fn parts(&self, op: &str, x: Tensor<'t, T>, h: Tensor<'t, T>, gates: usize) -> [Tensor<'t, T>; 2] {
        let (a, b) = (self.input.shape(), self.hidden.shape());
        let fits = a.len() == 2 && b.len() == 2 && a[1] == b[1] && b[1] == gates * b[0];
        assert!(fits, "{op}: weights of shapes {a:?} and {b:?} are not those of {gates} gates");
        let [from_input, from_hidden] = self.bias.map_or([None; 2], |biases| biases.map(Some));
        [x.linear(self.input, from_input), h.linear(self.hidden, from_hidden)]
    }
}

/// What layers of networks compute.
impl<'t, T: Scalar> Tensor<'t, T> {
    /// `x w + b` with parameters `[channels]`, where they are given.
    #[track_caller]
    fn affine_per_channel(self, op: &str, weight: Option<Self>, bias: Option<Self>) -> Self {
        let mut y = self;
        if let Some(weight) = weight {
            y = y * weight.per_channel(op, self);
        }
        if let Some(bias) = bias {
            y = y + bias.per_channel(op, self);
        }
        y
    }

    /// Mean 0 and variance 1 over the last `axes` axes together, then a weight
    /// and a bias of their shape: `(x - mean) / sqrt(var + eps) w + b`
    /// (Ba, Kiros, Hinton, arXiv:1607.06450).
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let y = tape.tensor([[1.0, 3.0], [5.0, 5.0]]).layer_norm(1, None, None, 0.0001);
    /// assert!((y.to_vec()[0] + 1.0).abs() < 1e-3 && y.to_vec()[2] == 0.0);
    /// ```
    ///
    /// # Panics
    /// If there are fewer axes, or a shape does not fit.
    #[track_caller]
    pub fn layer_norm(self, axes: usize, weight: Option<Self>, bias: Option<Self>, eps: T) -> Self {
        self.normal_shape("layer_norm", axes, [weight, bias]);
        self.normalized(axes, true, eps, weight, bias)
    }

    #[track_caller]
    fn normal_shape(self, op: &str, axes: usize, parameters: [Option<Self>; 2]) {
        let dims = self.shape();
        assert!(axes <= dims.len(), "{op}: over {axes} axes of {dims:?}");
        for p in parameters.into_iter().flatten() {
            let fits = p.shape() == &dims[dims.len() - axes..];
            assert!(fits, "{op}: a parameter of shape {:?} for {axes} axes of {dims:?}", p.shape());
        }
    }

    /// `x / sqrt(mean(x²) + eps) w` over the last `axes` axes
    /// (Zhang, Sennrich, arXiv:1910.07467).
    ///
    /// # Panics
    /// As [`Tensor::layer_norm`].
    #[track_caller]
    pub fn rms_norm(self, axes: usize, weight: Option<Self>, eps: T) -> Self {
        self.normal_shape("rms_norm", axes, [weight, None]);
        self.normalized(axes, false, eps, weight, None)
    }

    /// A parameter `[channels]` as it multiplies `[batch, channels, ..]`.
    #[track_caller]
    fn per_channel(self, op: &str, of: Self) -> Self {
        let channels = of.shape()[1];
        assert!(self.shape() == [channels], "{op}: a parameter of shape {:?} for {channels} channels", self.shape());
        let mut dims = Dims::from_elem(1, of.rank() - 1);
        dims[0] = channels;
        self.reshape(dims)
    }

    /// [`Tensor::layer_norm`] over groups of the channels of `[batch,
    /// channels, ..]` with all that follows; weight and bias are `[channels]`
    /// (Wu, He, arXiv:1803.08494).
    ///
    /// # Panics
    /// If the channels cannot be cut into so many groups.
    #[track_caller]
    pub fn group_norm(self, groups: usize, weight: Option<Self>, bias: Option<Self>, eps: T) -> Self {
        let dims = self.shape();
        let fits = dims.len() >= 2 && groups > 0 && dims[1].is_multiple_of(groups);
        assert!(fits, "group_norm: {groups} groups of {dims:?}");
        let each = dims[1] / groups * dims[2..].iter().product::<usize>();
        let y = self.reshape([dims[0], groups, each]).normalized(1, true, eps, None, None).reshape(dims);
        y.affine_per_channel("group_norm", weight, bias)
    }

    /// Normalisation of every channel of `[batch, channels, ..]` over all
    /// else, with the batch's mean and variance (training), which are given
    /// back too, as constants: the variance with correction 1, as running
    /// statistics want it (Ioffe, Szegedy, arXiv:1502.03167).
    ///
    /// # Panics
    /// If there are fewer than two axes, or a shape does not fit.
    #[track_caller]
    pub fn batch_norm(self, weight: Option<Self>, bias: Option<Self>, eps: T) -> (Self, Self, Self) {
        let dims = self.shape();
        assert!(dims.len() >= 2, "batch_norm: needs [batch, channels, ..], got {dims:?}");
        let axes: crate::shape::Strides = (0..dims.len() as isize).filter(|&axis| axis != 1).collect();
        let mean = self.mean_keepdim(&axes[..]);
        let centered = self - mean;
        let variance = centered.square().mean_keepdim(&axes[..]);
        let y = (centered * (variance + eps).rsqrt()).affine_per_channel("batch_norm", weight, bias);
        let n = T::from_f64((self.len() / dims[1].max(1)) as f64);
        let sample = variance.detach() * (n / (n - T::ONE));
        (y, mean.detach().reshape([dims[1]]), sample.reshape([dims[1]]))
    }

    /// [`Tensor::batch_norm`] with statistics that are given, `[channels]`
    /// (evaluation).
    ///
    /// # Panics
    /// As [`Tensor::batch_norm`].
    #[track_caller]
    pub fn batch_norm_with(self, mean: Self, variance: Self, weight: Option<Self>, bias: Option<Self>, eps: T) -> Self {
        assert!(self.rank() >= 2, "batch_norm: needs [batch, channels, ..], got {:?}", self.shape());
        let (mean, variance) = (mean.per_channel("batch_norm", self), variance.per_channel("batch_norm", self));
        ((self - mean) * (variance + eps).rsqrt()).affine_per_channel("batch_norm", weight, bias)
    }

    /// Rows of a table `[entries, features]` by index: `shape` and then
    /// `features`. Rows which are used repeatedly add their gradients up; the
    /// row `padding` gets none.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let table = tape.tensor([[1.0, 2.0], [3.0, 4.0]]).require_grad();
    /// let y = table.embedding([3], &[1, 0, 1], Some(0));
    /// assert_eq!(y.shape(), [3, 2]);
    /// assert_eq!(y.sum().backward().get(table).unwrap().as_slice(), &[0.0, 0.0, 2.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// If an index is out of range, or the shape does not hold the indices.
    #[track_caller]
    pub fn embedding(self, shape: impl AsRef<[usize]>, indices: &[usize], padding: Option<usize>) -> Self {
        let shape = shape.as_ref();
        let dims = self.shape();
        assert!(dims.len() == 2, "embedding: needs a table [entries, features], got {dims:?}");
        let count = crate::shape::element_count(shape);
        assert!(count == indices.len(), "embedding: shape {shape:?} holds {count} indices, got {}", indices.len());
        if let Some(i) = indices.iter().position(|&i| i >= dims[0]) {
            panic!("embedding: index {} at position {i} is out of range for axis 0 of {dims:?}", indices[i]);
        }
        let mut rows = self.index_select(0, indices);
        if let Some(padding) = padding {
            let own = |i: usize| if indices[i] == padding { T::ZERO } else { T::ONE };
            let mask = self.tape().fill([count, 1], own);
            rows = rows.where_mask(mask, rows.detach());
        }
        let mut to = Dims::from_slice(shape);
        to.push(dims[1]);
        rows.reshape(to)
    }

    /// Every element becomes 0 with probability `p`, and is divided by `1 - p`
    /// otherwise (training; in evaluation leave it out). The same seed gives
    /// the same elements (Srivastava et al., JMLR 15, 2014).
    ///
    /// # Panics
    /// If `p` is not in `0..=1`.
    #[track_caller]
    pub fn dropout(self, p: f64, rng: &mut impl Rng) -> Self {
        assert!((0.0..=1.0).contains(&p), "dropout: a probability of {p}");
        if p == 0.0 {
            return self;
        }
        let factor = T::from_f64(if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 });
        let mask = self.tape().fill(self.shape(), |_| if rng.random_bool(p) { T::ZERO } else { factor });
        self * mask
    }

    /// The next hidden state of an Elman cell: `tanh(x W + b + h U + c)`, of
    /// an input `[.., inputs]` and a state `[.., hidden]`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn rnn_cell(self, hidden: Self, cell: RecurrentCell<'t, T>) -> Self {
        let [x, h] = cell.parts("rnn_cell", self, hidden, 1);
        (x + h).tanh()
    }

    /// The next hidden state of a gated recurrent unit, its gates in PyTorch's
    /// order: reset, update, new (Cho et al., arXiv:1406.1078, with the reset
    /// gate behind the product).
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn gru_cell(self, hidden: Self, cell: RecurrentCell<'t, T>) -> Self {
        let [x, h] = cell.parts("gru_cell", self, hidden, 3);
        let (x, h) = (x.chunk(-1, 3), h.chunk(-1, 3));
        let reset = (x[0] + h[0]).sigmoid();
        let update = (x[1] + h[1]).sigmoid();
        let new = (x[2] + reset * h[2]).tanh();
        new + update * (hidden - new)
    }

    /// The next hidden state and memory of a long short-term memory cell, its
    /// gates in PyTorch's order: input, forget, cell, output (Hochreiter,
    /// Schmidhuber, Neural Computation 9, 1997; Gers et al. 2000).
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn lstm_cell(self, hidden: Self, memory: Self, cell: RecurrentCell<'t, T>) -> (Self, Self) {
        let [x, h] = cell.parts("lstm_cell", self, hidden, 4);
        let gates = (x + h).chunk(-1, 4);
        let memory = gates[1].sigmoid() * memory + gates[0].sigmoid() * gates[2].tanh();
        (gates[3].sigmoid() * memory.tanh(), memory)
    }
}
