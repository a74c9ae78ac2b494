//! Rotations by matrices of any entries and by two of them: literal vectors, products in f64, inverses, and
//! what must hold for every size, axis and type. Seeds are fixed.

use blockscale::numerics::{Hadamard, Kronecker, Matrix};
use blockscale::{Axis, Backend, Cpu, Error, Real, Result, Rotate};
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
    /// In [-1, 1).
    fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
    fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.value()).collect()
    }
    /// Far from singular: 3 on the diagonal, up to 1/n of it elsewhere.
    fn matrix(&mut self, n: usize) -> Matrix {
        let mut entry =
            |at: usize| self.value() / n as f32 + if at.is_multiple_of(n + 1) { 3.0 } else { 0.0 };
        Matrix::new(n, &(0..n * n).map(&mut entry).collect::<Vec<_>>()).unwrap()
    }
}

const BACKENDS: [Backend; 2] = [Backend::Reference, Backend::Cpu(Cpu::new())];

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn diagonal(n: usize, value: impl Fn(usize) -> f32) -> Matrix {
    let entries = (0..n * n).map(|at| if at / n == at % n { value(at / n) } else { 0.0 });
    Matrix::new(n, &entries.collect::<Vec<_>>()).unwrap()
}

fn transposed(rows: usize, k: usize, x: &[f32]) -> Vec<f32> {
    (0..k).flat_map(|column| (0..rows).map(move |row| x[row * k + column])).collect()
}

/// A full matrix with a period of m in its entries.
fn patterned(m: usize) -> Matrix {
    let entry = |i: usize, j: usize| {
        (((i * 31 + j * 17 + i * j * 7) % m) as f64 - (m / 2) as f64) / m as f64
    };
    let entries: Vec<f32> = (0..256).map(|at| entry(at / 16, at % 16) as f32).collect();
    Matrix::new(16, &entries).unwrap()
}

/// Computed once by an independent program in fractions.
#[test]
fn literal_vectors() {
    let x: Vec<f32> = (0..16)
        .map(|i| ((f64::from(i * i % 7 - 3) / 10.0) * [1.0, 10.0, 100.0][i as usize % 3]) as f32)
        .collect();
    let by_matrix = [
        0xc17e_0d5b,
        0xc205_5b45,
        0xc013_3333,
        0xbe85_90dd,
        0xc129_f2a5,
        0xc18e_42c8,
        0xc185_25d8,
        0xc090_239f,
        0xbffb_8c44,
        0xc130_6ada,
        0xc197_e549,
        0xc17f_2a4b,
        0xc19b_4502,
        0xc182_2812,
        0xc048_5909,
        0xbefb_8c16,
    ];
    let wide: Vec<f32> = (0..256).map(|k| (f64::from(k * k % 11 - 5) / 7.0) as f32).collect();
    let scale: Vec<f32> = (0..256).map(|k| (1.0 + f64::from(k % 5) / 3.0) as f32).collect();
    let kronecker = Kronecker::new(patterned(23), patterned(29)).with_scale(&scale).unwrap();
    let first_by_two = [
        0xbf5e_3035,
        0xbbe0_962f,
        0x3baf_74dc,
        0xbc19_3aa2,
        0x3e78_da96,
        0xbf34_0f95,
        0xbf2e_4914,
        0xbafc_a931,
        0x3f4a_facb,
        0xbe01_9e0e,
        0xbe06_13b2,
        0xbefc_a7ca,
        0x3e44_37aa,
        0x3e30_eae4,
        0x3d56_eeb5,
        0xbdb1_1044,
    ];
    for backend in BACKENDS {
        let y = Rotate::new(&patterned(23)).backend(backend).run(&x, &[16]).unwrap();
        assert_eq!(bits(&y), by_matrix);
        let y = Rotate::new(&kronecker).backend(backend).run(&wide, &[256]).unwrap();
        assert_eq!(bits(&y[..16]), first_by_two);
        let bytes = y.iter().flat_map(|y| y.to_le_bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        assert_eq!(hash, 0x4ca3_8df4_e8b7_c865, "FNV-1a of all values");
    }
}

/// x P in f64, and the bound of an error of each product and sum.
fn product(x: &[f32], n: usize, entry: impl Fn(usize, usize) -> f64) -> Vec<(f64, f64)> {
    let value = |j: usize| {
        let terms = (0..n).map(|i| f64::from(x[i]) * entry(i, j));
        let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), t| (sum + t, size + t.abs()));
        (sum, size * n as f64 / (1u64 << 23) as f64)
    };
    (0..n).map(value).collect()
}

