//! `image build`: one image, of a context, with no Compose file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use super::super::{Session, images, registry};
use super::exchange;
use super::target::{agents, dockerfile_in, full_name, is_runnable, named_place, network, place};
use super::worker::{self, Built};
use crate::build::order::{Context, Dockerfile, Purpose, Secret, Target};
use crate::image::Platform;
use crate::report::{Exit, Report};

/// What is to be built.
#[derive(Clone, Debug, Default)]
pub struct Alone {
    /// A directory, a URL, a repository, or `-`: standard input, an archive or a Dockerfile alone.
    pub context: String,
    /// The Dockerfile: a path from here, or `-` for standard input.
    pub file: Option<String>,
    /// Names.
    pub tags: Vec<String>,
    /// The stage.
    pub stage: Option<String>,
    /// Values of `ARG`.
    pub args: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The platform, where one is asked for.
    pub platform: Option<String>,
    /// Named contexts.
    pub contexts: BTreeMap<String, String>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, Secret>,
    /// Agents by id.
    pub ssh: BTreeMap<String, Option<String>>,
    /// The network of steps.
    pub network: Option<String>,
    /// Lines of /etc/hosts: address, names.
    pub hosts: Vec<(String, Vec<String>)>,
    /// Size of /dev/shm in bytes.
    pub shm_size: Option<u64>,
    /// Resource limits: name, soft, hard.
    pub limits: Vec<(String, u64, u64)>,
    /// Do every step again.
    pub no_cache: bool,
    /// Ask registries for newer bases.
    pub pull: bool,
    /// Privileges that steps may ask for.
    pub entitlements: Vec<String>,
    /// Caches of others.
    pub cache_from: Vec<String>,
    /// Where others find what is made.
    pub cache_to: Vec<String>,
    /// Nothing is said of how it gets on.
    pub quiet: bool,
    /// Give the image to its registries.
    pub push: bool,
    /// Only say what is doubtful.
    pub check: bool,
}

/// Builds it.
pub fn build_alone(session: &Session<'_>, alone: &Alone) -> Result<Built, Report> {
    if alone.push && alone.tags.is_empty() {
        return Err(
            Report::new(Exit::Usage, "`--push` needs a name for the image").hint("give it one with `--tag`")
        );
    }
    let (target, input) = target(session, alone)?;
    let mut order = worker::order(session, vec![target])?;
    if alone.check {
        order.purpose = Purpose::Check;
    }
    if session.dry_run {
        match alone.tags.as_slice() {
            [] => images::pretend(session, &alone.context, images::BUILD),
            tags => tags.iter().for_each(|tag| images::pretend(session, tag, images::BUILD)),
        }
        return Ok(Built::default());
    }
    let silent = images::Silenced(session.ears);
    let session = if alone.quiet { &Session { ears: &silent, ..*session } } else { session };
    let built = worker::run(session, &order, input)?;
    if alone.push && !alone.check {
        let options = registry::PushOptions { platform: alone.platform.as_deref(), quiet: alone.quiet };
        for tag in &alone.tags {
            registry::push(session, tag, options)?;
        }
    }
    Ok(built)
}

/// The target, and standard input where that is the context.
fn target(session: &Session<'_>, alone: &Alone) -> Result<(Target, Option<File>), Report> {
    let mut input = None;
    let context = match alone.context.as_str() {
        "-" => {
            input = Some(super::super::worker::archive("-".as_ref())?);
            Context::Input
        }
        text => match place(text)? {
            Context::Directory(path) => {
                let real = path.canonicalize().map_err(|error| {
                    Report::new(Exit::Build, format!("there is no context `{text}`")).cause(error.to_string())
                })?;
                Context::Directory(real)
            }
            other => other,
        },
    };
    let dockerfile = recipe(alone, &context)?;
    let platform = alone
        .platform
        .as_deref()
        .map(|text| text.parse::<Platform>().map_err(|error| Report::from_error(Exit::Usage, &error)));
    let platform = platform.transpose()?;
    if let Some(platform) = &platform {
        is_runnable("the image", platform)?;
    }
    let mut contexts = BTreeMap::new();
    for (name, text) in &alone.contexts {
        contexts.insert(name.clone(), named_place(text, &[])?);
    }
    let here = std::env::current_dir().unwrap_or_default();
    let other =
        &mut |kind: &str| session.ears.warning(&format!("a cache with `type={kind}` has no effect here"));
    let mut cache_from = Vec::new();
    for entry in &alone.cache_from {
        cache_from.extend(exchange::from(entry, &here, other)?);
    }
    let mut cache_to = Vec::new();
    for entry in &alone.cache_to {
        cache_to.extend(exchange::to(entry, &here, other)?);
    }
    let mut args = alone.args.clone();
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        args.entry("SOURCE_DATE_EPOCH".to_owned()).or_insert(epoch);
    }
    let target = Target {
        tags: alone.tags.iter().map(|tag| full_name(tag)).collect::<Result<_, _>>()?,
        wanted: true,
        context,
        dockerfile,
        stage: alone.stage.clone(),
        args,
        labels: alone.labels.clone(),
        platform,
        contexts,
        secrets: alone.secrets.clone(),
        ssh: agents(&alone.ssh)?,
        network: network(alone.network.as_deref())?,
        hosts: alone.hosts.clone(),
        shm_size: alone.shm_size,
        limits: alone.limits.clone(),
        no_cache: alone.no_cache,
        pull: alone.pull,
        entitlements: alone.entitlements.clone(),
        cache_from,
        cache_to,
        ..Target::of_nothing("")
    };
    Ok((target, input))
}

/// A Dockerfile that is named stands here; one that is not, in the context.
fn recipe(alone: &Alone, context: &Context) -> Result<Dockerfile, Report> {
    match alone.file.as_deref() {
        Some("-") if *context == Context::Input => {
            Err(Report::new(Exit::Usage, "standard input cannot be both the context and the Dockerfile"))
        }
        Some("-") => {
            let mut text = Vec::new();
            std::io::stdin().read_to_end(&mut text).map_err(|error| {
                Report::new(Exit::Build, "cannot read the Dockerfile from standard input")
                    .cause(error.to_string())
            })?;
            Ok(Dockerfile::Text { name: "-".to_owned(), text, within: None })
        }
        Some(name) if matches!(context, Context::Directory(_)) => {
            let path = std::path::absolute(name).unwrap_or_else(|_| PathBuf::from(name));
            // As with docker, a path that is not found here is one of the context.
            if path.exists() { Ok(Dockerfile::File(path)) } else { Ok(dockerfile_in(context, Some(name))) }
        }
        name => Ok(dockerfile_in(context, name)),
    }
}
