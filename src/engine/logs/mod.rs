//! What containers print: kept, read, followed.
//!
//! ```text
//! container ── pipe ──▶ splice ──▶ log/stdout, log/stderr      bytes, exactly as written
//!                           └────▶ log/index                   one record a splice: when, which stream, how many bytes
//! ```
//!
//! The supervisor moves bytes with splice(2), so a byte leaves the pipe exactly when it is in the file: killed at any
//! instant, it loses and doubles nothing. Only the record in the index can be missing then; [`index::repair`] makes it
//! from the length of the file. When a log has a greatest size the whole directory `log` is renamed to `log.1` (and
//! `log.1` to `log.2` …), which is one atomic step. Readers need nobody: `logs` reads these files and waits by inotify.

pub mod capture;
pub mod follow;
mod generation;
pub mod index;
pub mod read;
mod tail;

use std::path::{Path, PathBuf};

pub use follow::{Filter, Follow};
pub use index::Stream;
pub use read::{Line, Reader, Window};

/// The directory of the newest generation.
pub(crate) fn current(container: &Path) -> PathBuf {
    container.join("log")
}

/// The directory of an older generation, counted from 1.
pub(crate) fn older(container: &Path, generation: u32) -> PathBuf {
    container.join(format!("log.{generation}"))
}

/// Name of a stream's file in a generation.
pub(crate) fn file_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    }
}

/// Name of the index in a generation.
pub(crate) const INDEX: &str = "index";
