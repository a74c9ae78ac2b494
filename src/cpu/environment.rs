//! The float environment: what a caller set must not change a byte.
#![allow(unsafe_code)]

use core::marker::PhantomData;

/// IEEE defaults (nearest, ties to even; subnormals kept) as long as it lives, then what the thread had
/// before.
pub(crate) struct FloatEnvironment {
    before: Option<Register>,
    /// It belongs to its thread.
    thread: PhantomData<*const ()>,
}

impl FloatEnvironment {
    /// Sets the defaults where they are not set.
    pub(crate) fn ieee() -> Self {
        let now = read();
        let before = (now & CONTROL != DEFAULT & CONTROL).then_some(now);
        if before.is_some() {
            write(DEFAULT);
        }
        Self { before, thread: PhantomData }
    }
}

impl Drop for FloatEnvironment {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            write(before);
        }
    }
}

/// MXCSR: rounding mode, flush to zero, subnormals are zero, all exceptions masked.
#[cfg(target_arch = "x86_64")]
use x86_64::{CONTROL, DEFAULT, Register, read, write};
#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use core::arch::asm;
    pub(super) type Register = u32;
    pub(super) const DEFAULT: u32 = 0x1f80;
    /// All but the flags of exceptions that have happened.
    pub(super) const CONTROL: u32 = 0xffc0;

    pub(super) fn read() -> u32 {
        let mut value = 0u32;
        // SAFETY: stores MXCSR in a variable of its size.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut value, options(nostack, preserves_flags)) };
        value
    }

    pub(super) fn write(value: u32) {
        // SAFETY: loads MXCSR from a variable of its size. `value` is a default, or was read before, so
        // no reserved bit is set; Drop puts back what was there.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &value, options(nostack, preserves_flags)) };
    }
}

/// FPCR: rounding mode, flush to zero, default NaN, alternate half precision.
#[cfg(target_arch = "aarch64")]
use aarch64::{CONTROL, DEFAULT, Register, read, write};
#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use core::arch::asm;
    pub(super) type Register = u64;
    pub(super) const DEFAULT: u64 = 0;
    pub(super) const CONTROL: u64 = 0x07ff_9f07;

    pub(super) fn read() -> u64 {
        let value: u64;
        // SAFETY: reads a control register.
        unsafe { asm!("mrs {}, fpcr", out(reg) value, options(nomem, nostack)) };
        value
    }

    pub(super) fn write(value: u64) {
        // SAFETY: `value` is the default, or was read before; Drop puts back what was there.
        unsafe { asm!("msr fpcr, {}", in(reg) value, options(nostack)) };
    }
}

/// Other targets: nothing is known of them, and nothing set.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use other::{CONTROL, DEFAULT, Register, read, write};
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod other {
    pub(super) type Register = u32;
    pub(super) const DEFAULT: u32 = 0;
    pub(super) const CONTROL: u32 = 0;
    pub(super) fn read() -> u32 {
        0
    }
    pub(super) fn write(_: u32) {}
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use core::hint::black_box;

    /// Flush to zero, subnormals are zero, round down.
    const HOSTILE: u32 = 0x1f80 | 1 << 15 | 1 << 6 | 1 << 13;

    #[test]
    fn sets_and_restores() {
        let before = read();
        write(HOSTILE);
        let half = || black_box(f32::MIN_POSITIVE) * black_box(0.5);
        let flushed = half();
        let kept = {
            let _ieee = FloatEnvironment::ieee();
            half()
        };
        let again = half();
        let control = read() & CONTROL;
        write(before);
        assert_eq!(
            (flushed, kept, again, control),
            (0.0, f32::MIN_POSITIVE / 2.0, 0.0, HOSTILE & CONTROL)
        );
    }
}
