//! `extends:` resolved: the base is cloned, the service is merged over it. Chains are followed, cycles named.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::budget::weight;
use super::diagnostic::Problem;
use super::error::Stop;
use super::loader::{Context, Loader};
use super::merge;
use super::node::{Map, Node, Path as Way, Value};
use super::trace::Rule;
use super::yaml::{self, Taken};

/// How long a chain of bases may be.
const DEPTH: usize = 100;

/// Ways that a document takes out of what stands below it.
pub type Resets = Rc<Vec<Taken>>;

/// A service on the way up a chain.
struct Link {
    file: PathBuf,
    service: String,
}

/// Where a service stands: its file, and the services beside it.
struct Home<'a> {
    file: &'a Path,
    services: &'a Map,
    /// Those that have their bases below them already.
    resolved: &'a mut Map,
}

impl Home<'_> {
    fn get(&self, name: &str) -> Option<&Node> {
        self.resolved.get(name).or_else(|| self.services.get(name))
    }
}

impl Loader<'_> {
    /// Resolves every `extends` of a document. Fails when one of them leads nowhere.
    pub fn apply_extends(
        &mut self,
        root: &mut Node,
        resets: &Resets,
        context: &Context<'_>,
    ) -> Result<(), Stop> {
        let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) else { return Ok(()) };
        let mut home = Home { file: context.file, services, resolved: &mut Map::new() };
        let mut broken: HashSet<String> = HashSet::new();
        for (name, service) in services.iter() {
            if service.get("extends").is_none()
                || home.resolved.contains_key(name)
                || broken.contains(name)
                || self.budget.is_spent()
            {
                continue;
            }
            let mut chain = Vec::new();
            match self.extended(name, &mut home, std::slice::from_ref(resets), &mut chain, context) {
                Ok(_) => {}
                Err(Stop::Problems(problems)) => {
                    self.wrong.add(problems);
                    // The chain is what it went through to get there; those are told with it.
                    broken.insert(name.clone());
                    broken.extend(chain.into_iter().map(|link| link.service));
                }
                Err(error) => return Err(error),
            }
        }
        if !broken.is_empty() {
            return Err(Stop::told());
        }
        let resolved = std::mem::take(home.resolved);
        services.extend(resolved);
        Ok(())
    }

    /// Returns a service with its bases below it, or `None` when it is null.
    fn extended(
        &mut self,
        name: &str,
        home: &mut Home<'_>,
        resets: &[Resets],
        chain: &mut Vec<Link>,
        context: &Context<'_>,
    ) -> Result<Option<Node>, Stop> {
        let Some(service) = home.get(name).filter(|service| !service.is_null()) else {
            return Ok(None);
        };
        let mut service = service.clone();
        let Some(extends) = service.as_map_mut().and_then(|map| map.shift_remove("extends")) else {
            return Ok(Some(service));
        };
        let (base_name, file) = target(&extends, name)?;
        if chain.iter().any(|link| link.file == home.file && link.service == name) || chain.len() >= DEPTH {
            let mut steps: Vec<String> = chain.iter().map(|link| link.service.clone()).collect();
            steps.push(name.to_owned());
            let message = format!("Circular reference: services extend each other: {}", steps.join(" -> "));
            return Err(Problem::at(extends.at, message).into());
        }
        chain.push(Link { file: home.file.to_owned(), service: name.to_owned() });
        let mut resets = resets.to_vec();
        let base = match file {
            Some(file) => {
                let path = context.directory.join(file.as_text().unwrap_or_default());
                let (services, own) = self.base_file(&path, file, name, context)?;
                self.require(&services, base_name, name, &path, file)?;
                resets.push(own);
                let mut home = Home { file: &path, services: &services, resolved: &mut Map::new() };
                self.extended(base_name, &mut home, &resets, chain, context)?
            }
            None => {
                let path = home.file.to_owned();
                self.require(home.services, base_name, name, &path, &extends)?;
                self.extended(base_name, home, &resets, chain, context)?
            }
        };
        chain.pop();
        let merged = match base {
            // A base that says nothing leaves the wish as it was.
            None => {
                service.set("extends", long(extends));
                service
            }
            Some(mut base) => {
                self.budget.values(weight(&base), extends.at, "services that extend others")?;
                for Taken { way, at } in resets.iter().flat_map(|ways| ways.iter()) {
                    if let [section, of, rest @ ..] = way.as_slice()
                        && section == "services"
                        && of == name
                        && !rest.is_empty()
                        && let Some(gone) = yaml::remove(&mut base, rest)
                    {
                        self.trace.beaten(&way.join("."), *at, &gone, Rule::Tag);
                    }
                }
                let path = Way::Root.key("services");
                let (merged, problems) = merge::service(base, service, &path.key(name), &mut self.trace);
                self.wrong.add(problems);
                merged
            }
        };
        home.resolved.insert(name.to_owned(), merged.clone());
        Ok(Some(merged))
    }

    fn require(&self, services: &Map, base: &str, name: &str, file: &Path, at: &Node) -> Result<(), Stop> {
        if services.contains_key(base) {
            return Ok(());
        }
        let message =
            format!("cannot extend service `{name}`: service `{base}` not found in {}", self.shown(file));
        Err(Problem::at(at.at, message).near(base, services.keys().map(String::as_str)).into())
    }

    /// Reads the services of another file, in long form and with their paths absolute.
    fn base_file(
        &mut self,
        path: &Path,
        named: &Node,
        service: &str,
        context: &Context<'_>,
    ) -> Result<(Rc<Map>, Resets), Stop> {
        let key = (path.to_owned(), context.serial);
        if let Some((services, resets)) = self.bases.get(&key) {
            return Ok((services.clone(), resets.clone()));
        }
        let text = named.as_text().unwrap_or_default();
        if super::paths::remote(text) || text.contains("://") {
            let message = format!("cannot extend service `{service}`: `{text}` is not on this machine");
            return Err(Problem::at(named.at, message).hint("fetch it first, and name the file").into());
        }
        if !self.read.is_file(path) {
            let message = format!("cannot extend service `{service}`: file {} not found", self.shown(path));
            return Err(Problem::at(named.at, message).into());
        }
        let (root, resets) = self.base_tree(path, named.at, context)?;
        let Value::Map(mut root) = root.value else { return Ok((Rc::default(), resets)) };
        let Some(Value::Map(services)) = root.shift_remove("services").map(|services| services.value) else {
            let message =
                format!("cannot extend service `{service}`: {} has no services section", self.shown(path));
            return Err(Problem::at(named.at, message).into());
        };
        let services = Rc::new(services);
        self.bases.insert(key, (services.clone(), resets.clone()));
        Ok((services, resets))
    }
}

