//! `run`: a one-off container of a service, with some of its attributes changed.

use std::path::PathBuf;

use super::conversation::Conversation;
use super::desired::{desired, placed};
use super::process::Pumps;
use super::project::{self, Project};
use super::up::{Build, Options as UpOptions, PullPolicy};
use super::{Session, images, ports, process, status, up, verbs};
use crate::api::message::{Rejoin, Request, Run};
use crate::compose;
use crate::compose::model::Service;
use crate::host::random;
use crate::plan::observed::ContainerId;
use crate::report::{Exit, Report};

/// What of the service is different.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Instead of its command; empty keeps it.
    pub command: Vec<String>,
    /// Instead of its entrypoint, as a shell would split it; takes its command away.
    pub entrypoint: Option<String>,
    /// Files of variables.
    pub env_files: Vec<PathBuf>,
    /// Variables, `NAME=value`; they win over the files.
    pub environment: Vec<String>,
    /// Instead of its user.
    pub user: Option<String>,
    /// Instead of its directory.
    pub working_dir: Option<String>,
    /// Further labels, `NAME=value`.
    pub labels: Vec<String>,
    /// Further volumes, in the short syntax.
    pub volumes: Vec<String>,
    /// Ports instead of its own, in the short syntax.
    pub publish: Vec<String>,
    /// Its own ports are published.
    pub service_ports: bool,
    /// Further capabilities.
    pub cap_add: Vec<String>,
    /// Capabilities taken away.
    pub cap_drop: Vec<String>,
    /// It has a terminal.
    pub tty: bool,
    /// Standard input is passed on.
    pub interactive: bool,
}

/// How it is run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// The service.
    pub service: String,
    /// The container's name.
    pub name: Option<String>,
    /// Do not start what it depends on.
    pub no_dependencies: bool,
    /// Remove it when it has ended.
    pub remove: bool,
    /// It answers to the service's names.
    pub use_aliases: bool,
    /// Do not wait for its end.
    pub detach: bool,
    /// Rows and columns of the caller's terminal.
    pub window: Option<(u16, u16)>,
    /// When images are fetched.
    pub pull: Option<PullPolicy>,
    /// No progress of fetching.
    pub quiet_pull: bool,
    /// No progress of building.
    pub quiet_build: bool,
    /// No progress at all.
    pub quiet: bool,
    /// When images are built.
    pub build: Build,
    /// Remove containers of services that the file does not declare.
    pub remove_orphans: bool,
}

/// Asks for the container.
pub fn run<'s>(
    session: &'s Session<'s>,
    project: &Project,
    changes: &Changes,
    options: &Options,
) -> Result<(Conversation<'s>, Pumps), Report> {
    if session.dry_run {
        return Err(Report::new(Exit::Usage, "run has no dry run: it does nothing but run"));
    }
    start(session, project, changes, options).map_err(|report| placed(project, report))
}

fn start<'s>(
    session: &'s Session<'s>,
    project: &Project,
    changes: &Changes,
    options: &Options,
) -> Result<(Conversation<'s>, Pumps), Report> {
    let named = std::slice::from_ref(&options.service);
    let mut chosen = project::select(project, named, options.no_dependencies, &[])?;
    project::check_dependencies(project, &chosen)?;
    let Some(service) = chosen.services.get_mut(&options.service) else {
        return Err(Report::new(Exit::Failure, format!("no such service: {}", options.service)));
    };
    change(service, changes, project)?;
    let fetch = UpOptions {
        pull: options.pull,
        quiet_pull: options.quiet_pull,
        quiet_build: options.quiet_build,
        build: options.build,
        ..UpOptions::default()
    };
    let services: Vec<&Service> = chosen.services.values().collect();
    let (images, _lease) = images::ensure_all(session, &chosen, &services, &fetch)?;
    let desired = desired(session, &chosen, &images)?;
    up::name_the_powerful(session, desired.services.get(&options.service).into_iter());
    if options.remove_orphans {
        let found = project::Found { name: project.name.clone(), project: Some(project.clone()) };
        verbs::remove_orphans(session, &found)?;
    }
    let publish = changes.service_ports || !changes.publish.is_empty();
    let (mut bound, mut descriptors) = dependencies_ports(session, &desired, options)?;
    if publish {
        for port in desired.services.get(&options.service).iter().flat_map(|service| &service.ports) {
            ports::bind_one(session.paths, port, &options.service, 0, &mut bound, &mut descriptors)?;
        }
    }
    let mut pumps = Pumps::default();
    if !options.detach {
        let (streams, started) = process::streams(changes.tty, changes.interactive)?;
        descriptors.extend(streams);
        pumps = started;
    }
    let id = random::container_id().map_err(|error| Report::from_error(Exit::Failure, &error))?;
    let request = Run {
        id: ContainerId(id),
        service: options.service.clone(),
        name: options.name.clone(),
        no_dependencies: options.no_dependencies,
        remove: options.remove,
        publish,
        use_aliases: options.use_aliases,
        tty: changes.tty,
        interactive: changes.interactive,
        detach: options.detach,
        window: options.window,
        volumes: Vec::new(),
        ports: bound,
        desired,
    };
    let again = Request::Rejoin(Rejoin::Run {
        id: request.id.clone(),
        service: request.service.clone(),
        begun: false,
        tty: request.tty,
        remove: request.remove,
        detach: request.detach,
        window: request.window,
    });
    let request = Request::Run(Box::new(request));
    let conversation = Conversation::begin(session, &project.name, request, descriptors, again)?;
    Ok((conversation, pumps))
}

