//! `include:`: each entry is a project of its own, with its own directory and variables; when it is whole, its
//! resources are copied in. Cycles are named.

use std::path::{Path, PathBuf};

use super::diagnostic::Problem;
use super::error::Stop;
use super::files::{self, Unsettled};
use super::loader::{Context, Loader};
use super::node::{Map, Node, Value};
use super::paths;
use super::variables::Variables;

/// How deep includes may stand in includes.
const DEPTH: usize = 50;

/// The sections that are copied in.
const SECTIONS: [&str; 6] = ["services", "volumes", "networks", "secrets", "configs", "models"];

/// An entry of `include`.
struct Entry<'a> {
    at: &'a Node,
    paths: Vec<&'a Node>,
    directory: Option<&'a str>,
    env_files: Vec<&'a Node>,
}

impl Loader<'_> {
    /// Loads every entry of a document's `include` and copies its resources into the document.
    pub fn apply_include(&mut self, root: &mut Node, context: &Context<'_>) -> Result<(), Stop> {
        let Some(include) = root.as_map_mut().and_then(|map| map.shift_remove("include")) else {
            return Ok(());
        };
        let list = match &include.value {
            Value::List(list) => list,
            Value::Null => return Ok(()),
            _ => {
                let problem =
                    Problem::at(include.at, format!("`include` must be a list, not {}", include.kind()));
                return Err(problem.hint("write `include: [other/compose.yaml]`").into());
            }
        };
        let mut is_whole = true;
        for (index, item) in list.iter().enumerate() {
            match entry(item, index).and_then(|entry| self.included(&entry, context)) {
                Ok(imported) => self.wrong.add(import(root, imported, item)),
                Err(Stop::Problems(problems)) => {
                    self.wrong.add(problems);
                    is_whole = false;
                }
                Err(error) => return Err(error),
            }
        }
        if is_whole { Ok(()) } else { Err(Stop::told()) }
    }

    fn included(&mut self, entry: &Entry<'_>, context: &Context<'_>) -> Result<Node, Stop> {
        let local = |node: &Node| {
            let text = node.as_text().unwrap_or_default();
            if paths::remote(text) || text.contains("://") {
                let problem =
                    Problem::at(node.at, format!("cannot include `{text}`: it is not on this machine"));
                return Err(Stop::from(problem.hint("fetch it first, and include the file")));
            }
            Ok(PathBuf::from(paths::absolute(text, context.directory, self.home.as_deref())))
        };
        let files = entry.paths.iter().map(|node| local(node)).collect::<Result<Vec<_>, Stop>>()?;
        let Some(first) = files.first() else {
            return Err(Problem::at(entry.at.at, "an include names no path").into());
        };
        for (file, node) in files.iter().zip(&entry.paths) {
            if !self.read.is_file(file) {
                let message = format!("cannot include {}: there is no such file", self.shown(file));
                return Err(Problem::at(node.at, message).into());
            }
        }
        let mut chain = context.chain.to_vec();
        // By their real paths: a symbolic link could give one file a new name each time.
        let real = self.read.real_path(first);
        if chain.contains(&real) || chain.len() >= DEPTH {
            let names: Vec<String> = chain.iter().chain([first]).map(|file| self.shown(file)).collect();
            let message = format!("include cycle detected: {}", names.join(" includes "));
            return Err(Problem::at(entry.at.at, message).into());
        }
        chain.push(real);
        let directory = match entry.directory {
            Some(directory) => {
                let path = PathBuf::from(paths::absolute(directory, context.directory, self.home.as_deref()));
                // What is no directory is taken for a file in one, as the reference does.
                match path.parent() {
                    Some(parent) if !self.read.is_directory(&path) => parent.to_owned(),
                    _ => path,
                }
            }
            None => first.parent().unwrap_or(Path::new("/")).to_owned(),
        };
        let environment = self.included_environment(entry, &directory, context)?;
        self.serial += 1;
        let inner = Context {
            directory: &directory,
            environment: &environment,
            chain: &chain,
            file: first,
            serial: self.serial,
        };
        self.model(&files, entry.at.at, &inner)
    }

    /// The variables of an entry: those of the including project over those of its own env files.
    fn included_environment(
        &mut self,
        entry: &Entry<'_>,
        directory: &Path,
        context: &Context<'_>,
    ) -> Result<Variables, Stop> {
        let mut files = Vec::new();
        for node in &entry.env_files {
            let text = node.as_text().unwrap_or_default();
            let path = PathBuf::from(paths::absolute(text, context.directory, self.home.as_deref()));
            if path != Path::new("/dev/null") && !self.read.is_file(&path) {
                let message = format!("cannot include with env file {}: no such file", self.shown(&path));
                return Err(Problem::at(node.at, message).into());
            }
            files.push(path);
        }
        if entry.env_files.is_empty() {
            let path = directory.join(".env");
            if self.read.is_file(&path) {
                files.push(path);
            }
        }
        let mut warnings = Vec::new();
        let own = files::env_files(&files, context.environment, self.read, &mut warnings)
            .map_err(|error| self.unsettled(error))?;
        warnings.into_iter().for_each(|warning| self.warn(warning));
        let mut environment = context.environment.clone();
        environment.fill_up(own);
        Ok(environment)
    }

    /// Turns a problem with env files into one with a place.
    pub fn unsettled(&mut self, error: Unsettled) -> Stop {
        match error {
            Unsettled::Error(error) => error.into(),
            Unsettled::EnvFile(bad) => {
                let message = format!("failed to read {}: {}", self.shown(&bad.path), bad.error.message);
                let name = self.shown(&bad.path);
                let file = self.sources.add(name, bad.text);
                let at = super::node::Span { file, line: bad.error.line, column: 1, width: u32::MAX };
                Problem::at(at, message).into()
            }
        }
    }
}

