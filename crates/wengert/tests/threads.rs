//! Several threads: the same bits whatever their number and timing, panics,
//! and an end. Small enough for Miri and ThreadSanitizer:
//!
//! ```text
//! MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test -p wengert --test threads
//! RUSTFLAGS=-Zsanitizer=thread cargo +nightly test -Zbuild-std --target x86_64-unknown-linux-gnu -p wengert --test threads
//! ```

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use wengert::{Gradients, Param, Params, Tape, Tensor, Threads, Workers};
use wengert_check::CountingAllocator;

#[global_allocator]
static HEAP: CountingAllocator = CountingAllocator;

/// Small where every step is interpreted.
const fn scaled(n: usize, miri: usize) -> usize {
    if cfg!(miri) { miri } else { n }
}

const SHARDS: usize = 5;
const INPUTS: usize = 3;
const HIDDEN: usize = scaled(6000, 4);

/// A model whose hidden layer takes more than one chunk to add up, and a
/// parameter which only the last shard uses.
struct Model {
    params: Params,
    hidden: Param,
    bias: Param,
    output: Param,
    rare: Param,
}

impl Model {
    fn new() -> Self {
        let mut params = Params::new();
        let wave = |scale: f32| move |w: &mut [f32]| (0..w.len()).for_each(|i| w[i] = scale * (i as f32).sin());
        let hidden = params.add_with("hidden", [INPUTS, HIDDEN], wave(0.5));
        let bias = params.zeros("bias", [HIDDEN]);
        let output = params.add_with("output", [HIDDEN], wave(0.01));
        let rare = params.full("rare", [], 0.1);
        Model { params, hidden, bias, output, rare }
    }

    /// The loss of a shard, which has two points and a part of the whole.
    fn loss<'t>(&'t self, shard: usize, tape: &'t Tape) -> Tensor<'t> {
        let x: [f32; 2 * INPUTS] = std::array::from_fn(|i| ((shard * 7 + i * 3) as f32).cos());
        let hidden = (tape.input([2, INPUTS], &x).matmul(&self.params[self.hidden]) + &self.params[self.bias]).relu();
        let out = hidden.matmul(&self.params[self.output]);
        let loss = (out - shard as f32).square().mean() * (1.0 / SHARDS as f32);
        if shard + 1 == SHARDS { loss + &self.params[self.rare] } else { loss }
    }

    fn turn(&self, shard: usize, tape: &Tape, grads: &mut Gradients) -> f32 {
        let loss = self.loss(shard, tape);
        loss.backward_into(grads);
        loss.item()
    }

    fn descend(&mut self, grads: &Gradients) {
        let slab = grads.slab(&self.params).unwrap();
        self.params.values_mut().iter_mut().zip(slab).for_each(|(w, g)| *w -= 0.01 * g);
    }
}

/// The losses and the parameters after some steps by workers, so many shards
/// on a tape.
fn train(threads: usize, each: usize) -> (Vec<f32>, Vec<f32>) {
    let (mut model, threads) = (Model::new(), Threads::new(threads));
    let (mut workers, mut grads) = (Workers::new(&threads).shards_per_tape(each), Gradients::new());
    let losses = (0..scaled(20, 3)).map(|_| {
        grads.zero();
        let loss = workers.backward(SHARDS, &mut grads, |shard, tape, grads| model.turn(shard, tape, grads));
        model.descend(&grads);
        loss
    });
    (losses.collect(), model.params.values().to_vec())
}

/// The same without workers.
fn train_by_hand(each: usize) -> (Vec<f32>, Vec<f32>) {
    let (mut model, mut tape) = (Model::new(), Tape::new());
    let mut grads: Vec<Gradients> = (0..SHARDS.div_ceil(each)).map(|_| Gradients::new()).collect();
    let losses = (0..scaled(20, 3)).map(|_| {
        let mut loss = 0.0;
        for (i, grads) in grads.iter_mut().enumerate() {
            grads.zero();
            let mut sum = 0.0;
            for shard in (i * each..SHARDS).take(each) {
                tape.rewind();
                sum += model.turn(shard, &tape, grads);
            }
            loss += sum;
        }
        let (first, others) = grads.split_first_mut().unwrap();
        others.iter().for_each(|other| first.add(other));
        model.descend(first);
        loss
    });
    (losses.collect(), model.params.values().to_vec())
}

#[test]
fn training_does_not_depend_on_the_number_of_threads() {
    for each in [1, 2, SHARDS] {
        let want = train_by_hand(each);
        assert!(want.0.last() < want.0.first());
        for threads in [1, 2, 2, 3, 8] {
            assert!(train(threads, each) == want, "{threads} threads, {each} shards on a tape");
        }
    }
}

