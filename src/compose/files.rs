//! Which files make the project, and what variables in them stand for. The only reader of the disk in this folder
//! is [`Disk`].

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::dotenv::{self, Assigned};
use super::error::Error;
use super::variables::{Origin, Variables};
use super::{interpolate, paths};

/// The usual names, the best first.
const NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// The usual names of a file that is laid over the first.
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// How files are read.
pub trait Read {
    /// Returns the bytes of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Returns whether there is a file here that can be read (not a directory).
    fn is_file(&self, path: &Path) -> bool;
    /// Returns whether there is a directory here.
    fn is_directory(&self, path: &Path) -> bool;
    /// Returns the path without symbolic links, or itself when it does not exist.
    fn real_path(&self, path: &Path) -> PathBuf;
}

/// The disk of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Read for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        const LARGEST: u64 = super::yaml::LARGEST as u64;
        let too_large = || {
            let message = format!("it is larger than {} MiB", LARGEST >> 20);
            io::Error::new(io::ErrorKind::FileTooLarge, message)
        };
        // The null device is a file that says nothing; others may give bytes for ever, or wait for some.
        if path == Path::new("/dev/null") {
            return Ok(Vec::new());
        }
        let metadata = fs::metadata(path)?;
        if metadata.file_type().is_char_device() || metadata.file_type().is_block_device() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a device, not a file"));
        }
        if metadata.len() > LARGEST {
            return Err(too_large());
        }
        // A pipe, or a file that grows, does not say beforehand how long it is.
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LARGEST {
            return Err(too_large());
        }
        Ok(bytes)
    }

    fn is_file(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|metadata| !metadata.is_dir())
    }

    fn is_directory(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|metadata| metadata.is_dir())
    }

    fn real_path(&self, path: &Path) -> PathBuf {
        fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
    }
}

/// What is asked for. All paths may be relative to `current_directory`.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `-f`, in order; `-` is standard input. Empty: `COMPOSE_FILE`, else the usual names are searched for.
    pub files: Vec<PathBuf>,
    /// `--project-directory`.
    pub project_directory: Option<PathBuf>,
    /// `-p`.
    pub project_name: Option<String>,
    /// `--profile`; empty: `COMPOSE_PROFILES`. `*` is all.
    pub profiles: Vec<String>,
    /// `--env-file`; empty: `COMPOSE_ENV_FILES`, else `.env` of the project directory.
    pub env_files: Vec<PathBuf>,
    /// The caller's environment.
    pub environment: BTreeMap<String, String>,
    /// Where the caller is; absolute.
    pub current_directory: PathBuf,
    /// What standard input holds, when a file is `-`.
    pub stdin: Option<Vec<u8>>,
    /// Services on the command line: their own profiles become active.
    pub services: Vec<String>,
    /// Keep networks, volumes, secrets and configs that no service uses.
    pub all_resources: bool,
    /// What to leave out.
    pub switches: Switches,
}

/// Phases to leave out, each a flag of `config`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// Leave variables as they are; gives a tree, never a project.
    pub no_interpolate: bool,
    /// Leave out names, the default network and implied dependencies.
    pub no_normalize: bool,
    /// Accept references to what is not defined.
    pub no_consistency: bool,
    /// Leave relative paths relative.
    pub no_path_resolution: bool,
    /// Leave env files and label files that are missing, by name; those that are there are read all the same, as the
    /// reference does.
    pub no_env_resolution: bool,
}

/// Where a project is and what its variables are.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The files, absolute; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// The project directory, absolute.
    pub directory: PathBuf,
    /// The caller's environment over the env files.
    pub environment: Variables,
    /// Active profiles.
    pub profiles: Vec<String>,
    /// What was found on the way.
    pub warnings: Vec<String>,
}

/// A problem in an env file, before its place is looked up.
#[derive(Debug)]
pub struct BadEnvFile {
    /// The file.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// What is wrong.
    pub error: dotenv::SyntaxError,
}

/// Why the setting is not known.
#[derive(Debug)]
pub enum Unsettled {
    /// A file is missing or unreadable.
    Error(Error),
    /// An env file cannot be understood.
    EnvFile(Box<BadEnvFile>),
}

impl From<Error> for Unsettled {
    fn from(error: Error) -> Unsettled {
        Unsettled::Error(error)
    }
}

