//! `rcompose port`

use super::super::context::Context;
use crate::ops::observed::Container;
use crate::ops::status;
use crate::report::{Exit, Report};
use crate::ui::console;

/// Options of `port`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service
    pub service: String,
    /// The port inside the container
    pub private_port: u16,
    /// Of the container with this number
    #[arg(long, value_name = "N")]
    pub index: Option<u32>,
    /// `tcp` or `udp`
    #[arg(long, default_value = "tcp", value_parser = ["tcp", "udp"])]
    pub protocol: String,
}

impl Args {
    /// Prints the address.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let found = context.find(std::slice::from_ref(&self.service))?;
        let observed = status::observed(&context.session(), &found.name)?;
        found.check(std::slice::from_ref(&self.service), &observed)?;
        let container = status::numbered(&observed, &self.service, self.index)?;
        let address = container
            .ports
            .iter()
            .find(|port| port.container_port == self.private_port && port.protocol.name() == self.protocol);
        let Some(port) = address else {
            return Err(Report::new(
                Exit::Failure,
                format!(
                    "no port {}/{} for container {}: {}",
                    self.private_port,
                    self.protocol,
                    container.name,
                    published(container)
                ),
            ));
        };
        console::out_line(&std::net::SocketAddr::new(port.asked_ip, port.host.port()).to_string());
        Ok(Exit::Success)
    }
}

fn published(container: &Container) -> String {
    if container.ports.is_empty() {
        return "it publishes none".into();
    }
    let mut each: Vec<String> = container
        .ports
        .iter()
        .map(|port| format!("{}->{}/{}", port.host.port(), port.container_port, port.protocol.name()))
        .collect();
    // The same for IPv4 and IPv6, mostly.
    each.dedup();
    each.join(", ")
}
