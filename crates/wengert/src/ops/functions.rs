//! The functions of one tensor: a row each, with everything about it.
//!
//! A row gives the function's name, its value at `x`, and its derivative in
//! one of two forms:
//!
//! * `op |g, x, y, p|`: the cotangent `g` through it is another op;
//! * `from x` or `from y`: it is computed in one pass, from the argument or
//!   from the result, whichever costs less; then `curvature` is the derivative
//!   of the slope with respect to that tensor, in terms of other ops.

use super::rows::{Of, Row, curvature, derivative, functions, slope, through, value};
use super::unary::{Curvature, Derivative, apply, divide, neg, scale, with};
use super::{Emit, Id, Op, binary, view};
use crate::kernels::isa::Isa;
use crate::kernels::map::{at, map};
use crate::kernels::{Machine, Out, Value};
use crate::real::Real;
use crate::scalar::Scalar;
use Curvature::{Constant, Tensor as Tensors};
use binary::Function::{Mul, Sub};

/// sqrt(2 / pi) and the cubic coefficient of the tanh form of GELU
/// (Hendrycks and Gimpel, arXiv:1606.08415).
const GELU: [f64; 2] = [0.797_884_560_802_865_4, 0.044_715];
/// Klambauer et al., "Self-Normalizing Neural Networks", arXiv:1706.02515.
/// Alpha and scale.
pub(super) const SELU: [f64; 2] = [1.673_263_242_354_377_2, 1.050_700_987_355_480_5];
/// 2 / sqrt(pi)
const TWO_OVER_ROOT_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI;
/// 1 / sqrt(2 pi)
const NORMAL: f64 = 0.398_942_280_401_432_7;

#[inline(always)]
fn c<T: Real>(value: f64) -> T {
    T::from_f64(value)
}

/// 1 above 0, -1 below, 0 at 0, NaN at NaN.
#[inline(always)]
fn sign<T: Real>(x: T) -> T {
    if x > T::ZERO {
        T::ONE
    } else if x < T::ZERO {
        -T::ONE
    } else {
        x * T::ZERO
    }
}

/// `x`, from `-p` to `p`.
#[inline(always)]
fn limited<T: Real>(x: T, p: T) -> T {
    rows::AtMost::value(rows::AtLeast::value(x, -p), p)
}

/// (1 + tanh v) / 2 = sigmoid 2v, which does not cancel at the left, where v is
/// what the tanh form of GELU takes the tanh of.
#[inline(always)]
fn gelu_share<T: Real>(x: T) -> T {
    const SCALE: f64 = 2.0 * std::f64::consts::LOG2_E * GELU[0];
    (x * (x * x).mul_add(c(SCALE * GELU[1]), c(SCALE))).sigmoid2()
}

/// Beyond this, and long before, the tanh form of GELU is 0 or x to the bit, and
/// the slope of its sigmoid 0. At infinity derivatives are NaN, as PyTorch's.
const SATURATED: f64 = 1000.0;

/// ln(1 + e^x) without overflow.
#[inline(always)]
fn softplus<T: Real>(x: T) -> T {
    (if x > T::ZERO { x } else { T::ZERO }) + (-x.abs()).exp().ln_1p()
}