/// Copies the resources of an included project, and returns those that are there already.
fn import(root: &mut Node, imported: Node, entry: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Value::Map(mut imported) = imported.value else { return problems };
    for section in SECTIONS {
        let Some(from) = imported.shift_remove(section) else { continue };
        let at = from.at;
        let Value::Map(from) = from.value else { continue };
        let Some(root) = root.as_map_mut() else { continue };
        let to = root.entry(section.to_owned()).or_insert_with(|| Node {
            value: Value::Map(Map::new()),
            at,
            key: at,
        });
        if to.is_null() {
            to.value = Value::Map(Map::new());
        }
        let Some(to) = to.as_map_mut() else { continue };
        for (name, resource) in from {
            match to.get(&name) {
                None => {
                    to.insert(name, resource);
                }
                Some(own) if *own == resource => {}
                Some(own) => problems.push(
                    Problem::at(own.key, format!("{section}.{name} conflicts with imported resource"))
                        .also(resource.key, "the imported one")
                        .also(entry.at, "imported here")
                        .hint("rename one of them, or change the imported one in an override file"),
                ),
            }
        }
    }
    problems
}

fn entry(item: &Node, index: usize) -> Result<Entry<'_>, Stop> {
    let mut entry = Entry { at: item, paths: Vec::new(), directory: None, env_files: Vec::new() };
    let map = match &item.value {
        Value::Text(_) => {
            entry.paths.push(item);
            return Ok(entry);
        }
        Value::Map(map) => map,
        _ => {
            let message = format!("include.{index} must be a path or a mapping, not {}", item.kind());
            return Err(Problem::at(item.at, message).into());
        }
    };
    for (key, value) in map {
        match key.as_str() {
            "path" => entry.paths = texts(value, "include.path")?,
            "env_file" => entry.env_files = texts(value, "include.env_file")?,
            "project_directory" => entry.directory = value.as_text().filter(|text| !text.is_empty()),
            _ => {
                let problem =
                    Problem::at(value.key, format!("include.{index}: `{key}` is no key of an include"));
                return Err(problem.near(key, ["path", "env_file", "project_directory"]).into());
            }
        }
    }
    Ok(entry)
}

fn texts<'a>(node: &'a Node, path: &str) -> Result<Vec<&'a Node>, Stop> {
    let list = match &node.value {
        Value::Text(_) => return Ok(vec![node]),
        Value::List(list) => list,
        _ => return Err(Problem::at(node.at, format!("{path} must be a string or a list of them")).into()),
    };
    match list.iter().find(|item| item.as_text().is_none()) {
        Some(item) => Err(Problem::at(item.at, format!("{path} must be a list of strings")).into()),
        None => Ok(list.iter().collect()),
    }
}
