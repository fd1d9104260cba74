//! Moves a container's output into its spool files. One [`Capture`] a container, used by its output tasks in turn.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use super::index::{Chunk, RECORD, Stream, parse, repair};
use super::{INDEX, current, file_name, older};
use crate::host::files::{self, Kept, failed};

/// How much one splice moves at most: the greatest pipe that an ordinary user may have.
const AT_ONCE: usize = 1 << 20;

/// When a log is rotated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// A generation ends at this many bytes; `None` is never.
    pub max_size: Option<u64>,
    /// How many generations are kept, the current one included; `None` is one.
    pub max_files: Option<u32>,
}

/// The spool files of a container, open for writing.
#[derive(Debug)]
pub struct Capture {
    container: PathBuf,
    limits: Limits,
    open: Open,
}

/// One generation.
#[derive(Debug)]
struct Open {
    streams: [File; 2],
    index: File,
    /// Bytes in both streams.
    total: u64,
    /// Time of the last record: times in an index never go back, whatever the clock does.
    last_ns: i64,
}

/// What one move did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// So many bytes are in the spool now.
    Bytes(usize),
    /// Nothing to move at the moment.
    Nothing,
    /// Nobody can write any more.
    End,
}

impl Capture {
    /// Opens the spool of a container, makes it where it is missing and repairs it after a crash.
    pub fn open(container: &Path, limits: Limits, now_ns: i64) -> Result<Capture, files::Error> {
        let open = Open::at(&current(container), now_ns)?;
        Ok(Capture { container: container.to_owned(), limits, open })
    }

    /// Moves what is in a pipe at this moment, one splice.
    ///
    /// Works without copying through this process; `pipe` must not block.
    pub fn splice(
        &mut self,
        stream: Stream,
        pipe: BorrowedFd<'_>,
        now_ns: i64,
    ) -> Result<Moved, files::Error> {
        let path = || current(&self.container).join(file_name(stream));
        let file = self.open.streams[stream.number()].as_fd();
        match splice(pipe, None, file, None, AT_ONCE, SpliceFlags::MOVE | SpliceFlags::NONBLOCK) {
            Ok(0) => Ok(Moved::End),
            Ok(count) => {
                self.record(stream, count, now_ns)?;
                Ok(Moved::Bytes(count))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Moved::Nothing),
            Err(error) => Err(failed("write", &path())(error.into())),
        }
    }

    /// Writes bytes that were read from a terminal, which cannot be spliced.
    pub fn write(&mut self, stream: Stream, bytes: &[u8], now_ns: i64) -> Result<(), files::Error> {
        let path = current(&self.container).join(file_name(stream));
        self.open.streams[stream.number()].write_all(bytes).map_err(failed("write", &path))?;
        self.record(stream, bytes.len(), now_ns)
    }

    fn record(&mut self, stream: Stream, count: usize, now_ns: i64) -> Result<(), files::Error> {
        let open = &mut self.open;
        open.last_ns = now_ns.max(open.last_ns + 1);
        open.total += count as u64;
        let chunk = Chunk { time_ns: open.last_ns, stream, length: count as u64 };
        let path = current(&self.container).join(INDEX);
        open.index.write_all(&chunk.encode()).map_err(failed("write", &path))?;
        match self.limits.max_size {
            Some(limit) if self.open.total >= limit => self.rotate(now_ns),
            _ => Ok(()),
        }
    }

    /// Begins a new generation. Killed in between, at worst a number is missing, which readers do not mind.
    fn rotate(&mut self, now_ns: i64) -> Result<(), files::Error> {
        let keep = self.limits.max_files.unwrap_or(1).max(1);
        let last = older(&self.container, keep - 1);
        if keep == 1 {
            // The only generation makes room; its readers hold it open until they have read it.
            let gone = older(&self.container, 1);
            rename(&current(&self.container), &gone)?;
            remove(&gone)?;
        } else {
            remove(&last)?;
            for generation in (1..keep - 1).rev() {
                rename(&older(&self.container, generation), &older(&self.container, generation + 1))?;
            }
            rename(&current(&self.container), &older(&self.container, 1))?;
        }
        self.open = Open::at(&current(&self.container), now_ns)?;
        Ok(())
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), files::Error> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("rename", from)(error)),
        _ => Ok(()),
    }
}

fn remove(directory: &Path) -> Result<(), files::Error> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", directory)(error)),
        _ => Ok(()),
    }
}

