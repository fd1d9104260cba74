//! What containers print and what happens to them, as it comes.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::call::{Ended, connect_if_there, ended};
use super::status::{is_up, short_name};
use super::{Session, observed::Container};
use crate::api::client::Client;
use crate::api::message::{Notice, Request};
use crate::api::read::{self, Filter, Follow, Window};
use crate::event::Event;
use crate::host::files;
use crate::report::{Exit, Report};
use crate::supervisor::spawn;

pub use crate::api::read::{Line, Stream};

/// How long the output of a container that has ended may be on its way. A supervisor that was killed is back sooner.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which lines are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of these services, or of containers of these names; empty is all but one-offs.
    pub services: Vec<String>,
    /// Of the container with this number.
    pub number: Option<u32>,
    /// Only so many of each container, the last ones.
    pub tail: Option<usize>,
    /// Only those not older, in nanoseconds since the Unix epoch.
    pub since_ns: Option<i64>,
    /// Only those not newer.
    pub until_ns: Option<i64>,
    /// Go on with what comes.
    pub follow: bool,
}

/// Logs of a project.
pub struct Logs<'s> {
    session: &'s Session<'s>,
    project: String,
    follow: Follow,
    end: End,
}

/// How near the end of following is.
enum End {
    /// A container is up, or nobody has looked yet.
    Open,
    /// None is up. The supervisor is asked to say when what is being changed now is done: a restart is a stop first.
    Doubtful(Client),
    /// None is up, and none is about to be: what was written until then is read once more, and then it is over.
    Near,
}

/// Opens the logs of a project.
///
/// What one-offs print is for those who run them, as with docker compose, unless they are named.
pub fn open<'s>(session: &'s Session<'s>, project: &str, wanted: Wanted) -> Result<Logs<'s>, Report> {
    let window = Window { tail: wanted.tail, since_ns: wanted.since_ns, until_ns: wanted.until_ns };
    let Wanted { services, number, follow, .. } = wanted;
    let prefix = project.to_owned();
    let filter: Filter = Box::new(move |container: &Container| {
        let of_service = !container.oneoff
            && (services.is_empty() || services.contains(&container.service))
            && number.is_none_or(|number| container.number == number);
        let short = short_name(&prefix, &container.name);
        of_service || services.iter().any(|name| *name == container.name || name == short)
    });
    if !follow && spawn::keeper(session.paths, project).is_some() {
        read::await_output(session.paths, project, &filter, PATIENCE)?;
    }
    let follow = read::logs(session.paths, project, filter, window, follow)?;
    Ok(Logs { session, project: project.to_owned(), follow, end: End::Open })
}

impl Logs<'_> {
    /// Names of the containers, as their lines are headed.
    pub fn names(&self) -> Vec<String> {
        let all = self.follow.containers();
        all.into_iter().map(|container| short_name(&self.project, &container.name).to_owned()).collect()
    }

    /// Gives out all lines that are there.
    pub fn read(&mut self, each: &mut dyn FnMut(&str, Line<'_>)) -> Result<(), Report> {
        let project = &self.project;
        self.follow
            .read(&mut |container, line| each(short_name(project, &container.name), line))
            .map_err(unreadable)
    }

    /// Waits until there may be more; false when `stop` has become readable, when nobody reads from `output` any more, or
    /// when no container is up any more and nobody is about to start one.
    pub fn wait(&mut self, stop: impl AsFd, output: impl AsFd) -> Result<bool, Report> {
        match (self.follow.containers().into_iter().any(is_up), &self.end) {
            (true, _) => self.end = End::Open,
            (false, End::Open) => self.doubt(),
            (false, End::Doubtful(_)) => {}
            (false, End::Near) => return Ok(false),
        }
        if !self.sleep(stop, output)? {
            return Ok(false);
        }
        if let End::Doubtful(client) = &mut self.end
            && !matches!(ended(self.session, client.try_next()), None | Some(Ended::NotYet))
        {
            self.end = End::Near;
        }
        // After the supervisor's word: what it has started before that is seen.
        self.follow.look_again().map_err(unreadable)?;
        Ok(true)
    }

    /// Asks whether there is more to come. Without a supervisor that answers there is not.
    fn doubt(&mut self) {
        let asked = connect_if_there(self.session, &self.project).ok().flatten().and_then(|mut client| {
            client.ask(Request::Settled, Vec::new()).ok()?;
            Some(client)
        });
        self.end = asked.map_or(End::Near, End::Doubtful);
    }

    /// Sleeps until something has happened; false when that is `stop`, or the end of who reads from `output`.
    fn sleep(&self, stop: impl AsFd, output: impl AsFd) -> Result<bool, Report> {
        let Some(watched) = self.follow.watched() else { return Ok(false) };
        let mut fds = vec![
            PollFd::new(&stop, PollFlags::IN),
            // Asks for nothing: that a pipe has lost its reader is told unasked, and who is gone waits for no next line.
            PollFd::new(&output, PollFlags::empty()),
            PollFd::new(&watched, PollFlags::IN),
        ];
        match &self.end {
            End::Open => {}
            End::Doubtful(client) => fds.push(PollFd::new(client, PollFlags::IN)),
            End::Near => return Ok(true),
        }
        match poll(&mut fds, None) {
            Ok(_) => {
                let is_gone = fds[1].revents().intersects(PollFlags::ERR | PollFlags::HUP);
                Ok(fds[0].revents().is_empty() && !is_gone)
            }
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(Report::from_error(Exit::Failure, &error)),
        }
    }
}

