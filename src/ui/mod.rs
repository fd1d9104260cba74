//! What the user sees: reports, progress, tables, log lines. Values in, text out.
//!
//! `text`, `table`, `template`, `value`, `logs` and `printable` are pure: they return strings. `console` is the door through which all
//! output goes; `progress` draws on it while a command is under way. Nothing here knows what a project is.

pub mod build;
pub mod console;
pub mod logs;
pub mod printable;
pub mod progress;
pub mod table;
pub mod template;
pub mod text;
pub mod value;
