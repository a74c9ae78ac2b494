//! Loops that move bytes and compute nothing: the floor.
//!
//! Prefetching by software, of which the host path has need, does not make them faster.

use blockscale::Level;
use std::hint::black_box;
use std::sync::Mutex;

/// Elements of a step: whole blocks, and whole vectors of everything but scales.
pub const STEP: usize = 512;

/// What is read and written, each in as many steps as there are.
pub struct Part<'a> {
    /// Read throughout a step.
    pub read: &'a [u8],
    /// Read at the beginning of a step: scales.
    pub read_first: &'a [u8],
    /// Written throughout a step.
    pub written: &'a mut [u8],
    /// Written at the end of a step: scales.
    pub written_last: &'a mut [u8],
}

/// Whether stores go past the caches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stores {
    Plain,
    Streaming,
}

/// The loop over one part, for all of its `elements`.
fn walk(part: &mut Part<'_>, elements: usize, stores: Stores) {
    let steps = elements / STEP;
    assert!(elements.is_multiple_of(STEP) && steps > 0);
    let bytes = Bytes {
        read: part.read.len() / steps,
        read_first: part.read_first.len() / steps,
        written: part.written.len() / steps,
        written_last: part.written_last.len() / steps,
    };
    for (len, step) in [
        (part.read.len(), bytes.read),
        (part.read_first.len(), bytes.read_first),
        (part.written.len(), bytes.written),
        (part.written_last.len(), bytes.written_last),
    ] {
        assert!(len == step * steps && step % 16 == 0);
    }
    assert!(bytes.read.is_multiple_of(256) && bytes.written.is_multiple_of(256));
    assert!(part.written.is_empty() || part.written.as_ptr().addr().is_multiple_of(64));
    let (read, read_first) = (part.read.as_ptr(), part.read_first.as_ptr());
    let (written, written_last) = (part.written.as_mut_ptr(), part.written_last.as_mut_ptr());
    let pointers = Pointers { read, read_first, written, written_last };
    // SAFETY: the pointers are valid for `steps` steps of `bytes`, `written` is aligned to 64 bytes and
    // stays so, as checked above; the level is there.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        match (Level::best(), stores) {
            (Level::Avx512, Stores::Plain) => x86_64::avx512::<false>(pointers, bytes, steps),
            (Level::Avx512, Stores::Streaming) => x86_64::avx512::<true>(pointers, bytes, steps),
            (Level::Avx2, Stores::Plain) => x86_64::avx2::<false>(pointers, bytes, steps),
            (Level::Avx2, Stores::Streaming) => x86_64::avx2::<true>(pointers, bytes, steps),
            (Level::Portable, Stores::Plain) => x86_64::sse2::<false>(pointers, bytes, steps),
            (Level::Portable, Stores::Streaming) => x86_64::sse2::<true>(pointers, bytes, steps),
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = (stores, Level::best());
            plain(pointers, bytes, steps);
        }
    }
}

/// Bytes of a step.
#[derive(Clone, Copy)]
struct Bytes {
    read: usize,
    read_first: usize,
    written: usize,
    written_last: usize,
}

#[derive(Clone, Copy)]
struct Pointers {
    read: *const u8,
    read_first: *const u8,
    written: *mut u8,
    written_last: *mut u8,
}

