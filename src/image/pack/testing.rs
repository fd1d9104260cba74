//! Trees of files out of lines of text, and back: for the tests of whoever reads or makes layers.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::super::unpack::{Entries, Entry, Kind, OPAQUE, OWNER};
use super::pack;

/// Makes a tree of lines `KIND PATH [MORE]`: `dir`, `file` with its content, `mode` with the bits of what is there,
/// `link` and `hard` with their targets, `fifo`, `gone` (a whiteout), `opaque`, `owned` with a recorded owner, `noted`
/// with an attribute.
pub fn tree(lines: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("set");
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.splitn(3, ' ');
        let (kind, path) = (words.next().expect("a kind"), words.next().expect("a path"));
        add(root.path(), kind, path, words.next().unwrap_or_default());
    }
    root
}

fn add(root: &Path, kind: &str, path: &str, more: &str) {
    let at = root.join(path);
    let attribute = |name: &str, value: &[u8]| {
        rustix::fs::setxattr(&at, name, value, XattrFlags::empty()).expect("set");
    };
    match kind {
        "dir" => fs::create_dir(&at).expect("made"),
        "opaque" => {
            fs::create_dir(&at).expect("made");
            attribute(OPAQUE, b"y");
        }
        "file" => fs::write(&at, more).expect("written"),
        "owned" => {
            fs::write(&at, "").expect("written");
            attribute(OWNER, more.as_bytes());
        }
        "noted" => {
            fs::write(&at, "").expect("written");
            attribute("user.note", more.as_bytes());
        }
        "mode" => {
            let mode = u32::from_str_radix(more, 8).expect("octal");
            fs::set_permissions(&at, fs::Permissions::from_mode(mode)).expect("set");
        }
        "link" => symlink(more, &at).expect("linked"),
        "hard" => fs::hard_link(root.join(more), &at).expect("linked"),
        "fifo" => rustix::fs::mknodat(CWD, &at, FileType::Fifo, Mode::RUSR, 0).expect("made"),
        "gone" => {
            rustix::fs::mknodat(CWD, &at, FileType::CharacterDevice, Mode::empty(), 0).expect("made");
        }
        other => panic!("{other}"),
    }
}

/// How much a listing says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What each entry is.
    Kinds,
    /// And its mode and owner.
    Owners,
}

/// Lists the tar of a layer: `KIND PATH [TARGET or content] [ATTRIBUTES] [MODE UID:GID]`, a line each.
pub fn listing(layer: &Path, detail: Detail) -> String {
    let mut bytes = Vec::new();
    pack(layer, false, &mut bytes).expect("packed");
    let mut entries = Entries::new(bytes.as_slice());
    let mut lines = String::new();
    while let Some(entry) = entries.next_entry().expect("a tar") {
        let data = entries.read_all(1 << 20).expect("data");
        lines.push_str(&line(&entry, &data, detail));
        lines.push('\n');
    }
    lines
}

fn line(entry: &Entry, data: &[u8], detail: Detail) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut words = vec![format!("{:?}", entry.kind), text(&entry.path)];
    match entry.kind {
        Kind::HardLink | Kind::Symlink => words.push(text(&entry.link)),
        Kind::File if !data.is_empty() => words.push(text(data)),
        _ => {}
    }
    words.extend(entry.meta.xattrs.iter().map(|(name, value)| format!("{}={}", text(name), text(value))));
    if detail == Detail::Owners {
        // A symbolic link has no mode, and its owner cannot be recorded where it cannot be given.
        if entry.kind != Kind::Symlink {
            words.push(format!("{:o} {}:{}", entry.meta.mode, entry.meta.uid, entry.meta.gid));
        }
    }
    words.join(" ")
}

/// The lines of a text, without the spaces around them.
pub fn trimmed(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}