functions! {
    Neg "neg" { |x, _p| -x; op |g, _x, _y, _p| neg(g); }
    AddScalar "add_scalar" { |x, p| x + p; op |g, _x, _y, _p| view::same(g); }
    MulScalar "mul_scalar" { |x, p| x * p; op |g, _x, _y, p| scale(g, p); }
    DivScalar "div_scalar" { |x, p| x / p; op |g, _x, _y, p| divide(g, p); }
    ScalarSub "scalar_sub" { |x, p| p - x; op |g, _x, _y, _p| neg(g); }
    ScalarDiv "scalar_div" {
        |x, p| p / x;
        from x |g, x, p| -(g * p / (x * x));
        curvature |e, x, p| Tensors(scaled(e, with(Pow, x, -3.0), 2.0 * p));
    }
    Cube "cube" {
        |x, _p| x * x * x;
        from x |g, x, _p| g * (c::<T>(3.0) * x * x);
        curvature |e, x, _p| Tensors(e.scale(x, 6.0));
    }
    Pow "powf" {
        |x, p| x.powf(p);
        from x |g, x, p| if p == T::ZERO { T::ZERO } else { g * (p * x.powf(p - T::ONE)) };
        curvature |e, x, p| match p {
            0.0 | 1.0 => Constant(0.0),
            n => Tensors(scaled(e, with(Pow, x, n - 2.0), n * (n - 1.0))),
        };
    }
    // 0 everywhere: the derivative of what is constant in pieces.
    Zero "zero" { |_x, _p| T::ZERO; op |g, _x, _y, _p| apply(Zero, g); }

    Exp "exp" { |x, _p| x.exp(); from y |g, y, _p| g * y; curvature |_e, _y, _p| Constant(1.0); }
    ExpM1 "exp_m1" { |x, _p| x.exp_m1(); from y |g, y, _p| g * (y + T::ONE); curvature |_e, _y, _p| Constant(1.0); }
    Exp2 "exp2" {
        |x, _p| x.exp2();
        from y |g, y, _p| g * (y * c(std::f64::consts::LN_2));
        curvature |_e, _y, _p| Constant(std::f64::consts::LN_2);
    }
    Ln "ln" { |x, _p| x.ln(); op |g, x, _y, _p| binary::div(g, x); }
    Ln1p "ln_1p" {
        |x, _p| x.ln_1p();
        from x |g, x, _p| g / (x + T::ONE);
        curvature |e, x, _p| {
            let u = e.op(with(AddScalar, x, 1.0));
            Tensors(scaled(e, with(Pow, u, -2.0), -1.0))
        };
    }
    Log2 "log2" {
        |x, _p| x.log2();
        from x |g, x, _p| g / (x * c(std::f64::consts::LN_2));
        curvature |e, x, _p| Tensors(scaled(e, with(Pow, x, -2.0), -std::f64::consts::LOG2_E));
    }
    Log10 "log10" {
        |x, _p| x.log10();
        from x |g, x, _p| g / (x * c(std::f64::consts::LN_10));
        curvature |e, x, _p| Tensors(scaled(e, with(Pow, x, -2.0), -std::f64::consts::LOG10_E));
    }
    Sqrt "sqrt" {
        |x, _p| x.sqrt();
        from y |g, y, _p| g / (y + y);
        curvature |e, y, _p| Tensors(scaled(e, with(Pow, y, -2.0), -0.5));
    }
    Rsqrt "rsqrt" {
        |x, _p| T::ONE / x.sqrt();
        from y |g, y, _p| g * (c::<T>(-0.5) * y * y * y);
        curvature |e, y, _p| Tensors(scaled(e, apply(Square, y), -1.5));
    }
    // The root under norms and deviations, whose slope at 0 counts as 0.
    Root "root" {
        |x, _p| x.sqrt();
        from y |g, y, _p| if y == T::ZERO { T::ZERO } else { g / (y + y) };
        curvature |e, y, _p| {
            let square = e.op(apply(Square, y));
            let curve = e.op(with(ScalarDiv, square, -0.5));
            Tensors(e.op(binary::op(binary::Function::Keep, curve, y)))
        };
    }
    Square "square" { |x, _p| x * x; from x |g, x, _p| g * (x + x); curvature |_e, _x, _p| Constant(2.0); }
    Recip "recip" {
        |x, _p| T::ONE / x;
        from y |g, y, _p| -(g * y * y);
        curvature |e, y, _p| Tensors(e.scale(y, -2.0));
    }
    Abs "abs" { |x, _p| x.abs(); from x |g, x, _p| g * sign(x); curvature |_e, _x, _p| Constant(0.0); }
    // x² / 2 up to p, p (|x| - p / 2) beyond. NaN compares false and stays.
    Huber "huber" {
        |x, p| { let near = limited(x, p); near * (x - c::<T>(0.5) * near) };
        from x |g, x, p| g * limited(x, p);
        curvature |e, x, p| {
            let size = e.op(apply(Abs, x));
            let above = e.op(with(AddScalar, size, -p));
            Tensors(e.op(apply(Negative, above)))
        };
    }
    Sign "sign" { |x, _p| sign(x); op |g, _x, _y, _p| apply(Zero, g); }
    Floor "floor" { |x, _p| x.floor(); op |g, _x, _y, _p| apply(Zero, g); }
    Ceil "ceil" { |x, _p| x.ceil(); op |g, _x, _y, _p| apply(Zero, g); }
    Round "round" { |x, _p| x.round_ties_even(); op |g, _x, _y, _p| apply(Zero, g); }
    Trunc "trunc" { |x, _p| x.trunc(); op |g, _x, _y, _p| apply(Zero, g); }
    IsNan "is_nan" { |x, _p| if x.is_nan() { T::ONE } else { T::ZERO }; op |g, _x, _y, _p| apply(Zero, g); }
    IsInfinite "is_infinite" {
        |x, _p| if x.abs() == T::INFINITY { T::ONE } else { T::ZERO };
        op |g, _x, _y, _p| apply(Zero, g);
    }
    IsFinite "is_finite" { |x, _p| if x.is_finite() { T::ONE } else { T::ZERO }; op |g, _x, _y, _p| apply(Zero, g); }
    // 1 where x < 0; 1 where x <= 0.
    Negative "negative" { |x, _p| if x < T::ZERO { T::ONE } else { T::ZERO }; op |g, _x, _y, _p| apply(Zero, g); }
    NotPositive "not_positive" { |x, _p| if x <= T::ZERO { T::ONE } else { T::ZERO }; op |g, _x, _y, _p| apply(Zero, g); }

    Sin "sin" {
        |x, _p| x.sin();
        from x |g, x, _p| g * x.cos();
        curvature |e, x, _p| Tensors(scaled(e, apply(Sin, x), -1.0));
    }
    Cos "cos" {
        |x, _p| x.cos();
        from x |g, x, _p| -(g * x.sin());
        curvature |e, x, _p| Tensors(scaled(e, apply(Cos, x), -1.0));
    }
    Tan "tan" {
        |x, _p| x.tan();
        from y |g, y, _p| g * (T::ONE + y * y);
        curvature |e, y, _p| Tensors(e.scale(y, 2.0));
    }
    Asin "asin" {
        |x, _p| x.asin();
        from x |g, x, _p| g / (T::ONE - x * x).sqrt();
        curvature |e, x, _p| Tensors(over_root(e, x, -1.0, 1.0, 1.0));
    }
    Acos "acos" {
        |x, _p| x.acos();
        from x |g, x, _p| -(g / (T::ONE - x * x).sqrt());
        curvature |e, x, _p| Tensors(over_root(e, x, -1.0, 1.0, -1.0));
    }
    Atan "atan" {
        |x, _p| x.atan();
        from x |g, x, _p| g / (T::ONE + x * x);
        curvature |e, x, _p| Tensors(over_power(e, x, 1.0, 1.0, -2.0, -2.0));
    }
    Sinh "sinh" { |x, _p| x.sinh(); from x |g, x, _p| g * x.cosh(); curvature |e, x, _p| Tensors(e.op(apply(Sinh, x))); }
    Cosh "cosh" { |x, _p| x.cosh(); from x |g, x, _p| g * x.sinh(); curvature |e, x, _p| Tensors(e.op(apply(Cosh, x))); }
    Tanh "tanh" {
        |x, _p| x.tanh();
        from y |g, y, _p| g * (T::ONE - y * y);
        curvature |e, y, _p| Tensors(e.scale(y, -2.0));
    }
    Asinh "asinh" {
        |x, _p| x.asinh();
        from x |g, x, _p| g / (x * x + T::ONE).sqrt();
        curvature |e, x, _p| Tensors(over_root(e, x, 1.0, 1.0, -1.0));
    }
    Acosh "acosh" {
        |x, _p| x.acosh();
        from x |g, x, _p| g / (x * x - T::ONE).sqrt();
        curvature |e, x, _p| Tensors(over_root(e, x, 1.0, -1.0, -1.0));
    }
    Atanh "atanh" {
        |x, _p| x.atanh();
        from x |g, x, _p| g / (T::ONE - x * x);
        curvature |e, x, _p| Tensors(over_power(e, x, -1.0, 1.0, -2.0, 2.0));
    }

    Sigmoid "sigmoid" {
        |x, _p| x.sigmoid();
        from y |g, y, _p| g * (y * (T::ONE - y));
        curvature |e, y, _p| {
            let double = e.scale(y, 2.0);
            Tensors(e.op(with(ScalarSub, double, 1.0)))
        };
    }
    LogSigmoid "log_sigmoid" {
        |x, _p| -softplus(-x);
        from x |g, x, _p| g * (-x).sigmoid();
        curvature |e, x, _p| {
            let hill = sigmoid_slope(e, x);
            Tensors(e.scale(hill, -1.0))
        };
    }
    // NaN compares false and stays.
    Relu "relu" {
        |x, _p| if x < T::ZERO { T::ZERO } else { x };
        from y |g, y, _p| if y <= T::ZERO { T::ZERO } else { g };
        curvature |_e, _y, _p| Constant(0.0);
    }
    AtLeast "at_least" {
        |x, p| if x < p { p } else { x };
        from x |g, x, p| if x > p { g } else { T::ZERO };
        curvature |_e, _x, _p| Constant(0.0);
    }
    AtMost "at_most" {
        |x, p| if x > p { p } else { x };
        from x |g, x, p| if x < p { g } else { T::ZERO };
        curvature |_e, _x, _p| Constant(0.0);
    }
    LeakyRelu "leaky_relu" {
        |x, p| if x > T::ZERO { x } else { x * p };
        from x |g, x, p| if x > T::ZERO { g } else { g * p };
        curvature |_e, _x, _p| Constant(0.0);
    }
    Elu "elu" {
        |x, p| if x > T::ZERO { x } else { p * x.exp_m1() };
        from x |g, x, p| if x > T::ZERO { g } else { g * (p * x.exp()) };
        curvature |e, x, p| {
            let below = e.op(apply(Negative, x));
            let low = e.op(with(AtMost, x, 0.0));
            let exp = e.op(apply(Exp, low));
            let part = e.mul(below, exp);
            Tensors(e.scale(part, p))
        };
    }
    Silu "silu" {
        |x, _p| x * x.sigmoid();
        from x |g, x, _p| { let s = x.sigmoid(); g * (s * (T::ONE + x * (T::ONE - s))) };
        curvature |e, x, _p| {
            // s (1 - s) (2 + x (1 - 2 s))
            let s = e.op(apply(Sigmoid, x));
            let double = e.scale(s, 2.0);
            let lean = e.op(with(ScalarSub, double, 1.0));
            let term = e.mul(x, lean);
            let sum = e.op(with(AddScalar, term, 2.0));
            let hill = sigmoid_slope(e, x);
            Tensors(e.mul(hill, sum))
        };
    }
    // x tanh(ln(1 + e^x)) (Misra, arXiv:1908.08681)
    Mish "mish" {
        |x, _p| x * softplus(x).tanh();
        from x |g, x, _p| {
            let t = softplus(x).tanh();
            g * (t + x * x.sigmoid() * (T::ONE - t * t))
        };
        curvature |e, x, _p| {
            // u (2 + x (1 - s (1 + 2 t))), u = s (1 - t^2)
            let s = e.op(apply(Sigmoid, x));
            let plus = e.op(with(Softplus, x, f64::INFINITY));
            let t = e.op(apply(Tanh, plus));
            let square = e.op(apply(Square, t));
            let rest = e.op(with(ScalarSub, square, 1.0));
            let u = e.mul(s, rest);
            let double = e.scale(t, 2.0);
            let double = e.op(with(AddScalar, double, 1.0));
            let weighted = e.mul(s, double);
            let lean = e.op(with(ScalarSub, weighted, 1.0));
            let term = e.mul(x, lean);
            let sum = e.op(with(AddScalar, term, 2.0));
            Tensors(e.mul(u, sum))
        };
    }
    // ln(1 + e^x), and x itself above p
    Softplus "softplus" {
        |x, p| if x > p { x } else { softplus(x) };
        from x |g, x, p| if x > p { g } else { g * x.sigmoid() };
        curvature |e, x, p| {
            let hill = sigmoid_slope(e, x);
            let above = e.op(with(AddScalar, x, -p));
            let curved = e.op(apply(NotPositive, above));
            Tensors(e.mul(hill, curved))
        };
    }
    Softsign "softsign" {
        |x, _p| x / (T::ONE + x.abs());
        from x |g, x, _p| { let d = T::ONE + x.abs(); g / (d * d) };
        curvature |e, x, _p| {
            let size = e.op(apply(Abs, x));
            let d = e.op(with(AddScalar, size, 1.0));
            let cube = e.op(with(Pow, d, -3.0));
            let sign = e.op(apply(Sign, x));
            let signed = e.mul(sign, cube);
            Tensors(e.scale(signed, -2.0))
        };
    }
    // x Phi(x)
    Gelu "gelu" {
        |x, _p| x * x.normal_cdf();
        from x |g, x, _p| g * (x.normal_cdf() + x * c::<T>(NORMAL) * (c::<T>(-0.5) * x * x).exp());
        curvature |e, x, _p| {
            // phi(x) (2 - x^2)
            let square = e.op(apply(Square, x));
            let rest = e.op(with(ScalarSub, square, 2.0));
            let exponent = e.scale(square, -0.5);
            let bell = e.op(apply(Exp, exponent));
            let product = e.mul(bell, rest);
            Tensors(e.scale(product, NORMAL))
        };
    }
    GeluTanh "gelu_tanh" {
        |x, _p| x * gelu_share(x);
        from x |g, x, _p| {
            let s = gelu_share(x);
            // Finite, so that far out it is multiplied by 0 and no more.
            let square = if x * x > c(SATURATED * SATURATED) { c(SATURATED * SATURATED) } else { x * x };
            let slope = square.mul_add(c(6.0 * GELU[0] * GELU[1]), c(2.0 * GELU[0]));
            // s (1 - s)
            let hill = (-s).mul_add(s, s);
            g * (x * hill).mul_add(slope, s)
        };
        curvature |e, x, _p| {
            // (1 - t^2) (v' + x (v'' / 2 - t v'^2)), t = tanh v(x), where 1 - t^2
            // is 4 s(2v) s(-2v), s being the sigmoid: there nothing cancels.
            let nothing = e.scale(x, 0.0);
            let x = e.op(with(AtLeast, x, -SATURATED));
            let x = e.op(with(AtMost, x, SATURATED));
            let square = e.op(apply(Square, x));
            let cubic = e.scale(square, GELU[0] * GELU[1]);
            let factor = e.op(with(AddScalar, cubic, GELU[0]));
            let v = e.mul(x, factor);
            let cubic = e.scale(square, 3.0 * GELU[0] * GELU[1]);
            let v1 = e.op(with(AddScalar, cubic, GELU[0]));
            let t = e.op(apply(Tanh, v));
            let (right, left) = (e.scale(v, 2.0), e.scale(v, -2.0));
            let (right, left) = (e.op(apply(Sigmoid, right)), e.op(apply(Sigmoid, left)));
            let both = e.mul(right, left);
            let rest = e.scale(both, 4.0);
            let v1_square = e.op(apply(Square, v1));
            let bend = e.mul(t, v1_square);
            let half_v2 = e.scale(x, 3.0 * GELU[0] * GELU[1]);
            let inner = e.op(binary::op(Sub, half_v2, bend));
            let term = e.mul(x, inner);
            let sum = e.op(binary::add(v1, term));
            let bent = e.mul(rest, sum);
            Tensors(e.op(binary::add(bent, nothing)))
        };
    }
    Erf "erf" {
        |x, _p| x.erf();
        from x |g, x, _p| g * (c::<T>(TWO_OVER_ROOT_PI) * (-(x * x)).exp());
        curvature |e, x, _p| Tensors(bell_slope(e, x, -2.0 * TWO_OVER_ROOT_PI));
    }
    Erfc "erfc" {
        |x, _p| x.erfc();
        from x |g, x, _p| -(g * (c::<T>(TWO_OVER_ROOT_PI) * (-(x * x)).exp()));
        curvature |e, x, _p| Tensors(bell_slope(e, x, 2.0 * TWO_OVER_ROOT_PI));
    }
}

