//! Fresh container namespaces, made before they are needed.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, mpsc};

use super::error::Error;
use super::hopper::Hopper;
use super::namespace;

/// A thread that makes namespaces, and what it has made.
pub struct Pool {
    hopper: Hopper,
    made: mpsc::UnboundedSender<Result<OwnedFd, Error>>,
    ready: Mutex<mpsc::UnboundedReceiver<Result<OwnedFd, Error>>>,
    /// How many are ordered and not taken.
    ordered: AtomicUsize,
}

impl Pool {
    /// Starts the thread. A second one beside that for networks is worth while; more would wait for one lock.
    pub fn start() -> Result<Pool, Error> {
        let (made, ready) = mpsc::unbounded_channel();
        let hopper = Hopper::start("namespaces")?;
        Ok(Pool { hopper, made, ready: Mutex::new(ready), ordered: AtomicUsize::new(0) })
    }

    /// Orders as many as are missing to this number.
    pub fn reserve(&self, count: usize) -> Result<(), Error> {
        while self.ordered.load(Ordering::Acquire) < count {
            self.order()?;
        }
        Ok(())
    }

    fn order(&self) -> Result<(), Error> {
        let made = self.made.clone();
        self.hopper.send(move || {
            // Nobody wants it any more when the pool is gone.
            let _ = made.send(namespace::for_container());
        })?;
        self.ordered.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Returns one, at once when it was reserved.
    pub async fn take(&self) -> Result<OwnedFd, Error> {
        // Ordered before waiting for others who wait, so that all are under way.
        if self
            .ordered
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |ordered| ordered.checked_sub(1))
            .is_err()
        {
            self.order()?;
            self.ordered.fetch_sub(1, Ordering::AcqRel);
        }
        self.ready.lock().await.recv().await.unwrap_or(Err(Error::ThreadGone))
    }
}
