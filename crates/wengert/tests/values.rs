//! Values and gradients at the points where conventions decide, as PyTorch
//! has them; closed forms; products and views against plain loops.

use wengert::{Array, GemmBackend, Reduction, Tape, Tensor};

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;

/// Equal, NaN to NaN, or within some ulps.
#[track_caller]
fn same(got: &[f64], expected: &[f64]) {
    let close = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 4e-15 * a.abs().max(b.abs());
    let all = got.len() == expected.len() && got.iter().zip(expected).all(|(&a, &b)| close(a, b));
    assert!(all, "got {got:?}, expected {expected:?}");
}

/// Value and gradient (of the sum of the result) of a function of one tensor.
#[track_caller]
fn unary(f: for<'t> fn(Tensor<'t, f64>) -> Tensor<'t, f64>, x: &[f64], value: &[f64], gradient: &[f64]) {
    let tape = Tape::new_f64();
    let x = tape.input([x.len()], x).require_grad();
    let y = f(x);
    same(&y.to_vec(), value);
    let grads = y.sum().backward();
    same(grads.get(x).unwrap().as_slice(), gradient);
    let [dx] = y.sum().grad([x]);
    same(&dx.to_vec(), gradient);
}

/// The same for two tensors.
#[track_caller]
fn binary(
    f: for<'t> fn(Tensor<'t, f64>, Tensor<'t, f64>) -> Tensor<'t, f64>,
    [a, b]: [&[f64]; 2],
    value: &[f64],
    gradients: [&[f64]; 2],
) {
    let tape = Tape::new_f64();
    let (a, b) = (tape.input([a.len()], a).require_grad(), tape.input([b.len()], b).require_grad());
    let y = f(a, b);
    same(&y.to_vec(), value);
    let grads = y.sum().backward();
    same(grads.get(a).unwrap().as_slice(), gradients[0]);
    same(grads.get(b).unwrap().as_slice(), gradients[1]);
}

#[test]
fn kinks_and_poles_of_functions() {
    unary(|x| x.relu(), &[0.0, -0.0, -1.0, 2.0], &[0.0, 0.0, 0.0, 2.0], &[0.0, 0.0, 0.0, 1.0]);
    unary(|x| x.abs(), &[0.0, -0.0, -3.0, 2.0], &[0.0, 0.0, 3.0, 2.0], &[0.0, 0.0, -1.0, 1.0]);
    unary(|x| x.sqrt(), &[0.0, 4.0, -1.0], &[0.0, 2.0, NAN], &[INF, 0.25, NAN]);
    unary(|x| x.ln(), &[0.0, 1.0, -1.0], &[-INF, 0.0, NAN], &[INF, 1.0, -1.0]);
    unary(|x| x.recip(), &[0.0, 2.0, INF], &[INF, 0.5, 0.0], &[-INF, -0.25, 0.0]);
    unary(|x| 1.0 / x, &[0.0, 2.0], &[INF, 0.5], &[-INF, -0.25]);
    unary(|x| x.exp(), &[-INF, 0.0, 1000.0], &[0.0, 1.0, INF], &[0.0, 1.0, INF]);
    unary(|x| x.tanh(), &[1e4, -1e4, 0.0], &[1.0, -1.0, 0.0], &[0.0, 0.0, 1.0]);
    unary(|x| x.sigmoid(), &[1e4, -1e4, 0.0], &[1.0, 0.0, 0.5], &[0.0, 0.0, 0.25]);
    unary(|x| x.powf(0.0), &[0.0, -1.0, NAN], &[1.0, 1.0, 1.0], &[0.0, 0.0, 0.0]);
    unary(|x| x.powi(0), &[0.0, 2.0], &[1.0, 1.0], &[0.0, 0.0]);
    unary(|x| x.powi(1), &[0.0, -2.0], &[0.0, -2.0], &[1.0, 1.0]);
    unary(|x| x.powi(2), &[0.0, -2.0], &[0.0, 4.0], &[0.0, -4.0]);
    unary(|x| x.powi(3), &[0.0, -2.0], &[0.0, -8.0], &[0.0, 12.0]);
    unary(|x| x.powi(-1), &[0.0, -2.0], &[INF, -0.5], &[-INF, -0.25]);
    unary(|x| x.powf(0.5), &[0.0, 4.0, -1.0], &[0.0, 2.0, NAN], &[INF, 0.25, NAN]);
    unary(|x| x.square().sqrt(), &[0.0, -2.0], &[0.0, 2.0], &[NAN, -1.0]);
}

