//! Images for several platforms at once.

use super::*;

/// The same image for several platforms, an index of them, and an attestation beside.
struct Several {
    index: Blob,
    images: Vec<(Platform, Made)>,
    attestation: Made,
}

fn several(platforms: &[&str]) -> Several {
    let made = |platform: &Platform, file: &str| {
        let mut made = image(&[file]);
        let mut config: serde_json::Value = serde_json::from_slice(&made.config.bytes).expect("JSON");
        config["os"] = platform.os.clone().into();
        config["architecture"] = platform.architecture.clone().into();
        made.config = Blob::new(config.to_string());
        made.manifest = manifest_of(&made);
        made
    };
    let images: Vec<(Platform, Made)> = platforms
        .iter()
        .map(|text| text.parse::<Platform>().expect(text))
        .map(|platform| (platform.clone(), made(&platform, &platform.architecture)))
        .collect();
    let attestation =
        made(&Platform { os: "unknown".into(), architecture: "unknown".into(), variant: None }, "x");
    let entry = |made: &Made, os: &str, architecture: &str, more: serde_json::Value| {
        let mut entry: serde_json::Value =
            serde_json::from_str(&made.manifest.descriptor(config::OCI_MANIFEST)).expect("JSON");
        entry["platform"] = serde_json::json!({"os": os, "architecture": architecture});
        if !more.is_null() {
            entry["annotations"] = more;
        }
        entry
    };
    let mut entries: Vec<serde_json::Value> = images
        .iter()
        .map(|(platform, made)| entry(made, &platform.os, &platform.architecture, serde_json::Value::Null))
        .collect();
    let mark = serde_json::json!({"vnd.docker.reference.type": "attestation-manifest"});
    entries.push(entry(&attestation, "unknown", "unknown", mark));
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": config::OCI_INDEX, "manifests": entries});
    Several { index: Blob::new(index.to_string()), images, attestation }
}

fn manifest_of(made: &Made) -> Blob {
    let layers: Vec<String> =
        made.layers.iter().map(|layer| layer.descriptor("application/vnd.oci.image.layer.v1.tar")).collect();
    Blob::new(format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
        made.config.descriptor(config::OCI_CONFIG),
        layers.join(",")
    ))
}

impl Several {
    fn archive(&self, name: &str) -> Vec<u8> {
        let descriptor = self.index.descriptor(config::OCI_INDEX);
        let named = format!(r#","annotations":{{"org.opencontainers.image.ref.name":"{name}"}}}}"#);
        let entry = format!("{}{named}", descriptor.trim_end_matches('}'));
        let root = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#);
        let mut files: Vec<(String, Vec<u8>)> = vec![("index.json".to_owned(), root.into_bytes())];
        let images = self.images.iter().map(|(_, made)| made).chain([&self.attestation]);
        let parts = images.flat_map(|made| [&made.manifest, &made.config].into_iter().chain(&made.layers));
        for blob in parts.chain([&self.index]) {
            files.push((format!("blobs/sha256/{}", blob.digest.hex()), blob.bytes.clone()));
        }
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        tar(&files)
    }
}

#[test]
fn all_platforms_of_an_archive_are_kept_and_given_on_as_one() {
    let (place, host) = (Place::new(), Platform::host().to_string());
    let made = several(&["linux/s390x", &host, "linux/ppc64le"]);
    let loaded = load_bytes(&place, &made.archive("web:1")).expect("loaded");
    assert_eq!((loaded.len(), &loaded[0].manifest), (1, &made.images[1].1.manifest.digest));
    assert_eq!(loaded[0].origin.as_ref(), Some(&made.index.digest));
    let offer = |platform: Option<&str>| {
        let platform = platform.map(|text| text.parse::<Platform>().expect(text));
        place.store.offer("web:1", platform.as_ref(), &Platform::host())
    };
    let root = |offer: &Offer| offer.root().expect("a root").digest().to_string();
    assert_eq!(root(&offer(None).expect("offered")), made.index.digest.to_string(), "the very same index");
    let one = offer(Some("linux/s390x")).expect("offered");
    assert_eq!(root(&one), made.images[0].1.manifest.digest.to_string());
    assert!(matches!(offer(Some("linux/arm64/v9")), Err(Error::NoSuchPlatform { .. })));
    // Collecting leaves the index and what is beside the images.
    place.store.collect(&InUse::default()).expect("collected").erase().expect("erased");
    assert_eq!(root(&offer(None).expect("offered")), made.index.digest.to_string());
    let mut bytes = Vec::new();
    save(&place.store, &[offer(None).expect("offered")], Form::Oci, &mut bytes).expect("saved");
    let other = Place::new();
    let again = load_bytes(&other, &bytes).expect("loaded");
    assert_eq!(again[0].origin.as_ref(), Some(&made.index.digest));
    assert_eq!(other.store.list().expect("listed").len(), 3);
    // A layout's directory is as good as its tar.
    let (directory, other) = (tempfile::tempdir().expect("a directory"), Place::new());
    tar::Archive::new(bytes.as_slice()).unpack(directory.path()).expect("unpacked");
    let all = Platforms::All(Platform::host());
    load_layout(&other.store, directory.path(), &all, &Silent).expect("loaded");
    let given = other.store.offer("web:1", None, &Platform::host()).expect("offered");
    assert_eq!(root(&given), made.index.digest.to_string());
    let mut again = Vec::new();
    save(&other.store, &[given], Form::Oci, &mut again).expect("saved");
    assert!(again == bytes, "with all that is beside the images");
    // With one platform gone another index is made of the rest.
    place
        .store
        .change(|index| {
            index.manifests.retain(|entry| entry.digest != made.images[0].1.manifest.digest);
            Ok(())
        })
        .expect("changed");
    place.store.collect(&InUse::default()).expect("collected").erase().expect("erased");
    let rest = offer(None).expect("offered");
    assert_ne!(root(&rest), made.index.digest.to_string());
    assert_eq!(rest.texts.len(), 3, "two manifests and their index");
}
