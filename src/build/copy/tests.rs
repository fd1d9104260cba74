//! What `COPY` makes of a context and an image, as BuildKit does.

use std::fs::Permissions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::select::Wanted;
use super::*;
use crate::build::dockerfile::Chmod;
use crate::build::ignore::Patterns;
use crate::image::pack::testing::{Detail, listing, tree, trimmed};

/// A context, and an image below.
struct Case {
    context: &'static str,
    below: &'static str,
    ignore: &'static str,
    parents: bool,
    exclude: &'static [&'static str],
    owner: Option<(u32, u32)>,
    mode: Option<Chmod>,
    detail: Detail,
}

const CONTEXT: &str = "file a.txt alpha
    file b.txt beta
    file c.md c
    dir d
    file d/e.txt e
    dir d/f
    file d/f/g.txt g
    file run.sh x
    mode run.sh 755
    link up ../../..
    link e d/e.txt";

impl Default for Case {
    fn default() -> Case {
        Case {
            context: CONTEXT,
            below: "",
            ignore: "",
            parents: false,
            exclude: &[],
            owner: None,
            mode: None,
            detail: Detail::Kinds,
        }
    }
}

fn open(path: &Path) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).expect("opened")
}

impl Case {
    /// Copies sources to a destination and lists the layer.
    fn run(&self, sources: &[&str], destination: &str) -> Result<String, Error> {
        let (context, below, upper) = (tree(self.context), tree(self.below), tree(""));
        let ignore = Patterns::parse(self.ignore.as_bytes()).expect("patterns");
        let files = Files::new(open(context.path()), "the build context".into(), ignore, Owners::Root);
        let exclude = Patterns::list(self.exclude.iter().copied()).expect("patterns");
        let mut draft = Draft::new(upper.path(), Some(open(below.path())), (7, 0))?;
        let mode = self.mode.as_ref().map(Change::parse).transpose()?;
        let how = How { owner: self.owner, mode };
        for pattern in sources {
            let wanted = Wanted { pattern, parents: self.parents, exclude: &exclude };
            for taken in take(&files, wanted)? {
                put(&mut draft, &files, &taken, destination.as_bytes(), &how)?;
            }
        }
        draft.finish()?;
        Ok(listing(upper.path(), self.detail))
    }

    fn gives(&self, sources: &[&str], destination: &str, expected: &str) {
        let found = self.run(sources, destination).expect("copied");
        assert_eq!(found, trimmed(expected), "{sources:?} to {destination}");
    }

    fn fails(&self, sources: &[&str], destination: &str, expected: &str) {
        let error = self.run(sources, destination).expect_err(expected);
        assert!(error.to_string().contains(expected), "{sources:?} to {destination}: {error}");
    }
}

#[test]
fn a_file_goes_to_a_name_or_into_a_directory() {
    let case = Case::default();
    case.gives(&["/a.txt"], "/x", "File x alpha");
    case.gives(&["/a.txt"], "/x/", "Directory x/\n File x/a.txt alpha");
    case.gives(&["/a.txt"], "/x/y/z", "Directory x/\n Directory x/y/\n File x/y/z alpha");
    case.gives(&["/a.txt", "/b.txt"], "/x/", "Directory x/\n File x/a.txt alpha\n File x/b.txt beta");
    case.gives(&["/e"], "/x/", "Directory x/\n File x/e e");
    let case = Case { below: "dir x", ..Case::default() };
    case.gives(&["/a.txt"], "/x", "Directory x/\n File x/a.txt alpha");
    let case = Case { below: "file x old", ..Case::default() };
    case.gives(&["/a.txt"], "/x", "File x alpha");
}

#[test]
fn of_a_directory_its_contents_go() {
    let case = Case::default();
    let expected = "Directory x/\n File x/e.txt e\n Directory x/f/\n File x/f/g.txt g";
    case.gives(&["/d"], "/x", expected);
    case.gives(&["/d/"], "/x/", expected);
    let case = Case { below: "dir x\n file x/old 1\n dir x/f", ..Case::default() };
    case.gives(&["/d"], "/x", expected);
}

