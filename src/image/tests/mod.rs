//! Images made of nothing, archives of them, and what the store does with them.

mod damage;
mod made;
mod platforms;
mod space;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::progress::Silent;

/// A directory with a store in it.
pub(super) struct Place {
    directory: tempfile::TempDir,
    pub store: Store,
}

impl Place {
    pub fn new() -> Place {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(directory.path(), "key").expect("a store");
        Place { directory, store }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Names of files that nobody should ever leave behind.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for directory in ["blobs/sha256", "layers/key"] {
            for entry in fs::read_dir(self.path().join(directory)).expect("readable") {
                let entry = entry.expect("an entry");
                if entry.file_name().to_string_lossy().starts_with('.') {
                    found.push(entry.path());
                }
            }
        }
        found
    }
}

/// A blob as a manifest sees it.
#[derive(Clone)]
pub(super) struct Blob {
    pub bytes: Vec<u8>,
    pub digest: Digest,
}

impl Blob {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Blob {
        let bytes = bytes.into();
        Blob { digest: Digest::of(&bytes), bytes }
    }

    pub fn descriptor(&self, media_type: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, self.digest, self.bytes.len())
    }
}

/// An image for this machine: manifest, configuration, layers.
#[derive(Clone)]
pub(super) struct Made {
    pub manifest: Blob,
    pub config: Blob,
    pub layers: Vec<Blob>,
}

/// Makes an image with one layer for each name; a layer holds one file, `NAME`, with its name in it.
pub(super) fn image(files: &[&str]) -> Made {
    image_of(files.iter().map(|name| Blob::new(tar(&[(name, name.as_bytes())]))).collect())
}

fn image_of(layers: Vec<Blob>) -> Made {
    let list = |texts: Vec<String>| texts.join(",");
    let diff_ids = list(layers.iter().map(|layer| format!("\"{}\"", layer.digest)).collect());
    let platform = Platform::host();
    let config = Blob::new(format!(
        r#"{{"os":"{}","architecture":"{}","config":{{"Cmd":["sh"]}},"rootfs":{{"type":"layers","diff_ids":[{diff_ids}]}}}}"#,
        platform.os, platform.architecture
    ));
    let descriptors =
        list(layers.iter().map(|layer| layer.descriptor("application/vnd.oci.image.layer.v1.tar")).collect());
    let manifest = Blob::new(format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{descriptors}]}}"#,
        config.descriptor(config::OCI_CONFIG)
    ));
    Made { manifest, config, layers }
}

pub(super) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).expect("an entry");
    }
    builder.into_inner().expect("a tar")
}

/// An OCI archive with these images under their names.
fn oci_archive(images: &[(&str, &Made)]) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, made) in images {
        let descriptor = made.manifest.descriptor(config::OCI_MANIFEST);
        let named = format!(r#","annotations":{{"org.opencontainers.image.ref.name":"{name}"}}}}"#);
        entries.push(format!("{}{named}", descriptor.trim_end_matches('}')));
        for blob in [&made.manifest, &made.config].into_iter().chain(&made.layers) {
            files.push((format!("blobs/sha256/{}", blob.digest.hex()), blob.bytes.clone()));
        }
    }
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
    files.push(("index.json".to_owned(), index.into_bytes()));
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    tar(&files)
}

/// What `docker save` wrote before version 25.
fn old_archive(name: &str, made: &Made) -> Vec<u8> {
    let mut files: Vec<(String, Vec<u8>)> = vec![("c.json".to_owned(), made.config.bytes.clone())];
    let paths: Vec<String> = (0..made.layers.len()).map(|number| format!("{number}/layer.tar")).collect();
    for (path, layer) in paths.iter().zip(&made.layers) {
        files.push((path.clone(), layer.bytes.clone()));
        files.push((path.replace("layer.tar", "VERSION"), b"1.0".to_vec()));
    }
    let manifest = serde_json::json!([{"Config": "c.json", "RepoTags": [name], "Layers": paths}]);
    files.push(("manifest.json".to_owned(), manifest.to_string().into_bytes()));
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    tar(&files)
}

/// An image with one layer of about so many bytes, which do not compress.
pub(super) fn big_image(bytes: usize) -> Made {
    big_image_of(bytes, 1)
}

/// The same with other content for each seed.
pub(super) fn big_image_of(bytes: usize, seed: u8) -> Made {
    let mut state = u32::from(seed);
    let content: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(bytes)
    .collect();
    image_of(vec![Blob::new(tar(&[("big", &content)]))])
}

