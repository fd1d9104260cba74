//! Lifecycle hooks: commands in a container after its start and before its stop.

use std::rc::Rc;

use super::caller::Caller;
use super::exec::Extra;
use super::inside::Outcome;
use super::{Engine, Error};
use crate::plan::desired::Hook;
use crate::runtime::spec::ContainerId;

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
        _caller: &Caller,
    ) -> Result<(), Error> {
        let extra = Extra {
            env: hook.env.clone(),
            user: hook.user.clone(),
            working_dir: hook.working_dir.clone(),
            privileged: hook.privileged,
        };
        let Outcome { code, output } = self.run_inside(id, hook.argv.clone(), &extra, None).await?;
        if code == 0 {
            return Ok(());
        }
        Err(Error::Hook {
            when,
            program: hook.argv.join(" "),
            container: self.record_or_gone(id)?.name,
            code,
            evidence: evidence(&output),
        })
    }
}

/// The last lines of what a command printed.
pub(super) fn evidence(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].iter().map(|line| (*line).to_owned()).collect()
}
