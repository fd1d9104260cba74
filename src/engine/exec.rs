//! Further processes in a running container: of users, hooks and probes.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
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
use crate::plan::observed::{Container, State};
use crate::runtime::exec::{Talk, Target, operations};
use crate::runtime::spec::{ContainerId, Process, Seccomp};
use crate::runtime::status::Failure;

/// What differs from the container's main process.
#[derive(Clone, Debug, Default)]
pub(super) struct Extra {
    pub env: Vec<String>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub privileged: bool,
}

/// What a process in a container is called at the keeper.
pub(super) enum Name<'a> {
    /// By a command that waits for its end, whichever supervisor tells it.
    Awaited(&'a str),
    /// By ourselves.
    Own(&'a str),
}

/// A user's command that has been asked for.
pub(super) struct UnderWay {
    /// What it is called at the keeper.
    pub id: String,
    pub program: String,
    /// Do not wait for its end.
    pub detach: bool,
    /// Rows and columns of the caller's terminal.
    pub window: Option<(u16, u16)>,
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

/// Exit code of what could not be made ready for its program ([`Failure::code`]).
pub(super) const NOT_PREPARED: i32 = 125;

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
        let line = self.run(Name::Awaited(&exec.id), &id, exec.argv, &extra, talk)?;
        let under_way = UnderWay { id: exec.id, program, detach: exec.detach, window: exec.window };
        self.see_through(caller, &record, under_way, line, &mut signals).await
    }

    /// Stays with a user's command from before its begin; returns its exit code.
    pub(super) async fn see_through(
        self: &Rc<Self>,
        caller: &Caller,
        record: &Container,
        exec: UnderWay,
        mut line: Line,
        signals: &mut mpsc::UnboundedReceiver<i32>,
    ) -> Result<i32, Error> {
        let asked = async || match exec.detach {
            true => std::future::pending().await,
            false => end_asked_for(signals, caller).await,
        };
        let (mut started, early) = match self.birth(&exec.id, &mut line, asked).await? {
            Birth::Begun(started, early) => (started, early),
            Birth::Ended(number) => return Ok(128 + number),
            Birth::Failed(source) => return Err(self.not_begun(record, exec.program, source)),
        };
        self.tell(record, Action::ExecStart, &[]);
        if let Some(terminal) = started.descriptors.remove("terminal") {
            set_window(&terminal, exec.window);
            caller.say(Say::Terminal(terminal));
        }
        caller.say(Say::Started { container: record.id.0.clone(), name: record.name.clone() });
        if exec.detach {
            return Ok(0);
        }
        let process = started.descriptors.remove("pidfd");
        // It began in the moment in which it was to be aborted.
        early.into_iter().for_each(|number| pass_on(process.as_ref(), number));
        self.await_end(record, &mut line, process.as_ref(), signals).await
    }

    /// Why a command could not be begun. In a container that ends meanwhile nothing can be joined.
    fn not_begun(&self, record: &Container, program: String, source: Failure) -> Error {
        let container = record.name.clone();
        match self.process(&record.id).is_none_or(|main| has_ended(&main)) {
            true if source.code == NOT_PREPARED => Error::Stopped { container, program },
            _ => Error::NotExecuted { container, program, source },
        }
    }

    /// Passes signals on to a user's command until it ends; returns its exit code.
    pub(super) async fn await_end(
        self: &Rc<Self>,
        record: &Container,
        line: &mut Line,
        process: Option<&OwnedFd>,
        signals: &mut mpsc::UnboundedReceiver<i32>,
    ) -> Result<i32, Error> {
        let gone = || Error::Link(link::Error::Gone);
        let exit = loop {
            tokio::select! {
                biased;
                exit = &mut line.ended => break exit.map_err(|_| gone())?,
                Some(number) = signals.recv() => {
                    let over = process.is_some_and(has_ended);
                    if !over || !ends(number, libc::SIGHUP) {
                        pass_on(process, number);
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
        self.tell(record, Action::ExecDie { code }, &[("exitCode", code.to_string())]);
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

    /// Sends an exec to the keeper.
    pub(super) fn run(
        self: &Rc<Self>,
        name: Name<'_>,
        id: &ContainerId,
        argv: Vec<String>,
        extra: &Extra,
        talk: Talk,
    ) -> Result<Line, Error> {
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
        let (name, awaited) = match name {
            Name::Awaited(name) => (name, true),
            Name::Own(name) => (name, false),
        };
        Ok(self.link.exec(name, &id.0, awaited, prepared.launch, prepared.descriptors)?)
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

/// Sends a signal to a process, which may have ended in this moment.
fn pass_on(process: Option<&OwnedFd>, number: i32) {
    if let (Some(process), Some(signal)) = (process, Signal::from_named_raw(number)) {
        let _ = pidfd_send_signal(process, signal);
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
