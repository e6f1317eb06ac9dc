//! Mistakes are refused with the op's name and the shapes, at the line of the
//! program which made them.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use rand::SeedableRng;
use rand::rngs::StdRng;
use wengert::{
    Array, ArrayView, Attention, Conv, CrossEntropy, Error, Gradients, Padding, Params, Pool, RecurrentCell, Reduction,
    Tape, Triangular,
};

thread_local! {
    static SEEN: RefCell<Option<(String, String, u32)>> = const { RefCell::new(None) };
}

/// The message of a panic, and the file and line it names.
fn caught<R>(f: impl FnOnce() -> R) -> (String, String, u32) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let old = take_hook();
        set_hook(Box::new(move |info| {
            let payload = info.payload();
            let text = payload.downcast_ref::<&str>().copied();
            let message = text.or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("").to_owned();
            let at = info.location().map_or((String::new(), 0), |l| (l.file().to_owned(), l.line()));
            SEEN.with(|seen| *seen.borrow_mut() = Some((message, at.0, at.1)));
            if std::thread::panicking() && std::env::var_os("SHOW_PANICS").is_some() {
                old(info);
            }
        }));
    });
    let result = catch_unwind(AssertUnwindSafe(f));
    assert!(result.is_err(), "it did not panic");
    SEEN.with(|seen| seen.borrow_mut().take()).expect("the hook ran")
}

/// Checks the whole message and that the panic is at the caller's line.
#[track_caller]
fn refuses<R>(message: &str, f: impl FnOnce() -> R) {
    let here = Location::caller();
    let (got, file, line) = caught(f);
    assert_eq!(got, message, "at {here}");
    assert_eq!(file, here.file(), "{message}: the location is inside the library (line {line})");
    assert!((here.line()..=here.line() + 2).contains(&line), "{message}: line {line}, not {}", here.line());
}

#[test]
fn shapes_which_do_not_broadcast() {
    let tape = Tape::new();
    let (a, b) = (tape.ones([2, 3]), tape.ones([4]));
    refuses("add: shapes do not broadcast: [2, 3] and [4]", || (a + b).len());
    refuses("sub: shapes do not broadcast: [2, 3] and [4]", || (a - b).len());
    refuses("mul: shapes do not broadcast: [2, 3] and [4]", || (a * b).len());
    refuses("div: shapes do not broadcast: [2, 3] and [4]", || (a / b).len());
    refuses("maximum: shapes do not broadcast: [2, 3] and [4]", || a.maximum(b).len());
    refuses("minimum: shapes do not broadcast: [4] and [2, 3]", || b.minimum(a).len());
    let mut params = Params::new();
    let w = params.zeros("w", [4]);
    refuses("add: shapes do not broadcast: [2, 3] and [4]", || (a + &params[w]).len());
    refuses("mul: shapes do not broadcast: [4] and [2, 3]", || (&params[w] * a).len());
    refuses("add: shapes do not broadcast: [0] and [2]", || (tape.ones([0]) + tape.ones([2])).len());
}

#[test]
fn products() {
    let tape = Tape::new();
    let x = |shape: &[usize]| tape.ones(shape);
    let cases: [(&[usize], &[usize], &str); 8] = [
        (&[32, 784], &[512, 10], "matmul: inner dimensions differ: [32, 784] x [512, 10]"),
        (&[3], &[4], "matmul: inner dimensions differ: [3] x [4]"),
        (&[3], &[4, 2], "matmul: inner dimensions differ: [3] x [4, 2]"),
        (&[2, 3], &[4], "matmul: inner dimensions differ: [2, 3] x [4]"),
        (&[5, 2, 3], &[4, 2], "matmul: inner dimensions differ: [5, 2, 3] x [4, 2]"),
        (&[], &[4], "matmul: a scalar has no inner dimension: [] x [4]"),
        (&[4], &[], "matmul: a scalar has no inner dimension: [4] x []"),
        (&[2, 3, 4], &[5, 4, 2], "matmul: batches do not broadcast: [2, 3, 4] x [5, 4, 2]"),
    ];
    for (a, b, message) in cases {
        let (a, b) = (x(a), x(b));
        refuses(message, || a.matmul(b).len());
    }
}

