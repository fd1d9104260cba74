//! `rcompose volume create`

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::cli::context::{Context, usage};
use crate::ops::volumes::{self, Spec};
use crate::report::{Exit, Report};
use crate::ui::console;

/// Options of `volume create`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What it is called
    #[arg(value_name = "NAME")]
    name: String,
    /// Give it a label
    #[arg(long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// `local`: there is no other
    #[arg(short, long, value_name = "DRIVER", default_value = "local", hide = true)]
    driver: String,
    /// Make it a directory of this machine, with all of `type=none`, `o=bind` and `device=DIRECTORY`
    #[arg(short, long, value_name = "NAME=VALUE")]
    opt: Vec<String>,
}

impl Args {
    /// Makes it, and prints its name.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        if self.driver != "local" {
            return Err(usage(format!("there is no driver of volumes `{}`", self.driver))
                .hint("leave `--driver` out: volumes are directories of this machine"));
        }
        if context.global.dry_run {
            return Err(usage("`volume create` has no dry run"));
        }
        let label = |text: &String| match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (text.clone(), String::new()),
        };
        let labels = self.label.iter().map(label).collect();
        let spec = Spec { name: self.name, labels, bind: bind(&self.opt)?, anonymous: false };
        let name = spec.name.clone();
        volumes::create(&context.session(), spec)?;
        console::out_line(&name);
        Ok(Exit::Success)
    }
}

/// The directory that options ask for: what `driver_opts` of a Compose file may say.
fn bind(options: &[String]) -> Result<Option<PathBuf>, Report> {
    if options.is_empty() {
        return Ok(None);
    }
    let options: BTreeMap<&str, &str> = options.iter().filter_map(|option| option.split_once('=')).collect();
    let binds = options.get("o").is_some_and(|o| o.split(',').any(|word| ["bind", "rbind"].contains(&word)));
    match options.get("device") {
        Some(device) if binds && !device.is_empty() => {
            let absolute = std::path::absolute(device);
            absolute.map(Some).map_err(|error| Report::from_error(Exit::Failure, &error))
        }
        _ => Err(usage("only a directory of this machine can be a volume")
            .hint("`--opt type=none --opt o=bind --opt device=DIRECTORY`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_make_a_volume_of_a_directory_or_nothing() {
        let read = |options: &[&str]| bind(&options.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        assert_eq!(read(&[]).expect("none"), None);
        let bound = read(&["type=none", "o=ro,bind", "device=/srv/data"]).expect("bound");
        assert_eq!(bound, Some(PathBuf::from("/srv/data")));
        for wrong in
            [&["o=bind"][..], &["device=/x"], &["type=nfs", "o=addr=1.2.3.4", "device=:/x"], &["size=5"]]
        {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
