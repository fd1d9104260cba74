//! Inside the forked process: performs the operations in order; the last one is exec.
//!
//! The keeper has one thread, so its child may allocate and open files like any program. It never returns: it becomes
//! the container's program, or tells the keeper what failed and exits.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{MountPropagationFlags, mount_change};

use super::devices::{self, Shm};
use super::error::{Error, failed};
use super::mounts::{self, Bind, Secret, Secrets};
use super::operations::{Credentials, Launch, Operation, Processes, SharedMemory, Slot, Stdio, Stream};
use super::program::CHANGE_DIRECTORY;
use super::pseudo::Proc;
use super::status::{Told, tell};
use super::target::{Kind, Purpose, Root};
use super::users::User;
use super::{credentials, files, namespaces, passage, program, pseudo, reaper, rootfs, terminal};
use crate::sys::birth::{Birth, new_session};
use crate::sys::process::{Forked, close_all_but, exit_at_once, loopback_up, put_descriptor_at};

/// Standard streams as the parent made them: the child's ends of pipes, or what the slots said.
pub type Streams = [Option<OwnedFd>; 3];

/// Performs a launch. `descriptors` are its slots; `status` is the child's end of [`super::status::pair`].
pub fn run(launch: &Launch, descriptors: Vec<OwnedFd>, streams: Streams, status: OwnedFd) -> ! {
    let mut child = Child::new(&launch.stdio, descriptors, status);
    let result = child
        .take_streams(streams)
        .and_then(|()| launch.operations.iter().try_for_each(|operation| child.perform(operation)));
    give_up(&child.status, &result.err().unwrap_or(Error::NoCommand))
}

/// Performs a launch in the pid namespace of the process in `slot`: all that can be done outside it is done here, where
/// nobody inside sees it, and what is born inside has the rights, the root and the descriptors of its program.
///
/// The keeper cannot go there itself: setns back to the host's pid namespace is EPERM in a user namespace. So this process
/// in between goes, and has a child that is its parent's (CLONE_PARENT).
pub fn run_elsewhere(
    launch: &Launch,
    slot: Slot,
    descriptors: Vec<OwnedFd>,
    streams: Streams,
    status: OwnedFd,
    birth: &Birth,
) -> ! {
    let key = passage::key();
    let mut child = Child { key: Some(key), ..Child::new(&launch.stdio, descriptors, status) };
    let result = child.take_streams(streams).and_then(|()| child.prepare(launch, slot)).and_then(|()| {
        match birth.bear(key) {
            Ok(Forked::Child) => launch
                .operations
                .iter()
                .filter(|operation| operation.is_after_birth())
                .try_for_each(|operation| child.perform(operation)),
            Ok(Forked::Parent(_)) => exit_at_once(0),
            Err(error) => Err(failed("fork into", "the pid namespace of the other container")(error)),
        }
    });
    give_up(&child.status, &result.err().unwrap_or(Error::NoCommand))
}

fn give_up(status: &OwnedFd, error: &Error) -> ! {
    tell(status, &Told::from(error), None);
    exit_at_once(error.code())
}

/// What operations leave for later ones.
struct Child {
    descriptors: Vec<OwnedFd>,
    status: OwnedFd,
    /// The container's root, once it is mounted; of an exec, what it has joined.
    root: Option<Root>,
    secrets: Option<Secrets>,
    /// The program's end of its terminal.
    terminal: Option<OwnedFd>,
    user: Option<User>,
    /// Which standard streams are pipes that were made for this process.
    made: [bool; 3],
    /// A working directory that root could not enter, to be tried as the user.
    retry_directory: Option<String>,
    /// The socket of [`Operation::TellOwners`].
    tell_owners: Option<Slot>,
    /// What the host's /proc has of this process, where the container's does not show it.
    own_files: Option<OwnedFd>,
    /// Lets what comes after the birth in another's pid namespace through the filter.
    key: Option<u64>,
}

