//! A rotated quantization is a rotation to f32, then a quantization: byte for byte, for every named
//! profile, rounding, kind of block, type and backend. Seeds are fixed.

use blockscale::format::Format;
use blockscale::numerics::{DrawBits, Hadamard, Profile, Rounding, Stochastic};
use blockscale::{Backend, Blocks, Cpu, Error, Quantize, QuantizedTensor, Real, Rotate};
use half::{bf16, f16};
use std::num::NonZeroUsize;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// In [-1, 1), with an outlier now and then.
    fn value(&mut self) -> f32 {
        let unit = (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0;
        if self.next().is_multiple_of(50) { unit * 40.0 } else { unit }
    }
    fn values<T: Real>(&mut self, n: usize) -> Vec<T> {
        (0..n).map(|_| T::from_f32(self.value())).collect()
    }
    /// With a NaN or an Inf now and then.
    fn hostile<T: Real>(&mut self, n: usize) -> Vec<T> {
        let mut value = || match self.next() % 500 {
            0 => f32::NAN,
            1 => f32::INFINITY,
            2..20 => f32::from_bits(self.next() as u32 % 0x0100_0000),
            _ => self.value(),
        };
        (0..n).map(|_| T::from_f32(value())).collect()
    }
}

const BACKENDS: [Backend; 2] = [Backend::Reference, Backend::Cpu(Cpu::new())];

fn hadamards() -> Vec<Hadamard> {
    let sizes = Hadamard::SIZES.map(|size| Hadamard::new(size).unwrap());
    let drawn = sizes.map(|plain| plain.with_drawn_signs(3, "w"));
    [&drawn[..], &sizes[..2], &[Hadamard::TRANSFORMER_ENGINE]].concat()
}

fn roundings() -> [Rounding; 3] {
    let draws = Stochastic::new(7, "w").with_offset(32, 512).with_step(2);
    [
        Rounding::Nearest,
        Rounding::Stochastic(draws),
        Rounding::Stochastic(draws.with_bits(DrawBits::Sixteen)),
    ]
}

fn same(a: &QuantizedTensor, b: &QuantizedTensor) -> bool {
    let scale = |q: &QuantizedTensor| q.tensor_scale().map(|s| (s.name(), s.value().to_bits()));
    a.codes().as_bytes() == b.codes().as_bytes()
        && a.scales().as_bytes() == b.scales().as_bytes()
        && scale(a) == scale(b)
}

/// Rotates, then quantizes, by the reference.
fn composed<T: Real>(
    how: Quantize,
    hadamard: Hadamard,
    x: &[T],
    shape: &[usize],
) -> QuantizedTensor {
    let y: Vec<f32> = Rotate::new(hadamard).backend(Backend::Reference).run_as(x, shape).unwrap();
    how.backend(Backend::Reference).run(&y, shape).unwrap()
}

fn compare<T: Real>(how: Quantize, hadamard: Hadamard, x: &[T], shape: &[usize]) {
    let expected = composed(how, hadamard, x, shape);
    for backend in BACKENDS {
        let q = how.rotated(hadamard).backend(backend).run(x, shape).unwrap();
        assert!(same(&q, &expected), "{how:?} {hadamard:?} {shape:?} {backend:?}");
    }
}

fn all_profiles<T: Real>(seed: u64) {
    let mut random = Random(seed);
    let hadamards = hadamards();
    let formats = Format::NAMED.into_iter().flat_map(|(_, format)| Profile::all(format));
    for (i, profile) in formats.enumerate() {
        for (j, rounding) in roundings().into_iter().enumerate() {
            for blocks in [Blocks::Row, Blocks::Tile] {
                let hadamard = hadamards[(i + 3 * j) % hadamards.len()];
                let shape = [2, 37, 2 * hadamard.size()];
                let n = shape.iter().product();
                let how = Quantize::new(profile).rounding(rounding).blocks(blocks);
                compare(how, hadamard, &random.values::<T>(n), &shape);
                compare(how, hadamard, &random.hostile::<T>(n), &shape);
                compare(how.tensor_amax(3.0), hadamard, &random.values::<T>(n), &shape);
            }
        }
    }
}

#[test]
fn all_profiles_of_f32() {
    all_profiles::<f32>(1);
}

#[test]
fn all_profiles_of_bf16() {
    all_profiles::<bf16>(2);
}

#[test]
fn all_profiles_of_f16() {
    all_profiles::<f16>(3);
}

