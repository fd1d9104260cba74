//! What a container does over time, and when it is started again by itself. Pure: time comes in, actions go out.
//!
//! ```text
//!             Start                 Started                       Ended, by itself, policy says yes
//!  Created ──────────▶ Starting ───────────────▶ Running ─────────────────────────────┐
//!                       │  ▲  ▲                  │   │                                ▼
//!          StartFailed, │  │  │ Start            │   │ Ended, policy says no     BackingOff
//!             or Ended  │  │  │                  │   │                             │     │
//!                       ▼  │  │             Stop │   ▼                    Due      │     │ Stop
//!                      Exited ◀──────────────────┼─ Exited      Starting ◀─────────┘     ▼
//!                          ▲       Ended         ▼                                    Exited
//!                          └──────────────── Stopping
//!
//!  Remove leads from everywhere to Removed, which nothing leaves.
//! ```
//!
//! - An explicit stop or kill wins over every policy until the next explicit start.
//! - The pause before a restart is 100 ms, doubles each time up to a minute, and is 100 ms again after a run of ten
//!   seconds: what dockerd does, so what people know.
//! - `on-failure:n` counts restarts since the last explicit start.
//! - `always` and `unless-stopped` are the same here: they differ only over a restart of an engine that starts
//!   containers by itself, which we have not.

use crate::plan::desired::RestartPolicy;
use crate::plan::observed::{Container, State};

/// The pause before the first restart, in nanoseconds.
const FIRST_PAUSE_NS: i64 = 100_000_000;
/// The longest pause, in nanoseconds.
const LONGEST_PAUSE_NS: i64 = 60_000_000_000;
/// A run of this length makes the next pause the first again, in nanoseconds.
const GOOD_RUN_NS: i64 = 10_000_000_000;

/// What a container does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Made, never started.
    #[default]
    Created,
    /// Being started.
    Starting,
    /// Its main process runs.
    Running,
    /// Waiting for its next start by its policy.
    BackingOff,
    /// Asked to end; not ended yet.
    Stopping,
    /// Ended, or could not be started.
    Exited,
    /// Gone.
    Removed,
}

/// What happens to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A plan or a user wants it to run.
    Start,
    /// Its main process runs.
    Started,
    /// Its main process could not be started.
    StartFailed,
    /// Its main process has ended with this code; `None` when it cannot be known any more.
    Ended(Option<i32>),
    /// The pause is over.
    Due,
    /// A plan or a user wants it to stand still; also a kill whose signal [`ends`] it.
    Stop,
    /// It is to go.
    Remove,
}

/// What the caller has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the main process.
    Start,
    /// Ask the main process to end: hooks, signal, grace, SIGKILL.
    Stop,
    /// Send [`Event::Due`] at this time (nanoseconds since the Unix epoch).
    Arm(i64),
    /// Do not send it any more.
    Disarm,
}

/// A container's state as far as its policy is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle {
    /// What it does.
    pub phase: Phase,
    /// How often its policy has started it since the last explicit start.
    pub restarts: u32,
    /// Somebody asked for it to stand still, so that no policy applies.
    pub stopped_by_user: bool,
    /// The pause before the last restart, in nanoseconds; 0 when there was none, or when the run since was long.
    pause_ns: i64,
    /// When the present run began; when the pause is over while backing off.
    mark_ns: i64,
}

impl Lifecycle {
    /// Takes up a container where its record left it.
    pub fn restore(record: &Container) -> Lifecycle {
        let pause_ns = match record.restarts {
            0 => 0,
            restarts => FIRST_PAUSE_NS.saturating_mul(1 << (restarts - 1).min(20)).min(LONGEST_PAUSE_NS),
        };
        let (phase, mark_ns) = match record.state {
            State::Created => (Phase::Created, 0),
            State::Running { since_ns, .. } => (Phase::Running, since_ns),
            // The pause of the restart that is due now is the next one.
            State::Restarting { since_ns, .. } => {
                (Phase::BackingOff, since_ns.saturating_add(doubled(pause_ns)))
            }
            State::Exited { .. } => (Phase::Exited, 0),
            State::Removing => (Phase::Removed, 0),
        };
        let pause_ns = if phase == Phase::BackingOff { doubled(pause_ns) } else { pause_ns };
        Lifecycle {
            phase,
            restarts: record.restarts,
            stopped_by_user: record.stopped_by_user,
            pause_ns,
            mark_ns,
        }
    }

    /// Returns when [`Event::Due`] is expected, in nanoseconds since the Unix epoch.
    pub fn due_ns(&self) -> Option<i64> {
        (self.phase == Phase::BackingOff).then_some(self.mark_ns)
    }

    /// Returns the state after an event, and what the caller has to do. An event that means nothing in a phase changes
    /// nothing.
    pub fn next(&self, event: Event, policy: RestartPolicy, now_ns: i64) -> (Lifecycle, Vec<Action>) {
        let mut next = self.clone();
        let actions = next.apply(event, policy, now_ns);
        (next, actions)
    }

