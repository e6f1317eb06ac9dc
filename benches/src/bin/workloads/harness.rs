//! How a workload is measured.

use std::env;
use std::hint::black_box;
use std::time::Instant;

use wengert_benches::program::Program;

/// What is reported of a workload.
pub(crate) struct Workload {
    /// Who did it.
    lib: &'static str,
    name: &'static str,
    unit: &'static str,
    /// The figure, from seconds per turn.
    figure: fn(f64) -> f64,
    /// The loss after so many turns is printed.
    compared: usize,
}

impl Workload {
    /// Training steps per second, and the loss after `compared` of them.
    pub(crate) fn steps(name: &'static str, compared: usize) -> Self {
        Workload { lib: "wengert", name, unit: "steps/s", figure: f64::recip, compared }
    }

    /// The time of each of 1000 operations.
    pub(crate) fn nanoseconds_per_1000th(name: &'static str) -> Self {
        Workload { unit: "ns/op", figure: |s| s * 1e9 / 1000.0, ..Self::steps(name, 1) }
    }

    pub(crate) fn milliseconds(name: &'static str) -> Self {
        Workload { unit: "ms", figure: |s| s * 1e3, ..Self::steps(name, 1) }
    }

    pub(crate) fn microseconds(name: &'static str) -> Self {
        Workload { unit: "us", figure: |s| s * 1e6, ..Self::steps(name, 1) }
    }

    /// The same, written in another way.
    pub(crate) fn by(self, lib: &'static str) -> Self {
        Workload { lib, ..self }
    }
}

/// How many threads there are to be.
pub(crate) fn threads() -> usize {
    env::var("PEERS_THREADS").map_or(1, |s| s.parse().expect("PEERS_THREADS: a number of threads"))
}

/// Runs turns of a program and prints what came of it.
pub(crate) fn measure(workload: Workload, mut program: impl Program) {
    let mut next = || program.turn();
    let loss = (0..workload.compared).map(|_| next()).last().unwrap_or(f32::NAN);
    let report = |unit: &str, value: f64, more: &str| {
        let (lib, name) = (workload.lib, workload.name);
        let threads = threads();
        println!(
            r#"{{"lib":"{lib}","workload":"{name}","threads":{threads},"metric":"{unit}","value":{value:.7e},"final_loss":{loss:.7e}{more}}}"#
        );
    };

    if env::var("PEERS_MODE").is_ok_and(|mode| mode == "alloc") {
        const TURNS: usize = 10;
        // Buffers take their lasting size in the first turns.
        (0..4).for_each(|_| _ = black_box(next()));
        if let Some([calls, bytes]) = allocations() {
            (0..TURNS).for_each(|_| _ = black_box(next()));
            let [calls_after, bytes_after] = allocations().expect("as before");
            report("allocs/step", (calls_after - calls) as f64 / TURNS as f64, "");
            report("alloc_kb/step", (bytes_after - bytes) as f64 / TURNS as f64 / 1024.0, "");
        }
        if let Some(megabytes) = peak_memory() {
            report("peak_rss_mb", megabytes, "");
        }
        return;
    }

    let budget: f64 = env::var("PEERS_TIME").map_or(2.0, |s| s.parse().expect("PEERS_TIME: a number of seconds"));
    let mut sample = |turns: usize| {
        let start = Instant::now();
        (0..turns).for_each(|_| _ = black_box(next()));
        start.elapsed().as_secs_f64()
    };
    // Warm, and find how many turns make a sample.
    let (mut warm, mut seconds) = (0, 0.0);
    while seconds < 0.25 * budget || warm < 2 {
        seconds += sample(1);
        warm += 1;
    }
    let per_sample = (0.04 * f64::from(warm) / seconds).ceil() as usize;
    let (mut samples, start) = (Vec::new(), Instant::now());
    while start.elapsed().as_secs_f64() < budget || samples.len() < 7 {
        samples.push(sample(per_sample) / per_sample as f64);
    }
    samples.sort_by(f64::total_cmp);
    let at = |i: usize| (workload.figure)(samples[i]);
    let (best, worst) = (at(0), at(samples.len() - 1));
    let more = format!(r#","best":{best:.6e},"worst":{worst:.6e},"samples":{}"#, samples.len());
    report(workload.unit, at(samples.len() / 2), &more);
}

/// Calls of the allocator and bytes asked for so far, if a library which
/// counts them was preloaded.
#[cfg(target_os = "linux")]
fn allocations() -> Option<[u64; 2]> {
    use std::ffi::{CStr, c_char, c_void};
    unsafe extern "C" {
        fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
    }
    let count = |symbol: &CStr| {
        // SAFETY: a null handle means every library loaded; the name ends in 0.
        let found = unsafe { dlsym(std::ptr::null_mut(), symbol.as_ptr()) };
        // SAFETY: this name's function takes nothing and returns a `uint64_t`;
        // a null pointer is `None`.
        let function: Option<extern "C" fn() -> u64> = unsafe { std::mem::transmute(found) };
        function.map(|count| count())
    };
    Some([count(c"mc_calls")?, count(c"mc_bytes")?])
}

#[cfg(not(target_os = "linux"))]
fn allocations() -> Option<[u64; 2]> {
    None
}

/// The most memory the process ever held, in MiB, where the system tells.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes: f64 =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes / 1024.0)
}