fn close(y: &[f32], expected: &[(f64, f64)]) {
    for (y, (expected, tolerance)) in y.iter().zip(expected) {
        let difference = (f64::from(*y) - expected).abs();
        assert!(difference <= *tolerance, "{y} for {expected}");
    }
}

#[test]
fn values_are_those_of_a_matrix_product() {
    let mut random = Random(1);
    for n in Matrix::SIZES {
        let entries = random.values(n * n);
        let matrix = Matrix::new(n, &entries).unwrap();
        assert_eq!((matrix.size(), matrix.entries()), (n, &entries[..]));
        let x = random.values(3 * n);
        let y = Rotate::new(&matrix).run(&x, &[3 * n]).unwrap();
        for (x, y) in x.chunks(n).zip(y.chunks(n)) {
            close(y, &product(x, n, |i, j| f64::from(entries[i * n + j])));
        }
    }
}

#[test]
fn two_matrices_are_their_kronecker_product() {
    let mut random = Random(2);
    for (n1, n2) in [(16, 16), (16, 48), (32, 16), (48, 32)] {
        let (left, right) = (random.values(n1 * n1), random.values(n2 * n2));
        let n = n1 * n2;
        let scale: Vec<f32> = (0..n).map(|i| 0.5 + (i % 7) as f32).collect();
        let plain =
            Kronecker::new(Matrix::new(n1, &left).unwrap(), Matrix::new(n2, &right).unwrap());
        assert_eq!((plain.size(), plain.scale()), (n, None));
        let scaled = plain.clone().with_scale(&scale).unwrap();
        let x = random.values(2 * n);
        for (kronecker, scale) in [(&plain, &vec![1.0; n]), (&scaled, &scale)] {
            let y = Rotate::new(kronecker).run(&x, &[2, n]).unwrap();
            for (x, y) in x.chunks(n).zip(y.chunks(n)) {
                let entry = |from: usize, to: usize| {
                    let left = left[from / n2 * n1 + to / n2];
                    let right = right[from % n2 * n2 + to % n2];
                    f64::from(scale[from]) * f64::from(left) * f64::from(right)
                };
                close(y, &product(x, n, entry));
            }
        }
    }
}

#[test]
fn a_hadamard_is_a_matrix() {
    let mut random = Random(3);
    for n in [16, 32, 64, 128] {
        let hadamard = Hadamard::new(n).unwrap().with_drawn_signs(1, "w");
        let mut identity = vec![0.0; n * n];
        (0..n).for_each(|i| identity[i * (n + 1)] = 1.0f32);
        let matrix =
            Matrix::new(n, &Rotate::new(hadamard).run(&identity, &[n, n]).unwrap()).unwrap();
        // Exact where the sums are.
        let x: Vec<f32> = (0..n).map(|_| (random.next() % 201) as f32 - 100.0).collect();
        let (a, b) = (Rotate::new(hadamard).run(&x, &[n]), Rotate::new(&matrix).run(&x, &[n]));
        let (a, b) = (a.unwrap(), b.unwrap());
        if matches!(n, 16 | 64) {
            assert_eq!(a, b);
            assert_eq!(matrix.inverse().unwrap(), matrix.transpose());
            assert_eq!(matrix.inverse_transpose().unwrap(), matrix);
        }
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-3));
    }
}

