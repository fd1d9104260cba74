//! Finds where the last lines of a log begin.

use super::generation::Generation;
use super::index::{Chunk, Stream};
use super::place;
use super::read::{LONGEST, Partial, Reader};
use crate::host::files;

impl Reader {
    /// Goes to where the last lines begin: back over chunks until they hold enough line ends, then forward once to count.
    pub(super) fn seek_tail(&mut self, tail: usize) -> Result<(), files::Error> {
        let mut ends = Ends::default();
        // A line end for each stream may belong to a line that begins earlier.
        let wanted = tail.saturating_add(Stream::BOTH.len());
        for number in place::numbers(&self.container)?.kept.into_iter().rev() {
            let Some(mut generation) = Generation::open(&self.container, number)? else { continue };
            let chunks: Vec<Chunk> =
                std::iter::from_fn(|| generation.next_chunk().transpose()).collect::<Result<_, _>>()?;
            let mut offsets = [0u64; 2];
            for chunk in &chunks {
                offsets[chunk.stream.number()] += chunk.length;
            }
            let mut first = chunks.len();
            while first > 0 && ends.found < wanted {
                first -= 1;
                let chunk = chunks[first];
                offsets[chunk.stream.number()] -= chunk.length;
                ends.add(chunk, generation.count_line_ends(chunk, offsets[chunk.stream.number()])?);
            }
            generation.chunks = chunks[first..].iter().copied().collect();
            generation.offsets = offsets;
            for stream in Stream::BOTH {
                self.partial[stream.number()].skip = generation.begins_inside_a_line(stream, &chunks)?;
            }
            self.generation = Some(generation);
            if ends.found >= wanted {
                break;
            }
        }
        let begin = self.generation.as_ref().map(Generation::again).transpose()?;
        let skips = [self.partial[0].skip, self.partial[1].skip];
        let mut lines = 0;
        while self.advance()? {
            lines += 1;
        }
        if tail == 0 {
            // Lines that have begun count as old: only what begins later is shown.
            for partial in &mut self.partial {
                if !partial.text.is_empty() {
                    *partial = Partial::skipping(true);
                }
            }
            return Ok(());
        }
        let unended = self.partial.iter().filter(|partial| !partial.text.is_empty()).count();
        self.pass_over = (lines + unended).saturating_sub(tail).min(lines);
        self.generation = begin;
        self.chunk = None;
        self.buffer.clear();
        self.at = 0;
        self.partial = skips.map(Partial::skipping);
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
