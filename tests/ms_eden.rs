//! MS-EDEN against its formula written out once more, its bytes at every level, and what it promises on average.

use blockscale::format::{Format, Scale};
use blockscale::numerics::{DrawRule, Hadamard, Profile, Stochastic, TensorScale, philox4x32_10};
use blockscale::{Backend, Blocks, Cpu, Error, Level, MsEden, QuantizedTensor, Real, Rotate, amax};
use half::{bf16, f16};
use std::f64::consts::TAU;
use std::num::NonZeroUsize;

/// Standard Gaussians by Box and Muller.
fn normals(seed: u32, n: usize) -> Vec<f32> {
    let value = |i: usize| {
        let words = philox4x32_10([i as u32, 0, 0, 0], [seed, 1]);
        let [a, b, ..] = words.map(|word| (f64::from(word) + 0.5) / 2f64.powi(32));
        ((-2.0 * a.ln()).sqrt() * (TAU * b).cos()) as f32
    };
    (0..n).map(value).collect()
}

fn signs(step: u32) -> Hadamard {
    Hadamard::new(128).unwrap().with_signs_drawn_at(5, "signs", step)
}

fn draws() -> Stochastic {
    Stochastic::new(9, "dy").with_stream(2).with_step(3)
}

// ---- The formula, once more -------------------------------------------------------------------

/// Values of E4M3's codes 0 to 126.
fn e4m3() -> Vec<f64> {
    let value = |code: u32| match (code / 8, f64::from(code % 8)) {
        (0, m) => m / 8.0 * 2f64.powi(-6),
        (e, m) => (1.0 + m / 8.0) * 2f64.powi(e as i32 - 7),
    };
    (0..127).map(value).collect()
}

/// The index of the nearest entry of an ascending table, ties to even indices.
fn nearest(table: &[f64], x: f64) -> usize {
    let above = table.partition_point(|v| *v < x);
    if above == 0 || above == table.len() {
        return above.min(table.len() - 1);
    }
    let (low, high) = (x - table[above - 1], table[above] - x);
    if low < high || low == high && above % 2 == 1 { above - 1 } else { above }
}

/// Adds term i and term i + n/2, then the same of what is left.
fn folded(terms: &[f32]) -> f32 {
    match terms.len() {
        1 => terms[0],
        n => {
            let half: Vec<f32> = (0..n / 2).map(|i| terms[i] + terms[i + n / 2]).collect();
            folded(&half)
        }
    }
}

struct Expected {
    codes: Vec<u8>,
    scales: Vec<u8>,
    decode: f32,
}

/// `y`, rotated already and finite, by the steps that stand at `MsEden`.
fn expected(y: &[f32], k: usize, so: f32, draws: Stochastic) -> Expected {
    let grid = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let e4m3 = e4m3();
    let largest = |y: &[f32]| y.iter().fold(0.0f32, |a, y| a.max(y.abs()));
    let v = 6.0f32 / so;
    let t = match largest(y) / 255.99f32 / v {
        0.0 => 1.0,
        t => t,
    };
    let (mut codes, mut scales) = (Vec::new(), Vec::new());
    for (group, y) in y.chunks(128).enumerate() {
        let s: Vec<f32> = y
            .chunks(16)
            .map(|y| match e4m3[nearest(&e4m3, f64::from(largest(y) / v / t))] as f32 {
                0.0 => 1.0,
                s => s,
            })
            .collect();
        let z: Vec<f32> = (0..128).map(|i| y[i] / (s[i / 16] * t)).collect();
        let magnitudes: Vec<usize> = z.iter().map(|z| nearest(&grid, f64::from(z.abs()))).collect();
        let squares: Vec<f32> = z.iter().map(|z| z * z).collect();
        let products: Vec<f32> =
            z.iter().zip(&magnitudes).map(|(z, m)| z.abs() * grid[*m] as f32).collect();
        let c = match folded(&products) {
            0.0 => 1.0,
            sum => folded(&squares) / sum,
        };
        for (y, m) in y.iter().zip(&magnitudes) {
            codes.push(*m as u8 | if y.is_sign_negative() { 8 } else { 0 });
        }
        for (i, s) in s.into_iter().enumerate() {
            let (row, block) = (group / (k / 128), group % (k / 128) * 8 + i);
            let words = philox4x32_10([block as u32 / 8, row as u32, 2, 3], draws.scale_key());
            let half = words[block % 8 / 2] >> (16 * (block % 2)) & 0xffff;
            let scale = f64::from(s * c);
            let down = e4m3.iter().rposition(|v| *v <= scale).unwrap();
            let up = (down + 1).min(126);
            let fraction =
                if up == down { 0.0 } else { (scale - e4m3[down]) / (e4m3[up] - e4m3[down]) };
            let goes_up = match draws.rule() {
                DrawRule::Truncated => (fraction * 65536.0).floor() + f64::from(half) >= 65536.0,
                DrawRule::Midpoint => {
                    (fraction * 65536.0 + 0.5).floor() + f64::from(half) >= 65536.0
                }
            };
            scales.push(if goes_up { up } else { down } as u8);
        }
    }
    Expected { codes, scales, decode: t }
}

