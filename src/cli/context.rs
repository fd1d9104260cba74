//! What every command has: the checked global options, where things are, and the screen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::args::{AnsiChoice, Global, ProgressChoice};
use crate::host::files;
use crate::host::paths::Paths;
use crate::ops::project::{Found, Project, Source};
use crate::ops::{Ears, Separator, Session, project};
use crate::progress::{Progress, Sink, build};
use crate::report::{Exit, Report};
use crate::ui;
use crate::ui::console::{self, ColorChoice};
use crate::ui::progress::{Display, Mode};
use crate::ui::text;

/// What every command has.
pub struct Context {
    /// The global options.
    pub global: Global,
    /// Where everything is.
    pub paths: Paths,
    /// Progress of this command.
    pub display: Display,
    /// Builds of this command.
    pub build: ui::build::Display,
    /// How progress is shown.
    pub mode: Mode,
    who: String,
    /// Warnings that were printed.
    said: Mutex<BTreeSet<String>>,
    /// Answers to questions: a command that begins again does not ask again.
    answers: Mutex<BTreeMap<String, bool>>,
}

impl Context {
    /// Checks the global options; touches no disk but the terminal and the user's home.
    pub fn new(global: Global, command: &str) -> Context {
        console::choose_color(match global.ansi {
            None | Some(AnsiChoice::Auto) => ColorChoice::Auto,
            Some(AnsiChoice::Never) => ColorChoice::Never,
            Some(AnsiChoice::Always) => ColorChoice::Always,
        });
        let live = console::stderr_is_terminal() && global.ansi != Some(AnsiChoice::Never);
        let mode = match global.progress.unwrap_or(ProgressChoice::Auto) {
            ProgressChoice::Auto if live => Mode::Tty,
            ProgressChoice::Auto | ProgressChoice::Plain => Mode::Plain,
            ProgressChoice::Tty => Mode::Tty,
            ProgressChoice::Json => Mode::Json,
            ProgressChoice::Quiet => Mode::Quiet,
        };
        let display = Display::new(mode, global.dry_run);
        let build = ui::build::Display::new(mode);
        let who = format!("rcompose {command}");
        Context {
            paths: paths(),
            display,
            build,
            mode,
            who,
            said: Mutex::default(),
            answers: Mutex::default(),
            global,
        }
    }

    /// How containers are named.
    fn separator(&self) -> Separator {
        match self.global.compatibility || self.switched_on("COMPOSE_COMPATIBILITY") {
            true => Separator::Underscore,
            false => Separator::Hyphen,
        }
    }

    /// What verbs get.
    pub fn session(&self) -> Session<'_> {
        Session {
            paths: &self.paths,
            who: &self.who,
            ears: self,
            dry_run: self.global.dry_run,
            parallel: self.global.parallel.and_then(|number| usize::try_from(number).ok()).filter(|n| *n > 0),
            separator: self.separator(),
            strict: self.global.strict,
        }
    }

    /// What the command line and the environment say about the project.
    pub fn source(&self) -> Source {
        let global = &self.global;
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
            })
            .collect();
        Source {
            files: global.files.clone(),
            project_directory: global.project_directory.clone(),
            project_name: global.project_name.clone(),
            profiles: global.profiles.clone(),
            env_files: global.env_files.clone(),
            environment,
            all_resources: global.all_resources,
        }
    }

    /// Loads the project; `services` are those that the command names.
    pub fn project(&self, services: &[String]) -> Result<Project, Report> {
        project::load(&self.session(), &self.source(), services)
    }

    /// Loads the project, or goes by its name alone where there is no file.
    pub fn find(&self, services: &[String]) -> Result<Found, Report> {
        project::find(&self.session(), &self.source(), services)
    }

    /// Refuses a dry run of a command that has none.
    pub fn in_earnest(&self, command: &str) -> Result<(), Report> {
        match self.global.dry_run {
            true => Err(usage(format!("`{command}` has no dry run: nothing was done"))),
            false => Ok(()),
        }
    }

    /// A variable that switches something on: `1` or `true`.
    pub fn switched_on(&self, name: &str) -> bool {
        std::env::var(name).is_ok_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
    }
}

