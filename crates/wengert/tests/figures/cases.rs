//! What the drawn cases run: an op by its name, with its options.

use wengert::{
    Attention, Conv, CrossEntropy, Padding, Pool, RecurrentCell, Reduction, Scalar, Tape, Tensor, Triangular,
};

/// The options of a case: `key=value` after its name.
pub(crate) struct Case<'a> {
    name: &'a str,
    options: Vec<(&'a str, &'a str)>,
}

impl<'a> Case<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let mut words = text.split(' ');
        let name = words.next().unwrap();
        Case { name, options: words.map(|w| w.split_once('=').unwrap()).collect() }
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.options.iter().find(|(k, _)| *k == key).map(|&(_, v)| v)
    }

    fn has(&self, key: &str) -> bool {
        self.text(key).is_some()
    }

    fn get<P: std::str::FromStr<Err: std::fmt::Debug>>(&self, key: &str) -> P {
        self.text(key).unwrap_or_else(|| panic!("{}: no {key}", self.name)).parse().unwrap()
    }

    fn maybe<P: std::str::FromStr<Err: std::fmt::Debug>>(&self, key: &str) -> Option<P> {
        self.text(key).map(|v| v.parse().unwrap())
    }

    fn number<T: Scalar>(&self, key: &str) -> T {
        T::from_f64(self.get(key))
    }

    fn list<P: std::str::FromStr<Err: std::fmt::Debug>>(&self, key: &str) -> Vec<P> {
        self.text(key).unwrap_or("").split(',').filter(|s| !s.is_empty()).map(|s| s.parse().unwrap()).collect()
    }

    fn array<const N: usize>(&self, key: &str, otherwise: usize) -> [usize; N] {
        match self.has(key) {
            true => self.list(key).try_into().unwrap(),
            false => [otherwise; N],
        }
    }

    fn reduction(&self) -> Reduction {
        match self.text("reduce") {
            Some("mean") => Reduction::Mean,
            Some("sum") => Reduction::Sum,
            Some("batchmean") => Reduction::BatchMean,
            _ => Reduction::None,
        }
    }
}

pub(crate) fn run<'t, T: Scalar>(tape: &'t Tape<T>, case: &Case<'_>, x: &[Tensor<'t, T>]) -> Tensor<'t, T> {
    elementwise(case, x)
        .or_else(|| reductions(case, x))
        .or_else(|| arrangements(tape, case, x))
        .or_else(|| products(tape, case, x))
        .or_else(|| layers(tape, case, x))
        .or_else(|| losses(case, x))
        .unwrap_or_else(|| panic!("no case {}", case.name))
}

