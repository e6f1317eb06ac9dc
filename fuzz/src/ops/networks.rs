//! Losses, convolutions, pools, normalisations, attention, cells.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wengert::{Attention, Conv, CrossEntropy, Pool, RecurrentCell, Tape};

use super::T;
use super::rows::{Row, reduced, reduction, rows};
use crate::nd::Nd;
use crate::scalars::Fold;

const PAIR: [&[usize]; 2] = [&[2, 3], &[2, 3]];
const LOGITS: &[usize] = &[3, 4];

fn labels(k: usize) -> [usize; 3] {
    [k % 4, k / 4 % 4, k / 16 % 4]
}

fn signs<'t>(tape: &'t Tape<f64>) -> T<'t> {
    tape.input([2, 3], &[1.0, -1.0, 1.0, -1.0, -1.0, 1.0])
}

fn constant(like: &Nd, shape: &[usize], values: &[f64]) -> Nd {
    Nd::constant(&like.graph, shape, values)
}

fn huber(x: &Nd, y: &Nd, delta: f64) -> Nd {
    let d = x - y;
    let size = d.f("abs");
    (d.f("square") * 0.5).choose(&size.mask("le", delta), &((size - delta / 2.0) * delta))
}

/// The cross-entropy of logits with a target, without weights.
fn logits(x: &Nd, t: &Nd) -> Nd {
    let negative = |x: &Nd| x.f("log_sigmoid");
    -(t * negative(x) + (1.0 - t) * negative(&-x))
}

fn cosine(x: &Nd, y: &Nd) -> Nd {
    let length = |x: &Nd| {
        let length = x.f("square").fold_axis(Fold::Sum, 1).f("sqrt");
        length.choose(&length.mask("ge", 1e-8), &length.number(1e-8))
    };
    (x * y).fold_axis(Fold::Sum, 1) / (length(x) * length(y))
}

fn entropy_options<'t>(weight: T<'t>, k: usize) -> CrossEntropy<'t, f64> {
    CrossEntropy {
        weight: Some(weight),
        ignore: Some(labels(k)[1]),
        label_smoothing: 0.2,
        axis: -1,
        reduction: reduction(k),
    }
}

/// Of log-probabilities: the weighted negative likelihood of labels, the
/// second of which is ignored, with a fifth spread over all classes.
fn likelihood(x: &Nd, w: &Nd, k: usize) -> Nd {
    let labels = labels(k);
    let kept: Vec<f64> = labels.iter().map(|&l| f64::from(u8::from(l != labels[1]))).collect();
    let kept = constant(x, &[3], &kept);
    let weights = w.select(0, &labels) * &kept;
    let picked = x.with(&[3], (0..3).map(|row| x.get(&[row, labels[row]])).collect());
    let spread = (x * w).fold_axis(Fold::Sum, 1) * kept;
    let losses = -(picked * &weights * 0.8 + spread * 0.05);
    match k % 3 {
        0 => losses.sum() / weights.sum(),
        _ => reduced(losses, k),
    }
}

