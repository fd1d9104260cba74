//! What a step prints, cut into pieces for whoever listens.

use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A line that is not finished is shown after this: a question, a bar that grows.
const PATIENCE: Duration = Duration::from_millis(200);
/// Longer lines come in pieces.
const LONGEST: usize = 32 << 10;

/// Reads a pipe to its end. `tell` gets whole lines, with their ends, or what has come after a while.
pub fn follow(mut pipe: File, began: Instant, tell: &dyn Fn(Duration, String)) -> io::Result<()> {
    let mut pending: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    loop {
        if !pending.is_empty() && !comes(&pipe)? {
            tell(began.elapsed(), take_text(&mut pending, true));
        }
        match pipe.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => pending.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        let whole = pending.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole > 0 {
            let rest = pending.split_off(whole);
            let mut lines = std::mem::replace(&mut pending, rest);
            tell(began.elapsed(), take_text(&mut lines, true));
        } else if pending.len() > LONGEST {
            tell(began.elapsed(), take_text(&mut pending, false));
        }
    }
    if !pending.is_empty() {
        tell(began.elapsed(), take_text(&mut pending, true));
    }
    Ok(())
}

/// Whether something comes before patience is at its end.
fn comes(pipe: &File) -> io::Result<bool> {
    let wait = Timespec { tv_sec: 0, tv_nsec: PATIENCE.as_nanos() as _ };
    let mut watched = [PollFd::new(pipe, PollFlags::IN)];
    match poll(&mut watched, Some(&wait)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Takes the bytes as text. Unless `all`, the beginning of a character at the end stays for later.
fn take_text(bytes: &mut Vec<u8>, all: bool) -> String {
    let keep = match std::str::from_utf8(bytes) {
        Err(error) if !all && error.error_len().is_none() => bytes.len() - error.valid_up_to(),
        _ => 0,
    };
    let rest = bytes.split_off(bytes.len() - keep);
    let taken = std::mem::replace(bytes, rest);
    String::from_utf8_lossy(&taken).into_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use super::*;

    fn check(pieces: &[&[u8]], expected: &[&str]) {
        let (read, write) = std::io::pipe().expect("a pipe");
        let (read, mut write) = (File::from(std::os::fd::OwnedFd::from(read)), write);
        let heard = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                follow(read, Instant::now(), &|_, text| heard.lock().expect("whole").push(text))
                    .expect("read");
            });
            for piece in pieces {
                write.write_all(piece).expect("written");
                // What comes first is heard before more is written.
                while heard.lock().expect("whole").iter().map(String::len).sum::<usize>() == 0 {
                    std::thread::yield_now();
                }
            }
            drop(write);
        });
        assert_eq!(heard.into_inner().expect("whole").concat(), expected.concat());
    }

    #[test]
    fn lines_come_whole_and_nothing_is_lost() {
        check(&[b"a\nb", b"c\nd"], &["a\n", "bc\n", "d"]);
        check(&[b"no end"], &["no end"]);
        check(&["é\n".as_bytes()], &["é\n"]);
        check(&[b"\xff\n"], &["\u{fffd}\n"]);
    }

    #[test]
    fn a_character_is_not_cut_in_two() {
        let mut bytes = vec![b'a', 0xc3];
        assert_eq!(take_text(&mut bytes, false), "a");
        bytes.push(0xa9);
        assert_eq!(take_text(&mut bytes, false), "é");
    }
}
