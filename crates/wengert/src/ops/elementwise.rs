//! The methods for the functions of [`functions`](super::functions).

use super::functions::{Function, SELU};
use super::unary::{self, apply, neg};
use crate::scalar::Scalar;
use crate::tensor::Tensor;

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident = $f:ident;)*) => {
        /// Functions, element by element. The result has the shape of `self`.
        impl<'t, T: Scalar> Tensor<'t, T> {
            $($(#[$doc])*
            #[track_caller]
            pub fn $name(self) -> Self {
                self.record(apply(Function::$f, self.id()))
            })*
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
    /// `e^x - 1`, accurate near 0; derivative `e^x`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).exp_m1().to_vec(), [0.0]);
    /// ```
    #[doc(alias = "expm1")]
    exp_m1 = ExpM1;
    /// `2^x`; derivative `2^x ln 2`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([3.0]).exp2().to_vec(), [8.0]);
    /// ```
    exp2 = Exp2;
    /// The natural logarithm; derivative `1/x`, infinite at 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1.0, 0.0]).ln().to_vec(), [0.0, f32::NEG_INFINITY]);
    /// ```
    #[doc(alias = "log")]
    ln = Ln;
    /// `ln(1 + x)`, accurate near 0; derivative `1/(1 + x)`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).ln_1p().to_vec(), [0.0]);
    /// ```
    #[doc(alias = "log1p")]
    ln_1p = Ln1p;
    /// The base-2 logarithm; derivative `1/(x ln 2)`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([8.0]).log2().to_vec(), [3.0]);
    /// ```
    log2 = Log2;
    /// The base-10 logarithm; derivative `1/(x ln 10)`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([100.0]).log10().to_vec(), [2.0]);
    /// ```
    log10 = Log10;
    /// The square root; derivative `1/(2 sqrt x)`, infinite at 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([4.0]).sqrt().to_vec(), [2.0]);
    /// ```
    sqrt = Sqrt;
    /// `1/sqrt(x)`; derivative `-1/(2 x^(3/2))`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([4.0]).rsqrt().to_vec(), [0.5]);
    /// ```
    rsqrt = Rsqrt;
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
    /// 1 above 0, -1 below, 0 at 0; derivative 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([-2.0, 0.0, 5.0]).sign().to_vec(), [-1.0, 0.0, 1.0]);
    /// ```
    #[doc(alias = "sgn")]
    sign = Sign;
    /// The largest integer not above `x`; derivative 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([-1.5]).floor().to_vec(), [-2.0]);
    /// ```
    floor = Floor;
    /// The smallest integer not below `x`; derivative 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1.2]).ceil().to_vec(), [2.0]);
    /// ```
    ceil = Ceil;
    /// The nearest integer, half to even; derivative 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.5, 1.5, 2.6]).round().to_vec(), [0.0, 2.0, 3.0]);
    /// ```
    round = Round;
    /// The integer part; derivative 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([-1.5]).trunc().to_vec(), [-1.0]);
    /// ```
    #[doc(alias = "fix")]
    trunc = Trunc;
    /// The sine; derivative `cos x`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).sin().to_vec(), [0.0]);
    /// ```
    sin = Sin;
    /// The cosine; derivative `-sin x`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).cos().to_vec(), [1.0]);
    /// ```
    cos = Cos;
    /// The tangent; derivative `1 + tan² x`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).tan().to_vec(), [0.0]);
    /// ```
    tan = Tan;
    /// The arc sine; derivative `1/sqrt(1 - x²)`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).asin().to_vec(), [0.0]);
    /// ```
    #[doc(alias = "arcsin")]
    asin = Asin;
    /// The arc cosine; derivative `-1/sqrt(1 - x²)`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1.0]).acos().to_vec(), [0.0]);
    /// ```
    #[doc(alias = "arccos")]
    acos = Acos;
    /// The arc tangent; derivative `1/(1 + x²)`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).atan().to_vec(), [0.0]);
    /// ```
    #[doc(alias = "arctan")]
    atan = Atan;
    /// The hyperbolic sine; derivative `cosh x`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).sinh().to_vec(), [0.0]);
    /// ```
    sinh = Sinh;
    /// The hyperbolic cosine; derivative `sinh x`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).cosh().to_vec(), [1.0]);
    /// ```
    cosh = Cosh;
    /// The hyperbolic tangent; derivative `1 - tanh² x`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).tanh().to_vec(), [0.0]);
    /// ```
    tanh = Tanh;
    /// The inverse hyperbolic sine; derivative `1/sqrt(x² + 1)`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).asinh().to_vec(), [0.0]);
    /// ```
    #[doc(alias = "arcsinh")]
    asinh = Asinh;
    /// The inverse hyperbolic cosine; derivative `1/sqrt(x² - 1)`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1.0]).acosh().to_vec(), [0.0]);
    /// ```
    #[doc(alias = "arccosh")]
    acosh = Acosh;
    /// The inverse hyperbolic tangent; derivative `1/(1 - x²)`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).atanh().to_vec(), [0.0]);
    /// ```
    #[doc(alias = "arctanh")]
    atanh = Atanh;
    /// The logistic function `σ(x) = 1/(1 + e^-x)`; derivative `σ (1 - σ)`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).sigmoid().to_vec(), [0.5]);
    /// ```
    #[doc(alias = "expit")]
    sigmoid = Sigmoid;
    /// `ln σ(x)`, which does not underflow; derivative `σ(-x)`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([-1e4]).log_sigmoid().to_vec(), [-1e4]);
    /// ```
    #[doc(alias = "logsigmoid")]
    log_sigmoid = LogSigmoid;
    /// `max(x, 0)`; derivative 1 above 0, else 0. NaN stays.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([-1.0, 2.0]).relu().to_vec(), [0.0, 2.0]);
    /// ```
    relu = Relu;
    /// `x σ(x)` (Elfwing et al., arXiv:1702.03118).
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).silu().to_vec(), [0.0]);
    /// ```
    #[doc(alias = "swish")]
    silu = Silu;
    /// `x tanh(ln(1 + e^x))` (Misra, arXiv:1908.08681).
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).mish().to_vec(), [0.0]);
    /// ```
    mish = Mish;
    /// `x/(1 + |x|)`; derivative `1/(1 + |x|)²`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1.0, -3.0]).softsign().to_vec(), [0.5, -0.75]);
    /// ```
    softsign = Softsign;
    /// `x Φ(x)` with the normal distribution function (Hendrycks and Gimpel,
    /// arXiv:1606.08415).
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).gelu().to_vec(), [0.0]);
    /// ```
    gelu = Gelu;
    /// [`Tensor::gelu`] by its tanh approximation, `x/2 (1 + tanh(sqrt(2/π) (x +
    /// 0.044715 x³)))`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).gelu_tanh().to_vec(), [0.0]);
    /// ```
    gelu_tanh = GeluTanh;
    /// The error function `2/sqrt(π) ∫₀ˣ e^(-t²) dt`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).erf().to_vec(), [0.0]);
    /// ```
    erf = Erf;
    /// `1 - erf(x)`, accurate for large `x`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).erfc().to_vec(), [1.0]);
    /// ```
    erfc = Erfc;
    /// 1 where an element is NaN, else 0; derivative 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([f32::NAN, 1.0]).is_nan().to_vec(), [1.0, 0.0]);
    /// ```
    #[doc(alias = "isnan")]
    is_nan = IsNan;
    /// 1 where an element is infinite, else 0; derivative 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([f32::INFINITY, 1.0]).is_infinite().to_vec(), [1.0, 0.0]);
    /// ```
    #[doc(alias = "isinf")]
    is_infinite = IsInfinite;
    /// 1 where an element is finite, else 0; derivative 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([f32::NAN, 1.0]).is_finite().to_vec(), [0.0, 1.0]);
    /// ```
    #[doc(alias = "isfinite")]
    is_finite = IsFinite;
}

