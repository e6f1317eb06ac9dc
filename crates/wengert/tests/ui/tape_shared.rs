//! One tape per thread.

fn main() {
    let tape = wengert::Tape::new();
    std::thread::scope(|s| {
        s.spawn(|| tape.scalar(1.0).item());
    });
}