#[test]
fn inverses_that_are_floats_are_exact() {
    for n in Matrix::SIZES {
        let powers = diagonal(n, |i| [0.5, -4.0, 1.0, 8.0][i % 4]);
        let inverse = diagonal(n, |i| [2.0, -0.25, 1.0, 0.125][i % 4]);
        let plus = |m: &Matrix| -> Vec<f32> { m.entries().iter().map(|e| e + 0.0).collect() };
        assert_eq!(plus(&powers.inverse().unwrap()), inverse.entries());

        // A permutation has zeros on its diagonal, so that rows must change places.
        let next = |i: usize, j: usize| if j == (i + 5) % n { 1.0 } else { 0.0 };
        let entries: Vec<f32> = (0..n * n).map(|at| next(at / n, at % n)).collect();
        let permutation = Matrix::new(n, &entries).unwrap();
        assert_eq!(plus(&permutation.inverse().unwrap()), permutation.transpose().entries());
        assert_eq!(plus(&permutation.inverse_transpose().unwrap()), permutation.entries());

        // Ones on and above the diagonal: its inverse has ones there and −1 beside them.
        let entry = |i: usize, j: usize| if i <= j { 1.0 } else { 0.0 };
        let entries: Vec<f32> = (0..n * n).map(|at| entry(at / n, at % n)).collect();
        let inverse = Matrix::new(n, &entries).unwrap().inverse().unwrap();
        for (at, value) in inverse.entries().iter().enumerate() {
            let (i, j) = (at / n, at % n);
            assert_eq!(
                *value,
                if i == j {
                    1.0
                } else if j == i + 1 {
                    -1.0
                } else {
                    0.0
                }
            );
        }
    }
}

#[test]
fn inverses_undo() {
    let mut random = Random(4);
    let nearly = |a: &[f32], b: &[f32]| {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5));
    };
    for n in Matrix::SIZES {
        let matrix = random.matrix(n);
        let x = random.values(2 * n);
        for axis in [Axis::K, Axis::Rows] {
            let shape = if axis == Axis::K { [2, n] } else { [n, 2] };
            let rotate = Rotate::new(&matrix).along(axis);
            let y = rotate.run(&x, &shape).unwrap();
            let back = rotate.inverse().run(&y, &shape).unwrap();
            nearly(&back, &x);
            // The inverse of a rotation is the rotation by the inverse.
            let inverse = matrix.inverse().unwrap();
            let by_inverse = Rotate::new(&inverse).along(axis).run(&y, &shape).unwrap();
            assert_eq!(bits(&back), bits(&by_inverse));
        }
        assert_eq!(matrix.transpose().transpose(), matrix);
    }
    for (n1, n2) in [(16, 32), (48, 16)] {
        let n = n1 * n2;
        let scale: Vec<f32> = (0..n).map(|i| [0.5, 3.0, -1.5][i % 3]).collect();
        let plain = Kronecker::new(random.matrix(n1), random.matrix(n2));
        let scaled = plain.clone().with_scale(&scale).unwrap();
        let x = random.values(2 * n);
        for kronecker in [&plain, &scaled] {
            for axis in [Axis::K, Axis::Rows] {
                let shape = if axis == Axis::K { [2, n] } else { [n, 2] };
                let rotate = Rotate::new(kronecker).along(axis);
                let y = rotate.run(&x, &shape).unwrap();
                nearly(&rotate.inverse().run(&y, &shape).unwrap(), &x);
            }
        }
    }
}

/// One operand by P, the other by P⁻ᵀ: their product along K stays.
#[test]
fn products_stay() {
    let mut random = Random(5);
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let n = 32 * 48;
    let (x, w) = (random.values(n), random.values(n));
    let scale: Vec<f32> = (0..n).map(|i| [0.5, 3.0, -1.5][i % 3]).collect();
    let kronecker =
        Kronecker::new(random.matrix(32), random.matrix(48)).with_scale(&scale).unwrap();
    let other = kronecker.inverse_transpose().unwrap();
    assert_eq!(other.scale().unwrap()[..3], [2.0, 1.0 / 3.0, -1.0 / 1.5]);
    let a = Rotate::new(&kronecker).run(&x, &[n]).unwrap();
    let b = Rotate::new(&other).run(&w, &[n]).unwrap();
    assert!((dot(&a, &b) - dot(&x, &w)).abs() <= 1e-3);
    let matrix = random.matrix(48);
    let other = matrix.inverse_transpose().unwrap();
    let a = Rotate::new(&matrix).run(&x, &[n]).unwrap();
    let b = Rotate::new(&other).run(&w, &[n]).unwrap();
    assert!((dot(&a, &b) - dot(&x, &w)).abs() <= 1e-3);
}

