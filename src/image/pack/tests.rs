//! A layer's tar, and that it is the same each time.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD};

use super::super::unpack::Entries;
use super::testing::{Detail, listing, tree, trimmed};
use super::*;

fn packed(root: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    pack(root, false, &mut bytes).expect("packed");
    bytes
}

fn check(lines: &str, expected: &str) {
    assert_eq!(listing(tree(lines).path(), Detail::Kinds), trimmed(expected));
}

#[test]
fn entries_come_in_order_with_parents_first() {
    check(
        "file b 1\n dir a\n file a/z 2\n link a/y z\n fifo a/p\n dir a-b\n file a-b/x 3",
        "Directory a/\n Fifo a/p\n Symlink a/y z\n File a/z 2\n Directory a-b/\n File a-b/x 3\n File b 1",
    );
}

#[test]
fn overlay_marks_become_whiteouts() {
    check(
        "gone x\n opaque d\n file d/n 1\n dir e\n gone e/y",
        "Directory d/\n File d/.wh..wh..opq\n File d/n 1\n Directory e/\n File e/.wh.y\n File .wh.x",
    );
}

#[test]
fn a_file_with_two_names_is_packed_once() {
    check(
        "file a 1\n hard b a\n dir d\n hard d/c a",
        "File a 1\n HardLink b a\n Directory d/\n HardLink d/c a",
    );
}

#[test]
fn recorded_owners_and_attributes_of_users_are_kept_and_those_of_the_overlay_are_not() {
    let owned = tree("owned f 70:5000000:4755");
    assert_eq!(listing(owned.path(), Detail::Owners), "File f 4644 70:5000000\n");
    check("noted f red", "File f user.note=red");
}

#[test]
fn long_and_odd_names_survive() {
    let long = "n".repeat(120);
    let deep = format!("{}/{}", "d".repeat(100), "e".repeat(90));
    check(
        &format!("file {long} 1\n dir {}\n file {deep} 2\n link l {long}\n file é 3", "d".repeat(100)),
        &format!(
            "Directory {}/\n File {deep} 2\n Symlink l {long}\n File {long} 1\n File é 3",
            "d".repeat(100)
        ),
    );
    let root = tempfile::tempdir().expect("a temporary directory");
    let name = OsStr::from_bytes(b"\xff\xfe");
    fs::write(root.path().join(name), "").expect("written");
    let bytes = packed(root.path());
    let entry = Entries::new(bytes.as_slice()).next_entry().expect("a tar").expect("an entry");
    assert_eq!(entry.path, b"\xff\xfe");
}

#[test]
fn the_same_files_are_the_same_bytes_and_tar_reads_them() {
    let lines = "dir d\n file d/a 1\n hard d/b d/a\n link l d\n gone w";
    let (one, two) = (tree(lines), tree(lines));
    let time = rustix::fs::Timespec { tv_sec: 7, tv_nsec: 5 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    for root in [&one, &two] {
        for name in ["d/a", "d", "l", "w"] {
            rustix::fs::utimensat(CWD, root.path().join(name), &times, AtFlags::SYMLINK_NOFOLLOW)
                .expect("set");
        }
    }
    let bytes = packed(one.path());
    assert_eq!(bytes, packed(two.path()));
    let mut archive = tar::Archive::new(bytes.as_slice());
    let names: Vec<String> = archive
        .entries()
        .expect("a tar")
        .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string())
        .collect();
    assert_eq!(names, ["d/", "d/a", "d/b", "l", ".wh.w"]);
}

#[test]
fn the_root_is_an_entry_when_it_differs_from_the_one_below() {
    let (root, below) = (tree(""), tree(""));
    fs::set_permissions(below.path(), fs::Permissions::from_mode(0o700)).expect("set");
    let names = |below: &Path| {
        let mut bytes = Vec::new();
        pack(root.path(), shows_root(root.path(), Some(below)).expect("read"), &mut bytes).expect("packed");
        Entries::new(bytes.as_slice()).next_entry().expect("a tar").map(|entry| entry.path)
    };
    assert_eq!(names(below.path()), Some(b"./".to_vec()));
    assert_eq!(names(root.path()), None);
}
