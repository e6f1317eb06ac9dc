//! Where the elements of a random array come from.

use std::fmt::Debug;
use std::ops::Range;

use wengert::Scalar;

/// A stream of pseudo-random numbers (SplitMix64), so that an array is a pure
/// function of its shape and seed.
pub(crate) struct Stream(pub(crate) u64);

impl Stream {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform over `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Of either sign, and not small: a cotangent which hides nothing.
    pub(crate) fn cotangent(&mut self) -> f64 {
        let x = 0.5 + self.unit();
        if self.bits() & 1 == 0 { x } else { -x }
    }
}

/// A source of elements: a range, or one of [`away_from`], [`landing_on`] and
/// [`distinct`].
pub trait Values<T>: Clone + Debug {
    /// The elements of an array of length `n`: the same for the same seed.
    fn draw(&self, n: usize, seed: u64) -> Vec<T>;
    /// Whether an element may have this value: how simpler values are judged.
    fn admits(&self, value: T) -> bool;
}

impl<T: Scalar> Values<T> for Range<T> {
    fn draw(&self, n: usize, seed: u64) -> Vec<T> {
        let mut stream = Stream(seed);
        let (low, high) = (self.start.to_f64(), self.end.to_f64());
        (0..n).map(|_| T::from_f64(low + (high - low) * stream.unit())).collect()
    }

    fn admits(&self, value: T) -> bool {
        self.contains(&value)
    }
}

/// See [`away_from`].
#[derive(Clone, Debug)]
pub struct AwayFrom<T> {
    range: Range<T>,
    points: Vec<T>,
    distance: T,
}

/// Values of a range which keep a distance from some points: where a function
/// has kinks or poles.
///
/// ```
/// use wengert_check::{Values, away_from};
/// let values = away_from(-1.0..1.0, [0.0], 0.1);
/// assert!(values.draw(1000, 7).iter().all(|x: &f64| x.abs() >= 0.1));
/// ```
///
/// # Panics
/// If nothing (or next to nothing) of the range is left, when values are drawn.
pub fn away_from<T: Scalar>(range: Range<T>, points: impl Into<Vec<T>>, distance: T) -> AwayFrom<T> {
    AwayFrom { range, points: points.into(), distance }
}

impl<T: Scalar> Values<T> for AwayFrom<T> {
    fn draw(&self, n: usize, seed: u64) -> Vec<T> {
        let mut stream = Stream(seed);
        let mut one = || {
            let draw = |_| self.range.draw(1, stream.bits())[0];
            let found = (0..10_000).map(draw).find(|&x| self.admits(x));
            found.unwrap_or_else(|| {
                panic!("nothing of {:?} is {} away from {:?}", self.range, self.distance, self.points)
            })
        };
        (0..n).map(|_| one()).collect()
    }

    fn admits(&self, value: T) -> bool {
        self.range.contains(&value) && self.points.iter().all(|&p| (value - p).abs() >= self.distance)
    }
}

/// See [`landing_on`].
#[derive(Clone, Debug)]
pub struct LandingOn<T> {
    range: Range<T>,
    points: Vec<T>,
}

/// Values of a range of which every other one, on average, is one of some
/// points: kinks, ties, infinities.
///
/// ```
/// use wengert_check::{Values, landing_on};
/// let drawn = landing_on(-1.0..1.0, [0.0]).draw(1000, 7);
/// let zeros = drawn.iter().filter(|&&x| x == 0.0).count();
/// assert!((400..600).contains(&zeros));
/// ```
pub fn landing_on<T: Scalar>(range: Range<T>, points: impl Into<Vec<T>>) -> LandingOn<T> {
    LandingOn { range, points: points.into() }
}

impl<T: Scalar> Values<T> for LandingOn<T> {
    fn draw(&self, n: usize, seed: u64) -> Vec<T> {
        let mut stream = Stream(seed);
        let one = |x| match stream.bits() {
            bits if bits & 1 == 0 && !self.points.is_empty() => self.points[(bits >> 1) as usize % self.points.len()],
            _ => x,
        };
        self.range.draw(n, !seed).into_iter().map(one).collect()
    }

    fn admits(&self, value: T) -> bool {
        self.range.contains(&value) || self.points.contains(&value)
    }
}

/// See [`distinct`].
#[derive(Clone, Debug)]
pub struct Distinct<T>(Range<T>);

/// Values evenly spread over a range, in random order: no two are close, so
/// that a largest or a smallest one is so by a margin.
///
/// ```
/// use wengert_check::{Values, distinct};
/// let mut drawn = distinct(0.0..1.0).draw(4, 7);
/// drawn.sort_by(f64::total_cmp);
/// assert_eq!(drawn, [0.125, 0.375, 0.625, 0.875]);
/// ```
pub fn distinct<T: Scalar>(range: Range<T>) -> Distinct<T> {
    Distinct(range)
}

impl<T: Scalar> Values<T> for Distinct<T> {
    fn draw(&self, n: usize, seed: u64) -> Vec<T> {
        let mut stream = Stream(seed);
        let (low, high) = (self.0.start.to_f64(), self.0.end.to_f64());
        let at = |i| T::from_f64(low + (high - low) * (i as f64 + 0.5) / n as f64);
        let mut values: Vec<T> = (0..n).map(at).collect();
        (1..n).rev().for_each(|i| values.swap(i, stream.bits() as usize % (i + 1)));
        values
    }

    fn admits(&self, _: T) -> bool {
        // A rounded value might be tied with another.
        false
    }
}
