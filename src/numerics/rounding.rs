//! Nearest or stochastic, and which draw belongs to which element.

use super::philox4x32_10;
use crate::error::{Error, Result};
use crate::format::{Round, Ties};

/// How the elements of a tensor are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Rounding {
    /// To the nearest code; the profile says what ties do.
    #[default]
    Nearest,
    /// Up with a probability equal to the fraction.
    Stochastic(Stochastic),
}

/// Bits of one element's draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DrawBits {
    /// 16 draws to a Philox call; low by up to 2⁻⁸ of a step on average (see [`DrawRule`]).
    Eight,
    /// 8 draws to a Philox call; low by up to 2⁻¹⁶ of a step on average.
    Sixteen,
}

impl DrawBits {
    /// The width of a draw.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Eight => 8,
            Self::Sixteen => 16,
        }
    }
    /// Draws in the 128 bits of one Philox call.
    const fn per_call(self) -> u64 {
        (128 / self.bits()) as u64
    }
}

/// Which draws round up.
///
/// ```text
/// Truncated   up iff floor(fraction · 2^n) + r >= 2^n                  p = ⌊fraction · 2^n⌋ / 2^n
/// Midpoint    up iff floor(fraction · 2^(n+1)) + 2r + 1 >= 2^(n+1)     p = ⌊fraction · 2^n + 1/2⌋ / 2^n
/// ```
///
/// for a draw r of n bits, in integers on the exact fraction; p is the share of all draws that go up. The
/// truncated rule is low by less than 2⁻ⁿ of a step, whatever the fraction, the midpoint rule off by at most
/// 2⁻ⁿ⁻¹ to either side. A value on the grid stays where it is under both.
///
/// Sources: the truncated rule is TransformerEngine's on the exact fraction, and gfloat's
/// `StochasticFastest`; the midpoint rule is gfloat's `StochasticFast`.
///
/// ```
/// use blockscale::format::Element;
/// use blockscale::numerics::{DrawBits, DrawRule};
/// // 2.125 lies an eighth of a step above the E2M1 value 2 (code 4), 2.003 less than one of 256 draws.
/// let ups = |x, rule: DrawRule| {
///     let up = |draw: &u32| Element::E2M1.encode(x, rule.round(*draw, DrawBits::Eight)) == 5;
///     (0..256).filter(up).count()
/// };
/// assert_eq!((ups(2.125, DrawRule::Truncated), ups(2.125, DrawRule::Midpoint)), (32, 32));
/// assert_eq!((ups(2.003, DrawRule::Truncated), ups(2.003, DrawRule::Midpoint)), (0, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum DrawRule {
    /// The fraction is cut to the bits of a draw.
    #[default]
    Truncated,
    /// The fraction is rounded to the bits of a draw: each draw stands for the middle of its interval.
    Midpoint,
}

impl DrawRule {
    /// How a draw of that width, below 2^bits, rounds.
    pub const fn round(self, draw: u32, bits: DrawBits) -> Round {
        match self {
            Self::Truncated => Round::Stochastic { draw, bits: bits.bits() },
            // The middle of an interval is a draw of one bit more.
            Self::Midpoint => Round::Stochastic { draw: 2 * draw + 1, bits: bits.bits() + 1 },
        }
    }
}

/// What a key's draws are used for. Two domains never share a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Domain {
    /// Elements with 8-bit draws.
    Element8 = 1,
    /// Elements with 16-bit draws.
    Element16 = 2,
    /// Block scales.
    Scale = 3,
    /// Random signs of a Hadamard rotation.
    Signs = 4,
    /// Outputs of a matrix multiplication.
    GemmOut = 5,
    /// Elements of a column-wise pass with 8-bit draws.
    ColumnPass = 6,
    /// Elements of a column-wise pass with 16-bit draws.
    ColumnPass16 = 7,
    /// Block scales of a column-wise pass.
    ScaleColumnPass = 8,
}