/// Loads an image under a name.
pub(super) fn load_as(place: &Place, name: &str, made: &Made) {
    load_bytes(place, &oci_archive(&[(name, made)])).expect("loaded");
}

fn nobody() -> Result<InUse, Error> {
    Ok(InUse::default())
}

fn load_bytes(place: &Place, archive: &[u8]) -> Result<Vec<Image>, Error> {
    load(&place.store, Path::new("the archive"), archive, &Platforms::All(Platform::host()), &Silent)
}

fn source(text: &str) -> Source {
    text.parse().expect(text)
}

fn find(place: &Place, name: &str) -> Option<Image> {
    resolve(&place.store, &source(name), &Platform::host()).expect("the store can be read")
}

/// The files that a container of this image would see.
fn files(image: &Image) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for layer in &image.layers {
        for entry in fs::read_dir(layer).expect("a layer") {
            names.push(entry.expect("an entry").file_name().to_string_lossy().into_owned());
        }
    }
    names
}

#[test]
fn every_kind_of_archive_gives_the_same_image() {
    let made = image(&["a", "b"]);
    for archive in [oci_archive(&[("web:1", &made)]), old_archive("web:1", &made)] {
        for compressed in [archive.clone(), zstd::encode_all(&archive[..], 1).expect("compressed")] {
            let place = Place::new();
            let loaded = load_bytes(&place, &compressed).expect("loaded");
            assert_eq!(loaded.len(), 1);
            assert_eq!(loaded[0].id, made.config.digest);
            assert_eq!(loaded[0].names, ["docker.io/library/web:1"]);
            assert_eq!(files(&loaded[0]), ["a", "b"]);
            assert_eq!(find(&place, "web:1").as_ref(), Some(&loaded[0]));
            assert_eq!(place.leftovers(), Vec::<PathBuf>::new());
        }
    }
}

#[test]
fn an_archive_that_lacks_something_says_what() {
    let whole = image(&["a"]);
    let check = |change: &dyn Fn(&mut Made), part: &str| {
        let mut made = whole.clone();
        change(&mut made);
        let place = Place::new();
        let error = load_bytes(&place, &oci_archive(&[("web:1", &made)])).expect_err(part);
        let report = crate::report::Report::from(error).to_string();
        assert!(report.contains(part), "{part}: {report}");
        assert_eq!(find(&place, "web:1"), None);
        // What was whole may stay for the next attempt; what was not has no place.
        let half: Vec<PathBuf> = place
            .leftovers()
            .into_iter()
            .filter(|path| !path.to_string_lossy().contains("partial"))
            .collect();
        assert_eq!(half, Vec::<PathBuf>::new(), "{part}");
    };
    check(&|made| made.layers.clear(), "is missing in `the archive`");
    check(&|made| made.layers[0].bytes[600] ^= 1, "its content is sha256:");
    check(&|made| made.layers[0].bytes.truncate(700), "its content is sha256:");
    check(&|made| made.manifest = Blob::new("<html>"), "not the JSON");
    check(&|made| made.config = Blob::new("{}"), "is missing in `the archive`");
    let other_tar = image(&["b"]).layers[0].clone();
    check(
        &|made| {
            // The configuration names a tar; the manifest another one, which is there and whole.
            let text = String::from_utf8(made.manifest.bytes.clone()).expect("text");
            let text = text.replace(made.layers[0].digest.hex(), other_tar.digest.hex());
            made.manifest = Blob::new(text.replace(
                &format!("\"size\":{}}}]", made.layers[0].bytes.len()),
                &format!("\"size\":{}}}]", other_tar.bytes.len()),
            ));
            made.layers = vec![other_tar.clone()];
        },
        "not what the image's configuration names",
    );
}

