//! Programs of another architecture: whether the kernel was told by what they are run (binfmt_misc).
//!
//! An entry counts when its magic is the beginning of an ELF file for the architecture, whatever the entry is called, and
//! when it has the flag `F`: its interpreter was opened when it was registered, so that it is found inside of any root.

use std::fs;
use std::path::Path;

/// Where the kernel lists what it was told.
const ENTRIES: &str = "/proc/sys/fs/binfmt_misc";
/// Where in an ELF file stand its class (32 or 64 bits), its byte order, and its machine.
const CLASS: usize = 4;
const ORDER: usize = 5;
const MACHINE: usize = 18;

/// Whether programs of an architecture, in OCI's words, are run by something.
pub fn is_registered(architecture: &str) -> bool {
    let Some(wanted) = elf(architecture) else { return false };
    let Ok(entries) = fs::read_dir(Path::new(ENTRIES)) else { return false };
    entries.flatten().any(|entry| fs::read_to_string(entry.path()).is_ok_and(|text| serves(&text, wanted)))
}

/// Class, byte order and machine of an architecture's programs (elf(5)).
fn elf(architecture: &str) -> Option<(u8, u8, u16)> {
    const LITTLE: u8 = 1;
    const BIG: u8 = 2;
    Some(match architecture {
        "386" => (1, LITTLE, 3),
        "amd64" => (2, LITTLE, 62),
        "arm" => (1, LITTLE, 40),
        "arm64" => (2, LITTLE, 183),
        "loong64" => (2, LITTLE, 258),
        "mips64le" => (2, LITTLE, 8),
        "ppc64" => (2, BIG, 21),
        "ppc64le" => (2, LITTLE, 21),
        "riscv64" => (2, LITTLE, 243),
        "s390x" => (2, BIG, 22),
        _ => return None,
    })
}

/// Whether the entry with this description serves such programs.
fn serves(text: &str, (class, order, machine): (u8, u8, u16)) -> bool {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let magic = field("magic ").map(bytes).unwrap_or_default();
    let at = |place: usize| magic.get(place).copied();
    let found = match (at(MACHINE), at(MACHINE + 1)) {
        (Some(first), Some(second)) if order == 1 => u16::from_le_bytes([first, second]),
        (Some(first), Some(second)) => u16::from_be_bytes([first, second]),
        _ => return false,
    };
    text.lines().next() == Some("enabled")
        && field("flags:").is_some_and(|flags| flags.contains('F'))
        && field("offset ") == Some("0")
        && magic.starts_with(b"\x7fELF")
        && (at(CLASS), at(ORDER), found) == (Some(class), Some(order), machine)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.bytes().filter_map(|byte| char::from(byte).to_digit(16)).map(|it| it as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_known_by_its_magic() {
        let entry = |state: &str, flags: &str| {
            format!(
                "{state}\ninterpreter /usr/libexec/any-name\nflags: {flags}\noffset 0\n\
                 magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n"
            )
        };
        let arm64 = elf("arm64").expect("known");
        assert!(serves(&entry("enabled", "OCF"), arm64));
        assert!(!serves(&entry("disabled", "OCF"), arm64));
        assert!(!serves(&entry("enabled", "OC"), arm64), "its interpreter is not in the image");
        for other in ["amd64", "arm", "riscv64", "s390x"] {
            assert!(!serves(&entry("enabled", "OCF"), elf(other).expect("known")), "{other}");
        }
        assert!(!serves("enabled\n", arm64) && elf("z80").is_none());
    }
}
