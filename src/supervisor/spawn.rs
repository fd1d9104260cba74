//! The caller's side: finds a project's supervisor, or has the two processes started.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode as FileMode, OFlags, fstat, openat, stat};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

pub use super::error::Error;
use super::{keep, lost, socket};
use crate::api::client::{self, Client};
use crate::api::message::OTHER_VERSION;
use crate::engine::stray;
use crate::host::files::{self, Durability, Kept, failed};
use crate::host::lock::{self, Lock, Mode};
use crate::host::paths::Paths;
use crate::host::process::{Identity, boot_id};
use crate::host::userns::{self, Facts, Fresh, Mapping, Program, Target};
use crate::keeper::underway;
use crate::report::with_causes;
use crate::runtime::cgroup::{self, systemd};

/// Format of `keeper.json`.
const FORMAT: u32 = 1;

/// How long a supervisor may take to make its socket anew.
const ANSWERS: Duration = Duration::from_secs(10);

/// How often supervisors may go before they welcome a command, until it takes it that nobody is there.
const GOODBYES: usize = 100;

/// So much of the end of what a supervisor has said is looked at.
const LAST_WORDS: u64 = 64 << 10;

/// How long until the socket is looked for again.
const LOOKS: Duration = Duration::from_millis(5);

/// Connects to the project's supervisor, if one lives. `who` is named to others who have to wait: `rcompose up`.
pub fn connect(paths: &Paths, project: &str, who: &str) -> Result<Option<Client>, Error> {
    let client = reach(paths, project, who)?;
    if client.is_some() || keeper(paths, project).is_none() {
        return Ok(client);
    }
    let lock = lock_project(paths, project, who)?;
    let found = find(paths, project, who)?;
    if found.is_none() {
        clear(paths, project, lock);
    }
    Ok(found)
}

/// Removes the directory that [`lock_project`] may have made of a project that has just gone. Whoever waits for the lock
/// finds that its file is not there any more, and makes another.
fn clear(paths: &Paths, project: &str, lock: Lock) {
    if !paths.project(project).exists() {
        let _ = fs::remove_file(paths.project_lock(project));
        // Not empty: somebody has the next one made already.
        let _ = fs::remove_dir(paths.run_project(project));
        leave(paths);
    }
    drop(lock);
}

/// Removes the runtime directory behind the last project: where it stands in /tmp, nobody else would. Whoever is about to
/// begin has a directory in it, or makes it again.
pub(super) fn leave(paths: &Paths) {
    let own = paths.userns_lock();
    let entries = || fs::read_dir(paths.run()).into_iter().flatten().flatten();
    if entries().any(|entry| entry.path() != own) {
        return;
    }
    // Who holds the lock, or waits for it, has a project in there.
    let Ok(lock) = Lock::take(&own, Mode::TryExclusive, "the last project") else { return };
    if lock.is_at(&own) && entries().all(|entry| entry.path() == own) {
        let _ = fs::remove_file(&own);
        // Another session may have its projects elsewhere, and the link lead there.
        let settled = is_settled(paths);
        if settled {
            let _ = fs::remove_file(paths.run_link());
        }
        // Who came meanwhile has made the link before or makes it after it was removed; in the one case it is missing.
        if fs::remove_dir(paths.run()).is_err() && settled && paths.run().exists() {
            settle(paths);
        }
    }
}

/// Whether sessions with other variables are told of this one's directory.
fn is_settled(paths: &Paths) -> bool {
    fs::read_link(paths.run_link()).is_ok_and(|target| target == paths.run())
}

/// Tells sessions with other variables where projects run. One that cannot be told looks by its own.
fn settle(paths: &Paths) {
    if is_settled(paths) {
        return;
    }
    let link = paths.run_link();
    // Beside, then in its place: nobody finds none.
    let beside = link.with_extension(std::process::id().to_string());
    let _ = fs::remove_file(&beside);
    let _ = files::make_private_dir(&paths.projects());
    let _ = std::os::unix::fs::symlink(paths.run(), &beside);
    if fs::rename(&beside, &link).is_err() {
        let _ = fs::remove_file(&beside);
    }
}

/// Connects to what looks after the project's containers, if anything of it runs: where both processes have died without
/// a farewell, containers go on, and the two are started again. `None` where nothing runs.
pub fn connect_to_what_runs(paths: &Paths, project: &str, who: &str) -> Result<Option<Client>, Error> {
    let found = connect(paths, project, who)?;
    if found.is_some() || !died(paths, project) {
        return Ok(found);
    }
    let lock = lock_project(paths, project, who)?;
    // They may have been about to leave, and have left by now.
    let found = find(paths, project, who)?;
    if found.is_some() || died(paths, project) {
        return found.map_or_else(|| start_and_reach(paths, project, who), Ok).map(Some);
    }
    clear(paths, project, lock);
    Ok(None)
}

