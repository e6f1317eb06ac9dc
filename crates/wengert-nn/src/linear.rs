//! The affine layer.

use rand::Rng;
use wengert::{Param, Params, Scalar, Tensor};

use crate::init;
use crate::module::Module;

/// `y = x W + b`: `x` is `[.., in]`, `W` is `[in, out]`, `b` is `[out]`, and
/// `y` is `[.., out]`.
///
/// `W` is stored the way it multiplies, which is the transpose of PyTorch's
/// `weight`.
///
/// ```
/// use wengert::{Params, Tape};
/// use wengert_nn::Linear;
/// let mut params = Params::new();
/// let layer = Linear::new(&mut params, "layer", 3, 2, &mut rand::rng());
/// params.get_mut(layer.weight).copy_from_slice(&[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
/// params.get_mut(layer.bias.unwrap()).copy_from_slice(&[10.0, 20.0]);
/// let tape = Tape::new();
/// let x = tape.tensor([[1.0, 2.0, 3.0]]);
/// assert_eq!(layer.forward(&params, x).to_vec(), [14.0, 25.0]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// `W`, of shape `[in, out]`.
    pub weight: Param,
    /// `b`, of shape `[out]`, if there is one.
    pub bias: Option<Param>,
}

impl Linear {
    /// Adds `{name}.weight` of shape `[inputs, outputs]` and `{name}.bias` of
    /// shape `[outputs]` to the store.
    ///
    /// Both are drawn from `U(-1/√inputs, 1/√inputs)`, PyTorch's default. For
    /// the weight that is [`init::kaiming_uniform`] (He et al. 2015,
    /// [arXiv:1502.01852](https://arxiv.org/abs/1502.01852)) with the gain of
    /// a leaky ReLU of slope √5, which is √(1/3).
    ///
    /// ```
    /// use wengert_nn::Linear;
    /// let mut params = wengert::Params::new();
    /// let layer = Linear::new(&mut params, "first", 64, 10, &mut rand::rng());
    /// assert_eq!(params[layer.weight].name(), "first.weight");
    /// assert_eq!(params[layer.weight].shape(), [64, 10]);
    /// assert!(params.values().iter().all(|w| w.abs() <= 1.0 / 8.0));
    /// ```
    pub fn new<T: Scalar>(
        params: &mut Params<T>,
        name: &str,
        inputs: usize,
        outputs: usize,
        rng: &mut impl Rng,
    ) -> Linear {
        let Linear { weight, .. } = Linear::without_bias(params, name, inputs, outputs, rng);
        let bound = if inputs == 0 { 0.0 } else { 1.0 / (inputs as f64).sqrt() };
        let bias = params.add_with(&format!("{name}.bias"), [outputs], |b| init::uniform(b, -bound, bound, rng));
        Linear { weight, bias: Some(bias) }
    }

    /// As [`Linear::new`], without a bias: `y = x W`.
    ///
    /// ```
    /// use wengert_nn::Linear;
    /// let mut params = wengert::Params::new_f64();
    /// let layer = Linear::without_bias(&mut params, "first", 64, 10, &mut rand::rng());
    /// assert!(layer.bias.is_none());
    /// assert_eq!(params.len(), 1);
    /// ```
    pub fn without_bias<T: Scalar>(
        params: &mut Params<T>,
        name: &str,
        inputs: usize,
        outputs: usize,
        rng: &mut impl Rng,
    ) -> Linear {
        let gain = init::leaky_relu_gain(5f64.sqrt());
        let weight = params.add_with(&format!("{name}.weight"), [inputs, outputs], |w| {
            init::kaiming_uniform(w, inputs, gain, rng);
        });
        Linear { weight, bias: None }
    }

    /// `x W + b`.
    ///
    /// # Panics
    /// If the last axis of `x` is not `in` long.
    #[track_caller]
    pub fn forward<'t, T: Scalar>(&self, params: &'t Params<T>, x: Tensor<'t, T>) -> Tensor<'t, T> {
        x.linear(&params[self.weight], self.bias.map(|bias| x.tape().param(&params[bias])))
    }
}

impl<T: Scalar> Module<T> for Linear {
    #[track_caller]
    fn forward<'t>(&self, params: &'t Params<T>, x: Tensor<'t, T>) -> Tensor<'t, T> {
        Linear::forward(self, params, x)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn is_uniform_up_to_the_bound() {
        let mut params = Params::new();
        let layer = Linear::new(&mut params, "l", 100, 50, &mut StdRng::seed_from_u64(1));
        for p in [layer.weight, layer.bias.unwrap()] {
            let values = params[p].as_slice();
            let largest = values.iter().fold(0f32, |m, v| m.max(v.abs()));
            assert!(largest <= 0.1 && largest > 0.09, "{largest}");
        }
        // U(-a, a) has the variance a² / 3.
        let weight = params[layer.weight].as_slice();
        let variance = weight.iter().map(|w| w * w).sum::<f32>() / weight.len() as f32;
        assert!((variance - 0.01 / 3.0).abs() < 1e-4, "{variance}");
        assert!((weight.iter().sum::<f32>() / 5000.0).abs() < 3e-3);
    }

    #[test]
    fn nothing_in_and_nothing_out() {
        let rng = &mut StdRng::seed_from_u64(1);
        let mut params = Params::new_f64();
        let from_nothing = Linear::new(&mut params, "a", 0, 2, rng);
        let to_nothing = Linear::new(&mut params, "b", 2, 0, rng);
        assert_eq!(params[from_nothing.bias.unwrap()].as_slice(), [0.0, 0.0]);
        let tape = wengert::Tape::new_f64();
        let y = from_nothing.forward(&params, tape.zeros([3, 0]));
        assert_eq!(y.to_vec(), [0.0; 6]);
        assert_eq!(to_nothing.forward(&params, y).shape(), [3, 0]);
    }

    #[test]
    #[should_panic(expected = "linear: inner dimensions differ: [5, 4] x [3, 2]")]
    fn refuses_another_width() {
        let mut params = Params::new();
        let layer = Linear::new(&mut params, "l", 3, 2, &mut StdRng::seed_from_u64(1));
        let tape = wengert::Tape::new();
        layer.forward(&params, tape.zeros([5, 4]));
    }
}
