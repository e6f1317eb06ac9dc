//! Elementwise expressions of users, each one op: one pass forward, one pass
//! back.

use std::panic::Location;

use smallvec::SmallVec;

use super::dual::Dual;
use super::term::{Element, Term};
use super::{Id, Inferred, Interpreter, List, Op, Ref, Values, broadcasting, view};
use crate::kernels::fused::{ALL, MAX_INPUTS, Pointwise, backward};
use crate::kernels::isa::Isa;
use crate::kernels::map::{Elementwise, map};
use crate::kernels::{Machine, Out, Value};
use crate::real::{Fma, Real};
use crate::recorded;
use crate::scalar::Scalar;
use crate::tape::Tape;
use crate::tensor::{Operand, Tensor};

/// An elementwise function of `N` tensors, as one expression: for
/// [`Tape::fused`]. [`fused!`](crate::fused) writes the implementation.
///
/// What the expression needs beside its inputs is in `self`.
///
/// ```
/// use wengert::{Element, Expression, Tape, Term};
/// /// x^n y
/// #[derive(Clone, Copy)]
/// struct Monomial(i32);
/// impl Expression<2> for Monomial {
///     fn name(&self) -> &'static str {
///         "monomial"
///     }
///     #[inline(always)]
///     fn eval<E: Element>(self, [x, y]: [Term<E>; 2]) -> Term<E> {
///         x.powi(self.0) * y
///     }
/// }
/// let tape = Tape::new();
/// let x = tape.tensor([2.0, 3.0]).require_grad();
/// let z = tape.fused(Monomial(3), [x, tape.scalar(0.5)]);
/// assert_eq!(z.to_vec(), [4.0, 13.5]);
/// assert_eq!(z.sum().backward().get(x).unwrap().as_slice(), &[6.0, 13.5]);
/// ```
pub trait Expression<const N: usize>: Copy + Send + 'static {
    /// What messages and dumps call it.
    fn name(&self) -> &'static str;

    /// The expression. It is compiled for numbers, for numbers with their
    /// derivatives, and for tensors (for derivatives of higher order): write
    /// `#[inline(always)]` before it, so that the first two become vector code.
    fn eval<E: Element>(self, inputs: [Term<E>; N]) -> Term<E>;
}

/// An elementwise expression over several tensors as one op: a function which
/// is computed in one pass, and whose derivatives to all inputs are computed in
/// one pass, from the same expression.
///
/// The function takes a tensor first, then operands (tensors, parameters,
/// numbers), which broadcast; up to eight in all. Constants of the program
/// (`Copy`) follow a semicolon. In the body the inputs are [`Term`]s.
///
/// ```
/// use wengert::{Params, Tape, fused};
///
/// fused! {
///     /// One step of Verlet's for a pendulum.
///     pub fn kick(v, x; dt: f64) {
///         let force = -x.sin();
///         v + dt * force
///     }
///
///     fn affine_gelu(x, a, b) {
///         (x * a + b).gelu_tanh()
///     }
/// }
///
/// let mut params = Params::new();
/// let (a, b) = (params.full("a", [3], 2.0), params.full("b", [3], -1.0));
/// let tape = Tape::new();
/// let x = tape.linspace(-1.0, 1.0, 6).reshape([2, 3]).require_grad();
///
/// let y = affine_gelu(x, &params[a], &params[b]);
/// let plain = (x * &params[a] + &params[b]).gelu_tanh();
/// assert_eq!(y.to_vec(), plain.to_vec());
///
/// let grads = kick(y, x, 0.1).sum().backward();
/// assert_eq!(grads.get(&params[a]).unwrap().shape(), &[3]);
/// ```
///
/// Values are those of the plain ops, and derivatives, up to the rounding of
/// products in another order. The recorded sweep ([`Tensor::grad`]) records the
/// expression by plain ops, so there are derivatives of any order.
///
/// A term is an element, and knows nothing of the others:
///
/// ```compile_fail
/// wengert::fused! {
///     fn mix(x, w) { x.matmul(w) }
/// }
/// ```
///
/// # Panics
/// The function panics if the shapes do not broadcast.
#[macro_export]
macro_rules! fused {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident($first:ident $(, $input:ident)* $(; $($constant:ident: $Constant:ty),+)? $(,)?) $body:block
    )*) => {$(
        $(#[$attribute])*
        #[track_caller]
        #[allow(clippy::too_many_arguments)]
        $visibility fn $name<'t, Float: $crate::Scalar>(
            $first: $crate::Tensor<'t, Float>,
            $($input: impl $crate::Operand<'t, Float>,)*
            $($($constant: $Constant,)+)?
        ) -> $crate::Tensor<'t, Float> {
            const INPUTS: usize = [stringify!($first) $(, stringify!($input))*].len();

            #[derive(Clone, Copy)]
            struct Fused {
                $($($constant: $Constant,)+)?
            }

            impl $crate::Expression<INPUTS> for Fused {
                fn name(&self) -> &'static str {
                    stringify!($name)
                }

                #[inline(always)]
                fn eval<E: $crate::Element>(
                    self,
                    [$first $(, $input)*]: [$crate::Term<E>; INPUTS],
                ) -> $crate::Term<E> {
                    $(let Fused { $($constant),+ } = self;)?
                    $body
                }
            }

            let tape = $first.tape();
            let inputs = [$first $(, $crate::Operand::tensor($input, tape))*];
            tape.fused(Fused { $($($constant),+)? }, inputs)
        }
    )*};
}

