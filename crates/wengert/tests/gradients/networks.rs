//! Losses, convolutions, pools and what layers compute.

use rand::SeedableRng;
use rand::rngs::StdRng;
use wengert::{Attention, Conv, CrossEntropy, Pool, RecurrentCell, Reduction};

use crate::table::*;

const PAIR: &[&[usize]] = &[&[2, 3], &[2, 3]];
const IMAGE: &[&[usize]] = &[&[2, 4, 5, 4], &[6, 2, 3, 2], &[6]];
const TRANSPOSED: &[&[usize]] = &[&[2, 4, 3, 2], &[4, 3, 2, 3], &[6]];
const LINE: &[&[usize]] = &[&[2, 2, 6], &[3, 2, 3], &[3]];

pub(crate) const OPS: &[Entry] = &[
    op!(&["mse_loss_with"], Shapes(PAIR), All, |_, x| x[0].mse_loss_with(x[1], Reduction::None)),
    op!(&["l1_loss"], Shapes(PAIR), Positive, |_, x| x[0].l1_loss(-x[1], Reduction::Sum) * x[0].sum()),
    op!(&["huber_loss"], Shapes(PAIR), Positive, |_, x| {
        (x[0] * 0.05).huber_loss(x[1] * 0.05, 0.5, Reduction::Mean)
            + (x[0] * 9.0).huber_loss(-x[1], 0.5, Reduction::Sum)
    }),
    op!(&["smooth_l1_loss"], Shapes(PAIR), Positive, |_, x| {
        (x[0] * 0.05).smooth_l1_loss(x[1] * 0.05, 0.5, Reduction::None)
            + x[0].smooth_l1_loss(-x[1], 0.3, Reduction::Sum)
    }),
    op!(&["binary_cross_entropy"], Shapes(PAIR), All, |_, x| {
        x[0].sigmoid().binary_cross_entropy(x[1].sigmoid(), Reduction::None)
    }),
    op!(&["binary_cross_entropy_with_logits_with"], Shapes(&[&[2, 3], &[2, 3], &[3], &[3]]), NonZero, |_, x| {
        let weight = Some(x[2].exp());
        x[0].binary_cross_entropy_with_logits_with(x[1].sigmoid(), weight, Some(x[3].exp()), Reduction::Sum)
    }),
    op!(&["kl_div"], Shapes(PAIR), All, |_, x| {
        x[0].kl_div(x[1].exp(), false, Reduction::Sum) + x[0].kl_div(x[1], true, Reduction::None)
    }),
    op!(&["hinge_embedding_loss"], Shapes(&[&[2, 2]]), NonZero, |tape, x| {
        x[0].hinge_embedding_loss(tape.input([2, 2], &[1.0, -1.0, -1.0, 1.0]), 5.0, Reduction::None).square()
    }),
    op!(&["cosine_similarity"], Shapes(PAIR), NonZero, |_, x| x[0].cosine_similarity(x[1], -1, 1e-8)),
    op!(&["cosine_embedding_loss"], Shapes(PAIR), Positive, |tape, x| {
        x[0].cosine_embedding_loss(x[1], tape.input([2], &[1.0, -1.0]), -1.5, Reduction::None)
    }),
    op!(&["cross_entropy_with", "try_cross_entropy_with"], Shapes(&[&[3, 4], &[4]]), All, |_, x| {
        let options =
            CrossEntropy { weight: Some(x[1].exp()), ignore: Some(9), label_smoothing: 0.2, ..CrossEntropy::default() };
        x[0].cross_entropy_with(&[2, 9, 0], options)
    }),
    op!(&["nll_loss"], Shapes(&[&[2, 2, 3]]), All, |_, x| {
        x[0].square().nll_loss(&[2, 1, 0, 1], CrossEntropy { reduction: Reduction::None, ..CrossEntropy::default() })
    }),
    op!(&["cross_entropy_soft"], Shapes(&[&[3, 4], &[3, 4], &[4]]), All, |_, x| {
        let options = CrossEntropy { weight: Some(x[2].exp()), label_smoothing: 0.1, ..CrossEntropy::default() };
        x[0].cross_entropy_soft(x[1].softmax(-1), options)
    }),
    op!(&["clamp_min", "clamp_max"], One, NonZero, |_, x| x[0].clamp_min(0.0) * x[0] + x[0].clamp_max(0.0).square()),
    op!(&["conv2d"], Shapes(IMAGE), All, |_, x| {
        let conv = Conv { stride: [2, 1], padding: [1, 2], dilation: [1, 2], groups: 2, ..Conv::default() };
        x[0].conv2d(x[1], Some(x[2]), conv).square()
    }),
    op!(&["conv1d"], Shapes(LINE), All, |_, x| x[0].conv1d(x[1], Some(x[2]), Conv::default()).tanh()),
    op!(&["conv_transpose2d"], Shapes(TRANSPOSED), All, |_, x| {
        let conv = Conv { stride: [2, 3], padding: [1, 0], dilation: [2, 1], groups: 2, output_padding: [1, 2] };
        x[0].conv_transpose2d(x[1], Some(x[2]), conv).square()
    }),
    op!(&["conv_transpose1d"], Shapes(&[&[2, 2, 4], &[2, 3, 2]]), All, |_, x| {
        x[0].conv_transpose1d(x[1], None, Conv::default()).square()
    }),
    op!(&["max_pool2d"], Shapes(&[&[1, 2, 5, 4]]), Distinct, |_, x| {
        let pool = Pool { stride: [2, 1], padding: [1, 0], dilation: [1, 2], ..Pool::new([3, 2]) };
        x[0].max_pool2d(pool).square()
    }),
    op!(&["max_pool1d"], Shapes(&[&[2, 6]]), Distinct, |_, x| x[0].max_pool1d(Pool::new([2])).exp()),
    op!(&["avg_pool2d"], Shapes(&[&[1, 2, 5, 4]]), All, |_, x| {
        let pool = Pool { stride: [2, 1], padding: [1, 1], count_padding: false, ..Pool::new([3, 2]) };
        x[0].avg_pool2d(pool).square()
    }),
    op!(&["avg_pool1d"], Shapes(&[&[2, 6]]), All, |_, x| x[0]
        .avg_pool1d(Pool { padding: [1], ..Pool::new([2]) })
        .exp()),
    op!(&["linear"], Shapes(&[&[2, 2, 3], &[3, 2], &[2]]), All, |_, x| x[0].linear(x[1], Some(x[2])).tanh()),
    op!(&["layer_norm"], Shapes(&[&[2, 3, 2], &[3, 2], &[3, 2]]), Distinct, |_, x| {
        x[0].layer_norm(2, Some(x[1]), Some(x[2]), 1e-2)
    }),
    op!(&["rms_norm"], Shapes(&[&[2, 3], &[3]]), Distinct, |_, x| x[0].rms_norm(1, Some(x[1]), 1e-3)),
    // Some of the inputs are wanted, or there.
    op!(&["layer_norm"], Shapes(&[&[3, 2, 2]]), Distinct, |_, x| x[0].layer_norm(1, None, None, 1e-2)),
    op!(&["layer_norm"], Shapes(&[&[2, 3], &[3]]), Distinct, |tape, x| {
        let frozen = tape.linspace(0.5, 2.0, 3);
        let y = x[0].layer_norm(1, None, Some(x[1]), 1e-2);
        y * x[0].layer_norm(1, Some(x[1]), Some(frozen), 1e-2) + x[0].layer_norm(1, Some(frozen), Some(x[1]), 1e-2)
    }),
    op!(&["layer_norm"], Shapes(&[&[3], &[3]]), Distinct, |tape, x| {
        let frozen = tape.linspace(-1.0, 2.0, 6).square().reshape([2, 3]);
        let y = frozen.layer_norm(1, Some(x[0]), Some(x[1]), 1e-2);
        y * frozen.layer_norm(1, Some(x[0]), None, 1e-2).exp() + frozen.layer_norm(1, None, Some(x[1]), 1e-2)
    }),
    // One input in several places, and added to.
    op!(&["layer_norm"], Shapes(&[&[4], &[4]]), Distinct, |_, x| {
        let (y, z) = (x[0] + x[1], x[0] * x[1]);
        let all = y.layer_norm(1, Some(y), Some(y), 1e-2) * y.layer_norm(1, Some(x[1]), Some(x[1]), 1e-2);
        all + x[0].layer_norm(1, Some(z), Some(x[0]), 1e-2) * z.layer_norm(1, Some(z), None, 1e-2) + z
    }),
    // Rows with gaps, of inputs and cotangents.
    op!(&["layer_norm", "rms_norm"], Shapes(&[&[3, 2], &[3, 2], &[3]]), Distinct, |_, x| {
        let (y, z) = (x[0] * x[1], x[1].t());
        let y = y.layer_norm(2, Some(x[1]), Some(z.reshape([3, 2])), 1e-2).t() * z;
        y + z.rms_norm(1, Some(x[2]), 1e-2) + x[0].t().layer_norm(1, Some(x[2]), Some(x[2]), 1e-2)
    }),
    op!(&["rms_norm"], Shapes(&[&[5, 2], &[2]]), Distinct, |_, x| x[0].rms_norm(1, Some(x[1]), 1e-2) + x[0]),
    op!(&["group_norm"], Shapes(&[&[2, 4, 2], &[4], &[4]]), Distinct, |_, x| {
        x[0].group_norm(2, Some(x[1]), Some(x[2]), 1e-2)
    }),
    op!(&["batch_norm"], Shapes(&[&[3, 2, 2], &[2], &[2]]), Distinct, |_, x| {
        x[0].batch_norm(Some(x[1]), Some(x[2]), 1e-2).0
    }),
    op!(&["batch_norm_with"], Shapes(&[&[3, 2], &[2], &[2]]), All, |_, x| {
        x[0].batch_norm_with(x[1], x[2].exp(), Some(x[2]), None, 1e-2)
    }),
    op!(&["embedding"], Shapes(&[&[3, 2]]), All, |_, x| x[0].square().embedding([2, 2], &[0, 2, 2, 0], None).exp()),
    op!(&["dropout"], Shapes(&[&[3, 4]]), All, |_, x| x[0].square().dropout(0.4, &mut StdRng::seed_from_u64(7)).exp()),
    op!(&["attention"], Shapes(&[&[2, 3, 2], &[2, 4, 2], &[2, 4, 3]]), All, |_, x| {
        x[0].attention(x[1], x[2], Attention { causal: true, ..Attention::default() })
    }),
    op!(&["attention"], Shapes(&[&[9, 2], &[10, 2], &[10, 1]]), All, |_, x| x[0].attention(
        x[1],
        x[2],
        Attention::default()
    )),
    op!(&["attention"], Shapes(&[&[2, 9, 1], &[2, 9, 1], &[2, 9, 2]]), All, |_, x| {
        x[0].attention(x[1], x[2], Attention { causal: true, ..Attention::default() })
    }),
    op!(&["attention"], Shapes(&[&[3, 2], &[4, 2], &[4, 3], &[3, 4]]), All, |tape, x| {
        let allowed = tape.input([3, 4], &[1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        x[0].attention(
            x[1],
            x[2],
            Attention { bias: Some(x[3]), allowed: Some(allowed), scale: Some(0.7), causal: false },
        )
    }),
    op!(&["rnn_cell"], Shapes(&[&[2, 3], &[2, 2], &[3, 2], &[2, 2]]), All, |_, x| {
        x[0].rnn_cell(x[1], RecurrentCell { input: x[2], hidden: x[3], bias: None })
    }),
    op!(&["gru_cell"], Shapes(&[&[2, 3], &[2, 2], &[3, 6], &[2, 6]]), All, |tape, x| {
        let bias = Some([tape.linspace(-1.0, 1.0, 6), tape.linspace(0.0, 2.0, 6)]);
        x[0].gru_cell(x[1], RecurrentCell { input: x[2], hidden: x[3], bias })
    }),
    op!(&["lstm_cell"], Shapes(&[&[2, 3], &[2, 2], &[3, 8], &[2, 8]]), All, |_, x| {
        let (h, c) = x[0].lstm_cell(x[1], x[1].square(), RecurrentCell { input: x[2], hidden: x[3], bias: None });
        h + c * c
    }),
];
