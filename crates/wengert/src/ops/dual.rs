//! Numbers with derivatives.

#![allow(private_bounds, reason = "as in `term.rs`")]

use super::rows::Row;
use super::term::{Element, Pair};
use crate::real::Real;
use crate::tensor::Sealed;

/// A number and its derivatives with respect to `N` inputs (Wengert's own
/// scheme: forward mode inside one expression, as Adept and CoDiPack treat
/// one statement: Hogan, ACM TOMS 40, 2014).
///
/// Which inputs it depends on is known when the expression is compiled, since
/// everything is inlined into one loop: there `active` is a constant, and what
/// is 0 costs nothing, and stays 0 beside infinities, as in reverse mode.
#[derive(Clone, Copy)]
pub(crate) struct Dual<T, const N: usize> {
    value: T,
    slopes: [T; N],
    active: u32,
}

impl<T: Real, const N: usize> Dual<T, N> {
    #[inline(always)]
    pub(super) fn constant(value: T) -> Self {
        Dual { value, slopes: [T::ZERO; N], active: 0 }
    }

    /// The input `i`.
    #[inline(always)]
    pub(super) fn input(value: T, i: usize) -> Self {
        let mut x = Self::constant(value);
        x.slopes[i] = T::ONE;
        x.active = 1 << i;
        x
    }

    /// The derivative to the input `i`, if it depends on it.
    #[inline(always)]
    pub(super) fn slope(self, i: usize) -> Option<T> {
        (self.active >> i & 1 == 1).then(|| self.slopes[i])
    }
}

impl<T: Real, const N: usize> Sealed for Dual<T, N> {}

impl<T: Real, const N: usize> Element for Dual<T, N> {
    #[inline(always)]
    fn constant(self, value: f64) -> Self {
        Dual::constant(T::from_f64(value))
    }

    #[inline(always)]
    fn unary<F: Row>(self, p: f64) -> Self {
        let p = T::from_f64(p);
        let mut y = Self::constant(F::value(self.value, p));
        if let Some(by) = F::slope(self.value, y.value, p) {
            y.active = self.active;
            for i in 0..N {
                if let Some(s) = self.slope(i) {
                    y.slopes[i] = s * by;
                }
            }
        }
        y
    }

    #[inline(always)]
    fn binary<F: Pair>(self, other: Self) -> Self {
        let mut y = Self::constant(F::value(self.value, other.value));
        if let Some([by_self, by_other]) = F::slopes(self.value, other.value, y.value) {
            y.active = self.active | other.active;
            for i in 0..N {
                y.slopes[i] = match (self.slope(i), other.slope(i)) {
                    (Some(a), Some(b)) => a * by_self + b * by_other,
                    (Some(a), None) => a * by_self,
                    (None, Some(b)) => b * by_other,
                    (None, None) => T::ZERO,
                };
            }
        }
        y
    }

    #[inline(always)]
    fn select(self, mask: Self, other: Self) -> Self {
        let mut y = Self::constant(self.value.select(mask.value, other.value));
        y.active = self.active | other.active;
        for i in 0..N {
            // What is not active is 0.
            y.slopes[i] = self.slopes[i].select(mask.value, other.slopes[i]);
        }
        y
    }
}