#[test]
fn shards_add_up_to_the_whole() {
    let (model, threads) = (Model::new(), Threads::new(2));
    let tape = Tape::new();
    let sum = (1..SHARDS).fold(model.loss(0, &tape), |sum, shard| sum + model.loss(shard, &tape));
    let want = sum.backward();
    for each in [1, 3] {
        let (mut workers, mut grads) = (Workers::new(&threads).shards_per_tape(each), Gradients::new());
        let whole = workers.backward(SHARDS, &mut grads, |shard, tape, grads| model.turn(shard, tape, grads));
        assert!((whole - sum.item()).abs() < 1e-4);
        for (got, want) in grads.slab(&model.params).unwrap().iter().zip(want.slab(&model.params).unwrap()) {
            assert!((got - want).abs() <= 1e-4 * want.abs().max(1e-2), "{got} {want}");
        }
    }
}

#[test]
fn gradients_accumulate_until_zeroed() {
    let (model, threads) = (Model::new(), Threads::new(2));
    let (mut workers, mut grads) = (Workers::new(&threads), Gradients::new());
    let mut run = |grads: &mut Gradients, shards| {
        workers.backward(shards, grads, |shard, tape, grads| model.turn(shard, tape, grads));
    };
    run(&mut grads, SHARDS);
    let once = grads.slab(&model.params).unwrap().to_vec();
    run(&mut grads, SHARDS);
    let rare = |grads: &Gradients| grads.get(&model.params[model.rare]).map(|g| g.item());
    assert_eq!(rare(&grads), Some(2.0));
    let twice = grads.slab(&model.params).unwrap();
    assert!(once.iter().zip(twice).all(|(a, b)| (2.0 * a - b).abs() <= 1e-4 * b.abs().max(1e-2)));

    // Fewer shards later: what an unused lane has from before is not added.
    grads.zero();
    run(&mut grads, 2);
    assert_eq!(rare(&grads), None);
    run(&mut grads, 0);
    assert_eq!(rare(&grads), None);
}

#[test]
#[should_panic(expected = "a tape which serves no shard")]
fn a_tape_serves_some_shards() {
    _ = Workers::new(&Threads::new(1)).shards_per_tape(0);
}

#[test]
fn gradients_of_tensors_stay_in_their_shard() {
    let threads = Threads::new(2);
    let mut grads = Gradients::new();
    let sum = Workers::new(&threads).backward(3, &mut grads, |shard, tape, grads| {
        let x = tape.scalar(shard as f32).require_grad();
        (x * 2.0).backward_into(grads);
        grads.get(x).unwrap().item()
    });
    assert_eq!((sum, grads.norm()), (6.0, 0.0));
}

#[test]
fn added_gradients_replace_what_was_zeroed() {
    let mut params = Params::new();
    let (a, b) = (params.full("a", [2], 1.0), params.full("b", [2], 1.0));
    let tape = Tape::new();
    let (of_a, of_b) = (tape.param(&params[a]).sum().backward(), tape.param(&params[b]).sum().backward());
    let mut grads = Gradients::new();
    grads.add(&of_a);
    grads.add(&of_a);
    assert_eq!(grads.slab(&params).unwrap(), [2.0, 2.0, 0.0, 0.0]);
    grads.zero();
    grads.add(&of_b);
    assert_eq!(grads.slab(&params).unwrap(), [0.0, 0.0, 1.0, 1.0]);
    assert!(grads.get(&params[a]).is_none());
    grads.add(&Gradients::new());
    assert_eq!(grads.runs(&params).collect::<Vec<_>>(), vec![2..4]);
}

#[test]
fn panics_come_through_and_leave_everything_usable() {
    for each in [1, 2] {
        panics_come_through(each);
    }
}

fn panics_come_through(each: usize) {
    let (model, threads) = (Model::new(), Threads::new(3));
    let (mut workers, mut grads) = (Workers::new(&threads).shards_per_tape(each), Gradients::new());
    let want = {
        let mut grads = Gradients::new();
        workers.backward(SHARDS, &mut grads, |shard, tape, grads| model.turn(shard, tape, grads));
        grads.slab(&model.params).unwrap().to_vec()
    };
    for bad in [0..1, SHARDS - 1..SHARDS, 1..4, 0..SHARDS] {
        for within_sweep in [false, true] {
            let run = AssertUnwindSafe(|| {
                workers.backward(SHARDS, &mut grads, |shard, tape, grads| {
                    let loss = model.loss(shard, tape);
                    if !within_sweep && bad.contains(&shard) {
                        panic!("shard {shard}");
                    }
                    let fails = bad.contains(&shard);
                    let hooked = loss.on_backward(move |g| if fails { panic!("shard {shard}") } else { g });
                    hooked.backward_into(grads);
                    loss.item()
                })
            });
            let payload = catch_unwind(run).unwrap_err();
            assert_eq!(payload.downcast_ref::<String>(), Some(&format!("shard {}", bad.start)));
            assert!(grads.slab(&model.params).is_none());
        }
        workers.backward(SHARDS, &mut grads, |shard, tape, grads| model.turn(shard, tape, grads));
        assert!(grads.slab(&model.params).unwrap() == want);
        grads.zero();
    }
}

