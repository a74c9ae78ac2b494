//! A quantization in both directions is that of the tensor and that of its transpose: byte for byte, for
//! every named profile, rounding, rotation, kind of block, type, shape and backend. Seeds are fixed.

use blockscale::format::Format;
use blockscale::layout::Bytes;
use blockscale::numerics::{DrawBits, Hadamard, Profile, Rounding, Search, Stochastic};
use blockscale::{
    Backend, Blocks, Cpu, Error, Level, Quantize, QuantizeBoth, QuantizedTensor, Real,
};
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
        let mut value = || match self.next() % 1000 {
            0 => f32::NAN,
            1 => f32::INFINITY,
            2..40 => f32::from_bits(self.next() as u32 % 0x0100_0000),
            _ => self.value(),
        };
        (0..n).map(|_| T::from_f32(value())).collect()
    }
}

const BACKENDS: [Backend; 2] = [Backend::Reference, Backend::Cpu(Cpu::new())];

fn roundings() -> [Rounding; 3] {
    let draws = Stochastic::new(7, "w").with_offset(32, 512).with_step(2);
    [
        Rounding::Nearest,
        Rounding::Stochastic(draws),
        Rounding::Stochastic(draws.with_bits(DrawBits::Sixteen)),
    ]
}

fn named() -> impl Iterator<Item = Profile> {
    Format::NAMED.into_iter().flat_map(|(_, format)| Profile::all(format))
}

fn matrix(rows: usize, k: usize) -> impl Fn(&[usize]) -> usize {
    move |at| (at[0] * rows + at[1]) * k + at[2]
}

/// Each matrix of `[batches, rows, k]` transposed.
fn transposed<T: Copy>([batches, rows, k]: [usize; 3], x: &[T]) -> Vec<T> {
    let at = matrix(rows, k);
    let mut all = Vec::new();
    for batch in 0..batches {
        for column in 0..k {
            all.extend((0..rows).map(|row| x[at(&[batch, row, column])]));
        }
    }
    all
}

fn same(a: &QuantizedTensor, b: &QuantizedTensor) -> bool {
    let scale = |q: &QuantizedTensor| q.tensor_scale().map(|s| (s.name(), s.value().to_bits()));
    a.codes().as_bytes() == b.codes().as_bytes()
        && a.scales().as_bytes() == b.scales().as_bytes()
        && (a.shape(), a.blocks(), a.profile()) == (b.shape(), b.blocks(), b.profile())
        && scale(a) == scale(b)
}

/// As the caller gave it, but for the draws.
fn for_columns(how: Quantize, rounding: Rounding) -> Quantize {
    match rounding {
        Rounding::Nearest => how.rounding(rounding),
        Rounding::Stochastic(draws) => how.rounding(Rounding::Stochastic(draws.with_column_pass())),
    }
}

/// Two choices, the rounding of each apart.
#[derive(Clone, Copy, Debug)]
struct Case {
    rows: (Quantize, Rounding),
    columns: (Quantize, Rounding),
}

impl Case {
    fn both(&self) -> QuantizeBoth {
        let [rows, columns] = [self.rows, self.columns].map(|(how, r)| how.rounding(r));
        QuantizeBoth::new(rows, columns)
    }

    /// By the two calls that it stands for.
    fn expected<T: Real>(&self, x: &[T], shape: [usize; 3]) -> [QuantizedTensor; 2] {
        let [batches, rows, k] = shape;
        let row_wise = self.rows.0.rounding(self.rows.1).backend(Backend::Reference);
        let column_wise = for_columns(self.columns.0, self.columns.1).backend(Backend::Reference);
        let across = transposed(shape, x);
        [row_wise.run(x, &shape).unwrap(), column_wise.run(&across, &[batches, k, rows]).unwrap()]
    }

    fn compare<T: Real>(&self, x: &[T], shape: [usize; 3], backends: &[Backend]) {
        let [rows, columns] = self.expected(x, shape);
        for backend in backends {
            let (row_wise, column_wise) = self.both().backend(*backend).run(x, &shape).unwrap();
            assert!(same(&row_wise, &rows), "rows: {self:?} {shape:?} {backend:?}");
            assert!(same(&column_wise, &columns), "columns: {self:?} {shape:?} {backend:?}");
        }
    }
}

