//! How parameters start: functions over slices.
//!
//! They serve as the last argument of [`Params::add_with`], or overwrite what a
//! layer chose through [`Params::get_mut`]:
//!
//! ```
//! use wengert::Params;
//! use wengert_nn::init;
//! let rng = &mut rand::rng();
//! let mut params = Params::new();
//! let w = params.add_with("w", [784, 256], |w| init::kaiming_normal(w, 784, init::RELU_GAIN, rng));
//! init::constant(params.get_mut(w), 0.5);
//! ```
//!
//! `fan_in` and `fan_out` are the numbers of inputs which go into one output
//! and of outputs which one input goes to: the two lengths of a `Linear`'s
//! weight. Random numbers are drawn in `f64`, so the same seed gives the same
//! numbers, rounded, in `f32`.
//!
//! [`Params::add_with`]: wengert::Params::add_with
//! [`Params::get_mut`]: wengert::Params::get_mut

use std::f64::consts::{PI, SQRT_2};

use rand::Rng;
use rand_distr::{Distribution, Exp1, StandardNormal, StandardUniform};
use wengert::Scalar;

/// The gain of a layer which a ReLU follows, √2: half of the variance is cut
/// off (He et al. 2015).
pub const RELU_GAIN: f64 = SQRT_2;

/// The gain of a layer which tanh follows, 5/3, PyTorch's value.
pub const TANH_GAIN: f64 = 5.0 / 3.0;

/// The gain of a layer which a leaky ReLU follows, `√(2 / (1 + slope²))`
/// (He et al. 2015).
///
/// ```
/// use wengert_nn::init;
/// assert_eq!(init::leaky_relu_gain(0.0), init::RELU_GAIN);
/// ```
pub fn leaky_relu_gain(slope: f64) -> f64 {
    (2.0 / (1.0 + slope * slope)).sqrt()
}

/// 0 everywhere.
///
/// ```
/// let mut w = [1.0, 2.0];
/// wengert_nn::init::zeros(&mut w);
/// assert_eq!(w, [0.0, 0.0]);
/// ```
pub fn zeros<T: Scalar>(values: &mut [T]) {
    values.fill(T::ZERO);
}

/// One value everywhere.
///
/// ```
/// let mut w = [1.0, 2.0];
/// wengert_nn::init::constant(&mut w, 3.0);
/// assert_eq!(w, [3.0, 3.0]);
/// ```
pub fn constant<T: Scalar>(values: &mut [T], value: T) {
    values.fill(value);
}

/// `U(low, high)`.
///
/// ```
/// let mut w = [0.0_f32; 100];
/// wengert_nn::init::uniform(&mut w, -1.0, 1.0, &mut rand::rng());
/// assert!(w.iter().all(|x| x.abs() <= 1.0));
/// ```
///
/// # Panics
/// If `low > high`.
#[track_caller]
pub fn uniform<T: Scalar>(values: &mut [T], low: f64, high: f64, rng: &mut impl Rng) {
    assert!(low <= high, "uniform: no interval from {low} to {high}");
    values.fill_with(|| T::from_f64(low + (high - low) * unit(rng)));
}

/// `N(mean, std²)`.
///
/// ```
/// let mut w = [0.0_f32; 100];
/// wengert_nn::init::normal(&mut w, 5.0, 0.01, &mut rand::rng());
/// assert!(w.iter().all(|x| (x - 5.0).abs() < 0.1));
/// ```
///
/// # Panics
/// If `std` is negative.
#[track_caller]
pub fn normal<T: Scalar>(values: &mut [T], mean: f64, std: f64, rng: &mut impl Rng) {
    assert!(std >= 0.0, "normal: the standard deviation must not be negative, got {std}");
    values.fill_with(|| T::from_f64(mean + std * gauss(rng)));
}

