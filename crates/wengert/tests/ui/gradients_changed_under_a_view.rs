//! A gradient is read in place.

fn main() {
    let tape = wengert::Tape::new();
    let x = tape.scalar(1.0).require_grad();
    let mut grads = (x * x).backward();
    let dx = grads.get(x).unwrap();
    grads.zero();
    dx.item();
}
