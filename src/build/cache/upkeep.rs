//! When to keep to age and budget: not after every build, for counting everything takes longer than a build of which all
//! is cached.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{Cache, FORMAT};
use crate::build::error::Error;
use crate::host::files::{self, Durability};
use crate::image::Users;

/// After so long age counts, and cache mounts may have grown.
const BETWEEN: Duration = Duration::from_secs(24 * 60 * 60);
/// The budget may be exceeded by one part of so many.
const PARTS: u64 = 20;

/// What has happened since the cache was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Upkeep {
    /// When it was counted.
    counted: SystemTime,
    /// Bytes of layers that were made since.
    made: u64,
}

impl Upkeep {
    /// Whether it is time, for a budget in bytes.
    fn is_due(&self, now: SystemTime, budget: Option<u64>) -> bool {
        // A clock that was set back makes it due, too.
        now.duration_since(self.counted).map_or(true, |since| since >= BETWEEN)
            || budget.is_some_and(|budget| self.made > budget / PARTS)
    }
}

impl Cache {
    /// Keeps to age and budget where it is time, after a build that has made layers of so many bytes.
    pub fn look_after(&self, made: u64, users: Users<'_>) -> Result<(), Error> {
        if made == 0 {
            return Ok(());
        }
        let now = SystemTime::now();
        let before = files::read_record::<Upkeep>(&self.upkeep, FORMAT).ok().flatten();
        let mut upkeep = before.unwrap_or(Upkeep { counted: now, made: 0 });
        upkeep.made = upkeep.made.saturating_add(made);
        if upkeep.is_due(now, self.budget()?.bytes()) {
            self.trim(users)?;
            upkeep = Upkeep { counted: now, made: 0 };
        }
        Ok(files::write_record(&self.upkeep, FORMAT, &upkeep, Durability::Crash)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_time_after_a_day_or_when_much_was_made() {
        let counted = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let check = |hours: u64, made: u64, budget: Option<u64>, expected: bool| {
            let now = counted + Duration::from_secs(hours * 3600);
            assert_eq!(Upkeep { counted, made }.is_due(now, budget), expected, "{hours} {made} {budget:?}");
        };
        check(1, 0, Some(100), false);
        check(24, 0, Some(100), true);
        check(1, 5, Some(100), false);
        check(1, 6, Some(100), true);
        check(1, 6, None, false);
        let earlier = counted - Duration::from_secs(1);
        assert!(Upkeep { counted, made: 0 }.is_due(earlier, None), "the clock was set back");
    }
}
