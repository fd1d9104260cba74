//! A keeper for tests, in a process and an outer user namespace of its own.
//!
//! The test binary runs itself with [`entry`] as the only test; a fork of that becomes the keeper. Its supervisor only
//! passes its socket on to the test, which is the supervisor's mind then.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::env;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::channel::Client;
use super::message::{Exit, Notice, Word};
use super::{Config, run};
use crate::runtime::create::{self, Handles, Prepared};
use crate::runtime::spec::*;
use crate::sys::process::{Forked, fork, reap};
use crate::sys::socket::{recv_with_fds, send_with_fds};

const DIRECTORY: &str = "RCOMPOSE_TEST_KEEPER";
/// Pid of a keeper whose user namespace to join.
const JOIN: &str = "RCOMPOSE_TEST_JOIN";
const PATIENCE: Duration = Duration::from_secs(120);

/// Not a test: the keeper's process, when the variable is set.
#[test]
fn entry() {
    let Some(directory) = env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let (ready, go) = (std::io::pipe().expect("a pipe"), std::io::pipe().expect("a pipe"));
    // This process has the test harness's threads, but the fork has one.
    match fork().expect("forked") {
        Forked::Child => {
            match env::var(JOIN) {
                Ok(pid) => {
                    let namespace = fs::File::open(format!("/proc/{pid}/ns/user")).expect("it lives");
                    nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWUSER).expect("joined");
                }
                Err(_) => {
                    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).expect("a user namespace");
                }
            }
            drop(ready.1);
            drop(go.1);
            let _ = std::io::Read::read(&mut { go.0 }, &mut [0]);
            rustix::thread::set_thread_res_gid(
                rustix::fs::Gid::ROOT,
                rustix::fs::Gid::ROOT,
                rustix::fs::Gid::ROOT,
            )
            .expect("root");
            rustix::thread::set_thread_res_uid(
                rustix::fs::Uid::ROOT,
                rustix::fs::Uid::ROOT,
                rustix::fs::Uid::ROOT,
            )
            .expect("root");
            let log = fs::File::create(directory.join("keeper.log")).expect("a log");
            let config = Config {
                journal: directory.join("journal"),
                store: Vec::new(),
                door: None,
                adopt: Vec::new(),
                log: Some(log.into()),
            };
            let Err(error) = run(config, |socket| pass_on(&directory, socket));
            panic!("{error:?}");
        }
        Forked::Parent(pid) => {
            drop(ready.1);
            drop(go.0);
            // The end of file of `ready` says that the child has unshared.
            let _ = std::io::Read::read(&mut { ready.0 }, &mut [0]);
            if env::var_os(JOIN).is_none() {
                map_ids(pid);
            }
            drop(go.1);
            let _ = reap(pid);
            std::process::exit(0);
        }
    }
}

