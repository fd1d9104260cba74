//! `rcompose logs`

use nix::sys::signal::Signal;

use super::super::context::Context;
use super::super::moment;
use super::super::terminal::Signals;
use crate::ops::follow::{self, Wanted};
use crate::ops::observed::Container;
use crate::ops::status;
use crate::report::{Exit, Report};
use crate::ui::console;
use crate::ui::logs::{Lines, Look, Painter};

/// Options of `logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services, or containers
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Go on with what is written from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Only so many lines of each container, the last ones (`all`)
    #[arg(short = 'n', long, value_name = "LINES", value_parser = tail, default_value = "all", hide_default_value = true)]
    pub tail: Tail,
    /// Only lines from this time on (`2025-11-22T10:00:00Z`, or `10m` ago)
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    pub since: Option<i64>,
    /// Only lines up to this time
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    pub until: Option<i64>,
    /// Put the time before each line
    #[arg(short, long)]
    pub timestamps: bool,
    /// No colours
    #[arg(long)]
    pub no_color: bool,
    /// No names before the lines
    #[arg(long)]
    pub no_log_prefix: bool,
    /// Only the container with this number
    #[arg(long, value_name = "N")]
    pub index: Option<u32>,
}

/// How many lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail(pub Option<usize>);

fn tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" | "-1" => Ok(Tail(None)),
        _ => text
            .parse()
            .map(|lines| Tail(Some(lines)))
            .map_err(|_| "write a number of lines, or `all`".into()),
    }
}

impl Args {
    /// Prints the logs.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        let found = context.find(&self.services)?;
        let observed = status::observed(&session, &found.name)?;
        let is_container = |name: &&String| {
            let called = |container: &Container| {
                container.name == **name || status::short_name(&found.name, &container.name) == **name
            };
            observed.containers.iter().any(called)
        };
        let services: Vec<String> =
            self.services.iter().filter(|name| !is_container(name)).cloned().collect();
        found.check(&services, &observed)?;
        let look = Look {
            prefix: !self.no_log_prefix,
            color: !self.no_color && console::stdout_is_colored(),
            timestamps: self.timestamps,
        };
        let mut painter = Painter::new(look);
        let wanted = Wanted {
            services: self.services,
            number: self.index,
            tail: self.tail.0,
            since_ns: self.since,
            until_ns: self.until,
            follow: self.follow,
        };
        let mut logs = follow::open(&session, &found.name, wanted)?;
        let signals = Signals::take(&[Signal::SIGINT, Signal::SIGTERM])
            .map_err(|error| Report::from_error(Exit::Failure, &error))?;
        let mut batch = Lines::for_terminal_if(console::stdout_is_terminal());
        loop {
            for name in logs.names() {
                painter.learn(&name);
            }
            logs.read(&mut |name, line| {
                painter.line(name, line.time_ns, line.text, &mut batch);
                if batch.bytes.len() >= BATCH {
                    console::out_bytes(&batch.bytes);
                    batch.bytes.clear();
                }
            })?;
            if !batch.bytes.is_empty() {
                console::out_bytes(&batch.bytes);
                batch.bytes.clear();
            }
            if !self.follow || !logs.wait(&signals, std::io::stdout())? {
                break;
            }
        }
        // Ctrl-C is how following ends, not a failure of it; scripts still see that it was interrupted.
        Ok(match signals.next() {
            Ok(Some(Signal::SIGINT)) => Exit::Interrupted,
            _ => Exit::Success,
        })
    }
}

/// Bytes written at once.
const BATCH: usize = 64 << 10;
