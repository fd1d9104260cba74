//! The thread that works inside network namespaces.
//!
//! A thread that left the host's network namespace cannot come back from within a child user namespace (`EPERM`), so
//! no thread of the runtime may ever do it. This one hops from namespace to namespace and does there what has to be
//! done there, above all making sockets: a socket stays where it was made, whoever uses it later.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::thread;

use nix::sched::{CloneFlags, setns};
use tokio::sync::oneshot;

use super::error::Error;

type Job = Box<dyn FnOnce() + Send>;

/// A handle on the thread, which ends with the last handle.
#[derive(Clone)]
pub struct Hopper {
    jobs: mpsc::Sender<Job>,
}

impl Hopper {
    /// Starts the thread.
    pub fn start(name: &'static str) -> Result<Hopper, Error> {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name(name.to_owned())
            .stack_size(256 << 10)
            .spawn(move || queue.into_iter().for_each(|job| job()))
            .map_err(|source| Error::Kernel {
                action: "start the thread",
                subject: name.to_owned(),
                source,
            })?;
        Ok(Hopper { jobs })
    }

    /// Runs a job on the thread, in whatever namespace it stands.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(move || {
            // Nobody waits any more when the caller was cancelled; what was made is dropped then.
            let _ = reply.send(job());
        })?;
        answer.await.map_err(|_| Error::ThreadGone)?
    }

    /// Runs a job inside a namespace.
    pub async fn inside<T: Send + 'static>(
        &self,
        namespace: &Arc<OwnedFd>,
        job: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let namespace = Arc::clone(namespace);
        self.run(move || {
            enter(&*namespace).map_err(|source| Error::Kernel {
                action: "enter",
                subject: "a network namespace".to_owned(),
                source,
            })?;
            job()
        })
        .await
    }

    /// Queues a job and does not wait for it.
    pub fn send(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        self.jobs.send(Box::new(job)).map_err(|_| Error::ThreadGone)
    }
}

/// Moves the calling thread into a network namespace.
///
/// Needs CAP_SYS_ADMIN in the user namespace that owns it and in the caller's own. For this folder's own threads only.
pub fn enter(namespace: impl AsFd) -> io::Result<()> {
    Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?)
}
