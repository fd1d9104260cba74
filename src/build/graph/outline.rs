//! Which stages there are, what each begins with, and what each needs of others.

use std::collections::BTreeSet;

use crate::build::check::Findings;
use crate::build::dockerfile::{
    Dockerfile, Fault, Instruction, Kind, Lexer, Problem, Rule, Span, Stage, trigger,
};
use crate::image::{ImageConfig, Platform, Reference};

use super::globals::Globals;
use super::scope::unexpandable;
use super::{BaseName, ContextKind, Origin, Request};

/// A stage of the Dockerfile, and what is known of it before it is walked.
pub(super) struct Node<'a> {
    pub stage: &'a Stage,
    /// Its name, or `stage-N`.
    pub name: String,
    /// The base as written, expanded.
    pub base_name: String,
    pub base: Base,
    /// `--platform`
    pub platform: Option<Platform>,
    /// Whether a named context stands for the whole stage.
    pub replaced: bool,
    /// What the base image says of itself, once that is known.
    pub config: Option<ImageConfig>,
    /// What is to be done first: triggers of the base; `None` until they are looked at.
    pub triggers: Option<Vec<Instruction>>,
    /// Stages that its instructions read, and where.
    needs: Vec<(usize, Span)>,
}

/// What a stage begins with.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Base {
    Scratch,
    Stage(usize),
    Image(BaseName),
    /// A named context without a configuration.
    Files(String),
}

/// All stages.
pub(super) struct Outline<'a> {
    pub nodes: Vec<Node<'a>>,
    request: &'a Request,
    target_platform: Platform,
}

