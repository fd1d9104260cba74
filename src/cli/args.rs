//! The command line: options that stand before the command, and the table of commands.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{ArgAction, Parser, ValueEnum};

use super::commands::Command;
use crate::compose::model::ByteSize;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const AFTER: &str = "\
Environment:
  COMPOSE_FILE, COMPOSE_PROJECT_NAME, COMPOSE_PROFILES, COMPOSE_ENV_FILES,
  COMPOSE_PROGRESS, COMPOSE_ANSI, COMPOSE_PARALLEL_LIMIT: as the options of those names
  COMPOSE_REMOVE_ORPHANS, COMPOSE_IGNORE_ORPHANS: remove orphans, or do not mention them
  RCOMPOSE_HOME: put everything that is written below this directory

Exit codes:
  1 it failed; 2 wrong usage; 17 a build failed; 18 an image could not be fetched, loaded or pushed;
  19 this machine lacks something (`rcompose doctor` says what); 130 interrupted.
  `exec`, `run`, `wait`, and `up` with `--exit-code-from` end with the code of the container.

Run `rcompose COMMAND --help` for the options of a command.";

/// Run Compose files with no daemon, no root and no other program
#[derive(Debug, Parser)]
#[command(
    name = "rcompose",
    bin_name = "rcompose",
    version,
    styles = STYLES,
    disable_version_flag = true,
    disable_help_subcommand = false,
    arg_required_else_help = true,
    subcommand_value_name = "COMMAND",
    max_term_width = 110,
    after_help = AFTER
)]
pub struct Cli {
    /// What stands before the command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command has; it stands before the command's name.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Global {
    /// Read this Compose file (`-` is standard input); repeat it to lay files over one another
    #[arg(short, long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Call the project so
    #[arg(short, long, value_name = "NAME")]
    pub project_name: Option<String>,
    /// Take the services of this profile too (`*` is all); may be repeated
    #[arg(long = "profile", value_name = "PROFILE")]
    pub profiles: Vec<String>,
    /// Read variables from this file instead of `.env`; may be repeated
    #[arg(long = "env-file", value_name = "FILE")]
    pub env_files: Vec<PathBuf>,
    /// Start relative paths here instead of at the first Compose file
    #[arg(long, value_name = "DIR")]
    pub project_directory: Option<PathBuf>,
    /// Show progress in this way
    #[arg(long, global = true, value_enum, value_name = "HOW", env = "COMPOSE_PROGRESS", hide_env = true)]
    pub progress: Option<ProgressChoice>,
    /// Write colours and other control characters
    #[arg(long, value_enum, value_name = "WHEN", env = "COMPOSE_ANSI", hide_env = true)]
    pub ansi: Option<AnsiChoice>,
    /// Say what would be done, and change nothing
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Fetch so many images at once at most (-1: no bound)
    #[arg(
        long,
        value_name = "N",
        env = "COMPOSE_PARALLEL_LIMIT",
        hide_env = true,
        allow_negative_numbers = true
    )]
    pub parallel: Option<i32>,
    /// Keep networks, volumes, secrets and configs that no service uses
    #[arg(long)]
    pub all_resources: bool,
    /// Print the version
    #[arg(short, long, action = ArgAction::Version)]
    pub version: Option<bool>,
    /// Refuse a project that asks for something that has no effect here, instead of naming it
    #[arg(long)]
    pub strict: bool,
    /// Call containers PROJECT_SERVICE_N, as Compose 1 did
    #[arg(long)]
    pub compatibility: bool,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the words are those that users type")]
pub enum ProgressChoice {
    Auto,
    Tty,
    Plain,
    #[value(alias = "rawjson")]
    Json,
    Quiet,
}

/// When control characters are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the words are those that users type")]
pub enum AnsiChoice {
    Auto,
    Never,
    Always,
}

/// A size in bytes: `20g`, `512k`.
pub fn size(text: &str) -> Result<u64, String> {
    let size = ByteSize::parse(text).map_err(|error| error.to_string())?;
    u64::try_from(size.0).map_err(|_| format!("`{text}` is no size"))
}

/// A service with its number of containers: `web=3`.
pub fn scale(text: &str) -> Result<(String, u32), String> {
    let (service, number) = text.split_once('=').ok_or("write SERVICE=NUMBER")?;
    let number = number.parse().map_err(|_| format!("`{number}` is not a number of containers"))?;
    Ok((service.to_owned(), number))
}

/// `always`, `missing`, `never`, `build`, `policy`: see `--pull`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pull {
    /// Ask the registry for a newer one
    Always,
    /// Only what is not there
    Missing,
    /// Not at all
    Never,
    /// Build it
    Build,
    /// As the service's `pull_policy` says
    Policy,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, String> {
        Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_table_of_commands_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_before_the_command_are_the_projects_and_after_it_the_commands() {
        let cli = parse("rcompose -f a.yaml -f - -p x --profile dev logs -f -n 5 web").expect("parsed");
        assert_eq!(cli.global.files, [PathBuf::from("a.yaml"), PathBuf::from("-")]);
        assert_eq!(cli.global.project_name.as_deref(), Some("x"));
        let Command::Logs(logs) = cli.command else { panic!("another command") };
        assert!(logs.follow);
        assert_eq!(logs.services, ["web"]);
    }

    #[test]
    fn what_follows_the_service_belongs_to_its_command() {
        let cli = parse("rcompose exec -T -e A=1 web ls -la -T --help").expect("parsed");
        let Command::Exec(exec) = cli.command else { panic!("another command") };
        assert!(exec.no_tty);
        assert_eq!(exec.command, ["web", "ls", "-la", "-T", "--help"]);
        let cli = parse("rcompose run --rm web sh -c x").expect("parsed");
        let Command::Run(run) = cli.command else { panic!("another command") };
        assert!(run.remove);
        assert_eq!(run.command, ["web", "sh", "-c", "x"]);
        for line in ["rcompose run -it --rm web sh", "rcompose exec -it web sh"] {
            parse(line).expect("the spelling of many hands");
        }
        assert!(parse("rcompose exec --nope web ls").is_err());
    }

    #[test]
    fn mistakes_are_answered_with_the_nearest_word() {
        for (line, expected) in [
            ("rcompose dwon", "'down'"),
            ("rcompose up --biuld", "--build"),
            ("rcompose up --force-recreate --no-recreate", "cannot be used with"),
            ("rcompose scale web=x", "`x` is not a number of containers"),
            ("rcompose --progress nope up", "possible values"),
            ("rcompose exec", "required"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
