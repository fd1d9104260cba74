//! The lists, as text.

use super::super::spec::*;
use super::*;

fn spec() -> ContainerSpec {
    ContainerSpec {
        id: ContainerId("0123456789abcdef".into()),
        rootfs: Rootfs {
            layers: vec!["/l/base".into(), "/l/top".into()],
            host_userland: false,
            writable: "/c".into(),
            read_only: false,
        },
        mounts: vec![],
        process: Process {
            argv: vec!["srv".into()],
            env: vec![],
            cwd: "/app".into(),
            user: "app".into(),
            group_add: vec![],
            capabilities: vec!["CAP_CHOWN".into()],
            no_new_privileges: false,
            seccomp: Seccomp::Unconfined,
            rlimits: vec![],
            oom_score_adj: None,
        },
        hostname: "box".into(),
        domainname: None,
        hosts: vec![],
        resolv_conf: None,
        namespaces: Namespaces {
            network: Network::Own,
            pid: Share::Private,
            ipc: Share::Private,
            uts: Share::Private,
            cgroup: Share::Private,
        },
        limits: Limits::default(),
        sysctls: BTreeMap::new(),
        devices: vec![],
        privileged: false,
        masked_paths: vec!["/proc/kcore".into()],
        readonly_paths: vec!["/proc/sys".into()],
        shm_size: 1024,
        init: false,
        tty: false,
        stdin_open: false,
        stop_signal: 15,
        stop_grace_ms: 1,
        user_namespace: UserNamespace::Outer,
    }
}

/// Lists the launch of a changed spec, with the network in slot 0 and container `other` in slot 1.
fn list(change: impl FnOnce(&mut ContainerSpec)) -> Result<String, String> {
    let mut spec = spec();
    change(&mut spec);
    let slots = Slots {
        network: Some(0),
        containers: [(ContainerId("other".into()), (1, "p-other-1".into()))].into(),
    };
    let host = Host { cgroup_tree: Some(CgroupTree::V2), highest_gid: 65536, devices: vec![] };
    let own_files = [(PathBuf::from("/c/files/hosts"), "/etc/hosts")];
    let launch = launch(&spec, &slots, &["/cg/cgroup.procs".into()], &own_files, &host)
        .map_err(|error| error.to_string())?;
    let mut text = format!("new {:?} born in {:?}\n", launch.new, launch.pid_namespace_of);
    for operation in launch.operations {
        text.push_str(&format!("{operation}\n"));
    }
    Ok(text)
}

/// Checks which lines a change adds (`+`) and takes away (`-`).
fn check(change: impl FnOnce(&mut ContainerSpec), expected: &[&str]) {
    let (before, after) = (list(|_| {}).expect("a launch"), list(change).expect("a launch"));
    let mut found: Vec<String> = before
        .lines()
        .filter(|line| !after.lines().any(|other| other == *line))
        .map(|line| format!("-{line}"))
        .collect();
    found.extend(
        after
            .lines()
            .filter(|line| !before.lines().any(|other| other == *line))
            .map(|line| format!("+{line}")),
    );
    assert_eq!(found, expected);
}

