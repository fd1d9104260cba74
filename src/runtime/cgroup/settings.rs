//! Limits to what is written into which file, for both versions. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::runtime::spec::Limits;

/// A limit, displayed as users write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Bytes of memory.
    Memory,
    /// Memory that reclaim leaves alone.
    MemoryReservation,
    /// Memory and swap together.
    MemorySwap,
    /// CPU time.
    Cpus,
    /// CPU weight.
    CpuShares,
    /// Which CPUs.
    Cpuset,
    /// Number of processes and threads.
    Pids,
    /// Block I/O weight.
    BlkioWeight,
    /// Never killed when out of memory.
    OomKillDisable,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Memory => "mem_limit",
            Limit::MemoryReservation => "mem_reservation",
            Limit::MemorySwap => "memswap_limit",
            Limit::Cpus => "cpus",
            Limit::CpuShares => "cpu_shares",
            Limit::Cpuset => "cpuset",
            Limit::Pids => "pids_limit",
            Limit::BlkioWeight => "blkio_config.weight",
            Limit::OomKillDisable => "oom_kill_disable",
        })
    }
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// For whose sake.
    pub limit: Limit,
    /// The controller that must be there.
    pub controller: &'static str,
    /// Files and their values; the first file that is there is written.
    pub files: Vec<(&'static str, String)>,
    /// Whether the user asked for it, so that a failure is told.
    pub asked: bool,
}

/// The CFS period where none is given, in µs: the kernel's own.
const PERIOD: u64 = 100_000;

/// Returns all limits that are asked for, in the order of the settings.
pub(super) fn asked(limits: &Limits) -> Vec<Limit> {
    let mut asked: Vec<_> = v2(limits).into_iter().filter(|setting| setting.asked).map(|s| s.limit).collect();
    if limits.oom_kill_disable {
        asked.push(Limit::OomKillDisable);
    }
    asked
}

/// Collects settings of one version.
struct Settings(Vec<Setting>);

impl Settings {
    fn add(&mut self, limit: Limit, controller: &'static str, file: &'static str, value: impl ToString) {
        self.0.push(Setting { limit, controller, files: vec![(file, value.to_string())], asked: true });
    }
}

/// Returns what v1 needs. Memory stands before memory and swap: the kernel wants memory ≤ both at every instant,
/// and a fresh group has neither.
pub(super) fn v1(limits: &Limits) -> Vec<Setting> {
    let mut settings = Settings(Vec::new());
    if let Some(bytes) = limits.memory {
        settings.add(Limit::Memory, "memory", "memory.limit_in_bytes", bytes);
    }
    if let Some(bytes) = limits.memory_reservation {
        settings.add(Limit::MemoryReservation, "memory", "memory.soft_limit_in_bytes", bytes);
    }
    if let Some((both, asked)) = memory_and_swap(limits) {
        let value = both.map_or("-1".to_owned(), |bytes| bytes.to_string());
        settings.add(Limit::MemorySwap, "memory", "memory.memsw.limit_in_bytes", value);
        settings.0.last_mut().expect("just added").asked = asked;
    }
    if limits.oom_kill_disable {
        settings.add(Limit::OomKillDisable, "memory", "memory.oom_control", 1);
    }
    if let Some((quota, period)) = cpu_time(limits) {
        settings.add(Limit::Cpus, "cpu", "cpu.cfs_period_us", period);
        settings.add(Limit::Cpus, "cpu", "cpu.cfs_quota_us", quota.map_or(-1, |quota| quota as i64));
    }
    if let Some(shares) = limits.cpu_shares {
        settings.add(Limit::CpuShares, "cpu", "cpu.shares", shares);
    }
    common(limits, &mut settings);
    if let Some(weight) = limits.blkio_weight {
        settings.add(Limit::BlkioWeight, "blkio", "blkio.weight", weight);
        settings.0.last_mut().expect("just added").files.push(("blkio.bfq.weight", weight.to_string()));
    }
    settings.0
}

