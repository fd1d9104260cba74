//! The entries of a tar stream: ustar, GNU and PAX, names as bytes.
//!
//! `tar::Header` reads the fields; the walk from header to header is ours, because extended attributes are binary
//! (the crate's PAX reader ends a value at a line feed) and because everything that a header may ask us to hold in
//! memory needs a limit.

use std::io::{self, BufRead};
use std::ops::Range;

use tar::Header;

use super::Error;

const BLOCK: usize = 512;
/// Long names and PAX records beyond this are refused, as Go's archive/tar does.
const MAX_EXTENSION: u64 = 1 << 20;
/// No file system holds more (off_t).
const MAX_SIZE: u64 = i64::MAX as u64;
const XATTR: &[u8] = b"SCHILY.xattr.";

// Where a header has its numbers, the same in all formats (POSIX pax, ustar interchange format).
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;

/// What kind of file an entry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file; its bytes follow.
    File,
    /// Another name for the file `link`.
    HardLink,
    /// A symbolic link to `link`.
    Symlink,
    /// A directory.
    Directory,
    /// A character or block device.
    Device,
    /// A named pipe.
    Fifo,
}

/// One entry, its data apart.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The path as written.
    pub path: Vec<u8>,
    /// What it makes.
    pub kind: Kind,
    /// Where a link leads, as written.
    pub link: Vec<u8>,
    /// Who and what it is.
    pub meta: Meta,
    /// Bytes of data that follow.
    pub size: u64,
}

/// Owner, permissions, time and extended attributes of an entry.
#[derive(Clone, Debug, Default)]
pub struct Meta {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Extended attributes, all that the archive has.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What PAX records and GNU long names say about the next entry.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Walks through a tar.
pub struct Entries<R> {
    reader: R,
    /// Data of the current entry that was not read yet.
    left: u64,
    /// Zeros after it, up to the block's end.
    padding: u64,
}

impl<R: BufRead> Entries<R> {
    /// Begins at the first header.
    pub fn new(reader: R) -> Entries<R> {
        Entries { reader, left: 0, padding: 0 }
    }

    /// Returns the next entry, or `None` at the end. Data of the one before that was not read is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        let mut extension = Extension::default();
        loop {
            self.skip(self.left)?;
            self.skip(self.padding)?;
            (self.left, self.padding) = (0, 0);
            let Some(header) = self.header()? else { return Ok(None) };
            let size = field(header.as_bytes(), SIZE)
                .and_then(|size| u64::try_from(size).ok())
                .ok_or_else(|| Error::header("a size that is no number"))?;
            let size = match header.entry_type().as_byte() {
                b'x' | b'g' | b'L' | b'K' => size,
                _ => extension.size.unwrap_or(size),
            };
            self.left = size;
            self.padding = size.wrapping_neg() % BLOCK as u64;
            match header.entry_type().as_byte() {
                b'x' => extension.read_pax(&self.extension_data(size)?)?,
                b'L' => extension.path = Some(until_nul(self.extension_data(size)?)),
                b'K' => extension.link = Some(until_nul(self.extension_data(size)?)),
                // Global records (git's commit id) and a tape's label say nothing about files.
                b'g' | b'V' => {}
                kind => {
                    let entry = extension.complete(&header, kind, size)?;
                    if entry.kind != Kind::File {
                        // Some writers give links and directories a size; no data follows (POSIX pax).
                        (self.left, self.padding) = (0, 0);
                    }
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Returns the next piece of the entry's data, empty at its end; [`Entries::consume`] what was used of it.
    pub fn data(&mut self) -> Result<&[u8], Error> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let buffer = self.reader.fill_buf().map_err(Error::Stream)?;
        if buffer.is_empty() {
            return Err(Error::Stream(io::ErrorKind::UnexpectedEof.into()));
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        Ok(&buffer[..most])
    }

    /// Marks bytes of [`Entries::data`] as used.
    pub fn consume(&mut self, bytes: usize) {
        self.reader.consume(bytes);
        self.left -= bytes as u64;
    }

    /// Reads all data of a small entry.
    pub fn read_all(&mut self, limit: u64) -> Result<Vec<u8>, Error> {
        if self.left > limit {
            return Err(Error::header("an entry that is too large for what it should be"));
        }
        let mut bytes = Vec::new();
        loop {
            let piece = self.data()?;
            if piece.is_empty() {
                return Ok(bytes);
            }
            bytes.extend_from_slice(piece);
            let used = piece.len();
            self.consume(used);
        }
    }

    /// Reads what comes after the last entry, which counts for the digest of the whole.
    pub fn drain(mut self) -> Result<(), Error> {
        loop {
            let length = self.reader.fill_buf().map_err(Error::Stream)?.len();
            if length == 0 {
                return Ok(());
            }
            self.reader.consume(length);
        }
    }

    fn extension_data(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        if size > MAX_EXTENSION {
            return Err(Error::header("a name or a record of more than 1 MiB"));
        }
        self.read_all(MAX_EXTENSION)
    }

    fn header(&mut self) -> Result<Option<Header>, Error> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(Error::Stream(io::ErrorKind::UnexpectedEof.into())),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Stream(error)),
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The sum takes its own field for spaces.
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| i64::from(*byte)).sum::<i64>();
        let expected = sum(block) - sum(&block[CHECKSUM]) + 8 * i64::from(b' ');
        if field(block, CHECKSUM) != Some(expected) {
            return Err(Error::header("a header whose checksum is wrong"));
        }
        Ok(Some(header))
    }

