//! What makes functions of one tensor from a table with a row for each: see
//! `functions.rs`, whose enum and imports these macros refer to.

use std::marker::PhantomData;

use super::functions::Function;
use crate::kernels::map::Elementwise;
use crate::real::{Fma, Real};
use crate::scalar::Scalar;

macro_rules! functions {
    ($($name:ident $text:literal $row:tt)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Function { $($name),* }

        use Function::*;

        impl Function {
            pub(super) fn name(self) -> &'static str {
                match self { $($name => $text),* }
            }

            pub(super) fn grad_name(self) -> &'static str {
                match self { $($name => concat!($text, "_grad")),* }
            }

            /// # Safety
            /// The contract of [`crate::kernels`].
            #[inline(always)]
            pub(super) unsafe fn value<T: Scalar>(self, m: &Machine<T>, x: Value<'_, T>, out: Out<'_, T>, p: f64) {
                // SAFETY: the caller's contract.
                unsafe { match self { $($name => map(m.isa, [x], out, Of::<rows::$name>::new(p))),* } }
            }

            /// The value at one number: the same bits.
            #[inline(always)]
            pub(super) fn value_at<T: Scalar>(self, isa: Isa, x: T, p: f64) -> T {
                match self { $($name => at(isa, [x], Of::<rows::$name>::new(p))),* }
            }

            #[inline(always)]
            pub(super) fn derivative(self, x: Id, y: Id, g: Id, p: f64) -> Derivative {
                match self { $($name => derivative!(x y g p $row)),* }
            }

            /// # Safety
            /// The contract of [`crate::kernels`].
            #[inline(always)]
            pub(super) unsafe fn slope<T: Scalar>(self, m: &Machine<T>, gt: [Value<'_, T>; 2], out: Out<'_, T>, p: f64) {
                // SAFETY: the caller's contract.
                unsafe { match self { $($name => map(m.isa, gt, out, Of::<rows::$name>::new(p))),* } }
            }

            /// The slope at one number: the same bits.
            #[inline(always)]
            pub(super) fn slope_at<T: Scalar>(self, isa: Isa, gt: [T; 2], p: f64) -> T {
                match self { $($name => at(isa, gt, Of::<rows::$name>::new(p))),* }
            }

            pub(super) fn curvature<E: Emit>(self, e: &mut E, t: Id, p: f64) -> Curvature {
                match self { $($name => curvature!(e t p $row)),* }
            }
        }

        /// The rows as types.
        #[allow(dead_code, reason = "some are not for users")]
        pub(crate) mod rows {
            use super::*;

            $(pub(crate) struct $name;

            impl Row for $name {
                const FUNCTION: Function = Function::$name;

                #[inline(always)]
                fn value<T: Real>(x: T, p: T) -> T {
                    value!(x p $row)
                }

                #[inline(always)]
                fn through<T: Real>(g: T, t: T, p: T) -> T {
                    let _ = (g, t, p);
                    through!(g t p $row)
                }

                #[inline(always)]
                fn slope<T: Real>(x: T, y: T, p: T) -> Option<T> {
                    let _ = (x, y);
                    slope!($name x y p $row)
                }
            })*
        }
    };
}

/// A function of the table for one number, as a type: so that an expression
/// compiles only those which it has.
pub(crate) trait Row {
    const FUNCTION: Function;
    fn value<T: Real>(x: T, p: T) -> T;
    /// The cotangent `g` through it, of what its row names.
    fn through<T: Real>(_g: T, _t: T, _p: T) -> T {
        unreachable!("its derivative is another op")
    }
    /// The derivative at `x`, where the value is `y`; none if it is constant in
    /// pieces.
    fn slope<T: Real>(x: T, y: T, p: T) -> Option<T>;
}

/// A row with its constant: the value, of one number; the cotangent through it,
/// of two.
pub(super) struct Of<F>(f64, PhantomData<F>);

impl<F> Of<F> {
    #[inline(always)]
    pub(super) fn new(p: f64) -> Self {
        Of(p, PhantomData)
    }
}

impl<F> Clone for Of<F> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Of<F> {}

impl<T: Scalar, F: Row> Elementwise<T, 1> for Of<F> {
    const FUSES: bool = F::FUNCTION.fuses()[0];
    const IN_PLACE: bool = F::FUNCTION.works_in_place();

    #[inline(always)]
    fn at<const FMA: bool>(self, [x]: [T; 1]) -> T {
        if FMA { F::value(Fma(x), Fma::from_f64(self.0)).0 } else { F::value(x, T::from_f64(self.0)) }
    }
}

impl<T: Scalar, F: Row> Elementwise<T, 2> for Of<F> {
    const FUSES: bool = F::FUNCTION.fuses()[1];
    const IN_PLACE: bool = true;

    #[inline(always)]
    fn at<const FMA: bool>(self, [g, t]: [T; 2]) -> T {
        if FMA { F::through(Fma(g), Fma(t), Fma::from_f64(self.0)).0 } else { F::through(g, t, T::from_f64(self.0)) }
    }
}

macro_rules! slope {
    ($name:ident $xx:ident $yy:ident $consts:ident { $_v:expr; op $($rest:tt)* }) => {
        op_slope(Function::$name, $xx, $consts)
    };
    ($name:ident $xx:ident $yy:ident $consts:ident { $value:expr; from x $($rest:tt)* }) => {
        Some(Self::through(T::ONE, $xx, $consts))
    };
    ($name:ident $xx:ident $yy:ident $consts:ident { $value:expr; from y $($rest:tt)* }) => {
        Some(Self::through(T::ONE, $yy, $consts))
    };
}

macro_rules! value {
    ($xx:ident $consts:ident { |$x:ident, $p:ident| $value:expr; $($rest:tt)* }) => {{
        let ($x, $p) = ($xx, $consts);
        let _ = ($x, $p);
        $value
    }};
}

macro_rules! derivative {
    ($xx:ident $yy:ident $gg:ident $consts:ident { $_v:expr; op |$g:ident, $x:ident, $y:ident, $p:ident| $op:expr; }) => {{
        let ($g, $x, $y, $p) = ($gg, $xx, $yy, $consts);
        let _ = ($x, $y, $p);
        Derivative::Op($op)
    }};
    ($xx:ident $yy:ident $gg:ident $consts:ident { $_v:expr; from x $($rest:tt)* }) => {
        Derivative::From($xx)
    };
    ($xx:ident $yy:ident $gg:ident $consts:ident { $_v:expr; from y $($rest:tt)* }) => {
        Derivative::From($yy)
    };
}

macro_rules! through {
    ($gg:ident $tt:ident $consts:ident
        { $_v:expr; from $_t:ident |$g:ident, $t:ident, $p:ident| $slope:expr; $($rest:tt)* }) => {{
        let ($g, $t, $p) = ($gg, $tt, $consts);
        let _ = $p;
        $slope
    }};
    ($gg:ident $tt:ident $consts:ident { $($rest:tt)* }) => {
        unreachable!("its derivative is another op")
    };
}

macro_rules! curvature {
    ($ee:ident $tt:ident $consts:ident
        { $_v:expr; from $_t:ident $_s:expr; curvature |$e:ident, $t:ident, $p:ident| $curvature:expr; }) => {{
        let ($e, $t, $p) = ($ee, $tt, $consts);
        let _ = (&mut *$e, $t, $p);
        $curvature
    }};
    ($ee:ident $tt:ident $consts:ident { $($rest:tt)* }) => {
        unreachable!("its derivative is another op")
    };
}

pub(super) use {curvature, derivative, functions, slope, through, value};
