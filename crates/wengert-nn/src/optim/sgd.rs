//! Stochastic gradient descent.

use wengert::{Gradients, Params, Scalar, Threads};

use super::{CHUNK, Optimizer, Progress, below_one, grow, kept, non_negative};

/// Stochastic gradient descent with momentum, as PyTorch's `SGD`.
///
/// With the gradient `g`, the learning rate `η` and the weight decay `λ`:
///
/// ```text
/// g ← g + λ p                        (-g + λ p when maximizing)
/// v ← g in the first step, then μ v + (1 - τ) g
/// p ← p - η v                        (Nesterov: p - η (g + μ v))
/// ```
///
/// Momentum: B. T. Polyak 1964; in this form I. Sutskever et al., *On the
/// importance of initialization and momentum in deep learning*, ICML 2013.
///
/// ```
/// use wengert::{Gradients, Params, Tape};
/// use wengert_nn::{Optimizer, Sgd};
/// let mut params = Params::new_f64();
/// let w = params.full("w", [], 1.0);
/// let mut opt = Sgd::new(0.1).momentum(0.5);
/// let mut grads = Gradients::new();
/// for want in [0.9, 0.75] {
///     let tape = Tape::new_f64();
///     grads.zero();
///     tape.param(&params[w]).backward_into(&mut grads); // the gradient is 1
///     opt.step(&mut params, &grads);
///     assert!((params[w].as_slice()[0] - want).abs() < 1e-12);
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Sgd<T: Scalar = f32> {
    lr: f64,
    momentum: f64,
    dampening: f64,
    nesterov: bool,
    weight_decay: f64,
    maximize: bool,
    threads: Threads,
    progress: Progress,
    /// `v`, laid out like the store; empty without momentum.
    velocity: Vec<T>,
}

impl<T: Scalar> Sgd<T> {
    /// Plain gradient descent with a learning rate.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64) -> Self {
        Sgd {
            lr: non_negative("Sgd: the learning rate", lr),
            momentum: 0.0,
            dampening: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            maximize: false,
            threads: Threads::default(),
            progress: Progress::default(),
            velocity: Vec::new(),
        }
    }

    /// Polyak's momentum `μ` (default 0: none).
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[must_use]
    #[track_caller]
    pub fn momentum(mut self, momentum: f64) -> Self {
        (self.momentum, self.nesterov) = (non_negative("Sgd: momentum", momentum), false);
        self
    }

    /// Nesterov's momentum `μ`, instead of Polyak's.
    ///
    /// # Panics
    /// If it is not positive, or if there is dampening, which it excludes.
    #[must_use]
    #[track_caller]
    pub fn nesterov(mut self, momentum: f64) -> Self {
        assert!(momentum > 0.0, "Sgd: Nesterov's momentum must be positive, got {momentum}");
        assert!(self.dampening == 0.0, "Sgd: Nesterov's momentum excludes dampening");
        (self.momentum, self.nesterov) = (non_negative("Sgd: momentum", momentum), true);
        self
    }

    /// The dampening `τ` of the gradient's way into the velocity (default 0).
    ///
    /// # Panics
    /// If it is not in `[0, 1)`, or if the momentum is Nesterov's.
    #[must_use]
    #[track_caller]
    pub fn dampening(mut self, dampening: f64) -> Self {
        assert!(!self.nesterov || dampening == 0.0, "Sgd: Nesterov's momentum excludes dampening");
        self.dampening = below_one("Sgd: dampening", dampening);
        self
    }

    /// The weight decay `λ`, an L2 penalty of `λ/2 |p|²` (default 0).
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[must_use]
    #[track_caller]
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.weight_decay = non_negative("Sgd: weight decay", weight_decay);
        self
    }

    /// Climbs instead of descending (default: no).
    #[must_use]
    pub fn maximize(mut self, maximize: bool) -> Self {
        self.maximize = maximize;
        self
    }

    /// Steps on these threads (default: the caller's alone). The result does
    /// not depend on their number.
    #[must_use]
    pub fn threads(mut self, threads: &Threads) -> Self {
        self.threads = threads.clone();
        self
    }
}

