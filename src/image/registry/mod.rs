//! Registries, by the OCI distribution specification and Docker's older forms of it.
//!
//! | file | what |
//! |---|---|
//! | `settings`, `certificates`, `keys` | what files say: mirrors and plain HTTP, certificates, who we are |
//! | `caller` | who we are, asked of the process that has the files |
//! | `auth` | challenges and the addresses of tokens; pure |
//! | `transport` | what carries requests to one host, and where a server may not lead us |
//! | `http` | one repository at one place: scheme, tokens, retries |
//! | `places` | the same repository at its mirrors and at home |
//! | `growing` | a blob that is unpacked while it comes |
//! | `pull`, `push` | images in and out |

mod auth;
mod caller;
mod certificates;
mod error;
mod growing;
mod http;
mod keys;
mod places;
mod pull;
mod push;
mod settings;
#[cfg(test)]
mod tests;
mod transport;

pub use caller::{Caller, answer};
pub use error::Error;
pub use growing::Verdict;
pub use keys::{Config, Credentials, DockerConfig, Keys, host_of};
pub use pull::{bring, bring_blobs, digest, pull, read_artifact};
pub use push::{Pushed, push, push_parts};
pub use transport::{is_loopback, web_client};

use std::path::PathBuf;
use std::sync::Arc;

use error::Doing;
use http::Client;
use settings::{Endpoint, Settings};

use super::error::Error as ImageError;

/// Runs something asynchronous to its end, on a runtime of its own.
fn run<T>(work: impl AsyncFnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    let runtime = runtime()?;
    let result = runtime.block_on(work());
    runtime.shutdown_background();
    result
}

fn runtime() -> Result<tokio::runtime::Runtime, ImageError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ImageError::Registry(Error::Runtime(error)))
}

fn settings() -> Result<Settings, Error> {
    Settings::read(&|name| std::env::var_os(name).map(PathBuf::from))
}

/// Asks a registry whether it takes these credentials.
pub fn check_login(host: &str, credentials: &Credentials) -> Result<(), ImageError> {
    #[derive(Debug)]
    struct Only(Credentials);
    impl Keys for Only {
        fn find(&self, _: &str) -> Result<Option<Credentials>, Error> {
            Ok(Some(self.0.clone()))
        }
    }
    run(async || {
        let endpoint = Endpoint { repository: String::new(), ..settings()?.of_host(host) };
        let keys: Arc<dyn Keys> = Arc::new(Only(credentials.clone()));
        Client::connect(&endpoint, "", Doing::LogIn, &keys).await?.get("", "*/*", 0).await?;
        Ok(())
    })
}