/// Finds the files and reads the env files.
pub fn settle(request: &Request, read: &dyn Read) -> Result<Setting, Unsettled> {
    let here = &request.current_directory;
    let at = |path: &Path| if path == Path::new("-") { path.to_owned() } else { join(here, path) };
    let mut setting = Setting {
        files: request.files.iter().map(|path| at(path)).collect(),
        directory: here.clone(),
        environment: Variables::new(request.environment.clone()),
        profiles: request.profiles.clone(),
        warnings: Vec::new(),
    };
    setting.directory = directory(request, &setting.files);
    // The env file here may name the files; they may stand elsewhere, where another env file is.
    read_env_files(request, read, &mut setting)?;
    if setting.files.is_empty() {
        if let Some(list) = setting.environment.filled("COMPOSE_FILE") {
            let separator = setting.environment.filled("COMPOSE_PATH_SEPARATOR");
            let separator = separator.map_or(":", String::as_str);
            setting.files = list.split(separator).map(|path| at(Path::new(path))).collect();
        } else {
            setting.files = search(&setting.directory, read, &mut setting.warnings)?;
        }
    }
    let directory = directory(request, &setting.files);
    if directory != setting.directory {
        setting.directory = directory;
        read_env_files(request, read, &mut setting)?;
    }
    if setting.profiles.is_empty()
        && let Some(list) = setting.environment.filled("COMPOSE_PROFILES")
    {
        setting.profiles = list.split(',').map(|profile| profile.trim().to_owned()).collect();
    }
    Ok(setting)
}

fn join(directory: &Path, path: &Path) -> PathBuf {
    if path.is_absolute() {
        return path.to_owned();
    }
    PathBuf::from(paths::clean(&directory.join(path).to_string_lossy()))
}

/// The project directory: as asked for, else that of the first file, else where the caller is.
fn directory(request: &Request, files: &[PathBuf]) -> PathBuf {
    let here = &request.current_directory;
    if let Some(directory) = &request.project_directory {
        return join(here, directory);
    }
    match files.first() {
        Some(file) if file != Path::new("-") => file.parent().unwrap_or(Path::new("/")).to_owned(),
        _ => here.clone(),
    }
}

/// Reads the env files; what is known already stays.
fn read_env_files(request: &Request, read: &dyn Read, setting: &mut Setting) -> Result<(), Unsettled> {
    let here = &request.current_directory;
    let named: Vec<PathBuf> = if !request.env_files.is_empty() {
        request.env_files.iter().map(|path| join(here, path)).collect()
    } else if let Some(list) = request.environment.get("COMPOSE_ENV_FILES").filter(|list| !list.is_empty()) {
        list.split(',').map(|path| join(here, Path::new(path))).collect()
    } else {
        let disabled = request.environment.get("COMPOSE_DISABLE_ENV_FILE");
        if disabled.is_some_and(|text| matches!(text.to_lowercase().as_str(), "1" | "t" | "true")) {
            return Ok(());
        }
        let path = setting.directory.join(".env");
        if read.is_file(&path) { vec![path] } else { Vec::new() }
    };
    let read_variables = env_files(&named, &setting.environment, read, &mut setting.warnings)?;
    setting.environment.fill_up(read_variables);
    Ok(())
}

/// Reads env files, later ones over earlier ones; variables in them stand for the environment, then for what was
/// read before.
pub fn env_files(
    files: &[PathBuf],
    environment: &Variables,
    read: &dyn Read,
    warnings: &mut Vec<String>,
) -> Result<Variables, Unsettled> {
    let mut all = Variables::default();
    for path in files {
        let bytes =
            read.read(path).map_err(|source| Error::Read { what: "env file", path: path.clone(), source })?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lookup = |name: &str| environment.get(name).or_else(|| all.get(name)).map(String::as_str);
        let mut unset = |name: &str| warnings.push(interpolate::unset_warning(name));
        match dotenv::parse(&text, &lookup, &mut unset) {
            Ok(variables) => {
                for (name, Assigned { value, line }) in variables {
                    all.set(&name, value, Origin::File { path: path.clone(), line });
                }
            }
            Err(error) => {
                return Err(Unsettled::EnvFile(Box::new(BadEnvFile { path: path.clone(), text, error })));
            }
        }
    }
    Ok(all)
}

/// Looks for the usual names here, then in each directory above.
fn search(start: &Path, read: &dyn Read, warnings: &mut Vec<String>) -> Result<Vec<PathBuf>, Error> {
    for directory in start.ancestors() {
        let found = present(directory, &NAMES, read, warnings);
        let Some(first) = found else { continue };
        let mut files = vec![first];
        files.extend(present(directory, &OVERRIDES, read, warnings));
        return Ok(files);
    }
    Err(Error::NotFound { directory: start.to_owned() })
}

