//! Linear algebra, einsum and matrix products.

use wengert::{Tape, Triangular};

use crate::{T, check};

fn run<'t>(tape: &'t Tape<f64>, name: &str, x: &[T<'t>]) -> T<'t> {
    let number = |prefix: &str| name[prefix.len()..].parse().unwrap();
    match name {
        "cholesky" => x[0].cholesky(),
        "det" => x[0].det(),
        "inverse" => x[0].inverse(),
        "logdet" => x[0].logdet(),
        "slogdet" => x[0].slogdet().1,
        "solve" => x[0].solve(x[1]),
        "dot" => x[0].dot(x[1]),
        "outer" => x[0].outer(x[1]),
        "trace" => x[0].trace(),
        "matmul" => x[0].matmul(x[1]),
        _ if name.starts_with("einsum ") => tape.einsum(&name[7..], x),
        _ if name.starts_with("tril") => x[0].square().tril(number("tril")),
        _ if name.starts_with("triu") => x[0].square().triu(number("triu")),
        _ => {
            let flags: Vec<bool> = name.strip_prefix("tri").unwrap().chars().map(|c| c == '1').collect();
            // The transpose of one triangle is the other of the transpose.
            let a = if flags[1] { x[0].t() } else { x[0] };
            let triangle = match (flags[0] != flags[1], flags[2]) {
                (false, false) => Triangular::Lower,
                (false, true) => Triangular::UnitLower,
                (true, false) => Triangular::Upper,
                (true, true) => Triangular::UnitUpper,
            };
            a.solve_triangular(x[1], triangle)
        }
    }
}

#[test]
fn values_and_derivatives() {
    check(include_str!("../fixtures/linalg.txt"), run);
}

#[test]
fn what_is_refused() {
    let tape = Tape::new_f64();
    let singular = tape.tensor([[1.0, 2.0], [2.0, 4.0]]);
    let error = singular.try_solve(tape.ones([2])).unwrap_err().to_string();
    assert!(error.starts_with("solve: matrix 0 "), "{error}");
    let batch = tape.stack([tape.eye(2), singular * -1.0], 0);
    let error = batch.try_cholesky().unwrap_err().to_string();
    assert!(error.starts_with("cholesky: matrix 1 "), "{error}");
    // NaN is passed on, not refused.
    assert!(tape.eye(2).solve(tape.tensor([f64::NAN, 1.0])).to_vec()[0].is_nan());
    let factor = tape.full([2, 2], f64::NAN).cholesky().to_vec();
    assert!(factor[1] == 0.0 && [0, 2, 3].iter().all(|&i| factor[i].is_nan()), "{factor:?}");
    let x = tape.ones([2, 3]);
    let wrong = [
        ("ij", 0),
        ("", 1),
        ("i", 1),
        ("ijk", 1),
        ("ij->k", 1),
        ("ij->ii", 1),
        ("ij,jk", 1),
        ("ii", 1),
        ("ij,ij->->", 2),
        ("ij,jk->ik", 2),
        ("i.j", 1),
        ("..ij", 1),
        ("......", 1),
        ("i1", 1),
        ("é", 1),
        ("ijk...", 1),
        ("ij,,", 2),
    ];
    for (equation, count) in wrong {
        let error = tape.try_einsum(equation, &[x, x][..count]).unwrap_err().to_string();
        assert!(error.contains(equation), "{error}");
    }
}

#[test]
fn signs_and_logarithms_of_determinants() {
    let tape = Tape::new_f64();
    let x = tape.input([3, 2, 2], &[0.0, 1.0, 1.0, 0.0, 1.0, 2.0, 2.0, 4.0, 2.0, 0.0, 0.0, 2.0]);
    let (sign, log) = x.slogdet();
    assert_eq!(sign.to_vec(), [-1.0, 0.0, 1.0]);
    assert_eq!(log.to_vec()[..2], [0.0, f64::NEG_INFINITY]);
    let log = x.logdet().to_vec();
    assert!(log[0].is_nan() && log[1] == f64::NEG_INFINITY && (log[2] - 4f64.ln()).abs() < 1e-15);
    assert!(tape.full([2, 2], f64::NAN).det().item().is_nan());
    // Determinants beyond the range of the numbers.
    for scale in [0.01, -0.01, 100.0] {
        let (sign, log) = (tape.eye(201) * scale).slogdet();
        assert_eq!(sign.item(), scale.signum());
        assert!((log.item() - 201.0 * scale.abs().ln()).abs() < 1e-9);
    }
}
