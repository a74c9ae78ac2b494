//! Chosen rounding: the nearer neighbour is nearest rounding, every mask stays on the grid, and what
//! divisors, saturation, NaN and Inf do. Seeds are fixed.

use blockscale::analysis::ChosenRounding;
use blockscale::format::{Element, Format, Round};
use blockscale::layout::Bytes;
use blockscale::numerics::{ElementMap, Hadamard, NonFinite, Profile, Rounding, Stochastic};
use blockscale::{Blocks, Error, Quantize, QuantizedTensor, Real};
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
    /// In [-1, 1), a quarter on a coarse grid: ties, exact values and zeros of both signs among them.
    fn value(&mut self) -> f32 {
        let unit = (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0;
        match self.next() % 40 {
            0 => unit * 40.0,
            1..10 => (unit * 16.0).trunc() / 16.0,
            _ => unit,
        }
    }
    fn values<T: Real>(&mut self, n: usize) -> Vec<T> {
        (0..n).map(|_| T::from_f32(self.value())).collect()
    }
    /// With a NaN or an Inf now and then, and values that are far too small.
    fn hostile<T: Real>(&mut self, n: usize) -> Vec<T> {
        let mut value = || match self.next() % 500 {
            0 => f32::NAN,
            1 => f32::NEG_INFINITY,
            2..20 => f32::from_bits(self.next() as u32 & 0x80ff_ffff),
            _ => self.value(),
        };
        (0..n).map(|_| T::from_f32(value())).collect()
    }
    fn mask(&mut self, n: usize) -> Vec<u8> {
        (0..n.div_ceil(8)).map(|_| self.next() as u8).collect()
    }
}

fn named() -> impl Iterator<Item = Profile> {
    Format::NAMED.into_iter().flat_map(|(_, format)| Profile::all(format))
}

fn built() -> impl Iterator<Item = Profile> {
    let formats = ["e2m1x15:e8m0", "int5/4x48:e4m3+tensor", "e3m4ix32:ue5m3", "e1m2fx16:e8m0"];
    formats.into_iter().map(|format| Profile::default_for(format.parse().unwrap()))
}

fn same(a: &QuantizedTensor, b: &QuantizedTensor) -> bool {
    let scale = |q: &QuantizedTensor| q.tensor_scale().map(|s| (s.name(), s.value().to_bits()));
    a.codes().as_bytes() == b.codes().as_bytes()
        && a.scales().as_bytes() == b.scales().as_bytes()
        && scale(a) == scale(b)
}

/// Codes, one a byte.
fn codes(q: &QuantizedTensor) -> Vec<u8> {
    q.codes().relayout::<Bytes>().unwrap().into_inner()
}

/// The non-negative finite values of an element, ascending, which is the order of their codes.
fn grid(element: Element) -> Vec<f32> {
    (0..=element.max_code()).map(|code| element.decode(code)).collect()
}

fn all_profiles<T: Real>(seed: u64) {
    let mut random = Random(seed);
    let hadamard = Hadamard::new(64).unwrap().with_drawn_signs(3, "w");
    for profile in named().chain(built()) {
        let plain = Quantize::new(profile);
        for (how, shape) in [
            (plain, [2, 3, 133]),
            (plain.blocks(Blocks::Tile), [2, 37, 41]),
            (plain.rotated(hadamard), [1, 3, 128]),
        ] {
            let n = shape.iter().product();
            for x in [random.values::<T>(n), random.hostile::<T>(n)] {
                let chosen = ChosenRounding::new(how);
                let neighbours = chosen.neighbours(&x, &shape).unwrap();
                on_the_grid(profile.format().element(), &neighbours);
                let mask = random.mask(n);
                let q = chosen.round_with_mask(&x, &shape, &mask).unwrap();
                for (i, code) in codes(&q).into_iter().enumerate() {
                    let expected = match mask[i / 8] >> (i % 8) & 1 {
                        1 => neighbours.upper()[i],
                        _ => neighbours.lower()[i],
                    };
                    assert_eq!(code, expected, "{profile} {how:?} {i}");
                }
                let nearest = how.run(&x, &shape).unwrap();
                assert_eq!(q.scales().as_bytes(), nearest.scales().as_bytes(), "{profile}");
                let mask = neighbours.nearest(profile.ties);
                let q = chosen.round_with_mask(&x, &shape, &mask).unwrap();
                match profile.map {
                    ElementMap::NearestProduct => {}
                    _ => assert!(same(&q, &nearest), "{profile} {how:?}"),
                }
            }
        }
    }
}