impl Child {
    fn new(stdio: &Stdio, descriptors: Vec<OwnedFd>, status: OwnedFd) -> Child {
        let made = [stdio.stdin, stdio.stdout, stdio.stderr]
            .map(|stream| matches!(stream, Stream::Pipe | Stream::Stdout));
        Child {
            descriptors,
            status,
            root: None,
            secrets: None,
            terminal: None,
            user: None,
            made,
            retry_directory: None,
            tell_owners: None,
            own_files: None,
            key: None,
        }
    }

    /// Puts the standard streams into their places and lets go of all that is not this process's business: it may take
    /// long to begin, or for ever, and whatever the keeper has open would be so long open as well.
    fn take_streams(&self, streams: Streams) -> Result<(), Error> {
        for (number, stream) in streams.into_iter().enumerate() {
            if let Some(stream) = stream {
                put_descriptor_at(&stream, number as i32).map_err(failed("take", "a standard stream"))?;
            }
        }
        let mut kept: Vec<RawFd> = self.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        kept.push(self.status.as_raw_fd());
        close_all_but(3, &kept).map_err(failed("close", "inherited descriptors"))?;
        // Modes that are asked for are meant exactly; exec sets the usual mask.
        rustix::process::umask(Mode::empty());
        Ok(())
    }

    /// Performs what comes before the birth in another's pid namespace, and keeps nothing that is not the program's.
    fn prepare(&mut self, launch: &Launch, slot: Slot) -> Result<(), Error> {
        self.own_files = Some(namespaces::own_files()?);
        namespaces::children_in(self.slot(slot)?)?;
        namespaces::make(&launch.new)?;
        launch
            .operations
            .iter()
            .filter(|operation| !operation.is_after_birth())
            .try_for_each(|operation| self.perform(operation))?;
        (self.own_files, self.root, self.secrets) = (None, None, None);
        self.descriptors.clear();
        let kept: Vec<RawFd> = self.terminal.iter().chain([&self.status]).map(AsRawFd::as_raw_fd).collect();
        close_all_but(3, &kept).map_err(failed("close", "descriptors that are not the program's"))
    }