/// Turns the short form into the long one.
pub fn long(extends: Node) -> Node {
    let Value::Text(_) = extends.value else { return extends };
    let (at, key) = (extends.at, extends.key);
    Node { value: Value::Map(Map::from_iter([("service".to_owned(), extends)])), at, key }
}

/// Returns the base's name, and its file when it is another.
fn target<'a>(extends: &'a Node, name: &str) -> Result<(&'a str, Option<&'a Node>), Stop> {
    let wrong = |message: String| Err(Problem::at(extends.at, message).into());
    match &extends.value {
        Value::Text(base) => Ok((base, None)),
        Value::Map(map) => {
            if let Some((key, value)) =
                map.iter().find(|(key, _)| !matches!(key.as_str(), "service" | "file"))
            {
                let message = format!("services.{name}.extends: `{key}` is no key of extends");
                return Err(Problem::at(value.key, message).near(key, ["service", "file"]).into());
            }
            let Some(base) = map.get("service").and_then(Node::as_text) else {
                return wrong(format!("services.{name}.extends lacks `service`, the name of the base"));
            };
            match map.get("file") {
                Some(file) if file.as_text().is_some() => Ok((base, Some(file))),
                Some(file) if !file.is_null() => {
                    Err(Problem::at(file.at, format!("services.{name}.extends.file must be a string")).into())
                }
                _ => Ok((base, None)),
            }
        }
        _ => wrong(format!("services.{name}.extends must be a string or a mapping, not {}", extends.kind())),
    }
}
