//! Equations of `einsum`: values and gradients against a loop over every value
//! of every letter; and any text at all, which may be refused but not panic.

use arbitrary::{Result, Unstructured};
use wengert::{Tape, Tensor};

/// The letters of an equation; the last two stand for the ellipsis's axes.
const LETTERS: &[u8] = b"abcABxy";
const ELLIPSIS: usize = 5;

/// Runs the equation which these bytes are.
pub fn check(bytes: &[u8]) {
    let _ = text(bytes);
    let _ = equation(&mut Unstructured::new(bytes));
}

/// Any text, with a few operands of small rank.
fn text(bytes: &[u8]) -> Option<()> {
    let (&count, rest) = bytes.split_first()?;
    let text = std::str::from_utf8(rest).ok()?;
    let tape = Tape::new_f64();
    let operand = |i: usize| tape.ones(&[1, 2, 1][..(usize::from(count) >> (2 * i)) % 4]);
    let operands: Vec<Tensor<'_, f64>> = (0..3).map(operand).collect();
    for n in 0..=3 {
        let _ = tape.try_einsum(text, &operands[..n]);
    }
    Some(())
}

/// One operand: its letters in order, and its shape.
struct Term {
    letters: Vec<usize>,
    shape: Vec<usize>,
    open: bool,
}

fn write(letters: &[usize], open: bool, at: usize) -> String {
    let mut text = String::new();
    let plain = letters.iter().filter(|&&l| l < ELLIPSIS);
    for (i, &l) in plain.clone().enumerate() {
        if open && i == at {
            text.push_str("...");
        }
        text.push(char::from(LETTERS[l]));
    }
    if open && at >= plain.count() {
        text.push_str("...");
    }
    text
}

fn equation(u: &mut Unstructured<'_>) -> Result<()> {
    let mut sizes = [0; 7];
    for size in &mut sizes {
        *size = [2, 3, 1, 2, 3, 2, 1, 0][usize::from(u.arbitrary::<u8>()? % 8)];
    }
    let count = usize::from(u.arbitrary::<u8>()? % 4) + 1;
    let (mut terms, mut texts) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let rank = usize::from(u.arbitrary::<u8>()? % 4);
        let mut letters = Vec::new();
        for _ in 0..rank {
            letters.push(usize::from(u.arbitrary::<u8>()?) % ELLIPSIS);
        }
        // Letters of length 1 for the whole term, so that diagonals agree.
        let short = u.arbitrary::<u8>()?;
        let more = usize::from(u.arbitrary::<u8>()? % 4);
        let open = more > 0;
        let at = usize::from(u.arbitrary::<u8>()?) % (rank + 1);
        texts.push(write(&letters, open, at));
        // An ellipsis of `more - 1` axes: the last ones of x, y.
        for l in (ELLIPSIS + 3 - more.max(1)..ELLIPSIS + 2).rev() {
            letters.insert(at, l);
        }
        let shape = letters.iter().map(|&l| if short >> l & 1 == 1 { 1 } else { sizes[l] }).collect();
        terms.push(Term { letters, shape, open });
    }
    let used = |l: usize| terms.iter().any(|t: &Term| t.letters.contains(&l));
    // The true length: that of an operand which is not broadcast.
    for (l, size) in sizes.iter_mut().enumerate() {
        let all = terms.iter().flat_map(|t| t.letters.iter().zip(&t.shape)).filter(|&(&m, _)| m == l);
        *size = all.map(|(_, &n)| n).find(|&n| n != 1).unwrap_or(1);
    }
    let open = terms.iter().any(|t| t.open);
    let ellipsis: Vec<usize> = (ELLIPSIS..ELLIPSIS + 2).filter(|&l| used(l)).collect();
    let mut result = Vec::new();
    let mut text = texts.join(",");
    if u.arbitrary()? {
        for l in 0..ELLIPSIS {
            if used(l) && u.arbitrary()? {
                let at = usize::from(u.arbitrary::<u8>()?) % (result.len() + 1);
                result.insert(at, l);
            }
        }
        let at = usize::from(u.arbitrary::<u8>()?) % (result.len() + 1);
        let named = open && u.arbitrary()?;
        text = format!("{text} -> {}", write(&result, named, at));
        if named {
            ellipsis.iter().rev().for_each(|&l| result.insert(at, l));
        }
    } else {
        let once = |l: &usize| terms.iter().flat_map(|t| &t.letters).filter(|&m| m == l).count() == 1;
        let mut single: Vec<usize> = (0..ELLIPSIS).filter(once).collect();
        single.sort_by_key(|&l| LETTERS[l]);
        result = [ellipsis, single].concat();
    }
    compare(&text, &terms, &result, &sizes);
    Ok(())
}

