//! What keeper and supervisor do with processes.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use super::super::message::{Notice, Word};
use super::super::testing::{Keeper, read_all, skip};
use super::super::{journal, message};
use crate::host::process::Identity;
use crate::runtime::create::{self, Handles};
use crate::runtime::exec::{self, Talk, Target};

use super::*;

#[test]
fn standard_input_is_a_pipe_or_nothing() {
    check(as_usual, "wc -c; readlink /proc/self/fd/0", ("0\n/dev/null\n", 0));
    let Some(mut keeper) = Keeper::start_new() else { return };
    let mut spec = keeper.spec("cat", "cat");
    spec.stdin_open = true;
    let prepared = create::operations(&spec, Handles::default()).expect("a launch");
    let mut started = keeper.launch("cat", prepared).expect("started");
    let mut input = fs::File::from(started.descriptors.remove("in").expect("in"));
    input.write_all(b"through\n").expect("written");
    drop(input);
    // The keeper's own copy keeps it open until it is dropped.
    assert_eq!(keeper.keys(), ["err/cat", "in/cat", "out/cat"]);
    keeper.send(&Word::Drop { key: message::key::stdin("cat") }, vec![]);
    assert_eq!(read_all(started.descriptors.remove("out").expect("out")), "through\n");
    assert_eq!(keeper.exit("cat").code, Some(0));
    keeper.send(&Word::Forget { id: "cat".into() }, vec![]);
    assert_eq!(keeper.keys(), Vec::<String>::new());
}

#[test]
fn a_terminal_is_the_containers_own() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let mut spec = keeper.spec(
        "tty",
        "tty; test -c /dev/console && stty size < /dev/console; ps -o stat= -p $$; read x; echo got $x",
    );
    spec.tty = true;
    let prepared = create::operations(&spec, Handles::default()).expect("a launch");
    let mut started = keeper.launch("tty", prepared).expect("started");
    let mut master = fs::File::from(started.descriptors.remove("terminal").expect("a terminal"));
    let mut seen = String::new();
    let mut read_until = |end: &str| {
        let mut bytes = [0; 100];
        while !seen.contains(end) {
            let length = master.read(&mut bytes).expect("open");
            seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        seen.clone()
    };
    assert!(read_until("s+").starts_with("/dev/pts/0\r\n0 0\r\n"));
    (&fs::File::from(started.descriptors.remove("pidfd").expect("a pidfd"))).flush().expect("a file");
    keeper.send(&Word::Get { key: message::key::terminal("tty") }, vec![]);
    let (_, mut copy) = keeper.wait(|notice| matches!(notice, Notice::Descriptor { .. }).then_some(()));
    fs::File::from(copy.remove(0)).write_all(b"word\n").expect("typed");
    let mut seen = String::new();
    let mut bytes = [0; 100];
    while !seen.contains("got word") {
        let length = master.read(&mut bytes).expect("open");
        seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    assert_eq!(keeper.exit("tty").code, Some(0));
}

#[test]
fn an_exec_is_inside_and_its_end_is_told() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let (spec, pid) = start_sleeper(&mut keeper, "long", as_usual);
    let mut run = |argv: &[&str]| exec_in(&mut keeper, &spec, pid, argv, "");
    assert_eq!(
        run(&["sh", "-c", "hostname; ls /proc/self/fd; cat /proc/1/comm; exit 5"]),
        ("box\n0\n1\n2\n3\nsh\n".into(), 5)
    );
    assert_eq!(run(&["nonesuch"]), ("exec: `nonesuch`: executable file not found in $PATH".into(), 127));
    let namespaces = "for n in mnt pid net ipc uts cgroup; do test \"$(readlink /proc/self/ns/$n)\" = \
                      \"$(readlink /proc/1/ns/$n)\" || echo $n differs; done; grep CapBnd /proc/self/status";
    assert_eq!(run(&["sh", "-c", namespaces]), ("CapBnd:\t00000000a80425fb\n".into(), 0));
    assert!(
        journal::read(&keeper.directory.path().join("journal")).expect("read").is_empty(),
        "execs are not journalled"
    );
    let target = Target {
        process: pidfd(pid),
        namespaces: &spec.namespaces,
        user_namespace: &spec.user_namespace,
        cgroup: &[],
        privileged: false,
    };
    let process =
        Process { argv: ["sh", "-c", "tty; echo $PPID"].map(Into::into).into(), ..spec.process.clone() };
    let prepared = exec::operations(&process, target, Talk::Terminal).expect("a launch");
    let mut started = keeper.exec("shell", "long", prepared).expect("started");
    let mut output = String::new();
    // The end of a terminal is EIO.
    let _ = fs::File::from(started.descriptors.remove("terminal").expect("a terminal"))
        .read_to_string(&mut output);
    assert_eq!(output, "/dev/pts/0\r\n0\r\n");
    kill(pid, libc::SIGTERM);
    assert_eq!(keeper.exit("long").code, Some(3));
}

