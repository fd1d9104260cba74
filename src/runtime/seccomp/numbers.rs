//! Names of system calls to their numbers, for each calling convention that a machine's kernel offers. Pure.

use std::str::FromStr;

use super::Error;

/// A machine that we run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    X86_64,
    Aarch64,
}

/// What the kernel reports as `arch` in `struct seccomp_data`: linux/audit.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audit {
    /// 64-bit; `x32` says whether the convention with 32-bit pointers is judged too, which has the same token.
    X86_64 {
        x32: bool,
    },
    I386,
    Aarch64,
    Arm,
}

/// An architecture as profiles write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
    /// One of another machine.
    Foreign,
}

/// The bit in the numbers of x32: asm/unistd.h.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// Where arm's private calls begin: no number between the last ordinary one and this will ever be given.
pub(super) const ARM_PRIVATE: u32 = 0x000f_0000;

impl Machine {
    /// Finds the machine by Rust's name for it.
    pub fn named(name: &str) -> Result<Machine, Error> {
        match name {
            "x86_64" => Ok(Machine::X86_64),
            "aarch64" => Ok(Machine::Aarch64),
            other => Err(Error::Machine { machine: other.to_owned() }),
        }
    }

    /// Returns the name that profiles use in `includes.arches`: Go's.
    pub fn go_name(self) -> &'static str {
        match self {
            Machine::X86_64 => "amd64",
            Machine::Aarch64 => "arm64",
        }
    }

    /// Returns what is judged: the machine's own convention always, its relatives if the profile names them.
    pub fn audits(self, named: &[Architecture]) -> Vec<Audit> {
        let has = |architecture| named.contains(&architecture);
        match self {
            Machine::X86_64 => {
                let own = Audit::X86_64 { x32: has(Architecture::X32) };
                if has(Architecture::X86) { vec![own, Audit::I386] } else { vec![own] }
            }
            Machine::Aarch64 if has(Architecture::Arm) => vec![Audit::Aarch64, Audit::Arm],
            Machine::Aarch64 => vec![Audit::Aarch64],
        }
    }
}

impl Architecture {
    pub fn parse(name: &str) -> Architecture {
        match name {
            "SCMP_ARCH_X86_64" => Architecture::X86_64,
            "SCMP_ARCH_X86" => Architecture::X86,
            "SCMP_ARCH_X32" => Architecture::X32,
            "SCMP_ARCH_AARCH64" => Architecture::Aarch64,
            "SCMP_ARCH_ARM" => Architecture::Arm,
            _ => Architecture::Foreign,
        }
    }
}

impl Audit {
    /// Returns the kernel's token: ELF machine, bit 31 for 64 bits, bit 30 for little endian.
    pub fn token(self) -> u32 {
        match self {
            Audit::X86_64 { .. } => 0xc000_003e,
            Audit::I386 => 0x4000_0003,
            Audit::Aarch64 => 0xc000_00b7,
            Audit::Arm => 0x4000_0028,
        }
    }

    /// Returns the numbers of a call under this token; none where it does not exist.
    pub fn numbers(self, name: &str) -> Vec<u32> {
        match self {
            Audit::X86_64 { x32 } => {
                let own = x86_64(name);
                let other = x32_number(name).filter(|_| x32).map(|number| number | X32_BIT);
                own.into_iter().chain(other).collect()
            }
            Audit::I386 => number::<syscalls::x86::Sysno>(name, |found| found.id()).into_iter().collect(),
            Audit::Aarch64 => {
                // The kernel's table and libseccomp have this name for what our table calls `fstatat`.
                let name = if name == "newfstatat" { "fstatat" } else { name };
                number::<syscalls::aarch64::Sysno>(name, |found| found.id()).into_iter().collect()
            }
            Audit::Arm => arm(name).into_iter().collect(),
        }
    }
}

fn number<T: FromStr>(name: &str, id: impl Fn(T) -> i32) -> Option<u32> {
    u32::try_from(id(T::from_str(name).ok()?)).ok()
}

fn x86_64(name: &str) -> Option<u32> {
    match name {
        // Beside the common table, and not in ours: linux/arch/x86/entry/syscalls/syscall_64.tbl.
        "uretprobe" => Some(335),
        _ => number::<syscalls::x86_64::Sysno>(name, |found| found.id()),
    }
}

fn arm(name: &str) -> Option<u32> {
    // asm/unistd.h, __ARM_NR_BASE.
    match name {
        "breakpoint" => Some(ARM_PRIVATE + 1),
        "cacheflush" => Some(ARM_PRIVATE + 2),
        "set_tls" => Some(ARM_PRIVATE + 5),
        _ => number::<syscalls::arm::Sysno>(name, |found| found.id()),
    }
}

/// Calls that have a number of their own under x32, since they pass pointers within memory: syscall_64.tbl.
const X32_OWN: [&str; 36] = [
    "rt_sigaction",
    "rt_sigreturn",
    "ioctl",
    "readv",
    "writev",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "execve",
    "ptrace",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "sigaltstack",
    "timer_create",
    "mq_notify",
    "kexec_load",
    "waitid",
    "set_robust_list",
    "get_robust_list",
    "vmsplice",
    "move_pages",
    "preadv",
    "pwritev",
    "rt_tgsigqueueinfo",
    "recvmmsg",
    "sendmmsg",
    "process_vm_readv",
    "process_vm_writev",
    "setsockopt",
    "getsockopt",
    "io_setup",
    "io_submit",
    "execveat",
    "preadv2",
    "pwritev2",
];

/// The number without [`X32_BIT`].
fn x32_number(name: &str) -> Option<u32> {
    match X32_OWN.iter().position(|own| *own == name) {
        Some(position) => Some(512 + position as u32),
        None => x86_64(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        let check = |audit: Audit, name: &str, expected: &[u32]| {
            assert_eq!(audit.numbers(name), expected, "{audit:?} {name}");
        };
        let both = Audit::X86_64 { x32: true };
        check(both, "read", &[0, X32_BIT]);
        check(both, "ioctl", &[16, X32_BIT + 514]);
        check(both, "pwritev2", &[328, X32_BIT + 547]);
        check(both, "mmap2", &[]);
        check(Audit::X86_64 { x32: false }, "clone3", &[435]);
        check(Audit::X86_64 { x32: false }, "uretprobe", &[335]);
        check(Audit::I386, "mmap2", &[192]);
        check(Audit::I386, "socketcall", &[102]);
        check(Audit::Aarch64, "openat", &[56]);
        check(Audit::Aarch64, "open", &[]);
        check(Audit::Aarch64, "newfstatat", &[79]);
        check(Audit::Arm, "open", &[5]);
        check(Audit::Arm, "cacheflush", &[0xf0002]);
    }
}