#[test]
fn nan_stays() {
    unary(|x| x.relu(), &[NAN], &[NAN], &[1.0]);
    unary(|x| x.abs() * 1.0, &[NAN, 1.0], &[NAN, 1.0], &[NAN, 1.0]);
    let tape = Tape::new_f64();
    let (a, b) = (tape.tensor([NAN, 1.0, NAN]), tape.tensor([1.0, NAN, NAN]));
    same(&a.maximum(b).to_vec(), &[NAN; 3]);
    same(&a.minimum(b).to_vec(), &[NAN; 3]);
    same(&a.maximum(0.0).to_vec(), &[NAN, 1.0, NAN]);
    for n in [1, 2, 3, 15, 16, 17, 40, 2000] {
        for at in [0, n / 2, n - 1] {
            let mut data: Vec<f64> = (0..n).map(|i| i as f64).collect();
            data[at] = NAN;
            let x = tape.tensor(data);
            same(&[x.amax().item(), x.amin().item(), x.sum().item(), x.mean().item()], &[NAN; 4]);
            assert!(x.logsumexp().item().is_nan());
            let column = x.reshape([n, 1]).broadcast_to([n, 2]);
            same(&column.amax_axes(0).to_vec(), &[NAN; 2]);
        }
    }
}

#[test]
fn ties() {
    binary(
        |a, b| a.maximum(b),
        [&[1.0, 2.0, 3.0], &[1.0, 5.0, 0.0]],
        &[1.0, 5.0, 3.0],
        [&[0.5, 0.0, 1.0], &[0.5, 1.0, 0.0]],
    );
    binary(
        |a, b| a.minimum(b),
        [&[1.0, 2.0, 3.0], &[1.0, 5.0, 0.0]],
        &[1.0, 2.0, 0.0],
        [&[0.5, 1.0, 0.0], &[0.5, 0.0, 1.0]],
    );
    unary(|x| x.maximum(x), &[3.0], &[3.0], &[1.0]);
    unary(|x| x.maximum(2.0), &[2.0, 3.0, 1.0], &[2.0, 3.0, 2.0], &[0.5, 1.0, 0.0]);
    unary(|x| x.amax(), &[2.0, 5.0, 5.0, 5.0, 5.0], &[5.0], &[0.0, 0.25, 0.25, 0.25, 0.25]);
    unary(|x| x.amin(), &[2.0, 5.0, 2.0], &[2.0], &[0.5, 0.0, 0.5]);
    unary(|x| x.reshape([2, 2]).amax_axes(1), &[7.0, 7.0, 1.0, 2.0], &[7.0, 2.0], &[0.5, 0.5, 0.0, 1.0]);
    unary(|x| x.reshape([2, 2]).amax_axes(..), &[7.0, 7.0, 1.0, 7.0], &[7.0], &[1.0 / 3.0, 1.0 / 3.0, 0.0, 1.0 / 3.0]);
    unary(|x| x.amax(), &[-INF, -INF], &[-INF], &[0.5, 0.5]);
}

#[test]
fn division_and_infinities() {
    binary(|a, b| a / b, [&[1.0, 0.0], &[0.0, 2.0]], &[INF, 0.0], [&[INF, 0.5], &[-INF, 0.0]]);
    binary(|a, b| a / b, [&[0.0], &[0.0]], &[NAN], [&[INF], &[NAN]]);
    binary(|a, b| a * b, [&[INF], &[0.0]], &[NAN], [&[0.0], &[INF]]);
    unary(|x| x - INF, &[1.0], &[-INF], &[1.0]);
}