/// Where in row-major order the letters' values lie; axes of length 1 stand.
fn position(letters: &[usize], shape: &[usize], at: &[usize; 7]) -> usize {
    letters.iter().zip(shape).fold(0, |i, (&l, &n)| i * n + if n == 1 { 0 } else { at[l] })
}

fn compare(text: &str, terms: &[Term], result: &[usize], sizes: &[usize; 7]) {
    let tape = Tape::new_f64();
    let data: Vec<Vec<f64>> = (terms.iter().enumerate())
        .map(|(k, t)| (0..t.shape.iter().product()).map(|i: usize| ((i * 7 + k * 5) % 11) as f64 - 4.0).collect())
        .collect();
    let inputs: Vec<Tensor<'_, f64>> =
        terms.iter().zip(&data).map(|(t, data)| tape.input(&t.shape, data).require_grad()).collect();
    let y = tape.einsum(text, &inputs);
    let shape: Vec<usize> = result.iter().map(|&l| sizes[l]).collect();
    let what = format!("\"{text}\" of {:?}", terms.iter().map(|t| &t.shape).collect::<Vec<_>>());
    assert_eq!(y.shape(), shape, "{what}");
    let len: usize = shape.iter().product();
    let weights: Vec<f64> = (0..len).map(|i| (i % 5) as f64 - 1.0).collect();
    let (mut value, mut grads) = (vec![0.0; len], data.iter().map(|d| vec![0.0; d.len()]).collect::<Vec<_>>());
    let used: Vec<usize> = (0..7).filter(|l| terms.iter().any(|t| t.letters.contains(l))).collect();
    let all: usize = used.iter().map(|&l| sizes[l]).product();
    for mut n in 0..all {
        let mut at = [0; 7];
        for &l in &used {
            at[l] = n % sizes[l];
            n /= sizes[l];
        }
        let places: Vec<usize> = terms.iter().map(|t| position(&t.letters, &t.shape, &at)).collect();
        let to = position(result, &shape, &at);
        value[to] += places.iter().zip(&data).map(|(&p, d)| d[p]).product::<f64>();
        for k in 0..terms.len() {
            let others = (0..terms.len()).filter(|&j| j != k).map(|j| data[j][places[j]]).product::<f64>();
            grads[k][places[k]] += weights[to] * others;
        }
    }
    // Whole numbers far below 2^53: every order of summing gives the same.
    assert_eq!(y.to_vec(), value, "{what}");
    let found = y.backward_with(tape.input(&shape, &weights));
    for (k, x) in inputs.iter().enumerate() {
        let plain = found.get(*x).map_or(vec![0.0; data[k].len()], |g| g.as_slice().to_vec());
        assert_eq!(plain, grads[k], "{what}: gradient {k}");
        let [recorded] = y.vjp(tape.input(&shape, &weights), [*x]);
        assert_eq!(recorded.to_vec(), grads[k], "{what}: recorded gradient {k}");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn some_equations() {
        let mut state = 1u64;
        for _ in 0..20_000 {
            let mut bytes = [0u8; 64];
            for b in &mut bytes {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *b = (state >> 56) as u8;
            }
            super::check(&bytes);
        }
    }

    #[test]
    fn some_texts() {
        let alphabet = b"aijB.,-> ..1\xc3\xa9";
        let mut state = 7u64;
        for _ in 0..20_000 {
            let mut bytes = vec![0x1b];
            for _ in 0..state % 9 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                bytes.push(alphabet[(state >> 40) as usize % alphabet.len()]);
            }
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            bytes[0] = (state >> 56) as u8;
            super::check(&bytes);
        }
    }
}
