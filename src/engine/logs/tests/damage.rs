//! Logs that somebody has damaged or cut: what can be read is read, once with a word about it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::capture::{Capture, Limits, Moved};
use super::super::index::{Chunk, RECORD, Stream, parse};
use super::super::{INDEX, Line, Reader, Window, file_name, place};

/// Pseudo-random numbers, the same for the same seed (Marsaglia, "Xorshift RNGs", 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 32) as u8).collect()
    }

    /// Damages an index in one of several ways.
    fn damage(&mut self, index: &[u8]) -> Vec<u8> {
        let mut damaged = index.to_vec();
        match self.below(4) {
            0 => {
                let count = self.below(400);
                damaged = self.bytes(count);
            }
            1 => {
                let at = self.below(index.len());
                let count = self.below(index.len() - at + 1);
                damaged[at..at + count].copy_from_slice(&self.bytes(count));
            }
            2 => {
                for record in damaged.chunks_mut(RECORD) {
                    let (time, length) = (self.next() as i64, self.next() >> (64 - self.below(64).max(1)));
                    let stream = Stream::BOTH[self.below(2)];
                    record.copy_from_slice(&Chunk { time_ns: time, stream, length: length >> 1 }.encode());
                }
            }
            _ => {
                let at = self.below(index.len());
                damaged.splice(at..at, self.bytes(3));
            }
        }
        damaged
    }
}

/// The lines of a log, and how often it was said that it is damaged.
fn read(container: &Path, window: Window) -> (Vec<(Stream, String)>, usize) {
    let mut reader = Reader::open(container, window).expect("a reader");
    let mut lines = Vec::new();
    let text = |line: Line<'_>| {
        let end = if line.ended { "\n" } else { "" };
        (line.stream, String::from_utf8_lossy(line.text).into_owned() + end)
    };
    while let Some(line) = reader.next_line().expect("read") {
        lines.push(text(line));
    }
    while reader.advance_to_rest() {
        lines.push(text(reader.line().expect("a line")));
    }
    let all = lines.len();
    lines.retain(|(_, text)| !text.starts_with("(the files of this log were cut or damaged"));
    let said = all - lines.len();
    (lines, said)
}

fn stream(lines: &[(Stream, String)], wanted: Stream) -> String {
    lines.iter().filter(|(stream, _)| *stream == wanted).map(|(_, text)| text.as_str()).collect()
}

#[test]
fn whatever_the_index_says_all_is_read_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let container = directory.path();
    let mut capture = Capture::open(container, Limits::default(), 1).expect("opened");
    let mut texts = [String::new(), String::new()];
    for number in 0..12i64 {
        let stream = Stream::BOTH[usize::from(number % 3 == 0)];
        // One of the streams ends its last line.
        let rest = if number == 11 { "" } else { "and the beginning of " };
        let text = format!("{number}: a line\n{rest}");
        texts[stream.number()] += &text;
        capture.write(stream, text.as_bytes(), number * 100).expect("written");
    }
    drop(capture);
    let path = place::kept(container, 0).join(INDEX);
    let index = fs::read(&path).expect("there");
    let mut damaged_ones = 0;
    for seed in 1..=2000 {
        // Spread out: the first numbers of small seeds are small.
        let mut random = Random(seed * 0x9e37_79b9);
        let damaged = random.damage(&index);
        fs::write(&path, &damaged).expect("ours");
        let (lines, said) = read(container, Window::default());
        // Of a line that goes on from an earlier generation, which there is none of, the rest is not shown.
        let goes_on = parse(&damaged).any(Chunk::goes_on_inside_a_line);
        if said > 0 && !goes_on {
            damaged_ones += 1;
            for name in Stream::BOTH {
                assert_eq!(stream(&lines, name), texts[name.number()], "seed {seed}");
            }
        }
        for tail in [0, 1, 3, 1000] {
            let (last, said_too) = read(container, Window { tail: Some(tail), ..Window::default() });
            assert_eq!(said_too, said, "seed {seed}, tail {tail}");
            // Which line came last is another question where the beginnings of some came before the ends of others.
            let are_lines = last.iter().all(|line| lines.contains(line));
            let count = lines.len().min(tail);
            assert!(
                goes_on || are_lines && last.len() == count,
                "seed {seed}, {tail}: {last:?} of {lines:?}"
            );
        }
        for since in [i64::MIN, 0, 500, i64::MAX] {
            let window = Window { since_ns: Some(since), ..Window::default() };
            assert_eq!(read(container, window).1, said, "seed {seed}");
        }
        if seed % 10 == 0 {
            let mut capture = Capture::open(container, Limits::default(), 5000).expect("opened");
            capture.write(Stream::Stdout, b"\nmore\n", 6000).expect("written");
            drop(capture);
            let (lines, said) = read(container, Window::default());
            assert_eq!(said, 0, "seed {seed}: mended");
            assert_eq!(lines.last().map(|(_, text)| text.contains("and the beg")), Some(true), "{lines:?}");
            assert!(stream(&lines, Stream::Stdout).ends_with("\nmore\n"), "seed {seed}: {lines:?}");
            let log = OpenOptions::new().write(true).open(place::kept(container, 0).join("stdout"));
            log.and_then(|log| log.set_len(texts[0].len() as u64)).expect("ours");
        }
    }
    assert!(damaged_ones > 500, "{damaged_ones}");
}