fn unreadable(error: files::Error) -> Report {
    Report::from_error(Exit::Failure, &error)
}

/// Tells every event of a project from `since_ns` or now on, until `until_ns`. A project of which nothing runs yet is waited for.
pub fn events(
    session: &Session<'_>,
    project: &str,
    since_ns: Option<i64>,
    until_ns: Option<i64>,
    each: &mut dyn FnMut(Event),
) -> Result<(), Report> {
    let mut is_first = true;
    let mut since_ns = since_ns.unwrap_or_else(|| i64::try_from(now().as_nanos()).unwrap_or(i64::MAX));
    loop {
        let left = until_ns.map(time_left);
        let is_over = left.is_some_and(|left| left.is_zero());
        // At first, what is remembered may still be told.
        if is_over && !is_first {
            return Ok(());
        }
        is_first = false;
        let Some(mut client) = connect_if_there(session, project)? else {
            if is_over {
                return Ok(());
            }
            await_supervisor(session, project, left)?;
            continue;
        };
        // What it did before we found it counts as well.
        client.ask(Request::Events { since_ns: Some(since_ns), until_ns }, Vec::new())?;
        loop {
            match client.try_next() {
                Ok(Some((Notice::Event(event), _))) => {
                    since_ns = event.time_ns + 1;
                    if until_ns.is_none_or(|until| event.time_ns <= until) {
                        each(event);
                    }
                    continue;
                }
                Ok(None) => {}
                // The supervisor has left: nothing runs. The next one is waited for.
                received => match ended(session, received) {
                    Some(Ended::NotYet) => continue,
                    _ => break,
                },
            }
            let left = until_ns.map(time_left);
            if !is_over && left.is_some_and(|left| left.is_zero()) {
                return Ok(());
            }
            let left = left.filter(|_| !is_over);
            let timeout = left.map(timespec);
            match poll(&mut [PollFd::new(&client, PollFlags::IN)], timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(Report::from_error(Exit::Failure, &error)),
            }
        }
    }
}

/// Since the Unix epoch.
fn now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

fn time_left(until_ns: i64) -> Duration {
    Duration::from_nanos(u64::try_from(until_ns).unwrap_or(0)).saturating_sub(now())
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// Waits until something appears where the project's control socket will be.
fn await_supervisor(session: &Session<'_>, project: &str, left: Option<Duration>) -> Result<(), Report> {
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    let directory = session.paths.run_project(project);
    files::make_private_dir(&directory).map_err(unreadable)?;
    let failed =
        |error: Errno| Report::from_error(Exit::Failure, &files::failed("watch", &directory)(error.into()));
    let watch = inotify::init(CreateFlags::CLOEXEC).map_err(failed)?;
    inotify::add_watch(
        &watch,
        &directory,
        WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE_SELF,
    )
    .map_err(failed)?;
    // It may have come between our look and the watch.
    if connect_if_there(session, project)?.is_some() {
        return Ok(());
    }
    let timeout = left.map(timespec);
    match poll(&mut [PollFd::new(&watch, PollFlags::IN)], timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