#[test]
fn axes_and_views() {
    let tape = Tape::new();
    let x = tape.ones([2, 3]);
    refuses("sum: axis 2 is out of range for rank 2", || x.sum_axes(2).len());
    refuses("sum: axis -3 is out of range for rank 2", || x.sum_keepdim([0, -3]).len());
    refuses("mean: axis -1 is named twice", || x.mean_axes([1, -1]).len());
    refuses("amax: axis 5 is out of range for rank 2", || x.amax_axes(5).len());
    refuses("amin: axis 5 is out of range for rank 2", || x.amin_axes(5).len());
    refuses("logsumexp: axis 5 is out of range for rank 2", || x.logsumexp_axes(5).len());
    refuses("softmax: axis 2 is out of range for rank 2", || x.softmax(2).len());
    refuses("log_softmax: axis 0 is out of range for rank 0", || tape.scalar(1.0).log_softmax(0).len());
    refuses("amax: nothing to choose from in [0, 3]", || tape.ones([0, 3]).amax().len());
    refuses("amin: nothing to choose from in [2, 0]", || tape.ones([2, 0]).amin_axes(1).len());
    refuses("reshape: [2, 3] does not fit into [4]", || x.reshape([4]).len());
    refuses("transpose: axis 2 is out of range for rank 2", || x.transpose(0, 2).len());
    refuses("t: needs at least two axes, got [3]", || tape.ones([3]).t().len());
    refuses("permute: [0, 0] does not name every axis of [2, 3] once", || x.permute([0, 0]).len());
    refuses("permute: [0] does not name every axis of [2, 3] once", || x.permute([0]).len());
    refuses("permute: axis 2 is out of range for rank 2", || x.permute([0, 2]).len());
    refuses("broadcast_to: [2, 3] does not broadcast to [3]", || x.broadcast_to([3]).len());
    refuses("broadcast_to: [2, 3] does not broadcast to [4, 3]", || x.broadcast_to([4, 3]).len());
}

#[test]
fn creation_and_reading() {
    let tape = Tape::new();
    refuses("input: shape [2, 3] holds 6 elements, got 5", || tape.input([2, 3], &[0.0; 5]).len());
    let error = tape.try_input([2], &[0.0; 3]).unwrap_err();
    assert_eq!(error, Error::LengthMismatch { op: "input", shape: vec![2], expected: 2, got: 3 });
    let huge = [usize::MAX / 2, 3];
    let message = format!("shape {huge:?} has more elements than memory can hold");
    refuses(&message, || tape.zeros(huge).len());
    refuses(&message, || tape.scalar(1.0).broadcast_to(huge).len());
    let deep = [1; 65];
    refuses("a tensor has at most 64 axes, got 65", || tape.zeros(deep).len());
    refuses("arange: no progression from 0 to 1 in steps of 0", || tape.arange(0.0, 1.0, 0.0).len());
    refuses("item: needs exactly one element, got shape [2, 3]", || tape.ones([2, 3]).item());
    refuses("item: needs exactly one element, got shape [0]", || tape.ones([0]).item());
    let view = tape.ones([2, 3]).t();
    let message = "as_slice: the elements of this view of shape [3, 2] are not in order: take .contiguous() first";
    refuses(message, || view.as_slice().len());
    refuses("copy_to: [3, 2] holds 6 elements, the slice 5", || view.copy_to(&mut [0.0; 5]));
    refuses("Array: shape [2] holds 2 elements, got 3", || Array::new([2], [0.0; 3]));
    refuses("ArrayView: shape [2] holds 2 elements, got 3", || ArrayView::new(&[2], &[0.0; 3]).len());
    let array = Array::from([[1.0, 2.0]]);
    refuses("index [1, 0] is out of bounds for shape [1, 2]", || assert!(array[[1, 0]] > 0.0));
}

