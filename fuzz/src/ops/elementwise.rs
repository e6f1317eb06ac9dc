//! Functions of one and of two numbers: a row each.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, FRAC_PI_2, LN_2, LN_10};

use arbitrary::{Result, Unstructured};
use wengert::Parameter;

use super::{T, byte};
use crate::dual::{Dual, dual};
use crate::nd::broadcast;
use crate::program::{MAX_ELEMENTS, Run, Value};
use crate::scalars::{Edge, Edges, Scalars};

/// What arguments a function is mostly given.
#[derive(Clone, Copy, PartialEq)]
pub enum Domain {
    All,
    /// x² + 1/2
    Positive,
    /// 0.9 tanh(x)
    Unit,
    /// x² + 3/2
    AboveOne,
}

use Domain::*;
use Edge::{Jump, Kink, Pole};

/// A function of one number, with a parameter, on both sides.
pub struct One {
    name: &'static str,
    domain: Domain,
    engine: for<'t> fn(T<'t>, f64) -> T<'t>,
    value: fn(Dual, f64) -> Dual,
    slope: fn(Dual, f64) -> Dual,
    edge: Edge,
}

impl One {
    pub fn apply(&self, s: &mut Scalars, x: usize, p: f64) -> usize {
        let v = s.value(x);
        s.unary(x, [(self.value)(v, p), (self.slope)(v, p)], self.edge, p)
    }
}

/// Rows: name and domain, the engine's function, value, slope, edge.
macro_rules! one {
    ($($name:ident $domain:ident |$t:ident, $q:ident| $engine:expr, |$x:ident, $p:ident| $value:expr, $slope:expr, $edge:expr;)*) => {
        &[$(One {
            name: stringify!($name),
            domain: $domain,
            engine: |$t, $q| { let _ = $q; $engine },
            value: |$x, $p| { let _ = $p; $value },
            slope: |$x, $p| { let _ = ($x, $p); $slope },
            edge: $edge,
        }),*]
    };
}

const fn flat() -> Dual {
    Dual { v: 0.0, d: 0.0 }
}

fn either(first: bool, x: Dual, y: Dual) -> Dual {
    if first { x } else { y }
}

fn one_if(holds: bool) -> Dual {
    dual(f64::from(u8::from(holds)))
}

fn normal_cdf(x: Dual) -> Dual {
    (x * -FRAC_1_SQRT_2).erfc() * 0.5
}

fn normal_density(x: Dual) -> Dual {
    (x * x * -0.5).exp() * (0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2)
}

/// `e^x`, flat at 0 and above: what the slope of ELU is on its left.
fn below(x: Dual) -> Dual {
    either(x.v < 0.0, x.exp(), x.step(f64::exp))
}

const SELU: [f64; 2] = [1.673_263_242_354_377_2, 1.050_700_987_355_480_5];
const GELU: [f64; 2] = [0.797_884_560_802_865_4, 0.044_715];

const ZERO: Edge = Kink(|_| 0.0);
const ENDS: Edge = Pole(|x, _| x.signum());
const START: Edge = Pole(|_, _| 0.0);
const WHOLE: Edge = Jump(f64::round);

