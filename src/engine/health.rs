//! When a container is probed, and what the probes say of it. Pure: time comes in.
//!
//! ```text
//!   started                                                    a success, at any time
//!      │ probe at once      pause      probe      pause        ────────────────────▶ Healthy ◀──┐
//!      ├──────────┤·················├──────────┤··········   Starting                 │         │ a success
//!                 end               begins                     ────────────────────▶  ▼         │
//!                                                             `retries` failures  Unhealthy ────┘
//!                                                              in a row
//! ```
//!
//! - The first probe begins at once, so that what is ready at once is known to be; that it fails counts for nothing.
//! - The next begins `interval` after the end of the one before; within `start_period`, as long as none has succeeded,
//!   `start_interval` after it.
//! - Failures of probes that began within `start_period` do not count until one has succeeded.
//! - A probe that takes longer than `timeout` is killed by the caller and has failed.

use crate::plan::desired::Healthcheck;
use crate::plan::observed::Health;

/// The probes of one run of a container. Times are nanoseconds of any one clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probes {
    check: Healthcheck,
    started_ns: i64,
    health: Health,
    /// Failures in a row that count.
    failures: u32,
    /// No probe has ended yet.
    first: bool,
    next_ns: i64,
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With 0.
    Success,
    /// With another code, by a signal, not at all within the timeout, or it could not be started.
    Failure,
}

impl Probes {
    /// Begins with a container that has just started.
    pub fn new(check: Healthcheck, started_ns: i64) -> Probes {
        Probes { check, started_ns, health: Health::Starting, failures: 0, first: true, next_ns: started_ns }
    }

    /// Goes on with a container that has run since `started_ns` and was last known to be of this health: a probe is due
    /// at once, and counts unless nothing is known yet.
    pub fn resume(check: Healthcheck, started_ns: i64, health: Health, now_ns: i64) -> Probes {
        Probes { check, started_ns, health, failures: 0, first: health == Health::Starting, next_ns: now_ns }
    }

    /// Returns the health as it is known.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Returns the failures in a row that count.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns when the next probe begins.
    pub fn next_ns(&self) -> i64 {
        self.next_ns
    }

    /// Returns when a probe that began at `begun_ns` has taken too long; `None` is never.
    pub fn deadline_ns(&self, begun_ns: i64) -> Option<i64> {
        (self.check.timeout_ms > 0).then(|| begun_ns.saturating_add(nanoseconds(self.check.timeout_ms)))
    }

    /// Takes in how a probe ended. Returns the health if it has changed by it.
    pub fn ended(&mut self, begun_ns: i64, outcome: Outcome, now_ns: i64) -> Option<Health> {
        let before = self.health;
        let first = std::mem::replace(&mut self.first, false);
        match outcome {
            Outcome::Success => (self.health, self.failures) = (Health::Healthy, 0),
            Outcome::Failure
                if self.health == Health::Starting && (first || self.in_start_period(begun_ns)) => {}
            Outcome::Failure => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= self.check.retries.max(1) {
                    self.health = Health::Unhealthy;
                }
            }
        }
        let pause_ms = match self.health == Health::Starting && self.in_start_period(now_ns) {
            true => self.check.start_interval_ms,
            false => self.check.interval_ms,
        };
        self.next_ns = now_ns.saturating_add(nanoseconds(pause_ms));
        (self.health != before).then_some(self.health)
    }

    fn in_start_period(&self, now_ns: i64) -> bool {
        now_ns.saturating_sub(self.started_ns) < nanoseconds(self.check.start_period_ms)
    }
}

fn nanoseconds(milliseconds: u64) -> i64 {
    i64::try_from(milliseconds).unwrap_or(i64::MAX).saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn check(interval: u64, retries: u32, start_period: u64, start_interval: u64) -> Healthcheck {
        Healthcheck {
            argv: vec!["true".to_owned()],
            interval_ms: interval,
            timeout_ms: 50,
            retries,
            start_period_ms: start_period,
            start_interval_ms: start_interval,
        }
    }

    /// Lets probes of 10 ms end as `outcomes` say (`+` or `-`), and tells when each began and what was known then.
    fn play(mut probes: Probes, outcomes: &str) -> String {
        let mut story = Vec::new();
        for outcome in outcomes.chars() {
            let begun = probes.next_ns();
            let outcome = if outcome == '+' { Outcome::Success } else { Outcome::Failure };
            let change = probes.ended(begun, outcome, begun + 10 * MS);
            let change = change.map(|health| format!("={health:?}")).unwrap_or_default();
            story.push(format!("{}{change}", begun / MS));
        }
        story.join(" ")
    }

    #[test]
    fn the_first_probe_is_at_once_and_its_failure_is_free() {
        assert_eq!(play(Probes::new(check(100, 2, 0, 5), 1000 * MS), "+"), "1000=Healthy");
        assert_eq!(play(Probes::new(check(100, 2, 0, 5), 0), "---"), "0 110 220=Unhealthy");
        assert_eq!(play(Probes::new(check(100, 1, 0, 5), 0), "--"), "0 110=Unhealthy");
    }

    #[test]
    fn failures_in_a_row_count_and_one_success_heals() {
        assert_eq!(
            play(Probes::new(check(100, 3, 0, 5), 0), "+--+---+"),
            "0=Healthy 110 220 330 440 550 660=Unhealthy 770=Healthy"
        );
    }

    #[test]
    fn failures_within_the_start_period_do_not_count() {
        // Probes 0, 30, 60, 90 begin within it; the pace is that of start_interval until it is over.
        assert_eq!(play(Probes::new(check(100, 2, 100, 20), 0), "------"), "0 30 60 90 200 310=Unhealthy");
    }

    #[test]
    fn the_first_success_ends_the_start_period() {
        assert_eq!(play(Probes::new(check(100, 1, 1000, 20), 0), "--+-"), "0 30 60=Healthy 170=Unhealthy");
    }

    #[test]
    fn start_interval_needs_a_start_period() {
        assert_eq!(play(Probes::new(check(100, 3, 0, 20), 0), "--+"), "0 110 220=Healthy");
    }

    #[test]
    fn a_supervisor_that_starts_again_goes_on() {
        let probes = Probes::resume(check(100, 2, 0, 5), 0, Health::Healthy, 500 * MS);
        assert_eq!(probes.health(), Health::Healthy);
        assert_eq!(play(probes, "--"), "500 610=Unhealthy");
        let probes = Probes::resume(check(100, 1, 0, 5), 0, Health::Starting, 500 * MS);
        assert_eq!(play(probes, "--"), "500 610=Unhealthy");
    }

    #[test]
    fn a_probe_has_a_deadline() {
        assert_eq!(Probes::new(check(1, 1, 0, 1), 0).deadline_ns(7 * MS), Some(57 * MS));
        let endless = Healthcheck { timeout_ms: 0, ..check(1, 1, 0, 1) };
        assert_eq!(Probes::new(endless, 0).deadline_ns(7 * MS), None);
    }
}
