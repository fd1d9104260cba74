//! From the order to graphs: contexts opened, Dockerfiles read, bases looked up.
//!
//! A target whose base is what another target makes is evaluated after it, on its configuration; whose files are whose is
//! sorted out here, so that execution only waits.

mod bases;
mod recipe;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::copy::digest::{Known, file_name};
use super::copy::{Files, Owners};
use super::dockerfile::{self, Dockerfile};
use super::graph::{self, BaseName, ContextKind, Graph, Origin};
use super::ignore::Patterns;
use super::order::{self, Order, Purpose, Target};
use super::session::Session;
use super::step::source::{Context, Slot, Sources};
use crate::image::{Image, Platform, Reference, Source};
use crate::progress::build::Word;
use crate::report::{self, Exit, Report, nearest};
use bases::{TargetBases, origins_of, source_of};
use recipe::{cannot_read, ignore_file, open_directory};

/// A target that can be executed.
pub struct Planned {
    /// What was ordered.
    pub target: Target,
    /// Its recipe, for places in errors.
    pub dockerfile: Dockerfile,
    /// What is to be done.
    pub graph: Graph,
    /// Whose files its steps can see.
    pub sources: Sources,
}

/// An image that a target is built on, or copies from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The target's name.
    pub target: String,
    /// Where the image comes from.
    pub source: Source,
    /// As it is called in the recipe, or by the context.
    pub name: String,
    /// What for.
    pub platform: Platform,
    /// Where it is named.
    pub place: Option<report::Place>,
}

/// What comes of an order before anything is done.
pub struct Plan {
    /// The targets, those before that others need.
    pub targets: Vec<Planned>,
    /// What they are built on, where only that is wanted.
    pub bases: Vec<Base>,
}

/// Plans all targets.
pub fn plan(session: &Session, order: &Order) -> Result<Plan, Report> {
    let results = order.targets.iter().map(|_| Arc::default()).collect();
    let mut planner = Planner {
        session,
        order,
        planned: BTreeMap::new(),
        open: Vec::new(),
        results,
        images: HashMap::new(),
        bases: Vec::new(),
    };
    for number in 0..order.targets.len() {
        if order.targets[number].wanted {
            planner.target(number)?;
        }
    }
    if order.purpose == Purpose::Build {
        name_unused(session, planner.planned.values());
    }
    let Planner { planned, bases, .. } = planner;
    Ok(Plan { targets: planned.into_values().collect(), bases })
}

/// Says which arguments were given that no recipe takes. One that another target takes was meant for that one.
fn name_unused<'a>(session: &Session, planned: impl Iterator<Item = &'a Planned> + Clone) {
    let is_taken = |name: &String| planned.clone().any(|one| one.graph.declared_args.contains(name));
    for one in planned.clone() {
        let unused: Vec<&str> =
            one.graph.unused_args.iter().filter(|name| !is_taken(name)).map(String::as_str).collect();
        if unused.is_empty() {
            continue;
        }
        let near = |name: &&str| nearest(name, one.graph.declared_args.iter().map(String::as_str));
        let near: Vec<String> = unused.iter().filter_map(near).map(|name| format!("`{name}`")).collect();
        let mut text = format!("One or more build-args [{}] were not consumed", unused.join(" "));
        if !one.target.name.is_empty() {
            text = format!("service `{}`: {text}", one.target.name);
        }
        if !near.is_empty() {
            text.push_str(&format!("; did you mean {}?", near.join(", ")));
        }
        session.tell(Word::Note { text });
    }
}

struct Planner<'a> {
    session: &'a Session,
    order: &'a Order,
    planned: BTreeMap<usize, Planned>,
    /// Targets that are being planned, for circles.
    open: Vec<usize>,
    results: Vec<Arc<Slot>>,
    images: HashMap<(Source, Platform), Image>,
    bases: Vec<Base>,
}

