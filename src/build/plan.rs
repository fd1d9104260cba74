//! From the order to graphs: contexts opened, Dockerfiles read, bases looked up.
//!
//! A target whose base is what another target makes is evaluated after it, on its configuration; whose files are whose is
//! sorted out here, so that execution only waits.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::cache::KeyMaker;
use super::copy::digest::{Known, file_name};
use super::copy::{Files, Owners};
use super::dockerfile::{self, Dockerfile};
use super::error::{Error, failed};
use super::graph::{self, BaseName, Bases, ContextKind, Graph, Origin};
use super::ignore::Patterns;
use super::order::{Context as Place, Dockerfile as Recipe, Order, Target};
use super::remote::Brought;
use super::session::Session;
use super::state::{InUse, State};
use super::step::source::{Context, Slot, Sources};
use crate::image::{self, Image, ImageConfig, Platform, Reference, Source, registry};
use crate::progress::Progress;
use crate::progress::build::{How, Word};
use crate::report::{Exit, Report};
use crate::sys::fs::open_in_root;

/// Larger Dockerfiles are none.
const MAX_DOCKERFILE: u64 = 16 << 20;

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
        self.bring(&mut target)?;
        let (text, name, beside) = self.recipe(&target)?;
        let refuse = |refused: dockerfile::Refused| {
            tell_doubts(self.session, &refused.warnings);
            Report::from(refused)
        };
        let dockerfile = dockerfile::parse(&text, &name).map_err(refuse)?;
        let mut sources = Sources::default();
        let ignore = self.contexts(&target, beside.as_deref(), &mut sources)?;
        let mut request = graph::Request::new(Platform::host());
        request.target.clone_from(&target.stage);
        request.args.clone_from(&target.args);
        request.labels.clone_from(&target.labels);
        request.platform = Some(target.platform.clone());
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

    /// Fetches contexts that are elsewhere; they are directories afterwards.
    fn bring(&self, target: &mut Target) -> Result<(), Report> {
        match self.session.bring(&target.context)? {
            Brought::AsItIs => {}
            Brought::Directory(path) => target.context = Place::Directory(path),
            Brought::Dockerfile(path) => {
                target.context = Place::Nothing;
                if matches!(target.dockerfile, Recipe::InContext(_)) {
                    let text = read_limited(File::open(&path), &path)?;
                    target.dockerfile = Recipe::Text { name: "Dockerfile".to_owned(), text };
                }
            }
        }
        for (name, place) in &mut target.contexts {
            match self.session.bring(place)? {
                Brought::AsItIs => {}
                Brought::Directory(path) => *place = Place::Directory(path),
                Brought::Dockerfile(_) => {
                    return Err(Report::new(Exit::Build, format!("context `{name}` is no archive")));
                }
            }
        }
        Ok(())
    }

    /// Reads the recipe; returns its text, its name and, for a file, its path in the context or on this machine.
    fn recipe(&self, target: &Target) -> Result<(Vec<u8>, PathBuf, Option<PathBuf>), Report> {
        match &target.dockerfile {
            Recipe::Text { name, text } => Ok((text.clone(), PathBuf::from(name), None)),
            Recipe::File(path) => {
                let text = read_limited(File::open(path), path)?;
                Ok((text, path.clone(), Some(path.clone())))
            }
            Recipe::InContext(path) => {
                let Place::Directory(directory) = &target.context else {
                    return Err(Report::new(Exit::Build, format!("there is no context with `{path}` in it")));
                };
                let root = open_directory(directory)?;
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let opened = open_in_root(&root, path.as_bytes(), flags, Mode::empty()).map(File::from);
                let text = read_limited(opened, &directory.join(path))?;
                Ok((text, PathBuf::from(path), Some(directory.join(path))))
            }
        }
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
                    let base =
                        BaseName { reference: name.clone(), named: true, platform: target.platform.clone() };
                    let image = self.image(target, &base)?;
                    let slot = Slot::default();
                    slot.give(Some(self.state(&image)?));
                    sources.targets.insert(name.clone(), Arc::new(slot));
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

    /// The image of a name, fetched if it is not here.
    fn image(&mut self, target: &Target, name: &BaseName) -> Result<Image, Report> {
        if let Some(image) = self.images.get(name) {
            return Ok(image.clone());
        }
        let text = match (name.named, target.contexts.get(&name.reference)) {
            (true, Some(Place::Image(text))) => text.clone(),
            _ => name.reference.clone(),
        };
        let source: Source = text.parse().map_err(|error| Report::from_error(Exit::Build, &error))?;
        let image = fetch(self.session, &source, &name.platform, target.pull)?;
        if image.host_userland
            || image.manifest == image.id && image.layers.len() == 1 && text.starts_with("rootfs:")
        {
            return Err(Report::new(
                Exit::Build,
                format!("nothing can be built on `{text}`: it is no image"),
            ));
        }
        self.images.insert(name.clone(), image.clone());
        Ok(image)
    }

    fn state(&self, image: &Image) -> Result<State, Report> {
        Ok(state_of(self.session, image)?)
    }
}

