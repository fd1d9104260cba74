//! The line to the keeper, for tasks: a word goes out, its answer comes back to the one who waits for it.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use crate::host::mishap::vital;
use crate::keeper::Client;
use crate::keeper::channel;
use crate::keeper::message::{Exit, Notice, Running, Word, key};
use crate::runtime::operations::Launch;
use crate::runtime::status::Failure;
use crate::sys::net;

/// The keeper cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The keeper has died.
    #[error("the keeper has gone")]
    Gone,
    /// What it said makes no sense.
    #[error("the keeper's words are not understood")]
    Channel(#[from] channel::Error),
    /// The socket cannot be watched.
    #[error("cannot watch the keeper's socket")]
    Watch(#[source] io::Error),
}

/// A process that was started.
#[derive(Debug)]
pub struct Started {
    /// As the host counts.
    pub pid: i32,
    /// Field 22 of proc_pid_stat(5).
    pub start_time: u64,
    /// What was done without, each a sentence.
    pub warnings: Vec<String>,
    /// Its descriptors by name: `pidfd`, `in`, `out`, `err`, `terminal`.
    pub descriptors: HashMap<String, OwnedFd>,
}

/// What the keeper says of containers, in its order.
#[derive(Debug)]
pub enum Told {
    /// A container runs.
    Started(String, Started),
    /// A container could not be started.
    NotStarted(String, Failure),
    /// A container has ended.
    Ended(String, Exit),
    /// The keeper has died. The last word.
    Lost,
}

/// An exec under way.
#[derive(Debug)]
pub struct Process {
    /// It runs, or could not be started.
    pub started: oneshot::Receiver<Result<Started, Failure>>,
    /// It has ended.
    pub ended: oneshot::Receiver<Exit>,
}

#[derive(Default)]
struct Waiting {
    starts: HashMap<String, oneshot::Sender<Result<Started, Failure>>>,
    ends: HashMap<String, oneshot::Sender<Exit>>,
    descriptors: HashMap<String, Vec<oneshot::Sender<Option<OwnedFd>>>>,
    keys: Vec<oneshot::Sender<Vec<String>>>,
    processes: Vec<oneshot::Sender<Processes>>,
}

/// What the keeper looks after.
#[derive(Debug)]
pub struct Processes {
    /// Those that have started and not ended.
    pub running: Vec<Running>,
    /// Those whose programs have not begun yet.
    pub starting: Vec<Running>,
}

/// The line. One reader task feeds it ([`Link::run`]).
pub struct Link {
    channel: RefCell<Client>,
    /// The same socket, for waiting.
    ready: AsyncFd<OwnedFd>,
    waiting: RefCell<Waiting>,
    /// Duplicates of what is in the keeper's store: when it dies, the next one gets them.
    kept: RefCell<BTreeMap<String, OwnedFd>>,
    told: mpsc::UnboundedSender<Told>,
}

impl Link {
    /// Takes the socket to the keeper. What it says of containers comes out of the receiver, in its order.
    pub fn new(socket: OwnedFd) -> Result<(Rc<Link>, mpsc::UnboundedReceiver<Told>), Error> {
        let copy = socket.try_clone().map_err(Error::Watch)?;
        let channel = Client::new(socket).map_err(Error::Watch)?;
        let ready = net::watch(copy).map_err(Error::Watch)?;
        let (told, receiver) = mpsc::unbounded_channel();
        let link = Link {
            channel: RefCell::new(channel),
            ready,
            waiting: RefCell::default(),
            kept: RefCell::default(),
            told,
        };
        Ok((Rc::new(link), receiver))
    }

    /// Whether the keeper has died, also where nobody has read that yet.
    pub fn is_broken(&self) -> bool {
        let mut fds = [PollFd::new(self.ready.get_ref(), PollFlags::empty())];
        // POLLHUP and POLLERR come unasked (poll(2)).
        let _ = poll(&mut fds, Some(&Timespec::default()));
        !fds[0].revents().is_empty()
    }

    /// Reads until the keeper dies.
    pub async fn run(self: Rc<Link>) {
        loop {
            let Ok(mut guard) = self.ready.readable().await else { break };
            // Before the last read: what comes after it makes the socket ready again.
            guard.clear_ready();
            loop {
                let received = self.channel.borrow_mut().try_recv();
                match received {
                    Ok(Some((notice, descriptors))) => self.hear(notice, descriptors),
                    Ok(None) => break,
                    // A notice of a newer keeper; the line is whole.
                    Err(channel::Error::Content(_)) => {}
                    Err(_) => {
                        *self.waiting.borrow_mut() = Waiting::default();
                        let _ = self.told.send(Told::Lost);
                        return;
                    }
                }
            }
        }
    }

    fn hear(&self, notice: Notice, descriptors: Vec<OwnedFd>) {
        let mut waiting = self.waiting.borrow_mut();
        match notice {
            Notice::Started { id, pid, start_time, warnings, descriptors: names } => {
                let descriptors = names.into_iter().zip(descriptors).collect();
                let started = Started { pid, start_time, warnings, descriptors };
                match waiting.starts.remove(&id) {
                    Some(waiter) => drop(waiter.send(Ok(started))),
                    None => drop(self.told.send(Told::Started(id, started))),
                }
            }
            Notice::StartFailed { id, failure: failed } => {
                waiting.ends.remove(&id);
                match waiting.starts.remove(&id) {
                    Some(waiter) => drop(waiter.send(Err(failed))),
                    None => drop(self.told.send(Told::NotStarted(id, failed))),
                }
            }
            Notice::Exited { id, exit } => match waiting.ends.remove(&id) {
                Some(waiter) => drop(waiter.send(exit)),
                None => drop(self.told.send(Told::Ended(id, exit))),
            },
            Notice::Descriptor { key } => {
                let waiters = waiting.descriptors.get_mut(&key);
                if let Some(waiter) =
                    waiters.filter(|waiters| !waiters.is_empty()).map(|waiters| waiters.remove(0))
                {
                    drop(waiter.send(descriptors.into_iter().next()));
                }
            }
            Notice::Keys { keys } => {
                if !waiting.keys.is_empty() {
                    drop(waiting.keys.remove(0).send(keys));
                }
            }
            Notice::Processes { processes: running, starting } => {
                if !waiting.processes.is_empty() {
                    drop(waiting.processes.remove(0).send(Processes { running, starting }));
                }
            }
            Notice::Adopted { .. } | Notice::NotUnderstood { .. } => {}
        }
    }

    /// Sends a word; what the socket does not take at once follows.
    pub fn send(self: &Rc<Link>, word: &Word, descriptors: Vec<OwnedFd>) -> Result<(), Error> {
        let mut channel = self.channel.borrow_mut();
        let waited = channel.wants_write();
        channel.send(word, descriptors).map_err(gone)?;
        if channel.wants_write() && !waited {
            tokio::task::spawn_local(vital(self.clone().flush()));
        }
        Ok(())
    }

    async fn flush(self: Rc<Link>) {
        loop {
            let Ok(mut guard) = self.ready.writable().await else { return };
            guard.clear_ready_matching(tokio::io::Ready::WRITABLE);
            let mut channel = self.channel.borrow_mut();
            // A broken line is noticed by the reader.
            if channel.flush().is_err() || !channel.wants_write() {
                return;
            }
        }
    }

    /// Starts a further process in a container. Both answers come to the caller; with `awaited`, the next supervisor can
    /// find out how it ended until it is forgotten.
    pub fn exec(
        self: &Rc<Link>,
        id: &str,
        container: &str,
        awaited: bool,
        launch: Launch,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Process, Error> {
        let process = self.hear_of(id);
        let word = Word::Exec { id: id.to_owned(), container: container.to_owned(), awaited, launch };
        self.send(&word, descriptors)?;
        Ok(process)
    }

    /// From now on, what is told of an exec comes to the caller.
    pub fn hear_of(&self, id: &str) -> Process {
        let (start, started) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let mut waiting = self.waiting.borrow_mut();
        waiting.starts.insert(id.to_owned(), start);
        waiting.ends.insert(id.to_owned(), end);
        Process { started, ended }
    }

    /// What is told of an exec concerns nobody any more.
    pub fn hear_no_more_of(&self, id: &str) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.starts.remove(id);
        waiting.ends.remove(id);
    }

    /// Fetches a duplicate of a stored descriptor.
    pub async fn get(self: &Rc<Link>, key: &str) -> Result<Option<OwnedFd>, Error> {
        let (answer, answered) = oneshot::channel();
        self.waiting.borrow_mut().descriptors.entry(key.to_owned()).or_default().push(answer);
        self.send(&Word::Get { key: key.to_owned() }, Vec::new())?;
        let found = answered.await.map_err(|_| Error::Gone)?;
        if let Some(found) = &found {
            self.keep(key, found);
        }
        Ok(found)
    }

    /// Notes a descriptor that is in the keeper's store.
    pub fn keep(&self, key: &str, descriptor: impl AsFd) {
        // Without it, it is lost if the keeper dies, and only then.
        if let Ok(copy) = descriptor.as_fd().try_clone_to_owned() {
            self.kept.borrow_mut().insert(key.to_owned(), copy);
        }
    }

    /// Closes a descriptor of the store.
    pub fn drop_key(self: &Rc<Link>, key: String) -> Result<(), Error> {
        self.kept.borrow_mut().remove(&key);
        self.send(&Word::Drop { key }, Vec::new())
    }

    /// Closes what the keeper has of a container's last run, and drops it from the journal.
    pub fn forget(self: &Rc<Link>, id: &str) -> Result<(), Error> {
        for key in key::all(id) {
            self.kept.borrow_mut().remove(&key);
        }
        self.send(&Word::Forget { id: id.to_owned() }, Vec::new())
    }

    /// Closes what the keeper has of a container's last run, and leaves the journal as it is.
    pub fn forget_descriptors(self: &Rc<Link>, id: &str) -> Result<(), Error> {
        key::all(id).into_iter().try_for_each(|key| self.drop_key(key))
    }

    /// Ends what has not begun its program yet; how that went comes as the answer to its start.
    pub fn abort(self: &Rc<Link>, id: &str) -> Result<(), Error> {
        self.send(&Word::Abort { id: id.to_owned() }, Vec::new())
    }

    /// Takes out everything that a next keeper must have.
    pub fn take_kept(&self) -> Vec<(String, OwnedFd)> {
        std::mem::take(&mut *self.kept.borrow_mut()).into_iter().collect()
    }

    /// Stores a duplicate of a descriptor.
    pub fn put(self: &Rc<Link>, key: &str, descriptor: impl AsFd) -> Result<(), Error> {
        let copy = descriptor.as_fd().try_clone_to_owned().map_err(Error::Watch)?;
        self.keep(key, &descriptor);
        self.send(&Word::Put { key: key.to_owned() }, vec![copy])
    }

    /// Which keys there are.
    pub async fn keys(self: &Rc<Link>) -> Result<Vec<String>, Error> {
        let (answer, answered) = oneshot::channel();
        self.waiting.borrow_mut().keys.push(answer);
        self.send(&Word::Keys, Vec::new())?;
        answered.await.map_err(|_| Error::Gone)
    }

    /// Which processes run.
    pub async fn processes(self: &Rc<Link>) -> Result<Processes, Error> {
        let (answer, answered) = oneshot::channel();
        self.waiting.borrow_mut().processes.push(answer);
        self.send(&Word::List, Vec::new())?;
        answered.await.map_err(|_| Error::Gone)
    }
}

fn gone(error: channel::Error) -> Error {
    match error {
        channel::Error::Closed => Error::Gone,
        error => Error::Channel(error),
    }
}
