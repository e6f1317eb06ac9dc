//! Functions of one tensor, element by element, and arithmetic with a scalar.

use super::{Emit, Id, Inferred, Op, Values, binary, elementwise, view};
use crate::kernels::map::map;
use crate::kernels::{Machine, Out};
use crate::scalar::Scalar;
use crate::tensor::Tensor;

/// `f(x)`, with a constant `p` where the function has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unary {
    f: Function,
    x: Id,
    p: f64,
}

/// `g f'(t)`: the cotangent `g` through the function `f`. `t` is its argument
/// or its result, whichever gives the derivative at less cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnaryGrad {
    f: Function,
    g: Id,
    t: Id,
    p: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Neg,
    /// x + p
    AddScalar,
    /// x p
    MulScalar,
    /// x / p
    DivScalar,
    /// p - x
    ScalarSub,
    /// p / x
    ScalarDiv,
    /// x^p
    Pow,
    Exp,
    Ln,
    Sqrt,
    Square,
    Recip,
    Abs,
    Tanh,
    Sigmoid,
    Relu,
}

use Function::*;

#[inline(always)]
fn sign<T: Scalar>(x: T) -> T {
    if x > T::ZERO {
        T::ONE
    } else if x < T::ZERO {
        -T::ONE
    } else {
        // 0 at 0, NaN at NaN.
        x * T::ZERO
    }
}

pub(crate) fn scale(x: Id, by: f64) -> Op {
    Op::Unary(Unary { f: MulScalar, x, p: by })
}

pub(crate) fn neg(x: Id) -> Op {
    Op::Unary(Unary { f: Neg, x, p: 0.0 })
}

fn apply(f: Function, x: Id) -> Op {
    Op::Unary(Unary { f, x, p: 0.0 })
}

/// An operator between a tensor and a scalar.
pub(crate) fn with_scalar(f: binary::Function, x: Id, p: f64, scalar_first: bool) -> Option<Op> {
    let f = match (f, scalar_first) {
        (binary::Function::Add, _) => AddScalar,
        (binary::Function::Sub, false) => return Some(Op::Unary(Unary { f: AddScalar, x, p: -p })),
        (binary::Function::Sub, true) => ScalarSub,
        (binary::Function::Mul, _) => MulScalar,
        (binary::Function::Div, false) => DivScalar,
        (binary::Function::Div, true) => ScalarDiv,
        _ => return None,
    };
    Some(Op::Unary(Unary { f, x, p }))
}

impl Unary {
    pub(crate) fn name(&self) -> &'static str {
        match self.f {
            Neg => "neg",
            AddScalar => "add_scalar",
            MulScalar => "mul_scalar",
            DivScalar => "div_scalar",
            ScalarSub => "scalar_sub",
            ScalarDiv => "scalar_div",
            Pow => "powf",
            Exp => "exp",
            Ln => "ln",
            Sqrt => "sqrt",
            Square => "square",
            Recip => "recip",
            Abs => "abs",
            Tanh => "tanh",
            Sigmoid => "sigmoid",
            Relu => "relu",
        }
    }

    pub(crate) fn operands(&self) -> [Id; 1] {
        [self.x]
    }

    #[inline(always)]
    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        elementwise(self.name(), [v.value(self.x)])
    }

    #[inline(always)]
    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        let p = T::from_f64(self.p);
        macro_rules! run {
            ($f:expr) => {
                // SAFETY: the caller's contract.
                unsafe { map(m.isa, [v.value(self.x)], out, $f) }
            };
        }
        match self.f {
            Neg => run!(|[x]| -x),
            AddScalar => run!(move |[x]| x + p),
            MulScalar => run!(move |[x]| x * p),
            DivScalar => run!(move |[x]| x / p),
            ScalarSub => run!(move |[x]| p - x),
            ScalarDiv => run!(move |[x]| p / x),
            Pow => run!(move |[x]| x.powf(p)),
            Exp => run!(|[x]| x.exp()),
            Ln => run!(|[x]| x.ln()),
            Sqrt => run!(|[x]| x.sqrt()),
            Square => run!(|[x]| x * x),
            Recip => run!(|[x]| T::ONE / x),
            Abs => run!(|[x]| x.abs()),
            Tanh => run!(|[x]| x.tanh()),
            Sigmoid => run!(|[x]| T::ONE / (T::ONE + (-x).exp())),
            // NaN compares false and stays.
            Relu => run!(|[x]| if x < T::ZERO { T::ZERO } else { x }),
        }
    }

    #[inline(always)]
    pub(crate) fn rule<E: Emit>(self, e: &mut E, y: Id, g: Id) {
        let Unary { f, x, p } = self;
        let grad = |t| Op::UnaryGrad(UnaryGrad { f, g, t, p });
        let op = match f {
            Neg | ScalarSub => neg(g),
            AddScalar => view::same(g),
            MulScalar => scale(g, p),
            DivScalar => Op::Unary(Unary { f: DivScalar, x: g, p }),
            Exp => binary::mul(g, y),
            Ln => binary::div(g, x),
            Sqrt | Recip | Tanh | Sigmoid | Relu => grad(y),
            ScalarDiv | Pow | Square | Abs => grad(x),
        };
        e.give(x, op);
    }
}

