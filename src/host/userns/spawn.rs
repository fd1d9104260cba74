//! The caller: finds a living namespace or has one made, and starts our binary in it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{Mode, OFlags, fstat, openat, stat};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::diagnose::{Refusal, setting};
use super::error::Error;
use super::mapping::{Facts, Kind, Mapping};
use super::message::{PACKET_FDS, Step, Way, Word, receive, send};
use crate::host::files;
use crate::host::idmap;
use crate::host::paths::Paths;
use crate::host::process::Identity;

/// The format of `keeper.json`.
const KEEPER_FORMAT: u32 = 1;

/// Where the outer user namespace is.
#[derive(Debug)]
pub enum Target {
    /// This process is in it.
    Here,
    /// A keeper lives in it.
    Living(OwnedFd),
    /// Nobody does: make one.
    New,
}

/// What the started process gets.
#[derive(Debug)]
pub struct Program {
    /// Our binary up to and with `in-userns --`; see [`own_binary`]. Its environment, directory, standard output and
    /// error are as set here; its standard input is not.
    pub command: Command,
    /// What it does once inside.
    pub args: Vec<OsString>,
    /// Standard input; `None` is the caller's own.
    pub stdin: Option<OwnedFd>,
    /// Further descriptors, handed to it in this order.
    pub fds: Vec<OwnedFd>,
}

/// Returns the start of our own command line: the running binary, even if its file was replaced meanwhile.
pub fn own_binary() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("rcompose").arg("in-userns").arg("--");
    command
}

/// Finds the namespace of this user's living keepers.
///
/// Two commands that both find none would make two: who starts a keeper holds the lock
/// [`Paths::userns_lock`] from before this call until that keeper's record is written.
pub fn find(paths: &Paths) -> Result<Target, Error> {
    let projects = paths.projects();
    let entries = match fs::read_dir(&projects) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Target::New),
        Err(error) => return Err(files::failed("list", &projects)(error).into()),
    };
    let own = stat("/proc/self/ns/user").ok();
    for entry in entries.flatten() {
        let path = paths.keeper_record(&entry.file_name().to_string_lossy());
        // A damaged record names no living keeper; its project's next command says so and mends it.
        let Ok(Some(keeper)) = files::read_record::<Identity>(&path, KEEPER_FORMAT) else { continue };
        let Some(directory) = keeper.directory() else { continue };
        let opened = openat(&directory, "ns/user", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let Ok(namespace) = opened else { continue };
        let same = match (&own, fstat(&namespace)) {
            (Some(own), Ok(found)) => own.st_ino == found.st_ino && own.st_dev == found.st_dev,
            _ => false,
        };
        return Ok(if same { Target::Here } else { Target::Living(namespace) });
    }
    Ok(Target::New)
}

/// Starts our binary inside the outer user namespace; returns once it is inside, its command about to begin.
///
/// `mapping` must be the one of [`Mapping::of`]: it is written to a new namespace, and a living one has it.
pub fn spawn_inside(target: &Target, mapping: &Mapping, program: Program) -> Result<Child, Error> {
    Fresh::start(program)?.enter(target, mapping)
}

/// Our binary, started and still outside: it waits to be told the way. It ends by itself when this is dropped.
#[derive(Debug)]
pub struct Fresh {
    child: Child,
    socket: OwnedFd,
    stdin: OwnedFd,
    fds: Vec<OwnedFd>,
}

impl Fresh {
    /// Starts it.
    pub fn start(program: Program) -> Result<Fresh, Error> {
        let Program { mut command, args, stdin, fds } = program;
        let binary = PathBuf::from(command.get_program());
        let lost = |error: rustix::io::Errno| Error::Broken { status: None, source: error.into() };
        let stdin = match stdin {
            Some(given) => given,
            None => rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).map_err(lost)?,
        };
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(lost)?;
        let child = command
            .args(args)
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(|source| Error::Start { program: binary, source })?;
        // The command, dropped here, held its own copy of `theirs`; while it lived we would never see the child close it.
        Ok(Fresh { child, socket: ours, stdin, fds })
    }

    /// Its process id, which it keeps.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it enter; returns once it is inside, its command about to begin.
    pub fn enter(mut self, target: &Target, mapping: &Mapping) -> Result<Child, Error> {
        match converse(&self.socket, target, mapping, self.stdin.as_fd(), &self.fds) {
            Ok(()) => Ok(self.child),
            Err(error) => {
                let _ = self.child.kill();
                let status = self.child.wait().ok();
                Err(match error {
                    Error::Broken { source, .. } => Error::Broken { status, source },
                    other => other,
                })
            }
        }
    }
}