const ONES: &[One] = one! {
    neg All |t, p| -t, |x, p| -x, dual(-1.0), Edge::None;
    exp All |t, p| t.exp(), |x, p| x.exp(), x.exp(), Edge::None;
    exp_m1 All |t, p| t.exp_m1(), |x, p| x.exp_m1(), x.exp(), Edge::None;
    exp2 All |t, p| t.exp2(), |x, p| (x * LN_2).exp(), (x * LN_2).exp() * LN_2, Edge::None;
    ln Positive |t, p| t.ln(), |x, p| x.ln(), x.recip(), START;
    ln_1p Positive |t, p| t.ln_1p(), |x, p| x.ln_1p(), (x + 1.0).recip(), Pole(|_, _| -1.0);
    log2 Positive |t, p| t.log2(), |x, p| x.ln() / LN_2, x.recip() / LN_2, START;
    log10 Positive |t, p| t.log10(), |x, p| x.ln() / LN_10, x.recip() / LN_10, START;
    sqrt Positive |t, p| t.sqrt(), |x, p| x.sqrt(), (x.sqrt() * 2.0).recip(), START;
    rsqrt Positive |t, p| t.rsqrt(), |x, p| x.sqrt().recip(), -(x.sqrt() * x * 2.0).recip(), START;
    square All |t, p| t.square(), |x, p| x * x, x + x, Edge::None;
    recip Positive |t, p| t.recip(), |x, p| x.recip(), -(x * x).recip(), START;
    abs All |t, p| t.abs(), |x, p| x.abs(), x.step(|v| if v == 0.0 { 0.0 } else { v.signum() }), ZERO;
    sign All |t, p| t.sign(), |x, p| x.step(|v| if v == 0.0 { v } else { v.signum() }), flat(), Jump(|_| 0.0);
    floor All |t, p| t.floor(), |x, p| x.step(f64::floor), flat(), WHOLE;
    ceil All |t, p| t.ceil(), |x, p| x.step(f64::ceil), flat(), WHOLE;
    trunc All |t, p| t.trunc(), |x, p| x.step(f64::trunc), flat(), WHOLE;
    round All |t, p| t.round(), |x, p| x.step(f64::round_ties_even), flat(), Jump(|x| x.floor() + 0.5);
    is_nan All |t, p| t.is_nan(), |x, p| one_if(x.v.is_nan()), flat(), Edge::None;
    is_infinite All |t, p| t.is_infinite(), |x, p| one_if(x.v.is_infinite()), flat(), Edge::None;
    is_finite All |t, p| t.is_finite(), |x, p| one_if(x.v.is_finite()), flat(), Edge::None;
    sin All |t, p| t.sin(), |x, p| x.sin(), x.cos(), Edge::None;
    cos All |t, p| t.cos(), |x, p| x.cos(), -x.sin(), Edge::None;
    tan All |t, p| t.tan(), |x, p| x.tan(), x.tan().square() + 1.0,
        Pole(|x, _| (x / FRAC_PI_2).round() * FRAC_PI_2);
    asin Unit |t, p| t.asin(), |x, p| x.asin(), (dual(1.0) - x * x).sqrt().recip(), ENDS;
    acos Unit |t, p| t.acos(), |x, p| x.acos(), -(dual(1.0) - x * x).sqrt().recip(), ENDS;
    atan All |t, p| t.atan(), |x, p| x.atan(), (x * x + 1.0).recip(), Edge::None;
    sinh All |t, p| t.sinh(), |x, p| x.sinh(), x.cosh(), Edge::None;
    cosh All |t, p| t.cosh(), |x, p| x.cosh(), x.sinh(), Edge::None;
    tanh All |t, p| t.tanh(), |x, p| x.tanh(), dual(1.0) - x.tanh().square(), Edge::None;
    asinh All |t, p| t.asinh(), |x, p| x.asinh(), (x * x + 1.0).sqrt().recip(), Edge::None;
    acosh AboveOne |t, p| t.acosh(), |x, p| x.acosh(), (x * x - 1.0).sqrt().recip(), Pole(|_, _| 1.0);
    atanh Unit |t, p| t.atanh(), |x, p| x.atanh(), (dual(1.0) - x * x).recip(), ENDS;
    sigmoid All |t, p| t.sigmoid(), |x, p| x.sigmoid(), x.sigmoid() * (-x).sigmoid(), Edge::None;
    log_sigmoid All |t, p| t.log_sigmoid(), |x, p| -(-x).softplus(), (-x).sigmoid(), Edge::None;
    relu All |t, p| t.relu(), |x, p| either(x.v <= 0.0, flat(), x), one_if(!(x.v <= 0.0)), ZERO;
    relu6 All |t, p| t.relu6(), |x, p| x.step(|v| v.clamp(0.0, 6.0)) + (x - x.v) * f64::from(x.v > 0.0 && x.v < 6.0),
        one_if(x.v > 0.0 && x.v < 6.0), Kink(|x| if x > 3.0 { 6.0 } else { 0.0 });
    leaky_relu All |t, p| t.leaky_relu(0.1), |x, p| either(x.v > 0.0, x, x * 0.1),
        either(x.v > 0.0, dual(1.0), dual(0.1)), ZERO;
    elu All |t, p| t.elu(0.7), |x, p| either(x.v > 0.0, x, x.exp_m1() * 0.7),
        either(x.v > 0.0, dual(1.0), below(x) * 0.7), ZERO;
    selu All |t, p| t.selu(), |x, p| either(x.v > 0.0, x, x.exp_m1() * SELU[0]) * SELU[1],
        either(x.v > 0.0, dual(1.0), below(x) * SELU[0]) * SELU[1], ZERO;
    silu All |t, p| t.silu(), |x, p| x * x.sigmoid(), x.sigmoid() * (x * (-x).sigmoid() + 1.0), Edge::None;
    mish All |t, p| t.mish(), |x, p| x * x.softplus().tanh(),
        x.softplus().tanh() + x * x.sigmoid() * (dual(1.0) - x.softplus().tanh().square()), Edge::None;
    softplus All |t, p| t.softplus(1.5, 20.0), |x, p| either(x.v > 20.0 / 1.5, x, (x * 1.5).softplus() / 1.5),
        either(x.v > 20.0 / 1.5, dual(1.0), (x * 1.5).sigmoid()), Jump(|_| 20.0 / 1.5);
    softsign All |t, p| t.softsign(), |x, p| x / (x.abs() + 1.0), (x.abs() + 1.0).square().recip(), ZERO;
    gelu All |t, p| t.gelu(), |x, p| x * normal_cdf(x), normal_cdf(x) + x * normal_density(x), Edge::None;
    gelu_tanh All |t, p| t.gelu_tanh(), |x, p| x * ((x + x * x * x * GELU[1]) * (2.0 * GELU[0])).sigmoid(), {
        let u = (x + x * x * x * GELU[1]) * (2.0 * GELU[0]);
        let inner = (x * x * (3.0 * GELU[1]) + 1.0) * (2.0 * GELU[0]);
        u.sigmoid() * (x * (-u).sigmoid() * inner + 1.0)
    }, Edge::None;
    erf All |t, p| t.erf(), |x, p| x.erf(), (-(x * x)).exp() * FRAC_2_SQRT_PI, Edge::None;
    erfc All |t, p| t.erfc(), |x, p| x.erfc(), (-(x * x)).exp() * -FRAC_2_SQRT_PI, Edge::None;
    clamp All |t, p| t.clamp(-0.5, 1.0), |x, p| either(x.v > -0.5 && x.v < 1.0, x, x.step(|v| v.clamp(-0.5, 1.0))),
        one_if(x.v > -0.5 && x.v < 1.0), Kink(|x| if x > 0.25 { 1.0 } else { -0.5 });
    clamp_min All |t, p| t.clamp_min(0.25), |x, p| either(x.v < 0.25, dual(0.25), x), one_if(x.v > 0.25), Kink(|_| 0.25);
    clamp_max All |t, p| t.clamp_max(0.25), |x, p| either(x.v > 0.25, dual(0.25), x), one_if(x.v < 0.25), Kink(|_| 0.25);
    powf Positive |t, p| t.powf(p), |x, p| x.powf(p), either(p == 0.0, flat(), x.powf(p - 1.0) * p),
        Pole(|_, p| if p.fract() != 0.0 || p < 0.0 { 0.0 } else { f64::NAN });
    powi Positive |t, p| t.powi(p as i32), |x, p| x.powf(p.trunc()),
        either(p.trunc() == 0.0, flat(), x.powf(p.trunc() - 1.0) * p.trunc()),
        Pole(|_, p| if p <= -1.0 { 0.0 } else { f64::NAN });
};