/// What the arena keeps of an op, beside what depends on the element type.
#[derive(Clone, Copy, Debug)]
struct Kept {
    name: &'static str,
    inputs: List<Id>,
    /// A [`Typed`] of the tape's element type.
    typed: *const (),
}

/// [`forward_of`] an expression.
type Forward<T> = unsafe fn(*const (), Isa, &[Value<'_, T>], Out<'_, T>);
/// [`backward_of`] an expression.
type Backward<T> = unsafe fn(*const (), Isa, &[Value<'_, T>], Value<'_, T>, &[Option<Out<'_, T>>]);
/// [`record_of`] an expression.
type Record<T> = for<'t> unsafe fn(*const (), &[Tensor<'t, T>]) -> Tensor<'t, T>;

/// An expression whose type is known to the functions beside it alone.
#[derive(Clone, Copy)]
struct Typed<T: Scalar> {
    op: *const (),
    forward: Forward<T>,
    backward: Backward<T>,
    record: Record<T>,
}

/// A fused expression.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fused {
    kept: Ref<Kept>,
}

impl Fused {
    fn kept(&self) -> &Kept {
        // SAFETY: kept for an op of this tape.
        unsafe { self.kept.get() }
    }

    /// # Safety
    /// `T` is the element type of the op's tape.
    unsafe fn typed<T: Scalar>(&self) -> Typed<T> {
        // SAFETY: `Tape::fused` put it there.
        unsafe { *self.kept().typed.cast() }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.kept().name
    }

    pub(crate) fn operands(&self) -> impl Iterator<Item = Id> + Clone {
        // SAFETY: a list of an op of this tape.
        unsafe { self.kept().inputs.get() }.iter().copied()
    }

    fn inputs<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> SmallVec<[Value<'a, T>; MAX_INPUTS]> {
        self.operands().map(|x| v.value(x)).collect()
    }

    #[track_caller]
    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        let inputs = self.inputs(v);
        let first = inputs[0].layout;
        if first.contiguous && inputs.iter().all(|x| std::ptr::eq(x.layout, first)) {
            return Inferred::Fresh(first);
        }
        broadcasting(v.layouts(), self.name(), &inputs)
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        // SAFETY: `T` is the tape's type; the rest is the caller's.
        unsafe {
            let Typed { op, forward, .. } = self.typed::<T>();
            forward(op, m.isa, &self.inputs(v), out);
        }
    }

    pub(crate) fn rule<E: Interpreter>(self, e: &mut E, _: Id, g: Id) {
        e.fused(self, g);
    }

    /// Adds the contributions of the cotangent `g` to the adjoints of the
    /// inputs which have a target.
    ///
    /// # Safety
    /// The contract of [`backward`]; the inputs are alive.
    pub(crate) unsafe fn backward<T: Scalar>(
        &self,
        isa: Isa,
        v: &impl Values<T>,
        g: Value<'_, T>,
        targets: &[Option<Out<'_, T>>],
    ) {
        // SAFETY: `T` is the tape's type; the rest is the caller's.
        unsafe {
            let Typed { op, backward, .. } = self.typed::<T>();
            backward(op, isa, &self.inputs(v), g, targets);
        }
    }

    /// Records the derivative on the tape: the expression by plain ops, and a
    /// sweep over them. `give` gets what flows to each wanted input.
    pub(crate) fn record<T: Scalar>(
        &self,
        tape: &Tape<T>,
        g: Id,
        wants: impl Fn(Id) -> bool,
        mut give: impl FnMut(Id, Id),
    ) {
        // What is wanted starts from entries of its own: one input may depend
        // on another.
        let start = |x: Id| {
            let x = Tensor::new(tape, x);
            if wants(x.id()) { x.record(view::same(x.id())) } else { x }
        };
        let starts: SmallVec<[_; MAX_INPUTS]> = self.operands().map(start).collect();
        // SAFETY: `T` is the tape's type, and `op` belongs to the function.
        let again = unsafe {
            let Typed { op, record, .. } = self.typed::<T>();
            record(op, &starts)
        };
        let g = Tensor::new(tape, g);
        // An input which the expression does not use may have more axes.
        let again = if again.shape() == g.shape() { again } else { again.broadcast_to(g.shape()) };
        let mut wanted = self.operands().zip(&starts).filter(|(x, _)| wants(*x));
        let Some(any) = wanted.clone().next().filter(|_| again.requires_grad()) else { return };
        let ids: [Id; MAX_INPUTS] = std::array::from_fn(|_| wanted.next().map_or(any.1.id(), |(_, start)| start.id()));
        let found = recorded::sweep(tape, again.id(), g.id(), ids);
        let wanted = self.operands().filter(|x| wants(*x));
        for (x, contribution) in wanted.zip(found) {
            if let Some(contribution) = contribution {
                give(x, contribution);
            }
        }
    }
}

/// An expression on numbers.
#[derive(Clone, Copy)]
struct OnNumbers<F>(F);

impl<T: Scalar, const N: usize, F: Expression<N>> Elementwise<T, N> for OnNumbers<F> {
    const FUSES: bool = true;

    #[inline(always)]
    fn at<const FMA: bool>(self, x: [T; N]) -> T {
        if FMA { self.0.eval(x.map(|x| Term(Fma(x)))).0.0 } else { self.0.eval(x.map(Term)).0 }
    }
}

impl<T: Scalar, const N: usize, F: Expression<N>> Pointwise<T, N> for OnNumbers<F> {
    #[inline(always)]
    fn products<const FMA: bool, const ONLY: usize>(self, x: [T; N], g: T) -> [T; N] {
        if FMA {
            products::<_, N, ONLY>(self.0, x.map(Fma), Fma(g)).map(|x| x.0)
        } else {
            products::<_, N, ONLY>(self.0, x, g)
        }
    }
}

/// [`Pointwise::products`]
#[inline(always)]
fn products<R: Real, const N: usize, const ONLY: usize>(f: impl Expression<N>, x: [R; N], g: R) -> [R; N] {
    let wanted = |i| ONLY == ALL || ONLY == i;
    let x = std::array::from_fn(|i| Term(if wanted(i) { Dual::input(x[i], i) } else { Dual::constant(x[i]) }));
    let y: Dual<R, N> = f.eval(x).0;
    std::array::from_fn(|i| y.slope(i).map_or(R::ZERO, |slope| g * slope))
}

/// # Safety
/// `op` is an `F`; there are `N` inputs, and the contract of [`map`].
unsafe fn forward_of<T: Scalar, const N: usize, F: Expression<N>>(
    op: *const (),
    isa: Isa,
    inputs: &[Value<'_, T>],
    out: Out<'_, T>,
) {
    // SAFETY: the caller's.
    unsafe { map(isa, std::array::from_fn::<_, N, _>(|i| inputs[i]), out, OnNumbers(*op.cast::<F>())) }
}

/// # Safety
/// `op` is an `F`; there are `N` inputs, and the contract of [`backward`].
unsafe fn backward_of<T: Scalar, const N: usize, F: Expression<N>>(
    op: *const (),
    isa: Isa,
    inputs: &[Value<'_, T>],
    g: Value<'_, T>,
    targets: &[Option<Out<'_, T>>],
) {
    let (inputs, targets) = (std::array::from_fn::<_, N, _>(|i| inputs[i]), std::array::from_fn(|i| targets[i]));
    // SAFETY: the caller's.
    unsafe { backward(isa, inputs, g, targets, OnNumbers(*op.cast::<F>())) }
}

/// # Safety
/// `op` is an `F`, and there are `N` inputs.
unsafe fn record_of<'t, T: Scalar, const N: usize, F: Expression<N>>(
    op: *const (),
    inputs: &[Tensor<'t, T>],
) -> Tensor<'t, T> {
    // SAFETY: the caller's.
    unsafe { *op.cast::<F>() }.eval(std::array::from_fn::<_, N, _>(|i| Term(inputs[i]))).0
}

impl<T: Scalar> Tape<T> {
    /// The result of an elementwise expression of one's own, as one op; see
    /// [`fused!`](crate::fused), which writes both the expression and the call.
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn fused<'t, const N: usize, F: Expression<N>>(&'t self, op: F, inputs: [Tensor<'t, T>; N]) -> Tensor<'t, T> {
        const { assert!(N > 0 && N <= MAX_INPUTS, "an expression has one to eight inputs") };
        let mut ids = [Id::entry(0); N];
        for (id, x) in ids.iter_mut().zip(inputs) {
            *id = Operand::tensor(x, self).id();
        }
        let arena = self.arena();
        let typed = arena.store(Typed {
            op: std::ptr::from_ref(arena.store(op)).cast(),
            forward: forward_of::<T, N, F>,
            backward: backward_of::<T, N, F>,
            record: record_of::<T, N, F>,
        });
        let (name, inputs) = (op.name(), List::new(arena.copy(&ids)));
        let kept = Kept { name, inputs, typed: std::ptr::from_ref(typed).cast() };
        let fused = Fused { kept: Ref::new(arena.store(kept)) };
        Tensor::new(self, self.record(Op::Fused(fused), Location::caller()))
    }
}
