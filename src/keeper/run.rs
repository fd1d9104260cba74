//! The loop: one thread, poll(2), no decision.

use std::collections::BTreeMap;
use std::convert::Infallible;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Pid, PidfdFlags, Rlimit, pidfd_open, set_child_subreaper};

use super::adopt::{Adopted, Seen};
use super::backoff::Backoff;
use super::channel::{self, Channel};
use super::error::{Error, failed};
use super::journal::Journal;
use super::message::{Exit, Kind, Notice, Running, Word, key};
use super::underway;
use crate::host::limits;
use crate::host::process::Identity;
use crate::runtime::launch::{Begun, Unread, begin};
use crate::runtime::operations::Launch;
use crate::runtime::status::{Failure, Heard, Told, hear};
use crate::sys::birth::Birth;
use crate::sys::process::{
    Ended, Forked, block_all_signals, close_all_from, exit_at_once, fork, ignore_failed_writes, kill,
    peek_ended_child, put_descriptor_at, reap, reset_signals, take_descriptor,
};
use crate::sys::wipe::wipe_freed_memory;

/// What a keeper starts with.
#[derive(Debug)]
pub struct Config {
    /// Where exit statuses go.
    pub journal: PathBuf,
    /// Descriptors to keep from the start: the control socket, published ports.
    pub store: Vec<(String, OwnedFd)>,
    /// Which of them is the door: who knocks there is not kept waiting for a supervisor.
    pub door: Option<String>,
    /// Main processes of containers that an earlier keeper started.
    pub adopt: Vec<(String, Identity)>,
    /// Where what should never be said is written; `/dev/null` if `None`.
    pub log: Option<OwnedFd>,
}

/// Keeps, until told to leave.
///
/// The caller has one thread and is in the outer user namespace; this process gets a mount namespace, a session and
/// standard streams of its own. `supervisor` is called in a forked process with its end of the channel, for a
/// [`super::Client`], each time one is needed; that process has no other descriptor but the standard streams.
pub fn run(config: Config, supervisor: impl Fn(OwnedFd) -> Infallible) -> Result<Infallible, Error> {
    let files = settle(config.log)?;
    // What we are told is for one container each, and others are copies of us for a while.
    wipe_freed_memory(true);
    let signals = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGHUP]);
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&signals, flags).map_err(failed("make a signalfd"))?;
    let mut keeper = Keeper {
        directory: config.journal.parent().map(PathBuf::from).unwrap_or_default(),
        journal: Journal::open(&config.journal)?,
        store: config.store.into_iter().collect(),
        starting: BTreeMap::new(),
        running: BTreeMap::new(),
        adopted: Vec::new(),
        supervisor: None,
        door: config.door,
        backoff: Backoff::new(Instant::now()),
        leaving: false,
        files,
    };
    for (id, process) in config.adopt {
        keeper.adopt(id, process);
    }
    loop {
        keeper.ensure_supervisor(&supervisor)?;
        for pid in keeper.wait(&signals)? {
            // Before reaping: of a child that has ended, what it told comes first.
            let pid = keeper.take_note_of_birth(pid);
            keeper.hear_one(pid, false);
        }
        keeper.reap_children(&signals);
        keeper.look_after_adopted();
        keeper.serve();
        // What a supervisor that has let go of us still has to close may take the kernel a while: nobody waits for it.
        if keeper.leaving && keeper.supervisor.as_ref().is_none_or(|supervisor| supervisor.closed) {
            std::process::exit(0);
        }
    }
}

/// Makes this process one that has no reason to die: no terminal, no signals, no directory held. Returns the limit of
/// open files that we were started with: ours becomes as high as it may be, for we hold some for each container.
fn settle(log: Option<OwnedFd>) -> Result<Rlimit, Error> {
    // Fails for the leader of a group, which whoever started us in a group of our own has made us: fine as well.
    let _ = rustix::process::setsid();
    block_all_signals();
    // What we make for containers is read by their users, however private the caller's files are.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed("make a mount namespace"))?;
    // Slave, not private: what the host mounts and unmounts later comes and goes here as well.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(failed("take the mount namespace out of the host's"))?;
    rustix::process::chdir("/").map_err(failed("enter `/`"))?;
    let null = openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open `/dev/null`"))?;
    for (stream, descriptor) in [(0, &null), (1, &null), (2, log.as_ref().unwrap_or(&null))] {
        put_descriptor_at(descriptor, stream).map_err(failed("replace a standard stream"))?;
    }
    // Children of execs and of a dead supervisor come to us and not to the host's init.
    set_child_subreaper(Some(rustix::process::getpid())).map_err(failed("become a subreaper"))?;
    Ok(limits::raise_open_files())
}

