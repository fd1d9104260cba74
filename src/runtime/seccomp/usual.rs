//! The profile of containers that ask for none: the calls that Docker's engine lets through, as of its version 29,
//! in tables by subject. Everything else is refused with EPERM.
//!
//! What is refused is what reaches beyond a container or has been a way out of one: kernel modules, keyrings, mounts
//! and namespaces without CAP_SYS_ADMIN, io_uring, userfaultfd, sockets of rarely tested families, swap, kexec.

use super::numbers::Architecture;
use super::profile::{Action, Compare, Condition, Operator, Profile, Rule};

/// Calls that every container may make, whatever its capabilities.
const ALWAYS: [&str; 14] = [
    // Files: names and directories.
    "access chdir chmod chown chown32 creat faccessat faccessat2 fchdir fchmod fchmodat fchmodat2 fchown fchown32 \
     fchownat getcwd getdents getdents64 lchown lchown32 link linkat mkdir mkdirat mknod mknodat name_to_handle_at \
     open openat openat2 readlink readlinkat rename renameat renameat2 rmdir symlink symlinkat umask unlink unlinkat",
    // Files: what they are.
    "cachestat fadvise64 fadvise64_64 fallocate flock fstat fstat64 fstatat64 fstatfs fstatfs64 ftruncate ftruncate64 \
     futimesat listmount lstat lstat64 newfstatat stat stat64 statfs statfs64 statmount statx truncate truncate64 \
     utime utimensat utimensat_time64 utimes",
    // Extended attributes.
    "fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr \
     lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat",
    // Reading and writing.
    "_llseek close close_range copy_file_range dup dup2 dup3 fcntl fcntl64 fdatasync fsync ioctl lseek pipe pipe2 \
     pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readv sendfile sendfile64 splice sync \
     sync_file_range syncfs tee vmsplice write writev",
    // Waiting for descriptors, and watching files.
    "_newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait \
     epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch poll \
     ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4",
    // The older asynchronous I/O.
    "io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioprio_get ioprio_set",
    // Memory.
    "brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 \
     mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages",
    // Processes and threads.
    "execve execveat exit exit_group fork get_robust_list get_thread_area getcpu getpgid getpgrp getpid getppid \
     getrusage getsid gettid kill pidfd_open pidfd_send_signal prctl process_mrelease rseq set_robust_list \
     set_thread_area set_tid_address setpgid setsid tgkill times tkill uretprobe vfork wait4 waitid waitpid",
    // Scheduling and limits.
    "getpriority getrlimit prlimit64 sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr \
     sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity \
     sched_setattr sched_setparam sched_setscheduler sched_yield setpriority setrlimit ugetrlimit",
    // Users, groups, rights, and giving rights up.
    "capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32 \
     getresuid getresuid32 getuid getuid32 landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp \
     setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid \
     setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32",
    // Signals and futexes.
    "futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake pause restart_syscall rt_sigaction \
     rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 \
     rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn",
    // Time, and what the machine is.
    "adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 \
     clock_nanosleep clock_nanosleep_time64 getitimer getrandom gettimeofday nanosleep riscv_hwprobe setitimer \
     sysinfo time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime \
     timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 uname",
    // Sockets once they are made; `socket` itself is below.
    "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 \
     recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair",
    // System V and POSIX communication.
    "ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 \
     mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget",
];

/// Calls for who has a capability.
const WITH_CAPABILITY: [(&str, &str); 15] = [
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module finit_module init_module"),
    ("SYS_PACCT", "acct"),
    ("SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("SYS_RAWIO", "ioperm iopl"),
    ("SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("SYS_TTY_CONFIG", "vhangup"),
    ("SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("SYSLOG", "syslog"),
    ("BPF", "bpf"),
    ("PERFMON", "perf_event_open"),
    // Before 4.8 a tracer could change a call after it was judged.
    ("", "process_vm_readv process_vm_writev ptrace"),
];

/// Calls of some machines only, by Go's names for these.
const ON_MACHINES: [(&[&str], &str); 3] = [
    (&["amd64"], "arch_prctl modify_ldt"),
    (&["arm64"], "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2"),
    (&["riscv64"], "riscv_flush_icache"),
];

/// Socket families from 12 on that may be asked for; all below 12 may. The rest, AF_ALG (38) and AF_VSOCK (40) among
/// them, reach parts of the kernel or of the machine that containers are kept from.
const FAMILIES: [u64; 25] =
    [13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35, 36, 39, 41, 42, 43, 44, 45];

/// What personality(2) may be set to: Linux, Linux 32 (0x8), these without UNAME26's lie (0x20000), and the question.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

/// Returns the profile.
pub(super) fn profile() -> Profile {
    let mut rules: Vec<Rule> = ALWAYS.iter().map(|names| allow(names)).collect();
    for (capability, names) in WITH_CAPABILITY {
        let includes = match capability {
            "" => Condition { min_kernel: Some("4.8".into()), ..Condition::default() },
            _ => Condition { caps: vec![capability.into()], ..Condition::default() },
        };
        rules.push(Rule { includes, ..allow(names) });
    }
    for (machines, names) in ON_MACHINES {
        let arches = machines.iter().map(ToString::to_string).collect();
        rules.push(Rule { includes: Condition { arches, ..Condition::default() }, ..allow(names) });
    }
    rules.push(if_first("socket", Operator::Less, 12));
    rules.extend(FAMILIES.map(|family| if_first("socket", Operator::Equal, family)));
    rules.extend(PERSONALITIES.map(|persona| if_first("personality", Operator::Equal, persona)));
    let unprivileged = Condition { caps: vec!["SYS_ADMIN".into()], ..Condition::default() };
    rules.push(Rule {
        excludes: unprivileged.clone(),
        ..if_first("clone", Operator::MaskedEqual(NEW_NAMESPACES), 0)
    });
    // Its flags are in memory, where a filter cannot look: programs fall back to clone.
    let missing = Action::Errno(libc::ENOSYS as u16);
    rules.push(Rule { action: missing, excludes: unprivileged, ..allow("clone3") });
    Profile {
        default: Action::Errno(libc::EPERM as u16),
        architectures: vec![Architecture::X86, Architecture::X32, Architecture::Arm],
        rules,
    }
}

fn allow(names: &str) -> Rule {
    Rule {
        names: names.split_whitespace().map(str::to_owned).collect(),
        action: Action::Allow,
        compares: Vec::new(),
        includes: Condition::default(),
        excludes: Condition::default(),
    }
}

fn if_first(name: &str, operator: Operator, value: u64) -> Rule {
    Rule { compares: vec![Compare { argument: 0, operator, value }], ..allow(name) }
}