/// Returns what v2 needs. [`Limit::OomKillDisable`] has no setting there.
pub(super) fn v2(limits: &Limits) -> Vec<Setting> {
    let mut settings = Settings(Vec::new());
    if let Some(bytes) = limits.memory {
        settings.add(Limit::Memory, "memory", "memory.max", bytes);
    }
    if let Some(bytes) = limits.memory_reservation {
        settings.add(Limit::MemoryReservation, "memory", "memory.low", bytes);
    }
    if let Some((both, asked)) = memory_and_swap(limits) {
        // v2 counts swap by itself.
        let swap = both.map(|bytes| bytes.saturating_sub(limits.memory.unwrap_or(0)));
        settings.add(Limit::MemorySwap, "memory", "memory.swap.max", max_or(swap));
        settings.0.last_mut().expect("just added").asked = asked;
    }
    if let Some((quota, period)) = cpu_time(limits) {
        settings.add(Limit::Cpus, "cpu", "cpu.max", format!("{} {period}", max_or(quota)));
    }
    if let Some(shares) = limits.cpu_shares {
        settings.add(Limit::CpuShares, "cpu", "cpu.weight", weight_of_shares(shares));
    }
    common(limits, &mut settings);
    if let Some(weight) = limits.blkio_weight {
        settings.add(Limit::BlkioWeight, "io", "io.bfq.weight", weight);
        let scaled = 1 + u64::from(weight.clamp(10, 1000) - 10) * 9999 / 990;
        settings.0.last_mut().expect("just added").files.push(("io.weight", format!("default {scaled}")));
    }
    settings.0
}

/// The same in both versions.
fn common(limits: &Limits, settings: &mut Settings) {
    if let Some(pids) = limits.pids {
        // Docker takes 0 and -1 for no limit.
        settings.add(Limit::Pids, "pids", "pids.max", max_or((pids > 0).then_some(pids)));
    }
    if let Some(cpus) = &limits.cpuset {
        settings.add(Limit::Cpuset, "cpuset", "cpuset.cpus", cpus);
    }
}

fn max_or(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "max".to_owned(), |value| value.to_string())
}

/// Returns memory and swap together (`None` is unlimited) and whether the user said so; without a word Docker allows
/// as much swap as memory.
fn memory_and_swap(limits: &Limits) -> Option<(Option<u64>, bool)> {
    match (limits.memory, limits.memory_swap) {
        (Some(memory), None | Some(0)) => Some((Some(memory.saturating_mul(2)), false)),
        (_, Some(swap)) if swap < 0 => Some((None, true)),
        (_, Some(swap)) if swap > 0 => Some((Some(swap as u64), true)),
        _ => None,
    }
}

/// Returns quota (`None` is unlimited) and period in µs.
fn cpu_time(limits: &Limits) -> Option<(Option<u64>, u64)> {
    let period = limits.cpu_period.filter(|period| *period > 0);
    if let Some(milli) = limits.cpu_milli.filter(|milli| *milli > 0) {
        // The kernel takes no quota below 1 ms.
        return Some((Some((milli.saturating_mul(PERIOD) / 1000).max(1000)), PERIOD));
    }
    match limits.cpu_quota {
        Some(quota) if quota > 0 => Some((Some(quota as u64), period.unwrap_or(PERIOD))),
        Some(quota) if quota < 0 => Some((None, period.unwrap_or(PERIOD))),
        _ => period.map(|period| (None, period)),
    }
}

