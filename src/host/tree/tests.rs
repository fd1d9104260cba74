use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::*;

/// A directory with what may be in one.
fn sample(root: &Path) {
    fs::create_dir_all(root.join("d/empty")).expect("made");
    fs::write(root.join("d/file"), "content").expect("written");
    fs::set_permissions(root.join("d/file"), fs::Permissions::from_mode(0o4751)).expect("set");
    symlink("file", root.join("d/link")).expect("made");
    symlink("/nowhere", root.join("d/dangling")).expect("made");
    symlink("d/file", root.join("top")).expect("made");
    std::os::unix::net::UnixListener::bind(root.join("d/socket")).expect("bound");
}

fn packed(path: &Path, name: &str, follow: bool) -> Vec<u8> {
    let mut stream = Vec::new();
    pack(&Place::Here, path, name, follow, &mut stream).expect("packed");
    stream
}

#[test]
fn what_is_written_to_a_file_meanwhile_is_not_read_as_further_files() {
    /// Writes what looks like a further file behind the one that is being packed.
    struct Meanwhile<'a>(&'a Path, Vec<u8>);
    impl Write for Meanwhile<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut file = fs::OpenOptions::new().append(true).open(self.0)?;
            file.write_all(&packed(&self.0.with_file_name("evil"), "evil", false))?;
            self.1.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("log");
    fs::write(directory.path().join("evil"), "evil").expect("written");
    // More than is kept back, so that it is written while it is read.
    fs::write(&file, vec![b'x'; 5 << 20]).expect("written");
    let mut stream = Meanwhile(&file, Vec::new());
    pack(&Place::Here, &file, "log", false, &mut stream).expect("packed");
    let place = directory.path().join("place");
    fs::create_dir(&place).expect("made");
    unpack(&Place::Here, &place, Owners::Own, Modes::All, &stream.1[..]).expect("unpacked");
    let names: Vec<_> =
        fs::read_dir(&place).expect("listed").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["log"]);
    assert_eq!(fs::metadata(place.join("log")).expect("there").len(), 5 << 20);
}

#[test]
fn a_tree_deeper_than_the_stack_or_any_path_is_packed_or_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (deep, place) = (directory.path().join("d"), directory.path().join("place"));
    fs::create_dir(&deep).expect("made");
    fs::create_dir(&place).expect("made");
    // More than a process may hold open.
    let mut bottom = OwnedFd::from(fs::File::open(&deep).expect("there"));
    let deepen = |bottom: &mut OwnedFd| {
        rustix::fs::mkdirat(&*bottom, "d", rustix::fs::Mode::RWXU).expect("made");
        *bottom =
            rustix::fs::openat(&*bottom, "d", OFlags::RDONLY, rustix::fs::Mode::empty()).expect("there");
    };
    (0..1500).for_each(|_| deepen(&mut bottom));
    rustix::fs::symlinkat("bottom", &bottom, "link").expect("made");
    let copy = |deep: PathBuf, place: PathBuf| {
        let work = move || {
            let mut stream = Vec::new();
            pack(&Place::Here, &deep, "d", false, &mut stream)?;
            unpack(&Place::Here, &place, Owners::Own, Modes::All, &stream[..])
        };
        let thread = std::thread::Builder::new().stack_size(128 << 10).spawn(work);
        thread.expect("a thread").join().expect("no overflow")
    };
    copy(deep.clone(), place.clone()).expect("copied");
    let link = place.join("d/".repeat(1501)).join("link");
    assert_eq!(fs::read_link(link).expect("came"), Path::new("bottom"));
    // Nobody could name what lies so deep.
    (0..600).for_each(|_| deepen(&mut bottom));
    let error = copy(deep.clone(), place.clone()).expect_err("no name for it");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("File name too long"), "{error}: {cause}");
    for tree in [deep, place] {
        super::super::removal::remove_tree(&tree).expect("removed");
    }
}