impl Function {
    /// Whether the value, and the slope, have functions which are computed with
    /// fused multiply-adds.
    pub(super) const fn fuses(self) -> [bool; 2] {
        match self {
            Exp | ExpM1 | Exp2 | Ln | Ln1p | Log2 | Log10 | Tanh | Sigmoid | Asinh | Acosh | Atanh => [true, false],
            Tan | Asin | Acos | Atan => [true, false],
            Pow | Sin | Cos | Sinh | Cosh | LogSigmoid | Elu | Silu | Mish | Softplus | Gelu | GeluTanh | Erf
            | Erfc => [true, true],
            _ => [false, false],
        }
    }

    /// Whether it may take the place of its argument: those of a cotangent which
    /// are derivatives of others.
    pub(super) const fn works_in_place(self) -> bool {
        matches!(self, Neg | MulScalar | DivScalar | Zero)
    }
}

/// The slopes of the rows whose derivative is another op.
#[inline(always)]
fn op_slope<T: Real>(f: Function, x: T, p: T) -> Option<T> {
    match f {
        AddScalar => Some(T::ONE),
        Neg | ScalarSub => Some(-T::ONE),
        MulScalar => Some(p),
        DivScalar => Some(T::ONE / p),
        Ln => Some(T::ONE / x),
        Zero | Sign | Floor | Ceil | Round | Trunc | IsNan | IsInfinite | IsFinite | Negative | NotPositive => None,
        _ => unreachable!("its slope stands in its row"),
    }
}