#[test]
fn a_plain_container_is_made_in_this_order() {
    let expected = "\
new [Mount, Pid, Ipc, Uts] born in None
join cgroup /cg/cgroup.procs
undumpable
new cgroup namespace
join network #0
loopback up
host name box
isolate mounts
root: 2 layers under /c
/proc New
/sys New ro
/sys/fs/cgroup V2 ro
/dev shm New(1024) queues New
sysctl net.ipv4.ip_unprivileged_port_start=0
sysctl net.ipv4.ping_group_range=0 65536
bind /c/files/hosts at /etc/hosts alone Private
mask /proc/kcore
read-only /proc/sys
directory /app
pivot root
session
working directory /app
become `app` groups [] capabilities 0000000000000001
exec [\"srv\"]
";
    assert_eq!(list(|_| {}).expect("a launch"), expected);
}

#[test]
fn what_is_shared_is_joined_and_not_made() {
    let other = || Share::Container(ContainerId("other".into()));
    check(
        |spec| {
            spec.namespaces.network = Network::Container(ContainerId("other".into()));
            spec.namespaces.pid = other();
            spec.namespaces.ipc = other();
        },
        &[
            "-new [Mount, Pid, Ipc, Uts] born in None",
            "-join network #0",
            "-loopback up",
            "-/proc New",
            "-/dev shm New(1024) queues New",
            "-sysctl net.ipv4.ip_unprivileged_port_start=0",
            "-sysctl net.ipv4.ping_group_range=0 65536",
            "+new [Mount, Uts] born in Some(1)",
            "+join [Network, Ipc] of process #1",
            "+/proc Of(1)",
            "+/dev shm Of(1) queues New",
        ],
    );
    check(
        |spec| {
            spec.namespaces.network = Network::Host;
            spec.namespaces.pid = Share::Host;
            spec.namespaces.ipc = Share::Host;
            spec.namespaces.uts = Share::Host;
            spec.namespaces.cgroup = Share::Host;
        },
        &[
            "-new [Mount, Pid, Ipc, Uts] born in None",
            "-new cgroup namespace",
            "-join network #0",
            "-loopback up",
            "-host name box",
            "-/proc New",
            "-/sys New ro",
            "-/sys/fs/cgroup V2 ro",
            "-/dev shm New(1024) queues New",
            "-sysctl net.ipv4.ip_unprivileged_port_start=0",
            "-sysctl net.ipv4.ping_group_range=0 65536",
            "+new [Mount] born in None",
            "+/proc Host",
            "+/sys Host ro",
            "+/sys/fs/cgroup Host ro",
            "+/dev shm Host queues Host",
        ],
    );
    let stranger =
        |spec: &mut ContainerSpec| spec.namespaces.ipc = Share::Container(ContainerId("stranger".into()));
    assert_eq!(list(stranger), Err("container stranger was not handed over".into()));
}

#[test]
fn keys_of_a_service_land_in_their_operations() {
    check(|spec| spec.rootfs.read_only = true, &["+read-only root"]);
    check(|spec| spec.tty = true, &["+terminal and console"]);
    check(|spec| spec.init = true, &["-exec [\"srv\"]", "+exec [\"srv\"] under init"]);
    check(|spec| spec.user_namespace = UserNamespace::Single { uid: 7, gid: 8 }, &["+user namespace of 7:8"]);
    check(
        |spec| spec.privileged = true,
        &[
            "-/sys New ro",
            "-/sys/fs/cgroup V2 ro",
            "-become `app` groups [] capabilities 0000000000000001",
            "+/sys New",
            "+/sys/fs/cgroup V2",
            "+become `app` groups [] capabilities 000001ffffffffff",
        ],
    );
    let tmpfs = |spec: &mut ContainerSpec| {
        spec.mounts.push(Mount {
            target: "/tmp".into(),
            source: MountSource::Tmpfs {
                size: Some(8),
                mode: Some(0o700),
                uid: Some(1),
                gid: None,
                options: vec!["exec".into(), "nr_inodes=5".into()],
                as_volume: false,
            },
            read_only: true,
        });
    };
    check(tmpfs, &["+tmpfs at /tmp mode=700,size=8,uid=1,nr_inodes=5 [NoSetuid, NoDevices, ReadOnly]"]);
    let own_hosts = |spec: &mut ContainerSpec| {
        spec.mounts.push(Mount {
            target: "/etc/hosts".into(),
            source: MountSource::Bind {
                path: "/my/hosts".into(),
                propagation: Some("rslave".into()),
                non_recursive: false,
            },
            read_only: true,
        });
    };
    check(
        own_hosts,
        &["-bind /c/files/hosts at /etc/hosts alone Private", "+bind /my/hosts at /etc/hosts ro Slave"],
    );
    let unknown = |spec: &mut ContainerSpec| spec.process.capabilities = vec!["CAP_FLY".into()];
    assert_eq!(list(unknown), Err("no capability `CAP_FLY`".into()));
}

#[test]
fn the_tree_of_cgroups_is_read_from_the_mounts() {
    let hybrid = "25 20 0:22 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755\n\
                  26 25 0:23 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate\n\
                  27 25 0:24 / /sys/fs/cgroup/cpu,cpuacct rw shared:11 - cgroup cgroup rw,cpu,cpuacct\n\
                  28 25 0:25 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                  29 25 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
    let procs = ["/sys/fs/cgroup/cpu,cpuacct/x/cgroup.procs", "/sys/fs/cgroup/unified/x/cgroup.procs"];
    let found = cgroup_tree(hybrid, &procs.map(PathBuf::from));
    let hierarchy = |directory: &str, options: &[&str]| Hierarchy {
        directory: directory.into(),
        options: options.iter().map(ToString::to_string).collect(),
    };
    let expected = vec![hierarchy("unified", &[]), hierarchy("cpu,cpuacct", &["cpu", "cpuacct"])];
    assert_eq!(found, Some(CgroupTree::V1(expected)));
    assert_eq!(cgroup_tree(hybrid, &[]), None);
    let unified = "26 25 0:23 / /sys/fs/cgroup rw,nosuid shared:10 - cgroup2 cgroup2 rw\n";
    assert_eq!(cgroup_tree(unified, &[]), Some(CgroupTree::V2));
}

#[test]
fn the_highest_id_is_the_end_of_the_first_range_without_gap() {
    for (map, expected) in [
        ("0 1000 1\n", 0),
        ("0 1000 1\n1 100000 65536\n", 65536),
        ("1 100000 65536\n 0 1000 1\n", 65536),
        ("0 1000 1\n5 100000 65536\n", 0),
        ("0 0 4294967295\n", 4_294_967_294),
    ] {
        assert_eq!(highest_id(map), expected, "{map}");
    }
}
