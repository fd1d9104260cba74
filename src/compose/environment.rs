//! What `env_file` and `label_file` say goes into `environment` and `labels` (compose-spec, "env_file"): later files
//! win, the attribute itself wins over all files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::bind::mapping;
use super::diagnostic::Problem;
use super::dotenv;
use super::error::Stop;
use super::interpolate;
use super::loader::Loader;
use super::node::{Map, Node, Span, Value};

impl Loader<'_> {
    /// Reads the env files and label files of every service of a tree, and drops the attributes that named them.
    pub fn resolve_files(
        &mut self,
        services: &mut Map,
        environment: &BTreeMap<String, String>,
    ) -> Result<(), Stop> {
        for (name, service) in services.iter_mut() {
            self.env_files(name, service, environment)?;
            self.label_files(service, environment)?;
        }
        Ok(())
    }

    fn env_files(
        &mut self,
        name: &str,
        service: &mut Node,
        environment: &BTreeMap<String, String>,
    ) -> Result<(), Stop> {
        let files = service.as_map_mut().and_then(|map| map.shift_remove("env_file"));
        let mut own = own_values(service, "environment");
        let place = (own.at, own.key);
        mapping(&mut own, true);
        let Value::Map(mut own) = own.value else { return Ok(()) };
        for (variable, value) in own.iter_mut() {
            if value.is_null()
                && let Some(known) = environment.get(variable)
            {
                value.value = Value::Text(known.clone());
            }
        }
        let mut all = Map::new();
        let mut left = Vec::new();
        for file in files.as_ref().and_then(Node::as_list).unwrap_or_default() {
            let lookup = |name: &str| {
                environment
                    .get(name)
                    .cloned()
                    .or_else(|| own.get(name).and_then(Node::as_text).map(str::to_owned))
            };
            let required = file.get("required").is_none_or(|required| required.value != Value::Bool(false));
            let raw = match file.text_of("format") {
                None | Some("") => false,
                Some("raw") => true,
                Some(format) => {
                    let message = format!("services.{name}.env_file: unsupported env_file format `{format}`");
                    let at = file.get("format").map_or(file.at, |format| format.at);
                    return Err(Problem::at(at, message).hint("leave it out, or write `format: raw`").into());
                }
            };
            let Some(path) = file.get("path") else { continue };
            match self.variables(path, required, raw, "env file", &lookup)? {
                Some(variables) => all.extend(variables),
                None => left.push(file.clone()),
            }
        }
        if let Some(files) = files.filter(|_| !left.is_empty()) {
            service.set("env_file", Node::like(Value::List(left), &files));
        }
        all.extend(own);
        if !all.is_empty() {
            service.set("environment", Node { value: Value::Map(all), at: place.0, key: place.1 });
        }
        Ok(())
    }

    fn label_files(
        &mut self,
        service: &mut Node,
        environment: &BTreeMap<String, String>,
    ) -> Result<(), Stop> {
        let Some(files) = service.as_map_mut().and_then(|map| map.shift_remove("label_file")) else {
            return Ok(());
        };
        let mut own = own_values(service, "labels");
        let place = (own.at, own.key);
        mapping(&mut own, false);
        let lookup = |name: &str| environment.get(name).cloned();
        let mut all = Map::new();
        let mut left = Vec::new();
        for file in files.as_list().unwrap_or_default() {
            match self.variables(file, true, false, "label file", &lookup)? {
                Some(variables) => all.extend(variables),
                None => left.push(file.clone()),
            }
        }
        if !left.is_empty() {
            service.set("label_file", Node::like(Value::List(left), &files));
        }
        if let Value::Map(own) = own.value {
            all.extend(own);
        }
        if !all.is_empty() {
            service.set("labels", Node { value: Value::Map(all), at: place.0, key: place.1 });
        }
        Ok(())
    }

    /// Reads one file. `named` is the path where it is named, for errors. Returns `None` for a missing file that is to
    /// be left to others.
    fn variables(
        &mut self,
        named: &Node,
        required: bool,
        raw: bool,
        what: &'static str,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Map>, Stop> {
        let path = PathBuf::from(named.as_text().unwrap_or_default());
        let shown = self.shown(&path);
        let bytes = match self.read.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if !required {
                    return Ok(Some(Map::new()));
                }
                if self.switches.no_env_resolution {
                    return Ok(None);
                }
                let problem = Problem::at(named.at, format!("{what} {shown} not found"));
                let hint =
                    format!("make it, or allow that it is missing: `- path: {shown}` with `required: false`");
                return Err(problem.hint(hint).into());
            }
            Err(error) => {
                return Err(Problem::at(named.at, format!("cannot read the {what} {shown}: {error}")).into());
            }
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut unset = |name: &str| self.warn(interpolate::unset_warning(name));
        let parsed =
            if raw { dotenv::parse_raw(&text, lookup) } else { dotenv::parse(&text, lookup, &mut unset) };
        match parsed {
            Ok(variables) => {
                let entry = |(name, value): (String, String)| (name, Node::text_like(value, named));
                Ok(Some(variables.into_iter().map(entry).collect()))
            }
            Err(error) => {
                let message = format!("failed to read {shown}: line {}: {}", error.line, error.message);
                let file = self.sources.add(shown, text);
                let at = Span { file, line: error.line, column: 1, width: u32::MAX };
                Err(Problem::at(at, message).also(named.at, "named here").into())
            }
        }
    }
}

/// What a service says itself beside its files.
fn own_values(service: &Node, key: &str) -> Node {
    service.get(key).cloned().unwrap_or_else(|| Node::implied(Value::Map(Map::new()), service))
}
