//! The whole file: stages, and what is doubtful in its form.

use std::path::Path;

use crate::build::check::Findings;

use super::diagnostic::{Fault, Problem, Refused, Source, Span, Warning, Within};
use super::directives;
use super::form::{self, Parsed};
use super::instruction::{Directives, Dockerfile, From, Instruction, Kind, Stage};
use super::lines::{Line, Reader, decode};
use super::rule::Rule;

/// More mistakes than these are not told: who made so many has probably given another file.
const MANY: usize = 20;

/// Reads a Dockerfile; `name` is what errors call it.
///
/// All mistakes in its form are found at once. What depends on variables and base images is the matter of
/// [`evaluate`](crate::build::graph::evaluate).
pub fn parse(text: &[u8], name: &Path) -> Result<Dockerfile, Refused> {
    parse_within(text, name, None)
}

/// The same for one that may be a part of another file.
pub fn parse_within(text: &[u8], name: &Path, within: Option<Within>) -> Result<Dockerfile, Refused> {
    let source = Source { name: name.display().to_string(), text: decode(text), within };
    let (directives, skip) = match directives::read(text) {
        Ok(found) => found,
        Err(fault) => return refuse(&source, vec![fault], Vec::new()),
    };
    let mut file = File {
        directives,
        global: Vec::new(),
        stages: Vec::new(),
        findings: Findings::new(source.clone()),
        faults: Vec::new(),
        empty: true,
        lost: false,
    };
    file.read(&mut Reader::new(text, skip, file.directives.escape));
    let missing = match (file.empty, file.stages.is_empty()) {
        (true, _) => Some("the Dockerfile has no instructions"),
        (false, true) => Some("the Dockerfile has no stage to build"),
        (false, false) => None,
    };
    if let (Some(message), true) = (missing, file.faults.is_empty()) {
        let at = Span { line: 1, column: 1, width: 1 };
        file.faults.push(Box::new(Problem::at(at, message).hint("it begins with `FROM image`")));
    }
    if !file.faults.is_empty() {
        let warnings = file.findings.shown(&file.directives.check);
        return refuse(&source, file.faults, warnings);
    }
    file.check_casing();
    file.check_names();
    let File { directives, global, stages, findings, .. } = file;
    Ok(Dockerfile { source, directives, global, stages, warnings: findings.all() })
}

fn refuse<T>(source: &Source, faults: Vec<Fault>, warnings: Vec<Warning>) -> Result<T, Refused> {
    let problems = faults.into_iter().map(|fault| fault.resolve(source)).collect();
    Err(Refused { problems, cause: None, warnings })
}

/// Reads an instruction that stands behind ONBUILD of a base image. All its places are `at`.
pub(in crate::build) fn trigger(text: &str, at: Span) -> Result<Instruction, Fault> {
    let (directives, skip) = directives::read(text.as_bytes())?;
    let mut reader = Reader::new(text.as_bytes(), skip, directives.escape).elsewhere(at);
    let nowhere = at;
    let Some(line) = reader.line() else { return Problem::at(nowhere, "the trigger is empty").fail() };
    let parsed = form::read(&line, directives.escape, &mut reader)?;
    if reader.line().is_some() {
        return Problem::at(nowhere, "the trigger is more than one instruction").fail();
    }
    match parsed {
        Parsed::Instruction(instruction) => Ok(instruction),
        Parsed::From(_) => Problem::at(nowhere, "FROM cannot be a trigger").fail(),
    }
}

fn is_from(line: &Line) -> bool {
    line.text.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("FROM"))
}

/// A Dockerfile while it is read.
struct File {
    directives: Directives,
    global: Vec<Instruction>,
    stages: Vec<Stage>,
    findings: Findings,
    faults: Vec<Fault>,
    empty: bool,
    /// Whether a FROM was refused, so that what follows has a stage that is not there.
    lost: bool,
}

impl File {
    fn read(&mut self, reader: &mut Reader<'_>) {
        while let Some(line) = reader.line() {
            self.empty = false;
            if let Some(number) = line.empty_continuation {
                let at = Span { line: number, column: 1, width: 1 };
                self.findings.add(Rule::NoEmptyContinuation, at, "an empty line inside a continued one");
            }
            match form::read(&line, self.directives.escape, reader) {
                Ok(Parsed::From(from)) => {
                    self.check_from(&line, &from);
                    self.stages.push(Stage { from, instructions: Vec::new() });
                }
                Ok(Parsed::Instruction(instruction)) => self.add(&line, instruction),
                Err(fault) => {
                    self.check_refused_from(&line);
                    self.lost |= is_from(&line);
                    self.faults.push(fault);
                    if self.faults.len() == MANY {
                        return;
                    }
                }
            }
        }
    }