#[test]
fn losses_and_labels() {
    let tape = Tape::new();
    let x = tape.ones([2, 3]);
    refuses("cross_entropy: label 3 at position 1 is out of range for 3 classes", || x.cross_entropy(&[0, 3]).len());
    refuses("cross_entropy: 2 rows of logits, but 3 labels", || x.cross_entropy(&[0, 1, 2]).len());
    refuses("cross_entropy: needs an axis of classes, got a scalar", || tape.scalar(1.0).cross_entropy(&[]).len());
    refuses("cross_entropy: label 0 at position 0 is out of range for 0 classes", || {
        tape.ones([1, 0]).cross_entropy(&[0]).len()
    });
    assert_eq!(
        x.try_cross_entropy(&[3, 0]).unwrap_err(),
        Error::LabelOutOfRange { op: "cross_entropy", label: 3, position: 0, classes: 3 }
    );
    assert_eq!(x.try_cross_entropy(&[0]).unwrap_err(), Error::LabelCount { op: "cross_entropy", rows: 2, labels: 1 });
    let y = tape.ones([3]);
    refuses("mse_loss: input and target differ in shape: [2, 3] and [3]", || x.mse_loss(y).len());
    let message = "binary_cross_entropy_with_logits: input and target differ in shape: [2, 3] and [3]";
    refuses(message, || x.binary_cross_entropy_with_logits(y).len());
}

#[test]
fn reductions_and_scans() {
    let tape = Tape::new();
    let x = tape.ones([2, 3]);
    refuses("prod: axis 2 is out of range for rank 2", || x.prod_axes(2).len());
    refuses("var: axis 2 is out of range for rank 2", || x.var_axes(1.0, 2).len());
    refuses("std: axis -2 is named twice", || x.std_keepdim(1.0, [0, -2]).len());
    refuses("norm: axis 2 is out of range for rank 2", || x.norm_axes(2.0, 2).len());
    refuses("argmax: axis 2 is out of range for rank 2", || x.argmax(2).shape().len());
    refuses("argmin: nothing to choose from along axis 0 of [0, 3]", || tape.ones([0, 3]).argmin(0).shape().len());
    refuses("argmax_all: nothing to choose from in [0, 3]", || tape.ones([0, 3]).argmax_all());
    refuses("argmin_all: nothing to choose from in [0]", || tape.ones([0]).argmin_all());
    refuses("max_axis: axis 2 is out of range for rank 2", || x.max_axis(2).0.len());
    refuses("min_axis: nothing to choose from along axis 1 of [2, 0]", || tape.ones([2, 0]).min_axis(1).0.len());
    refuses("amax: nothing to choose from in [0]", || tape.ones([0]).norm(f64::INFINITY).len());
    refuses("cumsum: axis 2 is out of range for rank 2", || x.cumsum(2).len());
    refuses("cumprod: axis -3 is out of range for rank 2", || x.cumprod(-3).len());
    refuses("logcumsumexp: axis 0 is out of range for rank 0", || tape.scalar(1.0).logcumsumexp(0).len());
    refuses("where_mask: shapes do not broadcast: [2, 3] and [2]", || x.where_mask(tape.ones([2]), 1.0).len());
    refuses("where_mask: shapes do not broadcast: [2, 3] and [2]", || x.where_mask(x, tape.ones([2])).len());
    refuses("masked_fill: shapes do not broadcast: [2, 3] and [2]", || x.masked_fill(tape.ones([2]), 1.0).len());
}

