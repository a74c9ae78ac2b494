//! Codes: how the elements of a row are packed into bytes.

use crate::error::{Error, Result};
use core::fmt;
use core::marker::PhantomData;

/// A way to pack the codes of one row: [`Bytes`], [`Dense`], [`Raw`] or [`SplitHalves`].
///
/// Rows are packed one by one and start at a whole byte. Unused bits are zero.
pub trait CodeLayout: Packing + Copy + fmt::Debug + 'static {
    /// What it is called in messages.
    const NAME: &'static str;
}

/// The packing itself, kept from callers: it trusts the lengths that it is given.
mod sealed {
    pub trait Packing {
        /// The packing of codes of `bits` bits.
        fn packing(bits: u8) -> super::CodePacking;

        /// Bytes of a row of `k` codes of `bits` bits in blocks of `block`.
        fn row_bytes(k: usize, bits: u8, block: usize) -> crate::Result<usize>;

        /// Packs one code a byte from `codes` into `row` of `row_bytes` bytes.
        fn pack_row(codes: &[u8], bits: u8, block: usize, row: &mut [u8]);

        /// Unpacks `row` into one code a byte.
        fn unpack_row(row: &[u8], bits: u8, block: usize, codes: &mut [u8]);
    }
}
pub(crate) use sealed::Packing;

/// A packing as a value, where the type is known at run time only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum CodePacking {
    /// [`Bytes`].
    Bytes,
    /// [`Dense`]; [`Raw`] is this with 4 bits, and [`Bytes`] otherwise.
    Dense,
    /// [`SplitHalves`].
    SplitHalves,
}

/// One code a byte, in its low bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes;

/// A stream of bits, the low bit of the first code first.
///
/// ```text
/// code k lies in bits [k·bits, (k+1)·bits) of the row, bit i of the row being bit i mod 8 of
/// byte ⌊i/8⌋
/// ```
///
/// With 4 bits this is two a byte, the even element in the low nibble; with 6 bits, four in three
/// bytes (there is no interchange standard for dense FP6: this one is ours).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dense;

/// The raw layout of this crate's files: [`Dense`] for 4-bit codes, [`Bytes`] for all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw;

/// ggml's nibbles: byte j of a block holds element j low and element j + block/2 high.
///
/// 4-bit codes in whole blocks of even length only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitHalves;

impl CodeLayout for Bytes {
    const NAME: &'static str = "bytes";
}

impl Packing for Bytes {
    fn packing(_bits: u8) -> CodePacking {
        CodePacking::Bytes
    }
    fn row_bytes(k: usize, _bits: u8, _block: usize) -> Result<usize> {
        Ok(k)
    }
    fn pack_row(codes: &[u8], _bits: u8, _block: usize, row: &mut [u8]) {
        row.copy_from_slice(codes);
    }
    fn unpack_row(row: &[u8], _bits: u8, _block: usize, codes: &mut [u8]) {
        codes.copy_from_slice(row);
    }
}

impl CodeLayout for Dense {
    const NAME: &'static str = "dense";
}

impl Packing for Dense {
    fn packing(_bits: u8) -> CodePacking {
        CodePacking::Dense
    }
    fn row_bytes(k: usize, bits: u8, _block: usize) -> Result<usize> {
        // In two parts: k · bits need not fit.
        let bits = usize::from(bits);
        Ok(k / 8 * bits + (k % 8 * bits).div_ceil(8))
    }

    fn pack_row(codes: &[u8], bits: u8, _block: usize, row: &mut [u8]) {
        // The widths that formats have are constants to the loop.
        match bits {
            4 => pack(4, codes, row),
            6 => pack(6, codes, row),
            8 => row.copy_from_slice(codes),
            _ => pack(bits, codes, row),
        }
    }

    fn unpack_row(row: &[u8], bits: u8, _block: usize, codes: &mut [u8]) {
        match bits {
            4 => unpack(4, row, codes),
            6 => unpack(6, row, codes),
            8 => codes.copy_from_slice(row),
            _ => unpack(bits, row, codes),
        }
    }
}