/// Returns the first of some names that is there; several get a warning.
fn present(directory: &Path, names: &[&str], read: &dyn Read, warnings: &mut Vec<String>) -> Option<PathBuf> {
    let found: Vec<PathBuf> =
        names.iter().map(|name| directory.join(name)).filter(|path| read.is_file(path)).collect();
    if found.len() > 1 {
        let names: Vec<String> = found.iter().map(|path| path.display().to_string()).collect();
        warnings.push(format!("Found multiple config files with supported names: {}", names.join(", ")));
        warnings.push(format!("Using {}", names[0]));
    }
    found.into_iter().next()
}

/// Brings a text into the form of a project name: lower case, only `[a-z0-9_-]`, no `_` or `-` in front.
pub fn normalized_name(text: &str) -> String {
    let lower = text.to_lowercase();
    let kept: String = lower.chars().filter(|c| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-')).collect();
    kept.trim_start_matches(['_', '-']).to_owned()
}

/// Takes a project's name that a caller gave, or refuses it: names become parts of paths.
pub fn project_name(text: &str) -> Result<String, Error> {
    let suggestion = normalized_name(text);
    let name = text.to_owned();
    if suggestion == name && !name.is_empty() { Ok(name) } else { Err(Error::Name { name, suggestion }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of a test, by path.
    struct Memory(BTreeMap<&'static str, &'static str>);

    impl Read for Memory {
        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            let text = self.0.get(path.to_str().expect("utf-8")).ok_or(io::ErrorKind::NotFound)?;
            Ok(text.as_bytes().to_vec())
        }
        fn is_file(&self, path: &Path) -> bool {
            self.0.contains_key(path.to_str().expect("utf-8"))
        }
        fn is_directory(&self, path: &Path) -> bool {
            self.0.keys().any(|file| Path::new(file).starts_with(path))
        }
        fn real_path(&self, path: &Path) -> PathBuf {
            path.to_owned()
        }
    }

    fn check(files: &[(&'static str, &'static str)], request: Request, expected: &[&str], directory: &str) {
        let memory = Memory(files.iter().copied().collect());
        let request = Request { current_directory: "/w/p".into(), ..request };
        let setting = settle(&request, &memory).expect("settled");
        let found: Vec<&str> = setting.files.iter().map(|path| path.to_str().expect("utf-8")).collect();
        assert_eq!(found, expected);
        assert_eq!(setting.directory, Path::new(directory));
    }

    #[test]
    fn usual_names_are_found_here_and_above() {
        let plain = Request::default;
        check(&[("/w/p/compose.yaml", "")], plain(), &["/w/p/compose.yaml"], "/w/p");
        check(
            &[("/w/docker-compose.yml", ""), ("/w/compose.override.yaml", "")],
            plain(),
            &["/w/docker-compose.yml", "/w/compose.override.yaml"],
            "/w",
        );
        check(
            &[("/w/p/compose.yml", ""), ("/w/p/docker-compose.yml", "")],
            plain(),
            &["/w/p/compose.yml"],
            "/w/p",
        );
    }

    #[test]
    fn files_are_named_by_flag_and_environment() {
        let files = Request { files: vec!["sub/a.yaml".into(), "b.yaml".into()], ..Request::default() };
        check(&[], files, &["/w/p/sub/a.yaml", "/w/p/b.yaml"], "/w/p/sub");
        check(
            &[("/w/p/.env", "COMPOSE_FILE=x.yaml:../y.yaml")],
            Request::default(),
            &["/w/p/x.yaml", "/w/y.yaml"],
            "/w/p",
        );
        let directory = Request {
            project_directory: Some("d".into()),
            files: vec!["a.yaml".into()],
            ..Request::default()
        };
        check(&[], directory, &["/w/p/a.yaml"], "/w/p/d");
    }

    #[test]
    fn nothing_found_says_where_it_looked() {
        let request = Request { current_directory: "/w/p".into(), ..Request::default() };
        let error = settle(&request, &Memory(BTreeMap::new())).expect_err("nothing is there");
        assert!(matches!(error, Unsettled::Error(Error::NotFound { .. })));
    }

    #[test]
    fn names_are_normalized() {
        let check = |text: &str, expected: &str| assert_eq!(normalized_name(text), expected, "{text}");
        check("My.App_1", "myapp_1");
        check("__-x", "x");
        check("é", "");
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        for text in ["../x", "a/b", "Bad Name", "", ".", "-x"] {
            assert!(project_name(text).is_err(), "{text}");
        }
        assert!(matches!(project_name("my-app_1").as_deref(), Ok("my-app_1")));
    }
}
