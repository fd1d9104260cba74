//! Layers as little texts, and what becomes of them.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use tar::{EntryType, Header};

use super::attributes::attribute;
use super::*;

/// Makes a tar from lines: `dir PATH [MODE]`, `file PATH [TEXT]`, `sym PATH TARGET`, `hard PATH TARGET`, `fifo PATH`,
/// `char PATH` (1:3), `null PATH` (0:0). Paths stay as they are, however wild.
fn tar_of(lines: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for line in lines.split(['\n', ';']).map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.splitn(3, ' ');
        let kind = words.next().expect("a kind");
        let path = words.next().expect("a path");
        let third = words.next().unwrap_or_default();
        let mut header = Header::new_gnu();
        let bytes = header.as_mut_bytes();
        bytes[..path.len()].copy_from_slice(path.as_bytes());
        header.set_mode(0o644);
        header.set_uid(rustix::process::geteuid().as_raw().into());
        header.set_gid(rustix::process::getegid().as_raw().into());
        header.set_mtime(1_700_000_000);
        header.set_size(0);
        let mut data = "";
        let entry_type = match kind {
            "dir" => {
                header.set_mode(if third.is_empty() {
                    0o755
                } else {
                    u32::from_str_radix(third, 8).expect(third)
                });
                EntryType::Directory
            }
            "file" => {
                data = third;
                header.set_size(third.len() as u64);
                EntryType::Regular
            }
            "sym" => EntryType::Symlink,
            "hard" => EntryType::Link,
            "fifo" => EntryType::Fifo,
            "char" | "null" => {
                header.set_device_major(u32::from(kind == "char")).expect("a device");
                header.set_device_minor(if kind == "char" { 3 } else { 0 }).expect("a device");
                EntryType::Char
            }
            other => panic!("`{other}` is no kind"),
        };
        header.set_entry_type(entry_type);
        if matches!(kind, "sym" | "hard") {
            header.set_link_name_literal(third).expect("a target");
        }
        header.set_cksum();
        builder.append(&header, data.as_bytes()).expect("an entry");
    }
    builder.into_inner().expect("a tar")
}

/// Unpacks layers, the lowest first, each into its own directory below `place`.
fn unpack(place: &Path, layers: &[&str]) -> Result<(), Error> {
    let mut roots: Vec<File> = Vec::new();
    for (number, lines) in layers.iter().enumerate() {
        let directory = place.join(number.to_string());
        fs::create_dir(&directory).expect("made");
        let extracted = extract(&tar_of(lines)[..], &directory)?;
        let below: Vec<_> = roots.iter().rev().map(|root| root.as_fd()).collect();
        extracted.finish(&below)?;
        roots.push(File::open(&directory).expect("opened"));
    }
    Ok(())
}

/// Writes a directory as lines: `a/ 755`, `a/ 755 opaque`, `a/f TEXT`, `a/l -> TARGET`, `a/w gone`, `a/p fifo`.
fn list(root: &Path) -> String {
    let mut lines = Vec::new();
    walk(root, root, &mut lines);
    lines.sort();
    lines.join("\n")
}

fn walk(root: &Path, directory: &Path, lines: &mut Vec<String>) {
    let is_opaque = |path: &Path| {
        let file = File::open(path).expect("a readable directory");
        attribute(&file, OPAQUE).expect("attributes").as_deref() == Some(b"y")
    };
    if directory == root && is_opaque(root) {
        lines.push("/ opaque".to_owned());
    }
    for entry in fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("an entry").path();
        let name = path.strip_prefix(root).expect("below").display().to_string();
        let metadata = fs::symlink_metadata(&path).expect("metadata");
        let kind = metadata.file_type();
        lines.push(if kind.is_dir() {
            let opaque = if is_opaque(&path) { " opaque" } else { "" };
            format!("{name}/ {:o}{opaque}", metadata.permissions().mode() & 0o7777)
        } else if kind.is_symlink() {
            format!("{name} -> {}", fs::read_link(&path).expect("a link").display())
        } else if kind.is_char_device() && metadata.rdev() == 0 {
            format!("{name} gone")
        } else if kind.is_fifo() {
            format!("{name} fifo")
        } else {
            format!("{name} {}", fs::read_to_string(&path).expect("a file")).trim_end().to_owned()
        });
        if kind.is_dir() {
            walk(root, &path, lines);
        }
    }
}

