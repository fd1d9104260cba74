//! `rcompose exec`

use super::super::context::{Context, usage};
use super::super::terminal;
use super::super::wire::Wire;
use crate::ops::process::{self, Exec};
use crate::ops::status;
use crate::report::{Exit, Report};
use crate::ui::console;

/// Options of `exec`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "rcompose exec [OPTIONS] SERVICE COMMAND [ARG]...")]
pub struct Args {
    /// Give it no terminal (the default where standard input or output is none)
    #[arg(short = 'T', long = "no-tty", visible_alias = "no-TTY")]
    pub no_tty: bool,
    /// Set a variable (`NAME=value`), or pass it on (`NAME`)
    #[arg(short, long, value_name = "VARIABLE")]
    pub env: Vec<String>,
    /// As this user
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// In this directory
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Do not wait for its end
    #[arg(short, long)]
    pub detach: bool,
    /// In the container with this number
    #[arg(long, value_name = "N")]
    pub index: Option<u32>,
    /// With all capabilities
    #[arg(long)]
    pub privileged: bool,
    /// Accepted: standard input is always passed on
    #[arg(short, long, hide = true)]
    pub interactive: bool,
    /// Accepted: a terminal is given where there is one
    #[arg(short, long, hide = true)]
    pub tty: bool,
    /// Service, command, arguments
    #[arg(value_names = ["SERVICE", "COMMAND"], num_args = 2.., required = true, trailing_var_arg = true)]
    pub command: Vec<String>,
}

impl Args {
    /// Runs it; the exit code is the command's.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        let Some((service, argv)) = self.command.split_first() else {
            return Err(usage("exec wants a service and a command"));
        };
        let found = context.find(std::slice::from_ref(service))?;
        let observed = status::observed(&session, &found.name)?;
        found.check(std::slice::from_ref(service), &observed)?;
        status::executable(&observed, service, self.index)?;
        let tty =
            !self.no_tty && !self.detach && console::stdin_is_terminal() && console::stdout_is_terminal();
        let exec = Exec {
            id: process::new_id()?,
            service: service.clone(),
            index: self.index,
            argv: argv.to_vec(),
            env: variables(self.env),
            user: self.user,
            working_dir: self.workdir,
            privileged: self.privileged,
            tty,
            detach: self.detach,
            window: if tty { terminal::size() } else { None },
        };
        let (conversation, pumps) = process::exec(&session, &found.name, exec)?;
        if self.detach {
            process::detached(&session, conversation)?;
            return Ok(Exit::Success);
        }
        Wire { session: &session, tty }.carry(conversation, pumps)
    }
}

/// `NAME` takes the caller's value, or is left out where the caller has none.
pub fn variables(given: Vec<String>) -> Vec<String> {
    given
        .into_iter()
        .filter_map(|variable| match variable.contains('=') {
            true => Some(variable),
            false => std::env::var(&variable).ok().map(|value| format!("{variable}={value}")),
        })
        .collect()
}