/// A loop in vectors of one kind; scales go in 16 bytes. A step is read and written in quarters, so that
/// loads and stores alternate as they do where something is computed.
macro_rules! traffic {
    (
        $(#[$attribute:meta])* $name:ident, $vector:ty, $zero:expr, $xor:path,
        $load:path, $store:path, $stream:path, $fence:expr
    ) => {
        /// # Safety
        /// The pointers are valid for `steps` steps of `bytes`, each a multiple of 16, `read` and
        /// `written` one of 256; `written` is aligned to 64 bytes; the processor has the instructions.
        $(#[$attribute])*
        pub(super) unsafe fn $name<const STREAM: bool>(p: Pointers, bytes: Bytes, steps: usize) {
            const SIZE: usize = size_of::<$vector>();
            let (mut sum, mut small) = ($zero, [0u64; 2]);
            let (read, written) = (bytes.read / 4, bytes.written / 4);
            for step in 0..steps {
                for at in (0..bytes.read_first).step_by(16) {
                    // SAFETY: within the step.
                    let x = unsafe {
                        p.read_first.add(step * bytes.read_first + at).cast::<[u64; 2]>().read_unaligned()
                    };
                    small = [small[0] ^ x[0], small[1] ^ x[1]];
                }
                for quarter in 0..4 {
                    for at in (0..read).step_by(SIZE) {
                        // SAFETY: within the quarter, whose bytes are a multiple of 64.
                        let x = unsafe { $load(p.read.add(step * bytes.read + quarter * read + at).cast()) };
                        sum = $xor(sum, x);
                    }
                    for at in (0..written).step_by(SIZE) {
                        // SAFETY: within the quarter, and aligned.
                        unsafe {
                            let to = p.written.add(step * bytes.written + quarter * written + at).cast();
                            if STREAM { $stream(to, sum) } else { $store(to, sum) }
                        }
                    }
                }
                for at in (0..bytes.written_last).step_by(16) {
                    // SAFETY: within the step.
                    unsafe {
                        let to = p.written_last.add(step * bytes.written_last + at);
                        to.cast::<[u64; 2]>().write_unaligned([step as u64; 2]);
                    }
                }
            }
            if STREAM {
                $fence;
            }
            black_box((sum, small));
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::{Bytes, Pointers, black_box};
    use core::arch::x86_64::*;

    traffic!(
        #[target_feature(enable = "avx512f")]
        avx512,
        __m512i,
        _mm512_setzero_si512(),
        _mm512_xor_si512,
        _mm512_loadu_si512,
        _mm512_storeu_si512,
        _mm512_stream_si512,
        _mm_sfence()
    );
    traffic!(
        #[target_feature(enable = "avx2")]
        avx2,
        __m256i,
        _mm256_setzero_si256(),
        _mm256_xor_si256,
        _mm256_loadu_si256,
        _mm256_storeu_si256,
        _mm256_stream_si256,
        _mm_sfence()
    );
    traffic!(
        #[target_feature(enable = "sse2")]
        sse2,
        __m128i,
        _mm_setzero_si128(),
        _mm_xor_si128,
        _mm_loadu_si128,
        _mm_storeu_si128,
        _mm_stream_si128,
        _mm_sfence()
    );
}

/// What the compiler makes of 64 bytes.
#[cfg(not(target_arch = "x86_64"))]
use other::plain;
#[cfg(not(target_arch = "x86_64"))]
mod other {
    use super::{Bytes, Pointers, black_box};

    type Vector = [u64; 8];
    fn xor(a: Vector, b: Vector) -> Vector {
        core::array::from_fn(|i| a[i] ^ b[i])
    }
    /// # Safety
    /// Valid for reads.
    unsafe fn load(from: *const Vector) -> Vector {
        // SAFETY: the caller's.
        unsafe { from.read_unaligned() }
    }
    /// # Safety
    /// Valid for writes.
    unsafe fn store(to: *mut Vector, value: Vector) {
        // SAFETY: the caller's.
        unsafe { to.write_unaligned(value) }
    }
    traffic!(stores, Vector, [0; 8], xor, load, store, store, ());

    /// # Safety
    /// As of `stores`.
    pub(super) unsafe fn plain(p: Pointers, bytes: Bytes, steps: usize) {
        // SAFETY: the caller's.
        unsafe { stores::<false>(p, bytes, steps) }
    }
}

/// The same on the threads of `pool`, a part of whole steps each, or on this one.
pub fn run(whole: Part<'_>, elements: usize, stores: Stores, pool: Option<&rayon::ThreadPool>) {
    let threads = pool.map_or(1, rayon::ThreadPool::current_num_threads);
    let share = (elements / STEP).div_ceil(threads) * STEP;
    // Buffers of nothing stay so in every part.
    let cut = |len: usize| (len / (elements / STEP) * (share / STEP)).max(1);
    let mut read = whole.read.chunks(cut(whole.read.len()));
    let mut read_first = whole.read_first.chunks(cut(whole.read_first.len()));
    let length = cut(whole.written.len());
    let mut written = whole.written.chunks_mut(length);
    let length = cut(whole.written_last.len());
    let mut written_last = whole.written_last.chunks_mut(length);
    let parts = (0..elements).step_by(share).map(|first| {
        let part = Part {
            read: read.next().unwrap_or_default(),
            read_first: read_first.next().unwrap_or_default(),
            written: written.next().unwrap_or_default(),
            written_last: written_last.next().unwrap_or_default(),
        };
        Mutex::new((part, share.min(elements - first)))
    });
    let parts: Vec<_> = parts.collect();
    let work = |thread: usize| {
        if let Some(part) = parts.get(thread) {
            let (part, elements) = &mut *part.lock().unwrap();
            walk(part, *elements, stores);
        }
    };
    match pool {
        Some(pool) => drop(pool.broadcast(|thread| work(thread.index()))),
        None => work(0),
    }
}
