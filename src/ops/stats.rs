//! What containers use: by their control groups, or where they have none, by their processes in /proc.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use super::call::call_if_there;
use super::observed::{Container, Observed, State};
use super::top::{self, Processes};
use super::{Session, status};
use crate::api::message::{Reply, Request, Stats};
use crate::report::Report;

/// What a container has used until a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `None` when it does not run.
    pub counted: Option<Counted>,
}

/// Numbers of a running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// When they were taken.
    pub at: Instant,
    /// Processor time since it started.
    pub cpu: Duration,
    /// Bytes of memory.
    pub memory: u64,
    /// How many it may have: its limit, or what the machine has.
    pub memory_limit: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes received and sent, over all interfaces but the loopback.
    pub network: (u64, u64),
    /// Bytes read from block devices and written to them.
    pub block: (u64, u64),
}

/// Takes the numbers of the containers of services; no services are all. With `all`, also of those that do not run.
pub fn take(
    session: &Session<'_>,
    project: &str,
    services: &[String],
    all: bool,
) -> Result<Vec<Usage>, Report> {
    let observed = status::observed(session, project)?;
    let grouped = match call_if_there(session, project, Request::Stats)? {
        Some(Reply::Stats { stats }) => stats,
        _ => BTreeMap::new(),
    };
    let processes = top::processes(&observed, services);
    let machine = machine_memory();
    let mut found: Vec<Usage> = chosen(&observed, services)
        .map(|container| {
            let counted = match container.state {
                State::Running { pid, .. } => {
                    let own = processes.iter().find(|processes| processes.name == container.name);
                    Some(count(pid, grouped.get(&container.name), own, machine))
                }
                _ => None,
            };
            Usage { id: container.id.0.clone(), name: container.name.clone(), counted }
        })
        .filter(|usage| all || usage.counted.is_some())
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn chosen<'a>(observed: &'a Observed, services: &'a [String]) -> impl Iterator<Item = &'a Container> {
    observed
        .containers
        .iter()
        .filter(|container| services.is_empty() || services.contains(&container.service))
}

fn count(main: i32, group: Option<&Stats>, own: Option<&Processes>, machine: u64) -> Counted {
    let none = Stats::default();
    let group = group.unwrap_or(&none);
    let processes = own.map(|own| own.processes.as_slice()).unwrap_or_default();
    let sum = |of: fn(&top::Process) -> u64| processes.iter().map(of).sum();
    Counted {
        at: Instant::now(),
        cpu: group.cpu.unwrap_or_else(|| processes.iter().map(|process| process.time).sum()),
        memory: group.memory.unwrap_or_else(|| sum(|process| process.resident)),
        memory_limit: group.memory_limit.filter(|limit| *limit < machine).unwrap_or(machine),
        pids: group.pids.unwrap_or_else(|| sum(|process| process.threads)),
        network: fs::read_to_string(format!("/proc/{main}/net/dev"))
            .map(|text| interfaces(&text))
            .unwrap_or_default(),
        block: (group.block_read.unwrap_or(0), group.block_written.unwrap_or(0)),
    }
}

/// Adds up received and sent bytes of `/proc/PID/net/dev` (proc_pid_net(5)): the first and the ninth number.
fn interfaces(text: &str) -> (u64, u64) {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let numbers = lines.filter(|(name, _)| name.trim() != "lo").map(|(_, rest)| {
        let mut fields = rest.split_whitespace().map(|field| field.parse::<u64>().unwrap_or(0));
        (fields.next().unwrap_or(0), fields.nth(7).unwrap_or(0))
    });
    numbers.fold((0, 0), |sum, (received, sent)| (sum.0 + received, sum.1 + sent))
}

/// What the machine has of memory, in bytes.
fn machine_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// Percent of one processor between two moments.
pub fn cpu_percent(before: &Counted, now: &Counted) -> f64 {
    let passed = now.at.saturating_duration_since(before.at).as_secs_f64();
    match passed > 0.0 {
        true => now.cpu.saturating_sub(before.cpu).as_secs_f64() / passed * 100.0,
        false => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_added_up_but_the_loopback() {
        let text = "Inter-|   Receive                |  Transmit\n face |bytes packets|bytes\n    \
                    lo: 900 9 0 0 0 0 0 0 900 9 0 0 0 0 0 0\n  eth0: 100 1 0 0 0 0 0 0 200 2 0 0 0 0 0 0\n  \
                    eth1:30 1 0 0 0 0 0 0 4 2 0 0 0 0 0 0\n";
        assert_eq!(interfaces(text), (130, 204));
    }

    #[test]
    fn a_process_that_is_always_busy_uses_a_hundred_percent() {
        let at = Instant::now();
        let counted = |milliseconds: u64, cpu: u64| Counted {
            at: at + Duration::from_millis(milliseconds),
            cpu: Duration::from_millis(cpu),
            memory: 1,
            memory_limit: 2,
            pids: 1,
            network: (0, 0),
            block: (0, 0),
        };
        assert_eq!(cpu_percent(&counted(0, 50), &counted(500, 550)), 100.0);
        assert_eq!(cpu_percent(&counted(0, 50), &counted(500, 50)), 0.0);
        assert_eq!(cpu_percent(&counted(0, 50), &counted(0, 60)), 0.0);
    }

    #[test]
    fn what_no_group_counts_is_counted_by_processes() {
        let process = |resident| top::Process {
            user: "a".into(),
            pid: 1,
            parent: 0,
            cpu: 0,
            started_ns: 0,
            terminal: "?".into(),
            seconds: 0,
            command: "c".into(),
            time: Duration::from_millis(30),
            threads: 2,
            resident,
        };
        let own = Processes {
            name: "n".into(),
            service: "s".into(),
            number: 1,
            processes: vec![process(10), process(5)],
        };
        let counted = count(-1, None, Some(&own), 100);
        assert_eq!(
            (counted.cpu, counted.memory, counted.memory_limit, counted.pids),
            (Duration::from_millis(60), 15, 100, 4)
        );
        let group = Stats { memory: Some(7), memory_limit: Some(50), pids: Some(1), ..Stats::default() };
        let counted = count(-1, Some(&group), Some(&own), 100);
        assert_eq!((counted.memory, counted.memory_limit, counted.pids), (7, 50, 1));
    }
}
