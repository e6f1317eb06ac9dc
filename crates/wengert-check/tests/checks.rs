//! Every check fails for a function which deserves it, and tells where.

use wengert::{Array, Tape, Tensor};
use wengert_check::{Check, CheckError, CheckKind, CountingAllocator, check_gradients};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn matrix() -> Array<f64> {
    Array::from([[0.5, 1.5, -0.7], [2.0, 0.3, 1.1]])
}

fn refused<F>(f: F) -> CheckError
where
    F: for<'c> Fn(&'c Tape<f64>, [Tensor<'c, f64>; 2]) -> Tensor<'c, f64>,
{
    check_gradients([matrix(), matrix()], f).unwrap_err()
}

#[test]
fn a_function_which_is_right() {
    check_gradients([matrix(), matrix()], |_, [a, b]| (a * b).sigmoid().matmul(a.t())).unwrap();
    check_gradients([], |tape, []| tape.ones([2])).unwrap();
    check_gradients([matrix()], |tape, [_]| tape.ones([2])).unwrap();
    check_gradients([Array::zeros([2, 0])], |_, [x]| x.exp().sum()).unwrap();
    check_gradients([Array::from_fn([20, 10], |i| (i[0] * 10 + i[1]) as f64 / 50.0)], |_, [x]| x.sin_like()).unwrap();
}

trait SinLike {
    fn sin_like(self) -> Self;
}

impl SinLike for Tensor<'_, f64> {
    fn sin_like(self) -> Self {
        self - self.powi(3) / 6.0 + self.tanh()
    }
}

#[test]
fn a_gradient_which_is_wrong() {
    let error = refused(|_, [a, b]| a * b.detach());
    assert_eq!((error.check, error.input), (CheckKind::FirstOrder, Some(1)));
    assert_eq!((&error.shape[..], error.wrong, error.compared), (&[2, 3][..], 6, 6));
    assert_eq!(error.got, 0.0);
    assert!(error.expected.abs() > 0.1);
    // One element of the input is wrong: it is named.
    let error = check_gradients([matrix()], |tape, [x]| {
        let hidden = tape.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]);
        x + hidden * x.detach()
    });
    let error = error.unwrap_err();
    assert_eq!((error.element, error.wrong), ([1, 1].into(), 1));
}

#[test]
fn an_element_which_no_probe_moves() {
    let x = Array::<f64>::full([100], 1.0);
    let wrong_at = |at: usize| {
        Check::new().probes(4).order(1).run([x.clone()], move |tape, [x]| {
            let hidden: Vec<f64> = (0..100).map(|i| f64::from(i == at)).collect();
            x + tape.tensor(hidden) * x.detach()
        })
    };
    for at in [0, 50, 77, 99] {
        let error = wrong_at(at).unwrap_err();
        assert_eq!((error.check, error.input), (CheckKind::FirstOrder, Some(0)), "{at}");
    }
}

#[test]
fn a_value_which_depends_on_who_looks() {
    let error = refused(|tape, [a, _]| if tape.is_recording() { a } else { a * 2.0 });
    assert_eq!((error.check, error.input), (CheckKind::NoGrad, None));
    let error = refused(|_, [a, b]| if a.requires_grad() && !b.requires_grad() { a * 2.0 } else { a });
    assert_eq!(error.check, CheckKind::Subsets);
    let error = refused(|_, [a, _]| if a.is_contiguous() { a } else { a.square() });
    assert_eq!(error.check, CheckKind::Strided);
    // The same value, but a gradient which differs.
    let error = refused(|_, [a, _]| if a.is_contiguous() { a.square() } else { a * a.detach() });
    assert_eq!((error.check, error.input), (CheckKind::Strided, Some(0)));
}

#[test]
fn a_second_derivative_which_is_wrong() {
    // relu(x) x has the derivative 2 relu(x), and at 0 a jump in the one
    // after. Differences of the value see half a step of it.
    let kink = Array::from([0.5, 0.0]);
    check_gradients([Array::from([0.5, -0.5])], |_, [x]| x.abs() * x).unwrap();
    let check = || Check::new().tolerance(1e-3);
    check().order(1).run([kink.clone()], |_, [x]| x.relu() * x).unwrap();
    let error = check().run([kink], |_, [x]| x.relu() * x).unwrap_err();
    assert_eq!((error.check, error.element), (CheckKind::SecondOrder, [1].into()));
}