/// Checks what the highest of some layers becomes, and that nothing appeared outside of them.
#[track_caller]
fn check(layers: &[&str], expected: &str) {
    let place = tempfile::tempdir().expect("a temporary directory");
    unpack(place.path(), layers).expect("unpacked");
    let expected: Vec<&str> =
        expected.split(['\n', ';']).map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(list(&place.path().join((layers.len() - 1).to_string())), expected.join("\n"), "{layers:?}");
    assert_eq!(
        fs::read_dir(place.path()).expect("readable").count(),
        layers.len(),
        "nothing beside the layers"
    );
}

#[track_caller]
fn check_refused(layers: &[&str], part: &str) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let error = unpack(place.path(), layers).expect_err("must be refused").to_string();
    assert!(error.contains(part), "{layers:?}: {error}");
}

#[test]
fn files_links_and_pipes_are_made() {
    check(
        &["dir a 700; file a/f text; sym a/l ../x; hard h a/f; fifo p"],
        "a/ 700; a/f text; a/l -> ../x; h text; p fifo",
    );
}

#[test]
fn modes_and_times_are_kept() {
    let place = tempfile::tempdir().expect("a temporary directory");
    unpack(place.path(), &["dir d 1777; dir s 2755; dir r 555; file r/f x; sym l f"]).expect("unpacked");
    let metadata = |name: &str| fs::symlink_metadata(place.path().join("0").join(name)).expect(name);
    for (name, mode) in [("d", 0o1777), ("s", 0o2755), ("r", 0o555), ("r/f", 0o644)] {
        assert_eq!(metadata(name).permissions().mode() & 0o7777, mode, "{name}");
        assert_eq!(metadata(name).mtime(), 1_700_000_000, "{name}");
    }
    assert_eq!(metadata("l").mtime(), 1_700_000_000, "a link's own time");
    fs::set_permissions(place.path().join("0/r"), fs::Permissions::from_mode(0o755)).expect("ours");
}

#[test]
fn whiteouts_hide_what_is_below() {
    check(&["file f", "file .wh.f"], "f gone");
    check(&["dir d", "dir d; file d/.wh..wh..opq"], "d/ 755 opaque");
    check(&["dir d", "dir d; file d/f x; file d/.wh..wh..opq"], "d/ 755 opaque; d/f x");
    check(&["dir d", "file .wh..wh..opq"], "/ opaque");
    check(&["dir d", "file .wh..wh.aufs; dir .wh..wh.plnk; file d/.wh..wh.orph"], "d/ 755");
}

#[test]
fn whiteouts_leave_their_own_layer_alone() {
    // The specification: they apply to lower layers only, wherever in the tar they stand.
    check(&["file f x", "file f y; file .wh.f"], "f y");
    check(&["file f x", "file .wh.f; file f y"], "f y");
    check(&["dir d", "file .wh.d; dir d 700; file d/f x"], "d/ 700 opaque; d/f x");
    check(&["dir d", "dir d 700; file d/f x; file .wh.d"], "d/ 700 opaque; d/f x");
    check(&["dir d", "file .wh.d; file d/f x"], "d/ 755 opaque; d/f x");
    check(&["dir d", "file d/.wh.a; file d/.wh.a"], "d/ 755; d/a gone");
}

#[test]
fn a_whiteout_of_nothing_is_refused() {
    for name in [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..."] {
        check_refused(&[&format!("file {name}")], "whiteout of nothing");
    }
}

#[test]
fn the_last_of_several_entries_wins() {
    check(&["file f a; file f b"], "f b");
    check(&["file f a; dir f"], "f/ 755");
    check(&["dir d; file d/x a; file d b"], "d b");
    check(&["dir d; file d/x a; sym d e; dir e; file d/y b"], "d -> e; e/ 755; e/y b");
    check(&["dir d 700; file d/x a; dir d 750"], "d/ 750; d/x a");
    check(&["file a x; hard b a; file a y"], "a y; b x");
    check(&["file a x; hard b a; file b y"], "a x; b y");
}

