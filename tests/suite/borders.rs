//! What stands between a container and its host, and between a project and whoever started it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Capability, Project, binary, ended, needs, soon};

const ONE: &str = "services: {app: {image: 'rootfs:/', command: sleep 1000, stop_grace_period: 0s}}\n";

#[test]
fn a_container_cannot_change_the_nodes_of_the_host() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("nodes", ONE);
    project.run(&["up", "-d"]).ok();
    let node =
        || fs::metadata("/dev/full").map(|node| (node.permissions().mode(), node.uid())).expect("there");
    let before = node();
    for change in ["chmod 600 /dev/full", "chown 1 /dev/full", "chmod 600 /proc/timer_list"] {
        let tried = project.run(&["exec", "-T", "app", "sh", "-c", change]);
        assert_ne!(tried.code, Some(0), "{change}");
        assert_eq!(node(), before, "{change}");
    }
    // They are what they were to those who read and write them.
    let use_them = "echo x > /dev/null && head -c 3 /dev/zero | wc -c && echo y 2>/dev/null >> /dev/null";
    assert_eq!(project.run(&["exec", "-T", "app", "sh", "-c", use_them]).ok().trim(), "3");
    project.leaves_nothing();
}

#[test]
fn what_the_caller_has_open_is_not_kept_open() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("inherited", ONE);
    let lock = project.path().join("lock");
    let script = format!("exec 9>{}; flock -n 9 && exec {} up -d", lock.display(), binary().display());
    let mut up = project.command(&[]);
    let environment: Vec<_> =
        up.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    up = Command::new("sh");
    let done =
        up.args(["-c", &script]).envs(environment).current_dir(project.path()).output().expect("sh runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let free = || {
        let tried = Command::new("flock").arg("-n").arg(&lock).arg("true").status().expect("flock runs");
        tried.success()
    };
    soon("the lock of a caller that has gone is free", free);
    project.leaves_nothing();
}

#[test]
fn a_container_cannot_write_to_the_binary_that_runs_it() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    // Its program is the one that was about to become it, which reads a file that never ends.
    let compose = "services: {app: {image: 'rootfs:/', stdin_open: true, stop_grace_period: 0s, \
                   command: [/proc/self/exe, -f, '-', config]}}\n";
    let project = Project::new("own-binary", compose);
    // The user's own, as one in a home is: what belongs to somebody else cannot be written to in any case.
    let own = project.path().join("rcompose");
    fs::copy(binary(), &own).expect("copied");
    let up = project.command(&["up", "-d"]);
    let environment = up.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let up = Command::new(&own).args(["up", "-d"]).envs(environment).current_dir(project.path()).output();
    let up = up.expect("rcompose runs");
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    // It runs from a mount that is read-only; the file itself would be busy, but only for as long as it runs.
    let writable = project.run(&["exec", "-T", "app", "test", "-w", "/proc/1/exe"]);
    assert_eq!((writable.code, writable.stderr.as_str()), (Some(1), ""));
    assert!(project.run(&["exec", "-T", "app", "/proc/1/exe", "--version"]).ok().starts_with("rcompose"));
    project.leaves_nothing();
}

/// Looks at whoever is born, as one may who traces: what its root is, and what it has open.
const WATCH: &str = r#"
import os, sys
host = sys.argv[1]
names = ('/dev/null', 'pipe:', 'socket:', '/dev/pts/')
print('watching', flush=True)
coming = os.getpid() + 1
while True:
    # Far enough for the numbers of those that it misses.
    for pid in range(coming, coming + 64):
        place = f'/proc/{pid}'
        try:
            root = os.stat(place + '/root/')
            links = [os.readlink(f'{place}/fd/{number}') for number in os.listdir(place + '/fd')]
        except OSError:
            continue
        if f'{root.st_dev}:{root.st_ino}' == host:
            print('the root of the host', flush=True)
        for link in links:
            # A program that runs has files of its own.
            if link.startswith(('net:', 'mnt:', 'anon_inode:')) or len(links) > 5:
                print('a descriptor of others:', link, flush=True)
        print('seen', flush=True)
        coming = pid + 1
"#;

#[test]
fn who_traces_in_a_container_finds_no_way_out_in_what_is_born_there() {
    if !needs(&[Capability::UserNamespaces, Capability::Python]) {
        return;
    }
    let root = fs::metadata("/").expect("there");
    let compose = format!(
        "services:\n  watch:\n    image: rootfs:/\n    cap_add: [SYS_PTRACE]\n    stop_grace_period: 0s\n    \
         volumes: [./watch.py:/watch.py:ro]\n    command: [python3, /watch.py, '{}:{}']\n  guest:\n    \
         image: rootfs:/\n    profiles: [later]\n    pid: service:watch\n    stop_grace_period: 0s\n    \
         command: 'true'\n",
        root.dev(),
        root.ino()
    );
    let project = Project::new("tracer", &compose);
    project.write("watch.py", WATCH);
    project.run(&["up", "-d"]).ok();
    soon("it watches", || project.logs("watch").contains("watching"));
    let (mut execs, mut seen) = (0, 0);
    soon("enough have been seen", || {
        for _ in 0..10 {
            project.run(&["exec", "-T", "watch", "true"]).ok();
            // Its first process is born beside the others.
            project.run(&["run", "-T", "--rm", "guest"]).ok();
        }
        execs += 10;
        seen = project.logs("watch").matches("seen").count();
        seen >= 20 && execs >= 30
    });
    let said = project.logs("watch");
    let found: Vec<&str> =
        said.lines().filter(|line| line.contains("the host") || line.contains("others")).collect();
    assert!(found.is_empty(), "{} of {seen}: {found:?}", found.len());
    project.leaves_nothing();
}

