//! Base images: found in the store or fetched, and what they say of themselves.

use std::sync::Arc;

use super::Planner;
use crate::build::cache::KeyMaker;
use crate::build::dockerfile::Dockerfile;
use crate::build::error::Error;
use crate::build::graph::{self, BaseName, Bases, Graph, Origin};
use crate::build::order::{self, Purpose, Target};
use crate::build::session::Session;
use crate::build::state::{InUse, State};
use crate::image::{self, Image, ImageConfig, Platform, Reference, Source, registry};
use crate::progress::Progress;
use crate::progress::build::{How, Word};
use crate::report::{Exit, Report, nearest};

impl Planner<'_> {
    /// The image of a name, fetched if it is not here.
    pub(super) fn image(&mut self, target: &Target, name: &BaseName) -> Result<Image, Report> {
        let named = source_of(target, name)?;
        // What a context is called says nothing: another target may call another image so.
        let key = (named.clone(), name.platform.clone());
        if let Some(image) = self.images.get(&key) {
            return Ok(image.clone());
        }
        let (source, anew) = match &self.order.locked {
            // A digest never means anything new.
            Some(locked) => (locked.apply(&named)?, false),
            None => (named.clone(), target.pull),
        };
        if matches!(named, Source::Rootfs { .. }) {
            return Err(Report::new(
                Exit::Build,
                format!("nothing can be built on `{named}`: it is no image"),
            ));
        }
        let image = fetch(self.session, &source, &name.platform, anew)?;
        if let Some(locked) = &self.order.locked {
            locked.check(&named, &image)?;
        }
        self.images.insert(key, image.clone());
        Ok(image)
    }

    /// Says what may have been meant by an image that cannot be had: a stage, or an image that is here.
    pub(super) fn near(&self, report: Report, name: &BaseName, dockerfile: &Dockerfile) -> Report {
        let Ok(reference) = name.reference.parse::<Reference>() else { return report };
        if name.named {
            return report;
        }
        let familiar = reference.familiar();
        let bare = familiar.trim_end_matches(":latest");
        let stages = dockerfile.stages.iter().filter_map(|stage| stage.from.name.as_ref());
        if let Some(stage) = nearest(bare, stages.map(|name| name.text.as_str())) {
            return report.hint(format!("did you mean the stage `{stage}`?"));
        }
        let here = self.session.store.list().unwrap_or_default();
        let here: Vec<String> = here
            .iter()
            .flat_map(|image| &image.names)
            .filter_map(|name| Some(name.parse::<Reference>().ok()?.familiar()))
            .collect();
        match nearest(&familiar, here.iter().map(String::as_str)) {
            Some(image) if *image != *familiar => {
                report.hint(format!("did you mean `{image}`, which is here?"))
            }
            _ => report,
        }
    }

    pub(super) fn state(&self, image: &Image) -> Result<State, Report> {
        Ok(state_of(self.session, image)?)
    }
}

/// Where an image comes from.
pub(super) fn source_of(target: &Target, name: &BaseName) -> Result<Source, Report> {
    let text = match (name.named, target.contexts.get(&name.reference)) {
        (true, Some(order::Context::Image(text))) => text,
        _ => &name.reference,
    };
    text.parse().map_err(|error| Report::from_error(Exit::Build, &error))
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
            let report = image::not_had(source, error);
            told.end(How::Failed(report.message.clone()));
            Err(report)
        }
    }
}

/// All that the stages of a graph read, each once.
pub(super) fn origins_of(graph: &Graph) -> Vec<&Origin> {
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
pub(super) struct TargetBases<'a, 'b> {
    pub planner: &'a mut Planner<'b>,
    pub target: &'a Target,
    pub dockerfile: &'a Dockerfile,
}

impl Bases for TargetBases<'_, '_> {
    fn configs(&mut self, wanted: &[BaseName]) -> Vec<Result<ImageConfig, Report>> {
        wanted.iter().map(|name| self.config_for(name)).collect()
    }
}

impl TargetBases<'_, '_> {
    /// What a base says of itself, as far as the order's purpose needs it.
    fn config_for(&mut self, name: &BaseName) -> Result<ImageConfig, Report> {
        let unknown = || ImageConfig {
            os: name.platform.os.clone(),
            architecture: name.platform.architecture.clone(),
            variant: name.platform.variant.clone(),
            ..ImageConfig::default()
        };
        match self.planner.order.purpose {
            // What is here is looked at, for its triggers may copy from further images; nothing is fetched for that.
            Purpose::Bases if self.planner.sibling(self.target, name).is_none() => {
                let source = source_of(self.target, name)?;
                let here = image::resolve(&self.planner.session.store, &source, &name.platform);
                Ok(here.ok().flatten().map_or_else(unknown, |image| image.config))
            }
            // Most of what can be said of a recipe does not depend on its base.
            Purpose::Check => self.config(name).or_else(|report| {
                let reason = report.message;
                let base =
                    source_of(self.target, name).map_or_else(|_| name.reference.clone(), |it| it.familiar());
                let text = format!(
                    "the base `{base}` was not looked at, so nothing that depends on it is checked: {reason}"
                );
                self.planner.session.tell(Word::Note { text });
                Ok(unknown())
            }),
            _ => self.config(name),
        }
    }

    fn config(&mut self, name: &BaseName) -> Result<ImageConfig, Report> {
        if let Some(other) = self.planner.sibling(self.target, name) {
            self.planner.target(other)?;
            let last = self.planner.planned.get(&other).and_then(|planned| planned.graph.stages.last());
            return last.map(|stage| stage.config.clone()).ok_or_else(|| {
                Report::new(Exit::Build, format!("nothing is known of `{}`", name.reference))
            });
        }
        let image = self.planner.image(self.target, name);
        Ok(image.map_err(|report| self.planner.near(report, name, self.dockerfile))?.config)
    }
}
