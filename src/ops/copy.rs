//! `cp`: files between this machine and containers, running or not.
//!
//! ```text
//! describe both sides ─▶ place (pure): which directory, under which name ─▶ pack ═ pipe ═▶ unpack
//! ```
//!
//! The container's side is a process in its root, the other one is this one. The rules are those of `docker cp`.

use std::io::{self, PipeReader, PipeWriter, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;

use super::Session;
use super::call::call;
use super::observed::Container;
use super::project::Found as Project;
use super::status;
use crate::api::message::{Files, Reply, Request};
use crate::host::tree::{self, Found, Job, Modes, Owners, Place};
use crate::progress::{Progress, State};
use crate::report::{Exit, Report};

/// One side of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// A path on this machine.
    Here(String),
    /// `-`: a tar stream on standard input or output.
    Stream,
    /// A path in the containers of a service.
    In {
        /// The service.
        service: String,
        /// The path.
        path: String,
    },
}

impl Side {
    /// Reads `-`, `PATH` or `SERVICE:PATH`. What begins with `/` or `.` is a path.
    pub fn parse(text: &str) -> Side {
        match text.split_once(':') {
            _ if text == "-" => Side::Stream,
            Some((service, path)) if !service.is_empty() && !text.starts_with(['/', '.']) => {
                Side::In { service: service.to_owned(), path: path.to_owned() }
            }
            _ => Side::Here(text.to_owned()),
        }
    }
}

/// How it is copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Users and groups are kept.
    pub owners: bool,
    /// What the source's link leads to, not the link.
    pub follow: bool,
    /// The container with this number.
    pub index: Option<u32>,
    /// One-off containers too.
    pub oneoffs: bool,
}

/// Copies; one side must be in a service.
pub fn copy(
    session: &Session<'_>,
    project: &Project,
    from: &Side,
    to: &Side,
    options: Options,
) -> Result<(), Report> {
    match (from, to) {
        (Side::In { .. }, Side::In { .. }) => {
            Err(Report::new(Exit::Usage, "copying between services is not supported")
                .hint("copy out of the one, and then into the other"))
        }
        (Side::In { service, path }, to) => {
            let containers = containers(session, project, service, options)?;
            Copy { session, project, container: &containers[0], options }.outwards(path, to)
        }
        (from, Side::In { service, path }) => {
            let containers = containers(session, project, service, options)?;
            let stream = match from {
                Side::Stream => Some(spooled()?),
                _ => None,
            };
            containers.iter().try_for_each(|container| {
                Copy { session, project, container, options }.inwards(from, stream.as_ref(), path)
            })
        }
        _ => Err(Report::new(Exit::Usage, "neither side of the copy is in a service")
            .hint("write `SERVICE:PATH` for the one that is")),
    }
}

/// The containers of a service that are meant, by number.
fn containers(
    session: &Session<'_>,
    project: &Project,
    service: &str,
    options: Options,
) -> Result<Vec<Container>, Report> {
    let mut all = status::observed(session, &project.name)?.containers;
    all.retain(|container| {
        container.service == service
            && (options.oneoffs || !container.oneoff)
            && options.index.is_none_or(|index| container.number == index)
    });
    all.sort_by_key(|container| (container.oneoff, container.number));
    if all.is_empty() {
        let which = options.index.map(|index| format!(" with number {index}")).unwrap_or_default();
        return Err(Report::new(
            Exit::Failure,
            format!("no container found for service \"{service}\"{which}"),
        )
        .hint(format!("`rcompose create {service}` makes it")));
    }
    Ok(all)
}

/// Standard input in a file, as each container reads it from its beginning.
fn spooled() -> Result<std::fs::File, Report> {
    let failed = |error| Report::from_error(Exit::Failure, &error).cause("of standard input");
    let mut file = tempfile::tempfile().map_err(failed)?;
    io::copy(&mut io::stdin().lock(), &mut file).map_err(failed)?;
    Ok(file)
}

/// A copy from or to one container.
struct Copy<'a> {
    session: &'a Session<'a>,
    project: &'a Project,
    container: &'a Container,
    options: Options,
}

