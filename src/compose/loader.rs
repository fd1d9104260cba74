//! The phases, in order (compose-features §15): each document → interpolate → extends → include → merge → unique →
//! check → long form; after all: defaults → semantics → paths → names → profiles → references → env files → model.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use indexmap::{IndexMap, IndexSet};

use super::budget::Budget;
use super::diagnostic::{Findings, Problem, Sources};
use super::error::{Error, Stop};
use super::extends::{self, Resets};
use super::files::{self, Read, Request, Setting, Switches, normalized_name};
use super::interpolate::Filler;
use super::model::{Project, Service};
use super::node::{Map, Node, Path as Way, Span, Value};
use super::places::Places;
use super::trace::{Rule, Step, Trace};
use super::variables::{Origin, Variables};
use super::wrong::Wrong;
use super::yaml::Taken;
use super::{
    bind, canonical, consistency, decode, interpolate, merge, normalize, resolve, schema, select, text,
    touched, validate, yaml,
};

/// What a service costs in the model, however little it says: it has a place for every attribute.
const SERVICE_WEIGHT: usize = 32;

/// Everything that phases share.
pub struct Loader<'a> {
    /// How files are read.
    pub read: &'a dyn Read,
    /// What was read.
    pub sources: Sources,
    /// What was found on the way.
    pub warnings: IndexSet<String>,
    /// Dependencies that no file declares and that may be missing.
    pub undeclared: Vec<String>,
    /// What is refused.
    pub wrong: Wrong,
    /// The home directory of the caller.
    pub home: Option<String>,
    /// Services of files that others extend, by file and context.
    pub bases: HashMap<(PathBuf, usize), (Rc<Map>, Resets)>,
    /// The number of the latest context.
    pub serial: usize,
    /// How much may still be made.
    pub budget: Budget,
    /// What happens to values, when it is asked for.
    pub trace: Trace,
    /// Env files and label files of services, by path, as the sources number them.
    pub env_texts: HashMap<PathBuf, u32>,
    /// What to leave out.
    pub switches: Switches,
    here: PathBuf,
}

/// What a file is read for.
pub struct Context<'a> {
    /// Where its relative paths start.
    pub directory: &'a Path,
    /// What its variables stand for.
    pub environment: &'a Variables,
    /// The files that include each other down to it.
    pub chain: &'a [PathBuf],
    /// The file itself.
    pub file: &'a Path,
    /// A number that no other context has.
    pub serial: usize,
}

/// A file, taken apart.
struct Parsed {
    path: PathBuf,
    documents: Vec<yaml::Document>,
}

/// A whole tree before it becomes a project.
pub struct Whole {
    /// Everything, in long form.
    pub root: Node,
    /// The project's name.
    pub name: Node,
    /// The variables.
    pub environment: Variables,
}

impl<'a> Loader<'a> {
    /// Prepares to load.
    pub fn new(request: &Request, read: &'a dyn Read) -> Loader<'a> {
        Loader {
            read,
            sources: Sources::default(),
            warnings: IndexSet::new(),
            undeclared: Vec::new(),
            wrong: Wrong::default(),
            home: request.environment.get("HOME").cloned(),
            bases: HashMap::new(),
            serial: 0,
            budget: Budget::default(),
            trace: Trace::default(),
            env_texts: HashMap::new(),
            switches: request.switches,
            here: request.current_directory.clone(),
        }
    }

    /// Returns a path as the user would type it.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.here).unwrap_or(path).display().to_string()
    }

