//! From the order to graphs: contexts opened, Dockerfiles read, bases looked up.
//!
//! A target whose base is what another target makes is evaluated after it, on its configuration; whose files are whose is
//! sorted out here, so that execution only waits.

mod bases;
mod recipe;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::copy::digest::{Known, file_name};
use super::copy::{Files, Owners};
use super::dockerfile::{self, Dockerfile};
use super::graph::{self, BaseName, ContextKind, Graph, Origin};
use super::ignore::Patterns;
use super::order::{Context as Place, Order, Target};
use super::session::Session;
use super::step::source::{Context, Slot, Sources};
use crate::image::{Image, Platform, Reference};
use crate::progress::build::Word;
use crate::report::{Exit, Report};
use bases::{TargetBases, origins_of};
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

/// Plans all targets.
pub fn plan(session: &Session, order: &Order) -> Result<Vec<Planned>, Report> {
    let results = order.targets.iter().map(|_| Arc::default()).collect();
    let mut planner = Planner {
        session,
        order,
        planned: BTreeMap::new(),
        open: Vec::new(),
        results,
        images: HashMap::new(),
    };
    for number in 0..order.targets.len() {
        if order.targets[number].wanted {
            planner.target(number)?;
        }
    }
    Ok(planner.planned.into_values().collect())
}

struct Planner<'a> {
    session: &'a Session,
    order: &'a Order,
    planned: BTreeMap<usize, Planned>,
    /// Targets that are being planned, for circles.
    open: Vec<usize>,
    results: Vec<Arc<Slot>>,
    images: HashMap<BaseName, Image>,
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
        if !target.no_cache && !self.order.check {
            target.cache_from.iter().for_each(|place| self.session.import(place));
        }
        let recipe = self.recipe(&mut target)?;
        let refuse = |refused: dockerfile::Refused| {
            tell_doubts(self.session, &refused.warnings);
            Report::from(refused)
        };
        let dockerfile = dockerfile::parse(&recipe.text, &recipe.name).map_err(refuse)?;
        let mut sources = Sources::default();
        let ignore = self.contexts(&target, recipe.path.as_deref(), &mut sources)?;
        let mut request = graph::Request::new(Platform::host());
        request.target.clone_from(&target.stage);
        request.args.clone_from(&target.args);
        request.labels.clone_from(&target.labels);
        request.platform.clone_from(&target.platform);
        request.ignore = ignore;
        // Who asks what is doubtful, and names no stage, means all of them.
        request.all_stages = self.order.check && target.stage.is_none();
        request.contexts = target.contexts.iter().map(|(name, place)| (name.clone(), kind(place))).collect();
        let mut bases = TargetBases { planner: self, target: &target };
        let graph = match graph::evaluate(&dockerfile, &request, &mut bases) {
            Ok(graph) => graph,
            Err(refused) => {
                tell_doubts(self.session, &refused.warnings);
                return Err(refused.into());
            }
        };
        tell_doubts(self.session, &graph.warnings);
        if !self.order.check {
            self.origins(&target, &graph, &mut sources)?;
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
        if let Place::Directory(directory) = &target.context {
            ignored = ignore_file(directory, recipe)?;
            let context = self.context(directory, "the build context".to_owned(), ignored.clone())?;
            sources.contexts.insert(String::new(), context);
        }
        for (name, place) in &target.contexts {
            match place {
                Place::Directory(directory) => {
                    let ignored = ignore_file(directory, None)?;
                    let context = self.context(directory, format!("context `{name}`"), ignored)?;
                    sources.contexts.insert(name.clone(), context);
                }
                Place::Target(other) => {
                    sources.targets.insert(name.clone(), Arc::clone(&self.results[*other]));
                }
                Place::Image(_) => {}
                Place::Nothing | Place::Input | Place::Url(_) | Place::Git(_) => {
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
    fn origins(&mut self, target: &Target, graph: &Graph, sources: &mut Sources) -> Result<(), Report> {
        for origin in origins_of(graph) {
            let name = match origin {
                Origin::Image(name) => name.clone(),
                Origin::Named(name) if matches!(target.contexts.get(name), Some(Place::Image(_))) => {
                    let platform = target.platform.clone().unwrap_or_else(Platform::host);
                    let base = BaseName { reference: name.clone(), named: true, platform };
                    let image = self.image(target, &base)?;
                    let slot = Slot::default();
                    slot.give(Some(self.state(&image)?));
                    sources.targets.insert(name.clone(), Arc::new(slot));
                    continue;
                }
                Origin::Named(name) => {
                    // Nobody may have asked for it, and whoever copies from it waits for it.
                    if let Some(Place::Target(other)) = target.contexts.get(name) {
                        self.target(*other)?;
                    }
                    continue;
                }
                _ => continue,
            };
            if let Some(other) = self.sibling(target, &name) {
                self.target(other)?;
                sources.siblings.insert(name, Arc::clone(&self.results[other]));
            } else {
                let image = self.image(target, &name)?;
                sources.images.insert(name, self.state(&image)?);
            }
        }
        Ok(())
    }

    /// The target that makes an image, if one of the order does.
    fn sibling(&self, target: &Target, name: &BaseName) -> Option<usize> {
        if name.named {
            return match target.contexts.get(&name.reference) {
                Some(Place::Target(other)) => Some(*other),
                _ => None,
            };
        }
        let other = self.order.targets.iter().position(|other| other.tags.contains(&name.reference))?;
        // An image that is built on what had its own name before.
        let is_own = self.order.targets[other].tags == target.tags;
        (!is_own).then_some(other)
    }
}

fn kind(place: &Place) -> ContextKind {
    match place {
        Place::Image(_) | Place::Target(_) => ContextKind::Image,
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