fn elementwise<'t, T: Scalar>(case: &Case<'_>, x: &[Tensor<'t, T>]) -> Option<Tensor<'t, T>> {
    let s = T::from_f64;
    let bound = |key| case.maybe(key).map(T::from_f64);
    Some(match case.name {
        "neg" => -x[0],
        "exp" => x[0].exp(),
        "exp_m1" => x[0].exp_m1(),
        "exp2" => x[0].exp2(),
        "ln" => x[0].ln(),
        "ln_1p" => x[0].ln_1p(),
        "log2" => x[0].log2(),
        "log10" => x[0].log10(),
        "sqrt" => x[0].sqrt(),
        "rsqrt" => x[0].rsqrt(),
        "square" => x[0].square(),
        "abs" => x[0].abs(),
        "sign" => x[0].sign(),
        "sin" => x[0].sin(),
        "cos" => x[0].cos(),
        "tan" => x[0].tan(),
        "asin" => x[0].asin(),
        "acos" => x[0].acos(),
        "atan" => x[0].atan(),
        "sinh" => x[0].sinh(),
        "cosh" => x[0].cosh(),
        "tanh" => x[0].tanh(),
        "asinh" => x[0].asinh(),
        "acosh" => x[0].acosh(),
        "atanh" => x[0].atanh(),
        "sigmoid" => x[0].sigmoid(),
        "log_sigmoid" => x[0].log_sigmoid(),
        "relu" => x[0].relu(),
        "relu6" => x[0].relu6(),
        "leaky_relu" => x[0].leaky_relu(case.number("slope")),
        "elu" => x[0].elu(case.number("alpha")),
        "selu" => x[0].selu(),
        "silu" => x[0].silu(),
        "mish" => x[0].mish(),
        "softplus" => x[0].softplus(case.number("beta"), case.number("threshold")),
        "softsign" => x[0].softsign(),
        "gelu" => x[0].gelu(),
        "gelu_tanh" => x[0].gelu_tanh(),
        "erf" => x[0].erf(),
        "erfc" => x[0].erfc(),
        "floor" => x[0].floor(),
        "ceil" => x[0].ceil(),
        "round" => x[0].round(),
        "trunc" => x[0].trunc(),
        "recip" => x[0].recip(),
        "clamp" => x[0].clamp(bound("low"), bound("high")),
        "powf" => x[0].powf(case.number("p")),
        "powi" => x[0].powi(case.get("p")),
        "add_scalar" => x[0] + s(1.5),
        "sub_scalar" => x[0] - s(1.5),
        "mul_scalar" => x[0] * s(-1.5),
        "div_scalar" => x[0] / s(-1.5),
        "is_nan" => x[0].is_nan(),
        "is_infinite" => x[0].is_infinite(),
        "is_finite" => x[0].is_finite(),
        "add" => x[0] + x[1],
        "sub" => x[0] - x[1],
        "mul" => x[0] * x[1],
        "div" => x[0] / x[1],
        "pow" => x[0].pow(x[1]),
        "atan2" => x[0].atan2(x[1]),
        "hypot" => x[0].hypot(x[1]),
        "maximum" => x[0].maximum(x[1]),
        "minimum" => x[0].minimum(x[1]),
        "eq" => x[0].eq(x[1]),
        "ne" => x[0].ne(x[1]),
        "lt" => x[0].lt(x[1]),
        "le" => x[0].le(x[1]),
        "gt" => x[0].gt(x[1]),
        "ge" => x[0].ge(x[1]),
        "where" => x[0].where_mask(x[2], x[1]),
        "masked_fill" => x[0].masked_fill(x[1], case.number("value")),
        "where_ln" => x[0].ln().where_mask(x[0].gt(s(0.0)), x[0].square()),
        "root_of_squares" => (x[0].square() + x[1].square()).sqrt(),
        _ => return None,
    })
}

fn reductions<'t, T: Scalar>(case: &Case<'_>, x: &[Tensor<'t, T>]) -> Option<Tensor<'t, T>> {
    let axes = case.list::<isize>("axes");
    let axes = &axes[..];
    let keep = case.has("keep");
    let axis = || case.get::<isize>("axis");
    let p = || case.get::<f64>("p");
    let tape = x[0].tape();
    let index = |i: wengert::Indices<'t>| {
        let values: Vec<T> = i.as_slice().iter().map(|&i| T::from_f64(i as f64)).collect();
        tape.input(i.shape(), &values)
    };
    macro_rules! reduce {
        ($axes:ident $keepdim:ident ($($p:expr),*)) => {
            if keep { x[0].$keepdim($($p,)* axes) } else { x[0].$axes($($p,)* axes) }
        };
    }
    Some(match case.name {
        "sum" => reduce!(sum_axes sum_keepdim()),
        "mean" => reduce!(mean_axes mean_keepdim()),
        "prod" => reduce!(prod_axes prod_keepdim()),
        "amax" => reduce!(amax_axes amax_keepdim()),
        "amin" => reduce!(amin_axes amin_keepdim()),
        "var" => reduce!(var_axes var_keepdim(p())),
        "std" => reduce!(std_axes std_keepdim(p())),
        "logsumexp" => reduce!(logsumexp_axes logsumexp_keepdim()),
        "norm" => reduce!(norm_axes norm_keepdim(p())),
        "max" => x[0].max_axis(axis()).0,
        "min" => x[0].min_axis(axis()).0,
        "max_index" => index(x[0].max_axis(axis()).1),
        "argmax" => index(x[0].argmax(axis())),
        "argmin" => index(x[0].argmin(axis())),
        "argmax_all" => tape.scalar(T::from_f64(x[0].argmax_all() as f64)),
        "argmin_all" => tape.scalar(T::from_f64(x[0].argmin_all() as f64)),
        "softmax" => x[0].softmax(axis()),
        "log_softmax" => x[0].log_softmax(axis()),
        "cumsum" => x[0].cumsum(axis()),
        "cumprod" => x[0].cumprod(axis()),
        "logcumsumexp" => x[0].logcumsumexp(axis()),
        _ => return None,
    })
}

fn arrangements<'t, T: Scalar>(tape: &'t Tape<T>, case: &Case<'_>, x: &[Tensor<'t, T>]) -> Option<Tensor<'t, T>> {
    let axis = || case.get::<isize>("axis");
    let index = case.list::<usize>("index");
    let shape = || case.list::<usize>("shape");
    let parts = |parts: &[Tensor<'t, T>]| {
        let weighted: Vec<_> = parts.iter().enumerate().map(|(i, &p)| p * T::from_f64(i as f64 + 1.0)).collect();
        tape.concat(weighted, axis())
    };
    Some(match case.name {
        "reshape" => x[0].reshape(shape()),
        "flatten" => x[0].flatten(case.get("first"), case.get("last")),
        "transpose" => x[0].transpose(case.get("i"), case.get("j")),
        "permute" => x[0].permute(case.list::<isize>("axes")),
        "broadcast_to" => x[0].broadcast_to(shape()),
        "squeeze" => x[0].squeeze(),
        "squeeze_axis" => x[0].squeeze_axis(axis()),
        "unsqueeze" => x[0].unsqueeze(axis()),
        "slice" => {
            let step = case.maybe::<isize>("step").unwrap_or(1);
            match (case.maybe::<isize>("start"), case.maybe::<isize>("end")) {
                (Some(a), Some(b)) => x[0].slice_step(axis(), a..b, step),
                (Some(a), None) => x[0].slice_step(axis(), a.., step),
                (None, Some(b)) => x[0].slice_step(axis(), ..b, step),
                (None, None) => x[0].slice_step(axis(), .., step),
            }
        }
        "narrow" => x[0].narrow(axis(), case.get("start"), case.get("len")),
        "select" => x[0].select(axis(), case.get("at")),
        "index_select" => x[0].index_select(axis(), &index),
        "gather" => x[0].gather(axis(), shape(), &index),
        "scatter_add" => x[0].scatter_add(axis(), &index, x[1]),
        "index_add" => x[0].index_add(axis(), &index, x[1]),
        "concat" => tape.concat(x, axis()),
        "stack" => tape.stack(x, axis()),
        "split" => parts(&x[0].split(axis(), &case.list::<usize>("sizes"))),
        "chunk" => parts(&x[0].chunk(axis(), case.get("n"))),
        "pad" => {
            let padding = match case.text("mode") {
                Some("reflect") => Padding::Reflect,
                Some("replicate") => Padding::Replicate,
                Some("circular") => Padding::Circular,
                _ => Padding::Constant(case.number("value")),
            };
            let amounts = case.list::<isize>("amounts");
            let amounts: Vec<_> = amounts.chunks(2).map(|a| (a[0], a[1])).collect();
            x[0].pad(&amounts, padding)
        }
        "flip" => x[0].flip(&case.list::<isize>("axes")[..]),
        "roll" => x[0].roll(case.get("shift"), axis()),
        "repeat" => x[0].repeat(&case.list::<usize>("counts")),
        "repeat_interleave" => x[0].repeat_interleave(case.get("n"), axis()),
        "tril" => x[0].tril(case.get("k")),
        "triu" => x[0].triu(case.get("k")),
        "diagonal" => x[0].diagonal(case.get("k"), case.get("i"), case.get("j")),
        "diag_embed" => x[0].diag_embed(case.get("k"), case.get("i"), case.get("j")),
        "unfold" => x[0].unfold(axis(), case.get("size"), case.get("step")),
        _ => return None,
    })
}

