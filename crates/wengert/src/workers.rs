//! Data parallelism: the shards of a batch on several threads.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::gradients::Gradients;
use crate::scalar::Scalar;
use crate::tape::Tape;
use crate::threads::Threads;

/// Backward sweeps over the shards of a batch, on several [`Threads`].
///
/// Each shard has a tape and gradients of its own, which are kept from step to
/// step, or shares them with [others](Self::shards_per_tape) which come before
/// and after it; the parameters are shared. The gradients are added up in the
/// order of the shards, so that the result depends on how the batch was cut,
/// but neither on the number of threads nor on their timing. From the third
/// step on nothing is allocated on any thread, if the shards repeat their
/// shapes.
///
/// The loop is that of one thread, with the turn in a closure:
///
/// ```
/// use wengert::{Gradients, Params, Threads, Workers};
///
/// let mut params = Params::new();
/// let w = params.zeros("w", [2, 1]);
/// // y = 3 x0 - x1, in two shards
/// let x = [[0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0]];
/// let y = [[0.0, 3.0], [-1.0, 2.0]];
///
/// let threads = Threads::new(2);
/// let mut workers = Workers::new(&threads);
/// let mut grads = Gradients::new();
/// let mut loss = f32::INFINITY;
/// for _ in 0..200 {
///     grads.zero();
///     loss = workers.backward(2, &mut grads, |shard, tape, grads| {
///         let out = tape.input([2, 2], &x[shard]).matmul(&params[w]);
///         // Each is the mean of a half.
///         let loss = out.mse_loss(tape.input([2, 1], &y[shard])) * 0.5;
///         loss.backward_into(grads);
///         loss.item()
///     });
///     let slab = grads.slab(&params).unwrap();
///     params.values_mut().iter_mut().zip(slab).for_each(|(w, g)| *w -= 0.3 * g);
/// }
/// assert!(loss < 1e-6);
/// assert!((params[w].as_slice()[0] - 3.0).abs() < 1e-3);
/// ```
pub struct Workers<T: Scalar = f32> {
    threads: Threads,
    /// What shards work with. Locked by its task alone, but who does that is
    /// not known beforehand.
    lanes: Vec<Mutex<Lane<T>>>,
    /// How many shards follow one another in a lane.
    shards_per_lane: usize,
}

struct Lane<T: Scalar> {
    tape: Tape<T>,
    /// In the first lane, the caller's while it works.
    grads: Gradients<T>,
    value: T,
}

impl Workers<f32> {
    /// Workers with tapes of `f32`.
    pub fn new(threads: &Threads) -> Self {
        Self::with_threads(threads)
    }
}

impl Workers<f64> {
    /// Workers with tapes of `f64`.
    pub fn new_f64(threads: &Threads) -> Self {
        Self::with_threads(threads)
    }
}

impl<T: Scalar> Workers<T> {
    /// Workers with tapes of any element type.
    pub fn with_threads(threads: &Threads) -> Self {
        Workers { threads: threads.clone(), lanes: Vec::new(), shards_per_lane: 1 }
    }

    /// Lets each tape serve `shards` of them, one after another (1 unless
    /// said): micro-batches.
    ///
    /// What is recorded is kept until the sweep has come back to it. If a
    /// shard is small enough for that to stay in a cache, a step is faster,
    /// on one thread too; and it takes memory for fewer shards at a time.
    ///
    /// ```
    /// # use wengert::{Gradients, Params, Threads, Workers};
    /// let mut params = Params::new();
    /// let w = params.full("w", [1], 1.0);
    ///
    /// // Six shards on two tapes.
    /// let mut workers = Workers::new(&Threads::new(2)).shards_per_tape(3);
    /// let mut grads = Gradients::new();
    /// let sum = workers.backward(6, &mut grads, |shard, tape, grads| {
    ///     let loss = tape.param(&params[w]) * shard as f32;
    ///     loss.backward_into(grads);
    ///     loss.item()
    /// });
    /// assert_eq!(sum, 15.0);
    /// assert_eq!(grads.get(&params[w]).unwrap().as_slice(), [15.0]);
    /// ```
    ///
    /// # Panics
    /// If `shards` is 0.
    pub fn shards_per_tape(self, shards: usize) -> Self {
        assert!(shards > 0, "shards_per_tape: a tape which serves no shard");
        Workers { shards_per_lane: shards, ..self }
    }

    /// Calls `turn` for every shard, with its number, an empty tape, and
    /// gradients to sweep into; returns the sum of what it returns.
    ///
    /// The gradients of all shards are added to `grads`: those of parameters
    /// only, as the tensors of a shard cannot leave it. They add up like
    /// micro-batches: for the mean over a batch, scale the loss of each shard
    /// by its part of it.
    ///
    /// # Panics
    /// If `turn` panics: with what it panicked with for the first shard for
    /// which it did. As after a sweep which panicked, `grads` then has nothing,
    /// and everything can be used on.
    pub fn backward<F>(&mut self, shards: usize, grads: &mut Gradients<T>, turn: F) -> T
    where
        F: Fn(usize, &Tape<T>, &mut Gradients<T>) -> T + Sync,
    {
        let each = self.shards_per_lane;
        let count = shards.div_ceil(each);
        if self.lanes.len() < count {
            self.lanes.resize_with(count, Mutex::default);
        }
        self.change_first(grads);
        let lanes = &self.lanes;
        let run = || {
            self.threads.for_each(count, |i| {
                let Lane { tape, grads, value } = &mut *lock(&lanes[i]);
                if i > 0 {
                    grads.zero();
                }
                *value = T::ZERO;
                for shard in (i * each..shards).take(each) {
                    tape.rewind();
                    *value += turn(shard, tape, grads);
                }
            });
        };
        let result = catch_unwind(AssertUnwindSafe(run));
        self.change_first(grads);
        if let Err(payload) = result {
            grads.zero();
            resume_unwind(payload);
        }
        let mut sum = T::ZERO;
        for (i, lane) in self.lanes.iter_mut().take(count).enumerate() {
            let lane = inner(lane);
            sum += lane.value;
            if i > 0 {
                grads.add_by(&lane.grads, &self.threads);
            }
        }
        grads.forget_leaves();
        sum
    }

    /// Gives the first lane the caller's gradients to work with, or takes them
    /// back: its sweeps add to what is there.
    fn change_first(&mut self, grads: &mut Gradients<T>) {
        if let Some(first) = self.lanes.first_mut() {
            std::mem::swap(&mut inner(first).grads, grads);
        }
    }
}

impl<T: Scalar> Default for Lane<T> {
    fn default() -> Self {
        Lane { tape: Tape::default(), grads: Gradients::new(), value: T::ZERO }
    }
}

// A shard which panicked leaves a tape and gradients which can be used on.

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn inner<T>(mutex: &mut Mutex<T>) -> &mut T {
    mutex.get_mut().unwrap_or_else(PoisonError::into_inner)
}