#[test]
fn our_pid_1_forwards_signals_and_reaps() {
    let script = "(setsid sh -c 'exit 0' &) ; sleep 0.2; for s in /proc/[0-9]*/stat; do cut -d' ' -f3 $s; done 2>/dev/null | \
                  grep -c Z; exit 4";
    check(|spec| spec.init = true, script, ("0\n", 4));
    let Some(mut keeper) = Keeper::start_new() else { return };
    let (_, pid) = start_sleeper(&mut keeper, "init", |spec| spec.init = true);
    kill(pid, libc::SIGTERM);
    assert_eq!(keeper.exit("init").code, Some(3));
}

#[test]
fn namespaces_are_shared_as_asked() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let (first, pid) = start_sleeper(&mut keeper, "first", as_usual);
    assert_eq!(exec_in(&mut keeper, &first, pid, &["sh", "-c", "echo shared > /dev/shm/x"], "").1, 0);
    let mut spec = keeper.spec(
        "second",
        "for n in pid net ipc; do test \"$(readlink /proc/self/ns/$n)\" = \"$(readlink /proc/1/ns/$n)\" || echo $n differs; \
         done; cat /proc/1/comm; cat /dev/shm/x; test $$ -gt 1; cat /sys/class/net/lo/operstate",
    );
    spec.namespaces.pid = Share::Container(first.id.clone());
    spec.namespaces.ipc = Share::Container(first.id.clone());
    spec.namespaces.network = Network::Container(first.id.clone());
    let member = || create::Member { name: "p-first-1".into(), process: pidfd(pid) };
    let handles = || Handles { containers: [(first.id.clone(), member())].into(), ..Handles::default() };
    let mut started =
        keeper.launch("second", create::operations(&spec, handles()).expect("a launch")).expect("started");
    assert_eq!(read_all(started.descriptors.remove("out").expect("out")), "sh\nshared\nunknown\n");
    assert_eq!(keeper.exit("second").code, Some(0));
    let error = create::operations(&spec, Handles::default()).expect_err("no handle");
    assert_eq!(error.to_string(), "container first was not handed over");
    // The host's.
    let mut spec = keeper.spec(
        "third",
        "readlink /proc/self/ns/net /proc/self/ns/uts; ls -d /proc/1/; ls /sys/class/net >/dev/null",
    );
    spec.namespaces.pid = Share::Host;
    spec.namespaces.network = Network::Host;
    spec.namespaces.uts = Share::Host;
    spec.namespaces.ipc = Share::Host;
    let link =
        |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).expect("there").display().to_string();
    assert_eq!(keeper.run(&spec), (format!("{}\n{}\n/proc/1/\n", link("net"), link("uts")), 0));
}

