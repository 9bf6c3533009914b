//! The promise that nothing outside the policies passes and nothing inside is refused, played with a
//! real server: how refusals look in every place, what names mean and when, and every way we know
//! to run a statement that may not run.

pub mod stand;

mod attacks;
mod names;
mod refusals;
mod shapes;
mod spelled;
mod steps;
