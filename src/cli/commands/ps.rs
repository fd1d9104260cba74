//! `rcompose ps`

use clap::ValueEnum;

use super::super::context::{Context, usage};
use crate::ops::observed::{Container, Observed};
use crate::ops::project::Found;
use crate::ops::status;
use crate::report::{Exit, Report};
use crate::ui::table::{Spacing, Table};
use crate::ui::template::Template;
use crate::ui::{console, value};

/// Options of `ps`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Those that do not run too, and those made by `run`
    #[arg(short, long)]
    pub all: bool,
    /// Only ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Only the names of the services
    #[arg(long = "services", id = "names_of_services")]
    pub names: bool,
    /// Only those that do this
    #[arg(long, value_enum, value_name = "STATUS")]
    pub status: Vec<Status>,
    /// Only those that fulfil this: `status=STATUS`
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    pub filter: Vec<Status>,
    /// Print it in this form: `table`, `json`, a template, or `table` and a template
    #[arg(long, default_value = "table", value_name = "FORMAT", hide_default_value = true)]
    pub format: String,
    /// Cut nothing
    #[arg(long)]
    pub no_trunc: bool,
    /// Containers of services that the file does not declare too
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_name = "BOOL", hide_default_value = true)]
    pub orphans: bool,
}

/// What a container does, as `--status` spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the words are Docker's own")]
pub enum Status {
    Created,
    Running,
    Paused,
    Restarting,
    Exited,
    Removing,
    Dead,
}

fn filter(text: &str) -> Result<Status, String> {
    match text.split_once('=') {
        Some(("status", status)) => Status::from_str(status, true),
        _ => Err("write `status=STATUS`".into()),
    }
}

impl Args {
    /// Prints what exists.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let found = context.find(&self.services)?;
        let observed = status::observed_or_lost(&context.session(), &found.name)?;
        found.check(&self.services, &observed)?;
        let chosen = self.choose(&found, &observed);
        if self.quiet {
            chosen.iter().for_each(|container| console::out_line(&container.id.0));
        } else if self.names {
            let mut names: Vec<&str> = chosen.iter().map(|container| container.service.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            names.iter().for_each(|name| console::out_line(name));
        } else {
            console::out(&self.render(&chosen, &found.name)?);
        }
        Ok(Exit::Success)
    }

    fn choose<'a>(&self, found: &Found, observed: &'a Observed) -> Vec<&'a Container> {
        let wanted: Vec<&Status> = self.status.iter().chain(&self.filter).collect();
        let mut chosen: Vec<&Container> = observed
            .containers
            .iter()
            .filter(|container| self.services.is_empty() || self.services.contains(&container.service))
            .filter(|container| match wanted.as_slice() {
                [] => self.all || (!container.oneoff && status::is_up(container)),
                wanted => wanted.iter().any(|status| {
                    status.to_possible_value().is_some_and(|word| word.get_name() == status::word(container))
                }),
            })
            .filter(|container| self.orphans || found.declares(&container.service))
            .collect();
        chosen.sort_by(|a, b| a.name.cmp(&b.name));
        chosen
    }

    fn render(&self, chosen: &[&Container], project: &str) -> Result<String, Report> {
        let now = value::now();
        let rows = || chosen.iter().map(|container| row(container, project, now, self.no_trunc));
        match self.format.as_str() {
            "" | "pretty" | "table" => {
                let mut table =
                    Table::new(["NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS"]);
                for row in rows() {
                    let cell = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
                    let fields = ["Name", "Image", "Command", "Service", "RunningFor", "Status", "Ports"];
                    table.row(fields.map(cell));
                }
                Ok(table.render(Spacing::CONTAINERS))
            }
            "json" => Ok(rows().map(|row| format!("{row}\n")).collect()),
            template => {
                let rows: Vec<serde_json::Value> = rows().collect();
                let template = Template::parse(template).map_err(|error| usage(error.to_string()))?;
                template.render(&rows, header).map_err(|error| usage(error.to_string()))
            }
        }
    }
}

/// The header of a field, where it is not its name in capitals.
pub fn header(field: &str) -> String {
    match field {
        "ID" => "CONTAINER ID".into(),
        "CreatedAt" => "CREATED AT".into(),
        "RunningFor" => "CREATED".into(),
        "ExitCode" => "EXIT CODE".into(),
        "LocalVolumes" => "LOCAL VOLUMES".into(),
        other => other.to_uppercase(),
    }
}