    fn skip(&mut self, mut bytes: u64) -> Result<(), Error> {
        while bytes > 0 {
            let length = self.reader.fill_buf().map_err(Error::Stream)?.len();
            if length == 0 {
                return Err(Error::Stream(io::ErrorKind::UnexpectedEof.into()));
            }
            let used = usize::try_from(bytes).unwrap_or(usize::MAX).min(length);
            self.reader.consume(used);
            bytes -= used as u64;
        }
        Ok(())
    }
}

impl Extension {
    /// Reads records of the form `LENGTH KEY=VALUE\n`, where the value may hold any byte.
    fn read_pax(&mut self, mut data: &[u8]) -> Result<(), Error> {
        let malformed = || Error::header("a malformed PAX record");
        while !data.is_empty() {
            let space = data.iter().position(|byte| *byte == b' ').ok_or_else(malformed)?;
            let length: usize = number(&data[..space]).ok_or_else(malformed)?;
            if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
                return Err(malformed());
            }
            let record = &data[space + 1..length - 1];
            data = &data[length..];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => {
                    let size: Option<u64> = number(value).filter(|size| *size <= MAX_SIZE);
                    self.size = Some(size.ok_or_else(malformed)?);
                }
                b"uid" => self.uid = Some(number(value).ok_or_else(malformed)?),
                b"gid" => self.gid = Some(number(value).ok_or_else(malformed)?),
                b"mtime" => self.mtime = Some(time(value).ok_or_else(malformed)?),
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(Error::header("a sparse file, which no image should hold"));
                }
                key if key.starts_with(XATTR) => {
                    self.xattrs.push((key[XATTR.len()..].to_vec(), value.to_vec()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn complete(&mut self, header: &Header, kind: u8, size: u64) -> Result<Entry, Error> {
        let extension = std::mem::take(self);
        let path = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
        if path.contains(&0) {
            return Err(Error::header("a name with a zero byte"));
        }
        let kind = match kind {
            // Before POSIX a directory was a file whose name ends with a slash.
            0 | b'0' | b'7' if path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' | b'4' => Kind::Device,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            b'S' => return Err(Error::header("a sparse file, which no image should hold")),
            _ => return Err(Error::header("an entry of an unknown kind")),
        };
        let bytes = header.as_bytes();
        let id = |known: Option<u32>, place| match known {
            Some(id) => Ok(id),
            None => field(bytes, place)
                .and_then(|id| u32::try_from(id).ok())
                .ok_or_else(|| Error::header("an owner that is no number below 2³²")),
        };
        let mode = field(bytes, MODE).and_then(|mode| u32::try_from(mode).ok());
        let meta = Meta {
            uid: id(extension.uid, UID)?,
            gid: id(extension.gid, GID)?,
            mode: mode.ok_or_else(|| Error::header("permissions that are no number"))? & 0o7777,
            mtime: extension.mtime.unwrap_or_else(|| (field(bytes, MTIME).unwrap_or(0), 0)),
            xattrs: extension.xattrs,
        };
        let link = extension
            .link
            .unwrap_or_else(|| header.link_name_bytes().map_or_else(Vec::new, |name| name.into_owned()));
        if link.contains(&0) {
            return Err(Error::header("a link with a zero byte"));
        }
        Ok(Entry { path, kind, link, meta, size })
    }
}

/// Reads a number of a header: octal digits with spaces or zeros around, nothing at all (0), or GNU's binary form,
/// which the first bit announces.
fn field(header: &[u8; BLOCK], place: Range<usize>) -> Option<i64> {
    let bytes = &header[place];
    if bytes[0] & 0x80 != 0 {
        // Two's complement, big-endian; the bit beside the announcing one is the sign.
        let sign = if bytes[0] & 0x40 != 0 { -1 } else { 0 };
        let first = i128::from(bytes[0] & 0x3f) | (sign << 6);
        let value = bytes[1..].iter().fold(first, |value, byte| value << 8 | i128::from(*byte));
        return i64::try_from(value).ok();
    }
    let text = std::str::from_utf8(bytes).ok()?.trim_matches(['\0', ' ']);
    // Some writers leave rubbish after the zero that ends the digits.
    let digits = text.split(['\0', ' ']).next().unwrap_or_default();
    if digits.is_empty() { Some(0) } else { i64::from_str_radix(digits, 8).ok().filter(|value| *value >= 0) }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Seconds with a fraction, perhaps before 1970: `1700000000.25`, `-1.5`.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let seconds: i64 = whole.parse().ok()?;
    let digits = &fraction[..fraction.len().min(9)];
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds = format!("{digits:0<9}").parse::<u32>().ok()?;
    match (negative, nanoseconds) {
        (false, _) | (_, 0) => Some((seconds, nanoseconds)),
        (true, _) => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tar: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let mut entries = Entries::new(tar);
        let mut found = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            let data = entries.read_all(1 << 20)?;
            found.push((String::from_utf8_lossy(&entry.path).into_owned(), data));
        }
        Ok(found)
    }

    fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions(records.iter().copied()).expect("records");
        let mut header = Header::new_ustar();
        header.set_size(2);
        header.set_mode(0o644);
        builder.append_data(&mut header, "short", &b"ab"[..]).expect("an entry");
        builder.into_inner().expect("a tar")
    }

    #[test]
    fn binary_attributes_and_times_come_whole() {
        let value = b"\x01\n\x00=\n";
        let tar =
            pax(&[("SCHILY.xattr.security.capability", value), ("mtime", b"-1.25"), ("uid", b"3000000")]);
        let mut entries = Entries::new(&tar[..]);
        let entry = entries.next_entry().expect("read").expect("an entry");
        assert_eq!(entry.meta.xattrs, [(b"security.capability".to_vec(), value.to_vec())]);
        assert_eq!((entry.meta.mtime, entry.meta.uid), ((-2, 750_000_000), 3_000_000));
    }

    #[test]
    fn a_pax_path_wins_and_may_hold_a_line_feed() {
        assert_eq!(read(&pax(&[("path", b"a\nb")])).expect("read"), [("a\nb".to_owned(), b"ab".to_vec())]);
    }

    #[test]
    fn numbers_come_in_every_spelling() {
        let check = |bytes: &[u8], expected| {
            let mut header = [0; BLOCK];
            header[SIZE][..bytes.len()].copy_from_slice(bytes);
            assert_eq!(field(&header, SIZE), expected, "{bytes:?}");
        };
        check(b"00000000017\0", Some(15));
        check(b"     17 \0", Some(15));
        check(b"", Some(0));
        check(b"17\0x", Some(15));
        check(b"9", None);
        check(b"-1", None);
        check(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1], Some((2 << 32) + 1));
        check(&[0xff; 12], Some(-1));
        check(&[0xbf; 12], None);
    }

    #[test]
    fn what_is_no_tar_is_refused() {
        let whole = pax(&[]);
        let refused = |tar: &[u8], part: &str| {
            let error = crate::report::Report::from_error(
                crate::report::Exit::Failure,
                &read(tar).expect_err("must be refused"),
            )
            .to_string();
            assert!(error.contains(part), "{error}");
        };
        refused(&[b'x'; 1024], "checksum");
        refused(&whole[..700], "end of file");
        refused(&pax(&[("size", b"99999")]), "end of file");
        refused(&pax(&[("GNU.sparse.major", b"1")]), "sparse");
        let mut long = Header::new_gnu();
        long.set_entry_type(tar::EntryType::GNULongName);
        long.set_size(1 << 40);
        long.set_cksum();
        refused(long.as_bytes(), "1 MiB");
        assert_eq!(read(b"").expect("an empty stream is an empty layer"), []);
    }
}