#[test]
fn the_supervisors_death_loses_nothing() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let lives = start_sleeper(&mut keeper, "lives", as_usual).1;
    let spec = keeper.spec("dies", "read x < /tmp/go; echo last words; exit 9");
    let mut spec = spec;
    let fifo = keeper.directory.path().join("go");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_retain(0o666)).expect("a fifo");
    spec.mounts.push(Mount {
        target: "/tmp/go".into(),
        source: MountSource::File { path: fifo.clone() },
        read_only: false,
    });
    let dies = keeper
        .launch("dies", create::operations(&spec, Handles::default()).expect("a launch"))
        .expect("started");
    drop(dies.descriptors);
    let supervisor = keeper.supervisor;
    kill(supervisor, libc::SIGKILL);
    fs::write(&fifo, "now\n").expect("written");
    keeper.next_supervisor();
    let path = keeper.directory.path().join("journal");
    // The exit may come after the new supervisor: then it is told, and in any case written.
    while !journal::read(&path).expect("read").contains_key("dies") {
        keeper.wait(|notice| matches!(notice, Notice::Exited { id, .. } if id == "dies").then_some(()));
    }
    let exit = journal::read(&path).expect("read").remove("dies").expect("written");
    assert_eq!((exit.code, exit.signal, exit.pid), (Some(9), None, dies.pid));
    keeper.send(&Word::List, vec![]);
    let (running, _) = keeper.wait(|notice| match notice {
        Notice::Processes { processes, .. } => Some(processes.clone()),
        _ => None,
    });
    let running: Vec<_> = running.iter().map(|process| (process.id.as_str(), process.pid)).collect();
    assert_eq!(running, [("lives", lives)]);
    keeper.send(&Word::Get { key: message::key::stdout("dies") }, vec![]);
    let (_, mut descriptors) =
        keeper.wait(|notice| matches!(notice, Notice::Descriptor { .. }).then_some(()));
    assert_eq!(read_all(descriptors.remove(0)), "last words\n");
    for _ in 0..3 {
        keeper.kill_supervisor();
    }
    kill(lives, libc::SIGKILL);
    let exit = keeper.exit("lives");
    assert_eq!((exit.code, exit.signal), (Some(137), Some(9)));
}

#[test]
fn containers_outlive_their_keeper_and_are_adopted() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let mut next = keeper.start_beside();
    let script = "trap 'exit 3' TERM; echo ready; for i in 1 2; do sleep 1000 & wait; done";
    let (_, pid) = start_sleeper(&mut keeper, "orphan", |spec| {
        spec.process.argv[2] = script.replace("wait", "wait $!; echo after $i");
    });
    let process = Identity::of(pid).expect("it lives");
    kill(keeper.pid(), libc::SIGKILL);
    next.send(&Word::Adopt { id: "orphan".into(), process: process.clone() }, vec![]);
    next.wait(|notice| matches!(notice, Notice::Adopted { id } if id == "orphan").then_some(()));
    assert!(process.is_alive());
    next.send(&Word::Get { key: message::key::stdout("orphan") }, vec![]);
    let (_, mut output) = next.wait(|notice| matches!(notice, Notice::Descriptor { .. }).then_some(()));
    // `sh` may not have come to its first command yet.
    let sleep = loop {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it lives");
        match children.trim().parse() {
            Ok(child) => break child,
            Err(_) => std::thread::yield_now(),
        }
    };
    kill(sleep, libc::SIGKILL);
    let mut line = [0; 8];
    let mut output = fs::File::from(output.remove(0));
    output.read_exact(&mut line).expect("what it writes after its keeper's death");
    assert_eq!(&line, b"after 1\n");
    kill(pid, libc::SIGTERM);
    let exit = next.exit("orphan");
    assert_eq!(output.read(&mut line).expect("the end"), 0);
    // Linux before 6.15 does not tell the exit of another's child when it is reaped; then the text says so.
    assert!(exit.code == Some(3) || exit.failure.is_some(), "{exit:?}");
    assert_eq!(journal::read(&next.directory.path().join("journal")).expect("read")["orphan"], exit);
    let gone = Identity { start_time: process.start_time + 1, ..process };
    next.send(&Word::Adopt { id: "gone".into(), process: gone }, vec![]);
    assert_eq!(next.exit("gone").code, None);
}

#[test]
fn a_thousand_containers_leave_nothing() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let rounds: usize =
        std::env::var("RCOMPOSE_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    let own = keeper.pid();
    let open = || fs::read_dir(format!("/proc/{own}/fd")).map(|entries| entries.count()).ok();
    let mounts = || fs::read_to_string(format!("/proc/{own}/mountinfo")).expect("readable").lines().count();
    let spec = keeper.spec("again", "exit 0");
    assert_eq!(keeper.run(&spec), (String::new(), 0));
    let before = (open(), mounts());
    let mut times = Vec::new();
    for _ in 0..rounds {
        let since = std::time::Instant::now();
        let prepared = create::operations(&spec, Handles::default()).expect("a launch");
        keeper.launch("again", prepared).expect("started");
        times.push(since.elapsed().as_micros());
        assert_eq!(keeper.exit("again").code, Some(0));
    }
    assert_eq!((open(), mounts()), before);
    times.sort_unstable();
    report(&format!(
        "start to exec: median {} µs, fastest {} µs, {rounds} rounds",
        times[rounds / 2],
        times[0]
    ));
    let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
    assert_eq!(children.split_whitespace().count(), 1, "only the supervisor: {children}");
}