impl Copy<'_> {
    fn inwards(&self, from: &Side, stream: Option<&std::fs::File>, path: &str) -> Result<(), Report> {
        let there = self.describe(path, true)?;
        let (source, directory, name) = match from {
            Side::Here(source) => {
                let (host, content) = content_alone(source);
                let kind = tree::find(&Place::Here, Path::new(host), self.options.follow).map_err(report)?;
                let what = Source { kind, name: base_name(host), content };
                let (directory, name) = what.place(source, path, there, "/")?;
                (Some(host), directory, name)
            }
            _ if there == Found::Directory => (None, path.to_owned(), String::new()),
            _ => return Err(no_directory(path)),
        };
        let shown = source.unwrap_or("-");
        self.told(&format!("{shown} to {}:{path}", self.container.name), || {
            let unpack = Job::Unpack { directory, owners: self.options.owners };
            if let Some(stream) = stream {
                let mut stream = stream.try_clone().map_err(broken)?;
                stream.rewind().map_err(broken)?;
                return self.perform(unpack, Some(stream.into()), None);
            }
            let (read, write) = io::pipe().map_err(broken)?;
            let (source, follow) = (source.unwrap_or_default().to_owned(), self.options.follow);
            let packing =
                thread::spawn(move || tree::pack(&Place::Here, Path::new(&source), &name, follow, write));
            let unpacked = self.perform(unpack, Some(read.into()), None);
            let packed = joined(packing);
            // When the far side gave up, that our pipe broke is no news.
            unpacked.and(packed.map_err(report))
        })
    }

    fn outwards(&self, path: &str, to: &Side) -> Result<(), Report> {
        let (path, content) = content_alone(path);
        let follow = self.options.follow;
        let kind = self.describe(path, follow)?;
        let what = Source { kind, name: base_name(path), content };
        let shown = format!("{}:{path}", self.container.name);
        if kind == Found::Missing {
            return Err(nothing_there(&shown));
        }
        let Side::Here(target) = to else {
            let name = if content { ".".to_owned() } else { what.name.clone() };
            let out = io::stdout().as_fd().try_clone_to_owned().map_err(broken)?;
            return self.perform(Job::Pack { path: path.to_owned(), name, follow }, None, Some(out));
        };
        let there = tree::find(&Place::Here, Path::new(target), true).map_err(report)?;
        let (directory, name) = what.place(&shown, target, there, ".")?;
        self.told(&format!("{shown} to {target}"), || {
            let (read, write) = io::pipe().map_err(broken)?;
            let (owners, modes) = match self.options.owners {
                true => (Owners::OfStream, Modes::All),
                false => (Owners::Own, Modes::Harmless),
            };
            let unpack = move || tree::unpack(&Place::Here, Path::new(&directory), owners, modes, read);
            let unpacking = thread::spawn(unpack);
            let pack = Job::Pack { path: path.to_owned(), name, follow };
            let packed = self.perform(pack, None, Some(write.into()));
            let unpacked = joined(unpacking).map_err(report);
            // Ours first: that the far side met a closed pipe follows from it.
            let remark = unpacked?;
            packed?;
            if let Some(remark) = remark {
                self.session.ears.warning(&remark.to_string());
            }
            Ok(())
        })
    }

    fn describe(&self, path: &str, follow: bool) -> Result<Found, Report> {
        let (mut read, write): (PipeReader, PipeWriter) = io::pipe().map_err(broken)?;
        self.perform(Job::Describe { path: path.to_owned(), follow }, None, Some(write.into()))?;
        let mut answer = Vec::new();
        read.read_to_end(&mut answer).map_err(broken)?;
        serde_json::from_slice(&answer).map_err(|error| Report::from_error(Exit::Failure, &error))
    }

    /// Has the container's side do its part.
    fn perform(&self, job: Job, input: Option<OwnedFd>, output: Option<OwnedFd>) -> Result<(), Report> {
        let null = || std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").map(OwnedFd::from);
        let (mut said, error) = io::pipe().map_err(broken)?;
        let streams = vec![
            input.map_or_else(null, Ok).map_err(broken)?,
            output.map_or_else(null, Ok).map_err(broken)?,
            error.into(),
        ];
        let files = Files { container: self.container.name.clone(), job };
        let reply = call(self.session, &self.project.name, Request::Files(files), streams)?;
        let mut why = String::new();
        // What cannot be read is not told.
        let _ = said.read_to_string(&mut why);
        let Reply::Exited { code: 0 } = reply else {
            let (message, cause) = why.split_once(": ").unwrap_or((&why, "it ended before it was done"));
            return Err(Report::new(
                Exit::Failure,
                format!("{message} in container {}", self.container.name),
            )
            .cause(cause));
        };
        if !why.is_empty() {
            self.session.ears.warning(&format!("{why} in container {}", self.container.name));
        }
        Ok(())
    }

    /// Says what is copied while it is, and how that ended.
    fn told(&self, what: &str, work: impl FnOnce() -> Result<(), Report>) -> Result<(), Report> {
        let task = format!("{} copy {what}", self.container.name);
        let tell = |state, word: &str| self.session.progress(Progress::new(&task, state, word));
        if self.session.dry_run {
            tell(State::Done, "Copied");
            return Ok(());
        }
        tell(State::Working, "Copying");
        let done = work();
        match &done {
            Ok(()) => tell(State::Done, "Copied"),
            Err(_) => tell(State::Failed, "Error"),
        }
        done
    }
}