    fn perform(&mut self, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::JoinCgroup { .. }
            | Operation::OomScore(_)
            | Operation::Undumpable
            | Operation::Join { .. }
            | Operation::JoinNetwork { .. }
            | Operation::NewCgroupNamespace
            | Operation::LoopbackUp
            | Operation::HostName(_)
            | Operation::DomainName(_)
            | Operation::IsolateMounts => self.place(operation),
            Operation::OverlayRoot { .. }
            | Operation::EmptyRoot { .. }
            | Operation::HostUserland { .. }
            | Operation::ReadOnlyRoot
            | Operation::PivotRoot => self.root_directory(operation),
            Operation::NestUser { .. }
            | Operation::ResourceLimit { .. }
            | Operation::Session
            | Operation::WorkingDirectory { .. }
            | Operation::TellOwners { .. }
            | Operation::Credentials(_)
            | Operation::Files(_)
            | Operation::Exec { .. } => self.identity(operation),
            _ => self.fill(operation),
        }
    }

    /// Where the process belongs: cgroup, namespaces.
    fn place(&mut self, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::JoinCgroup { procs } => {
                // 0 is the writer itself, in whatever pid namespace it is (cgroups(7)).
                std::fs::write(procs, "0").map_err(failed("join cgroup", procs.display().to_string()))
            }
            Operation::OomScore(score) => {
                let written = std::fs::write("/proc/self/oom_score_adj", score.to_string());
                if let Err(error) = written {
                    // Below the keeper's own value only CAP_SYS_RESOURCE of the first user namespace may go.
                    self.warn(format!("`oom_score_adj: {score}` cannot be had on this host: {error}"));
                }
                Ok(())
            }
            Operation::Undumpable => namespaces::undumpable(),
            Operation::Join { process, name, namespaces } => {
                namespaces::join(self.slot(*process)?, name.as_deref(), namespaces)
            }
            Operation::JoinNetwork { namespace } => namespaces::join_network(self.slot(*namespace)?),
            Operation::NewCgroupNamespace => namespaces::new_cgroup_namespace(),
            Operation::LoopbackUp => loopback_up().map_err(failed("bring up", "the loopback interface")),
            Operation::HostName(name) => {
                rustix::system::sethostname(name.as_bytes()).map_err(failed("set host name", name.as_str()))
            }
            Operation::DomainName(name) => rustix::system::setdomainname(name.as_bytes())
                .map_err(failed("set domain name", name.as_str())),
            _ => mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
                .map_err(failed("isolate the mounts below", "/")),
        }
    }

    /// The root itself.
    fn root_directory(&mut self, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::OverlayRoot { layers, writable } => {
                self.root = Some(rootfs::overlay(layers, writable)?)
            }
            Operation::EmptyRoot { writable } => self.root = Some(rootfs::empty(writable)?),
            Operation::HostUserland { writable } => {
                let (root, warnings) = rootfs::host_userland(writable)?;
                self.root = Some(root);
                for warning in warnings {
                    self.warn(warning);
                }
            }
            Operation::ReadOnlyRoot => {
                use crate::sys::mount::{Attributes, Reach, set_attributes};
                set_attributes(self.root()?, Attributes::READ_ONLY, 0, Reach::This)
                    .map_err(failed("make read-only", "/"))?;
            }
            _ => rootfs::pivot(self.root()?)?,
        }
        Ok(())
    }

    /// What is in the root.
    fn fill(&mut self, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::Proc(of) => {
                let proc = match of {
                    Processes::New => Proc::New,
                    Processes::Of(slot) => Proc::Copied(namespaces::proc_of(self.slot(*slot)?)?),
                    Processes::Host => Proc::Host,
                };
                pseudo::proc(self.root()?, proc)
            }
            Operation::Sys { of, writable } => pseudo::sys(self.root()?, *of, *writable),
            Operation::CgroupTree { tree, writable } => pseudo::cgroup_tree(self.root()?, tree, *writable),
            Operation::Dev { shm, queues } => {
                let shm = match shm {
                    SharedMemory::New(size) => Shm::New(*size),
                    SharedMemory::Of(slot) => {
                        Shm::Copied(namespaces::shared_memory_of(&self.descriptors[self.checked(*slot)?])?)
                    }
                    SharedMemory::Host => Shm::Copied(
                        mounts::copy(CWD, Path::new("/dev/shm"), false)
                            .map_err(failed("bind", "/dev/shm"))?,
                    ),
                };
                devices::dev(self.root()?, &shm, *queues)
            }
            Operation::Device { source, target, privileged } => {
                let attribute = if *privileged { "privileged" } else { "devices" };
                mounts::device(self.root()?, source, target).map_err(Error::asked_by(attribute))
            }
            Operation::Bind { source, below, target, read_only, recursive, propagation } => mounts::bind(
                self.root()?,
                &Bind {
                    source,
                    below: below.as_deref(),
                    target,
                    read_only: *read_only,
                    recursive: *recursive,
                    propagation: *propagation,
                },
            ),
            Operation::Tmpfs { target, parameters, attributes, as_volume } => {
                let attribute = if *as_volume { "volumes" } else { "tmpfs" };
                mounts::tmpfs(self.root()?, target, parameters, attributes)
                    .map_err(Error::asked_by(attribute))
            }
            Operation::Secret { .. } => self.secret(operation),
            Operation::Sysctl { name, value, optional } => match pseudo::sysctl(self.root()?, name, value) {
                Err(_) if *optional => Ok(()),
                other => other.map_err(Error::asked_by("sysctls")),
            },
            Operation::Mask { target } => pseudo::mask(self.root()?, target),
            Operation::ReadOnly { target } => pseudo::read_only(self.root()?, target),
            Operation::MakeDirectory { target } => {
                self.root()?.ensure(target, Kind::Directory, Purpose::WorkingDirectory).map(drop)
            }
            Operation::Terminal { console } => self.make_terminal(*console),
            other => unreachable!("`perform` sends no {other} here"),
        }
    }

    /// Who the process is, and the end.
    fn identity(&mut self, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::NestUser { uid, gid } => {
                let own = self.own_files.take();
                namespaces::nest_user(self.root()?, own.as_ref(), *uid, *gid)
            }
            Operation::ResourceLimit { name, soft, hard } => {
                if let Some(warning) = credentials::limit(name, *soft, *hard)? {
                    self.warn(warning);
                }
                Ok(())
            }
            Operation::Session => {
                new_session(self.key.unwrap_or(0)).map_err(failed("make", "a session"))?;
                self.terminal.as_ref().map_or(Ok(()), terminal::take)
            }
            Operation::WorkingDirectory { path } => match program::enter(self.root()?, path) {
                // Root of a user namespace may not enter everything that a user of it may.
                Err(Error::System { doing: CHANGE_DIRECTORY, source, .. })
                    if source.raw_os_error() == Some(libc::EACCES) =>
                {
                    self.retry_directory = Some(path.clone());
                    Ok(())
                }
                other => other,
            },
            Operation::TellOwners { to } => {
                self.tell_owners = Some(self.checked(*to)?);
                Ok(())
            }
            Operation::Credentials(who) => self.become_user(who),
            Operation::Exec { argv, env, init } => {
                if let Some(path) = self.retry_directory.take() {
                    program::enter(self.root()?, &path)?;
                }
                if *init {
                    reaper::stay_as_init(self.terminal.is_some())?;
                }
                let home = self.user.as_ref().map_or("/", |user| user.home.as_str());
                Err(program::exec(argv, env, home))
            }
            Operation::Files(job) => files::copy(job),
            other => unreachable!("`perform` sends no {other} here"),
        }
    }

    fn become_user(&mut self, who: &Credentials) -> Result<(), Error> {
        let user = credentials::find_user(self.root()?, &who.user, &who.groups)?;
        let standard = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
        let mut streams: Vec<BorrowedFd<'_>> =
            standard.into_iter().zip(self.made).filter_map(|(stream, made)| made.then_some(stream)).collect();
        streams.extend(self.terminal.as_ref().map(AsFd::as_fd));
        let tell_owners = self.tell_owners.map(|slot| &self.descriptors[slot]);
        let warnings = credentials::become_user(who, &user, &streams, tell_owners, self.key)?;
        for warning in warnings {
            self.warn(warning);
        }
        self.user = Some(user);
        Ok(())
    }

    fn secret(&mut self, operation: &Operation) -> Result<(), Error> {
        let Operation::Secret { target, content, uid, gid, mode, writable, user } = operation else {
            unreachable!("`fill` sends only secrets here")
        };
        let (uid, gid) = match (uid, gid) {
            (Some(uid), Some(gid)) => (*uid, *gid),
            (uid, gid) => {
                let own = credentials::find_user(self.root()?, user, &[])?;
                (uid.unwrap_or(own.uid), gid.unwrap_or(own.gid))
            }
        };
        let mut secrets = match self.secrets.take() {
            Some(secrets) => secrets,
            None => Secrets::new(writable)?,
        };
        let warning = secrets.add(self.root()?, &Secret { target, content, uid, gid, mode: *mode })?;
        self.secrets = Some(secrets);
        if let Some(warning) = warning {
            self.warn(warning);
        }
        Ok(())
    }

    fn make_terminal(&mut self, console: bool) -> Result<(), Error> {
        let terminal = terminal::open(self.root()?)?;
        if console {
            terminal::bind_console(self.root()?, &terminal.slave)?;
        }
        tell(&self.status, &Told::Terminal, Some(terminal.master.as_fd()));
        self.terminal = Some(terminal.slave);
        Ok(())
    }

    /// Returns the root: the new one, or after joining a container the one that was joined.
    fn root(&mut self) -> Result<&Root, Error> {
        if self.root.is_none() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            self.root = Some(Root::new(openat(CWD, "/", flags, Mode::empty()).map_err(failed("open", "/"))?));
        }
        self.root.as_ref().ok_or_else(|| Error::NoHandle { what: "the root".into() })
    }

    fn checked(&self, slot: Slot) -> Result<usize, Error> {
        if slot < self.descriptors.len() {
            Ok(slot)
        } else {
            Err(Error::NoHandle { what: format!("descriptor #{slot}") })
        }
    }

    fn slot(&self, slot: Slot) -> Result<&OwnedFd, Error> {
        Ok(&self.descriptors[self.checked(slot)?])
    }

    fn warn(&self, text: String) {
        tell(&self.status, &Told::Warning(text), None);
    }
}
