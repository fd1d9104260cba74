//! `rcompose top`

use super::super::context::Context;
use crate::ops::{status, top};
use crate::report::{Exit, Report};
use crate::ui::table::{Spacing, Table};
use crate::ui::{console, value};

/// Options of `top`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
}

impl Args {
    /// Prints the processes.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let found = context.find(&self.services)?;
        let observed = status::observed(&context.session(), &found.name)?;
        found.check(&self.services, &observed)?;
        let header = ["SERVICE", "#", "UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
        let mut table = Table::new(header);
        let mut containers = top::processes(&observed, &self.services);
        containers.sort_by(|a, b| (&a.service, a.number).cmp(&(&b.service, b.number)));
        for container in &containers {
            for process in &container.processes {
                table.row([
                    container.service.clone(),
                    container.number.to_string(),
                    process.user.clone(),
                    process.pid.to_string(),
                    process.parent.to_string(),
                    process.cpu.to_string(),
                    value::local_clock(process.started_ns),
                    process.terminal.clone(),
                    clock(process.seconds),
                    process.command.clone(),
                ]);
            }
        }
        if !containers.is_empty() {
            console::out(&table.render(Spacing::PROCESSES));
        }
        Ok(Exit::Success)
    }
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
