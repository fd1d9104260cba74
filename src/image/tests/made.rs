//! Images that are made here, and what is saved of images.

use super::*;

/// Adds a layer with one file on top of an image, as a build does it, and returns what came out.
fn build_on(place: &Place, base: &Image, name: &str, file: &str) -> Image {
    let store = &place.store;
    let lease = store.lease().expect("a lease");
    let Parts { config, mut layers, .. } = store.parts(&base.manifest).expect("the base's parts");
    lease.keep(layers.iter().flat_map(|part| [&part.blob, &part.chain])).expect("kept");
    let bytes = tar(&[(file, b"built")]);
    let diff_id = Digest::of(&bytes);
    let mut blob = store.blobs().begin_unknown().expect("begun");
    blob.write(&bytes).expect("written");
    let (blob, size) = blob.seal(&lease).expect("sealed");
    let below = layers.last().map(|part| part.chain.clone());
    let part = store.part(below.as_ref(), &diff_id, &blob).expect("described");
    assert_eq!(part.size, size);
    lease.keep([&part.chain]).expect("kept");
    let scratch = store.scratch().expect("a directory");
    let upper = scratch.path().join("upper");
    fs::create_dir(&upper).expect("made");
    fs::write(upper.join(file), "built").expect("written");
    // Whoever collects now takes nothing of it away.
    store.collect(&InUse::default()).expect("collected");
    assert_eq!(
        store.publish(&upper, &part.chain).expect("published"),
        store.layer(&part.chain).expect("there")
    );
    let mut config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
    config["rootfs"]["diff_ids"].as_array_mut().expect("a list").push(diff_id.to_string().into());
    layers.push(part);
    let names = [name.parse().expect("a name")];
    store.add(config.to_string().into_bytes(), &layers, &names, &Silent).expect("added")
}

#[test]
fn what_is_built_here_is_an_image_like_any_other() {
    let place = Place::new();
    let base = load_bytes(&place, &oci_archive(&[("web:1", &image(&["a"]))])).expect("loaded").remove(0);
    let built = build_on(&place, &base, "web:2", "b");
    assert_eq!(files(&built), ["a", "b"]);
    assert_eq!(find(&place, "web:2"), Some(built.clone()));
    assert_eq!(place.leftovers(), Vec::<PathBuf>::new());
    place.store.remove("web:1", false, &nobody).expect("removed");
    assert_eq!(find(&place, "web:2").map(|image| files(&image)), Some(vec!["a".to_owned(), "b".to_owned()]));
    // The layer that was published is what its blob unpacks to.
    fs::remove_dir_all(&built.layers[1]).expect("removed");
    let again = build_on(&place, &base_of(&place, "web:2"), "web:3", "c");
    assert_eq!(files(&again), ["a", "b", "c"]);
}

fn base_of(place: &Place, name: &str) -> Image {
    place.store.lookup(name, &Platform::host()).expect("known")
}

fn save_to(place: &Place, words: &[&str], form: Form) -> Result<Vec<u8>, Error> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let offers = place.store.offers(&words, None, &Platform::host())?;
    let mut bytes = Vec::new();
    save(&place.store, &offers, form, &mut bytes)?;
    Ok(bytes)
}

#[test]
fn what_is_saved_loads_again_in_every_form() {
    let place = Place::new();
    let (one, two) = (image(&["a", "b"]), image(&["a", "c"]));
    load_bytes(&place, &oci_archive(&[("web:1", &one), ("db:1", &two)])).expect("loaded");
    place.store.tag("web:1", &"web:stable".parse().expect("a name")).expect("tagged");
    for form in [Form::Docker, Form::DockerV1, Form::Oci] {
        let archive = save_to(&place, &["web:1", "db:1", "web:stable"], form).expect("saved");
        assert_eq!(archive, save_to(&place, &["web:1", "db:1", "web:stable"], form).expect("saved"));
        let other = Place::new();
        load_bytes(&other, &archive).expect("loaded");
        for name in ["web:1", "db:1", "web:stable"] {
            let (before, after) = (find(&place, name).expect(name), find(&other, name).expect(name));
            assert_eq!(
                (after.id, files_at(&after.layers)),
                (before.id, files_at(&before.layers)),
                "{form:?}"
            );
            if form != Form::DockerV1 {
                assert_eq!(after.manifest, before.manifest, "{form:?}");
            }
        }
    }
    let id = one.config.digest.short();
    let other = Place::new();
    let loaded = load_bytes(&other, &save_to(&place, &[id], Form::Docker).expect("saved")).expect("loaded");
    assert_eq!(loaded[0].names, Vec::<String>::new(), "an id has no name");
    let rotten = place.path().join("blobs/sha256").join(one.layers[1].digest.hex());
    let length = fs::metadata(&rotten).expect("there").len();
    fs::write(&rotten, vec![0; usize::try_from(length).expect("small")]).expect("damaged");
    let error = save_to(&place, &["web:1"], Form::Oci).expect_err("damage is not handed on");
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
}

fn files_at(layers: &[PathBuf]) -> Vec<String> {
    let names = |layer: &PathBuf| fs::read_dir(layer).expect("a layer").flatten().collect::<Vec<_>>();
    layers.iter().flat_map(names).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_layout_takes_images_in_addition() {
    let (place, target) = (Place::new(), tempfile::tempdir().expect("a temporary directory"));
    let (one, two) = (image(&["a"]), image(&["b"]));
    load_bytes(&place, &oci_archive(&[("web:1", &one), ("db:1", &two)])).expect("loaded");
    let put = |word: &str| {
        let offers = place.store.offers(&[word.to_owned()], None, &Platform::host()).expect("offered");
        save_layout(&place.store, &offers, target.path()).expect("saved");
    };
    put("web:1");
    put("db:1");
    place.store.tag("db:1", &"web:1".parse().expect("a name")).expect("tagged");
    put("web:1");
    let other = Place::new();
    for (name, made) in [("db:1", &two), ("web:1", &two)] {
        let source = source(&format!("oci:{}:docker.io/library/{name}", target.path().display()));
        let image = fetch(&other.store, &source, &Platform::host(), &Silent).expect(name);
        assert_eq!(image.id, made.config.digest, "{name}");
    }
}
