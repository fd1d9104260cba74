//! Running the program: where, with which descriptors, and what is said when it cannot be run.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::unistd::execve;
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat};

use super::error::{Error, failed};
use super::target::Root;
use crate::sys::process::{close_on_exec_from, reset_signals};

/// Where programs are looked up when the environment has no PATH; as Docker's.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a failure to enter the working directory is called; it counts as "cannot be executed".
pub(super) const CHANGE_DIRECTORY: &str = "enter working directory";

/// Enters the working directory, within the root and through no magic link (CVE-2024-21626).
pub(super) fn enter(root: &Root, path: &str) -> Result<(), Error> {
    let directory =
        root.open(path, OFlags::PATH | OFlags::DIRECTORY).map_err(failed(CHANGE_DIRECTORY, path))?;
    rustix::process::fchdir(directory).map_err(failed(CHANGE_DIRECTORY, path))?;
    // A directory that is not below our root has no path: "(unreachable)…", which the C library makes ENOENT.
    let inside = rustix::process::getcwd(Vec::new()).is_ok_and(|path| path.as_bytes().starts_with(b"/"));
    if inside { Ok(()) } else { Err(Error::Redirected { target: path.to_owned() }) }
}

/// Replaces this process by the program; returns only the reason why not.
pub(super) fn exec(argv: &[String], env: &[String], home: &str) -> Error {
    match try_exec(argv, env, home) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_exec(argv: &[String], env: &[String], home: &str) -> Result<std::convert::Infallible, Error> {
    let program = argv.first().filter(|program| !program.is_empty()).ok_or(Error::NoCommand)?;
    let arguments = argv.iter().map(|text| c_string(text)).collect::<Result<Vec<_>, _>>()?;
    let mut variables = env.iter().map(|text| c_string(text)).collect::<Result<Vec<_>, _>>()?;
    if !env.iter().any(|variable| variable.starts_with("HOME=")) {
        variables.push(c_string(&format!("HOME={home}"))?);
    }
    // Whatever else is open stays out of the container.
    close_on_exec_from(3).map_err(failed("close", "inherited descriptors"))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    reset_signals();
    if program.contains('/') {
        let Err(error) = execve(c_string(program)?.as_c_str(), &arguments, &variables);
        return Err(
            said(program, program, error).unwrap_or(Error::ProgramMissing { program: program.clone() })
        );
    }
    let path = env.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(USUAL_PATH);
    let mut refusal = None;
    for directory in path.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        let candidate = format!("{directory}/{program}");
        let Err(error) = execve(c_string(&candidate)?.as_c_str(), &arguments, &variables);
        // As execvp(3): what may not be executed is remembered, and a later directory may have a better one.
        refusal = refusal.or(said(program, &candidate, error));
    }
    Err(refusal.unwrap_or(Error::ProgramNotInPath { program: program.clone() }))
}

/// Returns what an error of execve means, `None` if just that the file is not there.
fn said(program: &str, candidate: &str, error: Errno) -> Option<Error> {
    let program = program.to_owned();
    match error {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP => {
            let there = accessat(CWD, candidate, Access::EXISTS, AtFlags::empty()).is_ok();
            there.then_some(Error::InterpreterMissing { program })
        }
        error => Some(Error::ProgramRefused { program, source: io::Error::from(error) }),
    }
}

fn c_string(text: &str) -> Result<CString, Error> {
    CString::new(OsStr::new(text).as_bytes())
        .map_err(|error| Error::ZeroByte { text: text.chars().take(error.nul_position()).collect() })
}
