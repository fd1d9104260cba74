//! Base images: found in the store or fetched, and what they say of themselves.

use std::sync::Arc;

use super::Planner;
use crate::build::cache::KeyMaker;
use crate::build::error::Error;
use crate::build::graph::{self, BaseName, Bases, Graph, Origin};
use crate::build::order::{Context as Place, Target};
use crate::build::session::Session;
use crate::build::state::{InUse, State};
use crate::image::{self, Image, ImageConfig, Platform, Source, registry};
use crate::progress::Progress;
use crate::progress::build::How;
use crate::report::{Exit, Report};

impl Planner<'_> {
    /// The image of a name, fetched if it is not here.
    pub(super) fn image(&mut self, target: &Target, name: &BaseName) -> Result<Image, Report> {
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

    pub(super) fn state(&self, image: &Image) -> Result<State, Report> {
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
