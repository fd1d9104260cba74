//! `up` in the foreground: progress, then the output of containers, until they end or are told to.
//!
//! ```text
//!             Apply is done            the last one ends
//!  Applying ────────────────▶ Following ───────────────▶ end
//!     │  Ctrl-C, --abort-on-…     │
//!     └───────────┬───────────────┘
//!                 ▼                 Stop is done
//!             Stopping ─────────────────────────────────▶ end     a second Ctrl-C kills
//! ```
//!
//! Four things are waited for at once: the answer to Apply (or Stop), events, the log files, and signals. What was
//! missed, because the supervisor was replaced in between, is made up from what is on disk.

use std::collections::{HashMap, HashSet};
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::call::{Ended, connect, ended};
use super::desired::placed;
use super::observed::{Container, ContainerId, State};
use super::project::Project;
use super::status::{self, is_up, short_name};
use super::up::{Options, Prepared, prepare};
use super::{Session, observed};
use crate::api::client::Client;
use crate::api::message::{Notice, Request};
use crate::api::read::{self, Filter, Follow, Stream, Window};
use crate::event::{Action, Event};
use crate::plan::desired::{Condition, Desired};
use crate::report::{Exit, Report};

/// What the foreground looks like.
pub trait Screen {
    /// The output of these containers is shown from now on.
    fn attaching(&mut self, names: &[String]);
    /// A line of a container.
    fn line(&mut self, name: &str, line: Line<'_>);
    /// What was given as lines must be visible now.
    fn flush(&mut self);
    /// A container has ended; `why` is what is known beside the exit code.
    fn exited(&mut self, name: &str, code: i32, why: Option<&str>);
    /// A word for the user.
    fn say(&mut self, text: &str);
    /// Progress has come to its end.
    fn settled(&mut self);
    /// Signals are taken over from now on.
    fn listen(&mut self) -> Result<(), Report>;
    /// Readable when a signal has come.
    fn signals(&self) -> Option<BorrowedFd<'_>>;
    /// Takes a signal; false when there is none.
    fn interrupted(&mut self) -> bool;
}

/// A line of a container.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// When it was written, in nanoseconds since the Unix epoch.
    pub time_ns: i64,
    /// Its bytes.
    pub text: &'a [u8],
    stderr: bool,
}

impl Line<'_> {
    /// It was written to standard error.
    pub fn is_stderr(&self) -> bool {
        self.stderr
    }
}

/// Whose output is shown, and when everything ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    /// Only these services, if any.
    pub only: Vec<String>,
    /// Not these.
    pub not: Vec<String>,
    /// Dependencies of named services too.
    pub dependencies: bool,
    /// When everything ends.
    pub abort: Abort,
}

/// When one container's end is the end of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Abort {
    /// Never.
    Never,
    /// When any ends.
    OnExit,
    /// When any ends with a failure.
    OnFailure,
    /// When any ends; the exit code is this service's.
    CodeFrom(String),
}

/// Brings services up and stays with them.
pub fn up(
    session: &Session<'_>,
    project: &Project,
    options: &Options,
    attach: &Attach,
    screen: &mut dyn Screen,
) -> Result<Exit, Report> {
    let prepared = prepare(session, project, options)?;
    let shown = shown(&prepared.desired, &options.services, attach);
    let since_ns = now();
    // Before signals are taken over: what is started here must not inherit that.
    let mut applying = connect(session, &project.name)?;
    let events = subscribe(session, &project.name)?;
    screen.listen()?;
    let filter: Filter = {
        let shown = shown.clone();
        Box::new(move |container: &Container| !container.oneoff && shown.contains(&container.service))
    };
    let window = Window { since_ns: Some(since_ns), ..Window::default() };
    let logs = read::logs(session.paths, &project.name, filter, window, true)?;
    let mut attached = Attached {
        session,
        project: &project.name,
        named: options.services.clone(),
        grace_ms: options.apply.grace_ms,
        jobs: jobs(&prepared.desired),
        selected: prepared.desired.services.keys().cloned().collect(),
        abort: attach.abort.clone(),
        screen,
        events,
        logs,
        answer: None,
        phase: Phase::Applying,
        since_ns,
        alive: up_now(&prepared),
        starved: HashSet::new(),
        told: HashSet::new(),
        shown,
        outcome: None,
    };
    attached.screen.attaching(&names(&prepared, &attached.shown));
    let (request, sockets, _lease) = prepared.request();
    applying.ask(request, sockets)?;
    attached.answer = Some(applying);
    attached.run().map_err(|report| placed(project, report))
}

