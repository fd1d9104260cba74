//! A gap in a system call filter that only we know: what remains to be done behind it, whatever the user's profile says.
//!
//! A process in another's pid namespace is born with its filter, so the one that has it needs clone(2) behind the filter,
//! and it setsid(2). A profile may forbid both. They are let through with a random number in the sixth argument, which
//! neither of them has.

use std::hash::{BuildHasher, RandomState};

/// Codes of linux/bpf_common.h, put together: load a word, jump if equal, return.
const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// Where the fields of `struct seccomp_data` are.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const SIXTH: u32 = 56;
/// The most instructions that the kernel takes.
const LONGEST: usize = 4096;

#[cfg(target_arch = "x86_64")]
const OURS: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const OURS: u32 = 0xc000_00b7;

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
    let gap: [(u16, u8, u8, u32); 10] = [
        (LOAD, 0, 0, ARCHITECTURE),
        (IF_EQUAL, 0, 8, OURS),
        (LOAD, 0, 0, NUMBER),
        (IF_EQUAL, 1, 0, libc::SYS_clone as u32),
        (IF_EQUAL, 0, 5, libc::SYS_setsid as u32),
        (LOAD, 0, 0, SIXTH),
        (IF_EQUAL, 0, 3, low),
        (LOAD, 0, 0, SIXTH + 4),
        (IF_EQUAL, 0, 1, high),
        (RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    if filter.len() / 8 + gap.len() > LONGEST {
        return filter;
    }
    let bytes = |(code, yes, no, value): (u16, u8, u8, u32)| {
        let [a, b] = code.to_ne_bytes();
        let [c, d, e, f] = value.to_ne_bytes();
        [a, b, yes, no, c, d, e, f]
    };
    gap.into_iter().flat_map(bytes).chain(filter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: u32 = libc::SECCOMP_RET_KILL_PROCESS;

    /// What a filter that refuses all says of a call behind the gap, as the kernel would run it.
    fn run(architecture: u32, number: libc::c_long, sixth: u64) -> u32 {
        let [a, b, c, d] = REFUSED.to_ne_bytes();
        let program = before(vec![RETURN as u8, 0, 0, 0, a, b, c, d], 0x1122_3344_5566_7788);
        let (mut at, mut word) = (0, 0);
        loop {
            let bytes: [u8; 8] = program[at * 8..at * 8 + 8].try_into().expect("an instruction");
            let value = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            at += 1;
            match u16::from_ne_bytes([bytes[0], bytes[1]]) {
                LOAD => {
                    word = match value {
                        NUMBER => number as u32,
                        ARCHITECTURE => architecture,
                        SIXTH => sixth as u32,
                        _ => (sixth >> 32) as u32,
                    }
                }
                IF_EQUAL => at += usize::from(if word == value { bytes[2] } else { bytes[3] }),
                RETURN => return value,
                other => panic!("no code {other}"),
            }
        }
    }

    #[test]
    fn two_calls_pass_with_the_key_and_all_else_is_the_filters() {
        const KEY: u64 = 0x1122_3344_5566_7788;
        for call in [libc::SYS_clone, libc::SYS_setsid] {
            assert_eq!(run(OURS, call, KEY), libc::SECCOMP_RET_ALLOW, "{call}");
            for wrong in [0, KEY ^ 1, KEY ^ 1 << 40] {
                assert_eq!(run(OURS, call, wrong), REFUSED, "{call} {wrong:x}");
            }
            assert_eq!(run(0x4000_0003, call, KEY), REFUSED, "{call} of i386");
        }
        for call in [libc::SYS_read, libc::SYS_execve, libc::SYS_clone3, libc::SYS_unshare] {
            assert_eq!(run(OURS, call, KEY), REFUSED, "{call}");
        }
        assert_eq!(before(vec![0; 8 * 4090], KEY).len(), 8 * 4090);
    }
}