#[test]
fn missing_parents_look_like_those_below() {
    check(&["file a/b/f x"], "a/ 755; a/b/ 755; a/b/f x");
    check(&["dir a 700; dir a/b 1777", "file a/b/f x"], "a/ 700; a/b/ 1777; a/b/f x");
    check(&["dir a 700", "file b x", "file a/f x"], "a/ 700; a/f x");
    check(&["dir a 700", "file .wh.a", "file a/f x"], "a/ 755; a/f x");
    check(
        &["dir a 700; dir a/b 711", "dir a 750; file a/.wh..wh..opq", "file a/b/f x"],
        "a/ 750; a/b/ 755; a/b/f x",
    );
    check(
        &["dir a 700; dir a/b 711", "dir a 750; file a/.wh..wh..opq; file a/b/f x"],
        "a/ 750 opaque; a/b/ 755; a/b/f x",
    );
}

#[test]
fn links_in_the_way_are_followed_within_the_root() {
    check(&["sym l d; file l/f x"], "d/ 755; d/f x; l -> d");
    check(&["dir d; sym l /d; dir l/sub 700"], "d/ 755; d/sub/ 700; l -> /d");
}

#[test]
fn nothing_leaves_the_root() {
    check(&["file ../f x"], "f x");
    check(&["file /f x"], "f x");
    check(&["file a/../../f x"], "f x");
    check(&["sym up ../../..; file up/f x"], "f x; up -> ../../..");
    check(&["sym abs /tmp; file abs/f x"], "abs -> /tmp; tmp/ 755; tmp/f x");
    check(
        &["dir a; sym a/up ../../../tmp; file a/up/f x"],
        "a/ 755; a/up -> ../../../tmp; tmp/ 755; tmp/f x",
    );
    check(&["sym l /etc/passwd; file l x"], "l x");
    check(&["sym a b; sym b c; file a/f x"], "a -> b; b -> c; c/ 755; c/f x");
    check(&["sym up ../..; file up/.wh.x; file .wh.y"], "up -> ../..; x gone; y gone");
    check(&["dir ../..; dir /; dir ."], "");
    check_refused(&["sym a b; sym b a; file a/f x"], "too many symbolic links");
    check_refused(&["file f x; file f/g y"], "below something that is no directory");
    check_refused(&["file .."], "replace the root");
    check_refused(&["sym . /etc"], "replace the root");
    // Outside there is an /etc/passwd; in the image there is none.
    check_refused(&["hard h /etc/passwd"], "not there");
    check_refused(&["hard h ../../../../../../etc/passwd"], "not there");
    check_refused(&["sym e /etc; hard h e/passwd"], "not there");
    check_refused(&["hard h ."], "root");
}

#[test]
fn hard_links_reach_layers_below() {
    check(&["file a x", "hard b a"], "b x");
    check(&["file a x", "file c y", "hard b a; hard d b"], "b x; d x");
    check(&["hard b a; file a x"], "a x; b x");
    check(&["dir d; file d/a x", "hard b d/a"], "b x");
    check_refused(&["file a x", "file .wh.a", "hard b a"], "not there");
    check_refused(&["dir d; file d/a x", "file d/.wh..wh..opq; dir d", "hard b d/a"], "not there");
    check_refused(&["dir d; file d/a x", "file .wh.d", "hard b d/a"], "not there");
    check_refused(&["hard a a"], "itself");
    check_refused(&["dir d; hard h d"], "hard-link");
}

#[test]
fn devices_are_left_out_and_counted() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let extracted = extract(&tar_of("char null; null w; file f x")[..], place.path()).expect("extracted");
    assert_eq!(extracted.skipped_devices, 2);
    extracted.finish(&[]).expect("finished");
    assert_eq!(list(place.path()), "f x", "a device 0:0 would be a whiteout that the layer never asked for");
}

#[test]
fn names_need_not_be_text() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let mut header = Header::new_gnu();
    header.as_mut_bytes()[..4].copy_from_slice(b"\xe9\x01\n\\");
    header.set_mode(0o600);
    header.set_size(0);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, &b""[..]).expect("an entry");
    let tar = builder.into_inner().expect("a tar");
    extract(&tar[..], place.path()).expect("extracted").finish(&[]).expect("finished");
    let entry = fs::read_dir(place.path()).expect("readable").next().expect("one").expect("an entry");
    assert_eq!(entry.file_name().as_bytes(), b"\xe9\x01\n\\");
}

