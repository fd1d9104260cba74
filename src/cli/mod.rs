//! What the user said, as one verb on a project.

use std::process::ExitCode;

pub mod commands;

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    commands::hidden::run(std::env::args_os(), &[]).unwrap_or(ExitCode::from(2))
}