#[test]
fn softmax_and_its_relatives() {
    let third = 1.0 / 3.0;
    let tape = Tape::new_f64();
    let s = |x: &[f64]| tape.input([x.len()], x).softmax(0).to_vec();
    let l = |x: &[f64]| tape.input([x.len()], x).log_softmax(0).to_vec();
    same(&s(&[1e4, 1e4, -1e4]), &[0.5, 0.5, 0.0]);
    same(&s(&[-1e4, -1e4, -1e4]), &[third; 3]);
    same(&s(&[-INF, 0.0, 0.0]), &[0.0, 0.5, 0.5]);
    same(&s(&[-INF, -INF]), &[NAN, NAN]);
    same(&l(&[1e4, 0.0, -1e4]), &[0.0, -1e4, -2e4]);
    same(&l(&[-INF, 0.0]), &[-INF, 0.0]);
    same(&l(&[-INF, -INF]), &[NAN, NAN]);
    for shift in [1e4, -1e4] {
        // e^(x - lse), where lse is rounded at the size of the shift.
        let x = tape.tensor([shift, shift]).require_grad();
        let y = x.logsumexp();
        assert_eq!(y.item(), shift + 2f64.ln());
        assert!(y.backward().get(x).unwrap().iter().all(|g| (g - 0.5).abs() < 1e-12));
    }
    unary(|x| x.logsumexp(), &[-INF, 3.0], &[3.0], &[0.0, 1.0]);
    same(&[tape.tensor([-INF, -INF]).logsumexp().item(), tape.tensor([INF, 0.0]).logsumexp().item()], &[-INF, INF]);
    // Softmax of PyTorch's documentation style: [1, 2, 3], to 16 digits.
    same(&s(&[1.0, 2.0, 3.0]), &[0.09003057317038046, 0.24472847105479767, 0.6652409557748219]);
    unary(
        |x| x.log_softmax(0) * -0.5,
        &[1.0, 2.0],
        &[0.6566308437591114, 0.1566308437591114],
        &[-0.2310585786300049, 0.2310585786300049],
    );
    // A row of softmax sums to one, so its sum has no gradient.
    let x = tape.tensor([1.0, 2.0, 3.0]).require_grad();
    let dx = x.softmax(0).sum().backward();
    assert!(dx.get(x).unwrap().iter().all(|g| g.abs() < 1e-16));
}

#[test]
fn losses() {
    // torch.nn.functional.cross_entropy([[1, 2, 3], [1, 0, -1]], [2, 1])
    let tape = Tape::new_f64();
    let x = tape.tensor([[1.0, 2.0, 3.0], [1.0, 0.0, -1.0]]).require_grad();
    let loss = x.cross_entropy(&[2, 1]);
    let lse = |a: [f64; 3]| a.iter().map(|v| v.exp()).sum::<f64>().ln();
    let expected = 0.5 * (lse([1.0, 2.0, 3.0]) - 3.0 + lse([1.0, 0.0, -1.0]));
    assert!((loss.item() - expected).abs() < 1e-15);
    let softmax = x.softmax(1).to_vec();
    let hot = [0.0, 0.0, 1.0, 0.0, 1.0, 0.0];
    let gradient: Vec<f64> = softmax.iter().zip(hot).map(|(s, h)| (s - h) / 2.0).collect();
    let grads = loss.backward();
    let near = grads.get(x).unwrap().iter().zip(&gradient).all(|(a, b)| (a - b).abs() < 1e-15);
    assert!(near, "{:?} {gradient:?}", grads.get(x));
    // Higher ranks: rows are all axes but the last.
    let deep = x.reshape([2, 1, 3]).cross_entropy(&[2, 1]);
    assert_eq!(deep.item(), loss.item());
    // Stable where a naive form overflows.
    let far = tape.tensor([[1e4, -1e4], [-1e4, 1e4]]);
    same(&[far.cross_entropy(&[0, 1]).item(), far.cross_entropy(&[1, 0]).item()], &[0.0, 2e4]);
    unary(|x| x.binary_cross_entropy_with_logits(x.detach() * 0.0), &[1e4, -1e4], &[5e3], &[0.5, 0.0]);
    unary(|x| x.binary_cross_entropy_with_logits(x.detach() * 0.0 + 1.0), &[1e4, -1e4], &[5e3], &[0.0, -0.5]);
    unary(|x| x.binary_cross_entropy_with_logits(x.detach() * 0.0 + 0.5), &[0.0], &[2f64.ln()], &[0.0]);
    unary(|x| x.mse_loss(x.detach() * 0.0), &[1.0, -3.0], &[5.0], &[1.0, -3.0]);
    assert!(tape.zeros([0, 3]).cross_entropy(&[]).item().is_nan());
}

