//! Dual numbers: a value, and its derivative along one direction.

use std::ops::{Add, Div, Mul, Neg, Sub};

#[derive(Clone, Copy, Debug, Default)]
pub struct Dual {
    pub v: f64,
    pub d: f64,
}

/// A constant.
pub fn dual(v: f64) -> Dual {
    Dual { v, d: 0.0 }
}

impl Add for Dual {
    type Output = Dual;
    fn add(self, o: Dual) -> Dual {
        Dual { v: self.v + o.v, d: self.d + o.d }
    }
}

impl Sub for Dual {
    type Output = Dual;
    fn sub(self, o: Dual) -> Dual {
        Dual { v: self.v - o.v, d: self.d - o.d }
    }
}

impl Mul for Dual {
    type Output = Dual;
    fn mul(self, o: Dual) -> Dual {
        Dual { v: self.v * o.v, d: self.d * o.v + self.v * o.d }
    }
}

impl Div for Dual {
    type Output = Dual;
    fn div(self, o: Dual) -> Dual {
        Dual { v: self.v / o.v, d: self.d / o.v - self.v / o.v * (o.d / o.v) }
    }
}

impl Neg for Dual {
    type Output = Dual;
    fn neg(self) -> Dual {
        Dual { v: -self.v, d: -self.d }
    }
}

impl Add<f64> for Dual {
    type Output = Dual;
    fn add(self, o: f64) -> Dual {
        self + dual(o)
    }
}

impl Sub<f64> for Dual {
    type Output = Dual;
    fn sub(self, o: f64) -> Dual {
        self - dual(o)
    }
}

impl Mul<f64> for Dual {
    type Output = Dual;
    fn mul(self, o: f64) -> Dual {
        Dual { v: self.v * o, d: self.d * o }
    }
}

impl Div<f64> for Dual {
    type Output = Dual;
    fn div(self, o: f64) -> Dual {
        Dual { v: self.v / o, d: self.d / o }
    }
}

macro_rules! functions {
    ($($name:ident |$v:ident, $y:ident| $value:expr, $slope:expr;)*) => {
        impl Dual {
            $(pub fn $name(self) -> Dual {
                let $v = self.v;
                let $y = $value;
                Dual { v: $y, d: $slope * self.d }
            })*
        }
    };
}

functions! {
    exp |v, y| v.exp(), y;
    exp_m1 |v, _y| v.exp_m1(), v.exp();
    ln |v, _y| v.ln(), 1.0 / v;
    ln_1p |v, _y| v.ln_1p(), 1.0 / (1.0 + v);
    sqrt |v, y| v.sqrt(), 1.0 / (2.0 * y);
    sin |v, _y| v.sin(), v.cos();
    cos |v, _y| v.cos(), -v.sin();
    tan |v, y| v.tan(), 1.0 + y * y;
    asin |v, _y| v.asin(), 1.0 / (1.0 - v * v).sqrt();
    acos |v, _y| v.acos(), -1.0 / (1.0 - v * v).sqrt();
    atan |v, _y| v.atan(), 1.0 / (1.0 + v * v);
    sinh |v, _y| v.sinh(), v.cosh();
    cosh |v, _y| v.cosh(), v.sinh();
    tanh |v, y| v.tanh(), 1.0 - y * y;
    asinh |v, _y| libm::asinh(v), 1.0 / (v * v + 1.0).sqrt();
    acosh |v, _y| libm::acosh(v), 1.0 / (v * v - 1.0).sqrt();
    atanh |v, _y| v.atanh(), 1.0 / (1.0 - v * v);
    erf |v, _y| libm::erf(v), std::f64::consts::FRAC_2_SQRT_PI * (-v * v).exp();
    erfc |v, _y| libm::erfc(v), -std::f64::consts::FRAC_2_SQRT_PI * (-v * v).exp();
    abs |v, _y| v.abs(), if v == 0.0 { 0.0 } else { v.signum() };
}

impl Dual {
    pub fn square(self) -> Dual {
        self * self
    }

    pub fn recip(self) -> Dual {
        dual(1.0) / self
    }

    /// `x^p` for a constant exponent.
    pub fn powf(self, p: f64) -> Dual {
        let slope = if p == 0.0 { 0.0 } else { p * self.v.powf(p - 1.0) };
        Dual { v: self.v.powf(p), d: slope * self.d }
    }

    /// `x^p`, `x > 0`.
    pub fn pow(self, p: Dual) -> Dual {
        let v = self.v.powf(p.v);
        let d = p.v * self.v.powf(p.v - 1.0) * self.d + if p.d == 0.0 { 0.0 } else { v * self.v.ln() * p.d };
        Dual { v, d }
    }

    pub fn sigmoid(self) -> Dual {
        if self.v < 0.0 { self.exp() / (self.exp() + 1.0) } else { ((-self).exp() + 1.0).recip() }
    }

    /// `ln(1 + e^x)`
    pub fn softplus(self) -> Dual {
        if self.v > 0.0 { self + (-self).exp().ln_1p() } else { self.exp().ln_1p() }
    }

    /// A constant of the same size, for functions which are flat.
    pub fn step(self, f: impl Fn(f64) -> f64) -> Dual {
        dual(f(self.v))
    }
}