/// Neighbours are the same code, or two of one sign that follow each other.
fn on_the_grid(element: Element, neighbours: &blockscale::analysis::Neighbours) {
    let grid = grid(element);
    let codes = neighbours.lower().iter().zip(neighbours.upper()).zip(neighbours.fraction());
    for ((lower, upper), fraction) in codes {
        assert!((0.0..1.0).contains(fraction), "{element} {fraction}");
        let values = [*lower, *upper].map(|code| element.decode(code));
        let at = |value: f32| grid.iter().position(|v| *v == value.abs()).unwrap();
        match lower == upper {
            true => assert_eq!(*fraction, 0.0),
            false => {
                assert_eq!(at(values[0]) + 1, at(values[1]), "{element} {lower} {upper}");
                assert!(values[0] == 0.0 || (values[0] < 0.0) == (values[1] < 0.0));
            }
        }
    }
}

#[test]
fn the_nearer_neighbour_is_nearest_rounding_of_f32() {
    all_profiles::<f32>(1);
}

#[test]
fn the_nearer_neighbour_is_nearest_rounding_of_bf16() {
    all_profiles::<bf16>(2);
}

#[test]
fn the_nearer_neighbour_is_nearest_rounding_of_f16() {
    all_profiles::<f16>(3);
}

/// Where the grid is that of the values themselves: scale 1 for all, so that y is x.
#[test]
fn neighbours_enclose_every_value() {
    for (_, format) in Format::NAMED {
        if format.scale() != blockscale::format::Scale::E8M0 {
            continue;
        }
        let (element, block) = (format.element(), format.block());
        let profile = Profile::parse(format, "ocp").unwrap();
        let grid = grid(element);
        // The amax of each block is the largest element, at which `ocp` has the scale 1.
        let inner = grid.windows(2).flat_map(|pair| {
            [0.0f32, 0.125, 0.5, 0.75].map(|fraction| pair[0] + (pair[1] - pair[0]) * fraction)
        });
        let inner: Vec<f32> = inner.flat_map(|x| [x, -x]).collect();
        let x: Vec<f32> = inner
            .chunks(block - 1)
            .flat_map(|x| {
                let padding = vec![0.0; block - 1 - x.len()];
                [&[element.max()], x, &padding].concat()
            })
            .collect();
        let chosen = ChosenRounding::new(Quantize::new(profile));
        let neighbours = chosen.neighbours(&x, &[x.len()]).unwrap();
        for (i, x) in x.iter().enumerate() {
            let [lower, upper] = [neighbours.lower()[i], neighbours.upper()[i]];
            let (below, above) = (element.decode(lower).abs(), element.decode(upper).abs());
            assert!(below <= x.abs() && x.abs() <= above, "{format} {x}");
            assert_eq!(below + (above - below) * neighbours.fraction()[i], x.abs(), "{format}");
            assert_eq!(lower == upper, grid.contains(&x.abs()), "{format} {x}");
        }
    }
}

/// `ocp` chooses scales at which the largest elements clip.
#[test]
fn saturated_values_have_one_neighbour() {
    let profile = Profile::named(Format::MXFP4, "ocp").unwrap();
    let chosen = ChosenRounding::new(Quantize::new(profile));
    let x = [7.5f32, -6.5, 6.0, -5.0];
    let neighbours = chosen.neighbours(&x, &[4]).unwrap();
    assert_eq!(neighbours.lower(), [7, 15, 7, 14]);
    assert_eq!(neighbours.upper(), [7, 15, 7, 15]);
    assert_eq!(neighbours.fraction(), [0.0, 0.0, 0.0, 0.5]);
    // A quotient beyond f32 saturates too, and is not taken for an Inf of the input.
    for knob in ["ocp", "ocp+nonfinite=drop"] {
        let profile = Profile::parse(Format::MXFP4, knob).unwrap();
        let chosen = ChosenRounding::new(Quantize::new(profile)).divisors(&[1.0, 1e-45]);
        let neighbours = chosen.neighbours(&[1e30f32, -1e30], &[2]).unwrap();
        assert_eq!((neighbours.lower()[1], neighbours.upper()[1]), (15, 15), "{knob}");
    }
}

#[test]
fn nan_and_inf_are_those_of_the_profile() {
    for nonfinite in [NonFinite::NanScale, NonFinite::Neutral, NonFinite::Drop] {
        for (value, block) in [(f32::NAN, 0), (f32::INFINITY, 1)] {
            let mut profile = Profile::named(Format::MXFP4, "ocp").unwrap();
            profile.nonfinite = nonfinite;
            let mut x = [5.0f32; 64];
            x[32 * block + 3] = value;
            let how = Quantize::new(profile);
            let chosen = ChosenRounding::new(how);
            let neighbours = chosen.neighbours(&x, &[64]).unwrap();
            let q = chosen.round_with_mask(&x, &[64], &[0xff; 8]).unwrap();
            assert_eq!(q.scales(), how.run(&x, &[64]).unwrap().scales(), "{nonfinite:?}");
            for i in 0..64 {
                let spoilt = match nonfinite {
                    NonFinite::Drop => i == 32 * block + 3,
                    _ => i / 32 == block,
                };
                let expected = if spoilt { (0, 0, 0.0) } else { (6, 7, 0.5) };
                let found =
                    (neighbours.lower()[i], neighbours.upper()[i], neighbours.fraction()[i]);
                assert_eq!(found, expected, "{nonfinite:?} {value} {i}");
            }
        }
    }
}