/// Eight codes fill `bits` whole bytes.
#[inline(always)]
fn pack(bits: u8, codes: &[u8], row: &mut [u8]) {
    let (eights, tail) = codes.as_chunks::<8>();
    let (whole, last) = row.split_at_mut(eights.len() * usize::from(bits));
    for (eight, bytes) in eights.iter().zip(whole.chunks_exact_mut(bits.into())) {
        let stream = gathered(bits, u64::from_le_bytes(*eight));
        bytes.copy_from_slice(&stream.to_le_bytes()[..bits.into()]);
    }
    let mut eight = [0; 8];
    eight[..tail.len()].copy_from_slice(tail);
    let stream = gathered(bits, u64::from_le_bytes(eight));
    last.copy_from_slice(&stream.to_le_bytes()[..last.len()]);
}

#[inline(always)]
fn unpack(bits: u8, row: &[u8], codes: &mut [u8]) {
    let (eights, tail) = codes.as_chunks_mut::<8>();
    let (whole, last) = row.split_at(eights.len() * usize::from(bits));
    let mut stream = [0; 8];
    for (eight, bytes) in eights.iter_mut().zip(whole.chunks_exact(bits.into())) {
        stream[..bits.into()].copy_from_slice(bytes);
        *eight = spread(bits, u64::from_le_bytes(stream)).to_le_bytes();
    }
    let mut stream = [0; 8];
    stream[..last.len()].copy_from_slice(last);
    let codes = spread(bits, u64::from_le_bytes(stream)).to_le_bytes();
    tail.copy_from_slice(&codes[..tail.len()]);
}

/// The low `bits` bits of eight bytes behind each other: of pairs of bytes, then of their pairs, then of the
/// halves.
#[inline(always)]
fn gathered(bits: u8, bytes: u64) -> u64 {
    let x = bytes & every(8, bits);
    let x = x & every(16, bits) | x >> (8 - bits) & every(16, bits) << bits;
    let x = x & every(32, 2 * bits) | x >> (16 - 2 * bits) & every(32, 2 * bits) << (2 * bits);
    let low = every(64, 4 * bits);
    x & low | x >> (32 - 4 * bits) & low << (4 * bits)
}

/// The inverse of [`gathered`].
#[inline(always)]
fn spread(bits: u8, stream: u64) -> u64 {
    let low = every(64, 4 * bits);
    let x = stream & low | (stream & low << (4 * bits)) << (32 - 4 * bits);
    let low = every(32, 2 * bits);
    let x = x & low | (x & low << (2 * bits)) << (16 - 2 * bits);
    let low = every(16, bits);
    x & low | (x & low << bits) << (8 - bits)
}

/// The low `bits` bits, at most half of them, of each run of `run`; with 8 those of each byte.
#[inline(always)]
const fn every(run: u32, bits: u8) -> u64 {
    let first = (1u64 << bits) - 1;
    match run {
        8 => first * 0x0101_0101_0101_0101,
        16 => first * 0x0001_0001_0001_0001,
        32 => first * 0x0000_0001_0000_0001,
        _ => first,
    }
}

impl CodeLayout for Raw {
    const NAME: &'static str = "raw";
}

impl Packing for Raw {
    fn packing(bits: u8) -> CodePacking {
        if bits == 4 { CodePacking::Dense } else { CodePacking::Bytes }
    }
    fn row_bytes(k: usize, bits: u8, block: usize) -> Result<usize> {
        match bits {
            4 => Dense::row_bytes(k, bits, block),
            _ => Bytes::row_bytes(k, bits, block),
        }
    }
    fn pack_row(codes: &[u8], bits: u8, block: usize, row: &mut [u8]) {
        match bits {
            4 => Dense::pack_row(codes, bits, block, row),
            _ => Bytes::pack_row(codes, bits, block, row),
        }
    }
    fn unpack_row(row: &[u8], bits: u8, block: usize, codes: &mut [u8]) {
        match bits {
            4 => Dense::unpack_row(row, bits, block, codes),
            _ => Bytes::unpack_row(row, bits, block, codes),
        }
    }
}