/// A function of two numbers on both sides; the engine's takes a tensor, a
/// number or a parameter on the right.
pub struct Two {
    name: &'static str,
    tensors: for<'t> fn(T<'t>, T<'t>) -> T<'t>,
    number: for<'t> fn(T<'t>, f64) -> T<'t>,
    parameter: for<'t> fn(T<'t>, &'t Parameter<f64>) -> T<'t>,
    value: fn(Dual, Dual) -> [Dual; 3],
    edges: Edges,
}

impl Two {
    pub fn apply(&self, s: &mut Scalars, a: usize, b: usize) -> usize {
        let values = (self.value)(s.value(a), s.value(b));
        s.binary(a, b, values, self.edges)
    }
}

/// Rows: name, the engine's function, value and slopes, edges.
macro_rules! two {
    ($($name:ident |$a:ident, $b:ident| $engine:expr, |$x:ident, $y:ident| $value:expr, $edges:ident;)*) => {
        &[$(Two {
            name: stringify!($name),
            tensors: |$a, $b| $engine,
            number: |$a, $b| $engine,
            parameter: |$a, $b| $engine,
            value: |$x, $y| $value,
            edges: Edges::$edges,
        }),*]
    };
}

/// The larger, or with `-1` the smaller: half of the cotangent to each if tied.
fn larger(x: Dual, y: Dual, sign: f64) -> [Dual; 3] {
    if x.v.is_nan() || y.v.is_nan() {
        [dual(f64::NAN); 3]
    } else if x.v == y.v {
        [Dual { v: x.v, d: 0.5 * (x.d + y.d) }, dual(0.5), dual(0.5)]
    } else if sign * x.v > sign * y.v {
        [x, dual(1.0), flat()]
    } else {
        [y, flat(), dual(1.0)]
    }
}

fn compared(holds: bool) -> [Dual; 3] {
    [one_if(holds), flat(), flat()]
}

