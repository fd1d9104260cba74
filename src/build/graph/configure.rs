//! Instructions that change the image's configuration and, but for WORKDIR, no file.

use crate::build::dockerfile::{
    ArgItem, Command, Fault, Healthcheck, Instruction, Kind, Pair, Problem, Rule, Span, Word, write_duration,
};
use crate::image::{self, ImageConfig};

use super::evaluate::Walk;
use super::scope::{Scope, define, join};
use super::write::{list, quoted_list};
use super::{Action, expose, signal};

/// What shell forms run in, unless SHELL says otherwise.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Words in the name of a variable that tell a secret; and those that tell that it is none.
const SECRETS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
const NO_SECRETS: [&str; 3] = ["public", "file", "version"];

impl Walk<'_> {
    pub(super) fn configure(
        &mut self,
        scope: &mut Scope,
        instruction: &Instruction,
    ) -> Result<Action, Fault> {
        let at = instruction.at;
        match &instruction.kind {
            Kind::Arg(items) => self.arg(scope, items),
            Kind::Cmd(command) => Ok(self.cmd(scope, command, at)),
            Kind::Entrypoint(command) => Ok(self.entrypoint(scope, command, at)),
            Kind::Env(pairs) => self.env(scope, pairs),
            Kind::Expose(ports) => self.expose(scope, ports),
            Kind::Healthcheck(check) => Ok(self.healthcheck(scope, check, at)),
            Kind::Label(pairs) => self.label(scope, pairs),
            Kind::Maintainer(name) => {
                scope.config.author = Some(name.text.clone());
                Ok(Walk::nothing(scope, &format!("MAINTAINER {}", name.text)))
            }
            Kind::OnBuild(text) => {
                scope.config.on_build.push(text.clone());
                Ok(Action::Nothing)
            }
            Kind::Shell(words) => {
                scope.config.shell = Some(words.clone());
                Ok(Walk::nothing(scope, &format!("SHELL {}", list(words))))
            }
            Kind::StopSignal(word) => self.stop_signal(scope, word),
            Kind::User(word) => self.user(scope, word),
            Kind::Volume(paths) => self.volume(scope, paths),
            Kind::Workdir(word) => self.workdir(scope, word),
            Kind::Add(_) | Kind::Copy(_) | Kind::Run(_) => {
                unreachable!("they change files and are taken elsewhere")
            }
        }
    }

    /// Expands one word.
    pub(super) fn word(&mut self, scope: &Scope, word: &Word) -> Result<String, Fault> {
        Ok(scope.expand(self.lexer, word, self.findings)?.text)
    }

    fn arg(&mut self, scope: &mut Scope, items: &[ArgItem]) -> Result<Action, Fault> {
        let mut line = String::from("ARG");
        for item in items {
            let name = item.name.text.as_str();
            self.check_secret("ARG", name, item.name.at);
            // What is given wins, then the default, then an argument of the same name before the first FROM.
            let value = match (self.request.args.get(name), &item.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.word(scope, default)?),
                (None, None) => self.globals.get(name).cloned(),
            };
            line.push_str(&format!(" {name}"));
            if let Some(value) = &value {
                line.push_str(&format!("={value}"));
                define(&mut scope.env, name, value);
            }
            scope.args.insert(name.to_owned(), value);
        }
        Ok(Walk::nothing(scope, &line))
    }

    /// All values of a line see the variables as they were before it.
    fn env(&mut self, scope: &mut Scope, pairs: &[Pair]) -> Result<Action, Fault> {
        let expanded = self.pairs(scope, "ENV", pairs)?;
        let mut line = String::from("ENV");
        for (pair, (name, value)) in pairs.iter().zip(&expanded) {
            self.check_secret("ENV", name, pair.name.at);
            line.push_str(&format!(" {name}={value}"));
            scope.set_env(name, value);
        }
        Ok(Walk::nothing(scope, &line))
    }

    fn label(&mut self, scope: &mut Scope, pairs: &[Pair]) -> Result<Action, Fault> {
        let mut line = String::from("LABEL");
        for (name, value) in self.pairs(scope, "LABEL", pairs)? {
            line.push_str(&format!(" {name}={value}"));
            scope.config.labels.insert(name, value);
        }
        Ok(Walk::nothing(scope, &line))
    }

    fn pairs(
        &mut self,
        scope: &Scope,
        keyword: &str,
        pairs: &[Pair],
    ) -> Result<Vec<(String, String)>, Fault> {
        let mut expanded = Vec::with_capacity(pairs.len());
        for pair in pairs {
            if pair.legacy {
                let message = format!("write `{keyword} name=value` instead of `{keyword} name value`");
                self.findings.add(Rule::LegacyKeyValueFormat, pair.name.at, message);
            }
            let name = self.word(scope, &pair.name)?;
            if name.is_empty() {
                return Problem::at(pair.name.at, format!("the name `{}` is empty", pair.name.text)).fail();
            }
            expanded.push((name, self.word(scope, &pair.value)?));
        }
        Ok(expanded)
    }

    fn cmd(&mut self, scope: &mut Scope, command: &Command, at: Span) -> Action {
        self.check_once("CMD", scope.cmd.replace(at));
        let args = self.command(scope, "CMD", command, at);
        scope.config.cmd = Some(args.clone()).filter(|args| !args.is_empty());
        scope.config.args_escaped = true;
        Walk::nothing(scope, &format!("CMD {}", quoted_list(&args)))
    }

    fn entrypoint(&mut self, scope: &mut Scope, command: &Command, at: Span) -> Action {
        self.check_once("ENTRYPOINT", scope.entrypoint.replace(at));
        let args = self.command(scope, "ENTRYPOINT", command, at);
        scope.config.entrypoint = Some(args.clone()).filter(|args| !args.is_empty());
        // The arguments of the base were meant for its own program.
        if scope.cmd.is_none() {
            scope.config.cmd = None;
        }
        Walk::nothing(scope, &format!("ENTRYPOINT {}", quoted_list(&args)))
    }

    fn command(&mut self, scope: &Scope, keyword: &str, command: &Command, at: Span) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(line) => {
                if scope.config.shell.is_none() {
                    let message = format!("{keyword} should be a JSON list: signals do not pass the shell");
                    self.findings.add(Rule::JSONArgsRecommended, at, message);
                }
                in_shell(&scope.config, &line.text)
            }
        }
    }

    fn expose(&mut self, scope: &mut Scope, words: &[Word]) -> Result<Action, Fault> {
        let mut exposed = Vec::new();
        for word in words {
            for text in scope.expand(self.lexer, word, self.findings)?.words {
                let ports = expose::parse(&text).map_err(|reason| Problem::at(word.at, reason))?;
                if ports.casing {
                    let message = format!("the protocol of `{text}` should be in lower case");
                    self.findings.add(Rule::ExposeProtoCasing, word.at, message);
                }
                if ports.mapping {
                    let message = format!("`{text}` names more than a port of the container");
                    self.findings.add(Rule::ExposeInvalidFormat, word.at, message);
                }
                exposed.extend(ports.ports);
            }
        }
        for port in &exposed {
            add(&mut scope.config.exposed_ports, port);
        }
        Ok(Walk::nothing(scope, &format!("EXPOSE {}", list(&exposed))))
    }

    fn healthcheck(&mut self, scope: &mut Scope, check: &Healthcheck, at: Span) -> Action {
        self.check_once("HEALTHCHECK", scope.healthcheck.replace(at));
        let nanoseconds = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let found = match check {
            Healthcheck::None => image::Healthcheck { test: vec!["NONE".to_owned()], ..Default::default() },
            Healthcheck::Probe { command, interval, timeout, start_period, start_interval, retries } => {
                let test = match command {
                    Command::Exec(words) => [&["CMD".to_owned()], words.as_slice()].concat(),
                    Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line.text.clone()],
                };
                image::Healthcheck {
                    test,
                    interval_ns: nanoseconds(*interval),
                    timeout_ns: nanoseconds(*timeout),
                    start_period_ns: nanoseconds(*start_period),
                    start_interval_ns: nanoseconds(*start_interval),
                    retries: *retries,
                }
            }
        };
        let time = |nanoseconds| write_duration(std::time::Duration::from_nanos(nanoseconds));
        let line = format!(
            "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
            list(&found.test),
            time(found.interval_ns),
            time(found.timeout_ns),
            time(found.start_period_ns),
            time(found.start_interval_ns),
            found.retries
        );
        scope.config.healthcheck = Some(found);
        Walk::nothing(scope, &line)
    }

    fn stop_signal(&mut self, scope: &mut Scope, word: &Word) -> Result<Action, Fault> {
        let signal = self.word(scope, word)?;
        signal::check(&signal).map_err(|reason| Problem::at(word.at, reason))?;
        scope.config.stop_signal = Some(signal.clone());
        Ok(Walk::nothing(scope, &format!("STOPSIGNAL {signal}")))
    }

    fn user(&mut self, scope: &mut Scope, word: &Word) -> Result<Action, Fault> {
        let user = self.word(scope, word)?;
        if user.contains(char::is_whitespace) {
            return Problem::at(word.at, format!("`{user}` is no user: it has spaces"))
                .hint("USER takes one `user` or `user:group`, names or numbers")
                .fail();
        }
        scope.config.user.clone_from(&user);
        Ok(Walk::nothing(scope, &format!("USER {user}")))
    }

    fn volume(&mut self, scope: &mut Scope, words: &[Word]) -> Result<Action, Fault> {
        let mut paths = Vec::with_capacity(words.len());
        for word in words {
            let path = self.word(scope, word)?;
            if path.is_empty() {
                return Problem::at(word.at, format!("the path `{}` is empty", word.text)).fail();
            }
            paths.push(path);
        }
        for path in &paths {
            add(&mut scope.config.volumes, path);
        }
        Ok(Walk::nothing(scope, &format!("VOLUME {}", list(&paths))))
    }

    fn workdir(&mut self, scope: &mut Scope, word: &Word) -> Result<Action, Fault> {
        let path = self.word(scope, word)?;
        if !scope.workdir_set && !path.starts_with('/') {
            let message = format!("where `{path}` is depends on the base image");
            self.findings.add(Rule::WorkdirRelativePath, word.at, message);
        }
        scope.workdir_set = true;
        let path = join(scope.workdir(), &path);
        scope.config.working_dir.clone_from(&path);
        let line = format!("WORKDIR {path}");
        if path == "/" {
            return Ok(Walk::nothing(scope, &line));
        }
        scope.record(&line, true);
        Ok(Action::MakeDirectory { path, owner: scope.config.user.clone() })
    }

    /// Of several, only the last counts: the one before is told.
    fn check_once(&mut self, keyword: &str, before: Option<Span>) {
        if let Some(at) = before {
            let message = format!("another {keyword} follows in this stage, and only the last counts");
            self.findings.add(Rule::MultipleInstructionsDisallowed, at, message);
        }
    }

    fn check_secret(&mut self, keyword: &str, name: &str, at: Span) {
        let lower = name.to_lowercase();
        let has = |known: &[&str]| lower.split('_').any(|word| known.contains(&word));
        if has(&SECRETS) && !has(&NO_SECRETS) {
            let message = format!("the value of {keyword} `{name}` can be read in the image");
            self.findings.add(Rule::SecretsUsedInArgOrEnv, at, message);
        }
    }
}

/// Returns what runs a line in the shell of the image.
pub(super) fn in_shell(config: &ImageConfig, line: &str) -> Vec<String> {
    let mut args = config.shell.clone().unwrap_or_else(|| SHELL.map(str::to_owned).to_vec());
    args.push(line.to_owned());
    args
}

/// Adds what is not there yet, in order.
fn add(list: &mut Vec<String>, item: &str) {
    if let Err(at) = list.binary_search_by(|known| known.as_str().cmp(item)) {
        list.insert(at, item.to_owned());
    }
}
