//! `rcompose attach`

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::super::context::Context;
use super::super::detach::{Keys, Watch};
use super::super::terminal::{self, Raw, Signals};
use super::super::wire::{PASSED, failed};
use crate::ops::attach::{self, Attach, Attached, Input};
use crate::ops::follow::Stream;
use crate::ops::status;
use crate::report::{Exit, Report};
use crate::ui::console;

/// Options of `attach`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// The container with this number
    #[arg(long, value_name = "N")]
    pub index: Option<u32>,
    /// Let go on these keys, where the container has a terminal
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q", value_parser = Keys::parse)]
    pub detach_keys: Keys,
    /// Pass no input on
    #[arg(long)]
    pub no_stdin: bool,
    /// Pass signals on to the container
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_name = "BOOL", hide_default_value = true)]
    pub sig_proxy: bool,
}

impl Args {
    /// Joins the container until it ends or is let go; the exit code is the container's.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        let found = context.find(std::slice::from_ref(&self.service))?;
        let observed = status::observed(&session, &found.name)?;
        found.check(std::slice::from_ref(&self.service), &observed)?;
        status::executable(&observed, &self.service, self.index)?;
        let wanted = Attach { service: self.service, index: self.index, input: !self.no_stdin };
        let mut attached = attach::attach(&session, &found.name, wanted)?;
        // What ends this program must find the terminal as it was, also where it is not passed on.
        let taken = match self.sig_proxy || attached.input.as_ref().is_some_and(|input| input.tty) {
            true => &PASSED[..],
            false => &[Signal::SIGWINCH],
        };
        let signals = Signals::take(taken).map_err(|error| failed("listen for signals", error))?;
        let joined = attached.input.take().map(|input| Joined::new(input, self.detach_keys)).transpose()?;
        follow(&mut attached, &signals, joined, self.sig_proxy)
    }
}

fn follow(
    attached: &mut Attached<'_>,
    signals: &Signals,
    mut joined: Option<Joined>,
    sig_proxy: bool,
) -> Result<Exit, Report> {
    loop {
        let ended = attached.ended()?;
        attached.show(&mut print)?;
        if let Some(code) = ended {
            return Ok(Exit::Code(u8::try_from(code & 0xff).unwrap_or(255)));
        }
        while let Some(signal) = signals.next().map_err(|error| failed("read a signal", error))? {
            match (signal, &mut joined) {
                (Signal::SIGWINCH, Some(joined)) => joined.resize(),
                (Signal::SIGWINCH, None) => {}
                (signal, Some(Joined { raw: Some(raw), .. })) if !sig_proxy => {
                    raw.let_through(signal).map_err(|error| failed("pass a signal on", error))?;
                }
                (signal, _) => attached.signal(signal as i32)?,
            }
        }
        let mut fds: Vec<PollFd<'_>> =
            attached.watched().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        fds.push(PollFd::new(signals, PollFlags::IN));
        let others = fds.len();
        fds.extend(joined.as_ref().map(|joined| PollFd::new(&joined.let_go, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(failed("wait", error.into())),
        }
        if fds.get(others).is_some_and(|fd| fd.revents().contains(PollFlags::IN)) {
            return Ok(Exit::Success);
        }
    }
}

/// Bytes of the container, to where it wrote them.
fn print(stream: Stream, bytes: &[u8]) {
    match stream {
        Stream::Stdout => console::out_bytes(bytes),
        Stream::Stderr => console::err_bytes(bytes),
    }
}

/// Our standard input, carried into the container by a thread of its own: a container that does not read its input keeps
/// nothing else waiting.
struct Joined {
    /// The master of its terminal.
    terminal: Option<OwnedFd>,
    /// Readable when the keys for letting go were typed.
    let_go: OwnedFd,
    /// What it has made of ours.
    raw: Option<Raw>,
}

impl Joined {
    fn new(input: Input, keys: Keys) -> Result<Joined, Report> {
        let cannot = |error: io::Error| failed("carry standard input", error);
        let (let_go, typed) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| cannot(error.into()))?;
        let (terminal, raw) = match input.tty {
            true => {
                let copy = input.descriptor.try_clone().map_err(cannot)?;
                terminal::resize(copy.as_fd());
                let raw = Raw::enter().map_err(|error| failed("put the terminal into raw mode", error))?;
                (Some(copy), Some(raw))
            }
            false => (None, None),
        };
        let watch = input.tty.then(|| Watch::new(keys));
        // Nobody waits for it: it may stand in a read of a terminal until this program ends.
        let thread = thread::Builder::new().name("stdin".into());
        thread.spawn(move || carry(input.descriptor, watch, typed)).map_err(cannot)?;
        Ok(Joined { terminal, let_go, raw })
    }

    fn resize(&self) {
        if let Some(terminal) = &self.terminal {
            terminal::resize(terminal.as_fd());
        }
    }
}

/// Carries standard input until it ends, the container no longer reads, or the keys for letting go come.
fn carry(into: OwnedFd, mut watch: Option<Watch>, typed: OwnedFd) {
    let mut into = File::from(into);
    let mut bytes = [0; 4 << 10];
    loop {
        let count = match io::stdin().read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let seen = watch.as_mut().map(|watch| watch.take(&bytes[..count]));
        let (passed, let_go) = match &seen {
            Some(seen) => (seen.passed.as_slice(), seen.let_go),
            None => (&bytes[..count], false),
        };
        if write(&mut into, passed).is_err() {
            break;
        }
        if let_go {
            let _ = File::from(typed).write_all(b"!");
            return;
        }
    }
    // The end of our input is not the container's, and no wish to let it go.
    std::mem::forget(typed);
}

/// Writes all, to a pipe that may not wait.
fn write(into: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match into.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(&*into, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