#[test]
fn reductions_of_nothing() {
    let tape = Tape::new_f64();
    let x = tape.zeros([2, 0]).require_grad();
    same(&x.sum_axes(1).to_vec(), &[0.0, 0.0]);
    same(&x.mean_axes(1).to_vec(), &[NAN, NAN]);
    same(&x.logsumexp_axes(1).to_vec(), &[-INF, -INF]);
    same(&[x.sum().item(), x.mean().item(), x.logsumexp().item()], &[0.0, NAN, -INF]);
    assert_eq!((x.sum_axes(0).shape(), x.amax_axes(0).shape()), (&[0][..], &[0][..]));
    let grads = (x.sum() + x.mean() + x.exp().sum_axes(0).sum()).backward();
    assert_eq!(grads.get(x).unwrap().shape(), &[2, 0]);
    assert_eq!(x.matmul(tape.zeros([0, 3])).to_vec(), [0.0; 6]);
    assert_eq!(tape.zeros([0, 2]).matmul(tape.zeros([2, 3])).shape(), &[0, 3]);
    assert_eq!(x.softmax(1).shape(), &[2, 0]);
    assert_eq!(x.t().reshape([0, 5]).broadcast_to([3, 0, 5]).shape(), &[3, 0, 5]);
}

#[test]
fn reductions_in_closed_form() {
    let tape = Tape::new_f64();
    for n in [1usize, 2, 15, 16, 17, 100, 1023, 1024, 1025, 5000] {
        let x = tape.arange(1.0, n as f64 + 1.0, 1.0);
        assert_eq!(x.len(), n);
        let total = (n * (n + 1) / 2) as f64;
        assert_eq!((x.sum().item(), x.mean().item()), (total, total / n as f64));
        assert_eq!((x.amax().item(), x.amin().item()), (n as f64, 1.0));
        assert_eq!(x.reshape([n, 1]).broadcast_to([n, 3]).sum_axes(0).to_vec(), [total; 3]);
    }
    let x = tape.arange(0.0, 120.0, 1.0).reshape([2, 3, 4, 5]);
    for mask in 0..16usize {
        let axes: Vec<isize> = (0..4).filter(|i| mask >> i & 1 == 1).collect();
        let kept: Vec<usize> = (0..4).map(|i| if mask >> i & 1 == 1 { 1 } else { [2, 3, 4, 5][i] }).collect();
        let mut expected = Array::<f64>::zeros(&kept);
        for (flat, v) in x.to_vec().into_iter().enumerate() {
            let index = [flat / 60, flat / 20 % 3, flat / 5 % 4, flat % 5];
            let at = (0..4).fold(0, |at, i| at * kept[i] + if kept[i] == 1 { 0 } else { index[i] });
            expected.as_mut_slice()[at] += v;
        }
        for y in [x, x.permute([3, 2, 1, 0]).contiguous().permute([3, 2, 1, 0])] {
            assert_eq!(y.sum_keepdim(&axes[..]).to_array(), expected);
            let count = 120 / expected.len();
            same(&(y.mean_keepdim(&axes[..]) * count as f64).to_vec(), expected.as_slice());
            assert_eq!(y.sum_axes(&axes[..]).rank(), 4 - axes.len());
        }
    }
}

fn fill(tape: &Tape<f64>, shape: impl AsRef<[usize]>, salt: usize) -> Tensor<'_, f64> {
    let n = shape.as_ref().iter().product();
    let data: Vec<f64> = (0..n).map(|i: usize| ((i * 31 + salt * 17) % 23) as f64 - 11.0).collect();
    tape.input(shape, &data)
}

/// One product `[m, k] x [k, n]` by three loops.
fn product(a: &[f64], b: &[f64], [m, k, n]: [usize; 3]) -> Vec<f64> {
    let at = |i: usize| (0..k).map(|l| a[i / n * k + l] * b[l * n + i % n]).sum();
    (0..m * n).map(at).collect()
}

