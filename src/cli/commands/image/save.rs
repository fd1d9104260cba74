//! `rcompose image save`

use std::path::PathBuf;

use clap::ValueEnum;

use crate::cli::context::{Context, usage};
use crate::ops::store::{self, Form, Target};
use crate::report::{Exit, Report};
use crate::ui::console;

/// Options of `image save`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// The file, or the directory of an OCI layout; nothing is standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What kind of archive
    #[arg(long, value_enum, default_value_t = FormName::DockerArchive, value_name = "FORM")]
    format: FormName,
    /// Of images for several platforms, only the one for this (`linux/arm64`)
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
}

/// The kinds of archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormName {
    /// What `docker save` writes: an OCI layout and `manifest.json` as a tar
    DockerArchive,
    /// What `docker save` wrote before version 25
    DockerArchiveV1,
    /// An OCI layout as a tar; images have complete names in it: `docker.io/library/redis:7`
    OciArchive,
    /// An OCI layout in a directory, with names like that
    #[value(alias = "oci-dir")]
    Oci,
}

impl Args {
    /// Writes it.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let form = match self.format {
            FormName::DockerArchive => Some(Form::Docker),
            FormName::DockerArchiveV1 => Some(Form::DockerV1),
            FormName::OciArchive => Some(Form::Oci),
            FormName::Oci => None,
        };
        let output = self.output.filter(|path| path.as_os_str() != "-");
        let target = match (form, output) {
            (Some(form), Some(path)) => Target::File(path, form),
            (None, Some(path)) => Target::Layout(path),
            (None, None) => return Err(usage("`--format oci` is a directory, which `--output` must name")),
            (Some(_), None) if console::stdout_is_terminal() => {
                let hint = "`rcompose image save -o FILE IMAGE`";
                return Err(usage("no archive is written to a terminal").hint(hint));
            }
            (Some(form), None) => Target::Stdout(form),
        };
        store::save(&context.session(), &self.images, self.platform.as_deref(), &target)?;
        Ok(Exit::Success)
    }
}
