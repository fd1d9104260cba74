//! What all steps of one build share.
//!
//! A session has a directory of its own beside the layers of the store. Whatever is half made is in it, and it goes with
//! the session: when all is done, and when the process dies, for then the runner removes it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, mount_change};

use super::cache::{Cache, Key};
use super::error::{Error, failed};
use super::exchange::Offered;
use super::order::Order;
use super::run::network::Wire;
use super::run::runner::Runner;
use super::state::Views;
use crate::host::files;
use crate::host::removal::remove_tree;
use crate::image::registry::Keys;
use crate::image::{Lease, Scratch, Store};
use crate::progress::build::{How, Word};

/// Takes the words of a build.
pub type Tell = Box<dyn Fn(Word) + Send + Sync>;

/// What all steps share.
pub struct Session {
    /// The image store.
    pub store: Store,
    /// The records of steps.
    pub cache: Cache,
    /// What it names stays while the build goes on.
    pub lease: Lease,
    /// Forks the containers.
    pub runner: Runner,
    /// The network of steps.
    pub wire: Wire,
    /// States that are looked at.
    pub views: Views,
    /// Where sums of contexts are kept.
    pub sums: PathBuf,
    /// Where files of the web are kept.
    pub web: PathBuf,
    /// Whether owners are recorded and not given.
    pub single_id: bool,
    /// When the build began, seconds and nanoseconds since 1970.
    pub now: (i64, u32),
    /// What caches of others hold.
    pub offered: Offered,
    /// Bytes of the layers that this build has made.
    pub made: AtomicU64,
    scratch: Scratch,
    counter: AtomicU32,
    /// Steps that this build has done: `no_cache` means not to look at what was before, and not to do things twice.
    done: Mutex<HashSet<Key>>,
    turns: Turns,
    teller: Teller,
}

impl Session {
    /// Begins a build. The caller has one thread and is in the outer user namespace; from now on this process has mounts
    /// of its own.
    /// `keys` says who we are to registries.
    pub fn begin(order: &Order, keys: Arc<dyn Keys>, tell: Tell) -> Result<Session, Error> {
        let store = Store::open(&order.store, &order.key)?.asking(keys);
        let cache = Cache::open(&order.cache, &order.key, store.clone())?;
        let lease = store.lease()?;
        let scratch = store.scratch()?;
        unshare(CloneFlags::CLONE_NEWNS).map_err(failed("make a mount namespace"))?;
        mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
            .map_err(failed("keep our mounts from the host"))?;
        let runner = Runner::start(scratch.path()).map_err(failed("start the runner of containers"))?;
        let views = Views::new(scratch.path().join("views"));
        Ok(Session {
            store,
            cache,
            lease,
            runner,
            wire: Wire::default(),
            views,
            sums: order.cache.join("files"),
            web: order.cache.join("web"),
            single_id: order.single_id,
            now: since_1970(SystemTime::now()),
            offered: Offered::default(),
            made: AtomicU64::new(0),
            scratch,
            counter: AtomicU32::new(0),
            done: Mutex::default(),
            turns: Turns::new(order.at_once),
            teller: Teller { tell, next: AtomicU32::new(1) },
        })
    }

    /// Makes a directory for something that is half made.
    pub fn directory(&self) -> Result<PathBuf, Error> {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let path = self.scratch.path().join(number.to_string());
        files::make_private_dir(&path)?;
        Ok(path)
    }

    /// Removes such a directory; what is left of it goes with the session.
    pub fn drop_directory(&self, path: &Path) {
        let _ = remove_tree(path);
    }

    /// Waits until a step may run.
    pub fn turn(&self) -> Turn<'_> {
        self.turns.take()
    }

    /// Notes that a step was done.
    pub fn has_done(&self, key: &Key) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).insert(*key);
    }

    /// Whether this build has done a step.
    pub fn did(&self, key: &Key) -> bool {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// Says that something begins.
    pub fn tell_begin(&self, title: &str) -> Told<'_> {
        self.teller.begin(title)
    }

    /// Says a word that belongs to no step.
    pub fn tell(&self, word: Word) {
        (self.teller.tell)(word);
    }
}

/// Seconds and nanoseconds.
pub fn since_1970(time: SystemTime) -> (i64, u32) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}

struct Teller {
    tell: Tell,
    next: AtomicU32,
}

impl Teller {
    fn begin(&self, title: &str) -> Told<'_> {
        let step = self.next.fetch_add(1, Ordering::Relaxed);
        (self.tell)(Word::Begun { step, title: title.to_owned() });
        Told { teller: self, step, began: Instant::now(), printed: AtomicUsize::new(0) }
    }
}

/// A step that has begun, as those who listen know it.
pub struct Told<'a> {
    teller: &'a Teller,
    step: u32,
    /// When it began.
    pub began: Instant,
    /// Bytes.
    printed: AtomicUsize,
}

/// Of what a step prints so many bytes are shown, as BuildKit does.
const SHOWN: usize = 2 << 20;

impl Told<'_> {
    /// It has printed something.
    pub fn print(&self, at: Duration, mut text: String) {
        let before = self.printed.fetch_add(text.len(), Ordering::Relaxed);
        if before >= SHOWN {
            return;
        }
        if text.len() > SHOWN - before {
            let cut = (0..=SHOWN - before).rev().find(|at| text.is_char_boundary(*at));
            text.truncate(cut.unwrap_or(0));
            text.push_str("\n[more is not shown: 2 MiB are]\n");
        }
        (self.teller.tell)(Word::Printed { step: self.step, at, text });
    }

    /// A part of it is so far.
    pub fn part(&self, name: &str, done: Option<u64>, total: Option<u64>, ended: bool) {
        let word = Word::Part { step: self.step, name: name.to_owned(), done, total, ended };
        (self.teller.tell)(word);
    }

    /// It has ended.
    pub fn end(self, how: How) {
        let took = self.began.elapsed();
        (self.teller.tell)(Word::Ended { step: self.step, how, took });
    }
}

/// How many steps run at once.
struct Turns {
    free: Mutex<usize>,
    changed: Condvar,
}

/// The right to run, until it is dropped.
pub struct Turn<'a>(&'a Turns);

impl Turns {
    fn new(count: usize) -> Turns {
        Turns { free: Mutex::new(count.max(1)), changed: Condvar::new() }
    }

    fn take(&self) -> Turn<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.changed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_a_step_prints_without_end_the_beginning_is_shown() {
        let heard = Arc::new(Mutex::new(String::new()));
        let hear = Arc::clone(&heard);
        let tell = move |word| {
            if let Word::Printed { text, .. } = word {
                hear.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        };
        let teller = Teller { tell: Box::new(tell), next: AtomicU32::new(1) };
        let told = teller.begin("RUN yes");
        // A character of three bytes lies across the end.
        for _ in 0..100 {
            told.print(Duration::ZERO, "€".repeat(10_000));
        }
        let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = heard.trim_start_matches('€');
        assert_eq!((heard.len() - shown.len()) / 3, SHOWN / 3);
        assert_eq!(shown, "\n[more is not shown: 2 MiB are]\n");
        // A step of its own has its own room.
        drop(heard);
        assert_eq!(teller.begin("RUN true").printed.into_inner(), 0);
    }
}
