//! What is done about a container while it runs and when it ends: restarts, probes, hooks, limits.

use super::convert::ImageFacts;
use super::error::Error;
use super::model::{Healthcheck, Hook, Hooks, RestartPolicy};
use crate::compose::model::{self as compose, ByteSize, Service};
use crate::runtime::spec::Limits;

/// Defaults of probes, in milliseconds (specification, "healthcheck").
const INTERVAL_MS: u64 = 30_000;
const TIMEOUT_MS: u64 = 30_000;
const START_INTERVAL_MS: u64 = 5_000;
const RETRIES: u32 = 3;

pub(super) fn restart(service: &Service) -> Result<RestartPolicy, Error> {
    let unknown = |attribute, text: &str| {
        Error::value(
            service,
            attribute,
            text,
            "a restart policy: no, always, unless-stopped, on-failure or on-failure:NUMBER",
        )
    };
    if let Some(text) = service.restart.as_deref() {
        let (name, count) = text.split_once(':').map_or((text, None), |(name, count)| (name, Some(count)));
        return match (name, count) {
            ("no" | "", None) => Ok(RestartPolicy::No),
            ("always", None) => Ok(RestartPolicy::Always),
            ("unless-stopped", None) => Ok(RestartPolicy::UnlessStopped),
            ("on-failure", None) => Ok(RestartPolicy::OnFailure(None)),
            ("on-failure", Some(count)) => match count.parse::<u32>() {
                Ok(0) => Ok(RestartPolicy::OnFailure(None)),
                Ok(count) => Ok(RestartPolicy::OnFailure(Some(count))),
                Err(_) => Err(unknown("restart", text)),
            },
            _ => Err(unknown("restart", text)),
        };
    }
    let Some(policy) = service.deploy.as_ref().and_then(|deploy| deploy.restart_policy.as_ref()) else {
        return Ok(RestartPolicy::No);
    };
    let attempts = policy.max_attempts.and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
    match policy.condition.as_deref().unwrap_or("any") {
        "none" => Ok(RestartPolicy::No),
        "on-failure" => Ok(RestartPolicy::OnFailure(attempts)),
        "any" | "" => Ok(RestartPolicy::Always),
        other => {
            Err(Error::value(service, "deploy.restart_policy.condition", other, "none, on-failure or any"))
        }
    }
}

/// What the service leaves out comes from the image, then from the usual defaults.
pub(super) fn healthcheck(service: &Service, image: &ImageFacts) -> Result<Option<Healthcheck>, Error> {
    let own = service.healthcheck.clone().unwrap_or_default();
    let inherited = image.config.healthcheck.clone().unwrap_or_default();
    let test = if own.test.is_empty() { &inherited.test } else { &own.test };
    let argv = match test.split_first().map(|(kind, rest)| (kind.as_str(), rest)) {
        _ if own.disable => return Ok(None),
        None | Some(("NONE", _)) => return Ok(None),
        Some(("CMD", rest)) => rest.to_vec(),
        Some(("CMD-SHELL", rest)) => {
            let shell = image.config.shell.clone();
            let mut argv = shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
            argv.push(rest.join(" "));
            argv
        }
        Some((other, _)) => {
            return Err(Error::value(service, "healthcheck.test", other, "CMD, CMD-SHELL or NONE"));
        }
    };
    if argv.is_empty() {
        return Ok(None);
    }
    let time = |own: Option<compose::Duration>, inherited_ns: u64, usual_ms: u64| {
        let inherited_ms = inherited_ns.div_ceil(1_000_000);
        [own.map_or(0, at_least_a_millisecond), inherited_ms, usual_ms]
            .into_iter()
            .find(|ms| *ms > 0)
            .unwrap_or(0)
    };
    let start_period_ms = time(own.start_period, inherited.start_period_ns, 0);
    if own.start_interval.is_some() && start_period_ms == 0 {
        return Err(Error::StartInterval { service: service.name.clone() });
    }
    let retries = own.retries.and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    Ok(Some(Healthcheck {
        argv,
        interval_ms: time(own.interval, inherited.interval_ns, INTERVAL_MS),
        timeout_ms: time(own.timeout, inherited.timeout_ns, TIMEOUT_MS),
        retries: [retries, inherited.retries, RETRIES]
            .into_iter()
            .find(|count| *count > 0)
            .unwrap_or(RETRIES),
        start_period_ms,
        start_interval_ms: time(own.start_interval, inherited.start_interval_ns, START_INTERVAL_MS),
    }))
}

/// Whole milliseconds; what is shorter but not nothing is one.
fn at_least_a_millisecond(duration: compose::Duration) -> u64 {
    match duration.as_millis() {
        0 if duration.0 > 0 => 1,
        ms => ms,
    }
}

pub(super) fn hooks(service: &Service) -> Hooks {
    let hook = |hook: &compose::Hook| Hook {
        argv: hook.command.clone().unwrap_or_default(),
        user: hook.user.clone(),
        privileged: hook.privileged,
        working_dir: hook.working_dir.clone(),
        env: hook
            .environment
            .iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)))
            .collect(),
    };
    Hooks {
        post_start: service.post_start.iter().map(hook).collect(),
        pre_stop: service.pre_stop.iter().map(hook).collect(),
    }
}

/// `mem_limit` and its like, or the same under `deploy.resources`; that both agree is checked when the file is read.
pub(super) fn limits(service: &Service) -> Limits {
    let resources = service.deploy.as_ref().map(|deploy| &deploy.resources);
    let most = resources.and_then(|resources| resources.limits.as_ref());
    let least = resources.and_then(|resources| resources.reservations.as_ref());
    let bytes = |size: Option<ByteSize>| size.and_then(ByteSize::limit).filter(|bytes| *bytes > 0);
    let cpus = service.cpus.or(most.and_then(|limits| limits.cpus)).filter(|cpus| *cpus > 0.0);
    Limits {
        memory: bytes(service.mem_limit.or(most.and_then(|limits| limits.memory))),
        memory_reservation: bytes(service.mem_reservation.or(least.and_then(|least| least.memory))),
        memory_swap: service.memswap_limit.map(|size| size.0).filter(|bytes| *bytes != 0),
        // A float32: 0.1 is a little more, and rounds to 100.
        cpu_milli: cpus.map(|cpus| ((cpus * 1000.0).round() as u64).max(1)),
        cpu_quota: service.cpu_quota.filter(|quota| *quota != 0),
        cpu_period: positive(service.cpu_period),
        cpu_shares: positive(service.cpu_shares),
        cpuset: service.cpuset.clone().filter(|list| !list.is_empty()),
        pids: service.pids_limit.or(most.and_then(|limits| limits.pids)).filter(|pids| *pids != 0),
        blkio_weight: service
            .blkio_config
            .as_ref()
            .and_then(|blkio| blkio.weight)
            .and_then(|weight| u16::try_from(weight).ok())
            .filter(|weight| *weight > 0),
        oom_kill_disable: service.oom_kill_disable.unwrap_or(false),
    }
}

fn positive(number: Option<i64>) -> Option<u64> {
    number.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0)
}