#[test]
fn a_directory_comes_back_as_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    sample(root);
    let stream = packed(&root.join("d"), "renamed", false);
    unpack(&Place::Here, root, Owners::Own, Modes::All, &stream[..]).expect("unpacked");
    let back = root.join("renamed");
    assert_eq!(fs::read_to_string(back.join("file")).expect("read"), "content");
    let mode = fs::metadata(back.join("file")).expect("there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o4751);
    assert_eq!(fs::read_link(back.join("link")).expect("a link"), Path::new("file"));
    assert_eq!(fs::read_link(back.join("dangling")).expect("a link"), Path::new("/nowhere"));
    assert!(back.join("empty").is_dir() && !back.join("socket").exists());
    // The content alone, and without what would run as somebody else.
    let place = root.join("place");
    fs::create_dir(&place).expect("made");
    let stream = packed(&root.join("d"), ".", false);
    unpack(&Place::Here, &place, Owners::Own, Modes::Harmless, &stream[..]).expect("unpacked");
    let mode = fs::metadata(place.join("file")).expect("there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o751);
}

#[test]
fn what_breaks_off_leaves_no_directory_closed() {
    let directory = tempfile::tempdir().expect("a directory");
    sample(directory.path());
    fs::set_permissions(directory.path().join("d"), fs::Permissions::from_mode(0o755)).expect("set");
    let stream = packed(&directory.path().join("d"), "d", false);
    let place = directory.path().join("place");
    fs::create_dir(&place).expect("made");
    // Its entry is whole, and what comes behind it is not.
    unpack(&Place::Here, &place, Owners::Own, Modes::All, &stream[..700]).expect_err("it breaks off");
    assert_eq!(fs::metadata(place.join("d")).expect("made").mode() & 0o7777, 0o755);
}

#[test]
fn links_are_followed_only_when_that_is_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    sample(root);
    for (follow, is_link) in [(false, true), (true, false)] {
        let stream = packed(&root.join("top"), "copy", follow);
        unpack(&Place::Here, root, Owners::Own, Modes::All, &stream[..]).expect("unpacked");
        assert_eq!(fs::symlink_metadata(root.join("copy")).expect("there").is_symlink(), is_link);
    }
    assert_eq!(find(&Place::Here, &root.join("d/dangling"), true).expect("looked"), Found::Missing);
    assert_eq!(find(&Place::Here, &root.join("d/dangling"), false).expect("looked"), Found::File);
    assert_eq!(find(&Place::Here, &root.join("d"), false).expect("looked"), Found::Directory);
}

#[test]
fn nothing_leads_out_of_the_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let (place, outside) = (directory.path().join("place"), directory.path().join("outside"));
    fs::create_dir(&place).expect("made");
    fs::create_dir(&outside).expect("made");
    let entry = |builder: &mut tar::Builder<Vec<u8>>, name: &str, link: Option<&Path>| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        // As a hostile program would: `set_path` refuses such names.
        header.as_gnu_mut().expect("one").name[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(link) = link {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_link_name(link).expect("short");
        }
        header.set_size(if link.is_some() { 0 } else { 4 });
        header.set_cksum();
        builder.append(&header, if link.is_some() { &b""[..] } else { b"evil" }).expect("written");
    };
    for names in [vec![("../outside/a", None)], vec![("way", Some(outside.as_path())), ("way/b", None)]] {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, link) in names {
            entry(&mut builder, name, link);
        }
        let stream = builder.into_inner().expect("written");
        // Refused or passed over; in no case written.
        let _ = unpack(&Place::Here, &place, Owners::Own, Modes::All, &stream[..]);
    }
    assert_eq!(fs::read_dir(&outside).expect("there").count(), 0);
}

#[test]
fn a_directory_that_is_not_there_is_not_made() {
    let directory = tempfile::tempdir().expect("a directory");
    sample(directory.path());
    let stream = packed(&directory.path().join("d/file"), "x", false);
    for (name, why) in [("gone", "No such file"), ("d/file", "Not a directory"), ("d/file/x", "directory")] {
        let path = directory.path().join(name);
        let error = unpack(&Place::Here, &path, Owners::Own, Modes::All, &stream[..]).expect_err("refused");
        let text = format!("{error}: {}", std::error::Error::source(&error).expect("a cause"));
        assert!(text.to_lowercase().contains(&why.to_lowercase()), "{text}");
    }
}

