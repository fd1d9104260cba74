//! One generation of a log on disk: its index and two streams, followed as they are written and rotated away.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::index::{Chunk, RECORD, Stream, parse};
use super::{INDEX, current, file_name};
use crate::host::files::{self, failed};

/// Bytes read from a spool file at once.
pub(super) const PIECE: u64 = 256 << 10;

/// Directories of all generations that exist, the oldest first.
pub(super) fn generations(container: &Path) -> Result<Vec<PathBuf>, files::Error> {
    let entries = match fs::read_dir(container) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read", container)(error)),
    };
    let mut older: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_str()?.strip_prefix("log.")?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    older.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    Ok(older.into_iter().map(|(_, path)| path).chain([current(container)]).collect())
}

/// One generation, open for reading.
#[derive(Debug)]
pub(super) struct Generation {
    directory: PathBuf,
    streams: [File; 2],
    /// How far each stream was read.
    pub(super) offsets: [u64; 2],
    index: File,
    inode: u64,
    index_at: u64,
    pub(super) chunks: VecDeque<Chunk>,
}

impl Generation {
    pub(super) fn open(directory: &Path) -> Result<Option<Generation>, files::Error> {
        let open = |name: &str| {
            let path = directory.join(name);
            match files::open_regular(&path) {
                Ok(file) => Ok(Some(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(failed("read", &path)(error)),
            }
        };
        // The index last: the writer makes it after the streams.
        let (Some(index), Some(stdout), Some(stderr)) =
            (open(INDEX)?, open(file_name(Stream::Stdout))?, open(file_name(Stream::Stderr))?)
        else {
            return Ok(None);
        };
        let inode = index.metadata().map_err(failed("read", &directory.join(INDEX)))?.ino();
        Ok(Some(Generation {
            directory: directory.to_owned(),
            streams: [stdout, stderr],
            offsets: [0; 2],
            index,
            inode,
            index_at: 0,
            chunks: VecDeque::new(),
        }))
    }

    /// The same once more, at the same place. It stays the same when the files get other names.
    pub(super) fn again(&self) -> Result<Generation, files::Error> {
        let copy = |file: &File| file.try_clone().map_err(failed("read", &self.directory));
        Ok(Generation {
            directory: self.directory.clone(),
            streams: [copy(&self.streams[0])?, copy(&self.streams[1])?],
            index: copy(&self.index)?,
            chunks: self.chunks.clone(),
            ..*self
        })
    }

    /// The oldest that exists.
    pub(super) fn first(container: &Path) -> Result<Option<Generation>, files::Error> {
        for directory in generations(container)? {
            if let Some(generation) = Generation::open(&directory)? {
                return Ok(Some(generation));
            }
        }
        Ok(None)
    }

    /// The one that follows this one, when this one was rotated away and is read to its end.
    pub(super) fn newer(&mut self, container: &Path) -> Result<Option<Generation>, files::Error> {
        match fs::metadata(current(container).join(INDEX)) {
            Ok(metadata) if metadata.ino() == self.inode => return Ok(None),
            // Between two generations: the writer is about to make the next.
            Err(_) => return Ok(None),
            Ok(_) => {}
        }
        // What came between the last look at the index and the rotation.
        if self.fill()? {
            return Ok(None);
        }
        let mut found = None;
        for directory in generations(container)?.into_iter().rev() {
            let Some(generation) = Generation::open(&directory)? else { continue };
            if generation.inode == self.inode {
                break;
            }
            found = Some(generation);
        }
        Ok(found)
    }

    pub(super) fn next_chunk(&mut self) -> Result<Option<Chunk>, files::Error> {
        if self.chunks.is_empty() {
            self.fill()?;
        }
        Ok(self.chunks.pop_front())
    }

    /// Reads further records; false when there are none.
    fn fill(&mut self) -> Result<bool, files::Error> {
        let mut bytes = vec![0; RECORD * 4096];
        let path = || self.directory.join(INDEX);
        let mut count = 0;
        while count < bytes.len() {
            match self.index.read_at(&mut bytes[count..], self.index_at + count as u64) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", &path())(error)),
            }
        }
        let whole = count - count % RECORD;
        self.chunks.extend(parse(&bytes[..whole]));
        self.index_at += whole as u64;
        Ok(whole > 0)
    }

    /// Reads up to `count` bytes of a stream and goes forward; 0 at its end.
    pub(super) fn read(
        &mut self,
        stream: Stream,
        count: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<u64, files::Error> {
        buffer.resize(count as usize, 0);
        let got = self.read_at(stream, self.offsets[stream.number()], buffer)?;
        buffer.truncate(got);
        self.offsets[stream.number()] += got as u64;
        Ok(got as u64)
    }

    fn read_at(&self, stream: Stream, offset: u64, buffer: &mut [u8]) -> Result<usize, files::Error> {
        loop {
            match self.streams[stream.number()].read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map_err(failed("read", &self.directory.join(file_name(stream)))),
            }
        }
    }

    pub(super) fn count_line_ends(&self, chunk: Chunk, mut offset: u64) -> Result<usize, files::Error> {
        let mut buffer = vec![0; chunk.length.min(PIECE) as usize];
        let mut left = chunk.length;
        let mut ends = 0;
        while left > 0 {
            let wanted = left.min(PIECE) as usize;
            let got = self.read_at(chunk.stream, offset, &mut buffer[..wanted])?;
            if got == 0 {
                break;
            }
            ends += buffer[..got].iter().filter(|byte| **byte == b'\n').count();
            offset += got as u64;
            left -= got as u64;
        }
        Ok(ends)
    }

    pub(super) fn begins_inside_a_line(&self, stream: Stream) -> Result<bool, files::Error> {
        let Some(before) = self.offsets[stream.number()].checked_sub(1) else { return Ok(false) };
        let mut byte = [0];
        Ok(self.read_at(stream, before, &mut byte)? == 1 && byte[0] != b'\n')
    }
}
