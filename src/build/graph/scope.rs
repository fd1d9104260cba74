//! A stage while it is walked: variables, arguments and configuration as they grow.

use indexmap::IndexMap;

use crate::build::check::Findings;
use crate::build::dockerfile::{Expanded, Fault, Lexer, Problem, Rule, Span, Unexpandable, Word};
use crate::image::{History, ImageConfig, Platform};

/// What a process finds programs by when nothing else is said.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What BuildKit marks its lines of history with.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// Variables by name.
pub(super) type Vars = IndexMap<String, String>;

/// The state of a stage between two instructions.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    /// What variables expand to and what processes get: `ENV` and `ARG`.
    pub env: Vars,
    /// Arguments that were declared, with their values, each once.
    pub args: IndexMap<String, Option<String>>,
    /// The image as it is now.
    pub config: ImageConfig,
    /// Whether WORKDIR was used in this Dockerfile.
    pub workdir_set: bool,
    /// Where CMD was used in this stage.
    pub cmd: Option<Span>,
    /// Where ENTRYPOINT was used in this stage.
    pub entrypoint: Option<Span>,
    /// Where HEALTHCHECK was used in this stage.
    pub healthcheck: Option<Span>,
}

impl Scope {
    /// Begins on a base image.
    pub fn on_image(config: ImageConfig) -> Scope {
        let mut scope = Scope {
            env: Vars::new(),
            args: IndexMap::new(),
            config,
            workdir_set: false,
            cmd: None,
            entrypoint: None,
            healthcheck: None,
        };
        scope.config.created = None;
        scope.begin();
        scope
    }

    /// Begins on nothing.
    pub fn on_scratch(platform: &Platform) -> Scope {
        Scope::on_image(ImageConfig {
            working_dir: "/".to_owned(),
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            ..ImageConfig::default()
        })
    }

    /// Begins where another stage ended: its arguments are still there.
    pub fn on_stage(base: &Scope) -> Scope {
        let mut scope = Scope { cmd: None, entrypoint: None, healthcheck: None, ..base.clone() };
        scope.begin();
        scope
    }

    fn begin(&mut self) {
        // Triggers of the base were for this stage, and are gone.
        self.config.on_build.clear();
        if !self.config.env.iter().any(|pair| pair.starts_with("PATH=")) {
            self.config.env.push(format!("PATH={PATH}"));
        }
        for pair in &self.config.env {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            define(&mut self.env, name, value);
        }
        if !self.config.working_dir.is_empty() {
            self.config.working_dir = join(&self.config.working_dir, "");
        }
    }

    /// Sets a variable of the image.
    pub fn set_env(&mut self, name: &str, value: &str) {
        define(&mut self.env, name, value);
        let pair = format!("{name}={value}");
        let same =
            |known: &&mut String| known.split_once('=').map_or(known.as_str(), |(name, _)| name) == name;
        match self.config.env.iter_mut().find(same) {
            Some(known) => *known = pair,
            None => self.config.env.push(pair),
        }
    }

    /// Returns the directory that relative paths begin at.
    pub fn workdir(&self) -> &str {
        if self.config.working_dir.is_empty() { "/" } else { &self.config.working_dir }
    }

    /// Returns a path as it is seen from the working directory.
    pub fn absolute(&self, path: &str) -> String {
        join(self.workdir(), path)
    }

    /// Adds a line of history.
    pub fn record(&mut self, created_by: &str, layer: bool) {
        self.config.history.push(History {
            created: None,
            created_by: Some(created_by.to_owned()),
            comment: Some(COMMENT.to_owned()),
            empty_layer: !layer,
        });
    }

    /// Expands a word, and tells of variables that are not defined.
    pub fn expand(&self, lexer: Lexer, word: &Word, findings: &mut Findings) -> Result<Expanded, Fault> {
        match lexer.expand(&word.text, &self.env) {
            Ok(expanded) => {
                self.check_defined(&expanded.unmatched, word.at, findings);
                Ok(expanded)
            }
            Err(failed) => {
                self.check_defined(&failed.unmatched, word.at, findings);
                Err(unexpandable(&word.text, word.at, &failed))
            }
        }
    }

    /// Tells of variables that are not defined.
    pub fn check_defined(&self, unmatched: &[String], at: Span, findings: &mut Findings) {
        for name in unmatched.iter().filter(|name| !self.args.contains_key(*name)) {
            let near = crate::report::nearest(name, self.env.keys().map(String::as_str));
            let near = near.map_or_else(String::new, |near| format!(", did you mean `${near}`?"));
            findings.add(Rule::UndefinedVar, at, format!("the variable `${name}` is not defined{near}"));
        }
    }
}

/// Sets a variable; one that is set anew becomes the last, as processes of BuildKit see it.
pub(super) fn define(env: &mut Vars, name: &str, value: &str) {
    env.shift_remove(name);
    env.insert(name.to_owned(), value.to_owned());
}

/// A word that cannot be expanded.
pub(super) fn unexpandable(text: &str, at: Span, failed: &Unexpandable) -> Fault {
    Box::new(Problem::at(at, format!("`{text}` cannot be expanded: {}", failed.reason)))
}

/// Puts a path behind a directory, unless it is absolute, and cleans it by its text: no `.`, no `..`, no double slash.
pub(super) fn join(directory: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
