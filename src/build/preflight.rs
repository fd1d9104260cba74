//! What can be known before the first step is done: nobody waits for a `RUN` of ten minutes to hear of a `COPY` whose file
//! is not there.
//!
//! What comes of stages and images is left to the steps themselves.

use super::copy::{self, Files, is_there, near};
use super::dockerfile::{Network as Asked, Security, Span};
use super::error::Error;
use super::graph::{Action, Copy, MountKind, Origin, Run, Source};
use super::order::{Network, Target};
use super::plan::Planned;
use crate::report::{Exit, Report};

/// Refuses what cannot come to a good end; all of it at once.
pub fn check(planned: &[Planned]) -> Result<(), Report> {
    let mut reports: Vec<Report> = Vec::new();
    for one in planned {
        for (at, error) in of_target(one) {
            let near = missing(one, &error);
            let mut report = Report::from(error);
            report.exit = Exit::Build;
            report.places.extend(one.dockerfile.source.place(at));
            report.hints.extend(near.map(|near| format!("did you mean `{near}`?")));
            // Stages with the same instruction say the same; two targets with one recipe do too.
            if !reports.contains(&report) {
                reports.push(report);
            }
        }
    }
    match reports.is_empty() {
        true => Ok(()),
        false => {
            let first = reports.remove(0);
            Err(first.and(reports))
        }
    }
}

fn of_target(planned: &Planned) -> Vec<(Span, Error)> {
    let mut found = Vec::new();
    for step in planned.graph.stages.iter().flat_map(|stage| &stage.steps) {
        match &step.action {
            Action::Copy(copy) => found.extend(of_copy(planned, copy)),
            Action::Run(run) => {
                found.extend(allowed(&planned.target, run).err().map(|error| (step.at, error)));
                found.extend(of_run(planned, run));
            }
            Action::Nothing | Action::MakeDirectory { .. } => {}
        }
    }
    found
}

fn of_copy(planned: &Planned, copy: &Copy) -> Vec<(Span, Error)> {
    let missing = |source: &Source| match source {
        Source::Path { pattern, at } => {
            let error = match files(planned, &copy.from)? {
                Some(files) => is_there(files, pattern).err()?.into(),
                None => Error::NoContext { path: pattern.clone() },
            };
            Some((*at, error))
        }
        _ => None,
    };
    copy.sources.iter().filter_map(missing).collect()
}

fn of_run(planned: &Planned, run: &Run) -> Vec<(Span, Error)> {
    let missing = |mount: &super::graph::Mount| match &mount.kind {
        MountKind::Bind(bind) => {
            let Some(files) = files(planned, &bind.from)? else {
                return Some((mount.at, Error::NoContext { path: bind.source.clone() }));
            };
            let place = || files.place().to_owned();
            let error = match files.resolve(bind.source.as_bytes()) {
                Ok(Some(_)) => return None,
                Ok(None) => copy::Error::NotFound { path: bind.source.clone(), place: place() },
                Err(error) => error,
            };
            Some((mount.at, error.into()))
        }
        _ => None,
    };
    run.mounts.iter().filter_map(missing).collect()
}

/// The files of a context; `Some(None)` where there is no context, and `None` for what is no matter of contexts.
fn files<'a>(planned: &'a Planned, origin: &Origin) -> Option<Option<&'a Files>> {
    let files = |name: &str| planned.sources.contexts.get(name).map(|context| &context.files);
    match origin {
        Origin::Context => Some(files("")),
        Origin::Named(name) => files(name).map(Some),
        _ => None,
    }
}

/// The name that is nearest to what is missing.
fn missing(planned: &Planned, error: &Error) -> Option<String> {
    let Error::Copy(copy::Error::NotFound { path, place }) = error else { return None };
    let context = planned.sources.contexts.values().find(|context| context.files.place() == place)?;
    near(&context.files, path.as_bytes())
}

/// Refuses privileges that nobody has given.
fn allowed(target: &Target, run: &Run) -> Result<(), Error> {
    let has = |name: &str| target.entitlements.iter().any(|known| known == name);
    if run.security == Security::Insecure && !has("security.insecure") {
        return Err(Error::NotAllowed {
            what: "`--security=insecure`".to_owned(),
            hint: "allow it with `entitlements: [security.insecure]`, or `image build --allow security.insecure`"
                .to_owned(),
        });
    }
    if run.network == Asked::Host && target.network != Network::Host && !has("network.host") {
        return Err(Error::NotAllowed {
            what: "`--network=host`".to_owned(),
            hint: "allow it with `entitlements: [network.host]` or `network: host`, or `image build --allow network.host`"
                .to_owned(),
        });
    }
    Ok(())
}