#[test]
fn patterns_are_those_of_go() {
    let case = Case::default();
    case.gives(&["/*.txt"], "/x/", "Directory x/\n File x/a.txt alpha\n File x/b.txt beta");
    case.gives(&["/**/*.txt"], "/x/", "Directory x/\n File x/e.txt e");
    case.gives(&["/[^b].txt"], "/x/", "Directory x/\n File x/a.txt alpha");
    case.gives(&["/?.m[a-e]"], "/x/", "Directory x/\n File x/c.md c");
    case.gives(&["/d/*/g.txt"], "/x/", "Directory x/\n File x/g.txt g");
    case.gives(&["/*.zip"], "/x/", "");
    let case = Case { context: "file [1] one\n file 1 no", ..Case::default() };
    case.gives(&["/[[]1]"], "/x", "File x one");
}

#[test]
fn the_destination_is_found_through_links_that_cannot_leave_the_root() {
    let case = Case {
        below: "dir real\n link p /real\n link out ../../../tmp\n link l /f\n file f old",
        ..Case::default()
    };
    case.gives(&["/a.txt"], "/p/x", "Directory real/\n File real/x alpha");
    case.gives(&["/a.txt"], "/l", "File f alpha");
    case.gives(&["/a.txt"], "/out/x", "Directory tmp/\n File tmp/x alpha");
    case.gives(&["/a.txt"], "/../x", "File x alpha");
}

#[test]
fn what_stands_in_the_way_is_named() {
    let case = Case { below: "dir x\n dir x/e.txt\n dir y\n link y/f /x\n file z 1", ..Case::default() };
    case.fails(&["/d"], "/x", "cannot replace the directory `/x/e.txt`");
    case.fails(&["/d"], "/y", "cannot copy a directory to `/y/f`");
    case.fails(&["/a.txt"], "/z/a", "`/z`: not a directory");
    case.fails(&["/a.txt", "/d"], "/z", "cannot copy a directory to `/z`");
    let case = Case { below: "link a b\n link b a", ..Case::default() };
    case.fails(&["/a.txt"], "/a/x", "too many symbolic links");
}

#[test]
fn sources_cannot_be_outside_of_the_context() {
    let case = Case {
        context: "link up ../../../../etc\n link loop loop\n link abs /etc/passwd",
        ..Case::default()
    };
    case.fails(&["/up/passwd"], "/x", "`/up/passwd` is not in the build context");
    case.fails(&["/abs"], "/x", "is not in the build context");
    case.fails(&["/../../etc/passwd"], "/x", "is not in the build context");
    case.fails(&["/loop"], "/x", "too many symbolic links");
    case.gives(
        &["/"],
        "/x/",
        "Directory x/\n Symlink x/abs /etc/passwd\n Symlink x/loop loop\n Symlink x/up ../../../../etc",
    );
}

#[test]
fn ignored_files_are_not_there() {
    let case = Case { ignore: "*\n!d\nd/f\n!d/f/g.txt\n!*.md", ..Case::default() };
    let all = "Directory x/\n File x/c.md c\n Directory x/d/\n File x/d/e.txt e\n Directory x/d/f/\n File x/d/f/g.txt g";
    case.gives(&["/"], "/x/", all);
    case.fails(&["/a.txt"], "/x", "is not in the build context");
    case.gives(&["/d/f/g.txt"], "/x", "File x g");
    let case = Case { ignore: "d/*", ..Case::default() };
    case.gives(&["/d"], "/x", "Directory x/");
}

#[test]
fn parents_are_kept_from_the_pivot_on() {
    let case = Case { parents: true, ..Case::default() };
    case.gives(
        &["/d/f/g.txt", "/a.txt"],
        "/x/",
        "Directory x/\n File x/a.txt alpha\n Directory x/d/\n Directory x/d/f/\n File x/d/f/g.txt g",
    );
    case.gives(&["/d/./f"], "/x/", "Directory x/\n Directory x/f/\n File x/f/g.txt g");
    case.gives(
        &["/d/**/*.txt"],
        "/x/",
        "Directory x/\n Directory x/d/\n File x/d/e.txt e\n Directory x/d/f/\n File x/d/f/g.txt g",
    );
    case.fails(&["/nope"], "/x/", "`/nope` is not in the build context");
}

#[test]
fn excluded_files_stay_out_and_named_ones_do_not() {
    let case = Case { exclude: &["*.txt", "!a.txt", "d", "!d/f/g.txt", "up", "e"], ..Case::default() };
    case.gives(
        &["/"],
        "/x/",
        "Directory x/\n File x/a.txt alpha\n File x/c.md c\n Directory x/d/\n Directory x/d/f/\n File x/d/f/g.txt g\n \
         File x/run.sh x",
    );
    case.gives(&["/b.txt"], "/x", "File x beta");
}