pub const LOSSES: &[Row] = rows! {
    "mse_loss" PAIR, |_, t, k| t[0].mse_loss_with(t[1], reduction(k)), |x, k| reduced((&x[0] - &x[1]).f("square"), k);
    "mse_loss, mean" PAIR, |_, t, _| t[0].mse_loss(t[1]), |x, _| (&x[0] - &x[1]).f("square").mean();
    "l1_loss" PAIR, |_, t, k| t[0].l1_loss(t[1], reduction(k)), |x, k| reduced((&x[0] - &x[1]).f("abs"), k);
    "huber_loss" PAIR, |_, t, k| t[0].huber_loss(t[1], 0.5, reduction(k)), |x, k| reduced(huber(&x[0], &x[1], 0.5), k);
    "smooth_l1_loss" PAIR, |_, t, k| t[0].smooth_l1_loss(t[1], 0.5, reduction(k)),
        |x, k| reduced(huber(&x[0], &x[1], 0.5) / 0.5, k);
    "binary_cross_entropy" PAIR, |_, t, k| t[0].sigmoid().binary_cross_entropy(t[1].sigmoid(), reduction(k)), |x, k| {
        let (p, t) = (x[0].f("sigmoid"), x[1].f("sigmoid"));
        reduced(-(&t * p.f("ln") + (1.0 - &t) * (1.0 - p).f("ln")), k)
    };
    "binary_cross_entropy_with_logits" PAIR, |_, t, _| t[0].binary_cross_entropy_with_logits(t[1]),
        |x, _| logits(&x[0], &x[1]).mean();
    "weighted logits" [&[2, 3], &[2, 3], &[3], &[3]], |_, t, k| {
        t[0].binary_cross_entropy_with_logits_with(t[1], Some(t[2]), Some(t[3]), reduction(k))
    }, |x, k| {
        let positive = &x[3] * &x[1] * x[0].f("log_sigmoid");
        reduced(-(positive + (1.0 - &x[1]) * (-&x[0]).f("log_sigmoid")) * &x[2], k)
    };
    "kl_div" PAIR, |_, t, k| t[0].kl_div(t[1].sigmoid(), false, reduction(k)), |x, k| {
        let t = x[1].f("sigmoid");
        reduced(&t * (t.f("ln") - &x[0]), k)
    };
    "kl_div of logarithms" PAIR, |_, t, k| t[0].kl_div(t[1], true, reduction(k)),
        |x, k| reduced(x[1].f("exp") * (&x[1] - &x[0]), k);
    "hinge_embedding_loss" [&[2, 3]], |tape, t, k| t[0].hinge_embedding_loss(signs(tape), 1.5, reduction(k)), |x, k| {
        let positive = constant(&x[0], &[2, 3], &[1.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
        reduced(x[0].choose(&positive, &(1.5 - &x[0]).f("relu")), k)
    };
    "cosine_similarity" PAIR, |_, t, _| t[0].cosine_similarity(t[1], -1, 1e-8), |x, _| cosine(&x[0], &x[1]);
    "cosine_embedding_loss" PAIR, |tape, t, k| {
        t[0].cosine_embedding_loss(t[1], tape.input([2], &[1.0, -1.0]), 0.1, reduction(k))
    }, |x, k| {
        let cos = cosine(&x[0], &x[1]);
        let near = constant(&cos, &[2], &[1.0, 0.0]);
        reduced((1.0 - &cos).choose(&near, &(cos - 0.1).f("relu")), k)
    };
    "cross_entropy" [LOGITS], |_, t, k| t[0].cross_entropy(&labels(k)), |x, k| {
        let (soft, labels) = (x[0].softmax(1, true), labels(k));
        -soft.with(&[3], (0..3).map(|row| soft.get(&[row, labels[row]])).collect()).mean()
    };
    "cross_entropy_with" [LOGITS, &[4]], |_, t, k| t[0].cross_entropy_with(&labels(k), entropy_options(t[1].exp(), k)),
        |x, k| likelihood(&x[0].softmax(1, true), &x[1].f("exp"), k);
    "nll_loss" [LOGITS, &[4]], |_, t, k| t[0].nll_loss(&labels(k), entropy_options(t[1].exp(), k)),
        |x, k| likelihood(&x[0], &x[1].f("exp"), k);
    "cross_entropy_soft" [LOGITS, LOGITS, &[4]], |_, t, k| {
        t[0].cross_entropy_soft(t[1].softmax(-1), CrossEntropy { ignore: None, ..entropy_options(t[2], k) })
    }, |x, k| {
        let target = x[1].softmax(1, false) * 0.8 + 0.05;
        reduced(-(x[0].softmax(1, true) * target * &x[2]).fold_axis(Fold::Sum, 1), k)
    };
};

/// Options of a convolution, by number.
fn conv(k: usize) -> Conv<2> {
    let pick = |shift: usize, n: usize| (k >> shift) % n;
    Conv {
        stride: [1 + pick(0, 2), 1 + pick(1, 2)],
        padding: [pick(2, 2), pick(3, 2)],
        dilation: [1 + pick(4, 2), 1],
        groups: 1 + pick(5, 2),
        ..Conv::default()
    }
}

fn conv1(k: usize) -> Conv<1> {
    Conv { stride: [1 + k % 2], padding: [k / 2 % 3], dilation: [1 + k / 8 % 2], ..Conv::default() }
}

/// The same along two axes, the first of length 1.
fn widened(c: Conv<1>) -> Conv<2> {
    Conv {
        stride: [1, c.stride[0]],
        padding: [0, c.padding[0]],
        dilation: [1, c.dilation[0]],
        groups: c.groups,
        output_padding: [0, c.output_padding[0]],
    }
}

/// `[n, c, 1, length]`
fn widen(x: &Nd) -> Nd {
    x.reshape(&[x.shape[0], x.shape[1], 1, x.shape[2]])
}

fn narrow(x: Nd) -> Nd {
    x.reshape(&[x.shape[0], x.shape[1], x.shape[3]])
}

/// Pairs of a position and an element of the kernel which meet at `y`, for a
/// convolution: `position = y stride + element dilation - padding`.
fn meeting(c: &Conv<2>, axis: usize, y: usize, of: usize, size: usize) -> Vec<(usize, usize)> {
    let at = |a: usize| (y * c.stride[axis] + a * c.dilation[axis]).checked_sub(c.padding[axis]);
    (0..size).filter_map(|a| at(a).filter(|&p| p < of).map(|p| (p, a))).collect()
}

/// The padding counts: a weight which is not finite, times its zeros, is NaN or
/// nothing, as the way of computing it has it.
fn convolve(x: &Nd, w: &Nd, c: Conv<2>) -> Nd {
    let (per_group, outputs) = (w.shape[1], w.shape[0] / c.groups);
    let out =
        |i: usize| (x.shape[2 + i] + 2 * c.padding[i] - c.dilation[i] * (w.shape[2 + i] - 1) - 1) / c.stride[i] + 1;
    let finite = w.at.iter().all(|&w| x.graph.borrow().value(w).v.is_finite());
    let anything = x.graph.borrow_mut().leaf_with_error(0.0, 0.0, f64::INFINITY);
    if !finite && c.padding != [0, 0] {
        x.graph.borrow_mut().doubt(true);
    }
    x.products(&[x.shape[0], w.shape[0], out(0), out(1)], |i| {
        let first = i[1] / outputs * per_group;
        let rows = meeting(&c, 0, i[2], x.shape[2], w.shape[2]);
        let columns = meeting(&c, 1, i[3], x.shape[3], w.shape[3]);
        let mut pairs = Vec::new();
        for channel in 0..per_group {
            for &(p, a) in &rows {
                for &(q, b) in &columns {
                    pairs.push((x.get(&[i[0], first + channel, p, q]), w.get(&[i[1], channel, a, b])));
                }
            }
        }
        if !finite && rows.len() * columns.len() < w.shape[2] * w.shape[3] {
            pairs.push((anything, anything));
        }
        pairs
    })
}

fn convolve_transposed(x: &Nd, w: &Nd, c: Conv<2>) -> Nd {
    let (inputs, outputs) = (x.shape[1] / c.groups, w.shape[1]);
    let out = |i: usize| {
        (x.shape[2 + i] - 1) * c.stride[i] + c.dilation[i] * (w.shape[2 + i] - 1) + 1 + c.output_padding[i]
            - 2 * c.padding[i]
    };
    let shape = [x.shape[0], outputs * c.groups, out(0), out(1)];
    x.products(&shape, |i| {
        let group = i[1] / outputs;
        let mut pairs = Vec::new();
        for channel in group * inputs..(group + 1) * inputs {
            for p in 0..x.shape[2] {
                for q in 0..x.shape[3] {
                    let meets = |&(a, b): &(usize, usize)| {
                        p * c.stride[0] + a * c.dilation[0] == i[2] + c.padding[0]
                            && q * c.stride[1] + b * c.dilation[1] == i[3] + c.padding[1]
                    };
                    let all = (0..w.shape[2]).flat_map(|a| (0..w.shape[3]).map(move |b| (a, b)));
                    let pair = |(a, b)| (x.get(&[i[0], channel, p, q]), w.get(&[channel, i[1] % outputs, a, b]));
                    pairs.extend(all.filter(meets).map(pair));
                }
            }
        }
        pairs
    })
}

fn pool(k: usize) -> Pool<2> {
    let pick = |shift: usize, n: usize| (k >> shift) % n;
    Pool {
        size: [2, 2],
        stride: [1 + pick(0, 2), 1 + pick(1, 2)],
        padding: [pick(2, 2), pick(3, 2)],
        dilation: [1 + pick(4, 2), 1],
        count_padding: pick(5, 2) == 1,
        partial: pick(6, 2) == 1,
    }
}

/// The elements of every window over the last two axes, and how many of its
/// places are within the padding.
fn pooled(x: &Nd, pool: Pool<2>, mut f: impl FnMut(&[usize], usize) -> usize) -> Nd {
    let c = Conv { stride: pool.stride, padding: pool.padding, dilation: pool.dilation, ..Conv::default() };
    let padded = |i: usize| x.shape[2 + i] + 2 * pool.padding[i];
    let out = |i: usize| {
        let span = pool.dilation[i] * (pool.size[i] - 1) + 1;
        let starts = 0..padded(i) - if pool.partial { pool.padding[i] } else { 0 };
        let fits = |s: &usize| s + span <= padded(i) || pool.partial && padded(i) + pool.stride[i] > s + span;
        starts.step_by(pool.stride[i]).take_while(fits).count()
    };
    let shape = [x.shape[0], x.shape[1], out(0), out(1)];
    let places = |axis: usize, y: usize| {
        let at = |a: &usize| y * c.stride[axis] + a * c.dilation[axis];
        (0..pool.size[axis]).filter(|a| at(a) < padded(axis)).count()
    };
    let window = |i: &Vec<usize>| {
        let mut window = Vec::new();
        for (p, _) in meeting(&c, 0, i[2], x.shape[2], pool.size[0]) {
            for (q, _) in meeting(&c, 1, i[3], x.shape[3], pool.size[1]) {
                window.push(x.get(&[i[0], i[1], p, q]));
            }
        }
        f(&window, places(0, i[2]) * places(1, i[3]))
    };
    x.with(&shape, crate::nd::indices(&shape).iter().map(window).collect())
}

fn max_pool(x: &Nd, pool: Pool<2>) -> Nd {
    pooled(x, pool, |window, _| {
        let s = &mut *x.graph.borrow_mut();
        let (at, sure) = s.position(window, true);
        s.doubt(!sure);
        window[at]
    })
}

fn avg_pool(x: &Nd, pool: Pool<2>) -> Nd {
    pooled(x, pool, |window, places| {
        let s = &mut *x.graph.borrow_mut();
        let sum = s.fold(Fold::Sum, window);
        let share = s.leaf(1.0 / if pool.count_padding { places } else { window.len() } as f64, 0.0);
        s.mul(sum, share)
    })
}

fn normal(x: &Nd, fold: impl Fn(&Nd) -> Nd) -> Nd {
    let centered = x - fold(x);
    &centered / (fold(&centered.f("square")) + 0.01).f("sqrt")
}

const QKV: [&[usize]; 4] = [&[3, 2], &[4, 2], &[4, 3], &[3, 4]];
/// The second query may look at nothing.
const ALLOWED: [f64; 12] = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0];

fn attention(x: &[Nd], k: usize) -> Nd {
    let may = |i: usize| (k & 1 == 0 || i % 4 <= i / 4) && (k & 2 == 0 || ALLOWED[i] > 0.0);
    let mut scores = x[0].matmul(&x[1].t()).expect("shapes which fit") * if k & 8 == 8 { 0.7 } else { 0.5f64.sqrt() };
    if k & 4 == 4 {
        scores = scores + &x[3];
    }
    // A row which may look at nothing keeps its zeros.
    let mut weights = constant(&x[0], &[3, 4], &[0.0; 12]);
    for row in 0..3 {
        let seen: Vec<usize> = (4 * row..4 * row + 4).filter(|&i| may(i)).collect();
        let line: Vec<usize> = seen.iter().map(|&i| scores.at[i]).collect();
        let soft = x[0].graph.borrow_mut().softmax(&line, false);
        seen.into_iter().zip(soft).for_each(|(i, w)| weights.at[i] = w);
    }
    weights.matmul(&x[2]).expect("shapes which fit")
}

/// The `i`-th part of the last axis in pieces of 2.
fn gate(x: &Nd, i: usize) -> Nd {
    x.select(1, &[2 * i, 2 * i + 1])
}

fn parts(x: &[Nd]) -> [Nd; 2] {
    let product = |a: &Nd, b: &Nd| a.matmul(b).expect("shapes which fit");
    [product(&x[0], &x[2]), product(&x[1], &x[3])]
}

pub const LAYERS: &[Row] = rows! {
    "conv2d" [&[1, 2, 4, 3], &[2, 2, 2, 2], &[2]], |_, t, k| {
        let c = conv(k);
        t[0].conv2d(t[1].narrow(1, 0, 2 / c.groups), Some(t[2]), c)
    }, |x, k| {
        let c = conv(k);
        convolve(&x[0], &x[1].select(1, &[0, 1][..2 / c.groups]), c) + x[2].reshape(&[2, 1, 1])
    };
    "conv1d" [&[2, 2, 5], &[3, 2, 2]], |_, t, k| t[0].conv1d(t[1], None, conv1(k)),
        |x, k| narrow(convolve(&widen(&x[0]), &widen(&x[1]), widened(conv1(k))));
    "conv_transpose2d" [&[1, 2, 3, 2], &[2, 2, 2, 2], &[4]], |_, t, k| {
        let c = Conv { output_padding: [k / 64 % 2, k / 128], ..conv(k) };
        t[0].conv_transpose2d(t[1], Some(t[2].narrow(0, 0, 2 * c.groups)), c)
    }, |x, k| {
        let c = Conv { output_padding: [k / 64 % 2, k / 128], ..conv(k) };
        let outputs = 2 * c.groups;
        convolve_transposed(&x[0], &x[1], c) + x[2].select(0, &[0, 1, 2, 3][..outputs]).reshape(&[outputs, 1, 1])
    };
    "conv_transpose1d" [&[2, 2, 3], &[2, 3, 2]], |_, t, k| t[0].conv_transpose1d(t[1], None, Conv { padding: [k / 2 % 2], ..conv1(k) }),
        |x, k| narrow(convolve_transposed(&widen(&x[0]), &widen(&x[1]), widened(Conv { padding: [k / 2 % 2], ..conv1(k) })));
    "max_pool2d" [&[1, 2, 4, 3]], |_, t, k| t[0].max_pool2d(pool(k)), |x, k| max_pool(&x[0], pool(k));
    "avg_pool2d" [&[1, 2, 4, 3]], |_, t, k| t[0].avg_pool2d(pool(k)), |x, k| avg_pool(&x[0], pool(k));
    "max_pool1d" [&[2, 6]], |_, t, k| t[0].max_pool1d(Pool { padding: [k % 2], ..Pool::new([2]) }), |x, k| {
        let pool = Pool { size: [1, 2], stride: [1, 2], padding: [0, k % 2], dilation: [1, 1], count_padding: true, partial: false };
        let y = max_pool(&x[0].reshape(&[2, 1, 1, 6]), pool);
        y.reshape(&[2, y.shape[3]])
    };
    "avg_pool1d" [&[2, 6]], |_, t, k| t[0].avg_pool1d(Pool { padding: [k % 2], ..Pool::new([2]) }), |x, k| {
        let pool = Pool { size: [1, 2], stride: [1, 2], padding: [0, k % 2], dilation: [1, 1], count_padding: true, partial: false };
        let y = avg_pool(&x[0].reshape(&[2, 1, 1, 6]), pool);
        y.reshape(&[2, y.shape[3]])
    };
    "linear" [&[2, 3], &[3, 2], &[2]], |_, t, _| t[0].linear(t[1], Some(t[2])),
        |x, _| x[0].matmul(&x[1]).expect("shapes which fit") + &x[2];
    "layer_norm" [&[2, 3, 2], &[3, 2], &[3, 2]], |_, t, _| t[0].layer_norm(2, Some(t[1]), Some(t[2]), 0.01),
        |x, _| normal(&x[0], |x| x.fold_last(Fold::Mean, 2)) * &x[1] + &x[2];
    "rms_norm" [&[2, 3], &[3]], |_, t, _| t[0].rms_norm(1, Some(t[1]), 0.01),
        |x, _| &x[0] / (x[0].f("square").fold_last(Fold::Mean, 1) + 0.01).f("sqrt") * &x[1];
    "group_norm" [&[2, 4, 2], &[4], &[4]], |_, t, _| t[0].group_norm(2, Some(t[1]), Some(t[2]), 0.01), |x, _| {
        let y = normal(&x[0].reshape(&[2, 2, 4]), |x| x.fold_last(Fold::Mean, 1));
        y.reshape(&[2, 4, 2]) * x[1].reshape(&[4, 1]) + x[2].reshape(&[4, 1])
    };
    "batch_norm" [&[3, 2, 2], &[2], &[2]], |_, t, _| t[0].batch_norm(Some(t[1]), Some(t[2]), 0.01).0, |x, _| {
        let y = normal(&x[0], |x| x.fold(0b101, true, |s, line| s.fold(Fold::Mean, line)));
        y * x[1].reshape(&[2, 1]) + x[2].reshape(&[2, 1])
    };
    "batch_norm_with" [&[3, 2], &[2], &[2]], |_, t, _| t[0].batch_norm_with(t[1], t[2].exp(), Some(t[2]), None, 0.01),
        |x, _| (&x[0] - &x[1]) / (x[2].f("exp") + 0.01).f("sqrt") * &x[2];
    "embedding" [&[3, 2]], |_, t, k| t[0].embedding([2, 2], &[k % 3, 2, k / 3 % 3, 0], Some(1)), |x, k| {
        let constant = x[0].map(|s, x| s.detach(x));
        let table = Nd::concat(&[x[0].select(0, &[0]), constant.select(0, &[1]), x[0].select(0, &[2])], 0);
        table.select(0, &[k % 3, 2, k / 3 % 3, 0]).reshape(&[2, 2, 2])
    };
    "dropout" [&[3, 4]], |_, t, k| t[0].dropout(0.4, &mut StdRng::seed_from_u64(k as u64)), |x, k| {
        let mut rng = StdRng::seed_from_u64(k as u64);
        let mask: Vec<f64> = (0..12).map(|_| if rng.random_bool(0.4) { 0.0 } else { 1.0 / 0.6 }).collect();
        &x[0] * constant(&x[0], &[3, 4], &mask)
    };
    "attention" QKV, |tape, t, k| {
        let options = Attention {
            causal: k & 1 == 1,
            allowed: (k & 2 == 2).then(|| tape.input([3, 4], &ALLOWED)),
            bias: (k & 4 == 4).then_some(t[3]),
            scale: (k & 8 == 8).then_some(0.7),
        };
        t[0].attention(t[1], t[2], options)
    }, |x, k| attention(x, k);
    "rnn_cell" [&[2, 3], &[2, 2], &[3, 2], &[2, 2]],
        |_, t, _| t[0].rnn_cell(t[1], RecurrentCell { input: t[2], hidden: t[3], bias: None }), |x, _| {
            let [from_x, from_h] = parts(x);
            (from_x + from_h).f("tanh")
        };
    "gru_cell" [&[2, 3], &[2, 2], &[3, 6], &[2, 6], &[6]],
        |_, t, _| t[0].gru_cell(t[1], RecurrentCell { input: t[2], hidden: t[3], bias: Some([t[4], t[4]]) }), |x, _| {
            let [from_x, from_h] = parts(x).map(|p| p + &x[4]);
            let reset = (gate(&from_x, 0) + gate(&from_h, 0)).f("sigmoid");
            let update = (gate(&from_x, 1) + gate(&from_h, 1)).f("sigmoid");
            let new = (gate(&from_x, 2) + reset * gate(&from_h, 2)).f("tanh");
            (1.0 - &update) * new + update * &x[1]
        };
    "lstm_cell" [&[2, 3], &[2, 2], &[3, 8], &[2, 8]], |_, t, _| {
        let (hidden, memory) = t[0].lstm_cell(t[1], t[1].sin(), RecurrentCell { input: t[2], hidden: t[3], bias: None });
        hidden + memory
    }, |x, _| {
        let [from_x, from_h] = parts(x);
        let gates = from_x + from_h;
        let [input, forget, cell, output] = [0, 1, 2, 3].map(|i| gate(&gates, i));
        let memory = forget.f("sigmoid") * x[1].f("sin") + input.f("sigmoid") * cell.f("tanh");
        output.f("sigmoid") * memory.f("tanh") + memory
    };
};