/// Root gets the identity map, a user with subordinate ids those, another one a single id.
fn map_ids(pid: i32) {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let write = |name: &str, text: String| fs::write(format!("/proc/{pid}/{name}"), text).expect(name);
    if uid == 0 {
        write("uid_map", "0 0 4294967295".into());
        write("gid_map", "0 0 4294967295".into());
        return;
    }
    let subordinate = ["uid", "gid"].map(|kind| {
        let name = nix::unistd::User::from_uid(uid.into()).ok().flatten().map(|user| user.name)?;
        let text = fs::read_to_string(format!("/etc/sub{kind}")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")).map(str::to_owned))?;
        let (first, count) = line.split_once(':')?;
        Some((kind, first.to_owned(), count.to_owned()))
    });
    if let [Some(uids), Some(gids)] = subordinate {
        for ((kind, first, count), own) in [(uids, uid), (gids, gid)] {
            let status = Command::new(format!("new{kind}map"))
                .args([&pid.to_string(), "0", &own.to_string(), "1", "1", &first, &count])
                .status()
                .expect("newuidmap");
            assert!(status.success(), "new{kind}map failed");
        }
    } else {
        write("setgroups", "deny".into());
        write("uid_map", format!("0 {uid} 1"));
        write("gid_map", format!("0 {gid} 1"));
    }
}

fn pass_on(directory: &Path, socket: OwnedFd) -> Infallible {
    let test = UnixStream::connect(directory.join("test.sock")).expect("the test listens");
    send_with_fds(&test, &std::process::id().to_ne_bytes(), &[socket.as_fd()]).expect("sent");
    drop(socket);
    // The test ends us: by killing, or by its own end.
    let _ = std::io::Read::read(&mut { test }, &mut [0]);
    std::process::exit(0)
}

/// A keeper and the test's end of its channel.
pub struct Keeper {
    pub directory: tempfile::TempDir,
    pub supervisor: i32,
    client: Client,
    listener: UnixListener,
    /// Held open as long as the supervisor shall live.
    hold: Option<UnixStream>,
    process: Child,
    keeper: i32,
    /// Pidfds of what was started: it would outlive the keeper.
    started: Vec<OwnedFd>,
    waiting: VecDeque<(Notice, Vec<OwnedFd>)>,
}

/// What [`Keeper::start`] brings.
#[derive(Debug)]
pub struct Started {
    pub pid: i32,
    pub warnings: Vec<String>,
    pub descriptors: BTreeMap<String, OwnedFd>,
}

impl Keeper {
    /// Starts a keeper, or names what this host lacks for it.
    pub fn start_new() -> Option<Keeper> {
        Keeper::start(None)
    }

    /// Starts a keeper in the outer user namespace of another one.
    pub fn start_beside(&self) -> Keeper {
        Keeper::start(Some(self.keeper)).expect("the other one could")
    }

    fn start(beside: Option<i32>) -> Option<Keeper> {
        if !user_namespaces_work() {
            skip("user namespaces");
            return None;
        }
        let directory = tempfile::Builder::new().prefix("rcompose-runtime-").tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join("test.sock")).expect("bound");
        let process = Command::new(env::current_exe().expect("this program"))
            .args(["--exact", "keeper::testing::entry", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory.path())
            .envs(beside.map(|pid| (JOIN, pid.to_string())))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the test binary runs again");
        let (client, supervisor, hold) = accept(&listener);
        let (started, waiting) = (Vec::new(), VecDeque::new());
        let keeper = parent_of(supervisor);
        let hold = Some(hold);
        Some(Keeper { directory, supervisor, client, listener, hold, process, keeper, started, waiting })
    }

    /// Kills the supervisor and takes the next one's place.
    pub fn kill_supervisor(&mut self) {
        crate::sys::process::kill(self.supervisor, libc::SIGKILL).expect("it lives");
        self.next_supervisor();
    }

    pub fn next_supervisor(&mut self) {
        let (client, supervisor, hold) = accept(&self.listener);
        self.waiting.clear();
        (self.client, self.supervisor, self.hold) = (client, supervisor, Some(hold));
    }

    pub fn send(&mut self, word: &Word, descriptors: Vec<OwnedFd>) {
        self.client.send(word, descriptors).expect("sent");
    }

    /// Returns the first notice that `wanted` takes; others wait for their turn.
    pub fn wait<T>(&mut self, mut wanted: impl FnMut(&Notice) -> Option<T>) -> (T, Vec<OwnedFd>) {
        let mut passed = VecDeque::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let next = self.waiting.pop_front().or_else(|| self.client.try_recv().expect("the keeper lives"));
            match next {
                Some((notice, descriptors)) => match wanted(&notice) {
                    Some(value) => {
                        passed.append(&mut self.waiting);
                        self.waiting = passed;
                        return (value, descriptors);
                    }
                    None => passed.push_back((notice, descriptors)),
                },
                None => {
                    self.client.flush().expect("the keeper lives");
                    let out = if self.client.wants_write() { PollFlags::OUT } else { PollFlags::empty() };
                    let mut sources = [PollFd::new(&self.client, PollFlags::IN | out)];
                    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
                    poll(&mut sources, Some(&second)).expect("poll");
                    let log = || fs::read_to_string(self.directory.path().join("keeper.log"));
                    assert!(Instant::now() < deadline, "waited in vain; seen {passed:?}; log {:?}", log());
                }
            }
        }
    }

    pub fn launch(&mut self, id: &str, prepared: Prepared) -> Result<Started, (i32, String)> {
        self.send(&Word::Start { id: id.into(), launch: prepared.launch }, prepared.descriptors);
        self.started(id)
    }

    pub fn exec(&mut self, id: &str, container: &str, prepared: Prepared) -> Result<Started, (i32, String)> {
        let word = Word::Exec {
            id: id.into(),
            container: container.into(),
            awaited: false,
            launch: prepared.launch,
        };
        self.send(&word, prepared.descriptors);
        self.started(id)
    }

    fn started(&mut self, id: &str) -> Result<Started, (i32, String)> {
        let (result, descriptors) = self.wait(|notice| match notice {
            Notice::Started { id: other, pid, warnings, descriptors, .. } if other == id => {
                Some(Ok((*pid, warnings.clone(), descriptors.clone())))
            }
            Notice::StartFailed { id: other, failure } if other == id => {
                Some(Err((failure.code, failure.message.clone())))
            }
            _ => None,
        });
        let (pid, warnings, names) = result?;
        let descriptors: BTreeMap<String, OwnedFd> = names.into_iter().zip(descriptors).collect();
        self.started.push(descriptors["pidfd"].try_clone().expect("a copy"));
        Ok(Started { pid, warnings, descriptors })
    }

    pub fn exit(&mut self, id: &str) -> Exit {
        self.wait(|notice| match notice {
            Notice::Exited { id: other, exit } if other == id => Some(exit.clone()),
            _ => None,
        })
        .0
    }

    /// A container on the host's own programs that runs a shell script.
    pub fn spec(&self, id: &str, script: &str) -> ContainerSpec {
        let writable = self.directory.path().join(id);
        fs::create_dir_all(&writable).expect("a directory");
        let rootfs = Rootfs { layers: vec![], host_userland: true, writable, read_only: false };
        spec(id, rootfs, &["/bin/sh", "-c", script])
    }

    /// Runs a container to its end; returns what it printed on both streams, and its exit code.
    pub fn run(&mut self, spec: &ContainerSpec) -> (String, i32) {
        let prepared = create::operations(spec, Handles::default()).expect("a launch");
        match self.launch(&spec.id.0, prepared) {
            Ok(mut started) => {
                let out = read_all(started.descriptors.remove("out").expect("out"));
                let err = read_all(started.descriptors.remove("err").expect("err"));
                (format!("{out}{err}"), self.exit(&spec.id.0).code.expect("a child's code is known"))
            }
            Err((code, message)) => (message, code),
        }
    }

    pub fn keys(&mut self) -> Vec<String> {
        self.send(&Word::Keys, vec![]);
        self.wait(|notice| match notice {
            Notice::Keys { keys } => Some(keys.clone()),
            _ => None,
        })
        .0
    }

    /// The keeper's own process, as the host counts.
    pub fn pid(&self) -> i32 {
        self.keeper
    }
}

