//! Hadamard rotations of blocks: their size, their signs, and how signs are drawn.

use super::philox4x32_10;
use super::rounding::{Domain, derive_key, fnv1a64};
use crate::error::{Error, Result};
use core::f32::consts::FRAC_1_SQRT_2;

/// An orthogonal rotation of blocks of 16, 32, 64, 128 or 256 values: signs, then a Hadamard
/// transform.
///
/// ```text
/// forward  y = fl(H(s ⊙ x) · c)       c = fl(1/√size), s: one sign of ±1 a value
/// inverse  x = s ⊙ fl(H(y) · c)
/// H        for stride 1, 2, 4, …, size/2: (a, b) → (fl(a + b), fl(a − b)) for all i without the bit
///          `stride`, a = v[i], b = v[i + stride]
/// ```
///
/// H is Sylvester's matrix, symmetric, with (−1)^popcount(i & j) at (i, j). All is f32, rounded to
/// nearest even; a sign flips the sign bit. A sum that overflows is ±Inf, and a difference of such
/// sums NaN, even where the result would have been finite. 1/√32 and 1/√128 are no f32: rotations of
/// 32 and 128 values change a vector's length by up to 2e-8 of it.
///
/// ```
/// use blockscale::numerics::Hadamard;
/// let plain = Hadamard::new(64)?;
/// assert_eq!((plain.size(), plain.scale(), plain.sign(3)), (64, 0.125, 1.0));
/// let drawn = plain.with_drawn_signs(7, "model.layers.0");
/// assert_eq!(drawn.sign_mask(), [0x03d5_54df_02f9_b3a1, 0, 0, 0]);
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hadamard {
    size: usize,
    /// Bit i set: sign i is −1.
    signs: [u64; 4],
    /// Whether they were drawn.
    drawn: bool,
    to_bf16: bool,
}

impl Hadamard {
    /// The sizes there are.
    pub const SIZES: [usize; 5] = [16, 32, 64, 128, 256];

    /// The rotation of TransformerEngine (d0067d0): blocks of 16 with its fixed signs, the result
    /// rounded to bf16.
    ///
    /// TransformerEngine multiplies by the matrix on tensor cores, whose order of sums is not
    /// specified and not reproduced here: where sums round, the bf16 values can differ from its own.
    pub const TRANSFORMER_ENGINE: Self =
        Self { size: 16, signs: [0xd7e8, 0, 0, 0], drawn: false, to_bf16: true };

    /// The rotation without signs.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for any size but those of [`SIZES`](Self::SIZES).
    pub fn new(size: usize) -> Result<Self> {
        match Self::SIZES.contains(&size) {
            true => Ok(Self { size, signs: [0; 4], drawn: false, to_bf16: false }),
            false => Err(Error::InvalidValue {
                what: "the size of a Hadamard rotation",
                given: size.to_string(),
                rule: "16, 32, 64, 128 or 256",
            }),
        }
    }

    /// The same with these signs, 1 or −1 each.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for another number of signs than the size, or a sign that is neither.
    ///
    /// ```
    /// use blockscale::numerics::Hadamard;
    /// let mut signs = [1; 16];
    /// signs[4] = -1;
    /// assert_eq!(Hadamard::new(16)?.with_signs(&signs)?.sign_mask(), [0x10, 0, 0, 0]);
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn with_signs(self, signs: &[i8]) -> Result<Self> {
        if signs.len() != self.size {
            return Err(Error::InvalidValue {
                what: "the number of signs",
                given: format!("{} for a rotation of {}", signs.len(), self.size),
                rule: "a rotation has one sign a value",
            });
        }
        let mut mask = [0; 4];
        for (i, sign) in signs.iter().enumerate() {
            match sign {
                1 => {}
                -1 => mask[i / 64] |= 1 << (i % 64),
                _ => {
                    return Err(Error::InvalidValue {
                        what: "a sign of a rotation",
                        given: format!("{sign} at {i}"),
                        rule: "1 or -1",
                    });
                }
            }
        }
        Ok(Self { signs: mask, drawn: false, ..self })
    }

