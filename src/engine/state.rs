//! What the engine remembers of a project on disk.
//!
//! | file | what | written |
//! |---|---|---|
//! | `desired.json` | the last wish | at `Apply` |
//! | `networks.json` | networks that were made, with their subnets and the addresses kept on them | when one comes or goes, or a container goes |
//! | `containers/ID/config.json` | what a container was made from; never changes | when it is made |
//! | `containers/ID/state.json` | what it does now ([`Container`]) | at each change |
//!
//! Each is replaced at once and bears a format. None is synced, so a loss of power may leave it torn or empty: a damaged one
//! is passed over as if it were not there, and [`Store::damage`] names it. A container whose `state.json` is damaged is taken
//! as it was made, which `config.json` tells: its files are all that a user would miss. A container exists from the moment that its `state.json` stands, which is
//! the last thing written when it is made and the first thing removed when it goes: a directory without one is litter of
//! a crash and is swept by [`Store::sweep`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::host::files::{self, Durability, failed};
use crate::host::paths::Paths;
use crate::host::process::Identity;
use crate::host::removal;
use crate::plan::desired::{Desired, Service};
use crate::plan::observed::{Container, Network};
use crate::runtime::spec::{ContainerId, ContainerSpec, Mount, MountSource};

/// Format of all records here.
const FORMAT: u32 = 1;

/// What a container was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The service as it was wished for then.
    pub service: Service,
    /// What it runs, complete.
    pub spec: ContainerSpec,
    /// Its output goes to a terminal or to pipes that a command holds, not to its log.
    #[serde(default)]
    pub attached: bool,
    /// Its ports are not published (`run` without `--service-ports`).
    #[serde(default)]
    pub without_ports: bool,
    /// Remove it when it has ended (`run --rm`).
    #[serde(default)]
    pub remove: bool,
    /// Its record as it was when it was made, for the case that the one which follows its life is damaged.
    #[serde(default)]
    pub made: Option<Container>,
}

impl Config {
    /// What of this machine's files is mounted in it, volumes and all.
    pub fn binds(&self) -> Vec<PathBuf> {
        let bind = |mount: &Mount| match &mount.source {
            MountSource::Bind { path, .. } | MountSource::Volume { path, .. } => Some(path.clone()),
            _ => None,
        };
        self.spec.mounts.iter().filter_map(bind).collect()
    }
}

/// The records of one project.
#[derive(Clone, Debug)]
pub struct Store {
    paths: Paths,
    project: String,
    damage: Arc<Mutex<Vec<String>>>,
}

#[derive(Serialize, Deserialize)]
struct Networks {
    networks: IndexMap<String, Network>,
}

impl Store {
    /// Names the records of a project; touches no disk.
    pub fn new(paths: Paths, project: &str) -> Store {
        Store { paths, project: project.to_owned(), damage: Arc::default() }
    }

    /// Takes out what was found damaged since the last call, each a sentence without a full stop.
    pub fn damage(&self) -> Vec<String> {
        std::mem::take(&mut *self.damage.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads a record; a damaged one is noted and not there. So is one that is no file, or that we may not read.
    fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, files::Error> {
        match files::read_record(path, FORMAT) {
            Err(files::Error::Damaged { source, .. }) => self.note_damage(path, &source),
            Err(files::Error::Io { source, .. }) if !is_passing(&source) => self.note_damage(path, &source),
            other => return other,
        }
        Ok(None)
    }

    fn note_damage(&self, path: &Path, why: &dyn std::error::Error) {
        let text = format!("`{}` is damaged ({why}) and is passed over", path.display());
        let mut damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        if !damage.contains(&text) {
            damage.push(text);
        }
    }

    /// Writes a record. Makes its directory again where somebody has removed it under a project that runs, and on a full
    /// disk takes the place of the old one.
    fn write<T: Serialize>(&self, path: &Path, content: &T) -> Result<(), files::Error> {
        let write = || files::write_record(path, FORMAT, content, Durability::Crash);
        match write() {
            Err(files::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                files::make_private_dir(path.parent().unwrap_or(path))?;
                write()
            }
            Err(files::Error::Io { source, .. }) if source.kind() == io::ErrorKind::IsADirectory => {
                remove_tree(path)?;
                write()
            }
            Err(error) if files::is_full(&error) => {
                files::overwrite_record(path, FORMAT, content).map_err(|_| error)
            }
            other => other,
        }
    }

    /// Reads who the project's keeper is or was.
    pub fn keeper(&self) -> Result<Option<Identity>, files::Error> {
        self.read(&self.paths.keeper_record(&self.project))
    }

    /// The project's name.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// Where everything is.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// A container's directory.
    pub fn directory(&self, id: &ContainerId) -> PathBuf {
        self.paths.container(&self.project, &id.0)
    }

    /// Makes the project's directory.
    pub fn prepare(&self) -> Result<(), files::Error> {
        files::make_private_dir(&self.paths.containers(&self.project))
    }

    /// Reads the last wish.
    pub fn desired(&self) -> Result<Option<Desired>, files::Error> {
        self.read(&self.paths.desired(&self.project))
    }

    /// Remembers a wish.
    pub fn write_desired(&self, desired: &Desired) -> Result<(), files::Error> {
        self.write(&self.paths.desired(&self.project), desired)
    }

    fn networks_path(&self) -> PathBuf {
        self.paths.project(&self.project).join("networks.json")
    }

    /// Reads which networks were made.
    pub fn networks(&self) -> Result<IndexMap<String, Network>, files::Error> {
        let record = self.read::<Networks>(&self.networks_path())?;
        Ok(record.map(|record| record.networks).unwrap_or_default())
    }

    /// Remembers which networks were made.
    pub fn write_networks(&self, networks: &IndexMap<String, Network>) -> Result<(), files::Error> {
        let record = Networks { networks: networks.clone() };
        self.write(&self.networks_path(), &record)
    }

    /// Reads what a container was made from.
    pub fn config(&self, id: &ContainerId) -> Result<Option<Config>, files::Error> {
        self.read(&self.directory(id).join("config.json"))
    }

    /// Remembers what a container is made from.
    pub fn write_config(&self, config: &Config) -> Result<(), files::Error> {
        let path = self.directory(&config.spec.id).join("config.json");
        self.write(&path, config)
    }

    /// Reads what a container does; `None` where there is no such container.
    pub fn container(&self, id: &ContainerId) -> Result<Option<Container>, files::Error> {
        let path = self.state_path(id);
        match self.read(&path)? {
            // A damaged record is one; without any there is no container.
            None if path.exists() => Ok(self.config(id)?.and_then(|config| config.made)),
            record => Ok(record),
        }
    }

    /// Remembers what a container does.
    pub fn write_container(&self, container: &Container) -> Result<(), files::Error> {
        self.write(&self.state_path(&container.id), container)
    }

    fn state_path(&self, id: &ContainerId) -> PathBuf {
        self.directory(id).join("state.json")
    }

    /// Reads all containers, the oldest first.
    pub fn containers(&self) -> Result<Vec<Container>, files::Error> {
        let mut found = Vec::new();
        for id in self.ids()? {
            found.extend(self.container(&id)?);
        }
        found.sort_by(|a, b| (a.created_ns, &a.name).cmp(&(b.created_ns, &b.name)));
        Ok(found)
    }

    /// Names all container directories, whatever is in them.
    pub fn ids(&self) -> Result<Vec<ContainerId>, files::Error> {
        Ok(names(&self.paths.containers(&self.project))?.into_iter().map(ContainerId).collect())
    }

    /// Removes a container's directory: its record first, so that it is gone for everybody at once.
    pub fn remove(&self, id: &ContainerId) -> Result<(), files::Error> {
        let state = self.state_path(id);
        match fs::remove_file(&state) {
            // A directory in its place.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => remove_tree(&state)?,
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &state)(error));
            }
            _ => {}
        }
        remove_tree(&self.directory(id))
    }

    /// Removes what a crash left: container directories without a record that says what they are.
    pub fn sweep(&self) -> Result<(), files::Error> {
        for id in self.ids()? {
            let known = match self.container(&id) {
                Ok(container) => container.is_some(),
                // One that cannot be read is not judged.
                Err(_) => true,
            };
            if !known {
                remove_tree(&self.directory(&id))?;
            }
        }
        Ok(())
    }

    /// Forgets the project. Nothing of it may be left that needs a record.
    pub fn forget(&self) -> Result<(), files::Error> {
        remove_tree(&self.paths.project(&self.project))
    }
}

