//! Layers as trait objects, and chains of them.

use wengert::{Params, Scalar, Tensor};

/// A function of one tensor, with parameters.
///
/// The store of the parameters is passed in, so a module is plain data and any
/// number of threads may share it. The trait is object-safe. A model with more
/// than one input, or with state, needs no trait: a struct with a `forward` of
/// its own will do.
///
/// ```
/// use wengert::{Params, Tape, Tensor};
/// use wengert_nn::{Linear, Module};
///
/// struct Residual(Linear);
/// impl Module for Residual {
///     fn forward<'t>(&self, params: &'t Params, x: Tensor<'t>) -> Tensor<'t> {
///         x + self.0.forward(params, x).relu()
///     }
/// }
///
/// let mut params = Params::new();
/// let block = Residual(Linear::new(&mut params, "block", 4, 4, &mut rand::rng()));
/// let tape = Tape::new();
/// assert_eq!(block.forward(&params, tape.ones([2, 4])).shape(), [2, 4]);
/// ```
pub trait Module<T: Scalar = f32>: Send + Sync {
    /// The result for `x`, recorded on the tape of `x`.
    #[track_caller]
    fn forward<'t>(&self, params: &'t Params<T>, x: Tensor<'t, T>) -> Tensor<'t, T>;
}

/// Modules one after another.
///
/// ```
/// use wengert::{Params, Tape};
/// use wengert_nn::{Linear, Module, Relu, Sequential};
/// let mut params = Params::new();
/// let rng = &mut rand::rng();
/// let model = Sequential::new()
///     .then(Linear::new(&mut params, "hidden", 64, 32, rng))
///     .then(Relu)
///     .then(Linear::new(&mut params, "output", 32, 10, rng));
/// let tape = Tape::new();
/// assert_eq!(model.forward(&params, tape.zeros([5, 64])).shape(), [5, 10]);
/// ```
#[derive(Default)]
pub struct Sequential<T: Scalar = f32> {
    modules: Vec<Box<dyn Module<T>>>,
}

impl<T: Scalar> Sequential<T> {
    /// No modules: the identity.
    pub fn new() -> Self {
        Sequential { modules: Vec::new() }
    }

    /// The same with one more module at the end.
    #[must_use]
    pub fn then(mut self, module: impl Module<T> + 'static) -> Self {
        self.modules.push(Box::new(module));
        self
    }

    /// How many modules there are.
    pub fn len(&self) -> usize {
        self.modules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }
}

impl<T: Scalar> From<Vec<Box<dyn Module<T>>>> for Sequential<T> {
    fn from(modules: Vec<Box<dyn Module<T>>>) -> Self {
        Sequential { modules }
    }
}

impl<T: Scalar> Module<T> for Sequential<T> {
    #[track_caller]
    fn forward<'t>(&self, params: &'t Params<T>, x: Tensor<'t, T>) -> Tensor<'t, T> {
        // Not a `fold`: the closure would hide the caller's line.
        let mut y = x;
        for module in &self.modules {
            y = module.forward(params, y);
        }
        y
    }
}

macro_rules! activations {
    ($($(#[$doc:meta])* $name:ident $method:ident;)*) => {
        $($(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name;

        impl<T: Scalar> Module<T> for $name {
            #[track_caller]
            fn forward<'t>(&self, _: &'t Params<T>, x: Tensor<'t, T>) -> Tensor<'t, T> {
                x.$method()
            }
        })*
    };
}

activations! {
    /// [`Tensor::relu`], `max(x, 0)`, as a module.
    Relu relu;
    /// [`Tensor::tanh`] as a module.
    Tanh tanh;
    /// [`Tensor::sigmoid`], `1 / (1 + e^-x)`, as a module.
    Sigmoid sigmoid;
}

#[cfg(test)]
mod tests {
    use wengert::Tape;

    use super::*;
    use crate::Linear;

    #[test]
    fn a_chain_is_its_parts_in_order() {
        let mut params = Params::new_f64();
        let rng = &mut rand::rng();
        let [a, b] = ["a", "b"].map(|name| Linear::new(&mut params, name, 3, 3, rng));
        let chain = Sequential::new().then(a).then(Relu).then(b).then(Tanh).then(Sigmoid);
        assert_eq!(chain.len(), 5);
        let tape = Tape::new_f64();
        let x = tape.randn([4, 3], rng);
        let by_hand = b.forward(&params, a.forward(&params, x).relu()).tanh().sigmoid();
        assert_eq!(chain.forward(&params, x).to_vec(), by_hand.to_vec());
        let boxed: Sequential<f64> = Sequential::from(vec![Box::new(chain) as Box<dyn Module<f64>>]);
        assert_eq!(boxed.forward(&params, x).to_vec(), by_hand.to_vec());
        assert!(Sequential::<f64>::new().is_empty());
    }

    #[test]
    fn entries_name_the_line_which_called_the_model() {
        let chain = Sequential::new().then(Relu);
        let (params, tape) = (Params::new(), Tape::new());
        let x = tape.ones([2]).require_grad();
        let (y, line) = (Relu.forward(&params, x), line!());
        assert_eq!(y.grad_fn().unwrap().location().line(), line);
        let boxed: &dyn Module = &chain;
        assert!(boxed.forward(&params, x).grad_fn().unwrap().location().file().ends_with("module.rs"));
    }
}
