//! The first use of a volume: it gets what the image has at its target.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::copy::copy_directory;
use super::error::Error;
use super::store::{self, Volume};
use super::view::{Directory, Entry};
use crate::host::files::{self, failed};
use crate::host::paths::Paths;
use crate::host::removal::remove_tree;

/// Fills a volume that is empty with the directory `target` of an image, given as its layers, the lowest first.
/// Owner, mode and times of that directory become the volume's own.
///
/// Does nothing if the volume has content, or the image has no directory there. Returns whether something was
/// copied. A crash at any instant leaves the volume empty, or to be completed by the next call: the copy is made
/// beside it, and each of its entries then renamed into it.
pub fn populate(paths: &Paths, volume: &Volume, layers: &[PathBuf], target: &Path) -> Result<bool, Error> {
    let name = &volume.spec.name;
    store::path(paths, name)?;
    let _lock = store::lock(paths, name)?;
    // Again: it may have been removed while we waited for the lock.
    store::path(paths, name)?;
    let data = volume.path(paths);
    if volume.spec.bind.is_some() {
        return populate_directory(&data, layers, target);
    }
    let (filling, filled) = (paths.volume(name).join("filling"), paths.volume(name).join("filled"));
    if filled.is_dir() {
        move_in(&filled, &data)?;
        return Ok(true);
    }
    if !is_empty(&data)? {
        return Ok(false);
    }
    let Some(directory) = find(layers, target)? else { return Ok(false) };
    remove_tree(&filling).map_err(failed("remove", &filling))?;
    files::make_private_dir(&filling)?;
    copy_directory(&directory, &filling)?;
    fs::rename(&filling, &filled).map_err(failed("rename", &filling))?;
    move_in(&filled, &data)?;
    Ok(true)
}

/// The same for any directory that exists, with no lock and no promise about crashes.
pub fn populate_directory(to: &Path, layers: &[PathBuf], target: &Path) -> Result<bool, Error> {
    if !is_empty(to)? {
        return Ok(false);
    }
    let Some(directory) = find(layers, target)? else { return Ok(false) };
    copy_directory(&directory, to)?;
    Ok(true)
}

fn find(layers: &[PathBuf], target: &Path) -> Result<Option<Directory>, Error> {
    let Some(root) = Directory::root(layers) else { return Ok(None) };
    Ok(match root.follow(target)? {
        Some(Entry::Directory(directory)) => Some(directory),
        Some(Entry::Other(_)) | None => None,
    })
}

fn is_empty(directory: &Path) -> Result<bool, files::Error> {
    Ok(fs::read_dir(directory).map_err(failed("list", directory))?.next().is_none())
}

/// Renames all entries of a finished copy into the volume. The volume's own directory stays the same one: a
/// container that has it mounted sees the files appear.
fn move_in(filled: &Path, data: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(filled).map_err(failed("list", filled))? {
        let entry = entry.map_err(failed("list", filled))?;
        let to = data.join(entry.file_name());
        match renameat_with(CWD, entry.path(), CWD, &to, RenameFlags::NOREPLACE) {
            // After a crash in here a container may have used the volume: what it wrote is newer.
            Err(Errno::EXIST) => discard(&entry.path())?,
            other => other.map_err(io::Error::from).map_err(failed("rename to", &to))?,
        }
    }
    // An empty directory now: what is left of it to copy is its own owner and mode.
    super::copy_tree(filled, data)?;
    Ok(fs::remove_dir(filled).map_err(failed("remove", filled))?)
}

fn discard(path: &Path) -> Result<(), files::Error> {
    remove_tree(path).map_err(failed("remove", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::spec::VolumeSpec;
    use crate::volume::{create, remove};
    use std::collections::BTreeMap;
    use std::os::unix::fs::{PermissionsExt, symlink};

    struct Place {
        _directory: tempfile::TempDir,
        paths: Paths,
        layers: Vec<PathBuf>,
    }

    fn place() -> Place {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().to_owned();
        let layers = vec![root.join("layer0"), root.join("layer1")];
        fs::create_dir_all(layers[0].join("var/lib/db/sub")).expect("made");
        fs::write(layers[0].join("var/lib/db/old"), "0").expect("written");
        fs::create_dir_all(layers[1].join("var/lib/db")).expect("made");
        fs::write(layers[1].join("var/lib/db/new"), "1").expect("written");
        symlink("lib/db", layers[1].join("var/data")).expect("linked");
        fs::set_permissions(layers[1].join("var/lib/db"), PermissionsExt::from_mode(0o2770)).expect("set");
        let paths = Paths::find(|_| Some(root.clone()), 0, Path::new("/"), |_| false);
        Place { _directory: directory, paths, layers }
    }

    fn volume(place: &Place) -> Volume {
        let spec = VolumeSpec { name: "v".into(), labels: BTreeMap::new(), bind: None, anonymous: false };
        create(&place.paths, &spec).expect("made")
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("there").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[test]
    fn an_empty_volume_gets_the_merged_directory_and_its_mode_once() {
        let place = place();
        let volume = volume(&place);
        let data = volume.path(&place.paths);
        let fill = |target: &str| {
            populate(&place.paths, &volume, &place.layers, Path::new(target)).expect("possible")
        };
        assert!(!fill("/nowhere"));
        assert!(!fill("/var/lib/db/old"));
        assert!(fill("/var/data"));
        assert_eq!(names(&data), ["new", "old", "sub"]);
        assert_eq!(fs::metadata(&data).expect("there").permissions().mode() & 0o7777, 0o2770);
        fs::remove_file(data.join("old")).expect("removed");
        assert!(!fill("/var/lib/db"));
        assert_eq!(names(&data), ["new", "sub"]);
        assert_eq!(names(&place.paths.volume("v")), ["data", "lock", "volume.json"]);
    }

    #[test]
    fn what_a_crash_left_is_completed_or_made_anew() {
        let place = place();
        let volume = volume(&place);
        let data = volume.path(&place.paths);
        let base = place.paths.volume("v");
        let fill =
            || populate(&place.paths, &volume, &place.layers, Path::new("/var/lib/db")).expect("possible");
        // During the copy.
        fs::create_dir_all(base.join("filling/half")).expect("made");
        assert!(fill());
        assert_eq!(names(&data), ["new", "old", "sub"]);
        // Between two renames.
        fs::create_dir(base.join("filled")).expect("made");
        fs::set_permissions(base.join("filled"), PermissionsExt::from_mode(0o711)).expect("set");
        fs::rename(data.join("sub"), base.join("filled/sub")).expect("moved back");
        fs::write(base.join("filled/new"), "older").expect("written");
        assert!(fill());
        assert_eq!(names(&data), ["new", "old", "sub"]);
        assert_eq!(fs::read(data.join("new")).expect("there"), b"1");
        assert_eq!(fs::metadata(&data).expect("there").permissions().mode() & 0o7777, 0o711);
        assert_eq!(names(&base), ["data", "lock", "volume.json"]);
        remove(&place.paths, "v").expect("removed");
        let error = populate(&place.paths, &volume, &place.layers, Path::new("/var/lib/db"));
        assert!(matches!(error, Err(Error::Missing { .. })), "{error:?}");
    }

    #[test]
    fn an_image_without_layers_gives_nothing() {
        let place = place();
        assert!(!populate(&place.paths, &volume(&place), &[], Path::new("/var")).expect("possible"));
    }
}
