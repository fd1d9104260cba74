//! Lifecycle hooks: commands in a container after its start and before its stop.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::time::timeout;

use super::caller::{Caller, Say};
use super::exec::{Extra, NOT_PREPARED, TOLD_WITHIN};
use super::inside::Outcome;
use super::{Engine, Error};
use crate::plan::desired::Hook;
use crate::runtime::spec::ContainerId;
use crate::sys::net;

/// What a process ends with that goes with its container: 128 and SIGKILL.
const KILLED: i32 = 137;

impl Engine {
    /// Runs the `post_start` hooks in order; the first failure ends it.
    pub(super) async fn post_start(self: &Rc<Self>, id: &ContainerId, caller: &Caller) -> Result<(), Error> {
        let hooks = self.hooks(id, |hooks| hooks.post_start.clone());
        for hook in hooks {
            self.run_hook(id, "post_start", &hook, caller).await?;
        }
        Ok(())
    }

    /// Runs the `pre_stop` hooks in order. A failure is told, and the stop goes on.
    pub(super) async fn pre_stop(self: &Rc<Self>, id: &ContainerId, caller: &Caller) {
        let hooks = self.hooks(id, |hooks| hooks.pre_stop.clone());
        for hook in hooks {
            if !self.is_live(id) {
                return;
            }
            if let Err(error) = self.run_hook(id, "pre_stop", &hook, caller).await {
                caller.warn(crate::report::Report::from(error).to_string());
            }
        }
    }

    fn hooks(
        &self,
        id: &ContainerId,
        choose: impl Fn(&crate::plan::desired::Hooks) -> Vec<Hook>,
    ) -> Vec<Hook> {
        let project = self.project.borrow();
        project.entries.get(id).map(|entry| choose(&entry.config.service.hooks)).unwrap_or_default()
    }

    async fn run_hook(
        self: &Rc<Self>,
        id: &ContainerId,
        when: &'static str,
        hook: &Hook,
        caller: &Caller,
    ) -> Result<(), Error> {
        let extra = Extra {
            env: hook.env.clone(),
            user: hook.user.clone(),
            working_dir: hook.working_dir.clone(),
            privileged: hook.privileged,
        };
        // Taken before: once its end is known, the container has none.
        let process = self.process(id);
        let container = self.record_or_gone(id)?.name;
        let mut lines = Lines::default();
        let mut say = |line: &[u8]| {
            let line = String::from_utf8_lossy(line).into_owned();
            caller.say(Say::Hook { container: container.clone(), line });
        };
        let ran = self
            .run_inside(id, hook.argv.clone(), &extra, None, &mut |bytes| lines.take(bytes, &mut say))
            .await;
        lines.finish(&mut say);
        let perhaps_late = match &ran {
            Ok(outcome) => outcome.code == KILLED,
            Err(Error::NotExecuted { source, .. }) => source.code == NOT_PREPARED,
            Err(error) => matches!(error, Error::NotRunning { .. }),
        };
        if perhaps_late && ends(process).await {
            return Err(Error::HookTooLate { when, program: hook.argv.join(" "), container });
        }
        let Outcome { code, output } = ran?;
        if code == 0 {
            return Ok(());
        }
        Err(Error::Hook { when, program: hook.argv.join(" "), container, code, evidence: evidence(&output) })
    }
}

/// A line of a hook that is longer is cut in pieces.
const LONGEST: usize = 16 << 10;

/// Of what a hook prints so many bytes are shown, as of a step of a build.
const SHOWN: usize = 2 << 20;

/// What stands where more would be shown.
const MORE: &[u8] = b"[more is not shown: 2 MiB are]";

/// A line is counted with what it is shown behind: there may be millions of empty ones.
const MARGIN: usize = 16;

/// Puts lines together from bytes as they come.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
    /// Bytes.
    shown: usize,
    /// It was said that there are more.
    cut: bool,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], each: &mut dyn FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(piece);
            if self.begun.ends_with(b"\n") || self.begun.len() >= LONGEST {
                self.finish(each);
            }
        }
    }

    /// There is no more: a line without an end is one.
    fn finish(&mut self, each: &mut dyn FnMut(&[u8])) {
        if self.begun.is_empty() {
            return;
        }
        if self.shown < SHOWN {
            self.shown += self.begun.len() + MARGIN;
            each(self.begun.strip_suffix(b"\n").unwrap_or(&self.begun));
        } else if !std::mem::replace(&mut self.cut, true) {
            each(MORE);
        }
        self.begun.clear();
    }
}

/// Whether a container ends. Its namespaces go, and what runs in them, a moment before that can be seen of its process.
async fn ends(process: Option<OwnedFd>) -> bool {
    let Some(process) = process else { return true };
    let Ok(process) = net::watch(process) else { return false };
    timeout(TOLD_WITHIN, process.readable()).await.is_ok()
}

/// The last lines of what a command printed.
pub(super) fn evidence(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_from_pieces() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        let mut each = |line: &[u8]| found.push(String::from_utf8_lossy(line).into_owned());
        for piece in ["on", "e\ntwo\n\n", "three"] {
            lines.take(piece.as_bytes(), &mut each);
        }
        lines.finish(&mut each);
        lines.finish(&mut each);
        lines.take(&[b'x'; LONGEST + 1], &mut each);
        lines.take(b"y\n", &mut each);
        assert_eq!(found[..4], ["one", "two", "", "three"]);
        assert!(found[4].len() > LONGEST && found[5..] == ["y"], "{}", found.len());
    }
    #[test]
    fn of_what_never_ends_a_part_is_shown() {
        for line in [&b"\n"[..], b"y\n", &[b'x'; LONGEST]] {
            let mut lines = Lines::default();
            let (mut sum, mut count, mut last) = (0, 0, Vec::new());
            let mut each = |line: &[u8]| {
                (sum, count) = (sum + line.len(), count + 1);
                last = line.to_vec();
            };
            (0..SHOWN / MARGIN).for_each(|_| lines.take(line, &mut each));
            lines.finish(&mut each);
            assert!(sum <= SHOWN + LONGEST && count <= SHOWN / MARGIN && last == MORE, "{sum} {count}");
        }
    }
}