#[test]
fn products_of_every_combination_of_ranks() {
    let tape = Tape::new_f64();
    for backend in [GemmBackend::Auto, GemmBackend::Direct, GemmBackend::MatrixMultiply] {
        tape.set_gemm_backend(backend);
        for (m, k, n) in [(1, 1, 1), (2, 3, 4), (5, 1, 7), (17, 33, 9), (4, 0, 3), (40, 65, 31)] {
            let (a, b) = (fill(&tape, [m, k], 1), fill(&tape, [k, n], 2));
            let expected = product(&a.to_vec(), &b.to_vec(), [m, k, n]);
            assert_eq!(a.matmul(b).to_vec(), expected);
            let (at, bt) = (a.t().contiguous().t(), b.t().contiguous().t());
            assert_eq!(at.matmul(b).to_vec(), expected);
            assert_eq!(a.matmul(bt).to_vec(), expected);
            assert_eq!(at.matmul(bt).to_vec(), expected);
            let (v, w) = (fill(&tape, [k], 3), fill(&tape, [k], 4));
            assert_eq!(a.matmul(v).to_vec(), product(&a.to_vec(), &v.to_vec(), [m, k, 1]));
            assert_eq!(v.matmul(b).to_vec(), product(&v.to_vec(), &b.to_vec(), [1, k, n]));
            assert_eq!(v.matmul(w).to_vec(), product(&v.to_vec(), &w.to_vec(), [1, k, 1]));
            assert_eq!((a.matmul(v).shape(), v.matmul(b).shape(), v.matmul(w).rank()), (&[m][..], &[n][..], 0));
        }
        // Batches broadcast: [2, 1, 3, 4] x [5, 4, 2] and their likes.
        let (a, b) = (fill(&tape, [2, 1, 3, 4], 1), fill(&tape, [5, 4, 2], 2));
        let y = a.matmul(b);
        assert_eq!(y.shape(), &[2, 5, 3, 2]);
        for i in 0..10 {
            let (a, b) = (&a.to_vec()[i / 5 * 12..][..12], &b.to_vec()[i % 5 * 8..][..8]);
            assert_eq!(&y.to_vec()[i * 6..][..6], product(a, b, [3, 4, 2]));
        }
        let (v, row) = (fill(&tape, [4], 5), fill(&tape, [3], 6));
        assert_eq!((a.matmul(v).shape(), row.matmul(a).shape()), (&[2, 1, 3][..], &[2, 1, 4][..]));
        same(&a.matmul(v).to_vec(), &product(&a.to_vec(), &v.to_vec(), [6, 4, 1]));
        let flat = fill(&tape, [4, 2], 7);
        assert_eq!(a.matmul(flat).to_vec(), product(&a.to_vec(), &flat.to_vec(), [6, 4, 2]));
        let strided = a.transpose(0, 1).matmul(flat);
        assert_eq!((strided.shape(), strided.to_vec()), (&[1, 2, 3, 2][..], a.matmul(flat).to_vec()));
        let stretched = flat.broadcast_to([3, 4, 2]);
        assert_eq!(
            fill(&tape, [3, 3, 4], 8).matmul(stretched).to_vec(),
            fill(&tape, [3, 3, 4], 8).matmul(flat).to_vec()
        );
    }
}

#[test]
fn views() {
    let tape = Tape::new_f64();
    let x = tape.arange(0.0, 24.0, 1.0).reshape([2, 3, 4]);
    let start = x.as_slice().as_ptr();
    let at = |i: usize, j: usize, k: usize| (i * 12 + j * 4 + k) as f64;
    let p = x.permute([2, 0, 1]);
    assert_eq!((p.shape(), p.is_contiguous()), (&[4, 2, 3][..], false));
    assert_eq!(p.to_array(), Array::from_fn([4, 2, 3], |i| at(i[1], i[2], i[0])));
    assert_eq!(p.permute([1, 2, 0]).as_slice().as_ptr(), start, "there and back without a copy");
    assert_eq!(x.permute([-1, 0, -2]).to_array(), p.to_array());
    assert_eq!(x.transpose(0, -1).to_array(), Array::from_fn([4, 3, 2], |i| at(i[2], i[1], i[0])));
    assert_eq!(x.t().to_array(), Array::from_fn([2, 4, 3], |i| at(i[0], i[2], i[1])));
    assert_eq!(x.transpose(1, 1).to_array(), x.to_array());
    assert_eq!(x.reshape([4, 6]).as_slice().as_ptr(), start);
    assert_eq!(x.reshape([24, 1, 1]).to_vec(), x.to_vec());
    assert_eq!(p.reshape([24]).to_vec(), p.to_vec());
    assert_eq!(p.reshape([2, 2, 6]).to_vec(), p.to_vec());
    assert_eq!(p.contiguous().as_slice(), p.to_vec());
    assert_eq!(x.contiguous().index(), x.index());
    let b = x.reshape([2, 1, 3, 4]).broadcast_to([5, 2, 2, 3, 4]);
    assert_eq!(b.to_array(), Array::from_fn([5, 2, 2, 3, 4], |i| at(i[1], i[3], i[4])));
    assert_eq!(b.reshape([10, 24]).len(), 240);
    assert_eq!(tape.scalar(3.0).broadcast_to([2, 2]).to_vec(), [3.0; 4]);
    assert_eq!(tape.scalar(3.0).reshape([1, 1]).t().reshape([]).item(), 3.0);
    assert_eq!(tape.scalar(3.0).permute([]).item(), 3.0);
    assert_eq!((tape.ones([2, 0]).t().shape(), tape.ones([2, 0]).t().is_contiguous()), (&[0, 2][..], true));
}

