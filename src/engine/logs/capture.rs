//! Moves a container's output into its spool files. One [`Capture`] a container, used by its output tasks in turn.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use super::index::{Chunk, RECORD, Stream, cut, parse, repair};
use super::place::{self, Wait};
use super::{INDEX, file_name};
use crate::host::files::{self, Kept, failed};

/// How much one splice moves at most: the greatest pipe that an ordinary user may have.
const AT_ONCE: usize = 1 << 20;

/// A generation gets no less: to begin one costs some thirty calls, which a fast writer would wait for again and again.
const STRIDE: u64 = 256 << 10;

/// So much of a log that is followed may wait for its readers, beyond its size.
const WAITING: u64 = 64 << 20;

/// When a log is rotated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// A file of the log ends at this many bytes; `None` is never.
    pub max_size: Option<u64>,
    /// How many of them are kept, the current one included; `None` is one.
    pub max_files: Option<u32>,
}

impl Limits {
    /// How long a generation gets, and how many are kept: together no more than the log may have, but for one that is
    /// smaller than two strides, of which readers see the end only. A log of one file is kept in two halves: when one is
    /// full the other still has what came before.
    fn generations(self, stride: u64) -> (u64, usize) {
        let Some((size, files)) =
            self.max_size.map(|size| (size, u64::from(self.max_files.unwrap_or(1).max(1))))
        else {
            return (u64::MAX, 1);
        };
        let (length, count) = if files == 1 { (size / 2, 2) } else { (size, files) };
        match self.most().unwrap_or(u64::MAX) / stride {
            _ if length >= stride => (length, usize::try_from(count).unwrap_or(usize::MAX)),
            strides => (stride, usize::try_from(strides).unwrap_or(usize::MAX).max(2)),
        }
    }

    /// The bytes that the log may have.
    fn most(self) -> Option<u64> {
        Some(self.max_size?.max(1).saturating_mul(self.max_files.unwrap_or(1).max(1).into()))
    }
}

/// The spool files of a container, open for writing.
#[derive(Debug)]
pub struct Capture {
    container: PathBuf,
    /// So long gets a generation.
    length: u64,
    /// So many are kept.
    count: usize,
    /// Those that are there before the open one, the oldest first.
    earlier: VecDeque<u64>,
    /// Those that wait for their readers, the oldest first.
    waiting: VecDeque<u64>,
    open: Open,
}

