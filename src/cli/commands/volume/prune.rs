//! `rcompose volume prune`

use super::super::image::truth;
use crate::cli::context::{Consent, Context, usage};
use crate::ops::volumes::{self, PruneOptions};
use crate::report::{Exit, Report};
use crate::ui::{console, value};

/// Options of `volume prune`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Those with names too, not only anonymous ones
    #[arg(short, long)]
    all: bool,
    /// Whether it asks.
    #[command(flatten)]
    consent: Consent,
    /// Only those: `label=NAME[=VALUE]`, `label!=NAME[=VALUE]`
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
}

impl Args {
    /// Removes them.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let options = options(self.all, &self.filter)?;
        if context.global.dry_run {
            return Err(usage("`volume prune` has no dry run")
                .hint("`rcompose volume ls -f dangling=true` shows what no container has"));
        }
        let which = match options.all {
            true => "all volumes that no container has, with all that is in them",
            false => "anonymous volumes that no container has",
        };
        if !self.consent.given(which)? {
            return Ok(Exit::Success);
        }
        let (gone, outcome) = super::divided(volumes::prune(&context.session(), options)?);
        if !gone.is_empty() {
            console::out_line("Deleted Volumes:");
            gone.iter().for_each(|volume| console::out_line(&volume.name));
            console::out_line("");
        }
        let bytes = gone.iter().map(|volume| volume.bytes).sum();
        console::out_line(&format!("Total reclaimed space: {}", value::decimal_size(bytes)));
        outcome
    }
}

fn options(all: bool, filters: &[String]) -> Result<PruneOptions, Report> {
    let mut options = PruneOptions { all, ..PruneOptions::default() };
    for filter in filters {
        let wrong = || usage(format!("`{filter}` is not a filter such as `label=NAME`"));
        let (name, text) = filter.split_once('=').ok_or_else(wrong)?;
        match name {
            "label" => options.labels.push(text.to_owned()),
            "label!" => options.not_labels.push(text.to_owned()),
            "all" => options.all = truth(text)?,
            _ => return Err(wrong()),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_those_of_docker() {
        let read =
            |filters: &[&str]| options(false, &filters.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        let found = read(&["all=1", "label=a", "label!=keep=yes"]).expect("filters");
        assert!(found.all);
        assert_eq!(found.labels, ["a"]);
        assert_eq!(found.not_labels, ["keep=yes"]);
        for wrong in ["all", "all=x", "until=24h"] {
            assert!(read(&[wrong]).is_err(), "{wrong}");
        }
    }
}
