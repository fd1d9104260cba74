//! `rcompose build`

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use super::super::context::{Context, usage};
use crate::cli::args::size;
use crate::ops::Ears;
use crate::ops::build::{self, Options, Overrides};
use crate::report::{Exit, Report};
use crate::ui::console;

/// Options of `build`. A switch that is given twice is on.
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
pub struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Give an `ARG` of the Dockerfile this value; without a value, that of the variable of the same name
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub args: Vec<String>,
    /// Do every step again
    #[arg(long)]
    pub no_cache: bool,
    /// Ask registries for newer base images
    #[arg(long)]
    pub pull: bool,
    /// Build what the services depend on too
    #[arg(long)]
    pub with_dependencies: bool,
    /// Give the images to their registries
    #[arg(long)]
    pub push: bool,
    /// Build only on the images that `compose.lock` names, with the content that it says
    #[arg(long)]
    pub locked: bool,
    /// Let steps ask this agent, by its socket, or keys in files; without, the agent of SSH_AUTH_SOCK
    #[arg(long, value_name = "ID[=SOCKET|KEY[,KEY]]")]
    pub ssh: Vec<String>,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
    /// Say what is doubtful in the Dockerfiles, and build nothing
    #[arg(long, conflicts_with = "print")]
    pub check: bool,
    /// Print the same as a file for `docker buildx bake`, and build nothing
    #[arg(long)]
    pub print: bool,
    /// Who builds: is not honoured, rcompose builds itself
    #[arg(long, value_name = "NAME")]
    pub builder: Option<String>,
    /// What is named and not done.
    #[command(flatten)]
    pub unhonoured: Unhonoured,
}

/// Options of every build that are not honoured.
#[derive(Debug, clap::Args)]
pub struct Unhonoured {
    /// Memory of steps: is not honoured
    #[arg(short, long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<u64>,
    /// Say how the image was made: only `false` is honoured
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    provenance: Option<String>,
    /// Say what is in the image: only `false` is honoured
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sbom: Option<String>,
}

impl Unhonoured {
    /// Says what is not done.
    pub fn name(&self, context: &Context) {
        if self.memory.is_some() {
            context.warning("`--memory` is not honoured: steps have the memory of this machine");
        }
        for (option, value) in [("--provenance", &self.provenance), ("--sbom", &self.sbom)] {
            if value.as_deref().is_some_and(|value| value != "false") {
                context.warning(&format!("`{option}` is not honoured: rcompose makes no attestations"));
            }
        }
    }
}

impl Args {
    /// Builds them.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        self.unhonoured.name(context);
        if let Some(builder) = &self.builder {
            context.warning(&format!("`--builder {builder}` is not honoured: rcompose builds itself"));
        }
        let project = context.project(&self.services)?;
        let overrides = Overrides {
            args: arguments(&self.args)?,
            no_cache: self.no_cache,
            pull: self.pull,
            ssh: agents(&self.ssh)?,
        };
        let options = Options {
            services: self.services,
            with_dependencies: self.with_dependencies,
            overrides,
            quiet: self.quiet,
            push: self.push,
            locked: self.locked,
        };
        if self.print {
            let file = build::bake(&project, &options)?;
            console::out_line(&serde_json::to_string_pretty(&file).unwrap_or_default());
            return Ok(Exit::Success);
        }
        if self.check {
            return Ok(checked(build::check(&context.session(), &project, &options)?));
        }
        build::build(&context.session(), &project, &options)?;
        Ok(Exit::Success)
    }
}

/// Says how a check has ended, in the words of docker; something doubtful is a failure.
pub fn checked(doubts: usize) -> Exit {
    match doubts {
        0 => console::out_line("Check complete, no warnings found."),
        1 => console::out_line("Check complete, 1 warning has been found!"),
        _ => console::out_line(&format!("Check complete, {doubts} warnings have been found!")),
    }
    if doubts == 0 { Exit::Success } else { Exit::Failure }
}

/// Reads `NAME=VALUE`; a name alone takes the variable's value, and is left out where there is none.
pub fn arguments(words: &[String]) -> Result<BTreeMap<String, String>, Report> {
    let mut arguments = BTreeMap::new();
    for word in words {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), std::env::var(word).ok()),
        };
        if name.is_empty() {
            return Err(usage(format!("`--build-arg {word}` has no name")));
        }
        arguments.extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(arguments)
}

/// Reads `ID[=SOCKET]`; nothing is the agent of SSH_AUTH_SOCK for steps that name none.
pub fn agents(words: &[String]) -> Result<BTreeMap<String, Option<String>>, Report> {
    let mut agents = BTreeMap::new();
    for word in words {
        let (id, socket) = match word.split_once('=') {
            Some((id, socket)) => (id, Some(socket.to_owned())),
            None => (word.as_str(), None),
        };
        let id = if id.is_empty() && socket.is_none() { "default" } else { id };
        if id.is_empty() {
            return Err(usage(format!("`--ssh {word}` has no id")));
        }
        agents.insert(id.to_owned(), socket);
    }
    Ok(agents)
}

/// The process that builds, inside.
pub fn worker(args: &[OsString], descriptors: Vec<OwnedFd>) -> ExitCode {
    match build::worker(args, descriptors) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
