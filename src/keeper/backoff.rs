//! When the next supervisor is started after one that has ended.

use std::time::{Duration, Instant};

/// A supervisor that lived shorter is started again only after a while.
const SHORT_LIFE: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// One that fails at its start fails again for the same reason, until somebody has mended it.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Nobody who waits for an answer waits longer than this for a supervisor that gives one, if only why there is none.
const PATIENCE: Duration = Duration::from_millis(500);

/// The pause between supervisors.
#[derive(Debug)]
pub(super) struct Backoff {
    /// When the last one ended.
    since: Instant,
    pause: Duration,
    /// The pause after the next, if that one is short-lived too.
    next: Duration,
}

impl Backoff {
    /// The first is started at once.
    pub fn new(now: Instant) -> Backoff {
        Backoff { since: now, pause: Duration::ZERO, next: Duration::ZERO }
    }

    /// Takes in that one has ended: killed by somebody, which says nothing of the next, or of itself.
    pub fn ended(&mut self, lived: Duration, killed: bool, now: Instant) {
        let longest = if killed { PATIENCE } else { LONGEST_PAUSE };
        let (pause, next) = match lived >= SHORT_LIFE {
            true => (Duration::ZERO, Duration::ZERO),
            false => (self.next.min(longest), (self.next * 2).clamp(FIRST_PAUSE, longest)),
        };
        *self = Backoff { since: now, pause, next };
    }

    /// When the next one is started.
    pub fn due(&self) -> Instant {
        self.since + self.pause
    }

    /// When the next one is started if somebody asks for it.
    pub fn due_when_asked(&self) -> Instant {
        self.since + self.pause.min(PATIENCE)
    }

    /// Takes in that somebody asks for one.
    pub fn ask(&mut self) {
        self.pause = self.pause.min(PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_a_minute_and_begins_anew_after_a_life() {
        let mut now = Instant::now();
        let mut backoff = Backoff::new(now);
        assert_eq!((backoff.due(), backoff.due_when_asked()), (now, now));
        let mut pauses = Vec::new();
        for _ in 0..15 {
            now = backoff.due() + Duration::from_millis(7);
            backoff.ended(Duration::from_millis(7), false, now);
            pauses.push((backoff.due() - now).as_millis());
            assert!(backoff.due_when_asked() - now <= PATIENCE);
        }
        assert_eq!(pauses[..6], [0, 20, 40, 80, 160, 320]);
        assert_eq!(pauses[12..], [40_960, 60_000, 60_000]);
        backoff.ask();
        assert_eq!(backoff.due() - now, PATIENCE);
        backoff.ended(Duration::ZERO, true, now);
        assert_eq!(backoff.due() - now, PATIENCE, "whoever kills it wants it to come back");
        backoff.ended(SHORT_LIFE, false, now);
        assert_eq!(backoff.due(), now, "as if it were the first");
        backoff.ended(Duration::ZERO, false, now);
        assert_eq!(backoff.due(), now);
        backoff.ended(Duration::ZERO, false, now);
        assert_eq!(backoff.due() - now, FIRST_PAUSE);
    }
}
