//! What becomes of each container: kept, started, restarted, made anew or removed, and why.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::builder::is_live;
use super::desired::{Desired, Service};
use super::error::Error;
use super::ground::{Change, Networks, is_on, lost_network};
use super::observed::{Container, Observed, State};
use super::order::{Graph, named_containers, shared_namespaces, shared_volumes};
use super::reconcile::{Options, Recreate};

/// What becomes of a container that exists, with the cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is as it should be.
    Keep,
    /// It stands still and is started.
    Start(String),
    /// It runs, is stopped and started again.
    Restart(String),
    /// It is removed and another takes its place.
    Recreate(String),
    /// It is one too many.
    Remove(String),
}

/// A container that exists and what becomes of it.
pub(super) struct Replica<'a> {
    pub(super) container: &'a Container,
    pub(super) fate: Fate,
}

/// What becomes of a service.
pub(super) struct Decision<'a> {
    pub(super) service: &'a Service,
    /// Those that exist, by number.
    pub(super) replicas: Vec<Replica<'a>>,
    /// Numbers of those that are new.
    pub(super) create: Vec<u32>,
}

/// Decisions by service, dependencies first.
pub(super) type Decisions<'a> = IndexMap<&'a str, Decision<'a>>;

impl Decision<'_> {
    /// Whether containers are made.
    pub(super) fn creates(&self) -> bool {
        !self.create.is_empty()
            || self.replicas.iter().any(|replica| matches!(replica.fate, Fate::Recreate(_)))
    }

    /// Why those that wait for a restart of this service are restarted, if they are.
    fn cause_for_dependents(&self) -> Option<String> {
        self.replicas.iter().find_map(|replica| match replica.fate {
            Fate::Recreate(_) => Some(format!("`{}` is made anew", self.service.name)),
            Fate::Restart(_) => Some(format!("`{}` is restarted", self.service.name)),
            _ => None,
        })
    }
}

/// The container whose namespace or volumes another uses, as it will be.
enum Target<'a> {
    Missing,
    New,
    Kept(&'a Container, Fate),
}

/// All that decisions are made from.
pub(super) struct Decider<'a, 'b> {
    pub(super) wish: &'a Desired,
    pub(super) present: &'a Observed,
    pub(super) options: &'b Options,
    pub(super) graph: &'b Graph,
    /// What the containers that exist were made to depend on.
    pub(super) old: &'b Graph,
    pub(super) taking_part: &'b BTreeSet<&'b str>,
    pub(super) networks: &'b Networks<'a>,
    /// Containers that are removed because nobody declares them.
    pub(super) leavers: &'b [&'a Container],
}