/// A process that performs its operations.
struct Starting {
    id: String,
    kind: Kind,
    start_time: u64,
    /// It is not there yet: this is the one that will have it.
    birth: Option<Birth>,
    status: OwnedFd,
    ends: Vec<(&'static str, OwnedFd)>,
    warnings: Vec<String>,
    failure: Option<Failure>,
    /// It was killed on request.
    aborted: bool,
}

struct Supervisor {
    pid: i32,
    channel: Channel<Notice, Word>,
    since: Instant,
    /// Its end of the channel is gone; SIGCHLD will tell of itself.
    closed: bool,
}

struct Keeper {
    /// Where the journal is, and what starts are marked at.
    directory: PathBuf,
    journal: Journal,
    store: BTreeMap<String, OwnedFd>,
    /// By pid.
    starting: BTreeMap<i32, Starting>,
    /// By pid.
    running: BTreeMap<i32, Running>,
    adopted: Vec<Adopted>,
    supervisor: Option<Supervisor>,
    door: Option<String>,
    backoff: Backoff,
    leaving: bool,
    /// The limit of open files that children get.
    files: Rlimit,
}

impl Keeper {
    fn ensure_supervisor(&mut self, supervisor: &impl Fn(OwnedFd) -> Infallible) -> Result<(), Error> {
        if self.supervisor.is_some() || self.leaving || Instant::now() < self.backoff.due() {
            return Ok(());
        }
        let (near, far) = UnixStream::pair().map_err(failed("make a socket pair"))?;
        match fork().map_err(failed("fork the supervisor"))? {
            Forked::Child => {
                // Nobody else is a copy of this process.
                wipe_freed_memory(false);
                reset_signals();
                ignore_failed_writes();
                // All of the keeper's descriptors are closed here, under values that this process never touches again.
                let socket = put_descriptor_at(&far, 3)
                    .and_then(|()| close_all_from(4))
                    .and_then(|()| take_descriptor(3))
                    .and_then(|socket| {
                        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
                        Ok(socket)
                    });
                let Err(_) = socket.map(supervisor);
                exit_at_once(1)
            }
            Forked::Parent(pid) => {
                let channel = Channel::new(near.into()).map_err(failed("set up the supervisor's socket"))?;
                self.supervisor = Some(Supervisor { pid, channel, since: Instant::now(), closed: false });
                Ok(())
            }
        }
    }

