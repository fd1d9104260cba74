//! `up`: compares the wish with what is there and says which steps make it true.
//!
//! ```text
//! taking part ─▶ networks, volumes ─▶ decisions per container ─▶ steps
//!
//!     stop ─▶ remove ─▶ create ─▶ start       of a container that is made anew
//!      ▲                  ▲         ▲
//!      │                  │         └─ starts of, or waits for, what it depends on
//!      │                  └─ its networks, its volumes, the containers whose namespaces it joins
//!      └─ stops of those that depend on it
//! ```
//!
//! The same wish compared with its own result gives an empty plan (but for jobs that have ended: they run again).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Halt, Launch, Then, is_live};
use super::decide::{Decider, Decision, Decisions, Fate, containers_of};
use super::desired::{Condition, Desired, Service};
use super::error::Error;
use super::ground::{self, Change, Networks, is_lost, is_on, networks_of};
use super::observed::{Container, Health, Observed, State};
use super::order::{Graph, shared_namespaces, shared_volumes};
use super::steps::{Action, Plan};

/// How a wish is made true.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Only these services and what they depend on; empty is all.
    pub services: Vec<String>,
    /// Which containers are made anew.
    pub recreate: Recreate,
    /// Those of dependencies as well (`--always-recreate-deps`); else only of the named services.
    pub recreate_dependencies: bool,
    /// Anonymous volumes are not taken over (`-V`), which makes the containers anew.
    pub renew_anonymous_volumes: bool,
    /// Remove containers of services that are not declared, and one-offs that have ended.
    pub remove_orphans: bool,
    /// Do not mention orphans.
    pub ignore_orphans: bool,
    /// Create, do not start.
    pub no_start: bool,
    /// Do not touch dependencies of the named services (`--no-deps`).
    pub no_dependencies: bool,
    /// Grace instead of each container's own when one is stopped, in milliseconds.
    pub grace_ms: Option<u64>,
    /// Only say what would be done. For the performer: the plan is the same.
    pub dry_run: bool,
}

/// Which containers are made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recreate {
    /// Those whose wish has changed.
    #[default]
    Changed,
    /// All.
    Force,
    /// None.
    Never,
}

/// Says what to do so that the wish comes true.
///
/// Fails when the wish cannot come true whatever is done: a name that two want, an external network that is not
/// there, a namespace of nobody. Nothing has been done then.
pub fn reconcile(wish: &Desired, present: &Observed, options: &Options) -> Result<Plan, Error> {
    check_wished(&options.services, wish)?;
    let graph = Graph::new(Some(wish), present);
    let old = Graph::of_containers(Some(wish), present);
    let mut taking_part = taking_part(wish, &graph, options);
    taking_part.retain(|name| wish.services.contains_key(*name));
    let (known, leavers, decisions, warnings) = loop {
        let services = services_of(wish, &taking_part);
        check_names(&services)?;
        let mut warnings = check_health(wish, &services, &taking_part, options)?;
        let leavers = leavers(wish, present, options, &mut warnings);
        let known = ground::networks(wish, present, &services, options, &mut warnings)?;
        ground::check_unused(&known, wish, present, &leavers)?;
        let decider = Decider {
            wish,
            present,
            options,
            graph: &graph,
            old: &old,
            taking_part: &taking_part,
            networks: &known,
            leavers: &leavers,
        };
        let decisions = decider.decide()?;
        // Those that cannot go on without what is made anew take part as well, with what they need.
        let drawn_in: Vec<String> = decisions
            .values()
            .map(|decision| decision.service.name.clone())
            .filter(|name| !taking_part.contains(name.as_str()) && decisions[name.as_str()].creates())
            .collect();
        if drawn_in.is_empty() {
            break (known, leavers, decisions, warnings);
        }
        taking_part.extend(match options.no_dependencies {
            true => graph.named(&drawn_in),
            false => graph.with_dependencies(&drawn_in),
        });
        taking_part.retain(|name| wish.services.contains_key(*name));
    };
    let known = with_lost(known, wish, present, &decisions);
    let services = services_of(wish, &taking_part);
    let volumes = ground::volumes(wish, present, &services)?;

    let stay = decisions.values().flat_map(|decision| &decision.replicas).filter_map(|replica| {
        matches!(replica.fate, Fate::Start(_) | Fate::Restart(_)).then_some(replica.container)
    });
    let starting = graph.clone().with_uses(stay, present);
    let mut builder = Builder::new(&starting, &old, Some(wish), options.grace_ms);
    builder.plan.warnings = warnings;
    let then = match options.renew_anonymous_volumes {
        true => Then::GoWithVolumes,
        false => Then::Go,
    };
    builder.stop_all(|service| halts(service, &decisions, present, &leavers, then));
    let mut work = Work { wish, present, options, decisions: &decisions, builder, made: Made::default() };
    work.make_networks(&known);
    work.make_volumes(&volumes);
    work.make_containers()?;
    if !options.no_start {
        work.start_containers(&taking_part);
    }
    Ok(work.builder.plan)
}

