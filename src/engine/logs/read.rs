//! Reads a container's log line by line, in the order in which the lines came, over all generations.

use std::path::{Path, PathBuf};

use super::generation::{Generation, Next, PIECE};
use super::index::Stream;
use super::place;
use crate::host::files;

/// A line that is longer comes in pieces, so that a program that never ends its line cannot fill our memory.
pub(super) const LONGEST: usize = 4 << 20;

/// Stands before the rest of a line whose beginning is no longer in the log.
pub const CUT: &str = "… ";

/// Which lines are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Only so many, the last ones.
    pub tail: Option<usize>,
    /// Only those not older, in nanoseconds since the Unix epoch.
    pub since_ns: Option<i64>,
    /// Only those not newer, in nanoseconds since the Unix epoch.
    pub until_ns: Option<i64>,
}

impl Window {
    fn holds(&self, time_ns: i64) -> bool {
        self.since_ns.is_none_or(|since| time_ns >= since)
            && self.until_ns.is_none_or(|until| time_ns <= until)
    }
}

/// A line as written, without its newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// When its first byte came, in nanoseconds since the Unix epoch. Lines that came at once are a nanosecond apart.
    pub time_ns: i64,
    /// Where it was written to.
    pub stream: Stream,
    /// The bytes. Of a line whose beginning is no longer in the log, its rest with [`CUT`] in front.
    pub text: &'a [u8],
    /// A newline followed; else the line goes on or its writer has not ended it.
    pub ended: bool,
}

/// Where the text of the present line is.
#[derive(Debug)]
enum Text {
    /// In the buffer of the spool file.
    Buffer(std::ops::Range<usize>),
    /// Put together from several pieces.
    Joined,
}

#[derive(Debug)]
struct Head {
    time_ns: i64,
    stream: Stream,
    text: Text,
    ended: bool,
}

/// Where the line that comes first begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Begin {
    /// Here.
    #[default]
    Here,
    /// Before what is read: its rest is passed over, but not more than [`LONGEST`].
    Earlier,
    /// Before all that there is: its rest is shown only if it is a great part of the log.
    Gone,
}

/// The beginning of a line whose end has not come yet.
#[derive(Debug, Default)]
pub(super) struct Partial {
    pub(super) text: Vec<u8>,
    time_ns: i64,
    pub(super) begin: Begin,
    /// So much was passed over.
    skipped: usize,
}

impl Partial {
    /// What comes first belongs to a line that begins there.
    pub(super) fn beginning(begin: Begin) -> Partial {
        Partial { begin, ..Partial::default() }
    }

    /// Whether it is to be shown as it is, when nothing more comes.
    pub(super) fn is_worth_showing(&self, least_rest: usize) -> bool {
        match self.begin {
            Begin::Here => !self.text.is_empty(),
            Begin::Earlier => false,
            Begin::Gone => self.text.len() >= least_rest,
        }
    }
}

/// Reads one container's log. At the end it can be asked again later and goes on.
#[derive(Debug)]
pub struct Reader {
    pub(super) container: PathBuf,
    window: Window,
    pub(super) generation: Option<Generation>,
    /// Nothing before the next chunk was read: what it continues is unknown.
    pub(super) is_fresh: bool,
    /// The chunk being read: its stream, bytes left, and the time of its next line.
    pub(super) chunk: Option<(Stream, u64, i64)>,
    pub(super) buffer: Vec<u8>,
    pub(super) at: usize,
    pub(super) partial: [Partial; 2],
    joined: Vec<u8>,
    /// So many lines are before the wanted ones.
    pub(super) pass_over: usize,
    head: Option<Head>,
    /// So much has to be left of a line whose beginning is gone, for its rest to be shown.
    pub(super) least_rest: usize,
    /// So many bytes are missing before what comes next, which is still to be told.
    lost: u64,
    /// That the log is damaged is still to be told.
    pub(super) notice: bool,
    /// It was told, or need not be.
    pub(super) warned: bool,
    /// The time of what was read last.
    last_ns: i64,
}

impl Reader {
    /// Opens the log of the container in this directory. A log that is not there yet is an empty one.
    pub fn open(container: &Path, window: Window) -> Result<Reader, files::Error> {
        let mut reader = Reader {
            container: container.to_owned(),
            window,
            generation: None,
            is_fresh: true,
            chunk: None,
            buffer: Vec::new(),
            at: 0,
            partial: Default::default(),
            joined: Vec::new(),
            pass_over: 0,
            head: None,
            least_rest: LONGEST,
            lost: 0,
            notice: false,
            warned: false,
            last_ns: 0,
        };
        let most = place::most(container)?;
        if let Some(most) = most {
            reader.least_rest = usize::try_from(most / 4).unwrap_or(LONGEST).clamp(1, LONGEST);
        }
        // What is there stays from now on until it was read.
        match (window.tail, most) {
            (None, None) => reader.generation = Generation::first(container, false)?,
            (tail, most) => reader.seek_end(tail, most)?,
        }
        Ok(reader)
    }

