//! Further processes in a running container: of users, hooks and probes.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, pidfd_send_signal};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::caller::{Caller, Say};
use super::lifecycle::ends;
use super::link::{self, Process as Line, Started};
use super::project::Entry;
use super::request::Exec;
use super::{Engine, Error};
use crate::event::Action;
use crate::plan::observed::State;
use crate::runtime::exec::{Talk, Target, operations};
use crate::runtime::spec::{ContainerId, Process, Seccomp};
use crate::runtime::status::Failure;
use crate::sys::net;

/// So much of a probe's or hook's output is kept, as Docker does.
const KEPT: usize = 4096;

/// Exit code of a process that was killed for taking too long.
pub(super) const TIMED_OUT: i32 = -1;

/// What differs from the container's main process.
#[derive(Clone, Debug, Default)]
pub(super) struct Extra {
    pub env: Vec<String>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub privileged: bool,
}

/// How a process ended whose output was taken.
#[derive(Debug)]
pub(super) struct Outcome {
    pub code: i32,
    /// The end of what it printed.
    pub output: Vec<u8>,
}

/// How a process began.
pub(super) enum Birth {
    /// It runs. With the signal that asked for its end in this very moment.
    Begun(Started, Option<i32>),
    /// It was ended before, as this signal asked for.
    Ended(i32),
    /// It could not.
    Failed(Failure),
}

/// How long the keeper may take to tell of an end that can be seen already.
pub(super) const TOLD_WITHIN: Duration = Duration::from_secs(1);

impl Engine {
    /// Runs a command for a user; returns its exit code.
    ///
    /// `streams` are its standard ones, none with a terminal; `signals` go to it.
    pub async fn exec(
        self: &Rc<Self>,
        caller: &Caller,
        exec: Exec,
        streams: Vec<OwnedFd>,
        mut signals: mpsc::UnboundedReceiver<i32>,
    ) -> Result<i32, Error> {
        let id = self.target(&exec.service, exec.index, |_| true)?;
        let record = self.record_or_gone(&id)?;
        let extra = Extra {
            env: exec.env,
            user: exec.user,
            working_dir: exec.working_dir,
            privileged: exec.privileged,
        };
        let talk = match exec.tty {
            true => Talk::Terminal,
            false => {
                let mut streams = streams.into_iter();
                Talk::Descriptors([streams.next(), streams.next(), streams.next()])
            }
        };
        let program = exec.argv.first().cloned().unwrap_or_default();
        let (name, mut line) = self.run(&id, exec.argv, &extra, talk)?;
        let asked = async || match exec.detach {
            true => std::future::pending().await,
            false => end_asked_for(&mut signals, caller).await,
        };
        let (mut started, early) = match self.birth(&name, &mut line, asked).await? {
            Birth::Begun(started, early) => (started, early),
            Birth::Ended(number) => return Ok(128 + number),
            Birth::Failed(source) => {
                return Err(Error::NotExecuted { container: record.name.clone(), program, source });
            }
        };
        self.tell(&record, Action::ExecStart, &[]);
        if let Some(terminal) = started.descriptors.remove("terminal") {
            set_window(&terminal, exec.window);
            caller.say(Say::Terminal(terminal));
        }
        caller.say(Say::Started { container: id.0.clone(), name: record.name.clone() });
        if exec.detach {
            return Ok(0);
        }
        let process = started.descriptors.remove("pidfd");
        let pass_on = |number| {
            if let (Some(process), Some(signal)) = (&process, Signal::from_named_raw(number)) {
                // It may have ended in this moment.
                let _ = pidfd_send_signal(process, signal);
            }
        };
        // It began in the moment in which it was to be aborted.
        early.into_iter().for_each(pass_on);
        let gone = || Error::Link(link::Error::Gone);
        let exit = loop {
            tokio::select! {
                biased;
                exit = &mut line.ended => break exit.map_err(|_| gone())?,
                Some(number) = signals.recv() => {
                    let over = process.as_ref().is_some_and(has_ended);
                    if !over || !ends(number, libc::SIGHUP) {
                        pass_on(number);
                        continue;
                    }
                    // Only its parent knows how it ended, and may stand still itself.
                    match timeout(TOLD_WITHIN, &mut line.ended).await {
                        Ok(exit) => break exit.map_err(|_| gone())?,
                        Err(_) => return Ok(128 + number),
                    }
                }
            }
        };
        let code = exit.code.unwrap_or(255);
        self.tell(&record, Action::ExecDie { code }, &[("exitCode", code.to_string())]);
        Ok(code)
    }

