//! From a blob's bytes to a tar's: compression by magic number, the digest of what comes out, and a thread that does
//! both while another writes files.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sha2::{Digest as _, Sha256};

use crate::image::reference::Digest;

/// How many bytes travel at a time, and how many such pieces may wait: 2 MiB for each layer under way.
const PIECE: usize = 256 << 10;
const WAITING: usize = 8;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// A plain tar.
    None,
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 8878, any number of frames.
    Zstd,
}

impl Compression {
    /// Recognises the first bytes. Media types lie more often than these.
    pub fn of(magic: &[u8]) -> Compression {
        match magic {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            _ => Compression::None,
        }
    }

    /// Recognises a file at its beginning.
    pub fn of_file(mut file: impl Read) -> io::Result<Compression> {
        let mut magic = Vec::new();
        file.by_ref().take(4).read_to_end(&mut magic)?;
        Ok(Compression::of(&magic))
    }
}

/// Reads compressed bytes as what they stand for.
pub fn inflate<'a>(reader: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut reader = BufReader::with_capacity(PIECE, reader);
    Ok(match Compression::of(reader.fill_buf()?) {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(reader)?),
    })
}

/// Inflates and hashes a blob on a thread of its own while `use_tar` reads the tar on this one.
///
/// Returns what `use_tar` returned and the digest of everything that came out, whether it was read or not.
pub fn with_inflated<T, E: From<io::Error>>(
    blob: impl Read + Send,
    use_tar: impl FnOnce(Pieces) -> Result<T, E>,
) -> Result<(T, Digest), E> {
    let (sender, receiver) = sync_channel(WAITING);
    let (back, spare) = sync_channel(WAITING + 2);
    std::thread::scope(|scope| {
        let producer = std::thread::Builder::new()
            .name("inflate".to_owned())
            .spawn_scoped(scope, move || produce(blob, &sender, &spare))?;
        let result = use_tar(Pieces { receiver, back, piece: Vec::new(), at: 0 });
        let digest = producer.join().map_err(|_| io::Error::other("the inflating thread has died"))?;
        Ok((result?, digest))
    })
}

fn produce(
    blob: impl Read + Send,
    sender: &SyncSender<io::Result<Vec<u8>>>,
    spare: &Receiver<Vec<u8>>,
) -> Digest {
    let mut hash = Sha256::new();
    let mut reader = match inflate(blob) {
        Ok(reader) => reader,
        Err(error) => {
            let _ = sender.send(Err(error));
            return Digest::from_hash(&hash.finalize());
        }
    };
    loop {
        let mut piece = spare.try_recv().unwrap_or_default();
        piece.resize(PIECE, 0);
        match fill(&mut reader, &mut piece) {
            Ok(0) => return Digest::from_hash(&hash.finalize()),
            Ok(length) => {
                piece.truncate(length);
                hash.update(&piece);
                if sender.send(Ok(piece)).is_err() {
                    // The reader has given up; it says why.
                    return Digest::from_hash(&hash.finalize());
                }
            }
            Err(error) => {
                let _ = sender.send(Err(error));
                return Digest::from_hash(&hash.finalize());
            }
        }
    }
}

fn fill(reader: &mut dyn Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match reader.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The tar's bytes as they arrive from the inflating thread.
pub struct Pieces {
    receiver: Receiver<io::Result<Vec<u8>>>,
    back: SyncSender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.piece.len() {
            // The sender hangs up at the end of the stream.
            let next = match self.receiver.recv() {
                Ok(next) => next?,
                Err(_) => Vec::new(),
            };
            let used = std::mem::replace(&mut self.piece, next);
            let _ = self.back.try_send(used);
            self.at = 0;
        }
        Ok(&self.piece[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Seek, Write};

    use super::*;

    fn blob(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(content).expect("written");
        file.rewind().expect("rewound");
        file
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).expect("written");
        encoder.finish().expect("finished")
    }

    fn check(compressed: &[u8], plain: &[u8]) {
        let (read, digest) = with_inflated(blob(compressed), |mut pieces| {
            let mut bytes = Vec::new();
            pieces.read_to_end(&mut bytes)?;
            Ok::<_, io::Error>(bytes)
        })
        .expect("inflated");
        assert!(read == plain, "{} bytes in, {} out", compressed.len(), read.len());
        assert_eq!(digest, Digest::of(plain));
    }

    #[test]
    fn every_form_gives_the_same_bytes() {
        let plain: Vec<u8> = (0..3_000_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        check(&plain, &plain);
        check(&gzip(&plain), &plain);
        check(&zstd::encode_all(&plain[..], 1).expect("compressed"), &plain);
        // Several members stand one after the other, as pigz and stargz write them.
        let halves = [gzip(&plain[..1000]), gzip(&plain[1000..])].concat();
        check(&halves, &plain);
        check(b"", b"");
    }

    #[test]
    fn a_cut_stream_is_an_error() {
        let plain = vec![7; 1 << 20];
        for compressed in [gzip(&plain), zstd::encode_all(&plain[..], 1).expect("compressed")] {
            let cut = &compressed[..compressed.len() / 2];
            let result = with_inflated(blob(cut), |mut pieces| io::copy(&mut pieces, &mut io::sink()));
            assert!(result.is_err(), "{cut:?}");
        }
    }

    #[test]
    fn a_reader_that_gives_up_ends_the_thread() {
        let plain = vec![7; 64 << 20];
        let error =
            with_inflated(blob(&plain), |_| Err::<(), _>(io::Error::other("enough"))).expect_err("given up");
        assert_eq!(error.to_string(), "enough");
    }
}