#[test]
fn an_owner_that_cannot_be_given_is_recorded() {
    if rustix::process::geteuid().is_root() {
        #[expect(clippy::print_stderr, reason = "a skipped test names what it lacks")]
        {
            eprintln!("skipped: needs an ordinary user, root can give any owner");
        }
        return;
    }
    let place = tempfile::tempdir().expect("a temporary directory");
    let mut tar = tar_of("file f x");
    let header = Header::from_byte_slice(&tar[..512]);
    let mut header = header.clone();
    header.set_uid(70);
    header.set_gid(7);
    header.set_mode(0o4755);
    header.set_cksum();
    tar[..512].copy_from_slice(header.as_bytes());
    extract(&tar[..], place.path()).expect("extracted").finish(&[]).expect("finished");
    let file = File::open(place.path().join("f")).expect("opened");
    assert_eq!(attribute(&file, OWNER).expect("read").as_deref(), Some(&b"70:7:4755"[..]));
}

/// Names that go up, away, nowhere, or to one another.
const WILD: [&str; 14] = [
    "a",
    "b",
    "a/b",
    "b/a",
    "a/b/c",
    "..",
    "../a",
    "/a",
    ".",
    "a/..",
    "a/../../b",
    ".wh.a",
    "a/.wh.b",
    "a/.wh..wh..opq",
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_layer_reaches_beyond_its_directory(
        lower in proptest::collection::vec((0..5usize, 0..WILD.len(), 0..WILD.len()), 0..6),
        upper in proptest::collection::vec((0..5usize, 0..WILD.len(), 0..WILD.len()), 0..12),
    ) {
        let place = tempfile::tempdir().expect("a temporary directory");
        // What the wild names would reach, if they could.
        fs::create_dir(place.path().join("a")).expect("made");
        fs::write(place.path().join("a/b"), "canary").expect("written");
        fs::write(place.path().join("b"), "canary").expect("written");
        let lines = |entries: &[(usize, usize, usize)]| {
            let line = |(kind, path, target): &(usize, usize, usize)| {
                format!("{} {} {}", ["dir", "file", "sym", "hard", "fifo"][*kind], WILD[*path], match kind {
                    0 => "755",
                    _ => WILD[*target],
                })
            };
            entries.iter().map(line).collect::<Vec<_>>().join("\n")
        };
        // Refused or not, it ends, and touches nothing else.
        let _ = unpack(place.path(), &[&lines(&lower), &lines(&upper)]);
        let canary = |path: &str| fs::read_to_string(place.path().join(path)).expect("still there");
        proptest::prop_assert_eq!([canary("a/b"), canary("b")], ["canary", "canary"]);
        proptest::prop_assert_eq!(fs::metadata(place.path().join("b")).expect("there").nlink(), 1);
        proptest::prop_assert_eq!(fs::read_dir(place.path().join("a")).expect("readable").count(), 1);
        for entry in fs::read_dir(place.path()).expect("readable") {
            let name = entry.expect("an entry").file_name();
            proptest::prop_assert!(["0", "1", "a", "b"].iter().any(|known| name == *known), "{name:?}");
        }
    }

    #[test]
    fn a_mangled_tar_is_read_or_refused(edits in proptest::collection::vec((0..1536usize, 0..=255u8), 0..8)) {
        let mut tar = tar_of("file a/b text; sym l a; hard h a/b");
        for (at, byte) in edits {
            tar[at] = byte;
        }
        // With right checksums, or nothing behind them would be tried.
        for block in [0, 1024, 1536] {
            let mut header = Header::from_byte_slice(&tar[block..block + 512]).clone();
            header.set_cksum();
            tar[block..block + 512].copy_from_slice(header.as_bytes());
        }
        let place = tempfile::tempdir().expect("a temporary directory");
        let root = place.path().join("0");
        fs::create_dir(&root).expect("made");
        if let Ok(extracted) = extract(&tar[..], &root) {
            let _ = extracted.finish(&[]);
        }
        proptest::prop_assert_eq!(fs::read_dir(place.path()).expect("readable").count(), 1);
    }
}