/// Maps shares 2 … 262144 to weights 1 … 10000, as systemd and runc did for years.
fn weight_of_shares(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    1 + (shares - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(settings: &[Setting]) -> String {
        let one = |setting: &Setting| {
            let files: Vec<_> = setting.files.iter().map(|(file, value)| format!("{file}={value}")).collect();
            format!("{}{}", files.join("|"), if setting.asked { "" } else { "?" })
        };
        settings.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    fn check(limits: Limits, one: &str, two: &str) {
        assert_eq!(show(&v1(&limits)), one);
        assert_eq!(show(&v2(&limits)), two);
    }

    #[test]
    fn memory() {
        let mib = 1 << 20;
        check(
            Limits { memory: Some(64 * mib), ..Limits::default() },
            "memory.limit_in_bytes=67108864 memory.memsw.limit_in_bytes=134217728?",
            "memory.max=67108864 memory.swap.max=67108864?",
        );
        check(
            Limits { memory: Some(64 * mib), memory_swap: Some(64 * mib as i64), ..Limits::default() },
            "memory.limit_in_bytes=67108864 memory.memsw.limit_in_bytes=67108864",
            "memory.max=67108864 memory.swap.max=0",
        );
        check(
            Limits {
                memory: Some(mib),
                memory_swap: Some(-1),
                memory_reservation: Some(7),
                ..Limits::default()
            },
            "memory.limit_in_bytes=1048576 memory.soft_limit_in_bytes=7 memory.memsw.limit_in_bytes=-1",
            "memory.max=1048576 memory.low=7 memory.swap.max=max",
        );
        check(Limits { oom_kill_disable: true, ..Limits::default() }, "memory.oom_control=1", "");
    }

    #[test]
    fn cpu() {
        check(
            Limits { cpu_milli: Some(1500), ..Limits::default() },
            "cpu.cfs_period_us=100000 cpu.cfs_quota_us=150000",
            "cpu.max=150000 100000",
        );
        check(
            Limits { cpu_milli: Some(u64::MAX), ..Limits::default() },
            "cpu.cfs_period_us=100000 cpu.cfs_quota_us=18446744073709551",
            "cpu.max=18446744073709551 100000",
        );
        check(
            Limits { cpu_quota: Some(5000), cpu_period: Some(10_000), ..Limits::default() },
            "cpu.cfs_period_us=10000 cpu.cfs_quota_us=5000",
            "cpu.max=5000 10000",
        );
        check(
            Limits { cpu_quota: Some(-1), ..Limits::default() },
            "cpu.cfs_period_us=100000 cpu.cfs_quota_us=-1",
            "cpu.max=max 100000",
        );
        check(
            Limits { cpu_milli: Some(1), ..Limits::default() },
            "cpu.cfs_period_us=100000 cpu.cfs_quota_us=1000",
            "cpu.max=1000 100000",
        );
        check(Limits { cpu_shares: Some(1024), ..Limits::default() }, "cpu.shares=1024", "cpu.weight=39");
        check(Limits { cpu_shares: Some(2), ..Limits::default() }, "cpu.shares=2", "cpu.weight=1");
        check(
            Limits { cpu_shares: Some(262_144), ..Limits::default() },
            "cpu.shares=262144",
            "cpu.weight=10000",
        );
    }

    #[test]
    fn the_rest() {
        check(
            Limits { pids: Some(50), cpuset: Some("0-1,3".into()), ..Limits::default() },
            "pids.max=50 cpuset.cpus=0-1,3",
            "pids.max=50 cpuset.cpus=0-1,3",
        );
        check(Limits { pids: Some(-1), ..Limits::default() }, "pids.max=max", "pids.max=max");
        check(
            Limits { blkio_weight: Some(500), ..Limits::default() },
            "blkio.weight=500|blkio.bfq.weight=500",
            "io.bfq.weight=500|io.weight=default 4950",
        );
        check(Limits::default(), "", "");
    }

    #[test]
    fn what_was_asked_for_is_known_without_any_controller() {
        let limits = Limits { memory: Some(1), pids: Some(2), oom_kill_disable: true, ..Limits::default() };
        assert_eq!(asked(&limits), [Limit::Memory, Limit::Pids, Limit::OomKillDisable]);
        assert_eq!(asked(&Limits::default()), []);
    }
}
