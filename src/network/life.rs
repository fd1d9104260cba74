//! How connections learn that the container or the network to which they belong has gone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::host::mishap::vital;

/// What a connection may still carry after its container has ended: the last bytes of an answer.
const GRACE: Duration = Duration::from_secs(5);

/// Alive until it is dropped.
pub struct Life(watch::Sender<()>);

impl Default for Life {
    fn default() -> Life {
        Life(watch::Sender::new(()))
    }
}

impl Life {
    /// Returns what sees the end of it.
    pub fn ending(&self) -> Ending {
        Ending(self.0.subscribe())
    }
}

/// Sees the end of a [`Life`].
#[derive(Clone)]
pub struct Ending(watch::Receiver<()>);

impl Ending {
    /// Waits for the end.
    pub async fn come(&mut self) {
        while self.0.changed().await.is_ok() {}
    }

    /// Returns whether it has come.
    pub fn has_come(&self) -> bool {
        self.0.has_changed().is_err()
    }

    /// Waits for the end and as long after it as a connection is given to finish.
    pub async fn pass(&mut self) {
        self.come().await;
        tokio::time::sleep(GRACE).await;
    }
}

/// Waits for the end of what may have none.
pub async fn come(ending: Option<Ending>) {
    match ending {
        Some(mut ending) => ending.come().await,
        None => std::future::pending().await,
    }
}

/// The lives of containers, by id.
#[derive(Default)]
pub struct Lives(Mutex<HashMap<String, Life>>);

impl Lives {
    /// Begins a container's life; one under the same id ends.
    pub fn begin(&self, container: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(container.to_owned(), Life::default());
    }

    /// Ends a container's life.
    pub fn end(&self, container: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(container);
    }

    /// Returns what sees the end of a container.
    pub fn ending(&self, container: &str) -> Option<Ending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(container).map(Life::ending)
    }
}

/// A task that ends with this value.
pub struct Task(JoinHandle<()>);

impl Task {
    /// Starts one on the runtime of the caller.
    pub fn start(work: impl Future<Output = ()> + Send + 'static) -> Task {
        // A name server or a way out that is silently gone would be worse than a supervisor that begins anew.
        Task(tokio::spawn(vital(work)))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
