//! The keeper's process: from the hidden command to the loop.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use super::run;
use crate::host::paths::Paths;
use crate::keeper::{self, Config};

/// The hidden command, after `in-userns --`.
pub const COMMAND: &str = "keep";

/// Key of the listening control socket in the keeper's store.
pub(super) const CONTROL: &str = "control";

/// The command line of a keeper. The paths go along: inside the user namespace our user is root, who has others.
pub(super) fn arguments(paths: &Paths, project: &str) -> Vec<OsString> {
    let paths = serde_json::to_string(paths).unwrap_or_default();
    vec![COMMAND.into(), project.into(), paths.into()]
}

/// Becomes the keeper of a project. `args` is what follows [`COMMAND`]; `fds` are the listening control socket and the
/// log. Returns only when it fails.
pub fn keep(args: &[OsString], fds: Vec<OwnedFd>) -> ExitCode {
    let parsed = match args {
        [project, paths] => {
            let paths = paths.to_str().and_then(|paths| serde_json::from_str::<Paths>(paths).ok());
            project.to_str().map(str::to_owned).zip(paths)
        }
        _ => None,
    };
    let mut fds = fds.into_iter();
    let (Some((project, paths)), Some(listener), Some(log)) = (parsed, fds.next(), fds.next()) else {
        return ExitCode::from(2);
    };
    let config = Config {
        journal: paths.journal(&project),
        store: vec![(CONTROL.to_owned(), listener)],
        adopt: Vec::new(),
        log: Some(log),
    };
    let supervise = |keeper: OwnedFd| -> Infallible { run::run(paths.clone(), &project, keeper) };
    match keeper::run(config, supervise) {
        Ok(never) => match never {},
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Writes why one of the two failed to the log, which is its standard error.
pub(super) fn complain(error: &dyn std::error::Error) {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    // Nobody is left to be told if this fails.
    let _ = writeln!(std::io::stderr(), "{text}");
}
