//! `rcompose volume inspect`

use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::cli::shape::print_found;
use crate::ops::volumes::{self, Listed};
use crate::report::{Exit, Report};
use crate::ui::value;

/// Options of `volume inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names
    #[arg(value_name = "VOLUME", required = true)]
    volumes: Vec<String>,
    /// `json`, or a template such as `{{.Mountpoint}}`
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Args {
    /// Prints what is known of them.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for name in &self.volumes {
            match volumes::find(&session, name) {
                Ok(volume) => found.push(described(&volume)),
                Err(report) => failures.push(report),
            }
        }
        print_found(found, self.format.as_deref())?;
        if failures.is_empty() {
            return Ok(Exit::Success);
        }
        let first = failures.remove(0);
        Err(first.and(failures))
    }
}

/// In the words of `docker volume inspect`, with the containers that have it.
fn described(volume: &Listed) -> Value {
    let options = match volume.bound {
        true => json!({"device": volume.path, "o": "bind", "type": "none"}),
        false => Value::Null,
    };
    let created = i64::try_from(volume.created_ns).unwrap_or(i64::MAX);
    json!({
        "Containers": volume.users, "CreatedAt": value::timestamp(created), "Driver": "local",
        "Labels": volume.labels, "Mountpoint": volume.path, "Name": volume.name, "Options": options,
        "Scope": "local",
    })
}
