//! One generation of a log on disk: its index and two streams, followed as they are written and rotated away.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::index::{Chunk, RECORD, Stream, add, parse};
use super::{INDEX, file_name, place};
use crate::host::files::{self, failed};

/// Bytes read from a spool file at once.
pub(super) const PIECE: u64 = 256 << 10;

/// One generation, open for reading.
#[derive(Debug)]
pub(super) struct Generation {
    directory: PathBuf,
    pub(super) number: u64,
    streams: [File; 2],
    /// How far each stream was read.
    pub(super) offsets: [u64; 2],
    /// Locked: what comes from here on is not removed before it was read.
    index: File,
    index_at: u64,
    pub(super) chunks: VecDeque<Chunk>,
    /// So many bytes of each stream have the records that were read.
    promised: [u64; 2],
    /// The time of the last of these records.
    last_ns: i64,
    /// The records do not agree with the files: what the files hold beyond the good ones is all that is known.
    pub(super) is_damaged: bool,
}

impl Generation {
    /// Opens a generation of the log, or one that waits for its readers.
    pub(super) fn open(container: &Path, number: u64) -> Result<Option<Generation>, files::Error> {
        // In this order: it may be put aside in between, but never comes back.
        for directory in [place::kept(container, number), place::beyond(container, number)] {
            if let Some(generation) = Generation::at(&directory, number)? {
                return Ok(Some(generation));
            }
        }
        Ok(None)
    }

