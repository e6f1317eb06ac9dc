//! The command line.

use std::fs::{self, File};
use std::path::PathBuf;

use clap::Parser;

/// Trains a small network on handwritten digits, without allocating.
#[derive(Parser)]
#[command(name = "digits")]
pub(crate) struct Options {
    /// How many times to go through all training digits
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000), allow_negative_numbers = true)]
    pub(crate) epochs: u32,

    /// What decides the split, the first weights and the order of the digits
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// How many digits one step learns from
    #[arg(long, default_value_t = 32, value_parser = positive_count, allow_negative_numbers = true)]
    pub(crate) batch: usize,

    /// The learning rate of the first step
    #[arg(long, default_value_t = 4e-3, value_parser = positive, allow_negative_numbers = true)]
    pub(crate) lr: f64,

    /// Where to put the drawings
    #[arg(long, value_name = "DIR", default_value = "out/digits")]
    pub(crate) out: PathBuf,
}

/// The files to draw into.
pub(crate) struct Files {
    pub(crate) loss: PathBuf,
    pub(crate) misread: PathBuf,
}

impl Options {
    /// Makes the directory and tries whether the drawings can be written.
    pub(crate) fn files(&self) -> Result<Files, String> {
        let out = &self.out;
        fs::create_dir_all(out).map_err(|e| format!("cannot make the directory {}: {e}", out.display()))?;
        let files = Files { loss: out.join("loss.svg"), misread: out.join("misread.svg") };
        for file in [&files.loss, &files.misread] {
            let opened = File::options().create(true).append(true).open(file);
            opened.map_err(|e| format!("cannot write {}: {e}", file.display()))?;
        }
        Ok(files)
    }
}

fn positive_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(n) => Ok(n),
        Err(e) => Err(format!("{e}")),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|e| format!("{e}"))?;
    if number > 0.0 && number.is_finite() { Ok(number) } else { Err("must be positive and finite".into()) }
}