    /// Opens the log of a container that did not exist when its reader began to follow: what is beyond the log's size
    /// already has waited for this.
    pub fn of_a_later_one(container: &Path, window: Window) -> Result<Reader, files::Error> {
        let mut reader = Reader::open(container, Window { tail: None, ..window })?;
        reader.generation = Generation::first(container, true)?;
        Ok(reader)
    }

    /// Returns the next line, or `None` when there is no whole line (now).
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, files::Error> {
        Ok(if self.advance()? { self.line() } else { None })
    }

    /// Goes to the next line; false when there is none (now).
    pub fn advance(&mut self) -> Result<bool, files::Error> {
        self.head = None;
        loop {
            if self.has_to_tell() {
                self.tell();
                return Ok(true);
            }
            if self.at < self.buffer.len() {
                let Some(head) = self.take_line().filter(|head| self.window.holds(head.time_ns)) else {
                    continue;
                };
                if self.pass_over == 0 {
                    self.head = Some(head);
                    return Ok(true);
                }
                self.pass_over -= 1;
            } else if !self.load()? && !self.has_to_tell() {
                return Ok(false);
            }
        }
    }

    /// Returns what comes next, whatever lines are in it; `None` when there is nothing (now).
    pub fn next_bytes(&mut self) -> Result<Option<(Stream, &[u8])>, files::Error> {
        while self.at >= self.buffer.len() && !self.has_to_tell() {
            if !self.load()? && !self.has_to_tell() {
                return Ok(None);
            }
        }
        if self.has_to_tell() {
            self.tell();
            self.head = None;
            self.joined.push(b'\n');
            return Ok(Some((Stream::Stderr, &self.joined)));
        }
        let begin = std::mem::replace(&mut self.at, self.buffer.len());
        Ok(self.chunk.map(|(stream, ..)| (stream, &self.buffer[begin..])))
    }

    /// The line that [`Reader::advance`] has come to.
    pub fn line(&self) -> Option<Line<'_>> {
        let head = self.head.as_ref()?;
        let text = match &head.text {
            Text::Buffer(range) => &self.buffer[range.clone()],
            Text::Joined => &self.joined,
        };
        Some(Line { time_ns: head.time_ns, stream: head.stream, text, ended: head.ended })
    }

    /// Goes to a line that its writer has not ended, when nothing more will come; false when there is none.
    pub fn advance_to_rest(&mut self) -> bool {
        self.head = None;
        loop {
            let unended = |stream: &Stream| self.partial[stream.number()].is_worth_showing(self.least_rest);
            let oldest = Stream::BOTH
                .into_iter()
                .filter(unended)
                .min_by_key(|stream| self.partial[stream.number()].time_ns);
            let Some(stream) = oldest else { return false };
            let partial = std::mem::take(&mut self.partial[stream.number()]);
            if self.window.holds(partial.time_ns) {
                self.joined = partial.text;
                self.mark(partial.begin);
                let time_ns = partial.time_ns;
                self.head = Some(Head { time_ns, stream, text: Text::Joined, ended: false });
                return true;
            }
        }
    }

    /// Takes the next line out of the buffer, or puts the rest of the buffer to the unended line of its stream.
    fn take_line(&mut self) -> Option<Head> {
        let (stream, _, time) = self.chunk.as_mut()?;
        let stream = *stream;
        let partial = &mut self.partial[stream.number()];
        let begin = self.at;
        let newline = self.buffer[begin..].iter().position(|byte| *byte == b'\n');
        let end = newline.map_or(self.buffer.len(), |length| begin + length);
        self.at = if newline.is_some() { end + 1 } else { end };
        self.last_ns = *time;
        let is_new = partial.text.is_empty();
        if is_new && partial.begin != Begin::Earlier {
            partial.time_ns = *time;
            *time = time.saturating_add(1);
        }
        let time_ns = partial.time_ns;
        let ended = newline.is_some();
        if partial.begin == Begin::Earlier {
            partial.skipped += end - begin;
            if ended || partial.skipped >= LONGEST {
                *partial = Partial::default();
            }
            return None;
        }
        if ended && is_new && partial.begin == Begin::Here {
            return Some(Head { time_ns, stream, text: Text::Buffer(begin..end), ended });
        }
        partial.text.extend_from_slice(&self.buffer[begin..end]);
        if !ended && partial.text.len() < LONGEST {
            return None;
        }
        let is_shown = partial.begin == Begin::Here || partial.text.len() >= self.least_rest;
        let begin = std::mem::take(&mut partial.begin);
        std::mem::swap(&mut self.joined, &mut partial.text);
        partial.text.clear();
        self.mark(begin);
        is_shown.then_some(Head { time_ns, stream, text: Text::Joined, ended })
    }

    /// Says that the beginning of a line is gone, where it is.
    fn mark(&mut self, begin: Begin) {
        if begin == Begin::Gone {
            self.joined.splice(..0, CUT.bytes());
        }
    }

    /// Fills the buffer with what comes next; false at the end.
    fn load(&mut self) -> Result<bool, files::Error> {
        loop {
            if self.generation.is_none() {
                self.generation = Generation::first(&self.container, true)?;
            }
            let Some(generation) = &mut self.generation else { return Ok(false) };
            if generation.is_damaged && !self.warned {
                (self.notice, self.warned) = (true, true);
                return Ok(false);
            }
            match &mut self.chunk {
                Some((stream, left, _)) if *left > 0 => {
                    let count = generation.read(*stream, (*left).min(PIECE), &mut self.buffer)?;
                    // Less than the index promises: a loss of power took the rest.
                    *left = if count == 0 { 0 } else { *left - count };
                    self.at = 0;
                    if count > 0 {
                        return Ok(true);
                    }
                }
                _ => match generation.next_chunk()? {
                    Some(chunk) if chunk.goes_on_inside_a_line() => {
                        if self.is_fresh {
                            self.partial[chunk.stream.number()] = Partial::beginning(Begin::Gone);
                        }
                    }
                    Some(chunk) => {
                        self.is_fresh = false;
                        self.chunk = Some((chunk.stream, chunk.length, chunk.time_ns));
                    }
                    None => match generation.next(&self.container)? {
                        Next::Chunks => {}
                        Next::Generation { newer, lost } => self.go_on(newer, lost),
                        Next::Nothing => return Ok(false),
                    },
                },
            }
        }
    }
}

