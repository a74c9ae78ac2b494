//! f32 and f64 arithmetic in every rounding direction.
//!
//! The processor rounds to nearest only. Each operation is computed as an f64 value plus the sign
//! of what that value leaves out; from the two any direction follows.

use super::Rounding;

/// An exact real number: `value` plus a residue too small to matter except for its sign.
#[derive(Clone, Copy, Debug)]
pub struct Exact {
    value: f64,
    residue: f64,
}

impl Exact {
    /// The exact sum of two f64 numbers (Knuth's two-sum).
    pub fn sum(a: f64, b: f64) -> Self {
        let value = a + b;
        if !value.is_finite() {
            return Self { value, residue: 0.0 };
        }
        let virtual_b = value - a;
        let residue = (a - (value - virtual_b)) + (b - virtual_b);
        Self { value, residue }
    }

    /// The exact product of two f32 numbers: 48 bits, so f64 holds it.
    pub fn product32(a: f32, b: f32) -> Self {
        Self { value: f64::from(a) * f64::from(b), residue: 0.0 }
    }

    /// The exact `a * b + c` of f32 numbers.
    pub fn fma32(a: f32, b: f32, c: f32) -> Self {
        Self::sum(f64::from(a) * f64::from(b), f64::from(c))
    }

    /// The exact quotient of two f32 numbers.
    pub fn quotient32(a: f32, b: f32) -> Self {
        let (a, b) = (f64::from(a), f64::from(b));
        let value = a / b;
        let residue = if value.is_finite() && b.is_finite() {
            (-value).mul_add(b, a) * b.signum()
        } else {
            0.0
        };
        Self { value, residue }
    }

    /// The exact square root of an f32 number.
    pub fn sqrt32(a: f32) -> Self {
        let value = f64::from(a).sqrt();
        let residue = if value.is_finite() { (-value).mul_add(value, f64::from(a)) } else { 0.0 };
        Self { value, residue }
    }

    /// The f64 that rounds like the exact number in every narrower format: truncated, with its
    /// last bit set if anything was cut off ("round to odd").
    pub fn to_odd(self) -> f64 {
        if self.residue == 0.0 || !self.value.is_finite() {
            return self.value;
        }
        let towards_zero = (self.residue < 0.0) == (self.value > 0.0);
        let bits = if towards_zero && self.value != 0.0 {
            self.value.to_bits() - 1
        } else {
            self.value.to_bits()
        };
        f64::from_bits(bits | 1)
    }

    /// Rounds to f32 once.
    pub fn to_f32(self, rounding: Rounding) -> f32 {
        let odd = self.to_odd();
        let nearest = odd as f32;
        if matches!(rounding, Rounding::Nearest | Rounding::NearestAway) || !odd.is_finite() {
            return nearest;
        }
        let left_out = odd - f64::from(nearest);
        step32(nearest, left_out, rounding)
    }
}

/// Moves a nearest-rounded f32 to its neighbour where the direction asks for it.
fn step32(nearest: f32, left_out: f64, rounding: Rounding) -> f32 {
    let positive = nearest > 0.0 || (nearest == 0.0 && left_out > 0.0);
    let (up, down) = wanted_step(positive, left_out, rounding);
    match (up, down) {
        (true, _) => nearest.next_up(),
        (_, true) => nearest.next_down(),
        _ => nearest,
    }
}

/// Whether the exact value lies on the side of the nearest result that the direction wants.
fn wanted_step(positive: bool, left_out: f64, rounding: Rounding) -> (bool, bool) {
    match rounding {
        Rounding::Up => (left_out > 0.0, false),
        Rounding::Down => (false, left_out < 0.0),
        Rounding::Zero => (!positive && left_out > 0.0, positive && left_out < 0.0),
        Rounding::Nearest | Rounding::NearestAway => (false, false),
    }
}

fn step64(nearest: f64, residue: f64, rounding: Rounding) -> f64 {
    let positive = nearest > 0.0 || (nearest == 0.0 && residue > 0.0);
    let (up, down) = wanted_step(positive, residue, rounding);
    match (up, down) {
        (true, _) => nearest.next_up(),
        (_, true) => nearest.next_down(),
        _ => nearest,
    }
}

/// `a + b` in f32.
pub fn add32(a: f32, b: f32, rounding: Rounding) -> f32 {
    if rounding == Rounding::Nearest {
        return a + b;
    }
    let sum = Exact::sum(f64::from(a), f64::from(b));
    // An exact zero from operands of opposite sign is -0 when rounding down, +0 otherwise.
    if sum.value == 0.0 && a != 0.0 {
        return if rounding == Rounding::Down { -0.0 } else { 0.0 };
    }
    if sum.value == 0.0
        && rounding == Rounding::Down
        && (a.is_sign_negative() || b.is_sign_negative())
    {
        return -0.0;
    }
    sum.to_f32(rounding)
}