    /// Waits until a process has begun its program. It may take for ever (a file system that does not answer, a container
    /// that stops what is born in it), and nobody else can end it: when that is asked for, it is.
    pub(super) async fn birth(
        self: &Rc<Self>,
        name: &str,
        line: &mut Line,
        mut asked: impl AsyncFnMut() -> i32,
    ) -> Result<Birth, Error> {
        let mut early = None;
        let started = loop {
            tokio::select! {
                biased;
                started = &mut line.started => break started.map_err(|_| Error::Link(link::Error::Gone))?,
                number = asked(), if early.is_none() => {
                    early = Some(number);
                    self.link.abort(name)?;
                }
            }
        };
        Ok(match (started, early) {
            (Ok(started), early) => Birth::Begun(started, early),
            (Err(_), Some(number)) => Birth::Ended(number),
            (Err(failure), None) => Birth::Failed(failure),
        })
    }

    /// The container that a user means by a service: where it has none that runs, a one-off of it that `will_do`.
    pub(super) fn target(
        &self,
        service: &str,
        index: Option<u32>,
        will_do: impl Fn(&Entry) -> bool,
    ) -> Result<ContainerId, Error> {
        let project = self.project.borrow();
        let runs = |state: &State| matches!(state, State::Running { .. });
        let found = match index {
            Some(index) => project.replica(service, index),
            None => {
                let of_service = project.of_service(service);
                let oneoff = project.entries.values().find(|entry| {
                    entry.record.service == service
                        && entry.record.oneoff
                        && runs(&entry.record.state)
                        && will_do(entry)
                });
                of_service
                    .iter()
                    .find(|entry| runs(&entry.record.state))
                    .or(of_service.first())
                    .copied()
                    .filter(|entry| runs(&entry.record.state) || oneoff.is_none())
                    .or(oneoff)
            }
        };
        let missing = || Error::NotRunning { service: service.to_owned() };
        let record = &found.ok_or_else(missing)?.record;
        match &record.state {
            State::Running { paused: true, .. } => {
                Err(Error::WrongState { container: record.name.clone(), state: "paused" })
            }
            state if runs(state) => Ok(record.id.clone()),
            _ => Err(missing()),
        }
    }

    /// Runs a command to its end and keeps the end of its output. Beyond `timeout` it is killed and its code is
    /// [`TIMED_OUT`].
    pub(super) async fn run_inside(
        self: &Rc<Self>,
        id: &ContainerId,
        argv: Vec<String>,
        extra: &Extra,
        timeout: Option<Duration>,
    ) -> Result<Outcome, Error> {
        let watch = |error: std::io::Error| Error::Link(link::Error::Watch(error));
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| watch(error.into()))?;
        rustix::io::ioctl_fionbio(&read, true).map_err(|error| watch(error.into()))?;
        let read = net::watch(read).map_err(watch)?;
        let program = argv.first().cloned().unwrap_or_default();
        let talk = Talk::Descriptors([None, Some(write.try_clone().map_err(watch)?), Some(write)]);
        let time = timeout.unwrap_or(Duration::from_secs(u32::MAX.into()));
        // From here on: whatever it takes to begin is a part of its time.
        let timer = tokio::time::sleep(time);
        tokio::pin!(timer);
        let (name, mut line) = self.run(id, argv, extra, talk)?;
        let gone = || Error::Link(link::Error::Gone);
        let mut late = false;
        let started = loop {
            tokio::select! {
                started = &mut line.started => break started.map_err(|_| gone())?,
                () = &mut timer, if !late => {
                    late = true;
                    self.link.abort(&name)?;
                }
            }
        };
        let mut started = match started {
            Ok(started) => started,
            Err(_) if late => return Ok(Outcome { code: TIMED_OUT, output: Vec::new() }),
            Err(source) => {
                let container = self.record(id).map(|record| record.name).unwrap_or_default();
                return Err(Error::NotExecuted { container, program, source });
            }
        };
        let process = started.descriptors.remove("pidfd");
        let kill = || {
            if let Some(process) = &process {
                // It may have ended in this moment.
                let _ = pidfd_send_signal(process, Signal::KILL);
            }
        };
        if late {
            kill();
        }
        let mut output = Vec::new();
        let mut open = true;
        let exit = loop {
            tokio::select! {
                exit = &mut line.ended => break exit.map_err(|_| gone())?,
                guard = read.readable(), if open => {
                    let mut guard = guard.map_err(watch)?;
                    guard.clear_ready();
                    open = take(read.get_ref(), &mut output);
                }
                () = &mut timer, if !late => {
                    late = true;
                    kill();
                }
            }
        };
        take(read.get_ref(), &mut output);
        let code = if late { TIMED_OUT } else { exit.code.unwrap_or(255) };
        Ok(Outcome { code, output })
    }

    /// Sends an exec to the keeper; returns its name there.
    fn run(
        self: &Rc<Self>,
        id: &ContainerId,
        argv: Vec<String>,
        extra: &Extra,
        talk: Talk,
    ) -> Result<(String, Line), Error> {
        let (config, group) = {
            let project = self.project.borrow();
            let missing = || Error::NoContainer { container: id.to_string() };
            let entry = project.entries.get(id).ok_or_else(missing)?;
            let group = entry.live.as_ref().map(|live| live.cgroup.clone()).unwrap_or_default();
            (entry.config.clone(), group)
        };
        let not_running = || Error::NotRunning { service: config.service.name.clone() };
        let target = Target {
            process: self.member(id).ok_or_else(not_running)?,
            namespaces: &config.spec.namespaces,
            user_namespace: &config.spec.user_namespace,
            cgroup: &group.procs(),
            privileged: config.spec.privileged || extra.privileged,
        };
        let mut process = changed(&config.spec.process, argv, extra);
        if matches!(talk, Talk::Terminal) {
            name_terminal(&mut process.env);
        }
        let prepared = operations(&process, target, talk)?;
        let name = self.name_exec(id);
        let line = self.link.exec(&name, &id.0, prepared.launch, prepared.descriptors)?;
        Ok((name, line))
    }

    /// A name for a further process in a container that no other bears.
    pub(super) fn name_exec(&self, id: &ContainerId) -> String {
        let number = self.execs.get() + 1;
        self.execs.set(number);
        // Numbers begin again with the next supervisor, while execs of this one may still run.
        format!("{}-{number}-{}", std::process::id(), id.short())
    }
}

