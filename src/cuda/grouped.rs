//! Quantize the rows of groups: the tokens of a mixture's experts.

use super::device::Device;
use super::memory::{Buffers, DeviceInput, DeviceOutput, check_length};
use super::raw::{Amax, GroupedOutput, Groups, WORKSPACE, grouped_scale_rows};
use super::{CudaError, DeviceReal, Strided, TensorAmax};
use crate::layout::ScaleLayout;
use crate::shape::Extents;
use crate::{Blocks, Error, Quantize};
use std::fmt;

/// Which rows belong together: `counts[g]` rows from `first_rows[g]` on, ascending, without overlap.
///
/// Both arrays are read on the device, so a captured graph can run again with other sizes; a group may
/// be empty, and rows between groups are left alone.
#[derive(Clone, Copy)]
pub struct GroupRows<'a> {
    /// The first row of each group.
    pub first_rows: &'a dyn DeviceInput<u32>,
    /// The rows of each group.
    pub counts: &'a dyn DeviceInput<u32>,
}

/// Where quantized groups go.
pub struct GroupedMut<'a> {
    /// Codes of every row of the input, in the raw layout.
    pub codes: &'a mut dyn DeviceOutput<u8>,
    /// Block scales: of every row of the input where they are linear; else a tiled matrix for each
    /// group, one behind the other, with room for
    /// [`grouped_scale_rows`](super::raw::grouped_scale_rows) rows.
    pub scales: &'a mut dyn DeviceOutput<u8>,
    /// One a group and one more: where the scales of each group begin, in padded rows, and end.
    pub scale_rows: &'a mut dyn DeviceOutput<u32>,
    /// One a group where the profile stores a tensor scale, and nowhere else.
    pub tensor_scales: Option<&'a mut dyn DeviceOutput<f32>>,
    /// One word that gets the bits of [`status`](super::raw::status).
    pub status: Option<&'a mut dyn DeviceOutput<u32>>,
}

