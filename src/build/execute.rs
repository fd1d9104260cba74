//! All stages of all targets at once, as far as they do not need each other.
//!
//! A thread a stage; one that needs the files of another waits for its result. The first failure ends the build: others
//! find that there will be nothing to wait for, and containers are killed when the process ends.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::dockerfile::Span;
use super::error::Error;
use super::exchange;
use super::export::{Line, export};
use super::graph::{Action, Origin, Stage, Step};
use super::plan::Planned;
use super::session::Session;
use super::state::State;
use super::step::source::Provided;
use super::step::{Bench, Failure};
use crate::report::{Exit, Report};

/// Does everything. After a failure, threads may still be at work: the caller ends the process.
pub fn execute(session: &Arc<Session>, planned: Vec<Planned>) -> Result<(), Report> {
    let (sender, receiver) = channel();
    let planned: Vec<Arc<Planned>> = planned.into_iter().map(Arc::new).collect();
    let mut left = 0;
    for target in &planned {
        let lines: Arc<Lines> = Arc::default();
        for number in 0..target.graph.stages.len() {
            left += 1;
            let work = Work {
                session: Arc::clone(session),
                planned: Arc::clone(target),
                number,
                lines: Arc::clone(&lines),
            };
            let sender: Sender<Result<(), Report>> = sender.clone();
            std::thread::spawn(move || {
                let outcome = work.run();
                // Nobody listens any more when another stage has failed first.
                let _ = sender.send(outcome);
            });
        }
    }
    drop(sender);
    let outcome = wait(&receiver, left).and_then(|()| {
        let exports =
            planned.iter().flat_map(|target| target.target.cache_to.iter().map(move |to| (target, to)));
        exports.into_iter().try_for_each(|(target, to)| exchange::write(session, target, to))
    });
    for target in &planned {
        for context in target.sources.contexts.values() {
            // What was learned of a context is worth keeping even if a step has failed.
            if let Err(error) = context.known.save() {
                return outcome.and(Err(Report::from_error(Exit::Build, &error)));
            }
        }
    }
    outcome
}

fn wait(receiver: &Receiver<Result<(), Report>>, left: usize) -> Result<(), Report> {
    for _ in 0..left {
        match receiver.recv() {
            Ok(outcome) => outcome?,
            // A stage's thread has panicked, and said so on standard error.
            Err(_) => return Err(Report::new(Exit::Build, "a step has broken off")),
        }
    }
    Ok(())
}

/// What each line of history stands for, by stage: a stage's history begins with that of its base.
#[derive(Default)]
struct Lines(Mutex<std::collections::HashMap<usize, Vec<Line>>>);

/// One stage.
struct Work {
    session: Arc<Session>,
    planned: Arc<Planned>,
    number: usize,
    lines: Arc<Lines>,
}

impl Work {
    fn run(&self) -> Result<(), Report> {
        let slot = &self.planned.sources.stages[self.number].1;
        match self.stage() {
            Ok(state) => {
                slot.give(Some(state));
                Ok(())
            }
            Err(None) => {
                slot.give(None);
                Ok(())
            }
            Err(Some(report)) => {
                slot.give(None);
                Err(*report)
            }
        }
    }

    /// Does a stage; `Err(None)` when another failure is the reason that it cannot be done.
    fn stage(&self) -> Result<State, Option<Box<Report>>> {
        let planned = &*self.planned;
        let stage = &planned.graph.stages[self.number];
        let bench = Bench {
            session: &self.session,
            target: &planned.target,
            sources: &planned.sources,
            epoch: planned.graph.epoch,
            exported: self.is_exported(),
        };
        let count = 1 + stage.steps.iter().filter(|step| !matches!(step.action, Action::Nothing)).count();
        let mut state = self.base(&bench, stage).map_err(|error| self.report(stage, None, error.into()))?;
        self.session.tell_begin(&self.title(1, count, &stage.title)).end(crate::progress::build::How::Done);
        let mut lines = match stage.base {
            Origin::Stage(base) => {
                let known = self.lines.0.lock().unwrap_or_else(PoisonError::into_inner);
                known.get(&base).cloned().unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let mut done = 1;
        for step in &stage.steps {
            if !matches!(step.action, Action::Nothing) {
                done += 1;
            }
            let title = self.title(done, count, &step.title);
            let after = bench
                .step(step, &title, &state)
                .map_err(|failure| self.report(stage, Some(step), failure))?;
            let line = match after {
                None => Line { created: None },
                Some((after, created)) => {
                    state = after;
                    Line { created: Some(created) }
                }
            };
            if step.created_by.is_some() {
                lines.push(line);
            }
        }
        self.lines.0.lock().unwrap_or_else(PoisonError::into_inner).insert(self.number, lines.clone());
        if self.number + 1 == planned.graph.stages.len() {
            export(&self.session, planned, &state, &lines).map_err(|report| Some(Box::new(report)))?;
        }
        Ok(state)
    }

    /// Whether the layers of this stage are in the image: it is the last, or what that one is built on.
    fn is_exported(&self) -> bool {
        let stages = &self.planned.graph.stages;
        let mut at = stages.len().checked_sub(1);
        while let Some(number) = at {
            if number == self.number {
                return true;
            }
            at = match stages[number].base {
                Origin::Stage(base) => Some(base),
                _ => None,
            };
        }
        false
    }

    fn base(&self, bench: &Bench<'_>, stage: &Stage) -> Result<State, Error> {
        match self.planned.sources.provide(&stage.base)? {
            Provided::State(state, _) => Ok(state),
            Provided::Context(context) => bench.context_as_state(&context),
        }
    }

    /// `[web builder 2/5] RUN make`
    fn title(&self, number: usize, count: usize, title: &str) -> String {
        let stage = &self.planned.graph.stages[self.number];
        let mut words: Vec<String> = Vec::new();
        if !self.planned.target.name.is_empty() {
            words.push(self.planned.target.name.clone());
        }
        if self.planned.graph.stages.len() > 1 {
            words.push(stage.name.clone());
        }
        words.push(format!("{number}/{count}"));
        format!("[{}] {title}", words.join(" "))
    }

    /// All lines of an instruction that has several, as they stand in the file.
    fn lines(&self, step: &Step) -> String {
        let source = &self.planned.dockerfile.source;
        let places = (step.at.line..=step.end_line)
            .filter_map(|line| source.place(Span { line, column: 1, width: 1 }))
            .collect::<Vec<_>>();
        let width = places.last().map_or(1, |place| place.line.to_string().len());
        let lines = places.iter().map(|place| format!("{:width$} | >>> {}", place.line, place.text));
        std::iter::once("the whole step:".to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
    }

    fn report(&self, stage: &Stage, step: Option<&Step>, failure: Failure) -> Option<Box<Report>> {
        if matches!(failure.error, Error::Stopped) {
            return None;
        }
        let at = failure.at.filter(|at| at.line > 0).unwrap_or_else(|| step.map_or(stage.at, |step| step.at));
        let ran = matches!(failure.error, Error::Process { .. } | Error::NotStarted { .. });
        let mut report = Report::from(failure.error);
        report.exit = Exit::Build;
        if let Some(step) = step.filter(|step| ran && !step.on_build && step.end_line > step.at.line) {
            report = report.cause(self.lines(step));
        }
        if let Some(place) = self.planned.dockerfile.source.place(at) {
            report = report.place(place);
        }
        Some(Box::new(report))
    }
}
