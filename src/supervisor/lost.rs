//! Keepers that nothing on disk tells of any more, because somebody has removed the state directory under them.
//!
//! A keeper has the journal of its project open, and /proc shows by which path (proc_pid_fd(5)), also after the file is
//! gone. Looking at all processes takes its time, so this is for those who have found nothing otherwise.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::keep::KEEPER;
use crate::host::paths::Paths;
use crate::host::process::Identity;

/// What /proc writes behind the path of a file that was removed.
const DELETED: &str = " (deleted)";

/// Finds the keepers of projects whose journal was removed, by project.
pub fn find(paths: &Paths) -> BTreeMap<String, Identity> {
    let mut found: BTreeMap<String, Identity> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let named =
            fs::read(entry.path().join("comm")).is_ok_and(|name| name.trim_ascii_end() == KEEPER.to_bytes());
        if !named {
            continue;
        }
        // Who it is first: what is read afterwards is its own if it is still there in the end.
        let Ok(process) = Identity::of(pid) else { continue };
        let Some(project) = project_of(&entry.path(), paths) else { continue };
        // What a keeper has forked and what has not begun its program looks like it, and is younger.
        let older = found.get(&project).is_none_or(|other| process.start_time < other.start_time);
        if older && process.is_alive() {
            found.insert(project, process);
        }
    }
    found
}

/// The project whose removed journal a process has open.
fn project_of(process: &Path, paths: &Paths) -> Option<String> {
    let open = fs::read_dir(process.join("fd")).ok()?.flatten();
    let mut files = open.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    files.find_map(|file| journal_of(&file, paths))
}

fn journal_of(file: &Path, paths: &Paths) -> Option<String> {
    let file = file.to_str()?.strip_suffix(DELETED)?;
    let directory = Path::new(file).parent()?;
    let project = directory.file_name()?.to_str()?;
    (paths.journal(project) == Path::new(file)).then(|| project.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_removed_journals_of_our_own_place_count() {
        let paths =
            Paths::find(|name| (name == "RCOMPOSE_HOME").then(|| "/r".into()), 0, Path::new("/"), |_| true);
        let journal = paths.journal("web").display().to_string();
        let check = |file: &str, expected: Option<&str>| {
            assert_eq!(journal_of(Path::new(file), &paths).as_deref(), expected, "{file}");
        };
        check(&format!("{journal} (deleted)"), Some("web"));
        check(&journal, None);
        check("/elsewhere/state/projects/web/journal (deleted)", None);
        check("socket:[123]", None);
        assert!(project_of(Path::new("/proc/self"), &paths).is_none());
    }
}
