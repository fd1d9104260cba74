//! `rcompose cp`

use super::super::context::Context;
use crate::ops::copy::{self, Options, Side};
use crate::ops::status;
use crate::report::{Exit, Report};

/// Options of `cp`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "rcompose cp [OPTIONS] SERVICE:SOURCE TARGET|-\n       rcompose cp [OPTIONS] SOURCE|- SERVICE:TARGET"
)]
pub struct Args {
    /// Keep users and groups
    #[arg(short, long)]
    pub archive: bool,
    /// Copy what a link leads to, not the link
    #[arg(short = 'L', long)]
    pub follow_link: bool,
    /// Only from or to the container with this number
    #[arg(long, value_name = "N")]
    pub index: Option<u32>,
    /// To the containers of `run` too
    #[arg(long)]
    pub all: bool,
    /// What is copied: a path, `SERVICE:PATH`, or `-` for a tar archive on standard input
    pub source: String,
    /// Where to: `SERVICE:PATH`, a path, or `-` for a tar archive on standard output
    pub target: String,
}

impl Args {
    /// Copies.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let (from, to) = (Side::parse(&self.source), Side::parse(&self.target));
        let services: Vec<String> = [&from, &to]
            .into_iter()
            .filter_map(|side| match side {
                Side::In { service, .. } => Some(service.clone()),
                Side::Here(_) | Side::Stream => None,
            })
            .collect();
        let found = context.find(&services)?;
        found.check(&services, &status::observed(&context.session(), &found.name)?)?;
        let options = Options {
            owners: self.archive,
            follow: self.follow_link,
            index: self.index.filter(|index| *index > 0),
            oneoffs: self.all,
        };
        copy::copy(&context.session(), &found, &from, &to, options)?;
        Ok(Exit::Success)
    }
}
