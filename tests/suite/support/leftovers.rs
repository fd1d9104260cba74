//! What a project may leave behind: processes, mounts, network namespaces, files.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Project;

/// Processes that belong to a project's state directory: by the files that they have open (keeper, supervisor), their
/// mounts (containers, whose root is an overlay of that directory) or their environment (commands).
pub fn processes_of(project: &Project) -> Vec<(i32, String)> {
    let home = project.home();
    let marker = home.to_string_lossy().into_owned();
    let own = std::process::id() as i32;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if pid == own {
            continue;
        }
        let holds = |file: &str| {
            fs::read(entry.path().join(file))
                .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(marker.as_str()))
        };
        let opens = || {
            let open = fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
            let mut files = open.filter_map(|file| fs::read_link(file.path()).ok());
            files.any(|file| file.starts_with(&home))
        };
        if holds("environ") || holds("mountinfo") || holds("cmdline") || opens() {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push((pid, name.trim().to_owned()));
        }
    }
    found
}

fn files_below(path: &Path, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        found.push(entry.path().display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files_below(&entry.path(), found);
        }
    }
}

/// Insists that nothing of the project is there any more. The image store is nobody's project and may stay.
#[track_caller]
pub fn check(project: &Project) {
    super::soon("all processes of the project have gone", || processes_of(project).is_empty());
    let home = project.home();
    for directory in ["data/volumes", "state/projects", "run"] {
        let mut found = Vec::new();
        files_below(&home.join(directory), &mut found);
        found.retain(|path| path.contains(project.name()));
        assert!(found.is_empty(), "left behind: {found:#?}");
    }
}

/// Ends whatever a failed test has left running, so that it does not disturb the next.
pub fn kill_all(project: &Project) {
    for (pid, _) in processes_of(project) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