/// `by` times the result of an op.
fn scaled<E: Emit>(e: &mut E, op: Op, by: f64) -> Id {
    let id = e.op(op);
    e.scale(id, by)
}

/// `by x (a x^2 + b)^power`
fn over_power<E: Emit>(e: &mut E, x: Id, a: f64, b: f64, power: f64, by: f64) -> Id {
    let square = e.op(apply(Square, x));
    let signed = e.scale(square, a);
    let sum = e.op(with(AddScalar, signed, b));
    let power = e.op(with(Pow, sum, power));
    let product = e.op(binary::op(Mul, x, power));
    e.scale(product, by)
}

/// `by x / (a x^2 + b)^(3/2)`
fn over_root<E: Emit>(e: &mut E, x: Id, a: f64, b: f64, by: f64) -> Id {
    over_power(e, x, a, b, -1.5, by)
}

/// `s(x) (1 - s(x))`
fn sigmoid_slope<E: Emit>(e: &mut E, x: Id) -> Id {
    let s = e.op(apply(Sigmoid, x));
    let rest = e.op(with(ScalarSub, s, 1.0));
    e.mul(s, rest)
}

/// `by x e^(-x^2)`
fn bell_slope<E: Emit>(e: &mut E, x: Id, by: f64) -> Id {
    let square = e.op(apply(Square, x));
    let exponent = e.op(neg(square));
    let exp = e.op(apply(Exp, exponent));
    let product = e.mul(x, exp);
    e.scale(product, by)
}
