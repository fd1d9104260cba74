//! Contexts that are not directories of this machine: they become some, of the session.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use super::git;
use crate::build::copy::{Draft, How};
use crate::build::error::{Error, failed};
use crate::build::graph::Repository;
use crate::build::order::Context;
use crate::build::session::Session;
use crate::build::step::{is_archive, unpack};
use crate::progress::build::How as Ended;
use crate::report::{Exit, Report};

/// What a context turned out to be.
pub enum Brought {
    /// A directory.
    Directory(PathBuf),
    /// A Dockerfile alone.
    Dockerfile(PathBuf),
    /// Nothing that was fetched: it is what it says.
    AsItIs,
}

impl Session {
    /// Fetches a context.
    pub fn bring(&self, context: &Context) -> Result<Brought, Report> {
        let title = match context {
            Context::Git(text) => format!("[internal] load git source {text}"),
            Context::Url(url) => format!("[internal] load {url}"),
            Context::Input => "[internal] load the context from standard input".to_owned(),
            Context::Nothing | Context::Directory(_) | Context::Image(_) | Context::Target(_) => {
                return Ok(Brought::AsItIs);
            }
        };
        let told = self.tell_begin(&title);
        let brought = match context {
            Context::Git(text) => self.bring_repository(text),
            Context::Url(url) => self
                .download(url, None)
                .map(|file| file.path)
                .and_then(|path| self.sort(path, url))
                .map_err(Report::from),
            _ => self.bring_input().map_err(Report::from),
        };
        match &brought {
            Ok(_) => told.end(Ended::Done),
            Err(report) => told.end(Ended::Failed(report.message.clone())),
        }
        brought
    }

    fn bring_repository(&self, text: &str) -> Result<Brought, Report> {
        let repository = match Repository::parse(text) {
            Ok(Some(repository)) => repository,
            Ok(None) => return Err(Report::new(Exit::Build, format!("`{text}` is no repository"))),
            Err(reason) => {
                return Err(Report::new(Exit::Build, format!("`{text}` is no repository: {reason}")));
            }
        };
        let commit = git::resolve(&repository)?;
        let scratch = self.directory()?;
        let into = scratch.join("files");
        git::fetch(&repository, &commit, &scratch, &into)?;
        Ok(Brought::Directory(into))
    }

    fn bring_input(&self) -> Result<Brought, Error> {
        let path = self.directory()?.join("input");
        let mut file = File::create(&path).map_err(failed("keep the context"))?;
        io::copy(&mut io::stdin(), &mut file).map_err(failed("read the context from standard input"))?;
        self.sort(path, "standard input")
    }

    /// An archive is unpacked; anything else is a Dockerfile.
    fn sort(&self, path: PathBuf, name: &str) -> Result<Brought, Error> {
        let open = || File::open(&path).map_err(failed("read the context"));
        if !is_archive(open()?) {
            return Ok(Brought::Dockerfile(path));
        }
        let directory = self.directory()?.join("files");
        fs::create_dir(&directory).map_err(failed("make a directory for the context"))?;
        let mut draft = Draft::new(&directory, None, self.now)?;
        // Whose files they are does not count in a context.
        let how = How { owner: Some((0, 0)), mode: None };
        unpack(&mut draft, name, open()?, b"/", &how)?;
        draft.finish()?;
        Ok(Brought::Directory(directory))
    }
}
