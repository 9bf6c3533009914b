//! `gatepost demo`: a scratch database behind a gate, to look at.

#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("this build has no demo yet")]
    NotBuilt,
}

/// Runs the demo; with `check` it asserts each step's result and ends.
pub(crate) fn run(check: bool) -> Result<(), DemoError> {
    let _ = check;
    Err(DemoError::NotBuilt)
}