#[test]
fn a_container_leads_nobody_out_of_its_root() {
    let directory = tempfile::tempdir().expect("a directory");
    let (root, outside) = (directory.path().join("root"), directory.path().join("outside"));
    for path in [&root, &outside] {
        sample(path);
    }
    fs::write(outside.join("d/file"), "secret").expect("written");
    let place = Place::Root(fs::File::open(&root).expect("there").into());
    // As from the container's root, and by `..`; what leads through a descriptor leads nowhere.
    symlink(outside.join("d"), root.join("absolute")).expect("made");
    symlink("../../../outside/d", root.join("d/up")).expect("made");
    symlink("/d", root.join("inner")).expect("made");
    let stream = packed(&root.join("top"), "new", false);
    for (path, there) in [
        ("/absolute", false),
        ("/d/up", false),
        ("/../outside/d", false),
        ("/inner", true),
        ("inner/.", true),
    ] {
        let found = find(&place, Path::new(path), true).expect("looked");
        assert_eq!(found, if there { Found::Directory } else { Found::Missing }, "{path}");
        let mut content = Vec::new();
        assert_eq!(pack(&place, Path::new(path), "x", true, &mut content).is_ok(), there, "{path}");
        let done = unpack(&place, Path::new(path), Owners::Own, Modes::All, &stream[..]);
        assert_eq!(done.is_ok(), there, "{path}: {done:?}");
    }
    assert!(fs::symlink_metadata(root.join("d/new")).is_ok() && !outside.join("d/new").exists());
    // The root itself is written into as the container would, by its links too.
    let nested = directory.path().join("nested/inner/sub");
    fs::create_dir_all(&nested).expect("made");
    let stream = packed(&directory.path().join("nested"), ".", false);
    unpack(&place, Path::new("/"), Owners::Own, Modes::All, &stream[..]).expect_err("a link is no directory");
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o600);
    for name in ["inner/sub/file", "d/absolute"] {
        builder.append_data(&mut header, name, io::empty()).expect("written");
    }
    unpack(&place, Path::new("/"), Owners::Own, Modes::All, &builder.into_inner().expect("written")[..])
        .expect("unpacked");
    assert!(root.join("d/sub/file").is_file());
}

#[test]
fn what_is_replaced_by_a_link_while_it_is_copied_leads_nowhere() {
    let directory = tempfile::tempdir().expect("a directory");
    let (root, outside) = (directory.path().join("root"), directory.path().join("outside"));
    fs::create_dir_all(root.join("d")).expect("made");
    fs::create_dir(&outside).expect("made");
    fs::write(outside.join("secret"), "secret").expect("written");
    // A large file first, so that the reader stands between the two when the directory is exchanged.
    fs::write(root.join("a"), vec![7; 8 << 20]).expect("written");
    fs::write(root.join("d/secret"), "harmless").expect("written");
    let (read, write) = io::pipe().expect("a pipe");
    let packing = {
        let root = root.clone();
        std::thread::spawn(move || pack(&Place::Here, &root, ".", false, write))
    };
    let mut read = io::BufReader::new(read);
    let mut first = [0; 512];
    read.read_exact(&mut first).expect("it has begun");
    fs::rename(root.join("d"), directory.path().join("away")).expect("moved");
    symlink(&outside, root.join("d")).expect("made");
    let mut stream = first.to_vec();
    read.read_to_end(&mut stream).expect("whole");
    packing.join().expect("no panic").expect("packed");
    let mut archive = tar::Archive::new(&stream[..]);
    let names: Vec<_> = archive
        .entries()
        .expect("a stream")
        .map(|entry| entry.expect("whole").path().expect("a name").into_owned())
        .collect();
    assert!(!names.iter().any(|name| name.ends_with("secret")), "{names:?}");
}

#[test]
fn owners_are_kept_where_that_is_permitted_and_else_it_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, mode) in
        [("d", tar::EntryType::Directory, 0o2755), ("d/f", tar::EntryType::Regular, 0o4755)]
    {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(mode);
        // What nobody but an administrator of the host may give away, and no user namespace knows.
        header.set_uid(4_000_000_000);
        header.set_gid(4_000_000_000);
        header.set_mtime(1_000_000_000);
        builder.append_data(&mut header, name, io::empty()).expect("written");
    }
    let stream = builder.into_inner().expect("written");
    let remark =
        unpack(&Place::Here, directory.path(), Owners::OfStream, Modes::All, &stream[..]).expect("unpacked");
    for name in ["d", "d/f"] {
        let found = fs::metadata(directory.path().join(name)).expect("there");
        assert_eq!(found.mtime(), 1_000_000_000, "{name}");
        let kept = found.uid() == 4_000_000_000;
        assert_eq!(kept, remark.is_none(), "{name}: {remark:?}");
        assert_eq!(found.mode() & 0o6000 != 0, kept, "{name}: set-id bits go with the owner that they mean");
    }
    assert!(remark.is_none_or(|remark| remark.owners == 2), "{remark:?}");
}
