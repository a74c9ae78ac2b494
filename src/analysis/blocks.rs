//! Block by block: what the scales did, and how peaked the blocks are.

use super::errors::share;
use crate::Real;

/// Counts over the blocks of a tensor: clipping, scales that became zero, crest factors.
///
/// A block here lies within a row, also where [tiles](crate::Blocks::Tile) share their scales.
///
/// ```text
/// limit   = the decoded value of the element's largest code in that block
/// clipped = finite x with |x| > (1 + 2⁻²⁰) · limit      the slack is the rounding of f32 scales
/// zeroed  = blocks with an x that is not 0, whose limit is 0
/// crest   = max |x| / √(mean x²)                        of finite blocks that are not zero
/// ```
///
/// The elements of a zeroed block count as flushed, not as clipped. A last block that the row
/// does not fill has the elements it has. **NaN and Inf**: such elements are never clipped, and a
/// block that holds one has no crest factor.
///
/// ```
/// use blockscale::analysis::BlockCounts;
/// let mut blocks = BlockCounts::default();
/// blocks.add(&[8.0f32, 0.0, 0.0, 0.0], 6.0);
/// blocks.add(&[1.0f32, -1.0, 1.0, 1.0], 0.0);
/// assert_eq!((blocks.clipped_share(), blocks.zeroed_share()), (0.125, 0.5));
/// assert_eq!(blocks.mean_crest(), 1.5); // 8 / √16 and 1 / 1
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BlockCounts {
    finite: u64,
    clipped: u64,
    nonzero: u64,
    zeroed: u64,
    crests: u64,
    crest: f64,
}

impl BlockCounts {
    /// Takes in one block whose largest representable magnitude is `limit`.
    pub fn add<T: Real>(&mut self, block: &[T], limit: f32) {
        let values = block.iter().map(|x| x.to_f32());
        let bound = f64::from(limit) * (1.0 + 2f64.powi(-20));
        let clips = |x: f32| limit != 0.0 && x.is_finite() && f64::from(x.abs()) > bound;
        self.finite += values.clone().filter(|x| x.is_finite()).count() as u64;
        self.clipped += values.clone().filter(|x| clips(*x)).count() as u64;
        if values.clone().any(|x| x != 0.0) {
            self.nonzero += 1;
            self.zeroed += u64::from(limit == 0.0);
        }
        if let Some(crest) = crest_factor(block) {
            self.crests += 1;
            self.crest += crest;
        }
    }

    /// Takes in other blocks.
    pub fn merge(&mut self, other: &Self) {
        self.finite += other.finite;
        self.clipped += other.clipped;
        self.nonzero += other.nonzero;
        self.zeroed += other.zeroed;
        self.crests += other.crests;
        self.crest += other.crest;
    }

    /// Share of the finite elements that are clipped; 0 of nothing.
    pub fn clipped_share(&self) -> f64 {
        share(self.clipped, self.finite)
    }
    /// Share of the blocks that are not all zero whose scale is; 0 of nothing.
    pub fn zeroed_share(&self) -> f64 {
        share(self.zeroed, self.nonzero)
    }
    /// Mean crest factor; 0 of nothing, at least 1 otherwise.
    pub fn mean_crest(&self) -> f64 {
        self.crest / self.crests.max(1) as f64
    }
}

/// The crest factor of a block, max |x| / √(mean x²): 1 where all magnitudes are equal, √n where
/// only one value is not 0. `None` where all are 0, or where one is NaN or Inf.
///
/// ```
/// use blockscale::analysis::crest_factor;
/// assert_eq!(crest_factor(&[0.0f32, -3.0, 0.0, 0.0]), Some(2.0));
/// assert_eq!(crest_factor(&[0.0f32; 16]), None);
/// ```
pub fn crest_factor<T: Real>(block: &[T]) -> Option<f64> {
    let values = block.iter().map(|x| f64::from(x.to_f32()));
    if !values.clone().all(f64::is_finite) {
        return None;
    }
    let max = values.clone().fold(0.0, |max: f64, x| max.max(x.abs()));
    let energy: f64 = values.map(|x| x * x).sum();
    (max > 0.0).then(|| max / (energy / block.len() as f64).sqrt())
}