    fn add(&mut self, line: &Line, instruction: Instruction) {
        match &instruction.kind {
            Kind::Maintainer(_) => self.findings.add(
                Rule::MaintainerDeprecated,
                instruction.at,
                "MAINTAINER is obsolete: write `LABEL org.opencontainers.image.authors=…`",
            ),
            Kind::Arg(items) => {
                let names: Vec<&str> = items.iter().map(|item| item.name.text.as_str()).collect();
                self.check_description(line, "ARG", &names, instruction.at);
            }
            _ => {}
        }
        match (self.stages.last_mut(), &instruction.kind) {
            (Some(stage), _) => stage.instructions.push(instruction),
            (None, Kind::Arg(_)) => self.global.push(instruction),
            (None, _) if self.lost => {}
            (None, _) => {
                let message =
                    format!("{} stands before the first FROM", instruction.keyword().to_uppercase());
                let problem = Problem::at(instruction.at, message).hint("only ARG may stand there");
                self.faults.push(Box::new(problem));
            }
        }
    }

    fn check_from(&mut self, line: &Line, from: &From) {
        if let Some(name) = &from.name {
            self.check_description(line, "FROM", &[&name.text], from.at);
        }
        self.check_from_words(&from.source, from.at);
    }

    /// A FROM that is refused is still looked at: its letter case may be what is wrong as well.
    fn check_refused_from(&mut self, line: &Line) {
        let text = line.text.trim();
        if text.get(..4).is_some_and(|keyword| keyword.eq_ignore_ascii_case("from")) {
            self.check_from_words(text, line.span(0..4));
        }
    }

    fn check_from_words(&mut self, source: &str, at: Span) {
        let mut words = source.split_whitespace();
        let keyword = words.next().unwrap_or_default();
        let words: Vec<&str> = words.skip_while(|word| word.starts_with("--")).collect();
        if let [_, _, name] = words.as_slice()
            && *name != name.to_lowercase()
        {
            self.findings.add(
                Rule::StageNameCasing,
                at,
                format!("the stage name `{name}` should be in lower case"),
            );
        }
        let Some(second) = words.get(1).filter(|_| words.len() >= 3) else { return };
        let same = match (keyword == keyword.to_lowercase(), keyword == keyword.to_uppercase()) {
            (true, _) => *second == second.to_lowercase(),
            (_, true) => *second == second.to_uppercase(),
            // FROM itself is in mixed case, which another rule tells.
            _ => true,
        };
        if !same {
            let message = format!("`{second}` is not in the letter case of `{keyword}`");
            self.findings.add(Rule::FromAsCasing, at, message);
        }
    }

    /// A comment right above ARG or FROM is a description, which begins with the name.
    fn check_description(&mut self, line: &Line, keyword: &str, names: &[&str], at: Span) {
        let Some(comment) = line.comments.last() else { return };
        let first = comment.split(' ').next().unwrap_or_default();
        if !names.contains(&first) {
            let message = format!("the comment above {keyword} should begin with `{}`", names.join("` or `"));
            self.findings.add(Rule::InvalidDefinitionDescription, at, message);
        }
    }

    /// All keywords should be in the letter case that most are in.
    fn check_casing(&mut self) {
        let keyword = |source: &str| source.split_whitespace().next().unwrap_or_default().to_owned();
        let mut keywords: Vec<(String, Span)> = Vec::new();
        for stage in &self.stages {
            keywords.push((keyword(&stage.from.source), stage.from.at));
            keywords.extend(stage.instructions.iter().map(|found| (found.keyword().to_owned(), found.at)));
        }
        let lower = keywords.iter().filter(|(word, _)| *word == word.to_lowercase()).count();
        let upper = keywords.iter().filter(|(word, _)| *word == word.to_uppercase()).count();
        for (word, at) in keywords {
            let (wanted, case) = match lower > upper {
                true => (word.to_lowercase(), "lower"),
                false => (word.to_uppercase(), "upper"),
            };
            if word != wanted {
                let message =
                    format!("`{word}` should be in {case} case, as most instructions of this file are");
                self.findings.add(Rule::ConsistentInstructionCasing, at, message);
            }
        }
    }

    fn check_names(&mut self) {
        let mut seen: Vec<&str> = Vec::new();
        for from in self.stages.iter().map(|stage| &stage.from) {
            let Some(name) = &from.name else { continue };
            if ["context", "scratch"].contains(&name.text.as_str()) {
                let message = format!("the stage name `{}` has a meaning of its own", name.text);
                self.findings.add(Rule::ReservedStageName, name.at, message);
            }
            if seen.contains(&name.text.as_str()) {
                let message = format!("another stage has the name `{}` as well", name.text);
                self.findings.add(Rule::DuplicateStageName, name.at, message);
            }
            seen.push(&name.text);
        }
    }
}