/// `N(mean, std²)`, given that it lies between `low` and `high`: exact at any
/// place of the interval, however far out in the tail.
///
/// By rejection, as C. P. Robert, *Simulation of truncated normal variables*,
/// Statistics and Computing 5 (1995), 121-125,
/// [arXiv:0907.4010](https://arxiv.org/abs/0907.4010).
///
/// ```
/// let mut w = [0.0_f32; 100];
/// wengert_nn::init::truncated_normal(&mut w, 0.0, 0.02, -0.04, 0.04, &mut rand::rng());
/// assert!(w.iter().all(|x| x.abs() <= 0.04));
/// ```
///
/// # Panics
/// If `std` is not positive or `low` is not below `high`.
#[doc(alias = "trunc_normal_")]
#[track_caller]
pub fn truncated_normal<T: Scalar>(values: &mut [T], mean: f64, std: f64, low: f64, high: f64, rng: &mut impl Rng) {
    assert!(std > 0.0, "truncated_normal: the standard deviation must be positive, got {std}");
    assert!(low < high, "truncated_normal: no interval from {low} to {high}");
    let (a, b) = ((low - mean) / std, (high - mean) / std);
    // By symmetry an interval on the negative side is one on the positive side.
    let (a, b, sign) = if b < 0.0 { (-b, -a, -1.0) } else { (a, b, 1.0) };
    values.fill_with(|| {
        let x = mean + std * sign * standard_truncated(a, b, rng);
        T::from_f64(x.clamp(low, high))
    });
}

/// `N(0, 1)`, given that it lies between `a` and `b > 0`.
fn standard_truncated(a: f64, b: f64, rng: &mut impl Rng) -> f64 {
    let nearest = a.max(0.0);
    // The rate of the best exponential proposal from `a` on (Robert, 2.3).
    let rate = (a + (a * a + 4.0).sqrt()) / 2.0;
    loop {
        // A wide interval around 0: the normal distribution itself.
        if a <= 0.0 && b - a > (2.0 * PI).sqrt() {
            let z = gauss(rng);
            if (a..=b).contains(&z) {
                return z;
            }
        // A wide interval in the tail: an exponential decay from its start.
        } else if a > 0.0 && (b - a) * rate > 2.0 {
            let step: f64 = Exp1.sample(rng);
            let z = a + step / rate;
            if z <= b && unit(rng) <= (-(z - rate) * (z - rate) / 2.0).exp() {
                return z;
            }
        // A narrow one: uniform, accepted by the density's ratio to its peak.
        } else {
            let z = a + (b - a) * unit(rng);
            if unit(rng) <= ((nearest * nearest - z * z) / 2.0).exp() {
                return z;
            }
        }
    }
}

/// `U(-a, a)` with `a = gain √(6 / (fan_in + fan_out))`.
///
/// X. Glorot, Y. Bengio, *Understanding the difficulty of training deep
/// feedforward neural networks*, AISTATS 2010, eq. 16.
///
/// ```
/// let mut w = [0.0_f32; 12];
/// wengert_nn::init::xavier_uniform(&mut w, 4, 2, 1.0, &mut rand::rng());
/// assert!(w.iter().all(|x| x.abs() <= 1.0));
/// ```
#[doc(alias = "glorot_uniform")]
pub fn xavier_uniform<T: Scalar>(values: &mut [T], fan_in: usize, fan_out: usize, gain: f64, rng: &mut impl Rng) {
    let a = 3f64.sqrt() * scale(gain, (fan_in + fan_out) as f64 / 2.0);
    uniform(values, -a, a, rng);
}

/// `N(0, s²)` with `s = gain √(2 / (fan_in + fan_out))` (Glorot and Bengio
/// 2010, eq. 12); see [`xavier_uniform`].
#[doc(alias = "glorot_normal")]
pub fn xavier_normal<T: Scalar>(values: &mut [T], fan_in: usize, fan_out: usize, gain: f64, rng: &mut impl Rng) {
    normal(values, 0.0, scale(gain, (fan_in + fan_out) as f64 / 2.0), rng);
}

/// `U(-a, a)` with `a = gain √(3 / fan)`.
///
/// `fan` is `fan_in` to keep the variance on the way forward, `fan_out` to keep
/// it on the way back. K. He, X. Zhang, S. Ren, J. Sun, *Delving deep into
/// rectifiers*, ICCV 2015, [arXiv:1502.01852](https://arxiv.org/abs/1502.01852),
/// section 2.2.
///
/// ```
/// use wengert_nn::init;
/// let mut w = [0.0_f32; 12];
/// init::kaiming_uniform(&mut w, 6, init::RELU_GAIN, &mut rand::rng());
/// assert!(w.iter().all(|x| x.abs() <= 1.0));
/// ```
#[doc(alias = "he_uniform")]
pub fn kaiming_uniform<T: Scalar>(values: &mut [T], fan: usize, gain: f64, rng: &mut impl Rng) {
    let a = 3f64.sqrt() * scale(gain, fan as f64);
    uniform(values, -a, a, rng);
}

