//! Nor does a tensor leave through a variable outside.

fn main() {
    let tape = wengert::Tape::new();
    let mut kept = None;
    tape.evaluate(|scope| {
        kept = Some(scope.scalar(3.0));
    });
    kept.unwrap().item();
}
