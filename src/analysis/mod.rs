//! What quantization did to a tensor, measured and predicted.
//!
//! [`Metrics`] measures a [`QuantizedTensor`](crate::QuantizedTensor) against its original;
//! [`Errors`] and [`RowErrors`] compare any two slices, such as the result of [`simulate`].
//! [`Grid`] has the least error of a Gaussian in closed form; [`integer_qsnr`] and [`float_qsnr`]
//! predict a block's QSNR from its crest factor. [`ChosenRounding`] shows between which codes elements lie, and
//! rounds them as one is told. [`DoubleRounding`] tells what a switch to fewer bits costs, and
//! [`ScaleConstraint`] holds scales to powers of two.

mod blocks;
mod constraint;
mod double_rounding;
mod errors;
mod grid;
mod metrics;
mod neighbours;
mod normal;
mod rows;
mod simulate;
mod theory;

pub use blocks::{BlockCounts, crest_factor};
pub use constraint::{ScaleConstraint, exact_shift, simulate_constrained};
pub use double_rounding::DoubleRounding;
pub use errors::Errors;
pub use grid::{Grid, Optimum};
pub use metrics::Metrics;
pub use neighbours::{ChosenRounding, Neighbours};
pub use rows::RowErrors;
pub use simulate::simulate;
pub use theory::{ScaleModel, crossover, float_qsnr, integer_qsnr};

use crate::error::{Error, Result};

/// The decoded values must be as many as the original ones.
fn check_lengths(x: usize, y: usize) -> Result<()> {
    match x == y {
        true => Ok(()),
        false => Err(Error::WrongLength {
            what: "the original",
            given: x,
            unit: "elements",
            shape: vec![y],
            expected: y,
        }),
    }
}

/// `elements` must be whole rows of `k`.
fn check_rows(elements: usize, k: usize) -> Result<()> {
    let rows = elements.checked_div(k).unwrap_or(0);
    match rows * k == elements {
        true => Ok(()),
        false => Err(Error::WrongLength {
            what: "the input",
            given: elements,
            unit: "elements",
            shape: vec![rows, k],
            expected: rows * k,
        }),
    }
}
