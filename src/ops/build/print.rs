//! `build --print`: the same builds as a file for `docker buildx bake`, as JSON.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use super::{Options, Overrides, image_of, wanted};
use crate::compose::model::{Build, FileReference, Service, Ulimit};
use crate::ops::project::Project;
use crate::report::Report;

/// Returns the file. Secrets are named by where they come from, never by their values.
pub fn bake(project: &Project, options: &Options) -> Result<Value, Report> {
    let wanted = wanted(project, options)?;
    let names: Vec<String> = wanted.iter().map(|name| target_name(name)).collect();
    let mut targets = Map::new();
    // Targets that nobody asked for are there for those whose contexts they are.
    let mut left: VecDeque<String> = wanted.into();
    while let Some(name) = left.pop_front() {
        let service = project.services.get(&name).or_else(|| project.disabled_services.get(&name));
        let Some((service, build)) = service.and_then(|service| Some((service, service.build.as_ref()?)))
        else {
            continue;
        };
        if !targets.contains_key(&target_name(&name)) {
            targets.insert(target_name(&name), target(project, service, build, &options.overrides)?);
            let others =
                build.additional_contexts.values().filter_map(|place| place.strip_prefix("service:"));
            left.extend(others.map(str::to_owned));
        }
    }
    Ok(json!({ "group": { "default": { "targets": names } }, "target": targets }))
}

/// Names of bake's targets have no dots.
fn target_name(service: &str) -> String {
    service.replace('.', "_")
}

fn target(
    project: &Project,
    service: &Service,
    build: &Build,
    overrides: &Overrides,
) -> Result<Value, Report> {
    let mut args: Map<String, Value> =
        build.args.iter().filter_map(|(name, value)| Some((name.clone(), json!(value.as_ref()?)))).collect();
    args.extend(overrides.args.iter().map(|(name, value)| (name.clone(), json!(value))));
    let mut tags = vec![image_of(project, service)?];
    tags.extend(build.tags.iter().filter(|tag| !tags.contains(tag)).cloned().collect::<Vec<_>>());
    let contexts: Map<String, Value> =
        build.additional_contexts.iter().map(|(name, place)| (name.clone(), json!(context(place)))).collect();
    let hosts: Map<String, Value> = build
        .extra_hosts
        .0
        .iter()
        .map(|(name, addresses)| (name.clone(), json!(addresses.join(","))))
        .collect();
    let ssh: Vec<String> = build
        .ssh
        .0
        .iter()
        .map(|(id, path)| path.as_ref().map_or_else(|| id.clone(), |path| format!("{id}={path}")))
        .collect();
    let fields = [
        ("context", json!(build.context)),
        ("contexts", contexts.into()),
        ("dockerfile", json!(build.dockerfile)),
        ("dockerfile-inline", json!(build.dockerfile_inline)),
        ("args", args.into()),
        ("labels", json!(build.labels)),
        ("tags", json!(tags)),
        ("cache-from", json!(build.cache_from)),
        ("cache-to", json!(build.cache_to)),
        ("target", json!(build.target)),
        ("secret", json!(secrets(project, &build.secrets))),
        ("ssh", json!(ssh)),
        ("platforms", json!(build.platforms)),
        ("pull", json!(build.pull || overrides.pull)),
        ("no-cache", json!(build.no_cache || overrides.no_cache)),
        ("network", json!(build.network)),
        ("shm-size", json!(build.shm_size.map(|size| size.0.to_string()))),
        ("ulimits", json!(ulimits(build))),
        ("entitlements", json!(build.entitlements)),
        ("extra-hosts", hosts.into()),
        ("output", json!(["type=docker"])),
    ];
    let said = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    };
    Ok(fields
        .into_iter()
        .filter(|(_, value)| said(value))
        .map(|(name, value)| (name.to_owned(), value))
        .collect())
}

/// Another service's image is another target's.
fn context(place: &str) -> String {
    match place.strip_prefix("service:") {
        Some(service) => format!("target:{}", target_name(service)),
        None => place.to_owned(),
    }
}

fn secrets(project: &Project, references: &[FileReference]) -> Vec<String> {
    let secret = |reference: &FileReference| {
        let secret = project.secrets.get(&reference.source)?;
        let id = reference.target.as_ref().filter(|target| !target.is_empty()).unwrap_or(&reference.source);
        match (&secret.file, &secret.environment) {
            (Some(file), _) => Some(format!("id={id},type=file,src={}", file.display())),
            (None, Some(variable)) => Some(format!("id={id},type=env,env={variable}")),
            (None, None) => None,
        }
    };
    references.iter().filter_map(secret).collect()
}

fn ulimits(build: &Build) -> Vec<String> {
    let limit = |(name, limit): (&String, &Ulimit)| match limit {
        Ulimit::Single(both) => format!("{name}={both}"),
        Ulimit::Pair { hard, soft } => format!("{name}={soft}:{hard}"),
    };
    build.ulimits.iter().map(limit).collect()
}