#[test]
fn parts_and_arrangements() {
    let tape = Tape::new();
    let x = tape.ones([2, 3]);
    refuses("narrow: 3 positions from 1 on do not fit axis 1 of [2, 3]", || x.narrow(1, 1, 3).len());
    refuses("narrow: axis 2 is out of range for rank 2", || x.narrow(2, 0, 1).len());
    refuses("slice: axis 2 is out of range for rank 2", || x.slice(2, ..).len());
    refuses("slice_step: the step is 0", || x.slice_step(0, .., 0).len());
    refuses("select: position 2 is out of range for axis 0 of [2, 3]", || x.select(0, 2).len());
    refuses("select: position -3 is out of range for axis 0 of [2, 3]", || x.select(0, -3).len());
    refuses("flip: axis 0 is named twice", || x.flip([0, 0]).len());
    refuses("unfold: a window of 4 does not fit axis 1 of [2, 3]", || x.unfold(1, 4, 1).len());
    refuses("unfold: the step is 0", || x.unfold(1, 2, 0).len());
    refuses("split: [1, 1] does not add up to axis 1 of [2, 3]", || x.split(1, &[1, 1]).len());
    refuses("chunk: into 0 parts", || x.chunk(0, 0).len());
    refuses("chunk: axis 2 is out of range for rank 2", || x.chunk(2, 1).len());
    refuses("concat: of no tensors", || tape.concat([], 0).len());
    refuses("concat: shapes differ beside axis 0: [2, 3] and [2]", || tape.concat([x, tape.ones([2])], 0).len());
    refuses("concat: axis 0 is out of range for rank 0", || tape.concat([tape.scalar(1.0)], 0).len());
    refuses("stack: of no tensors", || tape.stack([], 0).len());
    refuses("stack: shapes differ: [2, 3] and [3]", || tape.stack([x, tape.ones([3])], 0).len());
    refuses("stack: axis 3 is out of range for rank 3", || tape.stack([x], 3).len());
    refuses("index_select: index 3 at position 1 is out of range for axis 1 of [2, 3]", || {
        x.index_select(1, &[0, 3]).len()
    });
    let message = "gather: an index of shape [3, 1] does not fit [2, 3] along axis 1";
    refuses(message, || x.gather(1, [3, 1], &[0, 0, 0]).len());
    refuses("gather: shape [2, 2] holds 4 indices, got 1", || x.gather(1, [2, 2], &[0]).len());
    refuses("gather: index 5 at position 0 is out of range for axis 1 of [2, 3]", || x.gather(1, [1, 1], &[5]).len());
    let message = "scatter_add: a source of shape [3, 1] does not fit [2, 3] along axis 1";
    refuses(message, || x.scatter_add(1, &[0, 0, 0], tape.ones([3, 1])).len());
    refuses("scatter_add: a source of [2, 1], but 1 indices", || x.scatter_add(1, &[0], tape.ones([2, 1])).len());
    let message = "index_add: the source has shape [2], the slices [2, 1]";
    refuses(message, || x.index_add(1, &[0], tape.ones([2])).len());
    refuses("pad: 3 amounts for a tensor of shape [2, 3]", || x.pad(&[(0, 0); 3], Padding::Reflect).len());
    refuses("pad: [(-2, -2)] cuts off more than [2, 3]", || x.pad(&[(-2, -2)], Padding::Replicate).len());
    refuses("pad: [(3, 0)] is more than [2, 3] has to repeat", || x.pad(&[(3, 0)], Padding::Reflect).len());
    let message = "pad: [(1, 0)] is more than [2, 0] has to repeat";
    refuses(message, || tape.ones([2, 0]).pad(&[(1, 0)], Padding::Replicate).len());
    refuses("roll: axis 2 is out of range for rank 2", || x.roll(1, 2).len());
    refuses("repeat: [2] has fewer counts than [2, 3] axes", || x.repeat(&[2]).len());
    refuses("repeat_interleave: axis 2 is out of range for rank 2", || x.repeat_interleave(1, 2).len());
    refuses("tril: needs matrices, got [3]", || tape.ones([3]).tril(0).len());
    refuses("diagonal: axis 0 is named twice", || x.diagonal(0, 0, -2).len());
    refuses("diag_embed: a scalar has no axis", || tape.scalar(1.0).diag_embed(0, 0, 1).len());
    refuses("squeeze: axis 0 of [2, 3] is not of length 1", || x.squeeze_axis(0).len());
    refuses("unsqueeze: axis 4 is out of range for rank 3", || x.unsqueeze(4).len());
    refuses("flatten: axis 1 is after axis 0 of [2, 3]", || x.flatten(1, 0).len());
}

#[test]
fn linear_algebra() {
    let tape = Tape::new();
    let x = tape.ones([2, 3]);
    let eye = tape.eye(2);
    refuses("cholesky: needs square matrices, got [2, 3]", || x.cholesky().len());
    refuses("cholesky: matrix 0 is not positive definite", || (-eye).cholesky().len());
    refuses("inverse: needs square matrices, got [3]", || tape.ones([3]).inverse().len());
    refuses("inverse: matrix 0 is singular", || tape.ones([2, 2]).inverse().len());
    refuses("solve: a right-hand side of [3] does not fit [2, 2]", || eye.solve(tape.ones([3])).len());
    refuses("solve: matrix 0 is singular", || tape.ones([2, 2]).solve(tape.ones([2])).len());
    refuses("solve_triangular: batches do not broadcast: [2, 2, 2] and [3, 2, 1]", || {
        tape.ones([2, 2, 2]).solve_triangular(tape.ones([3, 2, 1]), Triangular::Lower).len()
    });
    refuses("det: needs square matrices, got [2, 3]", || x.det().len());
    refuses("slogdet: needs square matrices, got []", || tape.scalar(1.0).slogdet().0.len());
    refuses("trace: needs matrices, got [3]", || tape.ones([3]).trace().len());
    refuses("dot: needs two vectors of one length, got [2, 3] and [3]", || x.dot(tape.ones([3])).len());
    refuses("outer: needs two vectors, got [2, 3] and [3]", || x.outer(tape.ones([3])).len());
    refuses("einsum: `ij,j`: it names 2 operands, and 1 are given", || tape.einsum("ij,j", [x]).len());
}

