//! The process that builds, as the command sees it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::process::{ChildStdout, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::pipe::{PipeFlags, pipe_with};

use super::super::Session;
use super::interruption::Interruption;
use crate::build::order::{Order, Purpose, Target};
use crate::build::{Base, Given, Said, serve};
use crate::host::paths::Paths;
use crate::host::userns::{self, Facts, Mapping, Program};
use crate::image::registry;
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
        purpose: Purpose::Build,
        locked: None,
    })
}

pub(super) fn mapping() -> Result<Mapping, Report> {
    let facts = Facts::read().map_err(|error| Report::from_error(Exit::Host, &error))?;
    Ok(Mapping::of(&facts))
}

/// What came of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Built {
    /// How much is doubtful in the recipes.
    pub doubts: usize,
    /// Ids of the images, in the order in which they were done.
    pub images: Vec<String>,
    /// What would be built on, where that was asked.
    pub bases: Vec<Base>,
}

/// Has an order built. `input` is the archive that is a context, if one is.
pub fn run(session: &Session<'_>, order: &Order, input: Option<File>) -> Result<Built, Report> {
    let cannot = |error: std::io::Error| Report::from_error(Exit::Host, &error);
    // Not on a command line, where everybody could read the values of secrets.
    let mut memory =
        File::from(memfd_create("order", MemfdFlags::CLOEXEC).map_err(|error| cannot(error.into()))?);
    let text = serde_json::to_vec(order).map_err(|error| Report::from_error(Exit::Failure, &error))?;
    memory.write_all(&text).map_err(cannot)?;
    // Closes when this process ends, however it does.
    let (alive, held) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| cannot(error.into()))?;
    // As with images: who we are to a registry is said by the command, which is the user's own process.
    let (questions, mut answers) = std::io::pipe().map_err(cannot)?;
    let stdin: OwnedFd = match input {
        Some(file) => file.into(),
        None => File::open("/dev/null").map_err(cannot)?.into(),
    };
    let mut command = userns::own_binary();
    command.stdout(Stdio::piped());
    let paths =
        serde_json::to_string(session.paths).map_err(|error| Report::from_error(Exit::Failure, &error))?;
    let args = vec![COMMAND.into(), paths.into()];
    let program =
        Program { command, args, stdin: Some(stdin), fds: vec![memory.into(), alive, questions.into()] };
    let target = userns::find(session.paths)?;
    let mut child = userns::spawn_inside(&target, &mapping()?, program)?;
    // The worker, which was started before, is ended by the same Ctrl-C, or with us.
    let interruption = Interruption::hold().map_err(cannot);
    let outcome = match (&interruption, child.stdout.take()) {
        (Ok(interruption), Some(output)) => {
            listen(session, BufReader::new(output), &mut answers, interruption).map_err(cannot)
        }
        _ => Ok(None),
    };
    session.ears.built();
    let outcome = interruption.map(drop).and(outcome);
    if outcome.is_err() {
        // It goes on otherwise, and nobody listens.
        drop(held);
    }
    let status = child.wait().map_err(cannot)?;
    outcome?.unwrap_or_else(|| Err(Report::new(Exit::Build, "the build broke off").cause(status.to_string())))
}

/// Hears what the worker says until it has come to an end; `None` when it has died, or we are about to.
fn listen(
    session: &Session<'_>,
    mut output: BufReader<ChildStdout>,
    answers: &mut PipeWriter,
    interruption: &Interruption,
) -> io::Result<Option<Result<Built, Report>>> {
    let mut built = Built::default();
    let mut line = String::new();
    while !output.buffer().is_empty() || interruption.awaits(output.get_ref())? {
        line.clear();
        // A broken line is the worker's death in the middle of it, which its status tells better.
        let said = output.read_line(&mut line).ok().and_then(|_| serde_json::from_str(&line).ok());
        match said {
            Some(Said::Word(Word::Note { text })) => session.ears.warning(&text),
            Some(Said::Word(word)) => {
                match &word {
                    Word::Doubt { .. } => built.doubts += 1,
                    Word::Image { id, .. } => built.images.push(id.clone()),
                    _ => {}
                }
                session.ears.build(word);
            }
            Some(Said::Base(base)) => built.bases.push(*base),
            // Helpers of credentials are programs of their own.
            Some(Said::Asks { host }) => interruption.aside(|| registry::answer(&host, answers))?,
            Some(Said::Failed(report)) => return Ok(Some(Err(*report))),
            Some(Said::Done) => return Ok(Some(Ok(built))),
            None => break,
        }
    }
    Ok(None)
}

/// The process itself: its argument says where containers are, its descriptors are what it is [`Given`].
pub fn worker(args: &[OsString], mut descriptors: Vec<OwnedFd>) -> bool {
    let paths = args.first().and_then(|text| serde_json::from_slice::<Paths>(text.as_encoded_bytes()).ok());
    let (answers, alive, memory) = (descriptors.pop(), descriptors.pop(), descriptors.pop());
    match (paths, memory, alive, answers) {
        (Some(paths), Some(memory), Some(alive), Some(answers)) => {
            let given = Given { memory, alive, answers };
            serve(given, std::io::stdout(), &|| super::super::worker::users(&paths))
        }
        _ => false,
    }
}