    fn apply(&mut self, event: Event, policy: RestartPolicy, now_ns: i64) -> Vec<Action> {
        match (self.phase, event) {
            (Phase::Removed, _) => Vec::new(),
            (_, Event::Remove) => {
                let armed = self.phase == Phase::BackingOff;
                self.phase = Phase::Removed;
                if armed { vec![Action::Disarm] } else { Vec::new() }
            }
            (Phase::Created | Phase::Exited, Event::Start) => {
                *self = Lifecycle { phase: Phase::Starting, ..Lifecycle::default() };
                vec![Action::Start]
            }
            (Phase::BackingOff, Event::Start) => {
                *self = Lifecycle { phase: Phase::Starting, ..Lifecycle::default() };
                vec![Action::Disarm, Action::Start]
            }
            (Phase::Starting, Event::Started) => {
                (self.phase, self.mark_ns) = (Phase::Running, now_ns);
                Vec::new()
            }
            // Asked to stop before the word came that it runs: it does not know of the wish yet.
            (Phase::Stopping, Event::Started) => vec![Action::Stop],
            (Phase::Starting, Event::StartFailed) if self.restarts > 0 => {
                self.ended(None, policy, now_ns, now_ns)
            }
            (Phase::Starting | Phase::Stopping, Event::StartFailed) => self.exited(),
            (Phase::Running | Phase::Stopping, Event::Ended(code)) => {
                self.ended(code, policy, self.mark_ns, now_ns)
            }
            // Ended so fast that nobody said that it ran.
            (Phase::Starting, Event::Ended(code)) => self.ended(code, policy, now_ns, now_ns),
            (Phase::BackingOff, Event::Due) => {
                self.phase = Phase::Starting;
                self.restarts = self.restarts.saturating_add(1);
                vec![Action::Start]
            }
            (Phase::Running, Event::Stop) => {
                (self.phase, self.stopped_by_user) = (Phase::Stopping, true);
                vec![Action::Stop]
            }
            (Phase::Starting, Event::Stop) => {
                (self.phase, self.stopped_by_user) = (Phase::Stopping, true);
                Vec::new()
            }
            (Phase::BackingOff, Event::Stop) => {
                self.stopped_by_user = true;
                self.exited();
                vec![Action::Disarm]
            }
            (Phase::Exited | Phase::Stopping, Event::Stop) => {
                self.stopped_by_user = true;
                Vec::new()
            }
            (Phase::Created, Event::Stop)
            | (_, Event::Start | Event::Started | Event::StartFailed | Event::Ended(_) | Event::Due) => {
                Vec::new()
            }
        }
    }

    fn exited(&mut self) -> Vec<Action> {
        self.phase = Phase::Exited;
        Vec::new()
    }

    fn ended(&mut self, code: Option<i32>, policy: RestartPolicy, began_ns: i64, now_ns: i64) -> Vec<Action> {
        let again = match policy {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            // What is not known to have gone well is taken for a failure.
            RestartPolicy::OnFailure(most) => {
                code != Some(0) && most.is_none_or(|most| most == 0 || self.restarts < most)
            }
        };
        if self.stopped_by_user || !again {
            return self.exited();
        }
        if now_ns.saturating_sub(began_ns) >= GOOD_RUN_NS {
            self.pause_ns = 0;
        }
        self.pause_ns = doubled(self.pause_ns);
        (self.phase, self.mark_ns) = (Phase::BackingOff, now_ns.saturating_add(self.pause_ns));
        vec![Action::Arm(self.mark_ns)]
    }
}

fn doubled(pause_ns: i64) -> i64 {
    match pause_ns {
        0 => FIRST_PAUSE_NS,
        pause => pause.saturating_mul(2).min(LONGEST_PAUSE_NS),
    }
}