#[test]
fn layers() {
    let tape = Tape::new();
    let image = tape.ones([1, 2, 3, 3]);
    let weight = tape.ones([4, 3, 2, 2]);
    let message = "conv2d: the weight [4, 3, 2, 2] does not fit an input of [1, 2, 3, 3] in 1 groups";
    refuses(message, || image.conv2d(weight, None, Conv::default()).len());
    let message = "conv2d: a window over 4 positions does not fit [3, 3] (padding included)";
    refuses(message, || image.conv2d(tape.ones([4, 2, 4, 4]), None, Conv::default()).len());
    let message = "conv2d: a bias of shape [3] for 4 channels";
    refuses(message, || image.conv2d(tape.ones([4, 2, 2, 2]), Some(tape.ones([3])), Conv::default()).len());
    let message = "conv_transpose2d: the weight [3, 4, 2, 2] does not fit an input of [1, 2, 3, 3] in 1 groups";
    refuses(message, || image.conv_transpose2d(tape.ones([3, 4, 2, 2]), None, Conv::default()).len());
    refuses("conv1d: a stride, dilation or size is 0", || {
        tape.ones([1, 1, 3]).conv1d(tape.ones([1, 1, 1]), None, Conv { stride: [0], ..Conv::default() }).len()
    });
    refuses("max_pool2d: a window over 4 positions does not fit [3, 3] (padding included)", || {
        image.max_pool2d(Pool::new([4, 4])).len()
    });
    refuses("avg_pool1d: needs 1 axes, got []", || tape.scalar(1.0).avg_pool1d(Pool::new([1])).len());
    let x = tape.ones([2, 3]);
    refuses("layer_norm: over 3 axes of [2, 3]", || x.layer_norm(3, None, None, 1e-5).len());
    let message = "layer_norm: a parameter of shape [2] for 1 axes of [2, 3]";
    refuses(message, || x.layer_norm(1, Some(tape.ones([2])), None, 1e-5).len());
    refuses("rms_norm: over 3 axes of [2, 3]", || x.rms_norm(3, None, 1e-5).len());
    refuses("group_norm: 2 groups of [2, 3]", || x.group_norm(2, None, None, 1e-5).len());
    refuses("batch_norm: needs [batch, channels, ..], got [3]", || tape.ones([3]).batch_norm(None, None, 1e-5).0.len());
    let message = "batch_norm: a parameter of shape [2] for 3 channels";
    refuses(message, || x.batch_norm(Some(tape.ones([2])), None, 1e-5).0.len());
    refuses("embedding: needs a table [entries, features], got [3]", || {
        tape.ones([3]).embedding([1], &[0], None).len()
    });
    refuses("embedding: shape [2] holds 2 indices, got 1", || x.embedding([2], &[0], None).len());
    refuses("embedding: index 2 at position 0 is out of range for axis 0 of [2, 3]", || {
        x.embedding([1], &[2], None).len()
    });
    refuses("dropout: a probability of 2", || x.dropout(2.0, &mut StdRng::seed_from_u64(1)).len());
    refuses("attention: needs [.., length, features], got [2, 3], [3] and [2, 3]", || {
        x.attention(tape.ones([3]), x, Attention::default()).len()
    });
    refuses("attention: queries [2, 3], keys [2, 2] and values [2, 2] do not fit", || {
        x.attention(tape.ones([2, 2]), tape.ones([2, 2]), Attention::default()).len()
    });
    refuses("attention: batches of queries [2, 3, 1], keys [3, 4, 1] and values [4, 1] do not broadcast", || {
        tape.ones([2, 3, 1]).attention(tape.ones([3, 4, 1]), tape.ones([4, 1]), Attention::default()).len()
    });
    refuses("linear: inner dimensions differ: [2, 3] x [2, 3]", || x.linear(x, None).len());
    let cell = RecurrentCell { input: tape.ones([3, 4]), hidden: tape.ones([2, 4]), bias: None };
    refuses("gru_cell: weights of shapes [3, 4] and [2, 4] are not those of 3 gates", || {
        x.gru_cell(tape.ones([2, 2]), cell).len()
    });
}

