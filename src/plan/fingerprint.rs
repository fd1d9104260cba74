//! What makes a container another container, as a hash.
//!
//! | hash | over | used for |
//! |---|---|---|
//! | [`service`] | the service as it is written, in canonical form | label `config-hash`, `config --hash` |
//! | [`container`] | that, and what the service's keys stand for | decides whether a container is made anew |
//! | [`network`] | a network as it is written | decides whether a network is made anew |
//!
//! Not in it: what says how many containers there are, when they start, how the image is made and what is shown
//! (`build`, `pull_policy`, `scale`, `deploy.replicas`, `depends_on`, `profiles`, `attach`, `develop`), and `x-…`. The
//! image's id is compared by itself.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::desired::{NetworkWish, Service};
use crate::compose::model as compose;
use crate::runtime::spec::{MountSource, Seccomp};

/// Attributes of a service whose change leaves its containers as they are.
const APART: [&str; 8] =
    ["attach", "build", "depends_on", "develop", "profiles", "pull_policy", "pull_refresh_after", "scale"];

/// Where the model keeps `x-…`.
const EXTENSIONS: &str = "#extensions";

/// Returns the hash of a service as it is written, 64 hexadecimal digits.
pub fn service(service: &compose::Service) -> String {
    let mut value = canonical(service);
    if let Value::Object(attributes) = &mut value {
        for name in APART {
            attributes.shift_remove(name);
        }
        // A `deploy` that says only how many is none.
        if let Some(Value::Object(deploy)) = attributes.get_mut("deploy") {
            deploy.shift_remove("replicas");
            deploy.retain(|_, part| *part != Value::Object(serde_json::Map::new()));
            if deploy.is_empty() {
                attributes.shift_remove("deploy");
            }
        }
    }
    hash([value.to_string()])
}

/// Returns the hash of all that makes a container of a service what it is, but for its image: the hash of what is
/// written, the full names of its networks and volumes, its names on them, and the contents of its configs, secrets and
/// seccomp profile.
pub fn container(config_hash: &str, wish: &Service) -> String {
    let mut parts = vec![config_hash.to_owned()];
    if let NetworkWish::Networks(places) = &wish.network {
        for place in places {
            parts.push(format!("network {} {}", place.network, place.aliases.join(",")));
        }
    }
    for place in &wish.volumes {
        if let Some(volume) = &place.volume {
            parts.push(format!("volume {volume} {}", place.target));
        }
    }
    for mount in &wish.spec.mounts {
        if let MountSource::Secret { content, .. } = &mount.source {
            parts.push(format!("file {} {content}", mount.target));
        }
    }
    if let Seccomp::Profile(profile) = &wish.spec.process.seccomp {
        parts.push(format!("seccomp {profile}"));
    }
    hash(parts)
}

/// Returns the hash of a network as it is written, 64 hexadecimal digits.
pub fn network(network: &compose::Network) -> String {
    hash([canonical(network).to_string()])
}

/// The value with sorted keys and without extensions: the order of a map's keys in the file means nothing.
fn canonical(value: &impl Serialize) -> Value {
    // What the model serialises to is always JSON; a failure would only make another hash.
    sorted(serde_json::to_value(value).unwrap_or_default())
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map
                .into_iter()
                .filter(|(key, _)| key != EXTENSIONS)
                .map(|(key, value)| (key, sorted(value)))
                .collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// Each part with its length before it, so that no two lists of parts read the same.
fn hash(parts: impl IntoIterator<Item = String>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(yaml: &str) -> String {
        service(&serde_yaml::from_str(yaml).expect("a service in canonical form"))
    }

    #[test]
    fn it_is_stable_and_of_the_usual_form() {
        // Another value here makes every container of every user anew at the next `up`.
        assert_eq!(
            of("{image: 'nginx:1', environment: {A: '1'}}"),
            "31e2d5d1669f3ea4b03bf51145b2eb16a19092b8c4f331aa692c732b2e4c65ad"
        );
    }

    #[test]
    fn what_is_apart_changes_nothing() {
        let plain = of("{image: x, deploy: {resources: {limits: {pids: 5}}}}");
        for more in [
            "scale: 3",
            "attach: false",
            "build: {context: /x}",
            "depends_on: {db: {condition: service_healthy}}",
            "profiles: [a]",
            "pull_policy: always",
            "pull_refresh_after: 1h",
            "develop: {watch: []}",
            "'#extensions': {x-a: 1}",
        ] {
            assert_eq!(
                of(&format!("{{image: x, deploy: {{resources: {{limits: {{pids: 5}}}}}}, {more}}}")),
                plain,
                "{more}"
            );
        }
        assert_eq!(of("{image: x, deploy: {replicas: 3}}"), of("image: x"));
        assert_eq!(of("{image: x, deploy: {replicas: 3, resources: {limits: {pids: 5}}}}"), plain);
    }

    #[test]
    fn everything_else_changes_it() {
        let plain = of("image: x");
        for other in [
            "image: y",
            "{image: x, environment: {A: null}}",
            "{image: x, environment: {A: ''}}",
            "{image: x, command: []}",
            "{image: x, restart: always}",
            "{image: x, labels: {a: b}}",
            "{image: x, networks: {a: null}}",
            "{image: x, deploy: {resources: {limits: {pids: 5}}}}",
        ] {
            assert_ne!(of(other), plain, "{other}");
        }
        assert_ne!(of("{image: x, environment: {A: null}}"), of("{image: x, environment: {A: ''}}"));
        assert_ne!(of("{image: x, command: [a, b]}"), of("{image: x, command: [b, a]}"));
    }

    #[test]
    fn the_order_of_keys_means_nothing() {
        assert_eq!(
            of("{image: x, environment: {A: '1', B: '2'}}"),
            of("{image: x, environment: {B: '2', A: '1'}}")
        );
    }
}
