//! What is fetched from elsewhere for a build: repositories, files and archives of the web, an archive on standard input.

mod context;
pub mod git;
mod web;

pub use context::Brought;
pub use web::Download;