/// Codes, one a byte.
fn codes(q: &QuantizedTensor) -> Vec<u8> {
    q.codes().as_bytes().iter().flat_map(|byte| [byte & 15, byte >> 4]).collect()
}

fn check(what: &str, q: &QuantizedTensor, expected: &Expected) {
    assert_eq!(codes(q), expected.codes, "{what}: codes");
    assert_eq!(q.scales().as_bytes(), expected.scales, "{what}: scales");
    assert_eq!(q.tensor_scale(), Some(TensorScale::Decode(expected.decode)), "{what}");
}

#[test]
fn bytes_are_those_of_the_formula() {
    let (rows, k) = (6, 384);
    // Rows of all sizes, the last ones below the range of the scales, and a group of zeros.
    let mut x = normals(1, rows * k);
    for (row, x) in x.chunks_mut(k).enumerate() {
        x.iter_mut().for_each(|x| *x *= 0.1f32.powi(row as i32));
    }
    x[128..256].fill(0.0);
    for so in [MsEden::BACKWARD, MsEden::FORWARD, 0.93] {
        for rule in [DrawRule::Truncated, DrawRule::Midpoint] {
            let draws = draws().with_rule(rule);
            let y = Rotate::new(signs(0)).run(&x, &[rows, k]).unwrap();
            let expected = expected(&y, k, so, draws);
            let quantize = MsEden::new(draws).scale_override(so).rotated(signs(0));
            for backend in [Backend::Reference, Backend::default()] {
                let q = quantize.backend(backend).run(&x, &[rows, k]).unwrap();
                check(&format!("{so} {rule:?} {backend:?}"), &q, &expected);
            }
        }
    }
    // The default is that of the backward pass.
    let plain = MsEden::new(draws()).rotated(signs(0));
    assert_eq!(plain, plain.scale_override(17.0 / 16.0 * 0.93));
}

