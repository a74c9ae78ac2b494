//! What holds for every input: proptest draws tensors with hostile values, odd shapes, every
//! named profile.

use blockscale::format::Format;
use blockscale::numerics::{DrawBits, ElementMap, Profile, Rounding, Search, Stochastic};
use blockscale::{Backend, Blocks, Quantize, QuantizedTensor};
use proptest::prelude::*;

/// Every named profile of every named format.
fn profiles() -> Vec<Profile> {
    Format::NAMED.iter().flat_map(|(_, format)| Profile::all(*format)).collect()
}

fn any_profile() -> impl Strategy<Value = Profile> {
    profile_with(|_| true)
}

fn profile_with(wanted: impl Fn(&Profile) -> bool) -> impl Strategy<Value = Profile> {
    proptest::sample::select(profiles().into_iter().filter(wanted).collect::<Vec<_>>())
}

/// Ordinary values, values over many octaves, ties, zeros and (if asked for) NaN and Inf.
fn any_value(special: bool) -> impl Strategy<Value = f32> {
    let special_weight = if special { 1 } else { 0 };
    prop_oneof![
        8 => -8.0f32..8.0,
        4 => any::<u32>().prop_map(|bits| f32::from_bits(bits & 0xbfff_ffff)),
        2 => (0..64u32).prop_map(|i| i as f32 / 4.0 - 8.0),
        2 => proptest::sample::select(vec![0.0f32, -0.0, 1e-45, -1e-40, f32::MIN_POSITIVE]),
        special_weight => proptest::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY]),
    ]
    .prop_filter("finite unless asked for", move |x| special || x.is_finite())
}

/// A matrix of up to 40 × 70.
fn matrix(special: bool) -> impl Strategy<Value = (usize, usize, Vec<f32>)> {
    (1..=40usize, 1..=70usize).prop_flat_map(move |(rows, k)| {
        let values = proptest::collection::vec(any_value(special), rows * k);
        (Just(rows), Just(k), values)
    })
}

fn any_rounding() -> impl Strategy<Value = Rounding> {
    let bits = proptest::sample::select(vec![DrawBits::Eight, DrawBits::Sixteen]);
    prop_oneof![
        Just(Rounding::Nearest),
        (any::<u64>(), bits).prop_map(|(seed, bits)| {
            Rounding::Stochastic(Stochastic::new(seed, "tensor").with_bits(bits))
        }),
    ]
}

fn any_blocks() -> impl Strategy<Value = Blocks> {
    proptest::sample::select(vec![Blocks::Row, Blocks::Tile])
}

fn transposed(rows: usize, k: usize, x: &[f32]) -> Vec<f32> {
    (0..k).flat_map(|column| (0..rows).map(move |row| x[row * k + column])).collect()
}