    /// The same with signs as bits: bit i mod 64 of word ⌊i/64⌋ set for −1.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] where a bit is set at or beyond the size.
    pub fn with_sign_mask(self, mask: [u64; 4]) -> Result<Self> {
        match mask == within(self.size, mask) {
            true => Ok(Self { signs: mask, drawn: false, ..self }),
            false => Err(Error::InvalidValue {
                what: "the mask of the signs",
                given: format!("{mask:#x?} for a rotation of {}", self.size),
                rule: "bits at and beyond the size are 0",
            }),
        }
    }

    /// The same with signs drawn for `name` under `seed`, at step 0 of
    /// [`with_signs_drawn_at`](Self::with_signs_drawn_at).
    pub fn with_drawn_signs(self, seed: u64, name: &str) -> Self {
        self.with_signs_drawn_at(seed, name, 0)
    }

    /// The same with signs drawn for `name` under `seed`, at `step`, for instance that of a training
    /// run.
    ///
    /// ```text
    /// key     = derive(seed, domain 4 "signs", name)   as that of stochastic rounding
    /// counter = (⌊i/128⌋, 0, 0, step)
    /// sign i  = −1 iff bit (i mod 32) of word ⌊(i mod 128)/32⌋ of Philox4x32-10 is set
    /// ```
    ///
    /// The first 16 signs of a rotation of 256 are those of one of 16.
    ///
    /// ```
    /// use blockscale::numerics::Hadamard;
    /// let all = Hadamard::new(256)?.with_drawn_signs(7, "model.layers.0");
    /// let first = Hadamard::new(16)?.with_drawn_signs(7, "model.layers.0");
    /// assert_eq!(first.sign_mask()[0], all.sign_mask()[0] & 0xffff);
    /// assert_ne!(all, all.with_signs_drawn_at(7, "model.layers.0", 1));
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn with_signs_drawn_at(self, seed: u64, name: &str, step: u32) -> Self {
        let key = derive_key(seed, Domain::Signs, fnv1a64(name.as_bytes()));
        let [a, b] = [0, 1].map(|call| {
            let words = philox4x32_10([call, 0, 0, step], key).map(u64::from);
            [words[0] | words[1] << 32, words[2] | words[3] << 32]
        });
        Self { signs: within(self.size, [a[0], a[1], b[0], b[1]]), drawn: true, ..self }
    }

    /// The same with the values of the forward rotation rounded to bf16 before anything else sees
    /// them; the inverse does not round so.
    pub const fn rounded_to_bf16(self) -> Self {
        Self { to_bf16: true, ..self }
    }

    /// Values of a block.
    pub const fn size(self) -> usize {
        self.size
    }
    /// The factor c: the f32 nearest to 1/√size.
    pub const fn scale(self) -> f32 {
        match self.size {
            16 => 0.25,
            32 => 0.25 * FRAC_1_SQRT_2,
            64 => 0.125,
            128 => 0.125 * FRAC_1_SQRT_2,
            _ => 0.0625,
        }
    }
    /// The signs: bit i mod 64 of word ⌊i/64⌋ set for −1.
    pub const fn sign_mask(self) -> [u64; 4] {
        self.signs
    }
    /// Whether the signs were drawn, by whatever seed, rather than given or left out: estimates that are right
    /// on average over signs ask for it. It is part of equality.
    ///
    /// ```
    /// use blockscale::numerics::Hadamard;
    /// let drawn = Hadamard::new(128)?.with_drawn_signs(7, "x");
    /// assert!(drawn.has_drawn_signs());
    /// assert!(!drawn.with_sign_mask(drawn.sign_mask())?.has_drawn_signs());
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub const fn has_drawn_signs(self) -> bool {
        self.drawn
    }
    /// Sign i of a block, 1 or −1; signs repeat from block to block.
    pub const fn sign(self, i: usize) -> f32 {
        let i = i % self.size;
        if self.signs[i / 64] >> (i % 64) & 1 == 0 { 1.0 } else { -1.0 }
    }
    /// Whether the values of the forward rotation are rounded to bf16.
    pub const fn is_rounded_to_bf16(self) -> bool {
        self.to_bf16
    }
}