#[test]
fn every_task_runs_once() {
    for count in [1, 2, 5] {
        let threads = Threads::new(count);
        assert_eq!((threads.count(), format!("{threads:?}")), (count, format!("Threads({count})")));
        for tasks in [0, 1, 2, 3, 17] {
            let runs: [AtomicUsize; 17] = std::array::from_fn(|_| AtomicUsize::new(0));
            threads.for_each(tasks, |task| {
                runs[task].fetch_add(1, Ordering::Relaxed);
            });
            assert!(runs.iter().enumerate().all(|(task, n)| n.load(Ordering::Relaxed) == usize::from(task < tasks)));
        }
    }
}

#[test]
fn the_first_panic_is_the_one_which_comes_through() {
    let threads = Threads::new(4);
    let done = AtomicUsize::new(0);
    for _ in 0..scaled(100, 5) {
        let run = || {
            threads.for_each(8, |task| match task {
                3 | 5 | 7 => std::panic::panic_any(task),
                _ => drop(done.fetch_add(1, Ordering::Relaxed)),
            });
        };
        assert_eq!(catch_unwind(AssertUnwindSafe(run)).unwrap_err().downcast_ref(), Some(&3_usize));
    }
    assert_eq!(done.into_inner(), 5 * scaled(100, 5));
}

#[test]
fn chunks_cover_the_slices() {
    let threads = Threads::new(3);
    for (len, chunk) in [(0, 1), (1, 1), (10, 3), (12, 3), (5, 100)] {
        let (mut a, mut b) = (vec![1; len], vec![0; len]);
        threads.for_each_chunk([&mut a, &mut b], chunk, |at, [a, b]| {
            assert!(a.len() == b.len() && a.len() <= chunk && at % chunk == 0);
            for i in 0..a.len() {
                (a[i], b[i]) = (a[i] + 1, at + i);
            }
        });
        assert!(a.iter().all(|&a| a == 2) && b.iter().enumerate().all(|(i, &b)| i == b));
    }
    threads.for_each_chunk([], 1, |_, _: [&mut [u8]; 0]| unreachable!());
}

#[test]
#[should_panic(expected = "for_each_chunk: the slices differ in length")]
fn slices_of_different_lengths_are_refused() {
    Threads::default().for_each_chunk([&mut [1, 2][..], &mut [1]], 1, |_, _| ());
}

#[test]
#[should_panic(expected = "Threads: there must be one at least")]
fn no_thread_is_refused() {
    Threads::new(0);
}

#[test]
fn work_within_work_is_done_by_who_asks() {
    let threads = Threads::new(2);
    let count = AtomicUsize::new(0);
    threads.for_each(4, |_| {
        let me = thread::current().id();
        threads.for_each(5, |_| {
            assert_eq!(thread::current().id(), me);
            count.fetch_add(1, Ordering::Relaxed);
        });
    });
    assert_eq!(count.into_inner(), 20);
}

#[test]
fn several_callers_at_once() {
    let threads = Threads::new(2);
    let count = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..scaled(1000, 10) {
                    threads.for_each(3, |_| {
                        count.fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
        }
    });
    assert_eq!(count.into_inner(), 9 * scaled(1000, 10));
}

#[test]
fn threads_end_with_their_last_handle() {
    for count in 1..4 {
        drop(Threads::new(count));
        let threads = Threads::new(count);
        let workers = Workers::new(&threads);
        threads.for_each(2, |_| ());
        drop(threads);
        // Long enough to fall asleep.
        thread::sleep(std::time::Duration::from_millis(1));
        drop(workers);
    }
}

