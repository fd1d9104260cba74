//! Makes a container's groups and gives them their limits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::controller::{LEAF, OURS};
use super::error::{Error, Warning};
use super::handle::{Handle, move_our_own, read_pids, remove_tree};
use super::settings::{self, Limit, Setting};
use crate::host::files::{self, failed};
use crate::runtime::spec::Limits;

pub(super) fn undo_on_error(
    result: Result<Vec<Warning>, Error>,
    made: Handle,
) -> Result<(Handle, Vec<Warning>), Error> {
    match result {
        Ok(warnings) => Ok((made, warnings)),
        Err(error) => {
            // The first error is the one to tell; what is left is removed by the next start or `down`.
            let _ = made.remove();
            Err(error)
        }
    }
}

pub(super) fn create_v1(
    groups: &BTreeMap<String, PathBuf>,
    unified: Option<&Path>,
    project: &str,
    id: &str,
    limits: &Limits,
    made: &mut Handle,
) -> Result<Vec<Warning>, Error> {
    let settings = settings::v1(limits);
    let mut needed: BTreeSet<&str> = settings.iter().map(|setting| setting.controller).collect();
    // Memory says who was killed for it; something must list, freeze and kill the processes.
    needed.insert("memory");
    match unified {
        Some(base) => made.add("unified", make(base, project, id, &|_| Ok(()))?),
        None => _ = needed.insert("freezer"),
    }
    for controller in needed {
        let Some(base) = groups.get(controller) else { continue };
        let inherit = |level: &Path| if controller == "cpuset" { inherit_cpuset(level) } else { Ok(()) };
        made.add(controller, make(base, project, id, &inherit)?);
    }
    Ok(apply(&settings, made, Warning::no_group))
}

pub(super) fn create_v2(
    base: &Path,
    controllers: &BTreeSet<String>,
    project: &str,
    id: &str,
    limits: &Limits,
    made: &mut Handle,
) -> Result<Vec<Warning>, Error> {
    let settings = settings::v2(limits);
    let mut wanted: BTreeSet<&str> = settings.iter().map(|setting| setting.controller).collect();
    wanted.extend(["memory", "pids"]);
    let directory = make(base, project, id, &|_| Ok(()))?;
    make_room(base).map_err(failed("move our processes out of", base))?;
    // Downwards: a level can only pass on what it was given itself.
    let mut refused: BTreeMap<&str, String> = BTreeMap::new();
    for level in [base.to_owned(), base.join(OURS), base.join(OURS).join(project)] {
        for controller in wanted.iter().filter(|name| controllers.contains(**name)) {
            if let Err(error) = switch_on(&level, controller) {
                refused.entry(controller).or_insert_with(|| why_refused(&level, &error));
            }
        }
    }
    made.add("unified", directory.clone());
    for controller in
        wanted.iter().filter(|name| controllers.contains(**name) && !refused.contains_key(*name))
    {
        made.add(controller, directory.clone());
    }
    let mut warnings = apply(&settings, made, |limit, controller| match refused.get(controller) {
        Some(reason) => Warning { limit, reason: reason.clone(), mend: None },
        None => Warning::not_delegated(limit, controller),
    });
    if limits.oom_kill_disable {
        warnings.push(Warning::no_such_setting());
    }
    Ok(warnings)
}

/// Writes the settings; `missing` says why a controller is not there, for whichever limit.
fn apply(settings: &[Setting], made: &Handle, missing: impl Fn(Limit, &str) -> Warning) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = Vec::new();
    for setting in settings {
        let warning = match made.directory(setting.controller) {
            None => Some(missing(setting.limit, setting.controller)),
            Some(directory) => write_first(directory, setting).err().map(|reason| Warning {
                limit: setting.limit,
                reason,
                mend: None,
            }),
        };
        // Two files of one limit (quota and period) fail together: once is enough.
        let known = warnings.iter().any(|earlier| earlier.limit == setting.limit);
        warnings.extend(warning.filter(|_| setting.asked && !known));
    }
    warnings
}

/// Writes the first of the files that is there.
fn write_first(directory: &Path, setting: &Setting) -> Result<(), String> {
    let there = setting.files.iter().find(|(file, _)| directory.join(file).exists());
    let Some((file, value)) = there else {
        let names: Vec<_> = setting.files.iter().map(|(file, _)| format!("`{file}`")).collect();
        return Err(format!("this kernel has no {}", names.join(" or ")));
    };
    fs::write(directory.join(file), value).map_err(|error| format!("`{value}` to `{file}`: {error}"))
}

/// Makes the container's directory, and those above it where they are missing; `fresh` is called for each new one.
fn make(
    base: &Path,
    project: &str,
    id: &str,
    fresh: &dyn Fn(&Path) -> Result<(), files::Error>,
) -> Result<PathBuf, Error> {
    let levels = [base.join(OURS), base.join(OURS).join(project)];
    let directory = levels[1].join(id);
    let mut tries = 0;
    let made = loop {
        tries += 1;
        match fs::create_dir(&directory) {
            // Another project's end may take the upper levels away between two of these calls; a few times only.
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < 100 => {
                for level in &levels {
                    match fs::create_dir(level) {
                        Ok(()) => fresh(level)?,
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                        Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                        Err(error) => return Err(failed("create control group", level)(error).into()),
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < 100 => {
                remove_tree(&directory)?;
            }
            other => break other,
        }
    };
    made.map_err(failed("create control group", &directory))?;
    fresh(&directory)?;
    Ok(directory)
}

/// Gives a new v1 cpuset what the one above has: empty ones take no process (cpuset(7)).
fn inherit_cpuset(level: &Path) -> Result<(), files::Error> {
    let Some(above) = level.parent() else { return Ok(()) };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let path = level.join(file);
        let given = files::read(&above.join(file))?;
        fs::write(&path, given).map_err(failed("write", &path))?;
    }
    Ok(())
}

/// Moves our own processes out of a group, so that it may have controlled children (cgroups(7), "no internal
/// processes"). The root of the hierarchy may have both.
///
/// Before any controller is switched on: with processes in the group, `cpu` or `pids` would make it a threaded one,
/// which never takes `memory`.
fn make_room(base: &Path) -> io::Result<()> {
    if is_root(base) || fs::read_to_string(base.join("cgroup.procs"))?.is_empty() {
        return Ok(());
    }
    move_our_own(base, &base.join(LEAF))
}

/// Returns whether a group is the root of its hierarchy, which alone has no type.
fn is_root(group: &Path) -> bool {
    !group.join("cgroup.type").exists()
}

/// Lets the groups below a level have a controller.
fn switch_on(level: &Path, controller: &str) -> io::Result<()> {
    let file = level.join("cgroup.subtree_control");
    let on = fs::read_to_string(&file)?;
    if on.split_whitespace().any(|name| name == controller) {
        return Ok(());
    }
    if is_root(level) || fs::read_to_string(level.join("cgroup.procs"))?.is_empty() {
        return fs::write(&file, format!("+{controller}"));
    }
    // Not even those that the kernel would allow: see `make_room`.
    Err(io::Error::from_raw_os_error(libc::EBUSY))
}

fn why_refused(level: &Path, error: &io::Error) -> String {
    if error.raw_os_error() == Some(libc::EBUSY) {
        let others = read_pids(level).map(|pids| pids.len()).unwrap_or_default();
        return format!("{others} processes of others are in control group `{}`", level.display());
    }
    format!("control group `{}`: {error}", level.display())
}