/// Services whose output is shown.
fn shown(desired: &Desired, named: &[String], attach: &Attach) -> HashSet<String> {
    let services = desired.services.values().map(|service| (&service.name, service.attach));
    services
        .filter(|(name, by_file)| is_shown(name, *by_file, named, attach))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Whether a service's output is shown: `by_file` is its `attach`, `named` what the command line brings up.
fn is_shown(name: &String, by_file: bool, named: &[String], attach: &Attach) -> bool {
    let a_dependency = !named.is_empty() && !attach.dependencies && !named.contains(name);
    let wanted = match attach.only.as_slice() {
        [] => by_file && !a_dependency,
        only => only.contains(name),
    };
    wanted && !attach.not.contains(name)
}

/// Services that others wait for to end well: their end is no reason to end everything.
fn jobs(desired: &Desired) -> HashSet<String> {
    let all = desired.services.values().flat_map(|service| service.depends_on.iter());
    all.filter(|(_, dependency)| dependency.condition == Condition::ServiceCompletedSuccessfully)
        .map(|(name, _)| name.clone())
        .collect()
}

/// Names of the containers that will be shown, as their lines are headed.
fn names(prepared: &Prepared, shown: &HashSet<String>) -> Vec<String> {
    let services = prepared.desired.services.values().filter(|service| shown.contains(&service.name));
    let mut all: Vec<String> = services
        .flat_map(|service| {
            (1..=service.scale).map(|number| {
                let name = prepared.desired.container_name(service, number);
                short_name(&prepared.desired.project, &name).to_owned()
            })
        })
        .collect();
    all.sort();
    all
}

/// Containers of the chosen services that are up before anything is done.
fn up_now(prepared: &Prepared) -> HashMap<String, Alive> {
    let ours = |container: &&Container| {
        is_up(container) && !container.oneoff && prepared.desired.services.contains_key(&container.service)
    };
    let up = prepared.present.containers.iter().filter(ours);
    up.map(|container| (container.id.0.clone(), Alive::of(container))).collect()
}

fn subscribe(session: &Session<'_>, project: &str) -> Result<Client, Report> {
    let mut events = connect(session, project)?;
    events.ask(Request::Events { since_ns: None, until_ns: None }, Vec::new())?;
    Ok(events)
}

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The wish is being made true.
    Applying,
    /// It is true.
    Following,
    /// Everything is being stopped.
    Stopping,
    /// Everything is being killed.
    Killing,
}

/// What has to be known of a container to tell its end, when it is removed at once and nothing tells of it any more.
struct Alive {
    service: String,
    name: String,
}

impl Alive {
    fn of(container: &Container) -> Alive {
        Alive { service: container.service.clone(), name: container.name.clone() }
    }
}

struct Attached<'a> {
    session: &'a Session<'a>,
    project: &'a str,
    /// Services that the user named: those are stopped at the end. None is all.
    named: Vec<String>,
    /// Grace instead of each container's own when they are stopped at the end.
    grace_ms: Option<u64>,
    jobs: HashSet<String>,
    selected: HashSet<String>,
    shown: HashSet<String>,
    abort: Abort,
    screen: &'a mut dyn Screen,
    events: Client,
    logs: Follow,
    /// The request whose end is waited for.
    answer: Option<Client>,
    phase: Phase,
    /// When the command began; what ended earlier is none of its news.
    since_ns: i64,
    /// Containers that have started and whose end was not told yet, by id.
    alive: HashMap<String, Alive>,
    /// Containers of which the kernel has killed a process for want of memory, until their end is told.
    starved: HashSet<String>,
    /// Ends that were told: the container, and when it ended.
    told: HashSet<(String, i64)>,
    /// How the command ends, once that is settled.
    outcome: Option<Exit>,
}

