//! What can go wrong between a spec and a running program.

use std::io;

use crate::host::files;
use crate::report::{Exit, Report};

/// A container or an exec that could not be made. The text is complete: it crosses a process border.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("cannot {doing} `{what}`")]
    System {
        /// What we were doing: `open`, `join the network namespace of`.
        doing: &'static str,
        /// To what.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file system could not be mounted.
    #[error("cannot mount {file_system} at `{target}`{}", said(detail))]
    Mount {
        /// `overlay`, `proc`, `tmpfs`.
        file_system: &'static str,
        /// Where, inside.
        target: String,
        /// What the kernel said of the parameters, or empty.
        detail: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the host could not be written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A directory was to be mounted onto a file, or the other way round.
    #[error("cannot mount a {source_kind} onto `{target}`, which is a {target_kind}")]
    Kinds {
        /// `file` or `directory`.
        source_kind: &'static str,
        /// Inside.
        target: String,
        /// Likewise.
        target_kind: &'static str,
    },
    /// A symbolic link stands where only a directory or file of the kernel may be.
    #[error("`{target}` in the container leads elsewhere by a symbolic link")]
    Redirected {
        /// Inside.
        target: String,
    },
    /// A mount whose target lies in /proc, where it could fake what the kernel says.
    #[error("mount target `{target}` is inside /proc")]
    InsideProc {
        /// Inside.
        target: String,
    },
    /// What should be a file of procfs or devpts is something else.
    #[error("`{path}` in the container is not the kernel's")]
    NotKernels {
        /// Inside.
        path: String,
    },
    /// The user is not in the image's /etc/passwd.
    #[error("no user `{user}` in the image's /etc/passwd")]
    UnknownUser {
        /// As written.
        user: String,
    },
    /// A number that is no id: `(uid_t) -1` and beyond.
    #[error("`{id}` is no id: the highest is 4294967294")]
    NoId {
        /// As written, or as in the image's files.
        id: String,
    },
    /// The group is not in the image's /etc/group.
    #[error("no group `{group}` in the image's /etc/group")]
    UnknownGroup {
        /// As written.
        group: String,
        /// Where: `user` or `group_add`.
        attribute: &'static str,
    },
    /// The user namespace has no such id.
    #[error("user {uid}:{gid} cannot be used: the id is not mapped on this host")]
    Unmapped {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
    /// No such capability.
    #[error("no capability `{name}`")]
    UnknownCapability {
        /// As written.
        name: String,
    },
    /// No such limit.
    #[error("no resource limit `{name}`")]
    UnknownLimit {
        /// As written.
        name: String,
    },
    /// A kernel parameter that belongs to the whole host.
    #[error("sysctl `{name}` is not the container's own")]
    SysctlOfHost {
        /// As written.
        name: String,
    },
    /// The system call filter could not be made.
    #[error("the seccomp profile cannot be used")]
    Seccomp(#[source] super::seccomp::Error),
    /// Nothing to run.
    #[error("no command to run")]
    NoCommand,
    /// The program is not there.
    #[error("exec: `{program}`: executable file not found in $PATH")]
    ProgramNotInPath {
        /// As written.
        program: String,
    },
    /// The program is not there.
    #[error("exec: `{program}`: no such file or directory")]
    ProgramMissing {
        /// As written.
        program: String,
    },
    /// The program is there, what it is run by is not.
    #[error("exec: `{program}`: its interpreter or loader is missing in the container")]
    InterpreterMissing {
        /// As written.
        program: String,
    },
    /// The program is there and does not run.
    #[error("exec: `{program}`")]
    ProgramRefused {
        /// As written.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// An argument, a variable or a path holds a zero byte.
    #[error("`{text}` holds a zero byte")]
    ZeroByte {
        /// Up to that byte.
        text: String,
    },
    /// What an attribute of a service asks for could not be had.
    #[error("{cause}")]
    Asked {
        /// `devices`.
        attribute: &'static str,
        /// Why.
        cause: Box<Error>,
    },
    /// Namespaces of another container are closed to us.
    #[error("cannot join {} of {}", content.join(" and "), container_name(container))]
    Join {
        /// `the network`, `the shared memory`.
        content: Vec<&'static str>,
        /// Its name; `None` where who reads this knows.
        container: Option<String>,
        /// What the system said.
        source: io::Error,
    },
    /// The caller handed over less than the spec needs.
    #[error("{what} was not handed over")]
    NoHandle {
        /// `the network namespace`, `container 1234`.
        what: String,
    },
}

fn said(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

fn container_name(name: &Option<String>) -> String {
    name.as_ref().map_or("the container".to_owned(), |name| format!("container `{name}`"))
}

impl Error {
    /// Returns what could not be had, whoever asked for it.
    pub(super) fn itself(&self) -> &Error {
        match self {
            Error::Asked { cause, .. } => cause.itself(),
            _ => self,
        }
    }

    /// Says which attribute of the service asks for what failed.
    pub(super) fn asked_by(attribute: &'static str) -> impl FnOnce(Error) -> Error {
        move |error| Error::Asked { attribute, cause: Box::new(error) }
    }

    /// Returns what a shell would exit with: 127 no such program, 126 not executable, 125 for what is ours.
    pub fn code(&self) -> i32 {
        match self {
            Error::ProgramNotInPath { .. }
            | Error::ProgramMissing { .. }
            | Error::InterpreterMissing { .. } => 127,
            Error::ProgramRefused { .. } => 126,
            Error::System { doing: super::program::CHANGE_DIRECTORY, .. } => 126,
            Error::Asked { cause, .. } => cause.code(),
            _ => 125,
        }
    }

    /// Returns the service's attribute at fault, where it is one.
    pub fn attribute(&self) -> Option<&'static str> {
        match self {
            Error::UnknownGroup { attribute, .. } | Error::Asked { attribute, .. } => Some(attribute),
            Error::UnknownUser { .. } | Error::NoId { .. } | Error::Unmapped { .. } => Some("user"),
            Error::Kinds { .. } => Some("volumes"),
            Error::UnknownCapability { .. } => Some("cap_add"),
            Error::UnknownLimit { .. } => Some("ulimits"),
            Error::SysctlOfHost { .. } => Some("sysctls"),
            Error::System { doing: super::credentials::LIMIT, .. } => Some("ulimits"),
            Error::System { doing: super::program::CHANGE_DIRECTORY, .. } => Some("working_dir"),
            Error::NoCommand
            | Error::ProgramNotInPath { .. }
            | Error::ProgramMissing { .. }
            | Error::InterpreterMissing { .. }
            | Error::ProgramRefused { .. } => Some("command.0"),
            _ => None,
        }
    }

    /// Returns what to do about it.
    pub fn hints(&self) -> Vec<String> {
        let one = |text: &str| vec![text.to_owned()];
        match self {
            Error::Asked { attribute: "tmpfs" | "volumes", cause }
                if matches!(**cause, Error::Kinds { .. }) =>
            {
                one("memory can only be mounted on a directory: give it another target")
            }
            Error::Asked { cause, .. } => cause.hints(),
            Error::Mount { file_system: "overlay", source, .. }
                if source.raw_os_error() == Some(libc::EINVAL) =>
            {
                one(
                    "the state directory must be on a file system that overlayfs can write to (ext4, xfs, btrfs, \
                     tmpfs since Linux 6.6): put it elsewhere with RCOMPOSE_HOME",
                )
            }
            Error::Mount { file_system: "proc", source, .. }
                if source.raw_os_error() == Some(libc::EPERM) =>
            {
                one("inside another container, start that one with `--security-opt systempaths=unconfined`")
            }
            // setns(2): it has ended, and its namespaces with it.
            Error::Join { source, .. } if source.raw_os_error() == Some(libc::ESRCH) => {
                one("it has ended: see why with `rcompose logs`, and start it again")
            }
            Error::Join { source, .. } if source.raw_os_error() == Some(libc::EPERM) => one(
                "the kernel keeps the processes of that container from being looked into: does a security module \
                 (AppArmor, SELinux) confine them? `rcompose doctor` says what this host allows",
            ),
            Error::Kinds { source_kind: "directory", .. } => one(
                "where the source of a bind is missing, `up` makes a directory there: put your file in its place",
            ),
            Error::Kinds { .. } => one("check that the source exists and is what the target is"),
            Error::UnknownUser { .. } | Error::UnknownGroup { .. } => {
                one("use a number, or a name that the image has")
            }
            Error::Unmapped { .. } => {
                one("subordinate ids make further ids usable: `rcompose doctor` says how a user gets them")
            }
            Error::SysctlOfHost { .. } => one(
                "allowed are net.* in a network of the container's own, fs.mqueue.* and kernel.msg*, sem and shm*",
            ),
            Error::InterpreterMissing { .. } => {
                one("a script needs the program of its `#!` line (line ends of DOS \
                 count), a program its loader: is it made for this image?")
            }
            Error::ProgramRefused { source, .. } if source.raw_os_error() == Some(libc::ENOEXEC) => {
                one("is it made for this machine's processor, or a script without a `#!` line?")
            }
            // execve(2), "Limits on size of arguments and environment".
            Error::ProgramRefused { source, .. } if source.raw_os_error() == Some(libc::E2BIG) => one(
                "arguments and environment together may take a quarter of the stack limit (2 MiB where it is 8; raise \
                 `ulimits: {stack: …}`), each of them 128 KiB: give larger values as files, by `configs` or a volume",
            ),
            _ => Vec::new(),
        }
    }
}

/// Says what we did to what, for an [`io::Error`] or an error of `rustix` or `nix`.
pub(super) fn failed<E: Into<io::Error>>(
    doing: &'static str,
    what: impl Into<String>,
) -> impl FnOnce(E) -> Error {
    let what = what.into();
    move |source| Error::System { doing, what, source: source.into() }
}

impl From<Error> for Report {
    fn from(error: Error) -> Report {
        let exit = match error.code() {
            125 => Exit::Service,
            code => Exit::Code(code as u8),
        };
        error.hints().into_iter().fold(Report::from_error(exit, &error), Report::hint)
    }
}
