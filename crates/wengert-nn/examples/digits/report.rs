//! What is printed at the end.

use crate::data::Digits;
use crate::{History, WARM_UP};

/// Accuracy, errors by digit, speed, and requests to the heap. `read[i]` is
/// what the model took test digit `i` for.
pub(crate) fn print(history: &History, test: &Digits, read: &[usize]) {
    let pairs = || test.labels.iter().zip(read);
    let wrong = pairs().filter(|(label, read)| label != read).count();

    println!("\n digit   tested   wrong   read as");
    for digit in 0..10 {
        let tested = test.labels.iter().filter(|&&label| label == digit).count();
        let mut taken_for = [0; 10];
        pairs().filter(|&(&label, _)| label == digit).for_each(|(_, &read)| taken_for[read] += 1);
        taken_for[digit] = 0;
        let errors: usize = taken_for.iter().sum();
        let each = (0..10).filter(|&d| taken_for[d] > 0).map(|d| format!("{d} ({}x)", taken_for[d]));
        let row = format!("{digit:>6} {tested:>8} {errors:>7}   {}", each.collect::<Vec<_>>().join(", "));
        println!("{}", row.trim_end());
    }
    println!("   all {:>8} {wrong:>7}", read.len());

    let accuracy = 100.0 * (1.0 - wrong as f64 / read.len() as f64);
    let steps = history.steps.len();
    println!("\ntest accuracy        {accuracy:.2} %");
    println!("steps per second     {:.0}", steps as f64 / history.time.as_secs_f64());
    match steps.saturating_sub(WARM_UP) {
        0 => println!("heap allocations     too few steps to tell"),
        steady => println!(
            "heap allocations     {} per step over {steady} steps (in the first {WARM_UP}: {})",
            history.steady as f64 / steady as f64,
            history.warm_up.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
        ),
    }
}