impl<'a> Outline<'a> {
    /// Looks at every FROM.
    pub fn new(
        file: &'a Dockerfile,
        request: &'a Request,
        globals: &Globals,
        findings: &mut Findings,
    ) -> Result<Outline<'a>, Fault> {
        let target_platform = request.platform.clone().unwrap_or_else(|| request.build_platform.clone());
        let mut outline = Outline { nodes: Vec::new(), request, target_platform };
        for stage in &file.stages {
            let node = outline.node(stage, Lexer::new(file.directives.escape.char()), globals, findings)?;
            outline.nodes.push(node);
        }
        for index in 0..outline.nodes.len() {
            let stage = outline.nodes[index].stage;
            outline.nodes[index].needs = outline.needs(&stage.instructions)?;
        }
        outline.check_circles()?;
        Ok(outline)
    }

    fn node(
        &self,
        stage: &'a Stage,
        lexer: Lexer,
        globals: &Globals,
        findings: &mut Findings,
    ) -> Result<Node<'a>, Fault> {
        let from = &stage.from;
        let expanded = lexer
            .expand(&from.base.text, &globals.values)
            .map_err(|failed| unexpandable(&from.base.text, from.base.at, &failed))?;
        globals.check_declared(&expanded.unmatched, from.base.at, findings);
        let base_name = expanded.text;
        if base_name.is_empty() {
            return Problem::at(from.base.at, format!("the base `{}` is empty", from.base.text))
                .hint("give the argument a default before the first FROM")
                .fail();
        }
        let platform = self.platform(stage, lexer, globals, findings)?;
        let replaced = from.name.as_ref().and_then(|name| self.context(&name.text));
        let wanted = platform.clone().unwrap_or_else(|| self.target_platform.clone());
        let base = match &replaced {
            Some((name, kind)) => named(name, *kind, wanted),
            None => self.base(&base_name, wanted, from.base.at)?,
        };
        Ok(Node {
            stage,
            name: from
                .name
                .as_ref()
                .map_or_else(|| format!("stage-{}", self.nodes.len()), |name| name.text.clone()),
            base_name,
            base,
            platform,
            replaced: replaced.is_some(),
            config: None,
            triggers: None,
            needs: Vec::new(),
        })
    }

    fn platform(
        &self,
        stage: &Stage,
        lexer: Lexer,
        globals: &Globals,
        findings: &mut Findings,
    ) -> Result<Option<Platform>, Fault> {
        let Some(word) = &stage.from.platform else { return Ok(None) };
        let expanded = lexer
            .expand(&word.text, &globals.values)
            .map_err(|failed| unexpandable(&word.text, word.at, &failed))?;
        globals.check_declared(&expanded.unmatched, word.at, findings);
        let only_target = expanded.matched.len() == 1 && expanded.matched.contains("TARGETPLATFORM");
        if only_target
            && expanded.unmatched.is_empty()
            && globals.get("TARGETPLATFORM") == Some(&expanded.text)
        {
            let message = format!("`{}` is what FROM takes anyway", word.text);
            findings.add(Rule::RedundantTargetPlatform, word.at, message);
        }
        if expanded.text.is_empty() {
            return Problem::at(word.at, format!("the platform `{}` is empty", word.text))
                .hint("an argument of FROM is declared before the first FROM")
                .fail();
        }
        let platform = match parse_platform(&expanded.text, &self.target_platform) {
            Ok(platform) => platform,
            Err(reason) => {
                return Problem::at(word.at, reason)
                    .hint("a platform is `linux/amd64`, `linux/arm64`, `linux/arm/v7` …")
                    .fail();
            }
        };
        let constant = expanded.matched.is_empty() && expanded.unmatched.is_empty();
        let told = stage.from.name.as_ref().is_some_and(|name| {
            name.text.contains(&platform.os) || name.text.contains(&platform.architecture)
        });
        if constant && !told {
            let message = format!("the platform `{}` is fixed", expanded.text);
            findings.add(Rule::FromPlatformFlagConstDisallowed, word.at, message);
        }
        Ok(Some(platform))
    }

    /// Returns what a name behind FROM means: an earlier stage, nothing, a named context, an image.
    fn base(&self, name: &str, platform: Platform, at: Span) -> Result<Base, Fault> {
        if let Some(index) = self.earlier(name) {
            return Ok(Base::Stage(index));
        }
        if name == "scratch" {
            return Ok(Base::Scratch);
        }
        self.outside(name, platform).map_err(|reason| {
            let names = self.nodes.iter().map(|node| node.name.as_str());
            Box::new(Problem::at(at, reason).near(name, names))
        })
    }

    /// Finds a stage before this one; of several of one name, the last.
    fn earlier(&self, name: &str) -> Option<usize> {
        self.nodes.iter().rposition(|node| is_named(node, name))
    }

    /// Returns the named context or the image that a name means.
    fn outside(&self, name: &str, platform: Platform) -> Result<Base, String> {
        if let Some((name, kind)) = self.context(name) {
            return Ok(named(&name, kind, platform));
        }
        let reference: Reference = name.parse().map_err(|invalid| format!("{invalid}"))?;
        Ok(match self.context(reference.familiar().trim_end_matches(":latest")) {
            Some((name, kind)) => named(&name, kind, platform),
            None => Base::Image(BaseName { reference: reference.to_string(), named: false, platform }),
        })
    }

    /// Finds a named context. `scratch` and `context` cannot be replaced.
    fn context(&self, name: &str) -> Option<(String, ContextKind)> {
        if ["scratch", "context"].iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            return None;
        }
        self.request.contexts.get_key_value(name).map(|(name, kind)| (name.clone(), *kind))
    }

    /// Returns what `--from` or `from=` means for files: a stage by name (or, for COPY, by number), or something outside.
    pub fn origin(&self, name: &str, at: Span, numbers: bool) -> Result<Origin, Fault> {
        if let Some(index) = self.stage(name, at, numbers)? {
            return Ok(Origin::Stage(index));
        }
        if name == "scratch" {
            return Ok(Origin::Scratch);
        }
        match self.outside(name, self.target_platform.clone()) {
            Ok(Base::Image(image)) if image.named => Ok(Origin::Named(image.reference)),
            Ok(Base::Image(image)) => Ok(Origin::Image(image)),
            Ok(Base::Files(name)) => Ok(Origin::Named(name)),
            Ok(Base::Scratch | Base::Stage(_)) => Ok(Origin::Scratch),
            Err(reason) => {
                let names = self.nodes.iter().map(|node| node.name.as_str());
                Problem::at(at, reason).near(name, names).fail()
            }
        }
    }

    fn stage(&self, name: &str, at: Span, numbers: bool) -> Result<Option<usize>, Fault> {
        match name.parse::<usize>() {
            Ok(number) if numbers && number < self.nodes.len() => Ok(Some(number)),
            Ok(number) if numbers => Problem::at(at, format!("there is no stage {number}"))
                .hint(format!("the last one is stage {}", self.nodes.len() - 1))
                .fail(),
            _ => Ok(self.earlier(name)),
        }
    }

    /// Returns the stages that some instructions read.
    fn needs(&self, instructions: &[Instruction]) -> Result<Vec<(usize, Span)>, Fault> {
        let mut needs = Vec::new();
        for instruction in instructions {
            match &instruction.kind {
                Kind::Copy(copy) => {
                    if let Some(from) = &copy.from {
                        needs.extend(self.stage(&from.text, from.at, true)?.map(|index| (index, from.at)));
                    }
                }
                Kind::Run(run) => {
                    for mount in &run.mounts {
                        let from = mount.get("from").unwrap_or_default();
                        needs.extend(self.stage(from, mount.at, false)?.map(|index| (index, mount.at)));
                    }
                }
                _ => {}
            }
        }
        Ok(needs)
    }

    /// Refuses stages that read from each other: none of them could be the first.
    fn check_circles(&self) -> Result<(), Fault> {
        let mut done = BTreeSet::new();
        for index in 0..self.nodes.len() {
            self.visit(index, &mut Vec::new(), &mut done)?;
        }
        Ok(())
    }

    fn visit(&self, index: usize, path: &mut Vec<usize>, done: &mut BTreeSet<usize>) -> Result<(), Fault> {
        if !done.insert(index) {
            return Ok(());
        }
        path.push(index);
        for (needed, at) in &self.nodes[index].needs {
            if let Some(start) = path.iter().position(|known| known == needed) {
                let names: Vec<&str> = path[start..].iter().map(|at| self.nodes[*at].name.as_str()).collect();
                let message = match names.as_slice() {
                    [name] => format!("the stage `{name}` reads from itself"),
                    names => format!("the stages `{}` read from each other in a circle", names.join("`, `")),
                };
                return Problem::at(*at, message).fail();
            }
            self.visit(*needed, path, done)?;
        }
        path.pop();
        Ok(())
    }

    /// Returns the stage to build.
    pub fn target(&self, wanted: Option<&str>) -> Result<usize, Fault> {
        let Some(wanted) = wanted.filter(|name| !name.is_empty()) else { return Ok(self.nodes.len() - 1) };
        match self.earlier(wanted) {
            Some(index) => Ok(index),
            None => {
                let names = || self.nodes.iter().filter_map(|node| node.stage.from.name.as_ref());
                let known: Vec<&str> = names().map(|name| name.text.as_str()).collect();
                let problem = Problem::at(
                    Span::default(),
                    format!("the target stage `{wanted}` is not in the Dockerfile"),
                );
                match known.is_empty() {
                    true => problem.hint("none of its stages has a name: `FROM image AS name`").fail(),
                    false => problem
                        .near(wanted, known.iter().copied())
                        .hint(format!("its stages are: {}", known.join(", ")))
                        .fail(),
                }
            }
        }
    }

    /// Returns the stages that one needs, itself included, in the order of the file.
    pub fn reachable(&self, target: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open = vec![target];
        while let Some(index) = open.pop() {
            if found.insert(index) {
                let node = &self.nodes[index];
                if let Base::Stage(base) = node.base {
                    open.push(base);
                }
                // A stage that a named context stands for does nothing.
                if !node.replaced {
                    open.extend(node.needs.iter().map(|(needed, _)| *needed));
                }
            }
        }
        found
    }

    /// Looks at the triggers of the bases of some stages; returns whether they need other stages.
    pub fn add_triggers(&mut self, stages: &BTreeSet<usize>) -> Result<bool, Fault> {
        let mut more = false;
        for index in stages.iter().copied() {
            if self.nodes[index].triggers.is_some() {
                continue;
            }
            let texts: Vec<String> = match &self.nodes[index].base {
                Base::Stage(base) => {
                    let base = &self.nodes[*base];
                    let of_stage =
                        base.stage.instructions.iter().filter_map(|instruction| match &instruction.kind {
                            Kind::OnBuild(text) if !base.replaced => Some(text.clone()),
                            _ => None,
                        });
                    of_stage.chain(base.replaced_triggers()).collect()
                }
                _ => {
                    self.nodes[index].config.as_ref().map_or_else(Vec::new, |config| config.on_build.clone())
                }
            };
            let at = self.nodes[index].stage.from.at;
            let mut triggers = Vec::with_capacity(texts.len());
            for text in texts {
                let parsed = trigger(&text, at).map_err(|fault| {
                    let base = &self.nodes[index].base_name;
                    let first = text.lines().next().unwrap_or_default();
                    Box::new(fault.moved(at).prefixed(&format!("in the trigger `{first}` of `{base}`: ")))
                })?;
                triggers.push(Instruction { at, ..parsed });
            }
            let needs: Vec<_> = self.needs(&triggers)?.into_iter().map(|(needed, _)| (needed, at)).collect();
            more |= !needs.is_empty();
            let node = &mut self.nodes[index];
            node.needs.extend(needs);
            node.triggers = Some(triggers);
        }
        if more {
            self.check_circles()?;
        }
        Ok(more)
    }
}

