//! What the user said, as one verb on a project.
//!
//! `args` is the table, `commands` has a file for each command: its options and what it prints; the work is in `ops`.
//! No thread and no runtime exists before a command needs one: `ps`, `logs` and `exec` answer within milliseconds.

pub mod args;
pub mod commands;
pub mod complete;
pub mod context;
mod detach;
mod help;
mod later;
pub mod moment;
pub mod shape;
pub mod signal;
pub mod span;
mod switches;
pub mod terminal;
pub mod wire;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use args::Cli;
use commands::hidden::Inside;
use context::Context;

use crate::host::{inherited, mishap};
use crate::ops::{build, worker};
use crate::ui::{console, text};

/// Our processes inside the outer user namespace beside the keeper.
const INSIDE: [(&str, Inside); 3] = [
    (worker::COMMAND, commands::pull::worker),
    (build::COMMAND, commands::build::worker),
    (commands::doctor::PROBE, commands::doctor::probe),
];

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    inherited::shed();
    mishap::be_fatal();
    if let Some(exit) = commands::hidden::run(std::env::args_os(), &INSIDE) {
        return exit;
    }
    if complete::answered() {
        return ExitCode::SUCCESS;
    }
    let parsed = switches::read(std::env::args_os().collect(), |words| {
        let matches = help::grouped(Cli::command()).try_get_matches_from(words);
        matches.and_then(|matches| Cli::from_arg_matches(&matches))
    });
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            if let Some(report) = later::refused(&error) {
                console::err_line(&text::report(&report));
                return ExitCode::from(report.exit.code());
            }
            // Help and version are answers, not failures: clap knows where each goes and how it ends.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let context = Context::new(cli.global, cli.command.name());
    let exit = match context::check_home().and_then(|()| cli.command.run(&context)) {
        Ok(exit) => exit,
        Err(report) => {
            context.fail(&report);
            report.exit
        }
    };
    context.display.finish();
    ExitCode::from(exit.code())
}