#[test]
fn broadcasting() {
    let tape = Tape::new_f64();
    let shapes: [&[usize]; 7] = [&[], &[1], &[4], &[3, 1], &[3, 4], &[2, 1, 4], &[2, 3, 1]];
    for (i, a) in shapes.iter().enumerate() {
        for (j, b) in shapes.iter().enumerate() {
            let (x, y) = (fill(&tape, a, i), fill(&tape, b, j + 10));
            let z = x - y * 2.0;
            let full = z.shape();
            let read = |of: Tensor<'_, f64>, index: &[usize]| {
                let own: Vec<usize> =
                    index[index.len() - of.rank()..].iter().zip(of.shape()).map(|(&i, &d)| i % d).collect();
                *of.to_array().get(&own).unwrap()
            };
            assert_eq!(z.to_array(), Array::from_fn(full, |index| read(x, index) - 2.0 * read(y, index)));
            let (a, b) = (x.require_grad(), y.require_grad());
            let grads = (a - b * 2.0).backward_with(tape.ones(full));
            let times = |of: Tensor<'_, f64>| (z.len() / of.len()) as f64;
            assert!(grads.get(a).unwrap().iter().all(|g| *g == times(a)));
            assert!(grads.get(b).unwrap().iter().all(|g| *g == -2.0 * times(b)));
        }
    }
}

