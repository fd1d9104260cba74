//! `rcompose run`

use super::super::args::Pull;
use super::super::context::{Context, usage};
use super::super::terminal;
use super::super::wire::Wire;
use super::{exec, up};
use crate::ops::run::{self, Changes, Options};
use crate::report::{Exit, Report};
use crate::ui::console;

/// Options of `run`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "rcompose run [OPTIONS] SERVICE [COMMAND [ARG]...]")]
pub struct Args {
    /// Remove the container when it has ended
    #[arg(long = "rm")]
    pub remove: bool,
    /// Return at once and print the container's id
    #[arg(short, long)]
    pub detach: bool,
    /// Set a variable (`NAME=value`), or pass it on (`NAME`)
    #[arg(short, long, value_name = "VARIABLE")]
    pub env: Vec<String>,
    /// Set the variables of this file
    #[arg(long, value_name = "FILE")]
    pub env_from_file: Vec<std::path::PathBuf>,
    /// Instead of the image's or the service's; takes the service's command away
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// Call the container so
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Do not start what the service depends on
    #[arg(long)]
    pub no_deps: bool,
    /// Publish this port (`[[ADDRESS:]PORT:]CONTAINER_PORT[/udp]`)
    #[arg(short, long, value_name = "PORT", conflicts_with = "service_ports")]
    pub publish: Vec<String>,
    /// Publish the ports of the service
    #[arg(short = 'P', long)]
    pub service_ports: bool,
    /// Answer to the service's names on its networks
    #[arg(long)]
    pub use_aliases: bool,
    /// As this user
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Mount this (`SOURCE:TARGET[:ro]`)
    #[arg(short, long, value_name = "VOLUME")]
    pub volume: Vec<String>,
    /// In this directory
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Add a label (`NAME=value`)
    #[arg(short, long, value_name = "LABEL")]
    pub label: Vec<String>,
    /// Add a capability
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_add: Vec<String>,
    /// Take a capability away
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_drop: Vec<String>,
    /// Give it no terminal (the default where standard input or output is none)
    #[arg(short = 'T', long = "no-tty", visible_alias = "no-TTY")]
    pub no_tty: bool,
    /// Accepted: a terminal is given where there is one
    #[arg(short, long, hide = true)]
    pub tty: bool,
    /// Pass standard input on
    #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_name = "BOOL", hide_default_value = true)]
    pub interactive: bool,
    /// Build the image before
    #[arg(long)]
    pub build: bool,
    /// When images are fetched
    #[arg(long, value_enum, value_name = "WHEN")]
    pub pull: Option<Pull>,
    /// No progress at all
    #[arg(short, long)]
    pub quiet: bool,
    /// No progress of fetching
    #[arg(long)]
    pub quiet_pull: bool,
    /// No progress of building
    #[arg(long)]
    pub quiet_build: bool,
    /// Remove containers of services that the file does not declare
    #[arg(long, env = "COMPOSE_REMOVE_ORPHANS", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub remove_orphans: bool,
    /// Service, command, arguments
    #[arg(value_names = ["SERVICE", "COMMAND"], num_args = 1.., required = true, trailing_var_arg = true)]
    pub command: Vec<String>,
}

impl Args {
    /// Runs it; the exit code is the command's.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        let Some((service, command)) = self.command.split_first() else {
            return Err(usage("run wants a service"));
        };
        let project = context.project(std::slice::from_ref(service))?;
        let terminals = console::stdin_is_terminal() && console::stdout_is_terminal();
        let tty = !self.no_tty && !self.detach && terminals;
        let build = up::BuildArgs { build: self.build, no_build: false, quiet_build: self.quiet_build };
        let changes = Changes {
            command: command.to_vec(),
            entrypoint: self.entrypoint,
            env_files: self.env_from_file,
            environment: exec::variables(self.env),
            user: self.user,
            working_dir: self.workdir,
            labels: self.label,
            volumes: self.volume,
            publish: self.publish,
            service_ports: self.service_ports,
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            tty,
            interactive: self.interactive && !self.detach,
        };
        let options = Options {
            service: service.clone(),
            name: self.name,
            no_dependencies: self.no_deps,
            remove: self.remove,
            use_aliases: self.use_aliases,
            detach: self.detach,
            window: if tty { terminal::size() } else { None },
            pull: self.pull.and_then(up::pull_policy),
            quiet_pull: self.quiet_pull || self.quiet,
            quiet_build: self.quiet_build || self.quiet,
            quiet: self.quiet,
            build: build.choice(self.pull),
            remove_orphans: self.remove_orphans,
        };
        let (conversation, pumps) = run::run(&session, &project, &changes, &options)?;
        if self.detach {
            let started = crate::ops::process::detached(&session, conversation)?;
            console::out_line(&started.id);
            return Ok(Exit::Success);
        }
        Wire { session: &session, tty }.carry(conversation, pumps)
    }
}
