//! The words of filters of system calls: instructions of the kernel's classic BPF machine, and what they look at.

/// Codes of linux/bpf_common.h, put together.
pub(super) const LOAD: u16 = 0x20;
/// Keeps the bits of a mask.
pub(super) const AND: u16 = 0x54;
/// Skips always.
pub(super) const GOTO: u16 = 0x05;
/// Skips if equal.
pub(super) const IF_EQUAL: u16 = 0x15;
/// Skips if greater.
pub(super) const IF_GREATER: u16 = 0x25;
/// Skips if greater or equal.
pub(super) const IF_GREATER_OR_EQUAL: u16 = 0x35;
/// Ends with an answer.
pub(super) const RETURN: u16 = 0x06;

/// BPF_MAXINSNS.
pub(super) const LONGEST: usize = 4096;

/// Where the fields of `struct seccomp_data` are: linux/seccomp.h.
pub(super) const NUMBER: u32 = 0;
/// As above.
pub(super) const ARCHITECTURE: u32 = 4;
/// As above: the first of six, each of eight bytes.
pub(super) const ARGUMENTS: u32 = 16;

/// AUDIT_ARCH_* of linux/audit.h for this program.
#[cfg(target_arch = "x86_64")]
pub(super) const OWN_ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(super) const OWN_ARCHITECTURE: u32 = 0xc000_00b7;

/// `struct sock_filter` of linux/filter.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub code: u16,
    /// How many to skip if true.
    pub yes: u8,
    /// How many to skip if false.
    pub no: u8,
    pub value: u32,
}

impl Instruction {
    /// One that is followed by the next.
    pub fn plain(code: u16, value: u32) -> Instruction {
        Instruction { code, yes: 0, no: 0, value }
    }

    /// One that skips so many if the value is found, and so many if not.
    pub fn if_equal(value: u32, yes: u8, no: u8) -> Instruction {
        Instruction { code: IF_EQUAL, yes, no, value }
    }
}

/// Returns a program as the kernel takes it: an array of `struct sock_filter`.
pub(super) fn packed(program: impl IntoIterator<Item = Instruction>) -> Vec<u8> {
    let bytes = |Instruction { code, yes, no, value }: Instruction| {
        let [a, b] = code.to_ne_bytes();
        let [c, d, e, f] = value.to_ne_bytes();
        [a, b, yes, no, c, d, e, f]
    };
    program.into_iter().flat_map(bytes).collect()
}

/// What a filter answers to a call, as the kernel would run it; `field` is what stands at a place of `struct seccomp_data`.
#[cfg(test)]
pub(super) fn run(program: &[u8], field: impl Fn(u32) -> u32) -> u32 {
    let (mut at, mut word) = (0, 0);
    loop {
        let bytes: [u8; 8] = program[at * 8..at * 8 + 8].try_into().expect("an instruction");
        let value = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        at += 1;
        let is = |yes: bool| usize::from(if yes { bytes[2] } else { bytes[3] });
        match u16::from_ne_bytes([bytes[0], bytes[1]]) {
            LOAD => word = field(value),
            AND => word &= value,
            GOTO => at += value as usize,
            IF_EQUAL => at += is(word == value),
            IF_GREATER => at += is(word > value),
            IF_GREATER_OR_EQUAL => at += is(word >= value),
            RETURN => return value,
            other => panic!("no code {other}"),
        }
    }
}