impl CodeLayout for SplitHalves {
    const NAME: &'static str = "split halves";
}

impl Packing for SplitHalves {
    fn packing(_bits: u8) -> CodePacking {
        CodePacking::SplitHalves
    }
    fn row_bytes(k: usize, bits: u8, block: usize) -> Result<usize> {
        if bits != 4 || !block.is_multiple_of(2) || !k.is_multiple_of(block) {
            return Err(Error::InvalidShape {
                shape: vec![k],
                rule: "split halves take 4-bit codes in whole blocks of even length",
            });
        }
        Ok(k / 2)
    }
    fn pack_row(codes: &[u8], _bits: u8, block: usize, row: &mut [u8]) {
        for (codes, bytes) in codes.chunks(block).zip(row.chunks_mut(block / 2)) {
            let (low, high) = codes.split_at(block / 2);
            for ((byte, low), high) in bytes.iter_mut().zip(low).zip(high) {
                *byte = low | high << 4;
            }
        }
    }
    fn unpack_row(row: &[u8], _bits: u8, block: usize, codes: &mut [u8]) {
        for (codes, bytes) in codes.chunks_mut(block).zip(row.chunks(block / 2)) {
            let (low, high) = codes.split_at_mut(block / 2);
            for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
                (*low, *high) = (byte & 0xf, byte >> 4);
            }
        }
    }
}

/// The codes of a tensor in layout `L`: `rows` rows of `k` codes.
///
/// ```
/// use blockscale::layout::{Bytes, Codes, Dense, SplitHalves};
/// // Two blocks of four 4-bit codes.
/// let bytes = Codes::<Bytes>::new(vec![1, 2, 3, 4, 5, 6, 7, 8], 1, 8, 4, 4)?;
/// assert_eq!(bytes.relayout::<Dense>()?.as_bytes(), [0x21, 0x43, 0x65, 0x87]);
/// assert_eq!(bytes.relayout::<SplitHalves>()?.as_bytes(), [0x31, 0x42, 0x75, 0x86]);
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Codes<L, S = Vec<u8>> {
    bytes: S,
    rows: usize,
    k: usize,
    bits: u8,
    block: usize,
    layout: PhantomData<L>,
}

impl<L: CodeLayout, S: AsRef<[u8]>> Codes<L, S> {
    /// Takes packed codes.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for a width beyond 1 to 8 bits or a block of 0,
    /// [`Error::InvalidShape`] where the layout cannot hold such rows, [`Error::WrongLength`],
    /// [`Error::InvalidTensor`] where a padding bit is set.
    pub fn new(bytes: S, rows: usize, k: usize, bits: u8, block: usize) -> Result<Self> {
        if !(1..=8).contains(&bits) || block == 0 {
            return Err(Error::InvalidValue {
                what: "the width of a code or the length of its block",
                given: format!("{bits} bits, {block} elements"),
                rule: "1 to 8 bits, at least one element",
            });
        }
        let row_bytes = L::row_bytes(k, bits, block)?;
        let expected = row_bytes.checked_mul(rows).ok_or(Error::Overflow {
            what: "the size of the codes",
            given: row_bytes as u128 * rows as u128,
            limit: usize::MAX as u64,
        })?;
        if bytes.as_ref().len() != expected {
            return Err(Error::WrongLength {
                what: "the codes",
                given: bytes.as_ref().len(),
                unit: "bytes",
                shape: vec![rows, k],
                expected,
            });
        }
        let codes = Self { bytes, rows, k, bits, block, layout: PhantomData };
        codes.check_padding()?;
        Ok(codes)
    }

    /// Codes that were packed by this crate.
    pub(crate) fn trusted(bytes: S, rows: usize, k: usize, bits: u8, block: usize) -> Self {
        Self { bytes, rows, k, bits, block, layout: PhantomData }
    }

