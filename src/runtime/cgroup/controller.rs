//! Which hierarchy we have, and what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

use super::create::{create_v1, create_v2, undo_on_error};
use super::error::{Error, Warning};
use super::handle::Handle;
use super::settings::{self, Limit};
use super::tree::Tree;
use crate::host::files;
use crate::runtime::spec::Limits;

/// All projects' groups are below a directory of this name.
pub(super) const OURS: &str = "rcompose";

/// Where our own processes go on v2.
pub(super) const LEAF: &str = "rcompose.keeper";

/// What this process may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Controller {
    /// Version 1, with a writable directory for each controller.
    V1 {
        /// Our own group by controller.
        groups: BTreeMap<String, PathBuf>,
        /// Our own group in the `unified` hierarchy of a hybrid host, which kills and freezes.
        unified: Option<PathBuf>,
    },
    /// Version 2.
    V2 {
        /// Our own group, or that above it when we are in the leaf already.
        base: PathBuf,
        /// What may be switched on below it.
        controllers: BTreeSet<String>,
    },
    /// Nothing.
    None {
        /// Why.
        absence: Absence,
    },
}

/// Why there are no control groups for us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Absence {
    /// None are mounted.
    #[error("no control groups are mounted")]
    NotMounted,
    /// Version 1 cannot be delegated.
    #[error("control groups of version 1 are root's alone")]
    NeedsRoot,
    /// Version 2, but our group is another's.
    #[error("control group `{}` is not delegated to this user{}", group.display(), because(refusal.as_deref()))]
    NotDelegated {
        /// Our own group.
        group: PathBuf,
        /// What systemd said when it was asked for one.
        refusal: Option<String>,
    },
}

fn because(refusal: Option<&str>) -> String {
    refusal.map(|refusal| format!(", and {refusal}")).unwrap_or_default()
}

impl Absence {
    /// None of these limits is kept.
    pub(super) fn of_all(&self, limits: Vec<Limit>) -> Vec<Warning> {
        let warn = |limit| Warning { limit, reason: self.to_string(), mend: Some(self.mend()) };
        limits.into_iter().map(warn).collect()
    }

    /// Says what to do.
    pub fn mend(&self) -> String {
        match self {
            Absence::NotMounted => "mount them: `mount -t cgroup2 none /sys/fs/cgroup`".into(),
            Absence::NeedsRoot => {
                "boot with `systemd.unified_cgroup_hierarchy=1`, or run rcompose as root".into()
            }
            Absence::NotDelegated { refusal: Some(_), .. } => {
                "`systemctl --user status` (as root: `systemctl status`) says how systemd is".into()
            }
            Absence::NotDelegated { refusal: None, .. } => {
                "log in by ssh or a console, so that systemd gives you a manager of your own (`loginctl \
                 enable-linger` keeps it), not by su or sudo"
                    .into()
            }
        }
    }
}

