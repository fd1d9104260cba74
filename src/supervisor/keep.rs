//! The keeper's process: from the hidden command to the loop.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use super::run;
use crate::host::paths::Paths;
use crate::host::process::set_title;
use crate::keeper::{self, Config};

/// The hidden command, after `in-userns --`.
pub const COMMAND: &str = "keep";

/// The keeper's name in `ps` and `top`.
pub(super) const KEEPER: &std::ffi::CStr = c"rc-keeper";

/// Key of the listening control socket in the keeper's store.
pub(super) const CONTROL: &str = "control";

/// The command line of a keeper. The paths go along: inside the user namespace our user is root, who has others.
///
/// `keys` name the descriptors that are handed over behind the log.
pub(super) fn arguments(paths: &Paths, project: &str, keys: &[String]) -> Vec<OsString> {
    let paths = serde_json::to_string(paths).unwrap_or_default();
    let fixed = [COMMAND.into(), project.into(), paths.into()];
    fixed.into_iter().chain(keys.iter().map(OsString::from)).collect()
}

/// Becomes the keeper of a project. `args` is what follows [`COMMAND`]; `fds` are the log and what is
/// to be kept, the listening control socket included. Returns only when it fails.
pub fn keep(args: &[OsString], fds: Vec<OwnedFd>) -> ExitCode {
    let parsed = match args {
        [project, paths, keys @ ..] => {
            let paths = paths.to_str().and_then(|paths| serde_json::from_str::<Paths>(paths).ok());
            let keys: Vec<String> = keys.iter().map(|key| key.to_string_lossy().into_owned()).collect();
            project.to_str().map(str::to_owned).zip(paths).map(|(project, paths)| (project, paths, keys))
        }
        _ => None,
    };
    let mut fds = fds.into_iter();
    let (Some((project, paths, keys)), Some(log)) = (parsed, fds.next()) else {
        return ExitCode::from(2);
    };
    name_process(KEEPER, &format!("rcompose keeper: {project}"));
    let config = Config {
        journal: paths.journal(&project),
        store: keys.into_iter().zip(fds).collect(),
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

/// Names this process in `top` (prctl(2), PR_SET_NAME) and in `ps`: both are one binary with one command line, which is
/// nothing that a user wants to see.
pub(super) fn name_process(name: &std::ffi::CStr, title: &str) {
    // Only what a reader sees depends on it.
    let _ = rustix::thread::set_name(name);
    let _ = set_title(title);
}

/// Writes why one of the two failed to the log, which is its standard error.
pub(super) fn complain(error: &dyn std::error::Error) {
    // Nobody is left to be told if this fails.
    let _ = writeln!(std::io::stderr(), "{}", with_causes(error));
}

/// An error and its causes in one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