/// The bits of a mask below `size`.
fn within(size: usize, mask: [u64; 4]) -> [u64; 4] {
    core::array::from_fn(|word| match size.saturating_sub(64 * word) {
        bits @ 0..64 => mask[word] & ((1 << bits) - 1),
        _ => mask[word],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_the_nearest_f32() {
        for size in Hadamard::SIZES {
            let exact = 1.0 / (size as f64).sqrt();
            assert_eq!(Hadamard::new(size).unwrap().scale(), exact as f32, "{size}");
        }
    }

    /// Computed once by an independent program from the formula at `with_signs_drawn_at`.
    #[test]
    fn drawn_signs_are_fixed() {
        let vectors = [
            (
                (0, "", 0),
                [0x5560_c2d4_b634_b755, 0x6968_93b7_9716_da2a],
                [0x45a8_8f12_101a_634a, 0xea23_33f1_adf7_aceb],
            ),
            (
                (u64::MAX, "a", 0),
                [0x7690_d773_5677_989e, 0xa0ef_3893_91d0_f26d],
                [0x2900_0e72_0f5f_4a6a, 0x40ba_a81d_7374_be82],
            ),
            (
                (7, "model.layers.0", 5),
                [0xd7ef_03ff_0d28_759b, 0xc1ab_5c24_dfc5_31d9],
                [0x5e35_88f9_d1e1_00da, 0xbc60_c3d2_faa4_078b],
            ),
        ];
        for ((seed, name, step), [a, b], [c, d]) in vectors {
            let drawn =
                |size| Hadamard::new(size).unwrap().with_signs_drawn_at(seed, name, step).signs;
            assert_eq!(drawn(256), [a, b, c, d]);
            assert_eq!(drawn(128), [a, b, 0, 0]);
            assert_eq!(drawn(64), [a, 0, 0, 0]);
            assert_eq!(drawn(32), [a & 0xffff_ffff, 0, 0, 0]);
            assert_eq!(drawn(16), [a & 0xffff, 0, 0, 0]);
        }
    }

    #[test]
    fn masks_are_signs() {
        let te = Hadamard::TRANSFORMER_ENGINE;
        let signs = [1, 1, 1, -1, 1, -1, -1, -1, -1, -1, -1, 1, -1, 1, -1, -1];
        let given = Hadamard::new(16).unwrap().with_signs(&signs).unwrap();
        assert_eq!((given.signs, given.rounded_to_bf16()), (te.signs, te));
        assert!(signs.iter().enumerate().all(|(i, sign)| te.sign(i) == f32::from(*sign)));
        assert_eq!(te.sign(16 + 3), te.sign(3));
        assert!(te.is_rounded_to_bf16() && !given.is_rounded_to_bf16());

        let mask = [1, 2, 4, 1 << 63];
        let masked = Hadamard::new(256).unwrap().with_sign_mask(mask).unwrap();
        assert_eq!(masked.sign_mask(), mask);
        let negative: Vec<_> = (0..256).filter(|i| masked.sign(*i) < 0.0).collect();
        assert_eq!(negative, [0, 65, 130, 255]);
    }

    #[test]
    fn what_is_no_rotation_is_refused() {
        for size in [0, 1, 8, 15, 48, 512, usize::MAX] {
            assert!(Hadamard::new(size).is_err(), "{size}");
        }
        for size in Hadamard::SIZES {
            let plain = Hadamard::new(size).unwrap();
            assert!(plain.with_signs(&vec![1; size - 1]).is_err());
            assert!(plain.with_signs(&vec![1; size + 1]).is_err());
            let mut signs = vec![-1; size];
            assert_eq!(plain.with_signs(&signs).unwrap().signs, within(size, [u64::MAX; 4]));
            for sign in [0, 2, i8::MIN] {
                signs[size - 1] = sign;
                assert!(plain.with_signs(&signs).is_err());
            }
            let beyond = |bit: usize| {
                let mut mask = [0; 4];
                mask[bit / 64] = 1 << (bit % 64);
                plain.with_sign_mask(mask)
            };
            assert!(beyond(size - 1).is_ok());
            assert!(size == 256 || beyond(size).is_err());
            assert!(size == 256 || beyond(255).is_err());
        }
    }
}
