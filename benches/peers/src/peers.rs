//! The peers, each as a pair of loops over whole chunks of elements.

use crate::memory::bytes_of_mut;
use float8::{F8E4M3, F8E5M2};
use llama_cpp_sys_2 as ggml;
use microfloat::{f4e2m1fn, f8e4m3fn};

/// One peer's way with one format.
pub struct Peer {
    pub name: &'static str,
    pub version: &'static str,
    pub format: &'static str,
    /// Our profiles that it is compared with.
    pub profiles: &'static [&'static str],
    /// Elements and bytes that belong together: scales and codes lie side by side.
    pub elements: usize,
    pub bytes: usize,
    pub quantize: fn(&[f32], &mut [u8]),
    pub dequantize: fn(&[u8], &mut [f32]),
}

pub const PEERS: [Peer; 7] = [
    Peer {
        name: "ggml",
        version: "llama-cpp-sys-2 0.1.161",
        format: "mxfp4",
        profiles: &["ggml", "rceil"],
        elements: 32,
        bytes: 17,
        quantize: |x, y| ggml_quantize(ggml::GGML_TYPE_MXFP4, x, y),
        dequantize: |x, y| ggml_dequantize(ggml::GGML_TYPE_MXFP4, x, y),
    },
    Peer {
        name: "ggml",
        version: "llama-cpp-sys-2 0.1.161",
        format: "nvfp4",
        profiles: &["ggml", "transformer-engine"],
        elements: 64,
        bytes: 36,
        quantize: |x, y| ggml_quantize(ggml::GGML_TYPE_NVFP4, x, y),
        dequantize: |x, y| ggml_dequantize(ggml::GGML_TYPE_NVFP4, x, y),
    },
    Peer {
        name: "float4",
        version: "0.2.0",
        format: "mxfp4",
        profiles: &["rceil"],
        elements: 32,
        bytes: 17,
        quantize: float4_loops::quantize,
        dequantize: float4_loops::dequantize,
    },
    Peer {
        name: "microfloat",
        version: "0.1.3",
        format: "mxfp4",
        profiles: &["rceil"],
        elements: 32,
        bytes: 17,
        quantize: |x, y| fours::<32>(x, y, rceil::<6>, e8m0),
        dequantize: |x, y| from_fours::<32>(x, y, e8m0),
    },
    Peer {
        name: "microfloat",
        version: "0.1.3",
        format: "nvfp4",
        profiles: &["ggml"],
        elements: 16,
        bytes: 9,
        quantize: |x, y| fours::<16>(x, y, |amax| f8e4m3fn::from_f32(amax / 6.0).to_bits(), e4m3),
        dequantize: |x, y| from_fours::<16>(x, y, e4m3),
    },
    Peer {
        name: "float8",
        version: "0.7.0",
        format: "mxfp8-e4m3",
        profiles: &["rceil"],
        elements: 32,
        bytes: 33,
        quantize: |x, y| eights(x, y, rceil::<448>, |x| F8E4M3::from_f32(x).to_bits()),
        dequantize: |x, y| from_eights(x, y, |code| F8E4M3::from_bits(code).to_f32()),
    },
    Peer {
        name: "float8",
        version: "0.7.0",
        format: "mxfp8-e5m2",
        profiles: &["rceil"],
        elements: 32,
        bytes: 33,
        quantize: |x, y| eights(x, y, rceil::<57344>, |x| F8E5M2::from_f32(x).to_bits()),
        dequantize: |x, y| from_eights(x, y, |code| F8E5M2::from_bits(code).to_f32()),
    },
];

fn amax(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |amax, x| amax.max(x.abs()))
}

/// The least power of two at which `MAX` reaches `amax`, as E8M0.
fn rceil<const MAX: u32>(amax: f32) -> u8 {
    let bits = (amax / MAX as f32).to_bits();
    ((bits >> 23) + u32::from(bits & 0x007f_ffff != 0)) as u8
}

