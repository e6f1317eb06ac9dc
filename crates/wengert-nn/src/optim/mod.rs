//! Optimizers on the flat slab of parameters.

/// Defines a loop over slices which is compiled for every instruction set: a
/// function over slices of its own, so that the compiler knows that they do
/// not overlap.
macro_rules! vectorized {
    ($(#[$meta:meta])* fn $name:ident<'a, T>($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        fn $name<'a, T: Scalar>($($arg: $ty),*) {
            struct Loop<'a, T> {
                $($arg: $ty),*
            }

            #[inline(always)]
            fn body<'a, T: Scalar>($($arg: $ty),*) $body

            impl<T: Scalar> wengert::Vectorize for Loop<'_, T> {
                type Output = ();

                #[inline(always)]
                fn run(self) {
                    body($(self.$arg),*);
                }
            }

            wengert::vectorize(Loop { $($arg),* });
        }
    };
}

mod adam;
mod sgd;

use std::ops::Range;

use wengert::{Gradients, Params, Scalar};

pub use adam::{Adam, AdamW};
pub use sgd::Sgd;

/// Something which moves parameters along their gradients.
///
/// A parameter to which no gradient flowed since [`Gradients::zero`] is left
/// alone: neither its value nor the optimizer's state for it changes, and its
/// own count of steps does not advance. That is PyTorch's behaviour where
/// `.grad` is `None`. Nothing is allocated after the first step.
///
/// An optimizer belongs to the first store it steps.
///
/// ```
/// use wengert::{Params, Tape};
/// use wengert_nn::{Adam, Optimizer, Sgd};
///
/// let mut params = Params::new();
/// let w = params.full("w", [], 3.0);
/// let optimizers: [Box<dyn Optimizer>; 2] = [Box::new(Sgd::new(0.1)), Box::new(Adam::new(0.1))];
/// for mut opt in optimizers {
///     let tape = Tape::new();
///     let grads = tape.param(&params[w]).square().backward();
///     let before = params[w].as_slice()[0];
///     opt.step(&mut params, &grads);
///     assert!(params[w].as_slice()[0] < before);
/// }
/// ```
pub trait Optimizer<T: Scalar = f32> {
    /// One update of every parameter which has a gradient.
    ///
    /// # Panics
    /// If the state belongs to another store, or if `grads` were left by a
    /// backward sweep which panicked.
    fn step(&mut self, params: &mut Params<T>, grads: &Gradients<T>);

    /// The learning rate.
    fn lr(&self) -> f64;

    /// Sets the learning rate of the steps to come.
    ///
    /// # Panics
    /// If it is negative or not finite.
    fn set_lr(&mut self, lr: f64);
}

/// Neighbouring parameters which have a gradient and have had as many before.
#[derive(Clone, Debug, PartialEq)]
struct Run {
    /// Where they lie in the slab.
    range: Range<usize>,
    /// Which step of theirs this is, counted from 1.
    step: u64,
}

/// Elements which one thread steps at a time: enough to be worth taking.
const CHUNK: usize = 1 << 13;

/// What every optimizer keeps: which store it belongs to, and how many steps
/// each parameter has made.
#[derive(Clone, Debug, Default)]
struct Progress {
    store: Option<u64>,
    steps: Vec<u64>,
    /// The runs of the step under way; kept for its memory.
    runs: Vec<Run>,
}

impl Progress {
    /// Counts a step for every parameter which has a gradient. Returns their
    /// runs, and the slab of gradients.
    #[track_caller]
    fn advance<'a, T: Scalar>(&'a mut self, params: &Params<T>, grads: &'a Gradients<T>) -> (&'a [Run], &'a [T]) {
        let store = *self.store.get_or_insert(params.id());
        assert!(
            store == params.id(),
            "step: this optimizer's state belongs to another store of parameters: \
             use one optimizer for each store (a clone is a store of its own)"
        );
        self.runs.clear();
        let Some(slab) = grads.slab(params) else {
            let none = grads.runs(params).next().is_none();
            assert!(none, "step: the gradients are those of an unfinished backward sweep: zero them first");
            return (&[], &[]);
        };
        // So many runs there can be at most: no later step allocates.
        self.runs.reserve(params.len());
        self.steps.resize(params.len(), 0);
        let mut flowed = grads.runs(params);
        let mut live = flowed.next();
        for (param, cell) in params.iter().filter(|(_, cell)| !cell.is_empty()) {
            let range = cell.range();
            if live.as_ref().is_some_and(|live| live.end <= range.start) {
                live = flowed.next();
            }
            match &live {
                None => break,
                Some(live) if live.start > range.start => continue,
                Some(_) => {}
            }
            let step = &mut self.steps[param.index()];
            *step += 1;
            match self.runs.last_mut() {
                Some(run) if run.range.end == range.start && run.step == *step => run.range.end = range.end,
                _ => self.runs.push(Run { range, step: *step }),
            }
        }
        (&self.runs, slab)
    }
}

/// Makes a slab of state as long as the store; what is new is zero.
fn grow<T: Scalar>(state: &mut Vec<T>, len: usize) {
    if state.len() < len {
        state.resize(len, T::ZERO);
    }
}