/// Returns the services that a request is about: those named with what they depend on, or all.
pub fn services(wish: &Desired, present: &Observed, options: &Options) -> BTreeSet<String> {
    let graph = Graph::new(Some(wish), present);
    taking_part(wish, &graph, options).into_iter().map(str::to_owned).collect()
}

/// Adds networks that containers to be started are on, though their service is not wished to be on them any more.
fn with_lost<'a>(
    mut networks: Networks<'a>,
    wish: &Desired,
    present: &Observed,
    decisions: &Decisions<'a>,
) -> Networks<'a> {
    for replica in decisions.values().flat_map(|decision| &decision.replicas) {
        if matches!(replica.fate, Fate::Start(_) | Fate::Restart(_)) {
            for place in &replica.container.attachments {
                let name = place.network.as_str();
                if !networks.contains_key(name) && is_lost(name, wish, present) {
                    networks.insert(name, Change::Lost);
                }
            }
        }
    }
    networks
}

/// Refuses names of services that are not wished for, though they may have a container left.
fn check_wished(names: &[String], wish: &Desired) -> Result<(), Error> {
    match names.iter().find(|name| !wish.services.contains_key(*name)) {
        None => Ok(()),
        Some(name) => Err(Error::NoSuchService {
            service: name.clone(),
            known: wish.services.keys().cloned().collect(),
        }),
    }
}

/// The services that the request is about.
fn taking_part<'a>(wish: &'a Desired, graph: &'a Graph, options: &Options) -> BTreeSet<&'a str> {
    let all = wish.services.keys().map(String::as_str);
    match (options.services.is_empty(), options.no_dependencies) {
        (true, _) => all.collect(),
        (false, true) => graph.named(&options.services),
        (false, false) => graph.with_dependencies(&options.services),
    }
}

fn services_of<'a>(wish: &'a Desired, names: &BTreeSet<&str>) -> Vec<&'a Service> {
    wish.services.values().filter(|service| names.contains(service.name.as_str())).collect()
}

/// Refuses names that more than one container would get.
fn check_names(services: &[&Service]) -> Result<(), Error> {
    let mut names: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let Some(name) = service.container_name.as_deref() else { continue };
        if service.scale > 1 {
            return Err(Error::FixedNameScaled {
                service: service.name.clone(),
                name: name.to_owned(),
                scale: service.scale,
            });
        }
        if let Some(first) = names.insert(name, service) {
            return Err(Error::NameShared {
                name: name.to_owned(),
                first: first.name.clone(),
                second: service.name.clone(),
            });
        }
    }
    Ok(())
}

/// Refuses to wait for health where there is none; warns where the dependency is optional.
fn check_health(
    wish: &Desired,
    services: &[&Service],
    taking_part: &BTreeSet<&str>,
    options: &Options,
) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    for service in services.iter().filter(|service| service.scale > 0 && !options.no_start) {
        for (name, dependency) in &service.depends_on {
            let Some(other) = wish.services.get(name).filter(|_| taking_part.contains(name.as_str())) else {
                continue;
            };
            let blind = dependency.condition == Condition::ServiceHealthy && other.healthcheck.is_none();
            match blind && other.scale > 0 {
                true if dependency.required => {
                    return Err(Error::NoHealthcheck {
                        service: service.name.clone(),
                        dependency: name.clone(),
                    });
                }
                true => warnings.push(format!(
                    "service `{}` cannot wait for `{name}` to be healthy, which has no healthcheck",
                    service.name
                )),
                false => {}
            }
        }
    }
    Ok(warnings)
}

/// Containers of services that are not declared any more: those to remove, or a warning about them.
fn leavers<'a>(
    wish: &Desired,
    present: &'a Observed,
    options: &Options,
    warnings: &mut Vec<String>,
) -> Vec<&'a Container> {
    let is_orphan = |container: &&Container| !wish.declared.contains(&container.service);
    if options.remove_orphans {
        let has_ended = |container: &Container| !is_live(container);
        return present
            .containers
            .iter()
            .filter(|container| is_orphan(container) || (container.oneoff && has_ended(container)))
            .collect();
    }
    let names: Vec<&str> = present
        .containers
        .iter()
        .filter(|container| is_orphan(container) && !container.oneoff && !is_siblings(container, wish))
        .map(|container| container.name.as_str())
        .collect();
    if !names.is_empty() && !options.ignore_orphans {
        warnings.push(format!(
            "found orphan containers ({}) for this project; if you removed or renamed a service in your compose \
             file, run this command with `--remove-orphans` to clean them up",
            names.join(", ")
        ));
    }
    Vec::new()
}

