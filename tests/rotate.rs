//! Rotations: literal vectors, a matrix product in f64, the steps written another way, and what must hold
//! for every size, type, axis and shape. Seeds are fixed.

use blockscale::numerics::Hadamard;
use blockscale::{Axis, Backend, Cpu, Error, Level, Real, Rotate};
use half::{bf16, f16};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    /// In [-1, 1) over several octaves.
    fn value(&mut self) -> f32 {
        let unit = (self.below(1 << 24) as f32) / (1 << 23) as f32 - 1.0;
        unit * [1.0, 0.01, 30.0][self.below(3) as usize]
    }
    fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.value()).collect()
    }
    fn integers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.below(2001) as f32 - 1000.0).collect()
    }
    /// Any bits: NaN, Inf and subnormals among them.
    fn bits(&mut self, n: usize) -> Vec<f32> {
        let hostile = [0x7f80_0000, 0xff80_0000, 0x7fc0_0001, 0x8000_0000, 0, 1, 0x807f_ffff];
        let mut any = || match self.below(40) as usize {
            i if i < hostile.len() => hostile[i],
            i if i < 20 => self.next() as u32,
            _ => (self.next() as u32 & 0x80ff_ffff) + 0x3f00_0000,
        };
        (0..n).map(|_| f32::from_bits(any())).collect()
    }
}

/// The specification, and the host path at every level that this processor has.
fn backends() -> Vec<Backend> {
    let levels = [Level::Portable, Level::Avx2, Level::Avx512];
    let cpus = levels.into_iter().filter_map(|level| Cpu::new().level(level).ok());
    std::iter::once(Backend::Reference).chain(cpus.map(Backend::Cpu)).collect()
}