fn products<'t, T: Scalar>(tape: &'t Tape<T>, case: &Case<'_>, x: &[Tensor<'t, T>]) -> Option<Tensor<'t, T>> {
    Some(match case.name {
        "matmul" => x[0].matmul(x[1]),
        "dot" => x[0].dot(x[1]),
        "outer" => x[0].outer(x[1]),
        "trace" => x[0].trace(),
        "einsum" => tape.einsum(&case.text("equation").unwrap().replace('_', " "), x),
        "cholesky" => x[0].cholesky(),
        "solve" => x[0].solve(x[1]),
        "triangular" => {
            let triangle = match (case.has("upper"), case.has("unit")) {
                (false, false) => Triangular::Lower,
                (true, false) => Triangular::Upper,
                (false, true) => Triangular::UnitLower,
                (true, true) => Triangular::UnitUpper,
            };
            x[0].solve_triangular(x[1], triangle)
        }
        "inverse" => x[0].inverse(),
        "det" => x[0].det(),
        "slogdet" => x[0].slogdet().1,
        "logdet" => x[0].logdet(),
        _ => return None,
    })
}

fn layers<'t, T: Scalar>(tape: &'t Tape<T>, case: &Case<'_>, x: &[Tensor<'t, T>]) -> Option<Tensor<'t, T>> {
    fn conv<const N: usize>(case: &Case<'_>) -> Conv<N> {
        Conv {
            stride: case.array("stride", 1),
            padding: case.array("padding", 0),
            dilation: case.array("dilation", 1),
            groups: case.maybe("groups").unwrap_or(1),
            output_padding: case.array("extra", 0),
        }
    }
    fn pool<const N: usize>(case: &Case<'_>) -> Pool<N> {
        let size = case.array("size", 1);
        Pool {
            size,
            stride: if case.has("stride") { case.array("stride", 1) } else { size },
            padding: case.array("padding", 0),
            dilation: case.array("dilation", 1),
            count_padding: !case.has("exclude"),
            partial: case.has("ceil"),
        }
    }
    let eps = || case.number::<T>("eps");
    let get = |i: usize| x.get(i).copied();
    let cell = |gates: usize| {
        let bias = |from: usize| {
            let hidden = x[2].shape()[1] / gates;
            get(from).map(|b| [b.narrow(0, 0, gates * hidden), b.narrow(0, gates * hidden, gates * hidden)])
        };
        RecurrentCell { input: x[2], hidden: x[3], bias: bias(4) }
    };
    Some(match case.name {
        "linear" => x[0].linear(x[1].t(), get(2)),
        "conv1d" => x[0].conv1d(x[1], get(2), conv(case)),
        "conv2d" => x[0].conv2d(x[1], get(2), conv(case)),
        "conv_transpose1d" => x[0].conv_transpose1d(x[1], get(2), conv(case)),
        "conv_transpose2d" => x[0].conv_transpose2d(x[1], get(2), conv(case)),
        "max_pool1d" => x[0].max_pool1d(pool(case)),
        "max_pool2d" => x[0].max_pool2d(pool(case)),
        "avg_pool1d" => x[0].avg_pool1d(pool(case)),
        "avg_pool2d" => x[0].avg_pool2d(pool(case)),
        "layer_norm" => x[0].layer_norm(case.get("n"), get(1), get(2), eps()),
        "rms_norm" => x[0].rms_norm(case.get("n"), get(1), eps()),
        "group_norm" => x[0].group_norm(case.get("groups"), get(1), get(2), eps()),
        "batch_norm" => x[0].batch_norm(get(1), get(2), eps()).0,
        "batch_norm_mean" => x[0].batch_norm(None, None, eps()).1,
        "batch_norm_variance" => x[0].batch_norm(None, None, eps()).2,
        "batch_norm_eval" => x[0].batch_norm_with(x[1], x[2], get(3), get(4), eps()),
        "embedding" => x[0].embedding(case.list::<usize>("shape"), &case.list::<usize>("index"), case.maybe("padding")),
        "attention" => {
            let extra = get(3);
            let bias = if case.has("bias") { extra } else { None };
            let allowed = if case.has("mask") { extra } else { None };
            let scale = case.maybe("scale").map(T::from_f64);
            x[0].attention(x[1], x[2], Attention { bias, allowed, causal: case.has("causal"), scale })
        }
        "rnn" => x[0].rnn_cell(x[1], cell(1)),
        "gru" => x[0].gru_cell(x[1], cell(3)),
        "lstm" => {
            let n = x[1].shape()[x[1].rank() - 1] / 2;
            let (h, c) = x[0].lstm_cell(x[1].narrow(-1, 0, n), x[1].narrow(-1, n as _, n), cell(4));
            tape.concat([h, c], -1)
        }
        _ => return None,
    })
}

