//! Mistakes are refused with the op's name and the shapes, at the line of the
//! program which made them.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use wengert::{Array, ArrayView, Error, Gradients, Params, Tape};

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
