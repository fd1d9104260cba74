//! The processes of containers, from /proc.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::observed::{Container, Observed, State};

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its user, by name where the host knows one.
    pub user: String,
    /// Its id on the host.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Percent of a processor since it started.
    pub cpu: u64,
    /// When it started, in nanoseconds since the Unix epoch.
    pub started_ns: i64,
    /// Its terminal, or `?`.
    pub terminal: String,
    /// Seconds of processor time.
    pub seconds: u64,
    /// Its command line.
    pub command: String,
    /// Processor time.
    pub time: Duration,
    /// Its threads, the first one included.
    pub threads: u64,
    /// Bytes of memory that it has present, what it shares with others included.
    pub resident: u64,
}

/// A container with its processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processes {
    /// The container's name.
    pub name: String,
    /// The service.
    pub service: String,
    /// The number.
    pub number: u32,
    /// The processes, by id.
    pub processes: Vec<Process>,
}

/// Lists the processes of the running containers of services; no services are all.
///
/// A process belongs to a container when it is in the pid namespace of the container's main process (what `exec` has started
/// is, and descends from the keeper), or, where that namespace is shared, when it descends from it.
pub fn processes(observed: &Observed, services: &[String]) -> Vec<Processes> {
    let all = Snapshot::take();
    observed
        .containers
        .iter()
        .filter(|container| services.is_empty() || services.contains(&container.service))
        .filter_map(|container| {
            let State::Running { pid, .. } = container.state else { return None };
            Some(all.of(container, pid, observed))
        })
        .collect()
}

/// All processes of this moment.
struct Snapshot {
    stats: BTreeMap<i32, Stat>,
    boot_ns: i64,
    users: BTreeMap<u32, String>,
}

/// What `/proc/PID/stat` says (proc_pid_stat(5)).
struct Stat {
    parent: i32,
    terminal: i32,
    ticks: u64,
    threads: u64,
    start_ticks: u64,
}

/// Clock ticks a second, as user space sees them on every architecture that we run on (USER_HZ).
const TICKS: u64 = 100;

impl Snapshot {
    fn take() -> Snapshot {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let stats = pids.filter_map(|pid| {
            Some((pid, parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))
        });
        let boot = std::fs::read_to_string("/proc/stat").ok().and_then(|text| {
            text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<i64>().ok())
        });
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let users = passwd
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?;
                Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
            })
            .collect();
        Snapshot { stats: stats.collect(), boot_ns: boot.unwrap_or(0) * 1_000_000_000, users }
    }

    fn of(&self, container: &Container, main: i32, observed: &Observed) -> Processes {
        let own = self.namespace(main);
        let shared = own.is_none()
            || own == namespace(std::process::id())
            || observed.containers.iter().any(|other| {
                matches!(other.state, State::Running { pid, .. } if pid != main && self.namespace(pid) == own)
            });
        let belongs = |pid: i32| match shared {
            true => self.descends(pid, main),
            false => namespace(pid) == own,
        };
        let pids = self.stats.keys().copied().filter(|pid| *pid == main || belongs(*pid));
        Processes {
            name: container.name.clone(),
            service: container.service.clone(),
            number: container.number,
            processes: pids.filter_map(|pid| self.process(pid)).collect(),
        }
    }

    /// The pid namespace of a main process. Our init shows its own to nobody (it is undumpable, ptrace(2)), the program
    /// below it does.
    fn namespace(&self, main: i32) -> Option<PathBuf> {
        let below = || self.stats.iter().filter(|(_, stat)| stat.parent == main);
        namespace(main).or_else(|| below().find_map(|(pid, _)| namespace(pid)))
    }

    fn descends(&self, mut pid: i32, from: i32) -> bool {
        while let Some(stat) = self.stats.get(&pid) {
            if pid == from {
                return true;
            }
            pid = stat.parent;
        }
        false
    }

    fn process(&self, pid: i32) -> Option<Process> {
        use std::os::unix::fs::MetadataExt;
        let directory = format!("/proc/{pid}");
        let uid = std::fs::metadata(Path::new(&directory)).ok()?.uid();
        let stat = self.stats.get(&pid)?;
        let bytes = std::fs::read(format!("{directory}/cmdline")).unwrap_or_default();
        let words: Vec<String> = bytes
            .split(|byte| *byte == 0)
            .filter(|word| !word.is_empty())
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let started_ns =
            self.boot_ns + i64::try_from(stat.start_ticks * (1_000_000_000 / TICKS)).unwrap_or(0);
        let age_ticks = self.uptime_ticks().saturating_sub(stat.start_ticks).max(1);
        Some(Process {
            user: self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string()),
            pid,
            parent: stat.parent,
            cpu: stat.ticks * 100 / age_ticks,
            started_ns,
            terminal: terminal(stat.terminal),
            seconds: stat.ticks / TICKS,
            command: words.join(" "),
            time: Duration::from_millis(stat.ticks * (1000 / TICKS)),
            threads: stat.threads,
            resident: resident(&std::fs::read_to_string(format!("{directory}/status")).unwrap_or_default()),
        })
    }

    fn uptime_ticks(&self) -> u64 {
        let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let seconds: f64 = text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
        (seconds * TICKS as f64) as u64
    }
}

/// The pid namespace of a process, if we may know.
fn namespace(pid: impl Display) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// Reads a line of `/proc/PID/stat`; the name in parentheses may hold anything.
fn parse(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    // The first field after the name is the third of the manual.
    let number = |field: usize| fields.get(field - 3)?.parse::<i64>().ok();
    Some(Stat {
        parent: i32::try_from(number(4)?).ok()?,
        terminal: i32::try_from(number(7)?).ok()?,
        ticks: u64::try_from(number(14)? + number(15)?).ok()?,
        threads: u64::try_from(number(20)?).ok()?,
        start_ticks: u64::try_from(number(22)?).ok()?,
    })
}

/// The bytes that a process has present, from `/proc/PID/status` (proc_pid_status(5)), which counts in 1024.
fn resident(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The name of a terminal by its device number: major 136 and up are pts.
fn terminal(device: i32) -> String {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    match major {
        136..=143 => format!("pts/{}", minor + (major - 136) * 256),
        4 => format!("tty{minor}"),
        _ => "?".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let text = "7 (a) b (c) S 3 7 7 34817 7 4194560 1 2 3 4 150 50 5 6 20 0 1 0 4200 1 2";
        let stat = parse(text).expect("a stat");
        assert_eq!((stat.parent, stat.ticks, stat.start_ticks), (3, 200, 4200));
        assert_eq!(stat.threads, 1);
        assert_eq!(resident("Name:\tx\nVmRSS:\t    1024 kB\nThreads:\t1\n"), 1 << 20);
        assert_eq!(resident(""), 0);
        assert_eq!(terminal(stat.terminal), "pts/1");
        assert_eq!(terminal(0), "?");
    }
}
