//! Panics: bugs of this program. Whoever has one piece of work dies of them at once; the supervisor, which looks after many
//! containers, keeps a panic in the work for one of them from the others.
//!
//! | where | what becomes of a panic |
//! |---|---|
//! | commands, keeper, workers, what they fork | [`be_fatal`]: told, then SIGABRT; nothing is unwound in a forked process |
//! | supervisor, work for one container or one command | [`contained`]: an error like others, with what it was |
//! | supervisor, work on which all others stand | [`vital`]: the process ends; the keeper starts the next, which takes over |

use std::any::Any;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt;

/// Exit code of a supervisor that cannot go on: `EX_SOFTWARE` (sysexits.h).
const SOFTWARE: i32 = 70;

/// What the last panic said, with its place: whoever catches it gets only the words.
static LAST: Mutex<Option<String>> = Mutex::new(None);

/// A panic that was caught: its place and its words, on one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Panicked(String);

/// Ends this process at a panic, whatever is in the way: in a forked process, unwinding would run what its parent has to
/// do, and clean up after it.
pub fn be_fatal() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        std::process::abort();
    }));
}

/// Lets panics be caught in this process; each is told on standard error when it happens.
pub fn be_caught() {
    std::panic::set_hook(Box::new(|panic| {
        let text = one_line(&panic.to_string());
        // Nobody is left to be told if this fails.
        let _ = writeln!(std::io::stderr(), "rcompose {}: {text}", env!("CARGO_PKG_VERSION"));
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }));
}

/// Awaits work; a panic in it is its result.
///
/// What it has borrowed is given back and what it holds let go while it unwinds. What it was about to change may be half
/// changed: the caller puts that in order.
pub async fn contained<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| caught(&*panic))
}

/// Awaits work without which this process is of no use, and ends it when that panics.
pub async fn vital<T>(work: impl Future<Output = T>) -> T {
    match contained(work).await {
        Ok(result) => result,
        // It was told already.
        Err(_) => std::process::exit(SOFTWARE),
    }
}

fn caught(panic: &(dyn Any + Send)) -> Panicked {
    let words = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    let words = one_line(words.unwrap_or("a panic"));
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).take();
    // Another's words if two panicked at once.
    Panicked(last.filter(|last| last.contains(&words)).unwrap_or(words))
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// A place at which a test may let a panic happen. Nothing here.
#[cfg(not(test))]
pub fn may_trip(_place: &str) {}

#[cfg(test)]
thread_local! {
    static TRIPS: std::cell::RefCell<std::collections::BTreeSet<String>> = Default::default();
}

/// Panics if the test of this thread wants it here, once.
#[cfg(test)]
pub fn may_trip(place: &str) {
    assert!(!TRIPS.with_borrow_mut(|trips| trips.remove(place)), "tripped at {place}");
}

/// Lets the next [`may_trip`] of this thread at that place panic.
#[cfg(test)]
pub fn trip_at(place: &str) {
    TRIPS.with_borrow_mut(|trips| trips.insert(place.to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_the_result_and_names_what_it_was() {
        assert_eq!(contained(async { 7 }).await, Ok(7));
        trip_at("here");
        let result = contained(async {
            tokio::task::yield_now().await;
            may_trip("here");
            may_trip("elsewhere");
        });
        assert_eq!(result.await, Err(Panicked("tripped at here".to_owned())));
        assert_eq!(contained(async { may_trip("here") }).await, Ok(()), "once");
    }
}
