//! Which id map this user gets, and what the user should know about it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::host::files;
use crate::host::idmap::{IdMap, free_range, granted};

/// What the choice depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Login name; the number where there is none.
    pub user: String,
    /// `/etc/subuid`, empty where it is missing.
    pub subuid: String,
    /// `/etc/subgid`.
    pub subgid: String,
    /// `/proc/self/uid_map`.
    pub own_uid_map: String,
    /// `/proc/self/gid_map`.
    pub own_gid_map: String,
    /// Where the setuid program `newuidmap` is.
    pub newuidmap: Option<PathBuf>,
    /// Where `newgidmap` is.
    pub newgidmap: Option<PathBuf>,
}

impl Facts {
    /// Reads them from this machine.
    pub fn read() -> Result<Facts, files::Error> {
        let text = |path: &str| {
            files::read_if_there(Path::new(path))
                .map(|bytes| String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
        };
        let uid = rustix::process::geteuid().as_raw();
        Ok(Facts {
            uid,
            gid: rustix::process::getegid().as_raw(),
            user: login_name(&text("/etc/passwd")?, uid),
            subuid: text("/etc/subuid")?,
            subgid: text("/etc/subgid")?,
            own_uid_map: text("/proc/self/uid_map")?,
            own_gid_map: text("/proc/self/gid_map")?,
            newuidmap: in_path("newuidmap"),
            newgidmap: in_path("newgidmap"),
        })
    }
}

/// Finds the user's name without the C library's plug-ins, which a static program cannot load.
fn login_name(passwd: &str, uid: u32) -> String {
    let number = uid.to_string();
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&number.as_str()))
        .and_then(|fields| fields.first().map(ToString::to_string))
        // A user of LDAP or of systemd-homed; newuidmap checks for itself whether the name is true.
        .or_else(|| std::env::var("USER").ok().filter(|name| !name.is_empty() && uid != 0))
        .unwrap_or(number)
}

/// Finds a program in PATH, and where distributions put it when PATH is bare.
fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin".into(), "/bin".into()])
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(program))
        .find(|candidate| fs::metadata(candidate).is_ok_and(|meta| meta.is_file()))
}

/// How a map comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Root: every id onto itself, written by the caller.
    Identity,
    /// Subordinate ids, written by newuidmap(1) and newgidmap(1).
    Subordinate,
    /// The user alone, written by the caller, with setgroups(2) denied.
    Single,
}

/// The chosen map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// How it is written.
    pub kind: Kind,
    /// The map.
    pub map: IdMap,
    /// Why it is less than it could be.
    pub notes: Vec<Note>,
}

/// What a user without subordinate ids should know once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// No usable line in `/etc/subuid` or `/etc/subgid`.
    NoSubordinateIds {
        /// Whose.
        user: String,
        /// `/etc/subuid`, `/etc/subgid`: those that lack a line.
        files: Vec<String>,
    },
    /// There are ranges, but the setuid programs that write them are not installed.
    NoMapPrograms {
        /// `newuidmap`, `newgidmap`: those that are missing.
        programs: Vec<String>,
    },
}

/// The command that gives a user subordinate ids which nobody has yet.
pub fn grant_ids(user: &str) -> String {
    // Files that cannot be read grant nothing that we could know of.
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (first, last) = free_range(&[&read("/etc/subuid"), &read("/etc/subgid")]);
    format!("usermod --add-subuids {first}-{last} --add-subgids {first}-{last} {user}")
}

impl Note {
    /// Says what is missing and what follows from it.
    pub fn message(&self) -> String {
        let effect = "files of an image that belong to other users than its root become yours, \
                      and programs inside cannot change to another user";
        match self {
            Note::NoSubordinateIds { user, files } => {
                format!("`{user}` has no subordinate ids in {}: {effect}", files.join(" and "))
            }
            Note::NoMapPrograms { programs } => {
                let names: Vec<_> = programs.iter().map(|name| format!("`{name}`")).collect();
                format!("{} not installed: {effect}", names.join(" and "))
            }
        }
    }

