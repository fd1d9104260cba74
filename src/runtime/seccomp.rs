//! Profiles of system calls, and their compilation to the kernel's filter language (classic BPF, seccomp(2)).
//!
//! ```text
//! default table | JSON of the user ──▶ Profile ──▶ rules that hold for these capabilities, kernel, architecture
//!   ──▶ for each architecture: number ranges, each with an answer ──▶ a search tree of jumps ──▶ bytes
//! ```
//!
//! Where several rules name a call, the first whose arguments match answers. A call newer than all that a profile
//! knows gets ENOSYS, so that programs try the older one, as runc does. Calls of the 32-bit relatives (i386 and x32,
//! arm) are judged by their own numbers; any other architecture ends the process's thread, as libseccomp does.

mod assemble;
mod numbers;
mod profile;
mod select;
#[cfg(test)]
mod tests;
mod usual;

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::caps;
use super::spec::Seccomp;
use numbers::Machine;
use profile::Profile;
use select::Circumstances;

/// A profile that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not JSON, or not of the form that Docker reads.
    #[error("the seccomp profile cannot be read")]
    Syntax {
        /// Where and why.
        source: serde_json::Error,
    },
    /// An action that we do not know or cannot do.
    #[error("`{action}` is not an action of a seccomp profile here")]
    Action {
        /// As it is written.
        action: String,
    },
    /// A comparison that does not exist.
    #[error("`{operator}` is not a comparison of a seccomp profile")]
    Operator {
        /// As it is written.
        operator: String,
    },
    /// A system call has six arguments.
    #[error("a system call has no argument {index}: they count from 0 to 5")]
    Argument {
        /// As it is written.
        index: u32,
    },
    /// A kernel version that is none.
    #[error("`{version}` is not a kernel version")]
    Kernel {
        /// As it is written.
        version: String,
    },
    /// Neither x86_64 nor aarch64.
    #[error("no system call numbers are known for `{machine}`")]
    Machine {
        /// The architecture, as Rust names it.
        machine: String,
    },
    /// More instructions than the kernel takes.
    #[error("the seccomp profile needs {instructions} instructions, the kernel takes 4096")]
    TooLong {
        /// How many.
        instructions: usize,
    },
    /// A capability that is none.
    #[error(transparent)]
    Capability(#[from] caps::Unknown),
}

impl From<Error> for crate::report::Report {
    fn from(error: Error) -> crate::report::Report {
        let report = crate::report::Report::from_error(crate::report::Exit::Failure, &error);
        match error {
            Error::Action { .. } => report.hint(
                "those there are: SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, SCMP_ACT_KILL, SCMP_ACT_KILL_PROCESS, \
                 SCMP_ACT_KILL_THREAD, SCMP_ACT_TRAP, SCMP_ACT_LOG, SCMP_ACT_TRACE",
            ),
            Error::Operator { .. } => {
                report.hint("SCMP_CMP_ followed by NE, LT, LE, EQ, GE, GT or MASKED_EQ")
            }
            _ => report,
        }
    }
}

/// Compiles a profile for a process that may have these capabilities (names with or without `CAP_`), on this kernel.
///
/// `machine` is an architecture as [`std::env::consts::ARCH`] names it. Returns an array of `struct sock_filter` in
/// this machine's byte order; [`Seccomp::Unconfined`] is one that allows all. Results are kept: asking again costs a
/// look-up.
pub fn compile(profile: &Seccomp, capabilities: &[String], machine: &str) -> Result<Vec<u8>, Error> {
    type Kept = Mutex<HashMap<(String, u64, String), Vec<u8>>>;
    static KEPT: OnceLock<Kept> = OnceLock::new();
    let capabilities = caps::Set::from_names(capabilities)?;
    let text = match profile {
        Seccomp::Default => "default",
        Seccomp::Unconfined => "unconfined",
        Seccomp::Profile(text) => text,
    };
    let key = (text.to_owned(), capabilities.0, machine.to_owned());
    let kept = KEPT.get_or_init(Mutex::default);
    if let Some(bytes) = kept.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(bytes.clone());
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let kernel = profile::version(&release).unwrap_or((u32::MAX, 0));
    let machine = Machine::named(machine)?;
    let profile = match profile {
        Seccomp::Default => usual::profile(),
        Seccomp::Unconfined => Profile::unconfined(),
        Seccomp::Profile(text) => Profile::from_json(text)?,
    };
    let bytes = build(&profile, &Circumstances { capabilities, kernel, machine })?;
    kept.lock().unwrap_or_else(PoisonError::into_inner).insert(key, bytes.clone());
    Ok(bytes)
}

/// The whole way, pure.
fn build(profile: &Profile, circumstances: &Circumstances) -> Result<Vec<u8>, Error> {
    let sections: Vec<_> = circumstances
        .machine
        .audits(&profile.architectures)
        .into_iter()
        .map(|audit| (audit.token(), select::ranges(profile, circumstances, audit)))
        .collect();
    assemble::program(&sections)
}