    /// Packing what was unpacked gives the same bytes unless an unused bit is set.
    fn check_padding(&self) -> Result<()> {
        if self.as_bytes().is_empty() {
            return Ok(()); // and rows or k may be anything
        }
        let mut codes = vec![0; self.k];
        let mut packed = vec![0; self.row_bytes()];
        for row in 0..self.rows {
            self.unpack_row(row, &mut codes);
            if let Some(code) = codes.iter().find(|code| u32::from(**code) >> self.bits != 0) {
                return Err(Error::InvalidTensor {
                    format: format!("{}-bit {}", self.bits, L::NAME),
                    rule: format!("row {row} holds the code {code:#04x}"),
                });
            }
            L::pack_row(&codes, self.bits, self.block, &mut packed);
            if packed != self.row(row) {
                return Err(Error::InvalidTensor {
                    format: format!("{}-bit {}", self.bits, L::NAME),
                    rule: format!("row {row} has padding bits that are not zero"),
                });
            }
        }
        Ok(())
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Codes in a row.
    pub fn k(&self) -> usize {
        self.k
    }
    /// Bits of a code.
    pub fn bits(&self) -> u8 {
        self.bits
    }
    /// The packed codes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }
    /// The packed codes, moved out.
    pub fn into_inner(self) -> S {
        self.bytes
    }
    /// The same codes, borrowed.
    pub fn view(&self) -> Codes<L, &[u8]> {
        Codes::trusted(self.as_bytes(), self.rows, self.k, self.bits, self.block)
    }

    fn row_bytes(&self) -> usize {
        self.as_bytes().len().checked_div(self.rows).unwrap_or(0)
    }
    fn row(&self, row: usize) -> &[u8] {
        let n = self.row_bytes();
        &self.as_bytes()[row * n..(row + 1) * n]
    }

    /// Unpacks a row below [`rows`](Self::rows) into one code a byte; `codes` has
    /// [`k`](Self::k) bytes.
    pub(crate) fn unpack_row(&self, row: usize, codes: &mut [u8]) {
        L::unpack_row(self.row(row), self.bits, self.block, codes);
    }

    /// The same codes in another layout.
    ///
    /// # Errors
    /// [`Error::InvalidShape`] where that layout cannot hold such rows.
    pub fn relayout<M: CodeLayout>(&self) -> Result<Codes<M>> {
        let row_bytes = M::row_bytes(self.k, self.bits, self.block)?;
        let mut bytes = vec![0; row_bytes * self.rows];
        // Of nothing, rows or k may be anything.
        let rows = if bytes.is_empty() { 0 } else { self.rows };
        let mut codes = vec![0; if rows > 0 { self.k } else { 0 }];
        for row in 0..rows {
            self.unpack_row(row, &mut codes);
            let packed = &mut bytes[row * row_bytes..(row + 1) * row_bytes];
            M::pack_row(&codes, self.bits, self.block, packed);
        }
        Ok(Codes::trusted(bytes, self.rows, self.k, self.bits, self.block))
    }
}

impl<L: CodeLayout, S> fmt::Debug for Codes<L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Codes<{}>({} x {}, {} bits)", L::NAME, self.rows, self.k, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bit of the row that bit `bit` of code `k` lies at, straight from the definition.
    fn dense_bit(row: &[u8], bits: u8, k: usize, bit: usize) -> bool {
        let at = k * usize::from(bits) + bit;
        row[at / 8] >> (at % 8) & 1 == 1
    }

    #[test]
    fn packings_are_told_at_run_time() {
        assert_eq!([Raw::packing(4), Raw::packing(6)], [CodePacking::Dense, CodePacking::Bytes]);
        let fixed = [Bytes::packing(4), Dense::packing(8), SplitHalves::packing(4)];
        assert_eq!(fixed, [CodePacking::Bytes, CodePacking::Dense, CodePacking::SplitHalves]);
    }

