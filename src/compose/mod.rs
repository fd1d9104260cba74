//! Compose files: from text to a [`Project`] that says what is wanted, and nothing about how.
//!
//! ```text
//! files ─ yaml ─ interpolate ─ extends ─ include ─ merge ─ validate ─ canonical ─┐   (a document at a time)
//! Project ─ decode ─ bind ─ environment ─ consistency ─ normalize ─ resolve ─────┘   (the whole tree)
//! ```
//!
//! Until `decode`, everything is a tree of nodes that know their file, line and column, so that each problem
//! is shown at its place. Everything is pure: files are read through [`Read`], and the environment is part of the
//! [`Request`].
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::path::{Path, PathBuf};
//! use rcompose::compose::{Read, Request, load};
//!
//! struct OneFile;
//! impl Read for OneFile {
//!     fn read(&self, _: &Path) -> std::io::Result<Vec<u8>> {
//!         Ok(b"services:\n  web:\n    image: nginx:${TAG:-1}\n".to_vec())
//!     }
//!     fn is_file(&self, path: &Path) -> bool {
//!         path == Path::new("/app/compose.yaml")
//!     }
//!     fn is_directory(&self, path: &Path) -> bool {
//!         path == Path::new("/app")
//!     }
//!     fn real_path(&self, path: &Path) -> PathBuf {
//!         path.to_owned()
//!     }
//! }
//!
//! let request = Request { current_directory: "/app".into(), ..Request::default() };
//! let loaded = load(&request, &OneFile).expect("a good file");
//! assert_eq!(loaded.project.name, "app");
//! assert_eq!(loaded.project.services["web"].image.as_deref(), Some("nginx:1"));
//! ```

mod bind;
mod budget;
mod canonical;
mod consistency;
mod decode;
mod diagnostic;
pub mod dotenv;
mod environment;
mod error;
pub mod explain;
mod extends;
mod files;
mod graph;
#[cfg(test)]
mod hostile;
mod include;
pub mod interpolate;
mod loader;
mod merge;
pub mod model;
mod node;
mod normalize;
mod paths;
mod places;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod refusals;
pub mod render;
mod resolve;
mod scalar;
mod schema;
mod select;
pub mod short;
mod syntax;
#[cfg(test)]
mod tests;
mod text;
mod touched;
mod trace;
mod validate;
mod variables;
mod words;
mod wrong;
mod yaml;

use std::collections::BTreeMap;

pub use diagnostic::{Diagnostic, nearest};
pub use error::Error;
pub use explain::Explanation;
pub use files::{Disk, Read, Request, Switches, project_name};
pub use graph::DependencyGraph;
pub use interpolate::Variable;
pub use model::Project;
pub use places::Places;
pub use select::{Selection, drop_unused, select};

use error::Stop;
use loader::Loader;
use trace::Trace;

/// A project and what should be told about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The project.
    pub project: Project,
    /// Sentences for the user, each once, in the order in which they came up.
    pub warnings: Vec<String>,
    /// The same about dependencies that no file declares: a project that is to run is refused for them.
    pub undeclared: Vec<String>,
}

/// A project with the history of its values.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The project.
    pub project: Project,
    /// Its values, in the order of the files.
    pub values: Vec<Explanation>,
    /// Sentences for the user.
    pub warnings: Vec<String>,
}

/// A project as a tree, for output only: what [`Switches::no_interpolate`] leaves is no model.
#[derive(Clone, Debug)]
pub struct LoadedTree {
    /// The tree.
    pub tree: serde_json::Value,
    /// The variables that it names.
    pub variables: BTreeMap<String, Variable>,
    /// Sentences for the user.
    pub warnings: Vec<String>,
}

/// Loads the project that a request describes.
///
/// Fails with everything that is wrong, as far as it can be told in one go.
pub fn load(request: &Request, read: &dyn Read) -> Result<Loaded, Error> {
    let ((project, undeclared), warnings) = with_loader(request, read, |loader, setting| {
        let project = loader.project(request, setting)?;
        Ok((project, std::mem::take(&mut loader.undeclared)))
    })?;
    Ok(Loaded { project, warnings, undeclared })
}

/// Loads the project that a request describes, and says where each of its values comes from.
pub fn explain(request: &Request, read: &dyn Read) -> Result<Explained, Error> {
    let ((project, values), warnings) = with_loader(request, read, |loader, setting| {
        loader.trace = Trace::recording();
        let project = loader.project(request, setting)?;
        loader.warnings.extend(std::mem::take(&mut loader.undeclared));
        let entries = std::mem::take(&mut loader.trace).into_entries();
        let values = project.places.tree().map_or_else(Vec::new, |(root, sources)| {
            explain::values(&project, root, sources, entries, &request.current_directory)
        });
        Ok((project, values))
    })?;
    Ok(Explained { project, values, warnings })
}

/// Returns a JSON Schema of the files that are read here, from the table that they are checked against.
pub fn json_schema() -> serde_json::Value {
    schema::schema()
}

/// Loads the project without filling variables in.
pub fn load_tree(request: &Request, read: &dyn Read) -> Result<LoadedTree, Error> {
    let mut request = request.clone();
    request.switches.no_interpolate = true;
    let (mut whole, warnings) =
        with_loader(&request, read, |loader, setting| loader.whole(&request, setting))?;
    let mut variables = BTreeMap::new();
    interpolate::variables(&whole.root, &mut variables);
    whole.root.without_empty_lists();
    let mut tree = whole.root.to_json();
    if !request.switches.no_normalize
        && let Some(map) = tree.as_object_mut()
    {
        map.insert("name".to_owned(), whole.name.to_json());
    }
    Ok(LoadedTree { tree, variables, warnings })
}

fn with_loader<T>(
    request: &Request,
    read: &dyn Read,
    work: impl FnOnce(&mut Loader<'_>, &files::Setting) -> Result<T, Stop>,
) -> Result<(T, Vec<String>), Error> {
    let mut loader = Loader::new(request, read);
    let result = files::settle(request, read)
        .map_err(|error| loader.unsettled(error))
        .and_then(|setting| work(&mut loader, &setting));
    match loader.judge(result) {
        Ok(value) => Ok((value, loader.warnings.into_iter().collect())),
        Err(stop) => Err(stop.resolve(&loader.sources)),
    }
}
