//! What runs, as whom, and what it may do.

use std::path::{Path, PathBuf};

use super::convert::{Facts, ImageFacts, Warning};
use super::error::Error;
use crate::compose::model::Service;
use crate::runtime::caps;
use crate::runtime::spec::{Process, Seccomp, UserNamespace};

/// Where programs are looked for when neither image nor service says so; Docker's.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Names of resource limits, getrlimit(2) without `RLIMIT_`.
pub const RLIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

pub(super) fn process(
    service: &Service,
    image: &ImageFacts,
    image_name: &str,
    security: &Security,
) -> Result<Process, Error> {
    let argv = argv(service, image);
    if argv.is_empty() {
        return Err(Error::NoCommand { service: service.name.clone(), image: image_name.to_owned() });
    }
    let or_root = |path: &str| if path.is_empty() { "/".to_owned() } else { path.to_owned() };
    Ok(Process {
        argv,
        env: environment(service, image),
        cwd: service.working_dir.clone().unwrap_or_else(|| or_root(&image.config.working_dir)),
        user: service.user.clone().unwrap_or_else(|| image.config.user.clone()),
        group_add: service.group_add.clone(),
        capabilities: capabilities(service)?,
        no_new_privileges: security.no_new_privileges,
        seccomp: match service.privileged {
            true => Seccomp::Unconfined,
            false => security.seccomp.clone(),
        },
        rlimits: rlimits(service)?,
        oom_score_adj: service.oom_score_adj.map(|adjust| adjust.clamp(-1000, 1000) as i32),
    })
}

/// The specification's rules: what is null comes from the image, what is empty is empty, and an entrypoint drops the
/// image's command. An entrypoint that is cleared and followed by no command keeps the image's, or nothing would be
/// left to run; engines do so too.
fn argv(service: &Service, image: &ImageFacts) -> Vec<String> {
    let image_command = image.config.cmd.clone().unwrap_or_default();
    let (entrypoint, command) = match (&service.entrypoint, &service.command) {
        (None, None) => (image.config.entrypoint.clone().unwrap_or_default(), image_command),
        (None, Some(command)) => (image.config.entrypoint.clone().unwrap_or_default(), command.clone()),
        (Some(entrypoint), Some(command)) => (entrypoint.clone(), command.clone()),
        (Some(entrypoint), None) if entrypoint.is_empty() => (Vec::new(), image_command),
        (Some(entrypoint), None) => (entrypoint.clone(), Vec::new()),
    };
    entrypoint.into_iter().chain(command).collect()
}

/// The service's variables over the image's; one that is unset on purpose is not there at all.
fn environment(service: &Service, image: &ImageFacts) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut env: Vec<String> = image
        .config
        .env
        .iter()
        .filter(|variable| !service.environment.contains_key(&name(variable)))
        .cloned()
        .collect();
    let own =
        service.environment.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
    env.extend(own);
    let has = |env: &[String], wanted: &str| env.iter().any(|variable| name(variable) == wanted);
    if !has(&env, "PATH") && !service.environment.contains_key("PATH") {
        env.insert(0, PATH.to_owned());
    }
    if service.tty && !has(&env, "TERM") && !service.environment.contains_key("TERM") {
        env.push("TERM=xterm".to_owned());
    }
    env
}

fn capabilities(service: &Service) -> Result<Vec<String>, Error> {
    let unknown = |attribute: &'static str| {
        move |unknown| Error::Capability { service: service.name.clone(), attribute, unknown }
    };
    let none: [&str; 0] = [];
    caps::resolve(&none, &service.cap_drop, false).map_err(unknown("cap_drop"))?;
    caps::resolve(&service.cap_add, &service.cap_drop, service.privileged)
        .map(caps::Set::names)
        .map_err(unknown("cap_add"))
}

fn rlimits(service: &Service) -> Result<Vec<(String, u64, u64)>, Error> {
    // -1 is unlimited, for the kernel all bits set.
    let limit = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    service
        .ulimits
        .iter()
        .map(|(name, ulimit)| match RLIMITS.contains(&name.as_str()) {
            true => Ok((name.clone(), limit(ulimit.soft()), limit(ulimit.hard()))),
            false => Err(Error::value(
                service,
                format!("ulimits.{name}"),
                name,
                "a resource limit; getrlimit(2) lists them, in lower case without RLIMIT_",
            )),
        })
        .collect()
}

