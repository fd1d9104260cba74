//! Relative paths of a tree → absolute ones, against the directory of the file or project that they stand in.

use std::path::Path as FilePath;

use super::node::{Map, Node, Value};
use super::paths::{absolute, remote};

/// Where paths start.
pub struct Base<'a> {
    /// The directory that relative paths are relative to.
    pub directory: &'a FilePath,
    /// The home directory, for `~`.
    pub home: Option<&'a str>,
}

impl Base<'_> {
    fn path(&self, node: &mut Node) {
        if let Value::Text(text) = &mut node.value
            && !text.is_empty()
        {
            *text = absolute(text, self.directory, self.home);
        }
    }

    fn context(&self, node: &mut Node) {
        if node.as_text().is_some_and(|text| !remote(text)) {
            self.path(node);
        }
    }
}

/// Makes every path of a tree absolute. Paths that are so already stay.
pub fn tree(root: &mut Node, base: &Base<'_>) {
    for service in children(root, "services") {
        self::service(service, base);
    }
    for section in ["configs", "secrets"] {
        for resource in children(root, section) {
            resource.get_mut("file").into_iter().for_each(|file| base.path(file));
        }
    }
    for volume in children(root, "volumes") {
        let local = volume.text_of("driver") == Some("local");
        let Some(options) = volume.get_mut("driver_opts") else { continue };
        if local && options.text_of("o") == Some("bind") {
            match options.get_mut("device") {
                // An empty one is the directory itself.
                Some(device) if device.as_text() == Some("") => {
                    device.value = Value::Text(base.directory.display().to_string());
                }
                device => device.into_iter().for_each(|device| base.path(device)),
            }
        }
    }
}

/// Makes every path of a service absolute.
fn service(service: &mut Node, base: &Base<'_>) {
    if let Some(build) = service.get_mut("build") {
        build.get_mut("context").into_iter().for_each(|context| base.context(context));
        if let Some(contexts) = build.get_mut("additional_contexts").and_then(Node::as_map_mut) {
            contexts.values_mut().for_each(|context| base.context(context));
        }
    }
    for file in list(service, "env_file") {
        file.get_mut("path").into_iter().for_each(|path| base.path(path));
    }
    list(service, "label_file").for_each(|file| base.path(file));
    if let Some(file) = service.get_mut("extends").and_then(|extends| extends.get_mut("file")) {
        base.path(file);
    }
    for mount in list(service, "volumes") {
        if mount.text_of("type") == Some("bind") {
            mount.get_mut("source").into_iter().for_each(|source| base.path(source));
        }
    }
    if let Some(develop) = service.get_mut("develop") {
        for rule in list(develop, "watch") {
            rule.get_mut("path").into_iter().for_each(|path| base.path(path));
        }
    }
}

fn children<'a>(node: &'a mut Node, key: &str) -> impl Iterator<Item = &'a mut Node> {
    node.get_mut(key).and_then(Node::as_map_mut).into_iter().flat_map(Map::values_mut)
}

fn list<'a>(node: &'a mut Node, key: &str) -> impl Iterator<Item = &'a mut Node> {
    match node.get_mut(key).map(|node| &mut node.value) {
        Some(Value::List(list)) => list.iter_mut(),
        _ => [].iter_mut(),
    }
}
