//! `rcompose up`

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::Signal;

use super::super::args::{Pull, scale};
use super::super::context::{Context, usage};
use super::super::span;
use super::super::terminal::Signals;
use crate::ops::foreground::{self, Abort, Screen, View};
use crate::ops::project::{self, Project};
use crate::ops::up::{self, Build, Options, PullPolicy, Recreate};
use crate::ops::verbs;
use crate::report::{Exit, Report};
use crate::ui::console;
use crate::ui::logs::{Lines, Look, Painter};

/// The variable that keeps quiet about orphans.
pub const IGNORE_ORPHANS: &str = "COMPOSE_IGNORE_ORPHANS";

/// Options of `up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services and what they depend on
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Return when everything runs, and leave it running
    #[arg(short, long)]
    pub detach: bool,
    /// Return when everything runs or is healthy; implies --detach
    #[arg(long)]
    pub wait: bool,
    /// Give up waiting after this time (`30`, `1m30s`)
    #[arg(long, value_name = "TIME", value_parser = span::parse)]
    pub wait_timeout: Option<std::time::Duration>,
    /// Give a service so many containers
    #[arg(long, value_name = "SERVICE=NUMBER", value_parser = scale, help_heading = "What is made")]
    pub scale: Vec<(String, u32)>,
    /// About building.
    #[command(flatten)]
    pub build: BuildArgs,
    /// When images are fetched
    #[arg(long, value_enum, value_name = "WHEN", help_heading = "What is made")]
    pub pull: Option<Pull>,
    /// No progress of fetching
    #[arg(long, help_heading = "What is made")]
    pub quiet_pull: bool,
    /// Take exactly the images that `compose.lock` says, and ask no registry what a tag means
    #[arg(long, help_heading = "What is made")]
    pub locked: bool,
    /// Make containers anew even if nothing has changed
    #[arg(long, help_heading = "What is made")]
    pub force_recreate: bool,
    /// Keep containers even if something has changed
    #[arg(long, conflicts_with = "force_recreate", help_heading = "What is made")]
    pub no_recreate: bool,
    /// Make those of dependencies anew too
    #[arg(long, conflicts_with = "no_recreate", help_heading = "What is made")]
    pub always_recreate_deps: bool,
    /// Do not carry anonymous volumes over to new containers
    #[arg(short = 'V', long, help_heading = "What is made")]
    pub renew_anon_volumes: bool,
    /// Do not touch what the services depend on
    #[arg(long, help_heading = "What is made")]
    pub no_deps: bool,
    /// Create, but do not start
    #[arg(long, conflicts_with = "wait", help_heading = "What is made")]
    pub no_start: bool,
    /// Remove containers of services that the file does not declare
    #[arg(long, env = "COMPOSE_REMOVE_ORPHANS", hide_env = true, help_heading = "What is made",
          value_parser = clap::builder::FalseyValueParser::new())]
    pub remove_orphans: bool,
    /// Kill what has not ended after this time instead of its `stop_grace_period`
    #[arg(short, long, value_name = "TIME", value_parser = span::parse, help_heading = "What is made")]
    pub timeout: Option<std::time::Duration>,
    /// Answer every question with yes: volumes that have changed are made anew
    #[arg(short, long, help_heading = "What is made")]
    pub yes: bool,
    /// Stop everything when a container ends, and take its exit code
    #[arg(long, conflicts_with_all = ["detach", "wait"], help_heading = "In the foreground")]
    pub abort_on_container_exit: bool,
    /// Stop everything when a container ends with a failure, and take its exit code
    #[arg(long, conflicts_with_all = ["detach", "wait"], help_heading = "In the foreground")]
    pub abort_on_container_failure: bool,
    /// Take the exit code of this service; implies --abort-on-container-exit
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["detach", "wait"], help_heading = "In the foreground")]
    pub exit_code_from: Option<String>,
    /// Show the output of this service alone; may be repeated
    #[arg(long, value_name = "SERVICE", help_heading = "In the foreground")]
    pub attach: Vec<String>,
    /// Do not show the output of this service; may be repeated
    #[arg(long, value_name = "SERVICE", help_heading = "In the foreground")]
    pub no_attach: Vec<String>,
    /// Show the output of dependencies of named services too
    #[arg(long, conflicts_with = "attach", help_heading = "In the foreground")]
    pub attach_dependencies: bool,
    /// No names before the lines
    #[arg(long, help_heading = "In the foreground")]
    pub no_log_prefix: bool,
    /// No colours
    #[arg(long, help_heading = "In the foreground")]
    pub no_color: bool,
    /// Accepted as docker compose has it; there is no menu: Ctrl-C stops, and commands are for another terminal
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = clap::builder::BoolishValueParser::new(),
          help_heading = "In the foreground")]
    pub menu: Option<bool>,
    /// Put the time before each line
    #[arg(long, help_heading = "In the foreground")]
    pub timestamps: bool,
}