#[test]
fn what_comes_after_a_damage_is_followed() {
    let directory = tempfile::tempdir().expect("a directory");
    let container = directory.path();
    let mut capture = Capture::open(container, Limits::default(), 1).expect("opened");
    capture.write(Stream::Stdout, b"a\nb\n", 100).expect("written");
    let index = File::options().write(true).open(place::kept(container, 0).join(INDEX)).expect("there");
    index.write_all_at(&[0xee; 10], 3).expect("ours");
    let mut follower = Reader::open(container, Window::default()).expect("a reader");
    let mut followed = || {
        let mut texts = Vec::new();
        while let Some(line) = follower.next_line().expect("read") {
            texts.push(String::from_utf8_lossy(line.text).into_owned());
        }
        texts.retain(|text| !text.starts_with("(the files of this log were cut or damaged"));
        texts
    };
    assert_eq!(followed(), ["a", "b"]);
    for text in ["c", "d"] {
        capture.write(Stream::Stdout, format!("{text}\n").as_bytes(), 200).expect("written");
        assert_eq!(followed(), [text]);
    }
}

#[test]
fn what_came_lately_is_shown_though_nobody_knows_when() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut capture = Capture::open(directory.path(), Limits::default(), 1).expect("opened");
    capture.write(Stream::Stdout, b"a\nb\n", 100).expect("written");
    let index =
        File::options().write(true).open(place::kept(directory.path(), 0).join(INDEX)).expect("there");
    index.write_all_at(&[0xee; 10], 3).expect("ours");
    // The file was written this year, whatever year it is.
    let (lines, said) = read(directory.path(), Window { since_ns: Some(1 << 60), ..Window::default() });
    assert_eq!((lines.len(), said), (2, 1), "{lines:?}");
}

#[test]
fn a_file_that_was_cut_goes_on_at_its_new_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let container = directory.path();
    let file = |name: &str| place::kept(container, 0).join(name);
    let cut = |name: &str, length| {
        let file = File::options().write(true).open(file(name));
        file.and_then(|file| file.set_len(length)).expect("ours");
    };
    let lines = || {
        let (lines, said) = read(container, Window::default());
        assert_eq!(said, 0, "{lines:?}");
        lines.into_iter().map(|(_, text)| text).collect::<String>()
    };
    let mut capture = Capture::open(container, Limits::default(), 1).expect("opened");
    capture.write(Stream::Stdout, b"one\n", 100).expect("written");
    capture.write(Stream::Stderr, b"error\n", 200).expect("written");
    capture.write(Stream::Stdout, b"two\n", 300).expect("written");
    let mut follower = Reader::open(container, Window::default()).expect("a reader");
    while follower.advance().expect("read") {}

    let stdout = file_name(Stream::Stdout);
    cut(stdout, 0);
    let (pipe, write) = rustix::pipe::pipe().expect("a pipe");
    File::from(write).write_all(b"three\n").expect("written");
    assert_eq!(capture.splice(Stream::Stdout, pipe.as_fd(), 400).expect("moved"), Moved::Bytes(6));
    assert_eq!(fs::read(file(stdout)).expect("there"), b"three\n");
    assert_eq!(lines(), "error\nthree\n");
    let mut followed = || follower.next_line().expect("read").map(|line| line.text.to_vec());
    assert_eq!(followed().as_deref(), Some(&b"three"[..]));
    assert_eq!(followed(), None);

    cut(stdout, 3);
    capture.write(Stream::Stdout, b"e\nfour\n", 500).expect("written");
    assert_eq!(lines(), "error\nthre\nfour\n");
    cut(INDEX, 5);
    capture.write(Stream::Stderr, b"end\n", 600).expect("written");
    assert_eq!(lines(), "thre\nfour\nerror\nend\n");
    drop(capture);
    Capture::open(container, Limits::default(), 700).expect("opened again");
    assert_eq!(lines(), "thre\nfour\nerror\nend\n");
}
