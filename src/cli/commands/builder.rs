//! `rcompose builder`

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::super::context::{Consent, Context, usage};
use super::image;
use crate::cli::args::size;
use crate::cli::shape::{Form, Json, List, Shape};
use crate::ops::build::{self, Budget, Choice, Entry, Kind};
use crate::ops::disk;
use crate::report::{Exit, Report};
use crate::ui::table::Spacing;
use crate::ui::{console, value};

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "ID"),
    ("RECLAIMABLE", "Reclaimable"),
    ("SIZE", "Size"),
    ("LAST ACCESSED", "LastUsed"),
    ("DESCRIPTION", "Description"),
];
/// So many digits of an id are shown.
const DIGITS: usize = 12;

/// What is done with the cache of builds.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Build an image from a Dockerfile: the same as `image build`
    Build(Box<image::build::Args>),
    /// Show what the cache of builds takes of the disk
    Du(DuArgs),
    /// Remove from the cache of builds
    Prune(PruneArgs),
    /// Show or set how much of the disk the cache of builds may take
    Budget(BudgetArgs),
}

#[derive(Debug, clap::Args)]
struct DuArgs {
    /// What costs next to nothing, too
    #[arg(long)]
    verbose: bool,
    /// Only those: `until=24h`, `type=KIND`, `id=ID`
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// How it is printed.
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, clap::Args)]
struct PruneArgs {
    /// Also what images have too, so that nothing is freed, and what costs next to nothing
    #[arg(short, long)]
    all: bool,
    /// Whether it asks.
    #[command(flatten)]
    consent: Consent,
    /// Only those: `until=24h` (of no use for so long), `type=KIND`, `id=ID`
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Only until no more than this is left, what was of use least recently first
    #[arg(long, visible_alias = "reserved-space", value_name = "SIZE", value_parser = size)]
    keep_storage: Option<u64>,
    /// Each entry
    #[arg(long)]
    verbose: bool,
}

#[derive(Debug, clap::Args)]
struct BudgetArgs {
    /// A size such as `20g`, or `none`; after a build, what was of use least recently goes until the rest fits
    #[arg(value_name = "SIZE")]
    size: Option<String>,
}

impl Args {
    /// Does it.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        match self.command {
            Command::Build(args) => args.run(context),
            Command::Du(args) => args.run(context),
            Command::Prune(args) => args.run(context),
            Command::Budget(args) => args.run(context),
        }
    }
}

impl DuArgs {
    fn run(self, context: &Context) -> Result<Exit, Report> {
        let now = SystemTime::now();
        let mut entries = build::entries(&context.session())?;
        let choice = choice(&self.filter, Choice { all: true, ..Choice::default() })?;
        entries.retain(|entry| choice.chooses(entry, now) || entry.in_use && self.filter.is_empty());
        let matters = |entry: &&Entry| self.verbose || !matches!(entry.kind, Kind::Sums | Kind::Context);
        let rows = entries.iter().filter(matters).map(row).collect();
        let list = List { rows, columns: COLUMNS, spacing: Spacing::CONTAINERS, json: Json::Lines };
        self.form.format.print(&list)?;
        if matches!(self.form.format, Shape::Table) {
            let sum = |part: &dyn Fn(&Entry) -> u64| value::decimal_size(entries.iter().map(part).sum());
            let idle = |entry: &Entry| if entry.in_use { 0 } else { entry.private() };
            console::out_line("");
            console::out_line(&format!("Shared:\t\t{}", sum(&|entry| entry.shared)));
            console::out_line(&format!("Private:\t{}", sum(&Entry::private)));
            console::out_line(&format!("Reclaimable:\t{}", sum(&idle)));
        }
        Ok(Exit::Success)
    }
}

fn row(entry: &Entry) -> Value {
    let ago = entry.used.elapsed().unwrap_or_default();
    let ago = value::age(i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX));
    json!({
        "ID": entry.id.chars().take(DIGITS).collect::<String>(), "Type": entry.kind.name(),
        "Description": entry.description, "Size": value::decimal_size(entry.size),
        "Shared": (entry.shared > 0).to_string(), "InUse": entry.in_use.to_string(),
        "Reclaimable": (!entry.in_use).to_string(), "LastUsed": format!("{ago} ago"),
    })
}

impl PruneArgs {
    fn run(self, context: &Context) -> Result<Exit, Report> {
        let choice =
            choice(&self.filter, Choice { all: self.all, keep: self.keep_storage, ..Choice::default() })?;
        if context.global.dry_run {
            return Err(
                usage("`builder prune` has no dry run").hint("`rcompose builder du` shows what there is")
            );
        }
        let which =
            if self.all { "all of the cache of builds" } else { "what only the cache of builds keeps" };
        if !self.consent.given(which)? {
            return Ok(Exit::Success);
        }
        print(&build::prune(&context.session(), choice)?, self.verbose);
        Ok(Exit::Success)
    }
}

impl BudgetArgs {
    fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        let Some(text) = self.size else {
            console::out_line(&match build::budget(&session)? {
                Budget::Usual(bytes) => format!("{} (nothing was set)", value::decimal_size(bytes)),
                Budget::Said(bytes) => value::decimal_size(bytes),
                Budget::Unlimited => "none".to_owned(),
            });
            return Ok(Exit::Success);
        };
        context.in_earnest("builder budget")?;
        let bytes = match text.as_str() {
            "none" | "unlimited" => None,
            text => Some(size(text).map_err(usage)?),
        };
        print(&build::set_budget(&session, bytes)?, false);
        Ok(Exit::Success)
    }
}

/// Prints what was removed, as docker does.
fn print(pruned: &build::CachePruned, verbose: bool) {
    if verbose && !pruned.entries.is_empty() {
        console::out_line("Deleted build cache objects:");
        pruned
            .entries
            .iter()
            .for_each(|entry| console::out_line(&format!("{}\t{}", entry.id, entry.description)));
        console::out_line("");
    }
    console::out_line(&format!("Total reclaimed space: {}", value::decimal_size(pruned.bytes)));
}

/// Reads filters.
fn choice(filters: &[String], mut choice: Choice) -> Result<Choice, Report> {
    let now = SystemTime::now();
    for filter in filters {
        let wrong = || usage(format!("`{filter}` is not a filter such as `until=24h`"));
        let (name, text) = filter.split_once('=').ok_or_else(wrong)?;
        match name {
            "until" | "unused-for" => {
                let moment = disk::moment(text, now).ok_or_else(wrong)?;
                // In what is to come everything was of no use.
                choice.unused_for = Some(now.duration_since(moment).unwrap_or(Duration::ZERO));
            }
            "type" => choice.kinds.push(text.to_owned()),
            "id" => choice.ids.push(text.to_owned()),
            _ => return Err(wrong()),
        }
    }
    Ok(choice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_those_of_docker() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let read = |filters: &[&str]| choice(&words(filters), Choice::default());
        let long = read(&["until=24h"]).expect("read").unused_for.expect("said");
        assert_eq!(long.as_secs(), 24 * 3600);
        let both = read(&["type=regular", "type=exec.cachemount", "id=ab"]).expect("read");
        assert_eq!((both.kinds.len(), both.ids.len()), (2, 1));
        for wrong in ["until=yesterday", "until", "colour=red"] {
            assert!(read(&[wrong]).is_err(), "{wrong}");
        }
    }
}