/// Bits of a type.
trait Value: Real {
    fn to_bits(self) -> u32;
}
macro_rules! value {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn to_bits(self) -> u32 {
                <$type>::to_bits(self).into()
            }
        }
    )*};
}
value!(f32, bf16, f16);

/// Widened exactly, narrowed once; along rows as along K of the transpose; in place as out of place.
fn types<T: Value, U: Value>() {
    fn bits<V: Value>(x: &[V]) -> Vec<u32> {
        x.iter().map(|x| x.to_bits()).collect()
    }
    let mut random = Random(6);
    let matrix = random.matrix(32);
    let kronecker = Kronecker::new(random.matrix(32), random.matrix(16));
    for (rotate, n) in [(Rotate::new(&matrix), 32), (Rotate::new(&kronecker), 512)] {
        let mut x = random.values(6 * n);
        (x[1], x[n + 3], x[2 * n]) = (f32::NAN, f32::NEG_INFINITY, f32::MIN_POSITIVE / 8.0);
        let x: Vec<T> = x.into_iter().map(T::from_f32).collect();
        let wide: Vec<f32> = x.iter().map(|x| x.to_f32()).collect();
        for rotate in [rotate, rotate.inverse()] {
            let y = rotate.run(&wide, &[6, n]).unwrap();
            let expected: Vec<U> = y.iter().map(|y| U::from_f32(*y)).collect();
            for backend in BACKENDS {
                let rotate = rotate.backend(backend);
                assert_eq!(bits(&rotate.run_as::<U, T>(&x, &[2, 3, n]).unwrap()), bits(&expected));
                let by_rows = rotate.along(Axis::Rows);
                let columns: Vec<f32> = by_rows.run(&transposed(6, n, &wide), &[n, 6]).unwrap();
                assert_eq!(bits(&transposed(n, 6, &columns)), bits(&y));
                let mut in_place = x.clone();
                rotate.in_place(&mut in_place, &[6, n]).unwrap();
                assert_eq!(bits(&in_place), bits(&rotate.run(&x, &[6, n]).unwrap()));
            }
        }
        let nan = rotate.run(&wide, &[6, n]).unwrap()[..n].to_vec();
        assert!(nan.iter().all(|y| y.to_bits() == 0x7fff_ffff));
    }
}

#[test]
fn all_types() {
    types::<f32, f32>();
    types::<bf16, f32>();
    types::<f16, bf16>();
    types::<f32, f16>();
    types::<bf16, bf16>();
    types::<f16, f16>();
}

#[test]
fn special_values() {
    let rotate = |x: [f32; 16]| Rotate::new(&diagonal(16, |_| 1.0)).run(&x, &[16]).unwrap();
    // Sums begin with +0, and infinity meets the zeros of the matrix.
    assert_eq!(bits(&rotate([-0.0; 16])), [0; 16]);
    let mut x = [1.0; 16];
    x[3] = f32::INFINITY;
    let y = rotate(x);
    assert_eq!(y[3], f32::INFINITY);
    assert!((0..16).filter(|j| *j != 3).all(|j| y[j].to_bits() == 0x7fff_ffff));
    // Subnormals are kept.
    assert_eq!(bits(&rotate([f32::from_bits(5); 16])), [5; 16]);
}