fn losses<'t, T: Scalar>(case: &Case<'_>, x: &[Tensor<'t, T>]) -> Option<Tensor<'t, T>> {
    let reduction = case.reduction();
    let labels = case.list::<usize>("labels");
    let weight = |name| case.maybe::<usize>(name).map(|i| x[i]);
    let classes = || CrossEntropy {
        weight: weight("weight"),
        ignore: case.maybe("ignore"),
        label_smoothing: case.maybe("smooth").map_or(T::ZERO, T::from_f64),
        axis: case.maybe("axis").unwrap_or(-1),
        reduction,
    };
    Some(match case.name {
        "cross_entropy" => x[0].cross_entropy_with(&labels, classes()),
        "cross_entropy_plain" => x[0].cross_entropy(&labels),
        "cross_entropy_soft" => x[0].cross_entropy_soft(x[1], classes()),
        "nll" => x[0].nll_loss(&labels, classes()),
        "mse" => x[0].mse_loss_with(x[1], reduction),
        "l1" => x[0].l1_loss(x[1], reduction),
        "huber" => x[0].huber_loss(x[1], case.number("delta"), reduction),
        "smooth_l1" => x[0].smooth_l1_loss(x[1], case.number("beta"), reduction),
        "bce" => x[0].binary_cross_entropy(x[1], reduction),
        "bce_logits" => {
            x[0].binary_cross_entropy_with_logits_with(x[1], weight("weight"), weight("positive"), reduction)
        }
        "kl_div" => x[0].kl_div(x[1], case.has("log"), reduction),
        "hinge_embedding" => x[0].hinge_embedding_loss(x[1], case.number("margin"), reduction),
        "cosine_similarity" => x[0].cosine_similarity(x[1], case.get("axis"), case.number("eps")),
        "cosine_embedding" => x[0].cosine_embedding_loss(x[1], x[2], case.number("margin"), reduction),
        _ => return None,
    })
}