    /// Waits until there is something to do; returns the pids of starting children that have told something.
    fn wait(&mut self, signals: &SignalFd) -> Result<Vec<i32>, Error> {
        let mut sources = vec![PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        sources.extend(
            self.starting
                .values()
                .map(|starting| PollFd::from_borrowed_fd(starting.status.as_fd(), PollFlags::IN)),
        );
        sources.extend(self.adopted.iter().map(|adopted| {
            let (pidfd, events) = adopted.poll();
            PollFd::from_borrowed_fd(pidfd, events)
        }));
        if let Some(supervisor) = self.supervisor.as_ref().filter(|supervisor| !supervisor.closed) {
            let write = if supervisor.channel.wants_write() { PollFlags::OUT } else { PollFlags::empty() };
            sources.push(PollFd::from_borrowed_fd(supervisor.channel.as_fd(), PollFlags::IN | write));
        }
        let next = self.adopted.iter().filter_map(Adopted::deadline);
        let restart = (self.supervisor.is_none() && !self.leaving).then(|| {
            let soon = self.backoff.due_when_asked();
            if Instant::now() < soon { soon } else { self.backoff.due() }
        });
        let door = self.door.as_ref().and_then(|key| self.store.get(key));
        // Not before one may be started: what is ready is ready again and again.
        let door = door.filter(|_| restart == Some(self.backoff.due()));
        sources.extend(door.map(|door| PollFd::from_borrowed_fd(door.as_fd(), PollFlags::IN)));
        let timeout = next.chain(restart).min().map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            // Rounded up, or the last part of a millisecond would be spun away.
            let nanoseconds = i64::try_from(left.as_nanos()).unwrap_or(i64::MAX).saturating_add(100_000);
            Timespec { tv_sec: nanoseconds / 1_000_000_000, tv_nsec: nanoseconds % 1_000_000_000 }
        });
        match poll(&mut sources, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed("wait")(error)),
        }
        let told = self.starting.keys().zip(&sources[1..]).filter(|(_, source)| !source.revents().is_empty());
        let told = told.map(|(pid, _)| *pid).collect();
        if door.is_some() && sources.last().is_some_and(|door| !door.revents().is_empty()) {
            self.backoff.ask();
        }
        Ok(told)
    }

    /// Takes note that what was to be born has been; `pid` is its own or that of the one that had it. Returns its own then,
    /// under which it is found from now on, else `pid`.
    fn take_note_of_birth(&mut self, pid: i32) -> i32 {
        let concerned = |(parent, starting): (&i32, &Starting)| {
            let child = starting.birth.as_ref()?.child()?;
            (*parent == pid || child == pid).then_some((*parent, child))
        };
        let Some((parent, child)) = self.starting.iter().find_map(concerned) else { return pid };
        if let Some(mut starting) = self.starting.remove(&parent) {
            starting.birth = None;
            starting.start_time = Identity::of(child).map_or(0, |identity| identity.start_time);
            if starting.aborted {
                // It came into the world in the moment in which its parent was killed.
                let _ = kill(child, libc::SIGKILL);
            }
            self.starting.insert(child, starting);
        }
        child
    }

    /// Reads what one child tells; with `over`, it has ended and tells no more.
    fn hear_one(&mut self, pid: i32, over: bool) {
        let Some(starting) = self.starting.get_mut(&pid) else { return };
        loop {
            match hear(&starting.status) {
                Ok(Heard::Told(Told::Warning(text), _)) => starting.warnings.push(text),
                Ok(Heard::Told(Told::Terminal, Some(master))) => starting.ends.push(("terminal", master)),
                Ok(Heard::Told(Told::Terminal, None)) => {}
                Ok(Heard::Told(Told::Failed(failure), _)) => starting.failure = Some(failure),
                Ok(Heard::NotYet) if !over => return,
                Ok(Heard::End | Heard::NotYet) | Err(_) => break,
            }
        }
        // A failed one stays here until it is reaped; so does one that we kill, whose end looks like a program's begin, and
        // one that was never born.
        if starting.failure.is_none()
            && !starting.aborted
            && starting.birth.is_none()
            && let Some(starting) = self.starting.remove(&pid)
        {
            self.started(pid, starting);
        }
    }

    fn started(&mut self, pid: i32, starting: Starting) {
        let Starting { id, kind, start_time, ends, warnings, .. } = starting;
        let mut names = Vec::new();
        let mut descriptors = Vec::new();
        // Only we reap it, so the number is still its own.
        if let Some(pidfd) = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) {
            names.push("pidfd".to_owned());
            descriptors.push(pidfd);
        }
        for (name, end) in ends {
            if kind == Kind::Container {
                let Ok(copy) = end.try_clone() else { continue };
                self.store.insert(store_key(name, &id), copy);
            }
            names.push(name.to_owned());
            descriptors.push(end);
        }
        self.running.insert(pid, Running { id: id.clone(), pid, start_time, kind });
        self.tell(&Notice::Started { id, pid, start_time, warnings, descriptors: names }, descriptors);
    }

    /// Writes down, reaps and tells of every child that has ended.
    fn reap_children(&mut self, signals: &SignalFd) {
        while let Ok(Some(signal)) = signals.read_signal() {
            if i32::try_from(signal.ssi_signo) == Ok(libc::SIGHUP) {
                self.pass_on_the_knock();
            }
        }
        while let Ok(Some((pid, ended))) = peek_ended_child() {
            // Of one that only had another nothing more is wanted.
            self.take_note_of_birth(pid);
            self.hear_one(pid, true);
            let mut notice = None;
            if self.supervisor.as_ref().is_some_and(|supervisor| supervisor.pid == pid) {
                // What it said before it ended counts; the last word may be to leave.
                self.serve();
                self.supervisor_ended(ended);
            } else if let Some(starting) = self.starting.remove(&pid) {
                notice = Some(self.start_failed(pid, starting));
            } else if let Some(running) = self.running.remove(&pid) {
                notice = Some(self.ended(running, Some(ended), true));
            }
            // After the journal: until here it was a zombie whose end the kernel could still tell.
            let reaped = reap(pid);
            if let Some(notice) = notice {
                self.tell(&notice, Vec::new());
            }
            if reaped.is_err() {
                return;
            }
        }
    }

    /// Somebody cannot find the control socket: that is the supervisor's business. One that is not ready for the signal
    /// dies of it, and the next looks for the socket by itself.
    fn pass_on_the_knock(&mut self) {
        match &self.supervisor {
            Some(supervisor) => _ = kill(supervisor.pid, libc::SIGHUP),
            None => self.backoff.ask(),
        }
    }

    /// Writes down that a process never ran its program.
    fn start_failed(&mut self, pid: i32, starting: Starting) -> Notice {
        let killed = || Failure::new(128 + libc::SIGKILL, "it was killed before its program began");
        let failure = starting.failure.unwrap_or_else(killed);
        let exit = Exit {
            code: Some(failure.code),
            signal: None,
            time_ns: now_ns(),
            pid,
            start_time: starting.start_time,
            failure: Some(failure.message.clone()),
        };
        if starting.kind.is_journalled() {
            self.write_down(&starting.id, &exit);
        }
        Notice::StartFailed { id: starting.id, failure }
    }

    /// Writes an end down. `ours`: it is a child, with its exit code; else what the kernel could say.
    fn ended(&mut self, running: Running, ended: Option<Ended>, ours: bool) -> Notice {
        let (code, signal) = match ended {
            Some(Ended::Exited(code)) => (Some(code), None),
            Some(Ended::Signalled(signal)) => (Some(128 + signal), Some(signal)),
            None => (None, None),
        };
        let exit = Exit {
            code,
            signal,
            time_ns: now_ns(),
            pid: running.pid,
            start_time: running.start_time,
            failure: (!ours && code.is_none())
                .then(|| "its exit status is not known: it ended under no keeper".into()),
        };
        if running.kind.is_journalled() {
            self.write_down(&running.id, &exit);
        }
        Notice::Exited { id: running.id, exit }
    }

    /// A full disk must not keep a process from being reaped; the supervisor still hears of it.
    fn write_down(&mut self, id: &str, exit: &Exit) {
        let _ = self.journal.ended(id, exit);
    }

    fn supervisor_ended(&mut self, ended: Ended) {
        let Some(supervisor) = self.supervisor.take() else { return };
        let now = Instant::now();
        let killed = matches!(ended, Ended::Signalled(libc::SIGKILL));
        self.backoff.ended(now - supervisor.since, killed, now);
    }

    fn adopt(&mut self, id: String, process: Identity) {
        let known = self.adopted.iter().any(|adopted| adopted.process == process)
            || self.running.contains_key(&process.pid);
        if known {
            self.tell(&Notice::Adopted { id }, Vec::new());
            return;
        }
        match Adopted::open(id.clone(), process.clone()) {
            Ok(adopted) => {
                for (name, output) in adopted.outputs() {
                    self.store.entry(store_key(name, &id)).or_insert(output);
                }
                self.adopted.push(adopted);
                self.tell(&Notice::Adopted { id }, Vec::new());
            }
            Err(_) => {
                let (pid, start_time) = (process.pid, process.start_time);
                let notice = self.ended(Running { id, pid, start_time, kind: Kind::Container }, None, false);
                self.tell(&notice, Vec::new());
            }
        }
    }

    fn look_after_adopted(&mut self) {
        let now = Instant::now();
        let mut over = Vec::new();
        self.adopted.retain_mut(|adopted| {
            let mut told = [PollFd::from_borrowed_fd(adopted.poll().0, adopted.poll().1)];
            let woke = poll(&mut told, Some(&Timespec::default())).is_ok_and(|count| count > 0);
            let late = adopted.deadline().is_some_and(|deadline| deadline <= now);
            if !woke && !late {
                return true;
            }
            match adopted.look(now) {
                Seen::NotYet => true,
                Seen::Ended(ended) => {
                    let (pid, start_time) = (adopted.process.pid, adopted.process.start_time);
                    over.push((
                        Running { id: adopted.id.clone(), pid, start_time, kind: Kind::Container },
                        ended,
                    ));
                    false
                }
            }
        });
        for (running, ended) in over {
            let notice = self.ended(running, ended, false);
            self.tell(&notice, Vec::new());
        }
    }

    /// Does what the supervisor asks.
    fn serve(&mut self) {
        loop {
            let Some(supervisor) = self.supervisor.as_mut().filter(|supervisor| !supervisor.closed) else {
                return;
            };
            // A broken channel is told by reading as well.
            let _ = supervisor.channel.flush();
            match supervisor.channel.try_recv() {
                Ok(Some((word, descriptors))) => self.obey(word, descriptors),
                Ok(None) => return,
                Err(channel::Error::Content(error)) => {
                    self.tell(&Notice::NotUnderstood { reason: error.to_string() }, Vec::new());
                }
                Err(_) => {
                    // It may still live without its end; a second one beside it must not be.
                    supervisor.closed = true;
                    // Unless it has said goodbye: then there will be no second one, and it ends by itself.
                    if !self.leaving {
                        let _ = kill(supervisor.pid, libc::SIGKILL);
                    }
                    return;
                }
            }
        }
    }

    fn obey(&mut self, word: Word, mut descriptors: Vec<OwnedFd>) {
        match word {
            Word::Start { id, launch } => self.start(id, Kind::Container, &launch, descriptors),
            Word::Exec { id, container, awaited, launch } => {
                self.start(id, Kind::Exec { container, awaited }, &launch, descriptors);
            }
            Word::Put { key } => {
                if let Some(descriptor) = descriptors.pop() {
                    self.store.insert(key, descriptor);
                }
            }
            Word::Get { key } => {
                let copy = self.store.get(&key).and_then(|descriptor| descriptor.try_clone().ok());
                self.tell(&Notice::Descriptor { key }, copy.into_iter().collect());
            }
            Word::Drop { key } => {
                self.store.remove(&key);
            }
            Word::Abort { id } => {
                if let Some((pid, starting)) =
                    self.starting.iter_mut().find(|(_, starting)| starting.id == id)
                {
                    starting.aborted = true;
                    // Only we reap it, so the number is still its own. Reaping tells what became of it.
                    let _ = kill(*pid, libc::SIGKILL);
                    if let Some(child) = starting.birth.as_ref().and_then(Birth::child) {
                        let _ = kill(child, libc::SIGKILL);
                    }
                }
            }
            Word::Keys => self.tell(&Notice::Keys { keys: self.store.keys().cloned().collect() }, Vec::new()),
            Word::List => self.list(),
            Word::Adopt { id, process } => self.adopt(id, process),
            Word::Forget { id } => {
                for key in key::all(&id) {
                    self.store.remove(&key);
                }
                let running = self.running.values_mut().filter(|running| running.id == id);
                running.for_each(|running| running.kind.forget());
                let _ = self.journal.forget(&id);
            }
            Word::Leave => self.leaving = true,
        }
    }

    fn list(&mut self) {
        let adopted = self.adopted.iter().map(|adopted| Running {
            id: adopted.id.clone(),
            pid: adopted.process.pid,
            start_time: adopted.process.start_time,
            kind: Kind::Container,
        });
        let processes = self.running.values().cloned().chain(adopted).collect();
        let starting = self.starting.iter().map(|(pid, starting)| Running {
            id: starting.id.clone(),
            pid: *pid,
            start_time: starting.start_time,
            kind: starting.kind.clone(),
        });
        let starting = starting.collect();
        self.tell(&Notice::Processes { processes, starting }, Vec::new());
    }

    fn start(&mut self, id: String, kind: Kind, launch: &Launch, mut descriptors: Vec<OwnedFd>) {
        let failed =
            |message: String| Notice::StartFailed { id: id.clone(), failure: Failure::new(125, message) };
        let busy = self.running.values().any(|running| running.id == id)
            || self.starting.values().any(|starting| starting.id == id)
            || self.adopted.iter().any(|adopted| adopted.id == id);
        if busy {
            return self.tell(&failed("it is running already".into()), Vec::new());
        }
        let unread = if kind == Kind::Container { Unread::Waits } else { Unread::Breaks };
        if kind == Kind::Container {
            // The child has it until its program begins. An exec goes with its container.
            descriptors.extend(underway::mark(&self.directory).map(OwnedFd::from));
        }
        let Begun { pid, birth, status, ends } = match begin(launch, descriptors, unread, &self.files) {
            Ok(begun) => begun,
            Err(error) => return self.tell(&failed(format!("cannot fork: {error}")), Vec::new()),
        };
        let start_time = Identity::of(pid).map_or(0, |identity| identity.start_time);
        let (warnings, failure, aborted) = (Vec::new(), None, false);
        let starting = Starting { id, kind, start_time, birth, status, ends, warnings, failure, aborted };
        self.starting.insert(pid, starting);
    }

    /// What cannot be sent is lost with its supervisor: the next one asks.
    fn tell(&mut self, notice: &Notice, descriptors: Vec<OwnedFd>) {
        if let Some(supervisor) = &mut self.supervisor {
            let _ = supervisor.channel.send(notice, descriptors);
        }
    }
}

fn store_key(name: &str, id: &str) -> String {
    match name {
        "in" => key::stdin(id),
        "out" => key::stdout(id),
        "err" => key::stderr(id),
        _ => key::terminal(id),
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
