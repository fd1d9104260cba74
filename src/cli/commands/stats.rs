//! `rcompose stats`

use std::time::Duration;

use super::super::context::Context;
use super::super::shape::{Form, Json, List};
use crate::ops::stats::{self, Counted, Usage};
use crate::ops::status;
use crate::report::{Exit, Report};
use crate::ui::table::Spacing;
use crate::ui::{console, value};

/// How long between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the first look lasts: so much is needed to tell how busy a container is.
const FIRST: Duration = Duration::from_millis(250);

/// Goes to the top of the screen and clears it (console_codes(4)).
const CLEAR: &str = "\x1b[H\x1b[J";

/// Options of `stats`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Containers that do not run, too
    #[arg(short, long)]
    pub all: bool,
    /// Look once and end
    #[arg(long)]
    pub no_stream: bool,
    /// Whole ids
    #[arg(long)]
    pub no_trunc: bool,
    /// How it is printed.
    #[command(flatten)]
    pub form: Form,
}

const COLUMNS: [(&str, &str); 8] = [
    ("CONTAINER ID", "ID"),
    ("NAME", "Name"),
    ("CPU %", "CPUPerc"),
    ("MEM USAGE / LIMIT", "MemUsage"),
    ("MEM %", "MemPerc"),
    ("NET I/O", "NetIO"),
    ("BLOCK I/O", "BlockIO"),
    ("PIDS", "PIDs"),
];

impl Args {
    /// Prints what containers use, again and again unless once is enough.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        let found = context.find(&self.services)?;
        found.check(&self.services, &status::observed(&session, &found.name)?)?;
        let take = || stats::take(&session, &found.name, &self.services, self.all);
        let mut before = take()?;
        let mut pause = FIRST;
        loop {
            std::thread::sleep(pause);
            pause = PAUSE;
            let now = take()?;
            let rows = now.iter().map(|usage| self.row(usage, &before)).collect();
            if !self.no_stream && console::stdout_is_terminal() {
                console::out(CLEAR);
            }
            let (spacing, json) = (Spacing::CONTAINERS, Json::Lines);
            self.form.format.print(&List { rows, columns: &COLUMNS, spacing, json })?;
            if self.no_stream {
                return Ok(Exit::Success);
            }
            before = now;
        }
    }

    fn row(&self, usage: &Usage, before: &[Usage]) -> serde_json::Value {
        let id = if self.no_trunc { usage.id.as_str() } else { usage.id.get(..12).unwrap_or(&usage.id) };
        let earlier =
            before.iter().find(|other| other.id == usage.id).and_then(|other| other.counted.as_ref());
        let text = |say: &dyn Fn(&Counted) -> String| match &usage.counted {
            Some(counted) => say(counted),
            None => "--".to_owned(),
        };
        let both = |(one, other): (u64, u64)| {
            format!("{} / {}", value::decimal_size(one), value::decimal_size(other))
        };
        serde_json::json!({
            "Container": id,
            "ID": id,
            "Name": usage.name,
            // One that has started since the last look has no rate yet.
            "CPUPerc": text(&|now| format!("{:.2}%", earlier.map_or(0.0, |earlier| stats::cpu_percent(earlier, now)))),
            "MemUsage": text(&|now| {
                format!("{} / {}", value::binary_size(now.memory), value::binary_size(now.memory_limit))
            }),
            "MemPerc": text(&|now| {
                format!("{:.2}%", now.memory as f64 * 100.0 / (now.memory_limit.max(1)) as f64)
            }),
            "NetIO": text(&|now| both(now.network)),
            "BlockIO": text(&|now| both(now.block)),
            "PIDs": text(&|now| now.pids.to_string()),
        })
    }
}
