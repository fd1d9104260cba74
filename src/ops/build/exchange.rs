//! What `cache_from` and `cache_to` say: `type=registry,ref=NAME`, `type=local,src=DIR`, or a name alone.

use std::path::Path;

use super::target::full_name;
use crate::build::order::{CachePlace, CacheTo};
use crate::report::{Exit, Report};

/// Words that choose the form of what is written. Ours has one form, which all readers of ours know.
const FORM: [&str; 7] = [
    "compression",
    "compression-level",
    "force-compression",
    "image-manifest",
    "oci-artifact",
    "oci-mediatypes",
    "rewrite-timestamp",
];

/// A cache of others, as it is written.
#[derive(Debug)]
enum Read {
    Known(CacheTo),
    /// A type that we do not have.
    Other(String),
}

/// Reads an entry of `cache_from`; `None` is a type that has no effect here, of which `unknown` is told.
pub fn from(text: &str, beside: &Path, unknown: &mut dyn FnMut(&str)) -> Result<Option<CachePlace>, Report> {
    Ok(match read(text, beside, "src")? {
        Read::Known(to) => Some(to.place),
        Read::Other(kind) => {
            unknown(&kind);
            None
        }
    })
}

/// Reads an entry of `cache_to`.
pub fn to(text: &str, beside: &Path, unknown: &mut dyn FnMut(&str)) -> Result<Option<CacheTo>, Report> {
    Ok(match read(text, beside, "dest")? {
        Read::Known(to) => Some(to),
        Read::Other(kind) => {
            unknown(&kind);
            None
        }
    })
}

fn read(text: &str, beside: &Path, directory: &str) -> Result<Read, Report> {
    let wrong = |reason: &str| Report::new(Exit::File, format!("`{text}` is no cache: {reason}"));
    let registry = |name: &str| Ok::<_, Report>(CachePlace::Registry(full_name(name)?));
    if !text.contains('=') {
        return Ok(Read::Known(CacheTo { place: registry(text)?, all_stages: false, may_fail: false }));
    }
    let (mut kind, mut name, mut path, mut tag) = (None, None, None, "latest".to_owned());
    let (mut all_stages, mut may_fail) = (false, false);
    let mut others = Vec::new();
    for word in text.split(',') {
        let (key, value) = word.split_once('=').ok_or_else(|| wrong(&format!("`{word}` has no value")))?;
        match key.trim() {
            "type" => kind = Some(value),
            "ref" => name = Some(value),
            key if key == directory => path = Some(value),
            "tag" => value.clone_into(&mut tag),
            "mode" => all_stages = value == "max",
            "ignore-error" => may_fail = value == "true",
            key if FORM.contains(&key) => {}
            key => others.push(key),
        }
    }
    let place = match kind {
        None | Some("registry") => registry(name.ok_or_else(|| wrong("it has no `ref`"))?)?,
        Some("local") => {
            let path = path.ok_or_else(|| wrong(&format!("it has no `{directory}`")))?;
            CachePlace::Directory { path: beside.join(path), tag }
        }
        Some(other) => return Ok(Read::Other(other.to_owned())),
    };
    match others.first() {
        Some(other) => Err(wrong(&format!("`{other}` is not known"))),
        None => Ok(Read::Known(CacheTo { place, all_stages, may_fail })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_a_name_a_registry_or_a_directory() {
        let read = |text: &str| match to(text, Path::new("/p"), &mut |_| {}) {
            Ok(Some(CacheTo { place, all_stages, may_fail })) => {
                format!(
                    "{place}{}{}",
                    if all_stages { " all" } else { "" },
                    if may_fail { " may" } else { "" }
                )
            }
            Ok(None) => "nothing".to_owned(),
            Err(report) => report.message,
        };
        assert_eq!(read("app:cache"), "docker.io/library/app:cache");
        assert_eq!(read("type=registry,ref=r.example/app,mode=max"), "r.example/app:latest all");
        assert_eq!(read("type=local,dest=c,compression=zstd,ignore-error=true"), "/p/c may");
        assert_eq!(read("type=local,dest=/c,mode=min"), "/c");
        assert_eq!(read("type=gha,scope=x"), "nothing");
        for wrong in ["type=local,src=c", "type=registry", "type=local,dest=c,colour=red", "type=local,dest"]
        {
            assert!(read(wrong).contains("is no cache"), "{wrong}: {}", read(wrong));
        }
    }
}