#[test]
fn a_reference_and_infinities() {
    let square = matrix().map(|x| x * x);
    Check::new().reference(square.clone()).run([matrix()], |_, [x]| x.square()).unwrap();
    let error = Check::new().reference(square).run([matrix()], |_, [x]| x.square() + 1e-3).unwrap_err();
    assert_eq!((error.check, error.wrong), (CheckKind::Reference, 6));
    let error = check_gradients([Array::from([0.0, 1.0])], |_, [x]| x.sqrt()).unwrap_err();
    assert_eq!((error.check, error.element), (CheckKind::FirstOrder, [0].into()));
}

#[test]
fn tolerance_and_step_are_obeyed() {
    let wrong = |tolerance: f64| {
        Check::new().tolerance(tolerance).order(1).run([Array::from([1.0])], |_, [x]| x + x.detach() * 1e-4)
    };
    assert!(wrong(1e-3).is_ok() && wrong(1e-6).is_err());
    // A step of 1 sees past a kink which one of 1e-4 does not.
    let kinked = |step: f64| Check::new().step(step).order(1).run([Array::from([0.5])], |_, [x]| x.relu());
    assert!(kinked(1e-4).is_ok() && kinked(1.0).is_err());
}

#[test]
fn a_function_which_allocates() {
    let check = || Check::new().count(CountingAllocator::requests);
    check().run([matrix()], |_, [x]| x.exp().matmul(x.t())).unwrap();
    let error = check().run([matrix()], |_, [x]| x.reshape(vec![6])).unwrap_err();
    assert_eq!((error.check, error.got), (CheckKind::Allocations, 3.0));
}

#[test]
fn a_function_which_is_another_in_single_precision() {
    let both = |factor: f32| {
        Check::new().rounding(1e-5).run_both([matrix()], |_, [x]| x.tanh() * 2.0, move |_, [x]| x.tanh() * factor)
    };
    both(2.0).unwrap();
    let error = both(2.01).unwrap_err();
    assert_eq!(error.check, CheckKind::SinglePrecision);
    // The value agrees, and the gradient does not.
    let error = Check::new()
        .rounding(1e-5)
        .run_both([matrix()], |_, [x]| x.exp(), |_, [x]| x.exp() + x - x.detach())
        .unwrap_err();
    assert_eq!((error.check, error.input), (CheckKind::SinglePrecision, Some(0)));
}

#[test]
fn an_error_says_where() {
    let inputs = || [matrix(), Array::from([1.0, 2.0, 3.0])];
    let error = check_gradients(inputs(), |_, [a, b]| (a * b.detach()).tanh()).unwrap_err();
    assert_eq!((&*error.op, &error.shapes[..]), ("tanh", &[[2, 3].into(), [3].into()][..]));
    let error = Check::new().name("swish").run(inputs(), |_, [a, b]| a * b.detach()).unwrap_err();
    let text = error.to_string();
    let start = "swish of [[2, 3], [3]]: first derivative against central differences: input 1 of shape [3]: 3 of 3";
    assert!(text.starts_with(start), "{text}");
    assert!(text.contains(&format!("got {}, expected {}", error.got, error.expected)), "{text}");
}

#[test]
fn a_recorded_sweep_which_allocates() {
    let check = Check::new().count(CountingAllocator::requests);
    let error = check.run([matrix()], |_, [x]| x.square().on_backward(|g| g.reshape(vec![2, 3]))).unwrap_err();
    assert_eq!(error.check, CheckKind::Allocations);
}

#[test]
fn single_precision_passes_the_other_checks_too() {
    let check = |f: for<'c> fn(&'c Tape, [Tensor<'c>; 1]) -> Tensor<'c>| {
        Check::new().run_both([matrix()], |_, [x]| x.square(), f).unwrap_err().check
    };
    assert_eq!(check(|_, [x]| if x.is_contiguous() { x.square() } else { x }), CheckKind::Strided);
    assert_eq!(check(|_, [x]| if x.requires_grad() { x.square() } else { x }), CheckKind::NoGrad);
}