/// Returns whether a signal that a user sends counts as a wish for the container to stand still.
///
/// The container's own stop signal and those that mean an end (INT, QUIT, ABRT, KILL, TERM) do; one that a program
/// usually handles and lives on (HUP, USR1, WINCH …) does not.
pub fn ends(signal: i32, stop_signal: i32) -> bool {
    signal == stop_signal
        || [libc::SIGINT, libc::SIGQUIT, libc::SIGABRT, libc::SIGKILL, libc::SIGTERM].contains(&signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// Plays `time event` words, times in milliseconds, and returns what came of each: phase and actions.
    fn play(policy: RestartPolicy, events: &str) -> String {
        let mut lifecycle = Lifecycle::default();
        let mut story = Vec::new();
        for word in events.split_whitespace() {
            let (time, event) = word.split_once(':').expect("time:event");
            let event = match event {
                "start" => Event::Start,
                "started" => Event::Started,
                "failed" => Event::StartFailed,
                "due" => Event::Due,
                "stop" => Event::Stop,
                "remove" => Event::Remove,
                "lost" => Event::Ended(None),
                code => Event::Ended(Some(code.parse().expect("an exit code"))),
            };
            let (next, actions) = lifecycle.next(event, policy, time.parse::<i64>().expect("a time") * MS);
            let actions = actions.iter().map(|action| match action {
                Action::Start => "+start".to_owned(),
                Action::Stop => "+stop".to_owned(),
                Action::Arm(at) => format!("+due@{}", at / MS),
                Action::Disarm => "-due".to_owned(),
            });
            story.push(format!("{:?}{}", next.phase, actions.collect::<String>()));
            lifecycle = next;
        }
        story.join(" ")
    }

    #[track_caller]
    fn check(policy: RestartPolicy, events: &str, expected: &str) {
        assert_eq!(play(policy, events), expected);
    }

    #[test]
    fn without_a_policy_an_end_is_the_end() {
        check(RestartPolicy::No, "0:start 1:started 2:1", "Starting+start Running Exited");
        check(RestartPolicy::No, "0:start 1:failed 2:start", "Starting+start Exited Starting+start");
        check(RestartPolicy::No, "0:start 1:0", "Starting+start Exited");
    }

    #[test]
    fn always_restarts_whatever_the_code() {
        for policy in [RestartPolicy::Always, RestartPolicy::UnlessStopped] {
            check(
                policy,
                "0:start 0:started 5:0 105:due 106:started 107:lost",
                "Starting+start Running BackingOff+due@105 Starting+start Running BackingOff+due@307",
            );
        }
    }

    #[test]
    fn on_failure_restarts_failures_and_counts() {
        let policy = RestartPolicy::OnFailure(Some(2));
        check(policy, "0:start 0:started 1:0", "Starting+start Running Exited");
        check(
            policy,
            "0:start 0:started 0:1 100:due 100:started 100:1 300:due 300:started 300:1 400:start",
            "Starting+start Running BackingOff+due@100 Starting+start Running BackingOff+due@300 Starting+start \
             Running Exited Starting+start",
        );
        check(
            RestartPolicy::OnFailure(None),
            "0:start 0:started 1:137",
            "Starting+start Running BackingOff+due@101",
        );
        check(
            RestartPolicy::OnFailure(None),
            "0:start 0:started 1:lost",
            "Starting+start Running BackingOff+due@101",
        );
    }

    #[test]
    fn an_explicit_stop_wins() {
        let policy = RestartPolicy::Always;
        check(policy, "0:start 0:started 1:stop 2:143", "Starting+start Running Stopping+stop Exited");
        check(
            policy,
            "0:start 0:started 1:1 2:stop 101:due",
            "Starting+start Running BackingOff+due@101 Exited-due Exited",
        );
        check(policy, "0:start 1:stop 2:started 3:143", "Starting+start Stopping Stopping+stop Exited");
        check(policy, "0:start 1:stop 2:failed", "Starting+start Stopping Exited");
        check(policy, "0:stop 1:start", "Created Starting+start");
        // It lasts until the next explicit start, which makes the policy count again.
        check(
            policy,
            "0:start 0:started 1:stop 2:0 3:start 3:started 4:0",
            "Starting+start Running Stopping+stop Exited Starting+start Running BackingOff+due@104",
        );
    }

    #[test]
    fn a_start_does_not_wait_for_the_pause() {
        check(
            RestartPolicy::Always,
            "0:start 0:started 0:1 50:start",
            "Starting+start Running BackingOff+due@100 Starting-due+start",
        );
    }

    #[test]
    fn a_restart_that_cannot_start_is_tried_again() {
        check(
            RestartPolicy::Always,
            "0:start 0:started 0:1 100:due 101:failed",
            "Starting+start Running BackingOff+due@100 Starting+start BackingOff+due@301",
        );
        check(RestartPolicy::Always, "0:start 1:failed", "Starting+start Exited");
    }

    #[test]
    fn nothing_leaves_removed() {
        check(
            RestartPolicy::Always,
            "0:start 0:started 0:1 5:remove 100:due 100:start",
            "Starting+start Running BackingOff+due@100 Removed-due Removed Removed",
        );
    }

    #[test]
    fn the_pause_doubles_to_a_minute_and_starts_anew_after_a_good_run() {
        let mut lifecycle = Lifecycle::default();
        let mut now = 0;
        let mut step = |event, after_ms: i64| {
            now += after_ms * MS;
            let (next, actions) = lifecycle.next(event, RestartPolicy::Always, now);
            lifecycle = next;
            match actions.as_slice() {
                [Action::Arm(at)] => (at - now) / MS,
                _ => 0,
            }
        };
        step(Event::Start, 0);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            step(Event::Started, 0);
            let pause = step(Event::Ended(Some(1)), 9_999);
            pauses.push(pause);
            step(Event::Due, pause);
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 60_000, 60_000]);
        step(Event::Started, 0);
        assert_eq!(step(Event::Ended(Some(1)), 10_000), 100);
    }

    #[test]
    fn signals_that_end() {
        assert!(ends(libc::SIGKILL, libc::SIGTERM) && ends(libc::SIGTERM, libc::SIGQUIT));
        assert!(ends(libc::SIGUSR1, libc::SIGUSR1));
        assert!(!ends(libc::SIGUSR1, libc::SIGTERM) && !ends(libc::SIGHUP, libc::SIGTERM));
    }
}