/// Waits until a caller wants what it asked for to end: by a signal, which is returned, or by going away.
pub(super) async fn end_asked_for(signals: &mut mpsc::UnboundedReceiver<i32>, caller: &Caller) -> i32 {
    loop {
        tokio::select! {
            Some(number) = signals.recv() => {
                if ends(number, libc::SIGHUP) {
                    return number;
                }
            }
            () = caller.gone() => return libc::SIGHUP,
        }
    }
}

/// The container's main process with another command.
fn changed(main: &Process, argv: Vec<String>, extra: &Extra) -> Process {
    let mut process = Process { argv, ..main.clone() };
    let name = |variable: &String| variable.split('=').next().unwrap_or_default().to_owned();
    for variable in &extra.env {
        process.env.retain(|other| name(other) != name(variable));
        process.env.push(variable.clone());
    }
    if let Some(user) = &extra.user {
        process.user.clone_from(user);
        // HOME follows the user unless somebody set it; the runtime fills it in where it is missing.
        process.env.retain(|variable| !variable.starts_with("HOME=") || extra.env.contains(variable));
    }
    if let Some(directory) = &extra.working_dir {
        process.cwd.clone_from(directory);
    }
    if extra.privileged {
        process.seccomp = Seccomp::Unconfined;
    }
    process
}

/// Says what a program may send to its terminal, unless somebody has said so.
fn name_terminal(env: &mut Vec<String>) {
    if !env.iter().any(|variable| variable.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
}

/// Whether the process of a pidfd has ended, whoever has to take its exit status yet.
fn has_ended(process: &OwnedFd) -> bool {
    let now = Timespec::default();
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now)).is_ok_and(|ended| ended > 0)
}

/// Gives a terminal the size of the user's.
pub(super) fn set_window(terminal: &OwnedFd, window: Option<(u16, u16)>) {
    if let Some((rows, columns)) = window {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // A terminal of the default size is still a terminal.
        let _ = tcsetwinsize(terminal.as_fd(), size);
    }
}

/// Reads what is there; false at the end.
fn take(pipe: &OwnedFd, output: &mut Vec<u8>) -> bool {
    let mut bytes = [0; 4096];
    loop {
        match rustix::io::read(pipe, &mut bytes) {
            Ok(0) => return false,
            Ok(count) => {
                output.extend_from_slice(&bytes[..count]);
                let excess = output.len().saturating_sub(KEPT);
                output.drain(..excess);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return true,
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_keeps_what_is_not_said_and_variables_are_replaced() {
        let main = Process {
            argv: vec!["main".into()],
            env: vec!["A=1".into(), "HOME=/root".into(), "B=2".into()],
            cwd: "/".into(),
            user: "0".into(),
            group_add: Vec::new(),
            capabilities: Vec::new(),
            no_new_privileges: false,
            seccomp: Seccomp::Default,
            rlimits: Vec::new(),
            oom_score_adj: None,
        };
        let extra = Extra { env: vec!["A=3".into()], user: Some("ada".into()), ..Extra::default() };
        let process = changed(&main, vec!["id".into()], &extra);
        assert_eq!(process.env, ["B=2", "A=3"]);
        assert_eq!(
            (process.argv, process.user, process.cwd),
            (vec!["id".to_owned()], "ada".into(), "/".into())
        );
        assert_eq!(process.seccomp, Seccomp::Default);
    }

    #[test]
    fn a_terminal_has_a_name() {
        fn check(env: &[&str], expected: &[&str]) {
            let mut env = env.iter().map(|text| (*text).to_owned()).collect();
            name_terminal(&mut env);
            assert_eq!(env, expected);
        }
        check(&["A=1", "TERMS=x"], &["A=1", "TERMS=x", "TERM=xterm"]);
        check(&["TERM=vt100", "A=1"], &["TERM=vt100", "A=1"]);
        check(&["TERM="], &["TERM="]);
    }
}
