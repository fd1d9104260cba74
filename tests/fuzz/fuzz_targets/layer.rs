//! A layer: a tar, compressed or not, on top of a layer that is there. Whatever it says, nothing is written outside its own
//! directory, nothing below is changed, and what was unpacked can be packed and unpacked again.

#![no_main]

use std::fs;
use std::io::BufReader;
use std::os::fd::AsFd;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use rcompose::image::pack::{pack, shows_root};
use rcompose::image::unpack::{extract, inflate};

const LIMIT: u64 = 4 << 20;

fn unpack(bytes: &[u8], below: &Path, place: &Path) -> bool {
    fs::create_dir(place).expect("a directory");
    let Ok(tar) = inflate(bytes) else { return false };
    // A bomb is only as large as its blob may be; here that would only be slow.
    let tar = BufReader::new(std::io::Read::take(tar, LIMIT));
    let Ok(extracted) = extract(tar, place) else { return false };
    let root = fs::File::open(below).expect("opened");
    extracted.finish(&[root.as_fd()]).is_ok()
}

fuzz_target!(|input: &[u8]| {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a temporary directory");
    let base = directory.path();
    let (below, canary) = (base.join("below"), base.join("canary"));
    fs::create_dir_all(below.join("d")).expect("made");
    fs::write(below.join("f"), "below").expect("written");
    fs::write(&canary, "alive").expect("written");
    let one = base.join("one");
    let unpacked = unpack(input, &below, &one);
    assert_eq!(fs::read(&canary).expect("still there"), b"alive");
    assert_eq!(fs::read(below.join("f")).expect("still there"), b"below");
    let mut names: Vec<_> =
        fs::read_dir(base).expect("listed").map(|entry| entry.expect("one").file_name()).collect();
    names.sort();
    assert_eq!(names, ["below", "canary", "one"]);
    if unpacked {
        let packed = |layer: &Path| {
            let mut tar = Vec::new();
            let with_root = shows_root(layer, Some(&below)).expect("a root is looked at");
            pack(layer, with_root, &mut tar).expect("what was unpacked can be packed");
            tar
        };
        let first = packed(&one);
        let two = base.join("two");
        assert!(unpack(&first, &below, &two), "what we packed unpacks");
        let second = packed(&two);
        assert!(first == second, "the same bytes");
    }
});