impl UnaryGrad {
    pub(crate) fn name(&self) -> &'static str {
        match self.f {
            ScalarDiv => "scalar_div_grad",
            Pow => "powf_grad",
            Sqrt => "sqrt_grad",
            Square => "square_grad",
            Recip => "recip_grad",
            Abs => "abs_grad",
            Tanh => "tanh_grad",
            Sigmoid => "sigmoid_grad",
            Relu => "relu_grad",
            Neg | AddScalar | MulScalar | DivScalar | ScalarSub | Exp | Ln => {
                unreachable!("its derivative is another op")
            }
        }
    }

    pub(crate) fn operands(&self) -> [Id; 2] {
        [self.g, self.t]
    }

    #[inline(always)]
    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        elementwise(self.name(), [v.value(self.t), v.value(self.g)])
    }

    #[inline(always)]
    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        let p = T::from_f64(self.p);
        let two = T::ONE + T::ONE;
        macro_rules! run {
            ($f:expr) => {
                // SAFETY: the caller's contract.
                unsafe { map(m.isa, [v.value(self.g), v.value(self.t)], out, $f) }
            };
        }
        match self.f {
            ScalarDiv => run!(move |[g, x]| -(g * p / (x * x))),
            Pow if self.p == 0.0 => run!(|[_, _]| T::ZERO),
            Pow => run!(move |[g, x]| g * (p * x.powf(p - T::ONE))),
            Sqrt => run!(move |[g, y]| g / (two * y)),
            Square => run!(move |[g, x]| g * (two * x)),
            Recip => run!(|[g, y]| -(g * y * y)),
            Abs => run!(|[g, x]| g * sign(x)),
            Tanh => run!(|[g, y]| g * (T::ONE - y * y)),
            Sigmoid => run!(|[g, y]| g * (y * (T::ONE - y))),
            Relu => run!(|[g, y]| if y <= T::ZERO { T::ZERO } else { g }),
            Neg | AddScalar | MulScalar | DivScalar | ScalarSub | Exp | Ln => {
                unreachable!("its derivative is another op")
            }
        }
    }

    /// The adjoint `c` of `g f'(t)`: `c f'(t)` to `g`, `c g f''(t)` to `t`.
    pub(crate) fn rule<E: Emit>(self, e: &mut E, _: Id, c: Id) {
        let UnaryGrad { f, g, t, p } = self;
        if e.wants(g) {
            e.give(g, Op::UnaryGrad(UnaryGrad { f, g: c, t, p }));
        }
        let flat = matches!(f, Abs | Relu) || f == Pow && (p == 0.0 || p == 1.0);
        if flat || !e.wants(t) {
            return;
        }
        let cg = e.mul(c, g);
        let second = match f {
            // (-p / t^2)' = 2 p / t^3
            ScalarDiv => {
                let r = e.op(Op::Unary(Unary { f: Pow, x: t, p: -3.0 }));
                e.scale(r, 2.0 * p)
            }
            // (p t^(p-1))' = p (p-1) t^(p-2)
            Pow => {
                let r = e.op(Op::Unary(Unary { f: Pow, x: t, p: p - 2.0 }));
                e.scale(r, p * (p - 1.0))
            }
            // (1 / (2 t))' = -1 / (2 t^2)
            Sqrt => {
                let square = e.op(apply(Square, t));
                e.op(Op::Unary(Unary { f: ScalarDiv, x: square, p: -0.5 }))
            }
            // (2 t)' = 2
            Square => return e.give(t, scale(cg, 2.0)),
            // (-t^2)' = -2 t; (1 - t^2)' = -2 t
            Recip | Tanh => e.scale(t, -2.0),
            // (t - t^2)' = 1 - 2 t
            Sigmoid => {
                let double = e.scale(t, 2.0);
                e.op(Op::Unary(Unary { f: ScalarSub, x: double, p: 1.0 }))
            }
            Neg | AddScalar | MulScalar | DivScalar | ScalarSub | Exp | Ln | Abs | Relu => {
                unreachable!("its derivative is another op, or constant")
            }
        };
        e.give(t, binary::mul(cg, second));
    }
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident = $f:ident;)*) => {
        /// Functions, element by element. The result has the shape of `self`.
        impl<'t, T: Scalar> Tensor<'t, T> {
            $($(#[$doc])*
            #[track_caller]
            pub fn $name(self) -> Self {
                self.record(apply($f, self.id()))
            })*

            /// `x^p` with a constant real exponent; `p x^(p-1)` is its
            /// derivative, 0 for `p = 0`. NaN where `x < 0` and `p` is not an
            /// integer.
            ///
            /// ```
            /// # let tape = wengert::Tape::new();
            /// assert_eq!(tape.tensor([4.0, 9.0]).powf(0.5).to_vec(), [2.0, 3.0]);
            /// ```
            #[doc(alias = "pow")]
            #[track_caller]
            pub fn powf(self, p: T) -> Self {
                self.record(Op::Unary(Unary { f: Pow, x: self.id(), p: p.to_f64() }))
            }

            /// `x^n` with a constant integer exponent; derivative `n x^(n-1)`.
            ///
            /// ```
            /// # let tape = wengert::Tape::new();
            /// assert_eq!(tape.tensor([2.0, -3.0]).powi(3).to_vec(), [8.0, -27.0]);
            /// ```
            #[doc(alias = "pow")]
            #[track_caller]
            pub fn powi(self, n: i32) -> Self {
                match n {
                    2 => self.square(),
                    _ => self.record(Op::Unary(Unary { f: Pow, x: self.id(), p: f64::from(n) })),
                }
            }
        }
    };
}

