//! The records of volumes on disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::spec::{VolumeSpec, is_name};
use crate::host::files::{self, Durability, failed};
use crate::host::lock::{Lock, Mode};
use crate::host::paths::Paths;
use crate::host::removal::remove_tree;

/// The format of `volume.json`.
const FORMAT: u32 = 1;

/// What a name of a volume being removed begins with; no volume is called so.
const GONE: &str = ".gone-";

/// A volume that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// What was asked for when it was made.
    pub spec: VolumeSpec,
    /// When it was made, in nanoseconds since 1970.
    pub created_ns: u64,
}

impl Volume {
    /// Returns the directory that containers see.
    pub fn path(&self, paths: &Paths) -> PathBuf {
        match &self.spec.bind {
            Some(directory) => directory.clone(),
            None => data(paths, &self.spec.name),
        }
    }
}

/// Makes a volume that is not there yet; returns the one there is otherwise, as it was first made.
pub fn create(paths: &Paths, spec: &VolumeSpec) -> Result<Volume, Error> {
    check_name(&spec.name)?;
    if let Some(found) = find(paths, &spec.name)? {
        return Ok(found);
    }
    if let Some(device) = &spec.bind
        && !device.is_dir()
    {
        return Err(Error::NoDevice { name: spec.name.clone(), device: device.clone() });
    }
    files::make_private_dir(&paths.volume(&spec.name))?;
    let _lock = lock(paths, &spec.name)?;
    // Somebody may have been faster, up to any of these steps.
    if let Some(found) = find(paths, &spec.name)? {
        return Ok(found);
    }
    let data = data(paths, &spec.name);
    match fs::create_dir(&data) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("create directory", &data)(error).into());
        }
        _ => {}
    }
    // Containers run as any user; what is above it is closed to others (0700).
    fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .map_err(failed("change the mode of", &data))?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let volume = Volume { spec: spec.clone(), created_ns: since.as_nanos() as u64 };
    files::write_record(&record(paths, &spec.name), FORMAT, &volume, Durability::Power)?;
    Ok(volume)
}

/// Returns a volume's record, or `None` where there is none.
pub fn find(paths: &Paths, name: &str) -> Result<Option<Volume>, Error> {
    check_name(name)?;
    Ok(files::read_record(&record(paths, name), FORMAT)?)
}

/// Returns the directory of a volume that containers see. [`Error::Missing`] if there is no such volume.
pub fn path(paths: &Paths, name: &str) -> Result<PathBuf, Error> {
    find(paths, name)?
        .map(|volume| volume.path(paths))
        .ok_or_else(|| Error::Missing { name: name.to_owned() })
}