#[test]
fn what_is_no_matrix_is_refused() {
    for size in [0, 8, 17, 144, 256, usize::MAX] {
        assert!(matches!(Matrix::new(size, &[]), Err(Error::InvalidValue { .. })), "{size}");
    }
    assert!(Matrix::new(16, &[0.0; 255]).is_err() && Matrix::new(16, &[0.0; 257]).is_err());
    for entry in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut entries = [1.0; 256];
        entries[33] = entry;
        let error = Matrix::new(16, &entries).unwrap_err();
        assert!(error.to_string().contains("at (2, 1)"), "{error}");
    }
    let kronecker = || Kronecker::new(diagonal(16, |_| 1.0), diagonal(32, |_| 1.0));
    for len in [0, 511, 513] {
        assert!(kronecker().with_scale(&vec![1.0; len]).is_err());
    }
    for scale in [0.0, -0.0, f32::NAN, f32::INFINITY] {
        let mut scales = vec![1.0; 512];
        scales[9] = scale;
        assert!(kronecker().with_scale(&scales).is_err());
    }
    // A scale whose reciprocal is beyond f32.
    let tiny = kronecker().with_scale(&[f32::from_bits(1); 512]).unwrap();
    assert!(tiny.inverse_transpose().is_err());
}

#[test]
fn singular_matrices_have_no_inverse() {
    let mut random = Random(7);
    // Entries of few bits, so that the sum of two rows is exact.
    let mut dependent: Vec<f32> =
        random.values(32 * 32).into_iter().map(|x| (x * 64.0).round() / 64.0).collect();
    let row: Vec<f32> = (0..32).map(|j| dependent[j] + dependent[32 + j]).collect();
    dependent[96..128].copy_from_slice(&row);
    let mut column = random.matrix(16).entries().to_vec();
    (0..16).for_each(|i| column[16 * i + 7] = 0.0);
    for (n, entries) in [(16, vec![0.0; 256]), (16, vec![1.0; 256]), (32, dependent), (16, column)]
    {
        let matrix = Matrix::new(n, &entries).unwrap();
        let singular = |result: Result<()>| {
            let error = result.unwrap_err();
            assert!(error.to_string().contains("the matrix of a rotation is singular"), "{error}");
        };
        singular(matrix.inverse().map(drop));
        singular(matrix.inverse_transpose().map(drop));
        let rotate = Rotate::new(&matrix);
        assert!(rotate.run(&vec![1.0f32; n], &[n]).is_ok());
        singular(rotate.inverse().run(&vec![1.0f32; n], &[n]).map(drop));
        for kronecker in [
            Kronecker::new(matrix.clone(), diagonal(16, |_| 1.0)),
            Kronecker::new(diagonal(16, |_| 1.0), matrix.clone()),
        ] {
            singular(kronecker.inverse_transpose().map(drop));
            let x = vec![1.0f32; 16 * n];
            singular(Rotate::new(&kronecker).inverse().run(&x, &[16 * n]).map(drop));
        }
    }
    // Small beside the largest entry is singular too; entries of an inverse can be beyond f32.
    assert!(diagonal(16, |i| if i == 5 { 1e-20 } else { 1.0 }).inverse().is_err());
    let error = diagonal(16, |_| f32::from_bits(1)).inverse().unwrap_err();
    assert!(error.to_string().contains("beyond f32"), "{error}");
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let matrix = diagonal(48, |_| 1.0);
    let error = Rotate::new(&matrix).run(&[1.0f32; 64], &[64]).unwrap_err();
    assert!(matches!(error, Error::RotationSize { given: 64, size: 48, .. }), "{error}");
    let kronecker = Kronecker::new(diagonal(16, |_| 1.0), diagonal(32, |_| 1.0));
    // Two blocks are not one.
    let error = Rotate::new(&kronecker).run(&[1.0f32; 1024], &[1024]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "shape [1024] has 1024 elements along K, the rotation 512: the axis must be as long as the \
         rotation"
    );
    let rows = Rotate::new(&kronecker).along(Axis::Rows);
    assert!(matches!(
        rows.run(&[1.0f32; 512], &[256, 2]),
        Err(Error::RotationSize { given: 256, size: 512, .. })
    ));
    assert_eq!(rows.run::<f32>(&[], &[512, 0]), Ok(vec![]));
    assert_eq!(Rotate::new(&kronecker).run::<f32>(&[], &[0, 512]), Ok(vec![]));
    assert_eq!(Rotate::new(&matrix).run::<f32>(&[], &[3, 0]), Ok(vec![]));
}