/// Functions with constants, element by element.
impl<'t, T: Scalar> Tensor<'t, T> {
    #[track_caller]
    fn with(self, f: Function, p: T) -> Self {
        self.record(unary::with(f, self.id(), p.to_f64()))
    }

    /// `x^p` with a constant real exponent; derivative `p x^(p-1)`, 0 for
    /// `p = 0`. NaN where `x < 0` and `p` is not an integer.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([4.0, 9.0]).powf(0.5).to_vec(), [2.0, 3.0]);
    /// ```
    #[track_caller]
    pub fn powf(self, p: T) -> Self {
        // Cheaper, and more exact; the roots are NaN at -∞, as PyTorch's.
        match p.to_f64() {
            2.0 => self.square(),
            3.0 => self.record(apply(Function::Cube, self.id())),
            0.5 => self.sqrt(),
            -0.5 => self.rsqrt(),
            -1.0 => self.recip(),
            _ => self.with(Function::Pow, p),
        }
    }

    /// `x^n` with a constant integer exponent; derivative `n x^(n-1)`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([2.0, -3.0]).powi(3).to_vec(), [8.0, -27.0]);
    /// ```
    #[track_caller]
    pub fn powi(self, n: i32) -> Self {
        let p = T::from_f64(n.into());
        // What was rounded is even: the sign takes one factor more.
        if p.to_f64() != f64::from(n) && n % 2 != 0 { self.powf(p) * self } else { self.powf(p) }
    }

