//! Ops of users: a value and a derivative which they write themselves.

use smallvec::SmallVec;

use super::{Id, Inferred, Interpreter, List, Op, Ref, Values};
use crate::kernels::{Machine, Out};
use crate::scalar::Scalar;
use crate::tape::Tape;
use crate::tensor::{Operand, Tensor};

/// An op of one's own, for [`Tape::custom`].
///
/// What it needs later is in `self`: it is `Copy`, so that the tape can keep
/// it among its entries, and forget it at no cost.
///
/// ```
/// use wengert::{CustomOp, Tape, Tensor};
/// /// x³, from slices; its derivative from tensors, so that there is a second.
/// #[derive(Clone, Copy)]
/// struct Cube;
/// impl CustomOp<f64> for Cube {
///     fn name(&self) -> &'static str {
///         "cube"
///     }
///     fn forward<'t>(&self, tape: &'t Tape<f64>, x: &[Tensor<'t, f64>]) -> Tensor<'t, f64> {
///         let values = x[0].as_slice();
///         tape.from_fn(x[0].shape(), |i| values[i] * values[i] * values[i])
///     }
///     fn backward<'t>(
///         &self,
///         x: &[Tensor<'t, f64>],
///         _y: Tensor<'t, f64>,
///         cotangent: Tensor<'t, f64>,
///         give: &mut dyn FnMut(usize, Tensor<'t, f64>),
///     ) {
///         give(0, cotangent * x[0].square() * 3.0);
///     }
/// }
/// let tape = Tape::new_f64();
/// let x = tape.tensor([2.0]).require_grad();
/// let y = tape.custom(Cube, [x]).sum();
/// assert_eq!(y.backward().get(x).unwrap().as_slice(), &[12.0]);
/// assert_eq!(y.hessian(x).to_vec(), [12.0]);
/// ```
pub trait CustomOp<T: Scalar>: Copy + Send + 'static {
    /// What messages and dumps call it.
    fn name(&self) -> &'static str;

    /// The value. It runs without recording; inputs are row-major, so
    /// [`Tensor::as_slice`] works on them.
    fn forward<'t>(&self, tape: &'t Tape<T>, inputs: &[Tensor<'t, T>]) -> Tensor<'t, T>;

    /// Gives each input `i` its cotangent, of its shape, by `give(i, ..)`: at
    /// most once, and not at all if nothing flows to it.
    ///
    /// In a plain sweep it runs without recording, on a tape of its own with
    /// copies of all it gets; in a recorded one what it does is recorded, and
    /// is differentiable if it is made of tensors.
    fn backward<'t>(
        &self,
        inputs: &[Tensor<'t, T>],
        output: Tensor<'t, T>,
        cotangent: Tensor<'t, T>,
        give: &mut dyn FnMut(usize, Tensor<'t, T>),
    );
}

/// Calls the `backward` of a [`CustomOp`] whose type is known to it alone.
type Backward<T> =
    for<'t> fn(*const (), &[Tensor<'t, T>], Tensor<'t, T>, Tensor<'t, T>, &mut dyn FnMut(usize, Tensor<'t, T>));

/// What the arena keeps of an op, beside what depends on the element type.
#[derive(Clone, Copy, Debug)]
struct Kept {
    name: &'static str,
    inputs: List<Id>,
    /// A [`Typed`] of the tape's element type.
    typed: *const (),
}

#[derive(Clone, Copy)]
struct Typed<T: Scalar> {
    op: *const (),
    backward: Backward<T>,
}

/// An op of a user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Custom {
    kept: Ref<Kept>,
}

impl Custom {
    fn kept(&self) -> &Kept {
        // SAFETY: kept for an op of this tape.
        unsafe { self.kept.get() }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.kept().name
    }

    pub(crate) fn operands(&self) -> impl Iterator<Item = Id> {
        // SAFETY: a list of an op of this tape.
        unsafe { self.kept().inputs.get() }.iter().copied()
    }

