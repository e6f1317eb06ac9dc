//! Running a list again, on other values.

use std::marker::PhantomData;
use std::panic::Location;

use super::{Tables, Tape};
use crate::entries::Origin;
use crate::kernels::Out;
use crate::ops::{Id, Op};
use crate::params::Params;
use crate::scalar::Scalar;
use crate::tensor::Tensor;

/// The place of a tensor on its tape's list, which outlives the borrow of the
/// tape: the name of an input or a result for [`Tape::replay`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    tape: u64,
    epoch: u64,
    id: Id,
}

/// A tape whose list has just been run again: see [`Tape::replay`].
pub struct Replay<'t, T: Scalar = f32> {
    tape: &'t Tape<T>,
    /// Entries point into them.
    params: PhantomData<&'t Params<T>>,
}

impl<'t, T: Scalar> Tensor<'t, T> {
    /// Its place on the list, for [`Tape::replay`].
    #[must_use]
    pub fn slot(self) -> Slot {
        Slot { tape: self.tape().id(), epoch: self.tape().epoch(), id: self.id() }
    }
}

impl<'t, T: Scalar> Replay<'t, T> {
    /// The tensor at a slot, to read, to differentiate, or to build on.
    ///
    /// What is recorded now is on the list from now on: the next replay runs
    /// it too.
    ///
    /// # Panics
    /// If the slot was taken on another tape, or before a rewind.
    #[track_caller]
    pub fn tensor(&self, slot: Slot) -> Tensor<'t, T> {
        self.tape.check_slot(slot);
        Tensor::new(self.tape, slot.id)
    }
}

impl<T: Scalar> Tape<T> {
    /// Runs every operation on the list again, in order and in the same
    /// memory, after some inputs were given new values. Parameters are read as
    /// they are now. The bits are those of recording it all afresh; what is
    /// saved is the recording, which for small tensors is a quarter of a training
    /// step.
    ///
    /// All else stays as it was recorded: shapes, constants (`x * 2.0`), indices
    /// and labels, random numbers which were drawn, branches which the program
    /// took, and whatever it computed from values it read back. Where these
    /// change, record afresh.
    ///
    /// ```
    /// use wengert::{Gradients, Params, Tape};
    /// let mut params = Params::new();
    /// let w = params.full("w", [2, 1], 0.0);
    /// let (mut tape, mut grads) = (Tape::new(), Gradients::new());
    ///
    /// // Recorded once, and here run for the first time.
    /// let (x, y, loss) = {
    ///     let (x, y) = (tape.zeros([1, 2]), tape.zeros([1, 1]));
    ///     (x.slot(), y.slot(), x.matmul(&params[w]).mse_loss(y).slot())
    /// };
    /// for step in 0..200 {
    ///     let (a, b) = ((step % 3) as f32, (step % 2) as f32);
    ///     let replay = tape.replay(&params, &[(x, &[a, b]), (y, &[3.0 * a - b])]);
    ///     grads.zero();
    ///     replay.tensor(loss).backward_into(&mut grads);
    ///     let gradient = grads.slab(&params).unwrap();
    ///     params.values_mut().iter_mut().zip(gradient).for_each(|(w, g)| *w -= 0.1 * g);
    /// }
    /// assert!((params[w].as_slice()[0] - 3.0).abs() < 1e-2);
    /// ```
    ///
    /// Without parameters: `tape.replay(None, ..)`.
    ///
    /// # Panics
    /// * If a slot was taken on another tape or before a rewind, is that of
    ///   anything but an input which came from the host, or gets another number
    ///   of values than it has elements.
    /// * If `params` are not those which were recorded, or some have been added
    ///   since.
    /// * If there is something on the list which cannot be run again: what was
    ///   computed under [`Tape::no_grad`], an op of [`Tape::custom`] or
    ///   [`Tape::checkpoint`], extremes by their positions.
    #[track_caller]
    pub fn replay<'t>(
        &'t mut self,
        params: impl Into<Option<&'t Params<T>>>,
        inputs: &[(Slot, &[T])],
    ) -> Replay<'t, T> {
        if let Some((what, location)) = self.obstacle.get() {
            panic!("replay: {what} cannot be run again ({location})");
        }
        let params = params.into();
        let fits = self.tables.get_mut().are_those_of(params, self.epoch);
        assert!(fits, "replay: other parameters than those which were recorded, or some were added since");
        for &(slot, values) in inputs {
            self.set_input(slot, values);
        }
        T::replay(self);
        Replay { tape: self, params: PhantomData }
    }

    #[track_caller]
    fn check_slot(&self, slot: Slot) {
        let mine = (slot.tape, slot.epoch) == (self.id, self.epoch);
        assert!(mine, "replay: a slot of another tape, or from before a rewind");
    }

    #[track_caller]
    fn set_input(&mut self, slot: Slot, values: &[T]) {
        self.check_slot(slot);
        let entry = self.entry(slot.id);
        let layout = self.layout(&entry);
        let input = entry.origin == Origin::Host;
        assert!(input, "replay: {} ({}) is no input from the host", entry.op.name(), entry.location);
        let (expected, got) = (layout.len, values.len());
        assert!(expected == got, "replay: an input of shape {:?} takes {expected} values, got {got}", layout.dims);
        // SAFETY: memory of the arena with so many elements, which is contiguous;
        // the tape is borrowed mutably, so nobody looks.
        unsafe { entry.data.cast_mut().copy_from_nonoverlapping(values.as_ptr(), got) }
    }

    /// [`Tape::replay`], with its inputs set.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn run_again(&self) {
        let check = self.check_finite.get();
        // SAFETY: to run ops records nothing.
        for entry in unsafe { self.entries() } {
            if entry.origin != Origin::Computed {
                continue;
            }
            let data = entry.data.cast_mut();
            // SAFETY: operands are entries whose values are alive: those of the
            // arena until the rewind, those of parameters by the check of
            // `replay`. The entry's own memory was made for its layout, and is
            // read by no one, since the tape is borrowed mutably.
            unsafe {
                match &entry.op {
                    Op::Unary(op) if entry.single => data.write(op.at(self.machine.isa, *self.entry(op.x).data)),
                    Op::Binary(op) if entry.single => {
                        data.write(op.at(self.machine.isa, *self.entry(op.a).data, *self.entry(op.b).data));
                    }
                    op => {
                        let layout = self.layout(entry);
                        op.run(self, Out { data, dims: layout.dims, len: layout.len, add: false }, &self.machine);
                    }
                }
            }
            if check {
                self.check_finite(*entry);
            }
        }
    }

    /// Notes down that something cannot be run again, if it is the first.
    pub(crate) fn obstruct(&self, what: &'static str, location: &'static Location<'static>) {
        self.obstacle.set(self.obstacle.get().or(Some((what, location))));
    }
}

impl Tables {
    /// Whether all parameters on the list of this turn are these, and lie where
    /// they lay: a store moves when it grows.
    fn are_those_of<T: Scalar>(&self, params: Option<&Params<T>>, epoch: u64) -> bool {
        let store = params.map(|p| (p.id(), p.values().len()));
        !self.grown && self.tables.iter().filter(|t| t.epoch == epoch).all(|t| Some((t.store.0, t.total)) == store)
    }
}