fn elements(shape: [usize; 3]) -> usize {
    shape.iter().product()
}

/// Tails in both directions, of bands too; with a rotation only in the other.
fn all_profiles<T: Real>(seed: u64) {
    let mut random = Random(seed);
    let others: Vec<Profile> = named().collect();
    for (i, profile) in named().enumerate() {
        let other = others[(7 * i + 3) % others.len()];
        for (j, rounding) in roundings().into_iter().enumerate() {
            let column_rounding = roundings()[(i + j) % 3];
            let hadamard = Hadamard::new(Hadamard::SIZES[(i + j) % 5]).unwrap();
            let hadamard = hadamard.with_drawn_signs(3, "w");
            for (blocks, column_blocks) in [
                (Blocks::Row, Blocks::Row),
                (Blocks::Tile, Blocks::Tile),
                ([Blocks::Row, Blocks::Tile][j % 2], [Blocks::Tile, Blocks::Row][j % 2]),
            ] {
                let plain = Quantize::new(profile).blocks(blocks);
                let across = Quantize::new(other).blocks(column_blocks);
                let case = |plain, across| Case {
                    rows: (plain, rounding),
                    columns: (across, column_rounding),
                };
                let size = hadamard.size();
                let cases = [
                    ([2, 37, 53], case(plain, across)),
                    ([1, 261, 19], case(plain.tensor_amax(3.0), across)),
                    ([2, 37, size], case(plain.rotated(hadamard), across)),
                    ([1, size, 41], case(plain, across.rotated(hadamard))),
                ];
                for (shape, case) in cases {
                    case.compare(&random.values::<T>(elements(shape)), shape, &BACKENDS);
                }
                let (shape, case) = cases[j];
                case.compare(&random.hostile::<T>(elements(shape)), shape, &BACKENDS);
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

/// Small shapes, one by one, around blocks and bytes.
#[test]
fn every_small_shape() {
    let mut random = Random(4);
    for profile in [Format::NVFP4, Format::MXFP4, Format::MXINT8].map(Profile::default_for) {
        for rounding in roundings() {
            for blocks in [Blocks::Row, Blocks::Tile] {
                let how = (Quantize::new(profile).blocks(blocks), rounding);
                let case = Case { rows: how, columns: how };
                for rows in [1, 2, 3, 15, 16, 17, 31, 32, 33, 65] {
                    for k in [1, 2, 15, 16, 17, 33, 64, 67] {
                        let shape = [1, rows, k];
                        case.compare(&random.values::<bf16>(rows * k), shape, &BACKENDS);
                    }
                }
            }
        }
    }
}

/// Blocks that no power of two divides, with bands of their own length.
#[test]
fn built_formats() {
    let mut random = Random(5);
    for format in ["e2m1x15:e8m0", "int5/4x48:e4m3+tensor", "e3m2x7:ue5m3"] {
        let profile = Profile::default_for(format.parse().unwrap());
        let hadamard = Hadamard::new(64).unwrap();
        for blocks in [Blocks::Row, Blocks::Tile] {
            let plain = Quantize::new(profile).blocks(blocks);
            let draws = Rounding::Stochastic(Stochastic::new(1, "w"));
            for (rows, columns) in [(plain, plain), (plain, plain.rotated(hadamard))] {
                let case = Case { rows: (rows, Rounding::Nearest), columns: (columns, draws) };
                for shape in [[1, 448, 50], [2, 64, 1]] {
                    case.compare(&random.values::<f32>(elements(shape)), shape, &BACKENDS);
                }
            }
        }
    }
}

/// Whole groups of rows and whole vectors of columns, which kernels take as they stand, and what is left beside
/// and below them; with rotations of a square and of more.
fn standing_columns<T: Real>(seed: u64) {
    let mut random = Random(seed);
    let levels = [Level::Portable, Level::Avx2, Level::Avx512];
    let cpus = levels.into_iter().filter_map(|level| Cpu::new().level(level).ok());
    let backends: Vec<Backend> = cpus.map(Backend::Cpu).collect();
    let rows = (Quantize::new(Profile::default_for(Format::MXFP8_E4M3)), Rounding::Nearest);
    for profile in named() {
        let plain = Quantize::new(profile);
        let of = |size| plain.rotated(Hadamard::new(size).unwrap().with_drawn_signs(3, "w"));
        let te = plain.rotated(Hadamard::TRANSFORMER_ENGINE);
        for (how, shape) in [
            (plain, [1, 384, 48]),
            (plain, [2, 130, 37]),
            (te, [1, 128, 32]),
            (of(16), [1, 272, 16]),
            (of(128), [1, 384, 33]),
        ] {
            let case = Case { rows, columns: (how, Rounding::Nearest) };
            case.compare(&random.values::<T>(elements(shape)), shape, &backends);
            case.compare(&random.hostile::<T>(elements(shape)), shape, &backends);
        }
    }
}

#[test]
fn columns_as_they_stand() {
    standing_columns::<f32>(9);
    standing_columns::<bf16>(10);
    standing_columns::<f16>(11);
}

/// Many bands, strips and pieces; every level, and threads that share strips.
#[test]
fn threads_and_levels_change_nothing() {
    let mut random = Random(6);
    let levels = [Level::Portable, Level::Avx2, Level::Avx512];
    let mut cpus: Vec<Cpu> = levels.into_iter().filter_map(|l| Cpu::new().level(l).ok()).collect();
    cpus.extend([1, 2, 5].map(|n| Cpu::new().threads(NonZeroUsize::new(n).unwrap())));
    let backends: Vec<Backend> = cpus.into_iter().map(Backend::Cpu).collect();
    let nvfp4 = Quantize::new(Profile::default_for(Format::NVFP4));
    let searched = Quantize::new(Profile::named(Format::NVFP4, "four-over-six-mse").unwrap());
    let mxfp8 = Quantize::new(Profile::default_for(Format::MXFP8_E4M3));
    let [nearest, drawn, _] = roundings();
    let rotated = nvfp4.rotated(Hadamard::TRANSFORMER_ENGINE);
    let cases = [
        Case { rows: (nvfp4, nearest), columns: (rotated, drawn) },
        Case { rows: (mxfp8.blocks(Blocks::Tile), nearest), columns: (searched, nearest) },
        Case { rows: (mxfp8, drawn), columns: (nvfp4.blocks(Blocks::Tile), nearest) },
    ];
    for case in cases {
        for shape in [[1, 16, 20_000], [3, 528, 150], [1, 9_008, 17]] {
            case.compare(&random.values::<bf16>(elements(shape)), shape, &backends);
            case.compare(&random.hostile::<f32>(elements(shape)), shape, &backends[..1]);
        }
    }
}

#[test]
fn buffers_are_filled() {
    let mut random = Random(7);
    let [_, drawn, _] = roundings();
    let how = (Quantize::new(Profile::default_for(Format::NVFP4)), drawn);
    let case = Case { rows: how, columns: how };
    let shape = [2, 35, 41];
    let x: Vec<f32> = random.values(elements(shape));
    let [rows, columns] = case.expected(&x, shape);
    let both = case.both();
    let bytes = both.output_bytes(&shape).unwrap();
    let mut buffers = bytes.map(|bytes| bytes.map(|n| vec![0xa5; n]));
    let [row_wise, column_wise] = &mut buffers;
    let (a, b) = both
        .run_into(
            &x,
            &shape,
            row_wise.each_mut().map(|buffer| &mut buffer[..]),
            column_wise.each_mut().map(|buffer| &mut buffer[..]),
        )
        .unwrap();
    assert_eq!((a.tensor_scale(), b.tensor_scale()), (rows.tensor_scale(), columns.tensor_scale()));
    assert_eq!((a, b), (rows.view(), columns.view()));
    // One byte too much for each in turn.
    for wrong in 0..4 {
        let mut buffers = bytes.map(|bytes| bytes.map(|n| vec![0; n]));
        buffers[wrong / 2][wrong % 2].push(0);
        let [row_wise, column_wise] = &mut buffers;
        let error = both.run_into(
            &x,
            &shape,
            row_wise.each_mut().map(|buffer| &mut buffer[..]),
            column_wise.each_mut().map(|buffer| &mut buffer[..]),
        );
        let Err(Error::WrongLength { what, given, expected, .. }) = error else {
            panic!("{error:?}");
        };
        assert_eq!(given, expected + 1);
        assert_eq!(what.contains("scales"), wrong % 2 == 1);
        assert_eq!(what.contains("column-wise"), wrong >= 2);
    }
}

/// The same seed and name draw nothing in common: a symmetric matrix is rounded in two ways.
#[test]
fn row_and_column_draws_are_apart() {
    let n = 64;
    let x: Vec<f32> = (0..n * n).map(|i| ((i / n + i % n) as f32 * 0.37).sin()).collect();
    for bits in [DrawBits::Eight, DrawBits::Sixteen] {
        let draws = Stochastic::new(7, "w").with_bits(bits);
        let profile = Profile::default_for(Format::MXFP4);
        let how = Quantize::new(profile).rounding(Rounding::Stochastic(draws));
        let both = QuantizeBoth::new(how, how);
        let (rows, columns) = both.run(&x, &[n, n]).unwrap();
        assert_eq!(rows.scales().as_bytes(), columns.scales().as_bytes());
        let differing = rows.codes().as_bytes().iter().zip(columns.codes().as_bytes());
        assert!(differing.filter(|(a, b)| a != b).count() > n * n / 10);
        // What it says of itself is what it does; and the column pass of a column pass is the same.
        assert!(same(&both.columns().run(&x, &[n, n]).unwrap(), &columns));
        assert_eq!(QuantizeBoth::new(how, *both.columns()), both);
        assert!(same(&both.rows().run(&x, &[n, n]).unwrap(), &rows));
    }
}

/// Each pass has the amax of what it quantizes, and one that was given stays that pass's.
#[test]
fn the_tensor_amax_is_that_of_each_pass() {
    let how = Quantize::new(Profile::default_for(Format::NVFP4));
    let hadamard = Hadamard::new(16).unwrap();
    let amax = |q: &QuantizedTensor| q.tensor_scale().unwrap().value();
    let of = |rows, columns, x: &[f32]| {
        BACKENDS.map(|backend| {
            let both = QuantizeBoth::new(rows, columns).backend(backend);
            let (rows, columns) = both.run(x, &[16, x.len() / 16]).unwrap();
            (amax(&rows), amax(&columns))
        })
    };
    let mut x = [0.0; 48];
    x[17] = -8.0;
    assert_eq!(of(how, how, &x), [(8.0, 8.0); 2]);
    assert_eq!(of(how, how.rotated(hadamard), &x), [(8.0, 2.0); 2]);
    assert_eq!(of(how.tensor_amax(9.0), how, &x), [(9.0, 8.0); 2]);
    assert_eq!(of(how, how.tensor_amax(9.0), &x), [(8.0, 9.0); 2]);
    // Only one of them drops what is not finite.
    let drops = Quantize::new(Profile::parse(Format::NVFP4, "torchao+nonfinite=drop").unwrap());
    x[3] = f32::INFINITY;
    for (rows, columns) in [(how, drops), (drops, how)] {
        for backend in BACKENDS {
            let both = QuantizeBoth::new(rows, columns).backend(backend);
            let (row_wise, column_wise) = both.run(&x, &[16, 3]).unwrap();
            let across = transposed([1, 16, 3], &x);
            assert!(same(&row_wise, &rows.run(&x, &[16, 3]).unwrap()));
            assert!(same(&column_wise, &columns.run(&across, &[3, 16]).unwrap()));
        }
    }
}

/// Codes, one a byte.
fn codes(q: &QuantizedTensor) -> Vec<u8> {
    q.codes().relayout::<Bytes>().unwrap().into_inner()
}

/// Square tiles: the transpose has the codes and the scales of the matrix, transposed. Searches sum errors
/// row by row, so that for them it need not.
#[test]
fn tiles_of_the_transpose_are_the_transposed_tiles() {
    let mut random = Random(8);
    for profile in named().filter(|profile| profile.search == Search::None) {
        let how = Quantize::new(profile).blocks(Blocks::Tile);
        let block = profile.format().block();
        for (rows, k) in [(block, block), (3 * block, 2 * block), (2 * block + 5, block + 7)] {
            let w: Vec<f32> = random.values(rows * k);
            for backend in BACKENDS {
                let both = QuantizeBoth::new(how, how).backend(backend);
                let (q, across) = both.run(&w, &[rows, k]).unwrap();
                assert_eq!(q.tensor_scale(), across.tensor_scale());
                assert_eq!(transposed([1, rows, k], &codes(&q)), codes(&across), "{profile}");
                for row in 0..rows {
                    for column in 0..k {
                        let scale = |q: &QuantizedTensor, row, column| {
                            q.scales().as_bytes()[row * q.scales().columns() + column / block]
                        };
                        assert_eq!(
                            scale(&q, row, column),
                            scale(&across, column, row),
                            "{profile}"
                        );
                    }
                }
                let decoded: [Vec<f32>; 2] = [q.dequantize(), across.dequantize()];
                assert_eq!(transposed([1, rows, k], &decoded[0]), decoded[1], "{profile}");
            }
        }
    }
}

#[test]
fn what_cannot_be_done_is_refused() {
    let how = Quantize::new(Profile::default_for(Format::MXFP4));
    let hadamard = Hadamard::new(64).unwrap();
    for backend in BACKENDS {
        let plain = QuantizeBoth::new(how, how).backend(backend);
        for shape in [&[][..], &[64]] {
            let error = plain.run(&vec![1.0f32; shape.iter().product()], shape).unwrap_err();
            assert!(matches!(error, Error::InvalidShape { .. }), "{error}");
            assert!(plain.output_bytes(shape).is_err());
        }
        assert!(matches!(plain.run(&[1.0f32; 5], &[2, 3]), Err(Error::WrongLength { .. })));
        assert!(plain.check_shape(&[2, 3]).is_ok());

        let rows = QuantizeBoth::new(how.rotated(hadamard), how).backend(backend);
        let error = rows.run(&[1.0f32; 64 * 96], &[64, 96]).unwrap_err();
        assert!(matches!(error, Error::RotationSize { given: 96, axis: "elements along K", .. }));
        let columns = QuantizeBoth::new(how, how.rotated(hadamard)).backend(backend);
        let error = columns.run(&[1.0f32; 64 * 96], &[96, 64]).unwrap_err();
        assert!(matches!(error, Error::RotationSize { given: 96, axis: "rows", .. }), "{error}");
        assert!(error.to_string().contains("[96, 64]"), "{error}");
        assert!(columns.check_shape(&[64, 96]).is_ok());

        // Offsets of the columns' draws are those of the transposed tensor.
        let at = |row, column| {
            let draws = Stochastic::new(1, "w").with_offset(row, column);
            let drawn = how.rounding(Rounding::Stochastic(draws));
            QuantizeBoth::new(how, drawn).backend(backend).check_shape(&[64, 5])
        };
        assert!(at(3, 64).is_ok());
        assert!(matches!(at(0, 3), Err(Error::InvalidValue { what: "the offset of a shard", .. })));
    }
}

#[test]
fn nothing_stays_nothing() {
    let mxfp4 = Quantize::new(Profile::default_for(Format::MXFP4));
    let nvfp4 = Quantize::new(Profile::default_for(Format::NVFP4));
    let rotated = nvfp4.rotated(Hadamard::TRANSFORMER_ENGINE);
    for backend in BACKENDS {
        for shape in [[0, 3, 5], [2, 0, 64], [2, 64, 0], [0, 0, 0]] {
            for both in [
                QuantizeBoth::new(mxfp4, nvfp4),
                QuantizeBoth::new(nvfp4.blocks(Blocks::Tile), mxfp4.blocks(Blocks::Tile)),
                QuantizeBoth::new(nvfp4, rotated),
            ] {
                let Ok((rows, columns)) = both.backend(backend).run::<f32>(&[], &shape) else {
                    assert!(both.columns().rotation().is_some() && shape[1] % 16 != 0);
                    continue;
                };
                let [batches, height, k] = shape;
                assert_eq!(
                    (rows.shape(), columns.shape()),
                    (&shape[..], &[batches, k, height][..])
                );
                assert!(
                    rows.codes().as_bytes().is_empty() && columns.scales().as_bytes().is_empty()
                );
            }
        }
    }
}