impl Reader {
    fn has_to_tell(&self) -> bool {
        self.lost > 0 || self.notice
    }

    /// Makes a line of what is missing: who reads must not take the rest for all.
    fn tell(&mut self) {
        let text = if std::mem::take(&mut self.notice) {
            "(the files of this log were cut or damaged: when some of its lines came is not known)".to_owned()
        } else {
            let lost = std::mem::take(&mut self.lost);
            format!("({lost} bytes are missing here: the log was rotated before they were read)")
        };
        self.joined = text.into_bytes();
        let next_ns = self.chunk.map_or(self.last_ns, |(.., time_ns)| time_ns);
        let (time_ns, stream) = (self.last_ns.max(next_ns), Stream::Stderr);
        self.head = Some(Head { time_ns, stream, text: Text::Joined, ended: true });
    }

    /// Goes on in the next generation, and lets go of this one.
    fn go_on(&mut self, newer: Generation, lost: u64) {
        let left = self.generation.replace(newer);
        if lost > 0 {
            self.lost = lost;
            self.is_fresh = true;
            self.partial = Default::default();
        }
        if let Some(left) = left
            && place::beyond(&self.container, left.number).exists()
        {
            let directory = place::beyond(&self.container, left.number);
            drop(left);
            // Who may not remove it leaves it to the writer.
            let _ = place::remove(&self.container, &directory, place::Wait::Readers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::logs::capture::{Capture, Limits};

    /// `o`/`e` and a text is one write to stdout/stderr; the time is its number from 100 on, in hundreds.
    fn check(writes: &[&str], window: Window, expected: &[&str]) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut capture = Capture::open(directory.path(), Limits::default(), 1).expect("opened");
        for (number, write) in writes.iter().enumerate() {
            let stream = if write.starts_with('o') { Stream::Stdout } else { Stream::Stderr };
            capture.write(stream, &write.as_bytes()[1..], (number as i64 + 1) * 100).expect("written");
        }
        let mut reader = Reader::open(directory.path(), window).expect("a reader");
        let mut found = Vec::new();
        let show = |line: Line<'_>| {
            let stream = if line.stream == Stream::Stdout { 'o' } else { 'e' };
            let end = if line.ended { "" } else { "…" };
            format!("{}{stream}{}{end}", line.time_ns, String::from_utf8_lossy(line.text))
        };
        while let Some(line) = reader.next_line().expect("a line") {
            found.push(show(line));
        }
        while reader.advance_to_rest() {
            found.push(show(reader.line().expect("a line")));
        }
        assert_eq!(found, expected, "{writes:?} {window:?}");
    }

    #[test]
    fn lines_come_in_order_with_the_time_of_their_first_byte() {
        let all = Window::default();
        check(&["oa\nb\n", "ex\n", "oc\n"], all, &["100oa", "101ob", "200ex", "300oc"]);
        check(&["oab", "ex\n", "ocd\ne\n", "e\n"], all, &["200ex", "100oabcd", "300oe", "400e"]);
        check(&["oa\nlast"], all, &["100oa", "101olast…"]);
        check(&[], all, &[]);
    }

    #[test]
    fn windows_cut_by_time_and_number() {
        let writes = ["oa\nb\n", "ex\n", "oc", "od\ne\n"];
        let since = |since_ns| Window { since_ns: Some(since_ns), ..Window::default() };
        check(&writes, since(101), &["101ob", "200ex", "300ocd", "400oe"]);
        check(&writes, Window { until_ns: Some(200), ..Window::default() }, &["100oa", "101ob", "200ex"]);
        let tail = |tail| Window { tail: Some(tail), ..Window::default() };
        check(&writes, tail(0), &[]);
        check(&writes, tail(1), &["400oe"]);
        check(&writes, tail(2), &["300ocd", "400oe"]);
        check(&writes, tail(100), &["100oa", "101ob", "200ex", "300ocd", "400oe"]);
        check(&["oa\nb\nc"], tail(2), &["101ob", "102oc…"]);
    }

    #[test]
    fn a_tail_does_not_begin_inside_a_line() {
        let mut writes = vec!["olong "; 1000];
        writes.push("oend\n");
        writes.extend(["en\n"; 5]);
        check(&writes, Window { tail: Some(2), ..Window::default() }, &["100500en", "100600en"]);
    }

    #[test]
    fn a_line_longer_than_any_buffer_is_whole_and_a_monstrous_one_comes_in_pieces() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut capture = Capture::open(directory.path(), Limits::default(), 1).expect("opened");
        let text = vec![b'x'; 3_000_000];
        capture.write(Stream::Stdout, &text, 100).expect("written");
        capture.write(Stream::Stdout, b"\n", 200).expect("written");
        capture.write(Stream::Stdout, &vec![b'y'; LONGEST + 5], 300).expect("written");
        capture.write(Stream::Stdout, b"\n", 400).expect("written");
        let mut reader = Reader::open(directory.path(), Window::default()).expect("a reader");
        let line = reader.next_line().expect("read").expect("a line");
        assert!(line.text == text && line.time_ns == 100 && line.ended);
        let first = reader.next_line().expect("read").map(|line| (line.text.len(), line.ended));
        let second = reader.next_line().expect("read").map(|line| (line.text.len(), line.ended));
        let (Some((first, false)), Some((second, true))) = (first, second) else {
            panic!("{first:?} {second:?}")
        };
        assert_eq!(first + second, LONGEST + 5);
    }