#[test]
fn values_decode_as_stated() {
    let x = normals(2, 2 * 256);
    let q = MsEden::new(draws()).rotated(signs(1)).run(&x, &[2, 256]).unwrap();
    let Some(TensorScale::Decode(t)) = q.tensor_scale() else { panic!() };
    let grid = [0.0f32, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    for (i, (y, code)) in q.dequantize::<f32>().iter().zip(codes(&q)).enumerate() {
        let scale = Scale::E4M3.decode(q.scales().as_bytes()[i / 16]);
        let sign = if code & 8 == 0 { 1.0 } else { -1.0 };
        assert_eq!(*y, sign * grid[usize::from(code & 7)] * (t * scale));
    }
    // The profile is sound, reads back, and claims nothing.
    let profile = MsEden::profile();
    assert_eq!(Profile::parse(Format::NVFP4, &profile.to_string()), Ok(profile));
    assert!(!profile.is_named());
    assert_eq!(q.profile(), &profile);
    let again = QuantizedTensor::from_parts(
        profile,
        Blocks::Row,
        q.shape(),
        q.codes().as_bytes(),
        q.scales().as_bytes(),
        q.tensor_scale(),
    );
    assert_eq!(again.unwrap(), q.view());
}

// ---- The same bytes everywhere ----------------------------------------------------------------

fn levels() -> Vec<Level> {
    let levels = Level::NAMED.into_iter().map(|(_, level)| level);
    levels.filter(|level| level.is_available()).collect()
}

fn equal_everywhere<T: Real>(what: &str, quantize: MsEden, x: &[T], shape: &[usize]) {
    let expected = quantize.backend(Backend::Reference).run(x, shape).unwrap();
    for level in levels() {
        let cpu = Cpu::new().level(level).unwrap();
        let q = quantize.backend(cpu).run(x, shape).unwrap();
        // Bytes, as a NaN is not equal to itself.
        assert_eq!(q.scales().as_bytes(), expected.scales().as_bytes(), "{what} {level:?}");
        assert_eq!(q.codes().as_bytes(), expected.codes().as_bytes(), "{what} {level:?}");
        let bits = |q: &QuantizedTensor| q.tensor_scale().map(|scale| scale.value().to_bits());
        assert_eq!(bits(&q), bits(&expected), "{what} {level:?}");
    }
}

#[test]
fn every_level_gives_the_references_bytes() {
    let quantize = MsEden::new(draws()).rotated(signs(2));
    let hostile = |words: [u32; 4]| match words[1] % 12 {
        0 => 0.0,
        1 => -0.0,
        2 => f32::from_bits(words[0] & 0x807f_ffff),
        3 => f32::from_bits(words[0] & 0xbfff_ffff),
        4 => (words[0] % 25) as f32 / 4.0,
        _ => words[0] as f32 / 4294967296.0 - 0.5,
    };
    let x: Vec<f32> = (0..33 * 640).map(|i| hostile(philox4x32_10([i, 3, 0, 0], [0; 2]))).collect();
    for (shape, len) in [
        (&[33, 640][..], 33 * 640),
        (&[2, 5, 128], 1280),
        (&[256], 256),
        (&[0, 128], 0),
        (&[3, 0], 0),
    ] {
        let x = &x[..len];
        equal_everywhere("f32", quantize, x, shape);
        let half: Vec<bf16> = x.iter().map(|x| bf16::from_f32(*x)).collect();
        equal_everywhere("bf16", quantize, &half, shape);
        let half: Vec<f16> = x.iter().map(|x| f16::from_f32(*x)).collect();
        equal_everywhere("f16", quantize, &half, shape);
    }
    // Tensors at the ends of f32's range, where t is subnormal, 0 or s · t is.
    for exponent in [-149, -140, -134, -126, -100, 0, 100, 120, 127] {
        let tiny: Vec<f32> =
            normals(4, 512).iter().map(|x| x * 2f32.powi(exponent.max(-126))).collect();
        let tiny: Vec<f32> =
            tiny.iter().map(|x| x * 2f32.powi(exponent - exponent.max(-126))).collect();
        equal_everywhere(&format!("2^{exponent}"), quantize, &tiny, &[4, 128]);
    }
    // NaN and Inf, in the tensor whose amax is taken and in a shard whose amax is given.
    for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = normals(5, 512);
        x[200] = special;
        equal_everywhere("special", quantize, &x, &[4, 128]);
        equal_everywhere("special, amax given", quantize.tensor_amax(30.0), &x, &[4, 128]);
        equal_everywhere("special amax", quantize.tensor_amax(special.abs()), &x, &[4, 128]);
    }
    for amax in [0.0, 1e-3, 1e30, f32::NAN, f32::INFINITY] {
        equal_everywhere("amax", quantize.tensor_amax(amax), &normals(6, 512), &[4, 128]);
    }
    let midpoint = MsEden::new(draws().with_rule(DrawRule::Midpoint)).rotated(signs(2));
    equal_everywhere("midpoint", midpoint, &x, &[33, 640]);
}

