//! The process that builds, as the command sees it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::pipe::{PipeFlags, pipe_with};

use super::super::Session;
use crate::build::order::{Order, Target};
use crate::build::{Said, serve};
use crate::host::userns::{self, Facts, Mapping, Program};
use crate::progress::build::Word;
use crate::report::{Exit, Report};

/// The hidden command under which the process is started.
pub const COMMAND: &str = "build-worker";
/// As many steps run at once, or as there are processors: most of them wait for something.
const AT_ONCE: usize = 4;

/// Completes an order.
pub fn order(session: &Session<'_>, targets: Vec<Target>) -> Result<Order, Report> {
    let mapping = mapping()?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Order {
        store: session.paths.images(),
        cache: session.paths.build(),
        key: mapping.map.key(),
        single_id: mapping.map.is_single(),
        targets,
        at_once: session.parallel.unwrap_or_else(|| processors.max(AT_ONCE)),
        check: false,
    })
}

fn mapping() -> Result<Mapping, Report> {
    let facts = Facts::read().map_err(|error| Report::from_error(Exit::Host, &error))?;
    Ok(Mapping::of(&facts))
}

/// Has an order built; returns how much is doubtful in the recipes. `input` is the archive that is a context, if one is.
pub fn run(session: &Session<'_>, order: &Order, input: Option<File>) -> Result<usize, Report> {
    let cannot = |error: std::io::Error| Report::from_error(Exit::Host, &error);
    // Not on a command line, where everybody could read the values of secrets.
    let mut memory =
        File::from(memfd_create("order", MemfdFlags::CLOEXEC).map_err(|error| cannot(error.into()))?);
    let text = serde_json::to_vec(order).map_err(|error| Report::from_error(Exit::Failure, &error))?;
    memory.write_all(&text).map_err(cannot)?;
    // Closes when this process ends, however it does.
    let (alive, _held) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| cannot(error.into()))?;
    let stdin: OwnedFd = match input {
        Some(file) => file.into(),
        None => File::open("/dev/null").map_err(cannot)?.into(),
    };
    let mut command = userns::own_binary();
    command.stdout(Stdio::piped());
    let program =
        Program { command, args: vec![COMMAND.into()], stdin: Some(stdin), fds: vec![memory.into(), alive] };
    let target = userns::find(session.paths)?;
    let mut child = userns::spawn_inside(&target, &mapping()?, program)?;
    let mut outcome = None;
    let mut doubts = 0;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            match line.ok().and_then(|line| serde_json::from_str(&line).ok()) {
                Some(Said::Word(word)) => {
                    doubts += usize::from(matches!(word, Word::Doubt { .. }));
                    session.ears.build(word);
                }
                Some(Said::Failed(report)) => outcome = Some(Err(*report)),
                Some(Said::Done) => outcome = Some(Ok(doubts)),
                // A broken line is the worker's death in the middle of it, which its status tells better.
                None => break,
            }
            if outcome.is_some() {
                break;
            }
        }
    }
    let status = child.wait().map_err(cannot)?;
    outcome.unwrap_or_else(|| Err(Report::new(Exit::Build, "the build broke off").cause(status.to_string())))
}

/// The process itself: its descriptors are the order and the pipe that says whether anybody waits for it.
pub fn worker(mut descriptors: Vec<OwnedFd>) -> bool {
    match (descriptors.pop(), descriptors.pop()) {
        (Some(alive), Some(memory)) => serve(memory, alive, std::io::stdout()),
        _ => false,
    }
}
