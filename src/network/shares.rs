//! How many of the supervisor's descriptors the connections of one may take.
//!
//! A container can open connections without end, and so can whoever comes to a published port; the supervisor holds two
//! descriptors for each. So whoever holds some may have as many as are left for all others, and no more: one alone comes
//! to half of all, two come to a third each, and who is new always finds as much as they have. (Buffers of switches are
//! shared so: Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998.)

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;

/// Connections cost memory, too; a limit of open files may be beyond all that.
const MOST: usize = 256 << 10;

/// What is shared.
#[derive(Clone)]
pub struct Shares(Arc<Pool>);

struct Pool {
    all: usize,
    held: AtomicUsize,
    freed: Notify,
}

impl Shares {
    /// Shares three quarters of what this process may have open. Logs, probes, names and commands have the rest.
    pub fn of_process() -> Shares {
        let files = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok());
        Shares::new(files.map_or(MOST, |files| MOST.min(files / 4 * 3)))
    }

    /// Shares this many.
    pub fn new(all: usize) -> Shares {
        Shares(Arc::new(Pool { all, held: AtomicUsize::new(0), freed: Notify::new() }))
    }

    /// Begins a share, which holds nothing.
    pub fn begin(&self) -> Share {
        Share { pool: Arc::clone(&self.0), own: Arc::default() }
    }
}

/// What one holds.
#[derive(Clone)]
pub struct Share {
    pool: Arc<Pool>,
    own: Arc<AtomicUsize>,
}

impl Share {
    /// Takes some, unless that were more than is left for others.
    pub fn take(&self, count: usize) -> Option<Held> {
        let held = self.pool.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
            let own = self.own.load(Ordering::Acquire) + count;
            let left = self.pool.all.checked_sub(held + count)?;
            (own <= left).then_some(held + count)
        });
        held.ok()?;
        self.own.fetch_add(count, Ordering::AcqRel);
        Some(Held { share: self.clone(), count })
    }

    /// Returns whether some could be taken now.
    pub fn has(&self, count: usize) -> bool {
        let held = self.pool.held.load(Ordering::Acquire) + count;
        let left = self.pool.all.checked_sub(held);
        left.is_some_and(|left| self.own.load(Ordering::Acquire) + count <= left)
    }

    /// Takes some as soon as that may be.
    pub async fn wait(&self, count: usize) -> Held {
        loop {
            // Before the look: what is freed after it wakes this one.
            let freed = self.pool.freed.notified();
            if let Some(held) = self.take(count) {
                return held;
            }
            freed.await;
        }
    }

    /// Returns whether it holds nothing.
    pub fn is_unused(&self) -> bool {
        self.own.load(Ordering::Acquire) == 0
    }
}

/// Some descriptors of a share, given back when this is dropped.
pub struct Held {
    share: Share,
    count: usize,
}

impl Held {
    /// Takes some more of the same share, unless that were more than is left for others.
    pub fn more(&self, count: usize) -> Option<Held> {
        self.share.take(count)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.share.own.fetch_sub(self.count, Ordering::AcqRel);
        self.share.pool.held.fetch_sub(self.count, Ordering::AcqRel);
        self.share.pool.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes one by one until no more are given.
    fn all(share: &Share) -> Vec<Held> {
        std::iter::from_fn(|| share.take(1)).collect()
    }

    #[test]
    fn each_may_have_what_is_left_for_others() {
        let shares = Shares::new(100);
        let (greedy, also, new) = (shares.begin(), shares.begin(), shares.begin());
        let mut first = all(&greedy);
        let second = all(&also);
        assert_eq!((first.len(), second.len()), (50, 25));
        // Who had more keeps it, and gets no more until it has less than is left.
        first.truncate(40);
        assert!(greedy.take(1).is_none());
        assert_eq!(all(&new).len(), 17);
        drop((first, second));
        assert!(greedy.is_unused() && also.is_unused() && new.is_unused());
        assert_eq!(all(&greedy).len(), 50);
        assert!(first_of(&new).more(49).is_some() && first_of(&new).more(100).is_none());
    }

    fn first_of(share: &Share) -> Held {
        share.take(1).expect("one")
    }

    #[tokio::test]
    async fn who_waits_is_served_when_something_is_given_back() {
        let share = Shares::new(4).begin();
        let held = share.wait(2).await;
        let waiting = {
            let share = share.clone();
            tokio::spawn(async move { share.wait(2).await.count })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(held);
        assert_eq!(waiting.await.expect("no panic"), 2);
        assert!(Shares::of_process().begin().take(2).is_some());
    }
}
