//! The index beside the spool files: in which order and when their bytes came.
//!
//! A record is 16 bytes, little endian: nanoseconds since the Unix epoch (i64), then the length shifted left by one with
//! the stream in the lowest bit (u64). Records are in the order of arrival, so their position is their sequence number. A length of 0, only
//! at the beginning, says that the stream goes on inside a line of an earlier generation.

/// Where a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, and everything of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Both, in the order of [`Stream::number`].
    pub const BOTH: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

    /// 0 or 1.
    pub fn number(self) -> usize {
        match self {
            Stream::Stdout => 0,
            Stream::Stderr => 1,
        }
    }
}

/// Size of a record in bytes.
pub const RECORD: usize = 16;

/// Bytes that came at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// When they were read, in nanoseconds since the Unix epoch.
    pub time_ns: i64,
    /// From where.
    pub stream: Stream,
    /// How many.
    pub length: u64,
}

impl Chunk {
    /// No bytes, but the word that those which follow continue a line.
    pub fn goes_on_inside_a_line(self) -> bool {
        self.length == 0
    }

    /// Returns the record of this chunk.
    pub fn encode(self) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        record[..8].copy_from_slice(&self.time_ns.to_le_bytes());
        let word = (self.length << 1) | self.stream.number() as u64;
        record[8..].copy_from_slice(&word.to_le_bytes());
        record
    }

    fn decode(record: &[u8; RECORD]) -> Chunk {
        let (time, word) = record.split_at(8);
        let number = |half: &[u8]| u64::from_le_bytes(half.try_into().expect("half of a record is 8 bytes"));
        let word = number(word);
        let stream = if word & 1 == 0 { Stream::Stdout } else { Stream::Stderr };
        Chunk { time_ns: number(time) as i64, stream, length: word >> 1 }
    }
}

/// Reads records; a torn one at the end is left out.
pub fn parse(bytes: &[u8]) -> impl Iterator<Item = Chunk> + '_ {
    let (records, _) = bytes.as_chunks::<RECORD>();
    records.iter().map(Chunk::decode)
}

/// Adds a chunk to what was seen of each stream; false when the stream's file is too short for it, and nothing is added.
pub fn add(seen: &mut [u64; 2], chunk: Chunk, lengths: [u64; 2]) -> bool {
    let number = chunk.stream.number();
    match seen[number].checked_add(chunk.length).filter(|sum| *sum <= lengths[number]) {
        Some(sum) => {
            seen[number] = sum;
            true
        }
        None => false,
    }
}

/// What is left of the records when somebody has cut the files: what is beyond a file's end goes, the rest stays as it is.
pub fn cut(chunks: impl IntoIterator<Item = Chunk>, lengths: [u64; 2]) -> Vec<Chunk> {
    let mut left = lengths;
    let still_there = |mut chunk: Chunk| {
        let left = &mut left[chunk.stream.number()];
        let was_empty = chunk.length == 0;
        chunk.length = chunk.length.min(*left);
        *left -= chunk.length;
        (was_empty || chunk.length > 0).then_some(chunk)
    };
    chunks.into_iter().filter_map(still_there).collect()
}

/// What makes an index agree with the spool files again.
#[derive(Debug, PartialEq, Eq)]
pub struct Repair {
    /// So many records from the start are right.
    pub keep: usize,
    /// These follow.
    pub append: Vec<Chunk>,
}

/// Compares an index with the lengths of the spool files.
///
/// A file is longer than its records say when the supervisor was killed between splice and record: those bytes get a
/// record now. It is shorter only after a loss of power: the records beyond it go.
pub fn repair(chunks: impl IntoIterator<Item = Chunk>, lengths: [u64; 2], now_ns: i64) -> Repair {
    let mut seen = [0u64; 2];
    let mut keep = 0;
    for chunk in chunks {
        if !add(&mut seen, chunk, lengths) {
            break;
        }
        keep += 1;
    }
    let append = Stream::BOTH
        .into_iter()
        .filter_map(|stream| {
            let length = lengths[stream.number()] - seen[stream.number()];
            (length > 0).then_some(Chunk { time_ns: now_ns, stream, length })
        })
        .collect();
    Repair { keep, append }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(time_ns: i64, stream: Stream, length: u64) -> Chunk {
        Chunk { time_ns, stream, length }
    }

    #[test]
    fn records_come_back_and_a_torn_one_is_left_out() {
        let chunks = [chunk(1, Stream::Stdout, 5), chunk(i64::MAX, Stream::Stderr, 1 << 40)];
        let mut bytes: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.encode()).collect();
        bytes.extend([1, 2, 3]);
        assert_eq!(parse(&bytes).collect::<Vec<_>>(), chunks);
    }

    #[test]
    fn bytes_without_a_record_get_one_and_records_without_bytes_go() {
        let chunks = [chunk(1, Stream::Stdout, 5), chunk(2, Stream::Stderr, 3), chunk(3, Stream::Stdout, 2)];
        let check = |lengths, keep, append: &[Chunk]| {
            let repair = repair(chunks, lengths, 9);
            assert_eq!((repair.keep, repair.append.as_slice()), (keep, append), "{lengths:?}");
        };
        check([7, 3], 3, &[]);
        check([9, 3], 3, &[chunk(9, Stream::Stdout, 2)]);
        check([7, 4], 3, &[chunk(9, Stream::Stderr, 1)]);
        check([6, 3], 2, &[chunk(9, Stream::Stdout, 1)]);
        check([0, 0], 0, &[]);
        let damaged = [chunk(1, Stream::Stdout, 5), chunk(2, Stream::Stdout, u64::MAX >> 1)];
        assert_eq!(repair(damaged.into_iter().chain(damaged), [7, 0], 9).keep, 1);
    }

    #[test]
    fn cut_files_take_the_records_beyond_their_ends_with_them() {
        let begin = chunk(1, Stream::Stderr, 0);
        let chunks =
            [begin, chunk(1, Stream::Stdout, 5), chunk(2, Stream::Stderr, 3), chunk(3, Stream::Stdout, 2)];
        let check = |lengths, expected: &[Chunk]| assert_eq!(cut(chunks, lengths), expected, "{lengths:?}");
        check([7, 3], &chunks);
        check([6, 3], &[begin, chunks[1], chunks[2], chunk(3, Stream::Stdout, 1)]);
        check([0, 3], &[begin, chunks[2]]);
        check([0, 0], &[begin]);
    }
}
