//! Values and derivatives of elementwise functions against PyTorch's figures.

use wengert::{Tape, Tensor};

fn unary<'t>(name: &str, x: Tensor<'t, f64>) -> Tensor<'t, f64> {
    match name {
        "exp" => x.exp(),
        "exp_m1" => x.exp_m1(),
        "exp2" => x.exp2(),
        "ln" => x.ln(),
        "ln_1p" => x.ln_1p(),
        "log2" => x.log2(),
        "log10" => x.log10(),
        "sqrt" => x.sqrt(),
        "rsqrt" => x.rsqrt(),
        "square" => x.square(),
        "recip" => x.recip(),
        "abs" => x.abs(),
        "sign" => x.sign(),
        "floor" => x.floor(),
        "ceil" => x.ceil(),
        "round" => x.round(),
        "trunc" => x.trunc(),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "tan" => x.tan(),
        "asin" => x.asin(),
        "acos" => x.acos(),
        "atan" => x.atan(),
        "sinh" => x.sinh(),
        "cosh" => x.cosh(),
        "tanh" => x.tanh(),
        "asinh" => x.asinh(),
        "acosh" => x.acosh(),
        "atanh" => x.atanh(),
        "sigmoid" => x.sigmoid(),
        "log_sigmoid" => x.log_sigmoid(),
        "relu" => x.relu(),
        "relu6" => x.relu6(),
        "silu" => x.silu(),
        "mish" => x.mish(),
        "softsign" => x.softsign(),
        "gelu" => x.gelu(),
        "gelu_tanh" => x.gelu_tanh(),
        "erf" => x.erf(),
        "erfc" => x.erfc(),
        "selu" => x.selu(),
        "elu" => x.elu(0.7),
        "leaky_relu" => x.leaky_relu(0.1),
        "softplus" => x.softplus(1.0, 20.0),
        "softplus2" => x.softplus(2.0, 3.0),
        "clamp" => x.clamp(-0.7, 2.5),
        "scalar_div" => 2.0 / x,
        "scalar_sub" => 2.0 - x,
        "div_scalar" => x / 3.0,
        _ => match name.strip_prefix("powf") {
            Some(p) => x.powf(p.parse().unwrap()),
            None => panic!("no function {name}"),
        },
    }
}

fn binary<'t>(name: &str, a: Tensor<'t, f64>, b: Tensor<'t, f64>) -> Tensor<'t, f64> {
    match name {
        "add" => a + b,
        "sub" => a - b,
        "mul" => a * b,
        "div" => a / b,
        "pow" => a.pow(b),
        "atan2" => a.atan2(b),
        "hypot" => a.hypot(b),
        "maximum" => a.maximum(b),
        "minimum" => a.minimum(b),
        _ => panic!("no function {name}"),
    }
}

fn close(got: f64, expected: f64) -> bool {
    got == expected
        || got.is_nan() && expected.is_nan()
        || (got - expected).abs() <= 1e-11 * (expected.abs() + f64::from(expected.abs() > 1e-9))
        || (got - expected).abs() < 1e-14
}

fn rows(text: &'static str) -> impl Iterator<Item = (&'static str, Vec<f64>)> {
    text.lines().filter(|l| !l.starts_with('#')).map(|line| {
        let mut words = line.split(' ');
        (words.next().unwrap(), words.map(|w| w.parse().unwrap()).collect())
    })
}

#[test]
fn unary_functions() {
    let mut wrong = Vec::new();
    for (name, row) in rows(include_str!("fixtures/unary.txt")) {
        let tape = Tape::new_f64();
        let x = tape.scalar(row[0]).require_grad();
        let y = unary(name, x);
        let plain = y.backward().get(x).unwrap().item();
        let [d] = y.grad([x]);
        let d2 = if d.requires_grad() { d.grad([x])[0].item() } else { 0.0 };
        let got = [y.item(), d.item(), d2];
        if plain != d.item() && !plain.is_nan() || !got.iter().zip(&row[1..]).all(|(&g, &e)| close(g, e)) {
            wrong.push(format!("{name}({}): got {got:?} and {plain}, PyTorch {:?}", row[0], &row[1..]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn binary_functions() {
    let mut wrong = Vec::new();
    for (name, row) in rows(include_str!("fixtures/binary.txt")) {
        let tape = Tape::new_f64();
        let (a, b) = (tape.scalar(row[0]).require_grad(), tape.scalar(row[1]).require_grad());
        let y = binary(name, a, b);
        let [da, db] = y.grad([a, b]);
        let s = 2.0 * da + 3.0 * db;
        let [ha, hb] = if s.requires_grad() { s.grad([a, b]).map(|h| h.item()) } else { [0.0; 2] };
        let mut got = [y.item(), da.item(), db.item(), ha, hb];
        if name == "pow" && row[0] != 0.0 && row[1] == 0.0 {
            // PyTorch's slope b a^(b-1) is a constant 0 at b = 0 and has lost
            // its derivative 1 / a to b.
            got[4] -= 2.0 / row[0];
        }
        if !got.iter().zip(&row[2..]).all(|(&g, &e)| close(g, e)) {
            wrong.push(format!("{name}({}, {}): got {got:?}, PyTorch {:?}", row[0], row[1], &row[2..]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
