//! The loss depends on the parameters as they are.

fn main() {
    let mut params = wengert::Params::new();
    let w = params.full("w", [], 3.0);
    let tape = wengert::Tape::new();
    let loss = tape.scalar(2.0) * &params[w];
    params.values_mut()[0] = 4.0;
    loss.item();
}