    /// Says what to type.
    pub fn mend(&self) -> String {
        match self {
            Note::NoSubordinateIds { user, .. } => format!("as an administrator, run `{}`", grant_ids(user)),
            Note::NoMapPrograms { .. } => {
                "install them: `apt install uidmap` on Debian and Ubuntu, `dnf install shadow-utils-subid` on Fedora"
                    .into()
            }
        }
    }
}

impl Mapping {
    /// Chooses the map. Pure.
    pub fn of(facts: &Facts) -> Mapping {
        if facts.uid == 0 {
            let map = IdMap::identity(&facts.own_uid_map, &facts.own_gid_map);
            return Mapping { kind: Kind::Identity, map, notes: Vec::new() };
        }
        let uids = granted(&facts.subuid, &facts.user, facts.uid);
        let gids = granted(&facts.subgid, &facts.user, facts.uid);
        let missing: Vec<_> = [("newuidmap", &facts.newuidmap), ("newgidmap", &facts.newgidmap)]
            .into_iter()
            .filter(|(_, found)| found.is_none())
            .map(|(name, _)| name.to_owned())
            .collect();
        let single = |note| Mapping {
            kind: Kind::Single,
            map: IdMap::single(facts.uid, facts.gid),
            notes: vec![note],
        };
        match IdMap::subordinate(facts.uid, facts.gid, &uids, &gids) {
            Some(map) if missing.is_empty() => Mapping { kind: Kind::Subordinate, map, notes: Vec::new() },
            Some(_) => single(Note::NoMapPrograms { programs: missing }),
            None => {
                let files = [("/etc/subuid", uids.is_empty()), ("/etc/subgid", gids.is_empty())]
                    .into_iter()
                    .filter(|(_, empty)| *empty)
                    .map(|(name, _)| name.to_owned())
                    .collect();
                single(Note::NoSubordinateIds { user: facts.user.clone(), files })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> Facts {
        Facts {
            uid: 1000,
            gid: 1000,
            user: "ada".into(),
            subuid: "ada:100000:65536\n".into(),
            subgid: "ada:200000:65536\n".into(),
            own_uid_map: "0 0 4294967295\n".into(),
            own_gid_map: "0 0 4294967295\n".into(),
            newuidmap: Some("/usr/bin/newuidmap".into()),
            newgidmap: Some("/usr/bin/newgidmap".into()),
        }
    }

    fn check(facts: Facts, kind: Kind, note: &str) {
        let mapping = Mapping::of(&facts);
        assert_eq!(mapping.kind, kind, "{facts:?}");
        let notes: Vec<_> = mapping.notes.iter().map(Note::message).collect();
        assert!(notes.join("\n").starts_with(note) && notes.is_empty() == note.is_empty(), "{notes:?}");
        assert_eq!(mapping.map.is_single(), kind == Kind::Single);
    }

    #[test]
    fn root_users_with_and_without_ranges_get_their_map() {
        check(Facts { uid: 0, ..ada() }, Kind::Identity, "");
        check(ada(), Kind::Subordinate, "");
        check(
            Facts { subuid: String::new(), subgid: String::new(), ..ada() },
            Kind::Single,
            "`ada` has no subordinate ids in /etc/subuid and /etc/subgid",
        );
        check(
            Facts { subgid: "bob:1:2".into(), ..ada() },
            Kind::Single,
            "`ada` has no subordinate ids in /etc/subgid:",
        );
        check(Facts { newgidmap: None, ..ada() }, Kind::Single, "`newgidmap` not installed");
    }

    #[test]
    fn a_name_is_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n";
        assert_eq!(login_name(passwd, 1000), "ada");
        assert_eq!(login_name(passwd, 0), "root");
    }
}
