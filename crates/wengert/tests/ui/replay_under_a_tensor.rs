//! A tensor of a replay is of that replay alone, and of the parameters it read.

fn main() {
    let mut params = wengert::Params::new();
    let w = params.full("w", [], 3.0);
    let mut tape = wengert::Tape::new();
    let y = (tape.scalar(2.0) * &params[w]).slot();
    let before = tape.replay(&params, &[]).tensor(y);
    tape.replay(&params, &[]);
    before.item();

    let loss = tape.replay(&params, &[]).tensor(y);
    params.values_mut()[0] = 4.0;
    loss.item();
}
