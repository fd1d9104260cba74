//! The keeper's process: from the hidden command to the loop.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use super::run;
use crate::host::limits;
use crate::host::paths::Paths;
use crate::host::process::set_title;
use crate::keeper::{self, Config};
use crate::report::with_causes;

/// The hidden command, after `in-userns --`.
pub const COMMAND: &str = "keep";

/// The word for no limit of open files.
const UNLIMITED: &str = "unlimited";

/// The keeper's name in `ps` and `top`.
pub(super) const KEEPER: &std::ffi::CStr = c"rc-keeper";

/// Key of the listening control socket in the keeper's store.
pub(super) const CONTROL: &str = "control";

/// The command line of a keeper. The paths go along: inside the user namespace our user is root, who has others. So does
/// how many files the user's programs may open, which is what containers begin with.
///
/// `keys` name the descriptors that are handed over behind the log.
pub(super) fn arguments(paths: &Paths, project: &str, keys: &[String]) -> Vec<OsString> {
    let paths = serde_json::to_string(paths).unwrap_or_default();
    let files = limits::usual_files().map_or_else(|| UNLIMITED.to_owned(), |files| files.to_string());
    let fixed = [COMMAND.into(), project.into(), paths.into(), files.into()];
    fixed.into_iter().chain(keys.iter().map(OsString::from)).collect()
}

/// Becomes the keeper of a project. `args` is what follows [`COMMAND`]; `fds` are the log and what is
/// to be kept, the listening control socket included. Returns only when it fails.
pub fn keep(args: &[OsString], fds: Vec<OwnedFd>) -> ExitCode {
    let parsed = match args {
        [project, paths, files, keys @ ..] => {
            limits::remember_usual_files(files.to_str().and_then(|files| files.parse().ok()));
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
        door: Some(CONTROL.to_owned()),
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

/// The log is shortened by a supervisor that finds it longer than this, in bytes.
const LONGEST_LOG: u64 = 1 << 20;
/// So much of its end is kept then.
const KEPT_OF_LOG: u64 = 64 << 10;

/// Keeps what every supervisor adds from growing for ever: cuts the log's beginning off. Standard error of both processes
/// goes on at its end.
pub(super) fn shorten_log(path: &Path) {
    // What cannot be shortened now is so by the next.
    let _ = shorten(path);
}

fn shorten(path: &Path) -> io::Result<()> {
    let mut log = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let length = log.metadata()?.len();
    if length <= LONGEST_LOG {
        return Ok(());
    }
    let mut end = Vec::new();
    log.seek(SeekFrom::Start(length - KEPT_OF_LOG))?;
    log.read_to_end(&mut end)?;
    // From the first whole line on.
    let begin = end.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    log.set_len(0)?;
    log.rewind()?;
    log.write_all(&end[begin..])
}

/// The project of a keeper or supervisor of anybody's, by its title. Who it is may have written anything there: only what
/// can be the name of a project is taken.
pub fn project_of(pid: u32) -> Option<String> {
    let title = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let title = std::str::from_utf8(&title).ok()?.trim_end_matches('\0');
    let of = |role: &str| title.strip_prefix("rcompose ")?.strip_prefix(role)?.strip_prefix(": ");
    of("keeper").or_else(|| of("supervisor")).filter(|name| may_be_project(name)).map(str::to_owned)
}

/// The living supervisor of a keeper of ours.
pub(super) fn supervisor_of(keeper: i32, project: &str) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).ok()?;
    let own = format!("rcompose supervisor: {project}");
    let is_it = |pid: &i32| {
        let title = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        title.strip_prefix(own.as_bytes()).is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
    };
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_it)
}

/// Lower-case letters, digits, `_` and `-`, the first a letter or digit (Compose specification, `name`).
fn may_be_project(name: &str) -> bool {
    let plain = |c: char| matches!(c, 'a'..='z' | '0'..='9');
    name.starts_with(plain) && name.chars().all(|c| plain(c) || matches!(c, '_' | '-'))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_that_names_no_project_is_nobodys() {
        for (name, may_be) in
            [("web-1_a", true), ("1", true), ("", false), ("-a", false), ("a;b", false), ("a\x1b[m", false)]
        {
            assert_eq!(may_be_project(name), may_be, "{name:?}");
        }
    }

    #[test]
    fn a_long_log_keeps_its_end_and_who_appends_goes_on_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keeper.log");
        let mut log = OpenOptions::new().append(true).create(true).open(&path).expect("made");
        for number in 0..100_000 {
            writeln!(log, "line {number:06}").expect("written");
        }
        shorten(&path).expect("shortened");
        let text = std::fs::read_to_string(&path).expect("read");
        assert!(
            text.len() as u64 <= KEPT_OF_LOG
                && text.starts_with("line 09")
                && text.ends_with("line 099999\n")
        );
        writeln!(log, "more").expect("written");
        shorten(&path).expect("short enough");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), format!("{text}more\n"));
    }
}
