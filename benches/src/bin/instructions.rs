//! A guard against programs becoming slower, which does not measure time: it
//! counts instructions, by valgrind's callgrind, and compares them with the
//! figures in `instructions.txt`.
//!
//! ```text
//! cargo run --release -p wengert-benches --bin instructions              # compare
//! cargo run --release -p wengert-benches --bin instructions -- --update  # write the figures anew
//! ```
//!
//! A count is the same on a busy machine and on an idle one. It is a figure per
//! turn, from two runs of different lengths, so that neither the start of the
//! process nor the first turns are in it. It does depend on the compiler and on
//! the instruction set, so the file names both, and where they are others, or
//! where there is no valgrind, nothing is compared.
//!
//! Ends with 0 if no program takes more than 5 % more instructions than the
//! file says, with 1 if one does, and with 77 if nothing could be compared.

use std::env;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;

use wengert::Threads;
use wengert_benches::data::Data;
use wengert_benches::program::Program;
use wengert_benches::workloads::{
    Form, Sizes, chain, classifier, exclusive_or, exclusive_or_replayed, letters, normalised, pictures, rosenbrock,
};

/// A program's name, how it is made, and how many of its turns are counted.
type Counted = (&'static str, fn() -> Box<dyn Program>, u64);

/// Small relatives of the workloads: between them they record, sweep, rewind,
/// run every kind of kernel and step every optimizer.
const PROGRAMS: [Counted; 9] = [
    ("exclusive_or", || Box::new(exclusive_or(Data::drawn())), 1000),
    ("replayed", || Box::new(exclusive_or_replayed(Data::drawn())), 1000),
    ("classifier", || Box::new(classifier(Data::drawn(), [64, 64, 64, 10], 64, Threads::default())), 20),
    ("letters", || Box::new(letters(Data::drawn(), LETTERS, 1, Threads::default())), 10),
    ("pictures", || Box::new(pictures(Data::drawn(), 2, 1, Threads::default())), 10),
    ("chain_1000", || Box::new(chain(1_000)), 50),
    // A hundred times the one before, if the cost is linear.
    ("chain_100000", || Box::new(chain(100_000)), 2),
    ("normalised", || Box::new(normalised(Data::drawn(), Form::Plain, [64, 256])), 20),
    ("rosenbrock", || Box::new(rosenbrock(Data::drawn(), Form::Plain, 1000)), 200),
];

const LETTERS: Sizes = Sizes { layers: 2, heads: 2, features: 32, context: 16, letters: 65, batch: 2 };

/// Buffers have taken their lasting size after so many turns.
const WARM: u64 = 4;

/// What a count may grow by.
const TOLERANCE: f64 = 0.05;

/// The exit code for "not compared".
const SKIPPED: u8 = 77;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => conditions().map_or_else(skip, |here| compare(&here)),
        ["--update"] => conditions().map_or_else(skip, |here| update(&here)),
        // How this program calls itself under callgrind.
        ["--run", name, turns] => {
            run(name, turns.parse().expect("a number of turns"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: instructions [--update]");
            ExitCode::FAILURE
        }
    }
}

fn skip(why: String) -> ExitCode {
    println!("instruction counts were not compared: {why}");
    ExitCode::from(SKIPPED)
}

fn run(name: &str, turns: u64) {
    let (_, make, _) = PROGRAMS.iter().find(|program| program.0 == name).expect("the name of a program");
    let mut program = make();
    for _ in 0..turns {
        black_box(program.turn());
    }
}

/// Counts every program and compares it with the file.
fn compare(here: &str) -> ExitCode {
    let file = std::fs::read_to_string(FILE).unwrap_or_else(|error| panic!("{FILE}: {error}"));
    let mut lines = file.lines().filter(|line| !line.starts_with('#'));
    let there = lines.next().unwrap_or_default();
    if here != there {
        return skip(format!("the figures are for {there}, and this is {here}"));
    }
    let known: Vec<(&str, f64)> = lines
        .filter_map(|line| line.split_once(' '))
        .map(|(name, count)| (name, count.parse().unwrap_or_else(|_| panic!("{FILE}: {count} is no number"))))
        .collect();

    println!("{:<16}{:>14}{:>14}{:>10}", "per turn", "before", "now", "change");
    let (mut worse, mut better) = (false, false);
    for program in &PROGRAMS {
        let (name, now) = (program.0, count(program) as f64);
        let Some(&(_, before)) = known.iter().find(|known| known.0 == name) else {
            println!("{name:<16}{:>14}{now:>14}   has no figure", "");
            worse = true;
            continue;
        };
        let change = now / before - 1.0;
        let verdict = match change {
            c if c > TOLERANCE => "   worse",
            c if c < -TOLERANCE => "   better",
            _ => "",
        };
        worse |= change > TOLERANCE;
        better |= change < -TOLERANCE;
        println!("{name:<16}{before:>14}{now:>14}{:>+9.1} %{verdict}", 100.0 * change);
    }
    if worse || better {
        println!("If that is as it should be, write the figures anew, with --update.");
    }
    if worse { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Counts every program and writes the file.
fn update(here: &str) -> ExitCode {
    let mut text = format!("# Instructions per turn; see src/bin/instructions.rs, which wrote them.\n{here}\n");
    for program in &PROGRAMS {
        text += &format!("{} {}\n", program.0, count(program));
    }
    std::fs::write(FILE, &text).unwrap_or_else(|error| panic!("{FILE}: {error}"));
    print!("{text}");
    ExitCode::SUCCESS
}

/// What the counts depend on, in one line; or why they cannot be taken.
fn conditions() -> Result<String, String> {
    #[cfg(target_arch = "x86_64")]
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    let avx2 = false;
    if !(avx2 && cfg!(target_os = "linux")) {
        return Err("this is no Linux machine with AVX2".into());
    }
    if cfg!(debug_assertions) {
        return Err("this is no release build".into());
    }
    output(Command::new("valgrind").arg("--version"))?;
    let rustc = output(Command::new("rustc").arg("--version"))?;
    Ok(format!("{} with AVX2", rustc.trim()))
}

/// Instructions per turn of a program.
fn count(&(name, _, turns): &Counted) -> u64 {
    let collected = |turns: u64| {
        let this = env::current_exe().expect("this program has a path");
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        command.arg(this).args(["--run", name, &turns.to_string()]);
        // What valgrind runs on every machine with AVX2.
        let said = output(command.env("WENGERT_ISA", "avx2")).unwrap_or_else(|error| panic!("{error}"));
        let count = said.lines().find_map(|line| line.split_once("Collected : "));
        count.and_then(|(_, n)| n.trim().parse().ok()).unwrap_or_else(|| panic!("callgrind counted nothing:\n{said}"))
    };
    // Both lengths at once.
    thread::scope(|scope| {
        let short = scope.spawn(|| collected(WARM));
        let long: u64 = collected(WARM + turns);
        let short: u64 = short.join().expect("a count");
        (long - short) / turns
    })
}

/// What a command writes to both of its outputs, if it succeeds.
fn output(command: &mut Command) -> Result<String, String> {
    let name = Path::new(command.get_program()).display().to_string();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(text.into_owned()) } else { Err(format!("{name}: {}\n{text}", output.status)) }
}