const TWOS: &[Two] = two! {
    add |a, b| a + b, |x, y| [x + y, dual(1.0), dual(1.0)], None;
    sub |a, b| a - b, |x, y| [x - y, dual(1.0), dual(-1.0)], None;
    mul |a, b| a * b, |x, y| [x * y, y, x], None;
    div |a, b| a / b, |x, y| [x / y, y.recip(), -(x / y / y)], Second;
    maximum |a, b| a.maximum(b), |x, y| larger(x, y, 1.0), Kink;
    minimum |a, b| a.minimum(b), |x, y| larger(x, y, -1.0), Kink;
    pow |a, b| (a.square() + 0.5).pow(b), |x, y| {
        let base = x * x + 0.5;
        let value = base.pow(y);
        [value, x * 2.0 * y * base.pow(y - 1.0), value * base.ln()]
    }, None;
    atan2 |a, b| a.atan2(b), |x, y| {
        let square = x * x + y * y;
        let value = x.v.atan2(y.v);
        [Dual { v: value, d: (y.v * x.d - x.v * y.d) / square.v }, y / square, -x / square]
    }, Angle;
    hypot |a, b| a.hypot(b), |x, y| {
        let value = (x * x + y * y).sqrt();
        [value, x / value, y / value]
    }, Origin;
    eq |a, b| a.eq(b), |x, y| compared(x.v == y.v), Jump;
    ne |a, b| a.ne(b), |x, y| compared(x.v != y.v), Jump;
    lt |a, b| a.lt(b), |x, y| compared(x.v < y.v), Jump;
    le |a, b| a.le(b), |x, y| compared(x.v <= y.v), Jump;
    gt |a, b| a.gt(b), |x, y| compared(x.v > y.v), Jump;
    ge |a, b| a.ge(b), |x, y| compared(x.v >= y.v), Jump;
};

pub fn one(name: &str) -> &'static One {
    ONES.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no function {name}"))
}

pub fn two(name: &str) -> &'static Two {
    TWOS.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no function {name}"))
}

/// One row of either table, on the values of a program.
pub fn step<'t>(run: &mut Run<'t>, u: &mut Unstructured<'_>, i: usize) -> Result<()> {
    let (code, x) = (byte(u)?, run.values[i].clone());
    if code % 2 == 0 {
        let row = &ONES[byte(u)? % ONES.len()];
        let p = (byte(u)? % 11) as f64 / 2.0 - 1.5;
        // Mostly arguments for which there is a value.
        let inside = row.domain == All || byte(u)? % 8 == 0;
        let x = if inside { x } else { into(run, &x, row.domain) };
        run.push(format!("{}({}, {p})", row.name, x.name), (row.engine)(x.tensor, p), x.nd.f_with(row.name, p));
        return Ok(());
    }
    // Arithmetic more often than the rest.
    let pick = byte(u)?;
    let row = if pick % 2 == 0 { &TWOS[pick / 2 % 4] } else { &TWOS[pick / 2 % TWOS.len()] };
    if code % 8 == 1 {
        return with_number(run, u, &x, row);
    }
    let fits = |a: &Value<'t>, b: &Value<'t>| {
        broadcast(&a.nd.shape, &b.nd.shape).is_some_and(|s| s.iter().product::<usize>() <= MAX_ELEMENTS)
    };
    let y = run.partner(u, &x, fits)?;
    let tensor = match y.param {
        Some(p) => (row.parameter)(x.tensor, &run.params[p]),
        None => (row.tensors)(x.tensor, y.tensor),
    };
    run.push(format!("{}({}, {})", row.name, x.name, y.name), tensor, x.nd.g(row.name, &y.nd));
    Ok(())
}

fn with_number<'t>(run: &mut Run<'t>, u: &mut Unstructured<'_>, x: &Value<'t>, row: &Two) -> Result<()> {
    let (p, first) = (f64::from(u.arbitrary::<i8>()? >> 2) / 8.0, u.arbitrary::<bool>()?);
    let p = if p == 0.0 { 0.75 } else { p };
    let number = x.nd.number(p);
    let left = match row.name {
        "add" => Some(p + x.tensor),
        "sub" => Some(p - x.tensor),
        "mul" => Some(p * x.tensor),
        "div" => Some(p / x.tensor),
        _ => None,
    };
    match left.filter(|_| first) {
        Some(tensor) => run.push(format!("{}({p}, {})", row.name, x.name), tensor, number.g(row.name, &x.nd)),
        None => {
            run.push(format!("{}({}, {p})", row.name, x.name), (row.number)(x.tensor, p), x.nd.g(row.name, &number))
        }
    }
    Ok(())
}

/// Moves values into a domain.
pub fn into<'t>(run: &mut Run<'t>, x: &Value<'t>, domain: Domain) -> Value<'t> {
    let (what, tensor, nd) = match domain {
        All => return x.clone(),
        Positive => ("square + 0.5", x.tensor.square() + 0.5, x.nd.f("square") + 0.5),
        AboveOne => ("square + 1.5", x.tensor.square() + 1.5, x.nd.f("square") + 1.5),
        Unit => ("0.9 tanh", x.tensor.tanh() * 0.9, x.nd.f("tanh") * 0.9),
    };
    run.push(format!("{what} of {}", x.name), tensor, nd);
    run.values[run.values.len() - 1].clone()
}