methods! {
    /// `e^x`; its own derivative.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).exp().to_vec(), [1.0]);
    /// ```
    exp = Exp;
    /// The natural logarithm; derivative `1/x`, infinite at 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1.0, 0.0]).ln().to_vec(), [0.0, f32::NEG_INFINITY]);
    /// ```
    #[doc(alias = "log")]
    ln = Ln;
    /// The square root; derivative `1/(2 sqrt x)`, infinite at 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([4.0]).sqrt().to_vec(), [2.0]);
    /// ```
    sqrt = Sqrt;
    /// `x²`; derivative `2x`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([-3.0]).square().to_vec(), [9.0]);
    /// ```
    square = Square;
    /// `1/x`; derivative `-1/x²`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([4.0]).recip().to_vec(), [0.25]);
    /// ```
    #[doc(alias = "reciprocal")]
    recip = Recip;
    /// `|x|`; derivative the sign of `x`, 0 at 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([-2.0]).abs().to_vec(), [2.0]);
    /// ```
    abs = Abs;
    /// The hyperbolic tangent; derivative `1 - tanh² x`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).tanh().to_vec(), [0.0]);
    /// ```
    tanh = Tanh;
    /// The logistic function `σ(x) = 1/(1 + e^-x)`; derivative `σ (1 - σ)`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).sigmoid().to_vec(), [0.5]);
    /// ```
    #[doc(alias = "expit")]
    sigmoid = Sigmoid;
    /// `max(x, 0)`; derivative 1 above 0, 0 below and at 0. NaN stays.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([-1.0, 2.0]).relu().to_vec(), [0.0, 2.0]);
    /// ```
    relu = Relu;
}

impl<T: Scalar> std::ops::Neg for Tensor<'_, T> {
    type Output = Self;

    #[track_caller]
    fn neg(self) -> Self {
        self.record(neg(self.id()))
    }
}

pub(crate) fn sigmoid(x: Id) -> Op {
    apply(Sigmoid, x)
}

pub(crate) fn divide(x: Id, by: f64) -> Op {
    Op::Unary(Unary { f: DivScalar, x, p: by })
}

pub(crate) fn exp(x: Id) -> Op {
    apply(Exp, x)
}
