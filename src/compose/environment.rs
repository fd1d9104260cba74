//! What `env_file` and `label_file` say goes into `environment` and `labels` (compose-spec, "env_file"): later files
//! win, the attribute itself wins over all files.

use std::path::{Path as FilePath, PathBuf};

use super::bind::mapping;
use super::budget::weight_of;
use super::diagnostic::Problem;
use super::dotenv::{self, Variables as FileVariables};
use super::error::Stop;
use super::loader::Loader;
use super::node::{Map, Node, Path, Span, Value};
use super::trace::{Rule, Step};
use super::variables::Variables;
use super::{interpolate, select};

/// A file that a service names.
struct Named<'a> {
    /// Where it is named.
    node: &'a Node,
    /// It must be there.
    required: bool,
    /// It has the plain syntax.
    raw: bool,
    /// What kind of file it is.
    what: &'static str,
}

impl Loader<'_> {
    /// Reads the env files and label files of every service of a tree, and drops the attributes that named them. Files
    /// that are missing are passed over for services that those chosen do without (none chosen is all).
    pub fn resolve_files(
        &mut self,
        services: &mut Map,
        chosen: &[String],
        environment: &Variables,
    ) -> Result<(), Stop> {
        let section = Path::Root.key("services");
        let needed = select::needed(services, chosen);
        for (name, service) in services.iter_mut() {
            let path = section.key(name);
            let needed = needed.as_ref().is_none_or(|needed| needed.contains(name));
            for read in [Self::env_files, Self::label_files] {
                match read(self, &path, service, needed, environment) {
                    Err(Stop::Problems(problems)) => self.wrong.add(problems),
                    other => other?,
                }
                if self.budget.is_spent() {
                    return Err(Stop::told());
                }
            }
        }
        Ok(())
    }

    fn env_files(
        &mut self,
        path: &Path<'_>,
        service: &mut Node,
        needed: bool,
        environment: &Variables,
    ) -> Result<(), Stop> {
        let files = service.as_map_mut().and_then(|map| map.shift_remove("env_file"));
        if files.is_none() && service.get("environment").is_none() {
            return Ok(());
        }
        let mut own = own_values(service, "environment", true);
        for (variable, value) in own.as_map_mut().into_iter().flatten() {
            if value.is_null()
                && let Some(known) = environment.get(variable)
            {
                let step =
                    || Step::Taken { variable: variable.clone(), origin: environment.origin(variable) };
                self.trace.tell(&path.key("environment").key(variable), value.at, step);
                value.value = Value::Text(known.clone());
            }
        }
        let own_value = |name: &str| own.get(name).and_then(Node::as_text);
        let lookup = |name: &str| environment.get(name).map(String::as_str).or_else(|| own_value(name));
        let mut all = Map::new();
        let mut left = Vec::new();
        for file in files.as_ref().and_then(Node::as_list).unwrap_or_default() {
            let Some(node) = file.get("path") else { continue };
            let named = Named {
                node,
                required: needed
                    && file.get("required").is_none_or(|required| required.value != Value::Bool(false)),
                raw: is_raw(file, path)?,
                what: "env file",
            };
            match self.file(&named, &lookup)? {
                Some(variables) => self.lay_over_values(&mut all, variables, &path.key("environment")),
                None => left.push(file.clone()),
            }
        }
        self.keep(service, "environment", all, own, path);
        if let Some(files) = files.filter(|_| !left.is_empty()) {
            service.set("env_file", Node::like(Value::List(left), &files));
        }
        Ok(())
    }

    fn label_files(
        &mut self,
        path: &Path<'_>,
        service: &mut Node,
        needed: bool,
        environment: &Variables,
    ) -> Result<(), Stop> {
        let Some(map) = service.as_map_mut() else { return Ok(()) };
        let Some(files) = map.shift_remove("label_file") else { return Ok(()) };
        let own = own_values(service, "labels", false);
        let lookup = |name: &str| environment.get(name).map(String::as_str);
        let mut all = Map::new();
        let mut left = Vec::new();
        for file in files.as_list().unwrap_or_default() {
            let named = Named { node: file, required: needed, raw: false, what: "label file" };
            match self.file(&named, &lookup)? {
                Some(variables) => self.lay_over_values(&mut all, variables, &path.key("labels")),
                None => left.push(file.clone()),
            }
        }
        self.keep(service, "labels", all, own, path);
        if !left.is_empty() {
            service.set("label_file", Node::like(Value::List(left), &files));
        }
        Ok(())
    }

    fn lay_over_values(&mut self, all: &mut Map, more: Map, path: &Path<'_>) {
        for (name, value) in more {
            let at = value.at;
            if let Some(other) = all.insert(name.clone(), value) {
                self.trace.beaten(&path.key(&name), at, &other, Rule::EnvFile);
            }
        }
    }

    /// Puts what the files say below what the service says itself.
    fn keep(&mut self, service: &mut Node, key: &str, mut all: Map, own: Node, path: &Path<'_>) {
        let place = (own.at, own.key);
        if let Value::Map(own) = own.value {
            self.lay_over_values(&mut all, own, &path.key(key));
        }
        if !all.is_empty() {
            service.set(key, Node { value: Value::Map(all), at: place.0, key: place.1 });
        }
    }

    /// Reads one file. Returns `None` for a missing one that is to be left to others.
    fn file<'a>(
        &mut self,
        named: &Named<'_>,
        lookup: &dyn Fn(&str) -> Option<&'a str>,
    ) -> Result<Option<Map>, Stop> {
        let path = PathBuf::from(named.node.as_text().unwrap_or_default());
        let Some(file) = self.text_of(&path, named)? else {
            return Ok(if named.required { None } else { Some(Map::new()) });
        };
        let mut unset = Vec::new();
        let text = self.sources.text(file);
        let parsed = if named.raw {
            dotenv::parse_raw(text, lookup)
        } else {
            dotenv::parse(text, lookup, &mut |name| unset.push(interpolate::unset_warning(name)))
        };
        unset.into_iter().for_each(|warning| self.warn(warning));
        let variables = parsed.map_err(|error| {
            let message =
                format!("failed to read {}: line {}: {}", self.shown(&path), error.line, error.message);
            Problem::at(line(file, error.line), message).also(named.node.at, "named here")
        })?;
        let weight = variables.iter().map(|(name, given)| weight_of(name) + weight_of(&given.value)).sum();
        self.budget.values(weight, named.node.at, "env files and label files")?;
        Ok(Some(nodes(variables, file)))
    }

    /// Reads a file once, however many services name it. Returns `None` for a missing one that may be missing.
    fn text_of(&mut self, path: &FilePath, named: &Named<'_>) -> Result<Option<u32>, Stop> {
        if let Some(file) = self.env_texts.get(path) {
            return Ok(Some(*file));
        }
        self.budget.file(named.node.at)?;
        let shown = self.shown(path);
        let Named { node, required, what, .. } = named;
        let bytes = match self.read.read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if !required || self.switches.no_env_resolution {
                    return Ok(None);
                }
                let problem = Problem::at(node.at, format!("{what} {shown} not found"));
                let hint =
                    format!("make it, or allow that it is missing: `- path: {shown}` with `required: false`");
                return Err(problem.hint(hint).into());
            }
            Err(error) => {
                return Err(Problem::at(node.at, format!("cannot read the {what} {shown}: {error}")).into());
            }
        };
        let file = self.sources.add(shown, String::from_utf8_lossy(&bytes).into_owned());
        self.env_texts.insert(path.to_owned(), file);
        Ok(Some(file))
    }
}

fn is_raw(file: &Node, path: &Path<'_>) -> Result<bool, Stop> {
    let Some(format) = file.get("format") else { return Ok(false) };
    match format.as_text() {
        None | Some("") => Ok(false),
        Some("raw") => Ok(true),
        Some(text) => {
            let message = format!("{path}.env_file: unsupported env_file format `{text}`");
            Err(Problem::at(format.at, message).hint("leave it out, or write `format: raw`").into())
        }
    }
}

/// What a service says itself beside its files.
fn own_values(service: &Node, key: &str, nullable: bool) -> Node {
    let mut own = service.get(key).cloned().unwrap_or_else(|| Node::implied(Value::Map(Map::new()), service));
    mapping(&mut own, nullable);
    own
}

fn nodes(variables: FileVariables, file: u32) -> Map {
    let entry = |(name, given): (String, dotenv::Assigned)| {
        let at = line(file, given.line);
        (name, Node { value: Value::Text(given.value), at, key: at })
    };
    variables.into_iter().map(entry).collect()
}

/// A whole line.
fn line(file: u32, line: u32) -> Span {
    Span { file, line, column: 1, width: u32::MAX }
}
