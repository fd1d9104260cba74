//! Waiting for containers to become what somebody needs them to be.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::caller::Caller;
use super::logs::{Reader, Window};
use super::turn::CalledOff;
use super::{Engine, Error, now_ns};
use crate::plan::desired::Condition;
use crate::plan::observed::{Container, Health, State};
use crate::progress;

/// So many lines of a log are shown when its container fails.
const EVIDENCE: usize = 5;

/// What has no health check is well when it has run for so long without ending: a program that refuses its configuration
/// ends in its first moments. It is also how often docker compose looks.
const SETTLED: Duration = Duration::from_millis(500);

/// What a container is, for who waits for it.
enum Standing {
    /// As wanted; the word that progress shows.
    Good(&'static str),
    /// Not yet.
    Pending,
    /// It will not become so.
    Bad(Error),
}

impl Engine {
    /// Waits until the containers of a service fulfil a condition. A step of a plan.
    pub(super) async fn wait_condition(
        self: &Rc<Self>,
        service: &str,
        condition: Condition,
        caller: &Caller,
        called_off: &mut CalledOff,
    ) -> Result<(), Error> {
        let tell = condition != Condition::ServiceStarted;
        let mut good = BTreeSet::new();
        let mut told = BTreeSet::new();
        let mut changed = self.changed();
        loop {
            changed.mark_unchanged();
            let containers: Vec<Container> = {
                let project = self.project.borrow();
                project.of_service(service).into_iter().map(|entry| entry.record.clone()).collect()
            };
            let mut pending = false;
            for container in &containers {
                let task = format!("Container {}", container.name);
                if tell && told.insert(container.id.clone()) {
                    caller.progress(&task, progress::State::Working, "Waiting");
                }
                match self.standing(container, condition) {
                    Standing::Good(word) => {
                        if good.insert(container.id.clone()) && tell {
                            caller.progress(&task, progress::State::Done, word);
                        }
                    }
                    Standing::Pending => pending = true,
                    Standing::Bad(error) => {
                        if tell {
                            caller.progress(&task, progress::State::Failed, "Error");
                        }
                        return Err(match error {
                            // It says already that it was waited for.
                            Error::Job { .. } => error,
                            error => Error::Dependency { source: Box::new(error) },
                        });
                    }
                }
            }
            if !pending {
                return Ok(());
            }
            tokio::select! {
                _ = changed.changed() => {}
                who = called_off.by() => return Err(Error::CalledOff { who }),
            }
        }
    }

    fn standing(&self, container: &Container, condition: Condition) -> Standing {
        let name = container.name.clone();
        match (condition, &container.state) {
            (_, State::Created | State::Restarting { .. }) => Standing::Pending,
            (_, State::Removing) => Standing::Bad(Error::NoContainer { container: name }),
            (Condition::ServiceStarted, State::Running { .. }) => Standing::Good("Started"),
            (Condition::ServiceStarted, State::Exited { error: None, .. }) => Standing::Good("Exited"),
            (Condition::ServiceHealthy, State::Running { .. }) => match container.health {
                Some(Health::Healthy) => Standing::Good("Healthy"),
                Some(Health::Starting) => Standing::Pending,
                Some(Health::Unhealthy) => Standing::Bad(Error::Unhealthy {
                    container: name,
                    evidence: self.why_unhealthy(container),
                }),
                None => Standing::Bad(Error::NoHealthcheck { container: name }),
            },
            (Condition::ServiceCompletedSuccessfully, State::Running { .. }) => Standing::Pending,
            (Condition::ServiceCompletedSuccessfully, State::Exited { code: Some(0), .. }) => {
                Standing::Good("Exited")
            }
            (Condition::ServiceCompletedSuccessfully, State::Exited { code, .. }) => {
                Standing::Bad(Error::Job {
                    service: container.service.clone(),
                    code: *code,
                    evidence: self.last_lines(container),
                })
            }
            (Condition::ServiceStarted | Condition::ServiceHealthy, State::Exited { code, .. }) => {
                Standing::Bad(Error::Exited {
                    container: name,
                    code: *code,
                    evidence: self.last_lines(container),
                })
            }
        }
    }

    /// The request `Wait`: all are running or healthy, jobs have ended with 0.
    ///
    /// With a timeout, a container that is unhealthy may recover in it. One that has ended and is not started again fails at
    /// once, unless it is a job that has ended well.
    pub async fn wait(
        self: &Rc<Self>,
        caller: &Caller,
        services: &[String],
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let begun = Instant::now();
        let work = self.wait_for_all(caller, services, timeout.is_some());
        let Some(timeout) = timeout else { return work.await };
        match tokio::time::timeout(timeout, work).await {
            Ok(result) => result,
            Err(_) => {
                let mut late = self.chosen(services);
                late.retain(|container| !matches!(self.fitness(container, true), Standing::Good(_)));
                let evidence = late.iter().flat_map(|container| self.why_unhealthy(container)).collect();
                let containers = late.into_iter().map(|container| container.name).collect();
                Err(Error::Timeout { containers, waited: begun.elapsed(), evidence })
            }
        }
    }