/// One generation.
#[derive(Debug)]
struct Open {
    number: u64,
    directory: PathBuf,
    streams: [File; 2],
    index: File,
    /// Bytes in each stream.
    lengths: [u64; 2],
    /// Bytes in the index.
    recorded: u64,
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
        Capture::open_in_strides(container, limits, STRIDE, now_ns)
    }

    pub(super) fn open_in_strides(
        container: &Path,
        limits: Limits,
        stride: u64,
        now_ns: i64,
    ) -> Result<Capture, files::Error> {
        let place::Numbers { kept, beyond } = place::numbers(container)?;
        let mut earlier = VecDeque::from(kept);
        let number = earlier.pop_back().unwrap_or(0);
        let open = Open::at(container, number, earlier.back().copied(), now_ns)?;
        place::say_most(container, limits.most())?;
        let (length, count) = limits.generations(stride);
        Ok(Capture { container: container.to_owned(), length, count, earlier, waiting: beyond.into(), open })
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
        self.stay_whole(stream, now_ns)?;
        // Only before bytes that are there: the last ones must stay, and a pipe that is empty rotates nothing.
        if self.room() == 0 && rustix::io::ioctl_fionread(pipe).is_ok_and(|ready| ready > 0) {
            self.rotate(now_ns)?;
        }
        let path = || self.open.directory.join(file_name(stream));
        let file = self.open.streams[stream.number()].as_fd();
        let most = self.room().clamp(1, AT_ONCE as u64) as usize;
        match splice(pipe, None, file, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK) {
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
    pub fn write(&mut self, stream: Stream, mut bytes: &[u8], now_ns: i64) -> Result<(), files::Error> {
        while !bytes.is_empty() {
            self.stay_whole(stream, now_ns)?;
            if self.room() == 0 {
                self.rotate(now_ns)?;
            }
            let (now, later) =
                bytes.split_at(bytes.len().min(usize::try_from(self.room()).unwrap_or(usize::MAX)));
            let path = self.open.directory.join(file_name(stream));
            self.open.streams[stream.number()].write_all(now).map_err(failed("write", &path))?;
            self.record(stream, now.len(), now_ns)?;
            bytes = later;
        }
        Ok(())
    }

    /// Goes on at the end of a file that somebody has cut: where the end was there would be a hole before what comes.
    fn stay_whole(&mut self, stream: Stream, now_ns: i64) -> Result<(), files::Error> {
        if self.open.is_as_written(stream)? {
            return Ok(());
        }
        self.open.cut_index()?;
        let (number, last_ns) = (self.open.number, self.open.last_ns);
        let later = now_ns.max(last_ns.saturating_add(1));
        self.open = Open::at(&self.container, number, None, later)?;
        self.open.last_ns = self.open.last_ns.max(last_ns);
        Ok(())
    }

    /// So much the open generation may still take.
    fn room(&self) -> u64 {
        self.length.saturating_sub(self.open.total())
    }

    fn record(&mut self, stream: Stream, count: usize, now_ns: i64) -> Result<(), files::Error> {
        let open = &mut self.open;
        open.last_ns = now_ns.max(open.last_ns.saturating_add(1));
        open.lengths[stream.number()] += count as u64;
        open.recorded += RECORD as u64;
        let chunk = Chunk { time_ns: open.last_ns, stream, length: count as u64 };
        let path = open.directory.join(INDEX);
        open.index.write_all(&chunk.encode()).map_err(failed("write", &path))
    }

    /// Begins a new generation, and lets go of those that are too many. Killed in between, at worst there is one more
    /// than wanted until the next time.
    fn rotate(&mut self, now_ns: i64) -> Result<(), files::Error> {
        let before = self.open.number;
        let number = before + self.open.total();
        let next = Open::at(&self.container, number, Some(before), now_ns.max(self.open.last_ns))?;
        self.earlier.push_back(before);
        self.open = next;
        while self.earlier.len() >= self.count {
            let Some(number) = self.earlier.pop_front() else { break };
            place::put_aside(&self.container, number)?;
            self.waiting.push_back(number);
        }
        while let Some(number) = self.waiting.front() {
            let is_much = (self.waiting.len() as u64).saturating_mul(self.length) > WAITING.max(self.length);
            let wait = if is_much { Wait::Nobody } else { Wait::Followers };
            if !place::remove(&self.container, &place::beyond(&self.container, *number), wait)? {
                break;
            }
            self.waiting.pop_front();
        }
        Ok(())
    }
}

/// Whether a stream of a generation ends inside a line.
fn ends_inside_a_line(directory: &Path, stream: Stream) -> Result<bool, files::Error> {
    let path = directory.join(file_name(stream));
    let wrap = || failed("read", &path);
    let mut file = match files::open_regular(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        file => file.map_err(wrap())?,
    };
    if file.seek(SeekFrom::End(0)).map_err(wrap())? == 0 {
        // Nothing came: as it began.
        let begin = parse(&files::read(&directory.join(INDEX))?)
            .any(|chunk| chunk.stream == stream && chunk.length == 0);
        return Ok(begin);
    }
    file.seek(SeekFrom::End(-1)).map_err(wrap())?;
    let mut last = [0];
    file.read_exact(&mut last).map_err(wrap())?;
    Ok(last != *b"\n")
}

impl Open {
    /// Opens a generation; `before` is the number of the one that it follows.
    fn at(container: &Path, number: u64, before: Option<u64>, now_ns: i64) -> Result<Open, files::Error> {
        let directory = place::kept(container, number);
        files::make_private_dir(&directory)?;
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
        let mut recorded = index_length;
        let lengths = [stdout_length, stderr_length];
        let is_empty = index_length + stdout_length + stderr_length == 0;
        if !is_empty {
            let bytes = files::read(&path)?;
            let chunks: Vec<Chunk> = parse(&bytes).collect();
            let found = repair(chunks.iter().copied(), lengths, now_ns);
            last_ns = found.keep.checked_sub(1).map_or(0, |last| chunks[last].time_ns);
            recorded = ((found.keep + found.append.len()) * RECORD) as u64;
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
        if let (true, Some(before)) = (is_empty, before) {
            // It is the last of the earlier ones, which stays as long as this one is empty.
            let before = place::kept(container, before);
            for stream in Stream::BOTH {
                if ends_inside_a_line(&before, stream)? {
                    let chunk = Chunk { time_ns: now_ns, stream, length: 0 };
                    index.write_all(&chunk.encode()).map_err(failed("write", &path))?;
                    recorded += RECORD as u64;
                    last_ns = now_ns;
                }
            }
        }
        Ok(Open { number, directory, streams: [stdout, stderr], index, lengths, recorded, last_ns })
    }

    /// Bytes in both streams.
    fn total(&self) -> u64 {
        self.lengths.iter().sum()
    }

    /// Whether the files of a stream are as long as they were left.
    fn is_as_written(&self, stream: Stream) -> Result<bool, files::Error> {
        let length = |file: &File| Ok(file.metadata().map_err(failed("read", &self.directory))?.len());
        Ok(length(&self.streams[stream.number()])? == self.lengths[stream.number()]
            && length(&self.index)? == self.recorded)
    }

    /// Removes from the index what is no longer in the streams.
    fn cut_index(&mut self) -> Result<(), files::Error> {
        let path = self.directory.join(INDEX);
        let mut lengths = [0; 2];
        for (length, file) in lengths.iter_mut().zip(&self.streams) {
            *length = file.metadata().map_err(failed("read", &self.directory))?.len();
        }
        let left = cut(parse(&files::read(&path)?), lengths);
        let bytes: Vec<u8> = left.into_iter().flat_map(Chunk::encode).collect();
        let write = || {
            // Readers see from its length that it is another one, which is not to be shorter than it stays: what they
            // have read already would seem new.
            self.index.write_all_at(&bytes, 0)?;
            self.index.set_len(bytes.len() as u64)
        };
        write().map_err(failed("write", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use crate::engine::logs::read::{CUT, Reader, Window};

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
        let path = place::kept(directory.path(), 0).join(INDEX);
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

    /// Writes numbered lines by a pipe that always holds much, as a fast program does; returns what is read and kept.
    fn fast(limits: Limits, stride: u64, count: u32, follow: bool) -> (Vec<String>, Vec<String>, Vec<u64>) {
        let directory = tempfile::tempdir().expect("a directory");
        let container = directory.path().join("c");
        files::make_private_dir(&container).expect("made");
        let announced = follow.then(|| place::announce(directory.path()).expect("announced"));
        let mut capture = Capture::open_in_strides(&container, limits, stride, 1).expect("opened");
        let text: String = (1..=count).map(|number| format!("{number}\n")).collect();
        let (read, mut write) = pipe();
        let mut followed = Vec::new();
        let mut follower: Option<Reader> = None;
        for (turn, part) in text.as_bytes().chunks(60_000).enumerate() {
            write.write_all(part).expect("written");
            while let Moved::Bytes(_) = capture.splice(Stream::Stdout, read.as_fd(), 5).expect("moved") {}
            // It comes late and reads seldom.
            if follow && turn % 3 == 1 {
                let open = || Reader::of_a_later_one(&container, Window::default()).expect("a reader");
                let reader = follower.get_or_insert_with(open);
                while let Some(line) = reader.next_line().expect("a line") {
                    followed.push(String::from_utf8_lossy(line.text).into_owned());
                }
            }
        }
        if let Some(reader) = &mut follower {
            while let Some(line) = reader.next_line().expect("a line") {
                followed.push(String::from_utf8_lossy(line.text).into_owned());
            }
        }
        drop((follower, announced));
        place::sweep(&container);
        assert_eq!(place::numbers(&container).expect("listed").beyond, [0; 0], "what was read is gone");
        let lengths =
            place::numbers(&container).expect("listed").kept.into_iter().map(|number| {
                fs::metadata(place::kept(&container, number).join("stdout")).expect("there").len()
            });
        (lines(&container), followed, lengths.collect())
    }

    #[test]
    fn a_fast_writer_leaves_its_last_lines_whole_and_no_more_than_the_limit() {
        let all = |count: u32| (1..=count).map(|number| number.to_string()).collect::<Vec<_>>();
        for (max_size, max_files, count) in [
            (10 << 10, None, 3000),
            (10 << 10, None, 20_000),
            (10 << 10, Some(1), 20_000),
            (10 << 10, Some(3), 20_000),
            (1 << 20, None, 300_000),
            (7, Some(1), 500),
            (1, None, 50),
        ] {
            let limits = Limits { max_size: Some(max_size), max_files };
            let most = max_size * u64::from(max_files.unwrap_or(1));
            for (follow, stride) in [(false, 1), (true, 1), (false, STRIDE), (true, STRIDE)] {
                let (mut kept, followed, lengths) = fast(limits, stride, count, follow);
                let what = format!("{limits:?} {stride}: {lengths:?}");
                let on_disk: u64 = lengths.iter().sum();
                assert!(on_disk <= most.max(2 * stride), "{what}");
                if kept.first().is_some_and(|line| line.starts_with(CUT)) {
                    assert!(max_size < 100, "{what}");
                    kept.remove(0);
                }
                let bytes: u64 = kept.iter().map(|line| line.len() as u64 + 1).sum();
                assert!(bytes <= most, "{what}: {bytes} bytes");
                if max_size > 100 {
                    let all: u64 = all(count).iter().map(|line| line.len() as u64 + 1).sum();
                    assert!(bytes + 10 > (most / 2).min(all), "{what}: {bytes} bytes");
                }
                let wanted = all(count);
                assert_eq!(kept, wanted[wanted.len() - kept.len()..], "{what}");
                if follow && count > 20_000 {
                    assert_eq!(followed, wanted, "{what}");
                }
            }
        }
    }

    #[test]
    fn a_small_log_begins_few_generations() {
        let limits = |max_size, max_files| Limits { max_size: Some(max_size), max_files };
        let check = |limits: Limits, expected| assert_eq!(limits.generations(STRIDE), expected, "{limits:?}");
        check(Limits::default(), (u64::MAX, 1));
        check(limits(10 << 10, None), (STRIDE, 2));
        check(limits(10 << 10, Some(3)), (STRIDE, 2));
        check(limits(10 << 10, Some(100)), (STRIDE, 3));
        check(limits(1 << 20, Some(1)), (512 << 10, 2));
        check(limits(1 << 20, Some(3)), (1 << 20, 3));
        check(limits(u64::MAX, Some(u32::MAX)), (u64::MAX, u32::MAX as usize));
    }

    #[test]
    fn a_line_longer_than_the_log_is_shown_by_its_end() {
        for stride in [1, STRIDE] {
            let directory = tempfile::tempdir().expect("a directory");
            let limits = Limits { max_size: Some(1000), max_files: Some(1) };
            let mut capture = Capture::open_in_strides(directory.path(), limits, stride, 1).expect("opened");
            let long = [vec![b'x'; 2000], vec![b'y'; 400]].concat();
            capture.write(Stream::Stdout, b"first\n", 10).expect("written");
            capture.write(Stream::Stdout, &long, 20).expect("written");
            let unended = |tail| {
                let window = Window { tail, ..Window::default() };
                let mut reader = Reader::open(directory.path(), window).expect("a reader");
                assert!(!reader.advance().expect("read"));
                assert!(reader.advance_to_rest(), "{stride} {tail:?}");
                String::from_utf8_lossy(reader.line().expect("a line").text).into_owned()
            };
            for tail in [None, Some(1), Some(7)] {
                let text = unended(tail);
                assert!(text.starts_with("… x") && text.ends_with(&"y".repeat(400)), "{text}");
            }
            capture.write(Stream::Stdout, b"\nlast\n", 30).expect("written");
            let kept = lines(directory.path());
            assert!(kept[0].starts_with("… ") && kept[0].ends_with('y'), "{kept:?}");
            assert_eq!(kept[1..], ["last"]);
            // What is left of it is no great part any more.
            capture.write(Stream::Stdout, "ten bytes\n".repeat(90).as_bytes(), 40).expect("written");
            let kept = lines(directory.path());
            assert!(kept.iter().all(|line| !line.starts_with(CUT)), "{kept:?}");
            assert!(kept.len() > 40, "{kept:?}");
        }
    }

    #[test]
    fn a_follower_is_told_how_much_it_has_lost() {
        let directory = tempfile::tempdir().expect("a directory");
        let limits = Limits { max_size: Some(100), max_files: Some(2) };
        let mut capture = Capture::open_in_strides(directory.path(), limits, 1, 1).expect("opened");
        capture.write(Stream::Stdout, b"one\n", 10).expect("written");
        let mut follower = Reader::open(directory.path(), Window::default()).expect("a reader");
        assert_eq!(follower.next_line().expect("read").expect("a line").text, b"one");
        let mut of_bytes = Reader::open(directory.path(), Window::default()).expect("a reader");
        assert_eq!(of_bytes.next_bytes().expect("read").expect("bytes").1, b"one\n");
        for number in 0..100 {
            capture.write(Stream::Stdout, format!("line {number:04}\n").as_bytes(), 20).expect("written");
        }
        // As the writer does when too much is waiting.
        for number in place::numbers(directory.path()).expect("listed").beyond {
            let old = place::beyond(directory.path(), number);
            assert!(place::remove(directory.path(), &old, Wait::Nobody).expect("removed"));
        }
        let mut found = Vec::new();
        while let Some(line) = follower.next_line().expect("read") {
            found.push(String::from_utf8_lossy(line.text).into_owned());
        }
        // Its own generation stays with who has it open.
        let at = found.iter().position(|line| line.ends_with("before they were read)")).expect("it is told");
        let lost: u64 =
            found[at][1..].split(' ').next().and_then(|text| text.parse().ok()).expect("a number");
        let whole = |lines: &[String]| lines.iter().map(|line| line.len() as u64 + 1).sum::<u64>();
        let (before, after) = (whole(&found[..at]), whole(&found[at + 1..]));
        // Of the lines at both ends of the gap parts may be left.
        let all = 1000 - before - after;
        assert!(lost <= all && all < lost + 20, "{lost} of {all}: {found:?}");
        assert_eq!(found.last().map(String::as_str), Some("line 0099"));
        // Who takes bytes as they are is told the same, in a line of its own.
        let (mut said, mut bytes) = (Vec::new(), Vec::new());
        while let Some((stream, more)) = of_bytes.next_bytes().expect("read") {
            if stream == Stream::Stderr { &mut said } else { &mut bytes }.extend_from_slice(more);
        }
        assert_eq!(String::from_utf8_lossy(&said), format!("{}\n", found[at]));
        assert_eq!(lost + bytes.len() as u64, 1000);
        assert!(bytes.ends_with(b"line 0098\nline 0099\n"));
    }

    #[test]
    fn a_line_goes_on_over_generations_and_supervisors() {
        let directory = tempfile::tempdir().expect("a directory");
        let limits = Limits { max_size: Some(8), max_files: Some(2) };
        let mut follower = Reader::open(directory.path(), Window::default()).expect("a reader");
        for (number, text) in ["a\nlong ", "long ", "long ", "long ", "line\nb\n"].iter().enumerate() {
            let mut capture = Capture::open_in_strides(directory.path(), limits, 1, 1).expect("opened");
            capture.write(Stream::Stdout, text.as_bytes(), 10 + number as i64).expect("written");
            if number == 0 {
                assert_eq!(follower.next_line().expect("read").expect("a line").text, b"a");
            }
        }
        let line = follower.next_line().expect("read").expect("a line");
        assert_eq!(line.text, b"long long long long line");
        assert_eq!(follower.next_line().expect("read").expect("a line").text, b"b");
        assert_eq!(lines(directory.path()), ["…  long line", "b"]);
        let window = Window { tail: Some(1), ..Window::default() };
        let mut tail = Reader::open(directory.path(), window).expect("a reader");
        assert_eq!(tail.next_line().expect("read").expect("a line").text, b"b");
    }
}
