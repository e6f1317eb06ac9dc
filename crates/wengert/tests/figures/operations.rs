//! Reductions, scans, arrangements, losses and what networks compute.

use wengert::{Attention, Conv, CrossEntropy, Padding, Pool, RecurrentCell, Reduction, Tape};

use crate::{T, check};

fn numbers<const N: usize, P: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> [P; N] {
    text.split(',').map(|n| n.parse().unwrap()).collect::<Vec<P>>().try_into().ok().unwrap()
}

fn reduction(text: &str) -> Reduction {
    match text {
        "mean" => Reduction::Mean,
        "sum" => Reduction::Sum,
        _ => Reduction::None,
    }
}

fn run<'t>(tape: &'t Tape<f64>, case: &str, x: &[T<'t>]) -> T<'t> {
    let (name, option) = case.split_once(' ').unwrap_or((case, ""));
    let number = || option.parse::<f64>().unwrap();
    let axis = || option.parse::<isize>().unwrap();
    match name {
        "prod" => x[0].prod(),
        "prod_axes" => x[0].prod_axes(axis()),
        "cumsum" => x[0].cumsum(axis()),
        "cumprod" => x[0].cumprod(axis()),
        "logcumsumexp" => x[0].logcumsumexp(axis()),
        "var" => x[0].var(number()),
        "std" => x[0].std(number()),
        "var_axes" => x[0].var_axes(number(), -1),
        "std_axes" => x[0].std_axes(number(), -1),
        "norm" => x[0].norm(number()),
        "norm_axes" => x[0].norm_axes(number(), -1),
        "max_axis" => x[0].max_axis(-1).0,
        "min_axis" => x[0].min_axis(-1).0,
        "amax_axes" => x[0].amax_axes(-1),
        "amin_axes" => x[0].amin_axes(-1),
        "pad" => {
            let (mode, amounts) = option.split_once(' ').unwrap();
            let [left, right, top, bottom] = numbers(amounts);
            let padding = match mode {
                "const" => Padding::Constant(0.5),
                "reflect" => Padding::Reflect,
                "replicate" => Padding::Replicate,
                _ => Padding::Circular,
            };
            x[0].pad(&[(top, bottom), (left, right)], padding)
        }
        "roll" => x[0].roll(-2, 1),
        "repeat" => x[0].repeat(&[2, 1, 3]),
        "repeat_interleave" => x[0].repeat_interleave(2, 1),
        "diagonal" => x[0].diagonal(axis(), 0, 2),
        "diag_embed" => x[0].diag_embed(axis(), 0, -1),
        "scatter_add" => x[0].scatter_add(0, &[0, 2, 2, 1, 0, 2], x[1]),
        "gather" => x[0].gather(0, [2, 3], &[0, 2, 2, 1, 0, 2]),
        _ => loss(tape, name, option, x),
    }
}

fn loss<'t>(tape: &'t Tape<f64>, name: &str, option: &str, x: &[T<'t>]) -> T<'t> {
    let reduce = reduction(option);
    let plain = CrossEntropy { reduction: reduce, ..CrossEntropy::default() };
    match name {
        "mse" => x[0].mse_loss_with(x[1], reduce),
        "l1" => x[0].l1_loss(x[1], reduce),
        "huber" => x[0].huber_loss(x[1], 0.7, reduce),
        "smooth_l1" => x[0].smooth_l1_loss(x[1], 0.7, reduce),
        "kl" => x[0].kl_div(x[1], false, reduce),
        "kl_log" => x[0].kl_div(x[1], true, reduce),
        "bce" => x[0].binary_cross_entropy(x[1], reduce),
        "bce_logits" => {
            x[0].binary_cross_entropy_with_logits_with(x[1], Some(x[2].detach()), Some(x[3].detach()), reduce)
        }
        "bce_logits_plain" => x[0].binary_cross_entropy_with_logits_with(x[1], None, None, Reduction::None),
        "hinge" => {
            let target = tape.tensor([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]]);
            x[0].hinge_embedding_loss(target, 0.8, reduce)
        }
        "cos_embed" => x[0].cosine_embedding_loss(x[1], tape.tensor([1.0, -1.0, 1.0]), 0.1, reduce),
        "cos_sim" => x[0].cosine_similarity(x[1], -1, 1e-8),
        "ce" => x[0].cross_entropy_with(&[2, 0, 3], plain),
        "ce_all" => {
            let options = CrossEntropy { weight: Some(x[1].detach()), ignore: Some(1), label_smoothing: 0.2, ..plain };
            x[0].cross_entropy_with(&[2, 1, 3], options)
        }
        "ce_soft" => x[0].cross_entropy_soft(x[1], CrossEntropy { label_smoothing: 0.1, ..plain }),
        "ce_none_left" => x[0].cross_entropy_with(&[1; 3], CrossEntropy { ignore: Some(1), ..CrossEntropy::default() }),
        "nll" => x[0].nll_loss(&[2, 0, 3], plain),
        _ => layer(tape, name, option, x),
    }
}

fn layer<'t>(tape: &'t Tape<f64>, name: &str, option: &str, x: &[T<'t>]) -> T<'t> {
    let pool = || {
        let [size, stride, padding] = numbers::<3, usize>(option);
        Pool { stride: [stride; 2], padding: [padding; 2], ..Pool::new([size; 2]) }
    };
    let bias = |n: usize| {
        let biases = [|i: f64| 0.1 * i, |i: f64| 0.3 - 0.1 * i];
        Some(biases.map(|f| tape.input([n], &(0..n).map(|i| f(i as f64)).collect::<Vec<_>>())))
    };
    let cell = |gates: usize| RecurrentCell { input: x[2], hidden: x[3], bias: bias(2 * gates) };
    match name {
        "conv2d" => {
            let [stride, padding, dilation, groups] = numbers::<4, usize>(option);
            let conv =
                Conv { stride: [stride; 2], padding: [padding; 2], dilation: [dilation; 2], groups, ..Conv::default() };
            x[0].conv2d(x[1], Some(x[2]), conv)
        }
        "conv1d" => {
            let [stride, padding, dilation, groups] = numbers::<4, usize>(option);
            let conv = Conv { stride: [stride], padding: [padding], dilation: [dilation], groups, ..Conv::default() };
            x[0].conv1d(x[1], Some(x[2]), conv)
        }
        "convt2d" => {
            let [stride, padding, dilation, groups, extra] = numbers::<5, usize>(option);
            let (stride, padding, dilation) = ([stride; 2], [padding; 2], [dilation; 2]);
            let conv = Conv { stride, padding, dilation, groups, output_padding: [extra; 2] };
            x[0].conv_transpose2d(x[1], Some(x[2]), conv)
        }
        "max_pool" => x[0].max_pool2d(pool()),
        "avg_pool" => x[0].avg_pool2d(pool()),
        "avg_pool_not" => x[0].avg_pool2d(Pool { count_padding: false, ..pool() }),
        "layer_norm" => x[0].layer_norm(2, Some(x[1]), Some(x[2]), 1e-5),
        "rms_norm" => x[0].rms_norm(1, Some(x[1]), 1e-6),
        "group_norm" => x[0].group_norm(2, Some(x[1]), Some(x[2]), 1e-5),
        "batch_norm" => x[0].batch_norm(Some(x[1]), Some(x[2]), 1e-5).0,
        "batch_norm_eval" => {
            let (mean, variance) = (tape.tensor([0.1, 0.2, 0.3]), tape.tensor([1.0, 2.0, 0.5]));
            x[0].batch_norm_with(mean, variance, Some(x[1]), Some(x[2]), 1e-5)
        }
        "embedding" => x[0].embedding([2, 2], &[0, 2, 2, 1], Some(1)),
        "attention" => {
            let plain = Attention::default();
            let options = match option {
                "causal" => Attention { causal: true, ..plain },
                "bias" => Attention { bias: Some(x[3]), scale: Some(0.3), ..plain },
                "mask" => {
                    let mask = tape.tensor([[1.0, 0.0, 1.0, 1.0, 0.0], [0.0; 5], [1.0; 5]]);
                    Attention { allowed: Some(mask), ..plain }
                }
                _ => plain,
            };
            x[0].attention(x[1], x[2], options)
        }
        "rnn" => x[0].rnn_cell(x[1], cell(1)),
        "gru" => x[0].gru_cell(x[1], cell(3)),
        "lstm" => {
            let (h, c) = x[0].lstm_cell(x[1], x[1] * x[1], cell(4));
            h + c * c
        }
        _ => panic!("no case {name}"),
    }
}

#[test]
fn values_and_derivatives() {
    check(include_str!("../fixtures/operations.txt"), run);
}
