//! Arguments before the first FROM: those that are declared there, and those that are always there.

use std::collections::{BTreeMap, BTreeSet};

use crate::build::check::Findings;
use crate::build::dockerfile::{ArgItem, Dockerfile, Fault, Kind, Lexer, Problem, Rule, Span};
use crate::image::{Platform, Reference};

use super::Request;
use super::scope::{Vars, unexpandable};

/// What FROM sees, and what an ARG without a value takes its value from.
pub(super) struct Globals {
    /// Those that have a value.
    pub values: Vars,
    /// Names of those that are declared, with a value or without.
    declared: BTreeSet<String>,
}

impl Globals {
    /// Expands the arguments of a Dockerfile, with these values given.
    pub fn new(
        file: &Dockerfile,
        request: &Request,
        lexer: Lexer,
        given: &BTreeMap<String, String>,
    ) -> Result<Globals, Fault> {
        let mut globals = Globals { values: predefined(file, request, given), declared: BTreeSet::new() };
        for item in items(file) {
            let name = &item.name.text;
            globals.declared.insert(name.clone());
            let value = match (given.get(name), &item.default) {
                (Some(value), _) => value.clone(),
                (None, Some(default)) => {
                    let expanded = lexer.expand(&default.text, &globals.values);
                    expanded.map_err(|failed| unexpandable(&default.text, default.at, &failed))?.text
                }
                (None, None) => continue,
            };
            globals.values.insert(name.clone(), value);
        }
        Ok(globals)
    }

    /// Returns the value of an argument.
    pub fn get(&self, name: &str) -> Option<&String> {
        self.values.get(name)
    }

    /// Returns `SOURCE_DATE_EPOCH`, when it is given.
    pub fn epoch(&self, given: &BTreeMap<String, String>) -> Result<Option<u64>, Fault> {
        const NAME: &str = "SOURCE_DATE_EPOCH";
        match given.get(NAME).or_else(|| self.get(NAME)).map(String::as_str) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                let message = format!("SOURCE_DATE_EPOCH is a number of seconds, not `{text}`");
                Box::new(Problem::at(Span::default(), message))
            }),
        }
    }

    /// Tells of variables in FROM that are no global arguments.
    pub fn check_declared(&self, unmatched: &[String], at: Span, findings: &mut Findings) {
        for name in unmatched.iter().filter(|name| !self.declared.contains(*name)) {
            let known = self.values.keys().chain(&self.declared).map(String::as_str);
            let near = crate::report::nearest(name, known);
            let near = near.map_or_else(String::new, |near| format!(", did you mean `${near}`?"));
            let message = format!("the argument `${name}` is not declared before the first FROM{near}");
            findings.add(Rule::UndefinedArgInFrom, at, message);
        }
    }
}

/// Tells of stages whose base is no name when no arguments are given.
pub(super) fn check_defaults(file: &Dockerfile, request: &Request, lexer: Lexer, findings: &mut Findings) {
    let Ok(globals) = Globals::new(file, request, lexer, &BTreeMap::new()) else { return };
    for from in file.stages.iter().map(|stage| &stage.from) {
        let Ok(expanded) = lexer.expand(&from.base.text, &globals.values) else { return };
        // What holds no argument is refused itself.
        let is_constant = expanded.matched.is_empty() && expanded.unmatched.is_empty();
        if !is_constant && expanded.text.parse::<Reference>().is_err() {
            let message = format!("without arguments, `{}` is empty or no name of an image", from.base.text);
            findings.add(Rule::InvalidDefaultArgInFrom, from.base.at, message);
        }
    }
}

fn items(file: &Dockerfile) -> impl Iterator<Item = &ArgItem> {
    file.global.iter().flat_map(|instruction| match &instruction.kind {
        Kind::Arg(items) => items.as_slice(),
        _ => &[],
    })
}

/// Arguments that are there without being declared.
fn predefined(file: &Dockerfile, request: &Request, given: &BTreeMap<String, String>) -> Vars {
    let build = &request.build_platform;
    let target = request.platform.as_ref().unwrap_or(build);
    let last = file.stages.last().and_then(|stage| stage.from.name.as_ref()).map(|name| name.text.as_str());
    let asked = request.target.as_deref().filter(|name| !name.is_empty());
    let variant = |platform: &Platform| platform.variant.clone().unwrap_or_default();
    let pairs = [
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", variant(build)),
        ("TARGETPLATFORM", target.to_string()),
        ("TARGETOS", target.os.clone()),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", variant(target)),
        ("TARGETSTAGE", asked.or(last).unwrap_or("default").to_owned()),
    ];
    let value = |name: &str, own: String| given.get(name).cloned().unwrap_or(own);
    pairs.into_iter().map(|(name, own)| (name.to_owned(), value(name, own))).collect()
}