/// What is copied.
#[derive(Debug)]
struct Source {
    kind: Found,
    /// Its own name.
    name: String,
    /// Written as `DIRECTORY/.`: its content alone.
    content: bool,
}

impl Source {
    /// Finds the directory that is written into, and what the source is called there. `root` is where paths without a
    /// directory are; `shown` is the source in messages.
    fn place(&self, shown: &str, target: &str, there: Found, root: &str) -> Result<(String, String), Report> {
        let onto = |name: &str| name.to_owned();
        match (self.kind, there) {
            (Found::Missing, _) => Err(nothing_there(shown)),
            (Found::File, _) if self.content => Err(no_directory(shown)),
            (_, Found::Directory) => Ok((onto(target), onto(if self.content { "." } else { &self.name }))),
            (Found::Directory, Found::File) => Err(Report::new(
                Exit::Failure,
                format!("cannot copy directory `{shown}` onto file `{target}`"),
            )),
            (Found::File, _) if target.ends_with('/') => Err(no_directory(target)),
            _ => {
                let path = target.trim_end_matches('/');
                let (directory, name) = match path.rsplit_once('/') {
                    Some(("", name)) => ("/", name),
                    Some(parts) => parts,
                    None => (root, path),
                };
                Ok((onto(directory), onto(name)))
            }
        }
    }
}

/// Takes `/.` off a path: its directory's content is meant.
fn content_alone(path: &str) -> (&str, bool) {
    match path.strip_suffix("/.") {
        Some("") => ("/", true),
        Some(directory) => (directory, true),
        None => (path, matches!(path, "." | "/")),
    }
}

fn base_name(path: &str) -> String {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
}

fn nothing_there(path: &str) -> Report {
    Report::new(Exit::Failure, format!("there is no file or directory `{path}`"))
}

fn no_directory(path: &str) -> Report {
    Report::new(Exit::Failure, format!("`{path}` is not a directory"))
}

fn report(error: crate::host::files::Error) -> Report {
    Report::from_error(Exit::Failure, &error)
}

fn broken(error: io::Error) -> Report {
    Report::from_error(Exit::Failure, &error)
}

fn joined<T>(work: thread::JoinHandle<T>) -> T {
    work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_told_apart() {
        let check = |text: &str, expected: Side| assert_eq!(Side::parse(text), expected, "{text}");
        let here = |path: &str| Side::Here(path.to_owned());
        check("-", Side::Stream);
        check("a:/b", Side::In { service: "a".into(), path: "/b".into() });
        check("a:b:c", Side::In { service: "a".into(), path: "b:c".into() });
        check("./a:b", here("./a:b"));
        check("/x/a:b", here("/x/a:b"));
        check("file", here("file"));
        check(":x", here(":x"));
    }

    #[test]
    fn a_source_comes_to_where_docker_puts_it() {
        use Found::{Directory, File, Missing};
        let check = |source: &str, kind, target: &str, there, expected: Result<(&str, &str), &str>| {
            let (path, content) = content_alone(source);
            let found = Source { kind, name: base_name(path), content }.place(source, target, there, "/");
            let found = found.map_err(|report| report.message);
            match expected {
                Ok((directory, name)) => {
                    assert_eq!(found, Ok((directory.to_owned(), name.to_owned())), "{source} {target}");
                }
                Err(part) => {
                    let message = found.expect_err("refused");
                    assert!(message.contains(part), "{message}");
                }
            }
        };
        check("s", File, "/d", Directory, Ok(("/d", "s")));
        check("s", File, "/d/n", Missing, Ok(("/d", "n")));
        check("s", File, "/n", File, Ok(("/", "n")));
        check("s", File, "n", Missing, Ok(("/", "n")));
        check("s", File, "/d/n/", Missing, Err("`/d/n/` is not a directory"));
        check("x/s/", Directory, "/d", Directory, Ok(("/d", "s")));
        check("s", Directory, "/d/n", Missing, Ok(("/d", "n")));
        check("s", Directory, "/d/n/", Missing, Ok(("/d", "n")));
        check("s/.", Directory, "/d", Directory, Ok(("/d", ".")));
        check("s/.", Directory, "/d/n", Missing, Ok(("/d", "n")));
        check(".", Directory, "/d", Directory, Ok(("/d", ".")));
        check("s", Directory, "/f", File, Err("cannot copy directory `s` onto file `/f`"));
        check("s/.", File, "/d", Directory, Err("`s/.` is not a directory"));
        check("s", Missing, "/d", Directory, Err("no file or directory `s`"));
    }
}