impl Attached<'_> {
    fn run(mut self) -> Result<Exit, Report> {
        loop {
            self.wait()?;
            self.show_logs()?;
            while self.screen.interrupted() {
                self.interrupt()?;
            }
            self.take_events()?;
            if self.take_answer()? {
                self.screen.flush();
                return Ok(self.outcome.unwrap_or(Exit::Success));
            }
            if self.phase == Phase::Following && !self.anything_up()? {
                self.catch_up()?;
                // What was missed may have been a reason to stop the others, whose answer is then still to come.
                if self.answer.is_none() {
                    self.screen.flush();
                    return Ok(self.outcome.unwrap_or(Exit::Success));
                }
            }
        }
    }

    fn wait(&mut self) -> Result<(), Report> {
        let watched = self.logs.watched();
        let signals = self.screen.signals();
        let mut fds = vec![PollFd::new(&self.events, PollFlags::IN)];
        fds.extend(self.answer.as_ref().map(|client| PollFd::new(client, PollFlags::IN)));
        fds.extend(watched.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        fds.extend(signals.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(Report::from_error(Exit::Failure, &error)),
        }
    }

    fn show_logs(&mut self) -> Result<(), Report> {
        self.logs.look_again().map_err(|error| Report::from_error(Exit::Failure, &error))?;
        let (project, screen) = (self.project, &mut self.screen);
        self.logs
            .read(&mut |container, line| screen.line(short_name(project, &container.name), shown_line(line)))
            .map_err(|error| Report::from_error(Exit::Failure, &error))?;
        self.screen.flush();
        Ok(())
    }

    fn take_events(&mut self) -> Result<(), Report> {
        loop {
            match self.events.try_next() {
                Ok(Some((Notice::Event(event), _))) => self.event(event)?,
                Ok(Some((notice, _))) => super::call::tell(self.session, notice),
                Ok(None) => return Ok(()),
                // The supervisor was replaced: go on with the next, and make up what was missed.
                Err(_) => {
                    self.events = subscribe(self.session, self.project)?;
                    return self.catch_up();
                }
            }
        }
    }

    fn event(&mut self, event: Event) -> Result<(), Report> {
        let ours = event.service.as_ref().is_some_and(|service| self.selected.contains(service));
        match event.action {
            Action::Start if ours => {
                let service = event.service.unwrap_or_default();
                self.alive.insert(event.id, Alive { service, name: event.name });
            }
            Action::Oom if ours => {
                self.starved.insert(event.id);
            }
            Action::Die { code } if ours => {
                let Some(alive) = self.alive.remove(&event.id) else { return Ok(()) };
                // The record may speak of its next run already.
                let why = (self.starved.remove(&event.id) && code != 0).then_some(status::OUT_OF_MEMORY);
                match self.recorded()?.iter().find(|container| container.id.0 == event.id) {
                    Some(container) if container.oneoff => {}
                    Some(container) => self.exited(container, code, why)?,
                    // `down` in another terminal was quicker than we are.
                    None => self.show_end(&ContainerId(event.id), &alive.service, &alive.name, code, why)?,
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Tells the ends that no event has told.
    fn catch_up(&mut self) -> Result<(), Report> {
        let recorded = self.recorded()?;
        self.alive.retain(|id, _| recorded.iter().any(|container| container.id.0 == *id));
        for container in &recorded {
            if is_up(container) && self.selected.contains(&container.service) {
                self.alive.insert(container.id.0.clone(), Alive::of(container));
            } else if (self.alive.remove(&container.id.0).is_some() || self.is_news(container))
                && !container.oneoff
            {
                self.exited(container, status::exit_code(container), status::end_reason(container))?;
            }
        }
        Ok(())
    }

    /// Whether it has ended since the command began and nobody has told: it came and went before events were heard.
    fn is_news(&self, container: &Container) -> bool {
        self.selected.contains(&container.service)
            && ended_at(container)
                .is_some_and(|at| at >= self.since_ns && !self.told.contains(&(container.id.0.clone(), at)))
    }

    fn exited(&mut self, container: &Container, code: i32, why: Option<&str>) -> Result<(), Report> {
        if let Some(at) = ended_at(container) {
            self.told.insert((container.id.0.clone(), at));
        }
        self.show_end(&container.id, &container.service, &container.name, code, why)?;
        let comes_back = matches!(container.state, State::Restarting { .. } | State::Running { .. });
        let stopping = matches!(self.phase, Phase::Stopping | Phase::Killing);
        if comes_back || stopping || container.stopped_by_user {
            return Ok(());
        }
        let done_job = code == 0 && self.jobs.contains(&container.service);
        let aborts = match &self.abort {
            Abort::Never => false,
            Abort::OnFailure => code != 0,
            Abort::OnExit => !done_job,
            Abort::CodeFrom(service) => !done_job || container.service == *service,
        };
        if aborts {
            self.screen.say("Aborting on container exit...");
            self.outcome = Some(Exit::Code(u8::try_from(code & 0xff).unwrap_or(255)));
            self.stop()?;
        }
        Ok(())
    }

    /// Shows the last lines of a container, and how it ended.
    fn show_end(
        &mut self,
        id: &ContainerId,
        service: &str,
        name: &str,
        code: i32,
        why: Option<&str>,
    ) -> Result<(), Report> {
        if !self.shown.contains(service) {
            return Ok(());
        }
        let (project, screen) = (self.project, &mut self.screen);
        self.logs
            .finish(id, &mut |container, line| {
                screen.line(short_name(project, &container.name), shown_line(line));
            })
            .map_err(|error| Report::from_error(Exit::Failure, &error))?;
        self.screen.exited(short_name(self.project, name), code, why);
        Ok(())
    }

    fn interrupt(&mut self) -> Result<(), Report> {
        self.outcome = Some(Exit::Interrupted);
        match self.phase {
            Phase::Applying | Phase::Following => {
                self.screen.say("Gracefully Stopping... press Ctrl+C again to force");
                self.stop()
            }
            Phase::Stopping => {
                self.phase = Phase::Killing;
                let request = Request::Kill { services: self.named.clone(), signal: 9 };
                self.ask(request)
            }
            Phase::Killing => Ok(()),
        }
    }

    fn stop(&mut self) -> Result<(), Report> {
        self.phase = Phase::Stopping;
        self.ask(Request::Stop { services: self.named.clone(), grace_ms: self.grace_ms })
    }

    fn ask(&mut self, request: Request) -> Result<(), Report> {
        let mut client = connect(self.session, self.project)?;
        client.ask(request, Vec::new())?;
        self.answer = Some(client);
        Ok(())
    }

    /// Takes what the request says; true when the command is at its end.
    fn take_answer(&mut self) -> Result<bool, Report> {
        loop {
            let Some(client) = &mut self.answer else { return Ok(false) };
            match ended(self.session, client.try_next()) {
                None => return Ok(false),
                Some(Ended::NotYet) => continue,
                Some(Ended::Failed(report)) if self.phase == Phase::Applying => return Err(report),
                Some(end) => {
                    self.answer = None;
                    self.screen.settled();
                    if self.phase == Phase::Applying {
                        self.phase = Phase::Following;
                        return Ok(false);
                    }
                    if let Ended::Failed(report) = end {
                        self.session.ears.warning(&report.to_string());
                    }
                    return self.stopped().map(|()| true);
                }
            }
        }
    }

    /// Everything has been stopped: shows the last lines, and finds the exit code that was asked for.
    fn stopped(&mut self) -> Result<(), Report> {
        self.show_logs()?;
        self.catch_up()?;
        if let Abort::CodeFrom(service) = &self.abort
            && self.outcome != Some(Exit::Interrupted)
        {
            let observed: observed::Observed = status::observed(self.session, self.project)?;
            let code = observed
                .containers
                .iter()
                .find(|container| container.service == *service && !container.oneoff)
                .map_or(0, status::exit_code);
            self.outcome = Some(Exit::Code(u8::try_from(code & 0xff).unwrap_or(255)));
        }
        Ok(())
    }

    /// Whether a container that is followed runs or will run again: of the services that the user named, else of all.
    /// What the named ones depend on runs on when they have ended.
    fn anything_up(&self) -> Result<bool, Report> {
        let followed = |service: &String| match self.named.as_slice() {
            [] => self.selected.contains(service),
            named => named.contains(service),
        };
        if self.alive.values().any(|alive| followed(&alive.service)) {
            return Ok(true);
        }
        let ours = |container: &&Container| !container.oneoff && followed(&container.service);
        Ok(self.recorded()?.iter().filter(ours).any(is_up))
    }

    /// What the supervisor has written down: of an end that it has not, the output is not there yet.
    fn recorded(&self) -> Result<Vec<Container>, Report> {
        read::recorded(self.session.paths, self.project)
    }
}

/// When a container has ended by itself or by a signal; `None` while it runs, and where it never could.
fn ended_at(container: &Container) -> Option<i64> {
    match &container.state {
        State::Exited { since_ns, error: None, .. } => Some(*since_ns),
        _ => None,
    }
}

fn shown_line(line: read::Line<'_>) -> Line<'_> {
    Line { time_ns: line.time_ns, text: line.text, stderr: line.stream == Stream::Stderr }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Services `a`, `q` (with `attach: false`) and `d`, which depends on `a`.
    fn check(named: &[&str], only: &[&str], not: &[&str], dependencies: bool, expected: &[&str]) {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let attach = Attach { only: list(only), not: list(not), dependencies, abort: Abort::Never };
        let shown = list(&["a", "q", "d"]);
        let shown = shown.iter().filter(|name| is_shown(name, *name != "q", &list(named), &attach));
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn output_is_shown_of_what_was_asked_for() {
        check(&[], &[], &[], false, &["a", "d"]);
        check(&[], &[], &["a"], false, &["d"]);
        check(&[], &["q"], &[], false, &["q"]);
        check(&["d"], &[], &[], false, &["d"]);
        check(&["d"], &[], &[], true, &["a", "d"]);
    }
}
