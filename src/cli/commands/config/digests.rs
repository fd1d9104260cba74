//! `config --resolve-image-digests` and `--lock-image-digests`.

use serde_json::{Map, Value, json};

use crate::ops::project::Project;
use crate::ops::{Session, digests};
use crate::report::Report;

/// Pins the image of every service that names one.
pub fn pin(session: &Session<'_>, project: &mut Project) -> Result<(), Report> {
    let pinned = digests::resolve(session, project.services.values().filter_map(|s| s.image.clone()))?;
    for service in project.services.values_mut() {
        if let Some(whole) = service.image.as_ref().and_then(|image| pinned.get(image)) {
            service.image = Some(whole.clone());
        }
    }
    Ok(())
}

/// Pins the images of a tree; names with variables stay as they are.
pub fn pin_tree(session: &Session<'_>, tree: &mut Value) -> Result<(), Report> {
    let mut images: Vec<&mut Value> = services(tree).filter_map(|service| service.get_mut("image")).collect();
    let names = images.iter().filter_map(|image| image.as_str()).filter(|name| !name.contains('$'));
    let pinned = digests::resolve(session, names.map(str::to_owned).collect::<Vec<_>>())?;
    for image in &mut images {
        if let Some(whole) = image.as_str().and_then(|name| pinned.get(name)) {
            **image = whole.clone().into();
        }
    }
    Ok(())
}

fn services(tree: &mut Value) -> impl Iterator<Item = &mut Value> {
    tree.get_mut("services").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
}

/// Returns a file that says only which images the services have: laid over the others it pins them, and overrides
/// nothing else.
pub fn lock(images: impl IntoIterator<Item = (String, String)>) -> Value {
    let services = images.into_iter().map(|(name, image)| (name, json!({"image": image})));
    json!({"services": services.collect::<Map<String, Value>>()})
}

/// Lists the images of a tree by service.
pub fn images_of_tree(tree: &Value) -> Vec<(String, String)> {
    let services = tree.get("services").and_then(Value::as_object).into_iter().flatten();
    let image =
        |(name, service): (&String, &Value)| Some((name.clone(), service.get("image")?.as_str()?.to_owned()));
    services.filter_map(image).collect()
}
