//! Every path that we write, one function each.
//!
//! | path | owner | what |
//! |---|---|---|
//! | `DATA/images/` | `image` | an OCI layout, leases, `layers/HASH-OF-ID-MAP/`, under one lock |
//! | `DATA/build/` | `build` | for each id map: records of steps, cache mounts; and what contexts were read |
//! | `DATA/volumes/NAME/` | `volume` | `data/` and `volume.json` |
//! | `STATE/projects/NAME/` | `engine` | `desired.json`, `lock`, `journal`, `containers/ID/` |
//! | `STATE/projects/NAME/keeper.json` | `supervisor` | who the keeper is; here, for RUN is what users and logouts remove |
//! | `STATE/projects/NAME/containers/ID/` | `engine`, `runtime` | `state.json`, `stdout`, `stderr`, `index`, `upper/`, `work/`, `files/` |
//! | `STATE/run` | `supervisor` | a link to RUN while any project runs: sessions differ in their variables |
//! | `RUN/NAME/` | `supervisor` | `lock`, `control.sock`, `keeper.log`, `scope-refused` (gone after a reboot) |
//! | `RUN/userns.lock` | `host` | taken while a keeper is started |
//! | `RUN/shared.networks/NAME/` | `network` | leases and names of a network that projects share |
//!
//! DATA is `$XDG_DATA_HOME/rcompose` (`~/.local/share/rcompose`), STATE `$XDG_STATE_HOME/rcompose`
//! (`~/.local/state/rcompose`), RUN `$XDG_RUNTIME_DIR/rcompose`, or `/run/rcompose` for root and
//! `/tmp/rcompose-UID` for a user without a runtime directory. `RCOMPOSE_HOME` puts DATA, STATE and RUN below one
//! directory of its own, which is how tests keep apart.

use std::path::{Path, PathBuf};

/// The three roots below which everything is written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Paths {
    data: PathBuf,
    state: PathBuf,
    run: PathBuf,
}

