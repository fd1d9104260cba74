//! Who takes space, and how it is freed.

use std::time::{Duration, SystemTime};

use super::*;

#[test]
fn removing_leaves_nothing_and_respects_containers() {
    let place = Place::new();
    let made = image(&["a", "b"]);
    let loaded = load_bytes(&place, &oci_archive(&[("web:1", &made)])).expect("loaded").remove(0);
    let layers: HashSet<PathBuf> = loaded.layers.iter().cloned().collect();
    let in_use = || Ok(InUse { layers: layers.clone(), ..InUse::default() });
    let error = place.store.remove("web:1", false, &in_use).expect_err("a container stands on it");
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert!(find(&place, "web:1").is_some());
    let removed = place.store.remove("web:1", true, &in_use).expect("its name can go");
    assert_eq!(removed.untagged, ["docker.io/library/web:1"]);
    assert_eq!(removed.deleted, Vec::<Digest>::new());
    assert!(loaded.layers.iter().all(|layer| layer.join("a").exists() || layer.join("b").exists()));
    place.store.remove(&made.config.digest.to_string(), false, &nobody).expect("now all of it");
    for directory in ["blobs/sha256", "layers/key"] {
        assert_eq!(fs::read_dir(place.path().join(directory)).expect("readable").count(), 0, "{directory}");
    }
    let error = place.store.remove("web:1", false, &nobody).expect_err("gone");
    assert!(matches!(error, Error::Unknown { .. }), "{error}");
}

#[test]
fn an_id_with_several_names_wants_force() {
    let place = Place::new();
    let made = image(&["a"]);
    load_bytes(&place, &oci_archive(&[("web:1", &made)])).expect("loaded");
    place.store.tag(&made.config.digest.to_string(), &"web:2".parse().expect("a name")).expect("tagged");
    let id = made.config.digest.short();
    let error = place.store.remove(id, false, &nobody).expect_err("two names");
    assert!(matches!(error, Error::SeveralNames { .. }), "{error}");
    let removed = place.store.remove("web:1", false, &nobody).expect("one name");
    assert_eq!(removed.deleted, Vec::<Digest>::new());
    assert!(find(&place, "web:2").is_some());
}

/// Says that an image was of use so many hours ago.
fn age(place: &Place, made: &Made, hours: u64) {
    let path = place.path().join("blobs/sha256").join(made.manifest.digest.hex());
    let then = SystemTime::now() - Duration::from_secs(hours * 3600);
    fs::File::options().append(true).open(path).and_then(|file| file.set_modified(then)).expect("aged");
}

fn names(place: &Place) -> Vec<String> {
    let mut names: Vec<String> =
        place.store.list().expect("listed").into_iter().flat_map(|image| image.names).collect();
    names.sort();
    names.iter().map(|name| name.trim_start_matches("docker.io/library/").to_owned()).collect()
}

#[test]
fn pruning_takes_what_is_chosen_and_unused() {
    let place = Place::new();
    let (one, two, three) = (image(&["a"]), image(&["b"]), image(&["c"]));
    load_as(&place, "one:1", &one);
    load_as(&place, "one:1", &two);
    load_as(&place, "used:1", &three);
    let used = find(&place, "used:1").expect("here");
    let users = || {
        let containers = [(used.id.to_string(), 1)].into_iter().collect();
        Ok(InUse { containers, ..InUse::default() })
    };
    let pruned = place.store.prune(&|image| image.names.is_empty(), &users).expect("pruned");
    assert_eq!(pruned.removed.deleted, [one.config.digest]);
    assert!(pruned.bytes > 1024, "{pruned:?}");
    let lease = place.store.lease().expect("a lease");
    assert!(place.store.hold(&lease, &find(&place, "one:1").expect("here")).expect("held"));
    let pruned = place.store.prune(&|_| true, &users).expect("pruned");
    assert_eq!(pruned.removed, Removed::default(), "a container and a command use them");
    drop(lease);
    place.store.prune(&|_| true, &users).expect("pruned");
    assert_eq!(names(&place), ["used:1"]);
}

#[test]
fn the_budget_takes_what_was_of_use_least_recently() {
    let place = Place::new();
    let images: Vec<Made> = (0..4u8).map(|number| big_image_of(1 << 20, number)).collect();
    for (number, made) in images.iter().enumerate() {
        load_as(&place, &format!("i{number}:1"), made);
        age(&place, made, 10 - number as u64);
    }
    let pin = Digest::of(b"cached");
    let blob = place.store.blobs().put(&vec![7; 1 << 20]).expect("put");
    place.store.pin("cache", [&blob, &pin]).expect("pinned");
    let unlimited = place.store.trim(&[], &nobody).expect("no budget");
    assert_eq!(unlimited, Pruned::default());
    let usage = place.store.usage(&InUse::default()).expect("counted");
    assert_eq!((usage.items.len(), usage.total, usage.leftovers), (5, usage.reclaimable, 0));
    // Each image takes a megabyte packed and one unpacked.
    place.store.set_budget(Some(usage.total - (3 << 20))).expect("set");
    age(&place, &images[0], 1);
    let trimmed = place.store.trim(&[], &nobody).expect("trimmed");
    assert_eq!(names(&place), ["i0:1", "i3:1"], "{trimmed:?}");
    assert!(trimmed.bytes >= 4 << 20 && trimmed.pins.is_empty(), "{trimmed:?}");
    place.store.set_budget(Some(0)).expect("set");
    let spare = [images[3].manifest.digest.clone()];
    let trimmed = place.store.trim(&spare, &nobody).expect("trimmed");
    assert_eq!((names(&place), trimmed.pins), (vec!["i3:1".to_owned()], vec!["cache".to_owned()]));
    assert_eq!(place.store.blobs().size(&blob), None);
    place.store.set_budget(None).expect("unset");
    assert_eq!(place.store.budget().expect("read"), None);
}

#[test]
fn what_is_shared_is_counted_once() {
    let place = Place::new();
    load_as(&place, "one:1", &image(&["a"]));
    load_as(&place, "two:1", &image(&["a", "b"]));
    let usage = place.store.usage(&InUse::default()).expect("counted");
    let sizes: u64 = usage.items.iter().map(|item| item.size).sum();
    let shared = usage.items[0].shared;
    assert!(shared > 0 && usage.items.iter().all(|item| item.shared == shared), "{usage:?}");
    assert_eq!(usage.total, sizes - shared);
}
