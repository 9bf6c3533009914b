//! Random bytes from the operating system, by aws-lc. Nothing else in this crate is random.

use thiserror::Error;

/// The operating system's random source failed. Nothing secret can be made, so nothing is.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the system's random source failed")]
pub struct NoRandomness;

pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}
