//! One repository at all the places where it can be read: its mirrors, then home.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Response;
use tokio::sync::OnceCell;

use super::error::{Broken, Doing, Error, Everywhere};
use super::http::Client;
use super::keys::Keys;
use super::settings::{Endpoint, Settings};
use crate::image::reference::Reference;

/// The places, in the order in which they are asked. One that failed is not asked again.
pub struct Places {
    places: Vec<Place>,
    image: String,
    keys: Arc<dyn Keys>,
    /// The first that has not failed.
    current: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

struct Place {
    endpoint: Endpoint,
    /// Prepared when it is needed.
    client: OnceCell<Client>,
}

impl Places {
    /// Finds out where a reference can be read.
    pub fn of(reference: &Reference, settings: &Settings, keys: &Arc<dyn Keys>) -> Result<Places, Error> {
        let route = settings.route(reference)?;
        let endpoints = route.mirrors.into_iter().chain([route.origin]);
        Ok(Places {
            places: endpoints.map(|endpoint| Place { endpoint, client: OnceCell::new() }).collect(),
            image: reference.familiar(),
            keys: Arc::clone(keys),
            current: AtomicUsize::new(0),
            failures: Mutex::new(Vec::new()),
        })
    }

    /// Gets `path` of the repository from the first place that gives it. See [`Client::get`].
    pub async fn get(&self, path: &str, accept: &str, from: u64) -> Result<Response, Error> {
        loop {
            let number = self.current.load(Ordering::Relaxed);
            let error = match self.client(number).await {
                Ok(client) => match client.get(path, accept, from).await {
                    Ok(response) => return Ok(response),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if self.is_home(number) {
                return Err(self.with_failures(error));
            }
            self.give_up(number, &error);
        }
    }

    /// Makes the error of a connection that broke in the middle of a body; a mirror that does so is left.
    pub fn broken(&self, source: Broken) -> Result<(), Error> {
        let number = self.current.load(Ordering::Relaxed);
        let host = self.places[number].endpoint.host.clone();
        let error = Error::Unreachable { host, source };
        if self.is_home(number) {
            return Err(self.with_failures(error));
        }
        self.give_up(number, &error);
        Ok(())
    }

    async fn client(&self, number: usize) -> Result<&Client, Error> {
        let Place { endpoint, client } = &self.places[number];
        let home = self.is_home(number);
        client
            .get_or_try_init(|| async {
                let client = Client::connect(endpoint, &self.image, Doing::Read, &self.keys).await?;
                Ok(if home { client } else { client.hasty() })
            })
            .await
    }

    fn is_home(&self, number: usize) -> bool {
        number + 1 >= self.places.len()
    }

    fn give_up(&self, number: usize, error: &Error) {
        // Of several requests that fail at once the first one moves on.
        let moved =
            self.current.compare_exchange(number, number + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if moved {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            failures.push(error.to_string());
        }
    }

    fn with_failures(&self, last: Error) -> Error {
        let mirrors = self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if mirrors.is_empty() {
            return last;
        }
        Error::Everywhere(Everywhere { last: Box::new(last), mirrors })
    }
}
