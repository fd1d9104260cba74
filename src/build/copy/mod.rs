//! `COPY` and `ADD`: files come into a layer.
//!
//! ```text
//! Files ── select::take ─▶ Taken ── place::put ─▶ Draft ─▶ the upper directory, which is the layer
//!                                                └ previous: files that are as they were last time
//! ```
//!
//! The rules are BuildKit's, down to what it creates on the way and whose attributes it keeps. [`files`] and `draft`
//! are the two ends: neither ever follows a symbolic link out of its root.

pub mod digest;
mod draft;
mod error;
pub mod files;
mod mode;
mod place;
mod previous;
pub mod select;
#[cfg(test)]
mod tests;

pub use draft::{Draft, Making, Seen};
pub use error::Error;
pub(super) use error::failed;
pub use files::{Files, Owners};
pub use mode::Change;
pub use place::{How, put, put_file};
pub use previous::{Placed, Previous};
pub use select::{Item, Taken, Wanted, is_there, near, take};
