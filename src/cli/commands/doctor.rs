//! `rcompose doctor`

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

use super::super::context::Context;
use crate::host::features::{self, Feature, State};
use crate::host::userns;
use crate::ops::desired;
use crate::report::{Exit, Report};
use crate::runtime::cgroup;
use crate::ui::console;

/// Options of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A JSON object for each finding
    #[arg(long)]
    pub json: bool,
    /// Only list what of the Compose Specification is not honoured here, and why
    #[arg(long)]
    pub not_honoured: bool,
}

/// The hidden command whose process tries things in namespaces of its own.
pub const PROBE: &str = "probe";

impl Args {
    /// Prints what was found; fails when nothing can run here.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        if self.not_honoured {
            console::out(&not_honoured(self.json));
            return Ok(Exit::Success);
        }
        let mut own = userns::own_binary();
        own.arg(PROBE);
        let mut features = features::judge(&features::observe(&context.paths, own)?);
        features.push(cgroup::feature()?);
        for feature in &features {
            if self.json {
                console::out_line(&serde_json::to_string(feature).unwrap_or_default());
            } else {
                console::out(&lines(feature));
            }
        }
        if !self.json {
            let count = desired::not_honoured().count();
            console::out(&format!(
                "\n{count} attributes of the Compose Specification are not honoured: `rcompose doctor --not-honoured` lists them\n"
            ));
        }
        let lacks = features.iter().any(|feature| feature.state == State::Absent);
        Ok(if lacks { Exit::Host } else { Exit::Success })
    }
}

/// What of the Compose Specification is not honoured here, a line each.
fn not_honoured(json: bool) -> String {
    let line = |(path, reason, refused): (&str, &str, bool)| match (json, refused) {
        (true, _) => format!("{}\n", serde_json::json!({"path": path, "reason": reason, "refused": refused})),
        (false, true) => format!("    {path}: refused, {reason}\n"),
        (false, false) => format!("    {path}: {reason}\n"),
    };
    desired::not_honoured().map(line).collect()
}

/// The process that tries, inside: its argument is a directory of its own.
pub fn probe(args: &[OsString], _: Vec<OwnedFd>) -> ExitCode {
    let Some(directory) = args.first() else { return ExitCode::FAILURE };
    let trials = features::inside(Path::new(directory));
    console::out_line(&serde_json::to_string(&trials).unwrap_or_default());
    ExitCode::SUCCESS
}

/// A feature, and below it what follows from its lack and the mends.
fn lines(feature: &Feature) -> String {
    let (style, sign): (Style, &str) = match feature.state {
        State::Present => (AnsiColor::Green.on_default(), "✔"),
        State::Limited => (AnsiColor::Yellow.on_default(), "!"),
        State::Absent => (AnsiColor::Red.on_default(), "✘"),
    };
    let mut text = format!("{style}{sign}{style:#} {:<28} {}\n", feature.name, feature.found);
    if !feature.effect.is_empty() {
        text += &format!("    {}\n", feature.effect);
    }
    for mend in &feature.mends {
        text += &format!("    mend: {mend}\n");
    }
    text
}