/// Label that says from which files a container was made, separated by commas.
pub const CONFIG_FILES: &str = "com.docker.compose.project.config_files";

/// Whether a container was made from quite other files of the same project: it is another's, not an orphan of ours.
fn is_siblings(container: &Container, wish: &Desired) -> bool {
    let files = container.labels.get(CONFIG_FILES).map_or("", String::as_str);
    !files.is_empty()
        && !files.split(',').any(|file| wish.config_files.iter().any(|own| own.as_os_str() == file))
}

/// The containers of a service that are stopped or removed.
fn halts<'a>(
    service: &str,
    decisions: &Decisions<'a>,
    present: &'a Observed,
    leavers: &[&'a Container],
    recreated: Then,
) -> Vec<Halt<'a>> {
    let left = leavers.iter().filter(|container| container.service == service).map(|container| Halt {
        container,
        cause: "orphan".to_owned(),
        then: Then::Go,
    });
    let halves = present
        .containers
        .iter()
        .filter(|container| container.service == service && container.state == State::Removing)
        .filter(|container| !leavers.iter().any(|leaver| leaver.id == container.id))
        .map(|container| Halt { container, cause: "half removed".to_owned(), then: Then::Go });
    let decided =
        decisions.get(service).into_iter().flat_map(|decision| &decision.replicas).filter_map(|replica| {
            let (cause, then) = match &replica.fate {
                Fate::Keep | Fate::Start(_) => return None,
                Fate::Restart(cause) => (cause, Then::Stay),
                Fate::Recreate(cause) => (cause, recreated),
                Fate::Remove(cause) => (cause, Then::Go),
            };
            Some(Halt { container: replica.container, cause: cause.clone(), then })
        });
    left.chain(halves).chain(decided).collect()
}

/// Steps that make things, by name.
#[derive(Default)]
struct Made {
    networks: BTreeMap<String, usize>,
    volumes: BTreeMap<String, usize>,
    containers: BTreeMap<(String, u32), usize>,
}

/// The half of the plan that follows the stops.
struct Work<'a> {
    wish: &'a Desired,
    present: &'a Observed,
    options: &'a Options,
    decisions: &'a Decisions<'a>,
    builder: Builder<'a>,
    made: Made,
}