#[test]
fn threads_and_shards_change_nothing() {
    let (rows, k) = (260, 1024);
    let x = normals(7, rows * k);
    let quantize = MsEden::new(draws()).rotated(signs(3));
    let whole = quantize.run(&x, &[rows, k]).unwrap();
    let one = quantize.backend(Cpu::new().threads(NonZeroUsize::MIN));
    assert_eq!(one.run(&x, &[rows, k]).unwrap(), whole);
    assert_eq!(quantize.backend(Backend::Reference).run(&x, &[rows, k]).unwrap(), whole);
    // Rows from 100 on, and columns from 384 to 640.
    let g = amax(&Rotate::new(signs(3)).run(&x, &[rows, k]).unwrap());
    let shard: Vec<f32> = x.chunks(k).skip(100).flat_map(|row| row[384..640].to_vec()).collect();
    let shard_draws = draws().with_offset(100, 384);
    for backend in [Backend::Reference, Backend::default()] {
        let q = MsEden::new(shard_draws).rotated(signs(3)).tensor_amax(g).backend(backend);
        let q = q.run(&shard, &[160, 256]).unwrap();
        let expected = whole.scales().as_bytes().chunks(k / 16).skip(100);
        let expected: Vec<u8> = expected.flat_map(|row| row[24..40].to_vec()).collect();
        assert_eq!(q.scales().as_bytes(), expected);
        assert_eq!(q.tensor_scale(), whole.tensor_scale());
    }
    // Other steps, streams and passes are other scales under the same codes.
    let scales = |draws| MsEden::new(draws).rotated(signs(3)).run(&x, &[rows, k]).unwrap();
    for other in [draws().with_step(4), draws().with_stream(3), draws().with_column_pass()] {
        let other = scales(other);
        assert_eq!(other.codes().as_bytes(), whole.codes().as_bytes());
        assert_ne!(other.scales().as_bytes(), whole.scales().as_bytes());
    }
}

#[test]
fn special_values_are_told() {
    let quantize = MsEden::new(draws()).rotated(signs(4));
    let mut x = normals(8, 256);
    x[3] = f32::NAN;
    let q = quantize.run(&x, &[2, 128]).unwrap();
    assert_eq!((q.scales().as_bytes(), q.codes().as_bytes()), (&[0xff; 16][..], &[0; 128][..]));
    assert!(q.dequantize::<f32>().iter().all(|y| y.is_nan()));
    // One Inf: all of its group is ±Inf, t is 1, and the scale of what is finite falls to 1.
    x[3] = f32::INFINITY;
    let q = quantize.run(&x, &[2, 128]).unwrap();
    assert_eq!(q.tensor_scale(), Some(TensorScale::Decode(1.0)));
    assert_eq!(q.scales().as_bytes()[..8], [0x7e; 8]);
    assert!(q.codes().as_bytes()[..64].iter().all(|byte| byte & 0x77 == 0x77));
    let zeros = quantize.run(&[0.0f32; 128], &[128]).unwrap();
    assert_eq!(zeros.scales().as_bytes(), [0x38; 8]);
    assert_eq!(zeros.tensor_scale(), Some(TensorScale::Decode(1.0)));
    assert_eq!(zeros.dequantize::<f32>(), [0.0; 128]);
}