/// Codes come from x / d, scales from x.
#[test]
fn divisors_divide_after_the_scales_are_chosen() {
    let mut random = Random(4);
    let shape = [3, 77];
    let n = 3 * 77;
    for (name, format) in Format::NAMED {
        let profile = Profile::default_for(format);
        if profile.map != ElementMap::Exponent {
            continue;
        }
        let how = Quantize::new(profile);
        let x: Vec<f32> = random.values(n);
        let divisors: Vec<f32> = (0..n).map(|_| 1.0 + 0.5 * random.value().abs()).collect();
        let chosen = ChosenRounding::new(how).divisors(&divisors);
        let mask = chosen.neighbours(&x, &shape).unwrap().nearest(profile.ties);
        let q = chosen.round_with_mask(&x, &shape, &mask).unwrap();
        let plain = how.run(&x, &shape).unwrap();
        assert_eq!(q.scales(), plain.scales(), "{name}");
        for (i, code) in codes(&q).into_iter().enumerate() {
            let scale = q.scales().as_bytes()[i / 77 * 3 + i % 77 / 32];
            let y = x[i] / divisors[i] * 2f32.powi(127 - i32::from(scale));
            let expected = format.element().encode(y, Round::Nearest(profile.ties));
            assert_eq!(code, expected, "{name} {i}");
        }
        let ones = vec![1.0; n];
        let undivided = ChosenRounding::new(how).divisors(&ones);
        let mask = undivided.neighbours(&x, &shape).unwrap().nearest(profile.ties);
        assert!(same(&undivided.round_with_mask(&x, &shape, &mask).unwrap(), &plain), "{name}");
    }
}

/// ggml looks at products: its nearest code is still one of both, whose sign of zero aside.
#[test]
fn nearest_products_are_neighbours() {
    let mut random = Random(5);
    for profile in named().filter(|profile| profile.map == ElementMap::NearestProduct) {
        let x: Vec<f32> = random.values(640);
        let how = Quantize::new(profile);
        let neighbours = ChosenRounding::new(how).neighbours(&x, &[640]).unwrap();
        let element = profile.format().element();
        for (i, code) in codes(&how.run(&x, &[640]).unwrap()).into_iter().enumerate() {
            let both = [neighbours.lower()[i], neighbours.upper()[i]];
            let value = element.decode(code);
            assert!(both.iter().any(|code| element.decode(*code) == value), "{profile} {}", x[i]);
        }
    }
}

#[test]
fn what_cannot_be_chosen_is_refused() {
    let how = Quantize::new(Profile::default_for(Format::MXFP4));
    let chosen = ChosenRounding::new(how);
    let x = [1.0f32; 10];
    for bytes in [0, 1, 3] {
        let error = chosen.round_with_mask(&x, &[10], &vec![0; bytes]).unwrap_err();
        assert!(matches!(error, Error::WrongLength { what: "the mask", expected: 2, .. }));
    }
    // Bits behind the last element do not matter.
    let [a, b] = [[0u8, 0], [0, 0xfc]].map(|mask| chosen.round_with_mask(&x, &[10], &mask));
    assert_eq!(a.unwrap(), b.unwrap());
    let wrong = chosen.divisors(&[1.0; 9]).neighbours(&x, &[10]);
    assert!(matches!(wrong, Err(Error::WrongLength { what: "the divisors", given: 9, .. })));
    for divisor in [0.0, -0.0, -1.0, f32::NAN, f32::INFINITY] {
        let mut divisors = [1.0; 10];
        divisors[7] = divisor;
        let error = chosen.divisors(&divisors).neighbours(&x, &[10]).unwrap_err();
        assert!(error.to_string().contains("at 7: divisors are finite and positive"), "{error}");
    }
    let drawn = how.rounding(Rounding::Stochastic(Stochastic::new(1, "w")));
    let error = ChosenRounding::new(drawn).neighbours(&x, &[10]);
    assert!(matches!(error, Err(Error::InvalidValue { .. })));
    assert!(matches!(chosen.neighbours(&x, &[11]), Err(Error::WrongLength { .. })));
    for shape in [&[0][..], &[0, 5], &[5, 0]] {
        for how in [how, how.blocks(Blocks::Tile)] {
            let chosen = ChosenRounding::new(how);
            let Ok(neighbours) = chosen.neighbours::<f32>(&[], shape) else {
                assert_eq!(shape.len(), 1);
                continue;
            };
            assert!(neighbours.nearest(how.profile().ties).is_empty());
            let q = chosen.round_with_mask::<f32>(&[], shape, &[]).unwrap();
            assert_eq!(q, how.run::<f32>(&[], shape).unwrap());
        }
    }
}