impl Controller {
    /// Finds what this process may use now; after [`super::systemd::Manager::ask_for_scope`] that is the scope.
    /// `refusal` is why that failed, if it did.
    pub fn detect(refusal: Option<String>) -> Result<Controller, Error> {
        let read = |path: &str| {
            files::read_if_there(Path::new(path))
                .map(|bytes| String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
        };
        let tree = Tree::read(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
        Ok(Controller::choose(
            tree,
            refusal,
            |path| access(path, Access::WRITE_OK).is_ok(),
            |path| fs::read_to_string(path).unwrap_or_default(),
        ))
    }

    /// Decides from where our own group is, what may be written and what controllers v2 has.
    fn choose(
        tree: Tree,
        refusal: Option<String>,
        writable: impl Fn(&Path) -> bool,
        read: impl Fn(&Path) -> String,
    ) -> Controller {
        let Tree { v1, v2 } = tree;
        // A hierarchy that only names processes (systemd's own) limits nothing.
        if v1.keys().all(|name| name.starts_with("name=")) {
            let Some(own) = v2 else { return Controller::None { absence: Absence::NotMounted } };
            let base = match own.parent() {
                Some(parent) if own.ends_with(LEAF) => parent.to_owned(),
                _ => own.clone(),
            };
            let ours = writable(&base) && writable(&base.join("cgroup.procs"));
            if !ours || !writable(&base.join("cgroup.subtree_control")) {
                return Controller::None { absence: Absence::NotDelegated { group: own, refusal } };
            }
            let listed = read(&base.join("cgroup.controllers"));
            let controllers = listed.split_whitespace().map(str::to_owned).collect();
            return Controller::V2 { base, controllers };
        }
        let groups: BTreeMap<_, _> =
            v1.into_iter().filter(|(name, path)| !name.starts_with("name=") && writable(path)).collect();
        match groups.is_empty() {
            true => Controller::None { absence: Absence::NeedsRoot },
            false => Controller::V1 { groups, unified: v2.filter(|path| writable(path)) },
        }
    }

    /// Makes the groups of a container that is about to start, with its limits. What cannot be kept is told.
    ///
    /// Groups left from an earlier start of the same container are removed first, so that their numbers are not
    /// taken for this one's; processes left in them are killed.
    pub fn create(&self, project: &str, id: &str, limits: &Limits) -> Result<(Handle, Vec<Warning>), Error> {
        match self {
            Controller::None { absence } => Ok((Handle::default(), absence.of_all(settings::asked(limits)))),
            Controller::V1 { groups, unified } => {
                let mut made = Handle::default();
                let result = create_v1(groups, unified.as_deref(), project, id, limits, &mut made);
                undo_on_error(result, made)
            }
            Controller::V2 { base, controllers } => {
                let mut made = Handle::default();
                let result = create_v2(base, controllers, project, id, limits, &mut made);
                undo_on_error(result, made)
            }
        }
    }

    /// Finds the groups of a container that exist, to take them over after a restart of ours.
    ///
    /// A process of it that lives says where they are: the keeper that made them may have been in another group than we
    /// are, another session's. Without one they are looked for below ours.
    pub fn open(&self, project: &str, id: &str, process: Option<i32>) -> Handle {
        let below = Path::new(OURS).join(project).join(id);
        let mut directories = process.map(|pid| groups_of(pid, &below)).unwrap_or_default();
        if directories.is_empty() {
            let bases = self.bases().into_iter();
            directories =
                bases.map(|(controller, base)| (controller.to_owned(), base.join(&below))).collect();
        }
        let mut handle = Handle::default();
        for (controller, directory) in directories {
            if !directory.is_dir() {
                continue;
            }
            // On v2 the group itself says which controllers it was given.
            let given = fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
            if matches!(self, Controller::V2 { .. }) {
                given.split_whitespace().for_each(|name| handle.add(name, directory.clone()));
            }
            handle.add(&controller, directory);
        }
        handle
    }

    /// Lists the containers of a project that have groups, dead or alive.
    pub fn containers(&self, project: &str) -> BTreeSet<String> {
        let below = |base: &Path| fs::read_dir(base.join(OURS).join(project)).into_iter().flatten().flatten();
        self.bases()
            .iter()
            .flat_map(|(_, base)| below(base))
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// Removes a project's own directories once no container has groups in them.
    pub fn remove_project(&self, project: &str) {
        for (_, base) in self.bases() {
            let ours = base.join(OURS);
            // Refused while another container or project has groups below: then they stay, as they should.
            let _ = fs::remove_dir(ours.join(project));
            let _ = fs::remove_dir(ours);
        }
    }

    fn bases(&self) -> Vec<(&str, &Path)> {
        match self {
            Controller::None { .. } => Vec::new(),
            Controller::V1 { groups, unified } => groups
                .iter()
                .map(|(name, path)| (name.as_str(), path.as_path()))
                .chain(unified.iter().map(|path| ("unified", path.as_path())))
                .collect(),
            Controller::V2 { base, .. } => vec![("unified", base.as_path())],
        }
    }
}

/// The groups of a process that are, or lie below, a directory that ends so.
fn groups_of(pid: i32, end: &Path) -> Vec<(String, PathBuf)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let Tree { v1, v2 } = Tree::read(&read("/proc/self/mountinfo"), &read(&format!("/proc/{pid}/cgroup")));
    v1.into_iter()
        .chain(v2.map(|path| ("unified".to_owned(), path)))
        .filter_map(|(name, path)| {
            path.ancestors().find(|above| above.ends_with(end)).map(|found| (name, found.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(v1: &[&str], v2: Option<&str>, writable: &[&str], expected: &str) {
        let tree = Tree {
            v1: v1.iter().map(|name| ((*name).to_owned(), Path::new("/cg").join(name))).collect(),
            v2: v2.map(PathBuf::from),
        };
        let can = |path: &Path| writable.iter().any(|known| path.starts_with(known));
        let found = match Controller::choose(tree, None, can, |_| "cpu memory\n".into()) {
            Controller::V1 { groups, unified } => {
                format!("v1 {} {}", groups.into_keys().collect::<Vec<_>>().join(","), unified.is_some())
            }
            Controller::V2 { base, controllers } => {
                format!("v2 {} {}", base.display(), controllers.into_iter().collect::<Vec<_>>().join(","))
            }
            Controller::None { absence } => absence.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn each_kind_of_host_is_told_apart() {
        check(&["memory", "cpu"], Some("/u"), &["/cg", "/u"], "v1 cpu,memory true");
        check(&["memory", "name=systemd"], None, &["/cg"], "v1 memory false");
        check(&["memory"], Some("/u"), &["/u"], "control groups of version 1 are root's alone");
        check(&["name=systemd"], Some("/u/a"), &["/u"], "v2 /u/a cpu,memory");
        check(&[], Some("/u/a.scope/rcompose.keeper"), &["/u/a.scope"], "v2 /u/a.scope cpu,memory");
        check(&[], Some("/u/session"), &[], "control group `/u/session` is not delegated to this user");
        check(&[], None, &[], "no control groups are mounted");
    }

    #[test]
    fn why_systemd_refused_is_told() {
        let tree = Tree { v2: Some("/u/session".into()), ..Tree::default() };
        let refusal = Some("systemd refuses `StartTransientUnit`: no".to_owned());
        let found = Controller::choose(tree, refusal, |_| false, |_| String::new());
        let Controller::None { absence } = found else { panic!("{found:?}") };
        assert_eq!(
            absence.to_string(),
            "control group `/u/session` is not delegated to this user, and systemd refuses `StartTransientUnit`: no"
        );
        assert!(absence.mend().contains("systemctl --user status"));
    }

    #[test]
    fn without_groups_every_limit_is_named_once() {
        let controller = Controller::None { absence: Absence::NeedsRoot };
        let limits =
            Limits { memory: Some(1), cpu_milli: Some(5), oom_kill_disable: true, ..Limits::default() };
        let (handle, warnings) = controller.create("p", "c", &limits).expect("nothing to fail");
        assert!(handle.procs().is_empty());
        let told: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        let because = "is not kept: control groups of version 1 are root's alone";
        assert_eq!(
            told,
            [
                format!("`mem_limit` {because}"),
                format!("`cpus` {because}"),
                format!("`oom_kill_disable` {because}")
            ]
        );
    }
}