/// The user's single id appears as root, unless the container runs as somebody else: then as that one.
pub(super) fn user_namespace(service: &Service, image: &ImageFacts, single_id: bool) -> UserNamespace {
    let user = service.user.as_deref().unwrap_or(&image.config.user);
    let (user, group) = user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
    let line = image.passwd.as_deref().unwrap_or_default().lines().find_map(|line| {
        // name:password:uid:gid:… (passwd(5))
        let fields: Vec<&str> = line.split(':').collect();
        let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
        (fields[0] == user || fields[2] == user).then_some((uid, gid))
    });
    let ids = line.or_else(|| Some((user.parse().ok()?, 0)));
    match ids {
        Some((uid, gid)) if single_id && uid != 0 => {
            UserNamespace::Single { uid, gid: group.and_then(|group| group.parse().ok()).unwrap_or(gid) }
        }
        _ => UserNamespace::Outer,
    }
}

/// What `security_opt` says.
#[derive(Debug, PartialEq)]
pub(super) struct Security {
    pub(super) no_new_privileges: bool,
    pub(super) seccomp: Seccomp,
    /// Hide and protect the usual paths of /proc and /sys.
    pub(super) protect_paths: bool,
}

/// The file of a seccomp profile, relative to the project.
pub(super) fn seccomp_file(service: &Service, directory: &Path) -> Option<PathBuf> {
    service.security_opt.iter().find_map(|option| match split(option) {
        ("seccomp", Some(value)) if !["unconfined", "builtin", ""].contains(&value) => {
            Some(directory.join(value))
        }
        _ => None,
    })
}

/// `name=value` or `name:value`, as Docker takes both.
fn split(option: &str) -> (&str, Option<&str>) {
    match option.find(['=', ':']) {
        Some(at) => (&option[..at], Some(&option[at + 1..])),
        None => (option, None),
    }
}

pub(super) fn security(
    service: &Service,
    directory: &Path,
    facts: &Facts,
    warnings: &mut Vec<Warning>,
) -> Result<Security, Error> {
    let mut security = Security { no_new_privileges: false, seccomp: Seccomp::Default, protect_paths: true };
    for (index, option) in service.security_opt.iter().enumerate() {
        let unknown = || {
            Error::value(
                service,
                format!("security_opt.{index}"),
                option,
                "no-new-privileges, seccomp=…, systempaths=unconfined, apparmor=… or label=…",
            )
        };
        match split(option) {
            ("no-new-privileges", None | Some("true")) => security.no_new_privileges = true,
            ("no-new-privileges", Some("false")) => security.no_new_privileges = false,
            ("seccomp", Some("unconfined")) => security.seccomp = Seccomp::Unconfined,
            ("seccomp", Some("builtin")) => security.seccomp = Seccomp::Default,
            ("seccomp", Some(file)) if !file.is_empty() => {
                security.seccomp = Seccomp::Profile(profile(&directory.join(file), file, facts)?);
            }
            ("systempaths", Some("unconfined")) => security.protect_paths = false,
            // No profile and no label is what every container here has.
            ("apparmor", Some("unconfined")) | ("label", Some("disable")) => {}
            ("apparmor" | "label", Some(_)) => warnings.push(Warning {
                path: format!("services.{}.security_opt.{index}", service.name),
                reason: format!(
                    "`{option}` needs a security module of the host, which a container here does not enter"
                ),
            }),
            _ => return Err(unknown()),
        }
    }
    Ok(security)
}

fn profile(path: &Path, name: &str, facts: &Facts) -> Result<String, Error> {
    let wrong = |reason| Error::NoFile {
        kind: "seccomp profile",
        name: name.to_owned(),
        path: path.to_owned(),
        reason,
    };
    let bytes = facts.files.get(path).ok_or_else(|| wrong(facts.unreadable.get(path).cloned()))?;
    String::from_utf8(bytes.clone()).map_err(|_| wrong(Some("it is not UTF-8".to_owned())))
}