/// `a * b` in f32.
pub fn mul32(a: f32, b: f32, rounding: Rounding) -> f32 {
    if rounding == Rounding::Nearest { a * b } else { Exact::product32(a, b).to_f32(rounding) }
}

/// `a * b + c` in f32, rounded once.
pub fn fma32(a: f32, b: f32, c: f32, rounding: Rounding) -> f32 {
    if rounding == Rounding::Nearest {
        return a.mul_add(b, c);
    }
    let exact = Exact::fma32(a, b, c);
    if exact.value == 0.0 && exact.residue == 0.0 && rounding == Rounding::Down {
        let product_negative = a.is_sign_negative() != b.is_sign_negative();
        let both_positive = !product_negative && !c.is_sign_negative() && c == 0.0;
        return if both_positive { 0.0 } else { -0.0 };
    }
    exact.to_f32(rounding)
}

/// `a / b` in f32.
pub fn div32(a: f32, b: f32, rounding: Rounding) -> f32 {
    if rounding == Rounding::Nearest { a / b } else { Exact::quotient32(a, b).to_f32(rounding) }
}

/// The square root in f32.
pub fn sqrt32(a: f32, rounding: Rounding) -> f32 {
    if rounding == Rounding::Nearest { a.sqrt() } else { Exact::sqrt32(a).to_f32(rounding) }
}

/// `a + b` in f64.
pub fn add64(a: f64, b: f64, rounding: Rounding) -> f64 {
    let sum = Exact::sum(a, b);
    if sum.value == 0.0
        && rounding == Rounding::Down
        && (a != 0.0 || a.is_sign_negative() || b.is_sign_negative())
    {
        return -0.0;
    }
    step64(sum.value, sum.residue, rounding)
}

/// `a * b` in f64. Results below 2^-960 are rounded to nearest only: their residue underflows.
pub fn mul64(a: f64, b: f64, rounding: Rounding) -> f64 {
    let value = a * b;
    let residue = if value.is_finite() { a.mul_add(b, -value) } else { 0.0 };
    step64(value, residue, rounding)
}

/// `a / b` in f64.
pub fn div64(a: f64, b: f64, rounding: Rounding) -> f64 {
    let value = a / b;
    let residue =
        if value.is_finite() && b.is_finite() { (-value).mul_add(b, a) * b.signum() } else { 0.0 };
    step64(value, residue, rounding)
}

/// The square root in f64.
pub fn sqrt64(a: f64, rounding: Rounding) -> f64 {
    let value = a.sqrt();
    let residue = if value.is_finite() { (-value).mul_add(value, a) } else { 0.0 };
    step64(value, residue, rounding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_bracket_the_exact_sum() {
        let (a, b) = (1.0f32, 2f32.powi(-30));
        assert_eq!(add32(a, b, Rounding::Zero), 1.0);
        assert_eq!(add32(a, b, Rounding::Down), 1.0);
        assert_eq!(add32(a, b, Rounding::Up), 1.0f32.next_up());
        assert_eq!(add32(-a, -b, Rounding::Zero), -1.0);
        assert_eq!(add32(-a, -b, Rounding::Down), (-1.0f32).next_down());
        assert!(add32(1.0, -1.0, Rounding::Down).is_sign_negative());
        assert!(add32(1.0, -1.0, Rounding::Zero).is_sign_positive());
    }

    #[test]
    fn overflow_stops_at_the_largest_finite_value_when_rounding_inwards() {
        assert_eq!(mul32(f32::MAX, 2.0, Rounding::Zero), f32::MAX);
        assert_eq!(mul32(f32::MAX, 2.0, Rounding::Down), f32::MAX);
        assert_eq!(mul32(f32::MAX, 2.0, Rounding::Up), f32::INFINITY);
        assert_eq!(mul32(f32::MAX, -2.0, Rounding::Up), -f32::MAX);
    }

    #[test]
    fn fma_sees_a_residue_beyond_f64() {
        // 2^60 + 2^-100 needs 161 bits.
        let tiny = 2f32.powi(-50);
        assert_eq!(fma32(tiny, tiny, 2f32.powi(60), Rounding::Up), 2f32.powi(60).next_up());
        assert_eq!(fma32(tiny, -tiny, 2f32.powi(60), Rounding::Zero), 2f32.powi(60).next_down());
    }

    #[test]
    fn division_and_square_root_round_in_their_direction() {
        let third = 1.0f32 / 3.0;
        let (low, high) = (div32(1.0, 3.0, Rounding::Down), div32(1.0, 3.0, Rounding::Up));
        assert!(low <= third && third <= high && low.next_up() == high);
        assert_eq!(div32(1.0, -3.0, Rounding::Zero), -low);
        let (low, high) = (sqrt32(2.0, Rounding::Down), sqrt32(2.0, Rounding::Up));
        assert_eq!(low.next_up(), high);
        assert_eq!(sqrt32(4.0, Rounding::Up), 2.0);
        assert_eq!(div64(1.0, 3.0, Rounding::Down).next_up(), div64(1.0, 3.0, Rounding::Up));
    }
}