    pub(crate) fn infer<'a, T: Scalar>(&self, _: &'a impl Values<T>) -> Inferred<'a> {
        unreachable!("its value is there when it is recorded")
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, _: &impl Values<T>, _: Out<'_, T>, _: &Machine<T>) {
        unreachable!("its value is there when it is recorded")
    }

    pub(crate) fn rule<E: Interpreter>(self, e: &mut E, y: Id, g: Id) {
        e.custom(self, y, g);
    }

    /// Calls the user's code with the inputs and the output of its choice: the
    /// op's own, or copies. `give` gets the input's entry.
    #[track_caller]
    pub(crate) fn backward<'t, T: Scalar>(
        self,
        inputs: &[Tensor<'t, T>],
        output: Tensor<'t, T>,
        cotangent: Tensor<'t, T>,
        mut give: impl FnMut(Id, Tensor<'t, T>),
    ) {
        // SAFETY: both were made by `custom` on the tape on whose list the op
        // stands, whose element type is `T`, in this epoch.
        let (ids, typed) = unsafe { (self.kept().inputs.get(), *self.kept().typed.cast::<Typed<T>>()) };
        (typed.backward)(typed.op, inputs, output, cotangent, &mut |i, contribution| {
            let contribution = inputs[i].operand(contribution);
            let (got, shape) = (contribution.shape(), inputs[i].shape());
            assert!(got == shape, "{}: a cotangent of shape {got:?} for input {i} of {shape:?}", self.name());
            give(ids[i], contribution);
        });
    }
}