impl Node<'_> {
    /// Triggers of an image that stands for the stage.
    fn replaced_triggers(&self) -> Vec<String> {
        match (self.replaced, &self.config) {
            (true, Some(config)) => config.on_build.clone(),
            _ => Vec::new(),
        }
    }
}

fn named(name: &str, kind: ContextKind, platform: Platform) -> Base {
    match kind {
        ContextKind::Files => Base::Files(name.to_owned()),
        ContextKind::Image => Base::Image(BaseName { reference: name.to_owned(), named: true, platform }),
    }
}

fn is_named(node: &Node<'_>, name: &str) -> bool {
    node.stage.from.name.as_ref().is_some_and(|known| known.text.eq_ignore_ascii_case(name))
}

/// Reads a platform; only an architecture, or only a system, is completed by the target's.
fn parse_platform(text: &str, target: &Platform) -> Result<Platform, String> {
    let systems =
        ["windows", "darwin", "freebsd", "plan9", "solaris", "netbsd", "openbsd", "android", "wasip1"];
    if systems.contains(&text.to_ascii_lowercase().as_str()) {
        return Ok(Platform::new(text, &target.architecture, target.variant.as_deref()));
    }
    text.parse().map_err(|invalid: crate::image::platform::Invalid| invalid.to_string())
}