#[test]
fn a_small_archive_is_no_large_amount_of_work() {
    let made = image(&["a"]);
    // Each of three indexes names the next a thousand times; only the last names an image.
    let index = |below: &str| format!(r#"{{"schemaVersion":2,"manifests":[{below}]}}"#);
    let mut blobs = vec![made.manifest.clone(), made.config.clone(), made.layers[0].clone()];
    let mut below = made.manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
    for _ in 0..3 {
        let again = Blob::new(index(&below));
        let descriptor = again.descriptor("application/vnd.oci.image.index.v1+json");
        below = vec![descriptor; 1000].join(",");
        blobs.push(again);
    }
    let index = index(&below);
    let names: Vec<String> = blobs.iter().map(|blob| format!("blobs/sha256/{}", blob.digest.hex())).collect();
    let mut files: Vec<(&str, &[u8])> = vec![("index.json", index.as_bytes())];
    files.extend(names.iter().map(String::as_str).zip(blobs.iter().map(|blob| blob.bytes.as_slice())));
    assert_eq!(load_bytes(&Place::new(), &tar(&files)).expect("an image").len(), 1);
    // Forty entries for one image are one image, with forty names.
    let saved = |tag: usize| format!(r#"{{"Config":"c","RepoTags":["x:{tag}"],"Layers":["l"]}}"#);
    let saved = format!("[{}]", (0..40).map(saved).collect::<Vec<_>>().join(","));
    let files = [
        ("c", made.config.bytes.as_slice()),
        ("l", made.layers[0].bytes.as_slice()),
        ("manifest.json", saved.as_bytes()),
    ];
    let loaded = load_bytes(&Place::new(), &tar(&files)).expect("an image");
    assert_eq!(loaded.iter().map(|image| image.names.len()).collect::<Vec<_>>(), [40]);
    // Forty manifests for one large configuration.
    let config = String::from_utf8(made.config.bytes.clone()).expect("text");
    let config = Blob::new(config.replacen('{', &format!("{{\"author\":\"{}\",", "x".repeat(4 << 20)), 1));
    let text = String::from_utf8(made.manifest.bytes.clone()).expect("text");
    let text = text.replace(made.config.digest.hex(), config.digest.hex());
    let sizes = [&made.config, &config].map(|blob| format!("\"size\":{}", blob.bytes.len()));
    let text = text.replacen(&sizes[0], &sizes[1], 1);
    let manifests: Vec<Blob> =
        (0..40).map(|number| Blob::new(text.replacen('{', &format!("{{\"n\":{number},"), 1))).collect();
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let entries: Vec<String> = manifests.iter().map(|blob| blob.descriptor(manifest)).collect();
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
    let blobs: Vec<&Blob> = manifests.iter().chain([&config, &made.layers[0]]).collect();
    let names: Vec<String> = blobs.iter().map(|blob| format!("blobs/sha256/{}", blob.digest.hex())).collect();
    let mut files: Vec<(&str, &[u8])> = vec![("index.json", index.as_bytes())];
    files.extend(names.iter().map(String::as_str).zip(blobs.iter().map(|blob| blob.bytes.as_slice())));
    let error = load_bytes(&Place::new(), &tar(&files)).expect_err("too much");
    assert!(error.to_string().contains("128 MiB"), "{error}");
}

#[test]
fn what_could_be_no_name_here_is_none() {
    let place = Place::new();
    let long = "x".repeat(10_000);
    for name in ["../../../x:1", long.as_str(), "a b"] {
        let loaded = load_bytes(&place, &oci_archive(&[(name, &image(&["a"]))])).expect("loaded");
        assert_eq!(loaded[0].names, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn what_is_no_archive_is_refused() {
    let place = Place::new();
    let error = load_bytes(&place, &tar(&[("f", b"x")])).expect_err("no image in it");
    assert!(matches!(error, Error::NotAnArchive { .. }), "{error}");
    let error = load_bytes(&place, &[b'x'; 2000]).expect_err("no tar");
    assert!(matches!(error, Error::NotAnArchive { .. }), "{error}");
}

#[test]
fn a_name_moves_to_the_newer_image_and_the_older_stays_by_its_id() {
    let place = Place::new();
    let (old, new) = (image(&["a"]), image(&["a", "b"]));
    load_bytes(&place, &oci_archive(&[("web:1", &old), ("also:1", &new)])).expect("loaded");
    load_bytes(&place, &oci_archive(&[("web:1", &new)])).expect("loaded");
    assert_eq!(find(&place, "web:1").map(|image| image.id), Some(new.config.digest.clone()));
    let nameless = place.store.image(&old.config.digest).expect("read").expect("still here");
    assert_eq!(nameless.names, Vec::<String>::new());
    assert_eq!(place.store.list().expect("listed").len(), 2);
    let removed = place.store.remove(old.config.digest.short(), false, &nobody).expect("removed");
    assert_eq!(removed, Removed { untagged: Vec::new(), deleted: vec![old.config.digest.clone()] });
    // Its only layer is the lower one of the other image.
    assert_eq!(find(&place, "web:1").map(|image| files(&image)), Some(vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn another_id_map_has_layers_of_its_own() {
    let place = Place::new();
    let name = "127.0.0.1:1/web:1";
    let one = load_bytes(&place, &oci_archive(&[(name, &image(&["a"]))])).expect("loaded").remove(0);
    let other = Store::open(place.path(), "other").expect("opened");
    assert_eq!(resolve(&other, &source(name), &Platform::host()).expect("read"), None);
    let two = fetch(&other, &source(name), &Platform::host(), &Silent).expect("unpacked without a request");
    assert_eq!(files(&two), ["a"]);
    assert_ne!(one.layers, two.layers);
}

#[test]
fn a_file_is_read_again_only_when_it_has_changed() {
    let place = Place::new();
    let path = place.path().join("web.tar");
    let name = format!("oci-archive:{}:web:1", path.display());
    fs::write(&path, oci_archive(&[("web:1", &image(&["a"])), ("db:1", &image(&["d"]))])).expect("written");
    assert_eq!(find(&place, &name), None);
    let one = fetch(&place.store, &source(&name), &Platform::host(), &Silent).expect("loaded");
    assert_eq!(one.names, std::slice::from_ref(&name));
    assert_eq!(find(&place, &name), Some(one));
    fs::write(&path, oci_archive(&[("web:1", &image(&["a", "b"]))])).expect("written");
    assert_eq!(find(&place, &name), None);
    let two = fetch(&place.store, &source(&name), &Platform::host(), &Silent).expect("loaded");
    assert_eq!(files(&two), ["a", "b"]);
    let error = fetch(&place.store, &source(&name.replace("web:1", "no:1")), &Platform::host(), &Silent);
    assert!(matches!(&error, Err(Error::NoSuchName { known, .. }) if known == &["web:1"]), "{error:?}");
}

#[test]
fn a_directory_is_an_image_as_it_is() {
    let place = Place::new();
    let directory = place.path().join("rootfs");
    fs::create_dir(&directory).expect("made");
    let image = find(&place, &format!("rootfs:{}", directory.display())).expect("an image");
    assert_eq!((image.layers, image.host_userland), (vec![directory], false));
    let host = find(&place, "rootfs:/").expect("an image");
    assert_eq!((host.layers, host.host_userland), (Vec::new(), true));
    assert!(host.config.env[0].starts_with("PATH=/usr/local/sbin:"));
    let missing = source(&format!("rootfs:{}/none", place.path().display()));
    assert!(matches!(resolve(&place.store, &missing, &Platform::host()), Err(Error::Rootfs { .. })));
}

#[test]
fn many_who_want_the_same_image_unpack_it_once() {
    let place = Place::new();
    let archive = oci_archive(&[("web:1", &image(&["a", "b", "c", "d"]))]);
    let told = std::sync::Mutex::new(Vec::new());
    let sink = |progress: crate::progress::Progress| {
        if progress.parent.is_some() {
            told.lock().expect("not poisoned").push(progress.text);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let place_name = Path::new("the archive");
                load(&place.store, place_name, &archive[..], &Platforms::All(Platform::host()), &sink)
                    .expect("loaded");
            });
        }
    });
    let told = told.into_inner().expect("not poisoned");
    assert_eq!(told.iter().filter(|text| *text == "Loaded").count(), 4, "one for each layer");
    assert_eq!(find(&place, "web:1").map(|image| files(&image).len()), Some(4));
    assert_eq!(place.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn what_is_no_archive_is_called_by_its_name() {
    let place = Place::new();
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, bytes).expect("written");
        encoder.finish().expect("finished")
    };
    let check = |bytes: &[u8], expected: &str| {
        let error = load_bytes(&place, bytes).expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    };
    check(b"", "it is empty");
    check(b"services: {}\n", "it is text");
    check(br#"{"a": 1}"#, "it is JSON");
    check(&gzip(b"hello"), "it is gzip of text");
    check(&[b"\x7fELF\x02\x01".as_slice(), &[0; 1000]].concat(), "it is a program");
    check(&[b"PK\x03\x04".as_slice(), &[1; 1000]].concat(), "a zip archive");
    check(&[7; 2000], "of no kind that is known");
    check(&tar(&[("etc/passwd", b"root")]), "neither `index.json` nor `manifest.json`");
    let whole = oci_archive(&[("web:1", &image(&["a"]))]);
    let error = load_bytes(&place, &whole[..700]).expect_err("cut off").to_string();
    assert!(error.starts_with("cannot read"), "{error}");
}
