//! A `COPY` after a change: what has not changed is not copied, and the image is as if it were.

use std::fs;
use std::path::Path;

use super::super::support::{Capability, Project, needs};
use super::ONE;

/// The image that a build has made.
fn built(project: &Project, arguments: &[&str]) -> String {
    let output = project.command(arguments).env("SOURCE_DATE_EPOCH", "1000").output().expect("run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let line = said.lines().find(|line| line.contains("writing image")).expect(&said);
    line.split_whitespace().find(|word| word.starts_with("sha256:")).expect(&said).to_owned()
}

/// Bytes of all files below, each inode once.
fn bytes(directory: &Path, seen: &mut std::collections::HashSet<u64>) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let entries =
        entries.flatten().filter_map(|entry| Some((entry.path(), entry.path().symlink_metadata().ok()?)));
    entries
        .map(|(path, found)| match found.is_dir() {
            true => bytes(&path, seen),
            false if seen.insert(found.ino()) => found.len(),
            false => 0,
        })
        .sum()
}

#[test]
fn only_what_has_changed_takes_space_again() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    const LARGE: usize = 4 << 20;
    let project = Project::new("copyagain", ONE);
    project.write("Dockerfile", "FROM scratch\nCOPY . /all/\n");
    project.write("large", &"x".repeat(LARGE));
    project.write("line", "one\n");
    let taken = |project: &Project| bytes(&project.home().join("data/images"), &mut Default::default());
    built(&project, &["build"]);
    let first = taken(&project);
    assert!(
        (LARGE as u64..LARGE as u64 * 3 / 2).contains(&first),
        "the file once, and no tar beside it: {first}"
    );
    project.write("line", "two\n");
    let second = built(&project, &["build"]);
    assert!(taken(&project) < first + 100_000, "{} after {first}", taken(&project));
    // The same as when everything is done again, in another store too.
    assert_eq!(second, built(&project, &["build", "--no-cache"]));
    project.run(&["system", "check"]).ok();
    // Whoever takes it away gets it whole.
    let archive = project.path().join("archive.tar");
    let archive = archive.to_str().expect("text");
    project.run(&["image", "save", "-o", archive, "t-one:1"]).ok();
    let other = Project::new("copyagain2", "");
    other.run(&["load", "-q", "-i", archive]).ok();
    assert!(other.run(&["image", "inspect", "t-one:1"]).ok().contains(&second));
    // And when the cache is gone the image is still all there.
    project.run(&["builder", "prune", "-af"]).ok();
    project.run(&["system", "check"]).ok();
    let again = project.path().join("again.tar");
    project.run(&["image", "save", "-o", again.to_str().expect("text"), "t-one:1"]).ok();
    assert_eq!(fs::metadata(&again).expect("written").len(), fs::metadata(archive).expect("written").len());
}

#[test]
fn a_file_that_changes_back_and_forth_is_always_the_right_one() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("backforth", ONE);
    project.write("Dockerfile", "FROM scratch\nCOPY . /all/\n");
    let mut images = Vec::new();
    // Of one size, and written as fast as one can: only the content tells them apart.
    for content in ["one", "two", "one", "six", "two"] {
        project.write("line", content);
        images.push((content, built(&project, &["build"])));
    }
    for (content, image) in &images {
        for (other, same) in &images {
            assert_eq!(content == other, image == same, "{content} and {other}");
        }
    }
}
