//! The logs of several containers as one stream, by time, followed as they grow.

use std::collections::BTreeMap;
use std::fs::{DirEntry, File};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::index::Stream;
use super::read::{Line, Reader, Window};
use super::{INDEX, place};
use crate::engine::state::Store;
use crate::host::files::{self, failed};
use crate::plan::observed::{Container, State};
use crate::runtime::spec::ContainerId;

/// Chooses containers.
pub type Filter = Box<dyn Fn(&Container) -> bool>;

/// Reads the logs of the chosen containers of a project; those made later are taken in as well.
pub struct Follow {
    store: Store,
    filter: Filter,
    window: Window,
    sources: BTreeMap<ContainerId, Source>,
    /// `None` when only what is there now is wanted.
    watch: Option<OwnedFd>,
    /// Tells writers that somebody will read what comes.
    announced: Option<File>,
}

struct Source {
    container: Container,
    reader: Reader,
    /// The reader stands at a line that was not given out yet.
    ready: bool,
}

impl Follow {
    /// Opens the logs. With `follow`, [`Follow::wait`] tells when there may be more.
    pub fn open(store: Store, filter: Filter, window: Window, follow: bool) -> Result<Follow, files::Error> {
        let mut logs =
            Follow { store, filter, window, sources: BTreeMap::new(), watch: None, announced: None };
        if follow {
            let directory = logs.store.paths().containers(logs.store.project());
            // Before the first look, so that nothing falls between look and watch.
            files::make_private_dir(&directory)?;
            let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
                .map_err(|error| failed("watch", &directory)(error.into()))?;
            logs.watch = Some(watch);
            logs.announced = Some(place::announce(&directory)?);
            logs.watch(&directory, WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::ONLYDIR)?;
        }
        logs.look(true)?;
        Ok(logs)
    }

    /// Containers whose logs are read, the oldest first.
    pub fn containers(&self) -> Vec<&Container> {
        let mut all: Vec<&Container> = self.sources.values().map(|source| &source.container).collect();
        all.sort_by(|a, b| (a.created_ns, &a.name).cmp(&(b.created_ns, &b.name)));
        all
    }

