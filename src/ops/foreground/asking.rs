//! What a foreground `up` asks of the supervisor, and of the next one when that is lost.

use std::os::fd::OwnedFd;

use super::course::{Course, Phase};
use crate::api::client::Client;
use crate::api::message::{Notice, Request};
use crate::ops::call::{Ended, connect, ended};
use crate::ops::up::{Build, Options, Prepared, PullPolicy, prepare};
use crate::report::{Exit, Report};

/// So many supervisors may be lost over the requests of one command: what kills them may be what they are asked.
const LOSSES: usize = 10;

impl Course<'_> {
    pub(super) fn interrupt(&mut self) -> Result<(), Report> {
        self.outcome = Some(Exit::Interrupted);
        match self.phase {
            Phase::Applying | Phase::Following => {
                self.screen.say("Gracefully Stopping... press Ctrl+C again to force");
                self.stop()
            }
            Phase::Stopping => {
                self.phase = Phase::Killing;
                self.kill()
            }
            Phase::Killing => Ok(()),
        }
    }

    pub(super) fn stop(&mut self) -> Result<(), Report> {
        self.phase = Phase::Stopping;
        self.ask(Request::Stop {
            services: self.options.services.clone(),
            grace_ms: self.options.apply.grace_ms,
        })
    }

    fn kill(&mut self) -> Result<(), Report> {
        self.ask(Request::Kill { services: self.options.services.clone(), signal: 9 })
    }

    fn ask(&mut self, request: Request) -> Result<(), Report> {
        let client = connect(self.session, &self.project.name)?;
        self.ask_on(client, request, Vec::new())
    }

    pub(super) fn apply(&mut self, client: Client, prepared: Prepared) -> Result<(), Report> {
        let (request, sockets, lease) = prepared.request();
        self.lease = Some(lease);
        self.ask_on(client, request, sockets)
    }

    fn ask_on(
        &mut self,
        mut client: Client,
        request: Request,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), Report> {
        match client.ask(request, descriptors) {
            Err(error) if !error.is_loss() => return Err(error.into()),
            // A supervisor that is lost in this moment is noticed when its answer is looked for.
            _ => self.answer = Some(client),
        }
        Ok(())
    }

    /// The supervisor was lost over what it was asked: asks the next one for the rest.
    fn ask_again(&mut self, lost: Report) -> Result<(), Report> {
        self.losses += 1;
        if self.losses > LOSSES {
            return Err(lost);
        }
        match self.phase {
            Phase::Applying => {
                // Fetched and built is everything.
                let options = Options {
                    pull: Some(PullPolicy::Missing),
                    build: Build::Missing,
                    ..self.options.clone()
                };
                let prepared = prepare(self.session, self.project, &options)?;
                let client = connect(self.session, &self.project.name)?;
                self.apply(client, prepared)
            }
            Phase::Stopping => self.stop(),
            Phase::Killing => self.kill(),
            // Nothing was asked.
            Phase::Following => Ok(()),
        }
    }

    /// Takes what the request says; true when the command is at its end.
    pub(super) fn take_answer(&mut self) -> Result<bool, Report> {
        loop {
            let Some(client) = &mut self.answer else { return Ok(false) };
            let received = client.try_next();
            if let Ok(Some((Notice::Hook { container, line }, _))) = &received {
                self.show_hook(container, line);
                continue;
            }
            match ended(self.session, received) {
                None => return Ok(false),
                Some(Ended::NotYet) => continue,
                Some(Ended::Lost(report)) => self.ask_again(report)?,
                Some(Ended::Failed(report)) if self.phase == Phase::Applying => return Err(report),
                Some(end @ (Ended::Done(_) | Ended::Failed(_))) => {
                    self.answer = None;
                    self.screen.settled();
                    if self.phase == Phase::Applying {
                        self.phase = Phase::Following;
                        return Ok(false);
                    }
                    if let Ended::Failed(report) = end {
                        self.session.ears.warning(&report.to_string());
                    }
                    return self.stopped().map(|()| true);
                }
            }
        }
    }
}
