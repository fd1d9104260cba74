//! Capabilities: names, numbers, the usual set, and what `cap_add`, `cap_drop` and `privileged` make of it. Pure.

use std::fmt;

/// Names by number, without `CAP_`: capabilities(7), numbers of linux/capability.h up to Linux 5.9, the newest one.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has unless told otherwise: Docker's fourteen.
const USUAL: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A name that is no capability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a capability; capabilities(7) lists them")]
pub struct Unknown {
    /// As it was written.
    pub name: String,
}

/// A set of capabilities: bit N is the capability with number N.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Set(pub u64);

impl Set {
    /// Returns all that we know; the kernel may know fewer (`/proc/sys/kernel/cap_last_cap`).
    pub fn all() -> Set {
        Set((1 << NAMES.len()) - 1)
    }

    /// Reads names, with or without `CAP_`, in either case.
    pub fn from_names(names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Set, Unknown> {
        names.into_iter().try_fold(Set::default(), |set, name| {
            let name = name.as_ref();
            parse(name).map(|number| set.with(number)).ok_or_else(|| Unknown { name: name.to_owned() })
        })
    }

    /// Returns whether a number is in it.
    pub fn contains(self, number: u8) -> bool {
        number < 64 && self.0 & (1 << number) != 0
    }

    /// Returns the set with one more.
    pub fn with(self, number: u8) -> Set {
        Set(self.0 | (1 << number))
    }

    /// Returns the set without those of another.
    pub fn without(self, other: Set) -> Set {
        Set(self.0 & !other.0)
    }

    /// Returns the set and another together.
    pub fn and(self, other: Set) -> Set {
        Set(self.0 | other.0)
    }

    /// Returns the numbers in it, ascending.
    pub fn numbers(self) -> impl Iterator<Item = u8> {
        (0..NAMES.len() as u8).filter(move |number| self.contains(*number))
    }

    /// Returns the names in it, with `CAP_`, by number.
    pub fn names(self) -> Vec<String> {
        self.numbers().filter_map(name).collect()
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// Returns the number of a capability named with or without `CAP_`, in either case.
pub fn parse(name: &str) -> Option<u8> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == bare).map(|number| number as u8)
}

/// Returns the name of a number, with `CAP_`.
pub fn name(number: u8) -> Option<String> {
    NAMES.get(usize::from(number)).map(|name| format!("CAP_{name}"))
}

/// Returns Docker's usual fourteen.
pub fn default_set() -> Set {
    USUAL.iter().filter_map(|name| parse(name)).fold(Set::default(), Set::with)
}

/// Applies `cap_add` and `cap_drop` to the usual set as Docker does; `ALL` is every one.
///
/// `ALL` added wins over `ALL` dropped; a single one that is both dropped and added is had, but one that is dropped
/// from an added `ALL` is not. Privileged containers have all, whatever else is said.
pub fn resolve(add: &[impl AsRef<str>], drop: &[impl AsRef<str>], privileged: bool) -> Result<Set, Unknown> {
    let (added, add_all) = split_all(add.iter().map(AsRef::as_ref))?;
    let (dropped, drop_all) = split_all(drop.iter().map(AsRef::as_ref))?;
    Ok(match (privileged, add_all, drop_all) {
        (true, _, _) => Set::all(),
        (_, true, _) => Set::all().without(dropped),
        (_, _, true) => added,
        _ => default_set().without(dropped).and(added),
    })
}

fn split_all<'a>(names: impl Iterator<Item = &'a str>) -> Result<(Set, bool), Unknown> {
    let (all, single): (Vec<_>, Vec<_>) =
        names.partition(|name| name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL"));
    Ok((Set::from_names(single)?, !all.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        let check = |name, number| assert_eq!(parse(name), Some(number), "{name}");
        check("CAP_CHOWN", 0);
        check("kill", 5);
        check("Cap_Sys_Admin", 21);
        check("SETFCAP", 31);
        check("CAP_CHECKPOINT_RESTORE", 40);
        assert_eq!(parse("CAP_"), None);
        assert_eq!(parse("SYS_ADMIN "), None);
        assert_eq!(name(40).as_deref(), Some("CAP_CHECKPOINT_RESTORE"));
        assert_eq!(name(41), None);
        // The mask that /proc/PID/status shows inside a container of Docker.
        assert_eq!(default_set().0, 0xa804_25fb);
    }

    fn check(add: &str, drop: &str, expected: &str) {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let set = resolve(&words(add), &words(drop), false).expect("known names");
        let usual = default_set();
        let mut difference: Vec<_> =
            set.without(usual).names().iter().map(|name| format!("+{name}")).collect();
        difference.extend(usual.without(set).names().iter().map(|name| format!("-{name}")));
        assert_eq!(difference.join(" "), expected, "add {add:?} drop {drop:?}");
    }

    #[test]
    fn adding_and_dropping_are_dockers() {
        check("", "", "");
        check("NET_ADMIN", "", "+CAP_NET_ADMIN");
        check("CAP_NET_ADMIN net_admin", "mknod", "+CAP_NET_ADMIN -CAP_MKNOD");
        check("MKNOD", "MKNOD", "");
        let all_but_kill: Vec<_> = default_set().without(Set::default().with(5)).names();
        check(
            "KILL",
            "ALL",
            &all_but_kill.iter().map(|name| format!("-{name}")).collect::<Vec<_>>().join(" "),
        );
    }

    #[test]
    fn all_and_privileged() {
        let none: [&str; 0] = [];
        assert_eq!(resolve(&["ALL"], &none, false), Ok(Set::all()));
        assert_eq!(resolve(&["all"], &["ALL"], false), Ok(Set::all()));
        assert_eq!(resolve(&["ALL"], &["KILL"], false), Ok(Set::all().without(Set::default().with(5))));
        assert_eq!(resolve(&none, &["ALL"], false), Ok(Set::default()));
        assert_eq!(resolve(&none, &["ALL"], true), Ok(Set::all()));
        assert_eq!(resolve(&["NET"], &none, false), Err(Unknown { name: "NET".into() }));
    }

    #[test]
    fn names_come_back() {
        assert_eq!(Set::from_names(Set::all().names()), Ok(Set::all()));
        assert_eq!(Set::all().numbers().count(), 41);
    }
}