/// The files of an image of the store.
fn state_of(session: &Session, image: &Image) -> Result<State, Error> {
    let parts = session.store.parts(&image.manifest)?;
    session.lease.keep(parts.layers.iter().flat_map(|part| [&part.blob, &part.chain]))?;
    let Some(top) = parts.layers.last() else { return Ok(State::nothing()) };
    let id = KeyMaker::new("image").with("chain", top.chain.to_string()).make();
    let layers = parts
        .layers
        .into_iter()
        .map(|part| {
            let directory = session.store.layer(&part.chain).ok_or_else(|| Error::Unsupported {
                what: format!("layer {} is gone from the store", part.chain.short()),
                hint: Some("build again".to_owned()),
            })?;
            Ok(Arc::new(InUse { directory, packed: None, part: Some(part), made_by: None }))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    Ok(State { id, layers })
}

/// Makes an image present, told as a step when it has to be fetched.
fn fetch(session: &Session, source: &Source, platform: &Platform, anew: bool) -> Result<Image, Report> {
    let store = &session.store;
    let anew = anew && matches!(source, Source::Registry(_));
    if !anew && let Some(image) = image::resolve(store, source, platform)? {
        return Ok(image);
    }
    let told = session.tell_begin(&format!("[internal] load image {}", source.familiar()));
    let sink = |progress: Progress| {
        let ended = progress.state != crate::progress::State::Working;
        told.part(&format!("{} {}", progress.task, progress.text), progress.done, progress.total, ended);
    };
    let fetched = match source {
        Source::Registry(reference) if anew => registry::pull(store, reference, platform, &sink),
        source => image::fetch(store, source, platform, &sink),
    };
    match fetched {
        Ok(image) => {
            told.end(How::Done);
            Ok(image)
        }
        Err(error) => {
            let report = Report::from(error);
            told.end(How::Failed(report.message.clone()));
            Err(report)
        }
    }
}

fn kind(place: &Place) -> ContextKind {
    match place {
        Place::Image(_) | Place::Target(_) => ContextKind::Image,
        _ => ContextKind::Files,
    }
}

/// All that the stages of a graph read, each once.
fn origins_of(graph: &Graph) -> Vec<&Origin> {
    use graph::{Action, MountKind};
    let mut all: Vec<&Origin> = Vec::new();
    for stage in &graph.stages {
        all.push(&stage.base);
        for step in &stage.steps {
            match &step.action {
                Action::Copy(copy) => all.push(&copy.from),
                Action::Run(run) => {
                    all.extend(run.mounts.iter().filter_map(|mount| match &mount.kind {
                        MountKind::Bind(bind) => Some(&bind.from),
                        MountKind::Cache { seed: Some((origin, _)), .. } => Some(origin),
                        _ => None,
                    }));
                }
                Action::Nothing | Action::MakeDirectory { .. } => {}
            }
        }
    }
    all
}

/// What base images say of themselves, for one target.
struct TargetBases<'a, 'b> {
    planner: &'a mut Planner<'b>,
    target: &'a Target,
}

impl Bases for TargetBases<'_, '_> {
    fn configs(&mut self, wanted: &[BaseName]) -> Vec<Result<ImageConfig, Report>> {
        let check = self.planner.order.check;
        let known = |name: &BaseName, found: Result<ImageConfig, Report>| match found {
            // Most of what can be said of a recipe does not depend on its base.
            Err(_) if check => Ok(ImageConfig {
                os: name.platform.os.clone(),
                architecture: name.platform.architecture.clone(),
                variant: name.platform.variant.clone(),
                ..ImageConfig::default()
            }),
            found => found,
        };
        wanted.iter().map(|name| known(name, self.config(name))).collect()
    }
}

impl TargetBases<'_, '_> {
    fn config(&mut self, name: &BaseName) -> Result<ImageConfig, Report> {
        if let Some(other) = self.planner.sibling(self.target, name) {
            self.planner.target(other)?;
            let last = self.planner.planned.get(&other).and_then(|planned| planned.graph.stages.last());
            return last.map(|stage| stage.config.clone()).ok_or_else(|| {
                Report::new(Exit::Build, format!("nothing is known of `{}`", name.reference))
            });
        }
        Ok(self.planner.image(self.target, name)?.config)
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

/// `Dockerfile.dockerignore` beside the recipe wins over `.dockerignore` of the context.
fn ignore_file(context: &Path, recipe: Option<&Path>) -> Result<Patterns, Report> {
    let own = recipe.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    for path in own.into_iter().chain([context.join(".dockerignore")]) {
        if let Some(text) = crate::host::files::read_if_there(&path)
            .map_err(|error| Report::from_error(Exit::Build, &error))?
        {
            return Patterns::parse(&text).map_err(|invalid| {
                Report::new(Exit::Build, format!("`{}`, line {}: {invalid}", path.display(), invalid.line))
            });
        }
    }
    Ok(Patterns::default())
}

fn cannot_read(path: &Path) -> impl FnOnce(std::io::Error) -> Report {
    move |error| {
        Report::new(Exit::Build, format!("cannot read `{}`", path.display())).cause(error.to_string())
    }
}

fn open_directory(path: &Path) -> Result<File, Report> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map(File::from);
    opened.map_err(|error| {
        Report::new(Exit::Build, format!("cannot open the context `{}`", path.display()))
            .cause(std::io::Error::from(error).to_string())
    })
}

fn read_limited(opened: std::io::Result<File>, path: &Path) -> Result<Vec<u8>, Report> {
    let file = opened.map_err(|error| {
        let report = Report::new(Exit::Build, format!("cannot read the Dockerfile `{}`", path.display()));
        report.cause(error.to_string())
    })?;
    let mut text = Vec::new();
    file.take(MAX_DOCKERFILE).read_to_end(&mut text).map_err(failed(format!("read `{}`", path.display())))?;
    Ok(text)
}

/// Reads the names of an image in full.
pub fn references(tags: &[String]) -> Result<Vec<Reference>, Report> {
    let parse =
        |tag: &String| tag.parse::<Reference>().map_err(|error| Report::from_error(Exit::Build, &error));
    tags.iter().map(parse).collect()
}