    /// Loads the project.
    pub fn project(&mut self, request: &Request, setting: &Setting) -> Result<Project, Stop> {
        let Whole { mut root, name, environment } = self.whole(request, setting)?;
        if let Some(services) = root.get("services")
            && let Some(map) = services.as_map()
        {
            self.budget.values(map.len() * SERVICE_WEIGHT, services.place(), "services")?;
        }
        let mut disabled = self.split_profiles(&mut root, request, setting);
        if !self.switches.no_consistency {
            let (problems, undeclared) = consistency::references(&root, &disabled, &self.wrong);
            self.wrong.add(problems);
            self.undeclared = undeclared.into_iter().map(|warning| self.placed(warning)).collect();
        } else {
            canonical::set_aside(&mut root);
        }
        if let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) {
            self.resolve_files(services, &request.services, &environment)?;
        }
        self.wrong.add(bind::tree(&mut root, &mut self.budget));
        if !self.wrong.is_empty() {
            return Err(Stop::told());
        }
        root.set("name", name);
        let mut project: Project = decode::decode(&root)?;
        for service in disabled.values_mut() {
            let mut wrapped = wrap(service);
            // A service that does not take part may be half-written; what can be read of it is kept.
            bind::tree(&mut wrapped, &mut self.budget);
            if let Some(map) = wrapped.as_map_mut()
                && let Some(Value::Map(mut services)) = map.shift_remove("services").map(|node| node.value)
                && let Some(bound) = services.shift_remove("x")
            {
                *service = bound;
            }
        }
        let mut inactive = Node::made(Value::Map(disabled));
        project.disabled_services = decode::decode::<IndexMap<String, Service>>(&inactive)?;
        project.working_dir = setting.directory.clone();
        project.files = setting.files.clone();
        if let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) {
            services.extend(inactive.as_map_mut().map(std::mem::take).unwrap_or_default());
        }
        project.places = Places::new(root, std::mem::take(&mut self.sources));
        project.environment = environment.into_values();
        for (name, service) in project.services.iter_mut().chain(project.disabled_services.iter_mut()) {
            service.name.clone_from(name);
        }
        if !request.all_resources {
            select::drop_unused(&mut project);
        }
        Ok(project)
    }

    /// Reads, merges and completes all files.
    pub fn whole(&mut self, request: &Request, setting: &Setting) -> Result<Whole, Stop> {
        self.warnings.extend(setting.warnings.iter().cloned());
        let parsed = self.parse_all(&setting.files, request.stdin.as_deref(), Span::NOWHERE)?;
        let mut environment = setting.environment.clone();
        let name = self.project_name(request, setting, &parsed)?;
        let text = name.as_text().unwrap_or_default().to_owned();
        environment.set("COMPOSE_PROJECT_NAME", text.clone(), Origin::ProjectName);
        let first = setting.files.first().cloned().unwrap_or_default();
        if parsed.iter().all(|file| file.documents.is_empty()) {
            return Err(Error::Empty { path: first }.into());
        }
        let chain = [self.read.real_path(&first)];
        let context = Context {
            directory: &setting.directory,
            environment: &environment,
            chain: &chain,
            file: &first,
            serial: 0,
        };
        let mut root = self.tree(parsed, &context)?;
        if !self.switches.no_normalize {
            let nothing = Variables::default();
            let values = if self.switches.no_interpolate { &nothing } else { &environment };
            normalize::tree(&mut root, &text, values, &mut self.trace);
        }
        Ok(Whole { root, name, environment })
    }

    /// Reads and merges the files of an included project.
    pub fn model(&mut self, files: &[PathBuf], at: Span, context: &Context<'_>) -> Result<Node, Stop> {
        let parsed = self.parse_all(files, None, at)?;
        self.tree(parsed, context)
    }

    fn tree(&mut self, parsed: Vec<Parsed>, context: &Context<'_>) -> Result<Node, Stop> {
        let mut root = Node::made(Value::Map(Map::new()));
        for file in parsed {
            let context = Context { file: &file.path, ..*context };
            for document in file.documents {
                self.lay_over(&mut root, document, &context)?;
            }
        }
        canonical::fill_defaults(&mut root);
        let problems = consistency::semantics(&root, &self.wrong);
        self.wrong.add(problems);
        if !self.switches.no_path_resolution || context.serial > 0 {
            let home = self.home.clone();
            resolve::tree(&mut root, &resolve::Base { directory: context.directory, home: home.as_deref() });
            self.real_watch_paths(&mut root);
        }
        normalize::contents(&mut root, context.environment);
        Ok(root)
    }

    /// Lays a document over what stands.
    fn lay_over(
        &mut self,
        base: &mut Node,
        document: yaml::Document,
        context: &Context<'_>,
    ) -> Result<(), Stop> {
        let yaml::Document { mut root, resets } = document;
        let resets = Resets::new(resets);
        if root.as_map().is_none() {
            let message = format!("top-level object must be a mapping, not {}", root.kind());
            let problem = Problem::at(root.at, message);
            return Err(problem.hint("its services stand below the key `services:`").into());
        }
        if let Err(stop) = self.complete(&mut root, base, &resets, context) {
            return Err(self.and_else_wrong(&mut root, stop));
        }
        let part = touched::take(base, &root);
        let (mut merged, problems) = merge::files(part, root, &mut self.trace);
        self.wrong.add(problems);
        self.wrong.add(merge::unique(&mut merged, &mut self.trace));
        self.check(&merged, self.switches.no_interpolate)?;
        if let Some(version) = merged.as_map_mut().and_then(|map| map.shift_remove("version")) {
            let name = self.sources.name(version.at.file).to_owned();
            let path = if name.starts_with('/') { name } else { self.here.join(name).display().to_string() };
            self.warn(format!(
                "{path}: the attribute `version` is obsolete, it will be ignored, please remove it to avoid potential confusion"
            ));
        }
        self.spell_out(&mut merged, self.switches.no_interpolate)?;
        self.wrong.add(merge::unique(&mut merged, &mut self.trace));
        touched::put_back(base, merged);
        Ok(())
    }

    /// Brings into a document what it names: variables, the bases of services, included projects.
    fn complete(
        &mut self,
        root: &mut Node,
        base: &mut Node,
        resets: &Resets,
        context: &Context<'_>,
    ) -> Result<(), Stop> {
        self.interpolate(root, context)?;
        self.apply_extends(root, resets, context)?;
        self.take_out(base, resets);
        self.apply_include(root, context)
    }

    /// Says in the same breath what else is wrong in a document that cannot be completed, as far as it can be seen.
    fn and_else_wrong(&mut self, root: &mut Node, stop: Stop) -> Stop {
        let Stop::Problems(problems) = stop else { return stop };
        self.wrong.add(problems);
        match self.check(root, true).and_then(|()| self.spell_out(root, true)) {
            Ok(()) => Stop::told(),
            Err(stop) => stop,
        }
    }

    /// Takes out of a tree what a later document resets or overrides.
    fn take_out(&mut self, base: &mut Node, resets: &[Taken]) {
        for Taken { way, at } in resets {
            if let Some(gone) = yaml::remove(base, way) {
                self.trace.beaten(&way.join("."), *at, &gone, Rule::Tag);
            }
        }
    }

    /// Reads a file that another extends: long form, paths absolute, not checked yet.
    pub fn base_tree(
        &mut self,
        path: &Path,
        at: Span,
        context: &Context<'_>,
    ) -> Result<(Node, Resets), Stop> {
        let parsed = self.parse(path, None, at)?;
        let mut root = Node::made(Value::Map(Map::new()));
        let mut ways = Vec::new();
        for document in parsed.documents {
            let mut over = document.root;
            self.interpolate(&mut over, context)?;
            self.take_out(&mut root, &document.resets);
            ways.extend(document.resets);
            let (merged, problems) = merge::files(root, over, &mut self.trace);
            root = merged;
            self.wrong.add(problems);
            self.wrong.add(merge::unique(&mut root, &mut self.trace));
            self.spell_out(&mut root, self.switches.no_interpolate)?;
        }
        if let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) {
            // `extends` in its long form has its path made absolute like all others.
            for extends in services.values_mut().filter_map(|service| service.get_mut("extends")) {
                *extends = extends::long(extends.clone());
            }
        }
        let home = self.home.clone();
        let directory = path.parent().unwrap_or(Path::new("/"));
        resolve::tree(&mut root, &resolve::Base { directory, home: home.as_deref() });
        Ok((root, Resets::new(ways)))
    }

    fn interpolate(&mut self, root: &mut Node, context: &Context<'_>) -> Result<(), Stop> {
        if self.switches.no_interpolate {
            return Ok(());
        }
        let mut filler = Filler::new(context.environment, &mut self.budget, &mut self.trace);
        filler.tree(root, &Way::Root);
        let Filler { problems, unset, .. } = filler;
        for name in unset {
            self.warn(interpolate::unset_warning(&name));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.into()) }
    }

    fn check(&mut self, root: &Node, raw: bool) -> Result<(), Stop> {
        self.take(validate::check(root, &schema::FILE, raw))
    }

    fn spell_out(&mut self, root: &mut Node, raw: bool) -> Result<(), Stop> {
        let findings = canonical::spell_out(root, raw, &mut self.budget);
        self.take(findings)
    }

    /// Passes warnings on and keeps problems. Fails when too much was made: all that follows would say so again.
    fn take(&mut self, findings: Findings) -> Result<(), Stop> {
        for warning in findings.warnings {
            let warning = self.placed(warning);
            self.warn(warning);
        }
        self.wrong.add(findings.problems);
        if self.budget.is_spent() { Err(Stop::told()) } else { Ok(()) }
    }

    /// Adds what was found wrong to the end of the work, whatever it was.
    pub fn judge<T>(&mut self, result: Result<T, Stop>) -> Result<T, Stop> {
        match result {
            Err(Stop::Problems(problems)) => self.wrong.add(problems),
            other if self.wrong.is_empty() => return other,
            _ => {}
        }
        Err(self.wrong.take().into())
    }

    /// Writes the place of a warning behind it.
    fn placed(&self, (warning, Span { file, line, column, .. }): (String, Span)) -> String {
        match line {
            0 => warning,
            _ => format!("{warning} ({}:{line}:{column})", self.sources.name(file)),
        }
    }

    /// Says something once.
    pub fn warn(&mut self, warning: String) {
        self.warnings.insert(warning);
    }

    /// Reads several files. Fails with what is no YAML in any of them.
    fn parse_all(&mut self, paths: &[PathBuf], stdin: Option<&[u8]>, at: Span) -> Result<Vec<Parsed>, Stop> {
        let mut all = Vec::with_capacity(paths.len());
        for path in paths {
            match self.parse(path, stdin, at) {
                Ok(parsed) => all.push(parsed),
                Err(Stop::Problems(problems)) => self.wrong.add(problems),
                Err(error) => return Err(error),
            }
        }
        if all.len() == paths.len() { Ok(all) } else { Err(Stop::told()) }
    }

    fn parse(&mut self, path: &Path, stdin: Option<&[u8]>, at: Span) -> Result<Parsed, Stop> {
        self.budget.file(at)?;
        let bytes = match stdin {
            Some(stdin) if path == Path::new("-") => stdin.to_vec(),
            _ => self.read.read(path).map_err(|source| Error::Read {
                what: "Compose file",
                path: path.to_owned(),
                source,
            })?,
        };
        if bytes.len() > yaml::LARGEST {
            let source = io::Error::new(io::ErrorKind::FileTooLarge, "it is too large for a Compose file");
            return Err(Error::Read { what: "Compose file", path: path.to_owned(), source }.into());
        }
        let name = self.shown(path);
        let file = match text::decode(&bytes) {
            Ok(text) => self.sources.add(name, text),
            Err(text::NoText { message, hint, line, column }) => {
                let file = self.sources.add(name, String::from_utf8_lossy(&bytes).into_owned());
                return Err(Problem::at(Span { file, line, column, width: 1 }, message).hint(hint).into());
            }
        };
        Ok(Parsed {
            path: path.to_owned(),
            documents: yaml::parse(&self.sources, file, &mut self.budget, &mut self.trace)?,
        })
    }

    /// The name: `-p`, then `COMPOSE_PROJECT_NAME`, then the last file's `name`, then the directory's.
    fn project_name(
        &mut self,
        request: &Request,
        setting: &Setting,
        parsed: &[Parsed],
    ) -> Result<Node, Stop> {
        const VARIABLE: &str = "COMPOSE_PROJECT_NAME";
        if let Some(name) = request.project_name.as_ref().filter(|name| !name.is_empty()) {
            return self.named(files::project_name(name)?, || Step::Given("with `-p`".to_owned()));
        }
        if let Some(name) = setting.environment.filled(VARIABLE) {
            let origin = setting.environment.origin(VARIABLE);
            let step = || Step::Taken { variable: VARIABLE.to_owned(), origin };
            return self.named(files::project_name(name)?, step);
        }
        let mut names =
            parsed.iter().flat_map(|file| &file.documents).filter_map(|document| document.root.get("name"));
        if let Some(node) = names.next_back() {
            let mut node = node.clone();
            let mut filler = Filler::new(&setting.environment, &mut self.budget, &mut self.trace);
            filler.tree(&mut node, &Way::Root.key("name"));
            let problems = filler.problems;
            self.wrong.add(problems);
            let name = normalized_name(node.as_text().unwrap_or_default());
            if !name.is_empty() {
                return Ok(Node::text_like(name, &node));
            }
        }
        let last = |path: &Path| normalized_name(&path.file_name().unwrap_or_default().to_string_lossy());
        let found = [last(&setting.directory), last(&self.here)].into_iter().find(|name| !name.is_empty());
        let name = found.ok_or(Stop::Error(Error::NoName))?;
        self.named(name, || Step::Given("by the name of the directory".to_owned()))
    }

    /// Makes a name that stands in no file.
    fn named(&mut self, name: String, how: impl FnOnce() -> Step) -> Result<Node, Stop> {
        self.trace.tell(&"name", Span::NOWHERE, how);
        Ok(Node::made(Value::Text(name)))
    }

    /// Takes the services out whose profiles are not active.
    fn split_profiles(&mut self, root: &mut Node, request: &Request, setting: &Setting) -> Map {
        let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) else { return Map::new() };
        let profiles_of = |service: &Node| -> Vec<String> {
            let list = service.get("profiles").and_then(Node::as_list).unwrap_or_default();
            list.iter().filter_map(Node::as_text).map(str::to_owned).collect()
        };
        let mut active: Vec<String> = setting.profiles.clone();
        for name in &request.services {
            active.extend(services.get(name).map(profiles_of).unwrap_or_default());
        }
        let everything = active.iter().any(|profile| profile == "*");
        let takes_part = |service: &Node| {
            let profiles = profiles_of(service);
            // The profile without a name is what a variable without a value leaves; it is always active.
            let is_active = |profile: &String| profile.is_empty() || active.contains(profile);
            everything || profiles.is_empty() || profiles.iter().any(is_active)
        };
        let (on, off): (Map, Map) =
            std::mem::take(services).into_iter().partition(|(_, service)| takes_part(service));
        *services = on;
        off
    }

    /// Watched paths are followed through symbolic links, for that is how the kernel names them in events.
    fn real_watch_paths(&self, root: &mut Node) {
        for service in
            root.get_mut("services").and_then(Node::as_map_mut).into_iter().flat_map(Map::values_mut)
        {
            let rules = service.get_mut("develop").and_then(|develop| develop.get_mut("watch"));
            let Some(Value::List(rules)) = rules.map(|node| &mut node.value) else { continue };
            for rule in rules {
                if let Some(Value::Text(path)) = rule.get_mut("path").map(|node| &mut node.value) {
                    *path = self.read.real_path(Path::new(path.as_str())).display().to_string();
                }
            }
        }
    }
}

/// Puts a service into a tree of its own.
fn wrap(service: &Node) -> Node {
    let services = Node::made(Value::Map(Map::from_iter([("x".to_owned(), service.clone())])));
    Node::made(Value::Map(Map::from_iter([("services".to_owned(), services)])))
}