    #[test]
    fn dense_is_a_stream_of_bits_at_every_width_and_tail() {
        for bits in 1..=8u8 {
            for k in 0..=17 {
                let codes: Vec<u8> =
                    (0..k).map(|i| (i as u8).wrapping_mul(37) & (0xff >> (8 - bits))).collect();
                let mut row = vec![0xff; Dense::row_bytes(k, bits, 1).unwrap()];
                assert_eq!(row.len(), (k * usize::from(bits)).div_ceil(8));
                Dense::pack_row(&codes, bits, 1, &mut row);
                for (i, code) in codes.iter().enumerate() {
                    for bit in 0..usize::from(bits) {
                        assert_eq!(dense_bit(&row, bits, i, bit), code >> bit & 1 == 1);
                    }
                }
                let used = k * usize::from(bits);
                assert!((used..row.len() * 8).all(|at| row[at / 8] >> (at % 8) & 1 == 0));
                let mut unpacked = vec![0; k];
                Dense::unpack_row(&row, bits, 1, &mut unpacked);
                assert_eq!(unpacked, codes);
            }
        }
        assert_eq!(Dense::row_bytes(usize::MAX, 8, 1), Ok(usize::MAX));
    }

    #[test]
    fn layouts_convert_into_each_other() {
        let codes: Vec<u8> = (0..64u8).map(|i| i % 9 * 7 % 16).collect();
        let bytes = Codes::<Bytes>::new(codes, 2, 32, 4, 16).unwrap();
        let dense = bytes.relayout::<Dense>().unwrap();
        let raw = dense.relayout::<Raw>().unwrap();
        assert_eq!(raw.as_bytes(), dense.as_bytes());
        let halves = raw.view().relayout::<SplitHalves>().unwrap();
        assert_ne!(halves.as_bytes(), dense.as_bytes());
        assert_eq!(halves.relayout::<Bytes>().unwrap(), bytes);
        assert_eq!((halves.rows(), halves.k(), halves.bits()), (2, 32, 4));

        let six = Codes::<Bytes>::new((0..40).collect(), 5, 8, 6, 32).unwrap();
        assert_eq!(six.relayout::<Raw>().unwrap().into_inner(), six.as_bytes());
        assert_eq!(six.relayout::<Dense>().unwrap().as_bytes().len(), 5 * 6);
        assert_eq!(format!("{six:?}"), "Codes<bytes>(5 x 8, 6 bits)");
    }

    #[test]
    fn bad_parts_are_refused() {
        assert!(Codes::<Raw>::new(vec![0; 2], 1, 3, 4, 16).is_ok());
        assert!(Codes::<Raw>::new(vec![0, 0x10], 1, 3, 4, 16).is_err(), "padding nibble");
        assert!(Codes::<Bytes>::new(vec![0x40], 1, 1, 6, 16).is_err(), "a seventh bit");
        assert!(Codes::<Raw>::new(vec![0; 3], 1, 3, 4, 16).is_err(), "length");
        assert!(Codes::<Raw>::new(vec![0], 1, 1, 0, 16).is_err(), "width 0");
        assert!(Codes::<Raw>::new(vec![0], 1, 1, 9, 16).is_err(), "width 9");
        assert!(Codes::<Raw>::new(vec![0], 1, 1, 8, 0).is_err(), "block 0");
        assert!(Codes::<Raw>::new(vec![], usize::MAX, 2, 8, 16).is_err(), "overflow");
        let no_rows = Codes::<Raw>::new(vec![], 0, usize::MAX / 2, 8, 16).unwrap();
        assert!(no_rows.relayout::<Bytes>().unwrap().as_bytes().is_empty());
        let no_columns = Codes::<Raw>::new(vec![], usize::MAX / 2, 0, 8, 16).unwrap();
        assert!(no_columns.relayout::<Bytes>().unwrap().as_bytes().is_empty());
        for (k, bits, block) in [(17, 4, 16), (16, 6, 16), (15, 4, 15)] {
            assert!(SplitHalves::row_bytes(k, bits, block).is_err(), "{k} {bits} {block}");
        }
    }
}
