//! Changes of owners that somebody else answers.
//!
//! Where a user namespace has a single id, the kernel refuses every owner but that one. Whoever wants `chown` to work all
//! the same has the calls told to it (seccomp_unotify(2)) and remembers what they say; see the builder's `run::owners`.

use std::os::fd::{AsFd, OwnedFd};

use super::error::{Error, failed};
use crate::sys::seccomp;
use crate::sys::socket::send_with_fds;

/// Codes of linux/bpf_common.h, put together: load a word, jump if equal, return.
const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// Where the fields of `struct seccomp_data` are.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

#[cfg(target_arch = "x86_64")]
const OURS: (u32, &[libc::c_long]) =
    (0xc000_003e, &[libc::SYS_chown, libc::SYS_lchown, libc::SYS_fchown, libc::SYS_fchownat]);
#[cfg(target_arch = "aarch64")]
const OURS: (u32, &[libc::c_long]) = (0xc000_00b7, &[libc::SYS_fchown, libc::SYS_fchownat]);

/// Has this process and all that come of it tell their changes of owners; sends the place where they are told to a socket.
///
/// While CAP_SYS_ADMIN is there: a filter needs no no_new_privs then.
pub(super) fn tell(socket: &OwnedFd) -> Result<(), Error> {
    let listener = seccomp::load_asking_filter(&filter())
        .map_err(failed("install", "the filter that tells changes of owners"))?;
    send_with_fds(socket, b"o", &[listener.as_fd()])
        .map(drop)
        .map_err(failed("send", "the place where changes of owners are told"))
}

/// An array of `struct sock_filter`: the calls of [`OURS`] are told, all others allowed, those of the 32-bit relatives too.
fn filter() -> Vec<u8> {
    let (architecture, calls) = OURS;
    let mut program: Vec<(u16, u8, u8, u32)> = Vec::new();
    let rest = calls.len() as u8;
    program.push((LOAD, 0, 0, ARCHITECTURE));
    program.push((IF_EQUAL, 0, rest + 1, architecture));
    program.push((LOAD, 0, 0, NUMBER));
    for (at, call) in calls.iter().enumerate() {
        program.push((IF_EQUAL, rest - at as u8, 0, *call as u32));
    }
    program.push((RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    program.push((RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF));
    let bytes = |(code, yes, no, value): (u16, u8, u8, u32)| {
        let [a, b] = code.to_ne_bytes();
        let [c, d, e, f] = value.to_ne_bytes();
        [a, b, yes, no, c, d, e, f]
    };
    program.into_iter().flat_map(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter says of a call, as the kernel would run it.
    fn run(architecture: u32, number: u32) -> u32 {
        let program = filter();
        let (mut at, mut word) = (0, 0);
        loop {
            let bytes: [u8; 8] = program[at * 8..at * 8 + 8].try_into().expect("an instruction");
            let value = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            at += 1;
            match u16::from_ne_bytes([bytes[0], bytes[1]]) {
                LOAD => word = if value == NUMBER { number } else { architecture },
                IF_EQUAL => at += usize::from(if word == value { bytes[2] } else { bytes[3] }),
                RETURN => return value,
                other => panic!("no code {other}"),
            }
        }
    }

    #[test]
    fn changes_of_owners_are_told_and_nothing_else() {
        let (architecture, calls) = OURS;
        for call in calls {
            assert_eq!(run(architecture, *call as u32), libc::SECCOMP_RET_USER_NOTIF, "{call}");
            assert_eq!(run(0x4000_0003, *call as u32), libc::SECCOMP_RET_ALLOW, "of i386");
        }
        for call in [libc::SYS_read, libc::SYS_fchmod, libc::SYS_execve] {
            assert_eq!(run(architecture, call as u32), libc::SECCOMP_RET_ALLOW, "{call}");
        }
    }
}