    /// Limits every element to `low..=high`, either of which may be `None`.
    /// Derivative 1 strictly between, else 0. NaN stays.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([-2.0, 0.5, 7.0]);
    /// assert_eq!(x.clamp(0.0, 1.0).to_vec(), [0.0, 0.5, 1.0]);
    /// assert_eq!(x.clamp(0.0, None).to_vec(), [0.0, 0.5, 7.0]);
    /// ```
    #[doc(alias = "clip")]
    #[track_caller]
    pub fn clamp(self, low: impl Into<Option<T>>, high: impl Into<Option<T>>) -> Self {
        let mut x = self;
        if let Some(low) = low.into() {
            x = x.clamp_min(low);
        }
        if let Some(high) = high.into() {
            x = x.clamp_max(high);
        }
        x
    }

    /// `max(x, low)`; derivative 0 at the bound. NaN stays.
    #[track_caller]
    pub fn clamp_min(self, low: T) -> Self {
        self.with(Function::AtLeast, low)
    }

    /// `min(x, high)`; derivative 0 at the bound. NaN stays.
    #[track_caller]
    pub fn clamp_max(self, high: T) -> Self {
        self.with(Function::AtMost, high)
    }

    /// `min(max(x, 0), 6)`; derivative 1 strictly between, else 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([-1.0, 3.0, 9.0]).relu6().to_vec(), [0.0, 3.0, 6.0]);
    /// ```
    #[track_caller]
    pub fn relu6(self) -> Self {
        self.clamp(T::ZERO, T::from_f64(6.0))
    }

    /// `x` above 0, `slope x` else (at 0 the slope is `slope`).
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([-4.0, 2.0]).leaky_relu(0.5).to_vec(), [-2.0, 2.0]);
    /// ```
    #[track_caller]
    pub fn leaky_relu(self, slope: T) -> Self {
        self.with(Function::LeakyRelu, slope)
    }

    /// `x` above 0, `alpha (e^x - 1)` else (Clevert et al., arXiv:1511.07289).
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([2.0, 0.0]).elu(1.0).to_vec(), [2.0, 0.0]);
    /// ```
    #[track_caller]
    pub fn elu(self, alpha: T) -> Self {
        self.with(Function::Elu, alpha)
    }

    /// The self-normalising unit: ELU with fixed alpha, scaled (Klambauer et
    /// al., arXiv:1706.02515).
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0]).selu().to_vec(), [0.0]);
    /// ```
    #[track_caller]
    pub fn selu(self) -> Self {
        self.elu(T::from_f64(SELU[0])) * T::from_f64(SELU[1])
    }

    /// `ln(1 + e^(beta x)) / beta`, and `x` itself where `beta x` exceeds
    /// `threshold` (PyTorch's defaults: 1 and 20).
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([0.0, 50.0]).softplus(1.0, 20.0).to_vec(), [2f32.ln(), 50.0]);
    /// ```
    #[track_caller]
    pub fn softplus(self, beta: T, threshold: T) -> Self {
        if beta == T::ONE {
            return self.with(Function::Softplus, threshold);
        }
        (self * beta).with(Function::Softplus, threshold) / beta
    }
}

impl<T: Scalar> std::ops::Neg for Tensor<'_, T> {
    type Output = Self;

    #[track_caller]
    fn neg(self) -> Self {
        self.record(neg(self.id()))
    }
}