/// A container with the fields that `docker compose ps --format json` prints.
fn row(container: &Container, project: &str, now: i64, no_trunc: bool) -> serde_json::Value {
    let command = if no_trunc { container.command.clone() } else { value::ellipsis(&container.command, 20) };
    let volumes = container.named_volumes.len() + container.anonymous_volumes.len();
    let mounts: Vec<String> = container
        .named_volumes
        .iter()
        .chain(container.anonymous_volumes.values())
        .map(|name| if no_trunc { name.clone() } else { value::ellipsis(name, 15) })
        .collect();
    let labels: Vec<String> =
        container.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let networks: Vec<&str> = container.attachments.iter().map(|place| place.network.as_str()).collect();
    let publishers: Vec<serde_json::Value> = publishers(container)
        .into_iter()
        .map(|(address, published, target, protocol)| {
            serde_json::json!({
                "URL": address.trim_matches(['[', ']']), "TargetPort": target, "PublishedPort": published,
                "Protocol": protocol,
            })
        })
        .collect();
    serde_json::json!({
        "Command": value::quoted(&command),
        "CreatedAt": value::local_time(container.created_ns),
        "ExitCode": status::exit_code(container),
        "Health": status::health(container).unwrap_or_default(),
        "ID": if no_trunc { container.id.0.as_str() } else { container.id.short() },
        "Image": container.image,
        "Labels": labels.join(","),
        "LocalVolumes": volumes.to_string(),
        "Mounts": mounts.join(","),
        "Name": container.name,
        "Names": container.name,
        "Networks": networks.join(","),
        "Ports": ports(container),
        "Project": project,
        "Publishers": publishers,
        "RunningFor": format!("{} ago", value::age(now - container.created_ns)),
        "Service": container.service,
        "Size": "0B",
        "State": status::word(container),
        "Status": status(container, now),
    })
}

/// `Up 5 seconds (healthy)`, `Exited (3) 2 minutes ago`, `Exited (137) 2 minutes ago (out of memory)`.
fn status(container: &Container, now: i64) -> String {
    use crate::ops::observed::State;
    let ago = |since: i64| value::age(now - since);
    let why = status::end_reason(container).map(|why| format!(" ({why})")).unwrap_or_default();
    match &container.state {
        State::Created => "Created".into(),
        State::Running { since_ns, paused: true, .. } => format!("Up {} (Paused)", ago(*since_ns)),
        State::Running { since_ns, .. } => match status::health(container) {
            Some("starting") => format!("Up {} (health: starting)", ago(*since_ns)),
            Some(health) => format!("Up {} ({health})", ago(*since_ns)),
            None => format!("Up {}", ago(*since_ns)),
        },
        State::Restarting { code, since_ns, .. } => {
            format!("Restarting ({code}) {} ago{why}", ago(*since_ns))
        }
        State::Exited { code, since_ns, .. } => {
            let code = code.map_or_else(|| "unknown".to_owned(), |code| code.to_string());
            format!("Exited ({code}) {} ago{why}", ago(*since_ns))
        }
        State::Removing => "Removal In Progress".into(),
    }
}

