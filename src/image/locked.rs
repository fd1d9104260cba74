//! What names of images are held to: the content that each stands for, whatever its registry says today.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Digest, Image, Source};
use crate::report::{Exit, Report};

/// Digests by the complete names of images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locked {
    /// What to call it: the name of its file.
    pub name: String,
    /// The digests.
    pub images: BTreeMap<String, Digest>,
}

impl Locked {
    /// The locked content of an image, in place of what its name means today.
    pub fn apply(&self, source: &Source) -> Result<Source, Report> {
        if matches!(source, Source::Rootfs { .. }) {
            return Ok(source.clone());
        }
        let locked = self.images.get(&source.to_string()).ok_or_else(|| {
            Report::new(Exit::Pull, format!("`{}` has no digest for `{}`", self.name, source.familiar()))
                .hint("`rcompose lock` asks for it and writes it down")
        })?;
        match source {
            Source::Registry(reference) => match reference.digest() {
                Some(own) if own != locked => Err(Report::new(
                    Exit::Pull,
                    format!("`{}` is locked to {locked}, not to its own digest", source.familiar()),
                )
                .hint("`rcompose lock` brings them together")),
                _ => Ok(Source::Registry(reference.with_digest(locked))),
            },
            other => Ok(other.clone()),
        }
    }

    /// Refuses an image of a layout or an archive that has changed since.
    pub fn check(&self, source: &Source, image: &Image) -> Result<(), Report> {
        let is_file = !matches!(source, Source::Registry(_) | Source::Rootfs { .. });
        match self.images.get(&source.to_string()) {
            Some(locked) if is_file && *locked != image.manifest => Err(Report::new(
                Exit::Pull,
                format!("`{}` is locked to {locked}, but holds {}", source.familiar(), image.manifest),
            )
            .hint("`rcompose lock` takes it as it is now")),
            _ => Ok(()),
        }
    }
}