/// Stochastic rounding keyed by logical source coordinates.
///
/// ```text
/// key     = derive(seed, domain, name)
/// counter = (⌊k / n⌋, row, stream, step)     n = 16 draws of 8 bits, or 8 of 16 bits
/// draw    = the (k mod n)-th field of the four words, low field of word 0 first
/// up iff floor(fraction · 2^bits) + draw >= 2^bits      or as another [`DrawRule`] has it
/// ```
///
/// `k` counts along the block axis, `row` over all leading dimensions flattened; both are
/// coordinates in the whole tensor, so a shard with its offsets draws what the whole tensor
/// would. Neither launch shape nor threads nor architecture enter.
///
/// ```
/// use blockscale::numerics::{DrawBits, Stochastic};
/// let whole = Stochastic::new(7, "model.layers.0.mlp.up_proj.weight");
/// let shard = whole.with_offset(128, 32);
/// assert_eq!(shard.draw(0, 1)?, whole.draw(128, 33)?);
/// assert_ne!(whole.draw(0, 0)?, Stochastic::new(8, "model.layers.0.mlp.up_proj.weight").draw(0, 0)?);
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stochastic {
    seed: u64,
    name: u64,
    bits: DrawBits,
    rule: DrawRule,
    stream: u32,
    step: u32,
    row_offset: u64,
    column_offset: u64,
    column_pass: bool,
}

impl Stochastic {
    /// Draws for the tensor `name` under `seed`: 8 bits, stream 0, step 0, no offset.
    pub fn new(seed: u64, name: &str) -> Self {
        Self {
            seed,
            name: fnv1a64(name.as_bytes()),
            bits: DrawBits::Eight,
            rule: DrawRule::Truncated,
            stream: 0,
            step: 0,
            row_offset: 0,
            column_offset: 0,
            column_pass: false,
        }
    }
    /// The same with another width of draw.
    pub const fn with_bits(self, bits: DrawBits) -> Self {
        Self { bits, ..self }
    }
    /// The same draws under another rule.
    ///
    /// ```
    /// use blockscale::format::Format;
    /// use blockscale::numerics::{DrawRule, Profile, Rounding, Stochastic};
    /// use blockscale::Quantize;
    /// let draws = Stochastic::new(7, "x").with_rule(DrawRule::Midpoint);
    /// let quantize = Quantize::new(Profile::default_for(Format::MXFP4));
    /// let q = quantize.rounding(Rounding::Stochastic(draws)).run(&[6.0f32, 0.4995], &[2])?;
    /// assert_eq!(q.dequantize::<f32>(), [6.0, 0.5]); // 511/512 of a step and more always go up
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub const fn with_rule(self, rule: DrawRule) -> Self {
        Self { rule, ..self }
    }
    /// The same in another stream, for instance that of an operand.
    pub const fn with_stream(self, stream: u32) -> Self {
        Self { stream, ..self }
    }
    /// The same at another step, for instance that of a training run.
    pub const fn with_step(self, step: u32) -> Self {
        Self { step, ..self }
    }
    /// The same for a shard whose first element stands at (`row`, `column`) of the whole tensor.
    pub const fn with_offset(self, row: u64, column: u64) -> Self {
        Self { row_offset: row, column_offset: column, ..self }
    }
    /// The same in the domain of column-wise passes, for a transposed tensor: its draws have nothing to do
    /// with those of the tensor itself under the same seed and name. `row` and `k` count in the transposed
    /// tensor, and so do offsets. [`QuantizeBoth`](crate::QuantizeBoth) does this of itself.
    ///
    /// ```
    /// use blockscale::numerics::Stochastic;
    /// let rows = Stochastic::new(7, "x");
    /// assert_ne!(rows.with_column_pass().key(), rows.key());
    /// ```
    pub const fn with_column_pass(self) -> Self {
        Self { column_pass: true, ..self }
    }
    /// The width of a draw.
    pub const fn bits(self) -> DrawBits {
        self.bits
    }
    /// The rule by which a draw rounds up.
    pub const fn rule(self) -> DrawRule {
        self.rule
    }
    /// The stream of the draws.
    pub const fn stream(self) -> u32 {
        self.stream
    }
    /// The step of the draws.
    pub const fn step(self) -> u32 {
        self.step
    }
    /// Column of the shard's first element in the whole tensor.
    pub const fn column_offset(self) -> u64 {
        self.column_offset
    }
    /// Row of the shard's first element in the whole tensor.
    pub const fn row_offset(self) -> u64 {
        self.row_offset
    }

