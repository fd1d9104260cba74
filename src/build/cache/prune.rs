//! Out of the cache what was of no use for long: by choice, by age, or until the rest fits into a budget.
//!
//! A build may go on meanwhile. What it has found it keeps by its lease; a cache mount in use is locked; a record that
//! goes between two looks is a step that is done again.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::entries::{Found, Kept, age};
use super::{Cache, Entry, Key, Kind, PIN};
use crate::build::error::Error;
use crate::host::files::{self, Durability, failed};
use crate::host::removal::remove_tree;
use crate::image::{InUse, Users};

/// What was of no use for so long goes after a build, whatever the budget.
const OLD: Duration = Duration::from_secs(60 * 24 * 60 * 60);
/// Without a word of the user the cache may take a tenth of its file system …
const PART: u64 = 10;
/// … and not less than this.
const LEAST: u64 = 2_000_000_000;
/// After these many rounds what is left is shared, and removing it would free nothing.
const ROUNDS: usize = 4;

/// Which entries go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Also what images have too, so that nothing is freed, and what costs next to nothing.
    pub all: bool,
    /// Only what was of no use for so long.
    pub unused_for: Option<Duration>,
    /// Only until no more than these bytes are left, what was of use least recently first.
    pub keep: Option<u64>,
    /// Only these kinds; empty is all.
    pub kinds: Vec<String>,
    /// Only those whose ids begin so; empty is all.
    pub ids: Vec<String>,
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Bytes that are free now.
    pub bytes: u64,
}

/// How much the cache may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Budget {
    /// What we think is right for its disk.
    Usual(u64),
    /// What the user has said.
    Said(u64),
    /// All there is.
    Unlimited,
}

impl Budget {
    /// The bytes.
    pub fn bytes(self) -> Option<u64> {
        match self {
            Budget::Usual(bytes) | Budget::Said(bytes) => Some(bytes),
            Budget::Unlimited => None,
        }
    }
}

impl Choice {
    /// Returns whether an entry goes, the bytes that may stay apart.
    pub fn chooses(&self, entry: &Entry, now: SystemTime) -> bool {
        let worth = entry.private() > 0 && !matches!(entry.kind, Kind::Sums | Kind::Context);
        !entry.in_use
            && (self.all || worth)
            && self.unused_for.is_none_or(|long| age(entry.used, now) >= long)
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == entry.kind.name()))
            && (self.ids.is_empty() || self.ids.iter().any(|id| entry.id.starts_with(id.as_str())))
    }

    /// Chooses among all entries, what was of use least recently first.
    fn choose(&self, mut found: Vec<Found>, now: SystemTime) -> Vec<Found> {
        let mut left: u64 = found.iter().map(|found| found.entry.private()).sum();
        found.retain(|found| self.chooses(&found.entry, now));
        found.sort_by_key(|found| found.entry.used);
        let Some(keep) = self.keep else { return found };
        found.retain(|found| {
            let over = left > keep;
            if over {
                left -= found.entry.private();
            }
            over
        });
        found
    }
}

impl Cache {
    /// All entries, what was of use last first.
    pub fn entries(&self, in_use: &InUse) -> Result<Vec<Entry>, Error> {
        let mut entries: Vec<Entry> = self.found(in_use)?.into_iter().map(|found| found.entry).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        Ok(entries)
    }

    /// Removes what is chosen and nobody works with.
    pub fn prune(&self, choice: &Choice, users: Users<'_>) -> Result<Pruned, Error> {
        self.tidy()?;
        let mut pruned = Pruned::default();
        for _ in 0..ROUNDS {
            let chosen = choice.choose(self.found(&users()?)?, SystemTime::now());
            if chosen.is_empty() {
                break;
            }
            for found in chosen {
                if self.remove(&found.kept)? {
                    pruned.bytes += if matches!(found.kept, Kept::Step(_)) { 0 } else { found.entry.size };
                    pruned.entries.push(found.entry);
                }
            }
            pruned.bytes += self.store.prune(&|_| false, users)?.bytes;
            // What steps shared among them is free only when all are gone; then more may have to go, or less.
            if choice.keep.is_none() {
                break;
            }
        }
        Ok(pruned)
    }

    /// Keeps to age and budget, as after each build that has made something.
    pub fn trim(&self, users: Users<'_>) -> Result<Pruned, Error> {
        let old = Choice { all: true, unused_for: Some(OLD), ..Choice::default() };
        let mut pruned = self.prune(&old, users)?;
        if let Some(bytes) = self.budget()?.bytes() {
            let fits = Choice { keep: Some(bytes), ..Choice::default() };
            let more = self.prune(&fits, users)?;
            pruned.entries.extend(more.entries);
            pruned.bytes += more.bytes;
        }
        Ok(pruned)
    }

    /// How much all this may take.
    pub fn budget(&self) -> Result<Budget, Error> {
        let said = files::read_if_there(&self.budget_path())?.unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        Ok(match said.trim() {
            "unlimited" => Budget::Unlimited,
            text => match text.parse() {
                Ok(bytes) => Budget::Said(bytes),
                Err(_) => Budget::Usual(usual(&self.root)?),
            },
        })
    }

    /// Sets how much all this may take.
    pub fn set_budget(&self, bytes: Option<u64>) -> Result<(), Error> {
        let text = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        Ok(files::write(&self.budget_path(), format!("{text}\n").as_bytes(), Durability::Power)?)
    }

    fn budget_path(&self) -> PathBuf {
        self.root.join("budget")
    }

