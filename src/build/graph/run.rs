//! RUN becomes a process to run.

use std::collections::BTreeMap;

use crate::build::dockerfile::{self, Command, Fault, Heredoc, Problem, decode, heredoc_word};

use super::configure::in_shell;
use super::evaluate::Walk;
use super::mount::SshPaths;
use super::scope::{Scope, Vars};
use super::{Action, Run, Script};

/// Where here-documents that are programs are seen.
const PIPES: &str = "/dev/pipes/";

/// Arguments that every RUN sees without declaring them, and that make no difference to the cache.
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

impl Walk<'_> {
    pub(super) fn run(
        &mut self,
        stage: usize,
        scope: &mut Scope,
        run: &dockerfile::Run,
    ) -> Result<Action, Fault> {
        if let Some(device) = run.devices.first() {
            return Problem::at(
                device.at,
                format!("the device `{}` cannot be given to a build", device.text),
            )
            .hint("RUN has no access to devices of the host")
            .fail();
        }
        let mut scripts = Vec::new();
        let args = match &run.command {
            Command::Exec(words) => words.clone(),
            Command::Shell(line) => {
                let line = shell_line(&line.text, &run.heredocs, &mut scripts);
                in_shell(&scope.config, &line)
            }
        };
        let mut mounts = Vec::with_capacity(run.mounts.len());
        let mut ssh = SshPaths::default();
        for mount in &run.mounts {
            mounts.push(self.mount(stage, scope, mount, &mut ssh)?);
        }
        scope.record(&format!("RUN {}{} # buildkit", arguments(scope), args.join(" ")), true);
        let mut env = scope.env.clone();
        if let Some(first) = ssh.first() {
            env.entry("SSH_AUTH_SOCK".to_owned()).or_insert_with(|| first.to_owned());
        }
        let proxy = proxies(&self.request.args, &env);
        Ok(Action::Run(Box::new(Run {
            args,
            env: env.into_iter().collect(),
            proxy,
            user: scope.config.user.clone(),
            workdir: scope.workdir().to_owned(),
            mounts,
            scripts,
            network: run.network,
            security: run.security,
        })))
    }
}

/// Returns the line for the shell. A here-document alone is the line itself, or a program when it begins with `#!`;
/// others are put behind the line again, for the shell to read.
fn shell_line(line: &str, heredocs: &[Heredoc], scripts: &mut Vec<Script>) -> String {
    let Some(first) = heredocs.first() else { return line.to_owned() };
    if matches!(heredoc_word(line), Ok(Some(_))) {
        let content = first.text();
        if !content.starts_with(b"#!") {
            return decode(&content);
        }
        let path = format!("{PIPES}{}", first.name);
        scripts.push(Script { path: path.clone(), content });
        return path;
    }
    let mut whole = line.to_owned();
    for heredoc in heredocs {
        whole.push('\n');
        whole.push_str(&decode(&heredoc.content));
        whole.push_str(&heredoc.name);
    }
    whole
}

/// Returns the arguments as history shows them: `|2 A=1 B=x `.
fn arguments(scope: &Scope) -> String {
    if scope.args.is_empty() {
        return String::new();
    }
    let mut text = format!("|{} ", scope.args.len());
    for (name, value) in &scope.args {
        let value = scope.env.get(name).or(value.as_ref()).map_or("", String::as_str);
        text.push_str(&format!("{name}={value} "));
    }
    text
}

/// Returns the proxy variables, in both letter cases, that are given as arguments and not set otherwise.
fn proxies(given: &BTreeMap<String, String>, env: &Vars) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for name in PROXIES {
        let value = given.iter().rfind(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
        for name in [name.to_uppercase(), name.to_owned()] {
            if !env.contains_key(&name) {
                found.push((name, value.clone()));
            }
        }
    }
    found
}