    async fn wait_for_all(
        self: &Rc<Self>,
        caller: &Caller,
        services: &[String],
        patient: bool,
    ) -> Result<(), Error> {
        let mut words: BTreeMap<String, &'static str> = BTreeMap::new();
        let mut changed = self.changed();
        loop {
            changed.mark_unchanged();
            let mut pending = false;
            for container in self.chosen(services) {
                let task = format!("Container {}", container.name);
                let (state, word) = match self.fitness(&container, patient) {
                    Standing::Good(word) => (progress::State::Done, word),
                    Standing::Pending => {
                        pending = true;
                        (progress::State::Working, "Waiting")
                    }
                    Standing::Bad(error) => {
                        caller.progress(task, progress::State::Failed, "Error");
                        return Err(error);
                    }
                };
                if words.insert(task.clone(), word) != Some(word) {
                    caller.progress(task, state, word);
                }
            }
            if !pending {
                return Ok(());
            }
            let settles = self.chosen(services).iter().filter_map(unsettled).min();
            let sleep = tokio::time::sleep(settles.unwrap_or_default());
            tokio::select! {
                ended = changed.changed() => if ended.is_err() {
                    return Ok(());
                },
                () = sleep, if settles.is_some() => {}
            }
        }
    }

    fn fitness(&self, container: &Container, patient: bool) -> Standing {
        match &container.state {
            State::Running { .. } if self.is_job(&container.service) => Standing::Pending,
            State::Running { .. } if container.health.is_none() => match unsettled(container) {
                Some(_) => Standing::Pending,
                None => Standing::Good("Healthy"),
            },
            State::Running { .. } if container.health == Some(Health::Unhealthy) && patient => {
                Standing::Pending
            }
            State::Exited { code: Some(0), .. } if self.is_job(&container.service) => {
                Standing::Good("Exited")
            }
            State::Exited { .. } if self.is_job(&container.service) => {
                self.standing(container, Condition::ServiceCompletedSuccessfully)
            }
            _ => self.standing(container, Condition::ServiceHealthy),
        }
    }

    /// Somebody waits for this service to complete.
    fn is_job(&self, service: &str) -> bool {
        let project = self.project.borrow();
        let desired = project.desired.iter().flat_map(|desired| desired.services.values());
        let mut dependencies = desired.flat_map(|other| other.depends_on.iter());
        dependencies.any(|(name, dependency)| {
            name == service && dependency.condition == Condition::ServiceCompletedSuccessfully
        })
    }

    fn chosen(&self, services: &[String]) -> Vec<Container> {
        let records = self.project.borrow().records();
        let wanted = |container: &Container| {
            !container.oneoff && (services.is_empty() || services.contains(&container.service))
        };
        records.into_iter().filter(wanted).collect()
    }

    /// The request `Ended`: waits until all containers of the services have ended; returns their codes by name.
    pub async fn wait_ended(&self, services: &[String]) -> Result<BTreeMap<String, i32>, Error> {
        let mut changed = self.changed();
        loop {
            changed.mark_unchanged();
            let containers = self.chosen(services);
            let live = containers.iter().any(|container| {
                matches!(container.state, State::Running { .. } | State::Restarting { .. } | State::Created)
            });
            if !live {
                let code = |state: &State| match state {
                    State::Exited { code, .. } => code.unwrap_or(255),
                    _ => 0,
                };
                return Ok(containers.iter().map(|one| (one.name.clone(), code(&one.state))).collect());
            }
            if changed.changed().await.is_err() {
                return Ok(BTreeMap::new());
            }
        }
    }

    /// The end of what a container has printed in its last run, as evidence.
    pub(super) fn last_lines(&self, container: &Container) -> Vec<String> {
        let since_ns = self.project.borrow().entries.get(&container.id).map(|entry| entry.began_ns);
        let window = Window { tail: Some(EVIDENCE), since_ns, ..Window::default() };
        let mut lines = Vec::new();
        if let State::Exited { error: Some(error), .. } = &container.state {
            lines.push(error.clone());
        }
        if let State::Exited { oom: true, .. } = &container.state {
            lines.push("out of memory: the kernel killed a process of it".into());
        }
        // A log that cannot be read is no evidence.
        let Ok(mut reader) = Reader::open(&self.store.directory(&container.id), window) else { return lines };
        while let Ok(true) = reader.advance() {
            lines.extend(reader.line().map(|line| String::from_utf8_lossy(line.text).into_owned()));
        }
        while reader.advance_to_rest() {
            lines.extend(reader.line().map(|line| String::from_utf8_lossy(line.text).into_owned()));
        }
        lines
    }

    fn why_unhealthy(&self, container: &Container) -> Vec<String> {
        let project = self.project.borrow();
        project.entries.get(&container.id).map(|entry| entry.last_probe.clone()).unwrap_or_default()
    }
}

/// How long a running container without health check is still to be watched; `None` when it has run for long enough.
fn unsettled(container: &Container) -> Option<Duration> {
    match container.state {
        State::Running { since_ns, .. } if container.health.is_none() => {
            // A clock that was set back makes nobody wait longer.
            let ran = u64::try_from(now_ns().saturating_sub(since_ns)).map_or(SETTLED, Duration::from_nanos);
            SETTLED.checked_sub(ran).filter(|left| !left.is_zero())
        }
        _ => None,
    }
}
