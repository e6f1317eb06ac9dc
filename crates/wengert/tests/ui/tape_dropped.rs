//! A tensor of a tape which is gone.

fn main() {
    let y = {
        let tape = wengert::Tape::new();
        tape.scalar(3.0)
    };
    y.item();
}