    /// The Philox key of this tensor's elements.
    pub fn key(self) -> [u32; 2] {
        let domain = match (self.bits, self.column_pass) {
            (DrawBits::Eight, false) => Domain::Element8,
            (DrawBits::Sixteen, false) => Domain::Element16,
            (DrawBits::Eight, true) => Domain::ColumnPass,
            (DrawBits::Sixteen, true) => Domain::ColumnPass16,
        };
        derive_key(self.seed, domain, self.name)
    }

    /// The draw of the element at (`row`, `k`) of the shard.
    ///
    /// # Errors
    /// [`Error::Overflow`] where the coordinate does not fit its 32-bit counter word.
    pub fn draw(self, row: u64, k: u64) -> Result<u32> {
        let k = u128::from(k) + u128::from(self.column_offset);
        self.field(self.key(), self.bits, row, k)
    }

    /// The Philox key of this tensor's block scales.
    pub fn scale_key(self) -> [u32; 2] {
        let domain = if self.column_pass { Domain::ScaleColumnPass } else { Domain::Scale };
        derive_key(self.seed, domain, self.name)
    }

    /// The draw, 16 bits whatever those of elements, of the scale at (`row`, `block`) of the shard, blocks of 16
    /// elements along K, for verbs that round scales ([`MsEden`](crate::MsEden)).
    ///
    /// ```text
    /// key     = derive(seed, domain 3 "scale", name)      domain 8 in a column pass
    /// counter = (⌊b / 8⌋, row, stream, step)              b = block + column offset / 16
    /// draw    = the (b mod 8)-th 16 bits of the four words, the low half of word 0 first
    /// ```
    ///
    /// # Errors
    /// [`Error::Overflow`] where the coordinate does not fit its 32-bit counter word.
    ///
    /// ```
    /// use blockscale::numerics::{Stochastic, philox4x32_10};
    /// let draws = Stochastic::new(7, "dy").with_step(41);
    /// let words = philox4x32_10([1, 5, 0, 41], draws.scale_key());
    /// assert_eq!(draws.scale_draw(5, 11)?, words[1] >> 16);
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn scale_draw(self, row: u64, block: u64) -> Result<u32> {
        let block = u128::from(block) + u128::from(self.column_offset / 16);
        self.field(self.scale_key(), DrawBits::Sixteen, row, block)
    }

    /// How the scale at (`row`, `block`) of the shard is rounded.
    pub(crate) fn scale_round(self, row: u64, block: u64) -> Result<Round> {
        Ok(self.rule.round(self.scale_draw(row, block)?, DrawBits::Sixteen))
    }

    /// The field of the draw at `row` of the shard and `k` of the whole tensor.
    fn field(self, key: [u32; 2], bits: DrawBits, row: u64, k: u128) -> Result<u32> {
        let word = |what, value: u128| {
            u32::try_from(value).map_err(|_| Error::Overflow {
                what,
                given: value,
                limit: u32::MAX.into(),
            })
        };
        let per_call = u128::from(bits.per_call());
        let group = word("the column group of a stochastic draw", k / per_call)?;
        let row =
            word("the row of a stochastic draw", u128::from(row) + u128::from(self.row_offset))?;
        let words = philox4x32_10([group, row, self.stream, self.step], key);
        let bit = (k % per_call) as u32 * bits.bits();
        Ok(words[(bit / 32) as usize] >> (bit % 32) & ((1 << bits.bits()) - 1))
    }
}

impl Rounding {
    /// How the element at (`row`, `k`) of the shard is rounded.
    ///
    /// # Errors
    /// [`Error::Overflow`] as [`Stochastic::draw`].
    pub(crate) fn at(self, ties: Ties, row: u64, k: u64) -> Result<Round> {
        match self {
            Self::Nearest => Ok(Round::Nearest(ties)),
            Self::Stochastic(draws) => Ok(draws.rule.round(draws.draw(row, k)?, draws.bits)),
        }
    }
}

