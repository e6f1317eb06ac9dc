//! Adam, and its form with decoupled weight decay.

use wengert::{Gradients, Params, Scalar, Threads};

use super::{CHUNK, Optimizer, Progress, below_one, grow, kept, non_negative};

/// What the two have in common.
#[derive(Clone, Debug)]
struct Moments<T> {
    lr: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    /// The decay acts on the parameter, not on the gradient.
    decoupled: bool,
    amsgrad: bool,
    maximize: bool,
    threads: Threads,
    progress: Progress,
    /// Running means of the gradient and of its square, laid out like the
    /// store.
    mean: Vec<T>,
    square: Vec<T>,
    /// The largest `square` so far; empty without AMSGrad.
    largest: Vec<T>,
}

impl<T: Scalar> Moments<T> {
    fn new(lr: f64, weight_decay: f64, decoupled: bool) -> Self {
        Moments {
            lr,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay,
            decoupled,
            amsgrad: false,
            maximize: false,
            threads: Threads::default(),
            progress: Progress::default(),
            mean: Vec::new(),
            square: Vec::new(),
            largest: Vec::new(),
        }
    }

    #[track_caller]
    fn step(&mut self, params: &mut Params<T>, grads: &Gradients<T>) {
        let (runs, g) = self.progress.advance(params, grads);
        let p = params.values_mut();
        grow(&mut self.mean, p.len());
        grow(&mut self.square, p.len());
        if self.amsgrad {
            grow(&mut self.largest, p.len());
        }
        let (beta1, beta2) = self.betas;
        let (penalty, shrink) =
            if self.decoupled { (0.0, 1.0 - self.lr * self.weight_decay) } else { (self.weight_decay, 1.0) };
        let [take1, take2] = [beta1, beta2].map(|beta| 1.0 - beta);
        let [tiny, epsilon] = [T::MIN_POSITIVE, T::EPSILON].map(T::to_f64);
        // Gradients whose squares would be subnormal are left out where `eps`
        // outweighs their means by more than any rounding shows.
        let root = (tiny / take2).sqrt();
        let outweighed = self.eps * epsilon / 4.0 >= root;
        let [least_gradient, least_square] = if outweighed { [root, 2.0 * tiny] } else { [0.0; 2] };
        for run in runs {
            // In f64, as 1 - β^t cancels.
            let correction1 = 1.0 - beta1.powf(run.step as f64);
            let correction2 = 1.0 - beta2.powf(run.step as f64);
            let c = Coefficients {
                sign: if self.maximize { -T::ONE } else { T::ONE },
                penalty: T::from_f64(penalty),
                shrink: T::from_f64(shrink),
                take1: T::from_f64(take1),
                keep2: T::from_f64(beta2),
                take2: T::from_f64(take2),
                unbias: T::from_f64(1.0 / correction2.sqrt()),
                eps: T::from_f64(self.eps),
                rate: T::from_f64(self.lr / correction1),
                least_mean: T::from_f64(tiny / take1),
                least_gradient: T::from_f64(least_gradient),
                least_square: T::from_f64(least_square),
            };
            let at = run.range.clone();
            let (p, g) = (&mut p[at.clone()], &g[at.clone()]);
            let (m, v) = (&mut self.mean[at.clone()], &mut self.square[at.clone()]);
            match self.amsgrad {
                false => {
                    self.threads.for_each_chunk([p, m, v], CHUNK, |at, [p, m, v]| update(p, &g[at..], m, v, &c));
                }
                true => {
                    let slices = [p, m, v, &mut self.largest[at]];
                    self.threads.for_each_chunk(slices, CHUNK, |at, [p, m, v, top]| {
                        update_amsgrad(p, &g[at..], m, v, top, &c);
                    });
                }
            }
        }
    }
}

struct Coefficients<T> {
    sign: T,
    /// L2 penalty on the gradient.
    penalty: T,
    /// Factor on the parameter.
    shrink: T,
    take1: T,
    keep2: T,
    take2: T,
    /// `1 / √(1 - β₂^t)`
    unbias: T,
    eps: T,
    /// `η / (1 - β₁^t)`
    rate: T,
    /// See [`kept`]: of means, of gradients before they are squared, and of
    /// means of squares.
    least_mean: T,
    least_gradient: T,
    least_square: T,
}

