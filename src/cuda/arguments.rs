//! What kernels are given: the structs of `kernels/include/profile.cuh` and of each kernel, with
//! the same fields in the same order.

use crate::format::{Element, Minifloat, Scale, Specials};
use crate::numerics::{DrawRule, Hadamard, NonFinite, Profile, Rounding, Stochastic};
use crate::{Blocks, Error, Result};

/// A device pointer.
pub type DevicePointer = u64;

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Codec {
    kind: u32,
    bits: u32,
    mantissa_bits: u32,
    bias: i32,
    is_signed: u32,
    max_code: u32,
    is_ieee: u32,
    max: f32,
    min_normal: f32,
    min_positive: f32,
}

impl From<Minifloat> for Codec {
    fn from(float: Minifloat) -> Self {
        Self {
            kind: 0,
            bits: float.bits().into(),
            mantissa_bits: float.mantissa_bits().into(),
            bias: float.bias().into(),
            is_signed: float.is_signed().into(),
            max_code: float.max_code().into(),
            is_ieee: (float.specials() == Specials::Ieee).into(),
            max: float.max(),
            min_normal: float.min_normal().unwrap_or(float.min_positive()),
            min_positive: float.min_positive(),
        }
    }
}

impl From<Element> for Codec {
    fn from(element: Element) -> Self {
        match element {
            Element::Float(float) => float.into(),
            Element::Int(int) => Self {
                kind: 1,
                bits: int.bits().into(),
                mantissa_bits: int.fraction_bits().into(),
                max_code: int.max_code().into(),
                max: int.max(),
                ..Self::default()
            },
        }
    }
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct DeviceProfile {
    element: Codec,
    scale_codec: Codec,
    scale_format: u32,
    block: u32,
    emax: i32,
    step_bits: u32,
    target: f32,
    tensor_target: f32,
    tensor: u32,
    scale: u32,
    cast: u32,
    range: u32,
    headroom: u32,
    nonfinite: u32,
    map: u32,
    ties: u32,
    sign: u32,
    search: u32,
    decode: u32,
}

impl DeviceProfile {
    pub(super) fn new(profile: &Profile) -> Self {
        let format = profile.format();
        let element = format.element();
        Self {
            element: element.into(),
            scale_codec: format.scale().float().map(Codec::from).unwrap_or_default(),
            scale_format: match format.scale() {
                Scale::E8M0 => 0,
                Scale::E4M3 => 1,
                Scale::UE5M3 => 2,
                Scale::UE5M3Ieee | Scale::F32 => 3, // F32 scales are refused before
            },
            block: format.block() as u32,
            emax: element.emax(),
            step_bits: element.mantissa_bits().into(),
            target: profile.target(),
            tensor_target: profile.tensor_target(),
            tensor: profile.tensor as u32,
            scale: profile.scale as u32,
            cast: profile.cast as u32,
            range: profile.range as u32,
            headroom: profile.headroom as u32,
            nonfinite: profile.nonfinite as u32,
            map: profile.map as u32,
            ties: profile.ties as u32,
            sign: profile.sign as u32,
            search: profile.search as u32,
            decode: profile.decode as u32,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Draws {
    /// One more than are drawn where draws are centred: the last bit is 1.
    draw_bits: u32,
    key: [u32; 2],
    stream: u32,
    step: u32,
    row_offset: u32,
    column_offset: u64,
}

impl Draws {
    /// Offsets that fit were checked by the verb.
    pub(super) fn new(rounding: Rounding) -> Result<Self> {
        let Rounding::Stochastic(draws) = rounding else { return Ok(Self::default()) };
        let row_offset = u32::try_from(draws.row_offset()).map_err(|_| Error::Overflow {
            what: "the row offset of a shard",
            given: draws.row_offset().into(),
            limit: u32::MAX.into(),
        })?;
        Ok(Self {
            draw_bits: draws.bits().bits() + u32::from(draws.rule() == DrawRule::Midpoint),
            key: Stochastic::key(draws),
            stream: draws.stream(),
            step: draws.step(),
            row_offset,
            column_offset: draws.column_offset(),
        })
    }
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct QuantizeArguments {
    pub x: DevicePointer,
    pub codes: DevicePointer,
    pub scales: DevicePointer,
    pub amax: DevicePointer,
    pub tensor_scale: DevicePointer,
    pub batches: u64,
    pub rows: u64,
    pub k: u64,
    pub row_stride: u64,
    pub batch_stride: u64,
    pub code_stride: u64,
    pub scale_columns: u64,
    pub tile_rows: u32,
    pub group: u32,
    pub amax_value: f32,
    pub reserved: u32,
    pub status: DevicePointer,
    pub draws: Draws,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct GroupedArguments {
    pub x: DevicePointer,
    pub codes: DevicePointer,
    pub scales: DevicePointer,
    pub amax: DevicePointer,
    pub tensor_scales: DevicePointer,
    pub first_rows: DevicePointer,
    pub counts: DevicePointer,
    pub scale_rows: DevicePointer,
    pub status: DevicePointer,
    pub rows: u64,
    pub k: u64,
    pub row_stride: u64,
    pub code_stride: u64,
    pub scale_columns: u64,
    pub groups: u32,
    pub tile: u32,
    pub amax_stride: u32,
    pub amax_value: f32,
    pub drop: u32,
    pub reserved: u32,
    pub draws: Draws,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct ClearArguments {
    pub amax: DevicePointer,
    pub count: u64,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct RelayoutCodesArguments {
    pub from: DevicePointer,
    pub to: DevicePointer,
    pub rows: u64,
    pub k: u64,
    pub from_bytes: u64,
    pub to_bytes: u64,
    pub bits: u32,
    pub block: u32,
    pub from_packing: u32,
    pub to_packing: u32,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct DequantizeArguments {
    pub codes: DevicePointer,
    pub scales: DevicePointer,
    pub tensor_scale: DevicePointer,
    pub y: DevicePointer,
    pub rows: u64,
    pub k: u64,
    pub code_stride: u64,
    pub scale_columns: u64,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct AmaxArguments {
    pub x: DevicePointer,
    pub amax: DevicePointer,
    pub batches: u64,
    pub rows: u64,
    pub k: u64,
    pub row_stride: u64,
    pub batch_stride: u64,
    pub drop: u32,
    pub reserved: u32,
    pub vectors: u64,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct RelayoutArguments {
    pub from: DevicePointer,
    pub to: DevicePointer,
    pub batches: u64,
    pub rows: u64,
    pub columns: u64,
    pub from_tile: u32,
    pub to_tile: u32,
}

/// `Rotation` of `kernels/include/hadamard.cuh`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Rotation {
    size: u32,
    scale: f32,
    inverse: u32,
    to_bf16: u32,
    signs: [u32; 8],
}

impl Rotation {
    pub(super) fn new(hadamard: Hadamard, inverse: bool) -> Self {
        let mask = hadamard.sign_mask();
        Self {
            size: hadamard.size() as u32,
            scale: hadamard.scale(),
            inverse: inverse.into(),
            to_bf16: (hadamard.is_rounded_to_bf16() && !inverse).into(),
            signs: std::array::from_fn(|word| (mask[word / 2] >> (word % 2 * 32)) as u32),
        }
    }
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct RotateArguments {
    pub x: DevicePointer,
    pub y: DevicePointer,
    pub amax: DevicePointer,
    pub batches: u64,
    pub rows: u64,
    pub k: u64,
    pub row_stride: u64,
    pub batch_stride: u64,
    pub dense: u32,
    pub x_aligned: u32,
    pub y_aligned: u32,
    pub drop: u32,
    pub from: u32,
    pub to: u32,
    pub rotation: Rotation,
}

/// Whether a profile looks past NaN and Inf.
pub(super) fn drops(profile: &Profile) -> bool {
    profile.nonfinite == NonFinite::Drop
}

/// Rows that share a scale, and blocks along K that one thread takes so that no two threads
/// share a byte of codes.
pub(super) fn tile_and_group(profile: &Profile, blocks: Blocks) -> (u32, u32) {
    let format = profile.format();
    let tile = match blocks {
        Blocks::Row => 1,
        Blocks::Tile => format.block() as u32,
    };
    let shares = format.element().bits() == 4 && !format.block().is_multiple_of(2);
    (tile, if shares { 2 } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::knob_names;

    /// The enumerators in the header, in order, are the values of the knob of that name.
    #[test]
    fn enums_of_the_kernels_are_the_knobs() {
        let header = include_str!("../../kernels/include/profile.cuh");
        let mut checked = 0;
        for part in header.split("enum class ").skip(1) {
            let (name, rest) = part.split_once(" : uint32_t {").unwrap();
            let body = rest.split_once('}').unwrap().0;
            let enumerators: Vec<_> =
                body.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
            let Some(values) = knob_names(name) else { continue };
            assert_eq!(enumerators, values, "{name}");
            checked += 1;
        }
        assert_eq!(checked, 11);
        assert_eq!(size_of::<GroupedArguments>(), 168);
        assert_eq!(size_of::<RotateArguments>(), 136);
        assert_eq!(size_of::<DeviceProfile>(), 2 * 40 + 17 * 4);
    }
}
