//! The supervisor end.