#[test]
fn owners_and_modes_are_asked_for_or_roots() {
    let case = Case { detail: Detail::Owners, ..Case::default() };
    case.gives(&["/run.sh"], "/x/", "Directory x/ 755 0:0\n File x/run.sh x 755 0:0");
    let case =
        Case { owner: Some((11, 12)), mode: Some(Chmod::Octal { mode: 0o740, text: String::new() }), ..case };
    case.gives(&["/d/f"], "/x", "Directory x/ 740 11:12\n File x/g.txt g 740 11:12");
    let case = Case { below: "dir x\n mode x 750", ..case };
    let found = case.run(&["/d/f"], "/x").expect("copied");
    assert!(found.starts_with("Directory x/ 750 ") && !found.starts_with("Directory x/ 750 11"), "{found}");
}

#[test]
fn all_kinds_of_files_come_along() {
    let case = Case {
        context: "dir d\n fifo d/p\n link d/l nowhere\n file d/one 1\n hard d/two d/one\n noted d/n red",
        ..Case::default()
    };
    case.gives(
        &["/d"],
        "/x",
        "Directory x/\n Symlink x/l nowhere\n File x/n user.note=red\n File x/one 1\n Fifo x/p\n HardLink x/two x/one",
    );
}

#[test]
fn what_is_removed_is_hidden_and_what_comes_in_its_place_is_opaque() {
    let (below, upper) = (tree("dir d\n file d/a 1\n file f 2"), tree(""));
    let mut draft = Draft::new(upper.path(), Some(open(below.path())), (7, 0)).expect("begun");
    let making = Making { owner: (0, 0), mode: 0o755 };
    for path in [&b"d"[..], b"f", b"none"] {
        draft.remove(path).expect("removed");
    }
    draft.make_directories(b"d/new", making).expect("made");
    draft.finish().expect("finished");
    let expected = "Directory d/\n File d/.wh..wh..opq\n Directory d/new/\n File .wh.f";
    assert_eq!(listing(upper.path(), Detail::Kinds), trimmed(expected));
}

/// The sum of a context's `/`, with what is known already.
fn sum_of(context: &Path, known: &digest::Known) -> digest::Sum {
    let files = Files::new(open(context), "the build context".into(), Patterns::default(), Owners::Root);
    let exclude = Patterns::default();
    let mut taken = take(&files, Wanted { pattern: "/", parents: false, exclude: &exclude }).expect("taken");
    digest::sum(&files, &mut taken, known).expect("summed")
}

/// Copies a context to `/` as the build does, with the layer of an earlier copy at hand.
fn copy_again(context: &Path, how: &How, previous: Option<Previous>) -> (tempfile::TempDir, Placed) {
    let upper = tree("");
    let files = Files::new(open(context), "the build context".into(), Patterns::default(), Owners::Root);
    let exclude = Patterns::default();
    let mut taken = take(&files, Wanted { pattern: "/", parents: false, exclude: &exclude }).expect("taken");
    digest::sum(&files, &mut taken, &digest::Known::default()).expect("summed");
    let mut draft = Draft::new(upper.path(), None, (7, 0)).expect("begun");
    if let Some(previous) = previous {
        draft.reuse(previous);
    }
    for taken in &taken {
        put(&mut draft, &files, taken, b"/", how).expect("copied");
    }
    let placed = draft.finish().expect("finished");
    (upper, placed)
}