/// Binds the ports of dependencies that will be started.
fn dependencies_ports(
    session: &Session<'_>,
    desired: &crate::plan::desired::Desired,
    options: &Options,
) -> Result<(Vec<crate::api::message::BoundSocket>, Vec<std::os::fd::OwnedFd>), Report> {
    if options.no_dependencies || desired.services.len() < 2 {
        return Ok(Default::default());
    }
    let present = status::observed(session, &desired.project)?;
    let mut wish = desired.clone();
    wish.services.shift_remove(&options.service);
    let plan = crate::plan::reconcile(&wish, &present, &Default::default())?;
    ports::bind_for(session, &wish, &present, &plan)
}

/// Makes the service what the options say.
fn change(service: &mut Service, changes: &Changes, project: &Project) -> Result<(), Report> {
    let written = written(service, changes, project)?;
    if let Some(entrypoint) = &changes.entrypoint {
        let words = shell_words::split(entrypoint)
            .map_err(|error| Report::from_error(Exit::Usage, &error).cause(format!("in `{entrypoint}`")))?;
        service.entrypoint = Some(words);
        service.command = Some(Vec::new());
    }
    if !changes.command.is_empty() {
        service.command = Some(changes.command.clone());
    }
    service.environment.extend(written.environment);
    for variable in &changes.environment {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        service.environment.insert(name.to_owned(), Some(value.to_owned()));
    }
    for label in &changes.labels {
        let (name, value) = label.split_once('=').unwrap_or((label, ""));
        service.labels.insert(name.to_owned(), value.to_owned());
    }
    if let Some(user) = &changes.user {
        service.user = Some(user.clone());
    }
    if let Some(directory) = &changes.working_dir {
        service.working_dir = Some(directory.clone());
    }
    for volume in written.volumes {
        service.volumes.retain(|other| other.target != volume.target);
        service.volumes.push(volume);
    }
    if !changes.service_ports {
        service.ports.clear();
    }
    service.ports.extend(written.ports);
    service.cap_add.extend(changes.cap_add.iter().cloned());
    service.cap_drop.extend(changes.cap_drop.iter().cloned());
    service.tty = changes.tty;
    service.stdin_open = changes.interactive;
    // One container, under a name of its own; how many the service has is not its matter, nor is their restart.
    service.container_name = None;
    service.scale = Some(1);
    service.restart = None;
    if let Some(deploy) = &mut service.deploy {
        deploy.replicas = None;
        deploy.restart_policy = None;
    }
    Ok(())
}

/// What the options write in Compose's short syntax, read by the loader as a service of its own.
fn written(service: &Service, changes: &Changes, project: &Project) -> Result<Service, Report> {
    if changes.env_files.is_empty() && changes.volumes.is_empty() && changes.publish.is_empty() {
        return Ok(Service::default());
    }
    let here = std::env::current_dir().map_err(|error| {
        Report::new(Exit::Failure, "cannot tell the current directory").cause(error.to_string())
    })?;
    // Options are not interpolated, files are.
    let literal = |text: &String| text.replace('$', "$$");
    let files: Vec<String> =
        changes.env_files.iter().map(|file| literal(&here.join(file).display().to_string())).collect();
    let document = serde_json::json!({
        "name": project.name,
        "services": { &service.name: {
            "image": "none",
            "env_file": files,
            "volumes": changes.volumes.iter().map(literal).collect::<Vec<_>>(),
            "ports": changes.publish.iter().map(literal).collect::<Vec<_>>(),
        } },
    });
    let request = compose::Request {
        files: vec!["-".into()],
        project_directory: Some(project.working_dir.clone()),
        environment: project.environment.clone(),
        current_directory: here,
        stdin: Some(document.to_string().into_bytes()),
        switches: compose::Switches { no_consistency: true, ..compose::Switches::default() },
        ..compose::Request::default()
    };
    let mut loaded = compose::load(&request, &compose::Disk).map_err(|error| {
        // Places in a text that nobody wrote would only confuse.
        Report { places: Vec::new(), exit: Exit::Usage, ..Report::from(error) }
    })?;
    Ok(loaded.project.services.shift_remove(&service.name).unwrap_or_default())
}