fn parent_of(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    stat.rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok())
        .expect("its parent")
}

impl Drop for Keeper {
    fn drop(&mut self) {
        for pidfd in &self.started {
            let _ = crate::sys::process::kill_pidfd(pidfd, libc::SIGKILL);
        }
        // Told to leave, and its supervisor ends with `hold`: so it is gone before its directory.
        let _ = self.client.send(&Word::Leave, vec![]);
        self.hold = None;
        let _ = self.process.wait();
        if rustix::process::getuid().as_raw() != 0 {
            // overlayfs leaves directories of mode 000.
            let _ = Command::new("chmod").arg("-R").arg("u+rwX").arg(self.directory.path()).output();
        }
    }
}

fn accept(listener: &UnixListener) -> (Client, i32, UnixStream) {
    let mut sources = [PollFd::new(listener, PollFlags::IN)];
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    assert_eq!(poll(&mut sources, Some(&patience)).expect("poll"), 1, "no supervisor came");
    let (stream, _) = listener.accept().expect("accepted");
    let (mut pid, mut descriptors) = ([0; 4], Vec::new());
    recv_with_fds(&stream, &mut pid, &mut descriptors).expect("received");
    let socket = descriptors.pop().expect("the channel");
    (Client::new(socket).expect("a channel"), i32::from_ne_bytes(pid), stream)
}

pub fn read_all(descriptor: OwnedFd) -> String {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut fs::File::from(descriptor), &mut bytes).expect("read");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Says in the test's output why a test shows nothing here.
#[expect(clippy::print_stderr, reason = "the harness shows it")]
pub fn skip(what: &str) {
    eprintln!("skipped: this host lacks {what}");
}

fn user_namespaces_work() -> bool {
    Command::new("unshare").args(["-U", "true"]).status().is_ok_and(|status| status.success())
}

pub fn spec(id: &str, rootfs: Rootfs, argv: &[&str]) -> ContainerSpec {
    let strings = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    ContainerSpec {
        id: ContainerId(id.into()),
        rootfs,
        mounts: vec![],
        process: Process {
            argv: strings(argv),
            env: strings(&["PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"]),
            cwd: "/".into(),
            user: String::new(),
            group_add: vec![],
            capabilities: crate::runtime::caps::default_set().names(),
            no_new_privileges: false,
            seccomp: Seccomp::Default,
            rlimits: vec![],
            oom_score_adj: None,
        },
        hostname: "box".into(),
        domainname: None,
        hosts: vec![("10.1.2.3".into(), vec!["box".into()])],
        resolv_conf: Some(ResolvConf { nameservers: vec!["127.0.0.11".into()], ..ResolvConf::default() }),
        namespaces: Namespaces {
            network: Network::None,
            pid: Share::Private,
            ipc: Share::Private,
            uts: Share::Private,
            cgroup: Share::Private,
        },
        limits: Limits::default(),
        sysctls: BTreeMap::new(),
        devices: vec![],
        privileged: false,
        masked_paths: strings(&[
            "/proc/kcore",
            "/proc/keys",
            "/proc/timer_list",
            "/proc/acpi",
            "/sys/firmware",
        ]),
        readonly_paths: strings(&["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]),
        shm_size: 64 << 20,
        init: false,
        tty: false,
        stdin_open: false,
        stop_signal: 15,
        stop_grace_ms: 10_000,
        user_namespace: UserNamespace::Outer,
    }
}