impl<T: Scalar> Coefficients<T> {
    /// Takes a gradient into the moments.
    #[inline(always)]
    fn moments(&self, p: T, g: T, m: &mut T, v: &mut T) {
        let g = self.sign * g + self.penalty * p;
        *m = kept(*m + self.take1 * (g - *m), self.least_mean);
        let g = kept(g, self.least_gradient);
        *v = kept(self.keep2 * *v + self.take2 * (g * g), self.least_square);
    }

    /// The parameter after the step.
    #[inline(always)]
    fn moved(&self, p: T, m: T, v: T) -> T {
        self.shrink * p - self.rate * (m / (v.sqrt() * self.unbias + self.eps))
    }
}

vectorized! {
    /// One step.
    fn update<'a, T>(p: &'a mut [T], g: &'a [T], m: &'a mut [T], v: &'a mut [T], c: &'a Coefficients<T>) {
        for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            c.moments(*p, g, m, v);
            *p = c.moved(*p, *m, *v);
        }
    }
}

vectorized! {
    /// One step with the largest mean square so far in place of the current one.
    fn update_amsgrad<'a, T>(
        p: &'a mut [T], g: &'a [T], m: &'a mut [T], v: &'a mut [T], top: &'a mut [T], c: &'a Coefficients<T>,
    ) {
        for ((((p, &g), m), v), top) in p.iter_mut().zip(g).zip(m).zip(v).zip(top) {
            c.moments(*p, g, m, v);
            // Once it is NaN it stays so, as `torch.maximum` has it.
            *top = if *top >= *v || top.is_nan() { *top } else { *v };
            *p = c.moved(*p, *m, *top);
        }
    }
}

macro_rules! optimizer {
    ($name:ident, $decay:literal, $decoupled:literal, $decay_doc:literal) => {
        impl<T: Scalar> $name<T> {
            #[doc = concat!("With this learning rate, betas 0.9 and 0.999, eps 1e-8, weight decay ", $decay, ".")]
            ///
            /// # Panics
            /// If it is negative or not finite.
            #[track_caller]
            pub fn new(lr: f64) -> Self {
                let lr = non_negative(concat!(stringify!($name), ": the learning rate"), lr);
                $name(Moments::new(lr, $decay, $decoupled))
            }

            /// How much of the running means of the gradient and of its square
            /// each step keeps.
            ///
            /// # Panics
            /// If one is not in `[0, 1)`.
            #[must_use]
            #[track_caller]
            pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
                let check = |beta| below_one(concat!(stringify!($name), ": a beta"), beta);
                self.0.betas = (check(beta1), check(beta2));
                self
            }

            /// What keeps the denominator from 0.
            ///
            /// # Panics
            /// If it is negative or not finite.
            #[must_use]
            #[track_caller]
            pub fn eps(mut self, eps: f64) -> Self {
                self.0.eps = non_negative(concat!(stringify!($name), ": eps"), eps);
                self
            }

            #[doc = $decay_doc]
            ///
            /// # Panics
            /// If it is negative or not finite.
            #[must_use]
            #[track_caller]
            pub fn weight_decay(mut self, weight_decay: f64) -> Self {
                self.0.weight_decay = non_negative(concat!(stringify!($name), ": weight decay"), weight_decay);
                self
            }

            /// Divides by the largest mean square so far (default: no).
            ///
            /// S. J. Reddi, S. Kale, S. Kumar, *On the convergence of Adam and
            /// beyond*, ICLR 2018,
            /// [arXiv:1904.09237](https://arxiv.org/abs/1904.09237); here, as
            /// in PyTorch, the largest is taken before the bias correction.
            #[must_use]
            pub fn amsgrad(mut self, amsgrad: bool) -> Self {
                self.0.amsgrad = amsgrad;
                self
            }

            /// Climbs instead of descending (default: no).
            #[must_use]
            pub fn maximize(mut self, maximize: bool) -> Self {
                self.0.maximize = maximize;
                self
            }

            /// Steps on these threads (default: the caller's alone). The
            /// result does not depend on their number.
            #[must_use]
            pub fn threads(mut self, threads: &Threads) -> Self {
                self.0.threads = threads.clone();
                self
            }
        }

        impl<T: Scalar> Optimizer<T> for $name<T> {
            #[track_caller]
            fn step(&mut self, params: &mut Params<T>, grads: &Gradients<T>) {
                self.0.step(params, grads);
            }

            fn lr(&self) -> f64 {
                self.0.lr
            }

            #[track_caller]
            fn set_lr(&mut self, lr: f64) {
                self.0.lr = non_negative(concat!(stringify!($name), ": the learning rate"), lr);
            }
        }
    };
}