#[test]
fn losses_with_options() {
    let tape = Tape::new();
    let (x, y) = (tape.ones([2, 3]), tape.ones([3]));
    let plain = CrossEntropy::default();
    let none = Reduction::None;
    refuses("l1_loss: input and target differ in shape: [2, 3] and [3]", || x.l1_loss(y, none).len());
    refuses("huber_loss: delta is 0", || x.huber_loss(x, 0.0, none).len());
    refuses("smooth_l1_loss: beta is -1", || x.smooth_l1_loss(x, -1.0, none).len());
    refuses("kl_div: input and target differ in shape: [2, 3] and [3]", || x.kl_div(y, false, none).len());
    let message = "binary_cross_entropy: input and target differ in shape: [2, 3] and [3]";
    refuses(message, || x.binary_cross_entropy(y, none).len());
    let message = "hinge_embedding_loss: input and target differ in shape: [2, 3] and [3]";
    refuses(message, || x.hinge_embedding_loss(y, 1.0, none).len());
    let message = "cosine_similarity: shapes do not broadcast: [2, 3] and [2]";
    refuses(message, || x.cosine_similarity(tape.ones([2]), 0, 1e-8).len());
    refuses("cosine_similarity: axis 2 is out of range for rank 2", || x.cosine_similarity(x, 2, 1e-8).len());
    let message = "cosine_embedding_loss: input and target differ in shape: [2] and [3]";
    refuses(message, || x.cosine_embedding_loss(x, y, 0.0, none).len());
    refuses("cross_entropy: 2 rows of logits, but 1 labels", || x.cross_entropy_with(&[0], plain).len());
    let message = "cross_entropy: label 3 at position 1 is out of range for 3 classes";
    refuses(message, || x.cross_entropy_with(&[0, 3], plain).len());
    refuses("nll_loss: label 3 at position 1 is out of range for 3 classes", || x.nll_loss(&[0, 3], plain).len());
    refuses("nll_loss: needs an axis of classes, got a scalar", || tape.scalar(1.0).nll_loss(&[0], plain).len());
    let options = CrossEntropy { axis: 2, ..plain };
    refuses("cross_entropy: axis 2 is out of range for rank 2", || x.cross_entropy_with(&[0, 1], options).len());
    let options = CrossEntropy { weight: Some(tape.ones([2])), ..plain };
    refuses("cross_entropy: weights of shape [2] for 3 classes", || x.cross_entropy_with(&[0, 1], options).len());
    refuses("cross_entropy_soft: weights of shape [2] for 3 classes", || x.cross_entropy_soft(x, options).len());
    let message = "cross_entropy_soft: input and target differ in shape: [2, 3] and [3]";
    refuses(message, || x.cross_entropy_soft(y, plain).len());
}

#[test]
fn backward() {
    let tape = Tape::new();
    let (x, constant) = (tape.ones([2]).require_grad(), tape.ones([2]));
    let y = x * 2.0;
    let mut grads = Gradients::new();
    let root = "backward: a root of shape [2] needs a cotangent: see backward_with";
    refuses(root, || y.backward());
    refuses(root, || y.backward_into(&mut grads));
    refuses("backward: a root of shape [2], but a cotangent of shape [3]", || y.backward_with([1.0; 3]));
    refuses("backward: a root of shape [2], but a cotangent of shape [1]", || {
        y.backward_with_into([1.0], &mut grads);
    });
    let nothing = "backward: nothing this tensor depends on requires a gradient";
    refuses(nothing, || constant.sum().backward());
    refuses(nothing, || y.detach().sum().backward());
    refuses(nothing, || tape.no_grad(|| y.sum()).backward());
    refuses("grad: a root of shape [2] needs a cotangent: see vjp", || y.grad([x]).len());
    refuses("grad: a root of shape [2], but a cotangent of shape [3]", || y.vjp([1.0; 3], [x]).len());
    refuses("grad: nothing this tensor depends on requires a gradient", || constant.sum().grad([x]).len());
    let input = "grad: input 1 of shape [2] does not require a gradient";
    refuses(input, || y.sum().grad([x, constant]).len());
    refuses("retain_grad: no gradient flows through this tensor", || constant.retain_grad().len());
}

