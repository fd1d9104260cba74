//! What containers print: kept, read, followed.
//!
//! ```text
//! container ── pipe ──▶ splice ──▶ log/stdout, log/stderr      bytes, exactly as written
//!                           └────▶ log/index                   one record a splice: when, which stream, how many bytes
//! ```
//!
//! The supervisor moves bytes with splice(2), so a byte leaves the pipe exactly when it is in the file: killed at any
//! instant, it loses and doubles nothing. Only the record in the index can be missing then; [`index::repair`] makes it
//! from the length of the file. Readers need nobody: `logs` reads these files and waits by inotify.
//!
//! A log with a greatest size is a row of generations, `log`, `log.9`, `log.17` …: a full one is followed by the next,
//! wherever in a line that is (the index of the next says so), and the oldest go. What somebody follows goes only when it
//! was read; `place.rs` has the rules. Of a very small log more is on disk than readers show.

pub mod capture;
pub mod follow;
mod generation;
pub mod index;
mod place;
pub mod read;
mod tail;

pub use follow::{Filter, Follow};
pub use index::Stream;
pub use read::{Line, Reader, Window};

/// Name of a stream's file in a generation.
pub(crate) fn file_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    }
}

/// Name of the index in a generation.
pub(crate) const INDEX: &str = "index";

#[cfg(test)]
mod tests;
