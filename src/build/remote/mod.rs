//! Files from elsewhere: of the web, and repositories.

mod web;

pub use web::Download;

use super::copy::Files;
use super::error::Error;
use super::graph::Repository;
use super::session::Session;

impl Session {
    /// Gets the files of a repository, and the commit that they are of.
    pub fn clone_repository(&self, repository: &Repository) -> Result<(Files, String), Error> {
        Err(Error::Unsupported { what: format!("`{}` cannot be cloned", repository.remote), hint: None })
    }
}
