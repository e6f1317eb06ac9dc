//! Which instruction set the kernels run on, and how a loop is compiled for
//! each of them.

use std::sync::OnceLock;

/// The instruction set the kernels are compiled for, chosen once per tape.
///
/// Every kernel exists once for each of these, so a plain release build uses
/// what the machine has, and nobody needs to set `RUSTFLAGS`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub(crate) enum Isa {
    /// What the target guarantees, without fused multiply-add.
    Portable,
    /// AArch64, where NEON with fused multiply-add is always there.
    Neon,
    /// x86-64 with AVX2 and FMA: vectors of 256 bits.
    Avx2,
    /// x86-64 with AVX-512 F, VL, DQ and BW: vectors of 512 bits.
    Avx512,
}

impl Isa {
    /// The best instruction set of this machine.
    ///
    /// The environment variable `WENGERT_ISA` (`portable`, `neon`, `avx2` or
    /// `avx512`) picks a lesser one, for tests and for timing one against
    /// another. A value which is unknown, or which this machine cannot run, is
    /// ignored. The answer is found once per process and remembered.
    pub(crate) fn detect() -> Isa {
        static DETECTED: OnceLock<Isa> = OnceLock::new();
        *DETECTED.get_or_init(|| {
            let wanted = std::env::var("WENGERT_ISA").ok();
            match wanted.as_deref().and_then(Isa::from_name) {
                Some(isa) if isa.is_available() => isa,
                _ => Isa::best(),
            }
        })
    }

    /// Whether this machine can run kernels compiled for `self`.
    pub(crate) fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            Isa::Neon => cfg!(all(target_arch = "aarch64", not(miri))),
            Isa::Avx2 => has_avx2(),
            Isa::Avx512 => has_avx512(),
        }
    }

    fn best() -> Isa {
        [Isa::Avx512, Isa::Avx2, Isa::Neon].into_iter().find(|isa| isa.is_available()).unwrap_or(Isa::Portable)
    }

    fn from_name(name: &str) -> Option<Isa> {
        match name {
            "portable" => Some(Isa::Portable),
            "neon" => Some(Isa::Neon),
            "avx2" => Some(Isa::Avx2),
            "avx512" => Some(Isa::Avx512),
            _ => None,
        }
    }
}

/// Whether what is compiled for the target as it is may use fused multiply-adds.
pub(crate) const BASELINE_FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// Defines a kernel which is compiled once for every instruction set. Called
/// with an [`Isa`] before its arguments, it runs the one for that.
///
/// In the body, `FMA` says whether it is compiled for fused multiply-adds. What
/// the body calls must be inlined into it (`#[inline(always)]`): a
/// function by itself is compiled for the baseline. A closure is safe only
/// where it is called in one place.
macro_rules! dispatched {
    (
        $(#[$meta:meta])*
        $vis:vis unsafe fn $name:ident<$($t:ident: $bound:path),* $(; $(const $n:ident: usize),*)?>(
            $($arg:ident: $ty:ty),* $(,)?
        ) $(-> $out:ty)? $body:block
    ) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "kernels")]
        $vis unsafe fn $name<$($t: $bound,)* $($(const $n: usize),*)?>(
            isa: $crate::kernels::isa::Isa, $($arg: $ty),*
        ) $(-> $out)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, reason = "kernels")]
            unsafe fn body<const FMA: bool, $($t: $bound,)* $($(const $n: usize),*)?>($($arg: $ty),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,fma")]
            #[allow(clippy::too_many_arguments, reason = "kernels")]
            unsafe fn avx512<$($t: $bound,)* $($(const $n: usize),*)?>($($arg: $ty),*) $(-> $out)? {
                // SAFETY: the caller's contract.
                unsafe { body::<true, $($t,)* $($($n),*)?>($($arg),*) }
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "kernels")]
            unsafe fn avx2<$($t: $bound,)* $($(const $n: usize),*)?>($($arg: $ty),*) $(-> $out)? {
                // SAFETY: the caller's contract.
                unsafe { body::<true, $($t,)* $($($n),*)?>($($arg),*) }
            }

            // SAFETY: the caller's contract; an instruction set is only ever
            // chosen where the processor has it (`Isa::detect`).
            unsafe {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    $crate::kernels::isa::Isa::Avx512 => avx512::<$($t,)* $($($n),*)?>($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::kernels::isa::Isa::Avx2 => avx2::<$($t,)* $($($n),*)?>($($arg),*),
                    _ => body::<{ $crate::kernels::isa::BASELINE_FMA }, $($t,)* $($($n),*)?>($($arg),*),
                }
            }
        }
    };
}
pub(crate) use dispatched;

/// A loop over slices which [`vectorize`] compiles for every instruction set.
///
/// Implementations put `#[inline(always)]` on `run`, and call nothing in it
/// which is not inlined: a function by itself is compiled for the baseline.
pub trait Vectorize {
    /// What the loop gives back.
    type Output;

    /// The loop.
    fn run(self) -> Self::Output;
}

/// Runs a loop with the widest vectors this machine has, in a plain release
/// build: for optimizers, or the kernels of ops of your own
/// ([`CustomOp`](crate::CustomOp)).
///
/// ```
/// use wengert::{Vectorize, vectorize};
///
/// /// `x += by`
/// struct Shift<'a>(&'a mut [f32], f32);
///
/// impl Vectorize for Shift<'_> {
///     type Output = ();
///
///     #[inline(always)]
///     fn run(self) {
///         for x in self.0 {
///             *x += self.1;
///         }
///     }
/// }
///
/// let mut values = [1.0, 2.0, 3.0];
/// vectorize(Shift(&mut values, 0.5));
/// assert_eq!(values, [1.5, 2.5, 3.5]);
/// ```
pub fn vectorize<V: Vectorize>(kernel: V) -> V::Output {
    // SAFETY: safe code, for an instruction set which the machine has.
    unsafe { run(Isa::detect(), kernel) }
}

dispatched! {
    unsafe fn run<V: Vectorize>(kernel: V) -> V::Output {
        kernel.run()
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

// AVX2 is asked for too: the AVX-512 kernels hand narrow edges to the AVX2 ones.
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn has_avx512() -> bool {
    has_avx2()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw")
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn has_avx2() -> bool {
    false
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn has_avx512() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::Isa;

    #[test]
    fn what_is_detected_can_run() {
        assert!(Isa::detect().is_available());
        assert!(Isa::detect() <= Isa::best());
        assert!(Isa::Portable.is_available());
    }

    #[test]
    fn names_are_the_variants_in_lower_case() {
        for isa in [Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512] {
            let name = format!("{isa:?}").to_lowercase();
            assert_eq!(Isa::from_name(&name), Some(isa));
        }
        assert_eq!(Isa::from_name("sse9"), None);
    }
}