/// The dialogue of the module's diagram, seen from the caller.
fn converse(
    socket: &OwnedFd,
    target: &Target,
    mapping: &Mapping,
    stdin: BorrowedFd<'_>,
    fds: &[OwnedFd],
) -> Result<(), Error> {
    let lost = |source| Error::Broken { status: None, source };
    let (way, namespace) = match target {
        Target::Living(namespace) => (Way::Join, Some(namespace.as_fd())),
        Target::Here => (Way::Stay, None),
        Target::New => (Way::New, None),
    };
    send(socket, &Word::Begin { way }, namespace.as_slice()).map_err(lost)?;
    if way != Way::New {
        match give(socket, stdin, fds) {
            // It has ended; why comes next.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            given => given.map_err(lost)?,
        }
    }
    loop {
        match receive(socket, &mut Vec::new()).map_err(lost)? {
            Word::Unshared { pid } => {
                write_maps(pid, mapping)?;
                send(socket, &Word::Mapped, &[]).map_err(lost)?;
                give(socket, stdin, fds).map_err(lost)?;
            }
            Word::Inside => return Ok(()),
            Word::Refused { step, errno } => return Err(refused(step, errno)),
            Word::Begin { .. } | Word::Given { .. } | Word::Mapped => {
                return Err(lost(io::ErrorKind::InvalidData.into()));
            }
        }
    }
}

/// Sends the descriptors, which wait in the socket until the process is inside and asks for them.
fn give(socket: &OwnedFd, stdin: BorrowedFd<'_>, fds: &[OwnedFd]) -> io::Result<()> {
    let all: Vec<BorrowedFd<'_>> = [stdin].into_iter().chain(fds.iter().map(AsFd::as_fd)).collect();
    let mut parts = all.chunks(PACKET_FDS).peekable();
    while let Some(part) = parts.next() {
        send(socket, &Word::Given { more: parts.peek().is_some() }, part)?;
    }
    Ok(())
}

fn refused(step: Step, errno: i32) -> Error {
    let user = Facts::read().map(|facts| facts.user).unwrap_or_else(|_| "this user".into());
    let refusal = Refusal::find(step, errno, setting);
    Error::Refused { user, refusal, source: io::Error::from_raw_os_error(errno) }
}

/// Writes the maps of a process that waits in a namespace without any.
fn write_maps(pid: i32, mapping: &Mapping) -> Result<(), Error> {
    let directory = PathBuf::from(format!("/proc/{pid}"));
    let by_hand = |name: &str, text: &str| {
        let path = directory.join(name);
        // One write: the kernel takes a map once and whole (user_namespaces(7)).
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
            .map_err(|source| Error::WriteMap { path, source })
    };
    match mapping.kind {
        Kind::Subordinate => return map_programs(pid, mapping),
        Kind::Identity => {}
        // Without privilege gid_map is refused until setgroups is given up, since Linux 3.19.
        Kind::Single => by_hand("setgroups", "deny")?,
    }
    by_hand("uid_map", &idmap::lines(&mapping.map.uids))?;
    by_hand("gid_map", &idmap::lines(&mapping.map.gids))
}

/// Has the two setuid programs write the maps, side by side: each costs about a millisecond.
fn map_programs(pid: i32, mapping: &Mapping) -> Result<(), Error> {
    let facts = Facts::read()?;
    let start =
        |program: Option<PathBuf>, name: &str, ranges: &[idmap::Range]| -> Result<(PathBuf, Child), Error> {
            let program = program.unwrap_or_else(|| Path::new("/usr/bin").join(name));
            let numbers = ranges.iter().flat_map(|range| [range.inside, range.outside, range.count]);
            let child = Command::new(&program)
                .arg(pid.to_string())
                .args(numbers.map(|number| number.to_string()))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(|source| Error::RunMapProgram { program: program.clone(), source })?;
            Ok((program, child))
        };
    let uids = start(facts.newuidmap, "newuidmap", &mapping.map.uids);
    let gids = start(facts.newgidmap, "newgidmap", &mapping.map.gids);
    // Both are awaited before either's failure is told: no zombie stays.
    let ended = [uids, gids].map(|started| {
        let (program, child) = started?;
        let output = child
            .wait_with_output()
            .map_err(|source| Error::RunMapProgram { program: program.clone(), source })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::MapProgram { program, user: facts.user.clone(), status: output.status, said })
    });
    ended.into_iter().collect()
}