fn e8m0(code: u8) -> f32 {
    f32::from_bits(u32::from(code) << 23)
}

fn e4m3(code: u8) -> f32 {
    f8e4m3fn::from_bits(code).to_f32()
}

fn reciprocal(scale: f32) -> f32 {
    if scale > 0.0 { 1.0 / scale } else { 0.0 }
}

/// microfloat casts elements only; the loop around them is ours. The length of a block is a constant, so
/// that the compiler makes of the casts what it can.
#[inline(always)]
fn fours<const BLOCK: usize>(
    x: &[f32],
    y: &mut [u8],
    rule: impl Fn(f32) -> u8,
    value: impl Fn(u8) -> f32,
) {
    for (x, y) in x.as_chunks::<BLOCK>().0.iter().zip(y.chunks_exact_mut(1 + BLOCK / 2)) {
        y[0] = rule(amax(x));
        let factor = reciprocal(value(y[0]));
        let codes = x.map(|x| f4e2m1fn::from_f32(x * factor).to_bits());
        for (pair, y) in codes.as_chunks::<2>().0.iter().zip(&mut y[1..]) {
            *y = pair[0] | pair[1] << 4;
        }
    }
}

#[inline(always)]
fn from_fours<const BLOCK: usize>(x: &[u8], y: &mut [f32], value: impl Fn(u8) -> f32) {
    for (x, y) in x.chunks_exact(1 + BLOCK / 2).zip(y.as_chunks_mut::<BLOCK>().0) {
        let scale = value(x[0]);
        for (code, pair) in x[1..].iter().zip(y.as_chunks_mut::<2>().0) {
            pair[0] = f4e2m1fn::from_bits(code & 15).to_f32() * scale;
            pair[1] = f4e2m1fn::from_bits(code >> 4).to_f32() * scale;
        }
    }
}

/// float8 casts elements only, too.
#[inline(always)]
fn eights(x: &[f32], y: &mut [u8], rule: impl Fn(f32) -> u8, cast: impl Fn(f32) -> u8) {
    for (x, y) in x.as_chunks::<32>().0.iter().zip(y.as_chunks_mut::<33>().0) {
        y[0] = rule(amax(x));
        let factor = reciprocal(e8m0(y[0]));
        x.iter().zip(&mut y[1..]).for_each(|(x, y)| *y = cast(x * factor));
    }
}

#[inline(always)]
fn from_eights(x: &[u8], y: &mut [f32], value: impl Fn(u8) -> f32) {
    for (x, y) in x.as_chunks::<33>().0.iter().zip(y.as_chunks_mut::<32>().0) {
        let scale = e8m0(x[0]);
        x[1..].iter().zip(y).for_each(|(code, y)| *y = value(*code) * scale);
    }
}

/// What ggml prepares once.
pub fn prepare() {
    // SAFETY: takes nothing, and may be called again.
    unsafe { ggml::ggml_cpu_init() }
}

fn ggml_quantize(kind: ggml::ggml_type, x: &[f32], y: &mut [u8]) {
    // SAFETY: the table has every type.
    let traits = unsafe { &*ggml::ggml_get_type_traits_cpu(kind) };
    let from_float = traits.from_float.expect("ggml quantizes this type");
    // SAFETY: `x` has whole blocks, and `y` room for as many, as `Peer` says.
    unsafe { from_float(x.as_ptr(), y.as_mut_ptr().cast(), x.len() as i64) }
}

fn ggml_dequantize(kind: ggml::ggml_type, x: &[u8], y: &mut [f32]) {
    // SAFETY: the table has every type.
    let traits = unsafe { &*ggml::ggml_get_type_traits(kind) };
    let to_float = traits.to_float.expect("ggml decodes this type");
    let len = y.len() as i64;
    // SAFETY: `y` has room for the elements of whole blocks, which `x` holds, as `Peer` says.
    unsafe { to_float(x.as_ptr().cast(), bytes_of_mut(y).as_mut_ptr().cast(), len) }
}