/// Options about building, of `up`, `create` and `run`.
#[derive(Clone, Debug, clap::Args)]
pub struct BuildArgs {
    /// Build images before anything starts
    #[arg(long, help_heading = "What is made")]
    pub build: bool,
    /// Build nothing, even if an image is missing
    #[arg(long, conflicts_with = "build", help_heading = "What is made")]
    pub no_build: bool,
    /// No progress of building
    #[arg(long, help_heading = "What is made")]
    pub quiet_build: bool,
}

impl BuildArgs {
    /// What the options mean together with `--pull`.
    pub fn choice(&self, pull: Option<Pull>) -> Build {
        match (self.build || pull == Some(Pull::Build), self.no_build) {
            (true, _) => Build::Always,
            (_, true) => Build::Never,
            _ => Build::Missing,
        }
    }
}

/// What `--pull` means for registries.
pub fn pull_policy(pull: Pull) -> Option<PullPolicy> {
    match pull {
        Pull::Always => Some(PullPolicy::Always),
        Pull::Missing => Some(PullPolicy::Missing),
        Pull::Never => Some(PullPolicy::Never),
        Pull::Build | Pull::Policy => None,
    }
}

impl Args {
    /// Brings the project up.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        let project = context.project(&self.services)?;
        let options = self.options(context);
        let detached = self.detach || self.wait || self.wait_timeout.is_some() || self.no_start;
        if detached || session.dry_run {
            up::up(&session, &project, &options)?;
            if (self.wait || self.wait_timeout.is_some()) && !session.dry_run {
                verbs::wait(&session, &project.name, &self.services, self.wait_timeout)?;
            }
            return Ok(Exit::Success);
        }
        if self.menu == Some(true) {
            session.ears.warning(
                "there is no menu: Ctrl-C stops everything, and `rcompose ps`, `logs` or `restart` work in another terminal",
            );
        }
        self.attached(context, &project, options)
    }

    fn options(&self, context: &Context) -> Options {
        let mut options = Options {
            services: self.services.clone(),
            scale: self.scale.clone(),
            pull: self.pull.and_then(pull_policy),
            quiet_pull: self.quiet_pull,
            quiet_build: self.build.quiet_build,
            locked: self.locked,
            renew_volumes: self.yes,
            build: self.build.choice(self.pull),
            ..Options::default()
        };
        options.apply.recreate = match (self.force_recreate, self.no_recreate) {
            (true, _) => Recreate::Force,
            (_, true) => Recreate::Never,
            _ => Recreate::Changed,
        };
        options.apply.recreate_dependencies = self.always_recreate_deps;
        options.apply.renew_anonymous_volumes = self.renew_anon_volumes;
        options.apply.remove_orphans = self.remove_orphans;
        options.apply.ignore_orphans = context.switched_on(IGNORE_ORPHANS);
        options.apply.no_start = self.no_start;
        options.apply.no_dependencies = self.no_deps;
        options.apply.grace_ms =
            self.timeout.map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
        options
    }

    fn attached(&self, context: &Context, project: &Project, options: Options) -> Result<Exit, Report> {
        for service in self.attach.iter().chain(&self.no_attach).chain(&self.exit_code_from) {
            project::require(project, service)?;
        }
        let abort =
            match (&self.exit_code_from, self.abort_on_container_exit, self.abort_on_container_failure) {
                (Some(_), _, true) => {
                    return Err(usage("--exit-code-from and --abort-on-container-failure are incompatible"));
                }
                (None, true, true) => {
                    return Err(usage(
                        "--abort-on-container-exit and --abort-on-container-failure are incompatible",
                    ));
                }
                (Some(service), ..) => Abort::CodeFrom(service.clone()),
                (None, true, _) => Abort::OnExit,
                (None, _, true) => Abort::OnFailure,
                _ => Abort::Never,
            };
        let view = View {
            only: self.attach.clone(),
            not: self.no_attach.clone(),
            dependencies: self.attach_dependencies,
            abort,
        };
        let look = Look {
            prefix: !self.no_log_prefix,
            color: !self.no_color && console::stdout_is_colored(),
            timestamps: self.timestamps,
        };
        let mut screen = Terminal {
            context,
            painter: Painter::new(look),
            out: Lines::for_terminal_if(console::stdout_is_terminal()),
            err: Lines::for_terminal_if(console::stderr_is_terminal()),
            signals: None,
            attaching: None,
        };
        foreground::up(&context.session(), project, &options, &view, &mut screen)
    }
}

