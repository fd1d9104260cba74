//! The flows of datagrams of one holder of a share: who wants one more than that may have loses the one that was quiet for
//! longest.
//!
//! A flow of datagrams has no end that could be seen, so one that is over counts until it is forgotten; and who sends to
//! ever new places would hold all there are.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::shares::{Held, Share};

/// How many flows one may have at most.
const MOST: usize = 2048;

/// The flows of one holder.
pub struct Flows<Ends> {
    share: Share,
    /// Descriptors of each.
    cost: usize,
    flows: HashMap<Ends, Entry>,
    /// Counts datagrams: the time by which flows are compared.
    clock: Arc<AtomicU64>,
}

struct Entry {
    sender: mpsc::Sender<Vec<u8>>,
    used: Arc<AtomicU64>,
    held: Held,
}

/// One flow, for whoever serves it.
pub struct Flow {
    /// Datagrams that wait for their turn. Ends when another takes the flow's place.
    pub waiting: mpsc::Receiver<Vec<u8>>,
    used: Arc<AtomicU64>,
    clock: Arc<AtomicU64>,
}

impl Flow {
    /// Says that a datagram went by, which need not have been one of those that waited.
    pub fn touch(&self) {
        self.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl<Ends: Copy + Eq + Hash> Flows<Ends> {
    /// Begins with none; each costs so many descriptors of a share.
    pub fn new(share: Share, cost: usize) -> Flows<Ends> {
        Flows { share, cost, flows: HashMap::new(), clock: Arc::default() }
    }

    /// Passes a datagram to the flow that is there; false if there is none.
    pub fn pass(&self, ends: &Ends, bytes: &[u8]) -> bool {
        let Some(entry) = self.flows.get(ends) else { return false };
        entry.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        // Full: dropped, as a full queue of a router would.
        let _ = entry.sender.try_send(bytes.to_vec());
        true
    }

    /// Opens a flow for a datagram, in which at most `most` wait. `None` where its holder may have none at all.
    pub fn open(&mut self, ends: Ends, bytes: &[u8], most: usize) -> Option<Flow> {
        let free = if self.flows.len() < MOST { self.share.take(self.cost) } else { None };
        let held = free.or_else(|| self.forget_quietest())?;
        let (sender, waiting) = mpsc::channel(most);
        let _ = sender.try_send(bytes.to_vec());
        let flow = Flow { waiting, used: Arc::default(), clock: Arc::clone(&self.clock) };
        flow.touch();
        self.flows.insert(ends, Entry { sender, used: Arc::clone(&flow.used), held });
        Some(flow)
    }

    /// Forgets a flow that is over; one that has taken its place stays.
    pub fn close(&mut self, ends: &Ends, flow: &Flow) {
        if self.flows.get(ends).is_some_and(|entry| Arc::ptr_eq(&entry.used, &flow.used)) {
            self.flows.remove(ends);
        }
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    fn forget_quietest(&mut self) -> Option<Held> {
        let used = |(_, entry): &(&Ends, &Entry)| entry.used.load(Ordering::Relaxed);
        let quietest = *self.flows.iter().min_by_key(used)?.0;
        self.flows.remove(&quietest).map(|entry| entry.held)
    }
}

#[cfg(test)]
mod tests {
    use super::super::shares::Shares;
    use super::*;

    #[test]
    fn the_quietest_makes_room_for_the_next() {
        let shares = Shares::new(12);
        let mut flows = Flows::new(shares.begin(), 2);
        let mut open: Vec<Flow> = (0..3).map(|ends| flows.open(ends, b"x", 4).expect("room")).collect();
        // Of those three, the second is quiet for longest.
        assert!(flows.pass(&0, b"y"));
        open[2].touch();
        let fourth = flows.open(3, b"x", 4).expect("in another's place");
        assert!(!flows.pass(&1, b"y") && flows.pass(&0, b"y") && flows.pass(&2, b"y"));
        assert_eq!(open[1].waiting.try_recv(), Ok(b"x".to_vec()));
        assert_eq!(open[1].waiting.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        // It comes again before its end was noticed, which then is not the end of the new one.
        let again = flows.open(1, b"z", 4).expect("in another's place");
        flows.close(&1, &open[1]);
        assert!(flows.pass(&1, b"y"));
        for (ends, flow) in [(1, &again), (3, &fourth), (0, &open[0]), (2, &open[2])] {
            flows.close(&ends, flow);
        }
        assert!(flows.is_empty() && shares.begin().take(6).is_some());
    }

    #[test]
    fn one_has_no_more_flows_than_that_and_another_has_its_own() {
        let shares = Shares::new(100 * MOST);
        let mut flows = Flows::new(shares.begin(), 2);
        let _open: Vec<_> = (0..3 * MOST).map(|ends| flows.open(ends, b"x", 1)).collect();
        assert_eq!(flows.flows.len(), MOST);
        let greedy = Shares::new(3);
        assert!(Flows::new(greedy.begin(), 2).open(0, b"x", 1).is_none());
    }
}
