//! The configuration of an image as JSON (OCI image-spec, config.md, with Docker's additions), the way back of
//! [`ImageConfig::parse`]. What is empty is left out, as BuildKit does.

use serde_json::{Map, Value, json};

use super::config::{Healthcheck, History, ImageConfig};

impl ImageConfig {
    /// Writes it. The same configuration gives the same bytes.
    pub fn to_json(&self) -> Vec<u8> {
        let mut whole = Map::new();
        put(&mut whole, "architecture", text(&self.architecture));
        put(&mut whole, "author", self.author.as_deref().and_then(text));
        whole.insert("config".into(), Value::Object(self.runtime()));
        put(&mut whole, "created", self.created.as_deref().and_then(text));
        put(&mut whole, "history", list(self.history.iter().map(line)));
        put(&mut whole, "os", text(&self.os));
        let diff_ids: Vec<String> = self.diff_ids.iter().map(ToString::to_string).collect();
        whole.insert("rootfs".into(), json!({ "type": "layers", "diff_ids": diff_ids }));
        put(&mut whole, "variant", self.variant.as_deref().and_then(text));
        Value::Object(whole).to_string().into_bytes()
    }

    fn runtime(&self) -> Map<String, Value> {
        let words = |words: &Option<Vec<String>>| words.as_ref().map(|words| json!(words));
        let mut config = Map::new();
        if self.args_escaped {
            config.insert("ArgsEscaped".into(), Value::Bool(true));
        }
        put(&mut config, "Cmd", words(&self.cmd));
        put(&mut config, "Entrypoint", words(&self.entrypoint));
        put(&mut config, "Env", list(self.env.iter().map(|line| json!(line))));
        put(&mut config, "ExposedPorts", set(&self.exposed_ports));
        put(&mut config, "Healthcheck", self.healthcheck.as_ref().map(probe));
        put(&mut config, "Labels", (!self.labels.is_empty()).then(|| json!(self.labels)));
        put(&mut config, "OnBuild", list(self.on_build.iter().map(|line| json!(line))));
        put(&mut config, "Shell", words(&self.shell));
        put(&mut config, "StopSignal", self.stop_signal.as_deref().and_then(text));
        put(&mut config, "User", text(&self.user));
        put(&mut config, "Volumes", set(&self.volumes));
        put(&mut config, "WorkingDir", text(&self.working_dir));
        config
    }
}

fn put(map: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value);
    }
}

fn text(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| json!(text))
}

fn list(values: impl Iterator<Item = Value>) -> Option<Value> {
    let values: Vec<Value> = values.collect();
    (!values.is_empty()).then_some(Value::Array(values))
}

/// Go writes a set as an object of empty objects, in the order of its keys.
fn set(keys: &[String]) -> Option<Value> {
    let mut keys: Vec<&String> = keys.iter().collect();
    keys.sort();
    let map: Map<String, Value> = keys.into_iter().map(|key| (key.clone(), json!({}))).collect();
    (!map.is_empty()).then_some(Value::Object(map))
}

fn probe(probe: &Healthcheck) -> Value {
    let mut map = Map::new();
    put(&mut map, "Test", list(probe.test.iter().map(|word| json!(word))));
    let numbers = [
        ("Interval", probe.interval_ns),
        ("Timeout", probe.timeout_ns),
        ("StartPeriod", probe.start_period_ns),
        ("StartInterval", probe.start_interval_ns),
        ("Retries", probe.retries.into()),
    ];
    for (key, number) in numbers {
        put(&mut map, key, (number != 0).then(|| json!(number)));
    }
    Value::Object(map)
}

fn line(line: &History) -> Value {
    let mut map = Map::new();
    put(&mut map, "created", line.created.as_deref().and_then(text));
    put(&mut map, "created_by", line.created_by.as_deref().and_then(text));
    put(&mut map, "comment", line.comment.as_deref().and_then(text));
    put(&mut map, "empty_layer", line.empty_layer.then_some(Value::Bool(true)));
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_the_same() {
        let config = ImageConfig {
            env: vec!["PATH=/bin".into(), "A=\"1\"".into()],
            entrypoint: Some(vec!["a".into(), "b".into()]),
            cmd: Some(vec!["c".into()]),
            user: "1:2".into(),
            working_dir: "/w".into(),
            volumes: vec!["/a".into(), "/b".into()],
            exposed_ports: vec!["53/udp".into(), "80/tcp".into()],
            stop_signal: Some("SIGINT".into()),
            labels: [("k".to_owned(), "v".to_owned())].into(),
            healthcheck: Some(Healthcheck {
                test: vec!["CMD".into(), "x".into()],
                interval_ns: 5,
                ..Healthcheck::default()
            }),
            shell: Some(vec!["/bin/bash".into()]),
            on_build: vec!["RUN true".into()],
            args_escaped: true,
            architecture: "arm".into(),
            os: "linux".into(),
            variant: Some("v7".into()),
            created: Some("2024-01-02T03:04:05Z".into()),
            author: Some("me".into()),
            history: vec![History {
                created_by: Some("RUN x".into()),
                empty_layer: true,
                ..History::default()
            }],
            diff_ids: vec![super::super::Digest::of(b"x")],
        };
        assert_eq!(ImageConfig::parse("it", &config.to_json()).expect("a configuration"), config);
    }

    #[test]
    fn what_is_empty_is_left_out() {
        let empty = String::from_utf8(ImageConfig::default().to_json()).expect("text");
        assert_eq!(empty, r#"{"config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#);
    }
}