#[expect(clippy::print_stderr, reason = "a measurement for whoever asks for it with --nocapture")]
fn report(text: &str) {
    eprintln!("{text}");
}

#[test]
fn two_starts_at_once_do_not_wait_for_each_other() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let ids: Vec<String> = (0..10).map(|number| format!("many{number}")).collect();
    for id in &ids {
        let spec = keeper.spec(id, "exit 0");
        let prepared = create::operations(&spec, Handles::default()).expect("a launch");
        keeper.send(&Word::Start { id: id.clone(), launch: prepared.launch }, prepared.descriptors);
    }
    let again = keeper.spec("many0", "exit 0");
    let (code, message) =
        match keeper.launch("many0", create::operations(&again, Handles::default()).expect("a launch")) {
            Err(error) => error,
            // It had ended already.
            Ok(_) => (125, "it is running already".into()),
        };
    assert_eq!((code, message.as_str()), (125, "it is running already"));
    for id in &ids {
        assert_eq!(keeper.exit(id).code, Some(0));
    }
}

#[test]
fn descriptors_are_kept_over_supervisors() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let (mut near, far) = std::os::unix::net::UnixStream::pair().expect("a pair");
    keeper.send(&Word::Put { key: "port/80".into() }, vec![far.into()]);
    assert_eq!(keeper.keys(), ["port/80"]);
    keeper.kill_supervisor();
    keeper.send(&Word::Get { key: "port/80".into() }, vec![]);
    let (_, mut descriptors) =
        keeper.wait(|notice| matches!(notice, Notice::Descriptor { .. }).then_some(()));
    let far = std::os::unix::net::UnixStream::from(descriptors.remove(0));
    assert!(far.as_raw_fd() > 2);
    (&far).write_all(b"x").expect("written");
    near.read_exact(&mut [0]).expect("the same socket");
    keeper.send(&Word::Drop { key: "port/80".into() }, vec![]);
    drop(far);
    assert_eq!(near.read(&mut [0]).expect("closed everywhere"), 0);
}

#[test]
fn the_cgroup_is_joined_and_its_own_root() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let (v1, v2) = (Path::new("/sys/fs/cgroup/pids"), Path::new("/sys/fs/cgroup/cgroup.procs"));
    let parent = if v1.is_dir() { v1 } else { v2.parent().expect("a directory") };
    let own = parent.join(format!("rcompose-test-{}", std::process::id()));
    if fs::create_dir(&own).is_err() {
        return skip("a cgroup directory that may be written");
    }
    if fs::write(own.join("pids.max"), "77").is_err() {
        fs::remove_dir(&own).expect("empty");
        return skip("the pids controller");
    }
    let mut spec = keeper.spec(
        "grouped",
        "grep -E 'pids|^0::' /proc/self/cgroup | cut -d: -f3; cat /sys/fs/cgroup/$0/pids.max",
    );
    spec.process.argv.push(if v1.is_dir() { "pids".into() } else { ".".into() });
    let handles = Handles { cgroup: vec![own.join("cgroup.procs")], ..Handles::default() };
    let prepared = create::operations(&spec, handles).expect("a launch");
    let started = keeper.launch("grouped", prepared);
    let result = started.map(|mut started| {
        let out = read_all(started.descriptors.remove("out").expect("out"));
        (out, keeper.exit("grouped").code)
    });
    // The kernel empties it only after the exit was told.
    while fs::remove_dir(&own).is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY)) {
        std::thread::yield_now();
    }
    let (output, code) = result.expect("started");
    assert_eq!(code, Some(0), "{output}");
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines.first() == Some(&"/") && lines.last() == Some(&"77"), "{output}");
}
