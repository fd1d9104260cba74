//! `rcompose image prune`

use std::time::SystemTime;

use super::ls::truth;
use crate::cli::context::{Consent, Context, usage};
use crate::ops::disk::{self, PruneOptions, Pruned};
use crate::ops::store::familiar;
use crate::report::{Exit, Report};
use crate::ui::{console, value};

/// Options of `image prune`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// All that no container uses, not only those without a name
    #[arg(short, long)]
    all: bool,
    /// Whether it asks.
    #[command(flatten)]
    consent: Consent,
    /// Only those: `until=MOMENT`, `label=NAME[=VALUE]`, `label!=NAME[=VALUE]`
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
}

impl Args {
    /// Removes them.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let options = self.options()?;
        let which =
            if options.all { "all images that no container uses" } else { "all images without a name" };
        if !context.global.dry_run && !self.consent.given(which)? {
            return Ok(Exit::Success);
        }
        if context.global.dry_run {
            return Err(
                usage("`image prune` has no dry run").hint("`rcompose system df -v` shows what is unused")
            );
        }
        print(&disk::prune(&context.session(), &options)?);
        Ok(Exit::Success)
    }

    fn options(&self) -> Result<PruneOptions, Report> {
        let mut options = PruneOptions { all: self.all, ..PruneOptions::default() };
        for filter in &self.filter {
            let wrong = || usage(format!("`{filter}` is not a filter such as `until=24h`"));
            let (name, text) = filter.split_once('=').ok_or_else(wrong)?;
            match name {
                "until" => {
                    options.until = Some(disk::moment(text, SystemTime::now()).ok_or_else(wrong)?);
                }
                "label" => options.labels.push(text.to_owned()),
                "label!" => options.not_labels.push(text.to_owned()),
                "dangling" => options.all = !truth(text)?,
                _ => return Err(wrong()),
            }
        }
        Ok(options)
    }
}

/// Prints what was removed, as docker does.
pub fn print(pruned: &Pruned) {
    if !pruned.removed.untagged.is_empty() || !pruned.removed.deleted.is_empty() {
        console::out_line("Deleted Images:");
        pruned
            .removed
            .untagged
            .iter()
            .for_each(|name| console::out_line(&format!("untagged: {}", familiar(name))));
        pruned.removed.deleted.iter().for_each(|id| console::out_line(&format!("deleted: {id}")));
        console::out_line("");
    }
    console::out_line(&format!("Total reclaimed space: {}", value::decimal_size(pruned.bytes)));
}