/// Every size without signs and with drawn ones, and one that rounds.
fn rotations() -> Vec<Hadamard> {
    let sizes = Hadamard::SIZES.map(|size| Hadamard::new(size).unwrap());
    let drawn = sizes.map(|plain| plain.with_drawn_signs(3, "w"));
    [&sizes[..], &drawn[..], &[Hadamard::TRANSFORMER_ENGINE]].concat()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn of_bits(bits: &[u32]) -> Vec<f32> {
    bits.iter().copied().map(f32::from_bits).collect()
}

/// H by halves: the last stride joins the transforms of both.
fn butterflies(v: &[f32]) -> Vec<f32> {
    if v.len() == 1 {
        return v.to_vec();
    }
    let (a, b) = v.split_at(v.len() / 2);
    let pairs: Vec<_> = butterflies(a).into_iter().zip(butterflies(b)).collect();
    let sums = pairs.iter().map(|(a, b)| a + b);
    sums.chain(pairs.iter().map(|(a, b)| a - b)).collect()
}

/// A block by the steps of the contract.
fn expected_block(hadamard: Hadamard, inverse: bool, x: &[f32]) -> Vec<f32> {
    let signed = |x: &[f32]| -> Vec<f32> {
        x.iter().enumerate().map(|(i, x)| x * hadamard.sign(i)).collect()
    };
    let scaled = |x: &[f32]| -> Vec<f32> {
        butterflies(x).into_iter().map(|y| y * hadamard.scale()).collect()
    };
    let y = match inverse {
        false => scaled(&signed(x)),
        true => signed(&scaled(x)),
    };
    let narrow = |y: f32| if y.is_nan() { y } else { bf16::from_f32(y).to_f32() };
    let y = y.into_iter().map(|y| match hadamard.is_rounded_to_bf16() && !inverse {
        true => narrow(y),
        false => y,
    });
    y.map(<f32 as Real>::from_f32).collect()
}

fn expected(hadamard: Hadamard, inverse: bool, x: &[f32]) -> Vec<f32> {
    x.chunks(hadamard.size()).flat_map(|x| expected_block(hadamard, inverse, x)).collect()
}

fn transposed<T: Copy>(rows: usize, k: usize, x: &[T]) -> Vec<T> {
    (0..k).flat_map(|column| (0..rows).map(move |row| x[row * k + column])).collect()
}

const X: [u32; 16] = [
    0xbe99_999a,
    0xc000_0000,
    0x4120_0000,
    0xbdcc_cccd,
    0xbf80_0000,
    0x4120_0000,
    0xbe4c_cccd,
    0xc040_0000,
    0xc1a0_0000,
    0x3dcc_cccd,
    0xbf80_0000,
    0xc120_0000,
    0x3dcc_cccd,
    0xc000_0000,
    0xc1f0_0000,
    0xbe4c_cccd,
];

/// Computed once by an independent program.
#[test]
fn literal_vectors() {
    let signs = Hadamard::new(16).unwrap().with_sign_mask([0xd7e8, 0, 0, 0]).unwrap();
    let forward = [
        0x411c_0000,
        0x41a1_3333,
        0xc0f0_0000,
        0xc073_3332,
        0xbecc_ccd0,
        0x3f99_999c,
        0x417b_ffff,
        0x4088_0000,
        0xc11c_0000,
        0xc134_0000,
        0xc0b9_999a,
        0x40b3_3333,
        0x4103_3334,
        0x3fbf_fffc,
        0xc16d_9999,
        0xc164_0000,
    ];
    let inverse = [
        0xc146_6666,
        0xc10c_cccc,
        0x409b_3334,
        0x409b_3334,
        0x3f40_0008,
        0xc112_6666,
        0x4176_6666,
        0x415e_6666,
        0xc198_cccd,
        0xc129_999a,
        0x409b_3334,
        0xc0c8_0000,
        0xbe19_9960,
        0x3f59_99a0,
        0xc04c_ccce,
        0xc184_cccd,
    ];
    // TransformerEngine's signs and rounding: those of `forward`, to nearest even in bf16.
    let rounded = [
        0x411c_0000,
        0x41a1_0000,
        0xc0f0_0000,
        0xc073_0000,
        0xbecd_0000,
        0x3f9a_0000,
        0x417c_0000,
        0x4088_0000,
        0xc11c_0000,
        0xc134_0000,
        0xc0ba_0000,
        0x40b3_0000,
        0x4103_0000,
        0x3fc0_0000,
        0xc16e_0000,
        0xc164_0000,
    ];
    for backend in backends() {
        let run = |rotate: Rotate| rotate.backend(backend).run(&of_bits(&X), &[16]).unwrap();
        assert_eq!(bits(&run(Rotate::new(signs))), forward);
        assert_eq!(bits(&run(Rotate::new(signs).inverse())), inverse);
        let te = Rotate::new(Hadamard::TRANSFORMER_ENGINE);
        assert_eq!(bits(&run(te)), rounded);
        assert_eq!(bits(&run(te.inverse())), inverse, "the inverse does not round to bf16");
    }
}

#[test]
fn steps_are_those_of_the_contract() {
    let mut random = Random(1);
    for hadamard in rotations() {
        let n = hadamard.size();
        for x in [random.values(6 * n), random.integers(6 * n), random.bits(6 * n)] {
            for (inverse, backend) in
                [false, true].into_iter().flat_map(|i| backends().into_iter().map(move |b| (i, b)))
            {
                let rotate = Rotate::new(hadamard).backend(backend);
                let rotate = if inverse { rotate.inverse() } else { rotate };
                for shape in [vec![6 * n], vec![3, 2 * n], vec![3, 2, n]] {
                    let y = rotate.run(&x, &shape).unwrap();
                    assert_eq!(bits(&y), bits(&expected(hadamard, inverse, &x)), "{hadamard:?}");
                }
            }
        }
    }
}

/// y_j = Σ_i x_i s_i (−1)^popcount(i & j) / √n, in f64.
#[test]
fn values_are_those_of_a_matrix_product() {
    let mut random = Random(2);
    for hadamard in rotations() {
        let n = hadamard.size();
        let x = random.values(n);
        let y = Rotate::new(hadamard).run(&x, &[n]).unwrap();
        let back = Rotate::new(hadamard).inverse().run(&x, &[n]).unwrap();
        let entry = |i: usize, j: usize| match (i & j).count_ones() % 2 {
            0 => 1.0 / (n as f64).sqrt(),
            _ => -1.0 / (n as f64).sqrt(),
        };
        let sign = |i: usize| f64::from(hadamard.sign(i));
        let length: f64 = x.iter().map(|x| f64::from(x.abs())).sum::<f64>() / (n as f64).sqrt();
        // One rounding a stride, one of c and one of the product.
        let tolerance = length * (n.ilog2() + 2) as f64 / (1u64 << 24) as f64;
        for j in 0..n {
            let forth: f64 = (0..n).map(|i| f64::from(x[i]) * sign(i) * entry(i, j)).sum();
            let rounding = if hadamard.is_rounded_to_bf16() { forth.abs() / 256.0 } else { 0.0 };
            let difference = (f64::from(y[j]) - forth).abs();
            assert!(difference <= tolerance + rounding, "{hadamard:?} {j}: {difference}");
            let forth: f64 = (0..n).map(|i| f64::from(x[i]) * entry(i, j)).sum::<f64>() * sign(j);
            let difference = (f64::from(back[j]) - forth).abs();
            assert!(difference <= tolerance, "{hadamard:?} {j}: {difference} back");
        }
    }
}

/// The rows of the identity give the matrix R; R·Rᵀ = I where 1/√n is a float, nearly so elsewhere.
#[test]
fn the_matrix_is_orthogonal() {
    for hadamard in rotations() {
        let n = hadamard.size();
        let mut identity = vec![0.0f32; n * n];
        (0..n).for_each(|i| identity[i * n + i] = 1.0);
        let r = Rotate::new(hadamard).run(&identity, &[n, n]).unwrap();
        let exact = matches!(n, 16 | 64 | 256);
        for (i, a) in r.chunks(n).enumerate() {
            for (j, b) in r.chunks(n).enumerate() {
                let dot: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let difference = (dot - f64::from(u8::from(i == j))).abs();
                let tolerance = if exact || i != j { 0.0 } else { 1e-7 };
                assert!(difference <= tolerance, "{hadamard:?} {i} {j}: {difference}");
            }
        }
        // The inverse is the transpose.
        let back = Rotate::new(hadamard).inverse().run(&identity, &[n, n]).unwrap();
        let positive_zero = |x: &[f32]| -> Vec<f32> { x.iter().map(|x| x + 0.0).collect() };
        assert_eq!(positive_zero(&back), positive_zero(&transposed(n, n, &r)), "{hadamard:?}");
    }
}

#[test]
fn back_and_forth_is_the_identity() {
    let mut random = Random(4);
    for hadamard in rotations().into_iter().filter(|hadamard| !hadamard.is_rounded_to_bf16()) {
        let n = hadamard.size();
        let (forward, inverse) = (Rotate::new(hadamard), Rotate::new(hadamard).inverse());
        let x = random.integers(8 * n);
        let y = forward.run(&x, &[8, n]).unwrap();
        let back = inverse.run(&y, &[8, n]).unwrap();
        if matches!(n, 16 | 64 | 256) {
            assert_eq!(back, x, "{hadamard:?}");
        }
        // Rounding errors are of the block's largest value.
        for (x, back) in x.chunks(n).zip(back.chunks(n)) {
            let amax = x.iter().fold(0.0f32, |amax, x| amax.max(x.abs()));
            for (x, back) in x.iter().zip(back) {
                assert!((x - back).abs() <= 8.0 * amax * f32::EPSILON, "{hadamard:?}");
            }
        }
    }
}

/// The largest value over the root mean square: √n for one outlier, and 1 once it is rotated.
#[test]
fn an_outlier_is_spread() {
    let crest = |x: &[f32]| {
        let amax = x.iter().fold(0.0f64, |amax, x| amax.max(f64::from(x.abs())));
        let square: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        amax / (square / x.len() as f64).sqrt()
    };
    for hadamard in rotations() {
        let n = hadamard.size();
        for at in [0, 5, n - 1] {
            let mut x = vec![0.0f32; n];
            x[at] = -3.0;
            assert!((crest(&x) - (n as f64).sqrt()).abs() <= 1e-12);
            let y = Rotate::new(hadamard).run(&x, &[n]).unwrap();
            assert!((crest(&y) - 1.0).abs() <= 1e-12, "{hadamard:?}");
        }
    }
}

#[test]
fn along_rows_is_along_k_of_the_transpose() {
    let mut random = Random(5);
    for hadamard in rotations() {
        let n = hadamard.size();
        for (batches, rows, k) in [(1, n, 1), (1, 2 * n, 7), (3, n, 5), (2, 3 * n, n)] {
            let x = random.bits(batches * rows * k);
            for backend in backends() {
                for rotate in [Rotate::new(hadamard), Rotate::new(hadamard).inverse()] {
                    let rotate = rotate.backend(backend);
                    let y = rotate.along(Axis::Rows).run(&x, &[batches, rows, k]).unwrap();
                    let matrices = x.chunks(rows * k).flat_map(|x| {
                        let t = rotate.run(&transposed(rows, k, x), &[k, rows]).unwrap();
                        transposed(k, rows, &t)
                    });
                    assert_eq!(bits(&y), bits(&matrices.collect::<Vec<_>>()), "{hadamard:?}");
                }
            }
        }
    }
}

/// A type of tensors, by its bits.
trait Value: Real {
    const NAN: u32;
    fn to_bits(self) -> u32;
}

macro_rules! value {
    ($($type:ty: $nan:literal),*) => {$(
        impl Value for $type {
            const NAN: u32 = $nan;
            fn to_bits(self) -> u32 {
                <$type>::to_bits(self).into()
            }
        }
    )*};
}
value!(f32: 0x7fff_ffff, bf16: 0x7fff, f16: 0x7fff);

/// Widened exactly, rotated in f32, narrowed once, NaN canonical.
fn types<T: Value, U: Value>() {
    let mut random = Random(6);
    for hadamard in rotations() {
        let n = hadamard.size();
        for x in [random.values(4 * n), random.bits(4 * n)] {
            let x: Vec<T> = x.into_iter().map(T::from_f32).collect();
            let wide: Vec<f32> = x.iter().map(|x| x.to_f32()).collect();
            for inverse in [false, true] {
                let expected: Vec<u32> = expected(hadamard, inverse, &wide)
                    .into_iter()
                    .map(|y| U::from_f32(y).to_bits())
                    .collect();
                assert!(expected.iter().all(|y| *y == U::NAN || *y & U::NAN <= inf::<U>()));
                for backend in backends() {
                    let rotate = Rotate::new(hadamard).backend(backend);
                    let rotate = if inverse { rotate.inverse() } else { rotate };
                    let y: Vec<U> = rotate.run_as(&x, &[4, n]).unwrap();
                    let bits = |y: &[U]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(&y), expected, "{hadamard:?}");
                    let mut y = vec![U::from_f32(f32::NAN); 4 * n];
                    rotate.run_into(&x, &[4 * n], &mut y).unwrap();
                    assert_eq!(bits(&y), expected, "{hadamard:?} into");
                }
            }
        }
    }
}

