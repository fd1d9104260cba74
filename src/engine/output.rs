//! Tasks that bring a container's output from its pipes or terminal into its log.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::logs::Stream;
use super::logs::capture::{Capture, Limits, Moved};
use super::{Engine, now_ns};
use crate::host::files;
use crate::host::mishap::{contained, may_trip};
use crate::runtime::spec::ContainerId;
use crate::sys::net;

/// So much is moved before other tasks get a turn: a container that prints without end must not stop the rest.
const AT_A_TIME: usize = 8 << 20;

/// How long what a process left behind may take: longer only where one outside of its namespace has its pipe and prints
/// on, or the disk does not answer. Nobody's stop waits for that.
const LAST: Duration = Duration::from_secs(10);

/// The output of a running container.
#[derive(Debug)]
pub(super) struct Output {
    ended: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Output {
    /// Brings in what is left, once the process has ended: all its writers are dead then.
    pub async fn finish(self) {
        self.ended.send_replace(true);
        let end = tokio::time::Instant::now() + LAST;
        for mut task in self.tasks {
            // A task that panicked has nothing left to bring.
            if tokio::time::timeout_at(end, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

/// Where output goes.
enum Sink {
    Log(Capture),
    /// `driver: none`.
    Nowhere(std::fs::File),
}

impl Sink {
    fn take_in(
        &mut self,
        stream: Stream,
        source: Source,
        descriptor: &OwnedFd,
    ) -> Result<Moved, files::Error> {
        match (self, source) {
            (Sink::Log(capture), Source::Pipe) => capture.splice(stream, descriptor.as_fd(), now_ns()),
            (Sink::Nowhere(null), Source::Pipe) => Ok(discard(descriptor, null)),
            (sink, Source::Terminal) => {
                // A terminal cannot be spliced into a file.
                let mut bytes = [0; 16 << 10];
                match rustix::io::read(descriptor, &mut bytes) {
                    Ok(count) if count > 0 => {
                        if let Sink::Log(capture) = sink {
                            capture.write(stream, &bytes[..count], now_ns())?;
                        }
                        Ok(Moved::Bytes(count))
                    }
                    Err(Errno::AGAIN | Errno::INTR) => Ok(Moved::Nothing),
                    // EIO: nobody has the other side open any more (pty(7)).
                    Ok(_) | Err(_) => Ok(Moved::End),
                }
            }
        }
    }
}

fn discard(pipe: &OwnedFd, null: &std::fs::File) -> Moved {
    match splice(pipe, None, null, None, 1 << 20, SpliceFlags::NONBLOCK) {
        Ok(0) => Moved::End,
        Ok(count) => Moved::Bytes(count),
        Err(Errno::AGAIN | Errno::INTR) => Moved::Nothing,
        Err(_) => Moved::End,
    }
}

/// Where output comes from.
#[derive(Clone, Copy, Debug)]
enum Source {
    Pipe,
    Terminal,
}

impl Engine {
    /// Begins to bring the output of a container in; takes the descriptors `out`, `err` and (a copy of) `terminal`.
    pub(super) fn capture(
        &self,
        id: &ContainerId,
        descriptors: &mut HashMap<String, OwnedFd>,
    ) -> Option<Output> {
        let config = self.project.borrow().entries.get(id)?.config.clone();
        if config.attached {
            return None;
        }
        let logging = &config.service.logging;
        let limits = Limits { max_size: logging.max_size, max_files: logging.max_file };
        let log = match logging.keep {
            true => Capture::open(&self.store.directory(id), limits, now_ns()).ok().map(Sink::Log),
            false => None,
        };
        // A log that cannot be written (a full disk) must not stop the container.
        let nowhere = || OpenOptions::new().write(true).open("/dev/null").ok().map(Sink::Nowhere);
        let sink = Rc::new(RefCell::new(log.or_else(nowhere)?));
        let mut sources = Vec::new();
        sources.extend(descriptors.remove("out").map(|pipe| (Stream::Stdout, Source::Pipe, pipe)));
        sources.extend(descriptors.remove("err").map(|pipe| (Stream::Stderr, Source::Pipe, pipe)));
        let terminal = descriptors.get("terminal").and_then(|terminal| terminal.try_clone().ok());
        sources.extend(terminal.map(|terminal| (Stream::Stdout, Source::Terminal, terminal)));
        let (ended, has_ended) = watch::channel(false);
        let tasks = sources
            .into_iter()
            .filter_map(|(stream, source, descriptor)| {
                rustix::io::ioctl_fionbio(&descriptor, true).ok()?;
                let descriptor = net::watch(descriptor).ok()?;
                let (sink, has_ended) = (sink.clone(), has_ended.clone());
                Some(tokio::task::spawn_local(async move {
                    let work = bring(stream, source, &descriptor, &sink, has_ended.clone());
                    if contained(work).await.is_err() && lose(&sink) {
                        bring(stream, source, &descriptor, &sink, has_ended).await;
                    }
                }))
            })
            .collect();
        Some(Output { ended, tasks })
    }
}

/// Drops what comes from now on; the container goes on.
fn lose(sink: &RefCell<Sink>) -> bool {
    let null = OpenOptions::new().write(true).open("/dev/null");
    null.map(|null| *sink.borrow_mut() = Sink::Nowhere(null)).is_ok()
}

/// Brings one stream in until it ends, or until nothing is left after the process has ended.
async fn bring(
    stream: Stream,
    source: Source,
    descriptor: &AsyncFd<OwnedFd>,
    sink: &RefCell<Sink>,
    mut ended: watch::Receiver<bool>,
) {
    // What is there already made it ready before; it is not waited for.
    let mut last = false;
    loop {
        let mut since_turn = 0;
        loop {
            may_trip("output");
            let moved = sink.borrow_mut().take_in(stream, source, descriptor.get_ref());
            match moved {
                Ok(Moved::Bytes(count)) => {
                    since_turn += count;
                    if since_turn > AT_A_TIME {
                        since_turn = 0;
                        tokio::task::yield_now().await;
                    }
                }
                Ok(Moved::Nothing) if last => return,
                Ok(Moved::Nothing) => break,
                Ok(Moved::End) => return,
                // The log cannot be written.
                Err(_) if lose(sink) => {}
                Err(_) => return,
            }
        }
        last = tokio::select! {
            guard = descriptor.readable() => match guard {
                // Before the moving: what comes after the last move makes it ready again.
                Ok(mut guard) => {
                    guard.clear_ready();
                    false
                }
                Err(_) => true,
            },
            _ = ended.wait_for(|ended| *ended) => true,
        };
    }
}
