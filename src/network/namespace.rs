//! Fresh network namespaces: for a container, and for a network.
//!
//! To be called on a [`Hopper`](super::hopper::Hopper) only: the calling thread stands in the new namespace afterwards.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, unshare};

use super::error::Error;
use super::links;
use super::netlink::{Batch, Socket};

/// Loopback is the first link of every namespace.
pub const LOOPBACK: u32 = 1;

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Kernel { action, subject: "a network namespace".to_owned(), source }
}

/// Makes a network namespace and leaves the calling thread in it.
pub fn make_empty() -> io::Result<OwnedFd> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    // The thread's own: /proc/self is the first thread of the process, which stays in the host's.
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

/// Makes the namespace of a container: loopback up, sysctls as Docker sets them.
pub fn for_container() -> Result<OwnedFd, Error> {
    let namespace = make_empty().map_err(failed("make"))?;
    // Inherited from the host, where Docker may have switched it on; a container on two networks is no router.
    write_sysctl("ipv4/ip_forward", "0")?;
    write_sysctl("ipv4/ip_unprivileged_port_start", "0")?;
    allow_ping()?;
    // IPv4 only for now: no link-local addresses on what will be attached. Loopback keeps ::1.
    write_sysctl("ipv6/conf/default/disable_ipv6", "1")?;
    let mut batch = Batch::new();
    links::set_up(&mut batch, LOOPBACK);
    batch.acknowledge_last();
    let socket = Socket::route().map_err(failed("speak to"))?;
    socket.send(&batch).map_err(|source| Error::Netlink { subject: "a container".to_owned(), source })?;
    Ok(namespace)
}

/// Makes the namespace of a network, with nothing in it yet but its rules of the road.
pub fn for_network() -> Result<OwnedFd, Error> {
    let namespace = make_empty().map_err(failed("make"))?;
    // Networks are isolated because nothing routes between them.
    write_sysctl("ipv4/ip_forward", "0")?;
    // Packets come here from and for addresses that are not on this link: that is the point of the namespace. The
    // kernel takes the larger of `all` and the interface's, and both are inherited from the host.
    for interface in ["all", "default", "lo"] {
        write_sysctl(&format!("ipv4/conf/{interface}/rp_filter"), "0")?;
    }
    write_sysctl("ipv6/conf/default/disable_ipv6", "1")?;
    // Where br_netfilter is loaded, frames between containers would pass the rules for packets to us.
    for family in ["ip", "ip6", "arp"] {
        // Before Linux 5.3 they belong to the host alone and stay as they are: that costs time, and changes nothing.
        let _ = write_sysctl(&format!("bridge/bridge-nf-call-{family}tables"), "0");
    }
    Ok(namespace)
}

/// Writes a sysctl below `net/` of the namespace in which the thread stands; absent ones are passed over.
fn write_sysctl(name: &str, value: &str) -> Result<(), Error> {
    // Without O_CREAT: what the kernel does not have cannot be made.
    let path = format!("/proc/sys/net/{name}");
    let result =
        OpenOptions::new().write(true).open(&path).and_then(|mut file| file.write_all(value.as_bytes()));
    match result {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::Kernel { action: "write", subject: path, source })
        }
        _ => Ok(()),
    }
}

/// Lets every group that exists in the user namespace send ICMP echo requests without privileges, as Docker does.
fn allow_ping() -> Result<(), Error> {
    let groups = fs::read_to_string("/proc/self/gid_map")
        .map_err(|source| Error::File { path: "/proc/self/gid_map".into(), source })?;
    // The kernel refuses groups that the map does not have, and compares with both ends.
    match last_mapped_group(&groups) {
        Some(last) => write_sysctl("ipv4/ping_group_range", &format!("0 {last}")),
        None => Ok(()),
    }
}

/// Returns the last group of the unbroken run from 0 on in a gid_map(5), at most the largest that the sysctl takes.
fn last_mapped_group(map: &str) -> Option<u32> {
    let mut ranges: Vec<(u64, u64)> = map
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().map(|field| field.parse::<u64>().ok());
            Some((fields.next()??, fields.nth(1)??))
        })
        .collect();
    ranges.sort_unstable();
    let mut end = 0;
    for (first, count) in ranges {
        if first == end {
            end = first + count;
        }
    }
    let last = end.checked_sub(1)?;
    Some(last.min(0x7fff_ffff) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ping_is_for_the_groups_that_the_map_has() {
        fn check(map: &str, expected: Option<u32>) {
            assert_eq!(last_mapped_group(map), expected, "{map:?}");
        }
        check("         0       1000          1\n", Some(0));
        check("0 1000 1\n1 100000 65536\n", Some(65536));
        check("1 100000 65535\n0 1000 1\n", Some(65535));
        check("0 0 4294967295\n", Some(0x7fff_ffff));
        check("999 1000 1\n", None);
        check("0 1000 10\n20 2000 5\n", Some(9));
        check("", None);
    }
}