    fn at(directory: &Path, number: u64) -> Result<Option<Generation>, files::Error> {
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
        if !place::hold(&index) {
            return Ok(None);
        }
        Ok(Some(Generation {
            directory: directory.to_owned(),
            number,
            streams: [stdout, stderr],
            offsets: [0; 2],
            index,
            index_at: 0,
            chunks: VecDeque::new(),
            promised: [0; 2],
            last_ns: i64::MIN,
            is_damaged: false,
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

    /// The oldest of the log; with `all`, of what waits for its readers too.
    pub(super) fn first(container: &Path, all: bool) -> Result<Option<Generation>, files::Error> {
        let place::Numbers { kept, beyond } = place::numbers(container)?;
        let beyond = beyond.into_iter().filter(|_| all);
        for number in beyond.chain(kept) {
            if let Some(generation) = Generation::open(container, number)? {
                return Ok(Some(generation));
            }
        }
        Ok(None)
    }

    /// What follows when the records that were read are used up.
    pub(super) fn next(&mut self, container: &Path) -> Result<Next, files::Error> {
        let read = self.offsets.iter().fold(self.number, |sum, offset| sum.saturating_add(*offset));
        let mut newer = match read > self.number {
            true => Generation::open(container, read)?,
            false => None,
        };
        let is_there = |directory: PathBuf| directory.exists();
        if newer.is_none()
            && !is_there(place::kept(container, self.number))
            && !is_there(place::beyond(container, self.number))
        {
            // This reader was so slow that even its own generation is gone.
            let place::Numbers { kept, beyond } = place::numbers(container)?;
            for number in beyond.into_iter().chain(kept).filter(|number| *number > self.number) {
                newer = Generation::open(container, number)?;
                if newer.is_some() {
                    break;
                }
            }
        }
        // What came between the last look and the rotation, after which nothing is written to this one any more.
        if self.fill()? {
            return Ok(Next::Chunks);
        }
        let Some(newer) = newer else { return Ok(Next::Nothing) };
        let lost = newer.number.saturating_sub(read);
        Ok(Next::Generation { newer, lost })
    }

    pub(super) fn next_chunk(&mut self) -> Result<Option<Chunk>, files::Error> {
        if self.chunks.is_empty() {
            self.fill()?;
        }
        Ok(self.chunks.pop_front())
    }

    /// Reads further records; false when there are none.
    fn fill(&mut self) -> Result<bool, files::Error> {
        self.follow_a_cut()?;
        let bytes = self.records(self.index_at)?;
        self.index_at += bytes.len() as u64;
        // After the records: bytes are written before them.
        let lengths = self.lengths()?;
        for chunk in parse(&bytes) {
            // Of what is damaged no record counts any more: what it promises is taken with the rest.
            if self.is_damaged || !add(&mut self.promised, chunk, lengths) {
                self.is_damaged = true;
                break;
            }
            self.last_ns = chunk.time_ns;
            self.chunks.push_back(chunk);
        }
        if self.is_damaged {
            self.take_rest(lengths)?;
        }
        Ok(!bytes.is_empty() || !self.chunks.is_empty())
    }

    /// Reads some whole records of the index.
    fn records(&self, at: u64) -> Result<Vec<u8>, files::Error> {
        let mut bytes = vec![0; RECORD * 4096];
        let mut count = 0;
        while count < bytes.len() {
            match self.index.read_at(&mut bytes[count..], at + count as u64) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", &self.directory.join(INDEX))(error)),
            }
        }
        bytes.truncate(count - count % RECORD);
        Ok(bytes)
    }

    fn status(&self, file: &File) -> Result<std::fs::Metadata, files::Error> {
        file.metadata().map_err(failed("read", &self.directory))
    }

    fn lengths(&self) -> Result<[u64; 2], files::Error> {
        Ok([self.status(&self.streams[0])?.len(), self.status(&self.streams[1])?.len()])
    }

    /// Goes on behind what was read, when somebody has cut the files and the writer has made the index agree with them.
    fn follow_a_cut(&mut self) -> Result<(), files::Error> {
        let lengths = self.lengths()?;
        let is_shorter = |stream: Stream| lengths[stream.number()] < self.promised[stream.number()];
        if self.status(&self.index)?.len() >= self.index_at && !Stream::BOTH.into_iter().any(is_shorter) {
            return Ok(());
        }
        let (mut at, mut seen) = (0, [0u64; 2]);
        // Times never go back, so what was read has none that is later.
        'read: loop {
            let bytes = self.records(at)?;
            for chunk in parse(&bytes) {
                if chunk.time_ns > self.last_ns {
                    break 'read;
                }
                let seen = &mut seen[chunk.stream.number()];
                *seen = seen.saturating_add(chunk.length);
                at += RECORD as u64;
            }
            if bytes.is_empty() {
                break;
            }
        }
        self.index_at = at;
        self.promised = [seen[0].min(lengths[0]), seen[1].min(lengths[1])];
        self.offsets = self.promised;
        // These were for the old offsets.
        self.chunks.clear();
        Ok(())
    }

    /// Takes what the files hold beyond what was promised, as if it had come when they were written last.
    fn take_rest(&mut self, lengths: [u64; 2]) -> Result<(), files::Error> {
        for stream in Stream::BOTH {
            let promised = &mut self.promised[stream.number()];
            let length = lengths[stream.number()].saturating_sub(*promised);
            if length > 0 {
                *promised += length;
                let status = self.status(&self.streams[stream.number()])?;
                let seconds = status.mtime().saturating_mul(1_000_000_000);
                let time_ns = seconds.saturating_add(status.mtime_nsec());
                self.chunks.push_back(Chunk { time_ns, stream, length });
            }
        }
        Ok(())
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

    /// Whether what is read next, with `chunks` before it, belongs to a line that began earlier.
    pub(super) fn begins_inside_a_line(
        &self,
        stream: Stream,
        chunks: &[Chunk],
    ) -> Result<bool, files::Error> {
        let Some(before) = self.offsets[stream.number()].checked_sub(1) else {
            return Ok(chunks.iter().any(|chunk| chunk.stream == stream && chunk.goes_on_inside_a_line()));
        };
        let mut byte = [0];
        Ok(self.read_at(stream, before, &mut byte)? == 1 && byte[0] != b'\n')
    }
}

/// What a reader goes on with at the end of a generation.
#[derive(Debug)]
pub(super) enum Next {
    /// Further records of the same.
    Chunks,
    /// The next one; so many bytes between the two are lost to this reader.
    Generation { newer: Generation, lost: u64 },
    /// Nothing yet.
    Nothing,
}
