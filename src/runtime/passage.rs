//! A gap in a system call filter that only we know: what remains to be done behind it, whatever the user's profile says.
//!
//! A process in another's pid namespace is born with its filter, so the one that has it needs clone(2) behind the filter,
//! and it setsid(2). A profile may forbid both. They are let through with a random number in the sixth argument, which
//! neither of them has.

use std::hash::{BuildHasher, RandomState};

use super::bpf::{
    ARCHITECTURE, ARGUMENTS, Instruction, LOAD, LONGEST, NUMBER, OWN_ARCHITECTURE, RETURN, packed,
};

/// Where the sixth argument is.
const SIXTH: u32 = ARGUMENTS + 8 * 5;

/// Returns a number that nobody guesses: `RandomState` is keyed by the kernel's random numbers.
pub(super) fn key() -> u64 {
    RandomState::new().hash_one(0)
}

/// Puts the gap before a filter, an array of `struct sock_filter`. One for which there is no room stays as it is.
///
/// Calls other than the two are told apart by number and architecture alone, so the kernel goes on to remember which of
/// them are always allowed.
pub(super) fn before(filter: Vec<u8>, key: u64) -> Vec<u8> {
    let (low, high) = (key as u32, (key >> 32) as u32);
    let gap = [
        Instruction::plain(LOAD, ARCHITECTURE),
        Instruction::if_equal(OWN_ARCHITECTURE, 0, 8),
        Instruction::plain(LOAD, NUMBER),
        Instruction::if_equal(libc::SYS_clone as u32, 1, 0),
        Instruction::if_equal(libc::SYS_setsid as u32, 0, 5),
        Instruction::plain(LOAD, SIXTH),
        Instruction::if_equal(low, 0, 3),
        Instruction::plain(LOAD, SIXTH + 4),
        Instruction::if_equal(high, 0, 1),
        Instruction::plain(RETURN, libc::SECCOMP_RET_ALLOW),
    ];
    if filter.len() / 8 + gap.len() > LONGEST {
        return filter;
    }
    let mut program = packed(gap);
    program.extend(filter);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: u32 = libc::SECCOMP_RET_KILL_PROCESS;

    /// What a filter that refuses all says of a call behind the gap, as the kernel would run it.
    fn run(architecture: u32, number: libc::c_long, sixth: u64) -> u32 {
        let refusing = packed([Instruction::plain(RETURN, REFUSED)]);
        super::super::bpf::run(&before(refusing, 0x1122_3344_5566_7788), |field| match field {
            NUMBER => number as u32,
            ARCHITECTURE => architecture,
            SIXTH => sixth as u32,
            _ => (sixth >> 32) as u32,
        })
    }

    #[test]
    fn two_calls_pass_with_the_key_and_all_else_is_the_filters() {
        const KEY: u64 = 0x1122_3344_5566_7788;
        for call in [libc::SYS_clone, libc::SYS_setsid] {
            assert_eq!(run(OWN_ARCHITECTURE, call, KEY), libc::SECCOMP_RET_ALLOW, "{call}");
            for wrong in [0, KEY ^ 1, KEY ^ 1 << 40] {
                assert_eq!(run(OWN_ARCHITECTURE, call, wrong), REFUSED, "{call} {wrong:x}");
            }
            assert_eq!(run(0x4000_0003, call, KEY), REFUSED, "{call} of i386");
        }
        for call in [libc::SYS_read, libc::SYS_execve, libc::SYS_clone3, libc::SYS_unshare] {
            assert_eq!(run(OWN_ARCHITECTURE, call, KEY), REFUSED, "{call}");
        }
        assert_eq!(before(vec![0; 8 * 4090], KEY).len(), 8 * 4090);
    }
}