/// Adam: steps of the size of the learning rate, scaled by how steady each
/// gradient is.
///
/// With the gradient `g` in the `t`-th step:
///
/// ```text
/// g ← g + λ p                        (-g + λ p when maximizing)
/// m ← β₁ m + (1 - β₁) g
/// v ← β₂ v + (1 - β₂) g²
/// p ← p - η m / (1 - β₁^t) / (√(v / (1 - β₂^t)) + ε)
/// ```
///
/// D. P. Kingma, J. Ba, *Adam: a method for stochastic optimization*, ICLR
/// 2015, [arXiv:1412.6980](https://arxiv.org/abs/1412.6980), algorithm 1. `t`
/// counts the steps of each parameter by itself, as PyTorch's does. Means which
/// have decayed below the normal numbers are 0, so that a step takes as long
/// after days as at first.
///
/// ```
/// use wengert::{Gradients, Params, Tape};
/// use wengert_nn::{Adam, Optimizer};
/// let mut params = Params::new();
/// let w = params.full("w", [2], 1.0);
/// let mut opt = Adam::new(0.01).betas(0.9, 0.99);
/// let (mut tape, mut grads) = (Tape::new(), Gradients::new());
/// for _ in 0..1000 {
///     tape.rewind();
///     let loss = (tape.tensor([3.0, -1.0]) - &params[w]).square().sum();
///     grads.zero();
///     loss.backward_into(&mut grads);
///     opt.step(&mut params, &grads);
/// }
/// assert!((params[w].as_slice()[0] - 3.0).abs() < 1e-3);
/// ```
#[derive(Clone, Debug)]
pub struct Adam<T: Scalar = f32>(Moments<T>);

optimizer!(
    Adam,
    0.0,
    false,
    "The weight decay `λ`, as a penalty which the moments see; see [`AdamW`] for the other kind."
);

/// Adam with weight decay decoupled from the gradient: as [`Adam`], but
///
/// ```text
/// p ← (1 - η λ) p - η m / (1 - β₁^t) / (√(v / (1 - β₂^t)) + ε)
/// ```
///
/// with moments of the bare gradient.
///
/// I. Loshchilov, F. Hutter, *Decoupled weight decay regularization*, ICLR
/// 2019, [arXiv:1711.05101](https://arxiv.org/abs/1711.05101), algorithm 2 (as
/// PyTorch has it, with the learning rate in the decay).
///
/// ```
/// use wengert::{Params, Tape};
/// use wengert_nn::{AdamW, Optimizer};
/// let mut params = Params::new_f64();
/// let w = params.full("w", [], 1.0);
/// let mut opt = AdamW::new(0.1).weight_decay(0.5);
/// let tape = Tape::new_f64();
/// let grads = (tape.param(&params[w]) * 1e3).backward();
/// opt.step(&mut params, &grads);
/// // Shrunk by 0.1 * 0.5, then one learning rate down.
/// assert!((params[w].as_slice()[0] - (0.95 - 0.1)).abs() < 1e-9);
/// ```
#[derive(Clone, Debug)]
pub struct AdamW<T: Scalar = f32>(Moments<T>);

optimizer!(AdamW, 0.01, true, "The weight decay `λ`: every step shrinks the parameter by `η λ` of itself.");

#[cfg(test)]
mod tests {
    use super::super::one_push;
    use super::*;

    #[test]
    fn means_decay_to_zero() {
        let mut opt = Adam::new(0.01).betas(0.9, 0.95);
        one_push(&mut opt);
        assert_eq!((&opt.0.mean[..], &opt.0.square[..]), (&[0.0][..], &[0.0][..]));
    }
}