#[test]
fn keys() {
    let mut tape = Tape::new();
    let mut grads = {
        let x = tape.ones([2]).require_grad();
        let y = x * 2.0;
        let grads = y.sum().backward();
        let constant = tape.ones([2]);
        refuses("get: the tensor does not require a gradient: see require_grad", || grads.get(constant));
        let message = "get: the gradient of an intermediate is not kept: call retain_grad before backward";
        refuses(message, || grads.get(y));
        let other = Tape::new();
        let foreign = other.ones([2]).require_grad();
        refuses("get: the gradients are those of another tape", || grads.get(foreign));
        assert!(Gradients::new().get(x).is_none());
        grads
    };
    tape.rewind();
    let x = tape.ones([2]).require_grad();
    let message = "get: the gradients are those of a turn before the tape was rewound";
    refuses(message, || grads.get(x));
    (x * 3.0).sum().backward_into(&mut grads);
    assert_eq!(grads.get(x).unwrap().as_slice(), &[3.0, 3.0]);
    let mut params = Params::new();
    params.zeros("w", [1]);
    let mut more = params.clone();
    let late = more.zeros("late", [1]);
    refuses("parameter 1 is of another store: this one has 1", || params[late].len());
    refuses("w: shape [2] holds 2 elements, got 1", || more.add("w", [2], &[1.0]));
}

#[test]
fn two_tapes() {
    let (tape, other) = (Tape::new(), Tape::new());
    let (a, b) = (tape.ones([2, 2]).require_grad(), other.ones([2, 2]).require_grad());
    let message = "the operands are tensors of two tapes";
    refuses(message, || (a + b).len());
    refuses(message, || (a / b).len());
    refuses(message, || a.maximum(b).len());
    refuses(message, || a.matmul(b).len());
    refuses(message, || a.mse_loss(b).len());
    refuses(message, || a.binary_cross_entropy_with_logits(b).len());
    refuses(message, || (a * 2.0).backward_with(b));
    refuses(message, || (a * 2.0).vjp(b, [a]).len());
    refuses(message, || (a * 2.0).sum().grad([b]).len());
    let y = tape.constant(b);
    assert!(!y.requires_grad() && (a + y).to_vec() == [2.0; 4]);
}

#[test]
fn non_finite_values() {
    let tape = Tape::new();
    let x = tape.tensor([1.0, -1.0]);
    tape.set_check_finite(true);
    let (message, file, line) = caught(|| x.ln().len());
    let here = line!() - 1;
    assert_eq!(message, format!("ln: made NaN at element 1 of [2] ({}:{here}:{})", file!(), message_column(&message)));
    assert_eq!((file.as_str(), line), (file!(), here), "the location is inside the library");
    tape.set_check_finite(false);
    let _ = (x * 2.0).ln();
    let found = tape.first_non_finite().unwrap();
    assert_eq!((found.op, found.element, found.location.line()), ("ln", 1, line!() - 2));
    assert!(found.value.is_nan());
}

fn message_column(message: &str) -> &str {
    message.rsplit(':').next().unwrap().trim_end_matches(')')
}

/// A view may name an element more than once, but not so often that its elements
/// cannot be counted.
#[test]
fn views_which_are_too_large() {
    let tape = Tape::new();
    let x = tape.scalar(1.0).broadcast_to([1 << 25]).unfold(0, 22_253_377, 1);
    let message = "shape [11235520, 22253377, 65537] has more elements than memory can hold";
    refuses(message, || x.unfold(0, 65_537, 1).len());
    let mut dims = vec![1; 63];
    dims.push(4);
    refuses("a tensor has at most 64 axes, got 65", || tape.ones(&dims[..]).unfold(63, 2, 1).len());
    refuses("a tensor has at most 64 axes, got 65", || tape.ones(&dims[..]).unsqueeze(0).len());
}