impl Work<'_> {
    fn make_networks(&mut self, networks: &Networks<'_>) {
        for (name, change) in networks {
            let network = (*name).to_owned();
            let mut after = Vec::new();
            if *change == Change::Changed {
                let left = self
                    .present
                    .containers
                    .iter()
                    .filter(|container| is_on(container, name))
                    .filter_map(|container| self.builder.gone.get(&container.id))
                    .copied()
                    .collect();
                let action = Action::RemoveNetwork { network: network.clone() };
                after.push(self.builder.plan.push(action, change.cause(), left));
            }
            let action = Action::CreateNetwork { network: network.clone() };
            let step = self.builder.plan.push(action, change.cause(), after);
            self.made.networks.insert(network, step);
        }
    }

    fn make_volumes(&mut self, volumes: &[&str]) {
        for name in volumes {
            let action = Action::CreateVolume { volume: (*name).to_owned() };
            let step = self.builder.plan.push(action, "new", Vec::new());
            self.made.volumes.insert((*name).to_owned(), step);
        }
    }

    /// Creations need the name to be free, networks and volumes to be there, and the containers that they share with.
    fn make_containers(&mut self) -> Result<(), Error> {
        let holders: BTreeMap<&str, &Container> =
            self.present.containers.iter().map(|container| (container.name.as_str(), container)).collect();
        for decision in self.decisions.values() {
            let service = decision.service;
            let ground = self.ground(service);
            for (number, cause, replaced) in creations(decision) {
                let name = self.wish.container_name(service, number);
                let mut after = ground.clone();
                if let Some(holder) = holders.get(name.as_str()) {
                    match self.builder.gone.get(&holder.id) {
                        Some(step) => after.push(*step),
                        None => return Err(Error::NameTaken { name, holder: holder.service.clone() }),
                    }
                }
                after.extend(replaced.and_then(|old| self.builder.gone.get(&old.id)));
                let replaces =
                    replaced.filter(|_| !self.options.renew_anonymous_volumes).map(|old| old.id.clone());
                let action =
                    Action::CreateContainer { service: service.name.clone(), number, name, replaces };
                let step = self.builder.plan.push(action, cause, after);
                self.made.containers.insert((service.name.clone(), number), step);
            }
        }
        Ok(())
    }

    /// The steps that every creation of a service comes after.
    fn ground(&self, service: &Service) -> Vec<usize> {
        let networks = networks_of(service).filter_map(|name| self.made.networks.get(name));
        let volumes = service
            .volumes
            .iter()
            .filter_map(|place| place.volume.as_ref())
            .filter_map(|name| self.made.volumes.get(name));
        let targets: BTreeSet<&str> =
            shared_namespaces(service).map(|(target, _)| target).chain(shared_volumes(service)).collect();
        let shared = self
            .made
            .containers
            .iter()
            .filter(|((service, _), _)| targets.contains(service.as_str()))
            .map(|(_, step)| step);
        // What is removed must not be shared with by chance.
        let left = targets.iter().filter_map(|target| self.builder.removed.get(*target)).flatten();
        networks.chain(volumes).chain(shared).chain(left).copied().collect()
    }

    fn start_containers(&mut self, taking_part: &BTreeSet<&str>) {
        let waitable: BTreeSet<&str> = self
            .decisions
            .values()
            .filter(|decision| decision.service.scale > 0)
            .map(|decision| decision.service.name.as_str())
            .filter(|name| taking_part.contains(name))
            .collect();
        let (wish, decisions, made) = (self.wish, self.decisions, &self.made);
        let gone = self.builder.gone.clone();
        self.builder.start_all(&waitable, |service| {
            let Some(decision) = decisions.get(service) else { return Vec::new() };
            let service = decision.service;
            let new = decision.create.iter().map(|number| (*number, cause_of_new(decision), None));
            let old = decision.replicas.iter().filter_map(|replica| {
                let number = replica.container.number;
                match &replica.fate {
                    Fate::Recreate(cause) => Some((number, cause.as_str(), None)),
                    Fate::Start(cause) | Fate::Restart(cause) => {
                        Some((number, cause.as_str(), Some(replica.container)))
                    }
                    Fate::Keep | Fate::Remove(_) => None,
                }
            });
            // One that stays has the networks that it was made with; its stop comes before its start.
            let launch = |(number, cause, stays): (u32, &str, Option<&Container>)| {
                let mut after: Vec<usize> = match stays {
                    Some(container) => {
                        let places = container.attachments.iter();
                        let networks = places.filter_map(|place| made.networks.get(&place.network));
                        networks.chain(gone.get(&container.id)).copied().collect()
                    }
                    None => {
                        networks_of(service).filter_map(|name| made.networks.get(name)).copied().collect()
                    }
                };
                after.extend(made.containers.get(&(service.name.clone(), number)));
                Launch { number, name: name_of(wish, decision, number), cause: cause.to_owned(), after }
            };
            let mut all: Vec<_> = old.chain(new).collect();
            all.sort_by_key(|(number, ..)| *number);
            all.into_iter().map(launch).collect()
        });
        let present = self.present;
        self.builder.wait_all(&waitable, |service, condition| {
            containers_of(present, service).into_iter().any(|container| is_unmet(container, condition))
        });
    }
}

/// Whether a container that stays as it is has yet to become what others wait for.
fn is_unmet(container: &Container, condition: Condition) -> bool {
    match condition {
        Condition::ServiceStarted => false,
        Condition::ServiceHealthy => container.health != Some(Health::Healthy),
        Condition::ServiceCompletedSuccessfully => is_live(container),
    }
}

/// What a service's container is called: one that stays keeps the name that it was made with.
fn name_of(wish: &Desired, decision: &Decision<'_>, number: u32) -> String {
    decision
        .replicas
        .iter()
        .find(|replica| {
            replica.container.number == number && matches!(replica.fate, Fate::Start(_) | Fate::Restart(_))
        })
        .map_or_else(
            || wish.container_name(decision.service, number),
            |replica| replica.container.name.clone(),
        )
}

/// The containers of a service that are made: number, cause, and the one replaced; by number.
fn creations<'a>(decision: &'a Decision<'_>) -> Vec<(u32, &'a str, Option<&'a Container>)> {
    let new = decision.create.iter().map(|number| (*number, cause_of_new(decision), None));
    let anew = decision.replicas.iter().filter_map(|replica| match &replica.fate {
        Fate::Recreate(cause) => Some((replica.container.number, cause.as_str(), Some(replica.container))),
        _ => None,
    });
    let mut all: Vec<_> = anew.chain(new).collect();
    all.sort_by_key(|(number, ..)| *number);
    all
}

fn cause_of_new(decision: &Decision<'_>) -> &'static str {
    if decision.replicas.is_empty() { "new" } else { "scaled up" }
}