impl<T: Scalar> Optimizer<T> for Sgd<T> {
    #[track_caller]
    fn step(&mut self, params: &mut Params<T>, grads: &Gradients<T>) {
        let (runs, g) = self.progress.advance(params, grads);
        let p = params.values_mut();
        let rate = T::from_f64(self.lr);
        let decay = T::from_f64(self.weight_decay);
        let sign = if self.maximize { -T::ONE } else { T::ONE };
        if self.momentum == 0.0 {
            for run in runs {
                let at = run.range.clone();
                let (p, g) = (&mut p[at.clone()], &g[at]);
                self.threads.for_each_chunk([p], CHUNK, |at, [p]| plain(p, &g[at..], rate, decay, sign));
            }
            return;
        }
        grow(&mut self.velocity, p.len());
        for run in runs {
            let at = run.range.clone();
            // There is no velocity to keep before the first step.
            let (keep, take) = if run.step == 1 { (0.0, 1.0) } else { (self.momentum, 1.0 - self.dampening) };
            // Polyak: p - η (0 g + 1 v); Nesterov: p - η (1 g + μ v).
            let (from_g, from_v) = if self.nesterov { (1.0, self.momentum) } else { (0.0, 1.0) };
            let c = Coefficients {
                rate,
                decay,
                sign,
                keep: T::from_f64(keep),
                take: T::from_f64(take),
                from_g: T::from_f64(from_g),
                from_v: T::from_f64(from_v),
            };
            let (p, g, v) = (&mut p[at.clone()], &g[at.clone()], &mut self.velocity[at]);
            self.threads.for_each_chunk([p, v], CHUNK, |at, [p, v]| heavy(p, &g[at..], v, &c));
        }
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    #[track_caller]
    fn set_lr(&mut self, lr: f64) {
        self.lr = non_negative("Sgd: the learning rate", lr);
    }
}

vectorized! {
    /// One step without momentum.
    fn plain<'a, T>(p: &'a mut [T], g: &'a [T], rate: T, decay: T, sign: T) {
        for (p, &g) in p.iter_mut().zip(g) {
            *p -= rate * (sign * g + decay * *p);
        }
    }
}

struct Coefficients<T> {
    rate: T,
    decay: T,
    sign: T,
    keep: T,
    take: T,
    from_g: T,
    from_v: T,
}

vectorized! {
    /// One step with momentum.
    fn heavy<'a, T>(p: &'a mut [T], g: &'a [T], v: &'a mut [T], c: &'a Coefficients<T>) {
        let &Coefficients { rate, decay, sign, keep, take, from_g, from_v } = c;
        let least = T::MIN_POSITIVE + T::MIN_POSITIVE;
        for ((p, &g), v) in p.iter_mut().zip(g).zip(v) {
            let g = sign * g + decay * *p;
            *v = kept(keep * *v + take * g, least);
            *p -= rate * (from_g * g + from_v * *v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::one_push;
    use super::*;

    #[test]
    fn velocity_decays_to_zero() {
        let mut opt = Sgd::new(0.01).momentum(0.9);
        one_push(&mut opt);
        assert_eq!(opt.velocity, [0.0]);
    }

    #[test]
    #[should_panic(expected = "Nesterov's momentum excludes dampening")]
    fn nesterov_excludes_dampening() {
        let _ = Sgd::<f32>::new(0.1).nesterov(0.9).dampening(0.1);
    }

    #[test]
    fn the_last_momentum_counts() {
        let opt = Sgd::<f32>::new(0.1).nesterov(0.9).momentum(0.5).dampening(0.1);
        assert_eq!((opt.momentum, opt.nesterov, opt.lr()), (0.5, false, 0.1));
    }
}
