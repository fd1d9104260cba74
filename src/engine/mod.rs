//! engine.

pub mod health;
pub mod lifecycle;
