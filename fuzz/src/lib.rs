//! What the fuzz targets share: names that are often right, and checks of a valid tensor.

use blockscale::format::Format;
use blockscale::layout::{Bytes, Dense, Linear, Raw, SplitHalves, Tiled8x4, Tiled128x4};
use blockscale::numerics::Profile;
use blockscale::{Backend, Blocks, QuantizedTensor, Real};
use half::{bf16, f16};
use libfuzzer_sys::arbitrary::{self, Arbitrary};

/// A name: one that exists, or any text.
#[derive(Arbitrary, Debug)]
pub enum Name<'a> {
    /// The n-th, counted around.
    Known(u8),
    /// Whatever it says.
    Text(&'a str),
}

/// A format and a profile by name, where the names mean one.
#[derive(Arbitrary, Debug)]
pub struct Numerics<'a> {
    format: Name<'a>,
    profile: Name<'a>,
    tile: bool,
}

impl Numerics<'_> {
    pub fn blocks(&self) -> Blocks {
        if self.tile { Blocks::Tile } else { Blocks::Row }
    }

    pub fn profile(&self) -> Option<Profile> {
        let format = match self.format {
            Name::Known(n) => Format::NAMED[usize::from(n) % Format::NAMED.len()].1,
            Name::Text(text) => told(text.parse::<Format>())?,
        };
        assert_eq!(format.to_string().parse::<Format>(), Ok(format));
        let profile = match self.profile {
            Name::Known(n) => {
                let all = Profile::all(format);
                all[usize::from(n) % all.len()]
            }
            Name::Text(text) => told(Profile::parse(format, text))?,
        };
        assert_eq!(Profile::parse(format, &profile.to_string()), Ok(profile));
        Some(profile)
    }
}

/// The value, or nothing after the error has been put into words: that must not panic either.
pub fn told<T, E: std::error::Error>(result: Result<T, E>) -> Option<T> {
    result.map_err(|error| assert!(!error.to_string().is_empty())).ok()
}

/// All that can be done to a tensor that was accepted.
pub fn exercise<S: AsRef<[u8]> + Sync>(tensor: &QuantizedTensor<S>) {
    decode::<f32, S>(tensor);
    decode::<bf16, S>(tensor);
    decode::<f16, S>(tensor);

    let (codes, scales) = (tensor.codes(), tensor.scales());
    let bytes = codes.relayout::<Bytes>().unwrap();
    let dense = codes.relayout::<Dense>().unwrap();
    for raw in [bytes.relayout::<Raw>(), dense.relayout::<Raw>()] {
        assert_eq!(raw.unwrap().as_bytes(), codes.as_bytes());
    }
    if let Some(halves) = told(codes.relayout::<SplitHalves>()) {
        assert_eq!(halves.relayout::<Raw>().unwrap().as_bytes(), codes.as_bytes());
    }
    let large = scales.relayout::<Tiled128x4>().unwrap();
    let small = scales.relayout::<Tiled8x4>().unwrap();
    for linear in [large.relayout::<Linear>(), small.relayout::<Linear>()] {
        assert_eq!(linear.unwrap().as_bytes(), scales.as_bytes());
    }
}

fn decode<T: Real, S: AsRef<[u8]> + Sync>(tensor: &QuantizedTensor<S>) {
    let fast = tensor.dequantize::<T>();
    let specified = tensor.dequantize_with::<T>(Backend::Reference);
    let bits = |x: &T| x.to_f32().to_bits();
    assert!(fast.iter().map(bits).eq(specified.iter().map(bits)));
    assert_eq!(fast.len(), tensor.shape().iter().product::<usize>());
}