/// Refuses a number which is negative or not finite.
#[track_caller]
fn non_negative(what: &str, value: f64) -> f64 {
    assert!(value >= 0.0 && value.is_finite(), "{what} must be finite and not negative, got {value}");
    value
}

/// Refuses a decay rate which is not in [0, 1).
#[track_caller]
fn below_one(what: &str, value: f64) -> f64 {
    assert!((0.0..1.0).contains(&value), "{what} must be at least 0 and below 1, got {value}");
    value
}

/// `x`, or 0 where it is smaller than `least`.
///
/// A mean which decays by a factor in every step ends among the subnormal
/// numbers, where rounding keeps it for good, and where processors take up to a
/// hundred times as long.
#[inline(always)]
fn kept<T: Scalar>(x: T, least: T) -> T {
    if x.abs() < least { T::ZERO } else { x }
}

/// One step by a gradient of 1 for one parameter, then many by 0.
#[cfg(test)]
fn one_push(opt: &mut impl Optimizer<f32>) {
    let mut params = Params::new();
    let a = params.full("a", [], 1.0);
    let (tape, mut grads) = (wengert::Tape::new(), Gradients::new());
    for factor in std::iter::once(1.0).chain(std::iter::repeat_n(0.0, 3000)) {
        grads.zero();
        (tape.param(&params[a]) * factor).backward_into(&mut grads);
        opt.step(&mut params, &grads);
    }
}

#[cfg(test)]
mod tests {
    use wengert::Tape;

    use super::*;

    fn flow(params: &Params, grads: &mut Gradients, names: &[&str]) {
        let tape = Tape::new();
        grads.zero();
        for name in names {
            tape.param(&params[params.find(name).unwrap()]).sum().backward_into(grads);
        }
    }

    #[test]
    fn runs_of_equal_steps_are_joined() {
        let mut params = Params::new();
        for name in ["a", "b", "c"] {
            params.full(name, [2], 1.0);
        }
        params.zeros("nothing", [0]);
        params.full("d", [], 1.0);
        let (mut progress, mut grads) = (Progress::default(), Gradients::new());
        let mut runs = |names: &[&str]| {
            flow(&params, &mut grads, names);
            let runs = progress.advance(&params, &grads).0;
            runs.iter().map(|run| (run.range.clone(), run.step)).collect::<Vec<_>>()
        };
        assert_eq!(runs(&["a", "b", "c", "d"]), [(0..7, 1)]);
        assert_eq!(runs(&["a", "c", "d"]), [(0..2, 2), (4..7, 2)]);
        assert_eq!(runs(&["a", "b", "c", "d"]), [(0..2, 3), (2..4, 2), (4..7, 3)]);
        assert_eq!(runs(&["b"]), [(2..4, 3)]);
        assert_eq!(runs(&["a", "b", "c"]), [(0..6, 4)]);
        assert_eq!(runs(&[]), []);
    }

    #[test]
    fn parameters_may_be_added_later() {
        let (mut params, mut grads) = (Params::new(), Gradients::new());
        params.full("a", [2], 1.0);
        let mut opt = Adam::new(0.1);
        flow(&params, &mut grads, &["a"]);
        opt.step(&mut params, &grads);
        params.full("b", [1], 1.0);
        flow(&params, &mut grads, &["a", "b"]);
        opt.step(&mut params, &grads);
        // Under a constant gradient every step of Adam is one learning rate.
        for (got, want) in params.values().iter().zip([0.8, 0.8, 0.9]) {
            assert!((got - want).abs() < 1e-6, "{:?}", params.values());
        }
    }

    /// Without `eps` gradients count however small they are.
    #[test]
    fn small_gradients_count_where_eps_is_smaller() {
        let mut params = Params::new();
        let a = params.full("a", [], 1.0);
        let (tape, mut grads) = (Tape::new(), Gradients::new());
        (tape.param(&params[a]) * 1e-20f32).backward_into(&mut grads);
        Adam::new(0.25).eps(0.0).step(&mut params, &grads);
        assert!((params[a].as_slice()[0] - 0.75).abs() < 0.05, "{:?}", params.values());
    }

    #[test]
    #[should_panic(expected = "another store")]
    fn another_store_is_refused() {
        let (mut params, mut grads) = (Params::new(), Gradients::new());
        params.full("a", [2], 1.0);
        let mut opt = Sgd::new(0.1);
        flow(&params, &mut grads, &["a"]);
        opt.step(&mut params, &grads);
        opt.step(&mut params.clone(), &grads);
    }

    #[test]
    #[should_panic(expected = "learning rate must be finite and not negative, got -1")]
    fn a_negative_rate_is_refused() {
        Sgd::<f32>::new(0.1).set_lr(-1.0);
    }

    #[test]
    #[should_panic(expected = "beta must be at least 0 and below 1, got 1")]
    fn a_beta_of_one_is_refused() {
        let _ = Adam::<f32>::new(0.1).betas(0.9, 1.0);
    }
}
