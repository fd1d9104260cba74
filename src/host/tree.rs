//! Files and directories as a tar stream, and back: what `cp` does on both of its sides.
//!
//! On the container's side a [`Job`] is performed by a process that stands in the container's root, so that no path and no
//! link leads out of it; its standard streams are the stream, or the answer.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::{Error, failed};

/// What the process in the container's root does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Says on standard output what is at a path: a [`Found`] as JSON.
    Describe {
        /// Absolute, or counted from the root.
        path: String,
        /// What a symbolic link leads to, not the link.
        follow: bool,
    },
    /// Writes what is at a path to standard output.
    Pack {
        /// As above.
        path: String,
        /// What it is called in the stream; `.` for a directory whose content alone is meant.
        name: String,
        /// As above, for the path itself; links below it stay links.
        follow: bool,
    },
    /// Takes files from standard input into a directory.
    Unpack {
        /// The directory, which must be there.
        directory: String,
        /// Users and groups are those of the stream; else the files are root's.
        owners: bool,
    },
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// Nothing.
    Missing,
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

impl Job {
    /// Performs it below the root of this process.
    pub fn perform(&self) -> Result<(), Error> {
        let at_root = |path: &str| Path::new("/").join(path);
        match self {
            Job::Describe { path, follow } => {
                let path = at_root(path);
                let answer = serde_json::to_vec(&find(&path, *follow)?);
                answer
                    .map_err(io::Error::from)
                    .and_then(|answer| standard(io::stdout())?.write_all(&answer))
                    .map_err(failed("describe", &path))
            }
            Job::Pack { path, name, follow } => {
                let path = at_root(path);
                let out = standard(io::stdout()).map_err(failed("write the stream of", &path))?;
                pack(&path, name, *follow, out)
            }
            Job::Unpack { directory, owners } => {
                let owners = if *owners { Owners::OfStream } else { Owners::Own };
                let directory = at_root(directory);
                let input = standard(io::stdin()).map_err(failed("read the stream into", &directory))?;
                unpack(&directory, owners, Modes::All, input)
            }
        }
    }
}

/// A standard stream without the buffer that the library puts before it.
fn standard(stream: impl AsFd) -> io::Result<fs::File> {
    Ok(stream.as_fd().try_clone_to_owned()?.into())
}

/// Looks what is at a path. With `follow` a link that leads nowhere is missing.
pub fn find(path: &Path, follow: bool) -> Result<Found, Error> {
    let metadata = if follow { fs::metadata(path) } else { fs::symlink_metadata(path) };
    match metadata {
        Ok(metadata) if metadata.is_dir() => Ok(Found::Directory),
        Ok(_) => Ok(Found::File),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Missing),
        Err(error) => Err(failed("look at", path)(error)),
    }
}

/// Writes a file or a whole directory. Sockets, pipes and device nodes in it are left out: they say nothing elsewhere.
pub fn pack(path: &Path, name: &str, follow: bool, out: impl Write) -> Result<(), Error> {
    let mut builder = tar::Builder::new(io::BufWriter::with_capacity(1 << 20, out));
    builder.follow_symlinks(false);
    match find(path, follow)? {
        Found::Directory => pack_directory(&mut builder, path, Path::new(name))?,
        Found::File if follow => {
            // What the link leads to, under the link's name.
            let target = fs::canonicalize(path).map_err(failed("find", path))?;
            pack_file(&mut builder, &target, Path::new(name)).map_err(failed("read", path))?;
        }
        _ => pack_file(&mut builder, path, Path::new(name)).map_err(failed("read", path))?,
    }
    let written = builder.into_inner().and_then(|mut buffer| buffer.flush());
    written.map_err(failed("write the stream of", path))
}

/// Not by recursion: how deep it is decides whoever made it. Paths end at PATH_MAX, which is told then.
fn pack_directory<W: Write>(builder: &mut tar::Builder<W>, path: &Path, name: &Path) -> Result<(), Error> {
    let mut levels = vec![enter_directory(builder, path, name.to_owned())?];
    while let Some((entries, name)) = levels.last_mut() {
        let Some(entry) = entries.next() else {
            levels.pop();
            continue;
        };
        let (path, name): (PathBuf, PathBuf) = (entry.path(), name.join(entry.file_name()));
        let kind = entry.file_type().map_err(failed("look at", &path))?;
        if kind.is_dir() {
            levels.push(enter_directory(builder, &path, name)?);
        } else if kind.is_file() || kind.is_symlink() {
            pack_file(builder, &path, &name).map_err(failed("read", &path))?;
        }
    }
    Ok(())
}

/// Packs a directory alone; returns what is in it, and its name.
fn enter_directory<W: Write>(
    builder: &mut tar::Builder<W>,
    path: &Path,
    name: PathBuf,
) -> Result<(std::vec::IntoIter<fs::DirEntry>, PathBuf), Error> {
    builder.append_dir(&name, path).map_err(failed("read", path))?;
    let entries = fs::read_dir(path).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let mut entries = entries.map_err(failed("list", path))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok((entries.into_iter(), name))
}

