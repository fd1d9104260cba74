//! Where our own group is in each hierarchy: `/proc/self/cgroup` against `/proc/self/mountinfo`. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The directories of the group that a process is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    /// By v1 controller.
    pub v1: BTreeMap<String, PathBuf>,
    /// In the v2 hierarchy, which has the controllers that v1 has not.
    pub v2: Option<PathBuf>,
}

impl Tree {
    /// Reads proc_pid_mountinfo(5) and the lines `ID:CONTROLLERS:PATH` of cgroups(7).
    pub fn read(mountinfo: &str, own: &str) -> Tree {
        let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
        let mut tree = Tree::default();
        for line in own.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if controllers.is_empty() {
                tree.v2 = mounts.iter().rev().filter(|mount| mount.v2).find_map(|mount| mount.place(path));
                continue;
            }
            for controller in controllers.split(',') {
                let found = mounts
                    .iter()
                    .rev()
                    .filter(|mount| !mount.v2 && mount.options.split(',').any(|option| option == controller))
                    .find_map(|mount| mount.place(path));
                if let Some(directory) = found {
                    tree.v1.insert(controller.to_owned(), directory);
                }
            }
        }
        tree
    }
}

struct Mount<'a> {
    /// Which part of the hierarchy is mounted.
    root: &'a str,
    point: PathBuf,
    v2: bool,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Mount<'a>> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, point) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, _, options) = (after.next()?, after.next()?, after.next()?);
        let v2 = match kind {
            "cgroup2" => true,
            "cgroup" => false,
            _ => return None,
        };
        Some(Mount { root, point: PathBuf::from(unescape(point)), v2, options })
    }

    /// Returns where a path of the hierarchy is, if it is below what is mounted.
    fn place(&self, path: &str) -> Option<PathBuf> {
        let below = Path::new(path).strip_prefix(self.root).ok()?;
        // A group above the root of our cgroup namespace shows as `/..`, and is nowhere for us.
        let inside = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        // Joining nothing would end in a slash.
        let place = if below == Path::new("") { self.point.clone() } else { self.point.join(below) };
        inside.then_some(place)
    }
}

/// The kernel writes blanks and backslashes as `\040`.
fn unescape(text: &str) -> String {
    let mut plain = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) if byte == b'\\' => {
                plain.push(code);
                rest = &tail[3..];
            }
            _ => {
                plain.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mountinfo: &str, own: &str, expected: &str) {
        let tree = Tree::read(mountinfo, own);
        let mut found: Vec<_> =
            tree.v1.iter().map(|(name, path)| format!("{name}={}", path.display())).collect();
        found.extend(tree.v2.map(|path| format!("v2={}", path.display())));
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn hybrid() {
        check(
            "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            "9:name=systemd:/\n4:memory:/api/03\n1:cpu,cpuacct:/\n0::/\n",
            "cpu=/sys/fs/cgroup/cpu,cpuacct cpuacct=/sys/fs/cgroup/cpu,cpuacct memory=/sys/fs/cgroup/memory/api/03 \
             name=systemd=/sys/fs/cgroup/systemd v2=/sys/fs/cgroup/unified",
        );
    }

    #[test]
    fn unified() {
        check(
            "26 23 0:23 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/rcompose-p.scope\n",
            "v2=/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/rcompose-p.scope",
        );
    }

    #[test]
    fn only_a_part_is_mounted() {
        check("1 1 0:1 /docker/a /c\\040g ro - cgroup2 c rw\n", "0::/docker/a/b\n", "v2=/c g/b");
        check("1 1 0:1 /docker/a /cg ro - cgroup2 c rw\n", "0::/docker\n", "");
        check("1 1 0:1 / /cg ro - cgroup2 c rw\n", "0::/../../x\n", "");
    }
}