/// `N(0, s²)` with `s = gain / √fan` (He et al. 2015, eq. 10); see
/// [`kaiming_uniform`].
#[doc(alias = "he_normal")]
pub fn kaiming_normal<T: Scalar>(values: &mut [T], fan: usize, gain: f64, rng: &mut impl Rng) {
    normal(values, 0.0, scale(gain, fan as f64), rng);
}

/// The standard deviation `gain / √fan`; a tensor without elements has no fan.
fn scale(gain: f64, fan: f64) -> f64 {
    if fan > 0.0 { gain / fan.sqrt() } else { 0.0 }
}

fn unit(rng: &mut impl Rng) -> f64 {
    StandardUniform.sample(rng)
}

fn gauss(rng: &mut impl Rng) -> f64 {
    StandardNormal.sample(rng)
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    const N: usize = 40_000;

    fn moments(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / values.len() as f64;
        (mean, variance.sqrt())
    }

    fn draw(f: impl FnOnce(&mut [f64], &mut StdRng)) -> Vec<f64> {
        let mut values = vec![0.0; N];
        f(&mut values, &mut StdRng::seed_from_u64(7));
        values
    }

    fn near(got: f64, want: f64) {
        assert!((got - want).abs() < 0.02 * want.abs().max(0.5), "{got} is not near {want}");
    }

    #[test]
    fn scales_are_those_of_the_formulas() {
        let bound = |values: Vec<f64>| values.iter().fold(0f64, |m, x| m.max(x.abs()));
        near(bound(draw(|w, rng| xavier_uniform(w, 2, 4, 2.0, rng))), 2.0);
        near(bound(draw(|w, rng| kaiming_uniform(w, 3, RELU_GAIN, rng))), SQRT_2);
        near(moments(&draw(|w, rng| xavier_normal(w, 2, 6, 3.0, rng))).1, 1.5);
        near(moments(&draw(|w, rng| kaiming_normal(w, 2, RELU_GAIN, rng))).1, 1.0);
        near(bound(draw(|w, rng| kaiming_uniform(w, 0, 1.0, rng))), 0.0);
        near(TANH_GAIN * leaky_relu_gain(1.0), 5.0 / 3.0);
    }

    /// Mean and standard deviation of the truncated normal distribution, by
    /// the midpoint rule.
    fn integrate(a: f64, b: f64) -> (f64, f64) {
        let at = |i: i32| a + (b - a) * (f64::from(i) + 0.5) / 1e5;
        let density = |x: f64| ((a.max(0.0).powi(2) - x * x) / 2.0).exp();
        let moment = |p| (0..100_000).map(at).map(|x| x.powi(p) * density(x)).sum::<f64>();
        let [m0, m1, m2] = [0, 1, 2].map(moment);
        (m1 / m0, (m2 / m0 - (m1 / m0).powi(2)).sqrt())
    }

    #[test]
    fn truncated_normal_has_its_moments_everywhere() {
        for (a, b) in [(-2.0, 2.0), (-0.5, 1.0), (0.0, 9.0), (1.0, 1.2), (2.0, 20.0), (6.0, 30.0)] {
            for sign in [1.0, -1.0] {
                let (low, high) = if sign > 0.0 { (a, b) } else { (-b, -a) };
                let values = draw(|w, rng| truncated_normal(w, 1.0, 3.0, 1.0 + 3.0 * low, 1.0 + 3.0 * high, rng));
                assert!(values.iter().all(|x| (1.0 + 3.0 * low..=1.0 + 3.0 * high).contains(x)));
                let (mean, std) = moments(&values);
                let (m, s) = integrate(a, b);
                assert!((mean - (1.0 + 3.0 * sign * m)).abs() < 0.02 * 3.0 * s, "{low} to {high}: mean {mean}");
                assert!((std / (3.0 * s) - 1.0).abs() < 0.02, "{low} to {high}: deviation {std}");
            }
        }
    }

    #[test]
    fn f32_draws_the_same_numbers() {
        let mut single = [0f32; 10];
        uniform(&mut single, -1.0, 1.0, &mut StdRng::seed_from_u64(7));
        let double = draw(|w, rng| uniform(w, -1.0, 1.0, rng));
        assert!(single.iter().zip(&double).all(|(&s, &d)| s == d as f32));
    }
}
