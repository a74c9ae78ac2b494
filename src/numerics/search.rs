//! Scale search: which block scales are tried beside that of the rule.

use super::knobs::Search;
use super::{BlockScale, BlockStatistics, Profile, ScaleChoice, TensorFactors};

impl Search {
    /// How many codes above and below that of the rule are tried. Eight are a factor of 2 where scales
    /// have three mantissa bits.
    pub(crate) const fn reach(self) -> [u8; 2] {
        match self {
            Self::Sweep => [8, 8],
            Self::Clip => [0, 2],
            _ => [0, 0],
        }
    }

    /// Whether errors are Σ w · (decoded − x)².
    pub(crate) const fn is_weighted(self) -> bool {
        matches!(self, Self::Sweep | Self::Clip)
    }
}

impl Profile {
    /// The scales that are tried beside `first`, which is that of the rule: the largest first.
    pub(crate) fn candidates(
        &self,
        tensor: &TensorFactors,
        block: BlockStatistics,
        first: BlockScale,
    ) -> Vec<BlockScale> {
        match self.search {
            Search::FourOverSixMse | Search::FourOverSixMae | Search::FourOverSixAbsmax => {
                match self.stretched_block_scale(tensor, block, 1.5) {
                    ScaleChoice::Scale(four) => vec![four],
                    ScaleChoice::Dead(_) => Vec::new(),
                }
            }
            search => {
                let (least, most) = self.searched_codes();
                let [above, below] = search.reach();
                let lowest = first.code.saturating_sub(below).max(least);
                let highest = first.code.saturating_add(above).min(most);
                let codes = (lowest..=highest).rev().filter(|code| *code != first.code);
                codes.map(|code| self.stored_scale(code)).collect()
            }
        }
    }

    /// The codes of the smallest positive and the largest finite scale.
    pub(crate) fn searched_codes(&self) -> (u8, u8) {
        self.format().scale().float().map_or((0, 254), |float| (1, float.max_code()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    /// The codes tried beside `first`.
    fn tried(format: &str, profile: &str, first: u8) -> Vec<u8> {
        let profile = Profile::parse(format.parse::<Format>().unwrap(), profile).unwrap();
        let block = BlockStatistics { amax: 1.0, std: 0.0 };
        let tensor = profile.tensor_factors(1.0);
        let scales = profile.candidates(&tensor, block, profile.stored_scale(first));
        assert!(scales.iter().all(|scale| scale.value > 0.0 && scale.value.is_finite()));
        scales.into_iter().map(|scale| scale.code).collect()
    }

    #[test]
    fn candidates_are_positive_and_finite_and_the_largest_comes_first() {
        let nvfp4 = |first| tried("nvfp4", "transformer-engine+search=sweep", first);
        let both_sides = [58, 57, 56, 55, 54, 53, 52, 51, 49, 48, 47, 46, 45, 44, 43, 42];
        assert_eq!(nvfp4(50), both_sides);
        assert_eq!(nvfp4(0), [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(nvfp4(3), [11, 10, 9, 8, 7, 6, 5, 4, 2, 1]);
        assert_eq!(nvfp4(0x7e), [0x7d, 0x7c, 0x7b, 0x7a, 0x79, 0x78, 0x77, 0x76]);
        let ue5m3 = tried("fp4-ue5m3", "direct+search=sweep", 0xfc);
        assert_eq!(ue5m3, [0xfe, 0xfd, 0xfb, 0xfa, 0xf9, 0xf8, 0xf7, 0xf6, 0xf5, 0xf4]);
        let mxfp4 = |search, first| tried("mxfp4", &format!("ocp+search={search}"), first);
        assert_eq!(mxfp4("sweep", 0), [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(mxfp4("sweep", 252), [254, 253, 251, 250, 249, 248, 247, 246, 245, 244]);
        assert_eq!(mxfp4("clip", 100), [99, 98]);
        assert_eq!(mxfp4("clip", 1), [0]);
        assert_eq!(mxfp4("clip", 0), [0; 0]);
        assert_eq!(mxfp4("none", 100), [0; 0]);
        // ggml's byte can wrap to 255.
        assert_eq!(tried("mxfp4", "ggml+search=clip", 255), [254, 253]);
    }
}