    /// Removes one entry; `false` when somebody has begun to work with it.
    fn remove(&self, kept: &Kept) -> Result<bool, Error> {
        match kept {
            Kept::Step(key) => self.forget(key).map(|()| true),
            Kept::Mount(path) => Ok(remove_mount(path)?),
            Kept::Files(paths) => {
                for path in paths {
                    remove_file(path)?;
                }
                Ok(true)
            }
        }
    }

    /// Clears what has no other half any more: a record whose pin went with the store's budget, a pin whose record was
    /// never written, what an interrupted removal has left.
    fn tidy(&self) -> Result<(), Error> {
        let mut keys: Vec<Key> = Vec::new();
        for entry in fs::read_dir(&self.steps).map_err(failed("read", &self.steps))? {
            let name = entry.map_err(failed("read", &self.steps))?.file_name();
            keys.extend(name.to_str().and_then(|name| name.parse::<Key>().ok()));
        }
        // Read after the records, whose pins are written before them: a record without one is nobody's.
        let pins: HashSet<String> = self.store.pins()?.into_iter().map(|pin| pin.name).collect();
        for key in keys {
            if !pins.contains(&Cache::pin(&key)) || self.record(&key)?.is_none() {
                self.forget(&key)?;
            }
        }
        for name in &pins {
            let Some(key) = name.strip_prefix(PIN).and_then(|name| name.parse().ok()) else { continue };
            // A build that is about to write the record holds the step's lock.
            if !self.path(&key).exists() && !self.lock_path(&key).exists() {
                self.store.unpin(name)?;
            }
        }
        for id in fs::read_dir(&self.mounts).map_err(failed("read", &self.mounts))?.flatten() {
            for gone in fs::read_dir(id.path()).into_iter().flatten().flatten() {
                if gone.file_name().as_encoded_bytes().starts_with(GONE.as_bytes()) {
                    let _ = remove_tree(&gone.path());
                }
            }
        }
        Ok(())
    }
}

/// How a cache mount that is being removed is called.
const GONE: &str = ".gone-";

/// Removes a cache mount that nobody holds.
fn remove_mount(path: &Path) -> Result<bool, files::Error> {
    let Ok(file) = files::open_directory(path) else { return Ok(false) };
    if file.try_lock().is_err() {
        return Ok(false);
    }
    // Out of sight first: half of one would be found and used.
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let gone = path.with_file_name(format!("{GONE}{name}"));
    let _ = remove_tree(&gone);
    fs::rename(path, &gone).map_err(failed("remove", path))?;
    remove_tree(&gone).map_err(failed("remove", &gone))?;
    if let Some(id) = path.parent() {
        super::mounts::forget(id);
    }
    Ok(true)
}

fn remove_file(path: &Path) -> Result<(), files::Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// What a cache on this file system may take.
fn usual(root: &Path) -> Result<u64, files::Error> {
    let disk = rustix::fs::statvfs(root).map_err(|error| failed("measure", root)(error.into()))?;
    Ok((disk.f_blocks.saturating_mul(disk.f_frsize) / PART).max(LEAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(id: &str, size: u64, shared: u64, hours: u64) -> Found {
        let used = SystemTime::UNIX_EPOCH + Duration::from_secs(hours * 3600);
        let kind = if id.starts_with('m') { Kind::Mount } else { Kind::Step };
        let entry = Entry {
            id: id.to_owned(),
            kind,
            description: String::new(),
            size,
            shared,
            used,
            in_use: id.ends_with('!'),
        };
        Found { entry, kept: Kept::Files(Vec::new()) }
    }

    fn check(choice: &Choice, expected: &str) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100 * 3600);
        let all = vec![
            found("new", 10, 0, 99),
            found("old", 20, 0, 1),
            found("image", 30, 30, 50),
            found("mount", 40, 0, 60),
            found("busy!", 50, 0, 0),
        ];
        let chosen: Vec<String> = choice.choose(all, now).into_iter().map(|found| found.entry.id).collect();
        assert_eq!(chosen.join(" "), expected, "{choice:?}");
    }

    #[test]
    fn what_was_of_use_least_recently_goes_first_and_what_is_in_use_stays() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        check(&Choice::default(), "old mount new");
        check(&Choice { all: true, ..Choice::default() }, "old image mount new");
        check(&Choice { unused_for: hours(30), ..Choice::default() }, "old mount");
        check(&Choice { all: true, unused_for: hours(45), ..Choice::default() }, "old image");
        // 120 bytes are the cache's own.
        check(&Choice { keep: Some(120), ..Choice::default() }, "");
        check(&Choice { keep: Some(119), ..Choice::default() }, "old");
        check(&Choice { keep: Some(70), ..Choice::default() }, "old mount");
        check(&Choice { keep: Some(0), ..Choice::default() }, "old mount new");
        check(&Choice { kinds: vec!["exec.cachemount".to_owned()], ..Choice::default() }, "mount");
        check(&Choice { ids: vec!["ol".to_owned()], ..Choice::default() }, "old");
    }

    #[test]
    fn a_mount_in_use_is_not_removed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("0");
        fs::create_dir_all(path.join("data/x")).expect("made");
        let held = fs::File::open(&path).expect("open");
        held.lock_shared().expect("locked");
        assert!(!remove_mount(&path).expect("tried") && path.join("data/x").exists());
        drop(held);
        assert!(remove_mount(&path).expect("removed") && !path.exists());
        assert!(!remove_mount(&path).expect("nothing there"));
    }
}
