//! `rcompose system check`

use crate::cli::context::Context;
use crate::ops::disk::{self, CheckOptions};
use crate::report::{Exit, Report};
use crate::ui::{console, value};

/// Options of `system check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not compare unpacked layers with what they came from
    #[arg(long)]
    quick: bool,
    /// Only say what is wrong
    #[arg(long)]
    no_repair: bool,
    /// Print it in this form
    #[arg(long, value_name = "FORMAT", value_parser = ["json"])]
    format: Option<String>,
}

impl Args {
    /// Looks, mends, and says what there was.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let repair = !(self.no_repair || context.global.dry_run);
        let checked = disk::check(&context.session(), CheckOptions { repair, deep: !self.quick })?;
        let exit = if checked.is_sound() { Exit::Success } else { Exit::Failure };
        if self.format.is_some() {
            let text =
                serde_json::to_string(&checked).map_err(|error| Report::from_error(Exit::Failure, &error))?;
            console::out_line(&text);
            return Ok(exit);
        }
        for finding in &checked.findings {
            let end = finding
                .mended
                .as_ref()
                .map_or_else(|| "NOT MENDED".to_owned(), |how| format!("mended: {how}"));
            console::out_line(&format!("{}; {end}", finding.damage));
            if let Some(hint) = &finding.hint {
                console::out_line(&format!("  {hint}"));
            }
        }
        if checked.tidied > 0 {
            let size = value::decimal_size(checked.tidied);
            console::out_line(&format!("{size} that interrupted commands had left were freed"));
        }
        let (images, blobs, layers) = (checked.images, checked.blobs, checked.layers);
        let verdict = match (checked.findings.is_empty(), checked.is_sound()) {
            (true, _) => "everything is as it should be",
            (false, true) => "everything is as it should be now",
            (false, false) => "not everything could be mended",
        };
        console::out_line(&format!("{images} images, {blobs} blobs, {layers} unpacked layers: {verdict}"));
        Ok(exit)
    }
}
