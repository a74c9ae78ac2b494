//! Sums in a stated order, so that every backend gets the same bits.

/// The sum of a power-of-two number of terms, folded in halves.
///
/// ```text
/// while n > 1:  n /= 2;  term[i] = fl(term[i] + term[i + n])  for i < n
/// ```
pub(crate) fn fold_in_halves(mut terms: &mut [f32]) -> f32 {
    debug_assert!(terms.len().is_power_of_two());
    while let [_, _, ..] = terms {
        let (low, high) = terms.split_at_mut(terms.len() / 2);
        for (a, b) in low.iter_mut().zip(high) {
            *a += *b;
        }
        terms = low;
    }
    terms[0]
}

/// [`fold_in_halves`] of any number of terms, padded with +0 to a power of two.
pub(crate) fn folded_sum(terms: impl Iterator<Item = f32>) -> f32 {
    let mut terms: Vec<f32> = terms.collect();
    terms.resize(terms.len().next_power_of_two(), 0.0);
    fold_in_halves(&mut terms)
}

/// The sum in index order.
pub(crate) fn ordered_sum(terms: impl Iterator<Item = f32>) -> f32 {
    terms.fold(0.0, |sum, term| sum + term)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_the_stated_one() {
        let big = 16_777_216.0; // 2^24: adding 1 is lost
        assert_eq!(folded_sum([big, 1.0, 1.0, 1.0].into_iter()), (big + 1.0) + (1.0 + 1.0));
        assert_eq!(folded_sum([big, 1.0, 1.0].into_iter()), (big + 1.0) + (1.0 + 0.0));
        assert_eq!(ordered_sum([1.0, 1.0, 1.0, big].into_iter()), 16_777_220.0);
        assert_eq!(ordered_sum([big, 1.0, 1.0, 1.0].into_iter()), big);
        assert_eq!(folded_sum([1.0, 2.0, 4.0, 8.0, 16.0].into_iter()), 31.0);
    }
}