    /// Gives out all lines that are there, the oldest first over all containers. Lines that are not ended are held
    /// back while their writer may go on, unless nothing is followed.
    pub fn read(&mut self, each: &mut dyn FnMut(&Container, Line<'_>)) -> Result<(), files::Error> {
        for source in self.sources.values_mut() {
            if !source.ready {
                source.ready = source.reader.advance()?;
            }
        }
        let time = |source: &Source| source.reader.line().map_or(i64::MAX, |line| line.time_ns);
        loop {
            let ready = self.sources.values().filter(|source| source.ready);
            let mut times: Vec<(i64, &ContainerId)> =
                ready.map(|source| (time(source), &source.container.id)).collect();
            times.sort();
            let Some((_, id)) = times.first().copied() else { break };
            // This source's lines go out until another's is older.
            let bound = times.get(1).map_or(i64::MAX, |(time, _)| *time);
            let id = id.clone();
            let Some(source) = self.sources.get_mut(&id) else { break };
            while source.ready {
                let Some(line) = source.reader.line().filter(|line| line.time_ns <= bound) else { break };
                each(&source.container, line);
                source.ready = source.reader.advance()?;
            }
        }
        let follow = self.watch.is_some();
        for source in self.sources.values_mut() {
            if !follow || matches!(source.container.state, State::Exited { .. } | State::Removing) {
                while source.reader.advance_to_rest() {
                    if let Some(line) = source.reader.line() {
                        each(&source.container, line);
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives out what is there byte for byte, as it was written, one container after the other.
    pub fn read_bytes(&mut self, each: &mut dyn FnMut(Stream, &[u8])) -> Result<(), files::Error> {
        for source in self.sources.values_mut() {
            while let Some((stream, bytes)) = source.reader.next_bytes()? {
                each(stream, bytes);
            }
        }
        Ok(())
    }

    /// Gives out all that is there, and the unended last lines of a container that has ended: it may have come and gone
    /// since the last look.
    pub fn finish(
        &mut self,
        id: &ContainerId,
        each: &mut dyn FnMut(&Container, Line<'_>),
    ) -> Result<(), files::Error> {
        self.look_again()?;
        self.read(each)?;
        if let Some(source) = self.sources.get_mut(id) {
            while source.reader.advance_to_rest() {
                if let Some(line) = source.reader.line() {
                    each(&source.container, line);
                }
            }
        }
        Ok(())
    }

    /// Waits until something was written or a container came or went; false when the time is over. Without `follow`
    /// returns false at once.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool, files::Error> {
        let Some(watch) = &self.watch else { return Ok(false) };
        let timeout = timeout.map(|timeout| rustix::event::Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let mut fds = [PollFd::new(watch, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => Ok(false),
            Ok(_) => {
                self.look_again()?;
                Ok(true)
            }
            Err(rustix::io::Errno::INTR) => Ok(true),
            Err(error) => Err(failed("watch", &self.directory())(error.into())),
        }
    }

    /// The descriptor that is readable when [`Follow::look_again`] and [`Follow::read`] are due, for callers that wait
    /// for other things as well.
    pub fn watched(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Takes in what the watch has told.
    pub fn look_again(&mut self) -> Result<(), files::Error> {
        let mut others = false;
        if let Some(watch) = &self.watch {
            let mut buffer = [std::mem::MaybeUninit::uninit(); 16 << 10];
            let mut events = inotify::Reader::new(watch, &mut buffer);
            while let Ok(event) = events.next() {
                // A written index says only "read"; everything else may be a new container or generation.
                others |= event.events() != inotify::ReadFlags::MODIFY;
            }
        }
        if others { self.look(false) } else { Ok(()) }
    }

    fn directory(&self) -> PathBuf {
        self.store.paths().containers(self.store.project())
    }

    fn watch(&self, path: &Path, flags: WatchFlags) -> Result<(), files::Error> {
        let Some(watch) = &self.watch else { return Ok(()) };
        match inotify::add_watch(watch, path, flags) {
            // It went in this moment, or has not come yet: the watch on its directory tells.
            Ok(_) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(()),
            Err(error) => Err(failed("watch", path)(error.into())),
        }
    }

    /// Looks which containers there are.
    fn look(&mut self, first: bool) -> Result<(), files::Error> {
        let directory = self.directory();
        if self.watch.is_some() {
            // Directories first: a container's record is renamed into one after it was made.
            for entry in entries(&directory)? {
                let kinds = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
                self.watch(&entry.path(), kinds)?;
                let newest = place::newest(&entry.path())?;
                self.watch(&newest, WatchFlags::CREATE | WatchFlags::ONLYDIR)?;
                self.watch(&newest.join(INDEX), WatchFlags::MODIFY)?;
            }
        }
        for source in self.sources.values_mut() {
            // It may have ended and gone since the last look: nothing more comes from it.
            if !self.store.directory(&source.container.id).exists() {
                source.container.state = State::Removing;
            }
        }
        for container in self.store.containers()? {
            if !(self.filter)(&container) {
                continue;
            }
            match self.sources.get_mut(&container.id) {
                Some(source) => source.container = container,
                None => {
                    // What came later than the command is shown whole.
                    let open = if first { Reader::open } else { Reader::of_a_later_one };
                    let reader = open(&self.store.directory(&container.id), self.window)?;
                    let id = container.id.clone();
                    self.sources.insert(id, Source { container, reader, ready: false });
                }
            }
        }
        Ok(())
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        // What has waited for this follower alone is of no use now.
        if self.announced.take().is_some() {
            self.sources.clear();
            for entry in entries(&self.directory()).unwrap_or_default() {
                place::sweep(&entry.path());
            }
        }
    }
}

/// What is in a directory; of a project that was taken down there is none.
fn entries(directory: &Path) -> Result<Vec<DirEntry>, files::Error> {
    match std::fs::read_dir(directory) {
        Ok(entries) => Ok(entries.flatten().collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed("list", directory)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::capture::{Capture, Limits};
    use super::super::index::Stream;
    use super::*;
    use crate::engine::state::tests::{container, paths};

    fn read(logs: &mut Follow) -> Vec<String> {
        let mut found = Vec::new();
        logs.read(&mut |container, line| {
            found.push(format!("{} {}", container.name, String::from_utf8_lossy(line.text)));
        })
        .expect("read");
        found
    }

    #[test]
    fn containers_are_merged_by_time_and_later_ones_are_taken_in() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::new(paths(directory.path()), "p");
        let make = |id: &str| {
            let container = container(id, id, State::Created);
            files::make_private_dir(&store.directory(&container.id)).expect("made");
            store.write_container(&container).expect("written");
            Capture::open(&store.directory(&container.id), Limits::default(), 1).expect("opened")
        };
        let (mut a, mut b) = (make("a"), make("b"));
        a.write(Stream::Stdout, b"1\n", 10).expect("written");
        b.write(Stream::Stdout, b"2\n", 20).expect("written");
        a.write(Stream::Stdout, b"3\n4", 30).expect("written");
        let all: fn() -> Filter = || Box::new(|_| true);
        let mut once = Follow::open(store.clone(), all(), Window::default(), false).expect("opened");
        assert_eq!(read(&mut once), ["a 1", "b 2", "a 3", "a 4"]);
        assert!(!once.wait(None).expect("no wait"));

        let mut logs = Follow::open(store.clone(), all(), Window::default(), true).expect("opened");
        assert_eq!(read(&mut logs), ["a 1", "b 2", "a 3"]);
        let soon = Some(Duration::from_secs(60));
        a.write(Stream::Stdout, b"5\n", 50).expect("written");
        assert!(logs.wait(soon).expect("waited"));
        assert_eq!(read(&mut logs), ["a 45"]);
        let mut c = make("c");
        c.write(Stream::Stdout, b"6\n", 60).expect("written");
        let mut found = Vec::new();
        while found.is_empty() {
            assert!(logs.wait(soon).expect("waited"), "a new container was not seen");
            found = read(&mut logs);
        }
        assert_eq!(found, ["c 6"]);
    }

    #[test]
    fn the_end_of_a_container_that_came_after_the_last_look_is_given_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::new(paths(directory.path()), "p");
        let mut logs =
            Follow::open(store.clone(), Box::new(|_| true), Window::default(), true).expect("opened");
        let short = container("short", "short", State::Created);
        files::make_private_dir(&store.directory(&short.id)).expect("made");
        store.write_container(&short).expect("written");
        let mut capture = Capture::open(&store.directory(&short.id), Limits::default(), 1).expect("opened");
        capture.write(Stream::Stdout, b"1\n2", 10).expect("written");
        let mut found = Vec::new();
        logs.finish(&short.id, &mut |_, line| found.push(String::from_utf8_lossy(line.text).into_owned()))
            .expect("read");
        assert_eq!(found, ["1", "2"]);
    }
}
