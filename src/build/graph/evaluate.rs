//! The order of it all: arguments, stages, base images, triggers, steps.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::build::check::Findings;
use crate::build::dockerfile::{
    Check, Command, Diagnostic, Dockerfile, Fault, Instruction, Kind, Lexer, Problem, Refused, Rule, Span,
    check,
};
use crate::image::Platform;
use crate::report::Report;

use super::args;
use super::globals::{self, Globals};
use super::outline::{Base, Outline};
use super::scope::Scope;
use super::{Action, Bases, Graph, Origin, Request, Stage, Step};

/// Why an evaluation ends early.
enum End {
    Fault(Fault),
    /// A base image could not be had; where it is named.
    Base(Box<Report>, Span),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> End {
        End::Fault(fault)
    }
}

/// Turns a Dockerfile into what has to be done.
///
/// With [`Request::all_stages`] every stage is walked, for its findings; the graph still has only those that the target
/// needs.
pub fn evaluate(file: &Dockerfile, request: &Request, bases: &mut dyn Bases) -> Result<Graph, Refused> {
    let mut findings = Findings::new(file.source.clone()).and(&file.warnings);
    let (policy, result) = match policy(file, request) {
        Ok(policy) => (policy, walk(file, request, bases, &mut findings)),
        Err(fault) => (Check::default(), Err(End::Fault(fault))),
    };
    let warnings = findings.shown(&policy);
    let refused = |problems, cause| Err(Refused { problems, cause, warnings: warnings.clone() });
    match result {
        Err(End::Fault(fault)) => refused(vec![fault.resolve(&file.source)], None),
        Err(End::Base(report, at)) => {
            let mut report = *report;
            report.places.extend(file.source.place(at));
            refused(Vec::new(), Some(Box::new(report)))
        }
        Ok(_) if policy.error && !warnings.is_empty() => {
            let rules: BTreeSet<&str> = warnings.iter().map(|warning| warning.rule.name()).collect();
            let rules: Vec<&str> = rules.into_iter().collect();
            let message = format!("the checks found something and are errors here: {}", rules.join(", "));
            let hints = vec!["`# check=error=true` makes findings errors".to_owned()];
            let places = warnings.iter().filter_map(|warning| warning.place.clone()).collect();
            refused(vec![Diagnostic { message, places, hints }], None)
        }
        Ok(graph) => Ok(Graph { warnings, ..graph }),
    }
}

/// Returns which findings are shown: what the argument says wins over the directive.
fn policy(file: &Dockerfile, request: &Request) -> Result<Check, Fault> {
    let Some(value) = request.args.get("BUILDKIT_DOCKERFILE_CHECK") else {
        return Ok(file.directives.check.clone());
    };
    check(value).map_err(|reason| {
        Box::new(Problem::at(Span::default(), format!("in the argument BUILDKIT_DOCKERFILE_CHECK: {reason}")))
    })
}

fn walk(
    file: &Dockerfile,
    request: &Request,
    bases: &mut dyn Bases,
    findings: &mut Findings,
) -> Result<Graph, End> {
    let lexer = Lexer::new(file.directives.escape.char());
    globals::check_defaults(file, request, lexer, findings);
    let globals = Globals::new(file, request, lexer, &request.args)?;
    let epoch = globals.epoch(&request.args)?;
    let mut outline = Outline::new(file, request, &globals, findings)?;
    let target = outline.target(request.target.as_deref())?;
    let reachable = resolve(&mut outline, target, request, bases, findings)?;
    let mut walk = Walk {
        request,
        lexer,
        globals: &globals,
        findings,
        outline: &outline,
        ended: BTreeMap::new(),
        numbers: BTreeMap::new(),
        named_at: HashMap::new(),
    };
    let mut stages = Vec::new();
    let needed = outline.reachable(target);
    for index in reachable {
        let stage = walk.stage(index)?;
        // A stage that only the checks look at is not built.
        if needed.contains(&index) {
            walk.numbers.insert(index, stages.len());
            stages.push(stage);
        }
    }
    if let Some(last) = stages.last_mut() {
        finish(&mut last.config, request);
    }
    let named_at = walk.named_at;
    let declared_args = args::declared(file, &outline);
    let unused_args = args::unused(&request.args, &declared_args);
    Ok(Graph { stages, epoch, warnings: Vec::new(), named_at, unused_args, declared_args })
}