/// Looks for a word in all memory of the first process, and tries to: as an ordinary user, with a binary that is not the
/// user's, nobody may.
const SEARCH: &str = r#"
import re
word, found, read = ("WORD" + "_OF_ANOTHER").encode(), 0, 0
try:
    maps = open("/proc/1/maps").read().splitlines()
except OSError:
    maps = []
for line in maps:
    place = re.match(r"([0-9a-f]+)-([0-9a-f]+) r.*?(\S*)$", line)
    if place and not place[3].startswith("[v"):
        begin, end = int(place[1], 16), int(place[2], 16)
        try:
            with open("/proc/1/mem", "rb", 0) as memory:
                memory.seek(begin)
                some = memory.read(end - begin)
                found, read = found + some.count(word), read + len(some)
        except OSError:
            pass
print(found, read)
"#;

#[test]
fn our_init_knows_nothing_of_other_containers() {
    if !needs(&[Capability::UserNamespaces, Capability::Python]) {
        return;
    }
    let compose = r#"
services:
  other:
    image: rootfs:/
    command: sleep 1000
    stop_grace_period: 0s
    environment: {SAID: WORD_OF_ANOTHER}
    secrets: [told]
  curious:
    image: rootfs:/
    init: true
    command: sleep 1000
    stop_grace_period: 0s
    cap_add: [SYS_PTRACE]
    depends_on: [other]
secrets: {told: {environment: TOLD}}
"#;
    let project = Project::new("curious", compose);
    let mut up = project.command(&["up", "-d"]);
    up.env("TOLD", "WORD_OF_ANOTHER");
    crate::support::ended(up.spawn().expect("starts"), "up").ok();
    // At once, too: then the words for both come one behind the other.
    for command in [&["ps"][..], &["up", "-d", "--force-recreate"]] {
        let mut command = project.command(command);
        command.env("TOLD", "WORD_OF_ANOTHER");
        crate::support::ended(command.spawn().expect("starts"), "the command").ok();
        let said = project.run(&["exec", "-T", "curious", "python3", "-c", SEARCH]).ok();
        let (found, read) = said.trim().split_once(' ').expect("two numbers");
        assert_eq!(found, "0");
        if read == "0" {
            assert!(
                !nix::unistd::geteuid().is_root(),
                "root's containers may read the memory of their first process"
            );
            #[expect(clippy::print_stderr, reason = "a test that is passed over says why")]
            {
                eprintln!("passed over: the memory of a container's first process cannot be read");
            }
        }
    }
    project.leaves_nothing();
}

#[test]
fn sessions_with_other_variables_find_what_runs() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("sessions", ONE);
    let (home, one, other) = (project.home(), project.path().join("one"), project.path().join("other"));
    for directory in [&home, &one, &other] {
        fs::create_dir(directory).expect("made");
        fs::set_permissions(directory, Permissions::from_mode(0o700)).expect("closed");
    }
    let run = |runtime: &Path, arguments: &[&str]| {
        let mut command = project.command(arguments);
        command.env_remove("RCOMPOSE_HOME").env("XDG_RUNTIME_DIR", runtime);
        command.env("XDG_STATE_HOME", &home).env("XDG_DATA_HOME", &home);
        ended(command.spawn().expect("started"), &arguments.join(" "))
    };
    let entries = |directory: &Path| fs::read_dir(directory).expect("listed").count();
    run(&one, &["up", "-d"]).ok();
    assert_eq!(run(&other, &["exec", "-T", "app", "echo", "found"]).ok(), "found\n");
    assert_eq!((entries(&one), entries(&other)), (1, 0));
    run(&other, &["down"]).ok();
    assert_eq!((entries(&one), entries(&other)), (0, 0));
    // Nothing runs: the next one goes by its own variables.
    run(&other, &["up", "-d"]).ok();
    assert_eq!((entries(&one), entries(&other)), (0, 1));
    run(&one, &["down"]).ok();
    assert_eq!(entries(&other), 0);
    assert!(fs::symlink_metadata(home.join("rcompose/run")).is_err(), "the link goes with the last project");
}

#[test]
fn what_a_caller_leaves_behind_does_no_harm() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let compose = "\
services:
  web: {image: 'rootfs:/', user: '1:1', command: cat /etc/hosts /etc/resolv.conf}
  many: {image: 'rootfs:/', command: seq 20000}
  three: {image: 'rootfs:/', command: sh -c 'exit 3', healthcheck: {test: 'true', interval: 1s}}
";
    let project = Project::new("strange-caller", compose);
    let run = |arguments: &[&str]| {
        let ours = project.command(arguments);
        let mut command = Command::new("sh");
        // Children that nobody hears of, private files, and none larger than 4 KiB.
        let script = "umask 077; ulimit -S -f 8; exec env --ignore-signal=CHLD \"$0\" \"$@\"";
        command
            .args(["-c", script])
            .arg(ours.get_program())
            .args(ours.get_args())
            .current_dir(project.path());
        for (name, value) in ours.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        ended(command.spawn().expect("started"), &arguments.join(" "))
    };
    run(&["up", "-d"]).ok();
    assert_eq!(run(&["wait", "three"]).code, Some(3));
    run(&["wait", "web", "many"]).ok();
    assert_eq!(project.logs("many").lines().count(), 20000);
    let read = project.logs("web");
    assert!(read.contains("localhost") && read.contains("nameserver"), "{read}");
    if Capability::ManyIds.present() {
        assert_eq!(project.field("web", "ExitCode"), "0");
    }
    run(&["down"]).ok();
    project.leaves_nothing();
}