impl Paths {
    /// Finds the roots from environment variables and the user's identity; touches no disk.
    ///
    /// `env` looks up a variable; `home` is the home directory by the user database, used where HOME is not set or
    /// (under sudo) belongs to somebody else; `runtime_dir_exists` says whether a candidate is there.
    pub fn find(
        env: impl Fn(&str) -> Option<PathBuf>,
        uid: u32,
        home: &Path,
        runtime_dir_exists: impl Fn(&Path) -> bool,
    ) -> Paths {
        let absolute = |name: &str| env(name).filter(|path| path.is_absolute());
        if let Some(root) = absolute("RCOMPOSE_HOME") {
            return Paths { data: root.join("data"), state: root.join("state"), run: root.join("run") };
        }
        let data = absolute("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share"));
        let state = absolute("XDG_STATE_HOME").unwrap_or_else(|| home.join(".local/state"));
        let run = match absolute("XDG_RUNTIME_DIR").filter(|path| runtime_dir_exists(path)) {
            Some(path) => path.join("rcompose"),
            None if uid == 0 => PathBuf::from("/run/rcompose"),
            None => {
                let session = PathBuf::from(format!("/run/user/{uid}"));
                if runtime_dir_exists(&session) {
                    session.join("rcompose")
                } else {
                    PathBuf::from(format!("/tmp/rcompose-{uid}"))
                }
            }
        };
        Paths { data: data.join("rcompose"), state: state.join("rcompose"), run }
    }

    /// Goes where projects run already: a session by cron, su or a service may have other variables than the one in which
    /// they came up. `read_link` is readlink(2), `is_own` whether a directory is this user's alone: one that has gone (a
    /// logout, a reboot) or is another's is left. Not for a root of its own, all of which may have been copied.
    pub fn settled(
        self,
        read_link: impl Fn(&Path) -> Option<PathBuf>,
        is_own: impl Fn(&Path) -> bool,
    ) -> Paths {
        if self.state.parent() == self.run.parent() {
            return self;
        }
        match read_link(&self.run_link()).filter(|run| run.is_absolute() && is_own(run)) {
            Some(run) => Paths { run, ..self },
            None => self,
        }
    }

    /// The image store.
    pub fn images(&self) -> PathBuf {
        self.data.join("images")
    }

    /// The cache of builds.
    pub fn build(&self) -> PathBuf {
        self.data.join("build")
    }

    /// All volumes.
    pub fn volumes(&self) -> PathBuf {
        self.data.join("volumes")
    }

    /// One volume.
    pub fn volume(&self, name: &str) -> PathBuf {
        self.volumes().join(name)
    }

    /// All projects that are remembered.
    pub fn projects(&self) -> PathBuf {
        self.state.join("projects")
    }

    /// What is remembered of one project.
    pub fn project(&self, name: &str) -> PathBuf {
        self.projects().join(name)
    }

    /// The last wish.
    pub fn desired(&self, project: &str) -> PathBuf {
        self.project(project).join("desired.json")
    }

    /// Exit statuses, written by the keeper before it reaps.
    pub fn journal(&self, project: &str) -> PathBuf {
        self.project(project).join("journal")
    }

    /// All containers of a project.
    pub fn containers(&self, project: &str) -> PathBuf {
        self.project(project).join("containers")
    }

    /// One container.
    pub fn container(&self, project: &str, id: &str) -> PathBuf {
        self.containers(project).join(id)
    }

    /// What lives only as long as the machine is up.
    pub fn run(&self) -> PathBuf {
        self.run.clone()
    }

    /// Says where that is to sessions that would look elsewhere.
    pub fn run_link(&self) -> PathBuf {
        self.state.join("run")
    }

    /// The same, of one project.
    pub fn run_project(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }

    /// The lock that one mutating command, and the supervisor's start, take in turn.
    pub fn project_lock(&self, name: &str) -> PathBuf {
        self.run_project(name).join("lock")
    }

    /// The supervisor's socket. Its path must stay below the 108 bytes of `sun_path`; see `supervisor::spawn`.
    pub fn control_socket(&self, name: &str) -> PathBuf {
        self.run_project(name).join("control.sock")
    }

    /// What keeper and supervisor say when they fail.
    pub fn keeper_log(&self, name: &str) -> PathBuf {
        self.run_project(name).join("keeper.log")
    }

    /// Why systemd gave the keeper no control group of its own, if it was asked.
    pub fn scope_refusal(&self, name: &str) -> PathBuf {
        self.run_project(name).join("scope-refused")
    }

    /// Who the keeper is: pid, start time, boot id.
    pub fn keeper_record(&self, name: &str) -> PathBuf {
        self.project(name).join("keeper.json")
    }

    /// Held while the outer user namespace is looked for and, where there is none, made. No project is called so:
    /// their names have no dot.
    pub fn userns_lock(&self) -> PathBuf {
        self.run.join("userns.lock")
    }

    /// A network that projects share. No project is called so either.
    pub fn shared_network(&self, name: &str) -> PathBuf {
        self.run.join("shared.networks").join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(env: &[(&str, &str)], uid: u32, existing: &[&str]) -> Paths {
        Paths::find(
            |name| env.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value)),
            uid,
            Path::new("/home/ada"),
            |path| existing.iter().any(|known| Path::new(known) == path),
        )
    }

    #[test]
    fn variables_win_over_defaults() {
        let paths = find(
            &[("XDG_DATA_HOME", "/d"), ("XDG_STATE_HOME", "/s"), ("XDG_RUNTIME_DIR", "/r")],
            1000,
            &["/r"],
        );
        assert_eq!(paths.images(), Path::new("/d/rcompose/images"));
        assert_eq!(paths.project("p"), Path::new("/s/rcompose/projects/p"));
        assert_eq!(paths.control_socket("p"), Path::new("/r/rcompose/p/control.sock"));
    }

    #[test]
    fn a_session_goes_where_projects_run_already() {
        let check = |link: Option<&str>, existing: &[&str], expected: &str| {
            let read = |path: &Path| {
                assert_eq!(path, Path::new("/home/ada/.local/state/rcompose/run"));
                link.map(PathBuf::from)
            };
            let exists = |path: &Path| existing.iter().any(|known| Path::new(known) == path);
            let paths = find(&[("XDG_RUNTIME_DIR", "/r")], 1000, &["/r"]).settled(read, exists);
            assert_eq!(paths.run(), Path::new(expected));
        };
        check(None, &[], "/r/rcompose");
        check(Some("/tmp/rcompose-1000"), &["/tmp/rcompose-1000"], "/tmp/rcompose-1000");
        check(Some("/run/user/1000/rcompose"), &["/run/user/1000"], "/r/rcompose");
        check(Some("elsewhere"), &["elsewhere"], "/r/rcompose");
        let never = |path: &Path| -> Option<PathBuf> { unreachable!("{}", path.display()) };
        let root = find(&[("RCOMPOSE_HOME", "/h")], 1000, &[]);
        assert_eq!(root.clone().settled(never, |_| true), root);
    }

    #[test]
    fn relative_variables_are_ignored_as_the_xdg_specification_says() {
        assert_eq!(
            find(&[("XDG_DATA_HOME", "d")], 1000, &[]).images(),
            Path::new("/home/ada/.local/share/rcompose/images")
        );
    }

    #[test]
    fn a_user_without_a_runtime_directory_gets_one_in_tmp_and_root_in_run() {
        assert_eq!(find(&[], 1000, &[]).run(), Path::new("/tmp/rcompose-1000"));
        assert_eq!(find(&[], 1000, &["/run/user/1000"]).run(), Path::new("/run/user/1000/rcompose"));
        assert_eq!(find(&[], 0, &[]).run(), Path::new("/run/rcompose"));
    }

    #[test]
    fn our_own_files_are_no_projects() {
        let paths = find(&[("RCOMPOSE_HOME", "/t")], 0, &[]);
        let is_project =
            |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        for own in [paths.userns_lock(), paths.shared_network("n")] {
            let first = own.strip_prefix(paths.run()).expect("below").iter().next().expect("a name");
            assert!(!is_project(&first.to_string_lossy()), "{}", own.display());
        }
    }

    #[test]
    fn one_variable_moves_everything() {
        let paths = find(&[("RCOMPOSE_HOME", "/t"), ("XDG_DATA_HOME", "/d")], 0, &[]);
        assert_eq!(
            (paths.volume("v"), paths.run()),
            (PathBuf::from("/t/data/volumes/v"), PathBuf::from("/t/run"))
        );
    }
}