impl Open {
    fn at(directory: &Path, now_ns: i64) -> Result<Open, files::Error> {
        files::make_private_dir(directory)?;
        let open = |name: &str| {
            let path = directory.join(name);
            // Not O_APPEND: splice(2) refuses such a file.
            let mut options = OpenOptions::new();
            // What is no file would be waited for, or never end.
            files::check_place(&path, Kept::File)?;
            let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
            let mut file = file.map_err(failed("open", &path))?;
            let length = file.seek(SeekFrom::End(0)).map_err(failed("read", &path))?;
            Ok::<_, files::Error>((file, length))
        };
        let (stdout, stdout_length) = open(file_name(Stream::Stdout))?;
        let (stderr, stderr_length) = open(file_name(Stream::Stderr))?;
        let (mut index, index_length) = open(INDEX)?;
        let path = directory.join(INDEX);
        let mut last_ns = 0;
        let mut total = stdout_length + stderr_length;
        if index_length > 0 || total > 0 {
            let bytes = files::read(&path)?;
            let chunks: Vec<Chunk> = parse(&bytes).collect();
            let found = repair(chunks.iter().copied(), [stdout_length, stderr_length], now_ns);
            last_ns = found.keep.checked_sub(1).map_or(0, |last| chunks[last].time_ns);
            total = found.total;
            let wrap = || failed("write", &path);
            let end = (found.keep * RECORD) as u64;
            if end != index_length {
                index.set_len(end).map_err(wrap())?;
            }
            index.seek(SeekFrom::Start(end)).map_err(wrap())?;
            for chunk in found.append {
                index.write_all(&chunk.encode()).map_err(wrap())?;
                last_ns = chunk.time_ns;
            }
        }
        Ok(Open { streams: [stdout, stderr], index, total, last_ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::logs::read::{Reader, Window};

    fn lines(container: &Path) -> Vec<String> {
        let mut reader = Reader::open(container, Window::default()).expect("a reader");
        let mut found = Vec::new();
        while let Some(line) = reader.next_line().expect("a line") {
            found.push(String::from_utf8_lossy(line.text).into_owned());
        }
        found
    }

    fn pipe() -> (std::os::fd::OwnedFd, File) {
        let (read, write) = rustix::pipe::pipe().expect("a pipe");
        (read, File::from(write))
    }

    #[test]
    fn a_pipe_in_place_of_a_log_is_refused_and_not_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let directory = tempfile::tempdir().expect("a directory");
        drop(Capture::open(directory.path(), Limits::default(), 1).expect("opened"));
        let path = current(directory.path()).join(INDEX);
        fs::remove_file(&path).expect("there");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("made");
        let error = Capture::open(directory.path(), Limits::default(), 1).expect_err("refused");
        assert!(error.to_string().contains("is a pipe, where rcompose keeps a file"), "{error}");
        let read = Reader::open(directory.path(), Window::default()).and_then(|mut log| log.advance());
        assert!(read.is_err(), "and by readers");
    }

    #[test]
    fn what_was_spliced_without_a_record_gets_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let (read, mut write) = pipe();
        let mut capture = Capture::open(directory.path(), Limits::default(), 1).expect("opened");
        write.write_all(b"one\ntwo\n").expect("written");
        assert_eq!(capture.splice(Stream::Stdout, read.as_fd(), 5).expect("moved"), Moved::Bytes(8));
        assert_eq!(capture.splice(Stream::Stdout, read.as_fd(), 6).expect("nothing"), Moved::Nothing);
        // A supervisor that dies after splice: the file grows, the index does not.
        write.write_all(b"three\n").expect("written");
        splice(&read, None, &capture.open.streams[0], None, 100, SpliceFlags::empty()).expect("spliced");
        drop(capture);
        assert_eq!(lines(directory.path()), ["one", "two"]);
        let mut capture = Capture::open(directory.path(), Limits::default(), 7).expect("opened again");
        write.write_all(b"four\n").expect("written");
        drop(write);
        assert_eq!(capture.splice(Stream::Stdout, read.as_fd(), 8).expect("moved"), Moved::Bytes(5));
        assert_eq!(capture.splice(Stream::Stdout, read.as_fd(), 8).expect("end"), Moved::End);
        assert_eq!(lines(directory.path()), ["one", "two", "three", "four"]);
    }

    #[test]
    fn generations_beyond_the_limit_go_and_the_rest_reads_as_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let limits = Limits { max_size: Some(20), max_files: Some(3) };
        let mut capture = Capture::open(directory.path(), limits, 1).expect("opened");
        for number in 0..20 {
            let text = format!("line {number}\nha");
            capture.write(Stream::Stdout, text.as_bytes(), 10 + number).expect("written");
        }
        let found = lines(directory.path());
        assert!(found.len() < 10 && found.len() > 3, "{found:?}");
        assert_eq!(found[found.len() - 2..], ["haline 18".to_owned(), "haline 19".to_owned()]);
        let older: Vec<bool> = (1..5).map(|n| older(directory.path(), n).exists()).collect();
        assert_eq!(older, [true, true, false, false]);
    }
}
