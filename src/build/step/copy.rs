//! `COPY` and `ADD`.

use std::fs::File;
use std::io::Read;

use rustix::fs::{Mode, OFlags};

use super::archive;
use super::source::Provided;
use super::{Bench, Failure, Made};
use crate::build::cache::{Key, KeyMaker};
use crate::build::copy::{Change, Draft, Files, How, Owners, Previous, Taken, Wanted, put, put_file, take};
use crate::build::dockerfile::{Chmod, Span};
use crate::build::error::{Error, failed};
use crate::build::graph::{Copy, Repository, Source, Unpack};
use crate::build::ignore::Patterns;
use crate::build::remote::{Download, git};
use crate::build::state::State;
use crate::image::unpack::Meta;
use crate::runtime::users;

/// A here-document is a file of root that all may read.
const INLINE_MODE: u32 = 0o644;
/// A file of the web is root's alone.
const DOWNLOAD_MODE: u32 = 0o600;

/// A source, looked up.
enum Found<'a> {
    /// Files of a tree, if they were already looked at for their sum.
    Tree { provided: Provided, pattern: &'a str, taken: Option<Vec<Taken>> },
    /// A here-document.
    Inline { name: &'a str, content: &'a [u8] },
    /// A repository, not yet fetched.
    Repository { repository: &'a Repository, commit: git::Commit },
    /// A file of the web.
    File { name: &'a str, download: Download },
}

impl Bench<'_> {
    pub(super) fn copy(&self, copy: &Copy, title: &str, below: &State) -> Result<(State, u64), Failure> {
        let mode = copy.chmod.as_ref().map(Change::parse).transpose().map_err(Error::from)?;
        let exclude = Patterns::list(copy.exclude.iter().map(String::as_str))
            .map_err(|error| Error::Unsupported { what: format!("`--exclude`: {error}"), hint: None })?;
        let owner = copy.chown.as_deref().map(|owner| self.owner(below, owner)).transpose();
        let owner = owner.map_err(|error| Failure { error, at: copy.chown_at })?;
        let mut key = self
            .key("copy")
            .with_some("below", (!copy.link).then_some(below.id))
            .with("destination", &copy.destination)
            .with_some("owner", owner.map(|(uid, gid)| format!("{uid}:{gid}")))
            .with_some("mode", copy.chmod.as_ref().map(chmod_text))
            .with("unpack", format!("{:?}", copy.unpack));
        let mut found = Vec::new();
        for source in &copy.sources {
            let (one, sum) = self.find(copy, source, &exclude)?;
            key = key.with_key("source", &sum);
            found.push(one);
        }
        let how = How { owner, mode };
        let make = |draft: &mut Draft| -> Result<(), Error> {
            found.iter().try_for_each(|one| self.put(draft, copy, one, &exclude, &how))
        };
        let nothing = State::nothing();
        let over = if copy.link { &nothing } else { below };
        let key = key.make();
        let like = self.like(copy, &found);
        let mut placed = None;
        let (after, created) = self.once(&key, title, over, |_, directory| {
            let mut draft = self.draft(directory, over)?;
            if let Some(previous) = like.as_ref().map(|like| self.previous(like)).transpose()?.flatten() {
                draft.reuse(previous);
            }
            make(&mut draft)?;
            placed = Some(draft.finish()?);
            Ok(Made { upper: directory.join("upper"), result: None, owner: (0, 0) })
        })?;
        if let (Some(like), Some(placed), Some((_, layer))) =
            (like, placed, after.layers.last().and_then(|layer| layer.made_by.as_ref()))
        {
            self.session.cache.put_placed(&like, &layer.directory, &placed).map_err(Error::from)?;
        }
        if !copy.link {
            return Ok((after, created));
        }
        // What it makes depends on nothing, but what it is put on does.
        let id = KeyMaker::new("link").with_key("below", &below.id).with_key("layer", &after.id).make();
        let mut linked = below.clone();
        linked.id = id;
        linked.layers.extend(after.layers);
        Ok((linked, created))
    }

    /// What this step has in common with itself of an earlier build, whatever the files were then; `None` when it takes none
    /// of a context that is remembered.
    fn like(&self, copy: &Copy, found: &[Found<'_>]) -> Option<Key> {
        let mut like = KeyMaker::new("placed")
            .with("destination", &copy.destination)
            .with_some("owner", copy.chown.as_deref())
            .with_some("mode", copy.chmod.as_ref().map(chmod_text))
            .with("parents", if copy.parents { "yes" } else { "no" })
            .with_all("exclude", &copy.exclude);
        let mut some = false;
        for one in found {
            if let Found::Tree { provided: Provided::Context(context), pattern, .. } = one
                && let Some(name) = context.known.name()
            {
                some = true;
                like = like.with("pattern", pattern).with("context", name.as_encoded_bytes());
            }
        }
        some.then(|| like.make())
    }

    /// What such a step has made last, if it is still there.
    fn previous(&self, like: &Key) -> Result<Option<Previous>, Error> {
        // Who asks for no cache wants none of its files either.
        let found = if self.target.no_cache { None } else { self.session.cache.placed(like)? };
        let Some((layer, placed)) = found else { return Ok(None) };
        self.session.lease.keep([&layer])?;
        let directory = self.session.store.layer(&layer);
        Ok(directory.and_then(|directory| Previous::open(&directory, placed, self.epoch)))
    }

    /// Looks a source up and sums up what it says.
    fn find<'a>(
        &self,
        copy: &Copy,
        source: &'a Source,
        exclude: &Patterns,
    ) -> Result<(Found<'a>, Key), Failure> {
        let request = || {
            KeyMaker::new("files")
                .with("parents", if copy.parents { "yes" } else { "no" })
                .with_all("exclude", &copy.exclude)
        };
        match source {
            Source::Path { pattern, at } => {
                let provided = self.sources.provide(&copy.from)?;
                let request = request().with("pattern", pattern);
                let wanted = Wanted { pattern, parents: copy.parents, exclude };
                let (sum, taken) = provided
                    .sum(self.session, request, |files| Ok(take(files, wanted)?))
                    .map_err(here(*at))?;
                Ok((Found::Tree { provided, pattern, taken }, sum))
            }
            Source::Inline { name, content } => {
                let key = KeyMaker::new("inline").with("name", name).with("content", content).make();
                Ok((Found::Inline { name, content }, key))
            }
            Source::Url { url, name, checksum, at } => {
                let download = self.session.download(url, checksum.as_deref()).map_err(here(*at))?;
                let key = KeyMaker::new("web").with("name", name).with("digest", download.digest.to_string());
                Ok((Found::File { name, download }, key.make()))
            }
            Source::Git { repository, at } => {
                let commit = git::resolve(repository).map_err(Error::from).map_err(here(*at))?;
                let keep = repository.keep_git_dir == Some(true);
                let key = KeyMaker::new("git")
                    .with("commit", &commit.hash)
                    // What is kept of git names the repository; files alone do not.
                    .with("remote", if keep { repository.remote.as_str() } else { "" })
                    .with("submodules", if repository.submodules { "yes" } else { "no" })
                    .with_some("directory", repository.subdirectory.as_deref())
                    .make();
                Ok((Found::Repository { repository, commit }, key))
            }
        }
    }

    fn put(
        &self,
        draft: &mut Draft,
        copy: &Copy,
        found: &Found<'_>,
        exclude: &Patterns,
        how: &How,
    ) -> Result<(), Error> {
        let destination = copy.destination.as_bytes();
        let now = self.now();
        match found {
            Found::Inline { name, content } => {
                let meta = Meta { mode: INLINE_MODE, mtime: now, ..Meta::default() };
                Ok(put_file(draft, name, &mut &**content, meta, destination, how)?)
            }
            Found::File { name, download } => {
                let open = || {
                    File::open(&download.path).map_err(failed(format!("read `{}`", download.path.display())))
                };
                if copy.unpack == Unpack::Always && archive::is_archive(open()?) {
                    return archive::unpack(draft, name, open()?, destination, how);
                }
                let meta =
                    Meta { mode: DOWNLOAD_MODE, mtime: download.modified.unwrap_or(now), ..Meta::default() };
                Ok(put_file(draft, name, &mut open()?, meta, destination, how)?)
            }
            Found::Repository { repository, commit } => {
                let scratch = self.session.directory()?;
                let into = scratch.join("files");
                git::fetch(repository, commit, &scratch, &into)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let root =
                    rustix::fs::open(&into, flags, Mode::empty()).map_err(failed("open what was fetched"))?;
                let files = Files::new(root, "the repository".to_owned(), Patterns::default(), Owners::Root);
                for taken in take(&files, Wanted { pattern: "/", parents: false, exclude })? {
                    put(draft, &files, &taken, destination, how)?;
                }
                self.session.drop_directory(&scratch);
                Ok(())
            }
            Found::Tree { provided, pattern, taken } => provided.with(self.session, |files, _| {
                let wanted = Wanted { pattern, parents: copy.parents, exclude };
                let fresh = if taken.is_none() { take(files, wanted)? } else { Vec::new() };
                for taken in taken.as_ref().unwrap_or(&fresh) {
                    let unpacks = copy.unpack != Unpack::Never;
                    if let (true, [only]) = (unpacks, taken.items.as_slice())
                        && only.entry.kind == rustix::fs::FileType::RegularFile
                    {
                        let open = || Ok::<_, Error>(File::from(files.open(&only.from, OFlags::RDONLY)?));
                        if archive::is_archive(open()?) {
                            let name = String::from_utf8_lossy(&taken.name);
                            archive::unpack(draft, &name, open()?, destination, how)?;
                            continue;
                        }
                    }
                    put(draft, files, taken, destination, how)?;
                }
                Ok(())
            }),
        }
    }

    /// Finds out who `user[:group]` is. A number alone is the group's number too.
    pub(super) fn owner(&self, below: &State, text: &str) -> Result<(u32, u32), Error> {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let number = |text: &str| text.parse::<u32>().ok();
        match (number(user), group, group.and_then(number)) {
            (Some(uid), None, _) => return Ok((uid, uid)),
            (Some(uid), Some(_), Some(gid)) => return Ok((uid, gid)),
            _ => {}
        }
        let (passwd, groups) = self.user_files(below)?;
        let found = users::find(text, &[], &passwd, &groups).map_err(|error| {
            crate::build::copy::Error::Owner { owner: text.to_owned(), reason: error.to_string() }
        })?;
        Ok((found.uid, found.gid))
    }

    /// The texts of /etc/passwd and /etc/group; empty where there is none.
    pub(super) fn user_files(&self, below: &State) -> Result<(String, String), Error> {
        let files = self.session.views.view(below)?.files("the image".to_owned())?;
        let read = |path: &[u8]| -> Result<String, Error> {
            let Some((path, entry)) = files.resolve(path)? else { return Ok(String::new()) };
            if entry.kind != rustix::fs::FileType::RegularFile {
                return Ok(String::new());
            }
            let mut bytes = Vec::new();
            File::from(files.open(&path, OFlags::RDONLY)?)
                .read_to_end(&mut bytes)
                .map_err(failed("read the users of the image"))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok((read(b"etc/passwd")?, read(b"etc/group")?))
    }
}

/// Adds the place of a source.
fn here(at: Span) -> impl FnOnce(Error) -> Failure {
    move |error| Failure { error, at: Some(at) }
}

fn chmod_text(chmod: &Chmod) -> String {
    match chmod {
        Chmod::Octal { mode, .. } => format!("{mode:o}"),
        Chmod::Symbolic(text) => text.clone(),
    }
}
