//! The flows of datagrams of one holder of a share: who wants one more than that may have loses the one that was quiet for
//! longest.
//!
//! A flow of datagrams has no end that could be seen, so one that is over counts until it is forgotten; and who sends to
//! ever new places would hold all there are. So whoever takes the last place sends the quietest away, and the next finds
//! room; a flow counts until its sockets are closed, and until then no other has to go. Who comes too fast loses datagrams.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::mpsc;

use super::life::{Ending, Life};
use super::shares::{Held, Share};

/// How many flows one may have at most.
const MOST: usize = 2048;

/// The flows of one holder.
pub struct Flows<Ends> {
    share: Share,
    /// Descriptors of each.
    cost: usize,
    flows: HashMap<Ends, Entry>,
    /// What the one that was sent away last has not given back yet.
    leaving: Weak<Held>,
    /// Counts datagrams: the time by which flows are compared.
    clock: Arc<AtomicU64>,
}

struct Entry {
    sender: mpsc::Sender<Vec<u8>>,
    used: Arc<AtomicU64>,
    held: Weak<Held>,
    _life: Life,
}

/// One flow, for whoever serves it.
pub struct Flow {
    /// Datagrams that wait for their turn.
    pub waiting: mpsc::Receiver<Vec<u8>>,
    /// To be kept by all work for it, until its sockets are closed.
    pub place: Place,
    used: Arc<AtomicU64>,
    clock: Arc<AtomicU64>,
}

/// What a flow takes of its holder's share.
#[derive(Clone)]
pub struct Place {
    /// Another takes its place.
    pub ending: Ending,
    _held: Arc<Held>,
}

impl Place {
    /// Refuses what would be done for a flow that is over.
    pub fn check(&self) -> io::Result<()> {
        match self.ending.has_come() {
            true => Err(io::ErrorKind::Interrupted.into()),
            false => Ok(()),
        }
    }
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
        Flows { share, cost, flows: HashMap::new(), leaving: Weak::new(), clock: Arc::default() }
    }

    /// Passes a datagram to the flow that is there; false if there is none.
    pub fn pass(&self, ends: &Ends, bytes: &[u8]) -> bool {
        let Some(entry) = self.flows.get(ends) else { return false };
        entry.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        // Full: dropped, as a full queue of a router would.
        let _ = entry.sender.try_send(bytes.to_vec());
        true
    }

    /// Opens a flow for a datagram, in which at most `most` wait. `None` where there is no room, and the datagram is lost.
    pub fn open(&mut self, ends: Ends, bytes: &[u8], most: usize) -> Option<Flow> {
        let free = if self.flows.len() < MOST { self.share.take(self.cost) } else { None };
        if self.flows.len() + 1 >= MOST || !self.share.has(self.cost) {
            self.send_quietest_away();
        }
        let held = Arc::new(free?);
        let (sender, waiting) = mpsc::channel(most);
        let _ = sender.try_send(bytes.to_vec());
        let (life, used) = (Life::default(), Arc::<AtomicU64>::default());
        let ending = life.ending();
        let entry = Entry { sender, used: Arc::clone(&used), held: Arc::downgrade(&held), _life: life };
        self.flows.insert(ends, entry);
        let place = Place { ending, _held: held };
        let flow = Flow { waiting, place, used, clock: Arc::clone(&self.clock) };
        flow.touch();
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

    /// One at a time: what it gives back is for the next.
    fn send_quietest_away(&mut self) {
        if self.leaving.strong_count() > 0 {
            return;
        }
        let used = |(_, entry): &(&Ends, &Entry)| entry.used.load(Ordering::Relaxed);
        let quietest = self.flows.iter().min_by_key(used).map(|(ends, _)| *ends);
        if let Some(entry) = quietest.and_then(|ends| self.flows.remove(&ends)) {
            self.leaving = entry.held;
        }
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
        let first = flows.open(0, b"x", 4).expect("room");
        let mut second = flows.open(1, b"x", 4).expect("room");
        assert!(flows.pass(&0, b"y") && !first.place.ending.has_come());
        // The last place: the second has been quiet for longer than the first.
        let third = flows.open(2, b"x", 4).expect("room");
        assert!(!flows.pass(&1, b"y") && flows.pass(&2, b"y") && second.place.ending.has_come());
        assert_eq!(second.waiting.try_recv(), Ok(b"x".to_vec()));
        assert_eq!(second.waiting.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        // It counts until its sockets are closed, whoever has them; until then no other has to go.
        let job = second.place.clone();
        drop(second);
        assert!(flows.open(3, b"x", 4).is_none() && flows.open(4, b"x", 4).is_none());
        assert!(flows.pass(&2, b"y") && flows.pass(&0, b"y"));
        drop(job);
        let fourth = flows.open(3, b"x", 4).expect("the second's place");
        assert!(!flows.pass(&2, b"y") && flows.pass(&0, b"y") && third.place.ending.has_come());
        // One that was sent away comes again before its end was noticed, which then is not the end of the new one.
        flows.close(&3, &fourth);
        drop(fourth);
        let again = flows.open(2, b"z", 4).expect("the fourth's place");
        flows.close(&2, &third);
        assert!(flows.pass(&2, b"y"));
        flows.close(&2, &again);
        flows.close(&0, &first);
        drop((first, third, again));
        assert!(flows.is_empty() && shares.begin().take(6).is_some());
    }

    #[test]
    fn one_has_no_more_flows_than_that_and_another_has_its_own() {
        let shares = Shares::new(100 * MOST);
        let mut flows = Flows::new(shares.begin(), 2);
        let open: Vec<Flow> = (0..3 * MOST).filter_map(|ends| flows.open(ends, b"x", 1)).collect();
        // And the one that has been sent away and is not gone yet.
        assert_eq!((flows.flows.len(), open.len()), (MOST, MOST + 1));
        let greedy = Shares::new(3);
        assert!(Flows::new(greedy.begin(), 2).open(0, b"x", 1).is_none());
    }
}