/// One code an element.
fn codes(q: &QuantizedTensor) -> Vec<u8> {
    q.codes().relayout::<blockscale::layout::Bytes>().unwrap().into_inner()
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn backends_agree_and_parts_make_the_tensor_again(
        profile in any_profile(),
        (rows, k, x) in matrix(true),
        rounding in any_rounding(),
        blocks in any_blocks(),
    ) {
        let quantize = Quantize::new(profile).rounding(rounding).blocks(blocks);
        let q = quantize.backend(Backend::Reference).run(&x, &[rows, k]).unwrap();
        let cpu = quantize.backend(Backend::default()).run(&x, &[rows, k]).unwrap();
        prop_assert_eq!(cpu.codes().as_bytes(), q.codes().as_bytes());
        prop_assert_eq!(cpu.scales().as_bytes(), q.scales().as_bytes());
        let bits = |q: &QuantizedTensor| q.tensor_scale().map(|s| (s.name(), s.value().to_bits()));
        prop_assert_eq!(bits(&cpu), bits(&q));

        let decoded = q.dequantize_with::<f32>(Backend::Reference);
        prop_assert!(same(&decoded, &q.dequantize_with::<f32>(Backend::default())));
        let (codes, scales) = (q.codes().as_bytes(), q.scales().as_bytes());
        let again =
            QuantizedTensor::from_parts(profile, blocks, &[rows, k], codes, scales, q.tensor_scale());
        prop_assert!(same(&decoded, &again.unwrap().dequantize::<f32>()));
        for value in decoded {
            prop_assert!(!value.is_nan() || value.to_bits() == 0x7fff_ffff);
        }
    }

    /// Without a tensor scale nothing beyond a block enters, and +0 changes no scale.
    #[test]
    fn a_tail_is_a_block_padded_with_zero(
        profile in any_profile(),
        (rows, k, x) in matrix(false),
    ) {
        let block = profile.format().block();
        let padded_k = k.next_multiple_of(block);
        let mut padded = vec![0.0; rows * padded_k];
        for row in 0..rows {
            padded[row * padded_k..][..k].copy_from_slice(&x[row * k..][..k]);
        }
        let q = Quantize::new(profile).run(&x, &[rows, k]).unwrap();
        let padded = Quantize::new(profile).run(&padded, &[rows, padded_k]).unwrap();
        prop_assert_eq!(q.scales().as_bytes(), padded.scales().as_bytes());
        let (q, padded) = (codes(&q), codes(&padded));
        for row in 0..rows {
            prop_assert_eq!(&q[row * k..][..k], &padded[row * padded_k..][..k]);
        }
    }

    /// A shard that knows the tensor's amax and its own offset writes the tensor's bytes.
    #[test]
    fn shards_are_parts_of_the_whole(
        profile in any_profile(),
        (rows, k, x) in matrix(true),
        seed in any::<u64>(),
        row_cut in 0..40usize,
        column_cut in 0..5usize,
    ) {
        let draws = Stochastic::new(seed, "tensor").with_stream(3).with_step(9);
        let amax = if x.iter().any(|x| x.is_nan()) {
            f32::NAN
        } else {
            x.iter().fold(0.0, |amax: f32, x| amax.max(x.abs()))
        };
        let run = |x: &[f32], shape: &[usize], draws| {
            let quantize = Quantize::new(profile).rounding(Rounding::Stochastic(draws));
            quantize.tensor_amax(amax).run(x, shape).unwrap()
        };
        let whole = codes(&run(&x, &[rows, k], draws));
        let (top, left) = (row_cut.min(rows), (column_cut * profile.format().block()).min(k));
        for (first, end) in [(0, top), (top, rows)] {
            for (start, stop) in [(0, left), (left, k)] {
                if left < k && left % profile.format().block() != 0 {
                    continue;
                }
                let width = stop - start;
                let shard: Vec<f32> =
                    (first..end).flat_map(|row| x[row * k + start..row * k + stop].to_vec()).collect();
                if start == k {
                    continue; // nothing lies there, and its offset need not be a block's
                }
                let at = draws.with_offset(first as u64, start as u64);
                let shard = codes(&run(&shard, &[end - first, width], at));
                for row in first..end {
                    let of_whole = &whole[row * k + start..row * k + stop];
                    prop_assert_eq!(&shard[(row - first) * width..][..width], of_whole);
                }
            }
        }
    }

    /// A square tile has one scale, so a matrix and its transpose have the same codes.
    /// The sums of a search run along rows, so their order is not symmetric.
    #[test]
    fn tiles_commute_with_the_transpose(
        profile in profile_with(|profile| profile.search == Search::None),
        (rows, k, x) in matrix(true),
    ) {
        let quantize = Quantize::new(profile).blocks(Blocks::Tile);
        let q = quantize.run(&x, &[rows, k]).unwrap();
        let t = quantize.run(&transposed(rows, k, &x), &[k, rows]).unwrap();
        let (q, t) = (q.dequantize::<f32>(), t.dequantize::<f32>());
        prop_assert!(same(&transposed(rows, k, &q), &t));
    }

    /// Rounding never leaves the neighbours: stochastic codes are the nearest one or the next.
    #[test]
    fn stochastic_values_are_neighbours_of_the_nearest(
        profile in profile_with(|profile| profile.map != ElementMap::NearestProduct),
        x in proptest::collection::vec(any_value(false), 1..70),
        seed in any::<u64>(),
    ) {
        let quantize = Quantize::new(profile);
        let nearest = quantize.run(&x, &[x.len()]).unwrap();
        let draws = Rounding::Stochastic(Stochastic::new(seed, "tensor"));
        let stochastic = quantize.rounding(draws).run(&x, &[x.len()]).unwrap();
        prop_assert_eq!(nearest.scales().as_bytes(), stochastic.scales().as_bytes());
        let element = profile.format().element();
        let magnitude = |code: u8| element.decode(code).abs();
        for (a, b) in codes(&nearest).into_iter().zip(codes(&stochastic)) {
            let (low, high) = (magnitude(a).min(magnitude(b)), magnitude(a).max(magnitude(b)));
            let between = (0..=element.max_code()).filter(|c| {
                let value = element.decode(*c);
                value > low && value < high
            });
            prop_assert_eq!(between.count(), 0, "{} and {}", a, b);
        }
    }
}

/// Profiles under which quantizing a dequantized tensor gives the same bytes: their scale rule
/// lands on the same exponent from the rounded amax. `rceil` and the `ceil` of floats may choose a
/// smaller exponent for the same values, the `ceil` of integers does so for a block that rounded
/// to zero; `microxcaling` and `compressed-tensors` keep the sign of a value that rounds to zero,
/// but not that of a zero; tensor scales move with the tensor's amax.
fn keeps_bytes(profile: &Profile) -> bool {
    matches!(profile.name(), "ocp" | "even")
}

/// Profiles under which it gives the same values, up to the sign of zero.
fn keeps_values(profile: &Profile) -> bool {
    let mx = profile.format().scale() == blockscale::format::Scale::E8M0;
    mx && profile.name() != "ggml"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn quantizing_twice_changes_nothing_where_promised(
        profile in profile_with(keeps_values),
        (rows, k, x) in matrix(false),
        blocks in any_blocks(),
    ) {
        let quantize = Quantize::new(profile).blocks(blocks);
        let once = quantize.run(&x, &[rows, k]).unwrap();
        let values = once.dequantize::<f32>();
        let twice = quantize.run(&values, &[rows, k]).unwrap();
        for (a, b) in values.iter().zip(twice.dequantize::<f32>()) {
            prop_assert!(*a == b || a.is_nan() && b.is_nan(), "{} {}: {} {}", profile.format(), profile, a, b);
        }
        if keeps_bytes(&profile) {
            prop_assert_eq!(codes(&once), codes(&twice));
            prop_assert_eq!(once.scales().as_bytes(), twice.scales().as_bytes());
        }
    }
}
