//! Checks on how threads use shared memory.

pub(crate) mod race;