/// Lists all volumes by name. Directories without a record are leftovers of a crash and not volumes.
pub fn list(paths: &Paths) -> Result<Vec<Volume>, Error> {
    let mut found = Vec::new();
    for name in names(&paths.volumes())? {
        if name.starts_with('.') {
            continue;
        }
        match find(paths, &name) {
            Ok(volume) => found.extend(volume),
            // One whose record is damaged keeps nobody from seeing the others.
            Err(Error::File(files::Error::Damaged { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Removes a volume with its content; the directory of a bound one stays. [`Error::Missing`] if there is none.
pub fn remove(paths: &Paths, name: &str) -> Result<(), Error> {
    sweep(paths)?;
    check_name(name)?;
    let directory = paths.volume(name);
    if !directory.is_dir() {
        return Err(Error::Missing { name: name.to_owned() });
    }
    let lock = lock(paths, name)?;
    let gone = paths.volumes().join(format!("{GONE}{}-{name}", std::process::id()));
    match fs::rename(&directory, &gone) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::Missing { name: name.to_owned() });
        }
        other => other.map_err(failed("remove volume", &directory))?,
    }
    drop(lock);
    Ok(remove_tree(&gone).map_err(failed("remove volume", &gone))?)
}

/// Removes what an interrupted removal left.
fn sweep(paths: &Paths) -> Result<(), Error> {
    let volumes = paths.volumes();
    for name in names(&volumes)?.iter().filter(|name| name.starts_with(GONE)) {
        let gone = volumes.join(name);
        // Its remover may be at it still.
        remove_tree(&gone).map_err(failed("remove volume", &gone))?;
    }
    Ok(())
}

fn names(volumes: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(volumes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed("list", volumes))?,
    };
    let mut names: Vec<_> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// Takes the volume's lock, waiting for others.
pub(super) fn lock(paths: &Paths, name: &str) -> Result<Lock, Error> {
    Ok(Lock::take(&paths.volume(name).join("lock"), Mode::Exclusive, "rcompose")?)
}

fn record(paths: &Paths, name: &str) -> PathBuf {
    paths.volume(name).join("volume.json")
}

fn data(paths: &Paths, name: &str) -> PathBuf {
    paths.volume(name).join("data")
}

/// Names become directories.
fn check_name(name: &str) -> Result<(), Error> {
    is_name(name).then_some(()).ok_or_else(|| Error::Name { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn place() -> (tempfile::TempDir, Paths) {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().to_owned();
        let paths = Paths::find(|_| Some(root.clone()), 0, Path::new("/"), |_| false);
        (directory, paths)
    }

    fn spec(name: &str) -> VolumeSpec {
        VolumeSpec { name: name.into(), labels: BTreeMap::new(), bind: None, anonymous: false }
    }

    #[test]
    fn a_volume_is_made_once_listed_and_removed_with_its_content() {
        let (_directory, paths) = place();
        assert_eq!(list(&paths).expect("none yet"), []);
        let first = create(&paths, &spec("p_data")).expect("made");
        fs::write(first.path(&paths).join("file"), "x").expect("written");
        let labelled = VolumeSpec { labels: BTreeMap::from([("a".into(), "b".into())]), ..spec("p_data") };
        assert_eq!(create(&paths, &labelled).expect("there"), first);
        create(&paths, &spec("p_cache")).expect("made");
        let names: Vec<_> = list(&paths).expect("two").into_iter().map(|volume| volume.spec.name).collect();
        assert_eq!(names, ["p_cache", "p_data"]);
        assert_eq!(path(&paths, "p_data").expect("there"), first.path(&paths));
        remove(&paths, "p_data").expect("removed");
        assert!(!paths.volume("p_data").exists());
        assert!(matches!(remove(&paths, "p_data"), Err(Error::Missing { .. })));
        assert!(matches!(path(&paths, "p_data"), Err(Error::Missing { .. })));
    }

    #[test]
    fn leftovers_of_a_crash_are_no_volumes_and_do_not_stay() {
        let (_directory, paths) = place();
        fs::create_dir_all(paths.volume("half").join("data")).expect("made");
        fs::create_dir_all(paths.volumes().join(".gone-1-x/data")).expect("made");
        assert_eq!(list(&paths).expect("none"), []);
        create(&paths, &spec("half")).expect("completed");
        assert_eq!(list(&paths).expect("one").len(), 1);
        remove(&paths, "half").expect("removed");
        assert_eq!(fs::read_dir(paths.volumes()).expect("there").count(), 0);
    }

    #[test]
    fn a_bound_volume_is_the_directory_and_leaves_it() {
        let (directory, paths) = place();
        let bound = directory.path().join("mine");
        let spec = VolumeSpec { bind: Some(bound.clone()), ..spec("b") };
        assert!(matches!(create(&paths, &spec), Err(Error::NoDevice { .. })));
        assert_eq!(list(&paths).expect("none"), []);
        fs::create_dir(&bound).expect("made");
        assert_eq!(create(&paths, &spec).expect("made").path(&paths), bound);
        remove(&paths, "b").expect("removed");
        assert!(bound.is_dir());
    }

    #[test]
    fn names_cannot_leave_their_directory() {
        let (_directory, paths) = place();
        for name in ["", ".", "..", "a/b", "../x", ".gone-1", "a\n", "-a", &"a".repeat(256)] {
            assert!(matches!(create(&paths, &spec(name)), Err(Error::Name { .. })), "{name:?}");
            assert!(matches!(remove(&paths, name), Err(Error::Name { .. })), "{name:?}");
        }
    }
}