/// Asks for base images and adds triggers until nothing new is needed; returns the stages to walk.
fn resolve(
    outline: &mut Outline<'_>,
    target: usize,
    request: &Request,
    bases: &mut dyn Bases,
    findings: &mut Findings,
) -> Result<BTreeSet<usize>, End> {
    loop {
        let reachable = match request.all_stages {
            true => (0..outline.nodes.len()).collect(),
            false => outline.reachable(target),
        };
        ask(outline, &reachable, bases, findings)?;
        if !outline.add_triggers(&reachable)? {
            return Ok(reachable);
        }
    }
}

/// Asks for the configurations that are still unknown, each image once.
fn ask(
    outline: &mut Outline<'_>,
    stages: &BTreeSet<usize>,
    bases: &mut dyn Bases,
    findings: &mut Findings,
) -> Result<(), End> {
    let mut wanted = Vec::new();
    for index in stages {
        let node = &outline.nodes[*index];
        if let (Base::Image(image), None) = (&node.base, &node.config)
            && !wanted.contains(image)
        {
            wanted.push(image.clone());
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let found = bases.configs(&wanted);
    for (image, config) in wanted.iter().zip(found) {
        let users =
            stages.iter().copied().filter(|index| outline.nodes[*index].base == Base::Image(image.clone()));
        let users: Vec<usize> = users.collect();
        for index in users {
            let node = &mut outline.nodes[index];
            let at = node.stage.from.base.at;
            let config = config.clone().map_err(|report| End::Base(Box::new(report), at))?;
            let actual = config.platform();
            let same =
                (&actual.os, &actual.architecture) == (&image.platform.os, &image.platform.architecture);
            if !same && !image.named {
                let message = format!("`{}` is for {actual}, not for {}", node.base_name, image.platform);
                findings.add(Rule::InvalidBaseImagePlatform, at, message);
            }
            node.config = Some(config);
        }
    }
    Ok(())
}

/// What belongs to the whole image, once its last step is known.
fn finish(config: &mut crate::image::ImageConfig, request: &Request) {
    config.labels.extend(request.labels.clone());
    if let Some(platform) = &request.platform {
        config.os.clone_from(&platform.os);
        config.architecture.clone_from(&platform.architecture);
        config.variant.clone_from(&platform.variant);
    }
}

/// The walk through the stages.
pub(super) struct Walk<'a> {
    pub request: &'a Request,
    pub lexer: Lexer,
    pub globals: &'a Globals,
    pub findings: &'a mut Findings,
    pub outline: &'a Outline<'a>,
    /// How stages ended, and what they are for, by their number in the file.
    ended: BTreeMap<usize, (Scope, Platform)>,
    /// Where stages are in the graph, by their number in the file.
    numbers: BTreeMap<usize, usize>,
    /// Where what is read beside the context is named first.
    named_at: HashMap<Origin, Span>,
}

impl Walk<'_> {
    fn stage(&mut self, index: usize) -> Result<Stage, Fault> {
        let outline = self.outline;
        let node = &outline.nodes[index];
        let target = self.request.platform.as_ref().unwrap_or(&self.request.build_platform);
        let platform = node.platform.as_ref().unwrap_or(target).clone();
        let (base, mut scope, platform) = match &node.base {
            Base::Scratch => (Origin::Scratch, Scope::on_scratch(target), target.clone()),
            Base::Files(name) => (Origin::Named(name.clone()), Scope::on_scratch(&platform), platform),
            Base::Stage(base) => {
                let (scope, platform) = &self.ended[base];
                let scope = Scope::on_stage(scope);
                (Origin::Stage(self.numbers.get(base).copied().unwrap_or_default()), scope, platform.clone())
            }
            Base::Image(image) => {
                let origin = match image.named {
                    true => Origin::Named(image.reference.clone()),
                    false => Origin::Image(image.clone()),
                };
                self.named_at.entry(origin.clone()).or_insert(node.stage.from.base.at);
                (origin, Scope::on_image(node.config.clone().unwrap_or_default()), platform)
            }
        };
        let mut steps = Vec::new();
        if !node.replaced {
            let triggers = node.triggers.iter().flatten().map(|trigger| (trigger, true));
            let own = node.stage.instructions.iter().map(|instruction| (instruction, false));
            for (instruction, on_build) in triggers.chain(own) {
                steps.push(self.step(index, &mut scope, instruction, on_build)?);
            }
        }
        let config = scope.config.clone();
        self.ended.insert(index, (scope, platform.clone()));
        Ok(Stage {
            index,
            name: node.name.clone(),
            at: node.stage.from.at,
            title: format!("FROM {}", node.base_name),
            base,
            platform,
            steps,
            config,
        })
    }

    fn step(
        &mut self,
        stage: usize,
        scope: &mut Scope,
        instruction: &Instruction,
        on_build: bool,
    ) -> Result<Step, Fault> {
        let title = self.title(scope, instruction);
        let lines = scope.config.history.len();
        let action = match &instruction.kind {
            Kind::Run(run) => self.run(stage, scope, run)?,
            Kind::Copy(copy) => self.copy(stage, scope, copy)?,
            Kind::Add(add) => self.add(scope, add)?,
            _ => self.configure(scope, instruction)?,
        };
        let created_by = scope.config.history.get(lines).and_then(|line| line.created_by.clone());
        Ok(Step { at: instruction.at, end_line: instruction.end_line, title, on_build, created_by, action })
    }

    /// Returns the instruction as it is shown while it is carried out: expanded where that is possible.
    fn title(&self, scope: &Scope, instruction: &Instruction) -> String {
        let lexer = match &instruction.kind {
            Kind::Run(_) => Lexer { keep_quotes: true, keep_unset: true, ..self.lexer },
            _ => self.lexer,
        };
        let source = &instruction.source;
        let expanded =
            lexer.expand(source, &scope.env).map_or_else(|_| source.clone(), |expanded| expanded.text);
        let (keyword, rest) = expanded.split_once(char::is_whitespace).unwrap_or((&expanded, ""));
        let mut title = format!("{} {rest}", keyword.to_uppercase());
        if let Kind::Run(run) = &instruction.kind
            && let (Command::Shell(line), Some(first)) = (&run.command, run.heredocs.first())
            && line.text.starts_with("<<")
        {
            let text = String::from_utf8_lossy(&first.content);
            let mut lines = text.trim().lines();
            let summary = lines.next().unwrap_or_default();
            title.push_str(&format!(" ({summary}{})", if lines.next().is_some() { "..." } else { "" }));
        }
        title.trim_end().to_owned()
    }

    /// Returns whose files a `--from` means. A stage must be before the one that reads it.
    pub fn origin(&mut self, stage: usize, name: &str, at: Span, numbers: bool) -> Result<Origin, Fault> {
        match self.outline.origin(name, at, numbers)? {
            Origin::Stage(index) if index < stage => {
                Ok(Origin::Stage(self.numbers.get(&index).copied().unwrap_or_default()))
            }
            Origin::Stage(index) => {
                let nodes = &self.outline.nodes;
                let message = format!(
                    "the stage `{}` comes after `{}`, which reads from it",
                    nodes[index].name, nodes[stage].name
                );
                Problem::at(at, message)
                    .also(nodes[index].stage.from.at, "defined here")
                    .hint("move it up, before the stage that reads from it")
                    .fail()
            }
            origin => {
                self.named_at.entry(origin.clone()).or_insert(at);
                Ok(origin)
            }
        }
    }

    /// Returns a step that does nothing to files.
    pub fn nothing(scope: &mut Scope, created_by: &str) -> Action {
        scope.record(created_by, false);
        Action::Nothing
    }
}