#[test]
fn what_cannot_be_done_is_refused() {
    let x = [1.0f32; 256];
    let plain = MsEden::new(draws());
    let fixed = Hadamard::new(128).unwrap();
    let quantize = plain.rotated(fixed);
    let refused = |quantize: MsEden, shape: &[usize]| {
        let error = quantize.run(&x, shape).unwrap_err();
        assert_eq!(quantize.check_shape(shape).unwrap_err(), error);
        error.to_string()
    };
    assert_eq!(
        refused(plain, &[2, 128]),
        "the rotation of MS-EDEN is none: a Hadamard rotation of 128, over which its scales are \
         corrected; see MsEden::rotated"
    );
    for size in [16, 32, 64, 256] {
        let error = refused(plain.rotated(Hadamard::new(size).unwrap()), &[1, 256]);
        assert!(
            error.starts_with(&format!("the rotation of MS-EDEN is Hadamard of {size}: a Had"))
        );
    }
    let error = refused(quantize.unbiased(), &[2, 128]);
    assert!(error.contains("ms-eden of nvfp4 cannot round without bias"), "{error}");
    let given = signs(0).with_sign_mask(signs(0).sign_mask()).unwrap();
    assert!(matches!(
        plain.rotated(given).unbiased().run(&x, &[2, 128]),
        Err(Error::NotUnbiased { .. })
    ));
    assert!(plain.rotated(signs(0)).unbiased().run(&x, &[2, 128]).is_ok());
    assert!(quantize.run(&x, &[2, 128]).is_ok());
    assert!(
        refused(quantize, &[4, 64]).contains("[4, 64] has 64 elements along K, the rotation 128")
    );
    for so in [0.0, -1.0, 0.2, 4.1, f32::NAN, f32::INFINITY] {
        let error = refused(quantize.scale_override(so), &[2, 128]);
        assert!(error.contains("a number from 1/4 to 4"), "{error}");
    }
    assert!(refused(quantize.tensor_amax(-1.0), &[2, 128]).contains("not negative"));
    let shard = |row, column| MsEden::new(draws().with_offset(row, column)).rotated(fixed);
    assert!(refused(shard(0, 64), &[2, 128]).contains("a multiple of 128 along K"));
    assert!(shard(5, 256).run(&x, &[2, 128]).is_ok());
    assert!(
        refused(shard(u64::from(u32::MAX), 0), &[2, 128]).contains("largest possible 4294967295")
    );
    let error = quantize.run(&x[1..], &[2, 128]).unwrap_err();
    assert!(matches!(error, Error::WrongLength { .. }), "{error}");
    assert!(quantize.run(&[1.0f32], &[]).is_err());
}

// ---- On average -------------------------------------------------------------------------------

/// Of the mean over `n` draws: ⟨mean − x, x⟩ / |x|², and |mean − x|² / |x|². Signs are those of each step, or
/// always those of the first.
fn averaged(x: &[f32], k: usize, n: u32, redrawn: bool) -> (f64, f64) {
    let shape = [x.len() / k, k];
    let mut sum = vec![0.0f64; x.len()];
    for step in 0..n {
        let signs = signs(if redrawn { step } else { 0 });
        let q =
            MsEden::new(draws().with_step(step)).rotated(signs).unbiased().run(x, &shape).unwrap();
        let y = Rotate::new(signs).inverse().run(&q.dequantize::<f32>(), &shape).unwrap();
        sum.iter_mut().zip(&y).for_each(|(sum, y)| *sum += f64::from(*y));
    }
    let (mut along, mut noise, mut signal) = (0.0, 0.0, 0.0);
    for (sum, x) in sum.iter().zip(x) {
        let (x, difference) = (f64::from(*x), sum / f64::from(n) - f64::from(*x));
        along += difference * x;
        noise += difference * difference;
        signal += x * x;
    }
    (along / signal, noise / signal)
}

#[test]
fn the_mean_over_signs_is_the_value() {
    let (x, k) = (normals(9, 16 * 256), 256);
    let (_, one) = averaged(&x, k, 1, true);
    assert!((0.008..0.0125).contains(&one), "{one}");
    let n = 1024;
    let (along, noise) = averaged(&x, k, n, true);
    println!(
        "re-drawn signs: along x {along:.2e}, error {noise:.3e}, {:.3e} of one draw / n",
        noise * f64::from(n) / one
    );
    // Errors are independent: one draw's over n, up to what 4096 elements say of it.
    assert!((0.9..1.1).contains(&(noise * f64::from(n) / one)), "{noise}");
    // What c cannot see of blocks that differ: 5e-4 here, with a standard error of 5e-5.
    assert!(along.abs() < 1e-3, "{along}");
    // With signs that stay, nearest codes stay wrong.
    let (along, noise) = averaged(&x, k, 256, false);
    println!("fixed signs: along x {along:.2e}, error {noise:.3e}");
    assert!(noise > 0.7 * one, "{noise}");
}