    #[test]
    fn the_tail_of_a_line_without_end_is_its_last_piece_and_little_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut capture = Capture::open(directory.path(), Limits::default(), 1).expect("opened");
        let chunk = vec![b'z'; 1 << 20];
        for number in 0..40 {
            capture.write(Stream::Stdout, &chunk, 100 + number).expect("written");
        }
        for tail in [1, 2] {
            let window = Window { tail: Some(tail), ..Window::default() };
            let mut reader = Reader::open(directory.path(), window).expect("a reader");
            let begin = reader.generation.as_ref().map(|generation| generation.chunks.len()).expect("there");
            assert!(begin <= (tail + 3) * (LONGEST >> 20), "{begin} chunks of 40");
            let mut pieces = Vec::new();
            while let Some(line) = reader.next_line().expect("read") {
                pieces.push(line.text.len());
            }
            while reader.advance_to_rest() {
                pieces.push(reader.line().expect("a line").text.len());
            }
            assert!(!pieces.is_empty() && pieces.len() <= tail, "{pieces:?}");
            assert!(pieces.iter().all(|length| *length <= LONGEST + PIECE as usize), "{pieces:?}");
        }
        capture.write(Stream::Stdout, b"end\nlast\n", 200).expect("written");
        let window = Window { tail: Some(1), ..Window::default() };
        let mut reader = Reader::open(directory.path(), window).expect("a reader");
        assert_eq!(reader.next_line().expect("read").expect("a line").text, b"last");
    }

    #[test]
    fn a_reader_goes_on_where_it_was_also_over_a_rotation() {
        let directory = tempfile::tempdir().expect("a directory");
        let limits = Limits { max_size: Some(30), max_files: Some(5) };
        let mut capture = Capture::open_in_strides(directory.path(), limits, 1, 1).expect("opened");
        let mut reader = Reader::open(directory.path(), Window::default()).expect("a reader");
        let mut found = Vec::new();
        for number in 0..12 {
            capture.write(Stream::Stdout, format!("line {number}\n").as_bytes(), number).expect("written");
            if number % 3 == 0 {
                while let Some(line) = reader.next_line().expect("a line") {
                    found.push(String::from_utf8_lossy(line.text).into_owned());
                }
            }
        }
        let expected: Vec<String> = (0..10).map(|number| format!("line {number}")).collect();
        assert_eq!(found, expected);
    }
}
