//! The course that a foreground `up` takes.

use std::collections::{HashMap, HashSet};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::view::{jobs, names, shown};
use super::{Abort, Line, Screen, View};
use crate::api::client::Client;
use crate::api::message::{Notice, Request};
use crate::api::read::{self, Filter, Follow, Window};
use crate::event::{Action, Event};
use crate::image::Lease;
use crate::ops::Session;
use crate::ops::call::{connect, tell};
use crate::ops::desired::placed;
use crate::ops::observed::{Container, ContainerId, Observed, State};
use crate::ops::project::Project;
use crate::ops::status::{self, is_up, short_name};
use crate::ops::up::{Options, Prepared, prepare};
use crate::report::{Exit, Report};

/// Brings services up and stays with them.
pub fn up(
    session: &Session<'_>,
    project: &Project,
    options: &Options,
    view: &View,
    screen: &mut dyn Screen,
) -> Result<Exit, Report> {
    let prepared = prepare(session, project, options)?;
    let shown = shown(&prepared.desired, &options.services, view);
    let since_ns = now();
    // Before signals are taken over: what is started here must not inherit that.
    let applying = connect(session, &project.name)?;
    let events = subscribe(session, &project.name)?;
    screen.listen()?;
    let filter: Filter = {
        let shown = shown.clone();
        Box::new(move |container: &Container| !container.oneoff && shown.contains(&container.service))
    };
    let window = Window { since_ns: Some(since_ns), ..Window::default() };
    let logs = read::logs(session.paths, &project.name, filter, window, true)?;
    let mut course = Course {
        session,
        project,
        options,
        jobs: jobs(&prepared.desired),
        selected: prepared.desired.services.keys().cloned().collect(),
        abort: view.abort.clone(),
        screen,
        events,
        logs,
        answer: None,
        lease: None,
        losses: 0,
        phase: Phase::Applying,
        since_ns,
        alive: up_now(&prepared),
        starved: HashSet::new(),
        told: HashSet::new(),
        shown,
        outcome: None,
    };
    course.screen.attaching(&names(&prepared, &course.shown));
    course.apply(applying, prepared)?;
    course.run().map_err(|report| placed(project, report))
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
    match events.ask(Request::Events { since_ns: None, until_ns: None }, Vec::new()) {
        Err(error) if !error.is_loss() => Err(error.into()),
        // A supervisor that is lost in this moment is noticed when its events are looked for.
        _ => Ok(events),
    }
}

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
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

/// An `up` under way.
pub(super) struct Course<'a> {
    pub(super) session: &'a Session<'a>,
    pub(super) project: &'a Project,
    /// Its services are those that the user named, which are stopped at the end: none is all. Its grace, instead of each
    /// container's own, is for that as well.
    pub(super) options: &'a Options,
    jobs: HashSet<String>,
    selected: HashSet<String>,
    shown: HashSet<String>,
    abort: Abort,
    pub(super) screen: &'a mut dyn Screen,
    events: Client,
    logs: Follow,
    /// The request whose end is waited for.
    pub(super) answer: Option<Client>,
    /// Keeps the images until containers stand on them.
    pub(super) lease: Option<Lease>,
    /// So many supervisors were lost over requests.
    pub(super) losses: usize,
    pub(super) phase: Phase,
    /// When the command began; what ended earlier is none of its news.
    since_ns: i64,
    /// Containers that have started and whose end was not told yet, by id.
    alive: HashMap<String, Alive>,
    /// Containers of which the kernel has killed a process for want of memory, until their end is told.
    starved: HashSet<String>,
    /// Ends that were told: the container, and when it ended.
    told: HashSet<(String, i64)>,
    /// How the command ends, once that is settled.
    pub(super) outcome: Option<Exit>,
}

impl Course<'_> {
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
        let (project, screen) = (&self.project.name, &mut self.screen);
        self.logs
            .read(&mut |container, line| screen.line(short_name(project, &container.name), line.into()))
            .map_err(|error| Report::from_error(Exit::Failure, &error))?;
        self.screen.flush();
        Ok(())
    }

    /// Shows what a lifecycle hook prints as docker compose does: by its container, whoever's output is shown, and in no log.
    pub(super) fn show_hook(&mut self, container: &str, line: &str) {
        let name = format!("{} ->", short_name(&self.project.name, container));
        self.screen.line(&name, Line::said_now(line.as_bytes(), now()));
        self.screen.flush();
    }

    fn take_events(&mut self) -> Result<(), Report> {
        loop {
            match self.events.try_next() {
                Ok(Some((Notice::Event(event), _))) => self.event(event)?,
                Ok(Some((notice, _))) => tell(self.session, notice),
                Ok(None) => return Ok(()),
                // The supervisor was replaced: go on with the next, and make up what was missed.
                Err(_) => {
                    self.events = subscribe(self.session, &self.project.name)?;
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
        let (project, screen) = (&self.project.name, &mut self.screen);
        self.logs
            .finish(id, &mut |container, line| {
                screen.line(short_name(project, &container.name), line.into());
            })
            .map_err(|error| Report::from_error(Exit::Failure, &error))?;
        self.screen.exited(short_name(&self.project.name, name), code, why);
        Ok(())
    }

    /// Everything has been stopped: shows the last lines, and finds the exit code that was asked for.
    pub(super) fn stopped(&mut self) -> Result<(), Report> {
        self.show_logs()?;
        self.catch_up()?;
        if let Abort::CodeFrom(service) = &self.abort
            && self.outcome != Some(Exit::Interrupted)
        {
            let observed: Observed = status::observed(self.session, &self.project.name)?;
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
        let followed = |service: &String| match self.options.services.as_slice() {
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
        read::recorded(self.session.paths, &self.project.name)
    }
}

/// When a container has ended by itself or by a signal; `None` while it runs, and where it never could.
fn ended_at(container: &Container) -> Option<i64> {
    match &container.state {
        State::Exited { since_ns, error: None, .. } => Some(*since_ns),
        _ => None,
    }
}
