//! Attention.

use super::matmul::transposed;
use super::{Id, Inferred, Interpreter, Op, Values, softmax, unary};
use crate::kernels::attention::{Inputs, attention, attention_grad};
use crate::kernels::softmax::Mask;
use crate::kernels::{Machine, Out, Value};
use crate::scalar::Scalar;
use crate::shape::{Dims, try_broadcast};
use crate::tensor::Tensor;

/// `softmax(q kᵀ scale) v`, whose scores and weights are nowhere kept: memory
/// grows with the length, not with its square.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attend {
    q: Id,
    k: Id,
    v: Id,
    causal: bool,
    scale: f64,
}

impl Attend {
    pub(crate) fn name(&self) -> &'static str {
        "attention"
    }

    pub(crate) fn operands(&self) -> [Id; 3] {
        [self.q, self.k, self.v]
    }

    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        let mut dims = Dims::from_slice(v.value(self.q).layout.dims);
        dims.pop();
        dims.extend(v.value(self.v).layout.dims.last().copied());
        Inferred::fresh(v, &dims)
    }

    fn inputs<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inputs<'a, T> {
        Inputs { qkv: self.operands().map(|x| v.value(x)), scale: T::from_f64(self.scale), causal: self.causal }
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        // SAFETY: the caller's contract.
        unsafe { attention(m, self.inputs(v), out) }
    }

    /// The contributions of the cotangent `g` to those of the operands which
    /// have an output.
    ///
    /// # Safety
    /// The contract of [`crate::kernels`]; outputs may be the same memory.
    pub(crate) unsafe fn backward<T: Scalar>(
        &self,
        v: &impl Values<T>,
        g: Value<'_, T>,
        to: [Option<Out<'_, T>>; 3],
        m: &Machine<T>,
    ) {
        // SAFETY: the caller's contract.
        unsafe { attention_grad(m, self.inputs(v), g, to) }
    }

    pub(crate) fn rule<E: Interpreter>(self, e: &mut E, _: Id, g: Id) {
        e.attend(self, g);
    }

    /// The rule by ops on whole matrices of weights, which can be differentiated
    /// again.
    pub(crate) fn one_by_one(self, e: &mut impl Interpreter, g: Id) {
        let Attend { q, k, v, causal, scale } = self;
        // SAFETY: the shape of an operand of an op under differentiation.
        let rank = unsafe { e.dims(q).get() }.len();
        let mask = if causal { Mask::Future } else { Mask::Nothing };
        let scaled = e.scale(q, scale);
        let scores = e.op(transposed(scaled, k, false, true));
        let weights = e.op(softmax::masked(scores, rank, mask));
        e.give(v, transposed(weights, g, true, false));
        if e.wants(q) || e.wants(k) {
            let to_weights = e.op(transposed(g, v, false, true));
            let to_scores = e.op(softmax::masked_grad(to_weights, weights, rank, mask));
            e.give(k, transposed(to_scores, scaled, true, false));
            let to_scaled = e.op(transposed(to_scores, k, false, false));
            e.give(q, unary::scale(to_scaled, scale));
        }
    }
}

/// What [`Tensor::attention`] takes beside queries, keys and values.
#[derive(Clone, Copy)]
pub struct Attention<'t, T: Scalar = f32> {
    /// Added to the scores, `[.., queries, keys]` or what broadcasts to it.
    pub bias: Option<Tensor<'t, T>>,
    /// A mask of the same shape: 0 where a query may not look.
    pub allowed: Option<Tensor<'t, T>>,
    /// Query `i` may look at keys up to `i`.
    pub causal: bool,
    /// The factor of the scores; `1 / sqrt(features)` by default.
    pub scale: Option<T>,
}

impl<T: Scalar> Default for Attention<'_, T> {
    fn default() -> Self {
        Attention { bias: None, allowed: None, causal: false, scale: None }
    }
}

impl<'t, T: Scalar> Tensor<'t, T> {
    /// `softmax(q kᵀ scale + bias) v` of queries `[.., l, e]`, keys `[.., s, e]`
    /// and values `[.., s, f]`: `[.., l, f]`, the `..` broadcast. A query which
    /// may look at nothing gives 0, with gradients of 0 (Vaswani et al.,
    /// arXiv:1706.03762).
    ///
    /// Without `bias` and `allowed` no matrix `[.., l, s]` is kept, however long
    /// the context; with them all scores and weights are.
    ///
    /// ```
    /// # use wengert::Attention;
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([[1.0, 0.0], [0.0, 1.0]]);
    /// let y = x.attention(x, x, Attention { causal: true, ..Attention::default() });
    /// assert_eq!(y.to_vec()[..2], [1.0, 0.0]);
    /// ```
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[doc(alias = "scaled_dot_product_attention")]
    #[track_caller]
    pub fn attention(self, keys: Self, values: Self, options: Attention<'t, T>) -> Self {
        let (q, k, v) = (self.shape(), keys.shape(), values.shape());
        let ranks = q.len() >= 2 && k.len() >= 2 && v.len() >= 2;
        assert!(ranks, "attention: needs [.., length, features], got {q:?}, {k:?} and {v:?}");
        let fits = q[q.len() - 1] == k[k.len() - 1] && k[k.len() - 2] == v[v.len() - 2];
        assert!(fits, "attention: queries {q:?}, keys {k:?} and values {v:?} do not fit");
        let batches = [q, k, v].map(|dims| &dims[..dims.len() - 2]);
        let Some(batch) = try_broadcast(batches[0], batches[1]).and_then(|both| try_broadcast(&both, batches[2]))
        else {
            panic!("attention: batches of queries {q:?}, keys {k:?} and values {v:?} do not broadcast");
        };
        let Attention { bias, allowed, causal, scale } = options;
        let scale = scale.unwrap_or_else(|| T::from_f64(1.0 / (q[q.len() - 1] as f64).sqrt()));
        // Few queries have few scores, and would leave vectors across them empty.
        let many = q[q.len() - 2] >= 8;
        let plain = scale > T::ZERO && scale.is_finite() && bias.is_none() && allowed.is_none();
        if many && plain {
            let mut qkv = [self, keys, values];
            for x in &mut qkv {
                let mut dims = batch.clone();
                dims.extend_from_slice(&x.shape()[x.rank() - 2..]);
                if dims.as_slice() != x.shape() {
                    *x = x.broadcast_to(dims);
                }
            }
            let [q, k, v] = qkv.map(Self::id);
            return self.record(Op::Attend(Attend { q, k, v, causal, scale: scale.to_f64() }));
        }
        let mut scores = (self * scale).matmul(keys.t());
        if let Some(bias) = bias {
            scores = scores + bias;
        }
        if let Some(allowed) = allowed {
            scores = scores.where_mask(allowed, T::NEG_INFINITY);
        }
        // A query which may look at nothing has scores of -∞ alone.
        let mask = match (causal, bias.is_some() || allowed.is_some()) {
            (true, _) => Mask::Future,
            (false, true) => Mask::Infinities,
            (false, false) => Mask::Nothing,
        };
        let weights = self.record(softmax::masked(scores.id(), scores.rank(), mask));
        weights.matmul(values)
    }
}