/// Bits of Inf.
fn inf<T: Value>() -> u32 {
    T::from_f32(f32::INFINITY).to_bits()
}

#[test]
fn all_types() {
    types::<f32, f32>();
    types::<f32, bf16>();
    types::<f32, f16>();
    types::<bf16, f32>();
    types::<bf16, bf16>();
    types::<bf16, f16>();
    types::<f16, f32>();
    types::<f16, bf16>();
    types::<f16, f16>();
}

fn in_place_of<T: Value>() {
    let mut random = Random(7);
    for hadamard in rotations() {
        let n = hadamard.size();
        let x: Vec<T> = random.bits(6 * n * n).into_iter().map(T::from_f32).collect();
        for (axis, shape) in [(Axis::K, [3, 2 * n, n]), (Axis::Rows, [2, 3 * n, n])] {
            for backend in backends() {
                for rotate in [Rotate::new(hadamard), Rotate::new(hadamard).inverse()] {
                    let rotate = rotate.along(axis).backend(backend);
                    let y = rotate.run(&x, &shape).unwrap();
                    let mut x = x.clone();
                    rotate.in_place(&mut x, &shape).unwrap();
                    assert!(
                        x.iter().zip(&y).all(|(x, y)| x.to_bits() == y.to_bits()),
                        "{hadamard:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn in_place_is_out_of_place() {
    in_place_of::<f32>();
    in_place_of::<bf16>();
    in_place_of::<f16>();
}

#[test]
fn special_values() {
    let rotate = Rotate::new(Hadamard::new(16).unwrap());
    let block = |x: f32, rest: f32| {
        let mut values = [rest; 16];
        values[5] = x;
        rotate.run(&values, &[16]).unwrap()
    };
    // One NaN of any bits makes a block of the canonical one.
    for nan in [0x7f80_0001, 0xffff_ffff, 0xffc0_0000] {
        assert_eq!(bits(&block(f32::from_bits(nan), 1.0)), [0x7fff_ffff; 16]);
    }
    // One Inf reaches every value on one way, and never meets another.
    for (j, y) in block(f32::INFINITY, 1.0).into_iter().enumerate() {
        let negative = (5 & j).count_ones() % 2 == 1;
        assert_eq!(y, if negative { f32::NEG_INFINITY } else { f32::INFINITY });
    }
    // Two do where their signs differ.
    let mut x = [1.0f32; 16];
    (x[0], x[1]) = (f32::INFINITY, f32::INFINITY);
    let y = rotate.run(&x, &[16]).unwrap();
    assert!((0..16).all(|j| if j % 2 == 0 { y[j].is_infinite() } else { y[j].is_nan() }));
    // A sum beyond f32 is Inf, and a difference of two NaN.
    let y = rotate.run(&[f32::MAX; 16], &[16]).unwrap();
    assert_eq!((y[0], y[1]), (f32::INFINITY, 0.0));
    assert_eq!(y[2].to_bits(), 0x7fff_ffff);
    // Another block is not touched.
    let mut x = [1.0f32; 48];
    x[20] = f32::NAN;
    let y = rotate.run(&x, &[48]).unwrap();
    assert!(y[..16].iter().chain(&y[32..]).all(|y| *y == 4.0 || *y == 0.0));

    // −0 stays where only such are summed.
    let mut zeros = [0u32; 16];
    zeros[0] = 0x8000_0000;
    assert_eq!(bits(&rotate.run(&[-0.0f32; 16], &[16]).unwrap()), zeros);
    assert_eq!(bits(&rotate.run(&[0.0f32; 16], &[16]).unwrap()), [0; 16]);
    // Signs flip zeros too: first on the way forth, last on the way back.
    let negative = Rotate::new(Hadamard::new(16).unwrap().with_signs(&[-1; 16]).unwrap());
    assert_eq!(bits(&negative.run(&[0.0f32; 16], &[16]).unwrap()), zeros);
    assert_eq!(bits(&negative.inverse().run(&[0.0f32; 16], &[16]).unwrap()), [0x8000_0000; 16]);

    // Subnormals are kept, and the last product rounds them to nearest even.
    let tiny = f32::from_bits;
    let mut sums = [0u32; 16];
    sums[0] = 4;
    assert_eq!(bits(&rotate.run(&[tiny(1); 16], &[16]).unwrap()), sums);
    assert_eq!(block(tiny(3), 0.0)[0].to_bits(), 1); // 0.75
    assert_eq!(block(tiny(2), 0.0)[0].to_bits(), 0); // 0.5
    assert_eq!(block(tiny(6), 0.0)[0].to_bits(), 2); // 1.5
    assert_eq!(block(tiny(3), 0.0)[1].to_bits(), 0x8000_0001);
}

#[test]
fn what_cannot_be_rotated_is_refused() {
    let hadamard = Hadamard::new(32).unwrap();
    for backend in backends() {
        let rotate = Rotate::new(hadamard).backend(backend);
        let refused = |rotate: Rotate, len: usize, shape: &[usize]| {
            let x = vec![1.0f32; len];
            let error = rotate.run(&x, shape).unwrap_err();
            let mut y = x.clone();
            assert_eq!(rotate.in_place(&mut y, shape), Err(error.clone()));
            assert_eq!(y, x);
            assert_eq!(rotate.run_into(&x, shape, &mut y), Err(error.clone()));
            assert_eq!(y, x);
            error
        };
        let error = refused(rotate, 120, &[3, 40]);
        assert!(matches!(&error, Error::RotationSize { given: 40, size: 32, .. }), "{error}");
        assert_eq!(
            error.to_string(),
            "shape [3, 40] has 40 elements along K, the rotation 32: the axis must be a multiple of the \
             rotation"
        );
        let rows = rotate.along(Axis::Rows);
        let error = refused(rows, 48 * 32, &[48, 32]);
        assert!(matches!(&error, Error::RotationSize { given: 48, size: 32, .. }), "{error}");
        assert!(error.to_string().contains("48 rows"), "{error}");
        // 64 rows in all, but 16 a matrix.
        assert!(matches!(refused(rows, 64, &[4, 16, 1]), Error::RotationSize { given: 16, .. }));
        assert!(matches!(refused(rows, 32, &[32]), Error::InvalidShape { .. }));
        assert!(matches!(refused(rotate, 1, &[]), Error::InvalidShape { .. }));
        assert!(matches!(refused(rotate, 0, &[usize::MAX, 32]), Error::InvalidShape { .. }));
        let error = refused(rotate, 63, &[2, 32]);
        assert!(matches!(error, Error::WrongLength { given: 63, expected: 64, .. }), "{error}");
        let error = rotate.run_into(&[1.0f32; 64], &[2, 32], &mut [0.0f32; 63]).unwrap_err();
        assert!(error.to_string().contains("the buffer of the values has 63"), "{error}");
    }
}

#[test]
fn nothing_rotates_to_nothing() {
    for backend in backends() {
        let rotate = Rotate::new(Hadamard::new(16).unwrap()).backend(backend);
        for rotate in [rotate, rotate.inverse(), rotate.along(Axis::Rows)] {
            for shape in [&[0, 16][..], &[16, 0], &[0, 0], &[3, 0, 16], &[0, 16, 16], &[3, 16, 0]] {
                assert_eq!(rotate.run::<f32>(&[], shape), Ok(vec![]), "{shape:?}");
                assert_eq!(rotate.in_place::<bf16>(&mut [], shape), Ok(()), "{shape:?}");
            }
        }
        assert_eq!(rotate.run::<f32>(&[], &[0]), Ok(vec![]));
        let long = [0, isize::MAX as usize / 4];
        assert_eq!(rotate.along(Axis::Rows).run::<f32>(&[], &long), Ok(vec![]));
        assert!(rotate.run::<f32>(&[], &[0, 8]).is_err(), "8 is no multiple of 16");
    }
}

/// Tensors of several pieces, and outputs beyond any cache, wherever in a line they begin.
#[test]
fn large_tensors() {
    let mut random = Random(11);
    for (size, shape, axis) in
        [(32, [1025, 4128], Axis::K), (256, [1024, 4352], Axis::K), (128, [1280, 3301], Axis::Rows)]
    {
        let n = shape[0] * shape[1];
        let x = random.bits(n);
        let rotate = Rotate::new(Hadamard::new(size).unwrap().with_drawn_signs(1, "")).along(axis);
        let expected = rotate.backend(Backend::Reference).run(&x, &shape).unwrap();
        let half: Vec<bf16> = rotate.backend(Backend::Reference).run_as(&x, &shape).unwrap();
        let mut values = vec![0.0; n + 16];
        for backend in backends() {
            for offset in [0, 1, 12] {
                let values = &mut values[offset..][..n];
                rotate.backend(backend).run_into(&x, &shape, values).unwrap();
                assert!(bits(values) == bits(&expected), "{backend:?} {size} {offset}");
            }
            let mut halves = vec![bf16::ZERO; n + 1];
            rotate.backend(backend).run_into(&x, &shape, &mut halves[1..]).unwrap();
            assert!(halves[1..].iter().zip(&half).all(|(a, b)| a.to_bits() == b.to_bits()));
            let values = &mut values[3..][..n];
            values.copy_from_slice(&x);
            rotate.backend(backend).in_place(values, &shape).unwrap();
            assert!(bits(values) == bits(&expected), "{backend:?} {size} in place");
        }
    }
}
