//! `rcompose events`

use super::super::context::Context;
use super::super::moment;
use crate::event::{Action, Event, Kind};
use crate::ops::{follow, status};
use crate::report::{Exit, Report};
use crate::ui::{console, value};

/// Options of `events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// A JSON object for each
    #[arg(long)]
    pub json: bool,
    /// Begin with what has happened since this time, as far as the running project remembers it
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    pub since: Option<i64>,
    /// End at this time
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    pub until: Option<i64>,
}

impl Args {
    /// Prints events until interrupted.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        let found = context.find(&self.services)?;
        found.check(&self.services, &status::observed(&session, &found.name)?)?;
        follow::events(&session, &found.name, self.since, self.until, &mut |event| {
            let wanted = self.services.is_empty()
                || event.service.as_ref().is_some_and(|service| self.services.contains(service));
            if wanted && event.kind == Kind::Container {
                console::out_line(&if self.json { json(&event) } else { line(&event) });
            }
        })?;
        Ok(Exit::Success)
    }
}

/// Docker's word for an action, with what stands behind a colon.
fn word(action: &Action) -> String {
    match action {
        Action::Create => "create".into(),
        Action::Start => "start".into(),
        Action::Die { .. } => "die".into(),
        Action::Stop => "stop".into(),
        Action::Kill { .. } => "kill".into(),
        Action::Oom => "oom".into(),
        Action::Restart => "restart".into(),
        Action::Pause => "pause".into(),
        Action::Unpause => "unpause".into(),
        Action::Health { status } => format!("health_status: {status}"),
        Action::Destroy => "destroy".into(),
        Action::ExecStart => "exec_start".into(),
        Action::ExecDie { .. } => "exec_die".into(),
    }
}

/// The event's facts with those that its action carries, and the name.
fn attributes(event: &Event) -> std::collections::BTreeMap<String, String> {
    let mut all = event.attributes.clone();
    all.insert("name".into(), event.name.clone());
    match &event.action {
        Action::Die { code } | Action::ExecDie { code } => {
            all.insert("exitCode".into(), code.to_string());
        }
        Action::Kill { signal } => {
            all.insert("signal".into(), signal.to_string());
        }
        _ => {}
    }
    all
}

fn json(event: &Event) -> String {
    serde_json::json!({
        "action": word(&event.action),
        "attributes": attributes(event),
        "id": event.id,
        "service": event.service.as_deref().unwrap_or_default(),
        "time": value::timestamp(event.time_ns),
        "type": "container",
    })
    .to_string()
}

fn line(event: &Event) -> String {
    let facts: Vec<String> =
        attributes(event).iter().map(|(name, value)| format!("{name}={value}")).collect();
    let time = value::local_microseconds(event.time_ns);
    format!("{time} container {} {} ({})", word(&event.action), event.id, facts.join(", "))
}