impl<'a> Decider<'a, '_> {
    /// Decides for every service of the wish. Of one that does not take part, only containers that could not go on are
    /// touched; one of them that would have to be made anew means that its service has to take part after all.
    pub(super) fn decide(&self) -> Result<Decisions<'a>, Error> {
        let order: Vec<&'a Service> =
            self.graph.order().into_iter().filter_map(|name| self.wish.services.get(name)).collect();
        let (whole, touched): (Vec<&'a Service>, Vec<&'a Service>) =
            order.into_iter().partition(|service| self.taking_part.contains(service.name.as_str()));
        let mut decisions = Decisions::new();
        for service in whole {
            let decision = self.whole(service, &decisions)?;
            decisions.insert(service.name.as_str(), decision);
        }
        for service in touched {
            let decision = self.touched(service, &decisions);
            decisions.insert(service.name.as_str(), decision);
        }
        Ok(decisions)
    }

    fn containers(&self, service: &str) -> Vec<&'a Container> {
        containers_of(self.present, service)
    }

    /// A service that takes part: its number is made right, too.
    fn whole(&self, service: &'a Service, made: &Decisions<'a>) -> Result<Decision<'a>, Error> {
        if service.scale > 0 {
            self.check_targets(service, made)?;
            self.check_containers(service)?;
        }
        let present = self.containers(&service.name);
        let was_empty = present.is_empty();
        let mut candidates: Vec<(&Container, Option<String>)> = present
            .into_iter()
            .map(|container| (container, self.obsolete(service, container, made)))
            .collect();
        // Those that would be made anew go first, then the highest numbers.
        candidates.sort_by_key(|(container, cause)| (cause.is_none(), Reverse(container.number)));
        let surplus = candidates.len().saturating_sub(service.scale as usize);
        let mut replicas = Vec::new();
        for (index, (container, cause)) in candidates.into_iter().enumerate() {
            let fate = match cause {
                _ if index < surplus => Fate::Remove("scaled down".to_owned()),
                Some(cause) => Fate::Recreate(cause),
                None => self.standing(service, container, made),
            };
            replicas.push(Replica { container, fate });
        }
        replicas.sort_by_key(|replica| replica.container.number);
        let taken: BTreeSet<u32> = replicas
            .iter()
            .filter(|replica| !matches!(replica.fate, Fate::Remove(_)))
            .map(|replica| replica.container.number)
            .collect();
        let missing = (service.scale as usize).saturating_sub(taken.len());
        let create: Vec<u32> = (1..).filter(|number| !taken.contains(number)).take(missing).collect();
        debug_assert!(was_empty || surplus == 0 || create.is_empty(), "a service grows or shrinks, not both");
        Ok(Decision { service, replicas, create })
    }

    /// A service that does not take part. What its containers really use counts, not what is wished for them now.
    fn touched(&self, service: &'a Service, made: &Decisions<'a>) -> Decision<'a> {
        let fate = |container: &'a Container| {
            if !is_live(container) {
                return Fate::Keep;
            }
            if let Some(cause) = self.lost_use(container, made) {
                return Fate::Recreate(cause);
            }
            if let Some(cause) = self.on_changed_network(container) {
                return Fate::Restart(cause);
            }
            let dependencies = match self.options.no_dependencies {
                true => None,
                false => restarted_dependency(self.old, service, made),
            };
            let lost = || {
                let network = self.networks.keys().find(|network| is_on(container, network));
                network.map(|network| format!("network {network} is not up any more"))
            };
            match dependencies.or_else(lost).or_else(|| self.renewed_use(container, made)) {
                Some(cause) if !self.options.no_start => Fate::Restart(cause),
                _ => Fate::Keep,
            }
        };
        let replicas = self
            .containers(&service.name)
            .into_iter()
            .map(|container| Replica { container, fate: fate(container) })
            .collect();
        Decision { service, replicas, create: Vec::new() }
    }

    /// Those whose namespaces or volumes a container uses, with what becomes of them.
    fn used(&self, container: &Container, made: &Decisions<'a>) -> Vec<(&'a Container, Fate)> {
        let fate_of = |used: &'a Container| {
            let decided = made.get(used.service.as_str()).and_then(|decision| {
                decision.replicas.iter().find(|replica| replica.container.id == used.id)
            });
            match decided {
                _ if used.state == State::Removing => Fate::Remove(String::new()),
                _ if self.leavers.iter().any(|leaver| leaver.id == used.id) => Fate::Remove(String::new()),
                Some(replica) => replica.fate.clone(),
                None => Fate::Keep,
            }
        };
        let used = self.present.containers.iter().filter(|other| container.uses.contains(&other.id));
        used.map(|used| (used, fate_of(used))).collect()
    }

    /// Why a container loses what it uses.
    fn lost_use(&self, container: &Container, made: &Decisions<'a>) -> Option<String> {
        self.used(container, made).into_iter().find_map(|(used, fate)| match fate {
            Fate::Recreate(_) => Some(format!("`{}` is made anew", used.service)),
            Fate::Remove(_) => Some(format!("{} is removed", used.name)),
            _ => None,
        })
    }

    /// Why the namespaces that a container uses become others.
    fn renewed_use(&self, container: &Container, made: &Decisions<'a>) -> Option<String> {
        self.used(container, made).into_iter().find_map(|(used, fate)| match fate {
            Fate::Start(_) | Fate::Restart(_) => Some(format!("`{}` is started again", used.service)),
            _ => None,
        })
    }

    /// A container that is not made anew.
    fn standing(&self, service: &Service, container: &Container, made: &Decisions<'a>) -> Fate {
        if self.options.no_start {
            return Fate::Keep;
        }
        match &container.state {
            State::Created => Fate::Start("not started yet".to_owned()),
            state if !is_live(container) => {
                debug_assert!(!matches!(state, State::Removing));
                Fate::Start("not running".to_owned())
            }
            _ => self.restart_cause(service, container, made).map_or(Fate::Keep, Fate::Restart),
        }
    }

    /// Why a container has to be made anew.
    fn obsolete(&self, service: &Service, container: &Container, made: &Decisions<'a>) -> Option<String> {
        let strategy = match self.options.services.is_empty() || self.options.services.contains(&service.name)
        {
            true => match self.options.recreate {
                Recreate::Changed if self.options.renew_anonymous_volumes => Recreate::Force,
                strategy => strategy,
            },
            false => match (self.options.recreate, self.options.recreate_dependencies) {
                (Recreate::Never, _) => Recreate::Never,
                (_, true) => Recreate::Force,
                (_, false) => Recreate::Changed,
            },
        };
        let changed = || {
            let image = (container.image_id != service.image_id).then_some("image changed");
            image.or((container.fingerprint != service.fingerprint).then_some("configuration changed"))
        };
        let own = match strategy {
            // However old it is, it stays what it was made as; unless that is taken from it.
            Recreate::Never => {
                let cannot_start = !is_live(container) && container.fingerprint == service.fingerprint;
                let lost = || self.lost_target(service, container, made).filter(|_| cannot_start);
                return self.lost_use(container, made).or_else(lost);
            }
            Recreate::Changed => changed(),
            Recreate::Force
                if self.options.recreate == Recreate::Changed && self.options.renew_anonymous_volumes =>
            {
                changed().or(Some("anonymous volumes renewed"))
            }
            Recreate::Force => changed().or(Some("forced")),
        };
        own.map(str::to_owned)
            .or_else(|| self.lost_target(service, container, made))
            .or_else(|| self.on_changed_network(container))
    }

    fn on_changed_network(&self, container: &Container) -> Option<String> {
        self.networks
            .iter()
            .find(|(network, change)| **change == Change::Changed && is_on(container, network))
            .map(|(network, _)| format!("network {network} changed"))
    }

    /// Why a running container is stopped and started again.
    fn restart_cause(
        &self,
        service: &Service,
        container: &Container,
        made: &Decisions<'a>,
    ) -> Option<String> {
        lost_network(container, self.wish, self.present)
            .map(|network| format!("network {network} is not up any more"))
            .or_else(|| restarted_dependency(self.graph, service, made))
            .or_else(|| self.renewed_use(container, made))
    }

    /// Why a container cannot go on with the container whose namespace or volumes it uses.
    fn lost_target(&self, service: &Service, container: &Container, made: &Decisions<'a>) -> Option<String> {
        let targets = shared_namespaces(service).map(|(target, _)| target).chain(shared_volumes(service));
        let mut causes = targets.filter_map(|target| match self.target(target, container.number, made) {
            Target::New => Some(format!("`{target}` is made anew")),
            Target::Kept(kept, _) if !container.uses.contains(&kept.id) => {
                Some(format!("`{target}` is another container now"))
            }
            Target::Kept(..) | Target::Missing => None,
        });
        causes.next()
    }

    /// Refuses a service whose targets are not there, or stand still and will go on doing so.
    fn check_targets(&self, service: &Service, made: &Decisions<'a>) -> Result<(), Error> {
        let namespaces = shared_namespaces(service).map(|(target, what)| (target, what, true));
        let volumes = shared_volumes(service).map(|target| (target, "volumes", false));
        for (target, what, must_run) in namespaces.chain(volumes) {
            let service = service.name.clone();
            match self.target(target, 1, made) {
                Target::Missing => {
                    return Err(Error::TargetMissing { service, target: target.to_owned(), what });
                }
                Target::Kept(container, Fate::Keep)
                    if must_run && !self.options.no_start && !is_live(container) =>
                {
                    let container = container.name.clone();
                    return Err(Error::TargetStopped { service, target: target.to_owned(), container, what });
                }
                Target::New | Target::Kept(..) => {}
            }
        }
        Ok(())
    }

    /// Refuses a service that names a container of nobody.
    fn check_containers(&self, service: &Service) -> Result<(), Error> {
        let to_come = self
            .wish
            .services
            .values()
            .flat_map(|other| (1..=other.scale).map(|number| self.wish.container_name(other, number)));
        let there = self.present.containers.iter().map(|container| container.name.clone());
        let known: BTreeSet<String> = to_come.chain(there).collect();
        for (name, what, attribute) in named_containers(service) {
            // An id, or its beginning, as `docker ps` shows it.
            let by_id = |container: &Container| name.len() >= 12 && container.id.0.starts_with(name);
            if !known.contains(name) && !self.present.containers.iter().any(by_id) {
                let (service, name) = (service.name.clone(), name.to_owned());
                let known = known.into_iter().collect();
                return Err(Error::ContainerMissing { service, name, what, attribute, known });
            }
        }
        Ok(())
    }

    /// The container of a service that one with this number shares with: of the same number, or the first.
    fn target(&self, target: &str, number: u32, made: &Decisions<'a>) -> Target<'a> {
        let mut found: Vec<(u32, Target<'a>)> = match made.get(target) {
            Some(decision) => decision
                .replicas
                .iter()
                .filter_map(|replica| match &replica.fate {
                    Fate::Remove(_) => None,
                    Fate::Recreate(_) => Some((replica.container.number, Target::New)),
                    fate => Some((replica.container.number, Target::Kept(replica.container, fate.clone()))),
                })
                .chain(decision.create.iter().map(|number| (*number, Target::New)))
                .collect(),
            None => self
                .containers(target)
                .into_iter()
                .map(|container| (container.number, Target::Kept(container, Fate::Keep)))
                .collect(),
        };
        found.sort_by_key(|(found, _)| (*found != number, *found));
        found.into_iter().next().map_or(Target::Missing, |(_, target)| target)
    }
}

/// Why a service that depends on others with `restart: true` is restarted.
fn restarted_dependency(graph: &Graph, service: &Service, made: &Decisions<'_>) -> Option<String> {
    graph
        .needs(&service.name)
        .filter(|(_, dependency)| dependency.restart)
        .find_map(|(other, _)| made.get(other)?.cause_for_dependents())
}

/// The containers of a service, one-offs and those that are half removed left out.
pub(super) fn containers_of<'a>(present: &'a Observed, service: &str) -> Vec<&'a Container> {
    present
        .containers
        .iter()
        .filter(|container| {
            container.service == service && !container.oneoff && container.state != State::Removing
        })
        .collect()
}
