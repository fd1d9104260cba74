//! Where the recipe and the files are: what is elsewhere is fetched, Dockerfile and `.dockerignore` are read.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::Planner;
use crate::build::dockerfile::Within;
use crate::build::error::failed;
use crate::build::ignore::Patterns;
use crate::build::order::{self, Dockerfile as Recipe, Purpose, Target};
use crate::build::remote::Brought;
use crate::report::{Exit, Report};
use crate::sys::fs::open_in_root;

/// Larger Dockerfiles are none.
const MAX_DOCKERFILE: u64 = 16 << 20;

impl Planner<'_> {
    /// Fetches contexts that are elsewhere; they are directories afterwards. Where only bases are to be named, no files
    /// are read but the recipe's.
    fn bring(&self, target: &mut Target) -> Result<(), Report> {
        let only_recipe = self.order.purpose == Purpose::Bases;
        if only_recipe && !matches!(target.dockerfile, Recipe::InContext(_)) {
            return Ok(());
        }
        match self.session.bring(&target.context)? {
            Brought::AsItIs => {}
            Brought::Directory(path) => target.context = order::Context::Directory(path),
            Brought::Dockerfile(path) => {
                target.context = order::Context::Nothing;
                if matches!(target.dockerfile, Recipe::InContext(_)) {
                    let text = read_limited(File::open(&path), &path)?;
                    target.dockerfile = Recipe::Text { name: "Dockerfile".to_owned(), text, within: None };
                }
            }
        }
        if only_recipe {
            return Ok(());
        }
        for (name, place) in &mut target.contexts {
            match self.session.bring(place)? {
                Brought::AsItIs => {}
                Brought::Directory(path) => *place = order::Context::Directory(path),
                Brought::Dockerfile(_) => {
                    return Err(Report::new(Exit::Build, format!("context `{name}` is no archive")));
                }
            }
        }
        Ok(())
    }

    /// Fetches what is elsewhere and reads the recipe.
    pub(super) fn recipe(&self, target: &mut Target) -> Result<Found, Report> {
        let is_local = matches!(target.context, order::Context::Directory(_));
        self.bring(target)?;
        match &target.dockerfile {
            Recipe::Text { name, text, within } => {
                let (text, within) = (text.clone(), within.clone());
                Ok(Found { text, name: PathBuf::from(name), path: None, within })
            }
            Recipe::File(path) => {
                let text = read_limited(File::open(path), path)?;
                Ok(Found { text, name: shown(path), path: Some(path.clone()), within: None })
            }
            Recipe::InContext(inside) => {
                let order::Context::Directory(directory) = &target.context else {
                    return Err(Report::new(
                        Exit::Build,
                        format!("there is no context with `{inside}` in it"),
                    ));
                };
                let opened = open_inside(&open_directory(directory)?, Path::new(inside));
                let path = directory.join(inside);
                // Where what was fetched lies is nothing that anybody has typed.
                let name = if is_local { shown(&path) } else { PathBuf::from(inside) };
                Ok(Found { text: read_limited(opened, &name)?, name, path: Some(path), within: None })
            }
        }
    }
}

/// A recipe.
pub(super) struct Found {
    /// Its text.
    pub text: Vec<u8>,
    /// What to call it.
    pub name: PathBuf,
    /// Where it is, if it is a file.
    pub path: Option<PathBuf>,
    /// Where it stands, if it is a part of a file.
    pub within: Option<Within>,
}

/// A path as its user would type it here.
fn shown(path: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    let below = here.as_deref().and_then(|here| path.strip_prefix(here).ok());
    below.unwrap_or(path).to_owned()
}

/// `Dockerfile.dockerignore` beside the recipe wins over `.dockerignore` of the context.
pub(super) fn ignore_file(context: &Path, recipe: Option<&Path>) -> Result<Patterns, Report> {
    let own = recipe.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    for path in own.into_iter().chain([context.join(".dockerignore")]) {
        // A link of the context leads nowhere else; what lies beside a Dockerfile elsewhere is the user's own.
        let opened = match path.strip_prefix(context) {
            Ok(inside) => open_inside(&open_directory(context)?, inside),
            Err(_) => File::open(&path),
        };
        if opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            continue;
        }
        return Patterns::parse(&read_limited(opened, &path)?).map_err(|invalid| {
            Report::new(Exit::Build, format!("`{}`, line {}: {invalid}", path.display(), invalid.line))
        });
    }
    Ok(Patterns::default())
}

/// Opens a file of a context. A pipe would hold us up, and a device is nobody's text.
fn open_inside(root: &File, inside: &Path) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(open_in_root(root, inside.as_os_str().as_bytes(), flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::Error::new(ErrorKind::InvalidInput, "it is no regular file")),
    }
}

pub(super) fn cannot_read(path: &Path) -> impl FnOnce(std::io::Error) -> Report {
    move |error| {
        Report::new(Exit::Build, format!("cannot read `{}`", path.display())).cause(error.to_string())
    }
}

pub(super) fn open_directory(path: &Path) -> Result<File, Report> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map(File::from);
    opened.map_err(|error| {
        Report::new(Exit::Build, format!("cannot open the context `{}`", path.display()))
            .cause(std::io::Error::from(error).to_string())
    })
}

fn read_limited(opened: std::io::Result<File>, path: &Path) -> Result<Vec<u8>, Report> {
    let file = opened.map_err(|error| {
        let report = Report::new(Exit::Build, format!("cannot read `{}`", path.display()));
        report.cause(error.to_string())
    })?;
    let mut text = Vec::new();
    file.take(MAX_DOCKERFILE).read_to_end(&mut text).map_err(failed(format!("read `{}`", path.display())))?;
    Ok(text)
}