impl Planner<'_> {
    fn target(&mut self, number: usize) -> Result<(), Report> {
        if self.planned.contains_key(&number) {
            return Ok(());
        }
        if self.open.contains(&number) {
            let names: Vec<&str> =
                self.open.iter().chain([&number]).map(|at| self.order.targets[*at].name.as_str()).collect();
            return Err(Report::new(Exit::Build, "images that are built on each other go in a circle")
                .cause(names.join(" → ")));
        }
        self.open.push(number);
        let planned = self.plan_target(number)?;
        self.open.pop();
        self.planned.insert(number, planned);
        Ok(())
    }

    fn plan_target(&mut self, number: usize) -> Result<Planned, Report> {
        let mut target = self.order.targets[number].clone();
        if let Some(refused) = target.refused.take() {
            return Err(*refused);
        }
        if !target.no_cache && self.order.purpose == Purpose::Build {
            target.cache_from.iter().for_each(|place| self.session.import(place));
        }
        let recipe = self.recipe(&mut target)?;
        let refuse = |refused: dockerfile::Refused| {
            tell_doubts(self.session, &refused.warnings);
            Report::from(refused)
        };
        let dockerfile =
            dockerfile::parse_within(&recipe.text, &recipe.name, recipe.within).map_err(refuse)?;
        let mut sources = Sources::default();
        let ignore = self.contexts(&target, recipe.path.as_deref(), &mut sources)?;
        let mut request = graph::Request::new(Platform::host());
        request.target.clone_from(&target.stage);
        request.args.clone_from(&target.args);
        request.labels.clone_from(&target.labels);
        request.platform.clone_from(&target.platform);
        request.ignore = ignore;
        // Who asks what is doubtful, and names no stage, means all of them.
        request.all_stages = self.order.purpose == Purpose::Check && target.stage.is_none();
        request.contexts = target.contexts.iter().map(|(name, place)| (name.clone(), kind(place))).collect();
        let mut bases = TargetBases { planner: self, target: &target, dockerfile: &dockerfile };
        let graph = match graph::evaluate(&dockerfile, &request, &mut bases) {
            Ok(graph) => graph,
            Err(refused) => {
                tell_doubts(self.session, &refused.warnings);
                return Err(refused.into());
            }
        };
        tell_doubts(self.session, &graph.warnings);
        match self.order.purpose {
            Purpose::Build => self.origins(&target, &dockerfile, &graph, &mut sources)?,
            Purpose::Bases => self.name_bases(&target, &dockerfile, &graph)?,
            Purpose::Check => {}
        }
        let stage_name = |stage: &graph::Stage| (stage.name.clone(), Arc::default());
        sources.stages = graph.stages.iter().map(stage_name).collect();
        if let Some(last) = sources.stages.last_mut() {
            last.1 = Arc::clone(&self.results[number]);
        }
        Ok(Planned { target, dockerfile, graph, sources })
    }

    /// Opens the contexts; returns what is ignored in the first one.
    fn contexts(
        &self,
        target: &Target,
        recipe: Option<&Path>,
        sources: &mut Sources,
    ) -> Result<Patterns, Report> {
        let mut ignored = Patterns::default();
        if let order::Context::Directory(directory) = &target.context {
            ignored = ignore_file(directory, recipe)?;
            let context = self.context(directory, "the build context".to_owned(), ignored.clone())?;
            sources.contexts.insert(String::new(), context);
        }
        for (name, place) in &target.contexts {
            match place {
                order::Context::Directory(directory) => {
                    let ignored = ignore_file(directory, None)?;
                    let context = self.context(directory, format!("context `{name}`"), ignored)?;
                    sources.contexts.insert(name.clone(), context);
                }
                order::Context::Target(other) => {
                    sources.targets.insert(name.clone(), Arc::clone(&self.results[*other]));
                }
                order::Context::Image(_) => {}
                // It was not fetched, for no base is named in it.
                order::Context::Url(_) | order::Context::Git(_) if self.order.purpose == Purpose::Bases => {}
                order::Context::Nothing
                | order::Context::Input
                | order::Context::Url(_)
                | order::Context::Git(_) => {
                    return Err(Report::new(Exit::Build, format!("context `{name}` is not here")));
                }
            }
        }
        Ok(ignored)
    }

    fn context(&self, directory: &Path, place: String, ignored: Patterns) -> Result<Arc<Context>, Report> {
        let real = directory.canonicalize().map_err(cannot_read(directory))?;
        let root = open_directory(&real)?;
        let known = Known::load(self.session.sums.join(file_name(&real)));
        Ok(Arc::new(Context { files: Files::new(root.into(), place, ignored, Owners::Root), known }))
    }

    /// Finds the states of all images that the graph reads.
    fn origins(
        &mut self,
        target: &Target,
        dockerfile: &Dockerfile,
        graph: &Graph,
        sources: &mut Sources,
    ) -> Result<(), Report> {
        for origin in origins_of(graph) {
            let at = graph.named_at.get(origin).copied().unwrap_or_default();
            let named = |report: Report| match dockerfile.source.place(at) {
                Some(place) => report.place(place),
                None => report,
            };
            match self.needed(target, origin) {
                Needed::Target(other) => {
                    self.target(other)?;
                    if let Origin::Image(name) = origin {
                        sources.siblings.insert(name.clone(), Arc::clone(&self.results[other]));
                    }
                }
                Needed::Image(name) => {
                    let image = self
                        .image(target, &name)
                        .map_err(|report| named(self.near(report, &name, dockerfile)))?;
                    let state = self.state(&image)?;
                    match origin {
                        Origin::Named(name) => {
                            let slot = Slot::default();
                            slot.give(Some(state));
                            sources.targets.insert(name.clone(), Arc::new(slot));
                        }
                        _ => drop(sources.images.insert(name, state)),
                    }
                }
                Needed::Nothing => {}
            }
        }
        Ok(())
    }

    /// Notes which images the graph reads.
    fn name_bases(&mut self, target: &Target, dockerfile: &Dockerfile, graph: &Graph) -> Result<(), Report> {
        for origin in origins_of(graph) {
            match self.needed(target, origin) {
                Needed::Target(other) => self.target(other)?,
                Needed::Image(name) => {
                    let source = source_of(target, &name)?;
                    let at = graph.named_at.get(origin).copied().unwrap_or_default();
                    let base = Base {
                        target: target.name.clone(),
                        name: source.familiar(),
                        source,
                        platform: name.platform,
                        place: dockerfile.source.place(at),
                    };
                    // What is built on may be copied from as well.
                    if !self.bases.contains(&base) {
                        self.bases.push(base);
                    }
                }
                Needed::Nothing => {}
            }
        }
        Ok(())
    }

    /// What has to be there for the files of an origin.
    fn needed(&self, target: &Target, origin: &Origin) -> Needed {
        match origin {
            Origin::Image(name) => match self.sibling(target, name) {
                Some(other) => Needed::Target(other),
                None => Needed::Image(name.clone()),
            },
            Origin::Named(name) => match target.contexts.get(name) {
                Some(order::Context::Image(_)) => {
                    let platform = target.platform.clone().unwrap_or_else(Platform::host);
                    Needed::Image(BaseName { reference: name.clone(), named: true, platform })
                }
                // Nobody may have asked for it, and whoever copies from it waits for it.
                Some(order::Context::Target(other)) => Needed::Target(*other),
                _ => Needed::Nothing,
            },
            _ => Needed::Nothing,
        }
    }

    /// The target that makes an image, if one of the order does.
    fn sibling(&self, target: &Target, name: &BaseName) -> Option<usize> {
        if name.named {
            return match target.contexts.get(&name.reference) {
                Some(order::Context::Target(other)) => Some(*other),
                _ => None,
            };
        }
        let other = self.order.targets.iter().position(|other| other.tags.contains(&name.reference))?;
        // An image that is built on what had its own name before.
        let is_own = self.order.targets[other].tags == target.tags;
        (!is_own).then_some(other)
    }
}

/// What has to be there before files can be read.
enum Needed {
    /// What another target makes.
    Target(usize),
    /// An image.
    Image(BaseName),
    /// Nothing that is not there.
    Nothing,
}

fn kind(place: &order::Context) -> ContextKind {
    match place {
        order::Context::Image(_) | order::Context::Target(_) => ContextKind::Image,
        _ => ContextKind::Files,
    }
}

fn tell_doubts(session: &Session, warnings: &[dockerfile::Warning]) {
    for warning in warnings {
        session.tell(Word::Doubt {
            rule: warning.rule.name().to_owned(),
            about: warning.rule.about().to_owned(),
            message: warning.message.clone(),
            place: warning.place.clone(),
        });
    }
}

/// Reads the names of an image in full.
pub fn references(tags: &[String]) -> Result<Vec<Reference>, Report> {
    let parse =
        |tag: &String| tag.parse::<Reference>().map_err(|error| Report::from_error(Exit::Build, &error));
    tags.iter().map(parse).collect()
}