/// The rows of `op`'s result, and of the gradient.
fn rows_of(x: &[f32], rows: usize, op: fn(Tensor<'_>) -> Tensor<'_>) -> [Vec<f32>; 2] {
    let tape = Tape::new();
    let x = tape.input([rows, x.len() / rows], x).require_grad();
    let y = op(x);
    let grads = (y * y).sum().backward();
    [y.to_vec(), grads.get(x).unwrap().as_slice().to_vec()]
}

/// Several rows take each step together: none gets anything of the others.
#[test]
fn rows_are_what_they_are_alone() {
    const ROWS: usize = if cfg!(miri) { 3 } else { 37 };
    let ops: [fn(Tensor<'_>) -> Tensor<'_>; 3] =
        [|x| x.softmax(-1), |x| x.log_softmax(-1), |x| x.layer_norm(1, None, None, 1e-5)];
    for len in [1, 5, 16, 17, 64, 65, 300, 1500] {
        let x: Vec<f32> = (0..ROWS * len).map(|i| (i as f32 * 0.3).sin() * 4.0).collect();
        for op in ops {
            let together = rows_of(&x, ROWS, op);
            for (i, row) in x.chunks(len).enumerate() {
                for (together, alone) in together.iter().zip(rows_of(row, 1, op)) {
                    assert_eq!(together[i * len..][..len], alone, "row {i} of {len}");
                }
            }
        }
    }
}

/// Sums of many equal numbers, whatever way they lie in memory.
#[test]
fn sums_of_many_keep_their_digits() {
    let n = 300_000;
    let tape = Tape::new();
    let close = |what: &str, got: f32, expected: f32| {
        assert!((got - expected).abs() <= 3e-6 * expected, "{what}: {got} for {expected}");
    };
    let x = tape.full([2, n], 0.1);
    close("a transposed matrix", x.t().mean_axes(0).to_vec()[1], 0.1);
    close("every other element", x.slice_step(1, .., 2).mean().item(), 0.1);
    close("a column", tape.full([n, 2], 0.1).select(1, 0).mean().item(), 0.1);
    close("columns apart", tape.full([n, 4], 0.1).slice_step(1, .., 2).mean_axes(0).to_vec()[1], 0.1);
    close("parts of rows", tape.full([n, 4], 0.1).narrow(1, 0, 3).mean().item(), 0.1);
    close("elements of rows", tape.full([n, 40], 0.1).slice_step(1, .., 2).mean().item(), 0.1);
    close("permuted", tape.full([n / 4, 4, 2], 0.1).permute([2, 0, 1]).mean_axes([1, 2]).to_vec()[1], 0.1);
    close("backwards", x.flip(1).mean_axes(1).to_vec()[0], 0.1);
    let beginnings = tape.full([n], 0.1).cumsum(0);
    close("the last of the beginnings", beginnings.to_vec()[n - 1], 0.1 * n as f32);
}

/// Values and slopes of the tanh form of GELU and of Huber's loss far out, and
/// what their curvature is there.
#[test]
fn far_out_nothing_is_infinity_times_0() {
    let tape = Tape::new();
    let x = tape.tensor([1.3e13, -1.3e13, f32::MAX, f32::MIN, 5.0]).require_grad();
    let y = x.gelu_tanh();
    let [slope] = y.sum().grad([x]);
    let [curvature] = slope.sum().grad([x]);
    assert_eq!(slope.to_vec()[..4], [1.0, 0.0, 1.0, 0.0]);
    assert_eq!(curvature.to_vec()[..4], [0.0; 4]);
    // Computed with 40 digits.
    let bent = curvature.to_vec()[4];
    assert!((bent + 9.934_132e-6).abs() < 5e-11, "{bent}");

    let x = tape.tensor([f32::INFINITY, 2e38, -2e38, 0.0, 0.5, 1.0, -3.0]).require_grad();
    let y = x.huber_loss(tape.zeros([7]), 1.0, Reduction::None);
    assert_eq!(y.to_vec(), [f32::INFINITY, 2e38, 2e38, 0.0, 0.125, 0.5, 2.5]);
    let [slope] = y.sum().grad([x]);
    assert_eq!(slope.to_vec(), [1.0, 1.0, -1.0, 0.0, 0.5, 1.0, -1.0]);
    let [curvature] = slope.sum().grad([x]);
    assert_eq!(curvature.to_vec(), [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
}

#[test]
fn angles_and_distances_at_the_origin_and_far_from_it() {
    let tape = Tape::new();
    let [a, b, c] = [0.0, 0.0, 1.0].map(|x| tape.scalar(x).require_grad());
    let [by_a, by_b] = (a.atan2(b) * c).grad([a, b]);
    assert_eq!([by_a.item(), by_b.item()], [0.0; 2]);
    assert_eq!(by_a.grad([c])[0].item(), 0.0);

    let a = tape.tensor([3e38, 1e-40, 1e38]).require_grad();
    let y = a.hypot(0.0) * tape.tensor([1e-7, 1.0, 1e-5]);
    assert_eq!(y.sum().grad([a])[0].to_vec(), [1e-7, 1.0, 1e-5]);
}

#[test]
fn an_odd_power_keeps_the_sign() {
    let tape = Tape::new();
    for n in [16_777_217, i32::MAX, -16_777_217] {
        assert_eq!(tape.tensor([-1.0]).powi(n).to_vec(), [-1.0], "{n}");
    }
    assert_eq!(tape.tensor([-1.0]).powi(16_777_218).to_vec(), [1.0]);
}

#[test]
fn ranges_which_begin_before_the_first_position() {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let x = Tape::new();
    let x = x.arange(0.0, 3.0, 1.0);
    let of = |from, to| x.slice(0, (from, to)).to_vec();
    assert_eq!(of(Excluded(-5), Unbounded), [0.0, 1.0, 2.0]);
    assert_eq!(of(Excluded(-1), Unbounded), [0.0; 0]);
    assert_eq!(of(Excluded(0), Included(-1)), [1.0, 2.0]);
    assert_eq!(of(Excluded(-3), Included(-2)), [1.0]);
    assert_eq!(of(Included(isize::MIN), Included(isize::MAX)), [0.0, 1.0, 2.0]);
}

/// As many axes as there may be.
#[test]
fn a_norm_of_all_axes() {
    let tape = Tape::new_f64();
    let second = |dims: Vec<usize>| {
        let x = tape.tensor([0.3, -0.7, 1.1]).reshape(&dims[..]).require_grad();
        let y = x.layer_norm(dims.len(), None, None, 1e-5);
        let [g] = (y.square() * y).sum().grad([x]);
        g.square().sum().grad([x])[0].to_vec()
    };
    let mut dims = vec![1; 63];
    dims.push(3);
    for (a, b) in second(dims).iter().zip(second(vec![3])) {
        assert!((a - b).abs() <= 1e-9 * b.abs().max(1.0), "{a} {b}");
    }
}
