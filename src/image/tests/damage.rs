//! What is damaged is noticed and mended.

use super::*;
use crate::image::check::{Checked, Options, check};

/// What happened to an image on disk, and how to make it happen.
type Damage = (&'static str, fn(&Image));

#[test]
fn a_damaged_store_is_repaired_from_what_is_whole() {
    let damages: [Damage; 3] = [
        ("a layer is gone", |image| fs::remove_dir_all(&image.layers[0]).expect("removed")),
        ("the power failed before it was on the disk", |image| {
            rustix::fs::setxattr(
                &image.layers[1],
                "user.rcompose.unsynced",
                b"another boot",
                rustix::fs::XattrFlags::empty(),
            )
            .expect("marked");
            fs::remove_file(image.layers[1].join("b")).expect("lost");
        }),
        ("both", |image| image.layers.iter().for_each(|layer| fs::remove_dir_all(layer).expect("removed"))),
    ];
    for (what, damage) in damages {
        let place = Place::new();
        // Nothing answers on this port: whoever asked would fail.
        let name = "127.0.0.1:1/web:1";
        let loaded =
            load_bytes(&place, &oci_archive(&[(name, &image(&["a", "b"]))])).expect("loaded").remove(0);
        damage(&loaded);
        assert_eq!(find(&place, name), None, "{what}");
        let repaired = fetch(&place.store, &source(name), &Platform::host(), &Silent).expect(what);
        assert_eq!(files(&repaired), ["a", "b"], "{what}");
        assert_eq!(find(&place, name), Some(repaired), "{what}");
        assert_eq!(place.leftovers(), Vec::<PathBuf>::new(), "{what}");
    }
}

#[test]
fn damaged_blobs_come_anew_with_the_next_load() {
    let made = image(&["a"]);
    for blob in [&made.manifest, &made.config, &made.layers[0]] {
        let place = Place::new();
        let archive = oci_archive(&[("web:1", &made)]);
        let loaded = load_bytes(&place, &archive).expect("loaded").remove(0);
        let path = place.path().join("blobs/sha256").join(blob.digest.hex());
        fs::write(&path, b"rubbish").expect("damaged");
        load_bytes(&place, &archive).expect("loaded again");
        assert_eq!(fs::read(&path).expect("read"), blob.bytes);
        assert_eq!(find(&place, "web:1"), Some(loaded));
    }
}

#[test]
fn a_blob_that_rotted_is_noticed_when_it_is_needed() {
    let place = Place::new();
    let made = image(&["a"]);
    let archive = oci_archive(&[("web:1", &made)]);
    let loaded = load_bytes(&place, &archive).expect("loaded").remove(0);
    let path = place.path().join("blobs/sha256").join(made.layers[0].digest.hex());
    let mut rotten = made.layers[0].bytes.clone();
    rotten[513] ^= 1;
    fs::write(&path, rotten).expect("damaged, and as long as before");
    fs::remove_dir_all(&loaded.layers[0]).expect("removed");
    load_bytes(&place, &archive).expect_err("the blob is taken for whole until it is read");
    assert_eq!(load_bytes(&place, &archive).expect("loaded anew"), [loaded]);
}

fn check_all(place: &Place, repair: bool) -> Checked {
    check(&place.store, Options { repair, deep: true }, &nobody, &Silent).expect("checked")
}

/// Damages a store, and says what `check` must find, mend, and leave whole.
fn check_damage(what: &str, damage: impl FnOnce(&Place, &Made, &Image), found: &str, mended: bool) {
    let place = Place::new();
    let made = image(&["a", "b"]);
    let loaded = load_bytes(&place, &oci_archive(&[("web:1", &made)])).expect("loaded").remove(0);
    assert_eq!(check_all(&place, true).findings, [], "{what}: sound before");
    damage(&place, &made, &loaded);
    let seen = check_all(&place, false);
    assert!(seen.findings.iter().any(|finding| finding.damage.contains(found)), "{what}: {seen:?}");
    let checked = check_all(&place, true);
    assert_eq!(checked.is_sound(), mended, "{what}: {checked:?}");
    if mended {
        assert_eq!(check_all(&place, true).findings, [], "{what}: sound afterwards");
        assert_eq!(
            find(&place, "web:1").map(|image| files(&image)),
            Some(vec!["a".into(), "b".into()]),
            "{what}"
        );
    } else {
        load_bytes(&place, &oci_archive(&[("web:1", &made)])).expect("loaded again");
        assert_eq!(check_all(&place, true).findings, [], "{what}: sound when it was loaded again");
    }
    assert_eq!(place.leftovers(), Vec::<PathBuf>::new(), "{what}");
}

fn blob_path(place: &Place, blob: &Blob) -> PathBuf {
    place.path().join("blobs/sha256").join(blob.digest.hex())
}

#[test]
fn every_kind_of_damage_is_found_and_mended_where_it_can_be() {
    check_damage(
        "the layout's marker",
        |place, _, _| fs::write(place.path().join("oci-layout"), "{}").expect("damaged"),
        "`oci-layout`",
        true,
    );
    check_damage(
        "the index",
        |place, _, _| fs::write(place.path().join("index.json"), "{\"manif").expect("damaged"),
        "`index.json` cannot be read",
        true,
    );
    check_damage(
        "a file of a layer",
        |_, _, image| fs::write(image.layers[1].join("b"), "B").expect("damaged"),
        "`/b` has another",
        true,
    );
    check_damage(
        "a file more",
        |_, _, image| fs::write(image.layers[0].join("new"), "").expect("damaged"),
        "is changed",
        true,
    );
    check_damage(
        "a file less",
        |_, _, image| fs::remove_file(image.layers[0].join("a")).expect("damaged"),
        "is changed",
        true,
    );
    check_damage(
        "a layer",
        |_, _, image| fs::remove_dir_all(&image.layers[0]).expect("damaged"),
        "1 layers of image",
        true,
    );
    check_damage(
        "a changed blob that nobody has",
        |place, made, _| {
            let path = blob_path(place, &made.layers[0]);
            let length = usize::try_from(fs::metadata(&path).expect("there").len()).expect("small");
            fs::write(&path, vec![0; length]).expect("damaged");
        },
        "is changed",
        false,
    );
    check_damage(
        "a missing blob that nobody has",
        |place, made, _| fs::remove_file(blob_path(place, &made.layers[1])).expect("damaged"),
        "image `web:1` lacks blob",
        false,
    );
    check_damage(
        "a missing configuration",
        |place, made, _| fs::remove_file(blob_path(place, &made.config)).expect("damaged"),
        "lacks its manifest or configuration",
        false,
    );
}

#[test]
fn an_index_without_its_copy_is_made_of_the_manifests() {
    let place = Place::new();
    let made = image(&["a"]);
    load_bytes(&place, &oci_archive(&[("web:1", &made)])).expect("loaded");
    fs::write(place.path().join("index.json"), "rubbish").expect("damaged");
    fs::remove_file(place.path().join("index.copy")).expect("removed");
    assert!(place.store.list().is_err());
    assert!(check_all(&place, true).is_sound());
    let images = place.store.list().expect("listed");
    assert_eq!((images.len(), images[0].id.clone(), images[0].names.len()), (1, made.config.digest, 0));
}

#[test]
fn an_image_of_a_file_is_brought_from_it_again() {
    let place = Place::new();
    let made = image(&["a"]);
    let path = place.path().join("web.tar");
    fs::write(&path, oci_archive(&[("web:1", &made)])).expect("written");
    let name = format!("oci-archive:{}", path.display());
    fetch(&place.store, &source(&name), &Platform::host(), &Silent).expect("loaded");
    fs::remove_file(blob_path(&place, &made.layers[0])).expect("removed");
    let checked = check_all(&place, true);
    assert!(checked.is_sound() && checked.findings.len() == 1, "{checked:?}");
    assert!(blob_path(&place, &made.layers[0]).exists());
}

#[test]
fn what_dead_processes_left_is_tidied_and_no_damage() {
    let place = Place::new();
    load_bytes(&place, &oci_archive(&[("web:1", &image(&["a"]))])).expect("loaded");
    let stray = Digest::of(b"x");
    for name in [format!(".partial-{}", stray.hex()), ".new-abc".to_owned()] {
        fs::write(place.path().join("blobs/sha256").join(name), vec![0; 5000]).expect("written");
    }
    for name in [
        format!(".new-{}", stray.hex()),
        ".gone-1-x".to_owned(),
        ".work-abc".to_owned(),
        stray.hex().to_owned(),
    ] {
        fs::create_dir(place.path().join("layers/key").join(&name)).expect("made");
        fs::write(place.path().join("layers/key").join(&name).join("f"), "x").expect("written");
    }
    let unneeded = place.store.blobs().put(b"whole, but of no image").expect("put");
    fs::write(place.path().join("leases/77-dead"), stray.to_string()).expect("written");
    let checked = check_all(&place, true);
    assert_eq!(checked.findings, []);
    assert!(checked.tidied > 10_000, "{checked:?}");
    assert_eq!(place.leftovers(), Vec::<PathBuf>::new());
    assert!(!place.path().join("layers/key").join(stray.hex()).exists());
    assert_eq!(place.store.blobs().size(&unneeded), None);
    assert_eq!(fs::read_dir(place.path().join("leases")).expect("listed").count(), 0);
}

#[test]
fn a_layer_on_which_a_container_runs_is_not_touched() {
    let place = Place::new();
    let loaded = load_bytes(&place, &oci_archive(&[("web:1", &image(&["a"]))])).expect("loaded").remove(0);
    fs::write(loaded.layers[0].join("a"), "other").expect("damaged");
    let layers: HashSet<PathBuf> = loaded.layers.iter().cloned().collect();
    let running = || Ok(InUse { layers: layers.clone(), running: layers.clone(), ..InUse::default() });
    let options = Options { repair: true, deep: true };
    let checked = check(&place.store, options, &running, &Silent).expect("checked");
    assert!(!checked.is_sound(), "{checked:?}");
    assert_eq!(fs::read(loaded.layers[0].join("a")).expect("read"), b"other");
    assert!(check_all(&place, true).is_sound());
    assert_eq!(fs::read(loaded.layers[0].join("a")).expect("read"), b"a");
}

#[test]
fn layers_of_another_id_map_are_noticed_and_removed() {
    let place = Place::new();
    let archive = oci_archive(&[("127.0.0.1:1/web:1", &image(&["a"]))]);
    load_bytes(&place, &archive).expect("loaded");
    let other = Store::open(place.path(), "other").expect("opened");
    assert_eq!(other.other_maps().expect("read").len(), 1);
    let users = || Ok(InUse::default());
    let checked = check(&other, Options { repair: true, deep: true }, &users, &Silent).expect("checked");
    assert!(checked.is_sound() && checked.findings.len() == 1, "{checked:?}");
    assert!(!place.path().join("layers/key").exists());
}
