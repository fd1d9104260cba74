//! Changes of owners that somebody else answers.
//!
//! Where a user namespace has a single id, the kernel refuses every owner but that one. Whoever wants `chown` to work all
//! the same has the calls told to it (seccomp_unotify(2)) and remembers what they say; see the builder's `run::owners`.

use std::os::fd::{AsFd, OwnedFd};

use super::bpf::{ARCHITECTURE, Instruction, LOAD, NUMBER, OWN_ARCHITECTURE, RETURN, packed};
use super::error::{Error, failed};
use crate::sys::seccomp;
use crate::sys::socket::send_with_fds;

#[cfg(target_arch = "x86_64")]
const CALLS: &[libc::c_long] = &[libc::SYS_chown, libc::SYS_lchown, libc::SYS_fchown, libc::SYS_fchownat];
#[cfg(target_arch = "aarch64")]
const CALLS: &[libc::c_long] = &[libc::SYS_fchown, libc::SYS_fchownat];

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

/// An array of `struct sock_filter`: the calls of [`CALLS`] are told, all others allowed, those of the 32-bit relatives too.
fn filter() -> Vec<u8> {
    let rest = CALLS.len() as u8;
    let mut program = vec![
        Instruction::plain(LOAD, ARCHITECTURE),
        Instruction::if_equal(OWN_ARCHITECTURE, 0, rest + 1),
        Instruction::plain(LOAD, NUMBER),
    ];
    for (at, call) in CALLS.iter().enumerate() {
        program.push(Instruction::if_equal(*call as u32, rest - at as u8, 0));
    }
    program.push(Instruction::plain(RETURN, libc::SECCOMP_RET_ALLOW));
    program.push(Instruction::plain(RETURN, libc::SECCOMP_RET_USER_NOTIF));
    packed(program)
}

#[cfg(test)]
mod tests {
    use super::super::bpf::run;
    use super::*;

    #[test]
    fn changes_of_owners_are_told_and_nothing_else() {
        let answer = |architecture, call: libc::c_long| {
            run(&filter(), |field| if field == NUMBER { call as u32 } else { architecture })
        };
        for call in CALLS {
            assert_eq!(answer(OWN_ARCHITECTURE, *call), libc::SECCOMP_RET_USER_NOTIF, "{call}");
            assert_eq!(answer(0x4000_0003, *call), libc::SECCOMP_RET_ALLOW, "of i386");
        }
        for call in [libc::SYS_read, libc::SYS_fchmod, libc::SYS_execve] {
            assert_eq!(answer(OWN_ARCHITECTURE, call), libc::SECCOMP_RET_ALLOW, "{call}");
        }
    }
}