/// Tensors of several pieces: many rows, few long ones, tiles, blocks that no power of two divides.
#[test]
fn pieces_make_the_tensor() {
    let mut random = Random(4);
    let formats = ["nvfp4", "mxfp4", "mxfp8-e4m3", "e2m1x15:e8m0", "int5/4x48:e4m3+tensor"];
    for (i, format) in formats.into_iter().enumerate() {
        let profile = Profile::default_for(format.parse().unwrap());
        for (j, shape) in
            [vec![3, 130, 1024], vec![2, 3 << 17], vec![(1 << 18) + 256]].iter().enumerate()
        {
            let x: Vec<bf16> = random.values(shape.iter().product());
            let hadamard = Hadamard::new(Hadamard::SIZES[(i + j) % 5]).unwrap();
            let plain = Quantize::new(profile);
            compare(plain, hadamard, &x, shape);
            let draws = Stochastic::new(1, "w").with_offset(16, 16 * 15 * 256);
            compare(plain.rounding(Rounding::Stochastic(draws)), hadamard, &x, shape);
            if let [_, _, _] = shape[..] {
                compare(plain.blocks(Blocks::Tile), hadamard, &x, shape);
            }
        }
    }
}

#[test]
fn threads_and_buffers_change_nothing() {
    let mut random = Random(5);
    let shape = [300, 1024];
    let x: Vec<f32> = random.values(300 * 1024);
    let hadamard = Hadamard::new(128).unwrap().with_drawn_signs(1, "w");
    let profile = Profile::default_for(Format::NVFP4);
    let how = Quantize::new(profile).rounding(roundings()[1]);
    let expected = composed(how, hadamard, &x, &shape);
    for threads in [1, 2, 5] {
        let cpu = Cpu::new().threads(NonZeroUsize::new(threads).unwrap());
        let how = how.rotated(hadamard).backend(cpu);
        assert!(same(&how.run(&x, &shape).unwrap(), &expected));
        let [codes, scales] = how.output_bytes(&shape).unwrap();
        let (mut codes, mut scales) = (vec![0xa5; codes], vec![0xa5; scales]);
        let q = how.run_into(&x, &shape, &mut codes, &mut scales).unwrap();
        assert_eq!(q.tensor_scale(), expected.tensor_scale());
        assert_eq!(
            (&codes[..], &scales[..]),
            (expected.codes().as_bytes(), expected.scales().as_bytes())
        );
    }
}

/// What the amax of pieces drops is what the amax of the tensor drops.
#[test]
fn dropped_values_are_dropped_after_the_rotation() {
    let mut random = Random(6);
    let profile = Profile::parse(Format::NVFP4, "torchao+nonfinite=drop").unwrap();
    for n in [1 << 10, 3 << 17] {
        let mut x: Vec<f32> = random.values(n);
        (x[7], x[n / 2], x[n - 1]) = (f32::INFINITY, f32::NAN, f32::MAX);
        compare(Quantize::new(profile), Hadamard::new(128).unwrap(), &x, &[2, n / 2]);
    }
}

/// The amax is that of the rotated values, whichever is larger.
#[test]
fn the_tensor_amax_is_of_rotated_values() {
    let profile = Profile::default_for(Format::NVFP4);
    let hadamard = Hadamard::new(16).unwrap();
    let amax = |x: [f32; 16]| {
        let q = Quantize::new(profile).rotated(hadamard).run(&x, &[16]).unwrap();
        q.tensor_scale().unwrap().value()
    };
    let mut outlier = [0.0; 16];
    outlier[9] = 8.0;
    assert_eq!(amax(outlier), 2.0);
    assert_eq!(amax([8.0; 16]), 32.0);
    assert!(amax([f32::NAN; 16]).is_nan());
}

#[test]
fn what_cannot_be_rotated_is_refused() {
    let profile = Profile::default_for(Format::MXFP4);
    let hadamard = Hadamard::new(64).unwrap();
    for backend in BACKENDS {
        let how = Quantize::new(profile).backend(backend).rotated(hadamard);
        assert_eq!(how.rotation(), Some(hadamard));
        let error = how.run(&[1.0f32; 96], &[96]).unwrap_err();
        assert!(matches!(error, Error::RotationSize { given: 96, size: 64, .. }), "{error}");
        assert_eq!(how.check_shape(&[96]), Err(error.clone()));
        assert_eq!(how.output_bytes(&[96]), Err(error));
        assert!(how.check_shape(&[3, 128]).is_ok());
        assert!(matches!(how.run(&[1.0f32; 64], &[128]), Err(Error::WrongLength { .. })));
        // A shard that begins within a block of the rotation.
        let at = |column| {
            let draws = Stochastic::new(1, "w").with_offset(0, column);
            how.rounding(Rounding::Stochastic(draws)).run(&[1.0f32; 64], &[64])
        };
        assert!(matches!(at(32), Err(Error::InvalidValue { what: "the offset of a shard", .. })));
        assert!(at(64).is_ok());
        for shape in [&[0][..], &[0, 64], &[5, 0], &[2, 0, 64]] {
            for profile in [profile, Profile::default_for(Format::NVFP4)] {
                let how = Quantize::new(profile).backend(backend);
                let empty = how.rotated(hadamard).run::<f32>(&[], shape);
                assert_eq!(empty, how.run::<f32>(&[], shape), "{shape:?}");
            }
        }
    }
}