impl Ears for Context {
    fn progress(&self, progress: Progress) {
        self.display.tell(progress);
    }

    fn build(&self, word: build::Word) {
        self.build.tell(word);
    }

    fn built(&self) {
        self.build.finish();
    }

    fn warning(&self, warning: &str) {
        // What command and supervisor both find, or what is so for each container, is said once.
        if !self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(warning.to_owned()) {
            return;
        }
        self.display.aside(|| {
            self.build.aside(|| match self.mode {
                Mode::Json => {
                    console::err_line(
                        &serde_json::json!({ "level": "warning", "message": warning }).to_string(),
                    );
                }
                _ => console::err_line(&text::warning(warning)),
            })
        });
    }

    fn ask(&self, question: &str) -> Option<bool> {
        if !console::stdin_is_terminal() {
            return None;
        }
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if !answers.contains_key(question) {
            self.display.aside(|| {
                if let Ok(answer) = console::agrees(&format!("{question} [y/N] ")) {
                    answers.insert(question.to_owned(), answer);
                }
            });
        }
        answers.get(question).copied()
    }
}

impl Context {
    /// Prints a failure in the form that was asked for.
    pub fn fail(&self, report: &Report) {
        self.build.finish();
        self.display.finish();
        match self.mode {
            Mode::Json => {
                let mut value = serde_json::json!({ "level": "error", "error": true });
                if let (Some(value), Ok(serde_json::Value::Object(fields))) =
                    (value.as_object_mut(), serde_json::to_value(report))
                {
                    value.extend(fields);
                }
                console::err_line(&value.to_string());
            }
            _ => console::err_line(&text::report(report)),
        }
    }
}

/// Refuses a place for our files that would be another in each directory.
pub fn check_home() -> Result<(), Report> {
    match std::env::var_os("RCOMPOSE_HOME").map(PathBuf::from) {
        Some(home) if !home.is_absolute() && !home.as_os_str().is_empty() => Err(Report::new(
            Exit::Usage,
            format!("RCOMPOSE_HOME is `{}`, which is not an absolute path", home.display()),
        )
        .hint("give it the whole path, from `/` on, or unset it")),
        _ => Ok(()),
    }
}

/// Where everything is, for this process.
fn paths() -> Paths {
    let uid = rustix::process::getuid().as_raw();
    let home = home(uid);
    Paths::find(|name| std::env::var_os(name).map(PathBuf::from), uid, &home, Path::is_dir)
        .settled(|link| std::fs::read_link(link).ok(), |run| files::is_own_dir(run).unwrap_or(false))
}

/// The user's home: `HOME` where it is the user's own (under sudo it may be another's), else by the user database.
fn home(uid: u32) -> PathBuf {
    use std::os::unix::fs::MetadataExt;
    let own = |path: &Path| path.is_absolute() && path.metadata().is_ok_and(|home| home.uid() == uid);
    if let Some(home) = std::env::var_os("HOME").map(PathBuf::from).filter(|home| own(home)) {
        return home;
    }
    nix::unistd::User::from_uid(uid.into())
        .ok()
        .flatten()
        .map(|user| user.dir)
        .unwrap_or_else(|| PathBuf::from("/"))
}

/// `--force`, of the commands that ask before they remove.
#[derive(Clone, Debug, clap::Args)]
pub struct Consent {
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}

impl Consent {
    /// Returns whether `which` may be removed, and asks where that is not said. Where nobody can be asked, `--force` is the
    /// way.
    pub fn given(&self, which: &str) -> Result<bool, Report> {
        Ok(self.force || agreed(which)?)
    }
}

fn agreed(which: &str) -> Result<bool, Report> {
    if !console::stdin_is_terminal() {
        return Err(usage(format!("cannot ask whether to remove {which}: standard input is no terminal"))
            .hint("`--force` removes without asking"));
    }
    console::agrees(&format!("This removes {which}.\nAre you sure? [yN] "))
        .map_err(|error| Report::from_error(Exit::Failure, &error))
}

/// A wrong use that the table of options cannot see.
pub fn usage(message: impl Into<String>) -> Report {
    Report::new(Exit::Usage, message)
}
