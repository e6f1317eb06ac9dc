//! Random positions and ranges, valid or not: the right answer or the documented panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wengert_fuzz::indices::check(bytes));
