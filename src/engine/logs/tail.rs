//! Finds where the last lines of a log begin.

use super::generation::Generation;
use super::index::{Chunk, Stream};
use super::place;
use super::read::{Begin, LONGEST, Partial, Reader};
use crate::host::files;

impl Reader {
    /// Goes to where the last lines begin, or as far back as the log may reach: back over chunks until they hold enough
    /// line ends or bytes, then, for lines, forward once to count.
    pub(super) fn seek_end(&mut self, tail: Option<usize>, most: Option<u64>) -> Result<(), files::Error> {
        let mut ends = Ends::default();
        let mut room = most.unwrap_or(u64::MAX);
        let mut is_damaged = false;
        // A line end for each stream may belong to a line that begins earlier.
        let wanted = tail.map_or(usize::MAX, |tail| tail.saturating_add(Stream::BOTH.len()));
        for number in place::numbers(&self.container)?.kept.into_iter().rev() {
            let Some(mut generation) = Generation::open(&self.container, number)? else { continue };
            let mut chunks: Vec<Chunk> =
                std::iter::from_fn(|| generation.next_chunk().transpose()).collect::<Result<_, _>>()?;
            is_damaged |= generation.is_damaged;
            let mut offsets = [0u64; 2];
            for chunk in &chunks {
                offsets[chunk.stream.number()] += chunk.length;
            }
            let mut first = chunks.len();
            while first > 0 && ends.found < wanted && room > 0 {
                first -= 1;
                let chunk = &mut chunks[first];
                // The end of one that does not fit.
                chunk.length = chunk.length.min(room);
                room -= chunk.length;
                offsets[chunk.stream.number()] -= chunk.length;
                if tail.is_some() {
                    ends.add(*chunk, generation.count_line_ends(*chunk, offsets[chunk.stream.number()])?);
                }
            }
            // Nobody will see what is before.
            let is_all = first == 0 || room == 0;
            generation.chunks = chunks[first..].iter().copied().collect();
            generation.offsets = offsets;
            for stream in Stream::BOTH {
                self.partial[stream.number()].begin =
                    match generation.begins_inside_a_line(stream, &chunks)? {
                        true if is_all => Begin::Gone,
                        true => Begin::Earlier,
                        false => Begin::Here,
                    };
            }
            self.generation = Some(generation);
            self.is_fresh = false;
            if ends.found >= wanted || room == 0 {
                break;
            }
        }
        if let Some(tail) = tail {
            // It is no line of the log: not to be counted.
            self.warned = true;
            self.seek_tail(tail)?;
        }
        (self.notice, self.warned) = (is_damaged, is_damaged);
        Ok(())
    }

    /// Counts the lines from here on, and comes back knowing how many are too many.
    fn seek_tail(&mut self, tail: usize) -> Result<(), files::Error> {
        let begin = self.generation.as_ref().map(Generation::again).transpose()?;
        let begins = [self.partial[0].begin, self.partial[1].begin];
        let mut lines = 0;
        while self.advance()? {
            lines += 1;
        }
        if tail == 0 {
            // Lines that have begun count as old: only what begins later is shown.
            for partial in &mut self.partial {
                if !partial.text.is_empty() {
                    *partial = Partial::beginning(Begin::Earlier);
                }
            }
            return Ok(());
        }
        let unended = self.partial.iter().filter(|partial| partial.is_worth_showing(self.least_rest)).count();
        self.pass_over = (lines + unended).saturating_sub(tail).min(lines);
        self.generation = begin;
        self.chunk = None;
        self.buffer.clear();
        self.at = 0;
        self.partial = begins.map(Partial::beginning);
        Ok(())
    }
}

/// Line ends found going back. So much without one as makes a piece of a line counts as one.
#[derive(Default)]
struct Ends {
    found: usize,
    /// Bytes of each stream since.
    without: [u64; 2],
}

impl Ends {
    fn add(&mut self, chunk: Chunk, ends: usize) {
        let without = &mut self.without[chunk.stream.number()];
        *without = if ends == 0 { *without + chunk.length } else { 0 };
        let pieces = *without / LONGEST as u64;
        *without %= LONGEST as u64;
        self.found += ends + pieces as usize;
    }
}
