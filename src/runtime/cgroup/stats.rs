//! What a container uses: the kernel's counters of both versions as one set of numbers.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Numbers of one moment; `None` is not counted on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// CPU time used since the start.
    pub cpu: Option<Duration>,
    /// Bytes of memory, without the page cache that could be dropped at once (as Docker counts).
    pub memory: Option<u64>,
    /// The limit of memory in bytes, where there is one.
    pub memory_limit: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Bytes read from block devices.
    pub block_read: Option<u64>,
    /// Bytes written to block devices.
    pub block_written: Option<u64>,
}

impl Stats {
    /// Reads from the directories that `group` finds by controller.
    pub(super) fn read<'a>(group: impl Fn(&str) -> Option<&'a Path>) -> Stats {
        let file = |controller: &str, name: &str| fs::read_to_string(group(controller)?.join(name)).ok();
        let number = |controller: &str, name: &str| file(controller, name)?.trim().parse::<u64>().ok();
        let cpu = file("unified", "cpu.stat")
            .and_then(|text| field(&text, "usage_usec"))
            .map(Duration::from_micros)
            .or_else(|| number("cpuacct", "cpuacct.usage").map(Duration::from_nanos));
        let used = number("memory", "memory.current").or_else(|| number("memory", "memory.usage_in_bytes"));
        let droppable = file("memory", "memory.stat")
            .and_then(|text| field(&text, "total_inactive_file").or_else(|| field(&text, "inactive_file")));
        let limit = number("memory", "memory.max").or_else(|| number("memory", "memory.limit_in_bytes"));
        let tasks = || {
            let listed = file("unified", "cgroup.threads").or_else(|| file("freezer", "tasks"));
            listed.map(|text| text.lines().count() as u64)
        };
        let block = file("io", "io.stat")
            .map(|text| sum_io_stat(&text))
            .or_else(|| file("blkio", "blkio.throttle.io_service_bytes").map(|text| sum_blkio(&text)));
        Stats {
            cpu,
            memory: used.map(|used| used.saturating_sub(droppable.unwrap_or(0))),
            // v1 says "none" with a number near 2^63.
            memory_limit: limit.filter(|limit| *limit < 1 << 62),
            pids: number("pids", "pids.current").or_else(tasks),
            block_read: block.map(|(read, _)| read),
            block_written: block.map(|(_, written)| written),
        }
    }
}

/// Returns how often the kernel killed in this group for want of memory.
pub(super) fn oom_kills(directory: &Path) -> u64 {
    ["memory.events", "memory.oom_control"]
        .iter()
        .filter_map(|name| fs::read_to_string(directory.join(name)).ok())
        .find_map(|text| field(&text, "oom_kill"))
        .unwrap_or(0)
}

/// Takes the number behind a name in lines `NAME NUMBER`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Adds up lines `8:0 rbytes=1 wbytes=2 …` of v2.
fn sum_io_stat(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        text.split_whitespace()
            .filter_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse::<u64>().ok())
            .sum()
    };
    (sum("rbytes"), sum("wbytes"))
}

/// Adds up lines `8:0 Read 1` of v1.
fn sum_blkio(text: &str) -> (u64, u64) {
    let sum = |kind: &str| {
        text.lines()
            .filter_map(|line| {
                let mut words = line.split(' ').skip(1);
                (words.next()? == kind).then(|| words.next()?.parse::<u64>().ok())?
            })
            .sum()
    };
    (sum("Read"), sum("Write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_whole_words() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(field(text, "oom_kill"), Some(3));
        assert_eq!(field(text, "oom"), None);
    }

    #[test]
    fn block_numbers_add_up() {
        let two = "8:0 rbytes=10 wbytes=1 rios=5\n8:16 rbytes=5 wbytes=2 dbytes=9\n";
        assert_eq!(sum_io_stat(two), (15, 3));
        let one = "8:0 Read 10\n8:0 Write 1\n8:0 Total 11\n8:16 Read 5\nTotal 16\n";
        assert_eq!(sum_blkio(one), (15, 1));
    }

    #[test]
    fn both_versions_read_alike() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        let check = |files: &[(&str, &str)], expected: Stats| {
            for (name, text) in files {
                fs::write(path.join(name), text).expect("written");
            }
            assert_eq!(Stats::read(|_| Some(path)), expected);
            for (name, _) in files {
                fs::remove_file(path.join(name)).expect("removed");
            }
        };
        let expected = Stats {
            cpu: Some(Duration::from_micros(1500)),
            memory: Some(900),
            memory_limit: None,
            pids: Some(4),
            block_read: Some(10),
            block_written: Some(1),
        };
        check(
            &[
                ("cpu.stat", "usage_usec 1500\nuser_usec 1\n"),
                ("memory.current", "1000\n"),
                ("memory.stat", "anon 5\ninactive_file 100\n"),
                ("memory.max", "max\n"),
                ("pids.current", "4\n"),
                ("io.stat", "8:0 rbytes=10 wbytes=1\n"),
            ],
            expected.clone(),
        );
        check(
            &[
                ("cpuacct.usage", "1500000\n"),
                ("memory.usage_in_bytes", "1000\n"),
                ("memory.stat", "inactive_file 7\ntotal_inactive_file 100\n"),
                ("memory.limit_in_bytes", "9223372036854771712\n"),
                ("tasks", "1\n2\n3\n4\n"),
                ("blkio.throttle.io_service_bytes", "8:0 Read 10\n8:0 Write 1\n"),
            ],
            expected,
        );
    }
}