/// Whether an error says something of this moment and nothing of the file.
fn is_passing(error: &io::Error) -> bool {
    let passing = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EINTR, libc::EAGAIN, libc::EIO];
    error.raw_os_error().is_some_and(|number| passing.contains(&number))
}

/// Names of all projects that are remembered.
pub fn projects(paths: &Paths) -> Result<Vec<String>, files::Error> {
    names(&paths.projects())
}

fn names(directory: &Path) -> Result<Vec<String>, files::Error> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", directory)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("list", directory))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort();
    Ok(names)
}

fn remove_tree(path: &Path) -> Result<(), files::Error> {
    removal::remove_tree(path).map_err(failed("remove", path))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plan::observed::State;

    pub(crate) fn paths(root: &Path) -> Paths {
        Paths::find(|name| (name == "RCOMPOSE_HOME").then(|| root.to_owned()), 0, root, |_| true)
    }

    pub(crate) fn container(id: &str, name: &str, state: State) -> Container {
        Container {
            id: ContainerId(id.into()),
            name: name.into(),
            service: "web".into(),
            number: 1,
            oneoff: false,
            image: "i".into(),
            image_id: "sha256:0".into(),
            fingerprint: "f".into(),
            command: "true".into(),
            labels: Default::default(),
            created_ns: 1,
            state,
            stopped_by_user: false,
            restarts: 0,
            health: None,
            attachments: Vec::new(),
            ports: Vec::new(),
            exposed: Vec::new(),
            anonymous_volumes: Default::default(),
            named_volumes: Vec::new(),
            uses: Vec::new(),
        }
    }

    #[test]
    fn a_container_stands_with_its_record_and_litter_is_swept() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::new(paths(directory.path()), "p");
        store.prepare().expect("prepared");
        let a = container("aa", "p-web-1", State::Created);
        files::make_private_dir(&store.directory(&a.id)).expect("made");
        store.write_container(&a).expect("written");
        let litter = store.directory(&ContainerId("bb".into()));
        let forbidden = litter.join("work/work/inner");
        fs::create_dir_all(&forbidden).expect("made");
        fs::set_permissions(litter.join("work/work"), std::os::unix::fs::PermissionsExt::from_mode(0o0))
            .expect("closed");
        let torn = store.directory(&ContainerId("cc".into()));
        fs::create_dir_all(&torn).expect("made");
        fs::write(torn.join("state.json"), "{\"format\":1,").expect("written");
        assert_eq!(store.containers().expect("read"), std::slice::from_ref(&a));
        store.sweep().expect("swept");
        assert!(!litter.exists() && !torn.exists());
        assert_eq!(projects(store.paths()).expect("listed"), ["p"]);
        store.remove(&a.id).expect("removed");
        assert_eq!(store.containers().expect("read"), []);
        store.forget().expect("forgotten");
        assert_eq!(projects(store.paths()).expect("listed"), Vec::<String>::new());
    }
}