/// The Philox key of a (seed, domain, name): a fixed 64-bit hash, low word first.
///
/// ```text
/// key = mix(mix(seed + 9E3779B97F4A7C15 · domain) ^ name)
/// mix(z): z ^= z >> 30, z *= BF58476D1CE4E5B9, z ^= z >> 27, z *= 94D049BB133111EB, z ^= z >> 31
/// name = FNV-1a (64 bits) of the tensor's name in UTF-8
/// ```
pub(super) fn derive_key(seed: u64, domain: Domain, name: u64) -> [u32; 2] {
    let salt = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(domain as u64);
    let key = mix(mix(seed.wrapping_add(salt)) ^ name);
    [key as u32, (key >> 32) as u32]
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub(super) fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published answers of FNV-1a and SplitMix64, whose finalizer `mix` is.
    #[test]
    fn hashes_have_their_known_answers() {
        assert_eq!(fnv1a64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a64(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a64(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(2)), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn key_vectors_are_fixed() {
        let key = |seed, domain, name: &str| derive_key(seed, domain, fnv1a64(name.as_bytes()));
        assert_eq!(key(0, Domain::Element8, ""), KEY_VECTORS[0]);
        assert_eq!(key(0, Domain::Element16, ""), KEY_VECTORS[1]);
        assert_eq!(key(0, Domain::Element8, "a"), KEY_VECTORS[2]);
        assert_eq!(key(u64::MAX, Domain::ColumnPass, "model.weight"), KEY_VECTORS[3]);
        assert_eq!(key(u64::MAX, Domain::ColumnPass16, "model.weight"), KEY_VECTORS[4]);
        assert_eq!(Stochastic::new(0, "a").key(), KEY_VECTORS[2]);
        let columns = Stochastic::new(u64::MAX, "model.weight").with_column_pass();
        assert_eq!(columns.key(), KEY_VECTORS[3]);
        assert_eq!(columns.with_bits(DrawBits::Sixteen).key(), KEY_VECTORS[4]);
        let sixteen = Stochastic::new(0, "").with_bits(DrawBits::Sixteen);
        assert_eq!(sixteen.key(), KEY_VECTORS[1]);
    }

    /// Computed once by an independent program from the formula in [`derive_key`].
    const KEY_VECTORS: [[u32; 2]; 5] = [
        [0x5cdc_3c4c, 0xaebe_53f8],
        [0xac98_496e, 0x7477_a126],
        [0x0dd4_615f, 0x2235_10de],
        [0x3805_5842, 0x0854_a063],
        [0x7d4a_01ab, 0x458f_c7b4],
    ];

    #[test]
    fn draws_walk_the_words_from_the_low_field() {
        let eight = Stochastic::new(3, "w").with_stream(5).with_step(6);
        let words = philox4x32_10([2, 9, 5, 6], eight.key());
        for k in 0..16u64 {
            let byte = words[k as usize / 4].to_le_bytes()[k as usize % 4];
            assert_eq!(eight.draw(9, 32 + k), Ok(u32::from(byte)));
        }
        // A shard draws what the whole does.
        assert_eq!(eight.with_offset(2, 20).draw(7, 12), eight.draw(9, 32));
        let sixteen = eight.with_bits(DrawBits::Sixteen);
        let words = philox4x32_10([4, 9, 5, 6], sixteen.key());
        for k in 0..8u64 {
            let half = words[k as usize / 2] >> (16 * (k % 2)) & 0xffff;
            assert_eq!(sixteen.draw(9, 32 + k), Ok(half));
        }
    }

    #[test]
    fn coordinates_beyond_the_counter_are_refused() {
        let draws = Stochastic::new(0, "w");
        assert!(draws.draw(u64::from(u32::MAX), 16 * u64::from(u32::MAX) + 15).is_ok());
        assert!(matches!(draws.draw(1 << 32, 0), Err(Error::Overflow { .. })));
        assert!(matches!(draws.draw(0, 1 << 36), Err(Error::Overflow { .. })));
        let edge = draws.with_offset(u64::MAX, u64::MAX);
        assert!(matches!(edge.draw(u64::MAX, u64::MAX), Err(Error::Overflow { .. })));
        assert_eq!((edge.row_offset(), edge.column_offset()), (u64::MAX, u64::MAX));
        assert_eq!(draws.bits(), DrawBits::Eight);
        let other = draws.with_stream(4).with_step(5);
        assert_eq!((other.stream(), other.step()), (4, 5));
    }
}