/// The foreground of `up`: log lines, and Ctrl-C.
struct Terminal<'a> {
    context: &'a Context,
    painter: Painter,
    out: Lines,
    err: Lines,
    signals: Option<Signals>,
    /// Whose output is shown, until that was said: it stands before the first line of theirs, and behind what is told of
    /// their making.
    attaching: Option<String>,
}

impl Terminal<'_> {
    fn announce(&mut self) {
        if let Some(text) = self.attaching.take() {
            self.context.display.aside(|| console::out_line(&text));
        }
    }
}

impl Screen for Terminal<'_> {
    fn attaching(&mut self, names: &[String]) {
        for name in names {
            self.painter.learn(name);
        }
        self.attaching = Some(format!("Attaching to {}", names.join(", ")));
    }

    fn line(&mut self, name: &str, line: foreground::Line<'_>) {
        let into = if line.is_stderr() { &mut self.err } else { &mut self.out };
        self.painter.line(name, line.time_ns, line.text, into);
    }

    fn flush(&mut self) {
        if self.out.bytes.is_empty() && self.err.bytes.is_empty() {
            return;
        }
        self.announce();
        self.context.display.aside(|| {
            console::out_bytes(&self.out.bytes);
            console::err_bytes(&self.err.bytes);
        });
        self.out.bytes.clear();
        self.err.bytes.clear();
    }

    fn exited(&mut self, name: &str, code: i32, why: Option<&str>) {
        self.flush();
        self.announce();
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        self.context.display.aside(|| console::out_line(&format!("{name} exited with code {code}{why}")));
    }

    fn say(&mut self, text: &str) {
        self.flush();
        self.context.display.aside(|| console::err_line(text));
    }

    fn settled(&mut self) {
        self.flush();
        self.context.display.finish();
        self.announce();
    }

    fn listen(&mut self) -> Result<(), Report> {
        let taken = Signals::take(&[Signal::SIGINT, Signal::SIGTERM])
            .map_err(|error| Report::from_error(Exit::Failure, &error))?;
        self.signals = Some(taken);
        Ok(())
    }

    fn signals(&self) -> Option<BorrowedFd<'_>> {
        self.signals.as_ref().map(AsFd::as_fd)
    }

    fn interrupted(&mut self) -> bool {
        self.signals.as_ref().is_some_and(|signals| matches!(signals.next(), Ok(Some(_))))
    }
}
