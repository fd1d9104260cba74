//! The thread that works inside network namespaces.
//!
//! A thread that left the host's network namespace cannot come back from within a child user namespace (`EPERM`), so
//! no thread of the runtime may ever do it. This one hops from namespace to namespace and does there what has to be
//! done there, above all making sockets: a socket stays where it was made, whoever uses it later.
//!
//! A namespace lives as long as a thread stands in it. So a thread that has nothing to do goes to an empty one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use tokio::sync::oneshot;

use super::error::Error;
use super::namespace;

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
            .spawn(move || work(&queue))
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

/// How long a thread may stand idle where its last job was.
const IDLE: Duration = Duration::from_millis(50);

fn work(queue: &mpsc::Receiver<Job>) {
    // Made at leisure: no job ever waits for it.
    let mut home: Option<OwnedFd> = None;
    while let Ok(job) = queue.recv() {
        job();
        loop {
            match queue.recv_timeout(IDLE) {
                Ok(job) => job(),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        let there = match &home {
            Some(home) => enter(home),
            None => namespace::make_empty().map(|made| home = Some(made)),
        };
        // Staying keeps a namespace alive that might be gone, and nothing worse.
        drop(there);
    }
}

/// Moves the calling thread into a network namespace.
///
/// Needs CAP_SYS_ADMIN in the user namespace that owns it and in the caller's own. For this folder's own threads only.
pub fn enter(namespace: impl AsFd) -> io::Result<()> {
    Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?)
}