/// Address (in brackets when it is IPv6), published port, container's port, protocol; sorted as Docker does.
fn publishers(container: &Container) -> Vec<(String, u16, u16, &'static str)> {
    let mut found: Vec<(u16, &'static str, String, u16)> = Vec::new();
    let held = container.ports.iter().filter(|_| status::is_up(container));
    for port in held {
        let protocol = port.protocol.name();
        // One socket for both families is what "all addresses" means; Docker lists it as two.
        let both = port.asked_ip.is_unspecified() && port.asked_ip.is_ipv4() && port.host.is_ipv6();
        let own = match port.host.ip() {
            std::net::IpAddr::V4(address) => address.to_string(),
            std::net::IpAddr::V6(address) => format!("[{address}]"),
        };
        let also = both.then(|| "0.0.0.0".to_owned());
        for address in also.into_iter().chain([own]) {
            found.push((port.container_port, protocol, address, port.host.port()));
        }
    }
    found.sort();
    found.dedup();
    found
        .into_iter()
        .map(|(target, protocol, address, published)| (address, published, target, protocol))
        .collect()
}

/// What is listened on and not published, then what is; nothing of a container that does not run.
fn ports(container: &Container) -> String {
    let published = publishers(container);
    let is_published = |port: &&String| {
        published.iter().any(|(_, _, target, protocol)| **port == format!("{target}/{protocol}"))
    };
    let exposed = container.exposed.iter().filter(|_| status::is_running(container));
    let mut all: Vec<String> = exposed.filter(|port| !is_published(port)).cloned().collect();
    all.extend(
        published.iter().map(|(address, published, target, protocol)| {
            format!("{address}:{published}->{target}/{protocol}")
        }),
    );
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::observed::{Health, State};

    const SECOND: i64 = 1_000_000_000;

    /// A container as it stands in its record.
    fn container(state: serde_json::Value, ports: serde_json::Value) -> Container {
        serde_json::from_value(serde_json::json!({
            "id": "0123456789abcdef", "name": "p-web-1", "service": "web", "number": 1, "oneoff": false,
            "image": "busybox:1.35", "image_id": "sha256:1", "fingerprint": "f", "command": "sleep 1000",
            "labels": {"a": "b"}, "created_ns": 0, "state": state, "stopped_by_user": false, "restarts": 0,
            "health": null, "attachments": [], "ports": ports, "anonymous_volumes": {},
            "named_volumes": ["p_data"], "uses": [],
        }))
        .expect("a record")
    }

    fn running(paused: bool) -> serde_json::Value {
        serde_json::json!({
            "status": "running", "pid": 1, "start_time": 1, "boot_id": "b", "since_ns": 0, "paused": paused,
        })
    }

    #[test]
    fn the_status_says_what_a_container_does_and_since_when() {
        let check = |state: serde_json::Value, health: Option<Health>, expected: &str| {
            let container = Container { health, ..container(state, serde_json::json!([])) };
            assert_eq!(status(&container, 120 * SECOND), expected);
        };
        check(serde_json::json!({ "status": "created" }), None, "Created");
        check(running(false), None, "Up 2 minutes");
        check(running(false), Some(Health::Starting), "Up 2 minutes (health: starting)");
        check(running(false), Some(Health::Unhealthy), "Up 2 minutes (unhealthy)");
        check(running(true), Some(Health::Healthy), "Up 2 minutes (Paused)");
        let exited = |code: Option<i32>, oom| {
            serde_json::to_value(State::Exited { code, since_ns: 60 * SECOND, oom, error: None })
                .expect("JSON")
        };
        check(exited(Some(3), false), None, "Exited (3) About a minute ago");
        check(exited(None, false), None, "Exited (unknown) About a minute ago");
        check(exited(Some(137), true), None, "Exited (137) About a minute ago (out of memory)");
        // It lived on without the process that was killed.
        check(exited(Some(0), true), None, "Exited (0) About a minute ago");
        let again = State::Restarting { code: 137, since_ns: 60 * SECOND, oom: true };
        let again = serde_json::to_value(again).expect("JSON");
        check(again, None, "Restarting (137) About a minute ago (out of memory)");
    }

    #[test]
    fn ports_are_sorted_and_all_addresses_are_two() {
        let port = |host: &str, asked: &str, container: u16, protocol: &str| {
            serde_json::json!({
                "host": host, "asked_ip": asked, "container_port": container, "protocol": protocol,
            })
        };
        let check = |list: serde_json::Value, expected: &str| {
            assert_eq!(ports(&container(running(false), list)), expected);
        };
        check(serde_json::json!([]), "");
        let listening = |state: serde_json::Value, expected: &str| {
            let list = serde_json::json!([port("127.0.0.1:8080", "127.0.0.1", 80, "tcp")]);
            let exposed = ["443/tcp", "80/tcp"].map(str::to_owned).into();
            assert_eq!(ports(&Container { exposed, ..container(state, list) }), expected);
        };
        listening(running(false), "443/tcp, 127.0.0.1:8080->80/tcp");
        listening(serde_json::json!({ "status": "exited", "code": 0, "since_ns": 0 }), "");
        check(
            serde_json::json!([
                port("127.0.0.1:8080", "127.0.0.1", 80, "tcp"),
                port("0.0.0.0:32768", "0.0.0.0", 53, "udp"),
                port("[::]:32768", "0.0.0.0", 53, "udp"),
            ]),
            "0.0.0.0:32768->53/udp, [::]:32768->53/udp, 127.0.0.1:8080->80/tcp",
        );
    }

    #[test]
    fn json_has_the_fields_that_scripts_read() {
        let container = container(running(false), serde_json::json!([]));
        let row = row(&container, "p", SECOND, false);
        assert_eq!(row["Command"], "\"sleep 1000\"");
        assert_eq!(row["ID"], "0123456789ab");
        assert_eq!(row["Labels"], "a=b");
        assert_eq!((&row["Mounts"], &row["LocalVolumes"]), (&"p_data".into(), &"1".into()));
        assert_eq!((&row["State"], &row["Project"]), (&"running".into(), &"p".into()));
        assert_eq!(row["RunningFor"], "1 second ago");
    }
}