#[test]
fn many_small_steps() {
    let mut params = Params::new();
    let w = params.full("w", [2], 1.0);
    let threads = Threads::new(2);
    let (mut workers, mut grads) = (Workers::new(&threads), Gradients::new());
    for step in 0..scaled(100_000, 20) {
        grads.zero();
        let loss = workers.backward(2, &mut grads, |shard, tape, grads| {
            let loss = (tape.tensor([shard as f32, 1.0]) * &params[w]).sum();
            loss.backward_into(grads);
            loss.item()
        });
        assert_eq!((loss, grads.slab(&params).unwrap()), (3.0, &[1.0, 2.0][..]));
        if step % 1000 == 0 {
            // Long enough to fall asleep.
            thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

#[test]
fn what_may_go_where() {
    fn shared<T: Clone + Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    fn sent<T: Send>() {}
    shared::<Threads>();
    sent::<Workers>();
    sent::<Workers<f64>>();
    let threads = Threads::new(2);
    let sum = thread::spawn(move || {
        let (mut workers, mut grads) = (Workers::new_f64(&threads), Gradients::new());
        workers.backward(3, &mut grads, |shard, tape, _| tape.scalar(shard as f64).item())
    });
    assert_eq!(sum.join().unwrap(), 3.0);
}

/// The product and both gradients, where products are cut into blocks.
fn product(threads: usize, [m, k, n]: [usize; 3], transposed: bool) -> Vec<f32> {
    let tape = Tape::new();
    tape.set_threads(&Threads::new(threads));
    let wave = |len: usize, by: f32| (0..len).map(|i| (i as f32 * by).sin()).collect::<Vec<_>>();
    let a = tape.input([m, k], &wave(m * k, 0.7)).require_grad();
    let b = tape.input([n, k], &wave(n * k, 0.3)).require_grad();
    let c = if transposed { b.matmul(a.t()) } else { a.matmul(b.t()) };
    let grads = c.sin().backward_with(tape.ones(c.shape()));
    let (da, db) = (grads.get(a).unwrap().as_slice().to_vec(), grads.get(b).unwrap().as_slice().to_vec());
    [c.to_vec(), da, db].concat()
}

#[cfg_attr(miri, ignore = "large products are slow there; split.rs has small ones")]
#[test]
fn large_products_do_not_depend_on_the_number_of_threads() {
    for shape in [[64, 784, 512], [520, 70, 300], [200, 300, 101]] {
        for transposed in [false, true] {
            let alone = product(1, shape, transposed);
            let two = product(2, shape, transposed);
            assert!(alone.iter().zip(&two).all(|(a, b)| (a - b).abs() <= 1e-3), "{shape:?}");
            for threads in [2, 3, 5] {
                assert!(product(threads, shape, transposed) == two, "{shape:?} on {threads} threads");
            }
        }
    }
}

#[cfg_attr(miri, ignore = "large products are slow there")]
#[test]
fn large_products_within_workers() {
    let threads = Threads::new(2);
    let (mut workers, mut grads) = (Workers::new(&threads), Gradients::new());
    let sum = workers.backward(3, &mut grads, |_, tape, _| {
        tape.set_threads(&threads);
        let x = tape.ones([256, 128]);
        x.matmul(x.t()).mean().item()
    });
    assert_eq!(sum, 3.0 * 128.0);
}

thread_local! {
    /// The requests of this thread when it last ended a task.
    static BEFORE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Panics if this thread, which does a task, has asked the heap for anything
/// since it ended the last one.
fn nothing_was_requested<R>(check: bool, task: impl FnOnce() -> R) -> R {
    let before = BEFORE.get().filter(|_| check);
    let result = task();
    let now = CountingAllocator::requests();
    assert!(before.is_none_or(|before| before == now), "{} requests", now - before.unwrap());
    BEFORE.set(Some(now));
    result
}

#[test]
fn steps_do_not_allocate_on_any_thread() {
    let (model, threads) = (Model::new(), Threads::new(3));
    for each in [1, 3] {
        steps_do_not_allocate(&model, Workers::new(&threads).shards_per_tape(each));
    }
}

fn steps_do_not_allocate(model: &Model, mut workers: Workers) {
    let mut grads = Gradients::new();
    for turn in 1..=scaled(50, 6) {
        nothing_was_requested(turn >= 3, || {
            grads.zero();
            workers.backward(SHARDS, &mut grads, |shard, tape, grads| {
                nothing_was_requested(turn >= 3, || model.turn(shard, tape, grads))
            });
        });
    }
}

#[cfg_attr(miri, ignore = "large products are slow there")]
#[test]
fn large_products_do_not_allocate_on_any_thread() {
    let threads = Threads::new(2);
    let mut tape = Tape::new();
    tape.set_threads(&threads);
    let mut grads = Gradients::new();
    let x = vec![0.5; 100 * 300];
    for turn in 1..=10 {
        nothing_was_requested(turn >= 3, || {
            tape.rewind();
            grads.zero();
            let x = tape.input([100, 300], &x).require_grad();
            x.t().matmul(x).sum().backward_into(&mut grads);
        });
        threads.for_each(2, |_| nothing_was_requested(turn >= 3, || ()));
    }
}