/// Writes a file or link. A file has exactly the size that its header says, whoever writes to it
/// meanwhile: what comes behind would be read as further headers.
fn pack_file<W: Write>(builder: &mut tar::Builder<W>, path: &Path, name: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return builder.append_path_with_name(path, name);
    }
    // What is no file must neither hold us up nor lead elsewhere.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("only files, directories and links can be copied"));
    }
    let mut header = tar::Header::new_gnu();
    header.set_metadata(&metadata);
    header.set_size(metadata.len());
    let content = file.chain(io::repeat(0)).take(metadata.len());
    builder.append_data(&mut header, name, content)
}

/// Whose the unpacked files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// The unpacking process's.
    Own,
    /// As the stream says.
    OfStream,
}

/// Which permissions the unpacked files get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modes {
    /// All that the stream says.
    All,
    /// Not those to run as another user: set-user-ID and set-group-ID.
    Harmless,
}

/// Takes files into a directory that is there. No name of the stream leads out of it, by `..` or by a link.
pub fn unpack(directory: &Path, owners: Owners, modes: Modes, mut input: impl Read) -> Result<(), Error> {
    let metadata = fs::metadata(directory).map_err(failed("copy into", directory))?;
    if !metadata.is_dir() {
        return Err(failed("copy into", directory)(io::ErrorKind::NotADirectory.into()));
    }
    let mut archive = tar::Archive::new(&mut input);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(owners == Owners::OfStream);
    archive.set_mask(if modes == Modes::Harmless { 0o6000 } else { 0 });
    archive.unpack(directory).map_err(failed("copy into", directory))?;
    // What stands behind the end of an archive: who writes it must not meet a closed pipe.
    io::copy(&mut input, &mut io::sink()).map(drop).map_err(failed("read the stream into", directory))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

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
        pack(path, name, follow, &mut stream).expect("packed");
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
        pack(&file, "log", false, &mut stream).expect("packed");
        let place = directory.path().join("place");
        fs::create_dir(&place).expect("made");
        unpack(&place, Owners::Own, Modes::All, &stream.1[..]).expect("unpacked");
        let names: Vec<_> =
            fs::read_dir(&place).expect("listed").flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["log"]);
        assert_eq!(fs::metadata(place.join("log")).expect("there").len(), 5 << 20);
    }

    #[test]
    fn a_tree_deeper_than_the_stack_or_any_path_is_packed_or_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut path = directory.path().to_owned();
        // Nearly PATH_MAX.
        while path.as_os_str().len() < 4090 {
            path.push("d");
            fs::create_dir(&path).expect("made");
        }
        let pack_in_a_thread = |path: PathBuf| {
            let work = move || pack(&path, "d", false, io::sink());
            let thread = std::thread::Builder::new().stack_size(128 << 10).spawn(work);
            thread.expect("a thread").join().expect("no overflow")
        };
        pack_in_a_thread(directory.path().join("d")).expect("packed");
        // One that only who stands in it can name.
        let bottom = fs::File::open(&path).expect("there");
        for name in ["d", "d/d", "d/d/d", "d/d/d/d"] {
            rustix::fs::mkdirat(&bottom, name, rustix::fs::Mode::RWXU).expect("made");
        }
        let error = pack_in_a_thread(directory.path().join("d")).expect_err("no name for it");
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(cause.contains("File name too long"), "{error}: {cause}");
        super::super::removal::remove_tree(&directory.path().join("d")).expect("removed");
    }

    #[test]
    fn a_directory_comes_back_as_it_was() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        sample(root);
        let stream = packed(&root.join("d"), "renamed", false);
        unpack(root, Owners::Own, Modes::All, &stream[..]).expect("unpacked");
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
        unpack(&place, Owners::Own, Modes::Harmless, &stream[..]).expect("unpacked");
        let mode = fs::metadata(place.join("file")).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o751);
    }

    #[test]
    fn links_are_followed_only_when_that_is_asked_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        sample(root);
        for (follow, is_link) in [(false, true), (true, false)] {
            let stream = packed(&root.join("top"), "copy", follow);
            unpack(root, Owners::Own, Modes::All, &stream[..]).expect("unpacked");
            assert_eq!(fs::symlink_metadata(root.join("copy")).expect("there").is_symlink(), is_link);
        }
        assert_eq!(find(&root.join("d/dangling"), true).expect("looked"), Found::Missing);
        assert_eq!(find(&root.join("d/dangling"), false).expect("looked"), Found::File);
        assert_eq!(find(&root.join("d"), false).expect("looked"), Found::Directory);
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
            let _ = unpack(&place, Owners::Own, Modes::All, &stream[..]);
        }
        assert_eq!(fs::read_dir(&outside).expect("there").count(), 0);
    }

    #[test]
    fn a_directory_that_is_not_there_is_not_made() {
        let directory = tempfile::tempdir().expect("a directory");
        sample(directory.path());
        let stream = packed(&directory.path().join("d/file"), "x", false);
        for (name, why) in
            [("gone", "No such file"), ("d/file", "Not a directory"), ("d/file/x", "directory")]
        {
            let path = directory.path().join(name);
            let error = unpack(&path, Owners::Own, Modes::All, &stream[..]).expect_err("refused");
            let text = format!("{error}: {}", std::error::Error::source(&error).expect("a cause"));
            assert!(text.to_lowercase().contains(&why.to_lowercase()), "{text}");
        }
    }
}
