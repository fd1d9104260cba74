//! What is fetched from elsewhere for a build.

pub mod git;