fn backward<'t, T: Scalar, C: CustomOp<T>>(
    op: *const (),
    inputs: &[Tensor<'t, T>],
    output: Tensor<'t, T>,
    cotangent: Tensor<'t, T>,
    give: &mut dyn FnMut(usize, Tensor<'t, T>),
) {
    // SAFETY: `op` was stored as a `C` beside this function.
    unsafe { &*op.cast::<C>() }.backward(inputs, output, cotangent, give);
}

impl<T: Scalar> Tape<T> {
    /// The result of an op of one's own; see [`CustomOp`].
    ///
    /// # Panics
    /// What the op's code panics with; the tape stays usable.
    #[track_caller]
    pub fn custom<'t, C: CustomOp<T>>(&'t self, op: C, inputs: impl AsRef<[Tensor<'t, T>]>) -> Tensor<'t, T> {
        let mut list: SmallVec<[Tensor<'t, T>; 8]> = SmallVec::new();
        for x in inputs.as_ref() {
            list.push(Operand::tensor(*x, self).contiguous());
        }
        let value = self.no_grad(|| op.forward(self, &list)).contiguous();
        let value = Operand::tensor(value, self);
        let arena = self.arena();
        let typed = arena.store(Typed { op: std::ptr::from_ref(arena.store(op)).cast(), backward: backward::<T, C> });
        let ids: SmallVec<[Id; 8]> = list.iter().map(|x| x.id()).collect();
        let (inputs, typed) = (List::new(arena.copy(&ids)), std::ptr::from_ref(typed).cast());
        let custom = Custom { kept: Ref::new(arena.store(Kept { name: op.name(), inputs, typed })) };
        let tracked = list.iter().any(|x| x.requires_grad());
        Tensor::new(self, self.append_value(Op::Custom(custom), value.id(), tracked, std::panic::Location::caller()))
    }
}

/// An identity whose cotangent passes through a function.
struct Hook<F>(F);

impl<F: Copy> Clone for Hook<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Copy> Copy for Hook<F> {}

impl<T: Scalar, F> CustomOp<T> for Hook<F>
where
    F: for<'t> Fn(Tensor<'t, T>) -> Tensor<'t, T> + Copy + Send + 'static,
{
    fn name(&self) -> &'static str {
        "hook"
    }

    fn forward<'t>(&self, _: &'t Tape<T>, inputs: &[Tensor<'t, T>]) -> Tensor<'t, T> {
        inputs[0]
    }

    fn backward<'t>(
        &self,
        _: &[Tensor<'t, T>],
        _: Tensor<'t, T>,
        cotangent: Tensor<'t, T>,
        give: &mut dyn FnMut(usize, Tensor<'t, T>),
    ) {
        give(0, (self.0)(cotangent));
    }
}

/// A block which is computed again in the backward sweep.
struct Checkpoint<F>(F);

impl<F: Copy> Clone for Checkpoint<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Copy> Copy for Checkpoint<F> {}

impl<T: Scalar, F> CustomOp<T> for Checkpoint<F>
where
    F: for<'c> Fn(&'c Tape<T>, &[Tensor<'c, T>]) -> Tensor<'c, T> + Copy + Send + 'static,
{
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn forward<'t>(&self, tape: &'t Tape<T>, inputs: &[Tensor<'t, T>]) -> Tensor<'t, T> {
        tape.evaluate(|scope| {
            let inputs: SmallVec<[_; 8]> = inputs.iter().map(|&x| scope.constant(x)).collect();
            tape.constant((self.0)(scope, &inputs))
        })
    }

    fn backward<'t>(
        &self,
        inputs: &[Tensor<'t, T>],
        output: Tensor<'t, T>,
        cotangent: Tensor<'t, T>,
        give: &mut dyn FnMut(usize, Tensor<'t, T>),
    ) {
        let tape = output.tape();
        if tape.is_recording() {
            // Derivatives of derivatives need the block on this tape. What it
            // starts from are entries of its own: one input may depend on
            // another.
            let starts: SmallVec<[_; 8]> = inputs.iter().map(|&x| x.record(super::view::same(x.id()))).collect();
            let again = (self.0)(tape, &starts);
            for (i, &x) in starts.iter().enumerate().filter(|(_, x)| again.requires_grad() && x.requires_grad()) {
                let [g] = again.vjp(cotangent, [x]);
                // Zeros, where the block does not lead from it to its result.
                if g.requires_grad() || !cotangent.requires_grad() {
                    give(i, g);
                }
            }
            return;
        }
        let mut found: SmallVec<[Option<Tensor<'t, T>>; 8]> = SmallVec::new();
        tape.recompute(|scope, grads| {
            let lift = |&x: &Tensor<'t, T>| {
                let copy = scope.constant(x);
                if x.requires_grad() { copy.require_grad() } else { copy }
            };
            let copies: SmallVec<[_; 8]> = inputs.iter().map(lift).collect();
            let again = (self.0)(scope, &copies);
            if !again.requires_grad() {
                return;
            }
            again.backward_with_into(scope.constant(cotangent), grads);
            let gradient = |x: &Tensor<'_, T>| {
                let g = if x.requires_grad() { grads.get(*x) } else { None };
                g.map(|g| tape.input(g.shape(), g.as_slice()))
            };
            found.extend(copies.iter().map(gradient));
        });
        for (i, g) in found.into_iter().enumerate() {
            if let Some(g) = g {
                give(i, g);
            }
        }
    }
}

impl<'t, T: Scalar> Tensor<'t, T> {
    /// This tensor, its cotangent replaced by a function of it on the way
    /// back: to clip it, to scale it, to look at it. In a recorded sweep the
    /// function is differentiated too.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.tensor([1.0, 2.0]).require_grad();
    /// let y = x.on_backward(|g| g.clamp(-1.0, 1.0)) * tape.tensor([0.5, 9.0]);
    /// assert_eq!(y.sum().backward().get(x).unwrap().as_slice(), &[0.5, 1.0]);
    /// ```
    #[doc(alias = "register_hook")]
    #[track_caller]
    pub fn on_backward<F>(self, f: F) -> Self
    where
        F: for<'a> Fn(Tensor<'a, T>) -> Tensor<'a, T> + Copy + Send + 'static,
    {
        self.tape().custom(Hook(f), [self])
    }
}

impl<T: Scalar> Tape<T> {
    /// A block of which only the result is kept: the backward sweep computes
    /// it again, on a tape of its own, so that its intermediate values do not
    /// last (Griewank and Walther, ACM TOMS 26, 2000). Time for memory.
    ///
    /// All it depends on goes in as inputs, parameters too
    /// ([`Tape::param`]); the closure is `Copy`, which numbers, `Param`s and
    /// layers are. It may run any number of times and must do the same each
    /// time. A recorded sweep records the block on this tape.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.tensor([0.5, 1.0]).require_grad();
    /// let y = tape.checkpoint([x], |_, x| x[0].tanh().exp().sin());
    /// let z = x.tanh().exp().sin();
    /// let (a, b) = (y.sum().backward(), z.sum().backward());
    /// assert_eq!(a.get(x).unwrap().as_slice(), b.get(x).unwrap().as_slice());
    /// ```
    #[track_caller]
    pub fn checkpoint<'t, F>(&'t self, inputs: impl AsRef<[Tensor<'t, T>]>, block: F) -> Tensor<'t, T>
    where
        F: for<'c> Fn(&'c Tape<T>, &[Tensor<'c, T>]) -> Tensor<'c, T> + Copy + Send + 'static,
    {
        self.custom(Checkpoint(block), inputs)
    }
}