impl Device {
    /// Quantizes the rows of groups of `x`, of shape `[rows, K]`, each group with a tensor scale of its
    /// own; allocates nothing. Scales are laid out as `L` says: [`Linear`](crate::layout::Linear) or
    /// [`Tiled128x4`](crate::layout::Tiled128x4), whose padding is written as zero.
    ///
    /// A group's bytes are those of [`Quantize::run`] on its rows; stochastic draws are those of the row
    /// in `x`, that is with the group's first row as row offset.
    ///
    /// # Errors
    /// Those of [`Device::quantize_into`]; [`CudaError::Argument`] also for tiles
    /// ([`Blocks::Tile`]), rotations, 8×4 scales, and arrays of other lengths than there are groups.
    ///
    /// ```no_run
    /// use blockscale::cuda::{Device, GroupRows, GroupedMut, TensorAmax, raw};
    /// use blockscale::{Quantize, format::Format, layout::Tiled128x4, numerics::Profile};
    /// let device = Device::new(0)?;
    /// // Three experts: rows 0 to 4, none, rows 5 to 7; 64 columns, so 4 scales a row.
    /// let x = device.upload(&[0.5f32; 8 * 64])?;
    /// let (first_rows, counts) = (device.upload(&[0u32, 5, 5])?, device.upload(&[5u32, 0, 3])?);
    /// let scale_rows = raw::grouped_scale_rows(8, 3, 128).unwrap();
    /// let mut codes = device.upload(&[0u8; 8 * 32])?;
    /// let mut scales = device.upload(&vec![0u8; scale_rows * 4])?;
    /// let (mut rows, mut tensor_scales) = (device.upload(&[0u32; 4])?, device.upload(&[0f32; 3])?);
    /// let mut workspace = device.upload(&[0u8; raw::WORKSPACE])?;
    /// device.quantize_grouped_into::<Tiled128x4, f32>(
    ///     &Quantize::new(Profile::default_for(Format::NVFP4)),
    ///     &x,
    ///     &[8, 64],
    ///     GroupRows { first_rows: &first_rows, counts: &counts },
    ///     TensorAmax::Computed(&mut workspace),
    ///     GroupedMut {
    ///         codes: &mut codes,
    ///         scales: &mut scales,
    ///         scale_rows: &mut rows, // [0, 128, 128, 256]
    ///         tensor_scales: Some(&mut tensor_scales),
    ///         status: None,
    ///     },
    /// )?;
    /// # Ok::<(), blockscale::cuda::CudaError>(())
    /// ```
    pub fn quantize_grouped_into<'s, L: ScaleLayout, T: DeviceReal>(
        &self,
        quantize: &Quantize,
        x: &impl DeviceInput<T>,
        shape: impl Into<Strided<'s>>,
        groups: GroupRows<'_>,
        amax: TensorAmax<'_>,
        to: GroupedMut<'_>,
    ) -> Result<(), CudaError> {
        let shape = shape.into();
        let used = shape.check(x.len())?;
        let axes = shape.shape();
        let extents = quantize.check_unrotated(Extents::of(axes)?.elements(), axes)?;
        let (profile, (rounding, blocks)) = (quantize.profile(), quantize.choices());
        if blocks == Blocks::Tile {
            let (what, given) = ("the blocks of groups", "tiles".to_owned());
            return Err(Error::InvalidValue { what, given, rule: "rows of blocks" }.into());
        }
        let count = groups.counts.len();
        let lengths = [
            ("the first rows", groups.first_rows.len(), count),
            ("the scale rows", to.scale_rows.len(), count + 1),
            ("the tensor scales", to.tensor_scales.as_ref().map_or(count, |s| s.len()), count),
            ("the status word", to.status.as_ref().map_or(1, |status| status.len()), 1),
        ];
        for (what, given, expected) in lengths {
            check_length(what, given, "values", &[count], expected)?;
        }
        let stored = profile.tensor_scale_name();
        if stored.is_some() != to.tensor_scales.is_some() {
            return Err(Error::InvalidTensor {
                format: profile.format().to_string(),
                rule: format!("profile {profile} stores {}", stored.unwrap_or("no tensor scale")),
            }
            .into());
        }
        let (code_bytes, _) = super::device::sizes(profile, extents)?;
        let columns = profile.format().scales_per_row(extents.k);
        let padded = if L::TILE == 0 { columns } else { columns.next_multiple_of(4) };
        let scale_bytes = grouped_scale_rows(extents.rows, count, L::TILE)
            .and_then(|rows| rows.checked_mul(padded))
            .ok_or(Error::Overflow {
                what: "the bytes of the scales",
                given: extents.rows as u128 * padded as u128,
                limit: usize::MAX as u64,
            })?;
        check_length("the codes", to.codes.len(), "bytes", axes, code_bytes)?;
        check_length("the scales", to.scales.len(), "bytes", axes, scale_bytes)?;

        let mut buffers = Buffers::new(self.stream())?;
        let x = buffers.read::<T>("x", x, used)?;
        let amax = match amax {
            TensorAmax::Given => match (stored, quantize.given_amax()) {
                (Some(_), None) => {
                    let rule = "give Quantize::tensor_amax one, the device's, or a workspace";
                    let (what, given) = ("the tensor amax", "nowhere".to_owned());
                    return Err(Error::InvalidValue { what, given, rule }.into());
                }
                (_, given) => Amax::Host(given.unwrap_or(0.0)),
            },
            TensorAmax::Device(amax) => {
                check_length("the tensor amax", amax.len(), "values", &[1], 1)?;
                Amax::Device(buffers.read("the tensor amax", amax, 1)?)
            }
            TensorAmax::DeviceArray(amax) => {
                check_length("the tensor amax", amax.len(), "values", &[count], count)?;
                Amax::DeviceArray(buffers.read("the tensor amax", amax, count)?)
            }
            TensorAmax::Computed(workspace) => {
                let (given, bytes) = (workspace.len(), WORKSPACE.max(4 * count));
                if given < bytes {
                    let rule = "at least raw::WORKSPACE bytes, and four a group";
                    let what = "the length of the workspace";
                    return Err(Error::InvalidValue { what, given: given.to_string(), rule }.into());
                }
                Amax::Compute { workspace: buffers.write("the workspace", workspace, bytes)? }
            }
        };
        let groups = Groups {
            count: count as u32,
            first_rows: buffers.read("the first rows", groups.first_rows, count)?,
            counts: buffers.read("the counts", groups.counts, count)?,
        };
        let output = GroupedOutput {
            codes: buffers.write("the codes", to.codes, code_bytes)?,
            scales: buffers.write("the scales", to.scales, scale_bytes)?,
            scale_tile: L::TILE,
            scale_rows: buffers.write("the scale rows", to.scale_rows, count + 1)?,
            tensor_scales: match to.tensor_scales {
                Some(scales) => buffers.write("the tensor scales", scales, count)?,
                None => 0,
            },
            status: match to.status {
                Some(status) => buffers.write("the status word", status, 1)?,
                None => 0,
            },
        };
        buffers.ready()?;
        let (input, stream) = (shape.at(x, T::DTYPE), self.stream().cu_stream());
        // SAFETY: `buffers` holds all of them, live, distinct, on this device and as long as was
        // checked.
        unsafe {
            self.kernels().quantize_grouped(profile, rounding, input, groups, amax, output, stream)
        }
    }
}

impl fmt::Debug for GroupRows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupRows({})", self.counts.len())
    }
}

impl fmt::Debug for GroupedMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupedMut({}, {})", self.codes.len(), self.scales.len())
    }
}