#[test]
fn only_what_has_changed_is_copied_again() {
    let how = How::default();
    let context = tree(
        "dir d\n file d/same 1\n file d/other 2\n file touched 3\n file mode 4\n dir etc\n file etc/job 5",
    );
    let (first, placed) = copy_again(context.path(), &how, None);
    std::fs::write(context.path().join("d/other"), "new").expect("written");
    let touched = std::fs::File::options().append(true).open(context.path().join("touched")).expect("opened");
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("touched");
    std::fs::set_permissions(context.path().join("mode"), Permissions::from_mode(0o600)).expect("set");
    let previous = Previous::open(first.path(), placed.clone(), None).expect("opened");
    let (second, _) = copy_again(context.path(), &how, Some(previous));
    let (fresh, _) = copy_again(context.path(), &how, None);
    assert_eq!(listing(second.path(), Detail::Owners), listing(fresh.path(), Detail::Owners));
    let shared = |name: &str| {
        let inode = |root: &Path| std::fs::metadata(root.join(name)).expect("there").ino();
        inode(first.path()) == inode(second.path())
    };
    let found = ["d/same", "d/other", "touched", "mode", "etc/job"].map(shared);
    assert_eq!(found, [true, false, false, false, false]);
    // Another owner or mode is another file; times later than the epoch are not those of the context.
    let private = How { mode: Some(Change::To(0o700)), ..How::default() };
    let previous = Previous::open(first.path(), placed.clone(), None).expect("opened");
    let (third, _) = copy_again(context.path(), &private, Some(previous));
    assert_eq!(std::fs::metadata(third.path().join("d/same")).expect("there").mode() & 0o777, 0o700);
    let previous = Previous::open(first.path(), placed, Some(1)).expect("opened");
    let (fourth, _) = copy_again(context.path(), &how, Some(previous));
    let inode = |root: &Path| std::fs::metadata(root.join("d/same")).expect("there").ino();
    assert_ne!(inode(first.path()), inode(fourth.path()));
}

#[test]
fn two_files_do_not_become_one() {
    let context = tree("file a 1");
    std::fs::hard_link(context.path().join("a"), context.path().join("b")).expect("linked");
    let (first, placed) = copy_again(context.path(), &How::default(), None);
    let time = std::fs::metadata(context.path().join("a")).expect("there").modified().expect("a time");
    std::fs::remove_file(context.path().join("b")).expect("removed");
    std::fs::write(context.path().join("b"), "1").expect("written");
    let own = std::fs::File::options().append(true).open(context.path().join("b")).expect("opened");
    own.set_modified(time).expect("touched");
    let previous = Previous::open(first.path(), placed, None).expect("opened");
    let (second, _) = copy_again(context.path(), &How::default(), Some(previous));
    let inode = |name: &str| std::fs::metadata(second.path().join(name)).expect("there").ino();
    assert_ne!(inode("a"), inode("b"));
}

#[test]
fn the_sum_is_of_names_modes_and_contents_and_not_of_times() {
    let none = digest::Known::default();
    let sum = |lines: &str| sum_of(tree(lines).path(), &none);
    let first = sum("dir d\n file d/a 1\n link l d\n file e \n");
    assert_eq!(sum("dir d\n file d/a 1\n link l d\n file e \n"), first);
    for other in [
        "dir d\n file d/a 2\n link l d\n file e \n",
        "dir d\n file d/b 1\n link l d\n file e \n",
        "dir d\n file d/a 1\n link l e\n file e \n",
        "dir d\n file d/a 1\n link l d\n file e \n mode e 755",
        "dir d\n file d/a 1\n link l d\n file e \n mode d 700",
        "dir d\n file d/a 1\n link l d\n dir e",
        "dir d\n file d/a 1\n link l d",
    ] {
        assert_ne!(sum(other), first, "{other}");
    }
    assert_ne!(sum("file a 1\n file b 1"), sum("file a 1\n hard b a"));
}

#[test]
fn what_is_known_is_not_read_again_and_what_has_changed_is() {
    let (context, place) = (tree("dir d\n file d/a 1\n file b 2"), tree(""));
    let path = place.path().join("sums");
    let load = || digest::Known::load(path.clone());
    let young = load();
    let first = sum_of(context.path(), &young);
    young.save().expect("saved");
    assert!(!path.exists(), "what is so young may change again within a tick");
    let known = load().credulous();
    assert_eq!(sum_of(context.path(), &known), first);
    known.save().expect("saved");
    assert_eq!(sum_of(context.path(), &load()), first);
    std::fs::write(context.path().join("d/a"), "3").expect("written");
    assert_ne!(sum_of(context.path(), &load()), first);
    std::fs::write(context.path().join("d/a"), "1").expect("written");
    assert_eq!(sum_of(context.path(), &load()), first);
    // Only who does not read `b` can be misled about it.
    let mut bytes = std::fs::read(&path).expect("read");
    let sum_of_b = 8 + 2 + 1 + 52;
    bytes[sum_of_b] ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    assert_ne!(sum_of(context.path(), &load()), first);
    // What is damaged is as good as nothing.
    std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("written");
    assert_eq!(sum_of(context.path(), &load()), first);
}
