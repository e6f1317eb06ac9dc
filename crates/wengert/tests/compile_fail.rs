//! Programs which must not compile.

#[test]
#[cfg_attr(miri, ignore = "compiles programs")]
fn stale_handles_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
