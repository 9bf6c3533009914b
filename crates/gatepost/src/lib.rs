
pub mod scratch;