/// Whether something is left of a keeper that has not taken leave: who does removes its socket and its record.
fn died(paths: &Paths, project: &str) -> bool {
    match files::read_record::<Identity>(&paths.keeper_record(project), FORMAT) {
        // What ran before the machine was started runs no more.
        Ok(Some(keeper)) => boot_id().is_ok_and(|boot| boot == keeper.boot_id),
        Ok(None) => paths.control_socket(project).exists(),
        Err(_) => true,
    }
}

/// Connects to the project's supervisor, and starts the two processes where there are none.
pub fn ensure(paths: &Paths, project: &str, who: &str) -> Result<Client, Error> {
    if let Some(client) = reach(paths, project, who)? {
        return Ok(client);
    }
    let _lock = lock_project(paths, project, who)?;
    match find(paths, project, who)? {
        Some(client) => Ok(client),
        None => start_and_reach(paths, project, who),
    }
}

/// Starts the two processes and connects. The caller holds the project's lock.
fn start_and_reach(paths: &Paths, project: &str, who: &str) -> Result<Client, Error> {
    start(paths, project, who)?;
    match reach(paths, project, who)? {
        Some(client) => Ok(client),
        None => Err(Error::Died { project: project.to_owned(), said: last_words(paths, project) }),
    }
}

/// Connects where the control socket is.
fn reach(paths: &Paths, project: &str, who: &str) -> Result<Option<Client>, Error> {
    let path = paths.control_socket(project);
    // Connecting to something else is refused as if nobody listened.
    files::check_place(&path, Kept::Socket)?;
    for _ in 0..GOODBYES {
        let stream = match socket::connect(&path) {
            Ok(Some(stream)) => stream,
            Ok(None) => return Ok(None),
            Err(source) => return Err(Error::Socket { path, source }),
        };
        match Client::greet(stream, who) {
            Ok(client) => return Ok(Some(client)),
            // It was about to leave, and its socket has gone; or another takes its place, at the same socket.
            Err(client::Error::Gone) => {}
            Err(source @ client::Error::Silent { .. }) => {
                let said = last_words(paths, project);
                return Err(Error::Unanswered { project: project.to_owned(), source, said });
            }
            Err(client::Error::Refused { report }) if report.message.starts_with(OTHER_VERSION) => {
                let two = keeper(paths, project).and_then(|keeper| {
                    let supervisor = keep::supervisor_of(keeper.pid, project)?;
                    Some((keeper.pid, supervisor))
                });
                return Err(Error::OtherVersion { report, two });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Connects to what lives, whatever has become of its socket. The caller holds the project's lock: nobody else starts
/// the two meanwhile, and they do not leave.
fn find(paths: &Paths, project: &str, who: &str) -> Result<Option<Client>, Error> {
    // Somebody may have started them while we waited.
    if let Some(client) = reach(paths, project, who)? {
        return Ok(Some(client));
    }
    let Some(keeper) = keeper(paths, project) else { return Ok(None) };
    wake(paths, project, who, &keeper)
}

/// Has the supervisor of a living keeper make its socket again, and connects.
fn wake(paths: &Paths, project: &str, who: &str, keeper: &Identity) -> Result<Option<Client>, Error> {
    let Some(process) = open_process(keeper) else { return Ok(None) };
    // One that is gone is noticed below.
    let _ = pidfd_send_signal(&process, Signal::HUP);
    let deadline = Instant::now() + ANSWERS;
    while Instant::now() < deadline {
        if let Some(client) = reach(paths, project, who)? {
            return Ok(Some(client));
        }
        if has_ended_within(&process, LOOKS) {
            return Ok(None);
        }
    }
    Err(Error::Silent { project: project.to_owned(), pid: keeper.pid, said: last_words(paths, project) })
}

/// Connects to a project's supervisor after everything that tells where it is has been removed; `None` if none lives.
pub fn connect_to_lost(paths: &Paths, project: &str, who: &str) -> Result<Option<Client>, Error> {
    let Some(keeper) = lost::find(paths).remove(project) else { return Ok(None) };
    let lock = lock_project(paths, project, who)?;
    let found = wake(paths, project, who, &keeper)?;
    if found.is_none() {
        clear(paths, project, lock);
    }
    Ok(found)
}

/// Waits until a keeper that is about to leave has left, so that nothing of a project that was taken down is there when
/// the command returns. `keeper` is from [`keeper`], before the request.
pub fn wait_for_end(keeper: &Identity, patience: Duration) {
    if let Some(process) = open_process(keeper) {
        // Whether it ended or the time did, there is nothing more to do.
        has_ended_within(&process, patience);
    }
}

/// A pidfd of a process that lives.
fn open_process(process: &Identity) -> Option<OwnedFd> {
    let opened = pidfd_open(Pid::from_raw(process.pid)?, PidfdFlags::empty()).ok()?;
    // After opening: the number may be another's by now.
    process.runs().then_some(opened)
}

fn has_ended_within(process: &OwnedFd, patience: Duration) -> bool {
    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)).is_ok_and(|ended| ended > 0)
}

/// Returns who keeps a project, if somebody does.
pub fn keeper(paths: &Paths, project: &str) -> Option<Identity> {
    let record = files::read_record::<Identity>(&paths.keeper_record(project), FORMAT).ok()?;
    record.filter(Identity::runs)
}

/// Returns the user with whose last session a project's processes end, if systemd will end them.
pub fn ends_at_logout_of(paths: &Paths, project: &str) -> Option<String> {
    let keeper = keeper(paths, project)?;
    let facts = Facts::read().ok()?;
    cgroup::ends_at_logout(keeper.pid, facts.uid, &facts.user).then_some(facts.user)
}

/// Returns whether a busy port may be held by the project's own processes: by this one of them, or where nobody can say
/// who it is, by any.
pub fn may_hold(paths: &Paths, project: &str, holder: Option<u32>) -> bool {
    let Some(keeper) = keeper(paths, project) else { return false };
    let parent = |pid: i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse::<i32>().ok()
    };
    holder
        .and_then(|pid| i32::try_from(pid).ok())
        .is_none_or(|pid| pid == keeper.pid || parent(pid) == Some(keeper.pid))
}

/// Takes the lock under which the two processes come and go.
fn lock_project(paths: &Paths, project: &str, who: &str) -> Result<Lock, Error> {
    let path = paths.project_lock(project);
    loop {
        files::make_own_dir(&paths.run())?;
        files::make_private_dir(&paths.run_project(project))?;
        settle(paths);
        let lock = match Lock::take(&path, Mode::Exclusive, who) {
            Ok(lock) => lock,
            // Its directory went in this moment, with the last supervisor.
            Err(lock::Error::File(files::Error::Io { source, .. }))
                if source.kind() == io::ErrorKind::NotFound =>
            {
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if lock.is_at(&path) {
            // Between the two looks it may have gone, and another have come in its place; with the lock in it, it stays.
            files::make_own_dir(&paths.run())?;
            settle(paths);
            return Ok(lock);
        }
    }
}

/// Starts the keeper, which starts the supervisor.
fn start(paths: &Paths, project: &str, who: &str) -> Result<(), Error> {
    let started = try_start(paths, project, who);
    if started.is_err() {
        // A project that never was leaves no trace; a directory that holds anything else stays. The lock is ours: who
        // waits for it sees that its file has gone, and makes another.
        let _ = fs::remove_dir(paths.project(project));
        for file in [
            paths.control_socket(project),
            paths.keeper_log(project),
            paths.scope_refusal(project),
            paths.project_lock(project),
        ] {
            let _ = fs::remove_file(file);
        }
        let _ = fs::remove_dir(paths.run_project(project));
        leave(paths);
    }
    started
}

fn try_start(paths: &Paths, project: &str, who: &str) -> Result<(), Error> {
    files::make_private_dir(&paths.project(project))?;
    for file in [paths.keeper_record(project), paths.journal(project), paths.keeper_log(project)] {
        files::check_place(&file, Kept::File)?;
    }
    end_strays(paths, project)?;
    let path = paths.control_socket(project);
    files::check_place(&path, Kept::Socket)?;
    let listener = socket::listen(&path).map_err(|source| Error::Socket { path, source })?;
    // From before the look for a namespace until the record says where it is: two would make two.
    let _namespace_lock = lock_namespace(paths, who)?;
    let target = match userns::find(paths)? {
        Target::New => orphaned(paths).map_or(Target::New, Target::Living),
        found => found,
    };
    let mapping = Mapping::of(&Facts::read()?);
    start_keeper(paths, project, &target, &mapping, vec![(keep::CONTROL.to_owned(), listener.into())])
}

fn lock_namespace(paths: &Paths, who: &str) -> Result<Lock, Error> {
    let path = paths.userns_lock();
    loop {
        let lock = Lock::take(&path, Mode::Exclusive, who)?;
        // Else the last project has just taken it along.
        if lock.is_at(&path) {
            return Ok(lock);
        }
    }
}

/// Ends what a keeper that has died was about to tell of: a next one would start it a second time.
pub(super) fn end_strays(paths: &Paths, project: &str) -> Result<(), Error> {
    if !underway::wait(&paths.project(project), ANSWERS) {
        return Err(Error::Underway { project: project.to_owned() });
    }
    Ok(stray::end_unrecorded(paths, project)?)
}

/// The user namespace of containers whose keepers have all died.
fn orphaned(paths: &Paths) -> Option<OwnedFd> {
    let survivor = stray::survivor(paths)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = openat(survivor.directory()?, "ns/user", flags, FileMode::empty()).ok()?;
    let (own, found) = (stat("/proc/self/ns/user").ok()?, fstat(&namespace).ok()?);
    // None is in ours; if one were, there would be nothing to enter.
    ((own.st_dev, own.st_ino) != (found.st_dev, found.st_ino)).then_some(namespace)
}

/// Asks systemd for a control group of the keeper's own, while it waits outside the user namespace: inside, nobody would
/// believe who we are. Without one all works but limits; why there is none is told with the first that is not kept.
fn ask_for_scope(paths: &Paths, project: &str, keeper: &Fresh) -> Result<(), Error> {
    let path = paths.scope_refusal(project);
    let refusal =
        systemd::Manager::find().and_then(|manager| manager.ask_for_scope(project, keeper.pid()).err());
    match refusal {
        Some(refusal) => files::write(&path, with_causes(&refusal).as_bytes(), Durability::Crash)?,
        // An earlier keeper's.
        None => _ = fs::remove_file(&path),
    }
    Ok(())
}

/// Starts a keeper with these descriptors in its store, and writes down who it is.
pub(super) fn start_keeper(
    paths: &Paths,
    project: &str,
    target: &Target,
    mapping: &Mapping,
    store: Vec<(String, OwnedFd)>,
) -> Result<(), Error> {
    let log_path = paths.keeper_log(project);
    let mut options = fs::OpenOptions::new();
    let log =
        options.append(true).create(true).mode(0o600).open(&log_path).map_err(failed("write", &log_path))?;
    let null_path = std::path::Path::new("/dev/null");
    let null = fs::File::open(null_path).map_err(failed("open", null_path))?;
    let mut command = userns::own_binary();
    let copy = log.try_clone().map_err(failed("use", &log_path))?;
    command.stdout(Stdio::null()).stderr(Stdio::from(copy));
    // What the caller's shell exports (keys, passwords) is nothing that should stand in /proc/PID/environ for as long as
    // the project lives, and neither of the two looks at any of it.
    command.env_clear();
    let (keys, descriptors): (Vec<String>, Vec<OwnedFd>) = store.into_iter().unzip();
    let program = Program {
        command,
        args: keep::arguments(paths, project, &keys),
        stdin: Some(OwnedFd::from(null)),
        fds: std::iter::once(log.into()).chain(descriptors).collect(),
    };
    let fresh = Fresh::start(program)?;
    // One that is started inside follows another, into whose group it is born.
    if !matches!(target, Target::Here) {
        ask_for_scope(paths, project, &fresh)?;
    }
    let child = fresh.enter(target, mapping)?;
    let pid = i32::try_from(child.id()).unwrap_or_default();
    // The child goes on as the keeper: same process, same pid.
    let identity = Identity::of(pid)
        .map_err(|_| Error::Died { project: project.to_owned(), said: last_words(paths, project) })?;
    match files::write_record(&paths.keeper_record(project), FORMAT, &identity, Durability::Crash) {
        // On a full disk it is found by its socket alone: `down` has to work there, too.
        Err(error) if files::is_full(&error) => {}
        written => written?,
    }
    Ok(())
}

/// The end of what the two have said.
fn last_words(paths: &Paths, project: &str) -> Vec<String> {
    let end = files::read_end(&paths.keeper_log(project), LAST_WORDS).unwrap_or_default();
    let text = String::from_utf8_lossy(&end);
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    // One that dies of the same again and again.
    lines.dedup();
    lines[lines.len().saturating_sub(8)..].iter().map(|line| (*line).to_owned()).collect()
}
